//! What is refused, with the event that says so, beside a twin that is not.

use super::lab::{Lab, in_namespace};
use crate::jail::steering::ebpf::events::record;
use httpjail_common::{Event, Stat};

fn reason(event: &Event) -> String {
    let record = record(event);
    assert_eq!(record.comm.as_deref(), Some("python3"), "{event:?}");
    assert!(record.pid.is_some_and(|pid| pid > 1), "{event:?}");
    match record.dst {
        Some(dst) => format!("{dst} {}", record.reason.unwrap()),
        None => record.reason.unwrap(),
    }
}

// Proves: S05, S06.
#[test]
fn udp_is_refused_and_reported() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        lab.check(&[
            ("udp('192.0.2.1', 443)", "EPERM"),
            ("udp('2001:db8::1', 443)", "EPERM"),
            ("udp('::ffff:192.0.2.1', 443)", "EPERM"),
            ("udp('127.0.0.1', 4000)", "EPERM"),
            ("udp('255.255.255.255', 67)", "EPERM"),
            ("udp_connected('192.0.2.1', 444)", "EPERM"),
            ("udp_connected('2001:db8::1', 444)", "EPERM"),
            ("udp_connected('::ffff:192.0.2.1', 444)", "EPERM"),
            ("udp('192.0.2.1', 53)", "hello from 192.0.2.1:53"),
        ]);
        let events = lab.events(reason);
        let count = |text: &str| events.get(text).copied().unwrap_or_default();
        assert_eq!(count("192.0.2.1:443 udp is not http"), 2, "{events:?}");
        assert_eq!(count("[2001:db8::1]:443 udp is not http"), 1, "{events:?}");
        assert_eq!(count("127.0.0.1:4000 udp is not http"), 1, "{events:?}");
        assert_eq!(count("255.255.255.255:67 udp is not http"), 1, "{events:?}");
        assert_eq!(count("192.0.2.1:444 udp connect: udp is not http"), 2, "{events:?}");
        assert_eq!(count("[2001:db8::1]:444 udp connect: udp is not http"), 1, "{events:?}");
        assert_eq!(events.values().sum::<usize>(), 8, "{events:?}");
        assert_eq!(lab.programs.stat(Stat::Denied).unwrap(), 8);
    });
}

