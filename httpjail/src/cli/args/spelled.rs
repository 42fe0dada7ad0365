//! Other ways to write a command line, and what somebody probably meant by one that is wrong.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command, CommandFactory as _};

use super::Cli;
use crate::audit::SummaryForm;
use crate::config::Config;
use crate::config::options::Word;
use crate::failure::Failure;
use crate::policy::{Rule, Source};

/// What every program is asked, and what httpjail's own options answer.
const HELP: &str = "help";
const VERSION: &str = "version";

/// The words as clap reads them: `--server` is `serve`, `help [COMMAND]` and `version` are the options of that name, and what
/// stands before a subcommand is given to it.
pub(super) fn read(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    let whole = Cli::command();
    let Some(at) = first(&words, &whole) else { return words };
    let is_own = |word: &OsString| word.to_str().is_some_and(|word| whole.find_subcommand(word).is_some());
    let word = words[at].to_str().unwrap_or_default();
    if word == HELP {
        let of = words.get(at + 1).filter(|word| is_own(word)).cloned();
        return [words[0].clone()]
            .into_iter()
            .chain(of)
            .chain(["--help".into()])
            .collect();
    }
    if word == VERSION {
        return vec![words[0].clone(), "--version".into()];
    }
    if word == "--server" {
        words[at] = "serve".into();
    }
    if let Some(own) = words[at].to_str().and_then(|word| whole.find_subcommand(word)) {
        words[1..=at].rotate_right(1);
        let mut place = 0;
        words.retain(|word| {
            place += 1;
            // How much is said of a run is nothing to those that start none.
            let known = |name| own.get_arguments().any(|arg| arg.get_id() == name);
            match word.to_str() {
                Some("-q" | "--quiet") if place > 2 && place <= at + 1 => known("quiet"),
                Some("-v" | "-vv" | "-vvv" | "--verbose") if place > 2 && place <= at + 1 => known("verbose"),
                _ => true,
            }
        });
    }
    words
}

/// The place of the first word that is no option of httpjail's own, nor the value of one.
fn first(words: &[OsString], whole: &Command) -> Option<usize> {
    let mut at = 1;
    loop {
        let word = words
            .get(at)?
            .to_str()
            .filter(|word| word.len() > 1 && word.starts_with('-'));
        let Some(word) = word.filter(|word| *word != "--server") else {
            return Some(at);
        };
        let (option, has_value) = match word.strip_prefix("--") {
            Some("") => return None,
            Some(long) => {
                let (name, value) = long.split_once('=').map_or((long, false), |(name, _)| (name, true));
                let known = whole.get_arguments().find(|arg| arg.get_long() == Some(name));
                (known?, value)
            }
            None => short(word, whole)?,
        };
        at += if takes_next(option) && !has_value { 2 } else { 1 };
    }
}

/// The option of a word such as `-vr`, the last one of it, and whether its value is in the same word.
fn short<'c>(word: &str, whole: &'c Command) -> Option<(&'c Arg, bool)> {
    let mut letters = word.chars().skip(1).peekable();
    loop {
        let letter = letters.next()?;
        let known = whole.get_arguments().find(|arg| arg.get_short() == Some(letter))?;
        if known.get_action().takes_values() || letters.peek().is_none() {
            return Some((known, letters.peek().is_some()));
        }
    }
}

fn takes_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
}

/// What to say of `--allow HOST`, which is no option.
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
        status: crate::cli::output::USAGE,
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
    use super::*;

    fn spelled(line: &str) -> String {
        let words = ["httpjail"].into_iter().chain(line.split(' ')).map(OsString::from);
        let read = read(words).into_iter().skip(1);
        read.map(|word| word.into_string().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn other_ways_to_write_it() {
        for (typed, meant) in [
            ("--server --auth none", "serve --auth none"),
            ("help", "--help"),
            ("help learn", "learn --help"),
            ("help curl", "--help"),
            ("-v version", "--version"),
            ("-q attach --cgroup x", "attach -q --cgroup x"),
            (
                "-qr allow:x -c f.yaml learn -- npm ci",
                "learn -qr allow:x -c f.yaml -- npm ci",
            ),
            ("--log=l --summary check", "check --log=l --summary"),
            ("-q doctor", "doctor"),
            // What stands behind `--` or a command is the command's.
            ("-- help", "-- help"),
            ("curl help", "curl help"),
            ("-r allow:x curl doctor", "-r allow:x curl doctor"),
            ("-r doctor", "-r doctor"),
            ("--bogus doctor", "--bogus doctor"),
            ("- version", "- version"),
        ] {
            assert_eq!(spelled(typed), meant, "{typed}");
        }
    }

    fn config(words: &[&str]) -> Config {
        use clap::Parser as _;
        let run = Cli::try_parse_from([&["httpjail"], words].concat()).unwrap().run;
        Config::from_args(run, None).unwrap()
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
