//! The automaton of a pattern that literals alone do not decide.
//!
//! A dense DFA where it is small, which is nearly always: no cache that grows with what is searched in, nothing to lock.
//! Where it would not be small, the engines of the `regex` crate, which take linear time in bounded memory as well.

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Input, meta};
use regex_syntax::hir::Hir;

/// An automaton, ready to search.
#[derive(Debug)]
pub(super) enum Automaton {
    Dense(Box<dense::DFA<Vec<u32>>>),
    Other(meta::Regex),
}

/// Bytes that one pattern's NFA may take: a pattern that needs more is refused. Those of real policies take a few thousand.
pub(super) const SIZE_LIMIT: usize = 1 << 20;
/// Room enough for what was within the limit when it was checked, also read backwards.
const NFA_LIMIT: usize = 4 * SIZE_LIMIT;
/// Bytes that a dense DFA, and the making of it, may take.
const DENSE_LIMIT: usize = 256 << 10;
/// Bytes that a search cache of the other engines may take.
const CACHE_LIMIT: usize = 256 << 10;
/// States that surely fit into [`SIZE_LIMIT`]: over ASCII none takes more than 128 bytes.
pub(super) const SURELY_SMALL: usize = SIZE_LIMIT / 128;

impl Automaton {
    /// `None` if it would be too large.
    pub(super) fn new(hir: &Hir) -> Option<Automaton> {
        let config = thompson::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_LIMIT));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(hir).ok()?;
        let config = dense::Config::new()
            .start_kind(StartKind::Unanchored)
            .accelerate(false)
            .dfa_size_limit(Some(DENSE_LIMIT))
            .determinize_size_limit(Some(DENSE_LIMIT));
        if let Ok(dense) = dense::Builder::new().configure(config).build_from_nfa(&nfa) {
            return Some(Automaton::Dense(Box::new(dense)));
        }
        let config = meta::Config::new()
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_LIMIT))
            .hybrid_cache_capacity(CACHE_LIMIT);
        let other = meta::Builder::new().configure(config).build_from_hir(hir).ok()?;
        Some(Automaton::Other(other))
    }

    /// Returns whether the pattern is found in `url`, or `None` if the automaton gave up, which none of these should.
    pub(super) fn finds(&self, url: &str) -> Option<bool> {
        match self {
            Automaton::Dense(dense) => {
                let found = dense.try_search_fwd(&Input::new(url).earliest(true)).ok()?;
                Some(found.is_some())
            }
            Automaton::Other(other) => Some(other.is_match(url)),
        }
    }

    /// Bytes that it takes, its caches included.
    pub(super) fn size(&self) -> usize {
        match self {
            Automaton::Dense(dense) => size_of::<Automaton>() + dense.memory_usage(),
            Automaton::Other(other) => size_of::<Automaton>() + other.memory_usage() + CACHE_LIMIT,
        }
    }
}

/// Returns true if the automaton of a pattern is within the limit.
pub(super) fn fits(hir: &Hir) -> bool {
    let config = thompson::Config::new()
        .which_captures(WhichCaptures::None)
        .nfa_size_limit(Some(SIZE_LIMIT));
    thompson::Compiler::new().configure(config).build_from_hir(hir).is_ok()
}
