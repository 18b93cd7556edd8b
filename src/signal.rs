//! Signal: where calls wait until they can go on.
//!
//! Owns the list of waiters of one socket and the rule by which they are woken. A waiter is a thread or a task:
//! it registers for what it waits for, checks once more, and sleeps. A thread that changes something wakes the
//! waiter that has waited longest for it. The signal knows nothing of sockets or protocols: a key says what is
//! waited for.
//!
//! No wake-up is lost. A waiter registers under the lock under which it found nothing to do. A change that is
//! made without that lock (a bell) is followed by a fence and a check for waiters, and a waiter that has
//! registered makes a fence and checks for such changes.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::task::Waker;

use crate::contain::contain;
use crate::duty::Called;
use crate::parker::Parker;
use crate::sync::{Arc, AtomicUsize, Mutex, Ordering, Rank, fence};

/// The waiters of one socket, each of which waits for one `K`.
#[derive(Debug)]
pub(crate) struct Signal<K> {
    waiters: Mutex<Waiters<K>>,
    /// The number of registered waiters: lets a bell see without a lock that nobody waits.
    registered: AtomicUsize,
    /// How often the list has changed: lets one that spins see without a lock that it has not.
    changes: AtomicUsize,
}

#[derive(Debug)]
struct Waiters<K> {
    next: u64,
    sleeping: Sleeping<K>,
    /// Those that were woken and have not attempted again.
    called: Called<WaiterId<K>>,
}

/// Those who sleep, sorted by what they wait for, then by arrival.
///
/// Most sockets have one waiter again and again, for which a tree would allocate a node each time. So the first
/// lies beside the tree.
#[derive(Debug)]
struct Sleeping<K> {
    /// `None`: there are no others either.
    first: Option<(WaiterId<K>, Sleeper)>,
    others: BTreeMap<WaiterId<K>, Sleeper>,
}

impl<K: Ord + Copy> Sleeping<K> {
    fn new() -> Self {
        Self { first: None, others: BTreeMap::new() }
    }

    fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.others.len()
    }

    fn insert(&mut self, waiter: WaiterId<K>, sleeper: Sleeper) {
        match &mut self.first {
            None => self.first = Some((waiter, sleeper)),
            Some(first) if waiter <= first.0 => {
                let (second, its) = std::mem::replace(first, (waiter, sleeper));
                if second != waiter {
                    self.others.insert(second, its);
                }
            }
            Some(_) => _ = self.others.insert(waiter, sleeper),
        }
    }

    fn contains(&self, waiter: WaiterId<K>) -> bool {
        match &self.first {
            Some((first, _)) if *first < waiter => self.others.contains_key(&waiter),
            first => first.as_ref().is_some_and(|(first, _)| *first == waiter),
        }
    }

    fn remove(&mut self, waiter: WaiterId<K>) -> Option<Sleeper> {
        match &self.first {
            Some((first, _)) if *first == waiter => self.pop_first().map(|(_, sleeper)| sleeper),
            _ => self.others.remove(&waiter),
        }
    }

    fn pop_first(&mut self) -> Option<(WaiterId<K>, Sleeper)> {
        let first = self.first.take()?;
        if !self.others.is_empty() {
            self.first = self.others.pop_first();
        }
        Some(first)
    }

    /// Takes out the one that has waited longest for `interest`.
    fn pop_first_of(&mut self, interest: K) -> Option<(WaiterId<K>, Sleeper)> {
        let waiter = match &self.first {
            Some((first, _)) if first.interest == interest => return self.pop_first(),
            _ => *self.others.range(span(interest)).next()?.0,
        };
        self.others.remove_entry(&waiter)
    }

    /// Takes out all, in their order.
    fn take(&mut self) -> impl Iterator<Item = (WaiterId<K>, Sleeper)> + use<K> {
        let Self { first, others } = std::mem::replace(self, Self::new());
        first.into_iter().chain(others)
    }
}

/// The identity of a waiter, which is its position among those that wait for the same thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct WaiterId<K> {
    interest: K,
    number: u64,
}

impl<K> WaiterId<K> {
    /// What the waiter waits for.
    pub(crate) fn interest(self) -> K {
        self.interest
    }
}

