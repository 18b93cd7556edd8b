//! Races: one attempt to connect, to all destinations where the peer may be.
//!
//! ```text
//!   start --250 ms, or a failure--> start the next --...--> none left: a fresh one for each, every second
//!     |                                |                        |
//!     +---- the first that stands -----+------------------------+--> header exchange --> a pipe
//!     |                                                                     | failed: places never asked
//!     +--> none left on the way, or the time is over: the attempt has failed
//! ```
//!
//! Owns the order in which destinations are tried, by RFC 8305, and the streams that are on the way. The first
//! stream that is established goes on and the others are dropped, before any has sent a byte: a peer that is
//! reached by two ways never sees two of us.
//!
//! A destination that does not answer is tried again while the first stream to it goes on waiting. The kernel
//! repeats a SYN after 1, 3, 7, 15, 31 s and more: alone, it would notice the return of a network late by as
//! much as the outage was long. A slow answer to the first stream still counts.
//!
//! A race runs on the loop that will have the connection; its dialer is on the home loop.

use std::time::{Duration, Instant};

use mio::Token;

use super::connection::{Connection, Ending, Maker};
use super::timers::{TimerKey, after};
use super::{Driver, Due};
use crate::address::Address;
use crate::error::AttemptError;
use crate::pipe::Host;
use crate::pipe::endpoint::EndpointCore;
use crate::sync::{Arc, Weak};
use crate::time;
use crate::transport::{Destination, StreamTransport};

/// Wait this long for one destination before trying the next one too: the "connection attempt delay" that RFC
/// 8305, section 5, recommends.
const STAGGER: Duration = Duration::from_millis(250);
/// Wait this long for a destination before trying it again: as long as the kernel waits the first time, and
/// longer than an answer takes around the world.
const AFRESH: Duration = Duration::from_secs(1);

/// How an endpoint connects, in every attempt.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) transport: Arc<dyn StreamTransport>,
    pub(crate) address: Address,
}

/// One attempt, as the driver of its loop has it.
#[derive(Debug)]
pub(crate) struct Race {
    /// The dialer, on the home loop.
    dialer: Token,
    host: Weak<dyn Host>,
    endpoint: Arc<EndpointCore>,
    way: Arc<Way>,
    course: Course,
    /// The connection that is established and exchanges headers; the race has no timer then.
    standing: Option<Token>,
    deadline: Option<Instant>,
    timer: Option<TimerKey>,
    /// The error of the last destination that returned one.
    error: Option<AttemptError>,
}

impl Race {
    /// Makes an attempt at `places` that must be over at `deadline`.
    pub(super) fn new(
        dialer: Token,
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        way: Arc<Way>,
        places: Vec<Destination>,
        deadline: Option<Instant>,
    ) -> Self {
        let course = Course::new(places, time::now());
        let (standing, timer, error) = (None, None, None);
        Self { dialer, host, endpoint, way, course, standing, deadline, timer, error }
    }

    fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// The error of a failed attempt: that of a destination, if any has answered, or a timeout.
    fn verdict(&self) -> AttemptError {
        let limit = self.endpoint.settings.connect_timeout.unwrap_or_default();
        self.error.clone().unwrap_or(AttemptError::TimedOut(limit))
    }

    /// Begins a connection to a destination.
    fn begin(&self, lane: usize, race: Token) -> Result<Option<Connection>, AttemptError> {
        let Some(host) = self.host.upgrade() else { return Ok(None) };
        let place = &self.course.lanes[lane].place;
        let Way { transport, address } = &*self.way;
        let stream = transport.connect(address, place, &self.endpoint.settings)?;
        let (endpoint, framing) = (Arc::clone(&self.endpoint), transport.framing());
        Ok(Some(Connection::new(&host, endpoint, framing, stream, Maker::Race(race))))
    }
}

/// The time by which an attempt that begins now must be over.
pub(super) fn deadline(endpoint: &EndpointCore) -> Option<Instant> {
    endpoint.settings.connect_timeout.map(|limit| after(time::now(), limit))
}

impl Driver {
    /// Begins a race on this loop, which has counted it as one connection.
    pub(super) fn enter(&mut self, race: Box<Race>) {
        let endpoint = race.endpoint.id;
        let token = self.races.insert(race);
        self.members.add(endpoint, token);
        self.race(token);
        // From here on its connections are counted instead.
        self.loops.on_connection_over();
    }

    /// Does what is due in a race.
    pub(super) fn race(&mut self, token: Token) {
        loop {
            let now = time::now();
            let Some(race) = self.races.get(token) else { return };
            if race.standing.is_some() {
                return;
            }
            if race.is_late(now) || race.course.is_over() {
                let verdict = race.verdict();
                return self.finish_race(token, Ending::Failed(verdict));
            }
            match race.course.next() {
                Some((lane, at)) if at <= now => self.start(token, lane, now),
                next => {
                    let at = next.map(|(_, at)| at).into_iter().chain(race.deadline).min();
                    return self.race_at(token, at);
                }
            }
        }
    }

