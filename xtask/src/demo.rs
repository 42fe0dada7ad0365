//! `cargo xtask demo`: real programs in a jail in the lab, and a table of what happened.
//!
//! No row believes a client: each is decided by what the lab's servers and its wire saw, and by what the jail logged.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use httpjail_lab::{JailBuilder, Lab, Outcome, canary};

use crate::ebpf;
use crate::run::httpjail;

const ALLOW_GET: &str = r"allow-get: ^https?://ok\.test/";
const PYTHON: &str = "/usr/bin/python3";

/// One line of the table.
struct Row {
    what: &'static str,
    seen: String,
    good: bool,
}

/// Builds, raises the lab, runs all rows; an error if one is not as it should be.
pub(crate) fn run(bpf_object: Option<PathBuf>, allow_all: bool) -> Result<()> {
    let binary = httpjail()?;
    let object = match bpf_object {
        Some(path) => Some(fs::canonicalize(&path).with_context(|| format!("find {}", path.display()))?),
        None if allow_all => Some(ebpf::allow_all()?),
        None => None,
    };
    let rows = rows(&binary, object.as_deref())?;
    let width = rows.iter().map(|row| row.what.len()).max().unwrap_or(0);
    for Row { what, seen, good } in &rows {
        println!("{} {what:width$}  {seen}", if *good { "ok  " } else { "FAIL" });
    }
    let failed = rows.iter().filter(|row| !row.good).count();
    if failed > 0 {
        bail!("{failed} of {} rows are not as they should be", rows.len());
    }
    Ok(())
}

fn rows(binary: &Path, object: Option<&Path>) -> Result<Vec<Row>> {
    let lab = Lab::start(binary)?;
    lab.git_repository("project")?;
    let jail = || {
        let jail = lab.jail().rule(ALLOW_GET);
        match object {
            Some(object) => jail.env("HTTPJAIL_BPF_OBJECT", object),
            None => jail,
        }
    };
    let urllib = "import urllib.request as r; r.urlopen('https://ok.test/python').read()";
    let fetch = "fetch('https://ok.test/node').then(r => r.text())";
    Ok(vec![
        allowed(
            &lab,
            "curl: an allowed GET",
            "/curl",
            jail().shell("curl -sS https://ok.test/curl"),
        ),
        allowed(
            &lab,
            "git: an allowed clone",
            "/git/",
            jail().shell("git clone -q https://ok.test/git/project.git $HOME/p"),
        ),
        allowed(
            &lab,
            "python: an allowed GET",
            "/python",
            jail().command([PYTHON, "-c", urllib]),
        ),
        allowed(
            &lab,
            "node: an allowed GET",
            "/node",
            jail().command(["node", "-e", fetch]),
        ),
        denied(
            &lab,
            "a host that no rule allows",
            "GET",
            "evil.test",
            jail().shell("curl -sS https://evil.test/"),
        ),
        denied(
            &lab,
            "POST where only GET is allowed",
            "POST",
            "ok.test",
            jail().shell("curl -sS -d x https://ok.test/"),
        ),
        refused(
            &lab,
            "raw TCP to a host",
            jail,
            "s=k.create_connection(('198.51.100.3',9999),5);s.sendall(c);s.recv(1)",
        ),
        refused(
            &lab,
            "UDP to a host",
            jail,
            "k.socket(2,2).sendto(c,('198.51.100.3',9999))",
        ),
        refused(
            &lab,
            "UDP to port 53 of any server",
            jail,
            "k.socket(2,2).sendto(c,('198.51.100.3',53))",
        ),
        dns(&lab, jail()),
        own_server(&lab, jail()),
        host_loopback(&lab, jail())?,
    ])
}

/// The origin saw a GET for a path that starts with `path`, over TLS, and nobody complained about certificates.
fn allowed(lab: &Lab, what: &'static str, path: &str, jail: JailBuilder<'_>) -> Row {
    let outcome = jail.run();
    let seen = lab
        .heard()
        .requests
        .filter(|seen| seen.host == "ok.test" && seen.path.starts_with(path) && seen.tls);
    let logged = outcome.events_with(&[("verdict", "allow"), ("status", "200")]).len();
    let complaint = outcome.stderr.to_ascii_lowercase();
    let warned = ["certificate", "warn", "verif"]
        .iter()
        .any(|word| complaint.contains(word));
    let good = !seen.is_empty() && logged > 0 && !warned && outcome.code() == Some(0);
    row(
        what,
        good,
        format!(
            "{} at the origin over TLS, {}",
            times(seen.len()),
            if warned { "a warning" } else { "no warning" }
        ),
        &outcome,
    )
}

