//! A terminal in the jail: a shell with job control, the keys that stop things, and a screen that is left alone.
//!
//! tmux plays the terminal; what a user would see is what it captures.

use std::time::Duration;

use httpjail_lab::{Lab, USER_ID, Way, eventually};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::pty::{PtyMaster, posix_openpt};
use nix::unistd::chown;

use crate::support::{Expect as _, have, lab};

/// A session of tmux on the jailed side. It ends with the lab.
pub(crate) struct Terminal<'lab> {
    lab: &'lab Lab,
    socket: String,
    /// The outer ends of those that have the numbers below, for it to get its own.
    below: Vec<PtyMaster>,
}

impl<'lab> Terminal<'lab> {
    /// One that is `/dev/pts/NUMBER`, in a devpts of the jailed side's own, and belongs to whoever calls httpjail.
    pub(crate) fn numbered(lab: &'lab Lab, number: usize) -> Self {
        let taken = lab.on_jailside(|| {
            let options = Some("newinstance,ptmxmode=0666,mode=0620");
            mount(Some("devpts"), "/dev/pts", Some("devpts"), MsFlags::empty(), options)?;
            let masters = (0..number).map(|_| posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY));
            Ok(masters.collect::<Result<Vec<_>, _>>()?)
        });
        let mut terminal = Self::open(lab);
        terminal.below = taken.unwrap();
        let name = terminal.is("pane_tty");
        assert_eq!(name, format!("/dev/pts/{number}"));
        if Way::of_this_process() == Way::Rootless {
            lab.on_jailside(|| Ok(chown(name.as_str(), Some(USER_ID.into()), None)?))
                .unwrap();
        }
        terminal
    }

    /// Starts a shell outside the jail, in a terminal of 100 columns.
    pub(crate) fn open(lab: &'lab Lab) -> Self {
        let terminal = Terminal {
            lab,
            socket: lab.fresh_path("tmux.sock").to_str().unwrap().to_owned(),
            below: Vec::new(),
        };
        let shell = "exec env PS1='outside> ' bash --norc --noprofile -i";
        terminal.tmux(&["-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "40", shell]);
        terminal.sees("outside>");
        terminal
    }

    /// Starts `command` in a jail from that shell, logging nowhere.
    fn jail(&self, command: &str) {
        self.jail_by(self.lab.jail(), command);
    }

    /// The same in a jail of one's own choice.
    fn jail_by(&self, jail: httpjail_lab::JailBuilder<'_>, command: &str) {
        self.run(jail.without_log().rule(r"allow: ^https://ok\.test/"), command);
    }

    /// Starts `command` in just this jail.
    pub(crate) fn run(&self, jail: httpjail_lab::JailBuilder<'_>, command: &str) {
        let env = jail.environment().into_iter().map(|(name, value)| {
            let (name, value) = (name.into_string().unwrap(), value.into_string().unwrap());
            format!("{name}='{value}'")
        });
        let words = jail
            .command_line()
            .into_iter()
            .map(|word| format!("'{}'", word.into_string().unwrap()));
        let line: Vec<String> = env.chain(words).collect();
        self.enter(&format!("clear; TERM=$TERM {} {command}", line.join(" ")));
    }

    /// Types a line.
    pub(crate) fn enter(&self, line: &str) {
        self.types(line);
        self.key("Enter");
    }

    /// Types, and does not end the line.
    pub(crate) fn types(&self, text: &str) {
        self.tmux(&["send-keys", "-l", text]);
    }

    /// Presses a key, by tmux's name for it.
    pub(crate) fn key(&self, key: &str) {
        self.tmux(&["send-keys", key]);
    }

    /// Waits until the screen shows `text`.
    #[track_caller]
    pub(crate) fn sees(&self, text: &str) {
        let shown = eventually(Duration::from_secs(20), || self.screen().contains(text));
        assert!(shown, "no {text:?} on this screen:\n{}", self.screen());
    }

    /// Waits until the screen shows `text` so often. A shell repeats the job's line when it stops and when it goes on, and
    /// what is typed before that is read in a mode in which Enter ends no line for the job.
    #[track_caller]
    pub(crate) fn sees_times(&self, text: &str, times: usize) {
        let shown = eventually(Duration::from_secs(20), || self.screen().matches(text).count() >= times);
        assert!(
            shown,
            "{text:?} is not {times} times on this screen:\n{}",
            self.screen()
        );
    }

    pub(crate) fn screen(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J"])
    }

    /// What tmux knows of the terminal under this name (`pane_tty`, `pane_pid`).
    pub(crate) fn is(&self, name: &str) -> String {
        let answer = self.tmux(&["display-message", "-p", &format!("#{{{name}}}")]);
        answer.trim().to_owned()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut line = vec!["tmux", "-S", &self.socket];
        line.extend(arguments);
        self.lab
            .unjailed()
            .env("TERM", "xterm-256color")
            .command(line)
            .run()
            .expect_code(0)
            .stdout
    }
}

impl Drop for Terminal<'_> {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

const JAILED_SHELL: &str = "env PS1='in''side> ' bash --norc --noprofile -i";

#[test]
fn a_shell_has_job_control() {
    job_control(0, &[]);
}

#[test]
fn a_shell_has_job_control_on_a_terminal_of_many() {
    job_control(57, &[]);
}

#[test]
fn a_shell_has_job_control_in_weak_mode() {
    job_control(0, &["--backend", "weak"]);
}

#[track_caller]
fn job_control(number: usize, options: &[&str]) {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::numbered(&lab, number);
    let jail = options.iter().fold(lab.jail(), |jail, option| jail.option(option));
    terminal.jail_by(jail, JAILED_SHELL);
    terminal.sees("inside>");
    assert!(!terminal.screen().contains("no job control"), "{}", terminal.screen());
    terminal.enter("sh -c 'echo begun-$((40+2)); exec sleep 600'");
    terminal.sees("begun-42");
    terminal.key("C-z");
    terminal.sees("Stopped");
    terminal.enter("fg");
    terminal.sees_times("begun-$", 3);
    terminal.key("C-c");
    terminal.enter("echo status-$?");
    terminal.sees("status-130");
    terminal.enter("exit 5");
    terminal.enter("echo ended-$?");
    terminal.sees("ended-5");
}

#[test]
fn control_c_ends_the_command() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    // Not in these letters on the line that is typed, or the key would come before the command.
    terminal.jail("sh -c 'echo begun-$((40+2)); exec sleep 600'");
    terminal.sees("begun-42");
    terminal.key("C-c");
    terminal.enter("echo ended-$?");
    terminal.sees("ended-130");
}

