//! The self-test of Unix sockets before the command starts: a process made like the command tries to reach sockets that
//! were made outside, and its own.
//!
//! Both sides must agree: the supervisor, which holds the sockets of the outside, checks that nothing arrived.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt as _, PermissionsExt, symlink};
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
use nix::sys::stat::{Mode, fchmod};
use nix::sys::wait::waitpid;
use nix::unistd::{getpid, mkfifo};
use serde::{Deserialize, Serialize};

use super::broker::{ConnectBroker, serve_until};
use crate::jail::protocol::channel::{self, wait_readable};
use crate::jail::protocol::init::{Notify, ProbeOutcome};
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::rights;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::sys::clone::{self, Side};

/// How long the test may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(10);

/// Makes a stream socket and a datagram socket outside the jail. They are unbound: init binds them where the test process
/// finds them.
///
/// # Errors
/// Those of `socket(2)`.
pub(crate) fn outsiders() -> io::Result<[OwnedFd; 2]> {
    let made = |kind| socket(AddressFamily::Unix, kind, SockFlag::SOCK_CLOEXEC, None);
    Ok([made(SockType::Stream)?, made(SockType::Datagram)?])
}

/// Returns the reading end of a named pipe that root made outside the jail. Its name is removed: it can be reached only
/// through this descriptor.
///
/// # Errors
/// Those of `mkfifo(3)` in httpjail's own directory.
pub(crate) fn pipe() -> io::Result<OwnedFd> {
    make_run_dir()?;
    let path = Path::new(RUN_DIR).join(format!("canary-{}", getpid()));
    mkfifo(&path, Mode::S_IRUSR)?;
    let end = open(
        &path,
        OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC,
        Mode::empty(),
    );
    fs::remove_file(&path)?;
    let end = end?;
    fchmod(&end, Mode::from_bits_truncate(0o666))?;
    Ok(end)
}

/// Returns true if anything arrived at one of them.
///
/// # Errors
/// Those of `poll(2)`.
pub(crate) fn reached(outsiders: &[OwnedFd]) -> io::Result<bool> {
    for outsider in outsiders {
        if wait_readable(outsider.as_fd(), Duration::ZERO)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the test process must know of the command that it imitates.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProbeSetup<'a> {
    /// The directory of the jail's own files.
    pub place: &'a Path,
    /// The user that it runs as.
    pub identity: &'a UserIdentity,
    /// Its seccomp filter.
    pub filter: &'a Filter,
}

/// Init's side of the test. An error means that the test could not run.
pub(crate) fn probe(
    setup: &ProbeSetup<'_>,
    notify: Option<Notify>,
    outsiders: &[OwnedFd],
    allowed: &[OwnedFd],
) -> io::Result<ProbeOutcome> {
    let place = setup.place;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), place, Some("tmpfs"), flags, Some("mode=0755,size=64k"))?;
    let probed = bind_outsiders(setup, outsiders).and_then(|()| attempt(setup, notify, outsiders.get(2), allowed));
    umount2(place, MntFlags::MNT_DETACH)?;
    probed
}

/// Binds the sockets of the outside, under several names.
fn bind_outsiders(setup: &ProbeSetup<'_>, outsiders: &[OwnedFd]) -> io::Result<()> {
    let place = setup.place;
    let own = place.join("own");
    DirBuilder::new().mode(0o700).create(&own)?;
    if setup.identity.switched {
        nix::unistd::chown(&own, Some(setup.identity.uid), Some(setup.identity.gid))?;
    }
    for (socket, name) in outsiders.iter().zip(["stream", "datagram"]) {
        let path = place.join(name);
        bind(socket.as_raw_fd(), &UnixAddr::new(&path)?)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777))?;
    }
    if let Some(stream) = outsiders.first() {
        listen(stream, Backlog::new(8)?)?;
    }
    fs::hard_link(place.join("stream"), own.join("hard"))?;
    symlink(place.join("stream"), own.join("soft"))
}

/// Forks the broker, which forks the test process. Init's own state does not change.
fn attempt(
    setup: &ProbeSetup<'_>,
    notify: Option<Notify>,
    pipe: Option<&OwnedFd>,
    allowed: &[OwnedFd],
) -> io::Result<ProbeOutcome> {
    let (ours, theirs) = channel::pair::<(), ProbeOutcome>()?;
    match clone::fork()? {
        Side::Child => clone::live(|| {
            let probe =
                keep(setup, notify, pipe, allowed).unwrap_or_else(|error| ProbeOutcome::Cannot(error.to_string()));
            i32::from(theirs.send(&probe).is_err())
        }),
        Side::Parent(broker) => {
            drop(theirs);
            let probe = ours.receive_within(LIMIT);
            // A child that has not been reaped. It has ended already, if all went well.
            let _ = kill(broker, Signal::SIGKILL);
            waitpid(broker, None)?;
            probe
        }
    }
}

/// What the test process reports to the broker.
#[derive(Debug, Serialize, Deserialize)]
enum TestReport {
    /// Its filter is in force. The notification descriptor comes with this message.
    Watched,
    /// The test is over: what went wrong.
    Over(Vec<String>),
    /// The test could not run.
    Failed(String),
}

