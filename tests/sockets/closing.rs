//! Closing: releases every call that waits, gives everything back, loses nothing it should not.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::{self, Form, Listed, ListedSender, at_once, one_by_one};
use kit::{
    QUIET, Raw, SOON, TempDir, Transport, block_on, conserved, eventually, every_receiver,
    every_sender, every_socket, join,
};
use sinew::role::{self, Receives, Role};
use sinew::{
    BindError, Closed, ConnectError, DropReason, Message, Options, Pair, PipeEventKind, Pub,
    RecvError, Rep, Req, RequestError, Respondent, SendError, Socket, Stats, Sub, Surveyor,
    WaitError,
};

/// C114, C136, C162, C290: every socket that receives, ten calls each. Contexts are in
/// protocols/contexts.rs.
#[test]
fn close_releases_every_receive_of_every_kind_of_socket() {
    fn check<R: Listed + Receives>() {
        for _ in 0..20 {
            let socket = Socket::<R>::with_options(Options::new()).unwrap();
            released(&socket, sockets::waiting_recvs(), |name, outcome| {
                assert_eq!(outcome, Err(RecvError::Closed), "{} {name}", R::NAME);
            });
            conserved(|| socket.stats());
        }
    }
    one_by_one(every_receiver!(check));
}

/// C113, C289: without a peer.
#[test]
fn close_releases_every_send_of_every_kind_of_socket() {
    fn check<R: ListedSender>() {
        for _ in 0..if R::WAITS { 20 } else { 0 } {
            let socket = Socket::<R>::with_options(Options::new()).unwrap();
            released(&socket, sockets::waiting_sends(), gives_back::<R>);
            conserved(|| socket.stats());
        }
    }
    one_by_one(every_sender!(check));
}

/// C113, C289, C297: with a peer that does not read.
#[test]
fn close_releases_every_send_that_waits_for_a_stalled_peer() {
    fn check<R: ListedSender>() {
        // The polyamorous waits for nobody once there has been somebody.
        if !R::WAITS || R::NAME == role::PolyPair1::NAME {
            return;
        }
        for transport in Transport::STREAMS {
            let socket = Socket::<R>::with_options(Options::new().send_queue(1)).unwrap();
            let address = transport.address();
            let endpoint = socket.bind(&address.url).unwrap();
            let _stalled = Raw::greet(&endpoint.url(), R::IDS.1, R::IDS.0);
            socket.wait_for_peers(1, SOON).unwrap();
            let header = R::message("").header().clone();
            let body = Message::from(vec![7; 1_000_000]).with_header(header);
            while socket.send_timeout(body.clone(), QUIET).is_ok() {}
            let start = Instant::now();
            released(&socket, sockets::waiting_sends(), gives_back::<R>);
            assert!(start.elapsed() < SOON, "{}: close does not wait", R::NAME);
            conserved(|| socket.stats());
        }
    }
    at_once(every_sender!(check));
}

/// Ten calls wait on a socket that is closed then.
fn released<R: Role, T: Send, const N: usize>(
    socket: &Socket<R>,
    forms: [Form<Socket<R>, T>; N],
    check: impl Fn(&str, T),
) {
    thread::scope(|scope| {
        let calls: Vec<_> = forms
            .into_iter()
            .cycle()
            .take(10)
            .map(|(name, call)| (name, scope.spawn(move || call(socket))))
            .collect();
        socket.close().unwrap();
        calls.into_iter().for_each(|(name, call)| check(name, call.join().unwrap()));
    });
}

fn gives_back<R: ListedSender>(name: &str, outcome: Result<(), SendError>) {
    match outcome {
        Err(SendError::Closed(message)) => assert_eq!(message, R::message("mine")),
        other => panic!("{} {name}: {other:?}", R::NAME),
    }
}

