//! Framing and sizes: conformance group 2 (C016 to C034), wire vectors E12 to E28 and F1 to F22.
//! What all transports have in common is in transports.rs.

use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, Transport, attached, detached, eventually, header};
use sinew::{DetachReason, Events, Options, Pair, RecvError, Rep, Req, Surveyor};

const MIB: usize = 1 << 20;

/// Bytes in which no two places near each other look alike; `seed` tells messages apart.
fn pattern(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| ((i ^ (i >> 8)).wrapping_mul(31) ^ seed) as u8).collect()
}

/// A PAIR that listens with a receive limit, and a raw peer that it has accepted.
struct Ear {
    pair: Pair,
    events: Events,
    url: String,
    raw: Raw,
    _address: kit::Address,
}

impl Ear {
    fn new(transport: Transport, limit: Option<usize>) -> Self {
        Self::with(transport, Options::new().max_recv_size(limit))
    }

    fn with(transport: Transport, options: Options) -> Self {
        let pair = Pair::with_options(options).unwrap();
        let events = pair.events();
        let address = transport.address();
        let url = pair.bind(&address.url).unwrap().url();
        let raw = Raw::greet(&url, 0x10, 0x10);
        attached(&events);
        Self { pair, events, url, raw, _address: address }
    }

    #[track_caller]
    fn hears(&self, expected: &[u8]) {
        assert_eq!(self.pair.recv_timeout(SOON).expect("a message in time"), expected);
    }

    /// Nothing more was received, and the next peer is served.
    #[track_caller]
    fn lives_on(self) {
        assert_eq!(self.pair.try_recv().unwrap_err(), RecvError::WouldBlock);
        let mut next = Raw::greet(&self.url, 0x10, 0x10);
        attached(&self.events);
        next.send_frame(b"next");
        assert_eq!(self.pair.recv_timeout(SOON).unwrap(), "next");
        kit::conserved(|| self.pair.stats());
    }
}

/// The prefix of a frame that announces `len` bytes.
fn announce(transport: Transport, len: u64) -> Vec<u8> {
    let mut prefix = match transport {
        Transport::Ipc => vec![1],
        _ => vec![],
    };
    prefix.extend(len.to_be_bytes());
    prefix
}

/// E12, E13, E14, E28.
#[test]
fn a_message_goes_out_as_its_length_and_its_bytes() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::new(transport, None);
        let long = pattern(300, 0);
        for body in [&b"abc"[..], b"", &long] {
            ear.pair.send(body).unwrap();
            let prefix = announce(transport, body.len() as u64);
            assert_eq!(ear.raw.read(prefix.len() + body.len()), [&prefix, body].concat());
        }
        // Whoever has written the last counts it afterwards.
        kit::conserved(|| ear.pair.stats());
    }
}

/// E17, E18, E19 (sent again after the interval), E19 (on another pipe).
#[test]
fn a_request_is_an_id_and_a_body_and_is_repeated_byte_for_byte() {
    let again = Duration::from_millis(50);
    let req = Req::with_options(Options::new().resend_interval(again)).unwrap();
    let url = req.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut first = Raw::greet(&url, 0x31, 0x30);
    req.wait_for_peers(1, SOON).unwrap();
    thread::scope(|scope| {
        let asking = scope.spawn(|| req.request_timeout("abc", SOON));
        let frame = first.read(8 + 4 + 3);
        assert_eq!(frame[..8], 7_u64.to_be_bytes());
        assert!(frame[8] >= 0x80, "the id has its top bit set");
        assert_eq!(&frame[12..], b"abc");
        assert_eq!(first.read(15), frame, "after the interval");
        let mut second = Raw::greet(&url, 0x31, 0x30);
        drop(first);
        assert_eq!(second.read(15), frame, "on another pipe");
        second.send_frame(&frame[8..]);
        assert_eq!(asking.join().unwrap().unwrap(), "abc");
    });
    kit::conserved(|| req.stats());
}

/// E18.
#[test]
fn an_empty_request_is_its_id() {
    let req = Req::new();
    let url = req.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, 0x31, 0x30);
    thread::scope(|scope| {
        let asking = scope.spawn(|| req.request_timeout("", SOON));
        let id = raw.read_frame();
        assert_eq!(id.len(), 4);
        raw.send_frame(&id);
        assert_eq!(asking.join().unwrap().unwrap(), "");
    });
}

