//! The jail's own /dev and /proc: what is in them, and what of the host's is not.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Way, canary, eventually};
use nix::mount::{MsFlags, mount};

use crate::support::{Expect as _, PYTHON, have, lab};

/// Makes a device like /dev/random that everybody may open.
fn make_device(path: &Path) {
    let made = Command::new("mknod")
        .args(["-m", "666"])
        .arg(path)
        .args(["c", "1", "8"])
        .status();
    assert!(made.unwrap().success());
}

/// Reads from each device that is named, and tells which gave anything.
const READ: &str = "import sys
for name in sys.argv[1:]:
    try:
        print(len(open(name, 'rb').read(4)), name)
    except OSError:
        pass";

/// A /dev of the jailed side's own, in which a test can make devices that the machine does not get.
fn own_dev(lab: &Lab) {
    let make = "mount -t tmpfs -o mode=755 dev \"$0\"; cd \"$0\"; \
                for name in null zero full random urandom tty ptmx; do cp -a /dev/$name .; done; \
                ln -s /proc/self/fd fd; mkdir pts shm; mount --bind /dev/pts pts; mount -t tmpfs -o mode=1777 shm shm; \
                mount --rbind . /dev";
    let folder = lab.fresh_path("dev");
    fs::create_dir(&folder).unwrap();
    let run = || Ok(Command::new("sh").args(["-ec", make]).arg(&folder).output()?);
    let made = lab.on_jailside(run).unwrap();
    assert!(made.status.success(), "{made:?}");
}

// Proves: P29.
#[test]
fn a_device_that_appears_later_is_not_there() {
    let lab = lab();
    own_dev(&lab);
    let script = format!("echo up; read line; exec {PYTHON} -c \"$0\" /dev/random /dev/late");
    let runs = [
        (lab.jail(), "4 /dev/random\n"),
        (lab.unjailed(), "4 /dev/random\n4 /dev/late\n"),
    ];
    for (run, read) in runs {
        let (theirs, ours) = std::io::pipe().unwrap();
        let run = run
            .stdin_from(theirs)
            .command(["sh", "-c", &script, READ])
            .start()
            .unwrap();
        let up = eventually(Duration::from_secs(20), || run.stdout() == "up\n");
        assert!(up, "{}", run.stderr());
        let late = Path::new("/dev/late");
        lab.on_jailside(|| {
            make_device(late);
            Ok(())
        })
        .unwrap();
        drop(ours);
        let outcome = run.wait().unwrap().expect_code(0);
        assert_eq!(outcome.stdout, format!("up\n{read}"), "{outcome:#?}");
        lab.on_jailside(|| Ok(fs::remove_file(late)?)).unwrap();
    }
}

/// Below a chroot, as a node or as the whole of /dev mounted again, and by itself.
fn devices_elsewhere(run: JailBuilder<'_>, lab: &Lab) {
    own_dev(lab);
    let [node, alone] = ["node", "alone"].map(|name| lab.fresh_path(name));
    let chroot = lab.fresh_path("chroot");
    fs::create_dir(&chroot).unwrap();
    File::create(&alone).unwrap();
    make_device(&node);
    let bind = |from: &str, to: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
    };
    lab.on_jailside(|| {
        make_device(Path::new("/dev/other"));
        bind("/dev", &chroot)?;
        Ok(bind("/dev/other", &alone)?)
    })
    .unwrap();
    let line: Vec<PathBuf> = [PYTHON, "-c", READ, "/dev/random", "/dev/other"]
        .into_iter()
        .map(PathBuf::from)
        .chain([node, alone, chroot.join("other")])
        .collect();
    run.command(&line).run().expect_code(0).expect_stdout("4 /dev/random");
    let twin = lab.unjailed().command(&line).run().expect_code(0);
    assert_eq!(twin.stdout.lines().count(), line.len() - 3, "{twin:#?}");
}

// Proves: P29.
#[test]
fn a_device_elsewhere_is_not_opened() {
    let lab = lab();
    devices_elsewhere(lab.jail(), &lab);
}

/// As before Linux 5.12, or below the filter of a container.
// Proves: P29.
#[test]
fn a_device_elsewhere_is_not_opened_on_an_older_kernel() {
    if !have("strace") {
        return;
    }
    let lab = lab();
    let trace = lab.fresh_path("trace");
    // Whoever starts the jail writes to it.
    File::create(&trace).unwrap();
    fs::set_permissions(&trace, fs::Permissions::from_mode(0o666)).unwrap();
    let call = ["trace=mount_setattr", "inject=mount_setattr:error=ENOSYS"];
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-o",
        trace.to_str().unwrap(),
        "-e",
        call[0],
        "-e",
        call[1],
    ];
    devices_elsewhere(lab.jail().through(strace), &lab);
    assert!(fs::read_to_string(trace).unwrap().contains("INJECTED"));
}

