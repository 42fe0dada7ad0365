//! `httpjail ca`: the authority itself. A run never touches the system's trust store; `install` does, and only because it
//! was asked to: for programs that are to trust a proxy outside of a jail.
//!
//! What is to be done on which system is a table ([`Change`]); then it is done by the system's own program.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ring::digest;

use crate::cli::args::Ca;
use crate::cli::invoking_user::InvokingUser;
use crate::cli::output::failure;
use crate::failure::Failure;
use crate::logging;
use crate::tls::CertificateAuthority;
use crate::tls::store::{StoreError, load_or_create, rotate};

/// Where the certificate is, beside its key.
const CERTIFICATE: &str = "ca.crt";

/// Linux's trust stores: the folder that says which one it is, and the program that takes over what lies there. Absolute: an
/// inherited PATH does not choose what root runs.
const ANCHORS: &[(&str, &[&str], &str)] = &[
    // Debian, Ubuntu, Alpine, Gentoo
    ("/usr/local/share/ca-certificates", UPDATE_CERTIFICATES, "--fresh"),
    // Fedora, RHEL
    ("/etc/pki/ca-trust/source/anchors", UPDATE_TRUST, "extract"),
    // Arch
    ("/etc/ca-certificates/trust-source/anchors", UPDATE_TRUST, "extract"),
    // openSUSE
    ("/etc/pki/trust/anchors", UPDATE_CERTIFICATES, "--fresh"),
];
const UPDATE_CERTIFICATES: &[&str] = &["/usr/sbin/update-ca-certificates", "/sbin/update-ca-certificates"];
const UPDATE_TRUST: &[&str] = &["/usr/bin/update-ca-trust", "/usr/sbin/update-ca-trust"];
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
const SECURITY: &str = "/usr/bin/security";
const CERTUTIL: &str = "certutil.exe";

/// Does what was asked for. Returns the exit status.
///
/// # Errors
/// What failed.
pub(crate) fn run(action: Ca, caller: &InvokingUser) -> Result<u8, Failure> {
    let dir = caller.folder()?;
    let path = dir.join(CERTIFICATE);
    let keep = |keep: Keep| {
        let kept = caller.act(|| keep(&dir, None));
        let kept = kept.map_err(|error| Failure::new(format!("cannot act as the caller: {error}")))?;
        kept.map_err(|error| Failure {
            hint: Some(error.hint()),
            ..failure(&error)
        })
    };
    let change = |wish, authority: &CertificateAuthority| {
        let subject = Subject {
            certificate: &path,
            sha1: fingerprint(&digest::SHA1_FOR_LEGACY_USE_ONLY, authority, ""),
            user: caller.user(),
        };
        Change::of(std::env::consts::OS, wish, &subject, Path::exists)
    };
    match action {
        Ca::Show => print(&described(&keep(load_or_create)?, &path)),
        Ca::Path => {
            keep(load_or_create)?;
            print(&format!("{}\n", path.display()))
        }
        Ca::Rotate => {
            let authority = keep(rotate)?;
            let installed = change(Wish::Remove, &authority).ok().and_then(|change| change.anchor);
            if installed.is_some_and(|anchor| anchor.exists()) {
                let hint = "run `httpjail ca install` again, or `httpjail ca remove`";
                logging::warn("the system still trusts the authority that is no more", Some(hint));
            }
            print(&described(&authority, &path))
        }
        Ca::Install => {
            let authority = keep(load_or_create)?;
            change(Wish::Install, &authority)?.make(Some(authority.certificate_pem()))?;
            let warning =
                "this system now trusts whatever httpjail's authority signs, in every program: keep its key safe";
            logging::warn(warning, Some("`httpjail ca remove` undoes it; jails do not need it"));
            Ok(0)
        }
        Ca::Remove => {
            change(Wish::Remove, &keep(load_or_create)?)?.make(None)?;
            Ok(0)
        }
    }
}

