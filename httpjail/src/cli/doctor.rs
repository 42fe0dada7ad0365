//! `httpjail doctor`: which backends work here, and what to do about those that do not.
//!
//! Nothing is guessed: each is tried as far as the canary, in a jail whose command is never started.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use super::{failure, run};
use crate::jail::Jail;
use crate::jail::child::Command;
use crate::jail::helper::{Failure, FromProxy, Helper};
use crate::jail::identity::Identity;
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::init::Plan;
use crate::jail::sandbox::mounts::View;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::select::{self, Prepare, Wants};

/// Prints the table. Returns 0 if a strong backend works, else 1.
///
/// # Errors
/// When it cannot be printed.
pub(super) fn run(caller: &Identity) -> Result<u8, Failure> {
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
    let works = tried.iter().find(|(_, result)| result.is_ok());
    text += &works.map_or("no backend works here\n".to_owned(), |(name, _)| {
        format!("--backend auto takes {name}\n")
    });
    let printed = std::io::stdout().write_all(text.as_bytes());
    printed.map_err(|error| Failure::new(format!("cannot print: {error}")))?;
    Ok(u8::from(works.is_none()))
}

/// Builds a jail, steers it, has the canary prove it, and ends it.
fn trial(prepare: Prepare, caller: &Identity) -> Result<Vec<String>, Failure> {
    let backend = prepare(Wants::NOTHING)?;
    let plan = plan(caller)?;
    // In place of the proxy: a process that gives up what that gives up, and waits for the end.
    let helper = Helper::spawn(&backend.proxy_keeps(), |line, user| {
        user.settle()
            .map_err(|error| Failure::new(format!("cannot give up root: {error}")))?;
        let ready = FromProxy::Ready {
            authority: String::new(),
        };
        if line.send(&ready).is_ok() {
            let _ = line.receive();
        }
        Ok(())
    });
    let helper = helper.map_err(|error| Failure::new(format!("cannot fork: {error}")))?;
    helper.ready()?;
    let jail = Jail::prepare(backend, helper, &plan)?.arm()?;
    Ok(jail.notes().chain(jail.warnings().iter().cloned()).collect())
}

fn plan(caller: &Identity) -> Result<Plan, Failure> {
    let place = run::place(caller)?;
    let outside = Outside::look().map_err(failure)?;
    Ok(Plan {
        view: View {
            place,
            overlays: Vec::new(),
            outside,
            own_terminals: false,
            hidden: run::hidden(caller, caller),
            additions: Vec::new(),
            allowed: Vec::new(),
            owner: (caller.uid.as_raw(), caller.gid.as_raw()),
        },
        command: Command {
            argv: vec![OsString::from("true")],
            env: Vec::new(),
            cwd: Path::new("/").into(),
            identity: caller.clone(),
            pipes: Vec::new(),
        },
        filter: Filter::compile().map_err(failure)?,
    })
}
