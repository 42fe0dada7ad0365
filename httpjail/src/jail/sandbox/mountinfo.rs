//! Reads `/proc/self/mountinfo` (proc(5)): what is mounted where, with which flags.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::mount::MsFlags;

use crate::sys::mounts;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Its number (field 1).
    pub id: u64,
    /// The file system's device, as `major:minor` (field 3).
    pub device: String,
    /// What of the file system is mounted (field 4).
    pub root: PathBuf,
    /// The type of the file system (the first field after the dash).
    pub kind: String,
    pub target: PathBuf,
    /// Its own flags (field 6), those that a remount must repeat.
    pub flags: MsFlags,
    /// The peer group (field 7, `shared:N`): what is mounted on one of a group appears on all.
    pub peer_group: Option<u64>,
}

impl Mount {
    /// Whether its target leads to it: not when another mount lies over that, and not where this process cannot go. Where that
    /// cannot be told it does, and who then cannot do what is to be done with it says so.
    pub(super) fn is_seen(&self) -> bool {
        match mounts::id_of(&self.target) {
            Ok(id) => id == self.id,
            Err(error) => ![libc::ENOENT, libc::ENOTDIR, libc::EACCES]
                .map(Some)
                .contains(&error.raw_os_error()),
        }
    }
}

/// The mounts of a `mountinfo` text, in its order. A line that is none is left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

/// The mount through which a path without links is seen.
pub(crate) fn of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let above = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    // Of two in one place the later one is seen.
    above.max_by_key(|mount| mount.target.components().count())
}

/// The other names of a path without links, where the same part of its file system is mounted a second time. Some may be
/// covered by other mounts.
pub(super) fn elsewhere(mounts: &[Mount], path: &Path) -> Vec<PathBuf> {
    let Some(own) = of(mounts, path) else { return Vec::new() };
    let Ok(below) = path.strip_prefix(&own.target) else {
        return Vec::new();
    };
    let place = own.root.join(below);
    let same = mounts.iter().filter(|mount| mount.device == own.device);
    let names = same.filter_map(|mount| Some(mount.target.join(place.strip_prefix(&mount.root).ok()?)));
    // A mount of the very file has no more to be joined.
    let names = names.map(|name| name.components().collect::<PathBuf>());
    names.filter(|name| name != path).collect()
}

fn line(line: &str) -> Option<Mount> {
    let (mount, system) = line.split_once(" - ")?;
    let mut fields = mount.split(' ');
    let id = fields.next()?.parse().ok()?;
    let device = fields.nth(1)?.to_owned();
    let root = unescape(fields.next()?);
    let target = unescape(fields.next()?);
    let flags = fields
        .next()?
        .split(',')
        .fold(MsFlags::empty(), |flags, word| flags | flag(word));
    let peer_group = fields.find_map(|field| field.strip_prefix("shared:")?.parse().ok());
    let kind = system.split(' ').next()?.to_owned();
    Some(Mount {
        id,
        device,
        root,
        kind,
        target,
        flags,
        peer_group,
    })
}

fn flag(word: &str) -> MsFlags {
    match word {
        "ro" => MsFlags::MS_RDONLY,
        "nosuid" => MsFlags::MS_NOSUID,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "relatime" => MsFlags::MS_RELATIME,
        _ => MsFlags::empty(),
    }
}

/// Blanks, tabs, line ends and backslashes stand as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let octal = bytes.get(at + 1..at + 4).filter(|_| bytes[at] == b'\\');
        match octal.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 4;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_and_flags_are_read() {
        let text = "31 23 0:28 / /sys/fs/cgroup ro,nosuid,relatime shared:9 - tmpfs tmpfs rw\n\
                    32 31 0:29 / /mnt/a\\040b\\134c rw,noatime - cgroup2 cgroup2 rw\nnonsense\n";
        let found = parse(text);
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_RELATIME;
        assert_eq!(
            found,
            [
                Mount {
                    id: 31,
                    device: "0:28".into(),
                    root: "/".into(),
                    kind: "tmpfs".into(),
                    target: "/sys/fs/cgroup".into(),
                    flags,
                    peer_group: Some(9),
                },
                Mount {
                    id: 32,
                    device: "0:29".into(),
                    root: "/".into(),
                    kind: "cgroup2".into(),
                    target: "/mnt/a b\\c".into(),
                    flags: MsFlags::MS_NOATIME,
                    peer_group: None,
                },
            ]
        );
    }

    #[test]
    fn the_same_file_has_a_name_for_each_mount() {
        let text = "1 0 8:1 / / rw - ext4 d rw\n2 1 8:2 / /home rw - ext4 e rw\n\
                    3 1 8:2 /ann /srv/a rw - ext4 e rw\n4 1 8:2 /ann/x /mnt/x rw - ext4 e rw\n\
                    5 1 8:1 /srv /export rw - ext4 d rw\n";
        let mounts = parse(text);
        let check = |path: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(elsewhere(&mounts, Path::new(path)), expected, "{path}");
        };
        check("/home/ann/x", &["/srv/a/x", "/mnt/x"]);
        check("/srv/a/y", &["/home/ann/y"]);
        check("/srv/b", &["/export/b"]);
        check("/etc/x", &[]);
    }
}
