//! `httpjail reload`: has runs look at their policy files now.

use std::io::{self, Write as _};

use super::list::{counted, found};
use crate::audit::printable;
use crate::cli::args::Reload;
use crate::cli::invoking_user::InvokingUser;
use crate::control::client::{Found, ask_all};
use crate::control::protocol::{Ask, Told};
use crate::failure::Failure;
use crate::logging;

/// The exit status where a policy file was not taken.
const NOT_TAKEN: i32 = 1;

/// Has one run reload its policy, or all that have a policy file. Returns the exit status.
///
/// # Errors
/// When there is no run of that name, or it does not answer.
pub(crate) fn run(args: &Reload, caller: &InvokingUser) -> Result<i32, Failure> {
    let mut runs = found(caller)?;
    match &args.name {
        Some(name) => {
            runs.retain(|run| run.name == *name);
            if runs.is_empty() {
                return Err(unknown(name));
            }
        }
        None => {
            let with_file: Vec<String> = counted(caller)?
                .into_iter()
                .filter(|run| run.status.policy.file.is_some())
                .map(|run| run.status.run.name)
                .collect();
            runs.retain(|run| with_file.contains(&run.name));
        }
    }
    let mut status = 0;
    for (run, told) in ask_all(runs, Ask::Reload) {
        if let Err(failure) = tell(&run, told) {
            if args.name.is_some() {
                return Err(failure);
            }
            logging::error(&failure, failure.hint.as_deref());
            status = status.max(i32::from(failure.status));
        }
    }
    Ok(status)
}

/// Says what came of it.
fn tell(run: &Found, told: io::Result<Told>) -> Result<(), Failure> {
    match told {
        Ok(Told::Reload(loaded)) => {
            let rules = match loaded.rules {
                1 => "1 rule".to_owned(),
                count => format!("{count} rules"),
            };
            // Without a stderr there is nobody to tell.
            let _ = writeln!(io::stderr(), "httpjail: {}: {rules} in force", run.name);
            Ok(())
        }
        Ok(Told::Error(reason)) => Err(Failure {
            status: NOT_TAKEN as u8,
            ..Failure::new(format!(
                "{}: the policy was not reloaded, the old one stays in force: {}",
                run.name,
                reason.lines().map(printable).collect::<Vec<_>>().join("\n  ")
            ))
        }),
        Ok(_) => Err(Failure::new(format!("{}: it answers something else", run.name))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(unknown(&run.name)),
        Err(error) => Err(Failure::new(format!("{}: {error}", run.name))),
    }
}

pub(super) fn unknown(name: &str) -> Failure {
    Failure {
        hint: Some("`httpjail list` shows those of this user; root's are shown with sudo".into()),
        ..Failure::new(format!("no run of the name {}", printable(name)))
    }
}
