//! `httpjail runtime install` and `uninstall`: the files by which an engine knows `httpjail-runc`, written and unwritten.
//!
//! What is to be done is a list ([`Change`]), which `--print` shows. No engine is restarted: that is left to whoever knows what runs.

use std::fs::{self, DirBuilder};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use serde_json::Value;

use super::root::{Root, refusal};
use crate::cli::args::{Engine, Install, Uninstall};
use crate::cli::output::print;
use crate::cli::safe_from::SafeFrom;
use crate::failure::Failure;
use crate::logging;
use crate::oci::engines;
use crate::oci::refused::Refused;
use crate::oci::table::check_name;
use crate::tls::trust::{self, TrustPaths};

const DOCKER: &str = "/etc/docker/daemon.json";
/// What that was before, to the byte.
const DOCKER_BEFORE: &str = "/etc/docker/daemon.json.before-httpjail";
const PODMAN: &str = "/etc/containers/containers.conf.d/httpjail.conf";
/// The one directory that Podman and CRI-O read without being told.
const HOOKS: &str = "/usr/share/containers/oci/hooks.d/httpjail.json";
const CDI: &str = "/etc/cdi/httpjail.json";
const CONTAINERD: &str = "/etc/containerd/config.toml";
const PROGRAM: &str = "/usr/local/bin/httpjail-runc";

/// One thing that is done to the file system.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Write(PathBuf, String),
    Link(PathBuf, PathBuf),
    Remove(PathBuf),
}

/// Names the runtime to an engine.
///
/// # Errors
/// What cannot be merged or written.
pub(crate) fn install(options: &Install) -> Result<i32, Failure> {
    options
        .policy
        .iter()
        .try_for_each(|name| check_name(name))
        .map_err(refusal)?;
    let own = std::env::current_exe()
        .map_err(|error| Failure::new(format!("cannot find httpjail's own executable: {error}")))?;
    if !options.print {
        SafeFrom::AllBut(0).look(&own).map_err(|error| Failure {
            hint: Some("copy httpjail to where only root can write: install -m 755 httpjail /usr/local/bin/".into()),
            ..Failure::new(format!("an engine must not run this httpjail as root: {error}"))
        })?;
    }
    let mut changes = vec![Change::Link(PROGRAM.into(), own.clone())];
    let policies = &options.policy;
    match options.engine {
        Engine::Docker => {
            let before = text(DOCKER)?;
            let after =
                engines::docker(before.as_deref(), PROGRAM, policies).map_err(|refused| in_file(DOCKER, refused))?;
            if let Some(before) = before.filter(|_| !Path::new(DOCKER_BEFORE).exists()) {
                changes.push(Change::Write(DOCKER_BEFORE.into(), before));
            }
            changes.push(Change::Write(DOCKER.into(), after));
        }
        Engine::Podman => {
            let links = policies
                .iter()
                .map(|policy| Change::Link(format!("{PROGRAM}@{policy}").into(), own.clone()));
            changes.extend(links);
            let authority = Path::new("/etc/httpjail/ca.crt");
            if !options.print {
                // The specification names it.
                Root::new(None)?.authority()?;
            }
            let variables = trust::environment(TrustPaths {
                bundle: engines::DEVICE_CA,
                ca: engines::DEVICE_CA,
                dir: None,
            });
            let hook = own.to_string_lossy();
            let cdi = engines::cdi(&hook, policies, &authority.to_string_lossy(), &variables).map_err(refusal)?;
            changes.push(Change::Write(PODMAN.into(), engines::podman(PROGRAM, policies)));
            changes.push(Change::Write(HOOKS.into(), engines::hooks_d(&hook).map_err(refusal)?));
            changes.push(Change::Write(CDI.into(), cdi));
        }
        Engine::Containerd => {
            let before = text(CONTAINERD)?;
            let after =
                engines::containerd(before.as_deref(), PROGRAM).map_err(|refused| in_file(CONTAINERD, refused))?;
            changes.push(Change::Link(format!("{PROGRAM}-cri").into(), own));
            changes.push(Change::Write(CONTAINERD.into(), after));
        }
    }
    make(&changes, options.print)?;
    let next = match options.engine {
        Engine::Docker => "systemctl reload docker, then: docker run --runtime httpjail IMAGE",
        Engine::Podman => "podman --runtime httpjail run IMAGE, as root",
        Engine::Containerd => "restart containerd, and make a RuntimeClass whose handler is `httpjail`",
    };
    logging::note(&format!("next: {next}"));
    Ok(0)
}

