//! The stage of a simulation: its threads, of which one runs at a time, and its clock.
//!
//! The threads are real, but a thread runs only when the director has its turn for it, until it waits or
//! ends. Every wait of the crate passes here. So the order in which things happen is the director's, which draws
//! it from a seed, and the clock moves only when the director moves it. Owns that hand-over, the clock, and the
//! simulation's random numbers; what is simulated is in `testing`.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::thread;
use std::time::{Duration, Instant};

use crate::sync::{Arc, AtomicU64, Condvar, Mutex, MutexGuard, Ordering, Rank};

thread_local! {
    static PLACE: RefCell<Option<Participant>> = const { RefCell::new(None) };
}

/// What the threads of one simulation share.
pub(crate) struct Stage {
    begin: Instant,
    /// Nanoseconds since then.
    elapsed: AtomicU64,
    state: Mutex<State>,
    /// Notified when the thread that ran has given back its turn.
    given_back: Condvar,
    /// Counts what the director has done for the threads that watch all of it.
    news: Arc<AtomicU64>,
}

struct State {
    /// The thread that runs; `None`: the director.
    running: Option<usize>,
    seats: Vec<Seat>,
    random: u64,
    /// The last pipe id.
    pipe: u32,
    panic: Option<ThreadPanic>,
}

/// The first panic of a thread.
pub(crate) struct ThreadPanic {
    pub(crate) thread: String,
    pub(crate) panic: Box<dyn Any + Send>,
}

/// One thread.
struct Seat {
    name: String,
    /// What it belongs to, and ends with.
    group: usize,
    turn: Arc<Condvar>,
    step: Step,
    /// It was woken, or will not sleep the next time.
    is_woken: bool,
    /// It is to unwind where it waits.
    is_dismissed: bool,
}

enum Step {
    /// It can run.
    Ready,
    /// It waits: to be woken, for the time, or for the count to change.
    Waits { until: Option<Instant>, watched: Option<Watched> },
    /// It has ended.
    Over,
}

/// A count that changes when there is something new, and what it was.
pub(crate) struct Watched {
    count: Arc<AtomicU64>,
    seen: u64,
}

impl Watched {
    pub(crate) fn new(count: &Arc<AtomicU64>) -> Self {
        Self { count: Arc::clone(count), seen: count.load(Ordering::Relaxed) }
    }

    fn has_changed(&self) -> bool {
        self.count.load(Ordering::Relaxed) != self.seen
    }
}

/// The panic of a thread that was dismissed.
struct Dismissed;

/// A thread that takes part in a simulation.
#[derive(Clone)]
pub(crate) struct Participant {
    stage: Arc<Stage>,
    /// `None`: it is the director's thread.
    seat: Option<usize>,
    /// Where its sockets are by default.
    home: Option<Arc<dyn Any + Send + Sync>>,
}

impl fmt::Debug for Participant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Participant").field("seat", &self.seat).finish_non_exhaustive()
    }
}

/// The time of the simulation that the thread is part of.
pub(super) fn now() -> Option<Instant> {
    with(|participant| participant.stage.now())
}

/// When the simulation began that the thread is part of.
pub(super) fn begin() -> Option<Instant> {
    with(|participant| participant.stage.begin)
}

/// Sleeps, if the thread is part of a simulation.
pub(super) fn sleep(time: Duration) -> bool {
    let Some(participant) = with(Participant::clone) else { return false };
    let until = participant.stage.now() + time;
    match participant.seat {
        Some(_) => {
            while participant.stage.now() < until {
                participant.wait(Some(until), None);
            }
        }
        None => participant.stage.advance(until),
    }
    true
}

/// A random number of the simulation that the thread is part of.
pub(crate) fn number() -> Option<u64> {
    with(|participant| participant.stage.number())
}

/// A pipe id that no other pipe of the simulation has, which the thread is part of.
pub(crate) fn pipe_id() -> Option<u32> {
    with(|participant| {
        let mut state = participant.stage.state.lock();
        state.pipe += 1;
        state.pipe
    })
}

