//! PIPELINE: each message of a PUSH to one PULL, in turn.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use kit::{QUIET, Raw, SOON, Transport, conserved, eventually, join};
use sinew::{DropReason, Message, Options, Pull, Push, RecvError, SendError};

const PUSH: u8 = 0x50;
const PULL: u8 = 0x51;

/// Queues of that many messages.
fn narrow(messages: usize) -> Options {
    Options::new().send_queue(messages).recv_queue(messages)
}

/// A message of `size` bytes that begins with its number.
fn numbered(n: u32, size: usize) -> Message {
    let mut body = vec![0; size];
    body[..4].copy_from_slice(&n.to_be_bytes());
    Message::from(body)
}

fn number(message: &Message) -> u32 {
    u32::from_be_bytes(message[..4].try_into().expect("a numbered message"))
}

/// A bound PUSH with several PULLs; the address lives with them.
fn fan_out(transport: Transport, pulls: usize) -> (Push, Vec<Pull>, kit::Address) {
    let push = Push::new();
    let address = transport.address();
    let url = push.bind(&address.url).unwrap().url();
    let pulls: Vec<Pull> = (0..pulls).map(|_| Pull::new()).collect();
    pulls.iter().for_each(|pull| drop(pull.connect(&url).unwrap()));
    push.wait_for_peers(pulls.len(), SOON).unwrap();
    (push, pulls, address)
}

/// C101.
#[test]
fn one_pull_gets_everything_in_order() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(push, pull, transport);
        push.send("").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "");
        for n in 0..100 {
            push.send(numbered(n, 4)).unwrap();
        }
        for n in 0..100 {
            assert_eq!(number(&pull.recv_timeout(SOON).unwrap()), n);
        }
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C102, C104, C122.
#[test]
fn idle_pulls_take_turns() {
    for transport in Transport::ALL {
        for (peers, rounds) in [(2, 1), (2, 10), (5, 20)] {
            let (push, pulls, _address) = fan_out(transport, peers);
            for n in 0..peers * rounds {
                push.send(numbered(n as u32, 4)).unwrap();
            }
            for pull in &pulls {
                let got: Vec<u32> =
                    (0..rounds).map(|_| number(&pull.recv_timeout(SOON).unwrap())).collect();
                assert!(got.windows(2).all(|pair| pair[1] - pair[0] == peers as u32), "{got:?}");
                assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
                conserved(|| pull.stats());
            }
            conserved(|| push.stats());
        }
    }
}

/// C103.
#[test]
fn a_pull_receives_from_every_push() {
    for transport in Transport::ALL {
        let (pull, first, second) = (Pull::new(), Push::new(), Push::new());
        let (_address, endpoint) = join!(pull, first, transport);
        second.connect(endpoint.url()).unwrap();
        second.wait_for_peers(1, SOON).unwrap();
        first.send("first").unwrap();
        second.send("second").unwrap();
        let got = [(); 2].map(|()| pull.recv_timeout(SOON).unwrap());
        assert!(got.iter().any(|message| message == "first"), "{got:?}");
        assert!(got.iter().any(|message| message == "second"), "{got:?}");
        assert_ne!(got[0].pipe(), got[1].pipe());
        assert!(pull.peers().iter().all(|peer| peer.messages_received == 1));
        conserved(|| pull.stats());
    }
}

/// C105, C106.
#[test]
fn a_push_without_a_peer_keeps_nothing_back() {
    for transport in Transport::ALL {
        let timeout = Duration::from_millis(50);
        let push = Push::with_options(Options::new().send_timeout(timeout)).unwrap();
        assert!(matches!(push.try_send("x"), Err(SendError::WouldBlock(_))));
        let begin = Instant::now();
        let error = push.send("kept").unwrap_err();
        assert!(begin.elapsed() >= timeout);
        assert!(matches!(error, SendError::TimedOut(..)));
        assert_eq!(error.into_message(), "kept");
        assert_eq!(push.stats().messages_sent, 0);

        let pull = Pull::new();
        let _joined = join!(push, pull, transport);
        push.send("new").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "new");
        conserved(|| push.stats());
    }
}

/// C107.
#[test]
fn a_send_that_waits_goes_to_the_pull_that_appears() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::with_options(narrow(1)).unwrap(), Pull::new());
        let mut sending = Box::pin(push.send_async("at last"));
        assert!(kit::poll_once(&mut sending).is_none());
        let blocked = thread::spawn({
            let push = push.clone();
            move || push.send_timeout("and this", SOON)
        });
        let _joined = join!(push, pull, transport);
        kit::block_on(sending).unwrap();
        blocked.join().unwrap().unwrap();
        let mut got = [(); 2].map(|()| pull.recv_timeout(SOON).unwrap().to_text().into_owned());
        got.sort();
        assert_eq!(got, ["and this", "at last"]);
        conserved(|| push.stats());
    }
}

