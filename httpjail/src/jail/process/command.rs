//! The command: its description, and the steps from a fork of the jail's init to `execve`.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Gid, Pid, Uid, access, dup2_stderr, dup2_stdin, dup2_stdout, execve, getpid, setpgid};

use super::surroundings;
use super::working_directory::WorkingDirectory;
use crate::jail::protocol::command::{CommandEnd, CommandEvent, StartFailure};
use crate::jail::protocol::init::Taken;
use crate::jail::protocol::pool::Surroundings;
use crate::jail::protocol::words;
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::rights;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::sys::fds;
use crate::sys::terminal::Terminal;

/// What to run, and as which user.
#[derive(Debug)]
pub(crate) struct JailedCommand {
    /// The program and its arguments; never empty.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// Where it starts.
    pub working_directory: WorkingDirectory,
    /// The user that it runs as.
    pub identity: UserIdentity,
    /// Inherited pipes that it keeps besides 0, 1 and 2.
    pub pipes: Vec<i32>,
    /// What it has of a caller who is not its parent.
    pub lent: Option<Lent>,
}

/// What who took the jail from a pool has given, besides the standard descriptors.
#[derive(Debug)]
pub(crate) struct Lent {
    surroundings: Surroundings,
    /// In the order of their numbers in the surroundings.
    pipes: Vec<OwnedFd>,
}

impl JailedCommand {
    /// Makes the command of who took the jail, and puts the three standard descriptors in the place of this process's own.
    ///
    /// # Errors
    /// `InvalidData` when something is missing; those of the system calls.
    pub(super) fn taken(&self, taken: Taken, descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let missing = || io::Error::new(io::ErrorKind::InvalidData, "a part of the command is missing");
        let mut descriptors = descriptors.into_iter();
        let mut next = || descriptors.next().ok_or_else(missing);
        let mut words = words::read(next()?)?.into_iter();
        dup2_stdin(next()?)?;
        dup2_stdout(next()?)?;
        dup2_stderr(next()?)?;
        let pipes: Vec<OwnedFd> = descriptors.collect();
        let home = PathBuf::from(words.next().ok_or_else(missing)?);
        let path = PathBuf::from(words.next().ok_or_else(missing)?);
        let argv: Vec<OsString> = words.by_ref().take(taken.arguments).collect();
        if argv.is_empty() || argv.len() != taken.arguments || pipes.len() != taken.surroundings.pipes.len() {
            return Err(missing());
        }
        let env = words.map(|word| {
            let mut parts = word.as_bytes().splitn(2, |byte| *byte == b'=');
            let mut part = || OsStr::from_bytes(parts.next().unwrap_or_default()).to_owned();
            (part(), part())
        });
        let env = env.collect();
        let identity = UserIdentity {
            uid: Uid::from_raw(taken.uid),
            gid: Gid::from_raw(taken.gid),
            groups: taken.groups.into_iter().map(Gid::from_raw).collect(),
            name: taken.uid.to_string(),
            home,
            switched: taken.changes_user,
        };
        Ok(JailedCommand {
            argv,
            env,
            working_directory: self.working_directory.instead(path, taken.directory, &identity),
            identity,
            pipes: Vec::new(),
            lent: Some(Lent {
                surroundings: taken.surroundings,
                pipes,
            }),
        })
    }

    /// Closes what only the command may hold, in the process that has started it.
    pub(super) fn let_go(&mut self) {
        if let Some(lent) = &mut self.lent {
            lent.pipes.clear();
        }
        for pipe in &self.pipes {
            let _ = nix::unistd::close(*pipe);
        }
    }

    /// The highest number of its pipes.
    pub(super) fn last_pipe(&self) -> RawFd {
        let lent = self.lent.iter().flat_map(|lent| &lent.surroundings.pipes);
        lent.copied().max().unwrap_or(0)
    }

    /// Gives up every right and becomes the command. Returns only if that fails. With `watched`, init makes the command's
    /// connections to Unix sockets.
    pub(crate) fn start(
        &mut self,
        filter: &Filter,
        terminal: Option<&Terminal>,
        watched: Option<&CommandEnd>,
    ) -> StartFailure {
        match self.prepare(filter, terminal, watched) {
            Ok((argv, env)) => self.exec(&argv, &env),
            Err(error) => StartFailure::Jail(error.to_string()),
        }
    }

