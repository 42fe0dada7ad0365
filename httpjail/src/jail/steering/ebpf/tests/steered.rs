//! What is bent, and what passes: each kind of connection reaches the listener that it should, with the right flow.

use super::lab::{Lab, in_namespace};
use httpjail_common::Stat;

// Proves: S07, S15, S19, S34.
#[test]
fn tcp_reaches_the_proxy_with_the_destination_it_asked_for() {
    in_namespace(|| {
        Lab::armed().check(&[
            ("tcp('192.0.2.1', 80)", "proxy 192.0.2.1:80 peer 192.0.2.1:80"),
            (
                "tcp('2001:db8::1', 443)",
                "proxy [2001:db8::1]:443 peer [2001:db8::1]:443",
            ),
            // v4-mapped: an IPv4 destination, whatever the socket.
            (
                "tcp('::ffff:192.0.2.1', 80)",
                "proxy 192.0.2.1:80 peer [::ffff:192.0.2.1]:80",
            ),
            ("fast_open('192.0.2.1', 80)", "proxy 192.0.2.1:80"),
            ("fast_open('2001:db8::1', 80)", "proxy [2001:db8::1]:80"),
            ("fast_open_connect('192.0.2.1', 80)", "proxy 192.0.2.1:80"),
            ("fast_open_connect('2001:db8::1', 80)", "proxy [2001:db8::1]:80"),
            // Any source that the jail has.
            (
                "tcp('192.0.2.1', 80, bind='198.18.0.1')",
                "proxy 192.0.2.1:80 peer 192.0.2.1:80",
            ),
            (
                "tcp('192.0.2.1', 80, bind='127.9.8.7')",
                "proxy 192.0.2.1:80 peer 192.0.2.1:80",
            ),
            (
                "tcp('2001:db8::1', 80, bind='2001:2::1')",
                "proxy [2001:db8::1]:80 peer [2001:db8::1]:80",
            ),
            // Special addresses are destinations like others: the proxy decides.
            (
                "tcp('169.254.169.254', 80)",
                "proxy 169.254.169.254:80 peer 169.254.169.254:80",
            ),
            ("tcp('224.0.0.1', 80)", "proxy 224.0.0.1:80 peer 224.0.0.1:80"),
            (
                "tcp('255.255.255.255', 80)",
                "proxy 255.255.255.255:80 peer 255.255.255.255:80",
            ),
        ]);
    });
}

// Proves: S17.
#[test]
fn loopback_without_a_listener_of_the_jail_goes_to_the_proxy() {
    in_namespace(|| {
        let lab = Lab::armed();
        // A listener that is not the jail's, in the same namespace.
        let foreign = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        foreign.set_nonblocking(true).unwrap();
        let port = foreign.local_addr().unwrap().port();
        lab.check(&[
            ("tcp('127.0.0.1', 5432)", "proxy 127.0.0.1:5432 peer 127.0.0.1:5432"),
            ("tcp('127.1.2.3', 5432)", "proxy 127.1.2.3:5432 peer 127.1.2.3:5432"),
            ("tcp('::1', 5432)", "proxy [::1]:5432 peer [::1]:5432"),
            (
                "tcp('::ffff:127.0.0.1', 5432)",
                "proxy 127.0.0.1:5432 peer [::ffff:127.0.0.1]:5432",
            ),
            // "This host" is said as localhost.
            ("tcp('0.0.0.0', 5432)", "proxy 127.0.0.1:5432 peer 127.0.0.1:5432"),
            ("tcp('::', 5432)", "proxy [::1]:5432 peer [::1]:5432"),
            ("tcp('198.18.0.1', 5432)", "proxy 198.18.0.1:5432 peer 198.18.0.1:5432"),
            (
                &format!("tcp('127.0.0.1', {port}).replace('{port}', 'P')"),
                "proxy 127.0.0.1:P peer 127.0.0.1:P",
            ),
            (
                &format!("tcp('::ffff:127.0.0.1', {port}).replace('{port}', 'P')"),
                "proxy 127.0.0.1:P peer [::ffff:127.0.0.1]:P",
            ),
        ]);
        assert_eq!(foreign.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
        // The twin: outside the jail that listener answers.
        drop(std::net::TcpStream::connect(("127.0.0.1", port)).unwrap());
    });
}

/// What a program that waits for its own server counts on. The twin is the test before.
// Proves: S17.
#[test]
fn loopback_without_a_listener_is_refused_where_no_rule_leads_out() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        lab.config.host_loopback = 0;
        lab.configure();
        let refused = "ECONNREFUSED";
        lab.check(&[
            ("tcp('127.0.0.1', 5432)", refused),
            ("tcp('127.1.2.3', 5432)", refused),
            ("tcp('::1', 5432)", refused),
            ("tcp('::ffff:127.0.0.1', 5432)", refused),
            ("tcp('0.0.0.0', 5432)", refused),
            ("tcp('198.18.0.1', 5432)", refused),
            ("tcp('192.0.2.1', 80)", "proxy 192.0.2.1:80 peer 192.0.2.1:80"),
        ]);
    });
}

