//! `httpjail [OPTIONS] -- COMMAND`: the straight line from a configuration to the command's exit status, over any backend.

use std::path::Path;
use std::rc::Rc;

use crate::backend::Ended;
use crate::cli::args;
use crate::cli::backends;
use crate::cli::commands::{containers, learn};
use crate::cli::context::{Inherited, RunContext};
use crate::config::{Approval, Mode};
use crate::failure::Failure;
use crate::logging;

/// Runs the command, and acts on what was found meanwhile. Returns httpjail's exit status.
///
/// # Errors
/// What failed before the command started; nothing is left then of what was made for it.
pub(crate) fn run(run: RunContext, inherited: Inherited) -> Result<i32, Failure> {
    let run = Rc::new(run);
    let before = learn::prepare(&run.config, &run.caller)?;
    let backend = backends::select(&run, inherited)?;
    tracing::info!("the {} backend steers", backend.name());
    let armed = backend.prepare()?.arm()?;
    armed.notes().iter().for_each(|note| tracing::info!("{note}"));
    let Ended { outcome, findings } = armed.spawn()?.wait()?;
    learn::conclude(&run.config, &run.caller, before, &findings, outcome.status())
}

/// Options behind the command are the command's. Where there is no rule that is hardly what was meant.
pub(crate) fn warn_of_misplaced_options(run: &RunContext) {
    let config = &run.config;
    let nothing_decides =
        config.policy.is_empty() && config.mode == Mode::Enforce && config.approval == Approval::Nobody;
    if nothing_decides
        && !config.log.quiet
        && let Some((name, line)) = args::misplaced_option(config)
    {
        let text = format!("no rule was given: {name} stands behind the command, and so is given to that");
        logging::warn(&text, Some(&format!("write {line}")));
    }
}

/// A container does not run in the jail in which its engine's command runs.
pub(crate) fn warn_of_containers(run: &RunContext) {
    let (command, log) = (&run.config.command, &run.config.log);
    let advice = containers::advise(Path::new(&command.program), &command.args, &run.config.allow_sockets);
    if let Some(advice) = advice.filter(|_| !log.quiet) {
        logging::warn(&advice.text, Some(&advice.hint));
    }
}
