//! Sockets with values: all forms of their calls, and what does not decode.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use kit::{SOON, block_on, eventually};
use serde::{Deserialize, Serialize};
use sinew::typed::{
    Answers, Error, Format, Json, Misfit, Postcard, Published, Publisher, Replies, Requests,
    Subscriber, Surveys, Work, Worker,
};
use sinew::{Options, Pub, Pull, Push, RecvError, Rep, Req, RequestError, Sub, Surveyor};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Order {
    item: String,
    count: u32,
}

fn order(count: u32) -> Order {
    Order { item: "tin".to_owned(), count }
}

/// The two ends of each pair of sockets are made and connected here.
macro_rules! pair {
    ($one:expr, $other:expr) => {{
        let (one, other) = ($one, $other);
        let endpoint = one.bind("tcp://127.0.0.1:0").unwrap();
        other.connect(endpoint.url()).unwrap();
        one.wait_for_peers(1, SOON).unwrap();
        other.wait_for_peers(1, SOON).unwrap();
        (one, other)
    }};
}

#[test]
fn requests_and_replies_have_all_their_forms() {
    let (replies, requests) = pair!(Replies::<Order, u32>::new(), Requests::<Order, u32>::new());
    std::thread::spawn(move || {
        let query = replies.recv().unwrap();
        let count = query.count;
        query.reply(&(2 * count)).unwrap();
        let (order, owed) = replies.recv_timeout(SOON).unwrap().into_parts();
        owed.try_reply(&(2 * order.count)).unwrap();
        let query = block_on(replies.recv_async()).unwrap();
        let count = query.question().count;
        block_on(query.reply_async(&(2 * count))).unwrap();
        assert!(matches!(replies.try_recv(), Err(Error::Socket(RecvError::WouldBlock))));
    });
    assert_eq!(requests.request(&order(1)).unwrap(), 2);
    assert_eq!(requests.request_timeout(&order(2), SOON).unwrap(), 4);
    assert_eq!(block_on(requests.request_async(&order(3))).unwrap(), 6);
    let timed_out = requests.request_timeout(&order(4), Duration::ZERO).unwrap_err();
    assert!(matches!(timed_out, Error::Socket(RequestError::TimedOut(..))));
}

#[test]
fn work_has_all_its_forms() {
    let (worker, work) = pair!(Worker::<Order>::new(), Work::<Order>::new());
    work.send(&order(1)).unwrap();
    work.try_send(&order(2)).unwrap();
    work.send_timeout(&order(3), SOON).unwrap();
    block_on(work.send_async(&order(4))).unwrap();
    assert_eq!(worker.recv().unwrap(), order(1));
    assert_eq!(worker.recv_timeout(SOON).unwrap(), order(2));
    assert_eq!(block_on(worker.recv_async()).unwrap(), order(3));
    eventually("it has come", || worker.try_recv().is_ok_and(|it| it == order(4)));
    worker.close().unwrap();
    assert_eq!(worker.iter().count(), 0);
}

#[test]
fn a_subscriber_gets_the_topics_that_it_has_asked_for() {
    let (publisher, subscriber) = pair!(Publisher::<u32>::new(), Subscriber::<u32>::new());
    subscriber.subscribe_to("a").unwrap();
    subscriber.subscribe("b.").unwrap();
    publisher.send("ab", &1).unwrap();
    publisher.try_send("a", &2).unwrap();
    publisher.send_timeout("b", &3, SOON).unwrap();
    block_on(publisher.send_async("b.c", &4)).unwrap();
    let told = |Published { topic, value, .. }| (topic, value);
    assert_eq!(told(subscriber.recv().unwrap()), ("a".to_owned(), 2));
    assert_eq!(told(block_on(subscriber.recv_async()).unwrap()), ("b.c".to_owned(), 4));
    subscriber.unsubscribe_from("a").unwrap();
    subscriber.unsubscribe("b.").unwrap();
    assert!(subscriber.unsubscribe("b.").is_err());
    assert!(matches!(publisher.send("a\0b", &1), Err(Error::Encode(_))));
    assert_eq!(publisher.socket().stats().messages_sent, 4);
}

