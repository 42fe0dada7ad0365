//! The command's own exit status, and httpjail's where there is none.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use httpjail_lab::eventually;
use nix::sys::signal::Signal;

use crate::support::{Expect as _, lab};

#[test]
fn the_commands_own() {
    let lab = lab();
    for code in [0, 1, 42, 255] {
        lab.jail().shell(&format!("exit {code}")).run().expect_code(code);
    }
}

#[test]
fn a_signal_is_128_and_its_number() {
    let lab = lab();
    for (signal, code) in [("TERM", 143), ("KILL", 137), ("SEGV", 139)] {
        lab.jail().shell(&format!("kill -{signal} $$")).run().expect_code(code);
    }
}

#[test]
fn a_time_out_is_124() {
    let lab = lab();
    let mark = httpjail_lab::canary();
    let script = "sleep 600 & sleep 600";
    lab.jail()
        .option("--timeout")
        .option("1")
        .command(["sh", "-c", script, &mark])
        .run()
        .expect_code(124);
    assert_eq!(httpjail_lab::processes_with(&mark), Vec::<i32>::new());
}

#[test]
fn what_cannot_be_executed() {
    let lab = lab();
    let file = lab.file("plain-file", "no program");
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o644)).unwrap();
    lab.jail()
        .command([&file])
        .run()
        .expect_code(126)
        .expect_stderr_has("error: ");
    lab.jail()
        .command(["no-such-command"])
        .run()
        .expect_code(127)
        .expect_stderr_has("no-such-command");
}

#[test]
fn a_wrong_use_is_2() {
    let lab = lab();
    lab.jail()
        .option("--no-such-option")
        .command(["true"])
        .run()
        .expect_code(2);
    lab.jail()
        .rule("alow: x")
        .command(["true"])
        .run()
        .expect_code(2)
        .expect_stderr_has("alow");
    lab.jail().rule("allow: (").command(["true"]).run().expect_code(2);
    lab.jail()
        .option("--config")
        .option("/no/such/file")
        .command(["true"])
        .run()
        .expect_code(2);
    lab.jail().command::<&str>([]).run().expect_code(2);
}

#[test]
fn signals_reach_the_command() {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let lab = lab();
        let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let run = lab.jail().shell(&script).start().unwrap();
        assert!(
            eventually(Duration::from_secs(20), || run.stdout() == "ready\n"),
            "{run:?}: {}",
            run.stderr()
        );
        run.signal(signal);
        run.wait().unwrap().expect_code(7);
    }
}

#[test]
fn stdout_belongs_to_the_command() {
    let lab = lab();
    lab.jail()
        .without_log()
        .shell("echo words; echo more >&2")
        .run()
        .expect_stdout("words")
        .expect_stderr_has("more");
    lab.jail()
        .stdin("a line\n")
        .command(["cat"])
        .run()
        .expect_code(0)
        .expect_stdout("a line");
}
