//! The files that make the command trust the proxy where no jail shows them in the place of others.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::failure::Failure;
use crate::tls::trust::{self, TrustPaths};

/// The files that make clients trust the proxy; gone with this.
pub(super) struct TrustFiles {
    dir: TempDir,
    bundle: PathBuf,
    authority: PathBuf,
    folder: Option<PathBuf>,
    pub(super) java: PathBuf,
}

impl TrustFiles {
    /// Writes them.
    ///
    /// # Errors
    /// Naming the file that cannot be written.
    pub(super) fn write(authority: &str) -> Result<TrustFiles, Failure> {
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
        let put = |name: &str, content: &[u8]| {
            let path = dir.path().join(name);
            fs::write(&path, content).map_err(|error| failed(&path, error))?;
            Ok::<_, Failure>(path)
        };
        let (bundle, file) = (put("ca-bundle.crt", &merged.pem)?, put("ca.crt", authority.as_bytes())?);
        let java = put("cacerts", &trust::java_keystore(&merged.pem))?;
        let folder = match hashed(authority) {
            Some(name) => {
                let folder = dir.path().join("certs");
                fs::create_dir(&folder).map_err(|error| failed(&folder, error))?;
                put(&format!("certs/{name}"), authority.as_bytes())?;
                Some(folder)
            }
            None => None,
        };
        Ok(TrustFiles {
            bundle,
            authority: file,
            folder,
            java,
            dir,
        })
    }

    /// The variables that name them.
    pub(super) fn variables(&self) -> Vec<(OsString, OsString)> {
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