/// C289: a receive, while the requests of a peer that does not read wait for places.
#[test]
fn close_releases_a_receive_beside_a_peer_that_does_not_read() {
    for transport in Transport::STREAMS {
        let options = Options::new().send_queue(7).send_queue_bytes(8 << 20);
        let rep = Rep::with_options(options).unwrap();
        let address = transport.address();
        let endpoint = rep.bind(&address.url).unwrap();
        let mut stalled = Raw::greet(&endpoint.url(), 0x30, 0x31);
        let replier = thread::spawn({
            let rep = rep.clone();
            move || {
                loop {
                    let request = match rep.recv() {
                        Ok(request) => request,
                        Err(error) => return error,
                    };
                    if let Err(error) = request.reply(vec![0; 1_000_000]) {
                        assert!(matches!(error.reason(), SendError::Closed(_)), "{error:?}");
                    }
                }
            }
        });
        for id in 0x8000_0000_u32..0x8000_0080 {
            stalled.send_frame(&id.to_be_bytes());
        }
        // No event tells that nothing moves any more. A queue that was full has places again when it is
        // half empty: until then the requests wait.
        eventually("the kernel takes no more", || {
            let before = rep.stats();
            thread::sleep(QUIET);
            let stats = rep.stats();
            let moved = |stats: &Stats| (stats.copies_written, stats.copies_pushed);
            stats.send_queue > 3 && moved(&stats) == moved(&before)
        });
        let start = Instant::now();
        rep.close().unwrap();
        assert!(start.elapsed() < Duration::from_secs(1), "C297: close does not wait");
        assert_eq!(replier.join().unwrap(), RecvError::Closed);
        eventually("what was queued is counted", || {
            let stats = rep.stats();
            stats.drops(DropReason::ClosedUnsent) > 0 && stats.check_conservation().is_ok()
        });
    }
}

/// C291.
#[test]
fn every_call_on_a_closed_socket_says_closed() {
    let (pair, req, rep) = (Pair::new(), Req::new(), Rep::new());
    let (surveyor, respondent) = (Surveyor::new(), Respondent::new());
    pair.close().unwrap();
    req.close().unwrap();
    rep.close().unwrap();
    surveyor.close().unwrap();
    respondent.close().unwrap();
    assert!(matches!(pair.send("x"), Err(SendError::Closed(m)) if m == "x"));
    assert!(matches!(pair.try_send("x"), Err(SendError::Closed(_))));
    assert!(matches!(pair.send_timeout("x", SOON), Err(SendError::Closed(_))));
    assert!(matches!(block_on(pair.send_async("x")), Err(SendError::Closed(_))));
    assert_eq!(pair.recv(), Err(RecvError::Closed));
    assert_eq!(pair.try_recv(), Err(RecvError::Closed));
    assert_eq!(block_on(pair.recv_async()), Err(RecvError::Closed));
    assert!(matches!(pair.bind("inproc://closed"), Err(BindError::Closed)));
    assert!(matches!(pair.connect("inproc://closed"), Err(ConnectError::Closed)));
    assert!(matches!(pair.connect_now("inproc://closed"), Err(ConnectError::Closed)));
    assert_eq!(pair.wait_for_peers(0, SOON), Err(WaitError::Closed));
    assert!(matches!(pair.events().recv(), Err(RecvError::Closed)));
    assert!(pair.peers().is_empty());
    assert_eq!(pair.drain(SOON), 0);
    assert!(matches!(req.request("x"), Err(RequestError::Closed(m)) if m == "x"));
    assert!(matches!(req.context().send("x"), Err(SendError::Closed(_))));
    assert_eq!(req.context().recv(), Err(RecvError::Closed));
    assert!(matches!(rep.recv(), Err(RecvError::Closed)));
    assert_eq!(rep.context().recv(), Err(RecvError::Closed));
    assert!(matches!(surveyor.survey("x"), Err(SendError::Closed(_))));
    assert!(matches!(surveyor.context().send("x"), Err(SendError::Closed(_))));
    assert!(matches!(respondent.try_recv(), Err(RecvError::Closed)));
}

