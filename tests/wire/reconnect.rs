//! Reconnecting: conformance group 14 (C275 to C284). The arithmetic of the backoff is tested beside
//! it, in src/io/dialing.rs; C275 is in transports.rs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Raw, RawListener, SOON, Transport, attached, detached, eventually, header, join};
use sinew::{
    AttemptError, DetachReason, EndpointOptions, EndpointState, OptionError, Options, Pair, Rep,
    Req,
};

/// What the clocks may take from a wait.
const EARLY: Duration = Duration::from_millis(5);

/// What a busy machine may add to a wait; under Wine and other emulators, where long tests make few rounds, that is more.
/// It is less than the gaps that a test would see if they grew where they should not. The unit tests of `Backoff` know
/// how long each may be.
fn late() -> Duration {
    if cfg!(windows) || kit::rounds(100) < 100 { SOON } else { ms(300) }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn often() -> EndpointOptions {
    EndpointOptions::new().reconnect_interval(ms(10))
}

/// The gaps between the attempts that reach `server`, each of which is ended at once.
fn gaps(server: &RawListener, count: usize) -> Vec<Duration> {
    let mut came = Vec::new();
    for _ in 0..=count {
        drop(server.accept());
        came.push(Instant::now());
    }
    came.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

/// The first of `gaps` is the first after a success, or after the beginning.
#[track_caller]
fn within(gaps: &[Duration], intervals: &[u64]) {
    assert_eq!(gaps.len(), intervals.len());
    for (n, (gap, &interval)) in gaps.iter().zip(intervals).enumerate() {
        let (least, most) =
            if n == 0 { (0, interval) } else { (interval * 2 / 3, interval * 4 / 3) };
        let allowed = ms(least).saturating_sub(EARLY)..=ms(most) + late();
        assert!(allowed.contains(gap), "{gaps:?} where {interval} ms were due");
    }
}

/// C276.
#[test]
fn without_a_maximum_attempts_follow_at_the_base() {
    let server = RawListener::new();
    let req = Req::new();
    let options = EndpointOptions::new().reconnect_interval(ms(90));
    req.connect_with(server.url(), &options).unwrap();
    within(&gaps(&server, 5), &[90; 5]);
}

/// C277.
#[test]
fn with_a_maximum_the_gaps_grow_up_to_it() {
    let server = RawListener::new();
    let req = Req::new();
    let growing = EndpointOptions::new().reconnect_interval(ms(50)).reconnect_max(ms(400));
    req.connect_with(server.url(), &growing).unwrap();
    within(&gaps(&server, 5), &[50, 100, 200, 400, 400]);
}

/// C278.
#[test]
fn after_a_connection_that_lasted_the_gaps_begin_at_the_base() {
    let server = RawListener::new();
    let req = Req::new();
    let events = req.events();
    let growing = EndpointOptions::new().reconnect_interval(ms(40)).reconnect_max(ms(10_000));
    req.connect_with(server.url(), &growing).unwrap();
    within(&gaps(&server, 4), &[40, 80, 160, 320]);
    let mut peer = server.accept();
    peer.send(&header(0x31));
    attached(&events);
    thread::sleep(ms(1200)); // longer than it has to last, which no event tells
    drop(peer);
    let lost = Instant::now();
    assert_eq!(detached(&events), DetachReason::PeerClosed);
    drop(server.accept());
    // The sixth interval would be 1,280 ms.
    within(&[lost.elapsed()], &[40]);
}

/// C278, for a connection that does not last, but was of use.
#[test]
fn after_a_message_the_gaps_begin_at_the_base() {
    let server = RawListener::new();
    let pair = Pair::new();
    let growing = EndpointOptions::new().reconnect_interval(ms(40)).reconnect_max(ms(10_000));
    pair.connect_with(server.url(), &growing).unwrap();
    within(&gaps(&server, 3), &[40, 80, 160]);
    let mut peer = server.accept();
    peer.send(&header(0x10));
    peer.send_frame(b"useful");
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "useful");
    drop(peer);
    let lost = Instant::now();
    drop(server.accept());
    // The fifth interval would be 640 ms.
    within(&[lost.elapsed()], &[40]);
    kit::conserved(|| pair.stats());
}

/// A good header alone used to be taken for a success: 479 attempts in 4 s where 10 ms were to double up to
/// 5 s.
///
/// C427.
#[test]
fn a_peer_that_greets_and_then_is_of_no_use_is_called_with_backoff() {
    // The second announces a message that is far too long.
    for after in [&b""[..], &[0xFF; 8]] {
        let server = RawListener::new();
        let req = Req::new();
        let growing = EndpointOptions::new().reconnect_interval(ms(40)).reconnect_max(ms(10_000));
        req.connect_with(server.url(), &growing).unwrap();
        let mut came = Vec::new();
        for _ in 0..4 {
            let mut peer = server.accept();
            came.push(Instant::now());
            peer.send(&header(0x31));
            peer.send(after);
            peer.finish();
            peer.read_to_end();
        }
        let gaps: Vec<_> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
        within(&gaps, &[40, 80, 160]);
        kit::conserved(|| req.stats());
    }
}

/// C279.
#[test]
fn a_maximum_below_the_base_is_ignored() {
    let server = RawListener::new();
    let req = Req::new();
    let options = EndpointOptions::new().reconnect_interval(ms(80)).reconnect_max(ms(10));
    req.connect_with(server.url(), &options).unwrap();
    within(&gaps(&server, 3), &[80; 3]);
}

/// C280.
#[test]
fn closing_ends_the_waiting_for_the_next_attempt() {
    for close_socket in [false, true] {
        let server = RawListener::new();
        let req = Req::new();
        let options = EndpointOptions::new().reconnect_interval(ms(1000));
        let endpoint = req.connect_with(server.url(), &options).unwrap();
        // The first pause may be short.
        drop(server.accept());
        drop(server.accept());
        // For at least two thirds of the interval, which a busy machine does not miss.
        eventually("it waits", || endpoint.status().state == EndpointState::Waiting);
        assert!(endpoint.status().next_attempt.is_some());
        let start = Instant::now();
        if close_socket {
            req.close().unwrap()
        } else {
            endpoint.close().unwrap()
        }
        assert!(start.elapsed() < ms(500));
        assert_eq!(endpoint.status().state, EndpointState::Closed);
        assert_eq!(endpoint.status().next_attempt, None);
        // Nothing tells that no attempt is made.
        thread::sleep(ms(1400));
        assert!(server.try_accept().is_none());
    }
}

/// C281, for a server that says nothing and for one that says the right thing first.
#[test]
fn a_server_that_hangs_up_at_once_is_not_called_in_a_loop() {
    for greets in [false, true] {
        let server = RawListener::new();
        let pair = Pair::new();
        let endpoint = pair.connect(server.url()).unwrap();
        let end = Instant::now() + ms(500);
        let mut came = 0;
        // The second may be late on a slow machine.
        while Instant::now() < end || came < 2 && Instant::now() < end + SOON {
            if let Some(mut peer) = server.try_accept() {
                came += 1;
                if greets {
                    peer.send(&header(0x10));
                    peer.read(8);
                }
            }
            thread::sleep(ms(1));
        }
        // At most 180 ms after the first, then 120 to 240 ms apart.
        assert!((2..=6).contains(&came), "{came} attempts in half a second, greeted: {greets}");
        assert!(endpoint.status().attempts <= came + 1);
        kit::conserved(|| pair.stats());
    }
}

/// C281, for a PAIR that has its peer already.
#[test]
fn a_busy_pair_is_asked_again_with_backoff() {
    for transport in Transport::ALL {
        let (listener, first, second) = (Pair::new(), Pair::new(), Pair::new());
        let (_address, endpoint) = join!(listener, first, transport);
        let options = EndpointOptions::new().reconnect_interval(ms(20));
        let dialing = second.connect_with(endpoint.url(), &options).unwrap();
        let start = Instant::now();
        eventually("turned away three times", || listener.stats().rejected_pipes >= 3);
        assert!(start.elapsed() >= ms(20) * 2 / 3 - EARLY, "{transport:?}");
        first.send_timeout("undisturbed", SOON).unwrap();
        assert_eq!(listener.recv_timeout(SOON).unwrap(), "undisturbed");
        first.close().unwrap();
        eventually("its turn has come", || {
            listener.peers().len() == 1 && dialing.status().state == EndpointState::Connected
        });
    }
}

/// C282.
#[test]
fn intervals_are_checked_and_read_back() {
    let bad = Options::new().reconnect_interval(Duration::ZERO);
    let error = Req::with_options(bad).unwrap_err();
    assert!(matches!(error, OptionError::Invalid { option: "reconnect_interval", .. }));
    let good = Options::new().reconnect_interval(ms(7)).reconnect_max(ms(70));
    let req = Req::with_options(good).unwrap();
    assert_eq!(req.options().settings().reconnect_interval, ms(7));
    assert_eq!(req.options().settings().reconnect_max, Some(ms(70)));
    let defaults = Options::new();
    assert_eq!(defaults.settings().reconnect_interval, ms(180));
    assert_eq!(defaults.settings().reconnect_max, None);
}

/// C283, as far as it goes without a name server: a name that does not resolve is asked for again,
/// and one that does is asked for at every attempt.
#[test]
fn names_are_resolved_for_every_attempt() {
    let req = Req::new();
    let nobody = req.connect_with("tcp://no-such-name.invalid:1", &often()).unwrap();
    eventually("three attempts", || nobody.status().attempts >= 3);
    let error = nobody.status().last_error;
    assert!(matches!(error, Some(AttemptError::Resolve { .. })), "{error:?}");

    let server = RawListener::new();
    let url = server.url().replace("127.0.0.1", "localhost");
    let events = req.events();
    let somebody = req.connect_with(&url, &often()).unwrap();
    drop(server.accept());
    server.accept().send(&header(0x31));
    attached(&events);
    assert!(somebody.status().attempts >= 2);
}

/// C284.
#[test]
fn every_request_is_answered_however_often_the_pipes_break() {
    const BREAKS: usize = 500;
    let rep = Rep::new();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let req = Req::new();
    let often = EndpointOptions::new().reconnect_interval(ms(1));
    for _ in 0..2 {
        req.connect_with(endpoint.url(), &often).unwrap();
    }
    let server = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = server.recv() {
            let answer = request.message().clone();
            let _closed = request.reply(answer);
        }
    });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for client in 0..4 {
            let (req, done) = (&req, &done);
            scope.spawn(move || {
                for number in 0.. {
                    let question = format!("{client}.{number}");
                    let answer = req.request_timeout(&question, 3 * SOON).unwrap();
                    assert_eq!(answer, question);
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                }
            });
        }
        let mut broken = 0;
        let end = Instant::now() + 3 * SOON;
        while broken < BREAKS && Instant::now() < end {
            // By turns from both sides.
            let result = match broken % 2 {
                0 => rep.peers().first().map(|peer| rep.disconnect(peer.pipe)),
                _ => req.peers().first().map(|peer| req.disconnect(peer.pipe)),
            };
            match result {
                Some(Ok(())) => broken += 1,
                _ => thread::yield_now(),
            }
        }
        done.store(true, Ordering::Relaxed);
        assert_eq!(broken, BREAKS);
    });
    assert!(kit::conserved(|| req.stats()).resends > 0);
    rep.close().unwrap();
    kit::conserved(|| rep.stats());
}

/// The end of a connection is noticed whatever kind of end it is, without a send.
#[test]
fn a_reset_is_a_loss_like_any_other() {
    let server = RawListener::new();
    let pair = Pair::new();
    let events = pair.events();
    pair.connect_with(server.url(), &often()).unwrap();
    let mut peer: Raw = server.accept();
    peer.send(&header(0x10));
    attached(&events);
    peer.reset();
    assert_eq!(detached(&events), DetachReason::PeerClosed);
    server.accept().send(&header(0x10));
    attached(&events);
}
