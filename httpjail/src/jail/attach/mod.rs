//! Attaches the jail's programs to a cgroup that exists already.
//!
//! The processes in the cgroup keep their mounts, capabilities and Unix sockets; only their network changes. So an
//! attachment holds processes that cannot leave their cgroup, and closes IP only; `run` closes more. The attachment is
//! pinned ([`pins`]): when httpjail is killed the cgroup stays closed until `httpjail detach`.

pub(crate) mod again;
mod bpffs;
pub(crate) mod closed;
pub(crate) mod closer;
mod closing;
mod closing_program;
mod detach;
mod end;
mod frames;
mod lock;
mod neighbors;
mod older;
pub(crate) mod overlays;
mod own_network;
pub(crate) mod pins;
mod place;
mod preexisting;
pub(crate) mod rootless;
mod self_test;
mod target;
mod undoing;

pub(crate) use again::Standby;
pub(crate) use bpffs::is_lasting;
pub(crate) use closing::Closing;
pub(crate) use detach::{detach, is_attended, stop_waiting};
pub(crate) use end::End;
pub(crate) use overlays::{Laid, Overlay};
pub(crate) use own_network::{OwnNetwork, RESOLV_CONF, read_apart};
pub(crate) use place::{Place, cgroup_of};
pub(crate) use target::{Target, is_at, processes};

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{Pid, getpid};

use super::process::proxy::ProxyProcess;
use super::process::socket_maker::SocketMaker;
use super::sandbox::network;
use super::steering::Extras;
use super::steering::Steering;
use super::steering::cgroup::RunName;
use super::steering::ebpf::{EbpfSteering, HOOKS, Links, Loaded};
use super::supervisor::policy_watch::{PolicyPoller, PolicyWatch};
use super::supervisor::signals::Signals;
use crate::audit::Record;
use crate::failure::Failure;
use crate::net::{Inbound, Listeners};
use detach::{lives, replace};
use end::Attended;
use frames::Frames;
use lock::lock_pins;
use pins::Pins;
use target::{unreadable, within};

/// How long the kernel may take to detach programs.
const LIMIT: Duration = Duration::from_secs(10);
/// How often to check that the cgroup is still there: no descriptor becomes readable when it is removed.
const TICK: Duration = Duration::from_millis(500);

/// An attachment. Dropping it before it is armed undoes it; after that only [`Attachment::detach`] does.
pub(crate) struct Attachment {
    target: Target,
    steering: EbpfSteering,
    pins: Pins,
    network: Option<Pid>,
    /// The devices of that network, if it is not the host's.
    frames: Option<Frames>,
    preexisting: Vec<Record>,
    /// Whether the cgroup stays closed when this is dropped.
    stays: bool,
    /// With what other cgroup the attachment ends.
    until: Option<(PathBuf, u64)>,
}

