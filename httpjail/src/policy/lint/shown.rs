//! How a finding shows a rule and a request.

use http::Method;

use crate::net::Scheme;
use crate::policy::rule::Rule;
use crate::policy::target::Target;

pub(super) fn quoted(rule: &Rule) -> String {
    format!("rule `{rule}` ({})", rule.source())
}

/// The request for a canonical URL.
pub(super) fn request(method: &Method, url: &str) -> Option<Target> {
    let (scheme, rest) = url.split_once("://")?;
    let scheme = if scheme == "http" { Scheme::Http } else { Scheme::Https };
    let (authority, path) = rest.split_at(rest.find(['/', '*'])?);
    Target::new(method, scheme, authority, path)
        .ok()
        .filter(|target| target.url() == url)
}
