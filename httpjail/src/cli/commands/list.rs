//! `httpjail list`: the runs of the user who asks.

use std::fmt::Write as _;

use jiff::Timestamp;

use crate::audit::printable;
use crate::cli::args::List;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::print;
use crate::control::client::{self, Found};
use crate::control::protocol::{Ask, Counted, Told};
use crate::failure::Failure;
use crate::logging;

const HEADS: [&str; 8] = ["NAME", "KIND", "PID", "SINCE", "REQUESTS", "DENIED", "POLICY", "HOLDS"];
type Row = [String; HEADS.len()];

/// Prints a table, or a JSON object a line. Returns the exit status.
///
/// # Errors
/// When sockets cannot be looked for, or nothing can be printed.
pub(crate) fn run(args: &List, caller: &InvokingUser) -> Result<i32, Failure> {
    let runs = counted(caller)?;
    let mut text = String::new();
    if args.json {
        for run in &runs {
            let line = serde_json::to_string(run);
            let line = line.map_err(|error| Failure::new(format!("cannot print {}: {error}", run.status.run.name)))?;
            text += &line;
            text.push('\n');
        }
        return print(&text);
    }
    let now = Timestamp::now();
    let rows: Vec<Row> = runs.iter().map(|run| row(run, now)).collect();
    let widths: [usize; HEADS.len()] = std::array::from_fn(|column| {
        let of_row = |row: &Row| row.get(column).map_or(0, |cell| cell.chars().count());
        let head = HEADS.get(column).map_or(0, |head| head.len());
        rows.iter().map(of_row).chain([head]).max().unwrap_or(0)
    });
    let heads = HEADS.map(str::to_owned);
    for row in std::iter::once(&heads).chain(&rows) {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to a string does not fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text += line.trim_end();
        text.push('\n');
    }
    print(&text)
}

/// Asks every run of this user how it is, and what it has counted. One that has ended meanwhile is passed over, one that does not answer is told of.
///
/// # Errors
/// When sockets cannot be looked for.
pub(super) fn counted(caller: &InvokingUser) -> Result<Vec<Counted>, Failure> {
    let answers = client::ask_all(found(caller)?, Ask::Counters);
    let told = answers.into_iter().filter_map(|(run, told)| match told {
        Ok(Told::Counters(counted)) => Some(*counted),
        Ok(_) => None,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            logging::warn(&format!("{}: {error}", run.name), None);
            None
        }
    });
    Ok(told.collect())
}

/// Finds the runs of this user.
///
/// # Errors
/// When sockets cannot be looked for.
pub(super) fn found(caller: &InvokingUser) -> Result<Vec<Found>, Failure> {
    client::all(&caller.identity.home)
        .map_err(|error| Failure::new(format!("cannot look for control sockets: {error}")))
}

fn row(counted: &Counted, now: Timestamp) -> Row {
    let (run, policy) = (&counted.status.run, &counted.status.policy);
    let (requests, denied) = counted.counts.totals();
    let file = policy.file.as_deref().unwrap_or("-");
    let failed = if policy.failure.is_some() {
        " (not reloaded)"
    } else {
        ""
    };
    [
        run.name.clone(),
        run.kind.name().to_owned(),
        run.pid.to_string(),
        since(&run.started, now),
        requests.to_string(),
        denied.to_string(),
        format!("{}{failed}", printable(file)),
        printable(&run.holds).into_owned(),
    ]
}

/// How long ago that was, in its largest unit.
fn since(started: &str, now: Timestamp) -> String {
    let seconds = started
        .parse::<Timestamp>()
        .map(|started| now.as_second().saturating_sub(started.as_second()).max(0));
    match seconds {
        Ok(seconds @ 0..120) => format!("{seconds}s"),
        Ok(seconds @ 0..7200) => format!("{}m", seconds / 60),
        Ok(seconds @ 0..172_800) => format!("{}h", seconds / 3600),
        Ok(seconds) => format!("{}d", seconds / 86_400),
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_long_ago_is_told_in_one_unit() {
        let now: Timestamp = "2026-01-10T00:00:00Z".parse().expect("a time");
        for (started, expected) in [
            ("2026-01-09T23:58:01.500Z", "119s"),
            ("2026-01-09T23:58:00Z", "2m"),
            ("2026-01-09T22:00:00Z", "2h"),
            ("2026-01-01T00:00:00Z", "9d"),
            ("2026-01-11T00:00:00Z", "0s"),
            ("soon", "?"),
        ] {
            assert_eq!(since(started, now), expected, "{started}");
        }
    }
}
