//! `httpjail attach`: a client that runs already, in a cgroup of the test's making, held and let go.

mod containers;
mod inbound;
mod network;
mod node;
mod own;
mod places;

use std::ffi::OsString;
use std::fs;
use std::io::{PipeWriter, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JAILSIDE_V4, JailBuilder, Lab, Running, canary, eventually, processes_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::support::origins::OddOrigins;
use crate::support::{Expect as _, PYTHON, have, lab};

const TOLD: &str = include_str!("support/probes/told.py");
const LIMIT: Duration = Duration::from_secs(20);
/// Where the world writes down what it hears, over TCP and UDP.
const FAR: &str = "('198.51.100.2', 9999)";
const FAR_V6: &str = "('2001:db8:99::2', 9999)";
const RULE: &str = r"allow: ^https?://ok\.test/";

/// A cgroup, killed and removed at the end.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Cgroup {
        Cgroup::named(&format!("attach-test-{}", canary()))
    }

    fn named(name: &str) -> Cgroup {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let mount = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 "))
            .and_then(|line| line.split(' ').nth(4));
        let path = Path::new(mount.expect("cgroup v2")).join(name);
        fs::create_dir(&path).unwrap();
        Cgroup(path)
    }

    fn below(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.0).unwrap().flatten();
        let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders.map(|folder| folder.path()).collect()
    }

    fn end(&self) -> bool {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        eventually(LIMIT, || {
            // The canary's, if httpjail was killed at the wrong moment.
            for below in fs::read_dir(&self.0).into_iter().flatten().flatten() {
                let _ = fs::remove_dir(below.path());
            }
            fs::remove_dir(&self.0).is_ok() || !self.0.exists()
        })
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        self.end();
    }
}

/// A program in a cgroup that does what it is told.
struct Told {
    run: Running,
    line: PipeWriter,
    said: usize,
}

impl Told {
    fn start(lab: &Lab, cgroup: &Path) -> Told {
        Told::start_with(lab, cgroup, "exec \"$@\"")
    }

    /// Runs `script` in the cgroup, with the program's command line as its arguments.
    fn start_with(lab: &Lab, cgroup: &Path, script: &str) -> Told {
        let (reader, line) = std::io::pipe().unwrap();
        let script = format!("echo $$ > {}/cgroup.procs; {script}", cgroup.display());
        let program = lab.file("told.py", TOLD);
        let authority = lab.home("root").join(".config/httpjail/ca.crt");
        let run = lab
            .unjailed()
            .env("CURL_CA_BUNDLE", authority)
            .stdin_from(reader)
            .command(["sh", "-c", &script, "sh", PYTHON, program.to_str().unwrap()])
            .start()
            .unwrap();
        let mut told = Told { run, line, said: 0 };
        assert_eq!(told.hear("start"), "ready");
        told
    }

    #[track_caller]
    fn ask(&mut self, what: &str) -> String {
        writeln!(self.line, "{what}").unwrap();
        self.hear(what)
    }

    #[track_caller]
    fn hear(&mut self, what: &str) -> String {
        let heard = eventually(LIMIT, || self.run.stdout().lines().count() > self.said);
        assert!(
            heard,
            "no answer to {what:?}: {}{}",
            self.run.stdout(),
            self.run.stderr()
        );
        self.said += 1;
        self.run.stdout().lines().nth(self.said - 1).unwrap().to_owned()
    }
}

/// `httpjail attach`, holding.
struct Attached {
    run: Running,
    log: PathBuf,
}

impl Attached {
    #[track_caller]
    fn start(lab: &Lab, cgroup: &Path) -> Attached {
        Attached::start_with(lab, cgroup, &[])
    }

    #[track_caller]
    fn start_with(lab: &Lab, cgroup: &Path, more: &[&str]) -> Attached {
        let log = lab.fresh_path("attach.json");
        let more: Vec<&Path> = more.iter().map(Path::new).collect();
        let run = attach_with(lab, cgroup, &log, &more);
        assert!(
            eventually(LIMIT, || run.stderr().contains("attached to")),
            "{}",
            run.stderr()
        );
        Attached { run, log }
    }

    fn blocked(&self) -> Vec<Value> {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        events.filter(|event| event["event"] == "blocked").collect()
    }

    #[track_caller]
    fn end(self) -> String {
        self.run.signal(Signal::SIGTERM);
        self.run.wait().unwrap().expect_code(0).stderr
    }
}

