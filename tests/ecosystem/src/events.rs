//! Records as events of tracing, with fields, and then not as records of log.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once};

use kit::{Raw, SOON, Transport, eventually, free_tcp_url, join};
use sinew::metrics::Observe;
use sinew::typed::{Format, Worker};
use sinew::{Options, Pub, Pull, Push, Rep, Sub};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

type Fields = BTreeMap<&'static str, String>;

/// Keeps all events of sinew in this process. Spans are for others.
struct Keeper;

static EVENTS: Mutex<Vec<Fields>> = Mutex::new(Vec::new());
static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Into<'a>(&'a mut Fields);

impl Visit for Into<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Subscriber for Keeper {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target() == "sinew"
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::from([("level", event.metadata().level().to_string())]);
        event.record(&mut Into(&mut fields));
        EVENTS.lock().unwrap().push(fields);
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        unreachable!("none is enabled")
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// What stays in `log`.
struct Logger;

impl log::Log for Logger {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        RECORDS.lock().unwrap().push(record.args().to_string());
    }

    fn flush(&self) {}
}

fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Keeper).unwrap();
        log::set_logger(&Logger).unwrap();
        log::set_max_level(log::LevelFilter::Trace);
    });
}

fn named(name: &str) -> Options {
    Options::new().name(name)
}

/// Waits for an event of the socket with this text, and returns its fields without the two.
#[track_caller]
fn told(socket: &impl Observe, text: &str) -> Fields {
    let mut found = None;
    eventually(text, || {
        let events = EVENTS.lock().unwrap();
        let is_it = |fields: &&Fields| {
            fields.get("socket").is_some_and(|name| name == Observe::name(socket))
                && fields["message"].contains(text)
        };
        found = events.iter().find(is_it).cloned();
        found.is_some()
    });
    let mut fields = found.expect("it was found");
    fields.remove("socket");
    fields.remove("message");
    fields
}

