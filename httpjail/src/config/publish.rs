//! Ports of the jail that this host is to reach.

use std::net::SocketAddr;

use super::error::ConfigError;
use super::types::Publish;
use crate::policy::Warning;

/// Parses `[HOST:]PORT`.
pub(super) fn parse(text: &str) -> Result<Publish, ConfigError> {
    let (host, port) = match (text.parse::<SocketAddr>(), text.strip_prefix("localhost:")) {
        (Ok(at), _) => (Some(at.ip()), Some(at.port())),
        (Err(_), Some(port)) => (None, port.parse().ok()),
        (Err(_), None) => (None, text.parse().ok()),
    };
    match port {
        Some(port) if port > 0 => Ok(Publish { host, port }),
        _ => Err(ConfigError::Publish(text.to_owned())),
    }
}

/// Warns of a port that other machines may reach.
pub(super) fn warning(publish: &Publish) -> Option<Warning> {
    let Publish { host, port } = publish;
    let host = host.filter(|host| !host.is_loopback())?;
    Some(Warning::new(
        format!("port {port} of the jail is published on {host}, where other machines may reach it"),
        format!("--publish {port} is for this machine alone"),
    ))
}
