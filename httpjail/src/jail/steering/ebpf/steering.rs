//! [`EbpfSteering`]: the programs on a cgroup of the run's own, as a way of steering.

use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use httpjail_common::{Address, JailConfig, Ports};

use super::{BpfError, Events, Links, Programs};
use crate::jail::sandbox::network::{self, JAIL_V4, JAIL_V6, LOOPBACK_INDEX};
use crate::jail::steering::cgroup::{Cgroup, CgroupError};
use crate::jail::steering::{EventSource, Extras, Steering, SteeringError, Stopped};
use crate::net::{AskedServerSource, Inbound, Listeners, OriginalDstSource};
use crate::sys::bpf::netns_cookie;

/// Steers by cgroup programs. Attached from the start; until it is armed they deny everything.
#[cfg_attr(not(feature = "bpf-trace"), derive(Debug))]
pub(crate) struct EbpfSteering {
    // Dropped in this order: the processes end before the programs are detached.
    place: Place,
    links: Links,
    programs: Programs,
    host_loopback: bool,
    /// Who may connect from outside.
    peers: Vec<Inbound>,
    /// Hands over what the programs have logged. Made with the right to open the programs' maps, used without it.
    #[cfg(feature = "bpf-trace")]
    trace: std::sync::Mutex<Option<Box<dyn FnMut() + Send>>>,
    extras: Extras,
}

/// The cgroup that the programs are on.
#[derive(Debug)]
enum Place {
    /// The run's own, removed with all that is in it.
    Own(Cgroup),
    /// One that was there before, by its number, and stays. Other processes use its network too: there the programs know
    /// httpjail's sockets by a mark of this run.
    Given { id: u64, own_mark: u32 },
    /// It has been removed.
    Gone,
}

impl Place {
    /// The cgroup's number, which is the jail's.
    fn id(&self) -> Result<u64, SteeringError> {
        match self {
            Place::Own(cgroup) => Ok(cgroup.id()),
            Place::Given { id, .. } => Ok(*id),
            Place::Gone => Err(SteeringError::new("the jail has been disarmed")),
        }
    }
}

/// Programs that are on no cgroup yet.
pub(crate) struct Loaded(Programs);

impl Loaded {
    /// Loads them.
    ///
    /// # Errors
    /// Those of a kernel without what is needed.
    pub(crate) fn new() -> Result<Self, SteeringError> {
        Ok(Loaded(load(true)?))
    }
}

impl EbpfSteering {
    /// Loads the programs and attaches them to a fresh cgroup. With `host_loopback` a loopback port on which nobody in the jail
    /// listens goes to the proxy; without, the connect is refused at once.
    ///
    /// # Errors
    /// Naming the step: no cgroup v2, no right to it, a kernel without what is needed.
    pub(crate) fn prepare(host_loopback: bool, extras: Extras) -> Result<Self, SteeringError> {
        let programs = load(extras.asked_servers)?;
        let cgroup = Cgroup::create()?;
        let links = programs.attach(cgroup.as_fd())?;
        let steering = Self::new(Place::Own(cgroup), links, programs, host_loopback)?;
        Ok(EbpfSteering { extras, ..steering })
    }

    /// The same on a cgroup that is there, of this number. From here on nothing gets out of it.
    ///
    /// # Errors
    /// As for [`EbpfSteering::prepare`].
    pub(crate) fn attach(
        Loaded(programs): Loaded,
        cgroup: BorrowedFd<'_>,
        id: u64,
        host_loopback: bool,
    ) -> Result<Self, SteeringError> {
        let own_mark =
            network::secret().map_err(|error| SteeringError::new(format!("cannot choose a mark: {error}")))?;
        let links = programs.attach(cgroup)?;
        Self::new(Place::Given { id, own_mark }, links, programs, host_loopback)
    }

    /// Returns the mark of httpjail's own sockets, or 0 where nobody else has any.
    pub(crate) fn own_mark(&self) -> u32 {
        match &self.place {
            Place::Given { own_mark, .. } => *own_mark,
            Place::Own(_) | Place::Gone => 0,
        }
    }

    /// Lets these peers connect from outside, once the jail is armed.
    pub(crate) fn let_in(&mut self, peers: &[Inbound]) {
        self.peers = peers.to_vec();
    }

    /// What holds the programs on the cgroup.
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }

    fn new(place: Place, links: Links, programs: Programs, host_loopback: bool) -> Result<Self, SteeringError> {
        #[cfg(feature = "bpf-trace")]
        let trace = std::sync::Mutex::new(Some(Box::new(programs.trace()?) as _));
        Ok(EbpfSteering {
            place,
            links,
            programs,
            host_loopback,
            peers: Vec::new(),
            #[cfg(feature = "bpf-trace")]
            trace,
            extras: Extras {
                asked_servers: false,
                publish_mark: None,
            },
        })
    }
}

