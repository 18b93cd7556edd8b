//! What changes on the list of a registry, as it is told to programs.
//!
//! Owns the queue of one listener, which is bounded: who does not read misses the newest changes, and can ask
//! how many.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::wire::{Service, WireError};
use crate::error::{RecvError, Situation};
use crate::sync::{Arc, Condvar, Mutex, Rank, Weak};
use crate::time;

/// How many unread changes a listener may have, besides those that tell it who is there.
const UNREAD: usize = 1024;

/// Something has changed on the list of a registry, or an answer was ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The survey by which it was seen.
    pub survey: u64,
    /// What has changed.
    pub kind: ChangeKind,
}

/// What can change on the list of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ChangeKind {
    /// The service is on the list.
    Joined(Service),
    /// The service has another load or other metadata.
    Changed(Service),
    /// The service is off the list: it has left two surveys in a row unanswered.
    Left(Service),
    /// An answer was ignored, since it could not be read.
    Ignored(WireError),
    /// A service was ignored, since the list has no room.
    NoRoom(Service),
}

/// The changes on the list of a [`Registry`](super::Registry), beginning with who is on it.
///
/// Iterating yields changes until the registry is closed and all have been read.
#[must_use = "changes are told to this value until it is dropped"]
pub struct Changes {
    unread: Arc<UnreadChanges>,
}

#[derive(Debug)]
pub(super) struct UnreadChanges {
    state: Mutex<State>,
    arrival: Condvar,
}

#[derive(Debug, Default)]
struct State {
    unread: VecDeque<Change>,
    missed: u64,
    closed: bool,
    /// The tasks that wait.
    tasks: Vec<Waker>,
}

impl Changes {
    /// Makes one that begins with these.
    pub(super) fn new(unread: VecDeque<Change>, closed: bool) -> (Self, Weak<UnreadChanges>) {
        let state = State { unread, closed, ..State::default() };
        let state = Mutex::new(Rank::Changes, state);
        let changes = Arc::new(UnreadChanges { state, arrival: Condvar::new() });
        let told = Arc::downgrade(&changes);
        (Self { unread: changes }, told)
    }

    /// Waits for the next change, for as long as it takes.
    ///
    /// # Errors
    ///
    /// `Closed` when the registry is closed and everything has been read.
    pub fn recv(&self) -> Result<Change, RecvError> {
        self.recv_until(None, Duration::MAX)
    }

    /// Waits for the next change, up to `timeout`. Zero: checks once; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// `TimedOut`, or `Closed` when the registry is closed and everything has been read.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Change, RecvError> {
        self.recv_until(time::now().checked_add(timeout), timeout)
    }

    /// Returns the next change if there is one now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, or `Closed` when the registry is closed and everything has been read.
    pub fn try_recv(&self) -> Result<Change, RecvError> {
        self.unread.state.lock().take().unwrap_or(Err(RecvError::WouldBlock))
    }

    /// Waits for the next change as a task.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has taken nothing.
    ///
    /// # Errors
    ///
    /// `Closed` when the registry is closed and everything has been read.
    pub fn recv_async(&self) -> impl Future<Output = Result<Change, RecvError>> + Send + '_ {
        poll_fn(|cx| self.poll_recv(cx))
    }

    /// Turns it into a stream of the changes, which ends when the registry is closed. Only with the feature
    /// `futures`.
    #[cfg(feature = "futures")]
    pub fn into_stream(self) -> crate::api::RecvStream<Change> {
        crate::api::RecvStream::of(ChangeStream(self))
    }

    /// The number of changes that were lost because 1024 were unread.
    pub fn missed(&self) -> u64 {
        self.unread.state.lock().missed
    }

    fn poll_recv(&self, cx: &mut Context<'_>) -> Poll<Result<Change, RecvError>> {
        let mut state = self.unread.state.lock();
        match state.take() {
            Some(taken) => Poll::Ready(taken),
            None => {
                if !state.tasks.iter().any(|task| task.will_wake(cx.waker())) {
                    state.tasks.push(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn recv_until(&self, until: Option<Instant>, waits: Duration) -> Result<Change, RecvError> {
        let mut state = self.unread.state.lock();
        loop {
            if let Some(taken) = state.take() {
                return taken;
            }
            if until.is_some_and(|until| until <= time::now()) {
                return Err(RecvError::TimedOut(Situation::of_events("registry", waits)));
            }
            state = time::wait(&self.unread.arrival, &self.unread.state, state, until);
        }
    }
}

impl State {
    fn take(&mut self) -> Option<Result<Change, RecvError>> {
        match self.unread.pop_front() {
            Some(change) => Some(Ok(change)),
            None => self.closed.then_some(Err(RecvError::Closed)),
        }
    }
}

impl UnreadChanges {
    /// Adds a change, unless there are too many. To be followed by [`wake`](Self::wake), with no lock held.
    pub(super) fn tell(&self, change: &Change) {
        let mut state = self.state.lock();
        if state.unread.len() >= UNREAD {
            state.missed += 1;
        } else {
            state.unread.push_back(change.clone());
        }
    }

    pub(super) fn close(&self) {
        self.state.lock().closed = true;
    }

    pub(super) fn wake(&self) {
        let tasks = std::mem::take(&mut self.state.lock().tasks);
        self.arrival.notify_all();
        for task in tasks {
            crate::contain::contain("a waker", || task.wake());
        }
    }
}

impl Iterator for Changes {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        self.recv().ok()
    }
}

/// The changes as a stream.
#[cfg(feature = "futures")]
struct ChangeStream(Changes);

#[cfg(feature = "futures")]
impl futures_core::Stream for ChangeStream {
    type Item = Change;

    fn poll_next(self: std::pin::Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Change>> {
        self.0.poll_recv(cx).map(Result::ok)
    }
}

impl fmt::Debug for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.unread.state.lock();
        f.debug_struct("Changes")
            .field("unread", &state.unread.len())
            .field("missed", &state.missed)
            .field("closed", &state.closed)
            .finish()
    }
}
