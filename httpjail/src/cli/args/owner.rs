//! Arguments of `list`, `reload` and `metrics`, by which an owner looks after runs.

use clap::Args;

/// Listing runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct List {
    /// Print a JSON object a line
    #[arg(long)]
    pub json: bool,
}

/// Printing what runs have counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Metrics {
    /// The run, as `httpjail list` names it; without a name all of them
    #[arg(value_name = "NAME")]
    pub name: Option<String>,
}

/// Having runs look at their policy files.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Reload {
    /// The run, as `httpjail list` names it
    #[arg(value_name = "NAME")]
    pub name: Option<String>,

    /// Every run that has a policy file
    #[arg(long)]
    pub all: bool,
}
