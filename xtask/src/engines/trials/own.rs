//! A rootless container that its user attaches to, without root.

use std::time::Duration;

use anyhow::{Result, ensure};
use httpjail_lab::{JailBuilder, Running, canary, eventually};

use super::Trials;
use super::attached::NAME;

const PATIENCE: Duration = Duration::from_secs(30);
/// Leaves by the device itself, past the routes.
const BOUND: &str = "import socket as k,sys\ns=k.socket();s.settimeout(5);s.setsockopt(1,25,b'tap0\\0')\ntry: s.bind(('127.0.0.1',0)) if len(sys.argv)>2 else 0\nexcept OSError: pass\ns.connect(('198.51.100.2',9999));s.sendall(sys.argv[1].encode());s.recv(1)";
/// A server on loopback and who asks it.
const LOCAL: &str = "import socket as k,sys,threading as t\nl=k.socket();l.bind(('127.0.0.1',8181));l.listen()\nt.Thread(target=lambda:l.accept()[0].sendall(b'here')).start()\nprint(k.create_connection(('127.0.0.1',8181),5).recv(9).decode())";

impl<'host> Trials<'host> {
    pub(super) fn own(&mut self) -> Result<()> {
        let host = self.engine.host();
        let text = format!(
            "version: 1\nrules:\n- {{action: allow, pattern: '^https?://ok\\.test/'}}\nupstream-ca: {}\n",
            self.lab.upstream_ca().display()
        );
        let policy = self.lab.file("own.yaml", text).display().to_string();
        let attach =
            |name: &str| host.command_by_user(&["httpjail", "attach", "--container", name, "--config", &policy]);
        self.start(NAME, &[])?;
        let running = attach(NAME).limit(Duration::from_secs(600)).start()?;
        let holds = |running: &Running| eventually(PATIENCE, || running.stderr().contains("attached to"));
        ensure!(holds(&running), "attach: {}", running.stderr());
        self.judges("attached by its user", "-sSk");
        for (what, more) in [
            ("a socket of its device", &[][..]),
            ("the same with an own address", &["own"]),
        ] {
            let mark = canary();
            let words: Vec<&str> = ["python3", "-c", BOUND, &mark].iter().chain(more).copied().collect();
            let run = self.exec(&words);
            self.rows.silent(&format!("attached by its user: {what}"), &mark, run);
        }
        let outcome = self.exec(&["python3", "-c", LOCAL]).run();
        self.rows.row(
            "attached by its user: its own localhost",
            outcome.stdout.contains("here"),
            outcome.stdout.trim().to_owned(),
            &outcome,
        );
        let second = attach(NAME).run();
        self.rows.row(
            "attached by its user: attach again",
            second.code() == Some(125) && second.stderr.contains("another httpjail"),
            "refused".to_owned(),
            &second,
        );
        host.kill_httpjail()?;
        drop(running);
        for to in ["ok.test", "evil.test"] {
            let mark = canary();
            let run = self.curl("-sSkm5", to, &mark);
            self.rows
                .silent(&format!("attached by its user, killed: {to}"), &mark, run);
        }
        let running = attach(NAME).limit(Duration::from_secs(600)).start()?;
        ensure!(holds(&running), "attach once more: {}", running.stderr());
        self.judges("attached once more", "-sSk");
        // The oldest is the supervisor.
        let asked = host.command(&["sh", "-c", "kill -TERM $(pgrep -o -x httpjail)"]).run();
        ensure!(asked.code() == Some(0), "ask it to end: {}", asked.stderr);
        let ended = || eventually(PATIENCE, || running.stderr().contains("detaching"));
        ensure!(ended(), "detach: {}", running.stderr());
        drop(running);
        self.open("let go of by its user")?;
        let running = attach(NAME).limit(Duration::from_secs(600)).start()?;
        ensure!(holds(&running), "attach a third time: {}", running.stderr());
        host.kill_httpjail()?;
        drop(running);
        let outcome = host.command_by_user(&["httpjail", "detach", "--container", NAME]).run();
        ensure!(outcome.code() == Some(0), "detach: {}", outcome.stderr);
        self.open("detached from by its user")?;
        self.engine.must(&["rm", "--force", "--time", "0", NAME])?;

        self.start("strong", &["--cap-add", "NET_ADMIN"])?;
        let outcome = attach("strong").run();
        self.rows.row(
            "attached by its user: with NET_ADMIN",
            outcome.code() == Some(125) && outcome.stderr.contains("CAP_NET_ADMIN"),
            "refused".to_owned(),
            &outcome,
        );
        self.engine.must(&["rm", "--force", "--time", "0", "strong"])?;
        Ok(())
    }

    fn start(&self, name: &str, options: &[&str]) -> Result<()> {
        let options: Vec<&str> = ["--detach", "--name", name].iter().chain(options).copied().collect();
        let outcome = self.engine.start_container(None, &options, &["sleep", "600"]).run();
        ensure!(outcome.code() == Some(0), "start a container: {}", outcome.stderr);
        Ok(())
    }

    fn exec(&self, words: &[&str]) -> JailBuilder<'host> {
        let words: Vec<&str> = ["exec", NAME].iter().chain(words).copied().collect();
        self.engine.call(&words)
    }

    fn open(&mut self, what: &str) -> Result<()> {
        let mark = canary();
        let run = self.curl("-sSk", "evil.test", &mark);
        self.rows
            .arrives(&format!("{what}: a request that the policy denies"), &mark, run);
        Ok(())
    }
}
