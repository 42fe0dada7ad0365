//! The cgroup of a container, by what its engine has written down or by the name of the cgroup.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::engines::{Container, Engines};
use super::process;
use crate::failure::Failure;
use crate::jail::steering::cgroup::start_time;

/// How many characters of an id name a cgroup (docker and podman show twelve).
const SHORT_ID: usize = 12;
/// A tree with more cgroups is not searched to its end.
const MOST_CGROUPS: usize = 100_000;

/// Returns the cgroup of the container `wanted`: a name, an id, or how one id begins. `root` is `/` on this host.
///
/// # Errors
/// When there is none, more than one, or it does not run.
pub(super) fn find(wanted: &str, root: &Path, mount: &Path) -> Result<PathBuf, Failure> {
    let engines = Engines::read(root);
    match identify(wanted, &engines)? {
        Some((id, container)) => running(id, container, mount)
            .or_else(|| only(by_id(id, mount)))
            .ok_or_else(|| Failure {
                hint: Some("start it first".into()),
                ..Failure::new(format!("the container {} ({id}) does not run", wanted.escape_debug()))
            }),
        None => {
            let found = by_id(wanted, mount);
            if found.len() > 1 {
                return Err(ambiguous(wanted, found.iter().map(|path| path.display().to_string())));
            }
            only(found).ok_or_else(|| unknown(wanted, &engines, mount))
        }
    }
}

/// Returns the one container that is meant: an id comes before a name, and that before the beginning of an id.
fn identify<'a>(wanted: &str, engines: &'a Engines) -> Result<Option<(&'a str, &'a Container)>, Failure> {
    let pick = |fits: &dyn Fn(&str, &Container) -> bool| {
        let all = engines
            .containers
            .iter()
            .map(|(id, container)| (id.as_str(), container));
        all.filter(|(id, container)| fits(id, container)).collect::<Vec<_>>()
    };
    let exact = pick(&|id, _| id == wanted);
    let named = pick(&|_, container| container.names.iter().any(|name| name == wanted));
    let begun = pick(&|id, _| !wanted.is_empty() && id.starts_with(wanted));
    let found = [exact, named, begun]
        .into_iter()
        .find(|found| !found.is_empty())
        .unwrap_or_default();
    match found.as_slice() {
        [] => Ok(None),
        [only] => Ok(Some(*only)),
        several => Err(ambiguous(
            wanted,
            several
                .iter()
                .map(|(id, container)| format!("{id} ({})", container.names.join(", ").escape_debug())),
        )),
    }
}

/// Returns the cgroup of a container as the runtime wrote it down, if it is there.
fn running(id: &str, container: &Container, mount: &Path) -> Option<PathBuf> {
    let (pid, started) = container.first?;
    // Its number may be another's by now.
    let found = start_time(pid.unsigned_abs()).ok()??;
    if started.is_some_and(|started| started != found) {
        return None;
    }
    let own = process::of(pid, mount).ok();
    let whole = own.as_ref().and_then(|own| upmost_of(id, own, mount));
    let written = container.cgroup.as_ref().map(|written| {
        let within = written
            .strip_prefix(mount)
            .or_else(|_| written.strip_prefix("/"))
            .unwrap_or(written);
        mount.join(within)
    });
    // Only if the process is in it: what is written down may be of another hierarchy.
    let written =
        written.filter(|written| written != mount && own.as_ref().is_some_and(|own| own.starts_with(written)));
    // A number that nobody vouches for is none.
    whole.or(written).or(own.filter(|_| started.is_some()))
}

/// Returns the upmost part of `own` whose name has the id in it: programs in the container may have made cgroups of their own.
fn upmost_of(id: &str, own: &Path, mount: &Path) -> Option<PathBuf> {
    let above = own.ancestors().take_while(|above| *above != mount);
    above.filter(|above| is_of(id, above, true)).last().map(Path::to_owned)
}

/// Returns true if a cgroup has the name that engines give one: the id, or `docker-ID.scope` and its like.
fn is_of(id: &str, cgroup: &Path, whole: bool) -> bool {
    let Some(name) = cgroup.file_name().and_then(|name| name.to_str()) else {
        return false;
    };
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let bare = ["docker-", "libpod-", "cri-containerd-", "crio-", "nerdctl-"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name);
    if whole {
        bare == id
    } else {
        bare.starts_with(id) && bare.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Returns the cgroups whose name begins with this id; none for what is no id.
fn by_id(id: &str, mount: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    if id.len() < SHORT_ID || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return found;
    }
    let mut directories = vec![mount.to_owned()];
    let mut next = 0;
    while let Some(directory) = directories.get(next).cloned() {
        next += 1;
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if is_of(id, &entry.path(), false) {
                // What is below it is the container's own doing.
                found.insert(entry.path());
            } else if directories.len() < MOST_CGROUPS {
                directories.push(entry.path());
            }
        }
    }
    found
}

