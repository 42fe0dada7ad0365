//! What becomes of a container that stays: `exec`, restarts, and the end of httpjail.

use std::time::Duration;

use anyhow::{Result, ensure};
use httpjail_lab::{canary, eventually};

use super::{DATAGRAM, FRAME, STREAM, Trials};
use crate::engines::host::OK;

const PATIENCE: Duration = Duration::from_secs(20);

impl Trials<'_> {
    /// Starts a container that stays.
    pub(super) fn stays(&self, name: &str, options: &[&str]) -> Result<()> {
        let options: Vec<&str> = ["--detach", "--name", name].iter().chain(options).copied().collect();
        let outcome = self.held(Some(OK), &options, &["sleep", "600"]).run();
        ensure!(outcome.code() == Some(0), "start {name}: {}", outcome.stderr);
        Ok(())
    }

    pub(super) fn lives(&mut self) -> Result<()> {
        self.stays("lives", &[])?;
        for what in ["exec", "exec after a restart"] {
            let (allowed, denied) = (canary(), canary());
            let run = self
                .engine
                .call(&["exec", "lives", "curl", "-sS", &format!("https://ok.test/{allowed}")]);
            self.rows.arrives(what, &allowed, run);
            let run = self
                .engine
                .call(&["exec", "lives", "curl", "-sSk", &format!("https://evil.test/{denied}")]);
            self.rows.silent(&format!("{what}: denied"), &denied, run);
            self.engine.must(&["restart", "--time", "0", "lives"])?;
        }
        let mark = canary();
        let run = self
            .engine
            .call(&["exec", "--privileged", "lives", "python3", "-c", FRAME, &mark]);
        self.rows.stopped("exec --privileged: a frame", &mark, run);
        self.engine.must(&["rm", "--force", "lives"])?;
        Ok(())
    }

    /// Everything of httpjail is killed: the container is closed.
    pub(super) fn killed(&mut self) -> Result<()> {
        self.stays("killed", &[])?;
        self.engine.host().kill_httpjail()?;
        for (what, url) in [
            ("an allowed request", "https://ok.test/"),
            ("a denied request", "https://evil.test/"),
        ] {
            let mark = canary();
            let run = self.engine.call(&[
                "exec",
                "killed",
                "curl",
                "-sSk",
                "--max-time",
                "5",
                &format!("{url}{mark}"),
            ]);
            self.rows.silent(&format!("httpjail was killed: {what}"), &mark, run);
        }
        for (what, script) in [("a datagram", DATAGRAM), ("a stream", STREAM)] {
            let mark = canary();
            let run = self
                .engine
                .call(&["exec", "killed", "timeout", "5", "python3", "-c", script, &mark]);
            self.rows.silent(&format!("httpjail was killed: {what}"), &mark, run);
        }
        self.engine.must(&["restart", "--time", "0", "killed"])?;
        let mark = canary();
        let run = self
            .engine
            .call(&["exec", "killed", "curl", "-sS", &format!("https://ok.test/{mark}")]);
        self.rows.arrives("held again after a restart", &mark, run);
        self.engine.must(&["rm", "--force", "killed"])?;
        let left = "ls -A /run/httpjail/containers 2>/dev/null | wc -l";
        let gone = || self.engine.host().command(&["sh", "-c", left]).run().stdout.trim() == "0";
        let gone = eventually(PATIENCE, gone);
        let outcome = self.engine.host().command(&["sh", "-c", "ls -R /run/httpjail"]).run();
        self.rows.row(
            "nothing is left of removed containers",
            gone,
            if gone { "nothing" } else { "files" }.to_owned(),
            &outcome,
        );
        Ok(())
    }
}
