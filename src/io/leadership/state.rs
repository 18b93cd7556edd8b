//! The state of an event loop's leadership, as threads that do not lead see it.
//!
//! Owns the state word, which tells whoever posts something whom to call, and a leaf lock over what is
//! pending: commands, followers, and what the I/O thread must know of waiters that have led. Knows
//! nothing of drivers, polls and sockets: it says whom to call, and calls nobody.
//!
//! ```text
//!              at_work                  about_to_poll
//!   AWAY ------------------> AT_WORK <----------------> POLLING
//!     ^                      |     ^                       |
//!     +-------- away --------+     +---- called, once -----+  (and so from AWAY)
//! ```
//!
//! Nothing posted is overlooked, and no follower sleeps while nobody leads:
//!
//! * A leader that is about to poll stores POLLING, makes a fence, and checks once more. A thread that has
//!   changed something makes a fence and reads the word. Either the leader sees the change, or that thread
//!   sees POLLING.
//! * A leader that goes away stores AWAY, and then checks for commands under the lock. A thread that pushes
//!   a command later, under the same lock, reads AWAY or a newer value.
//! * A follower puts itself on the list under the lock, and then tries once more to take the driver. A leader
//!   gives the driver back, and then takes the list under the lock. If the leader takes the list first, the
//!   driver is free when the follower tries.

use crate::sync::{AtomicUsize, Mutex, Ordering, Rank, fence};

/// The leader is at work, or has been called: it checks once more before it sleeps.
const AT_WORK: usize = 0;
/// The leader is in the poll, or about to be.
const POLLING: usize = 1;
/// There is no leader.
const AWAY: usize = 2;

/// What the leader is doing, and what is pending: commands `C` and followers `F`.
#[derive(Debug)]
pub(crate) struct LeaderState<C, F> {
    /// The state word: one of the three above.
    leader: AtomicUsize,
    pending: Mutex<Pending<C, F>>,
}

/// What waits for a leader, or for the I/O thread.
#[derive(Debug)]
struct Pending<C, F> {
    /// Commands posted and not taken yet.
    commands: Vec<C>,
    /// There will be no leader again.
    closed: bool,
    /// The threads that sleep until the leader leaves.
    followers: Vec<F>,
    /// How often waiters have led.
    led: u64,
    /// A waiter has left batches unsent, and only the I/O thread sends those that are due.
    batches: bool,
    /// A waiter has left a backlog: connections with more to do than a turn allows.
    backlog: bool,
}

/// Whom to call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The leader: interrupt its poll.
    Poll,
    /// The I/O thread: there is no leader.
    IoThread,
}

impl<C, F> LeaderState<C, F> {
    /// A state with no leader yet.
    pub(crate) fn new() -> Self {
        let pending = Pending {
            commands: Vec::new(),
            closed: false,
            followers: Vec::new(),
            led: 0,
            batches: false,
            backlog: false,
        };
        Self { leader: AtomicUsize::new(AWAY), pending: Mutex::new(Rank::Loop, pending) }
    }

    /// Whom the caller must call to get its earlier change noticed; `None` if somebody will check in any
    /// case. Of several threads that ask at once, only one is told to call.
    pub(crate) fn call(&self, concerned: impl FnOnce(Call) -> bool) -> Option<Call> {
        // Pairs with the one in `about_to_poll`: either the leader sees what was changed, or we see
        // that it polls.
        fence(Ordering::SeqCst);
        let seen = self.leader.load(Ordering::Relaxed);
        let call = match seen {
            AT_WORK => return None,
            POLLING => Call::Poll,
            _ => Call::IoThread,
        };
        if !concerned(call) {
            return None;
        }
        // If this fails, the leader has moved on and has checked since, or another thread calls it.
        let exchanged =
            self.leader.compare_exchange(seen, AT_WORK, Ordering::AcqRel, Ordering::Relaxed);
        exchanged.is_ok().then_some(call)
    }

    /// Posts a command. Ask afterwards whom to [`call`](Self::call).
    pub(crate) fn push(&self, command: C) {
        let mut pending = self.pending.lock();
        // Once closed, drop the command: this state may long outlive the driver, and a command may own a
        // stream.
        if !pending.closed {
            pending.commands.push(command);
        }
    }

    /// Take the commands.
    pub(crate) fn take(&self) -> Vec<C> {
        std::mem::take(&mut self.pending.lock().commands)
    }

    /// Whether there are no commands.
    pub(crate) fn is_empty(&self) -> bool {
        self.pending.lock().commands.is_empty()
    }

    /// Take the last commands, and drop any posted later.
    pub(crate) fn close(&self) -> Vec<C> {
        let mut pending = self.pending.lock();
        pending.closed = true;
        std::mem::take(&mut pending.commands)
    }
}

