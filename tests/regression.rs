//! Holes that were found by attack, each shut and kept shut by the test that is named after it.

use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Running, USER, USER_ID, Way, eventually};

use crate::support::{Expect as _, PYTHON, lab};

const LISTEN: &str = include_str!("support/probes/listen.py");

/// A program outside that listens on a Unix socket, made in the way that `how` says, at the returned path.
fn listener(lab: &Lab, how: &str, wrapper: &[&str]) -> (Running, String) {
    let folder = lab.fresh_path(how);
    std::fs::create_dir(&folder).unwrap();
    std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o777)).unwrap();
    let path = folder.join("sock").to_str().unwrap().to_owned();
    let script = lab.file("listen.py", LISTEN);
    let line = [wrapper, &[PYTHON, script.to_str().unwrap(), how, &path]].concat();
    let service = lab.unjailed().command(line).start().unwrap();
    assert!(
        eventually(Duration::from_secs(20), || service.stdout() == "up\n"),
        "{}",
        service.stderr()
    );
    (service, path)
}

fn connect(run: JailBuilder<'_>, path: &str) -> String {
    let script = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); print(s.recv(9))";
    run.command([PYTHON, "-c", script, path]).run().stdout
}

#[track_caller]
fn check_socket(how: &str, wrapper: &[&str]) {
    let lab = lab();
    let (_service, path) = listener(&lab, how, wrapper);
    assert_eq!(connect(lab.unjailed(), &path), "b'reached'\n", "{how}, without a jail");
    for jail in [lab.jail(), lab.jail().as_user()] {
        assert_eq!(connect(jail, &path), "", "{how}");
    }
}

/// OpenSSH makes its ControlMaster's socket so: with it one could run anything on the other host.
// Proves: S38.
#[test]
fn a_socket_that_was_linked_into_place() {
    check_socket("linked", &[]);
}

// Proves: S38.
#[test]
fn a_socket_that_was_renamed() {
    check_socket("renamed", &[]);
}

// Proves: S38.
#[test]
fn a_socket_bound_through_a_descriptor() {
    check_socket("through_a_descriptor", &[]);
}

// Proves: S38.
#[test]
fn a_socket_with_a_line_end_in_its_name() {
    check_socket("line_end", &[]);
}

// Proves: S38.
#[test]
fn a_socket_of_another_network_namespace() {
    check_socket("plain", &["unshare", "--net"]);
}

/// As Docker's socket in a container: the one who listens is nowhere to be seen, the socket is in `/run`.
// Proves: S38, S30, P20.
#[test]
fn a_socket_whose_listener_is_in_no_table() {
    let lab = lab();
    let (_service, path) = listener(&lab, "plain", &["unshare", "--net", "--pid", "--fork"]);
    let mounted = lab.fresh_path("mounted");
    std::fs::write(&mounted, "").unwrap();
    lab.on_jailside(|| {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        for place in [mounted.as_path(), "/run/docker.sock".as_ref()] {
            std::fs::write(place, "")?;
            mount(Some(path.as_str()), place, none, MsFlags::MS_BIND, none)?;
        }
        Ok(())
    })
    .unwrap();
    for place in [mounted.to_str().unwrap(), "/run/docker.sock"] {
        assert_eq!(connect(lab.unjailed(), place), "b'reached'\n");
        assert_eq!(connect(lab.jail().as_user(), place), "", "{place}");
    }
}

/// A user's authority, made when they called, is theirs to read when somebody else runs a command as them.
// Proves: K02.
#[test]
fn the_key_of_the_user_that_the_command_runs_as() {
    let lab = lab();
    lab.jail().as_user().command(["true"]).run().expect_code(0);
    let look = format!("grep -rl 'PRIVATE KEY' {} 2>/dev/null", lab.home(USER).display());
    let key = lab.home(USER).join(".config/httpjail/ca.key");
    lab.unjailed()
        .as_user()
        .shell(&look)
        .run()
        .expect_stdout(key.to_str().unwrap());
    lab.jail()
        .option("--user")
        .option(USER)
        .shell(&look)
        .run()
        .expect_stdout("");
    lab.jail().shell(&look).run().expect_stdout("");
}

/// What one run moves away, the next would not know and not cover.
// Proves: K02.
#[test]
fn the_folder_of_the_key_cannot_be_moved_away() {
    let lab = lab();
    let home = lab.home(USER);
    lab.jail().as_user().command(["true"]).run().expect_code(0);
    let other = home.join("other");
    std::fs::create_dir(&other).unwrap();
    nix::unistd::chown(&other, Some(USER_ID.into()), None).unwrap();
    let mv = format!("mv {0}/other {0}/moved; mv {0}/.config {0}/elsewhere", home.display());
    lab.jail().as_user().shell(&mv).run();
    assert!(home.join("moved").exists() && home.join(".config/httpjail/ca.key").exists());
}

/// The supervisor stopped along with the command, and neither the time nor a signal woke it.
// Proves: P23.
#[test]
fn a_command_that_stops_itself_does_not_stop_the_clock() {
    let lab = lab();
    let outcome = lab
        .jail()
        .through(["setsid", "--wait"])
        .option("--timeout")
        .option("1")
        .shell("sleep 600 & kill -STOP $$")
        .run();
    assert_eq!(outcome.code(), Some(124), "{outcome:#?}");
}

