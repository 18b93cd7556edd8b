//! Leadership: which thread turns the event loop.
//!
//! The pattern is Leader/Followers (Schmidt, O'Ryan, Kircher, Pyarali and Buschmann, 2000): one of the threads
//! that could turn the loop, the leader, turns it, and handles the events itself. When it leaves, a follower
//! takes over. Owns the driver, and the rule by which it changes hands.
//!
//! Usually the runtime's I/O thread leads. But if only one thread waits for a message, that thread should lead
//! itself: the message then reaches it without a switch of threads. The loop of a runtime without an I/O thread
//! is turned by the threads that wait, and by the program. With several I/O threads each always leads a loop of
//! its own, and sockets know no leadership.
//!
//! ```text
//!             I/O thread                                       a thread that waits, alone
//!   leads: turn, turn, turn ...
//!   wakes it, and nobody else waits: gives up the loop   ----> is woken, takes its message,
//!   stands by for an interval                                  comes back, leads: turn, turn
//!   checks: a waiter has led: a longer interval                is woken by its own turn: leaves
//!   checks: none has                                           ...
//!      and nobody leads: leads
//!      and somebody leads: follows, asleep               <---- leaves: wakes the I/O thread only if
//!                                                              it follows, or is needed
//! ```
//!
//! So while one thread asks and receives, no message wakes another thread. When that thread leaves for good,
//! the I/O thread notices at the end of the first whole interval in which no waiter has led: after at most two
//! of [`LONGEST_INTERVAL`]. Events on other connections wait that long. If the thread leaves a backlog
//! (connections with more to read or to write than one turn allows), the I/O thread starts again with the
//! shortest interval: it checks soon, but does not lead if that thread has come back by then. When a second
//! thread or any task waits, the I/O thread leads.
//!
//! # What threads share
//!
//! | what | set by | read by | ordered by | loom model in `state` |
//! |---|---|---|---|---|
//! | the driver's lock | the leader | threads that would lead | itself | all |
//! | state word: AT_WORK | the leader, before and after the poll; a thread that makes a call | threads that post | | all |
//! | state word: POLLING | the leader, before it polls or holds back a batch | threads that post, or wake a waiter | the fences in `about_to_poll` and `call` | `who_leads_while_it_waits_is_woken_from_the_poll`, `what_is_posted_is_taken_by_who_polls_and_by_who_holds_back` |
//! | state word: AWAY | the leader, before it leaves | threads that post | the lock of what is pending | `what_is_posted_while_a_waiter_leads_and_leaves_is_taken` |
//! | pending: commands | threads that post | the leader | their lock | the same |
//! | pending: followers | a thread that follows | a leader that leaves | their lock, and the driver's | `the_io_thread_leads_when_the_last_waiter_has_left` |
//! | pending: `led`, `batches`, `backlog` | a waiter that leaves | the I/O thread that stands by | their lock | none: hints |
//! | `waiters` | threads and tasks that begin or end a wait | threads that would lead, or lead | nothing: a hint | none |
//! | `eager` | as `waiters` | the I/O thread that leads | nothing: a hint | none |
//! | `woken` | threads that wake a waiter | the I/O thread that leads | nothing: a hint | none |
//! | `who` | threads that begin or end a wait | the I/O thread that leads | nothing: a hint | none |
//!
//! A hint that is read too late costs an interval of the I/O thread or a switch of threads, never a message.

pub(super) mod state;
#[cfg_attr(not(unix), allow(dead_code, reason = "elsewhere no task turns a loop"))]
pub(crate) mod task;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::contain::forget;
use crate::io::{Driver, Loss, Mailbox};
use crate::parker::Parker;
use crate::signal::Wake;
use crate::spin::{self, Spin, Spun, Wait};
use crate::stats::{SpinCounters, Spins};
#[cfg(any(test, feature = "testing"))]
use crate::sync::AtomicBool;
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Arc, AtomicUsize, Mutex, MutexGuard, Ordering, Rank};
use crate::time;
use crate::tuning;

/// How long the I/O thread stands by at first before it checks whether waiters still lead.
const SHORTEST_INTERVAL: Duration = Duration::from_micros(50);
/// How long it stands by at most. When the last waiter leaves, nobody leads for up to twice as long, and
/// timers may be late by as much.
const LONGEST_INTERVAL: Duration = Duration::from_millis(5);

