//! Arguments of `policy`, which signs policies and fetches them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum, ValueHint};

use crate::config::file::parse_seconds;
use crate::signed::period;

/// What can be done with signed policies.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum PolicyAction {
    /// Make a key that signs policies (FILE), and the one that verifies them (FILE.pub)
    Keygen(Keygen),

    /// Sign a policy file, for `fetch`; the signature is a file of its own
    Sign(Sign),

    /// Tell whether a signature is about a policy file, by a key that is trusted, and not expired
    Verify(Verify),

    /// Keep a policy file as a server has it: signed, not expired, never older; jails that use the file reload it
    Fetch(Fetch),
}

/// Making a key.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Keygen {
    /// Where the key that signs is written, readable for you alone; a file that exists is left alone
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,
}

/// Signing.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Sign {
    /// The policy file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// The key that signs, of `keygen` or of OpenSSL (Ed25519, PKCS #8)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub key: PathBuf,

    /// The policy's number: higher than that of each policy before it
    #[arg(long, value_name = "N")]
    pub serial: u64,

    /// From when on it counts no more: a time such as 2030-01-31T00:00:00Z, or a period such as 30d
    #[arg(long, value_name = "WHEN")]
    pub expires: String,

    /// Where the signature is written [default: the policy file's name with .sig]
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
}

/// Verifying.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Verify {
    /// The policy file
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub file: PathBuf,

    /// The signature [default: the policy file's name with .sig]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub signature: Option<PathBuf>,

    /// A key that is trusted (FILE.pub of `keygen`); repeatable
    #[arg(long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub key: Vec<PathBuf>,
}

/// What becomes of a policy that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnExpiry {
    /// A policy that denies everything takes its place
    Deny,
    /// It stays in force
    Keep,
}

/// Fetching.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Fetch {
    /// Where the policy is: https:// alone
    #[arg(value_name = "URL")]
    pub url: String,

    /// Where its signature is [default: URL, with .sig behind its path]
    #[arg(long, value_name = "URL")]
    pub signature_url: Option<String>,

    /// A key that is trusted (FILE.pub of `keygen`); repeatable
    #[arg(long, value_name = "FILE", required = true, value_hint = ValueHint::FilePath)]
    pub key: Vec<PathBuf>,

    /// The policy file that is kept; what is known of it is kept beside it, in FILE.state
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub to: PathBuf,

    /// How often to look, on average: at times between half and one and a half of it, at random
    #[arg(long, value_name = "PERIOD", default_value = "5m", value_parser = period)]
    pub every: Duration,

    /// Look once, and tell by the exit status whether the policy is as the server has it
    #[arg(long)]
    pub once: bool,

    /// What becomes of a policy that has expired before there is another
    #[arg(long, value_name = "WHAT", default_value = "deny")]
    pub on_expiry: OnExpiry,

    /// Trust these authorities, or the server's own certificate (PEM), besides the system's; repeatable
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub ca: Vec<PathBuf>,

    /// How long one look may take
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = parse_seconds)]
    pub timeout: Duration,
}
