//! Which environment variable makes which client read the merged bundle.
//!
//! Most of them replace the client's roots, so they get the whole bundle; a few add to them, and get our certificate
//! alone (node parses what it is given on every start). The mounts make most of this needless on Linux; clients that
//! carry their own roots, and jails without mounts, live by it.

use std::ffi::OsString;
use std::path::PathBuf;

/// Where the files of [`environment`] are, as the jailed program sees them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrustPaths<'a> {
    /// The merged bundle.
    pub bundle: &'a str,
    /// Our certificate alone.
    pub ca: &'a str,
    /// A directory that holds our certificate under its [`super::hashed_name`], if one was made.
    pub dir: Option<&'a str>,
}

/// Clients that take the bundle in place of their own roots.
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

/// Clients that add our certificate to their own roots.
const CA: &[&str] = &[
    "NODE_EXTRA_CA_CERTS", // node and all that run on it, bun
    "DENO_CERT",           // deno
];

/// The variables to set for the jailed program, each once.
///
/// `SSL_CERT_DIR` names our directory alone: what reads only directories then finds our authority, which has signed all
/// that the jail will meet, and Go does not scan the distribution's hundreds of files. Without a directory it is not set;
/// the jail should remove an inherited one, which might hide the bundle.
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

/// The files that the caller's own environment names in these variables (a corporate root, most often): as they are set
/// anew, what stood there goes into the bundle instead. `variable` looks one up, [`std::env::var_os`] for instance.
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
