//! Many sandboxes at once, each around a command that waits.

use std::fs::{self, File};
use std::io::{PipeWriter, Read as _, pipe};
use std::process::{Child, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::eventually;

use super::host::Host;
use super::line::Line;
use super::run::Run;

/// Says that it runs, and ends with its input: all end at the same time, whatever started them.
const COMMAND: [&str; 3] = ["sh", "-c", "echo; exec cat"];
const PATIENCE: Duration = Duration::from_secs(120);

/// Ended when dropped.
pub(super) struct Swarm<'host> {
    host: &'host Host,
    /// How many processes there were before.
    others: usize,
    children: Vec<Child>,
    input: Option<PipeWriter>,
}

impl<'host> Swarm<'host> {
    /// Starts so many at once on `host`; after how many seconds the last command ran.
    pub(super) fn start(line: &Line, count: usize, host: &'host Host, run: &Run) -> Result<(Swarm<'host>, f64)> {
        line.prepare(&COMMAND)?;
        let (reader, input) = pipe().context("make a pipe")?;
        let mut swarm = Swarm {
            host,
            others: host.processes()?.len(),
            children: Vec::new(),
            input: Some(input),
        };
        let (mut output, writer) = pipe().context("make a pipe")?;
        let path = run.scratch().join("swarm");
        let errors = File::create(&path).context("make a file")?;
        let start = Instant::now();
        host.run(|| {
            for number in 0..count {
                let stdio = [
                    Stdio::from(reader.try_clone()?),
                    writer.try_clone()?.into(),
                    errors.try_clone()?.into(),
                ];
                swarm
                    .children
                    .push(line.spawn(&COMMAND, &format!("httpjail-bench-{number}"), stdio)?);
            }
            Ok(())
        })?;
        drop((reader, writer));
        // On a thread, since a pipe knows no deadline. It ends with the last that can write.
        let (tell, told) = channel();
        thread::spawn(move || {
            let mut byte = [0];
            while output.read_exact(&mut byte).is_ok() && tell.send(Instant::now()).is_ok() {}
        });
        let mut last = start;
        for running in 0..count {
            last = told
                .recv_timeout(PATIENCE.saturating_sub(start.elapsed()))
                .with_context(|| {
                    let said = fs::read_to_string(&path).unwrap_or_default();
                    format!("{running} of {count} of {} run: {said}", line.name)
                })?;
        }
        for child in &mut swarm.children {
            let ended = child.try_wait().context("look after a sandbox")?;
            ensure!(ended.is_none(), "one of {} has ended before its command", line.name);
        }
        Ok((swarm, last.duration_since(start).as_secs_f64()))
    }

    /// Ends the commands; after how many seconds nothing of it was left on the host.
    pub(super) fn end(mut self) -> Result<f64> {
        let start = Instant::now();
        self.input = None;
        let (children, host, others) = (&mut self.children, self.host, self.others);
        let mut is_gone = || -> Result<bool> {
            for child in children.iter_mut() {
                child.try_wait().context("wait for a sandbox")?;
            }
            // What nobody waits for is reaped.
            host.orphans_ms()?;
            Ok(host.processes()?.len() <= others)
        };
        ensure!(
            eventually(PATIENCE, || is_gone().is_ok_and(|gone| gone)),
            "processes are left"
        );
        Ok(start.elapsed().as_secs_f64())
    }
}

impl Drop for Swarm<'_> {
    /// PID 1 of the host cannot end before this process has reaped its children there.
    fn drop(&mut self) {
        for child in &mut self.children {
            // It has been waited for, or nothing can be done.
            let _ = child.kill().and_then(|()| child.wait());
        }
    }
}
