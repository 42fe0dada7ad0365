//! Colors the first words of a line on a terminal. Color never carries information of its own.
//!
//! The conventions are those of clap's help: no color without a terminal, with NO_COLOR, CLICOLOR=0 or TERM=dumb; always
//! color with CLICOLOR_FORCE.

use std::borrow::Cow;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};

const RED: &str = "\x1b[1;31m";
const YELLOW: &str = "\x1b[1;33m";
const CYAN: &str = "\x1b[1;36m";
const PLAIN: &str = "\x1b[0m";

/// The beginnings of httpjail's lines, with their colors.
const BEGINNINGS: [(&str, &str); 6] = [
    ("error:", RED),
    ("warning:", YELLOW),
    ("hint:", CYAN),
    ("httpjail: denied", RED),
    ("httpjail: refused", RED),
    ("httpjail: blocked", RED),
];

/// Returns true if lines to `stream` get color.
pub(crate) fn wants_color(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Returns `line`, which is already escaped, with its beginning in color.
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
