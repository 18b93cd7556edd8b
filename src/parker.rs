//! Parkers: where threads of ours sleep, and how long it takes to wake them.
//!
//! Owns the place in which a thread parks, of which each thread has one, and the time at which it was called.
//! Only who finds the thread parked looks at the clock, and only a thread that was: both are at a system call
//! then in any case.

use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use crate::spin;
use crate::sync::{
    Arc, OnceLock, Ordering,
    statics::{AtomicBool, AtomicU64},
};

/// The place in which one thread sleeps.
#[derive(Debug)]
pub(crate) struct Parker {
    thread: Thread,
    /// It is parked, or about to be. A hint.
    parked: AtomicBool,
    called: Stamp,
}

/// When somebody was called who slept, to learn how long it took.
#[derive(Debug, Default)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    /// Notes the time. The sleeper is called right after this.
    pub(crate) fn note(&self) {
        self.0.store(clock(), Ordering::Relaxed);
    }

    /// Learns from a call. For the sleeper, as soon as it runs.
    pub(crate) fn learn(&self) {
        if self.0.load(Ordering::Relaxed) != 0 {
            let called = self.0.swap(0, Ordering::Relaxed);
            spin::woken_after(Duration::from_nanos(clock().saturating_sub(called)));
        }
    }

    /// Forgets a call that came before the sleeper slept.
    pub(crate) fn forget(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Nanoseconds since the clock was first asked, and never none.
fn clock() -> u64 {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let since = BEGIN.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX).max(1)
}

thread_local! {
    static OWN: Arc<Parker> = Parker::new();
}

impl Parker {
    fn new() -> Arc<Self> {
        let (parked, called) = (AtomicBool::new(false), Stamp::default());
        Arc::new(Self { thread: thread::current(), parked, called })
    }

    /// That of the calling thread.
    pub(crate) fn own() -> Arc<Self> {
        // A destructor that runs while the thread ends may wait, too.
        OWN.try_with(Arc::clone).unwrap_or_else(|_| Self::new())
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.thread.id()
    }

    /// Sleeps until called, at most for so long; or not at all, if called before. Only in the thread whose
    /// place it is.
    pub(crate) fn park(&self, most: Option<Duration>) {
        self.called.forget();
        self.parked.store(true, Ordering::Relaxed);
        match most {
            None => thread::park(),
            Some(most) => thread::park_timeout(most),
        }
        self.parked.store(false, Ordering::Relaxed);
        self.called.learn();
    }

    /// As [`park`](Self::park), in a thread whose timers are sharp: a sleep that ends by itself ends as late as
    /// one that is called for.
    pub(crate) fn nap(&self, most: Duration) {
        let begin = Instant::now();
        self.park(Some(most));
        if let Some(late) = begin.elapsed().checked_sub(most) {
            spin::woken_after(late);
        }
    }

    /// Wakes the thread, or has its next sleep end at once.
    pub(crate) fn unpark(&self) {
        if self.parked.load(Ordering::Relaxed) {
            self.called.note();
        }
        self.thread.unpark();
    }
}
