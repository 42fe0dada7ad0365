//! A policy file that changes while the command runs.

use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{Lab, USER, eventually};
use serde_json::Value;

use crate::support::{Expect as _, lab};

const LIMIT: Duration = Duration::from_secs(30);

/// A policy file in a folder of its own, root's alone, with this text.
fn policy(lab: &Lab, text: &str) -> PathBuf {
    let folder = lab.dir().join("policy");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let path = folder.join("rules.yaml");
    replace(&path, text);
    path
}

/// Puts another file in the place of this one, as editors do.
fn replace(path: &Path, text: &str) {
    let new = path.with_extension("new");
    fs::write(&new, text).unwrap();
    fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
    fs::rename(&new, path).unwrap();
}

/// The reasons of the reloads in a log so far.
fn reloads(log: &Path) -> Vec<String> {
    let text = fs::read_to_string(log).unwrap_or_default();
    let events = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let reloads = events.filter(|event| event["event"] == "reload");
    reloads
        .map(|event| event["reason"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn rules_change_while_the_command_runs() {
    let lab = lab();
    let path = policy(&lab, "rules:\n- {action: deny, host: evil.test}\n");
    let log = lab.fresh_path("requests.json");
    let (reader, mut line) = std::io::pipe().unwrap();
    let ask = "curl -s -o /dev/null -w '%{http_code}\\n' http://evil.test/";
    let run = lab
        .jail()
        .as_user()
        .log_to(&log)
        .option("--config")
        .option(&path)
        .stdin_from(reader)
        .shell(&format!("{ask}; read go; {ask}; read go; {ask}"))
        .start()
        .unwrap();
    let answers = |count: usize| {
        let came = eventually(LIMIT, || run.stdout().lines().count() >= count);
        assert!(came, "{}{}", run.stdout(), run.stderr());
    };
    let reloaded = |count: usize| {
        let came = eventually(LIMIT, || reloads(&log).len() >= count);
        assert!(came, "{:?}{}", reloads(&log), run.stderr());
    };
    answers(1);
    replace(&path, "rules:\n- {action: allow, host: evil.test}\n");
    reloaded(1);
    writeln!(line).unwrap();
    answers(2);
    // A file that is none changes nothing, and says so.
    replace(&path, "rules:\n- {action: denny, host: evil.test}\n");
    reloaded(2);
    writeln!(line).unwrap();
    let outcome = run.wait().unwrap().expect_code(0).expect_stdout("403\n200\n200");

    let said = reloads(&log);
    assert_eq!(said[0], "policy reloaded, 1 rule", "{said:?}");
    assert!(
        said[1].starts_with("policy not reloaded: ") && said[1].contains("rules.yaml:2:12: "),
        "{said:?}"
    );
    assert!(outcome.stderr.contains("the old one stays in force"), "{outcome:#?}");
    // Each request names the rule of the policy that judged it.
    let rules: Vec<&Value> = outcome
        .events_with(&[("event", "request")])
        .iter()
        .map(|event| &event["rule"])
        .collect();
    assert_eq!(
        rules,
        ["deny: host evil.test", "allow: host evil.test", "allow: host evil.test"]
    );
}

// Proves: P24.
#[test]
fn what_the_command_could_write_is_not_looked_at() {
    let lab = lab();
    let path = policy(&lab, "rules: []\n");
    let said = || {
        let jail = lab
            .jail()
            .as_user()
            .log_to(lab.fresh_path("log"))
            .option("-v")
            .option("--config")
            .option(&path);
        jail.command(["true"]).run().expect_code(0).stderr
    };
    let unseen = "changes of the policy file are not seen";
    let safe = said();
    assert!(!safe.contains(unseen), "{safe}");
    let user = fs::metadata(lab.home(USER)).unwrap().uid();
    for whose in [path.as_path(), path.parent().unwrap()] {
        chown(whose, Some(user), None).unwrap();
        let said = said();
        assert!(
            said.contains(unseen) && said.contains(whose.to_str().unwrap()),
            "{said}"
        );
        chown(whose, Some(0), None).unwrap();
    }
    fs::set_permissions(&path, Permissions::from_mode(0o666)).unwrap();
    let open = said();
    assert!(open.contains(unseen), "{open}");
}
