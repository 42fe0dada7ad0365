//! What is started by the goals about starts: httpjail in its ways, and other sandboxes, as command lines.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::signal::{Signal, kill};
use nix::sys::time::TimeValLike as _;
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::host::Host;
use super::report::Role;
use super::run::Run;
use crate::run::quietly;
use crate::setup::debian_packages;

/// What takes longer than this never ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// Who starts jails without being root: `nobody`.
const USER: u32 = 65534;
const SANDBOXES: [(&str, &str); 4] = [
    ("bwrap", "bubblewrap"),
    ("crun", "crun"),
    ("firejail", "firejail"),
    ("runc", "runc"),
];
/// What must not all be the machine's in a sandbox.
const NAMESPACES: [&str; 2] = ["/proc/self/ns/net", "/proc/self/ns/mnt"];

/// A command line without the command that it runs.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    pub(super) role: Role,
    words: Vec<OsString>,
    user: Option<u32>,
    /// No authority is kept from one start to the next.
    cold: bool,
    /// Whether there is something to check.
    isolates: bool,
    /// Whether it starts on the machine itself.
    outside: bool,
    /// An OCI runtime's, which reads the command from its bundle.
    bundle: Option<PathBuf>,
    home: PathBuf,
}

/// What a start took, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taken {
    wall: f64,
    /// Of all its processes; the kernel's threads are not seen.
    cpu: f64,
}

impl Taken {
    pub(super) fn wall(&self) -> f64 {
        self.wall
    }

    pub(super) fn cpu(&self) -> f64 {
        self.cpu
    }
}

/// Installs the other sandboxes, and puts httpjail where everybody can read it.
pub(super) fn install(run: &Run) -> Result<()> {
    debian_packages(&SANDBOXES)?;
    for (program, _) in SANDBOXES {
        run.note_first_line(program, "--version");
    }
    let binary = run.scratch().join("httpjail");
    fs::copy(&run.binary, binary).context("copy httpjail")?;
    fs::set_permissions(run.scratch(), fs::Permissions::from_mode(0o755)).context("open the directory to all")
}

impl Line {
    pub(super) fn new<S: AsRef<OsStr>>(
        name: &'static str,
        role: Role,
        words: impl IntoIterator<Item = S>,
        run: &Run,
    ) -> Line {
        let line = Line {
            name,
            role,
            words: words.into_iter().map(|word| word.as_ref().to_owned()).collect(),
            user: None,
            cold: false,
            isolates: role == Role::Peer,
            outside: false,
            bundle: None,
            home: run.scratch().join("home"),
        };
        if let [program, arguments @ ..] = line.words.as_slice() {
            run.note_command(name, Command::new(program).args(arguments));
        }
        line
    }

    /// [`install`]'s httpjail.
    pub(super) fn httpjail(name: &'static str, words: &[&str], run: &Run) -> Line {
        let binary = run.scratch().join("httpjail");
        let words = std::iter::once(binary.as_os_str()).chain(words.iter().map(OsStr::new));
        Line::new(name, Role::Ours, words, run)
    }

    /// A jail with a rule that allows everything.
    pub(super) fn jail(name: &'static str, options: &[&str], run: &Run) -> Line {
        let words = [&["-r", "allow: .*"], options, &["--"]].concat();
        let mut line = Line::httpjail(name, &words, run);
        line.isolates = !options.contains(&"--weak");
        line
    }

    /// A jail of the pool of this name.
    pub(super) fn from_pool(name: &'static str, pool: &str, run: &Run) -> Line {
        let mut line = Line::httpjail(name, &[&format!("--pool={pool}"), "--"], run);
        line.isolates = true;
        line
    }

    /// Without `--die-with-parent`: its parent is a thread that ends before a swarm does.
    pub(super) fn bwrap(name: &'static str, run: &Run) -> Line {
        let root = ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"];
        Line::new(name, Role::Peer, [&["bwrap", "--unshare-all"], &root[..]].concat(), run)
    }

    /// Without a profile and without a network. It does nothing where PID 1 is not the machine's.
    pub(super) fn firejail(run: &Run) -> Line {
        let mut line = Line::new(
            "firejail",
            Role::Peer,
            ["firejail", "--quiet", "--noprofile", "--net=none", "--"],
            run,
        );
        line.outside = true;
        line
    }

    /// `runc` or `crun`, with the machine's programs in the container.
    pub(super) fn oci(runtime: &'static str, run: &Run) -> Line {
        let dir = run.scratch().join(runtime);
        let [root, bundle] = [dir.join("root"), dir.join("bundle")];
        let words: [&OsStr; 6] = [
            runtime.as_ref(),
            "--root".as_ref(),
            root.as_ref(),
            "run".as_ref(),
            "--bundle".as_ref(),
            bundle.as_ref(),
        ];
        let mut line = Line::new(runtime, Role::Peer, words, run);
        line.bundle = Some(bundle);
        line
    }

    /// As `nobody`, with a home of its own.
    pub(super) fn by_nobody(mut self) -> Line {
        self.user = Some(USER);
        self.home.as_mut_os_string().push("-of-nobody");
        self
    }

    /// With a home that is new each time.
    pub(super) fn cold(mut self) -> Line {
        self.cold = true;
        self.home.as_mut_os_string().push("-cold");
        self
    }

