//! The `admit` callback: a slow one holds up its own peer, and nobody else.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use sinew::{
    DetachReason, Events, Options, Pair, PipeEventKind, Pull, Push, RecvError, Rep, Req, Runtime,
};

use kit::{Raw, RawListener, SOON, Transport, eventually, header, join};

const PUSH: u8 = 0x50;
const PULL: u8 = 0x51;

/// A callback that says that it runs, and then waits until it may answer.
struct Doorman {
    asked: Receiver<String>,
    answers: Sender<bool>,
}

impl Doorman {
    /// With the options of a socket that he works for.
    fn new() -> (Self, Options) {
        let (tell, asked) = channel();
        let (answers, listen) = channel();
        let (tell, listen) = (Mutex::new(tell), Mutex::new(listen));
        let options = Options::new().admit(move |_| {
            let thread = thread::current().name().unwrap_or_default().to_owned();
            let _ = tell.lock().unwrap().send(thread);
            listen.lock().unwrap().recv_timeout(SOON).unwrap_or(false)
        });
        (Self { asked, answers }, options)
    }

    /// Waits until he is asked; yields the thread that asks.
    #[track_caller]
    fn is_asked(&self) -> String {
        self.asked.recv_timeout(SOON).expect("he is asked")
    }

    fn answers(&self, admitted: bool) {
        self.answers.send(admitted).expect("he listens as long as his socket lives");
    }
}

#[track_caller]
fn next(events: &Events) -> PipeEventKind {
    events.recv_timeout(SOON).expect("an event").kind
}

/// C440.
#[test]
fn a_slow_decision_holds_up_no_message_and_no_other_connection_of_the_runtime() {
    for transport in Transport::STREAMS {
        let (doorman, options) = Doorman::new();
        let pull = Pull::with_options(options).unwrap();
        let address = transport.address();
        let url = pull.bind(&address.url).unwrap().url();
        let slow = Push::new();
        slow.connect(&url).unwrap();
        assert_eq!(doorman.is_asked(), "sinew-admit");
        // Connections that come while it takes its time, of another socket of the same runtime.
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, transport);
        thread::scope(|scope| {
            scope.spawn(|| (0..20).for_each(|_| rep.recv().unwrap().reply("pong").unwrap()));
            (0..20).for_each(|_| assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong"));
        });
        assert!(pull.peers().is_empty());
        doorman.answers(true);
        slow.send_timeout("late", SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "late");
        kit::conserved(|| pull.stats());
    }
}

/// C440.
#[test]
fn a_slow_decision_holds_up_no_other_peer_of_the_same_socket() {
    let (entered, gate) = (AtomicUsize::new(0), Arc::new((Mutex::new(false), Condvar::new())));
    let first = Arc::clone(&gate);
    let pull = Pull::with_options(Options::new().admit(move |_| {
        if entered.fetch_add(1, Ordering::SeqCst) == 0 {
            let (open, news) = &*first;
            drop(news.wait_while(open.lock().unwrap(), |open| !*open).unwrap());
        }
        true
    }))
    .unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let events = pull.events();
    let slow = Push::new();
    slow.connect(&url).unwrap();
    assert_eq!(next(&events), PipeEventKind::Attaching);
    let others = [(); 5].map(|()| Push::new());
    for (other, n) in others.iter().zip(1..) {
        other.connect(&url).unwrap();
        pull.wait_for_peers(n, SOON).unwrap();
    }
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
    pull.wait_for_peers(6, SOON).unwrap();
}

/// What a peer sends meanwhile is not lost, and not if it has left by then.
#[test]
fn what_comes_during_a_decision_is_received_after_it() {
    let (doorman, options) = Doorman::new();
    let pull = Pull::with_options(options).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let events = pull.events();
    let mut raw = Raw::connect(&url);
    // One message with the header, the others behind it.
    raw.send(&[&header(PUSH)[..], &kit::frame(b"0")].concat());
    assert_eq!(raw.read(8), header(PULL));
    doorman.is_asked();
    (1..100).for_each(|n| raw.send_frame(n.to_string().as_bytes()));
    drop(raw);
    doorman.answers(true);
    for n in 0..100 {
        assert_eq!(pull.recv_timeout(SOON).unwrap(), n.to_string());
    }
    let closed = PipeEventKind::Detached(DetachReason::PeerClosed);
    for expected in [PipeEventKind::Attaching, PipeEventKind::Attached, closed] {
        assert_eq!(next(&events), expected);
    }
    kit::conserved(|| pull.stats());
}

/// C440. Who has not been let in yet takes up no memory of ours, however many there are.
#[test]
#[cfg(target_os = "linux")] // where it is known how much that has
fn what_comes_during_a_decision_stays_in_the_kernel() {
    use std::io::Write;
    use std::os::unix::net::{UnixListener, UnixStream};

    let (doorman, options) = Doorman::new();
    let pull = Pull::with_options(options).unwrap();
    let (here, nobody) = (Transport::Ipc.address(), Transport::Ipc.address());
    let _endpoint = pull.bind(&here.url).unwrap();
    let path = |url: &str| url.trim_start_matches("ipc://").to_owned();
    let _never_reads = UnixListener::bind(path(&nobody.url)).unwrap();
    let words = [&header(PUSH)[..], &[0; 20_000]].concat();
    let fill = |mut stream: &UnixStream| {
        let mut filled = 0;
        while let Ok(n) = stream.write(&words) {
            filled += n;
        }
        filled
    };
    let connect = |url: &str| {
        let stream = UnixStream::connect(path(url)).unwrap();
        stream.set_nonblocking(true).unwrap();
        stream
    };
    let room = fill(&connect(&nobody.url));
    let stream = connect(&here.url);
    let before = fill(&stream);
    doorman.is_asked();
    assert_eq!(before + fill(&stream), room);
    doorman.answers(false);
}