/// The amount that a waiting thread adds to `waiters`.
const THREAD: usize = 1;
/// The amount that a waiting task adds. A task cannot lead, so one task must not look like a thread that is
/// alone.
const TASK: usize = 2;

/// The driver, and who has it.
#[derive(Debug)]
pub(crate) struct Leadership {
    manual: bool,
    /// Whoever holds the lock leads.
    driver: Mutex<Driver>,
    /// Has the state that others see, and the handle of the I/O thread.
    mailbox: Arc<Mailbox>,
    /// Whether the loop is lost.
    loss: Arc<Loss>,
    /// The waiters, in calls of sockets that have connections here: [`THREAD`] for each thread and [`TASK`] for
    /// each task.
    waiters: AtomicUsize,
    /// The number of waiters in calls of sockets that may spin. If it is not zero, the I/O thread may spin.
    eager: AtomicUsize,
    /// Decides when the I/O thread spins.
    spin: Spin,
    /// Counts the spins of the I/O thread.
    spins: SpinCounters,
    /// The waiting thread that has been woken last since the I/O thread last checked: its [`address`]; 0: none.
    woken: AtomicUsize,
    /// Who the waiting threads are: the sum of their addresses, modulo the width. So where it is one thread, which.
    who: AtomicUsize,
    /// The loop is part of a simulation, whose director turns it.
    #[cfg(feature = "testing")]
    is_simulated: AtomicBool,
}

/// Counts a task as a waiter until it is dropped.
#[derive(Debug)]
pub(crate) struct WaitingTask {
    leadership: Arc<Leadership>,
    eager: bool,
}

impl Drop for WaitingTask {
    fn drop(&mut self) {
        self.leadership.count_off(TASK, self.eager);
    }
}

impl Leadership {
    /// Takes over `driver`, which nobody leads yet. `manual`: there will be no I/O thread.
    pub(crate) fn new(mut driver: Driver, manual: bool) -> Self {
        if manual {
            driver.without_io_thread();
        }
        Self {
            manual,
            mailbox: Arc::clone(driver.mailbox()),
            loss: Arc::clone(driver.loss()),
            driver: Mutex::new(Rank::Driver, driver),
            waiters: AtomicUsize::new(0),
            eager: AtomicUsize::new(0),
            spin: Spin::new(None),
            spins: SpinCounters::new(),
            woken: AtomicUsize::new(0),
            who: AtomicUsize::new(0),
            #[cfg(feature = "testing")]
            is_simulated: AtomicBool::new(false),
        }
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.mailbox
    }

    pub(crate) fn loss(&self) -> &Loss {
        &self.loss
    }

    /// Has the driver act. If it panics, which only a fault of ours can have it do, all loops of the runtime are
    /// lost. `None`: they are.
    fn run<T>(&self, driver: &mut Driver, act: impl FnOnce(&mut Driver) -> T) -> Option<T> {
        if self.loss.is_lost() {
            return None;
        }
        match catch_unwind(AssertUnwindSafe(|| act(driver))) {
            Ok(outcome) => Some(outcome),
            Err(panic) => {
                forget(panic);
                driver.lose_all();
                None
            }
        }
    }

    /// Makes a turn, and logs if it cannot.
    fn turn_of(&self, driver: &mut Driver, timeout: Option<Duration>, idle: impl FnOnce() -> bool) {
        if let Some(Err(error)) = self.run(driver, |driver| driver.turn(timeout, idle)) {
            cannot_poll(&error);
        }
    }

    /// The spins of the I/O thread so far.
    pub(crate) fn spins(&self) -> Spins {
        self.spins.read()
    }

    /// Counts a waiter, a [`THREAD`] or a [`TASK`].
    fn count_on(&self, waiter: usize, eager: bool) {
        self.waiters.fetch_add(waiter, Ordering::Relaxed);
        self.eager.fetch_add(usize::from(eager), Ordering::Relaxed);
    }

    /// Counts a waiter off.
    fn count_off(&self, waiter: usize, eager: bool) {
        self.waiters.fetch_sub(waiter, Ordering::Relaxed);
        self.eager.fetch_sub(usize::from(eager), Ordering::Relaxed);
    }

    /// Counts a task that waits, in a socket that may spin if it is `eager`. Not without an I/O thread, the only
    /// one that asks.
    pub(crate) fn count_task(self: &Arc<Self>, eager: bool) -> Option<WaitingTask> {
        if self.manual {
            return None;
        }
        self.count_on(TASK, eager);
        // The I/O thread may stand by, and is needed now. If it leads, this is only a store.
        self.mailbox.call_io_thread();
        Some(WaitingTask { leadership: Arc::clone(self), eager })
    }

