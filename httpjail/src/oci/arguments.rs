//! The command line of an OCI runtime, as far as it must be understood: which command, which bundle, which container.
//!
//! runc and crun take options before the command and after it. An option that is not known here is refused: its value could be taken
//! for the command. Go's parser takes one hyphen for two.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use super::refused::Refused;

/// Our own options, before those of the runtime.
const OWN: &str = "httpjail-";
/// Options before the command: with a value, and without.
const GLOBAL_VALUES: &[&str] = &["log", "log-format", "root", "criu", "rootless", "cgroup-manager"];
const GLOBAL_FLAGS: &[&str] = &["debug", "systemd-cgroup", "help", "h", "version", "v"];
/// Those of `create`, `run` and `restore`.
const CREATE_VALUES: &[&str] = &[
    "bundle",
    "b",
    "config",
    "f",
    "console-socket",
    "pid-file",
    "preserve-fds",
    "pidfd-socket",
];
const CREATE_FLAGS: &[&str] = &["no-pivot", "no-new-keyring", "no-subreaper", "detach", "d", "keep"];
/// Those of `exec`.
const EXEC_VALUES: &[&str] = &[
    "additional-gids",
    "apparmor",
    "cap",
    "c",
    "cgroup",
    "console-socket",
    "cwd",
    "env",
    "e",
    "pid-file",
    "pidfd-socket",
    "preserve-fds",
    "process",
    "p",
    "process-label",
    "user",
    "u",
    "g",
];
const EXEC_FLAGS: &[&str] = &["detach", "d", "no-new-privs", "tty", "t", "ignore-paused"];
/// Commands that start no process of a container.
const HARMLESS: &[&str] = &[
    "checkpoint",
    "events",
    "features",
    "help",
    "kill",
    "list",
    "pause",
    "ps",
    "resume",
    "spec",
    "start",
    "state",
    "update",
];

/// What the engine asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    /// The options that are httpjail's own.
    pub own: Own,
    /// Where the runtime keeps its state (`--root`); the same id may be another container elsewhere.
    pub root: Option<OsString>,
    /// What to do.
    pub request: Request,
    /// The command line for the runtime, without our own options.
    pub passed: Vec<OsString>,
}

/// What root chose where the runtime is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Own {
    /// The policy's name.
    pub policy: Option<String>,
    /// The directory with the policies and the table.
    pub directory: Option<PathBuf>,
}

/// A command that concerns us, or another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// `create` or `run`: a container is born.
    Create {
        /// The directory of the bundle.
        bundle: PathBuf,
        /// Its description, if that has another name than usual.
        config: Option<PathBuf>,
        /// The container's id.
        id: String,
    },
    /// `exec`: a process is started in a container.
    Exec {
        /// The container's id.
        id: String,
        /// The description of the process, if there is one.
        process: Option<PathBuf>,
        /// Capabilities that are asked for by themselves.
        capabilities: Vec<String>,
    },
    /// `delete`: a container is gone.
    Delete {
        /// The container's id.
        id: Option<String>,
    },
    /// Anything that starts no process.
    Other,
}

impl Call {
    /// Reads the arguments after the program's name. `name` is what stood behind an `@` in that.
    ///
    /// # Errors
    /// What is not understood, and what a held container cannot have.
    pub(crate) fn read(name: Option<&str>, arguments: Vec<OsString>) -> Result<Call, Refused> {
        let mut own = Own {
            policy: name.map(str::to_owned),
            directory: None,
        };
        let mut words = Words(arguments.into_iter());
        let (mut passed, mut root) = (Vec::new(), None);
        let command = loop {
            let Some(word) = words.next() else {
                return Ok(Call {
                    own,
                    root,
                    request: Request::Other,
                    passed,
                });
            };
            let Some((option, given)) = split(&word) else {
                break word;
            };
            if let Some(ours) = option.strip_prefix(OWN) {
                let value = words.value(&option, given)?;
                own.set(ours, value)?;
                continue;
            }
            passed.push(word.clone());
            if GLOBAL_FLAGS.contains(&option.as_str()) {
                continue;
            }
            if !GLOBAL_VALUES.contains(&option.as_str()) {
                return Err(unknown("the runtime", &option));
            }
            let value = words.value_kept(&option, given, &mut passed)?;
            if option == "root" {
                root = Some(value);
            }
        };
        passed.push(command.clone());
        let (request, rest) = match command.to_str() {
            Some("create" | "run") => create(words, command.to_str().unwrap_or_default())?,
            Some("exec") => exec(words)?,
            Some("delete") => {
                let rest = words.rest();
                let id = rest.iter().rfind(|word| split(word).is_none());
                let id = id.and_then(|id| id.to_str()).map(str::to_owned);
                (Request::Delete { id }, rest)
            }
            Some("restore") => {
                return Err(Refused::new(
                    "a container cannot be restored: its sockets come with it, and no program saw them being made",
                )
                .hint("start the container instead"));
            }
            Some(other) if HARMLESS.contains(&other) => (Request::Other, words.rest()),
            _ => {
                let command = command.to_string_lossy();
                return Err(Refused::new(format!("unknown command `{command}` for an OCI runtime")));
            }
        };
        passed.extend(rest);
        Ok(Call {
            own,
            root,
            request,
            passed,
        })
    }
}

