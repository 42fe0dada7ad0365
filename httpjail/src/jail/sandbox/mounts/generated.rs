//! The directories with the system's generated trust store, as a jailed root sees them: copies, whose bundle also has
//! httpjail's authority. What root changes in a copy goes back to the host's directory, without the authority.
//!
//! A file that is mounted over cannot be replaced (fs/namei.c, vfs_rename: EBUSY). `update-ca-certificates` and similar
//! programs replace the bundle, and so do packages that run them on installation. Only root may do that, so for all
//! other users the mount over the file stays. A bundle that is replaced in the jail gets the authority again at once,
//! for programs that read the bundle and no variable. At the end of the command init copies the changes back, with the
//! command's own rights: the command could have written there itself.

mod content;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use memchr::memmem;
use nix::mount::MsFlags;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use content::{Content, Entry, as_it_is, copy_below, is_directory, list};

use super::operations::{MountError, failed, hold, raw};
use super::view::Overlay;

/// What the tools of distributions generate, and nothing that a package brings: Debian, Alpine; Fedora; openSUSE; Arch.
const DIRECTORIES: [&str; 4] = [
    "/etc/ssl/certs",
    "/etc/pki/ca-trust/extracted",
    "/var/lib/ca-certificates",
    "/etc/ca-certificates/extracted",
];

/// One with more bytes in it is left as it is.
const MOST_BYTES: u64 = 32 << 20;

/// A copy, and the directory that it stands for.
#[derive(Debug)]
pub(crate) struct Generated {
    directory: PathBuf,
    /// The host's, and the copy.
    outside: OwnedFd,
    inside: OwnedFd,
    /// Ours in them: in bundles, as text; in the others, whose form is another.
    authority: Vec<u8>,
    bundles: Vec<PathBuf>,
    others: Vec<PathBuf>,
    before: Content,
    changes: Option<Inotify>,
    /// Whether there was one.
    changed: Cell<bool>,
}

/// Copies those directories that there are, for a jail of root's. Of `overlays` those that cover something in one are written into
/// the copy.
pub(crate) fn copy(authority: &[u8], overlays: &[Overlay]) -> Result<Vec<Generated>, MountError> {
    let mut copies: Vec<Generated> = Vec::new();
    for directory in DIRECTORIES
        .iter()
        .filter_map(|directory| fs::canonicalize(directory).ok())
    {
        let within = |path: &&PathBuf| path.starts_with(&directory);
        if !overlays
            .iter()
            .any(|overlay| overlay.covers.iter().any(|path| within(&path)))
        {
            continue;
        }
        match list(&directory) {
            Ok(content) if is_small(&content) => {
                copies.push(Generated::of(directory, &content, authority, overlays)?);
            }
            Err(source) if source.kind() != io::ErrorKind::FileTooLarge => {
                return Err(failed("read", &directory, source));
            }
            Ok(_) | Err(_) => {}
        }
    }
    Ok(copies)
}

fn is_small(content: &Content) -> bool {
    let bytes = content.values().map(|entry| match entry {
        Entry::File(_, _, bytes) => *bytes,
        Entry::Directory | Entry::Link(_) => 0,
    });
    bytes.sum::<u64>() <= MOST_BYTES
}

impl Generated {
    /// `content` is what [`list`] found in the directory.
    fn of(directory: PathBuf, content: &Content, authority: &[u8], overlays: &[Overlay]) -> Result<Self, MountError> {
        let failed = |source| failed("copy", &directory, source);
        let outside = hold(&directory)?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        let options = Some("mode=0755,size=64m");
        raw("cover", &directory, Some("tmpfs"), Some("tmpfs"), flags, options)?;
        copy_below(&place(&outside), content, &directory).map_err(failed)?;
        let (mut bundles, mut others) = (Vec::new(), Vec::new());
        for overlay in overlays {
            for covered in &overlay.covers {
                let Ok(name) = covered.strip_prefix(&directory) else {
                    continue;
                };
                if !covered.is_file() {
                    continue;
                }
                fs::write(covered, &overlay.content).map_err(failed)?;
                let is_text = memmem::find(&overlay.content, authority).is_some();
                if is_text { &mut bundles } else { &mut others }.push(name.to_owned());
            }
        }
        let inside = hold(&directory)?;
        let before = as_it_is(&place(&inside), content).map_err(failed)?;
        let changes = watch(&directory, content);
        Ok(Generated {
            directory,
            outside,
            inside,
            authority: authority.to_owned(),
            bundles,
            others,
            before,
            changes,
            changed: Cell::new(false),
        })
    }

    /// Whether it has a file that an overlay was to be laid over.
    pub(crate) fn has(&self, path: &Path) -> bool {
        path.starts_with(&self.directory)
    }

