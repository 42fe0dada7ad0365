//! Who the command is, and what it cannot become or reach.

use std::time::Duration;

use httpjail_lab::{EXTRA_GROUP, USER, USER_ID, Way, canary, eventually};

use crate::support::{Expect as _, PYTHON, have, lab};

// Proves: K11.
#[test]
fn under_sudo_it_is_the_caller() {
    let lab = lab();
    let home = lab.home(USER);
    let script = "id -u; id -g; id -G; echo $HOME $USER $LOGNAME";
    let wanted = format!(
        "{USER_ID}\n{USER_ID}\n{USER_ID} {EXTRA_GROUP}\n{} {USER} {USER}",
        home.display()
    );
    lab.jail()
        .as_user()
        .shell(script)
        .run()
        .expect_code(0)
        .expect_stdout(&wanted);
}

// Proves: P14, S10, S11, K11.
#[test]
fn by_root_it_stays_root_without_the_capabilities() {
    let lab = lab();
    let script = "id -u; grep -c '^NoNewPrivs:.*1' /proc/self/status; grep '^CapBnd:' /proc/self/status";
    let outcome = lab.jail().shell(script).run().expect_code(0);
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(lines[..2], ["0", "1"], "{outcome:#?}");
    let bounding = u64::from_str_radix(lines[2].split_whitespace().nth(1).unwrap(), 16).unwrap();
    // NET_ADMIN, NET_RAW, SYS_MODULE, SYS_PTRACE, SYS_ADMIN, SYS_BOOT, MKNOD, PERFMON, BPF: capability.h.
    for bit in [12, 13, 16, 19, 21, 22, 27, 38, 39] {
        assert_eq!(bounding >> bit & 1, 0, "capability {bit} in {bounding:#x}");
    }
}

// Proves: P14, K11.
#[test]
fn the_user_has_no_capability_at_all() {
    let lab = lab();
    let script = "grep -E '^Cap(Inh|Prm|Eff|Amb):' /proc/self/status | grep -vc 0000000000000000";
    lab.jail()
        .as_user()
        .shell(script)
        .run()
        .expect_code(1)
        .expect_stdout("0");
}

// Proves: P08.
#[test]
fn sudo_does_not_help() {
    let lab = lab();
    lab.unjailed()
        .as_user()
        .command(["sudo", "-n", "id", "-u"])
        .run()
        .expect_code(0)
        .expect_stdout("0");
    let outcome = lab.jail().as_user().command(["sudo", "-n", "id", "-u"]).run();
    assert_ne!(outcome.code(), Some(0), "{outcome:#?}");
    assert_eq!(outcome.stdout, "");
}

// Proves: P08.
#[test]
fn a_set_user_id_program_does_not_help() {
    let lab = lab();
    let id = lab.file("set-user-id", std::fs::read("/usr/bin/id").unwrap());
    std::fs::set_permissions(&id, std::os::unix::fs::PermissionsExt::from_mode(0o4755)).unwrap();
    let line = [id.to_str().unwrap(), "-u"];
    lab.unjailed().as_user().command(line).run().expect_stdout("0");
    lab.jail()
        .as_user()
        .command(line)
        .run()
        .expect_stdout(&USER_ID.to_string());
}

// Proves: K02.
#[test]
fn the_authoritys_key_cannot_be_read() {
    let lab = lab();
    for as_user in [false, true] {
        let jail = || if as_user { lab.jail().as_user() } else { lab.jail() };
        let as_user = as_user || Way::of_this_process() == Way::Rootless;
        let home = lab.home(if as_user { USER } else { "root" });
        jail().command(["true"]).run().expect_code(0);
        let folder = home.join(".config/httpjail");
        let keys: Vec<_> = std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .filter(|entry| std::fs::read_to_string(entry.path()).is_ok_and(|text| text.contains("PRIVATE KEY")))
            .collect();
        assert_eq!(keys.len(), 1, "{folder:?}");
        let look = format!("grep -rl 'PRIVATE KEY' {} 2>/dev/null", home.display());
        jail().shell(&look).run().expect_stdout("");
        let outside = if as_user {
            lab.unjailed().as_user()
        } else {
            lab.unjailed()
        };
        outside
            .shell(&look)
            .run()
            .expect_stdout(keys[0].path().to_str().unwrap());
    }
}

