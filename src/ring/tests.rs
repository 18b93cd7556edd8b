//! Tests of what a ring promises.

use std::io::IoSlice;
use std::sync::Condvar;
use std::time::{Duration, Instant};
use std::{hint, sync, thread};

use Framing::{Length, TypeAndLength};
use bytes::BytesMut;

use super::*;
use crate::rounds::rounds;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};
use crate::wire::frame::{Decoder, Piece};

pub(super) const NO_BOUNDS: Bounds = bounds(usize::MAX, usize::MAX);

pub(super) const fn bounds(messages: usize, bytes: usize) -> Bounds {
    Bounds { messages, bytes }
}

/// Make a ring, and return its producer.
pub(super) fn ring(bounds: Bounds) -> Producer {
    new(Length, bounds).0
}

pub(super) fn body(len: usize) -> Bytes {
    // Copy whole stretches: under Miri, a byte at a time takes too long.
    let mut bytes = (0..251).take(len).collect::<Vec<u8>>().repeat(len / 251 + 1);
    bytes.truncate(len);
    bytes.into()
}

pub(super) fn queued(messages: u64, bytes: u64) -> Queued {
    Queued { messages, bytes }
}

fn push(ring: &mut Producer, text: &'static str) -> Result<Wake, PushRefusal> {
    ring.push(&[], &Bytes::from_static(text.as_bytes()))
}

pub(super) fn push_encoded(
    ring: &mut Producer,
    encoded: &Encoded<'_>,
) -> Result<Wake, PushRefusal> {
    ring.admit()?;
    ring.add_encoded(encoded)
}

pub(super) fn push_encoded_evicting(
    ring: &mut Producer,
    encoded: &Encoded<'_>,
) -> (Result<Wake, PushRefusal>, u64) {
    match ring.make_room() {
        Ok(evicted) => (ring.add_encoded(encoded), evicted),
        Err(refusal) => (Err(refusal), 0),
    }
}

pub(super) fn pop(ring: &Ring) -> Option<Bytes> {
    let (frame, _) = ring.consumer().pop_alone()?;
    Some(frame.into_body().into_bytes())
}

/// Consume the first `n` bytes as a connection does.
fn read(ring: &Ring, n: usize) -> (Vec<u8>, Taken) {
    let mut consumer = ring.consumer();
    let mut bytes = listed(&mut consumer);
    bytes.truncate(n);
    let taken = consumer.consume(bytes.len());
    (bytes, taken)
}

pub(super) fn listed(consumer: &mut Consumer<'_>) -> Vec<u8> {
    let mut out = [IoSlice::new(&[]); 64];
    let slices = consumer.slices(&mut out);
    out[..slices].iter().map(|slice| &slice[..]).collect::<Vec<_>>().concat()
}

pub(super) fn wire(framing: Framing, header: &[u8], body: &[u8]) -> Vec<u8> {
    [&framing.prefix(header.len() + body.len()), header, body].concat()
}

#[test]
fn bytes_come_out_as_they_go_on_the_wire() {
    for framing in [Length, TypeAndLength] {
        let mut ring = new(framing, NO_BOUNDS).0;
        let mut expected = Vec::new();
        for len in [0, 1, 3000, BY_REFERENCE - 1, BY_REFERENCE, 100_000, 5] {
            let _ = ring.push(b"head", &body(len)).unwrap();
            expected.extend(wire(framing, b"head", &body(len)));
        }
        let run = [wire(framing, b"", b"a"), wire(framing, b"", b"bc")].concat();
        let _ = ring.append(&run, 2);
        expected.extend(run);
        let _ = ring.append_body(body(20_000));
        expected.extend(wire(framing, b"", &body(20_000)));

        assert_eq!(ring.queued().messages, 10);
        let (bytes, taken) = read(&ring, usize::MAX);
        assert!(bytes == expected);
        assert_eq!(taken.messages, 10);
        assert_eq!(ring.queued(), Queued::default());
    }
}

#[test]
fn a_message_counts_until_its_last_byte_is_consumed() {
    let mut ring = ring(NO_BOUNDS);
    let _ = ring.push(b"ab", &body(3)).unwrap();
    let _ = push(&mut ring, "x").unwrap();
    assert_eq!(ring.queued(), queued(2, 6));
    assert_eq!(read(&ring, 12).1, Taken::default());
    assert_eq!(ring.queued(), queued(2, 6));
    assert_eq!(read(&ring, 2).1, Taken { messages: 1, bytes: 5, room: false });
    assert_eq!(ring.queued(), queued(1, 1));
}

#[test]
fn either_bound_makes_it_full() {
    let mut few = ring(bounds(2, usize::MAX));
    let mut short = ring(bounds(usize::MAX, 4));
    for ring in [&mut few, &mut short] {
        let _ = push(ring, "abc").unwrap();
        assert!(ring.ask_room());
        let _ = push(ring, "abc").unwrap();
        assert_eq!(push(ring, "abc"), Err(PushRefusal::Full));
        assert!(!ring.ask_room());
    }
}

