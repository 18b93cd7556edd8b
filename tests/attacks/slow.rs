//! Group C: peers and programs that are slow.

use std::collections::HashMap;
use std::io::{self, IoSlice, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, SetOnDrop, Transport, conserved, eventually, frame, header, poll_once};
use sinew::role;
use sinew::transport::{
    Address, Destination, EndpointSettings, Listener, Source, Stream, StreamPeer, StreamTransport,
    Target, Tcp,
};
use sinew::{
    AddressError, BindError, Bus, DropReason, EndpointOptions, Options, Overflow, Pull, Push,
    RecvError, Rep, Req, RequestError, Runtime, SendError, Sub,
};

use crate::harness::attack::Attack;
use crate::harness::census::{Census, sleeps};
use crate::harness::{allow_descriptors, alone, greeted, is_long, times};

/// Little in the kernel, so that a peer that does not read is noticed soon.
fn little() -> EndpointOptions {
    EndpointOptions::new().kernel_send_buffer(16 << 10)
}

/// A PUSH to a peer that never reads: it waits, and holds no more than its queue.
#[test]
fn c01_a_peer_that_never_reads() {
    const QUEUE: usize = 1 << 20;
    let options = Options::new().send_queue_bytes(QUEUE).linger(Duration::ZERO);
    let attack = Attack::<role::Push>::over_transport(Transport::Tcp, options, &little());
    let raw = attack.peer();
    attack.socket.wait_for_peers(1, SOON).unwrap();
    let body = vec![7; 10_000];
    let mut sent = 0;
    let refused = loop {
        match attack.socket.send_timeout(&body, Duration::from_millis(300)) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
    };
    assert!(matches!(refused, SendError::TimedOut { .. }), "{refused}");
    drop(refused);
    let cost = attack.cost();
    assert!(cost <= QUEUE + (256 << 10), "{sent} messages cost {cost}");
    attack.neighbour();
    drop((raw, body));
    attack.over();
}

/// Subscribers that stand still cost their queues, and of each body there is one copy for all.
#[test]
fn c02_c03_subscribers_that_stand_still() {
    const PEERS: usize = 50;
    const QUEUE: usize = 4;
    let options = Options::new().send_queue(QUEUE).linger(Duration::ZERO);
    let attack = Attack::<role::Pub>::over_transport(Transport::Tcp, options, &little());
    let raws: Vec<Raw> = (0..PEERS).map(|_| attack.peer()).collect();
    attack.socket.wait_for_peers(PEERS, SOON).unwrap();
    let before = attack.stats();
    let messages = times(500, 20_000);
    for _ in 0..messages {
        attack.socket.send(vec![7; 256 << 10]).unwrap();
    }
    attack.neighbour();
    let stats = attack.stats();
    let dropped = stats.drops(DropReason::SendQueueFull) - before.drops(DropReason::SendQueueFull);
    // Each takes at most what its queue and the kernel hold.
    assert!(dropped >= ((messages - QUEUE - 20) * PEERS) as u64, "{stats}");
    // Each holds a few bodies, most of them the same: one being written, and those that came after.
    let cost = attack.cost();
    assert!(cost <= 16 << 20, "{cost} bytes for {PEERS} peers");
    conserved(|| attack.stats());
    drop(raws);
    attack.over_with(PEERS << 8);
}

