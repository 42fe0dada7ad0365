//! Starting httpjail, or a command without it, on the jailed side; and what came of it.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::{Lab, USER};

/// No test's command runs this long unless something hangs.
const LIMIT: Duration = Duration::from_secs(60);
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How the jails of a lab are steered, and who starts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// By cgroup programs, by root.
    Ebpf,
    /// By nftables, by root.
    Netns,
    /// By nftables, by [`USER`] without any privilege.
    Rootless,
}

impl Way {
    /// Its name, as HTTPJAIL_TEST_WAY and the tables of the tests spell it.
    pub fn name(self) -> &'static str {
        match self {
            Way::Ebpf => "ebpf",
            Way::Netns => "netns",
            Way::Rootless => "rootless",
        }
    }

    /// The one that this process's tests are about: HTTPJAIL_TEST_WAY's, or `ebpf`.
    pub fn of_this_process() -> Way {
        let name = std::env::var("HTTPJAIL_TEST_WAY").unwrap_or("ebpf".into());
        let ways = [Way::Ebpf, Way::Netns, Way::Rootless];
        let way = ways.into_iter().find(|way| way.name() == name);
        way.unwrap_or_else(|| panic!("HTTPJAIL_TEST_WAY={name}"))
    }
}

/// A run to be described.
#[must_use]
pub struct JailBuilder<'lab> {
    lab: &'lab Lab,
    jailed: bool,
    way: Way,
    as_user: bool,
    subcommand: Option<&'static str>,
    wrapper: Vec<OsString>,
    options: Vec<OsString>,
    command: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    stdin: Option<PathBuf>,
    stdin_socket: Option<Stdio>,
    log: Option<PathBuf>,
    upstream_ca: bool,
    limit: Duration,
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// All it printed.
    pub stdout: String,
    /// All it, and httpjail, complained about.
    pub stderr: String,
    /// The lines of the JSON log.
    pub events: Vec<Value>,
}

/// A run under way. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    log: Option<PathBuf>,
    limit: Duration,
}

impl<'lab> JailBuilder<'lab> {
    pub(crate) fn jailed(lab: &'lab Lab) -> Self {
        let way = Way::of_this_process();
        let log = lab.fresh_path("log.json");
        JailBuilder {
            jailed: true,
            way,
            log: Some(log),
            ..Self::unjailed(lab)
        }
    }

    pub(crate) fn unjailed(lab: &'lab Lab) -> Self {
        JailBuilder {
            lab,
            jailed: false,
            way: Way::Ebpf,
            as_user: false,
            subcommand: None,
            wrapper: Vec::new(),
            options: Vec::new(),
            command: Vec::new(),
            env: Vec::new(),
            stdin: None,
            stdin_socket: None,
            log: None,
            upstream_ca: true,
            limit: LIMIT,
        }
    }

    /// Adds `-r RULE`.
    pub fn rule(self, rule: &str) -> Self {
        self.option("-r").option(rule)
    }

    /// Runs it by this command of httpjail's own.
    pub fn subcommand(mut self, name: &'static str) -> Self {
        self.subcommand = Some(name);
        self
    }

    /// Adds an option, or an option's value, for httpjail.
    pub fn option(mut self, option: impl AsRef<OsStr>) -> Self {
        self.options.push(option.as_ref().into());
        self
    }

