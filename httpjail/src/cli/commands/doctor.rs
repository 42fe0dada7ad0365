//! `httpjail doctor`: which backends work here, and what to do about those that do not.

use crate::cli::backends::{self, Trial};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::print;
use crate::failure::Failure;

/// Prints the table. Returns 0 if a strong backend works, else 1.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn run(caller: &InvokingUser) -> Result<u8, Failure> {
    if let Some(Failure { message, hint, .. }) = host::refusal() {
        return print(&format!("{message}\n{}\n", hint.unwrap_or_default())).map(|_| 1);
    }
    let trials = backends::trials(caller);
    let mut text = String::from("backend  works  how, or why not\n");
    trials.iter().for_each(|trial| text += &row(trial));
    text += &host::advice(caller);
    let strong = trials.iter().find(|trial| trial.is_strong && trial.result.is_ok());
    let taken = strong.or(trials.iter().find(|_| !cfg!(target_os = "linux")));
    text += &taken.map_or("no backend works here that holds the command\n".to_owned(), |trial| {
        format!("--backend auto takes {}\n", trial.name)
    });
    print(&text)?;
    Ok(u8::from(strong.is_none()))
}

fn row(trial: &Trial) -> String {
    let name = trial.name;
    match &trial.result {
        Ok(notes) => format!("{name:<8} yes    {}\n", notes.join("; ")),
        Err(failure) => {
            let mut text = format!("{name:<8} no     {}\n", failure.message.replace('\n', " "));
            if let Some(hint) = &failure.hint {
                text += &format!("                fix: {hint}\n");
            }
            text
        }
    }
}

/// What is to be known of a host that could have jails.
#[cfg(target_os = "linux")]
mod host {
    use nix::unistd::{AccessFlags, access};

    use crate::cli::invoking_user::InvokingUser;
    use crate::failure::Failure;
    use crate::jail::sandbox::nested;
    use crate::jail::sandbox::user_identity::UserIdentity;
    use crate::jail::steering::hints;

    /// Why no backend is tried at all.
    pub(super) fn refusal() -> Option<Failure> {
        nested::is_within().then(nested::refusal)
    }

    pub(super) fn advice(caller: &InvokingUser) -> String {
        let mut text = no_authority(&caller.identity).unwrap_or_default();
        if let Some(path) = hints::beyond_sudo() {
            text += &format!("sudo does not look where this httpjail is: sudo {}\n", path.display());
        }
        text
    }

    /// Each run keeps its authority in the caller's configuration. Where that cannot be written none starts.
    fn no_authority(caller: &UserIdentity) -> Option<String> {
        let folder = caller.config_dir().join("httpjail");
        let nearest = folder.ancestors().find(|folder| folder.exists())?;
        let may = caller
            .act(|| access(nearest, AccessFlags::W_OK | AccessFlags::X_OK))
            .ok()?;
        let error = std::io::Error::from(may.err()?);
        let kept = caller.act(|| std::fs::read(folder.join("ca.key")).is_ok()).ok()?;
        (!kept).then(|| {
            let folder = folder.display();
            format!(
                "each run fails: cannot keep an authority in {folder}: {error}\n                \
                 fix: --ephemeral-ca keeps it in memory\n"
            )
        })
    }
}

/// Only Linux has jails: weak mode needs nothing of the host.
#[cfg(not(target_os = "linux"))]
mod host {
    use crate::cli::invoking_user::InvokingUser;
    use crate::failure::Failure;

    pub(super) fn refusal() -> Option<Failure> {
        None
    }

    pub(super) fn advice(_caller: &InvokingUser) -> String {
        String::new()
    }
}
