//! PAIR: one peer at a time, messages both ways, nothing lost while the connection holds.

use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::Listed;
use kit::{QUIET, Raw, RawListener, SOON, Transport, conserved, eventually, join};
use sinew::role::{self, Receives, Sends};
use sinew::{
    AttemptError, ConnectError, DetachReason, Message, Options, Pair, ProtocolId, RecvError,
    SendError, Socket,
};

/// Runs a generic test for every kind of PAIR that sends without a header.
macro_rules! for_every_pair {
    ($test:ident) => {
        $test::<role::Pair>();
        $test::<role::Raw<role::Pair>>();
        $test::<role::Pair1>();
    };
}

/// How many bytes of header a PAIR puts before the body.
fn header_length<R: Listed>() -> usize {
    if R::IDS.0 == role::Pair1::IDS.0 { 4 } else { 0 }
}

/// A socket with queues of `messages` messages and 64 KiB.
fn narrow<R: Listed>(messages: usize) -> Socket<R> {
    let options = Options::new()
        .send_queue(messages)
        .recv_queue(messages)
        .send_queue_bytes(1 << 16)
        .recv_queue_bytes(1 << 16);
    Socket::<R>::with_options(options).unwrap()
}

/// Sends numbered messages until there has been no room for a while; says how many were taken.
fn fill<R: Sends>(pair: &Socket<R>, size: usize) -> u32 {
    for n in 0u32.. {
        let mut body = vec![0; size];
        body[..4].copy_from_slice(&n.to_be_bytes());
        match pair.send_timeout(body, QUIET) {
            Ok(()) => {}
            Err(SendError::TimedOut(..)) => return n,
            Err(error) => panic!("{error}"),
        }
    }
    unreachable!("some queue is endless")
}

/// C036, C046.
#[test]
fn messages_go_both_ways() {
    fn check<R: Sends + Receives<Item = Message>>() {
        for transport in Transport::ALL {
            let (left, right) = (Socket::<R>::new(), Socket::<R>::new());
            let _joined = join!(left, right, transport);
            left.send("ping").unwrap();
            assert_eq!(right.recv_timeout(SOON).unwrap(), "ping");
            right.send("").unwrap();
            assert_eq!(left.recv_timeout(SOON).unwrap(), "");
            conserved(|| left.stats());
            conserved(|| right.stats());
        }
    }
    for_every_pair!(check);
}

/// C037.
#[test]
fn a_send_without_a_peer_times_out_and_gives_the_message_back() {
    let timeout = Duration::from_millis(100);
    let pair = Pair::with_options(Options::new().send_timeout(timeout)).unwrap();
    let begin = Instant::now();
    let error = pair.send("kept").unwrap_err();
    assert!(begin.elapsed() >= timeout);
    assert!(matches!(error, SendError::TimedOut(..)));
    assert_eq!(error.into_message(), "kept");
    conserved(|| pair.stats());
}

/// C038, C042, C053.
#[test]
fn a_socket_without_a_peer_queues_nothing() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        let pair: Socket<R> = narrow(1);
        assert!(matches!(pair.try_send("x"), Err(SendError::WouldBlock(_))));
        assert_eq!(pair.stats().messages_sent, 0);
        conserved(|| pair.stats());
    }
    for_every_pair!(check);
}

/// C042, C053.
#[test]
fn a_peer_that_does_not_read_fills_pipe_and_kernel_and_no_more() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let pair: Socket<R> = narrow(1);
            let address = transport.address();
            let endpoint = pair.bind(&address.url).unwrap();
            let mut peer = Raw::greet(&endpoint.url(), R::IDS.1, R::IDS.0);
            pair.wait_for_peers(1, SOON).unwrap();
            let taken = fill(&pair, 50_000);
            assert!(taken > 0);
            assert!(matches!(pair.try_send("x"), Err(SendError::WouldBlock(_))));
            let mut next = || peer.read_frame().split_off(header_length::<R>());
            for n in 0..taken {
                assert_eq!(next()[..4], n.to_be_bytes());
            }
            eventually("there is room again", || pair.try_send("x").is_ok());
            assert_eq!(next(), b"x");
            conserved(|| pair.stats());
        }
    }
    for_every_pair!(check);
}

/// C039, C040, C052.
#[test]
fn a_second_peer_waits_until_the_first_has_gone() {
    fn check<R: Sends + Receives<Item = Message>>() {
        for transport in Transport::ALL {
            let quick = || {
                let retry = Duration::from_millis(10);
                Socket::<R>::with_options(Options::new().reconnect_interval(retry)).unwrap()
            };
            let (server, first, second) = (Socket::<R>::new(), quick(), quick());
            let (_address, endpoint) = join!(server, first, transport);
            second.connect(endpoint.url()).unwrap();
            eventually("the second is turned away", || server.stats().rejected_pipes > 0);
            for _ in 0..100 {
                server.send("to the first").unwrap();
                assert_eq!(first.recv_timeout(SOON).unwrap(), "to the first");
                first.send("from the first").unwrap();
                assert_eq!(server.recv_timeout(SOON).unwrap(), "from the first");
            }
            assert_eq!(second.try_recv(), Err(RecvError::WouldBlock));
            assert_eq!(server.peers().len(), 1);

            first.close().unwrap();
            eventually("the second is let in", || server.stats().accepted_connections == 2);
            server.send("to the second").unwrap();
            assert_eq!(second.recv_timeout(SOON).unwrap(), "to the second");
            second.send("from the second").unwrap();
            assert_eq!(server.recv_timeout(SOON).unwrap(), "from the second");
            for pair in [&server, &first, &second] {
                conserved(|| pair.stats());
            }
        }
    }
    for_every_pair!(check);
}

