//! Peers that send and leave before anybody receives: what they sent is received, and costs little.

use std::thread;
use std::time::Duration;

use crate::{allocated, alone, beside_others};
use kit::{
    QUIET, Raw, RawListener, SOON, TempDir, Transport, conserved, eventually, frame, header,
    ipc_frame,
};
use sinew::{
    AttemptError, Bus, ConnectError, DropReason, Options, Pair, Pull, Push, RecvError, Runtime,
};
use socket2::{Domain, SockAddr, Socket, Type};

const PAIR: u8 = 0x10;
const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;

/// Producers that come one after the other.
#[derive(Clone, Copy)]
struct Producers {
    count: usize,
    messages: usize,
    length: usize,
}

impl Producers {
    /// Each connects, sends, drains and leaves. All are served only if somebody receives meanwhile.
    fn run(self, url: &str) {
        let body = vec![7; self.length];
        for _ in 0..self.count {
            let push = Push::new();
            push.connect_now(url).expect("the consumer listens");
            for _ in 0..self.messages {
                push.send(body.as_slice()).unwrap();
            }
            assert_eq!(push.drain(SOON), 0, "left unsent");
            push.close().unwrap();
            conserved(|| push.stats());
        }
    }

    fn total(self) -> usize {
        self.count * self.messages
    }
}

/// Has a consumer begin to receive when the producers cannot go on without it, and expects all.
fn assert_all_are_received(runtime: &Runtime, producers: Producers, transport: Transport) {
    let pull = Pull::on(runtime, Options::new()).unwrap();
    let address = transport.address();
    let url = pull.bind(&address.url).unwrap().url();
    thread::scope(|scope| {
        let producing = scope.spawn(|| producers.run(&url));
        eventually("they wait for the consumer", || {
            // The figures are those of thousands of pipes, under the lock that newcomers need.
            thread::sleep(Duration::from_millis(20));
            pull.stats().intake_pauses > 0 || producing.is_finished()
        });
        for n in 0..producers.total() {
            let message = pull.recv_timeout(SOON);
            assert_eq!(message.map_or(0, |message| message.len()), producers.length, "of {n}");
        }
        producing.join().unwrap();
    });
    assert!(pull.stats().intake_pauses > 0, "the consumer came late: {}", pull.stats());
    conserved(|| pull.stats());
}

/// C111, of many peers.
#[test]
fn large_messages_of_producers_that_left_are_all_received() {
    let _turn = beside_others();
    let producers = Producers { count: 200, messages: 1, length: 900_000 };
    for threads in [1, 4] {
        let runtime = Runtime::builder().io_threads(threads).build().unwrap();
        for transport in Transport::STREAMS {
            assert_all_are_received(&runtime, producers, transport);
        }
    }
}

#[test]
fn small_messages_of_producers_that_left_are_all_received() {
    let _turn = beside_others();
    let runtime = Runtime::new().unwrap();
    let producers = Producers { count: 2000, messages: 100, length: 400 };
    assert_all_are_received(&runtime, producers, Transport::Ipc);
}

#[test]
fn single_messages_of_many_producers_that_left_are_all_received() {
    let _turn = beside_others();
    let runtime = Runtime::new().unwrap();
    let producers = Producers { count: 12_000, messages: 1, length: 50 };
    assert_all_are_received(&runtime, producers, Transport::Ipc);
}

/// Inside the process nobody need drain.
#[test]
fn messages_of_inproc_producers_that_left_are_all_received() {
    const COUNT: usize = 200;
    let _turn = beside_others();
    let pull = Pull::new();
    let address = Transport::Inproc.address();
    pull.bind(&address.url).unwrap();
    let producing = thread::spawn(move || {
        for n in 0..COUNT {
            let push = Push::new();
            match n % 2 {
                0 => push.connect_now(&address.url).unwrap(),
                _ => push.connect(&address.url).unwrap(),
            };
            push.send(vec![7; 900_000]).unwrap();
        }
    });
    eventually("they wait for the consumer", || pull.stats().intake_pauses > 0);
    for n in 0..COUNT {
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 900_000, "{n}");
    }
    producing.join().unwrap();
    conserved(|| pull.stats());
}

/// A PULL in which peers that are gone have left all they may.
fn filled(transport: Transport, options: Options) -> (Pull, String, kit::Address) {
    let pull = Pull::with_options(options.recv_queue_bytes(4096)).unwrap();
    let address = transport.address();
    let url = pull.bind(&address.url).unwrap().url();
    while pull.stats().recv_queue < 2 {
        let before = pull.stats().recv_queue;
        let push = Push::new();
        push.connect_now(&url).unwrap();
        push.send(&[7; 4000]).unwrap();
        push.close().unwrap();
        eventually("it has left its message", || {
            pull.stats().recv_queue > before && pull.peers().is_empty()
        });
    }
    (pull, url, address)
}