/// C291, C292: what all sockets have.
#[test]
fn every_kind_of_socket_says_closed() {
    fn common<R: Listed>() {
        let socket = Socket::<R>::with_options(Options::new()).unwrap();
        let endpoint = socket.bind("tcp://127.0.0.1:0").unwrap();
        socket.close().unwrap();
        assert_eq!(socket.close(), Err(Closed));
        assert!(socket.is_closed());
        assert!(matches!(socket.bind("inproc://closed"), Err(BindError::Closed)));
        assert!(matches!(socket.connect("inproc://closed"), Err(ConnectError::Closed)));
        assert!(matches!(socket.connect_now("inproc://closed"), Err(ConnectError::Closed)));
        assert_eq!(socket.wait_for_peers(0, SOON), Err(WaitError::Closed));
        assert!(matches!(socket.events().recv(), Err(RecvError::Closed)));
        assert_eq!(endpoint.close(), Err(Closed));
        assert!(socket.peers().is_empty());
        assert_eq!(socket.drain(SOON), 0);
        conserved(|| socket.stats());
    }
    fn sends<R: ListedSender>() {
        let socket = Socket::<R>::with_options(Options::new()).unwrap();
        socket.close().unwrap();
        gives_back::<R>("try_send", socket.try_send(R::message("mine")));
        for (name, send) in sockets::waiting_sends() {
            gives_back::<R>(name, send(&socket));
        }
        // Before anything that is wrong with the message itself.
        let odd = Message::from("mine").with_header(b"odd".to_vec());
        assert!(matches!(socket.send(odd), Err(SendError::Closed(_))), "{}", R::NAME);
        assert_eq!(socket.stats().messages_sent, 0);
    }
    fn receives<R: Listed + Receives>() {
        let socket = Socket::<R>::with_options(Options::new()).unwrap();
        socket.close().unwrap();
        assert_eq!(socket.try_recv().map(drop), Err(RecvError::Closed), "{}", R::NAME);
        for (name, recv) in sockets::waiting_recvs() {
            assert_eq!(recv(&socket), Err(RecvError::Closed), "{} {name}", R::NAME);
        }
    }
    one_by_one(every_socket!(common));
    one_by_one(every_sender!(sends));
    one_by_one(every_receiver!(receives));
}

/// C292.
#[test]
fn the_second_close_says_so_and_two_at_once_do_no_harm() {
    for _ in 0..1000 {
        let pair = Pair::new();
        let twin = pair.clone();
        let other = thread::spawn(move || twin.close());
        let outcomes = [pair.close(), other.join().unwrap()];
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1);
        assert_eq!(pair.close(), Err(Closed));
    }
}

#[test]
fn dropping_the_last_handle_closes_and_dropping_another_does_not() {
    let pair = Pair::new();
    let endpoint = pair.bind("tcp://127.0.0.1:0").unwrap();
    drop(pair.clone());
    let mut peer = Raw::greet(&endpoint.url(), 0x10, 0x10);
    drop(pair);
    assert!(peer.read_to_end().is_empty());
    assert_eq!(endpoint.close(), Err(Closed));
}

/// C245: also with live connections.
#[test]
fn an_address_can_be_bound_again_as_soon_as_close_returns() {
    for transport in Transport::ALL {
        let address = transport.address();
        let mut url = address.url.clone();
        for _ in 0..20 {
            let (pair, peer) = (Pair::new(), Pair::new());
            url = pair.bind(&url).expect("the address is free").url();
            peer.connect(&url).unwrap();
            peer.wait_for_peers(1, SOON).unwrap();
            pair.close().unwrap();
        }
    }
}

/// C294: what was accepted is in the kernel when close returns, and no reset destroys it.
#[test]
fn what_was_sent_before_close_arrives() {
    for transport in Transport::STREAMS {
        for _ in 0..100 {
            let (pair, peer) = (Pair::new(), Pair::new());
            let _address = join!(pair, peer, transport);
            for n in 0..10 {
                pair.send(format!("message {n}")).unwrap();
                // Unread bytes at the closing side are what provokes a reset.
                peer.send("never read").unwrap();
            }
            pair.close().unwrap();
            for n in 0..10 {
                assert_eq!(peer.recv_timeout(SOON).unwrap(), format!("message {n}"));
            }
        }
    }
}

/// C295 and C296: nothing to wait for is waited for, and everything is counted.
#[test]
fn close_drops_and_counts_what_nobody_will_have() {
    let req = Req::new();
    req.connect("tcp://127.0.0.1:9").unwrap();
    req.context().send("held for nobody").unwrap();
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Inproc);
    peer.send("unread").unwrap();
    let start = Instant::now();
    req.close().unwrap();
    pair.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(pair.stats().drops(DropReason::ClosedUnread), 1);
    conserved(|| pair.stats());
    conserved(|| peer.stats());
}

