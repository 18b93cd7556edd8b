//! REQ and REP: every request gets one reply, its own, whatever breaks on the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kit::{QUIET, Raw, RawListener, SOON, Transport, conserved, eventually, join};
use sinew::{
    DetachReason, DropReason, EndpointOptions, Message, OptionError, Options, RecvError, Rep, Req,
    RequestError, SendError,
};

const REQ: u8 = 0x30;
const REP: u8 = 0x31;

fn req(options: Options) -> Req {
    let req = Req::with_options(options.reconnect_interval(Duration::from_millis(10))).unwrap();
    req.set_options(req.options().recv_timeout(SOON)).unwrap();
    req
}

/// Answers every request with its own body, behind `prefix`, until the socket is closed.
fn echo(rep: &Rep, prefix: &'static str) -> JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = [prefix.as_bytes(), request.message()].concat();
            let _ = request.reply(answer);
        }
    })
}

/// A REQ that is bound, and a raw REP connected to it.
fn req_and_raw(transport: Transport, options: Options) -> (Req, Raw, kit::Address) {
    let req = req(options);
    let address = transport.address();
    let endpoint = req.bind(&address.url).unwrap();
    let raw = Raw::greet(&endpoint.url(), REP, REQ);
    req.wait_for_peers(1, SOON).unwrap();
    (req, raw, address)
}

/// A REP that is bound, and a raw REQ connected to it.
fn rep_and_raw(transport: Transport, options: Options) -> (Rep, Raw, kit::Address, String) {
    let rep = Rep::with_options(options).unwrap();
    let address = transport.address();
    let url = rep.bind(&address.url).unwrap().url();
    let raw = Raw::greet(&url, REQ, REP);
    rep.wait_for_peers(1, SOON).unwrap();
    (rep, raw, address, url)
}

/// An address where nobody listens yet, but will.
fn future_address(transport: Transport) -> kit::Address {
    let mut address = transport.address();
    if transport == Transport::Tcp {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        address.url = format!("tcp://{}", listener.local_addr().unwrap());
    }
    address
}

/// C058.
#[test]
fn a_request_gets_its_reply() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let server = echo(&rep, "re: ");
        assert_eq!(req.request("hello").unwrap(), "re: hello");
        assert_eq!(req.request("").unwrap(), "re: ");
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// C059.
#[test]
fn a_reply_without_a_request_is_refused() {
    let error = Rep::new().context().send("to whom?").unwrap_err();
    assert!(matches!(error, SendError::State(_)));
    assert_eq!(error.into_message(), "to whom?");
}

/// C060.
#[test]
fn a_receive_without_a_request_is_refused_at_once() {
    assert_eq!(Req::new().context().recv(), Err(RecvError::State));
}

/// C061.
#[test]
fn a_second_reply_is_refused() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let (asking, answering) = (req.context(), rep.context());
        asking.send("q").unwrap();
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "q");
        answering.send("a").unwrap();
        assert!(matches!(answering.send("b"), Err(SendError::State(_))));
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "a");
        assert_eq!(asking.recv(), Err(RecvError::State));
        conserved(|| rep.stats());
    }
}

/// C062.
#[test]
fn each_requester_gets_its_own_reply() {
    for transport in Transport::ALL {
        let (first, second, rep) = (req(Options::new()), req(Options::new()), Rep::new());
        let (_address, endpoint) = join!(rep, first, transport);
        second.connect(endpoint.url()).unwrap();
        rep.wait_for_peers(2, SOON).unwrap();
        let asking = [first.context(), second.context()];
        asking[0].send("0").unwrap();
        asking[1].send("1").unwrap();
        let requests = [(); 2].map(|()| rep.recv_timeout(SOON).unwrap());
        for request in requests.into_iter().rev() {
            let answer = request.message().clone();
            request.reply(answer).unwrap();
        }
        assert_eq!(asking[0].recv_timeout(SOON).unwrap(), "0");
        assert_eq!(asking[1].recv_timeout(SOON).unwrap(), "1");
        conserved(|| rep.stats());
    }
}

/// C063.
#[test]
fn requests_are_spread_over_the_replies_in_turn() {
    for transport in Transport::ALL {
        let (req, one, two) = (req(Options::new()), Rep::new(), Rep::new());
        let (_address, endpoint) = join!(req, one, transport);
        two.connect(endpoint.url()).unwrap();
        req.wait_for_peers(2, SOON).unwrap();
        let servers = [echo(&one, "1"), echo(&two, "2")];
        let answers: Vec<_> = (0..8).map(|_| req.request("").unwrap()).collect();
        let turns = answers.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(turns, 7, "{answers:?} over {transport:?}");
        one.close().unwrap();
        two.close().unwrap();
        let _ = servers.map(|server| server.join().unwrap());
        conserved(|| req.stats());
    }
}

