//! The guest's two disks: a system of this machine's own packages, and the tests. Nothing is mounted to make them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::{NamedTempFile, TempDir};

use super::folder;
use crate::run::{cargo, command, quietly, root};

/// What the tests start, by Debian's names; what is not installed here is skipped there as it is here.
const PACKAGES: [&str; 24] = [
    "bash",
    "bubblewrap",
    "busybox-static",
    "ca-certificates",
    "curl",
    "e2fsprogs",
    "git",
    "iproute2",
    "iputils-ping",
    "kmod",
    "mount",
    "ncurses-base",
    "nftables",
    "openssh-client",
    "openssl",
    "procps",
    "python3",
    "screen",
    "strace",
    "sudo",
    "tcpdump",
    "tmux",
    "vim-tiny",
    "wget",
];
/// Files that no package owns, made when packages were installed.
const EXTRA: [&str; 14] = [
    "/etc/alternatives",
    "/etc/environment",
    "/etc/group",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/login.defs",
    "/etc/nsswitch.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/sudoers",
];
const LEFT_OUT: [&str; 8] = [
    "/usr/share/doc/",
    "/usr/share/man/",
    "/usr/share/locale/",
    "/usr/share/info/",
    "/usr/share/lintian/",
    "/usr/share/i18n/",
    "/usr/share/bash-completion/",
    "/usr/share/perl/",
];
/// What the oldest kernel here knows, whatever mke2fs knows.
const FEATURES: &str =
    "none,has_journal,ext_attr,dir_index,filetype,extent,sparse_super,large_file,huge_file,extra_isize";

/// The disk with the system. It is made once, and thrown away with the folder that it lies in.
pub(crate) fn system() -> Result<PathBuf> {
    let image = folder().join("system.ext4");
    let packages = installed()?;
    let mark = folder().join("system.packages");
    if image.is_file() && fs::read_to_string(&mark).is_ok_and(|made| made == packages.join("\n")) {
        return Ok(image);
    }
    eprintln!("vm: the guest's disk, of {} packages", packages.len());
    let stage = tempfile::tempdir_in(folder()).context("make a folder for the guest's files")?;
    let owned = quietly(command("dpkg-query", ["--listfiles"]).args(&packages))?;
    let mut paths: BTreeSet<String> = String::from_utf8_lossy(&owned.stdout)
        .lines()
        .filter(|line| line.starts_with('/') && !LEFT_OUT.iter().any(|folder| line.starts_with(folder)))
        .map(Into::into)
        .collect();
    // Python starts several times as fast with what it has compiled, and that belongs to no package.
    let compiled: Vec<String> = paths
        .iter()
        .filter(|path| path.ends_with(".py"))
        .filter_map(|path| path.rsplit_once('/').map(|(folder, _)| format!("{folder}/__pycache__")))
        .collect();
    paths.extend(compiled);
    let list = folder().join("system.files");
    let there = paths.iter().map(String::as_str).filter(|path| {
        // Links right below the root are made before.
        path.matches('/').count() > 1 && fs::symlink_metadata(path).is_ok()
    });
    fs::write(&list, there.collect::<Vec<_>>().join("\0")).context("write the list of files")?;
    let (from, to) = (list.display(), stage.path().display());
    let extra = EXTRA.iter().filter(|path| fs::symlink_metadata(path).is_ok());
    let extra: Vec<&str> = extra.copied().collect();
    // Folders are made as they are here, but only `__pycache__` and the extras with all that is in them.
    links(stage.path())?;
    let copy = format!(
        "set -e; cd /; grep -zv __pycache__ {from} | sed -z 's,^/,./,' | tar -c --no-recursion --null -T - | tar -xp -C {to} \
         --keep-directory-symlink; grep -z __pycache__ {from} | sed -z 's,^/,./,' | tar -c --null -T - | tar -xp -C {to} \
         --keep-directory-symlink; tar -c {} | tar -xp -C {to} --keep-directory-symlink",
        extra
            .iter()
            .map(|path| format!(".{path}"))
            .collect::<Vec<_>>()
            .join(" ")
    );
    quietly(&mut command("bash", ["-o", "pipefail", "-c", &copy]))?;
    furnish(stage.path())?;
    // Nothing of an older one shines through, and a machine that has it open keeps it.
    let _ = fs::remove_file(&image);
    filesystem(stage.path(), &image, 200)?;
    fs::write(mark, packages.join("\n")).context("note what the disk is made of")?;
    Ok(image)
}

/// On a machine whose `/bin` is a link, packages own files below both names.
fn links(stage: &Path) -> Result<()> {
    for name in ["bin", "sbin", "lib", "lib32", "lib64", "libx32"] {
        if let Ok(to) = fs::read_link(Path::new("/").join(name)) {
            fs::create_dir_all(stage.join(&to)).context("make the guest's folders")?;
            symlink(to, stage.join(name)).context("link the guest's folders")?;
        }
    }
    Ok(())
}

