//! Weak mode and `serve`: the same verdicts for programs that are told of the proxy.

use std::path::Path;
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER, eventually};
use nix::sys::signal::Signal;

use crate::support::origins::OddOrigins;
use crate::support::{Expect as _, PYTHON, curl_status, have, lab};

const ALLOW: &str = r"allow-get: ^https?://ok\.test/";

fn weak(lab: &Lab) -> JailBuilder<'_> {
    lab.jail().option("--backend").option("weak").rule(ALLOW)
}

/// What reached the internet, one line a request.
fn reached(lab: &Lab) -> Vec<String> {
    let line = |seen: &httpjail_lab::Seen| {
        let scheme = if seen.tls { "https" } else { "http" };
        format!("{} {scheme}://{}{}", seen.method, seen.host, seen.path)
    };
    lab.heard().requests.all().iter().map(line).collect()
}

/// `client` with this script, which ends in the URL's body, gets what is allowed; and `status` (its own spelling of 403) of
/// what is not.
#[track_caller]
fn check(client: &str, line: &[&str], status: &str) {
    if !have(client) {
        return;
    }
    let fetch = |lab: &Lab, url: &str| {
        let line: Vec<String> = line.iter().map(|word| word.replace("URL", url)).collect();
        weak(lab).command(line).run()
    };
    for url in ["https://ok.test/bytes/5", "http://ok.test/bytes/5"] {
        let lab = lab();
        let outcome = fetch(&lab, url).expect_code(0).expect_stdout("xxxxx");
        assert_eq!(reached(&lab), [format!("GET {url}")], "{outcome:#?}");
        let seen = &lab.requests_for("ok.test")[0].headers;
        assert!(seen.iter().all(|(name, _)| !name.starts_with("proxy-")), "{seen:?}");
    }
    for url in ["https://evil.test/bytes/5", "http://evil.test/bytes/5"] {
        let lab = lab();
        let outcome = fetch(&lab, url);
        assert_ne!(outcome.stdout.trim(), "xxxxx", "{outcome:#?}");
        assert!(
            (outcome.stdout.clone() + &outcome.stderr).contains(status),
            "{outcome:#?}"
        );
        assert_eq!(reached(&lab), [""; 0], "{outcome:#?}");
        let denied = outcome.events_with(&[("event", "request"), ("verdict", "deny"), ("url", url)]);
        assert_eq!(denied.len(), 1, "{outcome:#?}");
    }
}

#[test]
fn curl() {
    check("curl", &["curl", "-sSf", "URL"], "403");
    check("curl", &["curl", "-sSf", "--http1.1", "URL"], "403");
}

/// The inner one's way out is the outer one, whose rules count too.
#[test]
fn within_weak_mode() {
    if !have("curl") {
        return;
    }
    for (url, status) in [
        ("https://ok.test/bytes/5", "200"),
        ("http://ok.test/bytes/5", "200"),
        ("https://evil.test/bytes/5", "403"),
        ("http://evil.test/bytes/5", "403"),
    ] {
        let lab = lab();
        let inner = [
            lab.binary().to_str().expect("a path"),
            "--weak",
            "-r",
            "allow: .*",
            "--",
        ];
        let curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", url];
        let outcome = weak(&lab).command(inner.iter().chain(&curl)).run();
        assert_eq!(outcome.stdout.trim(), status, "{url}: {outcome:#?}");
        let reaches = usize::from(status == "200");
        assert_eq!(reached(&lab).len(), reaches, "{url}: {outcome:#?}");
    }
}

/// What cannot be honoured is an error before anything runs, and shows no password.
// Proves: S37.
#[test]
fn a_way_out_that_cannot_be_used() {
    let lab = lab();
    let outcome = weak(&lab)
        .env("ALL_PROXY", "socks5://me:s3cret@192.0.2.1:1080")
        .command(["echo", "ran"])
        .run()
        .expect_code(2);
    assert!(
        outcome.stderr.contains("ALL_PROXY") && outcome.stderr.contains("`socks5`"),
        "{outcome:#?}"
    );
    assert!(
        !outcome.stderr.contains("s3cret") && outcome.stdout.is_empty(),
        "{outcome:#?}"
    );
}

