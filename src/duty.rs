//! Duties: what threads that change a socket still owe to those who wait at it.
//!
//! Owns a check for wake-ups that were lost, in the tests of this crate and with `--cfg sinew_overslept`, as in
//! `ci/lock-order`. There each thread shows what it has begun: a duty is open from before a change can be seen until
//! those who wait for it were woken, and a call that was woken counts as called until it has attempted again. A call
//! whose time is over, and that finds what it has waited for while nobody has a duty and nobody was called, would
//! never have been woken: it panics. The clock decides nothing, so a wake-up may come as late as it likes. Other builds
//! contain nothing of this.

#[cfg(all(any(test, sinew_overslept), not(loom)))]
pub(crate) use checked::{Called, Duties};
#[cfg(not(all(any(test, sinew_overslept), not(loom))))]
pub(crate) use unchecked::{Called, Duties};

#[cfg(all(any(test, sinew_overslept), not(loom)))]
mod checked {
    use std::collections::BTreeSet;

    use crate::sync::{AtomicBool, AtomicUsize, Ordering};

    /// The duties at one socket.
    #[derive(Debug)]
    pub(crate) struct Duties {
        open: AtomicUsize,
        /// Whether a thread may have put off an entry that it owes, which no duty shows.
        is_vague: AtomicBool,
        /// Whether the next call that the bell would wake is not woken: a fault, for a test.
        loses_wake: AtomicBool,
    }

    /// A duty, until this is dropped.
    #[derive(Debug)]
    pub(crate) struct Duty<'d>(&'d Duties);

    impl Drop for Duty<'_> {
        fn drop(&mut self) {
            self.0.open.fetch_sub(1, Ordering::SeqCst);
        }
    }

    impl Duties {
        pub(crate) fn new() -> Self {
            let [is_vague, loses_wake] = [false; 2].map(AtomicBool::new);
            Self { open: AtomicUsize::new(0), is_vague, loses_wake }
        }

        /// Begins a duty: before the change can be seen.
        pub(crate) fn begin(&self) -> Duty<'_> {
            self.open.fetch_add(1, Ordering::SeqCst);
            Duty(self)
        }

        /// Notes that the thread may put off an entry. Checks nothing at this socket from now on.
        pub(crate) fn put_off(&self) {
            self.is_vague.store(true, Ordering::SeqCst);
        }

        /// Whether nobody but the caller, which has a duty, has one.
        pub(crate) fn are_done(&self) -> bool {
            self.open.load(Ordering::SeqCst) == 1 && !self.is_vague.load(Ordering::SeqCst)
        }

        /// Has the bell lose its next wake-up.
        #[cfg(test)]
        pub(crate) fn lose_next_wake(&self) {
            self.loses_wake.store(true, Ordering::SeqCst);
        }

        /// Whether this wake-up is to be lost.
        pub(crate) fn lose_wake(&self) -> bool {
            self.loses_wake.swap(false, Ordering::SeqCst)
        }
    }

    /// The waiters that were woken and have not attempted again, each an `I`. Guarded by the lock of the waiters.
    #[derive(Debug)]
    pub(crate) struct Called<I>(BTreeSet<I>);

    impl<I: Ord> Called<I> {
        pub(crate) fn new() -> Self {
            Self(BTreeSet::new())
        }

        pub(crate) fn note(&mut self, waiter: I) {
            self.0.insert(waiter);
        }

        pub(crate) fn note_attempt(&mut self, waiter: &I) {
            self.0.remove(waiter);
        }

        pub(crate) fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
    }
}

#[cfg(not(all(any(test, sinew_overslept), not(loom))))]
mod unchecked {
    use std::marker::PhantomData;

    #[derive(Debug)]
    pub(crate) struct Duties;

    #[derive(Debug)]
    pub(crate) struct Duty;

    impl Duties {
        pub(crate) fn new() -> Self {
            Self
        }

        #[inline(always)]
        pub(crate) fn begin(&self) -> Duty {
            Duty
        }

        #[inline(always)]
        pub(crate) fn put_off(&self) {}

        #[inline(always)]
        pub(crate) fn lose_wake(&self) -> bool {
            false
        }
    }

    #[derive(Debug)]
    pub(crate) struct Called<I>(PhantomData<I>);

    impl<I> Called<I> {
        pub(crate) fn new() -> Self {
            Self(PhantomData)
        }

        #[inline(always)]
        pub(crate) fn note(&mut self, _: I) {}
    }
}