/// E20, E21.
#[test]
fn a_reply_carries_the_whole_backtrace_of_its_request() {
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, 0x30, 0x31);
    let cases: [(&[u8], &[u8]); 2] = [
        (b"\x92\x34\x56\x78abc", b"\0\0\0\0\0\0\0\x06\x92\x34\x56\x78ok"),
        (b"\0\0\0\x2A\x80\0\0\x01x", b"\0\0\0\0\0\0\0\x0A\0\0\0\x2A\x80\0\0\x01ok"),
    ];
    for (request, expected) in cases {
        raw.send_frame(request);
        rep.recv_timeout(SOON).unwrap().reply("ok").unwrap();
        assert_eq!(raw.read(expected.len()), expected);
    }
    kit::conserved(|| rep.stats());
}

/// E24.
#[test]
fn a_survey_goes_to_every_peer_in_the_same_bytes() {
    let surveyor = Surveyor::new();
    let url = surveyor.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut peers: Vec<Raw> = (0..3).map(|_| Raw::greet(&url, 0x63, 0x62)).collect();
    surveyor.wait_for_peers(3, SOON).unwrap();
    let _survey = surveyor.survey("q").unwrap();
    let frames: Vec<_> = peers.iter_mut().map(|peer| peer.read(8 + 4 + 1)).collect();
    assert_eq!(frames[0][..8], 5_u64.to_be_bytes());
    assert!(frames[0][8] >= 0x80);
    assert_eq!(frames[0][12], b'q');
    assert!(frames.iter().all(|frame| *frame == frames[0]));
}

/// C021.
#[test]
fn without_a_limit_more_than_the_default_is_taken() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::new(transport, None);
        for size in [MIB + 1, 3 * MIB] {
            ear.raw.send_frame(&pattern(size, size));
            ear.hears(&pattern(size, size));
        }
    }
}

/// C023, F1, F2, F4, F16, F19.
#[test]
fn frames_may_be_cut_at_every_byte() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::new(transport, None);
        let prefix = announce(transport, 3).len();
        for body in [&b"abc"[..], b""] {
            let frame = [&announce(transport, body.len() as u64), body].concat();
            for byte in &frame {
                ear.raw.send(&[*byte]);
                // The pause makes each byte a read of its own.
                thread::sleep(Duration::from_millis(1));
            }
            ear.hears(body);
        }
        let frame = [&announce(transport, 3)[..], b"abc"].concat();
        for cut in 1..=prefix {
            ear.raw.send(&frame[..cut]);
            thread::sleep(Duration::from_millis(1));
            ear.raw.send(&frame[cut..]);
            ear.hears(b"abc");
        }
        kit::conserved(|| ear.pair.stats());
    }
}

/// C024, F3.
#[test]
fn frames_may_come_together_and_be_cut_in_the_middle() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::new(transport, None);
        let frame = |body: &[u8]| [&announce(transport, body.len() as u64), body].concat();
        ear.raw.send(&[frame(b"a"), frame(b"b")].concat());
        ear.hears(b"a");
        ear.hears(b"b");
        let three = [frame(b"first"), frame(b"second"), frame(b"third")].concat();
        let (start, rest) = three.split_at(three.len() / 2);
        ear.raw.send(start);
        ear.hears(b"first");
        ear.raw.send(rest);
        ear.hears(b"second");
        ear.hears(b"third");
        kit::conserved(|| ear.pair.stats());
    }
}

/// Sizes on both sides of where bodies are copied, referred to, and read into their place.
#[test]
fn bodies_of_every_size_arrive_whole_however_they_follow_one_another() {
    let sizes =
        [MIB, MIB, 5, 300_000, 70_000, 0, 250_000, 262_136, 262_144, 4096, 65_536, 65_537, MIB - 1];
    for transport in Transport::STREAMS {
        let Ear { pair, mut raw, _address, .. } = Ear::new(transport, Some(MIB));
        let frame =
            |size: &usize| [announce(transport, *size as u64), pattern(*size, *size)].concat();
        let stream: Vec<u8> = sizes.iter().flat_map(frame).collect();
        for write in [stream.len(), 100_000, 262_145] {
            thread::scope(|scope| {
                scope.spawn(|| stream.chunks(write).for_each(|part| raw.send(part)));
                for size in sizes {
                    assert!(pair.recv_timeout(SOON).unwrap() == pattern(size, size), "{size}");
                }
            });
        }
        kit::conserved(|| pair.stats());
    }
}

#[test]
fn a_queue_that_is_full_within_a_body_goes_on_with_it_later() {
    for transport in Transport::STREAMS {
        let Ear { pair, mut raw, _address, .. } =
            Ear::with(transport, Options::new().recv_queue(2));
        let frame = |body: &[u8]| [&announce(transport, body.len() as u64), body].concat();
        let large = pattern(MIB, 3);
        let stream = [frame(b"first"), frame(b"second"), frame(&large), frame(b"last")].concat();
        for _ in 0..3 {
            thread::scope(|scope| {
                scope.spawn(|| raw.send(&stream));
                eventually("the queue is full", || pair.stats().recv_queue == 2);
                for body in [b"first", &b"second"[..], &large, b"last"] {
                    assert!(pair.recv_timeout(SOON).unwrap() == body);
                }
            });
        }
        kit::conserved(|| pair.stats());
    }
}

