//! The user who called, as far as the parts that run on every system need to know: whose rights open files, and where
//! that user's configuration is.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;

#[cfg(target_os = "linux")]
use crate::cli::{authority_dirs, output::failure};
use crate::failure::Failure;
#[cfg(target_os = "linux")]
use crate::jail::sandbox::user_identity::UserIdentity;

/// The user who called.
#[derive(Debug, Clone)]
pub(crate) struct InvokingUser {
    #[cfg(target_os = "linux")]
    pub(crate) identity: UserIdentity,
}

#[cfg(target_os = "linux")]
impl InvokingUser {
    /// Under sudo the user who called sudo, else the process's own.
    pub(crate) fn find() -> Result<InvokingUser, Failure> {
        let identity = UserIdentity::caller().map_err(failure)?;
        Ok(InvokingUser { identity })
    }

    /// The user's number, where users have one.
    pub(crate) fn user(&self) -> u32 {
        self.identity.uid.as_raw()
    }

    /// Runs `work` with the caller's rights to files.
    pub(crate) fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        self.identity.act(work)
    }

    /// Becomes the caller, for good.
    pub(crate) fn settle(&self) -> Result<(), Failure> {
        let settled = self.identity.settle();
        settled.map_err(|error| Failure::new(format!("cannot become {}: {error}", self.identity.name)))
    }

    /// httpjail's own folder among the caller's configuration.
    pub(crate) fn folder(&self) -> Result<PathBuf, Failure> {
        authority_dirs::folder(&self.identity)
    }

    /// What a login would set, where the caller is somebody else than the process was.
    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        self.identity.login_variables()
    }
}

/// Elsewhere httpjail needs no rights that its caller has not, so there is nobody else to be.
#[cfg(not(target_os = "linux"))]
impl InvokingUser {
    pub(crate) fn find() -> Result<InvokingUser, Failure> {
        Ok(InvokingUser {})
    }

    pub(crate) fn user(&self) -> u32 {
        #[cfg(unix)]
        return nix::unistd::getuid().as_raw();
        #[cfg(not(unix))]
        0
    }

    pub(crate) fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        Ok(work())
    }

    pub(crate) fn settle(&self) -> Result<(), Failure> {
        Ok(())
    }

    /// `~/Library/Application Support/httpjail`, `%APPDATA%\httpjail`, or what XDG says.
    pub(crate) fn folder(&self) -> Result<PathBuf, Failure> {
        let home = std::env::home_dir();
        let base = if cfg!(windows) {
            std::env::var_os("APPDATA").map(PathBuf::from)
        } else if cfg!(target_os = "macos") {
            home.map(|home| home.join("Library/Application Support"))
        } else {
            let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
            own.or_else(|| home.map(|home| home.join(".config")))
        };
        let base = base.filter(|base| base.is_absolute());
        let folder = base.map(|base| base.join("httpjail"));
        folder.ok_or_else(|| Failure {
            hint: Some("--ephemeral-ca keeps the authority in memory".into()),
            ..Failure::new("cannot tell where this user's configuration is kept")
        })
    }

    pub(crate) fn variables(&self) -> Vec<(OsString, OsString)> {
        Vec::new()
    }
}
