//! PUB and SUB: conformance group 8 (C138 to C162) and semantics specification, section 8.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use kit::{
    Dice, QUIET, Raw, SOON, SetOnDrop, Transport, arrived, conserved, conserved_now, eventually,
    join,
};
use sinew::{DropReason, Message, Options, Pub, RecvError, Sub, SubContext, UnsubscribeError, raw};

const PUB: u8 = 0x20;
const SUB: u8 = 0x21;

/// Publishers say this last, and every subscriber listens for it.
const END: &[u8] = b"\xFE the end";

/// A subscriber of `topics` and of the end.
fn subscriber(topics: &[&str]) -> Sub {
    subscriber_with(Options::new(), topics)
}

fn subscriber_with(options: Options, topics: &[&str]) -> Sub {
    let subscriber = Sub::with_options(options).unwrap();
    topics.iter().for_each(|topic| subscriber.subscribe(topic).unwrap());
    subscriber.subscribe(END).unwrap();
    subscriber
}

/// What the subscriber gets before the end.
#[track_caller]
fn until_the_end(subscriber: &Sub) -> Vec<Message> {
    let receive = || subscriber.recv_timeout(SOON).expect("the end at the latest");
    std::iter::from_fn(|| Some(receive()).filter(|message| *message != END)).collect()
}

#[track_caller]
fn publish<T: AsRef<[u8]>>(publisher: &Pub, bodies: &[T]) {
    bodies.iter().for_each(|body| publisher.try_send(body.as_ref()).expect("PUB never waits"));
}

/// Of the bodies those that begin with a topic, found the plain way.
fn wanted<T: AsRef<[u8]>, B: AsRef<[u8]>>(topics: &[T], bodies: &[B]) -> Vec<Vec<u8>> {
    let wants = |body: &[u8]| topics.iter().any(|topic| body.starts_with(topic.as_ref()));
    bodies.iter().map(|body| body.as_ref().to_vec()).filter(|body| wants(body)).collect()
}

/// Publishes and receives the bodies, and checks that those come that begin with a topic.
#[track_caller]
fn gets_what_it_wants<T: AsRef<[u8]>, B: AsRef<[u8]>>(
    publisher: &Pub,
    subscriber: &Sub,
    topics: &[T],
    bodies: &[B],
) {
    // In parts that no queue is too short for.
    for part in bodies.chunks(50) {
        publish(publisher, part);
        publish(publisher, &[END]);
        assert_eq!(until_the_end(subscriber), wanted(topics, part));
    }
}

#[track_caller]
fn both_conserved(publisher: &Pub, subscriber: &Sub) {
    conserved(|| publisher.stats());
    conserved(|| subscriber.stats());
}

/// C138, C157: it does not matter who binds.
#[test]
fn every_subscriber_gets_every_message_it_wants() {
    for transport in Transport::ALL {
        let publisher = Pub::new();
        let (one, two) = (subscriber(&[""]), subscriber(&[""]));
        let _bound = join!(publisher, one, transport);
        let address = transport.address();
        publisher.connect(two.bind(&address.url).unwrap().url()).unwrap();
        publisher.wait_for_peers(2, SOON).unwrap();
        let bodies: Vec<String> = (0..50).map(|n| n.to_string()).collect();
        publish(&publisher, &bodies);
        publish(&publisher, &[END]);
        for subscriber in [&one, &two] {
            assert_eq!(until_the_end(subscriber), bodies, "{transport:?}");
            both_conserved(&publisher, subscriber);
        }
    }
}

/// C139.
#[test]
fn subscribers_get_their_own_topics_in_order() {
    for transport in Transport::ALL {
        let publisher = Pub::new();
        let topics = [["topic1", "both"], ["topic2", "both"]];
        let subscribers = topics.map(|topics| subscriber(&topics));
        let (_address, endpoint) = join!(publisher, subscribers[0], transport);
        subscribers[1].connect(endpoint.url()).unwrap();
        publisher.wait_for_peers(2, SOON).unwrap();
        let heads = ["topic1", "nobody", "both", "topic2", "bot", "topic"];
        let bodies: Vec<String> = (0..60).map(|n| format!("{}/{n}", heads[n % 6])).collect();
        publish(&publisher, &bodies);
        publish(&publisher, &[END]);
        for (subscriber, topics) in subscribers.iter().zip(&topics) {
            assert_eq!(until_the_end(subscriber), wanted(topics, &bodies), "{transport:?}");
            both_conserved(&publisher, subscriber);
        }
    }
}

