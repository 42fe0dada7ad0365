//! Reads `/proc/net/unix` (`net/unix/af_unix.c`, `unix_seq_show`) once for each network namespace that has a process: a
//! table has the sockets of one namespace, but a socket in the file system can be reached from all of them.
//!
//! Names are bytes: a socket whose name is not UTF-8, or has a line feed, is a way out like any other.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::fcntl::readlinkat;

use super::limit::Limit;
use super::tasks::Tasks;

const PROC: &str = "/proc";

/// A bound socket of the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// In sockfs: how `/proc/PID/fd` names it.
    pub inode: u64,
    /// As it was given to bind(2), which may be relative and need not be its name any more.
    pub name: PathBuf,
}

/// The processes of this host.
#[derive(Debug)]
pub(super) enum Processes {
    /// The directories of all in `/proc`.
    Listed(Vec<PathBuf>),
    /// There are many, and the kernel tells of them.
    Told(Tasks),
}

/// The bound sockets of every network namespace that can be seen, and the processes.
///
/// # Errors
/// Those of reading the own namespace's table (another's process may end meanwhile); that the time is up.
pub(super) fn read(limit: &Limit) -> io::Result<(Vec<Listener>, Processes)> {
    let own = fs::read("/proc/net/unix")?;
    if !own.starts_with(b"Num ") {
        // Covered, as hardened containers do with parts of /proc: it reads as empty, which it is not.
        let text = "/proc/net/unix is not the kernel's table of Unix sockets";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut found = parse(&own);
    let processes = match Tasks::of_busy_host(limit) {
        Some(tasks) => {
            add_told(&tasks, &mut found, limit)?;
            Processes::Told(tasks)
        }
        None => {
            let processes: Vec<PathBuf> = processes().collect();
            add_listed(&processes, &mut found, limit)?;
            Processes::Listed(processes)
        }
    };
    Ok((found, processes))
}

/// Adds the table of each namespace that some task is in.
fn add_told(tasks: &Tasks, found: &mut Vec<Listener>, limit: &Limit) -> io::Result<()> {
    let number = |process: &Path| fs::metadata(process.join("ns/net")).map(|namespace| namespace.ino());
    let mut seen = HashSet::from([number(Path::new("/proc/self"))?]);
    for (task, namespace) in &tasks.namespaces {
        if seen.contains(&u64::from(*namespace)) {
            continue;
        }
        limit.check()?;
        let process = Path::new(PROC).join(task.to_string());
        // A task that has ended meanwhile, or is elsewhere, tells nothing: the next of that namespace is asked.
        let Ok(content) = fs::read(process.join("net/unix")) else {
            continue;
        };
        found.extend(parse(&content));
        seen.extend(number(&process));
    }
    Ok(())
}

/// Adds the table of each namespace that some process is in.
fn add_listed(processes: &[PathBuf], found: &mut Vec<Listener>, limit: &Limit) -> io::Result<()> {
    // Each namespace has a file of its own (fs/proc/generic.c, proc_register). `/proc/PID/ns/net` says the same for half the
    // time, but only to who may trace the process.
    let number = |table: &Path| fs::metadata(table).map(|table| table.ino());
    let mut seen = HashSet::from([number(Path::new("/proc/self/net/unix"))?]);
    let mut named = HashSet::new();
    // A host may have thousands: each by its name below the open directory.
    let proc = File::open(PROC)?;
    for process in processes {
        limit.check()?;
        let name = process.file_name().unwrap_or_default().as_bytes();
        let namespace = readlinkat(&proc, OsStr::from_bytes(&[name, b"/ns/net"].concat())).ok();
        if namespace.as_ref().is_some_and(|namespace| named.contains(namespace)) {
            continue;
        }
        let table = process.join("net/unix");
        let Ok(number) = number(&table) else { continue };
        if !seen.contains(&number) {
            // A process that has ended meanwhile tells nothing: the next of its namespace is asked.
            let Ok(content) = fs::read(table) else { continue };
            found.extend(parse(&content));
            seen.insert(number);
        }
        named.extend(namespace);
    }
    Ok(())
}

/// The directories of all processes in `/proc`.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(PROC).into_iter().flatten().flatten();
    let is_process = |path: &PathBuf| {
        path.file_name()
            .is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    entries.map(|entry| entry.path()).filter(is_process)
}

/// The directories in `/proc` of the processes that have these sockets open, by inode. Each descriptor is looked at once, however
/// many sockets are asked for: a host may have thousands of processes, and each of its containers such a socket.
///
/// # Errors
/// That the time is up.
pub(super) fn holders(
    sockets: &HashSet<u64>,
    processes: &Processes,
    limit: &Limit,
) -> io::Result<HashMap<u64, Vec<PathBuf>>> {
    let mut holders: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    if sockets.is_empty() {
        return Ok(holders);
    }
    let listed = match processes {
        Processes::Listed(listed) => listed,
        Processes::Told(tasks) => match tasks.sockets(limit) {
            Ok(open) => {
                for (task, inode) in open.into_iter().filter(|(_, inode)| sockets.contains(inode)) {
                    add(&mut holders, inode, &Path::new(PROC).join(task.to_string()));
                }
                return Ok(holders);
            }
            Err(error) => {
                tracing::info!("the kernel does not tell of all open files at once: {error}");
                &self::processes().collect()
            }
        },
    };
    for process in listed {
        limit.check()?;
        // What cannot be opened is another user's, or has ended.
        let Ok(open) = File::open(process.join("fd")) else {
            continue;
        };
        let Ok(mut descriptors) = open.try_clone().and_then(|again| Ok(Dir::from_fd(again.into())?)) else {
            continue;
        };
        for descriptor in descriptors.iter().flatten() {
            let target = readlinkat(&open, descriptor.file_name()).unwrap_or_default();
            let inode = target
                .to_str()
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode)) {
                add(&mut holders, inode, process);
            }
        }
    }
    Ok(holders)
}

