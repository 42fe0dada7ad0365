//! What the goals found: one table of what is reached and what is not, the raw rounds below it, and the same as JSON.

use serde_json::{Value, json};

use super::run::Remarks;
use super::stats::{median, ratio, short};

/// One kind of work, and how its contestants did.
pub(crate) struct Row {
    /// `G3`.
    pub(crate) goal: &'static str,
    /// `HTTPS/1.1 0 B, c = 64`.
    pub(crate) work: String,
    /// What the rounds count: `us CPU/request`.
    pub(crate) unit: &'static str,
    /// The first that is ours is judged.
    pub(crate) contestants: Vec<Samples>,
    pub(crate) aim: Aim,
    /// Said below the table.
    pub(crate) notes: Vec<String>,
}

/// One contestant's rounds, in the order in which they were measured.
pub(crate) struct Samples {
    pub(crate) name: String,
    pub(crate) role: Role,
    /// None: the contestant is missing.
    pub(crate) rounds: Vec<f64>,
    /// Other figures of the same rounds, such as requests a second.
    pub(crate) also: Vec<(&'static str, Vec<f64>)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Ours,
    Peer,
    /// What nobody can be better than: the work without a proxy, an empty process.
    Limit,
}

#[derive(Clone, Copy)]
pub(crate) enum Aim {
    AtMost {
        ratio: f64,
        to: &'static str,
    },
    AtLeast {
        ratio: f64,
        to: &'static str,
    },
    /// In the row's unit.
    AtMostAbsolute(f64),
    /// No goal of its own.
    Shown,
}

impl Samples {
    pub(crate) fn new(name: impl Into<String>, role: Role, rounds: Vec<f64>) -> Samples {
        Samples {
            name: name.into(),
            role,
            rounds,
            also: Vec::new(),
        }
    }

    /// One that could not be had.
    pub(crate) fn missing(name: impl Into<String>, role: Role) -> Samples {
        Samples::new(name, role, Vec::new())
    }

    /// `12.1 (11.8..14.0)`.
    pub(super) fn short(&self) -> String {
        if self.rounds.is_empty() {
            return "missing".into();
        }
        let (least, most) = self.spread();
        format!("{} ({}..{})", short(median(&self.rounds)), short(least), short(most))
    }

