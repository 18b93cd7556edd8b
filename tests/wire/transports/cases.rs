//! The conformance list of transports: what a socket can rely on, whatever transport carries it. The tests cite the
//! conformance cases that they show.
//!
//! A program of tests includes this file, has a function for each of its transports that makes a [`Fixture`], and says
//! `conformance!(tcp ipc)`.

use std::thread;
use std::time::{Duration, Instant};

use kit::{SOON, attached, conserved, detached, eventually};
use sinew::{
    AddressError, AttemptError, BindError, Closed, ConnectError, DetachReason, Endpoint,
    EndpointOptions, EndpointState, HeaderError, Message, Options, Pair, ProtocolId, RecvError,
    Rep, Req, Runtime,
};

/// Runs all cases for each transport: `tcp::an_empty_message_is_a_message` and so on. A case that is not in this list
/// is reported by the compiler as unused.
macro_rules! conformance {
    ($($transport:ident)*) => {
        $(
            mod $transport {
                cases! {
                    super::$transport:
                    messages_pass_both_ways
                    an_empty_message_is_a_message
                    messages_of_all_sizes_arrive_intact
                    a_message_of_exactly_the_limit_is_taken
                    a_message_above_the_limit_costs_the_pipe
                    sixty_four_mebibytes_arrive_intact
                    a_thousand_messages_of_random_size_cross_each_way_in_order
                    back_pressure_loses_nothing
                    what_is_drained_arrives
                    an_address_that_makes_no_sense_is_refused_at_the_call
                    a_scheme_is_compared_byte_for_byte
                    endpoints_and_peers_tell_their_addresses
                    an_address_is_bound_once_and_the_first_is_not_disturbed
                    an_address_can_be_bound_again_at_once_after_close
                    an_endpoint_is_closed_once
                    connect_now_to_nobody_is_refused
                    connect_comes_through_once_somebody_listens
                    sockets_that_do_not_fit_stay_apart_and_keep_running
                    connect_now_to_a_peer_that_does_not_fit_is_a_protocol_error
                    traffic_goes_on_when_the_listener_returns
                    one_listener_serves_many_peers
                    the_loss_of_a_peer_is_noticed_without_traffic
                    the_last_words_of_a_peer_are_heard
                    close_does_not_wait_for_a_peer_that_does_not_read
                }
            }
        )*
    };
}

/// One test for each case.
macro_rules! cases {
    ($fixture:path: $($case:ident)*) => {
        $(
            #[test]
            fn $case() {
                super::cases::$case(&$fixture());
            }
        )*
    };
}
const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A transport under test: a runtime that knows it, and addresses that only this test uses.
pub(super) struct Fixture {
    pub(super) runtime: Runtime,
    /// Adds what sockets need for it.
    pub(super) with: fn(Options) -> Options,
    /// An address that can be bound. The endpoint tells the one to connect to.
    pub(super) free: Box<dyn Fn() -> String>,
    /// Addresses that make no sense, for binding and connecting alike.
    pub(super) malformed: Vec<String>,
    /// It is inproc: receive limits do not count there, and no attempt to connect is ever repeated
    /// while nobody is there.
    pub(super) is_inproc: bool,
    /// It is named pipes: a name stays taken while a connection is left that was accepted under it, and Wine 8
    /// does not know whether a name is taken.
    pub(super) is_pipes: bool,
}

impl Fixture {
    fn free(&self) -> String {
        (self.free)()
    }

    /// An address that could be bound, and connected to if somebody had.
    fn deserted(&self) -> String {
        let endpoint = self.pair().bind(self.free()).unwrap();
        // Closed with its socket.
        endpoint.url()
    }

    fn pair(&self) -> Pair {
        self.pair_with(Options::new())
    }

    fn pair_with(&self, options: Options) -> Pair {
        Pair::on(&self.runtime, (self.with)(options)).unwrap()
    }

    fn rep(&self) -> Rep {
        Rep::on(&self.runtime, (self.with)(Options::new())).unwrap()
    }

    fn req(&self) -> Req {
        Req::on(&self.runtime, (self.with)(Options::new())).unwrap()
    }

