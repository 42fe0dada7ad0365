//! Questions and their answers as a table, and the properties that hold for any bytes and any names.

use super::message::answer;
use super::*;
use crate::net::{Host, NameSource};
use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RecordType};
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::IpAddr;

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(0x1234, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// Asks `names`, and gives the answer with what was odd.
#[track_caller]
fn ask(message: &Message, names: &SyntheticAddresses) -> (Message, Option<String>) {
    let answer = answer(&message.to_vec().unwrap(), names);
    let reply = Message::from_vec(&answer.reply.expect("an answer")).unwrap();
    assert_eq!((reply.id, reply.message_type), (message.id, MessageType::Response));
    assert!(!reply.truncation);
    (reply, answer.anomaly.map(|anomaly| anomaly.reason))
}

#[track_caller]
fn check(name: &str, kind: RecordType, code: ResponseCode, data: Option<&str>, anomaly: Option<&str>) {
    let names = SyntheticAddresses::new(true);
    names.addresses_of("example.test").unwrap();
    let (reply, reason) = ask(&question(name, kind), &names);
    assert_eq!(reply.response_code, code, "{name} {kind}");
    let records: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    assert_eq!(records, data.into_iter().collect::<Vec<_>>(), "{name} {kind}");
    assert_eq!(reason.as_deref(), anomaly, "{name} {kind}");
}

// Proves: S06, S22.
#[test]
fn answers() {
    use RecordType as T;
    use ResponseCode::{NXDomain, NoError};
    let (v4, v6) = SyntheticAddresses::new(true).addresses_of("example.test").unwrap();
    let (v4, v6) = (v4.to_string(), v6.to_string());

    check("example.test.", T::A, NoError, Some(&v4), None);
    check("example.test.", T::AAAA, NoError, Some(&v6), None);
    check("EXAMPLE.tEst.", T::A, NoError, Some(&v4), None);
    check("localhost.", T::A, NoError, Some("127.0.0.1"), None);
    check("LocalHost.", T::AAAA, NoError, Some("::1"), None);
    check("app.localhost.", T::A, NoError, Some("127.0.0.1"), None);
    check("use-application-dns.net.", T::A, NXDomain, None, None);

    check("example.test.", T::HTTPS, NoError, None, None);
    check("example.test.", T::SVCB, NoError, None, None);
    check("example.test.", T::TXT, NoError, None, Some("dns type TXT"));
    check("example.test.", T::MX, NoError, None, Some("dns type MX"));
    check("example.test.", T::SRV, NoError, None, Some("dns type SRV"));
    check("example.test.", T::NULL, NoError, None, Some("dns type NULL"));
    check("example.test.", T::ANY, NoError, None, Some("dns type ANY"));
    check("example.test.", T::CNAME, NoError, None, Some("dns type CNAME"));
    check(
        "example.test.",
        T::Unknown(65399),
        NoError,
        None,
        Some("dns type 65399"),
    );

    check(".", T::A, NXDomain, None, Some("dns not a host name"));
    check("192.0.2.1.", T::A, NXDomain, None, Some("dns not a host name"));
    check("0x7f.1.", T::A, NXDomain, None, Some("dns not a host name"));
}

#[test]
fn names_that_no_url_can_have() {
    let names = SyntheticAddresses::new(true);
    for label in [&b"a\x1b[2J"[..], b"a b", b"a.b", b"\xff", b"\xe2\x80\xae", b"*", b"a\0"] {
        let mut message = question(".", RecordType::A);
        message.queries[0].set_name(Name::from_labels([label, b"test"]).unwrap());
        let answer = answer(&message.to_vec().unwrap(), &names);
        let anomaly = answer.anomaly.unwrap();
        assert_eq!(anomaly.reason, "dns not a host name");
        assert_eq!(
            anomaly.name.unwrap(),
            format!("{}.test", String::from_utf8_lossy(label))
        );
        assert_eq!(
            Message::from_vec(&answer.reply.unwrap()).unwrap().response_code,
            ResponseCode::NXDomain
        );
    }
}

#[test]
fn reverse_answers() {
    use RecordType::PTR;
    use ResponseCode::{NXDomain, NoError};
    let (v4, v6) = SyntheticAddresses::new(true).addresses_of("example.test").unwrap();
    let arpa = |address: IpAddr| Name::from(address).to_ascii();
    check(&arpa(v4.into()), PTR, NoError, Some("example.test."), None);
    check(&arpa(v6.into()), PTR, NoError, Some("example.test."), None);
    check("1.0.0.127.in-addr.arpa.", PTR, NoError, Some("localhost."), None);
    check(&arpa("::1".parse().unwrap()), PTR, NoError, Some("localhost."), None);
    check(&arpa("192.0.2.1".parse().unwrap()), PTR, NXDomain, None, None);
    check(&arpa("198.18.0.1".parse().unwrap()), PTR, NXDomain, None, None);
    check("0.127.in-addr.arpa.", PTR, NXDomain, None, None);
    check("example.test.", PTR, NXDomain, None, None);
}

#[test]
fn a_network_is_no_address() {
    let names = SyntheticAddresses::new(true);
    let ends_in_zero = |n: &u32| names.addresses_of(&format!("{n}.test")).unwrap().1.octets()[15] & 15 == 0;
    let n = (0..).find(ends_in_zero).unwrap();
    let (_, v6) = names.addresses_of(&format!("{n}.test")).unwrap();
    let whole = Name::from(IpAddr::from(v6));
    let (reply, _) = ask(&question(&whole.to_ascii(), RecordType::PTR), &names);
    assert_eq!(reply.answers.len(), 1);
    let (reply, _) = ask(&question(&whole.base_name().to_ascii(), RecordType::PTR), &names);
    assert_eq!((reply.response_code, reply.answers.len()), (ResponseCode::NXDomain, 0));
}

#[test]
fn single_labels_get_addresses_like_any_name() {
    let names = SyntheticAddresses::new(true);
    let (reply, anomaly) = ask(&question("myhost.", RecordType::A), &names);
    let address = reply.answers[0].data.ip_addr().unwrap();
    assert_eq!(
        (names.name_of(address), anomaly),
        (Some(Host::Name("myhost".into())), None)
    );
}

#[test]
fn without_ipv6_aaaa_is_empty() {
    let names = SyntheticAddresses::new(false);
    let (reply, _) = ask(&question("example.test.", RecordType::AAAA), &names);
    assert_eq!((reply.response_code, reply.answers.len()), (ResponseCode::NoError, 0));
    let (reply, _) = ask(&question("example.test.", RecordType::A), &names);
    assert_eq!(reply.answers.len(), 1);
}

#[test]
fn edns_is_answered_in_kind() {
    let names = SyntheticAddresses::new(true);
    let (reply, _) = ask(&question("example.test.", RecordType::A), &names);
    assert!(reply.edns.is_none());
    let mut message = question("example.test.", RecordType::A);
    message.set_edns(Edns::new());
    let (reply, _) = ask(&message, &names);
    assert_eq!(
        (reply.edns.as_ref().unwrap().max_payload(), reply.answers.len()),
        (1232, 1)
    );

    let mut newer = Edns::new();
    newer.set_version(1);
    message.set_edns(newer);
    let (reply, _) = ask(&message, &names);
    // BADVERS is 16: its upper bits travel in the OPT record.
    let high = u16::from(reply.edns.as_ref().unwrap().rcode_high());
    assert_eq!(
        (
            high << 4 | u16::from(reply.metadata.response_code.low()),
            reply.answers.len()
        ),
        (16, 0)
    );
}

// Proves: S21.
#[test]
fn what_is_no_plain_question() {
    let names = SyntheticAddresses::new(true);
    let expect = |message: &Message, code, anomaly| {
        let (reply, reason) = ask(message, &names);
        assert_eq!(
            (reply.response_code, reply.answers.len(), reason.as_deref()),
            (code, 0, Some(anomaly))
        );
    };
    let good = question("example.test.", RecordType::A);

    let mut chaos = good.clone();
    chaos.queries[0].set_query_class(DNSClass::CH);
    expect(&chaos, ResponseCode::Refused, "dns class");

    let mut two = good.clone();
    two.add_query(good.queries[0].clone());
    expect(&two, ResponseCode::FormErr, "dns malformed");
    let mut none = good.clone();
    none.queries.clear();
    expect(&none, ResponseCode::FormErr, "dns malformed");
    let mut answered = good.clone();
    answered.answers = ask(&good, &names).0.answers;
    expect(&answered, ResponseCode::FormErr, "dns malformed");

    let mut update = good.clone();
    update.metadata.op_code = OpCode::Update;
    expect(&update, ResponseCode::NotImp, "dns opcode");

    let mut response = good.clone();
    response.metadata.message_type = MessageType::Response;
    let silence = answer(&response.to_vec().unwrap(), &names);
    assert_eq!(
        (silence.reply, silence.anomaly.unwrap().reason.as_str()),
        (None, "dns response")
    );
}

// Proves: S21.
#[test]
fn bytes_that_are_no_message() {
    let names = SyntheticAddresses::new(true);
    let form_error = |bytes: &[u8]| {
        let answer = answer(bytes, &names);
        assert_eq!(answer.anomaly.unwrap().reason, "dns malformed", "{bytes:?}");
        answer
            .reply
            .map(|reply| Message::from_vec(&reply).unwrap())
            .map(|reply| (reply.id, reply.response_code))
    };
    let refused = Some((0x1234, ResponseCode::FormErr));
    let good = question("example.test.", RecordType::A).to_vec().unwrap();
    assert_eq!(form_error(b""), None);
    assert_eq!(form_error(b"\x12"), None);
    assert_eq!(form_error(b"\x12\x34"), refused);
    assert_eq!(form_error(b"\x12\x34\x80"), None);
    assert_eq!(form_error(&good[..good.len() - 1]), refused);
    assert_eq!(form_error(&[&good[..], b"x"].concat()), refused);
    // Counts that lie: of questions, answers, authorities, and more additional records than there are.
    for (count, value) in [(5, 0), (5, 2), (7, 1), (9, 1), (11, 1), (11, 200)] {
        let mut bytes = good.clone();
        bytes[count] = value;
        assert_eq!(form_error(&bytes), refused);
    }
    // A name that points back into the header, at the two zero bytes of the answer count.
    assert_eq!(
        form_error(b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x06\0\x01\0\x01"),
        refused
    );
}

#[test]
fn a_full_table_is_a_server_failure_for_new_names_only() {
    let names = SyntheticAddresses::new(true);
    assert!((0..65_536).all(|n| names.addresses_of(&format!("n{n}.test")).is_ok()));
    let full = answer(&question("new.test.", RecordType::A).to_vec().unwrap(), &names);
    assert!(full.anomaly.is_some_and(|anomaly| anomaly.full));
    assert_eq!(
        Message::from_vec(&full.reply.unwrap()).unwrap().response_code,
        ResponseCode::ServFail
    );
    let (reply, anomaly) = ask(&question("n7.test.", RecordType::A), &names);
    assert_eq!((reply.answers.len(), anomaly), (1, None));
}

/// Bytes that get past the first checks: a header with one question, then anything.
fn nearly_a_question() -> impl Strategy<Value = Vec<u8>> {
    let tail = prop::collection::vec(any::<u8>(), 0..80);
    (any::<u16>(), 0..3_u8, tail).prop_map(|(id, additionals, tail)| {
        let [high, low] = id.to_be_bytes();
        let mut bytes = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, additionals];
        bytes.extend(tail);
        bytes
    })
}

fn raw_name() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=63), 0..=3)
}

