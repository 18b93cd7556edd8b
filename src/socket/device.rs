//! Devices: forwarders between raw sockets.
//!
//! A device joins two networks of one pattern: what comes in through one of its sockets goes out
//! through the other, and the answers find their way back. It takes the sockets by value, and closes
//! them when it ends. Source: semantics specification, section 11.
//!
//! A broker: clients know its address, servers too, and neither know each other.
//!
//! ```
//! use sinew::{Device, Rep, Req, raw};
//!
//! let (front, back) = (raw::Rep::new(), raw::Req::new());
//! let for_clients = front.bind("tcp://127.0.0.1:0")?;
//! let for_servers = back.bind("inproc://device-doc")?;
//! let broker = Device::new(front, back)?.spawn()?;
//!
//! let (client, server) = (Req::new(), Rep::new());
//! client.connect(&for_clients.url())?;
//! server.connect(&for_servers.url())?;
//! let serving = std::thread::spawn(move || server.recv().unwrap().reply("42"));
//! assert_eq!(client.request("what is the answer?")?, "42");
//! # serving.join().unwrap()?;
//! broker.stop();
//! broker.join()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which sockets fit
//!
//! In either order; both raw; the compiler checks it.
//!
//! | sockets | forwards | when the destination is slow | a loop of devices |
//! |---|---|---|---|
//! | `Rep`, `Req` | requests to the `Req`, replies back | requests wait, replies are dropped | ends by TTL |
//! | `Respondent`, `Surveyor` | surveys to the `Surveyor`, answers back | drops | ends by TTL |
//! | `Pull`, `Push` | to the `Push` | waits | goes round for ever |
//! | `Sub`, `Pub` | to the `Pub` | drops | goes round for ever |
//! | `Pair`, `Pair` | both ways | waits | goes round for ever |
//! | `Pair1`, `Pair1` | both ways | waits | ends by TTL |
//! | `Bus`, `Bus` | both ways | drops | goes round for ever |
//!
//! [`Device::reflector`] is a device on one `Pair`, `Pair1` or `Bus`: what comes in goes out there again.
//!
//! Cooked sockets (C208), sockets that do not fit (C209), none at all or one that cannot reflect (C210)
//! do not compile:
//!
//! ```compile_fail,E0277
//! sinew::Device::new(sinew::Rep::new(), sinew::Req::new());
//! ```
//! ```compile_fail,E0308
//! sinew::Device::new(sinew::raw::Rep::new(), sinew::Req::new());
//! ```
//! ```compile_fail,E0308
//! sinew::Device::new(sinew::raw::Req::new(), sinew::raw::Push::new());
//! ```
//! ```compile_fail,E0308
//! sinew::Device::new(sinew::raw::Req::new(), sinew::raw::Req::new());
//! ```
//! ```compile_fail,E0061
//! sinew::Device::new();
//! ```
//! ```compile_fail,E0271
//! sinew::Device::reflector(sinew::raw::Req::new());
//! ```
//!
//! # What happens to a message
//!
//! It is received, and then sent, untouched but for what the raw sockets do to its header; in the order
//! of arrival, each direction for itself. The sockets' timeouts do not count: a device waits as long as
//! it takes. While it waits to send in one direction it holds one message and receives no more, so the
//! queues in front fill up and hold back those who send; where the pattern drops instead, it never waits.
//!
//! A message that cannot be sent is dropped, and the device goes on. It is counted on the socket that was
//! to send it: as [`BadHeader`](DropReason::BadHeader) when its header cannot grow any more (a PAIR v1
//! message after 255 hops), as [`TooLarge`](DropReason::TooLarge) when it is over that socket's
//! `max_send_size`, as [`DeviceStopped`](DropReason::DeviceStopped) when the device ended first.
//! [`DeviceStats::check_conservation`] adds up both sides.
//!
//! A request that is in a device when a connection breaks may be lost; the REQ that asked sends it again.
//! What a `Pair` device has received for a peer that is gone waits for the next one.
//!
//! # Loops
//!
//! Nobody notices that devices form a ring. Every device adds a hop to what passes through `Rep`,
//! `Respondent` and `Pair1`, and these sockets, raw or not, drop what has more hops than their
//! [`Options::ttl`](crate::Options::ttl) (8 unless set). The way from the last device to the one who
//! receives is a hop as well: behind seven devices a message still arrives, behind eight it does not, and
//! a longer path needs a higher TTL on its later sockets, those of the devices and the last one. `Pair`,
//! `Bus`, `Sub` and `Pull` count no hops: what enters a ring of these goes round for as long as the ring
//! stands.
//!
//! # Threads
//!
//! A device uses one thread for each direction, and that one waits in the ordinary calls of its sockets.
//! So a direction that has to wait holds up nothing else, a reply crosses the device without a detour
//! through an executor, and in a manual [`Runtime`](crate::Runtime) the waiting threads turn the event
//! loop themselves. (Where the sockets are on two runtimes, the application has to turn each that has no
//! thread: a direction that waits turns only the one it waits for, and while the back takes nothing
//! nobody would serve the front.)

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use super::wait::{Failure, Patience};
use super::{Core, Events, Handle, PeerStatus, raw};
use crate::error::WaitError;
use crate::message::Message;
use crate::protocol::{Interest, RawProtocol, SendRefusal};
use crate::stats::{DropReason, Stats};
use crate::sync::{Arc, AtomicBool, Ordering};