    /// Binds one and connects the other, and waits until both know.
    #[track_caller]
    fn join(&self, listener: &Pair, dialer: &Pair) -> Endpoint {
        let endpoint = listener.bind(self.free()).unwrap();
        dialer.connect_with(endpoint.url(), &often()).unwrap();
        listener.wait_for_peers(1, SOON).unwrap();
        dialer.wait_for_peers(1, SOON).unwrap();
        endpoint
    }

    #[track_caller]
    fn joined(&self) -> (Pair, Pair) {
        let (left, right) = (self.pair(), self.pair());
        self.join(&left, &right);
        (left, right)
    }
}

/// Attempts that follow each other fast.
fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(Duration::from_millis(10))
}

/// Fails where nobody listens; over ipc, where there is not even a file.
#[track_caller]
fn nobody(error: Option<AttemptError>, url: &str) {
    let expected = match url.split_once("://") {
        Some(("ipc", _)) if cfg!(unix) => AttemptError::NoSuchFile,
        _ => AttemptError::Refused,
    };
    assert_eq!(error, Some(expected));
}

/// Bytes in which no two places near each other look alike; `seed` tells messages apart.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i ^ (i >> 8)).wrapping_mul(31) ^ seed) as u8).collect()
}

/// Both ends can hear each other.
#[track_caller]
fn talk(left: &Pair, right: &Pair) {
    left.send_timeout("there", SOON).unwrap();
    assert_eq!(right.recv_timeout(SOON).unwrap(), "there");
    right.send_timeout("back", SOON).unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "back");
}

#[track_caller]
fn all_conserved(pairs: [&Pair; 2]) {
    for pair in pairs {
        conserved(|| pair.stats());
    }
}

/// Answers every request with what was asked, until the socket is closed.
fn echo(rep: &Rep) {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = request.message().clone();
            let _closed = request.reply(answer);
        }
    });
}

#[track_caller]
fn refused(result: Result<Endpoint, ConnectError>, url: &str) {
    match result {
        Err(ConnectError::Failed { source, .. }) => nobody(Some(source), url),
        other => panic!("not refused: {other:?}"),
    }
}

#[track_caller]
fn in_use(result: Result<Endpoint, BindError>) {
    assert!(matches!(result, Err(BindError::AddressInUse { .. })), "{result:?}");
}

pub(super) fn messages_pass_both_ways(fixture: &Fixture) {
    let (left, right) = fixture.joined();
    for _ in 0..100 {
        talk(&left, &right);
    }
    all_conserved([&left, &right]);
}

/// C016.
pub(super) fn an_empty_message_is_a_message(fixture: &Fixture) {
    let (left, right) = fixture.joined();
    left.send("").unwrap();
    right.send("").unwrap();
    assert_eq!(right.recv_timeout(SOON).unwrap().len(), 0);
    assert_eq!(left.recv_timeout(SOON).unwrap().len(), 0);
}

/// C017.
pub(super) fn messages_of_all_sizes_arrive_intact(fixture: &Fixture) {
    let (left, right) = fixture.joined();
    let up_and_down = || (0..20).chain((0..19).rev()).map(|power| 1_usize << power);
    thread::scope(|scope| {
        scope.spawn(|| {
            for size in up_and_down() {
                left.send_timeout(pattern(size, size), SOON).unwrap();
            }
        });
        for size in up_and_down() {
            let message = right.recv_timeout(SOON).unwrap();
            assert!(message == pattern(size, size), "{size} bytes");
        }
    });
    all_conserved([&left, &right]);
}

/// C018, F5, F7.
pub(super) fn a_message_of_exactly_the_limit_is_taken(fixture: &Fixture) {
    for limit in [4, 100, MIB] {
        let ear = fixture.pair_with(Options::new().max_recv_size(limit));
        let mouth = fixture.pair();
        fixture.join(&ear, &mouth);
        for size in [limit - 1, limit] {
            mouth.send_timeout(pattern(size, 7), SOON).unwrap();
            assert!(ear.recv_timeout(SOON).unwrap() == pattern(size, 7), "{size} bytes");
        }
        all_conserved([&ear, &mouth]);
    }
}

