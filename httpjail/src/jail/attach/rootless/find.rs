//! Finds a rootless container of the caller's: by the process that watches it for podman (conmon), whose command line has the
//! container's id and name and the file with the number of its first process.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use nix::unistd::{Pid, geteuid};

use crate::failure::Failure;

/// What conmon's command line tells.
#[derive(Debug, PartialEq, Eq)]
struct Watched {
    id: String,
    name: String,
    pid_file: String,
}

/// Returns the first process of the container `wanted`: its id, how that begins, or its name.
///
/// # Errors
/// When there is none, or more than one.
pub(super) fn first_process(wanted: &str) -> Result<Pid, Failure> {
    let all: Vec<Watched> = watchers().iter().filter_map(|words| watched(words)).collect();
    let pick = |fits: &dyn Fn(&Watched) -> bool| all.iter().filter(|one| fits(one)).collect::<Vec<_>>();
    let exact = pick(&|one| one.id == wanted || one.name == wanted);
    let found = match exact.is_empty() {
        true => pick(&|one| !wanted.is_empty() && one.id.starts_with(wanted)),
        false => exact,
    };
    let shown = wanted.escape_debug();
    match found.as_slice() {
        [] => Err(Failure {
            hint: Some("`podman ps` lists yours; those of root's engines need sudo".into()),
            ..Failure::new(format!("none of your running containers is called {shown}"))
        }),
        [one] => fs::read_to_string(&one.pid_file)
            .ok()
            .and_then(|text| text.trim().parse().ok())
            .map(Pid::from_raw)
            .ok_or_else(|| {
                Failure::new(format!(
                    "cannot read the process of the container {shown} from {}",
                    one.pid_file
                ))
            }),
        several => Err(Failure::new(format!(
            "{} of your containers are called {shown}: {}",
            several.len(),
            several.iter().map(|one| one.id.as_str()).collect::<Vec<_>>().join(", ")
        ))),
    }
}

/// The command lines of the caller's processes of that name. A process of a container could call itself that, but is in another PID
/// namespace.
fn watchers() -> Vec<Vec<String>> {
    let user = geteuid().as_raw();
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let of_caller = |path: &Path| {
        let is_his = fs::metadata(path).is_ok_and(|found| found.uid() == user);
        is_his && fs::read_link(path.join("ns/pid")).ok() == own
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| {
        let words = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let words: Vec<String> = words.split('\0').map(str::to_owned).collect();
        let is_watcher = Path::new(words.first()?).file_name()? == "conmon";
        (is_watcher && of_caller(&entry.path())).then_some(words)
    });
    lines.collect()
}

fn watched(words: &[String]) -> Option<Watched> {
    let value = |option: &str| {
        let at = words.iter().position(|word| word == option)?;
        words.get(at + 1).cloned()
    };
    Some(Watched {
        id: value("-c")?,
        name: value("-n").unwrap_or_default(),
        pid_file: value("-p")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conmon_tells_which_container_it_watches() {
        let line = "/usr/bin/conmon --api-version 1 -c 0123ab -u 0123ab -r /usr/bin/crun -b /b -p /run/user/1/pidfile -n web --exit-dir /e";
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let expected = Watched {
            id: "0123ab".into(),
            name: "web".into(),
            pid_file: "/run/user/1/pidfile".into(),
        };
        assert_eq!(watched(&words), Some(expected));
        assert_eq!(watched(&words[..3]), None);
    }
}
