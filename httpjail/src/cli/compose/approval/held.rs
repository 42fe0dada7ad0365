//! Keeps the program of `--approve-with` out of the command's reach: finds the files that its command line names, once, before the
//! command starts, so that they can be held while it runs.
//!
//! A program that only root can change needs nothing. Any other is laid read-only over itself in the jail, and so is the
//! interpreter that its first line names; the directories above keep their names there. What the program reads besides is its
//! owner's responsibility.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use super::line;
use crate::cli::output::USAGE;
use crate::cli::safe_from::{Holding, SafeFrom};
use crate::failure::Failure;

/// Where root's programs are, where the caller's PATH does not say it.
const ROOTS: [&str; 6] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
];

/// What a system is made of. A command that is root can change it, whatever is done about single files.
const SYSTEM: [&str; 8] = ["/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/opt", "/nix"];

/// Longer first lines are no names of interpreters.
const FIRST_LINE: u64 = 4096;

/// What a program that is run by another is run by, at most so often.
const DEPTH: usize = 3;

/// The line, as it is run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Prepared {
    /// For the shell; files are named so that neither the present folder nor a link of the command's matters.
    pub(crate) line: String,
    /// Where its programs are looked for.
    pub(crate) path: OsString,
    /// Files to hold while the command lives.
    pub(crate) held: Vec<PathBuf>,
    /// What should be said.
    pub(crate) warnings: Vec<String>,
}

/// Finds what `line` names. Call it with the rights of whoever runs it.
///
/// # Errors
/// When what it names is not there, or cannot be held.
pub(crate) fn prepare(line: &str, holding: Holding) -> Result<Prepared, Failure> {
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    let own = std::env::var_os("PATH").unwrap_or_default();
    prepare_at(line, holding, &here, std::env::split_paths(&own).collect())
}

fn prepare_at(line: &str, holding: Holding, here: &Path, own: Vec<PathBuf>) -> Result<Prepared, Failure> {
    let (guard, holds) = match holding {
        Holding::Jail(guard) => (guard, true),
        Holding::Nothing(guard) => (guard, false),
    };
    let mut finder = Finder {
        guard,
        holds,
        roots: roots(guard, &own),
        held: Vec::new(),
    };
    if line.trim().is_empty() {
        return Err(refused("no program is named".into()));
    }
    if line::is_open(line) {
        return Err(refused(format!("`{line}` has a quote that does not end")));
    }
    let (mut others, mut warnings, mut is_first) = (Vec::new(), Vec::new(), true);
    for word in line::words(line) {
        let text = Path::new(&word.text);
        let is_path = word.text.contains('/');
        let is_named = ["./", "../", "/"].iter().any(|start| word.text.starts_with(start));
        let found = if is_named || (is_path && word.is_command) {
            Some(here.join(text))
        } else if word.is_command {
            let found = finder.elsewhere(text, here, &own);
            let begins = word.span.start == line.len() - line.trim_start().len() && line::stands_alone(line, &word);
            if begins && found.is_none() && !finder.knows(text) && !line::SHELLS.contains(&word.text.as_str()) {
                return Err(Failure {
                    hint: Some("name a program by its path, or one that is in PATH".into()),
                    ..refused(format!("`{}` was not found", word.text))
                });
            }
            found
        } else {
            if word.text.contains(['.', '/']) && here.join(text).is_file() {
                let text = text.display();
                warnings.push(format!(
                    "the program that decides runs in /: ./{text} names the {text} that is here"
                ));
            }
            None
        };
        if let Some(found) = found {
            if word.is_command && is_first && !found.exists() {
                return Err(refused(format!("{} is not there", found.display())));
            }
            if let Some(name) = finder.hold(&found, DEPTH)?.filter(|name| name != text) {
                let name = name.into_os_string().into_string();
                let name = name.map_err(|name| refused(format!("{} is not UTF-8", name.display())))?;
                others.push((word.span, name));
            }
        }
        is_first = false;
    }
    let path = std::env::join_paths(&finder.roots).map_err(|error| refused(error.to_string()))?;
    Ok(Prepared {
        line: line::replaced(line, &others),
        path,
        held: finder.held,
        warnings,
    })
}

fn refused(why: String) -> Failure {
    Failure {
        status: USAGE,
        ..Failure::new(format!("--approve-with: {why}"))
    }
}