/// C019, C020, F6, F8: the pipe is lost, the dialer comes again, and all is well. C022: inproc has no limit.
pub(super) fn a_message_above_the_limit_costs_the_pipe(fixture: &Fixture) {
    for limit in [4, 100, MIB] {
        let ear = fixture.pair_with(Options::new().max_recv_size(limit));
        let mouth = fixture.pair_with(Options::new().max_send_size(None));
        let events = ear.events();
        fixture.join(&ear, &mouth);
        attached(&events);
        mouth.send_timeout(pattern(limit + 1, 7), SOON).unwrap();
        if fixture.is_inproc {
            assert_eq!(ear.recv_timeout(SOON).unwrap(), pattern(limit + 1, 7));
            continue;
        }
        let (announced, limit) = (limit as u64 + 1, limit as u64);
        assert_eq!(detached(&events), DetachReason::Oversize { announced, limit });
        attached(&events);
        eventually("the mouth has its new pipe", || mouth.stats().established_connections == 2);
        mouth.send_timeout("few", SOON).unwrap();
        assert_eq!(ear.recv_timeout(SOON).unwrap(), "few");
        assert_eq!(ear.stats().oversize, 1);
        conserved(|| ear.stats());
    }
}

/// C032.
pub(super) fn sixty_four_mebibytes_arrive_intact(fixture: &Fixture) {
    let right = fixture.pair_with(Options::new().max_recv_size(None));
    let left = fixture.pair_with(Options::new().max_send_size(None));
    fixture.join(&left, &right);
    let body = Message::from(pattern(64 * MIB, 3));
    left.send_timeout(&body, SOON).unwrap();
    assert!(right.recv_timeout(SOON).unwrap() == body, "the content differs");
    all_conserved([&left, &right]);
}

/// C033.
pub(super) fn a_thousand_messages_of_random_size_cross_each_way_in_order(fixture: &Fixture) {
    const COUNT: usize = 1000;
    /// A fixed sequence without a pattern: the upper bits of a linear congruential generator.
    fn sizes(seed: u64) -> impl Iterator<Item = usize> {
        let next =
            |x: &u64| Some(x.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407));
        std::iter::successors(Some(seed), next)
            .skip(1)
            .map(|x| (x >> 33) as usize % 70_001)
            .take(COUNT)
    }
    let master = pattern(70_000, 0);
    let (left, right) = fixture.joined();
    thread::scope(|scope| {
        for (from, to, seed) in [(&left, &right, 1), (&right, &left, 2)] {
            let master = &master;
            scope.spawn(move || {
                for size in sizes(seed) {
                    from.send_timeout(&master[..size], SOON).unwrap();
                }
            });
            scope.spawn(move || {
                for size in sizes(seed) {
                    let message = to.recv_timeout(SOON).unwrap();
                    assert!(*message == master[..size], "{size} expected, {}", message.len());
                }
            });
        }
    });
    for pair in [&left, &right] {
        assert_eq!(pair.stats().messages_received, COUNT as u64);
        conserved(|| pair.stats());
    }
}

/// A sender that is ahead is held up; nothing is lost for it.
pub(super) fn back_pressure_loses_nothing(fixture: &Fixture) {
    let small = || Options::new().send_queue(4).recv_queue(4);
    let (left, right) = (fixture.pair_with(small()), fixture.pair_with(small()));
    fixture.join(&left, &right);
    let message = |number: usize| pattern(64 * KIB, number);
    let held_up = (0..).find(|&number| left.try_send(message(number)).is_err()).unwrap();
    let all = held_up + 100;
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in held_up..all {
                left.send_timeout(message(number), SOON).unwrap();
            }
        });
        for number in 0..all {
            assert!(right.recv_timeout(SOON).unwrap() == message(number), "number {number}");
        }
    });
    assert_eq!(right.try_recv().unwrap_err(), RecvError::WouldBlock);
    assert_eq!(left.stats().messages_sent, all as u64);
    all_conserved([&left, &right]);
}

