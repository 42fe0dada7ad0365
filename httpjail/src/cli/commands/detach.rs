//! `httpjail detach`: letting go of what was held from outside.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use super::attach::needs_root;
use super::{attach_own, node};
use crate::failure::Failure;
use crate::jail::attach::closed::Closed;
use crate::jail::attach::{self, Place};
use crate::jail::sandbox::rights;

/// Opens the cgroup, or all that there are.
///
/// # Errors
/// When there is none, and naming what stays.
pub(crate) fn detach(place: Option<&Place>) -> Result<u8, Failure> {
    if let Some(place) = place.filter(|_| !rights::missing_for_programs().is_empty())
        && let Some(own) = attach_own::network(place)
    {
        return attach_own::detach(place, own?);
    }
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
    refuse_of_a_node(cgroup.as_ref())?;
    let mut opened = attach::detach(cgroup.as_deref())?;
    // What a node closed that was killed.
    for closed in Closed::all()
        .iter()
        .filter(|closed| is_meant(cgroup.as_deref(), closed))
    {
        closed.open()?;
        opened.push(closed.cgroup.clone());
    }
    opened.dedup();
    if !node::a_node_runs() {
        node::forget();
    }
    if let (true, Some(cgroup)) = (opened.is_empty(), cgroup) {
        return Err(Failure::new(format!("nothing is attached to {}", cgroup.display())));
    }
    Ok(report(opened))
}

fn is_meant(cgroup: Option<&Path>, closed: &Closed) -> bool {
    cgroup.is_none_or(|path| closed.cgroup == path)
}

/// What a node holds it would hold again at once.
fn refuse_of_a_node(cgroup: Option<&PathBuf>) -> Result<(), Failure> {
    let closed = Closed::all()
        .into_iter()
        .find(|closed| cgroup.is_none_or(|path| path.starts_with(&closed.cgroup)));
    match closed.filter(|_| node::a_node_runs()) {
        None => Ok(()),
        Some(closed) => Err(Failure {
            hint: Some("take it out of the node file and send the node SIGHUP, or stop the node".into()),
            ..Failure::new(format!("{} is in the hands of httpjail node", closed.cgroup.display()))
        }),
    }
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
