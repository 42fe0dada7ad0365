//! Prints httpjail's own messages, always on stderr: stdout belongs to the command.
//!
//! Only [`error`] and [`warn`] print `error: ...`, `warning: ...` and `hint: ...`. [`init`] sets up tracing for `-v` and more. Everything
//! is escaped when it is printed, because an error may quote text from the jail. Color is for terminals only.

use crate::audit::{Terminal, paint, printable, wants_color};
use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Sets up tracing: `verbosity` counts the `-v`s (0 shows warnings, 3 everything). With `terminal`, lines go through the request
/// log's terminal, which never blocks and waits for full-screen programs; without it, directly to stderr. Only the first call
/// in a process has an effect.
pub(crate) fn init(verbosity: u8, terminal: Option<Terminal>) {
    let (own, others) = match verbosity {
        0 => (Level::WARN, Level::ERROR),
        1 => (Level::INFO, Level::WARN),
        2 => (Level::DEBUG, Level::INFO),
        _ => (Level::TRACE, Level::DEBUG),
    };
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(verbosity > 1)
        .with_writer(Out(terminal));
    let filter = Targets::new().with_target("httpjail", own).with_default(others);
    // It fails only if tracing is already set up.
    let _ = tracing_subscriber::registry().with(lines).with(filter).try_init();
}

/// Prints `error: ...` with the causes of `error`, then `hint: ...`.
pub(crate) fn error(error: &dyn Error, hint: Option<&str>) {
    say(&message("error", &chain(error), hint));
}

/// Prints `warning: ...`, then `hint: ...`.
pub(crate) fn warn(text: &str, hint: Option<&str>) {
    say(&message("warning", text, hint));
}

/// Prints `httpjail: ...`, for a message that is neither an error nor a warning.
pub(crate) fn note(text: &str) {
    say(&message("httpjail", text, None));
}

/// Returns `error` and its causes in one line, with `: ` between them. Leaves out a cause that the text already ends with.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.ends_with(&more) {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {more}");
        }
        cause = error.source();
    }
    text
}

fn message(kind: &str, text: &str, hint: Option<&str>) -> String {
    let mut out = String::new();
    push_paragraph(&mut out, kind, text);
    if let Some(hint) = hint {
        push_paragraph(&mut out, "hint", hint);
    }
    out
}

/// Text of several lines (a regex error points at a position) keeps its lines. Further ones are indented, so that none can look like
/// a message of its own.
fn push_paragraph(out: &mut String, kind: &str, text: &str) {
    for (number, line) in text.trim_end().split('\n').enumerate() {
        let _ = match number {
            0 => writeln!(out, "{kind}: {}", printable(line)),
            _ => writeln!(out, "  {}", printable(line)),
        };
    }
}

/// Prints in one write, and without `eprintln!`, which panics when stderr is closed.
fn say(text: &str) {
    let painted = || text.split_inclusive('\n').map(paint).collect::<String>();
    let text = if wants_color(&io::stderr()) {
        painted()
    } else {
        text.to_owned()
    };
    let _ = io::stderr().write_all(text.as_bytes());
}

/// The writer of tracing's events: one call of `write` for each event.
struct Out(Option<Terminal>);

impl<'a> MakeWriter<'a> for Out {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Self::Writer {
        Event(self.0.as_ref())
    }
}

struct Event<'a>(Option<&'a Terminal>);

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let line = printable(text.trim_end_matches('\n'));
        match self.0 {
            Some(terminal) => terminal.line(line.into_owned()),
            None => say(&format!("{line}\n")),
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open {name}")]
    struct Outer {
        name: &'static str,
        source: io::Error,
    }

    #[derive(Debug, thiserror::Error)]
    #[error("cannot start: {source}")]
    struct Telling {
        source: Outer,
    }

    fn outer() -> Outer {
        Outer {
            name: "x\x1b[2J",
            source: io::Error::other("no such thing"),
        }
    }

    #[test]
    fn an_error_names_its_causes_once() {
        assert_eq!(chain(&outer()), "cannot open x\x1b[2J: no such thing");
        assert_eq!(
            chain(&Telling { source: outer() }),
            "cannot start: cannot open x\x1b[2J: no such thing"
        );
    }

    #[test]
    fn messages_are_escaped_and_cannot_be_forged() {
        assert_eq!(
            message("error", "a\x1b[2J\u{202e}", None),
            "error: a\\x1b[2J\\u{202e}\n"
        );
        assert_eq!(
            message("warning", "bad rule\nerror: forged\r", Some("try it")),
            "warning: bad rule\n  error: forged\nhint: try it\n"
        );
    }

    #[test]
    fn a_traced_event_is_one_escaped_line() {
        use std::io::{Read, Seek};
        let mut screen = tempfile::tempfile().unwrap();
        let terminal = Terminal::start(screen.try_clone().unwrap()).unwrap();
        let layer = tracing_subscriber::fmt::layer()
            .with_ansi(false)
            .without_time()
            .with_writer(Out(Some(terminal.clone())));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            tracing::warn!(host = %"a\n\u{9b}1m\u{202e}", "odd\x1b[2J name\u{202e}");
        });
        terminal.flush(std::time::Duration::from_secs(30));
        let mut text = String::new();
        screen.rewind().unwrap();
        screen.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(
            text.contains("odd") && !text.trim_end().contains(char::is_control),
            "{text:?}"
        );
    }
}
