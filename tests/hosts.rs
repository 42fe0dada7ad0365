//! Hosts of many kinds: the backend that is taken, or the reasons why none is. Each is played by the lab's host with
//! something taken away, in a mount namespace of the run's own.

use httpjail_lab::{JailBuilder, Lab, Outcome, Way};

use crate::support::{Expect as _, lab};

/// Runs httpjail after `change`, a shell script that takes something from the host.
fn after<'lab>(change: &str, run: JailBuilder<'lab>) -> JailBuilder<'lab> {
    run.through(["unshare", "-m", "sh", "-ec", &format!("{change}; exec \"$@\""), "sh"])
}

/// Nothing is taken away.
const NOTHING: &str = ":";
/// As many a container has it.
const CGROUPS_READ_ONLY: &str = "for at in $(awk '$3 ~ /^cgroup/ {print $2}' /proc/mounts); do \
                                 mount -o remount,bind,ro $at; done";
/// As every container has it: a fresh /proc is not given then.
const PROC_COVERED: &str = "mount --bind /dev/null /proc/kallsyms";
/// As in a chroot, or below the root of another sandbox.
const NO_SYS: &str = "mount -t tmpfs none /sys";
const NO_USER_NAMESPACES: &str = "echo 0 > max; mount --bind max /proc/sys/user/max_user_namespaces";

fn auto(lab: &Lab, way: Way, change: &str) -> Outcome {
    let jail = lab
        .jail()
        .way(way)
        .without_log()
        .option("-v")
        .option("--backend")
        .option("auto");
    after(change, jail).command(["echo", "ran"]).run()
}

/// The command runs, steered by `backend`, and every one of `words` is told with `-v`.
#[track_caller]
fn takes(way: Way, change: &str, backend: &str, words: &[&str]) {
    let outcome = auto(&lab(), way, change).expect_code(0).expect_stdout("ran");
    let outcome = outcome.expect_stderr_has(&format!("the {backend} backend steers"));
    words
        .iter()
        .fold(outcome, |outcome, word| outcome.expect_stderr_has(word));
}

/// The command does not run, and every one of `words` is told.
#[track_caller]
fn refuses(way: Way, change: &str, words: &[&str]) {
    let outcome = auto(&lab(), way, change).expect_code(125).expect_stdout("");
    words
        .iter()
        .fold(outcome, |outcome, word| outcome.expect_stderr_has(word));
}

#[test]
fn the_strongest_that_works_is_taken() {
    takes(Way::Ebpf, NOTHING, "ebpf", &[]);
    takes(
        Way::Rootless,
        NOTHING,
        "netns",
        &["the ebpf backend does not work here: it needs root"],
    );
    takes(
        Way::Ebpf,
        CGROUPS_READ_ONLY,
        "netns",
        &["the ebpf backend does not work here", "read-only"],
    );
}

#[test]
fn a_proc_that_cannot_be_had_anew_is_kept_and_told() {
    takes(Way::Ebpf, PROC_COVERED, "ebpf", &["the jail sees the outer /proc"]);
    takes(Way::Rootless, PROC_COVERED, "netns", &["the jail sees the outer /proc"]);
}

// Proves on netns: P12.
#[test]
fn without_sys_there_is_nothing_to_protect() {
    takes(Way::Ebpf, NO_SYS, "netns", &["the ebpf backend does not work here"]);
    takes(Way::Rootless, NO_SYS, "netns", &[]);
}

// Proves on netns: P12.
#[test]
fn a_kept_proc_leads_nowhere() {
    let lab = lab();
    let outside = lab.unjailed().as_user().command(["sleep", "600"]).start().unwrap();
    let pid = outside.pid();
    let look = format!(
        "for part in root/etc fd environ; do ls /proc/{pid}/$part >/dev/null 2>&1 && cat /proc/{pid}/environ && echo $part; done; \
         (echo 500 > /proc/{pid}/oom_score_adj) 2>/dev/null && echo written; kill -9 {pid} 2>/dev/null && echo killed; \
         tr '\\0' ' ' < /proc/{pid}/cmdline"
    );
    // Seen by its name, and nothing more; outside a jail the same user can do it all.
    let jail = lab.jail().way(Way::Rootless).without_log();
    after(PROC_COVERED, jail).shell(&look).run().expect_stdout("sleep 600");
    let twin = lab.unjailed().as_user().shell(&look).run();
    for word in ["root/etc", "fd", "written", "killed"] {
        assert!(twin.stdout.contains(word), "{twin:#?}");
    }
}

