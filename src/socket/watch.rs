//! Watches: the readiness of a socket, shown to pollers and to the program's own event loops.
//!
//! Owns the flags that say whether a call would have to wait, and the two ways to show one: a descriptor that
//! can be polled, and a slot in a [`Poller`](crate::Poller). A socket that nobody watches has no flags and pays
//! nothing.
//!
//! An entry decides each flag under the socket's lock, at its end, and shows it after the lock is given back,
//! because that may take a system call. In between, another thread may decide anew and show first. So a thread
//! shows the latest decision, not its own.

use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
#[cfg(windows)]
use std::os::windows::io::{AsRawSocket, AsSocket, BorrowedSocket, RawSocket};

use super::{Core, Entry, SocketPort};
use crate::io::leadership::{Leadership, WaitingTask};
use crate::pipe::Host;
use crate::protocol::{Interest, Protocol};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank, Weak};
use crate::sys::Origin;

/// Whether a socket is ready, as a descriptor that fits any event loop.
///
/// The descriptor is *readable* exactly while the call in question would not have to wait: `try_recv` for a
/// descriptor from `recv_readiness`, `try_send` for one from `send_readiness`. It is level-triggered, however
/// many threads use the socket. If several receive, another one may be faster: then `try_recv` fails with
/// `WouldBlock`, and the descriptor is no longer readable. A closed socket is ready for everything, because
/// its calls fail at once. A queue that has been full is ready for sending again when it is at most half
/// full, which is also when a waiting send is woken.
///
/// On Unix it is a file descriptor (`AsFd`), on Windows a socket (`AsSocket`), which `select`, `WSAPoll` and
/// the event loops of crates can watch.
///
/// Only poll the descriptor. Never read or write it: its bytes are no messages, and it would then show the
/// wrong state. Dropping this value closes the descriptor; the descriptor does not keep the socket open.
///
/// # When it changes
///
/// A call has updated the descriptors of its socket, and over inproc those of its peers, when it returns. A
/// message that arrives over a connection updates them as it comes in; in a runtime without an I/O thread,
/// before `turn` returns. The end of a survey updates them when the event loop has read the clock;
/// [`is_ready`](Self::is_ready) reads it itself. A peer that has just gone counts as room until the socket
/// has heard of it: `try_send` then fails with `WouldBlock`, and the descriptor is no longer readable.
///
/// # Cost
///
/// Each change takes one system call. Each call on a socket checks all watches of the socket and its
/// contexts, so thousands of them slow it down. While a socket is watched, the event loop, or the peer that
/// sends over inproc, enters it for each arrival, and no waiting thread turns the event loop in place of the
/// I/O thread. In a runtime without an I/O thread nothing changes unless the program turns it. Each call of
/// `recv_readiness` and `send_readiness` makes a new descriptor.
///
/// ```
/// let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
/// let (can_send, can_recv) = (push.send_readiness()?, pull.recv_readiness()?);
/// assert!(!can_send.is_ready() && !can_recv.is_ready());
/// push.bind("inproc://readiness-doc")?;
/// pull.connect("inproc://readiness-doc")?;
/// assert!(can_send.is_ready());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Readiness {
    watching: Watching,
    descriptor: Arc<Descriptor>,
}

impl Readiness {
    /// Makes a descriptor, and lets `watch` begin a watch that shows by it.
    pub(crate) fn new(watch: impl FnOnce(Beacon) -> Watching) -> io::Result<Self> {
        let descriptor = Arc::new(Descriptor::new()?);
        let watching = watch(Beacon::Descriptor(Arc::clone(&descriptor)));
        Ok(Self { watching, descriptor })
    }

    /// Whether the call would not have to wait. Checks now, and updates the descriptor; makes a system call
    /// only if that changes.
    pub fn is_ready(&self) -> bool {
        if self.watching.origin.is_ancestral() {
            return true; // its calls fail at once
        }
        self.watching.check();
        self.watching.flag.is_shown()
    }
}

impl Readiness {
    #[cfg(unix)]
    fn raw(&self) -> RawFd {
        self.as_raw_fd()
    }

    #[cfg(windows)]
    fn raw(&self) -> RawSocket {
        self.as_raw_socket()
    }
}

#[cfg(unix)]
impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.0.as_fd()
    }
}

#[cfg(unix)]
impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

