//! Turns a request's head into the one thing that it can mean: a [`Target`].
//!
//! A head names its host up to three times (request target, `Host`, the connection's SNI), its scheme and its port
//! twice. hyper accepts two `Host` fields, none, and any that differ (docs/threat-model.md H01). Here they agree or the
//! request is refused. That ends domain fronting, request smuggling by absolute-form, and HTTP/2 coalescing.

use crate::net::{Host, NameSource, OriginalDst, Scheme};
use crate::policy::{Origin, Target};
use crate::proxy::authority::{parse_port, split_port};
use crate::proxy::http1::token::is_token;
use crate::proxy::http1::unparsed::DefaultOrigin;
use crate::proxy::protocol::UpstreamProtocol;
use crate::proxy::refusal::Refusal;
use crate::proxy::upstream::address;
use crate::proxy::upstream::address::Class;
use http::{HeaderName, HeaderValue, Request, Version, header};
use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

/// Where a connection goes, as far as that is known before anything is read from it.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// The name behind the address, else the address itself; or what a CONNECT named.
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// The address that the client chose, if it chose one: tried first.
    pub(crate) address: Option<OriginalDst>,
    /// Whether a CONNECT named the host: then everything inside must name it too.
    pub(crate) named: bool,
    /// Whether a CONNECT led here.
    pub(crate) tunnel: bool,
}

impl Destination {
    /// The destination of a connection that was steered here.
    pub(crate) fn steered(names: &dyn NameSource, original: OriginalDst) -> Destination {
        Destination {
            host: host_behind(names, original),
            port: original.0.port(),
            address: Some(original),
            named: false,
            tunnel: false,
        }
    }

    /// The destination of a tunnel to `host`, which a client asked for by CONNECT. A literal address counts as one that
    /// the client connected to.
    pub(crate) fn tunneled(names: &dyn NameSource, host: Host, port: u16) -> Destination {
        match host.ip() {
            Some(address) => Destination {
                tunnel: true,
                ..Destination::steered(names, OriginalDst((address, port).into()))
            },
            None => Destination {
                host,
                port,
                address: None,
                named: true,
                tunnel: true,
            },
        }
    }

    /// Returns the address that the client chose among those of its host. An address that our resolver made up is not a
    /// choice.
    pub(crate) fn chosen(&self) -> Option<IpAddr> {
        let address = self.address?.0.ip().to_canonical();
        (address::classify(address) != Class::MadeUp).then_some(address)
    }

    /// Returns true if the request's own URL in absolute form named this destination.
    pub(crate) fn is_from_absolute_form(&self) -> bool {
        self.named && !self.tunnel
    }

    /// Refuses `host` where a CONNECT named another.
    pub(crate) fn admits(&self, host: &Host) -> Result<(), Refusal> {
        if self.named && self.host != *host {
            let detail = format!("{host} is asked for, in a tunnel that was opened to {}.", self.host);
            return Err(Refusal::mismatch(detail));
        }
        Ok(())
    }
}

/// Returns the name that was made up for the address that the client connected to, or else the address.
fn host_behind(names: &dyn NameSource, original: OriginalDst) -> Host {
    let address = original.0.ip().to_canonical();
    let name = names.name_of(address);
    name.unwrap_or(Host::from(address))
}

/// What the connection says about every request on it.
pub(crate) struct ConnectionContext {
    /// How its upstream is spoken to. The scheme follows from it.
    pub(crate) protocol: UpstreamProtocol,
    /// Where it goes. Its host is that of a request that need not name one (HTTP/1.0).
    pub(crate) to: Destination,
    /// The host that the client's TLS asked for: every request on the connection must name it.
    pub(crate) tls_host: Option<Host>,
    /// The first authority that a request named, and what it means: most requests name it again.
    named: OnceLock<(String, Arc<Origin>)>,
}

impl ConnectionContext {
    pub(crate) fn new(to: Destination, protocol: UpstreamProtocol, tls_host: Option<Host>) -> ConnectionContext {
        ConnectionContext {
            protocol,
            to,
            tls_host,
            named: OnceLock::new(),
        }
    }

    pub(crate) fn scheme(&self) -> Scheme {
        self.protocol.scheme()
    }

    /// Returns the origin of requests that could not be parsed.
    pub(crate) fn default_origin(&self) -> DefaultOrigin {
        DefaultOrigin {
            scheme: self.scheme(),
            host: Some(self.tls_host.as_ref().unwrap_or(&self.to.host).clone()),
        }
    }

