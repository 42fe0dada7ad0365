//! What all goals share: the binary, how long to measure, a directory, and what is to be said of the run.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::run::{command, root};

/// One run of the bench.
pub(crate) struct Run {
    /// The httpjail that is measured.
    pub(crate) binary: PathBuf,
    pub(crate) rounds: usize,
    /// A fraction of the work.
    pub(crate) quick: bool,
    /// Also what takes more than ten minutes.
    pub(crate) full: bool,
    scratch: TempDir,
    versions: RefCell<BTreeSet<String>>,
    commands: RefCell<Vec<String>>,
}

/// What the report says beside the figures.
pub(crate) struct Remarks {
    pub(crate) rounds: usize,
    pub(crate) quick: bool,
    pub(crate) versions: Vec<String>,
    pub(crate) commands: Vec<String>,
}

impl Run {
    pub(super) fn new(binary: PathBuf, rounds: usize, quick: bool, full: bool) -> Result<Run> {
        let scratch = tempfile::Builder::new().prefix("httpjail-bench-").tempdir();
        let run = Run {
            binary,
            rounds,
            quick,
            full,
            scratch: scratch.context("make a directory")?,
            versions: RefCell::default(),
            commands: RefCell::default(),
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("read the kernel's version")?;
        run.note_version(format!("kernel {}", kernel.trim()));
        run.note_first_line(&run.binary, "--version");
        Ok(run)
    }

    /// A directory that goes with the run.
    pub(crate) fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// Says what happens now.
    pub(crate) fn say(&self, what: impl AsRef<str>) {
        eprintln!("bench: {}", what.as_ref());
    }

    /// Notes the version of something that takes part.
    pub(crate) fn note_version(&self, version: impl Into<String>) {
        self.versions.borrow_mut().insert(version.into());
    }

    /// Notes the first line of what `program OPTION` says, and gives whether the program is there.
    pub(crate) fn note_first_line(&self, program: impl AsRef<Path>, option: &str) -> bool {
        let program = program.as_ref();
        let Ok(output) = command(&program.to_string_lossy(), [option]).output() else {
            return false;
        };
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        self.note_version(if line.to_lowercase().contains(&name.to_lowercase()) {
            line.to_owned()
        } else {
            format!("{name} {line}")
        });
        true
    }

    /// Notes how `contestant` was started.
    pub(crate) fn note_command(&self, contestant: &str, command: &Command) {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let line: Vec<String> = words.map(|word| word.to_string_lossy().into_owned()).collect();
        let mut line = format!("{contestant}: {}", line.join(" "));
        for (path, short) in [(self.scratch(), "SCRATCH"), (root(), ".")] {
            line = line.replace(&*path.to_string_lossy(), short);
        }
        let mut commands = self.commands.borrow_mut();
        if !commands.contains(&line) {
            commands.push(line);
        }
    }

    /// All that was noted.
    pub(crate) fn remarks(&self) -> Remarks {
        Remarks {
            rounds: self.rounds,
            quick: self.quick,
            versions: self.versions.borrow().iter().cloned().collect(),
            commands: self.commands.borrow().clone(),
        }
    }
}
