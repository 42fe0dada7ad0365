//! Chooses how Unix sockets and named pipes of the host are kept out of reach: tries each way, strongest first, and
//! tests it.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use crate::failure::Failure;
use crate::jail::process::namespaces::{Sandbox, unexpected};
use crate::jail::protocol::init::{InitReply, InitRequest, Notify, ProbeOutcome};
use crate::jail::unix::SocketGuard;
use crate::jail::unix::program::Program;
use crate::jail::unix::self_test;

/// Takes the strongest way to hold the Unix sockets of the outside that works here, and has the canary prove it.
pub(super) fn strongest(sandbox: &Sandbox, allowed: &[PathBuf]) -> Result<SocketGuard, Failure> {
    let because = match by_program(sandbox, allowed)? {
        Ok(program) => return Ok(SocketGuard::Program(program)),
        Err(because) => because,
    };
    match try_sockets(sandbox, Some(sandbox.notify()), None)? {
        ProbeOutcome::Holds => Ok(SocketGuard::Notify { because }),
        ProbeOutcome::Cannot(sockets) => Ok(SocketGuard::Names {
            because: sockets,
            pipes: because,
        }),
        ProbeOutcome::Broken(wrong) => Err(Failure::new(format!(
            "the command could reach Unix sockets of the host, so it was not started: {}",
            wrong.join("; ")
        ))),
    }
}

/// Has programs in the kernel hold them. If it cannot be so, why.
fn by_program(sandbox: &Sandbox, allowed: &[PathBuf]) -> Result<Result<Program, String>, Failure> {
    let program = match Program::attach(sandbox.pid, sandbox.ended.as_fd(), sandbox.user_namespace, allowed) {
        Ok(program) => program,
        Err(because) => return Ok(Err(because)),
    };
    let pipe = program.pipes().is_ok().then(self_test::pipe).transpose();
    let pipe = match pipe {
        Ok(pipe) => pipe,
        Err(error) => return Ok(Err(format!("cannot make a named pipe to test them with: {error}"))),
    };
    match try_sockets(sandbox, None, pipe)? {
        ProbeOutcome::Holds => Ok(Ok(program)),
        ProbeOutcome::Cannot(because) => Ok(Err(because)),
        ProbeOutcome::Broken(wrong) => Ok(Err(format!(
            "the kernel programs failed their self-test: {}",
            wrong.join("; ")
        ))),
    }
}

fn try_sockets(sandbox: &Sandbox, notify: Option<Notify>, pipe: Option<OwnedFd>) -> Result<ProbeOutcome, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot test the jail's Unix sockets: {error}"));
    let outsiders = self_test::outsiders().map_err(failed)?;
    let outsiders: Vec<OwnedFd> = outsiders.into_iter().chain(pipe).collect();
    let raw: Vec<RawFd> = outsiders.iter().map(AsRawFd::as_raw_fd).collect();
    let order = InitRequest::ProbeSockets { notify };
    sandbox.channel.send_with(&order, &raw).map_err(failed)?;
    match sandbox.reply("try its Unix sockets")? {
        InitReply::ProbedSockets(ProbeOutcome::Cannot(why)) => Ok(ProbeOutcome::Cannot(why)),
        InitReply::ProbedSockets(probe) if !self_test::reached(&outsiders).map_err(failed)? => Ok(probe),
        InitReply::ProbedSockets(_) => Ok(ProbeOutcome::Broken(vec!["data reached the outside".into()])),
        other => Err(unexpected(&other)),
    }
}