impl Steering for EbpfSteering {
    fn name(&self) -> &'static str {
        "ebpf"
    }

    fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        match &self.place {
            Place::Own(cgroup) => Some(cgroup.as_fd()),
            Place::Given { .. } | Place::Gone => None,
        }
    }

    fn want(&mut self, extras: Extras) -> Result<(), SteeringError> {
        self.extras = extras;
        Ok(())
    }

    fn arm(&mut self, listeners: &Listeners) -> Result<(), SteeringError> {
        // A network namespace that is not ours has no addresses that are the jail's alone.
        let none = (Address::UNSPECIFIED, Address::UNSPECIFIED);
        let (own_v4, own_v6) = match &self.place {
            Place::Own(_) => (IpAddr::from(JAIL_V4).into(), IpAddr::from(JAIL_V6).into()),
            Place::Given { .. } | Place::Gone => none,
        };
        let id = self.place.id()?;
        for peers in &self.peers {
            self.programs.peers.let_in(peers)?;
        }
        let config = JailConfig {
            jail: id,
            own_v4,
            own_v6,
            armed: 1,
            ifindex: LOOPBACK_INDEX,
            publish_mark: self.extras.publish_mark.unwrap_or(0),
            dns_open: self.extras.asked_servers.into(),
            host_loopback: self.host_loopback.into(),
            own_mark: self.own_mark(),
            inbound: (!self.peers.is_empty()).into(),
            reserved: 0,
            v4: ports(listeners, 0)?,
            v6: ports(listeners, 1)?,
        };
        Ok(self.programs.configure(id, &config)?)
    }

    fn original_dst(&self, listeners: &Listeners) -> Result<Arc<dyn OriginalDstSource>, SteeringError> {
        let listener = listeners
            .proxy
            .first()
            .ok_or_else(|| SteeringError::new("the proxy has no listener"))?;
        let cookie = netns_cookie(listener.as_fd())
            .map_err(|error| SteeringError::new(format!("cannot identify the jail's network namespace: {error}")))?;
        let flows = self.programs.flows(cookie)?;
        flows.probe_unprivileged()?;
        Ok(Arc::new(flows))
    }

    fn asked_servers(&self) -> Result<Arc<dyn AskedServerSource>, SteeringError> {
        Ok(Arc::new(self.programs.asked(self.place.id()?)?))
    }

    fn events(&self, _listeners: &mut Listeners) -> Result<Option<Box<dyn EventSource>>, SteeringError> {
        #[cfg(feature = "bpf-trace")]
        self.pass_traces_on();
        Ok(Some(Box::new(self.programs.events()?)))
    }

    fn proxy_keeps(&self) -> Vec<RawFd> {
        self.programs.proxy_fds().map(|fd| fd.as_raw_fd()).to_vec()
    }

    fn disarm(&mut self) -> std::io::Result<()> {
        match std::mem::replace(&mut self.place, Place::Gone) {
            Place::Own(cgroup) => cgroup.remove().map_err(std::io::Error::other),
            Place::Given { .. } | Place::Gone => Ok(()),
        }
    }
}

#[cfg(feature = "bpf-trace")]
impl EbpfSteering {
    /// From here to the end of the process, the programs' lines come out with httpjail's own (`-vvv`).
    fn pass_traces_on(&self) {
        let trace = crate::sync::lock(&self.trace).take();
        if let Some(mut trace) = trace {
            std::thread::spawn(move || {
                loop {
                    trace();
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
            });
        }
    }
}

fn load(asked_servers: bool) -> Result<Programs, BpfError> {
    Programs::load(&Programs::object()?, asked_servers)
}

/// The ports of one family's sockets; zeroes where the jail has none.
fn ports(listeners: &Listeners, family: usize) -> Result<Ports, SteeringError> {
    let unknown = |error: std::io::Error| SteeringError::new(format!("cannot read a socket's port: {error}"));
    let tcp = |sockets: &[std::net::TcpListener]| {
        sockets
            .get(family)
            .map_or(Ok(0), |socket| Ok(socket.local_addr()?.port()))
            .map_err(unknown)
    };
    let udp = listeners.resolver_udp.get(family);
    Ok(Ports {
        proxy: tcp(&listeners.proxy)?,
        resolver_udp: udp
            .map_or(Ok(0), |socket| Ok(socket.local_addr()?.port()))
            .map_err(unknown)?,
        resolver_tcp: tcp(&listeners.resolver_tcp)?,
        reserved: 0,
    })
}

impl EventSource for Events {
    fn descriptor(&self) -> BorrowedFd<'_> {
        self.as_fd()
    }

    fn next(&mut self) -> Option<Stopped> {
        let record = self.next_record()?;
        Some(Stopped { record, socket: None })
    }
}

impl From<BpfError> for SteeringError {
    fn from(error: BpfError) -> Self {
        let text = error.to_string();
        // What follows is the verifier's log, which tells its own authors something.
        let (message, log) = text.split_once('\n').unwrap_or((&text, ""));
        if !log.is_empty() {
            tracing::debug!("the verifier: {log}");
        }
        SteeringError::new(message)
    }
}

impl From<CgroupError> for SteeringError {
    fn from(error: CgroupError) -> Self {
        SteeringError {
            hint: error.hint(),
            ..SteeringError::new(error.to_string())
        }
    }
}
