//! Nothing is left: not after a normal end, not after `kill -9`, not after many jails.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{Lab, Outcome, Way, canary, eventually, processes_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Expect as _, PYTHON, curl_status, lab, repeats};

const DAEMON: &str = include_str!("support/probes/daemon.py");
const LIMIT: Duration = Duration::from_secs(2);

/// What a run could leave on its host, apart from processes and cgroups: mounts and links of the jailed side, and files in /run,
/// all of which are the lab's alone. But for the mounts that it had from the host: one that names a network namespace goes with
/// the file that it is on, whenever the program that it belongs to removes that (tests/strangers.rs).
fn traces(lab: &Lab) -> BTreeSet<String> {
    lab.on_jailside(|| {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
        let links = fs::read_to_string("/proc/thread-self/net/dev")?;
        let mounts = mounts.lines().filter(|line| !line.contains(" /run/netns/"));
        let mut traces: BTreeSet<String> = mounts.map(|line| format!("mount {line}")).collect();
        traces.extend(
            links
                .lines()
                .filter_map(|line| line.split_once(':'))
                .map(|(name, _)| format!("link {name}")),
        );
        traces.extend(
            tree(Path::new("/run"))
                .iter()
                .map(|path| format!("file {}", path.display())),
        );
        Ok(traces)
    })
    .unwrap()
}

fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        found.push(entry.path());
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(tree(&entry.path()));
        }
    }
    found
}

/// The cgroups of runs that are still there, by the numbers in their logs. Where a run has none of its own those of its
/// processes were there before.
fn cgroups(events: &[serde_json::Value]) -> Vec<PathBuf> {
    let numbers: BTreeSet<u64> = events.iter().filter_map(|event| event["cgroup"].as_u64()).collect();
    if Way::of_this_process() != Way::Ebpf {
        return Vec::new();
    }
    assert!(!numbers.is_empty(), "events tell a cgroup: {events:#?}");
    let unified = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mount = unified
        .lines()
        .find(|line| line.contains(" - cgroup2 "))
        .and_then(|line| line.split(' ').nth(4));
    tree(Path::new(mount.unwrap()))
        .into_iter()
        .filter(|path| fs::metadata(path).is_ok_and(|about| about.is_dir() && numbers.contains(&about.ino())))
        .collect()
}

// Proves: P17, K12, P05.
#[test]
fn after_a_normal_end() {
    let lab = lab();
    // What the first run makes for all that follow (a folder in /run, say) is no trace.
    lab.jail().command(["true"]).run().expect_code(0);
    let before = traces(&lab);
    let mark = canary();
    let script = "curl -sS https://ok.test/ >/dev/null; (setsid sleep 600 &); exit 3";
    let outcome = lab
        .jail()
        .rule("allow: ^https://ok\\.test/")
        .command(["sh", "-c", script, &mark])
        .run()
        .expect_code(3);
    assert_eq!(traces(&lab), before);
    assert_eq!(cgroups(&outcome.events), Vec::<PathBuf>::new());
    assert_eq!(processes_with(&mark), Vec::<i32>::new());
    assert_eq!(lab.requests_for("ok.test").len(), 1);
}

// Proves: P05, P17.
#[test]
fn an_orphan_ends_with_its_jail() {
    let lab = lab();
    let mark = canary();
    let script = format!("(setsid sh -c 'sleep 600; : {mark}' &); sleep 0.1");
    lab.jail().command(["sh", "-c", &script]).run().expect_code(0);
    assert!(
        eventually(LIMIT, || processes_with(&mark).is_empty()),
        "{:?}",
        processes_with(&mark)
    );
}

#[test]
fn the_orphan_gets_out_without_a_jail() {
    let lab = lab();
    let (daemon, mark) = (lab.file("daemon.py", DAEMON), canary());
    let run = lab
        .unjailed()
        .command([PYTHON, daemon.to_str().unwrap(), &mark])
        .start()
        .unwrap();
    assert!(eventually(Duration::from_secs(20), || lab.wire().saw(&mark)), "{run:?}");
    for protocol in [6, 17] {
        assert!(lab.wire().packets_of(protocol) > 0);
    }
}

// Proves: P15, P16, K12.
#[test]
fn after_kill_9() {
    for _ in 0..repeats("HTTPJAIL_TEST_KILLS", 3) {
        kill_in_random_order();
    }
}