#[test]
fn where_none_works_each_says_why() {
    let off = [
        "ebpf: it needs root",
        "max_user_namespaces is 0",
        "hint: ",
        "sysctl -w user.max_user_namespaces",
    ];
    refuses(Way::Rootless, NO_USER_NAMESPACES, &off);
    let no_capability = "exec setpriv --bounding-set -all --inh-caps -all \"$@\"";
    refuses(
        Way::Ebpf,
        no_capability,
        &["ebpf: it needs root", "netns: ", "uid_map", "CAP_SETFCAP"],
    );
}

/// The sets that README.md names: neither CAP_KILL nor CAP_SETPCAP nor CAP_SYS_PTRACE is among them.
#[test]
fn few_capabilities_are_enough() {
    let lab = lab();
    let some = "+net_admin,+sys_admin,+dac_override,+setuid,+setgid";
    let with = |rights: &str| {
        let set = |which: &str| format!("--{which}=-all,{rights}");
        lab.jail()
            .way(Way::Ebpf)
            .through(["setpriv".to_owned(), set("inh-caps"), set("bounding-set")])
    };
    with(some).shell("exit 7").run().expect_code(7);
    let without = with("+net_admin,+bpf,+perfmon,+dac_override,+setuid,+setgid").command(["true"]);
    without
        .run()
        .expect_code(125)
        .expect_stderr_has("missing: CAP_SYS_ADMIN");
}

#[test]
fn a_mistake_in_an_option_is_no_backends_fault() {
    let lab = lab();
    let jail = lab
        .jail()
        .way(Way::Rootless)
        .without_log()
        .option("--backend")
        .option("auto");
    let jail = jail
        .option("--allow-socket")
        .option("/no/such/socket")
        .command(["true"]);
    let outcome = jail.run().expect_code(2).expect_stderr_has("/no/such/socket");
    assert!(!outcome.stderr.contains("no backend works here"), "{outcome:#?}");
}

#[test]
fn the_doctor_knows_a_jail_from_inside() {
    let lab = lab();
    let binary = lab.binary().to_owned();
    let outcome = lab
        .jail()
        .command([binary.as_os_str(), "doctor".as_ref()])
        .run()
        .expect_code(1);
    assert!(
        outcome.stdout.contains("cannot make a jail inside a jail"),
        "{outcome:#?}"
    );
    assert!(!outcome.stdout.contains("seccomp=unconfined"), "{outcome:#?}");
}

#[test]
fn the_doctor_says_it_as_a_table() {
    let doctor = |run: fn(&Lab) -> JailBuilder<'_>, change: &str, code: i32, rows: &[&str]| {
        let lab = lab();
        let binary = lab.binary().to_owned();
        let outcome = after(change, run(&lab))
            .command([binary.as_os_str(), "doctor".as_ref()])
            .run();
        let outcome = outcome.expect_code(code);
        for row in rows {
            assert!(
                outcome.stdout.lines().any(|line| line.starts_with(row)),
                "no {row:?} in {outcome:#?}"
            );
        }
        assert_eq!(outcome.stderr, "");
    };
    let root: fn(&Lab) -> JailBuilder<'_> = |lab| lab.unjailed();
    let user: fn(&Lab) -> JailBuilder<'_> = |lab| lab.unjailed().as_user();
    doctor(
        root,
        NOTHING,
        0,
        &["ebpf     yes", "netns    yes", "--backend auto takes ebpf"],
    );
    doctor(
        user,
        NOTHING,
        0,
        &["ebpf     no ", "netns    yes", "--backend auto takes netns"],
    );
    doctor(
        user,
        NO_USER_NAMESPACES,
        1,
        &["ebpf     no ", "netns    no ", "no backend works here"],
    );
}
