//! What the proxy's process does: loads the authority and opens the log as the caller, gives up root, takes the jail's
//! sockets, and serves them until the supervisor says that the command has ended.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::thread;

use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use crate::approve::{ApprovalQueue, ApproverClient};
use crate::audit::{EventKind, LogFile, Record, Sink, Terminal};
use crate::cli::authority_dirs;
use crate::cli::compose::container_network::{ContainerLeg, ContainerNetwork};
use crate::cli::compose::control::{AskedSupervisor, ControlListener};
use crate::cli::compose::kernel_events::{noting, record};
use crate::cli::compose::log_file::open_log_as;
use crate::cli::compose::proxy_parts::{self, ProxyParts};
use crate::cli::compose::published;
use crate::cli::compose::reload::InForce;
use crate::cli::output::failure;
use crate::cli::run_stats::{SharedFindings, SharedRunStats};
use crate::config::options::DnsMode;
use crate::config::{Config, LogTarget};
use crate::dns::{self, Answers, Configured, Relay, Servers, SyntheticAddresses};
use crate::failure::Failure;
use crate::jail::process::proxy::{self as proxy_process, ProxyProcess};
use crate::jail::process::proxy_user::ProxyUser;
use crate::jail::process::socket_maker::SocketClient;
use crate::jail::process_info::client::{ProcessInfoClient, Shutdown};
use crate::jail::protocol::policy_file::Change;
use crate::jail::protocol::proxy::{FromProxy, ProxyEnd};
use crate::jail::sandbox::network::{JAIL_V4, JAIL_V6};
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::steering::userns;
use crate::jail::steering::{EventSource, Steering, Stopped};
use crate::net::Listeners;
use crate::proxy::{self, Clients, HostNetwork, Proxy};
use crate::tls::store::load_or_create;
use crate::tls::{AuthorityFile, CertificateAuthority};

/// Everything that the proxy's process has from the supervisor by inheritance.
pub(crate) struct Task<'a> {
    /// The run's configuration.
    pub config: &'a Config,
    /// The user who called.
    pub caller: &'a UserIdentity,
    /// Certificates of authorities to trust upstream (`--upstream-ca`), PEM, read with the caller's rights.
    pub upstream_authorities: Vec<AuthorityFile>,
    /// Whether others than the jail are in its network namespace (`attach`): they are not served.
    pub among_others: bool,
    /// Sockets that were there before the jail (`attach`), for the log.
    pub older: Vec<Record>,
    /// Where the supervisor reads what was found.
    pub shared_findings: &'a SharedFindings,
    /// Names the run in the log.
    pub session: String,
    /// Knows where connections were meant to go, and what the kernel stopped.
    pub steering: &'a dyn Steering,
    /// The way to what the jail listens on, if anything is published.
    pub socket_client: Option<SocketClient>,
    /// The network that leads to servers, if that is not the host's.
    pub leg: Option<ContainerLeg>,
    /// The way to whoever decides on what no rule matches, if anybody does.
    pub questions: Option<UnixStream>,
    /// The control socket, if there is one.
    pub control: Option<ControlListener>,
}

/// The log, while the process may still open it.
enum Opened {
    File(File),
    Stream(LogFile),
}

