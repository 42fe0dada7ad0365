use super::*;
use crate::tls::authority::unix_now;
use crate::tls::testing::skip;
use nix::unistd::{Gid, Uid, geteuid};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::sync::Barrier;
use std::thread;
use tempfile::TempDir;

/// Other users, who need not exist.
const OTHER: u32 = 54321;
const THIRD: u32 = 54322;

/// A directory to play in, its name without links, so that each test sees only those that it makes.
struct Place {
    _dir: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Place {
            path: fs::canonicalize(dir.path()).unwrap(),
            _dir: dir,
        }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// One in which an authority already is, at `ca`.
    fn with_authority() -> Self {
        let place = Place::new();
        load_or_create(&place.at("ca"), None).unwrap();
        place
    }
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn is_root() -> bool {
    let root = geteuid().is_root();
    if !root {
        skip("files can be given away by root alone");
    }
    root
}

/// Does what `spoil` does to a place with an authority, and expects this error; then checks that a hint comes with it and
/// that no word of a key does.
fn refused(expected: &str, spoil: impl FnOnce(&Place)) {
    let place = Place::with_authority();
    spoil(&place);
    refused_at(expected, &place.at("ca"), None);
}

fn refused_at(expected: &str, dir: &Path, owner: Option<(u32, u32)>) {
    let error = load_or_create(dir, owner).expect_err(expected);
    let said = format!("{error:?} {error} {}", error.hint());
    assert!(said.starts_with(expected), "{expected}: {said}");
    assert!(!error.hint().is_empty() && !said.contains("PRIVATE"), "{said}");
}

#[test]
fn the_first_run_makes_it_and_the_next_ones_load_it() {
    let place = Place::new();
    let dir = place.at("new/config/httpjail");
    let first = load_or_create(&dir, None).unwrap();
    assert_eq!((mode(&place.at("new")), mode(&dir)), (0o700, 0o700));
    assert_eq!(mode(&dir.join(KEY)), 0o600);
    assert_eq!(names(&dir), [CERTIFICATE, KEY]);
    assert_eq!(
        fs::read_to_string(dir.join(CERTIFICATE)).unwrap(),
        first.certificate_pem()
    );
    let again = load_or_create(&dir, None).unwrap();
    assert_eq!(again.certificate(), first.certificate());
    assert_eq!(again.key_pem(), first.key_pem());
}

#[test]
fn runs_that_start_at_once_agree_on_one_authority() {
    let place = Place::new();
    let dir = place.at("deep/ca");
    let barrier = Barrier::new(8);
    let run = || {
        barrier.wait();
        load_or_create(&dir, None).unwrap().certificate().clone()
    };
    let found: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(found.iter().all(|one| *one == found[0]));
    assert_eq!(names(&dir), [CERTIFICATE, KEY], "nothing left over");
}

/// docs/threat-model.md K01. A thread with `CLONE_FS` undone has a umask of its own.
// Proves: K01.
#[cfg(target_os = "linux")]
#[test]
fn modes_do_not_hang_on_the_umask() {
    let place = Place::new();
    let make = |umask: u32, name: &str| {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_FS).unwrap();
        nix::sys::stat::umask(Mode::from_bits_truncate(umask));
        load_or_create(&place.at(name), None).unwrap();
    };
    for (umask, name) in [(0, "open"), (0o077, "closed")] {
        thread::scope(|scope| scope.spawn(|| make(umask, name)).join().unwrap());
        assert_eq!(
            (mode(&place.at(name)), mode(&place.at(name).join(KEY))),
            (0o700, 0o600),
            "umask {umask:o}"
        );
    }
}

// Proves: K01.
#[test]
fn a_key_that_others_could_read_is_refused_and_not_repaired() {
    for bits in [0o640, 0o604, 0o620, 0o610, 0o601, 0o777] {
        refused("LooseKey", |place| chmod(&place.at("ca/ca.key"), bits));
    }
    let place = Place::with_authority();
    for bits in [0o400, 0o600, 0o700] {
        chmod(&place.at("ca/ca.key"), bits);
        load_or_create(&place.at("ca"), None).unwrap();
        assert_eq!(mode(&place.at("ca/ca.key")), bits);
    }
}

