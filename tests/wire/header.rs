//! The connection header: conformance group 1 (C001 to C015), wire vectors E1 to E11 and H1 to H24.
//! C007 and C008 between two sockets of ours are in transports.rs.

use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::{Listed, one_by_one};
use kit::{
    QUIET, Raw, RawListener, SOON, Transport, attached, detached, eventually, every_socket, header,
};
use sinew::role;
use sinew::{
    AttemptError, ConnectError, DetachReason, EndpointOptions, EndpointState, Events, HeaderError,
    Options, Pair, Pub, Pull, Push, Rep, Req, Runtime, SendError, Socket,
};

/// All protocol ids there are, the retired ones of the first SURVEY included.
const IDS: [u8; 13] =
    [0x10, 0x11, 0x20, 0x21, 0x30, 0x31, 0x50, 0x51, 0x60, 0x61, 0x62, 0x63, 0x70];

/// A socket bound to an address of `transport`, its address, and its events.
fn listening<R: Listed>(transport: Transport) -> (Socket<R>, kit::Address, String, Events) {
    listening_with(transport, Options::new())
}

fn listening_with<R: Listed>(
    transport: Transport,
    options: Options,
) -> (Socket<R>, kit::Address, String, Events) {
    let socket = Socket::<R>::with_options(options).unwrap();
    let events = socket.events();
    let address = transport.address();
    let url = socket.bind(&address.url).expect("the address is free").url();
    (socket, address, url, events)
}

/// A good peer comes, is accepted, and goes.
#[track_caller]
fn a_good_peer_is_accepted<R: Listed>(url: &str, events: &Events) {
    let (ours, theirs) = R::IDS;
    let peer = Raw::greet(url, theirs, ours);
    attached(events);
    drop(peer);
    assert_eq!(detached(events), DetachReason::PeerClosed);
}

/// C002, E1 to E11; raw sockets announce the same.
#[test]
fn a_listener_sends_its_header_before_the_peer_has_said_anything() {
    fn check<R: Listed>() {
        for transport in Transport::STREAMS {
            let (_socket, _address, url, _) = listening::<R>(transport);
            assert_eq!(Raw::connect(&url).read(8), header(R::IDS.0), "{transport:?}");
        }
    }
    one_by_one(every_socket!(check));
}

/// C002, E1 to E11; raw sockets announce the same.
#[test]
fn a_dialer_sends_its_header_before_the_peer_has_said_anything() {
    fn check<R: Listed>() {
        let server = RawListener::new();
        let url = server.url();
        thread::scope(|scope| {
            scope.spawn(move || {
                Socket::<R>::with_options(Options::new())
                    .unwrap()
                    .connect_now(&url)
                    .expect("a good peer")
            });
            let mut peer = server.accept();
            assert_eq!(peer.read(8), header(R::IDS.0));
            peer.send(&header(R::IDS.1));
            assert_eq!(peer.read_to_end(), [0; 0], "nothing but the header was sent");
        });
    }
    one_by_one(every_socket!(check));
}

/// C001, H1.
#[test]
fn a_listener_answers_a_good_header_with_its_own_and_nothing_more() {
    for transport in Transport::STREAMS {
        let (rep, _address, url, events) = listening::<role::Rep>(transport);
        let mut peer = Raw::connect(&url);
        peer.send(&header(0x30));
        attached(&events);
        rep.close().unwrap();
        assert_eq!(peer.read_to_end(), header(0x31));
    }
}

/// C003, C007, C015, H1, H4, H5, H7, H22.
#[test]
fn a_listener_takes_exactly_the_peers_of_the_matrix() {
    fn check<R: Listed>() {
        let (ours, theirs) = R::IDS;
        for transport in Transport::STREAMS {
            let (socket, _address, url, events) = listening::<R>(transport);
            for id in IDS.into_iter().filter(|&id| id != theirs) {
                let mut peer = Raw::connect(&url);
                peer.send(&header(id));
                assert_eq!(peer.read_to_end(), header(ours), "{ours:x} with {id:x}");
            }
            a_good_peer_is_accepted::<R>(&url, &events);
            assert_eq!(socket.stats().handshake_errors, IDS.len() as u64 - 1);
            assert_eq!(socket.stats().accepted_connections, 1);
            assert!(events.try_recv().is_err(), "the refused raised no event");
        }
    }
    one_by_one(every_socket!(check));
}

