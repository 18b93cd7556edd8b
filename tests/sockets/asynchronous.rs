//! The `_async` forms: the same meaning, no runtime, and nothing lost when a future is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use kit::{Dice, QUIET, SOON, Transport, block_on, conserved, eventually, join, poll_once};
use sinew::{
    DropReason, Message, Options, Pair, RecvError, Rep, Req, Respondent, SendError, Surveyor,
    WaitError,
};

/// Counts how often it is woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn poll_with<F: Future + Unpin>(future: &mut F, count: &Arc<Count>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(count));
    std::pin::Pin::new(future).poll(&mut Context::from_waker(&waker))
}

/// Every call once.
#[test]
fn every_call_has_its_async_form() {
    for transport in Transport::ALL {
        let (left, right) = (Pair::new(), Pair::new());
        let _pairs = join!(left, right, transport);
        block_on(left.send_async("hello")).unwrap();
        assert_eq!(block_on(right.recv_async()).unwrap(), "hello");

        let (req, rep) = (Req::new(), Rep::new());
        let _reqrep = join!(rep, req, transport);
        let server = thread::spawn({
            let rep = rep.clone();
            move || {
                block_on(async {
                    for _ in 0..2 {
                        let request = rep.recv_async().await.unwrap();
                        let answer = request.message().clone();
                        request.reply_async(answer).await.unwrap();
                    }
                })
            }
        });
        assert_eq!(block_on(req.request_async("typed")).unwrap(), "typed");
        let asking = req.context();
        asking.send("classic").unwrap();
        assert_eq!(block_on(asking.recv_async()).unwrap(), "classic");
        server.join().unwrap();
        let answering = rep.context();
        asking.send("both classic").unwrap();
        block_on(async {
            let request = answering.recv_async().await.unwrap();
            answering.send_async(request).await.unwrap();
            assert_eq!(asking.recv_async().await.unwrap(), "both classic");
        });

        let (surveyor, respondent) = (Surveyor::new(), Respondent::new());
        let _survey = join!(surveyor, respondent, transport);
        let survey = surveyor.survey("q").unwrap();
        block_on(async {
            respondent.recv_async().await.unwrap().reply_async("a").await.unwrap();
            assert_eq!(survey.recv_async().await.unwrap(), "a");
            kit::timed_out(survey.recv_async().await);
            let (asking, answering) = (surveyor.context(), respondent.context());
            asking.send("classic").unwrap();
            answering.recv_async().await.unwrap();
            answering.send_async("a").await.unwrap();
            assert_eq!(asking.recv_async().await.unwrap(), "a");
        });
        conserved(|| left.stats());
        conserved(|| right.stats());
        conserved(|| req.stats());
        conserved(|| rep.stats());
        conserved(|| surveyor.stats());
    }
}

/// Receives are dropped at random points; every message arrives all the same, once, in order.
#[test]
fn dropped_receives_lose_nothing() {
    const MESSAGES: u32 = 10_000;
    for transport in Transport::ALL {
        let options = Options::new().send_queue(4).recv_queue(4);
        let pairs = [(); 2].map(|()| Pair::with_options(options.clone()).unwrap());
        let [sender, receiver] = &pairs;
        let _joined = join!(sender, receiver, transport);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..MESSAGES {
                    sender.send_timeout(&n.to_be_bytes(), SOON).unwrap();
                }
            });
            let (mut dice, mut next) = (Dice(1), 0);
            while next < MESSAGES {
                let mut receiving = Box::pin(receiver.recv_async());
                let polls = dice.roll(4);
                let got = match polls {
                    0 => None,
                    3 => Some(block_on(receiving)),
                    n => (0..n).find_map(|_| poll_once(&mut receiving)),
                };
                if let Some(message) = got {
                    assert_eq!(message.unwrap()[..], next.to_be_bytes());
                    next += 1;
                }
            }
        });
        conserved(|| sender.stats());
        conserved(|| receiver.stats());
    }
}

