//! With whose rights the policy file is read, and what comes of it.

use std::io;
use std::path::PathBuf;

#[cfg(target_os = "linux")]
use crate::jail::sandbox::user_identity::UserIdentity;

/// The texts of a policy file, or why there are none.
pub(crate) type Change = Result<Vec<(PathBuf, String)>, String>;

/// Does something with the rights to files of the user who named the policy file.
pub(crate) trait Rights {
    /// Reads with them.
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T>;
}

/// This process's own rights.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own;

impl Rights for Own {
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Ok(work())
    }
}

#[cfg(target_os = "linux")]
impl Rights for &UserIdentity {
    fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        UserIdentity::act(self, work)
    }
}
