//! Pipes and their events: which peers come and go, and why.

use std::collections::HashSet;
use std::time::Duration;

use kit::{Raw, SOON, Transport, eventually, join};
use sinew::{
    AttemptError, DetachReason, EndpointOptions, Events, NoSuchPipe, Options, Pair, Peer,
    PipeEventKind, ProtocolId, Pull, Push, RecvError, Rep, Req,
};

#[track_caller]
fn next(events: &Events) -> (PipeEventKind, Peer) {
    let event = events.recv_timeout(SOON).expect("an event");
    (event.kind, event.peer)
}

/// C227.
#[test]
fn a_pipe_is_announced_used_and_gone_once_each_on_both_sides() {
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let (rep_events, req_events) = (rep.events(), req.events());
        let _address = join!(rep, req, transport);
        rep.close().unwrap();
        for (events, reason) in
            [(rep_events, DetachReason::SocketClosed), (req_events, DetachReason::PeerClosed)]
        {
            let (pre, peer) = next(&events);
            let (post, same) = next(&events);
            let (gone, last) = next(&events);
            assert_eq!(pre, PipeEventKind::Attaching, "{transport:?}");
            assert_eq!(post, PipeEventKind::Attached, "{transport:?}");
            assert_eq!(gone, PipeEventKind::Detached(reason), "{transport:?}");
            assert_eq!((peer.pipe, peer.pipe), (same.pipe, last.pipe));
        }
    }
}

/// C228: the one who dials turns the peer away, again and again.
#[test]
fn a_dialer_that_rejects_its_peer_tries_again() {
    for transport in Transport::ALL {
        let options = Options::new().reconnect_interval(Duration::from_millis(5)).admit(|_| false);
        let (listener, dialer) = (Pair::new(), Pair::with_options(options).unwrap());
        let events = dialer.events();
        let address = transport.address();
        let endpoint = listener.bind(&address.url).unwrap();
        let dialing = dialer.connect(endpoint.url()).unwrap();
        for _ in 0..3 {
            assert_eq!(next(&events).0, PipeEventKind::Attaching);
            assert_eq!(next(&events).0, PipeEventKind::Detached(DetachReason::Denied));
        }
        assert!(dialer.stats().rejected_pipes >= 3);
        assert!(dialing.status().attempts >= 3);
        assert!(dialer.peers().is_empty());
    }
}

/// C229.
#[test]
fn a_listener_that_rejects_the_first_peer_takes_the_second_attempt() {
    for transport in Transport::ALL {
        let first = std::sync::atomic::AtomicBool::new(true);
        let admit = move |_: &Peer| !first.swap(false, std::sync::atomic::Ordering::Relaxed);
        let listener = Pair::with_options(Options::new().admit(admit)).unwrap();
        let dialer =
            Pair::with_options(Options::new().reconnect_interval(Duration::from_millis(5)))
                .unwrap();
        let events = listener.events();
        let address = transport.address();
        let endpoint = listener.bind(&address.url).unwrap();
        dialer.connect(endpoint.url()).unwrap();
        let kinds: Vec<_> = (0..4).map(|_| next(&events).0).collect();
        let expected = [
            PipeEventKind::Attaching,
            PipeEventKind::Detached(DetachReason::Denied),
            PipeEventKind::Attaching,
            PipeEventKind::Attached,
        ];
        assert_eq!(kinds, expected, "{transport:?}");
        dialer.send("through").unwrap();
        assert_eq!(listener.recv_timeout(SOON).unwrap(), "through");
    }
}

#[test]
fn an_admit_callback_that_panics_turns_the_peer_away_and_harms_nobody_else() {
    let options = Options::new().admit(|_| panic!("the callback's own fault"));
    let (bad, good) = (Pair::with_options(options).unwrap(), Pair::new());
    let bad_end = bad.bind("tcp://127.0.0.1:0").unwrap();
    let mut refused = Raw::greet(&bad_end.url(), 0x10, 0x10);
    assert!(refused.read_to_end().is_empty());
    let peer = Pair::new();
    let _address = join!(good, peer, Transport::Tcp);
    good.send("unharmed").unwrap();
    assert_eq!(peer.recv_timeout(SOON).unwrap(), "unharmed");
}

