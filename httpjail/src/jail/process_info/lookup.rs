//! Reads in `/proc` which program a process runs, with which arguments, and its ancestors.

use std::fs::{self, File};
use std::io::Read as _;

use crate::net::{Ancestor, Program};

/// How many bytes of a command line are reported.
const CMDLINE_BYTES: usize = 1024;

/// How many ancestors are reported.
const PARENTS_MAX: usize = 8;

/// Returns which program `pid` runs. `words` reads its command line. `ancestors` returns the ancestors of a jailed process,
/// nearest first. It is called last: if the id has been given to another process meanwhile, that one is not the jail's.
pub(crate) fn look(
    pid: u32,
    words: impl FnOnce(u32) -> Option<String>,
    ancestors: impl FnOnce(u32) -> Option<Vec<u32>>,
) -> Option<Program> {
    let (exe, cmdline) = (exe(pid), words(pid));
    let parents = ancestors(pid)?.into_iter().take(PARENTS_MAX).map(|pid| Ancestor {
        pid,
        name: exe_or_comm(pid),
    });
    Some(Program {
        exe,
        cmdline,
        parents: parents.collect(),
    })
}

fn exe_or_comm(pid: u32) -> String {
    exe(pid).or_else(|| comm(pid)).unwrap_or_default()
}

fn exe(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    Some(path.to_string_lossy().into_owned())
}

/// The name of a process's first thread.
pub(crate) fn comm(pid: u32) -> Option<String> {
    let comm = read::<64>(pid, "comm")?;
    Some(String::from_utf8_lossy(&comm).trim_end().to_owned())
}

/// The fourth field of `/proc/PID/stat` (proc(5)). The second may hold anything, blanks and brackets too.
pub(crate) fn parent(pid: u32) -> Option<u32> {
    let stat = read::<512>(pid, "stat")?;
    let stat = String::from_utf8_lossy(&stat);
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

/// Returns the command line (proc_pid_cmdline(5)): a NUL after each argument, unless the process has overwritten them. May
/// block ([`super::cmdline_reader`]).
pub(crate) fn cmdline(pid: u32) -> Option<String> {
    let bytes = read::<{ CMDLINE_BYTES + 1 }>(pid, "cmdline")?;
    Some(words(&bytes)).filter(|line| !line.is_empty())
}

/// Returns the beginning of a file of `/proc/PID`, in one read.
pub(crate) fn read<const ROOM: usize>(pid: u32, name: &str) -> Option<Vec<u8>> {
    let mut bytes = [0; ROOM];
    let length = File::open(format!("/proc/{pid}/{name}")).ok()?.read(&mut bytes).ok()?;
    bytes.get(..length).map(<[u8]>::to_vec)
}

fn words(bytes: &[u8]) -> String {
    let (bytes, cut) = match bytes.get(..CMDLINE_BYTES) {
        Some(start) if bytes.len() > CMDLINE_BYTES => (start, "…"),
        _ => (bytes, ""),
    };
    let line = String::from_utf8_lossy(bytes).replace('\0', " ");
    line.trim_end().to_owned() + cut
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_one_of_some_length() {
        assert_eq!(words(b"curl\0-sS\0https://a.test/\0"), "curl -sS https://a.test/");
        assert_eq!(words(b"npm install"), "npm install");
        assert_eq!(words(b""), "");
        assert_eq!(words(&[b'x'; 2000]), "x".repeat(1024) + "…");
    }

    // Proves: P18.
    #[test]
    fn only_those_inside_are_told_of() {
        let own = std::process::id();
        let program = look(own, cmdline, |pid| (pid == own).then(Vec::new)).unwrap();
        assert_eq!(
            program.exe,
            std::env::current_exe().unwrap().to_str().map(str::to_owned)
        );
        assert!(program.cmdline.unwrap().starts_with(&std::env::args().next().unwrap()));
        assert_eq!(look(own, cmdline, |_| None), None);
    }
}