/// C140.
#[test]
fn without_a_subscription_nothing_is_received() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let _joined = join!(publisher, subscriber, transport);
        publish(&publisher, &["a", "", "b"]);
        arrived(|| subscriber.stats(), 3);
        kit::timed_out(subscriber.recv_timeout(QUIET));
        assert_eq!(subscriber.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(subscriber.stats().drops(DropReason::NotSubscribed), 3);
        both_conserved(&publisher, &subscriber);
    }
}

/// C141, C145, C146: every set of these topics, one made out of the other.
#[test]
fn a_message_is_received_if_it_begins_with_a_topic() {
    const TOPICS: [&str; 6] = ["", "a", "ab", "abc", "abcd", "b"];
    const BODIES: [&str; 9] = ["", "a", "ab", "abc", "abcd", "abcx", "ba", "b", "\0"];
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), subscriber(&[]));
        let _joined = join!(publisher, subscriber, transport);
        let mut topics: Vec<&str> = Vec::new();
        for set in 0..1_u32 << TOPICS.len() {
            for (n, topic) in TOPICS.into_iter().enumerate() {
                let wanted = set & 1 << n != 0;
                if wanted && !topics.contains(&topic) {
                    subscriber.subscribe(topic).unwrap();
                    topics.push(topic);
                } else if !wanted && topics.contains(&topic) {
                    subscriber.unsubscribe(topic).unwrap();
                    topics.retain(|&other| other != topic);
                }
            }
            gets_what_it_wants(&publisher, &subscriber, &topics, &BODIES);
        }
        both_conserved(&publisher, &subscriber);
    }
}

/// C142.
#[test]
fn topics_are_bytes() {
    let topics: [&[u8]; 4] = [b"\0", b"\0\xFF", b"\xFF\xFF", b"\xC3\x28\0\0"];
    let bodies: [&[u8]; 9] = [
        b"",
        b"\0",
        b"\0\0",
        b"\0\xFF\0",
        b"\xFF",
        b"\xFF\xFF\x01",
        b"\xFF\xFE",
        b"\xC3\x28\0",
        b"\xC3\x28\0\0\x80",
    ];
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), subscriber(&[]));
        let _joined = join!(publisher, subscriber, transport);
        for n in 0..topics.len() {
            subscriber.subscribe(topics[n]).unwrap();
            gets_what_it_wants(&publisher, &subscriber, &topics[..=n], &bodies);
        }
        for n in 0..topics.len() {
            subscriber.unsubscribe(topics[n]).unwrap();
            gets_what_it_wants(&publisher, &subscriber, &topics[n + 1..], &bodies);
        }
    }
}

/// C143, C144.
#[test]
fn a_topic_is_there_or_not() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), subscriber(&["x", "x", "y"]));
        let _joined = join!(publisher, subscriber, transport);
        for unknown in ["z", "", "xx"] {
            let outcome = subscriber.unsubscribe(unknown);
            assert_eq!(outcome, Err(UnsubscribeError::NotSubscribed), "{unknown:?}");
        }
        gets_what_it_wants(&publisher, &subscriber, &["x", "y"], &["x", "y", "z"]);
        subscriber.unsubscribe("x").unwrap();
        assert_eq!(subscriber.unsubscribe("x"), Err(UnsubscribeError::NotSubscribed));
        gets_what_it_wants(&publisher, &subscriber, &["y"], &["x", "y", "z"]);
    }
}

/// C147. Few letters, so that topics begin each other and bodies hit and miss.
#[test]
fn random_topics_match_as_a_plain_search_does() {
    let mut dice = Dice(147);
    let mut words = |n: usize, lengths: std::ops::Range<u64>| -> Vec<Vec<u8>> {
        let mut word = || {
            let length = lengths.start + dice.roll(lengths.end - lengths.start);
            (0..length).map(|_| b"ab\0\xFF"[dice.roll(4) as usize]).collect()
        };
        (0..n).map(|_| word()).collect()
    };
    let (topics, bodies) = (words(1000, 4..9), words(10_000, 0..16));
    let (publisher, subscriber) = (Pub::new(), subscriber(&[]));
    topics.iter().for_each(|topic| subscriber.subscribe(topic).unwrap());
    let matching = wanted(&topics, &bodies).len();
    assert!((1000..9000).contains(&matching), "a fair test: {matching}");
    let _joined = join!(publisher, subscriber, Transport::Inproc);
    gets_what_it_wants(&publisher, &subscriber, &topics, &bodies);
    both_conserved(&publisher, &subscriber);
}

