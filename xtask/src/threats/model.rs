//! The classes of `docs/threat-model.md`.
//!
//! A class is a heading of the third level, `### S12: title`, with prose below it and one item for each group of backends
//! that the same thing holds in: `- ebpf, attach: what blocks it`. An item may end in `Untested: why.`; one that begins with
//! `not promised` needs no test.

use std::collections::BTreeSet;

use super::{BACKENDS, Backend, MODEL, backends};

/// A class of threat.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) id: String,
    pub(super) title: String,
    pub(super) items: Vec<Item>,
}

/// What some backends do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) backends: BTreeSet<Backend>,
    pub(super) stopper: String,
    /// Why there is no test.
    pub(super) untested: Option<String>,
}

impl Item {
    pub(super) fn is_promised(&self) -> bool {
        !self.stopper.starts_with("not promised")
    }
}

/// A letter of the model's parts and two digits; from 50 on they are percentiles.
pub(super) fn is_id(word: &str) -> bool {
    let Some((part, number)) = word.split_at_checked(1) else {
        return false;
    };
    let is_number = number.len() == 2 && number.chars().all(|c| c.is_ascii_digit());
    "SPHTDK".contains(part) && is_number && number < "50"
}

/// The classes in their order, and what is wrong with them.
pub(super) fn read(text: &str) -> (Vec<Class>, Vec<String>) {
    let (mut classes, mut findings): (Vec<Class>, Vec<String>) = Default::default();
    let mut item_is_open = false;
    for (number, line) in text.lines().enumerate() {
        let mut wrong = |what: &str| findings.push(format!("{MODEL}:{}: {what}", number + 1));
        if let Some(heading) = line.strip_prefix("### ") {
            item_is_open = false;
            match heading.split_once(": ").filter(|(id, _)| is_id(id)) {
                Some((id, _)) if classes.iter().any(|class| class.id == id) => wrong("this class is there twice"),
                Some((id, title)) => classes.push(Class {
                    id: id.to_owned(),
                    title: title.to_owned(),
                    items: Vec::new(),
                }),
                None => wrong("a heading of the third level is a class: `### S12: title`"),
            }
        } else if line.starts_with('#') {
            item_is_open = false;
        } else if let Some(item) = line.strip_prefix("- ") {
            let parts = item.split_once(": ");
            let (Some(class), Some((held, stopper))) = (
                classes.last_mut(),
                parts.and_then(|(names, stopper)| Some((backends(names)?, stopper))),
            ) else {
                // A list of something else.
                item_is_open = false;
                continue;
            };
            item_is_open = true;
            class.items.push(Item {
                backends: held,
                stopper: stopper.trim().to_owned(),
                untested: None,
            });
        } else if item_is_open && line.starts_with("  ") {
            if let Some(item) = classes.last_mut().and_then(|class| class.items.last_mut()) {
                item.stopper.push(' ');
                item.stopper.push_str(line.trim());
            }
        } else {
            item_is_open = false;
        }
    }
    for class in &mut classes {
        for item in &mut class.items {
            let whole = std::mem::take(&mut item.stopper);
            let (stopper, untested) = match whole.split_once("Untested:") {
                Some((stopper, reason)) => (stopper, Some(reason.trim().to_owned())),
                None => (whole.as_str(), None),
            };
            item.stopper = stopper.trim().trim_end_matches('.').to_owned();
            item.untested = untested;
        }
        for backend in BACKENDS {
            let count = class
                .items
                .iter()
                .filter(|item| item.backends.contains(&backend))
                .count();
            if count != 1 {
                findings.push(format!(
                    "{MODEL}: {} speaks of {} {count} times",
                    class.id,
                    backend.name()
                ));
            }
        }
    }
    (classes, findings)
}
