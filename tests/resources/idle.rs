//! Idle connections: how much memory they keep, and that they wake nobody.

use std::time::{Duration, Instant};

use crate::{HEAP, allocated, alone};
use kit::sockets::{Listed, one_by_one};
use kit::{
    QUIET, Raw, RawListener, SOON, attached, detached, eventually, frame, free_tcp_url, header,
};
use sinew::role;
use sinew::{
    DetachReason, EndpointState, Message, Options, Pair, Poller, Pull, Readiness, RecvError, Rep,
    Req, Runtime, SendError, Socket,
};

/// How many connections: enough that what a socket has but once makes no difference.
const MANY: usize = 1000;

/// How many there are before: each I/O thread has had one, and so its block to read into.
const FIRST: usize = 4;

/// What an idle connection may take.
const CONNECTION: usize = 1024;

/// What its endpoint and its dialer take beside it, where this side has dialed.
const ENDPOINT: usize = 888;

const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;

/// Waits until there are at most `each` bytes for each of `MANY` connections more than `before`.
#[track_caller]
fn at_most(each: usize, before: usize) {
    let now = || allocated().saturating_sub(before) / MANY;
    eventually_steady();
    let wanted = format!("at most {each} bytes for each connection, {} at first", now());
    eventually(&wanted, || now() <= each);
    eprintln!("{} bytes for each connection", now());
}

/// A peer that has sent a message.
fn pusher(url: &str) -> Raw {
    let mut raw = Raw::greet(url, PUSH, PULL);
    raw.send(&frame(&[1; 64]));
    raw
}

#[test]
fn an_idle_connection_that_was_accepted_is_small() {
    let _turn = alone();
    let pull = Pull::new();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut peers = Vec::with_capacity(MANY + FIRST);
    let mut one_more = || {
        peers.push(pusher(&url));
        pull.recv_timeout(SOON).unwrap();
    };
    (0..FIRST).for_each(|_| one_more());
    let before = allocated();
    (0..MANY).for_each(|_| one_more());
    at_most(768, before);
}

/// A connection whose peer has sent nothing, or all of its header but the last byte.
#[test]
fn an_unfinished_handshake_is_small() {
    let _turn = alone();
    for sent in [0, 7] {
        let runtime = Runtime::builder().build().unwrap();
        let patient = Options::new().handshake_timeout(Duration::from_secs(3600));
        let pull = Pull::on(&runtime, patient).unwrap();
        let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
        let header = header(PUSH);
        let (first, last) = header.split_at(sent);
        let mut peers = Vec::with_capacity(MANY + FIRST);
        let each = grows_by(256, || {
            let mut raw = Raw::connect(&url);
            raw.send(first);
            peers.push(raw);
            let accepted = || pull.stats().inprogress_connections == peers.len() as u64;
            eventually("it is accepted", accepted);
        });
        eprintln!("{each} bytes for each connection that has sent {sent} bytes");
        peers.iter_mut().for_each(|raw| raw.send(last));
        pull.wait_for_peers(peers.len(), SOON).unwrap();
    }
}

#[test]
fn an_idle_connection_that_was_dialed_is_small() {
    let _turn = alone();
    let (push, listener) = (apart::<role::Push>(), RawListener::new());
    let mut peers = Vec::with_capacity(MANY + FIRST);
    let mut dial = || {
        push.connect(listener.url()).unwrap();
        let mut raw = listener.accept();
        raw.send(&header(PULL));
        assert_eq!(raw.read(8), header(PUSH));
        peers.push(raw);
        push.wait_for_peers(peers.len(), SOON).unwrap();
        // Every one in turn, so nearly all have carried something.
        push.send("a message").unwrap();
    };
    (0..FIRST).for_each(|_| dial());
    let before = allocated();
    (0..MANY).for_each(|_| dial());
    at_most(CONNECTION + ENDPOINT, before);
}

/// Runs `one_more` several times, and then many times; yields what it takes each time, as soon as that is at most
/// `each`.
#[track_caller]
fn grows_by(each: usize, mut one_more: impl FnMut()) -> usize {
    (0..FIRST).for_each(|_| one_more());
    eventually_steady();
    let before = allocated();
    (0..MANY).for_each(|_| one_more());
    let grown = || allocated().saturating_sub(before) / MANY;
    eventually_steady();
    eventually(&format!("at most {each} bytes each time"), || grown() <= each);
    grown()
}

/// A socket on a runtime of its own, whose tables have no room that others needed.
fn apart<R: Listed>() -> Socket<R> {
    let runtime = Runtime::builder().build().unwrap();
    let retries_late = Options::new().reconnect_interval(Duration::from_secs(3600));
    Socket::on(&runtime, retries_late).unwrap()
}

