//! Who the command is, and what it cannot become or reach.

use std::time::Duration;

use httpjail_lab::{EXTRA_GROUP, JailBuilder, USER, USER_ID, Way, canary, eventually};
use nix::unistd::Pid;

use crate::support::{Expect as _, PYTHON, have, lab};

const CORE_LIMIT: &str = include_str!("support/probes/core_limit.py");

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

/// The capability to set priorities stays with root, and would be one over the whole host outside of a user namespace: a program
/// in real time leaves no processor to httpjail.
// Proves: P14.
#[test]
fn root_takes_the_processors_from_nobody_outside() {
    let lab = lab();
    let script = "import os\ntry: os.setpriority(os.PRIO_PROCESS, 0, -20); print('above all')\n\
                  except OSError as error: print(error.strerror)";
    let run = |run: JailBuilder<'_>| run.command([PYTHON, "-c", script]).run().expect_code(0).stdout;
    assert_eq!(run(lab.unjailed()), "above all\n");
    assert_eq!(run(lab.jail()), "Permission denied\n");
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

/// The process that is httpjail's child and no process of the jail: the proxy.
fn proxy_of(jail: &httpjail_lab::Running) -> (Pid, u32) {
    let is_outside = |pid: &i32| {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        namespace(&pid.to_string()) == namespace("self")
    };
    let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", jail.pid())).unwrap();
    let mut children = children.split_whitespace().map(|pid| pid.parse().unwrap());
    let proxy: i32 = children.find(is_outside).expect("a proxy");
    let status = std::fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    let user = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap();
    (
        Pid::from_raw(proxy),
        user.split_whitespace().next().unwrap().parse().unwrap(),
    )
}

// Proves on ebpf, netns: P31.
#[test]
fn the_proxy_is_a_user_that_nobody_else_is() {
    let lab = lab();
    let start = || {
        let jail = lab.jail().shell("echo up; exec sleep 600").start().unwrap();
        let up = eventually(Duration::from_secs(20), || jail.stdout() == "up\n");
        assert!(up, "{}", jail.stderr());
        jail
    };
    let (first, second) = (start(), start());
    let ((pid, user), (_, other)) = (proxy_of(&first), proxy_of(&second));
    assert_ne!(user, other, "two proxies");
    let accounts = std::fs::read_to_string("/etc/passwd").unwrap();
    let accounts = accounts.lines().filter_map(|line| line.split(':').nth(2)?.parse().ok());
    let everybody: Vec<u32> = accounts.chain([65534]).filter(|user| *user != 0).collect();
    assert!(!everybody.contains(&user), "the proxy is {user}");
    // Signal 0 and a limit read: what is asked first by whoever ends it or takes its descriptors.
    let touch = "import os, resource, sys\nwho, pid = int(sys.argv[1]), int(sys.argv[2])\nos.setgroups([]); os.setresgid(who, who, who); os.setresuid(who, who, who)\n\
                 for what in (lambda: os.kill(pid, 0), lambda: resource.prlimit(pid, resource.RLIMIT_NOFILE)):\n    \
                 try: what(); print('may', who)\n    except PermissionError: pass\n";
    let touched = |who: u32, whom: Pid| {
        let command = [PYTHON, "-c", touch, &who.to_string(), &whom.to_string()].map(str::to_owned);
        lab.unjailed().command(command).run().expect_code(0).stdout
    };
    for who in everybody {
        assert_eq!(touched(who, pid), "", "the proxy is {user}");
    }
    // The same number may: it is the number that counts.
    assert_eq!(touched(user, pid), format!("may {user}\nmay {user}\n"));
}

// Proves: P31.
#[test]
fn the_jail_ends_with_its_proxy() {
    let lab = lab();
    let mark = canary();
    let jail = lab
        .jail()
        .command(["sh", "-c", "echo up; sleep 600", &mark])
        .start()
        .unwrap();
    assert!(eventually(Duration::from_secs(20), || jail.stdout() == "up\n"));
    nix::sys::signal::kill(proxy_of(&jail).0, nix::sys::signal::Signal::SIGKILL).unwrap();
    jail.wait()
        .unwrap()
        .expect_code(125)
        .expect_stderr_has("the proxy ended");
    assert_eq!(httpjail_lab::processes_with(&mark), Vec::<i32>::new());
}

// Proves: P32.
/// Where the host has a program for crashes, a limit of exactly 1 keeps the kernel from starting it.
#[test]
fn the_limit_of_core_dumps_is_1_and_stays() {
    let lab = lab();
    let probe = lab.file("core_limit.py", CORE_LIMIT);
    let told = "1 1\n1 1\n1 1\n100 100\n";
    // Not by sudo, which sets a hard limit of 0 itself: where root has no CAP_SYS_RESOURCE (as here, perhaps) it stays.
    let (reader, _line) = std::io::pipe().unwrap();
    let mark = canary();
    let jail = lab
        .jail()
        .stdin_from(reader)
        .command([PYTHON, probe.to_str().unwrap(), &mark])
        .start()
        .unwrap();
    let said = eventually(Duration::from_secs(20), || jail.stdout() == told);
    assert!(said, "{}{}", jail.stdout(), jail.stderr());
    let is_python = |pid: &i32| {
        std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().contains("python"))
    };
    let inside: Vec<i32> = httpjail_lab::processes_with(&mark)
        .into_iter()
        .filter(is_python)
        .collect();
    assert_eq!(inside.len(), 1, "{inside:?}");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", inside[0])).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size"));
    let core: Vec<&str> = core.unwrap().split_whitespace().skip(4).collect();
    assert_eq!(core, ["1", "1", "bytes"], "{limits}");
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
