//! The loop that relays and asks: which question is on the screen, what is typed, and how long each may take.

use std::collections::VecDeque;
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::signalfd::SignalFd;

use super::channel::RequestChannel;
use super::file::PolicyFile;
use super::prompt::{Choice, Frame, Prompt, Typed};
use super::relay::Relay;
use super::setup::Setup;
use super::supervisor::{Supervisor, TerminalCommand};
use super::wait::{Source, Sources};
use crate::approve::decision::{ApprovalDecision, Denial, GrantDuration};
use crate::approve::grant::{Grant, GrantScope};
use crate::approve::protocol::RequestMessage;
use crate::approve::request::ApprovalRequest;

/// A question counts as seen when nothing was typed for this time after it was drawn.
const UNDISTURBED: Duration = Duration::from_millis(500);

/// How many questions may wait.
const WAITING: usize = 64;

pub(super) struct Console {
    relay: Relay,
    requests: RequestChannel,
    waiting: VecDeque<Waiting>,
    view: Option<View>,
    file: Option<String>,
    policy: Option<PolicyFile>,
    limit: Duration,
    mark: String,
}

struct Waiting {
    id: u64,
    request: ApprovalRequest,
    /// Set when the question is the first: it must not stay forever even if it cannot be shown.
    deadline: Option<Instant>,
}

/// The first question, on the screen.
struct View {
    prompt: Prompt,
    arming: Arming,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arming {
    /// Not all of the question is on the screen yet.
    Drawing,
    /// Keys count from then on, if nothing is typed before.
    At(Instant),
    Armed,
}

impl Console {
    pub(super) fn new(setup: Setup) -> io::Result<Console> {
        Ok(Console {
            relay: Relay::new(setup.terminal)?,
            requests: RequestChannel::new(setup.requests)?,
            waiting: VecDeque::new(),
            view: None,
            file: setup.policy.as_ref().map(|file| file.name.clone()),
            policy: setup.policy,
            limit: setup.limit,
            mark: setup.mark,
        })
    }

    /// Restores the terminal.
    pub(super) fn leave(&mut self) {
        self.hide();
        self.relay.leave();
    }

    /// Runs the loop. Returns true if the supervisor asked for the end and waits for a report.
    pub(super) fn live(&mut self, supervisor: &impl Supervisor, signals: &SignalFd) -> io::Result<bool> {
        loop {
            self.advance(Instant::now());
            for source in self.wait(supervisor, signals)? {
                match source {
                    Source::Supervisor => match supervisor.next() {
                        Ok(TerminalCommand::Relay(inner)) => {
                            self.relay.start(inner)?;
                            supervisor.done()?;
                        }
                        Ok(TerminalCommand::Suspend) => {
                            self.leave();
                            supervisor.done()?;
                        }
                        Ok(TerminalCommand::Resume) => {
                            self.relay.enter()?;
                            supervisor.done()?;
                        }
                        Ok(TerminalCommand::Finish) => {
                            self.hide();
                            self.relay.drain();
                            return Ok(true);
                        }
                        // The supervisor has ended, and with it the jail.
                        Err(_) => return Ok(false),
                    },
                    Source::Signals => {
                        while signals.read_signal()?.is_some() {}
                        self.relay.resize();
                        self.hide();
                    }
                    Source::RequestChannel => self.hear(),
                    Source::Outer => self.outer()?,
                    Source::Inner => self.relay.inner(self.view.is_some()),
                }
            }
            self.requests.reply();
        }
    }

