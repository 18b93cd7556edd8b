//! Models of the hand-shakes, and of which thread may touch which bytes, in every interleaving.
//!
//! loom watches each byte of a block, the half, and who counts a block. Models have two threads and
//! as few messages as show the case. A block holds two messages here.
//! `RUSTFLAGS="--cfg loom" cargo test --release --lib ring::loom`

use std::io::IoSlice;

use ::loom::{model, thread};

use super::*;
use crate::sync::bounded;

static MESSAGE: Bytes = Bytes::from_static(b"m");

fn ring(messages: usize) -> (Producer, RingRef) {
    new(Framing::Length, Bounds { messages, bytes: usize::MAX })
}

fn push(ring: &mut Producer) -> bool {
    let Wake(wake) = ring.push(&[], &MESSAGE).unwrap();
    wake
}

fn pop(ring: &Ring) -> Option<Taken> {
    let (frame, taken) = ring.consumer().pop_alone()?;
    assert_eq!(frame.into_body().into_bytes(), MESSAGE);
    Some(taken)
}

fn pop_all(ring: &Ring) -> u64 {
    let mut popped = 0;
    while pop(ring).is_some() {
        popped += 1;
    }
    popped
}

#[test]
fn a_consumer_that_sleeps_is_woken() {
    model(|| {
        let (mut producer, ring) = ring(1);
        let producer = thread::spawn(move || push(&mut producer));
        let popped = pop(&ring).is_some();
        let asleep = !popped && ring.consumer().arm();
        assert_eq!(producer.join().unwrap(), asleep);
        assert_eq!(pop(&ring).is_some(), !popped);
    });
}

#[test]
fn a_producer_that_waits_for_room_or_silence_is_told() {
    for check in [Producer::ask_room, |ring: &mut Producer| ring.ask_drained()] {
        model(move || {
            let (mut producer, ring) = ring(1);
            push(&mut producer);
            let producer = thread::spawn(move || (check(&mut producer), producer));
            let taken = pop(&ring).unwrap();
            let (found, mut producer) = producer.join().unwrap();
            assert!(found || taken.room);
            assert!(check(&mut producer));
        });
    }
}

/// One message and one place fill the ring.
#[test]
fn a_producer_that_waits_for_a_place_is_told() {
    model(|| {
        let (mut producer, ring) = ring(2);
        push(&mut producer);
        producer.keep_place();
        let producer = thread::spawn(move || (producer.ask_place(), producer));
        let taken = pop(&ring).unwrap();
        let (found, mut producer) = producer.join().unwrap();
        assert!(found || taken.room);
        assert!(producer.ask_place());
    });
}

/// Of sixteen messages the consumer checks for an order only at every second: the rule at the head of
/// `consumer.rs`.
#[test]
fn a_producer_is_told_of_room_though_the_consumer_looks_seldom() {
    // Without a bound there are too many interleavings of so many messages.
    bounded(2).check(|| {
        let (mut producer, ring) = ring(16);
        for _ in 0..16 {
            push(&mut producer);
        }
        let producer = thread::spawn(move || (producer.ask_room(), producer));
        let mut told = false;
        // One is left, so the known messages are never used up.
        for _ in 0..15 {
            told |= pop(&ring).unwrap().room;
        }
        let (found, mut producer) = producer.join().unwrap();
        assert!(found || told);
        assert!(producer.ask_room());
    });
}

/// Both messages are handed out of a run: without the half, and with a check at its end.
#[test]
fn a_producer_is_told_of_silence_by_a_run() {
    model(|| {
        let (mut producer, ring) = ring(16);
        let mut inbox = Inbox::new(ring);
        push(&mut producer);
        push(&mut producer);
        let producer = thread::spawn(move || producer.ask_drained());
        let told = [(); 2].map(|()| inbox.pop().unwrap().1.room);
        assert!(producer.join().unwrap() || told.contains(&true));
    });
}

/// A run is handed out while the producer evicts what is behind it: both count what they take.
#[test]
fn what_is_evicted_behind_a_run_is_counted_apart() {
    // Without a bound there are too many interleavings of so many messages.
    bounded(3).check(|| {
        let (mut producer, ring) = ring(16);
        let mut inbox = Inbox::new(ring);
        for _ in 0..16 {
            push(&mut producer);
        }
        let mut popped = u64::from(inbox.pop().is_some());
        push(&mut producer);
        let producer = thread::spawn(move || {
            let (pushed, evicted) = producer.push_evicting(&[], &MESSAGE);
            assert!(pushed.is_ok());
            (evicted, producer)
        });
        popped += u64::from(inbox.pop().is_some());
        let (evicted, producer) = producer.join().unwrap();
        assert_eq!(popped + evicted + producer.queued().messages, 18);
        popped += std::iter::from_fn(|| inbox.pop()).count() as u64;
        assert_eq!(popped + evicted, 18);
    });
}