fn attach(lab: &Lab, cgroup: &Path, log: &Path) -> Running {
    attach_with(lab, cgroup, log, &[])
}

fn attach_with(lab: &Lab, cgroup: &Path, log: &Path, more: &[&Path]) -> Running {
    attach_by(lab.unjailed(), lab, cgroup, log, more)
}

fn attach_by(run: JailBuilder<'_>, lab: &Lab, cgroup: &Path, log: &Path, more: &[&Path]) -> Running {
    attach_to(run, lab, ["--cgroup".into(), cgroup.into()], log, more)
}

fn attach_to(run: JailBuilder<'_>, lab: &Lab, place: [OsString; 2], log: &Path, more: &[&Path]) -> Running {
    let mut line: Vec<OsString> = vec![lab.binary().into(), "attach".into()];
    line.extend(place);
    line.extend([
        "-r".into(),
        RULE.into(),
        "--upstream-ca".into(),
        lab.upstream_ca().into(),
    ]);
    line.extend(["--log-format".into(), "json".into(), "--log".into(), log.into()]);
    line.extend(more.iter().map(Into::into));
    run.command(line).start().unwrap()
}

fn detach(lab: &Lab, cgroup: &Path) -> String {
    let line: [OsString; 4] = [lab.binary().into(), "detach".into(), "--cgroup".into(), cgroup.into()];
    lab.unjailed().command(line).run().expect_code(0).stderr
}

#[test]
fn a_hang_up_reloads_the_policy() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let policy = lab.file("rules.yaml", "rules:\n- {action: deny, host: evil.test}\n");
    let (log, option) = (lab.fresh_path("attach.json"), Path::new("--config"));
    let run = attach_with(&lab, &cgroup.0, &log, &[option, &policy]);
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    let hang_up = |text: &str, mode: u32, said: &str| {
        fs::write(&policy, text).unwrap();
        fs::set_permissions(&policy, fs::Permissions::from_mode(mode)).unwrap();
        run.signal(Signal::SIGHUP);
        assert!(eventually(LIMIT, || run.stderr().contains(said)), "{}", run.stderr());
    };
    let allow = "rules:\n- {action: allow, host: evil.test}\n";
    // Whoever is in the cgroup might be the one who wrote this.
    hang_up(allow, 0o666, "can be written by others");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    hang_up(allow, 0o644, "the policy was reloaded: 2 rules");
    assert_eq!(told.ask("curl('http://evil.test/')"), "200");
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0);
}

/// What an attachment could leave: mounts of BPF file systems, files in /run/httpjail but for the list of proxies' users and the directory of
/// control sockets.
fn traces(lab: &Lab) -> Vec<String> {
    lab.on_jailside(|| {
        let mounts = fs::read_to_string("/proc/thread-self/mountinfo")?;
        let mut traces: Vec<String> = mounts
            .lines()
            .filter(|line| line.contains(" - bpf "))
            .map(Into::into)
            .collect();
        let left = fs::read_dir("/run/httpjail").into_iter().flatten().flatten();
        traces.extend(left.map(|entry| entry.file_name().to_string_lossy().into_owned()));
        // What stays, whoever has run.
        traces.retain(|name| !["users", "control"].contains(&name.as_str()));
        Ok(traces)
    })
    .unwrap()
}

/// Whether a new connection of the program, over TCP and without rules, brings bytes to the world.
fn gets_out(lab: &Lab, told: &mut Told) -> bool {
    let mark = canary();
    told.ask(&format!("socket.create_connection({FAR}).sendall(b'{mark}')"));
    lab.wire().saw(&mark)
}

