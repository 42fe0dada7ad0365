use std::fs::{self, Permissions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{PermissionsExt as _, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Parser as _;
use http::Method;
use nix::sys::stat::Mode;
use nix::unistd::{geteuid, mkfifo};
use tempfile::TempDir;

use super::*;
use crate::audit::{Format, Log, LogFile, Show, StderrPolicy, Terminal};
use crate::cli::args::Cli;
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::config::file;
use crate::net::Scheme;
use crate::policy::{Target, Verdict};

/// A folder with a policy file in it, both its owner's alone.
struct World(TempDir);

impl World {
    fn new() -> World {
        let world = World(TempDir::new().expect("a folder"));
        world.mode("", 0o700);
        world.write("r.yaml", "rules: []\n");
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
        self.mode(name, 0o600);
    }

    fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), Permissions::from_mode(mode)).expect("its mode");
    }

    fn config(&self) -> Config {
        let name = self.path("r.yaml").display().to_string();
        let mut read = |path: &Path| fs::read(path).map_err(|error| error.to_string());
        let file = file::load(&name, fs::read(&name).expect("r.yaml"), &mut read).expect("a policy");
        let cli = Cli::try_parse_from(["httpjail", "--", "command"]).expect("arguments");
        cli.run.configure(Some(file)).expect("a configuration")
    }

    fn watcher(&self) -> Watcher<Own> {
        Watcher::new(&self.config(), SafeFrom::AllBut(me()), Own).expect("a watcher")
    }
}

fn me() -> u32 {
    geteuid().as_raw()
}

/// What two looks find, of which the first must find nothing: it might be half of something.
#[track_caller]
fn settled(watcher: &mut Watcher<Own>) -> Option<Result<String, String>> {
    assert_eq!(watcher.look(), None);
    watcher.look().map(|change| change.map(|texts| texts[0].1.clone()))
}

// Proves: P24.
#[test]
fn a_file_is_safe_from_those_who_cannot_write_it() {
    let world = World::new();
    let check = |path: &str, from: SafeFrom| from.check(&world.path(path));
    let all = |path: &str| {
        [
            check(path, SafeFrom::AllBut(me())),
            check(path, SafeFrom::User(me() + 1)),
        ]
    };
    let safe = |path: &str| assert_eq!(all(path), [Ok(()), Ok(())]);
    let open = |path: &str, why: &str| {
        for checked in all(path) {
            let error = checked.expect_err(path);
            assert!(error.contains(why), "{error}");
        }
    };
    let others = "can be written by others";
    safe("r.yaml");
    for mode in [0o620, 0o602, 0o666] {
        world.mode("r.yaml", mode);
        open("r.yaml", others);
    }
    world.mode("r.yaml", 0o644);
    safe("r.yaml");
    for mode in [0o770, 0o707, 0o1777] {
        world.mode("", mode);
        open("r.yaml", others);
    }
    // Below a folder like /tmp it is safe in one of its own.
    fs::create_dir(world.path("own")).expect("a folder");
    world.mode("own", 0o755);
    world.write("own/r.yaml", "");
    safe("own/r.yaml");
    safe("own/../own/r.yaml");
    open("own/../r.yaml", others);
    symlink("own/r.yaml", world.path("link")).expect("a link");
    symlink("own", world.path("folder")).expect("a link");
    safe("link");
    safe("folder/r.yaml");
    world.mode("own", 0o777);
    open("link", others);
    open("folder/r.yaml", others);
    open("nowhere", "cannot look at");
    symlink("loop", world.path("loop")).expect("a link");
    open("loop", "too many links");
}

#[test]
fn a_file_is_not_safe_from_its_owner_and_from_root() {
    let world = World::new();
    for user in [me(), 0] {
        let error = SafeFrom::User(user).check(&world.path("r.yaml")).expect_err("not safe");
        assert!(error.contains("belongs to a user who must not change it"), "{error}");
    }
    if !geteuid().is_root() {
        return;
    }
    let theirs = |path: &str| {
        lchown(world.path(path), Some(4321), None).expect("root's right");
        let found = [SafeFrom::AllBut(0), SafeFrom::User(4321)].map(|from| from.check(&world.path("link")).is_ok());
        lchown(world.path(path), Some(0), None).expect("root's right");
        found
    };
    symlink("r.yaml", world.path("link")).expect("a link");
    assert_eq!(SafeFrom::AllBut(0).check(&world.path("link")), Ok(()));
    for part in ["link", "r.yaml", ""] {
        assert_eq!(theirs(part), [false, false], "{part}");
    }
}

