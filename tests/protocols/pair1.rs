//! PAIR v1: what it has beyond PAIR v0. What both have in common is in `pair.rs`.

use std::thread;
use std::time::Duration;

use kit::sockets::Listed;
use kit::{Address, Raw, SOON, Transport, conserved, eventually, join};
use sinew::role::{self, Receives, Sends};
use sinew::{
    AttemptError, ConnectError, DropReason, EndpointOptions, HeaderError, Message, OptionError,
    Options, Overflow, Pair1, PipeId, PolyPair1, RecvError, SendError, Socket, raw,
};

const PAIR1: u8 = 0x11;

/// A bound socket and a peer that is nothing but bytes.
fn with_raw_peer<R: Listed>(transport: Transport, options: Options) -> (Socket<R>, Raw, Address) {
    let socket = Socket::<R>::with_options(options).unwrap();
    let address = transport.address();
    let url = socket.bind(&address.url).unwrap().url();
    let peer = Raw::greet(&url, PAIR1, PAIR1);
    socket.wait_for_peers(1, SOON).unwrap();
    (socket, peer, address)
}

/// A polyamorous socket with ordinary peers, each of which has said its name; and their pipes.
fn hub(transport: Transport, spokes: usize) -> (PolyPair1, Vec<(Pair1, PipeId)>, Address) {
    let hub = PolyPair1::new();
    let address = transport.address();
    let url = hub.bind(&address.url).unwrap().url();
    let spokes = (1..=spokes).map(|n| {
        let spoke = Pair1::new();
        spoke.connect(&url).unwrap();
        hub.wait_for_peers(n, SOON).unwrap();
        spoke.send("hello").unwrap();
        let hello = hub.recv_timeout(SOON).unwrap();
        (spoke, hello.pipe().unwrap())
    });
    let spokes = spokes.collect();
    (hub, spokes, address)
}

/// C046, E15, D6.
#[test]
fn a_message_leaves_with_one_hop_counted() {
    fn check<R: Listed + Sends>() {
        for transport in Transport::STREAMS {
            let (pair, mut peer, _address) = with_raw_peer::<R>(transport, Options::new());
            pair.send("x").unwrap();
            assert_eq!(peer.read_frame(), b"\0\0\0\x01x");
            pair.send("").unwrap();
            assert_eq!(peer.read_frame(), b"\0\0\0\x01");
            conserved(|| pair.stats());
        }
    }
    check::<role::Pair1>();
    check::<role::PolyPair1>();
}

/// C047, C048, C049: what is wrong is dropped and counted, the pipe and what follows stay.
#[test]
fn only_what_has_a_good_hop_count_is_received() {
    fn check<R: Listed + Receives<Item = Message>>() {
        for transport in Transport::STREAMS {
            let (pair, mut peer, _address) = with_raw_peer::<R>(transport, Options::new().ttl(4));
            let sent: [(&[u8], &str); 9] = [
                (b"\0\0\0\0", "none, as mangos sends it"),
                (b"\0\0\0\x01", "one"),
                (b"\0\0\0\x05", ""),
                (b"\0\0\0\xFF", ""),
                (b"\0\0\0\x04", "as many as allowed"),
                (b"\0\0\0", ""),
                (b"\0\0\x01\0", ""),
                (b"\x80\0\0\x01", ""),
                (b"\0\0\0\x02", "two"),
            ];
            for (header, body) in sent {
                peer.send_frame(&[header, body.as_bytes()].concat());
            }
            for (_, body) in sent.iter().filter(|(_, body)| !body.is_empty()) {
                assert_eq!(pair.recv_timeout(SOON).unwrap(), *body);
            }
            let (stats, from) = (conserved(|| pair.stats()), pair.peers().remove(0));
            for (reason, count) in [(DropReason::TtlExceeded, 2), (DropReason::Malformed, 3)] {
                assert_eq!((stats.drops(reason), from.drops(reason)), (count, count));
            }
        }
    }
    check::<role::Pair1>();
    check::<role::PolyPair1>();
    check::<role::Raw<role::Pair1>>();
}