// Proves: S04, P05, P17, S18.
#[test]
fn what_runs_is_held_and_let_go() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);

    // Before: everything goes.
    let mark = canary();
    told.ask(&format!("tcp = socket.create_connection({FAR})"));
    told.ask("udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
    assert_eq!(told.ask(&format!("tcp.sendall(b'tcp{mark}')")), "None");
    told.ask(&format!("udp.sendto(b'udp{mark}', {FAR})"));
    assert!(lab.wire().saw(format!("tcp{mark}")) && lab.wire().saw(format!("udp{mark}")));
    assert!(gets_out(&lab, &mut told));
    assert_eq!(told.ask("curl('http://evil.test/before')"), "200");
    assert_eq!(lab.requests_for("evil.test").len(), 1);

    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(cgroup.below(), Vec::<PathBuf>::new(), "the canary's cgroup is gone");
    // The old connection: told at once, cut, and nothing of it on the wire.
    let old =
        |event: &Value| event["reason"] == "tcp socket older than the jail" && event["dst"] == "198.51.100.2:9999";
    let reported = eventually(LIMIT, || attached.blocked().iter().any(old));
    assert!(reported, "{:#?}", attached.blocked());
    let mark = canary();
    assert_eq!(told.ask(&format!("tcp.sendall(b'{mark}')")), "ConnectionAbortedError");
    told.ask(&format!("udp.sendto(b'{mark}', {FAR})"));
    assert!(!lab.wire().saw(&mark));
    // New ones: judged.
    assert_eq!(told.ask("curl('https://ok.test/')"), "200");
    assert_eq!(lab.requests_for("ok.test").len(), 1);
    assert_eq!(told.ask("curl('https://evil.test/')"), "403");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    assert_eq!(lab.requests_for("evil.test").len(), 1, "none since");
    assert!(!gets_out(&lab, &mut told));

    let said = attached.end();
    assert!(said.contains("detaching from"), "{said}");
    assert!(gets_out(&lab, &mut told));
    assert_eq!(told.ask("curl('http://evil.test/after')"), "200");
    assert_eq!(traces(&lab), Vec::<String>::new());
}

// Proves: P15, K12.
#[test]
fn kill_9_leaves_it_closed_until_detach() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    assert!(gets_out(&lab, &mut told));
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");

    let ports = local_ports(&lab, "tcp", "0A");
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let is_httpjail = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == lab.binary());
    let ours: Vec<i32> = processes_with(name).into_iter().filter(is_httpjail).collect();
    assert_eq!(ours.len(), 3, "supervisor, proxy, and who reads command lines");
    for pid in ours {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    attached.run.wait().unwrap();

    let closed = |told: &mut Told| {
        assert!(!gets_out(&lab, told));
        assert_eq!(told.ask("curl('http://ok.test/')"), "000", "no answer");
        let mark = canary();
        told.ask(&format!(
            "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{mark}', {FAR})"
        ));
        assert!(!lab.wire().saw(&mark));
    };
    closed(&mut told);
    // A run of something else removes what is left of dead runs, but not what keeps this closed.
    lab.jail().command(["true"]).run().expect_code(0);
    closed(&mut told);
    assert_eq!(lab.requests_for("ok.test").len(), 1);

    // Nor can another user of the host take the proxy's place.
    assert_eq!(ports.len(), 2);
    for (port, why) in ports.iter().map(|port| (*port, "PermissionError")).chain([(0, "")]) {
        let bind = format!("import socket; socket.socket().bind(('127.0.0.1', {port}))");
        let bound = lab.unjailed().as_user().command([PYTHON, "-c", &bind]).run();
        assert_eq!(bound.code() == Some(0), port == 0, "{bound:#?}");
        bound.expect_stderr_has(why);
    }

    let said = detach(&lab, &cgroup.0);
    assert!(said.contains("detached from"), "{said}");
    // The kernel lets go of the programs a moment later.
    assert!(eventually(LIMIT, || gets_out(&lab, &mut told)));
    assert_eq!(traces(&lab), Vec::<String>::new());
}

// Proves: K12.
#[test]
fn a_dead_attachment_is_taken_over() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let first = Attached::start(&lab, &cgroup.0);
    first.run.signal(Signal::SIGKILL);
    first.run.wait().unwrap();
    assert!(!gets_out(&lab, &mut told));

    let second = Attached::start(&lab, &cgroup.0);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    // A third is refused while the second lives.
    let refused = attach(&lab, &cgroup.0, &lab.fresh_path("third.json")).wait().unwrap();
    refused.expect_code(125).expect_stderr_has("is already attached to");
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    // And `detach` ends a living one.
    detach(&lab, &cgroup.0);
    second.run.wait().unwrap().expect_code(0);
    assert!(eventually(LIMIT, || gets_out(&lab, &mut told)));
    assert_eq!(traces(&lab), Vec::<String>::new());
}