/// One subscriber of many that stands still: the others get everything, and what it does not get is counted to the
/// message.
#[test]
fn c02_one_slow_subscriber_of_many() {
    const QUEUE: usize = 16;
    let quick = times(20, 99);
    let options = Options::new().send_queue(QUEUE);
    let attack = Attack::<role::Pub>::over_transport(Transport::Tcp, options, &little());
    let mut slow = attack.peer();
    let subs: Vec<Sub> = (0..quick).map(|_| Sub::new()).collect();
    for sub in &subs {
        sub.subscribe("").unwrap();
        sub.connect_now(&attack.url).unwrap();
    }
    attack.socket.wait_for_peers(quick + 1, SOON).unwrap();
    let before = attack.stats().drops(DropReason::SendQueueFull);
    let dropped = || attack.stats().drops(DropReason::SendQueueFull) - before;
    let mut sent = 0_u32;
    let (messages, mut full) = (times(300, 10_000) as u32, None);
    while sent < messages || dropped() < 100 {
        let body = [&sent.to_be_bytes()[..], &[7; 40_000]].concat();
        attack.socket.send(body).unwrap();
        for sub in &subs {
            assert_eq!(sub.recv_timeout(SOON).unwrap()[..4], sent.to_be_bytes());
        }
        sent += 1;
        // From the first drop on its queue is full, and nothing more is held for it.
        if full.is_none() && dropped() > 0 {
            full = Some(attack.cost());
        }
    }
    let (full, cost) = (full.expect("some are dropped"), attack.cost());
    assert!(cost <= full + (512 << 10), "{cost} bytes after {sent} messages, {full} at first");
    // The last one is not dropped, since nothing comes after it.
    let (mut got, mut last) = (0, None);
    while last != Some(sent - 1) {
        let number = u32::from_be_bytes(slow.read_frame()[..4].try_into().unwrap());
        assert!(last.is_none_or(|last| last < number), "{number} after {last:?}");
        (got, last) = (got + 1, Some(number));
    }
    assert_eq!(u64::from(sent), got + dropped(), "what did not come was counted");
    let by_peer: u64 =
        attack.socket.peers().iter().map(|peer| peer.drops(DropReason::SendQueueFull)).sum();
    assert_eq!(by_peer, dropped(), "as dropped for that one");
    drop((slow, subs));
    attack.over_with(quick << 9);
}

/// A SUB whose program never receives.
#[test]
fn c04_a_program_that_never_receives() {
    const QUEUE: usize = 1 << 20;
    let options = Options::new().sub_queue_bytes(QUEUE).prefer_new(true);
    let attack = Attack::<role::Sub>::on(options);
    attack.socket.subscribe("flood").unwrap();
    let mut raw = attack.peer();
    let messages = times(5_000, 1_000_000) as u64;
    let before = attack.stats();
    let one = frame(&[b"flood".to_vec(), vec![7; 10_000]].concat());
    (0..messages).for_each(|_| raw.send(&one));
    let dropped = || {
        let stats = attack.stats();
        stats.drops(DropReason::RecvQueueFull) - before.drops(DropReason::RecvQueueFull)
    };
    // What is not there is counted.
    eventually("all have come", || dropped() + attack.stats().held_inbound == messages);
    let (cost, held) = (attack.cost(), attack.stats().held_inbound);
    // Beside the queue there are the blocks of 256 KiB that the loop reads into: one at hand, and three that it has lent.
    assert!(cost <= QUEUE + (1 << 20) + (64 << 10), "{cost}");
    // The last one may be over.
    assert!((1..=QUEUE as u64 / 10_000 + 1).contains(&held), "{held} of {messages} are held");
    attack.socket.unsubscribe("flood").unwrap();
    drop(raw);
    attack.over();
}

/// A REP that never answers, and requests that each end on their own clock.
#[test]
fn c05_requests_without_answers() {
    let attack = Attack::<role::Req>::on(Options::new());
    let requests = times(2_000, 10_000);
    let silent = attack.peer();
    attack.socket.wait_for_peers(1, SOON).unwrap();
    let mut waiting: Vec<_> =
        (0..requests).map(|_| Box::pin(attack.socket.request_async("?"))).collect();
    for request in &mut waiting {
        assert!(poll_once(request).is_none());
    }
    let each = attack.cost() / requests;
    assert!(each <= 2 << 10, "{each} bytes for each");
    // Each has its own clock: those with little time give up while one with much still waits.
    thread::scope(|scope| {
        let req = &attack.socket;
        let patient = scope.spawn(|| req.request_timeout("?", 3 * SOON));
        let hasty = [40, 10, 30, 20].map(|ms| {
            let ask = move || req.request_timeout(ms.to_string(), Duration::from_millis(ms));
            (ms, scope.spawn(ask))
        });
        for (ms, asking) in hasty {
            match asking.join().unwrap() {
                Err(RequestError::TimedOut(question, _)) => assert_eq!(question, ms.to_string()),
                other => panic!("{other:?}"),
            }
        }
        assert!(!patient.is_finished());
        // Somebody who answers, and gets what the silent one has not.
        let rep = Rep::new();
        rep.connect_now(&attack.url).unwrap();
        drop(silent);
        while !patient.is_finished() {
            let Ok(request) = rep.recv_timeout(Duration::from_millis(10)) else { continue };
            request.reply("!").unwrap();
        }
        assert_eq!(patient.join().unwrap().unwrap(), "!");
    });
    drop(waiting);
    // The table of requests keeps its room.
    attack.over_with(requests << 9);
}

