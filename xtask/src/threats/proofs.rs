//! Which test proves which class, as the tests themselves say.
//!
//! `// Proves: S12, S13.` above a test's attribute. The backends are those over which the test runs: for a topic of
//! `tests/ways.rs` the three of its table, less its exceptions; for a unit test those that use its module. Where that does
//! not tell, or is too much, the line does: `// Proves on ebpf, attach: S12.`

use std::collections::BTreeSet;

use super::{BACKENDS, Backend, backends, model};

// In two parts, so that this file does not find itself.
const MARK: &str = concat!("// Pro", "ves");

/// A test's claim to prove a class.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    pub(super) id: String,
    pub(super) test: String,
    pub(super) backends: BTreeSet<Backend>,
}

/// The table of `tests/ways.rs`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ways {
    topics: Vec<String>,
    exceptions: Vec<(String, BTreeSet<Backend>)>,
}

impl Ways {
    pub(super) fn read(text: &str) -> Ways {
        let between = |from: &str, to: &str| {
            let rest = text.split_once(from).map_or("", |(_, rest)| rest);
            rest.split_once(to).map_or("", |(inside, _)| inside)
        };
        let topics = between("\ntable! {", "}")
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        let listed = between("const EXCEPTIONS", "\n];");
        let mut ways = Ways {
            topics,
            exceptions: Vec::new(),
        };
        // Each is `("topic::test", &[Way::Netns, Way::Rootless], "reason")`.
        for entry in listed.split('(').skip(1) {
            let mut quoted = entry.split('"').skip(1).step_by(2);
            let (Some(name), Some((_, list))) = (quoted.next(), entry.split_once("&[")) else {
                continue;
            };
            let list = list.split(']').next().unwrap_or_default();
            let has = |way: &str| list.split(',').any(|named| named.trim() == way);
            let excepted = [("Way::Netns", Backend::Netns), ("Way::Rootless", Backend::Rootless)];
            let excepted = excepted
                .into_iter()
                .filter(|(way, _)| has(way))
                .map(|(_, backend)| backend);
            ways.exceptions
                .push((name.trim_end_matches('*').to_owned(), excepted.collect()));
        }
        ways
    }

    /// Over what a test of the integration suite runs; none if the topic does not tell.
    fn of(&self, topic: &str, name: &str) -> Option<BTreeSet<Backend>> {
        match topic {
            "attach" => Some([Backend::Attach].into()),
            "weak" => Some([Backend::Weak].into()),
            _ if self.topics.iter().any(|known| known == topic) => {
                let mut all = BTreeSet::from([Backend::Ebpf, Backend::Netns, Backend::Rootless]);
                for (_, excepted) in self.exceptions.iter().filter(|(test, _)| name.starts_with(test)) {
                    all.retain(|backend| !excepted.contains(backend));
                }
                Some(all)
            }
            _ => None,
        }
    }
}

/// The claims in a file, and what is wrong with them.
pub(super) fn read(path: &str, text: &str, ways: &Ways) -> (Vec<Proof>, Vec<String>) {
    let (mut proofs, mut findings) = (Vec::new(), Vec::new());
    if !path.ends_with(".rs") {
        return (proofs, findings);
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    for (number, line) in lines.iter().enumerate() {
        let Some(claim) = line.strip_prefix(MARK) else { continue };
        let mut wrong = |what: &str| findings.push(format!("{path}:{}: {what}", number + 1));
        let Some((named, ids)) = claim.split_once(':') else {
            wrong("a claim is `Proves: S12, S13.` or `Proves on ebpf, attach: S12.`");
            continue;
        };
        let named = match named.trim() {
            "" => None,
            named => match named.strip_prefix("on ").and_then(backends) {
                Some(named) => Some(named),
                None => {
                    wrong("no backends");
                    continue;
                }
            },
        };
        let Some(function) = test_below(&lines[number + 1..]) else {
            wrong("no test stands below this claim");
            continue;
        };
        let module = module(path);
        let test = format!("{module}::{function}");
        let Some(backends) = named.or_else(|| default(path, &module, &test, ways)) else {
            wrong("this file does not tell the backends: `Proves on ...:`");
            continue;
        };
        for id in ids.trim().trim_end_matches('.').split(',').map(str::trim) {
            if model::is_id(id) {
                proofs.push(Proof {
                    id: id.to_owned(),
                    test: test.clone(),
                    backends: backends.clone(),
                });
            } else {
                wrong(&format!("`{id}` is no class"));
            }
        }
    }
    (proofs, findings)
}

/// The name of the test that these lines begin with: comments, attributes with `test` among them, then `fn name`.
fn test_below<'a>(lines: &[&'a str]) -> Option<&'a str> {
    let mut is_test = false;
    for line in lines {
        if line.starts_with("//") {
            continue;
        }
        if line.starts_with("#[") {
            is_test |= line.contains("test");
            continue;
        }
        let rest = line.strip_prefix("async ").unwrap_or(line).strip_prefix("fn ")?;
        let end = rest.find(|c: char| c != '_' && !c.is_alphanumeric())?;
        return Some(&rest[..end]).filter(|_| is_test);
    }
    None
}

/// `escapes` for `tests/escapes.rs`, `jail::steering::ebpf::tests` for `httpjail/src/jail/steering/ebpf/tests/mod.rs`.
fn module(path: &str) -> String {
    let inner = path
        .strip_prefix("httpjail/src/")
        .or(path.strip_prefix("tests/"))
        .unwrap_or(path);
    let inner = inner.trim_end_matches(".rs").trim_end_matches("/mod");
    inner.replace('/', "::")
}

/// The backends that a test speaks for by its place.
fn default(path: &str, module: &str, test: &str, ways: &Ways) -> Option<BTreeSet<Backend>> {
    use Backend::{Attach, Ebpf, Netns, Rootless, Weak};
    if path.starts_with("tests/") {
        return ways.of(module, test);
    }
    if !path.starts_with("httpjail/src/") {
        return None;
    }
    let within = |prefix: &str| module == prefix || module.starts_with(&format!("{prefix}::"));
    let of: [(&str, &[Backend]); 8] = [
        ("jail::attach", &[Attach]),
        ("jail::steering::cgroup", &[Ebpf, Attach]),
        ("jail::steering::ebpf", &[Ebpf, Attach]),
        ("jail::steering::netns", &[Netns, Rootless]),
        ("jail", &[Ebpf, Netns, Rootless]),
        ("dns", &[Ebpf, Netns, Rootless, Attach]),
        ("weak", &[Weak]),
        ("", &BACKENDS),
    ];
    let found = of.into_iter().find(|(prefix, _)| prefix.is_empty() || within(prefix));
    found.map(|(_, backends)| backends.iter().copied().collect())
}