/// C064, C065.
#[test]
fn a_request_without_a_reply_is_sent_again_and_answered_once() {
    for transport in Transport::STREAMS {
        let interval = Duration::from_millis(100);
        let (req, mut raw, _address) =
            req_and_raw(transport, Options::new().resend_interval(interval));
        let asking = req.context();
        let begin = Instant::now();
        asking.send("again").unwrap();
        let first = raw.read_frame();
        let second = raw.read_frame();
        assert_eq!(first, second);
        assert!(begin.elapsed() >= interval);
        let reply = [&first[..4], b"done"].concat();
        raw.send_frame(&reply);
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "done");
        raw.send_frame(&reply);
        eventually("the late reply is dropped", || req.stats().drops(DropReason::Stale) == 1);
        assert_eq!(asking.recv(), Err(RecvError::State));
        assert!(req.stats().resends >= 1);
        conserved(|| req.stats());
    }
}

/// C066.
#[test]
fn a_request_is_held_until_somebody_listens() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let address = future_address(transport);
        req.connect(&address.url).unwrap();
        let asking = req.context();
        asking.send("early").unwrap();
        assert_eq!(req.stats().held_outbound, 1);
        rep.bind(&address.url).unwrap();
        let request = rep.recv_timeout(SOON).unwrap();
        assert_eq!(*request.message(), "early");
        request.reply("in time").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "in time");
        assert_eq!(req.stats().resends, 0);
        conserved(|| req.stats());
    }
}

/// C067.
#[test]
fn a_request_moves_on_when_its_peer_is_lost() {
    for transport in Transport::ALL {
        let (req, one, two) = (req(Options::new()), Rep::new(), Rep::new());
        let (_address, endpoint) = join!(req, one, transport);
        let asking = req.context();
        asking.send("persistent").unwrap();
        let lost = one.recv_timeout(SOON).unwrap();
        two.connect(endpoint.url()).unwrap();
        req.wait_for_peers(2, SOON).unwrap();
        one.close().unwrap();
        let request = two.recv_timeout(SOON).unwrap();
        assert_eq!(*request.message(), "persistent");
        assert!(matches!(lost.reply("x").unwrap_err().reason(), SendError::Closed(_)));
        request.reply("from two").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "from two");
        assert_eq!(req.stats().resends, 1);
        conserved(|| req.stats());
        conserved(|| one.stats());
        conserved(|| two.stats());
    }
}

/// C068.
#[test]
fn a_request_is_sent_again_to_a_peer_that_comes_back() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let asking = req.context();
        asking.send("twice").unwrap();
        let first = rep.recv_timeout(SOON).unwrap();
        rep.disconnect(first.pipe()).unwrap();
        let second = rep.recv_timeout(SOON).unwrap();
        assert_eq!(*second.message(), "twice");
        assert_ne!(first.pipe(), second.pipe());
        first.reply("to nobody").unwrap();
        second.reply("to somebody").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to somebody");
        assert_eq!(rep.stats().drops(DropReason::PeerGone), 1);
        conserved(|| rep.stats());
        conserved(|| req.stats());
    }
}

/// C069.
#[test]
fn without_resending_a_lost_peer_is_reported_once() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new().resend_interval(None)), Rep::new());
        let _joined = join!(rep, req, transport);
        let (waits, comes_late) = (req.context(), req.context());
        waits.send("1").unwrap();
        comes_late.send("2").unwrap();
        let _requests = [(); 2].map(|()| rep.recv_timeout(SOON).unwrap());
        let typed = thread::spawn({
            let req = req.clone();
            move || req.request("3")
        });
        let _third = rep.recv_timeout(SOON).unwrap();
        let mut waiting = Box::pin(waits.recv_async());
        assert!(kit::poll_once(&mut waiting).is_none());
        rep.close().unwrap();
        assert_eq!(kit::block_on(waiting), Err(RecvError::ConnectionReset));
        let error = typed.join().unwrap().unwrap_err();
        assert!(matches!(error, RequestError::ConnectionReset(_)), "{error}");
        assert_eq!(waits.recv(), Err(RecvError::State));
        assert_eq!(comes_late.recv(), Err(RecvError::ConnectionReset));
        assert_eq!(comes_late.recv(), Err(RecvError::State));
        conserved(|| req.stats());
    }
}

/// C070.
#[test]
fn only_the_reply_to_the_last_request_is_delivered() {
    for transport in Transport::STREAMS {
        let (req, mut raw, _address) = req_and_raw(transport, Options::new());
        let asking = req.context();
        asking.send("A").unwrap();
        let a = raw.read_frame();
        asking.send("B").unwrap();
        let b = raw.read_frame();
        raw.send_frame(&[&a[..4], b"to A"].concat());
        raw.send_frame(&[&b[..4], b"to B"].concat());
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to B");
        assert_eq!(asking.recv(), Err(RecvError::State));
        assert_eq!(req.stats().drops(DropReason::Stale), 1);
        conserved(|| req.stats());
    }
}

