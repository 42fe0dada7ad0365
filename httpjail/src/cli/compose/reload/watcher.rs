//! Looks at the policy file and reads it anew.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::rights::{Change, Rights};
use crate::cli::policy_file::bytes_of;
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::config::file;
#[cfg(target_os = "linux")]
use crate::jail::supervisor::policy_watch::PolicyWatch;

/// What a file looks like from outside; none if it is not there.
type Stamp = Option<(u64, SystemTime, Option<Inode>)>;
/// Device, number, time of the last change of whatever kind.
type Inode = (u64, u64, i64, i64);

/// Looks after a policy file.
#[derive(Debug)]
pub(crate) struct Watcher<R> {
    rights: R,
    guard: SafeFrom,
    /// As it was named.
    name: String,
    /// What is in force.
    texts: Vec<(PathBuf, String)>,
    /// The files that were tried to read the last time.
    files: BTreeSet<PathBuf>,
    /// How they looked when they were last read.
    known: Vec<Stamp>,
    /// How they looked at the last look, if that was new.
    fresh: Option<Vec<Stamp>>,
    /// It was not safe at the start.
    asleep: bool,
}

impl<R: Rights> Watcher<R> {
    /// Looks after the policy file of this configuration, if there is one. If somebody could write it whom the guard keeps
    /// off, it is read again on demand at most, once that has changed.
    pub(crate) fn new(config: &Config, guard: SafeFrom, rights: R) -> Option<Watcher<R>> {
        let reload = config.reload.as_ref()?;
        let (name, _) = reload.texts.first()?;
        let mut watcher = Watcher {
            rights,
            guard,
            name: name.display().to_string(),
            texts: reload.texts.clone(),
            files: reload.texts.iter().map(|(path, _)| path.clone()).collect(),
            // Read once more at the first look, for what has changed since the start.
            known: Vec::new(),
            fresh: None,
            asleep: false,
        };
        if let Err(error) = watcher.guarded() {
            tracing::info!("changes of the policy file are not seen: {error}");
            watcher.asleep = true;
        }
        Some(watcher)
    }

    /// What is new, if anything is and it has settled.
    pub(crate) fn look(&mut self) -> Option<Change> {
        if self.asleep {
            return None;
        }
        let now = self.stamps();
        if now == self.known {
            self.fresh = None;
            return None;
        }
        if self.fresh.as_ref() != Some(&now) {
            self.fresh = Some(now);
            return None;
        }
        let change = self.read();
        match &change {
            Ok(texts) if *texts == self.texts => return None,
            Ok(texts) => self.texts.clone_from(texts),
            Err(_) => {}
        }
        Some(change)
    }

    /// What is there, new or not.
    pub(crate) fn demand(&mut self) -> Change {
        let change = self.read();
        if let Ok(texts) = &change {
            self.texts.clone_from(texts);
        }
        change
    }

    /// Reads all files, and remembers how they looked.
    fn read(&mut self) -> Change {
        let mut tried = BTreeSet::from([PathBuf::from(&self.name)]);
        let mut read = |path: &Path| {
            tried.insert(path.to_owned());
            let bytes = self.rights.act(|| match fs::metadata(path)?.is_file() {
                true => bytes_of(path),
                // A pipe would keep us waiting.
                false => Err(io::Error::other("it is no regular file")),
            });
            bytes.flatten().map_err(|error| error.to_string())
        };
        let main = read(Path::new(&self.name)).map_err(|error| format!("cannot read {}: {error}", self.name));
        let loaded = main.and_then(|main| {
            file::load(&self.name, main, &mut read).map_err(|error| match &error.hint {
                Some(hint) => format!("{error}\nhint: {hint}"),
                None => error.to_string(),
            })
        });
        self.files = tried;
        self.known = self.stamps();
        self.fresh = None;
        // After reading: what was read is what is guarded now, or it is not taken.
        let guarded = self.guarded();
        let texts = loaded?.texts;
        guarded?;
        self.asleep = false;
        Ok(texts)
    }

    fn guarded(&self) -> Result<(), String> {
        let checked = self
            .rights
            .act(|| self.files.iter().try_for_each(|file| self.guard.check(file)));
        checked.map_err(|error| error.to_string())?
    }

    fn stamps(&self) -> Vec<Stamp> {
        let stamps = self.rights.act(|| self.files.iter().map(|file| stamp(file)).collect());
        stamps.unwrap_or_default()
    }
}

#[cfg(target_os = "linux")]
impl<R: Rights> PolicyWatch for Watcher<R> {
    fn look(&mut self) -> Option<Change> {
        Watcher::look(self)
    }

    fn demand(&mut self) -> Change {
        Watcher::demand(self)
    }
}

fn stamp(path: &Path) -> Stamp {
    let found = fs::metadata(path).ok()?;
    #[cfg(unix)]
    let inode = {
        use std::os::unix::fs::MetadataExt as _;
        Some((found.dev(), found.ino(), found.ctime(), found.ctime_nsec()))
    };
    #[cfg(not(unix))]
    let inode = None;
    Some((found.len(), found.modified().ok()?, inode))
}
