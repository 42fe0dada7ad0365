//! `httpjail metrics`: what the runs of the user who asks have counted, as Prometheus reads it.

use std::io;

use super::list::found;
use super::reload::unknown;
use crate::cli::args::Metrics;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::print;
use crate::control::client;
use crate::control::metrics;
use crate::control::protocol::{Ask, Told};
use crate::failure::Failure;

/// Prints the text of all runs, or of one. Returns the exit status.
///
/// # Errors
/// When there is no run of that name, or it does not answer.
pub(crate) fn run(args: &Metrics, caller: &InvokingUser) -> Result<i32, Failure> {
    let mut runs = found(caller)?;
    if let Some(name) = &args.name {
        runs.retain(|run| run.name == *name);
        if runs.is_empty() {
            return Err(unknown(name));
        }
    }
    let (mut counted, mut silent) = (Vec::new(), 0);
    for (run, told) in client::ask_all(runs, Ask::Counters) {
        match told {
            Ok(Told::Counters(counts)) => counted.push(*counts),
            Err(error) if error.kind() == io::ErrorKind::NotFound && args.name.is_none() => {}
            Err(error) if args.name.is_some() => return Err(Failure::new(format!("{}: {error}", run.name))),
            _ => silent += 1,
        }
    }
    let text = metrics::text(counted, silent);
    print(&text.map_err(|error| Failure::new(format!("cannot spell the metrics: {error}")))?)
}
