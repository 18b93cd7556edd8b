//! Parkers: where threads sleep, and how long it takes to wake them.
//!
//! Owns the place where a thread parks, one for each thread, and the time at which the thread was called. To
//! measure a wake-up costs little: the caller reads the clock only if it finds the thread parked, and the
//! thread only if it was called while parked. Both make a system call then in any case.

use std::time::{Duration, Instant};

use crate::spin;
use crate::sync::thread::{self, Thread, ThreadId};
use crate::sync::{
    Arc, OnceLock, Ordering,
    statics::{AtomicBool, AtomicU64},
    thread_local,
};
use crate::sys::Bed;

/// The place where one thread sleeps.
#[derive(Debug)]
pub(crate) struct Parker {
    thread: Thread,
    /// Whether the thread is parked, or about to be. A hint.
    parked: AtomicBool,
    called: Stamp,
    /// Whether the thread wants to know of signal handlers that run while it sleeps. It sleeps in `bed` then.
    /// Who calls it knows of that, since the thread sets this before it shows anybody where to call it.
    is_interruptible: AtomicBool,
    /// Whether a handler has run since then. Only the thread itself uses this.
    interrupted: AtomicBool,
    bed: Bed,
    /// What the thread is in a simulation.
    #[cfg(feature = "testing")]
    participant: Option<crate::time::stage::Participant>,
}

/// When a sleeper was called, to measure how long the wake-up takes. Zero: it was not called.
#[derive(Debug, Default)]
pub(crate) struct Stamp(AtomicU64);

impl Stamp {
    /// Notes the time. Comes right before the call.
    pub(crate) fn note(&self) {
        self.0.store(clock(), Ordering::Relaxed);
    }

    /// Measures the wake-up, if there was a call. For the sleeper, as soon as it runs.
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

/// The nanoseconds since the first call, at least 1.
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
        Arc::new(Self {
            thread: thread::current(),
            parked,
            called,
            is_interruptible: AtomicBool::new(false),
            interrupted: AtomicBool::new(false),
            bed: Bed::new(),
            #[cfg(feature = "testing")]
            participant: crate::time::stage::Participant::own(),
        })
    }

    /// The parker of the calling thread.
    pub(crate) fn own() -> Arc<Self> {
        // A destructor that runs while the thread ends may wait, and finds no thread-local value.
        OWN.try_with(Arc::clone).unwrap_or_else(|_| Self::new())
    }

    pub(crate) fn id(&self) -> ThreadId {
        self.thread.id()
    }

    /// Sleeps until called, for `most` at most. Does not sleep if it was called before. Only the thread that
    /// owns the parker may call this.
    pub(crate) fn park(&self, most: Option<Duration>) {
        #[cfg(feature = "testing")]
        if let Some(participant) = &self.participant {
            let until = most.and_then(|most| crate::time::now().checked_add(most));
            return participant.wait(until, None);
        }
        self.called.forget();
        self.parked.store(true, Ordering::Relaxed);
        match most {
            _ if self.is_interruptible.load(Ordering::Relaxed) => {
                if self.bed.sleep(most) {
                    self.note_interrupt();
                }
            }
            None => thread::park(),
            Some(most) => thread::park_timeout(most),
        }
        self.parked.store(false, Ordering::Relaxed);
        self.called.learn();
    }

    /// As [`park`](Self::park), in a thread whose timers are sharp. If the time runs out, measures by how much
    /// the sleep was late: a wake-up takes as long.
    pub(crate) fn nap(&self, most: Duration) {
        let begin = Instant::now();
        self.park(Some(most));
        if let Some(late) = begin.elapsed().checked_sub(most) {
            spin::woken_after(late);
        }
    }

    /// Wakes the thread, or makes its next sleep end at once.
    pub(crate) fn unpark(&self) {
        #[cfg(feature = "testing")]
        if let Some(participant) = &self.participant {
            return participant.wake();
        }
        if self.parked.load(Ordering::Relaxed) {
            self.called.note();
        }
        self.thread.unpark();
        if self.is_interruptible.load(Ordering::Relaxed) {
            self.bed.call();
        }
    }

    /// Notes that a signal handler has run while the thread slept, here or in the poll of an event loop.
    pub(crate) fn note_interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }
}

/// The time in which the calling thread wants to know of signal handlers that end its sleep.
#[derive(Debug)]
pub(crate) struct Interruptible {
    parker: Arc<Parker>,
    /// Whether it wanted to before: a call may wait within another.
    before: bool,
}

impl Interruptible {
    pub(crate) fn begin() -> Self {
        let parker = Parker::own();
        let before = parker.is_interruptible.swap(true, Ordering::Relaxed);
        parker.interrupted.store(false, Ordering::Relaxed);
        Self { parker, before }
    }

    /// Whether a handler has ended a sleep since this began.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.parker.interrupted.load(Ordering::Relaxed)
    }
}

impl Drop for Interruptible {
    fn drop(&mut self) {
        self.parker.is_interruptible.store(self.before, Ordering::Relaxed);
    }
}
