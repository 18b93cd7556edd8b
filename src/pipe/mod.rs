//! Pipes: what joins two sockets, seen from one of them.
//!
//! A pipe is two rings and two bells. The rings carry framed messages, one in each direction; a bell
//! says "look here" when the far end had gone to sleep. Who holds the far ends is unknown here and
//! above: for a stream it is the reactor's connection ([`Link`]), for inproc simply the other socket.
//!
//! Owns [`Far`], the two kinds of far end; [`SocketBell`], the socket's own bell; [`Host`], the one
//! door by which lower layers call up into a socket; [`Waiting`], who would bring a pipe and may not
//! yet; and the numbering of pipes.

pub(crate) mod endpoint;
pub(crate) mod recv_limit;
pub(crate) mod visits;

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;
use std::io::IoSlice;
use std::time::{Duration, Instant};

use mio::Token;

use crate::body;
use crate::detach::DetachReason;
use crate::inproc;
use crate::io::{self, Command, Link, Mailbox};
use crate::message::PipeId;
use crate::peer::{EndpointId, Peer};
use crate::pipe::endpoint::EndpointCore;
use crate::protocol_id::ProtocolId;
use crate::ring::{Bounds, Producer, Ring};
use crate::signal::{Signal, Visitor};
use crate::stats::Counters;
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Weak, fence};
use crate::sys::PerProcess;
use crate::tuning::{self, Choice};

/// What can be announced of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// There is something in the ring that had run empty.
    Readable,
    /// There is room in the ring that had run full, or it has run empty.
    Writable,
}

/// Who holds the far ends of a pipe's rings.
#[derive(Clone, Debug)]
pub(crate) enum Far {
    /// A stream connection, driven by the reactor and by whoever sends.
    Link(Arc<Link>),
    /// Another socket of this process.
    Socket(Arc<FarSocket>),
}

/// The other socket of an inproc pipe.
#[derive(Debug)]
pub(crate) struct FarSocket {
    pub(crate) host: Weak<dyn Host>,
    pub(crate) bell: Arc<SocketBell>,
    /// The other socket's name for this pipe.
    pub(crate) pipe: PipeId,
}

impl Far {
    /// Announces `edge` to the far end. Never called under a socket's lock: a link writes to the
    /// kernel in here if it had better.
    pub(crate) fn ring(&self, edge: Edge) {
        match (self, edge) {
            (Self::Link(link), Edge::Readable) => {
                if !write_directly(|| link.flush_or_post()) {
                    link.post_flush();
                }
            }
            (Self::Link(link), Edge::Writable) => link.resume_reading(),
            (Self::Socket(far), edge) => far.bell.ring(far.pipe, edge),
        }
    }

    /// Tells the far ends that this side is done with their pipes, and gives the kernel first what it
    /// takes for them: the process may end right after. Never called under a socket's lock.
    pub(crate) fn close_all(fars: impl IntoIterator<Item = Self>, linger: Duration) {
        let mut links = Vec::new();
        for far in fars {
            match far {
                Self::Link(link) => links.push(link),
                Self::Socket(_) => far.close(linger),
            }
        }
        io::close_all(links, linger);
    }

    /// Tells the far end that this side is done with the pipe. Never called under a socket's lock.
    pub(crate) fn close(&self, linger: Duration) {
        match self {
            Self::Link(link) => link.close(linger),
            Self::Socket(far) => {
                if let Some(host) = far.host.upgrade() {
                    host.detach(far.pipe, DetachReason::PeerClosed);
                }
            }
        }
    }
}

thread_local! {
    /// How the calling thread has rung links so far.
    static PACE: Cell<Pace> = const { Cell::new(Pace::new()) };
}

/// How fast a thread rings.
#[derive(Clone, Copy)]
struct Pace {
    /// It had better write again then, and not before.
    not_before: Option<Instant>,
    /// How long the direct write took that was measured last.
    write: Duration,
    /// How many direct writes are not measured until the next one is. To ask the clock twice for each
    /// is a part of what it takes that can be felt.
    unmeasured: u8,
}

impl Pace {
    const fn new() -> Self {
        Self { not_before: None, write: Duration::ZERO, unmeasured: 0 }
    }

    /// Has the thread be silent for a while, from `time` on, before it writes again.
    fn pause_from(&mut self, time: Instant) {
        let pause = (self.write / 2).clamp(tuning::APART, tuning::FAR_APART);
        self.not_before = Some(time + pause);
    }
}

