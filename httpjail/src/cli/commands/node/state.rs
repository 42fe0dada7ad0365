//! What a node knows of its children, for the next node: a file for each in `/run/httpjail/node`, of root's alone.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::jail::sandbox::run_dir::make_run_dir;
use crate::jail::steering::cgroup::start_time;

/// Where the files are.
pub(super) const DIRECTORY: &str = "/run/httpjail/node";
/// The socket at which children tell that they hold.
pub(super) const READY: &str = "ready";
const PREFIX: &str = "child-";

/// A child that was started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub pid: i32,
    /// When it started, so that no other process is taken for it.
    started: u64,
    /// Its name among the node's children.
    pub key: String,
    /// What stands behind `httpjail` on its command line.
    arguments: Vec<Vec<u8>>,
    /// The cgroup that it holds, and its id.
    pub cgroup: Option<(PathBuf, u64)>,
}

impl Record {
    /// Writes down that a child was started.
    ///
    /// # Errors
    /// Those of writing the file.
    pub(super) fn write(
        pid: i32,
        key: &str,
        arguments: &[OsString],
        cgroup: Option<(PathBuf, u64)>,
    ) -> io::Result<Record> {
        let started = start_time(pid.unsigned_abs())?.ok_or(io::ErrorKind::NotFound)?;
        let arguments = arguments.iter().map(|word| word.as_bytes().to_vec()).collect();
        let record = Record {
            pid,
            started,
            key: key.to_owned(),
            arguments,
            cgroup,
        };
        // Whole, or not there.
        let draft = Path::new(DIRECTORY).join("draft");
        fs::write(&draft, serde_json::to_vec(&record)?)?;
        fs::rename(&draft, record.path())?;
        Ok(record)
    }

    /// Returns what stands behind `httpjail` on its command line.
    pub(super) fn arguments(&self) -> Vec<OsString> {
        self.arguments.iter().cloned().map(OsString::from_vec).collect()
    }

    /// Returns true if it runs.
    pub(super) fn lives(&self) -> bool {
        start_time(self.pid.unsigned_abs()).is_ok_and(|started| started == Some(self.started))
    }

    /// Forgets it.
    pub(super) fn remove(&self) {
        let _ = fs::remove_file(self.path());
    }

    fn path(&self) -> PathBuf {
        Path::new(DIRECTORY).join(format!("{PREFIX}{}", self.pid))
    }
}

/// Returns all children that earlier nodes have started, and forgets those that have ended.
pub(super) fn all() -> Vec<Record> {
    let entries = fs::read_dir(DIRECTORY).into_iter().flatten().flatten();
    let written = entries.filter_map(|entry| {
        entry.file_name().to_str()?.strip_prefix(PREFIX)?;
        serde_json::from_slice::<Record>(&fs::read(entry.path()).ok()?).ok()
    });
    let (live, dead): (Vec<Record>, Vec<Record>) = written.partition(Record::lives);
    dead.iter().for_each(Record::remove);
    live
}

/// The place of this machine's node.
pub(super) struct Lock {
    _directory: File,
}

impl Drop for Lock {
    fn drop(&mut self) {
        forget();
    }
}

/// Takes the place of this machine's node.
///
/// # Errors
/// When another node runs.
pub(super) fn lock() -> Result<Lock, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot use {DIRECTORY}: {error}"));
    make_run_dir().map_err(failed)?;
    match DirBuilder::new().mode(0o700).create(DIRECTORY) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    let directory = File::open(DIRECTORY).map_err(failed)?;
    match directory.try_lock() {
        Ok(()) => Ok(Lock { _directory: directory }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
        Err(TryLockError::WouldBlock) => Err(Failure {
            hint: Some("one node holds all jails of a machine: add them to its node file, and send it SIGHUP".into()),
            ..Failure::new("another httpjail node runs on this machine")
        }),
    }
}

/// Removes what is known of children that have ended, and the directory, if no other is left.
pub(in crate::cli::commands) fn forget() {
    if all().is_empty() {
        let _ = fs::remove_file(Path::new(DIRECTORY).join(READY));
        let _ = fs::remove_dir(DIRECTORY);
    }
}

/// Returns true if a node runs.
pub(in crate::cli::commands) fn a_node_runs() -> bool {
    File::open(DIRECTORY).is_ok_and(|directory| matches!(directory.try_lock(), Err(TryLockError::WouldBlock)))
}