/// A raw socket that a [`Device`] can forward for. Cannot be implemented outside this crate.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in a device",
    note = "both sockets must be raw, and each must be of the kind that the other talks to"
)]
pub trait RawSocket: sealed::Wire<<Self as RawSocket>::Partner> {
    /// The socket that it makes a device with.
    type Partner;
}

mod sealed {
    use super::{Arc, DeviceFault, Flow, Line, Side};

    /// How a socket is joined to another, or to itself.
    pub trait Wire<B> {
        /// What speaks against it.
        fn check(&self, other: Option<&B>) -> Result<(), DeviceFault>;

        fn wire(&self, other: Option<&B>) -> Wiring;
    }

    /// The sockets of a device, and who forwards between them.
    #[expect(missing_debug_implementations, reason = "nobody outside gets hold of one")]
    pub struct Wiring {
        pub(super) sides: [Arc<dyn Side>; 2],
        pub(super) lines: Vec<Line>,
        pub(super) flows: Vec<Flow>,
    }
}

use sealed::Wiring;

/// Forwards in one direction until one of its sockets is closed.
type Line = Box<dyn FnOnce() + Send>;

macro_rules! fits {
    ($($socket:ident, $partner:ident;)*) => {$(
        impl RawSocket for raw::$socket {
            type Partner = raw::$partner;
        }

        impl sealed::Wire<raw::$partner> for raw::$socket {
            fn check(&self, other: Option<&raw::$partner>) -> Result<(), DeviceFault> {
                check(&self.core, other.map(|other| &other.core))
            }

            fn wire(&self, other: Option<&raw::$partner>) -> Wiring {
                wire(&self.core, other.map(|other| &other.core))
            }
        }
    )*};
}

fits! {
    Rep, Req;
    Req, Rep;
    Respondent, Surveyor;
    Surveyor, Respondent;
    Pull, Push;
    Push, Pull;
    Sub, Pub;
    Pub, Sub;
    Pair, Pair;
    Pair1, Pair1;
    Bus, Bus;
}

/// Whether a device may take the sockets: nobody else has a hold on them, and they are open. Both stay
/// so, since whoever could change it would need a hold.
fn check<A: RawProtocol, B: RawProtocol>(
    front: &Handle<A>,
    back: Option<&Handle<B>>,
) -> Result<(), DeviceFault> {
    if back.is_some_and(|back| front.is_same(back)) {
        return Err(DeviceFault::SameSocket);
    }
    is_free(front, DeviceFault::FrontClosed, DeviceFault::FrontShared)?;
    back.map_or(Ok(()), |back| is_free(back, DeviceFault::BackClosed, DeviceFault::BackShared))
}

