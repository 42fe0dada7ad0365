//! Which backend steers: the strongest that works here. What was refused, and why, is kept to be told.

use nix::unistd::geteuid;

use super::cgroup::Cgroup;
use super::ebpf::EbpfSteering;
use super::ebpf::kernel;
use super::hints;
use super::netns::NetnsSteering;
use super::userns;
use super::{Extras, Steering, SteeringError};
use crate::failure::Failure;
use crate::jail::sandbox::nested;
use crate::jail::sandbox::rights;

/// The step that no backend has a part in: what fails there is not mended by another.
pub(crate) const ARRANGE: &str = "arrange its mounts";

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The first that works of those below.
    Auto,
    /// cgroup programs.
    Ebpf,
    /// nftables in the jail's own network namespace.
    Netns,
}

/// What the run wants of its backend.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wants {
    /// A rule names the host's loopback, so that connections there go to the proxy.
    pub host_loopback: bool,
    /// What else.
    pub extras: Extras,
}

impl Wants {
    /// To steer, and nothing else.
    pub(crate) const NOTHING: Wants = Wants {
        host_loopback: false,
        extras: Extras {
            asked_servers: false,
            publish_mark: None,
        },
    };
}

/// A backend that does not work here.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Its name.
    pub backend: &'static str,
    /// Why, and what to do about it.
    pub error: SteeringError,
}

/// A way of steering that holds whatever the command does.
pub(crate) enum Strong {
    /// cgroup programs.
    Ebpf(EbpfSteering),
    /// nftables in the jail's own network namespace.
    Netns(NetnsSteering),
}

impl Strong {
    /// Whichever it is.
    pub(crate) fn steering(self) -> Box<dyn Steering> {
        match self {
            Strong::Ebpf(steering) => Box::new(steering),
            Strong::Netns(steering) => Box::new(steering),
        }
    }
}

/// A way of steering to go on with.
pub(crate) struct Selection {
    pub steering: Strong,
    /// The better ones.
    pub refused: Vec<Refused>,
}

/// Takes the strongest backend that works here, as far as can be told before there is a jail.
///
/// # Errors
/// When none of those asked for does, with all the reasons; in a jail.
pub(crate) fn select(choice: Choice, wants: Wants) -> Result<Selection, Failure> {
    let candidates = match choice {
        Choice::Auto => &STRONG[..],
        Choice::Ebpf => &STRONG[..1],
        Choice::Netns => &STRONG[1..],
    };
    if nested::is_within() {
        return Err(nested::refusal());
    }
    let mut refused = Vec::new();
    for (name, prepare) in candidates {
        match prepare(wants) {
            Ok(steering) => return Ok(Selection { steering, refused }),
            Err(error) => refused.push(Refused { backend: name, error }),
        }
    }
    Err(none(refused))
}

/// Makes a backend ready, as far as that goes before there is a jail.
pub(crate) type Prepare = fn(Wants) -> Result<Strong, SteeringError>;

/// The backends that hold whatever the command does, strongest first.
pub(crate) const STRONG: [(&str, Prepare); 2] = [("ebpf", ebpf), ("netns", netns)];

/// What can be said when a jail could not be made with the backend that was left: the other refusals count as well.
pub(crate) fn explain(mut refused: Vec<Refused>, backend: &'static str, failure: Failure) -> Failure {
    if refused.is_empty() || failure.message.contains(ARRANGE) {
        return failure;
    }
    let Failure { message, hint, .. } = failure;
    let error = SteeringError { message, hint };
    refused.push(Refused { backend, error });
    none(refused)
}

fn ebpf(wants: Wants) -> Result<Strong, SteeringError> {
    if let Some(error) = kernel::too_old() {
        return Err(error);
    }
    let missing = rights::missing_for_programs();
    if !missing.is_empty() {
        // Known without reading the object, which takes longer than the whole jail of somebody who is not root.
        return Err(SteeringError {
            hint: Some(if geteuid().is_root() {
                "give these capabilities to the container that this root is in".into()
            } else {
                hints::with_sudo()
            }),
            ..SteeringError::new(format!("it needs root (missing: {})", missing.join(", ")))
        });
    }
    let backend = EbpfSteering::prepare(wants.host_loopback, wants.extras)?;
    Ok(Strong::Ebpf(backend))
}

fn netns(wants: Wants) -> Result<Strong, SteeringError> {
    match userns::forbidden() {
        Some(error) if !rights::may_change_user() => Err(error),
        _ => {
            let mut backend = NetnsSteering {
                cgroup: own_cgroup(),
                host_loopback: wants.host_loopback,
            };
            backend.want(wants.extras)?;
            Ok(Strong::Netns(backend))
        }
    }
}

/// A cgroup for a jail that is steered without one. Where none can be made there is none that the jail could write to
/// either, but for what a container shows read-only.
fn own_cgroup() -> Option<Cgroup> {
    let made = if geteuid().is_root() && rights::may_change_user() {
        Cgroup::create().map(Some)
    } else {
        Cgroup::below_own()
    };
    made.unwrap_or_else(|error| {
        tracing::info!("the jail has no cgroup of its own: {error}");
        None
    })
}

fn none(refused: Vec<Refused>) -> Failure {
    // A limit of this process is no backend's fault, and the first that met it tells all.
    let limited = refused
        .iter()
        .find_map(|refused| Some((refused, hints::limit(&refused.error.message)?)));
    if let Some((Refused { backend, error }, hint)) = limited {
        return Failure {
            hint: Some(hint.into()),
            ..Failure::new(format!("the {backend} backend cannot start: {error}"))
        };
    }
    let [only] = &refused[..] else {
        let reasons: Vec<String> = refused
            .iter()
            .map(|refused| format!("\n  {}: {}", refused.backend, refused.error))
            .collect();
        let hints: Vec<String> = refused
            .iter()
            .filter_map(|refused| Some(format!("\n  {}: {}", refused.backend, refused.error.hint.as_ref()?)))
            .collect();
        return Failure {
            hint: (!hints.is_empty()).then(|| format!("one of{}", hints.concat())),
            ..Failure::new(format!("no backend works here:{}", reasons.concat()))
        };
    };
    Failure {
        hint: only.error.hint.clone(),
        ..Failure::new(format!(
            "the {} backend does not work here: {}",
            only.backend, only.error
        ))
    }
}
