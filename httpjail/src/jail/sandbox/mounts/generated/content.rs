//! What is in a directory of certificates: its names, its links, and which files there are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::readlinkat;
use nix::unistd::symlinkat;

/// A directory with more in it is left as it is.
const MOST_ENTRIES: usize = 10_000;

/// By its name from the directory.
pub(super) type Content = BTreeMap<OsString, Entry>;

/// What stands under a name: another file has another inode, and one that was written another time of change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    Directory,
    Link(OsString),
    /// Its inode, its time of change, and how long it is.
    File(u64, (i64, i64), u64),
}

pub(super) fn is_directory(entry: &Entry) -> bool {
    *entry == Entry::Directory
}

/// What is in a directory that has the same names as in `content`: its files may have changed.
pub(super) fn as_it_is(directory: &Path, content: &Content) -> io::Result<Content> {
    let entries = content.iter().map(|(name, entry)| {
        let entry = match entry {
            Entry::File(..) => file(&fs::symlink_metadata(directory.join(name))?),
            other => other.clone(),
        };
        Ok((name.clone(), entry))
    });
    entries.collect()
}

fn file(found: &fs::Metadata) -> Entry {
    Entry::File(found.ino(), (found.ctime(), found.ctime_nsec()), found.len())
}

/// All that is below a directory, by its name from there. What is no file, directory or link is none of a trust store's.
///
/// A trust store is hundreds of links: each costs one call, by its name in the open directory. Names are compared as bytes.
pub(super) fn list(directory: &Path) -> io::Result<Content> {
    let mut found = Content::new();
    let mut ahead = vec![PathBuf::new()];
    while let Some(below) = ahead.pop() {
        let path = directory.join(&below);
        let open = File::open(&path)?;
        for entry in fs::read_dir(&path)? {
            let entry = entry?;
            let (name, kind) = (below.join(entry.file_name()).into_os_string(), entry.file_type()?);
            let entry = if kind.is_dir() {
                ahead.push(name.clone().into());
                Entry::Directory
            } else if kind.is_symlink() {
                Entry::Link(readlinkat(&open, entry.file_name().as_os_str())?)
            } else if kind.is_file() {
                file(&entry.metadata()?)
            } else {
                continue;
            };
            found.insert(name, entry);
            if found.len() > MOST_ENTRIES {
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it has too many files"));
            }
        }
    }
    Ok(found)
}

/// Makes in `to` what [`list`] found in `from`.
pub(super) fn copy_below(from: &Path, content: &Content, to: &Path) -> io::Result<()> {
    let open = File::open(to)?;
    for (name, entry) in content {
        match entry {
            Entry::Directory => {
                let to = to.join(name);
                fs::create_dir(&to)?;
                fs::set_permissions(&to, fs::metadata(from.join(name))?.permissions())?;
            }
            Entry::Link(target) => symlinkat(target.as_os_str(), &open, name.as_os_str())?,
            // With its permissions.
            Entry::File(..) => fs::copy(from.join(name), to.join(name)).map(drop)?,
        }
    }
    Ok(())
}
