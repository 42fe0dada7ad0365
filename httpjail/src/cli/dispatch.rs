//! From the command line to the command that carries it out, and its exit status. The one place that knows all the parts.

use std::ffi::OsString;
use std::path::Path;
use std::process::{self, ExitCode};

use crate::cli::args::{
    self, Attach, Ca, Cli, Detach, Learn, List, Metrics, Node, Other, PolicyAction, Pool, Reload, Run, Runtime, Serve,
};
#[cfg(target_os = "linux")]
use crate::cli::commands::{attach, detach, list, metrics, node, pool, reload, runtime};
use crate::cli::commands::{ca, check, completions, doctor, lint, man, policy, report, run, serve};
use crate::cli::context::{Inherited, RunContext};
use crate::cli::invoking_user::InvokingUser;
#[cfg(target_os = "linux")]
use crate::cli::output::failure;
use crate::cli::output::{USAGE, print, usage, verbosity};
use crate::cli::policy_file;
use crate::config::file::node::NODE_SCHEMA;
use crate::config::file::{File, SCHEMA};
use crate::config::options::Backend;
use crate::config::{Config, ConfigError};
use crate::failure::Failure;
#[cfg(target_os = "linux")]
use crate::jail::sandbox::stdio;
use crate::logging;

/// Runs httpjail with the process's own arguments.
pub fn main() -> ExitCode {
    // A container's own descriptors pass through the runtime.
    #[cfg(target_os = "linux")]
    if let Some(name) = std::env::args_os().next().as_deref().and_then(runtime::shim::Name::of) {
        return runtime::shim::run(&name, std::env::args_os().skip(1));
    }
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
        Some(Other::List(args)) => show(&args),
        Some(Other::Metrics(args)) => measure(&args),
        Some(Other::Reload(args)) => renew(&args),
        Some(Other::Pool(args)) => inherited.and_then(|_| keep_ready(*args)),
        Some(Other::Runtime(action)) => inherited.and_then(|_| containers(&action)),
        Some(Other::Policy(action)) => inherited.and_then(|_| policies(&action)),
        Some(Other::Node(args)) => inherited.and_then(|_| many(&args)),
        Some(Other::Lint(args)) => InvokingUser::find().and_then(|caller| lint::run(&args, &caller)),
        Some(Other::Learn(args)) => inherited.and_then(|inherited| learn_policy(*args, inherited)),
        Some(Other::Report(args)) => InvokingUser::find().and_then(|caller| report::run(&args, &caller)),
        Some(Other::Completions { shell, words }) => completions::run(shell, &words),
        Some(Other::Man { of }) => man::man(of.as_deref()),
        Some(Other::Check(args)) => InvokingUser::find().and_then(|caller| check::run(&args, &caller)),
        Some(Other::Schema { node }) => print(if node { NODE_SCHEMA } else { SCHEMA }),
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

fn command(args: Run, inherited: Inherited) -> Result<i32, Failure> {
    if let Some(name) = &args.pool {
        if !args.is_for_a_pool_alone() {
            return Err(Failure {
                hint: Some("give rules and options to `httpjail pool`".into()),
                status: USAGE,
                ..Failure::new("--pool takes a jail as its pool has made it: no other option can be given")
            });
        }
        return from_pool(name, args.command, inherited);
    }
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
    let context = RunContext { config, caller };
    run::warn_of_misplaced_options(&context);
    run::warn_of_containers(&context);
    run::run(context, inherited)
}

fn learn_policy(args: Learn, inherited: Inherited) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let file = args.run.shared.config.clone();
    // A file that is to be added to has rules of its own, if it is there already.
    let file = file.or(args.update.then(|| args.output.clone()).filter(|path| path.exists()));
    let config = configure(file.as_deref(), &caller, |file| args.configure(file))?;
    run::run(RunContext { config, caller }, inherited)
}

fn examine() -> Result<i32, Failure> {
    doctor::run(&InvokingUser::find()?).map(i32::from)
}

#[cfg(target_os = "linux")]
fn keep_ready(args: Pool) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let (file, plan) = (args.shared.config.clone(), pool::Plan::of(&args));
    let config = configure(file.as_deref(), &caller, |file| args.configure(file))?;
    pool::keep(RunContext { config, caller }, plan)
}

#[cfg(target_os = "linux")]
fn from_pool(name: &str, command: Vec<OsString>, inherited: Inherited) -> Result<i32, Failure> {
    pool::client::run(name, command, inherited)
}

#[cfg(not(target_os = "linux"))]
fn keep_ready(_: Pool) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has jails"))
}

#[cfg(not(target_os = "linux"))]
fn from_pool(_: &str, _: Vec<OsString>, _: Inherited) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has jails"))
}

#[cfg(target_os = "linux")]
fn hold(args: Attach) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    let (place, file) = (args.place.clone(), args.shared.config.clone());
    let config = configure(file.as_deref(), &caller, |file| args.configure(file))?;
    let Some(place) = attach::named(place) else {
        return Err(Failure::new("nothing to attach to is named"));
    };
    attach::attach(&config, &caller.identity, &place).map(i32::from)
}

#[cfg(target_os = "linux")]
fn release(args: &Detach) -> Result<i32, Failure> {
    let place = attach::named(args.place());
    if place.is_none() && !args.all {
        return Err(Failure::new("nothing to detach from is named"));
    }
    detach::detach(place.as_ref()).map(i32::from)
}

#[cfg(target_os = "linux")]
fn containers(action: &Runtime) -> Result<i32, Failure> {
    match action {
        Runtime::Hook(options) => runtime::hook::run(options),
        Runtime::Install(options) => runtime::install::install(options),
        Runtime::Uninstall(options) => runtime::install::uninstall(options),
    }
}

fn policies(action: &PolicyAction) -> Result<i32, Failure> {
    let caller = InvokingUser::find()?;
    match action {
        PolicyAction::Keygen(args) => policy::sign::keygen(args, &caller),
        PolicyAction::Sign(args) => policy::sign::sign(args, &caller),
        PolicyAction::Verify(args) => policy::sign::verify(args, &caller),
        #[cfg(target_os = "linux")]
        PolicyAction::Fetch(args) => policy::fetch::run(args, &caller),
        #[cfg(not(target_os = "linux"))]
        PolicyAction::Fetch(_) => Err(Failure::new("only Linux has a process without rights that could fetch")),
    }
}

#[cfg(target_os = "linux")]
fn many(args: &Node) -> Result<i32, Failure> {
    node::run(args)
}

#[cfg(not(target_os = "linux"))]
fn many(_: &Node) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has cgroups to attach to"))
}

#[cfg(target_os = "linux")]
fn show(args: &List) -> Result<i32, Failure> {
    list::run(args, &InvokingUser::find()?)
}

#[cfg(target_os = "linux")]
fn measure(args: &Metrics) -> Result<i32, Failure> {
    metrics::run(args, &InvokingUser::find()?)
}

#[cfg(target_os = "linux")]
fn renew(args: &Reload) -> Result<i32, Failure> {
    reload::run(args, &InvokingUser::find()?)
}

#[cfg(not(target_os = "linux"))]
fn show(_: &List) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has control sockets"))
}

#[cfg(not(target_os = "linux"))]
fn measure(_: &Metrics) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has control sockets"))
}

#[cfg(not(target_os = "linux"))]
fn renew(_: &Reload) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has control sockets"))
}

#[cfg(not(target_os = "linux"))]
fn containers(_: &Runtime) -> Result<i32, Failure> {
    Err(Failure::new("only Linux has containers that can be held"))
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