// Proves: P07, P12, P23, S03.
#[test]
fn processes_outside_are_not_there() {
    let lab = lab();
    let mark = canary();
    let outside = lab
        .unjailed()
        .command(["sh", "-c", "echo up; sleep 600", &mark])
        .start()
        .unwrap();
    assert!(eventually(Duration::from_secs(10), || outside.stdout() == "up\n"));
    let look = format!("cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c {}", &mark[..19]);
    // The command line of the search itself holds all but the last letter: count only whole ones.
    let look = format!("{look}; kill -0 {} 2>&1", outside.pid());
    let outcome = lab
        .jail()
        .shell(&look.replace(&mark[..19], &format!("{}[{}]", &mark[..19], &mark[19..])))
        .run();
    assert!(outcome.stdout.starts_with("0\n"), "{outcome:#?}");
    assert_ne!(outcome.code(), Some(0), "{outcome:#?}");
}

// Proves: S30, P20.
#[test]
fn sockets_of_outside_processes_are_out_of_reach() {
    let lab = lab();
    let path = lab.fresh_path("service.sock");
    let name = canary();
    let serve = format!(
        "import socket as k\na=k.socket(1); a.bind('{}'); a.listen()\nb=k.socket(1); b.bind('\\0{name}'); b.listen()\n\
         import os; os.chmod('{0}', 0o777); print('up', flush=True); a.accept()",
        path.display()
    );
    let service = lab.unjailed().command([PYTHON, "-c", &serve]).start().unwrap();
    assert!(
        eventually(Duration::from_secs(10), || service.stdout() == "up\n"),
        "{}",
        service.stderr()
    );
    for address in [path.to_str().unwrap().to_owned(), format!("\\0{name}")] {
        let connect = format!("import socket as k\nk.socket(1).connect('{address}')");
        for jail in [lab.jail(), lab.jail().as_user()] {
            let outcome = jail.command([PYTHON, "-c", &connect]).run();
            assert_ne!(outcome.code(), Some(0), "{address}: {outcome:#?}");
        }
    }
    // One that the caller names is left in place, and answers.
    let connect = format!("import socket as k\nk.socket(1).connect('{}')", path.display());
    lab.jail()
        .option("--allow-socket")
        .option(&path)
        .command([PYTHON, "-c", &connect])
        .run()
        .expect_code(0);
}

// Proves: S30.
#[test]
fn a_terminal_multiplexer_cannot_be_driven() {
    if !have("tmux") {
        return;
    }
    let lab = lab();
    let (socket, proof) = (lab.fresh_path("tmux.sock"), lab.fresh_path("proof"));
    let socket = socket.to_str().unwrap();
    lab.unjailed()
        .command([
            "tmux",
            "-S",
            socket,
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "sleep 600",
        ])
        .run()
        .expect_code(0);
    let drive = format!("tmux -S {socket} new-window 'touch {}'", proof.display());
    let outcome = lab.jail().shell(&drive).run();
    assert_ne!(outcome.code(), Some(0), "{outcome:#?}");
    assert!(!proof.exists());
    lab.unjailed().shell(&drive).run().expect_code(0);
    assert!(
        eventually(Duration::from_secs(10), || proof.exists()),
        "the same command works outside"
    );
    lab.unjailed()
        .command(["tmux", "-S", socket, "kill-server"])
        .run()
        .expect_code(0);
}

// Proves: P01, P02.
#[test]
fn the_cgroup_tree_is_read_only() {
    let lab = lab();
    let escape = "root=$(awk '$0 ~ / - cgroup2 / {print $5; exit}' /proc/self/mountinfo); \
                  test -n \"$root\" || exit 0; echo $$ > $root/cgroup.procs && echo moved; mkdir $root/made && echo made";
    for jail in [lab.jail(), lab.jail().as_user()] {
        jail.shell(escape).run().expect_stdout("");
    }
}

// Proves: S01, P03.
#[test]
fn no_descriptor_comes_along_but_pipes() {
    let lab = lab();
    let look = "import os\nfor fd in os.listdir('/proc/self/fd'):\n    try: link = os.readlink('/proc/self/fd/' + fd)\n    \
                except OSError: continue\n    if int(fd) > 2 and not link.startswith('pipe:'): print(fd, link)";
    let open = ["sh", "-c", "exec 9</etc/hostname; exec \"$@\"", "sh"];
    let outside = lab.unjailed().through(open).command([PYTHON, "-c", look]).run();
    assert!(outside.stdout.contains("9 /etc/hostname"), "{outside:#?}");
    for jail in [lab.jail(), lab.jail().as_user()] {
        jail.through(open).command([PYTHON, "-c", look]).run().expect_stdout("");
    }
}
