//! What is attached to, named by a process, a unit or a container.

use super::*;

/// Each name finds the cgroup, to attach to and to detach from.
#[test]
fn by_its_process_its_unit_and_its_container() {
    let lab = lab();
    let id = format!("{:0>64}", format!("{:x}", std::process::id()));
    let unit = format!("attach-test-{}", canary());
    for (name, option, value) in [
        (format!("attach-test-{}", canary()), "--pid", None),
        (format!("{unit}.service"), "--unit", Some(unit)),
        (format!("docker-{id}.scope"), "--container", Some(id)),
    ] {
        let cgroup = Cgroup::named(&name);
        // Who names a container wants it held for sure.
        let rights = "exec setpriv --bounding-set -net_raw,-net_admin,-sys_admin \"$@\"";
        let mut told = Told::start_with(&lab, &cgroup.0, rights);
        told.ask("import os");
        let value = value.unwrap_or_else(|| told.ask("os.getpid()"));
        let place = || [OsString::from(option), OsString::from(&value)];
        let run = attach_to(lab.unjailed(), &lab, place(), &lab.fresh_path("attach.json"), &[]);
        let said = format!("attached to {}", cgroup.0.display());
        assert!(
            eventually(LIMIT, || run.stderr().contains(&said)),
            "{option}: {}",
            run.stderr()
        );
        assert_eq!(told.ask("curl('http://ok.test/')"), "200", "{option}");
        assert_eq!(told.ask("curl('http://evil.test/')"), "403", "{option}");
        let line = [&[lab.binary().into(), "detach".into()][..], &place()].concat();
        let outcome = lab.unjailed().command(line).run().expect_code(0);
        outcome.expect_stderr_has("detached from");
        run.wait().unwrap().expect_code(0);
        assert!(gets_out(&lab, &mut told), "{option}");
    }
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// What is not there, or more than can be meant, is refused; the message says why.
#[test]
fn what_cannot_be_meant_is_refused() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    told.ask("import os");
    let pid = told.ask("os.getpid()");
    let refused = |option: &str, value: &str, script: &str, why: &str| {
        let binary = lab.binary().to_str().unwrap();
        let line = ["sh", "-c", script, "sh", binary, "attach", option, value, "-r", RULE];
        let outcome = lab.unjailed().command(line).run().expect_code(125);
        outcome.expect_stderr_has(why);
    };
    refused("--pid", "2147483647", "exec \"$@\"", "no such process: 2147483647");
    refused("--unit", "no-such", "exec \"$@\"", "no unit no-such.service runs");
    refused("--container", "no-such", "exec \"$@\"", "no such container: no-such");
    // Where httpjail is started from a shell that is in the same cgroup.
    let inside = format!("echo $$ > {}/cgroup.procs; \"$@\"; exit $?", cgroup.0.display());
    refused("--pid", &pid, &inside, "holds httpjail's own caller");
    assert!(gets_out(&lab, &mut told));
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// A unit that is started again is held again, and `detach` ends the wait for it.
// Proves on attach: P19.
#[test]
fn what_is_started_again_is_held_again() {
    let lab = lab();
    let unit = format!("attach-test-{}", canary());
    let cgroup = Cgroup::named(&format!("{unit}.service"));
    let mut told = Told::start(&lab, &cgroup.0);
    let place = || [OsString::from("--unit"), OsString::from(&unit)];
    let run = attach_to(lab.unjailed(), &lab, place(), &lab.fresh_path("attach.json"), &[]);
    let says = |what: &str, times: usize| {
        let said = eventually(LIMIT, || run.stderr().matches(what).count() == times);
        assert!(said, "{what}: {}", run.stderr());
    };
    says("attached to", 1);
    for times in 1..3 {
        assert_eq!(told.ask("curl('http://ok.test/')"), "200");
        assert_eq!(told.ask("curl('http://evil.test/')"), "403");
        assert!(!gets_out(&lab, &mut told));
        assert!(cgroup.end());
        says("is held as soon as it is started again", times);
        fs::create_dir(&cgroup.0).unwrap();
        told = Told::start(&lab, &cgroup.0);
        says("attached to", times + 1);
    }
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    assert!(cgroup.end());
    says("is held as soon as it is started again", 3);
    let line = [&[lab.binary().into(), "detach".into()][..], &place()].concat();
    lab.unjailed()
        .command(line)
        .run()
        .expect_code(0)
        .expect_stderr_has("detached from");
    run.wait()
        .unwrap()
        .expect_code(0)
        .expect_stderr_has("waiting no more for the unit");
    assert_eq!(traces(&lab), Vec::<String>::new());

    // Killed while it waits, it leaves a name, which the next run of anything removes.
    fs::create_dir(&cgroup.0).unwrap();
    let _told = Told::start(&lab, &cgroup.0);
    let run = attach_to(lab.unjailed(), &lab, place(), &lab.fresh_path("attach.json"), &[]);
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
    assert!(cgroup.end());
    assert!(
        eventually(LIMIT, || run.stderr().contains("is gone")),
        "{}",
        run.stderr()
    );
    assert!(eventually(LIMIT, || traces(&lab)
        .iter()
        .any(|name| name.starts_with("waiting-"))));
    run.signal(Signal::SIGKILL);
    run.wait().unwrap();
    lab.jail().command(["true"]).run().expect_code(0);
    assert_eq!(traces(&lab), Vec::<String>::new());
}
