//! Devices: forwarders between raw sockets.
//!
//! A device joins two networks of one pattern: it sends what one of its sockets receives through the other, and
//! answers find their way back. It takes the sockets by value, and closes them when it ends.
//!
//! The rules in full: [semantics, 11](crate::spec::semantics#11-devices).
//!
//! A broker: clients and servers know its address, but not each other.
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
//! client.connect(for_clients.url())?;
//! server.connect(for_servers.url())?;
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
//! Both must be raw, in either order; the compiler checks it.
//!
//! | sockets | forwards | when the destination is slow | a loop of devices |
//! |---|---|---|---|
//! | `Rep`, `Req` | requests to the `Req`, replies back | requests wait, replies are dropped | ends by TTL |
//! | `Respondent`, `Surveyor` | surveys to the `Surveyor`, answers back | drops | ends by TTL |
//! | `Pull`, `Push` | to the `Push` | waits | circulates forever |
//! | `Sub`, `Pub` | to the `Pub` | drops | circulates forever |
//! | `Pair`, `Pair` | both ways | waits | circulates forever |
//! | `Pair1`, `Pair1` | both ways | waits | ends by TTL |
//! | `Bus`, `Bus` | both ways | drops | circulates forever |
//!
//! [`Device::reflector`] is a device on one `Pair`, `Pair1` or `Bus`: it sends back what it receives.
//!
//! Cooked sockets, sockets that do not fit, no socket, and a single one that cannot reflect do not compile:
//!
//! ```compile_fail,E0277
//! # // C208, C209, C210.
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
//! The device receives it, and sends it unchanged except for what the raw sockets do to its header. Each
//! direction keeps the order of arrival. The sockets' timeouts have no effect: a device waits as long as it
//! takes. While it waits to send in one direction, it holds one message and receives no more, so the queues
//! in front of it fill and hold back the senders. If the pattern drops instead, it never waits.
//!
//! A message that cannot be sent is dropped, and the device goes on. The drop is counted on the socket that
//! should have sent it: as [`BadHeader`](crate::DropReason::BadHeader) if its header cannot grow any more (a
//! PAIR v1 message after 255 hops), as [`TooLarge`](crate::DropReason::TooLarge) if it is over that socket's
//! `max_send_size`, as [`DeviceStopped`](crate::DropReason::DeviceStopped) if the device ended first.
//! [`DeviceStats::check_conservation`] adds up both sides.
//!
//! A request that is in a device when a connection breaks may be lost; the REQ that asked sends it again. A
//! message that a `Pair` device has received for a peer that is gone waits for the next peer.
//!
//! # Loops
//!
//! No device notices that it is part of a ring. Every device adds a hop to messages that pass through `Rep`,
//! `Respondent` and `Pair1`, and these sockets, raw or not, drop messages with more hops than their
//! [`Options::ttl`](crate::Options::ttl) (8 unless set). The way from the last device to the receiver is a
//! hop too: a message arrives behind seven devices, but not behind eight, and a longer path needs a higher
//! TTL on its later sockets, those of the devices and the last one. `Pair`, `Bus`, `Sub` and `Pull` count no
//! hops: a message that enters a ring of these circulates for as long as the ring exists.
//!
//! # Threads
//!
//! A device uses one thread for each direction, which waits in the ordinary calls of the sockets. So a
//! direction that has to wait holds up nothing else, a reply crosses the device without a detour through an
//! executor, and in a manual [`Runtime`](crate::Runtime) the waiting threads turn the event loop themselves.
//! (If the sockets are on two runtimes, the program has to turn each that has no thread: a direction that
//! waits turns only the runtime of the socket on which it waits, and nobody would serve the front while the
//! back takes nothing.)

use std::fmt;

mod error;
mod handle;
mod shared;
mod stats;
mod wiring;

pub use error::{DeviceError, DeviceFailure, DeviceFault};
pub use handle::{DeviceHandle, DeviceSide, SpawnedDevice};
pub use stats::DeviceStats;
pub use wiring::Forwards;

use shared::{EndReason, Shared, THREAD_NAME};
use wiring::{Forwarder, Wiring};

use super::socket::Socket;
use crate::sync::{Arc, Ordering, thread};