/// A BUS of ten, one of which stands still.
#[test]
fn c07_a_bus_with_one_that_stands_still() {
    let options = Options::new().send_queue(8).linger(Duration::ZERO);
    let attack = Attack::<role::Bus>::over_transport(Transport::Tcp, options, &little());
    let still = attack.peer();
    let others: Vec<Bus> = (0..8).map(|_| Bus::new()).collect();
    others.iter().for_each(|bus| drop(bus.connect_now(&attack.url).unwrap()));
    attack.socket.wait_for_peers(9, SOON).unwrap();
    let stalled = || {
        let peers = attack.socket.peers().into_iter();
        peers.filter(|peer| peer.drops(DropReason::SendQueueFull) > 0).count()
    };
    // Few messages fit into the buffers of the kernel.
    let messages = times(200, 10_000);
    for n in (0..100_000).take_while(|n| *n < messages || stalled() == 0) {
        attack.socket.send(vec![n as u8; 50_000]).unwrap();
        for bus in &others {
            assert_eq!(bus.recv_timeout(SOON).unwrap()[0], n as u8);
        }
    }
    assert_eq!(stalled(), 1, "drops are counted for the one that stands still");
    drop((still, others));
    attack.over();
}

/// A thousand answers at once to a survey that stores 128: those are received, the others are counted, and what is late
/// does not come as an answer to the next.
#[test]
fn c08_answers_of_a_thousand_at_once() {
    const STORED: usize = 128;
    let peers = times(400, 1000).max(2 * STORED);
    allow_descriptors();
    let options = Options::new().survey_deadline(SOON).survey_storage(STORED);
    let attack = Attack::<role::Surveyor>::on(options);
    let mut raws: Vec<Raw> = (0..peers).map(|_| attack.peer()).collect();
    attack.socket.wait_for_peers(peers, SOON).unwrap();
    let first = attack.socket.survey("who?").unwrap();
    let before = attack.stats();
    let dropped = |reason| {
        // A socket takes answers out of its pipes when it is entered.
        let _ = attack.socket.context();
        attack.stats().drops(reason) - before.drops(reason)
    };
    let questions: Vec<_> = raws.iter_mut().map(Raw::read_frame).collect();
    let answer = |raw: &mut Raw, question: &[u8]| {
        raw.send_frame(&[&question[..4], b"I"].concat());
    };
    let (in_time, late) = raws.split_at_mut(peers - 100);
    in_time.iter_mut().zip(&questions).for_each(|(raw, question)| answer(raw, question));
    let surplus = (in_time.len() - STORED) as u64;
    eventually("the surplus is counted", || dropped(DropReason::RecvQueueFull) == surplus);
    assert_eq!(first.try_iter().count(), STORED);
    assert!(first.try_recv().is_err());
    drop(first);
    let second = attack.socket.survey("and now?").unwrap();
    late.iter_mut().zip(&questions).for_each(|(raw, question)| answer(raw, question));
    // All have the question, so nothing is before these answers on their connections.
    for raw in &mut raws[..10] {
        let question = raw.read_frame();
        answer(raw, &question);
    }
    eventually("who is late is counted", || dropped(DropReason::Stale) == 100);
    (0..10).for_each(|_| assert_eq!(second.recv_timeout(SOON).unwrap(), "I"));
    kit::timed_out(second.recv_timeout(Duration::from_millis(50)));
    drop((second, raws));
    attack.over_with(peers << 9);
}

