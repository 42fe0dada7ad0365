//! Makes Chromium trust the authority. Chromium has its own roots and takes others from a policy (`CACertificates`, since Chromium
//! 128; chromeenterprise.google/policies), a file in a directory that is compiled in.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};

/// A browser's policy directory, the host's directory below which it may be mounted, and a path that shows that the browser is
/// installed. Only directories of the browser or of add-on packages are ever covered, never /etc itself.
const BROWSERS: &[(&str, &str, &str)] = &[
    ("etc/chromium", "etc/chromium", "etc/chromium"),
    ("etc/chromium-browser", "etc/chromium-browser", "etc/chromium-browser"),
    ("etc/opt/chrome", "etc/opt", "opt/google/chrome"),
    (
        "etc/opt/chrome_for_testing",
        "etc/opt/chrome_for_testing",
        "etc/opt/chrome_for_testing",
    ),
    ("etc/opt/edge", "etc/opt", "opt/microsoft/msedge"),
    ("etc/brave", "etc/brave", "opt/brave.com"),
];

/// Returns the policy files of the browsers below `root` (`/` on this host), each with the directory below which it may be mounted.
pub(crate) fn chromium_policies(root: &Path) -> Vec<(PathBuf, PathBuf)> {
    let there = BROWSERS
        .iter()
        .filter(|(_, floor, sign)| root.join(floor).is_dir() && root.join(sign).exists());
    there
        .map(|(directory, floor, _)| {
            (
                root.join(directory).join("policies/managed/httpjail.json"),
                root.join(floor),
            )
        })
        .collect()
}

/// Returns the policy that makes a browser trust this certificate.
pub(crate) fn chromium_policy(certificate: &CertificateDer<'_>) -> Vec<u8> {
    // Base64 needs no escaping.
    format!("{{\"CACertificates\": [\"{}\"]}}\n", STANDARD.encode(certificate)).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_where_the_browser_and_its_folder_are() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let policies = || chromium_policies(root);
        assert_eq!(policies(), []);
        fs::create_dir_all(root.join("opt/google/chrome")).unwrap();
        assert_eq!(policies(), [], "no place for it");
        fs::create_dir_all(root.join("etc/opt")).unwrap();
        fs::create_dir_all(root.join("etc/chromium")).unwrap();
        let at = |directory: &str| root.join(directory).join("policies/managed/httpjail.json");
        assert_eq!(
            policies(),
            [
                (at("etc/chromium"), root.join("etc/chromium")),
                (at("etc/opt/chrome"), root.join("etc/opt"))
            ]
        );
    }

    #[test]
    fn a_policy_is_json() {
        let policy = chromium_policy(&CertificateDer::from(vec![0xfb, 0xff]));
        let parsed: serde_json::Value = serde_json::from_slice(&policy).unwrap();
        assert_eq!(parsed, serde_json::json!({"CACertificates": ["+/8="]}));
    }
}
