//! Unix sockets of the outside, by every name that they can have, and those of the jail, which must work as ever.
//!
//! The judge is the program outside: it tells what reached it. It is asked after an unjailed program has reached it, which it
//! tells of last.

use std::os::fd::OwnedFd;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER_ID, eventually};

use crate::support::{Expect as _, PYTHON, have, lab};

const OUTSIDE: &str = include_str!("support/probes/outside.py");
const REACH: &str = include_str!("support/probes/reach.py");
const OWN: &str = include_str!("support/probes/own_sockets.py");
const USERS_WITHIN: &str = include_str!("support/probes/users_within.py");
const WATCHED: &str = include_str!("support/probes/watched.py");
const FLIP: &str = include_str!("support/probes/flip.py");

const SOON: Duration = Duration::from_secs(20);

/// The jails to be tried: one of plain root (where there is root) and one of a user.
const JAILS: [fn(&Lab) -> JailBuilder<'_>; 2] = [|lab| lab.jail(), |lab| lab.jail().as_user()];

/// A folder that everybody may change.
fn open_folder(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    nix::unistd::chown(&path, Some(USER_ID.into()), Some(USER_ID.into())).unwrap();
    path
}

/// A program outside, of the user whom a jail of his would be of.
fn outside(lab: &Lab, path: &Path, how: &str) -> Running {
    let script = lab.file("outside.py", OUTSIDE);
    let line = [PYTHON, script.to_str().unwrap(), path.to_str().unwrap(), how];
    let service = lab.unjailed().as_user().command(line).start().unwrap();
    assert!(eventually(SOON, || service.stdout() == "up\n"), "{}", service.stderr());
    service
}

fn reach<'lab>(lab: &'lab Lab, run: JailBuilder<'lab>, message: &str, names: &[&str]) -> JailBuilder<'lab> {
    let script = lab.file("reach.py", REACH);
    let line = [&[PYTHON, script.to_str().unwrap(), message], names].concat();
    run.command(line)
}

/// What reached the program, up to an unjailed one's message by `name`, of which there has to be one.
#[track_caller]
fn nothing_but_the_twin(lab: &Lab, service: &Running, name: &str) {
    let twin = reach(lab, lab.unjailed().as_user(), "twin", &[name])
        .run()
        .expect_code(0);
    assert!(
        eventually(SOON, || service.stdout().contains("twin\n")),
        "{name} leads nowhere: {twin:#?} {}",
        service.stderr()
    );
    assert!(!service.stdout().contains("jailed"), "by {name}: {}", service.stdout());
}

/// Starts the program at a path of its own, changes what its socket is called, and tries the names that this gave.
#[track_caller]
fn check(how: &str, rename: impl Fn(&Lab, &Path) -> String) {
    for jail in JAILS {
        let lab = lab();
        let folder = open_folder(lab.fresh_path("folder"));
        let path = open_folder(folder.join("own")).join("sock");
        let service = outside(&lab, &path, how);
        let name = rename(&lab, &path);
        let tried = reach(&lab, jail(&lab), "jailed", &[&name]).run().expect_code(0);
        assert!(tried.stdout.starts_with("trying"), "{tried:#?}");
        nothing_but_the_twin(&lab, &service, &name);
    }
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().to_str().unwrap().to_owned()
}

// Proves: S30.
#[test]
fn by_its_name() {
    check("bound", |_, path| text(path));
}

// Proves: S30, S38.
#[test]
fn by_a_link() {
    check("bound", |lab, path| {
        let link = lab.fresh_path("link");
        symlink(path, &link).unwrap();
        symlink(path.with_extension("datagram"), link.with_extension("datagram")).unwrap();
        text(link)
    });
}

// Proves: S30, S38.
#[test]
fn by_a_second_name_in_another_folder() {
    check("bound", |lab, path| {
        let other = open_folder(lab.fresh_path("other")).join("second");
        std::fs::hard_link(path, &other).unwrap();
        std::fs::hard_link(text(path) + ".datagram", text(&other) + ".datagram").unwrap();
        text(other)
    });
}

// Proves: S30, S38.
#[test]
fn by_a_folder_that_is_mounted_twice() {
    check("bound", |lab, path| {
        let mounted = open_folder(lab.fresh_path("mounted"));
        lab.on_jailside(|| {
            use nix::mount::{MsFlags, mount};
            let none = None::<&str>;
            Ok(mount(path.parent(), &mounted, none, MsFlags::MS_BIND, none)?)
        })
        .unwrap();
        text(mounted.join("sock"))
    });
}

/// As programs do that go into the background: no table tells where the name lies.
// Proves: S30, S38.
#[test]
fn by_a_relative_name_of_a_program_that_went_elsewhere() {
    check("relative", |_, path| text(path));
}

// Proves: S30.
#[test]
fn by_a_name_in_no_file_system() {
    check("abstract", |_, path| format!("@{}", text(path)));
}

/// One run moves the folder away, the next knows only the name that was bound.
// Proves: S30, S38.
#[test]
fn by_the_name_that_an_earlier_run_gave_its_folder() {
    for jail in JAILS {
        let lab = lab();
        let folder = open_folder(lab.fresh_path("folder"));
        let path = open_folder(folder.join("own")).join("sock");
        let service = outside(&lab, &path, "bound");
        let moved = folder.join("moved");
        let line = ["mv", &text(path.parent().unwrap()), &text(&moved)].map(str::to_owned);
        jail(&lab).command(line).run().expect_code(0);
        let name = text(moved.join("sock"));
        reach(&lab, jail(&lab), "jailed", &[&name]).run().expect_code(0);
        nothing_but_the_twin(&lab, &service, &name);
    }
}

/// A login, a first terminal multiplexer, a container engine that is started while the jail runs.
// Proves: S30, S39.
#[test]
fn made_after_the_start() {
    for jail in JAILS {
        for place in ["/run/user/4242", "/tmp/tmux-4242-late", "folder"] {
            let lab = lab();
            let go = lab.fresh_path("go");
            let folder = if place == "folder" {
                lab.fresh_path("late")
            } else {
                place.into()
            };
            let name = text(folder.join("bus"));
            let wait = format!("wait:{}", go.display());
            let jailed = reach(&lab, jail(&lab), "jailed", &[&wait, &name]).start().unwrap();
            assert!(
                eventually(SOON, || jailed.stdout() == "trying\n"),
                "{}",
                jailed.stderr()
            );
            lab.on_jailside(|| Ok(open_folder(folder.clone()))).unwrap();
            let service = outside(&lab, Path::new(&name), "bound");
            std::fs::write(&go, "").unwrap();
            jailed.wait().unwrap().expect_code(0);
            nothing_but_the_twin(&lab, &service, &name);
            drop(service);
            let _ = std::fs::remove_dir_all("/tmp/tmux-4242-late");
        }
    }
}

/// Whoever listens may hand his listener on, but that makes it no listener of the jail's.
// Proves: S01, S30.
#[test]
fn a_listener_that_came_along() {
    for jail in JAILS {
        let lab = lab();
        let path = open_folder(lab.fresh_path("folder")).join("sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
        // A second name, or the cover would be all that is tried.
        let name = open_folder(lab.fresh_path("other")).join("second");
        std::fs::hard_link(&path, &name).unwrap();
        let script = "import socket, sys
try: socket.socket(fileno=0).listen(5)
except OSError as error: print(error)
socket.socket(socket.AF_UNIX).connect(sys.argv[1])";
        let line = [PYTHON, "-c", script, &text(&name)].map(str::to_owned);
        let own: OwnedFd = listener.try_clone().unwrap().into();
        let run = jail(&lab).stdin_from(own).command(line.clone()).run();
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "{run:#?}");
        lab.unjailed()
            .as_user()
            .stdin_from(OwnedFd::from(listener.try_clone().unwrap()))
            .command(line)
            .run();
        assert!(listener.accept().is_ok());
    }
}

// Proves: S01, S30.
#[test]
fn a_socket_for_datagrams_as_standard_input() {
    let lab = lab();
    let path = open_folder(lab.fresh_path("folder")).join("sock");
    let service = outside(&lab, &path, "bound");
    // A second name, or the cover would be all that is tried.
    let path = {
        let second = open_folder(lab.fresh_path("other")).join("sock");
        std::fs::hard_link(&path, &second).unwrap();
        std::fs::hard_link(text(&path) + ".datagram", text(&second) + ".datagram").unwrap();
        second
    };
    let script = "import socket, sys; socket.socket(fileno=0).sendto(sys.argv[2].encode(), sys.argv[1] + '.datagram')";
    let line = |message: &str| [PYTHON, "-c", script, &text(&path), message].map(str::to_owned);
    for jail in JAILS {
        let (one, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
        jail(&lab).stdin_from(OwnedFd::from(one)).command(line("jailed")).run();
    }
    let (one, _other) = std::os::unix::net::UnixDatagram::pair().unwrap();
    let twin = lab
        .unjailed()
        .as_user()
        .stdin_from(OwnedFd::from(one))
        .command(line("twin"));
    twin.run().expect_code(0);
    nothing_but_the_twin(&lab, &service, &text(&path));
}

/// The address and the number are looked at once and used once.
// Proves: S30.
#[test]
fn what_changes_while_it_is_looked_at() {
    for jail in JAILS {
        let lab = lab();
        let path = open_folder(lab.fresh_path("folder")).join("sockF");
        let service = outside(&lab, &path, "bound");
        // A second name, or the cover would be all that is tried.
        let other = open_folder(lab.fresh_path("other")).join("sockF");
        std::fs::hard_link(&path, &other).unwrap();
        std::fs::hard_link(text(&path) + ".datagram", text(&other) + ".datagram").unwrap();
        let script = lab.file("flip.py", FLIP);
        let line = [PYTHON, &text(script), &text(&other), "3000"].map(str::to_owned);
        let run = jail(&lab).command(line).run().expect_code(0);
        assert!(
            !run.stdout.contains("address: 0\n"),
            "its own was never reached: {run:#?}"
        );
        assert!(!service.stdout().contains("flipped"), "{}", service.stdout());
        nothing_but_the_twin(&lab, &service, &text(&other));
    }
}

/// glibc asks it whatever nsswitch.conf says.
// Proves: S23, S39.
#[test]
fn a_daemon_for_names_that_is_started_later() {
    for jail in JAILS {
        let lab = lab();
        let go = lab.fresh_path("go");
        let wait = format!(
            "echo up; while [ ! -e {} ]; do sleep 0.02; done; getent hosts jailed.test; getent passwd jailed-name",
            go.display()
        );
        let jailed = jail(&lab).shell(&wait).start().unwrap();
        assert!(eventually(SOON, || jailed.stdout() == "up\n"), "{}", jailed.stderr());
        lab.on_jailside(|| Ok(open_folder("/run/nscd".into()))).unwrap();
        let service = outside(&lab, Path::new("/run/nscd/socket"), "bound");
        std::fs::write(&go, "").unwrap();
        jailed.wait().unwrap();
        nothing_but_the_twin(&lab, &service, "/run/nscd/socket");
        lab.unjailed().as_user().shell("getent passwd unjailed").run();
        let asked = eventually(SOON, || service.stdout().contains("unjailed"));
        assert!(asked, "nobody asks it: {}", service.stdout());
    }
}

// Proves: S30, S39.
#[test]
fn a_terminal_multiplexer_that_is_started_later() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let folder = open_folder(lab.fresh_path("tmux"));
    let (go, driven) = (lab.fresh_path("go"), |who: &str| text(folder.join(who)));
    let drive = |who: &str| format!("tmux -S {}/sock new-window 'echo > {}'", folder.display(), driven(who));
    let wait = format!(
        "echo up; while [ ! -e {} ]; do sleep 0.02; done; {}",
        go.display(),
        drive("jailed")
    );
    let jailed = lab.jail().as_user().shell(&wait).start().unwrap();
    assert!(eventually(SOON, || jailed.stdout() == "up\n"), "{}", jailed.stderr());
    let server = format!("tmux -S {}/sock new-session -d 'sleep 600'", folder.display());
    lab.unjailed().as_user().shell(&server).run().expect_code(0);
    std::fs::write(&go, "").unwrap();
    let outcome = jailed.wait().unwrap();
    lab.unjailed().as_user().shell(&drive("twin")).run().expect_code(0);
    assert!(eventually(SOON, || Path::new(&driven("twin")).exists()));
    assert!(!Path::new(&driven("jailed")).exists(), "{outcome:#?}");
    lab.unjailed()
        .as_user()
        .shell(&format!("tmux -S {}/sock kill-server", folder.display()))
        .run();
}

#[test]
fn the_jails_own_work_as_ever() {
    for jail in JAILS {
        let lab = lab();
        let folder = open_folder(lab.fresh_path("own"));
        let script = lab.file("own_sockets.py", OWN);
        let run = |run: JailBuilder<'_>| {
            let line = [PYTHON, script.to_str().unwrap()];
            run.env("OWN_SOCKETS", &folder)
                .command(line)
                .run()
                .expect_code(0)
                .stdout
        };
        assert_eq!(run(jail(&lab)), run(lab.unjailed().as_user()));
    }
}

