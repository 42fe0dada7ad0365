//! A proxy in this process, on an address of this host: what weak mode and `serve` stand on.
//!
//! It is the jail's proxy with the clients outside. Its authority is another than the one that jails trust, since what is
//! asked to use this proxy may read the key.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::approve::ApprovalQueue;
use crate::audit::{EventKind, Log, LogFile, Record, Sink, open_log};
use crate::backend::RunFindings;
use crate::cli::compose::approval;
#[cfg(target_os = "linux")]
use crate::cli::compose::control::{self, About, ControlListener};
use crate::cli::compose::proxy_parts::{self, ProxyParts};
use crate::cli::compose::reload::{self, InForce, Own, Watcher};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::failure;
use crate::cli::run_stats::SharedRunStats;
use crate::cli::safe_from::{Holding, SafeFrom};
use crate::config::{Approval, Config, LogTarget};
#[cfg(target_os = "linux")]
use crate::control::{directory::ControlSocket, protocol::Kind};
use crate::failure::Failure;
use crate::logging;
use crate::net::{Asked, Host, NameSource, Program, ProgramSource};
use crate::proxy::{self, Clients, HostNetwork, Proxy, ProxyAuth, Token};
use crate::tls::CertificateAuthority;
use crate::tls::store::load_or_create;
use crate::weak::environment::ProxyAddress;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// How many requests to look at the policy file may wait.
const DEMANDS: usize = 16;

/// The folder of the authority, in httpjail's own.
const FOLDER: &str = "weak";

/// Who may use the proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Access {
    /// Everybody who reaches it.
    Anybody,
    /// Who has the token.
    Token,
    /// Who has the token or, where the system tells, is the user that httpjail runs as.
    TokenOrSelf,
}

impl Access {
    /// Returns what lets clients in, and the credentials that they show.
    fn guard(self) -> Result<(ProxyAuth, Option<String>), Failure> {
        let (token, secret) = Token::new().map_err(|_| Failure::new("the system has no randomness"))?;
        let (token, credentials) = (Box::new(token), Some(Token::credentials(&secret)));
        Ok(match self {
            Access::Anybody => (ProxyAuth::Open, None),
            Access::Token => (ProxyAuth::Token(token), credentials),
            Access::TokenOrSelf => (ProxyAuth::TokenOrSelf(token), credentials),
        })
    }
}

/// A proxy that listens and is about to serve.
pub(crate) struct OpenProxy {
    /// What its clients must know.
    pub(crate) address: ProxyAddress,
    /// Its authority's certificate, PEM.
    pub(crate) authority: String,
    /// Where that lies, if it is kept.
    pub(crate) authority_file: Option<PathBuf>,
    runtime: Runtime,
    proxy: Proxy,
    listener: TcpListener,
    log: Arc<Log>,
    stats: SharedRunStats,
    watch: Option<Watcher<Own>>,
    heeds_hangup: bool,
    in_force: Arc<InForce>,
    #[cfg(target_os = "linux")]
    control: Option<(ControlSocket, ControlListener)>,
}

impl OpenProxy {
    /// Opens what the configuration names with the caller's rights, becomes the caller, and listens. `guarded` says from
    /// whom the policy file must be safe to be reloaded.
    ///
    /// # Errors
    /// Naming what failed.
    pub(crate) fn open(
        config: &Config,
        caller: &InvokingUser,
        listen: SocketAddr,
        access: Access,
        guarded: SafeFrom,
    ) -> Result<OpenProxy, Failure> {
        let upstream_proxies = proxy_parts::upstream_proxies()?;
        // Before root is given up: it may be a low port.
        let (local, listener) = bind(listen)?;
        let folder = caller.folder();
        caller.settle()?;

        let upstream = proxy_parts::upstream_authorities(config, Own)?;
        let file = log_file(config)?;
        let stats = SharedRunStats::new(config)?;
        // Behind another of our own kind the kept authority may be that one's too, and none vouches for its own upstream.
        let (authority, authority_file) = match config.ephemeral_ca || upstream_proxies.are_ours() {
            true => (CertificateAuthority::generate().map_err(failure)?, None),
            false => kept(folder?)?,
        };
        let authority = Arc::new(authority);
        let pem = authority.certificate_pem().to_owned();
        let upstream_tls = proxy_parts::upstream_tls(&upstream, &authority)?;
        let runtime = proxy::runtime().map_err(|error| Failure::new(format!("cannot start the runtime: {error}")))?;
        runtime.spawn(proxy_parts::give_memory_back());
        let session = proxy_parts::session();
        #[cfg(target_os = "linux")]
        let control = control::open(config, about(config, caller, access, local, &session))?;
        let log = proxy_parts::start_log(config, file, session, &stats)?;

        let (guard, credentials) = access.guard()?;
        let approvals = approvals(config, caller, guarded)?;
        let parts = ProxyParts {
            clients: Clients::Explicit(guard),
            programs: Arc::new(Unknown),
            names: Arc::new(Unknown),
            approvals,
            authority,
            upstream_tls,
            upstream_proxies,
            network: Arc::new(HostNetwork::new(proxy_parts::within_jail())),
            itself: vec![local],
        };
        let (proxy, in_force) = parts.build(config, &log)?;
        let address = ProxyAddress {
            address: local,
            credentials,
            java_store: None,
        };
        Ok(OpenProxy {
            address,
            authority: pem,
            authority_file,
            runtime,
            proxy,
            listener,
            log,
            stats,
            watch: Watcher::new(config, guarded, Own),
            // In weak mode the signal is the command's.
            heeds_hangup: !matches!(access, Access::TokenOrSelf),
            in_force: Arc::new(in_force),
            #[cfg(target_os = "linux")]
            control,
        })
    }

