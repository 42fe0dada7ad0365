//! Makes the trust store of Java, which does not read PEM: a `cacerts` of the same certificates, to mount over each JVM's own.
//!
//! The format is JKS, as in Debian's own `cacerts`. Every JDK reads it as its default store, whatever `keystore.type` says
//! (`keystore.type.compat`, on since JDK 8u60), and without a password: JKS does not encrypt certificates, and the digest at the end
//! is only checked if a password is given. A PKCS #12 store, in contrast, is empty for a JDK that does not know its password. JKS
//! also needs no key derivation, so nothing has to be cached.

use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// The stores of JVMs below the root; `*` is any one name.
pub(crate) const SYSTEM: &[&str] = &[
    "etc/ssl/certs/java/cacerts",                     // Debian: what its JVMs link to
    "etc/pki/java/cacerts",                           // Fedora, RHEL: the same
    "etc/pki/ca-trust/extracted/java/cacerts",        // Fedora, RHEL: what the former links to
    "etc/ca-certificates/extracted/java-cacerts.jks", // Arch
    "var/lib/ca-certificates/java-cacerts",           // openSUSE
    "usr/lib/jvm/*/lib/security/cacerts",
    "usr/lib/jvm/*/jre/lib/security/cacerts", // JDK 8
    "usr/lib64/jvm/*/lib/security/cacerts",
    "usr/java/*/lib/security/cacerts",
    "usr/local/*/lib/security/cacerts",
    "opt/*/lib/security/cacerts",
    "opt/*/*/lib/security/cacerts", // a JVM in the directory of an application or a vendor
];

/// The same below a user's home.
const HOME: &[&str] = &[
    ".sdkman/candidates/java/*/lib/security/cacerts",
    ".jdks/*/lib/security/cacerts",
    ".gradle/jdks/*/lib/security/cacerts",
];

/// The same below a JVM's own directory.
pub(crate) const JVM: &[&str] = &["lib/security/cacerts", "jre/lib/security/cacerts"];

/// The usual password (`keytool`'s documentation), for clients that give one.
const PASSWORD: &str = "changeit";

/// Returns the stores of the JVMs below `root` (`/` on this host), in `home`, in `java_home`, and of the `java` in `path`, with links
/// resolved and without duplicates. Without a JVM this costs a few look-ups.
pub(crate) fn java_stores(root: &Path, home: &Path, java_home: Option<&OsStr>, path: Option<&OsStr>) -> Vec<PathBuf> {
    let program = path
        .into_iter()
        .flat_map(std::env::split_paths)
        .filter_map(|directory| fs::canonicalize(directory.join("java")).ok())
        .filter_map(|java| Some(java.parent()?.parent()?.to_owned()));
    let jvms = java_home.map(PathBuf::from).into_iter().chain(program);
    let mut found = Vec::new();
    SYSTEM.iter().for_each(|pattern| expand(root, pattern, &mut found));
    HOME.iter().for_each(|pattern| expand(home, pattern, &mut found));
    for jvm in jvms {
        JVM.iter().for_each(|pattern| expand(&jvm, pattern, &mut found));
    }
    let mut seen = HashSet::new();
    let real = found.into_iter().filter_map(|path| fs::canonicalize(path).ok());
    real.filter(|path| path.is_file() && seen.insert(path.clone()))
        .collect()
}

/// Adds every path below `base` that matches `pattern`.
fn expand(base: &Path, pattern: &str, found: &mut Vec<PathBuf>) {
    match pattern.split_once("*/") {
        None => found.push(base.join(pattern)),
        Some((fixed, rest)) => {
            for entry in fs::read_dir(base.join(fixed)).into_iter().flatten().flatten() {
                expand(&entry.path(), rest, found);
            }
        }
    }
}

/// Encodes the certificates of a PEM bundle as a JKS store. Leaves out one that cannot be parsed, because it would make the whole
/// store unreadable.
pub(crate) fn java_keystore(bundle: &[u8]) -> Vec<u8> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(bundle)
        .filter_map(Result::ok)
        .filter(|certificate| X509Certificate::from_der(certificate).is_ok_and(|(rest, _)| rest.is_empty()))
        .collect();
    let mut store = Vec::with_capacity(bundle.len());
    let number = |store: &mut Vec<u8>, number: usize| {
        // A bundle has a few megabytes at most.
        store.extend(u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    };
    // sun.security.provider.JavaKeyStore, `engineStore`.
    store.extend(0xfeed_feed_u32.to_be_bytes());
    number(&mut store, 2);
    number(&mut store, certificates.len());
    for (index, certificate) in certificates.iter().enumerate() {
        number(&mut store, 2);
        text(&mut store, &format!("httpjail-{index}"));
        // The time of the entry, in milliseconds since 1970. It is constant, so that equal bundles give equal stores.
        store.extend(0_u64.to_be_bytes());
        text(&mut store, "X.509");
        number(&mut store, certificate.len());
        store.extend_from_slice(certificate);
    }
    let mut digest = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    PASSWORD
        .encode_utf16()
        .for_each(|unit| digest.update(&unit.to_be_bytes()));
    digest.update(b"Mighty Aphrodite");
    digest.update(&store);
    store.extend_from_slice(digest.finish().as_ref());
    store
}

/// Appends short ASCII text as `DataOutput.writeUTF` does.
fn text(store: &mut Vec<u8>, text: &str) {
    store.extend(u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    store.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::CertificateAuthority;
    use std::os::unix::fs::symlink;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn stores_are_found_once_each() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let home = root.join("home/u");
        assert_eq!(java_stores(&root, &home, None, None), Vec::<PathBuf>::new());

        let real = [
            "etc/ssl/certs/java/cacerts",
            "usr/lib/jvm/java-8/jre/lib/security/cacerts",
            "opt/vendor/jdk/lib/security/cacerts",
            "home/u/.jdks/temurin/lib/security/cacerts",
            "elsewhere/lib/security/cacerts",
            "nix/store/jdk/lib/security/cacerts",
        ];
        real.iter().for_each(|path| touch(&root.join(path)));
        fs::create_dir_all(root.join("usr/lib/jvm/java-17/lib/security")).unwrap();
        symlink(
            root.join(real[0]),
            root.join("usr/lib/jvm/java-17/lib/security/cacerts"),
        )
        .unwrap();
        symlink("gone", root.join("usr/lib/jvm/java-8/lib")).unwrap();
        touch(&root.join("nix/store/jdk/bin/java"));
        fs::create_dir(root.join("bin")).unwrap();
        symlink(root.join("nix/store/jdk/bin/java"), root.join("bin/java")).unwrap();

        let (java_home, path) = (root.join("elsewhere"), root.join("bin"));
        let found = java_stores(&root, &home, Some(java_home.as_os_str()), Some(path.as_os_str()));
        let expected: Vec<PathBuf> = real.iter().map(|path| root.join(path)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn a_store_holds_what_can_be_parsed() {
        let authority = CertificateAuthority::generate().unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let bundle = format!("{broken}{}", authority.certificate_pem());
        let store = java_keystore(bundle.as_bytes());
        let der = CertificateDer::from_pem_slice(authority.certificate_pem().as_bytes()).unwrap();
        assert_eq!(store[..12], *b"\xfe\xed\xfe\xed\0\0\0\x02\0\0\0\x01");
        assert_eq!(store[store.len() - 20 - der.len()..store.len() - 20], *der);
    }
}
