//! Keeps the authority on disk: makes it on the first run, loads it later; only its owner can read it.
//!
//! Root often runs this in a directory that another user can write to (sudo). So no path is trusted twice: every step starts
//! from an open directory, links are followed only by the rules of [`walk`], files are created with `O_EXCL` and the right mode
//! at once, and change their owner through their descriptor. If the caller has switched the file-system user before, the owner is
//! right from the start.
//!
//! `ca.key` contains the key and a copy of its certificate. So creation is one atomic step: `link(2)`, which fails if the file
//! exists. If two first runs happen at once, the second finds the pair of the first. `ca.crt` is written from `ca.key`.

mod error;
mod owner;
mod walk;

pub(crate) use error::StoreError;

use self::owner::Owner;
use super::CertificateAuthority;
use super::authority::random;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{UnlinkatFlags, linkat, unlinkat};
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.crt";
/// Longer than any pair.
const LONGEST_FILE: u64 = 64 << 10;

/// Loads the authority in `dir`, or makes one there.
///
/// `owner` (user and group id) owns the files that are created; `None` is the current user. Missing directories are created with mode
/// 0700. An existing directory may be readable by others (the key is not), but not writable. Root, acting for another user, creates
/// nothing in a directory that does not belong to that user.
///
/// `dir` must be absolute. This is called once at each start, and costs a few system calls if the authority exists.
pub(crate) fn load_or_create(dir: &Path, owner: Option<(u32, u32)>) -> Result<CertificateAuthority, StoreError> {
    let store = Store::open(dir, owner)?;
    if let Some(authority) = store.load()? {
        return Ok(authority);
    }
    store.create()
}

/// Replaces the authority in `dir`, whatever its state, as [`load_or_create`] does. Jails that start later do not trust the leaves of
/// the old one.
pub(crate) fn rotate(dir: &Path, owner: Option<(u32, u32)>) -> Result<CertificateAuthority, StoreError> {
    let store = Store::open(dir, owner)?;
    store.remove(KEY)?;
    store.create()
}

/// The open and checked directory of an authority.
struct Store {
    dir: OwnedFd,
    path: PathBuf,
    owner: Owner,
}

