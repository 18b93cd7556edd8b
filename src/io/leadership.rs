//! Leadership: which thread turns the event loop.
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

pub(super) mod state;

use std::io;
use std::thread::{self, Thread, ThreadId};
use std::time::{Duration, Instant};

use crate::io::{Driver, Mailbox};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, MutexGuard, Ordering};
use crate::tuning;

/// How long the I/O thread stays out at first.
const SHORTEST_NAP: Duration = Duration::from_micros(50);
/// How long it stays out at most before it looks whether another thread still leads. For twice as long
/// nobody may lead, and timers may be late, when that thread goes away.
const LONGEST_NAP: Duration = Duration::from_millis(5);

/// What a thread that waits adds to the number of waiters.
const THREAD: usize = 1;
/// What a task adds. It cannot lead, so a thread must not take itself for alone beside it.
const TASK: usize = 2;

/// The driver, and who has it.
#[derive(Debug)]
pub(crate) struct Leadership {
    manual: bool,
    /// Who has locked this leads.
    driver: Mutex<Driver>,
    /// Has the state that others see, and the handle of the I/O thread.
    mailbox: Arc<Mailbox>,
    /// Who waits in calls of sockets which have connections here: the sum of what each adds.
    waiters: AtomicUsize,
    /// A thread that waits has been woken since the I/O thread last looked.
    woken: AtomicBool,
}

/// One more task waits, until this is dropped.
#[derive(Debug)]
pub(crate) struct WaitingTask(Arc<Leadership>);

impl Drop for WaitingTask {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(TASK, Ordering::Relaxed);
    }
}

