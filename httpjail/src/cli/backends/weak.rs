//! Weak mode: the command beside a proxy that it is asked to use. It works on every system, and nothing holds the command.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::rc::Rc;

use super::trust_files::TrustFiles;
use crate::backend::{Armed, Backend, Ended, Outcome, Prepared, Running};
use crate::cli::args;
use crate::cli::compose::open_proxy::{Access, OpenProxy};
use crate::cli::compose::proxy_parts::within_jail;
use crate::cli::context::RunContext;
use crate::cli::safe_from::SafeFrom;
use crate::failure::Failure;
use crate::logging;
use crate::proxy::Token;
use crate::weak::{Child, Command, RunError, environment, self_test};

/// Its name, as `--backend` spells it.
pub(super) const NAME: &str = "weak";

const WARNING: &str = "weak mode: the command is only asked to use the proxy, by environment variables; \
                       a program that ignores them is neither judged nor logged";

/// The proxy listens here, at a port that the system chooses.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A command that is asked to use the proxy.
pub(crate) struct WeakBackend {
    run: Rc<RunContext>,
}

impl WeakBackend {
    pub(super) fn new(run: Rc<RunContext>) -> WeakBackend {
        WeakBackend { run }
    }
}

impl Backend for WeakBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn prepare(self: Box<Self>) -> Result<Box<dyn Prepared>, Failure> {
        let run = self.run;
        let (config, caller) = (&run.config, &run.caller);
        let hint = if within_jail() {
            Some("this is inside a jail of httpjail, which holds it")
        } else {
            cfg!(target_os = "linux").then_some("without --weak the kernel holds it")
        };
        logging::warn(WARNING, hint);
        // The command is this very user.
        let guarded = SafeFrom::User(caller.user());
        let mut proxy = OpenProxy::open(config, caller, ANYWHERE, Access::TokenOrSelf, guarded)?;
        let trusted = match config.intercept_tls {
            true => Some(TrustFiles::write(&proxy.authority)?),
            false => None,
        };
        proxy.address.java_store = trusted.as_ref().map(|trusted| trusted.java.clone());
        let more = trusted.iter().flat_map(TrustFiles::variables).chain(caller.variables());
        let command = Command {
            program: config.command.program.clone(),
            args: config.command.args.clone(),
            env: environment::build(std::env::vars_os(), &proxy.address, more),
        };
        Ok(Box::new(Ready {
            proxy,
            command,
            trusted,
            run,
        }))
    }
}

/// The proxy listens, and the command's environment leads to it.
struct Ready {
    proxy: OpenProxy,
    command: Command,
    trusted: Option<TrustFiles>,
    run: Rc<RunContext>,
}

impl Prepared for Ready {
    fn arm(self: Box<Self>) -> Result<Box<dyn Armed>, Failure> {
        prove(self.proxy.listener(), &self.proxy.address)?;
        Ok(self)
    }
}

impl Armed for Ready {
    fn notes(&self) -> Vec<String> {
        notes()
    }

    fn spawn(self: Box<Self>) -> Result<Box<dyn Running>, Failure> {
        let Ready {
            proxy,
            command,
            trusted,
            run,
        } = *self;
        match proxy.within(|| command.spawn()) {
            Ok(child) => Ok(Box::new(RunningChild {
                child,
                proxy,
                _trusted: trusted,
                run,
            })),
            Err(error) => {
                // The log tells of it as of a command that ran.
                let status = u16::from(error.status());
                proxy.while_serving(std::future::ready(()), |()| Some(status))?;
                Err(failed(&run, &error))
            }
        }
    }
}

struct RunningChild {
    child: Child,
    proxy: OpenProxy,
    _trusted: Option<TrustFiles>,
    run: Rc<RunContext>,
}

impl Running for RunningChild {
    fn wait(self: Box<Self>) -> Result<Ended, Failure> {
        let RunningChild {
            child,
            proxy,
            _trusted,
            run,
        } = *self;
        let (waited, findings) = proxy.while_serving(child.wait(run.config.timeout), status)?;
        let outcome = waited.map_err(|error| failed(&run, &error))?;
        if outcome == Outcome::TimedOut {
            let text = "the time given by --timeout is up; the command and what it started were ended";
            logging::warn(text, None);
        }
        Ok(Ended { outcome, findings })
    }
}

/// The exit status, for the log.
fn status(waited: &Result<Outcome, RunError>) -> Option<u16> {
    let status = match waited {
        Ok(outcome) => outcome.status(),
        Err(error) => error.status().into(),
    };
    u16::try_from(status).ok()
}

fn failed(run: &RunContext, error: &RunError) -> Failure {
    Failure {
        hint: matches!(error, RunError::NotFound(_))
            .then(|| args::meant_command(&run.config))
            .flatten(),
        status: error.status(),
        ..Failure::new(error.to_string())
    }
}

/// Tries it as far as its proof.
pub(super) fn trial() -> Result<Vec<String>, Failure> {
    let listener =
        TcpListener::bind(ANYWHERE).map_err(|error| Failure::new(format!("cannot listen on {ANYWHERE}: {error}")))?;
    let local = listener.local_addr();
    let address = local.map_err(|error| Failure::new(format!("cannot tell a socket's port: {error}")))?;
    let (_, secret) = Token::new().map_err(|_| Failure::new("the system has no randomness"))?;
    prove(
        &listener,
        &environment::ProxyAddress {
            address,
            credentials: Some(Token::credentials(&secret)),
            java_store: None,
        },
    )?;
    Ok(notes())
}

fn prove(listener: &TcpListener, address: &environment::ProxyAddress) -> Result<(), Failure> {
    self_test::witness(listener, address).map_err(|error| {
        Failure::new(format!(
            "the proxy at {} is not reached, so the command was not started: {error}",
            address.address
        ))
    })
}

fn notes() -> Vec<String> {
    vec![
        "clients come to a port of this host's loopback, with a token".to_owned(),
        "holds nothing: a program that ignores the environment variables is neither judged nor logged".to_owned(),
    ]
}