/// C230.
#[test]
fn a_message_names_the_pipe_it_came_on() {
    for transport in Transport::ALL {
        let rep = Rep::new();
        let events = rep.events();
        let address = transport.address();
        let endpoint = rep.bind(&address.url).unwrap();
        let askers: Vec<Req> = (0..5).map(|_| Req::new()).collect();
        let mut ids = HashSet::new();
        for (n, req) in askers.iter().enumerate() {
            req.connect(endpoint.url()).unwrap();
            rep.wait_for_peers(n + 1, SOON).unwrap();
            let asked = req.context();
            asked.send("who am I?").unwrap();
            let request = rep.recv_timeout(SOON).unwrap();
            let id = request.pipe();
            assert_eq!(request.message().pipe(), Some(id));
            assert!((1..=0x7FFF_FFFF).contains(&id.get()));
            assert_eq!(next(&events).0, PipeEventKind::Attaching);
            let (kind, peer) = next(&events);
            assert_eq!((kind, peer.pipe), (PipeEventKind::Attached, id));
            assert!(ids.insert(id), "no two live pipes share an id");
        }
    }
}

/// C231 and C255.
#[test]
fn a_pipe_that_is_gone_cannot_be_disconnected() {
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    let id = pair.peers()[0].pipe;
    let events = pair.events();
    peer.close().unwrap();
    assert_eq!(next(&events).0, PipeEventKind::Detached(DetachReason::PeerClosed));
    assert_eq!(pair.disconnect(id), Err(NoSuchPipe(id)));
}

/// C232 and C234.
#[test]
fn a_peer_is_known_by_its_endpoint_and_both_addresses() {
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let (_address, endpoint) = join!(rep, req, transport);
        let accepted = rep.peers().remove(0);
        let dialed = req.peers().remove(0);
        assert!(dialed.outgoing && !accepted.outgoing);
        assert_eq!(accepted.endpoint, endpoint.id());
        assert_eq!((&accepted.url, &dialed.url), (&endpoint.url(), &endpoint.url()));
        assert_eq!(accepted.protocol, ProtocolId::REQ);
        assert_eq!(dialed.protocol, ProtocolId::REP);
        if transport != Transport::Ipc {
            assert_eq!(accepted.local, dialed.remote);
            assert_eq!(accepted.remote, dialed.local);
        }
    }
}

/// C264.
#[test]
#[cfg(all(target_os = "linux", not(sinew_socketpair)))]
fn ipc_tells_which_process_is_at_the_other_end() {
    let (rep, req) = (Rep::new(), Req::new());
    let _address = join!(rep, req, Transport::Ipc);
    for peer in [&rep.peers()[0], &req.peers()[0]] {
        let credentials = peer.credentials.expect("Linux tells");
        assert_eq!(credentials.pid, Some(std::process::id()));
    }
}

/// C233.
#[cfg(unix)] // Windows may tell of a new connection before the end of the one that it replaces
#[test]
fn a_pipe_closed_by_hand_comes_back_under_another_id() {
    for transport in Transport::ALL {
        for listener_closes in [true, false] {
            let options = Options::new().reconnect_interval(Duration::from_millis(5));
            let listener = Pair::new();
            let dialer = Pair::with_options(options).unwrap();
            let _address = join!(listener, dialer, transport);
            let closing = if listener_closes { &listener } else { &dialer };
            let other = if listener_closes { &dialer } else { &listener };
            let events = other.events();
            let id = closing.peers()[0].pipe;
            closing.disconnect(id).unwrap();
            assert_eq!(next(&events).0, PipeEventKind::Detached(DetachReason::PeerClosed));
            assert_eq!(next(&events).0, PipeEventKind::Attaching);
            assert_eq!(next(&events).0, PipeEventKind::Attached);
            closing.wait_for_peers(1, SOON).unwrap();
            assert_ne!(closing.peers()[0].pipe, id, "{transport:?}");
            kit::conserved(|| listener.stats());
            kit::conserved(|| dialer.stats());
        }
    }
}

