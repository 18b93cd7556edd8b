//! Counters: what was done, and why a message is no longer there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually, join};
use sinew::metrics::Observe;
use sinew::{
    Bus, Conflate, DropReason, Message, Options, Overflow, Pair, Pair1, PolyPair1, Pub, Pull, Push,
    Rep, Req, Stats, Sub, Surveyor, raw,
};

/// C306.
#[test]
fn one_exchange_is_counted_on_both_sides() {
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, transport);
        let asked = req.context();
        asked.send("ABC").unwrap();
        rep.recv_timeout(SOON).unwrap().reply("OK").unwrap();
        assert_eq!(asked.recv_timeout(SOON).unwrap(), "OK");
        let counted = |stats: Stats| {
            [
                stats.accepted_connections,
                stats.established_connections,
                stats.current_connections,
                stats.messages_received,
                stats.bytes_received,
                stats.messages_sent,
                stats.bytes_sent,
            ]
        };
        assert_eq!(counted(conserved(|| rep.stats())), [1, 0, 1, 1, 3, 1, 2], "{transport:?}");
        assert_eq!(counted(conserved(|| req.stats())), [0, 1, 1, 1, 2, 1, 3], "{transport:?}");
    }
}

/// C307.
#[test]
fn a_lost_peer_is_counted_as_lost_and_no_longer_as_there() {
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, transport);
        req.close().unwrap();
        eventually("the peer is gone", || rep.stats().current_connections == 0);
        let (ours, theirs) = (rep.stats(), req.stats());
        assert_eq!((ours.accepted_connections, ours.broken_connections), (1, 1));
        assert_eq!((theirs.established_connections, theirs.dropped_connections), (1, 1));
    }
}

/// C308.
#[test]
fn a_restarted_listener_makes_another_connection_and_never_two_at_once() {
    let options = Options::new().reconnect_interval(Duration::from_millis(5));
    let req = Req::with_options(options).unwrap();
    let mut url = "tcp://127.0.0.1:0".to_owned();
    for n in 1..=3 {
        let rep = Rep::new();
        url = rep.bind(&url).unwrap().url();
        if n == 1 {
            req.connect(&url).unwrap();
        }
        rep.wait_for_peers(1, SOON).unwrap();
        eventually("it is counted", || req.stats().established_connections == n);
        assert_eq!(req.stats().current_connections, 1);
        rep.close().unwrap();
        eventually("it is gone", || req.stats().current_connections == 0);
    }
}

/// C309.
#[test]
fn attempts_that_fail_are_counted_and_explained() {
    let options = Options::new().reconnect_interval(Duration::from_millis(5));
    let req = Req::with_options(options).unwrap();
    let endpoint = req.connect("tcp://127.0.0.1:1").unwrap();
    eventually("some attempts", || req.stats().connect_errors >= 3);
    assert!(req.stats().inprogress_connections <= 1);
    assert_eq!(req.stats().current_connections, 0);
    let status = endpoint.status();
    assert_eq!(status.last_error, Some(sinew::AttemptError::Refused));
    assert!(status.attempts >= 3);
}

/// C310.
#[test]
fn a_failed_bind_is_counted_apart_from_failed_accepts() {
    let pair = Pair::new();
    pair.bind("inproc://taken").unwrap();
    pair.bind("inproc://taken").unwrap_err();
    assert_eq!((pair.stats().bind_errors, pair.stats().accept_errors), (1, 0));
}

