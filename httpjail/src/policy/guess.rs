//! Guesses the rule that a host name, a glob or a URL was meant to be.
//!
//! Only hints show a guess. No request is judged by it.

use super::host_analysis::{self, Pin};
use super::matcher::{Place, PlaceHost};
use super::methods::Methods;
use super::pattern::Pattern;
use super::rule::{Action, Rule, Source};
use super::suggest;
use super::target::split_authority;
use crate::net::{Host, Scheme};

/// What stands in patterns, and in no name, address, glob or path that people write.
const OF_PATTERNS: [char; 10] = ['\\', '(', ')', '{', '|', '+', '$', '^', '?', ' '];

/// Returns the pattern for a host name, a glob (`*.example.com`, `example.com/v1/*`) or a URL, and `None` for other text.
pub(crate) fn pattern(text: &str, action: Action) -> Option<String> {
    let text = text.trim();
    if matches!(text, "*" | "**" | "/*" | "*://*" | "*.*") {
        return Some(".*".into());
    }
    let body = text.strip_prefix('^').unwrap_or(text);
    let (scheme, rest) = match body.split_once("://") {
        Some(("https", rest)) => (Some("https"), rest),
        Some(("http", rest)) => (Some("http"), rest),
        Some(("https?" | "*", rest)) => (Some("https?"), rest),
        Some(_) => return None,
        None => (None, body),
    };
    if rest.contains(OF_PATTERNS) {
        return None;
    }
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (below, named) = match authority.strip_prefix("*.") {
        Some(named) => (r"[^/]*\.", named),
        None => ("", authority),
    };
    let (host, port) = split_authority(named).ok()?;
    let local = match &host {
        // One word alone is looked for anywhere in a URL.
        Host::Name(name) if !name.contains('.') && name != "localhost" => return None,
        Host::Name(name) => name == "localhost",
        Host::V4(_) | Host::V6(_) if !below.is_empty() => return None,
        Host::V4(address) => address.is_private() || address.is_loopback(),
        Host::V6(address) => address.is_loopback(),
    };
    let scheme = scheme.unwrap_or(match (action, port) {
        (Action::Deny, _) => "https?",
        (Action::Allow, Some(80)) => "http",
        (Action::Allow, _) if local => "http",
        (Action::Allow, _) => "https",
    });
    let default = match scheme {
        "http" => Scheme::Http,
        _ => Scheme::Https,
    };
    let port = port.filter(|port| *port != default.default_port());
    let port = port.map_or(String::new(), |port| format!(":{port}"));
    let meant = format!(
        "^{scheme}://{below}{}{port}{}",
        suggest::literal(&host.to_string()),
        glob(path)
    );
    let found = host_analysis::of_pattern(&Pattern::new(&meant).ok()?);
    (found.stray.is_none() && found.pin != Pin::Hosts(Vec::new())).then_some(meant)
}

/// A path with globs: what it begins with where it ends in one.
fn glob(path: &str) -> String {
    let path = path.trim_end_matches(".*").trim_end_matches('*');
    if path.is_empty() {
        return "/".into();
    }
    let pieces = path.split("**").map(|piece| {
        let names: Vec<String> = piece.split('*').map(suggest::literal).collect();
        names.join("[^/]*")
    });
    pieces.collect::<Vec<_>>().join(".*")
}

/// The rule that was meant by a text without a colon: `github.com`, `deny github.com`, `allow-get`.
pub(super) fn rule(text: &str) -> String {
    let text = text.trim();
    let (head, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let Some(action) = action_of(head) else {
        return match text {
            "" => r"allow: ^https://example\.com/".into(),
            text => format!("allow: {}", or_itself(text, Action::Allow)),
        };
    };
    match rest.trim() {
        "" => format!("{head}: .*"),
        rest => format!("{head}: {}", or_itself(rest, action)),
    }
}

/// The action of what stands before a rule's colon, if that is well spelled.
pub(crate) fn action_of(head: &str) -> Option<Action> {
    let (action, method) = head.split_once('-').unzip();
    let is_method = method.is_none_or(|method| Methods::parse(method).is_some());
    Action::parse(action.unwrap_or(head)).filter(|_| is_method)
}

fn or_itself(text: &str, action: Action) -> String {
    pattern(text, action).unwrap_or_else(|| text.to_owned())
}

/// A rule as `-r` takes it, or a host, as an entry of a policy file.
pub(crate) fn entry(text: &str) -> Option<String> {
    if let Ok(rule) = Rule::parse(text, Source::Option(1)) {
        let methods = match rule.methods().to_string().strip_prefix('-') {
            Some(methods) => format!("methods: [{methods}], "),
            None => String::new(),
        };
        let pattern = rule.matcher().as_pattern().replace('\'', "''");
        return Some(format!(
            "- {{action: {}, {methods}pattern: '{pattern}'}}",
            rule.action()
        ));
    }
    let (head, host) = text.split_once(char::is_whitespace).unwrap_or(("allow", text));
    let action = action_of(head)?;
    let host = host.trim();
    let place = Place::new(host, None).ok()?;
    let named = match place.parts().0 {
        PlaceHost::Exactly(host) => host.to_string().contains(['.', ':']) || host.as_name() == Some("localhost"),
        PlaceHost::Below(_) => true,
    };
    let quote = if host.starts_with(['*', '[']) { "'" } else { "" };
    named.then(|| format!("- {{action: {action}, host: {quote}{host}{quote}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_globs_and_urls() {
        for (text, meant) in [
            ("github.com", Some(r"^https://github\.com/")),
            ("GitHub.com.", Some(r"^https://github\.com/")),
            ("*.github.com", Some(r"^https://[^/]*\.github\.com/")),
            ("https://*.github.com/*", Some(r"^https://[^/]*\.github\.com/")),
            ("*://api.test/v1/**", Some(r"^https?://api\.test/v1/")),
            (
                "api.test/*/raw/**/x-y.z",
                Some(r"^https://api\.test/[^/]*/raw/.*/x-y\.z"),
            ),
            ("github.com:443", Some(r"^https://github\.com/")),
            ("http://github.com:80/x", Some(r"^http://github\.com/x")),
            ("localhost:8080", Some("^http://localhost:8080/")),
            ("10.0.0.1", Some(r"^http://10\.0\.0\.1/")),
            ("[::1]:3000", Some(r"^http://\[::1\]:3000/")),
            ("*", Some(".*")),
            ("telemetry", None),
            (r"github\.com", None),
            ("*.10.0.0.1", None),
            ("*github.com", None),
            ("a b", None),
            ("", None),
            ("ftp://github.com/", None),
            ("https://", None),
        ] {
            assert_eq!(pattern(text, Action::Allow).as_deref(), meant, "{text}");
        }
        let denied = pattern("*.github.com", Action::Deny);
        assert_eq!(denied.as_deref(), Some(r"^https?://[^/]*\.github\.com/"));
    }

    #[test]
    fn entries_of_a_file() {
        for (text, meant) in [
            ("allow: ^https://x/", Some("- {action: allow, pattern: '^https://x/'}")),
            (
                "deny-get: it's",
                Some("- {action: deny, methods: [get], pattern: 'it''s'}"),
            ),
            ("github.com", Some("- {action: allow, host: github.com}")),
            ("deny *.github.com", Some("- {action: deny, host: '*.github.com'}")),
            ("telemetry", None),
            ("x: y", None),
        ] {
            assert_eq!(entry(text).as_deref(), meant, "{text}");
        }
    }
}
