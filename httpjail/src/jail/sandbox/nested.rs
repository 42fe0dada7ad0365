//! Tells whether this process is in a jail already. A jail cannot be made in a jail: the filter does not let it write
//! the rules that steer, and a jailed root lacks the capabilities for programs on a cgroup.

use std::fs;

use crate::failure::Failure;

/// The source of the file system with a jail's own files, by which /proc/self/mountinfo tells a jail.
pub(crate) const SOURCE: &str = "httpjail";

/// Whether this process is in a jail of httpjail's. A sandbox in a jail that has mounts of its own may hide it.
pub(crate) fn is_within() -> bool {
    fs::read(MOUNTS).is_ok_and(|table| is_marked(&String::from_utf8_lossy(&table)))
}

/// What to say where one was to be made in it.
pub(crate) fn refusal() -> Failure {
    Failure {
        hint: Some("this process is jailed already; httpjail --weak adds rules to it".into()),
        ..Failure::new("cannot make a jail inside a jail")
    }
}

const MOUNTS: &str = "/proc/self/mountinfo";

fn is_marked(table: &str) -> bool {
    let systems = table.lines().filter_map(|line| line.split_once(" - "));
    systems
        .map(|(_, system)| system.split(' '))
        .any(|mut system| system.next() == Some("tmpfs") && system.next() == Some(SOURCE))
}

#[cfg(test)]
mod tests {
    use super::is_marked;

    #[test]
    fn a_jail_is_told_by_its_own_files() {
        let line = |source: &str| format!("36 35 0:31 / /run/x rw,nosuid - tmpfs {source} rw,size=64m\n");
        assert!(is_marked(&(line("tmpfs") + &line("httpjail"))));
        assert!(!is_marked(
            &(line("tmpfs") + "37 35 0:32 / /httpjail ro - ext4 httpjail rw\n")
        ));
        assert!(!is_marked(""));
    }
}
