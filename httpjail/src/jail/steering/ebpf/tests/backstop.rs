//! What the address hooks cannot see, and the packet programs stop: headers, interfaces, older sockets, the way in.
//!
//! The `world` is a namespace at the other end of a veth pair. It records every frame that holds the canary.

use super::lab::{Lab, Talker, in_namespace};
use crate::jail::steering::ebpf::events::record;
use std::process::Command;

const WORLD: &str = r#"
import queue, subprocess
frames = queue.SimpleQueue()
def up():
    for command in ['link set lo up', 'address add 198.51.100.2/24 dev world', 'address add 2001:db8:99::2/64 dev world nodad', 'link set world up']:
        subprocess.run(['ip', *command.split()], check=True)
    sniffer = socket(AF_PACKET, SOCK_RAW, htons(3)); sniffer.bind(('world', 0))
    def sniff():
        while True:
            frame = sniffer.recv(65536)
            if b'canary' in frame: frames.put(frame)
    threading.Thread(target=sniff, daemon=True).start()
    s = socket(); s.bind(('198.51.100.2', 9000)); s.listen()
    def serve():
        while True:
            c, _ = s.accept()
            threading.Thread(target=lambda: [c.sendall(b) for b in iter(lambda: c.recv(100), b'')], daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
    return 'up'

def reach(port):
    try:
        create_connection(('198.51.100.1', port), 1).close()
        return 'reached'
    except TimeoutError:
        return 'timed out'

listen_to_stdin(globals())
"#;

fn world() -> Talker {
    let mut world = Talker::elsewhere(WORLD);
    assert_eq!(world.hear(), "ready");
    for arguments in [
        &format!("link add jailed type veth peer name world netns {}", world.id()),
        "address add 198.51.100.1/24 dev jailed",
        "address add 2001:db8:99::1/64 dev jailed nodad",
        "link set jailed up",
    ] {
        assert!(
            Command::new("ip")
                .args(arguments.split(' '))
                .status()
                .unwrap()
                .success(),
            "{arguments}"
        );
    }
    assert_eq!(world.ask("up()"), "up");
    world
}

// Proves: S04, S26.
#[test]
fn sockets_older_than_the_jail_are_cut_both_ways() {
    in_namespace(|| {
        let mut lab = Lab::unattached();
        let mut world = world();
        let mut inside = lab.start(
            r#"
old = create_connection(('198.51.100.2', 9000)); old.settimeout(1)
unused = socket()
listener = socket(); listener.bind(('0.0.0.0', 7000)); listener.listen(); listener.settimeout(1)
def echo(data):
    old.sendall(data)
    try: return old.recv(100).decode()
    except TimeoutError: return 'timed out'
def fresh():
    s = socket(); s.bind(('0.0.0.0', 7001)); s.listen(); globals()['kept'] = s
    return 'listens'
listen_to_stdin(globals())
"#,
        );
        assert_eq!(inside.hear(), "ready");
        // Before the attach all of it works: the wire is open.
        assert_eq!(inside.ask("echo(b'canary')"), "canary");
        assert_eq!(world.ask("reach(7000)"), "reached");
        // One frame each way. They are recorded beside the connection, at times after it has ended.
        assert_eq!(
            world.ask("[frames.get(timeout=10) for _ in range(2)] and 'seen'"),
            "seen"
        );

        lab.attach();
        lab.config.armed = 1;
        lab.configure();
        assert_eq!(inside.ask("echo(b'canary')"), "timed out");
        assert_eq!(inside.ask("unused.connect(('192.0.2.1', 80))"), "EPERM");
        assert_eq!(world.ask("reach(7000)"), "timed out");
        assert_eq!(inside.ask("fresh()"), "listens");
        assert_eq!(world.ask("reach(7001)"), "timed out");
        assert_eq!(world.ask("frames.qsize()"), "0");
        // A new connection goes to the proxy, although there is a route to the world now.
        assert_eq!(
            inside.ask("tcp('198.51.100.2', 9000)"),
            "proxy 198.51.100.2:9000 peer 198.51.100.2:9000"
        );
        assert_eq!(world.ask("frames.qsize()"), "0");

        let events = lab.events(|event| record(event).reason.unwrap());
        assert!(
            events.keys().any(|reason| reason.starts_with("packet on interface")),
            "{events:?}"
        );
        assert_eq!(events.get("socket from outside the jail"), Some(&1), "{events:?}");
    });
}

// Proves: S12, S13, S14.
#[test]
fn headers_and_interfaces_chosen_by_ancillary_data_are_refused() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        let mut world = world();
        let output = lab.python(
            r#"
a4 = socket(AF_INET, SOCK_DGRAM); a4.bind(('127.0.0.1', 4000)); a4.settimeout(10)
a6 = socket(AF_INET6, SOCK_DGRAM); a6.bind(('::1', 4000)); a6.settimeout(10)
def send(to, where, *ancillary):
    with socket(to.family, SOCK_DGRAM) as s:
        s.sendmsg([b'canary'], ancillary, 0, where)
        return to.recv(100).decode()
here4, here6 = ('127.0.0.1', 4000), ('::1', 4000)
case(lambda: send(a4, here4))
case(lambda: send(a4, here4, (IPPROTO_IP, IP_RETOPTS, b'\x01\x01\x01\x00')))
case(lambda: send(a6, here6))
# Padding, in a destination options header and in a hop-by-hop one.
case(lambda: send(a6, here6, (IPPROTO_IPV6, IPV6_DSTOPTS, b'\x00\x00\x01\x04\x00\x00\x00\x00')))
case(lambda: send(a6, here6, (IPPROTO_IPV6, IPV6_HOPOPTS, b'\x00\x00\x01\x04\x00\x00\x00\x00')))
# Through the veth to what was rewritten to localhost.
case(lambda: send(a4, ('192.0.2.53', 53), (IPPROTO_IP, 8, struct.pack('=I8x', if_nametoindex('jailed')))))
"#,
        );
        let said = String::from_utf8_lossy(&output.stdout);
        let expected = "canary\nEPERM\ncanary\nEPERM\nEPERM\nEPERM\n";
        assert_eq!(said, expected, "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(world.ask("frames.qsize()"), "0");
        let events = lab.events(|event| {
            let record = record(event);
            assert_eq!(record.comm.as_deref(), Some("python3"));
            record.reason.unwrap()
        });
        for reason in [
            "packet has ip options",
            "destination options packets are not allowed",
            "hop-by-hop options packets are not allowed",
        ] {
            assert_eq!(events.get(reason), Some(&1), "{reason}: {events:?}");
        }
        assert!(
            events.keys().any(|reason| reason.starts_with("packet on interface")),
            "{events:?}"
        );
    });
}

