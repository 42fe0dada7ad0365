//! From the command line to the command that carries it out, and its exit status. The one place that knows all the parts.

use std::path::Path;
use std::process::{self, ExitCode};

use crate::cli::args::{self, Attach, Ca, Cli, Detach, Learn, Other, Run, Serve};
#[cfg(target_os = "linux")]
use crate::cli::commands::{attach, doctor, run};
use crate::cli::commands::{ca, check, completions, learn, lint, man, report, serve, weak};
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::{failure, print, usage, verbosity};
use crate::cli::policy_file;
use crate::cli::run_stats::RunFindings;
use crate::config::file::{File, SCHEMA};
use crate::config::options::Backend;
use crate::config::{Approval, Config, ConfigError, Mode};
use crate::failure::Failure;
#[cfg(target_os = "linux")]
use crate::jail::sandbox::stdio;
use crate::logging;

/// Runs httpjail with the process's own arguments.
pub fn main() -> ExitCode {
    // Before anything is opened: what was inherited is the first thing to know.
    #[cfg(target_os = "linux")]
    let inherited = stdio::take_stock().map_err(failure);
    #[cfg(not(target_os = "linux"))]
    let inherited = Ok(());
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return conclude(args::told(*error)),
    };
    conclude(match cli.other {
        Some(Other::Serve(serve)) => serve_alone(*serve),
        Some(Other::Ca(action)) => authority(action),
        Some(Other::Attach(args)) => inherited.and_then(|_| hold(*args)),
        Some(Other::Detach(args)) => release(&args),
        Some(Other::Lint(args)) => InvokingUser::find().and_then(|caller| lint::run(&args, &caller)),
        Some(Other::Learn(args)) => inherited.and_then(|inherited| learn_policy(*args, inherited)),
        Some(Other::Report(args)) => InvokingUser::find().and_then(|caller| report::run(&args, &caller)),
        Some(Other::Completions { shell, words }) => completions::run(shell, &words),
        Some(Other::Man { of }) => man::man(of.as_deref()),
        Some(Other::Check(args)) => InvokingUser::find().and_then(|caller| check::run(&args, &caller)),
        Some(Other::Schema) => print(SCHEMA),
        Some(Other::Doctor) => inherited.and_then(|_| examine()),
        None => inherited.and_then(|inherited| command(cli.run, inherited)),
    })
}

fn conclude(done: Result<i32, Failure>) -> ExitCode {
    match done {
        Ok(status) => match u8::try_from(status) {
            Ok(status) => ExitCode::from(status),
            // Windows has more of them, and all its own of us have been dropped by now.
            Err(_) => process::exit(status),
        },
        Err(failure) => {
            logging::error(&failure, failure.hint.as_deref());
            ExitCode::from(failure.status)
        }
    }
}

/// What a run on Linux must know of the descriptors that it inherited.
#[cfg(target_os = "linux")]
type Inherited = stdio::Inherited;
#[cfg(not(target_os = "linux"))]
type Inherited = ();

fn command(args: Run, inherited: Inherited) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let locked = args.locked.clone();
    let file = locked.clone().or(args.shared.config.clone());
    let config = configure(file.as_deref(), &caller, |file| args.configure(file));
    let config = config.map_err(|failure| Failure {
        hint: failure.hint.or_else(|| {
            let missing = locked.filter(|path| !path.exists())?.display().to_string();
            Some(format!("httpjail learn -o {missing} -- COMMAND writes it"))
        }),
        ..failure
    })?;
    behind_the_command(&config);
    go(&config, &caller, inherited)
}

fn learn_policy(args: Learn, inherited: Inherited) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let file = args.run.shared.config.clone();
    // A file that is to be added to has rules of its own, if it is there already.
    let file = file.or(args.update.then(|| args.output.clone()).filter(|path| path.exists()));
    let config = configure(file.as_deref(), &caller, |file| args.configure(file))?;
    go(&config, &caller, inherited)
}

