//! The process that is asked about what no rule matches: at the terminal, or by a program.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;

use super::decider::{Decider, decider, unheld};
use crate::approve::terminal::{self, Contents, PolicyFile, Setup, Supervisor};
use crate::approve::{ApproverProgram, serve};
use crate::cli::anchored_path::AnchoredPath;
use crate::cli::safe_from::{Holding, SafeFrom};
use crate::config::{Approval, Config, file};
use crate::failure::Failure;
use crate::jail::process::approver::{ApproverProcess, Kind};
use crate::jail::protocol::approver::{ApproverEnd, ApproverReply, ApproverRequest};
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::logging;
use crate::sys::terminal::Terminal;

/// The process that answers, and the proxy's way to it.
pub(crate) struct Questions {
    pub(crate) approver: ApproverProcess,
    pub(crate) socket: UnixStream,
    /// What decides, and must not change while it does.
    pub(crate) held: Vec<PathBuf>,
}

/// Starts the process that is asked, if anybody is. Before the proxy's, which is to inherit one end of the socket alone.
pub(crate) fn start(config: &Config, caller: &UserIdentity, holding: Holding) -> Result<Option<Questions>, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot ask about requests: {error}"));
    let (ours, theirs) = UnixStream::pair().map_err(failed)?;
    let keep = [theirs.as_raw_fd()];
    let mut held = Vec::new();
    let approver = match &config.approval {
        Approval::Nobody => return Ok(None),
        Approval::Program(command) => {
            let login = caller.login_variables();
            let found = caller.act(|| decider(command, config, holding, login));
            let Decider { program, held: files } = found.map_err(failed)??;
            held = files;
            ApproverProcess::spawn(Kind::Program, caller, &keep, |_| decide(program, theirs))?
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
                .chain(place.as_ref().map(AnchoredPath::descriptor))
                .collect();
            let setup = Setup {
                terminal,
                requests: theirs,
                policy,
                limit: config.approve_timeout,
                mark,
            };
            ApproverProcess::spawn(Kind::Terminal, caller, &keep, |line| {
                let _held = place;
                terminal::run(setup, &Wire(line)).map_err(|error| Failure::new(format!("the terminal failed: {error}")))
            })?
        }
    };
    Ok(Some(Questions {
        approver,
        socket: ours,
        held,
    }))
}

/// The same where no jail holds what is decided about; warns if that could change what decides.
pub(crate) fn start_unheld(
    config: &Config,
    caller: &UserIdentity,
    safe: SafeFrom,
) -> Result<(Option<ApproverProcess>, Option<UnixStream>), Failure> {
    let Some(Questions { approver, socket, held }) = start(config, caller, Holding::Nothing(safe))? else {
        return Ok((None, None));
    };
    if let Some(text) = unheld(&held).filter(|_| !config.log.quiet) {
        logging::warn(&text, None);
    }
    Ok((Some(approver), Some(socket)))
}

/// The policy file that "always" writes to, and what holds its folder. What is no file (a pipe) has none.
fn policy(config: &Config, holding: Holding) -> Option<(AnchoredPath, PolicyFile)> {
    let named = config.file.as_deref()?;
    let real = std::fs::canonicalize(named).ok()?;
    let place = AnchoredPath::of(&real, &[]).ok()?;
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
        parse: contents,
    };
    Some((place, file))
}

fn contents(text: &str) -> Result<Contents, String> {
    let file = file::parse("the policy file", text).map_err(|error| error.to_string())?;
    Ok(Contents {
        rest: format!("{:?} {:?}", file.options, file.logging),
        rules: file.rules,
    })
}

/// The approver's life with `--approve-with`.
fn decide(program: ApproverProgram, questions: UnixStream) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let served = runtime.and_then(|runtime| runtime.block_on(serve(questions, Arc::new(program))));
    served.map_err(|error| Failure::new(format!("cannot ask the program: {error}")))
}

/// Four digits that a jailed program cannot know.
fn mark() -> io::Result<String> {
    let mut bytes = [0; 2];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(format!("{:04x}", u16::from_be_bytes(bytes)))
}

/// The supervisor at the other end of the approver's line.
struct Wire<'a>(&'a ApproverEnd);

impl AsFd for Wire<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Supervisor for Wire<'_> {
    fn next(&self) -> io::Result<terminal::TerminalCommand> {
        let (order, mut descriptors) = self.0.receive_with()?;
        Ok(match order {
            ApproverRequest::Relay => {
                let inner = descriptors.pop().ok_or_else(|| io::Error::other("no terminal came"))?;
                terminal::TerminalCommand::Relay(inner)
            }
            ApproverRequest::Suspend => terminal::TerminalCommand::Suspend,
            ApproverRequest::Resume => terminal::TerminalCommand::Resume,
            ApproverRequest::Finish => terminal::TerminalCommand::Finish,
        })
    }

    fn done(&self) -> io::Result<()> {
        self.0.send(&ApproverReply::Done)
    }
}