/// C441.
#[test]
fn a_close_does_not_wait_for_a_decision_and_is_not_changed_by_it() {
    for of_the_socket in [true, false] {
        let (doorman, options) = Doorman::new();
        let pull = Pull::with_options(options).unwrap();
        let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
        let events = pull.events();
        let mut raw = Raw::greet(&endpoint.url(), PUSH, PULL);
        doorman.is_asked();
        let reason = if of_the_socket {
            pull.close().map(|()| DetachReason::SocketClosed).unwrap()
        } else {
            endpoint.close().map(|()| DetachReason::EndpointClosed).unwrap()
        };
        // While the callback still runs.
        assert!(raw.read_to_end().is_empty());
        assert_eq!(next(&events), PipeEventKind::Attaching);
        assert_eq!(next(&events), PipeEventKind::Detached(reason));
        doorman.answers(true);
        pull.close().err();
        assert!(events.recv_timeout(SOON).is_err(), "that was the last event");
        assert_eq!(pull.stats().rejected_pipes, 1);
        assert_eq!(pull.stats().accepted_connections, 0);
    }
}

/// The program says no after a while: as if it had said so at once.
#[test]
fn a_peer_that_is_turned_away_late_is_dialed_again_with_back_off() {
    let (doorman, options) = Doorman::new();
    let push = Push::with_options(options.reconnect_interval(Duration::from_millis(5))).unwrap();
    let server = RawListener::new();
    let endpoint = push.connect(server.url()).unwrap();
    for _ in 0..3 {
        let mut peer = server.accept();
        peer.send(&header(PULL));
        doorman.is_asked();
        doorman.answers(false);
        assert_eq!(peer.read_to_end(), header(PUSH));
    }
    assert!(endpoint.status().attempts >= 3);
    assert_eq!(endpoint.status().peers, 0);
    eventually("each is counted", || push.stats().rejected_pipes == 3);
}

/// However many come: a thread each would be too many. The bound is one of each event loop.
#[test]
fn a_crowd_of_newcomers_is_decided_about_by_a_bounded_number_of_threads() {
    const CROWD: usize = 200;
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let open = Arc::new(AtomicBool::new(false));
    let runtime = Runtime::builder().io_threads(1).build().unwrap();
    let pull = {
        let (running, most, open) = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&open));
        let options = Options::new().admit(move |_| {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            eventually("the test goes on", || open.load(Ordering::SeqCst));
            running.fetch_sub(1, Ordering::SeqCst);
            true
        });
        Pull::on(&runtime, options).unwrap()
    };
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let events = pull.events();
    let peers: Vec<_> = (0..CROWD).map(|_| Raw::greet(&url, PUSH, PULL)).collect();
    (0..CROWD).for_each(|_| assert_eq!(next(&events), PipeEventKind::Attaching));
    eventually("as many as may", || running.load(Ordering::SeqCst) == 64);
    open.store(true, Ordering::SeqCst);
    pull.wait_for_peers(CROWD, SOON).unwrap();
    assert_eq!(most.load(Ordering::SeqCst), 64);
    drop(peers);
}

/// C442. Where the program turns the loop itself, nothing runs anywhere else.
#[test]
fn a_runtime_without_io_threads_asks_in_the_thread_that_turns_it() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let here = thread::current().id();
    let asked = Arc::new(AtomicUsize::new(0));
    let counts = Arc::clone(&asked);
    let options = Options::new().admit(move |_| {
        assert_eq!(thread::current().id(), here);
        counts.fetch_add(1, Ordering::SeqCst);
        true
    });
    let pull = Pull::on(&runtime, options).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let push = Push::new();
    push.connect(&url).unwrap();
    eventually("it is asked, and says yes", || {
        runtime.turn(Some(Duration::from_millis(1))).unwrap();
        pull.peers().len() == 1
    });
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

/// C442. In the thread that binds or connects, and for later attempts not in the I/O thread.
#[test]
fn inproc_asks_in_the_thread_that_joins_and_never_in_the_io_thread() {
    let (doorman, options) = Doorman::new();
    let (asks, dials) = (Pair::with_options(options).unwrap(), Pair::new());
    let address = Transport::Inproc.address();
    asks.bind(&address.url).unwrap();
    doorman.answers(false);
    dials.connect(&address.url).unwrap();
    assert_eq!(doorman.is_asked(), thread::current().name().unwrap());
    assert_eq!(doorman.is_asked(), "sinew-admit");
    doorman.answers(true);
    asks.wait_for_peers(1, SOON).unwrap();
}

/// C441. Who asks for events when the socket is closed already takes none away from who did before.
#[test]
fn the_last_event_of_a_peer_comes_after_a_close_whoever_subscribes_in_between() {
    let (doorman, options) = Doorman::new();
    let pull = Pull::with_options(options).unwrap();
    let address = Transport::Inproc.address();
    pull.bind(&address.url).unwrap();
    let events = pull.events();
    let push = Push::new();
    let joining = thread::spawn(move || push.connect_now(&address.url).is_ok());
    doorman.is_asked();
    assert_eq!(next(&events), PipeEventKind::Attaching);
    pull.close().unwrap();
    let late = pull.events();
    assert_eq!(events.try_recv(), Err(RecvError::WouldBlock), "there is one more to come");
    doorman.answers(true);
    assert!(!joining.join().unwrap());
    for events in [events, late] {
        assert_eq!(next(&events), PipeEventKind::Detached(DetachReason::SocketClosed));
        assert_eq!(events.recv_timeout(SOON), Err(RecvError::Closed));
    }
}
