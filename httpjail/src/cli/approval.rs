//! `--interactive` and `--approve-with`: who is asked about what no rule matches, and in which process.

#[cfg(target_os = "linux")]
mod held;
#[cfg(target_os = "linux")]
mod line;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::reload::SafeFrom;
use crate::approve::ApproverProgram;
use crate::config::Config;
use crate::failure::Failure;

/// What a program that decides has from httpjail's environment: what it takes to speak the user's language, and to put a
/// window on the user's screen.
const KEPT: [&str; 9] = [
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// What it has besides: nothing that it looks for by itself in places that are the command's to write, the home above all. Python
/// must not take modules from beside its script.
const OWN: [(&str, &str); 3] = [
    ("HOME", "/nonexistent"),
    ("PYTHONNOUSERSITE", "1"),
    ("PYTHONSAFEPATH", "1"),
];

/// Without these no program starts on Windows; elsewhere than on Linux nobody knows which folders are nobody's.
const KEPT_ELSEWHERE: [&str; 7] = [
    "PATH",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "PATHEXT",
    "TEMP",
    "TMP",
    "USERPROFILE",
];

/// From whom what decides must be safe.
#[derive(Debug, Clone, Copy)]
pub(super) enum Holding {
    /// What is not can be held in a jail.
    #[cfg(target_os = "linux")]
    Jail(SafeFrom),
    /// What is not is told of.
    Nothing(SafeFrom),
}

/// The program that decides, and what must be held so that it stays what it is.
pub(super) struct Decider {
    pub(super) program: ApproverProgram,
    /// Files.
    pub(super) held: Vec<PathBuf>,
}

/// Finds the program of `command`. `login`: what a login would set, where the caller is somebody else. Call it with the
/// caller's rights.
///
/// # Errors
/// When it is not there, or cannot be kept from those whom it decides about.
#[cfg(target_os = "linux")]
pub(super) fn decider(
    command: &str,
    config: &Config,
    holding: Holding,
    login: Vec<(OsString, OsString)>,
) -> Result<Decider, Failure> {
    let prepared = held::prepare(command, holding)?;
    if !config.log.quiet {
        prepared
            .warnings
            .iter()
            .for_each(|text| crate::logging::warn(text, None));
    }
    let mut env = environment(login);
    env.push(("PATH".into(), prepared.path));
    Ok(Decider {
        program: ApproverProgram::new(prepared.line, env, config.approve_timeout).at("/".into()),
        held: prepared.held,
    })
}

/// Elsewhere nothing can be held.
#[cfg(not(target_os = "linux"))]
pub(super) fn decider(
    command: &str,
    config: &Config,
    holding: Holding,
    login: Vec<(OsString, OsString)>,
) -> Result<Decider, Failure> {
    // Whoever it is, a mode does not tell what they may write.
    let Holding::Nothing(_guard) = holding;
    Ok(Decider {
        program: ApproverProgram::new(command.to_owned(), environment(login), config.approve_timeout),
        held: Vec::new(),
    })
}

fn environment(login: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let elsewhere: &[&str] = if cfg!(target_os = "linux") {
        &[]
    } else {
        &KEPT_ELSEWHERE
    };
    let kept = KEPT.iter().chain(elsewhere);
    let own = kept.filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    let fixed = OWN.map(|(name, value)| (OsString::from(name), OsString::from(value)));
    // The last of a name counts.
    own.chain(cookie()).chain(login).chain(fixed).collect()
}

/// What opens the user's screen lies in the home, unless it is said where.
fn cookie() -> Option<(OsString, OsString)> {
    let name = "XAUTHORITY";
    std::env::var_os("DISPLAY")?;
    let said = std::env::var_os(name);
    let file = said.or_else(|| Some(std::env::home_dir()?.join(".Xauthority").into_os_string()))?;
    Some((OsStr::new(name).to_owned(), file))
}

/// What is said where the program that decides cannot be held.
pub(super) fn unheld(held: &[PathBuf]) -> Option<String> {
    let first = held.first()?;
    Some(format!(
        "what is decided about can change {}, which decides: without a jail nothing holds it",
        first.display()
    ))
}

#[cfg(target_os = "linux")]
pub(super) use jailed::{Questions, start};

#[cfg(target_os = "linux")]
mod jailed {
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
    use std::os::unix::net::UnixStream;
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::{Decider, Holding};
    use crate::approve::terminal::{self, PolicyFile, Setup, Supervisor};
    use crate::approve::{ApproverProgram, serve};
    use crate::cli::place::Place;
    use crate::config::{Approval, Config};
    use crate::failure::Failure;
    use crate::jail::process::approver::{Aide, Kind, Line, Order, Report};
    use crate::jail::sandbox::user_identity::Identity;
    use crate::logging;
    use crate::sys::terminal::Terminal;

    /// The process that answers, and the proxy's way to it.
    pub(crate) struct Questions {
        pub(crate) aide: Aide,
        pub(crate) socket: UnixStream,
        /// What decides, and must not change while it does.
        pub(crate) held: Vec<PathBuf>,
    }

    /// Starts the process that is asked, if anybody is. Before the proxy's, which is to inherit one end of the socket alone.
    pub(crate) fn start(config: &Config, caller: &Identity, holding: Holding) -> Result<Option<Questions>, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot ask about requests: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let keep = [theirs.as_raw_fd()];
        let mut held = Vec::new();
        let aide = match &config.approval {
            Approval::Nobody => return Ok(None),
            Approval::Program(command) => {
                let login = login(caller);
                let found = caller.act(|| super::decider(command, config, holding, login));
                let Decider { program, held: files } = found.map_err(failed)??;
                held = files;
                Aide::spawn(Kind::Program, caller, &keep, |_| decide(program, theirs))?
            }
            Approval::Terminal => {
                let terminal = Terminal::open().ok_or_else(|| Failure {
                    hint: Some("--approve-with COMMAND has a program decide".into()),
                    ..Failure::new("--interactive asks at the terminal, and there is none")
                })?;
                let terminal = terminal.into_file();
                let mark = mark().map_err(failed)?;
                if !config.log.quiet {
                    logging::note(&format!(
                        "a real question begins with `httpjail {mark}:`; one that does not is the command's"
                    ));
                }
                // As it is now: the command cannot have led it elsewhere.
                let (place, policy) = caller.act(|| policy(config, holding)).map_err(failed)?.unzip();
                let descriptors = [theirs.as_raw_fd(), terminal.as_raw_fd()];
                let keep: Vec<RawFd> = descriptors
                    .into_iter()
                    .chain(place.as_ref().map(Place::descriptor))
                    .collect();
                let setup = Setup {
                    terminal,
                    requests: theirs,
                    policy,
                    limit: config.approve_timeout,
                    mark,
                };
                Aide::spawn(Kind::Terminal, caller, &keep, |line| {
                    let _held = place;
                    terminal::run(setup, &Wire(line))
                        .map_err(|error| Failure::new(format!("the terminal failed: {error}")))
                })?
            }
        };
        Ok(Some(Questions {
            aide,
            socket: ours,
            held,
        }))
    }

    /// The policy file that "always" writes to, and what holds its folder. What is no file (a pipe) has none.
    fn policy(config: &Config, holding: Holding) -> Option<(Place, PolicyFile)> {
        let named = config.file.as_deref()?;
        let real = std::fs::canonicalize(named).ok()?;
        let place = Place::of(&real, &[]).ok()?;
        let (Holding::Jail(guard) | Holding::Nothing(guard)) = holding;
        let text = config.reload.as_ref().and_then(|reload| reload.texts.first());
        let file = PolicyFile {
            name: std::path::absolute(named).ok()?.display().to_string(),
            path: place.path(),
            known: guard
                .look(&real)
                .is_err()
                .then(|| text.map(|(_, text)| text.clone()))
                .flatten(),
        };
        Some((place, file))
    }

    /// The aide's life with `--approve-with`.
    fn decide(program: ApproverProgram, questions: UnixStream) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let served = runtime.and_then(|runtime| runtime.block_on(serve(questions, Arc::new(program))));
        served.map_err(|error| Failure::new(format!("cannot ask the program: {error}")))
    }

    fn login(caller: &Identity) -> Vec<(std::ffi::OsString, std::ffi::OsString)> {
        match caller.switched {
            false => Vec::new(),
            true => vec![
                ("HOME".into(), caller.home.clone().into()),
                ("USER".into(), caller.name.clone().into()),
                ("LOGNAME".into(), caller.name.clone().into()),
            ],
        }
    }

    /// Four digits that a jailed program cannot know.
    fn mark() -> io::Result<String> {
        let mut bytes = [0; 2];
        File::open("/dev/urandom")?.read_exact(&mut bytes)?;
        Ok(format!("{:04x}", u16::from_be_bytes(bytes)))
    }

    /// The supervisor at the other end of the aide's line.
    struct Wire<'a>(&'a Line);

    impl AsFd for Wire<'_> {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }

    impl Supervisor for Wire<'_> {
        fn next(&self) -> io::Result<terminal::TerminalCommand> {
            let (order, mut descriptors) = self.0.receive_with()?;
            Ok(match order {
                Order::Relay => {
                    let inner = descriptors.pop().ok_or_else(|| io::Error::other("no terminal came"))?;
                    terminal::TerminalCommand::Relay(inner)
                }
                Order::Suspend => terminal::TerminalCommand::Suspend,
                Order::Resume => terminal::TerminalCommand::Resume,
                Order::Finish => terminal::TerminalCommand::Finish,
            })
        }

        fn done(&self) -> io::Result<()> {
            self.0.send(&Report::Done)
        }
    }
}
