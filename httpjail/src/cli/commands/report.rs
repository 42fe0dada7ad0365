//! `httpjail report LOG`: prints a summary of a JSON log.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write as _};
use std::path::Path;

use crate::audit::{Summary, read_line};
use crate::cli::args::Report;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::USAGE;
use crate::failure::Failure;
use crate::logging;

/// More of a line is not looked at: no record is as long.
const LINE_MAX: u64 = 4 << 20;

/// What was read of a log.
#[derive(Debug, Default)]
struct Reading {
    summary: Summary,
    records: u64,
    others: u64,
}

/// Prints the summary. Returns the exit status.
///
/// # Errors
/// When the log cannot be read, or is none.
pub(crate) fn run(args: &Report, caller: &InvokingUser) -> Result<i32, Failure> {
    let name = args.log.display();
    let usage = |error| Failure {
        status: USAGE,
        ..Failure::new(format!("cannot read {name}: {error}"))
    };
    let read = if args.log == Path::new("-") {
        read(io::stdin().lock())
    } else {
        let file = caller.act(|| File::open(&args.log)).flatten().map_err(usage)?;
        read(BufReader::new(file))
    };
    let Reading {
        summary,
        records,
        others,
    } = read.map_err(usage)?;
    if records == 0 && others > 0 {
        return Err(Failure {
            hint: Some("a log to report on is written with --log-format json".into()),
            status: USAGE,
            ..Failure::new(format!("{name} has no line that is a record"))
        });
    }
    if others > 0 {
        logging::warn(
            &format!("{others} lines of {name} are no records, and were passed over"),
            None,
        );
    }
    match io::stdout().write_all(summary.text(args.format).as_bytes()) {
        // `httpjail report log | head`: whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        printed => printed
            .map(|()| 0)
            .map_err(|error| Failure::new(format!("cannot print: {error}"))),
    }
}

fn read(mut log: impl BufRead) -> io::Result<Reading> {
    let mut reading = Reading::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if log.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(reading);
        }
        if line.len() as u64 == LINE_MAX && !line.ends_with(b"\n") {
            log.skip_until(b'\n')?;
        }
        match read_line(&line) {
            Some(record) => {
                reading.records += 1;
                reading.summary.add(&record);
            }
            // After a torn line the log begins anew with an empty one.
            None => reading.others += u64::from(!line.trim_ascii().is_empty()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_record_is_counted() {
        let record = r#"{"event":"request","verdict":"allow","method":"GET","url":"https://a.test/","host":"a.test"}"#;
        let long = "x".repeat(usize::try_from(LINE_MAX).expect("a length") + 10);
        let log = format!("{record}\n\n{{\"event\":\"req\n{long}\n{record}");
        let reading = read(log.as_bytes()).expect("it can be read");
        assert_eq!((reading.records, reading.others), (2, 2));
    }
}
