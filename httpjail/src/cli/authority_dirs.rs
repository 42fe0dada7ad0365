//! Finds the directories in which users of this host keep their certificate authorities, so that no jail sees one of their keys.
//!
//! A key usually lies below the home that the user database names. It lies elsewhere where HOME, XDG_CONFIG_HOME or a link says so,
//! and a command in a jail could rename such a link. So httpjail remembers these directories below that home, in a directory that
//! jails do not see either: a later run with another environment still knows them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::libc;
use nix::unistd::{Uid, User};

use crate::failure::Failure;
use crate::jail::sandbox::user_identity::UserIdentity;

/// The authority's folder below a home.
const USUAL: &str = ".config/httpjail";
/// What httpjail remembers, below a home.
const STATE: &str = ".local/state/httpjail";
/// The file in it that names the folders that ever held a key, one on a line.
const PLACES: &str = "authorities";
/// More than anybody has.
const PLACES_BYTES: u64 = 64 << 10;
/// What makes a folder one with a key in it.
const KEYS: [&str; 2] = ["ca.key", "weak/ca.key"];

/// The folder of `caller`'s authority, without links on the way. Where every run does not look for it by itself, it is
/// remembered first.
///
/// # Errors
/// When that cannot be remembered.
pub(crate) fn folder(caller: &UserIdentity) -> Result<PathBuf, Failure> {
    let home = home(caller)?;
    let below_home = caller.config_dir().starts_with(&caller.home);
    if below_home
        && caller
            .act(|| fs::symlink_metadata(&caller.home))
            .flatten()
            .is_err_and(|error| is_missing(&error))
    {
        return Err(Failure {
            hint: Some(
                "set HOME to a folder that is there, or keep the authority in memory with --ephemeral-ca".into(),
            ),
            ..Failure::new(format!("the home {} does not exist", caller.home.display()))
        });
    }
    let acted = caller.act(|| {
        let folder = resolved(&caller.config_dir().join("httpjail"))?;
        match folder == resolved(&home)?.join(USUAL) {
            true => Ok(folder),
            false => match remember(&home, &folder) {
                // As in a container whose accounts are not meant for those who run there.
                Err(error) if is_closed(&error) && caller.home != home => remember(&caller.home, &folder),
                done => done,
            }
            .map(|()| folder),
        }
    });
    acted.flatten().map_err(|error| Failure {
        hint: Some("--ephemeral-ca keeps the authority in memory".into()),
        ..Failure::new(format!(
            "cannot remember where the authority is, below {}: {error}",
            home.join(STATE).display()
        ))
    })
}

