//! Kernels: Debian's packages by apt's ordinary client with a configuration of our own, and an initramfs for each.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use super::packages::Mirror;
use super::{archive, folder};
use crate::run::{command, quietly, root};

/// What kernels are asked for by; each leads to the newest package of its kind.
pub(crate) const NAMES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "newest"];
/// What the initramfs has of a kernel's modules: what jails and the lab may ask for, and the disks.
const MODULES: [&str; 12] = [
    "net",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "fs/ext4",
    "fs/jbd2",
    "fs/mbcache.ko*",
    "fs/fuse",
    "fs/overlayfs",
    "drivers/block/virtio_blk.ko*",
    "drivers/net",
    "drivers/virtio",
];
/// Without these there is no disk; the initramfs loads them.
const BOOT: [&str; 3] = ["virtio_pci", "virtio_blk", "ext4"];
const APPLETS: [&str; 8] = ["sh", "mount", "umount", "insmod", "mkdir", "cp", "sleep", "switch_root"];

/// A kernel that can be booted.
pub(crate) struct Kernel {
    /// One of [`NAMES`].
    pub(crate) name: String,
    /// What `uname -r` will say.
    pub(crate) release: String,
    /// Its first two numbers.
    pub(crate) version: (u32, u32),
    folder: PathBuf,
}

impl Kernel {
    /// What the machine starts.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// What the kernel starts.
    pub(crate) fn initramfs(&self) -> PathBuf {
        self.folder.join("initrd")
    }
}

/// The kernel of that name, fetched if it is not here yet.
pub(crate) fn get(name: &str) -> Result<Kernel> {
    let place = folder().join("kernels").join(name);
    let noted = place.join("release");
    if !noted.is_file() {
        make(name, &place).with_context(|| format!("get the kernel {name}"))?;
    }
    let release = fs::read_to_string(&noted)
        .context("read which kernel it is")?
        .trim()
        .to_owned();
    // The initramfs is made anew each time, since the program in it is this repository's.
    let init = root().join("xtask/vm/init");
    let modules = place.join("tree");
    fs::copy(&init, modules.join("init")).context("copy the initramfs's program")?;
    fs::set_permissions(modules.join("init"), fs::Permissions::from_mode(0o755))?;
    archive::pack(&modules, &place.join("initrd"))?;
    let mut numbers = release.split(['.', '-', '+']).map(|part| part.parse().unwrap_or(0));
    Ok(Kernel {
        name: name.into(),
        version: (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)),
        release,
        folder: place,
    })
}

fn make(name: &str, place: &Path) -> Result<()> {
    let unpacked = place.join("unpacked");
    // What a run that was cut short left is not built upon.
    let _ = fs::remove_dir_all(place);
    fs::create_dir_all(&unpacked).context("make a folder for the kernel")?;
    for package in Mirror::open()?.kernel(name)? {
        quietly(command("dpkg-deb", ["-x"]).arg(&package).arg(&unpacked))?;
    }
    let modules = ["usr/lib/modules", "lib/modules"]
        .map(|path| unpacked.join(path))
        .into_iter()
        .find(|path| path.is_dir())
        .context("the package has no modules")?;
    let release = only_entry(&modules)?;
    let images = [
        unpacked.join(format!("boot/vmlinuz-{release}")),
        modules.join(&release).join("vmlinuz"),
    ];
    let image = images
        .iter()
        .find(|image| image.is_file())
        .context("the package has no kernel")?;
    fs::copy(image, place.join("vmlinuz")).context("copy the kernel")?;

    let tree = place.join("tree");
    let own = tree.join("lib/modules").join(&release);
    fs::create_dir_all(&own).context("make the initramfs's tree")?;
    for folder in ["bin", "boot", "dev", "proc", "sys", "newroot"] {
        fs::create_dir(tree.join(folder)).context("make the initramfs's tree")?;
    }
    let copy = format!(
        "cd {}/{release}; cp -p modules.builtin modules.order {own}; cp -p modules.builtin.modinfo {own} 2>/dev/null; \
         for m in {}; do ls -d kernel/$m 2>/dev/null; done | xargs cp -rp --parents -t {own}",
        modules.display(),
        MODULES.join(" "),
        own = own.display(),
    );
    quietly(&mut command("sh", ["-c", &copy]))?;
    let tree_name = tree.to_str().context("a folder's name in UTF-8")?;
    quietly(&mut command("depmod", ["-b", tree_name, &release]))?;
    boot_modules(tree_name, &release)?;

    let busybox = quietly(&mut command("sh", ["-c", "command -v busybox"]))?;
    let busybox = String::from_utf8_lossy(&busybox.stdout).trim().to_owned();
    fs::copy(busybox, tree.join("bin/busybox")).context("copy busybox")?;
    for applet in APPLETS {
        symlink("busybox", tree.join("bin").join(applet)).context("name busybox's programs")?;
    }
    fs::remove_dir_all(&unpacked).context("remove the unpacked package")?;
    fs::write(place.join("release"), release).context("note which kernel it is")
}

/// Unpacks what the disks need, in the order in which it must be loaded: busybox's insmod reads plain files alone.
fn boot_modules(tree: &str, release: &str) -> Result<()> {
    let mut order: Vec<String> = Vec::new();
    for module in BOOT {
        let asked = ["--show-depends", "-d", tree, "-S", release, module];
        let told = quietly(&mut command("modprobe", asked))?;
        for line in String::from_utf8_lossy(&told.stdout).lines() {
            if let Some(path) = line.strip_prefix("insmod ").map(|path| path.trim().to_owned())
                && !order.contains(&path)
            {
                order.push(path);
            }
        }
    }
    ensure!(!order.is_empty(), "the kernel has no modules for its disk");
    for (number, path) in order.iter().enumerate() {
        let to = format!("{tree}/boot/{number:02}.ko");
        let unpack = match Path::new(path).extension().and_then(|end| end.to_str()) {
            Some("xz") => "xz -dc",
            Some("zst") => "zstd -qdc",
            _ => "cat",
        };
        quietly(&mut command("sh", ["-c", &format!("{unpack} {path} > {to}")]))?;
    }
    Ok(())
}

fn only_entry(folder: &Path) -> Result<String> {
    let entry = fs::read_dir(folder)?.next().context("the package has no modules")??;
    entry.file_name().into_string().ok().context("a kernel's name in UTF-8")
}
