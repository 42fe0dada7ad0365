//! The table of an engine's trials, and by what a row is decided: the lab's origin and its wire.

use httpjail_lab::{JailBuilder, Lab, Outcome};

use crate::suites::table::Table;

/// A table that grows.
pub(crate) struct Rows<'lab> {
    engine: &'static str,
    lab: &'lab Lab,
    table: Table,
}

impl<'lab> Rows<'lab> {
    /// An empty one.
    pub(crate) fn new(engine: &'static str, lab: &'lab Lab) -> Self {
        let table = Table::new("Containers", ["engine", "what", "seen", "status"]);
        Rows { engine, lab, table }
    }

    /// All rows.
    pub(crate) fn table(self) -> Table {
        self.table
    }

    /// Some trials that could not be made.
    pub(crate) fn fault(&mut self, what: &str, error: &anyhow::Error) {
        self.table.row(false, [self.engine, what, &format!("{error:#}"), ""]);
    }

    /// How many requests whose path has the mark got to the origin.
    pub(crate) fn arrived(&self, mark: &str) -> usize {
        self.lab.heard().requests.filter(|seen| seen.path.contains(mark)).len()
    }

    /// A row; what was said, if it is not as it must be.
    pub(crate) fn row(&mut self, what: &str, good: bool, seen: String, outcome: &Outcome) {
        self.table.row(
            good,
            [
                self.engine.to_owned(),
                what.to_owned(),
                seen,
                outcome.status.to_string(),
            ],
        );
        if !good {
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            let tail: Vec<&str> = said.lines().rev().take(6).collect();
            for line in tail.iter().rev() {
                self.table.note(format!("{what}: {line}"));
            }
        }
    }

    /// The request arrives once and nobody complains.
    pub(crate) fn arrives(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        let count = self.arrived(mark);
        let complaint = outcome.stderr.to_ascii_lowercase().contains("certificate");
        self.row(
            what,
            count > 0 && !complaint,
            format!("{count} at the origin"),
            &outcome,
        );
    }

    /// Nothing with the mark gets to the wire, though the container runs.
    pub(crate) fn silent(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        // What engines end with when they start nothing.
        let ran = !matches!(outcome.code(), None | Some(125..=127));
        self.quiet(what, mark, ran, &outcome);
    }

    /// The same of one that need not run.
    pub(crate) fn stopped(&mut self, what: &str, mark: &str, run: JailBuilder<'_>) {
        let outcome = run.run();
        self.quiet(what, mark, true, &outcome);
    }

    fn quiet(&mut self, what: &str, mark: &str, ran: bool, outcome: &Outcome) {
        let nothing = self.arrived(mark) == 0 && !self.lab.wire().saw(mark);
        let seen = match (nothing, ran) {
            (true, true) => "nothing",
            (true, false) => "did not start",
            _ => "ON THE WIRE",
        };
        self.row(what, nothing && ran, seen.to_owned(), outcome);
    }
}
