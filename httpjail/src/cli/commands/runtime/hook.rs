//! `httpjail runtime hook`: run by an OCI runtime when a container's namespaces and cgroup are there, and its process is not. It starts
//! the attachment that holds the container, and waits until that holds.
//!
//! Whatever fails here, the hook fails, and the runtime gives the container up. The attachment outlives the hook: it ends when the
//! container's cgroup is gone. When it is killed, the container stays closed.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::unistd::{Uid, User};
use serde::Deserialize;
use serde_json::Value;

use super::root::Root;
use super::state::{Held, Pod, State};
use super::{check, exec, pod};
use crate::cli::args::Hook;
use crate::cli::born;
use crate::cli::readiness;
use crate::failure::Failure;
use crate::jail::attach::{RESOLV_CONF, read_apart};

/// Variables that the hook has from the runtime, and the attachment from the hook: the way out for httpjail itself.
pub(in crate::cli::commands) const PASSED: [&str; 7] = [
    "https_proxy",
    "HTTPS_PROXY",
    "http_proxy",
    "all_proxy",
    "ALL_PROXY",
    "no_proxy",
    "NO_PROXY",
];
/// Where programs are looked for.
pub(in crate::cli::commands) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// How long the attachment may take.
const LIMIT: Duration = Duration::from_secs(40);
/// How often to look whether it has ended.
const TICK: Duration = Duration::from_millis(50);
/// No state of a container is longer.
const STATE_BYTES: u64 = 1 << 20;
/// How much of what it said is shown when it fails.
const SHOWN_BYTES: usize = 2000;

/// What the runtime tells on standard input (the OCI runtime specification, "State").
#[derive(Debug, Deserialize)]
struct Container {
    id: String,
    pid: u32,
    bundle: PathBuf,
}

/// Holds the container that standard input tells of.
///
/// # Errors
/// What failed; nothing of the container has run.
pub(crate) fn run(options: &Hook) -> Result<i32, Failure> {
    let container = read(io::stdin())?;
    let root = Root::new(options.dir.as_deref())?;
    let key = match &options.state {
        Some(key) => key.clone(),
        None => container.id.clone(),
    };
    let state = State::of(&State::key(&key, None)?);
    let by_runtime = state.born().is_some();
    if !by_runtime {
        state.make()?;
    }
    let born = Newborn {
        container: &container,
        policy: options.policy.as_deref(),
        root: &root,
        state: &state,
        sandbox: options.pod.as_deref().map(|key| State::key(key, None)).transpose()?,
        is_sandbox: options.pod.as_ref() == Some(&key),
    };
    let done = born.hold(by_runtime);
    if done.is_err() {
        // Nothing runs that it could be of.
        let _ = state.remove();
    }
    done.map(|()| 0)
}

/// A container that is about to run, and how it is to be held.
struct Newborn<'a> {
    container: &'a Container,
    policy: Option<&'a str>,
    root: &'a Root,
    state: &'a State,
    /// The key of the sandbox of its pod.
    sandbox: Option<String>,
    /// Whether it is that sandbox.
    is_sandbox: bool,
}

