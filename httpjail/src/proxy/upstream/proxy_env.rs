//! The proxies that this host's own environment names (`https_proxy`, `http_proxy`, `all_proxy`, `no_proxy`).
//!
//! Where a network has no way out but its own proxy, httpjail becomes a client of that proxy: it judges a request and
//! then passes it on. That proxy resolves the names, so it has to check the addresses behind them. Literal addresses
//! are still checked here ([`crate::proxy::upstream::dial`]). A variable that httpjail cannot use is an error at the
//! start, never a silent way around the proxy.

use crate::net::{Host, Scheme};
use crate::proxy::auth::token::USER;
use crate::proxy::upstream::no_proxy::NoProxy;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use std::fmt;
use std::sync::Arc;

/// Which requests go through which other proxy.
#[derive(Debug, Clone, Default)]
pub(crate) struct ProxyConfig {
    http: Option<Arc<UpstreamProxy>>,
    https: Option<Arc<UpstreamProxy>>,
    no_proxy: NoProxy,
}

/// Another proxy, between httpjail and the world.
pub(crate) struct UpstreamProxy {
    /// How it is spoken to: in the clear, or within TLS.
    pub(crate) scheme: Scheme,
    pub(crate) host: Host,
    pub(crate) port: u16,
    /// `Proxy-Authorization`, for this proxy only.
    pub(crate) authorization: Option<HeaderValue>,
    /// Whether it goes by the name that an httpjail gives its clients.
    is_ours: bool,
}

/// A variable that names a proxy that httpjail cannot use. Never shows the value, which may contain a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the environment's {variable} names no proxy that httpjail can use: {reason}")]
pub(crate) struct ProxyEnvError {
    /// The variable's name.
    pub variable: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

/// For cleartext in lower case alone, as curl has it: a web server gives a CGI its client's `Proxy` field as
/// `HTTP_PROXY`.
const HTTP: [&str; 3] = ["http_proxy", "all_proxy", "ALL_PROXY"];
const HTTPS: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];
const NO_PROXY: [&str; 2] = ["no_proxy", "NO_PROXY"];

impl ProxyConfig {
    /// Reads the variables that `variable` looks up. An empty one counts as none.
    ///
    /// # Errors
    /// For a variable that names a proxy that httpjail cannot use.
    pub(crate) fn named_by(variable: impl Fn(&str) -> Option<String>) -> Result<ProxyConfig, ProxyEnvError> {
        let first = |names: &[&'static str]| {
            let mut found = names.iter().filter_map(|name| Some((*name, variable(name)?)));
            found.find(|(_, value)| !value.trim().is_empty())
        };
        let no_proxy = first(&NO_PROXY).map_or_else(NoProxy::default, |(_, value)| NoProxy::parse(&value));
        if no_proxy.everything() {
            return Ok(ProxyConfig::default());
        }
        let upstream_proxy = |names| {
            let named = first(names).map(|(variable, value)| {
                let upstream_proxy = UpstreamProxy::parse(value.trim()).map(Arc::new);
                upstream_proxy.map_err(|reason| ProxyEnvError { variable, reason })
            });
            named.transpose()
        };
        Ok(ProxyConfig {
            http: upstream_proxy(&HTTP)?,
            https: upstream_proxy(&HTTPS)?,
            no_proxy,
        })
    }

    /// Returns whether one of them is an httpjail: weak mode within weak mode.
    pub(crate) fn are_ours(&self) -> bool {
        [&self.http, &self.https]
            .into_iter()
            .flatten()
            .any(|upstream_proxy| upstream_proxy.is_ours)
    }

    /// Returns the proxy through which `host` is reached, if it is not reached directly.
    pub(crate) fn towards(&self, scheme: Scheme, host: &Host, port: u16) -> Option<&Arc<UpstreamProxy>> {
        let upstream_proxy = match scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        };
        upstream_proxy.filter(|_| !self.no_proxy.covers(host, port))
    }
}

impl UpstreamProxy {
    /// `[http[s]://][user[:password]@]host[:port]`, and a slash perhaps.
    fn parse(text: &str) -> Result<UpstreamProxy, String> {
        let (scheme, rest) = match text.split_once("://") {
            None => (Scheme::Http, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Scheme::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Scheme::Https, rest),
            Some((scheme, _)) => {
                return Err(format!(
                    "`{}` is not a kind of proxy that it speaks to; http and https are",
                    scheme.escape_debug()
                ));
            }
        };
        let rest = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let (user, place) = match rest.rsplit_once('@') {
            Some((user, place)) => (Some(user), place),
            None => (None, rest),
        };
        let (host, port) = crate::proxy::authority::split_port(place);
        let port = match port {
            None | Some("") => scheme.default_port(),
            Some(port) => port.parse().map_err(|_| "its port is no number from 1 to 65535")?,
        };
        if port == 0 {
            return Err("its port is no number from 1 to 65535".into());
        }
        Ok(UpstreamProxy {
            scheme,
            host: Host::parse(host).map_err(|error| error.to_string())?,
            port,
            authorization: user.map(basic).transpose()?,
            is_ours: user.and_then(|user| user.split(':').next()) == Some(USER),
        })
    }
}

/// Where it is; never the credentials.
impl fmt::Display for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl fmt::Debug for UpstreamProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Parent({}://{self})", self.scheme.as_str())
    }
}

/// `Basic base64(user:password)` (RFC 7617) of a URL's userinfo.
fn basic(userinfo: &str) -> Result<HeaderValue, String> {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    // What only looks like an escape stays, since passwords are often typed as they are.
    let unescaped = |text| percent_decode_str(text).collect::<Vec<u8>>();
    let pair = [&unescaped(user)[..], b":", &unescaped(password)].concat();
    let mut value = HeaderValue::try_from(format!("Basic {}", STANDARD.encode(pair)))
        .map_err(|_| "its user name and password cannot be sent")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
