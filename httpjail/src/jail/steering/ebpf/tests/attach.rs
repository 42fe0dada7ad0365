//! Loading, attaching, and what is left when either fails.

use super::lab::{Lab, in_namespace};
use crate::jail::steering::cgroup::{Cgroup, StaleCgroup, stale_cgroups};
use crate::jail::steering::ebpf::{BpfError, HOOKS, Programs};
use crate::sys::bpf;
use std::os::fd::{AsFd, BorrowedFd};
use std::process::Command;
use std::time::{Duration, Instant};

#[test]
fn programs_stay_as_long_as_their_links() {
    in_namespace(|| {
        let mut lab = Lab::unarmed();
        assert_eq!(attached(&lab.cgroup), HOOKS.len() as u32);
        drop(lab.links.take());
        wait_until_detached(lab.cgroup.as_fd());
    });
}

// Proves: P15.
#[test]
fn pinned_links_outlive_their_maker() {
    in_namespace(|| {
        use nix::mount::{MsFlags, mount};
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        mount(
            None::<&str>,
            "/",
            None::<&str>,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            None::<&str>,
        )
        .unwrap();
        let directory = tempfile::tempdir().unwrap();
        let mut lab = Lab::unarmed();
        // Not a bpffs yet.
        let error = lab.links.as_ref().unwrap().pin(directory.path()).unwrap_err();
        assert!(error.to_string().starts_with("pin the BPF link"), "{error}");
        mount(
            Some("bpf"),
            directory.path(),
            Some("bpf"),
            MsFlags::empty(),
            None::<&str>,
        )
        .unwrap();
        // One that is in the way: those before it are taken back.
        std::fs::create_dir(directory.path().join("getpeername6")).unwrap();
        lab.links.as_ref().unwrap().pin(directory.path()).unwrap_err();
        std::fs::remove_dir(directory.path().join("getpeername6")).unwrap();
        assert!(HOOKS.iter().all(|hook| !directory.path().join(hook.name).exists()));

        lab.links.take().unwrap().pin(directory.path()).unwrap();
        assert_eq!(attached(&lab.cgroup), HOOKS.len() as u32);
        for hook in HOOKS {
            std::fs::remove_file(directory.path().join(hook.name)).unwrap();
        }
        wait_until_detached(lab.cgroup.as_fd());
        nix::mount::umount(directory.path()).unwrap();
    });
}

// Proves: S37, P26.
#[test]
fn an_attach_that_fails_names_its_hook_and_leaves_nothing() {
    in_namespace(|| {
        let programs = Programs::load(&Programs::object().unwrap(), true).unwrap();
        let cgroup = Cgroup::create().unwrap();
        for (index, hook) in HOOKS.iter().enumerate() {
            // A program that a parent holds exclusively, the old way, shuts ours out at this one hook.
            let parent = cgroup.path().join(hook.name);
            let below = parent.join("below");
            std::fs::create_dir_all(&below).unwrap();
            let open = |path| std::fs::File::open(path).unwrap();
            bpf::attach_exclusively(programs.program_fd(index), open(&parent).as_fd(), hook.attach_type).unwrap();
            let below = open(&below);

            let error = programs.attach(below.as_fd()).unwrap_err();
            assert!(
                matches!(&error, BpfError::Attach { hook: named, source }
                if *named == hook.name && source.raw_os_error() == Some(libc::EPERM)),
                "{error}"
            );
            assert!(error.to_string().contains("another program holds a parent"), "{error}");
            wait_until_detached(below.as_fd());
        }
        // The twin: where no parent is in the way, all of them attach.
        let links = programs.attach(cgroup.as_fd()).unwrap();
        assert_eq!(links.len(), HOOKS.len());
    });
}

#[test]
fn what_is_no_cgroup_cannot_be_attached_to() {
    in_namespace(|| {
        let programs = Programs::load(&Programs::object().unwrap(), true).unwrap();
        let directory = std::fs::File::open("/tmp").unwrap();
        let error = programs.attach(directory.as_fd()).unwrap_err();
        assert!(error.to_string().contains("not a cgroup v2 directory"), "{error}");
        let error = programs
            .configure(1, &httpjail_common::JailConfig::DENY_ALL)
            .unwrap_err();
        assert!(matches!(error, BpfError::Access { operation: "write", .. }), "{error}");
    });
}

// Proves: S17.
#[test]
fn two_jails_do_not_see_each_other() {
    in_namespace(|| {
        let lab = Lab::armed();
        let programs = &lab.programs;
        let other = Cgroup::create().unwrap();
        let _links = programs.attach(other.as_fd()).unwrap();
        // The second jail shares the programs and is not armed: the first one's configuration is not its own.
        assert_eq!(
            programs.configuration(other.id()).unwrap(),
            Some(httpjail_common::JailConfig::DENY_ALL)
        );
        assert_eq!(programs.configuration(lab.cgroup.id()).unwrap(), Some(lab.config));
        assert_eq!(programs.configuration(1).unwrap(), None);

        // Once armed, it does not reach the first one's listener: that goes to the proxy.
        programs
            .configure(
                other.id(),
                &httpjail_common::JailConfig {
                    jail: other.id(),
                    ..lab.config
                },
            )
            .unwrap();
        let lab_procs = lab.cgroup.procs();
        let output = lab.python(&format!(
            r#"
s = socket(); s.bind(('127.0.0.1', 3000)); s.listen()
def own():
    with socket() as c:
        c.connect(('127.0.0.1', 3000))
        return show(c.getpeername())
case(own)
accepted = s.accept()[0]
if os.fork() == 0:
    open('{}/cgroup.procs', 'w').write('0')
    case(lambda: tcp('127.0.0.1', 3000))
    # A socket made in the first jail is still the first jail's.
    os._exit(0)
os.wait()
s.setblocking(False)
case(s.accept)
"#,
            other.path().display()
        ));
        assert!(lab_procs.exists());
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "127.0.0.1:3000\nproxy 127.0.0.1:3000 peer 127.0.0.1:3000\nEAGAIN\n",
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    });
}

