//! What is known of a jailed process: which program it runs, and which sockets it has open.

pub(crate) mod client;
pub(crate) mod cmdline_reader;
pub(crate) mod lookup;
pub(crate) mod socket_holders;