#[test]
fn control_z_stops_the_jail_and_fg_resumes_it() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    terminal.jail("sh -c 'echo begun-$((40+2)); read line; echo got-$line'");
    terminal.sees("begun-42");
    terminal.key("C-z");
    terminal.sees("Stopped");
    terminal.enter("echo shell-$((40+2))");
    terminal.sees("shell-42");
    terminal.enter("fg");
    terminal.sees_times("begun-$", 2);
    terminal.enter("words");
    terminal.sees("got-words");
}

#[test]
fn a_full_screen_program_is_left_alone() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    // Raw mode, the other screen, a denied request, a word: then back.
    let program = lab.file(
        "full-screen",
        "#!/bin/bash\nstty raw -echo; printf '\\033[?1049h\\033[2J\\033[Hdrawn'; \
         curl -s -o /dev/null -w ' %{http_code}' https://evil.test/; \
         dd bs=1 count=1 >/dev/null 2>&1; printf '\\033[?1049l'; stty sane; echo over\n",
    );
    terminal.jail(program.to_str().unwrap());
    terminal.sees("drawn 403");
    let screen = terminal.screen();
    assert_eq!(screen.trim(), "drawn 403", "nothing of ours on the program's screen");
    terminal.key("q");
    terminal.sees("over");
    // What waited is told now.
    terminal.sees("evil.test");
}

// Proves: P22.
#[test]
fn the_terminal_cannot_be_typed_into() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let proof = lab.fresh_path("proof");
    let inject = lab.file(
        "inject.py",
        format!(
            "import fcntl\ntry:\n    for c in 'touch {}\\n': fcntl.ioctl(0, 0x5412, c.encode())\nexcept OSError as e: print(e)\nprint('tried')\n",
            proof.display()
        ),
    );
    let line = format!("/usr/bin/python3 {}", inject.display());
    terminal.jail(&line);
    terminal.sees("tried");
    terminal.enter("echo after");
    terminal.sees("after");
    assert!(!proof.exists(), "{}", terminal.screen());
    // Where the kernel allows it at all, the same outside a jail types the line.
    if std::fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|on| on.trim() == "1") {
        terminal.enter(&line);
        assert!(
            eventually(Duration::from_secs(10), || proof.exists()),
            "{}",
            terminal.screen()
        );
    }
}
