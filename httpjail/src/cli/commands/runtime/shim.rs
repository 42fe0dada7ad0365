//! `httpjail-runc`: called by an engine in the place of runc, it rewrites what the engine wants, and becomes runc or crun.
//!
//! Nothing stays of it, and there is no daemon that must run: what holds a container is started by the container's own hook. Whatever
//! fails here, the runtime is not called, so the container does not start, and the engine shows the message.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use nix::unistd::geteuid;
use serde_json::{Value, json};

use super::exec;
use super::root::{Root, refusal, runtime};
use super::state::{Born, State};
use super::trust::Trust;
use super::{check, hook};
use crate::cli::compose::environment::PROXIES;
use crate::failure::Failure;
use crate::jail::sandbox::run_dir::RUN_DIR;
use crate::logging;
use crate::oci::arguments::{Call, Request, log_of};
use crate::oci::config::{self, Additions};
use crate::oci::pods::{self, Part};
use crate::oci::table::Table;

/// The name by which engines call it.
const NAME: &str = "httpjail-runc";
/// What stands behind it where annotations are believed: only an engine that speaks CRI lets no image set them.
const CRI: &str = "-cri";
/// How long an engine waits for the hook. The hook itself waits less.
const HOOK_SECONDS: u32 = 60;
const CONFIG: &str = "config.json";

/// How it was called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// The policy behind an `@`.
    policy: Option<String>,
    /// Whether annotations are believed.
    believed: bool,
}

impl Name {
    /// Reads the name of the program; `None` if it is not that of the runtime.
    pub(crate) fn of(program: &OsStr) -> Option<Name> {
        let name = Path::new(program).file_name()?.to_str()?;
        let rest = name.strip_prefix(NAME)?;
        let policy = rest.strip_prefix('@').map(str::to_owned);
        match rest {
            "" => Some(false),
            CRI => Some(true),
            _ => policy.is_some().then_some(false),
        }
        .map(|believed| Name { policy, believed })
    }
}

/// Does what the engine asks for. Does not return where the runtime takes over.
pub(crate) fn run(name: &Name, arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.collect();
    let log = log_of(&arguments);
    let call = match Call::read(name.policy.as_deref(), arguments) {
        Ok(call) => call,
        Err(refused) => return fail(log.as_ref(), &refusal(refused)),
    };
    match perform(name, &call) {
        Ok(code) => code,
        Err(failure) => fail(log.as_ref(), &failure),
    }
}

fn perform(name: &Name, call: &Call) -> Result<ExitCode, Failure> {
    let root = Root::new(call.own.directory.as_deref())?;
    let table = root.table()?;
    let runtime = runtime(&table)?;
    let state = |id: &str| State::key(id, call.root.as_deref()).map(|key| (State::of(&key), key));
    match &call.request {
        Request::Create { bundle, config, id } => {
            let (state, key) = state(id)?;
            is_root()?;
            State::sweep();
            state.make()?;
            let file = bundle.join(config.as_deref().unwrap_or(Path::new(CONFIG)));
            let born = Birth {
                name,
                call,
                root: &root,
                bundle,
                file: &file,
                state: &state,
                key: &key,
            };
            let prepared = born
                .prepare(&table)
                .and_then(|()| become_runtime(&runtime, &call.passed));
            // Nothing runs that it could be of.
            let _ = state.remove();
            prepared
        }
        Request::Exec {
            id,
            process,
            capabilities,
        } => {
            exec::prepare(&state(id)?.0, process.as_deref(), capabilities)?;
            become_runtime(&runtime, &call.passed)
        }
        Request::Delete { id: Some(id) } => {
            let status = Command::new(&runtime).args(&call.passed).status();
            let status = status.map_err(|error| not_run(&runtime, &error))?;
            if status.success() {
                // A later creation removes it.
                let _ = state(id)?.0.remove();
            }
            let code = status.code().and_then(|code| u8::try_from(code).ok());
            Ok(ExitCode::from(code.unwrap_or(1)))
        }
        Request::Delete { id: None } | Request::Other => become_runtime(&runtime, &call.passed),
    }
}

/// A container that is about to be created.
struct Birth<'a> {
    name: &'a Name,
    call: &'a Call,
    root: &'a Root,
    bundle: &'a Path,
    file: &'a Path,
    state: &'a State,
    key: &'a str,
}