/// A turn is bounded: a message of a polite peer is not behind all of a flooder's.
#[test]
fn c09_a_flooder_beside_a_polite_peer() {
    let _turn = alone();
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let flooded = Pull::on(&runtime, Options::new()).unwrap();
    let polite = Pull::on(&runtime, Options::new()).unwrap();
    let (one, other) = (
        flooded.bind("tcp://127.0.0.1:0").unwrap().url(),
        polite.bind("tcp://127.0.0.1:0").unwrap().url(),
    );
    let turn = || runtime.turn(Some(Duration::from_millis(1))).unwrap();
    let greet = |url: &str| {
        let mut raw = Raw::connect(url);
        raw.send(&header(0x50));
        while flooded.peers().len() + polite.peers().len() == 0 {
            turn();
        }
        raw
    };
    let mut flooder = greet(&one);
    let mut neighbour = greet(&other);
    while polite.peers().is_empty() {
        turn();
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = SetOnDrop(&over);
        let flood = scope.spawn(|| {
            let some = frame(&[7; 1000]).repeat(1000);
            while !over.load(Ordering::Relaxed) {
                // It waits in the kernel while the window is shut.
                if flooder.try_send(&some).is_err() {
                    return;
                }
            }
        });
        scope.spawn(|| while flooded.recv().is_ok() {});
        for n in 0..20 {
            neighbour.send_frame(b"ping");
            let mut turns = 0;
            while matches!(polite.try_recv(), Err(RecvError::WouldBlock)) {
                turn();
                turns += 1;
                assert!(turns < 100_000, "message {n} waits behind the flood");
            }
        }
        over.store(true, Ordering::Relaxed);
        flooded.close().unwrap();
        // It may wait in the kernel: the connection ends in a turn.
        while !flood.is_finished() {
            turn();
        }
    });
}

/// What a turn may read and write, by `io/quota.rs`: in each of two parts 512 KiB, as much again of those that have
/// little, and one last read or write.
const TURN: u64 = 3 << 20;

/// tcp, whose bytes are counted.
#[derive(Clone, Debug, Default)]
struct Counted(Arc<AtomicU64>);

#[derive(Debug)]
struct CountedStream(Box<dyn Stream>, Arc<AtomicU64>);

impl StreamTransport for Counted {
    fn schemes(&self) -> &[&str] {
        &["tcp"]
    }

    fn bind(&self, at: &Address, how: &EndpointSettings) -> Result<Box<dyn Listener>, BindError> {
        Tcp::new().bind(at, how)
    }

    fn target(&self, at: &Address) -> Result<Target, AddressError> {
        Tcp::new().target(at)
    }

    fn connect(
        &self,
        at: &Address,
        to: &Destination,
        how: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        Ok(Box::new(CountedStream(Tcp::new().connect(at, to, how)?, Arc::clone(&self.0))))
    }
}

impl CountedStream {
    fn count(&self, bytes: io::Result<usize>) -> io::Result<usize> {
        bytes.inspect(|n| _ = self.1.fetch_add(*n as u64, Ordering::Relaxed))
    }
}

impl Stream for CountedStream {
    fn source(&mut self) -> &mut dyn Source {
        self.0.source()
    }

    fn established(&self) -> io::Result<bool> {
        self.0.established()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.count(self.0.read(buffer))
    }

    fn short_read_is_last(&self) -> bool {
        self.0.short_read_is_last()
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.count(self.0.write(slices))
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.0.shutdown_write()
    }

    fn peer(&self) -> StreamPeer {
        self.0.peer()
    }
}

/// A loop that the test turns, a polite peer on it, and what the turns do.
struct Turned {
    runtime: Runtime,
    bytes: Counted,
    polite: Pull,
    neighbour: Raw,
    /// The most bytes of a turn, and the most turns that a message of the neighbour has waited for.
    most: u64,
    longest: usize,
}

impl Turned {
    fn new() -> Self {
        let bytes = Counted::default();
        let runtime = Runtime::builder().manual(true).transport(bytes.clone()).build().unwrap();
        let polite = Pull::on(&runtime, Options::new()).unwrap();
        let neighbour = greeted(&runtime, &polite, 0x50, &EndpointOptions::new());
        Self { runtime, bytes, polite, neighbour, most: 0, longest: 0 }
    }

    fn turn(&mut self) {
        let before = self.bytes.0.load(Ordering::Relaxed);
        self.runtime.turn(Some(Duration::from_millis(1))).unwrap();
        self.most = self.most.max(self.bytes.0.load(Ordering::Relaxed) - before);
    }

    /// Has the neighbour send something, and turns until it is there.
    fn serve_the_neighbour(&mut self) {
        self.neighbour.send_frame(b"ping");
        let turns = (1..).find(|_| {
            self.turn();
            self.polite.try_recv().is_ok()
        });
        self.longest = self.longest.max(turns.expect("it comes"));
    }

