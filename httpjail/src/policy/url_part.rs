//! The parts of a canonical URL, and the first in which a URL differs from what a rule matches.

use super::target::Target;

/// A part of the canonical URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `http` or `https`.
    Scheme,
    /// The host.
    Host,
    /// The port, also where the URL leaves it out.
    Port,
    /// The path.
    Path,
    /// The query.
    Query,
    /// No single one: the pattern could be anywhere, and is nowhere.
    Anywhere,
}

impl Part {
    /// Where a URL first differs from the text that it shares the most with, of those that it should begin with.
    pub(super) fn differing(starts: &[Box<str>], target: &Target) -> Part {
        let shared = |text: &str| {
            text.bytes()
                .zip(target.url().bytes())
                .take_while(|(a, b)| a == b)
                .count()
        };
        let nearest = starts
            .iter()
            .map(|text| (shared(text), text))
            .max_by_key(|(shared, _)| *shared);
        let Some((at, text)) = nearest else {
            return Part::Anywhere;
        };
        let wanted = text.as_bytes().get(at);
        let host = target.scheme().as_str().len() + "://".len();
        let path = host + target.authority().len();
        let host_end = host + target.host().to_string().len();
        let query = path + target.path().len();
        match at {
            _ if at < host => Part::Scheme,
            _ if at < host_end => Part::Host,
            // What follows the host here ends it; does what should follow end it as well?
            _ if at == host_end && !matches!(wanted, None | Some(b':' | b'/' | b'*')) => Part::Host,
            _ if (at < path && wanted.is_some()) || (at == path && wanted == Some(&b':')) => Part::Port,
            _ if at < query || (at == query && wanted != Some(&b'?')) => Part::Path,
            _ => Part::Query,
        }
    }
}
