//! From a request to the few rules that can match it, in their order.
//!
//! Each rule is filed under something that every URL it matches has: the literal that the URL begins with, cut where a
//! segment of the path ends; the host, or what the host ends in; four letters of a text that must occur. A URL looks up
//! what it has. Rules that pin nothing of the kind are tried with every request. Whoever is looked up is still asked, so a
//! false hit costs time and no verdict; that none is missed is what the property test is about.

mod grams;
mod keys;

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::{Rule, Target};
use grams::{Filer, Grams};
use keys::{Filing, Key};

/// Finds the rules that can match.
#[derive(Debug)]
pub(super) struct Index {
    /// Rules before this one are not filed: trying them is as quick as looking them up.
    head: usize,
    table: Table,
    by_start: bool,
    by_host: bool,
    by_suffix: bool,
    grams: Grams,
    /// Rules that pin nothing.
    always: Box<[u32]>,
}

/// What the rules that are tried without the index may cost together; a comparison of literals costs 1.
const HEAD_COST: usize = 12;
/// More rules under one key are filed by their grams instead, where they have any.
const CROWD: usize = 16;
/// More lists than this are merged by sorting.
const LISTS_MAX: usize = 16;

impl Index {
    /// Files the rules.
    pub(super) fn new(rules: &[Rule]) -> Index {
        Index::after(head(rules), rules)
    }

    /// Files the rules from `head` on.
    fn after(head: usize, rules: &[Rule]) -> Index {
        let mut filings: Vec<(u32, Filing)> = Vec::new();
        let mut pairs: Vec<(u64, u32)> = Vec::new();
        let mut always = Vec::new();
        let (mut by_start, mut by_host, mut by_suffix) = (false, false, false);
        for (id, rule) in (0..).zip(rules).skip(head) {
            let filing = Filing::of(rule.matcher());
            for key in &filing.keys {
                pairs.push((key.hash(), id));
                match key {
                    Key::Start(_) => by_start = true,
                    Key::Host(_) => by_host = true,
                    Key::Suffix(_) => by_suffix = true,
                }
            }
            if !filing.grams.is_empty() {
                filings.push((id, filing));
            } else if filing.keys.is_empty() {
                always.push(id);
            }
        }
        pairs.sort_unstable();
        let mut filer = Filer::new();
        let crowded = crowds(&pairs);
        let mut moved = Vec::new();
        for (id, filing) in filings {
            if filing.keys.is_empty() || filing.keys.iter().any(|key| crowded.contains_key(&key.hash())) {
                let filed = filer.file(id, &filing.grams);
                match (filed, filing.keys.is_empty()) {
                    (true, false) => moved.push(id),
                    (false, true) => always.push(id),
                    _ => (),
                }
            }
        }
        // Both are in the order of the rules.
        pairs.retain(|(_, id)| moved.binary_search(id).is_err());
        let grams = filer.finish(&mut pairs);
        pairs.sort_unstable();
        pairs.dedup();
        always.sort_unstable();
        Index {
            head,
            table: Table::new(pairs),
            by_start,
            by_host,
            by_suffix,
            grams,
            always: always.into(),
        }
    }

    /// The first rule that matches, if `matches` says of each whether it does.
    pub(super) fn first(&self, count: usize, target: &Target, mut matches: impl FnMut(usize) -> bool) -> Option<usize> {
        let head = self.head.min(count);
        if let Some(found) = (0..head).find(|id| matches(*id)) {
            return Some(found);
        }
        if head == count {
            return None;
        }
        self.candidates(target).first(|id| matches(id as usize))
    }

    fn candidates(&self, target: &Target) -> Lists<'_> {
        let mut lists = Lists::default();
        lists.push(&self.always);
        if self.by_start {
            keys::starts(target, |hash| lists.push(self.table.get(hash)));
        }
        if self.by_host || self.by_suffix {
            keys::hosts(target, self.by_host, self.by_suffix, |hash| {
                lists.push(self.table.get(hash))
            });
        }
        self.grams.find(target.url(), |hash| lists.push(self.table.get(hash)));
        lists
    }
}

/// How many rules from the first are best tried one by one.
fn head(rules: &[Rule]) -> usize {
    let mut cost = 0;
    rules
        .iter()
        .take_while(|rule| {
            cost += keys::cost(rule.matcher());
            cost <= HEAD_COST
        })
        .count()
}

/// The keys that too many rules have.
fn crowds(sorted: &[(u64, u32)]) -> HashMap<u64, (), BuildHasherDefault<Hashed>> {
    sorted
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|same| same.len() > CROWD)
        .map(|same| (same[0].0, ()))
        .collect()
}

/// Lists of rules, each found by a hash.
#[derive(Debug)]
struct Table {
    places: HashMap<u64, (u32, u32), BuildHasherDefault<Hashed>>,
    rules: Box<[u32]>,
}

impl Table {
    fn new(sorted: Vec<(u64, u32)>) -> Table {
        let mut places = HashMap::with_capacity_and_hasher(sorted.len(), BuildHasherDefault::default());
        let mut start = 0;
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            let end = start + same.len();
            places.insert(same[0].0, (start as u32, end as u32));
            start = end;
        }
        places.shrink_to_fit();
        Table {
            places,
            rules: sorted.into_iter().map(|(_, id)| id).collect(),
        }
    }

    fn get(&self, hash: u64) -> &[u32] {
        let found = self.places.get(&hash);
        found.map_or(&[], |(start, end)| &self.rules[*start as usize..*end as usize])
    }
}

/// What is looked up is a hash already.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Lists of rules that are visited as one, each rule once and in order. Few need no memory but the stack's.
#[derive(Default)]
struct Lists<'i> {
    few: [&'i [u32]; LISTS_MAX],
    count: usize,
    more: Vec<&'i [u32]>,
}

impl<'i> Lists<'i> {
    fn push(&mut self, list: &'i [u32]) {
        if list.is_empty() {
            return;
        }
        match self.few.get_mut(self.count) {
            Some(place) => {
                *place = list;
                self.count += 1;
            }
            None => self.more.push(list),
        }
    }

    fn first(self, mut matches: impl FnMut(u32) -> bool) -> Option<usize> {
        let mut lists = self.few;
        let lists = &mut lists[..self.count];
        if !self.more.is_empty() {
            let mut all: Vec<u32> = lists
                .iter()
                .chain(&self.more)
                .flat_map(|list| list.iter().copied())
                .collect();
            all.sort_unstable();
            all.dedup();
            return all.into_iter().find(|id| matches(*id)).map(|id| id as usize);
        }
        loop {
            let next = lists.iter().filter_map(|list| list.first().copied()).min()?;
            if matches(next) {
                return Some(next as usize);
            }
            for list in lists.iter_mut() {
                if let [first, rest @ ..] = list
                    && *first == next
                {
                    *list = rest;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
