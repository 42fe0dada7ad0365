//! Finds the shortest URL that one pattern matches and another does not.
//!
//! It walks both automata side by side through all canonical URLs, and a few more. If no URL turns up, the first pattern
//! matches nothing that the second does not. A walk that becomes too long gives no answer.

use std::collections::{HashMap, VecDeque};

use crate::net::Scheme;
use crate::policy::host_analysis::walk::{Node, TooLong, Walk};
use crate::policy::target::Target;

/// Where in a URL a text ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Place {
    /// A label of the host begins.
    Label,
    /// Within a label.
    Host,
    /// Behind a hyphen or an underscore, which ends no host here.
    Inner,
    /// Within an IPv6 address.
    Brackets,
    /// Behind it.
    Address,
    /// Behind the colon.
    Port,
    Digits,
    /// In path or query.
    Path,
    /// The lone `*` of OPTIONS.
    Star,
}

type State = (Place, Node, Node);

/// What is walked before it is too long.
const STATES_MAX: usize = 60_000;
/// So many URLs that turn out not to be canonical are passed over.
const TRIES_MAX: usize = 64;
/// In the order in which an example should use them.
const NAME: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const PATH: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789/-_.~?=&%:@!$'()*+,;|[]^`{}\\ABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// What the walk says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Witness {
    /// This URL is found by the one and not by the other.
    Url(String),
    /// There is none.
    None,
    /// It could not be found out.
    Unknown,
}

/// Returns the shortest URL that the pattern `finds` matches and `misses` does not.
pub(super) fn between(finds: &str, misses: Option<&str>) -> Witness {
    search(finds, misses).unwrap_or(Witness::Unknown)
}

fn search(finds: &str, misses: Option<&str>) -> Result<Witness, TooLong> {
    let mut one = Walk::new(finds).ok_or(TooLong)?;
    let mut other = misses.map(|text| Walk::new(text).ok_or(TooLong)).transpose()?;
    let mut tries = 0;
    for scheme in [Scheme::Https, Scheme::Http] {
        let prefix = format!("{}://", scheme.as_str());
        let start = one.run(one.start(), &prefix)?;
        let misses = match &mut other {
            Some(walk) => walk.run(walk.start(), &prefix)?,
            None => Node::Dead,
        };
        // Breadth first; each state knows from which it was reached, and by which byte.
        let mut entries: Vec<(State, usize, u8)> = vec![((Place::Label, start, misses), 0, 0)];
        let mut seen: HashMap<State, ()> = HashMap::new();
        let mut queue = VecDeque::from([0]);
        while let Some(index) = queue.pop_front() {
            let ((place, node, missing), ..) = entries[index];
            if matches!(place, Place::Path | Place::Star) && one.wins_at_end(node)? && !wins(&mut other, missing)? {
                let url = prefix.clone() + &spell(&entries, index);
                if is_canonical(scheme, &url) {
                    return Ok(Witness::Url(url));
                }
                tries += 1;
                if tries > TRIES_MAX {
                    return Err(TooLong);
                }
            }
            for (byte, next_place) in ways(place) {
                let next = one.step(node, byte)?;
                let next_missing = match &mut other {
                    Some(walk) => walk.step(missing, byte)?,
                    None => Node::Dead,
                };
                if next == Node::Dead || next_missing == Node::Won {
                    continue;
                }
                let state = (next_place, next, next_missing);
                if seen.insert(state, ()).is_none() {
                    if entries.len() >= STATES_MAX {
                        return Err(TooLong);
                    }
                    queue.push_back(entries.len());
                    entries.push((state, index, byte));
                }
            }
        }
    }
    Ok(if tries == 0 { Witness::None } else { Witness::Unknown })
}

fn wins(walk: &mut Option<Walk>, node: Node) -> Result<bool, TooLong> {
    walk.as_mut().map_or(Ok(false), |walk| walk.wins_at_end(node))
}

/// The bytes that can follow, and where they lead.
fn ways(place: Place) -> Vec<(u8, Place)> {
    let each = |bytes: &[u8], to: Place| bytes.iter().map(move |byte| (*byte, to)).collect::<Vec<_>>();
    let after_host = || vec![(b'/', Place::Path), (b':', Place::Port), (b'*', Place::Star)];
    match place {
        Place::Label => [
            each(NAME, Place::Host),
            each(b"-_", Place::Inner),
            each(b"[", Place::Brackets),
        ]
        .concat(),
        Place::Host => [
            each(NAME, Place::Host),
            each(b".", Place::Label),
            after_host(),
            each(b"-_", Place::Inner),
        ]
        .concat(),
        // The host may end here as well: an underscore can stand anywhere.
        Place::Inner => [
            each(NAME, Place::Host),
            each(b".", Place::Label),
            after_host(),
            each(b"-_", Place::Inner),
        ]
        .concat(),
        Place::Brackets => [each(b"0123456789abcdef:.", Place::Brackets), each(b"]", Place::Address)].concat(),
        Place::Address => after_host(),
        Place::Port => each(b"123456789", Place::Digits),
        Place::Digits => [
            each(b"0123456789", Place::Digits),
            each(b"/", Place::Path),
            each(b"*", Place::Star),
        ]
        .concat(),
        Place::Path => each(PATH, Place::Path),
        Place::Star => Vec::new(),
    }
}

fn spell(entries: &[(State, usize, u8)], mut index: usize) -> String {
    let mut bytes = Vec::new();
    while index != 0 {
        let (_, parent, byte) = entries[index];
        bytes.push(char::from(byte));
        index = parent;
    }
    bytes.iter().rev().collect()
}

/// Returns true if a request can have exactly this URL.
pub(super) fn is_canonical(scheme: Scheme, url: &str) -> bool {
    target(scheme, url).is_some_and(|target| target.url() == url)
}

fn target(scheme: Scheme, url: &str) -> Option<Target> {
    let (_, rest) = url.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '*'])?);
    let method = if path == "*" {
        http::Method::OPTIONS
    } else {
        http::Method::GET
    };
    Target::new(&method, scheme, authority, path).ok()
}
