//! A question on a screen, and what is typed in answer. Pure.
//!
//! The whole URL is shown, on as many pages as it takes, its host first and alone; whatever a program chose (a URL, its own
//! name) is plain ASCII in a column of its own, so that it can neither hide a part nor look like one of our lines.

use std::fmt::Write as _;

use crate::approve::grant::{Grant, GrantScope};
use crate::approve::request::ApprovalRequest;

/// A screen that is smaller shows nothing that could be answered.
const ROWS_MIN: usize = 6;
const COLUMNS_MIN: usize = 30;

/// Where values begin, and how long a typed answer may be.
const INDENT: usize = 11;
const INPUT_MAX: usize = 8;

/// More is not shown: nobody reads it. (Such a request is denied.)
const PAGES_MAX: usize = 12;

/// What was chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Allow this request.
    Once,
    /// Allow so much for this run.
    Run(GrantScope),
    /// The same, and write it down.
    Always(GrantScope),
    /// Deny this request.
    Deny,
    /// Deny this method and URL for this run.
    DenyRun,
}

/// What a key did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing that is seen.
    Nothing,
    /// The bottom line is another.
    Line,
    /// Another page is due.
    Page,
    /// It is answered.
    ApprovalDecision(Choice),
}

/// One question on the screen.
#[derive(Debug)]
pub(super) struct Prompt {
    pages: Vec<Vec<String>>,
    page: usize,
    rows: usize,
    columns: usize,
    offers: Vec<&'static str>,
    input: String,
    note: Option<String>,
}

/// What is on the screen besides the question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    /// What a real prompt of this run bears.
    pub(super) mark: &'a str,
    /// Which file "always" writes to, if any.
    pub(super) file: Option<&'a str>,
    /// How many questions wait, this one included.
    pub(super) waiting: usize,
}

