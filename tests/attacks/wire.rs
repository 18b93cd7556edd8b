//! Group A: malformed input on the wire.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use kit::{
    Dice, Raw, SOON, Transport, attached, conserved, detached, eventually, frame, header, ipc_frame,
};
use sinew::role;
use sinew::{
    AttemptError, DetachReason, DropReason, EndpointOptions, Events, HeaderError, Message, Options,
    PipeEvent, PipeEventKind, RecvError, contained_panics,
};

use crate::harness::attack::{Attack, Target};
use crate::harness::proxy::{Faults, Proxy};
use crate::harness::times;

/// Peers that greet with anything, some of them nothing, and then end their side.
#[test]
fn a01_random_greetings() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let (mut dice, greetings) = (Dice(1), times(4096, 40_960));
    let (before, mut wrong, mut neighbours) = (attack.stats().handshake_errors, 0, 1);
    for n in 0..greetings {
        let length = dice.roll(65) as usize;
        let bytes: Vec<u8> = (0..length).map(|_| dice.roll(256) as u8).collect();
        wrong += u64::from(begins_no_header(&bytes));
        let mut raw = Raw::connect(&attack.url);
        // It may be closed before all is written.
        let _ = raw.try_send(&bytes);
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| raw.finish()));
        raw.read_to_end();
        if n % 1000 == 0 {
            attack.neighbour();
            neighbours += 1;
        }
    }
    eventually("each wrong one is counted, and no other", || {
        attack.stats().handshake_errors - before == wrong
    });
    assert!(wrong > greetings as u64 * 8 / 10);
    assert_eq!(attack.stats().accepted_connections, neighbours, "neighbours, and nobody else");
    attack.over();
}

/// Whether it is wrong as far as it goes. Who sends a part of a good header, or nothing, and goes has made no mistake,
/// and the protocol is judged when all of the header is there.
fn begins_no_header(bytes: &[u8]) -> bool {
    let good = header(0x50);
    let is_whole = bytes.len() >= good.len();
    let is_wrong =
        |(at, byte): (usize, &u8)| *byte != good[at] && (is_whole || !matches!(at, 4 | 5));
    bytes.iter().take(good.len()).enumerate().any(is_wrong)
}

/// Every wrong value of every byte of the header, with the reason by name.
#[test]
fn a02_each_wrong_byte_of_a_header() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let listener = &attack.socket.endpoints()[0];
    let good = header(0x50);
    for at in 0..8 {
        for value in (0..=255).filter(|&value| value != good[at]) {
            let mut bytes = good;
            bytes[at] = value;
            let before = attack.stats().handshake_errors;
            let mut raw = Raw::connect(&attack.url);
            raw.send(&bytes);
            assert_eq!(raw.read_to_end(), header(0x51), "{bytes:?}");
            eventually("it is counted", || attack.stats().handshake_errors == before + 1);
            let Some(AttemptError::Protocol(reason)) = listener.status().last_error else {
                panic!("{bytes:?}: {}", listener.status());
            };
            let is_named = match at {
                0..3 => matches!(reason, HeaderError::Magic),
                3 => matches!(reason, HeaderError::Version(_)),
                4 | 5 => matches!(reason, HeaderError::Peer { .. }),
                _ => matches!(reason, HeaderError::Reserved),
            };
            assert!(is_named, "{bytes:?}: {reason:?}");
        }
    }
    assert_eq!(attack.stats().accepted_connections, 1);
    attack.over();
}