    /// Sets a variable of httpjail's environment.
    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.into(), value.as_ref().into()));
        self
    }

    /// Writes no JSON log: denials go to stderr as for anybody who gives no options.
    pub fn without_log(mut self) -> Self {
        self.log = None;
        self
    }

    /// Writes the JSON log there.
    pub fn log_to(mut self, path: impl Into<PathBuf>) -> Self {
        self.log = Some(path.into());
        self
    }

    /// Trusts only the system's roots, which know nothing of the world's authority.
    pub fn without_upstream_ca(mut self) -> Self {
        self.upstream_ca = false;
        self
    }

    /// Steers so, whatever this process's tests are about.
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// httpjail is called by [`USER`] through sudo, where it has to be root; an unjailed command runs as that user.
    pub fn as_user(mut self) -> Self {
        self.as_user = true;
        self
    }

    /// Starts it through another program (strace, setpriv, a shell), which gets the whole command line as arguments.
    pub fn through<S: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = S>) -> Self {
        self.wrapper
            .extend(wrapper.into_iter().map(|part| part.as_ref().into()));
        self
    }

    /// Gives the run these bytes as standard input.
    pub fn stdin(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.stdin = Some(self.lab.file("stdin", bytes));
        self
    }

    /// Gives the run a descriptor as standard input.
    pub fn stdin_from(mut self, descriptor: impl Into<Stdio>) -> Self {
        self.stdin_socket = Some(descriptor.into());
        self
    }

    /// Kills the run after this long, and fails the test.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// The command to run, with its arguments.
    pub fn command<S: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = S>) -> Self {
        self.command = command.into_iter().map(|part| part.as_ref().into()).collect();
        self
    }

    /// A script for `sh -c`, as the command.
    pub fn shell(self, script: &str) -> Self {
        self.command(["sh", "-c", script])
    }

    fn by_user(&self) -> bool {
        self.as_user || (self.jailed && self.way == Way::Rootless)
    }

    fn names_backend(&self) -> bool {
        self.options.iter().any(|option| option == "--backend")
    }

    /// The whole command line.
    pub fn command_line(&self) -> Vec<OsString> {
        let mut line = self.wrapper.clone();
        if self.by_user() {
            let user = ["setpriv", "--reuid", USER, "--regid", USER, "--init-groups"];
            line.extend(user.map(Into::into));
            if self.jailed && self.way != Way::Rootless {
                line.extend(["sudo", "-n"].map(Into::into));
            }
        }
        if self.jailed {
            line.push(self.lab.binary().into());
            line.extend(self.subcommand.map(Into::into));
            let backend = if self.way == Way::Ebpf { "ebpf" } else { "netns" };
            if !self.names_backend() {
                line.extend(["--backend".into(), backend.into()]);
            }
            if self.upstream_ca {
                line.extend(["--upstream-ca".into(), self.lab.upstream_ca().into()]);
            }
            if let Some(log) = &self.log {
                line.extend(["--log".into(), log.into(), "--log-format".into(), "json".into()]);
            }
            line.extend(self.options.iter().cloned());
            line.push("--".into());
        }
        line.extend(self.command.iter().cloned());
        line
    }

    /// The environment that the run gets: nothing of the test's own but the choice of a BPF object.
    pub fn environment(&self) -> Vec<(OsString, OsString)> {
        let user = if self.by_user() { USER } else { "root" };
        let mut env: Vec<(OsString, OsString)> = vec![
            ("PATH".into(), PATH.into()),
            ("LANG".into(), "C.UTF-8".into()),
            ("HOME".into(), self.lab.home(user).into()),
            ("USER".into(), user.into()),
            ("LOGNAME".into(), user.into()),
        ];
        if let Some(object) = std::env::var_os("HTTPJAIL_BPF_OBJECT") {
            env.push(("HTTPJAIL_BPF_OBJECT".into(), object));
        }
        env.extend(self.env.iter().cloned());
        env
    }

    /// Starts it.
    pub fn start(self) -> Result<Running> {
        let (line, env) = (self.command_line(), self.environment());
        let (program, arguments) = line.split_first().context("a command to run")?;
        let (stdout, stderr) = (self.lab.fresh_path("stdout"), self.lab.fresh_path("stderr"));
        let create = |path: &Path| File::create(path).with_context(|| format!("create {}", path.display()));
        let stdin = match (self.stdin_socket, &self.stdin) {
            (Some(descriptor), _) => descriptor,
            (None, Some(path)) => File::open(path).context("open the standard input")?.into(),
            (None, None) => Stdio::null(),
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(env)
            .current_dir(self.lab.dir())
            .stdin(stdin);
        // Files, not pipes: an orphan that keeps a pipe open would keep the test waiting.
        command.stdout(create(&stdout)?).stderr(create(&stderr)?);
        let child = self
            .lab
            .on_jailside(|| command.spawn().with_context(|| format!("start {}", program.display())))?;
        Ok(Running {
            child,
            stdout,
            stderr,
            log: self.log,
            limit: self.limit,
        })
    }

    /// Runs it to its end.
    pub fn run(self) -> Outcome {
        let line = self.command_line();
        let outcome = self.start().and_then(Running::wait);
        outcome.unwrap_or_else(|error| panic!("{line:?}: {error:?}"))
    }
}

impl Running {
    /// The process id of what was started (httpjail, or the wrapper around it).
    pub fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a process id"))
    }

    /// Closes its standard input, if that is a pipe of ours.
    pub fn end_input(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("signal a running child");
    }

    /// What it has printed so far.
    pub fn stdout(&self) -> String {
        read(&self.stdout)
    }

    /// What has been complained about so far.
    pub fn stderr(&self) -> String {
        read(&self.stderr)
    }

    /// Waits for the end.
    pub fn wait(mut self) -> Result<Outcome> {
        let pid = self.pid();
        let (done, ended) = mpsc::channel::<()>();
        let limit = self.limit * crate::patience();
        let watchdog = std::thread::spawn(move || {
            let late = ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout);
            if late {
                // Not reaped yet, so the number is still that of our child.
                let _ = kill(pid, Signal::SIGKILL);
            }
            late
        });
        let status = self.child.wait().context("wait for the run")?;
        drop(done);
        let outcome = Outcome {
            status,
            stdout: self.stdout(),
            stderr: self.stderr(),
            events: self.log.as_deref().map(events).unwrap_or_default(),
        };
        anyhow::ensure!(
            !watchdog.join().unwrap_or(true),
            "still running after {limit:?}: {outcome:#?}"
        );
        Ok(outcome)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Ended this very moment, or killed here: reaped either way.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    /// The exit status; what a signal ended has none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// The events in which all of `fields` have these values.
    pub fn events_with(&self, fields: &[(&str, &str)]) -> Vec<&Value> {
        let is = |event: &Value, name: &str, wanted: &str| match event.get(name) {
            Some(Value::String(value)) => value == wanted,
            Some(Value::Number(value)) => value.to_string() == wanted,
            _ => false,
        };
        self.events
            .iter()
            .filter(|event| fields.iter().all(|(name, wanted)| is(event, name, wanted)))
            .collect()
    }
}

fn events(log: &Path) -> Vec<Value> {
    // A test may log to a device, and /dev/full can be read for ever.
    if !log.is_file() {
        return Vec::new();
    }
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}")))
        .collect()
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
