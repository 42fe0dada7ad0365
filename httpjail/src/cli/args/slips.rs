//! Guesses what was meant by a command line that is wrong.

use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory as _};

use super::rewrite::{HELP, VERSION, takes_next};
use super::top::Cli;
use crate::audit::SummaryForm;
use crate::cli::output::USAGE;
use crate::config::Config;
use crate::config::options::Word;
use crate::failure::Failure;
use crate::policy::{Rule, Source};

/// Makes the error for `--allow HOST`, which is not an option.
pub(super) fn no_option(error: &clap::Error) -> Option<Failure> {
    let Some(ContextValue::String(name)) = error.get(ContextKind::InvalidArg) else {
        return None;
    };
    let name = name.split('=').next().unwrap_or(name);
    if error.kind() != ErrorKind::UnknownArgument || !matches!(name, "--allow" | "--deny") {
        return None;
    }
    let mut typed = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let value = typed.find_map(|word| match word.strip_prefix(name)? {
        "" => Some(None),
        rest => Some(Some(rest.strip_prefix('=')?.to_owned())),
    });
    let value = value.flatten().or_else(|| typed.next()).unwrap_or_default();
    let rule = format!("{} {value}", name.trim_start_matches('-'));
    let meant = Rule::parse(&rule, Source::Option(1))
        .err()
        .and_then(|error| error.hint(&rule));
    Some(Failure {
        hint: meant.map(|hint| hint.replace("write ", "write -r ")),
        status: USAGE,
        ..Failure::new(format!("there is no option {name}: rules are given by -r"))
    })
}

/// What was probably meant by a command that was not found: a subcommand, or the value of an option.
pub(in crate::cli) fn meant_command(config: &Config) -> Option<String> {
    let name = config.command.program.to_str()?;
    if config.summary.is_some() && SummaryForm::parse(name).is_some() {
        return Some(format!("write --summary={name}, with the `=`"));
    }
    let whole = Cli::command();
    let known = whole.get_subcommands().map(Command::get_name).chain([HELP, VERSION]);
    let far = |known: &&str| strsim::damerau_levenshtein(known, name);
    let nearest = known.filter(|known| known.len() > 3).min_by_key(far)?;
    (far(&nearest) <= 2).then(|| format!("did you mean `httpjail {nearest}`?"))
}

/// Options that hardly another program has: behind the command they were given to it.
const OWN: [&str; 8] = [
    "--log-only",
    "--no-tls-intercept",
    "--approve-with",
    "--approve-timeout",
    "--allow-socket",
    "--ephemeral-ca",
    "--upstream-ca",
    "--log-format",
];

/// The option of httpjail's own that stands behind the command, and the command line as it was probably meant. `-r` is one where
/// a rule follows.
pub(in crate::cli) fn misplaced_option(config: &Config) -> Option<(String, String)> {
    let command = &config.command;
    if Path::new(&command.program)
        .file_name()
        .is_some_and(|name| name == "httpjail")
    {
        return None;
    }
    let words: Vec<&str> = command.args.iter().map_while(|word| word.to_str()).collect();
    let is_rule = |text: &str| Rule::parse(text, Source::Option(1)).is_ok();
    let found = words.iter().enumerate().find_map(|(at, word)| {
        let next = words.get(at + 1).copied();
        let (name, value) = word
            .split_once('=')
            .map_or((*word, None), |(name, value)| (name, Some(value)));
        match name {
            "-r" | "--rule" if value.or(next).is_some_and(is_rule) => {
                Some((at, name, if value.is_some() { 1 } else { 2 }))
            }
            name if OWN.contains(&name) => {
                let takes = Cli::command()
                    .get_arguments()
                    .any(|arg| arg.get_long() == name.strip_prefix("--") && takes_next(arg));
                Some((
                    at,
                    name,
                    if takes && value.is_none() && next.is_some() {
                        2
                    } else {
                        1
                    },
                ))
            }
            _ => None,
        }
    });
    let (at, name, count) = found?;
    let quote = |word: &&str| match word.contains([' ', '\'', '"', '*', '\\', '$', '(', '|', '&', ';', '?', '^']) {
        true => format!("'{}'", word.replace('\'', r"'\''")),
        false => (*word).to_owned(),
    };
    let option: Vec<String> = words[at..at + count].iter().map(quote).collect();
    let rest: Vec<String> = words[..at].iter().chain(&words[at + count..]).map(quote).collect();
    let program = command.program.to_string_lossy();
    let line = format!("httpjail {} -- {program} {}", option.join(" "), rest.join(" "));
    Some((name.to_owned(), line.trim_end().to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn config(words: &[&str]) -> Config {
        let run = Cli::try_parse_from([&["httpjail"], words].concat()).unwrap().run;
        run.configure(None).unwrap()
    }

    #[test]
    fn options_behind_the_command() {
        let misplaced = |words: &[&str]| misplaced_option(&config(words)).map(|(_, line)| line);
        assert_eq!(
            misplaced(&["curl", "https://a.test/", "-r", "allow: ."]).as_deref(),
            Some("httpjail -r 'allow: .' -- curl https://a.test/")
        );
        assert_eq!(
            misplaced(&["npm", "ci", "--log-only"]).as_deref(),
            Some("httpjail --log-only -- npm ci")
        );
        for line in [
            &["curl", "-r", "0-5", "https://a.test/"][..],
            &["apt", "--dry-run", "install"],
            &["httpjail", "-r", "allow: .", "--", "curl"],
        ] {
            assert_eq!(misplaced(line), None, "{line:?}");
        }
    }

    #[test]
    fn commands_that_are_none() {
        let meant = |words: &[&str]| meant_command(&config(words)).unwrap_or_default();
        assert_eq!(meant(&["leran"]), "did you mean `httpjail learn`?");
        assert_eq!(meant(&["--summary", "github"]), "write --summary=github, with the `=`");
        assert_eq!(meant(&["cowsay"]), "");
    }
}
