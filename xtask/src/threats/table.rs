//! The table, its counts, and what is missing from it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::model::{Class, Item};
use super::proofs::Proof;
use super::{BACKENDS, BEGIN, Backend, END, MODEL};

/// A line of the table: a class in the backends where the same thing blocks it.
pub(super) struct Row<'a> {
    class: &'a Class,
    item: &'a Item,
    /// Each test with those of the item's backends that it runs over.
    tests: BTreeMap<&'a str, BTreeSet<Backend>>,
}

impl Row<'_> {
    fn backends_without_a_test(&self) -> Vec<Backend> {
        let tested: BTreeSet<Backend> = self.tests.values().flatten().copied().collect();
        self.item.backends.difference(&tested).copied().collect()
    }
}

/// What the page says of a backend of a class.
#[derive(PartialEq)]
enum State {
    Tested,
    Untested,
    NotPromised,
}

/// The lines, in the model's order.
pub(super) fn rows<'a>(classes: &'a [Class], proofs: &'a [Proof]) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for class in classes {
        for item in &class.items {
            let mut tests: BTreeMap<&str, BTreeSet<Backend>> = BTreeMap::new();
            for proof in proofs.iter().filter(|proof| proof.id == class.id) {
                let both: BTreeSet<Backend> = proof.backends.intersection(&item.backends).copied().collect();
                if !both.is_empty() && item.is_promised() {
                    tests.entry(&proof.test).or_default().extend(both);
                }
            }
            rows.push(Row { class, item, tests });
        }
    }
    rows
}

/// Promises with neither a test nor a reason, and reasons where there is a test.
pub(super) fn gaps(rows: &[Row<'_>]) -> Vec<String> {
    let mut findings = Vec::new();
    for row in rows.iter().filter(|row| row.item.is_promised()) {
        let bare = row.backends_without_a_test();
        if row.item.untested.is_none() && !bare.is_empty() {
            let bare = names(bare.iter().copied());
            let id = &row.class.id;
            findings.push(format!(
                "{MODEL}: {id} has neither a test nor a reason why not on {bare}"
            ));
        }
        if row.item.untested.is_some() && bare.is_empty() {
            let held = names(row.item.backends.iter().copied());
            findings.push(format!(
                "{MODEL}: {} is tested on {held}, and said not to be",
                row.class.id
            ));
        }
    }
    findings
}

/// The counts and the table.
pub(super) fn text(classes: &[Class], rows: &[Row<'_>]) -> String {
    let mut text = counts(classes, rows);
    text.push_str("\n| class | backends | what blocks it | tests |\n|---|---|---|---|\n");
    for row in rows.iter().filter(|row| row.item.stopper != "not promised") {
        let (class, item) = (row.class, row.item);
        let mut tests: Vec<String> = row.tests.iter().map(|(test, over)| show(test, over, item)).collect();
        if let Some(reason) = &item.untested {
            tests.push(format!("untested: {reason}"));
        }
        let held = match item.backends.len() == BACKENDS.len() {
            true => "all".to_owned(),
            false => names(item.backends.iter().copied()),
        };
        let (id, title, tests) = (&class.id, &class.title, tests.join(", "));
        // Into a String, which takes all.
        let _ = writeln!(text, "| {id} {title} | {held} | {} | {tests} |", item.stopper);
    }
    text
}

/// A test's name, with the backends it runs over if these are not all of the line's.
fn show(test: &str, over: &BTreeSet<Backend>, item: &Item) -> String {
    match *over == item.backends {
        true => format!("`{test}`"),
        false => format!("`{test}` ({})", names(over.iter().copied())),
    }
}

/// What is so of a class, once for each backend.
fn states(rows: &[Row<'_>], id: &str) -> Vec<State> {
    let mut states = Vec::new();
    for row in rows.iter().filter(|row| row.class.id == id) {
        let bare = row.backends_without_a_test();
        states.extend(row.item.backends.iter().map(|backend| match () {
            () if !row.item.is_promised() => State::NotPromised,
            () if bare.contains(backend) => State::Untested,
            () => State::Tested,
        }));
    }
    states
}

fn counts(classes: &[Class], rows: &[Row<'_>]) -> String {
    let states = |id: &str| states(rows, id);
    let classes_that = |fits: &dyn Fn(&[State]) -> bool| {
        let fits = |class: &&Class| fits(&states(&class.id));
        classes.iter().filter(fits).count()
    };
    let whole = classes_that(&|all| all.contains(&State::Tested) && !all.contains(&State::Untested));
    let part = classes_that(&|all| all.contains(&State::Tested) && all.contains(&State::Untested));
    let none = classes_that(&|all| !all.contains(&State::Tested) && all.contains(&State::Untested));
    let outside = classes.len() - whole - part - none;
    let cells = |wanted: State| {
        let all = classes.iter().flat_map(|class| states(&class.id));
        all.filter(|state| *state == wanted).count()
    };
    let tests: BTreeSet<&str> = rows.iter().flat_map(|row| row.tests.keys().copied()).collect();
    format!(
        "{} classes: {whole} with a test on every backend that promises them, {part} on some of these, {none} with a promise and \
         no test, {outside} without a promise.\n{} pairs of class and backend: {} tested, {} promised and untested, {} not \
         promised. {} tests.\n",
        classes.len(),
        classes.len() * BACKENDS.len(),
        cells(State::Tested),
        cells(State::Untested),
        cells(State::NotPromised),
        tests.len(),
    )
}

fn names(backends: impl IntoIterator<Item = Backend>) -> String {
    let names: Vec<&str> = backends.into_iter().map(Backend::name).collect();
    names.join(", ")
}

/// The page with this text between its marks; none where they are not.
pub(super) fn put(page: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}{END}{after}"))
}
