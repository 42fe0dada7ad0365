//! `--approve-with`: the program that decides, with the environment that it is given.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

#[cfg(target_os = "linux")]
use super::held;
use crate::approve::ApproverProgram;
use crate::cli::safe_from::Holding;
use crate::config::Config;
use crate::failure::Failure;

/// What a program that decides has from httpjail's environment: what it takes to speak the user's language, and to put a
/// window on the user's screen.
const KEPT: [&str; 9] = [
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// What it has besides: nothing that it looks for by itself in places that are the command's to write, the home above all. Python
/// must not take modules from beside its script.
const OWN: [(&str, &str); 3] = [
    ("HOME", "/nonexistent"),
    ("PYTHONNOUSERSITE", "1"),
    ("PYTHONSAFEPATH", "1"),
];

/// Without these no program starts on Windows; elsewhere than on Linux nobody knows which folders are nobody's.
const KEPT_ELSEWHERE: [&str; 7] = [
    "PATH",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "PATHEXT",
    "TEMP",
    "TMP",
    "USERPROFILE",
];

/// The program that decides, and what must be held so that it stays what it is.
pub(crate) struct Decider {
    pub(crate) program: ApproverProgram,
    /// Files.
    pub(crate) held: Vec<PathBuf>,
}

/// Finds the program of `command`. `login`: what a login would set, where the caller is somebody else. Call it with the
/// caller's rights.
///
/// # Errors
/// When it is not there, or cannot be kept from those whom it decides about.
#[cfg(target_os = "linux")]
pub(crate) fn decider(
    command: &str,
    config: &Config,
    holding: Holding,
    login: Vec<(OsString, OsString)>,
) -> Result<Decider, Failure> {
    let prepared = held::prepare(command, holding)?;
    if !config.log.quiet {
        prepared
            .warnings
            .iter()
            .for_each(|text| crate::logging::warn(text, None));
    }
    let mut env = environment(login);
    env.push(("PATH".into(), prepared.path));
    Ok(Decider {
        program: ApproverProgram::new(prepared.line, env, config.approve_timeout).at("/".into()),
        held: prepared.held,
    })
}

/// Elsewhere nothing can be held.
#[cfg(not(target_os = "linux"))]
pub(crate) fn decider(
    command: &str,
    config: &Config,
    holding: Holding,
    login: Vec<(OsString, OsString)>,
) -> Result<Decider, Failure> {
    // Whoever it is, a mode does not tell what they may write.
    let Holding::Nothing(_guard) = holding;
    Ok(Decider {
        program: ApproverProgram::new(command.to_owned(), environment(login), config.approve_timeout),
        held: Vec::new(),
    })
}

fn environment(login: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let elsewhere: &[&str] = if cfg!(target_os = "linux") {
        &[]
    } else {
        &KEPT_ELSEWHERE
    };
    let kept = KEPT.iter().chain(elsewhere);
    let own = kept.filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let fixed = OWN.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    // The last of a name counts.
    own.chain(cookie()).chain(login).chain(fixed).collect()
}

/// What opens the user's screen lies in the home, unless it is said where.
fn cookie() -> Option<(OsString, OsString)> {
    let name = "XAUTHORITY";
    std::env::var_os("DISPLAY")?;
    let said = std::env::var_os(name);
    let file = said.or_else(|| Some(std::env::home_dir()?.join(".Xauthority").into_os_string()))?;
    Some((OsStr::new(name).to_owned(), file))
}

/// What is said where the program that decides cannot be held.
pub(crate) fn unheld(held: &[PathBuf]) -> Option<String> {
    let first = held.first()?;
    Some(format!(
        "what is decided about can change {}, which decides: without a jail nothing holds it",
        first.display()
    ))
}
