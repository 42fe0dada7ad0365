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

const PROC: &str = "/proc";

/// A bound socket of the file system.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Listener {
    /// In sockfs: how `/proc/PID/fd` names it.
    pub inode: String,
    /// As it was given to bind(2), which may be relative and need not be its name any more.
    pub name: PathBuf,
}

/// The bound sockets of every network namespace that can be seen, and the directories of the processes in `/proc`.
///
/// # Errors
/// Those of reading the own namespace's table; another's process may end meanwhile.
pub(super) fn read() -> io::Result<(Vec<Listener>, Vec<PathBuf>)> {
    let own = fs::read("/proc/net/unix")?;
    if !own.starts_with(b"Num ") {
        // Covered, as hardened containers do with parts of /proc: it reads as empty, which it is not.
        let text = "/proc/net/unix is not the kernel's table of Unix sockets";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    let mut found = parse(&own);
    // Each namespace has a file of its own (fs/proc/generic.c, proc_register). `/proc/PID/ns/net` says the same for half the
    // time, but only to who may trace the process.
    let number = |table: &Path| fs::metadata(table).map(|table| table.ino());
    let mut seen = HashSet::from([number(Path::new("/proc/self/net/unix"))?]);
    let mut named = HashSet::new();
    let processes: Vec<PathBuf> = processes().collect();
    // A host may have thousands: each by its name below the open directory.
    let proc = File::open(PROC)?;
    for process in &processes {
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
    Ok((found, processes))
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

/// Which of these processes have which of the sockets open, by inode. Each descriptor is looked at once, however many sockets
/// are asked for: a host may have thousands of processes, and each of its containers such a socket.
pub(super) fn holders<'a>(sockets: &HashSet<&str>, processes: &'a [PathBuf]) -> HashMap<String, Vec<&'a Path>> {
    let mut holders: HashMap<String, Vec<&Path>> = HashMap::new();
    if sockets.is_empty() {
        return holders;
    }
    for process in processes {
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
                .and_then(|target| target.strip_prefix("socket:[")?.strip_suffix(']'));
            if let Some(inode) = inode.filter(|inode| sockets.contains(inode)) {
                let of_this = holders.entry(inode.to_owned()).or_default();
                if of_this.last() != Some(&process.as_path()) {
                    of_this.push(process);
                }
            }
        }
    }
    holders
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
    let abstract_name = name.starts_with(b"@");
    (state != b"03" && !abstract_name && !name.is_empty()).then(|| Listener {
        inode: String::from_utf8_lossy(inode).into_owned(),
        name: OsString::from_vec(name.to_vec()).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(entries: &[u8], expected: &[(&str, &[u8])]) {
        let table = [b"Num       RefCount Protocol Flags    Type St Inode Path\n", entries].concat();
        let expected: Vec<Listener> = expected
            .iter()
            .map(|(inode, name)| Listener {
                inode: (*inode).into(),
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
}