/// What else is spoken on networks is closed at once, not at the deadline.
#[test]
fn a04_greetings_of_other_protocols() {
    const OTHERS: [&[u8]; 8] = [
        b"GET / HTTP/1.1\r\nHost: sinew\r\nUser-Agent: curl\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\xff\0\0\0\0\0\0\0\x01\x7f\x03\0NULL\0\0\0\0",
        b"\r\n\r\nHELP\r\n",
        b"EHLO nmap.scanme.org\r\n",
        b"\x80\0\0\x28\x72\xfe\x1d\x13\0\0\0\0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];
    let never = EndpointOptions::new().handshake_timeout(Duration::from_secs(3600));
    let attack = Attack::<role::Rep>::over_transport(Transport::Tcp, Options::new(), &never);
    for other in OTHERS {
        for _ in 0..10 {
            let mut raw = Raw::connect(&attack.url);
            let _ = raw.try_send(other);
            assert_eq!(raw.read_to_end(), header(0x31));
        }
        attack.neighbour();
    }
    eventually("all are counted", || attack.stats().handshake_errors == 80);
    attack.over();
}

/// A length that nobody may announce costs nothing but the connection.
#[test]
fn a05_impossible_lengths() {
    const LIMIT: u64 = 1 << 20;
    for transport in Transport::STREAMS {
        let options = EndpointOptions::new();
        let attack = Attack::<role::Pull>::over_transport(transport, Options::new(), &options);
        let events = attack.socket.events();
        for length in [u64::MAX, 1 << 63, 1 << 60, 1 << 32, LIMIT + 1] {
            let mut raw = attack.peer();
            let head = match transport {
                Transport::Ipc => [&[1][..], &length.to_be_bytes()].concat(),
                _ => length.to_be_bytes().to_vec(),
            };
            // All that is ever allocated, since it would be given back with the connection.
            let before = crate::HEAP.stats().bytes_allocated;
            raw.send(&head);
            assert_eq!(raw.read_to_end(), [0; 0]);
            let cost = crate::HEAP.stats().bytes_allocated - before;
            assert!(cost <= 4 << 10, "{length} costs {cost}");
            let gone = std::iter::from_fn(|| events.recv_timeout(SOON).ok())
                .find_map(|event| match event.kind {
                    PipeEventKind::Detached(reason) => Some(reason),
                    _ => None,
                })
                .expect("it goes");
            match gone {
                DetachReason::Oversize { announced, limit } => {
                    assert_eq!((announced, limit), (length, LIMIT));
                }
                DetachReason::Malformed => assert!(length >= 1 << 60, "{length}"),
                other => panic!("{length}: {other}"),
            }
        }
        drop(events);
        let stats = attack.stats();
        assert_eq!(stats.oversize + stats.framing_errors, 5, "{stats}");
        attack.over();
    }
}

/// The longest frame, of which a part comes: it costs what has come.
#[test]
fn a07_frames_that_do_not_end_cost_what_has_come() {
    half_frames(&[(1, 1000), (100, 100), (10_000, 100)]);
}

/// Longer parts of longer frames.
#[test]
fn a07_long_frames_that_do_not_end_cost_what_has_come() {
    half_frames(&[(100_000, 100), (300_000, 100)]);
}

/// So many bytes of a frame, from so many peers.
#[track_caller]
fn half_frames(parts: &[(usize, usize)]) {
    let attack = Attack::<role::Pull>::on(Options::new());
    for &(come, count) in parts {
        let peers: Vec<Raw> = (0..count)
            .map(|_| {
                let mut raw = attack.peer();
                raw.send(&(1_u64 << 20).to_be_bytes());
                raw.send(&vec![7; come]);
                raw
            })
            .collect();
        attack.neighbour();
        let most = count * (2 * come + (64 << 10));
        eventually("it costs what has come, and 64 KiB each", || attack.cost() <= most);
        eprintln!("{come} bytes of a frame: {} bytes each", attack.cost() / count);
        drop(peers);
    }
    let all: usize = parts.iter().map(|(_, count)| count).sum();
    eventually("all are counted", || attack.stats().truncated == all as u64);
    attack.over_with(1000 << 8);
}

/// Empty messages count: the queue of a program that does not receive is bounded in messages.
#[test]
fn a08_empty_messages_without_end() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let messages = times(300_000, 10_000_000) / 1000 * 1000;
    let before = attack.stats().messages_received;
    let mut raw = attack.peer();
    let flood = thread::spawn(move || {
        let some = frame(b"").repeat(1000);
        // The socket stops to read; the rest is taken when it reads on.
        (0..messages / 1000).for_each(|_| raw.send(&some));
        raw
    });
    eventually("its queue is full", || attack.stats().recv_queue >= 1000);
    let (full, most) = (attack.stats().recv_queue, attack.cost());
    // A queue as long as the default is read into by the block, of 256 KiB and a little.
    assert!(full <= 1000 + (257 << 10) / 8, "{full} messages in a queue of 1,000");
    assert!(most <= 3 << 20, "{full} messages cost {most}");
    // Others are served meanwhile.
    attack.neighbour();
    let received = || attack.stats().messages_received - before;
    while received() < messages as u64 + 100 {
        attack.socket.recv_timeout(SOON).expect("what was sent");
    }
    drop(flood.join().expect("all is taken"));
    assert!(attack.socket.try_recv().is_err());
    attack.over();
}