/// What whoever sets up a chroot mounts in it goes on to work.
#[test]
fn a_chroot_has_the_devices_of_the_jail() {
    let lab = lab();
    let chroot = lab.fresh_path("chroot");
    fs::create_dir_all(chroot.join("dev")).unwrap();
    let dev = chroot.join("dev");
    let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
    lab.on_jailside(|| Ok(mount(Some("/dev"), &dev, None::<&str>, flags, None::<&str>)?))
        .unwrap();
    let script = format!(
        "cd {} && head -c4 zero | wc -c && readlink ptmx && ls pts shm && ls > /tmp/$$ && ls /dev | diff /tmp/$$ - && rm /tmp/$$",
        dev.display()
    );
    let outcome = lab.jail().shell(&script).run().expect_code(0);
    outcome.expect_stdout("4\npts/ptmx\npts:\nptmx\n\nshm:");
}

/// By what a host with several kinds of cards has; they all lead to the same device here.
#[test]
fn the_devices_that_stay_are_those_to_compute_and_draw_with() {
    let lab = lab();
    own_dev(&lab);
    let stay = [
        "kvm",
        "kfd",
        "dri/renderD128",
        "nvidia0",
        "nvidia-uvm",
        "nvidia-caps/nvidia-cap1",
    ];
    let go = [
        "fuse",
        "dri/card0",
        "nvidia-modeset",
        "sda",
        "uinput",
        "ttyS9",
        "hugepages/node",
        "net/tun",
        "nulls",
    ];
    let paths: Vec<PathBuf> = stay
        .iter()
        .chain(&go)
        .map(|name| Path::new("/dev").join(name))
        .collect();
    lab.on_jailside(|| {
        for path in &paths {
            fs::create_dir_all(path.parent().unwrap())?;
            make_device(path);
        }
        Ok(())
    })
    .unwrap();
    let line: Vec<PathBuf> = [PYTHON, "-c", READ].iter().map(PathBuf::from).chain(paths).collect();
    let told = |names: &[&str]| names.iter().map(|name| format!("4 /dev/{name}\n")).collect::<String>();
    let outcome = lab.jail().command(&line).run().expect_code(0);
    assert_eq!(outcome.stdout, told(&stay), "{outcome:#?}");
    let twin = lab.unjailed().command(&line).run().expect_code(0);
    assert_eq!(twin.stdout, told(&stay) + &told(&go), "{twin:#?}");
}

/// Memory that programs share by name is of one IPC namespace by right, and of one folder by fact.
// Proves: P33.
#[test]
fn shared_memory_is_the_jails_own() {
    let lab = lab();
    own_dev(&lab);
    let name = canary();
    let path = format!("/dev/shm/{name}");
    lab.on_jailside(|| {
        fs::write(&path, "outside")?;
        Ok(fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?)
    })
    .unwrap();
    let script = format!(
        "cat {path}; echo inside > {path}; cat {path}; stat -c %a /dev/shm; \
         {PYTHON} -c 'from multiprocessing import Lock; Lock(); print(\"locked\")'"
    );
    let run = lab.jail().shell(&script).run().expect_code(0);
    run.expect_stdout("inside\n1777\nlocked");
    let content = || lab.on_jailside(|| Ok(fs::read_to_string(&path)?)).unwrap();
    assert_eq!(content(), "outside");
    let twin = lab.unjailed().shell(&script).run().expect_code(0);
    twin.expect_stdout("outsideinside\n1777\nlocked");
    assert_eq!(content(), "inside\n");
}

/// The command of somebody who is not root: root's has the host's switches covered, and with them goes a /proc within.
fn by_user(lab: &Lab) -> JailBuilder<'_> {
    match Way::of_this_process() {
        Way::Rootless => lab.jail(),
        _ => lab.jail().as_user(),
    }
}

/// What sandboxes within are made of: those of agents, of bazel, of flatpak.
#[test]
fn a_proc_within_can_be_had() {
    if !have("bwrap") {
        return;
    }
    let lab = lab();
    let plain = ["unshare", "-Urmpf", "--mount-proc", "sh", "-c", "echo $$"];
    let all = "bwrap --ro-bind / / --dev /dev --proc /proc --unshare-all sh -c 'ls -d /proc/[0-9]*'";
    for run in [lab.unjailed().as_user(), by_user(&lab)] {
        run.command(plain).run().expect_code(0).expect_stdout("1");
    }
    for run in [lab.unjailed().as_user(), by_user(&lab)] {
        let outcome = run.shell(all).run().expect_code(0);
        assert!(outcome.stdout.starts_with("/proc/1\n"), "{outcome:#?}");
    }
}