    /// Sets the timer of a race.
    fn race_at(&mut self, token: Token, at: Option<Instant>) {
        let key = at.map(|at| self.cx.timers.set(at, Due::Race(token)));
        let Some(race) = self.races.get(token) else { return };
        if let Some(old) = std::mem::replace(&mut race.timer, key) {
            self.cx.timers.cancel(old);
        }
    }

    fn start(&mut self, token: Token, lane: usize, now: Instant) {
        let Some(race) = self.races.get(token) else { return };
        match race.begin(lane, token) {
            Ok(Some(connection)) => {
                self.loops.connection_begins();
                let begun = self.take_on(Box::new(connection));
                if let Some(race) = self.races.get(token)
                    && let Some(replaced) = race.course.started(lane, begun, now)
                {
                    self.withdraw(replaced);
                }
                self.watch(begun);
            }
            Ok(None) => self.finish_race(token, Ending::Closed),
            Err(error) => {
                race.error = Some(error);
                let others = race.course.failed_at_once(lane, now);
                self.withdraw_all(others);
            }
        }
    }

    /// A connection of a race is established: it goes on alone.
    pub(super) fn stands(&mut self, connection: Token) {
        let Some(standing) = self.connections.get(connection) else { return };
        let Maker::Race(token) = standing.maker else { return };
        let Some(race) = self.races.get(token) else { return };
        race.standing = Some(connection);
        let others = race.course.won_by(connection);
        self.race_at(token, None);
        self.withdraw_all(others);
        self.line_up(connection);
        self.drive(connection, |standing, cx| standing.begin(false, connection, cx));
    }

    /// A connection of a race has ended before it became a pipe of the socket, or too soon after.
    pub(super) fn fell_out(&mut self, token: Token, connection: Token, ending: Ending) {
        let now = time::now();
        let Some(race) = self.races.get(token) else { return };
        let Ending::Failed(error) = ending else { return self.finish_race(token, ending) };
        race.error = Some(error);
        if race.standing.take_if(|standing| *standing == connection).is_some() {
            race.course.lost(connection);
            race.deadline = deadline(&race.endpoint);
        } else {
            let others = race.course.failed(connection, now);
            self.withdraw_all(others);
        }
        self.race(token);
    }

    /// Ends a race with all its connections, and tells the dialer.
    fn finish_race(&mut self, token: Token, ending: Ending) {
        if let Some(dialer) = self.call_off(token) {
            self.tell_of_the_end(dialer, ending);
        }
    }

    /// Ends a race with all its connections except the established one. Returns its dialer.
    pub(super) fn call_off(&mut self, token: Token) -> Option<Token> {
        let race = self.races.get(token)?;
        let (dialer, standing) = (race.dialer, race.standing);
        let mut on_the_way = race.course.on_the_way();
        on_the_way.retain(|&connection| Some(connection) != standing);
        self.remove_race(token);
        self.withdraw_all(on_the_way);
        Some(dialer)
    }

    pub(super) fn remove_race(&mut self, token: Token) {
        let Some(race) = self.races.remove(token) else { return };
        self.members.remove(race.endpoint.id, token);
        if let Some(timer) = race.timer {
            self.cx.timers.cancel(timer);
        }
    }

    fn withdraw_all(&mut self, connections: Vec<Token>) {
        for connection in connections {
            self.withdraw(connection);
        }
    }

    /// Drops a connection that is not established, and tells nobody.
    fn withdraw(&mut self, connection: Token) {
        if self.let_go(connection).is_some() {
            self.loops.on_connection_over();
        }
    }
}

/// The destinations of a race, in the order in which they are tried, and the connections on the way to each.
#[derive(Debug)]
struct Course {
    lanes: Vec<Lane>,
    /// The earliest time to try another destination.
    earliest: Instant,
}

/// One destination.
#[derive(Debug)]
struct Lane {
    place: Destination,
    /// When it was last tried.
    asked: Option<Instant>,
    /// The connection begun first, which has waited longest, for a slow answer too.
    first: Option<Token>,
    /// The connection begun last, if that is another one.
    fresh: Option<Token>,
}

impl Lane {
    fn connections(&self) -> impl Iterator<Item = Token> {
        [self.first, self.fresh].into_iter().flatten()
    }

    /// When to try it again. Only internet addresses are: elsewhere no answer can get lost.
    fn again(&self) -> Option<Instant> {
        self.asked
            .filter(|_| matches!(self.place, Destination::Inet { .. }))
            .map(|asked| asked + AFRESH)
    }
}