#[cfg(windows)]
impl AsSocket for Readiness {
    fn as_socket(&self) -> BorrowedSocket<'_> {
        self.descriptor.0.as_socket()
    }
}

#[cfg(windows)]
impl AsRawSocket for Readiness {
    fn as_raw_socket(&self) -> RawSocket {
        self.as_socket().as_raw_socket()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("descriptor", &self.raw())
            .field("ready", &self.watching.flag.is_shown())
            .finish()
    }
}

/// How readiness is shown.
#[derive(Debug)]
pub(crate) enum Beacon {
    /// As a descriptor that is readable.
    Descriptor(Arc<Descriptor>),
    /// In a poller.
    Poller(Box<dyn SetReady>),
}

/// Where a watch says whether its socket is ready.
pub(crate) trait SetReady: fmt::Debug + Send + Sync {
    fn set(&self, ready: bool);
}

impl SetReady for Beacon {
    fn set(&self, ready: bool) {
        match self {
            Self::Descriptor(descriptor) => descriptor.set(ready),
            Self::Poller(slot) => slot.set(ready),
        }
    }
}

/// One watch of a socket, held by its watcher. Dropping it ends the watch.
#[derive(Debug)]
pub(crate) struct Watching {
    flag: Arc<Flag>,
    host: Weak<dyn Host>,
    /// The process that made the socket, or this.
    origin: Origin,
}

impl Watching {
    /// Enters the socket, which decides anew.
    fn check(&self) {
        if let Some(host) = self.host.upgrade() {
            host.visit();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.flag.end();
        // The entry takes the watch off the list, and gives its claim on the event loop back.
        self.check();
    }
}

/// Whether a call would not have to wait: the latest decision, and what is shown.
#[derive(Debug)]
pub(crate) struct Flag<B = Beacon> {
    /// The latest decision. Stored only under the socket's lock.
    ready: AtomicBool,
    ended: AtomicBool,
    /// What `beacon` shows. The lock is held while that changes.
    shown: Mutex<bool>,
    beacon: B,
    /// Makes the I/O thread turn the loop, once there is one.
    claim: Mutex<Option<WaitingTask>>,
}

impl<B: SetReady> Flag<B> {
    fn new(beacon: B) -> Arc<Self> {
        Arc::new(Self {
            ready: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            shown: Mutex::new(Rank::FlagShown, false),
            beacon,
            claim: Mutex::new(Rank::FlagClaim, None),
        })
    }

    /// Decides, and says whether that is a change: the caller must then call `show`. Called under the socket's
    /// lock.
    fn decide(&self, ready: bool) -> bool {
        // Relaxed: the thread that stores last under the lock shows afterwards, and reads this or a later
        // value.
        let before = self.ready.load(Ordering::Relaxed);
        self.ready.store(ready, Ordering::Relaxed);
        before != ready
    }

    /// What the beacon shows.
    fn is_shown(&self) -> bool {
        *self.shown.lock()
    }

    /// Shows the latest decision. Called with no lock held.
    pub(crate) fn show(&self) {
        let mut shown = self.shown.lock();
        let ready = self.ready.load(Ordering::Relaxed);
        if *shown != ready {
            *shown = ready;
            self.beacon.set(ready);
        }
    }

    /// Makes the I/O thread turn the loop for as long as the watch lasts. Called with no lock held: the thread
    /// may have to be woken.
    pub(crate) fn claim(&self, leadership: Option<&Arc<Leadership>>, eager: bool) {
        let mut claim = self.claim.lock();
        if claim.is_none() {
            *claim = leadership.and_then(|it| it.count_task(eager));
        }
    }

