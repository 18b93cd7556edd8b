//! `Options::conflate`: of each key only the newest message waits, at a SUB and at a PUB.

use std::collections::BTreeMap;

use kit::{SOON, Transport, conserved, eventually, join};
use sinew::{
    Conflate, DropReason, Message, OptionError, Options, Overflow, Pub, RecvError, Req, Sub, raw,
};

const BY_NAME: Conflate = Conflate::Until(b' ');

fn conflating() -> Options {
    Options::new().conflate(BY_NAME)
}

fn publish(publisher: &Pub, texts: &[&str]) {
    texts.iter().for_each(|&text| publisher.send(text).expect("a PUB that conflates always sends"));
}

/// Everything that is there.
fn collect(mut receive: impl FnMut() -> Result<Message, RecvError>) -> Vec<Message> {
    std::iter::from_fn(|| receive().ok()).collect()
}

const PRICES: [&str; 6] = ["gold 1", "tin 1", "gold 2", "zinc 1", "gold 3", "tin 2"];

/// C391: for the socket, and for a context that has it from the socket.
#[test]
fn a_subscriber_that_comes_late_finds_of_each_key_the_newest() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::with_options(conflating()).unwrap());
        let context = subscriber.context();
        subscriber.subscribe("").unwrap();
        context.subscribe("gold").unwrap();
        let _joined = join!(publisher, subscriber, transport);
        publish(&publisher, &PRICES);
        eventually("all are taken in", || subscriber.stats().copies_taken == 6);
        let stats = subscriber.stats();
        assert_eq!((stats.drops(DropReason::ConflatedUnread), stats.held_inbound), (3 + 2, 3 + 1));
        assert_eq!(collect(|| subscriber.try_recv()), ["gold 3", "tin 2", "zinc 1"]);
        assert_eq!(collect(|| context.try_recv()), ["gold 3"]);
        // What was received has no key any more.
        publish(&publisher, &["tin 3"]);
        assert_eq!(subscriber.recv_timeout(SOON).unwrap(), "tin 3");
        conserved(|| subscriber.stats());
        conserved(|| publisher.stats());
    }
}

/// C392: peers choose the keys, the program chooses how many.
#[test]
fn more_keys_than_the_queue_holds_drop_the_oldest_or_the_newest() {
    for (prefer_new, kept) in [(true, ["b 2", "c 1"]), (false, ["a 1", "b 2"])] {
        let options = conflating().sub_queue(2).prefer_new(prefer_new);
        let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
        subscriber.subscribe("").unwrap();
        let _joined = join!(publisher, subscriber, Transport::Inproc);
        publish(&publisher, &["a 1", "b 1", "c 1", "b 2"]);
        eventually("all are taken in", || subscriber.stats().copies_taken == 4);
        assert_eq!(subscriber.stats().drops(DropReason::RecvQueueFull), 1);
        assert_eq!(collect(|| subscriber.try_recv()), kept);
        conserved(|| subscriber.stats());
    }
}

/// C391: on a live socket, for what waits as well.
#[test]
fn a_subscriber_may_begin_to_conflate_and_stop() {
    let (publisher, subscriber) = (Pub::new(), Sub::new());
    let context = subscriber.context();
    subscriber.subscribe("").unwrap();
    context.subscribe("").unwrap();
    let _joined = join!(publisher, subscriber, Transport::Inproc);
    publish(&publisher, &PRICES);
    eventually("all are taken in", || subscriber.stats().copies_taken == 6);
    subscriber.set_options(subscriber.options().conflate(BY_NAME)).unwrap();
    context.set_conflate(Conflate::Prefix(0));
    assert_eq!(subscriber.stats().drops(DropReason::ConflatedUnread), 3 + 5);
    context.set_conflate(None);
    publish(&publisher, &["tin 2"]);
    eventually("it is taken in", || subscriber.stats().copies_taken == 7);
    assert_eq!(collect(|| context.try_recv()), ["tin 2", "tin 2"]);
    assert_eq!(collect(|| subscriber.try_recv()), ["gold 3", "tin 2", "zinc 1"]);
    conserved(|| subscriber.stats());
}