impl Newborn<'_> {
    fn hold(&self, by_runtime: bool) -> Result<(), Failure> {
        let file = root_policy(self.root, self.policy)?;
        let namespace = format!("/proc/{}/ns/net", self.container.pid);
        let hosts = check::is_hosts_network(Path::new(&namespace))
            .map_err(|error| Failure::new(format!("cannot look at {namespace}: {error}")))?;
        if hosts {
            return Err(Failure::new(
                "the container is in the host's network, which cannot be held",
            ));
        }
        let config = exec::read(&self.container.bundle.join("config.json"))?;
        if !by_runtime {
            check_unchanged(&config, self.policy)?;
        }
        let cgroup = check::cgroup_of(self.container.pid)?;
        let id = number(&cgroup)?;
        let mut held = Held {
            id,
            policy: self.policy.map(str::to_owned),
            pod: None,
            cgroup,
        };
        if let Some(sandbox) = self.sandbox.as_deref().filter(|_| !self.is_sandbox)
            && pod::join(&State::of(sandbox), &held.cgroup, self.container.pid, self.policy)?.is_some()
        {
            return self.state.write_held(&held);
        }
        copy_resolv_conf(self.container, &config, self.state)?;
        let mut log = self.state.log()?;
        if self.is_sandbox {
            match pod::of_sandbox(&held.cgroup) {
                Ok((above, id)) => {
                    born::write_sandbox(self.state.path(), &held.cgroup, held.id).map_err(|error| {
                        Failure::new(format!("cannot write to {}: {error}", self.state.path().display()))
                    })?;
                    held.pod = Some(Pod {
                        cgroup: above,
                        id,
                        network: number(Path::new(&namespace))?,
                    });
                }
                // Nothing is less held for it.
                Err(why) => {
                    let text = format!(
                        "warning: each container of the pod is held by itself, and none reaches another's localhost, because {why}\n"
                    );
                    let _ = log.write_all(text.as_bytes());
                }
            }
        }
        let place = held.pod.as_ref().map_or(&held.cgroup, |pod| &pod.cgroup);
        self.start(place, file.as_deref(), log)?;
        self.state.write_held(&held)
    }

    /// Starts the attachment to that cgroup, and waits until it holds.
    fn start(&self, cgroup: &Path, policy: Option<&Path>, log: File) -> Result<(), Failure> {
        let path = self.state.path().join("ready");
        let ready = UnixDatagram::bind(&path)
            .map_err(|error| Failure::new(format!("cannot make the socket {}: {error}", path.display())))?;
        let said = Said {
            path: self.state.log_path(),
            from: log.metadata().map_or(0, |found| found.len()),
        };
        let mut attachment = attach(cgroup, policy, self.root, (&path, self.state), log)?;
        let waited = wait(&ready, &mut attachment, &said);
        // Nobody else speaks to it.
        let _ = fs::remove_file(&path);
        waited
    }
}

/// Returns the number of a cgroup or a namespace.
fn number(path: &Path) -> Result<u64, Failure> {
    let found = fs::metadata(path);
    found
        .map(|found| found.ino())
        .map_err(|error| Failure::new(format!("cannot look at {}: {error}", path.display())))
}

/// A hook changes nothing of a container: what the runtime would have taken away must not be there. The engine's seccomp filter stays as
/// it is, so what that lets through (AF_VSOCK) is not held.
fn check_unchanged(before: &Value, policy: Option<&str>) -> Result<(), Failure> {
    let mut after = before.clone();
    let told = check::hold(&mut after, policy)?.into_iter().next();
    let capabilities = |config: &Value| config.pointer("/process/capabilities").cloned();
    let strong = (capabilities(before) != capabilities(&after)).then(|| "CAP_NET_RAW".to_owned());
    match told.or(strong) {
        None => Ok(()),
        Some(first) => Err(Failure {
            hint: Some("start it with the runtime httpjail-runc, which takes that away, or with --cap-drop".into()),
            ..Failure::new(format!("the container has what a hook cannot take away: {first}"))
        }),
    }
}

fn root_policy(root: &Root, policy: Option<&str>) -> Result<Option<PathBuf>, Failure> {
    policy.map(|policy| root.policy(policy)).transpose()
}

fn read(from: impl io::Read) -> Result<Container, Failure> {
    let mut text = Vec::new();
    let read = from.take(STATE_BYTES).read_to_end(&mut text);
    let wrong = |error: &dyn std::fmt::Display| Failure {
        hint: Some("an OCI runtime calls it, as a hook of a container".into()),
        ..Failure::new(format!(
            "cannot read the container's state from standard input: {error}"
        ))
    };
    read.map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}

