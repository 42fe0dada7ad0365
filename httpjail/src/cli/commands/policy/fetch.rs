//! `httpjail policy fetch`: looks at a server again and again, and keeps a policy file as the server has it.
//!
//! This process writes files, and reads no byte from the network. Each look is an errand of a process that may do nothing else.

use std::io;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use ring::rand::{SecureRandom as _, SystemRandom};

use super::download::{ANSWER_MAX, Answer, Source, late};
use super::files;
use super::kept::{Kept, News};
use crate::cli::args::Fetch;
use crate::cli::compose::proxy_parts;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, failure};
use crate::cli::readiness;
use crate::failure::Failure;
use crate::jail::process::errand::{self, Errand};
use crate::jail::supervisor::signals::Signals;
use crate::logging;
use crate::net::Scheme;
use crate::policy::{Target, request};
use crate::tls::{AuthorityFile, UpstreamTls};

/// How much longer than its own limit the process that downloads is waited for.
const GRACE: Duration = Duration::from_secs(5);

/// The clock that tells of the expiry may be set, and stands still for no sleep of the machine: it is looked at this often.
const LOOK: Duration = Duration::from_secs(30);

/// What a program has from a shell that it was interrupted in.
const INTERRUPTED: i32 = 130;

/// Fetches until a signal, or once. Returns the exit status.
///
/// # Errors
/// When it cannot begin, or the file cannot be written.
pub(crate) fn run(args: &Fetch, caller: &InvokingUser) -> Result<i32, Failure> {
    let source = source(args, caller)?;
    let signals = Signals::block().map_err(|error| Failure::new(format!("cannot take the signals: {error}")))?;
    let keys = files::keys(&args.key, caller)?;
    let mut fetcher = Fetcher {
        url: shown(&source.signature),
        limit: args.timeout,
        kept: Kept::open(&args.to, keys, args.on_expiry, caller)?,
        said: None,
        ready: false,
        source,
        signals,
    };
    // Before anything is waited for.
    fetcher.expire()?;
    if args.once {
        return match fetcher.look()? {
            Looked::Good => Ok(0),
            Looked::Bad => Ok(1),
            Looked::Stopped(status) => Ok(status),
        };
    }
    fetcher.keep(args.every)
}

struct Fetcher<'a> {
    source: Source,
    /// As it is shown and remembered: without what may be secret in it.
    url: String,
    limit: Duration,
    kept: Kept<'a>,
    signals: Signals,
    /// What was said last of what is wrong.
    said: Option<String>,
    ready: bool,
}

enum Looked {
    Good,
    Bad,
    Stopped(i32),
}