/// Accepts connections that carry nothing.
fn accepts<R: Listed>() {
    let _turn = alone();
    let socket = apart::<R>();
    let url = socket.bind("tcp://127.0.0.1:0").unwrap().url();
    let (ours, theirs) = R::IDS;
    let mut peers = Vec::with_capacity(MANY + FIRST);
    let connection = grows_by(CONNECTION, || {
        peers.push(Raw::greet(&url, theirs, ours));
        socket.wait_for_peers(peers.len(), SOON).unwrap();
    });
    eprintln!("{}: {connection} bytes for each connection", R::NAME);
}

/// Dials connections that carry nothing, and takes off what an endpoint takes that waits to dial again.
fn dials<R: Listed>() {
    let _turn = alone();
    let (socket, nobody) = (apart::<R>(), free_tcp_url());
    let endpoint = grows_by(1024, || {
        let endpoint = socket.connect(&nobody).unwrap();
        eventually("it waits", || endpoint.status().state == EndpointState::Waiting);
    });
    let (socket, listener) = (apart::<R>(), RawListener::new());
    let (ours, theirs) = R::IDS;
    let mut peers = Vec::with_capacity(MANY + FIRST);
    // It seems smaller if memory of an earlier test is given back only now.
    let both = grows_by(endpoint.max(ENDPOINT) + CONNECTION, || {
        socket.connect(listener.url()).unwrap();
        let mut raw = listener.accept();
        raw.send(&header(theirs));
        assert_eq!(raw.read(8), header(ours));
        peers.push(raw);
        socket.wait_for_peers(peers.len(), SOON).unwrap();
    });
    eprintln!("{}: {both} bytes for each connection and its endpoint, of {endpoint}", R::NAME);
}

/// Those that receive only are smaller: they have no ring to send.
#[test]
fn an_idle_connection_of_any_socket_is_small() {
    one_by_one([
        accepts::<role::Pub>,
        accepts::<role::Sub>,
        accepts::<role::Req>,
        accepts::<role::Rep>,
        accepts::<role::Push>,
        accepts::<role::Pull>,
        accepts::<role::Surveyor>,
        accepts::<role::Respondent>,
        accepts::<role::Bus>,
        accepts::<role::PolyPair1>,
    ]);
}

#[test]
fn an_idle_connection_that_any_socket_dialed_is_small() {
    one_by_one([
        dials::<role::Surveyor>,
        dials::<role::Pub>,
        dials::<role::Rep>,
        dials::<role::Pull>,
    ]);
}

/// What a stream leaves behind in the rings is given back, and the connection goes on as before.
#[test]
fn a_stream_that_falls_silent_gives_its_memory_back() {
    const STREAM: usize = 10_000;
    let _turn = alone();
    let (here, there) = (Pair::new(), Pair::new());
    there.connect(here.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
    here.wait_for_peers(1, SOON).unwrap();
    let exchange = |messages: usize| {
        std::thread::scope(|scope| {
            scope.spawn(|| (0..messages).for_each(|_| there.send([7; 1000].as_slice()).unwrap()));
            (0..messages).for_each(|_| drop(here.recv_timeout(SOON).unwrap()));
        });
        here.send("done").unwrap();
        assert_eq!(there.recv_timeout(SOON).unwrap(), "done");
    };
    // The block that reads go into is there from now on.
    exchange(1);
    eventually_steady();
    let before = allocated();
    for _ in 0..3 {
        exchange(STREAM);
        eventually("the blocks are given back", || allocated() < before + (32 << 10));
    }
    kit::conserved(|| here.stats());
    kit::conserved(|| there.stats());
}

/// Waits until nothing has been given back for a while.
fn eventually_steady() {
    loop {
        let before = allocated();
        // No event tells of memory.
        std::thread::sleep(Duration::from_millis(300));
        if allocated() == before {
            return;
        }
    }
}

/// How often the I/O thread has gone to sleep.
fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("status")).ok()
    };
    let statuses =
        tasks.filter_map(status).filter(|status| status.starts_with("Name:\tsinew-io\n"));
    let sleeps = statuses.map(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("a count")
    });
    sleeps.sum()
}

/// Ten thousand connections, or as many as there are descriptors for, two for each.
#[test]
fn connections_that_stand_idle_wake_nobody() {
    let _turn = alone();
    let most = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let (most, _) = most.expect("a process can ask for its limits");
    let count = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(200) / 2;
    let count = count.min(10_000);
    let pull = Pull::new();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut peers = Vec::new();
    for _ in 0..count {
        peers.push(pusher(&url));
        pull.recv_timeout(SOON).unwrap();
    }
    eventually_steady();
    let before = sleeps();
    assert!(before > 0, "the I/O thread has its name");
    // Nothing happens, and no event tells of that.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sleeps(), before, "{count} connections");
    eprintln!("{count} connections");
    peers[0].send(&frame(b"still there"));
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "still there");
}

