//! What `check` prints: a line a request, or with `--json` an object a line.

use serde::Serialize;

use crate::audit::printable;
use crate::cli::output::print;
use crate::config::file::Test;
use crate::failure::Failure;
use crate::policy::{Action, Explanation, Outcome, Part, Policy, Rule, Target, suggest_rule_for_host};
use crate::proxy::{Class, Foreseen};

/// What a policy says of a request.
pub(super) struct Found<'a> {
    /// The request as it is judged.
    pub(super) target: Target,
    /// What becomes of it.
    pub(super) action: Action,
    /// The rule that says so; none if none matched.
    pub(super) rule: Option<&'a Rule>,
    /// What would become of its address, if a rule allows it.
    pub(super) address: Foreseen,
}

/// A request whose verdict changes.
pub(super) struct Change<'a> {
    pub(super) target: &'a Target,
    pub(super) before: &'a Found<'a>,
    pub(super) after: &'a Found<'a>,
    pub(super) times: u64,
}

/// More rules that did not match are shown only where they nearly did.
const STEPS_MAX: usize = 20;

/// Writes to stdout.
pub(super) struct Printer {
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    verdict: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    wanted: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<String>,
    method: &'a str,
    url: &'a str,
    #[serde(flatten)]
    by: By,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    times: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tried: Vec<Tried>,
}

/// The rule that decided, or that none did.
#[derive(Default, Serialize)]
struct By {
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The rule that leads to its address.
    #[serde(skip_serializing_if = "Option::is_none")]
    write: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<&'static str>,
}

#[derive(Serialize)]
struct Tried {
    rule: String,
    source: String,
    why: String,
}

impl Printer {
    pub(super) fn new(json: bool) -> Printer {
        Printer { json }
    }

    /// One request with all the reasons.
    pub(super) fn explained(&mut self, found: &Found<'_>, policy: &Policy, why: &Explanation) -> Result<(), Failure> {
        let steps = || {
            why.steps
                .iter()
                .filter_map(|step| Some((policy.rule(step.rule)?, step.outcome)))
        };
        if self.json {
            let tried = steps().map(|(rule, outcome)| Tried {
                rule: rule.to_string(),
                source: rule.source().to_string(),
                why: outcome.to_string(),
            });
            return self.object(&Line {
                tried: tried.collect(),
                ..Line::of(found, &found.target)
            });
        }
        let mut text = format!("{} {}\n", found.action, found.target);
        let mut left_out = 0;
        for (rule, outcome) in steps() {
            let near = matches!(
                outcome,
                Outcome::Matched | Outcome::OtherMethod | Outcome::Elsewhere(Part::Port | Part::Path | Part::Query)
            );
            if why.steps.len() > STEPS_MAX && !near {
                left_out += 1;
                continue;
            }
            text.push_str(&format!("  {}: {}: {outcome}\n", rule.source(), described(rule)));
        }
        if left_out > 0 {
            text.push_str(&format!("  {left_out} rules before that are about something else\n"));
        }
        if found.rule.is_none() {
            text.push_str("  no rule matches\n");
        }
        let host = found.target.host();
        match found.address {
            Foreseen::Permitted => {}
            Foreseen::NotLookedUp if found.rule.is_some_and(|rule| rule.is_pinned_to(host)) => {
                text.push_str(&format!("  the address of {host} is not looked up\n"));
            }
            Foreseen::NotLookedUp => text.push_str(&format!(
                "  the address of {host} is not looked up: a private one needs a rule that names this host alone\n"
            )),
            Foreseen::Refused(class) => {
                let (class, meant) = (class.as_str(), found.meant().unwrap_or_default());
                text.push_str(&format!(
                    "  {class}: it needs a rule that names this host alone, before that one\n"
                ));
                text.push_str(&format!("  write: {meant}\n"));
            }
        }
        self.text(&text)
    }

