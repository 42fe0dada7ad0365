//! The user of the proxy's process. Where httpjail is root, no other process has this user or can become it.
//!
//! kill(2) and prlimit(2) compare user ids as the host counts them, so a user namespace does not help: as `nobody` the
//! proxy could be killed, or lose its descriptors, by any other process of `nobody`. So the proxy of each jail has a
//! user id of its own. The id is in no list of users and in no container's range (a user with a range in /etc/subuid
//! can become each id of it), and no process runs under it. A lock reserves it, held by a descriptor of httpjail and
//! the proxy; the kernel releases the lock when both have ended.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Uid, User};

use crate::jail::sandbox::rights;
use crate::jail::sandbox::run_dir;
use crate::jail::sandbox::run_dir::RUN_DIR;
use crate::sys::users;

/// Where to look, best first. All of it is marked as unused in systemd's list (UIDS-GIDS): above its containers, and above
/// what sssd and FreeIPA give to a domain's users; then, for a root whose namespace knows 65536 numbers, between the users
/// that systemd makes up and those it maps, and below nobody.
const PLACES: [Range<u32>; 3] = [2_010_000_000..2_140_000_000, 60_706..61_184, 65_520..65_534];

/// How many numbers of a place are tried: nearly always the first will do.
const TRIES: u32 = 512;

/// One byte of it for each number (fcntl(2), open file description locks). It stays empty.
const LOCKS: &str = "users";

/// Whom the proxy's process is to be.
#[derive(Debug)]
pub(crate) struct ProxyUser {
    who: Who,
    lock: Option<File>,
    note: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Who {
    /// Whoever called: there is nobody else to be.
    Caller,
    /// This number, as user and group.
    Own(u32),
    /// There was no number to be had.
    Nobody,
}

impl ProxyUser {
    /// Finds one, and holds it.
    pub(crate) fn reserve() -> ProxyUser {
        if !rights::may_change_user() {
            return ProxyUser {
                who: Who::Caller,
                lock: None,
                note: None,
            };
        }
        let (lock, mut note) = match locks() {
            Ok(lock) => (Some(lock), None),
            // So many numbers, and one at random: that another proxy has the same is not to be feared.
            Err(error) => (None, Some(format!("the proxy's user is not locked: {error}"))),
        };
        let found = Taken::look().free(|number| lock.as_ref().is_none_or(|lock| take(lock, number)));
        if found.is_none() {
            note = Some(
                "no user id is free for the proxy, so it runs as `nobody`, which other processes may use too"
                    .to_owned(),
            );
        }
        ProxyUser {
            who: found.map_or(Who::Nobody, Who::Own),
            lock,
            note,
        }
    }

    /// What keeps the number as long as it is open: the proxy's process must keep it too.
    pub(crate) fn descriptor(&self) -> Option<RawFd> {
        self.lock.as_ref().map(|lock| lock.as_raw_fd())
    }

    /// What is not as it should be: for `-v` and `doctor`.
    pub(crate) fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Becomes that user for good, without any right. Between this and the first byte from the jail there is nothing.
    ///
    /// # Errors
    /// Naming the step; then the process must end.
    pub(crate) fn settle(&self) -> io::Result<()> {
        match self.who {
            // What keeps the jail off this process is that it cannot see it (PID namespace), nor trace it if it did (user
            // namespace; not dumpable).
            Who::Caller => rights::stay_nobody()?,
            Who::Own(number) => rights::become_nobody(Uid::from_raw(number), Gid::from_raw(number))?,
            Who::Nobody => {
                let nobody = User::from_name("nobody").ok().flatten();
                let (uid, gid) = nobody.map_or((Uid::from_raw(65534), Gid::from_raw(65534)), |user| {
                    (user.uid, user.gid)
                });
                rights::become_nobody(uid, gid)?;
            }
        }
        // Both are cleared by a change of user (kernel/cred.c, commit_creds): last.
        prctl::set_dumpable(false)?;
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        Ok(())
    }
}

fn locks() -> io::Result<File> {
    run_dir::make_run_dir()?;
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC;
    let mut file = File::options();
    let file = file.read(true).write(true).create(true).mode(0o600).custom_flags(flags);
    file.open(Path::new(RUN_DIR).join(LOCKS))
}

/// Locks the number's byte, for as long as the file is open anywhere.
fn take(lock: &File, number: u32) -> bool {
    let byte = libc::flock {
        l_type: libc::F_WRLCK as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: i64::from(number),
        l_len: 1,
        l_pid: 0,
    };
    fcntl(lock, FcntlArg::F_OFD_SETLK(&byte)).is_ok()
}

/// Whose numbers are whose.
#[derive(Debug, Default)]
struct Taken {
    /// Those that this user namespace knows, as users and as groups.
    known: [Vec<Range<u64>>; 2],
    /// Those of users, groups and containers.
    taken: Vec<Range<u64>>,
}

impl Taken {
    fn look() -> Taken {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let known = ["/proc/self/uid_map", "/proc/self/gid_map"].map(|path| {
            let lines = read(path);
            lines.lines().filter_map(mapped).collect()
        });
        let mut taken = Vec::new();
        for list in ["/etc/passwd", "/etc/group"] {
            taken.extend(read(list).lines().filter_map(listed));
        }
        for list in ["/etc/subuid", "/etc/subgid"] {
            taken.extend(read(list).lines().filter_map(delegated));
        }
        Taken { known, taken }
    }

