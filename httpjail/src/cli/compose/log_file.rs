//! The request log's file: opened with the right rights, and anew once it has been moved away.

use std::fs::File;
use std::io;
use std::path::Path;

use crate::audit::{LogLocation, open_log, open_log_without_links};
use crate::config::{Config, LogTarget};
use crate::jail::sandbox::user_identity::UserIdentity;

/// Opens the log with the caller's rights first, then as root, for a log in root's own folders. What root opens must not be
/// led elsewhere by links that the user, or a jailed command of an earlier run, has put on the way.
///
/// # Errors
/// Those of `open(2)`.
pub(crate) fn open_log_as(config: &Config, caller: &UserIdentity, path: &Path) -> io::Result<File> {
    let own = if config.user.is_some() && !caller.switched {
        open_log_without_links(path)
    } else {
        caller.act(|| open_log(path)).flatten()
    };
    match own {
        Err(error) if caller.switched && error.kind() == io::ErrorKind::PermissionDenied => {
            open_log_without_links(path)
        }
        opened => opened,
    }
}

/// Opens the log anew as [`open_log_as`] opened it, in the folders that were there before the command was.
pub(crate) struct LogReopener {
    own: Option<LogLocation>,
    roots: Option<LogLocation>,
}

impl LogReopener {
    pub(crate) fn new(config: &Config, caller: &UserIdentity) -> LogReopener {
        let (mut own, mut roots) = (None, None);
        if let LogTarget::File(path) = &config.log.target {
            own = match config.user.is_some() && !caller.switched {
                true => LogLocation::without_links(path).ok(),
                false => caller.act(|| LogLocation::of(path)).flatten().ok(),
            };
            roots = LogLocation::without_links(path).ok().filter(|_| caller.switched);
        }
        LogReopener { own, roots }
    }

    /// Opens the log, with the rights that opened it first.
    ///
    /// # Errors
    /// Those of `open(2)`.
    pub(crate) fn open(&self, caller: &UserIdentity) -> io::Result<File> {
        let own = self.own.as_ref().ok_or(io::ErrorKind::PermissionDenied.into());
        let own = own.and_then(|place| caller.act(|| place.open()).flatten());
        match (own, &self.roots) {
            (Err(error), Some(place)) if error.kind() == io::ErrorKind::PermissionDenied => place.open(),
            (opened, _) => opened,
        }
    }
}
