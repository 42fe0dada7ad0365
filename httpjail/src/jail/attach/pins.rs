//! Keeps an attachment alive when its httpjail dies: pins the links of its programs as files in a bpffs.
//!
//! Each attachment has a directory `BPFFS/httpjail/ID-run-...`, named by the cgroup's id and its owner ([`RunName`]).
//! It has a file for each program, and symbolic links: `cgroup` to the cgroup, and `network` to the number of the network
//! namespace whose devices are closed with it, if any. A bpffs takes only pins, directories and
//! links, and no name with a dot.
//!
//! Removing the files opens the cgroup. So only `detach`, the end of the httpjail that made them, or a newer attachment
//! removes them; once the cgroup is gone, any run does.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, symlink};
use std::path::{Path, PathBuf};

use super::bpffs::{self, is_mounted_anywhere, own_mount};
use super::closed;
use super::frames;
use super::target::is_at;
use crate::failure::Failure;
use crate::jail::sandbox::network::FramePass;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};
use crate::jail::steering::cgroup::RunName;
use crate::jail::steering::ebpf::Links;

const PLACE: &str = "cgroup";
const NETWORK: &str = "network";
const PASS: &str = "pass";

/// The pins of one attachment.
#[derive(Debug)]
pub(crate) struct Pins {
    directory: PathBuf,
    /// The cgroup's id.
    pub id: u64,
    /// The cgroup's path.
    pub cgroup: PathBuf,
    /// The network namespace whose devices are closed with it.
    pub network: Option<u64>,
    /// What passes those devices: one for all attachments in that network, since each has chains of its own there.
    pub pass: Option<FramePass>,
    /// The run that made them.
    pub name: RunName,
}

impl Pins {
    /// Pins `links`. Call it, like all that changes pins, with the [`super::lock::lock_pins`] held.
    ///
    /// # Errors
    /// When there is no bpffs and none can be mounted, or it is not root's alone.
    pub(crate) fn make(
        links: &Links,
        id: u64,
        cgroup: &Path,
        network: Option<u64>,
        name: RunName,
    ) -> Result<Self, Failure> {
        let parent = bpffs::make()?;
        let mut pins = Pins {
            directory: parent.join(format!("{id}-{name}")),
            id,
            cgroup: cgroup.to_owned(),
            network: None,
            pass: None,
            name,
        };
        let made = DirBuilder::new()
            .mode(0o700)
            .create(&pins.directory)
            .and_then(|()| symlink(cgroup, pins.directory.join(PLACE)))
            .and_then(|()| pins.write_network(network))
            .map_err(|error| error.to_string())
            .and_then(|()| links.pin(&pins.directory).map_err(|error| error.to_string()));
        made.map_err(|error| {
            let _ = pins.forget();
            Failure::new(format!(
                "cannot keep the attachment in {}: {error}",
                pins.directory.display()
            ))
        })?;
        Ok(pins)
    }

    /// Notes which network namespace is closed with the cgroup, if that is known only now.
    ///
    /// # Errors
    /// Those of writing it down.
    pub(super) fn note_network(&mut self, network: Option<u64>) -> Result<(), Failure> {
        self.write_network(network).map_err(|error| {
            Failure::new(format!(
                "cannot keep the attachment in {}: {error}",
                self.directory.display()
            ))
        })
    }

    fn write_network(&mut self, network: Option<u64>) -> io::Result<()> {
        self.network = network;
        let Some(network) = network else { return Ok(()) };
        let earlier = Pins::all().into_iter().filter(|pins| pins.network == Some(network));
        let pass = earlier
            .filter_map(|pins| pins.pass)
            .next()
            .map_or_else(FramePass::new, Ok)?;
        self.pass = Some(pass);
        symlink(network.to_string(), self.directory.join(NETWORK))?;
        symlink(format!("{}:{}", pass.mark, pass.priority), self.directory.join(PASS))
    }

    /// Returns all pins, in every bpffs that is mounted here.
    pub(crate) fn all() -> Vec<Pins> {
        bpffs::all().flat_map(|directory| entries(&directory)).collect()
    }

    /// Returns true if the cgroup is gone, and its programs with it: only names are left.
    pub(crate) fn is_stale(&self) -> bool {
        !is_at(&self.cgroup, self.id)
    }

    /// Opens the network, and removes the pins, which opens the cgroup unless something else holds the programs. The last ones
    /// take httpjail's own bpffs along.
    ///
    /// # Errors
    /// Naming what stays.
    pub(crate) fn remove(&self) -> io::Result<()> {
        // First of all: what closes the cgroups above does so again.
        closed::shut(&self.cgroup, self.id)?;
        if let Some(network) = self.network {
            frames::open(network, self.id)?;
        }
        self.forget()
    }

    /// Removes the pins alone, for a newer attachment to the cgroup that keeps the network closed.
    ///
    /// # Errors
    /// Naming what stays.
    pub(super) fn forget(&self) -> io::Result<()> {
        bpffs::remove(&self.directory)
    }
}

/// Removes the pins of attachments whose cgroup is gone. Returns what could not be removed.
pub(crate) fn remove_stale() -> Vec<String> {
    let stale = || Pins::all().into_iter().filter(Pins::is_stale);
    if stale().next().is_none() && !own_mount().exists() {
        return Vec::new();
    }
    // A process that holds the lock works on pins: it removes these, or the next run does.
    let directory = match make_run_dir().and_then(|()| File::open(RUN_DIR)) {
        Ok(directory) => directory,
        Err(error) => return vec![format!("cannot open {RUN_DIR}: {error}")],
    };
    if directory.try_lock().is_err() {
        return Vec::new();
    }
    let left = stale()
        .filter_map(|pins| pins.remove().err())
        .map(|error| format!("cannot remove what an attachment left: {error}"))
        .collect();
    if !is_mounted_anywhere(&own_mount()) {
        // It may be gone already.
        let _ = fs::remove_dir(own_mount());
    }
    left
}

fn entries(directory: &Path) -> Vec<Pins> {
    let entry = |entry: fs::DirEntry| {
        let name = entry.file_name();
        let (id, name) = name.to_str()?.split_once('-')?;
        let directory = entry.path();
        Some(Pins {
            id: id.parse().ok()?,
            name: RunName::parse(name)?,
            cgroup: fs::read_link(directory.join(PLACE)).unwrap_or_default(),
            network: fs::read_link(directory.join(NETWORK))
                .ok()
                .and_then(|number| number.to_str()?.parse().ok()),
            pass: fs::read_link(directory.join(PASS)).ok().and_then(|pass| {
                let (mark, priority) = pass.to_str()?.split_once(':')?;
                Some(FramePass {
                    mark: mark.parse().ok()?,
                    priority: priority.parse().ok()?,
                })
            }),
            directory,
        })
    };
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(entry).collect()
}
