//! Hints: what to write instead of a rule or a pattern that cannot be parsed.

use super::guess;
use super::methods::Methods;
use super::pattern::PatternError;
use super::rule::{Action, RuleError};

impl RuleError {
    /// Returns what to write instead of `text`, where that is known.
    pub fn hint(&self, text: &str) -> Option<String> {
        match self {
            RuleError::NoColon => Some(write(&guess::rule(text))),
            RuleError::Action(head) => {
                let (host, near) = (text.trim().strip_prefix("host:"), Action::nearest(head));
                // `-r https://host/` splits at the scheme's colon, `-r host:443` at the port's.
                match (guess::pattern(host.unwrap_or(text), Action::Allow), near) {
                    (Some(pattern), _) => Some(write(&format!("allow: {pattern}"))),
                    _ if matches!(head.as_str(), "http" | "https" | "^http" | "^https" | "^https?") => {
                        Some(write(&format!("allow: {}", text.trim())))
                    }
                    (None, near) => near.map(|action| format!("did you mean `{action}`?")),
                }
            }
            RuleError::Method(names) if names.contains([',', '-', '|', ' ']) => Some(
                "write one rule for each method; a rule in a YAML file takes a list: `methods: [get, post]`".into(),
            ),
            RuleError::Method(name) => Some(match Methods::nearest(name) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "a rule without a method is about every method".into(),
            }),
            RuleError::Pattern(error) => {
                let (head, pattern) = text.split_once(':').unwrap_or(("allow", text));
                let action = guess::action_of(head.trim()).unwrap_or(Action::Allow);
                match (error, guess::pattern(pattern, action)) {
                    (PatternError::Syntax(_), Some(pattern)) => Some(write(&format!("{}: {pattern}", head.trim()))),
                    _ => error.hint(pattern),
                }
            }
        }
    }
}

impl PatternError {
    /// What to write instead of `text`.
    pub fn hint(&self, text: &str) -> Option<String> {
        let known = match self {
            PatternError::Empty => "to match every request write `.*`",
            PatternError::Control(_) => {
                "in YAML, \"\\b\" in double quotes is a backspace: put the pattern in single quotes"
            }
            PatternError::Syntax(message) if message.contains("look-around") || message.contains("backreference") => {
                "write a deny rule before the allow rule instead: the first rule that matches decides"
            }
            PatternError::Syntax(_) => {
                return guess::pattern(text, Action::Allow).map(|meant| format!("write `{meant}`"));
            }
            PatternError::TooLarge(_) => "write shorter repetitions, or split it into several rules",
        };
        Some(known.to_owned())
    }
}

fn write(rule: &str) -> String {
    format!("write \"{rule}\"")
}
