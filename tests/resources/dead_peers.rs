//! Peers that die while nobody receives what they sent: they are noticed, and leave no descriptor.

use crate::alone;
use kit::{Raw, SOON, conserved, descriptors, eventually, frame};
use sinew::{DetachReason, Options, PipeEventKind, Pull};

const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;

/// The messages in a full queue.
const QUEUE: usize = 8;
/// The messages that each peer sends.
const SENT: usize = 50;

/// A PULL with small queues, whose program does not receive.
fn consumer() -> (Pull, String) {
    let pull = Pull::with_options(Options::new().recv_queue(QUEUE)).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    (pull, url)
}

/// Connects `count` peers, each of which fills its queue with messages of `length` bytes and has some over.
fn full_peers(pull: &Pull, url: &str, count: usize, length: usize) -> Vec<Raw> {
    let before = pull.stats().recv_queue;
    let burst = frame(&vec![7; length]).repeat(SENT);
    let peers = (0..count).map(|_| {
        let mut peer = Raw::greet(url, PUSH, PULL);
        peer.send(&burst);
        peer
    });
    let peers = peers.collect();
    eventually("all queues are full", || {
        pull.stats().recv_queue == before + (count * QUEUE) as u64
    });
    peers
}

fn receive_all(pull: &Pull) -> usize {
    let mut received = 0;
    while pull.try_recv().is_ok() {
        received += 1;
    }
    received
}

/// C602: case C16 of the list of attacks. Each of these peers used to keep its descriptor, and nobody heard of
/// its end, for as long as the program did not receive.
#[test]
fn a_peer_that_dies_with_its_queue_full_is_noticed() {
    const RESET: usize = 250;
    const FINISHED: usize = 50;
    let _turn = alone();
    let (pull, url) = consumer();
    let events = pull.events();
    let before = descriptors();
    let mut peers = full_peers(&pull, &url, RESET + FINISHED, 10);
    let finished = peers.split_off(RESET);
    peers.into_iter().for_each(Raw::reset);
    drop(finished);

    eventually("all are gone", || pull.stats().current_connections == 0);
    assert_eq!(pull.stats().broken_connections, (RESET + FINISHED) as u64);
    eventually("no descriptor is left", || descriptors() <= before);
    let detached = events.try_iter().filter(|event| match &event.kind {
        PipeEventKind::Detached(reason) => {
            assert_eq!(*reason, DetachReason::PeerClosed);
            true
        }
        _ => false,
    });
    assert_eq!(detached.count(), RESET + FINISHED);

    let received = receive_all(&pull);
    assert!(received >= RESET * QUEUE + FINISHED * SENT, "{received}");
    conserved(|| pull.stats());
    // It lets in others.
    Raw::greet(&url, PUSH, PULL).send(&frame(b"well"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "well");
}

/// C603.
#[test]
fn what_does_not_fit_of_a_peer_that_finished_waits_in_its_kernel() {
    const LENGTH: usize = 1000;
    const RESET: usize = 3;
    const FINISHED: usize = 10;
    let _turn = alone();
    let (pull, url) = consumer();
    pull.set_options(pull.options().recv_queue_bytes(10_000)).unwrap();
    let before = descriptors();
    // What the first leave behind is more than the bound.
    let mut peers = full_peers(&pull, &url, RESET + FINISHED, LENGTH).into_iter();
    peers.by_ref().take(RESET).for_each(Raw::reset);
    drop(peers);
    eventually("they have to wait", || pull.stats().intake_pauses > 0);
    let mut received = 0;
    eventually("all are gone, and nothing is left of them", || {
        received += receive_all(&pull);
        let stats = pull.stats();
        (stats.current_connections, stats.recv_queue) == (0, 0)
    });
    assert!(received >= FINISHED * SENT + RESET * QUEUE, "{received}");
    eventually("no descriptor is left", || descriptors() <= before);
    conserved(|| pull.stats());
}
