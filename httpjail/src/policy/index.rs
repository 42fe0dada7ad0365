//! Finds the few rules that can match a request, in their order.
//!
//! Each rule is filed under something that every URL it matches has: the literal that the URL begins with, cut where a
//! segment of the path ends; the host, or what the host ends in; four letters of a text that must occur. A request looks up
//! what its URL has. Rules without such a key are tried with every request. Each rule that is found is still matched against
//! the URL, so a false hit costs time and changes no verdict. A property test checks that no rule is missed.

mod bitmap;
mod keys;
mod ngrams;
mod table;

use std::collections::{BTreeSet, HashSet};

use super::rule::Rule;
use super::target::Target;
use bitmap::Bitmap;
use keys::Key;
use ngrams::IndexBuilder;
use table::{Lists, Table};

/// Finds the rules that can match.
#[derive(Debug)]
pub(super) struct Index {
    /// Rules before this one are not filed: trying them is as quick as looking them up.
    linear_prefix: usize,
    table: Table,
    by_start: bool,
    by_host: bool,
    by_suffix: bool,
    /// The hashes of all keys.
    keys: Bitmap,
    /// The hashes of ngrams, if rules are filed under some.
    ngrams: Option<Bitmap>,
    /// Rules without a key.
    always: Box<[u32]>,
}

/// What the rules that are tried without the index may cost together; a comparison of literals costs 1.
const LINEAR_COST_MAX: usize = 20;
/// More rules under one key are filed by their ngrams instead, where they have any.
const DENSE: usize = 16;

impl Index {
    /// Files the rules.
    pub(super) fn new(rules: &[Rule]) -> Index {
        Index::after(linear_prefix(rules), rules)
    }

    /// Files the rules from `linear_prefix` on.
    fn after(linear_prefix: usize, rules: &[Rule]) -> Index {
        let mut pairs: Vec<(u64, u32)> = Vec::with_capacity(rules.len());
        let mut keyless = Vec::new();
        let (mut by_start, mut by_host, mut by_suffix) = (false, false, false);
        for (id, rule) in (0..).zip(rules).skip(linear_prefix) {
            let keys = keys::keys(rule.matcher());
            if keys.is_empty() {
                keyless.push(id);
            }
            for key in keys {
                pairs.push((key.hash(), id));
                match key {
                    Key::Start(_) => by_start = true,
                    Key::Host(_) => by_host = true,
                    Key::Suffix(_) => by_suffix = true,
                }
            }
        }
        pairs.sort_unstable();
        let mut builder = IndexBuilder::new();
        let mut file = |id: &u32| builder.file(*id, &keys::texts(rules[*id as usize].matcher()));
        let moved: HashSet<u32> = dense_keys(&pairs).into_iter().filter(&mut file).collect();
        let always: Box<[u32]> = keyless.into_iter().filter(|id| !file(id)).collect();
        pairs.retain(|(_, id)| !moved.contains(id));
        let keys = Bitmap::new(pairs.len(), pairs.iter().map(|(hash, _)| *hash));
        let ngrams = builder.finish(&mut pairs);
        pairs.sort_unstable();
        pairs.dedup();
        Index {
            linear_prefix,
            table: Table::new(pairs),
            by_start,
            by_host,
            by_suffix,
            keys,
            ngrams,
            always,
        }
    }

    /// The first rule that matches, if `matches` says of each whether it does.
    pub(super) fn first(&self, count: usize, target: &Target, mut matches: impl FnMut(usize) -> bool) -> Option<usize> {
        let linear_prefix = self.linear_prefix.min(count);
        if let Some(found) = (0..linear_prefix).find(|id| matches(*id)) {
            return Some(found);
        }
        if linear_prefix == count {
            return None;
        }
        self.candidates(target).first(|id| matches(id as usize))
    }

    fn candidates(&self, target: &Target) -> Lists<'_> {
        let mut lists = Lists::default();
        lists.push(&self.always);
        let mut look_up = |hash| {
            if self.keys.may_have(hash) {
                lists.push(self.table.get(hash));
            }
        };
        if self.by_start {
            keys::starts(target, &mut look_up);
        }
        if self.by_host || self.by_suffix {
            keys::hosts(target, self.by_host, self.by_suffix, &mut look_up);
        }
        if let Some(ngrams) = &self.ngrams {
            let picked = ngrams::hashes(target.url()).filter(|hash| ngrams.may_have(*hash));
            picked.for_each(|hash| lists.push(self.table.get(hash)));
        }
        lists
    }
}

/// How many rules from the first are best tried one by one.
fn linear_prefix(rules: &[Rule]) -> usize {
    let mut cost = 0;
    rules
        .iter()
        .take_while(|rule| {
            cost += keys::cost(rule.matcher());
            cost <= LINEAR_COST_MAX
        })
        .count()
}

/// The rules that share a key with too many others.
fn dense_keys(sorted: &[(u64, u32)]) -> BTreeSet<u32> {
    let dense_keys = sorted.chunk_by(|a, b| a.0 == b.0).filter(|same| same.len() > DENSE);
    dense_keys.flatten().map(|(_, id)| *id).collect()
}

#[cfg(test)]
mod tests;
