//! What is typed to learn a policy from a run, and to see what a run asked for.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::{Run, word};
use crate::audit::SummaryForm;

/// Learning a policy.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Learn {
    /// The run that is learnt from. Its own rules go on to decide; what they say nothing about is learnt.
    #[command(flatten)]
    pub run: Run,

    /// Write the policy there (`-`: to stdout); a file that exists is left alone
    #[arg(
        short,
        long,
        value_name = "FILE",
        default_value = "httpjail.yaml",
        value_hint = ValueHint::FilePath,
        help_heading = "The policy"
    )]
    pub output: PathBuf,

    /// Add to the file: what it allows already is not learnt anew, what it denies is refused
    #[arg(long, conflicts_with_all = ["force", "config"], help_heading = "The policy")]
    pub update: bool,

    /// Replace the file
    #[arg(long, help_heading = "The policy")]
    pub force: bool,
}

/// Summing a log up.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Report {
    /// A log that was written with --log-format json; `-` is the standard input
    #[arg(value_name = "LOG", value_hint = ValueHint::FilePath)]
    pub log: PathBuf,

    /// The form of the summary
    #[arg(long, value_name = "FORM", default_value = "table", value_parser = word::<SummaryForm>())]
    pub format: SummaryForm,
}

pub(super) const LEARN_AFTER: &str = "\
Requests of one kind become one rule: ids, hashes and versions in paths are written in their
general form, and where a host has more than a dozen names at one place, any name will do.
Read the file before you trust it. Learn with empty caches: what a cache has is not asked for.

Example:
  httpjail learn -- npm ci                        writes httpjail.yaml
  httpjail --locked httpjail.yaml -- npm ci       the same, and nothing else";
