//! Packages of other releases of Debian, from the mirror that this machine's own apt uses.
//!
//! apt does it, with lists and a cache below `target/`: nothing on this machine changes.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::folder;
use crate::run::{command, quietly};

const SUITES: [&str; 5] = [
    "bullseye",
    "bookworm",
    "bookworm-backports",
    "trixie",
    "trixie-backports",
];
const SECURITY: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The mirror, asked.
pub(crate) struct Mirror {
    folder: PathBuf,
}

impl Mirror {
    /// Reads what there is, if that was not done yet.
    pub(crate) fn open() -> Result<Mirror> {
        let mirror = Mirror {
            folder: folder().join("apt"),
        };
        let done = mirror.folder.join("read");
        if !done.is_file() {
            for folder in ["lists/partial", "archives/partial", "debs"] {
                fs::create_dir_all(mirror.folder.join(folder)).context("make apt's folders")?;
            }
            fs::write(mirror.folder.join("status"), "").context("write apt's status")?;
            fs::write(mirror.folder.join("sources.list"), sources()?).context("write apt's sources")?;
            fs::write(mirror.folder.join("conf"), mirror.configuration()).context("write apt's configuration")?;
            eprintln!("vm: apt-get update");
            // A suite that a mirror has dropped is a warning; what is missing then is said where it is asked for.
            quietly(&mut mirror.apt("apt-get", &["update", "--quiet"]))?;
            fs::write(done, "").context("note that the lists are read")?;
        }
        Ok(mirror)
    }

    /// The files of the newest kernel of that name.
    pub(crate) fn kernel(&self, name: &str) -> Result<Vec<PathBuf>> {
        let series = if name == "newest" {
            "[0-9]".into()
        } else {
            name.replace('.', "[.]") + "[.]"
        };
        let pattern = format!("^linux-image-{series}[^-]*(-[0-9]+)?-amd64$");
        let found = quietly(&mut self.apt("apt-cache", &["search", "--names-only", &pattern]))?;
        let mut images: Vec<String> = String::from_utf8_lossy(&found.stdout)
            .lines()
            .filter_map(|line| line.split(' ').next().map(Into::into))
            .collect();
        images.sort_by_key(|image| numbers(image));
        // A mirror may have an image whose modules it has dropped.
        while let Some(image) = images.pop() {
            if let Some(packages) = self.parts(&image)? {
                eprintln!("vm: {}", packages.join(" "));
                return packages.iter().map(|package| self.download(package)).collect();
            }
        }
        anyhow::bail!("the mirror has no kernel {name}")
    }

    /// The image and what it was split into (since 6.19); nothing if a part is missing.
    fn parts(&self, image: &str) -> Result<Option<Vec<String>>> {
        let release = image.trim_start_matches("linux-image-");
        let told = quietly(&mut self.apt("apt-cache", &["depends", image]))?;
        let told = String::from_utf8_lossy(&told.stdout).into_owned();
        let mut packages = vec![image.to_owned()];
        for line in told.lines() {
            let Some(part) = line.trim().strip_prefix("Depends: ") else {
                continue;
            };
            let is_part = |kinds: &[&str]| kinds.iter().any(|kind| part.trim_start_matches('<').starts_with(kind));
            if part.contains(release) && is_part(&["linux-base-", "linux-binary-", "linux-modules-"]) {
                let missing = part.starts_with('<');
                if missing && is_part(&["linux-base-"]) {
                    // Only lists of modules, if anything: older images have them themselves.
                    continue;
                }
                if missing {
                    return Ok(None);
                }
                packages.push(part.to_owned());
            }
        }
        Ok(Some(packages))
    }

    fn download(&self, package: &str) -> Result<PathBuf> {
        let debs = self.folder.join("debs");
        let is_it = |name: &str| name.starts_with(&format!("{package}_"));
        let find = || -> Result<Option<PathBuf>> {
            for entry in fs::read_dir(&debs).context("read the downloaded packages")? {
                let entry = entry?;
                if entry.file_name().to_str().is_some_and(is_it) {
                    return Ok(Some(entry.path()));
                }
            }
            Ok(None)
        };
        if find()?.is_none() {
            quietly(
                self.apt("apt-get", &["download", "--quiet", package])
                    .current_dir(&debs),
            )?;
        }
        find()?.with_context(|| format!("apt did not bring {package}"))
    }

    fn apt(&self, program: &str, arguments: &[&str]) -> Command {
        let mut apt = command(program, arguments);
        apt.env("APT_CONFIG", self.folder.join("conf")).env("LC_ALL", "C");
        apt
    }

    fn configuration(&self) -> String {
        let folder = self.folder.display();
        format!(
            "Dir::State \"{folder}\";\nDir::State::lists \"{folder}/lists\";\nDir::State::status \"{folder}/status\";\n\
             Dir::Cache \"{folder}\";\nDir::Cache::archives \"{folder}/archives\";\n\
             Dir::Etc::sourcelist \"{folder}/sources.list\";\nDir::Etc::sourceparts \"-\";\n\
             APT::Sandbox::User \"\";\nAcquire::Languages \"none\";\n\
             Acquire::IndexTargets::deb::DEP-11::DefaultEnabled \"false\";\n"
        )
    }
}

/// The suites with the kernels, on the mirrors of this machine's own suites.
fn sources() -> Result<String> {
    let format = [
        "indextargets",
        "--format",
        "$(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ];
    let told = quietly(&mut command("apt-get", format))?;
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let mirror_of = |is: fn(&str) -> bool| {
        let lines = told.lines().filter_map(|line| line.split_once(' '));
        lines.filter(|(suite, _)| is(suite)).map(|(_, mirror)| mirror).next()
    };
    let main = mirror_of(|suite| SUITES.contains(&suite)).context("this machine's apt knows no mirror of Debian")?;
    let mut lines = String::new();
    let mut add = |mirror: &str, suites: &[&str]| {
        for suite in suites {
            lines += &format!("deb [signed-by={KEYS}] {mirror} {suite} main\n");
        }
    };
    add(main, &SUITES);
    if let Some(security) = mirror_of(|suite| SECURITY.contains(&suite)) {
        add(security, &SECURITY);
    }
    ensure!(fs::exists(KEYS)?, "{KEYS} is missing (package debian-archive-keyring)");
    Ok(lines)
}

/// A name's numbers, by which kernels are ordered.
fn numbers(name: &str) -> Vec<u64> {
    let parts = name.split(|character: char| !character.is_ascii_digit());
    parts.filter_map(|part| part.parse().ok()).collect()
}
