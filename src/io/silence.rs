//! Silence: peers that do not answer what was written to them.
//!
//! The kernel probes an idle connection by itself, but if bytes are on the way it asks for their
//! acknowledgement for a quarter of an hour before it gives up. This file owns the list of connections with
//! such bytes, and the times at which the driver asks the kernel for how long the peer has been silent. A
//! connection joins the list with the first bytes it writes, and leaves it when all are acknowledged. So
//! idle connections are on no list.

use std::time::{Duration, Instant};

use mio::Token;

use super::timers::{TimerKey, after};
use super::{Driver, Due};
use crate::time;

/// Check this often within the time for which a peer may be silent.
const CHECKS: u32 = 8;
/// The shortest time between two checks.
const SHORTEST_PAUSE: Duration = Duration::from_millis(20);
/// A peer that seems silent for too long has this much time left to answer: the kernel asks a peer without room less
/// and less often, and may have asked just now.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// What a check of a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Silence {
    /// Everything is acknowledged, or the transport cannot tell, or the connection is over.
    Nothing,
    /// The peer owes an answer, and may be silent for this long.
    Allowed(Duration),
    /// The peer has been silent for longer than this.
    TooLong(Duration),
}

impl Silence {
    /// How long to wait before the next look, for a peer that may be silent for `limit`.
    fn pause(self) -> Option<Duration> {
        match self {
            Self::Nothing => None,
            Self::Allowed(limit) => Some(limit / CHECKS),
            Self::TooLong(limit) => Some((limit / CHECKS).min(LAST_CHANCE)),
        }
    }
}

/// The connections that have written something lately.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// Each with when it first seemed silent for too long.
    connections: Vec<(Token, Option<Instant>)>,
    timer: Option<TimerKey>,
}

impl Driver {
    /// Notes that a connection has written something.
    pub(super) fn await_answer(&mut self, token: Token) {
        let Some(limit) = self.connections.get(token).and_then(|it| it.silence_limit()) else {
            return;
        };
        self.unanswered.connections.push((token, None));
        self.check_silence_within(Silence::Allowed(limit).pause());
    }

    /// Ends the connections whose peers have been silent for too long.
    pub(super) fn check_silence(&mut self) {
        self.unanswered.timer = None;
        let mut left = std::mem::take(&mut self.unanswered.connections);
        let mut shortest: Option<Duration> = None;
        left.retain_mut(|(token, suspected)| {
            let token = *token;
            let Some(connection) = self.connections.get(token) else { return false };
            let silence = connection.silence();
            let Some(pause) = silence.pause() else { return false };
            let is_too_long = matches!(silence, Silence::TooLong(_));
            let since = suspected.filter(|_| is_too_long);
            if since.is_some_and(|since| time::since(since) >= LAST_CHANCE) {
                self.drive(token, |connection, cx| connection.on_silence(token, cx));
                return false;
            }
            *suspected = is_too_long.then(|| since.unwrap_or_else(time::now));
            shortest = Some(shortest.map_or(pause, |other| other.min(pause)));
            true
        });
        // Nothing was added meanwhile: that takes a command.
        left.shrink_to(left.len() * 2);
        self.unanswered.connections = left;
        self.check_silence_within(shortest);
    }

    fn check_silence_within(&mut self, pause: Option<Duration>) {
        let Some(pause) = pause else { return };
        let at = after(time::now(), pause.max(SHORTEST_PAUSE));
        let timer = &mut self.unanswered.timer;
        if timer.is_none_or(|timer| at < timer.at()) {
            self.cx.set_timer(timer, at, Due::Silence);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T14: by the default limit, a peer is given up 86 s after its last sign of life at the latest.
    #[test]
    fn a_peer_that_seems_silent_for_too_long_is_looked_at_again_soon() {
        let limit = Duration::from_secs(75);
        let (usual, again) = (Silence::Allowed(limit).pause(), Silence::TooLong(limit).pause());
        assert_eq!(again, Some(LAST_CHANCE));
        assert!(usual.unwrap() + again.unwrap() < limit / 5, "{usual:?}, {again:?}");
        assert_eq!(
            Silence::TooLong(Duration::from_millis(80)).pause(),
            Some(Duration::from_millis(10))
        );
        assert_eq!(Silence::Nothing.pause(), None);
    }
}