impl Course {
    fn new(places: Vec<Destination>, now: Instant) -> Self {
        let lane = |place| Lane { place, asked: None, first: None, fresh: None };
        Self { lanes: alternate(places).into_iter().map(lane).collect(), earliest: now }
    }

    /// The destination to try next, and when.
    fn next(&self) -> Option<(usize, Instant)> {
        if let Some(lane) = self.lanes.iter().position(|lane| lane.asked.is_none()) {
            return Some((lane, self.earliest));
        }
        let again = |(number, lane): (usize, &Lane)| Some((lane.again()?, number));
        let (at, lane) = self.lanes.iter().enumerate().filter_map(again).min()?;
        Some((lane, at.max(self.earliest)))
    }

    /// Whether every destination was tried, and no connection is on the way.
    fn is_over(&self) -> bool {
        let is_over = |lane: &Lane| lane.asked.is_some() && lane.connections().next().is_none();
        self.lanes.iter().all(is_over)
    }

    /// Notes a connection that was begun. Returns the one that it replaces, to be dropped.
    fn started(&mut self, lane: usize, connection: Token, now: Instant) -> Option<Token> {
        self.earliest = now + STAGGER;
        let lane = &mut self.lanes[lane];
        lane.asked = Some(now);
        match lane.first {
            None => {
                lane.first = Some(connection);
                None
            }
            Some(_) => lane.fresh.replace(connection),
        }
    }

    /// Notes that a destination has refused a connection. Returns its other connections, to be dropped.
    fn failed(&mut self, connection: Token, now: Instant) -> Vec<Token> {
        self.lane_of(connection).map_or_else(Vec::new, |lane| self.clear(lane, now))
    }

    /// Notes that no connection to a destination could be begun, which counts as a try. Returns its other
    /// connections, to be dropped.
    fn failed_at_once(&mut self, lane: usize, now: Instant) -> Vec<Token> {
        self.lanes[lane].asked = Some(now);
        self.clear(lane, now)
    }

    /// Takes out the connections to a destination, after which the next one need not wait.
    fn clear(&mut self, lane: usize, now: Instant) -> Vec<Token> {
        self.earliest = now;
        let lane = &mut self.lanes[lane];
        [lane.first.take(), lane.fresh.take()].into_iter().flatten().collect()
    }

    /// Notes that a connection is established. Returns all others, to be dropped; their destinations are not
    /// tried again.
    fn won_by(&mut self, connection: Token) -> Vec<Token> {
        let mut others = self.on_the_way();
        others.retain(|&other| other != connection);
        let winner = self.lane_of(connection);
        let mut number = 0..;
        self.lanes.retain_mut(|lane| {
            let is_winner = number.next() == winner;
            if is_winner {
                (lane.first, lane.fresh) = (Some(connection), None);
            }
            is_winner || lane.asked.is_none()
        });
        others
    }

    /// Notes that the established connection is over: its destination is out.
    fn lost(&mut self, connection: Token) {
        if let Some(lane) = self.lane_of(connection) {
            self.lanes.remove(lane);
        }
    }

    fn on_the_way(&self) -> Vec<Token> {
        self.lanes.iter().flat_map(Lane::connections).collect()
    }

    fn lane_of(&self, connection: Token) -> Option<usize> {
        self.lanes.iter().position(|lane| lane.connections().any(|one| one == connection))
    }
}

