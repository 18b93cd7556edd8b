//! What peers can make a socket hold: queues that fill, messages that do not become whole.

use std::collections::HashMap;
use std::time::Duration;

use crate::{allocated, alone, beside_others};
use bytes::Bytes;
use kit::{QUIET, Raw, SOON, conserved, eventually, frame, next_event};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sinew::{DetachReason, Options, PipeEventKind, Pull, Push, RecvError, Runtime};

const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;

/// What each connection may cost beside the budget.
const EACH: usize = 64 << 10;
/// A message of this length always arrives.
const SMALL: usize = 28 << 10;

fn pull(budget: usize) -> (Pull, String) {
    let pull = Pull::with_options(Options::new().recv_budget(budget)).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    (pull, url)
}

fn greet(url: &str, peers: usize) -> Vec<Raw> {
    (0..peers).map(|_| Raw::greet(url, PUSH, PULL)).collect()
}

/// Sends as much of `bytes` as the peer and both kernels take within a while of nothing happening.
fn pour(raw: &Raw, bytes: &[u8]) -> usize {
    let Raw::Tcp(stream) = raw else { panic!("over tcp") };
    stream.set_write_timeout(Some(Duration::from_millis(5))).unwrap();
    let mut sent = 0;
    while let Ok(n) = std::io::Write::write(&mut &*stream, &bytes[sent..]) {
        sent += n;
        if sent == bytes.len() {
            break;
        }
    }
    sent
}

/// Waits until nothing is allocated any more, and yields how much that is.
fn settled(before: usize) -> usize {
    let mut last = 0;
    eventually("the memory stays as it is", || {
        let now = allocated().saturating_sub(before);
        std::thread::sleep(QUIET);
        std::mem::replace(&mut last, now) == now
    });
    last
}

/// C530.
#[test]
fn a_hundred_peers_that_fill_their_queues_cost_the_budget() {
    const PEERS: usize = 100;
    const BUDGET: usize = 16 << 20;
    for length in [100, 10_000, 100_000] {
        let _turn = alone();
        let (pull, url) = pull(BUDGET);
        let mut peers = greet(&url, PEERS);
        pull.wait_for_peers(PEERS, SOON).unwrap();
        let stream =
            frame(&vec![7; length]).repeat(if length < 1000 { 1 << 20 } else { 3 << 20 } / length);
        let before = allocated();
        let sent: Vec<usize> = peers.iter().map(|raw| pour(raw, &stream)).collect();
        let cost = settled(before);
        let most = BUDGET + PEERS * EACH;
        assert!(cost <= most, "{length}: {cost} bytes, {most} are allowed");
        eprintln!("messages of {length} bytes: {cost} bytes of {most}");
        // Nothing is lost, and all go on.
        let frame = length + 8;
        let rests: Vec<_> = sent.iter().map(|sent| &stream[*sent..]).collect();
        std::thread::scope(|scope| {
            for (raw, rest) in peers.iter_mut().zip(rests) {
                let Raw::Tcp(stream) = &*raw else { panic!("over tcp") };
                stream.set_write_timeout(None).unwrap();
                scope.spawn(move || raw.send(rest));
            }
            for n in 0..PEERS * (stream.len() / frame) {
                let message = pull.recv_timeout(SOON);
                assert_eq!(message.map(|it| it.len()), Ok(length), "message {n}");
            }
        });
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        let stats = conserved(|| pull.stats());
        assert!(stats.budget_pauses > 0, "{stats}");
        eventually("all is given back", || pull.stats().recv_bytes == 0);
    }
}

/// C531.
#[test]
fn five_hundred_partial_messages_cost_the_budget_and_become_whole() {
    const PEERS: usize = 500;
    const BUDGET: usize = 16 << 20;
    const LENGTH: usize = 200_000;
    let _turn = alone();
    let (pull, url) = pull(BUDGET);
    let mut peers = greet(&url, PEERS);
    pull.wait_for_peers(PEERS, SOON).unwrap();
    let before = allocated();
    let message = frame(&vec![7; LENGTH]);
    let sent: Vec<usize> =
        peers.iter().map(|raw| pour(raw, &message[..message.len() - 1])).collect();
    let cost = settled(before);
    let most = BUDGET + PEERS * EACH;
    assert!(cost <= most, "{cost} bytes, {most} are allowed");
    eprintln!("partial messages: {cost} bytes of {most}");
    // A peer with small messages is heard all the time, one with large ones when its turn has come.
    let mut small = Raw::greet(&url, PUSH, PULL);
    small.send(&frame(&[1; SMALL]));
    assert_eq!(pull.recv_timeout(SOON).unwrap().len(), SMALL);
    for (raw, sent) in peers.iter_mut().zip(&sent) {
        let Raw::Tcp(stream) = &*raw else { panic!("over tcp") };
        stream.set_write_timeout(None).unwrap();
        let rest = message[*sent..].to_vec();
        std::thread::scope(|scope| {
            scope.spawn(move || raw.send(&rest));
        });
    }
    for _ in 0..PEERS {
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), LENGTH);
    }
    let stats = conserved(|| pull.stats());
    assert!(stats.budget_pauses > 0, "{stats}");
}

