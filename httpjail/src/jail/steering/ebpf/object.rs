//! Loads the committed BPF object into the kernel.
//!
//! `aya-obj` reads the ELF file and resolves references between its parts; the rest is a few `bpf(2)` calls. The type
//! information of the running kernel is never read: no program of this object depends on the layout of a kernel
//! structure.

use super::inbound::Peers;
use super::links::{HOOKS, Hook, Links};
use super::{Asked, BpfError, Events, Flows};
use crate::sys::bpf::{self, Map, MapDef};
use crate::sys::thread::beside;
use aya_obj::btf::BtfFeatures;
use httpjail_common::{JailConfig, MAP_ASKED, MAP_CONFIG, MAP_EVENTS, MAP_FLOWS, MAP_INBOUND};
#[cfg(test)]
use httpjail_common::{MAP_STATS, Stat};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

const BPF_MAP_TYPE_SK_STORAGE: u32 = 24;

/// The committed object. An ELF parser reads numbers in place, so it must be aligned as the file expects.
static PREBUILT: &Aligned<[u8]> = &Aligned {
    _align: [],
    bytes: *include_bytes!("../../../../prebuilt/httpjail.bpf.o"),
};

#[repr(C)]
struct Aligned<B: ?Sized> {
    _align: [u64; 0],
    bytes: B,
}

/// The programs and maps, in the kernel. They do nothing until they are attached.
#[derive(Debug)]
pub(crate) struct Programs {
    programs: Vec<(Hook, OwnedFd)>,
    config: Map<u64, JailConfig>,
    flows: OwnedFd,
    /// The peers that may connect from outside.
    pub(crate) peers: Peers,
    asked: OwnedFd,
    events: OwnedFd,
    #[cfg(test)]
    stats: OwnedFd,
}

