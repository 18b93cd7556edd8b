//! The metrics page: its syntax, its names, and its agreement with the sockets.

use std::collections::{BTreeMap, HashSet};

use sinew::metrics::{Metrics, Observe};
use sinew::{Bus, Device, DropReason, EndpointState, Options, Pub, Pull, Push, Rep, Req, raw};

use kit::{Transport, eventually, join};
use page::{Family, Page};

/// The names, kinds and labels, and what drops and states are called. This list is a promise to
/// dashboards: it may grow, nothing in it may change.
const GOLDEN: &str = include_str!("metrics/names.txt");

#[test]
fn the_names_are_those_that_were_promised() {
    let (bus, _slow, _address) = bus_that_drops();
    let page = Page::parse(&Metrics::new().socket(&bus).per_peer(true).to_string());
    let mut names: Vec<String> = page.families.values().map(describe).collect();
    names.extend(DropReason::ALL.iter().map(|reason| format!("reason {reason}\n")));
    names.extend(EndpointState::ALL.iter().map(|state| format!("state {state}\n")));
    assert_eq!(names.concat(), GOLDEN, "the page has:\n{}", names.concat());
}

/// `name kind label label`
fn describe(family: &Family) -> String {
    let sample = family.samples.first().expect("there is one");
    let labels: Vec<&str> = sample.labels.keys().map(|label| &**label).collect();
    format!("{} {} {}\n", sample.name, family.kind, labels.join(" "))
}

/// A BUS, whose name is `bus`, and one that cannot keep up with it.
fn bus_that_drops() -> (Bus, Bus, impl Sized) {
    let bus = Bus::with_options(Options::new().name("bus").send_queue(1)).unwrap();
    let slow = Bus::with_options(Options::new().recv_queue(1)).unwrap();
    let address = join!(bus, slow, Transport::Inproc);
    (0..10).for_each(|_| bus.send("news").unwrap());
    (bus, slow, address)
}

#[test]
fn a_page_without_its_mark_can_be_a_part_of_another() {
    let bus = Bus::new();
    let page = Metrics::new().socket(&bus);
    let whole = page.clone().end_mark(true).to_string();
    assert_eq!(whole, page.to_string());
    assert_eq!(format!("{}# EOF\n", page.end_mark(false)), whole);
}

#[test]
fn every_counter_and_every_drop_reason_is_on_the_page() {
    let rep = named(Rep::with_options, "rep");
    let page = Page::parse(&Metrics::new().socket(&rep).to_string());
    let counted = page.families.values().filter(|family| family.kind == "counter").count();
    let gauges = page.families.values().filter(|family| family.kind == "gauge").count();
    // One counter has a sample for each drop reason; one gauge is `sinew_socket_open`.
    assert_eq!(counted - 1 + gauges - 1, rep.stats().figures().count());
    for reason in DropReason::ALL {
        let labels = [("socket", "rep"), ("reason", reason.name())];
        assert_eq!(page.value("sinew_messages_dropped_total", &labels), 0.0);
    }
}

#[test]
fn the_page_says_what_the_socket_says() {
    for transport in Transport::ALL {
        let (push, pull) = (named(Push::with_options, "out"), named(Pull::with_options, "in"));
        let (_address, endpoint) = join!(pull, push, transport);
        for text in ["one", "three", "seven"] {
            push.send(text).unwrap();
        }
        for _ in 0..2 {
            pull.recv().unwrap();
        }
        eventually("the last one has arrived", || pull.stats().recv_queue == 1);

        let page = Metrics::new().socket(&push).socket(&pull).per_peer(true).to_string();
        let page = Page::parse(&page);
        let (out, inward) = (("socket", "out"), ("socket", "in"));
        assert_eq!(page.value("sinew_messages_sent_total", &[out, ("protocol", "push")]), 3.0);
        assert_eq!(page.value("sinew_sent_bytes_total", &[out]), 13.0);
        assert_eq!(
            page.value("sinew_messages_received_total", &[inward, ("protocol", "pull")]),
            2.0
        );
        assert_eq!(page.value("sinew_received_bytes_total", &[inward]), 8.0);
        assert_eq!(page.value("sinew_recv_queue_messages", &[inward]), 1.0);
        assert_eq!(page.value("sinew_current_connections", &[inward]), 1.0);
        assert_eq!(page.value("sinew_accepted_connections_total", &[inward]), 1.0);
        assert_eq!(page.value("sinew_peer_messages_sent_total", &[out]), 3.0);
        assert_eq!(page.value("sinew_peer_recv_queue_messages", &[inward]), 1.0);
        assert!(page.value("sinew_peer_connected_seconds", &[inward]) >= 0.0);
        let here = [inward, ("url", &*endpoint.url()), ("direction", "in")];
        assert_eq!(page.value("sinew_endpoint_connections", &here), 1.0);
        let state =
            |state| page.value("sinew_endpoint_state", &[inward, ("sinew_endpoint_state", state)]);
        assert_eq!((state("listening"), state("connected"), state("closed")), (1.0, 0.0, 0.0));
    }
}

