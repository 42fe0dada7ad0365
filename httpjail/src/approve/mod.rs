//! Asking about a request that no rule matches: a person at the terminal, or a program.
//!
//! To approve is to make one more rule, for this request or for this run. The [`Desk`] stands in the proxy's process: it
//! joins identical questions, holds back what is too much, and remembers what was answered for the run. Whoever answers
//! is an [`Asker`]: [`Program`], or [`Remote`], another process with the caller's rights, in which a program is started or
//! the terminal is held ([`terminal`]). Every error on the way is a denial.

mod desk;
mod grant;
mod program;
#[cfg(unix)]
mod remote;
#[cfg(target_os = "linux")]
pub(crate) mod terminal;

pub(crate) use desk::{Desk, Ruling};
pub(crate) use grant::{Extent, Grant};
pub(crate) use program::Program;
#[cfg(unix)]
pub(crate) use remote::{Remote, serve};

use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::net::Ancestor;
use crate::policy::Target;

/// One request to be decided. This is what a program of `--approve-with` reads, as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Question {
    /// The method.
    pub method: String,
    /// The canonical URL, whole.
    pub url: String,
    /// `http` or `https`.
    pub scheme: String,
    /// The host as in the URL, a name in ASCII.
    pub host: String,
    /// The port, also where the URL leaves it out.
    pub port: u16,
    /// The path, without the query.
    pub path: String,
    /// Who asks, where that is known.
    pub program: Option<Asking>,
}

/// The program that asks. Its names are its own choice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asking {
    /// Its process id, as the host counts.
    pub pid: u32,
    /// Its executable.
    pub exe: Option<String>,
    /// Its thread's name.
    pub comm: String,
    /// Who started it, nearest first, as far as the jail's first process.
    pub parents: Vec<Ancestor>,
}

impl Question {
    /// What is asked about `target`.
    pub(crate) fn new(target: &Target, program: Option<Asking>) -> Question {
        Question {
            method: target.method().to_string(),
            url: target.url().to_owned(),
            scheme: target.scheme().as_str().to_owned(),
            host: target.host().to_string(),
            port: target.port(),
            path: target.path().to_owned(),
            program,
        }
    }
}

/// What was answered. There is no default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Let it through.
    Allow(Span),
    /// Refuse it.
    Deny(Span, Denial),
}

/// For how long an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Span {
    /// For this request, and those like it that wait with it.
    Once,
    /// To the end of the run, for so much.
    Run(Extent),
}

/// Why a question was answered with no.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Denial {
    /// Whoever was asked said so; a program may say why.
    Said(Option<String>),
    /// Nobody answered in time.
    Late,
    /// Too many questions.
    Crowded,
    /// Whoever is to be asked failed, and how.
    Failed(String),
    /// The run is over.
    Over,
}

impl Denial {
    /// The short stable phrase of the log.
    pub(crate) fn phrase(&self) -> &'static str {
        match self {
            Denial::Said(_) => "not approved",
            Denial::Late => "not approved in time",
            Denial::Crowded => "too many questions",
            Denial::Failed(_) => "approval failed",
            Denial::Over => "the run is over",
        }
    }

    /// A sentence for the client.
    pub(crate) fn sentence(&self) -> String {
        match self {
            Denial::Said(None) => "No rule allows this request, and it was not approved.".to_owned(),
            Denial::Said(Some(why)) => format!("No rule allows this request, and it was not approved: {why}"),
            Denial::Late => "No rule allows this request, and nobody approved it in time.".to_owned(),
            Denial::Crowded => "No rule allows this request, and too many such wait for an answer.".to_owned(),
            Denial::Failed(why) => format!("No rule allows this request, and asking failed: {why}"),
            Denial::Over => "No rule allows this request, and the run is over.".to_owned(),
        }
    }
}

/// An answer on its way.
pub(crate) type Answering = Pin<Box<dyn Future<Output = Answer> + Send>>;

/// Whoever answers.
pub(crate) trait Asker: Send + Sync + 'static {
    /// Asks, and waits as long as an answer may take; then it is a denial.
    fn ask(&self, question: Question) -> Answering;
}

#[cfg(test)]
mod tests;