/// Sends are dropped at random points; those that were ready have sent, the others have not.
#[test]
fn dropped_sends_send_nothing() {
    const FUTURES: u32 = 10_000;
    for transport in Transport::ALL {
        let options = Options::new().send_queue(1).recv_queue(1).send_queue_bytes(64);
        let pairs = [(); 2].map(|()| Pair::with_options(options.clone()).unwrap());
        let [sender, receiver] = &pairs;
        let _joined = join!(sender, receiver, transport);
        let expected = thread::scope(|scope| {
            let got = scope.spawn(|| {
                let mut got = Vec::new();
                loop {
                    let message = receiver.recv_timeout(SOON).unwrap();
                    if message.is_empty() {
                        return got;
                    }
                    got.push(u32::from_be_bytes(message[..].try_into().unwrap()));
                }
            });
            let (mut dice, mut sent) = (Dice(2), Vec::new());
            for n in 0..FUTURES {
                let mut sending = Box::pin(sender.send_async(n.to_be_bytes().to_vec()));
                let polls = dice.roll(3);
                if (0..polls).any(|_| poll_once(&mut sending).is_some()) {
                    sent.push(n);
                }
            }
            block_on(sender.send_async("")).unwrap();
            assert_eq!(got.join().unwrap(), sent, "over {transport:?}");
            sent
        });
        assert!(!expected.is_empty());
        conserved(|| sender.stats());
        conserved(|| receiver.stats());
    }
}

