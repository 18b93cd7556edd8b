//! Watches: what a socket tells event loops that are not ours.
//!
//! Owns the flags that say, at any time, whether a call would have to wait, and the two ways to show
//! them: a descriptor that can be polled, and a slot in a [`Poller`](crate::Poller). A socket that
//! nobody watches has no flags and pays nothing.
//!
//! Whether a call would wait is decided under the socket's lock, at the end of each entry; it is shown
//! when the lock has been given back, for that may be a system call. Between the two others may decide
//! anew, and show before us: therefore what is shown is not what was decided by whoever shows, but what
//! was decided last.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use super::{Core, Entry, SocketPort};
use crate::io::leadership::{Leadership, WaitingTask};
use crate::pipe::Host;
use crate::protocol::{Interest, Protocol};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Rank, Weak};
use crate::sys::Origin;

/// Whether a socket is ready, as a descriptor that fits any event loop.
///
/// The descriptor is *readable* exactly while the call in question would not have to wait: a
/// `try_recv` if it comes from `recv_readiness`, a `try_send` if it comes from `send_readiness`. That
/// goes for as long as it is so, not only when it begins (level-triggered), however many threads use
/// the socket. Where several receive, another one may of course be faster; then `try_recv` says
/// `WouldBlock` and the descriptor is not readable any more. A closed socket is ready for everything:
/// its calls fail at once. A queue that has been full is ready for sending again when it is at most half
/// full, which is also when a send that waits is woken.
///
/// Only poll the descriptor. What is read from it or written to it is no message, and makes it say what
/// is not so. It is closed when this is dropped; the socket is not kept open by it.
///
/// What a call changes is shown when it returns: on the socket itself, and over inproc on its peers too.
/// What comes over a connection is shown as it comes in; in a runtime without an I/O thread that is before
/// `turn` returns. The end of a survey is shown once the I/O thread has looked at the clock;
/// [`is_ready`](Self::is_ready) looks itself. A peer that has just gone counts as room until the
/// socket has heard of it: then `try_send` says `WouldBlock`, and the descriptor is not readable any more.
///
/// While there is one, whoever brings something looks into the socket, the I/O thread or the peer that
/// sends over inproc, and no thread that waits in a call turns the event loop in place of the I/O thread. A system call is made each time the
/// socket becomes ready, or is no more; none while it stays so. Each call on a socket looks for all who
/// watch it or its contexts, so that thousands of them on one socket are felt. In a runtime without an
/// I/O thread nothing changes unless somebody turns it. Each call that makes one makes another
/// descriptor.
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
    /// Makes a descriptor and has `watch` tell the socket of it.
    pub(crate) fn new(watch: impl FnOnce(Beacon) -> Watching) -> io::Result<Self> {
        let descriptor = Arc::new(Descriptor::new()?);
        let watching = watch(Beacon::Descriptor(Arc::clone(&descriptor)));
        Ok(Self { watching, descriptor })
    }

    /// Whether the call would not have to wait. Looks now, and has the descriptor say the same; makes no
    /// system call unless that is news.
    pub fn is_ready(&self) -> bool {
        if self.watching.origin.is_ancestral() {
            return true; // its calls fail at once
        }
        self.watching.look();
        self.watching.flag.is_shown()
    }
}

impl AsFd for Readiness {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

impl AsRawFd for Readiness {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readiness")
            .field("descriptor", &self.as_raw_fd())
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

impl Beacon {
    fn set(&self, ready: bool) {
        match self {
            Self::Descriptor(descriptor) => descriptor.set(ready),
            Self::Poller(slot) => slot.set(ready),
        }
    }
}

/// One watch of a socket, seen by who watches. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watching {
    flag: Arc<Flag>,
    host: Weak<dyn Host>,
    /// In which process the socket was made, or this.
    origin: Origin,
}

impl Watching {
    /// Has the socket decide anew.
    fn look(&self) {
        if let Some(host) = self.host.upgrade() {
            host.visit();
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.flag.end();
        // The watch is taken off the list in there, and what it has of the runtime is given back.
        self.look();
    }
}

/// Whether a call would not have to wait: what was decided last, and what is shown.
#[derive(Debug)]
pub(crate) struct Flag<B = Beacon> {
    /// Stored under the socket's lock only.
    ready: AtomicBool,
    ended: AtomicBool,
    /// What `beacon` shows. Held while that changes.
    shown: Mutex<bool>,
    beacon: B,
    /// Has the I/O thread turn the loop, once there is one.
    claim: Mutex<Option<WaitingTask>>,
}

/// What a flag is shown by.
pub(crate) trait Show {
    fn show(&self, ready: bool);
}

impl Show for Beacon {
    fn show(&self, ready: bool) {
        self.set(ready);
    }
}

impl<B: Show> Flag<B> {
    fn new(beacon: B) -> Arc<Self> {
        Arc::new(Self {
            ready: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            shown: Mutex::new(Rank::FlagShown, false),
            beacon,
            claim: Mutex::new(Rank::FlagClaim, None),
        })
    }

    /// Decides. Called under the socket's lock; who is told that it is news has to call `show`.
    fn decide(&self, ready: bool) -> bool {
        // Relaxed: whoever stores last under the lock shows afterwards, and reads this or what is later.
        let before = self.ready.load(Ordering::Relaxed);
        self.ready.store(ready, Ordering::Relaxed);
        before != ready
    }