    fn check(&self) {
        let Self { most, longest, .. } = self;
        eprintln!("at most {most} bytes in a turn, at most {longest} turns for a message");
        assert!(*most <= TURN, "{most} bytes in a turn");
        assert!(*longest <= 2, "a message of a polite peer has waited for {longest} turns");
    }
}

/// However many have however much, a turn reads a bounded part of it, and who has little is read in the next turn.
#[test]
fn c09_many_flooders_beside_a_polite_peer() {
    const FLOODERS: usize = 20;
    const BODY: usize = 10_000;
    let _turn = alone();
    let mut turned = Turned::new();
    let options = Options::new().recv_queue(8192).recv_queue_bytes(64 << 20);
    let flooded = Pull::on(&turned.runtime, options).unwrap();
    let much = EndpointOptions::new().kernel_recv_buffer(1 << 20);
    let flooders: Vec<Raw> =
        (0..FLOODERS).map(|_| greeted(&turned.runtime, &flooded, 0x50, &much)).collect();
    let one = frame(&[7; BODY]);
    let mut whole = 0;
    for raw in &flooders {
        let Raw::Tcp(stream) = raw else { panic!("it is over tcp") };
        stream.set_nonblocking(true).unwrap();
        let (mut stream, mut sent, frames) = (stream, 0, one.repeat(150));
        // As much as the kernel takes, which may end in the middle of a message.
        while let Ok(n @ 1..) = stream.write(&frames[sent..]) {
            sent += n;
        }
        whole += sent / one.len();
    }
    assert!((whole * BODY) as u64 > 4 * TURN, "{whole} messages to be read");
    let read = || flooded.peers().iter().map(|peer| peer.recv_queue.messages).sum::<u64>();
    while read() < whole as u64 {
        turned.serve_the_neighbour();
    }
    turned.check();
}

/// A large message takes many turns to come, and a small one comes between them.
#[test]
fn c10_a_large_message_that_comes_beside_small_ones() {
    const LARGE: usize = 64 << 20;
    let _turn = alone();
    let mut turned = Turned::new();
    let options = Options::new().max_recv_size(LARGE);
    let receiver = Pull::on(&turned.runtime, options).unwrap();
    let mut raw = greeted(&turned.runtime, &receiver, 0x50, &EndpointOptions::new());
    thread::scope(|scope| {
        scope.spawn(|| raw.send_frame(&vec![7; LARGE]));
        while matches!(receiver.try_recv(), Err(RecvError::WouldBlock)) {
            turned.serve_the_neighbour();
        }
    });
    turned.check();
}

/// The same for one that goes.
#[test]
fn c10_a_large_message_that_goes_beside_small_ones() {
    const LARGE: usize = 64 << 20;
    let _turn = alone();
    let mut turned = Turned::new();
    let options = Options::new().max_send_size(LARGE);
    let sender = Push::on(&turned.runtime, options).unwrap();
    let mut raw = greeted(&turned.runtime, &sender, 0x51, &EndpointOptions::new());
    // The caller itself writes what the kernel takes.
    sender.send(vec![7; LARGE]).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| raw.read(16 + LARGE));
        while sender.stats().send_queue > 0 {
            turned.serve_the_neighbour();
        }
    });
    turned.check();
}

/// A window that opens after the queue has filled: all of it comes, in order.
#[test]
fn c11_a_window_that_opens_late() {
    let options = Options::new().send_queue(8_000).send_queue_bytes(64 << 20);
    let attack = Attack::<role::Push>::over_transport(Transport::Tcp, options, &little());
    let mut raw = attack.peer();
    attack.socket.wait_for_peers(1, SOON).unwrap();
    let messages = times(5_000, 8_000) as u32;
    for n in 0..messages {
        attack.socket.send(n.to_be_bytes().repeat(250)).unwrap();
    }
    assert!(attack.stats().send_queue > 0, "its window is shut");
    if is_long() {
        // Longer than a peer may be silent: its kernel still says that there is no room.
        thread::sleep(Duration::from_secs(80));
    }
    for n in 0..messages {
        assert_eq!(raw.read_frame(), n.to_be_bytes().repeat(250));
    }
    drop(raw);
    attack.over();
}

