//! Finds the process of the jail that has a socket open, where the kernel did not record who connected.
//!
//! `/proc/PID/fd` shows the open sockets of a process by inode number. The jail's processes are the descendants of its
//! init: a process that loses its parent becomes a child of init. Likely processes are looked at first, what was seen
//! is kept for the next request, and no request takes more than [`LOOKS_MAX`] looks.
//!
//! All of it is the jail's own word: a program can pass its socket to another program, and then that one is found.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::lookup;
use crate::net::{Holder, Process};

/// How many entries of /proc a question may read: some 20 ms.
const LOOKS_MAX: usize = 10_000;
/// How many sockets are remembered from question to question.
const KNOWN_MAX: usize = 16_384;
/// How many ancestors a process may have below init.
const LINE_MAX: usize = 256;

/// Looks among the processes below one init.
#[derive(Debug)]
pub(crate) struct SocketHolders {
    init: u32,
    /// Where sockets were seen: the process, and its descriptor.
    known: HashMap<u32, (u32, u32)>,
    /// Whose were noted.
    seen: HashSet<u32>,
    /// Who had the latest that were asked for, and who started that one: the next is mostly one of those, or started by one.
    latest: Vec<u32>,
    cgroups: Cgroups,
}

impl SocketHolders {
    /// Below `init`, as this process counts.
    pub(crate) fn below(init: u32) -> Self {
        SocketHolders {
            init,
            known: HashMap::new(),
            seen: HashSet::new(),
            latest: Vec::new(),
            cgroups: Cgroups::default(),
        }
    }

    /// Who has `socket` open; `words` reads a command line. Of several that have it the one from whom the others have it, as far as it is still there.
    pub(crate) fn find(&mut self, socket: u32, words: impl FnOnce(u32) -> Option<String>) -> Option<Holder> {
        let mut looks = LOOKS_MAX;
        let (found, descriptor) = self.remembered(socket).or_else(|| self.search(socket, &mut looks))?;
        let pid = self.eldest(found, descriptor, socket, &mut looks)?;
        let program = lookup::look(pid, words, |pid| ancestors(self.init, pid))?;
        let process = Process {
            pid,
            comm: lookup::comm(pid).unwrap_or_default(),
        };
        let cgroup = self.cgroups.of(pid);
        // All of that was this process's if it still has the socket: its number has become nobody else's.
        self.remembered(socket).filter(|(holder, _)| *holder == pid)?;
        let parent = program.parents.first().map(|parent| parent.pid);
        self.latest = [Some(pid), parent].into_iter().flatten().collect();
        Some(Holder {
            process,
            program,
            cgroup,
        })
    }

    /// Where it was seen, if it is still there.
    fn remembered(&self, socket: u32) -> Option<(u32, u32)> {
        let (pid, descriptor) = *self.known.get(&socket)?;
        (target(format!("/proc/{pid}/fd/{descriptor}")) == Some(socket)).then_some((pid, descriptor))
    }

    fn search(&mut self, socket: u32, looks: &mut usize) -> Option<(u32, u32)> {
        if self.known.len() > KNOWN_MAX || self.seen.len() > KNOWN_MAX {
            self.known.clear();
            self.seen.clear();
        }
        let near = self.latest.clone();
        let kin: Vec<u32> = near.iter().rev().flat_map(|pid| children(*pid, looks)).collect();
        if let Some(found) = self.among(socket, near.iter().copied().chain(kin), looks) {
            return Some(found);
        }
        let mut all = children(self.init, looks);
        let mut next = 0;
        while let Some(parent) = all.get(next).copied().filter(|_| *looks > 0) {
            all.extend(children(parent, looks));
            next += 1;
        }
        self.among(socket, all, looks)
    }

    /// Looks at whom no question has come by yet first, in the order in which they came, for so do their connections; then at
    /// the rest, who may have made more of them.
    fn among(&mut self, socket: u32, pids: impl IntoIterator<Item = u32>, looks: &mut usize) -> Option<(u32, u32)> {
        let (rest, new): (Vec<u32>, Vec<u32>) = pids.into_iter().partition(|pid| self.seen.contains(pid));
        for pid in new.into_iter().chain(rest) {
            if *looks == 0 {
                return None;
            }
            if self.note(pid, looks).contains(&socket) {
                return self.remembered(socket);
            }
        }
        None
    }

    /// Notes the sockets that a process has open.
    fn note(&mut self, pid: u32, looks: &mut usize) -> BTreeSet<u32> {
        let mut found = BTreeSet::new();
        self.seen.insert(pid);
        // One that has ended, or that may not be looked at, has none.
        for entry in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            *looks = looks.saturating_sub(1);
            if *looks == 0 {
                break;
            }
            let descriptor = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (Some(descriptor), Some(socket)) = (descriptor, target(entry.path())) {
                self.known.insert(socket, (pid, descriptor));
                found.insert(socket);
            }
        }
        found
    }

    /// Follows the ancestors as long as each has the socket too.
    fn eldest(&mut self, found: u32, descriptor: u32, socket: u32, looks: &mut usize) -> Option<u32> {
        let mut eldest = found;
        for pid in ancestors(self.init, found)? {
            if *looks == 0 {
                break;
            }
            // What is inherited keeps its number, unless somebody moves it.
            if target(format!("/proc/{pid}/fd/{descriptor}")) == Some(socket) {
                self.known.insert(socket, (pid, descriptor));
            } else if !self.note(pid, looks).contains(&socket) {
                break;
            }
            eldest = pid;
        }
        Some(eldest)
    }
}