fn print(text: &str) -> Result<u8, Failure> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.map_err(|error| Failure::new(format!("cannot write: {error}")))?;
    Ok(0)
}

/// The certificate, with what a person wants to know of it above: text outside of the PEM section is a comment (RFC 7468, 2).
fn described(authority: &CertificateAuthority, path: &Path) -> String {
    let ends = i64::try_from(authority.not_after()).ok();
    let ends = ends.and_then(|ends| jiff::Timestamp::from_second(ends).ok());
    let ends = ends.map_or_else(|| "?".to_owned(), |ends| ends.to_string());
    format!(
        "File: {}\nValid until: {ends}\nSHA-256: {}\n{}",
        path.display(),
        fingerprint(&digest::SHA256, authority, ":"),
        authority.certificate_pem()
    )
}

fn fingerprint(algorithm: &'static digest::Algorithm, authority: &CertificateAuthority, between: &str) -> String {
    let hash = digest::digest(algorithm, authority.certificate());
    let bytes: Vec<String> = hash.as_ref().iter().map(|byte| format!("{byte:02X}")).collect();
    bytes.join(between)
}

/// Loads, makes or replaces what is kept in a folder.
type Keep = fn(&Path, Option<(u32, u32)>) -> Result<CertificateAuthority, StoreError>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wish {
    Install,
    Remove,
}

/// Whose certificate it is about.
struct Subject<'a> {
    certificate: &'a Path,
    /// The fingerprint by which macOS and Windows find it again.
    sha1: String,
    user: u32,
}

/// What changes a system's trust store.
#[derive(Debug, PartialEq, Eq)]
struct Change {
    /// The copy of the certificate that is written, or removed.
    anchor: Option<PathBuf>,
    /// The program that takes it over, and its arguments.
    program: Vec<String>,
}

impl Change {
    /// How `system` (as [`std::env::consts::OS`] spells it) does it.
    fn of(system: &str, wish: Wish, subject: &Subject<'_>, exists: impl Fn(&Path) -> bool) -> Result<Self, Failure> {
        let (file, sha1) = (subject.certificate.display().to_string(), &subject.sha1);
        let mut anchor = None;
        let program: &[&str] = match (system, wish) {
            ("linux", _) => {
                let known = ANCHORS.iter().find_map(|(folder, programs, option)| {
                    let program = programs.iter().find(|program| exists(Path::new(program)))?;
                    exists(Path::new(folder)).then_some((folder, program, option))
                });
                let (folder, program, option) = known.ok_or_else(|| Failure {
                    hint: Some(format!("add {file} by hand to what your system trusts")),
                    ..Failure::new("this system has no trust store that httpjail knows (ca-certificates, ca-trust)")
                })?;
                // By user, since each has an authority of their own.
                anchor = Some(Path::new(folder).join(format!("httpjail-{}.crt", subject.user)));
                &[program, option]
            }
            // The user's own settings; as root those of all users.
            ("macos", Wish::Install) => &[SECURITY, "add-trusted-cert", "-r", "trustRoot", "-p", "ssl", &file],
            ("macos", Wish::Remove) => &[SECURITY, "delete-certificate", "-t", "-Z", sha1],
            ("windows", Wish::Install) => &[CERTUTIL, "-user", "-addstore", "Root", &file],
            ("windows", Wish::Remove) => &[CERTUTIL, "-user", "-delstore", "Root", sha1],
            _ => {
                return Err(Failure::new(format!(
                    "httpjail does not know the trust store of {system}"
                )));
            }
        };
        let program = program.iter().map(|word| (*word).to_owned()).collect();
        Ok(Change { anchor, program })
    }

