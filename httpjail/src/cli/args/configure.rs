//! Turns parsed arguments into the configuration.

use super::judging::{Run, Shared};
use super::policies::Learn;
use super::pool::Pool;
use super::steering::{Attach, Serve};
use crate::config::file::File;
use crate::config::{CommandLine, Config, ConfigError, Existing, Learning, Overrides, Serving};

impl Run {
    /// The configuration that this and the policy file make.
    ///
    /// # Errors
    /// As [`Config::for_command`].
    pub(crate) fn configure(self, file: Option<File>) -> Result<Config, ConfigError> {
        Config::for_command(self.into(), file)
    }
}

impl Learn {
    /// The configuration that this and the policy file make.
    ///
    /// # Errors
    /// As [`Config::for_learning`].
    pub(crate) fn configure(self, file: Option<File>) -> Result<Config, ConfigError> {
        let existing = match (self.update, self.force) {
            (true, _) => Existing::Extend,
            (_, true) => Existing::Replace,
            _ => Existing::Keep,
        };
        let learning = Learning {
            path: self.output,
            existing,
        };
        Config::for_learning(self.run.into(), learning, file)
    }
}

impl Serve {
    /// The configuration that this and the policy file make.
    ///
    /// # Errors
    /// As [`Config::for_serving`].
    pub(crate) fn configure(self, file: Option<File>) -> Result<(Config, Serving), ConfigError> {
        let mut line = CommandLine::from(self.shared);
        line.options.listen = self.listen;
        line.options.auth = self.auth;
        Config::for_serving(line, file)
    }
}

impl Pool {
    /// The configuration that this and the policy file make.
    ///
    /// # Errors
    /// As [`Config::for_pool`].
    pub(crate) fn configure(self, file: Option<File>) -> Result<Config, ConfigError> {
        // The name is the pool's: its jails are many.
        let mut line = CommandLine::from(Shared {
            name: None,
            ..self.shared
        });
        line.options.backend = self.backend;
        line.options.dns = self.dns;
        line.options.timeout = self.timeout;
        line.options.allow_socket = self.allow_socket;
        Config::for_pool(line, file)
    }
}

impl Attach {
    /// The configuration that this and the policy file make.
    ///
    /// # Errors
    /// As [`Config::for_attaching`].
    pub(crate) fn configure(self, file: Option<File>) -> Result<Config, ConfigError> {
        let mut line = CommandLine::from(self.shared);
        line.options.dns = self.dns;
        line.options.inbound = self.inbound;
        line.options.upstream_network = self.upstream_network;
        Config::for_attaching(line, file)
    }
}

impl From<Run> for CommandLine {
    fn from(run: Run) -> CommandLine {
        let shared = CommandLine::from(run.shared);
        CommandLine {
            locked: run.locked,
            command: run.command,
            options: Overrides {
                interactive: set(run.interactive),
                backend: run.backend,
                weak: set(run.weak),
                dns: run.dns,
                user: run.user,
                timeout: run.timeout,
                allow_socket: run.allow_socket,
                publish: run.publish,
                ..shared.options
            },
            ..shared
        }
    }
}

impl From<Shared> for CommandLine {
    fn from(shared: Shared) -> CommandLine {
        CommandLine {
            rules: shared.rules,
            config: shared.config,
            options: Overrides {
                name: shared.name,
                labels: shared.label,
                dry_run: set(shared.dry_run),
                log_only: set(shared.log_only),
                approve_with: shared.approve_with,
                approve_timeout: shared.approve_timeout,
                no_tls_intercept: set(shared.no_tls_intercept),
                upstream_ca: shared.upstream_ca,
                ephemeral_ca: set(shared.ephemeral_ca),
                log: shared.log,
                log_format: shared.log_format,
                summary: shared.summary,
                quiet: set(shared.quiet),
                verbose: Some(shared.verbose).filter(|count| *count > 0),
                ..Overrides::default()
            },
            ..CommandLine::default()
        }
    }
}

/// A switch that is not given sets nothing, so that the file may set it.
fn set(switch: bool) -> Option<bool> {
    switch.then_some(true)
}

#[cfg(test)]
mod tests;