// Proves: S05.
#[test]
fn udp_stays_refused_after_a_socket_was_let_through() {
    in_namespace(|| {
        let lab = Lab::armed();
        let output = lab.python(
            r#"
AF_UNSPEC_ADDRESS = struct.pack('H14x', 0)
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def disconnect(s):
    assert libc.connect(s.fileno(), AF_UNSPEC_ADDRESS, 16) == 0

s = socket(AF_INET, SOCK_DGRAM); s.settimeout(10)
s.connect(('192.0.2.53', 53)); s.send(b'x'); assert s.recv(9) == b'x'
disconnect(s)
case(lambda: s.sendto(b'x', ('192.0.2.1', 9)))
case(lambda: s.sendmsg([b'x'], [], 0, ('192.0.2.1', 9)))
case(lambda: s.sendto(b'x', MSG_MORE, ('192.0.2.1', 9)))
s.sendto(b'x', ('192.0.2.53', 53)); assert s.recv(9) == b'x'
# An IPv6 socket, connected through a mapped address, that names an IPv4 one.
t = socket(AF_INET6, SOCK_DGRAM); t.settimeout(10)
t.connect(('::ffff:192.0.2.53', 53)); t.send(b'x'); assert t.recv(9) == b'x'
case(lambda: t.sendto(b'x', ('::ffff:192.0.2.1', 9)))
# A sockaddr_in on an IPv6 socket arrives at sendmsg4.
inet = struct.pack('=HH4s8x', AF_INET, htons(9), inet_aton('192.0.2.1'))
u = socket(AF_INET6, SOCK_DGRAM)
print(libc.sendto(u.fileno(), b'x', 1, 0, inet, 16), errno.errorcode[ctypes.get_errno()])
# The same to the resolver is let through.
inet = struct.pack('=HH4s8x', AF_INET, htons(53), inet_aton('192.0.2.53'))
print(libc.sendto(u.fileno(), b'x', 1, 0, inet, 16))
"#,
        );
        let expected = "EPERM\nEPERM\nEPERM\nEPERM\n-1 EPERM\n1\n";
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            expected,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

// Proves: S08, S09, S10, S27.
#[test]
fn other_protocols_are_refused_at_birth() {
    in_namespace(|| {
        // Ping sockets are open to everybody, as on desktop distributions: the refusal must be ours.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        let mut lab = Lab::armed();
        lab.check(&[
            ("opened(AF_INET, SOCK_STREAM, 0)", "opened"),
            ("opened(AF_INET, SOCK_DGRAM, 0)", "opened"),
            ("opened(AF_INET6, SOCK_STREAM, IPPROTO_TCP)", "opened"),
            ("opened(AF_INET6, SOCK_DGRAM, IPPROTO_UDP)", "opened"),
            ("opened(AF_UNIX, SOCK_STREAM, 0)", "opened"),
            ("opened(AF_INET, SOCK_RAW, IPPROTO_RAW)", "EPERM"),
            ("opened(AF_INET6, SOCK_RAW, IPPROTO_RAW)", "EPERM"),
            ("opened(AF_INET, SOCK_RAW, IPPROTO_TCP)", "EPERM"),
            ("opened(AF_INET, SOCK_RAW, IPPROTO_UDP)", "EPERM"),
            ("opened(AF_INET, SOCK_DGRAM, IPPROTO_ICMP)", "EPERM"),
            ("opened(AF_INET6, SOCK_DGRAM, 58)", "EPERM"),
            ("opened(AF_INET, SOCK_DGRAM, 136)", "EPERM"),
            ("opened(AF_INET6, SOCK_DGRAM, 136)", "EPERM"),
            // Programs that try MPTCP fall back to TCP on this error.
            ("opened(AF_INET, SOCK_STREAM, 262)", "EPROTONOSUPPORT"),
            ("opened(AF_INET6, SOCK_STREAM, 262)", "EPROTONOSUPPORT"),
            // Not in this kernel, or refused by us: in no case opened.
            ("opened(AF_INET, SOCK_STREAM, 132) != 'opened'", "EPROTONOSUPPORT"),
        ]);
        let events = lab.events(reason);
        for protocol in ["raw", "icmp", "icmpv6", "udp-lite", "mptcp"] {
            assert!(
                events.contains_key(&format!("{protocol} sockets are not allowed")),
                "{protocol}: {events:?}"
            );
        }
    });
}

// Proves: S12, S13, S16.
#[test]
fn options_that_steer_packets_are_refused() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        let refused = [
            "AF_INET, SOCK_STREAM, SOL_SOCKET, SO_BINDTODEVICE, b'lo'",
            "AF_INET, SOCK_STREAM, SOL_SOCKET, 62, 1",
            "AF_INET, SOCK_STREAM, IPPROTO_IP, IP_OPTIONS, b'\\x83\\x07\\x04\\xc0\\x00\\x02\\x01\\x00'",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_RETOPTS, 1",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TRANSPARENT, 1",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, 50, htonl(1)",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_ADD_MEMBERSHIP, inet_aton('224.0.0.9') + inet_aton('127.0.0.1')",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_DROP_MEMBERSHIP, inet_aton('224.0.0.9') + inet_aton('127.0.0.1')",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, 39, inet_aton('224.0.0.9') + inet_aton('127.0.0.1') + inet_aton('192.0.2.1')",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, 42, struct.pack('=I4xHH4s120x', 1, AF_INET, 0, inet_aton('224.0.0.9'))",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_JOIN_GROUP, inet_pton(AF_INET6, 'ff02::9') + struct.pack('=I', 1)",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, 42, struct.pack('=I4xHH4x16s108x', 1, AF_INET6, 0, inet_pton(AF_INET6, 'ff02::9'))",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RTHDR, b'\\0' * 24",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_HOPOPTS, b'\\0' * 8",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_DSTOPTS, b'\\0' * 8",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_RTHDRDSTOPTS, b'\\0' * 8",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_PKTINFO, b'\\0' * 20",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, 6, b''",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, 32, b'\\0' * 32",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_MULTICAST_IF, 1",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, 76, htonl(1)",
            "AF_INET, SOCK_STREAM, IPPROTO_TCP, 19, 1",
        ];
        let allowed = [
            "AF_INET, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR, 1",
            "AF_INET, SOCK_STREAM, SOL_SOCKET, SO_KEEPALIVE, 1",
            "AF_INET, SOCK_DGRAM, SOL_SOCKET, SO_BROADCAST, 1",
            "AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, 1",
            "AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_CONGESTION, b'reno'",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TOS, 16",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, IP_TTL, 9",
            "AF_INET, SOCK_DGRAM, IPPROTO_IP, 8, 1",
            "AF_INET6, SOCK_STREAM, IPPROTO_IPV6, IPV6_V6ONLY, 1",
            "AF_INET6, SOCK_DGRAM, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1",
            // Longer than the page that the kernel copies for the program.
            "AF_INET, SOCK_STREAM, SOL_SOCKET, SO_REUSEADDR, b'\\1' * 8192",
        ];
        let calls: Vec<(String, &str)> = refused
            .iter()
            .map(|arguments| (format!("option({arguments})"), "EPERM"))
            .chain(allowed.iter().map(|arguments| (format!("option({arguments})"), "set")))
            .collect();
        lab.check(
            &calls
                .iter()
                .map(|(call, expected)| (call.as_str(), *expected))
                .collect::<Vec<_>>(),
        );
        let events = lab.events(reason);
        assert_eq!(events.values().sum::<usize>(), refused.len(), "{events:?}");
        assert!(
            events.contains_key("socket option SO_BINDTODEVICE is not allowed"),
            "{events:?}"
        );
    });
}