/// C107, with a peer that has no room in the place of no peer.
#[test]
fn every_send_that_waits_for_room_gets_it() {
    for transport in Transport::ALL {
        let (push, pull) =
            (Push::with_options(narrow(1)).unwrap(), Pull::with_options(narrow(1)).unwrap());
        let _joined = join!(push, pull, transport);
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let push = push.clone();
                thread::spawn(move || {
                    (0..50).for_each(|n| {
                        push.send_timeout(numbered(sender * 50 + n, 20_000), SOON).unwrap()
                    });
                })
            })
            .collect();
        let mut got: Vec<u32> =
            (0..400).map(|_| number(&pull.recv_timeout(SOON).unwrap())).collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        got.sort_unstable();
        assert!(got.into_iter().eq(0..400), "each exactly once over {transport:?}");
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C110.
#[test]
fn a_pull_with_nothing_there_times_out() {
    let timeout = Duration::from_millis(50);
    let pull = Pull::with_options(Options::new().recv_timeout(timeout)).unwrap();
    assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
    kit::timed_out(pull.recv_timeout(Duration::ZERO));
    let begin = Instant::now();
    kit::timed_out(pull.recv());
    assert!(begin.elapsed() >= timeout);

    let push = Push::new();
    let _joined = join!(pull, push, Transport::Inproc);
    push.send("late").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "late", "a timeout loses nothing");
}

/// C111.
#[test]
fn what_has_arrived_outlives_the_push() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(pull, push, transport);
        for n in 0..10 {
            push.send(numbered(n, 4)).unwrap();
        }
        eventually("all have arrived", || pull.stats().recv_queue == 10);
        push.close().unwrap();
        eventually("the push is gone", || pull.peers().is_empty());
        for n in 0..10 {
            assert_eq!(number(&pull.recv_timeout(SOON).unwrap()), n);
        }
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C112.
#[test]
fn data_from_a_pull_is_dropped_and_counted_and_sends_go_on() {
    for transport in Transport::STREAMS {
        let push = Push::new();
        let address = transport.address();
        let url = push.bind(&address.url).unwrap().url();
        let mut peer = Raw::greet(&url, PULL, PUSH);
        push.wait_for_peers(1, SOON).unwrap();
        for round in 1..=3 {
            peer.send_frame(b"what?");
            eventually("it has arrived", || {
                let stats = push.stats();
                stats.recv_queue + stats.drops(DropReason::Unexpected) == round
            });
            // It is counted as queued a moment before the socket is told of it.
            eventually("a send drops it", || {
                push.send("for you").unwrap();
                assert_eq!(peer.read_frame(), b"for you");
                push.stats().drops(DropReason::Unexpected) == round
            });
            assert_eq!(push.peers()[0].drops(DropReason::Unexpected), round);
        }
        assert_eq!(push.stats().accepted_connections, 1);
        conserved(|| push.stats());
    }
}

/// C113, C114.
#[test]
fn closing_ends_what_waits() {
    let (push, pull) = (Push::new(), Pull::new());
    let mut sending = Box::pin(push.send_async("kept"));
    let mut receiving = Box::pin(pull.recv_async());
    assert!(kit::poll_once(&mut sending).is_none());
    assert!(kit::poll_once(&mut receiving).is_none());
    let blocked = (push.clone(), pull.clone());
    let sender = thread::spawn(move || blocked.0.send("kept"));
    let receiver = thread::spawn(move || blocked.1.recv());
    push.close().unwrap();
    pull.close().unwrap();
    for result in [kit::block_on(sending), sender.join().unwrap()] {
        match result {
            Err(SendError::Closed(message)) => assert_eq!(message, "kept"),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(kit::block_on(receiving), Err(RecvError::Closed));
    assert_eq!(receiver.join().unwrap(), Err(RecvError::Closed));
    conserved(|| push.stats());
}

/// C115.
#[test]
fn a_slow_pull_is_passed_over_and_nothing_is_lost() {
    const MESSAGES: usize = 1000;
    for transport in Transport::ALL {
        let push = Push::with_options(narrow(1)).unwrap();
        let address = transport.address();
        let url = push.bind(&address.url).unwrap().url();
        let received = AtomicUsize::new(0);
        let (all_sent, begin) = mpsc::channel();
        let pull = || {
            let pull = Pull::with_options(narrow(1)).unwrap();
            pull.connect(&url).unwrap();
            pull
        };
        let take = |pull: &Pull| {
            let (mut got, mut end) = (Vec::new(), Instant::now() + SOON);
            while received.load(Ordering::Relaxed) < MESSAGES {
                assert!(Instant::now() < end, "{} came", got.len());
                if let Ok(message) = pull.recv_timeout(QUIET) {
                    received.fetch_add(1, Ordering::Relaxed);
                    got.push(number(&message));
                    end = Instant::now() + SOON;
                }
            }
            got
        };
        let (slow, fast) = (pull(), pull());
        push.wait_for_peers(2, SOON).unwrap();
        let (slow_got, fast_got) = thread::scope(|scope| {
            let fast = scope.spawn(|| take(&fast));
            let (slow, take) = (&slow, &take);
            let slow = scope.spawn(move || {
                begin.recv().unwrap();
                take(slow)
            });
            for n in 0..MESSAGES {
                push.send_timeout(numbered(n as u32, 1 << 16), SOON).unwrap();
            }
            all_sent.send(()).unwrap();
            drop(all_sent); // taken into this closure: if a send fails, the slow one need not wait forever
            (slow.join().unwrap(), fast.join().unwrap())
        });
        assert!(!slow_got.is_empty() && slow_got.len() < fast_got.len(), "{}", slow_got.len());
        assert!(slow_got.is_sorted() && fast_got.is_sorted());
        let mut all = [slow_got, fast_got].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..MESSAGES as u32), "each exactly once");
        conserved(|| push.stats());
        conserved(|| slow.stats());
        conserved(|| fast.stats());
    }
}

