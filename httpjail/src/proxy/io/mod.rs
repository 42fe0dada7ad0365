//! Adapters around `AsyncRead` and `AsyncWrite`: bytes and clocks, no HTTP.
//!
//! Each adapter does one job, so that a connection is a stack of small ones and each can be tested alone.

pub(crate) mod boxed;
pub(crate) mod byte_counts;
pub(crate) mod deferred_error;
pub(crate) mod delegate;
pub(crate) mod flush_counter;
pub(crate) mod h2_coalesce;
pub(crate) mod idle_timeout;
pub(crate) mod linger;
pub(crate) mod permit;
pub(crate) mod pipes;
pub(crate) mod prefixed;
pub(crate) mod shared;
pub(crate) mod stall_timeout;
pub(crate) mod tunnel;
pub(crate) mod upgraded;
