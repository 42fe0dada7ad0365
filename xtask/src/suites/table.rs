//! A suite's result: a title, rows of cells, and for each row whether it is as it must be.

use std::fmt;

/// What a suite prints.
#[derive(Debug)]
pub(crate) struct Table {
    title: &'static str,
    head: Vec<String>,
    rows: Vec<(Vec<String>, bool)>,
    notes: Vec<String>,
}

impl Table {
    /// An empty one.
    pub(crate) fn new<S: Into<String>>(title: &'static str, head: impl IntoIterator<Item = S>) -> Self {
        Table {
            title,
            head: head.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a row that is as it must be, or not.
    pub(crate) fn row<S: Into<String>>(&mut self, good: bool, cells: impl IntoIterator<Item = S>) {
        self.rows.push((cells.into_iter().map(Into::into).collect(), good));
    }

    /// Adds a line below the table.
    pub(crate) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// How many rows are not as they must be.
    pub(crate) fn faults(&self) -> usize {
        self.rows.iter().filter(|(_, good)| !good).count()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = || std::iter::once(&self.head).chain(self.rows.iter().map(|(cells, _)| cells));
        let columns = lines().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = lines().filter_map(|line| line.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let line = |cells: &[String]| {
            let padded: Vec<String> = cells
                .iter()
                .zip(&widths)
                .map(|(cell, width)| format!("{cell:width$}"))
                .collect();
            padded.join("  ").trim_end().to_owned()
        };
        writeln!(out, "{}", self.title)?;
        writeln!(out, "       {}", line(&self.head))?;
        for (cells, good) in &self.rows {
            writeln!(out, "{}  {}", if *good { "ok   " } else { "FAULT" }, line(cells))?;
        }
        for note in &self.notes {
            writeln!(out, "       {note}")?;
        }
        Ok(())
    }
}
