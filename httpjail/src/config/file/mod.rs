//! The policy file: YAML with `rules`, `groups`, `tests`, and every command-line option by its long name.
//!
//! Pure: it opens no file. The caller passes a function that returns the bytes of the files that a policy file names. Every
//! error has a position and shows the line. An unknown key comes with the key that was probably meant.

mod entry;
mod error;
mod escapes;
mod groups;
mod limits;
mod load;
pub(crate) mod node;
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
