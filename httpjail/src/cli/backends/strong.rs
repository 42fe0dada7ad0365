//! The two backends that hold a command whatever it does: a jail, steered in one of two ways.

use std::rc::Rc;

use super::jail_setup::JailSetup;
use super::jail_stages::ArmedJail;
use crate::backend::{Backend, Prepared};
use crate::cli::context::{Inherited, RunContext};
use crate::config::Config;
use crate::config::options::{self, DnsMode};
use crate::failure::Failure;
use crate::jail::process::init::Plan;
use crate::jail::sandbox::network;
use crate::jail::steering::ebpf::EbpfSteering;
use crate::jail::steering::netns::NetnsSteering;
use crate::jail::steering::select::{self, Choice, Refused, Selection, Strong, Wants};
use crate::jail::steering::{Extras, Steering};

/// A jail that is steered by programs on its cgroup.
pub(crate) struct EbpfBackend {
    steering: EbpfSteering,
    setup: JailSetup,
}

/// A jail that is steered by the rules of its own network namespace.
pub(crate) struct NetnsBackend {
    steering: NetnsSteering,
    setup: JailSetup,
}

impl Backend for EbpfBackend {
    fn name(&self) -> &'static str {
        self.steering.name()
    }

    fn prepare(self: Box<Self>) -> Result<Box<dyn Prepared>, Failure> {
        self.setup.prepare(Box::new(self.steering))
    }
}

impl Backend for NetnsBackend {
    fn name(&self) -> &'static str {
        self.steering.name()
    }

    fn prepare(self: Box<Self>) -> Result<Box<dyn Prepared>, Failure> {
        self.setup.prepare(Box::new(self.steering))
    }
}

/// Takes the strongest way of steering that works here.
///
/// # Errors
/// When none of those asked for does, with all the reasons; or what this run lacks for a jail.
pub(super) fn select(
    wanted: options::Backend,
    run: &Rc<RunContext>,
    inherited: Inherited,
) -> Result<Box<dyn Backend>, Failure> {
    let mut setup = JailSetup::new(run, inherited)?;
    let Selection { steering, refused } = select::select(choice(wanted)?, wants(&run.config))?;
    for Refused { backend, error } in &refused {
        tracing::info!("the {backend} backend does not work here: {error}");
    }
    setup.refused = refused;
    let backend: Box<dyn Backend> = match steering {
        Strong::Ebpf(steering) => Box::new(EbpfBackend { steering, setup }),
        Strong::Netns(steering) => Box::new(NetnsBackend { steering, setup }),
    };
    Ok(backend)
}

/// Takes the strongest way of steering that works here, and makes and arms a jail of a pool with it. None of the host's terminals
/// comes back in it.
///
/// # Errors
/// As [`select()`], and the step that failed.
pub(super) fn armed(run: &Rc<RunContext>, inherited: Inherited) -> Result<ArmedJail, Failure> {
    let mut setup = JailSetup::new(run, inherited)?;
    let Selection { steering, refused } = select::select(choice(run.config.backend)?, wants(&run.config))?;
    setup.refused = refused;
    let own_terminals = |plan: &mut Plan| plan.view.own_terminals = true;
    match steering {
        Strong::Ebpf(steering) => setup.build(Box::new(steering), own_terminals)?.arm(),
        Strong::Netns(steering) => setup.build(Box::new(steering), own_terminals)?.arm(),
    }
}

fn choice(wanted: options::Backend) -> Result<Choice, Failure> {
    match wanted {
        options::Backend::Auto => Ok(Choice::Auto),
        options::Backend::Ebpf => Ok(Choice::Ebpf),
        options::Backend::Netns => Ok(Choice::Netns),
        options::Backend::Weak => Err(Failure::new("weak mode makes no jail")),
    }
}

fn wants(config: &Config) -> Wants {
    Wants {
        host_loopback: config.policy.names_loopback(),
        extras: Extras {
            asked_servers: config.dns == DnsMode::Open,
            publish_mark: (!config.publish.is_empty()).then_some(network::PUBLISH_MARK),
        },
    }
}
