//! The files that make a container's programs trust the authority: the image's own roots and the authority, in each form that programs
//! read.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;

use crate::cli::output::failure;
use crate::failure::Failure;
use crate::oci::image::{Found, Image, is_seen};
use crate::oci::process::variable;
use crate::tls::trust::{self, JAVA_STORES, JVM_STORES, SYSTEM_BUNDLE_PATHS, TrustPaths};

const BUNDLE: &str = "ca-bundle.crt";
const AUTHORITY: &str = "ca.crt";
const JAVA: &str = "cacerts";
/// A directory with the authority under the name by which OpenSSL looks for it.
const DIRECTORY: &str = "certs";

/// The files, and where the container sees them.
#[derive(Debug)]
pub(super) struct Trust {
    /// The directory.
    pub files: PathBuf,
    /// Which file is seen in the place of which of the image's.
    pub covers: Vec<(&'static str, String)>,
    /// The variables that name them.
    pub variables: Vec<(String, String)>,
}

impl Trust {
    /// Writes the files into a new directory `files`. The container sees it at `place`.
    ///
    /// # Errors
    /// When the image cannot be looked at, or a file not be written.
    pub(super) fn write(
        container: &Value,
        bundle: &Path,
        authority: &str,
        files: PathBuf,
        place: &str,
    ) -> Result<Trust, Failure> {
        let root = container.pointer("/root/path").and_then(Value::as_str);
        let root = bundle.join(root.ok_or_else(|| Failure::new("the bundle names no root"))?);
        let image = Image::open(&root)
            .map_err(|error| Failure::new(format!("cannot look at the image {}: {error}", root.display())))?;
        let process = container.get("process").unwrap_or(&Value::Null);
        let system = distinct(SYSTEM_BUNDLE_PATHS.iter().filter_map(|path| image.file(path)));
        let own = trust::inherited_bundles(|name| variable(process, name).map(Into::into));
        let own: Vec<Found> = own.iter().filter_map(|path| image.file(path.to_str()?)).collect();
        let java_home = variable(process, "JAVA_HOME").unwrap_or_default();
        let of_jvm = JVM_STORES
            .iter()
            .filter(|_| !java_home.is_empty())
            .map(|store| format!("{java_home}/{store}"));
        let patterns = JAVA_STORES.iter().map(|store| (*store).to_owned()).chain(of_jvm);
        let java = distinct(patterns.flat_map(|pattern| image.files(&pattern)));

        let sources: Vec<PathBuf> = system.iter().chain(&own).map(|found| found.readable.clone()).collect();
        let merged = trust::bundle(authority, &sources);
        let certificate = CertificateDer::from_pem_slice(authority.as_bytes()).map_err(failure)?;
        let hashed = trust::hashed_name(&certificate)
            .ok_or_else(|| Failure::new("the authority's certificate has no subject"))?;
        directory(&files)?;
        directory(&files.join(DIRECTORY))?;
        write(&files.join(BUNDLE), &merged.pem)?;
        write(&files.join(AUTHORITY), authority.as_bytes())?;
        write(&files.join(DIRECTORY).join(hashed), authority.as_bytes())?;
        if !java.is_empty() {
            write(&files.join(JAVA), &trust::java_keystore(&merged.pem))?;
        }
        let seen = |name: &'static str, found: Vec<Found>| {
            let seen = found.into_iter().filter(|found| is_seen(container, &found.inside));
            seen.map(|found| (name, found.inside)).collect::<Vec<_>>()
        };
        let mut covers = seen(BUNDLE, system);
        covers.extend(seen(JAVA, java));
        let at = |name: &str| format!("{place}/{name}");
        let variables = trust::environment(TrustPaths {
            bundle: &at(BUNDLE),
            ca: &at(AUTHORITY),
            dir: Some(&at(DIRECTORY)),
        });
        Ok(Trust {
            files,
            covers,
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
        })
    }
}

/// Those that are one file by several names, once.
fn distinct(found: impl Iterator<Item = Found>) -> Vec<Found> {
    let mut seen = std::collections::HashSet::new();
    found.filter(|found| seen.insert(found.inside.clone())).collect()
}

fn directory(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().mode(0o755).create(path);
    made.map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display())))
}

/// Every user of a container reads it, whatever the engine's umask is.
fn write(path: &Path, content: &[u8]) -> Result<(), Failure> {
    let opened = File::options().write(true).create_new(true).mode(0o644).open(path);
    let written = opened.and_then(|mut file| {
        file.write_all(content)?;
        fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644))
    });
    written.map_err(|error| Failure::new(format!("cannot write {}: {error}", path.display())))
}
