//! How the strong backends work here. Nothing is guessed: each is tried as far as the canary, in a jail whose command is never
//! started.

use std::ffi::OsString;

use nix::sys::prctl;

use super::trial::Trial;
use crate::cli::authority_dirs;
use crate::cli::compose::jail_plan;
use crate::cli::output::failure;
use crate::failure::Failure;
use crate::jail::lifecycle::Jail;
use crate::jail::process::command::JailedCommand;
use crate::jail::process::init::Plan;
use crate::jail::process::proxy::ProxyProcess;
use crate::jail::process::working_directory::WorkingDirectory;
use crate::jail::protocol::proxy::FromProxy;
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::mounts::View;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::steering::select::{self, Prepare, Wants};
use crate::jail::steering::userns;

/// Tries each, the strongest first.
pub(super) fn trials(caller: &UserIdentity) -> [Trial; 2] {
    select::STRONG.map(|(name, prepare)| Trial {
        name,
        is_strong: true,
        result: trial(prepare, caller),
    })
}

/// Builds a jail, steers it, has the canary prove it, and ends it.
fn trial(prepare: Prepare, caller: &UserIdentity) -> Result<Vec<String>, Failure> {
    // As a run does, so that nothing is to be seen here that is out of sight there.
    prctl::set_dumpable(false).map_err(failure)?;
    let steering = prepare(Wants::NOTHING)?.steering();
    let mut plan = plan(caller)?;
    // In place of the proxy: a process that gives up what that gives up, and waits for the end.
    let proxy_process = ProxyProcess::spawn(&steering.proxy_keeps(), |line, user| {
        user.settle().map_err(|error| Failure {
            hint: userns::alone(),
            ..Failure::new(format!("cannot give up root: {error}"))
        })?;
        let ready = FromProxy::Ready {
            authority: String::new(),
        };
        if line.send(&ready).is_ok() {
            let _ = line.receive();
        }
        Ok(())
    });
    let proxy_process = proxy_process.map_err(|error| Failure::new(format!("cannot fork: {error}")))?;
    proxy_process.ready()?;
    let jail = Jail::prepare(steering, proxy_process, &mut plan)?.arm()?;
    Ok(jail.notes().chain(jail.warnings().iter().cloned()).collect())
}

fn plan(caller: &UserIdentity) -> Result<Plan, Failure> {
    let place = jail_plan::place(caller)?;
    let outside = Outside::look().map_err(failure)?;
    Ok(Plan {
        view: View {
            place,
            overlays: Vec::new(),
            authority: Vec::new(),
            outside,
            own_terminals: false,
            hidden: authority_dirs::hidden(caller, caller)?,
            kept: Vec::new(),
            additions: Vec::new(),
            allowed: Vec::new(),
            owner: (caller.uid.as_raw(), caller.gid.as_raw()),
        },
        command: JailedCommand {
            argv: vec![OsString::from("true")],
            env: Vec::new(),
            working_directory: WorkingDirectory::root(),
            identity: caller.clone(),
            pipes: Vec::new(),
            lent: None,
        },
        filter: Filter::compile().map_err(failure)?,
    })
}