/// What a machine has beside its packages.
fn furnish(stage: &Path) -> Result<()> {
    for (folder, mode) in [
        ("proc", 0o555),
        ("sys", 0o555),
        ("dev", 0o755),
        ("run", 0o755),
        ("mnt", 0o755),
        ("vm", 0o755),
        ("tmp", 0o1777),
        ("var/tmp", 0o1777),
        ("root", 0o700),
        ("usr/lib/modules", 0o755),
    ] {
        let path = stage.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("make the guest's /{folder}"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    for (file, content) in [
        ("etc/hostname", "guest\n"),
        ("etc/hosts", "127.0.0.1 localhost guest\n::1 localhost\n"),
        ("etc/resolv.conf", ""),
        ("etc/shadow", "root:*:19000:0:99999:7:::\n"),
    ] {
        let path = stage.join(file);
        let _ = fs::remove_file(&path);
        fs::write(&path, content).with_context(|| format!("write the guest's /{file}"))?;
    }
    Ok(())
}

/// The packages and what they depend on, of those that are installed; with what is essential.
fn installed() -> Result<Vec<String>> {
    let format = "${Package}\t${db:Status-Status}\t${Essential}\t${Pre-Depends}, ${Depends}\t${Provides}\t${Version}\n";
    let told = quietly(&mut command("dpkg-query", ["--show", "--showformat", format]))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let mut needs: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut provided: BTreeMap<&str, &str> = BTreeMap::new();
    let mut wanted: Vec<&str> = PACKAGES.to_vec();
    for line in told.lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [package, "installed", essential, depends, provides, _version] = fields[..] else {
            continue;
        };
        needs.insert(package, names(depends));
        provided.extend(names(provides).into_iter().map(|name| (name, package)));
        if essential == "yes" {
            wanted.push(package);
        }
    }
    let mut found = BTreeSet::new();
    while let Some(name) = wanted.pop() {
        let package = if needs.contains_key(name) {
            Some(&name)
        } else {
            provided.get(name)
        };
        if let Some(package) = package
            && found.insert((*package).to_owned())
        {
            wanted.extend(&needs[package]);
        }
    }
    ensure!(
        found.contains("python3"),
        "python3 is not installed from a package of Debian"
    );
    Ok(found.into_iter().collect())
}

/// The names in a list of dependencies, alternatives included.
fn names(list: &str) -> Vec<&str> {
    let entries = list.split([',', '|']);
    let name = |entry: &'_ str| -> Option<usize> { entry.find([' ', ':', '(']) };
    entries
        .map(str::trim)
        .map(|entry| name(entry).map_or(entry, |end| &entry[..end]))
        .filter(|entry| !entry.is_empty())
        .collect()
}

/// What the guests run, as it was when the task began: a build meanwhile changes nothing.
pub(crate) struct Tests(TempDir);

impl Tests {
    /// Builds it, and sets it aside.
    pub(crate) fn build() -> Result<Tests> {
        let stage = tempfile::tempdir_in(folder()).context("make a folder for the tests")?;
        for (executable, name) in executables()? {
            let to = stage.path().join(name);
            fs::copy(&executable, &to).with_context(|| format!("copy {}", executable.display()))?;
            // Line tables make it ten times as large, and the guest reads it from a disk that is emulated.
            quietly(command("strip", ["--strip-debug"]).arg(&to))?;
        }
        fs::copy(root().join("xtask/vm/run"), stage.path().join("run")).context("copy the guest's program")?;
        fs::set_permissions(stage.path().join("run"), fs::Permissions::from_mode(0o755))?;
        fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o755))?;
        Ok(Tests(stage))
    }

    /// The disk with the tests, the httpjail that they test, and what to run.
    pub(crate) fn disk(&self, plan: &[String]) -> Result<NamedTempFile> {
        fs::write(self.0.path().join("plan"), plan.join("\n") + "\n").context("write the plan")?;
        let image = NamedTempFile::new_in(folder()).context("make the disk with the tests")?;
        filesystem(self.0.path(), image.path(), 16)?;
        Ok(image)
    }
}

/// What cargo builds for the tests: the program, and the integration tests.
fn executables() -> Result<Vec<(PathBuf, &'static str)>> {
    let line = [
        "test",
        "--quiet",
        "--no-run",
        // As all tests are built, so that nothing is built twice.
        "--workspace",
        "--test=it",
        "--message-format=json",
    ];
    let told = quietly(&mut cargo(line))?;
    let mut found = Vec::new();
    for line in String::from_utf8_lossy(&told.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let Some(path) = message["executable"].as_str() else {
            continue;
        };
        let is_test = message["profile"]["test"].as_bool() == Some(true);
        match (message["target"]["name"].as_str(), is_test) {
            (Some("it"), true) => found.push((PathBuf::from(path), "it")),
            (Some("httpjail"), false) => found.push((PathBuf::from(path), "httpjail")),
            _ => {}
        }
    }
    if found.len() != 2 {
        bail!("cargo did not tell where the tests are: {found:?}");
    }
    Ok(found)
}

/// A file system with what is in `stage`, and `room` more megabytes.
fn filesystem(stage: &Path, image: &Path, room: u64) -> Result<()> {
    let size = quietly(command("du", ["-sm", "--apparent-size"]).arg(stage))?;
    let size = String::from_utf8_lossy(&size.stdout).into_owned();
    let size: u64 = size
        .split_whitespace()
        .next()
        .and_then(|size| size.parse().ok())
        .context("du's answer")?;
    let total = format!("{}M", size * 5 / 4 + room);
    let stage = stage.to_str().context("a folder's name in UTF-8")?;
    let options = ["-q", "-F", "-t", "ext4", "-O", FEATURES, "-d", stage];
    quietly(command("mke2fs", options).arg(image).arg(total))?;
    Ok(())
}