#[test]
fn a_producer_is_told_of_room_while_the_consumer_has_more() {
    model(|| {
        let (mut producer, ring) = ring(2);
        push(&mut producer);
        push(&mut producer);
        let producer = thread::spawn(move || producer.ask_room());
        let taken = pop(&ring).unwrap();
        assert!(producer.join().unwrap() || taken.room);
    });
}

#[test]
fn a_message_is_either_received_or_evicted_or_queued() {
    model(|| {
        let (mut producer, ring) = ring(1);
        push(&mut producer);
        let producer = thread::spawn(move || producer.push_evicting(&[], &MESSAGE));
        let popped = u64::from(pop(&ring).is_some());
        let (pushed, evicted) = producer.join().unwrap();
        assert!(pushed.is_ok());
        assert_eq!(popped + evicted + ring.queued().messages, 2);
        assert_eq!(popped + evicted + pop_all(&ring), 2);
    });
}

/// Three messages are two blocks, and the second may be the first one, rewound.
#[test]
fn messages_of_two_segments_arrive_whole() {
    model(|| {
        let (mut producer, ring) = ring(9);
        push(&mut producer);
        let producer = thread::spawn(move || {
            push(&mut producer);
            push(&mut producer);
        });
        let popped = pop_all(&ring);
        producer.join().unwrap();
        assert_eq!(popped + pop_all(&ring), 3);
        assert_eq!(ring.queued(), Queued::default());
    });
}

#[test]
fn what_is_listed_is_whole() {
    model(|| {
        let (mut producer, ring) = ring(9);
        push(&mut producer);
        let producer = thread::spawn(move || {
            let _ = producer.append_shared(Bytes::from_static(b"\0\0\0\0\0\0\0\x01m"), 1);
            push(&mut producer);
        });
        let mut consumer = ring.consumer();
        let mut out = [IoSlice::new(&[]); 4];
        let listed = consumer.slices(&mut out);
        let bytes = out[..listed].iter().map(|slice| slice.len()).sum::<usize>();
        assert!(bytes > 0 && bytes.is_multiple_of(9));
        let taken = consumer.consume(bytes);
        drop(consumer);
        producer.join().unwrap();
        assert_eq!(taken.messages + pop_all(&ring), 3);
    });
}

/// A push that meets a close is refused, or the thread that has closed the ring finds the message.
#[test]
fn a_push_that_meets_a_close_is_refused_or_counted() {
    for before in 0..3 {
        model(move || {
            let (mut producer, ring) = ring(9);
            (0..before).for_each(|_| drop(push(&mut producer)));
            let producer = thread::spawn(move || {
                let pushed = u64::from(producer.push(&[], &MESSAGE).is_ok());
                (pushed, producer)
            });
            ring.close();
            let found = pop_all(&ring);
            let (pushed, mut producer) = producer.join().unwrap();
            assert_eq!(found, before + pushed);
            assert_eq!(ring.queued(), Queued::default());
            let _ = producer.append(b"\0\0\0\0\0\0\0\x01m", 1);
            assert_eq!(pop_all(&ring), 1);
        });
    }
}

#[test]
fn two_rings_share_the_block_of_an_encoder() {
    // Three threads: without a bound the number of interleavings is out of reach.
    bounded(1).check(|| {
        let mut encoder = Encoder::new();
        let mut producers = Vec::new();
        let mut consumers = Vec::new();
        for _ in 0..2 {
            let (producer, ring) = ring(9);
            producers.push(producer);
            consumers.push(thread::spawn(move || (pop_all(&ring), ring)));
        }
        for _ in 0..3 {
            let encoded = encoder.encode(Framing::Length, &[], &MESSAGE);
            for producer in &mut producers {
                let _ = producer.add_encoded(&encoded).unwrap();
            }
        }
        for consumer in consumers {
            let (popped, ring) = consumer.join().unwrap();
            assert_eq!(popped + pop_all(&ring), 3);
        }
    });
}

#[test]
fn a_ring_rests_only_when_nobody_uses_it() {
    model(|| {
        let (mut producer, ring) = ring(9);
        push(&mut producer);
        let producer = thread::spawn(move || {
            producer.release_memory();
            push(&mut producer);
            producer.release_memory();
        });
        let popped = pop_all(&ring);
        producer.join().unwrap();
        assert_eq!(popped + pop_all(&ring), 2);
    });
}