/// What is allocated for messages is that of their bytes, however they come and however many those are.
#[test]
fn a09_a_message_byte_by_byte() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let mut raw = attack.peer();
    let longest = times(64 << 10, 1 << 20);
    let body: Vec<u8> = (0..longest).map(|n| n as u8).collect();
    let mut each = Vec::new();
    for length in [longest / 8, longest] {
        let whole = frame(&body[..length]);
        for size in [whole.len(), 1] {
            let before = crate::HEAP.stats();
            whole.chunks(size).for_each(|piece| raw.send(piece));
            assert_eq!(attack.socket.recv_timeout(SOON).unwrap(), body[..length]);
            let now = crate::HEAP.stats();
            let (bytes, times) = (
                now.bytes_allocated - before.bytes_allocated,
                now.allocations - before.allocations + now.reallocations - before.reallocations,
            );
            eprintln!("{length} in pieces of {size}: {bytes} bytes in {times} allocations");
            each.push((bytes, times));
            assert!(bytes <= 3 * length + (64 << 10), "{bytes} bytes for {length}");
            assert!(times <= 100, "{times} allocations for {length} bytes");
        }
    }
    drop((raw, body, each));
    attack.over();
}

/// A megabyte of messages in two writes, cut at each place of 64 that follow each other.
#[test]
fn a10_many_messages_cut_anywhere() {
    let mut dice = Dice(10);
    let bodies: Vec<Vec<u8>> = (0..2000).map(|n| vec![n as u8; dice.roll(1000) as usize]).collect();
    for transport in Transport::STREAMS {
        let options = EndpointOptions::new();
        let attack = Attack::<role::Pull>::over_transport(transport, Options::new(), &options);
        let mut raw = attack.peer();
        let framed: Vec<Vec<u8>> = bodies
            .iter()
            .map(|body| match transport {
                Transport::Ipc => ipc_frame(body),
                _ => frame(body),
            })
            .collect();
        let whole = framed.concat();
        for cut in 0..64 {
            let (first, rest) = whole.split_at(whole.len() / 2 + cut);
            let before = framed
                .iter()
                .scan(0, |end, one| {
                    *end += one.len();
                    Some(*end)
                })
                .take_while(|end| *end <= first.len())
                .count();
            thread::scope(|scope| {
                scope.spawn(|| raw.send(first));
                // Once these are received, all of the first write was read.
                bodies[..before].iter().for_each(|body| receives(&attack, body, cut));
            });
            assert!(attack.socket.try_recv().is_err(), "cut at {cut}");
            thread::scope(|scope| {
                scope.spawn(|| raw.send(rest));
                bodies[before..].iter().for_each(|body| receives(&attack, body, cut));
            });
        }
        drop((raw, framed, whole));
        attack.over();
    }
}

#[track_caller]
fn receives(attack: &Attack<role::Pull>, body: &[u8], cut: usize) {
    assert!(attack.socket.recv_timeout(SOON).unwrap() == *body, "cut at {cut}");
}

/// Three messages, and the end of the stream after each byte of them.
fn ends_at_every_byte(reset: bool) {
    let messages: [&[u8]; 3] = [b"first", b"", b"the third one"];
    for transport in Transport::STREAMS {
        if reset && transport == Transport::Ipc {
            continue;
        }
        let options = EndpointOptions::new();
        let attack = Attack::<role::Pull>::over_transport(transport, Options::new(), &options);
        let framed = messages.map(|message| match transport {
            Transport::Ipc => ipc_frame(message),
            _ => frame(message),
        });
        let whole = framed.concat();
        let events = attack.socket.events();
        let mut ends = vec![0];
        framed.iter().for_each(|one| ends.push(ends[ends.len() - 1] + one.len()));
        for at in 0..=whole.len() {
            let before = attack.stats();
            let mut raw = attack.peer();
            raw.send(&whole[..at]);
            let complete = ends.iter().filter(|&&end| end > 0 && end <= at).count();
            if reset {
                raw.reset();
            } else {
                raw.finish();
                assert_eq!(raw.read_to_end(), [0; 0]);
            }
            for expected in &messages[..complete] {
                assert_eq!(attack.socket.recv_timeout(SOON).unwrap(), *expected);
            }
            let is_partial = u64::from(!ends.contains(&at));
            eventually("the end is counted", || {
                let now = attack.stats();
                now.current_connections == 0 && now.truncated == before.truncated + is_partial
            });
            assert!(matches!(attack.socket.try_recv(), Err(RecvError::WouldBlock)), "at {at}");
            attached(&events);
            assert_eq!(detached(&events), DetachReason::PeerClosed, "at {at}");
        }
        drop(events);
        attack.over();
    }
}