/// A message that fills what lies between the sockets before long.
fn bulky(key: u8, number: u64) -> Vec<u8> {
    let mut message = vec![0; 64 << 10];
    (message[0], message[1]) = (key, b' ');
    message[2..10].copy_from_slice(&number.to_be_bytes());
    message
}

fn number(message: &[u8]) -> u64 {
    u64::from_be_bytes(*message[2..].first_chunk().expect("it is bulky"))
}

/// C391: what the subscriber has not taken is replaced at the publisher.
#[test]
fn a_publisher_holds_of_each_key_the_newest_for_who_does_not_read() {
    const KEYS: u64 = 3;
    const SENT: u64 = 600;
    for transport in Transport::ALL {
        // A raw one takes in nothing by itself.
        let narrow = Options::new().recv_queue(1);
        let (publisher, subscriber) =
            (Pub::with_options(conflating()).unwrap(), raw::Sub::with_options(narrow).unwrap());
        let _joined = join!(publisher, subscriber, transport);
        for n in 0..SENT {
            publisher.send(bulky((n % KEYS) as u8, n)).unwrap();
        }
        // None need be held at this moment: what the kernel has taken has made room in the queue.
        let replaced = publisher.stats().drops(DropReason::ConflatedUnsent);
        assert!(replaced > 0, "{transport:?}: it is not read");
        let mut last = BTreeMap::new();
        let mut received = 0;
        while last.len() < 3 || last.values().any(|&number| number < SENT - KEYS) {
            let message = subscriber.recv_timeout(SOON).expect("the newest of each key comes");
            let before = last.insert(message[0], number(&message));
            assert!(before < Some(number(&message)), "of one key in order");
            received += 1;
        }
        assert_eq!(publisher.drain(SOON), 0);
        let stats = conserved(|| publisher.stats());
        assert_eq!(received + stats.drops(DropReason::ConflatedUnsent), SENT, "{stats}");
        assert!(received < SENT / 2, "{transport:?}: {received} were not replaced");
        conserved(|| subscriber.stats());
    }
}

/// C391: who is quick gets everything.
#[test]
fn a_publisher_that_conflates_drops_nothing_of_who_keeps_up() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::with_options(conflating()).unwrap(), Sub::new());
        subscriber.subscribe("").unwrap();
        let _joined = join!(publisher, subscriber, transport);
        for n in 0..200 {
            publisher.send(format!("gold {n}")).unwrap();
            assert_eq!(subscriber.recv_timeout(SOON).unwrap(), *format!("gold {n}"));
            assert_eq!(publisher.drain(SOON), 0);
        }
        assert_eq!(publisher.stats().drops(DropReason::ConflatedUnsent), 0);
        conserved(|| publisher.stats());
    }
}

/// C391: what is held is not lost by turning it off, nor by closing in order.
#[test]
fn what_a_publisher_holds_is_sent_when_it_stops_conflating_or_closes() {
    for transport in Transport::ALL {
        for closes in [false, true] {
            let options = conflating().linger(SOON);
            let narrow = Options::new().recv_queue(1);
            let publisher = Pub::with_options(options).unwrap();
            let subscriber = raw::Sub::with_options(narrow).unwrap();
            let _joined = join!(publisher, subscriber, transport);
            for n in 0..100 {
                publisher.send(bulky((n % 2) as u8, n)).unwrap();
            }
            if closes {
                publisher.close().unwrap()
            } else {
                publisher.set_options(Options::new()).unwrap()
            }
            assert_eq!(publisher.stats().held_outbound, 0);
            let mut newest = [0; 2];
            while newest != [98, 99] {
                let message = subscriber.recv_timeout(SOON).expect("the last of each is sent");
                newest[usize::from(message[0])] = number(&message);
            }
        }
    }
}

/// C392.
#[test]
fn to_replace_and_to_wait_do_not_go_together() {
    let error = Pub::with_options(conflating().overflow(Overflow::Wait)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "option conflate is Until(32), allowed is None where overflow is Wait"
    );
    let error = Req::with_options(conflating()).unwrap_err();
    assert!(matches!(error, OptionError::NoSuchOption { option: "conflate", .. }), "{error}");
    Req::with_options(Options::new().conflate(None)).expect("it is not set");
}
