//! `learn`: makes the policy that would have allowed the requests that were made, and little else.
//!
//! Requests are gathered as a tree: scheme and host, then the path, segment by segment. What looks like an id, a hash or a
//! version stands there in its general form ([`segment`]). Where a path has more names at one position than a person would
//! read, one pattern stands for all of them. Each leaf is one rule. Memory is bounded: requests beyond the bound are allowed
//! by their host or, beyond a second bound, only counted.

mod segment;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::suggest;

/// Names at one place of the paths of a host, beyond which any name will do.
const NAMES_MAX: usize = 12;
/// Hosts that rules are made for.
const HOSTS_MAX: usize = 500;
/// Nodes of all trees, and bytes of all segments: some ten megabytes at most.
const NODES_MAX: usize = 20_000;
const BYTES_MAX: usize = 4 << 20;
/// Programs that are named of one rule.
const PROGRAMS_MAX: usize = 4;

/// Gathers requests.
#[derive(Debug, Default)]
pub struct Learner {
    /// By host and scheme, so that those of one host stand together.
    hosts: BTreeMap<(String, String), Node>,
    nodes: usize,
    bytes: usize,
    requests: u64,
    left_out: u64,
}

/// A place in the paths of one host.
#[derive(Debug, Default)]
struct Node {
    below: BTreeMap<String, Node>,
    /// The requests that ended here.
    here: Option<Asked>,
    /// The requests that ended anywhere below, where there was no room for them.
    beyond: Option<Asked>,
}

/// The requests at one node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Asked {
    count: u64,
    methods: BTreeSet<String>,
    programs: BTreeSet<String>,
    with_query: bool,
    without_query: bool,
    worked: bool,
    /// What went wrong with the first that failed.
    failure: Option<String>,
}

/// One rule that was learned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LearnedRule {
    /// `host[:port]`.
    pub host: String,
    /// Pinned to scheme and host.
    pub pattern: String,
    /// The methods that were seen.
    pub methods: BTreeSet<String>,
    /// How many requests it stands for.
    pub count: u64,
    /// The programs that made them: the first few.
    pub programs: BTreeSet<String>,
    /// Why the requests failed, if none of them succeeded.
    pub failure: Option<String>,
}

impl Learner {
    /// Takes one request that is to be allowed: its method, its canonical URL, the program that made it, fit to be shown, and
    /// what went wrong if it failed.
    pub fn see(&mut self, method: &str, url: &str, program: Option<&str>, failure: Option<&str>) {
        let Some((scheme, host, path)) = suggest::split(url) else {
            return;
        };
        self.requests += 1;
        let key = (host.to_owned(), scheme.to_owned());
        if self.hosts.len() >= HOSTS_MAX && !self.hosts.contains_key(&key) {
            self.left_out += 1;
            return;
        }
        let (bare, query) = match path.split_once('?') {
            Some((bare, _)) => (bare, true),
            None => (path, false),
        };
        // `*` stands where a path would: one segment, which no slash comes before.
        let segments: Vec<String> = match bare.strip_prefix('/') {
            Some(path) => path
                .split('/')
                .map(|name| format!("/{}", segment::general(name)))
                .collect(),
            None => vec![suggest::literal(bare)],
        };
        let length: usize = segments.iter().map(String::len).sum();
        let room = self.nodes + segments.len() <= NODES_MAX && self.bytes + length <= BYTES_MAX;
        let mut node = self.hosts.entry(key).or_default();
        let mut all_there = true;
        for segment in segments {
            if !node.below.contains_key(&segment) {
                if !room {
                    all_there = false;
                    break;
                }
                self.nodes += 1;
                self.bytes += segment.len();
            }
            node = node.below.entry(segment).or_default();
        }
        let asked = match all_there {
            true => node.here.get_or_insert_default(),
            false => node.beyond.get_or_insert_default(),
        };
        asked.count += 1;
        asked.methods.insert(method.to_owned());
        if let Some(program) = program.filter(|_| asked.programs.len() < PROGRAMS_MAX) {
            asked.programs.insert(program.to_owned());
        }
        asked.with_query |= query;
        asked.without_query |= !query;
        asked.worked |= failure.is_none();
        asked.failure = asked.failure.take().or(failure.map(str::to_owned));
    }

    /// How many requests were taken.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// How many of them no rule is made for, because they went to more hosts than anybody would read.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The rules, by host and path.
    pub fn rules(self) -> Vec<LearnedRule> {
        let mut rules = Vec::new();
        for ((host, scheme), mut root) in self.hosts {
            root.generalise();
            let start = format!("^{scheme}://{}", suggest::literal(&host));
            root.rules(&host, start, &mut rules);
        }
        rules
    }
}

impl Node {
    /// Where there are too many names, any name will do.
    fn generalise(&mut self) {
        // Neither a slash at the end of a path nor a text without a slash before it is a name.
        let is_name = |name: &String| name.len() > 1 && name.starts_with('/');
        if self.below.keys().filter(|name| is_name(name)).count() > NAMES_MAX {
            let general = segment::any_of(self.below.keys().filter(|name| is_name(name)));
            let (names, others) = std::mem::take(&mut self.below)
                .into_iter()
                .partition(|(name, _)| is_name(name));
            self.below = others;
            let names: BTreeMap<String, Node> = names;
            let merged = self.below.entry(format!("/{general}")).or_default();
            names.into_values().for_each(|node| merged.take(node));
        }
        self.below.values_mut().for_each(Node::generalise);
    }

    fn take(&mut self, other: Node) {
        for (name, node) in other.below {
            self.below.entry(name).or_default().take(node);
        }
        for (mine, theirs) in [(&mut self.here, other.here), (&mut self.beyond, other.beyond)] {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) => mine.take(theirs),
                (mine @ None, theirs) => *mine = theirs,
                (Some(_), None) => {}
            }
        }
    }

    fn rules(self, host: &str, so_far: String, out: &mut Vec<LearnedRule>) {
        let learned = |asked: Asked, pattern: String| LearnedRule {
            host: host.to_owned(),
            pattern,
            methods: asked.methods,
            count: asked.count,
            programs: asked.programs,
            failure: asked.failure.filter(|_| !asked.worked),
        };
        if let Some(asked) = self.here {
            let end = suggest::end(asked.without_query, asked.with_query);
            out.push(learned(asked, format!("{so_far}{end}")));
        }
        if let Some(asked) = self.beyond {
            out.push(learned(asked, format!("{so_far}/")));
        }
        for (segment, node) in self.below {
            node.rules(host, format!("{so_far}{segment}"), out);
        }
    }
}

impl Asked {
    fn take(&mut self, other: Asked) {
        self.count += other.count;
        self.methods.extend(other.methods);
        for program in other.programs {
            if self.programs.len() < PROGRAMS_MAX {
                self.programs.insert(program);
            }
        }
        self.with_query |= other.with_query;
        self.without_query |= other.without_query;
        self.worked |= other.worked;
        self.failure = self.failure.take().or(other.failure);
    }
}

#[cfg(test)]
mod tests;
