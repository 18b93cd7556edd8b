//! The only door to `std::sync`, or to loom when the crate is built with `--cfg loom`.
//!
//! Owns the choice, and one habit: a lock whose holder panicked is taken over, not poisoned. What
//! our locks guard is put right before any foreign code can run, so there is nothing to distrust.
//! `Arc` is always std's: counting references is not what most models are about. Where a count
//! decides who may write, it is a [`Counted`].

use std::time::Duration;

// Std's in models too: loom has no `OnceLock` and no bounded channel, and no model is about one.
pub(crate) use std::sync::{Arc, OnceLock, Weak, mpsc};

/// Atomics for statics: std's in models too, since loom's cannot be made in a constant.
pub(crate) mod statics {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64};
}

#[cfg(not(loom))]
pub(crate) use crossbeam_utils::Backoff;
#[cfg(not(loom))]
pub(crate) use std::sync::Arc as Counted;
#[cfg(not(loom))]
use std::sync::Condvar as InnerCondvar;
#[cfg(not(loom))]
use std::sync::Mutex as Inner;
#[cfg(not(loom))]
pub(crate) use std::sync::{
    MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
};

#[cfg(loom)]
pub(crate) use loom::cell::{MutPtr, UnsafeCell};
#[cfg(loom)]
pub(crate) use loom::sync::Arc as Counted;
#[cfg(loom)]
use loom::sync::Condvar as InnerCondvar;
#[cfg(loom)]
use loom::sync::Mutex as Inner;
#[cfg(loom)]
pub(crate) use loom::sync::{
    MutexGuard,
    atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU64, AtomicUsize, Ordering, fence},
};

/// A place that loom watches: std's, with loom's way to borrow.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// The place, for as long as the pointer lives: loom reports who else looks meanwhile.
    pub(crate) fn get_mut(&self) -> MutPtr<T> {
        MutPtr(self.0.get())
    }
}

/// Where an [`UnsafeCell`] has its value.
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct MutPtr<T>(*mut T);

#[cfg(not(loom))]
impl<T> MutPtr<T> {
    pub(crate) fn with<R>(&self, look: impl FnOnce(*mut T) -> R) -> R {
        look(self.0)
    }
}

/// Waits a moment; loom lets the others run.
#[cfg(loom)]
pub(crate) struct Backoff;

#[cfg(loom)]
impl Backoff {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn snooze(&self) {
        loom::thread::yield_now();
    }
}

/// A mutex that is not poisoned by a panic.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Inner::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// The guard, unless somebody else holds the lock.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(std::sync::TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(std::sync::TryLockError::WouldBlock) => None,
        }
    }
}

/// A condition of what a [`Mutex`] guards.
#[derive(Debug, Default)]
pub(crate) struct Condvar(InnerCondvar);

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Waits until it is notified, or for nothing.
    pub(crate) fn wait<'g, T>(&self, guard: MutexGuard<'g, T>) -> MutexGuard<'g, T> {
        self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// As `wait`, but no longer than `most`; also says whether that is over.
    pub(crate) fn wait_timeout<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        most: Duration,
    ) -> (MutexGuard<'g, T>, bool) {
        let woken = self.0.wait_timeout(guard, most);
        let (guard, outcome) = woken.unwrap_or_else(|poisoned| poisoned.into_inner());
        (guard, outcome.timed_out())
    }

    pub(crate) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}
