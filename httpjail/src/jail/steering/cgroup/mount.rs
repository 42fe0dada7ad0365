//! Finds the cgroup v2 mount, and checks that a jail is safe there.

use super::error::{CgroupError, PARENT};
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or on hybrid hosts a directory below it.
///
/// # Errors
/// When it is not mounted, or only read-only.
pub(crate) fn mount_point() -> Result<PathBuf, CgroupError> {
    let path = "/proc/self/mountinfo";
    let table = fs::read_to_string(path).map_err(|source| CgroupError::Io {
        operation: "read",
        path: path.into(),
        source,
    })?;
    find_mount(&table)
}

/// The cgroup that this process is in, where it can be seen and written to as far as the mount tells.
///
/// # Errors
/// When the tables cannot be read. `None` where cgroup v2 is not mounted, or read-only.
pub(super) fn own_cgroup() -> Result<Option<PathBuf>, CgroupError> {
    let read = |path: &str| {
        fs::read_to_string(path).map_err(|source| CgroupError::Io {
            operation: "read",
            path: path.into(),
            source,
        })
    };
    let (own, mounts) = (read("/proc/self/cgroup")?, read("/proc/self/mountinfo")?);
    let Some(own) = own.lines().find_map(|line| line.strip_prefix("0::")) else {
        return Ok(None);
    };
    let place = |mount: Mount<'_>| {
        // A mount may show a part of the tree.
        let below = Path::new(own).strip_prefix(mount.root).ok()?;
        (!mount.read_only).then(|| mount.point.join(below))
    };
    Ok(cgroup2_mounts(&mounts).find_map(place))
}

/// A mount of cgroup v2.
struct Mount<'a> {
    root: &'a str,
    point: PathBuf,
    read_only: bool,
}

fn cgroup2_mounts(mountinfo: &str) -> impl Iterator<Item = Mount<'_>> {
    mountinfo.lines().filter_map(|line| {
        // proc_pid_mountinfo(5): id parent major:minor root mount-point options [tags] - type source super-options
        let (mount, file_system) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let [_, _, _, root, point, options, ..] = fields[..] else {
            return None;
        };
        let mut file_system = file_system.split(' ');
        if file_system.next() != Some("cgroup2") {
            return None;
        }
        let super_options = file_system.nth(1).unwrap_or_default();
        let mut options = options.split(',').chain(super_options.split(','));
        Some(Mount {
            root,
            point: PathBuf::from(unescape(point)),
            read_only: options.any(|option| option == "ro"),
        })
    })
}

fn find_mount(mountinfo: &str) -> Result<PathBuf, CgroupError> {
    let mut read_only = None;
    // A mount of a part of the tree may leave out the ancestors whose owner matters.
    for mount in cgroup2_mounts(mountinfo).filter(|mount| mount.root == "/") {
        if mount.read_only {
            read_only.get_or_insert(mount.point);
        } else {
            return Ok(mount.point);
        }
    }
    Err(read_only.map_or(CgroupError::NotMounted, CgroupError::ReadOnly))
}

/// Undoes the kernel's `\040` for a space and the like.
fn unescape(field: &str) -> String {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let code = (byte == b'\\')
            .then(|| {
                tail.get(..3)
                    .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok())
            })
            .flatten();
        (rest, _) = match code {
            Some(code) => (&tail[3..], out.push(code)),
            None => (tail, out.push(byte)),
        };
    }
    String::from_utf8_lossy(&out).into_owned()
}

pub(super) fn parent() -> Result<PathBuf, CgroupError> {
    let mount = mount_point()?;
    check_owner(&mount)?;
    let parent = mount.join(PARENT);
    if !geteuid().is_root() && fs::symlink_metadata(&parent).is_err() {
        // With CAP_DAC_OVERRIDE he could make it, and it would be his: nobody's jail would go there from then on.
        return Err(CgroupError::NotRoots(parent));
    }
    match make_directory(&parent) {
        Err(CgroupError::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {}
        other => other?,
    }
    check_owner(&parent)?;
    Ok(parent)
}

fn check_owner(path: &Path) -> Result<(), CgroupError> {
    let metadata = fs::symlink_metadata(path).map_err(|source| CgroupError::Io {
        operation: "look at",
        path: path.to_owned(),
        source,
    })?;
    let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if uid != 0 || mode & 0o022 != 0 || !metadata.is_dir() {
        return Err(CgroupError::Unsafe {
            path: path.to_owned(),
            uid,
            mode,
        });
    }
    Ok(())
}

pub(super) fn make_directory(path: &Path) -> Result<(), CgroupError> {
    fs::DirBuilder::new()
        .mode(0o755)
        .create(path)
        .map_err(|source| match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => CgroupError::ReadOnly(path.to_owned()),
            _ => CgroupError::Io {
                operation: "make the cgroup",
                path: path.to_owned(),
                source,
            },
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cgroup2_mount_is_found_wherever_it_is() {
        let check = |table: &str, expected: Result<&str, &str>| match (find_mount(table), expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, Path::new(expected)),
            (Err(found), Err(expected)) => assert!(found.to_string().contains(expected), "{found}"),
            (found, _) => panic!("{table}: {found:?}"),
        };
        let v1 = "32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n";
        check(
            "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate",
            Ok("/sys/fs/cgroup"),
        );
        check(
            &format!("{v1}41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw"),
            Ok("/sys/fs/cgroup/unified"),
        );
        check("41 31 0:38 / /a\\040b rw - cgroup2 none rw", Ok("/a b"));
        check(v1, Err("no cgroup2"));
        check(
            "41 31 0:38 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup2 rw",
            Err("read-only"),
        );
        check("41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 ro", Err("read-only"));
        check(
            "41 31 0:38 /docker/1 /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
            Err("no cgroup2"),
        );
        check(
            "41 31 0:38 / /ro ro - cgroup2 c rw\n42 31 0:38 / /rw rw - cgroup2 c rw",
            Ok("/rw"),
        );
    }

    // Proves: P02.
    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let set =
            |mode| fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        set(0o755);
        let owned_by_root = fs::metadata(directory.path()).unwrap().uid() == 0;
        assert_eq!(check_owner(directory.path()).is_ok(), owned_by_root);
        for mode in [0o775, 0o757, 0o777] {
            set(mode);
            assert!(check_owner(directory.path()).is_err(), "{mode:o}");
        }
    }
}
