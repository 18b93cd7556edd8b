//! Dialing: keeps one endpoint connected.
//!
//! ```text
//!   resolve --places--> connect --stands, header right, accepted--> connected
//!      ^                   | next place                                 |
//!      |                   v no place left                              | lost
//!      +-------------- waiting (backoff) <------------------------------+
//! ```
//!
//! Owns the backoff and the list of places still to try. Connecting itself is a connection's first
//! phase; names are resolved on other threads.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use super::timers::{TimerKey, after};
use crate::error::AttemptError;
use crate::options::EndpointSettings;
use crate::pipe::{Host, random_u32};
use crate::socket::EndpointCore;
use crate::sync::{Arc, Weak};
use crate::transport::{Place, StreamTransport, Target};

/// What the driver owns of a connecting endpoint.
#[derive(Debug)]
pub(crate) struct Dialer {
    pub(crate) host: Weak<dyn Host>,
    pub(crate) endpoint: Arc<EndpointCore>,
    pub(crate) transport: Arc<dyn StreamTransport>,
    pub(crate) target: Target,
    /// What is left to try of the addresses of a name.
    pub(crate) places: VecDeque<Place>,
    pub(crate) backoff: Backoff,
    /// A connection is being made, or stands. It may be another loop's.
    pub(crate) has_connection: bool,
    /// The next attempt.
    pub(crate) timer: Option<TimerKey>,
    /// Who waits for the outcome of the first attempt, after which a failure ends the dialer.
    pub(crate) once: Option<SyncSender<Result<(), AttemptError>>>,
}

impl Dialer {
    pub(crate) fn new(
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        transport: Arc<dyn StreamTransport>,
        target: Target,
        once: Option<SyncSender<Result<(), AttemptError>>>,
    ) -> Self {
        let backoff = Backoff::new(&endpoint.settings);
        Self {
            host,
            endpoint,
            transport,
            target,
            places: VecDeque::new(),
            backoff,
            has_connection: false,
            timer: None,
            once,
        }
    }

    /// The socket has accepted the pipe.
    pub(crate) fn connected(&mut self) {
        self.backoff.reset();
        self.places = VecDeque::new();
        if let Some(once) = self.once.take() {
            // Nobody listens any more when the caller has given up.
            let _ = once.try_send(Ok(()));
        }
    }

    /// An attempt has failed for good. When the next one is due; `None` when there is none, because
    /// this was the only one.
    pub(crate) fn failed(&mut self, error: AttemptError) -> Option<Instant> {
        if let Some(host) = self.host.upgrade() {
            host.counters().connect_errors.bump();
            crate::contain::log!(
                Debug,
                "{}: connect to {}: {error}",
                host.name(),
                self.endpoint.url()
            );
        }
        self.endpoint.failed(error.clone());
        match self.once.take() {
            Some(once) => {
                let _ = once.try_send(Err(error));
                None
            }
            None => Some(self.schedule()),
        }
    }

    /// When the next attempt is due.
    pub(crate) fn schedule(&mut self) -> Instant {
        let at = after(Instant::now(), self.backoff.next());
        self.endpoint.waits_until(at);
        at
    }
}

/// How long to wait between attempts.
///
/// The interval doubles from the base up to the maximum; the wait itself is random between half of
/// it and all of it, so that many who lost the same peer do not return at one instant. Source:
/// semantics specification, section 15.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
    current: Duration,
}

impl Backoff {
    pub(crate) fn new(settings: &EndpointSettings) -> Self {
        let base = settings.reconnect_interval;
        // A maximum below the base is ignored.
        let max = settings.reconnect_max.unwrap_or(base).max(base);
        Self { base, max, current: base }
    }

    /// The next wait.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_with(random_u32())
    }

    /// The next attempt will wait from the base again.
    pub(crate) fn reset(&mut self) {
        self.current = self.base;
    }

    fn next_with(&mut self, random: u32) -> Duration {
        let whole = self.current;
        self.current = whole.saturating_mul(2).min(self.max);
        let half = whole / 2;
        let more = (whole - half).mul_f64(f64::from(random) / f64::from(u32::MAX));
        half.saturating_add(more)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff(base: u64, max: Option<u64>) -> Backoff {
        Backoff::new(&EndpointSettings {
            reconnect_interval: Duration::from_millis(base),
            reconnect_max: max.map(Duration::from_millis),
            ..EndpointSettings::default()
        })
    }

    fn longest_and_shortest(mut backoff: Backoff, attempts: usize) -> Vec<(u128, u128)> {
        let mut twin = Backoff { ..backoff };
        (0..attempts)
            .map(|_| {
                let shortest = backoff.next_with(0).as_millis();
                (shortest, twin.next_with(u32::MAX).as_millis())
            })
            .collect()
    }

    /// C276.
    #[test]
    fn without_a_maximum_every_wait_is_between_half_the_base_and_all_of_it() {
        assert_eq!(longest_and_shortest(backoff(100, None), 5), [(50, 100); 5]);
    }

    /// C277.
    #[test]
    fn with_a_maximum_the_wait_doubles_up_to_it() {
        let expected = [(25, 50), (50, 100), (100, 200), (200, 400), (200, 400)];
        assert_eq!(longest_and_shortest(backoff(50, Some(400)), 5), expected);
    }

    /// C278.
    #[test]
    fn after_a_reset_the_wait_begins_at_the_base_again() {
        let mut backoff = backoff(50, Some(400));
        backoff.next();
        backoff.next();
        backoff.reset();
        assert_eq!(backoff.next_with(u32::MAX).as_millis(), 50);
    }

    /// C279.
    #[test]
    fn a_maximum_below_the_base_is_ignored() {
        assert_eq!(longest_and_shortest(backoff(100, Some(10)), 3), [(50, 100); 3]);
        assert_eq!(longest_and_shortest(backoff(100, Some(0)), 3), [(50, 100); 3]);
    }

    #[test]
    fn an_enormous_interval_does_not_overflow() {
        let mut backoff = backoff(u64::MAX / 2, Some(u64::MAX));
        for _ in 0..200 {
            backoff.next();
        }
        let longest = Duration::MAX;
        let mut backoff = Backoff { base: longest, max: longest, current: longest };
        assert!(backoff.next_with(u32::MAX) > longest / 2);
    }
}