/// Options behind the command are the command's. Where there is no rule that is hardly what was meant.
fn behind_the_command(config: &Config) {
    let nobody_decides =
        config.policy.is_empty() && config.mode == Mode::Enforce && config.approval == Approval::Nobody;
    if nobody_decides
        && !config.log.quiet
        && let Some((name, line)) = args::misplaced_option(config)
    {
        let text = format!("no rule was given: {name} stands behind the command, and so is given to that");
        logging::warn(&text, Some(&format!("write {line}")));
    }
}

/// Runs the command, and acts on what was found meanwhile.
fn go(config: &Config, caller: &InvokingUser, inherited: Inherited) -> Result<i32, Failure> {
    let before = learn::prepare(config, caller)?;
    let (status, findings) = match config.backend {
        Backend::Weak => weak::run(config, caller)?,
        _ => strong(config, caller, inherited)?,
    };
    learn::conclude(config, caller, before, &findings, status)
}

#[cfg(target_os = "linux")]
fn strong(config: &Config, caller: &InvokingUser, inherited: Inherited) -> Result<(i32, RunFindings), Failure> {
    let (status, findings) = run::run(config, &caller.identity, inherited)?;
    Ok((status.into(), findings))
}

/// Only Linux has jails; what is left is said to be weak on start.
#[cfg(not(target_os = "linux"))]
fn strong(config: &Config, caller: &InvokingUser, _inherited: Inherited) -> Result<(i32, RunFindings), Failure> {
    match config.backend {
        Backend::Ebpf | Backend::Netns => Err(Failure {
            hint: Some("--backend weak, or none, runs the command without a jail".into()),
            ..Failure::new("this backend needs Linux")
        }),
        Backend::Auto | Backend::Weak => weak::run(config, caller),
    }
}

#[cfg(target_os = "linux")]
fn examine() -> Result<i32, Failure> {
    doctor::run(&InvokingUser::find()?.identity).map(i32::from)
}

#[cfg(not(target_os = "linux"))]
fn examine() -> Result<i32, Failure> {
    Err(Failure::new(
        "there is nothing to examine: only Linux has jails, and weak mode needs nothing",
    ))
}

#[cfg(target_os = "linux")]
fn hold(args: Attach) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let (cgroup, file) = (args.cgroup.clone(), args.shared.config.clone());
    let config = configure(file.as_deref(), &caller, |file| args.configure(file))?;
    attach::attach(&config, &caller.identity, &cgroup).map(i32::from)
}

#[cfg(target_os = "linux")]
fn release(args: &Detach) -> Result<i32, Failure> {
    attach::detach(args.cgroup.as_deref()).map(i32::from)
}

#[cfg(not(target_os = "linux"))]
fn hold(_: Attach) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has cgroups to attach to"))
}

#[cfg(not(target_os = "linux"))]
fn release(_: &Detach) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has cgroups to detach from"))
}

fn authority(action: Ca) -> Result<i32, Failure> {
    ca::run(action, &InvokingUser::find()?).map(i32::from)
}

fn serve_alone(args: Serve) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let file = policy_file::named(args.shared.config.as_deref(), &caller)?;
    let (config, serving) = args.configure(file).map_err(usage)?;
    announce(&config);
    serve::run(&config, &caller, serving)
}

/// Makes the configuration, with the policy file's text, and says what should be known of it.
fn configure(
    path: Option<&Path>,
    caller: &InvokingUser,
    make: impl FnOnce(Option<File>) -> Result<Config, ConfigError>,
) -> Result<Config, Failure> {
    let config = make(policy_file::named(path, caller)?).map_err(usage)?;
    announce(&config);
    Ok(config)
}

/// Sets up what is said while it runs, and says what should be known before.
fn announce(config: &Config) {
    // Weak mode sets it up itself, to speak through its log.
    if config.backend != Backend::Weak {
        logging::init(verbosity(config.verbosity), None);
    }
    if !config.log.quiet {
        config
            .warnings
            .iter()
            .for_each(|warning| logging::warn(&warning.message, warning.hint.as_deref()));
    }
}