    fn prepare(
        &mut self,
        filter: &Filter,
        terminal: Option<&Terminal>,
        watched: Option<&CommandEnd>,
    ) -> io::Result<(Vec<CString>, Vec<CString>)> {
        let argv = self
            .argv
            .iter()
            .map(|word| Ok(CString::new(word.as_bytes())?))
            .collect::<io::Result<Vec<_>>>()?;
        let mut env = self.env.iter().map(variable).collect::<io::Result<Vec<_>>>()?;
        // A group of its own: signals by process group do not stop at a PID namespace, and `kill(0, 9)` in the jail would
        // reach the supervisor and its neighbors in a pipeline.
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        if let Some(terminal) = terminal {
            terminal.give_to(getpid())?;
        }
        default_signals()?;
        if let Some(lent) = &self.lent {
            surroundings::take(&lent.surroundings)?;
        }
        let entered = self.working_directory.enter();
        rights::give_up(&self.identity)?;
        if !entered && let Some(place) = self.working_directory.enter_as_user()? {
            // A shell would use the caller's PWD as its own.
            env.retain(|variable| !variable.as_bytes().starts_with(b"PWD="));
            env.push(variable(&("PWD".into(), place.into()))?);
        }
        fds::keep_across_exec(&self.pipes)?;
        filter.install()?;
        if let Some(channel) = watched {
            let listener = filter.watch()?;
            channel.send_with(&CommandEvent::Watched, &[listener.as_raw_fd()])?;
            channel.receive()?;
        }
        if let Some(lent) = &mut self.lent {
            let numbers = lent.surroundings.pipes.iter().copied();
            fds::place(std::mem::take(&mut lent.pipes).into_iter().zip(numbers).collect())?;
            // Last: what comes before needs descriptors and memory.
            surroundings::limit(&lent.surroundings)?;
        }
        Ok((argv, env))
    }

    fn exec(&self, argv: &[CString], env: &[CString]) -> StartFailure {
        let mut failure = StartFailure::NotFound;
        for path in self.candidates() {
            let Ok(program) = CString::new(path.into_os_string().into_vec()) else {
                continue;
            };
            let Err(error) = execve(&program, argv, env);
            match error {
                Errno::ENOENT | Errno::ENOTDIR => {
                    // A script whose interpreter is missing is ENOENT too, though the file is there.
                    if access(program.as_c_str(), nix::unistd::AccessFlags::F_OK).is_ok() {
                        return StartFailure::NotExecutable(error as i32);
                    }
                }
                Errno::ENOEXEC => return by_shell(&program, argv, env),
                _ => failure = StartFailure::NotExecutable(error as i32),
            }
        }
        failure
    }

    /// Where the program may be: as named if the name has a slash, else along the command's own PATH (execvp(3)).
    fn candidates(&self) -> Vec<PathBuf> {
        let program = &self.argv[0];
        if program.as_bytes().contains(&b'/') {
            return vec![program.into()];
        }
        let path = self
            .env
            .iter()
            .find(|(name, _)| name == "PATH")
            .map(|(_, value)| value.as_os_str());
        let path = path.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
        let directories = path.as_bytes().split(|byte| *byte == b':').map(OsStr::from_bytes);
        directories
            .map(|directory| {
                PathBuf::from(if directory.is_empty() {
                    OsStr::new(".")
                } else {
                    directory
                })
                .join(program)
            })
            .collect()
    }
}

/// A script without an interpreter line goes to the shell (execvp(3)).
fn by_shell(program: &CString, argv: &[CString], env: &[CString]) -> StartFailure {
    let mut words = vec![c"/bin/sh".to_owned(), program.clone()];
    words.extend(argv.iter().skip(1).cloned());
    let Err(error) = execve(c"/bin/sh", &words, env);
    StartFailure::NotExecutable(error as i32)
}

fn variable((name, value): &(OsString, OsString)) -> io::Result<CString> {
    Ok(CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())?)
}

/// Restores what a program expects: no signal blocked, and none ignored except those that the caller ignored (Rust
/// ignores SIGPIPE, the supervisor SIGXFSZ).
fn default_signals() -> io::Result<()> {
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    crate::sys::clone::set_action(Signal::SIGPIPE, &default)?;
    crate::sys::clone::set_action(Signal::SIGXFSZ, &default)?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)?;
    Ok(())
}
