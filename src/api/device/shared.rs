//! What a device, its handles and its threads have in common: the two sockets, and how it ends.

use std::fmt;
use std::time::Duration;

use super::error::DeviceFailure;
use super::stats::{DeviceStats, Flow};
use super::wiring::Forwarder;
use crate::api::AnySocket;
use crate::error::WaitError;
use crate::sync::{Arc, AtomicBool, OnceLock, Ordering, thread};
use crate::sys::Origin;

pub(super) const THREAD_NAME: &str = "sinew-device";

/// The index of each socket in [`Shared::sides`].
pub(super) const FRONT: usize = 0;
pub(super) const BACK: usize = 1;

/// What a device and its handles share.
pub(super) struct Shared {
    pub(super) sides: [Arc<dyn AnySocket>; 2],
    /// The processes that made them.
    origins: [Origin; 2],
    flows: Vec<Flow>,
    pub(super) running: AtomicBool,
    /// Set by the first thread to end it, which alone closes the sockets.
    end: OnceLock<EndReason>,
    /// Set once they are closed.
    pub(super) closed: OnceLock<()>,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum EndReason {
    Stopped,
    /// One of the two sockets was closed.
    Closed(usize),
}

impl Shared {
    pub(super) fn new(
        sides: [Arc<dyn AnySocket>; 2],
        origins: [Origin; 2],
        mut flows: Vec<Flow>,
    ) -> Self {
        let stats = [sides[FRONT].stats(), sides[BACK].stats()];
        flows.iter_mut().for_each(|flow| flow.begin(&stats));
        Self {
            sides,
            origins,
            flows,
            running: AtomicBool::new(false),
            end: OnceLock::new(),
            closed: OnceLock::new(),
        }
    }

    /// Closes the sockets, which ends the forwarding.
    pub(super) fn end(&self, why: EndReason) {
        if self.end.set(why).is_ok() {
            // A reflector has one socket on both sides.
            self.sides.iter().for_each(|side| _ = side.close());
            let _ = self.closed.set(());
        }
    }

    /// Whether its sockets belong to an ancestor of this process.
    pub(super) fn is_forked(&self) -> bool {
        self.origins.iter().any(|origin| origin.is_ancestral())
    }

    pub(super) fn outcome(&self) -> Result<(), DeviceFailure> {
        let lost = Err(WaitError::RuntimeLost);
        // No socket has so many peers: a wait for them fails at once, and says why.
        if self.sides.iter().any(|side| side.wait_for_peers(usize::MAX, Duration::ZERO) == lost) {
            return Err(DeviceFailure::RuntimeLost);
        }
        match self.end.get() {
            Some(EndReason::Closed(FRONT)) => Err(DeviceFailure::FrontClosed),
            Some(EndReason::Closed(_)) => Err(DeviceFailure::BackClosed),
            Some(EndReason::Stopped) | None => Ok(()),
        }
    }

    /// Forwards in all directions, in the first by this thread, until all have ended.
    pub(super) fn forward(&self, forwarders: Vec<Forwarder>) -> Result<(), DeviceFailure> {
        let mut forwarders = forwarders.into_iter();
        let first = forwarders.next();
        thread::scope(|scope| {
            for forwarder in forwarders {
                let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
                let spawned = thread.spawn_scoped(scope, || self.forward_with(forwarder));
                spawned.map_err(DeviceFailure::Thread)?;
            }
            first.into_iter().for_each(|forwarder| self.forward_with(forwarder));
            Ok(())
        })
    }

    /// Forwards in one direction. If it panics, the other ends too.
    fn forward_with(&self, forwarder: Forwarder) {
        struct EndOnDrop<'a>(&'a Shared);
        impl Drop for EndOnDrop<'_> {
            fn drop(&mut self) {
                self.0.end(EndReason::Stopped);
            }
        }
        let _end = EndOnDrop(self);
        forwarder();
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
