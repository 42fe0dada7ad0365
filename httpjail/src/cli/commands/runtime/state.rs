//! What is remembered of a container: a directory below `/run/httpjail/containers`, from its creation to its removal.
//!
//! It has the files that the container sees, what its attachment says, and which cgroup is held under which policy.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::digest;
use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};

const CONTAINERS: &str = "containers";
const BORN: &str = "container.json";
const HELD: &str = "held.json";
/// Longer ones leave no room for the path of a socket (unix(7): 108 bytes).
const KEY_BYTES: usize = 75;

/// The directory of one container.
#[derive(Debug, Clone)]
pub(super) struct State(PathBuf);

/// What is known when a container is created.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Born {
    /// The variables of its processes.
    pub variables: Vec<(String, String)>,
}

/// What is known when it is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Held {
    /// The cgroup, as a path of the file system.
    pub cgroup: PathBuf,
    /// Its number: a new one at the same path is another.
    pub id: u64,
    /// The policy.
    pub policy: Option<String>,
    /// What is held in its place, if it is the sandbox of a pod that is held as one.
    #[serde(default)]
    pub pod: Option<Pod>,
}

/// A pod that one attachment holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pod {
    /// Its cgroup, above those of its containers.
    pub cgroup: PathBuf,
    /// The number of that.
    pub id: u64,
    /// The number of the network namespace that its containers share.
    pub network: u64,
}

impl State {
    /// Returns the key of a container: its id, and where the runtime keeps it.
    ///
    /// # Errors
    /// When the id is none.
    pub(super) fn key(id: &str, root: Option<&OsStr>) -> Result<String, Failure> {
        let key = match root {
            None => id.to_owned(),
            Some(root) => {
                let hash = digest::digest(&digest::SHA256, root.as_bytes());
                let hash: String = hash.as_ref().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
                format!("{id}-{hash}")
            }
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.+".contains(c);
        match !id.is_empty() && !id.starts_with('.') && key.chars().all(is_plain) && key.len() <= KEY_BYTES {
            true => Ok(key),
            false => Err(Failure::new(format!(
                "invalid id of a container `{}`: expected letters, digits, `-`, `_`, `.` and `+`, {KEY_BYTES} at most",
                id.escape_debug()
            ))),
        }
    }

    /// Names the directory of a key.
    pub(super) fn of(key: &str) -> State {
        State(Path::new(RUN_DIR).join(CONTAINERS).join(key))
    }

    /// Makes the directory, empty.
    ///
    /// # Errors
    /// Those of making it.
    pub(super) fn make(&self) -> Result<(), Failure> {
        let made = || {
            make_run_dir()?;
            let above = self.0.parent().unwrap_or(Path::new(RUN_DIR));
            DirBuilder::new().recursive(true).mode(0o711).create(above)?;
            self.remove()?;
            DirBuilder::new().mode(0o711).create(&self.0)
        };
        made().map_err(|error| self.failed("make", &error))
    }

    /// Returns its path.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Returns the file in which the attachment speaks.
    pub(super) fn log_path(&self) -> PathBuf {
        self.0.join("attach.log")
    }

    /// Opens that file, to add to it.
    ///
    /// # Errors
    /// Those of opening it.
    pub(super) fn log(&self) -> Result<File, Failure> {
        let opened = File::options()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(self.log_path());
        opened.map_err(|error| self.failed("write to", &error))
    }

    /// Remembers what is known at the creation.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn write_born(&self, born: &Born) -> Result<(), Failure> {
        self.write(BORN, born)
    }

    /// Remembers that it is held.
    ///
    /// # Errors
    /// Those of writing.
    pub(super) fn write_held(&self, held: &Held) -> Result<(), Failure> {
        self.write(HELD, held)
    }

    /// Returns what was known at the creation; `None` if the container was not created by this runtime.
    pub(super) fn born(&self) -> Option<Born> {
        serde_json::from_slice(&fs::read(self.0.join(BORN)).ok()?).ok()
    }

    /// Returns what is held, if the cgroup is still there.
    pub(super) fn held(&self) -> Option<Held> {
        let held: Held = serde_json::from_slice(&fs::read(self.0.join(HELD)).ok()?).ok()?;
        held.is_there().then_some(held)
    }

    /// Removes the directory.
    ///
    /// # Errors
    /// Those of removing.
    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// Returns all that is held now.
    pub(super) fn all_held() -> Vec<Held> {
        State::all().iter().filter_map(State::held).collect()
    }

    /// Removes what containers have left that are gone and were never deleted by a call of ours (`run` deletes by itself).
    pub(super) fn sweep() {
        for state in State::all() {
            let was_held = state.0.join(HELD).exists();
            if was_held && state.held().is_none() {
                // Left for the next time.
                let _ = state.remove();
            }
        }
    }

    fn all() -> Vec<State> {
        let entries = fs::read_dir(Path::new(RUN_DIR).join(CONTAINERS));
        entries
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| State(entry.path()))
            .collect()
    }

    fn write(&self, name: &str, what: &impl Serialize) -> Result<(), Failure> {
        let text = serde_json::to_vec(what).map_err(|error| Failure::new(error.to_string()))?;
        let path = self.0.join(name);
        let opened = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path);
        let written = opened.and_then(|mut file| file.write_all(&text));
        written.map_err(|error| self.failed("write to", &error))
    }

    fn failed(&self, what: &str, error: &io::Error) -> Failure {
        Failure::new(format!("cannot {what} {}: {error}", self.0.display()))
    }
}

impl Held {
    fn is_there(&self) -> bool {
        fs::metadata(&self.cgroup).is_ok_and(|found| found.ino() == self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_name_and_differs_by_place() {
        let key = |id: &str, root: Option<&str>| State::key(id, root.map(OsStr::new));
        assert_eq!(key("abc", None).expect("a key"), "abc");
        let (one, other) = (
            key("abc", Some("/run/a")).expect("a key"),
            key("abc", Some("/run/b")).expect("a key"),
        );
        assert!(one.starts_with("abc-") && one != other);
        for id in ["", ".", "..", "../x", "a/b", "a b", &"a".repeat(80)] {
            assert!(key(id, None).is_err(), "{id:?}");
        }
    }
}