fn is_free<P: RawProtocol>(
    socket: &Handle<P>,
    closed: DeviceFault,
    shared: DeviceFault,
) -> Result<(), DeviceFault> {
    match socket.is_closed() {
        true => Err(closed),
        false if !socket.is_last() => Err(shared),
        false => Ok(()),
    }
}

fn wire<A: RawProtocol, B: RawProtocol>(front: &Handle<A>, back: Option<&Handle<B>>) -> Wiring {
    let front_side: Arc<dyn Side> = Arc::new(front.clone());
    let Some(back) = back else {
        let around = line(front, front).map(|line| (line, Flow::new(FRONT, FRONT)));
        return Wiring::new([Arc::clone(&front_side), front_side], [around, None]);
    };
    let forth = line(front, back).map(|line| (line, Flow::new(FRONT, BACK)));
    let home = line(back, front).map(|line| (line, Flow::new(BACK, FRONT)));
    Wiring::new([front_side, Arc::new(back.clone())], [forth, home])
}

impl Wiring {
    fn new(sides: [Arc<dyn Side>; 2], directions: [Option<(Line, Flow)>; 2]) -> Self {
        let (lines, flows) = directions.into_iter().flatten().unzip();
        Self { sides, lines, flows }
    }
}

/// The direction from one socket to the other, where there is one.
fn line<A: RawProtocol, B: RawProtocol>(from: &Handle<A>, to: &Handle<B>) -> Option<Line> {
    let (from, to) = (from.clone(), to.clone());
    (A::RECEIVES && B::SENDS).then(|| Box::new(move || forward(&from, &to)) as Line)
}

/// Receives and sends until one of the two sockets is closed.
fn forward<A: RawProtocol, B: RawProtocol>(from: &Core<A>, to: &Core<B>) {
    while let Some(message) = take(from) {
        let Err(reason) = pass_on(to, &message) else { continue };
        to.counters.dropped(reason, 1);
        if reason == DropReason::DeviceStopped {
            return;
        }
        log::debug!("{}: a device dropped a message: {}", to.name, reason.name());
    }
}

/// The next message; `None` when there will be none.
fn take<P: RawProtocol>(from: &Core<P>) -> Option<Message> {
    let message =
        from.wait(Interest::Recv(0), Patience::Until(None), |p, io, now| p.recv(&(), now, io));
    let message = message.ok()?;
    from.count_received(&message);
    Some(message)
}

/// Sends a message with the header it came with, however long that takes.
fn pass_on<P: RawProtocol>(to: &Core<P>, message: &Message) -> Result<(), DropReason> {
    let (header, body) = (message.header(), message.body());
    to.check_size(body).map_err(|_| DropReason::TooLarge)?;
    let sent = to
        .wait(Interest::Send(0), Patience::Until(None), |p, io, now| p.send(header, body, now, io));
    sent.map_err(|failure| match failure {
        Failure::Refused(SendRefusal::Header) => DropReason::BadHeader,
        _ => DropReason::DeviceStopped,
    })?;
    to.count_sent(body);
    Ok(())
}

/// A device: two raw sockets, or one, that it forwards between once it is started.
///
/// [`run`](Self::run) forwards in the calling thread, [`spawn`](Self::spawn) in the background. A device
/// that is dropped without either closes its sockets. See the [module](self) for what it does.
#[must_use = "a device that is not started does nothing, and closes its sockets when dropped"]
pub struct Device {
    lines: Vec<Line>,
    shared: Arc<Shared>,
}

