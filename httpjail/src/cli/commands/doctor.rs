//! `httpjail doctor`: which backends work here, and what to do about those that do not.
//!
//! Nothing is guessed: each is tried as far as the canary, in a jail whose command is never started.

use std::ffi::OsString;
use std::io::Write;

use nix::sys::prctl;
use nix::unistd::{AccessFlags, access};

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
use crate::jail::sandbox::nested;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::steering::hints;
use crate::jail::steering::select::{self, Prepare, Wants};
use crate::jail::steering::userns;

/// Prints the table. Returns 0 if a strong backend works, else 1.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn run(caller: &UserIdentity) -> Result<u8, Failure> {
    if nested::is_within() {
        let Failure { message, hint, .. } = nested::refusal();
        return print(&format!("{message}\n{}\n", hint.unwrap_or_default())).map(|()| 1);
    }
    let tried = select::STRONG.map(|(name, prepare)| (name, trial(prepare, caller)));
    let mut text = String::from("backend  works  how, or why not\n");
    for (name, result) in &tried {
        match result {
            Ok(notes) => text += &format!("{name:<8} yes    {}\n", notes.join("; ")),
            Err(failure) => {
                text += &format!("{name:<8} no     {}\n", failure.message.replace('\n', " "));
                if let Some(hint) = &failure.hint {
                    text += &format!("                fix: {hint}\n");
                }
            }
        }
    }
    text += &no_authority(caller).unwrap_or_default();
    if let Some(path) = hints::beyond_sudo() {
        text += &format!("sudo does not look where this httpjail is: sudo {}\n", path.display());
    }
    let works = tried.iter().find(|(_, result)| result.is_ok());
    text += &works.map_or("no backend works here\n".to_owned(), |(name, _)| {
        format!("--backend auto takes {name}\n")
    });
    print(&text)?;
    Ok(u8::from(works.is_none()))
}

fn print(text: &str) -> Result<(), Failure> {
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::new(format!("cannot print: {error}")))
}

/// Each run keeps its authority in the caller's configuration. Where that cannot be written none starts.
fn no_authority(caller: &UserIdentity) -> Option<String> {
    let folder = caller.config_dir().join("httpjail");
    let nearest = folder.ancestors().find(|folder| folder.exists())?;
    let may = caller
        .act(|| access(nearest, AccessFlags::W_OK | AccessFlags::X_OK))
        .ok()?;
    let error = std::io::Error::from(may.err()?);
    let kept = caller.act(|| std::fs::read(folder.join("ca.key")).is_ok()).ok()?;
    (!kept).then(|| {
        let folder = folder.display();
        format!(
            "each run fails: cannot keep an authority in {folder}: {error}\n                \
             fix: --ephemeral-ca keeps it in memory\n"
        )
    })
}

/// Builds a jail, steers it, has the canary prove it, and ends it.
fn trial(prepare: Prepare, caller: &UserIdentity) -> Result<Vec<String>, Failure> {
    // As a run does, so that nothing is to be seen here that is out of sight there.
    prctl::set_dumpable(false).map_err(failure)?;
    let backend = prepare(Wants::NOTHING)?;
    let plan = plan(caller)?;
    // In place of the proxy: a process that gives up what that gives up, and waits for the end.
    let proxy_process = ProxyProcess::spawn(&backend.proxy_keeps(), |line, user| {
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
    let jail = Jail::prepare(backend, proxy_process, &plan)?.arm()?;
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
        },
        filter: Filter::compile().map_err(failure)?,
    })
}
