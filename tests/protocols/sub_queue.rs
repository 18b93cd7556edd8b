//! How a SUB takes in messages: which it drops and why, and which calls it wakes.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake};
use std::thread;
use std::time::{Duration, Instant};

use kit::{SOON, Transport, arrived, conserved, eventually, join};
use sinew::{DropReason, Options, Overflow, Pub, Runtime, Sub};

/// A full queue waits so long for a program that has received before.
const PATIENCE: Duration = Duration::from_millis(100);

fn numbered(n: u64) -> Vec<u8> {
    let mut message = vec![0; 64];
    message[..8].copy_from_slice(&n.to_be_bytes());
    message
}

fn number(message: &[u8]) -> u64 {
    u64::from_be_bytes(*message.first_chunk().expect("eight bytes"))
}

/// Receives in order until the last message of a burst; says how many there were, and the longest
/// time between two.
fn read(sub: &Sub, last: u64) -> (u64, Duration) {
    let (mut received, mut next, mut longest) = (0, 0, Duration::ZERO);
    let mut before = None::<Instant>;
    loop {
        let message = sub.recv_timeout(SOON).expect("the last message has room");
        let now = Instant::now();
        longest = longest.max(before.map_or(Duration::ZERO, |before| now - before));
        before = Some(now);
        let n = number(&message);
        assert!(n >= next, "in order, and once");
        next = n + 1;
        received += 1;
        if n == last {
            return (received, longest);
        }
    }
}

fn both_conserved(publisher: &Pub, subscriber: &Sub) {
    conserved(|| publisher.stats());
    conserved(|| subscriber.stats());
}

/// What was sent was delivered or dropped for a reason, and a subscriber that reads drops nothing.
#[test]
fn a_burst_is_delivered_or_accounted_for() {
    const SENT: u64 = 100_000;
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let _address = join!(publisher, subscriber, transport);
        subscriber.subscribe("").expect("it is open");
        let reader = thread::spawn({
            let subscriber = subscriber.clone();
            move || read(&subscriber, SENT - 1)
        });
        publisher.send(numbered(0)).expect("a PUB always sends");
        // Before the first receive nobody can know that the program will read.
        eventually("it reads", || subscriber.stats().messages_received == 1);
        for n in 1..SENT - 1 {
            publisher.send(numbered(n)).expect("a PUB always sends");
        }
        // A reader that is not run in the middle of a receive holds on to the oldest message, and a queue that
        // is twice full then drops the newest: the last one must not meet that.
        eventually("the queues are empty", || {
            (publisher.stats().send_queue, subscriber.stats().recv_queue) == (0, 0)
        });
        publisher.send(numbered(SENT - 1)).expect("a PUB always sends");
        let (received, longest) = reader.join().expect("it has read to the end");
        let (sent, got) = (conserved(|| publisher.stats()), conserved(|| subscriber.stats()));
        let (slow, full) =
            (sent.drops(DropReason::SendQueueFull), got.drops(DropReason::RecvQueueFull));
        assert_eq!(received + slow + full, SENT, "{transport:?}\n{sent}\n{got}");
        assert_eq!(got.messages_received, received);
        if longest < PATIENCE {
            assert_eq!(full, 0, "{transport:?}: no pause was longer than {longest:?}");
        }
    }
}

/// C149, C150.
#[test]
fn a_queue_that_nobody_reads_follows_its_rule() {
    for transport in Transport::ALL {
        for (prefer_new, kept) in [(true, ["two", "three"]), (false, ["one", "two"])] {
            let options = Options::new().sub_queue(2).prefer_new(prefer_new);
            let subscriber = Sub::with_options(options).expect("the options are good");
            let publisher = Pub::new();
            let _address = join!(publisher, subscriber, transport);
            subscriber.subscribe("").expect("it is open");
            for text in ["one", "two", "three"] {
                publisher.send(text).expect("a PUB always sends");
            }
            eventually("one is dropped", || {
                subscriber.stats().drops(DropReason::RecvQueueFull) == 1
            });
            for text in kept {
                assert_eq!(subscriber.try_recv().expect("it is there"), text);
            }
            assert!(subscriber.try_recv().is_err());
            conserved(|| subscriber.stats());
        }
    }
}