    /// Sees whether it starts, and isolates what it starts.
    pub(super) fn check(&self, host: &Host, scratch: &Path) -> Result<()> {
        self.time(host, &["true"], scratch)?;
        if self.isolates {
            let look = [&["readlink"], &NAMESPACES[..]].concat();
            let bare = Line {
                words: Vec::new(),
                bundle: None,
                user: None,
                ..self.clone()
            };
            let (inside, around) = (
                self.finish(host, &look, scratch)?.1,
                bare.finish(host, &look, scratch)?.1,
            );
            ensure!(inside != around, "{} isolates nothing", self.name);
        }
        Ok(())
    }

    /// Makes ready what does not count: the home, and what `command` is for an OCI runtime.
    pub(super) fn prepare(&self, command: &[&str]) -> Result<()> {
        if self.cold && self.home.exists() {
            fs::remove_dir_all(&self.home).context("remove the home")?;
        }
        fs::create_dir_all(&self.home).context("make the home")?;
        if self.user.is_some() {
            chown(&self.home, self.user, self.user).context("give the home away")?;
        }
        let Some(bundle) = &self.bundle else { return Ok(()) };
        let path = bundle.join("config.json");
        if !path.exists() {
            fs::create_dir_all(bundle.join("rootfs")).context("make a bundle")?;
            quietly(Command::new(self.name).arg("spec").current_dir(bundle))?;
        }
        let config = with_command(serde_json::from_slice(&fs::read(&path)?)?, command);
        fs::write(&path, serde_json::to_vec(&config)?).context("write the bundle")
    }

    /// Starts `command` in it. `id` names the container where there is one.
    pub(super) fn spawn(&self, command: &[&str], id: &str, stdio: [Stdio; 3]) -> Result<Child> {
        let [input, output, errors] = stdio;
        let last = if self.bundle.is_some() { &[id] } else { command };
        let mut words = self
            .words
            .iter()
            .map(OsString::as_os_str)
            .chain(last.iter().map(AsRef::as_ref));
        let mut started = Command::new(words.next().context("an empty command line")?);
        started.args(words);
        started
            .env_clear()
            .env("HOME", &self.home)
            .env("PATH", std::env::var_os("PATH").unwrap_or_default());
        started.stdin(input).stdout(output).stderr(errors).current_dir("/");
        if let Some(user) = self.user {
            started.uid(user).gid(user);
        }
        started.spawn().with_context(|| format!("start {}", self.name))
    }

    /// Starts `command` in it and waits for the end; what it took, and what it wrote.
    fn finish(&self, host: &Host, command: &[&str], scratch: &Path) -> Result<(Taken, String)> {
        self.prepare(command)?;
        let [output, errors] = ["output", "errors"].map(|name| scratch.join(name));
        let stdio = [
            Stdio::null(),
            File::create(&output)?.into(),
            File::create(&errors)?.into(),
        ];
        let (tell, told) = channel();
        let started = || {
            let start = Instant::now();
            let mut child = self.spawn(command, "httpjail-bench", stdio)?;
            tell.send(child.id()).context("tell who was started")?;
            let status = child.wait().context("wait for the end")?;
            let wall = start.elapsed().as_secs_f64() * 1e3;
            drop(tell);
            Ok((wall, status))
        };
        let before = children_ms()? + host.orphans_ms()?;
        let (wall, status) = thread::scope(|scope| {
            scope.spawn(move || end_late(&told));
            if self.outside { started() } else { host.run(started) }
        })?;
        let cpu = children_ms()? + host.orphans_ms()? - before;
        ensure!(
            status.success(),
            "{}: {status}: {}",
            self.name,
            fs::read_to_string(errors)?
        );
        Ok((Taken { wall, cpu }, fs::read_to_string(output)?))
    }

    /// Starts `command` in it and waits for the end.
    pub(super) fn time(&self, host: &Host, command: &[&str], scratch: &Path) -> Result<Taken> {
        Ok(self.finish(host, command, scratch)?.0)
    }
}

/// Kills the process whose number comes, unless the other side hangs up in time.
fn end_late(told: &Receiver<u32>) {
    let Ok(pid) = told.recv() else { return };
    if told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        // It is not waited for yet, so the number is still its own.
        let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL);
    }
}

/// How many milliseconds those have taken that this process waited for, and those below them.
pub(super) fn children_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("read the children's time")?;
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Ok(microseconds as f64 / 1e3)
}

fn with_command(mut config: Value, command: &[&str]) -> Value {
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(command);
    let Some(mounts) = config["mounts"].as_array_mut() else {
        return config;
    };
    for path in ["/usr", "/bin", "/lib", "/lib64"] {
        if mounts.iter().all(|mount| mount["destination"] != path) {
            mounts.push(json!({ "destination": path, "type": "bind", "source": path, "options": ["rbind", "ro"] }));
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_gets_its_command_and_each_mount_once() {
        let config = json!({ "process": { "terminal": true, "args": ["sh"] }, "mounts": [{ "destination": "/proc" }] });
        let once = with_command(config, &["true"]);
        assert_eq!(once["process"], json!({ "terminal": false, "args": ["true"] }));
        assert_eq!(once["mounts"].as_array().map(Vec::len), Some(5));
        assert_eq!(with_command(once.clone(), &["true"]), once);
    }
}