/// C071.
#[test]
fn a_receive_that_waits_is_canceled_by_a_newer_request() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let asking = req.context();
        // Nothing tells whether the thread has begun to receive before or after the newer request.
        // After it, it gets the newer reply, and the race is run again.
        eventually("a receive that waits is canceled", || {
            asking.send("A").unwrap();
            rep.recv_timeout(SOON).unwrap().into_message();
            thread::scope(|scope| {
                let blocked = scope.spawn(|| asking.recv());
                thread::yield_now();
                asking.send("B").unwrap();
                rep.recv_timeout(SOON).unwrap().reply("to B").unwrap();
                match blocked.join().unwrap() {
                    Err(RecvError::Canceled) => {
                        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to B");
                        true
                    }
                    late => {
                        assert_eq!(late.unwrap(), "to B");
                        false
                    }
                }
            })
        });
        asking.send("before C").unwrap();
        let mut waiting = Box::pin(asking.recv_async());
        assert!(kit::poll_once(&mut waiting).is_none());
        asking.send("C").unwrap();
        assert_eq!(kit::block_on(waiting), Err(RecvError::Canceled));
        let request = loop {
            let request = rep.recv_timeout(SOON).unwrap();
            if *request.message() == "C" {
                break request;
            }
        };
        request.reply("to C").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to C");
        conserved(|| req.stats());
    }
}

/// C072.
#[test]
fn a_new_request_drops_a_reply_that_nobody_has_read() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let asking = req.context();
        asking.send("A").unwrap();
        rep.recv_timeout(SOON).unwrap().reply("to A").unwrap();
        eventually("the reply is there", || {
            // Another conversation enters the socket, and so hands over what has arrived.
            drop(req.context());
            req.stats().held_inbound == 1
        });
        asking.send("B").unwrap();
        rep.recv_timeout(SOON).unwrap().reply("to B").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "to B");
        assert_eq!(req.stats().drops(DropReason::Unread), 1);
        conserved(|| req.stats());
    }
}

/// C073, C074.
#[test]
fn a_receive_that_fails_leaves_the_request_alone() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let asking = req.context();
        asking.send("slow").unwrap();
        let request = rep.recv_timeout(SOON).unwrap();
        let begin = Instant::now();
        let timeout = Duration::from_millis(20);
        kit::timed_out(asking.recv_timeout(timeout));
        assert!(begin.elapsed() >= timeout);
        for _ in 0..100 {
            assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
        }
        request.reply("at last").unwrap();
        eventually("the reply is there", || match asking.try_recv() {
            Ok(reply) => reply == "at last",
            Err(error) => {
                assert_eq!(error, RecvError::WouldBlock);
                false
            }
        });
        conserved(|| req.stats());
    }
}

/// C075.
#[test]
fn a_second_receive_on_a_context_is_refused() {
    let req = Req::new();
    let asking = req.context();
    asking.send("held").unwrap();
    let mut waiting = Box::pin(asking.recv_async());
    assert!(kit::poll_once(&mut waiting).is_none());
    assert_eq!(asking.recv(), Err(RecvError::State));
    assert_eq!(asking.try_recv(), Err(RecvError::State));
    drop(waiting);
    assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
}

/// C080.
#[test]
fn a_reply_to_a_requester_that_is_gone_succeeds() {
    for transport in Transport::STREAMS {
        let (rep, mut raw, _address, url) = rep_and_raw(transport, Options::new());
        raw.send_frame(b"\x80\0\0\x01q");
        let request = rep.recv_timeout(SOON).unwrap();
        drop(raw);
        eventually("the requester is gone", || rep.peers().is_empty());
        request.reply("to nobody").unwrap();
        assert_eq!(rep.stats().drops(DropReason::PeerGone), 1);
        let mut next = Raw::greet(&url, REQ, REP);
        next.send_frame(b"\x80\0\0\x02q");
        rep.recv_timeout(SOON).unwrap().reply("served").unwrap();
        assert_eq!(next.read_frame(), b"\x80\0\0\x02served");
        conserved(|| rep.stats());
    }
}