/// A jailed command may put a link in place of the log's folder, for root to follow in the next run.
// Proves: K08, K09.
#[test]
fn a_log_that_a_link_leads_away() {
    let lab = lab();
    let (logs, roots) = (lab.home(USER).join("logs"), lab.fresh_path("roots"));
    std::fs::create_dir(&roots).unwrap();
    std::fs::set_permissions(&roots, std::fs::Permissions::from_mode(0o755)).unwrap();
    symlink(&roots, &logs).unwrap();
    for jail in [lab.jail().as_user(), lab.jail().option("--user").option(USER)] {
        jail.log_to(logs.join("run.log"))
            .command(["true"])
            .run()
            .expect_code(125)
            .expect_stderr_has("cannot open the log");
    }
    assert_eq!(std::fs::read_dir(&roots).unwrap().count(), 0);
    // Where no link is on the way root opens it for the caller.
    lab.jail()
        .as_user()
        .log_to(roots.join("run.log"))
        .command(["true"])
        .run()
        .expect_code(0);
    assert_eq!(std::fs::read_dir(&roots).unwrap().count(), 1);
}

/// Root may open them, whatever its capabilities: a disk, the keyboard, the host's end of a virtual machine's socket.
// Proves: P29.
#[test]
fn the_devices_of_the_host() {
    let lab = lab();
    let script = "import os, stat, sys
for name in sys.argv[1:]:
    try:
        os.close(os.open('/dev/' + name, os.O_RDWR | os.O_NONBLOCK | os.O_NOCTTY))
        print(name)
    except OSError:
        pass
os.openpty()
print('end')";
    let line = [
        PYTHON,
        "-c",
        script,
        "null",
        "loop-control",
        "loop0",
        "net/tun",
        "vsock",
        "tty0",
        "uinput",
    ];
    let outside = lab.unjailed().command(line).run().expect_code(0);
    assert!(
        outside.stdout.lines().count() > 2,
        "this machine has devices: {outside:#?}"
    );
    for jail in [lab.jail(), lab.jail().as_user()] {
        jail.command(line).run().expect_code(0).expect_stdout("null\nend");
    }
}

// Proves: K09.
#[test]
fn a_log_that_the_command_could_rewrite() {
    let lab = lab();
    let log = lab.home(USER).join("run.log");
    let rewrite = "true > $0; rm -f $0; mv $0 $0.gone; ln $0 $0.too; echo '{}' >> $0; cat $0";
    let line = ["sh", "-c", rewrite, log.to_str().unwrap()];
    let outcome = lab.jail().as_user().log_to(&log).command(line).run();
    assert_eq!(outcome.stdout, "", "{outcome:#?}");
    assert_eq!(outcome.events_with(&[("event", "start")]).len(), 1, "{outcome:#?}");
    assert_eq!(outcome.events_with(&[("event", "end")]).len(), 1, "{outcome:#?}");
    assert_eq!(outcome.events.len(), 2, "{outcome:#?}");
}

/// A ring made outside does outside what is asked through its shared memory, with no system call to be filtered.
// Proves: S01, S31, P03.
#[test]
fn a_kernel_handle_as_standard_input() {
    let lab = lab();
    let wrap =
        "import os, select, sys; e = select.epoll(); os.dup2(e.fileno(), 0); os.execvp(sys.argv[1], sys.argv[1:])";
    lab.jail()
        .through([PYTHON, "-c", wrap])
        .command(["true"])
        .run()
        .expect_code(125)
        .expect_stderr_has("standard input is a handle");
}

/// A bpffs that was mounted without a mode is everybody's: a link there had the next run by root empty the folder it led to.
// Proves: K09, K12.
#[test]
fn pins_that_are_not_roots() {
    let plant = |who: &str, make: &str| {
        let lab = lab();
        let precious = lab.fresh_path("precious");
        std::fs::create_dir(&precious).unwrap();
        std::fs::write(precious.join("file"), "").unwrap();
        let script = format!(
            "mount -t bpf bpf /mnt && cd /mnt && setpriv --reuid {who} --regid {who} --clear-groups \
             sh -c 'mkdir -m 700 httpjail && {make}' && cd / && \"$@\"; ls -A /mnt/httpjail",
            make = make.replace("PRECIOUS", precious.to_str().unwrap())
        );
        let run = lab
            .jail()
            .way(Way::Ebpf)
            .through(["unshare", "-m", "sh", "-c", &script, "sh"]);
        let outcome = run.rule("allow: ^http://ok/").command(["true"]).run();
        assert!(precious.join("file").exists(), "{outcome:#?}");
        outcome.stdout
    };
    let link = "ln -s PRECIOUS httpjail/1-run-1-1-1-1";
    assert_eq!(plant(USER, link), "1-run-1-1-1-1\n");
    // What root's dead attachment left is removed, and the folder with the last of it.
    assert_eq!(plant("root", "mkdir httpjail/1-run-1-1-1-1"), "");
}