impl Leadership {
    /// `manual`: there will be no I/O thread.
    pub(crate) fn new(mut driver: Driver, manual: bool) -> Self {
        if manual {
            driver.without_io_thread();
        }
        Self {
            manual,
            mailbox: Arc::clone(driver.mailbox()),
            driver: Mutex::new(driver),
            waiters: AtomicUsize::new(0),
            woken: AtomicBool::new(false),
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    /// Says that a task waits.
    pub(crate) fn count_task(self: &Arc<Self>) -> WaitingTask {
        self.waiters.fetch_add(TASK, Ordering::Relaxed);
        // It may be staying out. Costs a store if it is not.
        self.mailbox.call_io_thread();
        WaitingTask(Arc::clone(self))
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

    /// Waits while `asleep`, until the time given; leads meanwhile if that is best.
    pub(crate) fn wait(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        if self.manual {
            return self.lead_in_turn(until, asleep);
        }
        self.waiters.fetch_add(THREAD, Ordering::Relaxed);
        if self.is_alone() && tuning::WAITER_LEADS {
            self.lead_for_now(until, asleep);
        }
        park(until, asleep);
        self.waiters.fetch_sub(THREAD, Ordering::Relaxed);
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
            true => self.take(),
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
        self.waiters.load(Ordering::Relaxed) <= THREAD
    }

    /// Takes the driver, unless somebody else leads.
    fn take(&self) -> Option<MutexGuard<'_, Driver>> {
        self.driver.try_lock()
    }

    /// Leads for as long as the calling thread has to wait and is alone, if nobody else leads.
    fn lead_for_now(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        let Some(mut driver) = self.take() else { return };
        while asleep()
            && self.is_alone()
            && !driver.is_batching()
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
        if driver.is_batching() {
            self.mailbox.state.waiter_leaves_batches();
        }
        let backlog = driver.has_more_to_do();
        self.give_up(driver);
        let (followers, needed) = self.mailbox.state.waiter_leaves(backlog);
        followers.iter().for_each(Thread::unpark);
        if needed || !self.is_alone() {
            self.mailbox.call_io_thread();
        }
    }

    /// Leaves the loop to nobody. Who posts something from now on calls the I/O thread; what was
    /// posted before is to be looked for afterwards.
    fn give_up(&self, driver: MutexGuard<'_, Driver>) {
        self.mailbox.state.away();
        drop(driver);
    }

    /// Sleeps until the leader leaves, or until the time given; not if there is no need to, as seen
    /// once it can be woken. The driver, if the leader has left just now.
    fn follow(
        &self,
        until: Option<Instant>,
        need: impl Fn() -> bool,
    ) -> Option<MutexGuard<'_, Driver>> {
        self.mailbox.state.follow(thread::current());
        let driver = self.take();
        if driver.is_none() && need() {
            match time_left(until) {
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
        }
        // Whoever leads may do so for days, and we may come again each millisecond.
        let this = current();
        self.mailbox.state.unfollow(|follower| follower.id() == this);
        driver
    }
}

/// The I/O thread.
impl Leadership {
    /// Makes the calling thread the I/O thread until the runtime ends.
    pub(crate) fn serve(&self) {
        tuning::sharpen_timers();
        self.mailbox.set_io_thread(thread::current());
        let mut driver = Some(self.driver.lock());
        while let Some(leading) = driver {
            if self.lead(leading) {
                return;
            }
            driver = Some(self.stay_out());
        }
    }

    /// Turns until the runtime has stopped, which is `true`, or a thread that waits had better lead.
    fn lead(&self, mut driver: MutexGuard<'_, Driver>) -> bool {
        self.mailbox.state.io_thread_leads();
        loop {
            let outcome = match driver.is_batching() {
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
                self.mailbox.state.away();
                if self.mailbox.state.is_empty() {
                    thread::park_timeout(pause);
                }
                driver.sweep();
            } else if self.was_one_woken()
                && self.is_alone()
                && !driver.is_batching()
                && tuning::WAITER_LEADS
            {
                self.give_up(driver);
                return false;
            }
        }
    }

    /// Whether a thread that waits has been woken since this was asked last.
    fn was_one_woken(&self) -> bool {
        let woken = self.woken.load(Ordering::Relaxed);
        if woken {
            // One that is woken at this very moment is meant as well.
            self.woken.store(false, Ordering::Relaxed);
        }
        woken
    }

    /// Leaves the loop to threads that wait, until none of them turns it any more or they cannot be
    /// left alone with it.
    fn stay_out(&self) -> MutexGuard<'_, Driver> {
        let mut nap = SHORTEST_NAP;
        loop {
            let seen = self.mailbox.state.led();
            if !self.is_needed() {
                thread::park_timeout(nap);
            }
            let moved = self.mailbox.state.led() != seen;
            if (!moved || self.is_needed())
                && let Some(driver) = self.take().or_else(|| self.follow(None, || true))
            {
                return driver;
            }
            nap = self.after_nap(nap);
        }
    }

    /// Whether the I/O thread must lead, if nobody else does.
    fn is_needed(&self) -> bool {
        !self.is_alone() || self.mailbox.state.needs_io_thread()
    }

    /// How long the I/O thread naps after a nap in which turns were made.
    fn after_nap(&self, nap: Duration) -> Duration {
        match self.mailbox.state.take_backlog() {
            true => SHORTEST_NAP,
            false => (nap * 3 / 2).min(LONGEST_NAP),
        }
    }
}

/// Runtimes without an I/O thread.
impl Leadership {
    /// One turn, once nobody else leads. For the application.
    pub(crate) fn turn(&self, until: Option<Instant>) -> io::Result<()> {
        loop {
            if let Some(mut driver) = self.take() {
                let turned = driver.turn(time_left(until), || true);
                driver.sweep();
                self.give_up(driver);
                self.promote();
                return turned;
            }
            if time_left(until) == Some(Duration::ZERO) {
                return Ok(());
            }
            self.follow(until, || true);
        }
    }

