//! The system: what is asked of it directly.
//!
//! Owns the number of times that this process and its ancestors were made by `fork`. A child has a copy
//! of all memory, and of all descriptors, but none of the threads: locks that these held are held for
//! ever, and what it does to a descriptor it may do to its parent. So what was made before a fork must be
//! known again by those who use it afterwards, without a system call: an [`Origin`] tells. What the child
//! is to have of its own is [`PerProcess`].
//!
//! A child that was made by `clone` or `vfork` without the handlers of the C library is not noticed.

#![allow(unsafe_code)]

use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, Ordering};

/// How often it was forked on the way from the first process to this one, since sinew was first used.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Runs in a child, in its only thread, before `fork` returns there.
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Sees to it that forks are counted from now on.
fn count_forks() {
    static COUNTED: AtomicBool = AtomicBool::new(false);
    // Two threads may both register: then a fork counts twice, which is as good. A lock would not be: a
    // child could be left with it.
    if !COUNTED.load(Ordering::Acquire) {
        // SAFETY: the handler is a function of this program, and does nothing but to count.
        let outcome = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        match outcome {
            0 => COUNTED.store(true, Ordering::Release),
            error => crate::contain::log!(
                Warn,
                "forks will not be noticed: {}",
                std::io::Error::from_raw_os_error(error)
            ),
        }
    }
}

/// In which process something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(u32);

impl Origin {
    pub(crate) fn now() -> Self {
        count_forks();
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether it was made before a fork, and belongs to an ancestor of this process.
    #[inline]
    pub(crate) fn is_ancestral(self) -> bool {
        // Relaxed: a child begins with one thread, which has counted.
        self.0 != GENERATION.load(Ordering::Relaxed)
    }
}

/// A value for a static, made anew in a child. Whoever needs it takes no lock that a fork could leave
/// behind. What was there before is let go for good: others may have been at work on it.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Born<T>>,
    make: fn() -> T,
}

struct Born<T> {
    origin: Origin,
    value: T,
}

impl<T: Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &'static T {
        let seen = self.current.load(Ordering::Acquire);
        // SAFETY: what is not null was stored below, and is never freed.
        match unsafe { seen.as_ref() } {
            Some(born) if !born.origin.is_ancestral() => &born.value,
            _ => self.renew(seen),
        }
    }

    #[cold]
    fn renew(&self, seen: *mut Born<T>) -> &'static T {
        let new = Box::into_raw(Box::new(Born { origin: Origin::now(), value: (self.make)() }));
        let stored = self.current.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire);
        let current = match stored {
            Ok(_) => new,
            Err(others) => {
                // SAFETY: it was made of a box above, and nobody else has seen it.
                drop(unsafe { Box::from_raw(new) });
                others
            }
        };
        // SAFETY: it is stored, and so never freed, by us or by who was faster: another thread of this
        // process, since a child begins with one.
        unsafe { &(*current).value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_per_process_is_made_once_however_many_threads_ask() {
        static VALUE: PerProcess<std::sync::Mutex<u32>> = PerProcess::new(Default::default);
        let places = std::thread::scope(|scope| {
            let asked = [(); 4].map(|()| scope.spawn(|| ptr::from_ref(VALUE.get()).addr()));
            asked.map(|thread| thread.join().unwrap())
        });
        assert!(places.iter().all(|&place| place == places[0]));
    }
}