// Proves: K01.
#[test]
fn a_directory_that_others_can_write_is_refused() {
    for bits in [0o770, 0o707, 0o720, 0o1777] {
        refused("LooseDirectory", |place| chmod(&place.at("ca"), bits));
    }
    let place = Place::with_authority();
    chmod(&place.at("ca"), 0o755);
    load_or_create(&place.at("ca"), None).unwrap();
}

#[test]
fn what_is_no_plain_file_is_refused() {
    let replace = |place: &Place, with: &dyn Fn(&Path)| {
        let key = place.at("ca/ca.key");
        fs::rename(&key, place.at("moved")).unwrap();
        with(&key);
    };
    refused("NotFile", |place| {
        replace(place, &|key| symlink(place.at("moved"), key).unwrap())
    });
    refused("NotFile", |place| {
        replace(place, &|key| symlink("nowhere", key).unwrap())
    });
    refused("NotFile", |place| replace(place, &|key| fs::create_dir(key).unwrap()));
    refused("NotFile", |place| {
        replace(place, &|key| {
            nix::unistd::mkfifo(key, Mode::S_IRUSR | Mode::S_IWUSR).unwrap()
        })
    });
    refused("NotFile", |place| {
        let long = "#".repeat(LONGEST_FILE as usize + 1);
        fs::write(place.at("ca/ca.key"), long).unwrap();
    });
    refused("NotFile", |place| {
        fs::write(place.at("ca/ca.key"), b"\xff\xfe").unwrap()
    });
    refused("NotFile", |place| {
        fs::remove_file(place.at("ca/ca.crt")).unwrap();
        symlink("/etc/hostname", place.at("ca/ca.crt")).unwrap();
    });
}

#[test]
fn a_corrupt_or_expired_pair_is_refused() {
    let write = |place: &Place, name: &str, text: &str| fs::write(place.at("ca").join(name), text).unwrap();
    let now = unix_now();
    let expired = CertificateAuthority::generate_valid(now - 100, now - 10).unwrap();
    let other = CertificateAuthority::generate().unwrap();
    let unusable = |what: &str| format!("Unusable {{ path: \"{{}}\", source: {what}");
    let check = |what: &str, spoil: &dyn Fn(&Place)| {
        let place = Place::with_authority();
        spoil(&place);
        let path = place.at("ca/ca.key");
        refused_at(
            &unusable(what).replace("{}", path.to_str().unwrap()),
            &place.at("ca"),
            None,
        );
    };
    check("Key", &|place| write(place, KEY, ""));
    check("Key", &|place| write(place, KEY, "PRIVATE"));
    check("Expired", &|place| {
        write(
            place,
            KEY,
            &format!("{}{}", *expired.key_pem(), expired.certificate_pem()),
        )
    });
    check("KeyMismatch", &|place| {
        write(
            place,
            KEY,
            &format!("{}{}", *other.key_pem(), expired.certificate_pem()),
        )
    });
    check("KeyMismatch", &|place| write(place, KEY, &other.key_pem()));
    refused("Mismatch", |place| write(place, CERTIFICATE, other.certificate_pem()));
    refused("Mismatch", |place| write(place, CERTIFICATE, ""));
}

#[test]
fn a_pair_that_the_user_brought_is_taken() {
    let place = Place::with_authority();
    let brought = CertificateAuthority::generate().unwrap();
    fs::write(place.at("ca/ca.key"), brought.key_pem().as_bytes()).unwrap();
    fs::write(place.at("ca/ca.crt"), format!("# mine\n{}", brought.certificate_pem())).unwrap();
    assert_eq!(
        load_or_create(&place.at("ca"), None).unwrap().certificate(),
        brought.certificate()
    );
}