impl Prompt {
    /// Lays the question out. `None`: it cannot be shown whole on such a screen.
    pub(super) fn new(request: &ApprovalRequest, frame: Frame<'_>, rows: usize, columns: usize) -> Option<Prompt> {
        if rows < ROWS_MIN || columns < COLUMNS_MIN {
            return None;
        }
        let grant = |scope| Grant::new(true, request, scope);
        let writable = |scope| frame.file.filter(|_| grant(scope).rule().is_some());
        let mut lines = vec![String::new()];
        let mut put = |label: &str, text: &str| wrap(label, text, columns, &mut lines);
        put("host", &request.host);
        put("method", &request.method);
        put("url", &request.url);
        match &request.program {
            None => put("program", "unknown: this backend does not tell"),
            Some(program) => {
                let name = program.exe.as_deref().unwrap_or("(gone)");
                put(
                    "program",
                    &format!("{name} [{}], process {}", program.comm, program.pid),
                );
                let parents: Vec<String> = program
                    .parents
                    .iter()
                    .map(|parent| format!("{} ({})", parent.name, parent.pid))
                    .collect();
                let parents = if parents.is_empty() {
                    "unknown, or none".to_owned()
                } else {
                    parents.join(" < ")
                };
                put("started by", &parents);
            }
        }
        put("", "");
        let mut offers = vec!["y", "ru", "rp", "rh", "n", "d"];
        put("  y", "allow this once");
        put("  ru", "allow for this run: this method and URL");
        put(
            "  rp",
            &format!("allow for this run: {}", grant(GrantScope::Prefix).shown()),
        );
        put(
            "  rh",
            &format!("allow for this run: {}", grant(GrantScope::Host).shown()),
        );
        let always: Vec<&'static str> = [
            ("au", GrantScope::Url),
            ("ap", GrantScope::Prefix),
            ("ah", GrantScope::Host),
        ]
        .into_iter()
        .filter_map(|(word, scope)| writable(scope).map(|_| word))
        .collect();
        match frame.file {
            Some(file) if !always.is_empty() => {
                put(
                    &format!("  {}", always.join(" ")),
                    &format!("as ru rp rh, always: also written to {file}"),
                );
            }
            _ => {}
        }
        offers.extend(always);
        put("  n", "deny this once");
        put("  d", "deny for this run: this method and URL");
        let body = rows - 2;
        let pages: Vec<Vec<String>> = lines.chunks(body).map(<[String]>::to_vec).collect();
        (pages.len() <= PAGES_MAX).then_some(Prompt {
            pages,
            page: 0,
            rows,
            columns,
            offers,
            input: String::new(),
            note: None,
        })
    }

    /// The whole picture. `armed`: what is typed counts.
    pub(super) fn draw(&self, frame: Frame<'_>, armed: bool, out: &mut Vec<u8>) {
        out.extend(b"\x1b[0m\x1b[2J");
        self.draw_head(frame, out);
        for (row, line) in self.pages[self.page].iter().enumerate() {
            out.extend(format!("\x1b[{};1H{line}", row + 2).bytes());
        }
        self.draw_line(armed, out);
    }

    /// The first line, which tells how many wait.
    pub(super) fn draw_head(&self, frame: Frame<'_>, out: &mut Vec<u8>) {
        let others = match frame.waiting.saturating_sub(1) {
            0 => String::new(),
            others => format!("; {others} more waiting"),
        };
        let text = format!(" httpjail {}: no rule allows this{others}", frame.mark);
        let text: String = text.chars().take(self.columns).collect();
        let width = self.columns;
        out.extend(format!("\x1b[1;1H\x1b[7m{text:width$}\x1b[0m").bytes());
        self.place_cursor(out);
    }

    /// The last line.
    pub(super) fn draw_line(&self, armed: bool, out: &mut Vec<u8>) {
        let text = self.line(armed);
        out.extend(format!("\x1b[{};1H\x1b[K{text}", self.rows).bytes());
    }

    fn line(&self, armed: bool) -> String {
        let note = self.note.as_deref().map(|note| format!("{note}; ")).unwrap_or_default();
        let asked = match (armed, self.is_last()) {
            (false, _) => return "...".to_owned(),
            (true, false) => format!("page {} of {}, Enter for more", self.page + 1, self.pages.len()),
            (true, true) => format!("{note}answer and Enter: {}", self.input),
        };
        let skip = asked.chars().count().saturating_sub(self.columns - 1);
        asked.chars().skip(skip).collect()
    }

    fn place_cursor(&self, out: &mut Vec<u8>) {
        let column = self.line(true).chars().count() + 1;
        out.extend(format!("\x1b[{};{column}H", self.rows).bytes());
    }

    /// Takes a key.
    pub(super) fn take(&mut self, key: u8) -> Typed {
        match key {
            // ^C: no.
            3 => return Typed::ApprovalDecision(Choice::Deny),
            b'\r' | b'\n' if !self.is_last() => {
                self.page += 1;
                return Typed::Page;
            }
            b'\r' | b'\n' => {
                let word = std::mem::take(&mut self.input);
                match self.choice(&word) {
                    Some(choice) => return Typed::ApprovalDecision(choice),
                    None => self.note = Some("no such answer".to_owned()),
                }
            }
            8 | 0x7f => drop(self.input.pop()),
            0x15 => self.input.clear(),
            b' '..=b'~' if self.is_last() && self.input.len() < INPUT_MAX => self.input.push(char::from(key)),
            _ => return Typed::Nothing,
        }
        Typed::Line
    }

    /// Tells why what was chosen did not come about.
    pub(super) fn complain(&mut self, note: &str) {
        self.note = Some(plain(note));
    }

    fn is_last(&self) -> bool {
        self.page + 1 == self.pages.len()
    }

    fn choice(&self, word: &str) -> Option<Choice> {
        let word = word.trim();
        self.offers.iter().find(|offer| **offer == word)?;
        Some(match word {
            "y" => Choice::Once,
            "ru" => Choice::Run(GrantScope::Url),
            "rp" => Choice::Run(GrantScope::Prefix),
            "rh" => Choice::Run(GrantScope::Host),
            "au" => Choice::Always(GrantScope::Url),
            "ap" => Choice::Always(GrantScope::Prefix),
            "ah" => Choice::Always(GrantScope::Host),
            "n" => Choice::Deny,
            "d" => Choice::DenyRun,
            _ => return None,
        })
    }
}

/// `label` and `text` beside it, in as many lines as that takes; only the first has the label.
fn wrap(label: &str, text: &str, columns: usize, lines: &mut Vec<String>) {
    let characters: Vec<char> = plain(text).chars().collect();
    let width = columns - INDENT - 1;
    let mut label = label;
    let mut rest = characters.as_slice();
    loop {
        let (now, later) = rest.split_at(rest.len().min(width));
        let now: String = now.iter().collect();
        lines.push(format!("{label:INDENT$}{now}").trim_end().to_owned());
        if later.is_empty() {
            return;
        }
        (label, rest) = ("", later);
    }
}

/// Printable ASCII, all else written out: one column for each character, whatever terminal and font.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            ' '..='~' => out.push(c),
            // Writing to a String cannot fail.
            _ => drop(write!(out, "\\u{{{:x}}}", u32::from(c))),
        }
    }
    out
}