#[test]
fn what_is_new_is_taken_once_it_has_settled() {
    let world = World::new();
    let mut watcher = world.watcher();
    assert_eq!(settled(&mut watcher), None, "nothing is new");
    world.write("r.yaml", "rules: [] # 1\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # 1\n".into())));
    assert_eq!(settled(&mut watcher), None);
    // Written in two steps, with a look between them.
    world.write("r.yaml", "rules: [");
    assert_eq!(watcher.look(), None);
    world.write("r.yaml", "rules: [] # two\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # two\n".into())));
    // As editors do it.
    world.write("new", "rules: [] # three\n");
    fs::rename(world.path("new"), world.path("r.yaml")).expect("a new name");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # three\n".into())));
    // The same text, anew.
    world.write("new", "rules: [] # three\n");
    fs::rename(world.path("new"), world.path("r.yaml")).expect("a new name");
    assert_eq!(settled(&mut watcher), None);
}

/// A volume as kubelet makes it of a ConfigMap (`pkg/volume/util/atomic_writer.go`): the file is a link through `..data`, another link,
/// which is swapped for one to a directory of its own.
#[test]
fn a_config_map_that_is_swapped_is_taken() {
    let world = World::new();
    let publish = |version: &str, text: &str| {
        fs::create_dir(world.path(version)).expect("a folder");
        world.mode(version, 0o755);
        world.write(&format!("{version}/r.yaml"), text);
        symlink(version, world.path("..data_tmp")).expect("a link");
        fs::rename(world.path("..data_tmp"), world.path("..data")).expect("swapped");
    };
    publish("..1", "rules: []\n");
    fs::remove_file(world.path("r.yaml")).expect("it was there");
    symlink("..data/r.yaml", world.path("r.yaml")).expect("a link");
    let mut watcher = world.watcher();
    assert_eq!(settled(&mut watcher), None, "nothing is new");
    publish("..2", "rules: [] # 2\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # 2\n".into())));
    fs::remove_dir_all(world.path("..1")).expect("the old one goes");
    assert_eq!(settled(&mut watcher), None);
    // Swapped between two looks: neither the first nor the second alone has settled.
    publish("..3", "rules: [] # 3\n");
    assert_eq!(watcher.look(), None);
    publish("..4", "rules: [] # 4\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # 4\n".into())));
    publish("..5", "rulez: []\n");
    assert!(settled(&mut watcher).is_some_and(|change| change.is_err()));
    // kubelet makes the volume's own directory writable for everybody.
    world.mode("", 0o777);
    publish("..6", "rules: [] # 6\n");
    let error = settled(&mut watcher).expect("news").expect_err("not safe");
    assert!(error.contains("can be written by others"), "{error}");
}

#[test]
fn what_is_wrong_is_told_once() {
    let world = World::new();
    let mut watcher = world.watcher();
    settled(&mut watcher);
    let mut told = |world: &World| {
        let found = settled(&mut watcher);
        assert_eq!(settled(&mut watcher), None, "{:?}", world.0);
        found
    };
    world.write("r.yaml", "rulez: []\n");
    let error = told(&world).expect("news").expect_err("wrong");
    assert!(error.contains("r.yaml:1:1: unknown key `rulez`"), "{error}");
    fs::remove_file(world.path("r.yaml")).expect("it was there");
    let error = told(&world).expect("news").expect_err("gone");
    assert!(error.starts_with("cannot read "), "{error}");
    mkfifo(&world.path("r.yaml"), Mode::S_IRUSR).expect("a pipe");
    let error = told(&world).expect("news").expect_err("a pipe");
    assert!(error.contains("no regular file"), "{error}");
    fs::remove_file(world.path("r.yaml")).expect("it was there");
    // A file that is not there yet is looked for.
    world.write("r.yaml", "groups-from: g.yaml\nuse: g\n");
    let error = told(&world).expect("news").expect_err("no g.yaml");
    assert!(error.contains("cannot read ") && error.contains("g.yaml"), "{error}");
    world.write("g.yaml", "groups:\n  g: []\n");
    assert_eq!(told(&world), Some(Ok("groups-from: g.yaml\nuse: g\n".into())));
    world.write("g.yaml", "groups:\n  h: []\n  g: []\n");
    assert!(told(&world).is_some_and(|change| change.is_ok()));
}