/// C148.
#[test]
fn unsubscribe_purges_what_waits_to_be_received() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let context = subscriber.context();
        for topic in ["1", "2", "12"] {
            subscriber.subscribe(topic).unwrap();
            context.subscribe(topic).unwrap();
        }
        let _joined = join!(publisher, subscriber, transport);
        publish(&publisher, &["1a", "2a", "12a", "1b", "2b"]);
        // Not only arrived: what is judged later is judged by the subscriptions of that time.
        eventually("they are judged", || subscriber.stats().copies_taken == 5);
        subscriber.unsubscribe("1").unwrap();
        assert_eq!(collect(|| subscriber.try_recv()), ["2a", "12a", "2b"]);
        // Contexts have no part in it.
        assert_eq!(collect(|| context.try_recv()), ["1a", "2a", "12a", "1b", "2b"]);
        assert_eq!(subscriber.stats().drops(DropReason::NotSubscribed), 2);
        both_conserved(&publisher, &subscriber);
    }
}

/// Everything that is there.
fn collect(mut receive: impl FnMut() -> Result<Message, RecvError>) -> Vec<Message> {
    std::iter::from_fn(|| receive().ok()).collect()
}

/// C149, C150: for the socket and for a context, which takes it from the socket.
#[test]
fn a_full_queue_that_nobody_reads_drops_the_oldest_or_the_newest() {
    for transport in Transport::ALL {
        for (prefer_new, kept) in [(true, ["two", "three"]), (false, ["one", "two"])] {
            let options = Options::new().sub_queue(2).prefer_new(prefer_new);
            let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
            let context = subscriber.context();
            subscriber.subscribe("").unwrap();
            context.subscribe("").unwrap();
            let _joined = join!(publisher, subscriber, transport);
            publish(&publisher, &["one", "two", "three"]);
            eventually("they are judged", || subscriber.stats().copies_taken == 3);
            assert_eq!(collect(|| subscriber.try_recv()), kept, "{transport:?}");
            assert_eq!(collect(|| context.try_recv()), kept, "{transport:?}");
            assert_eq!(subscriber.stats().drops(DropReason::RecvQueueFull), 2);
            // The queue goes on as before.
            publish(&publisher, &["four"]);
            assert_eq!(subscriber.recv_timeout(SOON).unwrap(), "four");
            assert_eq!(context.recv_timeout(SOON).unwrap(), "four");
            both_conserved(&publisher, &subscriber);
        }
    }
}

/// Semantics 8.1, last row. What is set on the socket does not reach a context, nor the reverse.
#[test]
fn a_queue_made_shorter_keeps_what_fits_and_a_longer_one_everything() {
    for (prefer_new, kept) in [(true, ["c", "d"]), (false, ["a", "b"])] {
        let options = Options::new().prefer_new(prefer_new);
        let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
        let (shortened, untouched) = (subscriber.context(), subscriber.context());
        subscriber.subscribe("").unwrap();
        for context in [&shortened, &untouched] {
            context.subscribe("").unwrap();
        }
        let _joined = join!(publisher, subscriber, Transport::Inproc);
        publish(&publisher, &["a", "b", "c", "d"]);
        arrived(|| subscriber.stats(), 4);
        shortened.set_sub_queue(2).unwrap();
        assert_eq!(collect(|| shortened.try_recv()), kept);
        subscriber.set_options(subscriber.options().sub_queue(8192)).unwrap();
        assert_eq!(collect(|| subscriber.try_recv()), ["a", "b", "c", "d"]);
        assert_eq!(collect(|| untouched.try_recv()), ["a", "b", "c", "d"]);
        both_conserved(&publisher, &subscriber);
    }
}