impl Programs {
    /// The object to load: the file that HTTPJAIL_BPF_OBJECT names, else the one built in.
    ///
    /// # Errors
    /// When the named file cannot be read.
    pub(crate) fn object() -> Result<Cow<'static, [u8]>, BpfError> {
        object_from(std::env::var_os("HTTPJAIL_BPF_OBJECT"))
    }

    /// Loads and verifies every program of `object`. Without `asked_servers` the kernel has no memory for which name servers
    /// were asked.
    ///
    /// # Errors
    /// Names the map or program that the kernel refused; for a program with the end of the verifier's log.
    pub(crate) fn load(object: &[u8], asked_servers: bool) -> Result<Self, BpfError> {
        let mut object = aya_obj::Object::parse(object).map_err(|error| BpfError::Object(error.to_string()))?;
        if !asked_servers && let Some(aya_obj::maps::Map::Legacy(asked)) = object.maps.get_mut(MAP_ASKED) {
            asked.def.max_entries = 1;
        }
        let maps = create_maps(&mut object)?;
        relocate(&mut object, &maps)?;
        Programs::of(&object, maps)
    }

    fn of(object: &aya_obj::Object, mut maps: Maps) -> Result<Self, BpfError> {
        // The kernel verifies several programs of root's at a time. The first four take as long as all others.
        let (first, others) = HOOKS.split_at(4);
        let (others, first) = beside(|| load_programs(object, others), || load_programs(object, first));
        let programs = first?.into_iter().chain(others?).collect();

        let mut take = |name: &'static str| {
            maps.remove(name)
                .map(|(fd, _)| fd)
                .ok_or_else(|| BpfError::Object(format!("there is no map {name}")))
        };
        Ok(Programs {
            programs,
            config: Map::new(take(MAP_CONFIG)?).map_err(|source| BpfError::Access {
                operation: "open",
                map: MAP_CONFIG,
                source,
            })?,
            flows: take(MAP_FLOWS)?,
            peers: Peers::from_fd(take(MAP_INBOUND)?)?,
            asked: take(MAP_ASKED)?,
            events: take(MAP_EVENTS)?,
            #[cfg(test)]
            stats: take(MAP_STATS)?,
        })
    }

    /// Attaches every program to a cgroup, where they deny everything until [`Programs::configure`].
    ///
    /// # Errors
    /// Names the hook that could not be attached; nothing stays attached then.
    pub(crate) fn attach(&self, cgroup: BorrowedFd<'_>) -> Result<Links, BpfError> {
        Links::attach(&self.programs, cgroup)
    }

    /// Writes the configuration of an attached cgroup, all of it at once. `armed: 0` denies everything again.
    ///
    /// # Errors
    /// ENOENT if the programs are not attached to a cgroup of this id.
    pub(crate) fn configure(&self, cgroup_id: u64, config: &JailConfig) -> Result<(), BpfError> {
        self.config
            .update(&cgroup_id, config)
            .map_err(|source| BpfError::Access {
                operation: "write",
                map: MAP_CONFIG,
                source,
            })
    }

    /// The configuration of an attached cgroup, `None` if there is no such one.
    ///
    /// # Errors
    /// The kernel's.
    #[cfg(test)]
    pub(crate) fn configuration(&self, cgroup_id: u64) -> Result<Option<JailConfig>, BpfError> {
        self.config.lookup(&cgroup_id).map_err(|source| BpfError::Access {
            operation: "read",
            map: MAP_CONFIG,
            source,
        })
    }

    /// The flows of the network namespace with this cookie ([`bpf::netns_cookie`] of the proxy's listener).
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn flows(&self, netns_cookie: u64) -> Result<Flows, BpfError> {
        let access = |source| BpfError::Access {
            operation: "open",
            map: MAP_FLOWS,
            source,
        };
        Flows::from_fd(self.flows.try_clone().map_err(access)?, netns_cookie)
    }

    /// The name servers that datagrams of this jail were meant for.
    ///
    /// # Errors
    /// When no descriptor is left.
    pub(crate) fn asked(&self, jail: u64) -> Result<Asked, BpfError> {
        let access = |source| BpfError::Access {
            operation: "open",
            map: MAP_ASKED,
            source,
        };
        Asked::from_fd(self.asked.try_clone().map_err(access)?, jail)
    }

    /// The events. One reader only: what it reads is gone for others.
    ///
    /// # Errors
    /// When no descriptor is left or the buffer cannot be mapped.
    pub(crate) fn events(&self) -> Result<Events, BpfError> {
        let access = |source| BpfError::Access {
            operation: "open",
            map: MAP_EVENTS,
            source,
        };
        Events::from_fd(self.events.try_clone().map_err(access)?)
    }

    /// The descriptors of FLOWS, ASKED and EVENTS, to be handed to the proxy's process.
    pub(crate) fn proxy_fds(&self) -> [BorrowedFd<'_>; 3] {
        [self.flows.as_fd(), self.asked.as_fd(), self.events.as_fd()]
    }

    /// What the programs log, for an object built with `cargo xtask ebpf --trace`. Each call of what it returns hands the lines
    /// that have come since to the `log` crate.
    ///
    /// # Errors
    /// If the object was built without tracing.
    #[cfg(feature = "bpf-trace")]
    pub fn trace(&self) -> Result<impl FnMut() + use<>, BpfError> {
        let no_tracing = |why: String| BpfError::Object(format!("it does not trace: {why}"));
        let (_, program) = self
            .programs
            .first()
            .ok_or_else(|| no_tracing("no program".to_owned()))?;
        let id = bpf::prog_id(program.as_fd()).map_err(|error| no_tracing(error.to_string()))?;
        let mut logger = aya_log::EbpfLogger::init_from_id(id).map_err(|error| no_tracing(error.to_string()))?;
        Ok(move || logger.flush())
    }

    /// The programs, and the two that judge packets once more, to be run by a test on packets that it makes up: on the same
    /// maps, but for the configuration, which is the first value of `config`. The kernel gives a run that belongs to no cgroup a
    /// storage of its own, all zeroes, so these two read an array in its place.
    #[cfg(test)]
    pub(super) fn load_to_run(object: &[u8], config: BorrowedFd<'_>) -> Result<(Self, [OwnedFd; 2]), BpfError> {
        let mut parsed = aya_obj::Object::parse(object).map_err(|error| BpfError::Object(error.to_string()))?;
        let maps = create_maps(&mut parsed)?;
        relocate(&mut parsed, &maps)?;
        let mut other = aya_obj::Object::parse(object).map_err(|error| BpfError::Object(error.to_string()))?;
        other.maps.clear();
        relocate(&mut other, &maps)?;
        let storage = maps[MAP_CONFIG].0.as_raw_fd();
        for function in other.functions.values_mut() {
            super::tests::read_array(&mut function.instructions, storage, config.as_raw_fd());
        }
        let run = |index: usize| load_program(&other, HOOKS[index]).map(|(_, program)| program);
        let runnable = [run(0)?, run(1)?];
        Ok((Programs::of(&parsed, maps)?, runnable))
    }

    #[cfg(test)]
    pub(super) fn program_fd(&self, index: usize) -> BorrowedFd<'_> {
        self.programs[index].1.as_fd()
    }

    /// A counter, over all jails that share these programs.
    ///
    /// # Errors
    /// The kernel's.
    #[cfg(test)]
    pub(crate) fn stat(&self, stat: Stat) -> Result<u64, BpfError> {
        bpf::per_cpu_sum(self.stats.as_fd(), stat as u32).map_err(|source| BpfError::Access {
            operation: "read",
            map: MAP_STATS,
            source,
        })
    }
}

