//! The process's own arguments, and what is said of them where they are wrong.

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
    /// If they are wrong, or ask for help: [`told`] says it.
    pub(crate) fn read() -> Result<Cli, Box<clap::Error>> {
        let words = rewrite::read(std::env::args_os());
        Cli::try_parse_from(&words).map_err(|error| {
            // The message quotes what is wrong: it is asked for again, of words that a terminal may see.
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
    // How a value that looks like an option is given; nobody means that here.
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