/// C080: nor does the reply go to who has come in its place.
#[test]
fn a_reply_to_a_requester_that_is_gone_goes_to_no_successor() {
    for transport in Transport::STREAMS {
        let (rep, mut old, _address, url) = rep_and_raw(transport, Options::new());
        for _ in 0..20 {
            old.send_frame(b"\x80\0\0\x01q");
            let request = rep.recv_timeout(SOON).unwrap();
            drop(old);
            eventually("the requester is gone", || rep.peers().is_empty());
            let mut new = Raw::greet(&url, REQ, REP);
            rep.wait_for_peers(1, SOON).unwrap();
            request.reply("for the old one").unwrap();
            new.send_frame(b"\x80\0\0\x01q");
            rep.recv_timeout(SOON).unwrap().reply("for the new one").unwrap();
            assert_eq!(new.read_frame(), b"\x80\0\0\x01for the new one");
            old = new;
        }
        assert_eq!(rep.stats().drops(DropReason::PeerGone), 20);
        conserved(|| rep.stats());
    }
}

/// C081.
#[test]
fn a_second_request_takes_the_place_of_the_first() {
    for transport in Transport::STREAMS {
        let (rep, mut first, _address, url) = rep_and_raw(transport, Options::new());
        let mut second = Raw::greet(&url, REQ, REP);
        let answering = rep.context();
        first.send_frame(b"\x80\0\0\x01A");
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "A");
        second.send_frame(b"\x80\0\0\x02B");
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "B");
        answering.send("to B").unwrap();
        assert_eq!(second.read_frame(), b"\x80\0\0\x02to B");
        assert!(matches!(answering.send("to A"), Err(SendError::State(_))));
        rep.close().unwrap();
        assert_eq!(first.read_to_end(), b"");
        conserved(|| rep.stats());
    }
}

/// C082.
#[test]
fn a_second_receive_on_an_answering_context_is_refused() {
    let answering = Rep::new().context();
    let mut waiting = Box::pin(answering.recv_async());
    assert!(kit::poll_once(&mut waiting).is_none());
    assert_eq!(answering.recv(), Err(RecvError::State));
    assert_eq!(answering.try_recv(), Err(RecvError::State));
}

/// C083.
#[test]
fn closing_the_socket_ends_a_receive() {
    let rep = Rep::new();
    let answering = rep.context();
    let mut waiting = Box::pin(rep.recv_async());
    assert!(kit::poll_once(&mut waiting).is_none());
    thread::scope(|scope| {
        let typed = scope.spawn(|| rep.recv().err());
        let classic = scope.spawn(|| answering.recv());
        rep.close().unwrap();
        assert_eq!(typed.join().unwrap(), Some(RecvError::Closed));
        assert_eq!(classic.join().unwrap(), Err(RecvError::Closed));
    });
    assert_eq!(kit::block_on(waiting).err(), Some(RecvError::Closed));
}

/// C086.
#[test]
fn hop_limits_go_from_1_to_255() {
    assert_eq!(Rep::new().options().settings().ttl, 8);
    for hops in [0, 256, u16::MAX] {
        let error = Rep::with_options(Options::new().ttl(hops)).unwrap_err();
        assert!(matches!(error, OptionError::Invalid { option: "ttl", .. }), "{error}");
    }
    for hops in [1, 255] {
        let rep = Rep::with_options(Options::new().ttl(hops)).unwrap();
        assert_eq!(u16::from(rep.options().settings().ttl), hops);
    }
}

/// Sends `count` requests, numbered from 1, and reads no reply.
fn flood(raw: &mut Raw, count: u32) {
    (1..=count).for_each(|n| raw.send_frame(&[&(n | 1 << 31).to_be_bytes()[..], b"big"].concat()));
}

/// Answers each request before it receives the next: `big` with 100 kB, others with themselves.
fn server_loop(rep: &Rep) -> JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = if *request == "big" { vec![0; 100_000] } else { request.to_vec() };
            request.reply(answer).expect("a reply has its place");
        }
    })
}

fn narrow() -> Options {
    Options::new().send_queue(2).send_queue_bytes(100_000)
}

/// C087, T C6b: the loop of the README serves others beside peers that ask and do not read, whose requests wait
/// in their own pipes; when they read they get every reply.
#[test]
fn a_server_loop_serves_others_beside_peers_that_do_not_read() {
    const FLOOD: u32 = 200;
    for transport in Transport::STREAMS {
        for peers in [1, 20] {
            let (rep, first, _address, url) = rep_and_raw(transport, narrow());
            let others = (1..peers).map(|_| Raw::greet(&url, REQ, REP));
            let mut silent: Vec<Raw> = std::iter::once(first).chain(others).collect();
            rep.wait_for_peers(peers, SOON).unwrap();
            let server = server_loop(&rep);
            silent.iter_mut().for_each(|raw| flood(raw, FLOOD));
            let req = req(Options::new());
            req.connect(&url).unwrap();
            for n in 0..100 {
                assert_eq!(req.request(n.to_string()).unwrap(), n.to_string());
            }
            eventually("each silent peer is held up by its own requests", || {
                let held_up = rep.peers().into_iter().filter(|peer| peer.recv_queue.messages > 0);
                held_up.count() == peers
            });
            assert_eq!(req.request("still").unwrap(), "still");
            assert!(rep.peers().iter().all(|peer| peer.send_queue.messages <= 2));

            let mut late = silent.pop().expect("there is one");
            for n in 1..=FLOOD {
                let reply = late.read_frame();
                assert_eq!((&reply[..4], reply.len()), (&(n | 1 << 31).to_be_bytes()[..], 100_004));
            }
            drop(silent);
            eventually("the silent ones are gone", || rep.peers().len() == 2);
            assert_eq!(req.request("after").unwrap(), "after");
            rep.close().unwrap();
            server.join().unwrap();
            let stats = conserved(|| rep.stats());
            assert_eq!(stats.drops(DropReason::SendQueueFull), 0);
        }
    }
}

