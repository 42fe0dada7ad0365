//! One jail of a pool: made and armed ahead of its command, which comes from a client.
//!
//! What the client sends is believed only as far as it concerns the client's own command. Who the client is, the kernel says.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::stat::fstat;
use nix::unistd::{getgid, getgroups};

use super::jail_stages::{self, RunParts};
use super::strong;
use crate::cli::compose::log_file::LogReopener;
use crate::cli::compose::reload::Watcher;
use crate::cli::compose::{environment, jail_plan};
use crate::cli::context::{Inherited, RunContext};
use crate::cli::safe_from::SafeFrom;
use crate::config::Config;
use crate::failure::Failure;
use crate::jail::lifecycle::SpawnError;
use crate::jail::protocol::channel;
use crate::jail::protocol::init::Taken;
use crate::jail::protocol::pool::{ClientLine, FromSpare, Order, SpareEnd, ToClient, ToJail};
use crate::jail::protocol::words;
use crate::jail::sandbox::user_identity::UserIdentity;
use crate::jail::sandbox::{rights, stdio};
use crate::jail::supervisor::client::{Client, Given};
use crate::jail::supervisor::policy_watch::PolicyWatch;
use crate::jail::supervisor::standby::Arrival;
use crate::logging;

/// How long a client may take to say what to run.
const ORDER_LIMIT: Duration = Duration::from_secs(10);
/// Above it no pipe is passed on: more are not usual, and descriptors are limited.
const PIPE_MAX: i32 = 1000;

/// Makes a jail, has it wait for a client, and runs the client's command in it. `loud`: says what the jail cannot hold.
///
/// # Errors
/// What failed before a client came.
pub(crate) fn live(run: &Rc<RunContext>, pool: SpareEnd, loud: bool) -> Result<(), Failure> {
    let mut armed = strong::armed(run, Inherited { pipes: Vec::new() })?;
    if !armed.jail.holds_sockets() {
        return Err(Failure {
            hint: Some("httpjail doctor says why".into()),
            ..Failure::new(
                "a pool needs a host on which Unix sockets are held whatever their names: its jails grow old",
            )
        });
    }
    armed.jail.notes().for_each(|note| tracing::info!("{note}"));
    if loud {
        armed.warn();
    }
    let (config, owner, jailed) = (&run.config, &run.caller.identity, armed.parts.jailed);
    let log = LogReopener::new(config, owner);
    let open_log = || log.open(owner);
    let mut watcher = Watcher::new(config, SafeFrom::User(jailed), owner);
    armed.jail.serve()?;
    let gone = |error| Failure::new(format!("the pool is gone: {error}"));
    pool.send(&FromSpare::Ready).map_err(gone)?;
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
    let Some(arrival) = armed.jail.stand_by(&pool, &armed.parts.signals, watch, &open_log)? else {
        return Ok(());
    };
    let RunParts { approver, signals, .. } = armed.parts;
    let (line, order, descriptors) = match ordered(&arrival.connection.try_clone().map_err(gone)?) {
        Ok(ordered) => ordered,
        Err(failure) => return refuse(arrival.connection, failure),
    };
    let taken = Caller::of(&arrival, config, owner, jailed).and_then(|caller| take(&order, descriptors, &caller, run));
    let (taken, given, name) = match taken {
        Ok(taken) => taken,
        Err(failure) => return refuse(arrival.connection, failure),
    };
    let client = Client::new(line, pool, order.terminal);
    let running = match armed.jail.hand(signals, approver, taken, &given, client) {
        Ok(running) => running,
        Err(SpawnError::Jail(failure)) => return refuse(arrival.connection, failure),
        Err(SpawnError::Command(reason)) => {
            return refuse(arrival.connection, jail_stages::not_started(&name, None, reason));
        }
    };
    // Only the command and its parents in the jail hold what the client has given.
    drop((given, arrival));
    let watch = watcher.as_mut().map(|watcher| watcher as &mut dyn PolicyWatch);
    let (_, left) = running.wait(config.timeout, watch, &open_log);
    left.iter()
        .for_each(|left| logging::warn(left, Some("the next jail of the pool removes it")));
    Ok(())
}

/// Tells the client why there is no command. The jail is thrown away all the same.
fn refuse(connection: OwnedFd, failure: Failure) -> Result<(), Failure> {
    if let Ok(line) = channel::over::<ToClient, ToJail>(connection) {
        // A client that is gone needs no reason.
        let _ = line.send(&ToClient::Failed(failure));
    }
    Ok(())
}

/// Waits for the client's first message.
fn ordered(connection: &OwnedFd) -> Result<(ClientLine, Box<Order>, Vec<OwnedFd>), Failure> {
    let failed = |error| Failure::new(format!("the client did not say what to run: {error}"));
    let line: ClientLine = channel::over(connection.try_clone().map_err(failed)?).map_err(failed)?;
    match line.receive_with_within(ORDER_LIMIT).map_err(failed)? {
        (ToJail::Start(order), descriptors) if order.version == env!("CARGO_PKG_VERSION") => {
            Ok((line, order, descriptors))
        }
        (ToJail::Start(order), _) => Err(Failure {
            hint: Some("start the pool again".into()),
            ..Failure::new(format!(
                "the pool is of httpjail {}, not {}",
                env!("CARGO_PKG_VERSION"),
                order.version.escape_debug()
            ))
        }),
        (other, _) => Err(Failure::new(format!("unexpected message of a client: {other:?}"))),
    }
}

/// Whom the command runs as.
struct Caller {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    /// The user's home, in place of what the variables say.
    instead: Option<UserIdentity>,
}