#[test]
fn connections_are_told_apart_only_if_that_is_wanted() {
    let (publisher, subscriber) = (Pub::new(), sinew::Sub::new());
    let _address = join!(publisher, subscriber, Transport::Tcp);
    let page = Metrics::new().socket(&publisher).to_string();
    assert!(!page.contains("sinew_peer_"), "{page}");
    let page = Page::parse(&Metrics::new().socket(&publisher).per_peer(true).to_string());
    let pipe = publisher.peers()[0].pipe.to_string();
    assert_eq!(page.value("sinew_peer_messages_sent_total", &[("pipe", &pipe)]), 0.0);
}

#[test]
fn drops_are_told_by_reason_and_by_peer() {
    let (bus, _slow, _address) = bus_that_drops();
    let dropped = bus.stats().drops(DropReason::SendQueueFull) as f64;
    assert!(dropped > 0.0);
    let page = Page::parse(&Metrics::new().socket(&bus).per_peer(true).to_string());
    let labels = [("socket", "bus"), ("reason", "send_queue_full")];
    assert_eq!(page.value("sinew_messages_dropped_total", &labels), dropped);
    assert_eq!(page.value("sinew_peer_messages_dropped_total", &labels), dropped);
}

#[test]
fn a_page_about_nothing_is_a_page() {
    let page = Metrics::new().to_string();
    assert!(Page::parse(&page).families.values().all(|family| family.samples.is_empty()));
}

#[test]
fn a_closed_socket_keeps_its_counters_on_the_page() {
    let push = named(Push::with_options, "push");
    push.bind("inproc://metrics-closed").unwrap();
    push.close().unwrap();
    let page = Page::parse(&Metrics::new().socket(&push).to_string());
    assert_eq!(page.value("sinew_socket_open", &[("socket", "push")]), 0.0);
    assert_eq!(page.value("sinew_messages_sent_total", &[("socket", "push")]), 0.0);
    assert!(!page.families.contains_key("sinew_endpoint_state"));
}

#[test]
fn names_are_escaped_and_told_apart() {
    let strange = "a \"b\" \\n\nc";
    let sockets = [
        named(Push::with_options, strange),
        named(Push::with_options, strange),
        named(Push::with_options, ""),
    ];
    let sockets = sockets.iter().map(|socket| socket as &dyn Observe);
    let page = Page::parse(&Metrics::new().sockets(sockets).to_string());
    let names: Vec<&str> = page.families["sinew_socket_open"]
        .samples
        .iter()
        .map(|sample| &*sample.labels["socket"])
        .collect();
    assert_eq!(names, [strange, &format!("{strange}-2"), ""]);
}

