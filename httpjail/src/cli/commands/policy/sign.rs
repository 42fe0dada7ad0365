//! `httpjail policy keygen`, `sign` and `verify`.

use std::io;
use std::path::Path;

use jiff::Timestamp;

use super::files;
use crate::cli::args::{Keygen, Sign, Verify};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{USAGE, print, usage};
use crate::config::{ConfigError, file};
use crate::failure::Failure;
use crate::logging;
use crate::policy::{Policy, lint};
use crate::signed::{Signature, SigningKey, Terms, moment};

/// Makes a key. Prints its name.
///
/// # Errors
/// When it cannot be written, or there is one already.
pub(crate) fn keygen(args: &Keygen, caller: &InvokingUser) -> Result<i32, Failure> {
    let key = SigningKey::generate().map_err(Failure::new)?;
    let public = files::beside(&args.file, "pub");
    write(&args.file, 0o600, key.pem().as_bytes(), caller)?;
    write(&public, 0o644, key.public().pem().as_bytes(), caller)?;
    logging::note(&format!(
        "{} signs policies and must stay secret; {} is for the machines that verify them",
        args.file.display(),
        public.display()
    ));
    print(&format!("{}\n", key.public().id()))
}

/// Signs a policy.
///
/// # Errors
/// When there is no such policy or key, or the signature cannot be written.
pub(crate) fn sign(args: &Sign, caller: &InvokingUser) -> Result<i32, Failure> {
    let now = Timestamp::now();
    let wrong = |message: String| Failure {
        status: USAGE,
        ..Failure::new(message)
    };
    let expires = moment(&args.expires, now).map_err(wrong)?;
    if expires <= now {
        return Err(wrong(format!("invalid time `{}`: it is past", args.expires)));
    }
    let policy = files::read("the policy", &args.file, caller)?;
    policy_of(&args.file.display().to_string(), &policy)?;
    let key = files::read("the key", &args.key, caller)?;
    let key = SigningKey::from_pem(&key)
        .map_err(|error| wrong(format!("cannot use the key {}: {error}", args.key.display())))?;
    let terms = Terms {
        serial: args.serial,
        // What is signed within this second counts at once.
        signed: Timestamp::from_second(now.as_second()).unwrap_or(now),
        expires,
    };
    let signature = Signature::make(&key, &policy, terms).to_string();
    let path = args.output.clone().unwrap_or(files::beside(&args.file, "sig"));
    let written = caller.act(|| files::replace(&path, 0o644, signature.as_bytes()));
    written.flatten().map_err(|error| unwritten(&path, &error))?;
    logging::note(&format!(
        "{} has the serial {} until {expires}",
        path.display(),
        args.serial
    ));
    Ok(0)
}

/// Verifies a signature. Prints what it says.
///
/// # Errors
/// When a file cannot be read; with the exit status 1 if the signature does not count.
pub(crate) fn verify(args: &Verify, caller: &InvokingUser) -> Result<i32, Failure> {
    let keys = files::keys(&args.key, caller)?;
    let policy = files::read("the policy", &args.file, caller)?;
    let path = args.signature.clone().unwrap_or(files::beside(&args.file, "sig"));
    let text = files::read("the signature", &path, caller)?;
    let counts = Signature::parse(&text).and_then(|signature| {
        signature.check(&keys, Timestamp::now())?;
        signature.covers(&policy)?;
        Ok(signature)
    });
    let signature = counts.map_err(|error| Failure {
        status: 1,
        ..Failure::new(format!(
            "{} does not count for {}: {error}",
            path.display(),
            args.file.display()
        ))
    })?;
    let Terms {
        serial,
        signed,
        expires,
    } = signature.terms;
    print(&format!(
        "serial {serial}, signed at {signed} by the key {}, counts until {expires}\n",
        signature.key
    ))
}

/// Makes a policy of a text, which must stand alone, and says what is risky in it.
///
/// # Errors
/// When it is no policy.
pub(super) fn policy_of(name: &str, text: &[u8]) -> Result<Policy, Failure> {
    let mut alone = |_: &Path| Err("a policy that is signed cannot take groups from other files".to_owned());
    let read = file::load(name, text.to_vec(), &mut alone);
    let read = read.map_err(|error| usage(ConfigError::File(error)))?;
    let policy = Policy::new(read.rules);
    for warning in read.warnings.into_iter().chain(lint::warnings(&policy)) {
        logging::warn(&warning.message, warning.hint.as_deref());
    }
    Ok(policy)
}

fn write(path: &Path, mode: u32, text: &[u8], caller: &InvokingUser) -> Result<(), Failure> {
    let written = caller.act(|| files::create(path, mode, text)).flatten();
    written.map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure {
        hint: (error.kind() == io::ErrorKind::AlreadyExists)
            .then(|| "a key that others trust is not replaced: name another file".to_owned()),
        ..Failure::new(format!("cannot write {}: {error}", path.display()))
    }
}
