//! Writes to stderr from a thread of its own.
//!
//! A pipe without a reader must not block the proxy, and lines must not appear in the picture of a full-screen program. So lines
//! go through a bounded queue to a thread. While the terminal is in raw mode (a program reads it key by key), the thread keeps
//! the lines, and prints them after that or at the end. Lines that do not fit are counted.

use super::color::{paint, wants_color};
use super::file::wait_writable;
use super::notice::lines_lost;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::time::{Duration, Instant};

/// How many lines the queue holds, and how many the thread keeps while the terminal is raw.
const QUEUE: usize = 1024;
const KEPT: usize = 500;

/// How often the mode of a raw terminal is checked.
const LOOK: Duration = Duration::from_millis(200);

/// A handle to the thread that writes to stderr. The thread ends with its last handle.
#[derive(Debug, Clone)]
pub(crate) struct Terminal {
    queue: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(String),
    /// Write to this file from now on.
    Screen(File),
    /// Print everything, raw or not; then drop the sender.
    Flush(SyncSender<()>),
}

impl Terminal {
    /// Starts the thread on this process's stderr.
    pub(crate) fn stderr() -> io::Result<Terminal> {
        Terminal::start(own_stderr()?)
    }

    /// Starts the thread on `screen`.
    pub(crate) fn start(screen: File) -> io::Result<Terminal> {
        let (queue, messages) = mpsc::sync_channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        let printer = Printer {
            color: wants_color(&screen),
            screen,
            kept: VecDeque::new(),
            lost: Arc::clone(&lost),
        };
        std::thread::Builder::new()
            .name("stderr".to_owned())
            .spawn(move || printer.run(&messages))?;
        Ok(Terminal { queue, lost })
    }