// Proves: S17.
#[test]
fn the_jails_own_listeners_are_reached() {
    in_namespace(|| {
        let lab = Lab::armed();
        let output = lab.python(
            r#"
def serve(family, host, port):
    s = socket(family, SOCK_STREAM); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.bind((host, port)); s.listen()
    def loop():
        while True:
            c, _ = s.accept()
            with c:
                c.recv(10); c.sendall(b'own')
    threading.Thread(target=loop, daemon=True).start()

def own(host, port, bind=None):
    with socket(AF_INET6 if ':' in host else AF_INET, SOCK_STREAM) as s:
        s.settimeout(10)
        if bind: s.bind(bind)
        s.connect((host, port)); s.sendall(b'x')
        return read_all(s)

serve(AF_INET, '0.0.0.0', 3000)
serve(AF_INET6, '::', 3001)
serve(AF_INET6, '::1', 3002)
serve(AF_INET, '127.0.0.1', 53)
for host in ['127.0.0.1', '127.5.5.5', '0.0.0.0', '198.18.0.1', '::ffff:127.0.0.1']:
    assert own(host, 3000) == 'own', host
for host in ['127.0.0.1', '::1', '::', '2001:2::1', '198.18.0.1']:
    assert own(host, 3001) == 'own', host
assert own('::1', 3002) == 'own'
assert own('127.0.0.1', 53) == 'own'
# A wildcard listener counts for the jail's own addresses only.
assert told(own('192.0.2.1', 3000)) == 'proxy 192.0.2.1:3000'
assert told(own('2001:db8::1', 3001)) == 'proxy [2001:db8::1]:3001'
# A socket that went to the proxy before goes to the jail's own listener like any other.
import ctypes
s = socket(); s.settimeout(None); s.connect(('192.0.2.1', 80))
assert ctypes.CDLL(None).connect(s.fileno(), struct.pack('H14x', 0), 16) == 0
s.connect(('127.0.0.1', 3000)); assert s.getpeername() == ('127.0.0.1', 3000); s.sendall(b'x'); assert read_all(s) == 'own'; s.close()
# One source port, many connections: the far end's TIME_WAIT must not hide the listener.
for _ in range(300):
    s = socket(AF_INET, SOCK_STREAM); s.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1); s.settimeout(10)
    s.bind(('127.0.0.1', 40000)); s.connect(('127.0.0.1', 3000)); s.sendall(b'x')
    assert read_all(s) == 'own'; s.close()

# Datagrams: a bound socket, then two that are connected to each other.
a = socket(AF_INET, SOCK_DGRAM); a.bind(('127.0.0.1', 4000)); a.settimeout(10)
b = socket(AF_INET, SOCK_DGRAM); b.bind(('127.0.0.1', 4001)); b.settimeout(10)
b.sendto(b'one', ('127.0.0.1', 4000)); data, peer = a.recvfrom(10)
assert (data, peer) == (b'one', ('127.0.0.1', 4001)), (data, peer)
a.connect(peer); b.connect(('127.0.0.1', 4000)); b.send(b'two'); assert a.recv(10) == b'two'
a.send(b'three'); assert b.recv(10) == b'three'
c = socket(AF_INET6, SOCK_DGRAM); c.bind(('::1', 4002)); c.settimeout(10); c.sendto(b'six', ('::1', 4002)); assert c.recv(10) == b'six'
print('done')
"#,
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "done\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        // Two went to the proxy, and then one more, whose socket went on to a listener of the jail: that has no flow.
        assert_eq!(lab.programs.stat(Stat::FlowWritten).unwrap(), 3);
        assert!(lab.programs.stat(Stat::OwnSocket).unwrap() > 300);
        assert_eq!(lab.programs.stat(Stat::Denied).unwrap(), 0);
    });
}

