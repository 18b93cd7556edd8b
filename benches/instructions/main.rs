//! Sends so many messages of 64 bytes within one thread, for `ci/instructions` to count what they take.
//!
//! `instructions WORKLOAD MESSAGES`: `pipeline` sends to a PULL and `publish` to a SUB, 64 messages at a time;
//! `requests` makes round trips between two contexts, `futures` between two sockets, and `typed` the same with values
//! in place of bytes.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sinew::typed::{Replies, Requests};
use sinew::{Pub, Pull, Push, Rep, Req, Sub};

const BODY: &[u8] = &[7; 64];
const BATCH: usize = 64;
const THERE: &str = "there is room, and a message";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [workload, messages] = &arguments[..] else {
        panic!("usage: instructions WORKLOAD MESSAGES")
    };
    let messages = messages.parse().expect("MESSAGES is a number");
    match workload.as_str() {
        "futures" => futures(messages),
        "pipeline" => pipeline(messages),
        "publish" => publish(messages),
        "requests" => requests(messages),
        "typed" => typed(messages),
        other => panic!("no workload {other}"),
    }
}

fn pipeline(messages: usize) {
    let (push, pull) = (Push::new(), Pull::new());
    pull.bind("inproc://pipeline").expect("nobody else has bound it");
    push.connect("inproc://pipeline").expect("the address is good");
    for _ in 0..messages / BATCH {
        (0..BATCH).for_each(|_| push.try_send(BODY).expect(THERE));
        (0..BATCH).for_each(|_| drop(pull.try_recv().expect(THERE)));
    }
}

fn publish(messages: usize) {
    let (publisher, subscriber) = (Pub::new(), Sub::new());
    publisher.bind("inproc://publish").expect("nobody else has bound it");
    subscriber.subscribe("").expect("it is open");
    subscriber.connect("inproc://publish").expect("the address is good");
    for _ in 0..messages / BATCH {
        (0..BATCH).for_each(|_| publisher.try_send(BODY).expect(THERE));
        (0..BATCH).for_each(|_| drop(subscriber.try_recv().expect(THERE)));
    }
}

fn requests(messages: usize) {
    let (req, rep) = (Req::new(), Rep::new());
    rep.bind("inproc://requests").expect("nobody else has bound it");
    req.connect("inproc://requests").expect("the address is good");
    let (asking, answering) = (req.context(), rep.context());
    for _ in 0..messages {
        asking.send(BODY).expect(THERE);
        let asked = answering.recv().expect(THERE);
        answering.send(asked).expect(THERE);
        asking.recv().expect(THERE);
    }
}

/// Polls a future once.
fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

fn futures(messages: usize) {
    let (req, rep) = (Req::new(), Rep::new());
    rep.bind("inproc://futures").expect("nobody else has bound it");
    req.connect("inproc://futures").expect("the address is good");
    for _ in 0..messages {
        let mut asking = pin!(req.request_async(BODY));
        assert!(poll(&mut asking).is_pending());
        let asked = rep.try_recv().expect(THERE);
        let answer = BODY;
        asked.reply(answer).expect(THERE);
        assert!(matches!(poll(&mut asking), Poll::Ready(Ok(_))));
    }
}

/// An order: its number, a price, and a text. With its head it has 64 bytes on the wire.
type Order = (u64, f64, String);

fn typed(messages: usize) {
    let (requests, replies) = (Requests::<Order, Order>::new(), Replies::<Order, Order>::new());
    replies.bind("inproc://typed").expect("nobody else has bound it");
    requests.connect("inproc://typed").expect("the address is good");
    let order = (7_000_000_000, 25.5, "x".repeat(49));
    for _ in 0..messages {
        let mut asking = pin!(requests.request_async(&order));
        assert!(poll(&mut asking).is_pending());
        let (order, owed) = replies.try_recv().expect(THERE).into_parts();
        owed.reply(&order).expect(THERE);
        assert!(matches!(poll(&mut asking), Poll::Ready(Ok(_))));
    }
    assert_eq!(requests.socket().stats().bytes_sent, 64 * messages as u64);
}
