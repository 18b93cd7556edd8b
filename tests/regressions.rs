//! Bugs that were found by reading, each by the test that failed before it was mended.

mod kit;

use std::io::{BufRead, BufReader, Write};
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, TempDir, Transport, conserved, descriptors, eventually, ipc_frame};
use sinew::{Bus, DropReason, Options, Pair, Pub, Pull, Push, Respondent, Runtime, Sub, Surveyor};

const PAIR: u8 = 0x10;

/// A time beyond the end of time used to panic on the I/O thread, and every socket of its runtime
/// stood still.
#[test]
fn the_longest_time_is_as_good_as_for_ever() {
    let runtime = Runtime::new().unwrap();
    let options = Options::new()
        .handshake_timeout(Duration::MAX)
        .reconnect_interval(Duration::MAX)
        .reconnect_max(Duration::MAX)
        .linger(Duration::MAX);
    let left = Pair::on(&runtime, options.clone()).unwrap();
    let right = Pair::on(&runtime, options.clone()).unwrap();
    let waits = Pair::on(&runtime, options).unwrap();
    waits.connect("tcp://127.0.0.1:1").unwrap();
    let endpoint = left.bind("tcp://127.0.0.1:0").unwrap();
    right.connect(endpoint.url()).unwrap();
    right.wait_for_peers(1, SOON).unwrap();
    right.send("written while it lingers").unwrap();
    right.close().unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "written while it lingers");
    left.wait_for_peers(0, SOON).unwrap();

    let name = "inproc://the-longest-time";
    let admits = |_: &sinew::Peer| false;
    let shut = Pair::on(&runtime, Options::new().admit(admits)).unwrap();
    shut.bind(name).unwrap();
    waits.connect(name).unwrap();
}

/// The unread messages of a lost peer used to keep its descriptor.
#[test]
fn unread_messages_of_lost_peers_keep_no_descriptors() {
    const PEERS: u64 = 100;
    let pair = Pair::new();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let before = descriptors();
    for n in 1..=PEERS {
        let mut raw = Raw::greet(&url, PAIR, PAIR);
        raw.send_frame(b"unread");
        raw.finish();
        drop(raw);
        eventually("it came and went", || pair.stats().broken_connections == n);
    }
    assert_eq!(pair.stats().recv_queue, PEERS);
    // Other tests of this file run beside it.
    eventually("the descriptors are back", || descriptors() < before + 50);
}

/// What a peer has sent before it went used to be lost when a send met the end first.
#[test]
fn what_a_peer_sent_before_it_went_is_received_though_a_send_failed() {
    let dir = TempDir::new();
    let url = format!("ipc://{}", dir.path("socket").display());
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    pair.bind(&url).unwrap();
    let peer = thread::spawn({
        let url = url.clone();
        move || Raw::greet(&url, PAIR, PAIR)
    });
    pair.wait_for_peers(1, SOON).unwrap();
    let mut raw = peer.join().unwrap();
    raw.send(&ipc_frame(b"last words"));
    drop(raw);
    // Written by this thread, since nobody else turns the loop; the other end is gone.
    pair.try_send("to whom?").unwrap();
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "last words");
    eventually("the pipe is gone", || {
        runtime.turn(Some(Duration::ZERO)).unwrap();
        pair.peers().is_empty()
    });
    conserved(&pair.stats());
}

/// `connect_now` used to wait for the loop, which another thread turned all the while.
#[test]
fn without_a_thread_connect_now_leaves_the_turning_to_who_is_at_it() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let left = Pair::on(&runtime, Options::new()).unwrap();
    let right = Pair::on(&runtime, Options::new()).unwrap();
    let url = left.bind("tcp://127.0.0.1:0").unwrap().url();
    let driver = thread::spawn({
        let left = left.clone();
        move || left.recv()
    });
    thread::sleep(Duration::from_millis(50)); // so that it waits, and so turns
    let (sender, connected) = mpsc::channel();
    let connector = thread::spawn({
        let right = right.clone();
        move || sender.send(right.connect_now(&url).map(drop))
    });
    let outcome = connected.recv_timeout(SOON);
    left.close().unwrap();
    outcome.expect("connect_now returns").unwrap();
    driver.join().unwrap().unwrap_err();
    connector.join().unwrap().unwrap();
}

/// `turn` used to wait for who turned the loop already, however little time it was given.
#[test]
fn without_a_thread_turn_keeps_its_timeout_beside_a_thread_that_turns() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let driver = thread::spawn({
        let pair = pair.clone();
        move || pair.recv()
    });
    thread::sleep(Duration::from_millis(50));
    let (sender, turned) = mpsc::channel();
    thread::spawn(move || sender.send(runtime.turn(Some(Duration::from_millis(1)))));
    let outcome = turned.recv_timeout(SOON);
    pair.close().unwrap();
    driver.join().unwrap().unwrap_err();
    outcome.expect("turn returns").unwrap();
}

/// Calls the socket when it is dropped, as the last reference to a task may.
struct Nosy(Mutex<Option<Pair>>);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(pair) = self.0.get_mut().unwrap().take() {
            assert!(pair.try_recv().is_err());
        }
    }
}