/// What the thread's sockets use by default.
pub(crate) fn home<T: Clone + 'static>() -> Option<T> {
    with(|participant| participant.home.as_ref().and_then(|home| home.downcast_ref::<T>().cloned()))
        .flatten()
}

fn with<R>(act: impl FnOnce(&Participant) -> R) -> Option<R> {
    PLACE.try_with(|participant| participant.borrow().as_ref().map(act)).ok().flatten()
}

impl Participant {
    /// That of the calling thread, if it is a thread of a simulation.
    pub(crate) fn own() -> Option<Self> {
        with(Self::clone).filter(|participant| participant.seat.is_some())
    }

    /// Wakes the thread, or has its next wait end at once.
    pub(crate) fn wake(&self) {
        if let Some(seat) = self.seat {
            self.stage.state.lock().seats[seat].is_woken = true;
        }
    }

    /// Waits to be woken, until the time given, or until the count has changed. Only in its own thread.
    pub(crate) fn wait(&self, until: Option<Instant>, watched: Option<Watched>) {
        let Some(seat) = self.seat else { return };
        let mut state = self.stage.state.lock();
        if std::mem::take(&mut state.seats[seat].is_woken) {
            return;
        }
        state.seats[seat].step = Step::Waits { until, watched };
        self.stage.give_back(&mut state);
        let mut state = self.stage.await_turn(state, seat);
        // It has been dismissed once, and its destructors may wait.
        if std::mem::take(&mut state.seats[seat].is_dismissed) && !thread::panicking() {
            drop(state);
            resume_unwind(Box::new(Dismissed));
        }
    }

    /// Waits until the director has done something, at most until the time given.
    pub(crate) fn wait_for_news(&self, until: Option<Instant>) {
        self.wait(until, Some(Watched::new(&self.stage.news)));
    }

    /// The threads of the simulation.
    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }
}

impl Stage {
    pub(crate) fn new(seed: u64) -> Arc<Self> {
        let (seats, random) = (Vec::new(), seed);
        let state = State { running: None, seats, random, pipe: 0, panic: None };
        Arc::new(Self {
            begin: Instant::now(),
            elapsed: AtomicU64::new(0),
            state: Mutex::new(Rank::Stage, state),
            given_back: Condvar::new(),
            news: Arc::default(),
        })
    }

    pub(crate) fn now(&self) -> Instant {
        self.begin + self.elapsed()
    }

    /// How much time has passed in the simulation.
    pub(crate) fn elapsed(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::Relaxed))
    }

    /// Moves the clock; never back.
    pub(crate) fn advance(&self, to: Instant) {
        let elapsed = to.saturating_duration_since(self.begin).as_nanos();
        self.elapsed.fetch_max(u64::try_from(elapsed).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A random number: the next of the sequence that the seed begins (SplitMix64).
    pub(crate) fn number(&self) -> u64 {
        let mut state = self.state.lock();
        state.random = state.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = state.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Starts a thread, which runs when it is given its turn.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        name: &str,
        group: usize,
        home: Option<Arc<dyn Any + Send + Sync>>,
        body: impl FnOnce() + Send + 'static,
    ) -> usize {
        let turn = Arc::new(Condvar::new());
        let seat = {
            let mut state = self.state.lock();
            state.seats.push(Seat {
                name: name.to_owned(),
                group,
                turn,
                step: Step::Ready,
                is_woken: false,
                is_dismissed: false,
            });
            state.seats.len() - 1
        };
        let participant = Participant { stage: Arc::clone(self), seat: Some(seat), home };
        let run = move || {
            let stage = Arc::clone(&participant.stage);
            let dismissed = {
                let state = stage.await_turn(stage.state.lock(), seat);
                state.seats[seat].is_dismissed
            };
            PLACE.set(Some(participant));
            let outcome =
                catch_unwind(AssertUnwindSafe(|| if dismissed { drop(body) } else { body() }));
            // What the thread has made its own may wait still, and ends with it.
            PLACE.set(None);
            stage.on_thread_over(seat, outcome.err());
        };
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(run)
            .expect("the system has room for a thread");
        seat
    }

    /// Notes that a thread has ended, and how.
    fn on_thread_over(&self, seat: usize, panic: Option<Box<dyn Any + Send>>) {
        let mut state = self.state.lock();
        state.seats[seat].step = Step::Over;
        if let Some(panic) = panic.filter(|panic| !panic.is::<Dismissed>())
            && state.panic.is_none()
        {
            state.panic = Some(ThreadPanic { thread: state.seats[seat].name.clone(), panic });
        }
        self.give_back(&mut state);
    }

    fn give_back(&self, state: &mut State) {
        state.running = None;
        self.given_back.notify_one();
    }

    fn await_turn<'s>(
        &'s self,
        mut state: MutexGuard<'s, State>,
        seat: usize,
    ) -> MutexGuard<'s, State> {
        let turn = Arc::clone(&state.seats[seat].turn);
        while state.running != Some(seat) {
            state = turn.wait(state);
        }
        state.seats[seat].step = Step::Ready;
        state.seats[seat].is_woken = false;
        state
    }
}