/// C312.
#[test]
fn counters_read_under_traffic_never_go_back() {
    let (rep, req) = (Rep::new(), Req::new());
    let _address = join!(rep, req, Transport::Inproc);
    let over = Arc::new(AtomicBool::new(false));
    let server = thread::spawn({
        let rep = rep.clone();
        move || {
            while let Ok(request) = rep.recv() {
                request.reply("yes").expect("the socket is open");
            }
        }
    });
    let reader = thread::spawn({
        let (req, over) = (req.clone(), Arc::clone(&over));
        move || {
            let mut last = req.stats();
            while !over.load(Ordering::Relaxed) {
                let now = req.stats();
                assert!(now.messages_sent >= last.messages_sent);
                assert!(now.bytes_received >= last.bytes_received);
                assert!(now.copies_written >= last.copies_written);
                last = now;
            }
        }
    });
    for _ in 0..5000 {
        req.request_timeout("?", SOON).unwrap();
    }
    over.store(true, Ordering::Relaxed);
    reader.join().unwrap();
    conserved(|| req.stats());
    rep.close().unwrap();
    server.join().unwrap();
}

/// C314.
#[test]
fn every_drop_has_its_counter() {
    let rep = Rep::with_options(Options::new().ttl(1)).unwrap();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x30, 0x31);
    peer.send_frame(b"\x80\0\0"); // too short
    peer.send_frame(b"\0\0\0\x07\x80\0\0\x01x"); // two hops
    peer.send_frame(b"\x80\0\0\x01good");
    let request = rep.recv_timeout(SOON).unwrap();
    assert_eq!(*request, "good");
    peer.finish();
    eventually("the asker is gone", || rep.stats().current_connections == 0);
    request.reply("to nobody").unwrap();
    let stats = conserved(|| rep.stats());
    assert_eq!(stats.drops(DropReason::Malformed), 1);
    assert_eq!(stats.drops(DropReason::TtlExceeded), 1);
    assert_eq!(stats.drops(DropReason::PeerGone), 1);
    assert_eq!(stats.messages_received, 1);

    let surveyor = Surveyor::new();
    drop(surveyor.survey("anyone?").unwrap());
    assert_eq!(surveyor.stats().drops(DropReason::NoPeer), 1);
}

/// C313.
#[test]
fn a_broadcast_is_sent_once_and_copied_for_each_peer() {
    for transport in Transport::ALL {
        let publisher = Pub::new();
        let address = transport.address();
        let endpoint = publisher.bind(&address.url).unwrap();
        let subscribers = [(); 3].map(|()| {
            let subscriber = Sub::new();
            subscriber.subscribe("").unwrap();
            subscriber.connect(endpoint.url()).unwrap();
            subscriber
        });
        publisher.wait_for_peers(3, SOON).unwrap();
        (0..10).for_each(|_| publisher.send("four").unwrap());
        let stats = publisher.stats();
        assert_eq!((stats.messages_sent, stats.bytes_sent, stats.copies_pushed), (10, 40, 30));
        for subscriber in &subscribers {
            (0..10).for_each(|_| drop(subscriber.recv_timeout(SOON).unwrap()));
            let stats = conserved(|| subscriber.stats());
            assert_eq!((stats.messages_received, stats.bytes_received), (10, 40));
        }
        eventually("all is written", || publisher.stats().copies_written == 30);
        conserved(|| publisher.stats());
    }
}

/// A peer of a socket bound over tcp that says `frames`, and waits until they have arrived.
macro_rules! hears {
    ($socket:expr, $ids:expr, $($frame:expr),*) => {{
        let endpoint = $socket.bind("tcp://127.0.0.1:0").unwrap();
        let (theirs, ours): (u8, u8) = $ids;
        let mut peer = Raw::greet(&endpoint.url(), theirs, ours);
        $socket.wait_for_peers(1, SOON).unwrap();
        let frames: &[&[u8]] = &[$($frame),*];
        frames.iter().for_each(|frame| peer.send_frame(frame));
        kit::arrived(|| $socket.stats(), frames.len() as u64);
        peer
    }};
}

/// A SUB to which these messages have come, all of which begin with a t.
fn told(options: Options, messages: &[&str]) -> Sub {
    let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
    let _joined = join!(publisher, subscriber, Transport::Inproc);
    messages.iter().for_each(|message| publisher.send(*message).unwrap());
    kit::arrived(|| subscriber.stats(), messages.len() as u64);
    subscriber
}