impl Own {
    fn set(&mut self, option: &str, value: OsString) -> Result<(), Refused> {
        match option {
            "policy" => {
                let text = value.to_string_lossy().into_owned();
                self.policy = Some(text);
            }
            "dir" => self.directory = Some(value.into()),
            _ => return Err(unknown("httpjail-runc", &format!("{OWN}{option}"))),
        }
        Ok(())
    }
}

/// Finds the file in which the engine looks for what failed, and whether that is JSON, among the options before the command, also where something else there is not understood: the engine is to be
/// told of that, too.
pub(crate) fn log_of(arguments: &[OsString]) -> Option<(PathBuf, bool)> {
    let (mut log, mut json) = (None, false);
    let mut words = arguments.iter();
    while let Some((option, given)) = words.next().and_then(|word| split(word)) {
        let takes = GLOBAL_VALUES.contains(&option.as_str()) || option.starts_with(OWN);
        let value = given.or_else(|| takes.then(|| words.next().cloned()).flatten());
        match option.as_str() {
            "log" => log = value.map(PathBuf::from),
            "log-format" => json = value.is_some_and(|value| value == "json"),
            _ => {}
        }
    }
    log.map(|path| (path, json))
}

fn create(mut words: Words, command: &str) -> Result<(Request, Vec<OsString>), Refused> {
    let (mut bundle, mut config, mut id, mut rest) = (None, None, None, Vec::new());
    while let Some(word) = words.next() {
        rest.push(word.clone());
        let Some((option, given)) = split(&word) else {
            id = Some(text(&word)?);
            continue;
        };
        if CREATE_FLAGS.contains(&option.as_str()) {
            continue;
        }
        if !CREATE_VALUES.contains(&option.as_str()) {
            return Err(unknown(command, &option));
        }
        let value = words.value_kept(&option, given, &mut rest)?;
        match option.as_str() {
            "bundle" | "b" => bundle = Some(PathBuf::from(value)),
            "config" | "f" => config = Some(PathBuf::from(value)),
            _ => {}
        }
    }
    let request = Request::Create {
        bundle: bundle.unwrap_or_else(|| PathBuf::from(".")),
        config,
        id: id.ok_or_else(|| Refused::new(format!("`{command}` needs a container's id")))?,
    };
    Ok((request, rest))
}

fn exec(mut words: Words) -> Result<(Request, Vec<OsString>), Refused> {
    let (mut id, mut process, mut capabilities, mut rest) = (None, None, Vec::new(), Vec::new());
    while let Some(word) = words.next() {
        rest.push(word.clone());
        // From the container's id on, all belongs to the process.
        let Some((option, given)) = split(&word) else {
            id = Some(text(&word)?);
            break;
        };
        if EXEC_FLAGS.contains(&option.as_str()) {
            continue;
        }
        if !EXEC_VALUES.contains(&option.as_str()) {
            return Err(unknown("exec", &option));
        }
        let value = words.value_kept(&option, given, &mut rest)?;
        match option.as_str() {
            "process" | "p" => process = Some(PathBuf::from(value)),
            "cap" | "c" => capabilities.extend(value.to_string_lossy().split(',').map(str::to_owned)),
            "cgroup" => {
                return Err(
                    Refused::new("`exec --cgroup` could start a process outside of the cgroup that is held")
                        .hint("leave the option away"),
                );
            }
            _ => {}
        }
    }
    rest.extend(words.rest());
    let request = Request::Exec {
        id: id.ok_or_else(|| Refused::new("`exec` needs a container's id"))?,
        process,
        capabilities,
    };
    Ok((request, rest))
}

/// Returns an option's name and the value behind its `=`. `None` for a word that is no option.
fn split(word: &OsStr) -> Option<(String, Option<OsString>)> {
    let bytes = word.as_bytes();
    let option = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    if option.is_empty() {
        return None;
    }
    let (name, value) = match option.iter().position(|byte| *byte == b'=') {
        Some(at) => (&option[..at], Some(OsStr::from_bytes(&option[at + 1..]).to_owned())),
        None => (option, None),
    };
    Some((String::from_utf8_lossy(name).into_owned(), value))
}

fn text(word: &OsStr) -> Result<String, Refused> {
    let text = word.to_str().map(str::to_owned);
    text.ok_or_else(|| Refused::new(format!("{} is no id of a container", word.display())))
}

fn unknown(of: &str, option: &str) -> Refused {
    Refused::new(format!(
        "unknown option `--{option}` of {of}: httpjail-runc passes on only what it knows"
    ))
}

struct Words(std::vec::IntoIter<OsString>);

impl Words {
    fn next(&mut self) -> Option<OsString> {
        self.0.next()
    }

    /// Returns the value of an option that is ours.
    fn value(&mut self, option: &str, given: Option<OsString>) -> Result<OsString, Refused> {
        given
            .or_else(|| self.0.next())
            .ok_or_else(|| Refused::new(format!("`--{option}` needs a value")))
    }

    /// Returns the value of an option, and keeps it for the runtime.
    fn value_kept(
        &mut self,
        option: &str,
        given: Option<OsString>,
        kept: &mut Vec<OsString>,
    ) -> Result<OsString, Refused> {
        if let Some(given) = given {
            return Ok(given);
        }
        let value = self.value(option, None)?;
        kept.push(value.clone());
        Ok(value)
    }

    fn rest(self) -> Vec<OsString> {
        self.0.collect()
    }
}

#[cfg(test)]
mod tests;
