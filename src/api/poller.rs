//! Poller: one thread waits for many sockets at once.
//!
//! Owns the set of keys whose sockets are ready. The sockets add and remove their keys themselves
//! ([`SetReady`]), so the cost of a wait grows with the ready sockets, not with the watched ones, and no
//! descriptor is needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use crate::socket::watch::{Beacon, SetReady, Watching};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, Rank};
use crate::sys::Origin;
use crate::time;

/// Something that receives, for [`Poller::add_recv`]: a socket, a context or a survey. Implemented by this
/// crate only.
///
/// Sockets of several types go into one list as `&dyn PollRecv` or `Box<dyn PollRecv>`.
#[expect(private_bounds, reason = "made here only: how readiness is shown is nobody else's")]
pub trait PollRecv: WatchRecv {}

/// Something that sends, for [`Poller::add_send`]: a socket or a context. Implemented by this crate only.
///
/// Sockets of several types go into one list as `&dyn PollSend` or `Box<dyn PollSend>`.
#[expect(private_bounds, reason = "made here only: how readiness is shown is nobody else's")]
pub trait PollSend: WatchSend {}

/// Something whose readiness to receive can be watched.
pub(crate) trait WatchRecv {
    /// Shows by `beacon` whether a `try_recv` would not have to wait.
    fn watch_recv(&self, beacon: Beacon) -> Watching;
}

/// Something whose readiness to send can be watched.
pub(crate) trait WatchSend {
    /// Shows by `beacon` whether a `try_send` would not have to wait.
    fn watch_send(&self, beacon: Beacon) -> Watching;
}

impl<T: WatchRecv> PollRecv for T {}

impl<T: WatchSend> PollSend for T {}

/// Waits for any of many sockets, contexts and surveys to become ready.
///
/// Add each under a key of your choice, for receiving or for sending; for both, add it twice, under two keys. A
/// key is *ready* as long as the call in question would not have to wait (level-triggered):
/// [`wait`](Self::wait) returns it each time until a call has used the readiness up. A closed socket is ready
/// for everything, until it is removed. The poller keeps no socket open.
///
/// Any number of threads may use one poller at once. Each that waits gets all ready keys, and `try_recv` fails
/// with `WouldBlock` if another thread was faster. A socket in a poller costs as much as one with a
/// [`Readiness`](crate::Readiness), without the descriptor and the system calls; what is said there about
/// runtimes without an I/O thread applies to pollers too. Use `Readiness` for other event loops.
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
    /// The number of each key, and its watch once that has begun.
    watches: Mutex<BTreeMap<K, (u64, Option<Watching>)>>,
    /// The process that made it.
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
    /// Makes a poller without sockets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a socket to receive from: `key` is ready while a `try_recv` would not have to wait.
    ///
    /// # Errors
    ///
    /// [`KeyInUse`]; nothing changes.
    pub fn add_recv(&self, key: K, socket: &(impl PollRecv + ?Sized)) -> Result<(), KeyInUse<K>> {
        self.add(key, |beacon| socket.watch_recv(beacon))
    }

    /// Adds a socket to send on: `key` is ready while a `try_send` would not have to wait.
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
        // With no lock held, since this enters the socket.
        let board = Arc::clone(&self.board);
        let slot = Mutex::new(Rank::PollerSlot, KeySlot { board, key: key.clone(), number });
        let watching = watch(Beacon::Poller(Box::new(slot)));
        // If the key was removed meanwhile, the watch ends at once, again with no lock held.
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

    /// Removes what was added under `key`. A wait that begins after this does not return it.
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

    /// Waits until a key is ready, up to `timeout` (`None`: forever; zero: not at all), and returns all ready
    /// keys in order. Empty when the time is over.
    pub fn wait(&self, timeout: impl Into<Option<Duration>>) -> Vec<K> {
        if self.origin.is_ancestral() {
            // Sockets of a forked process count as closed, and so as ready. The lock may never be given back.
            let watches = self.watches.try_lock();
            return watches.map_or_else(Vec::new, |watches| watches.keys().cloned().collect());
        }
        // A timeout beyond the end of time is none.
        let until = timeout.into().and_then(|timeout| time::now().checked_add(timeout));
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
        let board = Board { posted: Mutex::new(Rank::PollerReady, posted), news: Condvar::new() };
        Self {
            board: Arc::new(board),
            watches: Mutex::new(Rank::PollerWatches, BTreeMap::new()),
            origin: Origin::now(),
        }
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

    /// Waits for a change; `Err` when the time is over.
    fn wait<'a>(
        &'a self,
        posted: MutexGuard<'a, Posted<K>>,
        until: Option<Instant>,
    ) -> Result<MutexGuard<'a, Posted<K>>, MutexGuard<'a, Posted<K>>> {
        if until.is_some_and(|until| until <= time::now()) {
            return Err(posted);
        }
        Ok(time::wait(&self.news, &self.posted, posted, until))
    }
}

/// Where one socket sets whether its key is ready.
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
