//! Which terminals there are in a jail: the one that the command was given, under its own name, and those that programs in
//! the jail make. None else of the host's.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER_ID, Way, canary, eventually};
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::unistd::chown;

use crate::support::{Expect as _, PYTHON, have, lab};
use crate::terminal::Terminal;

const PROBE: &str = include_str!("support/probes/other_terminals.py");

/// A terminal on the jailed side that no jail was given, and that belongs to the jail's user.
struct Other {
    master: File,
    slave: File,
    /// All by which it can be found.
    names: Vec<PathBuf>,
    /// Who sits at it.
    _holder: Running,
}

impl Other {
    fn open(lab: &Lab, as_user: bool) -> Self {
        let pair = lab.on_jailside(|| {
            let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            let name = PathBuf::from(ptsname_r(&master)?);
            if as_user {
                chown(&name, Some(USER_ID.into()), None)?;
            }
            let slave = File::options().read(true).write(true).open(&name)?;
            Ok((File::from(OwnedFd::from(master)), slave, name))
        });
        let (master, slave, name) = pair.unwrap();
        let mut names = mounted_again(lab, &name);
        let holder = lab.unjailed().stdin_from(slave.try_clone().unwrap());
        let holder = if as_user { holder.as_user() } else { holder };
        let holder = holder.command(["sleep", "600"]).start().unwrap();
        names.push(format!("/proc/{}/fd/0", holder.pid()).into());
        names.push(name);
        Other {
            master,
            slave,
            names,
            _holder: holder,
        }
    }

    /// Types a line, and tells what a program that reads from the terminal gets of it.
    fn read_typed(&mut self, line: &str) -> String {
        self.type_line(line);
        let mut waiting = [PollFd::new(self.slave.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut waiting, 20_000_u16), Ok(1), "nobody got what was typed");
        read(&mut self.slave)
    }

    fn type_line(&mut self, line: &str) {
        self.master.write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// What is on the screen once `text` is.
    fn screen_with(&mut self, text: &str) -> String {
        let mut screen = String::new();
        while !screen.contains(text) {
            let mut waiting = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            assert_eq!(
                poll(&mut waiting, 20_000_u16),
                Ok(1),
                "no {text} on the screen: {screen}"
            );
            screen += &read(&mut self.master);
        }
        screen
    }
}

fn read(from: &mut File) -> String {
    let mut bytes = [0; 4096];
    let length = from.read(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

/// The terminal's other names: in its file system mounted a second time, mounted by itself, and below the /dev of a chroot.
fn mounted_again(lab: &Lab, name: &Path) -> Vec<PathBuf> {
    let [second, chroot, alone] = ["second", "chroot", "alone"].map(|name| lab.fresh_path(name));
    fs::create_dir(&second).unwrap();
    fs::create_dir(&chroot).unwrap();
    File::create(&alone).unwrap();
    let bind = |from: &Path, to: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
    };
    lab.on_jailside(|| {
        bind(Path::new("/dev/pts"), &second)?;
        bind(Path::new("/dev"), &chroot)?;
        Ok(bind(name, &alone)?)
    })
    .unwrap();
    let number = name.file_name().unwrap();
    vec![second.join(number), chroot.join("pts").join(number), alone]
}

fn other_terminals(run: fn(&Lab) -> JailBuilder<'_>, as_user: bool) {
    let lab = lab();
    let as_user = as_user || Way::of_this_process() == Way::Rootless;
    let mut other = Other::open(&lab, as_user);
    let probe = lab.file("other_terminals.py", PROBE);
    let mut line = vec![PathBuf::from(PYTHON), probe];
    line.extend(other.names.iter().cloned());

    let password = canary();
    let outcome = run(&lab).command(&line).run().expect_code(0);
    assert_eq!(outcome.stdout, "looked\n", "{outcome:#?}");
    assert_eq!(other.read_typed(&password), format!("{password}\n"));
    let screen = other.screen_with(&password);
    assert!(!screen.contains("intruder"), "{screen}");

    let twin = if as_user {
        lab.unjailed().as_user()
    } else {
        lab.unjailed()
    };
    let twin = twin.command(&line).start().unwrap();
    let looked = eventually(Duration::from_secs(20), || twin.stdout().contains("looked\n"));
    assert!(looked, "{}", twin.stderr());
    let password = canary();
    other.type_line(&password);
    let outcome = twin.wait().unwrap().expect_code(0);
    assert!(outcome.stdout.contains(&password), "{outcome:#?}");
    for name in &other.names {
        assert!(
            outcome.stdout.contains(&format!("{}\n", name.display())),
            "{outcome:#?}"
        );
    }
    let screen = other.screen_with(&password);
    assert_eq!(screen.matches("intruder").count(), other.names.len(), "{screen}");
}

// Proves: K13.
#[test]
fn another_terminal_of_the_user_is_neither_read_nor_written() {
    other_terminals(|lab| lab.jail(), false);
}

// Proves: K13.
#[test]
fn another_terminal_of_who_called_sudo_is_neither_read_nor_written() {
    other_terminals(|lab| lab.jail().as_user(), true);
}

/// Starts `script` in a jail on the terminal of that number, through a shell that does `first`.
fn start<'lab>(lab: &'lab Lab, number: usize, first: &str, script: &str) -> Terminal<'lab> {
    let script = lab.file("script", format!("#!/bin/sh\n{script}\necho o''ver\n"));
    let terminal = Terminal::numbered(lab, number);
    let first = format!("{first}; exec \"$@\"");
    let jail = lab.jail().without_log().through(["sh", "-ec", &first, "sh"]);
    terminal.run(jail, script.to_str().unwrap());
    terminal
}

