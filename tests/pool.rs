//! Jails of a pool: as safe as any other jail, the client's own, and used once.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER, Way, canary, eventually, processes_with};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::support::{Expect as _, lab};

const LIMIT: Duration = Duration::from_secs(60);
/// The canary's host, to which the pool's rules let it go.
const GOOD: &str = "allow: ^http://good\\.test/";

/// Starts a pool of the user's jails, and waits until all are ready.
fn pool(jail: JailBuilder<'_>, size: &str) -> Running {
    let jail = jail.subcommand("pool").option("--size").option(size);
    let jail = match Way::of_this_process() {
        Way::Rootless => jail,
        Way::Ebpf | Way::Netns => jail.option("--user").option(USER),
    };
    let pool = jail.start().unwrap();
    let ready = eventually(LIMIT, || pool.stderr().contains("at /"));
    assert!(ready, "{}", pool.stderr());
    pool
}

/// A client of it, who is that user.
fn client<'lab>(lab: &'lab Lab, command: &[&str]) -> JailBuilder<'lab> {
    let binary = lab.binary().to_str().unwrap().to_owned();
    let line = [&[binary.as_str(), "--pool", "--"], command].concat();
    lab.unjailed().as_user().command(line)
}

fn shell<'lab>(lab: &'lab Lab, script: &str) -> JailBuilder<'lab> {
    client(lab, &["sh", "-c", script])
}

/// The processes that this one has forked.
fn children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children
        .split_whitespace()
        .map(|child| Pid::from_raw(child.parse().unwrap()))
        .collect()
}

fn parent(pid: Pid) -> Pid {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    Pid::from_raw(parent.trim().parse().unwrap())
}

#[test]
fn requests_are_judged_as_in_any_other_jail() {
    let lab = lab();
    let _pool = pool(lab.jail().without_log().rule(GOOD), "1");
    let ask = "curl -s -o /dev/null -w '%{http_code}\\n' --max-time 20";
    let script = format!("{ask} http://good.test/; {ask} http://evil.test/; exit 42");
    let outcome = shell(&lab, &script).run().expect_code(42).expect_stdout("200\n403");
    // The lines for the user are the client's.
    outcome.expect_stderr_has("evil.test");
    assert_eq!(lab.requests_for("good.test").len(), 1);
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}

#[test]
fn the_command_is_the_clients_and_has_nothing_of_the_pool() {
    let lab = lab();
    let _pool = pool(lab.jail().env("OF_THE_POOL", "1"), "1");
    let script = "id -un; pwd; echo $OF_THE_CLIENT$OF_THE_POOL; umask; ulimit -n; cat; \
                  ls -l /proc/self/fd | grep -c 'socket:\\|anon_inode:\\|memfd:'";
    let outcome = shell(&lab, script)
        .env("OF_THE_CLIENT", "mine")
        .stdin("typed\n")
        .through(["sh", "-c", "umask 27; ulimit -n 321; exec \"$@\"", "sh"])
        .run()
        // grep's, for it finds none.
        .expect_code(1);
    let here = lab.dir().display();
    outcome.expect_stdout(&format!("{USER}\n{here}\nmine\n0027\n321\ntyped\n0"));
    client(&lab, &["no-such-command"])
        .run()
        .expect_code(127)
        .expect_stderr_has("no-such-command");
}

/// Twin: the user whose the jails are is served, above.
#[test]
fn other_users_get_none() {
    let lab = lab();
    let _pool = pool(lab.jail(), "1");
    let binary = lab.binary().to_str().unwrap();
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let line = [&nobody[..], &[binary, "--pool", "--", "true"]].concat();
    let refused = lab.unjailed().command(line).run().expect_code(125);
    refused.expect_stderr_has("user 65534 has no jails in this pool");
    // Root has the user's jails, as the user.
    let line = [binary, "--pool", "--", "sh", "-c", "id -un; echo $USER"];
    let outcome = lab.unjailed().command(line).run().expect_code(0);
    outcome.expect_stdout(&format!("{USER}\n{USER}"));
}

#[test]
fn clients_have_a_jail_each_and_nobody_has_it_again() {
    let lab = lab();
    let _pool = pool(lab.jail(), "2");
    let mut lines = Vec::new();
    let runs: Vec<Running> = (0..3)
        .map(|_| {
            let (reader, line) = std::io::pipe().unwrap();
            lines.push(line);
            let jail = shell(&lab, "readlink /proc/self/ns/net; ls /tmp/used 2>&1; read end; exit 5");
            jail.stdin_from(Stdio::from(reader)).start().unwrap()
        })
        .collect();
    // The third has waited for one that was made meanwhile.
    let said = || runs.iter().map(Running::stdout).collect::<Vec<_>>();
    let all = eventually(LIMIT, || said().iter().all(|said| said.lines().count() == 2));
    assert!(all, "{:?}", said());
    let networks: BTreeSet<String> = said()
        .iter()
        .map(|said| said.lines().next().unwrap().to_owned())
        .collect();
    assert_eq!(networks.len(), 3, "{:?}", said());
    for (run, mut line) in runs.into_iter().zip(lines) {
        writeln!(line).unwrap();
        run.wait().unwrap().expect_code(5);
    }
}

