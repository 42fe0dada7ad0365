//! Looks at files of an image, before its container starts, as a process in the container will see them.
//!
//! An image's links are its author's choice: one that leads to `/etc/shadow` is to be followed within the image, not on the host. The
//! kernel does that (openat2(2), RESOLVE_IN_ROOT).

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use serde_json::Value;

/// No image has more JVMs side by side.
const MOST_ENTRIES: usize = 1000;

/// The root of an image, or of a volume.
#[derive(Debug)]
pub(crate) struct Image {
    root: OwnedFd,
    path: PathBuf,
}

/// A file of an image.
#[derive(Debug)]
pub(crate) struct Found {
    /// Its path as the container sees it, without links.
    pub inside: String,
    /// What it is read by, as long as this is held.
    pub readable: PathBuf,
    _held: OwnedFd,
}

impl Image {
    /// Opens the directory.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn open(path: &Path) -> io::Result<Image> {
        let root: OwnedFd = File::open(path)?.into();
        let path = fs::read_link(proc_path(&root))?;
        Ok(Image { root, path })
    }

    /// Finds a regular file. `path` is absolute, or begins at the root all the same.
    pub(crate) fn file(&self, path: &str) -> Option<Found> {
        let (held, inside) = self.resolve(path)?;
        let readable = proc_path(&held);
        fs::metadata(&readable).ok()?.is_file().then_some(Found {
            inside,
            readable,
            _held: held,
        })
    }

    /// Finds the regular files that a pattern matches, in which `*` stands for any one name.
    pub(crate) fn files(&self, pattern: &str) -> Vec<Found> {
        match pattern.split_once("*/") {
            None => self.file(pattern).into_iter().collect(),
            Some((fixed, rest)) => {
                let names = self.names(fixed).into_iter();
                names
                    .flat_map(|name| self.files(&format!("{fixed}{name}/{rest}")))
                    .collect()
            }
        }
    }

    fn names(&self, path: &str) -> Vec<String> {
        let Some((held, _)) = self.resolve(path) else {
            return Vec::new();
        };
        let entries = fs::read_dir(proc_path(&held)).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names.take(MOST_ENTRIES).filter(|name| !name.contains('*')).collect()
    }

    fn resolve(&self, path: &str) -> Option<(OwnedFd, String)> {
        let path = path.trim_start_matches('/');
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        let held = openat2(&self.root, if path.is_empty() { "." } else { path }, how).ok()?;
        let real = fs::read_link(proc_path(&held)).ok()?;
        let inside = Path::new("/").join(real.strip_prefix(&self.path).ok()?);
        Some((held, inside.to_str()?.to_owned()))
    }
}

fn proc_path(held: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", held.as_raw_fd()))
}

/// Whether a process in the container will find a file where the image has one: a volume may cover it. A mount over a file that is not
/// there would leave one in the volume.
pub(crate) fn is_seen(config: &Value, inside: &str) -> bool {
    let mounts = config.get("mounts").and_then(Value::as_array).into_iter().flatten();
    let text = |mount: &Value, name: &str| mount.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut covering = mounts.filter(|mount| Path::new(inside).starts_with(text(mount, "destination")));
    let Some(last) = covering.next_back() else {
        return true;
    };
    let (source, destination) = (text(last, "source"), text(last, "destination"));
    if text(last, "type") != "bind" {
        return false;
    }
    match Path::new(inside).strip_prefix(&destination).ok().and_then(Path::to_str) {
        Some("") => Path::new(&source).is_file(),
        Some(rest) => Image::open(Path::new(&source)).is_ok_and(|volume| {
            let found = volume.file(rest);
            found.is_some_and(|found| found.inside.trim_start_matches('/') == rest)
        }),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use serde_json::json;

    use super::*;

    fn image() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |path: &str| dir.path().join(path);
        fs::create_dir_all(at("etc/ssl/certs")).expect("made");
        fs::create_dir_all(at("opt/jdk/lib/security")).expect("made");
        fs::write(at("etc/ssl/certs/bundle.crt"), "roots").expect("written");
        fs::write(at("opt/jdk/lib/security/cacerts"), "store").expect("written");
        symlink("/etc/ssl/certs/bundle.crt", at("etc/ssl/cert.pem")).expect("a link");
        symlink("/etc/passwd", at("etc/ssl/host")).expect("a link");
        symlink("../../../../../../etc/passwd", at("etc/ssl/above")).expect("a link");
        dir
    }

    #[test]
    fn links_are_followed_within_the_image() {
        let dir = image();
        let image = Image::open(dir.path()).expect("an image");
        let found = image.file("/etc/ssl/cert.pem").expect("found");
        assert_eq!(found.inside, "/etc/ssl/certs/bundle.crt");
        assert_eq!(fs::read_to_string(&found.readable).expect("read"), "roots");
        // The host has such a file, the image none.
        assert!(Path::new("/etc/passwd").is_file());
        for path in ["/etc/ssl/host", "/etc/ssl/above", "/etc/ssl", "/etc/none"] {
            assert!(image.file(path).is_none(), "{path}");
        }
        let stores: Vec<_> = image
            .files("opt/*/lib/security/cacerts")
            .into_iter()
            .map(|found| found.inside)
            .collect();
        assert_eq!(stores, ["/opt/jdk/lib/security/cacerts"]);
    }

    #[test]
    fn a_volume_covers_what_the_image_has() {
        let dir = image();
        let volume = dir.path().join("etc/ssl");
        let config = |mounts: Value| json!({"mounts": mounts});
        let bundle = "/etc/ssl/certs/bundle.crt";
        assert!(is_seen(&config(json!([])), bundle));
        let bind =
            |source: &Path, destination: &str| json!({"type": "bind", "source": source, "destination": destination});
        assert!(is_seen(&config(json!([bind(&volume, "/etc/ssl")])), bundle));
        assert!(!is_seen(&config(json!([bind(dir.path(), "/etc/ssl")])), bundle));
        assert!(!is_seen(
            &config(json!([{"type": "tmpfs", "destination": "/etc"}])),
            bundle
        ));
        assert!(is_seen(
            &config(json!([bind(&volume.join("certs/bundle.crt"), bundle)])),
            bundle
        ));
        assert!(is_seen(&config(json!([bind(dir.path(), "/srv")])), bundle));
    }
}