    /// Does what is due at `now`: ends a wait, shows a question, lets keys count.
    fn advance(&mut self, now: Instant) {
        if let Some(first) = self.waiting.front_mut() {
            let deadline = *first.deadline.get_or_insert(now + self.limit);
            if deadline <= now {
                self.answer(ApprovalDecision::Deny(GrantDuration::Once, Denial::TimedOut));
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
        let mut sources = Sources::default();
        sources.add(Source::Supervisor, (supervisor.as_fd(), PollFlags::POLLIN));
        sources.add(Source::Signals, (signals.as_fd(), PollFlags::POLLIN));
        for (source, wanted) in [
            (Source::RequestChannel, self.requests.wants()),
            (Source::Outer, self.relay.outer_wants()),
            (Source::Inner, self.relay.inner_wants(self.view.is_some())),
        ] {
            wanted.into_iter().for_each(|wanted| sources.add(source, wanted));
        }
        let deadlines = [
            self.waiting.front().and_then(|first| first.deadline),
            self.view.as_ref().and_then(|view| match view.arming {
                Arming::At(at) => Some(at),
                Arming::Drawing | Arming::Armed => None,
            }),
            self.relay.due(),
        ];
        sources.wait(deadlines.into_iter().flatten().min())
    }

    fn hear(&mut self) {
        for RequestMessage { id, request } in self.requests.hear() {
            let Some(request) = request else {
                self.withdraw(id);
                continue;
            };
            if self.waiting.len() >= WAITING {
                self.requests
                    .send(id, ApprovalDecision::Deny(GrantDuration::Once, Denial::TooMany));
                continue;
            }
            self.waiting.push_back(Waiting {
                id,
                request,
                deadline: None,
            });
            self.count();
        }
        if !self.requests.is_open() {
            self.waiting.clear();
            self.hide();
        }
    }

    /// Removes the question whose client has given up.
    fn withdraw(&mut self, id: u64) {
        if self.waiting.front().is_some_and(|first| first.id == id) {
            self.waiting.pop_front();
            self.next();
        } else {
            self.waiting.retain(|waiting| waiting.id != id);
            self.count();
        }
    }

    /// Shows how many questions wait. The jail can change nothing else while a question is on the screen.
    fn count(&mut self) {
        let mut out = Vec::new();
        if let Some(view) = &self.view {
            view.prompt.draw_head(self.frame(), &mut out);
        }
        self.relay.outgoing().append(&mut out);
    }

    /// Shows the first question, if there is one and this process holds the screen.
    fn show(&mut self) {
        let Some((rows, columns)) = self.relay.screen_size() else {
            return;
        };
        let Some(first) = self.waiting.front() else { return };
        let frame = self.frame();
        let Some(prompt) = Prompt::new(&first.request, frame, rows, columns) else {
            let why = "the terminal is too small to show it whole".to_owned();
            self.answer(ApprovalDecision::Deny(GrantDuration::Once, Denial::Failed(why)));
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

    /// Takes the question off the screen. It still waits for an answer.
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
                Typed::ApprovalDecision(choice) => self.choose(choice),
            }
        }
        Ok(())
    }

    fn choose(&mut self, choice: Choice) {
        let Some(first) = self.waiting.front() else { return };
        let answer = match choice {
            Choice::Once => ApprovalDecision::Allow(GrantDuration::Once),
            Choice::Run(scope) => ApprovalDecision::Allow(GrantDuration::Run(scope)),
            Choice::Always(scope) => {
                let grant = Grant::new(true, &first.request, scope);
                let written = match &mut self.policy {
                    Some(file) => file.add(&grant, &first.request),
                    None => Err("there is no policy file".to_owned()),
                };
                if let Err(why) = written {
                    if let Some(view) = &mut self.view {
                        view.prompt.complain(&format!("not written: {why}"));
                        view.prompt.draw_line(true, self.relay.outgoing());
                    }
                    return;
                }
                ApprovalDecision::Allow(GrantDuration::Run(scope))
            }
            Choice::Deny => ApprovalDecision::Deny(GrantDuration::Once, Denial::ByApprover(None)),
            Choice::DenyRun => ApprovalDecision::Deny(GrantDuration::Run(GrantScope::Url), Denial::ByApprover(None)),
        };
        self.answer(answer);
    }

    /// Answers the first question, and all others that the answer covers.
    fn answer(&mut self, answer: ApprovalDecision) {
        let Some(first) = self.waiting.pop_front() else { return };
        if let ApprovalDecision::Allow(GrantDuration::Run(scope))
        | ApprovalDecision::Deny(GrantDuration::Run(scope), _) = &answer
        {
            let (allows, also) = match &answer {
                ApprovalDecision::Allow(_) => (true, ApprovalDecision::Allow(GrantDuration::Once)),
                ApprovalDecision::Deny(_, denial) => {
                    (false, ApprovalDecision::Deny(GrantDuration::Once, denial.clone()))
                }
            };
            let grant = Grant::new(allows, &first.request, *scope);
            let covered = |other: &Waiting| grant.covers(&other.request.method, &other.request.url);
            let (answered, waiting) = self.waiting.drain(..).partition::<VecDeque<_>, _>(covered);
            self.waiting = waiting;
            for other in answered {
                self.requests.send(other.id, also.clone());
            }
        }
        self.requests.send(first.id, answer);
        self.next();
    }

    /// Continues after the first question. The next one is drawn again and must be seen first. Without one, the jail gets the
    /// screen back.
    fn next(&mut self) {
        match self.waiting.is_empty() {
            true => self.hide(),
            false => self.view = None,
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