    /// Queues `line` (already escaped, without a newline), or counts it as lost. Never blocks.
    pub(crate) fn line(&self, line: String) {
        if self.queue.try_send(Message::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Writes to `screen` from now on, unless the queue is full.
    pub(crate) fn show_on(&self, screen: File) {
        if self.queue.try_send(Message::Screen(screen)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Prints all queued lines, even on a raw terminal. Gives up after `within`.
    pub(crate) fn flush(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let (done, printed) = mpsc::sync_channel(0);
        let mut message = Message::Flush(done);
        // std's bounded queue has no send with a time-out.
        while let Err(TrySendError::Full(back)) = self.queue.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = back;
            std::thread::sleep(Duration::from_millis(5));
        }
        // The result does not matter: all is printed and the sender dropped, or the time is up.
        let _ = printed.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }
}

/// What the thread owns.
struct Printer {
    screen: File,
    color: bool,
    kept: VecDeque<String>,
    lost: Arc<AtomicU64>,
}

impl Printer {
    fn run(mut self, messages: &Receiver<Message>) {
        let_background_write();
        let mut goes_on = true;
        while goes_on {
            let message = match self.kept.is_empty() {
                true => messages.recv().map_err(|_| RecvTimeoutError::Disconnected),
                false => messages.recv_timeout(LOOK),
            };
            goes_on = self.take(message);
        }
    }

    /// Handles one message. Returns false after the last.
    fn take(&mut self, message: Result<Message, RecvTimeoutError>) -> bool {
        match message {
            Ok(Message::Line(line)) => self.keep(line),
            Ok(Message::Screen(screen)) => {
                self.print();
                self.color = wants_color(&screen);
                self.screen = screen;
            }
            Ok(Message::Flush(_done)) => self.print(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                self.print();
                return false;
            }
        }
        if !is_raw(&self.screen) {
            self.print();
        }
        true
    }

    fn keep(&mut self, line: String) {
        if self.kept.len() == KEPT {
            self.kept.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.kept.push_back(line);
    }

    fn print(&mut self) {
        // On a raw terminal a newline usually does not return the cursor to the first column.
        let end = if is_raw(&self.screen) { "\r\n" } else { "\n" };
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let lost = (lost > 0).then(|| lines_lost(lost));
        for line in lost.into_iter().chain(self.kept.drain(..)) {
            let line = if self.color { paint(&line).into_owned() } else { line };
            write_all(&mut self.screen, (line + end).as_bytes());
        }
    }
}

/// Writes to a screen that another process may have made non-blocking (node does that to its stdio, and the flag belongs to the
/// open file, not to the descriptor). What cannot be written is lost.
fn write_all(screen: &mut File, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match screen.write(bytes) {
            Ok(0) => return,
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_writable(screen);
            }
            Err(_) => return,
        }
    }
}

#[cfg(unix)]
fn own_stderr() -> io::Result<File> {
    use std::os::fd::AsFd;
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

#[cfg(windows)]
fn own_stderr() -> io::Result<File> {
    use std::os::windows::io::AsHandle;
    Ok(File::from(io::stderr().as_handle().try_clone_to_owned()?))
}

/// Returns true if a program reads this terminal key by key. A file that is not a terminal is not raw.
#[cfg(unix)]
fn is_raw(screen: &File) -> bool {
    use nix::sys::termios::{LocalFlags, tcgetattr};
    tcgetattr(screen).is_ok_and(|terminal| !terminal.local_flags.contains(LocalFlags::ICANON))
}

#[cfg(not(unix))]
fn is_raw(_screen: &File) -> bool {
    false
}

/// The command owns the terminal, so httpjail writes from the background. Under `stty tostop` that stops the whole process, unless
/// the writing thread blocks SIGTTOU: then the write succeeds (POSIX.1-2024, 11.1.4).
#[cfg(unix)]
fn let_background_write() {
    use nix::sys::signal::{SigSet, Signal};
    let mut set = SigSet::empty();
    set.add(Signal::SIGTTOU);
    // It fails only for an invalid `how`.
    let _ = set.thread_block();
}

#[cfg(not(unix))]
fn let_background_write() {}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use nix::pty::openpty;
    use nix::sys::termios::{LocalFlags, OutputFlags, SetArg, tcgetattr, tcsetattr};
    use std::io::{BufRead, BufReader};

    const LONG: Duration = Duration::from_secs(30);

    /// A pseudo-terminal without output processing: what is written is what is read.
    fn pty() -> (BufReader<File>, File) {
        let pair = openpty(None, None).unwrap();
        let slave = File::from(pair.slave);
        let mut mode = tcgetattr(&slave).unwrap();
        mode.output_flags.remove(OutputFlags::OPOST);
        tcsetattr(&slave, SetArg::TCSANOW, &mode).unwrap();
        (BufReader::new(File::from(pair.master)), slave)
    }

    fn set_raw(terminal: &File, raw: bool) {
        let mut mode = tcgetattr(terminal).unwrap();
        mode.local_flags.set(LocalFlags::ICANON, !raw);
        tcsetattr(terminal, SetArg::TCSANOW, &mode).unwrap();
    }

    fn read_line(master: &mut BufReader<File>) -> String {
        let mut line = String::new();
        master.read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn lines_wait_while_the_terminal_is_raw() {
        let (mut master, slave) = pty();
        let mut other = slave.try_clone().unwrap();
        let mut printer = Printer {
            screen: slave,
            color: false,
            kept: VecDeque::new(),
            lost: Arc::default(),
        };
        printer.take(Ok(Message::Line("cooked".into())));
        assert_eq!(read_line(&mut master), "cooked\n");

        set_raw(&other, true);
        printer.take(Ok(Message::Line("kept".into())));
        printer.take(Err(RecvTimeoutError::Timeout));
        other.write_all(b"picture\n").unwrap();
        assert_eq!(read_line(&mut master), "picture\n");
        set_raw(&other, false);
        printer.take(Err(RecvTimeoutError::Timeout));
        assert_eq!(read_line(&mut master), "kept\n");
    }

    #[test]
    fn the_thread_sees_that_the_terminal_is_raw_no_more() {
        let (mut master, slave) = pty();
        set_raw(&slave, true);
        let terminal = Terminal::start(slave.try_clone().unwrap()).unwrap();
        terminal.line("kept".into());
        set_raw(&slave, false);
        assert_eq!(read_line(&mut master), "kept\n");
    }

    #[test]
    fn a_flush_prints_even_on_a_raw_terminal() {
        let (mut master, slave) = pty();
        set_raw(&slave, true);
        let terminal = Terminal::start(slave.try_clone().unwrap()).unwrap();
        terminal.line("last".into());
        terminal.flush(LONG);
        assert_eq!(read_line(&mut master), "last\r\n");
    }

    #[test]
    fn what_finds_no_room_is_counted() {
        let (mut master, slave) = pty();
        set_raw(&slave, true);
        let mut printer = Printer {
            screen: slave,
            color: false,
            kept: VecDeque::new(),
            lost: Arc::default(),
        };
        (0..KEPT + 3).for_each(|n| printer.keep(n.to_string()));
        set_raw(&printer.screen, false);
        std::thread::scope(|scope| {
            scope.spawn(|| printer.print());
            assert_eq!(read_line(&mut master), "httpjail: 3 more lines not shown\n");
            assert_eq!(read_line(&mut master), "3\n");
        });
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_up_nobody() {
        let (reader, writer) = io::pipe().unwrap();
        let terminal = Terminal::start(File::from(std::os::fd::OwnedFd::from(writer))).unwrap();
        // Far more than pipe and queue hold; each call returns.
        (0..4 * QUEUE).for_each(|_| terminal.line("x".repeat(200)));
        assert!(terminal.lost.load(Ordering::Relaxed) > 0);
        terminal.flush(Duration::ZERO);

        // And once it is read, all that was queued comes, and the count of what was not.
        drop(terminal);
        let lines: Vec<String> = BufReader::new(reader).lines().map(Result::unwrap).collect();
        assert!(lines.len() >= QUEUE);
        assert!(lines.iter().any(|line| line.ends_with("more lines not shown")));
    }
}
