//! Common mistakes in a pattern: an unescaped dot, a method, a host that no URL can have.

use regex_syntax::ast::{self, Ast, Visitor};

use super::witness::{self, Witness};
use crate::policy::host_analysis::{self, Pin};
use crate::policy::methods::Methods;
use crate::policy::pattern::Pattern;

/// The pattern with the dots of its names escaped, and a URL that only the one without finds.
pub(super) fn loose_dot(text: &str) -> Option<(String, String)> {
    let ast = ast::parse::Parser::new().parse(text).ok()?;
    let dots = ast::visit(
        &ast,
        Dots {
            text,
            found: Vec::new(),
        },
    )
    .ok()?;
    let mut mended = text.to_owned();
    for at in dots.iter().rev() {
        mended.insert(*at, '\\');
    }
    match witness::between(text, (mended != text).then_some(&*mended)) {
        Witness::Url(url) if !dots.is_empty() => Some((mended, url)),
        _ => None,
    }
}

/// Collects the places of dots between letters.
struct Dots<'t> {
    text: &'t str,
    found: Vec<usize>,
}

impl Visitor for Dots<'_> {
    type Output = Vec<usize>;
    type Err = ();

    fn finish(mut self) -> Result<Vec<usize>, ()> {
        self.found.sort_unstable();
        Ok(self.found)
    }

    fn visit_pre(&mut self, ast: &Ast) -> Result<(), ()> {
        let Ast::Dot(span) = ast else { return Ok(()) };
        let (before, after) = (&self.text[..span.start.offset], &self.text[span.end.offset..]);
        let in_name = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        // The `d` of `\d.` is not a letter of a name.
        let escape = before.len() > 1 && before.as_bytes()[before.len() - 2] == b'\\';
        if before.ends_with(in_name) && !escape && after.starts_with(in_name) {
            self.found.push(span.start.offset);
        }
        Ok(())
    }
}

/// The method that a pattern begins with, and the rest: `GET https://...` is a request, and no URL has a space.
pub(super) fn method_in_pattern(text: &str) -> Option<(Methods, &str)> {
    let body = text.strip_prefix('^').unwrap_or(text);
    let (word, rest) = body.split_once([' ', ':'])?;
    let methods = Methods::parse(word)?;
    Some((methods, rest.trim_start()))
}

/// A pattern that matches no URL, as it was probably meant.
pub(super) fn revived(text: &str) -> Option<String> {
    let lower = text.to_ascii_lowercase();
    let end = |text: &str| text.strip_suffix('$').map(|rest| format!("{rest}/"));
    let scheme = |text: &str| text.strip_prefix('^').map(|rest| format!("^https://{rest}"));
    let slash = |text: &str| (!text.ends_with('/')).then(|| format!("{text}/"));
    let port = |text: &str| text.contains(":443/").then(|| text.replace(":443/", "/"));
    let tries = [
        Some(lower.clone()),
        end(&lower),
        port(&lower),
        scheme(&lower).and_then(|text| end(&text)),
        scheme(&lower).and_then(|text| slash(&text)),
        scheme(&lower),
    ];
    tries.into_iter().flatten().find(|text| {
        Pattern::new(text).is_ok_and(|pattern| {
            let found = host_analysis::of_pattern(&pattern);
            matches!(&found.pin, Pin::Hosts(hosts) if !hosts.is_empty())
        })
    })
}
