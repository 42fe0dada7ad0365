//! What the jail shows the command: the files laid over the host's, those that are hidden or kept, and the command itself.

use std::fs;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::cli::authority_dirs;
use crate::cli::compose::environment;
use crate::cli::output::failure;
use crate::config::{Approval, Config, LogTarget, Purpose};
use crate::failure::Failure;
use crate::jail::process::command::JailedCommand;
use crate::jail::process::init::Plan;
use crate::jail::process::working_directory::WorkingDirectory;
use crate::jail::sandbox::filter::Filter;
use crate::jail::sandbox::mounts::additions::Addition;
use crate::jail::sandbox::mounts::{Keeping, Kept, Overlay, View};
use crate::jail::sandbox::network::JAIL_V4;
use crate::jail::sandbox::run_dir;
use crate::jail::sandbox::sockets::Outside;
use crate::jail::sandbox::stdio::Inherited;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::logging;
use crate::tls::trust::{self, Roots, TrustPaths};

/// The jail's own names of the files laid into its view.
const BUNDLE: &str = "ca-bundle.crt";
const AUTHORITY: &str = "ca.crt";
const JAVA: &str = "cacerts";
/// A folder with the authority under the name by which OpenSSL looks for it.
const FOLDER: &str = "certs";

/// What init needs: the command, and the file system as the jail sees it. `authority` waits for the authority's certificate; what
/// does not need it is done before.
pub(crate) fn plan(
    config: &Config,
    caller: &UserIdentity,
    identity: UserIdentity,
    authority: impl FnOnce() -> Result<String, Failure>,
    outside: Outside,
    inherited: Inherited,
    deciders: Vec<PathBuf>,
) -> Result<Plan, Failure> {
    let place = place(caller)?;
    let trust = trust_variables(&place);
    let env = environment::build(std::env::vars_os(), &identity, trust, !config.allow_sockets.is_empty());
    let filter = Filter::compile().map_err(|error| Failure::new(error.to_string()))?;
    let policies = trust::chromium_policies(Path::new("/")).into_iter();
    let host = HostTrust::look(caller);
    let authority = authority()?;
    let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(failure)?;
    let view = View {
        place,
        overlays: overlays(&authority, &certificate, host)?,
        authority: authority.as_bytes().to_vec(),
        additions: policies
            .map(|(path, floor)| Addition {
                path,
                floor,
                content: trust::chromium_policy(&certificate),
            })
            .collect(),
        outside,
        // After the authority is there: its directory and the log may be new.
        hidden: authority_dirs::hidden(caller, &identity)?,
        kept: kept(config, caller, deciders),
        allowed: config.allow_sockets.clone(),
        own_terminals: config.approval == Approval::Terminal,
        owner: (identity.uid.as_raw(), identity.gid.as_raw()),
    };
    let mut argv = vec![config.command.program.clone()];
    argv.extend_from_slice(&config.command.args);
    let tell: fn(&str) = if config.log.quiet {
        |_| ()
    } else {
        |text| logging::warn(text, None)
    };
    Ok(Plan {
        view,
        command: JailedCommand {
            argv,
            env,
            working_directory: WorkingDirectory::inherited(&identity, tell),
            identity,
            pipes: inherited.pipes,
            lent: None,
        },
        filter,
    })
}

/// The variables that make clients trust the authority, in a jail whose own files are in `place`.
pub(crate) fn trust_variables(place: &Path) -> Vec<(&'static str, String)> {
    let in_jail = |name: &str| place.join(name).to_string_lossy().into_owned();
    trust::environment(TrustPaths {
        bundle: &in_jail(BUNDLE),
        ca: &in_jail(AUTHORITY),
        dir: Some(&in_jail(FOLDER)),
    })
}

/// Whom the host's programs trust.
struct HostTrust {
    /// The bundles that ours is laid over.
    bundles: Vec<PathBuf>,
    roots: Roots,
    /// The stores of its JVMs.
    java: Vec<PathBuf>,
}

