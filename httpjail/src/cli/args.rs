//! What is typed: the command line as it stands. What it means is [`crate::config`]'s business.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

use crate::policy::yaml::{self, Backend, DnsMode, LogFormat, Word};

/// The whole command line: a command to run in a jail, or something else.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "httpjail",
    version,
    about = "Run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules",
    override_usage = "httpjail [OPTIONS] -- COMMAND [ARGS]\n       httpjail serve [OPTIONS]",
    after_help = SHORT_AFTER,
    after_long_help = LONG_AFTER,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Run a command in a jail.
    #[command(flatten)]
    pub run: Run,

    /// Something else than a run.
    #[command(subcommand)]
    pub other: Option<Other>,
}

/// What httpjail can do besides running a command.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Other {
    /// Run the proxy alone, for programs that are told of it by HTTP_PROXY and HTTPS_PROXY (also: --server)
    #[command(override_usage = "httpjail serve [OPTIONS]", max_term_width = 100)]
    Serve(Box<Serve>),

    /// Hold what already runs: steer an existing cgroup, and those below it, until ^C or `httpjail detach`
    #[command(
        override_usage = "httpjail attach --cgroup PATH [OPTIONS]",
        after_help = ATTACH_AFTER,
        max_term_width = 100,
        mut_arg("ephemeral_ca", |arg| arg.hide(true))
    )]
    Attach(Box<Attach>),

    /// Open a cgroup again, also after the httpjail that was attached to it was killed
    Detach(Detach),

    /// Show which backends work on this host, and what to do about those that do not
    Doctor,

    /// The certificate authority that jails trust
    #[command(subcommand)]
    Ca(Ca),
}

/// What can be done with the authority. It is made when it is first needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Ca {
    /// Print the certificate, its fingerprint, and how long it is valid
    Show,
    /// Print where the certificate is kept
    Path,
    /// Make this whole system trust it, for programs that use the proxy outside of a jail; jails do not need it
    Install,
    /// Undo `install`
    Remove,
    /// Make a new authority; what the old one signed is trusted by no new jail
    Rotate,
}

impl Cli {
    /// Reads the process's own arguments; ends the process if they are wrong, or ask for help.
    pub fn read() -> Cli {
        Cli::parse_from(spelled(std::env::args_os()))
    }
}

/// `--server` is another spelling of `serve`.
fn spelled(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words: Vec<OsString> = words.collect();
    if let Some(first) = words.get_mut(1).filter(|first| *first == "--server") {
        *first = "serve".into();
    }
    words
}

/// The proxy alone.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Serve {
    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// Where to listen
    #[arg(
        long,
        value_name = "ADDR:PORT",
        default_value = "127.0.0.1:8080",
        help_heading = "Traffic"
    )]
    pub listen: SocketAddr,

    /// What clients must show: a token that is printed on start, or nothing (on this host alone)
    #[arg(long, value_name = "AUTH", default_value = "token", help_heading = "Traffic")]
    pub auth: Auth,
}

/// What clients of `serve` must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Auth {
    /// The token, as the password.
    Token,
    /// Nothing.
    None,
}

/// Attaching to a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub struct Attach {
    /// The cgroup (version 2), as a path of the file system or as /proc/PID/cgroup spells it
    #[arg(long, value_name = "PATH")]
    pub cgroup: PathBuf,

    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// What the resolver answers [default: synthetic]
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,
}

/// Opening a cgroup again.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub struct Detach {
    /// The cgroup that httpjail is, or was, attached to
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Every such cgroup
    #[arg(long)]
    pub all: bool,
}