    /// Readable when something was written in it.
    pub(crate) fn changes(&self) -> Option<BorrowedFd<'_>> {
        self.changes.as_ref().map(AsFd::as_fd)
    }

    /// Puts our authority into a bundle that was replaced. Where that fails, programs that read no variable refuse the proxy.
    pub(crate) fn complete(&self) {
        self.read_changes();
        for name in &self.bundles {
            let _ = add(&place(&self.inside).join(name), &self.authority);
        }
    }

    fn read_changes(&self) {
        if let Some(changes) = &self.changes {
            while changes.read_events().is_ok_and(|events| !events.is_empty()) {
                self.changed.set(true);
            }
        }
    }

    /// What is in the copy now. As long as no name came or went, only files can be others.
    fn now(&self) -> io::Result<Content> {
        self.read_changes();
        let inside = place(&self.inside);
        match &self.changes {
            Some(_) if !self.changed.get() => as_it_is(&inside, &self.before),
            _ => list(&inside),
        }
    }

    /// Does to the host's directory what was done to the copy, but for what is ours. Returns what could not be done.
    pub(crate) fn carry_back(&self) -> Vec<String> {
        let (inside, outside) = (place(&self.inside), place(&self.outside));
        let now = match self.now() {
            Ok(now) => now,
            Err(error) => return vec![format!("{}: {error}", self.directory.display())],
        };
        let mut left = Vec::new();
        let mut tell = |name: &OsStr, done: io::Result<()>| {
            if let Err(error) = done.or_else(gone) {
                left.push(format!("{}: {error}", self.directory.join(name).display()));
            }
        };
        // What is in a directory comes after it: removed from the end, made from the beginning.
        for (name, entry) in self.before.iter().rev() {
            let kept = now
                .get(name)
                .is_some_and(|now| is_directory(now) == is_directory(entry));
            if !kept {
                let path = outside.join(name);
                tell(
                    name,
                    if is_directory(entry) {
                        fs::remove_dir(path)
                    } else {
                        fs::remove_file(path)
                    },
                );
            }
        }
        for (name, entry) in &now {
            if self.before.get(name) != Some(entry) && !self.others.iter().any(|other| other == name) {
                tell(name, self.carry(&inside.join(name), &outside.join(name), entry));
            }
        }
        left
    }

    fn carry(&self, from: &Path, to: &Path, entry: &Entry) -> io::Result<()> {
        // Another jail's init, which has the same process id, may be about the same.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let new = to.with_file_name(format!(".httpjail-{}", now.as_nanos()));
        match entry {
            Entry::Directory => return fs::create_dir(to),
            Entry::Link(target) => symlink(target, &new)?,
            Entry::File(..) => {
                let content = without(read(from)?, &self.authority);
                let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
                file.write_all(&content)?;
                file.set_permissions(fs::metadata(from)?.permissions())?;
            }
        }
        fs::rename(&new, to).inspect_err(|_| {
            let _ = fs::remove_file(&new);
        })
    }
}

fn gone(error: io::Error) -> io::Result<()> {
    if error.kind() == io::ErrorKind::NotFound {
        Ok(())
    } else {
        Err(error)
    }
}

/// A directory by its descriptor, whatever is mounted over its name.
fn place(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/.", directory.as_raw_fd()))
}

/// Tells of each name that comes or goes in the copy, and of each file that was written.
fn watch(directory: &Path, content: &Content) -> Option<Inotify> {
    let changes = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).ok()?;
    let flags =
        AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE | AddWatchFlags::IN_CLOSE_WRITE;
    let below = content.iter().filter(|(_, entry)| is_directory(entry));
    let all = below
        .map(|(name, _)| directory.join(name))
        .chain([directory.to_owned()]);
    for directory in all {
        changes.add_watch(&directory, flags).ok()?;
    }
    Some(changes)
}

/// A regular file's content: what a jailed root put in its place is not waited for.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    bytes(file)
}

fn bytes(file: File) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut content)?;
    if content.len() as u64 > MOST_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(content)
}

/// Writes `authority` to the end of a bundle that lacks it.
fn add(bundle: &Path, authority: &[u8]) -> io::Result<()> {
    let content = read(bundle)?;
    if memmem::find(&content, authority.trim_ascii()).is_some() {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .append(true)
        .custom_flags(libc::O_NOFOLLOW)
        .open(bundle)?;
    let line = if content.ends_with(b"\n") || content.is_empty() {
        ""
    } else {
        "\n"
    };
    file.write_all(&[line.as_bytes(), authority.trim_ascii(), b"\n"].concat())
}

/// A text without our authority in it.
fn without(mut content: Vec<u8>, authority: &[u8]) -> Vec<u8> {
    let authority = authority.trim_ascii();
    while let Some(start) = memmem::find(&content, authority).filter(|_| !authority.is_empty()) {
        let end = start + authority.len();
        let end = end + usize::from(content.get(end) == Some(&b'\n'));
        content.drain(start..end);
    }
    content
}