    /// Waits while `asleep`, at most until the time given. Leads meanwhile if the thread is alone. `eager`: the
    /// socket may spin.
    pub(crate) fn wait(&self, until: Option<Instant>, eager: bool, asleep: &impl Fn() -> bool) {
        #[cfg(feature = "testing")]
        if self.is_left_to_the_director() {
            return park(until, asleep);
        }
        if self.manual {
            return self.lead_or_follow(until, asleep);
        }
        let this = own_address();
        self.count_on(THREAD, eager);
        self.who.fetch_add(this, Ordering::Relaxed);
        if self.is_alone() && tuning::WAITER_LEADS {
            self.lead_while_waiting(until, asleep);
        }
        park(until, asleep);
        self.who.fetch_sub(this, Ordering::Relaxed);
        self.count_off(THREAD, eager);
    }

    /// Whether there is no I/O thread.
    pub(crate) fn is_manual(&self) -> bool {
        self.manual
    }

    /// Spins until there is `news`, at most until the time given. Leads meanwhile if the thread is alone and
    /// nobody else leads. A thread that spins is not counted as a waiter: nobody need lead for it, since it
    /// does so itself.
    pub(crate) fn spin(
        &self,
        wait: &Wait<'_>,
        until: Option<Instant>,
        news: &mut impl FnMut() -> bool,
    ) -> Option<Spun> {
        let mut driver = None;
        let mut may_lead = tuning::WAITER_LEADS;
        let spun = wait.spin(until, || {
            if driver.is_none() && may_lead && self.is_alone() {
                driver = self.take();
            }
            let Some(leading) = &mut driver else { return spin::burst(&mut *news) };
            self.turn_of(leading, Some(Duration::ZERO), || true);
            // Batches that are held back are for the I/O thread, and must not wait until the spin is over.
            may_lead = !leading.is_batching();
            if !may_lead {
                driver.take().into_iter().for_each(|driver| self.leave(driver));
            }
            news()
        });
        match driver {
            Some(driver) => self.leave(driver),
            // The I/O thread brings a message that this thread could have read itself.
            None if may_lead => self.woken.store(own_address(), Ordering::Relaxed),
            None => {}
        }
        spun
    }

    /// Whether at most one thread waits, and no task.
    fn is_alone(&self) -> bool {
        self.waiters.load(Ordering::Relaxed) <= THREAD
    }

    /// Becomes the leader, unless somebody else is.
    fn take(&self) -> Option<MutexGuard<'_, Driver>> {
        self.driver.try_lock()
    }

    /// Leads, unless somebody else does, as long as the thread has to wait and is alone.
    fn lead_while_waiting(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        let Some(mut driver) = self.take() else { return };
        while asleep()
            && self.is_alone()
            && !driver.is_batching()
            && time_left(until) != Some(Duration::ZERO)
        {
            self.turn_of(&mut driver, time_left(until), asleep);
        }
        self.leave(driver);
    }

    /// Ends the leadership of a waiter: wakes the followers, and the I/O thread if it is needed.
    fn leave(&self, driver: MutexGuard<'_, Driver>) {
        // Only the I/O thread sweeps. It is told before it can take the driver.
        if driver.is_batching() {
            self.mailbox.state.waiter_leaves_batches();
        }
        let backlog = driver.has_more_to_do();
        self.give_up(driver);
        // From here on, a thread that posts calls the I/O thread. This looks for what was posted before.
        let (followers, needed) = self.mailbox.state.waiter_leaves(backlog);
        followers.iter().for_each(|thread| thread.unpark());
        if needed || self.manual || !self.is_alone() {
            self.mailbox.call_io_thread();
        }
    }

    /// Gives up the loop, so that nobody leads. A thread that posts after this calls the I/O thread; the caller
    /// looks for what was posted before.
    fn give_up(&self, driver: MutexGuard<'_, Driver>) {
        self.mailbox.state.away();
        drop(driver);
    }

    /// Sleeps as a follower until the leader leaves, at most until the time given. Does not sleep if, once it
    /// can be woken, `is_needed` says no. Returns the driver if the leader has just left.
    fn follow(
        &self,
        until: Option<Instant>,
        is_needed: impl Fn() -> bool,
    ) -> Option<MutexGuard<'_, Driver>> {
        let this = Parker::own();
        self.mailbox.state.follow(Arc::clone(&this));
        // The leader may have left before it could see the follower.
        let driver = self.take();
        if driver.is_none() && is_needed() {
            this.park(time_left(until));
        }
        // Always leave the list: the leader may lead for days, while the follower comes and goes each
        // millisecond.
        self.mailbox.state.unfollow(|follower| follower.id() == this.id());
        driver
    }
}

