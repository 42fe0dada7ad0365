//! Steps through a pattern's automaton, byte by byte, under a bound.
//!
//! The automaton is the lazy DFA of the crate that runs the patterns. `MatchKind::All` keeps every alternative alive, so
//! that "no way leads on from here" is a fact about the pattern and no artefact of preferring one alternative.

use std::collections::{HashMap, HashSet, VecDeque};

use regex_automata::hybrid::LazyStateID;
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::nfa::thompson;
use regex_automata::{Input, MatchKind};

/// Where the automaton stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::policy) enum Node {
    /// Nothing that follows can match.
    Dead,
    /// It has matched: whatever follows, the URL does.
    Won,
    /// In between.
    At(LazyStateID),
}

/// The walk met its bound, or a state that it cannot judge.
#[derive(Debug)]
pub(in crate::policy) struct TooLong;

/// An automaton, and how much more of it may be looked at.
pub(in crate::policy) struct Walk {
    dfa: DFA,
    cache: Cache,
    start: LazyStateID,
    budget: usize,
    winnable: HashMap<LazyStateID, bool>,
}

/// Steps for one question; some milliseconds.
const BUDGET: usize = 200_000;
/// Bytes that the automaton may take.
const MEMORY: usize = 2 << 20;
/// What can stand in a canonical path or query, in the order in which an example should use them.
const TAIL: &[u8] = b"./abcdefghijklmnopqrstuvwxyz0123456789-_~?=&%:@!$'()*+,;|[]^`{}\\ABCDEFGHIJKLMNOPQRSTUVWXYZ";

impl Walk {
    /// The automaton of a pattern; `None` if it would be too large.
    pub(in crate::policy) fn new(pattern: &str) -> Option<Walk> {
        let config = DFA::config()
            .match_kind(MatchKind::All)
            // All bytes of a URL are ASCII, and on those `\b` is the same with and without Unicode.
            .unicode_word_boundary(true)
            .cache_capacity(MEMORY)
            .skip_cache_capacity_check(true)
            // A cleared cache would change what the state ids mean: give up instead.
            .minimum_cache_clear_count(Some(0));
        let dfa = DFA::builder()
            .configure(config)
            .thompson(thompson::Config::new().nfa_size_limit(Some(MEMORY)))
            .build(pattern)
            .ok()?;
        let mut cache = dfa.create_cache();
        let start = dfa.start_state_forward(&mut cache, &Input::new("")).ok()?;
        Some(Walk {
            dfa,
            cache,
            start,
            budget: BUDGET,
            winnable: HashMap::new(),
        })
    }

    /// Resets the budget of steps, for another question.
    pub(super) fn refill(&mut self) {
        self.budget = BUDGET;
    }

    /// Before the first byte.
    pub(in crate::policy) fn start(&self) -> Node {
        Node::At(self.start)
    }

    /// One byte on.
    pub(in crate::policy) fn step(&mut self, node: Node, byte: u8) -> Result<Node, TooLong> {
        let Node::At(state) = node else { return Ok(node) };
        self.budget = self.budget.checked_sub(1).ok_or(TooLong)?;
        let next = self.dfa.next_state(&mut self.cache, state, byte).map_err(|_| TooLong)?;
        classify(next)
    }

    /// Some bytes on.
    pub(in crate::policy) fn run(&mut self, node: Node, text: &str) -> Result<Node, TooLong> {
        text.bytes().try_fold(node, |node, byte| self.step(node, byte))
    }

    /// Returns true if a URL that ends here matches.
    pub(in crate::policy) fn wins_at_end(&mut self, node: Node) -> Result<bool, TooLong> {
        let Node::At(state) = node else {
            return Ok(node == Node::Won);
        };
        let next = self.dfa.next_eoi_state(&mut self.cache, state).map_err(|_| TooLong)?;
        Ok(classify(next)? == Node::Won)
    }

    /// Returns true if some rest of a path and query leads to a match.
    pub(super) fn can_win(&mut self, node: Node) -> Result<bool, TooLong> {
        let Node::At(state) = node else {
            return Ok(node == Node::Won);
        };
        if let Some(known) = self.winnable.get(&state) {
            return Ok(*known);
        }
        let outcome = self.any(node, TAIL, Walk::wins_at_end)?;
        self.winnable.insert(state, outcome);
        Ok(outcome)
    }

    /// The shortest rest of a path and query that leads to a match.
    pub(super) fn shortest_win(&mut self, node: Node) -> Result<Option<String>, TooLong> {
        Ok(self.shortest(node, TAIL, Walk::wins_at_end)?.map(|(text, _)| text))
    }

    /// Returns true if some text over `alphabet` leads from `node` to one that is `wanted`.
    pub(super) fn any(
        &mut self,
        node: Node,
        alphabet: &[u8],
        wanted: impl FnMut(&mut Walk, Node) -> Result<bool, TooLong>,
    ) -> Result<bool, TooLong> {
        Ok(self.shortest(node, alphabet, wanted)?.is_some())
    }

    /// The shortest such text, and where it leads.
    pub(super) fn shortest(
        &mut self,
        node: Node,
        alphabet: &[u8],
        mut wanted: impl FnMut(&mut Walk, Node) -> Result<bool, TooLong>,
    ) -> Result<Option<(String, Node)>, TooLong> {
        // Breadth first; each entry knows from which one it was reached, and by which byte.
        let mut entries: Vec<(Node, Option<(usize, u8)>)> = vec![(node, None)];
        let mut seen = HashSet::from([node]);
        let mut queue = VecDeque::from([0]);
        while let Some(index) = queue.pop_front() {
            let (node, _) = entries[index];
            if node == Node::Dead {
                continue;
            }
            if wanted(self, node)? {
                return Ok(Some((spell(&entries, index), node)));
            }
            for byte in alphabet {
                let next = self.step(node, *byte)?;
                if next != Node::Dead && seen.insert(next) {
                    queue.push_back(entries.len());
                    entries.push((next, Some((index, *byte))));
                }
            }
        }
        Ok(None)
    }
}

fn classify(state: LazyStateID) -> Result<Node, TooLong> {
    if state.is_match() {
        Ok(Node::Won)
    } else if state.is_dead() {
        Ok(Node::Dead)
    } else if state.is_quit() || state.is_unknown() {
        Err(TooLong)
    } else {
        Ok(Node::At(state))
    }
}

fn spell(entries: &[(Node, Option<(usize, u8)>)], mut index: usize) -> String {
    let mut bytes = Vec::new();
    while let Some((parent, byte)) = entries[index].1 {
        bytes.push(byte);
        index = parent;
    }
    bytes.iter().rev().map(|byte| char::from(*byte)).collect()
}
