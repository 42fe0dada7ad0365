//! `--interactive`: holds the caller's terminal, relays between it and the jail's own, and asks there.
//!
//! The jail has a pseudo-terminal and no way to the caller's. What it writes is passed on; while a question is on the
//! screen nothing of it is (it waits in the kernel, and then the program waits), so it can neither draw over the question
//! nor scroll it away. What is typed goes to the jail, but not while a question is there; and what is typed before somebody can
//! have seen the question is no answer. After the answer the screen is the program's again.
//!
//! One thread, one loop, in a process with the caller's rights that can neither open a socket nor start a program.

mod file;
mod keys;
mod prompt;
mod relay;
mod screen;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::remote::{Answered, Asked, line};
use super::{Answer, Denial, Grant, Question, Span};
use prompt::{Choice, Frame, Prompt, Typed};
use relay::Relay;

/// A question counts as seen when nothing was typed for so long after it was drawn.
const UNDISTURBED: Duration = Duration::from_millis(500);

/// Questions that wait here, and bytes of one.
const WAITING: usize = 64;
const QUESTION_BYTES: usize = 1 << 20;

/// What the supervisor wants.
#[derive(Debug)]
pub enum Order {
    /// Relay between the caller's terminal and this one.
    Relay(OwnedFd),
    /// Leave the caller's terminal to the shell.
    Suspend,
    /// Take it again.
    Resume,
    /// Show the last of the jail's output, and end.
    Finish,
}

/// The supervisor, as it is heard from here. Readable when there is an order.
pub trait Supervisor: AsFd {
    /// The next order.
    ///
    /// # Errors
    /// When the supervisor is gone.
    fn next(&self) -> io::Result<Order>;

    /// Tells that the last one is carried out.
    ///
    /// # Errors
    /// When the supervisor is gone.
    fn done(&self) -> io::Result<()>;
}

/// What it takes to hold a terminal.
#[derive(Debug)]
pub struct Setup {
    /// The caller's terminal, opened for this alone.
    pub terminal: File,
    /// Where questions come from.
    pub questions: UnixStream,
    /// The policy file that "always" writes to.
    pub policy: Option<PathBuf>,
    /// How long a question stays.
    pub limit: Duration,
    /// What a real question of this run bears.
    pub mark: String,
}

/// Relays and asks until the supervisor has enough or is gone. The terminal is as it was found then. Every signal must be
/// blocked.
///
/// # Errors
/// What kept it from going on.
pub fn run(setup: Setup, supervisor: &impl Supervisor) -> io::Result<()> {
    setup.questions.set_nonblocking(true)?;
    let signals = SignalFd::with_flags(
        &SigSet::from(Signal::SIGWINCH),
        SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK,
    )?;
    let mut console = Console {
        relay: Relay::new(setup.terminal)?,
        questions: Some(setup.questions),
        unread: Vec::new(),
        answers: Vec::new(),
        waiting: VecDeque::new(),
        view: None,
        file: setup.policy.as_ref().map(|path| path.display().to_string()),
        policy: setup.policy,
        limit: setup.limit,
        mark: setup.mark,
    };
    let ended = console.live(supervisor, &signals);
    console.hide();
    console.relay.leave();
    if ended? {
        supervisor.done()?;
    }
    Ok(())
}

struct Console {
    relay: Relay,
    /// `None` when nobody is left to ask for.
    questions: Option<UnixStream>,
    unread: Vec<u8>,
    answers: Vec<u8>,
    waiting: VecDeque<Waiting>,
    view: Option<View>,
    file: Option<String>,
    policy: Option<PathBuf>,
    limit: Duration,
    mark: String,
}

struct Waiting {
    id: u64,
    question: Question,
    /// Set when it is the first: also where it cannot be shown it does not stay for ever.
    deadline: Option<Instant>,
}

/// The first question, on the screen.
struct View {
    prompt: Prompt,
    arming: Arming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arming {
    /// Not all of it is on the screen yet.
    Drawing,
    /// It counts from then on, if nothing is typed before.
    At(Instant),
    Armed,
}

/// What can wake the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Supervisor,
    Signals,
    Questions,
    Outer,
    Inner,
}