#[test]
fn surveys_collect_the_answers_that_decode() {
    let surveyor = || Surveyor::with_options(Options::new().survey_deadline(SOON)).unwrap();
    let surveys = Surveys::<u32, u32>::with(surveyor(), Format::new(), Format::new());
    let (surveys, answers) = pair!(surveys, Answers::<u32, u32>::new());
    let raw = sinew::Respondent::new();
    raw.connect(surveys.socket().endpoints()[0].url()).unwrap();
    surveys.wait_for_peers(2, SOON).unwrap();
    let survey = surveys.survey(&7).unwrap();
    raw.recv().unwrap().reply("\x01what?").unwrap();
    eventually("the one is passed over", || {
        assert!(survey.try_recv().is_err());
        surveys.undecoded() == 1
    });
    answers.recv().unwrap().reply(&42).unwrap();
    assert_eq!(block_on(survey.recv_async()).unwrap(), 42);
    let reporting = surveys.reporting();
    let mut survey = reporting.survey(&8).unwrap();
    raw.recv().unwrap().reply("").unwrap();
    let Err(Error::Decode(undecoded)) = survey.recv() else { panic!("it is reported") };
    assert_eq!((undecoded.misfit(), undecoded.message().len()), (&Misfit::Empty, 0));
    let query = answers.recv().unwrap();
    assert_eq!(*query, 8);
    query.reply(&43).unwrap();
    assert_eq!(survey.next(), Some(43));
}

/// Whoever asks what makes no sense is told so at once, and disturbs nobody.
#[test]
fn a_request_that_does_not_decode_is_answered_and_counted() {
    let (replies, requests) = pair!(Replies::<Order, u32>::new(), Requests::<u8, u32>::new());
    let asked = replies.clone();
    let serving = std::thread::spawn(move || {
        for query in asked.iter() {
            let count = query.count;
            query.reply(&count).unwrap();
        }
    });
    for _ in 0..2 {
        let Err(Error::Decode(undecoded)) = requests.request(&7) else { panic!("no answer") };
        assert_eq!(undecoded.misfit(), &Misfit::NotUnderstood);
    }
    assert_eq!(replies.undecoded(), 2);
    let good =
        Requests::<Order, u32>::with(requests.socket().clone(), Format::new(), Format::new());
    assert_eq!(good.request(&order(3)).unwrap(), 3);
    replies.close().unwrap();
    serving.join().unwrap();
}

/// Who is told that it was not understood finds that counted.
#[test]
fn a_request_that_does_not_decode_is_counted_before_it_is_answered() {
    struct Looks(Replies<Order, u32>, Mutex<Vec<u64>>);
    impl Wake for Looks {
        fn wake(self: Arc<Self>) {
            self.1.lock().unwrap().push(self.0.undecoded());
        }
    }
    let (replies, requests) = (Replies::<Order, u32>::new(), Requests::<u8, u32>::new());
    replies.bind("inproc://counted").unwrap();
    requests.connect("inproc://counted").unwrap();
    let looks = Arc::new(Looks(replies.clone(), Mutex::default()));
    let waker = Waker::from(Arc::clone(&looks));
    let mut asking = pin!(requests.request_async(&7));
    assert!(asking.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    assert!(matches!(replies.try_recv(), Err(Error::Socket(RecvError::WouldBlock))));
    eventually("it is told", || !looks.1.lock().unwrap().is_empty());
    assert_eq!(looks.1.lock().unwrap()[0], 1);
}

#[test]
fn what_does_not_decode_is_reported_with_its_bytes_where_that_is_asked_for() {
    let (worker, push) = pair!(Worker::<Order, Json>::new().reporting(), Push::new());
    push.send("\0{\"item\":7}").unwrap();
    push.send("\x05{}").unwrap();
    push.send("\0{\"item\":\"tin\",\"count\":3}").unwrap();
    let Err(Error::Decode(undecoded)) = worker.recv() else { panic!("it is reported") };
    assert!(matches!(undecoded.misfit(), Misfit::Value(_)));
    assert_eq!(undecoded.message(), "\0{\"item\":7}");
    let sentence = undecoded.to_string();
    assert!(sentence.contains("11 bytes") && sentence.contains("expected a string"), "{sentence}");
    assert!(sentence.contains("[00, 7b, 22, 69"), "{sentence}");
    let Err(Error::Decode(undecoded)) = worker.recv() else { panic!("it is reported") };
    assert_eq!(undecoded.misfit(), &Misfit::Version { found: 5, expected: 0 });
    assert_eq!((worker.undecoded(), worker.recv().unwrap()), (2, order(3)));
}

#[test]
fn the_answer_of_a_stranger_is_a_typed_error() {
    let (rep, requests) = pair!(Rep::new(), Requests::<u32, Order>::new());
    let ask = |answer: &'static [u8]| {
        let rep = rep.clone();
        let answering = std::thread::spawn(move || rep.recv().unwrap().reply(answer));
        let asked = requests.request(&7);
        answering.join().unwrap().unwrap();
        asked
    };
    assert_eq!(ask(b"\0\x03tin\x05").unwrap(), order(5));
    // Too short, too long, too much announced, no UTF-8, a context that is not whole.
    for wrong in [
        &b""[..],
        b"\0",
        b"\0\x03tin\x05\0",
        b"\0\xff\xff\xff\xff\x0ftin",
        b"\0\x01\xff\x05",
        b"\x80abc",
    ] {
        let Err(Error::Decode(undecoded)) = ask(wrong) else { panic!("{wrong:?} decodes") };
        assert_eq!(undecoded.into_message(), wrong);
    }
    // A context that nobody has asked for is passed over.
    let traced = b"\x80abcdefghijklmnopqrstuvwxy\x03tin\x05";
    assert_eq!(ask(traced).unwrap(), order(5));
}