/// How a waiter is woken.
#[derive(Clone, Debug)]
pub(crate) enum Sleeper {
    /// A parked thread.
    Thread(Arc<Parker>),
    /// A thread that may wait elsewhere than parked, such as in a poll. The [`Wake`] wakes it there.
    Member(Arc<Parker>, Arc<dyn Wake>),
    /// A task.
    Task(Waker),
}

/// Wakes a thread wherever it waits.
pub(crate) trait Wake: fmt::Debug + Send + Sync {
    /// Makes `thread` check whether it is still asleep.
    fn wake(&self, thread: &Parker);
}

/// Whether [`Signal::wake_any`] has found somebody who will enter the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Visitor {
    /// A thread.
    Sure,
    /// A task, while other waiters sleep. A woken task may never be polled again.
    Doubtful,
    /// No one, or a task on which no other call depends.
    Nobody,
}

impl Sleeper {
    pub(crate) fn wake(self) {
        match self {
            Self::Thread(thread) => thread.unpark(),
            Self::Member(thread, whereabouts) => whereabouts.wake(&thread),
            // Foreign code: its panic must not end the waking thread, which may be the one that serves all
            // other sockets.
            Self::Task(waker) => {
                contain("a task's waker", || waker.wake());
            }
        }
    }
}

impl<K: Ord + Copy> Signal<K> {
    pub(crate) fn new() -> Self {
        let waiters = Waiters { next: 0, sleeping: Sleeping::new(), called: Called::new() };
        Self {
            waiters: Mutex::new(Rank::Waiters, waiters),
            registered: AtomicUsize::new(0),
            changes: AtomicUsize::new(0),
        }
    }

    /// Registers a waiter for `interest`. One that is not made yet becomes the last in the queue for that.
    /// Afterwards, check once more whether a bell has announced anything, then sleep.
    pub(crate) fn register(&self, waiter: &mut Option<WaiterId<K>>, interest: K, sleeper: Sleeper) {
        let mut waiters = self.waiters.lock();
        let waiter = *waiter.get_or_insert_with(|| {
            waiters.next += 1;
            WaiterId { interest, number: waiters.next }
        });
        waiters.sleeping.insert(waiter, sleeper);
        waiters.note_attempt(waiter);
        self.set_registered(&waiters);
        drop(waiters);
        // Pairs with the fence in `wake_any`: either the bell sees this waiter, or the waiter sees what it
        // announced.
        fence(Ordering::SeqCst);
    }

    /// Whether nobody has woken the waiter since it registered.
    pub(crate) fn is_asleep(&self, waiter: WaiterId<K>) -> bool {
        // Without the lock if nobody is registered: the count falls after a waiter was removed.
        self.is_awaited() && self.waiters.lock().sleeping.contains(waiter)
    }

    /// Whether the waiter has been woken. Cheap to ask again and again: `seen` says whether anything has changed
    /// since; `None` at first.
    pub(crate) fn check_woken(&self, waiter: WaiterId<K>, seen: &mut Option<usize>) -> bool {
        let changes = self.changes.load(Ordering::Relaxed);
        seen.replace(changes) != Some(changes) && !self.is_asleep(waiter)
    }

    /// Removes a waiter. `false`: it has been woken already, and must wake another one if it does not use what
    /// it was woken for.
    pub(crate) fn cancel(&self, waiter: WaiterId<K>) -> bool {
        self.withdraw(waiter).is_some()
    }

    /// Removes a waiter, as [`cancel`](Self::cancel) does, and returns its sleeper.
    pub(crate) fn withdraw(&self, waiter: WaiterId<K>) -> Option<Sleeper> {
        // As in `is_asleep`.
        if !self.is_awaited() {
            return None;
        }
        let mut waiters = self.waiters.lock();
        let withdrawn = waiters.sleeping.remove(waiter);
        self.set_registered(&waiters);
        withdrawn
    }

    /// Whether anybody waits. Under the lock under which waiters register, no waiter can come meanwhile.
    #[inline]
    pub(crate) fn is_awaited(&self) -> bool {
        self.registered.load(Ordering::Relaxed) > 0
    }