/// The origin saw nothing new, and the log has a 403.
fn denied(lab: &Lab, what: &'static str, method: &str, host: &str, jail: JailBuilder<'_>) -> Row {
    let outcome = jail.run();
    let seen = lab
        .heard()
        .requests
        .filter(|seen| seen.host == host && seen.method == method);
    let logged = outcome
        .events_with(&[("verdict", "deny"), ("status", "403"), ("method", method)])
        .len();
    row(
        what,
        seen.is_empty() && logged == 1,
        format!("{} at the origin, 403 logged {}", times(seen.len()), times(logged)),
        &outcome,
    )
}

/// The same two lines of python put their canary on the wire outside, and not from the jail.
fn refused<'lab>(lab: &'lab Lab, what: &'static str, jail: impl Fn() -> JailBuilder<'lab>, send: &str) -> Row {
    let attempt = |run: JailBuilder<'_>, mark: &str| {
        let script = format!("import socket as k\nc=b'{mark}'\nprint('trying', flush=True)\n{send}");
        run.command([PYTHON, "-c", &script]).run()
    };
    let (outside, inside) = (canary(), canary());
    attempt(lab.unjailed(), &outside);
    let outcome = attempt(jail(), &inside);
    let saw = (lab.wire().saw(&outside), lab.wire().saw(&inside));
    let good = saw == (true, false) && outcome.stdout.starts_with("trying");
    row(
        what,
        good,
        format!("on the wire: unjailed {}, jailed {}", yes(saw.0), yes(saw.1)),
        &outcome,
    )
}

/// A name is answered in the jail, and nobody outside hears the question.
fn dns(lab: &Lab, jail: JailBuilder<'_>) -> Row {
    let name = format!("{}.test", canary());
    let outcome = jail.command(["getent", "ahosts", &name]).run();
    let heard = lab.heard().questions.filter(|question| question.name == name).len();
    let answers = outcome.stdout.lines().count();
    let good = outcome.code() == Some(0) && answers > 0 && heard == 0 && !lab.wire().saw(&name[..20]);
    row(
        "a name is answered inside",
        good,
        format!("{answers} lines of answer, {} at the name server", times(heard)),
        &outcome,
    )
}

/// A server that the jailed program runs itself is reached by its own clients.
fn own_server(lab: &Lab, jail: JailBuilder<'_>) -> Row {
    let script = "import http.server as h, subprocess, threading
class Own(h.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b'own')
    def log_message(self, *words):
        pass
server = h.HTTPServer(('127.0.0.1', 8000), Own)
threading.Thread(target=server.serve_forever, daemon=True).start()
subprocess.run(['curl', '-sS', 'http://127.0.0.1:8000/'])";
    let before = lab.heard().requests.all().len();
    let outcome = jail.command([PYTHON, "-c", script]).run();
    let outside = lab.heard().requests.all().len() - before;
    let good = outcome.stdout.trim() == "own" && outside == 0;
    row(
        "the jail's own local server",
        good,
        format!("answered {:?}, {} outside", outcome.stdout.trim(), times(outside)),
        &outcome,
    )
}

/// A server on the host's loopback is not reached, neither by HTTP nor by plain TCP.
fn host_loopback(lab: &Lab, jail: JailBuilder<'_>) -> Result<Row> {
    let listener =
        lab.on_jailside(|| std::net::TcpListener::bind("127.0.0.1:5432").context("listen on the host's loopback"))?;
    listener.set_nonblocking(true).context("do not wait for a connection")?;
    let outcome = jail
        .shell("curl -sS --max-time 5 http://127.0.0.1:5432/; curl -sS --max-time 5 telnet://127.0.0.1:5432")
        .run();
    let accepted = listener.accept().is_ok();
    Ok(row(
        "a server on the host's loopback",
        !accepted,
        format!("reached: {}", yes(accepted)),
        &outcome,
    ))
}

/// What went wrong is shown below the table's line.
fn row(what: &'static str, good: bool, seen: String, outcome: &Outcome) -> Row {
    if !good {
        eprintln!("{what}: {outcome:#?}");
    }
    Row { what, seen, good }
}

fn times(count: usize) -> String {
    match count {
        0 => "not".into(),
        1 => "once".into(),
        more => format!("{more} times"),
    }
}

fn yes(is: bool) -> &'static str {
    if is { "yes" } else { "no" }
}
