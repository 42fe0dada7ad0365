//! What an earlier node has left is taken over.

use nix::sys::signal::Signal;

use super::Supervisor;
use crate::cli::commands::node::child::{Child, State, Wanted};
use crate::cli::commands::node::{parents, state};
use crate::jail::attach::closed::Closed;

impl Supervisor {
    /// Finds the children of an earlier node.
    pub(super) fn adopt(&mut self) {
        // What is made meanwhile is looked at again.
        let mut wanted = self.wanted();
        let mut found = 0;
        for record in state::all() {
            let key = record.key.clone();
            let (same, current) = match wanted.get(&key) {
                Some(wanted) => (wanted.arguments == record.arguments(), wanted.clone()),
                None => (false, Wanted::of_nothing(&record)),
            };
            let Some(mut child) = Child::adopt(current, record) else {
                continue;
            };
            found += 1;
            match wanted.remove(&key) {
                Some(_) if same => {}
                // Its programs stay, and keep the cgroup closed until the next one holds it.
                Some(_) => child.signal(Signal::SIGKILL),
                None => {
                    child.signal(Signal::SIGTERM);
                    child.state = State::Leaving;
                }
            }
            self.children.insert(key, child);
        }
        if found > 0 {
            self.say(&format!("has found {found} processes of an earlier node"));
        }
        let parents = parents::paths(&self.file, &self.mount);
        let wanted = self.wanted();
        let is_wanted = |closed: &Closed| {
            let held = wanted.values().any(|wanted| wanted.holds_cgroup(closed.id))
                || self
                    .children
                    .values()
                    .any(|child| child.cgroup.as_ref().is_some_and(|(_, id)| *id == closed.id));
            parents.contains(&closed.cgroup) || held
        };
        for closed in Closed::all().into_iter().filter(|closed| !is_wanted(closed)) {
            self.open(&closed);
        }
    }
}
