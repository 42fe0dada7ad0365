//! Reads `/proc/self/mountinfo` (proc(5)): where things are mounted, with which flags.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::mount::MsFlags;

/// One mount.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Where.
    pub target: PathBuf,
    /// Its own flags (field 6), those that a remount must repeat.
    pub flags: MsFlags,
    /// What of: the type of its file system.
    pub kind: String,
}

/// The mounts of a `mountinfo` text, in its order. A line that is none is left out.
pub(super) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(line).collect()
}

fn line(line: &str) -> Option<Mount> {
    let mut fields = line.split(' ');
    let target = unescape(fields.nth(4)?);
    let flags = fields
        .next()?
        .split(',')
        .fold(MsFlags::empty(), |flags, word| flags | flag(word));
    let kind = fields.skip_while(|field| *field != "-").nth(1)?.to_owned();
    Some(Mount { target, flags, kind })
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
                    target: "/sys/fs/cgroup".into(),
                    flags,
                    kind: "tmpfs".into()
                },
                Mount {
                    target: "/mnt/a b\\c".into(),
                    flags: MsFlags::MS_NOATIME,
                    kind: "cgroup2".into()
                },
            ]
        );
    }
}
