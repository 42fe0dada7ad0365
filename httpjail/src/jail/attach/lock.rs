//! The two locks that attaching takes: one for a cgroup, and one for all pins.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::failure::Failure;
use crate::jail::sandbox::run_dir::{RUN_DIR, make_run_dir};

/// How long another httpjail may hold the lock. It pins a dozen programs meanwhile.
const LOCK_LIMIT: Duration = Duration::from_secs(20);

const LOCK_TICK: Duration = Duration::from_millis(10);

/// Takes the lock to make or remove pins, so that two httpjails do not mount and unmount at once. `tell` is called if it
/// must wait.
///
/// # Errors
/// When there is no directory to lock, or another process holds the lock for too long.
pub(super) fn lock_pins(tell: &dyn Fn(&str)) -> Result<File, Failure> {
    // The directory itself is locked, so that no lock file stays.
    let opened = make_run_dir().and_then(|()| File::open(RUN_DIR));
    let opened = opened.map_err(|error| Failure {
        hint: (error.kind() == io::ErrorKind::PermissionDenied).then(|| "run httpjail with sudo".into()),
        ..Failure::new(format!("cannot open {RUN_DIR}: {error}"))
    })?;
    hold(opened, Path::new(RUN_DIR), tell)
}

/// Locks `opened`, which is at `path`. `tell` is called if it must wait.
pub(super) fn hold(opened: File, path: &Path, tell: &dyn Fn(&str)) -> Result<File, Failure> {
    let failed = |error: &dyn std::fmt::Display| format!("cannot lock {}: {error}", path.display());
    // The holder has a few calls to make, unless it is stopped, or is another program than httpjail.
    let late = Instant::now() + LOCK_LIMIT;
    let mut told = false;
    loop {
        match opened.try_lock() {
            Ok(()) => return Ok(opened),
            Err(TryLockError::WouldBlock) if Instant::now() < late => {
                if !std::mem::replace(&mut told, true) {
                    tell(&format!(
                        "waiting for another httpjail that attaches or detaches ({})",
                        path.display()
                    ));
                }
                sleep(LOCK_TICK);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(Failure {
                    hint: Some(format!(
                        "another httpjail holds this lock: `fuser {}` names its process",
                        path.display()
                    )),
                    ..Failure::new(failed(&"timed out"))
                });
            }
            Err(TryLockError::Error(error)) => return Err(Failure::new(failed(&error))),
        }
    }
}
