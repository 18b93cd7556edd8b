//! The engine of a socket: a protocol, its pipes, and the threads that use them.
//!
//! Owns [`Core`], everything that makes a socket: the protocol under a lock, the pipes, the waiters, the
//! endpoints, the counters. The protocol runs in the calling thread. Every call enters and leaves through
//! `enter.rs` and waits in `wait.rs`; connections, listeners and dialers see a socket through `host.rs`.
//!
//! Only the lock of an event loop's driver comes before that of a socket's state: see [`Rank`]. Bells are rung,
//! waiters woken, callbacks run and system calls made after the state is unlocked: an entry notes them in
//! [`Effects`] and performs them on its way out. Message bodies are dropped after that, see
//! [`body`](crate::body).

use std::fmt;
use std::ops::Deref;
use std::time::Instant;

use crate::body::StateLock;
use crate::detach::DetachReason;
use crate::error::{NoSuchPipe, OptionError, RuntimeError};
use crate::io::Command;
use crate::message::PipeId;
use crate::options::Options;
use crate::peer::{Peer, PeerStatus};
use crate::pipe::endpoint::{Endpoint, EndpointCore};
use crate::pipe::{Budget, Edge, Host, SocketBell};
use crate::protocol::{Held, Protocol};
use crate::ring::{Encoders, RingRef};
use crate::runtime::{Membership, Runtime};
use crate::spin::Spin;
use crate::stats::{Counters, Stats};
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, OnceLock, Ordering, Rank, Weak, statics};
use crate::sys::Origin;
use crate::time;

mod broadcast;
mod deciding;
mod deferred_log;
mod effects;
mod enter;
mod entry;
pub(crate) mod establish;
mod events;
pub(crate) mod forked;
mod host;
mod limits;
#[cfg(all(test, loom))]
mod loom;
pub(crate) mod outgoing;
mod pipes;
mod port;
pub(crate) mod wait;
pub(crate) mod watch;

pub use events::{Events, PipeEvent, PipeEventKind};
pub use watch::Readiness;

pub(crate) use port::SocketPort;

use deciding::Deciding;
use deferred_log::Record;
use effects::Effects;
pub(crate) use entry::Entry;
use events::{EventHub, SubscribersToWake};
use limits::Limits;
pub(crate) use limits::Timeout;
use pipes::{Pipe, Pipes};
use watch::Watch;

/// A reference of the program to a socket: in a handle, a context, a survey, a request, a future.
///
/// Dropping the last one closes the socket, in the thread that drops it. The event loop has references to the
/// [`Core`] for moments; they do not delay the close.
pub(crate) struct Handle<P: Protocol>(Arc<Core<P>>);

impl<P: Protocol> Handle<P> {
    /// Makes a socket, and its first handle.
    pub(crate) fn new(
        protocol: P,
        options: Options,
        runtime: Option<Runtime>,
    ) -> Result<Self, OptionError> {
        options.check(&P::KIND)?;
        let options = options.with_defaults_of(&P::KIND);
        static NEXT: statics::AtomicU64 = statics::AtomicU64::new(1);
        let name = options.name.clone().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            format!("{}-{number}", P::ID)
        });
        let birth = time::now();
        let state = State {
            protocol,
            pipes: Pipes::default(),
            endpoints: Vec::new(),
            leaving: Vec::new(),
            closed: false,
            is_lost: false,
            armed: None,
            seen: birth,
            edges: Vec::new(),
            effects: Effects::default(),
            encoders: Encoders::default(),
            is_unsubscribed_told: false,
            watches: Vec::new(),
        };
        let core = Arc::new_cyclic(|this| Core {
            this: this.clone(),
            holds: AtomicUsize::new(1),
            name,
            birth,
            origin: Origin::now(),
            state: StateLock::new(state),
            bell: Arc::new(SocketBell::new(this.clone() as Weak<dyn Host>, P::SCHEDULE.filters)),
            counters: Arc::new(Counters::new()),
            budget: Arc::new(Budget::new(options.recv_budget)),
            limits: Limits::new(&options),
            spin: Spin::new(options.spin),
            has_streams: AtomicBool::new(false),
            hub: EventHub::new(),
            deciding: Deciding::new(),
            options: Mutex::new(Rank::Options, options),
            runtime: OnceLock::new(),
        });
        if let Some(runtime) = runtime {
            core.join(runtime);
        }
        Ok(Self(core))
    }
}

impl<P: Protocol> Handle<P> {
    /// Whether this is the only handle. It stays so then: a handle is made only from a handle.
    pub(crate) fn is_last(&self) -> bool {
        self.0.holds.load(Ordering::Acquire) == 1
    }

    /// Whether both are handles of one socket.
    pub(crate) fn is_same<Q: Protocol>(&self, other: &Handle<Q>) -> bool {
        std::ptr::addr_eq(Arc::as_ptr(&self.0), Arc::as_ptr(&other.0))
    }
}

