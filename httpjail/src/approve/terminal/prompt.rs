//! Lays a question out on a screen and interprets the answer. Does no I/O.
//!
//! It shows the whole URL, on as many pages as that takes, and the host first and alone. Text that a program chose (a URL, its
//! own name) is plain ASCII in its own column, so it can neither hide a part of itself nor look like a line of httpjail's.

use std::fmt::Write as _;

use crate::approve::grant::{Grant, GrantScope};
use crate::approve::request::ApprovalRequest;

/// On a smaller screen no question is shown.
const ROWS_MIN: usize = 6;
const COLUMNS_MIN: usize = 30;

/// The column of values, and the longest answer that can be typed.
const INDENT: usize = 11;
const INPUT_MAX: usize = 8;

/// A question with more pages is not shown, because people do not read so many. Such a request is denied.
const PAGES_MAX: usize = 12;

/// What the user chose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Allow this request.
    Once,
    /// Allow this scope for this run.
    Run(GrantScope),
    /// The same, and write the rule to the policy file.
    Always(GrantScope),
    /// Deny this request.
    Deny,
    /// Deny this method and URL for this run.
    DenyRun,
}

/// The effect of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Typed {
    /// Nothing changes on the screen.
    Nothing,
    /// The bottom line has changed.
    Line,
    /// Another page must be drawn.
    Page,
    /// The question is answered.
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
    /// The code that every real question of this run shows.
    pub(super) mark: &'a str,
    /// The file that "always" writes to, if there is one.
    pub(super) file: Option<&'a str>,
    /// How many questions wait, this one included.
    pub(super) waiting: usize,
}

impl Prompt {
    /// Lays the question out. Returns `None` if the screen is too small for all of it.
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
            None => put("program", "unknown: this backend does not say"),
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

    /// Draws the whole screen. `armed` says whether keys count.
    pub(super) fn draw(&self, frame: Frame<'_>, armed: bool, out: &mut Vec<u8>) {
        out.extend(b"\x1b[0m\x1b[2J");
        self.draw_head(frame, out);
        for (row, line) in self.pages[self.page].iter().enumerate() {
            out.extend(format!("\x1b[{};1H{line}", row + 2).bytes());
        }
        self.draw_line(armed, out);
    }

    /// Draws the first line, which says how many questions wait.
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

    /// Draws the last line.
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

    pub(super) fn take(&mut self, key: u8) -> Typed {
        match key {
            // ^C denies.
            3 => return Typed::ApprovalDecision(Choice::Deny),
            b'\r' | b'\n' if !self.is_last() => {
                self.page += 1;
                return Typed::Page;
            }
            b'\r' | b'\n' => {
                let word = std::mem::take(&mut self.input);
                match self.choice(&word) {
                    Some(choice) => return Typed::ApprovalDecision(choice),
                    None => self.note = Some("unknown answer".to_owned()),
                }
            }
            8 | 0x7f => drop(self.input.pop()),
            0x15 => self.input.clear(),
            b' '..=b'~' if self.is_last() && self.input.len() < INPUT_MAX => self.input.push(char::from(key)),
            _ => return Typed::Nothing,
        }
        Typed::Line
    }

    /// Shows why the choice could not be carried out.
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

/// Appends `text` in as many lines as it takes, the first with `label` before it.
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

/// Returns `text` as printable ASCII, other characters escaped: each character has one column on any terminal and font.
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
