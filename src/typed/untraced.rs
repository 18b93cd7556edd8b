//! Spans where the feature `tracing` is off: there are none, and none of this leaves an instruction.
//!
//! A context that a peer has sent is passed over.

use crate::api::{Observe, Req};

/// A trace context on the wire. None is ever made to be written.
#[derive(Clone, Copy)]
pub(super) struct Wire([u8; 25]);

impl Wire {
    pub(super) fn of_bytes(bytes: &[u8; 25]) -> Self {
        Self(*bytes)
    }

    pub(super) fn to_bytes(self) -> [u8; 25] {
        self.0
    }
}

/// A request under way.
pub(super) struct Asking;

impl Asking {
    #[inline]
    pub(super) fn begin(_: &Req) -> Self {
        Self
    }

    #[inline]
    pub(super) fn wire(&self) -> Option<Wire> {
        None
    }

    #[inline]
    pub(super) fn during<R>(&self, act: impl FnOnce() -> R) -> R {
        act()
    }

    #[inline]
    pub(super) fn during_async<F: Future>(self, future: F) -> F {
        future
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering;

impl Answering {
    #[inline]
    pub(super) fn begin(_: Option<Wire>, _: &dyn Observe) -> Self {
        Self
    }
}
