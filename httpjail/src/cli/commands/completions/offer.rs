//! What may come in the place of the last word of a command line: pure, by clap's own table of commands and options.

use clap::builder::ValueHint;
use clap::{Arg, Command};

#[cfg(test)]
mod tests;

/// What may come there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offer {
    /// One of these, each with a few words on it.
    Words(Vec<(String, String)>),
    Files,
    /// It belongs to the jailed command, which is the word with this index.
    OfCommand(usize),
}

/// A command line up to the cursor.
pub(super) struct Typed {
    words: Vec<String>,
    /// The index that the shell has for each.
    indices: Vec<usize>,
    /// How much of the last one the shell does not take for a part of the word that it completes.
    before: usize,
}

impl Typed {
    /// The first word is httpjail's own name. bash divides words at `=` and `:` (`COMP_WORDBREAKS`).
    pub(super) fn new(words: Vec<String>, divided: bool) -> Self {
        let mut typed = Typed {
            words: Vec::new(),
            indices: Vec::new(),
            before: 0,
        };
        let breaks = |word: &str| divided && !word.is_empty() && word.chars().all(|char| "=:".contains(char));
        let mut joins = false;
        for (index, word) in words.into_iter().enumerate() {
            let separates = breaks(&word);
            match typed.words.last_mut().filter(|_| index > 1 && (joins || separates)) {
                Some(last) => {
                    typed.before = last.len() + if separates { word.len() } else { 0 };
                    last.push_str(&word);
                }
                None => {
                    typed.before = 0;
                    typed.words.push(word);
                    typed.indices.push(index);
                }
            }
            joins = separates;
        }
        typed
    }

    /// What may come in the place of the last word. `programs` tells those that begin like its argument.
    pub(super) fn offer(&self, cli: &Command, programs: &dyn Fn(&str) -> Vec<String>) -> Offer {
        let mut offer = self.whole_words(cli, programs);
        if let Offer::Words(words) = &mut offer {
            words.retain_mut(|(word, _)| {
                let fits = self.words.last().is_some_and(|typed| word.starts_with(typed));
                *word = word.get(self.before..).unwrap_or_default().to_owned();
                fits
            });
        }
        offer
    }

    fn whole_words(&self, cli: &Command, programs: &dyn Fn(&str) -> Vec<String>) -> Offer {
        let Some((current, before)) = self.words.split_last() else {
            return Offer::Words(Vec::new());
        };
        let mut place = Place {
            cli,
            command: cli,
            first: true,
            options: true,
            positionals: 0,
        };
        let mut words = before.iter().enumerate().skip(1);
        while let Some((index, word)) = words.next() {
            if place.options && word == "--" {
                (place.options, place.first) = (false, false);
            } else if let Some(option) = place.option(word) {
                place.first = false;
                if takes_next(option) && !word.contains('=') && words.next().is_none() {
                    return values(option, cli, "");
                }
            } else if let Some(command) = place.subcommand(word) {
                place.command = command;
            } else if place.runs_a_command() && !(place.options && word.starts_with('-')) {
                return Offer::OfCommand(self.indices.get(index).copied().unwrap_or(index));
            } else {
                place.first = false;
                place.positionals += 1;
            }
        }
        place.offer(current, programs)
    }
}

/// Where the next word stands.
struct Place<'a> {
    cli: &'a Command,
    command: &'a Command,
    /// Nothing has come yet: only then may it be a command of httpjail's.
    first: bool,
    /// There was no `--` yet.
    options: bool,
    positionals: usize,
}

impl<'a> Place<'a> {
    fn option(&self, word: &str) -> Option<&'a Arg> {
        if !self.options {
            return None;
        }
        let long = word
            .strip_prefix("--")
            .map(|rest| rest.split('=').next().unwrap_or(rest));
        let short = word.strip_prefix('-').and_then(|rest| rest.chars().last());
        let mut all = self.command.get_arguments().filter(|arg| !arg.is_positional());
        all.find(|arg| match long {
            Some(name) => arg.get_long() == Some(name),
            // Of several in a word the last may have its value in the next: -qc FILE.
            None => short.is_some() && arg.get_short() == short,
        })
    }

    fn subcommand(&self, word: &str) -> Option<&'a Command> {
        // The other spelling of `serve`.
        let word = if word == "--server" { "serve" } else { word };
        self.command.find_subcommand(word).filter(|_| self.first)
    }

    fn runs_a_command(&self) -> bool {
        self.command.get_positionals().any(Arg::is_trailing_var_arg_set)
    }

    fn offer(&self, current: &str, programs: &dyn Fn(&str) -> Vec<String>) -> Offer {
        if self.options && current.starts_with('-') {
            return match (current.split_once('='), self.option(current)) {
                (Some((name, _)), Some(option)) => values(option, self.cli, &format!("{name}=")),
                _ => Offer::Words(self.options()),
            };
        }
        let mut words = Vec::new();
        if self.first {
            let commands = self.command.get_subcommands().filter(|command| !command.is_hide_set());
            words.extend(commands.map(|command| (command.get_name().to_owned(), about(command.get_about()))));
        }
        if self.runs_a_command() {
            if current.contains('/') {
                return Offer::Files;
            }
            // All that there are would hide httpjail's own.
            if !(self.first && current.is_empty()) {
                words.extend(programs(current).into_iter().map(|program| (program, String::new())));
            }
            return Offer::Words(words);
        }
        match self.command.get_positionals().nth(self.positionals) {
            Some(argument) => values(argument, self.cli, ""),
            None => Offer::Words(words),
        }
    }

    fn options(&self) -> Vec<(String, String)> {
        let shown = |arg: &&Arg| !arg.is_hide_set();
        let long = self.command.get_arguments().filter(shown).filter_map(|arg| {
            let word = format!("--{}", arg.get_long()?);
            Some((word, about(arg.get_help())))
        });
        let of_clap = [("--help", "Print help")].map(|(word, about)| (word.to_owned(), about.to_owned()));
        long.chain(of_clap).collect()
    }
}

/// Whether its value is the next word.
fn takes_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

fn values(argument: &Arg, cli: &Command, before: &str) -> Offer {
    let known = argument.get_possible_values();
    let known = known
        .iter()
        .map(|value| (format!("{before}{}", value.get_name()), about(value.get_help())));
    let known: Vec<(String, String)> = known.collect();
    if !known.is_empty() {
        return Offer::Words(known);
    }
    match (argument.get_id().as_str(), argument.get_value_hint()) {
        // The page of one of httpjail's commands, and the first word of a request.
        ("of", _) => {
            let commands = cli.get_subcommands();
            Offer::Words(
                commands
                    .map(|command| (command.get_name().to_owned(), about(command.get_about())))
                    .collect(),
            )
        }
        ("request", _) => Offer::Words(METHODS.map(|method| (method.to_owned(), String::new())).into()),
        (_, ValueHint::AnyPath | ValueHint::FilePath) => Offer::Files,
        _ => Offer::Words(Vec::new()),
    }
}

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PATCH",
];

/// The first line of a help text.
fn about(text: Option<&clap::builder::StyledStr>) -> String {
    let text = text.map(ToString::to_string).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