impl Device {
    /// A device of two raw sockets that fit, see the [table](self#which-sockets-fit). Forwards nothing
    /// yet: what comes meanwhile waits in the sockets' queues.
    ///
    /// The order matters only to the names by which [`DeviceHandle`] tells them apart: `front`, `back`.
    /// Bind and connect them before; their endpoints and events stay with whoever has them. No second
    /// thread may use the sockets: these must be the last handles, with no `_async` future pending.
    ///
    /// # Errors
    ///
    /// A socket is closed or has another holder, or both are the same. Both are returned as they were,
    /// in [`DeviceError::into_sockets`].
    ///
    /// ```
    /// use sinew::{Device, device::DeviceFault, raw};
    /// let (pull, push) = (raw::Pull::new(), raw::Push::new());
    /// let mine = pull.clone();
    /// let error = Device::new(pull, push).unwrap_err();
    /// assert_eq!(error.fault(), DeviceFault::FrontShared);
    /// drop(mine);
    /// let (pull, push) = error.into_sockets();
    /// let device = Device::new(pull, push)?;
    /// # drop(device);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn new<A: RawSocket>(
        front: A,
        back: A::Partner,
    ) -> Result<Self, DeviceError<(A, A::Partner)>> {
        match front.check(Some(&back)) {
            Ok(()) => Ok(Self::wired(front.wire(Some(&back)))),
            Err(fault) => Err(DeviceError { fault, sockets: (front, back) }),
        }
    }

    /// A device of one socket, which sends back what it receives.
    ///
    /// A `Pair` gets its own messages back; what a `Bus` sends reaches all peers but the one it came
    /// from, so that they hear each other. Both names, `front` and `back`, mean the one socket.
    ///
    /// # Errors
    ///
    /// The socket is closed, or has another holder; it is returned as it was.
    ///
    /// ```
    /// use sinew::{Device, Pair, raw};
    /// let echo = raw::Pair::new();
    /// echo.bind("inproc://reflector-doc")?;
    /// let _running = Device::reflector(echo)?.spawn()?;
    /// let pair = Pair::new();
    /// pair.connect("inproc://reflector-doc")?;
    /// pair.send("hello")?;
    /// assert_eq!(pair.recv()?, "hello");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[doc(alias = "loopback")]
    pub fn reflector<A: RawSocket<Partner = A>>(socket: A) -> Result<Self, DeviceError<A>> {
        match socket.check(None) {
            Ok(()) => Ok(Self::wired(socket.wire(None))),
            Err(fault) => Err(DeviceError { fault, sockets: socket }),
        }
    }

    fn wired(wiring: Wiring) -> Self {
        let Wiring { sides, lines, mut flows } = wiring;
        let stats = [sides[FRONT].stats(), sides[BACK].stats()];
        flows.iter_mut().for_each(|flow| flow.begin(&stats));
        let shared = Shared {
            sides,
            flows,
            running: AtomicBool::new(false),
            end: OnceLock::new(),
            closed: OnceLock::new(),
        };
        Self { lines, shared: Arc::new(shared) }
    }

    /// For watching and stopping it, from any thread.
    pub fn handle(&self) -> DeviceHandle {
        DeviceHandle { shared: Arc::clone(&self.shared) }
    }

    /// Forwards until it is stopped. Blocks; a pair that forwards both ways takes a second thread.
    ///
    /// When it returns, the sockets are closed and every message is accounted for. Comes back at once
    /// if it has been stopped before.
    ///
    /// # Errors
    ///
    /// One of the sockets was closed through its [`DeviceSide`], or there is no second thread to be had.
    /// Stopping is no error.
    pub fn run(mut self) -> Result<(), DeviceFailure> {
        let lines = std::mem::take(&mut self.lines);
        self.shared.running.store(true, Ordering::Release);
        let forwarded = self.shared.forward(lines);
        self.shared.end(End::Stopped);
        self.shared.closed.wait();
        forwarded.and_then(|()| self.shared.outcome())
    }

    /// Forwards in the background, until it is stopped or the returned value dropped.
    ///
    /// # Errors
    ///
    /// There is no thread to be had; the sockets are closed then.
    pub fn spawn(self) -> Result<SpawnedDevice, DeviceFailure> {
        let handle = self.handle();
        self.shared.running.store(true, Ordering::Release);
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(|| self.run());
        let thread = thread.map_err(DeviceFailure::Thread)?;
        Ok(SpawnedDevice { handle, thread: Some(thread) })
    }
}