/// C003, C009.
#[test]
fn a_dialer_takes_exactly_the_peers_of_the_matrix() {
    fn check<R: Listed>() {
        for id in IDS {
            let server = RawListener::new();
            let url = server.url();
            let socket = Socket::<R>::with_options(Options::new()).unwrap();
            let events = socket.events();
            let connected = thread::scope(|scope| {
                let dialing = scope.spawn(|| socket.connect_now(&url));
                let mut peer = server.accept();
                peer.send(&header(id));
                assert_eq!(peer.read(8), header(R::IDS.0));
                let connected = dialing.join().expect("no panic");
                socket.close().expect("it was open");
                connected
            });
            if id == R::IDS.1 {
                assert!(connected.is_ok(), "{connected:?}");
                continue;
            }
            let Err(ConnectError::Failed { source, .. }) = connected else {
                panic!("connected to {id:x}: {connected:?}");
            };
            let AttemptError::Protocol(HeaderError::Peer { expected, announced }) = source else {
                panic!("{source}");
            };
            let numbers = (expected.number(), announced.number());
            assert_eq!(numbers, (u16::from(R::IDS.1), u16::from(id)));
            assert!(events.try_recv().is_err(), "no event for {id:x}");
        }
    }
    one_by_one(every_socket!(check));
}

/// C003 and C009 on inproc, C270.
#[test]
fn inproc_joins_exactly_the_pairs_of_the_matrix() {
    /// Who dials, whether that went well, and how many attempts failed.
    fn dial<D: Listed>(url: &str) -> (u8, Result<(), ConnectError>, u64) {
        let dialer = Socket::<D>::with_options(Options::new()).unwrap();
        let outcome = dialer.connect_now(url).map(drop);
        (D::IDS.0, outcome, dialer.stats().connect_errors)
    }
    fn listen<L: Listed>() {
        for dial in every_socket!(dial) {
            let (listener, _address, url, events) = listening::<L>(Transport::Inproc);
            match dial(&url) {
                (dialer, Ok(()), _) => {
                    assert_eq!(L::IDS.1, dialer);
                    attached(&events);
                }
                (dialer, Err(ConnectError::Failed { source, .. }), errors) => {
                    assert_ne!(L::IDS.1, dialer);
                    assert!(matches!(source, AttemptError::Protocol(HeaderError::Peer { .. })));
                    assert!(events.try_recv().is_err(), "no event");
                    assert_eq!((listener.stats().handshake_errors, errors), (1, 1));
                }
                (_, Err(other), _) => panic!("{other}"),
            }
        }
    }
    one_by_one(every_socket!(listen));
}

/// C004, H2.
#[test]
fn a_header_may_come_one_byte_at_a_time() {
    for transport in Transport::STREAMS {
        let (_rep, _address, url, events) = listening::<role::Rep>(transport);
        let mut peer = Raw::connect(&url);
        for byte in header(0x30) {
            peer.send(&[byte]);
            // The pause is what is tested: each byte is to be a read of its own.
            thread::sleep(Duration::from_millis(5));
        }
        attached(&events);
    }
}

/// C005, H3.
#[test]
fn a_frame_may_come_in_the_segment_of_the_header() {
    for transport in Transport::STREAMS {
        let (pair, _address, url, _) = listening::<role::Pair>(transport);
        let mut peer = Raw::connect(&url);
        let mut bytes = header(0x10).to_vec();
        bytes.extend(match transport {
            Transport::Ipc => kit::ipc_frame(b"A"),
            _ => kit::frame(b"A"),
        });
        peer.send(&bytes);
        assert_eq!(pair.recv_timeout(SOON).unwrap(), "A");
        peer.send_frame(b"B");
        assert_eq!(pair.recv_timeout(SOON).unwrap(), "B");
        kit::conserved(|| pair.stats());
    }
}