/// What was drained arrives, even if the socket is closed at once.
pub(super) fn what_is_drained_arrives(fixture: &Fixture) {
    const COUNT: usize = 100;
    let (left, right) = fixture.joined();
    thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0..COUNT {
                left.send_timeout(pattern(64 * KIB, number), SOON).unwrap();
            }
            assert_eq!(left.drain(SOON), 0);
            left.close().unwrap();
        });
        for number in 0..COUNT {
            let message = right.recv_timeout(SOON).unwrap();
            assert!(message == pattern(64 * KIB, number), "number {number}");
        }
    });
    assert_eq!(left.stats().send_queue, 0);
    all_conserved([&left, &right]);
}

/// C241 and C249 for tcp, C261 for ipc, C271 for inproc.
pub(super) fn an_address_that_makes_no_sense_is_refused_at_the_call(fixture: &Fixture) {
    let pair = fixture.pair();
    for url in &fixture.malformed {
        match (pair.bind(url), pair.connect(url), pair.connect_now(url)) {
            (
                Err(BindError::Address(a)),
                Err(ConnectError::Address(b)),
                Err(ConnectError::Address(c)),
            ) => {
                let no_transport = matches!(a, AddressError::UnknownTransport { .. });
                assert!(!no_transport && a == b && b == c && a.url() == url, "{url}: {a}");
            }
            other => panic!("{url}: {other:?}"),
        }
    }
    assert_eq!(pair.stats().bind_errors, fixture.malformed.len() as u64);
    let other = fixture.pair();
    fixture.join(&pair, &other);
    talk(&pair, &other);
}

/// C246.
pub(super) fn a_scheme_is_compared_byte_for_byte(fixture: &Fixture) {
    let pair = fixture.pair();
    let url = fixture.free();
    let (right, rest) = url.split_once("://").unwrap();
    for scheme in [right.to_uppercase(), format!("{right}x"), format!(" {right}")] {
        let url = format!("{scheme}://{rest}");
        match (pair.bind(&url), pair.connect(&url)) {
            (Err(BindError::Address(a)), Err(ConnectError::Address(b))) => {
                let AddressError::UnknownTransport { scheme: told, known, .. } = &a else {
                    panic!("{a}");
                };
                assert_eq!((told, &a), (&scheme, &b));
                assert!(known.iter().any(|known| known == right));
            }
            other => panic!("{url}: {other:?}"),
        }
    }
}

/// C273.
pub(super) fn endpoints_and_peers_tell_their_addresses(fixture: &Fixture) {
    let (left, right) = (fixture.pair(), fixture.pair());
    let url = fixture.join(&left, &right).url();
    assert_eq!(url.split_once("://").unwrap().0, fixture.free().split_once("://").unwrap().0);
    let (listening, dialing) = (&left.peers()[0], &right.peers()[0]);
    assert_eq!((&listening.url, &listening.local, listening.outgoing), (&url, &url, false));
    assert_eq!((&dialing.url, &dialing.remote, dialing.outgoing), (&url, &url, true));

    let deserted = fixture.deserted();
    assert_eq!(left.bind(&deserted).unwrap().url(), deserted, "there is nothing to fill in");
    assert_eq!(right.connect(&deserted).unwrap().url(), deserted);
}

/// C244, C259, C267.
pub(super) fn an_address_is_bound_once_and_the_first_is_not_disturbed(fixture: &Fixture) {
    if fixture.is_pipes {
        return;
    }
    let (first, second, peer) = (fixture.pair(), fixture.pair(), fixture.pair());
    let endpoint = first.bind(fixture.free()).unwrap();
    in_use(first.bind(endpoint.url()));
    in_use(second.bind(endpoint.url()));
    peer.connect_now(endpoint.url()).unwrap();
    talk(&first, &peer);

    endpoint.close().unwrap();
    bind_again(&second, &endpoint.url()).expect("free once the first has closed");
}

/// Binds to an address that has just been closed. Wine lets go of a listener a moment later, when it has called off
/// the poll.
fn bind_again(pair: &Pair, url: &str) -> Result<Endpoint, BindError> {
    let end = Instant::now() + SOON;
    loop {
        match pair.bind(url) {
            Err(BindError::AddressInUse { .. }) if cfg!(windows) && Instant::now() < end => {
                thread::yield_now();
            }
            bound => return bound,
        }
    }
}