    /// Ends the watch.
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Whether the call that is watched would not have to wait.
type Test<P> = Box<dyn FnMut(&mut P, &mut SocketPort<'_>) -> bool + Send>;

/// One watch of a socket, held by the socket.
pub(super) struct Watch<P: Protocol> {
    flag: Arc<Flag>,
    test: Test<P>,
    /// Whether the event loop, if there is one, knows of it.
    claimed: bool,
}

impl<P: Protocol> Core<P> {
    /// Shows by `beacon` whether a call for `interest` would not wait.
    pub(crate) fn watch_interest(&self, interest: Interest, beacon: Beacon) -> Watching {
        self.watch(beacon, move |protocol, io| protocol.poll_ready(interest, io))
    }

    /// Shows by `beacon` whether `test` holds.
    pub(crate) fn watch(
        &self,
        beacon: Beacon,
        test: impl FnMut(&mut P, &mut SocketPort<'_>) -> bool + Send + 'static,
    ) -> Watching {
        let flag = Flag::new(beacon);
        let watch = Watch { flag: Arc::clone(&flag), test: Box::new(test), claimed: false };
        let is_open = self.enter(|entry| {
            let is_open = !entry.is_closed();
            if is_open {
                entry.state.watches.push(watch);
                self.bell.set_watched(true);
            } else {
                _ = watch.flag.decide(true)
            }
            is_open
        });
        if !is_open {
            flag.show();
        }
        Watching { flag, host: self.host(), origin: Origin::now() }
    }

    /// Checks all watches, after a change that the protocol does not know of.
    pub(crate) fn tell_watches(&self) {
        self.enter(|_| ());
    }
}

impl<P: Protocol> Entry<'_, P> {
    /// Decides all flags anew. The last step of an entry.
    #[cold]
    pub(crate) fn check_watches(&mut self) {
        let mut watches = std::mem::take(&mut self.state.watches);
        watches.retain(|watch| {
            let has_ended = watch.flag.has_ended();
            if has_ended {
                // This may be the last reference to a descriptor, which must be closed after the lock.
                self.state.effects.rare().unwatched.push(Arc::clone(&watch.flag));
            }
            !has_ended
        });
        // Testing one watch may bring a message for another that was tested before; then a waiter was woken,
        // and all are tested again. That ends, since a test takes no message away from anybody.
        loop {
            let woken = self.state.effects.wakes();
            watches.iter_mut().for_each(|watch| self.check(watch));
            if watches.len() < 2 || self.state.effects.wakes() == woken {
                break;
            }
        }
        self.core.bell.set_watched(!watches.is_empty());
        if !watches.is_empty() {
            self.state.watches = watches;
        }
    }

    fn check(&mut self, watch: &mut Watch<P>) {
        let claims = !watch.claimed && self.core.leadership().is_some();
        watch.claimed |= claims;
        let (protocol, mut port, _) = self.parts();
        let ready = (watch.test)(protocol, &mut port);
        if watch.flag.decide(ready) || claims {
            self.state.effects.rare().flags.push(Arc::clone(&watch.flag));
        }
    }
}

/// Ends all watches of a closed socket, which is ready for everything. Returns the flags to show once the lock
/// is given back.
pub(super) fn raise_all<P: Protocol>(watches: &mut Vec<Watch<P>>) -> Vec<Arc<Flag>> {
    let flags: Vec<_> = std::mem::take(watches).into_iter().map(|watch| watch.flag).collect();
    flags.iter().for_each(|flag| _ = flag.decide(true));
    flags
}

/// A descriptor that can be made readable.
#[derive(Debug)]
pub(crate) struct Descriptor(system::Inner);

impl Descriptor {
    fn new() -> io::Result<Self> {
        system::Inner::new().map(Self)
    }

    fn set(&self, readable: bool) {
        let done = if readable { self.0.raise() } else { self.0.lower() };
        if let Err(error) = done {
            crate::contain::record!(
                Error,
                { reason: error },
                "a descriptor cannot be made readable={readable}: {error}"
            );
        }
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
mod system {
    use std::io;
    use std::os::fd::{AsFd, BorrowedFd};

    use nix::sys::eventfd::{EfdFlags, EventFd};

    /// An eventfd: readable while its count is not zero, which a read makes it.
    #[derive(Debug)]
    pub(super) struct Inner(EventFd);

    impl Inner {
        pub(crate) fn new() -> io::Result<Self> {
            let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
            Ok(Self(EventFd::from_flags(flags)?))
        }

        pub(crate) fn raise(&self) -> io::Result<()> {
            self.0.write(1)?;
            Ok(())
        }

        pub(crate) fn lower(&self) -> io::Result<()> {
            self.0.read()?;
            Ok(())
        }

        pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }
    }
}

/// For systems without eventfd. `--cfg sinew_socketpair` selects it on Linux, for tests.
#[cfg(any(not(any(target_os = "linux", target_os = "android")), sinew_socketpair))]
mod system {
    use std::io::{self, Read, Write};

    #[cfg(unix)]
    use std::os::fd::{AsFd, BorrowedFd};
    #[cfg(windows)]
    use std::os::windows::io::{AsSocket, BorrowedSocket};

    #[cfg(not(unix))]
    use crate::sys::{self, Stream};
    #[cfg(unix)]
    use std::os::unix::net::UnixStream as Stream;

    /// A pair of sockets: one is readable while there is a byte in it, which the other has sent.
    #[derive(Debug)]
    pub(super) struct Inner(Stream, Stream);

    impl Inner {
        pub(crate) fn new() -> io::Result<Self> {
            #[cfg(unix)]
            let (near, far) = Stream::pair()?;
            #[cfg(not(unix))]
            let (near, far) = sys::stream_pair()?;
            // A byte over tcp may take a moment, for which the read waits.
            near.set_nonblocking(cfg!(unix))?;
            far.set_nonblocking(true)?;
            Ok(Self(near, far))
        }

        pub(crate) fn raise(&self) -> io::Result<()> {
            (&self.1).write_all(&[0])
        }

        pub(crate) fn lower(&self) -> io::Result<()> {
            (&self.0).read_exact(&mut [0])
        }

        #[cfg(unix)]
        pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
        }

        #[cfg(windows)]
        pub(crate) fn as_socket(&self) -> BorrowedSocket<'_> {
            self.0.as_socket()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Handle;
    use super::*;
    use crate::options::Options;
    use crate::protocol::Pull;

    #[test]
    fn a_socket_that_nobody_watches_any_more_keeps_no_memory_for_it() {
        let socket = Handle::new(Pull::new(), Options::new(), None).expect("the options are good");
        let watch = |beacon| socket.watch_interest(Interest::RECV, beacon);
        let readiness = [(); 2].map(|()| Readiness::new(watch).unwrap());
        assert_eq!(socket.state.lock().watches.len(), 2);
        drop(readiness);
        assert_eq!(socket.state.lock().watches.capacity(), 0);
    }
}

/// Shows that the flag ends up showing the latest decision. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::thread;

    use super::*;
    use crate::sync::bounded;

    /// A descriptor that panics when it is set to the state that it shows.
    #[derive(Debug, Default)]
    struct Lamp(AtomicBool);

    impl SetReady for Lamp {
        fn set(&self, ready: bool) {
            assert_ne!(self.0.swap(ready, Ordering::Relaxed), ready);
        }
    }

    struct Watched {
        queue: Mutex<usize>,
        flag: Arc<Flag<Lamp>>,
    }

    impl Watched {
        /// As `Core::enter`: changes, decides, gives the lock back, shows.
        fn enter(&self, change: impl FnOnce(&mut usize)) {
            let mut queue = self.queue.lock();
            change(&mut queue);
            let news = self.flag.decide(*queue > 0);
            drop(queue);
            if news {
                self.flag.show();
            }
        }
    }

    fn watched() -> Arc<Watched> {
        Arc::new(Watched { queue: Mutex::new(Rank::Socket, 0), flag: Flag::new(Lamp::default()) })
    }

    /// One message comes while two threads receive.
    #[test]
    fn what_is_shown_in_the_end_was_decided_last() {
        bounded(3).check(|| {
            let socket = watched();
            let receivers = [(); 2].map(|()| {
                let socket = Arc::clone(&socket);
                thread::spawn(move || socket.enter(|queue| *queue = queue.saturating_sub(1)))
            });
            socket.enter(|queue| *queue += 1);
            socket.enter(|queue| *queue += 1);
            receivers.into_iter().for_each(|it| it.join().unwrap());
            let ready = *socket.queue.lock() > 0;
            assert_eq!(socket.flag.beacon.0.load(Ordering::Relaxed), ready);
        });
    }

    /// A thread that has received the only message finds the descriptor not readable when it returns.
    #[test]
    fn what_one_thread_has_changed_is_shown_when_it_returns() {
        loom::model(|| {
            let socket = watched();
            let sender = thread::spawn({
                let socket = Arc::clone(&socket);
                move || socket.enter(|queue| *queue += 1)
            });
            let mut taken = false;
            socket.enter(|queue| taken = std::mem::take(queue) > 0);
            if taken {
                assert!(!socket.flag.beacon.0.load(Ordering::Relaxed));
            }
            sender.join().unwrap();
            assert_eq!(socket.flag.beacon.0.load(Ordering::Relaxed), !taken);
        });
    }
}