#[test]
fn an_empty_ring_takes_a_message_of_any_size() {
    for bounds in [bounds(0, 0), bounds(1, 1), bounds(9, 0), bounds(0, 9)] {
        let mut ring = ring(bounds);
        assert!(ring.ask_room());
        let _ = ring.push(&[], &body(100_000)).unwrap();
        assert_eq!(push(&mut ring, ""), Err(PushRefusal::Full));
        assert_eq!(pop(&ring).unwrap(), body(100_000));
        let _ = push(&mut ring, "").unwrap();
        assert_eq!(push(&mut ring, ""), Err(PushRefusal::Full));
    }
}

#[test]
fn a_refused_producer_is_told_once_when_the_ring_is_half_full() {
    let mut ring = ring(bounds(4, usize::MAX));
    for _ in 0..4 {
        let _ = push(&mut ring, "abc").unwrap();
    }
    assert_eq!(push(&mut ring, "abc"), Err(PushRefusal::Full));
    let room = |ring: &Ring| ring.consumer().pop_alone().unwrap().1.room;
    assert!(!room(&ring), "three quarters full");
    assert!(room(&ring), "half full");
    assert!(!room(&ring), "told already");
    assert!(!room(&ring), "nobody waits");
}

#[test]
fn half_full_means_bytes_as_well() {
    let mut ring = ring(bounds(4, 100));
    let _ = ring.push(&[], &body(90)).unwrap();
    let _ = ring.push(&[], &body(90)).unwrap();
    assert!(!ring.ask_room());
    assert!(!read(&ring, 98).1.room, "90 of 100 bytes left");
    assert!(!read(&ring, 97).1.room, "one byte of the frame left");
    assert!(read(&ring, 1).1.room);
}

#[test]
fn a_producer_that_wants_silence_is_told_when_the_ring_is_empty() {
    let mut ring = ring(NO_BOUNDS);
    assert!(ring.ask_drained());
    let _ = push(&mut ring, "a").unwrap();
    let _ = push(&mut ring, "b").unwrap();
    assert!(!ring.ask_drained());
    assert!(!read(&ring, 17).1.room);
    assert!(read(&ring, 1).1.room);
    assert!(ring.ask_drained());
}

#[test]
fn a_sleeping_consumer_is_woken_by_the_first_push_only() {
    let mut ring = ring(NO_BOUNDS);
    assert_eq!(push(&mut ring, "a"), Ok(Wake(false)), "nobody sleeps yet");
    assert!(!ring.consumer().arm(), "there is something");
    assert_eq!(push(&mut ring, "b"), Ok(Wake(false)));
    let _ = read(&ring, 17);
    assert!(!ring.consumer().arm(), "one byte is left");
    let _ = read(&ring, 1);
    assert!(ring.consumer().arm());
    assert_eq!(ring.append(&wire(Length, b"", b"c"), 1), Wake(true));
    assert_eq!(ring.append_body(body(1)), Wake(false));
}

#[test]
fn a_closed_ring_refuses_pushes_and_gives_out_what_it_has() {
    let mut ring = ring(bounds(1, 1));
    let _ = push(&mut ring, "a").unwrap();
    ring.close();
    assert!(ring.is_closed());
    assert_eq!(push(&mut ring, "b"), Err(PushRefusal::Closed));
    assert_eq!(ring.push_evicting(&[], &body(1)), (Err(PushRefusal::Closed), 0));
    let _ = ring.append_body(body(7));
    assert_eq!(ring.queued(), queued(2, 8), "what a reader has read is not lost unseen");
    assert_eq!(pop(&ring).unwrap(), "a");
    assert_eq!(pop(&ring).unwrap(), body(7));
    assert_eq!(pop(&ring), None);
}

#[test]
fn a_producer_never_waits_for_the_consumer() {
    let mut ring = ring(bounds(1, 1));
    let shared = ring.ring().clone();
    let mut consumer = shared.consumer();
    assert!(ring.try_consumer().is_none());
    let _ = push(&mut ring, "a").unwrap();
    assert_eq!(listed(&mut consumer).len(), 9);
    assert_eq!(push(&mut ring, "b"), Err(PushRefusal::Full));
    let overshot = ring.push_evicting(&[], &Bytes::from_static(b"b"));
    assert_eq!(overshot, (Ok(Wake(false)), 0));
    assert_eq!(ring.queued(), queued(2, 2));
    assert_eq!(consumer.consume(9).messages, 1);
}

/// C492.
#[test]
fn a_ring_that_drops_its_oldest_holds_twice_its_bounds_while_its_consumer_is_at_work() {
    // The last has bytes for three messages: the fourth fills it, and the seventh fills it twice.
    for (bounds, fits, most) in
        [(bounds(4, 1000), 4, 8), (bounds(1000, 4), 4, 8), (bounds(1000, 10), 4, 7)]
    {
        let len = if bounds.bytes == 10 { 3 } else { 1 };
        let mut ring = ring(bounds);
        let shared = ring.ring().clone();
        let mut push = |n: u8| ring.push_evicting(&vec![n; len], &body(0));
        let consumer = shared.consumer();
        for n in 0..100 {
            let expected = if n < most { Ok(Wake(false)) } else { Err(PushRefusal::Full) };
            assert_eq!(push(n), (expected, 0), "{n} with {bounds:?}");
        }
        assert_eq!(shared.queued(), queued(most.into(), widen(len) * u64::from(most)));
        drop(consumer);
        assert_eq!(push(100), (Ok(Wake(false)), (most - fits + 1).into()));
        let kept: Vec<u8> = std::iter::from_fn(|| pop(&shared)).map(|kept| kept[0]).collect();
        let oldest = most - fits + 1;
        assert_eq!(kept, (oldest..most).chain([100]).collect::<Vec<_>>(), "the oldest have gone");
    }
}

