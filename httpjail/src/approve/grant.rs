//! Which requests a decision covers, and the rule that says the same.

use serde::{Deserialize, Serialize};

use super::request::ApprovalRequest;
use crate::policy::{Methods, literal};

/// Which requests a decision for the run covers: exactly what the prompt shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum GrantScope {
    /// This method and exactly this URL.
    Url,
    /// This method and every URL that begins like this one, up to the last slash of its path.
    Prefix,
    /// Every method, this scheme, host and port.
    Host,
}

/// A decision that holds for the run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub allows: bool,
    /// `None` means every method.
    method: Option<String>,
    /// The URL, or a prefix of it.
    url: String,
    whole: bool,
}

impl Grant {
    /// Returns what a decision about `request` covers.
    pub(crate) fn new(allows: bool, request: &ApprovalRequest, scope: GrantScope) -> Grant {
        let url = match scope {
            GrantScope::Url => request.url.clone(),
            GrantScope::Prefix => format!("{}{}", origin(request), directory(&request.path)),
            GrantScope::Host => format!("{}/", origin(request)),
        };
        Grant {
            allows,
            method: (scope != GrantScope::Host).then(|| request.method.clone()),
            url,
            whole: scope == GrantScope::Url,
        }
    }

    /// Returns true if this request is covered too.
    pub(crate) fn covers(&self, method: &str, url: &str) -> bool {
        let place = if self.whole {
            url == self.url
        } else {
            url.starts_with(&self.url)
        };
        place && self.method.as_deref().is_none_or(|own| own == method)
    }

    /// Returns the text for the prompt: `GET https://a.test/x/...`.
    pub(crate) fn shown(&self) -> String {
        let method = self.method.as_deref().unwrap_or("any method");
        let rest = if self.whole { "" } else { "..." };
        format!("{method} {}{rest}", self.url)
    }

    /// Returns the method and the pattern of the equivalent rule, or `None` if no rule can express it.
    pub(crate) fn rule(&self) -> Option<(Option<String>, String)> {
        let method = match &self.method {
            // A rule cannot name it.
            Some(method) if Methods::parse(method).is_none() => return None,
            method => method.as_ref().map(|method| method.to_ascii_lowercase()),
        };
        let end = if self.whole { "$" } else { "" };
        Some((method, format!("^{}{end}", literal(&self.url))))
    }
}

/// Returns `scheme://host[:port]`, the URL up to its path. (The URL of `OPTIONS *` has no path and ends in a star.)
fn origin(request: &ApprovalRequest) -> &str {
    let after_scheme = request.scheme.len() + 3;
    let rest = request.url.get(after_scheme..).unwrap_or_default();
    let end = rest.find(['/', '?', '*']).unwrap_or(rest.len());
    &request.url[..(after_scheme + end).min(request.url.len())]
}

fn directory(path: &str) -> &str {
    path.rfind('/').map_or("/", |slash| &path[..=slash])
}