#[test]
fn a11_a_reset_after_every_byte() {
    ends_at_every_byte(true);
}

#[test]
fn a12_an_end_after_every_byte() {
    ends_at_every_byte(false);
}

/// Requests without an end of their backtrace, and with one that is far away.
#[test]
fn a14_backtraces_without_end() {
    let rep = Attack::<role::Rep>::on(Options::new());
    backtraces_without_end(&rep, || {
        let request = rep.socket.recv_timeout(SOON).unwrap();
        assert_eq!(request.message(), "near");
        request.reply("!").unwrap();
    });
    rep.over();
    let respondent = Attack::<role::Respondent>::on(Options::new());
    backtraces_without_end(&respondent, || {
        let question = respondent.socket.recv_timeout(SOON).unwrap();
        assert_eq!(question.message(), "near");
        question.reply("!").unwrap();
    });
    respondent.over();
}

#[track_caller]
fn backtraces_without_end<R: Target>(attack: &Attack<R>, answer_the_near: impl Fn()) {
    let mut raw = attack.peer();
    let before = attack.stats();
    // Up to the hop limit of eight they are malformed, and beyond it nobody looks for their end.
    let (malformed, too_far) = ([0, 1, 3, 4, 31], [60, 64, 1000, 1_000_000]);
    for length in malformed.into_iter().chain(too_far) {
        raw.send_frame(&vec![0x7f; length]);
    }
    // Fifteen hops, and one.
    raw.send_frame(&[[0; 4].repeat(15), vec![0x80, 0, 0, 1], b"far".to_vec()].concat());
    raw.send_frame(&[vec![0x80, 0, 0, 1], b"near".to_vec()].concat());
    answer_the_near();
    assert_eq!(raw.read_frame(), b"\x80\0\0\x01!");
    let stats = attack.stats();
    let dropped = |reason| stats.drops(reason) - before.drops(reason);
    let counts = (dropped(DropReason::Malformed), dropped(DropReason::TtlExceeded));
    assert_eq!(counts, (malformed.len() as u64, too_far.len() as u64 + 1), "{stats}");
}

/// The hop limit, from both sides.
#[test]
fn a15_hops_around_the_limit() {
    let attack = Attack::<role::Rep>::on(Options::new().ttl(4));
    let mut raw = attack.peer();
    for hops in [3, 4, 5, 255, 1] {
        raw.send_frame(&[[0, 0, 0, 9].repeat(hops - 1), vec![0x80, 0, 0, 1]].concat());
    }
    for _ in [3, 4, 1] {
        attack.socket.recv_timeout(SOON).unwrap().reply("!").unwrap();
        raw.read_frame();
    }
    assert!(matches!(attack.socket.try_recv(), Err(RecvError::WouldBlock)));
    assert_eq!(attack.stats().drops(DropReason::TtlExceeded), 2);
    drop(raw);
    attack.over();
}

/// A peer that never sends sends: what it says is thrown away and counted, without end.
#[test]
fn a17_messages_to_who_only_sends() {
    let messages = times(10_000, 1_000_000);
    let attack = Attack::<role::Pub>::on(Options::new());
    let mut raw = attack.peer();
    let some = frame(b"unexpected").repeat(100);
    (0..messages / 100).for_each(|_| raw.send(&some));
    attack.neighbour();
    let all = (messages / 100 * 100) as u64;
    eventually("all is thrown away", || {
        // A PUB throws away when it is entered.
        attack.socket.send("look").unwrap();
        attack.stats().drops(DropReason::Unexpected) == all
    });
    drop(raw);
    attack.over();
}