#[test]
fn a_missing_certificate_comes_back_and_one_without_key_goes() {
    let place = Place::with_authority();
    let first = load_or_create(&place.at("ca"), None).unwrap();
    fs::remove_file(place.at("ca/ca.crt")).unwrap();
    assert_eq!(
        load_or_create(&place.at("ca"), None).unwrap().certificate(),
        first.certificate()
    );
    assert_eq!(
        fs::read_to_string(place.at("ca/ca.crt")).unwrap(),
        first.certificate_pem()
    );

    fs::remove_file(place.at("ca/ca.key")).unwrap();
    let second = load_or_create(&place.at("ca"), None).unwrap();
    assert_ne!(second.certificate(), first.certificate());
    assert_eq!(
        fs::read_to_string(place.at("ca/ca.crt")).unwrap(),
        second.certificate_pem()
    );
}

#[test]
fn rotation_replaces_whatever_is_there() {
    let place = Place::with_authority();
    let mut before = load_or_create(&place.at("ca"), None).unwrap();
    let spoil: [&dyn Fn(); 3] = [&|| {}, &|| chmod(&place.at("ca/ca.key"), 0o644), &|| {
        fs::write(place.at("ca/ca.crt"), "junk").unwrap()
    }];
    for spoil in spoil {
        spoil();
        let after = rotate(&place.at("ca"), None).unwrap();
        assert_ne!(after.certificate(), before.certificate());
        assert_eq!(
            load_or_create(&place.at("ca"), None).unwrap().certificate(),
            after.certificate()
        );
        assert_eq!((mode(&place.at("ca/ca.key")), names(&place.at("ca")).len()), (0o600, 2));
        before = after;
    }
    chmod(&place.at("ca"), 0o777);
    assert!(matches!(
        rotate(&place.at("ca"), None),
        Err(StoreError::LooseDirectory { .. })
    ));
    chmod(&place.at("ca"), 0o700);
    assert_eq!(
        load_or_create(&place.at("ca"), None).unwrap().certificate(),
        before.certificate(),
        "untouched"
    );
}

#[test]
fn what_stands_in_the_way_is_named() {
    let place = Place::new();
    fs::write(place.at("file"), "").unwrap();
    refused_at("NotDirectory", &place.at("file"), None);
    refused_at("NotDirectory", &place.at("file/ca"), None);
    refused_at("Relative", Path::new("ca"), None);
    symlink("loop", place.at("loop")).unwrap();
    refused_at("Io { operation: \"follow\"", &place.at("loop/ca"), None);
}

#[test]
fn ones_own_links_are_followed() {
    let place = Place::new();
    fs::create_dir_all(place.at("real/deep")).unwrap();
    symlink("real/deep", place.at("relative")).unwrap();
    symlink(place.at("relative"), place.at("absolute")).unwrap();
    symlink("../relative/./../deep", place.at("real/up")).unwrap();
    let first = load_or_create(&place.at("relative/ca"), None).unwrap();
    for way in ["absolute/ca", "real/up/ca", "real/deep/ca", "real/../relative/ca"] {
        assert_eq!(
            load_or_create(&place.at(way), None).unwrap().certificate(),
            first.certificate(),
            "{way}"
        );
    }
    assert_eq!(names(&place.at("real/deep")), ["ca"]);
}

// Proves on ebpf, netns, rootless: K08, K09.
#[test]
fn somebody_elses_links_are_not_followed() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.at("real")).unwrap();
    symlink("real", place.at("link")).unwrap();
    for (uid, good) in [(OTHER, false), (0, true)] {
        lchown(place.at("link"), Some(uid), None).unwrap();
        match good {
            true => drop(load_or_create(&place.at("link/ca"), None).unwrap()),
            false => refused_at("ForeignLink", &place.at("link/ca"), None),
        }
        assert_eq!(names(&place.at("real")).is_empty(), !good);
    }
}

