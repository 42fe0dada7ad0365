//! Where control sockets lie: a directory of their owner's alone.
//!
//! The directory is locked while a socket is made or removed. So one that refuses connections is known to be left by a dead
//! process, and not one that is about to listen.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::signal::kill;
use nix::unistd::{Pid, geteuid};
use socket2::{Domain, SockAddr, Socket, Type};

use super::protocol::parse_name;

/// Root's; its parent is made by who makes the other things in it.
const OF_ROOT: &str = "/run/httpjail/control";
/// A user's, below a directory that the system keeps for the user's sockets.
const OF_USER: &str = "httpjail/control";
/// Where jails see nothing (`jail::sandbox::sockets`).
const UNSEEN: &str = "/run/user";
/// The same, below the user's home, where jails see nothing either.
const IN_HOME: &str = ".local/state/httpjail/control";
const ENDING: &str = ".sock";
/// The longest path that surely is an address (`sun_path` has 108 bytes).
const ADDRESS_MAX: usize = 100;
/// How long another process may hold the lock. It makes a few calls meanwhile.
const LOCK_LIMIT: Duration = Duration::from_secs(2);
const LOCK_TICK: Duration = Duration::from_millis(2);
/// How many sockets of others a new run tries to connect to, to find dead ones.
const TRIED: usize = 32;

/// Where the process's user may have control sockets, the best place first. `home` is the user's.
pub(crate) fn places(home: &Path) -> Vec<PathBuf> {
    let user = geteuid();
    if user.is_root() {
        return vec![OF_ROOT.into()];
    }
    let own = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = Path::new(UNSEEN).join(user.to_string());
    let kept = own.into_iter().chain([usual]);
    // What another user could write to is none, and neither is what a jail sees.
    let kept = kept.filter(|place| place.starts_with(UNSEEN) && is_own(place, 0o022).is_ok());
    let mut places: Vec<PathBuf> = kept.map(|place| place.join(OF_USER)).collect();
    places.push(home.join(IN_HOME));
    places.dedup();
    places
}

/// Returns whether the file is a control socket of root's, or of this user, whose home this is, by whatever name.
pub(crate) fn is_control_socket(file: &fs::Metadata, user: u32, home: &Path) -> bool {
    let usual = Path::new(UNSEEN).join(user.to_string()).join(OF_USER);
    let places = [PathBuf::from(OF_ROOT), usual, home.join(IN_HOME)];
    let entries = places.iter().filter_map(|place| fs::read_dir(place).ok());
    let mut sockets = entries.flatten().filter_map(|entry| entry.ok()?.metadata().ok());
    sockets.any(|socket| (socket.dev(), socket.ino()) == (file.dev(), file.ino()))
}

/// A directory of control sockets, open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    open: File,
}

impl Directory {
    /// Opens a directory that is there.
    ///
    /// # Errors
    /// Those of opening it, and that it is not the user's alone.
    pub(super) fn open(path: &Path) -> io::Result<Directory> {
        is_own(path, 0o077)?;
        let open = File::options()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
            .open(path)?;
        Ok(Directory {
            path: path.to_owned(),
            open,
        })
    }

    /// Makes the first of the places that can be made.
    fn make(places: &[PathBuf]) -> io::Result<Directory> {
        let mut failed = io::Error::from(io::ErrorKind::NotFound);
        for place in places {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(place);
            match made.and_then(|()| Directory::open(place)) {
                Ok(directory) => return Ok(directory),
                Err(error) => failed = io::Error::new(error.kind(), format!("{}: {error}", place.display())),
            }
        }
        Err(failed)
    }

