//! Finds the hosts that a pattern can match, to answer "is this rule pinned to a host?".
//!
//! The answer is not guessed from how the pattern is spelled. The pattern's automaton is walked with the bytes that can
//! stand in a canonical URL, `scheme://host[:port]/...`: a host can match if, after it, some rest of a URL still leads
//! to a match. If that finds a few hosts, the rule is pinned to them. If it finds a host that an attacker may own, the warning
//! shows that URL. A walk that becomes too long answers "not pinned", which allows less.

pub(super) mod walk;

use std::collections::BTreeSet;

use self::walk::{Node, TooLong, Walk};
use super::pattern::Pattern;
use super::target::Target;
use crate::net::{Host, Scheme};

/// The hosts whose URLs a rule can match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// These only. If the list is empty, the rule matches nothing.
    Hosts(Vec<Host>),
    /// More than a few, or it could not be found out.
    Open,
}

/// What a matcher can reach.
#[derive(Debug, Clone)]
pub(super) struct HostAnalysis {
    pub(super) pin: Pin,
    /// A URL that it matches, at a host that its author did not mean.
    pub(super) stray: Option<String>,
    /// Which URLs of https it matches.
    pub(super) https: Https,
}

/// Which URLs of https a matcher can match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Https {
    /// None.
    Nothing,
    /// Some, but none whose path is just `/`.
    Paths,
    /// Also some whose path is just `/`, or it could not be found out.
    Roots,
}

/// More hosts than this are not "a few". Below the 39 characters that a host can have: an unescaped dot pins nothing.
const HOSTS_MAX: usize = 32;
/// The longest host (253 and a little).
const DEPTH_MAX: usize = 260;
const SCHEMES: [Scheme; 2] = [Scheme::Https, Scheme::Http];
/// Bytes of a name or an IPv4 literal; the dot first, so that the shortest host found reads like one.
const NAME: &[u8] = b".abcdefghijklmnopqrstuvwxyz0123456789-_";
const NO_DOT: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789-_";
const LITERAL: &[u8] = b"0123456789abcdef:.]";
const AUTHORITY: &[u8] = b".abcdefghijklmnopqrstuvwxyz0123456789-_:[]";

/// What `pattern` can reach.
pub(super) fn of_pattern(pattern: &Pattern) -> HostAnalysis {
    let unknown = HostAnalysis {
        pin: Pin::Open,
        stray: None,
        https: Https::Roots,
    };
    let Some(mut walk) = Walk::new(pattern.as_str()) else {
        return unknown;
    };
    let pin = hosts(&mut walk).unwrap_or(Pin::Open);
    walk.refill();
    let stray = match pin {
        Pin::Hosts(_) => None,
        Pin::Open => stray(&mut walk, pattern).unwrap_or(None),
    };
    walk.refill();
    let https = https(&mut walk).unwrap_or(Https::Roots);
    HostAnalysis { pin, stray, https }
}

fn hosts(walk: &mut Walk) -> Result<Pin, TooLong> {
    let mut search = Search {
        scheme: Scheme::Https,
        found: BTreeSet::new(),
        text: String::new(),
        trail: Vec::new(),
    };
    for scheme in SCHEMES {
        let start = walk.run(walk.start(), &format!("{}://", scheme.as_str()))?;
        search.scheme = scheme;
        if !search.descend(walk, start)? {
            return Ok(Pin::Open);
        }
    }
    Ok(Pin::Hosts(search.found.into_iter().collect()))
}

/// Spells out every host below a node; gives up (`false`) as soon as there are too many.
struct Search {
    scheme: Scheme,
    found: BTreeSet<Host>,
    text: String,
    trail: Vec<Node>,
}