#[test]
fn linger_lets_the_io_thread_write_on_while_close_returns_at_once() {
    const MESSAGES: usize = 64;
    let options = Options::new().linger(6 * SOON);
    let pair = Pair::with_options(options).unwrap();
    let endpoint = pair.bind("tcp://127.0.0.1:0").unwrap();
    let mut slow = Raw::greet(&endpoint.url(), 0x10, 0x10);
    pair.wait_for_peers(1, SOON).unwrap();
    // More than the kernel takes, so that something is left in the queue.
    let body = vec![7; 1 << 20];
    let mut sent = 0;
    while sent < MESSAGES && pair.send_timeout(&body, QUIET).is_ok() {
        sent += 1;
    }
    assert!(pair.stats().send_queue > 0);
    pair.close().unwrap();
    for _ in 0..sent {
        assert_eq!(slow.read_frame(), body);
    }
    assert!(slow.read_to_end().is_empty());
    eventually("all is written", || pair.stats().copies_written == sent as u64);
    conserved(|| pair.stats());
}

#[test]
fn drain_waits_for_the_kernel_and_says_what_is_left() {
    let pair = Pair::new();
    let endpoint = pair.bind("tcp://127.0.0.1:0").unwrap();
    let mut slow = Raw::greet(&endpoint.url(), 0x10, 0x10);
    pair.wait_for_peers(1, SOON).unwrap();
    let body = vec![7; 1 << 20];
    let mut sent = 0;
    // Until the kernel takes no more.
    while pair.send_timeout(&body, QUIET).is_ok() {
        sent += 1;
    }
    assert!(pair.drain(QUIET) > 0);
    let drained = thread::spawn(move || pair.drain(SOON));
    for _ in 0..sent {
        assert_eq!(slow.read_frame().len(), body.len());
    }
    assert_eq!(drained.join().unwrap(), 0);
}

/// C014 and C280: a connect, a retry and a header exchange under way do not hold up close.
#[test]
fn close_abandons_what_is_under_way() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", silent.local_addr().unwrap());
    let req = Req::new();
    let waiting = thread::spawn({
        let (req, url) = (req.clone(), url.clone());
        move || req.connect_now(&url).unwrap_err()
    });
    let (held, _) = silent.accept().unwrap();
    let retrying = req.connect("tcp://127.0.0.1:1").unwrap();
    eventually("it waits for its next attempt", || retrying.status().next_attempt.is_some());
    eventually("an exchange is under way", || req.stats().inprogress_connections == 1);
    req.close().unwrap();
    assert!(matches!(waiting.join().unwrap(), ConnectError::Closed));
    eventually("nothing is under way", || req.stats().inprogress_connections == 0);
    // Our header, and then the end.
    assert_eq!(Raw::accepted(held).read_to_end(), kit::header(0x30));
}

/// C236: from the callback that lets peers in, and from the events.
#[test]
fn a_socket_can_be_closed_from_its_admit_callback() {
    for transport in Transport::ALL {
        let (told, closes) = mpsc::channel::<Pair>();
        let options = Options::new().admit({
            let closes = std::sync::Mutex::new(closes);
            move |_| {
                let pair = closes.lock().unwrap().recv_timeout(SOON).expect("the test sends it");
                pair.close().is_ok()
            }
        });
        let pair = Pair::with_options(options).unwrap();
        let events = pair.events();
        let address = transport.address();
        let endpoint = pair.bind(&address.url).unwrap();
        told.send(pair.clone()).unwrap();
        let peer = Pair::new();
        peer.connect(endpoint.url()).unwrap();
        let kinds: Vec<_> = events.map(|event| event.kind).collect();
        assert!(matches!(kinds[..], [PipeEventKind::Attaching, PipeEventKind::Detached(_)]));
    }
}

/// A message that is in our hands outlives the socket it came from.
#[test]
fn received_messages_survive_close() {
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    peer.send(vec![5; 100_000]).unwrap();
    let message: Message = pair.recv_timeout(SOON).unwrap();
    pair.close().unwrap();
    peer.close().unwrap();
    assert_eq!(message, vec![5; 100_000]);
}

#[test]
fn a_closed_socket_has_nothing_left_to_drain() {
    let req = Req::new();
    let asking = req.context();
    asking.send("held, since nobody is there").unwrap();
    assert_eq!(req.drain(Duration::ZERO), 1);
    req.close().unwrap();
    assert_eq!(req.drain(Duration::MAX), 0);
}