fn add(holders: &mut HashMap<u64, Vec<PathBuf>>, inode: u64, process: &Path) {
    let of_this = holders.entry(inode).or_default();
    if of_this.last().is_none_or(|last| last != process) {
        of_this.push(process.to_owned());
    }
}

fn parse(table: &[u8]) -> Vec<Listener> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    for line in table.split(|byte| *byte == b'\n').skip(1) {
        match entries.last_mut() {
            // The rest of a name with a line end in it, and the one that ends the table.
            Some(entry) if !is_entry(line) => {
                entry.push(b'\n');
                entry.extend_from_slice(line);
            }
            _ => entries.push(line.to_vec()),
        }
    }
    if let Some(last) = entries.last_mut().filter(|last| last.ends_with(b"\n")) {
        last.pop();
    }
    entries.iter().filter_map(|entry| listener(entry)).collect()
}

/// Whether it starts with a number in hexadecimal and a colon, as each entry does.
fn is_entry(line: &[u8]) -> bool {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    digits >= 8 && line[digits..].starts_with(b": ")
}

/// Reads `Num RefCount Protocol Flags Type St Inode Path`. Every bound name counts, datagram sockets too: only connected
/// streams (state 03) hand out nothing.
fn listener(mut rest: &[u8]) -> Option<Listener> {
    let mut fields = [&b""[..]; 7];
    for field in &mut fields {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|byte| *byte == b' ')?;
        (*field, rest) = rest.split_at(end);
    }
    // One blank, then the name: it may begin with one itself.
    let name = &rest[1..];
    let [.., state, inode] = fields;
    // Never zero for one that is.
    let inode = std::str::from_utf8(inode).ok().and_then(|inode| inode.parse().ok());
    let abstract_name = name.starts_with(b"@");
    (state != b"03" && !abstract_name && !name.is_empty()).then(|| Listener {
        inode: inode.unwrap_or_default(),
        name: OsString::from_vec(name.to_vec()).into(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::sync::mpsc;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::stat::fstat;

    use super::*;

    fn check(entries: &[u8], expected: &[(&str, &[u8])]) {
        let table = [b"Num       RefCount Protocol Flags    Type St Inode Path\n", entries].concat();
        let expected: Vec<Listener> = expected
            .iter()
            .map(|(inode, name)| Listener {
                inode: inode.parse().expect("a number"),
                name: OsString::from_vec(name.to_vec()).into(),
            })
            .collect();
        assert_eq!(parse(&table), expected, "{}", entries.escape_ascii());
    }

    #[test]
    fn bound_names_are_found_whatever_their_type() {
        const HEAD: &str = "00000000fd6a41f8: 00000002 00000000 00010000";
        let line = |rest: &str| format!("{HEAD} {rest}\n").into_bytes();
        check(&line("0001 01  3833 /run/a.sock"), &[("3833", b"/run/a.sock")]);
        check(&line("0002 01 123833 /dev/log"), &[("123833", b"/dev/log")]);
        check(&line("0005 01     7 /tmp/with a blank"), &[("7", b"/tmp/with a blank")]);
        check(&line("0001 01  3833 rel.sock"), &[("3833", b"rel.sock")]);
        check(&line("0001 01  3833  rel.sock"), &[("3833", b" rel.sock")]);
        check(&line("0001 03  3833 /run/a.sock"), &[]);
        check(&line("0001 01  3833 @abstract"), &[]);
        check(&line("0001 01  3833"), &[]);
        check(b"", &[]);
    }

    #[test]
    fn a_name_may_hold_any_byte() {
        let table = b"00000000fd6a41f8: 00000002 00000000 00010000 0001 01 1 /tmp/a\nb\n\
                      00000000fd6a41f8: 00000002 00000000 00010000 0001 01 2 /tmp/\xe9\n\
                      00000000fd6a41f8: 00000002 00000000 00010000 0001 01 3 /tmp/c\n\n";
        check(table, &[("1", b"/tmp/a\nb"), ("2", b"/tmp/\xe9"), ("3", b"/tmp/c\n")]);
    }

    // Proves: S38.
    #[test]
    fn the_kernel_tells_what_proc_tells() {
        let limit = Limit::begin();
        // Nobody but root is told.
        let Some(told) = Tasks::if_told(&limit) else { return };
        drop(told);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        let (here, ready) = mpsc::channel();
        let (end, ended) = mpsc::channel::<()>();
        let bound = path.clone();
        let thread = std::thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            let socket = UnixListener::bind(bound).unwrap();
            here.send(fstat(&socket).unwrap().st_ino).unwrap();
            let _ = ended.recv();
        });
        let inode = ready.recv().unwrap();
        let tasks = Tasks::if_told(&limit).unwrap();
        let mut found = Vec::new();
        add_told(&tasks, &mut found, &limit).unwrap();
        let asked = HashSet::from([inode]);
        let told = holders(&asked, &Processes::Told(tasks), &limit).unwrap();
        let listed = holders(&asked, &Processes::Listed(processes().collect()), &limit).unwrap();
        drop(end);
        thread.join().unwrap();
        assert!(found.contains(&Listener { inode, name: path }));
        assert_eq!(told[&inode], [Path::new(PROC).join(std::process::id().to_string())]);
        assert_eq!(told, listed);
    }
}