    /// Wakes the waiter that has waited longest for `interest`.
    pub(crate) fn wake(&self, interest: K) {
        // No fence: `interest` became ready under the lock under which waiters register.
        if self.registered.load(Ordering::Relaxed) == 0 {
            return;
        }
        let woken = self.call(|sleeping| sleeping.pop_first_of(interest));
        if let Some(sleeper) = woken {
            sleeper.wake();
        }
    }

    /// Wakes one waiter, whatever it waits for: it enters the socket, whose protocol then handles what the bell
    /// has announced.
    pub(crate) fn wake_any(&self) -> Visitor {
        // Pairs with the fence in `register`.
        fence(Ordering::SeqCst);
        if self.registered.load(Ordering::Relaxed) == 0 {
            return Visitor::Nobody;
        }
        let woken = self.call(Sleeping::pop_first);
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

    /// Wakes all waiters for `interest`.
    #[inline]
    pub(crate) fn wake_every(&self, interest: K) {
        // As in `wake`.
        if self.is_awaited() {
            self.wake_those_for(interest);
        }
    }

    #[cold]
    fn wake_those_for(&self, interest: K) {
        let (mut waiters, mut woken) = (self.waiters.lock(), Vec::new());
        while let Some((waiter, sleeper)) = waiters.sleeping.pop_first_of(interest) {
            waiters.called.note(waiter);
            woken.push(sleeper);
        }
        self.set_registered(&waiters);
        drop(waiters);
        woken.into_iter().for_each(Sleeper::wake);
    }

    /// Wakes all waiters.
    pub(crate) fn wake_all(&self) {
        let mut waiters = self.waiters.lock();
        let woken: Vec<_> = waiters.sleeping.take().collect();
        self.set_registered(&waiters);
        woken.iter().for_each(|&(waiter, _)| waiters.called.note(waiter));
        drop(waiters);
        woken.into_iter().for_each(|(_, sleeper)| sleeper.wake());
    }

    /// Takes out a waiter to wake it.
    fn call(
        &self,
        take: impl FnOnce(&mut Sleeping<K>) -> Option<(WaiterId<K>, Sleeper)>,
    ) -> Option<Sleeper> {
        let mut waiters = self.waiters.lock();
        let taken = take(&mut waiters.sleeping);
        self.set_registered(&waiters);
        let (waiter, sleeper) = taken?;
        waiters.called.note(waiter);
        Some(sleeper)
    }

    /// Shows that the list has changed.
    fn set_registered(&self, waiters: &Waiters<K>) {
        self.registered.store(waiters.sleeping.len(), Ordering::Relaxed);
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes.wrapping_add(1), Ordering::Relaxed);
    }
}

impl<K: Ord> Waiters<K> {
    /// Notes that a waiter that may have been woken has attempted again.
    #[cfg(all(any(test, sinew_overslept), not(loom)))]
    fn note_attempt(&mut self, waiter: WaiterId<K>) {
        self.called.note_attempt(&waiter);
    }

    #[cfg(not(all(any(test, sinew_overslept), not(loom))))]
    #[inline(always)]
    fn note_attempt(&mut self, _: WaiterId<K>) {}
}

/// For the check of [`duty`](crate::duty).
impl<K: Ord + Copy> Signal<K> {
    /// Notes that a waiter that may have been woken has attempted again, or has given up and passed that on.
    #[cfg(all(any(test, sinew_overslept), not(loom)))]
    pub(crate) fn note_attempt(&self, waiter: WaiterId<K>) {
        self.waiters.lock().note_attempt(waiter);
    }

    #[cfg(not(all(any(test, sinew_overslept), not(loom))))]
    #[inline(always)]
    pub(crate) fn note_attempt(&self, _: WaiterId<K>) {}

    /// Whether a waiter sleeps, and none was woken that has not attempted again.
    #[cfg(all(any(test, sinew_overslept), not(loom)))]
    pub(crate) fn is_forgotten(&self, waiter: WaiterId<K>) -> bool {
        let waiters = self.waiters.lock();
        waiters.called.is_empty() && waiters.sleeping.contains(waiter)
    }
}

