//! Attaches to a rootless container of the caller's, without root: by rules in the container's own network namespace, which the
//! caller's user namespace owns.
//!
//! Everything in that network is steered to the proxy, whoever sends it; what would leave by another device than `lo` is dropped. The
//! rules are the namespace's: they stay when httpjail is killed, and nothing gets out then. A process with rights over that network
//! could remove them, so a container with such a right is refused. What the caller's own programs do from outside, such as `podman
//! exec --privileged`, is not held.

mod entrance;
mod find;

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;

use super::TICK;
use super::end::{Attended, End};
use super::frames::residents;
use super::neighbors::strong;
use crate::failure::Failure;
use crate::jail::process::proxy::ProxyProcess;
use crate::jail::protocol::fd_passing;
use crate::jail::protocol::init::Inside;
use crate::jail::sandbox::network::{self, Table};
use crate::jail::self_test;
use crate::jail::steering::Steering as _;
use crate::jail::steering::netns::{self, NetnsSteering, closing};
use crate::jail::supervisor::policy_watch::{PolicyPoller, PolicyWatch};
use crate::jail::supervisor::signals::Signals;
use crate::net::Listeners;
use crate::sys::clone;
use entrance::Entrance;

/// Bound in the container's network by who is attached: an abstract name ends with its process.
const CLAIM: &[u8] = b"httpjail attached";

/// What is held: a container's network.
pub(crate) struct Network {
    entrance: Entrance,
    first: Pid,
    /// Readable when its first process has ended.
    ended: OwnedFd,
    steering: NetnsSteering,
    _claim: Option<UnixListener>,
    armed: bool,
}

impl Network {
    /// Finds that of the container `name`.
    ///
    /// # Errors
    /// When there is none, or it is not the caller's.
    pub(crate) fn of_container(name: &str) -> Result<Network, Failure> {
        Network::of(find::first_process(name)?)
    }

    /// Takes that of this process.
    ///
    /// # Errors
    /// When it is not the caller's.
    pub(crate) fn of(first: Pid) -> Result<Network, Failure> {
        let failed = |error: io::Error| Failure {
            hint: Some("sudo httpjail attach ...".into()),
            ..Failure::new(format!(
                "cannot enter the network of process {first} without root: {error}"
            ))
        };
        Ok(Network {
            entrance: Entrance::open(first).map_err(failed)?,
            ended: clone::pidfd(first).map_err(failed)?,
            first,
            steering: NetnsSteering {
                cgroup: None,
                host_loopback: false,
            },
            _claim: None,
            armed: false,
        })
    }

    /// Its first process.
    pub(crate) fn first(&self) -> Pid {
        self.first
    }

    /// Closes it: from here on nothing leaves it, and nothing passes in it.
    ///
    /// # Errors
    /// When another httpjail holds it, or a process in it could undo that; it is as it was before.
    pub(crate) fn close(&mut self, host_loopback: bool) -> Result<(), Failure> {
        self.claim()?;
        let closed = self.inside("close", || closing::close(false));
        closed?;
        self.steering.host_loopback = host_loopback;
        // Whoever gets in later cannot have more rights than who is in already.
        self.weak_enough().inspect_err(|_| drop(self.open()))
    }

    fn claim(&mut self) -> Result<(), Failure> {
        let made = self.entrance.within(|| {
            let name = SocketAddr::from_abstract_name(CLAIM)?;
            match UnixListener::bind_addr(&name) {
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok((false, Vec::new())),
                bound => Ok((true, vec![bound?.into()])),
            }
        });
        let cannot = format!("cannot hold the network of process {}", self.first);
        match made.map_err(|error| Failure::new(format!("{cannot}: {error}")))? {
            (true, mut sockets) => {
                self._claim = sockets.pop().map(UnixListener::from);
                Ok(())
            }
            (false, _) => Err(Failure {
                hint: Some("end that first (^C, SIGTERM)".into()),
                ..Failure::new(format!("{cannot}: another httpjail is attached to it"))
            }),
        }
    }