// Proves: P24.
#[test]
fn what_others_can_write_is_not_taken() {
    let world = World::new();
    let mut watcher = world.watcher();
    settled(&mut watcher);
    world.write("r.yaml", "rules: [] # 1\n");
    world.mode("r.yaml", 0o666);
    let error = settled(&mut watcher).expect("news").expect_err("not safe");
    assert!(error.contains("can be written by others"), "{error}");
    world.write("r.yaml", "rules: [] # two\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # two\n".into())));
    // So is a file that groups come from.
    world.write("g.yaml", "groups: {}\n");
    world.mode("g.yaml", 0o666);
    world.write("r.yaml", "groups-from: g.yaml\n");
    assert!(settled(&mut watcher).is_some_and(|change| change.is_err()));
}

#[test]
fn what_was_not_safe_at_the_start_is_read_on_demand_alone() {
    let world = World::new();
    world.mode("r.yaml", 0o666);
    let mut watcher = world.watcher();
    world.write("r.yaml", "rules: [] # 1\n");
    assert_eq!([watcher.look(), watcher.look(), watcher.look()], [None, None, None]);
    world.mode("r.yaml", 0o666);
    assert!(watcher.demand().is_err());
    world.mode("r.yaml", 0o600);
    assert!(watcher.demand().is_ok());
    world.write("r.yaml", "rules: [] # two\n");
    assert_eq!(settled(&mut watcher), Some(Ok("rules: [] # two\n".into())));
}

#[test]
fn a_change_is_in_force_and_a_wrong_one_is_not() {
    let world = World::new();
    let screen = tempfile::tempfile().expect("a file");
    let terminal = Terminal::start(screen.try_clone().expect("its twin")).expect("a terminal");
    let file = tempfile::tempfile().expect("a file");
    let show = StderrPolicy {
        show: Show::Denials,
        no_rules: None,
        suggest: false,
        mend: true,
    };
    let copy = file.try_clone().expect("its twin");
    let log = Arc::new(Log::on(
        terminal,
        Some(LogFile {
            file: copy,
            reopen: Box::new(|| Err(io::ErrorKind::NotFound.into())),
        }),
        Format::Json,
        show,
        "s".into(),
    ));
    let in_force = InForce::new(&world.config(), log.clone());
    let (policy, name) = (in_force.policy(), world.path("r.yaml"));
    let allows = || {
        let target = Target::new(&Method::GET, Scheme::Https, "a.test", "/").expect("a target");
        matches!(policy.load().judge(&target), Verdict::Allow(_))
    };
    assert!(!allows());
    let before = in_force.state();
    let taken = in_force.take(Ok(vec![(
        name.clone(),
        "rules:\n- {action: allow, host: a.test}\n".into(),
    )]));
    assert!(allows());
    let state = in_force.state();
    assert_eq!(
        (taken, state.reloads, state.failures),
        (Ok(state.in_force.clone()), 1, 0)
    );
    assert_ne!(state.in_force.sha256, before.in_force.sha256);
    assert_eq!(state.in_force.rules, 1);
    let wrong = in_force.take(Ok(vec![(name, "rules:\n- {action: alow, host: a.test}\n".into())]));
    assert!(allows() && wrong.is_err());
    let failed = in_force.state();
    assert_eq!(
        (failed.in_force, failed.reloads, failed.failures),
        (state.in_force, 1, 1)
    );
    assert!(failed.failure.is_some_and(|failure| failure.reason.contains("`alow`")));
    assert!(in_force.take(Err("it is gone\x1b".into())).is_err());
    assert!(allows());
    let taken = in_force.take(Ok(vec![(world.path("r.yaml"), "rules: []\n".into())]));
    assert!(!allows());
    let state = in_force.state();
    assert_eq!(
        (taken.is_ok(), state.reloads, state.failures, state.failure),
        (true, 2, 2, None)
    );
    assert_eq!(state.in_force.rules, 0);

    log.finish([]);
    let text = |mut file: fs::File| {
        let mut text = String::new();
        file.rewind().expect("the start");
        file.read_to_string(&mut text).expect("text");
        text
    };
    let (said, written) = (text(screen), text(file));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], "httpjail: the policy was reloaded: 1 rule");
    assert!(
        lines[1].contains("the old one stays in force") && lines[1].contains("invalid action `alow`"),
        "{said}"
    );
    assert!(
        said.contains("  2 | - {action: alow, host: a.test}\n") && said.contains("it is gone\\x1b"),
        "{said}"
    );
    let reasons: Vec<String> = written
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"))
        .filter(|event| event["event"] == "reload")
        .map(|event| event["reason"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(reasons.len(), 4, "{written}");
    assert!(
        reasons[0] == "policy reloaded, 1 rule" && reasons[1].starts_with("policy not reloaded: "),
        "{reasons:?}"
    );
}
