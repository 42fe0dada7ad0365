//! A policy file that changes while the jail runs: seen by the supervisor, who may read it, and put in force by the proxy's
//! process, which may not.
//!
//! What the file says is not this module's business. The texts go over the line in a descriptor, for they can be long.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::jail::process::proxy::{Helper, ToProxy};

/// How often to look.
const PERIOD: Duration = Duration::from_secs(1);

/// Characters of an error that are passed on; each takes 6 bytes at most, escaped.
const ERROR_MAX: usize = 8000;

/// The policy file's text, and those of the files that it takes groups from, each with its path.
pub(crate) type Texts = Vec<(PathBuf, String)>;

/// New texts, or why there are none although something changed. The old ones stay in force then.
pub(crate) type Change = Result<Texts, String>;

/// Looks after the policy file.
pub(crate) trait Watch {
    /// What is new, if anything is.
    fn look(&mut self) -> Option<Change>;

    /// What is there, new or not: somebody asked for it.
    fn demand(&mut self) -> Change;
}

/// A watch that is looked at once in a while, and tells the proxy.
pub(crate) struct Round<'a> {
    watch: Option<&'a mut dyn Watch>,
    next: Instant,
}

impl<'a> Round<'a> {
    pub(crate) fn new(watch: Option<&'a mut dyn Watch>) -> Round<'a> {
        Round {
            watch,
            next: Instant::now() + PERIOD,
        }
    }

    /// When to look again, if at all.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.watch.is_some().then_some(self.next)
    }

    /// Looks, if it is time.
    pub(crate) fn look(&mut self, helper: &Helper) -> io::Result<()> {
        let Some(watch) = &mut self.watch else { return Ok(()) };
        if Instant::now() < self.next {
            return Ok(());
        }
        self.next = Instant::now() + PERIOD;
        watch.look().map_or(Ok(()), |change| tell(helper, change))
    }

    /// Somebody asked (SIGHUP).
    pub(crate) fn demand(&mut self, helper: &Helper) -> io::Result<()> {
        match &mut self.watch {
            Some(watch) => tell(helper, watch.demand()),
            None => Ok(()),
        }
    }
}

fn tell(helper: &Helper, change: Change) -> io::Result<()> {
    let kept = change.and_then(|texts| keep(&texts).map_err(|error| format!("cannot hand it over: {error}")));
    match kept {
        Ok(file) => helper
            .line
            .send_with(&ToProxy::Policy { error: None }, &[file.as_raw_fd()]),
        Err(error) => {
            let error = Some(shortened(&error));
            helper.line.send(&ToProxy::Policy { error })
        }
    }
}

/// As much as has room in a message: an error shows the pattern that is wrong, and that may be of any length.
fn shortened(error: &str) -> String {
    let mut short: String = error.chars().take(ERROR_MAX).collect();
    if short.len() < error.len() {
        short.push_str("...");
    }
    short
}

fn keep(texts: &Texts) -> io::Result<File> {
    let mut file = File::from(memfd_create("policy", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(&serde_json::to_vec(texts)?)?;
    file.rewind()?;
    Ok(file)
}

/// The proxy's side: what came over the line.
pub(crate) fn taken(error: Option<String>, mut descriptors: Vec<OwnedFd>) -> Change {
    if let Some(error) = error {
        return Err(error);
    }
    let mut bytes = Vec::new();
    let read = descriptors.pop().map(|fd| File::from(fd).read_to_end(&mut bytes));
    match read {
        Some(Ok(_)) => serde_json::from_slice(&bytes).map_err(|error| format!("the new texts came mangled: {error}")),
        Some(Err(error)) => Err(format!("cannot read the new texts: {error}")),
        None => Err("no new texts came".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jail::process::proxy::FromProxy;
    use crate::jail::protocol::channel;

    #[test]
    fn an_error_of_any_length_has_room() {
        let (ours, theirs) = channel::pair::<ToProxy, FromProxy>().expect("a line");
        for (error, end) in [("short".to_owned(), "short"), ("\u{1}\u{fffd}".repeat(100_000), "...")] {
            let error = Some(shortened(&error));
            ours.send(&ToProxy::Policy { error }).expect("it is sent");
            match theirs.receive().expect("it comes") {
                ToProxy::Policy { error: Some(error) } => assert!(error.ends_with(end), "{}", error.len()),
                other => panic!("{other:?}"),
            }
        }
    }
}