const THREAD_NAME: &str = "sinew-device";

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.end(End::Stopped);
        self.shared.running.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Device", f)
    }
}

/// Watches a device and stops it. Cloning makes another handle; dropping it changes nothing.
///
/// ```
/// let device = sinew::Device::reflector(sinew::raw::Bus::new())?;
/// let handle = device.handle();
/// let running = std::thread::spawn(move || device.run());
/// assert!(handle.front().peers().is_empty());
/// handle.stop();
/// running.join().unwrap()?;
/// assert!(!handle.is_running());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct DeviceHandle {
    shared: Arc<Shared>,
}

impl DeviceHandle {
    /// Ends the device: closes its sockets, as their `close` does, and has `run` return.
    ///
    /// Does not wait, neither for the network nor for `run`. What the sockets have not received or
    /// handed over yet is counted there; `linger` of their options gives it time. Twice is once.
    pub fn stop(&self) {
        self.shared.end(End::Stopped);
    }

    /// Whether the device forwards: from the start of `run` or `spawn` until everything it had in hand
    /// has been sent or counted.
    pub fn is_running(&self) -> bool {
        self.shared.running.load(Ordering::Acquire)
    }

    /// The socket given first, or the only one.
    pub fn front(&self) -> DeviceSide {
        DeviceSide { shared: Arc::clone(&self.shared), which: FRONT }
    }

    /// The socket given second, or the only one.
    pub fn back(&self) -> DeviceSide {
        DeviceSide { shared: Arc::clone(&self.shared), which: BACK }
    }

    /// What both sockets, and the device between them, have done so far. Also when it has ended.
    pub fn stats(&self) -> DeviceStats {
        self.shared.stats()
    }
}

impl fmt::Debug for DeviceHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("DeviceHandle", f)
    }
}

/// One socket of a device: to be watched, but not to be used.
#[derive(Clone)]
pub struct DeviceSide {
    shared: Arc<Shared>,
    which: usize,
}

impl DeviceSide {
    /// The peers that are connected now, in no particular order.
    pub fn peers(&self) -> Vec<PeerStatus> {
        self.side().peers()
    }

    /// Waits until at least `peers` peers are connected. Zero peers: returns at once. Zero `timeout`:
    /// looks once; `Duration::MAX`: for ever.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] with the number that is connected, or the socket is closed.
    pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        self.side().wait_for_peers(peers, timeout)
    }

    /// What the socket has done so far. Also after close.
    pub fn stats(&self) -> Stats {
        self.side().stats()
    }

    /// Subscribes to pipe events from now on. Ends when the value is dropped.
    pub fn events(&self) -> Events {
        self.side().events()
    }

    /// Whether the socket has been closed.
    pub fn is_closed(&self) -> bool {
        self.side().is_closed()
    }

    /// Closes the socket, and with it the device, which fails with
    /// [`FrontClosed`](DeviceFailure::FrontClosed) or [`BackClosed`](DeviceFailure::BackClosed). Does
    /// nothing if the device has ended. Does not wait.
    pub fn close(&self) {
        self.shared.end(End::Closed(self.which));
    }

    fn side(&self) -> &dyn Side {
        &*self.shared.sides[self.which]
    }
}

impl fmt::Debug for DeviceSide {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceSide({})", self.side().name())
    }
}

/// A device that runs in the background. Dropping it stops the device, as dropping a socket closes it;
/// [`detach`](Self::detach) lets it run on.
#[must_use = "the device stops when this is dropped"]
#[derive(Debug)]
pub struct SpawnedDevice {
    handle: DeviceHandle,
    /// Gone once it has been joined or detached.
    thread: Option<thread::JoinHandle<Result<(), DeviceFailure>>>,
}

impl SpawnedDevice {
    /// For watching and stopping it, from any thread.
    pub fn handle(&self) -> DeviceHandle {
        self.handle.clone()
    }