#[test]
fn what_is_reclaimed_is_whole_and_what_was_begun_stays() {
    let mut ring = ring(NO_BOUNDS);
    let large = body(100_000);
    let _ = push(&mut ring, "begun").unwrap();
    let _ = push(&mut ring, "whole").unwrap();
    let _ = ring.push(b"head", &large).unwrap();
    assert_eq!(read(&ring, 10).1.messages, 0);
    ring.close();
    let frames = ring.consumer().reclaim();
    let frames: Vec<Bytes> =
        frames.into_iter().map(|frame| frame.into_body().into_bytes()).collect();
    assert_eq!(frames, [&b"whole"[..], &[b"head", &large[..]].concat()]);
    assert_eq!(ring.queued(), queued(1, 5));
    assert_eq!(read(&ring, 100).0, b"gun");
    assert_eq!(ring.queued(), queued(0, 0));
    assert!(ring.consumer().reclaim().is_empty());
}

#[test]
fn eviction_drops_the_oldest_until_the_new_one_fits() {
    let mut ring = ring(bounds(usize::MAX, 10));
    for text in ["aaaa", "bbbb", "cccc"] {
        let _ = push(&mut ring, text).unwrap();
    }
    let (_, evicted) = ring.push_evicting(b"d", &body(0));
    assert_eq!(evicted, 1);
    assert_eq!(ring.queued(), queued(3, 9));
    assert_eq!(ring.push_evicting(b"e", &body(0)).1, 0, "there is room");
    for text in ["bbbb", "cccc", "d", "e"] {
        assert_eq!(pop(&ring).unwrap(), text);
    }
}

#[test]
fn eviction_never_cuts_the_message_that_is_begun() {
    let step = if cfg!(miri) { BY_REFERENCE / 2 } else { 1000 };
    for begun in 1..4 + 8 + BY_REFERENCE {
        if begun > 20 && begun % step != 0 {
            continue;
        }
        let mut ring = ring(bounds(2, usize::MAX));
        let _ = ring.push(b"head", &body(BY_REFERENCE)).unwrap();
        let _ = push(&mut ring, "old").unwrap();
        let (mut bytes, _) = read(&ring, begun);
        assert_eq!(ring.push_evicting(b"new", &body(0)).1, 1);
        assert_eq!(ring.consumer().pop_alone().map(|(_, taken)| taken), None);
        bytes.extend(read(&ring, usize::MAX).0);
        let first = wire(Length, b"head", &body(BY_REFERENCE));
        assert!(bytes == [first, wire(Length, b"new", b"")].concat());
    }
}

#[test]
fn eviction_overshoots_by_one_when_only_the_begun_message_is_left() {
    let mut ring = ring(bounds(1, usize::MAX));
    let _ = push(&mut ring, "a").unwrap();
    let _ = read(&ring, 1);
    assert_eq!(ring.push_evicting(b"b", &body(0)).1, 0);
    assert_eq!(ring.push_evicting(b"c", &body(0)).1, 1);
    assert_eq!(ring.queued(), queued(2, 2));
}

#[test]
fn eviction_leaves_the_orders_of_the_producer() {
    let mut ring = ring(bounds(1, usize::MAX));
    let _ = push(&mut ring, "a").unwrap();
    assert!(!ring.ask_drained());
    assert_eq!(ring.push_evicting(b"b", &body(0)).1, 1);
    assert!(read(&ring, 9).1.room);
}

#[test]
fn a_body_by_reference_comes_back_as_it_was_with_its_header_apart() {
    let mut ring = ring(NO_BOUNDS);
    let large = body(BY_REFERENCE);
    let _ = ring.push(b"head", &large).unwrap();
    let _ = ring.append_body(large.clone());
    let (mut frame, _) = ring.consumer().pop_alone().unwrap();
    assert_eq!(frame.take(4).unwrap(), "head");
    assert_eq!(frame.into_body().as_ptr(), large.as_ptr());
    assert_eq!(pop(&ring).unwrap().as_ptr(), large.as_ptr());
}

#[test]
fn a_popped_body_pins_a_block_only_if_it_is_a_fair_part_of_it() {
    let pins = |len: usize, beside: usize| {
        let mut ring = ring(NO_BOUNDS);
        let run = [wire(Length, b"", &body(len)), wire(Length, b"", &body(beside))].concat();
        let _ = ring.append(&run, 2);
        let mut consumer = ring.consumer();
        let mut out = [IoSlice::new(&[])];
        assert_eq!(consumer.slices(&mut out), 1);
        let here = out[0][8..].as_ptr();
        consumer.pop_alone().unwrap().0.into_body().as_ptr() == here
    };
    assert!(!pins(COPY_OUT - 1, 0));
    assert!(pins(COPY_OUT, 0));
    assert!(pins(COPY_OUT, 60_000));
    assert!(!pins(COPY_OUT, 70_000));
    assert!(pins(20_000, 299_000));
}

