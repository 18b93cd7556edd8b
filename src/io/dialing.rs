//! Dialing: keeps one endpoint connected.
//!
//! ```text
//!   resolve --places--> race --stands, header right, accepted--> connected
//!      ^  |              | no place answers, or the time is over    |
//!      |  v no places    v                                          | lost
//!      +-------------- waiting (backoff) <--------------------------+
//! ```
//!
//! Owns the backoff, and the part of an attempt before there are destinations: names are resolved on other
//! threads, within the time of the attempt. The other part of an attempt is a race.

use std::io;
use std::time::{Duration, Instant};

use mio::Token;

use super::connection::Ending;
use super::loops::HOME;
use super::race::{self, Race, Way};
use super::timers::{TimerKey, after};
use super::{Command, Driver, Due};
use crate::error::AttemptError;
use crate::options::EndpointSettings;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Host, Intake};
use crate::protocol_id::ProtocolId;
use crate::random;
use crate::sync::mpsc::SyncSender;
use crate::sync::{Arc, Weak};
use crate::time;
use crate::transport::{Destination, Target};

/// A `connect_now` of a PAIR waits this long for its peer to turn it away. The end of the stream follows the
/// peer's header after nothing but the peer's own work.
const CONFIRM_AFTER: Duration = Duration::from_millis(10);
/// A pipe that has lasted this long was a success, even if it brought no message.
const STABLE: Duration = Duration::from_secs(1);

/// What the driver owns of a connecting endpoint.
#[derive(Debug)]
pub(crate) struct Dialer {
    host: Weak<dyn Host>,
    endpoint: Arc<EndpointCore>,
    way: Arc<Way>,
    target: Target,
    backoff: Backoff,
    /// When its pipe was made.
    since: Option<Instant>,
    phase: Phase,
    /// Whether the resolver is at work, perhaps for an attempt that is over: it is not asked twice.
    is_looking_up: bool,
    /// For the next attempt, or for the end of the lookup of a name.
    timer: Option<TimerKey>,
    /// The call that waits for the outcome of the first attempt. If that fails, the dialer ends.
    once: Option<SyncSender<Result<(), AttemptError>>>,
}

/// The phase of a dialer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It waits for the next attempt.
    Waiting,
    /// A name is being looked up for an attempt that must be over at this time.
    Resolving(Option<Instant>),
    /// A connection is being made, or is established, perhaps on another loop.
    Connecting,
}

impl Dialer {
    pub(crate) fn new(
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        way: Arc<Way>,
        target: Target,
        once: Option<SyncSender<Result<(), AttemptError>>>,
    ) -> Self {
        let backoff = Backoff::new(&endpoint.settings);
        Self {
            host,
            endpoint,
            way,
            target,
            backoff,
            since: None,
            phase: Phase::Waiting,
            is_looking_up: false,
            timer: None,
            once,
        }
    }

    /// The socket has accepted the pipe.
    pub(crate) fn connected(&mut self) {
        self.since.get_or_insert_with(time::now);
        if let Some(once) = self.once.take() {
            // The caller may have given up.
            let _ = once.try_send(Ok(()));
        }
    }

    /// Whether a call waits for the outcome of an attempt that may still fail: a PAIR that already has a peer
    /// closes the connection after the exchange of headers, and nothing on the wire tells before. (A PAIR of
    /// this crate tells by withholding its header; others do not.)
    fn may_be_turned_away(&self) -> bool {
        let peer = self.host.upgrade().map(|host| host.identity().1);
        self.once.is_some() && peer.is_some_and(ProtocolId::is_exclusive)
    }

    /// Notes that the pipe is gone, and returns when the next attempt is due. `served`: it had brought a
    /// message.
    ///
    /// Only then, or if it was [`STABLE`], it was a success. A peer that accepts and hangs up, or sends bad
    /// bytes, must not be dialed in a tight loop.
    fn disconnected(&mut self, served: bool) -> Instant {
        let lasted = self.since.take().is_some_and(|since| time::since(since) >= STABLE);
        if lasted || served {
            self.backoff.reset();
        }
        self.schedule()
    }

