//! Arguments of `learn`, `report`, `check` and `lint`.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use super::judging::Run;
use super::word::word;
use crate::audit::SummaryForm;

/// Learning a policy.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Learn {
    /// The run that is learned from. Its own rules go on to decide; what they say nothing about is learned.
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

    /// Add to the file: what it allows already is not learned again, what it denies is refused
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

/// Checking requests against a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Check {
    /// A rule, as for a run; repeatable
    #[arg(short, long = "rule", value_name = "RULE", help_heading = "Policy")]
    pub rules: Vec<String>,

    /// The policy file; rules of -r come first
    #[arg(short, long, value_name = "FILE", help_heading = "Policy")]
    pub config: Option<PathBuf>,

    /// Judge HTTPS by its host name alone, as a run with this option does
    #[arg(long, help_heading = "Policy")]
    pub no_tls_intercept: bool,

    /// Another policy file: show the requests whose verdict it changes, and nothing else
    #[arg(long, value_name = "FILE", help_heading = "Policy")]
    pub diff: Option<PathBuf>,

    /// Take the requests from a JSON log (`-`: from stdin); repeatable
    #[arg(long, value_name = "LOG", help_heading = "Requests")]
    pub replay: Vec<PathBuf>,

    /// Try the `tests:` of the policy file; also without this, where no request is given
    #[arg(long, conflicts_with_all = ["replay", "diff", "request"], help_heading = "Requests")]
    pub tests: bool,

    /// Print a JSON object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,

    /// The request; `-` reads one a line from stdin
    #[arg(value_name = "[METHOD] URL", num_args = 0..=2, conflicts_with = "replay")]
    pub request: Vec<String>,
}

/// Looking for slips in a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Lint {
    /// A rule, as for a run; repeatable
    #[arg(short, long = "rule", value_name = "RULE", help_heading = "Policy")]
    pub rules: Vec<String>,

    /// The policy file; rules of -r come first
    #[arg(short, long, value_name = "FILE", help_heading = "Policy")]
    pub config: Option<PathBuf>,

    /// Also show the rules that decided no request of this JSON log (`-`: stdin); repeatable
    #[arg(long, value_name = "LOG", help_heading = "Requests")]
    pub log: Vec<PathBuf>,

    /// Print a JSON object a line
    #[arg(long, help_heading = "Output")]
    pub json: bool,
}