impl Wake for Leadership {
    /// Wakes a waiting thread. If it leads, ends its poll.
    fn wake(&self, thread: &Parker) {
        if thread.id() == current() {
            return; // the thread itself leads, and checks after the turn
        }
        self.woken.store(address(thread), Ordering::Relaxed);
        thread.unpark();
        self.mailbox.interrupt();
    }
}

/// The I/O thread.
impl Leadership {
    /// Makes the calling thread the I/O thread, until the runtime ends.
    pub(crate) fn serve(&self) {
        tuning::sharpen_timers();
        self.mailbox.set_io_thread(Parker::own());
        let mut driver = Some(self.driver.lock());
        while let Some(leading) = driver {
            if self.lead(leading) {
                return;
            }
            driver = Some(self.stand_by());
        }
    }

    /// Leads until the runtime has stopped, or a waiter should lead instead. Returns whether the runtime has
    /// stopped.
    fn lead(&self, mut driver: MutexGuard<'_, Driver>) -> bool {
        self.mailbox.state.io_thread_leads();
        loop {
            if driver.is_batching() {
                // Below it waits until the sweep is due.
                self.turn_of(&mut driver, Some(Duration::ZERO), || true);
            } else {
                self.turn_when_due(&mut driver);
            }
            if self.loss.is_lost() {
                driver.abandon();
            }
            if driver.is_stopped() {
                return true;
            }
            if let Some(pause) = driver.until_sweep() {
                // Give the senders time to fill the batch.
                driver.await_sweep(pause);
                self.run(&mut driver, Driver::sweep);
            } else if self.take_lone_wake() && !driver.is_batching() && tuning::WAITER_LEADS {
                // The turn has brought a lone waiter its message. It will come back, and lead.
                self.give_up(driver);
                return false;
            }
        }
    }

    /// Makes a turn once there is something to do: polls, and before that spins if it pays for the waiters.
    fn turn_when_due(&self, driver: &mut Driver) {
        if self.eager.load(Ordering::Relaxed) == 0 {
            return self.turn_of(driver, None, || true);
        }
        let mut wait = self.spin.begin();
        if wait.claim_spin() {
            let mut found = false;
            let spun = wait.spin(None, || {
                self.turn_of(driver, Some(Duration::ZERO), || true);
                found = !driver.was_idle() || self.loss.is_lost();
                found
            });
            spun.into_iter().for_each(|spun| self.spins.count(spun));
            if found {
                return;
            }
        }
        self.turn_of(driver, None, || true);
        wait.note_sleep();
    }

    /// Takes the note of a waiting thread that has been woken. Returns whether there was one, and no other waits.
    /// One that does sleeps, and would not lead: if the one that was woken stayed away, nobody would.
    fn take_lone_wake(&self) -> bool {
        let woken = self.woken.load(Ordering::Relaxed);
        if woken == 0 {
            return false;
        }
        // This may overwrite a later wake: at worst the I/O thread leads for one more message.
        self.woken.store(0, Ordering::Relaxed);
        let who = self.who.load(Ordering::Relaxed);
        // It may have left its wait already.
        self.is_alone() && (who == 0 || who == woken)
    }

    /// Leaves the loop to waiters, until none of them leads any more or the I/O thread is needed. Returns the
    /// driver.
    fn stand_by(&self) -> MutexGuard<'_, Driver> {
        let state = &self.mailbox.state;
        let mut interval = SHORTEST_INTERVAL;
        loop {
            let led = state.led();
            if !self.is_needed() {
                Parker::own().nap(interval);
            }
            // A waiter that has led during the interval will come back: leave the loop to it.
            let idle = state.led() == led;
            if (idle || self.is_needed())
                // A waiter that leads now may poll for long: sleep until it leaves, then check again.
                && let Some(driver) = self.take().or_else(|| self.follow(None, || true))
            {
                return driver;
            }
            interval = self.next_interval(interval);
        }
    }

    /// Whether the I/O thread must lead if nobody else does.
    fn is_needed(&self) -> bool {
        !self.is_alone() || self.mailbox.state.needs_io_thread()
    }

    /// How long the I/O thread stands by after `interval`, in which a waiter has led.
    fn next_interval(&self, interval: Duration) -> Duration {
        if self.mailbox.state.take_backlog() {
            SHORTEST_INTERVAL
        } else {
            (interval * 3 / 2).min(LONGEST_INTERVAL)
        }
    }
}