/// C050, C220: the header is the word as it came, and grows by one on its way out.
#[test]
fn a_raw_socket_sees_the_hops_and_adds_its_own() {
    for transport in Transport::STREAMS {
        let (pair, mut peer, _address) =
            with_raw_peer::<role::Raw<role::Pair1>>(transport, Options::new());
        peer.send_frame(b"\0\0\0\x02body");
        let message = pair.recv_timeout(SOON).unwrap();
        assert_eq!((&message.header()[..], &message[..]), (&b"\0\0\0\x02"[..], &b"body"[..]));
        pair.send(message).unwrap();
        assert_eq!(peer.read_frame(), b"\0\0\0\x03body");
        conserved(|| pair.stats());
    }
}

/// C050.
#[test]
fn a_raw_socket_talks_to_a_cooked_one() {
    for transport in Transport::ALL {
        let (raw, cooked) = (raw::Pair1::new(), Pair1::new());
        let _joined = join!(raw, cooked, transport);
        cooked.send("there").unwrap();
        let message = raw.recv_timeout(SOON).unwrap();
        assert_eq!(message.header()[..], *b"\0\0\0\x01");
        raw.send(Message::from("and back").with_header(message.header().clone())).unwrap();
        assert_eq!(cooked.recv_timeout(SOON).unwrap(), "and back");
        conserved(|| raw.stats());
        conserved(|| cooked.stats());
    }
}

/// C051.
#[test]
fn a_raw_socket_refuses_what_is_no_hop_count() {
    for transport in Transport::STREAMS {
        let (pair, mut peer, _address) =
            with_raw_peer::<role::Raw<role::Pair1>>(transport, Options::new());
        let refused: [&'static [u8]; 7] = [
            b"",
            b"\0\0\x01",
            b"\0\0\0\xFF",
            b"\0\0\x01\0",
            b"\0\x01\0\0",
            b"\x80\0\0\x01",
            b"\0\0\0\x01\0",
        ];
        for header in refused {
            let error = pair.send(Message::from("back").with_header(header)).unwrap_err();
            assert!(matches!(error, SendError::Header(_)), "{error}");
            let message = error.into_message();
            assert_eq!((&message.header()[..], &message[..]), (header, &b"back"[..]));
        }
        assert_eq!((pair.stats().messages_sent, pair.stats().copies_pushed), (0, 0));
        pair.send(Message::from("x").with_header(&b"\0\0\0\xFE"[..])).unwrap();
        assert_eq!(peer.read_frame(), b"\0\0\0\xFFx", "nothing came before it");
        conserved(|| pair.stats());
    }
}

/// C054.
#[test]
fn pair_v1_has_a_hop_limit_and_pair_v0_has_none() {
    fn check<R: Listed>() {
        assert_eq!(Socket::<R>::new().options().settings().ttl, 8);
        for ttl in [0, 1, 2, 255, 256, u16::MAX] {
            let made = Socket::<R>::with_options(Options::new().ttl(ttl));
            if R::IDS.0 != PAIR1 {
                assert!(matches!(made, Err(OptionError::NoSuchOption { option: "ttl", .. })));
            } else if (1..=255).contains(&ttl) {
                assert_eq!(u16::from(made.unwrap().options().settings().ttl), ttl);
            } else {
                let (option, value, allowed) = ("ttl", ttl.to_string(), "1 to 255 hops");
                assert_eq!(made.unwrap_err(), OptionError::Invalid { option, value, allowed });
            }
        }
    }
    check::<role::Pair1>();
    check::<role::PolyPair1>();
    check::<role::Raw<role::Pair1>>();
    check::<role::Pair>();
    check::<role::Raw<role::Pair>>();
}