/// A receive queue that reads on behind a large body that nobody has received.
fn roomy() -> Options {
    Options::new().recv_queue_bytes(2 * MIB)
}

#[test]
fn the_end_within_a_large_body_is_counted_as_truncated() {
    for transport in Transport::STREAMS {
        for part in [100, 200_000, 500_000, MIB - 1] {
            let mut ear = Ear::with(transport, roomy().max_recv_size(None));
            ear.raw.send_frame(&pattern(MIB, 1));
            ear.raw.send(&announce(transport, MIB as u64));
            ear.raw.send(&pattern(part, 2));
            ear.raw.finish();
            assert_eq!(detached(&ear.events), DetachReason::PeerClosed);
            ear.hears(&pattern(MIB, 1));
            let stats = ear.pair.stats();
            assert_eq!((stats.truncated, stats.broken_connections), (1, 1));
            ear.lives_on();
        }
    }
}

#[test]
fn a_length_above_the_limit_is_refused_behind_a_large_body() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::with(transport, roomy().max_recv_size(MIB));
        ear.raw.send_frame(&pattern(MIB, 1));
        ear.raw.send(&announce(transport, MIB as u64 + 1));
        assert_eq!(detached(&ear.events), oversize(MIB + 1, MIB));
        ear.hears(&pattern(MIB, 1));
        assert_eq!(ear.pair.stats().truncated, 0);
        ear.lives_on();
    }
}

/// What it is, where it comes, under which receive limit, its bytes, and why the pipe must go.
type BadFrame = (&'static str, Transport, Option<usize>, &'static [u8], DetachReason);

/// Frames that must end the connection, as soon as the bytes given are there.
const BAD: [BadFrame; 10] = [
    ("F6", Transport::Tcp, Some(4), &[0, 0, 0, 0, 0, 0, 0, 5], oversize(5, 4)),
    ("F8", Transport::Tcp, Some(MIB), &[0, 0, 0, 0, 0, 0x10, 0, 1], oversize(MIB + 1, MIB)),
    ("F9, C025", Transport::Tcp, None, &[0x10, 0, 0, 0, 0, 0, 0, 0], DetachReason::Malformed),
    ("C026", Transport::Tcp, None, &[0x80, 0, 0, 0, 0, 0, 0, 0], DetachReason::Malformed),
    ("F10", Transport::Tcp, None, &[0xFF; 8], DetachReason::Malformed),
    ("F17", Transport::Ipc, None, b"\0\0\0\0\0\0\0\0\x03abc", DetachReason::Malformed),
    ("F18", Transport::Ipc, None, b"\x02\0\0\0\0\0\0\0\x03abc", DetachReason::Malformed),
    ("C030", Transport::Ipc, None, b"\xFF", DetachReason::Malformed),
    ("F20", Transport::Ipc, Some(4), &[1, 0, 0, 0, 0, 0, 0, 0, 5], oversize(5, 4)),
    ("reserved bits", Transport::Ipc, None, b"\x01\x10\0\0\0\0\0\0\0", DetachReason::Malformed),
];

const fn oversize(announced: usize, limit: usize) -> DetachReason {
    DetachReason::Oversize { announced: announced as u64, limit: limit as u64 }
}

/// C025, C026, C030, F6, F8, F9, F10, F17, F18, F20.
#[test]
fn a_bad_frame_ends_its_connection_and_is_counted() {
    for (what, transport, limit, bytes, expected) in BAD {
        let mut ear = Ear::new(transport, limit);
        ear.raw.send_frame(b"good");
        ear.raw.send(bytes);
        assert_eq!(detached(&ear.events), expected, "{what}");
        assert_eq!(ear.raw.read_to_end(), [0; 0], "{what}");
        ear.hears(b"good");
        let stats = ear.pair.stats();
        let is_oversize = u64::from(expected != DetachReason::Malformed);
        assert_eq!((stats.oversize, stats.framing_errors), (is_oversize, 1 - is_oversize));
        assert_eq!((stats.truncated, stats.dropped_connections), (0, 1), "{what}");
        ear.lives_on();
    }
}

/// F22.
#[test]
fn a_limit_of_zero_takes_only_empty_messages() {
    for transport in Transport::STREAMS {
        let mut ear = Ear::new(transport, Some(0));
        ear.raw.send(&announce(transport, 0));
        ear.hears(b"");
        ear.raw.send(&announce(transport, 1));
        assert_eq!(detached(&ear.events), oversize(1, 0));
        assert_eq!(ear.raw.read_to_end(), [0; 0]);
    }
}