    /// Where its clients come to, before it serves them.
    pub(crate) fn listener(&self) -> &TcpListener {
        &self.listener
    }

    /// Does something that needs the proxy's runtime.
    pub(crate) fn within<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.runtime.enter();
        work()
    }

    /// Serves while `work` runs, then finishes the log. `status` is what the log says of `work`'s end. Returns what `work` did,
    /// and what was found meanwhile.
    ///
    /// # Errors
    /// The proxy's; `work` is dropped then.
    pub(crate) fn while_serving<T>(
        self,
        work: impl Future<Output = T>,
        status: impl FnOnce(&T) -> Option<u16>,
    ) -> Result<(T, RunFindings), Failure> {
        let (proxy, listener) = (self.proxy, self.listener);
        let done = self.runtime.block_on(async {
            let (_demand, demands) = mpsc::channel(DEMANDS);
            #[cfg(target_os = "linux")]
            let counts = proxy.counts();
            let (stop, stopped) = oneshot::channel::<()>();
            #[cfg(target_os = "linux")]
            let _control_socket = self.control.map(|(socket, control)| {
                control.serve(self.in_force.clone(), counts, _demand.clone());
                socket
            });
            let mut serving: JoinHandle<_> = tokio::spawn(proxy.run(vec![listener], async {
                // Dropped or sent, it means the same.
                let _ = stopped.await;
            }));
            let ended = |ended| match ended {
                Ok(Ok(())) => Failure::new("the proxy ended"),
                Ok(Err(error)) => Failure::new(format!("the proxy failed: {error}")),
                Err(error) => Failure::new(format!("the proxy failed: {error}")),
            };
            let done = tokio::select! {
                early = &mut serving => return Err(ended(early)),
                never = reload::keep(self.watch, self.heeds_hangup, self.in_force, demands) => match never {},
                done = work => done,
            };
            drop(stop);
            match serving.await {
                Ok(Ok(())) => Ok(done),
                failed => Err(ended(failed)),
            }
        });
        // Tasks that still wait for a look-up are not waited for.
        self.runtime.shutdown_background();
        self.log.record(Record {
            status: done.as_ref().ok().and_then(status),
            ..Record::new(EventKind::End)
        });
        self.log.finish(self.stats.last_words());
        Ok((done?, self.stats.findings()))
    }
}

/// What the control socket tells of it.
#[cfg(target_os = "linux")]
fn about<'a>(
    config: &Config,
    caller: &'a InvokingUser,
    access: Access,
    local: SocketAddr,
    session: &'a str,
) -> About<'a> {
    let weak = matches!(access, Access::TokenOrSelf);
    About {
        kind: if weak { Kind::Jail } else { Kind::Serve },
        backend: weak.then_some("weak"),
        holds: if weak {
            control::command(config)
        } else {
            local.to_string()
        },
        session,
        home: &caller.identity.home,
    }
}

fn kept(folder: PathBuf) -> Result<(CertificateAuthority, Option<PathBuf>), Failure> {
    let folder = folder.join(FOLDER);
    let authority = load_or_create(&folder, None).map_err(|error| Failure {
        hint: Some(error.hint()),
        ..failure(&error)
    })?;
    Ok((authority, Some(folder.join("ca.crt"))))
}

/// Nobody's names are made up here, and who a client is the system does not tell.
struct Unknown;

impl NameSource for Unknown {
    fn name_of(&self, _address: IpAddr) -> Option<Host> {
        None
    }
}

impl ProgramSource for Unknown {
    fn program(&self, _pid: u32) -> Asked<'_, Program> {
        Box::pin(std::future::ready(None))
    }
}

/// Listens, and returns the address that it got.
fn bind(listen: SocketAddr) -> Result<(SocketAddr, TcpListener), Failure> {
    let listening = TcpListener::bind(listen).and_then(|listener| {
        // More may wait than `bind` lets: a client that floods it must not keep others out.
        socket2::SockRef::from(&listener).listen(BACKLOG)?;
        Ok((listener.local_addr()?, listener))
    });
    listening.map_err(|error| Failure {
        hint: match error.kind() {
            io::ErrorKind::PermissionDenied => Some("ports below 1024 are root's: --listen names another".into()),
            io::ErrorKind::AddrInUse => Some("--listen ADDR:PORT names another".into()),
            io::ErrorKind::AddrNotAvailable => Some("--listen takes an address of this host".into()),
            _ => None,
        },
        ..Failure::new(format!("cannot listen on {listen}: {error}"))
    })
}

/// Opens the request log, if there is one.
fn log_file(config: &Config) -> Result<Option<LogFile>, Failure> {
    Ok(match &config.log.target {
        LogTarget::Stderr => None,
        LogTarget::Stream(stream) => Some(proxy_parts::log_stream(*stream)?),
        LogTarget::File(path) => {
            let failed = |error: io::Error| Failure {
                hint: proxy_parts::log_hint(&error),
                ..Failure::new(format!("cannot open the log {}: {error}", path.display()))
            };
            let path = path.clone();
            Some(LogFile {
                file: open_log(&path).map_err(failed)?,
                reopen: Box::new(move || open_log(&path)),
            })
        }
    })
}

/// Starts the program that decides about requests that no rule matches, if there is one.
fn approvals(config: &Config, caller: &InvokingUser, guarded: SafeFrom) -> Result<Option<Arc<ApprovalQueue>>, Failure> {
    let Approval::Program(command) = &config.approval else {
        return Ok(None);
    };
    let decider = approval::decider(command, config, Holding::Nothing(guarded), caller.variables())?;
    if let Some(text) = approval::unheld(&decider.held).filter(|_| !config.log.quiet) {
        logging::warn(&text, None);
    }
    Ok(Some(ApprovalQueue::new(Arc::new(decider.program))))
}
