//! Schedules: threads, locks and time as a randomized scheduler has them. Only with `--cfg shuttle`.
//!
//! Shuttle runs the threads of a schedule as coroutines, one at a time, and draws at each lock, each atomic and each
//! sleep who goes on. It knows no time: there a wait for a time never ends by itself. Owns a clock in its place. It
//! stands still while threads run. A thread of the schedule, its keeper, moves it on to the end of the next such wait
//! whenever that thread is drawn. So a time-out may come at any moment, however long it is, but time-outs come in their
//! order; and when all threads wait and none of them for a time, shuttle reports a deadlock.
//!
//! Owns as well what shuttle lacks and the library uses: a `OnceLock` and a channel whose waits the clock can end.

use std::sync::LockResult;
use std::time::Duration;

use super::Arc;
use shuttle::sync::{Mutex, MutexGuard};

/// Threads of a schedule.
pub(crate) mod thread {
    use std::io;
    use std::num::NonZeroUsize;
    use std::time::Duration;

    pub(crate) use shuttle::thread::*;

    use super::clock::{self, Alarm};

    /// How a thread is started.
    #[derive(Debug)]
    pub(crate) struct Builder(shuttle::thread::Builder);

    impl Builder {
        pub(crate) fn new() -> Self {
            Self(shuttle::thread::Builder::new())
        }

        pub(crate) fn name(self, name: String) -> Self {
            Self(self.0.name(name))
        }

        pub(crate) fn spawn<T: Send + 'static>(
            self,
            body: impl FnOnce() -> T + Send + 'static,
        ) -> io::Result<JoinHandle<T>> {
            self.0.spawn(body)
        }

        /// Shuttle has no names for such threads.
        pub(crate) fn spawn_scoped<'scope, T: Send + 'scope>(
            self,
            scope: &'scope Scope<'scope, '_>,
            body: impl FnOnce() -> T + Send + 'scope,
        ) -> io::Result<ScopedJoinHandle<'scope, T>> {
            Ok(scope.spawn(body))
        }
    }

    /// One at a time runs. So no thread spins, which is waiting for the real clock.
    pub(crate) fn available_parallelism() -> io::Result<NonZeroUsize> {
        Ok(NonZeroUsize::MIN)
    }

    /// Parks the thread, for `most` at most.
    pub(crate) fn park_timeout(most: Duration) {
        let _alarm = clock::after(most).map(|at| clock::set(at, Alarm::Thread(current())));
        park();
    }

    /// Sleeps for this long.
    pub(crate) fn sleep(time: Duration) {
        let (never, lock) = (super::Condvar::default(), super::Mutex::new(()));
        let until = clock::now() + time;
        let mut guard = lock.lock().expect("nobody else has it");
        while clock::now() < until {
            let left = until.saturating_duration_since(clock::now());
            guard = never.wait_timeout(guard, left).expect("nobody else has it").0;
        }
    }
}

/// The time in a schedule.
pub(crate) mod clock {
    use std::collections::BTreeMap;
    use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
    use std::time::{Duration, Instant};

    use shuttle::rand::{Rng, thread_rng};
    use shuttle::sync::Condvar;
    use shuttle::thread::{self, Thread};

    /// The clock of the schedule that runs. This lock is std's: nobody is drawn while it is held.
    static CLOCK: LazyLock<Mutex<Clock>> = LazyLock::new(|| Mutex::new(Clock::new(1)));

    struct Clock {
        now: Instant,
        /// The number of the last alarm.
        last: u64,
        alarms: BTreeMap<(Instant, u64), Alarm>,
        keeper: Option<Thread>,
        is_over: bool,
        /// Of how many times that the keeper is drawn it moves the clock once, on average.
        slowness: u32,
    }

    impl Clock {
        fn new(slowness: u32) -> Self {
            let (last, alarms, keeper) = (0, BTreeMap::new(), None);
            Self { now: Instant::now(), last, alarms, keeper, is_over: false, slowness }
        }
    }

    /// Who waits for a time.
    #[derive(Clone, Debug)]
    pub(crate) enum Alarm {
        Thread(Thread),
        Condvar(Arc<Condvar>),
    }

    /// An alarm that is set, until this is dropped: it goes off again and again meanwhile, since who set it may not be
    /// asleep yet.
    #[derive(Debug)]
    pub(crate) struct Set(Instant, u64);