/// C088: requests in hand keep their places, so their replies exceed the bytes of the queue rather than wait.
#[test]
fn every_request_in_hand_has_a_place_for_its_reply() {
    const PLACES: usize = 16;
    for transport in Transport::STREAMS {
        let rep = Rep::with_options(Options::new().send_queue(PLACES).send_queue_bytes(1)).unwrap();
        // All replies wait there until the end.
        let req = req(Options::new().recv_queue_bytes(4 << 20));
        let _joined = join!(rep, req, transport);
        let asking: Vec<_> = (0..2 * PLACES).map(|_| req.context()).collect();
        for (n, context) in asking.iter().enumerate() {
            context.send(n.to_string()).unwrap();
        }
        let in_hand: Vec<_> = (0..PLACES).map(|_| rep.recv_timeout(SOON).unwrap()).collect();
        eventually("the others are there", || rep.peers()[0].recv_queue.messages > 0);
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock), "there are no more places");
        for request in in_hand {
            let answer = [request.body().as_ref(), &[0; 50_000]].concat();
            request.try_reply(answer).unwrap();
        }
        for _ in 0..PLACES {
            let request = rep.recv_timeout(SOON).unwrap();
            let answer = [request.body().as_ref(), &[0; 50_000]].concat();
            request.reply(answer).unwrap();
        }
        for (n, context) in asking.iter().enumerate() {
            let reply = context.recv_timeout(SOON).unwrap();
            assert_eq!(reply.len() - 50_000, n.to_string().len());
            assert!(reply.starts_with(n.to_string().as_bytes()));
        }
        conserved(|| rep.stats());
    }
}

/// C520.
#[test]
fn a_request_that_is_dropped_makes_place_for_the_next() {
    for transport in Transport::STREAMS {
        let (rep, mut raw, _address, _url) = rep_and_raw(transport, Options::new().send_queue(1));
        flood(&mut raw, 5);
        eventually("all are there", || rep.stats().recv_queue == 5);
        let first = rep.recv_timeout(SOON).unwrap();
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock));
        let waiting = thread::spawn({
            let rep = rep.clone();
            move || rep.recv_timeout(SOON).map(sinew::Request::into_message)
        });
        eventually("it waits", || rep.stats().messages_received == 1);
        drop(first);
        waiting.join().unwrap().expect("`into_message` gives the place back as well");
        // Refused for its length: the request is given back, and keeps its place.
        let third = rep.recv_timeout(SOON).unwrap();
        let refused = third.reply(vec![0; 2 << 20]).unwrap_err();
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock));
        drop(refused);
        let mut unpolled = Box::pin(rep.recv_timeout(SOON).unwrap().reply_async("fourth"));
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock));
        kit::poll_once(&mut unpolled).expect("it is sent at once").unwrap();
        assert_eq!(raw.read_frame(), b"\x80\0\0\x04fourth");
        drop(rep.recv_timeout(SOON).unwrap().reply_async("never polled"));
        flood(&mut raw, 1);
        rep.recv_timeout(SOON).unwrap().reply("sixth").unwrap();
        assert_eq!(raw.read_frame(), b"\x80\0\0\x01sixth");
        conserved(|| rep.stats());
    }
}

/// C089.
#[test]
fn requests_are_not_read_ahead() {
    for transport in Transport::STREAMS {
        let (rep, mut raw, _address, _url) = rep_and_raw(transport, Options::new());
        for n in 0..5u8 {
            raw.send_frame(&[0x80, 0, 0, n, n]);
        }
        eventually("all are in the pipe", || rep.stats().recv_queue == 5);
        assert_eq!(rep.stats().held_inbound, 0);
        for n in 0..3u8 {
            assert_eq!(rep.recv_timeout(SOON).unwrap().into_message()[..], [n]);
        }
        drop(raw);
        eventually("the rest goes with the pipe", || rep.stats().drops(DropReason::AskerGone) == 2);
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock));
        conserved(|| rep.stats());
    }
}

