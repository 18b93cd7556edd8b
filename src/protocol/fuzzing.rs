//! Fuzz targets of the protocols.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::backtrace;
use super::sim::{Random, properties};
use super::topics::Topics;
use crate::message::Frame;
use crate::stats::DropReason;

/// What a target does with its input.
pub(crate) type Target = fn(&[u8]);

/// The properties of the protocols, with chances that the input spells.
pub(crate) const SIMULATIONS: &[(&str, Target)] = &[
    ("pair", |data| properties::a_pair_is_a_pair(Random::scripted(data))),
    ("pipeline", |data| properties::a_pipeline_neither_loses_nor_doubles(Random::scripted(data))),
    ("publish", |data| properties::a_subscriber_gets_what_it_wants(Random::scripted(data))),
    ("polyamorous", |data| properties::a_hub_that_waits_answers_every_peer(Random::scripted(data))),
    ("bus", |data| properties::a_bus_is_heard_by_the_others(Random::scripted(data))),
    ("devices", |data| {
        properties::a_request_in_a_ring_of_devices_comes_to_rest(Random::scripted(data))
    }),
    ("request", |data| properties::every_request_gets_its_reply(Random::scripted(data))),
    ("request_once", |data| {
        properties::a_request_not_to_be_repeated_ends_either_way(Random::scripted(data))
    }),
    ("survey", |data| properties::a_survey_ends_at_its_deadline(Random::scripted(data))),
    ("junk", |data| properties::junk_is_accounted_for(Random::scripted(data))),
];

/// A backtrace is where it is in the plain bytes, however the frame is cut.
pub(crate) fn backtrace(data: &[u8]) {
    let [ttl, cut, message @ ..] = data else { return };
    let (ttl, cut) = (*ttl, usize::from(*cut).min(message.len()));
    let frame = || {
        let (head, body) = message.split_at(cut);
        Frame::new(Bytes::copy_from_slice(head), Bytes::copy_from_slice(body))
    };
    let ends = message.chunks_exact(4).position(|word| word[0] >= 0x80);
    let words = message.len() / 4;
    let expected = |limit: usize| match ends {
        Some(end) if end < limit => Ok((end + 1) * 4),
        None if words < limit => Err(DropReason::Malformed),
        _ => Err(DropReason::TtlExceeded),
    };
    let split = backtrace::split(frame(), ttl);
    match (split, expected(usize::from(ttl))) {
        (Ok((header, body)), Ok(length)) => {
            assert_eq!((&header[..], &body[..]), message.split_at(length));
        }
        (split, expected) => assert_eq!(split.map(|_| 0), expected),
    }
    match (backtrace::split_all(frame()), expected(usize::MAX)) {
        (Ok((header, body)), Ok(length)) => {
            assert_eq!((&header[..], &body[..]), message.split_at(length));
        }
        (split, expected) => assert_eq!(split.map(|_| 0), expected),
    }
    match backtrace::answer(frame()) {
        Ok((id, body)) => assert_eq!([&id.header()[..], &body[..]].concat(), message),
        Err(DropReason::Stale) => assert!(words > 0 && ends != Some(0)),
        Err(reason) => assert!(words == 0 && reason == DropReason::Malformed),
    }
}

/// The topics agree with a list.
pub(crate) fn topics(mut data: &[u8]) {
    let (mut set, mut list) = (Topics::new(), BTreeSet::<Vec<u8>>::new());
    while let [operation, rest @ ..] = data {
        let length = usize::from(operation / 8).min(rest.len());
        let (text, rest) = rest.split_at(length);
        data = rest;
        match operation % 8 {
            0..3 => assert_eq!(set.insert(text), list.insert(text.to_vec())),
            3 => assert_eq!(set.remove(text), list.remove(text)),
            // One that is there, by a prefix of it.
            4 => {
                let one = list.range(text.to_vec()..).next().cloned();
                if let Some(one) = one {
                    assert!(set.remove(&one) && list.remove(&one));
                }
            }
            _ => {
                let expected = list.iter().any(|topic| text.starts_with(topic));
                assert_eq!(set.matches(text), expected);
            }
        }
        assert_eq!(set.is_empty(), list.is_empty());
    }
}