    /// A number that is free and that `take` takes.
    fn free(&self, take: impl Fn(u32) -> bool) -> Option<u32> {
        let random = RandomState::new().build_hasher().finish();
        PLACES.into_iter().find_map(|place| {
            let length = place.end - place.start;
            let first = (random % u64::from(length)) as u32;
            let numbers = (0..length.min(TRIES)).map(|step| place.start + (first + step) % length);
            numbers
                .filter(|number| self.allows(*number))
                // Looked at with the lock held: whoever had it before may be about to end.
                .find(|number| take(*number) && users::has_processes(*number).is_ok_and(|any| !any))
        })
    }

    fn allows(&self, number: u32) -> bool {
        let within = |ranges: &[Range<u64>]| ranges.iter().any(|range| range.contains(&number.into()));
        self.known.iter().all(|known| within(known)) && !within(&self.taken)
    }
}

/// A line of a map: first, first outside, count (user_namespaces(7)).
fn mapped(line: &str) -> Option<Range<u64>> {
    let mut numbers = line.split_whitespace();
    range(numbers.next()?, numbers.nth(1)?)
}

/// The number of a line of passwd(5) or group(5).
fn listed(line: &str) -> Option<Range<u64>> {
    range(line.split(':').nth(2)?, "1")
}

/// A line of subuid(5): whose, first, count.
fn delegated(line: &str) -> Option<Range<u64>> {
    let mut words = line.split(':').skip(1);
    range(words.next()?, words.next()?)
}

fn range(first: &str, count: &str) -> Option<Range<u64>> {
    let first: u64 = first.trim().parse().ok()?;
    let count: u64 = count.trim().parse().ok()?;
    Some(first..first.checked_add(count)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(map: &str, list: Range<u64>) -> Taken {
        let known: Vec<_> = map.lines().filter_map(mapped).collect();
        Taken {
            known: [known.clone(), known],
            taken: vec![list],
        }
    }

    // Proves on ebpf, netns, attach: P31.
    #[test]
    fn what_is_listed_or_delegated_is_taken() {
        assert_eq!(listed("daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin"), Some(1..2));
        assert_eq!(delegated("user1:100000:65536"), Some(100_000..165_536));
        assert_eq!(mapped("         0     100000      65536"), Some(0..65_536));
        assert_eq!(listed("+::::::"), None);
        let all = taken("0 0 4294967295", 2_000_000_000..2_100_000_000);
        assert!(!all.allows(2_050_000_000));
        assert!(all.allows(2_100_000_000));
    }

    #[test]
    fn a_number_is_taken_from_the_best_place_that_is_known() {
        let is_in = |place: usize, found: Option<u32>| PLACES[place].contains(&found.unwrap());
        assert!(is_in(0, taken("0 0 4294967295", 0..0).free(|_| true)));
        assert!(is_in(1, taken("0 100000 65536", 0..0).free(|_| true)));
        assert!(is_in(2, taken("0 100000 65536", 60_000..62_000).free(|_| true)));
        assert_eq!(taken("0 100000 60000", 0..0).free(|_| true), None);
        assert_eq!(taken("0 0 4294967295", 0..0).free(|_| false), None);
    }

    // Proves on ebpf, netns, attach: P31.
    #[test]
    fn a_number_is_one_proxys_as_long_as_it_is_held() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let open = || File::options().write(true).open(file.path()).unwrap();
        let (first, second) = (open(), open());
        assert!(take(&first, 2_010_000_000));
        assert!(!take(&second, 2_010_000_000));
        assert!(take(&second, 2_010_000_001));
        drop(first);
        assert!(take(&second, 2_010_000_000));
    }
}