/// C532: a budget that is smaller than a message, or nothing.
#[test]
fn one_whole_message_always_arrives() {
    let _turn = beside_others();
    for budget in [0, 1, 100_000] {
        let (pull, url) = pull(budget);
        let peers = greet(&url, 4);
        pull.wait_for_peers(4, SOON).unwrap();
        std::thread::scope(|scope| {
            for mut raw in peers {
                scope.spawn(move || {
                    (0..5).for_each(|_| raw.send(&frame(&vec![7; 1 << 20])));
                    // Stays until the other side has read it all.
                    raw.finish();
                    raw.read_to_end();
                });
            }
            for n in 0..20 {
                let message = pull.recv_timeout(SOON);
                assert_eq!(message.map(|it| it.len()), Ok(1 << 20), "{budget}, {n}");
            }
        });
        conserved(|| pull.stats());
    }
}

/// C535: their queues are counted after they have left, and when they are read, the others go on.
#[test]
fn what_peers_leave_behind_counts() {
    const PEERS: usize = 100;
    const BUDGET: usize = 8 << 20;
    let _turn = alone();
    let (pull, url) = pull(BUDGET);
    let mut peers = greet(&url, PEERS);
    pull.wait_for_peers(PEERS, SOON).unwrap();
    let before = allocated();
    let message = frame(&[7; 10_000]);
    let stream = message.repeat(100);
    let sent: Vec<usize> = peers.iter().map(|raw| pour(raw, &stream)).collect();
    let whole: usize = sent.iter().map(|sent| sent / message.len()).sum();
    peers.iter_mut().for_each(Raw::finish);
    let cost = settled(before);
    // One of them may have been read to its end, with what the kernel had of it.
    let most = BUDGET + PEERS * EACH + 2 * stream.len();
    assert!(cost <= most, "{cost} bytes, {most} are allowed");
    for n in 0..whole {
        let message = pull.recv_timeout(SOON);
        assert_eq!(message.map(|it| it.len()), Ok(10_000), "message {n} of {whole}");
    }
    eventually("all peers are gone", || pull.stats().current_connections == 0);
    conserved(|| pull.stats());
    eventually("all is given back", || pull.stats().recv_bytes == 0);
}

/// C536: it is the message that must come in time, not a byte of it.
#[test]
fn a_peer_that_drips_while_others_wait_for_it_is_closed() {
    let _turn = beside_others();
    let options = Options::new().recv_budget(0).frame_timeout(Duration::from_millis(300));
    let pull = Pull::with_options(options).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let message = frame(&vec![7; 200_000]);
    let mut drips = Raw::greet(&url, PUSH, PULL);
    pull.wait_for_peers(1, SOON).unwrap();
    let events = pull.events();
    drips.send(&message[..100_000]);
    eventually("it exceeds the budget", || pull.stats().recv_bytes > 90_000);
    let mut waits = Raw::greet(&url, PUSH, PULL);
    std::thread::scope(|scope| {
        scope.spawn(move || waits.send(&message));
        let dripping = scope.spawn(move || {
            let Raw::Tcp(stream) = &drips else { panic!("over tcp") };
            while std::io::Write::write(&mut &*stream, &[7]).is_ok() {
                // Often enough for a timeout that every byte puts off.
                std::thread::sleep(Duration::from_millis(20));
            }
        });
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 200_000);
        dripping.join().unwrap();
    });
    let ended = std::iter::repeat_with(|| next_event(&events)).find_map(|kind| match kind {
        PipeEventKind::Detached(reason) => Some(reason),
        _ => None,
    });
    assert_eq!(ended, Some(DetachReason::FrameTimedOut));
    assert_eq!(pull.stats().frame_timeouts, 1);
}

/// C537.
#[test]
fn small_messages_are_heard_beside_a_peer_that_uses_up_the_budget() {
    let _turn = beside_others();
    for budget in [0, 1 << 20] {
        let options = Options::new().recv_budget(budget).recv_queue_bytes(64 << 20);
        let pull = Pull::with_options(options).unwrap();
        let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
        let (heavy, mut small) = (Raw::greet(&url, PUSH, PULL), greet(&url, 10));
        pull.wait_for_peers(11, SOON).unwrap();
        let sent = pour(&heavy, &frame(&[7; 100_000]).repeat(100));
        eventually("the budget is used up", || pull.stats().budget_pauses > 0);
        for raw in &mut small {
            raw.send(&frame(&[1; SMALL]));
        }
        let (mut heard, mut large) = (0, 0);
        while heard < small.len() {
            match pull.recv_timeout(SOON).unwrap().len() {
                SMALL => heard += 1,
                _ => large += 1,
            }
        }
        while large < sent / 100_008 {
            assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 100_000);
            large += 1;
        }
        conserved(|| pull.stats());
    }
}

