//! `httpjail --weak ... -- COMMAND`: the command beside a proxy that it is asked to use.

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::cli::args;
use crate::cli::compose::open_proxy::{Access, OpenProxy};
use crate::cli::compose::proxy_parts::within_jail;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::run_stats::RunFindings;
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::failure::Failure;
use crate::logging;
use crate::tls::trust::{self, TrustPaths};
use crate::weak::{Command, Outcome, RunError, environment};

const WARNING: &str = "weak mode: the command is only asked to use the proxy, by environment variables; \
                       a program that ignores them is neither judged nor logged";

/// Runs the command. Returns httpjail's exit status, and what was found meanwhile.
///
/// # Errors
/// What failed before the command started.
pub(crate) fn run(config: &Config, caller: &InvokingUser) -> Result<(i32, RunFindings), Failure> {
    let hint = if within_jail() {
        Some("this is inside a jail of httpjail, which holds it")
    } else {
        cfg!(target_os = "linux").then_some("without --weak the kernel holds it")
    };
    logging::warn(WARNING, hint);
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut proxy = OpenProxy::open(
        config,
        caller,
        anywhere,
        Access::TokenOrSelf,
        // The command is this very user.
        SafeFrom::User(caller.user()),
    )?;
    let trusted = match config.intercept_tls {
        true => Some(Trust::lay_out(&proxy.authority)?),
        false => None,
    };
    proxy.address.java_store = trusted.as_ref().map(|trusted| trusted.java.clone());
    let more = trusted.iter().flat_map(Trust::variables).chain(caller.variables());
    let command = Command {
        program: config.command.program.clone(),
        args: config.command.args.clone(),
        env: environment::build(std::env::vars_os(), &proxy.address, more),
    };
    let (ran, findings) = proxy.while_serving(command.run(config.timeout), status)?;
    match ran {
        Ok(Outcome::TimedOut) => {
            let text = "the time given by --timeout is up; the command and what it started were ended";
            logging::warn(text, None);
            Ok((Outcome::TimedOut.status(), findings))
        }
        Ok(outcome) => Ok((outcome.status(), findings)),
        Err(error) => Err(Failure {
            hint: matches!(error, RunError::NotFound(_))
                .then(|| args::meant_command(config))
                .flatten(),
            status: error.status(),
            ..Failure::new(error.to_string())
        }),
    }
}

fn status(ran: &Result<Outcome, RunError>) -> Option<u16> {
    let status = ran
        .as_ref()
        .map_or_else(|error| error.status().into(), |outcome| outcome.status());
    u16::try_from(status).ok()
}

/// The files that make clients trust the proxy; gone with this.
struct Trust {
    dir: TempDir,
    bundle: PathBuf,
    authority: PathBuf,
    folder: Option<PathBuf>,
    java: PathBuf,
}

impl Trust {
    fn lay_out(authority: &str) -> Result<Trust, Failure> {
        let failed = |what: &Path, error| Failure::new(format!("cannot write {}: {error}", what.display()));
        let mut builder = tempfile::Builder::new();
        builder.prefix("httpjail-");
        // Whatever the umask is: who could write there would choose whom the command trusts.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let dir = builder.tempdir();
        let dir = dir.map_err(|error| failed(&std::env::temp_dir(), error))?;
        let own = trust::inherited_bundles(|name| std::env::var_os(name));
        let sources: Vec<PathBuf> = trust::existing_paths(Path::new("/")).into_iter().chain(own).collect();
        let merged = trust::bundle(authority, &sources);
        merged.notes.iter().for_each(|note| tracing::info!("{note}"));
        let write = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, content).map_err(|error| failed(&path, error))?;
            Ok::<_, Failure>(path)
        };
        let (bundle, file) = (
            write("ca-bundle.crt", &merged.pem)?,
            write("ca.crt", authority.as_bytes())?,
        );
        let java = write("cacerts", &trust::java_keystore(&merged.pem))?;
        let folder = match hashed(authority) {
            Some(name) => {
                let folder = dir.path().join("certs");
                fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
                write(&format!("certs/{name}"), authority.as_bytes())?;
                Some(folder)
            }
            None => None,
        };
        Ok(Trust {
            bundle,
            authority: file,
            folder,
            java,
            dir,
        })
    }

    fn variables(&self) -> Vec<(OsString, OsString)> {
        debug_assert!(self.bundle.starts_with(self.dir.path()));
        let text = |path: &PathBuf| path.to_string_lossy().into_owned();
        let (bundle, ca, dir) = (
            text(&self.bundle),
            text(&self.authority),
            self.folder.as_ref().map(text),
        );
        let paths = TrustPaths {
            bundle: &bundle,
            ca: &ca,
            dir: dir.as_deref(),
        };
        let set = trust::environment(paths).into_iter();
        set.map(|(name, value)| (name.into(), value.into())).collect()
    }
}

fn hashed(authority: &str) -> Option<String> {
    use rustls_pki_types::CertificateDer;
    use rustls_pki_types::pem::PemObject;
    trust::hashed_name(&CertificateDer::from_pem_slice(authority.as_bytes()).ok()?)
}
