//! Pipe events: which peers come and go, and why.
//!
//! Owns the subscribers of one socket and their unread events. Events go into bounded queues, never into a
//! callback, so a subscriber may do anything with the socket. A subscriber that does not read misses the newest
//! events, and can ask how many.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use crate::detach::DetachReason;
use crate::error::{RecvError, Situation};
use crate::peer::Peer;
use crate::stats::Counter;
use crate::sync::{Arc, AtomicUsize, Condvar, Mutex, Ordering, Rank, Weak};
use crate::sys::Origin;
use crate::time;

/// How many unread events a subscriber may have.
const UNREAD: usize = 1024;

/// Something happened to a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PipeEvent {
    /// What happened.
    pub kind: PipeEventKind,
    /// The peer at the other end of the pipe.
    pub peer: Peer,
}

/// What can happen to a pipe.
///
/// Each pipe raises `Attaching`, then `Attached` unless it is turned away, then `Detached`. Each comes at most
/// once, and every `Attaching` is followed by exactly one `Detached`. A connection that fails before its header
/// is accepted raises no event.
///
/// The rules in full: [semantics, 13](crate::spec::semantics#13-pipes-and-pipe-events).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum PipeEventKind {
    /// The connection is complete and compatible. No message can have passed yet.
    Attaching,
    /// The socket uses the pipe.
    Attached,
    /// The pipe is gone, or was turned away.
    Detached(DetachReason),
}

/// Writes the kind in lower case, and why a pipe is gone: `detached: the peer closed the connection`.
impl fmt::Display for PipeEventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attaching => f.write_str("attaching"),
            Self::Attached => f.write_str("attached"),
            Self::Detached(reason) => write!(f, "detached: {reason}"),
        }
    }
}

/// Writes the peer and what happened: `rep at tcp://127.0.0.1:5555 attached`.
impl fmt::Display for PipeEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.peer, self.kind)
    }
}

/// The events of one socket, from the moment of subscribing.
///
/// Iterating yields events until the socket is closed and all events have been read.
#[must_use = "events are told to this value until it is dropped"]
#[doc(alias("monitor", "nng_pipe_notify", "zmq_socket_monitor"))]
pub struct Events {
    unread: Arc<UnreadEvents>,
    /// The socket's name, for errors.
    socket: Box<str>,
    /// The process that made the socket, or this.
    origin: Origin,
}

struct UnreadEvents {
    state: Mutex<UnreadState>,
    arrival: Condvar,
}

impl Default for UnreadEvents {
    fn default() -> Self {
        let state = Mutex::new(Rank::Events, UnreadState::default());
        Self { state, arrival: Condvar::new() }
    }
}

#[derive(Default)]
struct UnreadState {
    unread: VecDeque<PipeEvent>,
    missed: u64,
    closed: bool,
}

impl Events {
    /// The events of a socket that this process has inherited by a fork: none.
    pub(super) fn in_child(socket: &str, origin: Origin) -> Self {
        Self { unread: Arc::default(), socket: socket.into(), origin }
    }

    /// Waits for the next event, for as long as it takes: the socket's receive timeout has no effect.
    /// There is no `_async` form.
    ///
    /// # Errors
    ///
    /// `Closed` when the socket is closed and everything has been read.
    pub fn recv(&self) -> Result<PipeEvent, RecvError> {
        self.recv_until(None, || self.timed_out(Duration::MAX))
    }

