//! Containers that run already when httpjail attaches to them.

use std::time::Duration;

use anyhow::{Result, ensure};
use httpjail_lab::{JailBuilder, canary, eventually};

use super::{DATAGRAM, FRAME, STREAM, Trials};
use crate::engines::host::{OK, POLICIES};

const PATIENCE: Duration = Duration::from_secs(30);
pub(super) const NAME: &str = "attached";

impl<'host> Trials<'host> {
    /// By its name, through a restart, and away again.
    pub(super) fn attached(&mut self) -> Result<()> {
        let outcome = self
            .engine
            .start_container(None, &["--detach", "--name", NAME], &["sleep", "600"])
            .run();
        ensure!(outcome.code() == Some(0), "start a container: {}", outcome.stderr);
        let policy = format!("{POLICIES}/{OK}.yaml");
        let host = self.engine.host();
        let attach = ["httpjail", "attach", "--container", NAME, "--config", &policy];
        let running = host.command(&attach).limit(Duration::from_secs(600)).start()?;
        let holds = || running.stderr().contains("attached to");
        ensure!(eventually(PATIENCE, holds), "attach: {}", running.stderr());
        self.judges("attached", "-sS");
        self.engine.must(&["restart", "--time", "0", NAME])?;
        let told = || running.stderr().matches("attached to").count() > 1;
        ensure!(eventually(PATIENCE, told), "attach again: {}", running.stderr());
        self.judges("attached again after a restart", "-sS");
        let outcome = host.command(&["httpjail", "detach", "--container", NAME]).run();
        ensure!(outcome.code() == Some(0), "detach: {}", outcome.stderr);
        let mark = canary();
        let run = self.curl("-sSk", "evil.test", &mark);
        self.rows
            .arrives("detached: a request that the policy denies", &mark, run);
        drop(running);
        self.engine.must(&["rm", "--force", NAME])?;
        Ok(())
    }

    pub(super) fn curl(&self, options: &str, host: &str, mark: &str) -> JailBuilder<'host> {
        let url = format!("https://{host}/{mark}");
        self.engine.call(&["exec", NAME, "curl", options, &url])
    }

    pub(super) fn judges(&mut self, what: &str, trust: &str) {
        let (allowed, denied) = (canary(), canary());
        let run = self.curl(trust, "ok.test", &allowed);
        self.rows
            .arrives(&format!("{what}: an allowed request over TLS"), &allowed, run);
        let run = self.curl("-sSk", "evil.test", &denied);
        self.rows.silent(&format!("{what}: a denied request"), &denied, run);
        for (kind, script) in [("a frame", FRAME), ("a datagram", DATAGRAM), ("a stream", STREAM)] {
            let mark = canary();
            let run = self
                .engine
                .call(&["exec", NAME, "timeout", "5", "python3", "-c", script, &mark]);
            self.rows.silent(&format!("{what}: {kind}"), &mark, run);
        }
    }
}