#[test]
fn a_device_is_observed_through_its_sides() {
    let (front, back) = (raw::Rep::new(), raw::Req::new());
    front.bind("inproc://metrics-front").unwrap();
    back.bind("inproc://metrics-back").unwrap();
    let device = Device::new(front, back).unwrap();
    let handle = device.handle();
    let running = device.spawn().unwrap();
    let (req, rep) = (Req::new(), Rep::new());
    req.connect("inproc://metrics-front").unwrap();
    rep.connect("inproc://metrics-back").unwrap();
    let server = std::thread::spawn(move || rep.recv().unwrap().reply("yes").unwrap());
    assert_eq!(req.request("?").unwrap(), "yes");
    server.join().unwrap();
    let (front, back) = (handle.front(), handle.back());
    assert_eq!(front.endpoints().len(), 1);
    let page = Page::parse(&Metrics::new().socket(&front).socket(&back).to_string());
    assert_eq!(page.value("sinew_messages_received_total", &[("protocol", "rep")]), 1.0);
    assert_eq!(page.value("sinew_messages_sent_total", &[("protocol", "req")]), 1.0);
    running.stop();
    running.join().unwrap();
}

/// The samples of one label set are unique, and no page breaks the grammar while sockets work.
#[test]
fn the_page_is_well_formed_under_traffic() {
    let (push, pull) = (Push::new(), Pull::new());
    let _address = join!(pull, push, Transport::Tcp);
    std::thread::scope(|scope| {
        let (sender, receiver) = (push.clone(), pull.clone());
        scope.spawn(move || while sender.send("work").is_ok() {});
        scope.spawn(move || while receiver.recv().is_ok() {});
        let mut last = 0.0;
        for _ in 0..kit::rounds(200) {
            let page = Metrics::new().socket(&push).socket(&pull).per_peer(true).to_string();
            let sent =
                Page::parse(&page).value("sinew_messages_sent_total", &[("protocol", "push")]);
            assert!(sent >= last);
            last = sent;
        }
        push.close().unwrap();
        pull.close().unwrap();
    });
}

fn named<S>(make: impl Fn(Options) -> Result<S, sinew::OptionError>, name: &str) -> S {
    make(Options::new().name(name)).unwrap()
}

/// A reader of OpenMetrics text that takes nothing but what the standard allows, as far as it concerns
/// counters, gauges and state sets.
mod page {
    use super::{BTreeMap, HashSet};

    #[derive(Debug, Default)]
    pub(crate) struct Page {
        pub(crate) families: BTreeMap<String, Family>,
    }

    #[derive(Debug, Default)]
    pub(crate) struct Family {
        pub(crate) kind: String,
        unit: Option<String>,
        help: Option<String>,
        pub(crate) samples: Vec<Sample>,
    }

    #[derive(Debug)]
    pub(crate) struct Sample {
        pub(crate) name: String,
        pub(crate) labels: BTreeMap<String, String>,
        value: f64,
    }

    impl Page {
        #[track_caller]
        pub(crate) fn parse(text: &str) -> Self {
            let body = text.strip_suffix("# EOF\n").expect("the page ends with # EOF");
            assert!(body.is_empty() || body.ends_with('\n'), "each line has an end");
            let mut page = Self::default();
            let mut current = String::new();
            for line in body.lines() {
                match line.strip_prefix("# ") {
                    Some(about) => page.metadata(about, &mut current),
                    None => page.sample(line, &current),
                }
            }
            page.check();
            page
        }

        /// The value of the only sample that has this name and these labels.
        #[track_caller]
        pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
            let fits = |sample: &&Sample| {
                let has = |(label, value): &(&str, &str)| {
                    sample.labels.get(*label).is_some_and(|other| other == value)
                };
                sample.name == name && labels.iter().all(has)
            };
            let all = self.families.values().flat_map(|family| &family.samples);
            let found: Vec<&Sample> = all.filter(fits).collect();
            assert_eq!(found.len(), 1, "{name} with {labels:?}: {found:?}");
            found[0].value
        }

        fn metadata(&mut self, about: &str, current: &mut String) {
            let [what, name, value] = {
                let mut parts = about.splitn(3, ' ');
                [(); 3].map(|()| parts.next().unwrap_or_else(|| panic!("too short: {about:?}")))
            };
            assert!(is_name(name), "{name:?}");
            if current != name {
                assert!(!self.families.contains_key(name), "{name} stands in two places");
                name.clone_into(current);
            }
            let family = self.families.entry(name.to_owned()).or_default();
            assert!(family.samples.is_empty(), "{what} of {name} comes after its samples");
            let (place, value) = match what {
                "TYPE" => {
                    assert!(["counter", "gauge", "stateset"].contains(&value), "{value:?}");
                    assert!(family.kind.is_empty(), "two types of {name}");
                    family.kind = value.to_owned();
                    return;
                }
                "UNIT" => (&mut family.unit, value.to_owned()),
                "HELP" => (&mut family.help, unescape(value)),
                _ => panic!("{about:?}"),
            };
            assert!(place.is_none(), "two {what} of {name}");
            *place = Some(value);
        }

