//! PUSH with `requeue`: what a lost connection has not transmitted goes to another peer.

use std::time::{Duration, Instant};

use kit::{QUIET, Raw, SOON, Transport, conserved, detached, eventually};
use sinew::{DropReason, Options, Pull, Push};

/// The length of a message: enough of them fill what the kernel takes, and still fit into a queue.
const LEN: usize = 64 << 10;

/// A message that says which one it is.
fn numbered(n: u32) -> Vec<u8> {
    let mut message = n.to_be_bytes().to_vec();
    message.resize(LEN, b'.');
    message
}

fn number(message: &[u8]) -> u32 {
    assert_eq!(message.len(), LEN);
    u32::from_be_bytes(*message.first_chunk().expect("it is longer"))
}

/// Sends to a peer that does not read until nothing more fits; says how many messages did.
fn fill(push: &Push) -> u32 {
    let mut sent = 0;
    while push.send_timeout(numbered(sent), Duration::from_millis(200)).is_ok() {
        sent += 1;
    }
    sent
}

fn push(requeue: bool) -> Push {
    Push::with_options(Options::new().requeue(requeue)).expect("the options are good")
}

/// Semantics specification, section 6.
#[test]
fn what_a_lost_peer_has_not_got_goes_to_another_in_order() {
    for transport in Transport::STREAMS {
        let (push, address) = (push(true), transport.address());
        let endpoint = push.bind(&address.url).unwrap();
        let stalled = Raw::greet(&endpoint.url(), 0x51, 0x50);
        push.wait_for_peers(1, SOON).unwrap();
        let sent = fill(&push);
        let events = push.events();
        assert!(push.stats().send_queue > 1, "something is there to come back");
        drop(stalled);
        detached(&events);
        eventually("all has come back but what was begun", || {
            let stats = push.stats();
            let unsent = stats.copies_pushed - stats.copies_written;
            stats.copies_reclaimed + stats.drops(DropReason::PipeLost) == unsent
        });
        let stats = push.stats();
        assert!(stats.drops(DropReason::PipeLost) <= 1, "{stats}");
        assert_eq!(stats.held_outbound, stats.copies_reclaimed);
        assert!(push.try_send("new").is_err(), "the old ones go first");

        let pull = Pull::new();
        pull.connect(endpoint.url()).unwrap();
        let first = sent - u32::try_from(stats.copies_reclaimed).unwrap();
        for n in first..sent {
            assert_eq!(number(&pull.recv_timeout(SOON).unwrap()), n);
        }
        push.send_timeout("new", SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "new");
        assert_eq!(push.drain(SOON), 0);
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// The program may be done with sending by then.
#[test]
fn what_has_come_back_goes_out_though_nobody_calls() {
    for transport in Transport::STREAMS {
        let (push, address) = (push(true), transport.address());
        let endpoint = push.bind(&address.url).unwrap();
        let stalled = Raw::greet(&endpoint.url(), 0x51, 0x50);
        let mut slow = Raw::greet(&endpoint.url(), 0x51, 0x50);
        push.wait_for_peers(2, SOON).unwrap();
        fill(&push);
        drop(stalled);
        eventually("something has come back and waits", || push.stats().held_outbound > 0);
        let reading = std::thread::spawn(move || slow.read_to_end());
        eventually("all has gone out", || push.stats().held_outbound == 0);
        assert_eq!(push.drain(SOON), 0);
        push.close().unwrap();
        reading.join().unwrap();
    }
}

/// What a pipe that we have closed still writes may yet come back, so a drain waits for it.
#[test]
fn a_drain_ends_when_a_pipe_that_lingers_has_nothing_left() {
    // So large that no send finds it full, and asks to be told of room.
    let options = Options::new().requeue(true).linger(6 * SOON).send_queue_bytes(1 << 30);
    let push = Push::with_options(options).expect("the options are good");
    let endpoint = push.bind("tcp://127.0.0.1:0").unwrap();
    let mut slow = Raw::greet(&endpoint.url(), 0x51, 0x50);
    push.wait_for_peers(1, SOON).unwrap();
    let sent = 120;
    (0..sent).for_each(|n| push.try_send(numbered(n)).unwrap());
    push.disconnect(push.peers()[0].pipe).unwrap();
    let reading = std::thread::spawn(move || {
        std::thread::sleep(QUIET); // by then the drain waits
        (0..sent).for_each(|n| assert_eq!(number(&slow.read_frame()), n));
    });
    assert!(push.stats().send_queue > 0, "the peer has yet to read");
    let start = Instant::now();
    assert_eq!(push.drain(3 * SOON), 0);
    assert!(start.elapsed() < SOON, "it was not told");
    reading.join().unwrap();
    conserved(|| push.stats());
}

#[test]
fn without_it_they_are_lost_and_counted() {
    let push = push(false);
    let endpoint = push.bind("tcp://127.0.0.1:0").unwrap();
    let stalled = Raw::greet(&endpoint.url(), 0x51, 0x50);
    push.wait_for_peers(1, SOON).unwrap();
    fill(&push);
    let queued = push.stats().send_queue;
    stalled.reset();
    eventually("they are counted", || push.stats().drops(DropReason::PipeLost) == queued);
    assert_eq!(push.stats().copies_reclaimed, 0);
    conserved(|| push.stats());
}

#[test]
fn a_closed_socket_takes_nothing_back() {
    let push = push(true);
    let endpoint = push.bind("tcp://127.0.0.1:0").unwrap();
    let stalled = Raw::greet(&endpoint.url(), 0x51, 0x50);
    push.wait_for_peers(1, SOON).unwrap();
    fill(&push);
    push.close().unwrap();
    drop(stalled);
    eventually("they are counted", || {
        let stats = push.stats();
        let dropped = stats.drops(DropReason::ClosedUnsent) + stats.drops(DropReason::PipeLost);
        stats.copies_written + dropped == stats.copies_pushed
    });
    assert_eq!(push.stats().copies_reclaimed, 0);
    conserved(|| push.stats());
}