impl Console {
    /// Whether the supervisor saw to its end (and waits to hear so).
    fn live(&mut self, supervisor: &impl Supervisor, signals: &SignalFd) -> io::Result<bool> {
        loop {
            self.advance(Instant::now());
            for source in self.wait(supervisor, signals)? {
                match source {
                    Source::Supervisor => match supervisor.next() {
                        Ok(Order::Relay(inner)) => {
                            self.relay.start(inner)?;
                            supervisor.done()?;
                        }
                        Ok(Order::Suspend) => {
                            self.hide();
                            self.relay.leave();
                            supervisor.done()?;
                        }
                        Ok(Order::Resume) => {
                            self.relay.enter()?;
                            supervisor.done()?;
                        }
                        Ok(Order::Finish) => {
                            self.hide();
                            self.relay.drain();
                            return Ok(true);
                        }
                        // Gone: so is the jail.
                        Err(_) => return Ok(false),
                    },
                    Source::Signals => {
                        while signals.read_signal()?.is_some() {}
                        self.relay.resize();
                        self.hide();
                    }
                    Source::Questions => self.hear(),
                    Source::Outer => self.outer()?,
                    Source::Inner => self.relay.inner(self.view.is_some()),
                }
            }
            self.reply();
        }
    }

    /// What the passing of time brings: an end to waiting, a question that is due, keys that count.
    fn advance(&mut self, now: Instant) {
        if let Some(first) = self.waiting.front_mut() {
            let deadline = *first.deadline.get_or_insert(now + self.limit);
            if deadline <= now {
                self.answer(Answer::Deny(Span::Once, Denial::Late));
                return self.advance(now);
            }
        }
        if self.view.is_none() {
            self.show();
        }
        self.relay.advance(now, self.view.is_some());
        let Some(view) = &mut self.view else { return };
        if view.arming == Arming::Drawing && self.relay.is_flushed() {
            view.arming = Arming::At(now + UNDISTURBED);
        }
        if let Arming::At(at) = view.arming
            && at <= now
        {
            view.arming = Arming::Armed;
            self.relay.keys.settle();
            view.prompt.draw_line(true, self.relay.outgoing());
        }
    }

