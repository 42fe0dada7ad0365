//! Asks runs by their control sockets: finds all that the process's user owns, and asks each, with a time limit.

use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::geteuid;
use socket2::Socket;

use super::directory::{Directory, places};
use super::protocol::{ANSWER_MAX, Answer, Ask, Request, Told, VERSION};

/// How long an answer may take. A run that is stopped gives none.
const LIMIT: Duration = Duration::from_secs(5);
/// How long a reload may take: the file's patterns are compiled.
const RELOAD_LIMIT: Duration = Duration::from_secs(30);
/// How many runs are asked at a time: one that is stopped keeps others waiting.
const WORKERS: usize = 8;

/// A run that has, or had, a control socket.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    /// Its name.
    pub(crate) name: String,
    directory: Arc<Directory>,
}

/// Returns all runs of the process's user, whose home this is, by name. Each may have ended by now: then asking it is an error of
/// the kind `NotFound`.
///
/// # Errors
/// When a directory cannot be read; one that is not there has none.
pub(crate) fn all(home: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for place in places(home) {
        let directory = match Directory::open(&place) {
            Ok(directory) => Arc::new(directory),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let names = directory.names()?.into_iter();
        found.extend(names.map(|name| Found {
            name,
            directory: directory.clone(),
        }));
    }
    Ok(found)
}

/// Asks each of these runs the same, a few at a time. Returns what each says, in their order, and why others say nothing.
pub(crate) fn ask_all(runs: Vec<Found>, ask: Ask) -> Vec<(Found, io::Result<Told>)> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut told = Vec::new();
        while let Some((at, run)) = Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|at| Some((at, runs.get(at)?)))
        {
            told.push((at, run.clone(), run.ask(ask)));
        }
        told
    };
    let mut told: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS.min(runs.len())).map(|_| scope.spawn(worker)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_default())
            .collect()
    });
    told.sort_unstable_by_key(|(at, ..)| *at);
    told.into_iter().map(|(_, run, told)| (run, told)).collect()
}

impl Found {
    /// Asks, and waits for the answer.
    ///
    /// # Errors
    /// `NotFound`: it has ended. What it left is removed. `TimedOut`: it does not answer, as when it is stopped. `InvalidData`: the
    /// answer is none that this httpjail understands.
    pub(crate) fn ask(&self, ask: Ask) -> io::Result<Told> {
        let limit = match ask {
            Ask::Reload => RELOAD_LIMIT,
            Ask::Status | Ask::Counters => LIMIT,
        };
        let socket = self
            .directory
            .connect(&self.name, limit)
            .map_err(|error| match error.kind() {
                io::ErrorKind::ConnectionRefused => {
                    self.directory.remove_dead(&self.name);
                    io::Error::new(io::ErrorKind::NotFound, "it has ended")
                }
                io::ErrorKind::WouldBlock => late(),
                _ => error,
            })?;
        // Who listens, as of then: no answer is taken from a socket of anybody else's.
        let listener = getsockopt(&socket, PeerCredentials)?.uid();
        if listener != geteuid().as_raw() {
            let text = format!("its socket is of user {listener}");
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        let mut line = serde_json::to_vec(&Request { v: VERSION, ask })?;
        line.push(b'\n');
        let answer = exchange(socket, &line, limit)?;
        let answer: Answer = serde_json::from_slice(&answer).map_err(|error| {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it answers in another way: {error}"),
            )
        })?;
        Ok(answer.told)
    }
}

fn exchange(mut socket: Socket, line: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + limit;
    socket.write_all(line)?;
    let (mut answer, mut part) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\n") {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(late());
        }
        socket.set_read_timeout(Some(left))?;
        let count = socket.read(&mut part).map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => late(),
            _ => error,
        })?;
        if count == 0 || answer.len() + count > ANSWER_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "its answer has no end"));
        }
        answer.extend_from_slice(part.get(..count).unwrap_or_default());
    }
    Ok(answer)
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it does not answer")
}
