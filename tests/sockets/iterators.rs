//! Iterators: they yield every received message, in order, until the socket is closed.

use std::thread;
use std::time::Duration;

use sinew::{
    Options, Pair, PipeEventKind, Pub, Pull, Push, Rep, Req, Respondent, Sub, Surveyor, raw,
};

use kit::{SOON, Transport, conserved, eventually, join};

#[test]
fn iter_yields_what_comes_until_the_socket_is_closed() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _address = join!(pull, push, transport);
        let reading = thread::spawn({
            let pull = pull.clone();
            move || pull.iter().map(|message| message.to_string()).collect::<Vec<_>>()
        });
        for text in ["a", "b", "c"] {
            push.send(text).unwrap();
        }
        eventually("all are read", || pull.stats().messages_received == 3);
        pull.close().unwrap();
        assert_eq!(reading.join().unwrap(), ["a", "b", "c"]);
        assert_eq!(pull.iter().next(), None);
        assert_eq!(pull.into_iter().next(), None);
    }
}

#[test]
fn iter_waits_longer_than_the_receive_timeout() {
    let (push, pull) =
        (Push::new(), Pull::with_options(Options::new().recv_timeout(Duration::ZERO)).unwrap());
    let _address = join!(pull, push, Transport::Tcp);
    let reading = thread::spawn(move || pull.iter().next());
    push.send("late").unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), "late");
}

#[test]
fn try_iter_takes_what_is_there_and_does_not_wait() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _address = join!(pull, push, transport);
        assert_eq!(pull.try_iter().count(), 0);
        (0..5).for_each(|n| push.send(n.to_string()).unwrap());
        eventually("all have arrived", || pull.stats().recv_queue == 5);
        let mut some = pull.try_iter();
        // They are in the queue a moment before the socket is told.
        let mut first = None;
        eventually("the first is there", || {
            first = some.next();
            first.is_some()
        });
        assert_eq!(first.unwrap(), "0");
        assert_eq!(pull.stats().recv_queue, 4, "nothing is received ahead");
        let all: Vec<String> = some.map(|message| message.to_string()).collect();
        assert_eq!(all, ["1", "2", "3", "4"]);
        conserved(|| pull.stats());
    }
}

#[test]
fn a_for_loop_over_a_server_answers_each_request() {
    let (rep, req) = (Rep::new(), Req::new());
    let _address = join!(rep, req, Transport::Tcp);
    let server = thread::spawn({
        let rep = rep.clone();
        move || {
            for request in &rep {
                let reply = format!("{request}!");
                request.reply(reply).unwrap();
            }
        }
    });
    for text in ["one", "two"] {
        assert_eq!(req.request_timeout(text, SOON).unwrap(), format!("{text}!"));
    }
    rep.close().unwrap();
    server.join().unwrap();
}

#[test]
fn a_loop_over_the_socket_itself_keeps_it_open() {
    let (push, pull) = (Push::new(), Pull::new());
    let _address = join!(pull, push, Transport::Inproc);
    let mut all = pull.into_iter();
    push.send("still").unwrap();
    assert_eq!(all.next().unwrap(), "still");
    drop(all);
    eventually("it has closed", || push.peers().is_empty());
}

#[test]
fn two_iterators_share_what_comes() {
    let (push, pull) = (Push::new(), Pull::new());
    let _address = join!(pull, push, Transport::Tcp);
    thread::scope(|scope| {
        let count = || pull.iter().count();
        let readers = [scope.spawn(count), scope.spawn(count)];
        (0..100).for_each(|_| push.send("one").unwrap());
        eventually("all are read", || pull.stats().messages_received == 100);
        pull.close().unwrap();
        assert_eq!(readers.map(|reader| reader.join().unwrap()).iter().sum::<usize>(), 100);
    });
}

#[test]
fn everything_that_receives_can_be_iterated_over() {
    fn ends<I: Iterator>(mut all: I) {
        assert!(all.next().is_none());
    }
    let pair = Pair::new();
    pair.close().unwrap();
    ends(pair.iter());
    ends((&pair).into_iter());
    let (sub, respondent, raw) = (Sub::new(), Respondent::new(), raw::Req::new());
    let context = sub.context();
    ends(sub.try_iter());
    ends(context.try_iter());
    context.close().unwrap();
    ends(context.iter());
    sub.close().unwrap();
    ends(sub.iter());
    respondent.close().unwrap();
    ends(respondent.iter());
    raw.close().unwrap();
    ends(raw.into_iter());
    let options = Options::new().survey_deadline(None);
    ends(Surveyor::with_options(options).unwrap().survey("?").unwrap().try_iter());
}

#[test]
fn a_context_that_is_closed_ends_its_iterators_and_no_others() {
    let (publisher, sub) = (Pub::new(), Sub::new());
    let (one, other) = (sub.context(), sub.context());
    one.subscribe("").unwrap();
    other.subscribe("").unwrap();
    let _address = join!(publisher, sub, Transport::Inproc);
    publisher.send("news").unwrap();
    assert_eq!(one.iter().next().unwrap(), "news");
    one.close().unwrap();
    assert!(one.iter().next().is_none());
    assert_eq!(other.iter().next().unwrap(), "news");
}

#[test]
fn events_that_are_there_are_yielded_without_waiting() {
    let (push, pull) = (Push::new(), Pull::new());
    let events = pull.events();
    assert_eq!(events.try_iter().count(), 0);
    let _address = join!(pull, push, Transport::Inproc);
    let kinds: Vec<PipeEventKind> = events.try_iter().map(|event| event.kind).collect();
    assert_eq!(kinds, [PipeEventKind::Attaching, PipeEventKind::Attached]);
}