impl HostTrust {
    fn look(caller: &UserIdentity) -> HostTrust {
        let variable = |name: &str| std::env::var_os(name);
        let bundles = trust::existing_paths(Path::new("/"));
        let sources: Vec<PathBuf> = bundles
            .iter()
            .cloned()
            .chain(trust::inherited_bundles(variable))
            .collect();
        HostTrust {
            bundles,
            roots: trust::roots(&sources),
            java: trust::java_stores(
                Path::new("/"),
                &caller.home,
                variable("JAVA_HOME").as_deref(),
                variable("PATH").as_deref(),
            ),
        }
    }
}

/// The files that the jail sees in place of the host's: who to trust, whom to ask for names, and how.
fn overlays(authority: &str, certificate: &CertificateDer<'_>, host: HostTrust) -> Result<Vec<Overlay>, Failure> {
    let bundle = host.roots.with(authority);
    bundle.notes.iter().for_each(|note| tracing::info!("{note}"));
    let hashed =
        trust::hashed_name(certificate).ok_or_else(|| Failure::new("the authority's certificate has no subject"))?;
    let resolver = format!("nameserver {JAIL_V4}\noptions edns0\n");
    let laid = |name: &str, content: Vec<u8>, covers| Overlay {
        name: name.to_owned(),
        content,
        covers,
    };
    let etc = |name: &str| vec![PathBuf::from("/etc").join(name)];
    let java = (!host.java.is_empty()).then(|| laid(JAVA, trust::java_keystore(&bundle.pem), host.java));
    let mut files = vec![
        laid(BUNDLE, bundle.pem, host.bundles),
        laid(AUTHORITY, authority.as_bytes().to_vec(), Vec::new()),
        laid(&format!("{FOLDER}/{hashed}"), authority.as_bytes().to_vec(), Vec::new()),
        laid("resolv.conf", resolver.into_bytes(), etc("resolv.conf")),
        laid("nsswitch.conf", nsswitch().into_bytes(), etc("nsswitch.conf")),
    ];
    files.extend(java);
    Ok(files)
}

/// The host's nsswitch.conf with names asked of files and DNS alone: daemons that would ask for us are outside.
fn nsswitch() -> String {
    let own = fs::read_to_string("/etc/nsswitch.conf").unwrap_or_default();
    let others = own.lines().filter(|line| !line.trim_start().starts_with("hosts:"));
    others
        .chain(["hosts: files dns"])
        .map(|line| format!("{line}\n"))
        .collect()
}

/// The folder that the jail's own files are mounted on.
pub(crate) fn place(caller: &UserIdentity) -> Result<PathBuf, Failure> {
    run_dir::place(&caller.config_dir().join("httpjail")).map_err(|error| Failure {
        hint: Some("have root make it once: mkdir -p -m 755 /run/httpjail".into()),
        ..Failure::new(format!(
            "no folder for the jail's own files: cannot make /run/httpjail: {error}"
        ))
    })
}

/// What httpjail runs, reads or writes for its owner while the command lives: the command must not be able to change it.
fn kept(config: &Config, caller: &UserIdentity, deciders: Vec<PathBuf>) -> Vec<Kept> {
    let of = |path: &Path, how| {
        let path = caller.act(|| fs::canonicalize(path)).flatten().ok()?;
        let kind = fs::symlink_metadata(&path).ok()?.file_type();
        // Who reads a pipe takes what it says from its reader.
        let pipe = kind.is_fifo() && how == Keeping::Unseen;
        (kind.is_file() || pipe).then_some(Kept { path, how })
    };
    let log = match &config.log.target {
        LogTarget::File(path) => of(path, Keeping::Unseen),
        LogTarget::Stderr | LogTarget::Stream(_) => None,
    };
    let policies = config.reload.iter().flat_map(|reload| &reload.texts);
    let learned = match &config.purpose {
        Purpose::Learn(learning) => Some(&learning.path),
        Purpose::Work | Purpose::Locked(_) => None,
    };
    let read = policies.map(|(path, _)| path).chain(learned);
    let mut kept: Vec<Kept> = read.filter_map(|path| of(path, Keeping::ReadOnly)).collect();
    kept.extend(log);
    kept.extend(deciders.into_iter().map(|path| Kept {
        path,
        how: Keeping::InPlace,
    }));
    kept
}