#[test]
fn python_urllib() {
    let script = "import urllib.request as r; print(r.urlopen('URL').read().decode())";
    check("python3", &[PYTHON, "-c", script], "403");
}

#[test]
fn node_fetch() {
    let script = "fetch('URL').then(async r => { console.log(r.ok ? await r.text() : r.status) })";
    // Older ones know nothing of NODE_USE_ENV_PROXY, and go past.
    let knows = std::process::Command::new("node")
        .args(["-e", "const [a, b] = process.versions.node.split('.'); process.exit(a > 24 || a == 24 && b >= 5 || a == 22 && b >= 21 ? 0 : 1)"])
        .status();
    if knows.is_ok_and(|status| status.success()) {
        check("node", &["node", "-e", script], "403");
    } else {
        eprintln!("skipped: no node that heeds NODE_USE_ENV_PROXY");
    }
}

#[test]
fn git_clone() {
    if !have("git") {
        return;
    }
    let lab = lab();
    lab.git_repository("project").unwrap();
    let script = "cd && git clone -q https://ok.test/git/project.git && cat project/file";
    weak(&lab).shell(script).run().expect_code(0).expect_stdout("content");
    assert!(
        reached(&lab)
            .iter()
            .all(|line| line.starts_with("GET https://ok.test/git/"))
    );
    let refused = weak(&lab)
        .shell("cd && git clone -q https://evil.test/git/project.git other")
        .run();
    assert_eq!(
        (refused.code(), lab.requests_for("evil.test").len()),
        (Some(128), 0),
        "{refused:#?}"
    );
    assert!(refused.stderr.contains("403"), "{refused:#?}");
}

#[test]
fn it_says_that_it_is_weak_and_it_is() {
    let lab = lab();
    // This one ignores the variables: it gets through, and nobody hears of it.
    let outcome = curl_status(weak(&lab), &["--noproxy", "*", "http://evil.test/"])
        .run()
        .expect_stdout("200")
        .expect_stderr_has("weak mode");
    assert_eq!(outcome.events_with(&[("event", "request")]).len(), 0, "{outcome:#?}");
    assert_eq!(reached(&lab), ["GET http://evil.test/"]);
}

#[test]
fn java() {
    if !have("java") {
        return;
    }
    let lab = lab();
    let program = lab.file("Get.java", include_str!("support/probes/Get.java"));
    let get = |url: &str| {
        weak(&lab)
            .command(["java", program.to_str().unwrap(), url])
            .run()
            .expect_code(0)
    };
    get("https://ok.test/bytes/5").expect_stdout("200 xxxxx");
    get("http://ok.test/bytes/5").expect_stdout("200 xxxxx");
    assert!(get("https://evil.test/").stdout.starts_with("403 "));
    assert_eq!(
        reached(&lab),
        ["GET https://ok.test/bytes/5", "GET http://ok.test/bytes/5"]
    );
}

// Proves: S18.
#[test]
fn who_has_no_token_is_refused() {
    let lab = lab();
    let ask = |before: &str, after: &str, url: &str| {
        let curl = "curl -sS -o /dev/null -w '%{http_code}' --proxy \"http://${https_proxy##*@}\"";
        let outcome = weak(&lab).shell(&format!("{before} {curl} {after} {url}")).run();
        // What a proxy says to a CONNECT curl has in its complaint alone.
        match outcome.stderr.split("response ").nth(1) {
            Some(status) => status.trim()[..3].to_owned(),
            None => outcome.stdout,
        }
    };
    let other_user = format!("setpriv --reuid {USER} --clear-groups");
    let token = r#"--proxy-user "$(echo "$https_proxy" | sed 's,.*//,,; s,@.*,,')""#;
    for url in ["http://ok.test/", "https://ok.test/"] {
        assert_eq!(ask(&other_user, "", url), "407", "{url}");
        assert_eq!(ask(&other_user, "--proxy-user httpjail:guess", url), "407", "{url}");
        assert_eq!(ask("", "--proxy-user httpjail:guess", url), "407", "{url}");
    }
    assert_eq!(reached(&lab), [""; 0]);
    // Another user who was given the token; and one's own programs, such as a JVM, which takes none.
    assert_eq!(ask(&other_user, token, "http://ok.test/"), "200");
    assert_eq!(ask("", "", "http://ok.test/"), "200");
    assert_eq!(ask("", "", "https://ok.test/"), "200");
}

