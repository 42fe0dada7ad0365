//! The proxy's process: reads what the jail sends, and has no privilege when the first byte arrives.
//!
//! The supervisor forks it while it has one thread and no secret. The process loads the certificate authority and opens
//! the log with the caller's rights, gives up root, and only then receives the jail's sockets. It cannot be traced or
//! dumped, has a session of its own (no signal from the terminal reaches it), and dies with the supervisor.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

use super::apart::set_apart;
use super::proxy_user::ProxyUser;
use crate::failure::Failure;
use crate::jail::process_info::cmdline_reader::CmdlineReader;
use crate::jail::process_info::lookup;
use crate::jail::protocol::channel::{self, IpcChannel};
use crate::jail::protocol::fd_passing;
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd, ToProxy};
use crate::jail::termination::{self, NotEnded};
use crate::net::{Holder, Listeners};
use crate::sys::clone::{self, Side};

/// How long the proxy may take to load what it needs. Generous: the first run makes a key.
const READY_LIMIT: Duration = Duration::from_secs(20);

/// How long the proxy may take to write the rest of its log. Generous: on a busy machine what was learned would be lost.
const FINISH_LIMIT: Duration = Duration::from_secs(20);

/// The supervisor's handle of the proxy's process.
#[derive(Debug)]
pub(crate) struct ProxyProcess {
    /// Its process id.
    pub pid: Pid,
    /// Its pidfd: readable when it has ended.
    pub ended: OwnedFd,
    /// The supervisor's end of its channel.
    pub channel: IpcChannel<ToProxy, FromProxy>,
    /// Its user, which no other process has while this is held.
    user: ProxyUser,
    /// Reads command lines for it.
    words: CmdlineReader,
}

impl ProxyProcess {
    /// Forks the proxy's process, which runs `main` and then ends. `main` gives up root by becoming the user that it
    /// receives. `keep` are the descriptors that `main` uses besides 1, 2 and the channel.
    ///
    /// # Errors
    /// Those of the fork.
    pub(crate) fn spawn(
        keep: &[RawFd],
        main: impl FnOnce(Arc<ProxyEnd>, &ProxyUser) -> Result<(), Failure>,
    ) -> io::Result<Self> {
        let (ours, theirs) = channel::pair()?;
        let user = ProxyUser::reserve();
        match clone::fork()? {
            Side::Parent(pid) => Ok(ProxyProcess {
                pid,
                ended: clone::pidfd(pid)?,
                channel: ours,
                user,
                words: CmdlineReader::default(),
            }),
            Side::Child => clone::live(|| {
                let keep: Vec<RawFd> = keep
                    .iter()
                    .copied()
                    .chain([theirs.as_raw_fd()])
                    .chain(user.descriptor())
                    .collect();
                let channel = Arc::new(theirs);
                let settled = settle(&keep).map_err(|error| Failure::new(format!("cannot start the proxy: {error}")));
                let Err(failure) = settled.and_then(|()| main(channel.clone(), &user)) else {
                    return 0;
                };
                // If the supervisor is gone there is no process to report to.
                let _ = channel.send(&FromProxy::Failed(failure));
                125
            }),
        }
    }

    /// Waits until the proxy is ready. Returns its authority's certificate (PEM).
    ///
    /// # Errors
    /// The failure that the proxy reports, or that it ended or is stuck.
    pub(crate) fn ready(&self) -> Result<String, Failure> {
        match self.hear("start")? {
            FromProxy::Ready { authority } => Ok(authority),
            other => Err(Failure::new(format!(
                "unexpected reply of the proxy's process before it was ready: {other:?}"
            ))),
        }
    }

    /// Returns what is wrong with the user of the process, if anything is.
    pub(crate) fn note(&self) -> Option<&str> {
        self.user.note()
    }

    /// Passes the jail's sockets to the proxy, and waits until it serves them.
    ///
    /// # Errors
    /// The failure that the proxy reports, or that it ended or is stuck.
    pub(crate) fn serve(&self, listeners: Listeners) -> Result<(), Failure> {
        let (counts, sockets) = fd_passing::pack(listeners);
        let raw: Vec<RawFd> = sockets.iter().map(AsRawFd::as_raw_fd).collect();
        let sent = self.channel.send_with(&ToProxy::Serve { counts }, &raw);
        sent.map_err(|error| Failure::new(format!("cannot hand the sockets to the proxy: {error}")))?;
        let late = Instant::now() + READY_LIMIT;
        loop {
            // Connections may wait already, and the proxy asks about them: nobody is told who made those.
            let unknown = match self.hear("serve")? {
                FromProxy::Serving => return Ok(()),
                FromProxy::Program { request_id, .. } if Instant::now() < late => ToProxy::Program {
                    request_id,
                    program: None,
                },
                FromProxy::Holder { request_id, .. } if Instant::now() < late => ToProxy::Holder {
                    request_id,
                    holder: None,
                },
                other => {
                    return Err(Failure::new(format!(
                        "unexpected reply of the proxy's process before it served: {other:?}"
                    )));
                }
            };
            self.channel
                .send(&unknown)
                .map_err(|error| Failure::new(format!("cannot answer the proxy: {error}")))?;
        }
    }