// Proves: S26.
#[test]
fn only_the_publisher_reaches_a_listener_from_outside() {
    const MARK: u32 = 0x6a61_696c;
    in_namespace(|| {
        let mut lab = Lab::armed();
        lab.config.publish_mark = MARK;
        lab.configure();
        let mut inside = lab.start(
            r#"
s = socket(); s.bind(('127.0.0.1', 3000)); s.listen()
def greet():
    c, _ = s.accept()
    with c:
        c.sendall(b'hello'); return c.recv(10).decode()
listen_to_stdin(globals())
"#,
        );
        assert_eq!(inside.hear(), "ready");
        let connect = |mark: Option<u32>| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            if let Some(mark) = mark {
                socket.set_mark(mark).unwrap();
            }
            let to = std::net::SocketAddr::from(([127, 0, 0, 1], 3000));
            socket
                .connect_timeout(&to.into(), std::time::Duration::from_secs(1))
                .map(|()| std::net::TcpStream::from(socket))
        };
        assert_eq!(connect(None).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(
            connect(Some(MARK + 1)).unwrap_err().kind(),
            std::io::ErrorKind::TimedOut
        );
        let mut stream = connect(Some(MARK)).unwrap();
        use std::io::{Read, Write};
        stream.write_all(b"world").unwrap();
        assert_eq!(inside.ask("greet()"), "world");
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert_eq!(said, "hello");
        let events = lab.events(|event| record(event).reason.unwrap());
        assert!(
            events.contains_key("tcp packet to or from outside the jail"),
            "{events:?}"
        );
    });
}
