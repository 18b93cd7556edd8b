//! The fuzz target of rings: operations that the input spells, compared with a list of messages.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;

use super::{BY_REFERENCE, Bounds, Inbox, PushRefusal, new};
use crate::wire::frame::Framing;

/// Runs what `data` spells on a ring and on a list, and compares.
///
/// # Panics
///
/// Panics when they differ.
pub(crate) fn fuzz(data: &[u8]) {
    let [framing, messages, bytes, operations @ ..] = data else { return };
    let framing = if framing % 2 == 0 { Framing::Length } else { Framing::TypeAndLength };
    let bounds = Bounds { messages: usize::from(*messages), bytes: usize::from(*bytes) * 64 };
    let (mut producer, ring) = new(framing, bounds);
    let mut inbox = Inbox::new(ring);
    // What is left of each message on the wire, and how long its payload is.
    let mut list = VecDeque::<(Vec<u8>, usize)>::new();
    let mut closed = false;
    for (number, pair) in operations.chunks_exact(2).enumerate() {
        let (operation, size) = (pair[0], pair[1]);
        // The first so many messages are in a run, where none is evicted.
        let ahead = inbox.ahead();
        let len = match size {
            0xF8.. => BY_REFERENCE - 4 + usize::from(size - 0xF8),
            0xF0.. => usize::from(size - 0xEF) * 1000,
            _ => usize::from(size),
        };
        let payload = vec![number as u8; len];
        let wire = || [&framing.prefix(len)[..], &payload].concat();
        let whole = |entry: &(Vec<u8>, usize)| entry.0.len() == entry.1 + framing.prefix_len();
        let queued = |list: &VecDeque<(Vec<u8>, usize)>| list.iter().map(|it| it.1).sum::<usize>();
        let is_full = |list: &VecDeque<(Vec<u8>, usize)>| {
            !list.is_empty() && (list.len() >= bounds.messages || queued(list) >= bounds.bytes)
        };
        match operation % 8 {
            0 | 1 => {
                let (head, body) = payload.split_at(usize::from(operation / 8).min(len));
                let pushed = producer.push(head, &Bytes::copy_from_slice(body));
                match pushed {
                    Ok(_) => {
                        assert!(!closed && !is_full(&list));
                        list.push_back((wire(), len));
                    }
                    Err(PushRefusal::Closed) => assert!(closed),
                    Err(PushRefusal::Full) => assert!(!closed && is_full(&list)),
                }
            }
            2 => {
                let (pushed, evicted) = producer.push_evicting(&[], &payload.clone().into());
                assert_eq!(pushed.is_err(), closed);
                if pushed.is_ok() {
                    let begun = list.front().is_some_and(|front| !whole(front));
                    let kept = ahead + usize::from(begun);
                    let mut expected = 0;
                    while is_full(&list) && list.len() > kept {
                        list.remove(kept);
                        expected += 1;
                    }
                    assert_eq!(evicted, expected);
                    list.push_back((wire(), len));
                }
            }
            3 => {
                let _ = producer.append(&[wire(), wire()].concat(), 2);
                list.extend([(wire(), len), (wire(), len)]);
            }
            4 => {
                let _ = producer.append_body(payload.clone().into());
                list.push_back((wire(), len));
            }
            5 => {
                let popped = inbox.pop().map(|(frame, _)| frame.into_body().to_vec());
                if list.front().is_some_and(whole) {
                    let (wire, _) = list.pop_front().expect("it has a front");
                    let body = wire[framing.prefix_len()..].to_vec();
                    assert_eq!(popped, Some(body));
                } else {
                    assert_eq!(popped, None);
                }
            }
            // A ring that has given out a run is read by frames until that is over.
            6 if ahead > 0 => {}
            6 => {
                let mut consumer = inbox.consumer();
                let mut slices = [IoSlice::new(&[]); 8];
                let listed = consumer.slices(&mut slices);
                let bytes = slices[..listed].iter().map(|it| &it[..]).collect::<Vec<_>>().concat();
                let expected: Vec<u8> = list.iter().flat_map(|it| it.0.clone()).collect();
                assert!(expected.starts_with(&bytes) && bytes.is_empty() == expected.is_empty());
                let mut n = bytes.len() * (usize::from(size) + 1) / 256;
                let mut taken = 0;
                let report = consumer.consume(n);
                while n > 0 {
                    let front = list.front_mut().expect("it has what was listed");
                    let step = n.min(front.0.len());
                    front.0.drain(..step);
                    n -= step;
                    if front.0.is_empty() {
                        list.pop_front();
                        taken += 1;
                    }
                }
                assert_eq!(report.messages, taken);
            }
            _ if size == 0xFF => {
                inbox.close();
                closed = true;
            }
            _ => assert_eq!(producer.release_memory(), list.len() == ahead),
        }
        let there = inbox.queued();
        assert_eq!(there.messages, list.len() as u64);
        assert_eq!(there.bytes, queued(&list) as u64);
        assert_eq!(inbox.is_closed(), closed);
    }
}
