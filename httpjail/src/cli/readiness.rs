//! Tells the program that started httpjail that it holds what it was told to hold, by the protocol of sd_notify(3).
//!
//! A service manager starts what comes next only then. So does the hook of a container, which waits before the first instruction.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::logging;

/// The variable that names the socket: a path, or an abstract name behind an `@`.
pub(crate) const VARIABLE: &str = "NOTIFY_SOCKET";
/// What is sent to it.
pub(crate) const READY: &[u8] = b"READY=1";

/// Tells it, if somebody asked.
///
/// # Errors
/// When somebody asked, and cannot be told.
pub(crate) fn tell() -> io::Result<()> {
    match std::env::var_os(VARIABLE) {
        Some(name) if !name.is_empty() => tell_at(&name),
        _ => Ok(()),
    }
}

/// Tells it. If that fails, warns that it cannot be told `what`.
pub(crate) fn tell_or_warn(what: &str) {
    if let Err(error) = tell() {
        logging::warn(&format!("cannot tell {VARIABLE} {what}: {error}"), None);
    }
}

fn tell_at(name: &OsStr) -> io::Result<()> {
    let address = match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(name)?,
    };
    let socket = UnixDatagram::unbound()?;
    // A reader that does not read is not waited for.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(READY, &address).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_that_is_named_hears_of_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        tell_at(path.as_os_str()).expect("told");
        let mut heard = [0; 16];
        let length = socket.recv(&mut heard).expect("heard");
        assert_eq!(&heard[..length], READY);
        drop(socket);
        assert!(tell_at(path.as_os_str()).is_err(), "nobody hears");
    }
}