#[test]
fn a_type_may_change_while_both_sides_run() {
    #[derive(Serialize, Deserialize)]
    struct Old(String);
    let old = |Old(item): Old| Order { item, count: 1 };
    let format = || Format::<Order, Postcard>::new().version(1).reads(0, old);
    let (worker, work) = pair!(Worker::with(Pull::new(), format()), Work::<Old>::new());
    work.send(&Old("tin".to_owned())).unwrap();
    assert_eq!(worker.recv().unwrap(), order(1));
    let new = Work::with(work.socket().clone(), format());
    new.send(&order(2)).unwrap();
    assert_eq!(worker.recv().unwrap(), order(2));
    assert!(std::panic::catch_unwind(|| Format::<u8>::new().version(127)).is_err());
}

/// Any bytes at all, from a stranger, to whoever receives.
#[test]
fn bytes_at_random_end_nobody_and_are_counted() {
    let (publisher, subscriber) = pair!(Pub::new(), Subscriber::<Order>::new());
    subscriber.subscribe("").unwrap();
    let json = Subscriber::<Order, Json>::with(Sub::new(), Format::new());
    json.subscribe("").unwrap();
    json.connect(publisher.endpoints()[0].url()).unwrap();
    publisher.wait_for_peers(2, SOON).unwrap();
    let mut random = 7_u64;
    let mut next = || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    const MESSAGES: u64 = 500;
    for _ in 0..MESSAGES {
        let length = next() % 40;
        let bytes: Vec<u8> = (0..length).map(|_| ((next() % 256) >> (next() % 8)) as u8).collect();
        publisher.send(bytes).unwrap();
    }
    let mut decoded = 0;
    eventually("all were read", || {
        decoded += u64::from(subscriber.try_recv().is_ok());
        subscriber.undecoded() + decoded == MESSAGES
    });
    let mut decoded = 0;
    eventually("all were read", || {
        decoded += u64::from(json.try_recv().is_ok());
        json.undecoded() + decoded == MESSAGES
    });
}

#[test]
fn handles_and_futures_may_move_between_threads() {
    fn shared<T: Clone + Send + Sync + std::fmt::Debug + 'static>(_: &T) {}
    fn moves<T: Future + Send>(_: T) {}
    let requests = Requests::<Order, u32>::with(Req::new(), Format::new(), Format::new());
    let (replies, worker) = (Replies::<Order, u32>::new(), Worker::<Order>::new());
    shared(&requests);
    shared(&replies);
    shared(&worker);
    shared(&Subscriber::<Order>::new());
    shared(&Publisher::<Order, Json>::new());
    moves(requests.request_async(&order(1)));
    moves(replies.recv_async());
    moves(worker.recv_async());
}