/// Takes the next message as a socket does.
fn receive_one(inbox: &mut Inbox) -> Option<(Bytes, Taken)> {
    let (frame, taken) = inbox.pop()?;
    Some((frame.into_body().into_bytes(), taken))
}

/// Has bodies of such lengths read in one piece, pops them all, and says how many share a copy each time.
fn runs(lengths: &[usize]) -> Vec<usize> {
    let mut ring = ring(NO_BOUNDS);
    let frames: Vec<_> = lengths.iter().map(|&len| wire(Length, b"", &body(len))).collect();
    let _ = ring.append(&frames.concat(), frames.len());
    let mut inbox = Inbox::new(ring.ring().clone());
    let popped: Vec<Bytes> = lengths.iter().map(|_| receive_one(&mut inbox).unwrap().0).collect();
    assert!(popped.iter().map(Bytes::len).eq(lengths.iter().copied()));
    let goes_on = |pair: &[Bytes]| pair[0].as_ptr_range().end.wrapping_add(8) == pair[1].as_ptr();
    let ends = popped.windows(2).map(|pair| !goes_on(pair)).chain([true]);
    let ends: Vec<usize> =
        ends.enumerate().filter(|(_, ends)| *ends).map(|(at, _)| at + 1).collect();
    let starts = std::iter::once(0).chain(ends.iter().copied());
    starts.zip(&ends).map(|(start, end)| end - start).collect()
}

#[test]
fn small_bodies_share_a_copy_of_which_each_is_a_fair_part() {
    assert_eq!(runs(&[64; 30]), [14, 14, 2], "14 frames of 72 bytes are less than 16 times 64");
    assert_eq!(runs(&[1, 1, 1]), [1, 1, 1], "two frames are more than 16 bytes");
    assert_eq!(runs(&[1000; 9]), [4, 4, 1], "a copy has at most 4 KiB");
    assert_eq!(runs(&[3001, 3001]), [1, 1]);
    assert_eq!(runs(&[200, 200, 7, 200, 200, 200]), [2, 1, 3], "a small one stands alone");
}

#[test]
fn a_run_is_at_most_an_eighth_of_what_the_ring_may_hold() {
    let ahead = |bounds| {
        let (mut ring, frame) = (ring(bounds), wire(Length, b"", &body(64)));
        let _ = ring.append(&frame.repeat(7), 7);
        let mut inbox = Inbox::new(ring.ring().clone());
        receive_one(&mut inbox).map(|_| inbox.ahead())
    };
    assert_eq!(ahead(bounds(31, usize::MAX)), Some(2), "with the one that was received");
    assert_eq!(ahead(bounds(15, usize::MAX)), Some(0));
    assert_eq!(ahead(bounds(usize::MAX, 8 * 3 * 72)), Some(2));
}

#[test]
fn what_is_in_a_run_is_queued_until_it_is_handed_out_and_is_not_evicted() {
    let mut ring = ring(bounds(24, usize::MAX));
    let mut inbox = Inbox::new(ring.ring().clone());
    let text = |n: usize| Bytes::from(format!("message {n:02}"));
    for n in 0..24 {
        let _ = ring.push(b"", &text(n)).unwrap();
    }
    assert_eq!(receive_one(&mut inbox).unwrap().0, text(0));
    assert_eq!((ring.queued(), inbox.ahead()), (queued(23, 230), 2));
    assert!(!inbox.arm(), "there is something");
    let _ = ring.push(b"", &text(24)).unwrap();
    assert_eq!(push(&mut ring, "more"), Err(PushRefusal::Full));
    assert_eq!(ring.push_evicting(b"", &text(25)), (Ok(Wake(false)), 1));
    assert_eq!(ring.queued(), queued(24, 240));
    let left = [1, 2].into_iter().chain(4..26);
    assert!(
        left.eq(std::iter::from_fn(|| receive_one(&mut inbox))
            .map(|(body, _)| { std::str::from_utf8(&body[8..]).unwrap().parse::<i32>().unwrap() }))
    );
    assert_eq!(ring.queued(), Queued::default());
    assert!(inbox.arm() && ring.release_memory());
}

#[test]
fn a_producer_is_told_when_a_run_has_been_handed_out() {
    let mut ring = ring(bounds(24, usize::MAX));
    let mut inbox = Inbox::new(ring.ring().clone());
    let mut room = |ring: &mut Producer, messages: usize| {
        for _ in 0..messages {
            let _ = ring.push(b"", &body(10)).unwrap();
        }
        !ring.ask_drained()
            && (1..messages).all(|_| !receive_one(&mut inbox).unwrap().1.room)
            && receive_one(&mut inbox).unwrap().1.room
    };
    assert!(room(&mut ring, 3), "all in one run");
    assert!(room(&mut ring, 4), "the last one alone");
    assert!(room(&mut ring, 1));
}