    /// Leads while `asleep`, in turn with others.
    fn lead_in_turn(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        while asleep() && time_left(until) != Some(Duration::ZERO) {
            if let Some(mut driver) = self.take().or_else(|| self.follow(until, asleep)) {
                if let Err(error) = driver.turn(time_left(until), asleep) {
                    cannot_poll(&error);
                }
                driver.sweep();
                self.give_up(driver);
            }
        }
        self.promote();
    }

    /// Wakes the followers, once the driver has been given back.
    fn promote(&self) {
        self.mailbox.state.promote().iter().for_each(Thread::unpark);
    }

    /// How many threads wait for their turn to lead.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        self.mailbox.state.followers()
    }

    /// Whether somebody leads now.
    #[cfg(test)]
    pub(crate) fn is_led(&self) -> bool {
        self.take().is_none()
    }

    /// How many timers are set.
    #[cfg(test)]
    pub(crate) fn timers(&self) -> usize {
        self.driver.lock().timers()
    }
}

/// Waits while `asleep`, until the time given.
pub(crate) fn park(until: Option<Instant>, asleep: &impl Fn() -> bool) {
    while asleep() {
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

    /// The waiter comes back and turns the loop, but only the I/O thread writes what is held back.
    #[test]
    fn a_waiter_that_leaves_batches_behind_brings_the_io_thread_back() {
        let mut driver = Driver::new().unwrap();
        driver.hold_back_a_batch();
        let leadership = Leadership::new(driver, false);
        assert!(calls(&leadership, |leadership| leadership.lead_for_now(None, &|| true)));
        assert!(leadership.is_needed(), "it would stay out as long as others make turns");
    }

    /// It has what it waited for, and may be away for long with other connections unread.
    #[test]
    fn a_waiter_that_leaves_unread_connections_behind_has_the_io_thread_look_soon() {
        let mut driver = Driver::new().unwrap();
        driver.leave_undone();
        let leadership = Leadership::new(driver, false);
        assert!(calls(&leadership, |leadership| leadership.lead_for_now(None, &|| false)));
        assert_eq!(leadership.after_nap(LONGEST_NAP), SHORTEST_NAP);
        // Once, if nothing is left behind again.
        assert_eq!(leadership.after_nap(LONGEST_NAP), LONGEST_NAP);
    }

    /// The I/O thread is left alone: this is what saves a switch of threads for each message.
    #[test]
    fn a_waiter_that_leaves_nothing_behind_calls_nobody() {
        let leadership = Leadership::new(Driver::new().unwrap(), false);
        leadership.lead_for_now(None, &|| false);
        assert!(!leadership.is_needed());
        assert_eq!(leadership.after_nap(LONGEST_NAP), LONGEST_NAP);
    }

    /// It may be the only one besides who spins, who goes away with its message.
    #[test]
    fn a_waiter_leads_when_who_has_led_while_it_spun_leaves() {
        let leadership = Leadership::new(Driver::new().unwrap(), true);
        let asleep = AtomicBool::new(true);
        let late = Instant::now() + Duration::from_secs(20);
        thread::scope(|scope| {
            leadership.spin(
                || false,
                |look| {
                    look();
                    scope.spawn(|| leadership.wait(Some(late), &|| asleep.load(Ordering::Relaxed)));
                    while leadership.followers() == 0 {
                        thread::yield_now();
                    }
                },
            );
            while !leadership.is_led() && Instant::now() < late {
                thread::yield_now();
            }
            asleep.store(false, Ordering::Relaxed);
            leadership.mailbox.interrupt();
        });
        assert!(Instant::now() < late, "it slept, and nobody led");
    }

    /// Whether `lead` calls the I/O thread, for which this one stands.
    fn calls(leadership: &Leadership, lead: impl FnOnce(&Leadership)) -> bool {
        let late = Instant::now() + Duration::from_secs(20);
        leadership.mailbox.set_io_thread(thread::current());
        lead(leadership);
        // Whoever was called does not sleep.
        thread::park_timeout(Duration::from_secs(20));
        Instant::now() < late
    }
}