/// A waker that a newer one replaced used to be dropped under the socket's lock.
#[test]
fn a_waker_that_is_replaced_is_dropped_with_no_lock_held() {
    let (sender, polled) = mpsc::channel();
    thread::spawn(move || {
        let pair = Pair::new();
        let mut receiving = Box::pin(pair.recv_async());
        let nosy = Waker::from(Arc::new(Nosy(Mutex::new(Some(pair.clone())))));
        assert!(poll(receiving.as_mut(), &nosy).is_pending());
        drop(nosy);
        assert!(poll(receiving.as_mut(), Waker::noop()).is_pending());
        sender.send(()).unwrap();
    });
    polled.recv_timeout(SOON).expect("the socket is not locked");
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// With every descriptor taken, each connection that was refused used to begin a series of attempts
/// of its own, ten a second, that ended only when there were descriptors again.
#[test]
fn without_descriptors_a_listener_tries_again_ten_times_a_second_and_no_more() {
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" --ignored --exact --nocapture listener_in_want"])
        .arg(this)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = |what: &str| {
        let said = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once(what).map(|(_, said)| said.to_owned()));
        said.expect("the child says so")
    };
    let url = told("url: ");
    let mut peers: Vec<Raw> = (0..150).map(|_| Raw::connect(&url)).collect();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let errors: u64 = told("errors: ").parse().unwrap();
    assert!((1..=20).contains(&errors), "{errors} in a second");
    // Descriptors come free, and nobody new connects.
    peers.drain(..100);
    assert_eq!(peers[0].read(8), kit::header(0x51));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "a part of the test above, with few descriptors"]
fn listener_in_want() {
    let pair = Pull::new();
    println!("url: {}", pair.bind("tcp://127.0.0.1:0").unwrap().url());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let before = pair.stats().accept_errors;
    thread::sleep(Duration::from_secs(1));
    println!("errors: {}", pair.stats().accept_errors - before);
    thread::sleep(6 * SOON); // until killed
}

/// Reliability G12: foreign code that panics on the I/O thread ends with itself.
#[test]
fn a_waker_that_panics_does_not_end_the_io_thread() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("the waker's own fault");
        }
    }
    let runtime = Runtime::new().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let peer = Pair::new();
    let _address = join!(pair, peer, Transport::Tcp);
    let waker = Waker::from(Arc::new(Bomb));
    let mut waiting = Box::pin(pair.recv_async());
    let mut cx = Context::from_waker(&waker);
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    peer.send("wakes it").unwrap();
    eventually("it has arrived", || pair.stats().recv_queue == 1);
    drop(waiting);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "wakes it");
    peer.send("another").unwrap();
    assert_eq!(pair.recv_timeout(SOON).expect("the I/O thread lives"), "another");
}

/// What a peer leaves behind is kept until it is received, but not without end: peers that come, send
/// and leave again must not fill the memory of a program that does not receive. Where the pattern does
/// not let its senders wait, the oldest is dropped.
#[test]
fn peers_that_leave_cannot_fill_the_memory() {
    const LEN: usize = 64 << 10;
    let bus = Bus::with_options(Options::new().recv_queue_bytes(4 * LEN)).unwrap();
    let url = bus.bind("tcp://127.0.0.1:0").unwrap().url();
    let events = bus.events();
    for n in 0..20_u8 {
        let mut peer = Raw::greet(&url, 0x70, 0x70);
        kit::attached(&events);
        peer.send_frame(&vec![n; LEN]);
        peer.finish();
        kit::detached(&events);
    }
    let stats = bus.stats();
    assert!(stats.drops(DropReason::PeerLeft) >= 16, "{stats}");
    assert_eq!(stats.intake_pauses, 0);
    conserved(&stats);
    let left: Vec<u8> = std::iter::from_fn(|| bus.try_recv().ok()).map(|kept| kept[0]).collect();
    let kept = u8::try_from(left.len()).unwrap();
    assert!((1..=4).contains(&kept), "{left:?}");
    assert_eq!(left, (20 - kept..20).collect::<Vec<_>>(), "the newest are kept, in order");
    assert!(bus.try_recv().is_err());
    conserved(&bus.stats());
}

/// C296. What a protocol had taken out of its pipes used to stay in the accounts as held for ever.
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
    let stats = subscriber.stats();
    assert_eq!((stats.held_inbound, stats.drops(DropReason::ClosedUnread)), (0, 2));
    conserved(&stats);
    drop(context);
    conserved(&subscriber.stats());

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
    conserved(&surveyor.stats());
}

/// C112, C158. What a peer that must not send had sent used to lie there until the next send; once it
/// filled the queue, nobody heard the peer leave.
#[test]
fn an_idle_sender_throws_away_what_it_hears_and_sees_its_peer_leave() {
    let (push, publisher) = (Push::new(), Pub::new());
    let events = [push.events(), publisher.events()];
    let pushes = push.bind("tcp://127.0.0.1:0").unwrap();
    let pubs = publisher.bind("tcp://127.0.0.1:0").unwrap();
    for (endpoint, id, ours, events) in
        [(&pushes, 0x51, 0x50, &events[0]), (&pubs, 0x21, 0x20, &events[1])]
    {
        let mut peer = Raw::greet(&endpoint.url(), id, ours);
        kit::attached(events);
        for _ in 0..300 {
            peer.send_frame(&[0; 64 << 10]);
        }
        peer.finish();
        kit::detached(events);
    }
    for stats in [push.stats(), publisher.stats()] {
        assert_eq!(stats.drops(DropReason::Unexpected), 300);
        conserved(&stats);
    }
}