    /// Has lines for the user go to this file from now on.
    ///
    /// # Errors
    /// When the proxy is gone.
    pub(crate) fn show_on(&self, screen: BorrowedFd<'_>) -> Result<(), Failure> {
        let sent = self.channel.send_with(&ToProxy::Screen, &[screen.as_raw_fd()]);
        sent.map_err(|error| Failure::new(format!("the proxy ended: {error}")))
    }

    /// Lets the proxy write the rest of its log and end; kills it if it does not. `status` is the command's, as the log tells it;
    /// `open_log` as for [`ProxyProcess::answer`].
    ///
    /// # Errors
    /// As for [`ProxyProcess::end`].
    pub(crate) fn finish(&mut self, status: i32, open_log: &dyn Fn() -> io::Result<File>) -> Result<(), NotEnded> {
        // Without a new one the proxy uses the log that it has, unless that was moved; then the proxy reports it.
        let log = open_log().ok();
        let log: Vec<RawFd> = log.iter().map(AsRawFd::as_raw_fd).collect();
        if self.channel.send_with(&ToProxy::Finish { status }, &log).is_ok() {
            // Whether or not it has ended in time, it is killed below.
            let _ = channel::wait_readable(self.ended.as_fd(), FINISH_LIMIT);
        }
        self.end()
    }

    /// Kills the process, if it has not ended by itself, and waits until it is gone. Does nothing the second time.
    ///
    /// # Errors
    /// When the process stays.
    pub(crate) fn end(&mut self) -> Result<(), NotEnded> {
        let pid = std::mem::replace(&mut self.pid, Pid::from_raw(0));
        if pid.as_raw() <= 0 {
            return Ok(());
        }
        self.channel.close();
        termination::kill_and_reap("the proxy", pid, self.ended.as_fd())
    }

    /// Answers one request of the proxy. `ancestors` returns the ancestors of a jailed process, `holder` the process that has
    /// a socket open, and `open_log` opens the request log again. Returns the number of a request that is left to the caller: to
    /// look at the policy file now.
    ///
    /// # Errors
    /// A text for the user, when the message is unexpected, or the proxy failed or is gone.
    pub(crate) fn answer(
        &self,
        ancestors: impl FnOnce(u32) -> Option<Vec<u32>>,
        holder: impl FnOnce(u32, &dyn Fn(u32) -> Option<String>) -> Option<Holder>,
        open_log: &dyn Fn() -> io::Result<File>,
    ) -> Result<Option<u64>, String> {
        let sent = match self.channel.receive() {
            Ok(FromProxy::Program { request_id, pid }) => {
                let program = lookup::look(pid, |pid| self.words.of(pid), ancestors);
                self.channel.send(&ToProxy::Program { request_id, program })
            }
            Ok(FromProxy::Holder { request_id, socket }) => {
                let holder = holder(socket, &|pid| self.words.of(pid));
                self.channel.send(&ToProxy::Holder { request_id, holder })
            }
            Ok(FromProxy::Log { request_id }) => match open_log() {
                Ok(log) => {
                    let here = ToProxy::Log {
                        request_id,
                        error: None,
                    };
                    self.channel.send_with(&here, &[log.as_raw_fd()])
                }
                Err(error) => {
                    let error = Some(error.to_string());
                    self.channel.send(&ToProxy::Log { request_id, error })
                }
            },
            Ok(FromProxy::Reload { request_id }) => return Ok(Some(request_id)),
            Ok(FromProxy::Failed(failure)) => return Err(failure.message),
            Ok(other) => return Err(format!("unexpected message from the proxy's process: {other:?}")),
            Err(error) => return Err(format!("the proxy ended: {error}")),
        };
        sent.map(|()| None).map_err(|error| format!("the proxy ended: {error}"))
    }

    fn hear(&self, what: &str) -> Result<FromProxy, Failure> {
        match self.channel.receive_within(READY_LIMIT) {
            Ok(FromProxy::Failed(failure)) => Err(failure),
            Ok(message) => Ok(message),
            Err(error) => Err(Failure::new(format!("the proxy did not {what}: {error}"))),
        }
    }
}

impl Drop for ProxyProcess {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!("{error}");
        }
    }
}

/// Waits for the sockets, in the proxy's process ([`ProxyProcess::serve`]).
///
/// # Errors
/// When the supervisor is gone or sent something else.
pub(crate) fn receive_listeners(channel: &ProxyEnd) -> io::Result<Listeners> {
    let (message, sockets) = channel.receive_with()?;
    let ToProxy::Serve { counts } = message else {
        return Err(io::Error::other("expected the jail's sockets"));
    };
    fd_passing::unpack(counts, sockets)
}

fn settle(keep: &[RawFd]) -> io::Result<()> {
    prctl::set_dumpable(false)?;
    set_apart(keep)?;
    // A connection takes two descriptors, so the limit is raised to the maximum.
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most, most)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    Ok(())
}