impl Fetcher<'_> {
    fn keep(&mut self, every: Duration) -> Result<i32, Failure> {
        // Many machines may have started at this moment, and need nothing yet.
        let mut wait = match self.kept.fresh()? {
            Some(held) if held.expires > self.kept.now() => {
                self.tell_ready();
                let wait = every.mul_f64(chance());
                logging::note(&format!(
                    "the policy with the serial {} is held until {}; the first look at {} is in {} s",
                    held.serial,
                    held.expires,
                    self.url,
                    wait.as_secs()
                ));
                wait
            }
            _ => Duration::ZERO,
        };
        loop {
            if let Some(status) = self.wait(wait)? {
                return Ok(status);
            }
            if let Looked::Stopped(status) = self.look()? {
                return Ok(status);
            }
            // So that machines that looked at the same moment do so no more after a few rounds.
            wait = every.mul_f64(0.5 + chance());
        }
    }

    /// Looks at the server once, and takes what is new.
    fn look(&mut self) -> Result<Looked, Failure> {
        let answer = match self.download()? {
            Ok(answer) => answer,
            Err(status) => return Ok(Looked::Stopped(status)),
        };
        let taken = self.kept.take(&self.url, answer);
        let error = taken.as_ref().err().map(ToString::to_string);
        self.kept.note(error.as_deref())?;
        match taken {
            Ok(news) => {
                self.tell(&news);
                self.tell_ready();
            }
            Err(failure) => self.complain(&failure),
        }
        self.expire()?;
        Ok(if error.is_none() { Looked::Good } else { Looked::Bad })
    }

    /// Has it downloaded. Returns the exit status if a signal ends this.
    fn download(&self) -> Result<Result<Answer, i32>, Failure> {
        let held = self.kept.fresh()?;
        let tag = held.as_ref().and_then(|_| self.kept.tag(&self.url));
        let ending = std::cell::Cell::new(None);
        let stop = || {
            while let Some(signal) = self.signals.next()? {
                ending.set(ending.get().or(ends(signal)));
            }
            Ok(ending.get().is_some())
        };
        let work = || {
            let answer = self.source.download(held.as_ref(), tag.as_deref(), self.limit);
            serde_json::to_vec(&answer).unwrap_or_default()
        };
        let ran = errand::run(self.limit + GRACE, ANSWER_MAX, self.signals.as_fd(), &stop, work);
        Ok(match ran {
            Ok(Errand::Answer(bytes)) => Ok(serde_json::from_slice(&bytes)
                .unwrap_or_else(|error| Answer::Failed(format!("cannot read what was downloaded: {error}")))),
            Ok(Errand::Late) => Ok(Answer::Failed(late(self.limit))),
            Ok(Errand::Stopped) => Err(ending.get().unwrap_or(0)),
            Err(error) => Ok(Answer::Failed(error.to_string())),
        })
    }

    /// Waits for the next look, and sees to it meanwhile that what expires counts no more. Returns the exit status if a signal ends
    /// this.
    fn wait(&mut self, time: Duration) -> Result<Option<i32>, Failure> {
        let until = Instant::now() + time;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let expiry = self.kept.expires()?.and_then(|expires| {
                let left = expires.duration_since(self.kept.now());
                Duration::try_from(left).ok().filter(|left| !left.is_zero())
            });
            let pause = left.min(LOOK).min(expiry.unwrap_or(LOOK)) + Duration::from_millis(1);
            let mut polled = [PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
            match poll(&mut polled, PollTimeout::try_from(pause).unwrap_or(PollTimeout::MAX)) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(Failure::new(format!("cannot wait: {error}"))),
            }
            while let Some(signal) = self.next_signal()? {
                match ends(signal) {
                    Some(status) => return Ok(Some(status)),
                    None if signal == Signal::SIGHUP => return Ok(None),
                    None => {}
                }
            }
            self.expire()?;
        }
    }

    fn next_signal(&self) -> Result<Option<Signal>, Failure> {
        let next = self.signals.next();
        next.map_err(|error: io::Error| Failure::new(format!("cannot take the signals: {error}")))
    }

    fn expire(&mut self) -> Result<(), Failure> {
        if let Some(expired) = self.kept.expire()? {
            logging::warn(
                &format!("the policy expired at {expired}, and everything is denied until there is another"),
                Some("sign it anew, with a higher serial and another expiry; --on-expiry keep would leave it in force"),
            );
        }
        Ok(())
    }

    fn tell(&mut self, news: &News) {
        if self.said.take().is_some() {
            logging::note(&format!("{} can be fetched again", self.url));
        }
        match news {
            News::Policy(serial) => logging::note(&format!("the policy with the serial {serial} is in force")),
            News::Renewed(serial) => {
                logging::note(&format!("the policy is the same, signed anew with the serial {serial}"));
            }
            News::Same => {}
        }
    }

    /// The same again is not said again.
    fn complain(&mut self, failure: &Failure) {
        let text = format!("{failure}; the last good one stays until it expires");
        if self.said.as_ref() != Some(&text) {
            logging::warn(&text, failure.hint.as_deref());
            self.said = Some(text);
        }
    }

    /// A service manager may start what needs the policy once there is one.
    fn tell_ready(&mut self) {
        if self.ready {
            return;
        }
        self.ready = true;
        readiness::tell_or_warn("of the policy");
    }
}

fn source(args: &Fetch, caller: &InvokingUser) -> Result<Source, Failure> {
    let policy = target(&args.url)?;
    let signature = match &args.signature_url {
        Some(url) => target(url)?,
        None => {
            let (path, query) = args.url.split_once('?').unwrap_or((&args.url, ""));
            let query = if query.is_empty() {
                String::new()
            } else {
                format!("?{query}")
            };
            target(&format!("{path}.sig{query}"))?
        }
    };
    let read = |path: &std::path::PathBuf| {
        Ok(AuthorityFile {
            path: path.clone(),
            pem: files::read("the authorities in", path, caller)?,
        })
    };
    let authorities: Vec<AuthorityFile> = args.ca.iter().map(read).collect::<Result<_, Failure>>()?;
    // What is wrong with them is known before anything is waited for.
    UpstreamTls::new(&authorities, None).map_err(|error| Failure {
        status: USAGE,
        hint: Some("--ca wants certificates in PEM form, `-----BEGIN CERTIFICATE-----` and so on".into()),
        ..failure(error)
    })?;
    Ok(Source {
        policy,
        signature,
        authorities,
        upstream_proxies: proxy_parts::upstream_proxies()?,
    })
}

fn target(url: &str) -> Result<Target, Failure> {
    let wrong = |message: String, hint| Failure {
        status: USAGE,
        hint,
        ..Failure::new(message)
    };
    let target = request::of("GET", url).map_err(|error| wrong(error.to_string(), error.hint()))?;
    match target.scheme() {
        Scheme::Https => Ok(target),
        Scheme::Http => Err(wrong(
            format!("invalid URL `{}`: expected https://", shown(&target)),
            Some("a policy that others could read or hold back on its way is not fetched".into()),
        )),
    }
}

/// A URL without its query, which may hold a secret.
fn shown(target: &Target) -> String {
    target.url().split('?').next().unwrap_or_default().to_owned()
}

fn ends(signal: Signal) -> Option<i32> {
    match signal {
        Signal::SIGTERM => Some(0),
        Signal::SIGINT | Signal::SIGQUIT => Some(INTERRUPTED),
        _ => None,
    }
}

/// A number from 0 to 1, at random. Without randomness the mean: then machines look at the same times as ever.
fn chance() -> f64 {
    let mut bytes = [0; 4];
    match SystemRandom::new().fill(&mut bytes) {
        Ok(()) => f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 0.5,
    }
}
