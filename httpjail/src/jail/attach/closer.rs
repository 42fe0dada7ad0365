//! Closes a cgroup for whatever is in it and is made in it, but for what is held ([`super::closed`]).

use std::fs::DirBuilder;
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, symlink};

use super::bpffs;
use super::closed::{Closed, HELD, MADE, PLACE, PREFIX};
use super::closing_program::{DEEPEST, HOOKS, Programs};
use super::lock::lock_pins;
use super::pins::Pins;
use super::target::{Target, mount_point};
use crate::failure::Failure;
use crate::sys::bpf;

/// Closes cgroups.
pub(crate) struct Closer(Programs);

impl Closer {
    /// Loads the programs.
    ///
    /// # Errors
    /// Those of a kernel without what is needed.
    pub(crate) fn new() -> Result<Closer, Failure> {
        Programs::load().map(Closer)
    }

    /// Closes a cgroup and what is below it, but for what is held there already. One that is closed stays as it is. `made`: httpjail made it.
    ///
    /// # Errors
    /// The step that failed. The cgroup is as open as before.
    pub(crate) fn close(&self, target: &Target, made: bool) -> Result<(), Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(format!("cannot close the cgroup {}: {error}", target.path().display()))
        };
        let mount = mount_point()?;
        if target
            .path()
            .strip_prefix(&mount)
            .is_ok_and(|within| within.iter().count() > DEEPEST)
        {
            return Err(failed(&format!("it is more than {DEEPEST} levels below the root")));
        }
        let _lock = lock_pins(&|_| {})?;
        if let Some(closed) = Closed::all().into_iter().find(|closed| closed.id == target.id()) {
            if closed.is_whole() {
                return Ok(());
            }
            // Its maker was killed meanwhile.
            bpffs::remove(&closed.directory).map_err(|error| failed(&error))?;
        }
        // A map of all: what is held somewhere else does no harm in it.
        for pins in Pins::all().iter().filter(|pins| !pins.is_stale()) {
            self.0.held.update(&pins.id, &1).map_err(|error| failed(&error))?;
        }
        let directory = bpffs::make()?.join(format!("{PREFIX}{}", target.id()));
        let links = self.0.attach(target.as_fd()).map_err(|error| failed(&error))?;
        let pinned = || -> io::Result<()> {
            DirBuilder::new().mode(0o700).create(&directory)?;
            symlink(target.path(), directory.join(PLACE))?;
            if made {
                symlink(MADE, directory.join(MADE))?;
            }
            bpf::obj_pin(self.0.held.as_fd(), &directory.join(HELD))?;
            for (link, (name, _)) in links.iter().zip(HOOKS) {
                bpf::obj_pin(link.as_fd(), &directory.join(name))?;
            }
            Ok(())
        };
        pinned().map_err(|error| {
            let _ = bpffs::remove(&directory);
            failed(&error)
        })
    }
}
