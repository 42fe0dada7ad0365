//! The node's own figures, as Prometheus reads them.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

/// What the node counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Figures {
    /// Jails that are held.
    pub held: usize,
    /// Those that are being started.
    pub starting: usize,
    /// Those that are there and empty, or that do not run.
    pub waiting: usize,
    /// Those that could not be held and stay closed.
    pub failing: usize,
    /// How many processes of jails ended without being asked to.
    pub restarts: u64,
    /// How often the node file was read again.
    pub reloads: u64,
    /// How often it was wrong.
    pub reload_failures: u64,
}

impl Figures {
    /// Returns the text.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        let mut metric = |name: &str, kind: &str, help: &str, series: &[(&str, u64)]| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in series {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let states = [
            ("{state=\"held\"}", count(self.held)),
            ("{state=\"starting\"}", count(self.starting)),
            ("{state=\"waiting\"}", count(self.waiting)),
            ("{state=\"failing\"}", count(self.failing)),
        ];
        metric(
            "httpjail_node_jails",
            "gauge",
            "Jails of the node, by what becomes of them.",
            &states,
        );
        metric(
            "httpjail_node_restarts_total",
            "counter",
            "Processes of jails that ended without being asked to.",
            &[("", self.restarts)],
        );
        metric(
            "httpjail_node_reloads_total",
            "counter",
            "Times that the node file was read again.",
            &[("", self.reloads)],
        );
        metric(
            "httpjail_node_reload_failures_total",
            "counter",
            "Times that the node file was wrong, and the old one stayed in force.",
            &[("", self.reload_failures)],
        );
        text
    }
}
