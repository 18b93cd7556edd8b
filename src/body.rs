//! Bodies: the bytes of messages. Dropping the last reference may run code of the program.
//!
//! A program may make a body of anything that holds bytes ([`Bytes::from_owner`]). Its destructor runs where
//! the last reference is dropped, perhaps deep inside a socket, in the middle of a change. That destructor is
//! not ours: it may take long, panic, or use the same socket. So a thread drops no [`Body`] while it holds
//! something that other threads wait for: it keeps the body for later, and drops it after letting go.
//!
//! Owns the bodies that each thread has put off, and [`StateLock`], the lock under which a thread puts them
//! off; and the [`Piece`] of each thread, which its small copies share.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};

use bytes::{Bytes, BytesMut};

use crate::contain::contain;
use crate::sync::{Mutex, MutexGuard, Rank, thread_local};

/// A copy of `bytes`, in fewer steps than [`Bytes::copy_from_slice`], which makes a vector first.
#[inline]
pub(crate) fn copied(bytes: &[u8]) -> Bytes {
    Box::<[u8]>::from(bytes).into()
}

/// Let copies share memory if they have at least this many bytes. Below that each would pin too much of it.
const LEAST_SHARED: usize = 64;
/// And at most so many. Beyond that an allocation for each is not worth saving.
const MOST_SHARED: usize = 256;
/// The bytes that share an allocation. What is kept of them pins at most sixteen times its own length.
const PIECE: usize = 16 * LEAST_SHARED;

/// A copy of `message`. If it is small, it shares memory with others that the thread has made. For received messages
/// only: sharing takes two locked instructions, which made a stream of sent messages slower.
#[inline]
pub(crate) fn copied_beside_others(message: &[u8]) -> Bytes {
    if !(LEAST_SHARED..=MOST_SHARED).contains(&message.len()) {
        return copied(message);
    }
    let shared = PIECE_OF_THREAD.try_with(|piece| piece.borrow_mut().copied(message));
    shared.unwrap_or_else(|_thread_ends| copied(message))
}

thread_local! {
    static PIECE_OF_THREAD: RefCell<Piece> = RefCell::new(Piece(BytesMut::new()));
}

/// Memory that the small copies of one thread share. It is allocated once for several of them, and used again if all
/// were dropped by the time it is full.
struct Piece(BytesMut);

impl Piece {
    #[inline]
    fn copied(&mut self, bytes: &[u8]) -> Bytes {
        if self.0.capacity() < bytes.len() {
            self.renew();
        }
        self.0.extend_from_slice(bytes);
        self.0.split().freeze()
    }

    #[cold]
    fn renew(&mut self) {
        if !self.0.try_reclaim(PIECE) {
            self.0 = BytesMut::with_capacity(PIECE);
        }
    }
}

/// The bytes of a message.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Body(Bytes);

impl Body {
    /// Take the bytes out. From now on nothing puts off their destructor.
    #[inline]
    pub(crate) fn into_bytes(mut self) -> Bytes {
        std::mem::take(&mut self.0)
    }
}

