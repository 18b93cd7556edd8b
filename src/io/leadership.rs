//! Leader: which thread turns the event loop.
//!
//! Owns the driver, and the rule by which it changes hands. At any time at most one thread, the
//! leader, turns it. By default that is the runtime's I/O thread. But a thread that waits for a
//! message and is the only one to wait does better to turn the loop itself: then the message reaches
//! it without a switch of threads. In a runtime without an I/O thread whoever waits leads. With several
//! I/O threads each has a leader of its own, and leads always: sockets then know of none.
//!
//! ```text
//!             I/O thread                                       a thread that waits, alone
//!   leads: turn, turn, turn ...
//!   wakes it, and nobody else waits: gives the loop up   ----> is woken, takes its message,
//!   stays out for a nap                                        comes back, leads: turn, turn
//!   looks again: turns were made: a longer nap                 is woken by its own turn: leaves
//!   looks again: none were made                                ...
//!      and nobody has the loop: leads
//!      and it is held: sleeps until the other leaves     <---- leaves: wakes the I/O thread only if
//!                                                              it sleeps so, or there is need of it
//! ```
//!
//! So while one thread asks and receives, nobody is woken per message; when it goes away for good,
//! the I/O thread notices at the end of the second nap without a turn, each of at most [`LONGEST_NAP`]. What
//! happens to other connections meanwhile waits as long. If it leaves connections behind that had more to
//! read or to write than a turn allows, the I/O thread begins again with the shortest nap: it looks soon,
//! but does not lead if that thread is back by then. When a second thread or any task waits, the I/O
//! thread leads.

mod seat;
pub(super) mod state;

use std::io;
use std::sync::OnceLock;
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use seat::Seat;

use crate::io::{Driver, Mailbox};
use crate::signal::{Signal, Ticket};
use crate::sync::{Arc, AtomicBool, AtomicU64, AtomicUsize, Mutex, MutexGuard, Ordering, fence};
use crate::tuning;

/// How long the I/O thread stays out at first.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// How long it stays out at most before it looks whether another thread still leads. For twice as long
/// nobody may lead, and timers may be late, when that thread goes away.
const LONGEST_NAP: Duration = Duration::from_millis(5);

/// The driver, and who has it.
#[derive(Debug)]
pub(crate) struct Leader {
    manual: bool,
    seat: Seat<Driver>,
    mailbox: Arc<Mailbox>,
    /// Threads that wait in calls of sockets which have connections here.
    waiting: AtomicUsize,
    /// Tasks that wait in such calls.
    tasks: AtomicUsize,
    /// How often threads that wait have led. Only the leader stores here.
    turns: AtomicU64,
    /// A thread that waits has been woken since the I/O thread last looked.
    woken: AtomicBool,
    /// A thread that waits has left streams behind, after which only the I/O thread sweeps. Stored by
    /// the leader only.
    streams_left: AtomicBool,
    /// A thread that waits has left connections behind with more to do than a turn allows. Mostly it
    /// comes back at once; the I/O thread is to see soon whether it does.
    undone: AtomicBool,
    io_thread: OnceLock<Thread>,
    /// Threads that wait for their turn to lead, in a runtime without an I/O thread.
    relief: Mutex<Vec<Thread>>,
}