impl Search {
    fn descend(&mut self, walk: &mut Walk, node: Node) -> Result<bool, TooLong> {
        if !leads_to_match(walk, node)? {
            return Ok(true);
        }
        // Seen on the way here: the loop can be taken any number of times. (What is won stays won, a loop too.)
        if self.trail.contains(&node) || self.text.len() > DEPTH_MAX {
            return Ok(false);
        }
        if !self.text.is_empty() && ends_host(walk, node, self.scheme)? {
            // Only a canonical spelling can occur in a URL.
            if let Some(host) = Host::parse(&self.text)
                .ok()
                .filter(|host| host.to_string() == self.text)
            {
                self.found.insert(host);
                if self.found.len() > HOSTS_MAX {
                    return Ok(false);
                }
            }
        }
        let alphabet = match self.text.as_bytes() {
            [] => b"[".as_slice(),
            [b'[', .., b']'] => b"".as_slice(),
            [b'[', ..] => LITERAL,
            _ => NAME,
        };
        let names = if self.text.is_empty() { NAME } else { b"".as_slice() };
        self.trail.push(node);
        for byte in alphabet.iter().chain(names) {
            let next = walk.step(node, *byte)?;
            self.text.push(char::from(*byte));
            let few = self.descend(walk, next)?;
            self.text.pop();
            if !few {
                return Ok(false);
            }
        }
        self.trail.pop();
        Ok(true)
    }
}

/// Returns true if some rest of an authority, and then of a URL, leads to a match.
fn leads_to_match(walk: &mut Walk, node: Node) -> Result<bool, TooLong> {
    walk.any(node, AUTHORITY, |walk, node| {
        Ok(node == Node::Won || opens_path(walk, node)?)
    })
}

/// Returns true if a host that ends here can belong to a URL that matches: a path follows, or a port and a path.
fn ends_host(walk: &mut Walk, node: Node, scheme: Scheme) -> Result<bool, TooLong> {
    if opens_path(walk, node)? {
        return Ok(true);
    }
    let port = walk.step(node, b':')?;
    Ok(walk.any(port, b"0123456789", opens_path)? && names_port(walk, port, 0, scheme.default_port())?)
}

