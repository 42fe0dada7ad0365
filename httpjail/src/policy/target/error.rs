//! Why a request has no canonical form.

use crate::net::HostError;

/// Why a request has no canonical spelling.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The method is no token of upper-case letters. (`get` is another method than `GET`, but not to every server.)
    #[error("the method is not written in upper-case letters")]
    Method,
    /// The authority names no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The authority has a user name or a password.
    #[error("the authority has user information")]
    UserInfo,
    /// The authority's port is no number from 1 to 65535 in its plain form.
    #[error("invalid port: expected a plain number from 1 to 65535")]
    Port,
    /// The path cannot be made canonical.
    #[error("the path cannot be made canonical: {0}")]
    Path(&'static str),
    /// The query cannot be made canonical.
    #[error("the query cannot be made canonical: {0}")]
    Query(&'static str),
}