// Proves: S18.
#[test]
fn httpjails_own_ports_cannot_be_dialled() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        lab.check(&[
            ("tcp('127.0.0.1', PROXY)", "EPERM"),
            ("tcp('0.0.0.0', PROXY)", "EPERM"),
            ("tcp('::1', PROXY)", "EPERM"),
            ("tcp('::', PROXY)", "EPERM"),
            ("tcp('::ffff:127.0.0.1', PROXY)", "EPERM"),
            ("fast_open('127.0.0.1', PROXY)", "EPERM"),
            ("udp('127.0.0.1', RESOLVER)", "EPERM"),
            ("udp('::ffff:127.0.0.1', RESOLVER)", "EPERM"),
            ("udp('::1', RESOLVER)", "EPERM"),
            ("udp_connected('127.0.0.1', RESOLVER)", "EPERM"),
            // The same port elsewhere is a destination like any other.
            (
                "tcp('192.0.2.1', PROXY).replace(str(PROXY), 'P')",
                "proxy 192.0.2.1:P peer 192.0.2.1:P",
            ),
        ]);
        let events = lab.events(|event| record(event).reason.unwrap());
        assert_eq!(events.get("httpjail's own port"), Some(&10), "{events:?}");
    });
}

#[test]
fn a_family_without_a_proxy_is_refused() {
    in_namespace(|| {
        let mut lab = Lab::armed();
        lab.config.v6 = httpjail_common::JailConfig::DENY_ALL.v6;
        lab.configure();
        lab.check(&[
            ("tcp('2001:db8::1', 80)", "EPERM"),
            ("tcp('2001:db8::1', 53)", "EPERM"),
            ("udp('2001:db8::1', 53)", "EPERM"),
            ("tcp('192.0.2.1', 80)", "proxy 192.0.2.1:80 peer 192.0.2.1:80"),
            (
                "tcp('::ffff:192.0.2.1', 80)",
                "proxy 192.0.2.1:80 peer [::ffff:192.0.2.1]:80",
            ),
        ]);
        let events = lab.events(reason);
        assert_eq!(
            events.get("[2001:db8::1]:80 no proxy in this address family"),
            Some(&1),
            "{events:?}"
        );
    });
}

// Proves: S37.
#[test]
fn unarmed_denies_everything() {
    in_namespace(|| {
        let mut lab = Lab::unarmed();
        let all = |expected: [&'static str; 4]| {
            let calls = [
                "opened(AF_INET, SOCK_STREAM)",
                "opened(AF_INET6, SOCK_DGRAM)",
                "tcp('192.0.2.1', 80)[:5]",
                "udp('192.0.2.1', 53)[:5]",
            ];
            calls.into_iter().zip(expected).collect::<Vec<_>>()
        };
        // Nothing written, then written and not armed, armed, and disarmed again.
        lab.check(&all(["EPERM"; 4]));
        lab.configure();
        lab.check(&all(["EPERM"; 4]));
        lab.config.armed = 1;
        lab.configure();
        lab.check(&all(["opened", "opened", "proxy", "hello"]));
        lab.config.armed = 2;
        lab.configure();
        lab.check(&all(["EPERM"; 4]));
    });
}

// Proves: P05.
#[test]
fn a_process_below_the_cgroup_is_jailed_too() {
    in_namespace(|| {
        let lab = Lab::armed();
        let below = lab.cgroup.path().join("below");
        std::fs::create_dir(&below).unwrap();
        let output = lab.python(&format!(
            "open('{}/cgroup.procs', 'w').write('0')\ncase(lambda: tcp('192.0.2.1', 80))\ncase(lambda: udp('192.0.2.1', 9))",
            below.display()
        ));
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(
            said,
            "proxy 192.0.2.1:80 peer 192.0.2.1:80\nEPERM\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}
