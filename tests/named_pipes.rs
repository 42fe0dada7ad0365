//! Named pipes (FIFOs): who writes into one that somebody outside reads has told him something.
//!
//! Only programs in the kernel hold them, which not every kernel and caller can have. Where they do not, `-v` and `doctor` have to
//! say so, and what gets through here is what they warn of.

use std::fs::{File, OpenOptions};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use httpjail_lab::{JailBuilder, Lab, Outcome, USER_ID, Way, eventually};
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::support::{Expect as _, lab};

const SOON: Duration = Duration::from_secs(20);

/// The jails to be tried: one of plain root (where there is root) and one of a user.
const JAILS: [fn(&Lab) -> JailBuilder<'_>; 2] = [|lab| lab.jail(), |lab| lab.jail().as_user()];

/// Whether this jail holds them, by its own word.
#[track_caller]
fn held(outcome: &Outcome) -> bool {
    let held = outcome
        .stderr
        .contains("named pipes: by who made them (kernel program)");
    let not = outcome.stderr.contains("named pipes: those below /run alone, because ");
    assert!(held != not, "nothing is said of them: {outcome:#?}");
    held
}

fn open_folder(path: PathBuf) -> PathBuf {
    std::fs::create_dir_all(&path).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o777)).unwrap();
    nix::unistd::chown(&path, Some(USER_ID.into()), Some(USER_ID.into())).unwrap();
    path
}

/// A pipe that everybody may open, and its reading end. Open at both, so that nobody waits for another.
fn pipe(path: &Path) -> File {
    mkfifo(path, Mode::S_IRWXU).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666)).unwrap();
    let mut how = OpenOptions::new();
    how.read(true).write(true).custom_flags(libc::O_NONBLOCK);
    how.open(path).unwrap()
}

/// What has come since it was asked last.
fn came(pipe: &mut File) -> String {
    let mut bytes = [0; 4096];
    let length = pipe.read(&mut bytes).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

// Proves on ebpf, netns: S40.
#[test]
fn one_that_somebody_outside_reads() {
    for jail in JAILS {
        let lab = lab();
        let path = open_folder(lab.fresh_path("folder")).join("pipe");
        let mut reader = pipe(&path);
        let second = open_folder(lab.fresh_path("other")).join("second");
        std::fs::hard_link(&path, &second).unwrap();
        let script = format!(
            "for name in {} {} /proc/self/root{0}; do echo said > $name; done",
            path.display(),
            second.display()
        );
        let tried = jail(&lab).option("-v").shell(&script).run();
        let expected = if held(&tried) { "" } else { "said\nsaid\nsaid\n" };
        assert_eq!(came(&mut reader), expected, "{tried:#?}");
        lab.unjailed().as_user().shell(&script).run().expect_code(0);
        assert_eq!(came(&mut reader), "said\nsaid\nsaid\n");
    }
}

/// A name, and even a number, that was a pipe of the jail's is another's afterwards.
// Proves on ebpf, netns: S40.
#[test]
fn one_that_was_made_where_the_jails_own_was() {
    for jail in JAILS {
        let lab = lab();
        let folder = open_folder(lab.fresh_path("folder"));
        let (path, go) = (folder.join("pipe"), folder.join("go"));
        let script = format!(
            "mkfifo {0}; echo up; while [ ! -e {1} ]; do sleep 0.02; done; echo said > {0}; mv {0} {0}.moved; echo said > {0}.moved",
            path.display(),
            go.display()
        );
        let jailed = jail(&lab).option("-v").shell(&script).start().unwrap();
        assert!(eventually(SOON, || jailed.stdout() == "up\n"), "{}", jailed.stderr());
        std::fs::remove_file(&path).unwrap();
        let mut reader = pipe(&path);
        std::fs::write(&go, "").unwrap();
        let tried = jailed.wait().unwrap();
        let expected = if held(&tried) { "" } else { "said\nsaid\n" };
        assert_eq!(came(&mut reader), expected, "{tried:#?}");
    }
}

/// What a jail is given at its start is its own to open again.
#[test]
fn one_that_is_standard_input() {
    for jail in JAILS {
        let lab = lab();
        let path = open_folder(lab.fresh_path("folder")).join("pipe");
        let mut reader = pipe(&path);
        let end = OwnedFd::from(reader.try_clone().unwrap());
        let run = jail(&lab).stdin_from(end).shell("echo said > /proc/self/fd/0").run();
        run.expect_code(0);
        assert_eq!(came(&mut reader), "said\n");
    }
}

#[test]
fn the_jails_own_work_as_ever() {
    let script = "set -e; mkfifo own; ln own other; cat other & echo named > own; wait
        mv own moved; (cat < moved) & echo moved > moved; wait
        echo shell | cat; bash -c 'cat <(echo substituted); echo to > >(cat); wait'
        python3 -c 'import os
os.mkfifo(\"both\"); os.open(\"both\", os.O_RDWR); read, write = os.pipe()
os.write(os.open(f\"/proc/self/fd/{write}\", os.O_WRONLY), b\"anonymous\"); print(os.read(read, 99))'";
    for jail in JAILS {
        let lab = lab();
        let run = |run: JailBuilder<'_>| {
            let folder = open_folder(lab.fresh_path("own"));
            let script = format!("cd {}; {script}", folder.display());
            run.shell(&script).run().expect_code(0).stdout
        };
        assert_eq!(run(jail(&lab)), run(lab.unjailed().as_user()));
    }
}

#[test]
fn doctor_says_whether_they_are_held() {
    let lab = lab();
    let jailed = lab.jail().option("-v").command(["true"]).run();
    let doctor = match Way::of_this_process() {
        Way::Rootless => lab.unjailed().as_user(),
        _ => lab.unjailed(),
    };
    let doctor = doctor.command([lab.binary().as_os_str(), "doctor".as_ref()]).run();
    let rows = |text: &str| doctor.stdout.lines().filter(|row| row.contains(text)).count();
    let (by_who, below_run) = (
        rows("named pipes: by who made them"),
        rows("named pipes: those below /run alone"),
    );
    assert_eq!(
        (by_who > 0, below_run > 0),
        (held(&jailed), !held(&jailed)),
        "{doctor:#?}"
    );
}