impl<P: Protocol> Clone for Handle<P> {
    fn clone(&self) -> Self {
        self.0.holds.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<P: Protocol> Drop for Handle<P> {
    fn drop(&mut self) {
        if self.0.is_forked() {
            // It belongs to the parent, which dropping it here would disturb.
            return std::mem::forget(Arc::clone(&self.0));
        }
        if self.0.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            // The program may have closed it already.
            let _ = self.0.close();
        }
    }
}

impl<P: Protocol> Deref for Handle<P> {
    type Target = Core<P>;

    fn deref(&self) -> &Core<P> {
        &self.0
    }
}

/// Everything that makes a socket. Aligned to cache lines of its own: its neighbour in memory may be a socket
/// that another thread uses.
#[repr(align(128))]
pub(crate) struct Core<P: Protocol> {
    this: Weak<Self>,
    /// The number of handles.
    holds: AtomicUsize,
    pub(crate) name: String,
    /// The time that a protocol sees that needs no clock.
    birth: Instant,
    /// The process that made it.
    pub(crate) origin: Origin,
    state: StateLock<State<P>>,
    pub(crate) bell: Arc<SocketBell>,
    pub(crate) counters: Arc<Counters>,
    budget: Arc<Budget>,
    limits: Limits,
    spin: Spin,
    /// Whether it has, or had, endpoints whose connections an event loop serves.
    has_streams: AtomicBool,
    hub: EventHub,
    /// The peers about which the program is deciding; their events come even after the socket is closed.
    deciding: Deciding,
    options: Mutex<Options>,
    runtime: OnceLock<Membership>,
}

/// What the socket's lock guards.
struct State<P: Protocol> {
    protocol: P,
    pipes: Pipes,
    endpoints: Vec<Arc<EndpointCore>>,
    /// Send rings of pipes that are gone and whose connections have not emptied them yet.
    leaving: Vec<RingRef>,
    closed: bool,
    /// Whether it is closed because an event loop of its runtime was lost.
    is_lost: bool,
    /// The time at which the event loop will run our timers.
    armed: Option<Instant>,
    /// The last time read from the clock, for a protocol that reads it only when something is due.
    seen: Instant,
    /// Kept for its capacity.
    edges: Vec<(PipeId, Edge)>,
    /// The effects that the current entry has noted.
    effects: Effects,
    /// For messages to many pipes. Holds memory from the first such message on; see `broadcast`.
    encoders: Encoders,
    /// Whether a SUB without subscriptions has been logged.
    is_unsubscribed_told: bool,
    /// The pollers and event loops of the program that watch the socket.
    watches: Vec<Watch<P>>,
}

impl<P: Protocol> Core<P> {
    /// Whether the socket belongs to an ancestor of this process. Check before taking any of its locks.
    #[inline]
    pub(crate) fn is_forked(&self) -> bool {
        self.origin.is_ancestral()
    }

    /// Reads the state without entering the protocol; `None` in a child that has inherited the socket. Changes
    /// go through [`enter`](Self::enter).
    fn read<R>(&self, read: impl FnOnce(&State<P>) -> R) -> Option<R> {
        (!self.is_forked()).then(|| read(&self.state.lock()))
    }

    /// Returns the runtime, and starts it if necessary.
    pub(crate) fn runtime(&self) -> Result<&Runtime, RuntimeError> {
        match self.runtime.get() {
            Some(runtime) if runtime.is_forked() => Err(RuntimeError::Forked),
            Some(runtime) if runtime.is_lost() => Err(RuntimeError::Lost),
            Some(runtime) => Ok(runtime),
            None => Ok(self.join(Runtime::global()?)),
        }
    }

    /// Makes the socket one of the runtime, unless it has one.
    fn join(&self, runtime: Runtime) -> &Runtime {
        let joined = self.runtime.get_or_init(|| runtime.join(self.host()));
        if joined.is_lost() {
            self.lose();
        }
        joined
    }

    /// Whether it is closed because an event loop of its runtime was lost.
    #[cold]
    pub(crate) fn is_lost(&self) -> bool {
        self.read(|state| state.is_lost).unwrap_or(false)
    }

    /// Wakes all calls that wait, so that they attempt again.
    pub(crate) fn wake_all(&self) {
        self.bell.signal.wake_all();
    }

    fn host(&self) -> Weak<dyn Host> {
        self.this.clone()
    }

    pub(crate) fn options(&self) -> Options {
        self.with_options(Options::clone)
    }

    /// Reads from the options in force, without copying them.
    pub(crate) fn with_options<R>(&self, read: impl FnOnce(&Options) -> R) -> R {
        match self.is_forked() {
            false => read(&self.options.lock()),
            // Nothing will be done with them.
            true => read(&Options::default()),
        }
    }