/// Guesses of a reply: to requests that were never made, and to those that are over.
#[test]
fn a18_guessed_replies() {
    let guesses = times(50_000, 1_000_000);
    let attack = Attack::<role::Req>::on(Options::new());
    let mut raw = attack.peer();
    let before = attack.stats().drops(DropReason::Stale);
    let asked = attack.socket.context();
    asked.send("question").unwrap();
    let request = raw.read_frame();
    let id = u32::from_be_bytes(request[..4].try_into().unwrap());
    let mut dice = Dice(18);
    let mut send = |id: u32| raw.send_frame(&[&id.to_be_bytes()[..], b"guess"].concat());
    for n in 0..guesses {
        if n % 1000 == 0 {
            // A REQ throws away when it is entered, and reads no more while its queue is full.
            drop(attack.socket.context());
        }
        // Beside the right one, and anywhere.
        let near = id.wrapping_add(1 + n as u32 / 2) | 0x8000_0000;
        let far = dice.roll(1 << 31) as u32 | 0x8000_0000;
        let guess = if n % 2 == 0 { near } else { far };
        send(if guess == id { guess ^ 1 } else { guess });
    }
    send(id);
    let reply = asked.recv_timeout(SOON).unwrap();
    assert_eq!(reply, "guess", "the only one with the right number");
    send(id);
    eventually("all others are stale", || {
        drop(attack.socket.context());
        attack.stats().drops(DropReason::Stale) - before == guesses as u64 + 1
    });
    assert!(asked.try_recv().is_err());
    drop((asked, raw));
    attack.over();
}

/// A network that turns bits: what it breaks ends its connection with a typed reason, and nobody else's. What it does
/// not break is a message, perhaps another one.
#[test]
fn a19_bits_that_turn_on_the_way() {
    const MESSAGES: u64 = 100;
    let attack = Attack::<role::Pull>::on(Options::new());
    let faults = Faults { flip_within: Some(4000), piece: Some(700), ..Faults::default() };
    let proxy = Proxy::to(&attack.url, 19, faults);
    let events = attack.socket.events();
    let (connections, panics) = (times(60, 10_000) as u64, contained_panics());
    let (mut come, mut changed, mut broken) = (0, 0, 0);
    let mut look = |message: Message| {
        come += 1;
        changed += u64::from(message.iter().any(|byte| *byte != 7) || message.len() >= 300);
    };
    for seed in 0..connections {
        let mut stream = TcpStream::connect(proxy.url().trim_start_matches("tcp://")).unwrap();
        stream.write_all(&header(0x50)).unwrap();
        let mut dice = Dice(seed);
        for _ in 0..MESSAGES {
            let body = vec![7; dice.roll(300) as usize];
            if stream.write_all(&frame(&body)).is_err() {
                break;
            }
        }
        drop(stream);
        attack.socket.try_iter().for_each(&mut look);
        broken += unread(&events).filter(is_broken).count() as u64;
        if seed % 100 == 0 {
            attack.neighbour();
        }
    }
    drop(proxy);
    while let Ok(message) = attack.socket.recv_timeout(Duration::from_millis(50)) {
        look(message);
    }
    broken += unread(&events).filter(is_broken).count() as u64;
    drop(events);
    let stats = conserved(|| attack.stats());
    eprintln!(
        "{come} of {} messages, {changed} of them changed; {broken} of {connections} connections broken: {} oversize, \
         {} malformed, {} cut",
        connections * MESSAGES,
        stats.oversize,
        stats.framing_errors,
        stats.truncated
    );
    assert!(changed > 0 && broken > 0, "the network has turned nothing");
    assert!(changed < come && broken < connections);
    assert_eq!(contained_panics(), panics);
    attack.over();
}

fn unread(events: &Events) -> impl Iterator<Item = PipeEvent> {
    std::iter::from_fn(|| events.try_recv().ok())
}

/// Whether a connection ends for what came on it.
fn is_broken(event: &PipeEvent) -> bool {
    match &event.kind {
        PipeEventKind::Attaching | PipeEventKind::Attached => false,
        PipeEventKind::Detached(DetachReason::PeerClosed) => false,
        PipeEventKind::Detached(DetachReason::Oversize { .. } | DetachReason::Malformed) => true,
        other => panic!("{other:?}"),
    }
}
