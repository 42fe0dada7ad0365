//! Color for what is said on a terminal: the first words of a line, never a thing that only color would tell.
//!
//! Whether there is any follows the same conventions as clap's help: not without a terminal, not with NO_COLOR, CLICOLOR=0 or
//! TERM=dumb; always with CLICOLOR_FORCE.

use std::borrow::Cow;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
const PLAIN: &str = "\x1b[0m";

/// How lines of httpjail's begin, and in which color.
const BEGINNINGS: [(&str, &str); 6] = [
    ("error:", RED),
    ("warning:", YELLOW),
    ("hint:", CYAN),
    ("httpjail: denied", RED),
    ("httpjail: refused", RED),
    ("httpjail: blocked", RED),
];

/// Whether lines to `stream` are to be painted.
pub(crate) fn wants_color(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// `line`, already escaped, with its beginning in color.
pub(crate) fn paint(line: &str) -> Cow<'_, str> {
    let known = BEGINNINGS
        .iter()
        .find_map(|(words, color)| Some((words, color, line.strip_prefix(words)?)));
    match known {
        Some((words, color, rest)) => Cow::Owned(format!("{color}{words}{PLAIN}{rest}")),
        None => Cow::Borrowed(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_words_are_painted() {
        assert_eq!(paint("error: hint: x"), "\x1b[1;31merror:\x1b[0m hint: x");
        assert_eq!(
            paint("httpjail: denied GET x"),
            "\x1b[1;31mhttpjail: denied\x1b[0m GET x"
        );
        for plain in ["httpjail: allowed x", " error: x", "x error: y", ""] {
            assert_eq!(paint(plain), plain);
        }
    }

    #[test]
    fn what_is_no_terminal_gets_none() {
        let file = tempfile::tempfile().unwrap();
        let forced = std::env::var_os("CLICOLOR_FORCE").is_some();
        assert!(forced || !wants_color(&file));
    }
}
