//! Signal: where calls wait until they can go on.
//!
//! Owns the list of waiters of one socket and the rule by which they are woken. A waiter is a thread
//! or a task; it says what it waits for, looks once more, and sleeps. Whoever changes something wakes
//! the longest-waiting one that is concerned. Knows nothing of sockets or protocols: a key tells apart
//! what is waited for.
//!
//! No wake-up is lost: a waiter registers under the lock under which it found nothing to do, and
//! changes that are made without that lock (a bell) are followed by a fence and a look at the number
//! of waiters, while a waiter that has registered makes a fence and looks for such changes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::task::Waker;
use std::thread::Thread;

use crate::contain::contain;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, Rank, fence};

/// The waiters of one socket, each of which waits for one `K`.
#[derive(Debug)]
pub(crate) struct Signal<K> {
    waiters: Mutex<Waiters<K>>,
    /// How many are registered: lets a bell see without a lock that nobody waits.
    registered: AtomicUsize,
}

#[derive(Debug)]
struct Waiters<K> {
    next: u64,
    /// By what they wait for, and within it in the order of arrival.
    sleeping: BTreeMap<WaiterId<K>, Sleeper>,
}

/// A place in the queue of those who wait for the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterId<K> {
    interest: K,
    number: u64,
}

impl<K> WaiterId<K> {
    /// What is waited for.
    pub(crate) fn interest(self) -> K {
        self.interest
    }
}

/// How a waiter is woken.
#[derive(Clone, Debug)]
pub(crate) enum Sleeper {
    /// A parked thread.
    Thread(Thread),
    /// A thread that may be somewhere else than parked while it waits: whoever sent it there wakes it.
    Member(Thread, Arc<dyn Wake>),
    /// A task.
    Task(Waker),
}

/// Gets a waiting thread out of wherever it waits.
pub(crate) trait Wake: fmt::Debug + Send + Sync {
    /// Has `thread` look whether it is still asleep.
    fn wake(&self, thread: &Thread);
}

/// Who will enter the socket because of [`Signal::wake_any`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// A thread.
    Sure,
    /// A task, while others sleep. A task need not be polled for as long as it lives.
    Doubtful,
    /// No one, or a task on which no other call depends.
    Nobody,
}

impl Sleeper {
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Member(thread, whereabouts) => whereabouts.wake(&thread),
            // Foreign code: what it does wrong must not end the thread that wakes, which may be the
            // one that serves all other sockets.
            Self::Task(waker) => {
                contain("a task's waker", || waker.wake());
            }
        }
    }
}

impl<K: Ord + Copy> Signal<K> {
    pub(crate) fn new() -> Self {
        let waiters = Waiters { next: 0, sleeping: BTreeMap::new() };
        Self { waiters: Mutex::new(Rank::Waiters, waiters), registered: AtomicUsize::new(0) }
    }

    /// A new place at the end of the queue for `interest`.
    pub(crate) fn new_waiter(&self, interest: K) -> WaiterId<K> {
        let mut waiters = self.waiters.lock();
        waiters.next += 1;
        WaiterId { interest, number: waiters.next }
    }

    /// Puts `sleeper` to wait at its place. Afterwards look once more for what a bell may have
    /// announced, then sleep.
    pub(crate) fn register(&self, waiter: WaiterId<K>, sleeper: Sleeper) {
        let mut waiters = self.waiters.lock();
        waiters.sleeping.insert(waiter, sleeper);
        self.registered.store(waiters.sleeping.len(), Ordering::Relaxed);
        drop(waiters);
        // Pairs with the fence in `wake_any`: either the bell sees us, or we see what it announced.
        fence(Ordering::SeqCst);
    }

    /// Whether the waiter is still asleep: nobody has woken it since it registered.
    pub(crate) fn is_asleep(&self, waiter: WaiterId<K>) -> bool {
        // Nobody is registered: nor is this one. Whoever takes one off says so afterwards.
        self.is_awaited() && self.waiters.lock().sleeping.contains_key(&waiter)
    }

    /// Takes a waiter off. `false`: it has been woken already, and must pass on what it was woken
    /// for if it does not use it.
    pub(crate) fn cancel(&self, waiter: WaiterId<K>) -> bool {
        self.withdraw(waiter).is_some()
    }

    /// Takes a waiter off, as [`cancel`](Self::cancel) does, and gives it back.
    pub(crate) fn withdraw(&self, waiter: WaiterId<K>) -> Option<Sleeper> {
        self.remove(|sleeping| sleeping.remove(&waiter))
    }

