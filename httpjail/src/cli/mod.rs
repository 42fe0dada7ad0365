//! What the user types and what httpjail says to them.

pub mod args;
