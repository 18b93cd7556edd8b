//! Synchronization: all other code takes it from here, and threads too. It is `std`, or loom with `--cfg loom`, or
//! shuttle with `--cfg shuttle`.
//!
//! Owns that choice, and two rules. Each lock has a [`Rank`], which says in what order locks are taken. And a
//! lock whose holder panicked is not poisoned: our code puts right what a lock guards before it runs any
//! foreign code, so the state is sound. `Arc` is always std's, because most models are not about counting
//! references. Where a count decides who may write, it is a [`Counted`]. `AtomicU64` is that of
//! `portable-atomic`, which takes a lock, on systems without such instructions: MIPS and older ARM.

mod order;
#[cfg(shuttle)]
mod scheduled;

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use order::{HeldLock, Order};

pub(crate) use order::Rank;

pub(crate) use std::sync::{Arc, Weak};

// These are std's in models too: loom has no `OnceLock` and no bounded channel, and no model is about one. Its models
// start threads of its own.
#[cfg(not(shuttle))]
pub(crate) use std::sync::{OnceLock, mpsc};
#[cfg(not(shuttle))]
pub(crate) use std::{thread, thread_local};

/// Atomics for statics: std's in models too, since loom's cannot be made in a constant, and shuttle's must not outlive
/// a schedule.
pub(crate) mod statics {
    #[cfg(not(target_has_atomic = "64"))]
    pub(crate) use portable_atomic::AtomicU64;
    #[cfg(target_has_atomic = "64")]
    pub(crate) use std::sync::atomic::AtomicU64;
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32};
}

#[cfg(not(any(loom, shuttle)))]
pub(crate) use crossbeam_utils::Backoff;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use statics::AtomicU64;
#[cfg(not(loom))]
pub(crate) use std::sync::Arc as Counted;
#[cfg(not(any(loom, shuttle)))]
use std::sync::Condvar as InnerCondvar;
#[cfg(not(any(loom, shuttle)))]
use std::sync::Mutex as Inner;
#[cfg(not(any(loom, shuttle)))]
use std::sync::MutexGuard as InnerGuard;
#[cfg(not(any(loom, shuttle)))]
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize, Ordering, fence,
};

#[cfg(shuttle)]
use scheduled::Condvar as InnerCondvar;
#[cfg(shuttle)]
pub(crate) use scheduled::{Doze, OnceLock, clock, mpsc, thread};
#[cfg(shuttle)]
use shuttle::sync::{Mutex as Inner, MutexGuard as InnerGuard};
#[cfg(shuttle)]
pub(crate) use shuttle::{
    sync::atomic::{
        AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
    },
    thread_local,
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
use loom::sync::MutexGuard as InnerGuard;
#[cfg(loom)]
pub(crate) use loom::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence,
};

/// How to explore a model that has too many interleavings: only those with at most so many preemptions of threads, or as
/// many as `SINEW_PREEMPTIONS` says, if that is more.
#[cfg(all(test, loom))]
pub(crate) fn bounded(preemptions: usize) -> loom::model::Builder {
    let wanted = std::env::var("SINEW_PREEMPTIONS")
        .map_or(0, |number| number.parse().expect("SINEW_PREEMPTIONS is a number"));
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions.max(wanted));
    model
}

/// A cell whose accesses loom checks. Outside of models it is std's, with loom's way to borrow.
#[cfg(not(loom))]
#[derive(Debug, Default)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(loom))]
impl<T> UnsafeCell<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    /// Borrows the value for as long as the pointer lives. Loom reports any other access meanwhile.
    pub(crate) fn get_mut(&self) -> MutPtr<T> {
        MutPtr(self.0.get())
    }
}

/// A pointer to the value of an [`UnsafeCell`].
#[cfg(not(loom))]
#[derive(Debug)]
pub(crate) struct MutPtr<T>(*mut T);

#[cfg(not(loom))]
impl<T> MutPtr<T> {
    pub(crate) fn with<R>(&self, access: impl FnOnce(*mut T) -> R) -> R {
        access(self.0)
    }
}

/// Waits a moment. In a model, lets other threads run.
#[cfg(any(loom, shuttle))]
pub(crate) struct Backoff;

#[cfg(any(loom, shuttle))]
impl Backoff {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn snooze(&self) {
        #[cfg(loom)]
        loom::thread::yield_now();
        #[cfg(shuttle)]
        thread::yield_now();
    }
}

/// A mutex that is not poisoned by a panic.
#[derive(Debug)]
pub(crate) struct Mutex<T> {
    order: Order,
    inner: Inner<T>,
}

impl<T> Mutex<T> {
    pub(crate) fn new(rank: Rank, value: T) -> Self {
        Self { order: Order::of(rank), inner: Inner::new(value) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.order.check();
        let guard = self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        MutexGuard { guard, held: self.order.hold() }
    }

    /// Locks, unless another thread holds the lock.
    pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        let guard = match self.inner.try_lock() {
            Ok(guard) => guard,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(MutexGuard { guard, held: self.order.hold() })
    }
}

/// The guard of a [`Mutex`].
#[derive(Debug)]
pub(crate) struct MutexGuard<'m, T> {
    guard: InnerGuard<'m, T>,
    held: HeldLock,
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// A condition variable for a [`Mutex`].
#[derive(Debug, Default)]
pub(crate) struct Condvar {
    inner: InnerCondvar,
    /// How often it was notified, for threads of simulations.
    #[cfg(feature = "testing")]
    notified: Arc<AtomicU64>,
}

impl Condvar {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How often it was notified: what a thread of a simulation watches in place of waiting.
    #[cfg(feature = "testing")]
    pub(crate) fn notified(&self) -> &Arc<AtomicU64> {
        &self.notified
    }

    fn count_notification(&self) {
        #[cfg(feature = "testing")]
        self.notified.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits until notified, or until a spurious wake-up.
    pub(crate) fn wait<'g, T>(&self, guard: MutexGuard<'g, T>) -> MutexGuard<'g, T> {
        let MutexGuard { guard, held } = guard;
        let guard = self.inner.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        MutexGuard { guard, held }
    }

    /// As `wait`, but for at most `most`. Also says whether that time is over.
    pub(crate) fn wait_timeout<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        most: Duration,
    ) -> (MutexGuard<'g, T>, bool) {
        let MutexGuard { guard, held } = guard;
        let woken = self.inner.wait_timeout(guard, most);
        let (guard, outcome) = woken.unwrap_or_else(|poisoned| poisoned.into_inner());
        (MutexGuard { guard, held }, outcome.timed_out())
    }

    pub(crate) fn notify_one(&self) {
        self.count_notification();
        self.inner.notify_one();
    }

    pub(crate) fn notify_all(&self) {
        self.count_notification();
        self.inner.notify_all();
    }
}