    /// Makes it: a certificate (PEM) is put in, none is taken out.
    fn make(&self, certificate: Option<&str>) -> Result<(), Failure> {
        if let Some(anchor) = &self.anchor {
            let (verb, done) = match certificate {
                Some(certificate) => ("write", replace(anchor, certificate)),
                None => ("remove", fs::remove_file(anchor)),
            };
            match done {
                Err(error) if certificate.is_none() && error.kind() == io::ErrorKind::NotFound => return Ok(()),
                done => done.map_err(|error| Failure {
                    hint: (error.kind() == io::ErrorKind::PermissionDenied).then(|| "try it with sudo".to_owned()),
                    ..Failure::new(format!("cannot {verb} {}: {error}", anchor.display()))
                })?,
            }
        }
        let Some((program, arguments)) = self.program.split_first() else {
            return Ok(());
        };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null());
        if cfg!(target_os = "linux") {
            // They are shell scripts: these variables would choose what root runs (PATH, BASH_ENV), and where it writes.
            command.env_clear().env("PATH", SYSTEM_PATH);
        }
        let output = command.output();
        let output = output.map_err(|error| Failure::new(format!("cannot run {program}: {error}")))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        Err(Failure::new(format!("{program} failed ({}): {last}", output.status)))
    }
}

/// Writes a whole file, readable by all, or leaves the one that is there.
fn replace(path: &Path, content: &str) -> io::Result<()> {
    // Not `.crt`: a half of it must not be taken for a certificate.
    let temporary = path.with_extension("new");
    // What is there may be a link: on Debian the folder belongs to a group as well.
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::File::create_new(&temporary)?.write_all(content.as_bytes())?,
    }
    // Whatever the caller's umask is: OpenSSL reads the file itself, by a link to it.
    #[cfg(unix)]
    fs::set_permissions(&temporary, std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    fs::rename(&temporary, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(system: &str, wish: Wish, there: &[&str]) -> String {
        let subject = Subject {
            certificate: Path::new("/c/ca.crt"),
            sha1: "AB01".into(),
            user: 7,
        };
        let exists = |path: &Path| there.iter().any(|there| path == Path::new(there));
        match Change::of(system, wish, &subject, exists) {
            Ok(Change { anchor: None, program }) => program.join(" "),
            Ok(Change {
                anchor: Some(anchor),
                program,
            }) => format!("{}; {}", anchor.display(), program.join(" ")),
            Err(failure) => failure.message,
        }
    }

    #[test]
    fn each_system_has_its_own_way() {
        use Wish::{Install, Remove};
        let debian = ["/usr/local/share/ca-certificates", "/usr/sbin/update-ca-certificates"];
        let fedora = ["/etc/pki/ca-trust/source/anchors", "/usr/bin/update-ca-trust"];
        let suse = ["/etc/pki/trust/anchors", "/usr/sbin/update-ca-certificates"];
        for (system, wish, there, expected) in [
            (
                "linux",
                Install,
                &debian[..],
                "/usr/local/share/ca-certificates/httpjail-7.crt; /usr/sbin/update-ca-certificates --fresh",
            ),
            (
                "linux",
                Remove,
                &fedora,
                "/etc/pki/ca-trust/source/anchors/httpjail-7.crt; /usr/bin/update-ca-trust extract",
            ),
            (
                "linux",
                Install,
                &suse,
                "/etc/pki/trust/anchors/httpjail-7.crt; /usr/sbin/update-ca-certificates --fresh",
            ),
            (
                "linux",
                Install,
                &["/usr/local/share/ca-certificates"],
                "this system has no trust store that httpjail knows (ca-certificates, ca-trust)",
            ),
            (
                "macos",
                Install,
                &[],
                "/usr/bin/security add-trusted-cert -r trustRoot -p ssl /c/ca.crt",
            ),
            ("macos", Remove, &[], "/usr/bin/security delete-certificate -t -Z AB01"),
            ("windows", Install, &[], "certutil.exe -user -addstore Root /c/ca.crt"),
            ("windows", Remove, &[], "certutil.exe -user -delstore Root AB01"),
            ("plan9", Install, &[], "httpjail does not know the trust store of plan9"),
        ] {
            assert_eq!(plan(system, wish, there), expected);
        }
    }
}
