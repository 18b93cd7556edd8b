//! Log records: peers that come, are refused and leave, and dropped messages, each logged once.

use std::io;
use std::sync::{Mutex, MutexGuard, Once, mpsc};
use std::thread;
use std::time::Duration;

use sinew::metrics::Observe;
use sinew::transport::{
    Address, Destination, EndpointSettings, Framing, Listener, Source, Stream, StreamTransport,
    Target, Tcp,
};
use sinew::{
    AddressError, BindError, Bus, DropReason, Endpoint, EndpointState, Options, Pair, Pub, Pull,
    Push, Rep, Runtime, Sub, raw,
};

use kit::{QUIET, Raw, SOON, Transport, arrived, eventually, free_tcp_url, in_time, join};

#[test]
fn a_connection_is_told_with_name_and_peer_when_it_comes_and_when_it_goes() {
    listen();
    for transport in Transport::ALL {
        let (here, there) = (named("come-and-go"), Options::new());
        let (pull, push) = (Pull::with_options(here).unwrap(), Push::with_options(there).unwrap());
        let (_address, endpoint) = join!(pull, push, transport);
        let peer = pull.peers()[0].peer.clone();
        let pipe = peer.pipe;
        wait_for(&pull, &format!("bound to {}", endpoint.url()));
        wait_for(&pull, &format!("{peer} is there, pipe {pipe}"));
        push.close().unwrap();
        let gone = "the peer closed the connection";
        wait_for(&pull, &format!("{peer} is gone, pipe {pipe}: {gone}"));
        pull.close().unwrap();
        wait_for(&pull, "closed");
        forget(&pull);
    }
}

#[test]
fn a_peer_that_is_refused_is_told_with_the_reason() {
    listen();
    for transport in Transport::ALL {
        let pair = Pair::with_options(named("refusing").admit(|_| false)).unwrap();
        let other = Pair::new();
        let address = transport.address();
        let url = pair.bind(&address.url).unwrap().url();
        other.connect(&url).unwrap();
        let refused = |text: &str| {
            text.starts_with("pair at ") && text.ends_with("turned away: the peer was not admitted")
        };
        eventually("it is told", || records(&pair).iter().any(|text| refused(text)));
        pair.close().unwrap();
        forget(&pair);
    }
}

#[test]
fn a_peer_of_the_wrong_kind_is_told_on_both_sides() {
    listen();
    for transport in Transport::ALL {
        let rep = Rep::with_options(named("answering")).unwrap();
        let push = Push::with_options(named("pushing")).unwrap();
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        push.connect(&url).unwrap();
        let ours = "protocol error: the peer is a push socket, ours needs req";
        eventually("the one that is bound tells", || {
            records(&rep)
                .iter()
                .any(|text| text.starts_with("no pipe with ") && text.ends_with(ours))
        });
        let theirs = "the peer is a rep socket, ours needs pull";
        eventually("the one that connects tells", || {
            records(&push).iter().any(|text| text.contains("connect to ") && text.ends_with(theirs))
        });
        push.close().unwrap();
        rep.close().unwrap();
        forget(&push);
        forget(&rep);
    }
}

#[test]
fn an_attempt_that_fails_is_told() {
    listen();
    let push = Push::with_options(named("failing")).unwrap();
    push.connect("tcp://127.0.0.1:1").unwrap();
    wait_for(&push, "connects to tcp://127.0.0.1:1");
    wait_for(&push, "connect to tcp://127.0.0.1:1: connection refused");
    push.bind("tcp://127.0.0.1:no").unwrap_err();
}

#[test]
fn drops_are_told_once_for_each_reason_and_peer() {
    listen();
    let bus = Bus::with_options(named("dropping").send_queue(1)).unwrap();
    let endpoint = bus.bind("inproc://logging-drops").unwrap();
    let slow = [(); 2].map(|()| Bus::with_options(Options::new().recv_queue(1)).unwrap());
    slow.iter().for_each(|slow| drop(slow.connect(endpoint.url()).unwrap()));
    bus.wait_for_peers(2, SOON).unwrap();
    (0..10).for_each(|_| bus.send("news").unwrap());
    assert!(bus.stats().drops(DropReason::SendQueueFull) >= 10);
    for peer in bus.peers() {
        let text = format!(
            "{}, pipe {}: the first message is dropped: send_queue_full",
            peer.peer, peer.pipe
        );
        assert_eq!(records(&bus).iter().filter(|record| **record == text).count(), 1, "{text}");
    }
    assert_eq!(records(&bus).iter().filter(|text| text.contains("dropped")).count(), 2);
}

