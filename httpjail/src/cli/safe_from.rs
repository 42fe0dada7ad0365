//! Tells who could change a file: whoever may write the file, a directory above it, or a link on the way to it.
//!
//! The check goes from the root down, so that each step is known to be out of reach before the next is looked at. Access control
//! lists need no check of their own: what they grant shows in the group's bits (acl(5), "correspondence").

use std::path::Path;

/// From whom files must be safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SafeFrom {
    /// From this user: the one whom the jail holds.
    User(u32),
    /// From everybody but root and this user.
    AllBut(u32),
}

/// From whom what decides must be safe.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Holding {
    /// What is not can be held in a jail.
    #[cfg(target_os = "linux")]
    Jail(SafeFrom),
    /// What is not is told of.
    Nothing(SafeFrom),
}

#[cfg(target_os = "linux")]
impl SafeFrom {
    /// Whether the file at `path` is safe.
    ///
    /// # Errors
    /// In words for the user: what could be written, or not be looked at.
    pub(crate) fn check(self, path: &Path) -> Result<(), String> {
        self.look(path)
            .map_err(|why| format!("{} is not reloaded: {why}", path.display()))
    }

    /// As [`SafeFrom::check`], with the reason alone.
    ///
    /// # Errors
    /// What could be written, or not be looked at.
    pub(crate) fn look(self, path: &Path) -> Result<(), String> {
        use std::collections::VecDeque;
        use std::fs;
        use std::path::{Component, PathBuf};

        let wrong = |at: &Path, why: &str| Err(format!("{} {why}", at.display()));
        let whole =
            std::path::absolute(path).map_err(|error| format!("cannot tell where {} is: {error}", path.display()))?;
        let parts = |path: &Path| {
            path.components()
                .map(|part| part.as_os_str().to_owned())
                .collect::<Vec<_>>()
        };
        let mut ahead = VecDeque::from(parts(&whole));
        let (mut here, mut links) = (PathBuf::new(), 0);
        while let Some(part) = ahead.pop_front() {
            if part == Component::ParentDir.as_os_str() {
                here.pop();
                continue;
            }
            let next = here.join(&part);
            let found =
                fs::symlink_metadata(&next).map_err(|error| format!("cannot look at {}: {error}", next.display()))?;
            // What belongs to somebody can be changed by them, whatever its mode says.
            if !self.trusts_owner(&found) {
                return wrong(&next, "belongs to a user who must not change it");
            }
            if found.is_symlink() {
                links += 1;
                if links > 40 {
                    return wrong(&next, "leads through too many links");
                }
                let target =
                    fs::read_link(&next).map_err(|error| format!("cannot follow {}: {error}", next.display()))?;
                parts(&target).into_iter().rev().for_each(|part| ahead.push_front(part));
                if target.is_absolute() {
                    here = PathBuf::new();
                }
                continue;
            }
            // In a folder like /tmp each may remove what is theirs alone.
            if is_open(&found) && !(found.is_dir() && is_sticky(&found)) {
                return wrong(&next, OPEN);
            }
            here = next;
        }
        // But put there what they like: where a file was for a moment, another name of some other file of root's.
        let folder = here.parent().unwrap_or(&here);
        let found =
            fs::symlink_metadata(folder).map_err(|error| format!("cannot look at {}: {error}", folder.display()))?;
        if is_open(&found) {
            return wrong(folder, OPEN);
        }
        Ok(())
    }

    fn trusts_owner(self, found: &std::fs::Metadata) -> bool {
        use std::os::unix::fs::MetadataExt as _;
        match self {
            // Root may write whatever it likes, in a jail too.
            SafeFrom::User(user) => user != 0 && found.uid() != user,
            SafeFrom::AllBut(user) => [0, user].contains(&found.uid()),
        }
    }
}

#[cfg(target_os = "linux")]
const OPEN: &str = "can be written by others";

#[cfg(target_os = "linux")]
fn is_open(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    found.mode() & 0o022 != 0
}

#[cfg(target_os = "linux")]
fn is_sticky(found: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    found.mode() & 0o1000 != 0
}

#[cfg(not(target_os = "linux"))]
impl SafeFrom {
    /// Elsewhere a mode does not tell who may write.
    pub(crate) fn check(self, path: &Path) -> Result<(), String> {
        let (SafeFrom::User(user) | SafeFrom::AllBut(user)) = self;
        Err(format!(
            "{} is not reloaded for user {user}: only on Linux",
            path.display()
        ))
    }
}
