//! What root says of containers: the directory `/etc/httpjail`, with the table, the policies and the authority.
//!
//! The authority is the machine's, not root's own: what a container trusts is known to whoever starts containers.

use std::fs;
use std::path::{Path, PathBuf};

use crate::cli::output::failure;
use crate::cli::policy_file;
use crate::cli::safe_from::SafeFrom;
use crate::failure::Failure;
use crate::oci::refused::Refused;
use crate::oci::table::{Table, check_name};
use crate::tls::CertificateAuthority;
use crate::tls::store::load_or_create;

/// Where everything is that root says.
const DIRECTORY: &str = "/etc/httpjail";
/// The last part of its path, by which an attachment finds the authority in it.
const NAME: &str = "httpjail";
const TABLE: &str = "runtime.yaml";

/// The runtimes that are known to run a container as processes of this kernel, in cgroups of it.
const RUNTIMES: [&str; 2] = ["runc", "crun"];
/// Where they are looked for. Absolute: an inherited PATH does not choose what root runs.
const PLACES: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// The directory.
#[derive(Debug, Clone)]
pub(in crate::cli::commands) struct Root(PathBuf);

impl Root {
    /// Takes the usual directory, or another one.
    ///
    /// # Errors
    /// When that has another name.
    pub(in crate::cli::commands) fn new(named: Option<&Path>) -> Result<Root, Failure> {
        let directory = named.unwrap_or(Path::new(DIRECTORY));
        match directory.is_absolute() && directory.file_name().is_some_and(|name| name == NAME) {
            true => Ok(Root(directory.to_owned())),
            false => Err(Failure::new(format!(
                "invalid directory {}: expected an absolute path that ends in `/{NAME}`",
                directory.display()
            ))),
        }
    }

    /// Returns the directory.
    pub(in crate::cli::commands) fn directory(&self) -> &Path {
        &self.0
    }

    /// Returns the directory above, which stands for a user's configuration.
    pub(in crate::cli::commands) fn above(&self) -> &Path {
        self.0.parent().unwrap_or(Path::new("/"))
    }

    /// Reads the table; an empty one, if there is none.
    ///
    /// # Errors
    /// When another user could have written it, or it is wrong.
    pub(super) fn table(&self) -> Result<Table, Failure> {
        let path = self.0.join(TABLE);
        if fs::symlink_metadata(&path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            return Ok(Table::default());
        }
        let wrong = |error: String| Failure::new(format!("cannot use {}: {error}", path.display()));
        SafeFrom::AllBut(0).look(&path).map_err(wrong)?;
        let text = policy_file::bytes_of(&path).map_err(|error| wrong(error.to_string()))?;
        Table::parse(&text).map_err(wrong)
    }

    /// Returns the file of a policy.
    ///
    /// # Errors
    /// When there is none, or another user could have written it.
    pub(super) fn policy(&self, name: &str) -> Result<PathBuf, Failure> {
        check_name(name).map_err(refusal)?;
        let path = self.0.join("policies").join(format!("{name}.yaml"));
        SafeFrom::AllBut(0).look(&path).map_err(|error| Failure {
            hint: Some(format!("write the policy as root: {}", path.display())),
            ..Failure::new(format!("cannot use the policy `{name}`: {error}"))
        })?;
        Ok(path)
    }

    /// Loads the authority that containers trust, or makes it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub(super) fn authority(&self) -> Result<CertificateAuthority, Failure> {
        load_or_create(&self.0, None).map_err(|error| Failure {
            hint: Some(error.hint()),
            ..failure(&error)
        })
    }
}

/// Finds the runtime that does the work.
///
/// # Errors
/// When there is none, or the table names one that cannot be held.
pub(super) fn runtime(table: &Table) -> Result<PathBuf, Failure> {
    let Some(named) = &table.runtime else {
        let found = RUNTIMES
            .iter()
            .flat_map(|name| PLACES.iter().map(move |place| Path::new(place).join(name)));
        return found.into_iter().find(|path| path.is_file()).ok_or_else(|| Failure {
            hint: Some(format!("install runc, or name a runtime in {DIRECTORY}/{TABLE}")),
            ..Failure::new("there is no runc and no crun")
        });
    };
    let real = fs::canonicalize(named)
        .map_err(|error| Failure::new(format!("cannot find the runtime {}: {error}", named.display())))?;
    if !real
        .file_name()
        .is_some_and(|name| RUNTIMES.iter().any(|known| name == *known))
    {
        return Err(Failure {
            hint: Some("name runc or crun".into()),
            ..Failure::new(format!(
                "the runtime {} cannot be held: a sandbox with a network stack of its own (gVisor, Kata) sends packets that pass no \
                 program of a cgroup",
                real.display()
            ))
        });
    }
    SafeFrom::AllBut(0)
        .look(&real)
        .map_err(|error| Failure::new(format!("cannot use the runtime {}: {error}", real.display())))?;
    Ok(real)
}

/// A refusal as what ends this process.
pub(super) fn refusal(refused: Refused) -> Failure {
    Failure {
        hint: refused.hint,
        ..Failure::new(refused.message)
    }
}
