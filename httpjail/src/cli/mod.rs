//! What the user types and what becomes of it. The one place that knows all the parts.

pub mod args;
mod attach;
mod ca;
mod doctor;
mod environment;
mod published;
mod run;
mod serve_jail;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use crate::config::{Config, ConfigError, ConfigFile};
use crate::jail::helper::Failure;
use crate::jail::identity::Identity;
use crate::jail::sandbox::stdio;
use crate::logging;
use crate::policy::yaml::Level;
use args::{Cli, Other, Run};

/// The exit status for a wrong option, rule or file.
const USAGE: u8 = 2;

/// Runs httpjail with the process's own arguments.
pub fn main() -> ExitCode {
    // Before anything is opened: what was inherited is the first thing to know.
    let inherited = stdio::take_stock();
    let Cli { run: args, other } = Cli::parse();
    let done = inherited.map_err(failure).and_then(|inherited| {
        let caller = Identity::caller().map_err(failure)?;
        match other {
            None => run::run(&configure(args, &caller, Config::from_args)?, &caller, inherited),
            Some(Other::Doctor) => doctor::run(&caller),
            Some(Other::Ca(action)) => ca::run(action, &caller),
            Some(Other::Attach(args)) => attach::attach(
                &configure(args.run, &caller, Config::for_attaching)?,
                &caller,
                &args.cgroup,
            ),
            Some(Other::Detach(args)) => attach::detach(args.cgroup.as_deref()),
        }
    });
    match done {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            logging::error(&failure, failure.hint.as_deref());
            ExitCode::from(failure.status)
        }
    }
}

/// Makes the configuration, with the policy file's text, and says what should be known of it.
fn configure(
    args: Run,
    caller: &Identity,
    make: fn(Run, Option<ConfigFile<'_>>) -> Result<Config, ConfigError>,
) -> Result<Config, Failure> {
    let file = args.config.as_deref().map(|path| read(path, caller)).transpose()?;
    let file = file.as_ref().map(|(name, bytes)| ConfigFile { name, bytes });
    let config = make(args, file).map_err(usage)?;
    logging::init(verbosity(config.verbosity), None);
    if !config.log.quiet {
        config
            .warnings
            .iter()
            .for_each(|warning| logging::warn(&warning.message, warning.hint.as_deref()));
    }
    Ok(config)
}

/// Reads the policy file with the rights of the user who named it.
fn read(path: &Path, caller: &Identity) -> Result<(String, Vec<u8>), Failure> {
    let name = path.display().to_string();
    let bytes = caller.act(|| fs::read(path)).and_then(|read| read);
    let bytes = bytes.map_err(|error| Failure {
        status: USAGE,
        ..Failure::new(format!("cannot read {name}: {error}"))
    })?;
    Ok((name, bytes))
}

/// How many `-v` a level is worth.
fn verbosity(level: Level) -> u8 {
    match level {
        Level::Off | Level::Error | Level::Warn => 0,
        Level::Info => 1,
        Level::Debug => 2,
        Level::Trace => 3,
    }
}

fn usage(error: ConfigError) -> Failure {
    Failure {
        hint: error.hint(),
        status: USAGE,
        ..failure(error)
    }
}

/// An error with its causes, as a failure of httpjail itself.
fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(logging::chain(&error))
}