// Proves: S21, S34, S25.
#[test]
fn dns_reaches_the_resolver_whatever_server_is_asked() {
    in_namespace(|| {
        Lab::armed().check(&[
            ("udp('192.0.2.53', 53)", "hello from 192.0.2.53:53"),
            ("udp('2001:db8::53', 53)", "hello from [2001:db8::53]:53"),
            ("udp('::ffff:192.0.2.53', 53)", "hello from [::ffff:192.0.2.53]:53"),
            ("udp('127.0.0.53', 53)", "hello from 127.0.0.53:53"),
            ("udp('224.0.0.251', 53)", "hello from 224.0.0.251:53"),
            ("udp('192.0.2.53', 53, bind='198.18.0.1')", "hello from 192.0.2.53:53"),
            (
                "udp_connected('192.0.2.53', 53)",
                "hello from 192.0.2.53:53 peer 192.0.2.53:53",
            ),
            (
                "udp_connected('2001:db8::53', 53)",
                "hello from [2001:db8::53]:53 peer [2001:db8::53]:53",
            ),
            (
                "udp_connected('::ffff:192.0.2.53', 53)",
                "hello from [::ffff:192.0.2.53]:53 peer [::ffff:192.0.2.53]:53",
            ),
            ("tcp('192.0.2.53', 53)", "resolver 192.0.2.53:53 peer 192.0.2.53:53"),
            (
                "tcp('2001:db8::53', 53)",
                "resolver [2001:db8::53]:53 peer [2001:db8::53]:53",
            ),
        ]);
    });
}

// Proves: S19.
#[test]
fn every_one_of_many_connections_has_its_own_flow() {
    in_namespace(|| {
        let lab = Lab::armed();
        let output = lab.python(
            r#"
from concurrent.futures import ThreadPoolExecutor
def one(n):
    host = f'2001:db8::{n % 999 + 1:x}' if n % 2 else f'192.0.2.{n % 200 + 1}'
    port = 1000 + n
    answer = (fast_open if n % 3 == 0 else lambda h, p: tcp(h, p).split(' peer')[0])(host, port)
    return answer == f'proxy [{host}]:{port}' or answer == f'proxy {host}:{port}' or (host, port, answer)
with ThreadPoolExecutor(8) as pool:
    wrong = [x for x in pool.map(one, range(3200)) if x is not True]
print(len(wrong), wrong[:3])
"#,
        );
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "0 []\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(lab.programs.stat(Stat::FlowWritten).unwrap(), 3200);
        assert_eq!(lab.programs.stat(Stat::FlowLost).unwrap(), 0);
    });
}

// Proves: S19.
#[test]
fn a_flow_can_be_taken_once_and_a_failed_connect_leaves_none() {
    use crate::net::{ClientAddr, OriginalDstSource};
    use socket2::SockRef;
    in_namespace(|| {
        let mut lab = Lab::armed();
        // Nobody listens there: the connect is refused, and its flow must go.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        lab.config.v4.proxy = free;
        lab.configure();
        lab.check(&[("tcp('192.0.2.1', 80, bind='127.7.7.7')", "ECONNREFUSED")]);
        assert_eq!(lab.programs.stat(Stat::FlowWritten).unwrap(), 1);
        let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for port in 1..=u16::MAX {
            let client = ClientAddr(([127, 7, 7, 7], port).into());
            assert_eq!(lab.flows.take(client, SockRef::from(&proxy)), None);
        }
        lab.config.v4.proxy = proxy.local_addr().unwrap().port();
        lab.configure();
        std::thread::scope(|scope| {
            let flows = &lab.flows;
            scope.spawn(move || {
                let (mut stream, client) = proxy.accept().unwrap();
                assert!(flows.take(ClientAddr(client), SockRef::from(&stream)).is_some());
                assert_eq!(flows.take(ClientAddr(client), SockRef::from(&stream)), None);
                // Closing with the byte unread would be a reset.
                std::io::Read::read_exact(&mut stream, &mut [0]).unwrap();
            });
            lab.check(&[("tcp('192.0.2.1', 80)", "closed peer 192.0.2.1:80")]);
        });
    });
}

#[test]
fn flows_can_be_read_without_any_right() {
    in_namespace(|| {
        let lab = Lab::armed();
        let flows = &lab.flows;
        flows.probe_unprivileged().unwrap();
        std::thread::scope(|scope| {
            let probe = scope.spawn(|| {
                // Of this thread alone.
                caps::clear(None, caps::CapSet::Effective).unwrap();
                let def = crate::sys::bpf::MapDef {
                    map_type: 1,
                    key_size: 4,
                    value_size: 4,
                    max_entries: 1,
                    flags: 0,
                    types: None,
                };
                let made = crate::sys::bpf::map_create("none", &def).map_err(|error| error.raw_os_error());
                (made.map(drop), flows.probe_unprivileged())
            });
            let (made, probed) = probe.join().unwrap();
            assert_eq!(made, Err(Some(libc::EPERM)), "the thread still has rights");
            probed.unwrap();
        });
    });
}