impl Attachment {
    /// Closes the cgroup: from here on nothing that its sockets send leaves, and no new socket is made. `tell` is told what is
    /// waited for.
    ///
    /// # Errors
    /// The step that failed. The cgroup is as open as before.
    pub(crate) fn close(target: Target, how: Closing, tell: &dyn Fn(&str)) -> Result<Self, Failure> {
        // One that is new has no processes yet, or those of who starts them.
        let network = if how.again { None } else { target.network()? };
        if target
            .processes()
            .map_err(|error| unreadable(&target, &error))?
            .contains(&getpid())
        {
            return Err(Failure {
                hint: Some("start it from another cgroup".into()),
                ..Failure::new(format!("httpjail itself is in {}", target.path().display()))
            });
        }
        // Only this cgroup is locked: attaching to others does not delay closing it.
        let _here = target.lock(tell)?;
        let earlier: Vec<Pins> = Pins::all().into_iter().filter(|pins| pins.id == target.id()).collect();
        for pins in &earlier {
            if lives(pins)? {
                return Err(Failure {
                    hint: Some(format!("httpjail detach --cgroup {}", target.path().display())),
                    ..Failure::new(format!(
                        "process {} is already attached to {}",
                        pins.name.pid,
                        target.path().display()
                    ))
                });
            }
        }
        let attached = || Links::attached(target.as_fd()).map_err(|error| unreadable(&target, &error));
        let expected = (attached()? + HOOKS.len() as u32).saturating_sub((earlier.len() * HOOKS.len()) as u32);
        let programs = how.programs.map_or_else(Loaded::new, Ok)?;
        let steering = EbpfSteering::attach(programs, target.as_fd(), target.id(), how.host_loopback)?;
        // The cgroup is closed from here on; the rest may take its time.
        let name = RunName::own().map_err(|error| Failure::new(error.to_string()))?;
        let lock = lock_pins(tell)?;
        let own_network = if how.born { None } else { frames::own(network) };
        let pins = Pins::make(steering.links(), target.id(), target.path(), own_network, name)?;
        let mut attachment = Attachment {
            stays: how.again || !earlier.is_empty(),
            preexisting: Vec::new(),
            target,
            steering,
            pins,
            network,
            frames: None,
            until: None,
        };
        // This attachment's programs are in place, so the cgroup does not open.
        for pins in &earlier {
            replace(pins, own_network)?;
        }
        // Released before a step can fail: undoing the attachment takes the lock too.
        drop(lock);
        closed::pass(attachment.target.path(), attachment.target.id())?;
        if how.again {
            // Without listeners, so that nothing gets anywhere; but whoever starts the processes may make sockets, which programs
            // without a configuration refuse.
            attachment.steering.arm(&Listeners::default())?;
            again::settle(&attachment.target);
            attachment.network = attachment.target.network()?;
            let _lock = lock_pins(tell)?;
            attachment.pins.note_network(frames::own(attachment.network))?;
        }
        if let (Some(process), Some(pass)) = (attachment.network, attachment.pins.pass) {
            attachment.frames = frames::close(&attachment.target, process, pass)?;
        }
        let late = Instant::now() + LIMIT;
        while Links::attached(attachment.target.as_fd()).is_ok_and(|count| count > expected) && Instant::now() < late {
            sleep(Duration::from_millis(5));
        }
        attachment.preexisting = older::cut(&attachment.target, attachment.network)?;
        Ok(attachment)
    }

    /// Returns the network namespace whose devices are closed.
    pub(crate) fn closed_network(&self) -> Option<u64> {
        self.frames.as_ref().and(self.pins.network)
    }

    /// Returns the steering, by which the proxy's process learns where connections go and what was stopped.
    pub(crate) fn steering(&self) -> &EbpfSteering {
        &self.steering
    }

    /// Returns the network of the cgroup's processes, or `None` if that is httpjail's own or leads nowhere. Its resolv.conf is the
    /// file of that path, or what the processes see.
    ///
    /// # Errors
    /// When it cannot be looked at.
    pub(crate) fn own_network(&self, resolv_conf: Option<&Path>) -> Result<Option<OwnNetwork>, Failure> {
        let pass = self.frames.as_ref().map(Frames::pass);
        self.network
            .map_or(Ok(None), |process| OwnNetwork::of(process, pass, resolv_conf))
    }

    /// Says what is wanted besides steering; before [`Attachment::arm`].
    ///
    /// # Errors
    /// When the steering cannot do that.
    pub(crate) fn want(&mut self, extras: Extras) -> Result<(), Failure> {
        Ok(self.steering.want(extras)?)
    }

    /// Lets these peers connect to what the processes listen on; before [`Attachment::arm`].
    ///
    /// # Errors
    /// When the devices cannot be opened for that.
    pub(crate) fn let_in(&mut self, peers: &[Inbound]) -> io::Result<()> {
        self.steering.let_in(peers);
        self.frames.as_ref().map_or(Ok(()), |frames| frames.let_in(peers))
    }

    /// Ends the attachment with the cgroup of this path and number, too.
    pub(crate) fn end_with(&mut self, cgroup: (PathBuf, u64)) {
        self.until = Some(cgroup);
    }

    /// Returns the descriptors that the proxy's process keeps.
    pub(crate) fn keeps(&self) -> Vec<RawFd> {
        self.steering.proxy_keeps()
    }

