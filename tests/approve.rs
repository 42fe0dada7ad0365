//! Asking about what no rule matches: a person at the terminal, apart from the command's own, and a program.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, USER, Way, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Expect as _, curl_status, have, lab};
use crate::terminal::Terminal;

/// What the last line of a question says once it can be answered.
const READY: &str = "answer and Enter:";

/// `curl` in a script: prints `NAME-STATUS`, in two parts so that the line that is typed does not say it.
fn curl(name: &str, url: &str) -> String {
    format!("echo {name}-$(curl -s -o /dev/null -w '%{{http_code}}' --max-time 60 {url})")
}

fn script(lab: &Lab, lines: &str) -> String {
    lab.file("script", format!("#!/bin/bash\n{lines}\n"))
        .display()
        .to_string()
}

fn interactive(lab: &Lab) -> JailBuilder<'_> {
    lab.jail().without_log().option("--interactive")
}

/// A pipe for `read` in the jail to wait on, which [`open`] ends.
fn gate(lab: &Lab) -> PathBuf {
    let path = lab.fresh_path("gate");
    let made = Command::new("mkfifo").args(["-m", "666"]).arg(&path).status().unwrap();
    assert!(made.success());
    path
}

fn open(gate: &Path) {
    fs::write(gate, "go\n").unwrap();
}

fn paths_that_reached(lab: &Lab) -> Vec<String> {
    lab.requests_for("ok.test").into_iter().map(|seen| seen.path).collect()
}

#[test]
fn two_questions_at_a_time() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let (one, two) = (curl("one", "https://ok.test/one"), curl("two", "https://ok.test/two"));
    terminal.run(
        interactive(&lab),
        &script(&lab, &format!("{one} &\n{two} &\nwait; echo over")),
    );
    terminal.sees("1 more waiting");
    terminal.sees(READY);
    let first = if terminal.screen().contains("https://ok.test/one") {
        "one"
    } else {
        "two"
    };
    let second = if first == "one" { "two" } else { "one" };
    terminal.enter("y");
    terminal.sees(&format!("https://ok.test/{second}"));
    terminal.sees(READY);
    assert!(!terminal.screen().contains("more waiting"), "{}", terminal.screen());
    terminal.enter("n");
    terminal.sees("over");
    terminal.sees(&format!("{first}-200"));
    terminal.sees(&format!("{second}-403"));
    assert_eq!(paths_that_reached(&lab), [format!("/{first}")]);
}

#[test]
fn an_answer_for_the_run_is_asked_for_once() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let lines = [
        curl("one", "https://ok.test/one"),
        curl("two", "https://ok.test/two?x"),
        curl("three", "http://ok.test/three"),
    ];
    terminal.run(interactive(&lab), &script(&lab, &lines.join("\n")));
    terminal.sees(READY);
    terminal.enter("rh");
    // Another scheme is another host's.
    terminal.sees("url        http://ok.test/three");
    terminal.sees(READY);
    terminal.enter("d");
    terminal.sees("three-403");
    terminal.sees("one-200");
    terminal.sees("two-200");
}