/// Returns the ancestors of a process, from its parent to the child of `init`. `None` if they do not lead to `init`: then
/// the process is not in the jail.
pub(crate) fn ancestors(init: u32, pid: u32) -> Option<Vec<u32>> {
    let mut above = Vec::new();
    let mut next = lookup::parent(pid)?;
    while next != init {
        above.push(next);
        next = lookup::parent(next).filter(|_| above.len() < LINE_MAX)?;
    }
    Some(above)
}

/// The inode number of the socket that a link of `/proc/PID/fd` leads to.
fn target(link: impl AsRef<Path>) -> Option<u32> {
    let target = fs::read_link(link).ok()?;
    target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// Whom the threads of a process have started, in that order.
fn children(pid: u32, looks: &mut usize) -> Vec<u32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        if *looks == 0 {
            break;
        }
        *looks = looks.saturating_sub(1);
        match fs::read_to_string(thread.path().join("children")) {
            Ok(listed) => found.extend(
                listed
                    .split_whitespace()
                    .rev()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            ),
            // A kernel without CONFIG_PROC_CHILDREN: each process names its parent.
            Err(error) if error.kind() == io::ErrorKind::NotFound && thread.path().join("stat").exists() => {
                return named_as_parent(pid, looks);
            }
            Err(_) => {}
        }
    }
    *looks = looks.saturating_sub(found.len());
    found
}

fn named_as_parent(parent: u32, looks: &mut usize) -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut found: Vec<u32> = pids
        .inspect(|_| *looks = looks.saturating_sub(1))
        .filter(|pid| lookup::parent(*pid) == Some(parent))
        .collect();
    found.sort_unstable();
    found
}

/// The numbers of cgroups, by the paths that `/proc/PID/cgroup` gives them.
#[derive(Debug, Default)]
struct Cgroups {
    /// Where the file system is mounted.
    mount: Option<PathBuf>,
    latest: Option<(String, u64)>,
}

impl Cgroups {
    fn of(&mut self, pid: u32) -> Option<u64> {
        let listed = String::from_utf8(lookup::read::<4096>(pid, "cgroup")?).ok()?;
        let path = listed.lines().find_map(|line| line.strip_prefix("0::/"))?;
        match &self.latest {
            Some((known, id)) if known == path => Some(*id),
            _ => {
                let mount = self.mount.get_or_insert_with(|| mount().unwrap_or_default());
                let id = fs::metadata(mount.join(path)).ok()?.ino();
                self.latest = Some((path.to_owned(), id));
                Some(id)
            }
        }
    }
}

/// Where the whole tree of cgroups is mounted (proc_pid_mountinfo(5)).
fn mount() -> Option<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mut whole = mounts.lines().filter(|line| line.contains(" - cgroup2 "));
    whole.find_map(|line| {
        let mut fields = line.split(' ').skip(3);
        (fields.next()? == "/").then(|| fields.next().map(PathBuf::from))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead as _;
    use std::net::UdpSocket;
    use std::os::fd::AsRawFd as _;
    use std::process::{Command, Stdio};

    fn inode(socket: &UdpSocket) -> u32 {
        target(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap()
    }

    /// A child of a child of ours that has inherited the socket, by a descriptor that nobody else uses.
    fn child(socket: &UdpSocket) -> std::process::Child {
        let ours = std::os::fd::OwnedFd::from(socket.try_clone().unwrap());
        let mut command = Command::new("sh");
        let script = "sleep 600 & echo up; wait";
        command.args(["-c", script]).stdin(ours).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        io::BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        child
    }

    #[test]
    fn the_eldest_holder_below_init_is_found_and_nobody_else() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut shell = child(&socket);
        let mut holders = SocketHolders::below(std::process::id());
        // In the shell's child it is closed: a background command reads from /dev/null.
        let found = holders.find(inode(&socket), lookup::cmdline).expect("a holder");
        assert_eq!((found.process.pid, found.process.comm.as_str()), (shell.id(), "sh"));
        assert_eq!(found.program.parents, []);
        assert!(found.program.cmdline.unwrap().starts_with("sh -c sleep"));
        assert_eq!(
            holders
                .find(inode(&socket), lookup::cmdline)
                .map(|found| found.process.pid),
            Some(shell.id())
        );
        // This process is init here, and no holder.
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(holders.find(inode(&own), lookup::cmdline), None);
        shell.kill().unwrap();
        shell.wait().unwrap();
        assert_eq!(holders.find(inode(&socket), lookup::cmdline), None);
    }

    #[test]
    fn both_ways_to_list_children_agree() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut shell = child(&socket);
        let (own, mut looks) = (std::process::id(), LOOKS_MAX);
        let listed: BTreeSet<u32> = children(own, &mut looks).into_iter().collect();
        assert!(listed.contains(&shell.id()), "{listed:?}");
        assert!(named_as_parent(own, &mut looks).contains(&shell.id()));
        let below: Vec<u32> = children(shell.id(), &mut looks);
        assert_eq!((below.len(), &below), (1, &named_as_parent(shell.id(), &mut looks)));
        assert!(looks < LOOKS_MAX);
        assert!(ancestors(own, below[0]) == Some(vec![shell.id()]) && ancestors(below[0], own).is_none());
        nix::sys::signal::kill(
            nix::unistd::Pid::from_raw(below[0] as i32),
            nix::sys::signal::Signal::SIGKILL,
        )
        .unwrap();
        shell.kill().unwrap();
        shell.wait().unwrap();
    }
}
