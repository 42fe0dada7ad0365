//! `httpjail detach`: letting go of what was held from outside.

use std::io::{self, Write as _};
use std::path::PathBuf;

use super::attach::needs_root;
use crate::failure::Failure;
use crate::jail::attach::{self, Place};

/// Opens the cgroup, or all that there are.
///
/// # Errors
/// When there is none, and naming what stays.
pub(crate) fn detach(place: Option<&Place>) -> Result<u8, Failure> {
    needs_root("detach")?;
    let cgroup = match place {
        // One that is gone has left its name.
        Some(Place::Cgroup(path)) => Some(Place::Cgroup(path.clone()).find().unwrap_or_else(|_| path.clone())),
        Some(place) => match place.find() {
            Ok(found) => Some(found),
            // What does not run may be waited for.
            Err(unknown) => {
                let name = place.to_string();
                let ended = attach::stop_waiting(|_, named| named == name)?;
                return if ended.is_empty() {
                    Err(unknown)
                } else {
                    Ok(report(ended))
                };
            }
        },
        None => None,
    };
    let opened = attach::detach(cgroup.as_deref())?;
    if let (true, Some(cgroup)) = (opened.is_empty(), cgroup) {
        return Err(Failure::new(format!("nothing is attached to {}", cgroup.display())));
    }
    Ok(report(opened))
}

/// Says what is open again. Returns httpjail's exit status.
fn report(opened: Vec<PathBuf>) -> u8 {
    let mut text = String::new();
    for cgroup in opened {
        text += &format!("httpjail: detached from {}\n", cgroup.display());
    }
    // Without a stderr there is nobody to tell.
    let _ = io::stderr().write_all(text.as_bytes());
    0
}