    /// Returns the canonical form of `request`, which came over this connection.
    pub(crate) fn target_of<B>(&self, request: &Request<B>) -> Result<Target, Refusal> {
        // RFC 9113 section 8.2.1; hyper lets both through, and HTTP/1 has no way to write them.
        if request.version() == Version::HTTP_2 && request.headers().iter().any(is_invalid_field) {
            return Err(Refusal::malformed(
                "A field's name is not a token, or its value has white space around it.",
            ));
        }
        let origin = self.origin(self.authority_of(request)?)?;
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let target = Target::at(request.method(), origin, path)?;
        self.to.admits(target.host())?;
        if target.port() != self.to.port {
            return Err(Refusal::mismatch(format!(
                "The request names port {}, the connection went to port {}.",
                target.port(),
                self.to.port
            )));
        }
        match &self.tls_host {
            Some(host) if host != target.host() => Err(Refusal::mismatch(format!(
                "The request names {}, the TLS connection was opened for {host}.",
                target.host()
            ))),
            _ => Ok(target),
        }
    }

    /// Returns the one authority that the head names.
    fn authority_of<'a, B>(&'a self, request: &'a Request<B>) -> Result<Cow<'a, str>, Refusal> {
        let uri = request.uri();
        let mut fields = request.headers().get_all(header::HOST).iter();
        let field = match fields.next().map(|field| field.to_str()) {
            Some(Ok(field)) => Some(field),
            Some(Err(_)) => return Err(Refusal::malformed("The Host field is not ASCII.")),
            None => None,
        };
        if fields.next().is_some() {
            return Err(Refusal::malformed("There is more than one Host field."));
        }
        let named = uri.authority().map(|authority| authority.as_str());
        match uri.scheme_str() {
            Some(scheme) if !scheme.eq_ignore_ascii_case(self.scheme().as_str()) => {
                return Err(Refusal::mismatch("The request's scheme is not the connection's."));
            }
            // Authority-form, which is CONNECT's alone (RFC 9112 section 3.2.3).
            None if named.is_some() => return Err(Refusal::malformed("The request target has no scheme.")),
            _ => {}
        }
        // RFC 9112 section 3.2: a 1.1 request without a Host field is malformed, also where its target names one.
        if request.version() == Version::HTTP_11 && field.is_none() {
            return Err(Refusal::malformed("There is no Host field."));
        }
        match (named, field) {
            (Some(named), Some(field)) if !self.same(named, field)? => Err(Refusal::mismatch(
                "The request target and the Host field name different hosts.",
            )),
            (Some(one), _) | (None, Some(one)) => Ok(Cow::Borrowed(one)),
            (None, None) if request.version() < Version::HTTP_11 => Ok(Cow::Owned(self.to.host.to_string())),
            (None, None) => Err(Refusal::malformed("The request names no host.")),
        }
    }

    /// Returns what `authority` means here.
    fn origin(&self, authority: Cow<'_, str>) -> Result<Arc<Origin>, Refusal> {
        match self.named.get() {
            Some((text, origin)) if *text == authority => return Ok(origin.clone()),
            _ => {}
        }
        let text = authority.clone();
        let origin = Arc::new(Origin::new(self.scheme(), &self.with_port(authority))?);
        // Only the first stays.
        let _ = self.named.set((text.into_owned(), origin.clone()));
        Ok(origin)
    }

    /// Adds the connection's port where the client left it out.
    fn with_port<'a>(&self, authority: Cow<'a, str>) -> Cow<'a, str> {
        match split_port(&authority) {
            (host, None) if self.to.port != self.scheme().default_port() => {
                Cow::Owned(format!("{host}:{}", self.to.port))
            }
            _ => authority,
        }
    }

    /// Returns whether both name the same host and port.
    fn same(&self, one: &str, other: &str) -> Result<bool, Refusal> {
        Ok(one == other || self.place(one)? == self.place(other)?)
    }

    fn place(&self, authority: &str) -> Result<(Host, u16), Refusal> {
        let (host, port) = split_port(authority);
        let host = Host::parse(host).map_err(|error| Refusal::malformed(error.to_string()))?;
        Ok((host, port.map_or(Ok(self.scheme().default_port()), parse_port)?))
    }
}

/// Returns true for a quotation mark in a name, which the `http` crate takes for a token, and for white space around a value.
fn is_invalid_field((name, value): (&HeaderName, &HeaderValue)) -> bool {
    !name.as_str().bytes().all(is_token) || matches!(value.as_bytes(), [b' ' | b'\t', ..] | [.., b' ' | b'\t'])
}

#[cfg(test)]
mod tests;
