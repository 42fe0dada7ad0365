//! Rewrites forms of the command line that clap does not know: `help`, `version`, `--server`, and options before a
//! subcommand.

use std::ffi::OsString;

use clap::{Arg, Command, CommandFactory as _};

use super::top::Cli;

/// Words that users try with every program.
pub(super) const HELP: &str = "help";
pub(super) const VERSION: &str = "version";
/// A command of httpjail's, and a program that is often run in a jail.
const NODE: &str = "node";

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
    if words[at].to_str() == Some(NODE) && !is_node_mode(&words, at, &whole) {
        words.insert(at, "--".into());
        return words;
    }
    if let Some(own) = words[at].to_str().and_then(|word| whole.find_subcommand(word)) {
        words[1..=at].rotate_right(1);
        let mut place = 0;
        words.retain(|word| {
            place += 1;
            // Commands that start no run have no such options.
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

/// Returns true if `node` is httpjail's own command: no option of a run stands before it, and nothing but its own options behind it.
/// Otherwise it is the program that runs JavaScript.
fn is_node_mode(words: &[OsString], at: usize, whole: &Command) -> bool {
    let Some(own) = whole.find_subcommand(NODE) else {
        return false;
    };
    let before = words.get(1..at).unwrap_or_default();
    if before.iter().any(|word| {
        !word
            .to_str()
            .is_some_and(|word| word.trim_start_matches('-').starts_with(['q', 'v']))
    }) {
        return false;
    }
    let mut behind = words.get(at + 1..).unwrap_or_default().iter();
    while let Some(word) = behind.next() {
        let word = word.to_string_lossy();
        let (name, value) = word.split_once('=').map_or((&*word, false), |(name, _)| (name, true));
        if ["-h", "--help"].contains(&name) {
            continue;
        }
        let known = own.get_arguments().find(|arg| {
            name.strip_prefix("--").is_some_and(|long| arg.get_long() == Some(long))
                || name
                    .strip_prefix('-')
                    .is_some_and(|short| arg.get_short().is_some_and(|own| own.to_string() == short))
        });
        match known {
            None => return false,
            Some(option) if takes_next(option) && !value => drop(behind.next()),
            Some(_) => {}
        }
    }
    true
}

/// Returns the index of the first word that is neither an option of httpjail nor the value of one.
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

pub(super) fn takes_next(option: &Arg) -> bool {
    option.get_action().takes_values() && !option.is_require_equals_set()
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
            // Node mode, and the program.
            ("node", "node"),
            ("-q node --check --config=n.yaml", "node --check --config=n.yaml"),
            ("node -c n.yaml --keep", "node -c n.yaml --keep"),
            ("node --help", "node --help"),
            ("node app.js", "-- node app.js"),
            ("node --check app.js", "-- node --check app.js"),
            ("node -e 1", "-- node -e 1"),
            ("-r allow:x node", "-r allow:x -- node"),
        ] {
            assert_eq!(spelled(typed), meant, "{typed}");
        }
    }
}