/// Returns true if a port that can stand in a URL leads on: the default one is left out there, so `^https://a:443/` is dead.
fn names_port(walk: &mut Walk, node: Node, port: u16, default: u16) -> Result<bool, TooLong> {
    if node == Node::Dead {
        return Ok(false);
    }
    if port != 0 && port != default && opens_path(walk, node)? {
        return Ok(true);
    }
    for digit in u16::from(port == 0)..10 {
        let Some(longer) = port.checked_mul(10).and_then(|tens| tens.checked_add(digit)) else {
            continue;
        };
        let next = walk.step(node, b"0123456789"[usize::from(digit)])?;
        if names_port(walk, next, longer, default)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Returns true if a path that begins here can belong to a URL that matches: `/...`, or the lone `*` of OPTIONS.
fn opens_path(walk: &mut Walk, node: Node) -> Result<bool, TooLong> {
    let asterisk = walk.step(node, b'*')?;
    let slash = walk.step(node, b'/')?;
    Ok(walk.wins_at_end(asterisk)? || walk.can_win(slash)?)
}

fn https(walk: &mut Walk) -> Result<Https, TooLong> {
    let start = walk.run(walk.start(), "https://")?;
    let root = |walk: &mut Walk, node| {
        let slash = walk.step(node, b'/')?;
        walk.wins_at_end(slash)
    };
    Ok(
        match (leads_to_match(walk, start)?, walk.any(start, AUTHORITY, root)?) {
            (_, true) => Https::Roots,
            (true, false) => Https::Paths,
            (false, false) => Https::Nothing,
        },
    )
}

/// Finds a URL that the pattern matches at a host that an attacker may own, the most obvious kind first.
fn stray(walk: &mut Walk, pattern: &Pattern) -> Result<Option<String>, TooLong> {
    for attempt in [elsewhere, longer_name, glued_name, own_domain, loose_dot] {
        for scheme in SCHEMES {
            let prefix = format!("{}://", scheme.as_str());
            let start = walk.run(walk.start(), &prefix)?;
            let url = attempt(walk, start)?.map(|rest| prefix + &rest);
            // The walk also yields a few URLs that are not canonical, so the pattern itself is asked.
            if let Some(url) = url.filter(|url| pattern.matches(url) == Some(true) && is_canonical(scheme, url)) {
                return Ok(Some(url));
            }
        }
    }
    Ok(None)
}

/// `github\.com` is found in any URL's query.
fn elsewhere(walk: &mut Walk, start: Node) -> Result<Option<String>, TooLong> {
    let plain = walk.run(start, "evil.example/")?;
    if walk.wins_at_end(plain)? {
        return Ok(Some("evil.example/".into()));
    }
    for rest in ["evil.example/?", "evil.example/", "192.0.2.1/", "evil.example:8443/"] {
        let node = walk.run(start, rest)?;
        if let Some(tail) = walk.shortest_win(node)? {
            return Ok(Some(format!("{rest}{tail}")));
        }
    }
    Ok(None)
}

/// `^https://github\.com` without the slash is also the beginning of a longer name.
fn longer_name(walk: &mut Walk, start: Node) -> Result<Option<String>, TooLong> {
    const REST: &str = ".evil.example/";
    let ends = |walk: &mut Walk, node: Node| {
        let end = walk.run(node, REST)?;
        walk.can_win(end)
    };
    let Some((name, node)) = walk.shortest(start, NAME, ends)? else {
        return Ok(None);
    };
    let node = walk.run(node, REST)?;
    Ok(walk.shortest_win(node)?.map(|tail| format!("{name}{REST}{tail}")))
}

/// `^https://[^/]*github\.com/` is also `evilgithub.com`.
fn glued_name(walk: &mut Walk, start: Node) -> Result<Option<String>, TooLong> {
    let glued = walk.run(start, "evil")?;
    // Two labels in all: a name that anybody can register.
    let ends = |walk: &mut Walk, node: Node| {
        let dot = walk.step(node, b'.')?;
        walk.any(dot, NO_DOT, opens_path)
    };
    let Some((first, node)) = walk.shortest(glued, NO_DOT, ends)? else {
        return Ok(None);
    };
    let dot = walk.step(node, b'.')?;
    let Some((second, node)) = walk.shortest(dot, NO_DOT, opens_path)? else {
        return Ok(None);
    };
    let path = walk.step(node, b'/')?;
    Ok(walk
        .shortest_win(path)?
        .map(|tail| format!("evil{first}.{second}/{tail}")))
}

/// `^https://api\..*\.com/` is also `api.evil.com`.
fn own_domain(walk: &mut Walk, start: Node) -> Result<Option<String>, TooLong> {
    const LABEL: &str = ".evil.";
    let ends = |walk: &mut Walk, node: Node| {
        let end = walk.run(node, LABEL)?;
        walk.any(end, NO_DOT, opens_path)
    };
    let Some((first, node)) = walk.shortest(start, NAME, ends)? else {
        return Ok(None);
    };
    let domain = walk.run(node, LABEL)?;
    let Some((last, node)) = walk.shortest(domain, NO_DOT, opens_path)? else {
        return Ok(None);
    };
    let path = walk.step(node, b'/')?;
    Ok(walk
        .shortest_win(path)?
        .map(|tail| format!("{first}{LABEL}{last}/{tail}")))
}

/// `^https://api.github.com/` is also `apixgithub.com`.
fn loose_dot(walk: &mut Walk, start: Node) -> Result<Option<String>, TooLong> {
    // Below a place where a letter does as well as the dot: one label, a dot, and a last label.
    let last = |walk: &mut Walk, node: Node| {
        let dot = walk.step(node, b'.')?;
        walk.any(dot, NO_DOT, opens_path)
    };
    let loose = |walk: &mut Walk, node: Node| {
        let dot = walk.step(node, b'.')?;
        let letter = walk.step(node, b'x')?;
        Ok(dot == letter && walk.any(dot, NO_DOT, last)?)
    };
    let Some((first, node)) = walk.shortest(start, NAME, loose)? else {
        return Ok(None);
    };
    let letter = walk.step(node, b'x')?;
    let Some((second, node)) = walk.shortest(letter, NO_DOT, last)? else {
        return Ok(None);
    };
    let dot = walk.step(node, b'.')?;
    let Some((third, node)) = walk.shortest(dot, NO_DOT, opens_path)? else {
        return Ok(None);
    };
    let path = walk.step(node, b'/')?;
    Ok(walk
        .shortest_win(path)?
        .map(|tail| format!("{first}x{second}.{third}/{tail}")))
}

fn is_canonical(scheme: Scheme, url: &str) -> bool {
    let Some((authority, path)) = url.split_once("://").and_then(|(_, rest)| rest.split_once('/')) else {
        return false;
    };
    Target::new(&http::Method::GET, scheme, authority, &format!("/{path}")).is_ok_and(|target| target.url() == url)
}

#[cfg(test)]
mod tests;