/// A device: two raw sockets, or one, between which it forwards once it is started.
///
/// [`run`](Self::run) forwards in the calling thread, [`spawn`](Self::spawn) in the background. A device
/// that is dropped without either closes its sockets. See the [module](self) for what it does.
#[must_use = "a device that is not started does nothing, and closes its sockets when dropped"]
#[doc(alias("nn_device", "nng_device", "zmq_proxy", "proxy", "forwarder"))]
pub struct Device {
    forwarders: Vec<Forwarder>,
    shared: Arc<Shared>,
}

impl Device {
    /// Makes a device of two raw sockets that fit, see the [table](self#which-sockets-fit). It forwards
    /// nothing yet: messages that arrive meanwhile wait in the sockets' queues.
    ///
    /// The order matters only for the names by which [`DeviceHandle`] tells them apart: `front`, `back`. Bind
    /// and connect them before; you can keep their endpoints and events. Nothing else may use the sockets:
    /// these must be the last handles, with no `_async` future pending.
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
    #[expect(clippy::type_complexity, reason = "an alias would hide what comes back")]
    pub fn new<R: Forwards>(
        front: Socket<R>,
        back: Socket<R::Partner>,
    ) -> Result<Self, DeviceError<(Socket<R>, Socket<R::Partner>)>> {
        match wiring::check(&front, Some(&back)) {
            Ok(()) => Ok(Self::wired(wiring::wire(&front, Some(&back)))),
            Err(fault) => Err(DeviceError { fault, sockets: (front, back) }),
        }
    }

    /// Makes a device of one socket, which sends back what it receives.
    ///
    /// A `Pair` peer gets its own messages back; a message from a `Bus` peer goes to all others, so that they
    /// hear each other. Both names, `front` and `back`, mean the one socket.
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
    pub fn reflector<R: Forwards<Partner = R>>(
        socket: Socket<R>,
    ) -> Result<Self, DeviceError<Socket<R>>> {
        match wiring::check::<_, R>(&socket, None) {
            Ok(()) => Ok(Self::wired(wiring::wire::<_, R>(&socket, None))),
            Err(fault) => Err(DeviceError { fault, sockets: socket }),
        }
    }

    fn wired(wiring: Wiring) -> Self {
        let Wiring { sides, origins, forwarders, flows } = wiring;
        Self { forwarders, shared: Arc::new(Shared::new(sides, origins, flows)) }
    }

    /// Makes a handle to watch and stop the device, from any thread.
    pub fn handle(&self) -> DeviceHandle {
        DeviceHandle::new(&self.shared)
    }

    /// Forwards until it is stopped. Blocks; a pair that forwards both ways takes a second thread.
    ///
    /// When it returns, the sockets are closed and every message is accounted for. Returns at once if the
    /// device has already been stopped.
    ///
    /// # Errors
    ///
    /// One of the sockets was closed through its [`DeviceSide`], no second thread could be started, a socket was
    /// inherited by a `fork`, or its event loop has panicked. Stopping is no error.
    #[doc(alias("nn_device", "nng_device", "zmq_proxy"))]
    pub fn run(mut self) -> Result<(), DeviceFailure> {
        if self.shared.is_forked() {
            return Err(DeviceFailure::Forked);
        }
        let forwarders = std::mem::take(&mut self.forwarders);
        self.shared.running.store(true, Ordering::Release);
        let forwarded = self.shared.forward(forwarders);
        self.shared.end(EndReason::Stopped);
        self.shared.closed.wait();
        forwarded.and_then(|()| self.shared.outcome())
    }

    /// Forwards in the background, until it is stopped or the returned value dropped.
    ///
    /// # Errors
    ///
    /// No thread could be started; the sockets are then closed.
    pub fn spawn(self) -> Result<SpawnedDevice, DeviceFailure> {
        let handle = self.handle();
        self.shared.running.store(true, Ordering::Release);
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(|| self.run());
        let thread = thread.map_err(DeviceFailure::Thread)?;
        Ok(SpawnedDevice::new(handle, thread))
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shared.end(EndReason::Stopped);
        self.shared.running.store(false, Ordering::Release);
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Device", f)
    }
}
