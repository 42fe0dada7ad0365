//! Splits and parses `host[:port]`, the authority of a URL, of a `Host` field and of a CONNECT.

use crate::proxy::refusal::Refusal;

/// Splits `host:port` or `[v6]:port`; an empty port is none (RFC 3986 section 3.2.3).
pub(crate) fn split_port(authority: &str) -> (&str, Option<&str>) {
    let host_end = authority.rfind(']').map_or(0, |bracket| bracket + 1);
    match authority[host_end..].rfind(':') {
        Some(colon) => {
            let (host, port) = authority.split_at(host_end + colon);
            (host, Some(&port[1..]).filter(|port| !port.is_empty()))
        }
        None => (authority, None),
    }
}

/// A port that is not a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("The port is not a plain number from 1 to 65535.")]
pub(crate) struct PortError;

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Refusal {
        Refusal::malformed(error.to_string())
    }
}

/// Reads a port in its plain form.
///
/// # Errors
/// For anything but decimal digits without a leading zero, and for what is larger than a port.
pub(crate) fn parse_port(text: &str) -> Result<u16, PortError> {
    let plain = !text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain).ok_or(PortError)
}
