//! Listening: accepts connections for one endpoint.
//!
//! The listening socket is shared with the endpoint's handle, which drops it when the endpoint is closed: the
//! address is free when that returns. Owns that [`ListenerSlot`]: a thread that accepts takes the listener
//! out and has it to itself, with no lock held, and one that closes waits for it.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::{Interest, Registry, Token};

use super::connection::{Connection, Maker};
use super::loops::HOME;
use super::quota;
use super::timers::TimerKey;
use super::{Driver, Due, Mailbox};
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Host, Intake};
use crate::sync::thread::{self, ThreadId};
use crate::sync::{Arc, Condvar, Mutex, Rank, Weak};
use crate::time;
use crate::transport::{BoundFile, Listener, Stream};
use crate::wire::Framing;

/// Accept at most this many connections before others get a turn. Their peers may all send and leave
/// before the socket knows that they leave more behind than there is room for.
const BATCH: usize = 8;
/// Pause for this long when accepting fails for want of descriptors or memory: trying again at once would
/// only burn a core. Source: semantics specification, section 14.1.
const PAUSE: Duration = Duration::from_millis(50);

/// A listening socket, until its endpoint is closed.
#[derive(Debug)]
pub(crate) struct ListenerSlot {
    phase: Mutex<Phase>,
    /// Notified when the listener is back.
    back: Condvar,
    /// The file through which others connect.
    file: Option<BoundFile>,
}

/// Where the listener is.
///
/// ```text
///          lend                  another thread closes         it is given back
///   Here <------> Lent -----------------------------> Awaited ------------------> Returned
///    | closed      | its own thread closes                                           |
///    +-----------> +------------------------------> Closed <-------------------------+
/// ```
#[derive(Debug)]
enum Phase {
    Here(Box<dyn Listener>),
    /// A thread has it for a moment.
    Lent(ThreadId),
    /// A thread has it, and another waits to close it.
    Awaited,
    /// It is back, for the thread that waits.
    Returned(Box<dyn Listener>),
    /// It is closed, or will be as soon as the thread that has it gives it back.
    Closed,
}

impl ListenerSlot {
    pub(crate) fn new(listener: Box<dyn Listener>) -> Self {
        let file = listener.file();
        Self {
            phase: Mutex::new(Rank::Listener, Phase::Here(listener)),
            back: Condvar::new(),
            file,
        }
    }

    /// The file through which others connect, if there is one. Needs neither the lock nor the listener.
    pub(crate) fn file(&self) -> Option<&BoundFile> {
        self.file.as_ref()
    }

    /// Runs `act` with the listener and no lock held; `None` if it is closed, or about to be. `act` must not
    /// panic, but may run foreign code, even code that closes the slot: then the listener is closed
    /// afterwards.
    fn lend<T>(&self, registry: &Registry, act: impl FnOnce(&mut dyn Listener) -> T) -> Option<T> {
        let mut listener = self.take()?;
        let outcome = act(&mut *listener);
        if let Some(closed) = self.give_back(listener) {
            retire(closed, registry);
        }
        Some(outcome)
    }

    fn take(&self) -> Option<Box<dyn Listener>> {
        let mut phase = self.phase.lock();
        match std::mem::replace(&mut *phase, Phase::Lent(thread::current().id())) {
            Phase::Here(listener) => Some(listener),
            other => {
                *phase = other;
                None
            }
        }
    }

    /// Puts the listener back. Returns it if it was closed meanwhile, and nobody waits for it.
    fn give_back(&self, listener: Box<dyn Listener>) -> Option<Box<dyn Listener>> {
        let mut phase = self.phase.lock();
        match *phase {
            Phase::Closed => return Some(listener),
            Phase::Awaited => *phase = Phase::Returned(listener),
            _ => *phase = Phase::Here(listener),
        }
        drop(phase);
        self.back.notify_one();
        None
    }

