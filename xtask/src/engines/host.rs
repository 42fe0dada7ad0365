//! A host for one engine: what it does to processes, mounts, `/etc`, interfaces and rules ends with it.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use httpjail_lab::{JailBuilder, Lab, Running, USER, USER_ID, eventually};

const PATIENCE: Duration = Duration::from_secs(20);
/// Where root's policies are.
pub(crate) const POLICIES: &str = "/etc/httpjail/policies";
/// The policy that lets something out.
pub(crate) const OK: &str = "ok";
/// The same, that also lets peers in.
pub(crate) const OPEN: &str = "open";
/// A policy that is none.
pub(crate) const BROKEN: &str = "broken";
/// The lab's own files lie over those of `/etc` as mounts, which an overlay hides: they are copied up. Bash reaps who loses his parent.
const SETUP: &str = r#"set -e
etc=$1 user=$2
mkdir -p "$etc/up" "$etc/work" "$etc/lab"
cp -a "$etc/../etc/." "$etc/lab/"
mount -t overlay overlay -o "lowerdir=/etc,upperdir=$etc/up,workdir=$etc/work" /etc
cp -a "$etc/lab/." /etc/
mkdir -p "$etc/share" "$etc/share-work"
mount -t overlay overlay -o "lowerdir=/usr/share/containers,upperdir=$etc/share,workdir=$etc/share-work" /usr/share/containers
mount -t bpf bpf /sys/fs/bpf
mount -t tmpfs -o mode=755 tmpfs /usr/local/bin
mount -t tmpfs -o mode=755 tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
echo "$user:200000:65536" | tee /etc/subuid > /etc/subgid
install -d -o "$user" -m 700 "/run/user/$(id -u "$user")"
sysctl -qw net.ipv6.conf.all.forwarding=1
echo up
sleep infinity & wait"#;

/// Namespaces in a lab's jailed side, and what holds them.
pub(crate) struct Host<'lab> {
    lab: &'lab Lab,
    holder: Running,
    pid: u32,
    cgroups: Vec<PathBuf>,
}

impl<'lab> Host<'lab> {
    /// Raises it.
    pub(crate) fn raise(lab: &'lab Lab) -> Result<Self> {
        let etc = lab.dir().join("etc-of-host");
        let holder = lab
            .unjailed()
            .through(["unshare", "--pid", "--fork", "--kill-child", "--mount", "--mount-proc"])
            .command(["bash", "-c", SETUP, "host", &etc.display().to_string(), USER])
            .limit(Duration::from_secs(3600))
            .start()?;
        ensure!(
            eventually(PATIENCE, || holder.stdout().contains("up")),
            "the host does not come up: {}",
            holder.stderr()
        );
        let parent = holder.pid();
        let children = fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
            .context("find the host's first process")?;
        let pid = children.trim().parse().context("the host's first process")?;
        Ok(Host {
            lab,
            holder,
            pid,
            cgroups: foreign_cgroups(),
        })
    }

    /// The lab around it.
    pub(crate) fn lab(&self) -> &'lab Lab {
        self.lab
    }

    /// The words that lead into it.
    pub(crate) fn entrance(&self) -> Vec<String> {
        let pid = self.pid.to_string();
        ["nsenter", "--target", &pid, "--mount", "--pid", "--net", "--"]
            .map(str::to_owned)
            .to_vec()
    }

    /// Puts httpjail on it, with policies in its directory: [`OK`] and [`OPEN`] allow two hosts, and [`BROKEN`] cannot be read.
    pub(crate) fn install(&self) -> Result<()> {
        let text = format!(
            "version: 1\nrules:\n- {{action: allow, pattern: '^https?://ok\\.test/'}}\n- {{action: allow, pattern: '^http://db/'}}\n\
             upstream-ca: {}\nlog: {}\nlog-format: json\n",
            self.lab.upstream_ca().display(),
            self.lab.dir().join("containers.json").display()
        );
        let open = self.lab.file("open.yaml", format!("{text}inbound: ['0.0.0.0/0:80']\n"));
        let (source, binary) = (self.lab.file("policy.yaml", text), self.lab.binary().display());
        let script = format!(
            "set -e; umask 22; install -m 755 {binary} /usr/local/bin/httpjail; mkdir -p {POLICIES}; cd {POLICIES}
             install -m 644 {} {OK}.yaml; install -m 644 {} {OPEN}.yaml; echo 'rules: [' > {BROKEN}.yaml",
            source.display(),
            open.display()
        );
        let outcome = self.command(&["sh", "-c", &script]).run();
        ensure!(outcome.code() == Some(0), "install httpjail: {}", outcome.stderr);
        Ok(())
    }

    /// Kills every process of httpjail.
    pub(crate) fn kill_httpjail(&self) -> Result<()> {
        let kill = "for exe in /proc/[0-9]*/exe; do case $(readlink $exe) in */httpjail*) p=${exe%/exe}; kill -9 ${p#/proc/};; esac; done";
        let outcome = self.command(&["sh", "-c", kill]).run();
        ensure!(outcome.code() == Some(0), "kill httpjail: {}", outcome.stderr);
        Ok(())
    }

    /// A command on it.
    pub(crate) fn command<S: AsRef<str>>(&self, words: &[S]) -> JailBuilder<'lab> {
        self.lab
            .unjailed()
            .through(self.entrance())
            .command(words.iter().map(AsRef::as_ref))
            .limit(Duration::from_secs(300))
    }

    /// The same by the user who is not root.
    pub(crate) fn command_by_user<S: AsRef<str>>(&self, words: &[S]) -> JailBuilder<'lab> {
        let user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups", "--"];
        self.lab
            .unjailed()
            .env("HOME", self.lab.home(USER))
            .env("USER", USER)
            .env("XDG_RUNTIME_DIR", format!("/run/user/{USER_ID}"))
            .through(self.entrance().iter().map(String::as_str).chain(user))
            .command(words.iter().map(AsRef::as_ref))
            .limit(Duration::from_secs(300))
    }
}

impl Drop for Host<'_> {
    /// The engine's processes end with the first process; the cgroups that they made are empty then.
    fn drop(&mut self) {
        self.holder.signal(nix::sys::signal::Signal::SIGKILL);
        let gone = || !PathBuf::from(format!("/proc/{}", self.pid)).exists();
        if !eventually(PATIENCE, gone) {
            eprintln!("warning: process {} does not end", self.pid);
        }
        for cgroup in foreign_cgroups() {
            if !self.cgroups.contains(&cgroup) {
                remove_tree(&cgroup);
            }
        }
    }
}

/// The cgroups at the top of each hierarchy, and one below.
fn foreign_cgroups() -> Vec<PathBuf> {
    let folders = |path: PathBuf| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .map(|entry| entry.path())
    };
    let hierarchies: Vec<PathBuf> = folders("/sys/fs/cgroup".into()).collect();
    hierarchies
        .iter()
        .cloned()
        .chain(hierarchies.iter().cloned().flat_map(folders))
        .collect()
}

/// Removes a cgroup and those below it, if they are empty.
fn remove_tree(cgroup: &std::path::Path) {
    let entries = fs::read_dir(cgroup).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_tree(&entry.path());
    }
    // One that is not empty is not ours.
    let _ = fs::remove_dir(cgroup);
}