/// C054, C303.
#[test]
fn the_hop_limit_can_be_changed_while_the_socket_is_in_use() {
    fn check<R: Listed + Receives<Item = Message>>() {
        let (pair, mut peer, _address) = with_raw_peer::<R>(Transport::Tcp, Options::new());
        peer.send_frame(b"\0\0\0\x02within");
        assert_eq!(pair.recv_timeout(SOON).unwrap(), "within");
        pair.set_options(pair.options().ttl(1)).unwrap();
        peer.send_frame(b"\0\0\0\x02beyond");
        peer.send_frame(b"\0\0\0\x01direct");
        assert_eq!(pair.recv_timeout(SOON).unwrap(), "direct");
        assert_eq!(pair.stats().drops(DropReason::TtlExceeded), 1);
    }
    check::<role::Pair1>();
    check::<role::PolyPair1>();
    check::<role::Raw<role::Pair1>>();
}

/// C007.
#[test]
fn pair_v0_and_pair_v1_do_not_talk_to_each_other() {
    fn check<L: Listed, D: Listed>() {
        for transport in Transport::ALL {
            let (listener, dialer) = (Socket::<L>::new(), Socket::<D>::new());
            let events = (listener.events(), dialer.events());
            let address = transport.address();
            let url = listener.bind(&address.url).unwrap().url();
            match dialer.connect_now(&url).unwrap_err() {
                ConnectError::Failed {
                    source: AttemptError::Protocol(HeaderError::Peer { expected, announced }),
                    ..
                } => {
                    assert_eq!(expected.number(), u16::from(D::IDS.1));
                    assert_eq!(announced.number(), u16::from(L::IDS.0));
                }
                other => panic!("{other:?}"),
            }
            // In the background it goes on trying, in vain.
            let often = EndpointOptions::new().reconnect_interval(Duration::from_millis(5));
            dialer.connect_with(&url, &often).unwrap();
            eventually("the listener has seen some", || listener.stats().handshake_errors >= 3);
            assert!(events.0.try_recv().is_err() && events.1.try_recv().is_err(), "no event");

            let good = Socket::<L>::new();
            good.connect(&url).unwrap();
            listener.wait_for_peers(1, SOON).expect("the listener goes on accepting");
        }
    }
    check::<role::Pair, role::Pair1>();
    check::<role::Pair1, role::Pair>();
    check::<role::PolyPair1, role::Pair>();
}

/// C055.
#[test]
fn a_message_goes_to_the_peer_it_names() {
    for transport in Transport::ALL {
        let (hub, spokes, _address) = hub(transport, 3);
        for (n, (_, pipe)) in spokes.iter().enumerate() {
            hub.send_to(*pipe, format!("to {n}")).unwrap();
        }
        for (n, (spoke, _)) in spokes.iter().enumerate() {
            assert_eq!(spoke.recv_timeout(SOON).unwrap(), format!("to {n}"));
            assert_eq!(spoke.try_recv(), Err(RecvError::WouldBlock));
        }
        let (gone, pipe) = &spokes[0];
        gone.close().unwrap();
        eventually("it is gone", || hub.peers().len() == 2);
        hub.send_to(*pipe, "to nobody").unwrap();
        assert_eq!(hub.stats().drops(DropReason::PeerGone), 1);
        assert_eq!(hub.stats().messages_sent, 4);
        conserved(|| hub.stats());
    }
}

