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