#[test]
fn a_full_screen_program_survives_a_question() {
    if !have("tmux") || !have("vim") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let (gate, text, got) = (
        gate(&lab),
        lab.file("text", "first line\nlast line\n"),
        lab.file("got", ""),
    );
    fs::set_permissions(&got, fs::Permissions::from_mode(0o666)).unwrap();
    let lines = format!(
        "(read go < {}; {} > {}) &\nvim -u NONE -i NONE -n {}\nwait; cat {}; echo over",
        gate.display(),
        curl("asked", "https://ok.test/"),
        got.display(),
        text.display(),
        got.display(),
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees("last line");
    open(&gate);
    terminal.sees(READY);
    assert!(!terminal.screen().contains("last line"), "{}", terminal.screen());
    terminal.enter("y");
    terminal.sees("last line");
    assert!(!terminal.screen().contains("httpjail"), "{}", terminal.screen());
    // And it takes keys again: the answer was none of them.
    terminal.enter("Gotyped");
    terminal.sees("typed");
    terminal.key("Escape");
    terminal.enter(":q!");
    terminal.sees("over");
    terminal.sees("asked-200");
    assert!(!terminal.screen().contains("last line"), "{}", terminal.screen());
}

// Proves: K07.
#[test]
fn what_was_typed_before_is_no_answer() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let gate = gate(&lab);
    let lines = format!(
        "echo be''gun; read go < {}; {}; read typed; echo got-$typed",
        gate.display(),
        curl("asked", "https://ok.test/")
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees("begun");
    terminal.enter("y");
    open(&gate);
    terminal.sees(READY);
    assert_eq!(paths_that_reached(&lab), [""; 0]);
    terminal.enter("n");
    terminal.sees("asked-403");
    // It was typed for the command, and the command has it.
    terminal.sees("got-y");
}

// Proves: K07.
#[test]
fn a_question_of_the_jails_own_grants_nothing() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let lines = format!(
        "printf '\\033[?1049h\\033[2J\\033[H httpjail 0000: no rule allows this\\n\\n{READY} '; read line; \
         printf '\\033[?1049l'; echo fake-got-$line; {}",
        curl("asked", "https://ok.test/")
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees("httpjail 0000");
    terminal.enter("y");
    terminal.sees("https://ok.test/");
    terminal.sees(READY);
    assert!(!terminal.screen().contains("httpjail 0000"), "{}", terminal.screen());
    assert_eq!(paths_that_reached(&lab), [""; 0]);
    terminal.enter("n");
    terminal.sees("asked-403");
    terminal.sees("fake-got-y");
    // What a real one would have borne was said before the command started.
    terminal.sees("a real question begins with");
}

/// The jail writes as much as it can: none of it is seen before the answer, and what it began is cut off.
// Proves: K07.
#[test]
fn the_jail_cannot_draw_over_a_question() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let gate = gate(&lab);
    let lines = format!(
        "(read go < {}; exec yes flood) & noise=$!\nprintf '\\033]0;title'; code=$({}); kill $noise; wait $noise 2>/dev/null\n\
         printf '\\033\\\\'; clear; echo $code",
        gate.display(),
        curl("asked", "https://ok.test/")
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees(READY);
    open(&gate);
    // Time for it to write, if it could: a key or two more.
    terminal.enter("nonsense");
    terminal.sees("unknown answer");
    assert!(terminal.screen().contains("https://ok.test/"), "{}", terminal.screen());
    assert!(!terminal.screen().contains("flood"), "{}", terminal.screen());
    terminal.enter("n");
    terminal.sees("asked-403");
}

// Proves: K07.
#[test]
fn the_jail_sees_no_other_terminal() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    // The jail's own is /dev/pts/0 to it: of two outside one has another name.
    let terminals = [Terminal::open(&lab), Terminal::open(&lab)];
    let other = terminals
        .iter()
        .find(|terminal| terminal.is("pane_tty") != "/dev/pts/0");
    let terminal = other.expect("two terminals with one name");
    let outer = terminal.is("pane_tty");
    let lines = format!(
        "echo pts: $(ls /dev/pts); tty; if echo in''truder > {outer}; then echo written; else echo refu''sed; fi; \
         stty -F {outer} || echo no''modes; echo on-its-o''wn > /dev/tty"
    );
    let jailed = script(&lab, &lines);
    terminal.run(interactive(&lab), &jailed);
    terminal.sees("pts: 0 ptmx");
    terminal.sees("/dev/pts/0");
    terminal.sees("refused");
    terminal.sees("nomodes");
    terminal.sees("on-its-own");
    terminal.sees("outside>");
    assert!(!terminal.screen().contains("intruder"), "{}", terminal.screen());
    // Outside the same is written.
    terminal.enter(&format!("clear; sh {jailed}"));
    terminal.sees("intruder");
}

/// A policy file that belongs to whoever calls, in a folder that does.
fn policy(lab: &Lab, text: &str) -> PathBuf {
    let folder = lab.fresh_path("policies");
    fs::create_dir(&folder).unwrap();
    let path = folder.join("rules.yaml");
    fs::write(&path, text).unwrap();
    if Way::of_this_process() == Way::Rootless {
        let mut chown = Command::new("chown");
        chown.args(["-R", USER]).arg(&folder);
        let given = lab.on_jailside(|| Ok(chown.status()?)).unwrap();
        assert!(given.success());
    }
    path
}