/// C055: each of many peers may speak, and is answered.
#[test]
fn many_peers_are_each_answered() {
    for transport in Transport::ALL {
        let (hub, spokes, _address) = hub(transport, 5);
        thread::scope(|scope| {
            for (n, (spoke, _)) in spokes.iter().enumerate() {
                scope.spawn(move || {
                    for round in 0..100 {
                        let question = format!("{n}/{round}");
                        spoke.send_timeout(&question, SOON).unwrap();
                        assert_eq!(spoke.recv_timeout(SOON).unwrap(), question);
                    }
                });
            }
            for _ in 0..500 {
                let question = hub.recv_timeout(SOON).unwrap();
                hub.send_to(question.pipe().unwrap(), question).unwrap();
            }
        });
        assert_eq!(hub.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
        conserved(|| hub.stats());
    }
}

/// C056.
#[test]
fn a_message_that_names_nobody_goes_to_one_peer() {
    for transport in Transport::ALL {
        let (hub, spokes, _address) = hub(transport, 2);
        for text in ["one", "two"] {
            hub.send(text).unwrap();
        }
        let (oldest, other) = (&spokes[0].0, &spokes[1].0);
        assert_eq!(oldest.recv_timeout(SOON).unwrap(), "one");
        assert_eq!(oldest.recv_timeout(SOON).unwrap(), "two");
        assert_eq!(other.try_recv(), Err(RecvError::WouldBlock));
        oldest.close().unwrap();
        eventually("it is gone", || hub.peers().len() == 1);
        hub.send("three").unwrap();
        assert_eq!(other.recv_timeout(SOON).unwrap(), "three");
        conserved(|| hub.stats());
    }
}

/// C056.
#[test]
fn a_peer_that_does_not_read_is_never_waited_for() {
    for transport in Transport::ALL {
        let narrow = || Options::new().send_queue(2).recv_queue(2);
        let (hub, spoke) =
            (PolyPair1::with_options(narrow()).unwrap(), Pair1::with_options(narrow()).unwrap());
        let _joined = join!(hub, spoke, transport);
        let body = vec![0; 1 << 16];
        for _ in 0..200 {
            hub.send(&body).unwrap();
        }
        let (stats, peer) = (hub.stats(), hub.peers().remove(0));
        assert_eq!(stats.messages_sent, 200);
        assert_eq!(stats.copies_pushed + stats.drops(DropReason::SendQueueFull), 200);
        let (blamed, dropped) =
            (peer.drops(DropReason::SendQueueFull), stats.drops(DropReason::SendQueueFull));
        assert_eq!(blamed, dropped, "the socket has chosen the peer, and knows it");
        for _ in 0..stats.copies_pushed {
            assert_eq!(spoke.recv_timeout(SOON).unwrap(), body);
        }
        assert_eq!(spoke.try_recv(), Err(RecvError::WouldBlock));
        conserved(|| hub.stats());
    }
}

/// Semantics, section 4.3: only the first peer is ever waited for.
#[test]
fn a_polyamorous_socket_waits_for_its_first_peer_only() {
    for transport in Transport::ALL {
        let (hub, spoke) = (PolyPair1::new(), Pair1::new());
        assert!(matches!(hub.try_send("x"), Err(SendError::WouldBlock(_))));
        let mut sending = Box::pin(hub.send_async("at last"));
        assert!(kit::poll_once(&mut sending).is_none());
        let _joined = join!(hub, spoke, transport);
        kit::block_on(sending).unwrap();
        assert_eq!(spoke.recv_timeout(SOON).unwrap(), "at last");
        spoke.close().unwrap();
        eventually("the peer is gone", || hub.peers().is_empty());
        hub.try_send("to nobody").unwrap();
        assert_eq!(hub.stats().drops(DropReason::NoPeer), 1);
        conserved(|| hub.stats());
    }
}

/// A hub that waits for who has no room, and a peer, with room for so many messages on each side.
fn waiting_hub(room: usize) -> (PolyPair1, Pair1) {
    let narrow = Options::new().send_queue(room).recv_queue(room);
    let hub = PolyPair1::with_options(narrow.clone().overflow(Overflow::Wait)).unwrap();
    (hub, Pair1::with_options(narrow).unwrap())
}

/// C393: by name and without.
#[test]
fn a_hub_that_waits_misses_nothing_of_a_burst() {
    const BURST: u32 = 10_000;
    for transport in Transport::ALL {
        for named in [true, false] {
            let (hub, spoke) = waiting_hub(128);
            let _joined = join!(hub, spoke, transport);
            let pipe = hub.peers()[0].pipe;
            let sender = thread::spawn({
                let hub = hub.clone();
                move || {
                    for n in 0..BURST {
                        if named {
                            hub.send_to(pipe, &n.to_be_bytes()).unwrap()
                        } else {
                            hub.send(&n.to_be_bytes()).unwrap()
                        }
                    }
                }
            });
            for n in 0..BURST {
                assert_eq!(spoke.recv_timeout(SOON).unwrap(), n.to_be_bytes(), "{transport:?}");
            }
            sender.join().unwrap();
            assert_eq!(hub.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
            conserved(|| hub.stats());
            conserved(|| spoke.stats());
        }
    }
}

/// Sends to the peer on `pipe` until it has no room.
fn fill(hub: &PolyPair1, pipe: PipeId) -> u64 {
    let body = vec![0; 1 << 16];
    let mut sent = 0;
    loop {
        match hub.send_to_timeout(pipe, &body, Duration::from_millis(250)) {
            Ok(()) => sent += 1,
            Err(SendError::TimedOut(message, _)) => {
                assert_eq!(message, body, "a send that fails gives the message back");
                return sent;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// C393: threads and tasks that wait for one peer, and one that sends to another meanwhile.
#[test]
fn who_waits_for_a_slow_peer_holds_up_no_other() {
    for transport in Transport::ALL {
        let (hub, slow) = waiting_hub(2);
        let (address, endpoint) = join!(hub, slow, transport);
        let pipe = hub.peers()[0].pipe;
        let quick = Pair1::new();
        quick.connect_now(endpoint.url()).unwrap();
        hub.wait_for_peers(2, SOON).unwrap();
        let to_quick = hub.peers().iter().find(|peer| peer.pipe != pipe).unwrap().pipe;
        let filled = fill(&hub, pipe);
        let refused = hub.try_send_to(pipe, "no").unwrap_err();
        assert!(matches!(refused, SendError::WouldBlock(message) if message == "no"));
        let mut task = Box::pin(hub.send_to_async(pipe, "task"));
        assert!(kit::poll_once(&mut task).is_none());
        let threads = ["named", "unnamed"].map(|text| {
            let hub = hub.clone();
            thread::spawn(move || match text {
                "named" => hub.send_to_timeout(pipe, text, SOON),
                _ => hub.send_timeout(text, SOON),
            })
        });
        for n in 0..100 {
            hub.send_to(to_quick, format!("{n}")).unwrap();
            assert_eq!(quick.recv_timeout(SOON).unwrap(), format!("{n}"));
        }
        for _ in 0..filled {
            slow.recv_timeout(SOON).unwrap();
        }
        kit::block_on(task).unwrap();
        let mut rest = [(); 3].map(|()| slow.recv_timeout(SOON).unwrap().to_text().into_owned());
        rest.sort_unstable();
        assert_eq!(rest, ["named", "task", "unnamed"], "{transport:?}");
        threads.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
        assert_eq!(hub.stats().dropped().map(|(_, count)| count).sum::<u64>(), 0);
        conserved(|| hub.stats());
        drop(address);
    }
}

/// C394: as a reply to who has gone.
#[test]
fn a_send_that_waits_ends_when_its_peer_goes() {
    for transport in Transport::ALL {
        let (hub, spoke) = waiting_hub(2);
        let _joined = join!(hub, spoke, transport);
        let pipe = hub.peers()[0].pipe;
        fill(&hub, pipe);
        let mut named = Box::pin(hub.send_to_async(pipe, "to nobody"));
        let mut unnamed = Box::pin(hub.send_async("to the next"));
        assert!(kit::poll_once(&mut named).is_none() && kit::poll_once(&mut unnamed).is_none());
        let next = Pair1::new();
        spoke.close().unwrap();
        eventually("it is gone", || hub.peers().is_empty());
        kit::block_on(named).unwrap();
        assert_eq!(hub.stats().drops(DropReason::PeerGone), 1);
        assert!(kit::poll_once(&mut unnamed).is_none(), "as long as nobody is there");
        next.connect_now(_joined.1.url()).unwrap();
        kit::block_on(unnamed).unwrap();
        assert_eq!(next.recv_timeout(SOON).unwrap(), "to the next");
        conserved(|| hub.stats());
    }
}
