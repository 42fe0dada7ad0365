//! `httpjail node --check`: what a node would hold, and what would keep it from that.

use super::parents;
use super::source::{Source, check_policy};
use super::tree;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::print;
use crate::cli::policy_file;
use crate::config::file::node::{Held, NodeFile};
use crate::failure::Failure;
use crate::jail::attach::Place;
use crate::jail::steering::cgroup;
use crate::logging;

/// Prints it. Returns 1 if something would not be held as it is meant to be.
///
/// # Errors
/// When the cgroup tree cannot be read, or it cannot be printed.
pub(super) fn run(source: &Source, file: &NodeFile) -> Result<i32, Failure> {
    let mount = cgroup::mount_point().map_err(|error| Failure::new(error.to_string()))?;
    let caller = InvokingUser::find()?;
    let mut wrong = false;
    let mut tell = |failure: Failure| {
        logging::warn(&failure.to_string(), failure.hint.as_deref());
        wrong = true;
    };
    if let Err(failure) = parents::check(file, &mount) {
        tell(failure);
    }
    let mut text = String::new();
    for path in parents::paths(file, &mount) {
        let within = path.strip_prefix(&mount).unwrap_or(&path).display();
        text += &format!("closed  {within}\n");
    }
    let cgroups = tree::find(&mount, file, &mut |_| {});
    for (index, jail) in file.jails.iter().enumerate() {
        let policy = jail.policy.as_ref().map(|policy| source.policy(policy));
        let checked = policy.as_ref().map_or(Ok(()), |path| {
            check_policy(path)?;
            policy_file::load(path, &caller).map(drop)
        });
        if let Err(failure) = checked {
            tell(failure);
        }
        let policy = policy.map_or_else(|| "everything denied".to_owned(), |path| path.display().to_string());
        text += &format!("jail    {}: {policy}\n", jail.name);
        let held: Vec<String> = match &jail.held {
            Held::Cgroups(_) => cgroups
                .iter()
                .filter(|cgroup| cgroup.jail == index)
                .map(|cgroup| {
                    cgroup
                        .path
                        .strip_prefix(&mount)
                        .unwrap_or(&cgroup.path)
                        .display()
                        .to_string()
                })
                .collect(),
            Held::Unit(name) => now(&Place::Unit(name.clone())),
            Held::Container(name) => now(&Place::Container(name.clone())),
        };
        for held in &held {
            text += &format!("        {held}\n");
        }
        if held.is_empty() {
            text += "        nothing now\n";
        }
    }
    print(&text)?;
    Ok(i32::from(wrong))
}

fn now(place: &Place) -> Vec<String> {
    place.find().map(|_| place.to_string()).into_iter().collect()
}