/// Asserts that there are these fields, each with a value that ends so, and no others.
#[track_caller]
fn are(fields: Fields, expected: &[(&'static str, &str)]) {
    let names: Vec<_> = fields.keys().copied().collect();
    let wanted: Vec<_> = expected.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, wanted, "{fields:?}");
    for (name, end) in expected {
        assert!(fields[name].ends_with(end), "{name} is {:?}, not {end:?}", fields[name]);
    }
}

#[test]
fn a_connection_is_an_event_when_it_comes_and_when_it_goes() {
    listen();
    for transport in Transport::ALL {
        let name = format!("event {transport:?}");
        let (pull, push) = (Pull::with_options(named(&name)).unwrap(), Push::new());
        let (_address, endpoint) = join!(pull, push, transport);
        let peer = pull.peers()[0].peer.clone();
        let (pipe, from) = (peer.pipe.to_string(), peer.to_string());
        are(told(&pull, "bound to"), &[("endpoint", &endpoint.url()), ("level", "DEBUG")]);
        are(told(&pull, "is there"), &[("level", "DEBUG"), ("peer", &from), ("pipe", &pipe)]);
        push.close().unwrap();
        let reason = "the peer closed the connection";
        are(
            told(&pull, "is gone"),
            &[("level", "DEBUG"), ("peer", &from), ("pipe", &pipe), ("reason", reason)],
        );
        pull.close().unwrap();
        are(told(&pull, &format!("{name}: closed")), &[("level", "DEBUG")]);
    }
    no_records("event ");
}

#[test]
fn what_goes_wrong_with_an_endpoint_or_a_peer_is_an_event_with_the_reason() {
    listen();
    let url = free_tcp_url();
    let push = Push::with_options(named("failing tcp")).unwrap();
    push.connect(&url).unwrap();
    let refused = [("endpoint", &*url), ("level", "WARN"), ("reason", "connection refused")];
    are(told(&push, "connect to"), &refused);
    let error = push.bind("tcp://127.0.0.1:no").unwrap_err().to_string();
    let fields = told(&push, &error);
    assert_eq!((&*fields["endpoint"], &fields["reason"]), ("tcp://127.0.0.1:no", &error));

    let pair = sinew::Pair::with_options(named("failing pair").admit(|_| false)).unwrap();
    let endpoint = pair.bind("tcp://127.0.0.1:0").unwrap();
    let other = sinew::Pair::new();
    other.connect(endpoint.url()).unwrap();
    let fields = told(&pair, "turned away");
    assert_eq!(fields["reason"], "the peer was not admitted");
    assert!(fields["peer"].starts_with("pair at "));

    for transport in Transport::ALL {
        let rep = Rep::with_options(named(&format!("failing {transport:?} rep"))).unwrap();
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        let push = Push::with_options(named(&format!("failing {transport:?} push"))).unwrap();
        push.connect(&url).unwrap();
        let reason = "the peer is a rep socket, ours needs pull";
        let fields = [("endpoint", &*url), ("level", "WARN"), ("reason", reason)];
        are(told(&push, "connect to"), &fields);
        let fields = told(&rep, "no pipe with");
        assert_eq!((&fields["endpoint"], &*fields["level"]), (&url, "WARN"));
        assert!(fields.contains_key("peer") && fields["reason"].ends_with("ours needs req"));
    }
    no_records("failing ");
}

#[test]
fn what_is_lost_is_an_event_with_the_reason() {
    listen();
    // More than may be received.
    let pull = Pull::with_options(named("losing oversize").max_recv_size(1)).unwrap();
    let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
    Raw::greet(&endpoint.url(), 0x50, 0x51).send_frame(b"too long");
    let fields = told(&pull, "connection of");
    assert_eq!(fields["endpoint"], endpoint.url());
    assert!(fields["reason"].contains('8'), "{fields:?}");

    // What no subscription matches, and what is no value.
    let (publisher, sub) = (Pub::new(), Sub::with_options(named("losing sub")).unwrap());
    let _address = join!(publisher, sub, Transport::Tcp);
    publisher.send("news").unwrap();
    eventually("it drops", || {
        sub.try_recv().is_err() && sub.stats().drops(sinew::DropReason::NotSubscribed) > 0
    });
    are(told(&sub, "nothing is subscribed to"), &[("level", "WARN"), ("reason", "not_subscribed")]);
    let pull = Pull::with_options(named("losing worker")).unwrap();
    let (push, worker) = (Push::new(), Worker::<u32>::with(pull, Format::new()));
    let _address = join!(worker.socket(), push, Transport::Tcp);
    push.send("no value").unwrap();
    eventually("it drops", || worker.try_recv().is_err() && worker.undecoded() == 1);
    let fields = told(worker.socket(), "the first one");
    assert!(fields["reason"].starts_with("a message of 8 bytes does not decode"));

    // What a connection has not written.
    let push = Push::with_options(named("losing push")).unwrap();
    let endpoint = push.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x51, 0x50);
    push.wait_for_peers(1, SOON).unwrap();
    // Until the kernel takes no more either.
    while push.send_timeout(vec![0; 100_000], kit::QUIET).is_ok() {}
    peer.finish();
    let fields = told(&push, "messages dropped");
    assert_eq!((&fields["endpoint"], &*fields["reason"]), (&endpoint.url(), "pipe_lost"));
    let lost = push.stats().drops(sinew::DropReason::PipeLost);
    assert_eq!(fields["messages"], lost.to_string());
    assert!(fields.contains_key("peer") && fields.contains_key("pipe"));
    no_records("losing ");
}

/// What is an event is no record of log as well.
#[track_caller]
fn no_records(names: &str) {
    log::error!("{names}is a record of ours");
    let records = RECORDS.lock().unwrap();
    let found: Vec<_> = records.iter().filter(|text| text.starts_with(names)).collect();
    assert_eq!(found, [&format!("{names}is a record of ours")]);
}