/// C245.
pub(super) fn an_address_can_be_bound_again_at_once_after_close(fixture: &Fixture) {
    if fixture.is_pipes {
        return;
    }
    let _nobody = kit::nobody_starts();
    let mut url = fixture.free();
    for round in 0..20 {
        let (left, right) = (fixture.pair(), fixture.pair());
        let bound = bind_again(&left, &url);
        let endpoint = bound.unwrap_or_else(|error| panic!("round {round}: {error}"));
        url = endpoint.url();
        right.connect_with(&url, &often()).unwrap();
        left.wait_for_peers(1, SOON).unwrap();
        match round % 3 {
            0 => left.close().unwrap(),
            1 => endpoint.close().unwrap(),
            _ => drop(left),
        }
    }
}

/// C253, as far as there are things to start.
pub(super) fn an_endpoint_is_closed_once(fixture: &Fixture) {
    let pair = fixture.pair();
    let listener = pair.bind(fixture.free()).unwrap();
    let dialer = pair.connect(fixture.deserted()).unwrap();
    for endpoint in [listener, dialer] {
        assert_eq!(endpoint.close(), Ok(()));
        assert_eq!(endpoint.status().state, EndpointState::Closed);
        assert_eq!(endpoint.close(), Err(Closed));
    }
    let left = pair.bind(fixture.free()).unwrap();
    pair.close().unwrap();
    assert_eq!(left.close(), Err(Closed), "closed with its socket");
    let url = fixture.free();
    assert!(matches!(pair.bind(&url), Err(BindError::Closed)));
    assert!(matches!(pair.connect(&url), Err(ConnectError::Closed)));
    assert!(matches!(pair.connect_now(&url), Err(ConnectError::Closed)));
}

/// C250, C262.
pub(super) fn connect_now_to_nobody_is_refused(fixture: &Fixture) {
    let (left, right) = (fixture.pair(), fixture.pair());
    let url = fixture.deserted();
    refused(right.connect_now(&url), &url);
    assert_eq!(right.stats().connect_errors, 1);
    left.bind(&url).unwrap();
    right.connect_now(&url).expect("it can be repeated");
    talk(&left, &right);
}

/// C251, C262, C268.
pub(super) fn connect_comes_through_once_somebody_listens(fixture: &Fixture) {
    let (left, right) = (fixture.pair(), fixture.pair());
    let url = fixture.deserted();
    let endpoint = right.connect_with(&url, &often()).unwrap();
    if !fixture.is_inproc {
        eventually("two attempts", || endpoint.status().attempts >= 2);
        nobody(endpoint.status().last_error, &url);
    }
    left.bind(&url).unwrap();
    talk(&left, &right);
    assert_eq!(endpoint.status().state, EndpointState::Connected);
}

/// C007, C008, C270.
pub(super) fn sockets_that_do_not_fit_stay_apart_and_keep_running(fixture: &Fixture) {
    let (rep, pair, req) = (fixture.rep(), fixture.pair(), fixture.req());
    let (rep_events, pair_events) = (rep.events(), pair.events());
    let url = rep.bind(fixture.free()).unwrap().url();
    let wrong = pair.connect_with(&url, &often()).unwrap();
    eventually("three attempts", || wrong.status().attempts >= 3);
    assert!(pair_events.try_recv().is_err() && rep_events.try_recv().is_err());
    assert!(pair.stats().connect_errors >= 2);

    echo(&rep);
    req.connect(&url).unwrap();
    assert_eq!(req.request_timeout("still?", SOON).unwrap(), "still?");
    rep.close().unwrap();
}

/// C009.
pub(super) fn connect_now_to_a_peer_that_does_not_fit_is_a_protocol_error(fixture: &Fixture) {
    let (rep, pair) = (fixture.rep(), fixture.pair());
    let url = rep.bind(fixture.free()).unwrap().url();
    let misfit = HeaderError::Peer { expected: ProtocolId::PAIR, announced: ProtocolId::REP };
    match pair.connect_now(&url) {
        Err(ConnectError::Failed { source: AttemptError::Protocol(error), .. }) => {
            assert_eq!(error, misfit);
        }
        other => panic!("{other:?}"),
    }
    assert!(pair.peers().is_empty());
}

