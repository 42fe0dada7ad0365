//! The files of signed policies: read with the caller's rights, and written so that there is always a whole one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::USAGE;
use crate::cli::policy_file::bytes_of;
use crate::failure::Failure;
use crate::signed::PublicKey;

/// Returns the path with `.more` behind its last part.
pub(super) fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(more);
    name.into()
}

/// Reads a whole file.
///
/// # Errors
/// When it cannot be read.
pub(super) fn read(what: &str, path: &Path, caller: &InvokingUser) -> Result<Vec<u8>, Failure> {
    let read = caller.act(|| bytes_of(path)).flatten();
    read.map_err(|error| Failure {
        status: USAGE,
        ..Failure::new(format!("cannot read {what} {}: {error}", path.display()))
    })
}

/// Reads the keys that are trusted.
///
/// # Errors
/// When one of the files is none.
pub(super) fn keys(paths: &[PathBuf], caller: &InvokingUser) -> Result<Vec<PublicKey>, Failure> {
    let key = |path: &PathBuf| {
        PublicKey::from_pem(&read("the key", path, caller)?).map_err(|error| Failure {
            hint: Some("`httpjail policy keygen FILE` writes it to FILE.pub".into()),
            status: USAGE,
            ..Failure::new(format!("cannot use the key {}: {error}", path.display()))
        })
    };
    paths.iter().map(key).collect()
}

/// Writes a new file.
///
/// # Errors
/// Those of `open(2)` and `write(2)`; `EEXIST` if there is one.
pub(super) fn create(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let mut file = new(path, mode)?;
    file.write_all(text)?;
    file.sync_all()
}

/// Puts a new file in the place of another, so that whoever looks, and whatever stops this, finds one of the two whole.
///
/// # Errors
/// Those of the system calls; the old one is still there then.
pub(super) fn replace(path: &Path, mode: u32, text: &[u8]) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".new");
    let fresh = folder.join(hidden);
    // What was stopped has left it.
    match fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create(&fresh, mode, text)?;
    fs::rename(&fresh, path)?;
    // The new name is on the disk only when the directory is.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

fn new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
        let file = options.mode(mode).open(path)?;
        // Whatever the mask says.
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        Ok(file)
    }
    #[cfg(not(unix))]
    {
        let _ = mode;
        options.open(path)
    }
}
