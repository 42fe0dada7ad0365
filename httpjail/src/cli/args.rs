//! What is typed: the command line as it stands. What it means is [`crate::config`]'s business.

mod learn;
mod spelled;

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{EnumValueParser, PossibleValuesParser, TypedValueParser};
use clap::error::ContextKind;
use clap::{ArgAction, Args, Parser, Subcommand, ValueHint};

use clap_complete::Shell;

use learn::LEARN_AFTER;
pub(crate) use learn::{Learn, Report};
pub(super) use spelled::{meant_command, misplaced_option};

use crate::audit::SummaryForm;
use crate::audit::printable;
use crate::config::file::{parse_address, parse_seconds};
use crate::config::options::{Auth, Backend, DnsMode, LogFormat, Word};
use crate::failure::Failure;

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
pub(crate) struct Cli {
    /// Run a command in a jail.
    #[command(flatten)]
    pub run: Run,

    /// Something else than a run.
    #[command(subcommand)]
    pub other: Option<Other>,
}

/// What httpjail can do besides running a command.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Other {
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

    /// Run a command with all requests allowed, and write the policy that would have allowed them
    #[command(
        override_usage = "httpjail learn [OPTIONS] -- COMMAND [ARGS]",
        after_help = LEARN_AFTER,
        max_term_width = 100,
        mut_arg("dry_run", |arg| arg.hide(true)),
        mut_arg("locked", |arg| arg.hide(true)),
        mut_arg("log_only", |arg| arg.hide(true)),
        mut_arg("interactive", |arg| arg.hide(true))
    )]
    Learn(Box<Learn>),

    /// Sum a request log up: who asked for what, what was denied, and why
    #[command(max_term_width = 100)]
    Report(Report),
    /// Say what a policy makes of requests, and why; send none
    #[command(
        override_usage = CHECK_USAGE,
        after_help = CHECK_AFTER,
        max_term_width = 100
    )]
    Check(Box<Check>),

    /// Show what is risky or dead in a policy, each with a request that shows it
    #[command(override_usage = "httpjail lint [OPTIONS]", after_help = LINT_AFTER, max_term_width = 100)]
    Lint(Lint),

    /// Print the JSON Schema of the policy file, for editors
    Schema,

    /// Show which backends work on this host, and what to do about those that do not
    Doctor,

    /// The certificate authority that jails trust
    #[command(subcommand)]
    Ca(Ca),

    /// Print what makes a shell complete httpjail's options
    #[command(after_help = COMPLETIONS_AFTER)]
    Completions {
        /// The shell
        #[arg(value_parser = EnumValueParser::<Shell>::new())]
        shell: Shell,
        /// The words typed so far: how the shell's script asks what may come in the place of the last one
        #[arg(last = true, hide = true)]
        words: Vec<OsString>,
    },

    /// Print the manual page: httpjail man | man -l -
    Man {
        /// Of this command of httpjail's own, not of httpjail as a whole
        #[arg(value_name = "COMMAND")]
        of: Option<String>,
    },
}

/// What can be done with the authority. It is made when it is first needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub(crate) enum Ca {
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
    /// Reads the process's own arguments.
    ///
    /// # Errors
    /// If they are wrong, or ask for help: [`told`] says it.
    pub(crate) fn read() -> Result<Cli, Box<clap::Error>> {
        let words = spelled::read(std::env::args_os());
        Cli::try_parse_from(&words).map_err(|error| {
            // The message quotes what is wrong: it is asked for again, of words that a terminal may see.
            let shown = words.iter().map(|word| printable(&word.to_string_lossy()).into_owned());
            Box::new(Cli::try_parse_from(shown).err().unwrap_or(error))
        })
    }
}

/// Prints help, or what is wrong with the arguments. Returns the exit status.
///
/// # Errors
/// When help cannot be printed, and for an option that was meant to be a rule.
pub(super) fn told(mut error: clap::Error) -> Result<i32, Failure> {
    if let Some(failure) = spelled::no_option(&error) {
        return Err(failure);
    }
    // How a value that looks like an option is given; nobody means that here.
    error.remove(ContextKind::Suggested);
    match error.print() {
        // Nobody is left to tell.
        Err(_) if error.use_stderr() => Ok(error.exit_code()),
        Err(failed) if failed.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(format!("cannot write to stdout: {failed}")))
        }
        _ => Ok(error.exit_code()),
    }
}

/// The proxy alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Serve {
    /// How requests are judged and logged.
    #[command(flatten)]
    pub shared: Shared,

    /// Where to listen: an address of this host, or localhost [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_address, help_heading = "Traffic")]
    pub listen: Option<SocketAddr>,

    /// What clients must show: a token that is printed on start, or nothing (on this host alone) [default: token]
    #[arg(long, value_name = "AUTH", value_parser = word::<Auth>(), help_heading = "Traffic")]
    pub auth: Option<Auth>,
}