/// C493: for the socket and for a context, over every transport.
#[test]
fn a_queue_of_few_bytes_that_nobody_reads_follows_the_same_rule() {
    let message = |n: u8| vec![n; 100];
    for transport in Transport::ALL {
        for (prefer_new, kept) in [(true, [3, 4, 5]), (false, [1, 2, 3])] {
            let options = Options::new().sub_queue_bytes(300).prefer_new(prefer_new);
            let (publisher, subscriber) = (Pub::new(), Sub::with_options(options).unwrap());
            let context = subscriber.context();
            let _address = join!(publisher, subscriber, transport);
            subscriber.subscribe("").unwrap();
            context.subscribe("").unwrap();
            (1..=5).for_each(|n| publisher.send(message(n)).unwrap());
            let drops = || subscriber.stats().drops(DropReason::RecvQueueFull);
            eventually("two are dropped, by each", || drops() == 4);
            for n in kept {
                assert_eq!(subscriber.try_recv().unwrap(), message(n), "{transport:?}");
                assert_eq!(context.try_recv().unwrap(), message(n), "{transport:?}");
            }
            context.close().unwrap();
            // One always fits, and takes the place of all others.
            publisher.send(message(6)).unwrap();
            publisher.send(vec![7; 1000]).unwrap();
            publisher.send(message(8)).unwrap();
            eventually("more are dropped", || drops() >= if prefer_new { 6 } else { 5 });
            let left: Vec<_> = subscriber.try_iter().map(|message| message[0]).collect();
            assert_eq!(left, if prefer_new { vec![8] } else { vec![6, 7] }, "{transport:?}");
            both_conserved(&publisher, &subscriber);
        }
    }
}

/// C493: what does not fit any more when the bound is made smaller is dropped by the rule.
#[test]
fn a_queue_that_is_given_fewer_bytes_keeps_what_fits() {
    let subscriber = Sub::new();
    let context = subscriber.context();
    let publisher = Pub::new();
    let _address = join!(publisher, subscriber, Transport::Inproc);
    context.subscribe("").unwrap();
    (1..=5).for_each(|n| publisher.send(vec![n; 100]).unwrap());
    eventually("all have come", || subscriber.stats().held_inbound == 5);
    context.set_sub_queue_bytes(150).unwrap();
    assert_eq!(subscriber.stats().drops(DropReason::RecvQueueFull), 3);
    let left: Vec<_> = context.try_iter().map(|message| message[0]).collect();
    assert_eq!(left, [4, 5]);
    both_conserved(&publisher, &subscriber);
}

/// The rule holds for who has stopped reading as well, a little later.
#[test]
fn the_newest_messages_remain_for_who_has_stopped_reading() {
    for transport in Transport::ALL {
        let options = Options::new().sub_queue(2);
        let subscriber = Sub::with_options(options).expect("the options are good");
        let publisher = Pub::new();
        let _address = join!(publisher, subscriber, transport);
        subscriber.subscribe("").expect("it is open");
        publisher.send("first").expect("a PUB always sends");
        assert_eq!(subscriber.recv_timeout(SOON).expect("it was sent"), "first");
        for n in 0..20 {
            publisher.send(n.to_string()).expect("a PUB always sends");
        }
        eventually("the pause is over", || {
            subscriber.stats().drops(DropReason::RecvQueueFull) == 18
        });
        assert_eq!(subscriber.try_recv().expect("it is there"), "18");
        assert_eq!(subscriber.try_recv().expect("it is there"), "19");
        conserved(|| subscriber.stats());
    }
}

/// C349: what is asked for after some work is among the newest that have arrived, whatever was asked
/// for before.
#[test]
fn news_does_not_grow_old_with_a_slow_program() {
    const EACH: u64 = 20;
    for transport in Transport::ALL {
        for (kept, options) in [
            (1, Options::new().sub_queue(1).prefer_new(true)),
            (5, Options::new().sub_queue(5)),
            (1000, Options::new().prefer_new(true)),
        ] {
            let subscriber = Sub::with_options(options).expect("the options are good");
            let context = subscriber.context();
            let publisher = Pub::new();
            let _address = join!(publisher, subscriber, transport);
            context.subscribe("").expect("it is open");
            assert!(context.try_recv().is_err());
            for turn in 1..=100 {
                let newest = turn * EACH;
                (newest - EACH..newest)
                    .for_each(|n| publisher.send(numbered(n)).expect("it sends"));
                // No more than that: not everything is taken out of the pipes at once.
                arrived(|| subscriber.stats(), newest);
                // The last burst may be in its pipe, and not announced yet.
                let got = number(&context.recv_timeout(SOON).expect("it has arrived"));
                assert!(got + kept + EACH >= newest, "{transport:?}: {got} of {newest}");
            }
            both_conserved(&publisher, &subscriber);
            assert_eq!(publisher.stats().drops(DropReason::SendQueueFull), 0);
        }
    }
}

