//! The limit on the size of a received message, shared by connections, which read it, and options, which change
//! it.

use crate::sync::{Arc, AtomicU64, Ordering};

/// The size that a peer may announce: of one endpoint, or of all endpoints that have the limit of their socket.
/// May change at any time.
#[derive(Clone, Debug)]
pub(crate) struct RecvLimit(Arc<AtomicU64>);

/// No limit: no frame can announce so much.
const ANY_SIZE: u64 = u64::MAX;

impl RecvLimit {
    pub(crate) fn new(size: Option<usize>) -> Self {
        let limit = Self(Arc::new(AtomicU64::new(ANY_SIZE)));
        limit.set(size);
        limit
    }

    pub(crate) fn set(&self, size: Option<usize>) {
        self.0.store(size.map_or(ANY_SIZE, |size| size as u64), Ordering::Relaxed);
    }

    /// In bytes; `None`: any size.
    pub(crate) fn get(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&limit| limit != ANY_SIZE)
    }
}