// Proves: P19.
#[test]
fn a_cgroup_that_goes_ends_it() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let told = Told::start(&lab, &cgroup.0);
    let attached = Attached::start(&lab, &cgroup.0);
    assert!(cgroup.end());
    attached.run.wait().unwrap().expect_code(0).expect_stderr_has("is gone");
    drop(told);
    assert_eq!(traces(&lab), Vec::<String>::new());

    // When httpjail dies first, the next run of anything removes the names.
    let cgroup = Cgroup::new();
    let attached = Attached::start(&lab, &cgroup.0);
    attached.run.signal(Signal::SIGKILL);
    attached.run.wait().unwrap();
    assert!(cgroup.end());
    assert_ne!(traces(&lab), Vec::<String>::new());
    lab.jail().command(["true"]).run().expect_code(0);
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// The first words that the listener gives a connection from the world, if it gives any.
fn from_outside(lab: &Lab, port: u16) -> Option<String> {
    lab.on_world(|| {
        let at = SocketAddr::from((JAILSIDE_V4, port));
        let Ok(mut stream) = TcpStream::connect_timeout(&at, Duration::from_secs(2)) else {
            return Ok(None);
        };
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut text = String::new();
        Ok(stream.read_to_string(&mut text).ok().map(|_| text))
    })
    .unwrap()
}

// Proves: S26.
#[test]
fn a_listener_is_not_reached_from_outside() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    told.ask("import threading");
    let serve = |told: &mut Told, mark: &str| -> u16 {
        told.ask("listener = socket.create_server(('0.0.0.0', 0))");
        told.ask("listener.settimeout(None)");
        let loops = format!(
            "threading.Thread(target=lambda l: [(c.sendall(b'{mark}'), c.close()) for c, _ in iter(l.accept, None)], \
             args=(listener,), daemon=True).start()"
        );
        told.ask(&loops);
        told.ask("listener.getsockname()[1]").parse().unwrap()
    };
    let (old_mark, new_mark) = (canary(), canary());
    let old = serve(&mut told, &old_mark);
    assert_eq!(from_outside(&lab, old).as_deref(), Some(old_mark.as_str()));

    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(from_outside(&lab, old), None);
    let new = serve(&mut told, &new_mark);
    assert_eq!(from_outside(&lab, new), None);
    assert!(!lab.wire().saw(&new_mark));
    // From inside, the new one is.
    let own = format!("socket.create_connection(('127.0.0.1', {new})).recv(100).decode()");
    assert_eq!(told.ask(&own), new_mark);
    attached.end();
    assert_eq!(from_outside(&lab, old).as_deref(), Some(old_mark.as_str()));
}

/// A process may hold the lock of its own memory, in which its command line lies, and so whoever reads that. Here that one is
/// stopped.
#[test]
fn a_command_line_that_cannot_be_read_holds_nothing_up() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let pid = told.ask("__import__('os').getpid()");
    let path = format!("/proc/{pid}/cmdline");
    let trace = lab.fresh_path("trace");
    let hold = [
        "strace",
        "-f",
        "-o",
        trace.to_str().unwrap(),
        "-P",
        &path,
        "-e",
        "trace=read",
    ];
    let hold = hold
        .map(OsString::from)
        .into_iter()
        .chain(["-e", "inject=read:signal=SIGSTOP"].map(OsString::from));
    let log = lab.fresh_path("attach.json");
    let run = attach_by(lab.unjailed().through(hold), &lab, &cgroup.0, &log, &[]);
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
    let attached = Attached { run, log };
    // Judged all the same, as is the next, and the end is heard.
    for _ in 0..2 {
        told.ask("socket.create_connection(('198.51.100.2', 80)).sendall(b'GET / HTTP/1.1\\r\\nHost: evil.test\\r\\n\\r\\n')");
    }
    let told = |file: &Path, word: &str| fs::read_to_string(file).unwrap_or_default().matches(word).count();
    assert!(
        eventually(LIMIT, || told(&attached.log, "evil.test") >= 2),
        "{}",
        attached.run.stderr()
    );
    assert!(
        eventually(LIMIT, || told(&trace, "+++ killed by SIGKILL +++") >= 2),
        "{}",
        fs::read_to_string(&trace).unwrap()
    );
    // strace would keep the signal to itself.
    let strace = attached.run.pid();
    let children = fs::read_to_string(format!("/proc/{strace}/task/{strace}/children")).unwrap();
    let supervisor = children.split_whitespace().next().unwrap().parse().unwrap();
    kill(Pid::from_raw(supervisor), Signal::SIGTERM).unwrap();
    attached.run.wait().unwrap().expect_code(0);
}

