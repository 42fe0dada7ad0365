//! What is counted while a run goes on, and told at its end: the summary, what was learned, what `--locked` found.
//!
//! It lives where the records are made. In a jail that is the proxy's process, which then knows what it may not write; the
//! supervisor reads the [`RunFindings`] from memory that both share, once that process has ended.

use crate::sync::lock;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::audit::{Decision, EventKind, Record, Summary, SummaryForm, Watcher, printable, redacted};
use crate::backend::RunFindings;
#[cfg(unix)]
use crate::cli::anchored_path::AnchoredPath;
use crate::cli::hints;
use crate::cli::output::USAGE;
use crate::config::{Config, Purpose};
use crate::failure::Failure;
use crate::policy::learn::Learner;

/// Requests that `--locked` names.
const NAMED_MAX: usize = 50;

/// The variable in which GitHub names the file of a step's summary.
const PAGE: &str = "GITHUB_STEP_SUMMARY";

/// Counts.
#[derive(Debug)]
pub(crate) struct RunStats {
    summary: Option<(SummaryForm, Summary)>,
    /// Where the summary goes instead of stderr.
    page: Option<File>,
    learner: Option<Learner>,
    locked: Option<(PathBuf, Denied)>,
}

/// Requests that were denied.
#[derive(Debug, Default)]
struct Denied {
    count: u64,
    /// How often, and by which programs.
    named: BTreeMap<String, (u64, BTreeSet<String>)>,
}

/// The counts of one run, wherever records are made.
#[derive(Debug, Clone)]
pub(crate) struct SharedRunStats(Arc<Mutex<RunStats>>);

impl SharedRunStats {
    /// What this run has to count. Opens the page that a summary goes to, with the rights of whoever calls.
    ///
    /// # Errors
    /// When there is no such page.
    pub(crate) fn new(config: &Config) -> Result<SharedRunStats, Failure> {
        Ok(SharedRunStats(Arc::new(Mutex::new(RunStats {
            summary: config.summary.map(|form| (form, Summary::default())),
            page: page(config)?,
            learner: matches!(config.purpose, Purpose::Learn(_)).then(Learner::default),
            locked: match &config.purpose {
                Purpose::Locked(path) => Some((path.clone(), Denied::default())),
                Purpose::Work | Purpose::Learn(_) => None,
            },
        }))))
    }

    /// What sees every record.
    pub(crate) fn watcher(&self) -> Watcher {
        let stats = self.clone();
        Watcher::new(move |record| stats.lock().see(record))
    }

    /// What is to be said at the end, line by line. Writes the summary to its page, if it has one.
    pub(crate) fn last_words(&self) -> Vec<String> {
        self.lock().last_words()
    }

    /// What was found.
    pub(crate) fn findings(&self) -> RunFindings {
        self.lock().findings()
    }

    fn lock(&self) -> MutexGuard<'_, RunStats> {
        lock(&self.0)
    }
}

fn page(config: &Config) -> Result<Option<File>, Failure> {
    if config.summary != Some(SummaryForm::Github) {
        return Ok(None);
    }
    let usage = |message, hint: &str| Failure {
        hint: Some(hint.to_owned()),
        status: USAGE,
        ..Failure::new(message)
    };
    let Some(path) = std::env::var_os(PAGE).filter(|path| !path.is_empty()) else {
        let hint = "it is set in a step of a workflow; under sudo: sudo --preserve-env=GITHUB_STEP_SUMMARY";
        return Err(usage(format!("--summary=github: {PAGE} is not set"), hint));
    };
    let opened = open_page(Path::new(&path));
    opened.map(Some).map_err(|error| {
        let message = format!("cannot open {}, which {PAGE} names: {error}", path.display());
        usage(message, "--summary needs no file")
    })
}

/// Root follows no link of somebody else's there: it would lead where that somebody could not write.
#[cfg(unix)]
fn open_page(path: &Path) -> io::Result<File> {
    use nix::libc;
    use nix::unistd::geteuid;
    use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};

    let mut options = File::options();
    options.append(true).create(true);
    // What the system itself leads on from there is the caller's own.
    if !geteuid().is_root() || path.starts_with("/dev") {
        return options.open(path);
    }
    let place = AnchoredPath::of(path, &[])?;
    let page = options
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(place.path())?;
    let found = page.metadata()?;
    if !found.is_file() || found.nlink() > 1 {
        return Err(io::Error::other("it is no regular file, or one with a second name"));
    }
    Ok(page)
}

#[cfg(not(unix))]
fn open_page(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).open(path)
}

