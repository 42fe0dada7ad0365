//! From what the guests printed to a table: kernel, way, topic, how many passed, failed and were skipped.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::boot::Results;
use super::kernels::Kernel;

/// All that was found out.
#[derive(Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
    bad: Vec<String>,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Row {
    kernel: String,
    way: String,
    topic: String,
    seconds: u64,
    passed: usize,
    skipped: usize,
    failed: Vec<String>,
    note: String,
}

impl Table {
    /// A way that httpjail does not promise on this kernel.
    pub(crate) fn not_promised(&mut self, kernel: &Kernel, way: &str) {
        self.rows.push(Row {
            kernel: kernel.release.clone(),
            way: way.into(),
            note: "not promised on this kernel".into(),
            ..Row::default()
        });
    }

    /// What one boot gave.
    pub(crate) fn add(&mut self, kernel: &Kernel, results: &Results) {
        let rows = rows(&kernel.release, &results.told);
        for row in &rows {
            let what = format!("{} {} {}", row.kernel, row.way, row.topic);
            self.bad
                .extend(row.failed.iter().map(|name| format!("{what}: {name} failed")));
            if !row.note.is_empty() {
                self.bad.push(format!("{what}: {}", row.note));
            }
        }
        if !results.done {
            self.bad
                .push(format!("{}: the guest did not come to its end", kernel.release));
        }
        let faults = results.faults.iter();
        self.bad
            .extend(faults.map(|line| format!("{}: the kernel's log: {line}", kernel.release)));
        for line in results.told.lines().filter_map(|line| line.strip_prefix("VM-TELL ")) {
            eprintln!("vm: {}: {line}", kernel.name);
        }
        self.rows.extend(rows);
    }

    /// Whether nothing was wrong.
    pub(crate) fn is_good(&self) -> bool {
        self.bad.is_empty()
    }

    /// Prints it all; an error if anything was wrong.
    pub(crate) fn print(&self) -> Result<()> {
        println!(
            "{:24} {:9} {:32} {:>6} {:>6} {:>7} {:>6}",
            "kernel", "way", "topic", "passed", "failed", "skipped", "s"
        );
        let mut sums: BTreeMap<(&str, &str), (usize, usize, usize)> = BTreeMap::new();
        for row in &self.rows {
            println!(
                "{:24} {:9} {:32} {:>6} {:>6} {:>7} {:>6}  {}",
                row.kernel,
                row.way,
                row.topic,
                row.passed,
                row.failed.len(),
                row.skipped,
                row.seconds,
                row.note
            );
            let sum = sums.entry((&row.kernel, &row.way)).or_default();
            *sum = (sum.0 + row.passed, sum.1 + row.failed.len(), sum.2 + row.skipped);
        }
        println!();
        for ((kernel, way), (passed, failed, skipped)) in sums {
            println!("{kernel} x {way}: {passed} passed, {failed} failed, {skipped} skipped");
        }
        if self.bad.is_empty() {
            return Ok(());
        }
        bail!("{}", self.bad.join("\n"))
    }
}

/// A row a line of the plan.
fn rows(kernel: &str, told: &str) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut open = false;
    for line in told.lines() {
        if let Some(begun) = line.strip_prefix("VM-RUN ") {
            let (way, topic) = begun.split_once(' ').unwrap_or((begun, ""));
            rows.push(Row {
                kernel: kernel.into(),
                way: way.into(),
                topic: topic.into(),
                note: "cut short".into(),
                ..Row::default()
            });
            open = true;
        } else if let Some(row) = rows.last_mut().filter(|_| open) {
            if let Some(ended) = line.strip_prefix("VM-END ") {
                let mut numbers = ended.split(' ').map(|number| number.parse::<u64>().unwrap_or(u64::MAX));
                let status = numbers.next().unwrap_or(u64::MAX);
                row.seconds = numbers.next().unwrap_or(0);
                row.note = match status {
                    0 => String::new(),
                    124 | 137 => "did not end in time".into(),
                    _ if row.failed.is_empty() => format!("ended with {status}"),
                    _ => String::new(),
                };
                if row.passed + row.failed.len() + row.skipped == 0 && row.note.is_empty() {
                    row.note = "no test ran".into();
                }
                open = false;
            } else {
                count(row, line);
            }
        }
    }
    rows
}

/// One line of the test program's.
fn count(row: &mut Row, line: &str) {
    if line.starts_with("skipped: ") {
        // Counted as passed as well, by a program that knows nothing of skips.
        row.skipped += 1;
        row.passed = row.passed.saturating_sub(1);
        return;
    }
    let Some((name, result)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ")) else {
        return;
    };
    match result.split_whitespace().next() {
        Some("ok") => row.passed += 1,
        Some("FAILED") => row.failed.push(name.into()),
        Some("ignored") => row.skipped += 1,
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::{Row, rows};

    #[test]
    fn a_topic_is_counted_and_one_that_hangs_is_said() {
        let told = "VM-RUN ebpf escapes\nrunning 3 tests\ntest escapes::tcp ... ok\ntest escapes::udp ... FAILED\n\
                    test escapes::sctp ... ok\nskipped: no sctp\nVM-END 101 17\n\
                    VM-RUN netns dns\ntest dns::one ... ok\n";
        let row = |way: &str, topic: &str| Row {
            kernel: "6.1".into(),
            way: way.into(),
            topic: topic.into(),
            passed: 1,
            ..Row::default()
        };
        let first = Row {
            seconds: 17,
            skipped: 1,
            failed: vec!["escapes::udp".into()],
            ..row("ebpf", "escapes")
        };
        let second = Row {
            note: "cut short".into(),
            ..row("netns", "dns")
        };
        assert_eq!(rows("6.1", told), [first, second]);
    }

    #[test]
    fn nothing_run_is_no_success() {
        let told = "VM-RUN ebpf escapes\nrunning 0 tests\nVM-END 0 1\n";
        assert_eq!(rows("6.1", told)[0].note, "no test ran");
    }
}