/// Runtimes without an I/O thread.
impl Leadership {
    /// Makes one turn, as soon as nobody else leads. For the program.
    pub(crate) fn turn(&self, until: Option<Instant>) -> io::Result<()> {
        loop {
            if let Some(mut driver) = self.take() {
                let turned = self.run(&mut driver, |driver| {
                    let turned = driver.turn(time_left(until), || true);
                    driver.sweep();
                    turned
                });
                self.give_up(driver);
                self.promote();
                return turned.unwrap_or(Ok(()));
            }
            if time_left(until) == Some(Duration::ZERO) {
                return Ok(());
            }
            self.follow(until, || true);
        }
    }

    /// Waits while `asleep`, at most until the time given. Leads, or follows while another thread leads.
    fn lead_or_follow(&self, until: Option<Instant>, asleep: &impl Fn() -> bool) {
        while asleep() && time_left(until) != Some(Duration::ZERO) {
            if let Some(mut driver) = self.take().or_else(|| self.follow(until, asleep)) {
                self.turn_of(&mut driver, time_left(until), asleep);
                self.run(&mut driver, Driver::sweep);
                self.give_up(driver);
            }
        }
        self.promote();
    }

    /// Wakes the followers and the task that turns the loop, of which one will lead. Called after the driver is
    /// given up.
    fn promote(&self) {
        self.wake_followers();
        self.mailbox.call_io_thread();
    }

    /// Wakes the followers, of which one will lead.
    fn wake_followers(&self) {
        self.mailbox.state.promote().iter().for_each(|thread| thread.unpark());
    }

    /// How many threads follow.
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

/// Event loops in simulations.
#[cfg(feature = "testing")]
impl Leadership {
    /// Makes the loop part of a simulation.
    pub(crate) fn simulate(&self, reports: Arc<dyn crate::io::Reports>) {
        self.driver.lock().simulate(reports);
        self.is_simulated.store(true, Ordering::Relaxed);
    }

    /// Whether a thread that waits leaves the loop to the director of a simulation.
    fn is_left_to_the_director(&self) -> bool {
        let is_simulated = self.is_simulated.load(Ordering::Relaxed);
        check_world(is_simulated);
        is_simulated
    }

    /// Makes one turn, for the director. Returns whether there was anything to do, and when there is next.
    pub(crate) fn turn_simulated(&self) -> io::Result<(bool, Option<Instant>)> {
        let mut driver = self.driver.lock();
        let turned = self.run(&mut driver, |driver| {
            let turned = driver.turn(Some(Duration::ZERO), || true);
            driver.sweep();
            turned
        });
        let was_busy = !driver.was_idle() || driver.has_more_to_do() || driver.is_batching();
        let next = driver.next_due();
        self.give_up(driver);
        let was_busy = was_busy || !self.mailbox.state.is_empty();
        turned.unwrap_or(Ok(())).map(|()| (was_busy, next))
    }
}

/// For a thread that is about to wait for a loop, which is part of a simulation or not.
///
/// # Panics
///
/// The loop is part of a simulation and the thread is not, or the other way round: nobody would ever wake it.
#[cfg(feature = "testing")]
pub(crate) fn check_world(is_loop_simulated: bool) {
    let is_thread_simulated = time::is_simulated();
    assert!(
        is_thread_simulated || !is_loop_simulated,
        "a thread that is not part of the simulation waits in a call of a simulated socket"
    );
    assert!(
        is_loop_simulated || !is_thread_simulated,
        "a thread of a simulation waits in a call of a socket that is not part of it"
    );
}

/// Waits while `asleep`, at most until the time given.
pub(crate) fn park(until: Option<Instant>, asleep: &impl Fn() -> bool) {
    let this = Parker::own();
    while asleep() {
        let left = time_left(until);
        if left == Some(Duration::ZERO) {
            return;
        }
        this.park(left);
    }
}

fn time_left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(time::now()))
}

