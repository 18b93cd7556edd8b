//! The handles of a running device.

use std::fmt;
use std::time::Duration;

use super::error::DeviceFailure;
use super::shared::{BACK, EndReason, FRONT, Shared};
use super::stats::DeviceStats;
use crate::api::observe::Sealed;
use crate::api::{AnySocket, Observe};
use crate::error::WaitError;
use crate::peer::PeerStatus;
use crate::pipe::endpoint::Endpoint;
use crate::protocol_id::ProtocolId;
use crate::socket::Events;
use crate::stats::Stats;
use crate::sync::{Arc, Ordering, thread};
use crate::sys::Origin;

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
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared) }
    }

    /// Stops the device: closes its sockets, as their `close` does, so that `run` returns.
    ///
    /// Waits neither for the network nor for `run`. Messages that the sockets have not delivered yet are
    /// dropped and counted there, after the `linger` of their options. Stopping twice is the same as once.
    pub fn stop(&self) {
        self.shared.end(EndReason::Stopped);
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

    /// What both sockets, and the device between them, have done so far. Also after the end.
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
    /// checks once; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// [`WaitError::TimedOut`] with the number of connected peers, or the socket is closed.
    pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        self.side().wait_for_peers(peers, timeout)
    }

    /// What the socket has done so far. Also after close.
    pub fn stats(&self) -> Stats {
        self.side().stats()
    }

    /// Subscribes to pipe events from now on. Dropping the value ends the subscription.
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
        self.shared.end(EndReason::Closed(self.which));
    }

    fn side(&self) -> &dyn AnySocket {
        &*self.shared.sides[self.which]
    }
}

impl Sealed for DeviceSide {}

impl Observe for DeviceSide {
    fn name(&self) -> &str {
        self.side().name()
    }

    fn protocol(&self) -> ProtocolId {
        self.side().protocol()
    }

    fn stats(&self) -> Stats {
        Self::stats(self)
    }

    fn peers(&self) -> Vec<PeerStatus> {
        Self::peers(self)
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        self.side().endpoints()
    }

    fn is_closed(&self) -> bool {
        Self::is_closed(self)
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
    /// `None` once it has been joined or detached.
    thread: Option<thread::JoinHandle<Result<(), DeviceFailure>>>,
    /// The process in which the thread runs.
    origin: Origin,
}

impl SpawnedDevice {
    pub(super) fn new(
        handle: DeviceHandle,
        thread: thread::JoinHandle<Result<(), DeviceFailure>>,
    ) -> Self {
        Self { handle, thread: Some(thread), origin: Origin::now() }
    }

    /// Makes a handle to watch and stop the device, from any thread.
    pub fn handle(&self) -> DeviceHandle {
        self.handle.clone()
    }

    /// Stops the device; see [`DeviceHandle::stop`].
    pub fn stop(&self) {
        self.handle.stop();
    }

    /// Waits until the device has ended. Does not stop it.
    ///
    /// # Errors
    ///
    /// As [`Device::run`](super::Device::run).
    ///
    /// # Panics
    ///
    /// If the thread of the device has panicked.
    pub fn join(mut self) -> Result<(), DeviceFailure> {
        match self.thread.take() {
            Some(thread) if self.origin.is_ancestral() => {
                std::mem::forget(thread);
                Err(DeviceFailure::Forked)
            }
            Some(thread) => match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            },
            None => Ok(()),
        }
    }

    /// Lets the device run until the returned handle stops it, or the process ends.
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
