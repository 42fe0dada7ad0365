//! Figures for whoever asks.

use super::Supervisor;
use crate::cli::commands::node::child::State;
use crate::cli::commands::node::endpoint::Endpoint;
use crate::cli::commands::node::figures::Figures;
use crate::logging;

impl Supervisor {
    /// Starts what serves the figures, where the node file wants them, and answers it. Whatever fails there, the jails are held.
    pub(super) fn serve_figures(&mut self) {
        if self.endpoint.as_ref().map(|endpoint| endpoint.address) != self.file.metrics {
            self.endpoint = None;
        }
        if let (None, Some(address)) = (&self.endpoint, self.file.metrics) {
            match Endpoint::start(address) {
                Ok(endpoint) => {
                    self.endpoint_said.clear();
                    self.say(&format!("serves /metrics and /healthz at {address}"));
                    self.endpoint = Some(endpoint);
                }
                Err(failure) if failure.message == self.endpoint_said => {}
                Err(failure) => {
                    logging::warn(&failure.message, failure.hint.as_deref());
                    self.endpoint_said = failure.message;
                }
            }
        }
        let figures = self.figures();
        let answered = self.endpoint.as_mut().map(|endpoint| endpoint.answer(|| figures));
        if let Some(Err(error)) = answered {
            logging::warn(&format!("the server of metrics has ended: {error}"), None);
            self.endpoint = None;
        }
    }

    fn figures(&self) -> Figures {
        let mut figures = self.figures;
        for child in self.children.values() {
            match child.state {
                State::Holding(_) => figures.held += 1,
                State::Starting(_) => figures.starting += 1,
                State::Due(_) if child.is_failing() => figures.failing += 1,
                State::Due(_) => figures.waiting += 1,
                State::Leaving => {}
            }
        }
        figures
    }
}