    /// What the beacon shows.
    fn is_shown(&self) -> bool {
        *self.shown.lock()
    }

    /// Shows what was decided last. Called with no lock held.
    pub(crate) fn show(&self) {
        let mut shown = self.shown.lock();
        let ready = self.ready.load(Ordering::Relaxed);
        if *shown != ready {
            *shown = ready;
            self.beacon.show(ready);
        }
    }

    /// Has the I/O thread turn the loop for as long as somebody watches. Called with no lock held: it may
    /// have to be woken.
    pub(crate) fn claim(&self, leadership: Option<&Arc<Leadership>>) {
        let mut claim = self.claim.lock();
        if claim.is_none() {
            *claim = leadership.map(Leadership::count_task);
        }
    }

    /// Nobody watches any more.
    fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }
}

/// Whether the call that is watched would not have to wait.
type Test<P> = Box<dyn FnMut(&mut P, &mut SocketPort<'_>) -> bool + Send>;

/// One watch of a socket, seen from within.
pub(super) struct Watch<P: Protocol> {
    flag: Arc<Flag>,
    test: Test<P>,
    /// The event loop knows of it, as far as there is one.
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
            match is_open {
                true => {
                    entry.state.watches.push(watch);
                    self.bell.set_watched(true);
                }
                false => _ = watch.flag.decide(true),
            }
            is_open
        });
        if !is_open {
            flag.show();
        }
        Watching { flag, host: self.host(), origin: Origin::now() }
    }

    /// Has watches look again at what is not the protocol's.
    pub(crate) fn tell_watches(&self) {
        self.enter(|_| ());
    }
}

impl<P: Protocol> Entry<'_, P> {
    /// Decides anew what those who watch are told. The last thing of an entry.
    #[cold]
    pub(crate) fn look_for_watches(&mut self) {
        let mut watches = std::mem::take(&mut self.state.watches);
        watches.retain(|watch| {
            let has_ended = watch.flag.has_ended();
            if has_ended {
                // It may be the last to know of a descriptor, which is closed once the lock is given back.
                self.state.effects.rare().unwatched.push(Arc::clone(&watch.flag));
            }
            !has_ended
        });
        // To look for one may bring a message for another, who was looked for before: then somebody was
        // woken. That ends: nobody loses by a look what he has.
        loop {
            let woken = self.state.effects.wakes.len();
            watches.iter_mut().for_each(|watch| self.look_for(watch));
            if watches.len() < 2 || self.state.effects.wakes.len() == woken {
                break;
            }
        }
        self.core.bell.set_watched(!watches.is_empty());
        if !watches.is_empty() {
            self.state.watches = watches;
        }
    }

    fn look_for(&mut self, watch: &mut Watch<P>) {
        let claims = !watch.claimed && self.core.leadership().is_some();
        watch.claimed |= claims;
        let (protocol, mut port, _) = self.parts();
        let ready = (watch.test)(protocol, &mut port);
        if watch.flag.decide(ready) || claims {
            self.state.effects.rare().flags.push(Arc::clone(&watch.flag));
        }
    }
}

/// The socket is closed, and ready for everything: ends the watches. The flags are to be shown once the
/// lock is given back.
pub(super) fn raise_all<P: Protocol>(watches: &mut Vec<Watch<P>>) -> Vec<Arc<Flag>> {
    let flags: Vec<_> = std::mem::take(watches).into_iter().map(|watch| watch.flag).collect();
    flags.iter().for_each(|flag| _ = flag.decide(true));
    flags
}

/// A descriptor that is readable or not, as we say.
#[derive(Debug)]
pub(crate) struct Descriptor(system::Inner);

impl Descriptor {
    fn new() -> io::Result<Self> {
        system::Inner::new().map(Self)
    }

    fn set(&self, readable: bool) {
        let done = if readable { self.0.raise() } else { self.0.lower() };
        if let Err(error) = done {
            crate::contain::log!(Error, "a descriptor cannot be made readable={readable}: {error}");
        }
    }
}

impl AsFd for Descriptor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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

/// Where there is no eventfd, and with `--cfg sinew_socketpair`, by which it is tested on Linux.
#[cfg(any(not(any(target_os = "linux", target_os = "android")), sinew_socketpair))]
mod system {
    use std::io::{self, Read, Write};
    use std::os::fd::{AsFd, BorrowedFd};
    use std::os::unix::net::UnixStream;

    /// A pair of sockets: one is readable while there is a byte in it, which the other has sent.
    #[derive(Debug)]
    pub(super) struct Inner(UnixStream, UnixStream);

    impl Inner {
        pub(crate) fn new() -> io::Result<Self> {
            let (near, far) = UnixStream::pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok(Self(near, far))
        }

        pub(crate) fn raise(&self) -> io::Result<()> {
            (&self.1).write_all(&[0])
        }

        pub(crate) fn lower(&self) -> io::Result<()> {
            (&self.0).read_exact(&mut [0])
        }

        pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
            self.0.as_fd()
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

/// That what is shown in the end is what was decided last. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::thread;

    use super::*;

    /// A descriptor that complains when it is set to what it shows.
    #[derive(Debug, Default)]
    struct Lamp(AtomicBool);

    impl Show for Lamp {
        fn show(&self, ready: bool) {
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
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
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

    /// Who has received the only message finds the descriptor not readable when he returns.
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