    /// Ends the device; see [`DeviceHandle::stop`].
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until the device has ended. Does not stop it.
    ///
    /// # Errors
    ///
    /// As [`Device::run`].
    ///
    /// # Panics
    ///
    /// If the thread of the device has panicked.
    pub fn join(mut self) -> Result<(), DeviceFailure> {
        match self.thread.take() {
            Some(thread) => match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            None => Ok(()),
        }
    }

    /// Lets the device run until it is stopped by the handle that is returned, or the process ends.
    pub fn detach(mut self) -> DeviceHandle {
        self.thread = None;
        self.handle.clone()
    }
}

impl Drop for SpawnedDevice {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.stop();
        }
    }
}

/// What the sockets of a device have done so far, and the device between them, at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DeviceStats {
    /// The socket given first, or the only one.
    pub front: Stats,
    /// The socket given second, or the only one.
    pub back: Stats,
    /// For each direction, what was received and is neither sent nor dropped.
    held: Vec<i64>,
    running: bool,
}

impl DeviceStats {
    /// Gauge: messages that the device has received and waits to send; at most one for each direction.
    pub fn held(&self) -> u64 {
        self.held.iter().map(|&held| u64::try_from(held).unwrap_or(0)).sum()
    }

    /// Checks the conservation law: that of each socket, and that everything the device has received
    /// was sent, was dropped for a counted reason, or is in its hand, which it is not after the end.
    ///
    /// Holds when the device has ended or is at rest. Figures read while messages pass through may be
    /// off by what happened in between.
    ///
    /// # Errors
    ///
    /// A sentence with the figures that do not add up.
    pub fn check_conservation(&self) -> Result<(), String> {
        self.front.check_conservation().map_err(|broken| format!("front: {broken}"))?;
        self.back.check_conservation().map_err(|broken| format!("back: {broken}"))?;
        let most = i64::from(self.running);
        match self.held.iter().find(|held| !(0..=most).contains(*held)) {
            Some(held) => Err(format!("{held} received more than sent or dropped, of {most}")),
            None => Ok(()),
        }
    }
}

/// The sockets cannot make a device; they are inside, untouched.
pub struct DeviceError<S> {
    fault: DeviceFault,
    sockets: S,
}

impl<S> DeviceError<S> {
    /// What is wrong with them.
    pub fn fault(&self) -> DeviceFault {
        self.fault
    }

    /// The sockets, as they were given.
    pub fn into_sockets(self) -> S {
        self.sockets
    }
}

impl<S> fmt::Debug for DeviceError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceError({:?})", self.fault)
    }
}

impl<S> fmt::Display for DeviceError<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.fault.fmt(f)
    }
}

impl<S> std::error::Error for DeviceError<S> {}

/// Why sockets cannot make a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFault {
    /// The first or only socket has another holder: a clone, or the future of an `_async` call.
    #[error("the socket in front is held by somebody else too")]
    FrontShared,
    /// The second socket has another holder.
    #[error("the socket at the back is held by somebody else too")]
    BackShared,
    /// The first or only socket is closed.
    #[error("the socket in front is closed")]
    FrontClosed,
    /// The second socket is closed.
    #[error("the socket at the back is closed")]
    BackClosed,
    /// Both are handles of one socket. [`Device::reflector`] takes a single one.
    #[error("both are the same socket; Device::reflector takes one")]
    SameSocket,
}

/// Why a device ended that nobody has stopped. Its sockets are closed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DeviceFailure {
    /// The first or only socket was closed.
    #[error("the socket in front was closed")]
    FrontClosed,
    /// The second socket was closed.
    #[error("the socket at the back was closed")]
    BackClosed,
    /// The operating system gave no thread.
    #[error("no thread for the device: {0}")]
    Thread(#[source] io::Error),
}

/// The places of the sockets in [`Shared::sides`].
const FRONT: usize = 0;
const BACK: usize = 1;

