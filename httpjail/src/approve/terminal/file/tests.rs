//! What is added to a policy file, and what stays as it is.

use super::*;
use crate::approve::grant::GrantScope;
use crate::config::file as policy_file;

fn request(method: &Method, authority: &str, path: &str) -> ApprovalRequest {
    ApprovalRequest::new(&Target::new(method, Scheme::Https, authority, path).unwrap(), None)
}

fn parse(text: &str) -> Result<Contents, String> {
    let file = policy_file::parse("the policy file", text).map_err(|error| error.to_string())?;
    Ok(Contents {
        rest: format!("{:?} {:?}", file.options, file.logging),
        rules: file.rules,
    })
}

#[track_caller]
fn check_added(before: &str, scope: GrantScope, after: Result<&str, &str>) {
    let request = request(&Method::GET, "a.test", "/x/it's?q=1");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.yaml");
    fs::write(&path, before).unwrap();
    let mut file = PolicyFile {
        name: "rules.yaml".into(),
        path: path.clone(),
        known: None,
        parse,
    };
    let done = file.add(&Grant::new(true, &request, scope), &request);
    let found = fs::read_to_string(&path).unwrap();
    match after {
        Ok(after) => {
            assert_eq!(done, Ok(()));
            assert_eq!(found, after);
        }
        Err(why) => {
            assert!(done.clone().is_err_and(|error| error.contains(why)), "{done:?}");
            assert_eq!(found, before, "untouched");
        }
    }
}

const MARK: &str = "# approved when it was asked for";

#[test]
fn a_rule_is_added_at_the_end_of_the_rules() {
    let entry = |indent: &str| {
        format!(
            "{indent}{MARK}\n{indent}- action: allow\n{indent}  pattern: '^https://a\\.test/x/it''s\\?q=1$'\n{indent}  methods: [get]\n"
        )
    };
    let before = "# mine\nrules:\n  # first\n  - action: deny\n    host: b.test # no\n\nlogging:\n  level: info\n";
    let after = format!(
        "# mine\nrules:\n  # first\n  - action: deny\n    host: b.test # no\n{}\nlogging:\n  level: info\n",
        entry("  ")
    );
    check_added(before, GrantScope::Url, Ok(&after));
    check_added("", GrantScope::Url, Ok(&format!("rules:\n{}", entry("  "))));
    check_added("rules: []\n", GrantScope::Url, Ok(&format!("rules:\n{}", entry("  "))));
    let flat = "rules:\n- {action: deny, host: b.test}\n";
    check_added(flat, GrantScope::Url, Ok(&format!("{flat}{}", entry(""))));
}

#[test]
fn prefix_and_host() {
    let prefix =
        format!("rules:\n  {MARK}\n  - action: allow\n    pattern: '^https://a\\.test/x/'\n    methods: [get]\n");
    check_added("", GrantScope::Prefix, Ok(&prefix));
    let host = format!("rules:\n  {MARK}\n  - action: allow\n    pattern: '^https://a\\.test/'\n");
    check_added("", GrantScope::Host, Ok(&host));
}

#[test]
fn what_cannot_be_added_to_stays_as_it_is() {
    check_added(
        "rules: [{action: deny, host: b.test}]\n",
        GrantScope::Url,
        Err("no list of rules"),
    );
    check_added("rules: {\n", GrantScope::Url, Err(""));
    // Edited meanwhile: another rule decides now.
    check_added(
        "rules:\n- {action: deny, pattern: '.*'}\n",
        GrantScope::Url,
        Err("would not allow"),
    );
}

// Proves: K16.
#[test]
fn what_the_command_could_write_is_added_to_as_it_was_known_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.yaml");
    fs::write(&path, "rules: []\n").unwrap();
    let mut file = PolicyFile {
        name: "rules.yaml".into(),
        path: path.clone(),
        known: Some("rules: []\n".into()),
        parse,
    };
    let mut add = |path: &str| {
        let request = request(&Method::GET, "a.test", path);
        file.add(&Grant::new(true, &request, GrantScope::Url), &request)
    };
    assert_eq!((add("/one"), add("/two")), (Ok(()), Ok(())));
    let own = fs::read_to_string(&path).unwrap();
    fs::write(&path, own.clone() + "- {action: allow, host: b.test}\n").unwrap();
    assert!(add("/three").is_err_and(|why| why.contains("has changed")));
    fs::write(&path, &own).unwrap();
    assert_eq!(add("/three"), Ok(()));
    // A link in its place is not followed.
    fs::rename(&path, dir.path().join("moved")).unwrap();
    std::os::unix::fs::symlink("moved", &path).unwrap();
    assert!(add("/four").is_err());
}

#[test]
fn another_method_has_no_rule() {
    let method = Method::from_bytes(b"PROPFIND").unwrap();
    let request = request(&method, "a.test", "/");
    assert_eq!(Grant::new(true, &request, GrantScope::Url).rule(), None);
    assert!(Grant::new(true, &request, GrantScope::Host).rule().is_some());
}
