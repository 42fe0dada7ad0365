//! What is typed: the command line as it stands. What it means is [`crate::config`]'s business.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Args, Parser, Subcommand};

use crate::policy::yaml::{self, Backend, DnsMode, LogFormat, Word};

/// The whole command line: a run, or something else.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "httpjail",
    version,
    about = "Run a command whose only way out is a proxy that judges each HTTP and HTTPS request by rules",
    override_usage = "httpjail [OPTIONS] -- COMMAND [ARGS]",
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
    /// Hold what already runs: steer an existing cgroup, and those below it, until ^C or `httpjail detach`
    Attach(Box<Attach>),
    /// Open a cgroup again, also after the httpjail that was attached to it was killed
    Detach(Detach),
    /// Show which backends work on this host, and what to do about those that do not
    Doctor,
    /// The certificate authority that jails trust
    #[command(subcommand)]
    Ca(Ca),
}

/// Attaching to a cgroup. The options are those of a run, but for what only a command can have.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
#[command(
    override_usage = "httpjail attach --cgroup PATH [OPTIONS]",
    after_help = ATTACH_AFTER,
    max_term_width = 100,
    mut_arg("command", |arg| arg.required(false).hide(true)),
    mut_arg("user", |arg| arg.hide(true)),
    mut_arg("timeout", |arg| arg.hide(true)),
    mut_arg("allow_socket", |arg| arg.hide(true)),
    mut_arg("publish", |arg| arg.hide(true)),
    mut_arg("weak", |arg| arg.hide(true)),
    mut_arg("ephemeral_ca", |arg| arg.hide(true))
)]
pub struct Attach {
    /// The cgroup (version 2), as a path of the file system or as /proc/PID/cgroup spells it
    #[arg(long, value_name = "PATH")]
    pub cgroup: PathBuf,

    /// How its requests are judged and logged.
    #[command(flatten)]
    pub run: Run,
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

/// Running a command in a jail.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct Run {
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

    /// Ask at the terminal about a request that no rule matches (not in this version)
    #[arg(long, help_heading = "Rules")]
    pub interactive: bool,

    /// Do not decrypt HTTPS: judge it by its host name alone
    #[arg(long, help_heading = "Traffic")]
    pub no_tls_intercept: bool,

    /// How traffic is steered to the proxy [default: auto]
    #[arg(long, value_name = "BACKEND", value_parser = word::<Backend>(), help_heading = "Traffic")]
    pub backend: Option<Backend>,

    /// Set proxy variables only: a program can get around them (not in this version)
    #[arg(long, conflicts_with = "backend", help_heading = "Traffic")]
    pub weak: bool,

    /// What the jail's resolver answers [default: synthetic]
    ///
    /// synthetic: addresses made up here, nobody is asked. relay: what the host's name servers say. open: what the server
    /// says that the program names. off: nothing. With relay and open the names leave this host, and a name can carry data.
    #[arg(long, value_name = "MODE", value_parser = word::<DnsMode>(), help_heading = "Traffic")]
    pub dns: Option<DnsMode>,

    /// Trust this certificate authority (PEM) for servers, besides the system's; repeatable
    #[arg(long, value_name = "FILE", help_heading = "Traffic")]
    pub upstream_ca: Vec<PathBuf>,