/// Attaching to a cgroup.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Attach {
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

/// Opening a cgroup again.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Detach {
    /// The cgroup that httpjail is, or was, attached to
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<PathBuf>,

    /// Every such cgroup
    #[arg(long)]
    pub all: bool,
}

/// How requests are judged and logged, whoever makes them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct Shared {
    /// Add a rule: "action[-method]: pattern"; tried in the order given, the first that matches decides
    ///
    /// Actions: allow, deny. Methods: get, post, put, delete, head, options, connect, trace, patch.
    /// The pattern is a regular expression, searched in the URL `scheme://host[:port]/path[?query]`.
    /// What no rule matches is denied.
    #[arg(short, long = "rule", value_name = "RULE", help_heading = "Rules")]
    pub rules: Vec<String>,

    /// Read rules and options from a YAML file (`-`: from stdin); rules of -r come first
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Rules")]
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

    /// Write the request log to a file, or to stdout (`-`) or /dev/stderr [default: denials to stderr]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, help_heading = "Output")]
    pub log: Option<PathBuf>,

    /// The form of the request log [default: text]
    #[arg(long, value_name = "FORMAT", value_parser = word::<LogFormat>(), help_heading = "Output")]
    pub log_format: Option<LogFormat>,

    /// Sum up at the end what was asked for and denied, on stderr
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

    /// Say nothing of denials on stderr
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    /// Say more of httpjail itself; -vvv says most
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
    /// Each such request is refused and named at the end; the exit status is then 1, unless the command has another than 0
    /// itself. For continuous integration, with a file that `httpjail learn` wrote.
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
    /// synthetic: addresses made up here, nobody is asked. relay: what the host's name servers say. open: what the server
    /// says that the program names. off: nothing. With relay and open the names leave this host, and a name can carry data.
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Run the command as this user
    #[arg(long, value_name = "NAME", help_heading = "The command")]
    pub user: Option<String>,

    /// End the command and all that it started after this time; exit status 124
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

const ATTACH_AFTER: &str = "\
What is held, and what is not:
  IP is closed but for requests that the rules allow, whatever was open before: connections are cut, sockets that
  listened already are reached by nobody any more, not even from inside; those made from now on only from inside.
  Unix sockets, files and rights of the processes stay as they are: root among them can leave the cgroup.
  When httpjail is killed the cgroup stays closed, until `httpjail detach`.

Example:
  httpjail attach --cgroup system.slice/agent.service -r 'allow: ^https://api\\.github\\.com/'";

const COMPLETIONS_AFTER: &str = "\
bash:  httpjail completions bash > ~/.local/share/bash-completion/completions/httpjail
zsh:   httpjail completions zsh > DIR/_httpjail, where DIR is in $fpath
fish:  httpjail completions fish > ~/.config/fish/completions/httpjail.fish";
const CHECK_USAGE: &str = "\
httpjail check [OPTIONS] [METHOD] URL
       httpjail check [OPTIONS] -
       httpjail check [OPTIONS] --replay LOG [--diff FILE]
       httpjail check [OPTIONS] [--tests]";

const CHECK_AFTER: &str = "\
Examples:
  httpjail check -c rules.yaml POST https://api.example.com/v1/items
  httpjail check -c rules.yaml --replay requests.jsonl --diff new-rules.yaml

Exit status:
  0 if all is allowed, passes, or stays as it is; 1 if not; 2 for a wrong option, rule, file or request.";

const LINT_AFTER: &str = "\
Examples:
  httpjail lint -c rules.yaml
  httpjail lint -c rules.yaml --log requests.jsonl

Exit status:
  0 if nothing is wrong; 1 if something is; 2 for a wrong option, rule, file or log.";

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
  httpjail report requests.jsonl
  httpjail learn -- npm ci && httpjail --locked httpjail.yaml -- npm ci

Environment:
  https_proxy, http_proxy, all_proxy, no_proxy   the way out for httpjail itself, through http:// and https:// proxies

Exit status:
  the command's own; 1 when --locked found what the policy does not allow; 128+N when signal N ended it;
  124 on time-out; 125 when httpjail itself failed;
  126 not executable; 127 not found; 2 for a wrong option, rule or file.";

fn word<W: Word + Send + Sync>() -> impl TypedValueParser<Value = W> {
    PossibleValuesParser::new(W::WORDS.iter().map(|(word, _)| *word))
        .try_map(|text| W::parse(&text).ok_or("not one of the known words"))
}

#[cfg(test)]
mod tests;
