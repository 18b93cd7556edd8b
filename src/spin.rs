//! Spinning: checking again for a moment before going to sleep.
//!
//! A wake-up takes from 3 to 50 us, depending on the machine and on what its cores are doing; a thread that
//! spins gets its answer without one. But spinning does harm if the thread that is to answer needs our core,
//! and it wastes the core if no answer comes. Owns three decisions: whether spinning pays (`account.rs`), how
//! long a wake-up takes in this process (threads that sleep measure it), and how many threads may spin at once:
//! at most half as many as there are processors, and none if there is only one.

mod account;

use std::time::{Duration, Instant};

use account::{Account, Terms};

use crate::sync::statics::AtomicU64;
use crate::sync::{Mutex, Ordering, Rank, thread};
use crate::sys::PerProcess;
use crate::time;

/// Look this many times between two readings of the clock, if a look is no system call.
const LOOKS: usize = 16;
/// Spin for this long while other threads have all the permits: one of them may be about to give its permit
/// back.
const GRACE: Duration = Duration::from_micros(2);

/// Decides when the waits of one socket, or of one event loop, spin before they sleep.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How long the program wants them to spin, in nanoseconds; [`ADAPTIVE`]: as long as it pays.
    wanted: AtomicU64,
    account: Mutex<Account>,
}

/// Stands for: the program has not said how long to spin.
const ADAPTIVE: u64 = u64::MAX;

/// The outcome of a spin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spun {
    /// Whether it took less than a sleep would have cost.
    pub(crate) paid: bool,
    pub(crate) time: Duration,
}

impl Spin {
    pub(crate) fn new(wanted: Option<Duration>) -> Self {
        let account = Mutex::new(Rank::Account, Account::default());
        let spin = Self { wanted: AtomicU64::new(ADAPTIVE), account };
        spin.set(wanted);
        spin
    }

    pub(crate) fn set(&self, wanted: Option<Duration>) {
        let wanted =
            wanted.map_or(ADAPTIVE, |time| u64::try_from(time.as_nanos()).unwrap_or(ADAPTIVE));
        self.wanted.store(wanted, Ordering::Relaxed);
    }

    /// Whether the waits may spin at all.
    pub(crate) fn is_on(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Begins a wait.
    pub(crate) fn begin(&self) -> Wait<'_> {
        Wait { spin: self, begin: time::now(), terms: self.terms(), is_tried: false, spins: false }
    }

    /// The terms on which a wait may spin; `None`: it may not.
    fn terms(&self) -> Option<Terms> {
        let terms = match self.wanted.load(Ordering::Relaxed) {
            ADAPTIVE => Terms::measured(wake_up()),
            0 => return None,
            wanted => Terms::fixed(Duration::from_nanos(wanted)),
        };
        (MACHINE.get().permits > 0 && !time::is_simulated()).then_some(terms)
    }
}

/// A wait that has begun.
#[derive(Debug)]
pub(crate) struct Wait<'s> {
    spin: &'s Spin,
    begin: Instant,
    terms: Option<Terms>,
    is_tried: bool,
    /// Whether it was told that it may spin.
    spins: bool,
}

impl Wait<'_> {
    /// When it has begun.
    pub(crate) fn since(&self) -> Instant {
        self.begin
    }

    /// Whether to spin now: it pays, and this wait has not claimed it before.
    pub(crate) fn claim_spin(&mut self) -> bool {
        let tried = std::mem::replace(&mut self.is_tried, true);
        if let Some(terms) = self.terms.filter(|_| !tried) {
            self.spins = self.spin.account.lock().has_credit(terms);
            return self.spins;
        }
        false
    }

    /// Calls `look` until it returns `true`, at most until the time given, and books the outcome. Returns
    /// `None`, and books nothing, if the first look finds something, since a thread that sleeps looks once as
    /// well; or if other threads have all the permits.
    pub(crate) fn spin(
        &self,
        until: Option<Instant>,
        mut look: impl FnMut() -> bool,
    ) -> Option<Spun> {
        let terms = self.terms?;
        let begin = Instant::now();
        let left = until.map(|until| until.saturating_duration_since(begin));
        let limit = left.map_or(terms.limit, |left| left.min(terms.limit));
        if limit.is_zero() {
            return None;
        }
        if look() {
            return None;
        }
        let mut permit = None;
        let (found, time) = loop {
            let found = look();
            let time = begin.elapsed();
            if found || time >= limit {
                break (found, time);
            }
            permit = permit.or_else(Permit::take);
            if permit.is_none() && time >= GRACE {
                return None;
            }
        };
        // Before anything else: the next thread to spin may be the one that waits for our answer.
        drop(permit);
        let paid = self.spin.account.lock().spun(time, found, terms);
        Some(Spun { paid, time })
    }

    /// Books a wait in which the thread has slept.
    pub(crate) fn note_sleep(&self) {
        let Some(terms) = self.terms.filter(|_| !self.spins) else { return };
        let time = self.begin.elapsed();
        // No wake-up is this fast: the thread was called before it slept.
        if time >= Duration::from_nanos(LEAST) {
            self.spin.account.lock().slept(time, wake_up(), terms);
        }
    }
}

/// Looks a few times, for a thread that has nothing else to do. Returns whether a look has found something.
pub(crate) fn burst(mut look: impl FnMut() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        std::hint::spin_loop();
        look()
    })
}

/// The state that all waits of a process share.
#[derive(Debug)]
struct Machine {
    /// The number of threads that may spin at once.
    permits: u64,
    /// The number of those that do.
    taken: AtomicU64,
    /// How long a wake-up takes, in nanoseconds.
    wake_up: AtomicU64,
}

static MACHINE: PerProcess<Machine> = PerProcess::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Machine {
        permits: (processors / 2) as u64,
        taken: AtomicU64::new(0),
        wake_up: AtomicU64::new(FIRST_GUESS),
    }
});

/// Assume this until a wake-up was measured.
const FIRST_GUESS: u64 = 20_000;
/// Count a faster wake-up as this. Wake-ups on one core are faster, but an answer comes from another core.
const LEAST: u64 = 5_000;
/// Count a slower wake-up as this: the thread has waited for a core, which says nothing of idle cores.
const MOST: u64 = 50_000;

/// How long a wake-up takes in this process.
fn wake_up() -> Duration {
    Duration::from_nanos(MACHINE.get().wake_up.load(Ordering::Relaxed))
}

/// Notes that a wake-up has taken this long. Of two that are noted at once, one may be lost.
pub(crate) fn woken_after(time: Duration) {
    let time = u64::try_from(time.as_nanos()).unwrap_or(MOST).clamp(LEAST, MOST);
    let mean = &MACHINE.get().wake_up;
    mean.store((mean.load(Ordering::Relaxed) * 7 + time) / 8, Ordering::Relaxed);
}

/// The right to keep a processor busy.
struct Permit(&'static Machine);

impl Permit {
    fn take() -> Option<Self> {
        let machine = MACHINE.get();
        if machine.taken.fetch_add(1, Ordering::Relaxed) < machine.permits {
            return Some(Self(machine));
        }
        machine.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