    /// Closes the listener: its address is free when this returns. Waits for another thread that has it. If
    /// the calling thread has it, and closes it from a log record, say, the address is free when it gives the
    /// listener back.
    pub(super) fn close(&self, registry: &Registry) {
        if let Some(listener) = self.take_out() {
            retire(listener, registry);
        }
    }

    /// Takes the listener out for good. `None` if the calling thread has it, or it is closed already.
    fn take_out(&self) -> Option<Box<dyn Listener>> {
        let this = thread::current().id();
        let mut phase = self.phase.lock();
        loop {
            match std::mem::replace(&mut *phase, Phase::Closed) {
                Phase::Here(listener) | Phase::Returned(listener) => return Some(listener),
                Phase::Closed => return None,
                Phase::Lent(thread) if thread == this => return None,
                Phase::Lent(_) | Phase::Awaited => *phase = Phase::Awaited,
            }
            phase = self.back.wait(phase);
        }
    }
}

/// Closes a listener that nobody else has.
fn retire(mut listener: Box<dyn Listener>, registry: &Registry) {
    // A poll that checks the socket at this moment would keep it open beyond its drop; deregistering waits
    // for that. The socket may also not be registered yet, or the poll be gone.
    if let Err(error) = registry.deregister(listener.source()) {
        crate::contain::record!(Trace, { reason: error }, "not watched: {error}");
    }
}

/// What the driver owns of a listening endpoint.
#[derive(Debug)]
pub(crate) struct Listening {
    host: Weak<dyn Host>,
    endpoint: Arc<EndpointCore>,
    framing: Framing,
    listener: Arc<ListenerSlot>,
    /// The end of a pause in accepting.
    pause: Option<TimerKey>,
    /// Whether the socket takes in no new pipe now; it will tell when it does.
    is_put_off: bool,
    /// Whether it is in the driver's ready queue.
    pub(super) is_queued: bool,
    /// The loop that was given the last connection.
    last: usize,
}

/// The outcome of accepting.
#[derive(Debug)]
enum Accepting {
    /// No connection is left to accept.
    Done,
    /// There may be more; others first.
    More,
    /// It failed for want of descriptors or memory: pause.
    Pause,
    /// The endpoint is closed.
    Closed,
}

impl Listening {
    pub(super) fn new(
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        framing: Framing,
        listener: Arc<ListenerSlot>,
    ) -> Self {
        let (pause, is_put_off, is_queued) = (None, false, false);
        Self { host, endpoint, framing, listener, pause, is_put_off, is_queued, last: HOME }
    }

    /// Accepts connections into `accepted`, as far as the socket takes in new pipes. If it does not, the
    /// socket will resume `token` when it does.
    fn accept(
        &mut self,
        token: Token,
        mailbox: &Arc<Mailbox>,
        accepted: &mut Vec<Box<dyn Stream>>,
    ) -> Accepting {
        let Some(host) = self.host.upgrade() else { return Accepting::Closed };
        let most = match host.intake(mailbox.postponed(token)) {
            Intake::Shut => 0,
            _ if !host.ask_to_accept(mailbox.postponed(token)) => 0,
            Intake::Single => 1,
            Intake::Free => BATCH,
        };
        self.is_put_off = most == 0;
        if self.is_put_off {
            return Accepting::Done;
        }
        let mut failures = Vec::new();
        let accepting = self
            .listener
            .lend(&mailbox.registry, |listener| {
                self.accept_from(listener, most, accepted, &mut failures)
            })
            .unwrap_or(Accepting::Closed);
        // After the listener was given back, since a logger may be slow.
        failures.into_iter().for_each(|error| self.count(error));
        accepting
    }