/// Kills the processes of httpjail while an orphan in the jail does nothing but try to get out.
fn kill_in_random_order() {
    let lab = lab();
    lab.jail().command(["true"]).run().expect_code(0);
    let before = traces(&lab);
    let (daemon, mark) = (lab.file("daemon.py", DAEMON), canary());
    let log = lab.fresh_path("killed.json");
    let run = lab
        .jail()
        .log_to(&log)
        .rule("allow: .*")
        .command([PYTHON, daemon.to_str().unwrap(), &mark])
        .start()
        .unwrap();
    // Under way when an attempt of the orphan's has been refused, which also tells the cgroup where there is one.
    let refused = || fs::read_to_string(&log).is_ok_and(|text| text.contains("\"verdict\":\"deny\""));
    let under_way = eventually(Duration::from_secs(20), || run.stdout() == "looping\n" && refused());
    assert!(under_way, "{run:?}: {}", run.stderr());

    let is_httpjail = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == lab.binary());
    let mut ours: Vec<i32> = processes_with(&mark).into_iter().filter(is_httpjail).collect();
    assert!(!ours.is_empty());
    ours.sort_by_key(|_| canary());
    let longest = repeats("HTTPJAIL_TEST_KILL_GAP_MS", 50) as u64;
    for pid in &ours {
        // One may have taken the next with it.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        // Nothing waits for this: it is when the orphan would get out, if what is left could not hold it.
        let random = canary()
            .bytes()
            .fold(0, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        std::thread::sleep(Duration::from_millis(random % (longest + 1)));
    }
    let gone = eventually(LIMIT, || processes_with(&mark).iter().all(|pid| zombie(*pid)));
    assert!(gone, "killed {ours:?}, still there: {:?}", processes_with(&mark));
    assert!(!lab.wire().saw(&mark), "something got out while {ours:?} were killed");
    drop(run);

    let events: Vec<serde_json::Value> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    lab.jail().command(["true"]).run().expect_code(0);
    assert_eq!(traces(&lab), before);
    assert_eq!(cgroups(&events), Vec::<PathBuf>::new());
}

/// Dead, and not yet waited for by its parent (which is us).
fn zombie(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "))
}

// Proves: K12.
/// Whose run a cgroup is stands in its name, and a process's start is told otherwise in another time namespace: a run that
/// lives must be seen to live all the same.
#[test]
fn a_run_that_lives_is_nobodys_leftover() {
    let lab = lab();
    let jail = lab
        .jail()
        .shell("echo up; read line")
        .stdin_from(std::process::Stdio::piped());
    let mut jail = jail.start().unwrap();
    let up = eventually(Duration::from_secs(20), || jail.stdout() == "up\n");
    assert!(up, "{}", jail.stderr());
    let elsewhere = ["unshare", "--time", "--boottime", "100000", "--fork"];
    lab.jail().through(elsewhere).command(["true"]).run().expect_code(0);
    // Its standard input ends with it.
    jail.end_input();
    jail.wait().unwrap().expect_code(1);
}

#[test]
fn many_that_find_the_same_leftover_say_nothing_of_it() {
    let lab = lab();
    let jail = lab.jail().shell("echo up; exec sleep 600").start().unwrap();
    assert!(eventually(Duration::from_secs(20), || jail.stdout() == "up\n"));
    jail.signal(Signal::SIGKILL);
    assert_eq!(jail.wait().unwrap().signal(), Some(9));
    let runs: Vec<_> = (0..8).map(|_| lab.jail().command(["true"]).start().unwrap()).collect();
    for run in runs {
        let outcome = run.wait().unwrap().expect_code(0);
        assert_eq!(outcome.stderr, "");
    }
}

// Proves: K12.
#[test]
fn many_jails_in_series() {
    let lab = lab();
    lab.jail().command(["true"]).run().expect_code(0);
    let before = traces(&lab);
    // One request each, since a request's event tells the cgroup.
    let runs: Vec<Outcome> = (0..repeats("HTTPJAIL_TEST_JAILS", 10))
        .map(|_| {
            curl_status(lab.jail(), &["http://evil.test/"])
                .run()
                .expect_stdout("403")
        })
        .collect();
    let events: Vec<serde_json::Value> = runs.into_iter().flat_map(|run| run.events).collect();
    assert_eq!(traces(&lab), before);
    assert_eq!(cgroups(&events), Vec::<PathBuf>::new());
}

#[test]
fn many_jails_at_once() {
    let lab = lab();
    lab.jail().command(["true"]).run().expect_code(0);
    let before = traces(&lab);
    let count = repeats("HTTPJAIL_TEST_JAILS_AT_ONCE", 20);
    let runs: Vec<_> = (0..count)
        .map(|number| {
            let script = format!(
                "curl -sS -o /dev/null -w '%{{http_code}} ' https://ok.test/{number}; \
                 curl -sS -o /dev/null -w '%{{http_code}}' https://ok.test/{}",
                number + 1
            );
            lab.jail()
                .rule(&format!(r"allow: ^https://ok\.test/{number}$"))
                .shell(&script)
                .start()
                .unwrap()
        })
        .collect();
    for run in runs {
        // Each is judged by its own rules.
        run.wait().unwrap().expect_code(0).expect_stdout("200 403");
    }
    assert_eq!(lab.requests_for("ok.test").len(), count);
    assert_eq!(traces(&lab), before);
}
