//! The order in which a thread may wait for locks.
//!
//! Owns [`Rank`], the table of all locks, and the check of it. In the tests of this crate, and with `--cfg
//! sinew_lock_order` as in `ci/lock-order`, a thread that waits for a lock out of order ends the process, so
//! that no test can miss it. Other builds contain nothing of this.

/// The locks, outermost first. A thread that holds one waits only for locks below it in this list, and never
/// for two of one kind. Trying a lock is always allowed, since it does not wait.
///
/// No thread makes a system call, runs a callback, a waker or a destructor of the program's, or logs
/// while it holds a lock, unless it says so here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Rank {
    /// The list of a registry, what an announcement tells, or the sockets that a resolver keeps connected. One of
    /// them is taken before a changes' queue, and under no other.
    #[cfg(feature = "discovery")]
    Registry,
    /// What a source of last values keeps. Held while an update is published, so that numbers go out in their order.
    #[cfg(feature = "typed")]
    LastValues,
    /// The services that a resolver has connected a socket to.
    #[cfg(feature = "discovery")]
    Resolved,
    /// The unread changes of a registry's list.
    #[cfg(feature = "discovery")]
    Changes,
    /// An event loop's driver. The leader holds it during a whole turn, with its system calls and callbacks.
    /// Only the I/O thread waits for it, or who runs a simulation, and holds nothing then.
    Driver,
    /// A socket: its protocol and its pipes. Bodies that are dropped under it are put off: see
    /// [`body`](crate::body). A thread that takes back unsent messages takes the consumer's half of a send
    /// ring before it; no thread that holds a state waits for that half.
    Socket,
    /// A socket's options.
    Options,
    /// The request that an answering context has in hand.
    Answering,
    /// The subscribers to a socket's events.
    Subscribers,
    /// The events that one of them has not read yet.
    Events,
    /// The calls of a socket that wait.
    Waiters,
    /// What a bell has announced.
    Bell,
    /// The status of an endpoint.
    Endpoint,
    /// Those who wait for a socket's budget.
    Budget,
    /// The pipe ids in use.
    PipeIds,
    /// The listeners that wait until there are fewer peers to decide about.
    Deciding,
    /// The sockets that are bound to inproc names, and the dialers that wait for one.
    InprocNames,
    /// Whether an inproc dialer is joined. Changed under the names too.
    InprocDialer,
    /// What a poller watches. The program's `Ord` and `Clone` of its keys run under it.
    PollerWatches,
    /// Whether a flag has a claim on the I/O thread. Held during the call that wakes that thread.
    FlagClaim,
    /// What a flag shows. Held during the write to its descriptor.
    FlagShown,
    /// A socket's slot in a poller.
    PollerSlot,
    /// Which keys of a poller are ready. The program's `Ord` and `Clone` of its keys run under it.
    PollerReady,
    /// The runtime of the process. Held while it starts.
    Runtime,
    /// Where a listener is. It is lent out, and then used with no lock held.
    Listener,
    /// The clients of a named pipe that were not accepted yet.
    #[cfg(windows)]
    PipeClients,
    /// The jobs and threads of a pool.
    Pool,
    /// What is posted to an event loop, and the threads that follow its leader.
    Loop,
    /// The waker of the task that turns an event loop; or when the clock strikes that wakes it, where that is
    /// a thread.
    Task,
    /// The sockets of a runtime.
    Sockets,
    /// What the waits of a socket have gained by spinning.
    Account,
    /// The configuration that a handle of a TLS configuration has now.
    #[cfg(feature = "tls")]
    TlsConfig,
    /// The encrypted bytes of one stream that the kernel has not taken. Held during a write to the kernel, so that
    /// bytes get there in the order in which they were encrypted. Only the two threads of that stream wait for it.
    #[cfg(feature = "tls")]
    TlsUnwritten,
    /// The TLS session of one stream. Held while bytes are encrypted and decrypted.
    #[cfg(feature = "tls")]
    TlsSession,
    /// The memory that reads and writes over TLS share.
    #[cfg(feature = "tls")]
    TlsScratch,
    /// The ports at which WebSocket listens. Held while one is bound or closed.
    #[cfg(feature = "ws")]
    Doors,
    /// The listeners of such a port.
    #[cfg(feature = "ws")]
    Desks,
    /// The connections that were passed on to one of them.
    #[cfg(feature = "ws")]
    Desk,
    /// The reading half of a WebSocket stream, which is taken out to be used.
    #[cfg(feature = "ws")]
    WsReading,
    /// The place of its writing half, and what is left there for whoever has it.
    #[cfg(feature = "ws")]
    WsStand,
    /// The hosts of a simulated network, and what a thread on one has returned.
    #[cfg(feature = "testing")]
    Hosts,
    /// The connections of a simulated network.
    #[cfg(feature = "testing")]
    Network,
    /// The threads of a simulation. Those that have no turn wait under it, and hold nothing else.
    #[cfg(feature = "testing")]
    Stage,
}

