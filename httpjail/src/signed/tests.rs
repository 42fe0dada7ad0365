use jiff::Timestamp;
use proptest::prelude::*;

use super::signature::SignatureError;
use super::*;

const POLICY: &[u8] = b"version: 1\nrules: []\n";

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn now() -> Timestamp {
    at("2030-06-01T00:00:00Z")
}

fn terms(serial: u64) -> Terms {
    Terms {
        serial,
        signed: at("2030-05-31T23:59:59Z"),
        expires: at("2030-07-01T00:00:00Z"),
    }
}

fn key() -> SigningKey {
    SigningKey::generate().expect("a key")
}

#[test]
fn what_was_signed_counts_and_comes_back_as_it_was() {
    let (key, other) = (key(), key());
    let signature = Signature::make(&key, POLICY, terms(7));
    let read = Signature::parse(signature.to_string().as_bytes());
    assert_eq!(read.as_ref(), Ok(&signature));
    let keys = [other.public(), key.public()];
    assert_eq!(signature.check(&keys, now()), Ok(()));
    assert_eq!(signature.covers(POLICY), Ok(()));
    let read = SigningKey::from_pem(key.pem().as_bytes()).expect("the same key");
    assert_eq!(read.public(), key.public());
    let public = PublicKey::from_pem(key.public().pem().as_bytes());
    assert_eq!(public, Ok(key.public()));
}

#[test]
fn what_was_changed_does_not_count() {
    let key = key();
    let signature = Signature::make(&key, POLICY, terms(7));
    let error = signature
        .covers(b"version: 1\nrules: [] \n")
        .expect_err("another policy");
    assert!(error.to_string().contains("about another policy"), "{error}");
    let check = |signature: &Signature, keys: &[PublicKey], now| signature.check(keys, now).expect_err("wrong");
    let stranger = check(&signature, &[self::key().public()], now());
    assert_eq!(stranger, SignatureError::Key(key.public().id()));
    let text = signature.to_string().replace("serial: 7", "serial: 8");
    let newer = Signature::parse(text.as_bytes()).expect("a signature");
    assert_eq!(
        check(&newer, &[key.public()], now()),
        SignatureError::Forged(key.public().id())
    );
    for expired in ["2030-07-01T00:00:00Z", "2031-01-01T00:00:00Z"] {
        let error = check(&signature, &[key.public()], at(expired));
        assert_eq!(error, SignatureError::Expired(terms(7).expires));
    }
    let early = at("2030-05-31T23:54:00Z");
    let error = check(&signature, &[key.public()], early);
    assert_eq!(error, SignatureError::Future(terms(7).signed, early));
    assert_eq!(signature.check(&[key.public()], at("2030-05-31T23:55:00Z")), Ok(()));
}

#[test]
fn an_older_serial_is_refused() {
    let key = key();
    let signed = |policy: &[u8], serial| Signature::make(&key, policy, terms(serial));
    let mut held = Held::default();
    assert_eq!(held.admit(&signed(POLICY, 1)), Ok(()));
    held.take(&signed(POLICY, 7));
    for (policy, serial, why) in [
        (POLICY, 6, "older than 7"),
        (b"rules: []", 7, "as that of another policy"),
        (b"rules: []", 0, "older than 7"),
    ] {
        let error = held.admit(&signed(policy, serial)).expect_err(why);
        assert!(error.contains(why), "{error}");
    }
    assert_eq!(held.admit(&signed(POLICY, 7)), Ok(()));
    assert_eq!(held.admit(&signed(b"rules: []", 8)), Ok(()));
    assert_eq!(held.admit(&signed(POLICY, u64::MAX)), Ok(()));
}