/// What a PUB or BUS counts that has sent three messages where there is room for two.
macro_rules! too_many {
    ($socket:ty, $peer:ty, $options:expr) => {{
        let socket = <$socket>::with_options($options.send_queue(1)).unwrap();
        let stalled = <$peer>::with_options(Options::new().recv_queue(1)).unwrap();
        let _joined = join!(socket, stalled, Transport::Inproc);
        ["1", "2", "3"].into_iter().for_each(|message| socket.send(message).unwrap());
        conserved(|| socket.stats())
    }};
}

/// C314: one drop, counted once, and under no other name.
#[test]
fn a_drop_is_counted_under_its_reason_and_no_other() {
    use DropReason as Reason;
    let with_header = |header: &'static [u8]| Message::from("x").with_header(header);
    let scenarios: [(Reason, &dyn Fn() -> Stats); 19] = [
        (Reason::NoPeer, &|| {
            let publisher = Pub::new();
            publisher.send("x").unwrap();
            conserved(|| publisher.stats())
        }),
        (Reason::NoPeer, &|| {
            let bus = Bus::new();
            bus.send("x").unwrap();
            conserved(|| bus.stats())
        }),
        (Reason::NoPeer, &|| {
            let surveyor = raw::Surveyor::new();
            surveyor.send(with_header(b"\x80\0\0\x01")).unwrap();
            conserved(|| surveyor.stats())
        }),
        (Reason::PeerGone, &|| {
            let rep = raw::Rep::new();
            rep.send(with_header(b"\0\0\0\x01\x80\0\0\x01")).unwrap();
            conserved(|| rep.stats())
        }),
        (Reason::PeerGone, &|| {
            let (hub, spoke) = (PolyPair1::new(), Pair1::new());
            let _joined = join!(hub, spoke, Transport::Inproc);
            let pipe = hub.peers()[0].pipe;
            spoke.close().unwrap();
            eventually("it is gone", || hub.peers().is_empty());
            hub.send_to(pipe, "x").unwrap();
            conserved(|| hub.stats())
        }),
        (Reason::BadHeader, &|| {
            let respondent = raw::Respondent::new();
            respondent.send(with_header(b"\0\0\x01")).unwrap();
            conserved(|| respondent.stats())
        }),
        (Reason::SendQueueFull, &|| too_many!(Pub, raw::Sub, Options::new())),
        (Reason::SendQueueFull, &|| {
            too_many!(Pub, raw::Sub, Options::new().overflow(Overflow::DropNewest))
        }),
        (Reason::SendQueueFull, &|| too_many!(Bus, Bus, Options::new())),
        (Reason::SendQueueFull, &|| {
            too_many!(Push, Pull, Options::new().overflow(Overflow::DropNewest))
        }),
        (Reason::Malformed, &|| {
            let pair = Pair1::new();
            let _peer = hears!(pair, (0x11, 0x11), b"\0\0\x01", b"\0\0\0\x01x");
            assert_eq!(pair.recv_timeout(SOON).unwrap(), "x");
            conserved(|| pair.stats())
        }),
        (Reason::TtlExceeded, &|| {
            let pair = PolyPair1::with_options(Options::new().ttl(4)).unwrap();
            let _peer = hears!(pair, (0x11, 0x11), b"\0\0\0\x05x", b"\0\0\0\x04y");
            assert_eq!(pair.recv_timeout(SOON).unwrap(), "y");
            conserved(|| pair.stats())
        }),
        (Reason::Unexpected, &|| {
            let push = Push::new();
            let mut peer = hears!(push, (0x51, 0x50), b"I only receive");
            push.send_timeout("x", SOON).unwrap();
            assert_eq!(peer.read_frame(), b"x");
            eventually("it is written", || push.stats().copies_written == 1);
            conserved(|| push.stats())
        }),
        (Reason::NotSubscribed, &|| {
            let subscriber = told(Options::new(), &["t"]);
            subscriber.try_recv().unwrap_err();
            conserved(|| subscriber.stats())
        }),
        (Reason::RecvQueueFull, &|| {
            let options = Options::new().sub_queue(1);
            let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
            subscriber.subscribe("t").unwrap();
            let _joined = join!(publisher, subscriber, Transport::Inproc);
            ["t1", "t2"].into_iter().for_each(|message| publisher.send(message).unwrap());
            kit::arrived(|| subscriber.stats(), 2);
            assert_eq!(subscriber.recv_timeout(SOON).unwrap(), "t2");
            conserved(|| subscriber.stats())
        }),
        (Reason::ConflatedUnread, &|| {
            let options = Options::new().conflate(Conflate::Prefix(1));
            let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
            subscriber.subscribe("t").unwrap();
            let _joined = join!(publisher, subscriber, Transport::Inproc);
            ["t1", "t2"].into_iter().for_each(|message| publisher.send(message).unwrap());
            kit::arrived(|| subscriber.stats(), 2);
            assert_eq!(subscriber.recv_timeout(SOON).unwrap(), "t2");
            conserved(|| subscriber.stats())
        }),
        (Reason::Unread, &|| {
            let (publisher, subscriber) = (Pub::new(), Sub::new());
            let (read, unread) = (subscriber.context(), subscriber.context());
            read.subscribe("t").unwrap();
            unread.subscribe("t").unwrap();
            let _joined = join!(publisher, subscriber, Transport::Inproc);
            publisher.send("t").unwrap();
            read.recv_timeout(SOON).unwrap();
            unread.close().unwrap();
            conserved(|| subscriber.stats())
        }),
        (Reason::ClosedUnread, &|| {
            let (push, pull) = (Push::new(), Pull::new());
            let _joined = join!(push, pull, Transport::Inproc);
            push.send("x").unwrap();
            kit::arrived(|| pull.stats(), 1);
            pull.close().unwrap();
            conserved(|| pull.stats())
        }),
        (Reason::AskerGone, &|| {
            let rep = raw::Rep::new();
            drop(hears!(rep, (0x30, 0x31), b"\x80\0\0\x01x"));
            eventually("it is gone", || rep.peers().is_empty());
            rep.try_recv().unwrap_err();
            conserved(|| rep.stats())
        }),
    ];
    for (expected, scenario) in scenarios {
        let stats = scenario();
        for (reason, count) in stats.dropped() {
            let name = reason.name();
            assert_eq!(count, u64::from(reason == expected), "{name} for {}", expected.name());
        }
    }
}

