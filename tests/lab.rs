//! The lab itself: an oracle that cannot see is worse than none, so each is shown something first.

use httpjail_lab::{FORBIDDEN_V4, canary};

use crate::support::{Expect as _, curl_status, lab};

#[test]
fn requests_reach_the_world_and_its_log() {
    let lab = lab();
    let mark = canary();
    let ca = lab.upstream_ca();
    let https = format!("https://ok.test/echo?{mark}");
    curl_status(
        lab.unjailed(),
        &["--cacert", ca.to_str().unwrap(), "--data", "a body", &https],
    )
    .run()
    .expect_stdout("200");
    let seen = lab.requests_for("ok.test");
    assert_eq!(seen.len(), 1, "{seen:#?}");
    assert_eq!(
        (seen[0].method.as_str(), seen[0].version.as_str(), seen[0].tls),
        ("POST", "HTTP/2.0", true)
    );
    assert_eq!(
        (seen[0].sni.as_deref(), &*seen[0].body),
        (Some("ok.test"), b"a body".as_slice())
    );
    assert!(!lab.wire().saw(&mark), "TLS hides the query");

    curl_status(lab.unjailed(), &[&format!("http://evil.test/{mark}")])
        .run()
        .expect_stdout("200");
    assert!(lab.requests_for("evil.test")[0].local.ip().to_canonical() != httpjail_lab::WORLD_V4);
    assert!(lab.wire().saw(&mark));
    assert!(!lab.wire().saw(canary()));
}

#[test]
fn all_addresses_are_the_worlds() {
    let lab = lab();
    for url in [
        "http://169.254.169.254/",
        "http://10.1.2.3/",
        "http://93.184.216.34:8080/",
        "http://[2001:db8:77::1]/",
    ] {
        curl_status(lab.unjailed(), &[url]).run().expect_stdout("200");
    }
    assert_eq!(lab.heard().requests.all().len(), 4);
}

#[test]
fn names_are_answered_and_logged() {
    let lab = lab();
    lab.resolve("set.test", &[FORBIDDEN_V4.into()]);
    lab.unjailed()
        .command(["getent", "ahostsv4", "set.test"])
        .run()
        .expect_code(0)
        .expect_stderr_has("");
    lab.unjailed()
        .command(["getent", "ahosts", "name.invalid"])
        .run()
        .expect_code(2);
    let asked = lab.heard().questions.filter(|question| question.name == "set.test");
    assert!(!asked.is_empty());
}

#[test]
fn git_clones_over_the_dumb_protocol() {
    let lab = lab();
    lab.git_repository("project").unwrap();
    let target = lab.fresh_path("clone");
    let line = [
        "git",
        "clone",
        "-q",
        "http://ok.test/git/project.git",
        target.to_str().unwrap(),
    ];
    lab.unjailed().command(line).run().expect_code(0);
    assert_eq!(std::fs::read_to_string(target.join("file")).unwrap(), "content\n");
}

#[test]
fn a_run_that_hangs_is_ended() {
    let lab = lab();
    let mark = canary();
    let run = lab
        .unjailed()
        .limit(std::time::Duration::from_millis(200))
        .command(["sh", "-c", "sleep 600", &mark]);
    let error = run.start().unwrap().wait().unwrap_err();
    assert!(error.to_string().contains("still running"), "{error}");
    assert_eq!(httpjail_lab::processes_with(&mark), Vec::<i32>::new());
}

#[test]
fn the_user_may_sudo() {
    let lab = lab();
    let id = lab
        .unjailed()
        .as_user()
        .command(["sh", "-c", "id -u; id -G; sudo -n id -u"])
        .run();
    id.expect_code(0).expect_stdout("4242\n4242 4343\n0");
}
