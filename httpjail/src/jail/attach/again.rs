//! What is started again has a new cgroup at the old path, which nothing holds: it is waited for, and closed at once.
//!
//! The programs are loaded before, and the directory above is watched (inotify(7)), so that a few milliseconds lie between the
//! new cgroup and the programs on it. An engine and systemd need longer than that to start a process in it; but nothing
//! promises it.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use nix::sys::signal::Signal;

use super::target::Target;
use crate::failure::Failure;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};
use crate::jail::steering::cgroup::RunName;
use crate::jail::steering::ebpf::Loaded;
use crate::jail::supervisor::signals::Signals;

/// How often to look without being told: a watched directory may itself be made anew.
const TICK: Duration = Duration::from_millis(500);
/// How long an engine may take from the cgroup to the first instruction of the container. It is held from the beginning; this is
/// how long it may be closed to everything.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);
const SETTLE_TICK: Duration = Duration::from_millis(5);
/// Who sets a process up before it executes what it is for.
const STARTERS: [&str; 6] = ["runc", "crun", "youki", "httpjail-runc", "systemd", "systemd-executor"];
const PREFIX: &str = "waiting-";

/// What is ready for the next cgroup at a path.
pub(crate) struct Standby {
    path: PathBuf,
    changes: Inotify,
    programs: Option<Loaded>,
}

impl Standby {
    /// Loads programs, and watches for a cgroup at `path`.
    ///
    /// # Errors
    /// Those of loading the programs and of `inotify(7)`.
    pub(crate) fn new(path: &Path) -> Result<Self, Failure> {
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .map_err(|error| Failure::new(format!("cannot watch for {}: {error}", path.display())))?;
        let standby = Standby {
            path: path.to_owned(),
            changes,
            programs: Some(Loaded::new()?),
        };
        standby.watch();
        Ok(standby)
    }

    /// Returns the cgroup that is at the path now, if there is one.
    ///
    /// # Errors
    /// When it cannot be held.
    pub(crate) fn look(&self) -> Result<Option<Target>, Failure> {
        match fs::symlink_metadata(&self.path) {
            Ok(_) => Target::open(&self.path).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// Waits until there is a cgroup, or a signal asks to end: then it returns `None`.
    ///
    /// # Errors
    /// As for [`Standby::look`], and those of waiting.
    pub(crate) fn wait(&self, name: &str, signals: &Signals) -> Result<Option<Target>, Failure> {
        let _note = Waiting::note(&self.path, name)?;
        let failed = |error: io::Error| Failure::new(format!("cannot wait for {}: {error}", self.path.display()));
        let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
        loop {
            // First watched, then looked at: what comes in between is seen.
            self.watch();
            if let Some(found) = self.look()? {
                return Ok(Some(found));
            }
            let mut polled = [self.as_fd(), signals.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut polled, tick) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(failed(error.into())),
            }
            while let Some(signal) = signals.next().map_err(failed)? {
                if matches!(signal, Signal::SIGINT | Signal::SIGTERM | Signal::SIGQUIT) {
                    return Ok(None);
                }
            }
        }
    }

    /// Returns the programs.
    pub(crate) fn take(&mut self) -> Option<Loaded> {
        self.programs.take()
    }

    /// Forgets what has been told.
    pub(super) fn forget_changes(&self) {
        while self.changes.read_events().is_ok_and(|events| !events.is_empty()) {}
    }

    /// Watches the directory above the path, or what there is of it.
    fn watch(&self) {
        self.forget_changes();
        let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_DELETE_SELF;
        // Without a watch the tick remains.
        let above = self.path.ancestors().skip(1).find(|above| above.is_dir());
        let _ = above.map(|above| self.changes.add_watch(above, flags));
    }
}

impl AsFd for Standby {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.changes.as_fd()
    }
}

/// Waits until whoever starts the processes of a cgroup has done so: until then they are in the network of who starts them.
pub(super) fn settle(target: &Target) {
    let late = Instant::now() + SETTLE_LIMIT;
    while !is_settled(target) && Instant::now() < late && !target.is_gone() {
        sleep(SETTLE_TICK);
    }
}

/// Returns true if all processes of a cgroup execute what they are for, and there are some.
pub(crate) fn is_settled(target: &Target) -> bool {
    // A process that has ended has no executable.
    let processes = target.processes().unwrap_or_default().into_iter();
    let mut running = processes
        .filter_map(|pid| {
            let executable = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
            Some((executable, fs::read_to_string(format!("/proc/{pid}/comm")).ok()?))
        })
        .peekable();
    running.peek().is_some()
        && running.all(|(executable, name)| !is_starter(&executable, name.trim_end()))
        && target.network().is_ok()
}

/// runc executes a copy of itself in memory or in a mount of its own, whose path says nothing; it says `runc:[2:INIT]` of itself,
/// until it executes what the container is for.
fn is_starter(executable: &Path, name: &str) -> bool {
    let file = executable.file_name().unwrap_or_default().to_string_lossy();
    let file = file.trim_end_matches(" (deleted)");
    file.is_empty() || STARTERS.contains(&file) || STARTERS.contains(&name) || name.starts_with("runc:[")
}

/// Who waits, for `detach`: a file in [`RUN_DIR`], named by the run. It has the path that is waited for, and what the user named.
pub(super) struct Waiting {
    file: PathBuf,
    pub run: RunName,
    pub path: PathBuf,
    pub named: String,
}

impl Waiting {
    fn note(path: &Path, named: &str) -> Result<Note, Failure> {
        let failed = |error: &dyn std::fmt::Display| Failure::new(format!("cannot write to {RUN_DIR}: {error}"));
        let run = RunName::own().map_err(|error| failed(&error))?;
        let file = Path::new(RUN_DIR).join(format!("{PREFIX}{run}"));
        make_run_dir()
            .and_then(|()| File::create_new(&file))
            .and_then(|_| fs::write(&file, format!("{}\n{named}\n", path.display())))
            .map_err(|error| failed(&error))?;
        Ok(Note(file))
    }

    /// Returns all who wait, also those that are dead.
    pub(super) fn all() -> Vec<Waiting> {
        let entries = fs::read_dir(RUN_DIR).into_iter().flatten().flatten();
        let waiting = entries.filter_map(|entry| {
            let run = RunName::parse(entry.file_name().to_str()?.strip_prefix(PREFIX)?)?;
            let text = fs::read_to_string(entry.path()).ok()?;
            let (path, named) = text.trim_end().split_once('\n')?;
            Some(Waiting {
                file: entry.path(),
                run,
                path: path.into(),
                named: named.to_owned(),
            })
        });
        waiting.collect()
    }

    /// Removes what a dead one has left.
    pub(super) fn forget(&self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// Removes what dead ones have left.
pub(crate) fn forget_dead() {
    let all = Waiting::all().into_iter();
    let dead = all.filter(|waiting| waiting.run.may_live().is_ok_and(|lives| !lives));
    dead.for_each(|waiting| waiting.forget());
}

struct Note(PathBuf);

impl Drop for Note {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_starts_a_container_is_not_the_container() {
        let starts = |executable: &str, name: &str| is_starter(Path::new(executable), name);
        assert!(starts("/memfd:runc_cloned:/proc/self/exe (deleted)", "runc:[1:CHILD]"));
        assert!(starts("/", "runc:[2:INIT]"));
        assert!(starts("/usr/bin/crun (deleted)", "crun"));
        assert!(starts("/usr/lib/systemd/systemd-executor", "(agent)"));
        assert!(!starts("/usr/bin/python3.11", "python3"));
        assert!(!starts("/srv/runner", "runner"));
    }
}
