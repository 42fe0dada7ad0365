//! What the engines need, from Debian: their packages, and an unmodified Debian with the clients that people run.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::run::{command, quietly, root};
use crate::setup;

/// What each program is called in Debian.
const DEBIAN: [(&str, &str); 10] = [
    ("dockerd", "docker.io"),
    ("iptables", "iptables"),
    ("podman", "podman"),
    ("podman", "netavark"),
    ("newuidmap", "uidmap"),
    ("containerd", "containerd"),
    ("containerd", "containernetworking-plugins"),
    ("containerd", "python3-grpcio"),
    ("slirp4netns", "slirp4netns"),
    ("mmdebstrap", "mmdebstrap"),
];
const IN_THE_IMAGE: &str = "ca-certificates,curl,default-jre-headless,git,iproute2,nodejs,python3-pip";
/// What a package asks before it starts a service: the answer is no (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing; the image's path.
pub(crate) fn all() -> Result<PathBuf> {
    {
        let _quiet = NoServices::ask()?;
        setup::debian_packages(&DEBIAN)?;
    }
    let folder = root().join("target/engines");
    fs::create_dir_all(&folder).context("make a folder for the image")?;
    let (image, mark) = (folder.join("debian.tar"), folder.join("debian.txt"));
    if !fs::read_to_string(&mark).is_ok_and(|made| made == IN_THE_IMAGE) {
        eprintln!("engines: a Debian with {IN_THE_IMAGE} (minutes)");
        let new = folder.join("new.tar");
        // Whose packages this machine installs, that image is made of.
        let mut sources = vec![PathBuf::from("/etc/apt/sources.list")];
        sources.extend(
            fs::read_dir("/etc/apt/sources.list.d")
                .into_iter()
                .flatten()
                .flatten()
                .map(|entry| entry.path()),
        );
        let is_source = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "list" || kind == "sources");
        let text: Vec<String> = sources
            .iter()
            .filter(|path| is_source(path))
            .filter_map(|path| fs::read_to_string(path).ok())
            .collect();
        let list = folder.join("sources");
        fs::write(&list, text.join("\n")).context("gather the package sources")?;
        let mut make = command(
            "mmdebstrap",
            ["--variant=minbase", "--include", IN_THE_IMAGE, &release()?],
        );
        make.arg(&new)
            .arg("-")
            .stdin(File::open(&list).context("open the package sources")?);
        quietly(&mut make)?;
        fs::rename(&new, &image).context("name the image")?;
        fs::write(&mark, IN_THE_IMAGE).context("note what is in the image")?;
    }
    Ok(image)
}

/// This Debian's code name.
fn release() -> Result<String> {
    let text = fs::read_to_string("/etc/os-release").context("read /etc/os-release")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    line.map(str::to_owned)
        .context("no VERSION_CODENAME in /etc/os-release")
}

/// While it lives, packages start no service.
struct NoServices {
    made: bool,
}

impl NoServices {
    fn ask() -> Result<Self> {
        let path = Path::new(POLICY);
        if path.exists() {
            return Ok(NoServices { made: false });
        }
        fs::write(path, "#!/bin/sh\nexit 101\n").with_context(|| format!("write {POLICY}"))?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).with_context(|| format!("open {POLICY}"))?;
        Ok(NoServices { made: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = fs::remove_file(POLICY)
        {
            eprintln!("warning: {POLICY} stays: {error}");
        }
    }
}