    impl Drop for Set {
        fn drop(&mut self) {
            clock().alarms.remove(&(self.0, self.1));
        }
    }

    fn clock() -> MutexGuard<'static, Clock> {
        CLOCK.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time now.
    pub(crate) fn now() -> Instant {
        clock().now
    }

    /// The time that is this far from now; `None`: there is no such time.
    pub(super) fn after(time: Duration) -> Option<Instant> {
        now().checked_add(time)
    }

    /// Sets an alarm.
    pub(super) fn set(at: Instant, alarm: Alarm) -> Set {
        let mut clock = clock();
        clock.last += 1;
        let number = clock.last;
        clock.alarms.insert((at, number), alarm);
        let keeper = clock.keeper.clone();
        drop(clock);
        keeper.into_iter().for_each(|keeper| keeper.unpark());
        Set(at, number)
    }

    /// A random number, which is the same whenever the schedule runs again.
    pub(crate) fn random() -> u32 {
        thread_rng().r#gen()
    }

    /// Runs `body` as a schedule with a clock. All that it has started must have ended with it.
    pub(crate) fn run(body: impl FnOnce()) {
        *clock() = Clock::new([4, 32, 256][thread_rng().gen_range(0..3)]);
        let keeper = thread::spawn(keep);
        clock().keeper = Some(keeper.thread().clone());
        body();
        clock().is_over = true;
        keeper.thread().unpark();
        keeper.join().expect("the clock does not panic");
        assert!(clock().alarms.is_empty(), "somebody still waits for a time");
    }

    /// Moves the clock.
    fn keep() {
        loop {
            let (next, slowness) = {
                let clock = clock();
                if clock.is_over {
                    return;
                }
                let next = clock.alarms.first_key_value();
                (next.map(|((at, _), alarm)| (*at, alarm.clone())), clock.slowness)
            };
            let Some((at, alarm)) = next else {
                thread::park();
                continue;
            };
            if thread_rng().gen_ratio(1, slowness) {
                let mut clock = clock();
                clock.now = clock.now.max(at);
                drop(clock);
                match alarm {
                    Alarm::Thread(thread) => thread.unpark(),
                    Alarm::Condvar(condvar) => condvar.notify_all(),
                }
            }
            thread::yield_now();
        }
    }
}

/// A condition variable, which can be waited for until a time.
#[derive(Debug, Default)]
pub(super) struct Condvar(Arc<shuttle::sync::Condvar>);

/// How a wait with a time-out has ended.
pub(super) struct Ended {
    timed_out: bool,
}

impl Ended {
    pub(super) fn timed_out(&self) -> bool {
        self.timed_out
    }
}

impl Condvar {
    pub(super) fn wait<'g, T>(&self, guard: MutexGuard<'g, T>) -> LockResult<MutexGuard<'g, T>> {
        self.0.wait(guard)
    }

    pub(super) fn wait_timeout<'g, T>(
        &self,
        guard: MutexGuard<'g, T>,
        most: Duration,
    ) -> LockResult<(MutexGuard<'g, T>, Ended)> {
        let until = clock::after(most);
        let alarm = clock::Alarm::Condvar(Arc::clone(&self.0));
        let _alarm = until.map(|at| clock::set(at, alarm));
        let guard = self.0.wait(guard).unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok((guard, Ended { timed_out: until.is_some_and(|until| clock::now() >= until) }))
    }

    pub(super) fn notify_one(&self) {
        self.0.notify_one();
    }

    pub(super) fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// Where the leader of an event loop sleeps in place of the poll: nothing of a schedule waits for the system.
#[derive(Debug, Default)]
pub(crate) struct Doze {
    called: Mutex<bool>,
    change: Condvar,
}

impl Doze {
    /// Ends the sleep, or makes the next one end at once.
    pub(crate) fn call(&self) {
        *self.called.lock().expect("no holder panics") = true;
        self.change.notify_one();
    }

    /// Sleeps until called, for `most` at most.
    pub(crate) fn sleep(&self, most: Option<Duration>) {
        let until = most.and_then(clock::after);
        let mut called = self.called.lock().expect("no holder panics");
        while !std::mem::take(&mut *called) {
            called = match until.map(|until| until.saturating_duration_since(clock::now())) {
                None => self.change.wait(called).expect("no holder panics"),
                Some(Duration::ZERO) => return,
                Some(left) => self.change.wait_timeout(called, left).expect("no holder panics").0,
            };
        }
    }
}