/// What a peer may say instead of a header. Whether it ends its side afterwards: otherwise the
/// bytes alone must be enough to be refused.
const BROKEN: [(&str, &[u8], bool); 16] = [
    ("H8: first byte", &[1, b'S', b'P', 0, 0, 0x30, 0, 0], false),
    ("x for S", &[0, b'x', b'P', 0, 0, 0x30, 0, 0], false),
    ("x for P", &[0, b'S', b'x', 0, 0, 0x30, 0, 0], false),
    ("H9: lower case", &[0, b's', b'p', 0, 0, 0x30, 0, 0], false),
    ("H10: version 1", &[0, b'S', b'P', 1, 0, 0x30, 0, 0], false),
    ("version 2", &[0, b'S', b'P', 2, 0, 0x30, 0, 0], false),
    ("H11: reserved", &[0, b'S', b'P', 0, 0, 0x30, 0, 1], false),
    ("H12: reserved", &[0, b'S', b'P', 0, 0, 0x30, 0x80, 0], false),
    ("H13: little-endian id", &[0, b'S', b'P', 0, 0x30, 0, 0, 0], false),
    ("H24: experimental family", &[0, b'S', b'P', 0, 0x0F, 0x30, 0, 0], false),
    ("H18: http", b"GET / HTTP", false),
    ("H15: nothing", &[], true),
    ("1 byte", &[0], true),
    ("H14: 3 bytes", &[0, b'S', b'P'], true),
    ("6 bytes", &[0, b'S', b'P', 0, 0, 0x30], true),
    ("7 bytes", &[0, b'S', b'P', 0, 0, 0x30, 0], true),
];

/// C006, H8 to H15, H18, H19, H24.
#[test]
fn a_broken_header_ends_its_connection_and_nothing_else() {
    for transport in Transport::STREAMS {
        let (rep, _address, url, events) = listening::<role::Rep>(transport);
        for (what, bytes, finish) in BROKEN {
            let mut peer = Raw::connect(&url);
            peer.send(bytes);
            if finish {
                peer.finish();
            }
            // A pipe has but one end.
            let is_gone = finish && transport == Transport::Ipc && cfg!(windows);
            let told = if is_gone { Vec::new() } else { header(0x31).to_vec() };
            assert_eq!(peer.read_to_end(), told, "{what}");
        }
        a_good_peer_is_accepted::<role::Rep>(&url, &events);
        let broken = BROKEN.iter().filter(|(_, _, finish)| !finish).count();
        let stats = rep.stats();
        assert_eq!(stats.handshake_errors, broken as u64);
        assert_eq!((stats.accepted_connections, stats.inprogress_connections), (1, 0));
        assert!(events.try_recv().is_err(), "the broken raised no event");
    }
}

/// C010, H16, H17.
#[test]
fn a_header_has_limited_time_however_it_comes() {
    const LIMIT: Duration = Duration::from_millis(300);
    for transport in Transport::STREAMS {
        let options = Options::new().handshake_timeout(LIMIT);
        let (rep, _address, url, events) = listening_with::<role::Rep>(transport, options);
        let start = Instant::now();
        let mut silent = Raw::connect(&url);
        let mut slow = Raw::connect(&url);
        slow.send(&header(0x30)[..7]);
        let mut dripping = Raw::connect(&url);
        let dripper = thread::spawn(move || {
            for byte in &header(0x30)[..7] {
                thread::sleep(LIMIT / 4);
                if dripping.try_send(&[*byte]).is_err() {
                    break;
                }
            }
            dripping.read_to_end();
        });
        a_good_peer_is_accepted::<role::Rep>(&url, &events);
        assert!(start.elapsed() < LIMIT, "others are served meanwhile");

        for peer in [&mut silent, &mut slow] {
            assert_eq!(peer.read_to_end(), header(0x31));
            let took = start.elapsed();
            assert!((LIMIT..Duration::from_secs(1)).contains(&took), "{transport:?}: {took:?}");
        }
        eventually("three timeouts", || rep.stats().handshake_timeouts == 3);
        assert!(start.elapsed() < Duration::from_secs(1), "bytes do not buy time");
        dripper.join().unwrap();
        assert_eq!(rep.stats().handshake_errors, 0);
        assert!(events.try_recv().is_err(), "no event");
    }
}

