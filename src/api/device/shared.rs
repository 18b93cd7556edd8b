//! What a device, its handles and its threads have in common: the two sockets, and how it ends.

use std::fmt;
use std::thread;
use std::time::Duration;

use super::error::DeviceFailure;
use super::stats::{DeviceStats, Flow};
use super::wiring::Line;
use crate::error::WaitError;
use crate::peer::PeerStatus;
use crate::pipe::endpoint::Endpoint;
use crate::protocol::RawProtocol;
use crate::protocol_id::ProtocolId;
use crate::socket::{Core, Events, Handle};
use crate::stats::Stats;
use crate::sync::{Arc, AtomicBool, OnceLock, Ordering};

pub(super) const THREAD_NAME: &str = "sinew-device";

/// The index of each socket in [`Shared::sides`].
pub(super) const FRONT: usize = 0;
pub(super) const BACK: usize = 1;

/// What a device and its handles share.
pub(super) struct Shared {
    pub(super) sides: [Arc<dyn Side>; 2],
    flows: Vec<Flow>,
    pub(super) running: AtomicBool,
    /// Set by the first thread to end it, which alone closes the sockets.
    end: OnceLock<End>,
    /// Set once they are closed.
    pub(super) closed: OnceLock<()>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Stopped,
    /// One of the two sockets was closed.
    Closed(usize),
}

impl Shared {
    pub(super) fn new(sides: [Arc<dyn Side>; 2], mut flows: Vec<Flow>) -> Self {
        let stats = [sides[FRONT].stats(), sides[BACK].stats()];
        flows.iter_mut().for_each(|flow| flow.begin(&stats));
        Self {
            sides,
            flows,
            running: AtomicBool::new(false),
            end: OnceLock::new(),
            closed: OnceLock::new(),
        }
    }

    /// Closes the sockets, which ends the lines.
    pub(super) fn end(&self, why: End) {
        if self.end.set(why).is_ok() {
            self.sides.iter().for_each(|side| side.close());
            let _ = self.closed.set(());
        }
    }

    /// Whether its sockets belong to an ancestor of this process.
    pub(super) fn is_forked(&self) -> bool {
        self.sides.iter().any(|side| side.is_forked())
    }

    pub(super) fn outcome(&self) -> Result<(), DeviceFailure> {
        match self.end.get() {
            Some(End::Closed(FRONT)) => Err(DeviceFailure::FrontClosed),
            Some(End::Closed(_)) => Err(DeviceFailure::BackClosed),
            Some(End::Stopped) | None => Ok(()),
        }
    }

    /// Forwards on all lines, the first in this thread, until all have ended.
    pub(super) fn forward(&self, lines: Vec<Line>) -> Result<(), DeviceFailure> {
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

    /// Forwards on one line. If it panics, the other line ends too.
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

    pub(super) fn stats(&self) -> DeviceStats {
        let running = self.running.load(Ordering::Acquire);
        let stats = self.sides.each_ref().map(|side| side.stats());
        let held = self.flows.iter().map(|flow| flow.held(&stats)).collect();
        let [front, back] = stats;
        DeviceStats { front, back, held, running }
    }

    pub(super) fn describe(&self, kind: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [front, back] = &self.sides;
        write!(f, "{kind}({}, {})", front.name(), back.name())
    }
}

/// A socket of a device, whatever its protocol. Not on the path of a message.
pub(in crate::api) trait Side: Send + Sync {
    fn name(&self) -> &str;
    fn protocol(&self) -> ProtocolId;
    fn endpoints(&self) -> Vec<Endpoint>;
    fn close(&self);
    fn is_closed(&self) -> bool;
    fn is_forked(&self) -> bool;
    fn stats(&self) -> Stats;
    fn peers(&self) -> Vec<PeerStatus>;
    fn events(&self) -> Events;
    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError>;
}

impl<P: RawProtocol> Side for Handle<P> {
    fn name(&self) -> &str {
        &self.name
    }

    fn protocol(&self) -> ProtocolId {
        P::ID
    }

    fn endpoints(&self) -> Vec<Endpoint> {
        Core::endpoints(self)
    }

    fn close(&self) {
        // A reflector has one socket on both sides.
        let _ = Core::close(self);
    }

    fn is_closed(&self) -> bool {
        Core::is_closed(self)
    }

    fn is_forked(&self) -> bool {
        Core::is_forked(self)
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