/// Not by the name that the kernel remembers alone: programs open it, and compare what they find with what they have.
const NAMED: &str = "tty; ls /dev/pts | tr '\\n' ' '; echo words > $(tty); \
                     /usr/bin/python3 -c 'import os; print([os.ttyname(fd) for fd in range(3)])'";

#[test]
fn a_terminal_has_its_name() {
    if !have("tmux") {
        return;
    }
    for number in [0, 57] {
        let lab = lab();
        let terminal = start(&lab, number, ":", NAMED);
        terminal.sees("over");
        let name = format!("/dev/pts/{number}");
        terminal.sees(&format!("{name}\n{number} ptmx words\n"));
        terminal.sees(&format!("['{name}', '{name}', '{name}']"));
    }
}

#[test]
fn the_controlling_terminal_has_its_name_though_nothing_is_on_it() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let out = lab.fresh_path("out");
    let elsewhere = format!("exec < /dev/null > {} 2>&1", out.display());
    let terminal = start(&lab, 57, &elsewhere, "ls /dev/pts; tty; echo to''ld > /dev/tty");
    terminal.sees("told");
    terminal.sees("outside>");
    let told = fs::read_to_string(out).unwrap();
    assert!(told.ends_with("57\nptmx\nnot a tty\nover\n"), "{told}");
}

/// As in containers, and with a serial line.
#[test]
fn a_terminal_by_another_name_keeps_it() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let console = "mount --bind $(tty) /dev/console; exec < /dev/console > /dev/console 2>&1";
    let terminal = start(&lab, 57, console, "tty; echo wor''ds > $(tty); ls /dev/pts");
    terminal.sees("over");
    terminal.sees("/dev/console\nwords\n57  ptmx\n");
}

/// As with `docker exec -t`: the terminal is one of a file system that is not mounted here. It has no name without a jail
/// either, and must not take that of another.
#[test]
fn a_terminal_from_elsewhere_works_without_a_name() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let mounting = "#!/bin/sh -e\nmount -t devpts -o newinstance,ptmxmode=666 devpts /dev/pts; exec \"$@\"";
    let elsewhere = format!("exec unshare -m {} \"$@\"", lab.file("mounting", mounting).display());
    let script = "tty; ls /dev/pts; read line; echo got-$line; read line < /dev/tty; echo and-$line";
    let terminal = start(&lab, 0, &elsewhere, script);
    terminal.sees("not a tty\nptmx\n");
    terminal.enter("one");
    terminal.sees("got-one");
    terminal.enter("two");
    terminal.sees("and-two");
    terminal.sees("over");
}

/// `script` makes a terminal in the jail, tmux another and is itself attached to the given one by its name; ssh asks for a
/// password at the controlling one, whatever its input is.
#[test]
fn programs_that_make_and_open_terminals_work() {
    if !["tmux", "script", "ssh-keygen"].into_iter().all(have) {
        return;
    }
    let lab = lab();
    let (server, key) = (lab.fresh_path("tmux.sock"), lab.fresh_path("key"));
    let made = lab.unjailed().shell(&format!(
        "ssh-keygen -q -t ed25519 -N secret -f {key} && chmod 644 {key}; cp {key} {key}.user; \
                        chown {USER_ID} {key}.user; chmod 600 {key} {key}.user",
        key = key.display()
    ));
    made.run().expect_code(0);
    let key = if Way::of_this_process() == Way::Rootless {
        format!("{}.user", key.display())
    } else {
        key.display().to_string()
    };
    let script = format!(
        "script -qec 'tty; echo in-scr''ipt' /dev/null; \
         tmux -f /dev/null -S {server} new-session 'tty; echo in-tm''ux; read line'; echo af''ter; \
         ssh-keygen -y -f {key} < /dev/null",
        server = server.display()
    );
    let terminal = start(&lab, 57, "unset TMUX", &script);
    terminal.sees("/dev/pts/0");
    terminal.sees("in-tmux");
    terminal.key("Enter");
    terminal.sees("after");
    terminal.sees("in-script");
    terminal.sees("Enter passphrase");
    terminal.enter("secret");
    terminal.sees("ssh-ed25519 ");
    terminal.sees("over");
}