fn object_from(path: Option<OsString>) -> Result<Cow<'static, [u8]>, BpfError> {
    let Some(path) = path else {
        return Ok(Cow::Borrowed(&PREBUILT.bytes));
    };
    std::fs::read(&path)
        .map(Cow::Owned)
        .map_err(|source| BpfError::ObjectFile {
            path: path.to_string_lossy().into_owned(),
            source,
        })
}

type Maps = HashMap<String, (OwnedFd, aya_obj::maps::Map)>;

fn create_maps(object: &mut aya_obj::Object) -> Result<Maps, BpfError> {
    // Socket storage insists on type information (net/core/bpf_sk_storage.c, `bpf_local_storage_map_alloc_check`).
    let types = object_types(object)?;
    let mut maps = HashMap::new();
    for (name, map) in object.maps.drain() {
        let types = match &map {
            aya_obj::maps::Map::Btf(btf) if map.map_type() == BPF_MAP_TYPE_SK_STORAGE => types
                .as_ref()
                .map(|fd| (fd.as_fd(), btf.def.btf_key_type_id, btf.def.btf_value_type_id)),
            _ => None,
        };
        let def = MapDef {
            map_type: map.map_type(),
            key_size: map.key_size(),
            value_size: map.value_size(),
            max_entries: map.max_entries(),
            flags: map.map_flags(),
            types,
        };
        let fail = |source| BpfError::Map {
            map: name.clone(),
            source,
        };
        let fd = bpf::map_create(&name, &def).map_err(fail)?;
        // Global data: only an object built for tracing has any.
        if !map.data().is_empty() {
            bpf::map_fill(fd.as_fd(), map.data()).map_err(fail)?;
        }
        maps.insert(name, (fd, map));
    }
    Ok(maps)
}

fn object_types(object: &mut aya_obj::Object) -> Result<Option<OwnedFd>, BpfError> {
    // Every kernel with the helpers that we need (5.18) knows all of these kinds, but for 64-bit enums, which we have none of.
    let features = BtfFeatures::new(true, true, true, true, true, true, true, true);
    let types = object
        .fixup_and_sanitize_btf(&features)
        .map_err(|error| BpfError::Object(error.to_string()))?
        .map(|btf| btf.to_bytes());
    types
        .map(|bytes| bpf::btf_load(&bytes).map_err(|source| BpfError::Types { source }))
        .transpose()
}

fn relocate(object: &mut aya_obj::Object, maps: &Maps) -> Result<(), BpfError> {
    let text: HashSet<usize> = object.functions.keys().map(|(section, _)| *section).collect();
    object
        .relocate_maps(
            maps.iter()
                .map(|(name, (fd, map))| (name.as_str(), fd.as_raw_fd(), map)),
            &text,
        )
        .map_err(|error| BpfError::Object(error.to_string()))?;
    object
        .relocate_calls(&text)
        .map_err(|error| BpfError::Object(error.to_string()))
}

fn load_programs(object: &aya_obj::Object, hooks: &[Hook]) -> Result<Vec<(Hook, OwnedFd)>, BpfError> {
    hooks.iter().map(|hook| load_program(object, *hook)).collect()
}

fn load_program(object: &aya_obj::Object, hook: Hook) -> Result<(Hook, OwnedFd), BpfError> {
    let program = object
        .programs
        .get(hook.name)
        .ok_or_else(|| BpfError::Object(format!("there is no program {}", hook.name)))?;
    let function = object
        .functions
        .get(&program.function_key())
        .ok_or_else(|| BpfError::Object(format!("{} has no code", hook.name)))?;
    let load = |log: &mut [u8]| {
        bpf::prog_load(
            hook.name,
            hook.prog_type,
            hook.attach_type,
            0,
            &function.instructions,
            &program.license,
            log,
        )
    };
    load(&mut []).map(|fd| (hook, fd)).map_err(|source| {
        // Once more, for the verifier's words.
        let mut log = vec![0; 1 << 20];
        let _ = load(&mut log);
        BpfError::Program {
            hook: hook.name,
            source,
            log: bpf::log_tail(&log),
        }
    })
}
