//! Bells: how a socket learns what has happened to its pipes.
//!
//! Owns [`SocketBell`], which the far ends ring, and the rule that decides which thread then enters the socket.

use super::{Host, visits};
use crate::duty::Duties;
use crate::interest::Interest;
use crate::message::PipeId;
use crate::room::GiveBack;
use crate::signal::{Signal, Visitor};
use crate::sync::{AtomicBool, Mutex, Ordering, Rank, Weak, fence};

/// What can be announced about a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edge {
    /// The receive ring, which had run empty, has messages.
    Readable,
    /// The send ring, which had run full, has room, or it has run empty.
    Writable,
}

/// A socket's bell: collects what has happened to its pipes until a thread enters the socket.
///
/// Rung without the socket's lock, by the event loop or by another socket's threads. Has cache lines of its
/// own, since others write to it while the socket's threads read.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct SocketBell {
    host: Weak<dyn Host>,
    edges: Mutex<Vec<(PipeId, Edge)>>,
    /// Whether `edges` holds anything. If not, an entry need not take its lock.
    pending: AtomicBool,
    /// Whether the protocol has work to do when a pipe is ready, even if no call waits.
    busy: AtomicBool,
    /// Whether anybody watches the socket's readiness: then the thread that rings enters it.
    watched: AtomicBool,
    /// Whether the protocol decides which call an arrival wakes.
    filters: bool,
    pub(crate) signal: Signal<Interest>,
    /// What threads owe to the calls that wait.
    pub(crate) duties: Duties,
}

impl SocketBell {
    /// Makes a bell; for `filters` see [`Schedule::filters`](crate::protocol::Schedule::filters).
    pub(crate) fn new(host: Weak<dyn Host>, filters: bool) -> Self {
        Self {
            host,
            filters,
            edges: Mutex::new(Rank::Bell, Vec::new()),
            pending: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            watched: AtomicBool::new(false),
            signal: Signal::new(),
            duties: Duties::new(),
        }
    }

    /// Announces `edge`. Never called under a socket's lock, since it enters a socket that filters or is
    /// watched.
    pub(crate) fn ring(&self, pipe: PipeId, edge: Edge) {
        let _duty = self.duties.begin();
        self.announce(pipe, edge);
        if self.filters && edge == Edge::Readable {
            // Goes no deeper: that entry rings the far end only for room, for which this one is not entered.
            if let Some(host) = self.host.upgrade() {
                host.visit();
            }
        } else if self.watched.load(Ordering::Relaxed) {
            // By this thread, so that the readiness is shown when its call returns.
            self.duties.put_off();
            if let Some(host) = self.host.upgrade() {
                visits::visit(host);
            }
        } else if !self.finds_visitor()
            && let Some(host) = self.host.upgrade()
        {
            // Not from here: this may be the end of a long chain of sockets that ring each other.
            host.visit_later();
        }
    }

    fn announce(&self, pipe: PipeId, edge: Edge) {
        let mut edges = self.edges.lock();
        edges.push((pipe, edge));
        self.pending.store(true, Ordering::Release);
    }

    /// Wakes one call that waits, which will enter the socket. `false`: no call waits, and the socket must be
    /// entered.
    fn finds_visitor(&self) -> bool {
        if self.duties.lose_wake() {
            return true;
        }
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

    /// Sets whether the socket must be entered when a pipe is ready though no call waits. Returns `true` if
    /// something was announced meanwhile for which nobody may come.
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
        // Either the thread that rings sees `busy`, or this one sees what it announced.
        fence(Ordering::SeqCst);
        self.is_pending()
    }

    /// Whether something was announced that no entry has taken yet.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Acquire)
    }

    /// Gives back the room that the edges of a crowd have taken.
    #[cold]
    pub(crate) fn give_back(&self) {
        self.edges.lock().give_back();
    }

    /// Moves the announced edges into `taken`, which must be empty.
    pub(crate) fn take(&self, taken: &mut Vec<(PipeId, Edge)>) {
        if self.is_pending() {
            let mut edges = self.edges.lock();
            self.pending.store(false, Ordering::Relaxed);
            std::mem::swap(&mut *edges, taken);
        }
    }
}

/// Shows that every announced edge reaches the protocol, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::thread;

    use super::*;
    use crate::protocol::Pair;
    use crate::socket::Core;
    use crate::sync::{Arc, bounded};

    /// A socket that several threads enter: counts the edges that its protocol has seen.
    struct Entered {
        bell: SocketBell,
        state: Mutex<usize>,
    }

    impl Entered {
        fn new() -> Arc<Self> {
            let bell = SocketBell::new(Weak::<Core<Pair>>::new(), false);
            Arc::new(Self { bell, state: Mutex::new(Rank::Socket, 0) })
        }

        /// As `Core::enter`; a later visit happens at once.
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

    /// No call waits, and the bell is rung while the protocol becomes busy.
    #[test]
    fn what_is_announced_to_a_busy_socket_is_handed_over() {
        bounded(3).check(|| {
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