/// For the director.
impl Stage {
    /// Makes the calling thread the director's while `act` runs.
    pub(crate) fn direct<R>(self: &Arc<Self>, act: impl FnOnce() -> R) -> R {
        /// gives the thread back what it was, also after a panic.
        struct Restore(Option<Participant>);
        impl Drop for Restore {
            fn drop(&mut self) {
                PLACE.set(self.0.take());
            }
        }
        let participant = Participant { stage: Arc::clone(self), seat: None, home: None };
        let _restore = Restore(PLACE.replace(Some(participant)));
        act()
    }

    /// The threads that can run.
    pub(crate) fn runnable(&self) -> Vec<usize> {
        let now = self.now();
        let state = self.state.lock();
        let can_run = |seat: &Seat| match &seat.step {
            Step::Ready => true,
            Step::Over => false,
            Step::Waits { until, watched } => {
                seat.is_woken
                    || seat.is_dismissed
                    || until.is_some_and(|until| until <= now)
                    || watched.as_ref().is_some_and(Watched::has_changed)
            }
        };
        (0..state.seats.len()).filter(|&seat| can_run(&state.seats[seat])).collect()
    }

    /// Lets a thread run until it waits or ends.
    pub(crate) fn run(&self, seat: usize) {
        let mut state = self.state.lock();
        state.running = Some(seat);
        state.seats[seat].turn.notify_one();
        while state.running.is_some() {
            state = self.given_back.wait(state);
        }
    }

    /// Tells the threads that watch it that the director has done something.
    pub(crate) fn tell(&self) {
        self.news.fetch_add(1, Ordering::Relaxed);
    }

    /// The earliest time until which a thread waits.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let state = self.state.lock();
        let due = |seat: &Seat| match seat.step {
            Step::Waits { until, .. } => until,
            _ => None,
        };
        state.seats.iter().filter_map(due).min()
    }

    /// Has the threads of a group, or all, unwind where they wait.
    pub(crate) fn dismiss(&self, group: Option<usize>) {
        let mut state = self.state.lock();
        for seat in &mut state.seats {
            if group.is_none_or(|group| seat.group == group) && !matches!(seat.step, Step::Over) {
                seat.is_dismissed = true;
            }
        }
    }

    pub(crate) fn is_thread_over(&self, seat: usize) -> bool {
        matches!(self.state.lock().seats[seat].step, Step::Over)
    }

    /// The names of the threads that have not ended.
    pub(crate) fn living(&self) -> Vec<String> {
        let state = self.state.lock();
        let living = state.seats.iter().filter(|seat| !matches!(seat.step, Step::Over));
        living.map(|seat| seat.name.clone()).collect()
    }

    pub(crate) fn take_panic(&self) -> Option<ThreadPanic> {
        self.state.lock().panic.take()
    }
}
