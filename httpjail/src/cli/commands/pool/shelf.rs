//! The jails of one user that wait, the one that is being made, and the clients that wait for one.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::spare::Spare;
use crate::cli::compose::reload::Watcher;
use crate::cli::context::RunContext;
use crate::cli::safe_from::SafeFrom;
use crate::failure::Failure;
use crate::jail::protocol::channel;
use crate::jail::protocol::pool::{FromSpare, ToClient, ToJail};
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::logging;

/// How long a client waits where no jail is ready.
const CLIENT_LIMIT: Duration = Duration::from_secs(20);
/// How many clients wait.
const CLIENTS_MAX: usize = 64;
/// How long after a jail that could not be made the next one is tried, at first and at most.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

const LARGER: &str = "a larger --size of the pool keeps more of them ready";

/// A client that waits.
#[derive(Debug)]
struct Waiter {
    connection: OwnedFd,
    who: (u32, u32, Vec<u32>),
    until: Instant,
}

/// What one user has of the pool.
pub(super) struct Shelf<'a> {
    pub(super) uid: u32,
    context: Rc<RunContext>,
    watcher: Option<Watcher<&'a UserIdentity>>,
    waiting: VecDeque<Spare>,
    making: Option<Spare>,
    clients: VecDeque<Waiter>,
    /// Not before then is the next one made.
    next: Instant,
    pause: Duration,
    /// One has been ready.
    proved: bool,
}

impl<'a> Shelf<'a> {
    pub(super) fn new(uid: u32, context: RunContext, owner: &'a UserIdentity) -> Shelf<'a> {
        Shelf {
            uid,
            watcher: Watcher::new(&context.config, SafeFrom::User(uid), owner),
            context: Rc::new(context),
            waiting: VecDeque::new(),
            making: None,
            clients: VecDeque::new(),
            next: Instant::now(),
            pause: PAUSE[0],
            proved: false,
        }
    }

    /// All of its jails that wait or are being made.
    pub(super) fn spares(&self) -> impl Iterator<Item = &Spare> {
        self.making.iter().chain(&self.waiting)
    }

    pub(super) fn is_full(&self, size: usize) -> bool {
        self.waiting.len() >= size
    }

    pub(super) fn is_making(&self) -> bool {
        self.making.is_some()
    }

    /// When it wants to be called again, for the next jail if the pool is `idle`, or for a client that has waited long enough.
    pub(super) fn due(&self, size: usize, idle: bool) -> Option<Instant> {
        let make = (idle && !self.is_full(size)).then_some(self.next);
        make.into_iter()
            .chain(self.clients.front().map(|client| client.until))
            .min()
    }

    /// Starts to make a jail, if one is missing and it is time.
    ///
    /// # Errors
    /// When not even a process can be had, and none ever could.
    pub(super) fn fill(&mut self, size: usize) -> Result<(), Failure> {
        if self.making.is_some() || self.is_full(size) || Instant::now() < self.next {
            return Ok(());
        }
        match Spare::start(&self.context, !self.proved && !self.context.config.log.quiet) {
            Ok(spare) => self.making = Some(spare),
            Err(error) => self.failed(Failure::new(format!("cannot fork the supervisor of a jail: {error}")))?,
        }
        Ok(())
    }

    /// Hears the jail whose process is `pid`. Returns it if it has ended or is another's now.
    ///
    /// # Errors
    /// Why no jail can be made, if none ever could.
    pub(super) fn hear(&mut self, pid: i32) -> Result<Option<Spare>, Failure> {
        if let Some(spare) = self.making.take_if(|spare| spare.pid.as_raw() == pid) {
            match spare.hear() {
                Some(FromSpare::Ready) => {
                    (self.proved, self.pause) = (true, PAUSE[0]);
                    self.waiting.push_back(spare);
                    return Ok(None);
                }
                Some(FromSpare::Failed(failure)) => self.failed(failure)?,
                None => self.failed(Failure::new("a jail of the pool ended while it was made"))?,
            }
            return Ok(Some(spare));
        }
        let Some(at) = self.waiting.iter().position(|spare| spare.pid.as_raw() == pid) else {
            return Ok(None);
        };
        let spare = self.waiting.remove(at);
        let why = match spare.as_ref().and_then(Spare::hear) {
            Some(FromSpare::Failed(failure)) => failure,
            _ => Failure::new("its process ended"),
        };
        logging::warn(
            &format!("a jail that waited in the pool has ended: {}", why.message),
            why.hint.as_deref(),
        );
        self.later();
        Ok(spare)
    }

    fn failed(&mut self, failure: Failure) -> Result<(), Failure> {
        if !self.proved {
            return Err(failure);
        }
        let text = format!("a jail of the pool could not be made: {}", failure.message);
        logging::warn(&text, failure.hint.as_deref());
        self.later();
        Ok(())
    }

    fn later(&mut self) {
        self.next = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE[1]);
    }

    /// Has a client wait for a jail.
    pub(super) fn queue(&mut self, connection: OwnedFd, who: (u32, u32, Vec<u32>)) {
        if self.clients.len() >= CLIENTS_MAX {
            refuse(connection, "too many clients wait for a jail of this pool", LARGER);
            return;
        }
        self.clients.push_back(Waiter {
            connection,
            who,
            until: Instant::now() + CLIENT_LIMIT,
        });
    }

    /// Gives jails to clients, as long as there are both. Returns the jails that are taken.
    pub(super) fn serve(&mut self) -> Vec<Spare> {
        let mut taken = Vec::new();
        while !self.clients.is_empty()
            && let Some(spare) = self.waiting.pop_front()
            && let Some(client) = self.clients.pop_front()
        {
            if spare.give(&client.connection, client.who.clone()).is_err() {
                // It has ended a moment ago: the client takes the next one.
                self.clients.push_front(client);
            }
            taken.push(spare);
        }
        let now = Instant::now();
        while self.clients.front().is_some_and(|client| client.until <= now)
            && let Some(client) = self.clients.pop_front()
        {
            let text = format!(
                "no jail of this pool was ready within {} seconds",
                CLIENT_LIMIT.as_secs()
            );
            refuse(client.connection, &text, LARGER);
        }
        taken
    }

    /// Looks whether the policy file has changed: jails that are made from now on begin with it.
    pub(super) fn look(&mut self) {
        let Some(Ok(texts)) = self.watcher.as_mut().and_then(Watcher::look) else {
            return;
        };
        let config = &self.context.config;
        let Some(mut reload) = config.reload.clone() else {
            return;
        };
        // What is wrong with it, the jails say that wait.
        let Ok(reloaded) = reload.policy(texts.clone()) else {
            return;
        };
        reload.texts = texts;
        let mut config = config.clone();
        config.policy = reloaded.policy.into();
        config.reload = Some(reload);
        let caller = self.context.caller.clone();
        self.context = Rc::new(RunContext { config, caller });
    }

    /// Whether it looks at a file.
    pub(super) fn looks(&self) -> bool {
        self.watcher.is_some()
    }
}

/// Tells a client why it gets no jail.
pub(super) fn refuse(connection: OwnedFd, why: &str, hint: &str) {
    if let Ok(line) = channel::over::<ToClient, ToJail>(connection) {
        let failure = Failure {
            hint: Some(hint.into()),
            ..Failure::new(why)
        };
        // A client that is gone needs no reason. One that does not read has room for this message.
        let _ = line.send(&ToClient::Failed(failure));
    }
}