#[test]
fn a_run_that_nobody_receives_is_counted() {
    let mut ring = ring(bounds(24, usize::MAX));
    let mut inbox = Inbox::new(ring.ring().clone());
    for _ in 0..5 {
        let _ = ring.push(b"", &body(10)).unwrap();
    }
    assert_eq!(inbox.drop_run(), 0);
    assert!(inbox.pop().is_some());
    assert_eq!(inbox.drop_run(), 2);
    assert_eq!(ring.queued(), queued(2, 20));
}

#[test]
fn blocks_start_small_grow_and_are_given_up_when_the_ring_rests() {
    let mut ring = ring(NO_BOUNDS);
    let mut blocks = vec![ring.block().0];
    for _ in 0..if cfg!(miri) { 40 } else { 200 } {
        let _ = ring.push(&[], &body(1000)).unwrap();
        blocks.push(ring.block().0);
    }
    blocks.dedup();
    assert_eq!(blocks, [0, 2048, 16_384, 65_536]);
    assert!(!ring.release_memory(), "it is not empty");
    let _ = read(&ring, 100);
    assert!(!ring.release_memory());
    let _ = read(&ring, usize::MAX);
    let shared = ring.ring().clone();
    let half = shared.consumer();
    assert!(!ring.release_memory(), "somebody is at work");
    drop(half);
    assert!(ring.release_memory());
    assert_eq!(ring.block().0, 0);
    let _ = push(&mut ring, "a").unwrap();
    assert_eq!(ring.block().0, FIRST_BLOCK);
    assert_eq!(pop(&ring).unwrap(), "a");
    assert!(ring.release_memory());
    assert!(ring.release_memory());
}

#[test]
fn messages_that_go_singly_use_one_small_block() {
    let mut ring = ring(NO_BOUNDS);
    let (payload, mut blocks) = (body(100), Vec::new());
    let whole = [b"head", &payload[..]].concat();
    for _ in 0..if cfg!(miri) { 50 } else { 1000 } {
        let _ = ring.push(b"head", &payload).unwrap();
        blocks.push(ring.block());
        assert_eq!(pop(&ring).unwrap(), whole);
    }
    blocks.dedup();
    let sizes: Vec<_> = blocks.iter().map(|block| block.0).collect();
    assert_eq!(sizes, [FIRST_BLOCK, LASTING_BLOCK]);
}

#[test]
fn a_block_that_was_lent_is_not_written_again() {
    let mut ring = ring(NO_BOUNDS);
    let bodies: Vec<Bytes> = (5000..if cfg!(miri) { 5025 } else { 5100 }).map(body).collect();
    let mut popped = Vec::new();
    for body in &bodies {
        let _ = ring.push(&[], body).unwrap();
        popped.push(pop(&ring).unwrap());
    }
    assert!(popped == bodies);
}

#[test]
fn a_stream_uses_its_blocks_again() {
    let mut ring = ring(NO_BOUNDS);
    let mut blocks = std::collections::BTreeSet::new();
    let payload = body(3000);
    let _ = ring.push(&[], &payload).unwrap();
    for _ in 0..if cfg!(miri) { 150 } else { 1000 } {
        // One message is always left, so no block is ever empty.
        let _ = ring.push(&[], &payload).unwrap();
        assert_eq!(pop(&ring).unwrap().len(), 3000);
        if ring.block().0 == LARGEST_BLOCK {
            blocks.insert(ring.block().1);
        }
    }
    assert!(blocks.len() <= 3, "{}", blocks.len());
}

/// What an idle pipe costs, twice.
#[test]
fn a_ring_at_rest_is_small() {
    assert!(size_of::<Ring>() <= 256, "{}", size_of::<Ring>());
    assert_eq!(size_of::<Producer>(), size_of::<usize>());
}

/// Pipes on which nothing is sent share one ring.
#[test]
fn an_unused_ring_takes_nothing_and_is_empty_for_all() {
    let ((mut one, ring), (mut other, same)) = (unused(), unused());
    assert!(ptr::eq(&*ring, &*same));
    for producer in [&mut one, &mut other] {
        assert_eq!(producer.push(&[], &body(5)), Err(PushRefusal::Closed));
        assert!(producer.ask_drained() && producer.release_memory());
    }
    assert_eq!(pop(&ring), None);
    assert!(ring.consumer().arm());
}

#[test]
fn a_run_by_reference_is_not_copied_and_small_bodies_do_not_pin_its_block() {
    let fair = READ / LEAST_PART;
    let frame = |len| wire(Length, b"", &body(len));
    let run = Bytes::from([frame(fair), frame(fair - 1), frame(0), frame(100_000)].concat());
    let mut ring = ring(NO_BOUNDS);
    let _ = push(&mut ring, "first").unwrap();
    let _ = ring.append_shared(run.clone(), 4);
    let _ = push(&mut ring, "last").unwrap();
    assert_eq!(ring.queued(), queued(6, widen(9 + fair + fair - 1 + 100_000)));

    assert_eq!(pop(&ring).unwrap(), "first");
    let within = |body: &Bytes| run.as_ptr_range().contains(&body.as_ptr());
    for (len, shared) in [(fair, true), (fair - 1, false), (0, false), (100_000, true)] {
        let popped = pop(&ring).unwrap();
        assert!(popped == body(len));
        assert_eq!(within(&popped), shared, "{len}");
    }
    assert_eq!(pop(&ring).unwrap(), "last");
    assert!(ring.consumer().arm());
    assert!(run.is_unique(), "nothing is kept");
}

