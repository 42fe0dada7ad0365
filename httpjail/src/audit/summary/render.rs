//! Renders a summary as a table, JSON, or Markdown. Its text was escaped when it was counted.

use std::cmp::Reverse;
use std::fmt::Write as _;

use serde_json::json;

use super::{Cause, Counts, Group, Host, Named, Slow, Summary, SummaryForm};
use crate::audit::format::safe_json;

/// Rows of one table. JSON has all of them.
const ROWS_MAX: usize = 15;

impl Summary {
    /// Returns the summary's text, which ends in a newline.
    pub(crate) fn text(&self, form: SummaryForm) -> String {
        match form {
            SummaryForm::Table => self.table(),
            SummaryForm::Json => self.json(),
            SummaryForm::Github => self.markdown(),
        }
    }

    fn headline(&self) -> String {
        let Counts {
            allowed,
            failed,
            denied,
        } = self.requests;
        let mut text = format!("{} allowed", count(allowed, "request"));
        if failed > 0 {
            let _ = write!(text, ", {failed} failed");
        }
        let _ = write!(text, ", {denied} denied");
        for (number, what) in [(self.refused, "connection"), (self.dns, "DNS question")] {
            if number > 0 {
                let _ = write!(text, "; {} refused", count(number, what));
            }
        }
        if self.blocked > 0 {
            let _ = write!(text, "; {} blocked", count(self.blocked, "other attempt"));
        }
        let _ = write!(
            text,
            "; {} sent, {} received",
            bytes(self.bytes_in),
            bytes(self.bytes_out)
        );
        text
    }