/// Init makes the calls of root and of users in the jail, and has more open than either.
#[test]
fn users_within_are_themselves() {
    let lab = lab();
    let script = lab.file("users_within.py", USERS_WITHIN);
    for run in [lab.jail().option("--user").option("root"), lab.unjailed()] {
        let folder = open_folder(lab.fresh_path("users"));
        let user = USER_ID.to_string();
        let line = [PYTHON, script.to_str().unwrap(), folder.to_str().unwrap(), &user];
        let outcome = run.command(line).run().expect_code(0);
        assert_eq!(
            outcome.stdout,
            format!("closed 0\nlistener {USER_ID}\n"),
            "{outcome:#?}"
        );
    }
}

/// Agents, multiplexers, buses, other languages' runtimes: both ends in the jail.
#[test]
fn programs_that_are_all_in_the_jail() {
    for (client, script, expected) in [
        (
            "ssh-agent",
            "ssh-keygen -q -t ed25519 -N '' -f key && eval $(ssh-agent -s) > /dev/null && ssh-add -q key && ssh-add -l | wc -l; \
             kill $SSH_AGENT_PID",
            "1",
        ),
        (
            "tmux",
            "tmux -S ./t new-session -d 'sleep 60' && tmux -S ./t ls | wc -l && tmux -S ./t kill-server",
            "1",
        ),
        (
            "dbus-run-session",
            "dbus-run-session -- dbus-send --session --print-reply --dest=org.freedesktop.DBus / \
             org.freedesktop.DBus.GetId | wc -l",
            "2",
        ),
        (
            "node",
            "node -e \"const n=require('net');const s=n.createServer(c=>c.end('hello')).listen('n.sock',()=>\
             n.connect('n.sock').on('data',d=>{console.log(''+d);s.close()}));\
             const p=require('child_process').fork('-e',['process.send(1)'],{execArgv:[]}).on('error',()=>{})\" 2>/dev/null",
            "hello",
        ),
        (
            "bwrap",
            "bwrap --dev-bind / / --unshare-user --unshare-net --unshare-pid /usr/bin/python3 -c 'import socket
s = socket.socket(socket.AF_UNIX); s.bind(\"in-bwrap\"); s.listen()
a = socket.socket(socket.AF_UNIX); a.bind(\"\\0in-bwrap\"); a.listen()
for name in [\"in-bwrap\", \"\\0in-bwrap\"]: socket.socket(socket.AF_UNIX).connect(name)
print(\"both\")'",
            "both",
        ),
    ] {
        if !have(client) {
            continue;
        }
        let lab = lab();
        for run in [lab.unjailed(), lab.jail()] {
            let folder = open_folder(lab.fresh_path("own"));
            let script = format!("cd {} && {script}", folder.display());
            run.as_user().shell(&script).run().expect_stdout(expected);
        }
    }
}

/// In a namespace below that has mounts of its own, a name means what it means there.
#[test]
fn another_root() {
    if !have("bwrap") {
        return;
    }
    let lab = lab();
    let folder = open_folder(lab.fresh_path("own"));
    let script = format!(
        "cd {} && python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.bind(\"sock\"); s.listen(); s.accept()' & \
         while [ ! -S {0}/sock ]; do sleep 0.02; done; \
         bwrap --ro-bind / / --tmpfs /mnt --bind {0} /mnt /usr/bin/python3 -c \
         'import socket; socket.socket(socket.AF_UNIX).connect(\"/mnt/sock\"); print(\"there\")'; wait",
        folder.display()
    );
    lab.unjailed().as_user().shell(&script).run().expect_stdout("there");
    std::fs::remove_file(folder.join("sock")).unwrap();
    lab.jail().as_user().shell(&script).run().expect_stdout("there");
}

#[test]
fn an_allowed_socket_is_reached_by_any_name() {
    for jail in JAILS {
        let lab = lab();
        let folder = open_folder(lab.fresh_path("folder"));
        let path = folder.join("sock");
        let _service = outside(&lab, &path, "bound");
        std::fs::hard_link(&path, folder.join("second")).unwrap();
        let connect = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.send(b'allowed'); print('done')";
        for name in ["sock", "second"] {
            let line = [PYTHON, "-c", connect, &text(folder.join(name))].map(str::to_owned);
            let run = jail(&lab).option("--allow-socket").option(&path).command(line).run();
            // A second name is covered as long as names are covered at all.
            if name == "sock" {
                run.expect_code(0).expect_stdout("done");
            }
        }
        assert!(eventually(SOON, || _service.stdout().contains("allowed")));
    }
}

#[test]
fn what_is_allowed_has_to_be_a_socket() {
    let lab = lab();
    let folder = open_folder(lab.fresh_path("folder"));
    for name in ["nothing", "file"] {
        let path = folder.join(name);
        if name == "file" {
            std::fs::write(&path, "").unwrap();
        }
        lab.jail()
            .option("--allow-socket")
            .option(&path)
            .command(["true"])
            .run()
            .expect_code(2)
            .expect_stderr_has(&format!("--allow-socket {}", path.display()));
    }
}

#[test]
fn an_engine_that_is_allowed_is_warned_of() {
    let lab = lab();
    let folder = open_folder(lab.fresh_path("folder"));
    for (name, warned) in [("docker.sock", true), ("agent.sock", false)] {
        let path = folder.join(name);
        let _service = outside(&lab, &path, "bound");
        let run = lab
            .jail()
            .option("--allow-socket")
            .option(&path)
            .command(["true"])
            .run()
            .expect_code(0);
        assert_eq!(
            run.stderr.contains("runs programs outside of the jail"),
            warned,
            "{run:#?}"
        );
    }
}

/// There can be one such filter: beneath another the covers are all there is, and that is said.
#[test]
fn beneath_another_filter() {
    let lab = lab();
    let folder = open_folder(lab.fresh_path("own"));
    let (own, watched) = (lab.file("own_sockets.py", OWN), lab.file("watched.py", WATCHED));
    let line = [PYTHON, own.to_str().unwrap()];
    let jail = || lab.jail().option("-v").env("OWN_SOCKETS", &folder).command(line);
    jail().run().expect_code(0).expect_stderr_has("by identity (");
    let beneath = jail().through([PYTHON, watched.to_str().unwrap()]);
    beneath
        .run()
        .expect_code(0)
        .expect_stderr_has("by name only, because an outer seccomp filter");
}