/// The destinations in the order of RFC 8305, section 4: as the resolver returned them, but with the families
/// alternating, since one family may be broken as a whole.
fn alternate(places: Vec<Destination>) -> Vec<Destination> {
    let is_v6 =
        |place: &Destination| matches!(place, Destination::Inet { remote, .. } if remote.is_ipv6());
    let first_is_v6 = places.first().is_some_and(is_v6);
    let (ones, others): (Vec<_>, Vec<_>) =
        places.into_iter().partition(|place| is_v6(place) == first_is_v6);
    let (mut ones, mut others) = (ones.into_iter(), others.into_iter());
    let mut order = Vec::new();
    loop {
        let pair = [ones.next(), others.next()];
        if pair.iter().all(Option::is_none) {
            return order;
        }
        order.extend(pair.into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(remote: &str) -> Destination {
        Destination::Inet { remote: remote.parse().unwrap(), local: None }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn places(count: u16) -> Vec<Destination> {
        (1..=count).map(|port| place(&format!("127.0.0.1:{port}"))).collect()
    }

    /// Runs a race in which nobody answers. Returns which destination was tried when, and how many
    /// connections are on the way.
    fn silence(places: Vec<Destination>, starts: usize) -> (Vec<(usize, u128)>, usize) {
        let begin = Instant::now();
        let mut course = Course::new(places, begin);
        let mut asked = Vec::new();
        for number in 0..starts {
            let Some((lane, at)) = course.next() else { break };
            course.started(lane, Token(number), at);
            asked.push((lane, (at - begin).as_millis()));
        }
        (asked, course.on_the_way().len())
    }

    /// C471.
    #[test]
    fn families_take_turns_and_the_resolvers_first_begins() {
        let of = |remotes: &[&str]| alternate(remotes.iter().map(|remote| place(remote)).collect());
        let (a, b, c, d) = ("[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1");
        assert_eq!(of(&[a, b, c, d]), [a, d, b, c].map(place));
        assert_eq!(of(&[d, a, b]), [d, a, b].map(place));
        assert_eq!(of(&[a, b]), [a, b].map(place));
        assert_eq!(of(&[]), []);
    }

    /// C470, C471.
    #[test]
    fn each_place_is_asked_after_250_ms_and_again_after_a_second() {
        assert_eq!(silence(places(1), 4), (vec![(0, 0), (0, 1000), (0, 2000), (0, 3000)], 2));
        let two = vec![(0, 0), (1, 250), (0, 1000), (1, 1250), (0, 2000)];
        assert_eq!(silence(places(2), 5), (two, 4));
        let (many, on_the_way) = silence(places(6), 8);
        assert_eq!(many[5..], [(5, 1250), (0, 1500), (1, 1750)]);
        assert_eq!(on_the_way, 8);
    }

    #[test]
    fn a_file_is_asked_once() {
        let file = Destination::Path("/tmp/s".into());
        assert_eq!(silence(vec![file], 4), (vec![(0, 0)], 1));
    }

    /// C471.
    #[test]
    fn a_failure_starts_the_next_at_once_and_the_last_ends_the_race() {
        let now = Instant::now();
        let mut course = Course::new(places(2), now);
        course.started(0, Token(0), now);
        assert_eq!(course.next(), Some((1, now + STAGGER)));
        assert_eq!(course.failed(Token(0), now + ms(10)), [Token(0)]);
        assert_eq!(course.next(), Some((1, now + ms(10))));
        course.started(1, Token(1), now + ms(10));
        assert!(!course.is_over());
        assert_eq!(course.failed_at_once(1, now + ms(20)), [Token(1)]);
        assert!(course.is_over());
    }

    /// A peer that is being restarted need not wait for an address of it that never answers.
    #[test]
    fn a_place_that_has_refused_is_asked_again_while_another_is_silent() {
        let now = Instant::now();
        let mut course = Course::new(places(2), now);
        course.started(0, Token(0), now);
        course.started(1, Token(1), now + ms(250));
        course.failed(Token(1), now + ms(251));
        assert!(!course.is_over());
        course.started(0, Token(2), now + ms(1000));
        assert_eq!(course.next(), Some((1, now + ms(1250))));
    }

    #[test]
    fn the_first_that_stands_is_alone_and_after_it_come_those_never_asked() {
        let now = Instant::now();
        let mut course = Course::new(places(4), now);
        course.started(0, Token(0), now);
        course.started(1, Token(1), now + ms(250));
        course.started(2, Token(2), now + ms(500));
        assert_eq!(course.won_by(Token(1)), [Token(0), Token(2)]);
        assert_eq!(course.on_the_way(), [Token(1)]);
        course.lost(Token(1));
        assert_eq!(course.lanes.len(), 1);
        assert_eq!(course.next().map(|(lane, _)| lane), Some(0));
    }

    /// One destination is unreachable, say, and the other silent: the loop must not try without a pause.
    #[test]
    fn a_place_that_fails_at_once_again_and_again_is_asked_once_a_second() {
        let now = Instant::now();
        let mut course = Course::new(places(2), now);
        course.failed_at_once(0, now);
        course.started(1, Token(1), now);
        let again = now + AFRESH;
        assert_eq!(course.next(), Some((0, again)));
        course.failed_at_once(0, again);
        assert_eq!(course.next(), Some((1, again)));
        course.started(1, Token(2), again);
        assert_eq!(course.next(), Some((0, again + AFRESH)));
    }

    /// The first keeps waiting, since its answer may be slow; the one before the last is dropped.
    #[test]
    fn of_all_that_ask_one_place_two_are_on_the_way() {
        let now = Instant::now();
        let mut course = Course::new(places(1), now);
        assert_eq!(course.started(0, Token(0), now), None);
        assert_eq!(course.started(0, Token(1), now + ms(1000)), None);
        assert_eq!(course.started(0, Token(2), now + ms(2000)), Some(Token(1)));
        assert_eq!(course.on_the_way(), [Token(0), Token(2)]);
        assert_eq!(course.failed(Token(2), now + ms(2001)), [Token(0), Token(2)]);
    }
}