        fn sample(&mut self, line: &str, current: &str) {
            let family = self.families.get_mut(current).expect("a sample has its TYPE before it");
            let (name, rest) = line.split_once('{').expect("all samples have labels");
            let expected = match &*family.kind {
                "counter" => format!("{current}_total"),
                _ => current.to_owned(),
            };
            assert_eq!(name, expected);
            let (labels, rest) = labels(rest);
            let value = rest.strip_prefix(' ').expect("one space before the value");
            assert!(value.bytes().all(|byte| byte.is_ascii_digit() || b".e-".contains(&byte)));
            let value: f64 = value.parse().expect("a number");
            match &*family.kind {
                "stateset" => {
                    assert!(value == 0.0 || value == 1.0, "{line:?}");
                    assert!(
                        labels.contains_key(current),
                        "a state set has a label of its own name"
                    );
                }
                _ => assert!(value >= 0.0, "{line:?}"),
            }
            family.samples.push(Sample { name: name.to_owned(), labels, value });
        }

        fn check(&self) {
            for (name, family) in &self.families {
                assert!(!family.kind.is_empty(), "{name} has no TYPE");
                assert!(family.help.as_ref().is_some_and(|help| help.ends_with('.')), "{name}");
                assert!(!name.ends_with("_total"), "{name}: the suffix is not part of the name");
                let ends_in_unit = name.ends_with("_bytes") || name.ends_with("_seconds");
                match &family.unit {
                    Some(unit) => assert!(name.ends_with(&format!("_{unit}")), "{name} in {unit}"),
                    None => assert!(!ends_in_unit, "{name} has no UNIT"),
                }
                let mut seen = HashSet::new();
                for sample in &family.samples {
                    assert!(seen.insert(format!("{:?}", sample.labels)), "twice: {sample:?}");
                }
            }
        }
    }

    /// `a="x",b="y"}` and what follows.
    fn labels(text: &str) -> (BTreeMap<String, String>, &str) {
        let mut labels = BTreeMap::new();
        let mut text = text;
        loop {
            let (name, rest) = text.split_once("=\"").expect("a label has a value in quotes");
            assert!(is_name(name) && !name.contains(':'), "{name:?}");
            let end = end_of_value(rest);
            let value = unescape(&rest[..end]);
            assert!(labels.insert(name.to_owned(), value).is_none(), "{name} twice");
            text = &rest[end + 1..];
            match (text.strip_prefix(','), text.strip_prefix('}')) {
                (Some(more), _) => text = more,
                (_, Some(rest)) => return (labels, rest),
                _ => panic!("{text:?} after a label"),
            }
        }
    }

    /// Where the quote is that no backslash belongs to.
    fn end_of_value(text: &str) -> usize {
        let mut escaped = false;
        for (at, byte) in text.bytes().enumerate() {
            match byte {
                b'"' if !escaped => return at,
                b'\\' => escaped = !escaped,
                _ => escaped = false,
            }
        }
        panic!("{text:?} has no closing quote");
    }

    fn unescape(text: &str) -> String {
        let mut chars = text.chars();
        let mut plain = String::new();
        while let Some(char) = chars.next() {
            plain.push(match char {
                '\\' => match chars.next() {
                    Some('n') => '\n',
                    Some(char @ ('\\' | '"')) => char,
                    other => panic!("\\{other:?} in {text:?}"),
                },
                char => char,
            });
        }
        plain
    }

    fn is_name(name: &str) -> bool {
        let first = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte == b':';
        name.bytes().next().is_some_and(first)
            && name.bytes().all(|byte| first(byte) || byte.is_ascii_digit())
    }
}
