//! `exec` in a held container: the engine brings the description of the process, which gets the same treatment as the first one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use serde_json::Value;

use super::state::State;
use crate::cli::compose::environment::PROXIES;
use crate::cli::policy_file;
use crate::failure::Failure;
use crate::oci::capabilities;
use crate::oci::process::set_environment;

/// Rewrites the description, and refuses rights that would undo the hold.
///
/// # Errors
/// What is refused, and what cannot be read or written.
pub(super) fn prepare(state: &State, process: Option<&Path>, asked: &[String]) -> Result<(), Failure> {
    let born = state.born().ok_or_else(|| Failure {
        hint: Some("start the container again with this runtime".into()),
        ..Failure::new("the container is not held by httpjail: it was not created by this runtime")
    })?;
    if let Some((name, why)) = asked.iter().find_map(|name| capabilities::reason(name, false)) {
        return Err(too_strong(&format!("{name}: {why}")));
    }
    let Some(path) = process else {
        return Ok(());
    };
    let mut process = read(path)?;
    // Said rather than done without a word: an engine does not show what a runtime says when all goes well.
    if let Some(first) = capabilities::strip(&mut process, false).first() {
        return Err(too_strong(first));
    }
    set_environment(&mut process, &born.variables, &PROXIES);
    write(path, &process)
}

fn too_strong(what: &str) -> Failure {
    Failure {
        hint: Some("leave `--privileged` and `--cap` away".into()),
        ..Failure::new(format!(
            "a process in a held container cannot have this capability: {what}"
        ))
    }
}

/// Reads a JSON object.
///
/// # Errors
/// When it is none.
pub(super) fn read(path: &Path) -> Result<Value, Failure> {
    let wrong = |error: String| Failure::new(format!("cannot read {}: {error}", path.display()));
    let bytes = policy_file::bytes_of(path).map_err(|error| wrong(error.to_string()))?;
    let value: Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    match value.is_object() {
        true => Ok(value),
        false => Err(wrong("it is no JSON object".into())),
    }
}

/// Writes JSON in the place of a file, all of it or nothing, with the file's permissions.
///
/// # Errors
/// Those of writing.
pub(super) fn write(path: &Path, value: &Value) -> Result<(), Failure> {
    let replace = || -> io::Result<()> {
        let mode = fs::metadata(path)?.permissions().mode() & 0o777;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".httpjail-{}", std::process::id()));
        let beside = path.with_file_name(name);
        let mut file = File::options().write(true).create_new(true).mode(mode).open(&beside)?;
        let written = file
            .write_all(&serde_json::to_vec(value)?)
            .and_then(|()| fs::rename(&beside, path));
        if written.is_err() {
            // The error is that of writing.
            let _ = fs::remove_file(&beside);
        }
        written
    };
    replace().map_err(|error| Failure::new(format!("cannot rewrite {}: {error}", path.display())))
}
