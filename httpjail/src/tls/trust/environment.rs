//! The environment variables that make clients read the merged bundle.
//!
//! Most variables replace the client's roots, so they name the whole bundle. A few add to the roots, and name the authority's
//! certificate alone (node parses the file on every start). On Linux the mounts make most variables unnecessary. Clients with their
//! own roots, and weak mode, need them.

use std::ffi::OsString;
use std::path::PathBuf;

/// The paths of the files for [`environment`], as the jailed program sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrustPaths<'a> {
    /// The merged bundle.
    pub bundle: &'a str,
    /// The authority's certificate alone.
    pub ca: &'a str,
    /// A directory with the authority's certificate under its [`super::hashed_name`], if one was made.
    pub dir: Option<&'a str>,
}

/// The variables that replace a client's roots.
const BUNDLE: &[&str] = &[
    "SSL_CERT_FILE",                      // OpenSSL, Go, rustls-native-certs, Ruby, PHP, .NET, uv, httpx
    "NIX_SSL_CERT_FILE",                  // Nix's OpenSSL
    "CURL_CA_BUNDLE",                     // curl
    "GIT_SSL_CAINFO",                     // git
    "REQUESTS_CA_BUNDLE",                 // Python requests, Azure CLI, conda
    "PIP_CERT",                           // pip
    "CARGO_HTTP_CAINFO",                  // cargo
    "AWS_CA_BUNDLE",                      // AWS CLI, boto
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",   // gRPC's C core, and so Python, Ruby, PHP
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", // gcloud
    "HTTPLIB2_CA_CERTS",                  // Python httplib2, gsutil
    "BUNDLE_SSL_CA_CERT",                 // Ruby's bundler
    "HEX_CACERTS_PATH",                   // Elixir's hex
    "PERL_LWP_SSL_CA_FILE",               // Perl's LWP, which prefers Mozilla::CA
    "SYSTEM_CERTIFICATE_PATH",            // Haskell (cabal, stack)
    "npm_config_cafile",                  // npm, pnpm, yarn: only so that a cafile in the user's .npmrc does not win
];

/// The variables that add to a client's roots.
const CA: &[&str] = &[
    "NODE_EXTRA_CA_CERTS", // node and all that run on it, bun
    "DENO_CERT",           // deno
];

/// Returns the variables to set for the jailed program, each once.
///
/// `SSL_CERT_DIR` names the authority's directory alone. A client that reads only directories finds the authority there, which signs
/// every certificate that the jail sees, and Go does not scan the distribution's hundreds of files. Without a directory the variable
/// is not set. The jail should then remove an inherited one, which could hide the bundle.
pub(crate) fn environment(paths: TrustPaths<'_>) -> Vec<(&'static str, String)> {
    let bundle = BUNDLE.iter().map(|&name| (name, paths.bundle));
    let ca = CA.iter().map(|&name| (name, paths.ca));
    let dir = paths.dir.map(|dir| ("SSL_CERT_DIR", dir));
    bundle
        .chain(ca)
        .chain(dir)
        .map(|(name, path)| (name, path.to_owned()))
        .collect()
}

/// Returns the files that the caller's environment names in these variables, most often a corporate root. The variables are replaced,
/// so these files go into the bundle. `variable` looks one up, for example [`std::env::var_os`].
pub(crate) fn inherited_bundles(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for value in BUNDLE
        .iter()
        .chain(CA)
        .filter_map(|name| variable(name))
        .filter(|value| !value.is_empty())
    {
        let file = PathBuf::from(value);
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}