/// C153, C160.
#[test]
fn publishing_to_nobody_succeeds_and_is_counted() {
    let (publisher, raw_publisher) = (Pub::new(), raw::Pub::new());
    for _ in 0..1000 {
        publisher.send("x").unwrap();
        raw_publisher.send("x").unwrap();
    }
    for stats in [publisher.stats(), raw_publisher.stats()] {
        assert_eq!((stats.messages_sent, stats.drops(DropReason::NoPeer)), (1000, 1000));
        conserved_now(&stats);
    }
}

/// A raw SUB, which drops nothing, that holds up its peer after a few messages.
fn stalled() -> raw::Sub {
    raw::Sub::with_options(Options::new().recv_queue(2)).unwrap()
}

/// C154. A raw SUB stands for the stalled one: a SUB takes messages in while nobody reads.
#[test]
fn a_stalled_subscriber_finds_the_newest_messages_behind_a_gap() {
    const MESSAGES: u64 = 100;
    const QUEUE: u64 = 4;
    // All of it is more than a kernel takes.
    let mut body = vec![0; 256 << 10];
    for transport in Transport::ALL {
        let options = Options::new().send_queue(QUEUE as usize);
        let (publisher, stalled) = (Pub::with_options(options).unwrap(), stalled());
        let _joined = join!(publisher, stalled, transport);
        // What the kernel has of it cannot be taken back; if it is short the kernel has all of it.
        publish(&publisher, &[0_u64.to_be_bytes()]);
        if transport != Transport::Inproc {
            eventually("the kernel has the first", || publisher.stats().send_queue == 0);
        }
        for n in 1..MESSAGES {
            body[..8].copy_from_slice(&n.to_be_bytes());
            publish(&publisher, &[&body]);
        }
        let mut got = Vec::new();
        while got.last() != Some(&(MESSAGES - 1)) {
            let message = stalled.recv_timeout(SOON).unwrap();
            let n = u64::from_be_bytes(message[..8].try_into().unwrap());
            assert_eq!(message.len(), if n == 0 { 8 } else { body.len() });
            got.push(n);
        }
        assert!(got.is_sorted_by(|one, next| one < next), "{transport:?}: {got:?}");
        // Inside the process nothing goes before.
        assert_eq!(got[0] == 0, transport != Transport::Inproc, "{transport:?}: {got:?}");
        // One place of the queue may be that of the message on its way to the kernel.
        let newest = MESSAGES - (QUEUE - 1)..MESSAGES;
        assert!(got.ends_with(&newest.collect::<Vec<_>>()), "{transport:?}: {got:?}");
        let lost = publisher.stats().drops(DropReason::SendQueueFull);
        assert_eq!((lost, lost > 0), (MESSAGES - got.len() as u64, true), "{transport:?}");
        conserved(|| publisher.stats());
        conserved(|| stalled.stats());
    }
}

/// C155.
#[test]
fn a_stalled_subscriber_costs_the_others_nothing() {
    for transport in Transport::ALL {
        let (publisher, fast, stalled) = (Pub::new(), subscriber(&[""]), stalled());
        let (_address, endpoint) = join!(publisher, fast, transport);
        stalled.connect(endpoint.url()).unwrap();
        publisher.wait_for_peers(2, SOON).unwrap();
        let body = vec![7; 64 << 10];
        for _ in 0..50 {
            gets_what_it_wants(&publisher, &fast, &[""], &[&body[..]; 10]);
        }
        let lost = publisher.stats().drops(DropReason::SendQueueFull);
        assert!(lost > 0, "{transport:?}: it was not stalled");
        both_conserved(&publisher, &fast);
    }
}

/// Messages are framed once for all of a transport, and not alike for all transports: small ones, those
/// that fill blocks, and those that are queued by reference.
#[test]
fn subscribers_on_every_transport_get_the_same() {
    let publisher = Pub::new();
    let addresses = Transport::ALL.map(Transport::address);
    let mut subscribers = Vec::new();
    for address in &addresses {
        let url = publisher.bind(&address.url).unwrap().url();
        for _ in 0..2 {
            subscribers.push(subscriber(&["x"]));
            subscribers.last().unwrap().connect(&url).unwrap();
        }
    }
    publisher.wait_for_peers(subscribers.len(), SOON).unwrap();
    let bodies: Vec<_> = [1, 100, 3_000, 20_000, 200_000, 7].map(|len| vec![b'x'; len]).to_vec();
    for _ in 0..20 {
        publish(&publisher, &bodies);
        publish(&publisher, &[END]);
        for subscriber in &subscribers {
            let got = until_the_end(subscriber);
            assert!(got.iter().map(|message| &message[..]).eq(bodies.iter().map(|body| &body[..])));
        }
    }
    subscribers.iter().for_each(|subscriber| both_conserved(&publisher, subscriber));
}