impl RunStats {
    fn see(&mut self, record: &Record) {
        if let Some((_, summary)) = &mut self.summary {
            summary.add(record);
        }
        let program = || record.comm.as_deref().map(printable);
        let allowed = record.verdict == Some(Decision::Allow) && record.event == EventKind::Request;
        if let (Some(learner), true, None) = (&mut self.learner, allowed, &record.rule)
            && let (Some(method), Some(url)) = (&record.method, &record.url)
        {
            let failure = record.reason.as_deref().filter(|_| record.has_failed()).map(printable);
            learner.see(method, url, program().as_deref(), failure.as_deref());
        }
        if let (Some((_, denied)), true) = (&mut self.locked, record.is_denied_by_policy()) {
            denied.count += 1;
            let (method, url) = (record.method.as_deref(), record.url.as_deref());
            let what = format!(
                "{} {}",
                printable(method.unwrap_or_default()),
                redacted(url.unwrap_or_default())
            );
            if denied.named.len() < NAMED_MAX || denied.named.contains_key(&what) {
                let (times, programs) = denied.named.entry(what).or_default();
                *times += 1;
                programs.extend(program().filter(|_| programs.len() < 4).map(Into::into));
            }
        }
    }

    fn last_words(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some((form, summary)) = &self.summary {
            let text = summary.text(*form);
            match (&mut self.page, form) {
                (Some(page), _) => {
                    // One write: steps that run side by side share the page.
                    if let Err(error) = page.write_all(text.as_bytes()) {
                        lines.push(format!(
                            "warning: cannot write the summary to the file of {PAGE}: {error}"
                        ));
                    }
                }
                (None, SummaryForm::Json) => lines.push(text.trim_end().to_owned()),
                (None, _) => lines.extend(format!("httpjail: {text}").lines().map(str::to_owned)),
            }
        }
        if let Some((file, denied)) = self.locked.as_ref().filter(|(_, denied)| denied.count > 0) {
            lines.push(format!(
                "error: the command asked for what {} does not allow:",
                printable(&file.display().to_string())
            ));
            for (what, (times, programs)) in &denied.named {
                let by: Vec<&str> = programs.iter().map(String::as_str).collect();
                let by = if by.is_empty() {
                    String::new()
                } else {
                    format!(" by {}", by.join(", "))
                };
                let times = if *times == 1 {
                    String::new()
                } else {
                    format!(", {times} times")
                };
                lines.push(format!("  {what}{by}{times}"));
            }
            let more = denied.count - denied.named.values().map(|(times, _)| times).sum::<u64>();
            if more > 0 {
                lines.push(format!("  and {more} more"));
            }
            lines.push(format!("hint: {}", hints::locked(file)));
        }
        lines
    }

    fn findings(&mut self) -> RunFindings {
        let learner = self.learner.take().unwrap_or_default();
        RunFindings {
            requests: learner.requests(),
            left_out: learner.left_out(),
            learned: learner.rules(),
            denied: self.locked.as_ref().map_or(0, |(_, denied)| denied.count),
        }
    }
}

/// Memory that the proxy's process writes its findings to and the supervisor reads them from.
#[cfg(target_os = "linux")]
#[derive(Debug)]
pub(crate) struct SharedFindings(File);

#[cfg(target_os = "linux")]
impl SharedFindings {
    /// More is not read.
    const BYTES_MAX: u64 = 64 << 20;

    /// An empty one. Make it before the fork.
    pub(crate) fn new() -> Result<SharedFindings, Failure> {
        use nix::sys::memfd::{MFdFlags, memfd_create};
        let made = memfd_create("httpjail", MFdFlags::MFD_CLOEXEC);
        made.map(|memory| SharedFindings(memory.into())).map_err(|error| {
            Failure::new(format!(
                "cannot make memory to share with the proxy: {}",
                io::Error::from(error)
            ))
        })
    }

    /// What the fork must not close.
    pub(crate) fn descriptor(&self) -> std::os::fd::RawFd {
        use std::os::fd::AsRawFd as _;
        self.0.as_raw_fd()
    }

    /// Writes them down, in the process that found them.
    pub(crate) fn write(&self, findings: &RunFindings) -> io::Result<()> {
        (&self.0).write_all(&serde_json::to_vec(findings)?)
    }

    /// Reads them, in the other process, once that one has ended. An error if it wrote none to its end.
    pub(crate) fn read(&self) -> io::Result<RunFindings> {
        use std::io::{Read as _, Seek as _};
        let mut bytes = Vec::new();
        let mut file = &self.0;
        file.rewind()?;
        file.take(Self::BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(serde_json::from_slice(&bytes)?)
    }
}

#[cfg(test)]
mod tests;
