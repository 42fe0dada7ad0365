//! The rules in a namespace of the test's own: each way, with and without the parts that a kernel may lack. Needs root.

use std::io::{self, Read};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use socket2::SockRef;

use super::events::{self, Events};
use super::flows::Accepted;
use super::ruleset::{self, Extras};
use super::tables::{self, Tables};
use super::{Way, listen, make_transparent};
use crate::jail::protocol::init::Inside;
use crate::jail::sandbox::network;
use crate::jail::steering::{EventSource as _, Stopped};
use crate::net::{ClientAddr, Listeners, OriginalDstSource as _};

/// Runs `test` on a thread with a network namespace of its own, in which the rules stand.
fn with_rules(way: Way, extras: Extras, test: impl FnOnce(Listeners) + Send + 'static) {
    let thread = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace (this test needs root)");
        let ipv6 = network::raise_loopback().unwrap();
        network::make_all_local(ipv6, network::Table::Main).unwrap();
        let mut listeners = listen(ipv6).unwrap();
        listeners.refusals = Some(events::bind().unwrap());
        let port = listeners.proxy[0].local_addr().unwrap().port();
        ruleset::install(way, extras, port, ipv6, HOST_LOOPBACK).unwrap();
        if way == Way::Tproxy {
            listeners.proxy.iter().try_for_each(make_transparent).unwrap();
        }
        test(listeners);
    });
    thread.join().unwrap();
}

const HOST_LOOPBACK: Inside = Inside { host_loopback: true };
const ALL: Extras = Extras {
    reject: true,
    log: true,
};
const NONE: Extras = Extras {
    reject: false,
    log: false,
};

/// Connects to `to` and tells what the proxy takes it for; `None`: it must be closed.
fn taken(listeners: &Listeners, to: &str) -> Option<SocketAddr> {
    let to: SocketAddr = to.parse().unwrap();
    let _client = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap();
    let listener = &listeners.proxy[usize::from(to.is_ipv6())];
    let (accepted, client) = listener.accept().unwrap();
    let flow = Accepted::by(listener)
        .unwrap()
        .take(ClientAddr(client), SockRef::from(&accepted));
    flow.map(|flow| flow.original.0)
}

// Proves: S07, S15, S19, S34, S37, P27.
#[test]
fn every_destination_comes_to_the_proxy() {
    for (way, extras) in [
        (Way::Tproxy, ALL),
        (Way::Tproxy, NONE),
        (Way::Redirect, ALL),
        (Way::Redirect, NONE),
    ] {
        with_rules(way, extras, move |listeners| {
            for to in [
                "192.0.2.1:80",
                "[2001:db8::1]:443",
                "10.0.0.1:54",
                "169.254.169.254:80",
                "[64:ff9b::1]:80",
            ] {
                assert_eq!(taken(&listeners, to), Some(to.parse().unwrap()), "{way:?} {extras:?}");
            }
        });
    }
}

/// A packet that finds no route while the address settles is sent again after a second: no failure, but counted.
#[test]
fn the_first_connection_loses_no_packet() {
    for _ in 0..20 {
        with_rules(Way::Tproxy, ALL, |listeners| {
            assert!(taken(&listeners, "[2001:db8::1]:443").is_some());
            let counters = std::fs::read_to_string("/proc/thread-self/net/snmp6").unwrap();
            let lost = counters.lines().find(|line| line.starts_with("Ip6OutNoRoutes"));
            assert_eq!(lost.and_then(|line| line.split_whitespace().nth(1)), Some("0"));
        });
    }
}

// Proves: S18.
#[test]
fn the_proxys_own_port_is_nobodys_destination() {
    for way in [Way::Tproxy, Way::Redirect] {
        with_rules(way, ALL, move |listeners| {
            let port = listeners.proxy[0].local_addr().unwrap().port();
            for own in ["127.0.0.1", "[::1]"] {
                assert_eq!(taken(&listeners, &format!("{own}:{port}")), None, "{way:?} {own}");
            }
            let far = format!("192.0.2.1:{port}");
            assert_eq!(taken(&listeners, &far), Some(far.parse().unwrap()), "{way:?}");
        });
    }
}

// Proves: S17.
#[test]
fn the_jails_own_listener_answers_for_itself_alone() {
    for way in [Way::Tproxy, Way::Redirect] {
        with_rules(way, ALL, move |listeners| {
            let own = TcpListener::bind("0.0.0.0:0").unwrap();
            let port = own.local_addr().unwrap().port();
            let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            own.accept().unwrap();
            let far = format!("192.0.2.1:{port}");
            assert_eq!(taken(&listeners, &far), Some(far.parse().unwrap()), "{way:?}");
        });
    }
}

// Proves: S05, S09, P27.
#[test]
fn what_is_not_tcp_is_refused_at_once_and_told() {
    for (way, extras) in [(Way::Tproxy, ALL), (Way::Tproxy, NONE), (Way::Redirect, ALL)] {
        with_rules(way, extras, move |mut listeners| {
            let mut events = Events::new(
                listeners.refusals.take().unwrap(),
                Some(Tables::new(tables::open().unwrap())),
            );
            for (from, to) in [("0.0.0.0:0", "192.0.2.1:9"), ("[::]:0", "[2001:db8::1]:9")] {
                let socket = UdpSocket::bind(from).unwrap();
                let error = socket.send_to(b"x", to).expect_err("a datagram to nowhere");
                assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{way:?} {extras:?}");
                let told = events
                    .next()
                    .map(|Stopped { record, socket }| (record.dst, record.reason, socket.is_some()));
                let wanted = (Some(to.parse().unwrap()), Some("udp is not http".to_owned()), true);
                assert_eq!(told, extras.log.then_some(wanted), "{way:?} {extras:?}");
            }
            let own = UdpSocket::bind("127.0.0.1:0").unwrap();
            own.send_to(b"x", own.local_addr().unwrap()).unwrap();
        });
    }
}

// Proves: P15, P27.
#[test]
fn a_foreign_source_address_and_a_missing_proxy_are_an_end_not_a_wait() {
    with_rules(Way::Tproxy, ALL, |mut listeners| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket
            .bind(&"203.0.113.1:0".parse::<SocketAddr>().unwrap().into())
            .unwrap();
        let to: SocketAddr = "192.0.2.1:80".parse().unwrap();
        let refused = socket.connect_timeout(&to.into(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);

        listeners.proxy.clear();
        let refused = TcpStream::connect_timeout(&to, Duration::from_secs(5)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    });
}

// Proves: S21, S34.
#[test]
fn the_resolver_sees_the_server_and_answers_as_that_one() {
    with_rules(Way::Tproxy, ALL, |listeners| {
        let mut client = TcpStream::connect("192.0.2.53:53").unwrap();
        let (stream, _) = listeners.resolver_tcp[0].accept().unwrap();
        assert_eq!(stream.local_addr().unwrap(), "192.0.2.53:53".parse().unwrap());
        drop(stream);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
    });
}

#[test]
fn without_the_right_to_it_the_refusal_is_told() {
    let thread = std::thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        caps::clear(None, caps::CapSet::Effective).unwrap();
        ruleset::install(Way::Tproxy, ALL, 1, true, HOST_LOOPBACK)
    });
    let refused = thread.join().unwrap().unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    assert!(
        refused.to_string().starts_with("netfilter refused the batch: "),
        "{refused}"
    );
}
