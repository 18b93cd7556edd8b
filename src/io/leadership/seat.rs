//! The seat of the leader: what only one thread at a time may have, and how it changes hands.
//!
//! Owns the lock around the event loop's driver, and the hand-shake between who leaves and the I/O
//! thread, which sleeps until then. Knows nothing of what is driven or of who else waits.

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, fence};

/// What the leader has, and whether the I/O thread wants it.
#[derive(Debug)]
pub(super) struct Seat<D> {
    driver: Mutex<D>,
    /// The I/O thread sleeps until a leader leaves.
    wanted: AtomicBool,
}

impl<D> Seat<D> {
    pub(super) fn new(driver: D) -> Self {
        Self { driver: Mutex::new(driver), wanted: AtomicBool::new(false) }
    }

    /// Takes the seat, once it is free.
    pub(super) fn wait(&self) -> MutexGuard<'_, D> {
        self.driver.lock()
    }

    /// Takes the seat if it is free.
    pub(super) fn take(&self) -> Option<MutexGuard<'_, D>> {
        self.driver.try_lock()
    }

    /// Leaves. Ask [`is_wanted`](Self::is_wanted) afterwards, and whether there is something to do.
    pub(super) fn leave(&self, driver: MutexGuard<'_, D>) {
        drop(driver);
        // Pairs with the one in `take_later`, and with the one of who posts a command: either they
        // find the seat free, or we see what they want.
        fence(Ordering::SeqCst);
    }

    /// Whether the I/O thread sleeps until somebody leaves. It is to be woken then.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// For the I/O thread, when another has the seat: sleeps until that one leaves. The seat, if it
    /// has done so just now.
    pub(super) fn take_later(&self, sleep: impl FnOnce()) -> Option<MutexGuard<'_, D>> {
        self.wanted.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `leave`
        let driver = self.take();
        if driver.is_none() {
            sleep();
        }
        self.wanted.store(false, Ordering::Relaxed);
        driver
    }
}

/// That the I/O thread does not sleep while nobody leads. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Arc;
    use loom::thread::{self, Thread};

    use super::*;

    /// A waiter that leads, and leaves.
    fn lead_once(seat: &Seat<()>, io_thread: &Thread) {
        let Some(driver) = seat.take() else { return };
        seat.leave(driver);
        if seat.is_wanted() {
            io_thread.unpark();
        }
    }

    /// What the I/O thread does when it has to lead: it does not end before it can.
    fn lead_at_last(seat: &Seat<()>) {
        while seat.take().or_else(|| seat.take_later(thread::park)).is_none() {}
    }

    #[test]
    fn the_io_thread_leads_when_the_last_waiter_has_left() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let seat = Arc::new(Seat::new(()));
            let waiters = [(); 2].map(|()| {
                let (seat, io_thread) = (Arc::clone(&seat), thread::current());
                thread::spawn(move || lead_once(&seat, &io_thread))
            });
            lead_at_last(&seat);
            waiters.into_iter().for_each(|waiter| waiter.join().unwrap());
        });
    }

    /// The I/O thread stays out for as long as it likes; a command is posted while the waiter leaves.
    #[test]
    fn what_is_posted_while_a_waiter_leaves_brings_the_io_thread_back() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let loops = Arc::new(Loop::default());
            let io_thread = thread::spawn({
                let loops = Arc::clone(&loops);
                move || loops.stay_out()
            });
            let (leaves, posts) = (io_thread.thread().clone(), io_thread.thread().clone());
            let waiter = thread::spawn({
                let loops = Arc::clone(&loops);
                move || loops.lead_and_leave(&leaves)
            });
            loops.post(&posts);
            waiter.join().unwrap();
            io_thread.join().unwrap();
        });
    }

    /// A seat, a command, and whether there is a leader, as the mailbox knows it.
    struct Loop {
        seat: Seat<()>,
        posted: AtomicBool,
        leaderless: AtomicBool,
    }

    impl Default for Loop {
        fn default() -> Self {
            let (posted, leaderless) = (AtomicBool::new(false), AtomicBool::new(false));
            Self { seat: Seat::new(()), posted, leaderless }
        }
    }

    impl Loop {
        fn post(&self, io_thread: &Thread) {
            self.posted.store(true, Ordering::Relaxed);
            fence(Ordering::SeqCst);
            if self.leaderless.load(Ordering::Relaxed) {
                io_thread.unpark();
            }
        }

        fn lead_and_leave(&self, io_thread: &Thread) {
            // The I/O thread has it only if it has seen what was posted.
            let Some(driver) = self.seat.take() else { return };
            self.leaderless.store(true, Ordering::Relaxed);
            self.seat.leave(driver);
            if self.seat.is_wanted() || self.posted.load(Ordering::Relaxed) {
                io_thread.unpark();
            }
        }

        fn stay_out(&self) {
            loop {
                if !self.posted.load(Ordering::Relaxed) {
                    thread::park();
                } else if self.seat.take().or_else(|| self.seat.take_later(thread::park)).is_some()
                {
                    return;
                }
            }
        }
    }
}