/// Does `write`, to the kernel, if the calling thread had better do so now; `false` if not.
///
/// Who sends now and then writes directly: nobody has to be woken. Who sends in a tight loop would
/// pay a system call for each message; there the I/O thread writes, and while it writes messages
/// gather. The loop is told by the time since the thread was here last, whether it wrote then or not: in
/// a loop that is a part of what a write takes, however fast the machine. It is the thread that counts,
/// not the pipe or the socket: a broadcast is a tight loop over pipes, and a program may loop over
/// sockets.
fn write_directly(write: impl FnOnce()) -> bool {
    const UNMEASURED: u8 = 7;
    let begin = Instant::now();
    let mut pace = PACE.get();
    let allowed = match tuning::CALLER_WRITES {
        Choice::Never => false,
        Choice::Always => true,
        Choice::Measured => pace.not_before.is_none_or(|time| begin >= time),
    };
    if !allowed {
        pace.pause_from(begin);
    } else if pace.unmeasured == 0 {
        write();
        let end = Instant::now();
        pace.write = end - begin;
        pace.unmeasured = UNMEASURED;
        pace.pause_from(end);
    } else {
        write();
        pace.unmeasured -= 1;
        pace.pause_from(begin + pace.write);
    }
    PACE.set(pace);
    allowed
}

/// A socket's bell: collects what has happened to its pipes until somebody enters the socket.
///
/// Rung without the socket's lock, by the reactor or by another socket's threads.
/// With cache lines of its own: others write here while the socket's threads look.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct SocketBell {
    host: Weak<dyn Host>,
    edges: Mutex<Vec<(PipeId, Edge)>>,
    /// Whether `edges` holds anything: lets those who enter the socket pass it by without a lock.
    pending: AtomicBool,
    /// The protocol has something to do when a pipe is ready, whether anybody waits or not.
    busy: AtomicBool,
    /// Somebody is shown what the socket is ready for: it is entered by whoever rings.
    watched: AtomicBool,
    /// The protocol decides who is woken by what has arrived.
    filters: bool,
    pub(crate) signal: Signal,
}

impl SocketBell {
    /// `filters`: see [`Schedule::filters`](crate::protocol::Schedule::filters).
    pub(crate) fn new(host: Weak<dyn Host>, filters: bool) -> Self {
        Self {
            host,
            filters,
            edges: Mutex::default(),
            pending: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            signal: Signal::default(),
        }
    }

    /// Announces `edge`. Never called under a socket's lock: a socket that filters or is watched is
    /// entered.
    pub(crate) fn ring(&self, pipe: PipeId, edge: Edge) {
        self.announce(pipe, edge);
        if self.filters && edge == Edge::Readable {
            // No further: the far end of what filters hears of room, and is not entered for that.
            if let Some(host) = self.host.upgrade() {
                host.visit();
            }
        } else if self.watched.load(Ordering::Relaxed) {
            // By this thread, which would otherwise find there what is not shown yet.
            if let Some(host) = self.host.upgrade() {
                visits::visit(host);
            }
        } else if !self.finds_visitor()
            && let Some(host) = self.host.upgrade()
        {
            // Not from here: we may be the end of a long chain of sockets that ring each other.
            host.attend();
        }
    }

    fn announce(&self, pipe: PipeId, edge: Edge) {
        let mut edges = self.edges.lock();
        edges.push((pipe, edge));
        self.pending.store(true, Ordering::Release);
    }

    /// Wakes one who waits, and so will enter the socket. `false`: there is nobody, and the socket has
    /// to be entered.
    fn finds_visitor(&self) -> bool {
        match self.signal.wake_any() {
            Visitor::Sure => true,
            Visitor::Doubtful => false,
            // Pairs with the fence in `set_busy`, by the fence in `wake_any`.
            Visitor::Nobody => !self.busy.load(Ordering::Relaxed),
        }
    }

    /// Whether anybody watches. Called under the socket's lock.
    pub(crate) fn set_watched(&self, watched: bool) {
        self.watched.store(watched, Ordering::Relaxed);
    }

    /// Whether the protocol is to be entered when a pipe is ready though nobody waits. `true` is
    /// returned when something has been announced meanwhile for which nobody may come.
    ///
    /// Called under the socket's lock.
    #[inline]
    pub(crate) fn set_busy(&self, busy: bool) -> bool {
        if !busy {
            if self.busy.load(Ordering::Relaxed) {
                self.busy.store(false, Ordering::Relaxed);
            }
            return false;
        }
        self.busy.store(true, Ordering::Relaxed);
        // Either a bell sees that we are busy, or we see what it announced.
        fence(Ordering::SeqCst);
        self.is_pending()
    }

