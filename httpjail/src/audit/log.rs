//! The sink of a real run: it writes the request log and reports at the terminal.
//!
//! Only the file decides about health. If a request log cannot be written, the proxy denies. A terminal that does not read merely
//! misses lines.

use super::file::{LineFile, LogFile};
use super::format::{Format, Marks, Stamp};
use super::notice::{Notices, StderrPolicy};
use super::{Record, Sink, Terminal};
use crate::sync::lock;
use jiff::Timestamp;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, io};

/// How long [`Log::finish`] waits for a terminal that does not read.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Sees each record before it is written.
pub(crate) struct Watcher(Box<dyn FnMut(&Record) + Send>);

impl Watcher {
    /// Creates a watcher that calls `see`. The proxy waits for the call, so it must be fast.
    pub(crate) fn new(see: impl FnMut(&Record) + Send + 'static) -> Watcher {
        Watcher(Box::new(see))
    }
}

impl fmt::Debug for Watcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watcher")
    }
}

/// Writes records to the request log and denials to stderr.
#[derive(Debug)]
pub(crate) struct Log {
    session: String,
    marks: Marks,
    lines: Mutex<Lines>,
    healthy: AtomicBool,
    notices: Mutex<Notices>,
    watcher: Option<Mutex<Watcher>>,
    terminal: Terminal,
}

/// The part that one writer at a time may use.
#[derive(Debug)]
struct Lines {
    file: Option<LineFile>,
    format: Format,
    seq: u64,
    buffer: Vec<u8>,
}

impl Log {
    /// Creates a log that writes to `file`, if there is one, and reports at the terminal what `stderr` selects. `session` names the
    /// run in every JSON line. Starts a thread: call it after the last fork.
    pub(crate) fn new(file: Option<LogFile>, format: Format, stderr: StderrPolicy, session: String) -> io::Result<Log> {
        Ok(Log::on(Terminal::stderr()?, file, format, stderr, session))
    }

    /// Creates a log that reports at `term`.
    pub(crate) fn on(
        term: Terminal,
        file: Option<LogFile>,
        format: Format,
        stderr: StderrPolicy,
        session: String,
    ) -> Log {
        let file = file.map(LineFile::new);
        Log {
            session,
            marks: Marks::default(),
            lines: Mutex::new(Lines {
                file,
                format,
                seq: 0,
                buffer: Vec::new(),
            }),
            healthy: AtomicBool::new(true),
            notices: Mutex::new(Notices::new(stderr)),
            watcher: None,
            terminal: term,
        }
    }

    /// Returns the log with a watcher, which sees each record.
    pub(crate) fn watched_by(self, watcher: Watcher) -> Log {
        Log {
            watcher: Some(Mutex::new(watcher)),
            ..self
        }
    }

    /// Returns the log with these marks in each record.
    pub(crate) fn marked(self, marks: Marks) -> Log {
        Log { marks, ..self }
    }

    /// Returns the terminal of this log, for other messages while the command runs.
    pub(crate) fn terminal(&self) -> &Terminal {
        &self.terminal
    }

    /// Prints what was held back, then `last` (already escaped), and waits a moment until all of it is on stderr.
    pub(crate) fn finish(&self, last: impl IntoIterator<Item = String>) {
        for line in lock(&self.notices).rest().into_iter().chain(last) {
            self.terminal.line(line);
        }
        self.terminal.flush(LAST_WORDS);
    }
}

impl Sink for Log {
    fn record(&self, record: Record) {
        if let Some(watcher) = &self.watcher {
            (lock(watcher).0)(&record);
        }
        {
            let mut lines = lock(&self.lines);
            let written = lines.write(&record, &self.session, &self.marks);
            // Inside the lock, so that the outcome of the last write is remembered, not that of the last thread to get here.
            let was_healthy = self.healthy.swap(written.is_ok(), Ordering::SeqCst);
            if let (Err(error), true) = (written, was_healthy) {
                self.terminal.line(format!("error: cannot write the log: {error}"));
            }
        }
        for line in lock(&self.notices).lines(&record, Instant::now()) {
            self.terminal.line(line);
        }
    }

