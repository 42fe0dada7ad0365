//! How an attachment is undone by who made it.

use super::Attachment;
use super::detach::remove;
use super::lock::lock_pins;
use super::pins::Pins;
use crate::failure::Failure;

impl Attachment {
    /// Removes the attachment if nothing is in the cgroup any more; otherwise it stays closed. Returns whether it does.
    ///
    /// # Errors
    /// Naming what stays.
    pub(crate) fn leave(mut self) -> Result<bool, Failure> {
        self.stays = true;
        // What could not be listed may be there.
        let is_empty = self.target.is_gone() || self.target.processes().is_ok_and(|inside| inside.is_empty());
        if is_empty {
            self.detach()?;
        }
        Ok(!is_empty)
    }

    /// Opens the cgroup: removes the attachment.
    ///
    /// # Errors
    /// Naming what stays.
    pub(crate) fn detach(mut self) -> Result<(), Failure> {
        self.stays = true;
        let _lock = lock_pins(&|_| {})?;
        // `httpjail detach` may have been quicker.
        let ours = Pins::all().into_iter().any(|pins| pins.name == self.pins.name);
        if ours { remove(&self.pins) } else { Ok(()) }
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        if !self.stays
            && let Err(failure) = lock_pins(&|_| {}).and_then(|_lock| remove(&self.pins))
        {
            tracing::warn!(%failure, "cannot undo an attachment");
        }
    }
}
