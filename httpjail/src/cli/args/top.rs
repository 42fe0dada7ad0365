//! The whole command line, and the commands of httpjail's own.

use std::ffi::OsString;

use clap::builder::EnumValueParser;
use clap::{Parser, Subcommand};
use clap_complete::Shell;

use super::help::{
    ATTACH_AFTER, CHECK_AFTER, CHECK_USAGE, COMPLETIONS_AFTER, LEARN_AFTER, LINT_AFTER, LONG_AFTER, NODE_AFTER,
    POOL_AFTER, SHORT_AFTER,
};
use super::judging::Run;
use super::owner::{List, Metrics, Reload};
use super::policies::{Check, Learn, Lint, Report};
use super::pool::Pool;
use super::runtime::{Node, Runtime};
use super::signed::PolicyAction;
use super::steering::{Attach, Detach, Serve};

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

    /// One of httpjail's own commands.
    #[command(subcommand)]
    pub other: Option<Other>,
}

/// What httpjail can do besides running a command.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub(crate) enum Other {
    /// Run the proxy alone, for programs that are told of it by HTTP_PROXY and HTTPS_PROXY (also: --server)
    #[command(override_usage = "httpjail serve [OPTIONS]", max_term_width = 100)]
    Serve(Box<Serve>),

    /// Jail what already runs: a cgroup, container or unit, until ^C or `httpjail detach`
    #[command(
        override_usage = "httpjail attach (--cgroup PATH | --container ID|NAME | --pid PID | --unit NAME) [OPTIONS]",
        after_help = ATTACH_AFTER,
        max_term_width = 100,
        mut_arg("ephemeral_ca", |arg| arg.hide(true))
    )]
    Attach(Box<Attach>),

    /// Keep jails ready, for commands that are to start at once: `httpjail --pool -- COMMAND`
    #[command(
        override_usage = "httpjail pool [--size N] [--name NAME] [OPTIONS]",
        after_help = POOL_AFTER,
        max_term_width = 100
    )]
    Pool(Box<Pool>),

    /// Open a cgroup again, also after the httpjail that was attached to it was killed
    Detach(Detach),

    /// Jail many cgroups, units and containers, as a node file names them
    #[command(after_help = NODE_AFTER, max_term_width = 100)]
    Node(Box<Node>),

    /// Show what httpjail runs for you now: jails, attachments, `serve`
    List(List),

    /// Print what that has counted, as Prometheus reads it
    Metrics(Metrics),

    /// Have what runs look at its policy file now, and say what came of it
    Reload(Reload),

    /// Run a command with all requests allowed, and write the policy that would have allowed them
    #[command(
        override_usage = "httpjail learn [OPTIONS] -- COMMAND [ARGS]",
        after_help = LEARN_AFTER,
        max_term_width = 100,
        mut_arg("dry_run", |arg| arg.hide(true)),
        mut_arg("pool", |arg| arg.hide(true)),
        mut_arg("locked", |arg| arg.hide(true)),
        mut_arg("log_only", |arg| arg.hide(true)),
        mut_arg("interactive", |arg| arg.hide(true))
    )]
    Learn(Box<Learn>),

    /// Summarize a request log: which program asked for what, what was denied, and why
    #[command(max_term_width = 100)]
    Report(Report),
    /// Show the verdict of a policy on requests, and why; no request is sent
    #[command(
        override_usage = CHECK_USAGE,
        after_help = CHECK_AFTER,
        max_term_width = 100
    )]
    Check(Box<Check>),

    /// Find rules that are risky or can match nothing, each with a request that shows it
    #[command(override_usage = "httpjail lint [OPTIONS]", after_help = LINT_AFTER, max_term_width = 100)]
    Lint(Lint),

    /// Print the JSON Schema of the policy file, for editors
    Schema {
        /// That of the node file
        #[arg(long)]
        node: bool,
    },

    /// Show which backends work on this host, and what to do about those that do not
    Doctor,

    /// The certificate authority that jails trust
    #[command(subcommand)]
    Ca(Ca),

    /// Policies for many machines: signed, and fetched from a server
    #[command(subcommand)]
    Policy(Box<PolicyAction>),

    /// Containers that are held from their first instruction: docker, podman, containerd
    #[command(subcommand)]
    Runtime(Runtime),

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
