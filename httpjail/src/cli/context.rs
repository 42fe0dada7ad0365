//! What a run is about, for all who take part in it.

use crate::cli::invoking_user::InvokingUser;
use crate::config::Config;

/// A run, and the user who called.
#[derive(Debug)]
pub(crate) struct RunContext {
    /// What was asked for.
    pub(crate) config: Config,
    /// Who asked for it.
    pub(crate) caller: InvokingUser,
}

/// What a run knows of the file descriptors that it inherited. Only a jail asks.
#[cfg(target_os = "linux")]
pub(crate) type Inherited = crate::jail::sandbox::stdio::Inherited;
#[cfg(not(target_os = "linux"))]
pub(crate) type Inherited = ();