fn keep(
    setup: &ProbeSetup<'_>,
    notify: Option<Notify>,
    pipe: Option<&OwnedFd>,
    allowed: &[OwnedFd],
) -> io::Result<ProbeOutcome> {
    let (ours, theirs) = channel::pair::<(), TestReport>()?;
    let canary = match clone::fork()? {
        Side::Child => clone::live(|| {
            let report = match run_test(setup, notify.is_some(), pipe, &theirs) {
                Ok(wrong) => TestReport::Over(wrong),
                Err(error) => TestReport::Failed(error.to_string()),
            };
            i32::from(theirs.send(&report).is_err())
        }),
        Side::Parent(canary) => canary,
    };
    drop(theirs);
    let mut report = ours.receive_with()?;
    if let (Some(notify), (TestReport::Watched, listener)) = (notify, &mut report) {
        let listener = listener.pop().ok_or(io::ErrorKind::InvalidData)?;
        let broker = ConnectBroker::new(notify, listener, allowed)?;
        ours.send(&())?;
        serve_until(&broker, ours.as_fd())?;
        report = ours.receive_with()?;
    }
    waitpid(canary, None)?;
    Ok(match report.0 {
        TestReport::Over(wrong) if wrong.is_empty() => ProbeOutcome::Holds,
        TestReport::Over(wrong) => ProbeOutcome::Broken(wrong),
        TestReport::Failed(why) => ProbeOutcome::Cannot(why),
        TestReport::Watched => ProbeOutcome::Cannot("the self-test sent an unexpected message".into()),
    })
}

type TestEnd = channel::IpcChannel<TestReport, ()>;

/// The test process: becomes what the command will be, and runs the tests.
fn run_test(
    setup: &ProbeSetup<'_>,
    notify: bool,
    pipe: Option<&OwnedFd>,
    channel: &TestEnd,
) -> io::Result<Vec<String>> {
    rights::give_up(setup.identity)?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // As after an exec: the broker cannot serve a process that it may not inspect. This process has no secret.
    prctl::set_dumpable(true)?;
    setup.filter.install()?;
    if notify {
        let listener = setup.filter.watch()?;
        channel.send_with(&TestReport::Watched, &[listener.as_raw_fd()])?;
        channel.receive()?;
    }
    let mut wrong = tries(setup.place);
    wrong.extend(pipe.into_iter().flat_map(|pipe| tries_pipes(setup.place, pipe)));
    Ok(wrong)
}

fn tries(place: &Path) -> Vec<String> {
    let mut wrong = Vec::new();
    let own = place.join("own");
    if let Err(error) = own_listeners(&own) {
        wrong.push(format!("it cannot reach its own listeners: {error}"));
    }
    for name in ["stream", "own/hard", "own/soft"] {
        if UnixStream::connect(place.join(name)).is_ok() {
            wrong.push(format!("it reaches a socket of the host as `{name}`"));
        }
    }
    let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(b"canary", place.join("datagram")));
    if sent.is_ok() {
        wrong.push("it can send a datagram to a socket of the host".into());
    }
    // The call may succeed, if the datagram went to the other end of the pair. The supervisor sees it if it did not.
    let pair = UnixDatagram::pair().map(|(one, _other)| one.send_to(b"canary", place.join("datagram")));
    if let Err(error) = pair {
        wrong.push(format!("it cannot make a socket pair: {error}"));
    }
    wrong
}

/// Opens a named pipe of the outside, and one of the jail.
fn tries_pipes(place: &Path, outsider: &OwnedFd) -> Vec<String> {
    let mut wrong = Vec::new();
    let write = |path: &Path| OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(path);
    let path = format!("/proc/self/fd/{}", outsider.as_raw_fd());
    match write(Path::new(&path)) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        Err(error) => wrong.push(format!("it cannot test a named pipe of the host: {error}")),
        Ok(mut pipe) => {
            let _ = pipe.write_all(b"canary");
            wrong.push("it can write to a named pipe of the host".into());
        }
    }
    let own = place.join("own/pipe");
    let opened = mkfifo(&own, Mode::S_IRWXU).map_err(io::Error::from).and_then(|()| {
        let _reader = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(&own)?;
        write(&own)
    });
    if let Err(error) = opened {
        wrong.push(format!("it cannot open its own named pipe: {error}"));
    }
    wrong
}

fn own_listeners(directory: &Path) -> io::Result<()> {
    let path = directory.join("listener");
    let listener = UnixListener::bind(&path)?;
    fs::hard_link(&path, directory.join("other"))?;
    for name in [&path, &directory.join("other")] {
        UnixStream::connect(name)?;
        listener.accept()?;
    }
    let name = SocketAddr::from_abstract_name(b"httpjail canary")?;
    let listener = UnixListener::bind_addr(&name)?;
    UnixStream::connect_addr(&name)?;
    listener.accept()?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    TcpStream::connect(listener.local_addr()?)?;
    listener.accept()?;
    Ok(())
}