#[test]
fn who_connects_waits_until_something_has_been_received() {
    let _turn = beside_others();
    let limit = Duration::from_millis(50);
    for transport in Transport::ALL {
        let (pull, url, _address) = filled(transport, Options::new());
        let hasty = Push::with_options(Options::new().handshake_timeout(limit)).unwrap();
        let error = hasty.connect_now(&url).unwrap_err();
        let expected = AttemptError::HandshakeTimedOut(limit);
        let ConnectError::Failed { source, .. } = error else { panic!("{error:?}") };
        assert_eq!(source, expected);

        let patient = Push::new();
        patient.connect(&url).unwrap();
        assert!(patient.send_timeout("too early", QUIET).is_err());
        for _ in 0..2 {
            assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 4000);
        }
        patient.send_timeout("in time", SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "in time");
        conserved(|| pull.stats());
    }
}

/// Whoever waits must not wait for what does not come any more.
#[test]
fn who_connects_waits_no_longer_than_the_endpoint_or_the_bound_is_there() {
    let _turn = beside_others();
    for transport in Transport::ALL {
        let (pull, url, _address) = filled(transport, Options::new());
        let push = Push::new();
        push.connect(&url).unwrap();
        eventually("the listener waits", || pull.stats().intake_pauses > 0);
        pull.set_options(pull.options().recv_queue_bytes(8 << 20)).unwrap();
        push.wait_for_peers(1, SOON).unwrap();
    }
    let (pull, url, _address) = filled(Transport::Inproc, Options::new());
    let push = Push::new();
    push.connect(&url).unwrap();
    pull.close().unwrap();
    let pull = Pull::new();
    pull.bind(&url).unwrap();
    push.wait_for_peers(1, SOON).unwrap();
}

#[test]
fn a_peer_that_stays_is_read_while_nobody_new_is_let_in() {
    let _turn = beside_others();
    let pull = Pull::with_options(Options::new().recv_queue_bytes(4096)).unwrap();
    let address = Transport::Ipc.address();
    pull.bind(&address.url).unwrap();
    let stays = Push::new();
    stays.connect_now(&address.url).unwrap();
    for n in 1..=2 {
        let push = Push::new();
        push.connect_now(&address.url).unwrap();
        push.send(&[7; 4000]).unwrap();
        push.close().unwrap();
        eventually("it has left its message", || {
            pull.stats().recv_queue == n && pull.peers().len() == 1
        });
    }
    for _ in 0..50 {
        stays.send("small").unwrap();
    }
    eventually("they have arrived", || pull.stats().recv_queue == 52);
    conserved(|| pull.stats());
}

/// One that has left already is read no further, and what it sent stays with the kernel.
#[test]
fn a_peer_that_has_left_is_read_when_there_is_room() {
    let _turn = beside_others();
    let pull = Pull::with_options(Options::new().recv_queue_bytes(4096)).unwrap();
    let address = Transport::Ipc.address();
    pull.bind(&address.url).unwrap();
    let mut peers: Vec<Raw> = (0..10).map(|_| Raw::greet(&address.url, PUSH, PULL)).collect();
    for peer in &mut peers {
        peer.send(&ipc_frame(&[7; 4000]));
        peer.finish();
    }
    drop(peers);
    eventually("some wait", || pull.stats().intake_pauses > 0);
    for _ in 0..10 {
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 4000);
    }
    eventually("all are gone", || pull.peers().is_empty());
    conserved(|| pull.stats());
}

/// A server that sends and leaves, again and again, is not connected to for more than is received.
#[test]
fn a_dialer_waits_as_a_listener_does() {
    let _turn = beside_others();
    let listener = RawListener::new();
    let options =
        Options::new().recv_queue_bytes(4096).reconnect_interval(Duration::from_millis(1));
    let pull = Pull::with_options(options).unwrap();
    pull.connect(listener.url()).unwrap();
    let serve = || {
        let mut raw = listener.accept();
        raw.send(&header(PUSH));
        raw.send(&frame(&[7; 4000]));
        raw.finish();
        assert_eq!(raw.read_to_end(), header(PULL));
    };
    (0..2).for_each(|_| serve());
    eventually("it waits", || pull.stats().intake_pauses > 0);
    thread::sleep(QUIET);
    assert!(listener.try_accept().is_none(), "it has connected again");
    for _ in 0..2 {
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 4000);
    }
    serve();
    assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 4000);
    conserved(|| pull.stats());
}

