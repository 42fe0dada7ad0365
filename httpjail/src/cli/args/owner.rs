//! Arguments of `list`, by which an owner looks after runs.

use clap::Args;

/// Listing runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct List {
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}
