//! Poller: one thread waits for many sockets at once.
//!
//! Owns the set of keys whose sockets are ready. The sockets say themselves when one is to be put in or
//! taken out ([`SetReady`]), so that a wait costs as much as there is ready, however many are watched, and
//! no descriptor is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::socket::watch::{Beacon, SetReady, Watching};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard};
use crate::sys::Origin;

/// What messages are received from, for [`Poller::add_recv`]: a socket, a context or a survey. Made here
/// only.
///
/// Sockets of several types go into one list as `&dyn PollRecv` or `Box<dyn PollRecv>`.
#[expect(private_bounds, reason = "made here only: how readiness is shown is nobody else's")]
pub trait PollRecv: WatchRecv {}

/// What sends messages, for [`Poller::add_send`]: a socket or a context. Made here only.
///
/// Sockets of several types go into one list as `&dyn PollSend` or `Box<dyn PollSend>`.
#[expect(private_bounds, reason = "made here only: how readiness is shown is nobody else's")]
pub trait PollSend: WatchSend {}

/// How it is shown that something can be received.
pub(crate) trait WatchRecv {
    /// Shows by `beacon` whether a `try_recv` would not have to wait.
    fn watch_recv(&self, beacon: Beacon) -> Watching;
}

/// How it is shown that something can be sent.
pub(crate) trait WatchSend {
    /// Shows by `beacon` whether a `try_send` would not have to wait.
    fn watch_send(&self, beacon: Beacon) -> Watching;
}

impl<T: WatchRecv> PollRecv for T {}

impl<T: WatchSend> PollSend for T {}

/// Waits for any of many sockets, contexts and surveys to become ready.
///
/// Each is added under a key of the program's choice, for receiving or for sending; for both it is added
/// twice, under two keys. A key is *ready* for exactly as long as the call in question would not have to
/// wait (level-triggered): [`wait`](Self::wait) yields it again and again until that is done. A socket
/// that is closed is ready for everything, until it is removed. The poller keeps no socket open.
///
/// Any number of threads may use one poller at once; each that waits gets all keys that are ready, and
/// `try_recv` says `WouldBlock` where another thread was faster. What is added costs its socket as much as
/// a [`Readiness`](crate::Readiness), without descriptor and system calls; what is said there of
/// runtimes without an I/O thread goes for pollers as well. For other event loops there is `Readiness`
/// itself.
///
/// ```
/// use std::time::Duration;
///
/// let (jobs, news) = (sinew::Pull::new(), sinew::Sub::new());
/// let poller = sinew::Poller::new();
/// poller.add_recv("jobs", &jobs)?;
/// poller.add_recv("news", &news)?;
/// assert!(poller.wait(Duration::ZERO).is_empty());
///
/// jobs.bind("inproc://poller-doc")?;
/// let push = sinew::Push::new();
/// push.connect("inproc://poller-doc")?;
/// push.send("work")?;
/// assert_eq!(poller.wait(Duration::from_secs(5)), ["jobs"]);
/// assert_eq!(jobs.try_recv()?, "work");
/// assert!(poller.wait(Duration::ZERO).is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[doc(alias("nn_poll", "zmq_poll", "zmq_poller_new", "select", "epoll"))]
pub struct Poller<K = usize> {
    board: Arc<Board<K>>,
    /// By key: its number, and its watch once that has begun.
    watches: Mutex<BTreeMap<K, (u64, Option<Watching>)>>,
    /// In which process it was made.
    origin: Origin,
}

/// What a poller and the sockets share.
struct Board<K> {
    posted: Mutex<Posted<K>>,
    news: Condvar,
}

struct Posted<K> {
    ready: BTreeSet<(K, u64)>,
    /// The number of the next slot: a key may be used again while news of an earlier socket
    /// under it is on its way.
    next: u64,
    /// The slots that were not removed.
    slots: BTreeSet<u64>,
}

/// The key is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the key {0:?} is in use")]
pub struct KeyInUse<K: fmt::Debug>(pub K);

/// There is nothing under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is nothing under the key {0:?}")]
pub struct NoSuchKey<K: fmt::Debug>(pub K);