/// C090.
#[test]
fn a_new_resend_interval_holds_for_the_next_request() {
    assert_eq!(Req::new().options().settings().resend_interval, Some(Duration::from_secs(60)));
    let (req, mut raw, _address) = req_and_raw(Transport::Tcp, Options::new());
    let asking = req.context();
    let quick = Duration::from_millis(20);
    asking.send("patient").unwrap();
    let patient = raw.read_frame();
    asking.set_resend_interval(quick).unwrap();
    assert!(asking.set_resend_interval(Duration::ZERO).is_err());
    // What is under way keeps its interval.
    kit::timed_out(asking.recv_timeout(5 * quick));
    assert_eq!(req.stats().resends, 0);
    asking.send("impatient").unwrap();
    let impatient = raw.read_frame();
    assert_ne!(patient, impatient);
    assert_eq!(raw.read_frame(), impatient);
    req.set_options(req.options().resend_interval(quick)).unwrap();
    assert_eq!(req.options().settings().resend_interval, Some(quick));
    conserved(|| req.stats());
}

/// C091.
#[test]
fn a_request_that_nobody_takes_is_kept_once() {
    for transport in Transport::ALL {
        let interval = Duration::from_millis(10);
        let (req, rep) = (req(Options::new().resend_interval(interval)), Rep::new());
        let address = future_address(transport);
        req.connect(&address.url).unwrap();
        let asking = req.context();
        asking.send("one").unwrap();
        kit::timed_out(asking.recv_timeout(20 * interval));
        let stats = req.stats();
        assert_eq!((stats.held_outbound, stats.copies_pushed, stats.resends), (1, 0, 0));
        asking.set_resend_interval(None).unwrap();
        rep.bind(&address.url).unwrap();
        rep.recv_timeout(SOON).unwrap().reply("got it").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "got it");
        conserved(|| req.stats());
    }
}

/// C092.
#[test]
fn many_clients_are_all_answered() {
    const SOCKETS: usize = 20;
    const REQUESTS: usize = 1000;
    for transport in Transport::ALL {
        let rep = Rep::new();
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        let server = echo(&rep, "");
        let asked = |number: usize| {
            let req = req(Options::new());
            req.connect(&url).unwrap();
            for n in 0..REQUESTS {
                let body = format!("{number}/{n}");
                assert_eq!(req.request(&body).unwrap(), body);
            }
            conserved(|| req.stats());
        };
        thread::scope(|scope| {
            for number in 0..SOCKETS {
                let asked = &asked;
                scope.spawn(move || asked(number));
            }
        });
        assert_eq!(rep.stats().messages_received, (SOCKETS * REQUESTS) as u64);
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| rep.stats());
    }
}

/// C341.
#[test]
fn a_receive_that_fails_leaves_the_request_in_hand() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let (asking, answering) = (req.context(), rep.context());
        asking.send("A").unwrap();
        assert_eq!(answering.recv_timeout(SOON).unwrap(), "A");
        let timeout = Duration::from_millis(20);
        kit::timed_out(answering.recv_timeout(timeout));
        assert_eq!(answering.try_recv(), Err(RecvError::WouldBlock));
        answering.send("still").unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "still");
        conserved(|| rep.stats());
    }
}

/// A typed request that is given up leaves nothing behind, and its late reply is dropped.
#[test]
fn a_request_that_times_out_is_forgotten() {
    for transport in Transport::ALL {
        let (req, rep) = (req(Options::new()), Rep::new());
        let _joined = join!(rep, req, transport);
        let error = req.request_timeout("lost", QUIET / 5).unwrap_err();
        assert!(matches!(error, RequestError::TimedOut(..)));
        assert_eq!(error.into_message(), "lost");
        rep.recv_timeout(SOON).unwrap().reply("late").unwrap();
        let server = echo(&rep, "");
        assert_eq!(req.request("next").unwrap(), "next");
        assert_eq!(req.stats().drops(DropReason::Stale), 1);
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
    }
}