impl Task<'_> {
    /// Forks the proxy's process. `keep`: what its steering needs open besides what the task itself has.
    ///
    /// # Errors
    /// The fork's.
    pub(crate) fn spawn(self, mut keep: Vec<RawFd>) -> Result<ProxyProcess, Failure> {
        keep.extend(self.questions.as_ref().map(AsRawFd::as_raw_fd));
        keep.extend(self.socket_client.as_ref().map(SocketClient::descriptor));
        keep.extend(self.leg.as_ref().map(ContainerLeg::descriptor));
        keep.extend(self.control.as_ref().map(ControlListener::descriptor));
        keep.push(self.shared_findings.descriptor());
        ProxyProcess::spawn(&keep, move |line, user| self.run(line, user))
            .map_err(|error| Failure::new(format!("cannot fork the proxy: {error}")))
    }

    /// Runs to the end of the jail, as `user`.
    ///
    /// # Errors
    /// What failed; the supervisor ends the run and tells it.
    fn run(mut self, line: Arc<ProxyEnd>, user: &ProxyUser) -> Result<(), Failure> {
        let upstream_proxies = proxy_parts::upstream_proxies()?;
        let authority = Arc::new(self.authority()?);
        let file = self.open_log()?;
        let stats = self
            .caller
            .act(|| SharedRunStats::new(self.config))
            .map_err(failure)??;
        let upstream_tls = proxy_parts::upstream_tls(&self.upstream_authorities, &authority)?;
        let published = published::listen(&self.config.publish)?;
        user.settle().map_err(|error| Failure {
            hint: userns::alone(),
            ..Failure::new(format!("cannot give up root: {error}"))
        })?;
        let ready = FromProxy::Ready {
            authority: authority.certificate_pem().to_owned(),
        };
        line.send(&ready)
            .map_err(|error| Failure::new(format!("the supervisor is gone: {error}")))?;
        // While the jail is built.
        let runtime = proxy::runtime().map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
        runtime.spawn(proxy_parts::give_memory_back());
        let process_info = Arc::new(ProcessInfoClient::new(line.clone()));
        let asked = process_info.clone();
        let file = file.map(|opened| match opened {
            Opened::Stream(stream) => stream,
            Opened::File(file) => LogFile {
                file,
                reopen: Box::new(move || asked.log()),
            },
        });
        let mut listeners = proxy_process::receive_listeners(&line)
            .map_err(|error| Failure::new(format!("cannot take the jail's sockets: {error}")))?;
        let log = proxy_parts::start_log(self.config, file, self.session.clone(), &stats)?;
        self.older.iter().for_each(|older| log.record(older.clone()));
        let flows = self.steering.original_dst(&listeners)?;
        let names = Arc::new(SyntheticAddresses::new(listeners.resolver_udp.len() > 1));
        let approvals = self.approvals(&runtime)?;
        let leg = self.leg.take().map(ContainerLeg::open).transpose()?.map(Arc::new);
        let (network, itself) = self.upstream(leg.clone(), &listeners);
        let parts = ProxyParts {
            clients: Clients::Steered(flows.clone()),
            programs: process_info.clone(),
            names: names.clone(),
            approvals: approvals.clone(),
            authority,
            upstream_tls,
            upstream_proxies,
            network,
            itself,
        };
        let (proxy, in_force) = parts.build(self.config, &log)?;
        let events = self.steering.events(&mut listeners)?;
        let blocked = noting(log.clone(), names.clone(), process_info.clone());
        let screen = log.terminal().clone();
        let (in_force, reloads) = (Arc::new(in_force), AskedSupervisor::new(line.clone()));
        let end = hear_supervisor(process_info, in_force.clone(), reloads.clone(), approvals, screen);
        if let Some(control) = self.control.take() {
            let _entered = runtime.enter();
            control.serve(in_force, proxy.counts(), reloads);
        }
        let answers = self.answers(names, leg.as_deref())?;
        let clients = self.among_others.then(|| self.steering.asked_servers()).transpose()?;
        let Listeners {
            proxy: sockets,
            resolver_udp,
            resolver_tcp,
            refusals: _,
            tables: _,
        } = listeners;
        let never = std::future::pending();
        let resolver = dns::serve(answers, resolver_udp, resolver_tcp, flows, clients, log.clone(), never);
        let socket_client = self.socket_client.take().map(Arc::new);
        let published = published::serve(published, socket_client);
        let resolver = async {
            tokio::select! {
                ended = resolver => ended,
                ended = published => ended,
            }
        };
        let last = runtime.block_on(serve(proxy, sockets, resolver, blocked, events, &line, end))?;
        // Tasks that still wait for a look-up or a program's name are not waited for.
        runtime.shutdown_background();
        log.record(Record {
            status: last,
            ..Record::new(EventKind::End)
        });
        log.finish(stats.last_words());
        let noted = self.shared_findings.write(&stats.findings());
        noted.map_err(|error| Failure::new(format!("cannot note what was found: {error}")))
    }

    /// Opens the request log with the caller's rights, if there is one.
    fn open_log(&self) -> Result<Option<Opened>, Failure> {
        Ok(match &self.config.log.target {
            LogTarget::Stderr => None,
            LogTarget::Stream(stream) => Some(Opened::Stream(proxy_parts::log_stream(*stream)?)),
            LogTarget::File(path) => {
                let opened = open_log_as(self.config, self.caller, path);
                let failed = |error: io::Error| Failure {
                    hint: proxy_parts::log_hint(&error),
                    ..Failure::new(format!("cannot open the log {}: {error}", path.display()))
                };
                Some(Opened::File(opened.map_err(failed)?))
            }
        })
    }

    /// Connects to the approver, if there is one.
    fn approvals(&mut self, runtime: &Runtime) -> Result<Option<Arc<ApprovalQueue>>, Failure> {
        let Some(socket) = self.questions.take() else {
            return Ok(None);
        };
        let _entered = runtime.enter();
        let approver = ApproverClient::start(socket).map_err(|error| Failure::new(format!("cannot ask: {error}")))?;
        Ok(Some(ApprovalQueue::new(Arc::new(approver))))
    }

    /// The network that the proxy dials from, and where the proxy itself listens in it.
    fn upstream(
        &self,
        leg: Option<Arc<ContainerNetwork>>,
        listeners: &Listeners,
    ) -> (Arc<dyn proxy::Network>, Vec<SocketAddr>) {
        match leg {
            None => (Arc::new(HostNetwork::new(false)), Vec::new()),
            Some(leg) => {
                let itself = listeners.proxy.iter().filter_map(|socket| socket.local_addr().ok());
                (leg, itself.collect())
            }
        }
    }

    fn answers(&self, names: Arc<SyntheticAddresses>, leg: Option<&ContainerNetwork>) -> Result<Answers, Failure> {
        let (configured, network) = match leg {
            None => (Configured::File(PathBuf::from("/etc/resolv.conf")), dns::Network::Host),
            Some(leg) => leg.name_servers(),
        };
        let servers = match self.config.dns {
            DnsMode::Synthetic => return Ok(Answers::Synthetic(names)),
            DnsMode::Off => return Ok(Answers::Off),
            DnsMode::Relay => Servers::Of(configured),
            DnsMode::Open => Servers::Named {
                by: self.steering.asked_servers()?,
                own: vec![JAIL_V4.into(), JAIL_V6.into()],
                configured,
            },
        };
        Ok(Answers::Relayed(Arc::new(Relay::new(servers, network))))
    }

    fn authority(&self) -> Result<CertificateAuthority, Failure> {
        if self.config.ephemeral_ca {
            return CertificateAuthority::generate().map_err(failure);
        }
        let dir = authority_dirs::folder(self.caller)?;
        let kept = self.caller.act(|| load_or_create(&dir, None));
        let kept = kept.map_err(|error| Failure::new(format!("cannot act as {}: {error}", self.caller.name)))?;
        kept.map_err(|error| Failure {
            hint: Some(error.hint()),
            ..failure(&error)
        })
    }
}