/// Connects, sends one message and leaves, without a look at the answer. `false`: too many wait there.
fn attack(path: &str, bytes: &[u8]) -> bool {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    socket.set_nonblocking(true).unwrap();
    match socket.connect(&SockAddr::unix(path).unwrap()) {
        Ok(()) => assert_eq!(socket.send(bytes).unwrap(), bytes.len()),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return false,
        Err(error) => panic!("{error}"),
    }
    true
}

#[test]
fn peers_that_send_and_leave_cost_little_and_lose_nothing() {
    const PEERS: usize = 20_000;
    const LIMIT: usize = 10 << 20;
    let _turn = alone();
    // A message may keep four times its length alive, the block that it was read into.
    for (length, queue) in [(50, 8 << 20), (100_000, 1 << 20)] {
        let pull = Pull::with_options(Options::new().recv_queue_bytes(queue)).unwrap();
        let address = Transport::Ipc.address();
        let url = pull.bind(&address.url).unwrap().url();
        let path = url.strip_prefix("ipc://").unwrap();
        let bytes = [&header(PUSH)[..], &ipc_frame(&vec![7; length])].concat();
        let before = allocated();
        let (mut sent, mut most) = (0, 0);
        for _ in 0..PEERS {
            let got_in = loop {
                let got_in = attack(path, &bytes);
                if got_in || pull.stats().intake_pauses > 0 {
                    break got_in;
                }
                thread::yield_now();
            };
            sent += usize::from(got_in);
            most = most.max(allocated().saturating_sub(before));
        }
        assert!(pull.stats().intake_pauses > 0, "all were let in");
        eprintln!("{length} bytes each: {most} bytes at most");
        assert!(most < LIMIT, "{most} bytes");
        // Each comes, however long a busy machine takes; and nothing else does.
        for _ in 0..sent {
            pull.recv_timeout(SOON).expect("no message of those that were sent is lost");
        }
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(pull.stats().drops(DropReason::PeerLeft), 0);
        conserved(|| pull.stats());
        let honest = Push::new();
        honest.connect_now(&url).unwrap();
        honest.send("honest").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "honest");
    }
}

/// A send that meets the end of a peer must not take from the program what the peer had sent before, and
/// for which the queue had no room yet.
#[test]
fn what_a_peer_sent_before_it_went_is_received_though_the_queue_was_full() {
    const HALF: usize = 20;
    let _turn = beside_others();
    let pair = Pair::with_options(Options::new().recv_queue(8)).unwrap();
    let address = Transport::Ipc.address();
    pair.bind(&address.url).unwrap();
    let mut raw = Raw::greet(&address.url, 0x10, 0x10);
    let half = ipc_frame(&[7; 4000]).repeat(HALF);
    raw.send(&half);
    eventually("the queue is full", || pair.stats().recv_queue >= 8);
    raw.send(&half);
    drop(raw);
    // Its end may be known already.
    let _ = pair.try_send("to whom?");
    // Though nobody receives: the next peer can come.
    eventually("the pipe is gone", || pair.peers().is_empty());
    for n in 0..2 * HALF {
        assert_eq!(pair.recv_timeout(SOON).map(|message| message.len()).ok(), Some(4000), "{n}");
    }
    conserved(|| pair.stats());
}

/// What a peer has sent before it went used to be lost when a send met the end first.
#[test]
fn what_a_peer_sent_before_it_went_is_received_though_a_send_failed() {
    let _turn = beside_others();
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
    conserved(|| pair.stats());
}

/// What a peer leaves behind is kept until it is received, but not without end: peers that come, send
/// and leave again must not fill the memory of a program that does not receive. Where the pattern does
/// not let its senders wait, the oldest is dropped.
#[test]
fn peers_that_leave_cannot_fill_the_memory() {
    const LEN: usize = 64 << 10;
    let _turn = beside_others();
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
    let stats = conserved(|| bus.stats());
    assert!(stats.drops(DropReason::PeerLeft) >= 16, "{stats}");
    assert_eq!(stats.intake_pauses, 0);
    let left: Vec<u8> = std::iter::from_fn(|| bus.try_recv().ok()).map(|kept| kept[0]).collect();
    let kept = u8::try_from(left.len()).unwrap();
    assert!((1..=4).contains(&kept), "{left:?}");
    assert_eq!(left, (20 - kept..20).collect::<Vec<_>>(), "the newest are kept, in order");
    assert!(bus.try_recv().is_err());
    conserved(|| bus.stats());
}
