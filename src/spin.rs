//! Spinning: looking again for a moment before going to sleep.
//!
//! To be woken takes from 3 to 50 us, by machine and by what its cores are at; an answer that is looked for
//! comes without that. But it is poison where the one that is to answer waits for our core, and a waste where
//! nothing comes. Owns three answers: whether it pays (`account.rs`), how long a wake-up takes in this
//! process, which those who sleep report, and how many may spin at once. A process that may run on one
//! processor never spins, another on half of its processors at most.

mod account;

use std::thread;
use std::time::{Duration, Instant};

use account::{Account, Terms};

use crate::sync::statics::AtomicU64;
use crate::sync::{Mutex, Ordering, Rank};
use crate::sys::PerProcess;

/// How often is looked between two looks at the clock, where a look is no system call.
const LOOKS: usize = 16;
/// For how long one looks on while others have all the places: who had one may just be leaving it.
const GRACE: Duration = Duration::from_micros(2);

/// When the waits of one socket, or of one event loop, look again before they sleep.
#[derive(Debug)]
pub(crate) struct Spin {
    /// How long the program wants it, in nanoseconds; [`ADAPTIVE`]: as long as it pays.
    wanted: AtomicU64,
    account: Mutex<Account>,
}

/// That the program has not said how long to spin.
const ADAPTIVE: u64 = u64::MAX;

/// What a spin has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spun {
    /// It took less than a sleep would have cost.
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

    /// Whether its waits may spin at all.
    pub(crate) fn is_on(&self) -> bool {
        self.wanted.load(Ordering::Relaxed) > 0
    }

    /// Begins a wait.
    pub(crate) fn begin(&self) -> Wait<'_> {
        Wait {
            spin: self,
            begin: Instant::now(),
            terms: self.terms(),
            is_tried: false,
            spins: false,
        }
    }

    /// On what terms a wait may spin; `None`: it may not.
    fn terms(&self) -> Option<Terms> {
        let terms = match self.wanted.load(Ordering::Relaxed) {
            ADAPTIVE => Terms::measured(wake_up()),
            0 => return None,
            wanted => Terms::fixed(Duration::from_nanos(wanted)),
        };
        (MACHINE.get().places > 0).then_some(terms)
    }
}

/// A wait that has begun.
#[derive(Debug)]
pub(crate) struct Wait<'s> {
    spin: &'s Spin,
    begin: Instant,
    terms: Option<Terms>,
    is_tried: bool,
    /// It has been told that it may spin.
    spins: bool,
}

impl Wait<'_> {
    pub(crate) fn begin(&self) -> Instant {
        self.begin
    }

    /// Whether it may spin now: it has not yet, and that pays.
    pub(crate) fn may_spin(&mut self) -> bool {
        let tried = std::mem::replace(&mut self.is_tried, true);
        if let Some(terms) = self.terms.filter(|_| !tried) {
            self.spins = self.spin.account.lock().has_credit(terms);
            return self.spins;
        }
        false
    }

    /// Calls `look` until it says yes, at most until the time given, and learns from it. `None` if there was
    /// nothing to learn: the first look has found something, and who sleeps looks once as well; or others had all
    /// the places.
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
        let mut place = None;
        let (found, time) = loop {
            let found = look();
            let time = begin.elapsed();
            if found || time >= limit {
                break (found, time);
            }
            place = place.or_else(Place::take);
            if place.is_none() && time >= GRACE {
                return None;
            }
        };
        // Before anything else: the next to spin is the one that waits for us.
        drop(place);
        let paid = self.spin.account.lock().spun(time, found, terms);
        Some(Spun { paid, time })
    }

    /// Learns from a wait in which the thread has slept.
    pub(crate) fn has_slept(&self) {
        let Some(terms) = self.terms.filter(|_| !self.spins) else { return };
        let time = self.begin.elapsed();
        // Sooner nobody is woken: it was called before it slept.
        if time >= Duration::from_nanos(LEAST) {
            self.spin.account.lock().slept(time, wake_up(), terms);
        }
    }
}

/// A few looks, for one who has nothing else to do.
pub(crate) fn looks(mut look: impl FnMut() -> bool) -> bool {
    (0..LOOKS).any(|_| {
        std::hint::spin_loop();
        look()
    })
}

/// What the waits of one process share.
#[derive(Debug)]
struct Machine {
    /// How many may spin at once.
    places: u64,
    /// How many do.
    taken: AtomicU64,
    /// What a wake-up takes, in nanoseconds.
    wake_up: AtomicU64,
}

static MACHINE: PerProcess<Machine> = PerProcess::new(|| {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    Machine {
        places: (processors / 2) as u64,
        taken: AtomicU64::new(0),
        wake_up: AtomicU64::new(FIRST_GUESS),
    }
});

/// What a wake-up takes until one was measured.
const FIRST_GUESS: u64 = 20_000;
/// A wake-up takes no less: those of one core do, but who waits for an answer waits for another core.
const LEAST: u64 = 5_000;
/// What takes longer has waited for a core, and says nothing of idle ones.
const MOST: u64 = 50_000;

/// What a wake-up takes in this process.
fn wake_up() -> Duration {
    Duration::from_nanos(MACHINE.get().wake_up.load(Ordering::Relaxed))
}

/// Learns that a wake-up has taken so long. Of two that are reported at once one may be lost.
pub(crate) fn woken_after(time: Duration) {
    let time = u64::try_from(time.as_nanos()).unwrap_or(MOST).clamp(LEAST, MOST);
    let mean = &MACHINE.get().wake_up;
    mean.store((mean.load(Ordering::Relaxed) * 7 + time) / 8, Ordering::Relaxed);
}

/// The right to keep a processor busy.
struct Place(&'static Machine);

impl Place {
    fn take() -> Option<Self> {
        let machine = MACHINE.get();
        if machine.taken.fetch_add(1, Ordering::Relaxed) < machine.places {
            return Some(Self(machine));
        }
        machine.taken.fetch_sub(1, Ordering::Relaxed);
        None
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}
