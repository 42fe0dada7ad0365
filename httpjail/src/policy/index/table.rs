//! The lists of rules by the hash of their key, and how several lists are walked as one.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// More lists than this are merged by sorting.
const LISTS_MAX: usize = 16;

/// Lists of rules, each found by a hash.
#[derive(Debug)]
pub(super) struct Table {
    /// From where to where among the rules; or the one rule, and [`ALONE`].
    places: HashMap<u64, (u32, u32), BuildHasherDefault<Hashed>>,
    rules: Box<[u32]>,
}

const ALONE: u32 = u32::MAX;

impl Table {
    pub(super) fn new(sorted: Vec<(u64, u32)>) -> Table {
        let mut places = HashMap::with_capacity_and_hasher(sorted.len(), BuildHasherDefault::default());
        let mut start = 0;
        for same in sorted.chunk_by(|a, b| a.0 == b.0) {
            let end = start + same.len();
            let alone = same.len() == 1;
            places.insert(
                same[0].0,
                if alone {
                    (same[0].1, ALONE)
                } else {
                    (start as u32, end as u32)
                },
            );
            start = end;
        }
        places.shrink_to_fit();
        Table {
            places,
            rules: sorted.into_iter().map(|(_, id)| id).collect(),
        }
    }

    pub(super) fn get(&self, hash: u64) -> &[u32] {
        let found = self.places.get(&hash);
        found.map_or(&[], |(start, end)| match *end {
            ALONE => std::slice::from_ref(start),
            end => &self.rules[*start as usize..end as usize],
        })
    }
}

/// What is looked up is a hash already.
#[derive(Debug, Default)]
pub(super) struct Hashed(u64);

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
pub(super) struct Lists<'i> {
    few: [&'i [u32]; LISTS_MAX],
    count: usize,
    more: Vec<&'i [u32]>,
}

impl<'i> Lists<'i> {
    pub(super) fn push(&mut self, list: &'i [u32]) {
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

    pub(super) fn first(self, mut matches: impl FnMut(u32) -> bool) -> Option<usize> {
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
