//! A list that servers append to and tests read.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared, append-only.
#[derive(Debug)]
pub struct Log<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for Log<T> {
    fn clone(&self) -> Self {
        Log(Arc::clone(&self.0))
    }
}

impl<T> Default for Log<T> {
    fn default() -> Self {
        Log(Arc::default())
    }
}

impl<T: Clone> Log<T> {
    /// All entries so far.
    pub fn all(&self) -> Vec<T> {
        self.lock().clone()
    }

    /// The entries that satisfy `test`.
    pub fn filter(&self, test: impl Fn(&T) -> bool) -> Vec<T> {
        self.lock().iter().filter(|entry| test(entry)).cloned().collect()
    }

    /// Appends, and tells where.
    pub(crate) fn push(&self, entry: T) -> usize {
        let mut list = self.lock();
        list.push(entry);
        list.len() - 1
    }

    /// Adds to an entry what became known later.
    pub(crate) fn change(&self, index: usize, change: impl FnOnce(&mut T)) {
        if let Some(entry) = self.lock().get_mut(index) {
            change(entry);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