/// Threads that connect, greet and leave, without end, until this is dropped.
struct Callers {
    over: Arc<AtomicBool>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Callers {
    fn of(url: &str) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let threads = (0..3)
            .map(|_| {
                let (over, url) = (Arc::clone(&over), url.to_owned());
                thread::spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        if let Ok(mut raw) = Raw::try_connect(&url) {
                            let _ = raw.try_send(&kit::header(0x10));
                        }
                    }
                })
            })
            .collect();
        Self { over, threads }
    }
}

impl Drop for Callers {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// C383: also where the I/O thread has just been told that somebody connects.
#[test]
fn a_port_and_a_socket_file_are_free_when_close_returns() {
    let dir = TempDir::new();
    let path = dir.path("busy");
    for (url, by_socket) in [
        (kit::free_tcp_url(), false),
        (kit::free_tcp_url(), true),
        (format!("ipc://{}", path.display()), false),
        (format!("ipc://{}", path.display()), true),
    ] {
        for round in 0..kit::rounds(2000) {
            let pair = Pair::new();
            let endpoint = pair.bind(&url).unwrap();
            let _caller = Raw::connect(&url);
            if by_socket {
                pair.close().unwrap()
            } else {
                endpoint.close().unwrap()
            }
            match url.strip_prefix("tcp://") {
                // Wine lets go of a listener when it has called off the poll.
                Some(address) if cfg!(windows) => {
                    eventually("the port is free", || TcpListener::bind(address).is_ok());
                }
                Some(address) => {
                    let bound = TcpListener::bind(address);
                    assert!(bound.is_ok(), "round {round}: {bound:?}");
                }
                None => assert!(!path.exists(), "round {round}"),
            }
        }
    }
}

/// C384: a header exchange that is complete a moment later is too late.
#[test]
fn no_event_of_a_new_pipe_begins_after_close_has_returned() {
    let url = kit::free_tcp_url();
    let _callers = Callers::of(&url);
    for round in 0..kit::rounds(100) {
        let pair = Pair::new();
        let events = pair.events();
        let endpoint = pair.bind(&url).unwrap();
        events.recv_timeout(SOON).expect("somebody comes");
        endpoint.close().unwrap();
        while events.try_recv().is_ok() {}
        eventually("nobody is on the way", || pair.stats().inprogress_connections == 0);
        let late: Vec<_> = events.try_iter().map(|event| event.kind).collect();
        assert!(!late.contains(&PipeEventKind::Attaching), "round {round}: {late:?}");
        pair.close().unwrap();
        conserved(|| pair.stats());
    }
}

/// C296. What a protocol had taken out of its pipes used to stay in the accounts as held forever.
#[test]
fn closing_counts_what_contexts_have_not_received() {
    let (publisher, subscriber) = (Pub::new(), Sub::new());
    subscriber.subscribe("").unwrap();
    let context = subscriber.context();
    context.subscribe("").unwrap();
    let _address = join!(publisher, subscriber, Transport::Tcp);
    publisher.send("one").unwrap();
    eventually("both have it", || subscriber.stats().held_inbound == 2);
    subscriber.close().unwrap();
    let stats = conserved(|| subscriber.stats());
    assert_eq!((stats.held_inbound, stats.drops(DropReason::ClosedUnread)), (0, 2));
    drop(context);
    conserved(|| subscriber.stats());

    let (surveyor, respondent) = (Surveyor::new(), Respondent::new());
    let _address = join!(surveyor, respondent, Transport::Tcp);
    let survey = surveyor.survey("who?").unwrap();
    respondent.recv_timeout(SOON).unwrap().reply("me").unwrap();
    eventually("it has arrived", || surveyor.stats().recv_queue == 1);
    let _other = surveyor.survey("takes in what has arrived").unwrap();
    assert_eq!(surveyor.stats().held_inbound, 1);
    surveyor.close().unwrap();
    let stats = surveyor.stats();
    assert_eq!((stats.held_inbound, stats.drops(DropReason::ClosedUnread)), (0, 1));
    drop(survey);
    conserved(|| surveyor.stats());
}