/// Whoever only listens says nothing that could be refused: what arrives has to be.
// Proves: S26.
#[test]
fn a_datagram_from_outside_is_not_heard() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let send = |port: u16, mark: &str| {
        let sent = lab.on_world(|| Ok(UdpSocket::bind("0.0.0.0:0")?.send_to(mark.as_bytes(), (JAILSIDE_V4, port))?));
        sent.unwrap();
        assert!(eventually(LIMIT, || lab.wire().saw(mark)), "{mark} was never sent");
    };
    let listen = |told: &mut Told| -> u16 {
        told.ask("ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
        told.ask("ear.bind(('0.0.0.0', 0))");
        told.ask("ear.getsockname()[1]").parse().unwrap()
    };
    let (before, during, own) = (canary(), canary(), canary());
    let port = listen(&mut told);
    send(port, &before);
    assert_eq!(told.ask("ear.recv(100).decode()"), before);

    let attached = Attached::start(&lab, &cgroup.0);
    let port = listen(&mut told);
    send(port, &during);
    // From inside it is, and nothing is before it.
    told.ask("mouth = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
    told.ask(&format!("mouth.sendto(b'{own}', ('127.0.0.1', {port}))"));
    assert_eq!(told.ask("ear.recv(100).decode()"), own);
    attached.end();
}

/// The ports of the sockets on 127.0.0.1 in that table of the jailed side (proc_net_tcp(5)), in that state.
fn local_ports(lab: &Lab, table: &str, state: &str) -> Vec<u16> {
    let table = format!("/proc/thread-self/net/{table}");
    let text = lab.on_jailside(|| Ok(fs::read_to_string(table)?)).unwrap();
    let port = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (near, _far, found) = (fields.next()?, fields.next()?, fields.next()?);
        let port = near.strip_prefix("0100007F:")?;
        (found == state).then(|| u16::from_str_radix(port, 16).ok())?
    };
    text.lines().filter_map(port).collect()
}

/// A question for the address of `ok.test` (RFC 1035, 4.1).
const QUESTION: &[u8] = b"\x01\x02\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x02ok\x04test\x00\x00\x01\x00\x01";

// Proves: S18, S21.
#[test]
fn others_on_the_host_are_not_served() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let attached = Attached::start(&lab, &cgroup.0);
    // The same bytes from inside are answered, so it is not the bytes.
    told.ask(&format!("QUESTION = b'{}'", QUESTION.escape_ascii()));
    told.ask("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
    told.ask("u.sendto(QUESTION, ('198.51.100.2', 53))");
    assert_eq!(told.ask("u.recv(500)[:2]"), "b'\\x01\\x02'");
    told.ask("t = socket.create_connection(('198.51.100.2', 80))");
    told.ask("t.sendall(b'GET / HTTP/1.1\\r\\nHost: ok.test\\r\\n\\r\\n')");
    assert_eq!(told.ask("t.recv(12)"), "b'HTTP/1.1 200'");

    let (resolvers, listeners) = (local_ports(&lab, "udp", "07"), local_ports(&lab, "tcp", "0A"));
    assert_eq!(
        (resolvers.len(), listeners.len()),
        (1, 2),
        "the resolver's two sockets, and the proxy"
    );
    for port in listeners {
        let answer = lab.on_jailside(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(LIMIT))?;
            // It may be closed already.
            let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: ok.test\r\n\r\n");
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            Ok(answer)
        });
        assert_eq!(answer.unwrap(), b"", "{port}");
    }
    lab.on_jailside(|| {
        let stranger = UdpSocket::bind("127.0.0.1:0")?;
        stranger.send_to(QUESTION, ("127.0.0.1", resolvers[0]))?;
        // What came before the jail's next question has been read when that is answered.
        told.ask("u.sendto(QUESTION, ('198.51.100.2', 53))");
        assert_eq!(told.ask("u.recv(500)[:2]"), "b'\\x01\\x02'");
        stranger.set_nonblocking(true)?;
        let answer = stranger.recv_from(&mut [0; 500]);
        assert!(answer.is_err(), "{answer:?}");
        Ok(())
    })
    .unwrap();
    attached.end();
}