/// Takes what the supervisor sends until the end, in threads: changed policies, and answers. Returns what tells how the
/// run ended.
fn hear_supervisor(
    process_info: Arc<ProcessInfoClient>,
    in_force: Arc<InForce>,
    reloads: Arc<AskedSupervisor>,
    approvals: Option<Arc<ApprovalQueue>>,
    screen: Terminal,
) -> oneshot::Receiver<Shutdown> {
    let (ended, end) = oneshot::channel();
    let (changed, changes) = mpsc::channel::<(Change, Option<u64>)>();
    // On a thread of its own: a long policy takes a while to read, and answers are waited for.
    thread::spawn(move || {
        for (change, request_id) in changes {
            let became = in_force.take(change);
            request_id
                .into_iter()
                .for_each(|request_id| reloads.tell(request_id, became.clone()));
        }
    });
    thread::spawn(move || {
        let change = |change, request_id| {
            // The receiver ends with the process.
            let _ = changed.send((change, request_id));
        };
        let last = process_info.listen(change, |file| screen.show_on(file));
        drop(screen);
        if let Some(approvals) = approvals {
            approvals.close();
        }
        // The receiver is gone only when the run has failed, and then this process ends.
        let _ = ended.send(last);
    });
    end
}

/// Serves the jail until the command has ended. Returns its exit status.
async fn serve(
    proxy: Proxy,
    sockets: Vec<TcpListener>,
    resolver: impl Future<Output = io::Result<()>> + Send + 'static,
    blocked: impl FnMut(Stopped) + Send + 'static,
    events: Option<Box<dyn EventSource>>,
    line: &ProxyEnd,
    end: oneshot::Receiver<Shutdown>,
) -> Result<Option<u16>, Failure> {
    let (stop, stopped) = oneshot::channel::<()>();
    let stopped = async {
        // Dropped or sent, it means the same.
        let _ = stopped.await;
    };
    let mut proxied = tokio::spawn(proxy.run(sockets, stopped));
    let mut resolved = tokio::spawn(resolver);
    let (running, recorder) = io::pipe().map_err(|error| Failure::new(format!("cannot open a pipe: {error}")))?;
    // What is there already is the canary's.
    let mut events = events;
    while events.as_mut().and_then(|events| events.next()).is_some() {}
    let mut recorded = tokio::task::spawn_blocking(move || record(events, blocked, &running));
    line.send(&FromProxy::Serving)
        .map_err(|error| Failure::new(format!("the supervisor is gone: {error}")))?;
    let status = tokio::select! {
        ended = &mut proxied => return Err(part("proxy", ended)),
        ended = &mut resolved => return Err(part("resolver or a published port", ended)),
        ended = &mut recorded => return Err(part("reader of kernel events", ended)),
        last = end => match last {
            Ok(Shutdown::Finish(status)) => status,
            Ok(Shutdown::Gone) | Err(_) => return Err(Failure::new("the supervisor is gone")),
        },
    };
    drop(stop);
    drop(recorder);
    match (proxied.await, recorded.await) {
        (Ok(Ok(())), Ok(Ok(()))) => Ok(u16::try_from(status).ok()),
        (Ok(Ok(())), ended) => Err(part("reader of kernel events", ended)),
        (ended, _) => Err(part("proxy", ended)),
    }
}

/// A part that must not end has ended: the jail ends with it.
fn part(name: &str, ended: Result<io::Result<()>, tokio::task::JoinError>) -> Failure {
    match ended {
        Ok(Ok(())) => Failure::new(format!("the {name} ended")),
        Ok(Err(error)) => Failure::new(format!("the {name} failed: {error}")),
        Err(error) => Failure::new(format!("the {name} failed: {error}")),
    }
}