/// C235.
#[test]
fn when_close_returns_all_pipes_have_been_reported_gone() {
    for transport in Transport::ALL {
        let rep = Rep::new();
        let address = transport.address();
        let endpoint = rep.bind(&address.url).unwrap();
        let askers: Vec<Req> = (0..5).map(|_| Req::new()).collect();
        for req in &askers {
            req.connect(endpoint.url()).unwrap();
        }
        rep.wait_for_peers(5, SOON).unwrap();
        let events = rep.events();
        rep.close().unwrap();
        for _ in 0..5 {
            let kind = events.try_recv().expect("it is there already").kind;
            assert_eq!(kind, PipeEventKind::Detached(DetachReason::SocketClosed));
        }
        assert!(matches!(events.try_recv(), Err(RecvError::Closed)));
    }
}

/// C237: events are told to those who listen, from when they listen.
#[test]
fn a_subscriber_that_is_dropped_costs_nothing_and_a_late_one_hears_only_what_follows() {
    let (pair, peer) = (Pair::new(), Pair::new());
    drop(pair.events());
    let (_address, endpoint) = join!(pair, peer, Transport::Tcp);
    let events = pair.events();
    assert!(matches!(events.try_recv(), Err(RecvError::WouldBlock)));
    endpoint.close().unwrap();
    assert_eq!(next(&events).0, PipeEventKind::Detached(DetachReason::EndpointClosed));
    assert_eq!(pair.stats().events_missed, 0);
}

/// Events that nobody reads are bounded, and what is missed is counted.
#[test]
fn a_subscriber_that_does_not_read_misses_events_and_is_told_how_many() {
    let pair = Pair::new();
    let events = pair.events();
    pair.bind("inproc://unread-events").unwrap();
    for _ in 0..600 {
        let peer = Pair::new();
        peer.connect("inproc://unread-events").unwrap();
    }
    let heard = std::iter::from_fn(|| events.try_recv().ok()).count();
    assert_eq!(heard, 1024);
    assert_eq!(events.missed(), 600 * 3 - 1024);
    assert_eq!(pair.stats().events_missed, 600 * 3 - 1024);
}

/// C238 and C311.
#[test]
fn the_second_peer_of_a_pair_is_announced_and_gone_without_being_used() {
    for transport in Transport::ALL {
        let (pair, first) = (Pair::new(), Pair::new());
        let (_address, endpoint) = join!(pair, first, transport);
        let events = pair.events();
        let second = Pair::new();
        let slow = EndpointOptions::new().reconnect_interval(6 * SOON);
        second.connect_with(endpoint.url(), &slow).unwrap();
        assert_eq!(next(&events).0, PipeEventKind::Attaching);
        assert_eq!(next(&events).0, PipeEventKind::Detached(DetachReason::Rejected));
        assert_eq!(pair.stats().rejected_pipes, 1, "{transport:?}");
        assert_eq!(pair.peers().len(), 1);
    }
}

/// C375: what a dialer can know of it. Nothing on the wire says why.
#[test]
fn a_peer_that_was_not_admitted_is_told_by_its_endpoint() {
    for transport in Transport::STREAMS {
        let push = Push::with_options(Options::new().admit(|_| false)).unwrap();
        let address = transport.address();
        let url = push.bind(&address.url).unwrap().url();
        let pull = Pull::new();
        let endpoint = pull.connect(&url).unwrap();
        let expected = AttemptError::TurnedAway { peer: ProtocolId::PUSH, greeted: true };
        eventually("it is told", || endpoint.status().last_error.as_ref() == Some(&expected));
        let error = pull.recv_timeout(Duration::from_millis(1)).unwrap_err().to_string();
        let why =
            "the peer closed the connection right after the header exchange: it may not admit us";
        assert!(error.contains(why) || error.contains("1 peer"), "{error}");
    }
}
