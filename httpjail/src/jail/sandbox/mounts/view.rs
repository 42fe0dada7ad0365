//! Describes the view of the file system that a jail is to have.

use std::path::PathBuf;

use super::additions::Addition;
use super::kept::Kept;
use crate::jail::sandbox::sockets::Outside;

/// A file that the jail sees in place of the host's.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    /// Its name below [`View::place`].
    pub name: String,
    /// What is in it.
    pub content: Vec<u8>,
    /// The host's files that it covers, those that exist.
    pub covers: Vec<PathBuf>,
}

/// Everything that the view needs to know.
#[derive(Debug)]
pub(crate) struct View {
    /// The directory that is covered with the jail's own files ([`crate::jail::sandbox::run_dir::place`]).
    pub place: PathBuf,
    /// Files laid over the host's.
    pub overlays: Vec<Overlay>,
    /// The authority's certificate, as it stands in bundles.
    pub authority: Vec<u8>,
    /// Files that appear where the host has none.
    pub additions: Vec<Addition>,
    /// Unix sockets of the host.
    pub outside: Outside,
    /// Directories that the jail must not see (the authority's key, httpjail's state).
    pub hidden: Vec<PathBuf>,
    /// Files that the command must not change.
    pub kept: Vec<Kept>,
    /// Unix sockets that stay reachable (`--allow-socket`).
    pub allowed: Vec<PathBuf>,
    /// Whether the jail has terminals of its own, and sees none of the host's.
    pub own_terminals: bool,
    /// The command's user and group, who own the directories that stand in for covered ones.
    pub owner: (u32, u32),
}
