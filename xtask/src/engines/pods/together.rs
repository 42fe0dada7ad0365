//! The containers of one pod: one attachment holds them, so that they reach each other's localhost, and it ends with the pod.

use anyhow::{Result, ensure};
use httpjail_lab::{canary, eventually};

use super::{AGENTS, Containerd, PATIENCE, POLICY};
use crate::engines::rows::Rows;

/// Answers on loopback alone, in both families, with the word that it is given.
const SERVER: &str = "import os,socket,sys
if os.fork(): os._exit(0)
os.setsid()
listening = []
for family, address in ((2, '127.0.0.1'), (10, '::1')):
  s = socket.socket(family); s.setsockopt(1, 2, 1); s.bind((address, int(sys.argv[2]))); s.listen(); listening.append(s)
null = os.open('/dev/null', 2)
for fd in (0, 1, 2): os.dup2(null, fd)
for s in listening[:1] if os.fork() else listening[1:]:
  while 1:
    c, _ = s.accept(); c.recv(1000); c.sendall(b'HTTP/1.0 200 OK\\r\\n\\r\\n' + sys.argv[1].encode()); c.close()";
/// Prints `pins` and the cgroup of each attachment.
const ATTACHED: &str =
    "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n' | grep -A1 -x -e --cgroup | grep / | sort -u";
const PINNED: &str = "readlink /sys/fs/bpf/httpjail/*/cgroup";

impl<'host> Containerd<'host> {
    pub(super) fn together(&self, rows: &mut Rows<'host>) -> Result<()> {
        let pod = self.pod("together", AGENTS, "httpjail", &[POLICY])?;
        let other = self.pod("other-pod", AGENTS, "httpjail", &[POLICY])?;
        let each = self.pod_below("-", "each", AGENTS, "httpjail", &[POLICY])?;
        let found = self.host.command(&["sh", "-c", ATTACHED]).run();
        let of = |parent: &str| found.stdout.lines().filter(|line| line.contains(parent)).count();
        let good = of(&pod.parent) == 1
            && of(&other.parent) == 1
            && found.stdout.lines().any(|line| line.ends_with(&pod.parent));
        rows.row(
            "a pod has one attachment, at its cgroup",
            good,
            format!("{} of {}", of(&pod.parent), found.stdout.lines().count()),
            &found,
        );
        for (port, what, server, client, reached) in [
            ("8181", "of the same pod", &pod.containers[0], &pod.containers[1], true),
            (
                "8182",
                "of another pod",
                &pod.containers[0],
                &other.containers[0],
                false,
            ),
            (
                "8183",
                "of a pod without a cgroup of its own",
                &each.containers[0],
                &each.containers[1],
                false,
            ),
        ] {
            let mark = canary();
            let up = self.exec(server, &["python3", "-c", SERVER, &mark, port]).run();
            ensure!(up.code() == Some(0), "start a server: {}", up.stderr);
            for address in ["127.0.0.1", "[::1]"] {
                let ask = ["curl", "-sS", "--max-time", "5", "--retry", "3", "--retry-connrefused"];
                let ask: Vec<&str> = match reached {
                    true => ask.to_vec(),
                    false => ask[..4].to_vec(),
                };
                let url = format!("http://{address}:{port}/");
                let words: Vec<&str> = ask.into_iter().chain([url.as_str()]).collect();
                let outcome = self.exec(client, &words).run();
                rows.row(
                    &format!("{address} of a container {what}"),
                    outcome.stdout.contains(&mark) == reached,
                    if outcome.stdout.contains(&mark) {
                        "reached"
                    } else {
                        "not reached"
                    }
                    .to_owned(),
                    &outcome,
                );
            }
        }
        let outcome = self.add(&pod, "together", "2", &[POLICY]).run();
        let late = outcome.stdout.trim().to_owned();
        rows.row(
            "one more container in the pod",
            outcome.code() == Some(0),
            "starts".to_owned(),
            &outcome,
        );
        let (allowed, denied) = (canary(), canary());
        let run = self.exec(&late, &["curl", "-sS", &format!("https://ok.test/{allowed}")]);
        rows.arrives("one more container in the pod: allowed", &allowed, run);
        let run = self.exec(&late, &["curl", "-sSk", &format!("https://evil.test/{denied}")]);
        rows.silent("one more container in the pod: denied", &denied, run);
        let outcome = self.add(&pod, "together", "3", &[]).run();
        rows.row(
            "one more container, of another policy",
            outcome.code() != Some(0) && outcome.stderr.contains("another policy"),
            "does not start".to_owned(),
            &outcome,
        );
        for pod in [&pod, &other, &each] {
            self.remove(pod)?;
        }
        let left = || self.host.command(&["sh", "-c", &format!("{ATTACHED}; {PINNED}")]).run();
        let gone = eventually(PATIENCE, || left().stdout.trim().is_empty());
        rows.row("the pods are removed", gone, "nothing holds them".to_owned(), &left());
        Ok(())
    }
}