/// The identity of a thread, never 0. As long as the thread lives no other has it.
fn address(thread: &Parker) -> usize {
    std::ptr::from_ref(thread).addr()
}

/// The address of the calling thread.
fn own_address() -> usize {
    address(&Parker::own())
}

fn current() -> ThreadId {
    thread::current().id()
}

/// Logs the error and pauses, so that the loop does not burn a core. Only a bug or a machine out of memory
/// leads here.
fn cannot_poll(error: &io::Error) {
    crate::contain::record!(Error, { reason: error }, "the event loop cannot poll: {error}");
    thread::sleep(Duration::from_millis(10));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The waiter comes back and leads, but only the I/O thread writes what is held back.
    #[test]
    fn a_waiter_that_leaves_batches_behind_brings_the_io_thread_back() {
        let mut driver = Driver::new().unwrap();
        driver.hold_back_a_batch();
        let leadership = Leadership::new(driver, false);
        assert!(calls(&leadership, |leadership| leadership.lead_while_waiting(None, &|| true)));
        assert!(leadership.is_needed(), "it would stand by for as long as waiters lead");
    }

    /// Else nobody would lead: the one has its message, and may stay away for long, and the other is parked.
    #[test]
    fn the_io_thread_leads_on_if_another_waits_beside_the_one_that_it_has_woken() {
        let leadership = Leadership::new(Driver::new().unwrap(), false);
        let (takes, woken) = (Leadership::take_lone_wake, Parker::own());
        assert!(!takes(&leadership), "nobody was woken");
        let wake = || leadership.woken.store(address(&woken), Ordering::Relaxed);
        wake();
        assert!(takes(&leadership) && !takes(&leadership), "it has left its wait, once");
        leadership.count_on(THREAD, false);
        leadership.who.store(address(&woken), Ordering::Relaxed);
        wake();
        assert!(takes(&leadership), "it is the only one");
        leadership.who.store(1, Ordering::Relaxed);
        wake();
        assert!(!takes(&leadership), "another waits, and it has left");
    }

    /// The waiter has its message, and may stay away for long while other connections have data to read.
    #[test]
    fn a_waiter_that_leaves_unread_connections_behind_has_the_io_thread_look_soon() {
        let mut driver = Driver::new().unwrap();
        driver.leave_undone();
        let leadership = Leadership::new(driver, false);
        assert!(calls(&leadership, |leadership| leadership.lead_while_waiting(None, &|| false)));
        assert_eq!(leadership.next_interval(LONGEST_INTERVAL), SHORTEST_INTERVAL);
        // Once, if nothing is left behind again.
        assert_eq!(leadership.next_interval(LONGEST_INTERVAL), LONGEST_INTERVAL);
    }

    /// The I/O thread is left alone: this is what saves a switch of threads for each message.
    #[test]
    fn a_waiter_that_leaves_nothing_behind_calls_nobody() {
        let leadership = Leadership::new(Driver::new().unwrap(), false);
        leadership.lead_while_waiting(None, &|| false);
        assert!(!leadership.is_needed());
        assert_eq!(leadership.next_interval(LONGEST_INTERVAL), LONGEST_INTERVAL);
    }

    /// Otherwise nobody might be left to lead: the thread that spun has its message.
    #[test]
    fn a_waiter_leads_when_who_has_led_while_it_spun_leaves() {
        if !tuning::WAITER_LEADS {
            return eprintln!("SKIPPED: a thread that spins does not lead");
        }
        let leadership = Leadership::new(Driver::new().unwrap(), true);
        let asleep = AtomicBool::new(true);
        let late = Instant::now() + Duration::from_secs(20);
        let spin = Spin::new(Some(Duration::from_secs(20)));
        thread::scope(|scope| {
            let mut looks = 0;
            let spun = leadership.spin(&spin.begin(), None, &mut || {
                looks += 1;
                if looks > 1 {
                    return true;
                }
                scope.spawn(|| {
                    leadership.wait(Some(late), false, &|| asleep.load(Ordering::Relaxed))
                });
                while leadership.followers() == 0 {
                    thread::yield_now();
                }
                false
            });
            if spun.is_none() {
                return eprintln!("SKIPPED: one processor");
            }
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
        leadership.mailbox.set_io_thread(Parker::own());
        lead(leadership);
        // A thread that was called does not sleep.
        thread::park_timeout(Duration::from_secs(20));
        Instant::now() < late
    }
}
