//! `httpjail attach --inbound`: who may connect to what the processes listen on, and what does not become a way out by that.

use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use httpjail_lab::{FORBIDDEN_V4, JAILSIDE_V4, Lab, WORLD_V4, canary, eventually};
use nix::sys::signal::{Signal, kill};
use socket2::{Domain, Socket, Type};

use super::{Attached, Cgroup, FAR, LIMIT, Told, detach};
use crate::support::lab;

/// What `from`, an address of the world, hears at a port of the host, if anything.
fn heard(lab: &Lab, from: Ipv4Addr, port: u16) -> Option<String> {
    lab.on_world(|| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        let to = SocketAddr::from((JAILSIDE_V4, port));
        if socket.connect_timeout(&to.into(), Duration::from_millis(300)).is_err() {
            return Ok(None);
        }
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        let mut text = String::new();
        Ok(stream.read_to_string(&mut text).ok().map(|_| text))
    })
    .unwrap()
}

/// Has the program greet whoever connects; returns the port.
fn greet(told: &mut Told, mark: &str) -> u16 {
    told.ask("import threading");
    told.ask("listener = socket.create_server(('0.0.0.0', 0))");
    told.ask("listener.settimeout(None)");
    told.ask(&format!(
        "threading.Thread(target=lambda l: [(c.sendall(b'{mark}'), c.close()) for c, _ in iter(l.accept, None)], \
         args=(listener,), daemon=True).start()"
    ));
    told.ask("listener.getsockname()[1]").parse().unwrap()
}

// Proves on attach: S26, S41, P15.
#[test]
fn only_the_peers_of_the_policy_come_in() {
    let lab = lab();
    let cgroup = Cgroup::new();
    let mut told = Told::start(&lab, &cgroup.0);
    let mark = canary();
    // Older than the attachment, as a container's is.
    let (port, other) = (greet(&mut told, &mark), greet(&mut told, &mark));
    told.ask("s = socket.create_server(('0.0.0.0', 0))");
    let bound: u16 = told.ask("s.getsockname()[1]").parse().unwrap();
    told.ask("s.close()");
    let inbound = [port, bound].map(|port| format!("{WORLD_V4}/32:{port}"));
    let options = ["--inbound", &inbound[0], "--inbound", &inbound[1]];
    let attached = Attached::start_with(&lab, &cgroup.0, &options);
    assert_eq!(heard(&lab, WORLD_V4, port).as_deref(), Some(mark.as_str()));
    assert_eq!(heard(&lab, FORBIDDEN_V4, port), None, "another peer");
    assert_eq!(heard(&lab, WORLD_V4, other), None, "another port");

    // What listens there does not get out: over TCP from that port, or over UDP.
    let out = canary();
    told.ask("s = socket.socket()");
    told.ask(&format!("s.bind(('0.0.0.0', {bound}))"));
    told.ask(&format!("s.connect({FAR})"));
    told.ask(&format!("s.sendall(b'{out}')"));
    told.ask("u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)");
    told.ask(&format!("u.bind(('0.0.0.0', {bound}))"));
    told.ask(&format!("u.sendto(b'{out}', {FAR})"));
    assert!(!lab.wire().saw(&out));
    // And it is judged as ever.
    assert_eq!(told.ask("curl('http://ok.test/')"), "200");
    assert_eq!(told.ask("curl('http://evil.test/')"), "403");

    // Who comes after httpjail was killed stays outside.
    kill(attached.run.pid(), Signal::SIGKILL).unwrap();
    assert!(attached.run.wait().unwrap().code().is_none());
    assert!(eventually(LIMIT, || heard(&lab, WORLD_V4, port).is_none()));
    detach(&lab, &cgroup.0);
    assert_eq!(heard(&lab, WORLD_V4, port).as_deref(), Some(mark.as_str()));
}