// Proves: S04, S05, S06, S09, S10, S12, S13, S27.
#[test]
fn no_way_around() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    // Each leads past the hooks that see addresses; `{mark}` is what must not be on the wire. Made before, used after.
    let ways = [
        (
            "an old connected udp socket",
            format!("a = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); a.connect({FAR})"),
            "a.send(b'{mark}')".to_owned(),
        ),
        (
            "an old connection",
            format!("b = socket.create_connection({FAR})"),
            "b.sendall(b'{mark}')".to_owned(),
        ),
        (
            "an old ipv6 connection",
            format!("c = socket.create_connection({FAR_V6})"),
            "c.sendall(b'{mark}')".to_owned(),
        ),
        (
            "a socket bound to a device",
            "d = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); d.setsockopt(1, 25, b'j0')".to_owned(),
            format!("d.sendto(b'{{mark}}', {FAR})"),
        ),
        (
            "a routing header",
            format!(
                "e = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); e.setsockopt(41, 57, bytes([0, 2, 4, 0, 0, 0, 0, 0]) \
                 + socket.inet_pton(socket.AF_INET6, '{}')); e.connect({FAR_V6})",
                "2001:db8:99::3"
            ),
            "e.send(b'{mark}')".to_owned(),
        ),
        (
            "udp-lite",
            "f = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 136)".to_owned(),
            format!("f.sendto(b'{{mark}}', {FAR})"),
        ),
        (
            "ping",
            "g = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)".to_owned(),
            "g.sendto(bytes([8, 0, 0, 0, 0, 0, 0, 0]) + b'{mark}', ('198.51.100.2', 0))".to_owned(),
        ),
        (
            "a raw socket",
            "h = socket.socket(socket.AF_INET, socket.SOCK_RAW, 253)".to_owned(),
            "h.sendto(b'{mark}', ('198.51.100.2', 0))".to_owned(),
        ),
    ];
    let seen = |told: &mut Told, go: &str| {
        let mark = canary();
        let said = told.ask(&go.replace("{mark}", &mark));
        (lab.wire().saw(&mark), said)
    };
    for (name, make, go) in &ways {
        assert_eq!(told.ask(make), "done", "{name}");
        let (out, said) = seen(&mut told, go);
        assert!(out, "{name}, before: {said}");
    }
    let attached = Attached::start(&lab, &cgroup.0);
    for (name, make, go) in &ways {
        let (out, said) = seen(&mut told, go);
        assert!(!out, "{name}, old: {said}");
        // And one made anew.
        told.ask(make);
        let (out, said) = seen(&mut told, go);
        assert!(!out, "{name}, new: {said}");
    }
    // The sockets, and then what was tried with them.
    for reason in [
        "older than the jail",
        "packet on interface",
        "sockets are not allowed",
        "socket option",
    ] {
        let told = |event: &Value| event["reason"].as_str().is_some_and(|text| text.contains(reason));
        let reported = eventually(LIMIT, || attached.blocked().iter().any(told));
        assert!(reported, "{reason}: {:#?}", attached.blocked());
    }
    attached.end();
}

#[test]
fn in_the_network_namespace_of_its_processes() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let elsewhere = "exec unshare -n sh -c 'ip link set lo up; exec \"$@\"' sh \"$@\"";
    let mut told = Told::start_with(&lab, &cgroup.0, elsewhere);
    assert_eq!(
        told.ask("curl('http://198.51.100.2/')"),
        "000",
        "there is no way out of there"
    );
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");
    attached.end();

    let _other = Told::start(&lab, &cgroup.0);
    let run = attach(&lab, &cgroup.0, &lab.fresh_path("refused.json"));
    let refused = run.wait().unwrap().expect_code(125);
    refused.expect_stderr_has("are in 2 network namespaces");
    assert_eq!(traces(&lab), Vec::<String>::new());
}