/// A value that is set once.
#[derive(Debug)]
pub(crate) struct OnceLock<T> {
    value: std::sync::OnceLock<T>,
    /// Held while it is made: std's would hold up the thread of all coroutines.
    making: Mutex<()>,
    is_set: shuttle::sync::Condvar,
}

impl<T> OnceLock<T> {
    pub(crate) const fn new() -> Self {
        Self {
            value: std::sync::OnceLock::new(),
            making: Mutex::new(()),
            is_set: shuttle::sync::Condvar::new(),
        }
    }

    pub(crate) fn get(&self) -> Option<&T> {
        self.value.get()
    }

    pub(crate) fn set(&self, value: T) -> Result<(), T> {
        let making = self.making.lock().expect("no holder panics");
        let outcome = self.value.set(value);
        drop(making);
        self.is_set.notify_all();
        outcome
    }

    pub(crate) fn wait(&self) -> &T {
        let mut making = self.making.lock().expect("no holder panics");
        loop {
            match self.value.get() {
                Some(value) => return value,
                None => making = self.is_set.wait(making).expect("no holder panics"),
            }
        }
    }

    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        if let Some(value) = self.value.get() {
            return value;
        }
        let _making = self.making.lock().expect("no holder panics");
        if self.value.get().is_none() {
            let _ = self.value.set(make());
            self.is_set.notify_all();
        }
        self.value.get().expect("it is set")
    }
}

/// A channel, as much of it as the library uses.
pub(crate) mod mpsc {
    use std::collections::VecDeque;
    pub(crate) use std::sync::mpsc::{RecvTimeoutError, TrySendError};
    use std::time::Duration;

    use shuttle::sync::Mutex;

    use super::{Arc, Condvar, clock};

    #[derive(Debug)]
    struct Shared<T> {
        state: Mutex<State<T>>,
        news: Condvar,
        bound: usize,
    }

    #[derive(Debug)]
    struct State<T> {
        queue: VecDeque<T>,
        /// Whether one end is gone.
        is_over: bool,
    }

    /// The end that sends. There is one.
    #[derive(Debug)]
    pub(crate) struct SyncSender<T>(Arc<Shared<T>>);

    /// The end that receives.
    #[derive(Debug)]
    pub(crate) struct Receiver<T>(Arc<Shared<T>>);

    pub(crate) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
        let state = Mutex::new(State { queue: VecDeque::new(), is_over: false });
        let shared = Arc::new(Shared { state, news: Condvar::default(), bound });
        (SyncSender(Arc::clone(&shared)), Receiver(shared))
    }

    impl<T> Shared<T> {
        fn end(&self) {
            self.state.lock().expect("no holder panics").is_over = true;
            self.news.notify_all();
        }
    }

    impl<T> SyncSender<T> {
        pub(crate) fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
            let mut state = self.0.state.lock().expect("no holder panics");
            if state.is_over {
                return Err(TrySendError::Disconnected(value));
            }
            if state.queue.len() == self.0.bound {
                return Err(TrySendError::Full(value));
            }
            state.queue.push_back(value);
            drop(state);
            self.0.news.notify_all();
            Ok(())
        }
    }

    impl<T> Receiver<T> {
        pub(crate) fn recv_timeout(&self, most: Duration) -> Result<T, RecvTimeoutError> {
            let until = clock::after(most);
            let mut state = self.0.state.lock().expect("no holder panics");
            loop {
                if let Some(value) = state.queue.pop_front() {
                    return Ok(value);
                }
                if state.is_over {
                    return Err(RecvTimeoutError::Disconnected);
                }
                state = match until.map(|until| until.saturating_duration_since(clock::now())) {
                    None => self.0.news.wait(state).expect("no holder panics"),
                    Some(Duration::ZERO) => return Err(RecvTimeoutError::Timeout),
                    Some(left) => {
                        self.0.news.wait_timeout(state, left).expect("no holder panics").0
                    }
                };
            }
        }
    }

    impl<T> Drop for SyncSender<T> {
        fn drop(&mut self) {
            self.0.end();
        }
    }

    impl<T> Drop for Receiver<T> {
        fn drop(&mut self) {
            self.0.end();
        }
    }
}