    /// Whether something was announced that nobody has taken yet.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Moves what was announced into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<(PipeId, Edge)>) {
        if self.is_pending() {
            let mut edges = self.edges.lock();
            self.pending.store(false, Ordering::Relaxed);
            std::mem::swap(&mut *edges, taken);
        }
    }
}

/// Whether a socket takes in new pipes, by what peers that have left have left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intake {
    /// As many as come.
    Free,
    /// One at a time: its peer may leave at once, and leave more behind than there is room for.
    Single,
    /// None until the program has received. Who asked is told then.
    Shut,
}

/// Who would bring a socket a new pipe, or the last of one, and waits for the program to receive.
#[derive(Debug)]
pub(crate) enum Waiting {
    /// A listener, a dialer or a connection of an event loop.
    Loop(Arc<Mailbox>, Token),
    /// A dialer inside the process.
    Inproc(Weak<inproc::Dialer>),
}

impl Waiting {
    /// Has it ask again, and not by the calling thread. Never called under a socket's lock.
    pub(crate) fn tell(self) {
        match self {
            Self::Loop(mailbox, token) => mailbox.post(Command::Resume(token)),
            Self::Inproc(dialer) => {
                if let Some(dialer) = dialer.upgrade() {
                    inproc::Dialer::ask_again(&dialer);
                }
            }
        }
    }
}

/// A socket as the layers below it see it.
pub(crate) trait Host: Send + Sync + fmt::Debug {
    /// Our protocol's number, and the number a peer must announce.
    fn identity(&self) -> (ProtocolId, ProtocolId);

    /// Whether nothing is ever sent on its pipes.
    fn is_mute(&self) -> bool;

    /// Whether it has one pipe at a time: its connections are then seen in their order only on one loop.
    fn is_exclusive(&self) -> bool;

    /// The bounds of a pipe's send and receive queue.
    fn bounds(&self) -> (Bounds, Bounds);

    /// The bell to ring for this socket's pipes.
    fn bell(&self) -> &Arc<SocketBell>;

    /// The counters.
    fn counters(&self) -> &Arc<Counters>;

    /// For log records.
    fn name(&self) -> &str;

    /// Says that a peer is there, complete and compatible, and is being decided about: its first event.
    /// Followed by `attach` or by `turn_away`, and the last of them. Not if the socket or the endpoint is
    /// closed.
    fn announce(&self, peer: &Peer, endpoint: &EndpointCore) -> Result<(), DetachReason>;

    /// Whether the program is to be asked about peers.
    fn asks(&self) -> bool;

    /// Runs the program's `admit` callback. Called with no lock held: it takes as long as it likes.
    fn admits(&self, peer: &Peer) -> bool;

    /// Says that a peer which was announced is not let in.
    fn turn_away(&self, peer: &Peer, reason: DetachReason);

    /// Offers the pipe of a peer that was announced and admitted.
    fn attach(&self, pipe: NewPipe) -> Result<(), DetachReason>;

    /// Whether the protocol would reject any pipe that is offered now.
    fn is_full(&self) -> bool;

    /// Whether so many peers are being decided about that `listener` is to accept no more. Then it is told
    /// when they have become fewer.
    fn is_crowded(&self, listener: Waiting) -> bool;

    /// Whether the socket takes in new pipes now. If it is shut, `newcomer` is told when to ask again:
    /// when enough has been received, or there is no more to wait for.
    fn intake(&self, newcomer: Waiting) -> Intake;

    /// Says that a pipe is gone. What its receive ring holds stays readable.
    fn detach(&self, pipe: PipeId, reason: DetachReason);

    /// Whether messages that a lost pipe has not transmitted are to be given back.
    fn wants_unsent(&self) -> bool;

    /// Takes back the messages that a lost pipe has not transmitted, not even in part, out of its
    /// send ring.
    fn take_back(&self, pipe: PipeId, send: &Ring);

    /// Has a pipe's send ring give up its memory, if it is empty; says whether it has none.
    fn rest(&self, pipe: PipeId) -> bool;

    /// Closes all pipes that an endpoint has made.
    fn drop_endpoint(&self, endpoint: EndpointId);

    /// Whether the socket is closed: it has no more timers.
    fn is_closed(&self) -> bool;

    /// Runs the protocol's timers.
    fn expire(&self);

    /// Has the socket entered soon, and not by the calling thread: it may be deep inside another.
    fn attend(&self);