/// C116.
#[test]
fn a_push_whose_peer_is_gone_waits_for_the_next() {
    for transport in Transport::ALL {
        let (push, first, second) = (Push::new(), Pull::new(), Pull::new());
        let (_address, endpoint) = join!(push, first, transport);
        push.send("one").unwrap();
        assert_eq!(first.recv_timeout(SOON).unwrap(), "one");
        first.close().unwrap();
        eventually("the peer is gone", || push.peers().is_empty());
        assert!(matches!(push.try_send("x"), Err(SendError::WouldBlock(_))));
        second.connect(endpoint.url()).unwrap();
        push.send_timeout("two", SOON).unwrap();
        assert_eq!(second.recv_timeout(SOON).unwrap(), "two");
        conserved(|| push.stats());
    }
}

/// What was queued for a peer that is lost is lost with it, and counted.
#[test]
fn what_was_queued_for_a_lost_pull_is_counted() {
    for transport in Transport::STREAMS {
        let push = Push::new();
        let address = transport.address();
        let url = push.bind(&address.url).unwrap().url();
        let peer = Raw::greet(&url, PULL, PUSH);
        push.wait_for_peers(1, SOON).unwrap();
        let sent = (0..).take_while(|&n| push.try_send(numbered(n, 100_000)).is_ok()).count();
        assert!(sent > 0);
        assert!(push.stats().send_queue > 0, "the kernel has not taken everything");
        drop(peer);
        eventually("the peer is gone", || push.peers().is_empty());
        eventually("the loss is counted", || push.stats().drops(DropReason::PipeLost) > 0);
        conserved(|| push.stats());
    }
}

/// Workers come and go in the middle of the work: what one of them had taken and not yet received is
/// counted where it was dropped, and everything else is received once.
#[test]
fn with_pulls_that_come_and_go_every_message_is_received_once_or_counted() {
    const EACH: u32 = 20_000;
    let address = Transport::Inproc.address();
    let push = Push::with_options(narrow(4)).unwrap();
    push.bind(&address.url).unwrap();
    let done = AtomicBool::new(false);
    let work = || {
        let (mut got, mut dropped) = (Vec::new(), 0);
        while !done.load(Ordering::Relaxed) {
            let pull = Pull::with_options(narrow(4)).unwrap();
            let endpoint = pull.connect(&address.url).unwrap();
            for _ in 0..50 {
                match pull.recv_timeout(QUIET) {
                    Ok(message) => got.push(number(&message)),
                    Err(_) => break,
                }
            }
            // Every other one is careful, and receives what it has taken.
            if got.len() % 2 == 0 {
                endpoint.close().unwrap();
                got.extend(std::iter::from_fn(|| pull.try_recv().ok()).map(|left| number(&left)));
            }
            pull.close().unwrap();
            dropped += conserved(|| pull.stats()).drops(DropReason::ClosedUnread);
        }
        (got, dropped)
    };
    let (mut got, dropped) = thread::scope(|scope| {
        let workers = [(); 4].map(|()| scope.spawn(work));
        let senders = [0, 1].map(|half| {
            let push = &push;
            scope.spawn(move || {
                for n in half * EACH..(half + 1) * EACH {
                    push.send_timeout(numbered(n, 4), SOON).unwrap();
                }
            })
        });
        senders.into_iter().for_each(|sender| sender.join().unwrap());
        done.store(true, Ordering::Relaxed);
        let worked = workers.map(|worker| worker.join().unwrap());
        let dropped: u64 = worked.iter().map(|(_, dropped)| dropped).sum();
        (worked.into_iter().flat_map(|(got, _)| got).collect::<Vec<_>>(), dropped)
    });
    let received = got.len();
    got.sort_unstable();
    got.dedup();
    assert_eq!(got.len(), received, "none twice");
    assert_eq!(received as u64 + dropped, u64::from(2 * EACH), "{}", push.stats());
    conserved(|| push.stats());
}
