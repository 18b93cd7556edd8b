//! PAIR: which newcomer is let in, if some have connected, sent and left before the socket sees any of them.
//! On a manual runtime everything is in the kernel before the first turn.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use kit::sockets::Listed;
use kit::{QUIET, Raw, SOON, Transport, conserved, conserved_now, eventually, header};
use sinew::role::{self, Receives, Sends};
use sinew::{
    AttemptError, ConnectError, Message, OptionError, Options, Pair, Pair1, ProtocolId, RecvError,
    Runtime, Socket, raw,
};

/// Of pipes of Windows nothing tells the order in which they were opened, nor whether something is on the way.
const STREAMS: &[Transport] = if cfg!(windows) { &[Transport::Tcp] } else { &Transport::STREAMS };

type Open<R> = fn(&Runtime, Options) -> Result<Socket<R>, OptionError>;

/// What a PAIR of this kind says first.
fn greeting<R: Listed>() -> [u8; 8] {
    header(R::IDS.0)
}

/// One message as a PAIR of this kind sends it.
fn message<R: Listed>(n: u32) -> Vec<u8> {
    let hops: &[u8] = if R::IDS.0 == role::Pair1::IDS.0 { &[0, 0, 0, 1] } else { &[] };
    [hops, &n.to_be_bytes()].concat()
}

/// A peer that connects and sends its header and the messages of these numbers.
fn peer<R: Listed>(url: &str, numbers: impl IntoIterator<Item = u32>) -> Raw {
    let mut peer = Raw::connect(url);
    peer.send(&greeting::<R>());
    numbers.into_iter().for_each(|n| peer.send_frame(&message::<R>(n)));
    peer
}

/// Receives the messages of these numbers, in their order.
fn receive<R: Receives<Item = Message>>(pair: &Socket<R>, numbers: impl IntoIterator<Item = u32>) {
    for n in numbers {
        let received = pair.recv_timeout(SOON).unwrap();
        assert_eq!(received[received.len() - 4..], n.to_be_bytes());
    }
}

fn manual() -> Runtime {
    Runtime::builder().manual(true).build().unwrap()
}

/// C486.
#[test]
fn peers_that_have_left_are_let_in_one_after_the_other() {
    fn check<R: Listed + Sends + Receives<Item = Message>>(open: Open<R>) {
        for &transport in STREAMS {
            let (runtime, address) = (manual(), transport.address());
            let pair = open(&runtime, Options::new()).unwrap();
            let url = pair.bind(&address.url).unwrap().url();
            let _silent = Raw::connect(&url);
            let _left = [0, 1, 2, 3, 4].map(|turn| {
                let mut peer = peer::<R>(&url, turn * 20..(turn + 1) * 20);
                peer.finish();
                peer
            });
            let _last = peer::<R>(&url, 100..120);
            receive(&pair, 0..120);
            let stats = pair.stats();
            assert_eq!((stats.accepted_connections, stats.rejected_pipes), (6, 0));
            conserved_now(&stats);
        }
    }
    check(Pair::on);
    check(raw::Pair::on);
    check(Pair1::on);
}

/// C487: with nothing between them but their order.
#[test]
fn of_two_that_stay_the_second_is_turned_away_and_has_not_seen_a_header() {
    fn check<R: Listed + Sends + Receives<Item = Message>>(open: Open<R>) {
        for &transport in STREAMS {
            let (runtime, address) = (manual(), transport.address());
            let pair = open(&runtime, Options::new()).unwrap();
            let url = pair.bind(&address.url).unwrap().url();
            let (mut first, mut second) = (peer::<R>(&url, []), peer::<R>(&url, []));
            while pair.stats().rejected_pipes == 0 {
                runtime.turn(Some(SOON)).unwrap();
            }
            assert_eq!(second.read_to_end(), [0; 0]);
            assert_eq!(first.read(8), greeting::<R>());
            first.send_frame(&message::<R>(7));
            receive(&pair, [7]);
            conserved(|| pair.stats());
        }
    }
    check(Pair::on);
    check(Pair1::on);
}

/// C488.
#[test]
fn a_peer_that_says_nothing_keeps_nobody_out() {
    for &transport in STREAMS {
        let (runtime, address) = (manual(), transport.address());
        let pair = Pair::on(&runtime, Options::new()).unwrap();
        let url = pair.bind(&address.url).unwrap().url();
        let mut silent = Raw::connect(&url);
        let _proper = peer::<role::Pair>(&url, [1]);
        receive(&pair, [1]);
        silent.send(&greeting::<role::Pair>());
        while pair.stats().rejected_pipes == 0 {
            runtime.turn(Some(SOON)).unwrap();
        }
        assert_eq!(silent.read_to_end(), greeting::<role::Pair>());
        conserved(|| pair.stats());
    }
}