impl From<Bytes> for Body {
    #[inline]
    fn from(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl Deref for Body {
    type Target = Bytes;

    #[inline]
    fn deref(&self) -> &Bytes {
        &self.0
    }
}

impl DerefMut for Body {
    #[inline]
    fn deref_mut(&mut self) -> &mut Bytes {
        &mut self.0
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Drop for Body {
    #[inline]
    fn drop(&mut self) {
        if LATER.with(Later::is_in_force) {
            put_aside(std::mem::take(&mut self.0));
        }
    }
}

/// Keep `bytes` until the thread may drop them.
#[cold]
fn put_aside(bytes: Bytes) {
    // An empty body refers to nothing. A body that was moved out of is empty.
    if !bytes.is_empty() {
        LATER.with(|later| later.keep(bytes));
    }
}

thread_local! {
    static LATER: Later = const { Later::new() };
}

/// The bodies that a thread has put off.
///
/// It has no destructor, so that the thread can use it until its end. It leaks nothing: while no hold is in
/// force it is empty and owns no memory.
struct Later {
    /// How many holds are in force. While there is one, bodies are put off.
    holds: Cell<usize>,
    is_empty: Cell<bool>,
    has_others: Cell<bool>,
    /// Nearly always there is only one, which then takes no memory of its own.
    first: ManuallyDrop<Cell<Option<Bytes>>>,
    others: ManuallyDrop<Cell<Vec<Bytes>>>,
}

impl Later {
    const fn new() -> Self {
        Self {
            holds: Cell::new(0),
            is_empty: Cell::new(true),
            has_others: Cell::new(false),
            first: ManuallyDrop::new(Cell::new(None)),
            others: ManuallyDrop::new(Cell::new(Vec::new())),
        }
    }

    #[inline]
    fn is_in_force(&self) -> bool {
        self.holds.get() > 0
    }

    fn keep(&self, bytes: Bytes) {
        if self.is_empty.replace(false) {
            self.first.set(Some(bytes));
        } else {
            self.keep_behind(bytes);
        }
    }

    #[cold]
    #[inline(never)]
    fn keep_behind(&self, bytes: Bytes) {
        self.has_others.set(true);
        let mut others = self.others.take();
        others.push(bytes);
        self.others.set(others);
    }

    /// Takes out the body if it is the only one.
    #[inline]
    fn take_only(&self) -> Option<Bytes> {
        if self.has_others.get() {
            return None;
        }
        self.is_empty.set(true);
        self.first.take()
    }

    fn take(&self) -> Remains {
        self.is_empty.set(true);
        self.has_others.set(false);
        Remains { first: self.first.take(), others: self.others.take() }
    }
}

/// A hold: this thread puts off the bodies that it drops until this and all its other holds are dropped.
///
/// The bodies may come from messages of other threads, so a panic of a destructor is logged and goes no
/// further.
#[must_use = "bodies are put off as long as this lives"]
#[derive(Debug)]
pub(crate) struct PutOff {
    /// A hold applies only to the thread that made it.
    _not_send: PhantomData<*const ()>,
}

/// Begin a hold.
#[inline]
pub(crate) fn put_off() -> PutOff {
    LATER.with(|later| later.holds.set(later.holds.get() + 1));
    PutOff { _not_send: PhantomData }
}

impl Drop for PutOff {
    #[inline]
    fn drop(&mut self) {
        let is_over = LATER.with(|later| {
            let holds = later.holds.get() - 1;
            later.holds.set(holds);
            holds == 0 && !later.is_empty.get()
        });
        if is_over {
            drop_what_is_left();
        }
    }
}

#[cold]
#[inline(never)]
fn drop_what_is_left() {
    match LATER.with(Later::take_only) {
        Some(only) => contain(DESTRUCTOR, || drop(only)),
        None => drop(LATER.with(Later::take)),
    }
}

/// Bodies that nobody needs any more. Dropping this drops them, or puts them off again.
#[must_use = "the bodies are dropped with it"]
#[derive(Debug, Default)]
pub(crate) struct Remains {
    first: Option<Bytes>,
    others: Vec<Bytes>,
}

impl Drop for Remains {
    #[inline]
    fn drop(&mut self) {
        if let Some(first) = self.first.take() {
            let_go(first);
        }
        // Nearly always there is only one.
        if !self.others.is_empty() {
            self.others.drain(..).for_each(let_go);
        }
    }
}

/// Drop `bytes`, or put them off again.
fn let_go(bytes: Bytes) {
    if LATER.with(Later::is_in_force) {
        put_aside(bytes)
    } else {
        contain(DESTRUCTOR, || drop(bytes))
    }
}

/// What may panic when a body is dropped.
const DESTRUCTOR: &str = "the destructor of a message's body";

/// The lock of a state that holds messages. The thread puts off bodies while it holds the lock, and while it
/// drops the state.
#[derive(Debug)]
pub(crate) struct StateLock<T> {
    state: Mutex<T>,
    /// Dropped after the state, because it is declared after it.
    _behind: EndOfHold,
}

/// Ends the hold that the destructor of the lock begins.
#[derive(Debug)]
struct EndOfHold;

impl<T> StateLock<T> {
    pub(crate) fn new(state: T) -> Self {
        Self { state: Mutex::new(Rank::Socket, state), _behind: EndOfHold }
    }

    #[inline]
    pub(crate) fn lock(&self) -> StateGuard<'_, T> {
        // The hold begins last: a thread that waits for the lock puts nothing off.
        StateGuard { state: self.state.lock(), _bodies: put_off() }
    }
}

impl<T> Drop for StateLock<T> {
    fn drop(&mut self) {
        std::mem::forget(put_off());
    }
}

impl Drop for EndOfHold {
    fn drop(&mut self) {
        drop(PutOff { _not_send: PhantomData });
    }
}

/// The guard of a [`StateLock`]. Dropping it unlocks first, and then drops the bodies that were put off.
#[derive(Debug)]
pub(crate) struct StateGuard<'a, T> {
    state: MutexGuard<'a, T>,
    /// Dropped after the lock, because it is declared after it.
    _bodies: PutOff,
}

impl<T> StateGuard<'_, T> {
    /// Does what dropping it does, inlined into the calls that every message takes.
    #[inline(always)]
    pub(crate) fn release(self) {
        let Self { state, _bodies } = self;
        drop(state);
        drop(_bodies);
    }

    /// Unlock. Returns the bodies that were put off, if there are any, for the caller to drop.
    #[inline]
    pub(crate) fn unlock(self) -> Option<Remains> {
        let remains = LATER.with(|later| (!later.is_empty.get()).then(|| later.take()));
        drop(self);
        remains
    }
}

impl<T> Deref for StateGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.state
    }
}