fn only(found: BTreeSet<PathBuf>) -> Option<PathBuf> {
    let mut found = found.into_iter();
    found.next().filter(|_| found.next().is_none())
}

fn ambiguous(wanted: &str, found: impl Iterator<Item = String>) -> Failure {
    Failure {
        hint: Some("name one by its whole id".into()),
        ..Failure::new(format!(
            "more than one container is {}: {}",
            wanted.escape_debug(),
            found.collect::<Vec<_>>().join(", ")
        ))
    }
}

fn unknown(wanted: &str, engines: &Engines, mount: &Path) -> Failure {
    let places = engines.looked_at.iter().map(|path| path.display().to_string());
    Failure {
        hint: Some("a container of an ordinary user, or of another engine: --pid with its first process".into()),
        ..Failure::new(format!(
            "no such container: {} ({} are known by {}; and no cgroup below {} has that id)",
            wanted.escape_debug(),
            engines.containers.len(),
            places.collect::<Vec<_>>().join(", "),
            mount.display()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const OTHER: &str = "0123456789abffff0123456789abcdef0123456789abcdef0123456789abcdef";

    fn knows(containers: &[(&str, &[&str])]) -> Engines {
        let of = |names: &[&str]| Container {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            ..Container::default()
        };
        Engines {
            containers: containers
                .iter()
                .map(|(id, names)| ((*id).to_owned(), of(names)))
                .collect(),
            looked_at: Vec::new(),
        }
    }

    #[test]
    fn a_container_is_one_or_none() {
        let engines = knows(&[("aa11", &["web"]), ("aa22", &["db", "aa11"]), ("web1", &[])]);
        let found = |wanted: &str| identify(wanted, &engines).map(|found| found.map(|(id, _)| id.to_owned()));
        assert_eq!(found("web").unwrap().as_deref(), Some("aa11"));
        assert_eq!(found("aa11").unwrap().as_deref(), Some("aa11"), "an id comes first");
        assert_eq!(found("aa2").unwrap().as_deref(), Some("aa22"));
        assert_eq!(found("web1").unwrap().as_deref(), Some("web1"));
        assert_eq!(found("other").unwrap(), None);
        assert_eq!(found("").unwrap(), None);
        let several = found("aa").unwrap_err();
        assert!(several.message.contains("aa11 (web), aa22 (db, aa11)"), "{several}");
    }

    #[test]
    fn a_cgroup_is_found_by_the_id_in_its_name() {
        let tree = tempfile::tempdir().unwrap();
        let make = |path: String| fs::create_dir_all(tree.path().join(path)).unwrap();
        make(format!("system.slice/docker-{ID}.scope/init.scope"));
        // A container that makes cgroups of such names inside of its own is still the one.
        make(format!("system.slice/docker-{ID}.scope/docker/{ID}"));
        make(format!("system.slice/evil-{OTHER}.scope"));
        let place = tree.path().join(format!("system.slice/docker-{ID}.scope"));
        let found = |wanted: &str| find(wanted, Path::new("/nowhere"), tree.path());
        assert_eq!(found(&ID[..12]).unwrap(), place);
        assert_eq!(upmost_of(ID, &place.join("docker").join(ID), tree.path()), Some(place));
        let unknown = found("web").unwrap_err();
        assert!(
            unknown
                .message
                .contains("no such container: web (0 are known by /nowhere/run/runc"),
            "{unknown}"
        );
        make(format!("kubepods/pod1/{OTHER}"));
        let several = found(&ID[..12]).unwrap_err();
        assert!(several.message.starts_with("more than one container is"), "{several}");
        assert!(found(OTHER).unwrap().ends_with(OTHER));
    }

    #[test]
    fn a_number_that_another_process_has_by_now_is_nobodys() {
        let own = std::process::id().cast_signed();
        let started = start_time(own.unsigned_abs()).unwrap().unwrap();
        let mount = Path::new("/sys/fs/cgroup/none");
        let first = |first| {
            running(
                "box",
                &Container {
                    first: Some(first),
                    ..Container::default()
                },
                mount,
            )
        };
        assert_eq!(first((own, Some(started + 1))), None);
        assert_eq!(first((own, None)), None);
        // Where this test is in a cgroup of its own, it is found.
        assert_eq!(first((own, Some(started))), process::of(own, mount).ok());
    }
}
