//! `--publish`: this host reaches what the jail listens on, and nobody else does.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use httpjail_lab::{JAILSIDE_V4, JailBuilder, Lab, Running, canary, eventually, processes_with};
use nix::sys::signal::Signal;

use crate::support::{Expect as _, PYTHON, has_all, lab};

const SERVER: &str = include_str!("support/probes/dev_server.py");
const PORT: u16 = 3000;
const LIMIT: Duration = Duration::from_secs(20);

/// A server in a jail with `options`, at `address` there.
fn serve<'lab>(lab: &'lab Lab, options: &[&str], address: &str) -> JailBuilder<'lab> {
    let program = lab.file("dev_server.py", SERVER);
    let jail = options.iter().fold(lab.jail(), JailBuilder::option);
    jail.command([PYTHON, program.to_str().unwrap(), address, &PORT.to_string()])
}

/// What a client on the host reads after it has said `words` and closed its side.
fn talk(lab: &Lab, at: &str, words: &[u8]) -> io::Result<Vec<u8>> {
    let at: SocketAddr = at.parse().unwrap();
    lab.on_jailside(|| Ok(talk_here(at, words))).unwrap()
}

fn talk_here(at: SocketAddr, words: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&at, LIMIT)?;
    let mut writer = stream.try_clone()?;
    std::thread::scope(|scope| {
        let writing = scope.spawn(move || {
            writer.write_all(words)?;
            writer.shutdown(Shutdown::Write)
        });
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        writing.join().unwrap()?;
        Ok(heard)
    })
}

/// Waits until the server in the jail greets.
#[track_caller]
fn await_server(lab: &Lab, running: &Running, at: &str) {
    let greets = || talk(lab, at, b"").is_ok_and(|heard| heard.starts_with(b"hello"));
    assert!(eventually(LIMIT, greets), "{}", running.stderr());
}

// Proves: S26.
#[test]
fn this_host_reaches_it_and_other_hosts_do_not() {
    let lab = lab();
    let running = serve(&lab, &["--publish", "3000"], "127.0.0.1").start().unwrap();
    await_server(&lab, &running, "127.0.0.1:3000");
    assert_eq!(talk(&lab, "127.0.0.1:3000", b"abc").unwrap(), b"hello\nabcheard 3");
    assert_eq!(talk(&lab, "[::1]:3000", b"").unwrap(), b"hello\nheard 0");

    let megabytes = vec![b'x'; 4 << 20];
    let heard = talk(&lab, "127.0.0.1:3000", &megabytes).unwrap();
    assert_eq!(heard.len(), "hello\n".len() + megabytes.len() + "heard 4194304".len());

    let from_outside = |port| lab.on_world(|| Ok(talk_here((JAILSIDE_V4, port).into(), b""))).unwrap();
    assert!(from_outside(PORT).is_err());
    // The jailside's own address is not loopback either.
    assert!(talk(&lab, "198.51.100.1:3000", b"").is_err());
}

#[test]
fn an_address_that_is_named_is_taken_at_its_word() {
    let lab = lab();
    let running = serve(&lab, &["--publish", "0.0.0.0:3000"], "0.0.0.0").start().unwrap();
    await_server(&lab, &running, "127.0.0.1:3000");
    let heard = lab
        .on_world(|| Ok(talk_here((JAILSIDE_V4, PORT).into(), b"abc")))
        .unwrap();
    assert_eq!(heard.unwrap(), b"hello\nabcheard 3");
    assert!(
        running.stderr().contains("where other machines may reach it"),
        "{}",
        running.stderr()
    );
}

#[test]
fn a_server_on_ipv6_loopback_is_found() {
    let lab = lab();
    let running = serve(&lab, &["--publish", "localhost:3000"], "::1").start().unwrap();
    await_server(&lab, &running, "127.0.0.1:3000");
}

