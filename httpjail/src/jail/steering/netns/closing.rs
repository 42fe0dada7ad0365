//! Closes a network that has more devices than `lo`, for others to be steered in it: nothing passes at first, and later what stays on
//! `lo`. The chains come before those that steer.

use std::io;

use super::expression::{Expression, accept, comes_from, leaves_by};
use super::message::{Attributes, Kind, Requests};
use crate::jail::sandbox::network::LOOPBACK_INDEX;

const TABLE: &str = "httpjail-closed";
/// Before all that Linux itself has (`NF_IP_PRI_RAW_BEFORE_DEFRAG`).
const PRIORITY: i32 = -450;
const DROP: u32 = 0;
const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
const OUTPUT: u32 = 3;

/// Closes the calling thread's network: nothing passes, or only what stays on `lo`.
///
/// # Errors
/// What netfilter refused.
pub(crate) fn close(lets_loopback: bool) -> io::Result<()> {
    let mut batch = Requests::batch();
    gone(&mut batch, TABLE);
    let table = Attributes::new().text(1, TABLE);
    batch.add("the table", Kind::Table, &table);
    let chains = [
        ("pre", PREROUTING, Some(comes_from(LOOPBACK_INDEX))),
        ("out", OUTPUT, Some(leaves_by(LOOPBACK_INDEX))),
        ("forward", FORWARD, None),
    ];
    for (name, hook, stays) in chains {
        let hook = Attributes::new().number(1, hook).number(2, PRIORITY as u32);
        let chain = Attributes::new()
            .text(1, TABLE)
            .text(3, name)
            .nested(4, hook)
            .number(5, DROP)
            .text(7, "filter");
        batch.add(&format!("the chain `{name}`"), Kind::Chain, &chain);
        if let Some(stays) = stays.filter(|_| lets_loopback) {
            let parts: Vec<Expression> = stays.into_iter().chain([accept()]).collect();
            let list = parts
                .into_iter()
                .fold(Attributes::new(), |list, expression| list.nested(1, expression.0));
            let rule = Attributes::new().text(1, TABLE).text(2, name).nested(4, list);
            batch.add(&format!("the rule of `{name}`"), Kind::Rule, &rule);
        }
    }
    batch.commit()
}

/// Opens it: removes what [`close`] made, and the rules that steer.
///
/// # Errors
/// What netfilter refused.
pub(crate) fn open() -> io::Result<()> {
    let mut batch = Requests::batch();
    gone(&mut batch, super::ruleset::TABLE);
    gone(&mut batch, TABLE);
    batch.commit()
}

/// Removes only the rules that steer.
///
/// # Errors
/// What netfilter refused.
pub(crate) fn forget_steering() -> io::Result<()> {
    let mut batch = Requests::batch();
    gone(&mut batch, super::ruleset::TABLE);
    batch.commit()
}

/// Makes the table, so that it is no error to remove it.
fn gone(batch: &mut Requests, table: &str) {
    let this = Attributes::new().text(1, table);
    batch.add("the table", Kind::Table, &this);
    batch.add("the removal of the old table", Kind::TableGone, &this);
}