/// C275.
pub(super) fn traffic_goes_on_when_the_listener_returns(fixture: &Fixture) {
    const ROUNDS: u64 = 5;
    let mut url = fixture.free();
    let dialer = fixture.pair();
    for round in 0..ROUNDS {
        let listener = fixture.pair();
        url = listener.bind(&url).unwrap().url();
        if round == 0 {
            dialer.connect_with(&url, &often()).unwrap();
        }
        talk(&listener, &dialer);
        listener.close().unwrap();
        eventually("the loss is noticed without traffic", || dialer.peers().is_empty());
    }
    assert_eq!(dialer.stats().established_connections, ROUNDS);
    conserved(|| dialer.stats());
}

pub(super) fn one_listener_serves_many_peers(fixture: &Fixture) {
    const PEERS: usize = 50;
    let rep = fixture.rep();
    let url = rep.bind(fixture.free()).unwrap().url();
    let reqs: Vec<Req> = (0..PEERS).map(|_| fixture.req()).collect();
    for req in &reqs {
        req.connect(&url).unwrap();
    }
    rep.wait_for_peers(PEERS, SOON).unwrap();
    echo(&rep);
    thread::scope(|scope| {
        for (number, req) in reqs.iter().enumerate() {
            scope.spawn(move || {
                for turn in 0..10 {
                    let question = format!("{number} {turn}");
                    assert_eq!(req.request_timeout(&question, SOON).unwrap(), question);
                }
                conserved(|| req.stats());
            });
        }
    });
    rep.close().unwrap();
    conserved(|| rep.stats());
}

pub(super) fn the_loss_of_a_peer_is_noticed_without_traffic(fixture: &Fixture) {
    for listener_goes in [true, false] {
        let (listener, dialer) = (fixture.pair(), fixture.pair());
        let (goes, stays) = if listener_goes { (&listener, &dialer) } else { (&dialer, &listener) };
        let events = stays.events();
        fixture.join(&listener, &dialer);
        attached(&events);
        goes.close().unwrap();
        assert_eq!(detached(&events), DetachReason::PeerClosed);
        assert!(stays.peers().is_empty());
    }
}

/// What was sent before the peer left is still there to be received.
pub(super) fn the_last_words_of_a_peer_are_heard(fixture: &Fixture) {
    let (left, right) = fixture.joined();
    let events = right.events();
    left.send("last words").unwrap();
    assert_eq!(right.recv_timeout(SOON).unwrap(), "last words");
    for number in 0..10_u8 {
        left.send(&[number]).unwrap();
    }
    // What inproc has not delivered by then is the receiver's already; elsewhere the kernel has it.
    if !fixture.is_inproc {
        assert_eq!(left.drain(SOON), 0);
    }
    left.close().unwrap();
    assert_eq!(detached(&events), DetachReason::PeerClosed);
    for number in 0..10_u8 {
        assert_eq!(right.recv_timeout(SOON).unwrap(), [number]);
    }
    all_conserved([&left, &right]);
}

/// The test would not end if close waited for the peer: it never reads, and may be lingered for.
pub(super) fn close_does_not_wait_for_a_peer_that_does_not_read(fixture: &Fixture) {
    for linger in [Duration::ZERO, Duration::MAX] {
        let left = fixture.pair_with(Options::new().linger(linger));
        let right = fixture.pair_with(Options::new().recv_queue(1));
        let endpoint = fixture.join(&right, &left);
        let body = Message::from(pattern(MIB, 0));
        while left.try_send(&body).is_ok() {}
        left.close().unwrap();
        assert!(left.peers().is_empty());
        endpoint.close().unwrap();
        eventually("what was queued is accounted for", || {
            let stats = left.stats();
            stats.send_queue == 0 && stats.check_conservation().is_ok()
        });
    }
}
