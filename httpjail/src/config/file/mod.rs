//! The policy file: YAML with `rules`, `groups`, `tests`, and every command-line option by its long name.
//!
//! Pure: texts in, values out; whoever calls gives the bytes of files that this one names. Every error says where it is and
//! shows the line, and unknown keys say what they were probably meant to be.

mod entry;
mod error;
mod escapes;
mod groups;
mod limits;
mod load;
mod schema;
mod spans;
mod text;
mod values;
mod write;

pub use error::FileError;
pub use groups::Read;
pub use limits::Limits;
pub use load::{File, SCHEMA, Test, load, parse};
pub use schema::Logging;
pub(crate) use values::{parse_address, parse_seconds};
pub(crate) use write::{add_to, document};

#[cfg(test)]
mod tests;