    fn healthy(&self) -> bool {
        self.healthy.load(Ordering::SeqCst)
    }
}

impl Lines {
    fn write(&mut self, record: &Record, session: &str, marks: &Marks) -> io::Result<()> {
        // A record that could not be written leaves a gap in the numbers.
        self.seq += 1;
        let Some(file) = &mut self.file else { return Ok(()) };
        file.follow()?;
        self.buffer.clear();
        self.buffer.extend_from_slice(file.separator());
        self.format.line(
            &mut self.buffer,
            record,
            Stamp {
                ts: Timestamp::now(),
                session,
                marks,
                seq: self.seq,
            },
        )?;
        file.append(&self.buffer)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::notice::Show;
    use super::super::{Decision, EventKind, open_log};
    use super::*;
    use std::fs::File;
    use std::io::{Read, Seek};
    use std::path::Path;

    fn denial(path: &str) -> Record {
        Record {
            verdict: Some(Decision::Deny),
            method: Some("GET".into()),
            url: Some(format!("https://example.com/{path}")),
            reason: Some("no rule matched".into()),
            ..Record::new(EventKind::Request)
        }
    }

    /// A log whose terminal is a file that can be read.
    fn log(file: Option<&Path>, show: Show) -> (Log, File) {
        let screen = tempfile::tempfile().unwrap();
        let terminal = Terminal::start(screen.try_clone().unwrap()).unwrap();
        let policy = StderrPolicy {
            show,
            no_rules: Some("no rules were given".into()),
            suggest: true,
            mend: true,
        };
        let file = file.map(|path| {
            let path = path.to_owned();
            LogFile {
                file: open_log(&path).unwrap(),
                reopen: Box::new(move || open_log(&path)),
            }
        });
        (Log::on(terminal, file, Format::Json, policy, "s".into()), screen)
    }

    fn said(log: &Log, screen: &mut File) -> String {
        log.finish(["last words".to_owned()]);
        let mut text = String::new();
        screen.rewind().unwrap();
        screen.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_record_is_a_numbered_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let (log, _screen) = log(Some(&path), Show::Nothing);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|n| log.record(denial(&n.to_string()))));
            }
        });
        let text = std::fs::read_to_string(&path).unwrap();
        let seq: Vec<u64> = text
            .lines()
            .map(|line| {
                serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(seq, (1..=200).collect::<Vec<_>>());
        assert!(log.healthy());
    }

    // Proves: D06.
    #[test]
    fn a_full_disk_is_said_once_and_health_comes_back_with_a_success() {
        let (log, mut screen) = log(Some(Path::new("/dev/full")), Show::Nothing);
        assert!(log.healthy());
        log.record(denial("1"));
        assert!(!log.healthy());
        log.record(denial("2"));
        assert!(!log.healthy());

        // The disk has room again.
        lock(&log.lines).file = Some(LineFile::new(LogFile {
            file: tempfile::tempfile().unwrap(),
            reopen: Box::new(tempfile::tempfile),
        }));
        log.record(denial("3"));
        assert!(log.healthy());
        let expected = "error: cannot write the log: No space left on device (os error 28)\nlast words\n";
        assert_eq!(said(&log, &mut screen), expected);
    }

    #[test]
    fn denials_are_said_and_the_hint_once() {
        let (log, mut screen) = log(None, Show::Denials);
        log.record(denial("a?token=secret"));
        log.record(denial("a?token=secret"));
        log.record(denial("b\x1b[2J"));
        let expected = "httpjail: denied GET https://example.com/a?… (no rule matched)\n\
                        hint: no rules were given\n\
                        httpjail: last message repeated 1 time\n\
                        httpjail: denied GET https://example.com/b\\x1b[2J (no rule matched)\nlast words\n";
        assert_eq!(said(&log, &mut screen), expected);
        assert!(log.healthy());
    }
}