/// C623.
#[test]
fn nothing_is_sent_to_a_peer_that_has_not_shown_its_header() {
    fn check<R: Listed, T>(transport: Transport, send: impl FnOnce(&Socket<R>) -> T) {
        let options = Options::new().handshake_timeout(Duration::from_millis(100));
        let (socket, _address, url, _events) = listening_with::<R>(transport, options);
        let mut silent = Raw::connect(&url);
        assert_eq!(silent.read(8), header(R::IDS.0));
        let _under_way = send(&socket);
        assert_eq!(silent.read_to_end(), b"", "before its limit was over");
    }
    for transport in Transport::STREAMS {
        check(transport, |req: &Req| {
            let asking = req.context();
            asking.send("?").expect("it is held");
            asking
        });
        check(transport, |push: &Push| {
            let refused = push.try_send("?");
            assert!(matches!(refused, Err(SendError::WouldBlock(_))), "there is no pipe");
        });
        check(transport, |publisher: &Pub| publisher.send("?").expect("to nobody"));
    }
}

/// C010, on the dialing side.
#[test]
fn a_dialer_waits_for_a_header_no_longer_than_its_limit() {
    const LIMIT: Duration = Duration::from_millis(100);
    let server = RawListener::new();
    let req = Req::with_options(Options::new().handshake_timeout(LIMIT)).unwrap();
    let start = Instant::now();
    // Accepted by the kernel, and then nothing.
    let error = req.connect_now(server.url()).unwrap_err();
    assert!(start.elapsed() >= LIMIT);
    let ConnectError::Failed { source, .. } = error else { panic!("{error}") };
    assert_eq!(source, AttemptError::HandshakeTimedOut(LIMIT));
}

/// C011.
#[test]
fn fifty_silent_peers_do_not_keep_a_proper_one_out() {
    for transport in Transport::STREAMS {
        let (rep, _address, url, events) = listening::<role::Rep>(transport);
        let _silent: Vec<Raw> = (0..50).map(|_| Raw::connect(&url)).collect();
        a_good_peer_is_accepted::<role::Rep>(&url, &events);
        assert_eq!(rep.stats().handshake_timeouts, 0, "it did not wait for one to end");
        // A turn takes in a few only, so some may still be on their way.
        eventually("all are there", || rep.stats().inprogress_connections == 50);
    }
}

/// C012.
#[test]
fn a_reset_before_the_header_leaves_no_trace_but_a_count() {
    let (rep, _address, url, events) = listening::<role::Rep>(Transport::Tcp);
    for _ in 0..10 {
        Raw::connect(&url).reset();
    }
    a_good_peer_is_accepted::<role::Rep>(&url, &events);
    eventually("all forgotten", || rep.stats().inprogress_connections == 0);
    assert!(events.try_recv().is_err(), "no event");
}

/// C013.
#[test]
fn a_dialer_gets_through_after_five_failures_with_one_pipe() {
    let server = RawListener::new();
    let req = Req::new();
    let events = req.events();
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(10));
    let endpoint = req.connect_with(server.url(), &often).unwrap();
    for _ in 0..5 {
        drop(server.accept());
    }
    let mut peer = server.accept();
    peer.send(&header(0x31));
    attached(&events);
    assert_eq!(req.stats().connect_errors, 5);
    let status = endpoint.status();
    assert_eq!((status.state, status.attempts, status.peers), (EndpointState::Connected, 6, 1));
    assert!(status.last_error.is_some());
    assert!(events.try_recv().is_err(), "one pipe");
}

