//! The two backends that hold a command whatever it does: a jail, steered in one of two ways.

use std::rc::Rc;

use super::jail_setup::JailSetup;
use crate::backend::{Backend, Prepared};
use crate::cli::context::{Inherited, RunContext};
use crate::config::Config;
use crate::config::options::{self, DnsMode};
use crate::failure::Failure;
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
