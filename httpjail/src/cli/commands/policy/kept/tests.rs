use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use jiff::SignedDuration;
use tempfile::TempDir;

use super::*;
use crate::signed::{SigningKey, Terms};

const URL: &str = "https://policy.test/web.yaml.sig";
const GOOD: &str = "version: 1\nrules:\n- {action: allow, host: a.test}\n";

struct World {
    dir: TempDir,
    key: SigningKey,
    caller: InvokingUser,
}

impl World {
    fn new() -> World {
        let dir = TempDir::new().expect("a folder");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("its mode");
        World {
            dir,
            key: SigningKey::generate().expect("a key"),
            caller: InvokingUser::find().expect("a user"),
        }
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("web.yaml")
    }

    fn text(&self) -> String {
        fs::read_to_string(self.file()).unwrap_or_default()
    }

    fn kept(&self, on_expiry: OnExpiry) -> Kept<'_> {
        Kept::open(&self.file(), vec![self.key.public()], on_expiry, &self.caller).expect("kept")
    }

    fn signature(&self, policy: &str, serial: u64, seconds: i64) -> Signature {
        let now = Timestamp::from_second(Timestamp::now().as_second()).expect("a time");
        let terms = Terms {
            serial,
            signed: now,
            expires: now + SignedDuration::from_secs(seconds),
        };
        Signature::make(&self.key, policy.as_bytes(), terms)
    }

    fn answer(&self, policy: &str, serial: u64, seconds: i64) -> Answer {
        Answer::Signed {
            signature: self.signature(policy, serial, seconds).to_string(),
            tag: Some("\"1\"".into()),
            policy: Some(policy.into()),
        }
    }
}

#[test]
fn a_policy_that_is_none_does_not_come_into_the_file() {
    let world = World::new();
    let mut kept = world.kept(OnExpiry::Deny);
    let mut take = |policy: &str, serial| kept.take(URL, world.answer(policy, serial, 60));
    assert_eq!(take(GOOD, 1).expect("taken"), News::Policy(1));
    let bad = "rules:\n- {action: denny, host: a.test}\n";
    let error = take(bad, 2).expect_err("none").to_string();
    assert!(error.contains("denny"), "{error}");
    assert_eq!(world.text(), GOOD);
    // Its serial is not used up: the author mends it.
    assert_eq!(take(&format!("{GOOD}# 2\n"), 2).expect("taken"), News::Policy(2));
}

#[test]
fn who_says_that_nothing_is_new_is_believed_only_of_what_is_held() {
    let world = World::new();
    let mut kept = world.kept(OnExpiry::Deny);
    assert!(kept.take(URL, Answer::Unchanged).is_err());
    kept.take(URL, world.answer(GOOD, 1, 60)).expect("taken");
    assert_eq!(kept.take(URL, Answer::Unchanged).expect("the same"), News::Same);
    let renewed = Answer::Signed {
        signature: world.signature(GOOD, 2, 120).to_string(),
        tag: None,
        policy: None,
    };
    assert_eq!(kept.take(URL, renewed.clone()).expect("the same"), News::Renewed(2));
    fs::write(world.file(), "rules: []\n").expect("written");
    assert!(kept.take(URL, Answer::Unchanged).is_err());
    assert!(kept.take(URL, renewed).is_err());
    assert_eq!(kept.tag("https://other.test/"), None);
}

/// The machine stops between the state and the policy: the older one is there, and expires when it would have.
#[test]
fn the_older_policy_expires_when_its_own_signature_says() {
    let world = World::new();
    let mut kept = world.kept(OnExpiry::Deny);
    kept.take(URL, world.answer(GOOD, 1, 1)).expect("taken");
    let newer = format!("{GOOD}# 2\n");
    kept.hold(&world.signature(&newer, 2, 3600), URL, None)
        .expect("written");
    drop(kept);
    let mut kept = world.kept(OnExpiry::Deny);
    assert_eq!(kept.fresh().expect("read"), None);
    let expires = kept.expires().expect("read").expect("known");
    assert!(expires <= Timestamp::now() + SignedDuration::from_secs(1));
    // It is as if an hour had passed.
    kept.state.last_success = Some((Timestamp::now() + SignedDuration::from_secs(1800)).to_string());
    assert_eq!(kept.expire().expect("written"), Some(expires));
    assert!(world.text().contains("action: deny"), "{}", world.text());
}

#[test]
fn what_has_expired_denies_or_stays_as_was_wanted() {
    for (on_expiry, stays) in [(OnExpiry::Deny, false), (OnExpiry::Keep, true)] {
        let world = World::new();
        let mut kept = world.kept(on_expiry);
        assert_eq!(kept.expire().expect("nothing to do"), None);
        kept.take(URL, world.answer(GOOD, 1, 60)).expect("taken");
        assert_eq!(kept.expire().expect("nothing to do"), None);
        kept.state.last_success = Some((Timestamp::now() + SignedDuration::from_secs(90)).to_string());
        assert_eq!(kept.expire().expect("written").is_some(), !stays);
        assert_eq!(kept.expire().expect("nothing more to do"), None);
        assert_eq!(world.text() == GOOD, stays);
        let policy = file_of(&world.text());
        assert_eq!(policy.rules().len(), 1);
        // A server that has nothing newer is no news.
        assert!(kept.take(URL, Answer::Unchanged).is_err());
        let next = world.answer(GOOD, 2, 600);
        assert!(kept.take(URL, next).is_ok());
        assert_eq!(world.text(), GOOD);
    }
}

fn file_of(text: &str) -> crate::policy::Policy {
    sign::policy_of("web.yaml", text.as_bytes()).expect("a policy")
}

#[test]
fn a_key_that_is_trusted_no_more_has_signed_nothing() {
    let world = World::new();
    world
        .kept(OnExpiry::Deny)
        .take(URL, world.answer(GOOD, 1, 60))
        .expect("taken");
    let other = SigningKey::generate().expect("a key").public();
    let mut kept = Kept::open(&world.file(), vec![other], OnExpiry::Deny, &world.caller).expect("kept");
    assert_eq!(kept.fresh().expect("read"), None);
    assert!(kept.take(URL, Answer::Unchanged).is_err());
    assert!(kept.take(URL, world.answer(GOOD, 2, 60)).is_err());
    assert_eq!(world.text(), GOOD, "the last good one stays");
}
