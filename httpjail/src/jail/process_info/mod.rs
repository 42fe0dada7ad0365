//! Which program a jailed process runs, and which process has a socket open.

pub(crate) mod client;
pub(crate) mod cmdline_reader;
pub(crate) mod lookup;
pub(crate) mod socket_holders;