    /// Waits for the next event, up to `timeout`. Zero: checks once; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or `Closed` when the socket is closed and everything has been read.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<PipeEvent, RecvError> {
        self.recv_until(time::now().checked_add(timeout), || self.timed_out(timeout))
    }

    /// Returns the next event if there is one now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or `Closed` when the socket is closed and everything has been read.
    pub fn try_recv(&self) -> Result<PipeEvent, RecvError> {
        self.recv_until(Some(time::now()), || RecvError::WouldBlock)
    }

    /// The number of events that were lost because 1024 were unread.
    pub fn missed(&self) -> u64 {
        if self.origin.is_ancestral() { 0 } else { self.unread.state.lock().missed }
    }

    fn timed_out(&self, waited: Duration) -> RecvError {
        RecvError::TimedOut(Situation::of_events(&self.socket, waited))
    }

    /// Waits for the next event, at most until the time given; after that fails as `late` says.
    fn recv_until(
        &self,
        until: Option<Instant>,
        late: impl FnOnce() -> RecvError,
    ) -> Result<PipeEvent, RecvError> {
        if self.origin.is_ancestral() {
            return Err(RecvError::Forked);
        }
        let mut state = self.unread.state.lock();
        loop {
            if let Some(event) = state.unread.pop_front() {
                return Ok(event);
            }
            if state.closed {
                return Err(RecvError::Closed);
            }
            if until.is_some_and(|until| until <= time::now()) {
                return Err(late());
            }
            state = time::wait(&self.unread.arrival, &self.unread.state, state, until);
        }
    }
}

impl Iterator for Events {
    type Item = PipeEvent;

    fn next(&mut self) -> Option<PipeEvent> {
        self.recv().ok()
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.is_ancestral() {
            return f.debug_struct("Events").finish_non_exhaustive();
        }
        let state = self.unread.state.lock();
        f.debug_struct("Events")
            .field("unread", &state.unread.len())
            .field("missed", &state.missed)
            .field("closed", &state.closed)
            .finish()
    }
}

/// Subscribers that have a new event. Waking them may be a system call, so it happens with no lock held.
#[must_use = "a subscriber that waits sleeps on until it is woken"]
#[derive(Default)]
pub(super) struct SubscribersToWake(Vec<Arc<UnreadEvents>>);

impl SubscribersToWake {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn wake(self) {
        self.0.iter().for_each(|unread| unread.arrival.notify_all());
    }
}

/// The subscribers of one socket.
pub(crate) struct EventHub {
    subscribers: Mutex<Vec<Weak<UnreadEvents>>>,
    /// The number of subscribers. Without any, pipes come and go without taking the lock.
    count: AtomicUsize,
}

impl EventHub {
    /// Makes one without subscribers.
    pub(super) fn new() -> Self {
        Self { subscribers: Mutex::new(Rank::Subscribers, Vec::new()), count: AtomicUsize::new(0) }
    }

    /// Adds a subscriber to the events of the socket with this name.
    pub(crate) fn subscribe(&self, socket: &str) -> Events {
        let unread = Arc::<UnreadEvents>::default();
        let mut subscribers = self.subscribers.lock();
        subscribers.push(Arc::downgrade(&unread));
        self.count.store(subscribers.len(), Ordering::Relaxed);
        Events { unread, socket: socket.into(), origin: Origin::now() }
    }

    /// Gives every subscriber the event. Counts in `missed` those whose queue is full.
    pub(super) fn emit(
        &self,
        kind: PipeEventKind,
        peer: &Peer,
        missed: &Counter,
    ) -> SubscribersToWake {
        if self.count.load(Ordering::Relaxed) == 0 {
            return SubscribersToWake::default();
        }
        self.each(|state| {
            if state.unread.len() >= UNREAD {
                state.missed += 1;
                missed.bump();
            } else {
                state.unread.push_back(PipeEvent { kind: kind.clone(), peer: peer.clone() });
            }
        })
    }

    /// Ends all subscriptions: no more events will come.
    pub(super) fn close(&self) -> SubscribersToWake {
        self.each(|state| state.closed = true)
    }

    fn each(&self, mut act: impl FnMut(&mut UnreadState)) -> SubscribersToWake {
        let mut to_wake = SubscribersToWake::default();
        let mut subscribers = self.subscribers.lock();
        subscribers.retain(|unread| {
            let Some(unread) = unread.upgrade() else { return false };
            act(&mut unread.state.lock());
            to_wake.0.push(unread);
            true
        });
        self.count.store(subscribers.len(), Ordering::Relaxed);
        to_wake
    }
}

impl fmt::Debug for EventHub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventHub({} subscribers)", self.count.load(Ordering::Relaxed))
    }
}
