//! `httpjail completions`: what makes a shell complete httpjail's words.
//!
//! A shell's script asks httpjail itself, and so knows as much of the command line as httpjail does: where the jailed command
//! begins, which is completed as it is without httpjail, what an option's values are, that only the first word may be a
//! command of httpjail's. Scripts that are made of the table of options alone know none of it. For the shells that have
//! none of ours they have to do.

mod offer;

use std::ffi::OsString;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::args::Cli;
use crate::cli::output::print_bytes;
use crate::failure::Failure;
use offer::{Offer, Typed};

/// Prints the script for `shell`, or, asked with the words typed so far by such a script, what may come in the place of the
/// last of them.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn run(shell: Shell, words: &[OsString]) -> Result<i32, Failure> {
    let words: Vec<String> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    if !words.is_empty() {
        // A cursor in the command's name is none of ours.
        let typed = Typed::new(words, shell == Shell::Bash);
        return print_bytes(told(&typed.offer(&Cli::command(), &programs)).as_bytes());
    }
    let script = match shell {
        Shell::Bash => include_str!("completions/httpjail.bash"),
        Shell::Zsh => include_str!("completions/httpjail.zsh"),
        Shell::Fish => include_str!("completions/httpjail.fish"),
        other => {
            let mut text = Vec::new();
            clap_complete::generate(other, &mut Cli::command(), "httpjail", &mut text);
            return print_bytes(&text);
        }
    };
    print_bytes(script.as_bytes())
}

/// As the scripts read it: what is offered, then a word a line, its description behind a tab.
fn told(offer: &Offer) -> String {
    match offer {
        Offer::Files => "files\n".to_owned(),
        Offer::OfCommand(first) => format!("command {first}\n"),
        Offer::Words(words) => {
            let lines = words.iter().map(|(word, about)| match about.is_empty() {
                true => format!("{word}\n"),
                false => format!("{word}\t{about}\n"),
            });
            std::iter::once("words\n".to_owned()).chain(lines).collect()
        }
    }
}

/// The programs along PATH that begin like this.
fn programs(start: &str) -> Vec<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries = std::env::split_paths(&path).filter_map(|folder| std::fs::read_dir(folder).ok());
    let names = entries.flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        // Links to programs are looked through.
        (name.starts_with(start) && is_program(&std::fs::metadata(entry.path()).ok()?)).then_some(name)
    });
    let mut names: Vec<String> = names.collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn is_program(file: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    let executable = std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o111 != 0;
    #[cfg(not(unix))]
    let executable = true;
    file.is_file() && executable
}