    /// Returns the preexisting sockets as log records.
    pub(crate) fn preexisting(&self) -> &[Record] {
        &self.preexisting
    }

    /// The cgroup.
    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Lays over the files of the cgroup's processes what `look` returns, which runs in each of their mount namespaces in turn.
    ///
    /// # Errors
    /// When nothing can be laid over them.
    pub(crate) fn lay(&self, look: &dyn Fn() -> [Overlay; 2]) -> io::Result<Vec<Laid>> {
        // What a killed httpjail left is of its own authority.
        overlays::lift(self.target.path(), self.target.id())?;
        overlays::lay(&self.target, &self.pins.name, look)
    }

    /// Steers the cgroup's traffic to the proxy, and runs the self-test.
    ///
    /// # Errors
    /// The step that failed, or what the self-test found.
    pub(crate) fn arm(&mut self, proxy_process: &ProxyProcess) -> Result<(), Failure> {
        let own_mark = self.steering.own_mark();
        let listeners = within(self.network, || network::listen_among_others(own_mark)).map_err(|error| {
            // Its processes may have taken every port, and that must not open it.
            self.stays = true;
            let path = self.target.path().display();
            Failure {
                hint: Some(format!("httpjail detach --cgroup {path}")),
                ..Failure::new(format!(
                    "cannot listen in the network namespace of the cgroup: {error}; {path} stays closed"
                ))
            }
        })?;
        self.steering.arm(&listeners)?;
        let flows = self.steering.original_dst(&listeners)?;
        let proved = self_test::prove(&self.target, self.network, &self.pins.name, &listeners, flows.as_ref());
        let wrong = proved.map_err(|error| {
            Failure::new(format!(
                "cannot test the steering in a cgroup below {}: {error}",
                self.target.path().display()
            ))
        })?;
        if !wrong.is_empty() {
            return Err(Failure {
                hint: Some("another program may be attached above the cgroup".into()),
                ..Failure::new(format!(
                    "the self-test failed, so httpjail did not attach to {}: {}",
                    self.target.path().display(),
                    wrong.join("; ")
                ))
            });
        }
        proxy_process.serve(listeners)?;
        self.stays = true;
        Ok(())
    }

    /// Answers the proxy's requests and reloads the policy file until the attachment ends. `open_log` opens the request log
    /// again, `maker` makes the proxy's sockets if they are not the host's, and `standby` tells at once that the cgroup has gone.
    pub(crate) fn watch(
        &self,
        proxy_process: &ProxyProcess,
        maker: Option<&SocketMaker>,
        standby: Option<&Standby>,
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
            if self.target.is_gone() {
                return End::Gone;
            }
            if self.until.as_ref().is_some_and(|(path, id)| !is_at(path, *id)) {
                return End::Left;
            }
            // Where there is none of these, the signals are watched twice.
            let devices = self.frames.as_ref().map_or(signals.as_fd(), AsFd::as_fd);
            let changes = standby.map_or(signals.as_fd(), AsFd::as_fd);
            let ended = maker.map_or(signals.as_fd(), SocketMaker::ended);
            let watched = [proxy_process.channel.as_fd(), signals.as_fd(), devices, changes, ended];
            let mut polled = watched.map(|fd| PollFd::new(fd, PollFlags::POLLIN));
            match poll(&mut polled, tick) {
                Ok(_) | Err(nix::errno::Errno::EINTR) => {}
                Err(error) => return End::Failed(format!("cannot wait: {error}")),
            }
            let [proxy, signal, devices, changes, ended] = polled.map(|polled| polled.any().unwrap_or(true));
            if changes && let Some(standby) = standby {
                standby.forget_changes();
            }
            if ended && maker.is_some() {
                return End::Failed("the process that makes the proxy's sockets ended".to_owned());
            }
            if devices && let Some(Err(error)) = self.frames.as_ref().map(Frames::renew) {
                return End::Failed(format!("cannot close a new device of the network namespace: {error}"));
            }
            if let Some(end) = attended.attend(proxy, signal, |pid| self.target.ancestors(pid)) {
                return end;
            }
        }
    }
}