/// How requests are judged and logged, whoever makes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Shared {
    /// Add a rule: "action[-method]: pattern"; tried in the order given, the first that matches decides
    ///
    /// Actions: allow, deny. Methods: get, post, put, delete, head, options, connect, trace, patch.
    /// The pattern is a regular expression, searched in the URL `scheme://host[:port]/path[?query]`.
    /// What no rule matches is denied.
    #[arg(short, long = "rule", value_name = "RULE", help_heading = "Rules")]
    pub rules: Vec<String>,

    /// Read rules and options from a YAML file; rules of -r come first
    #[arg(short, long, value_name = "FILE", help_heading = "Rules")]
    pub config: Option<PathBuf>,

    /// Judge and log, but block no request
    #[arg(long, help_heading = "Rules")]
    pub dry_run: bool,

    /// Judge nothing, log every request
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
    #[arg(long, value_name = "SECONDS", value_parser = yaml::parse_seconds, help_heading = "Rules")]
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

    /// Write the request log to a file [default: denials to stderr]
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub log: Option<PathBuf>,

    /// The form of the request log [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = word::<LogFormat>(), help_heading = "Output")]
    pub log_format: Option<LogFormat>,

    /// Say nothing of denials on stderr
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Say more of httpjail itself; -vvv says most
    #[arg(short, long, action = ArgAction::Count, help_heading = "Output")]
    pub verbose: u8,
}

/// Running a command in a jail.
#[derive(Debug, Clone, Default, Args)]
pub struct Run {
    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

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
    /// synthetic: addresses made up here, nobody is asked. relay: what the host's name servers say. open: what the server
    /// says that the program names. off: nothing. With relay and open the names leave this host, and a name can carry data.
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Run the command as this user
    #[arg(long, value_name = "NAME", help_heading = "The command")]
    pub user: Option<String>,

    /// End the command and all that it started after this time; exit status 124
    #[arg(long, value_name = "SECONDS", value_parser = yaml::parse_seconds, help_heading = "The command")]
    pub timeout: Option<Duration>,

    /// Leave this Unix socket of the host reachable; repeatable
    #[arg(long, value_name = "PATH", help_heading = "The command")]
    pub allow_socket: Vec<PathBuf>,

    /// Make a port that the jail listens on reachable from this host
    ///
    /// At this host's loopback, unless HOST names another address of it.
    #[arg(long, value_name = "[HOST:]PORT", help_heading = "The command")]
    pub publish: Vec<String>,

    /// The command to run in the jail, and its arguments
    ///
    /// Everything from the command on belongs to it, also without `--`, unless it has the name of a subcommand.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    pub command: Vec<OsString>,
}

const ATTACH_AFTER: &str = "\
What is held, and what is not:
  IP is closed but for requests that the rules allow, whatever was open before: connections are cut, sockets that
  listened already are reached by nobody any more, not even from inside; those made from now on only from inside.
  Unix sockets, files and rights of the processes stay as they are: root among them can leave the cgroup.
  When httpjail is killed the cgroup stays closed, until `httpjail detach`.

Example:
  httpjail attach --cgroup system.slice/agent.service -r 'allow: ^https://api\\.github\\.com/'";

const SHORT_AFTER: &str = "\
Example:
  httpjail -r 'allow-get: ^https://api\\.github\\.com/' -- curl https://api.github.com/zen

More with --help.";

const LONG_AFTER: &str = "\
Rules:
  -r 'allow: ^https://github\\.com/'        all requests to github.com
  -r 'allow-get: ^https://api\\.test/'      only GET requests
  -r 'deny-post: telemetry'                no POST to a URL that has this in it
  -r 'allow: .*'                           everything else (usually last)
  `github\\.com` alone also matches https://evil.example/?github.com: begin with ^https:// and end the host with a slash.

A program that has the name of a command of httpjail's own is started after `--`: httpjail -- doctor

Examples:
  httpjail -r 'allow: ^https://github\\.com/' -- git clone https://github.com/user/repo
  httpjail --config rules.yaml -- npm install
  httpjail --dry-run -r 'deny: telemetry' -r 'allow: .*' -- ./application
  httpjail --log-only --log requests.jsonl --log-format json -- ./application

Exit status:
  the command's own; 128+N when signal N ended it; 124 on time-out; 125 when httpjail itself failed;
  126 not executable; 127 not found; 2 for a wrong option, rule or file.";

fn word<W: Word + Send + Sync>() -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(W::WORDS.iter().map(|(word, _)| *word))
        .try_map(|text| W::parse(&text).ok_or("not one of the known words"))
}

#[cfg(test)]
mod tests;
