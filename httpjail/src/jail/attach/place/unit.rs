//! The cgroup of a systemd unit: found in the cgroup tree, so that it needs no D-Bus.
//!
//! systemd puts each unit of the system into a cgroup of its name, below nothing but slices (systemd.slice(5)). What has the
//! name elsewhere is another manager's: a user's own, or that of a container.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::Failure;

/// The kinds of units that have processes, or units below them (systemd.unit(5)).
const KINDS: [&str; 6] = [".service", ".scope", ".slice", ".socket", ".mount", ".swap"];

/// A tree with more slices is not searched to its end.
const MOST_SLICES: usize = 10_000;

/// Returns the unit's whole name.
pub(super) fn full(name: &str) -> String {
    if KINDS.iter().any(|kind| name.ends_with(kind)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Returns the cgroup of the unit `name`.
///
/// # Errors
/// When no slice has one.
pub(super) fn find(name: &str, mount: &Path) -> Result<PathBuf, Failure> {
    let name = full(name);
    if name.contains('/') || name.starts_with(['.', '-']) {
        return Err(Failure::new(format!("not the name of a unit: {}", name.escape_debug())));
    }
    let mut slices = vec![mount.to_owned()];
    let mut next = 0;
    while let Some(slice) = slices.get(next).cloned() {
        next += 1;
        let found = slice.join(&name);
        if fs::symlink_metadata(&found).is_ok_and(|found| found.is_dir()) {
            return Ok(found);
        }
        let below = fs::read_dir(&slice).into_iter().flatten().flatten();
        let below = below.filter(|entry| {
            entry.file_type().is_ok_and(|kind| kind.is_dir())
                && entry.file_name().as_encoded_bytes().ends_with(b".slice")
        });
        slices.extend(
            below
                .map(|entry| entry.path())
                .take(MOST_SLICES.saturating_sub(slices.len())),
        );
    }
    Err(Failure {
        hint: Some(
            "a unit has a cgroup while it runs: systemctl start it first; for a unit of a user, name the cgroup: systemctl --user \
             show -p ControlGroup UNIT"
                .into(),
        ),
        ..Failure::new(format!(
            "no unit {} runs: no cgroup of that name in the {} slices below {}",
            name.escape_debug(),
            slices.len() - 1,
            mount.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_found_below_slices_alone() {
        let tree = tempfile::tempdir().unwrap();
        let make = |path: &str| fs::create_dir_all(tree.path().join(path)).unwrap();
        make("system.slice/system-web.slice/web@1.service");
        make("system.slice/agent.service/inner");
        // Of a container that runs a systemd of its own, and of a user's manager.
        make("system.slice/docker-1.scope/system.slice/other.service");
        make("user.slice/user-1000.slice/user@1000.service/app.slice/other.service");
        make("init.scope");
        let found = |name: &str| find(name, tree.path()).map(|path| path.strip_prefix(tree.path()).unwrap().to_owned());
        assert_eq!(found("agent").unwrap(), Path::new("system.slice/agent.service"));
        assert_eq!(found("agent.service").unwrap(), Path::new("system.slice/agent.service"));
        let template = Path::new("system.slice/system-web.slice/web@1.service");
        assert_eq!(found("web@1").unwrap(), template);
        assert_eq!(found("system.slice").unwrap(), Path::new("system.slice"));
        let missing = found("other").unwrap_err();
        assert!(missing.message.contains("no unit other.service runs"), "{missing}");
        assert!(missing.message.contains("in the 4 slices"), "{missing}");
        for wrong in ["../x", "a/b", ".service", "-.slice"] {
            assert!(
                found(wrong).unwrap_err().message.contains("not the name of a unit"),
                "{wrong}"
            );
        }
    }
}
