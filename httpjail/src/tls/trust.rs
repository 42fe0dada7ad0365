//! What the jailed program is told to trust: the distribution's roots plus our authority, in one file.
//!
//! The host's own trust store is never touched. The jail mounts the merged bundle over every path that exists of
//! [`SYSTEM_BUNDLE_PATHS`], in the child's mount namespace only, and [`environment()`] points clients that bring their own
//! roots (node, certifi, ...) at it. Both end with the process.

mod chromium;
mod environment;
mod hash;
mod java;

pub(crate) use chromium::{chromium_policies, chromium_policy};
pub(crate) use environment::{TrustPaths, environment, inherited_bundles};
pub(crate) use hash::hashed_name;
pub(crate) use java::{java_keystore, java_stores};

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Where distributions keep the bundle of all roots.
pub(crate) const SYSTEM_BUNDLE_PATHS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Arch, Gentoo, Alpine, NixOS
    "/etc/pki/tls/certs/ca-bundle.crt",   // Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", // Fedora, RHEL: what the former links to
    "/etc/ssl/ca-bundle.pem",             // openSUSE
    "/var/lib/ca-certificates/ca-bundle.pem", // openSUSE: what the former links to
    "/etc/ssl/cert.pem",                  // Alpine, Arch, macOS, the BSDs
    "/etc/pki/tls/cert.pem",              // Fedora: OpenSSL's built-in default
    "/etc/ca-certificates/extracted/tls-ca-bundle.pem", // Arch: what p11-kit extracts
    "/etc/ssl/certs/ca-bundle.crt",       // NixOS
    "/usr/lib/ssl/cert.pem",              // Debian: OpenSSL's built-in default
    "/usr/local/share/certs/ca-root-nss.crt", // FreeBSD
    "/usr/share/ssl/certs/ca-bundle.crt", // old Red Hat
    "/usr/share/pki/ca-trust-legacy/ca-bundle.legacy.default.crt", // Fedora
    "/opt/etc/ssl/certs/ca-certificates.crt", // Entware
];

/// The longest bundle that is read. Debian's has a quarter of a megabyte.
const LONGEST_BUNDLE: u64 = 4 << 20;

/// A merged bundle, and what could not go into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Certificates in PEM form, ours first.
    pub pem: Vec<u8>,
    /// How many certificates beside ours.
    pub roots: usize,
    /// Files that were left out, and why: one line each.
    pub notes: Vec<String>,
}

/// The bundle files that exist below `root` (`/` on this host), links followed and none twice: what the merged bundle is
/// mounted over.
pub(crate) fn existing_paths(root: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let paths = SYSTEM_BUNDLE_PATHS
        .iter()
        .map(|path| root.join(path.trim_start_matches('/')));
    let real = paths.filter_map(|path| fs::canonicalize(path).ok());
    real.filter(|path| path.is_file() && seen.insert(path.clone()))
        .collect()
}

/// Merges our certificate with the roots in `files`: the distribution's ([`existing_paths`]) and those that the user's
/// own environment names ([`inherited_bundles`]).
///
/// Only certificates are copied, each once, whatever else stands in the files. A file that is missing, too long or not
/// PEM is left out with a note; ours is always in.
pub(crate) fn bundle(ca_pem: &str, files: &[PathBuf]) -> Bundle {
    let read = files
        .iter()
        .map(|file| (file.display().to_string(), read(file)))
        .collect::<Vec<_>>();
    merge(ca_pem, &read)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Asked before opening: opening a FIFO would wait for a writer.
    if !fs::metadata(path).map_err(|err| err.to_string())?.is_file() {
        return Err("not a file".into());
    }
    let mut text = Vec::new();
    let file = File::open(path).map_err(|err| err.to_string())?;
    file.take(LONGEST_BUNDLE + 1)
        .read_to_end(&mut text)
        .map_err(|err| err.to_string())?;
    if text.len() as u64 > LONGEST_BUNDLE {
        return Err(format!("longer than {LONGEST_BUNDLE} bytes"));
    }
    Ok(text)
}

fn merge(ca_pem: &str, files: &[(String, Result<Vec<u8>, String>)]) -> Bundle {
    let mut bundle = Bundle {
        pem: Vec::new(),
        roots: 0,
        notes: Vec::new(),
    };
    bundle.pem.extend_from_slice(ca_pem.trim_end().as_bytes());
    bundle.pem.push(b'\n');
    let mut seen = HashSet::from([ca_pem.trim().as_bytes()]);
    for (name, content) in files {
        match content
            .as_ref()
            .map_err(String::as_str)
            .and_then(|text| certificate_sections(text))
        {
            Ok(sections) => {
                for section in sections.into_iter().filter(|section| seen.insert(section)) {
                    bundle.pem.extend_from_slice(section);
                    bundle.pem.push(b'\n');
                    bundle.roots += 1;
                }
            }
            Err(reason) => bundle
                .notes
                .push(format!("{}: {reason}; left out", name.escape_debug())),
        }
    }
    bundle
}

/// The certificate sections of a PEM text, from `-----BEGIN` to the last hyphen, as they stand there. Comments and
/// sections of another kind are skipped.
///
/// Base64 is checked by its alphabet alone: decoding a whole distribution's bundle on each start would gain nothing.
pub(super) fn certificate_sections(text: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let mut sections = Vec::new();
    let mut open: Option<usize> = None;
    let mut position = 0;
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        let (start, content) = (position, line.trim_ascii());
        position += line.len();
        match open {
            None if content == BEGIN => open = Some(start + line.len() - line.trim_ascii_start().len()),
            None if content == END => return Err("a certificate ends before it begins"),
            None => {}
            Some(begin) if content == END => {
                sections.push(text[begin..position].trim_ascii_end());
                open = None;
            }
            Some(_)
                if content
                    .iter()
                    .all(|&b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=')) => {}
            Some(_) => return Err("a certificate is not base64"),
        }
    }
    match (open, sections.is_empty()) {
        (Some(_), _) => Err("a certificate is cut off"),
        (None, true) => Err("no certificate in it"),
        (None, false) => Ok(sections),
    }
}

#[cfg(test)]
mod tests;
