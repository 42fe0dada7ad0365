//! Unix sockets on which somebody outside listens: each is a way out (docker, D-Bus, tmux, an ssh agent, nscd, a
//! program that fetches on request), so each is covered in the jail's mount namespace.
//!
//! Abstract names need nothing: they belong to the network namespace. Names in the file system are found in
//! `/proc/net/unix`, read before the jail has a namespace of its own; the folders where such sockets usually live are
//! covered whole, so that one made there later is covered too.

use std::fs;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Folders of sockets, covered with an empty file system where they exist. `*` at the end stands for any ending.
const FOLDERS: [&str; 22] = [
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

/// What must be covered before the command starts.
#[derive(Debug, Default)]
pub struct Outside {
    /// Socket files with a listener.
    pub files: Vec<PathBuf>,
    /// Folders to cover whole.
    pub folders: Vec<PathBuf>,
    /// Listeners bound to a relative name whose folder could not be found: they may still be reachable.
    pub unplaced: Vec<String>,
}

impl Outside {
    /// Lists them as they are now, in the mount and network namespace of the caller.
    ///
    /// # Errors
    /// Those of reading `/proc/net/unix`: without it nothing is known, so the jail must not start.
    pub fn look() -> io::Result<Self> {
        let mut outside = Outside {
            folders: folders(),
            ..Outside::default()
        };
        let table = fs::read("/proc/net/unix")?;
        for listener in String::from_utf8_lossy(&table).lines().skip(1).filter_map(listener) {
            if Path::new(&listener.name).is_absolute() {
                outside.files.push(listener.name.into());
            } else {
                let placed = place(&listener);
                if placed.is_empty() {
                    outside.unplaced.push(listener.name);
                }
                outside.files.extend(placed);
            }
        }
        outside
            .files
            .retain(|file| fs::symlink_metadata(file).is_ok_and(|found| found.file_type().is_socket()));
        outside.files.sort_unstable();
        outside.files.dedup();
        Ok(outside)
    }
}

/// A bound socket of the file system.
struct Listener {
    inode: String,
    name: String,
}

/// Reads one line of `/proc/net/unix` (`net/unix/af_unix.c`, `unix_seq_show`): `Num RefCount Protocol Flags Type St Inode
/// Path`. Every bound name counts, datagram sockets too: only connected streams (state 03) hand out nothing.
fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.splitn(8, ' ').filter(|field| !field.is_empty());
    let (_number, _references, _protocol, _flags) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let (_kind, state) = (fields.next()?, fields.next()?);
    // The inode is padded with blanks, and the path may hold some: cut once more by hand.
    let rest = line.split_once(&format!(" {state} "))?.1.trim_start();
    let (inode, name) = rest.split_once(' ')?;
    let abstract_name = name.starts_with('@');
    (state != "03" && !abstract_name && !name.is_empty()).then(|| Listener {
        inode: inode.to_owned(),
        name: name.to_owned(),
    })
}

/// Where a socket bound to a relative name may be: below the present folder of a process that holds it.
fn place(listener: &Listener) -> Vec<PathBuf> {
    let link = format!("socket:[{}]", listener.inode);
    let holders = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let holders = holders.filter(|process| holds(process, &link));
    holders
        .filter_map(|process| Some(fs::read_link(process.join("cwd")).ok()?.join(&listener.name)))
        .collect()
}

fn holds(process: &Path, link: &str) -> bool {
    let descriptors = fs::read_dir(process.join("fd")).into_iter().flatten().flatten();
    descriptors
        .into_iter()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link))
}

fn folders() -> Vec<PathBuf> {
    FOLDERS
        .iter()
        .flat_map(|pattern| expand(pattern))
        .filter(|path| path.is_dir())
        .collect()
}

fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some(stem) = pattern.strip_suffix('*') else {
        return vec![pattern.into()];
    };
    let (folder, start) = stem.rsplit_once('/').unwrap_or(("", stem));
    let entries = fs::read_dir(format!("{folder}/")).into_iter().flatten().flatten();
    let found = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(start));
    found
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Option<(&str, &str)>) {
        let found = listener(line);
        let found = found
            .as_ref()
            .map(|listener| (listener.inode.as_str(), listener.name.as_str()));
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn bound_names_are_found_whatever_their_type() {
        let head = "00000000fd6a41f8: 00000002 00000000 00010000";
        check(
            &format!("{head} 0001 01  3833 /run/a.sock"),
            Some(("3833", "/run/a.sock")),
        );
        check(&format!("{head} 0002 01 123833 /dev/log"), Some(("123833", "/dev/log")));
        check(
            &format!("{head} 0005 01     7 /tmp/with a blank"),
            Some(("7", "/tmp/with a blank")),
        );
        check(&format!("{head} 0001 01  3833 rel.sock"), Some(("3833", "rel.sock")));
        check(&format!("{head} 0001 03  3833 /run/a.sock"), None);
        check(&format!("{head} 0001 01  3833 @abstract"), None);
        check(&format!("{head} 0001 01  3833"), None);
        check("", None);
    }
}
