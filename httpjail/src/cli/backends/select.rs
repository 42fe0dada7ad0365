//! Which backend a run has. The one place where the systems differ: Linux has them all, the others have weak mode alone.

use std::rc::Rc;

use super::trial::Trial;
use super::weak::{self, WeakBackend};
#[cfg(target_os = "linux")]
use super::{strong, strong_trial};
use crate::backend::Backend;
use crate::cli::context::{Inherited, RunContext};
use crate::cli::invoking_user::InvokingUser;
use crate::config::options;
use crate::failure::Failure;

/// Takes the backend that was asked for, or the strongest that works here.
///
/// # Errors
/// When none of those asked for does, with all the reasons.
pub(crate) fn select(run: &Rc<RunContext>, inherited: Inherited) -> Result<Box<dyn Backend>, Failure> {
    match run.config.backend {
        options::Backend::Weak => Ok(Box::new(WeakBackend::new(run.clone()))),
        strong => select_strong(strong, run, inherited),
    }
}

#[cfg(target_os = "linux")]
fn select_strong(
    wanted: options::Backend,
    run: &Rc<RunContext>,
    inherited: Inherited,
) -> Result<Box<dyn Backend>, Failure> {
    strong::select(wanted, run, inherited)
}

/// Only Linux has jails; what is left is said to be weak on start.
#[cfg(not(target_os = "linux"))]
fn select_strong(
    wanted: options::Backend,
    run: &Rc<RunContext>,
    _inherited: Inherited,
) -> Result<Box<dyn Backend>, Failure> {
    match wanted {
        options::Backend::Ebpf | options::Backend::Netns => Err(Failure {
            hint: Some("--backend weak, or none, runs the command without a jail".into()),
            ..Failure::new("this backend needs Linux")
        }),
        options::Backend::Auto | options::Backend::Weak => Ok(Box::new(WeakBackend::new(run.clone()))),
    }
}

/// Tries each backend as far as its proof, the strongest first. No command is started.
pub(crate) fn trials(caller: &InvokingUser) -> Vec<Trial> {
    let mut trials = strong_trials(caller);
    trials.push(Trial {
        name: weak::NAME,
        is_strong: false,
        result: weak::trial(),
    });
    trials
}

#[cfg(target_os = "linux")]
fn strong_trials(caller: &InvokingUser) -> Vec<Trial> {
    strong_trial::trials(&caller.identity).into()
}

#[cfg(not(target_os = "linux"))]
fn strong_trials(_caller: &InvokingUser) -> Vec<Trial> {
    Vec::new()
}
