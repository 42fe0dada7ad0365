//! The policy file that is kept: which policy may come into it, in which order it is written, and what becomes of it when it expires.
//!
//! The state is written before the policy. Whatever stops this between the two, the file has the older policy, of which the state
//! still knows when it expires, and the newer one is fetched again.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use nix::libc;

use super::download::Answer;
use super::files;
use super::sign;
use super::state::{InForce, State};
use crate::cli::args::OnExpiry;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::policy_file::bytes_of;
use crate::cli::safe_from::SafeFrom;
use crate::failure::Failure;
use crate::signed::{PublicKey, Signature, Taken, digest};

/// The policy file, what is known of it, and that nobody else keeps it.
pub(super) struct Kept<'a> {
    file: PathBuf,
    state_file: PathBuf,
    keys: Vec<PublicKey>,
    on_expiry: OnExpiry,
    caller: &'a InvokingUser,
    state: State,
    _lock: Flock<File>,
}

/// What has come of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    /// A policy with this serial is in the file now.
    Policy(u64),
    /// The policy is the same, and counts until another time.
    Renewed(u64),
    /// Nothing.
    Same,
}

impl<'a> Kept<'a> {
    /// Begins to keep a file.
    ///
    /// # Errors
    /// When others could write it, somebody else keeps it, or what is known of it cannot be read.
    pub(super) fn open(
        file: &Path,
        keys: Vec<PublicKey>,
        on_expiry: OnExpiry,
        caller: &'a InvokingUser,
    ) -> Result<Kept<'a>, Failure> {
        let lock = lock(&files::beside(file, "lock"), caller)?;
        let state_file = files::beside(file, "state");
        let read = caller.act(|| bytes_of(&state_file)).flatten();
        let state = match read {
            Ok(text) => State::parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(State::default()),
            Err(error) => Err(error.to_string()),
        };
        let state = state.map_err(|error| Failure {
            hint: Some("without it an older policy would be taken; remove it if that is what you want".into()),
            ..Failure::new(format!("cannot use {}: {error}", state_file.display()))
        })?;
        Ok(Kept {
            file: file.to_owned(),
            state_file,
            keys,
            on_expiry,
            caller,
            state,
            _lock: lock,
        })
    }

    /// Returns the time by which policies are judged.
    pub(super) fn now(&self) -> Timestamp {
        self.state.now(Timestamp::now())
    }

    /// Returns the policy in the file, if that is the newest one, and a key that is trusted has signed it.
    pub(super) fn fresh(&self) -> Result<Option<Taken>, Failure> {
        let Some(taken) = &self.state.held.policy else {
            return Ok(None);
        };
        let trusted = self.keys.iter().any(|key| key.id() == taken.key);
        let found = self.found()?.is_some_and(|text| self.state.held.is(&digest(&text)));
        Ok((trusted && found).then(|| taken.clone()))
    }

    /// Returns the tag of the signature that is held from `url`.
    pub(super) fn tag(&self, url: &str) -> Option<String> {
        self.state.tag.clone().filter(|_| self.state.url == url)
    }

    /// Returns when the policy in the file expires.
    pub(super) fn expires(&self) -> Result<Option<Timestamp>, Failure> {
        let found = self.found()?;
        Ok(found.and_then(|text| self.state.held.expires(&digest(&text))))
    }

    /// Takes what came from `url`, if it may come into the file.
    ///
    /// # Errors
    /// In words for the user, why it may not; the file is as it was.
    pub(super) fn take(&mut self, url: &str, answer: Answer) -> Result<News, Failure> {
        let now = self.now();
        let refused = |why: String| Failure::new(format!("what came from {url} is not taken: {why}"));
        let held = self.fresh()?;
        match answer {
            Answer::Failed(why) => Err(Failure::new(format!("cannot fetch {url}: {why}"))),
            Answer::Unchanged => match held {
                None => Err(refused(
                    "the server says that it has not changed, and it is not here".into(),
                )),
                Some(held) if held.expires <= now => Err(refused(format!("it expired at {}", held.expires))),
                Some(_) => Ok(News::Same),
            },
            Answer::Signed { signature, tag, policy } => {
                let signature = Signature::parse(signature.as_bytes()).map_err(|error| refused(error.to_string()))?;
                let checked = signature.check(&self.keys, now);
                checked.map_err(|error| refused(error.to_string()))?;
                self.state.held.admit(&signature).map_err(refused)?;
                let serial = signature.terms.serial;
                let same = held.filter(|held| held.sha256 == signature.sha256);
                if same.is_none() {
                    let policy = policy.ok_or_else(|| refused("the policy itself did not come".into()))?;
                    let covered = signature.covers(policy.as_bytes());
                    covered.map_err(|error| refused(format!("its signature does not count: {error}")))?;
                    sign::policy_of(url, policy.as_bytes()).map_err(|failure| Failure {
                        hint: failure.hint,
                        ..refused(failure.message)
                    })?;
                    self.hold(&signature, url, tag)?;
                    self.write(policy.as_bytes())?;
                    return Ok(News::Policy(serial));
                }
                self.hold(&signature, url, tag)?;
                let renewed = same.is_some_and(|held| held != Taken::from(&signature));
                Ok(if renewed { News::Renewed(serial) } else { News::Same })
            }
        }
    }

    /// Notes how a look at the server went.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub(super) fn note(&mut self, error: Option<&str>) -> Result<(), Failure> {
        let now = self.now();
        self.state.note(now, error);
        self.keep()
    }

    /// Puts a policy that denies everything in the place of one that has expired, if that is wanted. Returns when that one expired, if
    /// it is denied from now on.
    ///
    /// # Errors
    /// When that cannot be written: then a policy that has expired may be in force.
    pub(super) fn expire(&mut self) -> Result<Option<Timestamp>, Failure> {
        let expired = self.expires()?.filter(|expires| *expires <= self.now());
        let Some(expired) = expired.filter(|_| self.on_expiry == OnExpiry::Deny) else {
            return Ok(None);
        };
        let denies = denies(self.state.held.policy.as_ref(), expired);
        if self.found()?.is_some_and(|text| text == denies.as_bytes()) {
            return Ok(None);
        }
        self.write(denies.as_bytes())?;
        self.state.in_force = InForce::Denied;
        self.keep()?;
        Ok(Some(expired))
    }

    fn hold(&mut self, signature: &Signature, url: &str, tag: Option<String>) -> Result<(), Failure> {
        self.state.held.take(signature);
        url.clone_into(&mut self.state.url);
        self.state.tag = tag;
        self.state.in_force = InForce::Policy;
        self.keep()
    }

    fn found(&self) -> Result<Option<Vec<u8>>, Failure> {
        match self.caller.act(|| bytes_of(&self.file)).flatten() {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(format!("cannot read {}: {error}", self.file.display()))),
        }
    }

    fn write(&self, policy: &[u8]) -> Result<(), Failure> {
        replace(&self.file, policy, self.caller)
    }

    fn keep(&self) -> Result<(), Failure> {
        let text = self.state.text();
        let text =
            text.map_err(|error| Failure::new(format!("cannot write {}: {error}", self.state_file.display())))?;
        replace(&self.state_file, &text, self.caller)
    }
}