/// Requests are given up at random points; no reply ever reaches the wrong one.
#[test]
fn dropped_requests_are_given_up() {
    const REQUESTS: u32 = 10_000;
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let server = thread::spawn({
            let rep = rep.clone();
            move || {
                while let Ok(request) = rep.recv() {
                    let answer = request.message().clone();
                    let _ = request.reply(answer);
                }
            }
        });
        let mut dice = Dice(3);
        for n in 0..REQUESTS {
            let mut asking = Box::pin(req.request_async(n.to_be_bytes().to_vec()));
            let reply = match dice.roll(4) {
                0 => None,
                3 => Some(block_on(asking)),
                polls => (0..polls).find_map(|_| poll_once(&mut asking)),
            };
            if let Some(reply) = reply {
                assert_eq!(reply.unwrap()[..], n.to_be_bytes());
            }
        }
        let stats = req.stats();
        assert_eq!((stats.held_outbound, stats.held_inbound), (0, 0));
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// A wake-up that a dropped future had got is passed on to the next one.
#[test]
fn a_dropped_receive_passes_its_wake_up_on() {
    for transport in Transport::ALL {
        let (sender, receiver) = (Pair::new(), Pair::new());
        let _joined = join!(sender, receiver, transport);
        for _ in 0..200 {
            let counts = [(); 3].map(|()| Arc::new(Count::default()));
            let mut tasks = [(); 3].map(|()| Some(Box::pin(receiver.recv_async())));
            for (task, count) in tasks.iter_mut().zip(&counts) {
                assert!(poll_with(task.as_mut().unwrap(), count).is_pending());
            }
            sender.send("x").unwrap();
            for n in 0..2 {
                eventually("the next is woken", || counts[n].0.load(Ordering::SeqCst) > 0);
                tasks[n] = None;
            }
            eventually("the last is woken", || counts[2].0.load(Ordering::SeqCst) > 0);
            assert_eq!(block_on(tasks[2].take().unwrap()).unwrap(), "x");
        }
        conserved(|| receiver.stats());
    }
}

/// A future that is kept and not polled holds up nobody who waits for something else.
#[test]
fn a_neglected_future_holds_up_no_other_calls() {
    for transport in Transport::ALL {
        let options = Options::new().send_queue(1).recv_queue(1).send_queue_bytes(64);
        let (left, right) = (Pair::with_options(options.clone()).unwrap(), Pair::new());
        let _joined = join!(left, right, transport);
        let big = Message::from(vec![0; 100_000]);
        while left.send_timeout(&big, QUIET).is_ok() {}
        let mut neglected = Box::pin(left.send_async(&big));
        assert!(poll_once(&mut neglected).is_none());
        thread::scope(|scope| {
            let receiving = scope.spawn(|| left.recv_timeout(SOON));
            right.send("for the other").unwrap();
            assert_eq!(receiving.join().unwrap().unwrap(), "for the other");
            // With both asleep the bell finds the sender first.
            let mut task = Box::pin(left.recv_async());
            let count = Arc::new(Count::default());
            assert!(poll_with(&mut task, &count).is_pending());
            right.send("again").unwrap();
            eventually("the receiver is woken", || count.0.load(Ordering::SeqCst) > 0);
            assert_eq!(block_on(task).unwrap(), "again");
        });
    }
}

/// Polled again with another waker, a future wakes the new one.
#[test]
fn the_last_waker_counts() {
    let (sender, receiver) = (Pair::new(), Pair::new());
    let _joined = join!(sender, receiver, Transport::Inproc);
    let counts = [(); 2].map(|()| Arc::new(Count::default()));
    let mut task = Box::pin(receiver.recv_async());
    for count in &counts {
        assert!(poll_with(&mut task, count).is_pending());
    }
    sender.send("x").unwrap();
    assert_eq!(counts.each_ref().map(|count| count.0.load(Ordering::SeqCst)), [0, 1]);
    assert!(poll_with(&mut task, &counts[1]).is_ready());
}

/// A task hears of a deadline though nobody else enters the socket.
#[test]
fn a_task_hears_of_the_deadline_in_time() {
    let options = Options::new().survey_deadline(QUIET);
    let surveyor = Surveyor::with_options(options).unwrap();
    let begin = Instant::now();
    let survey = surveyor.survey("q").unwrap();
    kit::timed_out(block_on(survey.recv_async()));
    let waited = begin.elapsed();
    assert!(waited >= QUIET && waited < QUIET + Duration::from_secs(1), "{waited:?}");
    assert_eq!(surveyor.stats().drops(DropReason::NoPeer), 1);
}

/// Close ends every kind of future.
#[test]
fn closing_ends_every_future() {
    let (pair, req, rep) = (Pair::new(), Req::new(), Rep::new());
    let mut sending = Box::pin(pair.send_async("x"));
    let mut receiving = Box::pin(pair.recv_async());
    let mut requesting = Box::pin(req.request_async("x"));
    let mut awaiting = Box::pin(rep.recv_async());
    assert!(poll_once(&mut sending).is_none() && poll_once(&mut receiving).is_none());
    assert!(poll_once(&mut requesting).is_none() && poll_once(&mut awaiting).is_none());
    pair.close().unwrap();
    req.close().unwrap();
    rep.close().unwrap();
    assert!(poll_once(&mut sending).unwrap().is_err());
    assert_eq!(poll_once(&mut receiving), Some(Err(RecvError::Closed)));
    assert!(poll_once(&mut requesting).unwrap().is_err());
    assert_eq!(poll_once(&mut awaiting).unwrap().err(), Some(RecvError::Closed));
}

#[test]
fn a_task_waits_for_peers_until_they_are_there_or_the_socket_is_closed() {
    for transport in Transport::ALL {
        let (listener, dialer) = (Pair::new(), Pair::new());
        block_on(listener.wait_for_peers_async(0)).unwrap();
        let mut waiting = Box::pin(listener.wait_for_peers_async(1));
        assert!(poll_once(&mut waiting).is_none());
        drop(listener.wait_for_peers_async(1));
        let _joined = join!(listener, dialer, transport);
        block_on(waiting).unwrap();
        let mut waiting = Box::pin(listener.wait_for_peers_async(2));
        assert!(poll_once(&mut waiting).is_none(), "a PAIR has one");
        let waiting = thread::spawn(|| block_on(waiting));
        listener.close().unwrap();
        assert_eq!(waiting.join().unwrap(), Err(WaitError::Closed));
    }
}

#[test]
fn what_a_dropped_answer_was_for_can_still_be_answered() {
    let (rep, req) = (Rep::new(), Req::new());
    let _joined = join!(rep, req, Transport::Inproc);
    let (asking, answering) = (req.context(), rep.context());
    asking.send("q").unwrap();
    answering.recv_timeout(SOON).unwrap();
    drop(answering.send_async("never polled"));
    block_on(answering.send_async("a")).unwrap();
    assert_eq!(asking.recv_timeout(SOON).unwrap(), "a");
    let again = block_on(answering.send_async("again"));
    assert!(matches!(again, Err(SendError::State(_))), "it has been answered");
}

/// As the blocking call has it, though nothing waits.
#[test]
fn an_answer_that_is_too_large_is_given_back_and_cannot_be_given_again() {
    let rep = Rep::with_options(Options::new().max_send_size(12)).unwrap();
    let req = Req::new();
    let _joined = join!(rep, req, Transport::Inproc);
    let (asking, answering) = (req.context(), rep.context());
    asking.send("q").unwrap();
    answering.recv_timeout(SOON).unwrap();
    let refused = block_on(answering.send_async("too large"));
    assert!(matches!(refused, Err(SendError::TooLarge { limit: 12, header: 4, .. })));
    assert!(matches!(block_on(answering.send_async("good")), Err(SendError::State(_))));
}