#[test]
fn a_killed_client_takes_its_jail_along_and_a_killed_pool_all() {
    let lab = lab();
    let pool = pool(lab.jail(), "1");
    let run = |mark: &str| {
        let run = client(&lab, &["sh", "-c", "echo up; sleep 600; exit 1", mark])
            .start()
            .unwrap();
        let up = eventually(LIMIT, || run.stdout() == "up\n");
        assert!(up, "{}", run.stderr());
        run
    };
    let jailed = |mark: &str, run: &Running| {
        let found = processes_with(mark).into_iter().map(Pid::from_raw);
        found.filter(|pid| *pid != run.pid()).collect::<Vec<_>>()
    };
    let mark = canary();
    let client = run(&mark);
    assert!(!jailed(&mark, &client).is_empty());
    client.signal(Signal::SIGKILL);
    assert!(eventually(LIMIT, || jailed(&mark, &client).is_empty()));
    drop(client);

    // Above the command is init, and above that the supervisor.
    let mark = canary();
    let client = run(&mark);
    let command = jailed(&mark, &client)[0];
    kill(parent(parent(command)), Signal::SIGKILL).unwrap();
    let outcome = client.wait().unwrap().expect_code(125);
    outcome.expect_stderr_has("the jail with it");
    assert!(eventually(LIMIT, || processes_with(&mark).is_empty()));

    let mark = canary();
    let client = run(&mark);
    let all = children(pool.pid());
    pool.signal(Signal::SIGKILL);
    client.wait().unwrap().expect_code(125);
    assert!(eventually(LIMIT, || processes_with(&mark).is_empty()));
    let lives = |pid: &Pid| Path::new(&format!("/proc/{pid}")).exists();
    assert!(eventually(LIMIT, || !all.iter().any(lives)));
}

#[test]
fn signals_and_the_end_of_the_pool_reach_the_command() {
    let lab = lab();
    let pool = pool(lab.jail(), "1");
    let script = "trap 'echo heard; exit 7' TERM; echo up; while :; do sleep 0.05; done";
    let run = shell(&lab, script).start().unwrap();
    assert!(eventually(LIMIT, || run.stdout() == "up\n"), "{}", run.stderr());
    run.signal(Signal::SIGTERM);
    run.wait().unwrap().expect_code(7).expect_stdout("up\nheard");
    pool.signal(Signal::SIGTERM);
    pool.wait().unwrap().expect_code(0);
    client(&lab, &["true"])
        .run()
        .expect_code(125)
        .expect_stderr_has("there is no pool of the name default");
}

/// Twin: the folder in which the other tests run their clients.
#[test]
fn a_working_directory_that_the_jail_does_not_show_is_refused() {
    let lab = lab();
    let hidden = "/run/user/4711";
    lab.on_jailside(|| {
        fs::create_dir_all(hidden)?;
        Ok(fs::set_permissions(hidden, Permissions::from_mode(0o755))?)
    })
    .unwrap();
    let _pool = pool(lab.jail(), "1");
    let refused = shell(&lab, "pwd")
        .through(["sh", "-c", &format!("cd {hidden}; exec \"$@\""), "sh"])
        .run()
        .expect_code(125);
    refused.expect_stderr_has(hidden);
}

#[test]
fn a_jail_that_waits_follows_the_policy_file() {
    let lab = lab();
    let folder = lab.dir().join("policy");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, Permissions::from_mode(0o755)).unwrap();
    let (path, log) = (folder.join("rules.yaml"), lab.fresh_path("requests.json"));
    let write = |action: &str| {
        let new = path.with_extension("new");
        fs::write(&new, format!("rules:\n- {{action: {action}, host: evil.test}}\n")).unwrap();
        fs::set_permissions(&new, Permissions::from_mode(0o644)).unwrap();
        fs::rename(&new, &path).unwrap();
    };
    write("allow");
    let jail = lab.jail().log_to(&log).option("--config").option(&path);
    let _pool = pool(jail, "1");
    write("deny");
    let reloaded = || fs::read_to_string(&log).unwrap_or_default().contains("policy reloaded");
    assert!(eventually(LIMIT, reloaded));
    let ask = "curl -s -o /dev/null -w '%{http_code}\\n' --max-time 20 http://evil.test/";
    shell(&lab, ask).run().expect_stdout("403");
    // The next one was made with it.
    shell(&lab, ask).run().expect_stdout("403");
    assert_eq!(lab.requests_for("evil.test").len(), 0);
}

#[test]
fn what_belongs_to_the_pool_is_not_the_clients_and_weak_mode_makes_none() {
    let lab = lab();
    let binary = lab.binary().to_str().unwrap();
    for (line, said) in [
        (
            &["--pool", "-r", "allow: x", "--", "true"][..],
            "no other option can be given",
        ),
        (&["--pool=../x", "--", "true"], "invalid name of a pool"),
        (&["pool", "--backend", "weak"], "pool conflicts with weak mode"),
        (&["pool", "--name", "a/b"], "invalid value 'a/b' for '--name <NAME>'"),
    ] {
        let line = [&[binary], line].concat();
        lab.unjailed()
            .command(line)
            .run()
            .expect_code(2)
            .expect_stderr_has(said);
    }
}