impl Caller {
    /// The client itself; for root, whom the jail was made for. The pool has seen already that the client may have a jail, and
    /// this process does not rely on that.
    fn of(arrival: &Arrival, config: &Config, owner: &UserIdentity, jailed: u32) -> Result<Caller, Failure> {
        let changes = rights::may_change_user();
        if arrival.uid == jailed {
            let caller = Caller {
                uid: arrival.uid,
                gid: arrival.gid,
                groups: arrival.groups.clone(),
                instead: None,
            };
            return if changes || caller.is_like_us() {
                Ok(caller)
            } else {
                Err(Failure {
                    hint: Some("start the pool from where it is used".into()),
                    ..Failure::new("the pool was started with other groups, and only root can change them")
                })
            };
        }
        if arrival.uid != 0 || !changes {
            return Err(Failure::new("this jail is another user's"));
        }
        let user = match &config.user {
            Some(name) => UserIdentity::named(name).map_err(|error| Failure::new(error.to_string()))?,
            None => owner.clone(),
        };
        Ok(Caller {
            uid: user.uid.as_raw(),
            gid: user.gid.as_raw(),
            groups: user.groups.iter().map(|group| group.as_raw()).collect(),
            instead: Some(UserIdentity { switched: true, ..user }),
        })
    }

    /// Whether it has the groups of this process, which cannot be changed.
    fn is_like_us(&self) -> bool {
        let sorted = |mut groups: Vec<u32>| {
            groups.sort_unstable();
            groups.dedup();
            groups
        };
        let own = getgroups().map(|groups| groups.iter().map(|group| group.as_raw()).collect());
        self.gid == getgid().as_raw() && own.is_ok_and(|own| sorted(own) == sorted(self.groups.clone()))
    }
}

/// Looks at what came, and makes the command of it.
fn take(
    order: &Order,
    descriptors: Vec<OwnedFd>,
    caller: &Caller,
    run: &RunContext,
) -> Result<(Taken, Given, String), Failure> {
    let missing = || Failure::new("a part of the command is missing");
    let failed = |error| Failure::new(format!("cannot take the command: {error}"));
    let mut descriptors = descriptors.into_iter();
    let mut words = words::read(descriptors.next().ok_or_else(missing)?).map_err(failed)?;
    let directory = match order.directory {
        true => place(&descriptors.next().ok_or_else(missing)?),
        false => None,
    };
    let mut next = || descriptors.next().ok_or_else(missing);
    let standard = [next()?, next()?, next()?];
    let [input, output, error] = &standard;
    stdio::check([input.as_fd(), output.as_fd(), error.as_fd()]).map_err(|error| Failure::new(error.to_string()))?;
    let pipes: Vec<OwnedFd> = descriptors.collect();
    let numbers = &order.surroundings.pipes;
    if numbers.len() != pipes.len() || !numbers.iter().all(|number| (3..=PIPE_MAX).contains(number)) {
        return Err(missing());
    }
    if !pipes.iter().all(|pipe| stdio::is_pipe(pipe.as_raw_fd())) {
        return Err(Failure::new("only pipes are passed into a jail"));
    }
    if order.arguments == 0 || order.arguments > words.len() {
        return Err(missing());
    }
    let variables = words.split_off(order.arguments);
    let name = words[0].to_string_lossy().escape_debug().to_string();
    let env = variables_of(variables, caller, run)?;
    let home = env
        .iter()
        .find(|(name, _)| name == "HOME")
        .map(|(_, home)| PathBuf::from(home));
    let home = home.filter(|home| home.is_absolute()).unwrap_or_else(|| "/".into());
    let (path, directory) = directory.unzip();
    let first = [home.into_os_string(), path.unwrap_or_default().into_os_string()];
    let env: Vec<OsString> = env
        .into_iter()
        .map(|(name, value)| [name.as_os_str(), OsStr::new("="), &value].into_iter().collect())
        .collect();
    let all = first.iter().chain(&words).chain(&env).map(OsString::as_os_str);
    let taken = Taken {
        uid: caller.uid,
        gid: caller.gid,
        groups: caller.groups.clone(),
        changes_user: rights::may_change_user(),
        arguments: order.arguments,
        directory,
        surroundings: order.surroundings.clone(),
    };
    let given = Given {
        words: words::keep(all).map_err(failed)?,
        standard,
        pipes,
    };
    Ok((taken, given, name))
}

fn variables_of(
    variables: Vec<OsString>,
    caller: &Caller,
    run: &RunContext,
) -> Result<Vec<(OsString, OsString)>, Failure> {
    let own = variables.iter().filter_map(|word| {
        let bytes = word.as_bytes();
        // A name may begin with the sign, as std has it.
        let at = 1 + bytes.get(1..)?.iter().position(|byte| *byte == b'=')?;
        let part = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
        Some((part(&bytes[..at]), part(&bytes[at + 1..])))
    });
    let unchanged = UserIdentity {
        switched: false,
        ..run.caller.identity.clone()
    };
    let identity = caller.instead.as_ref().unwrap_or(&unchanged);
    let trust = jail_plan::trust_variables(&jail_plan::place(&run.caller.identity)?);
    let sockets = !run.config.allow_sockets.is_empty();
    Ok(environment::build(own, identity, trust, sockets))
}

/// Where the working directory is, as this process sees it, and which it is; none if it has no path any more.
fn place(directory: &OwnedFd) -> Option<(PathBuf, (u64, u64))> {
    let found = fstat(directory).ok().filter(|found| found.st_nlink > 0)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()?;
    Some((path, (found.st_dev, found.st_ino)))
}