    /// Refuses who could remove the rules, or send what they do not see.
    fn weak_enough(&self) -> Result<(), Failure> {
        let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let own = namespace("self");
        let inside: Vec<Pid> = residents(self.entrance.number())
            .into_iter()
            // The engine's own helpers are the caller's.
            .filter(|pid| namespace(&pid.to_string()) != own)
            .collect();
        if !inside.contains(&self.first) {
            return Err(Failure::new(format!(
                "process {} has no PID namespace of its own: the caller's other processes would send in its place",
                self.first
            )));
        }
        match strong(&inside) {
            None => Ok(()),
            Some((rights, who)) => Err(Failure {
                hint: Some("start the container without --privileged, --cap-add and --network=host".into()),
                ..Failure::new(format!(
                    "{who} have {rights}, or may get it: they could undo what holds them"
                ))
            }),
        }
    }

    /// Steers what is sent to the proxy, and runs the self-test.
    ///
    /// # Errors
    /// The step that failed, or what the self-test found; it is as it was before.
    pub(crate) fn arm(&mut self, proxy_process: &ProxyProcess) -> Result<(), Failure> {
        let listeners = self.steer()?;
        let flows = self.steering.original_dst(&listeners)?;
        let ipv6 = listeners.proxy.len() > 1;
        let failed = |error: io::Error| Failure::new(format!("cannot test the steering: {error}"));
        let (mut wrong, _) = self
            .entrance
            .within(|| Ok((self_test::probe_with_pings(ipv6), Vec::new())))
            .map_err(failed)?;
        if let Err(error) = self_test::witness_among(&listeners, flows.as_ref(), None) {
            wrong.push(error.to_string());
        }
        if !wrong.is_empty() {
            return Err(Failure::new(format!(
                "the self-test failed, so httpjail did not attach to the network of process {}: {}",
                self.first,
                wrong.join("; ")
            )));
        }
        proxy_process.serve(listeners)?;
        self.armed = true;
        Ok(())
    }

    fn steer(&self) -> Result<Listeners, Failure> {
        let inside = Inside {
            host_loopback: self.steering.host_loopback,
        };
        let made = self.entrance.within(|| {
            // What a killed one has left.
            closing::forget_steering()?;
            network::make_none_local(Table::Local)?;
            let (listeners, ..) = netns::set_up_among_others(inside)?;
            closing::close(true)?;
            Ok(fd_passing::pack(listeners))
        });
        made.and_then(|(counts, sockets)| fd_passing::unpack(counts, sockets))
            .map_err(|error| Failure::new(format!("cannot steer the network of process {}: {error}", self.first)))
    }

    /// Its steering, by which the proxy's process learns where connections go.
    pub(crate) fn steering(&self) -> &NetnsSteering {
        &self.steering
    }

    /// Answers the proxy's requests and reloads the policy file until the attachment ends.
    pub(crate) fn watch(
        &self,
        proxy_process: &ProxyProcess,
        signals: &Signals,
        policy: Option<&mut dyn PolicyWatch>,
        open_log: &dyn Fn() -> io::Result<File>,
    ) -> End {
        let mut attended = Attended {
            proxy_process,
            signals,
            poller: PolicyPoller::new(policy),
            open_log,
        };
        let tick = PollTimeout::try_from(TICK).unwrap_or(PollTimeout::MAX);
        loop {
            let watched = [proxy_process.channel.as_fd(), signals.as_fd(), self.ended.as_fd()];
            let mut polled = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut polled, tick) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return End::Failed(format!("cannot wait: {error}")),
            }
            let [proxy, signal, ended] = polled.map(|polled| polled.any().unwrap_or(true));
            if ended {
                return End::Gone;
            }
            // Which program it was is known to the container's own namespaces.
            if let Some(end) = attended.attend(proxy, signal, |_| None) {
                return end;
            }
        }
    }

    /// Opens it again, unless another httpjail holds it.
    ///
    /// # Errors
    /// Naming what stays.
    pub(crate) fn release(mut self) -> Result<(), Failure> {
        if self._claim.is_none() {
            self.claim()?;
        }
        self.armed = true;
        self.open()
    }

    fn open(&self) -> Result<(), Failure> {
        self.inside("open", || {
            // The routes first: without the rules they lead to nobody.
            network::make_none_local(Table::Local)?;
            closing::open()
        })
    }

    fn inside(&self, what: &str, work: impl FnOnce() -> io::Result<()>) -> Result<(), Failure> {
        let done = self.entrance.within(|| work().map(|()| ((), Vec::new())));
        done.map(drop)
            .map_err(|error| Failure::new(format!("cannot {what} the network of process {}: {error}", self.first)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if !self.armed
            && self._claim.is_some()
            && let Err(failure) = self.open()
        {
            tracing::warn!(%failure, "cannot undo an attachment");
        }
    }
}
