//! Group H: what protocols promise, under faults.

use std::collections::HashMap;
use std::thread;
use std::time::Duration;

use kit::{Dice, SOON, Transport, conserved, eventually, join};
use sinew::{EndpointOptions, Options, Pull, Push, role};

use crate::harness::attack::Attack;
use crate::harness::census::Census;
use crate::harness::proxy::{Faults, Proxy};
use crate::harness::{alone, times};

/// A message that says what it is: its sender, its number, its length, and a sum over all of it.
fn checked(sender: u8, number: u32, length: usize) -> Vec<u8> {
    let mut dice = Dice(u64::from(number) << 8 | u64::from(sender));
    let mut body = vec![sender];
    body.extend(number.to_be_bytes());
    body.extend((length as u32).to_be_bytes());
    body.extend((0..length).map(|_| dice.roll(256) as u8));
    let sum = sum(&body);
    body.extend(sum.to_be_bytes());
    body
}

fn sum(bytes: &[u8]) -> u64 {
    // FNV-1a.
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Checks a message, and says who sent it and its number.
#[track_caller]
fn check(body: &[u8]) -> (u8, u32) {
    let (head, tail) = body.split_at(body.len() - 8);
    assert_eq!(sum(head), u64::from_be_bytes(tail.try_into().unwrap()), "it is not whole");
    assert_eq!(u32::from_be_bytes(head[5..9].try_into().unwrap()) as usize, head.len() - 9);
    (head[0], u32::from_be_bytes(head[1..5].try_into().unwrap()))
}

/// Equal workers have equal shares, and one that is slow gets what it takes.
#[test]
fn h08_shares_of_equal_workers() {
    const WORKERS: usize = 4;
    let _turn = alone();
    let options = Options::new().send_queue(16);
    let push = Push::with_options(options).unwrap();
    let url = push.bind("tcp://127.0.0.1:0").unwrap().url();
    let pulls: Vec<Pull> = (0..WORKERS).map(|_| Pull::new()).collect();
    pulls.iter().for_each(|pull| drop(pull.connect_now(&url).unwrap()));
    push.wait_for_peers(WORKERS, SOON).unwrap();
    // As long as each has room they take turns.
    let messages = times(400, 4_000);
    let mut shares = [0; WORKERS];
    for _ in 0..messages {
        (0..WORKERS).for_each(|_| push.send("job").unwrap());
        for (pull, share) in pulls.iter().zip(&mut shares) {
            pull.recv_timeout(SOON).expect("each has its share");
            *share += 1;
        }
    }
    assert_eq!(shares, [messages; WORKERS]);
    // One that does not receive does not hold up the others.
    let (slow, quick) = pulls.split_first().unwrap();
    let stuck = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            (0..20_000).for_each(|_| push.send_timeout(vec![7; 1000], SOON).unwrap());
        });
        for pull in quick {
            scope.spawn(|| while pull.recv_timeout(Duration::from_millis(500)).is_ok() {});
        }
        sending.join().unwrap();
        slow.stats().recv_queue
    });
    assert!(stuck < 20_000 / 4, "{stuck} lie with the one that does not receive");
    pulls.iter().for_each(|pull| _ = conserved(|| pull.stats()));
}

/// Sixteen threads that send on one socket, and one that receives: each thread's messages in their order,
/// each of them whole.
#[test]
fn h11_the_order_of_sixteen_senders() {
    const SENDERS: u8 = 16;
    let attack = Attack::<role::Pull>::on(Options::new());
    let push = Push::new();
    push.connect_now(&attack.url).unwrap();
    let messages = times(1_000, 100_000) as u32;
    thread::scope(|scope| {
        for sender in 0..SENDERS {
            let push = &push;
            scope.spawn(move || {
                let mut dice = Dice(u64::from(sender));
                for number in 0..messages {
                    push.send(checked(sender, number, dice.roll(3000) as usize)).unwrap();
                }
            });
        }
        let mut next = [0; SENDERS as usize];
        for _ in 0..messages * u32::from(SENDERS) {
            let (sender, number) = check(attack.socket.recv_timeout(SOON).unwrap().body());
            assert_eq!(number, next[usize::from(sender)], "of sender {sender}");
            next[usize::from(sender)] += 1;
        }
    });
    drop(push);
    attack.over();
}

/// A network that holds up, breaks up and cuts: what arrives is whole, once, and in order over each pipe. What
/// a pipe has left behind may come after the first messages of the next.
#[test]
fn h12_messages_over_a_bad_network() {
    let faults = Faults {
        cut_within: Some(200_000),
        piece: Some(5000),
        delay: Some(Duration::from_micros(50)),
        ..Faults::default()
    };
    send_over(faults, times(2_000, 400_000), 5000);
}

