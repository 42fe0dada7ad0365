//! Makes text from the jail safe to show.
//!
//! A URL, a header, a DNS label or a thread's name can contain bytes that control a terminal (ESC sequences, the C1 control
//! 0x9b), that break one line of a log into two, or that change how text is displayed (bidirectional overrides, invisible
//! characters). [`printable`] escapes each of them as `\x1b` or `\u{202e}`. A backslash stays as it is, because rules are full
//! of them: an escape can then be ambiguous to a reader, but not to a terminal.

use std::borrow::Cow;
use std::fmt::Write;

/// A longer URL or rule is cut to this many characters.
const LONGEST: usize = 200;

/// Returns `text` as one line, with every character escaped that could deceive a terminal or a reader.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        push_printable(&mut out, c);
    }
    Cow::Owned(out)
}

/// Appends `c` as [`printable`] shows it.
pub(super) fn push_printable(out: &mut String, c: char) {
    if !is_unsafe(c) {
        out.push(c);
        return;
    }
    let code = u32::from(c);
    // Writing to a String cannot fail.
    let _ = if code < 0x100 {
        write!(out, "\\x{code:02x}")
    } else {
        write!(out, "\\u{{{code:x}}}")
    };
}

/// Returns true if `c` must not reach a terminal or a log line unescaped.
pub(super) fn is_unsafe(c: char) -> bool {
    c.is_control() // C0, DEL and C1
        || matches!(c,
            '\u{61c}'                     // Arabic letter mark
            | '\u{200b}'..='\u{200f}'     // zero width, left-to-right and right-to-left marks
            | '\u{2028}'..='\u{202e}'     // line and paragraph separators, bidirectional embeddings and overrides
            | '\u{2060}'..='\u{206f}'     // invisible operators, bidirectional isolates
            | '\u{feff}'                  // zero width no-break space
            | '\u{fff9}'..='\u{fffb}'     // interlinear annotation
            | '\u{e0000}'..='\u{e007f}') // tags: invisible ASCII
}

/// Returns a URL for display, without its query, because queries contain secrets.
pub(crate) fn redacted(url: &str) -> String {
    match url.split_once('?') {
        Some((start, _query)) => short(start) + "?…",
        None => short(url),
    }
}

/// Returns `text` for display: one line, cut to a bounded length.
pub(super) fn short(text: &str) -> String {
    let shown = printable(text);
    match shown.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or_default()),
        None => shown.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, shown: &str) {
        assert_eq!(printable(text), shown);
    }

    // Proves: K06.
    #[test]
    fn hostile_text_is_written_out() {
        check("\x1b[2J", r"\x1b[2J");
        check("\x1b]0;owned\x07", r"\x1b]0;owned\x07");
        check("\u{9b}31m", r"\x9b31m");
        check("a\nb\r\tc\0", r"a\x0ab\x0d\x09c\x00");
        check("\x7f", r"\x7f");
        check("abc\u{202e}cba", r"abc\u{202e}cba");
        check(
            "\u{2066}x\u{2069}\u{200e}\u{2028}",
            r"\u{2066}x\u{2069}\u{200e}\u{2028}",
        );
        check("\u{e0041}", r"\u{e0041}");
        check(&String::from_utf8_lossy(b"\xff\x1b"), "\u{fffd}\\x1b");
    }

    #[test]
    fn ordinary_text_is_left_alone() {
        for text in [
            "",
            "https://example.com/a?b=c",
            r"allow: ^https://api\.github\.com/",
            "žluťoučký 日本語 🦀",
        ] {
            assert!(matches!(printable(text), Cow::Borrowed(same) if same == text));
        }
    }

    proptest::proptest! {
        // Proves: K06.
        #[test]
        fn nothing_unsafe_is_left(text in "\\PC*|.*") {
            proptest::prop_assert!(!printable(&text).contains(is_unsafe));
        }
    }
}
