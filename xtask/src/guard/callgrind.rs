//! Runs a program under valgrind's callgrind, and reads how much it did.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};

/// What a program did: instructions in user space, and pieces of memory asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) instructions: u64,
    pub(super) allocations: u64,
}

/// The functions of libc that give memory. The standard library calls no others.
const ALLOCATE: [&str; 5] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc"];

/// How long a run may take, in seconds. The longest takes ten.
const PATIENCE: &str = "300";

/// Returns the command that runs `program` and counts into `out`.
pub(super) fn callgrind(program: &Path, out: &Path) -> Command {
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=60", PATIENCE])
        .args(["valgrind", "--tool=callgrind", "--quiet", "--compress-strings=no"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program);
    command
}

/// Returns what the program counted into `out` did, from start to end.
pub(super) fn read(out: &Path) -> Result<Counts> {
    let text = fs::read_to_string(out).with_context(|| format!("read {}", out.display()))?;
    counts(&text).with_context(|| format!("{} has no sum", out.display()))
}

/// The format is callgrind's: `cfn=` names a function that is called, `calls=` in the next lines says how often, and `totals:`
/// ends the file.
fn counts(text: &str) -> Option<Counts> {
    let (mut instructions, mut allocations, mut gives) = (None, 0, false);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("cfn=") {
            gives = ALLOCATE.contains(&name);
        } else if let Some(rest) = line.strip_prefix("calls=") {
            let times: u64 = rest.split(' ').next()?.parse().ok()?;
            allocations += if gives { times } else { 0 };
        } else if let Some(sum) = line.strip_prefix("totals: ") {
            instructions = sum.trim().parse().ok();
        }
    }
    Some(Counts {
        instructions: instructions?,
        allocations,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_for_memory_are_counted() {
        let text = "events: Ir\nfn=main\ncfi=malloc.c\ncfn=malloc\ncalls=3 16 \n18 90\ncfn=free\ncalls=7 16\n1 70\n
fn=other\ncfn=realloc\ncalls=2 16\n9 9\ncfn=malloc\ncalls=1 16\n9 9\n\ntotals: 12345\n";
        let expected = Counts {
            instructions: 12345,
            allocations: 6,
        };
        assert_eq!(counts(text), Some(expected));
        assert_eq!(counts("fn=main\n"), None);
    }
}
