//! A process without rights that does one thing with the network, and hands back what came of it.
//!
//! What talks to a server may be wrong about what the server says. So the process that writes files with a user's rights does not
//! talk: it forks one that has no right, a user of its own where it can have one, and no descriptor but the pipe for its answer.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::pipe2;

use super::apart::set_apart;
use super::proxy_user::ProxyUser;
use crate::jail::termination;
use crate::sys::clone::{self, Side};

/// How an errand ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Errand {
    /// With this answer.
    Answer(Vec<u8>),
    /// It took too long.
    Late,
    /// It was not waited for, because `stop` said so.
    Stopped,
}

/// Runs `work` in such a process, for at most `limit`, and returns its answer of at most `most` bytes. Asks `stop` whenever `wake`
/// can be read.
///
/// # Errors
/// When the process cannot be made, fails, or answers more.
pub(crate) fn run(
    limit: Duration,
    most: u64,
    wake: BorrowedFd<'_>,
    stop: &dyn Fn() -> io::Result<bool>,
    work: impl FnOnce() -> Vec<u8>,
) -> io::Result<Errand> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC)?;
    let user = ProxyUser::reserve();
    let pid = match clone::fork()? {
        Side::Parent(pid) => pid,
        Side::Child => clone::live(|| {
            drop(ours);
            let keep: Vec<_> = [theirs.as_raw_fd()].into_iter().chain(user.descriptor()).collect();
            match settle(&keep, &user) {
                Ok(()) => File::from(theirs).write_all(&work()).map_or(125, |()| 0),
                Err(error) => {
                    eprintln!("error: cannot give up the rights to download: {error}");
                    125
                }
            }
        }),
    };
    drop(theirs);
    let ended = clone::pidfd(pid)?;
    let answer = hear(File::from(ours), limit, most, wake, stop);
    let reaped = termination::kill_and_reap("the process that downloads", pid, ended.as_fd());
    reaped.map_err(io::Error::other)?;
    answer
}

fn settle(keep: &[i32], user: &ProxyUser) -> io::Result<()> {
    set_apart(keep)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    user.settle()
}

/// Reads the answer to its end, which is empty if the process failed.
fn hear(
    mut answers: File,
    limit: Duration,
    most: u64,
    wake: BorrowedFd<'_>,
    stop: &dyn Fn() -> io::Result<bool>,
) -> io::Result<Errand> {
    let until = Instant::now() + limit;
    let mut heard = Vec::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(Errand::Late);
        }
        let mut polled = [
            PollFd::new(answers.as_fd(), PollFlags::POLLIN),
            PollFd::new(wake, PollFlags::POLLIN),
        ];
        // Rounded up, or the last millisecond would be spent in circles.
        let left = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut polled, left) {
            Err(Errno::EINTR) => continue,
            ready => ready?,
        };
        let ready = polled.map(|polled| polled.any().unwrap_or(true));
        if ready[1] && stop()? {
            return Ok(Errand::Stopped);
        }
        if !ready[0] {
            continue;
        }
        let count = answers.read(&mut piece)?;
        if count == 0 {
            return match heard.is_empty() {
                true => Err(io::Error::other("the process that downloads ended without an answer")),
                false => Ok(Errand::Answer(heard)),
            };
        }
        if (heard.len() + count) as u64 > most {
            return Err(io::Error::other(
                "the process that downloads answered more than was asked for",
            ));
        }
        heard.extend_from_slice(&piece[..count]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_is_cut_short_or_too_long_is_none() {
        let (quiet, _held) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let heard = |bytes: &[u8], most| {
            let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
            File::from(theirs).write_all(bytes).expect("written");
            hear(File::from(ours), Duration::from_secs(60), most, quiet.as_fd(), &|| {
                Ok(false)
            })
        };
        assert_eq!(
            heard(b"answer", 6).expect("an answer"),
            Errand::Answer(b"answer".to_vec())
        );
        assert!(heard(b"answer", 5).is_err());
        assert!(heard(b"", 5).is_err());
    }

    #[test]
    fn who_is_told_to_stop_waits_no_longer() {
        let (wake, waker) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let (ours, _theirs) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let (again, _held) = pipe2(OFlag::O_CLOEXEC).expect("a pipe");
        let late = hear(File::from(again), Duration::from_millis(1), 1, wake.as_fd(), &|| {
            Ok(true)
        });
        assert_eq!(late.expect("in time"), Errand::Late);
        File::from(waker).write_all(b"!").expect("written");
        let stopped = hear(File::from(ours), Duration::from_secs(60), 1, wake.as_fd(), &|| Ok(true));
        assert_eq!(stopped.expect("in time"), Errand::Stopped);
    }
}
