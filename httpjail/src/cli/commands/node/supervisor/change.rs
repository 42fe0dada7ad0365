//! What changes by a signal: the node file is read again, or everything is let go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Supervisor;
use crate::cli::commands::node::child::{Child, State};
use crate::cli::commands::node::parents;
use crate::failure::Failure;
use crate::jail::attach::closed::Closed;
use crate::jail::attach::{self, is_at};
use crate::logging;

/// How long all children together may take to end.
const END_LIMIT: Duration = Duration::from_secs(60);

impl Supervisor {
    /// Reads the node file again. If it is wrong, or closes what must not be closed, the old one stays in force.
    pub(super) fn reload(&mut self) {
        let read = self.source.read().and_then(|file| {
            parents::check(&file, &self.mount)?;
            parents::close(&file, &self.mount, &self.closer)?;
            Ok(file)
        });
        let file = match read {
            Ok(file) => file,
            Err(failure) => {
                self.figures.reload_failures += 1;
                let text = format!("{failure}; what was in force before stays so");
                return logging::warn(&text, failure.hint.as_deref());
            }
        };
        let kept = parents::paths(&file, &self.mount);
        let gone: Vec<PathBuf> = parents::paths(&self.file, &self.mount)
            .into_iter()
            .filter(|path| !kept.contains(path))
            .collect();
        self.file = file;
        self.figures.reloads += 1;
        // They look at their policy files, and those that wait do so no more.
        for child in self.children.values_mut() {
            child.signal(Signal::SIGHUP);
            child.hurry();
        }
        // What is still wanted below one that is closed no more is closed by itself first.
        let opened = Closed::all().into_iter().filter(|closed| gone.contains(&closed.cgroup));
        for closed in opened {
            for child in self.children.values().filter(|child| child.state != State::Leaving) {
                if let Some((path, _)) = child
                    .cgroup
                    .as_ref()
                    .filter(|(path, _)| path.starts_with(&closed.cgroup))
                    && let Err(failure) =
                        attach::Target::open(path).and_then(|target| self.closer.close(&target, false))
                {
                    logging::warn(&failure.to_string(), failure.hint.as_deref());
                }
            }
            self.open(&closed);
        }
        self.say(&format!(
            "has read {} again: {} jails",
            self.source.path.display(),
            self.file.jails.len()
        ));
    }

    /// Opens what a child has held that is wanted no more.
    pub(super) fn finish(&self, child: &Child) {
        let Some((path, id)) = &child.cgroup else { return };
        if !is_at(path, *id) {
            return;
        }
        if let Err(failure) = attach::detach(Some(path)) {
            logging::warn(&failure.to_string(), failure.hint.as_deref());
        }
        Closed::all()
            .iter()
            .filter(|closed| closed.id == *id && !parents::paths(&self.file, &self.mount).contains(&closed.cgroup))
            .for_each(|closed| self.open(closed));
        logging::note(&format!("{} is held no more", child.wanted.title));
    }

    pub(super) fn open(&self, closed: &Closed) {
        match closed.open() {
            Ok(()) => self.say(&format!("closes {} no more", closed.cgroup.display())),
            Err(failure) => logging::warn(&failure.to_string(), failure.hint.as_deref()),
        }
    }

    /// Lets go of everything, children first.
    pub(super) fn let_all_go(mut self) -> Result<(), Failure> {
        self.say("lets go of everything that it holds");
        self.children.values_mut().for_each(Child::leave);
        let late = Instant::now() + END_LIMIT;
        while self.children.values().any(|child| child.pid().is_some()) && Instant::now() < late {
            self.wait()
                .map_err(|error| Failure::new(format!("cannot wait: {error}")))?;
            self.children.values_mut().for_each(|child| drop(child.reap()));
        }
        for child in std::mem::take(&mut self.children).into_values() {
            self.finish(&child);
        }
        Closed::all().iter().for_each(|closed| self.open(closed));
        let left: Vec<String> = Closed::all()
            .iter()
            .map(|closed| closed.cgroup.display().to_string())
            .collect();
        match left.is_empty() {
            true => Ok(()),
            false => Err(Failure::new(format!("these stay closed: {}", left.join(", ")))),
        }
    }
}