/// Sends that give up, many times: nothing of them is left.
#[test]
fn c13_sends_that_time_out() {
    let options = Options::new().send_queue(1).linger(Duration::ZERO);
    let attack = Attack::<role::Push>::over_transport(Transport::Tcp, options, &little());
    let raw = attack.peer();
    attack.socket.wait_for_peers(1, SOON).unwrap();
    let body = vec![7; 1 << 20];
    while attack.socket.send_timeout(&body, Duration::from_millis(100)).is_ok() {}
    let before = Census::now();
    let short = Duration::from_micros(200);
    for n in 0..times(3_000, 1_000_000) {
        let refused = attack.socket.send_timeout("more", short).unwrap_err();
        assert!(matches!(refused, SendError::TimedOut { .. }), "{n}: {refused}");
        assert_eq!(refused.into_message(), "more");
    }
    before.is_back(0);
    drop((raw, body));
    attack.over();
}

/// While a program does not receive, its connection is left alone, and afterwards it is read on.
#[test]
fn c14_a_program_that_pauses() {
    let attack = Attack::<role::Pull>::on(Options::new());
    let mut raw = attack.peer();
    let messages: usize = 20_000;
    let flood = thread::spawn(move || {
        let one = frame(&[7; 1000]);
        (0..messages).for_each(|_| raw.send(&one));
        raw
    });
    eventually("it is full", || attack.stats().recv_queue >= 1000);
    let is_quiet = (0..20).any(|_| {
        let before = sleeps();
        // Nothing happens, and no event tells of that.
        thread::sleep(Duration::from_millis(300));
        sleeps() - before <= 3
    });
    assert!(is_quiet, "the I/O thread wakes again and again");
    for _ in 0..messages {
        attack.socket.recv_timeout(SOON).unwrap();
    }
    drop(flood.join().unwrap());
    attack.over();
}

/// The loop of the README, and a client that asks for much and reads nothing.
#[test]
fn c06_a_client_that_does_not_read_its_replies() {
    let attack = Attack::<role::Rep>::over_transport(
        Transport::Tcp,
        Options::new().linger(Duration::ZERO),
        &little(),
    );
    let hostile = attack.peer();
    let rep: Rep = attack.socket.clone();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Both end with this closure, so that the server ends too if it fails.
        let mut hostile = hostile;
        let _over = SetOnDrop(&over);
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let Ok(request) = rep.recv_timeout(Duration::from_millis(10)) else { continue };
                let reply = match request.message().starts_with(b"much") {
                    true => vec![7; 500_000].into(),
                    false => request.message().clone(),
                };
                // No time limit, as in the README.
                request.reply(reply).expect("the client has a place for its reply");
            }
        });
        for n in 0..200_u32 {
            // It is paced by its own requests, so it may be held up in the end.
            hostile.send_frame(&[&(n | 0x8000_0000).to_be_bytes()[..], b"much"].concat());
        }
        let req = Req::new();
        req.connect_now(&attack.url).unwrap();
        let mut replies = HashMap::new();
        for n in 0..100 {
            let reply = req.request_timeout(format!("good {n}"), SOON).expect("it is served");
            replies.insert(n, reply);
        }
        assert!(replies.iter().all(|(n, reply)| reply.to_text() == format!("good {n}")));
    });
    drop(rep);
    attack.over();
}

/// What a BUS holds of peers that all send more than it receives is bounded as well.
#[test]
fn c15_peers_that_fill_their_queues() {
    const PEERS: usize = 100;
    const QUEUE: usize = 64 << 10;
    let options = Options::new().recv_queue_bytes(QUEUE).overflow(Overflow::DropNewest);
    let attack = Attack::<role::Bus>::on(options);
    let raws: Vec<Raw> = (0..PEERS)
        .map(|_| {
            let mut raw = attack.peer();
            raw.send(&frame(&[7; 10_000]).repeat(20));
            raw
        })
        .collect();
    // Each has at most its queue, what was read beyond it at once, and what a message is more.
    let most = PEERS * (2 * QUEUE + (64 << 10));
    eventually("each has filled its queue", || attack.stats().recv_queue >= 6 * PEERS as u64);
    assert!(attack.cost() <= most, "{} bytes each", attack.cost() / PEERS);
    while attack.socket.try_recv().is_ok() {}
    drop(raws);
    while attack.socket.recv_timeout(Duration::from_millis(50)).is_ok() {}
    attack.over_with(PEERS << 8);
}