/// A listener that takes nobody in, a peer that knocks there, and one that has left and is not read.
#[test]
fn a_socket_that_takes_in_nothing_wakes_nobody() {
    let _turn = alone();
    let pull = Pull::with_options(Options::new().recv_queue_bytes(4096)).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut late = Raw::greet(&url, PUSH, PULL);
    for n in 1..=2 {
        let mut raw = Raw::greet(&url, PUSH, PULL);
        raw.send(&frame(&[1; 4000]));
        raw.finish();
        eventually("it has left its message", || {
            pull.stats().recv_queue == n && pull.peers().len() == 1
        });
    }
    late.send(&frame(b"late"));
    late.finish();
    let mut knocks = Raw::connect(&url);
    knocks.send(&header(PUSH));
    knocks.send(&frame(b"knocks"));
    eventually("both wait", || pull.stats().intake_pauses >= 2);
    // Those that left are looked at once more, a second later.
    let is_quiet = (0..5).any(|_| {
        let slept = sleeps();
        // Nothing happens, and no event tells of that.
        std::thread::sleep(Duration::from_secs(1));
        sleeps() == slept
    });
    assert!(is_quiet, "the I/O thread wakes again and again");
    let mut received: Vec<_> = (0..4).map(|_| pull.recv_timeout(SOON).unwrap().len()).collect();
    received.sort();
    assert_eq!(received, [4, 6, 4000, 4000]);
    kit::conserved(|| pull.stats());
}

#[test]
fn watches_that_stand_idle_are_small_and_wake_nobody() {
    let _turn = alone();
    // Something that has the I/O thread run.
    let running = Pull::new();
    running.bind("tcp://127.0.0.1:0").unwrap();
    let pulls: Vec<Pull> = (0..MANY).map(|_| Pull::new()).collect();
    // Each takes a descriptor, and there may be few.
    let mut watches: Vec<Readiness> = Vec::with_capacity(MANY / 4);
    let poller = Poller::new();
    let before = allocated();
    watches.extend(pulls.iter().take(MANY / 4).map(|pull| pull.recv_readiness().unwrap()));
    for (key, pull) in pulls.iter().enumerate() {
        poller.add_recv(key, pull).unwrap();
    }
    at_most(512, before);
    let slept = sleeps();
    // Nothing happens, and no event tells of that.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(sleeps(), slept);
    drop((watches, poller));
    at_most(16, before);
}

/// C373: a loop that looks is no reason to take memory. What others of this process take meanwhile is by
/// chance, and not there each time.
#[test]
fn a_call_that_must_not_wait_fails_without_taking_memory() {
    let _turn = alone();
    let (pair, mut message) = (Pair::new(), Some(Message::from("x")));
    eventually("none is taken", || {
        let before = HEAP.stats().allocations;
        let sent = pair.try_send(message.take().expect("it is given back"));
        let received = pair.try_recv();
        let taken = HEAP.stats().allocations - before;
        message = sent.err().map(SendError::into_message);
        assert_eq!(received, Err(RecvError::WouldBlock));
        taken == 0
    });
}

/// What others of this process take meanwhile is by chance, and not there each time.
#[test]
fn a_round_trip_takes_at_most_two_allocations() {
    let _turn = alone();
    let (req, rep) = (Req::new(), Rep::new());
    rep.bind("inproc://two-allocations").unwrap();
    req.connect("inproc://two-allocations").unwrap();
    let (asking, answering) = (req.context(), rep.context());
    eventually("not more are taken", || {
        let before = HEAP.stats().allocations;
        for _ in 0..MANY {
            asking.send(&[7; 64]).unwrap();
            let asked = answering.recv().unwrap();
            answering.send(asked).unwrap();
            asking.recv().unwrap();
        }
        HEAP.stats().allocations - before <= 2 * MANY
    });
}

/// C029, F11: memory is taken as bytes arrive, not as they are announced.
#[test]
fn a_tebibyte_that_is_announced_and_does_not_come() {
    let _turn = alone();
    let pull = Pull::with_options(Options::new().max_recv_size(None)).unwrap();
    let events = pull.events();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, PUSH, PULL);
    attached(&events);
    let before = allocated();
    raw.send(&(1_u64 << 40).to_be_bytes());
    raw.send(&[7; 100]);
    // Nothing tells that part of a frame has been read.
    std::thread::sleep(QUIET);
    assert!(allocated().saturating_sub(before) < 16 << 20);
    let start = Instant::now();
    pull.close().unwrap();
    assert!(start.elapsed() < Duration::from_secs(1));
    assert_eq!(detached(&events), DetachReason::SocketClosed);
    assert_eq!(raw.read_to_end(), [0; 0]);
}
