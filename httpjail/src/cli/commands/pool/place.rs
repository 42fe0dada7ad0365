//! Where a pool's socket is, and who may answer there.
//!
//! Root's pools are in a directory that only root can write to, an ordinary user's own in one of that user's. A client
//! believes no other user than root and itself.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, getsockopt, listen, socket, sockopt,
};
use nix::unistd::geteuid;

use crate::control::protocol::parse_name;
use crate::failure::Failure;
use crate::jail::sandbox::run_dir;

/// How many clients may wait to be accepted.
const BACKLOG: i32 = 128;

/// A pool's listener. Dropping it removes the socket's file.
#[derive(Debug)]
pub(super) struct Listener {
    pub(super) socket: UnixListener,
    pub(super) path: PathBuf,
}

/// Checks a pool's name, which is a file's.
///
/// # Errors
/// When it is none.
pub(super) fn check(name: &str) -> Result<(), Failure> {
    parse_name(name).map(drop).map_err(|expected| Failure {
        status: 2,
        ..Failure::new(format!("invalid name of a pool `{}`: {expected}", name.escape_debug()))
    })
}

/// Listens at the place of this name.
///
/// # Errors
/// When a pool is there already, or the place cannot be made.
pub(super) fn open(name: &str) -> Result<Listener, Failure> {
    let folder = own_folder();
    let path = folder.join(format!("{name}.sock"));
    let failed = |error: io::Error| Failure::new(format!("cannot listen at {}: {error}", path.display()));
    if geteuid().is_root() {
        run_dir::make_run_dir().map_err(failed)?;
    }
    let mode = if geteuid().is_root() { 0o755 } else { 0o700 };
    DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(&folder)
        .and_then(|()| fs::set_permissions(&folder, Permissions::from_mode(mode)))
        .map_err(failed)?;
    if dial(&path).is_ok() {
        return Err(Failure {
            hint: Some("--name NAME starts another one beside it".into()),
            ..Failure::new(format!("a pool of the name {name} runs already"))
        });
    }
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = || -> io::Result<UnixListener> {
        let listener = seqpacket()?;
        bind(listener.as_raw_fd(), &UnixAddr::new(&path)?)?;
        // Who may have a jail is decided by who asks, as the kernel tells it.
        fs::set_permissions(&path, Permissions::from_mode(0o666))?;
        listen(&listener, Backlog::new(BACKLOG)?)?;
        let listener = UnixListener::from(listener);
        // A client may have gone before it is accepted.
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    Ok(Listener {
        socket: listener().map_err(failed)?,
        path: path.clone(),
    })
}

/// Connects to the pool of this name: an own one before root's.
///
/// # Errors
/// When there is none, or somebody else's is in its place.
pub(super) fn find(name: &str) -> Result<OwnedFd, Failure> {
    let folders = [own_folder(), roots_folder()];
    let mut why = None;
    for path in folders.map(|folder| folder.join(format!("{name}.sock"))) {
        match dial(&path) {
            Ok(line) => return Ok(line),
            // The own one's reason is told only if there is one.
            Err(error) if why.is_some() && is_missing(&error) => {}
            Err(error) => why = Some((path, error)),
        }
    }
    let (path, error) = why.unwrap_or_else(|| (roots_folder(), io::ErrorKind::NotFound.into()));
    Err(Failure {
        hint: Some(format!(
            "start it: httpjail pool --name {name} with its rules, as this user or as root with --user"
        )),
        ..Failure::new(format!(
            "there is no pool of the name {name}: cannot connect to {}: {error}",
            path.display()
        ))
    })
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

fn dial(path: &Path) -> io::Result<OwnedFd> {
    let line = seqpacket()?;
    connect(line.as_raw_fd(), &UnixAddr::new(path)?)?;
    // That of who listens (unix(7), SO_PEERCRED).
    let owner = getsockopt(&line.as_fd(), sockopt::PeerCredentials)?.uid();
    match owner == 0 || owner == geteuid().as_raw() {
        true => Ok(line),
        false => Err(io::Error::other(format!(
            "user {owner} listens there, neither root nor this user"
        ))),
    }
}

fn seqpacket() -> io::Result<OwnedFd> {
    Ok(socket(
        AddressFamily::Unix,
        SockType::SeqPacket,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?)
}

fn roots_folder() -> PathBuf {
    Path::new(run_dir::RUN_DIR).join("pool")
}

/// Root's, or that of this user among the files of a session, or of the home.
fn own_folder() -> PathBuf {
    if geteuid().is_root() {
        return roots_folder();
    }
    let absolute = |name| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let session = absolute("XDG_RUNTIME_DIR").map(|session| session.join("httpjail/pool"));
    let home = || absolute("HOME").map(|home| home.join(".local/state/httpjail/pool"));
    session.or_else(home).unwrap_or_else(roots_folder)
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Without a listener the file says that there is no pool, too.
        let _ = fs::remove_file(&self.path);
    }
}
