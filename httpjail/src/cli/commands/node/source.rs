//! The node file, and where the policies are that it names.

use std::path::{Path, PathBuf};

use crate::cli::commands::runtime::root::Root;
use crate::cli::output::usage;
use crate::cli::policy_file;
use crate::cli::safe_from::SafeFrom;
use crate::config::ConfigError;
use crate::config::file::node::{self, NodeFile, Policy};
use crate::failure::Failure;

const FILE: &str = "node.yaml";

/// Where the node file is.
pub(super) struct Source {
    pub root: Root,
    pub path: PathBuf,
}

impl Source {
    /// Takes root's directory, and the file in it, or others.
    ///
    /// # Errors
    /// When the directory has another name.
    pub(super) fn new(directory: Option<&Path>, file: Option<&Path>) -> Result<Source, Failure> {
        let root = Root::new(directory)?;
        let path = file.map_or_else(|| root.directory().join(FILE), Path::to_owned);
        Ok(Source { root, path })
    }

    /// Reads the node file.
    ///
    /// # Errors
    /// When another user could have written it, or it is wrong.
    pub(super) fn read(&self) -> Result<NodeFile, Failure> {
        let wrong = |error: String| Failure::new(format!("cannot use {}: {error}", self.path.display()));
        SafeFrom::AllBut(0).look(&self.path).map_err(wrong)?;
        let bytes = policy_file::bytes_of(&self.path).map_err(|error| wrong(error.to_string()))?;
        let file = node::load(&self.path.display().to_string(), bytes);
        file.map_err(|error| usage(ConfigError::File(error)))
    }

    /// Returns the file of a policy, which may not be there.
    pub(super) fn policy(&self, policy: &Policy) -> PathBuf {
        match policy {
            Policy::Named(name) => self.root.directory().join("policies").join(format!("{name}.yaml")),
            Policy::At(path) => path.clone(),
        }
    }
}

/// Checks that nobody but root could have written a policy.
///
/// # Errors
/// When another user could, or there is none.
pub(super) fn check_policy(path: &Path) -> Result<(), Failure> {
    SafeFrom::AllBut(0)
        .look(path)
        .map_err(|error| Failure::new(format!("cannot use the policy {}: {error}", path.display())))
}