/// Looking for news before sleeping changes when a call returns, not what it returns; sockets can be
/// closed meanwhile.
#[test]
fn sockets_that_spin_behave_like_others() {
    for transport in Transport::ALL {
        let spins = || Options::new().spin(Duration::from_millis(1));
        let (rep, req) = (Rep::with_options(spins()).unwrap(), req(spins()));
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        let answering = echo(&rep, "re ");
        req.connect(&url).unwrap();
        thread::scope(|scope| {
            for thread in 0..3 {
                let req = &req;
                scope.spawn(move || {
                    for n in 0..200 {
                        let asked = format!("{thread} {n}");
                        assert_eq!(req.request(&asked).unwrap(), format!("re {asked}"));
                    }
                });
            }
        });
        let never = Options::new().recv_timeout(Duration::from_millis(2)).spin(Duration::ZERO);
        req.set_options(never).unwrap();
        rep.close().unwrap();
        answering.join().unwrap();
        req.request("nobody").unwrap_err();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// A REP that was not asked counts the ids up from one that it has seen, and answers sooner than the one
/// that was.
///
/// C345.
#[test]
fn a_guessed_reply_from_a_peer_that_was_not_asked_is_dropped() {
    const ROUNDS: u32 = 200;
    for transport in Transport::STREAMS {
        let (req, mut hostile, _address) = req_and_raw(transport, Options::new());
        let first = thread::spawn({
            let req = req.clone();
            move || req.request("which id?")
        });
        let asked = hostile.read_frame();
        let seen = u32::from_be_bytes(*asked.first_chunk().expect("an id"));
        hostile.send_frame(&[&asked[..4], b"asked"].concat());
        assert_eq!(first.join().unwrap().unwrap(), "asked");

        // The honest one has the better priority, and so all requests.
        let (honest, address) = (Rep::new(), transport.address());
        let endpoint = honest.bind(&address.url).unwrap();
        let best = EndpointOptions::new().send_priority(1);
        req.connect_with(endpoint.url(), &best).unwrap();
        req.wait_for_peers(2, SOON).unwrap();
        for round in 1..=ROUNDS {
            let asking = thread::spawn({
                let req = req.clone();
                move || req.request("are you honest?")
            });
            let request = honest.recv_timeout(SOON).unwrap();
            let guess = (seen.wrapping_add(round) | 1 << 31).to_be_bytes();
            hostile.send_frame(&[&guess[..], b"forged"].concat());
            eventually("the forged reply is dropped, or believed", || {
                let dropped = req.stats().drops(DropReason::NotAsked);
                dropped == u64::from(round) || asking.is_finished()
            });
            request.reply("honest").unwrap();
            assert_eq!(asking.join().unwrap().unwrap(), "honest", "round {round}");
        }
        let stats = conserved(|| req.stats());
        assert_eq!(stats.drops(DropReason::NotAsked), u64::from(ROUNDS));
        assert_eq!(stats.messages_received, u64::from(ROUNDS) + 1);
        let by_peer: u64 = req.peers().iter().map(|peer| peer.drops(DropReason::NotAsked)).sum();
        assert_eq!(by_peer, u64::from(ROUNDS), "and it is known whose they were");
    }
}

/// C346.
#[test]
fn after_a_resend_the_first_peer_may_answer_as_well_as_the_second() {
    for (transport, answers) in [(Transport::Tcp, 0), (Transport::Ipc, 1)] {
        let options = Options::new().resend_interval(Duration::from_millis(50));
        let (req, first, _address) = req_and_raw(transport, options);
        let second = Raw::greet(&req.endpoints()[0].url(), REP, REQ);
        req.wait_for_peers(2, SOON).unwrap();
        let asking = req.context();
        asking.send("either of you?").unwrap();
        let mut peers = [first, second];
        let copies = peers.each_mut().map(Raw::read_frame);
        assert_eq!(copies[0], copies[1]);
        peers[answers].send_frame(&[&copies[0][..4], b"I"].concat());
        assert_eq!(asking.recv_timeout(SOON).unwrap(), "I");
        conserved(|| req.stats());
    }
}

/// C347.
#[test]
fn the_ids_of_every_socket_begin_somewhere_else() {
    let rep = RawListener::new();
    let mut ids: Vec<u32> = (0..8)
        .map(|_| {
            let req = Req::new();
            req.connect(rep.url()).unwrap();
            let asking = req.context();
            asking.send("").unwrap();
            let mut raw = rep.accept();
            raw.read(8);
            raw.send(&kit::header(REP));
            let asked = raw.read_frame();
            u32::from_be_bytes(*asked.first_chunk().expect("an id"))
        })
        .collect();
    assert!(ids.iter().all(|id| id >> 31 == 1), "{ids:x?}");
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[1] - pair[0] > 8), "{ids:x?}");
}

