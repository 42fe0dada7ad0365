//! The user of the command, and the user who called httpjail.
//!
//! Under sudo both are the user who called sudo. Started by plain root, the command stays root, without the
//! capabilities that could undo the jail. `--user` names another user for the command only.

use std::ffi::{CString, OsString};
use std::io;
use std::path::PathBuf;

use nix::unistd::{
    Gid, Uid, User, getegid, geteuid, getgrouplist, getgroups, setegid, seteuid, setgroups, setresgid, setresuid,
};

/// A user of this host, with all that a login sets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UserIdentity {
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// All groups, the primary one included.
    pub groups: Vec<Gid>,
    /// Login name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
    /// Whether this is another user than the process's own, so that HOME, USER and LOGNAME must be set.
    pub switched: bool,
}

/// Why a user cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// `SUDO_UID` is not a number.
    #[error("invalid SUDO_UID `{0}`: expected a user id")]
    BadSudoUid(String),
    /// Not in the user database.
    #[error("there is no user `{0}` on this host")]
    NoSuchUser(String),
    /// The user database could not be read.
    #[error("cannot look up user `{0}`: {1}")]
    Lookup(String, io::Error),
}

impl UserIdentity {
    /// Returns the variables that a login would set, if this user is another than the process's.
    pub(crate) fn login_variables(&self) -> Vec<(OsString, OsString)> {
        let names = [
            ("HOME", self.home.as_os_str()),
            ("USER", self.name.as_ref()),
            ("LOGNAME", self.name.as_ref()),
        ];
        let set = names.into_iter().filter(|_| self.switched);
        set.map(|(name, value)| (name.into(), value.to_owned())).collect()
    }

    /// The user who called: sudo's caller, or the process's own user.
    ///
    /// # Errors
    /// When `SUDO_UID` is not a user id.
    pub(crate) fn caller() -> Result<Self, IdentityError> {
        match std::env::var("SUDO_UID") {
            Ok(uid) if geteuid().is_root() => {
                let number: u32 = uid.parse().map_err(|_| IdentityError::BadSudoUid(uid.clone()))?;
                if number == 0 {
                    return Self::own();
                }
                Self::of(&uid, User::from_uid(Uid::from_raw(number)))
            }
            _ => Self::own(),
        }
    }

    /// A user by name or number.
    ///
    /// # Errors
    /// When there is no such user.
    pub(crate) fn named(name: &str) -> Result<Self, IdentityError> {
        match name.parse() {
            Ok(uid) => Self::of(name, User::from_uid(Uid::from_raw(uid))),
            Err(_) => Self::of(name, User::from_name(name)),
        }
    }

    /// The process's own user, with its environment's HOME.
    fn own() -> Result<Self, IdentityError> {
        let uid = geteuid();
        let lookup = |error: nix::Error| IdentityError::Lookup(uid.to_string(), error.into());
        // In a container the number may be all there is.
        let known = User::from_uid(uid).map_err(lookup)?;
        let (name, home) = known.map_or((uid.to_string(), PathBuf::from("/")), |user| (user.name, user.dir));
        Ok(UserIdentity {
            uid,
            gid: getegid(),
            groups: getgroups().map_err(lookup)?,
            name,
            home: std::env::home_dir().filter(|home| home.is_absolute()).unwrap_or(home),
            switched: false,
        })
    }

    fn of(asked: &str, found: nix::Result<Option<User>>) -> Result<Self, IdentityError> {
        let lookup = |error: io::Error| IdentityError::Lookup(asked.to_owned(), error);
        let user = found
            .map_err(|error| lookup(error.into()))?
            .ok_or_else(|| IdentityError::NoSuchUser(asked.to_owned()))?;
        let name = CString::new(user.name.as_str()).map_err(|error| lookup(error.into()))?;
        let groups = getgrouplist(&name, user.gid).map_err(|error| lookup(error.into()))?;
        Ok(UserIdentity {
            uid: user.uid,
            gid: user.gid,
            groups,
            name: user.name,
            home: user.dir,
            switched: true,
        })
    }

    /// The user's configuration directory, where the authority and policies are kept.
    pub(crate) fn config_dir(&self) -> PathBuf {
        let own = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
        own.filter(|dir| !self.switched && dir.is_absolute())
            .unwrap_or_else(|| self.home.join(".config"))
    }

    /// Becomes this user for good, with the whole process. Call it while that has one thread.
    ///
    /// # Errors
    /// When the rights cannot be given up; then the process must end.
    pub(crate) fn settle(&self) -> io::Result<()> {
        if self.switched {
            setgroups(&self.groups)?;
            setresgid(self.gid, self.gid, self.gid)?;
            setresuid(self.uid, self.uid, self.uid)?;
        }
        Ok(())
    }

    /// Runs `work` with this user's rights to files, then restores the process's own.
    ///
    /// Paths that a user names are opened this way: root must not read or write what the user could not. If the rights
    /// cannot be restored, the process ends.
    ///
    /// # Errors
    /// When the rights cannot be changed. Then `work` did not run.
    pub(crate) fn act<T>(&self, work: impl FnOnce() -> T) -> io::Result<T> {
        // After `settle` the process has no other user to become.
        if !self.switched || geteuid() == self.uid {
            return Ok(work());
        }
        let (uid, gid, groups) = (geteuid(), getegid(), getgroups()?);
        setgroups(&self.groups)?;
        let taken = setegid(self.gid).and_then(|()| seteuid(self.uid));
        let result = taken.map(|()| work());
        let back = seteuid(uid)
            .and_then(|()| setegid(gid))
            .and_then(|()| setgroups(&groups));
        if let Err(error) = back {
            // No caller could handle this in another way.
            eprintln!("error: cannot restore httpjail's own credentials: {error}");
            std::process::exit(125);
        }
        Ok(result?)
    }
}