    /// Notes that an attempt has failed, and returns when the next one is due; `None`: this was the only one.
    pub(crate) fn failed(&mut self, error: AttemptError) -> Option<Instant> {
        self.since = None;
        if let Some(host) = self.host.upgrade() {
            host.counters().connect_errors.bump();
            // A failure is news unless a call waits for the outcome, which it gets as its error.
            let is_news = self.once.is_none() && self.endpoint.begins_to_fail();
            let (socket, url) = (host.name(), self.endpoint.url());
            crate::contain::record!(
                crate::contain::level_of(is_news),
                { socket: socket, endpoint: url, reason: error },
                "{socket}: connect to {url}: {error}"
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

    /// Returns when the next attempt is due.
    pub(crate) fn schedule(&mut self) -> Instant {
        self.phase = Phase::Waiting;
        let at = after(time::now(), self.backoff.next());
        self.endpoint.waits_until(at);
        at
    }
}

impl Driver {
    /// Keeps an endpoint connected from now on.
    pub(super) fn keep_connected(&mut self, dialer: Dialer) {
        // The command to forget the endpoint may have overtaken this one.
        if dialer.endpoint.is_closed() {
            return;
        }
        let endpoint = dialer.endpoint.id;
        let token = self.dialers.insert(dialer);
        self.members.add(endpoint, token);
        self.dial(token);
    }

    pub(super) fn remove_dialer(&mut self, token: Token) {
        let Some(dialer) = self.dialers.remove(token) else { return };
        self.members.remove(dialer.endpoint.id, token);
        if let Some(timer) = dialer.timer {
            self.cx.timers.cancel(timer);
        }
    }

    /// Begins another attempt, as soon as the socket takes in new pipes.
    pub(super) fn dial_again_if_wanted(&mut self, token: Token) {
        let Some(dialer) = self.dialers.get(token) else { return };
        let Some(host) = dialer.host.upgrade() else { return };
        if host.intake(self.cx.mailbox.postponed(token)) != Intake::Shut {
            self.dial(token);
        }
    }

    /// Begins an attempt.
    pub(super) fn dial(&mut self, token: Token) {
        let Some(dialer) = self.dialers.get(token) else { return };
        if dialer.phase != Phase::Waiting {
            return;
        }
        dialer.endpoint.connecting();
        let deadline = race::deadline(&dialer.endpoint);
        match dialer.target.clone() {
            Target::Known(place) => self.connect_to(token, vec![place], deadline),
            target => self.look_up(token, target, deadline),
        }
    }

    fn look_up(&mut self, token: Token, target: Target, deadline: Option<Instant>) {
        let timer = deadline.map(|at| self.cx.timers.set(at, Due::LookUp(token)));
        let Some(dialer) = self.dialers.get(token) else { return };
        dialer.phase = Phase::Resolving(deadline);
        dialer.timer = timer;
        if std::mem::replace(&mut dialer.is_looking_up, true) {
            return;
        }
        let Target::Name { host, port, local, family } = target else { return };
        let mailbox = Arc::clone(&self.cx.mailbox);
        self.resolver.resolve(host, port, local, family, move |places| {
            mailbox.post(Command::Resolved(token, places));
        });
    }

    /// The time for the lookup of a name is over, and with it the attempt.
    pub(super) fn on_look_up_over(&mut self, token: Token) {
        let Some(dialer) = self.dialers.get(token) else { return };
        if let Phase::Resolving(_) = dialer.phase {
            let limit = dialer.endpoint.settings.connect_timeout.unwrap_or_default();
            let message = format!("no answer within {limit:?}");
            let error = AttemptError::Resolve { kind: io::ErrorKind::TimedOut, message };
            self.attempt_failed(token, error);
        }
    }

    pub(super) fn resolved(
        &mut self,
        token: Token,
        places: Result<Vec<Destination>, AttemptError>,
    ) {
        let Some(dialer) = self.dialers.get(token) else { return };
        dialer.is_looking_up = false;
        let Phase::Resolving(deadline) = dialer.phase else { return };
        if let Some(timer) = dialer.timer.take() {
            self.cx.timers.cancel(timer);
        }
        match places {
            Ok(places) => self.connect_to(token, places, deadline),
            Err(error) => self.attempt_failed(token, error),
        }
    }

    /// Chooses the loop for the connection, which then tries all destinations.
    fn connect_to(&mut self, token: Token, places: Vec<Destination>, deadline: Option<Instant>) {
        let Some(dialer) = self.dialers.get(token) else { return };
        // Set before the race begins, which may be over at once.
        dialer.phase = Phase::Connecting;
        let (host, endpoint) = (dialer.host.clone(), Arc::clone(&dialer.endpoint));
        let way = Arc::clone(&dialer.way);
        let chosen = self.choose(HOME, &host);
        let race = Box::new(Race::new(token, host, endpoint, way, places, deadline));
        match self.loops.other(chosen) {
            None => self.enter(race),
            Some(mailbox) => mailbox.post(Command::Race(race)),
        }
    }

    fn attempt_failed(&mut self, token: Token, error: AttemptError) {
        let Some(dialer) = self.dialers.get(token) else { return };
        match dialer.failed(error) {
            Some(at) => self.dial_at(token, at),
            None => self.remove_dialer(token),
        }
    }

    fn dial_at(&mut self, token: Token, at: Instant) {
        let key = self.cx.timers.set(at, Due::Dial(token));
        if let Some(dialer) = self.dialers.get(token) {
            dialer.timer = Some(key);
        }
    }

    pub(super) fn on_dialer_connected(&mut self, token: Token) {
        let Some(dialer) = self.dialers.get(token) else { return };
        if dialer.may_be_turned_away() {
            self.cx.timers.set(after(time::now(), CONFIRM_AFTER), Due::Confirm(token));
        } else {
            dialer.connected();
        }
    }

    /// Counts the attempt as a success: the peer has had the time to turn us away.
    pub(super) fn confirm(&mut self, token: Token) {
        if let Some(dialer) = self.dialers.get(token)
            && dialer.phase == Phase::Connecting
            && dialer.once.is_some()
        {
            dialer.connected();
        }
    }

    /// Tells a dialer, wherever it is, that its connection is over.
    pub(super) fn tell_of_the_end(&mut self, dialer: Token, ending: Ending) {
        match self.loops.other(HOME) {
            None => self.dial_again(dialer, ending),
            Some(home) => home.post(Command::Ended(dialer, ending)),
        }
    }

    /// A dialer's connection is over.
    pub(super) fn dial_again(&mut self, token: Token, ending: Ending) {
        let Some(dialer) = self.dialers.get(token) else { return };
        match ending {
            Ending::Failed(error) => self.attempt_failed(token, error),
            Ending::Rejected => self.attempt_failed(token, AttemptError::Rejected),
            Ending::Lost(_) | Ending::Served => {
                // Even if the pipe was lost before the dialer heard of it.
                dialer.connected();
                dialer.endpoint.note_success();
                let at = dialer.disconnected(matches!(ending, Ending::Served));
                self.dial_at(token, at);
            }
            Ending::TurnedAway(peer) => {
                self.attempt_failed(token, AttemptError::TurnedAway { peer, greeted: true });
            }
            Ending::Closed | Ending::Elsewhere => {
                let at = dialer.disconnected(false);
                self.dial_at(token, at);
            }
        }
    }
}

/// How long to pause between attempts.
///
/// The first pause is random, between zero and the interval: those that lost the same peer at the same moment
/// must not return at the same moment. Each later one is between two and four thirds of an interval, which
/// doubles up to the maximum: so the attempts stay apart, and a pause is an interval on average. Source:
/// semantics specification, section 15.
#[derive(Debug)]
pub(crate) struct Backoff {
    base: Duration,
    max: Duration,
    current: Duration,
    is_first: bool,
}

impl Backoff {
    pub(crate) fn new(settings: &EndpointSettings) -> Self {
        let base = settings.reconnect_interval;
        // A maximum below the base is ignored.
        let max = settings.reconnect_max.unwrap_or(base).max(base);
        Self { base, max, current: base, is_first: true }
    }

    /// Returns the next pause.
    pub(crate) fn next(&mut self) -> Duration {
        self.next_with(random::number())
    }

    /// Starts from the base again.
    pub(crate) fn reset(&mut self) {
        (self.current, self.is_first) = (self.base, true);
    }

    /// As `next`, with a random number that the caller has.
    pub(crate) fn next_with(&mut self, random: u32) -> Duration {
        let random = f64::from(random) / f64::from(u32::MAX);
        let part = if self.is_first { random } else { (2.0 + 2.0 * random) / 3.0 };
        let interval = self.current;
        (self.current, self.is_first) = (interval.saturating_mul(2).min(self.max), false);
        // What is too long for a `Duration` is as good as the longest.
        Duration::try_from_secs_f64(interval.as_secs_f64() * part).unwrap_or(Duration::MAX)
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

    /// The shortest and the longest pause of each attempt, in milliseconds.
    fn bounds(mut backoff: Backoff, attempts: usize) -> Vec<(u128, u128)> {
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
    fn without_a_maximum_every_later_pause_is_around_the_base() {
        let expected = [(0, 90), (60, 120), (60, 120), (60, 120)];
        assert_eq!(bounds(backoff(90, None), 4), expected);
    }

    /// C277.
    #[test]
    fn with_a_maximum_the_interval_doubles_up_to_it() {
        let expected = [(0, 60), (80, 160), (160, 320), (240, 480), (240, 480)];
        assert_eq!(bounds(backoff(60, Some(360)), 5), expected);
    }

    /// C278.
    #[test]
    fn after_a_reset_the_pauses_begin_anew() {
        let mut backoff = backoff(60, Some(360));
        backoff.next();
        backoff.next();
        backoff.reset();
        assert_eq!(bounds(backoff, 2), [(0, 60), (80, 160)]);
    }

    /// C279.
    #[test]
    fn a_maximum_below_the_base_is_ignored() {
        for max in [10, 0] {
            assert_eq!(bounds(backoff(90, Some(max)), 3), [(0, 90), (60, 120), (60, 120)]);
        }
    }

    #[test]
    fn an_enormous_interval_does_not_overflow() {
        let mut backoff = backoff(u64::MAX / 2, Some(u64::MAX));
        for _ in 0..200 {
            backoff.next();
        }
        let longest = Duration::MAX;
        let mut backoff =
            Backoff { base: longest, max: longest, current: longest, is_first: false };
        assert!(backoff.next_with(0) > longest / 2);
        assert_eq!(backoff.next_with(u32::MAX), longest);
    }

    /// How 200 clients of a listener come back after it was gone for `outage`, by the default pauses.
    struct Return {
        /// How long half of them, and 99 of 100, take from when it is back, in milliseconds.
        median: u32,
        late: u32,
        /// The largest part of them that tries within the same 50 ms, in per cent.
        peak: u32,
    }

    fn return_after(outage: u32, random: &mut impl FnMut() -> u32) -> Return {
        const CLIENTS: usize = 200;
        const WINDOW: u32 = 50;
        let (mut attempts, mut arrivals) = (Vec::new(), Vec::new());
        for _ in 0..CLIENTS {
            let mut backoff = Backoff::new(&EndpointSettings::default());
            let mut at = Duration::ZERO;
            loop {
                at += backoff.next_with(random());
                let at = u32::try_from(at.as_millis()).expect("it is soon");
                attempts.push(at);
                if at >= outage {
                    arrivals.push(at - outage);
                    break;
                }
            }
        }
        attempts.sort_unstable();
        arrivals.sort_unstable();
        let before = |time| attempts.partition_point(|at| *at < time);
        let peak = attempts.iter().map(|from| before(from + WINDOW) - before(*from)).max();
        let peak = peak.expect("there were attempts");
        let peak = u32::try_from(100 * peak / CLIENTS).expect("a percentage");
        Return { median: arrivals[CLIENTS / 2], late: arrivals[CLIENTS * 99 / 100], peak }
    }

    /// T13: half of them are back within 100 ms, 99 of 100 within 1.2 s, and no more than 40 % try within the
    /// same 50 ms. On average over many returns, since with 200 clients chance moves the peak by a few per cent.
    #[test]
    fn many_clients_return_soon_and_not_all_at_once() {
        const ROUNDS: u32 = 50;
        // Marsaglia's generator with 32 bits, so that the figures are the same in every run.
        let mut state = 2_463_534_242_u32;
        let mut random = || {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state
        };
        for outage in [0, 50, 100, 200, 300, 1000, 3000] {
            let returns = (0..ROUNDS).map(|_| return_after(outage, &mut random));
            let (median, late, peak) = returns.fold((0, 0, 0), |(median, late, peak), it| {
                (median + it.median, late.max(it.late), peak + it.peak)
            });
            let (median, peak) = (median / ROUNDS, peak / ROUNDS);
            println!(
                "{outage} ms: half within {median} ms, 99 % within {late} ms, {peak} % at once"
            );
            assert!(
                median <= 100 && late <= 1200 && peak <= 40,
                "{outage} ms: {median}, {late}, {peak} %"
            );
        }
    }
}
