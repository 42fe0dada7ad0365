//! Finds the Unix sockets on which a process outside listens. Each is a way out (docker, D-Bus, tmux, an ssh agent,
//! nscd, a program that fetches on request), so each is covered in the jail's mount namespace.
//!
//! Abstract names need nothing: they belong to the network namespace. Names in the file system are in the tables of
//! bound sockets, read before the jail has a network namespace. A table has the name that was bound, and programs
//! rename: ssh binds its ControlMaster under another name and links it into place. A listener outside this container is
//! in no table. So the directories where such sockets usually live are covered whole, and every socket in `/run`, every
//! one that is mounted or named by the environment, and every neighbor of one that moved or has a second name.

mod limit;
mod table;
mod tasks;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, FileType};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::mountinfo;
use limit::Limit;
use table::Listener;

/// Directories of sockets, covered with an empty file system where they exist. `*` at the end stands for any ending.
const DIRECTORIES: [&str; 22] = [
    "/run/user/*",
    "/tmp/.X11-unix",
    "/tmp/.ICE-unix",
    "/tmp/tmux-*",
    "/tmp/ssh-*",
    "/run/tmux*",
    "/run/screen*",
    "/run/dbus",
    "/run/docker",
    "/run/containerd",
    "/run/podman",
    "/run/crio",
    "/run/libvirt",
    "/run/lxd*",
    "/run/incus*",
    "/run/nscd",
    "/run/avahi-daemon",
    "/run/pcscd",
    "/run/cups",
    "/run/postgresql",
    "/run/mysqld",
    "/var/lib/sss/pipes",
];

/// How deep `/run` is searched; nothing that listens is deeper.
const RUN_DEPTH: usize = 6;

/// What must be covered before the command starts.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Socket files with a listener, or that may have one.
    pub files: Vec<PathBuf>,
    /// Directories to cover whole.
    pub directories: Vec<PathBuf>,
    /// Listeners bound to a relative name whose directory could not be found: they may still be reachable.
    pub unplaced: Vec<String>,
}

impl Outside {
    /// Lists them as they are now, in the mount and network namespace of the caller.
    ///
    /// # Errors
    /// Those of reading `/proc/net/unix` and `/proc/self/mountinfo`, or that it takes too long: what is not known cannot be
    /// covered, so the jail must not start.
    pub(crate) fn look() -> io::Result<Self> {
        let mut outside = Outside {
            directories: directories(),
            ..Outside::default()
        };
        let limit = Limit::begin();
        let (listeners, processes) = table::read(&limit)?;
        let placed_by_holders = listeners
            .iter()
            .filter(|listener| !matches!(base(&listener.name), Base::Absolute));
        let asked = placed_by_holders.map(|listener| listener.inode).collect();
        let holders = table::holders(&asked, &processes, &limit)?;
        let mut seen = Seen::default();
        for listener in &listeners {
            limit.check()?;
            outside.add(
                listener,
                holders.get(&listener.inode).map_or(&[], Vec::as_slice),
                &mut seen,
            );
        }
        let mounts = fs::read("/proc/self/mountinfo")?;
        let mounted = mountinfo::parse(&String::from_utf8_lossy(&mounts));
        let mounted = mounted.into_iter().map(|mount| mount.target);
        let named = std::env::vars_os().filter_map(|(_, value)| named_by(&value));
        outside
            .files
            .extend(mounted.chain(named).filter(|path| socket_at(path).is_some()));
        search(Path::new("/run"), RUN_DEPTH, &mut outside.files, &limit)?;
        outside.files.sort_unstable();
        outside.files.dedup();
        Ok(outside)
    }

    fn add(&mut self, listener: &Listener, holders: &[PathBuf], seen: &mut Seen) {
        let mut placed = false;
        for place in places(&listener.name, holders, seen) {
            let only_name = socket_at(&place).is_some_and(|socket| socket.nlink() == 1);
            placed |= match place.parent() {
                Some(directory) if !only_name => seen.add_sockets_in(directory, &mut self.files),
                _ => {
                    self.files.push(place);
                    true
                }
            };
        }
        // An absolute name that leads nowhere is one that was removed; a relative one may have been bound elsewhere.
        if listener.name.is_relative() && !placed {
            self.unplaced.push(listener.name.to_string_lossy().into_owned());
        }
    }
}

/// What was looked up already: hundreds of sockets may be one process's, or have been in one directory.
#[derive(Debug, Default)]
struct Seen {
    /// The present directories of processes.
    working: HashMap<PathBuf, Option<PathBuf>>,
    /// Directories whose sockets were added, and whether there was one.
    neighbors: HashMap<PathBuf, bool>,
}

impl Seen {
    fn working_directory(&mut self, process: &Path) -> Option<PathBuf> {
        let known = self.working.entry(process.to_owned());
        known.or_insert_with(|| fs::read_link(process.join("cwd")).ok()).clone()
    }