/// The same with so many messages that a fault of one in a hundred million would show.
#[test]
#[ignore = "takes long with the messages of ci/soak"]
fn h12_very_many_messages_over_a_bad_network() {
    let messages = std::env::var("SINEW_SOAK_MESSAGES").map_or(4_000_000, |it| it.parse().unwrap());
    let faults = Faults {
        cut_within: Some(20_000_000),
        piece: Some(16_000),
        delay: Some(Duration::from_micros(50)),
        ..Faults::default()
    };
    send_over(faults, messages, 24);
}

/// Four senders send `messages` of up to `length` bytes in all.
fn send_over(faults: Faults, messages: usize, length: u64) {
    const SENDERS: usize = 4;
    let attack = Attack::<role::Pull>::on(Options::new());
    let proxy = Proxy::to(&attack.url, 12, faults);
    let share = messages / SENDERS;
    let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(5));
    let mut received = [(); SENDERS].map(|()| vec![false; share]);
    thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (proxy, often) = (&proxy, &often);
                scope.spawn(move || {
                    let push = Push::with_options(Options::new().requeue(true)).unwrap();
                    push.connect_with(proxy.url(), often).unwrap();
                    let mut dice = Dice(sender as u64);
                    for number in 0..share {
                        push.send(checked(sender as u8, number as u32, dice.roll(length) as usize))
                            .unwrap();
                    }
                    assert_eq!(push.drain(SOON), 0);
                    // The kernel may have taken everything before anything was cut.
                    eventually("a connection is cut", || proxy.connections() > SENDERS);
                    conserved(|| push.stats());
                })
            })
            .collect();
        let mut last = HashMap::new();
        loop {
            match attack.socket.recv_timeout(Duration::from_millis(200)) {
                Ok(message) => {
                    let (sender, number) = check(message.body());
                    let before = last.insert(message.pipe(), number);
                    assert!(before.is_none_or(|it| it < number), "{number} after {before:?}");
                    let is_here = &mut received[usize::from(sender)][number as usize];
                    assert!(!std::mem::replace(is_here, true), "{number} of {sender} comes again");
                }
                Err(_) if senders.iter().all(|it| it.is_finished()) => break,
                Err(_) => {}
            }
        }
    });
    let whole = received.iter().flatten().filter(|is_here| **is_here).count();
    eprintln!("{whole} of {messages} over {} connections", proxy.connections());
    drop((proxy, received));
    attack.over();
}

/// A PAIR whose peer is replaced again and again: one pipe at a time, and what one peer sent is its own.
#[test]
fn h02_a_pair_whose_peer_is_replaced() {
    let _turn = alone();
    let pair = sinew::Pair::new();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let before = Census::settled();
    for n in 0..times(100, 5_000) {
        let (one, other) = (sinew::Pair::new(), sinew::Pair::new());
        let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(5));
        one.connect_with(&url, &often).unwrap();
        one.send_timeout(format!("first {n}"), SOON).unwrap();
        assert_eq!(pair.recv_timeout(SOON).unwrap().to_text(), format!("first {n}"));
        other.connect_with(&url, &often).unwrap();
        assert_eq!(pair.peers().len(), 1);
        pair.send_timeout(format!("to the first {n}"), SOON).unwrap();
        assert_eq!(one.recv_timeout(SOON).unwrap().to_text(), format!("to the first {n}"));
        one.close().unwrap();
        other.send_timeout(format!("second {n}"), SOON).unwrap();
        assert_eq!(pair.recv_timeout(SOON).unwrap().to_text(), format!("second {n}"));
        pair.send_timeout(format!("to the second {n}"), SOON).unwrap();
        assert_eq!(other.recv_timeout(SOON).unwrap().to_text(), format!("to the second {n}"));
        other.close().unwrap();
        eventually("both have left", || pair.stats().current_connections == 0);
    }
    before.is_back(0);
    conserved(|| pair.stats());
}

/// A SUB that subscribes and unsubscribes while messages flow: nothing that it no longer wants.
#[test]
fn h07_subscriptions_while_messages_flow() {
    let _turn = alone();
    let (publisher, sub) = (sinew::Pub::new(), sinew::Sub::new());
    let _joined = join!(publisher, sub, Transport::Tcp);
    let over = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = kit::SetOnDrop(&over);
        scope.spawn(|| {
            let mut n = 0_u32;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                publisher.send(format!("{} {n}", n % 7)).unwrap();
                n += 1;
            }
        });
        let mut dice = Dice(7);
        let mut topics: Vec<String> = Vec::new();
        for _ in 0..times(1_000, 100_000) {
            let topic = dice.roll(7).to_string();
            match topics.iter().position(|it| *it == topic) {
                Some(at) => {
                    sub.unsubscribe(&topic).unwrap();
                    topics.remove(at);
                }
                None => {
                    sub.subscribe(&topic).unwrap();
                    topics.push(topic);
                }
            }
            for _ in 0..5 {
                let Ok(message) = sub.try_recv() else { break };
                let text = message.to_text().into_owned();
                assert!(topics.iter().any(|it| text.starts_with(&**it)), "{text} of {topics:?}");
            }
        }
    });
    conserved(|| sub.stats());
}
