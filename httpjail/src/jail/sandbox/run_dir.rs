//! The directory `/run/httpjail`, and what replaces it where only root could create it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// In a jail, a tmpfs with the files that are laid over the host's. On the host, an empty directory that root creates once.
pub(crate) const RUN_DIR: &str = "/run/httpjail";

/// Directories that usually exist and are usually empty, for use when nothing better is there.
const SPARE_DIRS: [&str; 5] = ["/mnt", "/media", "/srv", "/opt", "/home"];

/// Finds a directory for the jail's own files. A mount needs an existing directory, and only root can create `/run/httpjail`.
/// Otherwise it is `own`, the authority's, which the jail may not see anyway, or an empty one.
///
/// # Errors
/// When there is none.
pub(crate) fn place(own: &Path) -> io::Result<PathBuf> {
    let run = Path::new(RUN_DIR);
    let made = DirBuilder::new().mode(0o755).create(run);
    if run.is_dir() {
        return Ok(run.into());
    }
    let empty = |dir: &&Path| fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    let spare = || SPARE_DIRS.iter().map(Path::new).find(empty);
    let found = Some(own).filter(|own| own.is_dir()).or_else(spare);
    found
        .map(Path::to_owned)
        .ok_or_else(|| made.err().unwrap_or_else(|| io::ErrorKind::NotFound.into()))
}

/// Creates `/run/httpjail`, as root. It stays.
///
/// # Errors
/// Those of creating it, and when another user than root could write to it.
pub(crate) fn make_run_dir() -> io::Result<()> {
    match DirBuilder::new().mode(0o755).create(RUN_DIR) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made,
    }
    let found = fs::symlink_metadata(RUN_DIR)?;
    if found.is_dir() && found.uid() == 0 && found.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "{RUN_DIR} must be a directory that only root can write to"
        )))
    }
}
