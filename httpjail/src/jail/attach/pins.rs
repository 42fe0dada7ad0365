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
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};

use super::frames;
use super::target::is_at;
use crate::failure::Failure;
use crate::jail::sandbox::network::FramePass;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};
use crate::jail::steering::cgroup::RunName;
use crate::jail::steering::ebpf::Links;

const DIRECTORY: &str = "httpjail";
/// The directory on which httpjail mounts a bpffs if there is none.
const OWN_MOUNT: &str = "bpf";
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
        let parent = bpffs()?.join(DIRECTORY);
        make_folder(&parent)?;
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

    /// Returns all pins, in every bpffs that is mounted here. Any user may write to a bpffs that was mounted without a mode
    /// (kernel/bpf/inode.c: 1777), and root removes what is found here, so only root's own directories count.
    pub(crate) fn all() -> Vec<Pins> {
        let directories = mounts().into_iter().map(|mount| mount.join(DIRECTORY));
        directories
            .filter(|directory| is_roots_alone(directory))
            .flat_map(|directory| entries(&directory))
            .collect()
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
        let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", self.directory.display()));
        let there = |done: io::Result<()>| match done {
            // Another process was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map_err(told),
        };
        for entry in fs::read_dir(&self.directory).into_iter().flatten() {
            there(entry.and_then(|entry| fs::remove_file(entry.path())))?;
        }
        there(fs::remove_dir(&self.directory))?;
        let Some(parent) = self.directory.parent() else {
            return Ok(());
        };
        // Fails if these were not the last pins: then the directory is not empty.
        if fs::remove_dir(parent).is_ok() && parent.parent() == Some(&own_mount()) {
            umount(&own_mount())?;
            fs::remove_dir(own_mount())?;
        }
        Ok(())
    }
}

/// Returns true if the pins stay as long as the machine runs: a bpffs ends with the last mount namespace that has it.
pub(crate) fn is_lasting() -> bool {
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    namespace("self") == namespace("1")
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

/// Returns true if something is mounted there in any mount namespace that has a process or is kept. Removing the directory
/// would unmount it there too (fs/namespace.c, `__detach_mounts`), and open the cgroups that it keeps closed.
fn is_mounted_anywhere(place: &Path) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else {
        return true;
    };
    let place = place.display().to_string();
    processes.flatten().any(|process| {
        let table = fs::read_to_string(process.path().join("mountinfo")).unwrap_or_default();
        table.lines().any(|line| {
            let fields: Vec<&str> = line.split(' ').collect();
            fields.get(4).is_some_and(|at| at.ends_with(&place))
                || fields.get(3).is_some_and(|root| root.starts_with("mnt:"))
        })
    })
}

/// Creates the directory, or checks that only root can write to an existing one.
fn make_folder(path: &Path) -> Result<(), Failure> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => return made.map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display()))),
    }
    if is_roots_alone(path) {
        Ok(())
    } else {
        Err(Failure::new(format!("{} is not root's alone", path.display())))
    }
}

/// Returns true if this is a directory (not a link to one) that only root can read, in a directory of root's: no other user
/// can replace it there, because a bpffs is always sticky.
fn is_roots_alone(directory: &Path) -> bool {
    let is_roots = |path: &Path, others: u32| {
        fs::symlink_metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == 0 && found.mode() & others == 0)
    };
    is_roots(directory, 0o077) && directory.parent().is_some_and(|parent| is_roots(parent, 0))
}

fn own_mount() -> PathBuf {
    Path::new(RUN_DIR).join(OWN_MOUNT)
}

/// Returns a writable bpffs: one that is mounted, or httpjail's own.
fn bpffs() -> Result<PathBuf, Failure> {
    if let Some(found) = mounts().into_iter().next() {
        return Ok(found);
    }
    let own = own_mount();
    let mounted = make_run_dir()
        .and_then(|()| match DirBuilder::new().mode(0o700).create(&own) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => made,
        })
        .and_then(|()| {
            let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
            Ok(mount(Some("bpf"), &own, Some("bpf"), flags, Some("mode=0700"))?)
        });
    mounted.map_err(|error| {
        let _ = fs::remove_dir(&own);
        Failure {
            hint: Some("mount -t bpf -o mode=0700 bpf /sys/fs/bpf".into()),
            ..Failure::new(format!(
                "no bpffs is mounted, and none can be mounted at {}: {error}",
                own.display()
            ))
        }
    })?;
    Ok(own)
}

/// Where a bpffs is mounted for writing.
fn mounts() -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = table.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (point, kind, options) = (fields.next()?, fields.next()?, fields.next()?);
        let writable = options.split(',').any(|option| option == "rw");
        // A path with a blank would have octal digits here. Such mount points are not in use.
        (kind == "bpf" && writable && !point.contains('\\')).then(|| PathBuf::from(point))
    });
    mounts.collect()
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
