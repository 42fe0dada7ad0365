//! `--interactive` and `--approve-with`: who is asked about what no rule matches, and in which process.

use std::ffi::OsString;

/// What a program that decides has from httpjail's environment: what it takes to find programs, speak the user's language,
/// and put a window on the user's screen.
const KEPT: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LC_ALL",
    "TZ",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XAUTHORITY",
    "XDG_RUNTIME_DIR",
    "DBUS_SESSION_BUS_ADDRESS",
];

/// Without these no program starts on Windows.
const KEPT_ON_WINDOWS: [&str; 6] = ["SYSTEMROOT", "SYSTEMDRIVE", "PATHEXT", "TEMP", "TMP", "USERPROFILE"];

/// The environment of the program that decides. `login`: what a login would set, where the caller is somebody else.
pub(super) fn environment(login: Vec<(OsString, OsString)>) -> Vec<(OsString, OsString)> {
    let windows: &[&str] = if cfg!(windows) { &KEPT_ON_WINDOWS } else { &[] };
    let kept = KEPT.iter().chain(windows);
    let own = kept.filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)));
    // The last of a name counts.
    own.chain(login).collect()
}

#[cfg(target_os = "linux")]
pub(super) use jailed::{Questions, start};

#[cfg(target_os = "linux")]
mod jailed {
    use std::fs::File;
    use std::io::{self, Read as _};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
    use std::os::unix::net::UnixStream;
    use std::sync::Arc;

    use crate::approve::terminal::{self, Setup, Supervisor};
    use crate::approve::{Program, serve};
    use crate::config::{Approval, Config};
    use crate::failure::Failure;
    use crate::jail::aide::{Aide, Kind, Line, Order, Report};
    use crate::jail::identity::Identity;
    use crate::logging;
    use crate::sys::terminal::Terminal;

    /// The process that answers, and the proxy's way to it.
    pub(crate) struct Questions {
        pub(crate) aide: Aide,
        pub(crate) socket: UnixStream,
    }

    /// Starts the process that is asked, if anybody is. Before the proxy's, which is to inherit one end of the socket alone.
    pub(crate) fn start(config: &Config, caller: &Identity) -> Result<Option<Questions>, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot ask about requests: {error}"));
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let keep = [theirs.as_raw_fd()];
        let aide = match &config.approval {
            Approval::Nobody => return Ok(None),
            Approval::Program(command) => {
                let login = login(caller);
                let program = Program::new(command.clone(), super::environment(login), config.approve_timeout);
                Aide::spawn(Kind::Program, caller, &keep, |_| decide(program, theirs))?
            }
            Approval::Terminal => {
                let terminal = Terminal::open().ok_or_else(|| Failure {
                    hint: Some("--approve-with COMMAND has a program decide".into()),
                    ..Failure::new("--interactive asks at the terminal, and there is none")
                })?;
                let terminal = terminal.into_file();
                let keep = [theirs.as_raw_fd(), terminal.as_raw_fd()];
                let mark = mark().map_err(failed)?;
                if !config.log.quiet {
                    logging::note(&format!(
                        "a question on this terminal is httpjail's if it bears the mark {mark}"
                    ));
                }
                // As it is now: the command cannot have led it elsewhere.
                let policy = config
                    .file
                    .as_deref()
                    .map(std::path::absolute)
                    .transpose()
                    .map_err(failed)?;
                let setup = Setup {
                    terminal,
                    questions: theirs,
                    policy,
                    limit: config.approve_timeout,
                    mark,
                };
                Aide::spawn(Kind::Terminal, caller, &keep, |line| {
                    terminal::run(setup, &Wire(line))
                        .map_err(|error| Failure::new(format!("the terminal failed: {error}")))
                })?
            }
        };
        Ok(Some(Questions { aide, socket: ours }))
    }

    /// The aide's life with `--approve-with`.
    fn decide(program: Program, questions: UnixStream) -> Result<(), Failure> {
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
        fn next(&self) -> io::Result<terminal::Order> {
            let (order, mut descriptors) = self.0.receive_with()?;
            Ok(match order {
                Order::Relay => {
                    let inner = descriptors.pop().ok_or_else(|| io::Error::other("no terminal came"))?;
                    terminal::Order::Relay(inner)
                }
                Order::Suspend => terminal::Order::Suspend,
                Order::Resume => terminal::Order::Resume,
                Order::Finish => terminal::Order::Finish,
            })
        }

        fn done(&self) -> io::Result<()> {
            self.0.send(&Report::Done)
        }
    }
}
