//! The networks that containers are on: what they let out, and whom they let in.

use std::time::Duration;

use anyhow::{Result, ensure};
use httpjail_lab::{JAILSIDE_V4, canary, eventually};

use super::{STREAM, Trials};
use crate::engines::cli::Kind;
use crate::engines::host::{OK, OPEN};

const PATIENCE: Duration = Duration::from_secs(20);
const SERVER: [&str; 4] = ["python3", "-m", "http.server", "80"];
/// Drops what containers send to the world, as an administrator's rule or a network policy does.
const RULE: [&str; 7] = ["DOCKER-USER", "-d", "198.51.100.2", "-p", "tcp", "-j", "DROP"];

impl Trials<'_> {
    /// Networks of the engine's own.
    pub(super) fn networks(&mut self) -> Result<()> {
        self.engine
            .must(&["network", "create", "--ipv6", "--subnet", "fd00:7::/64", "six"])?;
        for (what, flag) in [("IPv4", "-4"), ("IPv6", "-6")] {
            let (allowed, denied) = (canary(), canary());
            let on = &["--network", "six"];
            let run = self.held(
                Some(OK),
                on,
                &["curl", "-sS", flag, &format!("https://ok.test/{allowed}")],
            );
            self.rows.arrives(&format!("{what}: an allowed request"), &allowed, run);
            let run = self.held(
                Some(OK),
                on,
                &["curl", "-sSk", flag, &format!("https://evil.test/{denied}")],
            );
            self.rows.silent(&format!("{what}: a denied request"), &denied, run);
        }
        self.stays("first", &[])?;
        let mark = canary();
        let run = self.held(
            Some(OK),
            &["--network", "container:first"],
            &["curl", "-sS", &format!("https://ok.test/{mark}")],
        );
        self.rows
            .arrives("--network container:X: an allowed request", &mark, run);
        let mark = canary();
        let run = self.held(
            Some(OK),
            &["--network", "container:first"],
            &["python3", "-c", STREAM, &mark],
        );
        self.rows.silent("--network container:X: a stream", &mark, run);
        self.engine.must(&["rm", "--force", "first"])?;
        Ok(())
    }

    /// Other containers, the host, and the rules for the network.
    pub(super) fn neighbors(&mut self) -> Result<()> {
        self.engine.must(&["network", "create", "services"])?;
        let on: &[&str] = &["--network", "services"];
        let served = |trials: &Self, runtime: Option<&str>, name: &str, options: &[&str]| {
            let options: Vec<&str> = ["--detach", "--name", name].iter().chain(options).copied().collect();
            let outcome = trials.engine.start_container(runtime, &options, &SERVER).run();
            ensure!(outcome.code() == Some(0), "start {name}: {}", outcome.stderr);
            Ok(())
        };
        served(self, None, "db", on)?;
        let outcome = self
            .held(Some(OK), on, &["curl", "-sS", "http://db/etc/debian_version"])
            .run();
        let good = outcome.code() == Some(0) && outcome.stdout.starts_with("1");
        self.rows.row(
            "a service name of the engine's network",
            good,
            outcome.stdout.trim().to_owned(),
            &outcome,
        );
        self.engine.must(&["rm", "--force", "db"])?;
        if self.engine.kind() == Kind::Docker {
            self.egress()?;
        }
        for (policy, port, opens) in [(OK, "8081", false), (OPEN, "8082", true)] {
            let runtime = format!("httpjail-{policy}");
            let publish = format!("{port}:80");
            served(self, Some(&runtime), policy, &["--publish", &publish])?;
            let listens = || {
                self.engine
                    .call(&["exec", policy, "curl", "-sS", "http://127.0.0.1/"])
                    .run()
                    .code()
                    == Some(0)
            };
            let listens = eventually(PATIENCE, listens);
            let url = format!("http://{JAILSIDE_V4}:{port}/etc/debian_version");
            let outcome = self
                .engine
                .host()
                .command(&["curl", "-sS", "--max-time", "5", &url])
                .run();
            let good = listens && (outcome.code() == Some(0)) == opens;
            self.rows.row(
                &format!("a published port, by the policy `{policy}`"),
                good,
                if opens { "open" } else { "closed" }.to_owned(),
                &outcome,
            );
            self.engine.must(&["rm", "--force", policy])?;
        }
        Ok(())
    }

    /// What the rules for the container's network drop is dropped for the proxy too.
    fn egress(&mut self) -> Result<()> {
        let rule = |verb: &str| -> Result<()> {
            let words: Vec<&str> = ["iptables", verb].iter().chain(&RULE).copied().collect();
            let outcome = self.engine.host().command(&words).run();
            ensure!(outcome.code() == Some(0), "{}: {}", words.join(" "), outcome.stderr);
            Ok(())
        };
        let mark = canary();
        let line = [
            "curl",
            "-4",
            "-sS",
            "--max-time",
            "20",
            &format!("http://ok.test/{mark}"),
        ];
        rule("-I")?;
        let run = self.held(Some(OK), &[], &line);
        let outcome = run.run();
        rule("-D")?;
        let count = self.rows.arrived(&mark);
        self.rows.row(
            "a rule for the network drops: an allowed request",
            count == 0,
            format!("{count} at the origin"),
            &outcome,
        );
        let run = self.held(Some(OK), &[], &line);
        self.rows.arrives("without the rule: the same request", &mark, run);
        Ok(())
    }
}
