//! Proves that an attachment holds: a test process in a cgroup below the target tries what must be redirected or
//! refused.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::PathBuf;

use nix::sched::CloneFlags;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::target::{Target, within};
use crate::jail::process::namespaces::STEP_LIMIT;
use crate::jail::protocol::channel::wait_readable;
use crate::jail::steering::cgroup::RunName;
use crate::jail::{self_test, termination};
use crate::net::{Listeners, OriginalDstSource};
use crate::sys::clone::{self, Side};

const NAME: &str = "httpjail-canary-";

/// The cgroup of the test process. Dropping it removes it.
struct TestCgroup(PathBuf);

/// Runs the self-test in a cgroup below `target`. Returns what is wrong; empty if the attachment holds.
///
/// # Errors
/// Those of making the cgroup and the test process.
pub(super) fn prove(
    target: &Target,
    network: Option<Pid>,
    name: &RunName,
    listeners: &Listeners,
    flows: &dyn OriginalDstSource,
) -> io::Result<Vec<String>> {
    let cage = TestCgroup(target.path().join(format!("{NAME}{name}")));
    DirBuilder::new().mode(0o755).create(&cage.0)?;
    let directory = File::open(&cage.0)?;
    let id = directory.metadata()?.ino();
    let ipv6 = listeners.proxy.len() > 1;
    let (mut told, mut tell) = io::pipe()?;
    let side = within(network, || {
        match clone::clone(CloneFlags::empty(), Some(directory.as_fd()))? {
            Side::Parent(pid) => Ok(pid),
            Side::Child => clone::live(|| {
                let bound = prctl::set_pdeathsig(Signal::SIGKILL).map_err(io::Error::from);
                let told = bound.and_then(|()| tell.write_all(&serde_json::to_vec(&self_test::probe(ipv6))?));
                i32::from(told.is_err())
            }),
        }
    });
    drop(tell);
    let pid = side?;
    let ended = clone::pidfd(pid)?;
    // The process writes its result at once, and then ends.
    let in_time =
        wait_readable(told.as_fd(), STEP_LIMIT).and_then(|told| Ok(told && wait_readable(ended.as_fd(), STEP_LIMIT)?));
    termination::kill_and_reap("the canary", pid, ended.as_fd()).map_err(io::Error::other)?;
    in_time?;
    let mut bytes = Vec::new();
    told.read_to_end(&mut bytes)?;
    let mut wrong: Vec<String> =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| vec!["the self-test did not finish".to_owned()]);
    if wrong.is_empty() {
        let seen = self_test::witness_among(listeners, flows, Some(id));
        wrong.extend(seen.err().map(|error| error.to_string()));
    }
    Ok(wrong)
}

/// Removes the test's cgroup of a run that was killed before it did so itself.
pub(super) fn remove_test_cgroup(cgroup: &std::path::Path, name: &RunName) {
    // There is nearly always none.
    drop(TestCgroup(cgroup.join(format!("{NAME}{name}"))));
}

impl Drop for TestCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}
