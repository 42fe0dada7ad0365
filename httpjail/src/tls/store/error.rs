//! The errors of the authority on disk, and what its owner can do about them.
//!
//! Nothing is repaired silently: a key that others could read is not secret any more, even if its mode is corrected.

use crate::tls::AuthorityError;
use nix::errno::Errno;
use std::path::PathBuf;

/// Why the authority cannot be loaded or stored. [`StoreError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A system call failed.
    #[error("cannot {operation} {}: {errno}", path.display())]
    Io {
        operation: &'static str,
        path: PathBuf,
        errno: Errno,
    },
    /// The directory was not given as an absolute path.
    #[error("{} is not an absolute path", .0.display())]
    Relative(PathBuf),
    /// A directory is needed, and something else is there.
    #[error("{} is not a directory", .0.display())]
    NotDirectory(PathBuf),
    /// A link in the path belongs to neither root nor the owner.
    #[error("{} is a symbolic link of another user", .0.display())]
    ForeignLink(PathBuf),
    /// A directory belongs to another user than the owner.
    #[error("{} belongs to user {uid}, not to user {owner}", path.display())]
    ForeignDirectory { path: PathBuf, uid: u32, owner: u32 },
    /// Other users can replace the files in the directory.
    #[error("{} can be written by others (mode {mode:04o})", path.display())]
    LooseDirectory { path: PathBuf, mode: u32 },
    /// The key file is a link, a pipe, or too long.
    #[error("{} is not a regular file, or is too long", .0.display())]
    NotFile(PathBuf),
    /// The key belongs to another user than the owner or root.
    #[error("{} belongs to user {uid}, not to user {owner}", path.display())]
    ForeignKey { path: PathBuf, uid: u32, owner: u32 },
    /// Other users can read the key, or could before.
    #[error("{} can be read or written by others (mode {mode:04o})", path.display())]
    LooseKey { path: PathBuf, mode: u32 },
    /// The pair is corrupt, does not belong together or has expired.
    #[error("{}: {source}", path.display())]
    Unusable { path: PathBuf, source: AuthorityError },
    /// `ca.crt` is not the certificate that `ca.key` holds.
    #[error("{} is not the certificate of the key beside it", .0.display())]
    Mismatch(PathBuf),
    /// A new authority could not be made.
    #[error("cannot make a certificate authority: {0}")]
    Make(#[source] AuthorityError),
}

impl StoreError {
    /// Returns what the user can do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            StoreError::Io {
                errno: Errno::EROFS | Errno::ENOSPC | Errno::EPERM | Errno::EOPNOTSUPP,
                ..
            } => "--ephemeral-ca keeps the authority in memory".into(),
            StoreError::Io { .. } | StoreError::Relative(_) | StoreError::Make(_) => {
                "check that the directory exists and is yours, or keep the authority in memory with --ephemeral-ca"
                    .into()
            }
            StoreError::NotDirectory(path) => format!("move {} out of the way", path.display()),
            StoreError::ForeignLink(path) => format!("remove {}", path.display()),
            StoreError::ForeignDirectory { path, owner, .. } => {
                format!("if it should be theirs: chown {owner} {}", path.display())
            }
            StoreError::LooseDirectory { path, .. } => format!("chmod go-w {}", path.display()),
            StoreError::LooseKey { .. } => {
                "others may know the key by now: make a new one with httpjail ca rotate".into()
            }
            StoreError::NotFile(path) | StoreError::ForeignKey { path, .. } => {
                format!(
                    "httpjail did not make this file: look at it, remove {}, and run again",
                    path.display()
                )
            }
            StoreError::Unusable {
                source: AuthorityError::NotYetValid(_),
                ..
            } => "is the clock right?".into(),
            StoreError::Unusable { .. } | StoreError::Mismatch(_) => {
                "make a new authority with httpjail ca rotate".into()
            }
        }
    }
}
