//! `httpjail learn` and `--locked`: what becomes of what a run asked for, once it has ended.
//!
//! The policy file is written with the caller's rights, whole or not at all, and only after the command has ended: in its place
//! there is never a file that the command could have been given to change.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

use crate::backend::RunFindings;
use crate::cli::anchored_path::AnchoredPath;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, usage};
use crate::cli::policy_file;
use crate::config::file::{add_to, document};
use crate::config::{Config, ConfigError, Existing, Learning, Purpose};
use crate::failure::Failure;
use crate::logging;

/// The exit status when `--locked` found something and the command itself was content.
const LOCKED: i32 = 1;

/// How it was before the run.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// The file's text, if rules are to be added to it.
    text: Option<String>,
    /// Where it is written.
    place: Option<AnchoredPath>,
}

/// Looks whether what is learned can be written, before anything runs.
///
/// # Errors
/// When it could not: exit status 2.
pub(crate) fn prepare(config: &Config, caller: &InvokingUser) -> Result<Before, Failure> {
    let Purpose::Learn(Learning { path, existing }) = &config.purpose else {
        return Ok(Before::default());
    };
    if is_stdout(path) {
        return match existing {
            Existing::Extend => Err(usage(ConfigError::Conflict("-o -", "--update"))),
            Existing::Keep | Existing::Replace => Ok(Before::default()),
        };
    }
    let name = path.display();
    let usage = |message: String, hint: Option<&str>| Failure {
        hint: hint.map(str::to_owned),
        status: USAGE,
        ..Failure::new(message)
    };
    let looked = caller.act(|| match fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.is_file())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    });
    match looked.flatten() {
        Err(error) => return Err(usage(format!("cannot look at {name}: {error}"), None)),
        Ok(Some(false)) => {
            let hint = "stdout is the command's; -o FILE names another file";
            return Err(usage(format!("{name} is no regular file"), Some(hint)));
        }
        Ok(Some(true)) if *existing == Existing::Keep => {
            let hint = "--update adds to it, --force replaces it, -o FILE writes to another";
            return Err(usage(format!("{name} is there already"), Some(hint)));
        }
        Ok(Some(true)) if *existing == Existing::Extend => {
            let text = caller.act(|| policy_file::bytes_of(path)).flatten();
            let text = text.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other));
            let text = text.map_err(|error| usage(format!("cannot read {name}: {error}"), None))?;
            return Ok(Before {
                text: Some(text),
                place: Some(writable(path, caller)?),
            });
        }
        Ok(_) => {}
    }
    Ok(Before {
        text: None,
        place: Some(writable(path, caller)?),
    })
}

/// Standard output: for who wants to read it and no file, with a command that writes nothing there.
fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// A file can be made beside it. This one is gone at once.
fn writable(path: &Path, caller: &InvokingUser) -> Result<AnchoredPath, Failure> {
    let made = caller.act(|| {
        // Whom the command runs as must not lead root elsewhere.
        let place = AnchoredPath::of(path, &[caller.user()])?;
        beside(&place.path()).map(|_| place)
    });
    made.flatten().map_err(|error| Failure {
        hint: Some("-o FILE names another file".into()),
        status: USAGE,
        ..Failure::new(format!("cannot write {}: {error}", path.display()))
    })
}

/// Acts on what was found. Returns httpjail's exit status, made from the command's.
///
/// # Errors
/// When it cannot be written; then it is printed, so that the run was not in vain.
pub(crate) fn conclude(
    config: &Config,
    caller: &InvokingUser,
    before: Before,
    findings: &RunFindings,
    status: i32,
) -> Result<i32, Failure> {
    let learning = match &config.purpose {
        Purpose::Work => return Ok(status),
        Purpose::Locked(_) if findings.denied > 0 && status == 0 => return Ok(LOCKED),
        Purpose::Locked(_) => return Ok(status),
        Purpose::Learn(learning) => learning,
    };
    let to_stdout = is_stdout(&learning.path);
    let name = match to_stdout {
        true => Path::new("standard output").display(),
        false => learning.path.display(),
    };
    if before.text.is_some() && findings.learned.is_empty() {
        logging::note(&format!("{name} allows all that was asked for"));
        return Ok(status);
    }
    let new = document(&about(config, findings), &findings.learned);
    let text = match &before.text {
        Some(text) => add_to(text, &findings.learned),
        None => new.clone(),
    };
    let written = text.map_err(io::Error::other).and_then(|text| {
        if to_stdout {
            return io::stdout().write_all(text.as_bytes());
        }
        let replaces = learning.existing != Existing::Keep;
        let place = before.place.as_ref().map(AnchoredPath::path);
        let path = place.as_ref().unwrap_or(&learning.path);
        caller.act(|| write(path, &text, replaces)).flatten()
    });
    if let Err(error) = written {
        // Without a stderr there is nobody to tell.
        let _ = io::stderr().write_all(new.unwrap_or_default().as_bytes());
        return Err(Failure {
            hint: Some("what was learned stands above".into()),
            ..Failure::new(format!("cannot write {name}: {error}"))
        });
    }
    let rules = counted(findings.learned.len() as u64, "rule");
    let requests = counted(findings.requests - findings.left_out, "request");
    let verb = if before.text.is_some() {
        "added to"
    } else {
        "written to"
    };
    logging::note(&format!(
        "{rules} for {requests} {verb} {name}; read it before you trust it"
    ));
    let failed = findings.learned.iter().filter(|rule| rule.failure.is_some()).count();
    if failed > 0 {
        let failed = counted(failed as u64, "rule");
        let text = format!("{failed} for requests of which none got its answer, marked `failed` in {name}");
        logging::warn(&text, Some("take them out if nothing needs them"));
    }
    if findings.left_out > 0 {
        let left_out = counted(findings.left_out, "request");
        logging::warn(
            &format!("{left_out} went to more hosts than are learned, and no rule allows them"),
            None,
        );
    }
    Ok(status)
}

/// What stands at the file's top. Neither a date nor the arguments: it is compared from run to run, and those may be secret.
fn about(config: &Config, findings: &RunFindings) -> Vec<String> {
    let program = Path::new(&config.command.program)
        .file_name()
        .unwrap_or(OsStr::new("a command"));
    let program = program.to_string_lossy();
    let mut about = vec![
        format!(
            "Learned by httpjail from a run of {}.",
            crate::audit::printable(&program)
        ),
        "A request that no rule allows is denied. Read it before you trust it.".to_owned(),
    ];
    if findings.learned.is_empty() {
        about.push("It asked for nothing.".to_owned());
    }
    about
}

/// A new file in the folder of `path`, with the mode that the umask gives.
fn beside(path: &Path) -> io::Result<tempfile::NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let mut builder = tempfile::Builder::new();
    builder.prefix(".httpjail-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let made = builder.tempfile_in(folder.unwrap_or(Path::new(".")));
    // Its words go on with the path of a file that nobody chose.
    made.map_err(|error| {
        let words = error.to_string();
        let own = words.split_once(" at path ").map_or(words.as_str(), |(own, _)| own);
        io::Error::new(error.kind(), own)
    })
}

fn write(path: &Path, text: &str, replaces: bool) -> io::Result<()> {
    let mut file = beside(path)?;
    file.write_all(text.as_bytes())?;
    if replaces {
        if let Ok(found) = fs::symlink_metadata(path) {
            if !found.is_file() {
                return Err(io::Error::other("it is no longer a regular file"));
            }
            file.as_file().set_permissions(found.permissions())?;
        }
        file.persist(path)?;
    } else {
        file.persist_noclobber(path)?;
    }
    Ok(())
}

fn counted(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
