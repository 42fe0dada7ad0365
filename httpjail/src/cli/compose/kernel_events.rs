//! What the kernel stopped in the jail, as lines of the log: with the name behind the address and the program that tried.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::Arc;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::audit::{Log, Sink};
use crate::cli::compose::host_ports::HostPorts;
use crate::dns::SyntheticAddresses;
use crate::jail::process_info::client::ProcessInfoClient;
use crate::jail::steering::{EventSource, Stopped};
use crate::net::{Holder, NameSource as _, Process};

/// What writes an event of the kernel's into the log, with the name behind the address and the program that the process runs.
/// One that goes on trying is asked after once.
pub(super) fn noting(
    log: Arc<Log>,
    names: Arc<SyntheticAddresses>,
    process_info: Arc<ProcessInfoClient>,
) -> impl FnMut(Stopped) + Send + 'static {
    let mut latest: Option<(Trier, Option<Holder>)> = None;
    let mut ports = HostPorts::default();
    move |Stopped { mut record, socket }| {
        let name = record.dst.and_then(|dst| names.name_of(dst.ip()));
        record.host = name.map(|name| name.to_string());
        ports.tell(&mut record);
        let trier = match (record.pid, socket) {
            (Some(pid), _) => Trier::Process(pid, record.comm.clone().unwrap_or_default()),
            (None, Some(socket)) => Trier::Socket(socket),
            (None, None) => return log.record(record),
        };
        let known = latest.take().filter(|(known, _)| *known == trier);
        let (_, holder) = latest.insert(known.unwrap_or_else(|| {
            let holder = match &trier {
                Trier::Process(pid, comm) => process_info.find_program(*pid).map(|program| Holder {
                    process: Process {
                        pid: *pid,
                        comm: comm.clone(),
                    },
                    program,
                    cgroup: None,
                }),
                Trier::Socket(socket) => process_info.find_holder(*socket),
            };
            (trier, holder)
        }));
        if let Some(holder) = holder.clone() {
            record.of(holder);
        }
        log.record(record);
    }
}

/// Who tried what the kernel stopped, as the kernel tells it.
#[derive(PartialEq, Eq)]
enum Trier {
    Process(u32, String),
    Socket(u32),
}

/// Tells `blocked` what the kernel stopped, to the last event there is when `stop` closes. Blocks.
pub(super) fn record(
    events: Option<Box<dyn EventSource>>,
    mut blocked: impl FnMut(Stopped),
    stop: &PipeReader,
) -> io::Result<()> {
    let mut events = events;
    loop {
        let mut polled = vec![PollFd::new(stop.as_fd(), PollFlags::POLLIN)];
        polled.extend(
            events
                .as_ref()
                .map(|events| PollFd::new(events.descriptor(), PollFlags::POLLIN)),
        );
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let stopped = polled[0].any().unwrap_or(true);
        while let Some(event) = events.as_mut().and_then(|events| events.next()) {
            blocked(event);
        }
        if stopped {
            return Ok(());
        }
    }
}