impl Store {
    fn open(dir: &Path, owner: Option<(u32, u32)>) -> Result<Self, StoreError> {
        let owner = Owner::new(owner);
        let (fd, status) = walk::open_or_make(dir, owner)?;
        let (path, uid) = (dir.to_owned(), status.st_uid);
        if uid != owner.uid.as_raw() && (uid != 0 || owner.is_another()) {
            return Err(StoreError::ForeignDirectory {
                path,
                uid,
                owner: owner.uid.as_raw(),
            });
        }
        if permissions(&status) & 0o022 != 0 {
            return Err(StoreError::LooseDirectory {
                path,
                mode: permissions(&status),
            });
        }
        Ok(Store { dir: fd, path, owner })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    fn load(&self) -> Result<Option<CertificateAuthority>, StoreError> {
        let Some((key, status)) = self.read(KEY)? else {
            return Ok(None);
        };
        let (path, mode, uid) = (self.path(KEY), permissions(&status), status.st_uid);
        if uid != self.owner.uid.as_raw() && uid != 0 {
            return Err(StoreError::ForeignKey {
                path,
                uid,
                owner: self.owner.uid.as_raw(),
            });
        }
        if mode & 0o077 != 0 {
            return Err(StoreError::LooseKey { path, mode });
        }
        let beside = self.read(CERTIFICATE)?.map(|(text, _)| text);
        // A pair from elsewhere may have its certificate in ca.crt alone.
        let certificate = match (&beside, key.contains("-----BEGIN CERTIFICATE-----")) {
            (Some(beside), false) => beside,
            _ => &key,
        };
        let authority = CertificateAuthority::from_pem(certificate, &key)
            .map_err(|source| StoreError::Unusable { path, source })?;
        match beside {
            None => self.publish(CERTIFICATE, 0o644, authority.certificate_pem())?,
            Some(beside) if beside.contains(authority.certificate_pem().trim()) => {}
            Some(_) => return Err(StoreError::Mismatch(self.path(CERTIFICATE))),
        }
        Ok(Some(authority))
    }

    /// Makes and stores an authority. If another run was first, loads that one.
    fn create(&self) -> Result<CertificateAuthority, StoreError> {
        let fresh = CertificateAuthority::generate().map_err(StoreError::Make)?;
        let key = fresh.key_pem();
        // Reserved first: growing would leave a copy of the key in freed memory.
        let mut pair = Zeroizing::new(String::with_capacity(key.len() + fresh.certificate_pem().len()));
        pair.push_str(&key);
        pair.push_str(fresh.certificate_pem());
        // A certificate without its key is that of an authority that no longer exists.
        self.remove(CERTIFICATE)?;
        self.publish(KEY, 0o600, &pair)?;
        let errno = Errno::ENOENT;
        self.load()?.ok_or_else(|| StoreError::Io {
            operation: "read back",
            path: self.path(KEY),
            errno,
        })
    }

    fn remove(&self, name: &str) -> Result<(), StoreError> {
        match unlinkat(&self.dir, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(StoreError::Io {
                operation: "remove",
                path: self.path(name),
                errno,
            }),
        }
    }

    /// Writes a whole file in one step. Keeps a file that exists.
    fn publish(&self, name: &str, mode: u32, text: &str) -> Result<(), StoreError> {
        let fault = |operation, errno| StoreError::Io {
            operation,
            path: self.path(name),
            errno,
        };
        let temporary = format!(
            ".{name}.{:016x}",
            u64::from_be_bytes(random().map_err(StoreError::Make)?)
        );
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(
            &self.dir,
            temporary.as_str(),
            flags,
            Mode::from_bits_truncate(mode as _),
        )
        .map_err(|errno| fault("create", errno))?;
        let written = self
            .owner
            .give(&fd)
            .map_err(|errno| fault("change the owner of", errno))
            .and_then(|()| {
                let mut file = File::from(fd);
                let result = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
                result.map_err(|err| fault("write", err.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))
            });
        let linked =
            written.and_then(
                |()| match linkat(&self.dir, temporary.as_str(), &self.dir, name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::EEXIST) => Ok(()),
                    Err(errno) => Err(fault("create", errno)),
                },
            );
        let _ = unlinkat(&self.dir, temporary.as_str(), UnlinkatFlags::NoRemoveDir);
        linked
    }

    /// Returns the text of a file and its status, or `None` if there is no file.
    fn read(&self, name: &str) -> Result<Option<(Zeroizing<String>, FileStat)>, StoreError> {
        let fault = |operation, errno| StoreError::Io {
            operation,
            path: self.path(name),
            errno,
        };
        // O_NONBLOCK: opening a FIFO must not wait.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let fd = match openat(&self.dir, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::ENOENT) => return Ok(None),
            Err(Errno::ELOOP) => return Err(StoreError::NotFile(self.path(name))), // a link, open(2) O_NOFOLLOW
            Err(errno) => return Err(fault("open", errno)),
        };
        let status = fstat(&fd).map_err(|errno| fault("examine", errno))?;
        let kind = SFlag::from_bits_truncate(status.st_mode & SFlag::S_IFMT.bits());
        if kind != SFlag::S_IFREG || status.st_size as u64 > LONGEST_FILE {
            return Err(StoreError::NotFile(self.path(name)));
        }
        let mut text = Zeroizing::new(String::with_capacity(LONGEST_FILE as usize));
        let read = File::from(fd).take(LONGEST_FILE).read_to_string(&mut text);
        read.map_err(|_| StoreError::NotFile(self.path(name)))?;
        Ok(Some((text, status)))
    }
}

/// Returns the permission bits, in a width that is enough on every system.
#[cfg_attr(
    target_os = "linux",
    expect(clippy::unnecessary_cast, reason = "macOS's mode_t has 16 bits")
)]
fn permissions(status: &FileStat) -> u32 {
    status.st_mode as u32 & 0o7777
}

#[cfg(test)]
mod tests;