    /// Sets the options, and applies them to the protocol.
    pub(crate) fn set_options(
        &self,
        options: Options,
        apply: impl FnOnce(&mut P, &Options, &mut SocketPort<'_>),
    ) -> Result<(), OptionError> {
        options.check(&P::KIND)?;
        // Drops the options that were replaced, or refused, with no lock held: the callback in them may hold
        // the last handle of a socket.
        let mut options = options.with_defaults_of(&P::KIND);
        self.enter(|entry| {
            if entry.is_closed() {
                return Err(OptionError::Closed);
            }
            let (protocol, mut port, _) = entry.parts();
            apply(protocol, &options, &mut port);
            self.budget.set_limit(options.recv_budget);
            entry.open_intake();
            let mut in_force = self.options.lock();
            self.limits.follow(&options);
            self.spin.set(options.spin);
            std::mem::swap(&mut *in_force, &mut options);
            Ok(())
        })?;
        self.budget.tell();
        Ok(())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.read(|state| state.closed).unwrap_or(false)
    }

    pub(crate) fn events(&self) -> Events {
        if self.is_forked() {
            return Events::in_child(&self.name, self.origin);
        }
        let events = self.hub.subscribe(&self.name);
        if self.is_closed() {
            self.close_events();
        }
        events
    }

    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let endpoint = |core: &Arc<EndpointCore>| Endpoint { core: Arc::clone(core) };
        self.read(|state| state.endpoints.iter().map(endpoint).collect()).unwrap_or_default()
    }

    /// Describes the status of each endpoint in words.
    fn describe_endpoints(&self) -> Vec<String> {
        self.endpoints().iter().map(|at| format!("{at}: {}", at.status())).collect()
    }

    pub(crate) fn peers(&self) -> Vec<PeerStatus> {
        self.read(|state| state.pipes.usable().map(Pipe::status).collect()).unwrap_or_default()
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.counters.read();
        if !self.is_forked() {
            // No entry: counting must not change the protocol.
            self.state.lock().count_queued(&mut stats);
        }
        stats
    }

    /// Closes one pipe.
    pub(crate) fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe> {
        let known = self.enter(|entry| entry.unplug(pipe, DetachReason::ClosedHere));
        if known { Ok(()) } else { Err(NoSuchPipe(pipe)) }
    }

    fn on_pipe_gone(&self, pipe: &Pipe, reason: DetachReason, effects: &mut Effects) {
        if reason.is_ours() {
            self.counters.dropped_connections.bump()
        } else {
            self.counters.broken_connections.bump()
        }
        let peer = pipe.peer();
        effects.record(|| Record::Gone(peer.clone(), reason.clone()));
        pipe.endpoint.on_pipe_gone();
        effects.wake_subscribers(self.emit(PipeEventKind::Detached(reason), &peer));
    }

    fn emit(&self, kind: PipeEventKind, peer: &Peer) -> SubscribersToWake {
        self.hub.emit(kind, peer, &self.counters.events_missed)
    }
}

impl<P: Protocol> State<P> {
    /// Adds the queued messages to `stats`. Forgets rings that have been emptied meanwhile.
    fn count_queued(&mut self, stats: &mut Stats) {
        let Held { outbound, inbound } = self.protocol.held();
        (stats.held_outbound, stats.held_inbound) = (outbound, inbound);
        self.leaving.retain(|ring| ring.queued().messages > 0);
        stats.send_queue = self.leaving.iter().map(|ring| ring.queued().messages).sum();
        for pipe in self.pipes.all() {
            stats.recv_queue += pipe.recv.queued().messages;
            stats.recv_bytes += pipe.recv.held();
            if !pipe.is_gone() {
                stats.current_connections += 1;
                stats.send_queue += pipe.own_send_queue();
            }
        }
    }
}

impl<P: Protocol> fmt::Debug for Core<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket").field("name", &self.name).finish_non_exhaustive()
    }
}

impl<P: Protocol> Core<P> {
    fn set_timer(&self, at: Instant) {
        self.post(Command::Expire(self.host(), Some(at)));
    }

    fn post(&self, command: Command) {
        match self.runtime() {
            Ok(runtime) => runtime.mailbox().post(command),
            // It is being closed.
            Err(RuntimeError::Lost) => {}
            // A call of a SURVEYOR that waits in a thread reads the clock itself; all else misses its deadline.
            Err(error) => crate::contain::record!(
                Error,
                { socket: self.name, reason: error },
                "{}: no timers: {error}",
                self.name
            ),
        }
    }
}

impl<P: Protocol> Core<P> {
    fn on_pipe_there(&self, pipe: &Pipe, effects: &mut Effects) {
        let peer = pipe.peer();
        if peer.outgoing {
            self.counters.established_connections.bump()
        } else {
            self.counters.accepted_connections.bump()
        }
        effects.record(|| Record::There(peer.clone()));
        pipe.endpoint.on_pipe_there();
        effects.wake_subscribers(self.emit(PipeEventKind::Attached, &peer));
    }
}