#[test]
fn exit_statuses() {
    let lab = lab();
    let run = |script: &str| weak(&lab).shell(script).run();
    for code in [0, 1, 42, 255] {
        run(&format!("exit {code}")).expect_code(code);
    }
    run("kill -TERM $$").expect_code(143);
    run("kill -KILL $$").expect_code(137);
    weak(&lab)
        .command(["no-such-command"])
        .run()
        .expect_code(127)
        .expect_stderr_has("no-such-command");
    let file = lab.file("plain-file", "no program");
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    weak(&lab)
        .command([&file])
        .run()
        .expect_code(126)
        .expect_stderr_has("error: ");
    lab.jail()
        .option("--backend")
        .option("weak")
        .rule("alow: x")
        .command(["true"])
        .run()
        .expect_code(2);
    run("cat; echo words >&2").expect_stdout("").expect_stderr_has("words");
}

#[test]
fn the_time_limit_ends_all_of_it() {
    let lab = lab();
    for script in [
        "sleep 600 & sleep 600",
        "trap '' TERM; sleep 600 & while :; do sleep 1; done",
    ] {
        let mark = httpjail_lab::canary();
        weak(&lab)
            .option("--timeout")
            .option("1")
            .command(["sh", "-c", script, &mark])
            .run()
            .expect_code(124);
        assert_eq!(httpjail_lab::processes_with(&mark), Vec::<i32>::new());
    }
}

// Proves: K12, P17.
#[test]
fn nothing_is_left() {
    let lab = lab();
    let mark = httpjail_lab::canary();
    let script = format!("sh -c 'sleep 600' {mark} & echo \"$SSL_CERT_FILE\"");
    let outcome = weak(&lab)
        .env("TMPDIR", lab.home("root"))
        .shell(&script)
        .run()
        .expect_code(0);
    assert!(eventually(Duration::from_secs(10), || httpjail_lab::processes_with(
        &mark
    )
    .is_empty()));
    let bundle = Path::new(outcome.stdout.trim());
    assert!(
        bundle.starts_with(lab.home("root")) && !bundle.parent().unwrap().exists(),
        "{bundle:?}"
    );
}

#[test]
fn signals_reach_the_command() {
    for (signal, name) in [
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGINT, "INT"),
        (Signal::SIGHUP, "HUP"),
    ] {
        let lab = lab();
        let script = format!("trap 'exit 7' {name}; echo ready; while :; do sleep 0.05; done");
        let run = weak(&lab).shell(&script).start().unwrap();
        assert!(
            eventually(Duration::from_secs(20), || run.stdout() == "ready\n"),
            "{}",
            run.stderr()
        );
        run.signal(signal);
        run.wait().unwrap().expect_code(7);
    }
}

// Proves: K02, K03.
#[test]
fn its_authority_is_not_that_of_jails() {
    let lab = lab();
    weak(&lab).command(["true"]).run().expect_code(0);
    let folder = lab.home("root").join(".config/httpjail");
    assert!(folder.join("weak/ca.key").exists() && !folder.join("ca.key").exists());
    lab.jail().command(["true"]).run().expect_code(0);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert_ne!(read("ca.crt"), read("weak/ca.crt"));
}

