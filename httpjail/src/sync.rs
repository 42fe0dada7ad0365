//! Locks a mutex, also after a thread has panicked while it held it.
//!
//! Poisoning protects a reader from data that a panic has left half-changed. The code under httpjail's locks makes each change
//! in one step that cannot panic half-way, so a poisoned lock is usable, and one failed task does not stop all others.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks `mutex`, whether it is poisoned or not.
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