#[cfg(all(any(test, sinew_lock_order), not(loom)))]
pub(super) use checked::{HeldLock, Order};
#[cfg(not(all(any(test, sinew_lock_order), not(loom))))]
pub(super) use unchecked::{HeldLock, Order};

#[cfg(all(any(test, sinew_lock_order), not(loom)))]
mod checked {
    use std::backtrace::Backtrace;
    use std::cell::RefCell;

    use super::Rank;
    use crate::sync::thread_local;

    thread_local! {
        /// What the thread holds, in the order in which it was taken.
        static HELD: RefCell<Vec<Rank>> = const { RefCell::new(Vec::new()) };
    }

    /// Where a lock stands in the order.
    #[derive(Debug)]
    pub(in crate::sync) struct Order(Rank);

    impl Order {
        pub(in crate::sync) fn of(rank: Rank) -> Self {
            Self(rank)
        }

        /// Ends the process if this thread must not wait for the lock. A panic could be contained.
        pub(in crate::sync) fn check(&self) {
            if let Some(held) = self.hindrance() {
                let (rank, place) = (self.0, Backtrace::force_capture());
                eprintln!("{rank:?} is waited for by a thread that holds {held:?}, at\n{place}");
                std::process::abort();
            }
        }

        /// What the thread holds that the lock does not stand below.
        pub(super) fn hindrance(&self) -> Option<Rank> {
            // A thread that ends has no list any more.
            let innermost = HELD.try_with(|held| held.borrow().iter().max().copied()).ok()?;
            innermost.filter(|innermost| *innermost >= self.0)
        }

        pub(in crate::sync) fn hold(&self) -> HeldLock {
            let _ = HELD.try_with(|held| held.borrow_mut().push(self.0));
            HeldLock(self.0)
        }
    }

    /// A lock that the thread holds, until this is dropped.
    #[derive(Debug)]
    pub(in crate::sync) struct HeldLock(Rank);

    impl Drop for HeldLock {
        fn drop(&mut self) {
            let _ = HELD.try_with(|held| {
                let mut held = held.borrow_mut();
                let last = held.iter().rposition(|&rank| rank == self.0);
                last.map(|last| held.remove(last));
            });
        }
    }
}

#[cfg(not(all(any(test, sinew_lock_order), not(loom))))]
mod unchecked {
    use super::Rank;

    #[derive(Debug)]
    pub(in crate::sync) struct Order;

    impl Order {
        pub(in crate::sync) fn of(_: Rank) -> Self {
            Self
        }

        #[inline]
        pub(in crate::sync) fn check(&self) {}

        #[inline]
        pub(in crate::sync) fn hold(&self) -> HeldLock {
            HeldLock
        }
    }

    #[derive(Debug)]
    pub(in crate::sync) struct HeldLock;
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::sync::{Condvar, Mutex};

    #[test]
    fn locks_are_taken_in_their_order() {
        let (outer, inner) = (Mutex::new(Rank::Socket, ()), Mutex::new(Rank::Options, ()));
        let (first, _second) = (outer.lock(), inner.lock());
        drop(first);
        // What is left counts, however it was taken.
        assert_eq!(Order::of(Rank::Socket).hindrance(), Some(Rank::Options));
        assert_eq!(Order::of(Rank::Options).hindrance(), Some(Rank::Options));
        assert_eq!(Order::of(Rank::Bell).hindrance(), None);
        drop(outer.try_lock().expect("it is free"));
    }

    #[test]
    fn who_waits_for_a_condition_still_holds_the_lock_afterwards() {
        let lock = Mutex::new(Rank::Options, ());
        let (held, timed_out) = Condvar::new().wait_timeout(lock.lock(), Duration::ZERO);
        assert!(timed_out);
        assert_eq!(Order::of(Rank::Socket).hindrance(), Some(Rank::Options));
        drop(held);
        assert_eq!(Order::of(Rank::Socket).hindrance(), None);
    }
}
