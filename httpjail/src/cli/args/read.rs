//! Parses the arguments of this process, and prints help and errors.

use std::io;

use clap::Parser as _;
use clap::error::ContextKind;

use super::top::Cli;
use super::{rewrite, slips};
use crate::audit::printable;
use crate::failure::Failure;

impl Cli {
    /// Reads the process's own arguments.
    ///
    /// # Errors
    /// Returns an error for wrong arguments and for help, which [`told`] prints.
    pub(crate) fn read() -> Result<Cli, Box<clap::Error>> {
        let words = rewrite::read(std::env::args_os());
        Cli::try_parse_from(&words).map_err(|error| {
            // The message quotes the arguments, so they are parsed again with control characters escaped.
            let shown = words.iter().map(|word| printable(&word.to_string_lossy()).into_owned());
            Box::new(Cli::try_parse_from(shown).err().unwrap_or(error))
        })
    }
}

/// Prints help, or what is wrong with the arguments. Returns the exit status.
///
/// # Errors
/// When help cannot be printed, and for an option that was meant to be a rule.
pub(in crate::cli) fn told(mut error: clap::Error) -> Result<i32, Failure> {
    if let Some(failure) = slips::no_option(&error) {
        return Err(failure);
    }
    // clap suggests `-- VALUE`, which would be wrong here.
    error.remove(ContextKind::Suggested);
    match error.print() {
        // Nobody is left to tell.
        Err(_) if error.use_stderr() => Ok(error.exit_code()),
        Err(failed) if failed.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {failed}")))
        }
        _ => Ok(error.exit_code()),
    }
}