/// C041, C053.
#[test]
fn a_slow_receiver_holds_the_sender_up_and_loses_nothing() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for transport in Transport::ALL {
            let (sender, receiver) = (narrow::<R>(4), narrow::<R>(4));
            let _joined = join!(sender, receiver, transport);
            let taken = fill(&sender, 10_000);
            for n in 0..taken {
                let message = receiver.recv_timeout(SOON).unwrap();
                assert_eq!(message[..4], n.to_be_bytes(), "over {transport:?}");
            }
            assert_eq!(receiver.try_recv(), Err(RecvError::WouldBlock));
            conserved(|| sender.stats());
            conserved(|| receiver.stats());
        }
    }
    for_every_pair!(check);
}

/// C043, C053. Inside the process, where no kernel has buffers of its own.
#[test]
fn a_deeper_receive_queue_takes_more() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        let taken = [2, 32].map(|depth| {
            let (sender, receiver) = (narrow::<R>(2), narrow::<R>(depth));
            let _joined = join!(sender, receiver, Transport::Inproc);
            fill(&sender, 4)
        });
        assert!(taken[1] >= taken[0] + 16, "{taken:?}");
    }
    for_every_pair!(check);
}

/// C044.
#[test]
fn a_send_that_waits_goes_to_the_peer_that_appears() {
    for transport in Transport::ALL {
        let (sender, receiver) = (Pair::new(), Pair::new());
        let mut sending = Box::pin(sender.send_async("at last"));
        assert!(kit::poll_once(&mut sending).is_none());
        let blocked = thread::spawn({
            let sender = sender.clone();
            move || sender.send_timeout("and this", SOON)
        });
        let _joined = join!(sender, receiver, transport);
        kit::block_on(sending).unwrap();
        blocked.join().unwrap().unwrap();
        let mut got = [(); 2].map(|()| receiver.recv_timeout(SOON).unwrap().to_text().into_owned());
        got.sort();
        assert_eq!(got, ["and this", "at last"]);
        conserved(|| sender.stats());
    }
}

/// C045.
#[test]
fn pairs_on_different_names_are_independent() {
    let pairs = [(); 2].map(|()| {
        let (left, right) = (Pair::new(), Pair::new());
        let joined = join!(left, right, Transport::Inproc);
        (left, right, joined)
    });
    pairs[0].0.send("one").unwrap();
    pairs[1].0.send("two").unwrap();
    assert_eq!(pairs[0].1.recv_timeout(SOON).unwrap(), "one");
    assert_eq!(pairs[1].1.recv_timeout(SOON).unwrap(), "two");
    assert_eq!(pairs[0].1.try_recv(), Err(RecvError::WouldBlock));
}

/// C057.
#[test]
fn two_threads_play_ping_pong() {
    const ROUNDS: u32 = 10_000;
    for transport in Transport::ALL {
        let (left, right) = (narrow::<role::Pair>(1), narrow::<role::Pair>(1));
        let _joined = join!(left, right, transport);
        let player = thread::spawn({
            let right = right.clone();
            move || {
                for _ in 0..ROUNDS {
                    let ball = right.recv_timeout(SOON).unwrap();
                    right.send_timeout(ball, SOON).unwrap();
                }
            }
        });
        for n in 0..ROUNDS {
            left.send_timeout(&n.to_be_bytes(), SOON).unwrap();
            assert_eq!(left.recv_timeout(SOON).unwrap()[..], n.to_be_bytes());
        }
        player.join().unwrap();
        conserved(|| left.stats());
        conserved(|| right.stats());
    }
}

/// C057, with two threads on each socket and senders that wait most of the time.
#[test]
fn a_blocked_sender_does_not_stop_the_receiver() {
    const MESSAGES: u32 = 10_000;
    for transport in Transport::ALL {
        let (left, right) = (narrow::<role::Pair>(1), narrow::<role::Pair>(1));
        let _joined = join!(left, right, transport);
        thread::scope(|scope| {
            for pair in [&left, &right] {
                scope.spawn(|| {
                    for n in 0..MESSAGES {
                        pair.send_timeout(&n.to_be_bytes(), SOON).unwrap();
                    }
                });
                scope.spawn(|| {
                    for n in 0..MESSAGES {
                        assert_eq!(pair.recv_timeout(SOON).unwrap()[..], n.to_be_bytes());
                    }
                });
            }
        });
        conserved(|| left.stats());
        conserved(|| right.stats());
    }
}