// Proves: K08.
#[test]
fn under_sudo_it_is_the_caller() {
    let lab = lab();
    let log = lab.home(USER).join("log.json");
    let script = "id -un; echo $HOME; curl -sS https://ok.test/bytes/5";
    let outcome = weak(&lab).as_user().log_to(&log).shell(script).run().expect_code(0);
    assert_eq!(outcome.stdout, format!("{USER}\n{}\nxxxxx", lab.home(USER).display()));
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&log).unwrap());
    assert_eq!(owner, httpjail_lab::USER_ID);
}

/// `httpjail serve` on the jailed side, with these options, and the URL that it printed.
fn serve(lab: &Lab, options: &[&str]) -> (Running, String) {
    let (binary, ca) = (lab.binary().to_string_lossy(), lab.upstream_ca());
    let mut line = vec![&*binary, "serve", "--upstream-ca", ca.to_str().unwrap(), "-r", ALLOW];
    line.extend(options);
    let run = lab.unjailed().command(line).start().unwrap();
    assert!(
        eventually(Duration::from_secs(20), || run.stdout().ends_with('\n')),
        "{}",
        run.stderr()
    );
    let url = run.stdout().trim().to_owned();
    (run, url)
}

fn status_through(lab: &Lab, proxy: &str, url: &str) -> String {
    let ca = lab.home("root").join(".config/httpjail/weak/ca.crt");
    let options = ["--proxy", proxy, "--cacert", ca.to_str().unwrap(), url];
    let outcome = curl_status(lab.unjailed(), &options).run();
    // What a proxy says to a CONNECT curl has in its complaint alone.
    match outcome.stderr.split("response ").nth(1) {
        Some(status) => status.trim().to_owned(),
        None => outcome.stdout,
    }
}

#[test]
fn serving() {
    let lab = lab();
    let (run, url) = serve(&lab, &["--listen", "127.0.0.1:0"]);
    assert!(url.starts_with("http://httpjail:"), "{url}");
    let bare = format!("http://{}", url.rsplit_once('@').unwrap().1);
    for (proxy, target, status) in [
        (&url, "https://ok.test/", "200"),
        (&url, "http://ok.test/", "200"),
        (&url, "https://evil.test/", "403"),
        (&url, "http://evil.test/", "403"),
        (&bare, "https://ok.test/", "407"),
        (&bare, "http://ok.test/", "407"),
    ] {
        assert_eq!(status_through(&lab, proxy, target), status, "{proxy} {target}");
    }
    assert_eq!(reached(&lab), ["GET https://ok.test/", "GET http://ok.test/"]);
    run.signal(Signal::SIGINT);
    run.wait().unwrap().expect_code(130).expect_stderr_has("weak/ca.crt");
}

/// Another user of this host, who has no token, has taken more than all places: who has the token is served.
// Proves: D09.
#[test]
fn serving_while_a_stranger_knocks() {
    let lab = lab();
    let policy = lab.file("rules.yaml", "limits: {connections: 64}\n");
    let (run, url) = serve(&lab, &["--listen", "127.0.0.1:0", "--config", policy.to_str().unwrap()]);
    let port = url.rsplit_once(':').unwrap().1.trim_end_matches('/').to_owned();
    let knock = "import socket, sys\nheld = []\nfor _ in range(300):\n    s = socket.create_connection(('127.0.0.1', \
                 int(sys.argv[1])))\n    s.sendall(b'GET http://ok.test/ HTTP/1.1\\r\\n')\n    held.append(s)\n\
                 print('all', flush=True)\nsys.stdin.read()";
    let (reader, line) = std::io::pipe().unwrap();
    let stranger = lab
        .unjailed()
        .stdin_from(reader)
        .command(["setpriv", "--reuid", USER, "--clear-groups", PYTHON, "-c", knock, &port])
        .start()
        .unwrap();
    let all = eventually(Duration::from_secs(60), || stranger.stdout() == "all\n");
    assert!(all, "{}", stranger.stderr());
    // The places of strangers are full, and whoever comes now takes that of the first of them. (While they come, a client of
    // few places may be the first before its head is there.)
    for _ in 0..5 {
        assert_eq!(status_through(&lab, &url, "http://ok.test/"), "200");
    }
    assert_eq!(status_through(&lab, &url, "https://ok.test/"), "200");
    drop(line);
    stranger.wait().unwrap();
    run.signal(Signal::SIGTERM);
    run.wait()
        .unwrap()
        .expect_code(0)
        .expect_stderr_has("too many clients without the token");
}

