//! What every way of running composes alike: the log, the proxy's mode, the run's name.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::approve::ApprovalQueue;
use crate::cli::compose::limits;
use crate::cli::compose::reload::{InForce, Rights};
use crate::cli::hints;
use crate::cli::output::{USAGE, failure, verbosity};
use crate::cli::run_stats::SharedRunStats;
use crate::logging;
use crate::net::{NameSource, ProgramSource};

#[cfg(unix)]
use crate::audit;
use crate::audit::{EventKind, Format, Log, LogFile, Marks, Record, Show, Sink, StderrPolicy};
use crate::config::options::LogFormat;
use crate::config::{Config, Mode, Purpose, Stream};
use crate::failure::Failure;
use crate::proxy::{self, Clients, Proxy, ProxyConfig};
use crate::sys;
use crate::tls::{AuthorityFile, CertificateAuthority, Leaves, UpstreamTls};

/// The log of a run; `file` is where requests are written, if they are. Starts a thread.
fn log(config: &Config, file: Option<LogFile>, session: String, stats: &SharedRunStats) -> Result<Log, Failure> {
    let show = match (config.log.quiet, verbosity(config.verbosity)) {
        (true, _) => Show::Nothing,
        (false, 0) => Show::Denials,
        (false, _) => Show::Everything,
    };
    let format = match config.log.format {
        LogFormat::Text => Format::Text,
        LogFormat::Json => Format::Json,
    };
    let policy = StderrPolicy {
        show,
        no_rules: hints::no_rules(config),
        suggest: hints::suggests(config),
        mend: !matches!(config.purpose, Purpose::Locked(_)),
    };
    let marks = Marks {
        name: config.name.clone(),
        labels: config.labels.clone(),
    };
    Log::new(file, format, policy, session)
        .map(|log| log.watched_by(stats.watcher()).marked(marks))
        .map_err(|error| Failure::new(format!("cannot speak on stderr: {error}")))
}

/// Standard output or error as the request log.
pub(crate) fn log_stream(stream: Stream) -> Result<LogFile, Failure> {
    let (name, opened) = match stream {
        Stream::Stdout => ("standard output", open_stream(stream)),
        Stream::Stderr => ("standard error", open_stream(stream)),
    };
    let failed = |error| Failure::new(format!("cannot write the log to {name}: {error}"));
    let file = opened.map_err(failed)?;
    let again = file.try_clone().map_err(failed)?;
    Ok(LogFile {
        file,
        // A file that was renamed is still what httpjail was started with.
        reopen: Box::new(move || again.try_clone()),
    })
}

#[cfg(unix)]
fn open_stream(stream: Stream) -> io::Result<File> {
    use std::os::fd::AsFd as _;
    match stream {
        Stream::Stdout => audit::open_stream(io::stdout().as_fd()),
        Stream::Stderr => audit::open_stream(io::stderr().as_fd()),
    }
}

#[cfg(windows)]
fn open_stream(stream: Stream) -> io::Result<File> {
    use std::os::windows::io::AsHandle as _;
    let handle = match stream {
        Stream::Stdout => io::stdout().as_handle().try_clone_to_owned(),
        Stream::Stderr => io::stderr().as_handle().try_clone_to_owned(),
    };
    handle.map(File::from)
}

/// What may mend that a log cannot be opened.
pub(crate) fn log_hint(error: &io::Error) -> Option<String> {
    let closed = [
        io::ErrorKind::PermissionDenied,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::NotFound,
    ];
    closed
        .contains(&error.kind())
        .then(|| "--log FILE names another; a policy file does so with `logging: {file: FILE}`".to_owned())
}

/// Writes the first line of the log. Nothing runs if it cannot be written.
fn begin(log: &Log) -> Result<(), Failure> {
    log.record(Record::new(EventKind::Start));
    if !log.healthy() {
        return Err(Failure {
            hint: Some("is the disk full? a jail whose log cannot be written does not start".into()),
            ..Failure::new("cannot write the log")
        });
    }
    Ok(())
}

/// What the proxy does with verdicts.
fn mode(mode: Mode) -> proxy::Mode {
    match mode {
        Mode::Enforce => proxy::Mode::Enforce,
        Mode::DryRun => proxy::Mode::DryRun,
        Mode::LogOnly => proxy::Mode::LogOnly,
        Mode::Learn => proxy::Mode::Learn,
    }
}