/// What was received before the peer went stays readable; what waits goes to the next peer.
#[test]
fn what_a_lost_peer_had_sent_is_still_received() {
    for transport in Transport::ALL {
        let (server, first) = (Pair::new(), Pair::new());
        let (_address, endpoint) = join!(server, first, transport);
        for n in 0..10u8 {
            first.send(&[n]).unwrap();
        }
        eventually("all have arrived", || server.stats().recv_queue == 10);
        first.close().unwrap();
        eventually("the peer is gone", || server.peers().is_empty());
        let second = Pair::new();
        second.connect(endpoint.url()).unwrap();
        server.send_timeout("for the second", SOON).unwrap();
        assert_eq!(second.recv_timeout(SOON).unwrap(), "for the second");
        for n in 0..10u8 {
            assert_eq!(server.recv_timeout(SOON).unwrap()[..], [n]);
        }
        conserved(|| server.stats());
    }
}

/// C375: it is told why, no message is taken from it, and `connect_now` calls it no success.
#[test]
fn a_second_peer_is_turned_away_before_it_has_a_pipe() {
    for transport in Transport::ALL {
        let (server, first) = (Pair::new(), Pair::new());
        let (_address, endpoint) = join!(server, first, transport);
        let second = Pair::new();
        let error = second.connect_now(endpoint.url()).unwrap_err();
        let ConnectError::Failed { source, .. } = &error else { panic!("{error}") };
        let peer = ProtocolId::PAIR;
        let greeted = transport == Transport::Inproc;
        assert_eq!(*source, AttemptError::TurnedAway { peer, greeted });
        assert!(error.to_string().ends_with(": it may have a peer already"), "{error}");

        let dialing = second.connect(endpoint.url()).unwrap();
        eventually("it is told", || dialing.status().last_error.as_ref() == Some(source));
        assert!(matches!(second.try_send("lost?"), Err(SendError::WouldBlock(_))));
        assert_eq!(second.stats().established_connections, 0);
        first.close().unwrap();
        second.wait_for_peers(1, SOON).unwrap();
        second.send("not lost").unwrap();
        assert_eq!(server.recv_timeout(SOON).unwrap(), "not lost");
    }
}

/// C375: those of nanomsg, NNG and mangos send their header first, and then close.
#[test]
fn a_peer_that_closes_right_after_its_header_has_turned_us_away() {
    let header = kit::header(0x10);
    let refuse = |listener: &RawListener| {
        let mut peer = listener.accept();
        peer.send(&header);
        assert_eq!(peer.read(8), header);
        peer.finish();
    };
    let (listener, pair) = (RawListener::new(), Pair::new());
    let expected = AttemptError::TurnedAway { peer: ProtocolId::PAIR, greeted: true };
    thread::scope(|scope| {
        scope.spawn(|| refuse(&listener));
        match pair.connect_now(listener.url()) {
            Err(ConnectError::Failed { source, .. }) => assert_eq!(source, expected),
            // The end of the stream may come too late to be waited for, and is then told by the endpoint.
            Ok(endpoint) => eventually("it is told", || {
                endpoint.status().last_error.as_ref() == Some(&expected)
            }),
            Err(error) => panic!("{error}"),
        }
    });
    let pair = Pair::new();
    let endpoint = pair.connect(listener.url()).unwrap();
    refuse(&listener);
    eventually("it is told", || endpoint.status().last_error.as_ref() == Some(&expected));
}

/// Of one that has sent something, or that has stayed, it is not said.
#[test]
fn a_peer_that_was_there_has_not_turned_us_away() {
    let (listener, pair) = (RawListener::new(), Pair::new());
    let events = pair.events();
    let endpoint = pair.connect(listener.url()).unwrap();
    let mut peer = listener.accept();
    peer.send(&kit::header(0x10));
    peer.send_frame(b"here I am");
    kit::attached(&events);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "here I am");
    peer.finish();
    assert_eq!(kit::detached(&events), DetachReason::PeerClosed);
    let _again = listener.accept();
    assert_eq!(endpoint.status().last_error, None);
}

/// A newcomer that finds the place taken is not kept from it if it becomes free in time.
#[test]
fn a_newcomer_gets_the_header_as_soon_as_there_is_room() {
    let pair = Pair::new();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let first = Raw::greet(&url, 0x10, 0x10);
    pair.wait_for_peers(1, SOON).unwrap();
    let mut second = Raw::connect(&url);
    eventually("it is there", || pair.stats().inprogress_connections == 1);
    drop(first);
    eventually("there is room", || pair.peers().is_empty());
    second.send(&kit::header(0x10));
    assert_eq!(second.read(8), kit::header(0x10));
    pair.send_timeout("to the second", SOON).unwrap();
    assert_eq!(second.read_frame(), b"to the second");
    assert_eq!(pair.stats().rejected_pipes, 0);
}