// Proves: P24.
#[test]
fn serving_a_policy_that_changes() {
    use std::os::unix::fs::PermissionsExt as _;
    let lab = lab();
    let policy = lab.file("rules.yaml", "rules: []\n");
    let name = policy.to_str().unwrap();
    let (run, url) = serve(&lab, &["--listen", "127.0.0.1:0", "--config", name]);
    assert_eq!(status_through(&lab, &url, "http://evil.test/"), "403");
    let hang_up = |text: &str, mode: u32, said: &str| {
        std::fs::write(&policy, text).unwrap();
        std::fs::set_permissions(&policy, std::fs::Permissions::from_mode(mode)).unwrap();
        run.signal(Signal::SIGHUP);
        let heard = eventually(Duration::from_secs(20), || run.stderr().contains(said));
        assert!(heard, "no {said:?} in {}", run.stderr());
    };
    let allow = "rules:\n- {action: allow, host: evil.test}\n";
    hang_up(allow, 0o666, "rules.yaml can be written by others");
    assert_eq!(status_through(&lab, &url, "http://evil.test/"), "403");
    hang_up(allow, 0o644, "the policy was reloaded: 2 rules");
    assert_eq!(status_through(&lab, &url, "http://evil.test/"), "200");
    hang_up("rulez: []\n", 0o644, "unknown key `rulez`");
    assert_eq!(status_through(&lab, &url, "http://evil.test/"), "200");
    // Without being told to.
    std::fs::write(&policy, "rules: [] # none\n").unwrap();
    let heard = eventually(Duration::from_secs(20), || {
        run.stderr().contains("the policy was reloaded: 1 rule\n")
    });
    assert!(heard, "{}", run.stderr());
    assert_eq!(status_through(&lab, &url, "http://evil.test/"), "403");
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0);
}

#[test]
fn serving_everybody_on_this_host() {
    let lab = lab();
    let (run, url) = serve(&lab, &["--listen", "127.0.0.1:0", "--auth", "none"]);
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    assert_eq!(status_through(&lab, &url, "https://ok.test/"), "200");
    assert_eq!(status_through(&lab, &url, "https://evil.test/"), "403");
    // Never itself, and nothing that is no request for a proxy.
    assert_eq!(status_through(&lab, &url, &format!("{url}/")), "403");
    let direct = curl_status(lab.unjailed(), &["--noproxy", "*", &format!("{url}/")]).run();
    direct.expect_stdout("400");
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0);
}

// Proves: S18.
#[test]
fn a_public_address_needs_a_token() {
    let lab = lab();
    let binary = lab.binary().to_string_lossy().into_owned();
    for listen in ["0.0.0.0:0", "[::]:0", "198.51.100.1:0"] {
        let line = [&binary, "serve", "--listen", listen, "--auth", "none"];
        lab.unjailed()
            .command(line)
            .run()
            .expect_code(2)
            .expect_stdout("")
            .expect_stderr_has("--auth");
    }
    let (run, url) = serve(&lab, &["--listen", "198.51.100.1:0"]);
    assert_eq!(status_through(&lab, &url, "http://ok.test/"), "200");
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0).expect_stderr_has("warning: ");
}