#[test]
fn as_root_for_a_user_all_that_is_made_is_theirs() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let home = place.at("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(OTHER), Some(OTHER)).unwrap();
    let dir = home.join(".config/httpjail");
    let first = load_or_create(&dir, Some((OTHER, THIRD))).unwrap();
    for path in [home.join(".config"), dir.clone(), dir.join(KEY), dir.join(CERTIFICATE)] {
        let is = fs::metadata(&path).unwrap();
        assert_eq!((is.uid(), is.gid()), (OTHER, THIRD), "{}", path.display());
    }
    assert_eq!((mode(&dir), mode(&dir.join(KEY))), (0o700, 0o600));
    assert_eq!(
        load_or_create(&dir, Some((OTHER, THIRD))).unwrap().certificate(),
        first.certificate()
    );

    // A key of root's is root's own doing; one of a third person is not.
    for (uid, good) in [(0, true), (THIRD, false)] {
        chown(dir.join(KEY), Some(uid), None).unwrap();
        match good {
            true => drop(load_or_create(&dir, Some((OTHER, THIRD))).unwrap()),
            false => refused_at("ForeignKey", &dir, Some((OTHER, THIRD))),
        }
    }
}

// Proves on ebpf, netns, rootless: K08, K09.
#[test]
fn as_root_for_a_user_nothing_is_made_or_read_in_a_directory_of_others() {
    if !is_root() {
        return;
    }
    let place = Place::with_authority();
    let user = Some((OTHER, OTHER));
    let home = place.at("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(OTHER), Some(OTHER)).unwrap();
    // Their own link may lead them anywhere; root's rights do not go with them.
    symlink("..", home.join("out")).unwrap();
    lchown(home.join("out"), Some(OTHER), Some(OTHER)).unwrap();
    refused_at("ForeignDirectory", &home.join("out/made"), user);
    refused_at("ForeignDirectory", &home.join("out/made/deeper"), user);
    refused_at("ForeignDirectory", &home.join("out/ca"), user);
    assert_eq!(names(&place.path), ["ca", "home"]);
    load_or_create(&home.join("out/home/made"), user).unwrap();
}

/// Another user may replace a directory between its creation and its opening.
#[test]
fn a_directory_with_something_in_it_is_not_given_away() {
    if !is_root() {
        return;
    }
    let place = Place::with_authority();
    fs::create_dir(place.at("empty")).unwrap();
    for (name, expected) in [("empty", Ok(())), ("ca", Err(Errno::EPERM))] {
        assert_eq!(
            walk::give_away_at(&place.at(name), Owner::new(Some((OTHER, OTHER)))),
            expected
        );
        assert_eq!(
            fs::metadata(place.at(name)).unwrap().uid() == OTHER,
            expected.is_ok(),
            "{name}"
        );
    }
}

/// The other safe way: the caller has become the user as far as files go.
#[cfg(target_os = "linux")]
#[test]
fn with_the_file_system_user_switched_it_works_too() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    chmod(&place.path, 0o711);
    let home = place.at("home");
    fs::create_dir(&home).unwrap();
    chown(&home, Some(OTHER), Some(OTHER)).unwrap();
    let dir = home.join(".config/httpjail");
    let run = || {
        nix::unistd::setfsgid(Gid::from_raw(OTHER));
        nix::unistd::setfsuid(Uid::from_raw(OTHER));
        load_or_create(&dir, Some((OTHER, OTHER))).unwrap();
        load_or_create(&dir, Some((OTHER, OTHER))).unwrap();
    };
    thread::scope(|scope| scope.spawn(run).join().unwrap());
    for path in [home.join(".config"), dir.clone(), dir.join(KEY), dir.join(CERTIFICATE)] {
        let is = fs::metadata(&path).unwrap();
        assert_eq!((is.uid(), is.gid()), (OTHER, OTHER), "{}", path.display());
    }
}
