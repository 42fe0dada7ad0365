//! Keeps the authority on disk on systems without file modes: makes it on the first run, loads it later.
//!
//! Its directory is in the user's profile, which Windows opens to that user, the system and administrators only; new files
//! inherit that. httpjail never acts for another user there, so it needs no defense against one. A file still appears whole or not
//! at all: if two first runs happen at once, the second finds the pair of the first.

use super::CertificateAuthority;
use super::authority::{AuthorityError, random};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";
/// Longer than any pair.
const LONGEST_FILE: u64 = 64 << 10;

/// Why the authority cannot be loaded or stored. [`StoreError::hint`] says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// A file could not be used.
    #[error("cannot {operation} {}: {source}", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory was not given as an absolute path.
    #[error("{} is not an absolute path", .0.display())]
    Relative(PathBuf),
    /// The pair is corrupt, does not belong together or has expired.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong.
        source: AuthorityError,
    },
    /// A new authority could not be made.
    #[error("cannot make a certificate authority: {0}")]
    Make(#[source] AuthorityError),
}

impl StoreError {
    /// Returns what the user can do about it.
    pub(crate) fn hint(&self) -> String {
        match self {
            StoreError::Unusable {
                source: AuthorityError::NotYetValid(_),
                ..
            } => "is the clock right?".into(),
            StoreError::Unusable { .. } => "make a new authority with httpjail ca rotate".into(),
            _ => "--ephemeral-ca keeps the authority in memory".into(),
        }
    }
}

/// Loads the authority in `dir`, or makes one there. `dir` must be absolute. `owner` is not used here.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn load_or_create(dir: &Path, _owner: Option<(u32, u32)>) -> Result<CertificateAuthority, StoreError> {
    if !dir.is_absolute() {
        return Err(StoreError::Relative(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(fault("create", dir))?;
    match load(dir)? {
        Some(authority) => Ok(authority),
        None => create(dir),
    }
}

/// Replaces the authority in `dir`, whatever its state.
///
/// # Errors
/// [`StoreError`].
pub(crate) fn rotate(dir: &Path, _owner: Option<(u32, u32)>) -> Result<CertificateAuthority, StoreError> {
    if !dir.is_absolute() {
        return Err(StoreError::Relative(dir.to_owned()));
    }
    fs::create_dir_all(dir).map_err(fault("create", dir))?;
    remove(&dir.join(KEY))?;
    create(dir)
}

fn load(dir: &Path) -> Result<Option<CertificateAuthority>, StoreError> {
    let path = dir.join(KEY);
    let Some(pair) = read(&path)? else { return Ok(None) };
    let authority = CertificateAuthority::from_pem(&pair, &pair).map_err(|source| StoreError::Unusable {
        path: path.clone(),
        source,
    })?;
    publish(dir, CERTIFICATE, authority.certificate_pem())?;
    Ok(Some(authority))
}

fn create(dir: &Path) -> Result<CertificateAuthority, StoreError> {
    let fresh = CertificateAuthority::generate().map_err(StoreError::Make)?;
    let key = fresh.key_pem();
    // Reserved first: growing would leave a copy of the key in freed memory.
    let mut pair = Zeroizing::new(String::with_capacity(key.len() + fresh.certificate_pem().len()));
    pair.push_str(&key);
    pair.push_str(fresh.certificate_pem());
    // A certificate without its key is that of an authority that no longer exists.
    remove(&dir.join(CERTIFICATE))?;
    publish(dir, KEY, &pair)?;
    load(dir)?.ok_or_else(|| fault("read back", &dir.join(KEY))(io::ErrorKind::NotFound.into()))
}

/// Writes a whole file in one step. Keeps a file that exists.
fn publish(dir: &Path, name: &str, text: &str) -> Result<(), StoreError> {
    let path = dir.join(name);
    if path.exists() {
        return Ok(());
    }
    let number = u64::from_be_bytes(random().map_err(StoreError::Make)?);
    let temporary = dir.join(format!(".{name}.{number:016x}"));
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    // A hard link fails if the file exists; a rename would replace it.
    let linked = written.and_then(|()| match fs::hard_link(&temporary, &path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    });
    // A temporary file that cannot be removed is harmless.
    let _ = fs::remove_file(&temporary);
    linked.map_err(fault("create", &path))
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fault("open", path)(error)),
    };
    let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
    file.take(LONGEST_FILE)
        .read_to_string(&mut text)
        .map_err(fault("read", path))?;
    Ok(Some(text))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(fault("remove", path)(error)),
        _ => Ok(()),
    }
}

fn fault(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io {
        operation,
        path,
        source,
    }
}