#[test]
fn drops_of_what_was_received_are_told_once() {
    listen();
    let rep = Rep::with_options(named("malformed")).unwrap();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x30, 0x31);
    (0..5).for_each(|_| peer.send_frame(b"\x80\0\0")); // too short
    peer.send_frame(b"\x80\0\0\x01good");
    assert_eq!(*rep.recv_timeout(SOON).unwrap(), "good");
    assert_eq!(rep.stats().drops(DropReason::Malformed), 5);
    let told =
        || records(&rep).iter().filter(|text| text.ends_with("is dropped: malformed")).count();
    eventually("it is told", || told() > 0);
    assert_eq!(told(), 1);
}

#[test]
fn a_drop_for_which_no_peer_stands_is_told_for_the_socket() {
    listen();
    let req = raw::Req::new();
    let rep = raw::Rep::with_options(named("to-nobody")).unwrap();
    let _address = join!(rep, req, Transport::Tcp);
    let request = sinew::Message::from("?").with_header(vec![0x80, 0, 0, 1]);
    req.send(request).unwrap();
    let request = rep.recv_timeout(SOON).unwrap();
    req.close().unwrap();
    eventually("the asker is gone", || rep.peers().is_empty());
    for _ in 0..3 {
        rep.send(sinew::Message::from("!").with_header(request.header().clone())).unwrap();
    }
    assert_eq!(rep.stats().drops(DropReason::PeerGone), 3);
    let text = "the first message is dropped: peer_gone";
    assert_eq!(records(&rep).iter().filter(|record| *record == text).count(), 1);
}

#[test]
fn what_is_lost_with_a_connection_is_told() {
    listen();
    let push = Push::with_options(named("losing")).unwrap();
    let endpoint = push.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x51, 0x50);
    push.wait_for_peers(1, SOON).unwrap();
    // Until the kernel takes no more either.
    while push.send_timeout(vec![0; 100_000], QUIET).is_ok() {}
    peer.finish();
    eventually("it is lost", || push.stats().drops(DropReason::PipeLost) > 0);
    let lost = push.stats().drops(DropReason::PipeLost);
    eventually("it is told", || {
        records(&push)
            .iter()
            .any(|text| text.ends_with(&format!(": {lost} messages dropped: pipe_lost")))
    });
}

/// C376: what goes wrong is told at level warn once, and again only when it had been well in between.
#[test]
fn the_first_failure_of_an_endpoint_is_a_warning_and_the_next_ones_are_not() {
    listen();
    let url = free_tcp_url();
    let quick = named("once").reconnect_interval(Duration::from_millis(5));
    let push = Push::with_options(quick).unwrap();
    push.connect(&url).unwrap();
    let warnings = || warned(&push).len();
    eventually("it has failed often", || push.stats().connect_errors > 5);
    assert_eq!(warned(&push), [format!("connect to {url}: connection refused")]);
    let pull = Pull::new();
    pull.bind(&url).unwrap();
    push.wait_for_peers(1, SOON).unwrap();
    pull.close().unwrap();
    let so_far = push.stats().connect_errors;
    eventually("it has failed again", || push.stats().connect_errors > so_far + 5);
    assert!(warnings() <= 2, "{:?}", warned(&push));
}

/// C376.
#[test]
fn a_peer_of_the_wrong_kind_is_a_warning_once() {
    listen();
    for transport in Transport::ALL {
        let rep = Rep::with_options(named("wrong-kind")).unwrap();
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        let quick = Options::new().reconnect_interval(Duration::from_millis(5));
        let push = Push::with_options(quick.name("wrong-kind-too")).unwrap();
        push.connect(&url).unwrap();
        eventually("it was met often", || rep.stats().handshake_errors > 3);
        eventually("it is told on both sides", || {
            warned(&rep).len() == 1 && warned(&push).len() == 1
        });
        assert!(warned(&rep)[0].ends_with("the peer is a push socket, ours needs req"));
        assert!(warned(&push)[0].ends_with("the peer is a rep socket, ours needs pull"));
        push.close().unwrap();
        rep.close().unwrap();
        forget(&push);
        forget(&rep);
    }
}