/// Copies the resolv.conf that the container will see: its process, which is still the runtime's, sees the host's. Engines mount
/// one of their own making; otherwise it is the image's.
fn copy_resolv_conf(container: &Container, config: &Value, state: &State) -> Result<(), Failure> {
    let mounts = config["mounts"].as_array().into_iter().flatten();
    let mounted = mounts
        .filter(|mount| mount["destination"] == format!("/{RESOLV_CONF}"))
        .filter_map(|mount| mount["source"].as_str())
        .next_back();
    let below = |path: &str| container.bundle.join(path);
    let (root, name) = match mounted {
        Some(source) => (PathBuf::from("/"), below(source)),
        None => (
            below(config["root"]["path"].as_str().unwrap_or_default()),
            PathBuf::from(RESOLV_CONF),
        ),
    };
    let copied = read_apart(&root, &name).and_then(|text| fs::write(state.path().join(born::RESOLV_CONF), text));
    copied.map_err(|error| {
        Failure::new(format!(
            "cannot copy the container's {RESOLV_CONF} ({} below {}): {error}",
            name.display(),
            root.display()
        ))
    })
}

/// Starts the attachment. It has nothing of the hook's: the runtime waits until nobody holds the hook's output any more.
fn attach(
    cgroup: &Path,
    policy: Option<&Path>,
    root: &Root,
    (ready, state): (&Path, &State),
    log: File,
) -> Result<Child, Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot start `httpjail attach`: {error}"));
    let account = User::from_uid(Uid::from_raw(0)).ok().flatten();
    let home = account.map_or_else(|| PathBuf::from("/root"), |account| account.dir);
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command
        .arg0("httpjail")
        .args([OsStr::new("attach"), OsStr::new("--cgroup"), cgroup.as_os_str()]);
    if let Some(policy) = policy {
        command.args([OsStr::new("--config"), policy.as_os_str()]);
    }
    command.env_clear().env("PATH", PATH).env("HOME", home);
    command
        .env("XDG_CONFIG_HOME", root.above())
        .env(readiness::VARIABLE, ready)
        .env(born::VARIABLE, state.path());
    command.envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    let errors = log.try_clone().map_err(failed)?;
    command
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        .current_dir("/")
        .process_group(0);
    command.spawn().map_err(failed)
}

/// Waits until it says that it holds.
fn wait(ready: &UnixDatagram, attachment: &mut Child, said: &Said) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::new(format!("cannot wait for `httpjail attach`: {error}"));
    ready.set_read_timeout(Some(TICK)).map_err(failed)?;
    let late = Instant::now() + LIMIT;
    let mut heard = [0; 64];
    loop {
        match ready.recv(&mut heard) {
            Ok(length) if &heard[..length] == readiness::READY => return Ok(()),
            Ok(_) => {}
            Err(error) if [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted].contains(&error.kind()) => {}
            Err(error) => return Err(failed(error)),
        }
        if let Some(status) = attachment.try_wait().map_err(failed)? {
            return Err(Failure::new(format!(
                "the container cannot be held ({status}): {}",
                said.line()
            )));
        }
        if Instant::now() > late {
            // What it has closed stays closed, and goes with the cgroup.
            let _ = attachment.kill();
            return Err(Failure::new(format!(
                "`httpjail attach` does not hold the container after {} seconds: {}",
                LIMIT.as_secs(),
                said.line()
            )));
        }
    }
}

/// What the attachment said, behind what the runtime had to say.
struct Said {
    path: PathBuf,
    from: u64,
}

impl Said {
    /// Its end, in one line: engines show one.
    fn line(&self) -> String {
        let text = fs::read(&self.path).unwrap_or_default();
        let begin = usize::try_from(self.from)
            .unwrap_or(0)
            .max(text.len().saturating_sub(SHOWN_BYTES));
        let text = String::from_utf8_lossy(text.get(begin..).unwrap_or_default()).into_owned();
        let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        lines.join("; ")
    }
}
