//! The policy file and those that it takes groups from, read with the rights of the user who named it.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use super::USAGE;
use super::caller::Caller;
use crate::config::ConfigError;
use crate::failure::Failure;
use crate::policy::yaml;

/// More of a file is not read, whatever it is.
const BYTES_MAX: u64 = 64 << 20;

/// The file of `--config`, if there is one.
///
/// # Errors
/// As [`load`].
pub(super) fn named(path: Option<&Path>, caller: &Caller) -> Result<Option<yaml::File>, Failure> {
    path.map(|path| load(path, caller)).transpose()
}

/// Reads the policy file at `path`.
///
/// # Errors
/// When it cannot be read, or is no policy.
pub(super) fn load(path: &Path, caller: &Caller) -> Result<yaml::File, Failure> {
    let name = path.display().to_string();
    let mut read = |path: &Path| {
        caller
            .act(|| bytes_of(path))
            .flatten()
            .map_err(|error| error.to_string())
    };
    let bytes = read(path).map_err(|error| Failure {
        status: USAGE,
        ..Failure::new(format!("cannot read {name}: {error}"))
    })?;
    yaml::load(&name, bytes, &mut read).map_err(|error| super::usage(ConfigError::File(error)))
}

/// A whole file, unless it is too large for one.
pub(super) fn bytes_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(io::Error::other(format!("it is larger than {} MiB", BYTES_MAX >> 20)));
    }
    Ok(bytes)
}