#[test]
fn what_is_framed_once_comes_out_of_every_ring() {
    let (mut encoder, mut rings) = (Encoder::new(), [ring(NO_BOUNDS), ring(NO_BOUNDS)]);
    let lens = [0, 1, 3000, BY_REFERENCE - 1, BY_REFERENCE, 100_000, 5, 60_000, 7];
    let mut expected = Vec::new();
    for round in 0..if cfg!(miri) { 20 } else { 100 } {
        let payload = body(lens[round % lens.len()]);
        let encoded = encoder.encode(Length, b"head", &payload);
        for ring in &mut rings {
            let _ = push_encoded(ring, &encoded).unwrap();
        }
        expected.push([b"head", &payload[..]].concat());
    }
    for ring in rings {
        for message in &expected {
            assert!(pop(&ring).unwrap() == *message);
        }
        assert_eq!(pop(&ring), None);
        assert_eq!(ring.queued(), Queued::default());
    }
}

#[test]
fn what_is_framed_once_is_one_segment_if_it_follows_and_a_copy_if_it_stands_alone() {
    let (mut encoder, mut all, mut some) = (Encoder::new(), ring(NO_BOUNDS), ring(NO_BOUNDS));
    for n in 0..10 {
        let payload = body(n);
        let encoded = encoder.encode(Length, &[], &payload);
        let _ = push_encoded(&mut all, &encoded).unwrap();
        if n % 2 == 0 {
            let _ = push_encoded(&mut some, &encoded).unwrap();
        }
    }
    assert_eq!(some.consumer().slices(&mut [IoSlice::new(&[]); 9]), 1, "copied");
    assert_eq!(all.consumer().slices(&mut [IoSlice::new(&[]); 9]), 2, "one copied, nine there");
    assert_eq!(some.block().0, FIRST_BLOCK);
    drop(encoder);
    for n in 0..10 {
        assert_eq!(pop(&all).unwrap(), body(n));
    }
}

#[test]
fn what_is_framed_for_another_framing_is_framed_again() {
    let mut encoder = Encoder::new();
    let mut ring = new(TypeAndLength, NO_BOUNDS).0;
    for len in [3, BY_REFERENCE] {
        let payload = body(len);
        let _ = push_encoded(&mut ring, &encoder.encode(Length, b"head", &payload)).unwrap();
        assert!(read(&ring, usize::MAX).0 == wire(TypeAndLength, b"head", &payload));
    }
}

#[test]
fn an_encoder_fills_its_blocks_again_when_no_ring_refers_to_them() {
    let (mut encoder, mut ring) = (Encoder::new(), ring(bounds(4, usize::MAX)));
    let mut starts = std::collections::BTreeSet::new();
    let payload = body(3000);
    for _ in 0..if cfg!(miri) { 150 } else { 1000 } {
        let encoded = encoder.encode(Length, &[], &payload);
        starts.insert(encoded.block());
        let (wake, _) = push_encoded_evicting(&mut ring, &encoded);
        let _ = wake.unwrap();
    }
    assert_eq!(ring.queued().messages, 4);
    assert!(starts.len() <= 6, "{}", starts.len());
}

#[test]
fn what_is_looked_at_is_neither_copied_nor_moved() {
    let mut ring = ring(NO_BOUNDS);
    let large = body(BY_REFERENCE);
    let _ = push(&mut ring, "small").unwrap();
    let _ = ring.push(b"", &large).unwrap();
    let _ = ring.push(b"head", &large).unwrap();
    let mut seen = Vec::new();
    let (picked, taken, _) = Inbox::new(ring.ring().clone()).pop_if(|head, body| {
        seen.push((head.len(), body.as_ptr() == large.as_ptr()));
        if head.is_empty() { Verdict::Skip(DropReason::NotSubscribed) } else { Verdict::Leave }
    });
    assert!(matches!(picked, Picked::Left));
    assert_eq!(seen, [(0, false), (0, true), (4, true)]);
    assert_eq!(taken, Taken { messages: 2, bytes: 5 + large.len() as u64, room: false });
    let (frame, _) = ring.consumer().pop_alone().unwrap();
    assert_eq!(frame.len(), 4 + large.len(), "what was left is there");
}

#[test]
fn slices_fill_as_many_places_as_there_are() {
    let mut ring = ring(NO_BOUNDS);
    let _ = ring.push(&[], &body(BY_REFERENCE)).unwrap();
    let _ = ring.push(&[], &body(BY_REFERENCE)).unwrap();
    let mut consumer = ring.consumer();
    assert_eq!(consumer.slices(&mut []), 0);
    assert_eq!(consumer.slices(&mut [IoSlice::new(&[]); 3]), 3);
    assert_eq!(consumer.slices(&mut [IoSlice::new(&[]); 9]), 4);
}