/// Folders with programs that those whom the guard keeps off cannot change.
fn roots(guard: SafeFrom, own: &[PathBuf]) -> Vec<PathBuf> {
    // Root can change all of them: it is to have its own.
    let guard = match guard {
        SafeFrom::User(0) => SafeFrom::AllBut(0),
        guard => guard,
    };
    let all = own.iter().cloned().chain(ROOTS.map(PathBuf::from));
    let mut roots: Vec<PathBuf> = Vec::new();
    for folder in all.filter(|folder| folder.is_absolute() && folder.is_dir()) {
        let open = fs::metadata(&folder).is_ok_and(|found| found.mode() & 0o022 != 0);
        if !open && !roots.contains(&folder) && guard.look(&folder).is_ok() {
            roots.push(folder);
        }
    }
    roots
}

struct Finder {
    guard: SafeFrom,
    holds: bool,
    roots: Vec<PathBuf>,
    held: Vec<PathBuf>,
}

impl Finder {
    /// Whether it is a program in one of root's folders.
    fn knows(&self, name: &Path) -> bool {
        self.roots.iter().any(|folder| is_program(&folder.join(name)))
    }

    /// A program of the caller's own folders that is in none of root's. A word that is in neither is one of the shell's.
    fn elsewhere(&self, name: &Path, here: &Path, own: &[PathBuf]) -> Option<PathBuf> {
        if self.knows(name) {
            return None;
        }
        let own = own.iter().filter(|folder| !folder.as_os_str().is_empty());
        own.map(|folder| here.join(folder).join(name))
            .find(|path| is_program(path))
    }

    /// Has the file held, if it must be. Returns the name to use for it; none for what is no file.
    fn hold(&mut self, path: &Path, depth: usize) -> Result<Option<PathBuf>, Failure> {
        if path.is_dir() || !path.exists() {
            return Ok(Some(path.to_owned()));
        }
        let Err(why) = self.guard.look(path) else {
            return Ok(Some(path.to_owned()));
        };
        let failed = |error| refused(format!("cannot look at {}: {error}", path.display()));
        let real = fs::canonicalize(path).map_err(failed)?;
        if self.guard == SafeFrom::User(0) && SYSTEM.iter().any(|system| real.starts_with(system)) {
            return Ok(Some(path.to_owned()));
        }
        // A link of the command's to what is root's: by its own name it is safe.
        if self.guard.look(&real).is_ok() {
            return Ok(Some(real));
        }
        let found = fs::metadata(&real).map_err(failed)?;
        if !found.is_file() {
            return Ok(Some(path.to_owned()));
        }
        if found.nlink() > 1 && self.holds {
            let text = format!(
                "{} has a second name (it is a hard link), by which the command could change it: {why}",
                real.display()
            );
            return Err(Failure {
                hint: Some(format!("name a copy of it: cp {0} {0}-copy", real.display())),
                ..refused(text)
            });
        }
        if !self.held.contains(&real) {
            self.held.push(real.clone());
            if let Some(depth) = depth.checked_sub(1) {
                self.hold_interpreter(&real, depth)?;
            }
        }
        Ok(Some(real))
    }

    /// The same for what a script is run by.
    fn hold_interpreter(&mut self, script: &Path, depth: usize) -> Result<(), Failure> {
        let Some(first) = first_line(script) else { return Ok(()) };
        let mut words = first.split([' ', '\t']).filter(|word| !word.is_empty());
        let Some(program) = words.next().map(Path::new) else {
            return Ok(());
        };
        if program.file_name().is_some_and(|name| name == "env") {
            let name = words.find(|word| !word.starts_with('-') && !word.contains('='));
            let Some(name) = name.filter(|name| !name.contains('/')) else {
                return Ok(());
            };
            if !self.roots.iter().any(|folder| is_program(&folder.join(name))) {
                let text = format!("{} is run by {name}, which is in no folder of root's", script.display());
                let hint = format!(
                    "name that too, by its path: --approve-with '/.../{name} {}'",
                    script.display()
                );
                return Err(Failure {
                    hint: Some(hint),
                    ..refused(text)
                });
            }
            return Ok(());
        }
        if self.hold(program, depth)?.is_some_and(|name| name != program) {
            let text = format!(
                "{} is run by {}, and the command could have that name lead elsewhere",
                script.display(),
                program.display()
            );
            return Err(refused(text));
        }
        Ok(())
    }
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// What stands behind `#!`.
fn first_line(script: &Path) -> Option<String> {
    let mut line = Vec::new();
    let file = File::open(script).ok()?.take(FIRST_LINE);
    BufReader::new(file).read_until(b'\n', &mut line).ok()?;
    let line = line.strip_prefix(b"#!")?.trim_ascii();
    Some(
        OsString::from(std::ffi::OsStr::from_bytes(line))
            .to_string_lossy()
            .into_owned(),
    )
}

#[cfg(test)]
mod tests;