impl<T> DerefMut for StateGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.state
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// Bytes that say when they are dropped.
    struct Owner(Sender<&'static str>, &'static str);

    impl AsRef<[u8]> for Owner {
        fn as_ref(&self) -> &[u8] {
            self.1.as_bytes()
        }
    }

    impl Drop for Owner {
        fn drop(&mut self) {
            self.0.send(self.1).unwrap();
            assert_ne!(self.1, "panics");
        }
    }

    struct Bench {
        tell: Sender<&'static str>,
        dropped: Receiver<&'static str>,
    }

    impl Bench {
        fn new() -> Self {
            let (tell, dropped) = channel();
            Self { tell, dropped }
        }

        fn body(&self, name: &'static str) -> Body {
            Body(Bytes::from_owner(Owner(self.tell.clone(), name)))
        }

        fn dropped(&self) -> Vec<&'static str> {
            self.dropped.try_iter().collect()
        }
    }

    fn copies(len: usize, count: usize) -> Vec<Bytes> {
        (0..count).map(|n| copied_beside_others(&vec![n as u8; len])).collect()
    }

    #[test]
    fn small_copies_share_a_piece_of_which_each_is_a_sixteenth() {
        let copies = copies(LEAST_SHARED, 64);
        assert!(copies.iter().enumerate().all(|(n, copy)| *copy == vec![n as u8; LEAST_SHARED]));
        let follows = |a: &Bytes, b: &Bytes| a.as_ptr().addr() + LEAST_SHARED == b.as_ptr().addr();
        let pieces: Vec<usize> = copies.chunk_by(follows).map(<[Bytes]>::len).collect();
        assert!(pieces.len() <= 5, "a part of the first may be used already: {pieces:?}");
        assert!(pieces.iter().all(|&copies| copies <= 16), "{pieces:?}");
    }

    #[test]
    fn a_piece_is_used_again_once_its_copies_are_dropped() {
        drop(copies(MOST_SHARED, 4));
        let at: std::collections::HashSet<_> =
            (0..100).map(|_| copied_beside_others(&[7; MOST_SHARED]).as_ptr().addr()).collect();
        assert!(at.len() <= 4);
        let kept = copies(MOST_SHARED, 100);
        assert!(kept.iter().enumerate().all(|(n, copy)| *copy == vec![n as u8; MOST_SHARED]));
    }

    #[test]
    fn a_thread_copies_until_its_end() {
        struct Late(Sender<Bytes>);
        impl Drop for Late {
            fn drop(&mut self) {
                self.0.send(copied_beside_others(&[7; LEAST_SHARED])).unwrap();
            }
        }
        std::thread_local! { static LATE: Cell<Option<Late>> = const { Cell::new(None) } }
        let (tell, told) = channel();
        std::thread::spawn(move || {
            LATE.set(Some(Late(tell)));
            drop(copied_beside_others(&[1; LEAST_SHARED]));
        });
        assert_eq!(told.recv().unwrap(), vec![7; LEAST_SHARED]);
    }

    #[test]
    fn a_body_is_dropped_at_once_where_nothing_is_held() {
        let it = Bench::new();
        drop(it.body("one"));
        assert_eq!(it.dropped(), ["one"]);
        assert_eq!(it.body("two").into_bytes(), "two");
        assert_eq!(it.dropped(), ["two"]);
    }

    #[test]
    fn a_body_is_put_off_until_the_last_hold_is_over() {
        let it = Bench::new();
        let (outer, lock) = (put_off(), StateLock::new(it.body("state")));
        {
            let mut state = lock.lock();
            *state = it.body("new state");
            drop(it.body("other"));
        }
        assert_eq!(it.dropped(), [""; 0]);
        drop(outer);
        assert_eq!(it.dropped(), ["state", "other"]);
        drop(lock);
        assert_eq!(it.dropped(), ["new state"]);
    }

    #[test]
    fn the_lock_is_free_when_what_was_put_off_is_dropped() {
        struct Looks(std::sync::Arc<StateLock<Option<Body>>>);
        impl AsRef<[u8]> for Looks {
            fn as_ref(&self) -> &[u8] {
                b"body"
            }
        }
        impl Drop for Looks {
            fn drop(&mut self) {
                assert!(self.0.lock().is_none());
            }
        }
        let lock = std::sync::Arc::new(StateLock::new(None));
        let body = Bytes::from_owner(Looks(std::sync::Arc::clone(&lock)));
        *lock.lock() = Some(Body(body));
        *lock.lock() = None;
        assert_eq!(std::sync::Arc::strong_count(&lock), 1, "the body is gone");
    }

    #[test]
    fn a_panic_of_one_that_was_put_off_takes_no_other_with_it() {
        let it = Bench::new();
        let state = StateLock::new(["panics", "two", "panics", "four"].map(|name| it.body(name)));
        drop(state);
        assert_eq!(it.dropped(), ["panics", "two", "panics", "four"]);
        drop(it.body("five"));
        assert_eq!(it.dropped(), ["five"], "nothing is put off any more");
    }

    #[test]
    fn what_was_put_off_can_be_taken_along() {
        let it = Bench::new();
        let lock = StateLock::new(Some(it.body("one")));
        let mut state = lock.lock();
        *state = None;
        let remains = state.unlock();
        drop(lock.lock());
        assert_eq!(it.dropped(), [""; 0]);
        drop(remains);
        assert_eq!(it.dropped(), ["one"]);
    }
}