/// For the leader.
impl<C, F> LeaderState<C, F> {
    /// Say that the leader is about to poll. It must check once more afterwards.
    pub(crate) fn about_to_poll(&self) {
        self.leader.store(POLLING, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `call`
    }

    /// Say that the leader is at work.
    pub(crate) fn at_work(&self) {
        self.leader.store(AT_WORK, Ordering::Relaxed);
    }

    /// Say that nobody leads for now. The caller must check for commands afterwards.
    pub(crate) fn away(&self) {
        // This needs no fence: commands are pushed and checked for under the lock.
        self.leader.store(AWAY, Ordering::Relaxed);
    }

    /// Take the followers, to wake them. Call this after giving the driver back.
    pub(crate) fn promote(&self) -> Vec<F> {
        std::mem::take(&mut self.pending.lock().followers)
    }

    /// As [`promote`](Self::promote), for a waiter that has led. Also says whether it must call the I/O
    /// thread.
    pub(crate) fn waiter_leaves(&self, backlog: bool) -> (Vec<F>, bool) {
        let mut pending = self.pending.lock();
        pending.led = pending.led.wrapping_add(1);
        let new_backlog = backlog && !std::mem::replace(&mut pending.backlog, true);
        let needed = pending.needs_io_thread() || new_backlog;
        (std::mem::take(&mut pending.followers), needed)
    }

    /// Tell the I/O thread that a waiter leaves batches unsent. Call this before giving the driver back: the
    /// I/O thread clears the mark as soon as it leads.
    pub(crate) fn waiter_leaves_batches(&self) {
        self.pending.lock().batches = true;
    }
}

/// For the I/O thread.
impl<C, F> LeaderState<C, F> {
    /// Say that the I/O thread leads, and so sends the batches that waiters have left.
    pub(crate) fn io_thread_leads(&self) {
        self.pending.lock().batches = false;
    }

    /// How often waiters have led.
    pub(crate) fn led(&self) -> u64 {
        self.pending.lock().led
    }

    /// Whether the I/O thread must lead if nobody else does.
    pub(crate) fn needs_io_thread(&self) -> bool {
        self.pending.lock().needs_io_thread()
    }

    /// Whether a waiter has left a backlog since this was asked last.
    pub(crate) fn take_backlog(&self) -> bool {
        std::mem::take(&mut self.pending.lock().backlog)
    }
}

/// For followers.
impl<C, F> LeaderState<C, F> {
    /// Put a follower on the list. It must then try once more to take the driver, and may sleep if it cannot.
    pub(crate) fn follow(&self, follower: F) {
        self.pending.lock().followers.push(follower);
    }

    /// Take the matching followers off the list, if they are still on it.
    pub(crate) fn unfollow(&self, is_it: impl Fn(&F) -> bool) {
        self.pending.lock().followers.retain(|follower| !is_it(follower));
    }

    /// How many threads sleep until the leader leaves.
    #[cfg(test)]
    pub(crate) fn followers(&self) -> usize {
        self.pending.lock().followers.len()
    }
}

impl<C, F> Pending<C, F> {
    fn needs_io_thread(&self) -> bool {
        self.batches || !self.commands.is_empty()
    }
}

/// That nothing posted is overlooked and nobody sleeps while nobody leads, in every interleaving. Run
/// with `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Arc;
    use loom::thread::{self, Thread};

    use super::*;
    use crate::sync::bounded;

    const FREE: usize = 0;
    const TAKEN: usize = 1;

    fn check(model: impl Fn() + Send + Sync + 'static) {
        bounded(3).check(model);
    }

    /// An event loop: its driver counts the commands it has taken. Parking stands for the poll, too.
    struct Loop {
        state: LeaderState<(), Thread>,
        /// The driver's lock. Not loom's, in which no thread is interrupted between two releases.
        driver: AtomicUsize,
        taken: AtomicUsize,
    }

    impl Loop {
        fn new() -> Arc<Self> {
            let (driver, taken) = (AtomicUsize::new(FREE), AtomicUsize::new(0));
            Arc::new(Self { state: LeaderState::new(), driver, taken })
        }

        /// As `Mailbox::post`. `polls` is who may be in the poll.
        fn post(&self, polls: &Thread, io_thread: &Thread) {
            self.state.push(());
            match self.state.call(|_| true) {
                None => {}
                Some(Call::Poll) => polls.unpark(),
                Some(Call::IoThread) => io_thread.unpark(),
            }
        }

        /// As `Driver::turn`.
        fn turn(&self, idle: impl FnOnce() -> bool) {
            self.state.at_work();
            let before = self.state.take().len();
            self.state.about_to_poll();
            if self.state.is_empty() && before == 0 && idle() {
                thread::park();
            }
            self.state.at_work();
            let taken = before + self.state.take().len();
            self.taken.store(self.taken() + taken, Ordering::Relaxed);
        }

