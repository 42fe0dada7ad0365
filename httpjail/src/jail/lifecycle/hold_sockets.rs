//! How the Unix sockets and named pipes of the outside are held: the ways are tried from the strongest on, each by its canary.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use super::{Jail, Prepared, unexpected};
use crate::jail::process::init::{Order, Report};
use crate::jail::process::proxy::Failure;
use crate::jail::unix::program::Program;
use crate::jail::unix::self_test::{self, Probe};
use crate::jail::unix::{Held, Notify};

impl Jail<Prepared> {
    /// Takes the strongest way to hold the Unix sockets of the outside that works here, and has the canary prove it.
    pub(super) fn hold_sockets(&self) -> Result<Held, Failure> {
        let because = match self.hold_by_program()? {
            Ok(program) => return Ok(Held::Program(program)),
            Err(because) => because,
        };
        match self.try_sockets(Some(self.sandbox.notify()), None)? {
            Probe::Holds => Ok(Held::Notify { because }),
            Probe::Cannot(sockets) => Ok(Held::Names {
                because: sockets,
                pipes: because,
            }),
            Probe::Broken(wrong) => Err(Failure::new(format!(
                "the jail does not hold Unix sockets of the outside, so the command was not started: {}",
                wrong.join("; ")
            ))),
        }
    }

    /// Has programs in the kernel hold them. If it cannot be so, why.
    fn hold_by_program(&self) -> Result<Result<Program, String>, Failure> {
        let program = match Program::attach(&self.sandbox, &self.allowed) {
            Ok(program) => program,
            Err(because) => return Ok(Err(because)),
        };
        let pipe = program.pipes().is_ok().then(self_test::pipe).transpose();
        let pipe = match pipe {
            Ok(pipe) => pipe,
            Err(error) => return Ok(Err(format!("there is no named pipe to try them with: {error}"))),
        };
        match self.try_sockets(None, pipe)? {
            Probe::Holds => Ok(Ok(program)),
            Probe::Cannot(because) => Ok(Err(because)),
            Probe::Broken(wrong) => Ok(Err(format!(
                "programs in the kernel do not hold here: {}",
                wrong.join("; ")
            ))),
        }
    }

    fn try_sockets(&self, notify: Option<Notify>, pipe: Option<OwnedFd>) -> Result<Probe, Failure> {
        let failed = |error: io::Error| Failure::new(format!("cannot try the jail's Unix sockets: {error}"));
        let outsiders = self_test::outsiders().map_err(failed)?;
        let outsiders: Vec<OwnedFd> = outsiders.into_iter().chain(pipe).collect();
        let raw: Vec<RawFd> = outsiders.iter().map(AsRawFd::as_raw_fd).collect();
        let order = Order::ProbeSockets { notify };
        self.sandbox.line.send_with(&order, &raw).map_err(failed)?;
        match self.report("try its Unix sockets")? {
            Report::ProbedSockets(Probe::Cannot(why)) => Ok(Probe::Cannot(why)),
            Report::ProbedSockets(probe) if !self_test::reached(&outsiders).map_err(failed)? => Ok(probe),
            Report::ProbedSockets(_) => Ok(Probe::Broken(vec!["something came to the outside".into()])),
            other => Err(unexpected(&other)),
        }
    }
}