impl<K: Clone + Ord + fmt::Debug + Send + 'static> Poller<K> {
    /// A poller without sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on `key` is ready while a `try_recv` of `socket` would not have to wait.
    ///
    /// # Errors
    ///
    /// [`KeyInUse`]; nothing changes.
    pub fn add_recv(&self, key: K, socket: &(impl PollRecv + ?Sized)) -> Result<(), KeyInUse<K>> {
        self.add(key, |beacon| socket.watch_recv(beacon))
    }

    /// From now on `key` is ready while a `try_send` of `socket` would not have to wait.
    ///
    /// # Errors
    ///
    /// [`KeyInUse`]; nothing changes.
    pub fn add_send(&self, key: K, socket: &(impl PollSend + ?Sized)) -> Result<(), KeyInUse<K>> {
        self.add(key, |beacon| socket.watch_send(beacon))
    }

    fn add(&self, key: K, watch: impl FnOnce(Beacon) -> Watching) -> Result<(), KeyInUse<K>> {
        let number = self.board.reserve();
        let mut watches = self.watches.lock();
        if watches.contains_key(&key) {
            drop(watches);
            self.board.remove(&key, number);
            return Err(KeyInUse(key));
        }
        watches.insert(key.clone(), (number, None));
        drop(watches);
        // With no lock held: the socket is entered.
        let board = Arc::clone(&self.board);
        let slot = Mutex::new(KeySlot { board, key: key.clone(), number });
        let watching = watch(Beacon::Poller(Box::new(slot)));
        // Removed meanwhile, the watch ends at once, again with no lock held.
        let _late = self.keep(&key, number, watching);
        Ok(())
    }

    /// Keeps a watch that has begun, or gives it back.
    fn keep(&self, key: &K, number: u64, watching: Watching) -> Option<Watching> {
        match self.watches.lock().get_mut(key) {
            Some((holder, kept)) if *holder == number => kept.replace(watching),
            _ => Some(watching),
        }
    }

    /// Watches no longer what is under `key`. A wait that begins after this does not yield it.
    ///
    /// # Errors
    ///
    /// [`NoSuchKey`].
    pub fn remove(&self, key: &K) -> Result<(), NoSuchKey<K>> {
        let removed = self.watches.lock().remove(key);
        let (number, _watching) = removed.ok_or_else(|| NoSuchKey(key.clone()))?;
        self.board.remove(key, number);
        Ok(())
    }

    /// Waits until a key is ready, up to `timeout` (`None`: for ever; zero: not at all), and yields all
    /// that are, in their order. None when the time is over.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Vec<K> {
        if self.origin.is_ancestral() {
            // Ready for everything, as a closed socket is, as far as can be seen without waiting.
            let watches = self.watches.try_lock();
            return watches.map_or_else(Vec::new, |watches| watches.keys().cloned().collect());
        }
        // A timeout beyond the end of time is none.
        let until = timeout.into().and_then(|timeout| Instant::now().checked_add(timeout));
        let mut posted = self.board.posted.lock();
        while posted.ready.is_empty() {
            match self.board.wait(posted, until) {
                Ok(woken) => posted = woken,
                Err(late) => {
                    posted = late;
                    break;
                }
            }
        }
        posted.ready.iter().map(|(key, _)| key.clone()).collect()
    }
}

impl<K: Clone + Ord + fmt::Debug + Send + 'static> Default for Poller<K> {
    fn default() -> Self {
        let posted = Posted { ready: BTreeSet::new(), next: 0, slots: BTreeSet::new() };
        let board = Board { posted: Mutex::new(posted), news: Condvar::new() };
        Self { board: Arc::new(board), watches: Mutex::new(BTreeMap::new()), origin: Origin::now() }
    }
}

impl<K: Ord + Clone> Board<K> {
    /// Returns the number of a new slot.
    fn reserve(&self) -> u64 {
        let mut posted = self.posted.lock();
        posted.next += 1;
        let number = posted.next;
        posted.slots.insert(number);
        number
    }

    fn remove(&self, key: &K, number: u64) {
        let mut posted = self.posted.lock();
        posted.slots.remove(&number);
        posted.ready.remove(&(key.clone(), number));
    }

    /// Waits for news; `Err` when it is too late for that.
    fn wait<'a>(
        &self,
        posted: MutexGuard<'a, Posted<K>>,
        until: Option<Instant>,
    ) -> Result<MutexGuard<'a, Posted<K>>, MutexGuard<'a, Posted<K>>> {
        let Some(until) = until else {
            return Ok(self.news.wait(posted));
        };
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(posted);
        }
        Ok(self.news.wait_timeout(posted, left).0)
    }
}

/// Where one socket says whether it is ready.
struct KeySlot<K> {
    board: Arc<Board<K>>,
    key: K,
    number: u64,
}

impl<K: Clone + Ord + fmt::Debug + Send + 'static> SetReady for Mutex<KeySlot<K>> {
    fn set(&self, ready: bool) {
        self.lock().set(ready);
    }
}

impl<K: Clone + Ord> KeySlot<K> {
    fn set(&self, ready: bool) {
        let mut posted = self.board.posted.lock();
        let entry = (self.key.clone(), self.number);
        if !ready {
            posted.ready.remove(&entry);
        } else if posted.slots.contains(&self.number) {
            posted.ready.insert(entry);
            self.board.news.notify_all();
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for KeySlot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("KeySlot").field(&self.key).finish()
    }
}

impl<K: fmt::Debug> fmt::Debug for Poller<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.watches.lock().keys()).finish()
    }
}