/// The ids of all waiters for `interest`.
fn span<K: Copy>(interest: K) -> RangeInclusive<WaiterId<K>> {
    WaiterId { interest, number: 0 }..=WaiterId { interest, number: u64::MAX }
}

/// Shows that no wake-up is lost, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use std::task::Poll;

    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::sync::{AtomicBool, bounded};

    const INTEREST: u32 = 0;

    /// Waits as a task until `there`: check, register, check again. Who was woken wakes the next, as an entry does that
    /// handles what bells have announced, also for others.
    fn wait(signal: &Signal<u32>, there: &AtomicBool) {
        let mut waiter = None;
        loom::future::block_on(std::future::poll_fn(|cx| {
            if there.load(Ordering::Acquire) {
                return Poll::Ready(());
            }
            signal.register(&mut waiter, INTEREST, Sleeper::Task(cx.waker().clone()));
            match there.load(Ordering::Acquire) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        }));
        if waiter.is_some_and(|waiter| !signal.cancel(waiter)) {
            signal.wake(INTEREST);
        }
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

    /// Two changes wake two waiters. A task that is polled for no reason, and has not seen its change yet, registers
    /// again, so both may wake the same one.
    #[test]
    fn two_wakes_reach_two_waiters() {
        // Three threads: without a bound the number of interleavings is out of reach.
        bounded(3).check(|| {
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
            let mut waiter = None;
            let woken = Arc::new(AtomicBool::new(false));
            let waker = Waker::noop().clone();
            signal.register(&mut waiter, INTEREST, Sleeper::Task(waker));
            let waiter = waiter.unwrap();
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

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    type Waiter = WaiterId<u8>;

    fn waiter(interest: u8, number: u64) -> Waiter {
        WaiterId { interest, number }
    }

    fn order(sleeping: &Sleeping<u8>) -> Vec<Waiter> {
        let first = sleeping.first.iter().map(|(waiter, _)| *waiter);
        first.chain(sleeping.others.keys().copied()).collect()
    }

    /// Those who sleep after `arrivals`.
    fn asleep(arrivals: &[Waiter]) -> Sleeping<u8> {
        let mut sleeping = Sleeping::new();
        for &waiter in arrivals {
            sleeping.insert(waiter, Sleeper::Thread(Parker::own()));
        }
        sleeping
    }

    #[test]
    fn waiters_are_sorted_in_whatever_order_they_come_and_go() {
        let sorted = [waiter(1, 2), waiter(1, 5), waiter(2, 1), waiter(3, 3)];
        for mut arrivals in (0..4).flat_map(|first| (0..4).map(move |second| (first, second))).map(
            |(first, second)| {
                let mut arrivals = sorted;
                arrivals.swap(0, first);
                arrivals.swap(1, second);
                arrivals
            },
        ) {
            assert_eq!(order(&asleep(&arrivals)), sorted);
            for gone in sorted {
                let left: Vec<_> = sorted.into_iter().filter(|it| *it != gone).collect();
                let mut sleeping = asleep(&arrivals);
                assert!(sleeping.contains(gone) && sleeping.remove(gone).is_some());
                assert!(!sleeping.contains(gone) && sleeping.remove(gone).is_none());
                assert_eq!((order(&sleeping), sleeping.len()), (left, 3));
            }
            arrivals.reverse();
            for (interest, left) in [
                (1, &[waiter(1, 5), waiter(2, 1), waiter(3, 3)][..]),
                (2, &[waiter(1, 2), waiter(1, 5), waiter(3, 3)]),
                (3, &sorted[..3]),
                (4, &sorted),
            ] {
                let mut sleeping = asleep(&arrivals);
                assert_eq!(sleeping.pop_first_of(interest).is_some(), interest < 4);
                assert_eq!(order(&sleeping), left);
            }
            let mut sleeping = asleep(&arrivals);
            sleeping.pop_first();
            assert_eq!(order(&sleeping), sorted[1..]);
            assert_eq!((sleeping.take().count(), sleeping.len()), (3, 0));
        }
    }

    #[test]
    fn a_waiter_that_registers_again_is_there_once() {
        let [one, other] = [waiter(1, 1), waiter(1, 2)];
        assert_eq!(order(&asleep(&[one, other, one, other])), [one, other]);
    }
}