    /// Keep the interception authority in memory and forget it at the end
    #[arg(long, help_heading = "Traffic")]
    pub ephemeral_ca: bool,

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
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &[&str]) -> Result<Run, clap::Error> {
        Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.run)
    }

    #[test]
    fn consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn everything_typed_arrives() {
        let run = parse(&[
            "-r",
            "allow: a",
            "--rule",
            "deny: b",
            "-c",
            "f.yaml",
            "--dry-run",
            "--interactive",
            "--no-tls-intercept",
            "--backend",
            "ebpf",
            "--dns",
            "off",
            "--upstream-ca",
            "a.pem",
            "--upstream-ca",
            "b.pem",
            "--ephemeral-ca",
            "--user",
            "u",
            "--timeout",
            "1.5",
            "--allow-socket",
            "/s",
            "--publish",
            "3000",
            "--log",
            "l",
            "--log-format",
            "json",
            "-q",
            "-vv",
            "--",
            "cmd",
            "-x",
            "--",
            "y",
        ])
        .expect("arguments");
        assert_eq!(run.rules, ["allow: a", "deny: b"]);
        assert_eq!(run.config, Some("f.yaml".into()));
        assert!(run.dry_run && run.interactive && run.no_tls_intercept && run.ephemeral_ca && run.quiet);
        assert!(!run.log_only && !run.weak);
        assert_eq!(
            (run.backend, run.dns, run.log_format),
            (Some(Backend::Ebpf), Some(DnsMode::Off), Some(LogFormat::Json))
        );
        assert_eq!(run.upstream_ca, [PathBuf::from("a.pem"), "b.pem".into()]);
        assert_eq!(run.user.as_deref(), Some("u"));
        assert_eq!(run.timeout, Some(Duration::from_millis(1500)));
        assert_eq!(
            (run.allow_socket, run.publish),
            (vec![PathBuf::from("/s")], vec!["3000".to_owned()])
        );
        assert_eq!((run.log, run.verbose), (Some("l".into()), 2));
        assert_eq!(run.command, ["cmd", "-x", "--", "y"]);
    }

    #[test]
    fn attaching_needs_a_cgroup_and_takes_the_options_of_a_run() {
        let other = |line: &[&str]| Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.other);
        match other(&["attach", "--cgroup", "/c", "-r", "allow: a", "-q"]) {
            Ok(Some(Other::Attach(attach))) => {
                assert_eq!(
                    (attach.cgroup, attach.run.rules),
                    ("/c".into(), vec!["allow: a".to_owned()])
                );
                assert!(attach.run.quiet && attach.run.command.is_empty());
            }
            parsed => panic!("{parsed:?}"),
        }
        match other(&["detach", "--all"]) {
            Ok(Some(Other::Detach(detach))) => assert!(detach.all && detach.cgroup.is_none()),
            parsed => panic!("{parsed:?}"),
        }
        for line in [
            &["attach", "-r", "allow: a"][..],
            &["detach"],
            &["detach", "--all", "--cgroup", "/c"],
        ] {
            assert_eq!(other(line).expect_err(&line.join(" ")).exit_code(), 2, "{line:?}");
        }
        // After `--` it is a command.
        assert_eq!(parse(&["--", "attach"]).expect("arguments").command, ["attach"]);
    }

    #[test]
    fn the_command_keeps_its_arguments() {
        for (line, command) in [
            (&["--", "curl", "-v", "x"][..], &["curl", "-v", "x"][..]),
            (&["curl", "-v", "x"], &["curl", "-v", "x"]),
            (
                &["-q", "curl", "-r", "allow: a", "--help"],
                &["curl", "-r", "allow: a", "--help"],
            ),
            (&["--", "--version"], &["--version"]),
            (&["-", "x"], &["-", "x"]),
        ] {
            assert_eq!(parse(line).expect("arguments").command, command, "{line:?}");
        }
    }

    #[test]
    fn subcommands_stand_first_and_commands_keep_their_names() {
        let other = |line: &[&str]| Cli::try_parse_from([&["httpjail"], line].concat()).map(|cli| cli.other);
        assert_eq!(other(&["doctor"]).expect("arguments"), Some(Other::Doctor));
        assert_eq!(other(&["ca", "show"]).expect("arguments"), Some(Other::Ca(Ca::Show)));
        assert_eq!(
            other(&["ca", "rotate"]).expect("arguments"),
            Some(Other::Ca(Ca::Rotate))
        );
        for line in [
            &["--", "ca", "show"][..],
            &["-r", "allow: a", "--", "ca", "show"],
            &["curl", "ca"],
            &["--", "doctor"],
            &["sh", "doctor"],
            &["-q", "doctor"],
        ] {
            assert_eq!(other(line).expect("arguments"), None, "{line:?}");
        }
        for line in [&["ca"][..], &["ca", "dance"], &["doctor", "curl"]] {
            assert!(other(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn wrong_lines() {
        for (line, kind) in [
            (&[][..], ErrorKind::MissingRequiredArgument),
            (&["-r", "allow: a"], ErrorKind::MissingRequiredArgument),
            (&["-r"], ErrorKind::InvalidValue),
            (&["--rules", "x", "--", "c"], ErrorKind::UnknownArgument),
            (&["--backend", "magic", "--", "c"], ErrorKind::InvalidValue),
            (&["--dns", "on", "--", "c"], ErrorKind::InvalidValue),
            (&["--log-format", "xml", "--", "c"], ErrorKind::InvalidValue),
            (&["--dry-run", "--log-only", "--", "c"], ErrorKind::ArgumentConflict),
            (&["--weak", "--backend", "ebpf", "--", "c"], ErrorKind::ArgumentConflict),
            (&["--timeout", "0", "--", "c"], ErrorKind::ValueValidation),
            (&["--timeout", "-1", "--", "c"], ErrorKind::UnknownArgument),
            (&["--timeout", "inf", "--", "c"], ErrorKind::ValueValidation),
            (&["--timeout", "1e9", "--", "c"], ErrorKind::ValueValidation),
            (&["--timeout", "1.2.3", "--", "c"], ErrorKind::ValueValidation),
            (&["--timeout", ".", "--", "c"], ErrorKind::ValueValidation),
            (&["--timeout", "0.0000000001", "--", "c"], ErrorKind::ValueValidation),
            (
                &["--timeout", "99999999999999999999999999", "--", "c"],
                ErrorKind::ValueValidation,
            ),
            (
                &["--timeout", "1", "--timeout", "2", "--", "c"],
                ErrorKind::ArgumentConflict,
            ),
        ] {
            let error = parse(line).expect_err(&line.join(" "));
            assert_eq!((error.kind(), error.exit_code()), (kind, 2), "{line:?}");
        }
        for line in [["--help"], ["-h"], ["-V"]] {
            assert_eq!(parse(&line).expect_err("a page").exit_code(), 0);
        }
    }

    #[test]
    fn help_names_every_option() {
        let help = Cli::command().render_long_help().to_string();
        for argument in Cli::command().get_arguments().filter_map(clap::Arg::get_long) {
            assert!(help.contains(&format!("--{argument}")), "{argument}");
        }
        assert!(help.contains("Usage: httpjail [OPTIONS] -- COMMAND [ARGS]"), "{help}");
        assert!(help.contains("Exit status:"));
    }
}