/// C376.
#[test]
fn a_sub_that_drops_for_want_of_any_subscription_warns_once() {
    listen();
    for transport in Transport::ALL {
        let (publisher, sub) = (Pub::new(), Sub::with_options(named("deaf")).unwrap());
        let _address = join!(publisher, sub, transport);
        (0..5).for_each(|_| publisher.send("news").unwrap());
        eventually("it drops", || {
            let _ = sub.try_recv();
            sub.stats().drops(DropReason::NotSubscribed) == 5
        });
        let said = "the first message is dropped: nothing is subscribed to";
        eventually("it is told", || warned(&sub) == [said]);
        sub.close().unwrap();
        forget(&sub);

        let (publisher, sub) = (Pub::new(), Sub::with_options(named("choosy")).unwrap());
        sub.subscribe("weather").unwrap();
        let _address = join!(publisher, sub, transport);
        publisher.send("news").unwrap();
        publisher.send("weather").unwrap();
        assert_eq!(sub.recv_timeout(SOON).unwrap(), "weather");
        assert_eq!(warned(&sub), [""; 0]);
        sub.close().unwrap();
        forget(&sub);
    }
}

/// A logger may look at the socket whose record it writes: none is written under the socket's lock.
#[test]
fn a_logger_may_use_the_socket() {
    listen();
    for transport in Transport::ALL {
        let (over, is_over) = mpsc::channel();
        thread::spawn(move || {
            let publisher = Pub::with_options(named("looked-at").send_queue(1)).unwrap();
            let subscriber = Sub::with_options(named("looked-at-too").recv_queue(1)).unwrap();
            look_at(&publisher);
            look_at(&subscriber);
            let (_address, endpoint) = join!(publisher, subscriber, transport);
            (0..10).for_each(|_| publisher.send("news").unwrap());
            let pipe = publisher.peers()[0].pipe;
            publisher.disconnect(pipe).unwrap();
            endpoint.close().unwrap();
            publisher.close().unwrap();
            subscriber.close().unwrap();
            forget(&publisher);
            forget(&subscriber);
            over.send(()).unwrap();
        });
        is_over.recv_timeout(SOON).expect("nobody is stuck");
    }
}

/// C445.
#[test]
fn a_logger_that_panics_ends_neither_an_io_thread_nor_a_wait() {
    listen();
    log::set_max_level(log::LevelFilter::Trace);
    in_time(|| {
        let named = |kind: &str| Options::new().name(format!("sensitive {kind}"));
        // A peer of the wrong kind, one that says nonsense, one that is refused, and an address where
        // nobody is: each is told on the loop. A thread that waits turns it meanwhile.
        let pull = Pull::with_options(named("pull")).unwrap();
        let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
        let waiting = thread::spawn({
            let pull = pull.clone();
            move || pull.recv_timeout(SOON)
        });
        let wrong = Rep::with_options(named("rep")).unwrap();
        wrong.connect(&url).unwrap();
        Raw::connect(&url).send(b"GET / HTTP/1.1\r\n\r\n");
        let nobody = Push::with_options(named("nobody")).unwrap();
        nobody.connect(free_tcp_url()).unwrap();
        eventually("all have been told", || {
            let here = pull.stats();
            here.handshake_errors >= 2 && nobody.stats().connect_errors > 0
        });
        thread::sleep(QUIET); // nothing tells that a thread is still alive
        let push = Push::with_options(named("push")).unwrap();
        push.connect(&url).unwrap();
        push.send("one").unwrap();
        assert_eq!(waiting.join().unwrap().unwrap(), "one");
        push.close().unwrap();
        arrived(|| pull.stats(), 1);
        pull.close().unwrap();

        // Closed before a loop has seen it, which is told by the caller.
        let manual = Runtime::builder().manual(true).build().unwrap();
        let pull = Pull::on(&manual, Options::new()).unwrap();
        pull.bind("tcp://127.0.0.1:0").unwrap().close().unwrap();
    });
}

