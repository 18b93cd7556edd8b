//! Pipe ids: the numbers of the pipes of this process.
//!
//! No two live pipes share an id. Ids begin at a random number, so that those of two processes mostly differ.

use std::collections::HashSet;

use crate::message::PipeId;
use crate::random;
use crate::sync::{Mutex, Rank};
use crate::sys::PerProcess;

/// The ids in use in this process, and the last one given out.
static IDS: PerProcess<Mutex<Ids>> = PerProcess::new(|| {
    let start = random::number() & PipeId::MAX;
    Mutex::new(Rank::PipeIds, Ids { last: start, live: HashSet::new() })
});

struct Ids {
    last: u32,
    live: HashSet<u32>,
}

/// The right to a pipe id, until it is dropped.
#[derive(Debug)]
pub(crate) struct PipeLease {
    id: PipeId,
    /// Whether it is of a simulation, whose ids are its own.
    #[cfg(feature = "testing")]
    is_simulated: bool,
}

impl PipeLease {
    /// Takes the next id that no live pipe of the process has.
    pub(crate) fn new() -> Self {
        #[cfg(feature = "testing")]
        if let Some(id) = crate::time::stage::pipe_id().and_then(PipeId::new) {
            return Self { id, is_simulated: true };
        }
        let mut ids = IDS.get().lock();
        loop {
            ids.last = if ids.last >= PipeId::MAX { 1 } else { ids.last + 1 };
            let candidate = ids.last;
            if let Some(id) = PipeId::new(candidate)
                && ids.live.insert(candidate)
            {
                return Self {
                    id,
                    #[cfg(feature = "testing")]
                    is_simulated: false,
                };
            }
        }
    }

    pub(crate) fn id(&self) -> PipeId {
        self.id
    }
}

impl Drop for PipeLease {
    fn drop(&mut self) {
        #[cfg(feature = "testing")]
        if self.is_simulated {
            return;
        }
        IDS.get().lock().live.remove(&self.id.get());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// C230.
    #[test]
    fn live_pipes_never_share_an_id() {
        let leases: Vec<_> = (0..1000).map(|_| PipeLease::new()).collect();
        let distinct: HashSet<_> = leases.iter().map(PipeLease::id).collect();
        assert_eq!(distinct.len(), leases.len());
    }
}