/// C156.
#[test]
fn one_subscriber_hears_several_publishers() {
    for transport in Transport::ALL {
        let (one, two, subscriber) = (Pub::new(), Pub::new(), subscriber(&["x"]));
        let (_address, endpoint) = join!(subscriber, one, transport);
        two.connect(endpoint.url()).unwrap();
        subscriber.wait_for_peers(2, SOON).unwrap();
        // Who has no peer yet publishes to nobody.
        for publisher in [&one, &two] {
            publisher.wait_for_peers(1, SOON).unwrap();
        }
        publish(&one, &["x1", "y", "x2"]);
        publish(&two, &["y", "x3", "x4"]);
        let got = [(); 4].map(|()| subscriber.recv_timeout(SOON).unwrap());
        for (publisher, own) in [(&one, ["x1", "x2"]), (&two, ["x3", "x4"])] {
            let from = |message: &&Message| own.iter().any(|text| **message == **text);
            let (texts, pipes): (Vec<_>, Vec<_>) =
                got.iter().filter(from).map(|message| (message.to_text(), message.pipe())).unzip();
            assert_eq!(texts, own, "in the order of their publisher");
            assert!(pipes[0].is_some() && pipes[0] == pipes[1]);
            both_conserved(publisher, &subscriber);
        }
    }
}

/// C158.
#[test]
fn what_a_subscriber_says_is_discarded_and_publishing_goes_on() {
    for transport in Transport::STREAMS {
        let publisher = Pub::new();
        let address = transport.address();
        let endpoint = publisher.bind(&address.url).unwrap();
        let mut peer = Raw::greet(&endpoint.url(), SUB, PUB);
        publisher.wait_for_peers(1, SOON).unwrap();
        for n in 1..=200 {
            peer.send_frame(b"listen to me");
            publisher.send(vec![n]).unwrap();
            assert_eq!(peer.read_frame(), [n]);
        }
        // An idle publisher looks no further than its queue; the next message makes it.
        eventually("all of it is discarded", || {
            publish(&publisher, &["still here"]);
            publisher.stats().drops(DropReason::Unexpected) == 200
        });
        assert_eq!(publisher.peers().len(), 1);
        conserved(|| publisher.stats());
    }
}

/// C159, C160.
#[test]
fn raw_sockets_pass_on_everything() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (raw::Pub::new(), raw::Sub::new());
        let (_address, endpoint) = join!(publisher, subscriber, transport);
        let choosy = self::subscriber(&["b"]);
        choosy.connect(endpoint.url()).unwrap();
        publisher.wait_for_peers(2, SOON).unwrap();
        for body in [&b"a"[..], b"", b"b", END] {
            publisher.send(body).unwrap();
        }
        for body in [&b"a"[..], b"", b"b", END] {
            let message = subscriber.recv_timeout(SOON).unwrap();
            assert_eq!((message.body(), message.header().len()), (&body.into(), 0));
        }
        assert_eq!(until_the_end(&choosy), ["b"]);
        conserved(|| subscriber.stats());
    }
}

/// C161.
#[test]
fn everything_is_on_the_wire_whatever_the_subscriber_wants() {
    for transport in Transport::STREAMS {
        let publisher = Pub::new();
        let address = transport.address();
        let endpoint = publisher.bind(&address.url).unwrap();
        // A subscription is never on the wire, so this one has none.
        let mut peer = Raw::greet(&endpoint.url(), SUB, PUB);
        publisher.wait_for_peers(1, SOON).unwrap();
        publish(&publisher, &["unwanted", ""]);
        assert_eq!(peer.read_frame(), b"unwanted");
        assert_eq!(peer.read_frame(), b"");
    }
}