    pub(super) fn verdict(&mut self, found: &Found<'_>, times: u64) -> Result<(), Failure> {
        if self.json {
            return self.object(&Line {
                times: (times > 1).then_some(times),
                ..Line::of(found, &found.target)
            });
        }
        self.text(&format!(
            "{} {}{} ({})\n",
            found.action,
            found.target,
            often(times),
            found.by()
        ))
    }

    /// A verdict that is another with the other policy.
    pub(super) fn change(&mut self, change: &Change<'_>) -> Result<(), Failure> {
        let Change {
            target,
            before,
            after,
            times,
        } = change;
        if self.json {
            return self.object(&Line {
                before: Some(before.action.to_string()),
                times: (*times > 1).then_some(*times),
                ..Line::of(after, target)
            });
        }
        self.text(&format!(
            "{} -> {} {target}{}\n  before: {}\n  after: {}\n",
            before.action,
            after.action,
            often(*times),
            before.by(),
            after.by()
        ))
    }

    /// A test and what came of it.
    pub(super) fn test(&mut self, test: &Test, found: &Found<'_>) -> Result<(), Failure> {
        if self.json {
            return self.object(&Line {
                wanted: Some(test.wanted.to_string()),
                test: Some(&test.place),
                ..Line::of(found, &test.target)
            });
        }
        let Test { target, wanted, place } = test;
        if found.action == *wanted {
            return self.text(&format!("ok   {place}: {target}: {wanted}\n"));
        }
        self.text(&format!(
            "FAIL {place}: {target}: wanted {wanted}, and it is {} ({})\n",
            found.action,
            found.by()
        ))
    }

    fn object(&mut self, line: &Line<'_>) -> Result<(), Failure> {
        let text = serde_json::to_string(line).map_err(|error| Failure::new(format!("cannot write JSON: {error}")))?;
        print(&(text + "\n")).map(drop)
    }

    /// Escaped line by line, for the terminal that it may go to.
    fn text(&mut self, text: &str) -> Result<(), Failure> {
        let lines = text.lines().map(|line| format!("{}\n", printable(line)));
        print(&lines.collect::<String>()).map(drop)
    }
}

impl<'a> Line<'a> {
    fn of(found: &Found<'_>, target: &'a Target) -> Line<'a> {
        Line {
            verdict: found.action.to_string(),
            wanted: None,
            before: None,
            method: target.method().as_str(),
            url: target.url(),
            by: match found.rule {
                Some(rule) => By {
                    rule: Some(rule.to_string()),
                    name: rule.name().map(str::to_owned),
                    source: Some(rule.source().to_string()),
                    reason: match found.address {
                        Foreseen::Refused(class) => Some(class.as_str()),
                        Foreseen::Permitted | Foreseen::NotLookedUp => None,
                    },
                    write: found.meant(),
                    address: (found.address == Foreseen::NotLookedUp).then_some("not looked up"),
                },
                None => By {
                    reason: Some("no rule matched"),
                    ..By::default()
                },
            },
            test: None,
            times: None,
            tried: Vec::new(),
        }
    }
}

impl Found<'_> {
    /// The rule that would lead to an address which this one does not lead to.
    fn meant(&self) -> Option<String> {
        let Foreseen::Refused(class) = self.address else {
            return None;
        };
        suggest_rule_for_host(self.target.url(), class == Class::Private)
    }

    fn by(&self) -> String {
        match (self.rule, self.address) {
            (Some(rule), Foreseen::Refused(class)) => {
                format!("{}: {}, but: {}", rule.source(), described(rule), class.as_str())
            }
            (Some(rule), _) => format!("{}: {}", rule.source(), described(rule)),
            (None, _) => "no rule matches".to_owned(),
        }
    }
}

fn described(rule: &Rule) -> String {
    match rule.name() {
        Some(name) => format!("`{rule}` ({name})"),
        None => format!("`{rule}`"),
    }
}

fn often(times: u64) -> String {
    match times {
        1 => String::new(),
        times => format!(" x{times}"),
    }
}