    fn add_sockets_in(&mut self, directory: &Path, files: &mut Vec<PathBuf>) -> bool {
        *self.neighbors.entry(directory.to_owned()).or_insert_with(|| {
            let before = files.len();
            files.extend(sockets_in(directory));
            files.len() > before
        })
    }
}

/// What a bound name starts from.
enum Base<'a> {
    Absolute,
    /// The present directory of a process that holds the socket.
    Directory,
    /// What a descriptor of such a process leads to: so names that are too long are made short.
    Descriptor(&'a Path),
}

fn base(name: &Path) -> Base<'_> {
    let own = ["/proc/self", "/proc/thread-self"];
    match own.iter().find_map(|own| name.strip_prefix(own).ok()) {
        Some(rest) => Base::Descriptor(rest),
        None if name.is_absolute() => Base::Absolute,
        None => Base::Directory,
    }
}

/// Where a bound socket may be.
fn places(name: &Path, holders: &[PathBuf], seen: &mut Seen) -> Vec<PathBuf> {
    let holders = holders.iter();
    match base(name) {
        Base::Absolute => vec![name.to_owned()],
        Base::Directory => holders
            .filter_map(|process| Some(seen.working_directory(process)?.join(name)))
            .collect(),
        Base::Descriptor(rest) => holders
            .filter_map(|process| fs::canonicalize(process.join(rest.parent()?)).ok())
            .filter_map(|directory| Some(directory.join(rest.file_name()?)))
            .collect(),
    }
}

fn socket_at(path: &Path) -> Option<fs::Metadata> {
    fs::symlink_metadata(path)
        .ok()
        .filter(|found| found.file_type().is_socket())
}

fn sockets_in(directory: &Path) -> impl Iterator<Item = PathBuf> {
    entries(directory, |kind| kind.is_socket())
}

fn entries(directory: &Path, wanted: impl Fn(FileType) -> bool) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let found = entries.filter(move |entry| entry.file_type().is_ok_and(&wanted));
    found.map(|entry| entry.path())
}

/// Adds the sockets below `directory`, and the FIFOs, by which daemons take orders too (init, dmeventd); in its own file system
/// alone: what else is mounted there may be large, or hang.
fn search(directory: &Path, depth: usize, into: &mut Vec<PathBuf>, limit: &Limit) -> io::Result<()> {
    match fs::symlink_metadata(directory) {
        Ok(found) => search_below(directory, found.dev(), depth, into, limit),
        Err(_) => Ok(()),
    }
}

fn search_below(directory: &Path, device: u64, depth: usize, into: &mut Vec<PathBuf>, limit: &Limit) -> io::Result<()> {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        limit.check()?;
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_socket() || kind.is_fifo() {
            into.push(entry.path());
        } else if kind.is_dir() && depth > 0 && entry.metadata().is_ok_and(|found| found.dev() == device) {
            search_below(&entry.path(), device, depth - 1, into, limit)?;
        }
    }
    Ok(())
}

/// The path in a variable like SSH_AUTH_SOCK, DOCKER_HOST or DBUS_SESSION_BUS_ADDRESS.
fn named_by(value: &OsStr) -> Option<PathBuf> {
    let value = value.as_bytes();
    let path = ["unix://", "unix:path=", "unix:"]
        .iter()
        .find_map(|scheme| value.strip_prefix(scheme.as_bytes()))
        .unwrap_or(value);
    // D-Bus appends `,guid=...`, tmux the server's number.
    let path = path.split(|byte| *byte == b',').next()?;
    path.starts_with(b"/").then(|| OsStr::from_bytes(path).into())
}

fn directories() -> Vec<PathBuf> {
    // Several patterns are of one directory, and /tmp may be large.
    let mut listed: HashMap<&str, Vec<PathBuf>> = HashMap::new();
    let mut expand = |pattern: &'static str| {
        let Some(stem) = pattern.strip_suffix('*') else {
            return vec![pattern.into()];
        };
        let (directory, start) = stem.rsplit_once('/').unwrap_or(("", stem));
        let below = listed
            .entry(directory)
            .or_insert_with(|| entries(Path::new(&format!("{directory}/")), |kind| kind.is_dir()).collect());
        let starts = |path: &&PathBuf| {
            path.file_name()
                .is_some_and(|name| name.as_bytes().starts_with(start.as_bytes()))
        };
        below.iter().filter(starts).cloned().collect()
    };
    let found = DIRECTORIES.iter().flat_map(|pattern| expand(pattern));
    found.filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &str, expected: Option<&str>) {
        assert_eq!(named_by(OsStr::new(value)), expected.map(PathBuf::from), "{value}");
    }

    #[test]
    fn variables_name_sockets() {
        check("/tmp/ssh-x/agent.1", Some("/tmp/ssh-x/agent.1"));
        check("unix:///srv/docker.sock", Some("/srv/docker.sock"));
        check("unix:path=/srv/bus,guid=12", Some("/srv/bus"));
        check("/tmp/mux/default,4711,0", Some("/tmp/mux/default"));
        check("tcp://192.0.2.1:2375", None);
        check(":0", None);
        check("", None);
    }
}