    /// Hands over to the protocol what the bell has announced.
    fn visit(&self);
}

/// A pipe that is offered to a socket.
#[derive(Debug)]
pub(crate) struct NewPipe {
    pub(crate) lease: PipeLease,
    pub(crate) peer: Peer,
    /// What we send; the far end consumes it.
    pub(crate) send: Producer,
    /// What we receive; the far end produces it.
    pub(crate) recv: Arc<Ring>,
    pub(crate) far: Far,
    pub(crate) endpoint: Arc<EndpointCore>,
}

/// The ids in use in this process, and the last one given out.
static IDS: PerProcess<Mutex<Ids>> = PerProcess::new(|| {
    let start = random_u32() & PipeId::MAX;
    Mutex::new(Ids { last: start, live: HashSet::new() })
});

struct Ids {
    last: u32,
    live: HashSet<u32>,
}

/// The right to a pipe id, until it is dropped.
#[derive(Debug)]
pub(crate) struct PipeLease(PipeId);

impl PipeLease {
    /// The next id that no live pipe of the process has.
    pub(crate) fn new() -> Self {
        let mut ids = IDS.get().lock();
        loop {
            ids.last = if ids.last >= PipeId::MAX { 1 } else { ids.last + 1 };
            let candidate = ids.last;
            if let Some(id) = PipeId::new(candidate)
                && ids.live.insert(candidate)
            {
                return Self(id);
            }
        }
    }

    pub(crate) fn id(&self) -> PipeId {
        self.0
    }
}

impl Drop for PipeLease {
    fn drop(&mut self) {
        IDS.get().lock().live.remove(&self.0.get());
    }
}

/// Empties a ring whose messages nobody will consume any more; says how many there were.
pub(crate) fn discard(ring: &Ring) -> u64 {
    let _bodies = body::put_off();
    let mut consumer = ring.consumer();
    let mut messages = 0;
    loop {
        let bytes = {
            let mut slices = [IoSlice::new(&[]); 16];
            let n = consumer.slices(&mut slices);
            slices[..n].iter().map(|slice| slice.len()).sum()
        };
        if bytes == 0 {
            return messages;
        }
        messages += consumer.consume(bytes).messages;
    }
}

/// A random number from the operating system; where it has none, from the clock and the address
/// layout, since here it only has to differ between processes.
pub(crate) fn random_u32() -> u32 {
    getrandom::u32().unwrap_or_else(|error| {
        use std::hash::{BuildHasher, RandomState};
        crate::contain::log!(Warn, "no random numbers from the system ({error})");
        let hash = RandomState::new().hash_one(std::process::id());
        u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C230.
    #[test]
    fn live_pipes_never_share_an_id() {
        let leases: Vec<_> = (0..1000).map(|_| PipeLease::new()).collect();
        let distinct: HashSet<_> = leases.iter().map(PipeLease::id).collect();
        assert_eq!(distinct.len(), leases.len());
    }
}

/// That what is announced is handed over, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::thread;

    use super::*;
    use crate::protocol::Pair;
    use crate::socket::Core;

    /// A socket that is entered by several threads: how much was handed over to its protocol.
    struct Entered {
        bell: SocketBell,
        state: Mutex<usize>,
    }

    impl Entered {
        fn new() -> Arc<Self> {
            let bell = SocketBell::new(Weak::<Core<Pair>>::new(), false);
            Arc::new(Self { bell, state: Mutex::new(0) })
        }

        /// As `Core::enter`; who is to attend to the socket does so at once.
        fn enter(&self, busy: bool) {
            loop {
                let (mut state, mut edges) = (self.state.lock(), Vec::new());
                self.bell.take(&mut edges);
                *state += edges.len();
                if !self.bell.set_busy(busy) {
                    return;
                }
            }
        }

        fn ring(&self) {
            self.bell.announce(PipeId::new(1).unwrap(), Edge::Readable);
            if !self.bell.finds_visitor() {
                self.enter(true);
            }
        }
    }

    /// Nobody waits, and the bell is rung while the protocol becomes busy.
    #[test]
    fn what_is_announced_to_a_busy_socket_is_handed_over() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let socket = Entered::new();
            let ringers = [(); 2].map(|()| {
                let socket = Arc::clone(&socket);
                thread::spawn(move || socket.ring())
            });
            socket.enter(false);
            socket.enter(true);
            ringers.into_iter().for_each(|ringer| ringer.join().unwrap());
            assert_eq!(*socket.state.lock(), 2);
        });
    }
}