impl Birth<'_> {
    fn prepare(&self, table: &Table) -> Result<(), Failure> {
        let mut container = exec::read(self.file)?;
        let choice = table.choose(self.call.own.policy.as_deref(), &container, self.name.believed);
        let choice = choice.map_err(refusal)?;
        if let Some(policy) = &choice.policy {
            self.root.policy(policy)?;
        }
        config::clean(&mut container, Path::new(RUN_DIR));
        let mut told = check::hold(&mut container, choice.policy.as_deref())?;
        told.extend(choice.told);
        let authority = self.root.authority()?;
        let place = config::place(&container);
        let files = self.state.path().join("trust");
        let bundle = fs::canonicalize(self.bundle)
            .map_err(|error| Failure::new(format!("cannot find the bundle {}: {error}", self.bundle.display())))?;
        let trust = Trust::write(&container, &bundle, authority.certificate_pem(), files, place)?;
        let sandbox = match pods::part(&container, self.name.believed) {
            None => None,
            Some(Part::Sandbox) => Some(self.key.to_owned()),
            Some(Part::Member(id)) => Some(State::key(&id, self.call.root.as_deref())?),
        };
        let hook = self.hook(choice.policy.as_deref(), sandbox)?;
        config::add(
            &mut container,
            &Additions {
                hook,
                files: &trust.files,
                place,
                covers: trust.covers,
                variables: &trust.variables,
                dropped: &PROXIES,
            },
        );
        self.state.write_born(&Born {
            variables: trust.variables,
        })?;
        let mut log = self.state.log()?;
        for line in &told {
            logging::warn(line, None);
            writeln!(log, "warning: {}", line.escape_debug()).map_err(|error| {
                Failure::new(format!("cannot write to {}: {error}", self.state.log_path().display()))
            })?;
        }
        exec::write(self.file, &container)
    }

    fn hook(&self, policy: Option<&str>, sandbox: Option<String>) -> Result<Value, Failure> {
        let program = std::env::current_exe()
            .map_err(|error| Failure::new(format!("cannot find httpjail's own executable: {error}")))?;
        let mut words = vec!["httpjail".to_owned()];
        words.extend(config::HOOK.map(str::to_owned));
        words.extend(["--state".to_owned(), self.key.to_owned()]);
        words.extend(sandbox.into_iter().flat_map(|key| ["--pod".to_owned(), key]));
        words.extend(["--dir".to_owned(), self.root.directory().to_string_lossy().into_owned()]);
        words.extend(policy.map(|policy| format!("--policy={policy}")));
        let passed = hook::PASSED
            .iter()
            .filter_map(|name| Some(format!("{name}={}", std::env::var(name).ok()?)));
        Ok(json!({
            "path": program.to_string_lossy(),
            "args": words,
            "env": passed.collect::<Vec<_>>(),
            "timeout": HOOK_SECONDS,
        }))
    }
}

/// A rootless engine is root in a user namespace of its own, where no program can be put on a cgroup.
fn is_root() -> Result<(), Failure> {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let whole: Vec<&str> = map.split_whitespace().collect();
    if geteuid().is_root() && whole == ["0", "0", "4294967295"] {
        return Ok(());
    }
    Err(Failure {
        hint: Some("run the engine as root (sudo podman ...), or the command in a jail: httpjail -- COMMAND".into()),
        ..Failure::new("a rootless engine cannot start a held container: putting programs on a cgroup needs root")
    })
}

fn become_runtime(runtime: &Path, arguments: &[OsString]) -> Result<ExitCode, Failure> {
    let error = Command::new(runtime).args(arguments).exec();
    Err(not_run(runtime, &error))
}

fn not_run(runtime: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("cannot run {}: {error}", runtime.display()))
}

/// Says it on stderr, and where the engine looks for it.
fn fail(log: Option<&(PathBuf, bool)>, failure: &Failure) -> ExitCode {
    logging::error(failure, failure.hint.as_deref());
    if let Some((path, json)) = log {
        let hint = failure.hint.iter().map(|hint| format!(" (hint: {hint})"));
        let text = format!("httpjail: {}{}", failure.message, hint.collect::<String>());
        let line = match json {
            true => json!({"level": "error", "msg": text, "time": jiff::Timestamp::now().to_string()}).to_string(),
            false => format!("level=error msg={text:?}"),
        };
        let opened = File::options().append(true).create(true).open(path);
        // It is on stderr already.
        let _ = opened.and_then(|mut file| writeln!(file, "{line}"));
    }
    ExitCode::from(failure.status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_program_tells() {
        let name = |text: &str| Name::of(OsStr::new(text));
        let expected = |policy: Option<&str>, believed| {
            Some(Name {
                policy: policy.map(str::to_owned),
                believed,
            })
        };
        assert_eq!(name("/usr/local/bin/httpjail-runc"), expected(None, false));
        assert_eq!(name("httpjail-runc@agents"), expected(Some("agents"), false));
        assert_eq!(name("httpjail-runc-cri"), expected(None, true));
        for other in [
            "httpjail",
            "runc",
            "httpjail-runc2",
            "httpjail-runc-cri@x",
            "/httpjail-runc/x",
        ] {
            assert_eq!(name(other), None, "{other}");
        }
    }
}
