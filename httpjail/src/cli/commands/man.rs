//! `httpjail man`: made from the same words as `--help`.

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use crate::cli::args::Cli;
use crate::cli::output::{USAGE, print_bytes};
use crate::failure::Failure;

/// Prints the manual page, or that of one command.
///
/// # Errors
/// When there is no such command, or it cannot be printed.
pub(crate) fn man(of: Option<&str>) -> Result<i32, Failure> {
    let mut whole = Cli::command();
    // Commands of a command get their full names.
    whole.build();
    let command = match of {
        None => whole,
        Some(name) => named(&whole, name)?,
    };
    let mut text = Vec::new();
    let made = Man::new(command).manual("httpjail").render(&mut text);
    made.map_err(|error| Failure::new(format!("cannot make the page: {error}")))?;
    print_bytes(&text)
}

fn named(whole: &Command, name: &str) -> Result<Command, Failure> {
    let known = whole.get_subcommands().find(|command| command.get_name() == name);
    // The page of a command is called as it is typed.
    let page = known.map(|command| command.clone().name(format!("httpjail-{name}")));
    page.ok_or_else(|| {
        let names: Vec<&str> = whole.get_subcommands().map(Command::get_name).collect();
        Failure {
            hint: Some(format!("there are {}", names.join(", "))),
            status: USAGE,
            ..Failure::new(format!("httpjail has no command `{name}`"))
        }
    })
}
