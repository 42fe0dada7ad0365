//! Makes the configuration of each command that judges requests, and refuses options that it cannot have.

use std::ffi::OsString;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::error::ConfigError;
use super::file::File;
use super::merge;
use super::options::{Auth, Backend};
use super::overrides::{CommandLine, Overrides};
use super::types::{Approval, Command, Config, Learning, Mode, Purpose, Serving};

/// Where `serve` listens by default.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

impl Config {
    /// Makes the configuration of a run. Rules of the command line come first, and its options win over the file's.
    ///
    /// # Errors
    /// Returns a [`ConfigError`] for an invalid rule or file, and for options that contradict each other.
    pub(crate) fn for_command(line: CommandLine, file: Option<File>) -> Result<Config, ConfigError> {
        let mut words = line.command.iter().cloned();
        let program = words.next().filter(|program| !program.is_empty());
        let command = Command {
            program: program.ok_or(ConfigError::NoCommand)?,
            args: words.collect(),
        };
        refuse_serving(file.as_ref())?;
        refuse_attaching(file.as_ref())?;
        let locked = line.locked.clone();
        let mut config = merge::of(line, file, command)?;
        if let Some(path) = locked {
            if config.mode != Mode::Enforce {
                return Err(ConfigError::Conflict("--locked", "dry-run or log-only"));
            }
            config.purpose = Purpose::Locked(path);
            // The run is compared with this policy, so a changed file must not replace it.
            config.reload = None;
        }
        Ok(config)
    }

    /// Makes the configuration of a run that a policy is learned from; `file` is the one that rules are added to, or `--config`.
    ///
    /// # Errors
    /// As [`Config::for_command`].
    pub(crate) fn for_learning(
        line: CommandLine,
        learning: Learning,
        file: Option<File>,
    ) -> Result<Config, ConfigError> {
        if line.locked.is_some() {
            return Err(ConfigError::Conflict("learn", "--locked"));
        }
        let mut config = Config::for_command(line, file)?;
        if config.mode != Mode::Enforce {
            return Err(ConfigError::Conflict("learn", "dry-run or log-only"));
        }
        config.mode = Mode::Learn;
        config.reload = None;
        config.purpose = Purpose::Learn(learning);
        Ok(config)
    }

    /// Makes the configuration of a proxy without a command.
    ///
    /// # Errors
    /// As [`Config::for_command`], and for a proxy without authentication that other machines could use.
    pub(crate) fn for_serving(line: CommandLine, file: Option<File>) -> Result<(Config, Serving), ConfigError> {
        let set = file.as_ref().map(|file| file.options.clone()).unwrap_or_default();
        let serving = Serving {
            listen: line.options.listen.or(set.listen).unwrap_or(LISTEN),
            auth: line.options.auth.or(set.auth).unwrap_or(Auth::Token),
        };
        if serving.auth == Auth::None && !serving.listen.ip().is_loopback() {
            return Err(ConfigError::Open(serving.listen));
        }
        refuse_attaching(file.as_ref())?;
        if set.backend.is_some_and(|backend| backend != Backend::Weak) {
            return Err(ConfigError::Conflict("serve", "backend"));
        }
        let line = CommandLine {
            options: Overrides {
                backend: Some(Backend::Weak),
                ..line.options
            },
            ..line
        };
        let config = merge::of(line, file, Command::none())?;
        config.has_no_command("serve")?;
        Ok((config, serving))
    }

    /// Makes the configuration of an attachment, which runs no command either.
    ///
    /// # Errors
    /// As [`Config::for_command`], and for what only a command can have.
    pub(crate) fn for_attaching(line: CommandLine, file: Option<File>) -> Result<Config, ConfigError> {
        refuse_serving(file.as_ref())?;
        if let Some(File { options, .. }) = &file
            && (options.weak == Some(true) || matches!(options.backend, Some(Backend::Netns | Backend::Weak)))
        {
            return Err(ConfigError::Conflict("attach", "backend"));
        }
        let line = CommandLine {
            options: Overrides {
                backend: Some(Backend::Ebpf),
                ..line.options
            },
            ..line
        };
        let config = merge::of(line, file, Command::none())?;
        config.has_no_command("attach")?;
        // Processes that run already cannot be made to trust a new authority.
        if config.ephemeral_ca {
            return Err(ConfigError::Conflict("attach", "--ephemeral-ca"));
        }
        Ok(config)
    }

    /// Makes the configuration of jails whose commands come later.
    ///
    /// # Errors
    /// As [`Config::for_command`], and for what is one command's.
    pub(crate) fn for_pool(line: CommandLine, file: Option<File>) -> Result<Config, ConfigError> {
        refuse_serving(file.as_ref())?;
        refuse_attaching(file.as_ref())?;
        let config = merge::of(line, file, Command::none())?;
        let given = [
            (config.backend == Backend::Weak, "weak mode, which makes no jail"),
            // Only one jail can have the port.
            (!config.publish.is_empty(), "publish"),
            (config.approval == Approval::Terminal, "interactive"),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(ConfigError::Conflict("pool", name)),
            None => Ok(config),
        }
    }

    /// Refuses what only a command can have.
    fn has_no_command(&self, what: &'static str) -> Result<(), ConfigError> {
        let given = [
            (self.timeout.is_some(), "timeout"),
            (self.user.is_some(), "user"),
            (!self.allow_sockets.is_empty(), "allow-socket"),
            (!self.publish.is_empty(), "publish"),
            (self.approval == Approval::Terminal, "interactive"),
        ];
        match given.into_iter().find(|(given, _)| *given) {
            Some((_, name)) => Err(ConfigError::Conflict(what, name)),
            None => Ok(()),
        }
    }
}

/// Refuses what only `serve` can have.
fn refuse_serving(file: Option<&File>) -> Result<(), ConfigError> {
    match file.map(|file| &file.options) {
        Some(options) if options.listen.is_some() => Err(ConfigError::Serving("listen")),
        Some(options) if options.auth.is_some() => Err(ConfigError::Serving("auth")),
        _ => Ok(()),
    }
}

/// Refuses what only `attach` can have.
fn refuse_attaching(file: Option<&File>) -> Result<(), ConfigError> {
    match file.map(|file| &file.options) {
        Some(options) if !options.inbound.is_empty() => Err(ConfigError::Attaching("inbound")),
        Some(options) if options.upstream_network.is_some() => Err(ConfigError::Attaching("upstream-network")),
        _ => Ok(()),
    }
}

impl Command {
    fn none() -> Command {
        Command {
            program: OsString::new(),
            args: Vec::new(),
        }
    }
}
