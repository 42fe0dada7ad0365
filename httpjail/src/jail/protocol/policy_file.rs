//! Sends a policy file from the supervisor, which may read it, to the proxy's process, which may not.
//!
//! The texts can be long, so they go in a memfd, whose descriptor is passed.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};

use super::channel::IpcChannel;
use super::proxy::{FromProxy, ToProxy};

/// How many characters of an error are sent. Each takes at most 6 bytes when escaped.
const ERROR_MAX: usize = 8000;

/// The text of the policy file and of the files that it takes groups from, each with its path.
pub(crate) type Texts = Vec<(PathBuf, String)>;

/// New texts, or why a changed file cannot be used. Then the old policy stays in force.
pub(crate) type Change = Result<Texts, String>;

/// Sends a change to the proxy's process, with the number of its request if it asked for it.
///
/// # Errors
/// As [`IpcChannel::send`].
pub(crate) fn send(
    channel: &IpcChannel<ToProxy, FromProxy>,
    change: Change,
    request_id: Option<u64>,
) -> io::Result<()> {
    let kept = change
        .and_then(|texts| keep(&texts).map_err(|error| format!("cannot send it to the proxy's process: {error}")));
    match kept {
        Ok(file) => {
            let error = None;
            channel.send_with(&ToProxy::Policy { request_id, error }, &[file.as_raw_fd()])
        }
        Err(error) => {
            let error = Some(shortened(&error));
            channel.send(&ToProxy::Policy { request_id, error })
        }
    }
}

/// Cuts an error to fit into a message: it shows the wrong pattern, which may have any length.
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

/// Reads a change in the proxy's process.
pub(crate) fn taken(error: Option<String>, mut descriptors: Vec<OwnedFd>) -> Change {
    if let Some(error) = error {
        return Err(error);
    }
    let mut bytes = Vec::new();
    let read = descriptors.pop().map(|fd| File::from(fd).read_to_end(&mut bytes));
    match read {
        Some(Ok(_)) => {
            serde_json::from_slice(&bytes).map_err(|error| format!("cannot parse the new policy text: {error}"))
        }
        Some(Err(error)) => Err(format!("cannot read the new policy text: {error}")),
        None => Err("the new policy text is missing".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::proxy::FromProxy;
    use super::*;
    use crate::jail::protocol::channel;

    #[test]
    fn an_error_of_any_length_has_room() {
        let (ours, theirs) = channel::pair::<ToProxy, FromProxy>().expect("a line");
        for (error, end) in [("short".to_owned(), "short"), ("\u{1}\u{fffd}".repeat(100_000), "...")] {
            let error = Some(shortened(&error));
            let request_id = Some(u64::MAX);
            ours.send(&ToProxy::Policy { request_id, error }).expect("it is sent");
            match theirs.receive().expect("it comes") {
                ToProxy::Policy { error: Some(error), .. } => assert!(error.ends_with(end), "{}", error.len()),
                other => panic!("{other:?}"),
            }
        }
    }
}