fn replace(path: &Path, text: &[u8], caller: &InvokingUser) -> Result<(), Failure> {
    let written = caller.act(|| files::replace(path, 0o644, text)).flatten();
    written.map_err(|error| Failure {
        hint: hint(&error, caller),
        ..Failure::new(format!("cannot write {}: {error}", path.display()))
    })
}

/// Makes sure that nobody else keeps this file, and that nobody else could write it.
fn lock(path: &Path, caller: &InvokingUser) -> Result<Flock<File>, Failure> {
    let open = || {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC).open(path)
    };
    let file = caller.act(open).flatten().map_err(|error| Failure {
        hint: hint(&error, caller),
        ..Failure::new(format!("cannot write {}: {error}", path.display()))
    })?;
    let safe = SafeFrom::AllBut(caller.user()).look(path);
    safe.map_err(|why| Failure {
        hint: Some("--to FILE in a directory that only its owner and root can write".into()),
        ..Failure::new(format!("a policy cannot be kept there: {why}"))
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| Failure {
        hint: Some("one `httpjail policy fetch` keeps a file; the other one must end first".into()),
        ..Failure::new(format!("cannot lock {}: {error}", path.display()))
    })
}

fn hint(error: &io::Error, caller: &InvokingUser) -> Option<String> {
    (error.kind() == io::ErrorKind::PermissionDenied && caller.identity.switched).then(|| {
        "under sudo files are written as the user who called it: start it as root itself, such as from a systemd unit".to_owned()
    })
}

/// The policy in the place of one that has expired.
fn denies(policy: Option<&Taken>, expired: Timestamp) -> String {
    let serial = policy.map_or(String::new(), |taken| format!(" with the serial {}", taken.serial));
    let why = format!("the signed policy{serial} expired at {expired}");
    format!(
        "# Written by `httpjail policy fetch`: {why}. The next one that counts takes its place.\n\
         version: 1\nrules:\n- {{action: deny, pattern: '.*', name: '{why}'}}\n"
    )
}

#[cfg(test)]
mod tests;