/// Do what a connection does with the bytes it reads.
pub(super) fn receive(ring: &mut Producer, decoder: &mut Decoder, stream: &[u8], read: usize) {
    for mut input in stream.chunks(read) {
        while let Some(piece) = decoder.next(&mut input) {
            let _ = match piece.unwrap() {
                Piece::Frames { bytes, count, .. } => ring.append(bytes, count),
                Piece::Body(payload) => ring.append_body(payload),
            };
        }
    }
}

/// A flag that one thread sets and another waits for. The wait fails if nobody sets it.
#[derive(Default)]
struct Bell(sync::Mutex<bool>, Condvar);

impl Bell {
    fn ring_if(&self, needed: bool) {
        if needed {
            *self.0.lock().unwrap() = true;
            self.1.notify_one();
        }
    }

    fn wait(&self) {
        let rung = self.0.lock().unwrap();
        let patience = Duration::from_secs(if cfg!(miri) { 600 } else { 20 });
        let (mut rung, late) = self.1.wait_timeout_while(rung, patience, |rung| !*rung).unwrap();
        assert!(!late.timed_out(), "a wake-up was lost");
        *rung = false;
    }
}

/// How many messages a stress passes on. An interpreter passes on a few in a second, and some in each
/// round are long.
fn many() -> u64 {
    if cfg!(miri) { 70 } else { rounds(100_000).into() }
}

/// The `n`th message of a stress test: its number, padded to a length that varies.
fn numbered(n: u64) -> Bytes {
    let len = match n % 64 {
        0 => BY_REFERENCE + 5,
        1..4 => 3000,
        short => short as usize,
    };
    let mut bytes = BytesMut::zeroed(8 + len);
    bytes[..8].copy_from_slice(&n.to_be_bytes());
    bytes.freeze()
}

fn number(payload: &[u8]) -> u64 {
    let n = u64::from_be_bytes(*payload.first_chunk().unwrap());
    assert_eq!(payload.len(), numbered(n).len());
    n
}

struct Stress {
    ring: RingRef,
    consumer: Bell,
    producer: Bell,
}

impl Stress {
    fn new(bounds: Bounds) -> (Producer, Self) {
        let (producer, ring) = new(Length, bounds);
        (producer, Self { ring, consumer: Bell::default(), producer: Bell::default() })
    }

    /// Push every message, waiting for room when there is none, and at the end until nothing is left.
    fn produce(&self, mut ring: Producer) {
        for n in 0..many() {
            let body = numbered(n);
            let wake = loop {
                match ring.push(&[], &body) {
                    Ok(wake) => break wake,
                    Err(refusal) => assert_eq!(refusal, PushRefusal::Full),
                }
                self.producer.wait();
            };
            self.consumer.ring_if(wake.0);
        }
        while !self.ring.ask_drained() {
            self.producer.wait();
        }
    }

    /// Sleep until there is something.
    fn nothing_left(&self) {
        if self.ring.consumer().arm() {
            self.consumer.wait();
        }
    }
}

#[test]
fn stress_frames_arrive_in_order_and_no_wake_up_is_lost() {
    for bounds in [bounds(1, 1), bounds(3, 100), bounds(128, 1 << 20)] {
        let (ring, stress) = Stress::new(bounds);
        thread::scope(|scope| {
            scope.spawn(|| stress.produce(ring));
            for n in 0..many() {
                let (frame, taken) = loop {
                    let popped = stress.ring.consumer().pop_alone();
                    match popped {
                        Some(popped) => break popped,
                        None => stress.nothing_left(),
                    }
                };
                assert_eq!(number(&frame.into_body()), n);
                stress.producer.ring_if(taken.room);
            }
        });
        assert_eq!(stress.ring.queued(), Queued::default());
    }
}

#[test]
fn stress_bytes_arrive_in_order_however_they_are_consumed() {
    for bounds in [bounds(2, usize::MAX), bounds(128, 1 << 20)] {
        let (ring, stress) = Stress::new(bounds);
        thread::scope(|scope| {
            scope.spawn(|| stress.produce(ring));
            let mut inbound = new(Length, NO_BOUNDS).0;
            let mut decoder = Decoder::new(Length, None);
            let (mut next, mut step, many) = (0, 1, many());
            while next < many {
                let (bytes, taken) = read(&stress.ring, step);
                step = step * 31 % 70_001;
                stress.producer.ring_if(taken.room);
                if bytes.is_empty() {
                    stress.nothing_left();
                }
                receive(&mut inbound, &mut decoder, &bytes, usize::MAX);
                while let Some(payload) = pop(&inbound) {
                    assert_eq!(number(&payload), next);
                    next += 1;
                }
            }
        });
    }
}

