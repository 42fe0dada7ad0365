//! What every command says alike: data on stdout, how much on stderr, and a failure with its exit status.

use std::io::{self, Write as _};
use std::process;

use crate::config::ConfigError;
use crate::config::options::Level;
use crate::failure::Failure;
use crate::logging;

/// The exit status for a wrong option, rule or file.
pub(crate) const USAGE: u8 = 2;

/// What a shell has from a program whose reader went away: 128 and the number of SIGPIPE.
pub(crate) const CLOSED: i32 = 141;

/// Data, for whatever reads stdout.
pub(crate) fn print(text: &str) -> Result<i32, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `httpjail check - | head -1`: whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => process::exit(CLOSED),
        written => written.map_err(|error| Failure::new(format!("cannot write to stdout: {error}")))?,
    }
    Ok(0)
}

pub(crate) fn print_bytes(text: &[u8]) -> Result<i32, Failure> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(format!("cannot print: {error}"))),
        _ => Ok(0),
    }
}

/// How many `-v` a level is worth.
pub(crate) fn verbosity(level: Level) -> u8 {
    match level {
        Level::Off | Level::Error | Level::Warn => 0,
        Level::Info => 1,
        Level::Debug => 2,
        Level::Trace => 3,
    }
}

pub(crate) fn usage(error: ConfigError) -> Failure {
    Failure {
        hint: error.hint(),
        status: USAGE,
        ..failure(error)
    }
}

/// An error with its causes, as a failure of httpjail itself.
pub(crate) fn failure(error: impl std::error::Error) -> Failure {
    Failure::new(logging::chain(&error))
}
