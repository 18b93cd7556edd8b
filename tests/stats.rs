//! Counters: what was done, and why a message is no longer there.

mod kit;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually};
use sinew::{DropReason, Options, Pair, Rep, Req, Stats, Surveyor};

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
            conserved(&stats);
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
        assert_eq!(counted(rep.stats()), [1, 0, 1, 1, 3, 1, 2], "{transport:?}");
        assert_eq!(counted(req.stats()), [0, 1, 1, 1, 2, 1, 3], "{transport:?}");
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
    conserved(&req.stats());
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
    let stats = rep.stats();
    assert_eq!(stats.drops(DropReason::Malformed), 1);
    assert_eq!(stats.drops(DropReason::TtlExceeded), 1);
    assert_eq!(stats.drops(DropReason::PeerGone), 1);
    assert_eq!(stats.messages_received, 1);
    conserved(&stats);

    let surveyor = Surveyor::new();
    drop(surveyor.survey("anyone?").unwrap());
    assert_eq!(surveyor.stats().drops(DropReason::NoPeer), 1);
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