/// What a test asks of a SUB socket and of its contexts alike.
trait Subscribes: Sync {
    fn subscribe(&self, topic: &str);
    fn unsubscribe(&self, topic: &str);
    fn recv(&self) -> Message;
    fn try_recv(&self) -> Result<Message, RecvError>;
}

macro_rules! subscribes {
    ($($subscriber:ty),*) => {
        $(impl Subscribes for $subscriber {
            fn subscribe(&self, topic: &str) {
                Self::subscribe(self, topic).unwrap();
            }
            fn unsubscribe(&self, topic: &str) {
                Self::unsubscribe(self, topic).unwrap();
            }
            fn recv(&self) -> Message {
                self.recv_timeout(SOON).unwrap()
            }
            fn try_recv(&self) -> Result<Message, RecvError> {
                Self::try_recv(self)
            }
        })*
    };
}

subscribes! { Sub, SubContext }

/// C148, and semantics 8.1: never delivered after unsubscribe has returned.
#[test]
fn nothing_of_a_topic_comes_after_unsubscribe_while_it_is_being_published() {
    const ROUNDS: usize = 100;
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let context = subscriber.context();
        let _joined = join!(publisher, subscriber, transport);
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    publish(&publisher, &["comes and goes", "stays"]);
                    thread::yield_now();
                }
            });
            let _over = SetOnDrop(&over);
            for subscriber in [&subscriber as &dyn Subscribes, &context] {
                subscriber.subscribe("stays");
                for _ in 0..ROUNDS {
                    subscriber.subscribe("comes");
                    while subscriber.recv() != "comes and goes" {}
                    subscriber.unsubscribe("comes");
                    let at_once = std::iter::from_fn(|| subscriber.try_recv().ok()).take(200);
                    let later = std::iter::repeat_with(|| subscriber.recv()).take(2);
                    for message in at_once.chain(later) {
                        assert_eq!(message, "stays", "{transport:?}");
                    }
                }
            }
        });
        // Until nothing moves any more.
        subscriber.unsubscribe("stays").unwrap();
        drop(context);
        publisher.close().unwrap();
        eventually("the publisher is gone", || subscriber.peers().is_empty());
        conserved(|| subscriber.stats());
    }
}

/// Topics that begin each other, and topics that do not.
#[test]
fn a_hundred_thousand_subscriptions_are_no_burden() {
    // The nested ones are 5 GB of topics: too much of a burden for a sanitizer.
    let topics = kit::rounds(100_000).max(1_000) as usize;
    let (publisher, subscriber) = (Pub::new(), subscriber(&[]));
    let (flat, nested) = (subscriber.context(), subscriber.context());
    let _joined = join!(publisher, subscriber, Transport::Inproc);
    (0..topics).for_each(|n| flat.subscribe(format!("topic/{n:06}/")).unwrap());
    let deep = vec![b'x'; topics];
    (1..=topics).rev().for_each(|length| nested.subscribe(&deep[..length]).unwrap());
    for n in (0..topics).step_by(topics / 100) {
        publish(&publisher, &[format!("topic/{n:06}/body"), format!("topic/{n:06}")]);
        assert_eq!(flat.recv_timeout(SOON).unwrap(), format!("topic/{n:06}/body"));
        publish(&publisher, &[&deep[..n], &deep[..n + 1]]);
        let expected = if n == 0 { 1 } else { n };
        assert_eq!(nested.recv_timeout(SOON).unwrap().len(), expected);
        if n > 0 {
            assert_eq!(nested.recv_timeout(SOON).unwrap().len(), n + 1);
        }
    }
    // The shortest have let in all of it.
    (1..=10).for_each(|length| nested.unsubscribe(&deep[..length]).unwrap());
    publish(&publisher, &[&deep[..10], &deep[..11]]);
    assert_eq!(nested.recv_timeout(SOON).unwrap().len(), 11);
    (0..topics).for_each(|n| flat.unsubscribe(format!("topic/{n:06}/")).unwrap());
    publish(&publisher, &[b"topic/000001/body", END]);
    assert!(until_the_end(&subscriber).is_empty());
    assert_eq!(flat.try_recv(), Err(RecvError::WouldBlock));
    both_conserved(&publisher, &subscriber);
}