// Proves: P01, P02, S37.
#[test]
fn what_cannot_be_held_is_refused() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let refused = |path: &Path, why: &str| {
        let run = attach(&lab, path, &lab.fresh_path("refused.json"));
        run.wait().unwrap().expect_code(125).expect_stderr_has(why);
    };
    refused(Path::new("/tmp"), "no such cgroup");
    refused(cgroup.0.parent().unwrap(), "contains the whole system");
    // No room for the canary: what was attached by then is detached.
    let mut inside = Told::start(&lab, &cgroup.0);
    fs::write(cgroup.0.join("cgroup.max.descendants"), "0").unwrap();
    refused(&cgroup.0, "cannot test the steering in a cgroup below");
    fs::write(cgroup.0.join("cgroup.max.descendants"), "max").unwrap();
    assert!(eventually(LIMIT, || gets_out(&lab, &mut inside)));
    assert_eq!(traces(&lab), Vec::<String>::new());
    drop(inside);
    assert!(cgroup.end());
    fs::create_dir(&cgroup.0).unwrap();
    // A parent that a user may write to: its processes can leave.
    let below = cgroup.0.join("below");
    fs::create_dir(&below).unwrap();
    std::os::unix::fs::chown(&cgroup.0, Some(4242), None).unwrap();
    refused(&below, "could leave the cgroup");
    std::os::unix::fs::chown(&cgroup.0, Some(0), None).unwrap();
    fs::remove_dir(&below).unwrap();
    // A socket that was made elsewhere and brought along: no program would see what it sends.
    let script = "exec \"$@\"";
    let mut told = Told::start_with(&lab, cgroup.0.parent().unwrap(), script);
    told.ask("import os");
    told.ask(&format!("s = socket.create_connection({FAR})"));
    told.ask(&format!("open('{}/cgroup.procs', 'w').write('0')", cgroup.0.display()));
    refused(&cgroup.0, "was created outside of it");
    assert!(gets_out(&lab, &mut told), "it is as open as it was");
    // Closed, it is in nobody's way.
    told.ask("s.close()");
    let attached = Attached::start(&lab, &cgroup.0);
    assert!(!gets_out(&lab, &mut told));
    attached.end();
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// What no program on a cgroup sees is said at the start, by name.
#[test]
fn what_it_cannot_hold_is_said() {
    let lab = lab();
    let cgroup = Cgroup::new();
    // A user whom nobody else on this host has.
    let user = 40_000 + std::process::id() % 20_000;
    let as_user = format!("exec setpriv --reuid {user} --clear-groups \"$@\"");
    let said = |others: &str| {
        let _told = Told::start_with(&lab, &cgroup.0, &as_user);
        let said = Attached::start(&lab, &cgroup.0).end();
        eprintln!("{others}: {said}");
        said
    };
    assert!(!said("nobody else").contains(&format!("user {user} has")));
    // Another process of the same user, in a network namespace of its own.
    let (reader, line) = std::io::pipe().unwrap();
    let outside = lab
        .unjailed()
        .stdin_from(reader)
        .shell(&format!(
            "exec setpriv --reuid {user} --clear-groups unshare -Un sh -c 'echo up; exec cat'"
        ))
        .start()
        .unwrap();
    assert!(eventually(LIMIT, || outside.stdout() == "up\n"), "{}", outside.stderr());
    let told = said("a neighbor");
    for part in [
        format!(
            "user {user} has processes outside of {}, too: process",
            cgroup.0.display()
        ),
        format!("user {user} has network namespaces outside (process"),
        "pidfd_getfd".to_owned(),
    ] {
        assert!(told.contains(&part), "no {part:?}: {told}");
    }
    drop(line);
    outside.wait().unwrap();
    // Root among the processes is named, too.
    let _root = Told::start(&lab, &cgroup.0);
    let told = Attached::start(&lab, &cgroup.0).end();
    assert!(told.contains("CAP_NET_RAW") && told.contains("(python3"), "{told}");
    // As is the family that knows no cgroup, where there is one: it is never spoken to here.
    let vsock =
        Path::new("/dev/vsock").exists() || fs::read_to_string("/proc/net/protocols").unwrap().contains("AF_VSOCK");
    assert_eq!(told.contains("AF_VSOCK"), vsock, "{told}");
}

/// Another attachment that takes its time, anywhere, keeps no cgroup open: it is closed first, and the waiting is told.
#[test]
fn closed_while_it_waits_for_others() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    assert!(gets_out(&lab, &mut told));
    let busy = lab
        .on_jailside(|| {
            fs::create_dir_all("/run/httpjail")?;
            let folder = fs::File::open("/run/httpjail")?;
            folder.lock()?;
            Ok(folder)
        })
        .unwrap();
    let run = attach(&lab, &cgroup.0, &lab.fresh_path("waits.json"));
    assert!(
        eventually(LIMIT, || run.stderr().contains("waiting for another")),
        "{}",
        run.stderr()
    );
    assert!(!run.stderr().contains("attached to"));
    assert!(!gets_out(&lab, &mut told));
    drop(busy);
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0);
    assert_eq!(traces(&lab), Vec::<String>::new());
}