#[test]
fn stats_print_as_a_table_of_what_is_not_zero() {
    let surveyor = Surveyor::new();
    drop(surveyor.survey("anyone?").unwrap());
    let table = surveyor.stats().to_string();
    let lines: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["messages_sent", "1"]), "{table}");
    assert!(lines.contains(&vec!["dropped.no_peer", "1"]), "{table}");
    assert!(!table.contains("accept_errors"), "{table}");
}

#[test]
fn a_snapshot_reads_as_a_name_with_endpoints_peers_and_figures() {
    let push = Push::with_options(Options::new().name("out")).unwrap();
    let pull = Pull::with_options(Options::new().name("in")).unwrap();
    let (address, endpoint) = join!(pull, push, Transport::Inproc);
    push.send("work").unwrap();
    let url = &address.url;
    let shown = pull.snapshot();
    let text = shown.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[..3],
        [
            "in: pull, open",
            &format!("  bound to {url}: listening, 1 peers"),
            &format!("  push at {url}: 0 sent, 0 queued; 0 received, 1 queued"),
        ]
    );
    assert_eq!(
        lines.len(),
        3 + shown.stats.to_string().lines().count(),
        "and a line for each figure"
    );
    assert!(lines[3].starts_with("  accepted_connections  ") && text.ends_with('\n'));
    assert_eq!(shown.endpoints[0].to_string(), format!("{endpoint}: {}", endpoint.status()));

    pull.close().unwrap();
    assert!(pull.snapshot().to_string().starts_with("in: pull, closed\n  accepted_connections"));
}