proptest! {
    // Proves: S21.
    #[test]
    fn no_bytes_make_it_panic(bytes in prop_oneof![prop::collection::vec(any::<u8>(), 0..600), nearly_a_question()]) {
        let reply = answer(&bytes, &SyntheticAddresses::new(true)).reply;
        if let Some(reply) = reply {
            prop_assert_eq!(&reply[..2], &bytes[..2]);
            prop_assert!(reply.len() <= 512);
        }
    }

    #[test]
    fn the_question_comes_back_byte_for_byte(labels in raw_name(), kind: u16, class: u16) {
        let mut bytes = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        for label in &labels {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label);
        }
        bytes.push(0);
        bytes.extend(kind.to_be_bytes());
        bytes.extend(class.to_be_bytes());
        let reply = answer(&bytes, &SyntheticAddresses::new(true)).reply.unwrap();
        prop_assert_eq!(&reply[12..bytes.len()], &bytes[12..]);
    }

    #[test]
    fn an_address_leads_back_to_its_name(asked in prop::collection::vec("[a-z0-9_-]{1,20}(\\.[a-z]{1,9}){0,3}", 1..50)) {
        let names = SyntheticAddresses::new(true);
        let mut given: HashMap<IpAddr, &str> = HashMap::new();
        for name in &asked {
            let (v4, v6) = names.addresses_of(name).unwrap();
            for address in [IpAddr::from(v4), v6.into()] {
                prop_assert_eq!(*given.entry(address).or_insert(name), name);
                prop_assert_eq!(names.name_of(address), Some(Host::Name(name.clone())));
            }
        }
    }

    #[test]
    fn case_changes_nothing_but_the_echo(name in "[a-zA-Z]{1,10}\\.[a-zA-Z]{1,10}") {
        let names = SyntheticAddresses::new(true);
        let ask_for = |name: &str| {
            ask(&question(&format!("{name}."), RecordType::A), &names).0
        };
        let (mixed, lower) = (ask_for(&name), ask_for(&name.to_lowercase()));
        prop_assert_eq!(&mixed.answers[0].data, &lower.answers[0].data);
        prop_assert_eq!(mixed.queries[0].name.to_ascii(), format!("{name}."));
    }
}
