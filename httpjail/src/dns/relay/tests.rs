//! What is asked, of whom, and which answers count.

use super::super::message;
use super::*;

/// A question for the A record of `A.test`, with an OPT record.
const ASKED: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x01A\x04test\0\0\x01\0\x01\0\0\x29\x10\0\0\0\x80\0\0\0";

fn question() -> Question {
    message::read(ASKED).unwrap_or_else(|answer| panic!("{answer:?}"))
}

#[test]
fn what_goes_out_is_the_question_alone() {
    let question = question();
    let (id, message) = written(&question).unwrap();
    let (other, _) = written(&question).unwrap();
    let (again, _) = written(&question).unwrap();
    assert!(id != other || id != again, "the id is always {id}");
    // Case kept, our own payload, the DO bit kept.
    let tail = b"\x01\0\0\x01\0\0\0\0\0\x01\x01A\x04test\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\x80\0\0\0";
    assert_eq!(message[2..], tail[..]);
}

#[test]
fn only_the_answer_to_the_question_counts() {
    let question = question();
    let answer = |head: &[u8], rest: &[u8]| answers(&[head, rest].concat(), 0x1234, &question);
    let (head, rest) = (b"\x12\x34\x81\x80\0\x01\0\0\0\0\0\0", b"\x01A\x04test\0\0\x01\0\x01");
    assert_eq!(answer(head, rest), Some(false));
    assert_eq!(answer(b"\x12\x34\x83\x80\0\x01\0\0\0\0\0\0", rest), Some(true));
    for (why, head, rest) in [
        ("another id", b"\x12\x35\x81\x80\0\x01\0\0\0\0\0\0", rest),
        ("a question", b"\x12\x34\x01\x80\0\x01\0\0\0\0\0\0", rest),
        ("another operation", b"\x12\x34\x91\x80\0\x01\0\0\0\0\0\0", rest),
        ("two questions", b"\x12\x34\x81\x80\0\x02\0\0\0\0\0\0", rest),
        ("another case", head, b"\x01a\x04test\0\0\x01\0\x01"),
        ("another name", head, b"\x01B\x04test\0\0\x01\0\x01"),
        ("another type", head, b"\x01A\x04test\0\0\x1c\0\x01"),
    ] {
        assert_eq!(answer(head, rest), None, "{why}");
    }
    assert_eq!(answers(head, 0x1234, &question), None, "a head alone");
    assert_eq!(answers(b"", 0x1234, &question), None);
}

#[test]
fn an_answer_that_does_not_fit_is_cut() {
    let question = question();
    let long = vec![0xff; 1233];
    let cut = passed_on(long.clone(), &question, Via::Datagram).unwrap();
    assert_eq!(&cut[..4], b"\x12\x34\x83\x80", "truncated, with the jail's id");
    let whole = passed_on(long, &question, Via::Connection).unwrap();
    assert_eq!((whole.len(), &whole[..3]), (1233, &b"\x12\x34\xff"[..]));
}

struct Asked(&'static str);

impl AskedServerSource for Asked {
    fn asked(&self, _: ClientAddr) -> Option<OriginalDst> {
        self.0.parse().ok().map(OriginalDst)
    }
}

#[test]
fn the_named_server_is_asked_and_the_jail_itself_means_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("resolv.conf");
    std::fs::write(&host, "nameserver 192.0.2.1\n").unwrap();
    for (asked, expected) in [
        ("198.51.100.7:53", &["198.51.100.7:53"][..]),
        ("[::ffff:198.51.100.7]:53", &["198.51.100.7:53"]),
        ("[2001:db8::7]:53", &["[2001:db8::7]:53"]),
        ("198.18.0.1:53", &["192.0.2.1:53"]),
        ("127.0.0.53:53", &["192.0.2.1:53"]),
        ("[::1]:53", &["192.0.2.1:53"]),
        ("224.0.0.251:53", &[]),
        ("[ff02::fb]:53", &[]),
        ("255.255.255.255:53", &[]),
        ("0.0.0.0:53", &[]),
        ("unknown", &[]),
    ] {
        let servers = Servers::Named {
            by: Arc::new(Asked(asked)),
            own: vec![Ipv4Addr::new(198, 18, 0, 1).into()],
            configured: Configured::File(host.clone()),
        };
        let relay = Relay::new(servers, Network::Host);
        let client = ([127, 0, 0, 1], 4000).into();
        for found in [
            relay.servers_for_datagram(client),
            relay.servers_for(Asked(asked).asked(ClientAddr(client))),
        ] {
            let found: Vec<String> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found, expected, "{asked}");
        }
    }
}