    fn wait(&mut self, supervisor: &impl Supervisor, signals: &SignalFd) -> io::Result<Vec<Source>> {
        let mut sources = vec![Source::Supervisor, Source::Signals];
        let mut polled = vec![
            PollFd::new(supervisor.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(questions) = &self.questions {
            let mut wanted = PollFlags::POLLIN;
            wanted.set(PollFlags::POLLOUT, !self.answers.is_empty());
            sources.push(Source::Questions);
            polled.push(PollFd::new(questions.as_fd(), wanted));
        }
        if let Some((terminal, wanted)) = self.relay.outer_wants() {
            sources.push(Source::Outer);
            polled.push(PollFd::new(terminal, wanted));
        }
        if let Some((terminal, wanted)) = self.relay.inner_wants(self.view.is_some()) {
            sources.push(Source::Inner);
            polled.push(PollFd::new(terminal, wanted));
        }
        let deadlines = [
            self.waiting.front().and_then(|first| first.deadline),
            self.view.as_ref().and_then(|view| match view.arming {
                Arming::At(at) => Some(at),
                Arming::Drawing | Arming::Armed => None,
            }),
            self.relay.due(),
        ];
        let now = Instant::now();
        // Rounded up, or the loop would spin through the last millisecond.
        let left = |at: Instant| at.saturating_duration_since(now) + Duration::from_millis(1);
        let limit = deadlines.into_iter().flatten().min().map(left);
        let limit = limit.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, limit) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = polled.iter().map(|polled| polled.any().unwrap_or(true));
        Ok(sources
            .into_iter()
            .zip(ready)
            .filter_map(|(source, ready)| ready.then_some(source))
            .collect())
    }

    /// Reads questions. What is none ends it: nothing more can be asked then, and all is denied.
    fn hear(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            let Some(questions) = &mut self.questions else { return };
            match questions.read(&mut bytes) {
                Ok(count @ 1..) => self.unread.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => return self.nobody_asks(),
            }
        }
        while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
            let text: Vec<u8> = self.unread.drain(..=end).collect();
            let Ok(Asked { id, question }) = serde_json::from_slice(&text) else {
                return self.nobody_asks();
            };
            let Some(question) = question else {
                self.withdraw(id);
                continue;
            };
            if self.waiting.len() >= WAITING {
                self.send(id, Answer::Deny(Span::Once, Denial::Crowded));
                continue;
            }
            self.waiting.push_back(Waiting {
                id,
                question,
                deadline: None,
            });
            self.count();
        }
        if self.unread.len() > QUESTION_BYTES {
            self.nobody_asks();
        }
    }

    /// Whoever asked has given up.
    fn withdraw(&mut self, id: u64) {
        if self.waiting.front().is_some_and(|first| first.id == id) {
            self.waiting.pop_front();
            self.next();
        } else {
            self.waiting.retain(|waiting| waiting.id != id);
            self.count();
        }
    }

    /// Tells how many wait. This alone the jail can change while a question is on the screen, and only so often.
    fn count(&mut self) {
        let mut out = Vec::new();
        if let Some(view) = &self.view {
            view.prompt.draw_head(self.frame(), &mut out);
        }
        self.relay.outgoing().append(&mut out);
    }

    fn nobody_asks(&mut self) {
        self.questions = None;
        self.waiting.clear();
        self.hide();
    }

    /// Puts the first question on the screen, if there is one and the screen is ours.
    fn show(&mut self) {
        let Some((rows, columns)) = self.relay.screen_size() else {
            return;
        };
        let Some(first) = self.waiting.front() else { return };
        let frame = self.frame();
        let Some(prompt) = Prompt::new(&first.question, frame, rows, columns) else {
            let why = "it cannot be shown whole on this terminal".to_owned();
            self.answer(Answer::Deny(Span::Once, Denial::Failed(why)));
            return self.show();
        };
        let mut out = Vec::new();
        prompt.draw(frame, false, &mut out);
        self.relay.take_screen();
        self.relay.outgoing().append(&mut out);
        self.view = Some(View {
            prompt,
            arming: Arming::Drawing,
        });
    }

    /// Takes the question off the screen. It stays a question.
    fn hide(&mut self) {
        if self.view.take().is_some() {
            self.relay.give_screen();
        }
    }

    fn outer(&mut self) -> io::Result<()> {
        let typed = self.relay.outer(self.view.is_some())?;
        for key in typed {
            let frame = Frame {
                mark: &self.mark,
                file: self.file.as_deref(),
                waiting: self.waiting.len(),
            };
            let Some(view) = &mut self.view else { return Ok(()) };
            if view.arming != Arming::Armed {
                if let Arming::At(at) = &mut view.arming {
                    *at = Instant::now() + UNDISTURBED;
                }
                continue;
            }
            let Some(key) = key else { continue };
            match view.prompt.take(key) {
                Typed::Nothing => {}
                Typed::Line => view.prompt.draw_line(true, self.relay.outgoing()),
                Typed::Page => view.prompt.draw(frame, true, self.relay.outgoing()),
                Typed::Answer(choice) => self.choose(choice),
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Choice) {
        let Some(first) = self.waiting.front() else { return };
        let answer = match choice {
            Choice::Once => Answer::Allow(Span::Once),
            Choice::Run(extent) => Answer::Allow(Span::Run(extent)),
            Choice::Always(extent) => {
                let grant = Grant::new(true, &first.question, extent);
                let written = match &self.policy {
                    Some(path) => file::add(path, &grant, &first.question),
                    None => Err("there is no policy file".to_owned()),
                };
                if let Err(why) = written {
                    if let Some(view) = &mut self.view {
                        view.prompt.complain(&format!("not written: {why}"));
                        view.prompt.draw_line(true, self.relay.outgoing());
                    }
                    return;
                }
                Answer::Allow(Span::Run(extent))
            }
            Choice::Deny => Answer::Deny(Span::Once, Denial::Said(None)),
            Choice::DenyRun => Answer::Deny(Span::Run(super::Extent::Url), Denial::Said(None)),
        };
        self.answer(answer);
    }

    /// Answers the first question, and those that the answer covers too.
    fn answer(&mut self, answer: Answer) {
        let Some(first) = self.waiting.pop_front() else { return };
        if let Answer::Allow(Span::Run(extent)) | Answer::Deny(Span::Run(extent), _) = &answer {
            let (allows, also) = match &answer {
                Answer::Allow(_) => (true, Answer::Allow(Span::Once)),
                Answer::Deny(_, denial) => (false, Answer::Deny(Span::Once, denial.clone())),
            };
            let grant = Grant::new(allows, &first.question, *extent);
            let covered = |other: &Waiting| grant.covers(&other.question.method, &other.question.url);
            let (answered, waiting) = self.waiting.drain(..).partition::<VecDeque<_>, _>(covered);
            self.waiting = waiting;
            for other in answered {
                self.send(other.id, also.clone());
            }
        }
        self.send(first.id, answer);
        self.next();
    }

    /// The first question is no more. The next one is drawn anew, and must be seen first; without one the screen goes back.
    fn next(&mut self) {
        match self.waiting.is_empty() {
            true => self.hide(),
            false => self.view = None,
        }
    }

    fn send(&mut self, id: u64, answer: Answer) {
        // It is plain data: it can be written.
        self.answers.extend(line(&Answered { id, answer }).unwrap_or_default());
        self.reply();
    }

    fn reply(&mut self) {
        let Some(questions) = &mut self.questions else { return };
        while !self.answers.is_empty() {
            match questions.write(&self.answers) {
                Ok(count) => drop(self.answers.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => return self.nobody_asks(),
            }
        }
    }

    fn frame(&self) -> Frame<'_> {
        Frame {
            mark: &self.mark,
            file: self.file.as_deref(),
            waiting: self.waiting.len(),
        }
    }
}

#[cfg(test)]
mod tests;
