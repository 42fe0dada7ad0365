//! What is asked, and what an answer says.

use hickory_proto::rr::rdata::{A, AAAA, CNAME};
use hickory_proto::rr::{RData, Record};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn answer(code: ResponseCode, records: &[(&str, RData)]) -> Vec<u8> {
    let mut message = Message::response(7, OpCode::Query);
    message.metadata.response_code = code;
    message.answers = records
        .iter()
        .map(|(owner, data)| Record::from_rdata(name(owner), 60, data.clone()))
        .collect();
    message.to_vec().unwrap()
}

fn v4(last: u8) -> RData {
    RData::A(A(Ipv4Addr::new(192, 0, 2, last)))
}

#[test]
fn a_name_is_itself_before_it_is_part_of_another() {
    for (conf, asked, expected) in [
        ("search a.test b.test", "db", &["db", "db.a.test", "db.b.test"][..]),
        ("search a.test\noptions ndots:0", "db", &["db", "db.a.test"]),
        ("search a.test", "db.x", &["db.x"]),
        ("search a.test\noptions ndots:5", "db.x", &["db.x", "db.x.a.test"]),
        ("", "db", &["db"]),
    ] {
        let conf = ResolvConf::parse(conf.as_bytes());
        assert_eq!(candidates(asked, &conf), expected, "{asked}");
    }
}

#[test]
fn a_question_is_about_the_judged_name_alone() {
    let question = question("web.ns.test", RecordType::AAAA).unwrap();
    assert_eq!(question.bytes, b"\x03web\x02ns\x04test\0\0\x1c\0\x01");
    assert!(super::question(&"a.".repeat(200), RecordType::A).is_none());
}

#[test]
fn addresses_come_through_aliases_of_the_name_alone() {
    let alias = |to: &str| RData::CNAME(CNAME(name(to)));
    let found = |code, records: &[(&str, RData)]| addresses_in(&answer(code, records), &name("db.test."));
    let none = || Vec::<IpAddr>::new();
    let one: IpAddr = [192, 0, 2, 1].into();
    let v6 = RData::AAAA(AAAA(Ipv6Addr::LOCALHOST));
    assert_eq!(
        found(ResponseCode::NoError, &[("DB.test.", v4(1)), ("db.test.", v6)]).unwrap(),
        [one, Ipv6Addr::LOCALHOST.into()]
    );
    let chain = [
        ("y.test.", v4(1)),
        ("db.test.", alias("x.test.")),
        ("x.test.", alias("y.test.")),
    ];
    assert_eq!(found(ResponseCode::NoError, &chain).unwrap(), [one]);
    // Another name's, and a circle.
    assert_eq!(found(ResponseCode::NoError, &[("evil.test.", v4(1))]).unwrap(), none());
    let circle = [("db.test.", alias("x.test.")), ("x.test.", alias("db.test."))];
    assert_eq!(found(ResponseCode::NoError, &circle).unwrap(), none());
    assert_eq!(found(ResponseCode::NXDomain, &[]).unwrap(), none());
    assert!(found(ResponseCode::ServFail, &[("db.test.", v4(1))]).is_err());
    assert!(addresses_in(b"\0\x07\x81\x80\0\0\0\x09\0\0\0\0", &name("db.test.")).is_err());
}