#[test]
fn always_is_written_down_and_the_next_run_allows() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let file = policy(&lab, "# mine\nrules:\n  - action: deny # never\n    host: evil.test\n");
    let jail = interactive(&lab).option("-c").option(&file);
    let lines = [
        curl("evil", "https://evil.test/"),
        curl("asked", "https://ok.test/a/b?c"),
    ];
    terminal.run(jail, &script(&lab, &lines.join("\n")));
    terminal.sees(READY);
    assert!(
        terminal.screen().contains("url        https://ok.test/a/b?c"),
        "{}",
        terminal.screen()
    );
    assert!(terminal.screen().contains("rules.yaml"), "{}", terminal.screen());
    terminal.enter("ap");
    terminal.sees("asked-200");
    terminal.sees("evil-403");
    let text = fs::read_to_string(&file).unwrap();
    let added = "  # approved when it was asked for\n  - action: allow\n    pattern: '^https://ok\\.test/a/'\n    methods: [get]\n";
    assert_eq!(
        text,
        format!("# mine\nrules:\n  - action: deny # never\n    host: evil.test\n{added}")
    );
    for (url, status) in [("https://ok.test/a/x", "200"), ("https://ok.test/", "403")] {
        let jail = lab.jail().option("-c").option(&file);
        curl_status(jail, &[url]).run().expect_stdout(status);
    }
}

#[test]
fn a_question_that_nobody_answers_is_a_denial() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let jail = interactive(&lab).option("--approve-timeout").option("1");
    let lines = "curl -s --max-time 60 https://ok.test/; echo o''ver";
    terminal.run(jail, &script(&lab, lines));
    terminal.sees("over");
    terminal.sees("it was not approved in time");
    assert_eq!(paths_that_reached(&lab), [""; 0]);
}

#[test]
fn a_client_that_gives_up_takes_its_question_along() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let gate = gate(&lab);
    let lines = format!(
        "curl -s https://ok.test/ & client=$!; read go < {}; kill $client; echo gi''ven-up",
        gate.display()
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees(READY);
    open(&gate);
    terminal.sees("given-up");
}

#[test]
fn without_a_terminal_nobody_is_asked() {
    let lab = lab();
    let jail = lab.jail().through(["setsid", "--wait"]).option("--interactive");
    let refused = jail.command(["echo", "ran"]).run().expect_code(125).expect_stdout("");
    refused.expect_stderr_has("--approve-with COMMAND");
}

#[test]
fn job_control_beside_questions() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    let lines = format!(
        "echo be''gun; read line; echo got-$line; {}",
        curl("asked", "https://ok.test/")
    );
    terminal.run(interactive(&lab), &script(&lab, &lines));
    terminal.sees("begun");
    terminal.key("C-z");
    terminal.sees("Stopped");
    terminal.enter("echo shell-$((40+2)); stty -a | grep -o -- -icanon; echo end-$?");
    terminal.sees("shell-42");
    terminal.sees("end-1");
    terminal.enter("fg");
    // The shell names the job when it stops and when it goes on.
    terminal.sees_times("--interactive", 2);
    terminal.enter("words");
    terminal.sees("got-words");
    terminal.sees(READY);
    // ^C is a no.
    terminal.key("C-c");
    terminal.sees("asked-403");
    // What is typed before the end is the jail's.
    terminal.sees_times("outside>", 3);
    terminal.enter("echo ended-$?; stty -a | grep -o -- -icanon; echo end-$((1+1))-$?");
    terminal.sees("ended-0");
    terminal.sees("end-2-1");
}

/// The supervisor, and the process that holds the terminal.
fn processes(terminal: &Terminal<'_>, lab: &Lab) -> Option<(Pid, Pid)> {
    let session = terminal.is("pane_pid");
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let ours = fs::read_link(entry.path().join("exe")).is_ok_and(|exe| exe == lab.binary());
        let Some(stat) = fs::read_to_string(entry.path().join("stat")).ok().filter(|_| ours) else {
            continue;
        };
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        if fields[3] == session {
            found.push((pid, fields[1].parse::<i32>().unwrap()));
        }
    }
    let (aide, supervisor) = *found
        .iter()
        .find(|(_, parent)| found.iter().any(|(pid, _)| pid == parent))?;
    Some((Pid::from_raw(supervisor), Pid::from_raw(aide)))
}

#[track_caller]
fn killed(which: impl Fn((Pid, Pid)) -> Pid, signal: Signal, told: &str) {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let terminal = Terminal::open(&lab);
    terminal.run(interactive(&lab), &script(&lab, &curl("asked", "https://ok.test/")));
    terminal.sees(READY);
    let mut found = None;
    // A look at all processes of a busy machine can miss one that is just being started.
    eventually(Duration::from_secs(20), || {
        found = processes(&terminal, &lab);
        found.is_some()
    });
    let victim = which(found.expect("httpjail's processes"));
    kill(victim, signal).unwrap();
    // The shell's own screen, and in order.
    terminal.sees("a real question begins with");
    assert!(!terminal.screen().contains(READY), "{}", terminal.screen());
    terminal.sees(told);
    terminal.enter("echo status-$?; stty -a | grep -o -- '-icanon\\|-echo '; echo end-$((1+1))-$?");
    terminal.sees("end-2-1");
    assert_eq!(paths_that_reached(&lab), [""; 0]);
    let gone = || processes(&terminal, &lab).is_none();
    assert!(eventually(Duration::from_secs(20), gone), "something is left");
}

