//! Makes the bundle that the jailed program trusts: the distribution's roots and httpjail's authority, in one file.
//!
//! The host's own trust store never changes. In the command's mount namespace, the jail mounts the merged bundle over every path
//! of [`SYSTEM_BUNDLE_PATHS`] that exists. [`environment()`] points clients that have their own roots (node, certifi, ...) to the
//! bundle. Both end with the process.

mod chromium;
mod environment;
mod hash;
mod java;

#[cfg(target_os = "linux")]
pub(crate) use chromium::{chromium_policies, chromium_policy};
pub(crate) use environment::{TrustPaths, environment, inherited_bundles};
pub(crate) use hash::hashed_name;
pub(crate) use java::java_keystore;
#[cfg(target_os = "linux")]
pub(crate) use java::{JVM as JVM_STORES, SYSTEM as JAVA_STORES, java_stores};

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use memchr::memchr;

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

/// The longest bundle that is read. Debian's is a quarter of a megabyte.
const LONGEST_BUNDLE: u64 = 4 << 20;

/// About as much as an authority takes: the bundle has room for it.
const AUTHORITY_BYTES: usize = 4 << 10;

/// A merged bundle, and the files that could not be merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bundle {
    /// Certificates in PEM form, the authority first.
    pub pem: Vec<u8>,
    /// How many certificates besides the authority.
    pub roots: usize,
    /// One line for each file that was left out, with the reason.
    pub notes: Vec<String>,
}

/// Returns the bundle files that exist below `root` (`/` on this host), with links resolved and without duplicates. The merged bundle
/// is mounted over them.
pub(crate) fn existing_paths(root: &Path) -> Vec<PathBuf> {
    let mut seen = HashSet::new();
    let paths = SYSTEM_BUNDLE_PATHS
        .iter()
        .map(|path| root.join(path.trim_start_matches('/')));
    let real = paths.filter_map(|path| fs::canonicalize(path).ok());
    real.filter(|path| path.is_file() && seen.insert(path.clone()))
        .collect()
}

/// Certificates in PEM form, each once, and the files that could not be read for them.
#[derive(Debug)]
pub(crate) struct Roots {
    pem: Vec<u8>,
    /// Where each stands in it.
    sections: Vec<Range<usize>>,
    notes: Vec<String>,
}

/// Merges the authority's certificate with the roots in `files`: the distribution's ([`existing_paths`]), and those that the user's
/// environment names ([`inherited_bundles`]).
///
/// Copies only certificates, each once. A file that is missing, too long or not PEM is left out with a note. The authority is
/// always included.
pub(crate) fn bundle(ca_pem: &str, files: &[PathBuf]) -> Bundle {
    roots(files).with(ca_pem)
}

/// The part of [`bundle()`] that needs no authority.
pub(crate) fn roots(files: &[PathBuf]) -> Roots {
    let read = files
        .iter()
        .map(|file| (file.display().to_string(), read(file)))
        .collect::<Vec<_>>();
    merge(&read)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    // Check before opening: opening a FIFO would wait for a writer.
    let found = fs::metadata(path).map_err(|err| err.to_string())?;
    if !found.is_file() {
        return Err("not a file".into());
    }
    // One more than there is: the read that finds the end needs no second look.
    let mut text = Vec::with_capacity(found.len().min(LONGEST_BUNDLE) as usize + 1);
    let file = File::open(path).map_err(|err| err.to_string())?;
    file.take(LONGEST_BUNDLE + 1)
        .read_to_end(&mut text)
        .map_err(|err| err.to_string())?;
    if text.len() as u64 > LONGEST_BUNDLE {
        return Err(format!("longer than {LONGEST_BUNDLE} bytes"));
    }
    Ok(text)
}

fn merge(files: &[(String, Result<Vec<u8>, String>)]) -> Roots {
    let read = files.iter().filter_map(|(_, content)| content.as_ref().ok());
    let bytes = read.map(Vec::len).sum::<usize>();
    let mut roots = Roots {
        pem: Vec::with_capacity(bytes + AUTHORITY_BYTES),
        sections: Vec::new(),
        notes: Vec::new(),
    };
    let mut seen = HashSet::new();
    for (name, content) in files {
        match content
            .as_ref()
            .map_err(String::as_str)
            .and_then(|text| certificate_sections(text))
        {
            Ok(sections) => {
                for section in sections.into_iter().filter(|section| seen.insert(*section)) {
                    let start = roots.pem.len();
                    roots.pem.extend_from_slice(section);
                    roots.sections.push(start..roots.pem.len());
                    roots.pem.push(b'\n');
                }
            }
            Err(reason) => roots.notes.push(format!("{}: {reason}; left out", name.escape_debug())),
        }
    }
    roots
}

impl Roots {
    /// The bundle of the authority and these.
    pub(crate) fn with(self, ca_pem: &str) -> Bundle {
        let Roots {
            mut pem,
            mut sections,
            notes,
        } = self;
        let own = ca_pem.trim().as_bytes();
        if let Some(same) = sections.iter().position(|section| pem[section.clone()] == *own) {
            // With its line end.
            let section = sections.remove(same);
            pem.drain(section.start..=section.end);
        }
        pem.splice(..0, [ca_pem.trim_end().as_bytes(), b"\n"].concat());
        Bundle {
            pem,
            roots: sections.len(),
            notes,
        }
    }
}

/// Returns the certificate sections of a PEM text unchanged, from `-----BEGIN` to the last hyphen. Skips comments and other sections.
///
/// Checks only the alphabet of base64: decoding a distribution's whole bundle on each start would gain nothing.
pub(super) fn certificate_sections(text: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";
    const END: &[u8] = b"-----END CERTIFICATE-----";
    let mut sections = Vec::new();
    let mut open: Option<usize> = None;
    let mut position = 0;
    while position < text.len() {
        let end = memchr(b'\n', &text[position..]).map_or(text.len(), |end| position + end + 1);
        let (start, line) = (position, &text[position..end]);
        let content = line.trim_ascii();
        position = end;
        match open {
            None if content == BEGIN => open = Some(start + line.len() - line.trim_ascii_start().len()),
            None if content == END => return Err("a certificate ends before it begins"),
            None => {}
            Some(begin) if content == END => {
                sections.push(text[begin..position].trim_ascii_end());
                open = None;
            }
            Some(_) if is_base64(content) => {}
            Some(_) => return Err("a certificate is not base64"),
        }
    }
    match (open, sections.is_empty()) {
        (Some(_), _) => Err("a certificate is cut off"),
        (None, true) => Err("no certificate in it"),
        (None, false) => Ok(sections),
    }
}

/// Looks at all of it, wherever the first byte is that is none: without a branch for each byte that takes a fraction of the time.
fn is_base64(line: &[u8]) -> bool {
    let wrong = line.iter().fold(false, |wrong, &byte| {
        wrong | !(byte.is_ascii_alphanumeric() | (byte == b'+') | (byte == b'/') | (byte == b'='))
    });
    !wrong
}

#[cfg(test)]
mod tests;