/// A reply over the limit used to make the request go out again with every reconnection, for as long as
/// the call waited.
///
/// C420.
#[test]
fn a_reply_over_the_limit_fails_its_request_and_runs_the_handler_once() {
    for transport in Transport::STREAMS {
        let (req, rep) = (req(Options::new().max_recv_size(100)), Rep::new());
        let (_address, _endpoint) = join!(rep, req, transport);
        let asked = Arc::new(AtomicU64::new(0));
        let handler = thread::spawn({
            let (rep, asked) = (rep.clone(), Arc::clone(&asked));
            move || {
                while let Ok(request) = rep.recv() {
                    asked.fetch_add(1, Ordering::Relaxed);
                    let length = request.message().to_text().parse().unwrap();
                    let _ = request.reply(vec![b'.'; length]);
                }
            }
        });
        let expected = DetachReason::Oversize { announced: 4 + 97, limit: 100 };
        let context = req.context();
        let calls: [&dyn Fn() -> DetachReason; 5] = [
            &|| bad_reply(req.request("97")),
            &|| bad_reply(req.request_timeout("97", SOON)),
            &|| bad_reply(kit::block_on(req.request_async("97"))),
            &|| {
                context.send("97").unwrap();
                let error = context.recv_timeout(SOON).unwrap_err();
                assert_eq!(context.recv(), Err(RecvError::State), "told once");
                reason_of(error)
            },
            &|| {
                context.send("97").unwrap();
                reason_of(kit::block_on(context.recv_async()).unwrap_err())
            },
        ];
        for (n, call) in calls.iter().enumerate() {
            assert_eq!(call(), expected);
            // Another request comes through, and nothing of the first with it.
            assert_eq!(req.request("96").unwrap(), [b'.'; 96]);
            assert_eq!(asked.load(Ordering::Relaxed), 2 * (n as u64 + 1));
        }
        assert_eq!((req.stats().resends, req.stats().oversize), (0, 5));
        conserved(|| req.stats());
        rep.close().unwrap();
        handler.join().unwrap();
    }
}

fn bad_reply(outcome: Result<Message, RequestError>) -> DetachReason {
    match outcome.unwrap_err() {
        RequestError::BadReply { message, reason } => {
            assert_eq!(message, "97", "it is given back");
            reason
        }
        other => panic!("{other}"),
    }
}

fn reason_of(error: RecvError) -> DetachReason {
    match error {
        RecvError::BadReply { reason } => reason,
        other => panic!("{other}"),
    }
}

/// C421.
#[test]
fn a_peer_that_breaks_the_framing_fails_what_it_was_asked_and_no_other_request() {
    let (req, mut bad, address) = req_and_raw(Transport::Ipc, Options::new());
    let lost = req.context();
    lost.send("to the bad one").unwrap();
    bad.read_frame();
    let mut good = Raw::greet(&req.endpoints()[0].url(), REP, REQ);
    req.wait_for_peers(2, SOON).unwrap();
    let (one, other) = (req.context(), req.context());
    one.send("1").unwrap();
    other.send("2").unwrap();
    let kept = good.read_frame();
    bad.read_frame();
    bad.send(b"\x07 is no type of a message");
    assert_eq!(lost.recv(), Err(RecvError::BadReply { reason: DetachReason::Malformed }));
    let mine = if kept.ends_with(b"1") { one } else { other };
    good.send_frame(&[&kept[..4], b"x"].concat());
    assert_eq!(mine.recv().unwrap(), "x");
    assert_eq!(req.stats().resends, 0);
    conserved(|| req.stats());
    drop(address);
}

/// A REP that accepts, reads one request and closes the connection.
fn takes_one_request(listener: &RawListener) -> Vec<u8> {
    let mut raw = listener.accept();
    raw.read(8);
    raw.send(&kit::header(REP));
    raw.read_frame()
}

/// C422.
#[test]
fn a_request_is_sent_again_as_often_as_it_may_be_and_then_fails() {
    for limit in [0, 1, 2] {
        let listener = RawListener::new();
        let req = req(Options::new().max_resends(limit));
        req.connect(listener.url()).unwrap();
        let asking = thread::spawn({
            let req = req.clone();
            move || req.request("again?")
        });
        let copies: Vec<_> = (0..=limit).map(|_| takes_one_request(&listener)).collect();
        assert!(copies.iter().all(|copy| copy.ends_with(b"again?") && *copy == copies[0]));
        match asking.join().unwrap().unwrap_err() {
            RequestError::GivenUp { message, sent, reason } => {
                assert_eq!((message, sent), (Message::from("again?"), limit + 1));
                assert_eq!(reason, DetachReason::PeerClosed);
            }
            other => panic!("{other}"),
        }
        let context = req.context();
        context.set_max_resends(0);
        context.send("by a context").unwrap();
        takes_one_request(&listener);
        let (sent, reason) = (1, DetachReason::PeerClosed);
        assert_eq!(context.recv(), Err(RecvError::GivenUp { sent, reason }));
        assert_eq!(req.stats().resends, u64::from(limit));
        conserved(|| req.stats());
    }
}

/// C424.
#[test]
fn a_request_that_loses_its_peer_again_and_again_is_sent_with_pauses() {
    let listener = RawListener::new();
    let req = req(Options::new());
    req.connect(listener.url()).unwrap();
    let (begin, asking) = (Instant::now(), req.context());
    asking.send("poison").unwrap();
    for copy in 1..=4u32 {
        takes_one_request(&listener);
        // At once the first time, and no sooner than 250 ms after the last copy from then on.
        assert!(begin.elapsed() >= copy.saturating_sub(2) * Duration::from_millis(250));
    }
    conserved(|| req.stats());
}