/// What a burst of connections has taken is not to stay taken for the rest of a run that may last days.
pub(crate) async fn give_memory_back() {
    loop {
        tokio::time::sleep(Duration::from_secs(15)).await;
        // Within milliseconds, but while it lasts others wait for memory: not on a thread that serves.
        let _ = tokio::task::spawn_blocking(sys::memory::give_back).await;
    }
}

/// The other proxies that httpjail's own environment names; the command's is another.
pub(crate) fn upstream_proxies() -> Result<ProxyConfig, Failure> {
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
    ProxyConfig::named_by(variable).map_err(|error| Failure {
        status: USAGE,
        hint: Some("no_proxy=* in its environment has httpjail connect directly".into()),
        ..Failure::new(error.to_string())
    })
}

/// Trust for the upstream leg: the system's authorities and those in `files`, never our `own`.
pub(crate) fn upstream_tls(files: &[AuthorityFile], own: &CertificateAuthority) -> Result<UpstreamTls, Failure> {
    UpstreamTls::new(files, Some(own)).map_err(|error| Failure {
        status: USAGE,
        hint: Some("--upstream-ca wants certificates in PEM form, `-----BEGIN CERTIFICATE-----` and so on".into()),
        ..failure(error)
    })
}

/// The files of `--upstream-ca`, read with the caller's rights.
pub(crate) fn upstream_authorities(config: &Config, rights: impl Rights) -> Result<Vec<AuthorityFile>, Failure> {
    let read = |path: &PathBuf| {
        let pem = rights.act(|| fs::read(path)).flatten().map_err(|error| Failure {
            status: USAGE,
            ..Failure::new(format!("cannot read the authorities in {}: {error}", path.display()))
        })?;
        Ok(AuthorityFile {
            path: path.clone(),
            pem,
        })
    };
    config.upstream_ca.iter().map(read).collect()
}

/// Names the run: in the log, and in its cgroup's name.
pub(crate) fn session() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:x}-{:x}", since.as_micros(), process::id())
}

/// Whether httpjail itself is in a jail.
pub(crate) fn within_jail() -> bool {
    #[cfg(target_os = "linux")]
    return crate::jail::sandbox::nested::is_within();
    #[cfg(not(target_os = "linux"))]
    false
}

/// What a proxy is made of, where that differs from one way of running to the next.
pub(crate) struct ProxyParts {
    /// Where clients come from.
    pub(crate) clients: Clients,
    /// Which program a process runs.
    pub(crate) programs: Arc<dyn ProgramSource>,
    /// The names behind made-up addresses.
    pub(crate) names: Arc<dyn NameSource>,
    /// Who is asked about what no rule matches.
    pub(crate) approvals: Option<Arc<ApprovalQueue>>,
    /// Signs the certificates that clients see.
    pub(crate) authority: Arc<CertificateAuthority>,
    /// Trust for the upstream leg.
    pub(crate) upstream_tls: UpstreamTls,
    /// Other proxies on the upstream leg.
    pub(crate) upstream_proxies: ProxyConfig,
    /// The network that it dials from.
    pub(crate) network: Arc<dyn proxy::Network>,
    /// Where it listens in the network that it dials from.
    pub(crate) itself: Vec<SocketAddr>,
}

impl ProxyParts {
    /// Makes the proxy, and what puts a changed policy in force.
    ///
    /// # Errors
    /// When no key can be made for the certificates.
    pub(crate) fn build(self, config: &Config, log: &Arc<Log>) -> Result<(Proxy, InForce), Failure> {
        let in_force = InForce::new(config, log.clone());
        let proxy = Proxy::new(proxy::Config {
            policy: in_force.policy(),
            approvals: self.approvals,
            mode: mode(config.mode),
            intercept_tls: config.intercept_tls,
            passthrough: config.passthrough.clone(),
            clients: self.clients,
            programs: self.programs,
            names: self.names,
            leaves: Arc::new(Leaves::new(self.authority).map_err(failure)?),
            upstream_tls: Arc::new(self.upstream_tls),
            audit: log.clone(),
            network: self.network,
            upstream_proxies: self.upstream_proxies,
            itself: self.itself,
            limits: limits::effective(&config.limits),
            allocated: sys::memory::allocated,
        });
        Ok((proxy, in_force))
    }
}

/// Starts the log of a run, and speaks through it from here on.
pub(crate) fn start_log(
    config: &Config,
    file: Option<LogFile>,
    session: String,
    stats: &SharedRunStats,
) -> Result<Arc<Log>, Failure> {
    let log = Arc::new(log(config, file, session, stats)?);
    logging::init(verbosity(config.verbosity), Some(log.terminal().clone()));
    begin(&log)?;
    Ok(log)
}