/// A log record, here of a transport that panics, is written while the listener is in use.
#[test]
fn a_logger_may_close_the_endpoint_that_accepts() {
    listen();
    in_time(|| {
        let runtime = Runtime::builder().transport(Panicky).build().unwrap();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        let endpoint = pull.bind("panicky://127.0.0.1:0").unwrap();
        *lock(&TO_CLOSE) = Some(endpoint.clone());
        Raw::connect(&endpoint.url().replace("panicky", "tcp"));
        eventually("it is closed", || endpoint.status().state == EndpointState::Closed);
        // The loop goes on, and the address is free.
        eventually("it is bound again", || pull.bind(endpoint.url()).is_ok());
        pull.close().unwrap();
    });
}

/// tcp under another name, which panics when it accepts.
#[derive(Debug)]
struct Panicky;

impl StreamTransport for Panicky {
    fn schemes(&self) -> &[&str] {
        &["panicky"]
    }

    fn framing(&self) -> Framing {
        Tcp::new().framing()
    }

    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let address = Address::parse(&format!("tcp://{}", address.after_scheme()))?;
        Ok(Box::new(PanickyListener(Tcp::new().bind(&address, settings)?)))
    }

    fn target(&self, _: &Address) -> Result<Target, AddressError> {
        unreachable!("nobody connects over it")
    }

    fn connect(
        &self,
        _: &Address,
        _: &Destination,
        _: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        unreachable!("nobody connects over it")
    }
}

#[derive(Debug)]
struct PanickyListener(Box<dyn Listener>);

impl Listener for PanickyListener {
    fn source(&mut self) -> &mut dyn Source {
        self.0.source()
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        self.0.accept()?;
        panic!("as the test wants it")
    }

    fn url(&self) -> String {
        self.0.url().replace("tcp", "panicky")
    }
}

fn named(name: &str) -> Options {
    Options::new().name(name)
}

/// The logger of this process: keeps the records of sockets, without the names, and panics at some.
struct Logger;

static LOGGER: Logger = Logger;
static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static WARNINGS: Mutex<Vec<String>> = Mutex::new(Vec::new());
static LOOKED_AT: Mutex<Vec<(String, Box<dyn Observe>)>> = Mutex::new(Vec::new());
/// Closed when a transport panics.
static TO_CLOSE: Mutex<Option<Endpoint>> = Mutex::new(None);

impl log::Log for Logger {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("sinew")
    }

    fn log(&self, record: &log::Record<'_>) {
        let text = record.args().to_string();
        let is_too_much = text.contains("sensitive") || text.starts_with("not watched");
        assert!(!is_too_much, "{text}");
        if text == "a transport panicked"
            && let Some(endpoint) = lock(&TO_CLOSE).take()
        {
            endpoint.close().unwrap();
        }
        let looked_at = lock(&LOOKED_AT);
        for (_, socket) in looked_at.iter().filter(|(name, _)| text.starts_with(name)) {
            socket.snapshot();
        }
        drop(looked_at);
        if record.level() <= log::Level::Warn {
            lock(&WARNINGS).push(text.clone());
        }
        lock(&RECORDS).push(text);
    }

    fn flush(&self) {}
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&LOGGER).unwrap();
        log::set_max_level(log::LevelFilter::Debug);
    });
}

/// What a socket has said so far.
fn records(socket: &impl Observe) -> Vec<String> {
    let name = format!("{}: ", Observe::name(socket));
    lock(&RECORDS).iter().filter_map(|text| text.strip_prefix(&name)).map(str::to_owned).collect()
}

/// What of it was a warning.
fn warned(socket: &impl Observe) -> Vec<String> {
    let name = format!("{}: ", Observe::name(socket));
    lock(&WARNINGS).iter().filter_map(|text| text.strip_prefix(&name)).map(str::to_owned).collect()
}

#[track_caller]
fn wait_for(socket: &impl Observe, text: &str) {
    eventually(text, || records(socket).iter().any(|record| record == text));
}

/// Forgets what was said by this name.
fn forget(socket: &impl Observe) {
    let name = format!("{}: ", Observe::name(socket));
    lock(&RECORDS).retain(|text| !text.starts_with(&name));
    lock(&WARNINGS).retain(|text| !text.starts_with(&name));
    lock(&LOOKED_AT).retain(|(other, _)| *other != name);
}

/// Has the logger look at the socket with each of its records.
fn look_at(socket: &(impl Observe + Clone + 'static)) {
    let name = format!("{}: ", Observe::name(socket));
    lock(&LOOKED_AT).push((name, Box::new(socket.clone())));
}
