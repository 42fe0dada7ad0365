//! The supervisor of a jail of a pool while it waits to be taken: it keeps the policy up to date, and ends with the pool.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::policy_watch::PolicyPoller;
use super::signals::Signals;
use crate::failure::Failure;
use crate::jail::process::namespaces::Sandbox;
use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::init::InitReply;
use crate::jail::protocol::pool::{SpareEnd, ToSpare};

/// A client who takes the jail.
#[derive(Debug)]
pub(crate) struct Arrival {
    /// The connection.
    pub(crate) connection: OwnedFd,
    /// Who it is, in the kernel's words.
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Waits for a client; none when the jail is not needed any more.
///
/// # Errors
/// Why the jail has ended.
pub(crate) fn wait(
    pool: &SpareEnd,
    sandbox: &Sandbox,
    proxy_process: &ProxyProcess,
    signals: &Signals,
    mut poller: PolicyPoller<'_>,
    open_log: &dyn Fn() -> io::Result<File>,
) -> Result<Option<Arrival>, Failure> {
    loop {
        let wait = poller.next().map(|next| next.saturating_duration_since(Instant::now()));
        let wait = wait.map_or(PollTimeout::NONE, |wait| {
            PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut polled = [
            pool.as_fd(),
            sandbox.channel.as_fd(),
            proxy_process.channel.as_fd(),
            signals.as_fd(),
        ]
        .map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut polled, wait) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(Failure::new(format!("cannot wait for a client: {error}"))),
        }
        let [client, init, proxy, signalled] = polled.map(|polled| polled.any().unwrap_or(true));
        if init {
            let why = match sandbox.channel.receive() {
                Ok(InitReply::Failed(message)) => message,
                Ok(other) => format!("unexpected reply: {other:?}"),
                Err(error) => error.to_string(),
            };
            return Err(Failure::new(format!("the jail's init ended: {why}")));
        }
        if proxy {
            let answered = proxy_process.answer(|_| None, |_, _| None, open_log);
            let answered = answered.and_then(|asked| poller.answer(proxy_process, asked));
            answered.map_err(Failure::new)?;
        }
        let ending = signals.ending().ok().flatten();
        if signalled && ending.is_some() {
            return Ok(None);
        }
        let looked = poller.look(proxy_process);
        looked.map_err(|error| Failure::new(format!("the proxy ended: {error}")))?;
        if client {
            return Ok(arrival(pool));
        }
    }
}

fn arrival(pool: &SpareEnd) -> Option<Arrival> {
    let (ToSpare::Client { uid, gid, groups }, descriptors) = pool.receive_with().ok()?;
    let connection = descriptors.into_iter().next()?;
    Some(Arrival {
        connection,
        uid,
        gid,
        groups,
    })
}
