//! Cgroups: none outside of the jail's can be written from inside, by whatever way to the tree; and what a jail does to its
//! own does not hold httpjail.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER_ID, Way, canary, eventually};

use crate::support::{Expect as _, PYTHON, have, lab};

const PROBE: &str = include_str!("support/probes/cgroups.py");
const LIMIT: Duration = Duration::from_secs(20);

/// Where a hierarchy is mounted; `None` if it is not.
fn mount_point(kind: &str, option: &str) -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    let is = |line: &&str| {
        let fields: Vec<&str> = line.split(' ').collect();
        fields[2] == kind && (option.is_empty() || fields[3].split(',').any(|given| given == option))
    };
    Some(mounts.lines().find(is)?.split(' ').nth(1)?.into())
}

/// A cgroup of the caller's, with another of his below it. Emptied and removed at the end.
struct Delegated {
    own: PathBuf,
    /// The name of the one below.
    victim: String,
}

impl Delegated {
    fn new(mount: &Path) -> Delegated {
        let own = mount.join(format!("jail-test-{}", canary()));
        let victim = canary();
        for folder in [own.clone(), own.join(&victim)] {
            fs::create_dir(&folder).unwrap();
            if Way::of_this_process() == Way::Rootless {
                // As systemd does for a user's manager, whose children own all of what they make.
                for file in fs::read_dir(&folder).unwrap().flatten().map(|entry| entry.path()) {
                    chown(file, Some(USER_ID), Some(USER_ID)).unwrap();
                }
                chown(&folder, Some(USER_ID), Some(USER_ID)).unwrap();
            }
        }
        Delegated { own, victim }
    }

    /// Starts it from in there.
    fn within<'lab>(&self, jail: JailBuilder<'lab>, below: &str) -> JailBuilder<'lab> {
        let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", self.own.join(below).display());
        jail.through(["sh", "-c", &enter, "sh"])
    }

    /// A process of the caller's that is no jail's.
    fn start_victim(&self, lab: &Lab) -> Running {
        let unjailed = match Way::of_this_process() {
            Way::Rootless => lab.unjailed().as_user(),
            _ => lab.unjailed(),
        };
        let run = self
            .within(unjailed, &self.victim)
            .shell("echo up; exec sleep 600")
            .start()
            .unwrap();
        assert!(eventually(LIMIT, || run.stdout() == "up\n"), "{}", run.stderr());
        run
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        let folders = |path: &Path| {
            let entries = fs::read_dir(path)
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path());
            entries.filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        eventually(LIMIT, || {
            for folder in folders(&self.own) {
                let _ = fs::write(folder.join("freezer.state"), "THAWED");
                for below in folders(&folder) {
                    let _ = fs::remove_dir(below);
                }
                let _ = fs::remove_dir(folder);
            }
            fs::remove_dir(&self.own).is_ok()
        });
    }
}

fn is_alive(run: &Running) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The probe's command line.
fn probe(lab: &Lab, what: &str, victim: &str) -> Vec<String> {
    let folder = lab.fresh_path("tree");
    fs::create_dir(&folder).unwrap();
    let program = lab.file("cgroups.py", PROBE);
    [
        PYTHON,
        program.to_str().unwrap(),
        what,
        victim,
        folder.to_str().unwrap(),
    ]
    .map(str::to_owned)
    .to_vec()
}

// Proves: P02, P04, P30.
#[test]
fn none_outside_can_be_written() {
    let lab = lab();
    let place = Delegated::new(&mount_point("cgroup2", "").expect("cgroup v2"));
    let bystander = place.start_victim(&lab);
    let jail = place.within(lab.jail(), "").command(probe(&lab, "kill", &place.victim));
    let outcome = jail.run().expect_code(0);
    assert!(outcome.stdout.contains("anew: None"), "it was tried: {outcome:#?}");
    assert!(!outcome.stdout.contains("killed"), "{outcome:#?}");
    assert!(is_alive(&bystander), "{outcome:#?}");

    let unjailed = match Way::of_this_process() {
        Way::Rootless => lab.unjailed().as_user(),
        _ => lab.unjailed(),
    };
    let outcome = place
        .within(unjailed, "")
        .command(probe(&lab, "kill", &place.victim))
        .run();
    assert!(
        eventually(LIMIT, || !is_alive(&bystander)),
        "without a jail: {outcome:#?}"
    );
}

#[test]
fn nested_namespaces_are_possible() {
    let lab = lab();
    lab.jail()
        .command(["unshare", "--user", "--cgroup", "cat", "/proc/self/cgroup"])
        .run()
        .expect_code(0);
    if have("bwrap") {
        let nested = ["bwrap", "--ro-bind", "/", "/", "--dev", "/dev", "--unshare-all", "true"];
        // A jailed root has no CAP_SETFCAP, and may not map itself (user_namespaces(7)).
        lab.jail().as_user().command(nested).run().expect_code(0);
    }
}

/// Killed, it stays until it is thawed. Nobody waits for that.
// Proves: P23.
#[test]
fn a_frozen_process_does_not_hold_httpjail() {
    let Some(mount) = mount_point("cgroup", "freezer") else {
        eprintln!("skipped: no freezer of cgroup v1 is mounted");
        return;
    };
    let lab = lab();
    let place = Delegated::new(&mount);
    let jail = place.within(lab.jail(), "").option("--timeout").option("30");
    let frozen = format!("frozen-{}", place.victim);
    let outcome = jail.command(probe(&lab, "freeze", &frozen)).run();
    assert!(outcome.stdout.ends_with("frozen\n"), "{outcome:#?}");
    outcome
        .expect_code(7)
        .expect_stderr_has("is still there 10 s after SIGKILL");
}
