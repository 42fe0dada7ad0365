//! A pool that runs beside what is measured, from which a contestant takes its jails.

use std::fs::File;
use std::io::{BufRead as _, BufReader, PipeReader};
use std::process::{Child, Stdio};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::host::Host;
use super::line::Line;
use super::run::Run;

/// More than starts between two turns.
const SIZE: &str = "4";

/// Ended when dropped, with its jails.
pub(super) struct Pool {
    child: Child,
    /// What it says later has a reader, too.
    said_later: BufReader<PipeReader>,
}

impl Pool {
    /// Starts one of that name on `host`, and waits until its jails are ready.
    pub(super) fn start(name: &'static str, backend: &str, host: &Host, run: &Run) -> Result<Pool> {
        let words = [
            "pool",
            "--size",
            SIZE,
            "--name",
            name,
            "--backend",
            backend,
            "-r",
            "allow: .*",
        ];
        let line = Line::httpjail("pool", &words, run);
        line.prepare(&[])?;
        let errors = run.scratch().join(name);
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let stdio = [Stdio::null(), File::create(&errors)?.into(), writer.into()];
        let mut pool = Pool {
            child: host.run(|| line.spawn(&[], name, stdio))?,
            said_later: BufReader::new(reader),
        };
        let mut said = String::new();
        pool.said_later.read_line(&mut said).context("hear the pool")?;
        ensure!(said.contains("jails wait"), "no pool: {said}");
        Ok(pool)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still its own.
        let _ = kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM);
        let _ = self.child.wait();
    }
}