/// As below the root of a chroot, or in a namespace within.
// Proves: P12.
#[test]
fn the_kernels_files_mounted_again_take_no_orders() {
    let lab = lab();
    let folders = ["proc", "sys", "part"].map(|name| lab.fresh_path(name));
    let [proc, sys, part] = &folders;
    folders.iter().for_each(|folder| fs::create_dir(folder).unwrap());
    let bind = |from: &str, to: &Path| {
        let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
        mount(Some(from), to, None::<&str>, flags, None::<&str>)
    };
    lab.on_jailside(|| {
        mount(Some("proc"), proc, Some("proc"), MsFlags::empty(), None::<&str>)?;
        bind("/sys", sys)?;
        Ok(bind("/proc/sys", part)?)
    })
    .unwrap();
    let outside = lab.unjailed().as_user().command(["sleep", "600"]).start().unwrap();
    let process = proc.join(outside.pid().to_string());
    let probe = lab.file("kernel_files.py", include_str!("support/probes/kernel_files.py"));
    let places = [proc.join("sys/kernel"), sys.join("kernel"), part.join("kernel")];
    let line: Vec<&Path> = [Path::new(PYTHON), &probe]
        .into_iter()
        .chain(places.iter().map(PathBuf::as_path))
        .collect();
    let jailed = lab.jail().command(&line).run().expect_code(0);
    // What is no order: a file or two that an ordinary user may open as well.
    let of_user = lab.unjailed().as_user().command(&line).run().expect_code(0);
    for opened in jailed.stdout.lines() {
        let rootless = Way::of_this_process() == Way::Rootless;
        assert!(rootless && of_user.stdout.contains(opened), "{jailed:#?}");
    }
    let twin = lab.unjailed().command(&line).run().expect_code(0);
    let all = format!(
        "{}\n{}\n{}\nproc anew\nsysfs anew",
        places[0].display(),
        places[1].display(),
        places[2].display()
    );
    twin.expect_stdout(&all);
    let look = format!("ls {}", process.display());
    let seen = by_user(&lab).shell(&look).run();
    assert_eq!(seen.stdout, "", "{seen:#?}");
    let twin = lab.unjailed().as_user().shell(&look).run();
    assert!(twin.stdout.contains("fd\n"), "{twin:#?}");
}

/// Tries to open for writing all that is none of a process's own, and tells what could be.
const WRITABLE: &str = "import os
for folder, below, names in os.walk('/proc'):
    if folder == '/proc':
        below[:] = [name for name in below if not name.isdigit() and name not in ('self', 'thread-self')]
    for name in names:
        path = os.path.join(folder, name)
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:
            continue
        print(path)";

#[test]
fn nothing_of_proc_can_be_written_that_could_not() {
    let lab = lab();
    let line = [PYTHON, "-c", WRITABLE];
    let within = ["unshare", "-Urmpf", "--mount-proc", PYTHON, "-c", WRITABLE];
    let lines = |run: JailBuilder<'_>, line: &[&str]| run.command(line).run().expect_code(0).stdout;
    let outside = lines(lab.unjailed().as_user(), &line);
    assert!(!outside.contains("core_pattern"), "{outside}");
    assert_eq!(lines(by_user(&lab), &line), outside);
    assert_eq!(lines(by_user(&lab), &within), lines(lab.unjailed().as_user(), &within));
    // Of a user and a network namespace within, the switches of that network and those of that user alone are its root's.
    let nested = ["unshare", "-Urn", PYTHON, "-c", WRITABLE];
    let jailed = lines(by_user(&lab), &nested);
    assert_eq!(jailed, lines(lab.unjailed().as_user(), &nested));
    assert!(jailed.contains("/proc/sys/net/ipv4/"), "{jailed}");
    for all in [&outside, &jailed] {
        let takes_orders = |line: &&str| {
            ["sys", "irq", "bus", "fs", "acpi"]
                .iter()
                .any(|part| line.starts_with(&format!("/proc/{part}/")))
        };
        // The last one everybody may open, and write with a right alone that nobody here has (kernel/pid_namespace.c).
        let own = |line: &&str| {
            let starts = ["/proc/sys/net/", "/proc/sys/user/", "/proc/sys/kernel/ns_last_pid"];
            starts.iter().any(|start| line.starts_with(start))
        };
        let opened: Vec<&str> = all.lines().filter(takes_orders).filter(|line| !own(line)).collect();
        assert!(opened.is_empty(), "{opened:?}");
    }
    // Root may, and a jailed root may not.
    let by_root = lines(lab.unjailed(), &line);
    assert!(by_root.contains("/proc/sys/kernel/core_pattern"), "{by_root}");
    if Way::of_this_process() != Way::Rootless {
        let jailed = lines(lab.jail(), &line);
        assert!(
            !jailed.contains("/proc/sys/") && !jailed.contains("/proc/irq/"),
            "{jailed}"
        );
    }
}
