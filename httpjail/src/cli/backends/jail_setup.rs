//! What a jail is made of: the process that is asked, the proxy's process, and the plan for init.
//!
//! This process is the jail's supervisor. It composes the parts and never touches a byte that the jail sends.

use std::io;
use std::rc::Rc;

use nix::sys::prctl;

use super::jail_stages::{PreparedJail, RunParts};
use crate::backend::Prepared;
use crate::cli::compose::allowed_sockets;
use crate::cli::compose::approval::{self, Questions};
use crate::cli::compose::control::{self, About};
use crate::cli::compose::jail_plan;
use crate::cli::compose::proxy_parts;
use crate::cli::compose::proxy_process::Task;
use crate::cli::context::{Inherited, RunContext};
use crate::cli::output::{USAGE, failure};
use crate::cli::run_stats::SharedFindings;
use crate::cli::safe_from::{Holding, SafeFrom};
use crate::config::Config;
use crate::control::protocol::Kind;
use crate::failure::Failure;
use crate::jail::lifecycle::Jail;
use crate::jail::process::init::Plan;
use crate::jail::process::socket_maker::{self, SocketClient, SocketServer};
use crate::jail::sandbox::rights;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::stale;
use crate::jail::steering::select::{self, Refused};
use crate::jail::steering::{Steering, hints};
use crate::jail::supervisor::signals::Signals;
use crate::logging;
use crate::tls::AuthorityFile;

/// What a run finds out before anything is made for it.
pub(super) struct JailSetup {
    run: Rc<RunContext>,
    inherited: Inherited,
    signals: Signals,
    /// Whom the command runs as.
    identity: UserIdentity,
    upstream_authorities: Vec<AuthorityFile>,
    /// Stronger backends, which do not work here.
    pub(super) refused: Vec<Refused>,
}

impl JailSetup {
    pub(super) fn new(run: &Rc<RunContext>, inherited: Inherited) -> Result<JailSetup, Failure> {
        let (config, caller) = (&run.config, &run.caller.identity);
        // Neither traced nor dumped by the user whose command it jails (without root it runs as that user).
        prctl::set_dumpable(false).map_err(|error| Failure::new(format!("cannot hide from tracing: {error}")))?;
        let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
        let identity = identity(config, caller)?;
        let upstream_authorities = proxy_parts::upstream_authorities(config, caller)?;
        allowed_sockets::check(config, caller)?;
        Ok(JailSetup {
            run: run.clone(),
            inherited,
            signals,
            identity,
            upstream_authorities,
            refused: Vec::new(),
        })
    }

    /// As [`JailSetup::build`], for a run.
    pub(super) fn prepare(self, steering: Box<dyn Steering>) -> Result<Box<dyn Prepared>, Failure> {
        Ok(Box::new(self.build(steering, |_| ())?))
    }

    /// Starts the process that is asked, if one is, and the proxy's; then makes the jail. `change` changes the plan before.
    pub(super) fn build(
        self,
        steering: Box<dyn Steering>,
        change: impl FnOnce(&mut Plan),
    ) -> Result<PreparedJail, Failure> {
        let run = self.run;
        let (config, caller) = (&run.config, &run.caller.identity);
        let name = steering.name();
        if steering.cgroup().is_some() {
            stale::remove().iter().for_each(|left| logging::warn(left, None));
        }
        let (socket_client, socket_server) = port_forwarding(config)?;
        let holding = Holding::Jail(SafeFrom::User(self.identity.uid.as_raw()));
        let (approver, questions, deciders) = match approval::start(config, caller, holding)? {
            None => (None, None, Vec::new()),
            Some(Questions { approver, socket, held }) => (Some(approver), Some(socket), held),
        };
        if self.identity.uid.is_root() && !deciders.is_empty() && !config.log.quiet {
            logging::warn(
                "the command runs as root, and could change what the program that decides is made of",
                Some("--user NAME, or sudo from a user's account, runs it as a user"),
            );
        }
        let findings = SharedFindings::new()?;
        let session = proxy_parts::session();
        let about = About {
            kind: Kind::Jail,
            backend: Some(name),
            holds: control::command(config),
            session: &session,
            home: &caller.home,
        };
        // Before the host's Unix sockets are looked for, so that the jail's cover is on it, too.
        let (control_socket, control) = control::open(config, about)?.unzip();
        let task = Task {
            config,
            caller,
            upstream_authorities: self.upstream_authorities,
            among_others: false,
            older: Vec::new(),
            shared_findings: &findings,
            session,
            steering: steering.as_ref(),
            socket_client,
            leg: None,
            questions,
            control,
        };
        let proxy_process = task.spawn(steering.proxy_keeps())?;
        // While the proxy's process loads its authority.
        let mut outside = Outside::look().map_err(|error| Failure {
            hint: (error.kind() == io::ErrorKind::TimedOut)
                .then(|| "end what runs in such numbers, or run httpjail in a container of its own".into()),
            ..Failure::new(format!(
                "cannot list the host's Unix sockets in /proc/net/unix: {error}"
            ))
        })?;
        let unplaced = std::mem::take(&mut outside.unplaced);
        let jailed = self.identity.uid.as_raw();
        let authority = || proxy_process.ready();
        let mut plan = jail_plan::plan(
            config,
            caller,
            self.identity,
            authority,
            outside,
            self.inherited,
            deciders,
        )?;
        change(&mut plan);
        let jail = Jail::prepare(steering, proxy_process, &mut plan);
        let (jail, refused) = match jail {
            Ok(jail) => (jail, self.refused),
            Err(failure) => return Err(select::explain(self.refused, name, failure)),
        };
        Ok(PreparedJail {
            jail,
            name,
            refused,
            parts: RunParts {
                approver,
                socket_server,
                findings,
                control_socket,
                signals: self.signals,
                unplaced,
                jailed,
                run,
            },
        })
    }
}

/// Whom the command runs as.
fn identity(config: &Config, caller: &UserIdentity) -> Result<UserIdentity, Failure> {
    let identity = match &config.user {
        Some(name) => UserIdentity::named(name).map_err(|error| Failure {
            status: USAGE,
            ..failure(error)
        })?,
        None => caller.clone(),
    };
    if identity.switched && !rights::may_change_user() {
        return Err(Failure {
            hint: Some(hints::with_sudo()),
            ..Failure::new(format!("only root can run the command as {}", identity.name))
        });
    }
    Ok(identity)
}

fn port_forwarding(config: &Config) -> Result<(Option<SocketClient>, Option<SocketServer>), Failure> {
    if config.publish.is_empty() {
        return Ok((None, None));
    }
    let (socket_client, socket_server) =
        socket_maker::pair().map_err(|error| Failure::new(format!("cannot make a line: {error}")))?;
    Ok((Some(socket_client), Some(socket_server)))
}