/// Where anybody may bind to low ports, as in containers, somebody takes the place of a proxy that was killed: the cgroup is
/// closed to that, too.
// Proves on attach: P21.
#[test]
fn a_port_that_is_taken_after_kill_9() {
    let lab = lab();
    lab.on_jailside(|| Ok(fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0")?))
        .unwrap();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let attached = Attached::start(&lab, &cgroup.0);
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    let ports = local_ports(&lab, "tcp", "0A");
    assert_eq!(ports.len(), 2);
    let name = cgroup.0.file_name().unwrap().to_str().unwrap();
    let is_httpjail = |pid: &i32| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == lab.binary());
    for pid in processes_with(name).into_iter().filter(is_httpjail) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    attached.run.wait().unwrap();

    let squat = "import socket, sys, threading\ndef serve(s):\n    while True:\n        c, _ = s.accept()\n        \
                 print('tcp', c.recv(100), flush=True)\ndef hear(s):\n    while True:\n        print('udp', s.recv(100), \
                 flush=True)\nfor port in sys.argv[1:]:\n    s = socket.create_server(('127.0.0.1', int(port)))\n    \
                 threading.Thread(target=serve, args=(s,), daemon=True).start()\n    s = socket.socket(socket.AF_INET, \
                 socket.SOCK_DGRAM)\n    s.bind(('127.0.0.1', int(port)))\n    threading.Thread(target=hear, args=(s,), \
                 daemon=True).start()\nprint('up', flush=True)\nsys.stdin.read()";
    let (reader, line) = std::io::pipe().unwrap();
    let squatter = lab
        .unjailed()
        .as_user()
        .stdin_from(reader)
        .command([PYTHON, "-c", squat, &ports[0].to_string(), &ports[1].to_string()])
        .start()
        .unwrap();
    assert!(
        eventually(LIMIT, || squatter.stdout().starts_with("up\n")),
        "{}",
        squatter.stderr()
    );
    let mark = canary();
    for port in &ports {
        told.ask(&format!(
            "socket.create_connection(('127.0.0.1', {port}), timeout=2).sendall(b'{mark}')"
        ));
    }
    told.ask(&format!(
        "socket.create_connection({FAR}, timeout=2).sendall(b'{mark}')"
    ));
    told.ask(&format!(
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{mark}', ('198.51.100.2', 53))"
    ));
    // Who is not in the cgroup reaches all of it.
    let free = canary();
    for port in &ports {
        let send = format!(
            "import socket; socket.create_connection(('127.0.0.1', {port})).sendall(b'{free}'); \
             socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{free}', ('127.0.0.1', {port}))"
        );
        lab.unjailed().command([PYTHON, "-c", &send]).run().expect_code(0);
    }
    let heard = || squatter.stdout();
    assert!(eventually(LIMIT, || heard().matches(&free).count() == 4), "{}", heard());
    assert!(!heard().contains(&mark), "{}", heard());
    drop(line);
    squatter.wait().unwrap();
    detach(&lab, &cgroup.0);
}

/// One program in the cgroup authenticates a connection as NTLM does, and another asks beside and after it.
// Proves on attach: H10.
#[test]
fn programs_do_not_get_each_others_connections() {
    let lab = lab();
    let _origins = OddOrigins::start(&lab);
    let cgroup = Cgroup::new();
    let mut first = Told::start(&lab, &cgroup.0);
    let mut second = Told::start(&lab, &cgroup.0);
    let (log, option) = (lab.fresh_path("attach.json"), Path::new("-r"));
    let run = attach_with(
        &lab,
        &cgroup.0,
        &log,
        &[option, Path::new(r"allow: ^http://ok\.test:9601/")],
    );
    assert!(
        eventually(LIMIT, || run.stderr().contains("attached to")),
        "{}",
        run.stderr()
    );
    assert_eq!(
        first.ask("import http.client; c = http.client.HTTPConnection('ok.test', 9601)"),
        "done"
    );
    assert_eq!(
        first.ask("def get(*proof): c.request('GET', '/', headers={'Authorization': p for p in proof}); r = c.getresponse(); r.read(); return r.status"),
        "done"
    );
    assert_eq!(first.ask("get('NTLM TlRMTVNTUAABAAAA')"), "401");
    assert_eq!(first.ask("get('NTLM TlRMTVNTUAADAAAA')"), "200");
    assert_eq!(second.ask("curl('http://ok.test:9601/')"), "401");
    assert_eq!(first.ask("get()"), "200");
    assert_eq!(first.ask("c.close()"), "None");
    assert_eq!(second.ask("curl('http://ok.test:9601/')"), "401");
    Attached { run, log }.end();
}
