//! Arguments of a run, and those that say how requests are judged and logged.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueHint};

use super::word::word;
use crate::audit::SummaryForm;
use crate::config::file::parse_seconds;
use crate::config::options::{Backend, DnsMode, LogFormat};
use crate::control::protocol::parse_name;

/// How requests are judged and logged, whoever makes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Shared {
    /// Add a rule: "action[-method]: pattern"; rules are tried in order and the first that matches decides
    ///
    /// Actions: allow, deny. Methods: get, post, put, delete, head, options, connect, trace, patch.
    /// The pattern is a regular expression, searched in the URL `scheme://host[:port]/path[?query]`.
    /// A request that no rule matches is denied.
    #[arg(short, long = "rule", value_name = "RULE", help_heading = "Rules")]
    pub rules: Vec<String>,

    /// Read rules and options from a YAML file (`-`: from stdin); rules of -r come first
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Rules")]
    pub config: Option<PathBuf>,

    /// Judge and log, but block no request
    #[arg(long, help_heading = "Rules")]
    pub dry_run: bool,

    /// Log every request and judge none
    #[arg(long, conflicts_with = "dry_run", help_heading = "Rules")]
    pub log_only: bool,

    /// Have a program decide about a request that no rule matches: JSON in, verdict out
    ///
    /// Run by the shell once for each question, as the user who called, outside of the jail. It reads an object with
    /// method, url, host and program, and prints {"verdict": "allow"} or {"verdict": "deny", "reason": "..."}; with
    /// "for": "run", and "extent": "url", "prefix" or "host", the verdict holds to the end of the run. All else denies.
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["dry_run", "log_only"], help_heading = "Rules")]
    pub approve_with: Option<String>,

    /// How long a request waits to be approved [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "Rules")]
    pub approve_timeout: Option<Duration>,

    /// Do not decrypt HTTPS: judge it by its host name alone
    #[arg(long, help_heading = "Traffic")]
    pub no_tls_intercept: bool,

    /// Trust this certificate authority (PEM) for servers, besides the system's; repeatable
    #[arg(long, value_name = "FILE", help_heading = "Traffic")]
    pub upstream_ca: Vec<PathBuf>,

    /// Keep the interception authority in memory and forget it at the end
    #[arg(long, help_heading = "Traffic")]
    pub ephemeral_ca: bool,

    /// Name this run, for `httpjail list`, its log, and metrics; no other of yours may have the name
    #[arg(long, value_name = "NAME", value_parser = parse_name, help_heading = "Output")]
    pub name: Option<String>,

    /// Give this run a label, for its log and metrics; repeatable
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Output")]
    pub label: Vec<String>,

    /// Write the request log to a file, or to stdout (`-`) or /dev/stderr [default: denials to stderr]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub log: Option<PathBuf>,

    /// The form of the request log [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = word::<LogFormat>(), help_heading = "Output")]
    pub log_format: Option<LogFormat>,

    /// Print a summary of requests and denials to stderr at the end
    ///
    /// table: to read. json: an object on one line. github: Markdown, added to the file that GITHUB_STEP_SUMMARY names.
    #[arg(
        long,
        value_name = "FORM",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "table",
        value_parser = word::<SummaryForm>(),
        help_heading = "Output"
    )]
    pub summary: Option<SummaryForm>,

    /// Do not print denials to stderr
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Print more about httpjail itself; -vvv prints most
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// Running a command in a jail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Run {
    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// Run under this policy alone, and fail if the command asks for a request that it does not allow
    ///
    /// Each such request is refused and listed at the end. The exit status is then 1, unless the command fails with its own. For continuous integration, with a file that `httpjail learn` wrote.
    #[arg(
        long,
        value_name = "FILE",
        value_hint = ValueHint::FilePath,
        conflicts_with_all = ["rules", "config", "dry_run", "log_only", "interactive", "approve_with"],
        help_heading = "Rules"
    )]
    pub locked: Option<PathBuf>,

    /// Ask at the terminal about a request that no rule matches; the command gets a terminal of its own
    #[arg(long, conflicts_with_all = ["approve_with", "dry_run", "log_only"], help_heading = "Rules")]
    pub interactive: bool,

    /// How traffic is steered to the proxy [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = word::<Backend>(), help_heading = "Traffic")]
    pub backend: Option<Backend>,

    /// Set proxy variables only: a program can get around them
    #[arg(long, conflicts_with = "backend", help_heading = "Traffic")]
    pub weak: bool,

    /// What the jail's resolver answers [default: synthetic]
    ///
    /// synthetic: made-up addresses; no query leaves this host. relay: the answers of the host's name servers. open: the answers
    /// of the server that the program addresses. off: none. With relay and open names leave this host, and a name can carry data.
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Run the command as this user
    #[arg(long, value_name = "NAME", help_heading = "The command")]
    pub user: Option<String>,

    /// Kill the command and all that it started after this time; exit status 124
    #[arg(long, value_name = "SECONDS", value_parser = parse_seconds, help_heading = "The command")]
    pub timeout: Option<Duration>,

    /// Leave this Unix socket of the host reachable; repeatable
    #[arg(long, value_name = "PATH", help_heading = "The command")]
    pub allow_socket: Vec<PathBuf>,

    /// Make a port that the jail listens on reachable from this host
    ///
    /// At this host's loopback, unless HOST names another address of it.
    #[arg(long, value_name = "[HOST:]PORT", help_heading = "The command")]
    pub publish: Vec<String>,

    /// Take a jail that waits in the pool of this name [default name: default]; rules and options are the pool's
    #[arg(
        long,
        value_name = "NAME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = super::pool::DEFAULT,
        help_heading = "The command"
    )]
    pub pool: Option<String>,

    /// The command to run in the jail, and its arguments
    ///
    /// Everything from the command on belongs to it, also without `--`, unless it has the name of a subcommand.
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        value_hint = ValueHint::CommandWithArguments
    )]
    pub command: Vec<OsString>,
}