/// One more task waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct Guest(Arc<Leader>);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0.tasks.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Leader {
    /// `manual`: there will be no I/O thread.
    pub(crate) fn new(mut driver: Driver, manual: bool) -> Self {
        if manual {
            driver.without_io_thread();
        }
        Self {
            manual,
            mailbox: Arc::clone(driver.mailbox()),
            seat: Seat::new(driver),
            waiting: AtomicUsize::new(0),
            tasks: AtomicUsize::new(0),
            turns: AtomicU64::new(0),
            woken: AtomicBool::new(false),
            streams_left: AtomicBool::new(false),
            undone: AtomicBool::new(false),
            io_thread: OnceLock::new(),
            relief: Mutex::default(),
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Says that a task waits.
    pub(crate) fn receive_guest(self: &Arc<Self>) -> Guest {
        self.tasks.fetch_add(1, Ordering::Relaxed);
        // It may be staying out. Costs a store if it is not.
        self.call_io_thread();
        Guest(Arc::clone(self))
    }

    /// Wakes a thread that waits here, whether it leads or not.
    pub(crate) fn wake(&self, thread: &Thread) {
        if thread.id() == current() {
            return; // it leads, and sees for itself
        }
        self.woken.store(true, Ordering::Relaxed);
        thread.unpark();
        self.mailbox.interrupt();
    }

    /// Waits until `ticket` is woken, or until the time given; leads meanwhile if that is best.
    pub(crate) fn wait(&self, signal: &Signal, ticket: Ticket, until: Option<Instant>) {
        let asleep = || signal.is_asleep(ticket);
        if self.manual {
            return self.lead_in_turn(until, &asleep);
        }
        self.waiting.fetch_add(1, Ordering::Relaxed);
        if self.is_alone() && tuning::WAITER_LEADS {
            self.lead_for_now(until, &asleep);
        }
        park(signal, ticket, until);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether there is no I/O thread.
    pub(crate) fn is_manual(&self) -> bool {
        self.manual
    }

    /// Has `look` try again and again whether there is `news`, with a turn before each try if nobody
    /// else leads.
    pub(crate) fn spin(
        &self,
        news: impl Fn() -> bool,
        look: impl FnOnce(&mut dyn FnMut() -> bool),
    ) {
        let driver = match self.is_alone() && tuning::WAITER_LEADS {
            true => self.seat.take(),
            false => None,
        };
        let Some(mut driver) = driver else {
            return look(&mut || news());
        };
        look(&mut || {
            if let Err(error) = driver.turn(Some(Duration::ZERO), || true) {
                cannot_poll(&error);
            }
            news()
        });
        self.leave(driver);
    }

    /// Whether no more than one call waits.
    fn is_alone(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) <= 1 && self.tasks.load(Ordering::Relaxed) == 0
    }

    /// Leads for as long as the calling thread has to wait and is alone, if nobody else leads.
    fn lead_for_now(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        let Some(mut driver) = self.seat.take() else { return };
        while asleep()
            && self.is_alone()
            && !driver.is_streaming()
            && time_left(until) != Some(Duration::ZERO)
        {
            if let Err(error) = driver.turn(time_left(until), asleep) {
                cannot_poll(&error);
            }
        }
        self.leave(driver);
    }

    /// Gives the loop up, and calls the I/O thread if it waits for that or there is need of it.
    fn leave(&self, driver: MutexGuard<'_, Driver>) {
        self.turns.store(self.turns.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if driver.is_streaming() {
            self.streams_left.store(true, Ordering::Relaxed);
        }
        let undone = driver.has_more_to_do();
        self.give_up(driver);
        let watched = !undone || self.undone.swap(true, Ordering::Relaxed);
        if self.seat.is_wanted() || self.is_needed() || !watched {
            self.call_io_thread();
        }
    }

    /// Leaves the loop to nobody. Who posts something from now on calls the I/O thread; what was
    /// posted before is to be looked for afterwards.
    fn give_up(&self, driver: MutexGuard<'_, Driver>) {
        self.mailbox.leaderless();
        self.seat.leave(driver);
    }

    /// Whether the I/O thread must lead, if nobody else does.
    fn is_needed(&self) -> bool {
        !self.is_alone() || self.streams_left.load(Ordering::Relaxed) || !self.mailbox.is_empty()
    }

    fn call_io_thread(&self) {
        if let Some(io_thread) = self.io_thread.get() {
            io_thread.unpark();
        }
    }
}

/// The I/O thread.
impl Leader {
    /// Makes the calling thread the I/O thread until the runtime ends.
    pub(crate) fn serve(&self) {
        tuning::sharpen_timers();
        // Nobody else has done so: there is one such thread.
        let _ = self.io_thread.set(thread::current());
        self.mailbox.set_io_thread(thread::current());
        let mut driver = Some(self.seat.wait());
        while let Some(leading) = driver {
            if self.lead(leading) {
                return;
            }
            driver = Some(self.stay_out());
        }
    }

    /// Turns until the runtime has stopped, which is `true`, or a thread that waits had better lead.
    fn lead(&self, mut driver: MutexGuard<'_, Driver>) -> bool {
        self.streams_left.store(false, Ordering::Relaxed);
        loop {
            let outcome = match driver.is_streaming() {
                false => driver.turn(None, || true),
                true => driver.turn(Some(Duration::ZERO), || true),
            };
            if let Err(error) = outcome {
                cannot_poll(&error);
            }
            if driver.is_stopped() {
                return true;
            }
            if let Some(pause) = driver.until_sweep() {
                // Posts find nobody polling, and wake us by name.
                self.mailbox.leaderless();
                fence(Ordering::SeqCst);
                if self.mailbox.is_empty() {
                    thread::park_timeout(pause);
                }
                driver.sweep();
            } else if self.woken.swap(false, Ordering::Relaxed)
                && self.is_alone()
                && !driver.is_streaming()
                && tuning::WAITER_LEADS
            {
                self.give_up(driver);
                return false;
            }
        }
    }

    /// Leaves the loop to threads that wait, until none of them turns it any more or they cannot be
    /// left alone with it.
    fn stay_out(&self) -> MutexGuard<'_, Driver> {
        let mut nap = SHORTEST_NAP;
        loop {
            let seen = self.turns.load(Ordering::Relaxed);
            if !self.is_needed() {
                thread::park_timeout(nap);
            }
            let moved = self.turns.load(Ordering::Relaxed) != seen;
            if (!moved || self.is_needed())
                && let Some(driver) =
                    self.seat.take().or_else(|| self.seat.take_later(thread::park))
            {
                return driver;
            }
            nap = self.after_nap(nap);
        }
    }

    /// How long the I/O thread naps after a nap in which turns were made.
    fn after_nap(&self, nap: Duration) -> Duration {
        match self.undone.swap(false, Ordering::Relaxed) {
            true => SHORTEST_NAP,
            false => (nap * 3 / 2).min(LONGEST_NAP),
        }
    }
}

/// Runtimes without an I/O thread.
impl Leader {
    /// One turn, once nobody else leads. For the application.
    pub(crate) fn turn(&self, until: Option<Instant>) -> io::Result<()> {
        loop {
            if let Some(mut driver) = self.seat.take() {
                let turned = driver.turn(time_left(until), || true);
                driver.sweep();
                self.give_up(driver);
                self.relieve();
                return turned;
            }
            if time_left(until) == Some(Duration::ZERO) {
                return Ok(());
            }
            self.wait_for_the_driver(until, || true);
        }
    }

    /// Leads while `asleep`, in turn with others.
    fn lead_in_turn(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        while asleep() && time_left(until) != Some(Duration::ZERO) {
            match self.seat.take() {
                Some(mut driver) => {
                    if let Err(error) = driver.turn(time_left(until), asleep) {
                        cannot_poll(&error);
                    }
                    driver.sweep();
                    self.give_up(driver);
                }
                None => self.wait_for_the_driver(until, asleep),
            }
        }
        self.relieve();
    }

    /// Another thread leads: waits until it leaves, or until we are woken. Not if there is no need
    /// to, as seen once we can be woken.
    fn wait_for_the_driver(&self, until: Option<Instant>, need: impl Fn() -> bool) {
        self.relief.lock().push(thread::current());
        // It may have left before it could see us.
        if self.seat.take().is_none() && need() {
            match time_left(until) {
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
        }
        // Whoever leads may do so for days, and we may come again each millisecond.
        let this = current();
        self.relief.lock().retain(|thread| thread.id() != this);
    }

    /// Wakes those who waited for the driver.
    fn relieve(&self) {
        let waiting = std::mem::take(&mut *self.relief.lock());
        waiting.iter().for_each(Thread::unpark);
    }

    /// How many threads wait for their turn to lead.
    #[cfg(test)]
    pub(crate) fn in_relief(&self) -> usize {
        self.relief.lock().len()
    }

    /// Whether somebody leads now.
    #[cfg(test)]
    pub(crate) fn is_led(&self) -> bool {
        self.seat.take().is_none()
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(crate) fn timers(&self) -> usize {
        self.seat.wait().timers()
    }
}

/// Waits until `ticket` is woken, or until the time given.
pub(crate) fn park(signal: &Signal, ticket: Ticket, until: Option<Instant>) {
    while signal.is_asleep(ticket) {
        match time_left(until) {
            None => thread::park(),
            Some(Duration::ZERO) => return,
            Some(left) => thread::park_timeout(left),
        }
    }
}

fn time_left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

fn current() -> ThreadId {
    thread::current().id()
}

/// Only a bug or a machine out of memory gets here; a core is not to be burnt over it.
fn cannot_poll(error: &io::Error) {
    crate::contain::log!(Error, "the event loop cannot poll: {error}");
    thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waiter comes back and turns the loop, but only the I/O thread sweeps up after streams.
    #[test]
    fn a_waiter_that_leaves_streams_behind_brings_the_io_thread_back() {
        let mut driver = Driver::new().unwrap();
        driver.stream_on();
        let leader = Leader::new(driver, false);
        assert!(calls(&leader, |leader| leader.lead_for_now(None, &|| true)));
        assert!(leader.is_needed(), "it would stay out as long as others make turns");
    }

    /// It has what it waited for, and may be away for long with other connections unread.
    #[test]
    fn a_waiter_that_leaves_unread_connections_behind_has_the_io_thread_look_soon() {
        let mut driver = Driver::new().unwrap();
        driver.leave_undone();
        let leader = Leader::new(driver, false);
        assert!(calls(&leader, |leader| leader.lead_for_now(None, &|| false)));
        assert_eq!(leader.after_nap(LONGEST_NAP), SHORTEST_NAP);
        // Once, if nothing is left behind again.
        assert_eq!(leader.after_nap(LONGEST_NAP), LONGEST_NAP);
    }

    /// The I/O thread is left alone: this is what saves a switch of threads for each message.
    #[test]
    fn a_waiter_that_leaves_nothing_behind_calls_nobody() {
        let leader = Leader::new(Driver::new().unwrap(), false);
        leader.lead_for_now(None, &|| false);
        assert!(!leader.is_needed());
        assert_eq!(leader.after_nap(LONGEST_NAP), LONGEST_NAP);
    }

    /// Whether `lead` calls the I/O thread, for which this one stands.
    fn calls(leader: &Leader, lead: impl FnOnce(&Leader)) -> bool {
        let late = Instant::now() + Duration::from_secs(20);
        let _ = leader.io_thread.set(thread::current());
        lead(leader);
        // Whoever was called does not sleep.
        thread::park_timeout(Duration::from_secs(20));
        Instant::now() < late
    }
}
