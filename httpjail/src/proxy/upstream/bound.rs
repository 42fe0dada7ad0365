//! Upstream connections that belong to the connection of one client.
//!
//! NTLM, Negotiate and their like prove who asks once and then take every request on the connection for theirs (RFC 4559
//! section 5, [MS-NTHT] section 3.1). On a connection that others get too, the next one would be served as the first; and
//! a handshake whose steps go different ways never ends. So a connection on which such a proof was asked for or given
//! stays with the client's connection that brought it, is asked all that comes from there for that host, and ends with it.

use crate::net::Host;
use crate::proxy::upstream::connection::Http1;
use crate::proxy::upstream::pool::Key;
use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue};
use quick_cache::sync::Cache;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::timeout;

/// Schemes that authenticate a connection. The last three are what services of Windows offer beside the first two.
const SCHEMES: [&[u8]; 5] = [b"NTLM", b"Negotiate", b"Kerberos", b"Nego2", b"CredSSP"];

/// What such a server says of the requests that are to come (`Persistent-Auth: true`).
const PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");

/// Of so many hosts a client's connection has connections of its own. Only to a proxy does one speak of several.
const HOSTS_MAX: usize = 8;

/// How many hosts are remembered for having asked.
const ASKING_MAX: usize = 256;

/// Whether a request with these fields proves who its connection belongs to.
pub(crate) fn proves(fields: &HeaderMap) -> bool {
    [AUTHORIZATION, PROXY_AUTHORIZATION]
        .iter()
        .any(|name| names_one_of(fields, name, &SCHEMES))
}

/// Whether another proxy that has refused us in these fields takes no password, but such a proof alone.
pub(crate) fn takes_no_password(fields: &HeaderMap) -> bool {
    names_one_of(fields, &PROXY_AUTHENTICATE, &SCHEMES)
        && !names_one_of(fields, &PROXY_AUTHENTICATE, &[b"Basic".as_slice()])
}

/// Whether an answer with these fields asks for such a proof, or says that it holds on.
pub(crate) fn asks(fields: &HeaderMap) -> bool {
    let challenges = [WWW_AUTHENTICATE, PROXY_AUTHENTICATE];
    challenges.iter().any(|name| names_one_of(fields, name, &SCHEMES)) || fields.contains_key(PERSISTENT_AUTH)
}

/// Says to the client of a proxy that it may authenticate so through it (RFC 4559 section 6): some do not before.
pub(crate) fn promise(answer: &mut HeaderMap) {
    if asks(answer) {
        answer.insert(
            "proxy-support",
            HeaderValue::from_static("Session-Based-Authentication"),
        );
    }
}

/// Whether one of the fields called `name` names one of `schemes`, at its beginning or after a comma. A comma may also stand in
/// a quoted realm: a connection that is kept apart for what is said there is no harm, and clients differ in where they see
/// the end of a quotation.
fn names_one_of(fields: &HeaderMap, name: &HeaderName, schemes: &[&[u8]]) -> bool {
    let parts = fields.get_all(name).iter();
    let mut parts = parts.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    parts.any(|part| {
        let word = part.trim_ascii_start();
        let end = word.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'='));
        let word = &word[..end.unwrap_or(word.len())];
        schemes.iter().any(|scheme| scheme.eq_ignore_ascii_case(word))
    })
}

/// The hosts that have asked lately. They are spoken to over HTTP/1.1: over HTTP/2 such a proof is not possible.
pub(crate) struct Asking {
    hosts: Cache<(Host, u16), ()>,
    /// Spares the others the look.
    any: AtomicBool,
}

impl Asking {
    pub(crate) fn new() -> Asking {
        Asking {
            hosts: Cache::new(ASKING_MAX),
            any: AtomicBool::new(false),
        }
    }

    pub(crate) fn note(&self, key: &Key) {
        self.hosts.insert((key.host.clone(), key.port), ());
        self.any.store(true, Ordering::Release);
    }

    pub(crate) fn has(&self, key: &Key) -> bool {
        self.any.load(Ordering::Acquire) && self.hosts.get(&(key.host.clone(), key.port)).is_some()
    }
}

/// The place of one connection, which is empty while a request is on it and when it has ended.
type Place = Arc<Held>;
type Held = tokio::sync::Mutex<Option<Http1>>;