/// Undoes that.
///
/// # Errors
/// What cannot be written or removed.
pub(crate) fn uninstall(options: &Uninstall) -> Result<i32, Failure> {
    let mut changes = Vec::new();
    match options.engine {
        Engine::Docker => {
            if let Some(now) = text(DOCKER)? {
                let after = engines::docker_without(&now).map_err(|refused| in_file(DOCKER, refused))?;
                changes.push(match (text(DOCKER_BEFORE)?, after) {
                    // Nobody has changed it since: it becomes what it was, to the byte.
                    (Some(before), after) if json(after.as_deref().unwrap_or("{}")) == json(&before) => {
                        Change::Write(DOCKER.into(), before)
                    }
                    (_, Some(after)) => Change::Write(DOCKER.into(), after),
                    (_, None) => Change::Remove(DOCKER.into()),
                });
            }
            changes.push(Change::Remove(DOCKER_BEFORE.into()));
        }
        Engine::Podman => changes.extend([PODMAN, HOOKS, CDI].map(|path| Change::Remove(path.into()))),
        Engine::Containerd => {
            if let Some(now) = text(CONTAINERD)? {
                let after = engines::containerd_without(&now);
                changes.push(match after.trim().is_empty() {
                    true => Change::Remove(CONTAINERD.into()),
                    false => Change::Write(CONTAINERD.into(), after),
                });
            }
        }
    }
    let others = [
        (Engine::Docker, DOCKER),
        (Engine::Podman, PODMAN),
        (Engine::Containerd, CONTAINERD),
    ];
    let mut others = others.into_iter().filter(|(engine, _)| *engine != options.engine);
    let is_used = others.any(|(_, path)| fs::read_to_string(path).is_ok_and(|text| text.contains(PROGRAM)));
    if !is_used {
        changes.extend(links().into_iter().map(Change::Remove));
    }
    make(&changes, options.print)?;
    Ok(0)
}

/// The links by which engines call httpjail, and nothing else of a like name.
fn links() -> Vec<PathBuf> {
    let (directory, name) = PROGRAM.rsplit_once('/').unwrap_or_default();
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let ours = entries.map(|entry| entry.path()).filter(|path| {
        let named = path
            .file_name()
            .and_then(|file| file.to_str())
            .is_some_and(|file| file.starts_with(name));
        named && path.is_symlink()
    });
    ours.collect()
}

fn json(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn in_file(path: &str, refused: Refused) -> Failure {
    Failure {
        hint: refused.hint,
        ..Failure::new(format!("cannot merge with {path}: {}", refused.message))
    }
}

fn text(path: &str) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::new(format!("cannot read {path}: {error}"))),
    }
}

fn make(changes: &[Change], shown: bool) -> Result<(), Failure> {
    if shown {
        return changes.iter().try_for_each(|change| print(&change.shown()).map(drop));
    }
    if !geteuid().is_root() {
        return Err(Failure {
            hint: Some("run it with sudo, or with --print to see what it would write".into()),
            ..Failure::new("only root can change what engines read")
        });
    }
    for change in changes {
        change.make()?;
    }
    Ok(())
}

impl Change {
    fn shown(&self) -> String {
        match self {
            Change::Write(path, text) => format!("# {}\n{text}\n", path.display()),
            Change::Link(path, target) => format!("# ln -s {} {}\n\n", target.display(), path.display()),
            Change::Remove(path) => format!("# rm {}\n\n", path.display()),
        }
    }

    fn make(&self) -> Result<(), Failure> {
        let (path, made) = match self {
            Change::Write(path, text) => (path, write(path, text)),
            Change::Link(path, target) if path == target => (path, Ok(())),
            Change::Link(path, target) => (path, link(path, target)),
            Change::Remove(path) => (path, remove(path)),
        };
        made.map_err(|error| Failure::new(format!("cannot change {}: {error}", path.display())))
    }
}

fn write(path: &Path, text: &str) -> io::Result<()> {
    if fs::read_to_string(path).is_ok_and(|now| now == text) {
        return Ok(());
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let mode = fs::metadata(path).map_or(0o644, |found| found.permissions().mode() & 0o777);
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.persist(path).map(drop).map_err(|error| error.error)
}

/// Makes a link, in the place of an older one only.
fn link(path: &Path, target: &Path) -> io::Result<()> {
    if path.is_symlink() {
        fs::remove_file(path)?;
    }
    symlink(target, path)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