/// F11, where pointers have 32 bits.
#[cfg(target_pointer_width = "32")]
#[test]
fn a_message_that_no_memory_has_room_for_is_over_the_limit() {
    let mut ear = Ear::new(Transport::Tcp, None);
    ear.raw.send_frame(b"whole");
    ear.raw.send(b"\0\0\0\xFF\0\0\0\x000123456789");
    let (announced, limit) = (0xFF << 32, isize::MAX.unsigned_abs() as u64);
    assert_eq!(detached(&ear.events), DetachReason::Oversize { announced, limit });
    ear.hears(b"whole");
}

/// C027, C028, F11, F12, F13, F21.
#[test]
fn the_end_of_the_stream_within_a_frame_delivers_nothing() {
    let cases: [(&str, Transport, &[u8]); 6] = [
        ("F11", Transport::Tcp, b"\0\0\0\xFF\0\0\0\x000123456789"),
        ("C027, F12", Transport::Tcp, b"\0\0\0\0\0\0\0\x0A\x01\x02"),
        ("C028, F13", Transport::Tcp, b"\0\0\0\x01"),
        ("F21", Transport::Ipc, b"\x01\0\0\0\0"),
        ("type alone", Transport::Ipc, b"\x01"),
        ("payload missing", Transport::Ipc, b"\x01\0\0\0\0\0\0\0\x03"),
    ];
    // Where pointers have 32 bits, memory has no room for that of F11.
    let cases = cases.into_iter().filter(|&(what, ..)| usize::BITS > 32 || what != "F11");
    for (what, transport, bytes) in cases {
        let mut ear = Ear::new(transport, None);
        ear.raw.send_frame(b"whole");
        ear.raw.send(bytes);
        ear.raw.finish();
        assert_eq!(detached(&ear.events), DetachReason::PeerClosed, "{what}");
        ear.hears(b"whole");
        let stats = ear.pair.stats();
        assert_eq!((stats.truncated, stats.broken_connections), (1, 1), "{what}");
        ear.lives_on();
    }
}

/// C031, F14, F15.
#[test]
fn the_limit_counts_the_protocol_header() {
    let frame = b"\0\0\0\0\0\0\0\x07\x80\0\0\x01abc";
    for (limit, taken) in [(7, true), (6, false)] {
        let rep = Rep::with_options(Options::new().max_recv_size(limit)).unwrap();
        let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
        let mut raw = Raw::greet(&url, 0x30, 0x31);
        raw.send(frame);
        if taken {
            assert_eq!(rep.recv_timeout(SOON).unwrap().message(), "abc");
        } else {
            assert_eq!(raw.read_to_end(), [0; 0]);
            assert_eq!(rep.stats().oversize, 1);
        }
    }
}

/// C034.
#[test]
fn a_peer_that_never_reads_holds_up_nothing_but_its_own_messages() {
    for transport in Transport::STREAMS {
        for peer_closes in [false, true] {
            let Ear { pair, events, raw, _address, .. } = Ear::new(transport, None);
            let body = sinew::Message::from(pattern(MIB, 0));
            // Whoever writes, and however late it is called: room comes until the kernel is full.
            let refused = loop {
                if let Err(refused) = pair.send_timeout(&body, Duration::from_millis(200)) {
                    break refused;
                }
            };
            assert_eq!(refused.into_message(), body, "it is given back");
            let stats = kit::conserved(|| pair.stats());
            assert!(stats.send_queue > 0 && stats.copies_written < stats.copies_pushed);
            pair.set_options(pair.options().send_timeout(SOON)).unwrap();
            assert_eq!(pair.peers().len(), 1);
            if peer_closes {
                drop(raw);
                assert_eq!(detached(&events), DetachReason::PeerClosed);
                assert_eq!(pair.stats().current_connections, 0);
            } else {
                pair.close().unwrap();
                assert_eq!(detached(&events), DetachReason::SocketClosed);
            }
            eventually("what was queued is accounted for", || {
                let stats = pair.stats();
                stats.send_queue == 0 && stats.check_conservation().is_ok()
            });
        }
    }
}

/// What stands between two good messages is not taken for a message: header bytes sent twice are a
/// length of 0x0053_5000_0010_0000, which is over every limit.
#[test]
fn a_second_header_is_an_oversize_frame() {
    let mut ear = Ear::new(Transport::Tcp, Some(MIB));
    ear.raw.send(&header(0x10));
    assert!(matches!(detached(&ear.events), DetachReason::Oversize { .. }));
    ear.lives_on();
}