#[test]
fn without_interception_a_tunnel_is_judged_by_its_host() {
    let lab = lab();
    let (run, url) = serve(
        &lab,
        &[
            "--listen",
            "127.0.0.1:0",
            "--no-tls-intercept",
            "-r",
            r"allow-connect: ^https://ok\.test/",
        ],
    );
    let through = |target: &str| {
        let ca = lab.upstream_ca();
        curl_status(
            lab.unjailed(),
            &["--proxy", &url, "--cacert", ca.to_str().unwrap(), target],
        )
        .run()
    };
    through("https://ok.test/").expect_code(0).expect_stdout("200");
    through("https://evil.test/").expect_stderr_has("403");
    assert_eq!(reached(&lab), ["GET https://ok.test/"]);
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(0);
}

/// In a jail that holds: a program that asks for some proxy of its own gets this one.
#[test]
fn a_proxy_of_ones_own_in_a_jail() {
    let proxied = |url: &str, status: &str, expected: &[&str]| {
        let lab = lab();
        let jail = lab.jail().rule(ALLOW);
        let outcome = curl_status(jail, &["--proxy", "http://proxy.test:3128", url]).run();
        assert!(
            (outcome.stdout.clone() + &outcome.stderr).contains(status),
            "{outcome:#?}"
        );
        assert_eq!(reached(&lab), expected, "{outcome:#?}");
        assert_eq!(
            outcome.events_with(&[("event", "request"), ("url", url)]).len(),
            1,
            "{outcome:#?}"
        );
    };
    proxied("https://ok.test/a", "200", &["GET https://ok.test/a"]);
    proxied("http://ok.test/a", "200", &["GET http://ok.test/a"]);
    proxied("https://evil.test/", "403", &[]);
    proxied("http://evil.test/", "403", &[]);
    // A tunnel leads to the judge, whatever it is said to carry.
    let lab = lab();
    let script = r#"exec 3<>/dev/tcp/proxy.test/3128
        printf 'CONNECT ok.test:22 HTTP/1.1\r\nHost: ok.test:22\r\n\r\nSSH-2.0-x\r\n' >&3; cat <&3"#;
    let outcome = lab.jail().rule("allow: .*").command(["bash", "-c", script]).run();
    assert_eq!(
        outcome
            .events_with(&[("event", "refused"), ("reason", "not http: ssh"), ("url", "ok.test:22")])
            .len(),
        1,
        "{outcome:#?}"
    );
    assert_eq!(lab.heard().contacts.all().len(), 0);
}

/// Else another user of this host could choose whom the command trusts.
// Proves: K09.
#[test]
fn nobody_else_writes_what_the_command_trusts() {
    let lab = lab();
    let careless = ["sh", "-c", "umask 000; exec \"$@\"", "sh"];
    let look = "umask; stat -c %a $(dirname $SSL_CERT_FILE)";
    let outcome = weak(&lab).through(careless).shell(look).run();
    outcome.expect_code(0).expect_stdout("0000\n700");
}

/// One user authenticates a connection as NTLM does; whoever asks next has not.
// Proves on weak: H10.
#[test]
fn served_clients_do_not_get_each_others_connections() {
    let lab = lab();
    let _origins = OddOrigins::start(&lab);
    let (_run, url) = serve(
        &lab,
        &[
            "--listen",
            "127.0.0.1:0",
            "--auth",
            "none",
            "-r",
            "allow: ^http://ok\\.test:9601/",
        ],
    );
    let ask = |as_user: bool, script: &str| {
        let run = if as_user {
            lab.unjailed().as_user()
        } else {
            lab.unjailed()
        };
        let curl =
            format!("curl -sS --max-time 20 --proxy {url} -o /dev/null -o /dev/null -w '%{{http_code}} ' {script}");
        run.shell(&curl).run().expect_code(0).stdout
    };
    let here = "http://ok.test:9601/";
    assert_eq!(ask(true, &format!("--ntlm -u user:password {here} {here}")), "200 200 ");
    assert_eq!(ask(false, here), "401 ");
    // Clients of some kinds try it through no proxy that does not say so.
    let said = lab
        .unjailed()
        .command(["curl", "-sSi", "--proxy", &url, here])
        .run()
        .stdout;
    assert!(
        said.to_lowercase()
            .contains("proxy-support: session-based-authentication"),
        "{said}"
    );
}