    pub(super) fn spread(&self) -> (f64, f64) {
        let least = self.rounds.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

impl Row {
    fn ours(&self) -> Option<&Samples> {
        self.contestants.iter().find(|one| one.role == Role::Ours)
    }

    /// What the aim compares with; the first peer or limit where there is no aim.
    pub(super) fn compared_with(&self) -> Option<&Samples> {
        match self.aim {
            Aim::AtMost { to, .. } | Aim::AtLeast { to, .. } => self.contestants.iter().find(|one| one.name == to),
            Aim::AtMostAbsolute(_) => None,
            Aim::Shown => {
                let other = |role| self.contestants.iter().find(|one| one.role == role);
                other(Role::Peer).or(other(Role::Limit))
            }
        }
    }

    fn ratio(&self) -> Option<f64> {
        ratio(&self.ours()?.rounds, &self.compared_with()?.rounds)
    }

    /// None where there is no aim, or nothing to judge it by.
    pub(super) fn met(&self) -> Option<bool> {
        match self.aim {
            Aim::AtMost { ratio, .. } => Some(self.ratio()? <= ratio),
            Aim::AtLeast { ratio, .. } => Some(self.ratio()? >= ratio),
            Aim::AtMostAbsolute(bound) => {
                let ours = &self.ours()?.rounds;
                (!ours.is_empty()).then(|| median(ours) <= bound)
            }
            Aim::Shown => None,
        }
    }

    fn goal_in_words(&self) -> String {
        match self.aim {
            Aim::AtMost { ratio, to } => format!("<= {ratio}x {to}"),
            Aim::AtLeast { ratio, to } => format!(">= {ratio}x {to}"),
            Aim::AtMostAbsolute(bound) => format!("<= {bound}"),
            Aim::Shown => "-".into(),
        }
    }

    fn cells(&self) -> [String; 8] {
        let of = |role| {
            let named = |one: &Samples| format!("{} {}", one.name, one.short());
            let with: Vec<String> = self
                .contestants
                .iter()
                .filter(|one| one.role == role)
                .map(named)
                .collect();
            with.join("; ")
        };
        let to = self.compared_with().map_or("", |one| &one.name);
        [
            self.goal.to_owned(),
            format!("{}: {}", self.work, self.unit),
            of(Role::Ours),
            of(Role::Peer),
            of(Role::Limit),
            self.ratio().map_or("-".into(), |ratio| format!("{ratio:.2}x {to}")),
            self.goal_in_words(),
            match self.met() {
                Some(true) => "yes".into(),
                Some(false) => "no".into(),
                None if matches!(self.aim, Aim::Shown) => "-".into(),
                None => "not measured".into(),
            },
        ]
    }
}

/// The table, which is Markdown, and all that it was made of.
pub(super) fn text(rows: &[Row], remarks: &Remarks, failed: &[String]) -> String {
    let mut text = table(rows);
    for row in rows {
        for note in &row.notes {
            text += &format!("- {} {}: {note}\n", row.goal, row.work);
        }
    }
    for failed in failed {
        text += &format!("- not measured: {failed}\n");
    }
    let quick = if remarks.quick {
        " (quick: too little to judge by)"
    } else {
        ""
    };
    text += &format!(
        "\n{} rounds{quick}; medians (least..most); a ratio is the median of each round's ratio\n\nRounds, in their order:\n",
        remarks.rounds
    );
    for row in rows {
        text += &format!("{} {}\n", row.goal, row.work);
        for one in &row.contestants {
            text += &format!("  {}: {} {}\n", one.name, row.unit, list(&one.rounds));
            for (figure, rounds) in &one.also {
                text += &format!("    {figure} {}\n", list(rounds));
            }
        }
    }
    text += &format!("\nVersions:\n  {}\n", remarks.versions.join("\n  "));
    text + &format!("\nCommands:\n  {}\n", remarks.commands.join("\n  "))
}

fn list(rounds: &[f64]) -> String {
    if rounds.is_empty() {
        return "missing".into();
    }
    rounds.iter().copied().map(short).collect::<Vec<_>>().join(" ")
}

fn table(rows: &[Row]) -> String {
    let head = ["goal", "work", "ours", "peers", "limit", "ratio", "aim", "met"].map(str::to_owned);
    let lines: Vec<[String; 8]> = std::iter::once(head).chain(rows.iter().map(Row::cells)).collect();
    let widths: [usize; 8] = std::array::from_fn(|at| {
        let width = |line: &[String; 8]| line[at].chars().count();
        lines.iter().map(width).max().unwrap_or(0)
    });
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            text += &format!("| {cell:width$} ");
        }
        text += "|\n";
        if number == 0 {
            text += &widths.map(|width| format!("|{}", "-".repeat(width + 2))).concat();
            text += "|\n";
        }
    }
    text
}

/// All figures, for other programs.
pub(super) fn json(rows: &[Row], remarks: &Remarks) -> String {
    let samples = |one: &Samples| {
        let also: serde_json::Map<String, Value> = one
            .also
            .iter()
            .map(|(name, rounds)| ((*name).to_owned(), json!(rounds)))
            .collect();
        let role = match one.role {
            Role::Ours => "ours",
            Role::Peer => "peer",
            Role::Limit => "limit",
        };
        json!({ "name": one.name, "role": role, "rounds": one.rounds, "also": also })
    };
    let row = |row: &Row| {
        json!({
            "goal": row.goal,
            "work": row.work,
            "unit": row.unit,
            "contestants": row.contestants.iter().map(samples).collect::<Vec<_>>(),
            "ratio": row.ratio(),
            "to": row.compared_with().map(|one| &one.name),
            "aim": row.goal_in_words(),
            "met": row.met(),
            "notes": row.notes,
        })
    };
    let all = json!({
        "rounds": remarks.rounds,
        "quick": remarks.quick,
        "versions": remarks.versions,
        "commands": remarks.commands,
        "rows": rows.iter().map(row).collect::<Vec<_>>(),
    });
    format!("{all:#}\n")
}

#[cfg(test)]
mod tests;