    fn table(&self) -> String {
        let mut text = self.headline() + "\n";
        for table in self.tables() {
            text += "\n";
            text += &table.aligned();
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = format!("### httpjail\n\n{}\n", self.headline());
        for table in self.tables() {
            text += "\n";
            text += &table.markdown();
        }
        text
    }

    fn tables(&self) -> Vec<Table> {
        let groups = |named: &Named<Cause, Group>, what, why| {
            Table::new(
                [(what, false), ("host", true), (why, true), ("such as", true)],
                named.by_count().into_iter().map(|(cause, group)| {
                    let why = cause.rule.clone().or(cause.reason.clone()).unwrap_or_default();
                    [
                        group.count.to_string(),
                        cause.host.clone(),
                        why,
                        group.example.clone().unwrap_or_default(),
                    ]
                }),
                named.others,
            )
        };
        let denials = groups(&self.denials, "denied", "by");
        let failures = groups(&self.failures, "failed", "why");
        let mut hosts = Table::new(
            [
                ("allowed", false),
                ("failed", false),
                ("denied", false),
                ("sent", false),
                ("received", false),
                ("host", true),
            ],
            self.hosts().into_iter().map(|(name, host)| {
                let [allowed, failed, denied] = host.requests.in_words();
                let (sent, received) = (bytes(host.bytes_in), bytes(host.bytes_out));
                [allowed, failed, denied, sent, received, name.clone()]
            }),
            self.hosts.others,
        );
        let mut programs = Table::new(
            [
                ("allowed", false),
                ("failed", false),
                ("denied", false),
                ("program", true),
            ],
            self.programs().into_iter().map(|(name, counts)| {
                let [allowed, failed, denied] = counts.in_words();
                [allowed, failed, denied, name.clone()]
            }),
            self.programs.others,
        );
        if self.requests.failed == 0 {
            // Without a failure the column is not needed.
            hosts.drop_column(1);
            programs.drop_column(1);
        }
        let slowest = Table::new(
            [("took", false), ("slowest", true)],
            self.slowest
                .iter()
                .map(|Slow { milliseconds, what }| [time(*milliseconds), what.clone()]),
            0,
        );
        [denials, failures, hosts, programs, slowest]
            .into_iter()
            .filter(|table| !table.rows.is_empty())
            .collect()
    }

    fn json(&self) -> String {
        let counts =
            |counts: Counts| json!({ "allowed": counts.allowed, "failed": counts.failed, "denied": counts.denied });
        let value = json!({
            "requests": counts(self.requests),
            "connections_refused": self.refused,
            "dns_refused": self.dns,
            "blocked": self.blocked,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "denials": self.denials.by_count().iter().map(|(cause, group)| json!({
                "count": group.count, "host": cause.host, "rule": cause.rule, "reason": cause.reason, "example": group.example,
            })).collect::<Vec<_>>(),
            "failures": self.failures.by_count().iter().map(|(cause, group)| json!({
                "count": group.count, "host": cause.host, "failure": cause.reason, "example": group.example,
            })).collect::<Vec<_>>(),
            "hosts": self.hosts().iter().map(|(name, host)| json!({
                "host": name, "requests": counts(host.requests), "bytes_in": host.bytes_in, "bytes_out": host.bytes_out,
            })).collect::<Vec<_>>(),
            "programs": self.programs().iter().map(|(name, requests)| json!({
                "program": name, "requests": counts(**requests),
            })).collect::<Vec<_>>(),
            "slowest": self.slowest.iter().map(|Slow { milliseconds, what }| json!({
                "duration_ms": milliseconds.round(), "request": what,
            })).collect::<Vec<_>>(),
            // How often a name did not fit.
            "not_listed": {
                "denials": self.denials.others, "failures": self.failures.others, "hosts": self.hosts.others,
                "programs": self.programs.others,
            },
        });
        safe_json(&value) + "\n"
    }

    fn hosts(&self) -> Vec<(&String, &Host)> {
        let mut hosts: Vec<_> = self.hosts.kept.iter().collect();
        hosts.sort_by_key(|(_, host)| Reverse((host.requests.denied, host.requests.failed, host.requests.allowed)));
        hosts
    }

    fn programs(&self) -> Vec<(&String, &Counts)> {
        let mut programs: Vec<_> = self.programs.kept.iter().collect();
        programs.sort_by_key(|(_, counts)| Reverse((counts.denied, counts.failed, counts.allowed)));
        programs
    }
}

impl Named<Cause, Group> {
    /// Returns the groups, the largest first.
    fn by_count(&self) -> Vec<(&Cause, &Group)> {
        let mut groups: Vec<_> = self.kept.iter().collect();
        groups.sort_by_key(|(_, group)| Reverse(group.count));
        groups
    }
}

impl Counts {
    /// Returns allowed, failed, denied.
    fn in_words(self) -> [String; 3] {
        [self.allowed, self.failed, self.denied].map(|count| count.to_string())
    }
}

/// A table of text.
struct Table {
    /// Each column's name, and whether it is aligned to the left.
    columns: Vec<(&'static str, bool)>,
    rows: Vec<Vec<String>>,
    /// The line below the table about rows that are not in it.
    more: Option<String>,
}

impl Table {
    fn new<const N: usize>(
        columns: [(&'static str, bool); N],
        rows: impl ExactSizeIterator<Item = [String; N]>,
        others: u64,
    ) -> Table {
        let hidden = rows.len().saturating_sub(ROWS_MAX);
        let more = match (hidden, others) {
            (0, 0) => None,
            (hidden, 0) => Some(format!("and {hidden} more")),
            (hidden, others) => Some(format!(
                "and {hidden} more, and {} not told apart",
                count(others, "other")
            )),
        };
        Table {
            columns: columns.into(),
            rows: rows.take(ROWS_MAX).map(Into::into).collect(),
            more,
        }
    }

    fn drop_column(&mut self, column: usize) {
        self.columns.remove(column);
        for row in &mut self.rows {
            row.remove(column);
        }
    }

    fn aligned(&self) -> String {
        let head: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let all = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for row in all() {
            let mut line = String::new();
            for ((cell, width), (_, left)) in row.iter().zip(&widths).zip(&self.columns) {
                line += "  ";
                let _ = match left {
                    true => write!(line, "{cell:<width$}"),
                    false => write!(line, "{cell:>width$}"),
                };
            }
            text += line.trim_end();
            text += "\n";
        }
        if let Some(more) = &self.more {
            let _ = writeln!(text, "  {more}");
        }
        text
    }

    fn markdown(&self) -> String {
        let mut text = String::new();
        let names: Vec<&str> = self.columns.iter().map(|(name, _)| *name).collect();
        let marks: Vec<&str> = self
            .columns
            .iter()
            .map(|(_, left)| if *left { ":--" } else { "--:" })
            .collect();
        let _ = writeln!(text, "| {} |\n| {} |", names.join(" | "), marks.join(" | "));
        for row in &self.rows {
            let cells: Vec<String> = row
                .iter()
                .zip(&self.columns)
                .map(|(cell, (_, left))| if *left { code(cell) } else { cell.clone() })
                .collect();
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        if let Some(more) = &self.more {
            let _ = writeln!(text, "\n{more}");
        }
        text
    }
}

/// Returns untrusted text as code, so that it becomes neither a link nor markup. A pipe ends a cell even in code (GFM section 4.10).
fn code(text: &str) -> String {
    match text.is_empty() {
        true => String::new(),
        false => format!("`{}`", text.replace('`', "'").replace('|', "\\|")),
    }
}

fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

fn bytes(number: u64) -> String {
    let mut value = number as f64;
    for unit in ["B", "KB", "MB", "GB"] {
        if value < 1000.0 {
            return if unit == "B" {
                format!("{value} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

fn time(milliseconds: f64) -> String {
    match milliseconds {
        short if short < 1000.0 => format!("{short:.0} ms"),
        long => format!("{:.1} s", long / 1000.0),
    }
}