    /// Whether anybody waits. Asked under the lock under which waiters register, the answer holds
    /// until that is given back.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.registered.load(Ordering::Relaxed) > 0
    }

    /// Wakes the one that has waited longest for `interest`.
    pub(crate) fn wake(&self, interest: K) {
        // No fence: `interest` became ready under the lock under which waiters register.
        if self.registered.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken = self.remove(|sleeping| {
            let waiter = *sleeping.range(span(interest)).next()?.0;
            sleeping.remove(&waiter)
        });
        if let Some(sleeper) = woken {
            sleeper.wake();
        }
    }

    /// Wakes one waiter, whatever it waits for: it enters the socket, and so hands over what the
    /// bell has announced to whomever it concerns.
    pub(crate) fn wake_any(&self) -> Visitor {
        // Pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        if self.registered.load(Ordering::Relaxed) == 0 {
            return Visitor::Nobody;
        }
        let woken = self.remove(|sleeping| sleeping.pop_first().map(|(_, sleeper)| sleeper));
        let Some(sleeper) = woken else {
            return Visitor::Nobody;
        };
        let visitor = match sleeper {
            Sleeper::Thread(_) | Sleeper::Member(..) => Visitor::Sure,
            Sleeper::Task(_) if self.registered.load(Ordering::Relaxed) > 0 => Visitor::Doubtful,
            Sleeper::Task(_) => Visitor::Nobody,
        };
        sleeper.wake();
        visitor
    }

    /// Wakes everybody who waits for `interest`.
    pub(crate) fn wake_every(&self, interest: K) {
        // As in `wake`.
        if self.registered.load(Ordering::Relaxed) == 0 {
            return;
        }
        let (mut waiters, mut woken) = (self.waiters.lock(), Vec::new());
        while let Some((&waiter, _)) = waiters.sleeping.range(span(interest)).next() {
            woken.extend(waiters.sleeping.remove(&waiter));
        }
        self.registered.store(waiters.sleeping.len(), Ordering::Relaxed);
        drop(waiters);
        woken.into_iter().for_each(Sleeper::wake);
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        let mut waiters = self.waiters.lock();
        let woken = std::mem::take(&mut waiters.sleeping);
        self.registered.store(0, Ordering::Relaxed);
        drop(waiters);
        woken.into_values().for_each(Sleeper::wake);
    }

    fn remove(
        &self,
        take: impl FnOnce(&mut BTreeMap<WaiterId<K>, Sleeper>) -> Option<Sleeper>,
    ) -> Option<Sleeper> {
        let mut waiters = self.waiters.lock();
        let taken = take(&mut waiters.sleeping);
        self.registered.store(waiters.sleeping.len(), Ordering::Relaxed);
        taken
    }
}

/// All the places in the queue for `interest`.
fn span<K: Copy>(interest: K) -> RangeInclusive<WaiterId<K>> {
    WaiterId { interest, number: 0 }..=WaiterId { interest, number: u64::MAX }
}

/// That no wake-up is lost, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use std::task::Poll;

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::AtomicBool;

    const INTEREST: u32 = 0;

    /// Waits as a task until `there`: look, register, look again.
    fn wait(signal: &Signal<u32>, there: &AtomicBool) {
        let waiter = signal.new_waiter(INTEREST);
        loom::future::block_on(std::future::poll_fn(|cx| {
            if there.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            signal.register(waiter, Sleeper::Task(cx.waker().clone()));
            match there.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        signal.cancel(waiter);
    }

    #[test]
    fn a_bell_is_heard_by_who_is_about_to_sleep() {
        loom::model(|| {
            let signal = Arc::new(Signal::new());
            let there = Arc::new(AtomicBool::new(false));
            let ringer = thread::spawn({
                let (signal, there) = (Arc::clone(&signal), Arc::clone(&there));
                move || {
                    there.store(true, Ordering::Release);
                    signal.wake_any();
                }
            });
            wait(&signal, &there);
            ringer.join().unwrap();
        });
    }

    /// Each of two waiters is woken by one of two changes; nobody is woken in another's place.
    #[test]
    fn two_wakes_reach_two_waiters() {
        // Three threads: without a bound the number of interleavings is out of reach.
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(|| {
            let signal = Arc::new(Signal::new());
            let there = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
            let ringer = thread::spawn({
                let (signal, there) = (Arc::clone(&signal), Arc::clone(&there));
                move || {
                    for flag in &*there {
                        flag.store(true, Ordering::Release);
                    }
                    signal.wake_any();
                    signal.wake_any();
                }
            });
            let other = thread::spawn({
                let (signal, there) = (Arc::clone(&signal), Arc::clone(&there));
                move || wait(&signal, &there[0])
            });
            wait(&signal, &there[1]);
            other.join().unwrap();
            ringer.join().unwrap();
        });
    }

    #[test]
    fn a_waiter_that_leaves_knows_whether_it_was_woken() {
        loom::model(|| {
            let signal = Arc::new(Signal::new());
            let waiter = signal.new_waiter(INTEREST);
            let woken = Arc::new(AtomicBool::new(false));
            let waker = Waker::noop().clone();
            signal.register(waiter, Sleeper::Task(waker));
            let ringer = thread::spawn({
                let (signal, woken) = (Arc::clone(&signal), Arc::clone(&woken));
                move || {
                    signal.wake_any();
                    woken.store(true, Ordering::Release);
                }
            });
            let left_asleep = signal.cancel(waiter);
            ringer.join().unwrap();
            // Whichever was first: the waiter was taken off exactly once.
            assert!(!signal.cancel(waiter));
            assert!(left_asleep || woken.load(Ordering::Acquire));
        });
    }
}