#[test]
fn stress_evicted_and_received_are_all_there_ever_was() {
    let (mut ring, stress) = Stress::new(bounds(16, 1 << 20));
    let (mut received, mut last, many) = (0, None, many());
    let evicted = thread::scope(|scope| {
        let stress = &stress;
        let producer = scope.spawn(move || {
            let mut evicted = 0;
            for n in 0..many {
                loop {
                    let (pushed, dropped) = ring.push_evicting(&[], &numbered(n));
                    evicted += dropped;
                    match pushed {
                        Ok(wake) => break stress.consumer.ring_if(wake.0),
                        // The consumer was interrupted at work, so nothing can be evicted.
                        Err(refusal) => assert_eq!(refusal, PushRefusal::Full),
                    }
                    thread::yield_now();
                }
            }
            evicted
        });
        while last != Some(many - 1) {
            let popped = stress.ring.consumer().pop_alone();
            let Some((frame, _)) = popped else {
                stress.nothing_left();
                continue;
            };
            let n = number(&frame.into_body());
            assert!(last < Some(n));
            last = Some(n);
            received += 1;
        }
        producer.join().unwrap()
    });
    assert_eq!(received + evicted, many);
    assert_eq!(stress.ring.queued(), Queued::default());
}

/// How many times the next test pushes and pops: `ci/soak` says ten thousand million.
fn operations() -> u64 {
    std::env::var("SINEW_RING_OPERATIONS").map_or_else(
        |_| 2 * many(),
        |number| number.parse().expect("SINEW_RING_OPERATIONS is a number"),
    )
}

/// Repeats an attempt for some microseconds before its thread may sleep.
fn insist<T>(mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    for _ in 0..if cfg!(miri) { 1 } else { 1000 } {
        if let Some(success) = attempt() {
            return Some(success);
        }
        hint::spin_loop();
    }
    None
}

/// However many messages there are, each arrives as it was, once and in order, and what the consumer has counted
/// is what the producer has pushed.
#[test]
fn stress_order_and_sums_are_exact_however_many_messages_there_are() {
    static PADDING: [u8; 24] = *b"abcdefghijklmnopqrstuvwx";
    let padding = |n: u64| &PADDING[..n as usize % 24];
    // At rings of one and of a few messages threads mostly wait for each other.
    let all = operations() / 2;
    let few = all / 5000;
    for (bounds, many) in
        [(bounds(1, 1), few), (bounds(16, 400), few), (bounds(8192, 1 << 20), all - 2 * few)]
    {
        let begun = Instant::now();
        let (mut ring, stress) = Stress::new(bounds);
        let (pushed, popped) = thread::scope(|scope| {
            let stress = &stress;
            let producer = scope.spawn(move || {
                let mut pushed = Queued::default();
                for n in 0..many {
                    let (number, body) = (n.to_be_bytes(), Bytes::from_static(padding(n)));
                    let wake = loop {
                        match insist(|| ring.push(&number, &body).ok()) {
                            Some(wake) => break wake,
                            // Refused, so it is told when there is room.
                            None => stress.producer.wait(),
                        }
                    };
                    stress.consumer.ring_if(wake.0);
                    pushed.messages += 1;
                    pushed.bytes += widen(number.len() + body.len());
                }
                pushed
            });
            let mut inbox = Inbox::new(stress.ring.clone());
            let mut popped = Queued::default();
            for n in 0..many {
                let (frame, taken) = loop {
                    match insist(|| inbox.pop()) {
                        Some(popped) => break popped,
                        None if inbox.arm() => stress.consumer.wait(),
                        None => {}
                    }
                };
                stress.producer.ring_if(taken.room);
                let body = frame.into_body().into_bytes();
                let (number, rest) = body.split_first_chunk().expect("a number");
                assert_eq!((u64::from_be_bytes(*number), rest), (n, padding(n)));
                popped.messages += taken.messages;
                popped.bytes += taken.bytes;
            }
            (producer.join().unwrap(), popped)
        });
        assert_eq!(popped, pushed);
        assert_eq!((pushed.messages, stress.ring.queued()), (many, Queued::default()));
        println!("{many} messages through a ring of {bounds:?}: {:.1?}", begun.elapsed());
    }
}

/// A message pushed while another thread closes the ring is either refused, or left for that thread.
#[test]
fn stress_a_push_that_meets_a_close_is_refused_or_counted() {
    for round in 0..rounds(2000) as usize {
        let (mut producer, ring) = new(Length, NO_BOUNDS);
        thread::scope(|scope| {
            let pushing = scope.spawn(move || {
                let mut pushed = 0;
                // Every other one is by reference: two segments to take back.
                let bodies = [body(round % 50), body(BY_REFERENCE)];
                while producer.push(b"head", &bodies[pushed as usize % 2]).is_ok() {
                    pushed += 1;
                    // Otherwise thousands come before the close on a busy machine, and each must be popped.
                    if pushed % 32 == 0 {
                        thread::yield_now();
                    }
                }
                let _ = producer.append(&wire(Length, b"", b"read before"), 1);
                pushed
            });
            while ring.queued().messages < 1 + round as u64 % 7 {
                thread::yield_now();
            }
            ring.close();
            let counted = ring.queued().messages;
            let pushed = pushing.join().unwrap();
            assert!(counted >= pushed, "{counted} were counted, {pushed} pushed");
            let mut popped = 0;
            while let Some(payload) = pop(&ring) {
                popped += 1;
                assert_eq!(payload.starts_with(b"head"), popped <= pushed);
            }
            assert_eq!(popped, pushed + 1);
            assert_eq!(ring.queued(), Queued::default());
        });
    }
}