        /// How many commands were taken, for the leader.
        fn taken(&self) -> usize {
            self.taken.load(Ordering::Relaxed)
        }

        /// As `Leadership::take`: whether the caller leads now.
        fn take(&self) -> bool {
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            self.driver.compare_exchange(FREE, TAKEN, success, failure).is_ok()
        }

        fn give_back(&self) {
            self.driver.store(FREE, Ordering::Release);
        }

        /// As `Leadership::follow`: whether the caller leads now.
        fn follow(&self) -> bool {
            self.state.follow(thread::current());
            let leads = self.take();
            if !leads {
                thread::park();
            }
            self.state.unfollow(|follower| follower.id() == thread::current().id());
            leads
        }

        /// As `Leadership::leave`.
        fn leave(&self, io_thread: &Thread) {
            self.state.away();
            self.give_back();
            let (followers, needed) = self.state.waiter_leaves(false);
            followers.iter().for_each(Thread::unpark);
            if needed {
                io_thread.unpark();
            }
        }

        /// The I/O thread stands by, and leads when it is called.
        fn stand_by(&self) {
            if !self.state.needs_io_thread() {
                thread::park();
            }
            while !self.take() && !self.follow() {}
        }

        /// As `Driver::await_sweep`, in which the I/O thread holds back a batch.
        fn hold_back(&self) {
            self.state.about_to_poll();
            if self.state.is_empty() {
                thread::park();
            }
            self.state.at_work();
        }
    }

    /// Two posters, a leader that polls, holds back, and polls again.
    #[test]
    fn what_is_posted_is_taken_by_who_polls_and_by_who_holds_back() {
        check(|| {
            let it = Loop::new();
            let posters = [(); 2].map(|()| {
                let (it, leader) = (Arc::clone(&it), thread::current());
                thread::spawn(move || it.post(&leader, &leader))
            });
            assert!(it.take());
            while it.taken() < 2 {
                it.turn(|| true);
                if it.taken() < 2 {
                    it.hold_back();
                }
            }
            posters.into_iter().for_each(|poster| poster.join().unwrap());
            assert!(it.state.is_empty());
        });
    }

    /// A thread that leads while it waits, and is woken by another: it leaves the poll. What it waits
    /// for is seen without a lock.
    #[test]
    fn who_leads_while_it_waits_is_woken_from_the_poll() {
        check(|| {
            let (it, asleep) = (Loop::new(), Arc::new(AtomicUsize::new(1)));
            let waker = thread::spawn({
                let (it, asleep, waiter) =
                    (Arc::clone(&it), Arc::clone(&asleep), thread::current());
                move || {
                    asleep.store(0, Ordering::Relaxed);
                    if it.state.call(|call| call == Call::Poll).is_some() {
                        waiter.unpark();
                    }
                }
            });
            let is_asleep = || asleep.load(Ordering::Relaxed) != 0;
            assert!(it.take());
            while is_asleep() {
                it.turn(is_asleep);
            }
            waker.join().unwrap();
        });
    }

    /// The I/O thread has to lead, and follows until it can.
    #[test]
    fn the_io_thread_leads_when_the_last_waiter_has_left() {
        check(|| {
            let it = Loop::new();
            let waiters = [(); 2].map(|()| {
                let (it, io_thread) = (Arc::clone(&it), thread::current());
                thread::spawn(move || {
                    if it.take() {
                        it.leave(&io_thread);
                    }
                })
            });
            while !it.take() && !it.follow() {}
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    /// A command is posted before, while or after a waiter leads: one of the two leaders takes it.
    #[test]
    fn what_is_posted_while_a_waiter_leads_and_leaves_is_taken() {
        check(|| {
            let it = Loop::new();
            let io_thread = thread::spawn({
                let it = Arc::clone(&it);
                move || {
                    it.stand_by();
                    let taken = it.state.take().len();
                    it.taken.store(it.taken() + taken, Ordering::Relaxed);
                }
            });
            let waiter = thread::spawn({
                let (it, io_thread) = (Arc::clone(&it), io_thread.thread().clone());
                move || {
                    if it.take() {
                        it.turn(|| false);
                        it.leave(&io_thread);
                    }
                    it.taken()
                }
            });
            it.post(waiter.thread(), io_thread.thread());
            // If the waiter has taken it, nobody calls the I/O thread, which stands by.
            if waiter.join().unwrap() == 1 {
                io_thread.thread().unpark();
            }
            io_thread.join().unwrap();
            assert_eq!(it.taken(), 1);
        });
    }
}