/// C538.
#[test]
fn many_idle_peers_and_a_small_budget() {
    let _turn = alone();
    let (pull, url) = pull(1000);
    let mut peers = greet(&url, 1000);
    pull.wait_for_peers(1000, SOON).unwrap();
    for round in 0..3 {
        for (n, raw) in peers.iter_mut().enumerate() {
            raw.send(&frame(&vec![1; (n + round) % 40 * 1000]));
        }
        for n in 0..peers.len() {
            pull.recv_timeout(SOON).unwrap_or_else(|error| panic!("round {round}, {n}: {error}"));
        }
    }
    conserved(|| pull.stats());
    eventually("all is given back", || pull.stats().recv_bytes == 0);
}

/// C539: what is held beyond a smaller budget stays, and all goes on.
#[test]
fn a_budget_may_be_changed_while_it_is_used() {
    const LENGTH: usize = 200_000;
    let _turn = beside_others();
    let (pull, url) = pull(64 << 20);
    let mut peers = greet(&url, 20);
    pull.wait_for_peers(peers.len(), SOON).unwrap();
    let message = frame(&vec![7; LENGTH]);
    for raw in &mut peers {
        raw.send(&message[..message.len() - 1]);
    }
    eventually("all has come", || pull.stats().recv_bytes as usize >= 20 * (LENGTH - 1));
    pull.set_options(pull.options().recv_budget(100_000)).unwrap();
    for raw in &mut peers {
        raw.send(&message[message.len() - 1..]);
        raw.send(&message[..1000]);
    }
    for n in 0..peers.len() {
        assert_eq!(pull.recv_timeout(SOON).map(|it| it.len()), Ok(LENGTH), "{n}");
    }
    pull.set_options(pull.options().recv_budget(usize::MAX)).unwrap();
    for raw in &mut peers {
        raw.send(&message[1000..]);
    }
    for n in 0..peers.len() {
        assert_eq!(pull.recv_timeout(SOON).map(|it| it.len()), Ok(LENGTH), "again {n}");
    }
    conserved(|| pull.stats());
}

/// C540: in messages that are longer than what each may hold in any case.
#[test]
fn each_of_two_thousand_peers_has_its_turn_at_a_slow_reader() {
    const PEERS: usize = 2000;
    const ROUNDS: usize = 4;
    /// The reader takes this many messages, and then waits until twice as many are queued. A reader that keeps up hears
    /// whoever the I/O thread reads from next, and the budget decides nothing.
    const STEP: usize = 20;
    let _turn = beside_others();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let (pull, url) = pull(4 << 20);
    let runtime = Runtime::builder().build().unwrap();
    let body = Bytes::from(vec![7; 40_000]);
    let pushes: Vec<Push> = (0..PEERS)
        .map(|_| {
            let push = Push::on(&runtime, Options::new()).unwrap();
            push.connect(&url).unwrap();
            push
        })
        .collect();
    pull.wait_for_peers(PEERS, SOON).unwrap();
    for _ in 0..ROUNDS {
        pushes.iter().for_each(|push| push.send_timeout(body.clone(), SOON).unwrap());
    }
    eventually("the budget is used up", || pull.stats().budget_pauses > 0);
    // Who is heard late must have had something to say in time.
    let has_written = |push: &Push| push.stats().copies_written > 0;
    eventually("each has written", || pushes.iter().all(has_written));
    let (mut heard, mut last) = (HashMap::new(), 0);
    for n in 0..PEERS * ROUNDS {
        if n % STEP == 0 {
            let rest = PEERS * ROUNDS - n;
            let ahead = rest.min(2 * STEP) as u64;
            eventually("the reader is behind", || {
                // Whoever asks all the time keeps the I/O thread from the socket's lock.
                std::thread::sleep(Duration::from_millis(1));
                pull.stats().recv_queue >= ahead
            });
        }
        let message = pull.recv_timeout(SOON).unwrap_or_else(|error| panic!("{n}: {error}"));
        assert_eq!(message.len(), body.len());
        let times: &mut usize = heard.entry(message.pipe().unwrap()).or_default();
        *times += 1;
        if *times == 1 {
            last = n;
        }
    }
    assert!(heard.len() == PEERS && heard.values().all(|times| *times == ROUNDS));
    // Where whoever asks again loses its place, the last is heard with message 7,072 and later.
    assert!(last < 3 * PEERS, "the last is heard with message {last}");
    conserved(|| pull.stats());
}
