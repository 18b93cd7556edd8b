//! Limits on how many may connect: what is over them is refused, counted, and holds up nobody else.

use kit::{Raw, SOON, attached, conserved, detached, eventually, frame, header};
use sinew::{DetachReason, EndpointOptions, Options, Pull, Push, Runtime};

const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;

/// C606: case B4 of the list of attacks.
#[test]
fn who_connects_and_says_nothing_makes_room_for_newer_ones() {
    const MOST: usize = 16;
    const SILENT: usize = 200;
    // Each I/O thread looks at its own.
    let runtime = Runtime::builder().io_threads(1).build().unwrap();
    let pull = Pull::on(&runtime, Options::new().max_handshakes(MOST)).unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
    let mut silent: Vec<_> = (0..SILENT).map(|_| Raw::connect(&endpoint.url())).collect();
    let evicted = (SILENT - MOST) as u64;
    eventually("the surplus is closed", || pull.stats().handshakes_evicted == evicted);
    eventually("the others are there", || pull.stats().inprogress_connections == MOST as u64);
    let error = endpoint.status().last_error.expect("the listener tells").to_string();
    assert_eq!(error, "more than 16 peers have not said yet what they are");

    // The first half were sent our header. They may have sent a message since, so they stay.
    for peer in &mut silent[..MOST / 2] {
        assert_eq!(peer.read(8), header(PULL));
    }
    silent[0].send(&header(PUSH));
    silent[0].send(&frame(b"late"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "late");
    // Whoever is gone has seen no header, and so has no pipe that it could lose a message with.
    for peer in &mut silent[MOST / 2..SILENT - MOST / 2] {
        assert_eq!(peer.read_to_end(), [0; 0]);
    }
    // The newest may still say what they are, and so may others.
    let mut newest = silent.pop().unwrap();
    for _ in 0..2 {
        let mut peer = Raw::connect(&endpoint.url());
        peer.send(&header(PUSH));
        peer.send(&frame(b"from a proper peer"));
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "from a proper peer");
    }
    newest.send(&header(PUSH));
    newest.send(&frame(b"at last"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "at last");
    conserved(|| pull.stats());
}

/// C606, for those who do as they should: the limit is far below their number.
#[test]
fn many_proper_peers_that_come_at_once_are_all_let_in() {
    const PEERS: usize = 200;
    let pull = Pull::with_options(Options::new().max_handshakes(4)).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let peers: Vec<_> = (0..PEERS)
        .map(|_| {
            let push = Push::new();
            push.connect(&url).unwrap();
            push
        })
        .collect();
    pull.wait_for_peers(PEERS, SOON).unwrap();
    peers.iter().for_each(|push| push.send_timeout("here", SOON).unwrap());
    for _ in 0..PEERS {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "here");
    }
    // They may leave and come back, as short-lived programs do that are behind one address.
    drop(peers);
    eventually("all have left", || pull.stats().current_connections == 0);
    Raw::greet(&url, PUSH, PULL).send(&frame(b"next"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "next");
    conserved(|| pull.stats());
}

/// C607: case B9.
#[test]
fn a_peer_over_the_limit_is_refused_without_a_header_until_a_place_is_free() {
    let socket_wide = (Options::new().max_peers(3), EndpointOptions::new());
    let of_the_listener = (Options::new(), EndpointOptions::new().max_peers(3));
    for (options, endpoint) in [socket_wide, of_the_listener] {
        let pull = Pull::with_options(options).unwrap();
        let url = pull.bind_with("tcp://127.0.0.1:0", &endpoint).unwrap().url();
        let mut peers: Vec<_> = (0..3).map(|_| Raw::greet(&url, PUSH, PULL)).collect();
        pull.wait_for_peers(3, SOON).unwrap();
        let events = pull.events();
        for refused in 1..=2 {
            let mut surplus = Raw::connect(&url);
            surplus.send(&header(PUSH));
            assert_eq!(surplus.read_to_end(), [0; 0], "it must not think that it has a pipe");
            events.recv_timeout(SOON).unwrap();
            assert_eq!(detached(&events), DetachReason::TooManyPeers);
            let stats = pull.stats();
            assert_eq!((stats.peers_over_limit, stats.rejected_pipes), (refused, refused));
        }
        // Whoever is there goes on.
        peers[0].send(&frame(b"undisturbed"));
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "undisturbed");
        // A place that is free is taken at once; the socket's own dialers need none.
        drop(peers.pop());
        assert_eq!(detached(&events), DetachReason::PeerClosed);
        let _next = Raw::greet(&url, PUSH, PULL);
        attached(&events);
        let push = Push::new();
        pull.connect_now(push.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        assert_eq!(pull.peers().len(), 4);
        conserved(|| pull.stats());
    }
}
