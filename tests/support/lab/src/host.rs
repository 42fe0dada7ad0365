//! The jailed side's view of its host: the files and the /run of a small machine with two users.
//!
//! All of it lives in a private mount namespace, so that the real host's accounts, name servers and daemons neither
//! matter nor change.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nix::mount::{MsFlags, mount};

/// The user of the machine who is not root and may call sudo without a password.
pub const USER: &str = "labuser";
/// That user's id and group id.
pub const USER_ID: u32 = 4242;
/// A second group that the user is in.
pub const EXTRA_GROUP: u32 = 4343;

const SUDOERS: &str = "Defaults env_reset, !use_pty, !fqdn
Defaults secure_path=\"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"
Defaults env_keep += \"HTTPJAIL_BPF_OBJECT\"
root ALL=(ALL:ALL) ALL
labuser ALL=(ALL:ALL) NOPASSWD: ALL
";

/// Puts the files in place; called inside the jailed side's mount namespace. `dir` is the lab's own directory.
pub(crate) fn set_up(dir: &Path) -> Result<()> {
    for (home, owner) in [("root", 0), (USER, USER_ID)] {
        let home = home_of(dir, home);
        fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
        chown(&home, Some(owner), Some(owner)).with_context(|| format!("give away {}", home.display()))?;
        fs::set_permissions(&home, fs::Permissions::from_mode(0o700))
            .with_context(|| format!("close {}", home.display()))?;
    }
    // The host's /run has its daemons' sockets in it. Ours is empty, and gone with the namespace.
    mount(
        Some("lab"),
        "/run",
        Some("tmpfs"),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some("mode=755"),
    )
    .context("mount an empty /run")?;

    let user_home = home_of(dir, USER);
    let passwd = format!("{USER}:x:{USER_ID}:{USER_ID}:lab:{}:/bin/bash\n", user_home.display());
    let group = format!("{USER}:x:{USER_ID}:\nlabextra:x:{EXTRA_GROUP}:{USER}\n");
    let files: [(&str, u32, String); 8] = [
        (
            "/etc/resolv.conf",
            0o644,
            "nameserver 198.51.100.2\noptions timeout:2 attempts:2\n".into(),
        ),
        ("/etc/hosts", 0o644, "127.0.0.1 localhost\n::1 localhost\n".into()),
        (
            "/etc/nsswitch.conf",
            0o644,
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".into(),
        ),
        ("/etc/passwd", 0o644, accounts(dir)? + &passwd),
        (
            "/etc/group",
            0o644,
            fs::read_to_string("/etc/group").context("read /etc/group")? + &group,
        ),
        (
            "/etc/shadow",
            0o640,
            format!("root:*:19000:0:99999:7:::\n{USER}:*:19000:0:99999:7:::\n"),
        ),
        ("/etc/sudoers", 0o440, SUDOERS.into()),
        ("/etc/gai.conf", 0o644, String::new()),
    ];
    let etc = dir.join("etc");
    fs::create_dir_all(&etc).context("create the lab's etc")?;
    for (path, mode, content) in files {
        let source = etc.join(Path::new(path).file_name().context("a file name")?);
        fs::write(&source, content).with_context(|| format!("write {}", source.display()))?;
        fs::set_permissions(&source, fs::Permissions::from_mode(mode))
            .with_context(|| format!("set the mode of {}", source.display()))?;
        overlay(&source, Path::new(path))?;
    }
    Ok(())
}

/// The home directory of a user of the lab.
pub(crate) fn home_of(dir: &Path, user: &str) -> PathBuf {
    dir.join("home").join(user)
}

/// The host's accounts, root with a home of the lab: what is looked for in a home must not be found in the real one.
fn accounts(dir: &Path) -> Result<String> {
    let host = fs::read_to_string("/etc/passwd").context("read /etc/passwd")?;
    let home = home_of(dir, "root").display().to_string();
    let line = |line: &str| {
        let mut fields: Vec<&str> = line.split(':').collect();
        if let (Some(&"root"), Some(field)) = (fields.clone().first(), fields.get_mut(5)) {
            *field = &home;
        }
        fields.join(":") + "\n"
    };
    Ok(host.lines().map(line).collect())
}

/// Mounts `source` over `target`. A target that the host lacks (no sudo there, say) is left out: nobody can read it.
fn overlay(source: &Path, target: &Path) -> Result<()> {
    // Where systemd-resolved runs, resolv.conf is a link into the /run that we have just covered.
    if let Ok(link) = fs::read_link(target)
        && !target.exists()
    {
        let real = target.parent().unwrap_or(Path::new("/")).join(link);
        fs::create_dir_all(real.parent().context("the link's folder")?).context("create the link's folder")?;
        fs::write(&real, "").with_context(|| format!("create {}", real.display()))?;
    }
    if !target.exists() {
        return Ok(());
    }
    mount(Some(source), target, None::<&str>, MsFlags::MS_BIND, None::<&str>)
        .with_context(|| format!("mount the lab's file over {}", target.display()))
}