/// What a device and its handles share.
struct Shared {
    sides: [Arc<dyn Side>; 2],
    flows: Vec<Flow>,
    running: AtomicBool,
    /// Set by whoever was first to end it. Nobody else closes the sockets.
    end: OnceLock<End>,
    /// Set once they are closed.
    closed: OnceLock<()>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Stopped,
    /// One of the two sockets was closed.
    Closed(usize),
}

impl Shared {
    /// Closes the sockets, which ends the lines.
    fn end(&self, why: End) {
        if self.end.set(why).is_ok() {
            self.sides.iter().for_each(|side| side.close());
            let _ = self.closed.set(());
        }
    }

    fn outcome(&self) -> Result<(), DeviceFailure> {
        match self.end.get() {
            Some(End::Closed(FRONT)) => Err(DeviceFailure::FrontClosed),
            Some(End::Closed(_)) => Err(DeviceFailure::BackClosed),
            Some(End::Stopped) | None => Ok(()),
        }
    }

    /// Forwards on all lines, the first in this thread, until all have ended.
    fn forward(&self, lines: Vec<Line>) -> Result<(), DeviceFailure> {
        let mut lines = lines.into_iter();
        let first = lines.next();
        thread::scope(|scope| {
            for line in lines {
                let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
                let spawned = thread.spawn_scoped(scope, || self.forward_on(line));
                spawned.map_err(DeviceFailure::Thread)?;
            }
            first.into_iter().for_each(|line| self.forward_on(line));
            Ok(())
        })
    }

    /// One line. Even if it panicked, the other would not be left alone.
    fn forward_on(&self, line: Line) {
        struct EndOnDrop<'a>(&'a Shared);
        impl Drop for EndOnDrop<'_> {
            fn drop(&mut self) {
                self.0.end(End::Stopped);
            }
        }
        let _end = EndOnDrop(self);
        line();
    }

    fn stats(&self) -> DeviceStats {
        let running = self.running.load(Ordering::Acquire);
        let stats = self.sides.each_ref().map(|side| side.stats());
        let held = self.flows.iter().map(|flow| flow.held(&stats)).collect();
        let [front, back] = stats;
        DeviceStats { front, back, held, running }
    }

    fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [front, back] = &self.sides;
        write!(f, "{kind}({}, {})", front.name(), back.name())
    }
}

/// The account of one direction.
struct Flow {
    from: usize,
    to: usize,
    /// How far the sockets' counts were apart when the device got them.
    begin: i64,
}

impl Flow {
    fn new(from: usize, to: usize) -> Self {
        Self { from, to, begin: 0 }
    }

    fn begin(&mut self, stats: &[Stats; 2]) {
        self.begin = self.held(stats);
    }

    /// What was received and is neither sent nor dropped.
    fn held(&self, stats: &[Stats; 2]) -> i64 {
        let to = &stats[self.to];
        let dropped = [DropReason::DeviceStopped, DropReason::TooLarge, DropReason::BadHeader];
        let dropped: u64 = dropped.iter().map(|&reason| to.drops(reason)).sum();
        let gone = to.messages_sent.wrapping_add(dropped);
        stats[self.from].messages_received.wrapping_sub(gone).cast_signed() - self.begin
    }
}

/// A socket of a device, whatever its protocol. Not on the path of a message.
trait Side: Send + Sync {
    fn name(&self) -> &str;
    fn close(&self);
    fn is_closed(&self) -> bool;
    fn stats(&self) -> Stats;
    fn peers(&self) -> Vec<PeerStatus>;
    fn events(&self) -> Events;
    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError>;
}

impl<P: RawProtocol> Side for Handle<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn close(&self) {
        // A reflector has one socket on both sides.
        let _ = Core::close(self);
    }

    fn is_closed(&self) -> bool {
        Core::is_closed(self)
    }

    fn stats(&self) -> Stats {
        Core::stats(self)
    }

    fn peers(&self) -> Vec<PeerStatus> {
        Core::peers(self)
    }

    fn events(&self) -> Events {
        Core::events(self)
    }

    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        Core::wait_for_peers(self, peers, timeout)
    }
}