/// The right to use what is in a place, and to put it back.
pub(crate) type Turn = OwnedMutexGuard<Option<Http1>>;

/// The upstream connections of one client's connection, one for each thing that connections are opened for.
#[derive(Default)]
pub(crate) struct Bound(Mutex<Vec<(Key, Place)>>);

impl Bound {
    /// The connection for `key` in its turn, if there ever was one. A connection is given back some moments after its answer has
    /// gone to the client, who may be faster: that is waited for, within `patience`.
    pub(crate) async fn turn(&self, key: &Key, patience: Option<Duration>) -> Option<Turn> {
        let place = self.lock().iter().find(|(known, _)| known == key)?.1.clone();
        match patience {
            Some(patience) => timeout(patience, place.lock_owned()).await.ok(),
            None => place.try_lock_owned().ok(),
        }
    }

    /// The place for a connection that is to belong here; nothing where another is in it already.
    pub(crate) fn claim(&self, key: &Key) -> Option<Turn> {
        let mut places = self.lock();
        if let Some((_, place)) = places.iter().find(|(known, _)| known == key) {
            return place.clone().try_lock_owned().ok().filter(|turn| turn.is_none());
        }
        if places.len() == HOSTS_MAX {
            // The oldest goes, with what is in it; a request that is on it ends in peace.
            places.remove(0);
        }
        let place = Place::default();
        let turn = place.clone().try_lock_owned().ok();
        places.push((key.clone(), place));
        turn
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Key, Place)>> {
        // Nothing here panics half way through a change of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The places of all clients.
#[derive(Default)]
pub(crate) struct Places(Mutex<Vec<Weak<Held>>>);

impl Places {
    /// Takes note of the place that `turn` is about.
    pub(crate) fn note(&self, turn: &Turn) {
        let mut places = self.lock();
        if places.len() == places.capacity() {
            places.retain(|place| place.strong_count() > 0);
        }
        places.push(Arc::downgrade(OwnedMutexGuard::mutex(turn)));
    }

    /// Closes the connections on which there is no request.
    pub(crate) fn empty(&self) {
        for place in self.lock().iter().filter_map(Weak::upgrade) {
            if let Ok(mut place) = place.try_lock() {
                *place = None;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Held>>> {
        // Nothing here panics half way through a change of it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(name: HeaderName, values: &[&'static str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_static(value));
        values.map(|value| (name.clone(), value)).collect()
    }

    // Proves: H10.
    #[test]
    fn what_is_about_the_connection() {
        let asked = |values: &[&'static str]| {
            assert!(!asks(&fields(AUTHORIZATION, values)) && !proves(&fields(WWW_AUTHENTICATE, values)));
            assert_eq!(
                asks(&fields(WWW_AUTHENTICATE, values)),
                asks(&fields(PROXY_AUTHENTICATE, values))
            );
            asks(&fields(WWW_AUTHENTICATE, values))
        };
        for yes in [
            &["NTLM"][..],
            &["ntlm TlRMTVNTUAAC"],
            &["Negotiate"],
            &["Basic realm=\"a\"", "Negotiate"],
            &["Basic realm=\"a, b\", charset=\"UTF-8\",NTLM"],
            &["Basic realm=\"never closed, Negotiate oYG2"],
            &["\tKERBEROS"],
            &["Nego2"],
            &["CredSSP"],
        ] {
            assert!(asked(yes), "{yes:?}");
        }
        for no in [
            &["Basic realm=\"NTLM\""][..],
            &["Digest realm=\"a\", nonce=\"ntlm\""],
            &["Bearer"],
            &["NTLMX"],
            &[""],
            &[],
        ] {
            assert!(!asked(no), "{no:?}");
        }
        let refused = |values| takes_no_password(&fields(PROXY_AUTHENTICATE, values));
        assert!(refused(&["Negotiate", "NTLM"]) && !refused(&["NTLM, Basic realm=\"a\""]) && !refused(&[]));
        assert!(asks(&fields(PERSISTENT_AUTH, &["true"])));
        assert!(proves(&fields(AUTHORIZATION, &["Negotiate YIIC"])));
        assert!(!proves(&fields(AUTHORIZATION, &["Bearer NTLM"])));
    }
}