/// Where a rule names the host's loopback, a port there on which nobody in the jail listens is the proxy's. The jail's alone:
/// whoever reaches a published port would have had the jail's rules for a proxy, with absolute URLs and CONNECT.
// Proves: S18.
#[test]
fn with_nobody_listening_it_leads_not_to_the_proxy() {
    let lab = lab();
    let ready = lab.fresh_path("ready");
    let question = "GET http://ok.test/ HTTP/1.1\r\nHost: ok.test\r\nConnection: close\r\n\r\n";
    let inside = format!(
        "exec 3<>/dev/tcp/127.0.0.1/3000; printf '{question}' >&3; cat <&3; touch {}; read",
        ready.display()
    );
    let (end, stdin) = io::pipe().map(|(read, write)| (write, read)).unwrap();
    let running = lab
        .jail()
        .option("--publish")
        .option("3000")
        .rule(r"allow: ^http://(ok\.test|127\.0\.0\.1:3000)/")
        .stdin_from(stdin)
        .command(["bash", "-c", &inside])
        .start()
        .unwrap();
    assert!(eventually(LIMIT, || ready.exists()), "{}", running.stderr());
    for at in ["127.0.0.1:3000", "[::1]:3000"] {
        let heard = talk(&lab, at, question.as_bytes()).unwrap_or_default();
        assert_eq!(String::from_utf8_lossy(&heard), "", "{at}");
    }
    drop(end);
    let outcome = running.wait().unwrap();
    // The jail's own question came to the proxy, and that one only.
    let asked = outcome.events_with(&[("event", "request")]);
    assert_eq!(asked.len(), 1, "{outcome:#?}");
}

/// The jail's loopback is another than the host's. Who asks there for what the host listens to is told of the rule that leads
/// to it; a port on which nobody listens is tried by habit.
#[test]
fn a_service_of_the_host_is_told_of() {
    let lab = lab();
    let service = lab.on_jailside(|| Ok(TcpListener::bind("127.0.0.1:0")?)).unwrap();
    let port = service.local_addr().unwrap().port();
    let ask = format!("exec 3<>/dev/tcp/127.0.0.1/{port}");
    let asked = |options: &[&str]| {
        let jail = options.iter().fold(lab.jail().without_log(), JailBuilder::option);
        jail.command(["bash", "-c", &ask]).run().expect_code(1).stderr
    };
    for options in [&[][..], &["--log-only"]] {
        let rule = format!("-r 'allow: ^http://localhost:{port}/'");
        has_all(
            &asked(options),
            &["httpjail: refused a connection", "a service of this host", &rule],
        );
    }
    drop(service);
    let told = asked(&[]);
    assert!(!told.contains("httpjail:"), "{told}");
}

// Proves: S26.
#[test]
fn what_is_not_published_is_not_there() {
    let lab = lab();
    let ready = lab.fresh_path("ready");
    let script = format!(
        "(until curl -s --http0.9 --max-time 1 http://127.0.0.1:3000/ | grep -q hello; do :; done; touch {}) & exec {PYTHON} {} 127.0.0.1 3000",
        ready.display(),
        lab.file("dev_server.py", SERVER).display(),
    );
    for options in [&[][..], &["--publish", "3001"]] {
        let jail = options.iter().fold(lab.jail(), JailBuilder::option);
        let running = jail.shell(&script).start().unwrap();
        assert!(eventually(LIMIT, || ready.exists()), "{}", running.stderr());
        assert!(talk(&lab, "127.0.0.1:3000", b"").is_err());
        // Nobody listens at the published one: refused like any port.
        assert!(talk(&lab, "127.0.0.1:3001", b"").is_err());
        drop(running);
        std::fs::remove_file(&ready).unwrap();
    }
}

#[test]
fn a_port_that_is_taken_starts_nothing() {
    let lab = lab();
    let taken = lab.on_jailside(|| Ok(TcpListener::bind(("127.0.0.1", PORT))?)).unwrap();
    let jail = || lab.jail().option("--publish").option("3000").shell("echo ran");
    let refused = jail().run().expect_code(125).expect_stdout("");
    refused.expect_stderr_has("hint: another program of this host listens on port 3000");
    drop(taken);
    jail().run().expect_code(0).expect_stdout("ran");
}

#[test]
fn nothing_is_left_of_a_jail_that_was_published() {
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let lab = lab();
        let mark = canary();
        let program = lab.file(&format!("{mark}.py"), SERVER);
        let jail = lab.jail().option("--publish").option("3000");
        let running = jail
            .command([PYTHON, program.to_str().unwrap(), "127.0.0.1", "3000"])
            .start()
            .unwrap();
        await_server(&lab, &running, "127.0.0.1:3000");
        assert!(processes_with(&mark).len() >= 4, "the doorman is one of them");
        running.signal(signal);
        assert!(eventually(LIMIT, || processes_with(&mark).is_empty()), "after {signal}");
        assert!(talk(&lab, "127.0.0.1:3000", b"").is_err());
    }
}
