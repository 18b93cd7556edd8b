//! Rest: what a connection gives back when it has fallen silent.
//!
//! A ring keeps the block it has filled last, and up to two spare ones: a pipe in use must not take
//! new memory for each message. Owns the list of connections that may have such memory, and when it is
//! gone through. A connection comes onto it with the first bytes it carries, leaves it when it has been
//! silent from one look to the next, and is on no list until it carries something again: so those that
//! stand idle cost no time at all, however many they are.

use std::time::{Duration, Instant};

use mio::Token;

use super::timers::TimerKey;

/// How long it takes from one look to the next. A pipe that carries a message less often than that has
/// its blocks made anew each time.
const PAUSE: Duration = Duration::from_millis(100);
/// The same if all that is on the list waits for a socket that takes no messages.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A connection that has carried something lately.
#[derive(Debug)]
pub(super) struct Stirred {
    pub(super) token: Token,
    /// How many messages had left its rings at the last look: sent and received.
    pub(super) seen: Option<(u64, u64)>,
}

/// What a look at a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is in use.
    Busy,
    /// Messages lie in its rings, and nobody takes them.
    Stuck,
    /// It has given back what it had, or is gone.
    Silent,
}

/// The connections that have carried something lately.
#[derive(Debug)]
pub(super) struct Rest {
    pub(super) stirred: Vec<Stirred>,
    pub(super) timer: Option<TimerKey>,
    pause: Duration,
}

impl Rest {
    pub(super) fn new() -> Self {
        Self { stirred: Vec::new(), timer: None, pause: PAUSE }
    }

    /// Whether the next look comes soon.
    pub(super) fn is_near(&self) -> bool {
        self.timer.is_some() && self.pause == PAUSE
    }

    /// A connection has carried something. When the next look is due, if that is to be changed.
    pub(super) fn add(&mut self, token: Token) -> Option<Instant> {
        self.stirred.push(Stirred { token, seen: None });
        if self.is_near() {
            return None;
        }
        self.pause = PAUSE;
        Some(Instant::now() + PAUSE)
    }

    /// Keeps what is `left` of the list after a look; `stuck`: none of it was in use. When the next
    /// one is due, if there is to be any.
    pub(super) fn go_on(&mut self, mut left: Vec<Stirred>, stuck: bool) -> Option<Instant> {
        self.timer = None;
        self.pause = if stuck { (self.pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
        left.shrink_to(left.len() * 2);
        self.stirred = left;
        (!self.stirred.is_empty()).then(|| Instant::now() + self.pause)
    }
}
