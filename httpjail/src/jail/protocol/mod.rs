//! What the processes of a jail say to each other, and how it travels.

pub(crate) mod channel;
pub(crate) mod fd_passing;