/// The folders that no jail of `caller` may see in which a command runs as `identity`: theirs, and where that is root
/// everybody's.
///
/// # Errors
/// When it is not known where theirs would be.
pub(crate) fn hidden(caller: &UserIdentity, identity: &UserIdentity) -> Result<Vec<PathBuf>, Failure> {
    let mut homes = BTreeSet::from([home(caller)?, home(identity)?]);
    homes.extend([caller, identity].map(|user| user.home.clone()));
    if identity.uid.is_root() {
        let accounts = fs::read_to_string("/etc/passwd").unwrap_or_default();
        let homes_of_all = accounts.lines().filter_map(|account| account.split(':').nth(5));
        homes.extend(homes_of_all.map(PathBuf::from));
    }
    let mut found = vec![caller.config_dir().join("httpjail")];
    for home in homes.iter().filter(|home| home.is_absolute()) {
        let state = home.join(STATE);
        found.extend(remembered(&state));
        found.extend([home.join(USUAL), state]);
    }
    let real = found.iter().filter_map(|folder| fs::canonicalize(folder).ok());
    let mut real: Vec<PathBuf> = real.filter(|folder| folder.is_dir()).collect();
    real.sort_unstable();
    real.dedup();
    Ok(real)
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Nothing can be written there, by whoever it is.
fn is_closed(error: &io::Error) -> bool {
    [io::ErrorKind::PermissionDenied, io::ErrorKind::ReadOnlyFilesystem].contains(&error.kind())
}

/// The home that does not change with the environment, unless that is all there is.
fn home(user: &UserIdentity) -> Result<PathBuf, Failure> {
    let known = account(user.uid).filter(|home| home.is_dir());
    let own = std::env::var_os("HOME").map(PathBuf::from);
    let own = own.filter(|home| !user.switched && home.is_absolute());
    let home = known.or(own).or_else(|| account(user.uid));
    home.ok_or_else(|| Failure {
        hint: Some("set HOME".into()),
        ..Failure::new(format!(
            "it is not known where the keys of user {} are, to hide them: there is no such account, and HOME is not set",
            user.uid
        ))
    })
}

fn account(uid: Uid) -> Option<PathBuf> {
    let account = User::from_uid(uid).ok().flatten()?;
    Some(account.dir).filter(|home| home.is_absolute())
}

/// The path without links, as far as there is anything.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    let mut missing = Vec::new();
    for above in path.ancestors() {
        match fs::canonicalize(above) {
            Ok(real) => return Ok(missing.iter().rev().fold(real, |path, name| path.join(name))),
            Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(above).is_err() => {
                missing.extend(above.file_name());
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

fn remember(home: &Path, folder: &Path) -> io::Result<()> {
    let state = resolved(home)?.join(STATE);
    let known = places(&state)?;
    if known.iter().any(|known| known == folder) {
        return Ok(());
    }
    if folder.as_os_str().as_bytes().contains(&b'\n') {
        return Err(io::Error::other("its path has a line end in it"));
    }
    DirBuilder::new().recursive(true).mode(0o700).create(&state)?;
    if fs::canonicalize(&state)? != state {
        return Err(io::Error::other("a link leads there, which the command could rename"));
    }
    let mut file = File::options()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(state.join(PLACES))?;
    // In one write: runs may start at the same time.
    file.write_all(&[folder.as_os_str().as_bytes(), b"\n"].concat())
}

/// What is remembered and still has a key in it. A jailed command may have written the file before there was one to hide:
/// whatever it says, folders are hidden, and none without a key.
fn remembered(state: &Path) -> Vec<PathBuf> {
    let known = places(state).unwrap_or_default().into_iter();
    known
        .filter(|folder| folder.is_absolute() && KEYS.iter().any(|key| folder.join(key).is_file()))
        .collect()
}

/// Each place that is remembered, once: a folder that was remembered again and again is still one.
fn places(state: &Path) -> io::Result<Vec<PathBuf>> {
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(state.join(PLACES));
    let mut text = Vec::new();
    match file {
        Ok(file) => file.take(PLACES_BYTES).read_to_end(&mut text)?,
        Err(_) => 0,
    };
    let lines: BTreeSet<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let places = lines.into_iter().map(|line| PathBuf::from(OsStr::from_bytes(line)));
    Ok(places.collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    // Proves: K14.
    #[test]
    fn what_is_remembered_is_found_while_a_key_is_there() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(dir.path()).expect("its path");
        let (one, two) = (home.join("one/httpjail"), home.join("two/httpjail"));
        for folder in [&one, &two, &one] {
            remember(&home, folder).expect("remembered");
        }
        let state = home.join(STATE);
        assert_eq!(remembered(&state), [""; 0].map(PathBuf::from));
        for key in ["one/httpjail/ca.key", "two/httpjail/weak/ca.key"] {
            fs::create_dir_all(home.join(key).parent().expect("a folder")).expect("made");
            fs::write(home.join(key), "").expect("a key");
        }
        assert_eq!(
            remembered(&state).into_iter().collect::<BTreeSet<_>>(),
            BTreeSet::from([one.clone(), two])
        );
        // Known already: nothing is added.
        let size = || fs::metadata(state.join(PLACES)).expect("the file").len();
        let before = size();
        remember(&home, &one).expect("remembered");
        assert_eq!(size(), before);
    }

    // Proves: K14.
    #[test]
    fn what_could_be_led_elsewhere_remembers_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(dir.path()).expect("its path");
        fs::create_dir(home.join("elsewhere")).expect("a folder");
        symlink("elsewhere", home.join(".local")).expect("a link");
        let error = remember(&home, &home.join("x")).expect_err("refused");
        assert!(error.to_string().contains("a link leads there"), "{error}");
    }

    #[test]
    fn a_path_is_resolved_as_far_as_it_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let home = fs::canonicalize(dir.path()).expect("its path");
        fs::create_dir(home.join("real")).expect("a folder");
        symlink("real", home.join("link")).expect("a link");
        symlink("nowhere", home.join("dangling")).expect("a link");
        let at = |path: &str| resolved(&home.join(path));
        assert_eq!(at("link/a/b").expect("resolved"), home.join("real/a/b"));
        assert!(at("dangling/a").is_err());
    }
}