#[test]
fn an_object_that_is_none_is_refused() {
    for object in [&b""[..], b"\x7fELF", &[0; 4096]] {
        assert!(
            matches!(Programs::load(object, true), Err(BpfError::Object(_))),
            "{object:?}"
        );
    }
}

// Proves: P17.
#[test]
fn a_cgroup_goes_with_everything_in_it() {
    in_namespace(|| {
        let cgroup = Cgroup::create().unwrap();
        let path = cgroup.path().to_owned();
        let below = path.join("a/b");
        std::fs::create_dir_all(&below).unwrap();
        // It says when it is inside; then it would sleep for an hour.
        let mut child = Command::new("sh")
            .args(["-c", "echo $$ > \"$0/cgroup.procs\" && echo inside && exec sleep 3600"])
            .arg(&below)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stdout = std::io::BufReader::new(child.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
        assert_eq!(line, "inside\n");
        drop(cgroup);
        assert!(!path.exists());
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()),
            Some(libc::SIGKILL)
        );
    });
}

// Proves: K12.
#[test]
fn only_the_cgroups_of_dead_runs_are_left_over() {
    in_namespace(|| {
        let living = Cgroup::create().unwrap();
        let mut name =
            crate::jail::steering::cgroup::RunName::parse(living.path().file_name().unwrap().to_str().unwrap())
                .unwrap();
        // The same process id, started at another time: a run that is dead, its number given to another.
        name.started += 1;
        let dead = living.path().with_file_name(name.to_string());
        std::fs::create_dir(&dead).unwrap();
        let mine = |name: &crate::jail::steering::cgroup::RunName| name.pid == std::process::id();
        let found: Vec<_> = stale_cgroups()
            .unwrap()
            .into_iter()
            .filter(|left| mine(&left.name) && !left.is_elsewhere())
            .collect();
        assert_eq!(
            found.iter().map(|left| left.path.clone()).collect::<Vec<_>>(),
            std::slice::from_ref(&dead)
        );
        for left in found {
            let claimed = left.claim().unwrap();
            claimed.kill();
            claimed.remove(Instant::now()).unwrap();
        }
        assert!(!dead.exists());
        assert!(living.path().exists());
    });
}

// Proves: K12.
#[test]
fn an_empty_cgroup_of_another_pid_namespace_goes_unless_its_run_lives() {
    in_namespace(|| {
        let own = Cgroup::create().unwrap();
        let mut name =
            crate::jail::steering::cgroup::RunName::parse(own.path().file_name().unwrap().to_str().unwrap()).unwrap();
        // No PID namespace has that number.
        name.pid_namespace = 1;
        let mut make = || {
            name.number += 1;
            let path = own.path().with_file_name(name.to_string());
            std::fs::create_dir(&path).unwrap();
            path
        };
        let (empty, locked, peopled) = (make(), make(), make());
        let lock = std::fs::File::open(&locked).unwrap();
        lock.lock().unwrap();
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        std::fs::write(peopled.join("cgroup.procs"), child.id().to_string()).unwrap();
        let remove = || {
            let found = stale_cgroups().unwrap().into_iter();
            let made = found.filter(|left| [&empty, &locked, &peopled].contains(&&left.path));
            for claimed in made.filter_map(StaleCgroup::claim) {
                claimed.kill();
                claimed.remove(Instant::now()).unwrap();
            }
            [&empty, &locked, &peopled].map(|path| path.exists())
        };
        let left = remove();
        let lives = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        drop(lock);
        assert_eq!((left, lives), ([false, true, true], true));
        assert_eq!(remove(), [false; 3]);
        assert!(own.path().exists());
    });
}

fn attached(cgroup: &Cgroup) -> u32 {
    count(cgroup.as_fd())
}

/// Two things may hold a link a moment longer: a child that another test is about to exec has copies of our descriptors, and
/// the kernel lets go of a removed pin after a grace period (kernel/bpf/inode.c, `bpf_free_inode`).
fn wait_until_detached(cgroup: BorrowedFd<'_>) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while count(cgroup) != 0 {
        assert!(
            Instant::now() < deadline,
            "{} programs are still attached",
            count(cgroup)
        );
        std::thread::yield_now();
    }
}

fn count(cgroup: BorrowedFd<'_>) -> u32 {
    HOOKS
        .iter()
        .map(|hook| bpf::attached_count(cgroup, hook.attach_type).unwrap())
        .sum()
}