#[test]
fn the_run_ends_with_the_process_that_asks() {
    killed(
        |(_, aide)| aide,
        Signal::SIGKILL,
        "the approver ended; the jail was ended",
    );
}

#[test]
fn the_terminal_is_in_order_after_the_supervisor_was_killed() {
    // The shell may be quicker, and its prompt lost with the question's screen.
    killed(|(supervisor, _)| supervisor, Signal::SIGKILL, "");
}

#[test]
fn the_terminal_is_in_order_after_a_signal() {
    killed(|(supervisor, _)| supervisor, Signal::SIGTERM, "outside>");
}

/// A file that everybody may write to.
fn shared(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.file(name, "");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666)).unwrap();
    path
}

/// One request, with this program to decide: the status that curl got, and what reached the origin.
#[track_caller]
fn check(options: &[&str], program: &str, status: &str, reached: &[&str]) {
    let lab = lab();
    let program = script(&lab, program);
    let jail = options.iter().fold(lab.jail(), |jail, option| jail.option(option));
    let jail = jail.option("--approve-with").option(program);
    let outcome = curl_status(jail, &["https://ok.test/a?b"]).run().expect_stdout(status);
    assert_eq!(paths_that_reached(&lab), reached, "{outcome:#?}");
}

const YES: &str = r#"echo '{"verdict":"allow"}'"#;

#[test]
fn a_program_allows() {
    check(&[], YES, "200", &["/a?b"]);
}

#[test]
fn a_program_denies() {
    check(&[], r#"echo '{"verdict":"deny"}'"#, "403", &[]);
}

#[test]
fn a_program_that_fails_denies() {
    check(&[], "echo yes", "403", &[]);
    check(&[], &format!("{YES}; exit 3"), "403", &[]);
    check(&[], &format!("{YES}; kill -SEGV $$"), "403", &[]);
    check(&["--approve-timeout", "1"], &format!("{YES}; sleep 600"), "403", &[]);
}

#[test]
fn what_a_rule_decides_is_not_asked() {
    check(&["-r", r"deny: ^https://ok\.test/"], YES, "403", &[]);
    check(&["-r", r"deny: ^https://evil\.test/"], YES, "200", &["/a?b"]);
}

// Proves on weak: K07.
#[test]
fn a_program_decides_in_weak_mode_too() {
    check(&["--backend", "weak"], YES, "200", &["/a?b"]);
    check(&["--backend", "weak"], r#"echo '{"verdict":"deny"}'"#, "403", &[]);
}

// Proves: K07.
#[test]
fn the_program_that_decides_is_the_callers() {
    let lab = lab();
    let (question, who) = (shared(&lab, "question"), shared(&lab, "who"));
    let lines = format!(
        "cat > {}; {{ id -un; echo $HOME; echo ${{SECRET-none}}; grep -E 'CapEff|NoNewPrivs' /proc/self/status; }} > {}; {YES}",
        question.display(),
        who.display()
    );
    let jail = lab.jail().as_user().env("SECRET", "s3cret").option("--approve-with");
    let jail = jail.option(script(&lab, &lines));
    let outcome = curl_status(jail, &["-X", "PUT", "https://ok.test/a?b"])
        .run()
        .expect_stdout("200");
    let asked: serde_json::Value = serde_json::from_slice(&fs::read(&question).unwrap()).unwrap();
    for (field, value) in [
        ("method", "PUT"),
        ("url", "https://ok.test/a?b"),
        ("host", "ok.test"),
        ("path", "/a"),
    ] {
        assert_eq!(asked[field], value, "{asked}");
    }
    let told = fs::read_to_string(&who).unwrap();
    let told: Vec<&str> = told.lines().collect();
    let rights = ["CapEff:\t0000000000000000", "NoNewPrivs:\t1"];
    // A home would be the command's to write, and programs look into it by themselves.
    assert_eq!(told[..3], [USER, "/nonexistent", "none"], "{told:?}");
    assert_eq!(told[3..], rights, "{told:?}");
    assert_eq!(
        outcome.events_with(&[("rule", "approved once")]).len(),
        1,
        "{outcome:#?}"
    );
}