/// A socket that takes in four messages at a time.
#[cfg(unix)] // for the test below
fn narrow<R: Listed>() -> Socket<R> {
    Socket::<R>::with_options(Options::new().recv_queue(4).handshake_timeout(SOON)).unwrap()
}

/// C489: its end lies behind messages for which there is no room in the queue.
#[cfg(unix)] // Windows tells of an end only to who has read all before it
#[test]
fn a_newcomer_takes_the_place_of_a_peer_that_left_before_its_messages_are_received() {
    fn check<R: Listed + Sends + Receives<Item = Message>>() {
        for &transport in STREAMS {
            let (pair, address) = (narrow::<R>(), transport.address());
            let url = pair.bind(&address.url).unwrap().url();
            let (first, second) = (Socket::<R>::new(), Socket::<R>::new());
            let send = |peer: &Socket<R>, numbers: std::ops::Range<u32>| {
                numbers.for_each(|n| peer.send_timeout(n.to_be_bytes().to_vec(), SOON).unwrap());
            };
            first.connect(&url).unwrap();
            eventually("the first is there", || pair.stats().current_connections == 1);
            send(&first, 0..60);
            first.close().unwrap();
            let events = pair.events();
            second.connect(&url).unwrap();
            while events.recv_timeout(SOON).unwrap().kind != sinew::PipeEventKind::Attached {}
            assert_eq!(pair.stats().messages_received, 0);
            thread::scope(|scope| {
                scope.spawn(|| send(&second, 60..120));
                receive(&pair, 0..120);
            });
            assert_eq!(pair.stats().rejected_pipes, 0);
            conserved(|| pair.stats());
            conserved(|| second.stats());
        }
    }
    check::<role::Pair>();
    check::<role::Pair1>();
}

/// C489: nor longer than for a header.
#[test]
fn a_newcomer_does_not_wait_for_ever_to_know_whether_the_peer_has_left() {
    const LIMIT: Duration = Duration::from_millis(50);
    for &transport in STREAMS {
        let options = Options::new().recv_queue(4).handshake_timeout(LIMIT);
        let (pair, address) = (Pair::with_options(options).unwrap(), transport.address());
        let url = pair.bind(&address.url).unwrap().url();
        let _first = peer::<role::Pair>(&url, 0..60);
        eventually("the queue is full", || pair.stats().recv_queue >= 4);
        let second = Pair::new();
        let error = second.connect_now(&url).unwrap_err();
        let ConnectError::Failed { source, .. } = error else { panic!("{error}") };
        let peer = ProtocolId::PAIR;
        assert_eq!(source, AttemptError::TurnedAway { peer, greeted: false });
        receive(&pair, 0..60);
        assert_eq!(pair.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(pair.stats().rejected_pipes, 1);
        conserved(|| pair.stats());
    }
}

/// C490: it has been sent our header, and has sent messages.
#[test]
fn a_peer_that_is_being_decided_about_keeps_its_turn() {
    for &transport in STREAMS {
        let (admit, admitted) = channel::<()>();
        let (asked, admitted) = (Arc::new(AtomicUsize::new(0)), Mutex::new(admitted));
        let options = Options::new().admit({
            let asked = Arc::clone(&asked);
            move |_| {
                asked.fetch_add(1, Ordering::Relaxed) > 0
                    || admitted.lock().unwrap().recv_timeout(SOON).is_ok()
            }
        });
        let (pair, address) = (Pair::with_options(options).unwrap(), transport.address());
        let url = pair.bind(&address.url).unwrap().url();
        let mut first = peer::<role::Pair>(&url, 0..20);
        first.finish();
        eventually("the first is asked about", || asked.load(Ordering::Relaxed) == 1);
        let mut second = peer::<role::Pair>(&url, 20..40);
        eventually("the second is asked about", || asked.load(Ordering::Relaxed) == 2);
        // It is to have every chance of being let in first.
        thread::sleep(QUIET);
        assert_eq!(pair.stats().accepted_connections, 0);
        admit.send(()).unwrap();
        receive(&pair, 0..40);
        assert_eq!(second.read(8), greeting::<role::Pair>());
        assert_eq!(pair.stats().rejected_pipes, 0);
        conserved(|| pair.stats());
    }
}