    /// Returns the names of the sockets in it.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type().is_ok_and(|kind| kind.is_socket()) {
                names.extend(name_of(&entry.file_name()).map(str::to_owned));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Connects to a socket, within this time.
    ///
    /// # Errors
    /// Those of `connect(2)`.
    pub(super) fn connect(&self, name: &str, limit: Duration) -> io::Result<Socket> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // It bounds the wait for a listener whose backlog is full, too (net/unix/af_unix.c, unix_stream_connect).
        socket.set_write_timeout(Some(limit))?;
        socket.connect(&SockAddr::unix(self.address(name))?)?;
        Ok(socket)
    }

    /// Removes a socket on which nobody listens any more.
    pub(super) fn remove_dead(&self, name: &str) {
        let Ok(_lock) = self.lock() else { return };
        self.remove_if_dead(name);
    }

    /// The same under the lock. Returns whether it was dead.
    fn remove_if_dead(&self, name: &str) -> bool {
        let refused = self.connect(name, Duration::from_millis(100));
        let dead = refused.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
        // Whoever else removed it has done so under the lock.
        dead && fs::remove_file(self.file(name)).is_ok()
    }

    /// Removes what dead runs left. Of those that may live few are asked: many may.
    fn remove_stale(&self) {
        let names = self.names().unwrap_or_default();
        let doubtful = names.iter().filter(|name| process_of(name).is_none_or(is_gone));
        for name in doubtful.take(TRIED) {
            self.remove_if_dead(name);
        }
    }

    fn lock(&self) -> io::Result<Lock<'_>> {
        let late = Instant::now() + LOCK_LIMIT;
        loop {
            match self.open.try_lock() {
                Ok(()) => return Ok(Lock(&self.open)),
                Err(TryLockError::WouldBlock) if Instant::now() < late => sleep(LOCK_TICK),
                Err(TryLockError::WouldBlock) => {
                    let text = format!("another process holds the lock of {}", self.path.display());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, text));
                }
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path.join(format!("{name}{ENDING}"))
    }

    /// The path as an address; one that is too long by way of the open directory.
    fn address(&self, name: &str) -> PathBuf {
        let file = self.file(name);
        if file.as_os_str().len() <= ADDRESS_MAX {
            return file;
        }
        PathBuf::from(format!("/proc/self/fd/{}/{name}{ENDING}", self.open.as_raw_fd()))
    }
}

/// The lock of a directory. It is released when this is dropped.
struct Lock<'a>(&'a File);

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // The descriptor may be another process's, too, which closing ours would not unlock.
        let _ = self.0.unlock();
    }
}

/// A run's control socket. Dropping it removes the file.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    directory: Directory,
    name: String,
    /// Device and number of the file.
    identity: (u64, u64),
    /// The process that made it; one that was forked from it removes nothing.
    maker: u32,
}

impl ControlSocket {
    /// Makes the socket of a run of this name, in the first of these directories that can be had, and listens. Removes what dead
    /// runs left.
    ///
    /// # Errors
    /// Those of the calls. `AddrInUse`: a run of that name lives.
    pub(crate) fn make(places: &[PathBuf], name: &str) -> io::Result<(ControlSocket, UnixListener)> {
        if parse_name(name).is_err() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let directory = Directory::make(places)?;
        let lock = directory.lock()?;
        directory.remove_stale();
        let address = directory.address(name);
        let listener = match UnixListener::bind(&address) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && directory.remove_if_dead(name) => {
                UnixListener::bind(&address)?
            }
            bound => bound?,
        };
        let file = directory.file(name);
        fs::set_permissions(&file, Permissions::from_mode(0o600))?;
        let made = fs::symlink_metadata(&file)?;
        drop(lock);
        let socket = ControlSocket {
            directory,
            name: name.to_owned(),
            identity: (made.dev(), made.ino()),
            maker: std::process::id(),
        };
        Ok((socket, listener))
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        if self.maker != std::process::id() {
            return;
        }
        // Without the lock it is removed as well: what it keeps off is that a socket is taken for dead.
        let _lock = self.directory.lock();
        let file = self.directory.file(&self.name);
        if fs::symlink_metadata(&file).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            let _ = fs::remove_file(file);
        }
    }
}

fn name_of(file: &OsStr) -> Option<&str> {
    file.to_str()?
        .strip_suffix(ENDING)
        .filter(|name| parse_name(name).is_ok())
}

/// The process that a name tells, if it is one that httpjail makes up (`run-PID-...`).
fn process_of(name: &str) -> Option<i32> {
    name.strip_prefix("run-")?.split('-').next()?.parse().ok()
}

/// Whether there is no such process here. One of another PID namespace may seem to be gone, so a socket is asked besides.
fn is_gone(process: i32) -> bool {
    kill(Pid::from_raw(process), None) == Err(nix::errno::Errno::ESRCH)
}

/// Checks that a directory is the process's user's, and that nobody else has these rights to it.
fn is_own(path: &Path, others: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if found.is_dir() && found.uid() == geteuid().as_raw() && found.mode() & others == 0 {
        return Ok(());
    }
    let text = format!("{} must be a directory of this user's alone", path.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
}