    fn accept_from(
        &self,
        listener: &dyn Listener,
        most: usize,
        accepted: &mut Vec<Box<dyn Stream>>,
        failures: &mut Vec<io::Error>,
    ) -> Accepting {
        for _ in 0..most {
            // Another thread waits to close it.
            if self.endpoint.is_closed() {
                return Accepting::Closed;
            }
            match listener.accept() {
                Ok(stream) => accepted.push(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Accepting::Done,
                Err(error) => {
                    let pause = is_shortage(&error);
                    failures.push(error);
                    if pause {
                        return Accepting::Pause;
                    }
                }
            }
        }
        Accepting::More
    }

    fn count(&self, error: io::Error) {
        if let Some(host) = self.host.upgrade() {
            host.counters().accept_errors.bump();
            let (socket, url) = (host.name(), self.endpoint.url());
            crate::contain::record!(
                crate::contain::level_of(self.endpoint.begins_to_fail()),
                { socket: socket, endpoint: url, reason: error },
                "{socket}: accept on {url}: {error}"
            );
        }
        self.endpoint.failed(error.into());
    }
}

impl Driver {
    /// Accepts connections for an endpoint from now on.
    pub(super) fn listen(&mut self, listening: Listening) {
        let slot = Arc::clone(&listening.listener);
        let endpoint = Arc::clone(&listening.endpoint);
        let token = self.listeners.insert(listening);
        self.members.add(endpoint.id, token);
        let registry = &self.cx.mailbox.registry;
        let watch = |listener: &mut dyn Listener| {
            registry.register(listener.source(), token, Interest::READABLE)
        };
        match slot.lend(registry, watch) {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let url = endpoint.url();
                crate::contain::record!(
                    Error,
                    { endpoint: url, reason: error },
                    "cannot watch {url}: {error}"
                );
                endpoint.failed(error.into());
                self.remove_listener(token);
            }
            // It was closed meanwhile.
            None => self.remove_listener(token),
        }
    }

    /// Accepts connections, unless the listener pauses.
    pub(super) fn accept(&mut self, token: Token) {
        let Some(listening) = self.listeners.get(token) else { return };
        if listening.pause.is_some() || listening.is_put_off {
            return;
        }
        if self.cx.quota.is_spent(false) {
            return self.queue(token, false);
        }
        let mut streams = Vec::new();
        let accepting = listening.accept(token, &self.cx.mailbox, &mut streams);
        let host = listening.host.clone();
        let endpoint = Arc::clone(&listening.endpoint);
        let (framing, mut last) = (listening.framing, listening.last);
        match accepting {
            Accepting::Done => {}
            Accepting::More => self.queue(token, false),
            // Whoever says nothing must not keep out others until its time is over.
            Accepting::Pause if self.evict(endpoint.id, BATCH) > 0 => self.queue(token, false),
            Accepting::Pause => self.pause(token),
            Accepting::Closed => self.remove_listener(token),
        }
        let Some(host) = host.upgrade() else { return };
        for stream in streams {
            self.cx.quota.count(quota::ACCEPT);
            let endpoint = Arc::clone(&endpoint);
            last =
                self.give(last, Connection::new(&host, endpoint, framing, stream, Maker::Listener));
        }
        if let Some(listening) = self.listeners.get(token) {
            listening.last = last;
        }
    }

    fn pause(&mut self, token: Token) {
        let Some(listening) = self.listeners.get(token) else { return };
        self.cx.set_timer(&mut listening.pause, time::now() + PAUSE, Due::Accept(token));
    }

    /// Accepts again after a pause. The poll does not report again the connections that came meanwhile.
    pub(super) fn accept_again(&mut self, token: Token) {
        if let Some(listening) = self.listeners.get(token) {
            listening.pause = None;
        }
        self.accept(token);
    }

    /// Accepts again when the socket takes in new pipes. The poll does not report again the connections that
    /// came meanwhile.
    pub(super) fn resume_accepting(&mut self, token: Token) {
        if let Some(listening) = self.listeners.get(token) {
            listening.is_put_off = false;
        }
        self.accept(token);
    }

    pub(super) fn remove_listener(&mut self, token: Token) {
        let Some(listening) = self.listeners.remove(token) else { return };
        self.members.remove(listening.endpoint.id, token);
        if let Some(timer) = listening.pause {
            self.cx.timers.cancel(timer);
        }
    }
}

/// Whether the error will last until something is released: descriptors, memory, buffers. All other errors
/// concern only the connection that was to be accepted.
fn is_shortage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