/// C008, C007, H20.
#[test]
fn a_dialer_retries_with_backoff_while_the_peer_is_of_the_wrong_kind() {
    const BASE: Duration = Duration::from_millis(50);
    let server = RawListener::new();
    let pair = Pair::new();
    let events = pair.events();
    let options = EndpointOptions::new().reconnect_interval(BASE);
    let endpoint = pair.connect_with(server.url(), &options).unwrap();
    let mut came = Vec::new();
    for _ in 0..4 {
        let mut peer = server.accept();
        came.push(Instant::now());
        peer.send(&header(0x11));
        assert_eq!(peer.read_to_end(), header(0x10));
    }
    // The first may be short.
    for gap in came.windows(2).skip(1).map(|pair| pair[1] - pair[0]) {
        assert!(gap >= BASE * 2 / 3 - Duration::from_millis(5), "{gap:?}");
    }
    eventually("four failures", || pair.stats().connect_errors == 4);
    assert_eq!(pair.stats().handshake_errors, 4);
    assert!(matches!(endpoint.status().last_error, Some(AttemptError::Protocol(_))));
    assert!(events.try_recv().is_err(), "no event");

    server.accept().send(&header(0x10));
    attached(&events);
}

/// C014.
#[test]
fn closing_ends_header_exchanges_that_are_under_way_in_both_directions() {
    let runtime = Runtime::new().unwrap();
    let server = RawListener::new();
    let rep = Rep::on(&runtime, Options::new()).unwrap();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let endpoint = rep.connect(server.url()).unwrap();
    let mut dialed = server.accept();
    let mut accepted = Raw::connect(&url);
    assert_eq!((dialed.read(8), accepted.read(8)), (header(0x31).into(), header(0x31).into()));
    assert_eq!(rep.stats().inprogress_connections, 2);

    let start = Instant::now();
    rep.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!((dialed.read_to_end(), accepted.read_to_end()), (vec![], vec![]));
    eventually("both forgotten", || rep.stats().inprogress_connections == 0);
    assert_eq!(endpoint.status().state, EndpointState::Closed);
    thread::sleep(QUIET);
    assert!(server.try_accept().is_none(), "no attempt after close");
}

/// C014.
#[test]
fn closing_ends_a_connect_that_is_waited_for() {
    // The rounds vary the places the reactor gives to dialer and connection.
    for round in 0..20 {
        let server = RawListener::new();
        let url = server.url();
        let req = Req::new();
        let leftovers: Vec<Raw> = match round % 2 {
            0 => vec![],
            _ => {
                let rep = Rep::new();
                let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
                let peers = (0..4).map(|_| Raw::greet(&url, 0x30, 0x31)).collect();
                rep.close().unwrap();
                peers
            }
        };
        drop(leftovers);
        thread::scope(|scope| {
            let dialing = scope.spawn(|| req.connect_now(&url));
            let mut peer = server.accept();
            peer.read(8);
            req.close().unwrap();
            let outcome = dialing.join().unwrap();
            assert!(matches!(outcome, Err(ConnectError::Closed)), "{outcome:?}");
            assert_eq!(peer.read_to_end(), [0; 0]);
        });
    }
}

/// C007.
#[test]
fn a_listener_says_which_peer_it_cannot_talk_to() {
    for transport in Transport::ALL {
        let (rep, pull, address) = (Rep::new(), Pull::new(), transport.address());
        let endpoint = rep.bind(&address.url).unwrap();
        pull.connect(endpoint.url()).unwrap();
        eventually("the peer was refused", || endpoint.status().last_error.is_some());
        let status = endpoint.status();
        assert_eq!((status.state, status.peers), (EndpointState::Listening, 0));
        let Some(AttemptError::Protocol(error)) = status.last_error else { panic!("{status}") };
        assert_eq!(error.to_string(), "the peer is a pull socket, ours needs req");
    }
}