/// C349: the queue follows the news while the program is busy. Nobody is waited for in any turn: that
/// would take a hundred milliseconds in each.
#[test]
fn news_is_taken_in_while_the_program_is_busy() {
    const EACH: u64 = 50; // more than the pipe holds
    const TURNS: u64 = 200;
    for transport in Transport::ALL {
        let options = Options::new().sub_queue(1).prefer_new(true).recv_queue(8);
        let subscriber = Sub::with_options(options).expect("the options are good");
        let waits = Options::new().overflow(Overflow::Wait).send_queue(8);
        let publisher = Pub::with_options(waits).expect("the options are good");
        let _address = join!(publisher, subscriber, transport);
        subscriber.subscribe("").expect("it is open");
        let begun = Instant::now();
        for turn in 1..=TURNS {
            for n in (turn - 1) * EACH..turn * EACH {
                publisher.send_timeout(numbered(n), SOON).expect("nobody holds it up");
            }
            eventually("all is taken in", || subscriber.stats().copies_taken == turn * EACH);
            let got = subscriber.try_recv().expect("the newest is there");
            assert_eq!(number(&got), turn * EACH - 1, "{transport:?}");
        }
        // Under Wine and other emulators, where long tests make few rounds, each system call takes far longer.
        let is_in_time = begun.elapsed() < PATIENCE * (TURNS as u32 / 2);
        assert!(is_in_time || cfg!(windows) || kit::rounds(100) < 100, "{transport:?}");
        let dropped = subscriber.stats().drops(DropReason::RecvQueueFull);
        assert_eq!(dropped, TURNS * (EACH - 1));
        both_conserved(&publisher, &subscriber);
    }
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn what_nobody_wants_wakes_nobody() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let _address = join!(publisher, subscriber, transport);
        subscriber.subscribe("wanted").expect("it is open");
        let other = subscriber.context();
        other.subscribe("other").expect("it is open");
        let woken = Arc::new(Woken::default());
        let waker = Arc::clone(&woken).into();
        let mut receive = pin!(subscriber.recv_async());
        assert!(receive.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        for n in 1..=100 {
            publisher.send("unwanted").expect("a PUB always sends");
            eventually("it is dropped", || {
                subscriber.stats().drops(DropReason::NotSubscribed) == n
            });
        }
        publisher.send("other").expect("a PUB always sends");
        assert_eq!(other.recv_timeout(SOON).expect("it was sent"), "other");
        assert_eq!(woken.0.load(Ordering::SeqCst), 0, "{transport:?}");
        publisher.send("wanted").expect("a PUB always sends");
        eventually("it is woken", || woken.0.load(Ordering::SeqCst) == 1);
        let received = receive.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(matches!(received, Poll::Ready(Ok(message)) if message == "wanted"));
        conserved(|| subscriber.stats());
    }
}

/// A thread that drives the loop itself is the one that visits the socket it waits in.
#[test]
fn a_subscriber_may_drive_its_own_runtime() {
    let runtime = Runtime::builder().manual(true).build().expect("a runtime");
    for transport in Transport::ALL {
        let publisher = Pub::new();
        let subscriber = Sub::on(&runtime, Options::new()).expect("the options are good");
        let _address = join!(subscriber, publisher, transport);
        subscriber.subscribe("wanted").expect("it is open");
        let sender = thread::spawn({
            let publisher = publisher.clone();
            move || {
                for n in 0..2000 {
                    let text = if n % 20 == 0 { "wanted" } else { "unwanted" };
                    publisher.send(text).expect("a PUB always sends");
                    if n % 20 == 0 {
                        publisher.drain(SOON);
                    }
                }
                publisher.send("wanted: the last").expect("a PUB always sends");
            }
        });
        while subscriber.recv_timeout(SOON).expect("more to come") == "wanted" {}
        sender.join().expect("a PUB always sends");
        conserved(|| subscriber.stats());
    }
}

/// Many threads, each with its own context on one socket, and one that never reads.
#[test]
fn contexts_that_read_do_not_wait_for_one_that_does_not() {
    const EACH: u64 = 300;
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        let _address = join!(publisher, subscriber, transport);
        let lazy = subscriber.context();
        lazy.subscribe("").expect("it is open");
        assert!(lazy.try_recv().is_err());
        let received = Arc::new(AtomicU64::new(0));
        let readers: Vec<_> = (0..4)
            .map(|reader| {
                let context = subscriber.context();
                context.subscribe([reader]).expect("it is open");
                let received = Arc::clone(&received);
                thread::spawn(move || {
                    for n in 0..EACH {
                        let message = context.recv_timeout(SOON).expect("its own messages");
                        assert_eq!(message, [&[reader][..], &n.to_be_bytes()].concat());
                        received.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for n in 0..EACH {
            for reader in 0..4_u8 {
                publisher.send([&[reader][..], &n.to_be_bytes()].concat()).expect("it sends");
            }
            // Not more at a time than there is room for.
            if n % 16 == 0 {
                eventually("all is received", || received.load(Ordering::Relaxed) == 4 * (n + 1));
            }
        }
        for reader in readers {
            reader.join().expect("no reader fails");
        }
        conserved(|| subscriber.stats());
    }
}