#[test]
fn each_policy_expires_when_its_own_signature_says() {
    let key = key();
    let mut held = Held::default();
    assert_eq!(held.expires(&digest(POLICY)), None);
    held.take(&Signature::make(&key, POLICY, terms(1)));
    let later = Terms {
        expires: at("2030-09-01T00:00:00Z"),
        ..terms(2)
    };
    held.take(&Signature::make(&key, b"rules: []", later));
    assert_eq!(held.expires(&digest(POLICY)), Some(terms(1).expires));
    for newest in [&b"rules: []"[..], b"not known"] {
        assert_eq!(held.expires(&digest(newest)), Some(later.expires));
    }
    let text = serde_json::to_string(&held).expect("JSON");
    assert_eq!(serde_json::from_str::<Held>(&text).expect("the same"), held);
}

#[test]
fn times_as_they_are_typed() {
    let month = at("2030-07-01T00:00:00Z");
    for (text, time) in [
        ("2030-07-01T00:00:00Z", month),
        ("2030-07-01T02:00:00.9+02:00", month),
        ("30d", month),
        ("720h", month),
        ("43200m", month),
        ("2592000", month),
    ] {
        assert_eq!(moment(text, now()), Ok(time), "{text}");
    }
    for text in [
        "",
        "d",
        "0",
        "0d",
        "-1d",
        "1.5h",
        "1y",
        "1d ",
        "99999999999d",
        "2030-07-01",
        "soon",
    ] {
        assert!(moment(text, now()).is_err(), "{text}");
    }
}

/// A signature file, to be spoiled.
fn file() -> String {
    let seed = SigningKey::from_pem(
        b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n",
    );
    Signature::make(&seed.expect("a key"), POLICY, terms(7)).to_string()
}

#[test]
fn texts_that_are_no_signatures() {
    let good = file();
    let lines: Vec<&str> = good.split_inclusive('\n').collect();
    let swapped = [lines[0], lines[2], lines[1]].concat() + &lines[3..].concat();
    for (text, why) in [
        (String::new(), "expected the line `httpjail-policy-signature"),
        (good.replacen(": 1", ": 2", 1), "has the version `2`"),
        (swapped, "expected the line `key"),
        (lines[..7].concat(), "expected the line `signature"),
        (good.trim_end().to_owned(), "not spelled"),
        (good.clone() + "more: 1\n", "not spelled"),
        (good.replace('\n', "\r\n"), "has the version"),
        (good.replace("serial: 7", "serial: 07"), "not spelled"),
        (good.replace("serial: 7", "serial: -7"), "invalid `serial`"),
        (
            good.replace("serial: 7", "serial: 18446744073709551616"),
            "invalid `serial`",
        ),
        (
            good.replace("2030-07-01T00:00:00Z", "2030-07-01T00:00:00+00:00"),
            "not spelled",
        ),
        (good.replace("key: ", "key: A"), "invalid `key`"),
        (good.replace("sha256: ", "sha256: g"), "invalid `sha256`"),
        ("x".repeat(LONGEST + 1), "longer than"),
    ] {
        let error = Signature::parse(text.as_bytes()).expect_err(why).to_string();
        assert!(error.contains(why), "{error}");
    }
    let error = Signature::parse(b"httpjail-policy-signature: \xff").expect_err("no text");
    assert!(error.to_string().contains("no text"), "{error}");
}

proptest! {
    // Whatever is read has one spelling, so that nothing unsigned can ride along.
    #[test]
    fn what_is_read_is_written_alike(at in 0usize..600, byte: u8, cut in 0usize..600, extra in ".{0,40}") {
        let good = file();
        let mut spoiled = good.clone().into_bytes();
        let at = at % spoiled.len();
        spoiled[at] = byte;
        let cut = good.as_bytes()[..cut % good.len()].to_vec();
        let longer = [good.as_bytes(), extra.as_bytes()].concat();
        let keys = [SigningKey::from_pem(b"-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n-----END PRIVATE KEY-----\n").expect("a key").public()];
        for text in [spoiled, cut, longer, extra.into_bytes()] {
            if let Ok(read) = Signature::parse(&text) {
                prop_assert_eq!(read.to_string().into_bytes(), text.clone());
                prop_assert!(text == good.as_bytes() || read.check(&keys, now()).is_err());
            }
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Signature::parse(&text).is_err());
    }
}
