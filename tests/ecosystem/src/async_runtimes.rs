//! Futures, streams and sinks under tokio and under smol: nothing needs either, nothing is lost when what
//! waits is dropped.

use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use kit::{Dice, QUIET, SOON, Transport, block_on, conserved, eventually, join, poll_once, rounds};
use sinew::{
    Options, Pair, Pub, Pull, Push, RecvError, Rep, Req, Respondent, SendError, Sub, Surveyor,
};

/// Where a test's tasks run.
#[derive(Clone, Copy, Debug)]
enum Runtime {
    Tokio,
    Smol,
}

impl Runtime {
    const BOTH: [Self; 2] = [Self::Tokio, Self::Smol];

    /// Runs each of the tasks, on two threads of tokio or on those of smol, until all have ended.
    fn run<F>(self, tasks: Vec<F>)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        match self {
            Self::Tokio => {
                let mut builder = tokio::runtime::Builder::new_multi_thread();
                let runtime = builder.worker_threads(2).enable_all().build().unwrap();
                let tasks: Vec<_> = tasks.into_iter().map(|task| runtime.spawn(task)).collect();
                tasks.into_iter().for_each(|task| runtime.block_on(task).unwrap());
            }
            Self::Smol => {
                let tasks: Vec<_> = tasks.into_iter().map(smol::spawn).collect();
                tasks.into_iter().for_each(smol::block_on);
            }
        }
    }

    fn run_one(self, task: impl Future<Output = ()> + Send + 'static) {
        self.run(vec![task]);
    }
}

/// What becomes of the future in so many polls, after which it is dropped.
async fn within_polls<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(move |cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        let polled = future.as_mut().poll(cx).map(Some);
        if polled.is_pending() {
            // Others have their turn, and so have the threads that do not belong to the runtime.
            std::thread::yield_now();
            cx.waker().wake_by_ref();
        }
        polled
    })
    .await
}

#[test]
fn a_stream_yields_what_comes_and_ends_with_its_socket() {
    for runtime in Runtime::BOTH {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(push, pull, Transport::Tcp);
        let mut stream = pull.stream();
        let (mut sink, closing) = (push.sink(), pull.clone());
        runtime.run_one(async move {
            for n in 0..1000_u32 {
                sink.send(n.to_be_bytes().to_vec().into()).await.unwrap();
            }
            for n in 0..1000_u32 {
                assert_eq!(stream.next().await.unwrap()[..], n.to_be_bytes());
            }
            closing.close().unwrap();
            assert_eq!(stream.next().await, None);
            assert_eq!(stream.next().await, None, "it stays at its end");
        });
        conserved(|| pull.stats());
        conserved(|| push.stats());
    }
}

/// A stream is forwarded into a sink: a device in one line.
#[test]
fn a_stream_can_be_forwarded_into_a_sink() {
    for runtime in Runtime::BOTH {
        let (push, pull) = (Push::new(), Pull::new());
        let (near, far) = (Pull::new(), Push::new());
        let _in = join!(push, near, Transport::Tcp);
        let _out = join!(far, pull, Transport::Inproc);
        let (through, closing) = (near.stream().map(Ok).forward(far.sink()), near.clone());
        let feeding = async move {
            let mut sink = push.sink();
            for n in 0..100_u32 {
                sink.feed(n.to_be_bytes().to_vec().into()).await.unwrap();
            }
            sink.close().await.unwrap();
            assert!(!push.is_closed());
            for n in 0..100_u32 {
                assert_eq!(pull.recv_async().await.unwrap()[..], n.to_be_bytes());
            }
            closing.close().unwrap();
        };
        runtime.run_one(async move {
            let (through, ()) = futures_util::future::join(through, feeding).await;
            through.unwrap();
        });
    }
}

/// Each kind of stream.
#[test]
fn requests_subscriptions_and_surveys_are_streams() {
    for runtime in Runtime::BOTH {
        let (req, rep) = (Req::new(), Rep::new());
        let _reqrep = join!(rep, req, Transport::Inproc);
        let (publisher, sub) = (Pub::new(), Sub::new());
        let weather = sub.context();
        weather.subscribe("weather.").unwrap();
        let _pubsub = join!(publisher, sub, Transport::Inproc);
        let surveyor = Surveyor::with_options(Options::new().survey_deadline(QUIET)).unwrap();
        let respondent = Respondent::new();
        let _survey = join!(surveyor, respondent, Transport::Inproc);
        runtime.run_one(async move {
            let (mut requests, asking) = (rep.stream(), req.request_async("q"));
            let (reply, ()) = futures_util::future::join(asking, async {
                requests.next().await.unwrap().reply_async("a").await.unwrap();
            })
            .await;
            assert_eq!(reply.unwrap(), "a");

            let mut news = weather.stream();
            publisher.send("traffic.quiet").unwrap();
            publisher.send("weather.sunny").unwrap();
            assert_eq!(news.next().await.unwrap(), "weather.sunny");
            weather.close().unwrap();
            assert_eq!(news.next().await, None);

            let answers = surveyor.survey("q").unwrap().into_stream();
            respondent.stream().next().await.unwrap().reply("here").unwrap();
            let answers: Vec<_> = answers.collect().await;
            assert_eq!(answers, ["here"], "it ends at the deadline");
            assert_eq!(surveyor.stats().held_inbound, 0);
        });
    }
}

/// A server of one conversation, as a loop over the stream of its context.
#[test]
fn contexts_that_answer_are_streams_of_what_they_are_asked() {
    for runtime in Runtime::BOTH {
        let (req, rep) = (Req::new(), Rep::new());
        let _reqrep = join!(rep, req, Transport::Tcp);
        let (surveyor, respondent) = (Surveyor::new(), Respondent::new());
        let _survey = join!(surveyor, respondent, Transport::Inproc);
        runtime.run_one(async move {
            let answering = rep.context();
            let mut requests = answering.stream();
            for _ in 0..100 {
                let (reply, ()) = futures_util::future::join(req.request_async("q"), async {
                    let request = requests.next().await.unwrap();
                    answering.send_async(request).await.unwrap();
                })
                .await;
                assert_eq!(reply.unwrap(), "q");
            }
            answering.close().unwrap();
            assert_eq!(requests.next().await, None);
            conserved(|| rep.stats());

            let answering = respondent.context();
            let survey = surveyor.survey("q").unwrap();
            assert_eq!(answering.stream().next().await.unwrap(), "q");
            answering.send_async("a").await.unwrap();
            assert_eq!(survey.recv_async().await.unwrap(), "a");
        });
    }
}

/// As between two receives of such a context.
#[test]
fn the_stream_of_a_context_that_answers_is_its_one_call_that_receives() {
    let (req, rep) = (Req::new(), Rep::new());
    let _joined = join!(rep, req, Transport::Inproc);
    let answering = rep.context();
    let (mut first, mut second) = (answering.stream(), answering.stream());
    assert!(poll_once(&mut first.next()).is_none(), "nothing was asked");
    assert_eq!(answering.try_recv(), Err(RecvError::State));
    assert_eq!(block_on(second.next()), None, "it was not the first");
    drop(first);
    assert_eq!(answering.try_recv(), Err(RecvError::WouldBlock));
    assert_eq!(block_on(second.next()), None, "it has ended");
}

/// Dropped with and without a poll; what came is received by the next.
#[test]
fn dropped_streams_of_a_context_lose_nothing() {
    let (req, rep) = (Req::new(), Rep::new());
    let _joined = join!(rep, req, Transport::Inproc);
    let (asking, answering) = (req.context(), rep.context());
    let mut dice = Dice(4);
    for n in 0..1000_u32 {
        let mut stream = answering.stream();
        assert!((0..dice.roll(3)).all(|_| poll_once(&mut stream.next()).is_none()));
        asking.send(n.to_be_bytes().to_vec()).unwrap();
        drop(stream);
        let request = block_on(answering.stream().next()).unwrap();
        block_on(answering.send_async(request)).unwrap();
        assert_eq!(asking.recv_timeout(SOON).unwrap()[..], n.to_be_bytes());
    }
    conserved(|| rep.stats());
}

#[test]
fn a_context_that_surveys_is_a_stream_of_answers_until_the_deadline_or_the_next_survey() {
    for runtime in Runtime::BOTH {
        let surveyor = Surveyor::with_options(Options::new().survey_deadline(None)).unwrap();
        let respondent = Respondent::new();
        let _joined = join!(surveyor, respondent, Transport::Inproc);
        runtime.run_one(async move {
            let asking = surveyor.context();
            assert_eq!(asking.stream().next().await, None, "nothing was asked");
            asking.send("old").unwrap();
            let mut old = asking.stream();
            assert!(poll_once(&mut old.next()).is_none());
            asking.send("new").unwrap();
            assert_eq!(old.next().await, None, "canceled");
            for question in ["old", "new"] {
                let asked = respondent.recv_async().await.unwrap();
                assert_eq!(*asked.message(), question);
                asked.reply(question).unwrap();
            }
            assert_eq!(asking.stream().next().await.unwrap(), "new");

            asking.set_survey_deadline(QUIET).unwrap();
            asking.send("nobody answers").unwrap();
            assert_eq!(asking.stream().next().await, None);
            assert_eq!(asking.try_recv(), Err(RecvError::State), "the stream has told the end");
        });
    }
}

/// A message that a dropped `send` has left in the sink goes out before the next one.
#[test]
fn a_sink_keeps_what_a_dropped_send_has_left() {
    let (push, pull) = (Push::new(), Pull::new());
    let mut sink = push.sink();
    assert!(poll_once(&mut sink.send("first".into())).is_none(), "nobody is there");
    assert_eq!(push.stats().messages_sent, 0);
    let _joined = join!(push, pull, Transport::Inproc);
    block_on(sink.send("second".into())).unwrap();
    assert_eq!([pull.recv().unwrap(), pull.recv().unwrap()], ["first", "second"]);
}

#[test]
fn a_sink_gives_back_what_it_cannot_send() {
    let push = Push::with_options(Options::new().max_send_size(4)).unwrap();
    let pull = Pull::new();
    let _joined = join!(push, pull, Transport::Inproc);
    let mut sink = push.sink();
    let error = block_on(sink.send("too large".into())).unwrap_err();
    assert!(
        matches!(error, SendError::TooLarge { message, limit: 4, .. } if message == "too large")
    );
    block_on(sink.send("good".into())).unwrap();
    assert_eq!(pull.recv().unwrap(), "good");
    push.close().unwrap();
    assert!(matches!(block_on(sink.send("x".into())), Err(SendError::Closed(_))));
}

/// What is made into a message may be gone before the future is polled.
#[test]
fn futures_borrow_nothing_of_what_they_send() {
    let (left, right) = (Pair::new(), Pair::new());
    let _joined = join!(left, right, Transport::Inproc);
    let (req, rep) = (Req::new(), Rep::new());
    let _reqrep = join!(rep, req, Transport::Inproc);
    let (sending, asking) = {
        let text = "short-lived".to_owned();
        (left.send_async(text.as_str()), req.request_async(&text))
    };
    Runtime::Tokio.run_one(async move {
        let asking = tokio::spawn(asking);
        tokio::spawn(sending).await.unwrap().unwrap();
        assert_eq!(right.recv_async().await.unwrap(), "short-lived");
        let replying = {
            let text = "also".to_owned();
            rep.recv_async().await.unwrap().reply_async(text.as_str())
        };
        tokio::spawn(replying).await.unwrap().unwrap();
        assert_eq!(asking.await.unwrap().unwrap(), "also");
    });
}

/// A REP with all of its many requests in hand at once, on two threads; they are answered in an order of
/// their own.
#[test]
fn eight_thousand_requests_are_in_work_at_once() {
    let requests = rounds(8_000);
    for transport in Transport::ALL {
        // A program has at most as many requests of a peer in hand as replies to it fit into its queue.
        let places = Options::new().send_queue(requests as usize);
        let (req, rep) = (Req::new(), Rep::with_options(places).unwrap());
        let _joined = join!(rep, req, transport);
        let in_hand = Arc::new(AtomicU32::new(0));
        let (all_there, _) = tokio::sync::broadcast::channel::<()>(1);
        let serving = {
            let mut stream = rep.stream();
            let (in_hand, all_there) = (Arc::clone(&in_hand), all_there.clone());
            async move {
                let mut answering = Vec::new();
                for _ in 0..requests {
                    let request = stream.next().await.unwrap();
                    let mut all_there = all_there.subscribe();
                    in_hand.fetch_add(1, Ordering::SeqCst);
                    answering.push(tokio::spawn(async move {
                        let _ = all_there.recv().await;
                        let answer = request.message().clone();
                        request.reply_async(answer).await.unwrap();
                    }));
                }
                all_there.send(()).unwrap();
                for answer in answering {
                    answer.await.unwrap();
                }
            }
        };
        let asking = {
            let req = req.clone();
            async move {
                let replies = (0..requests).map(|n| req.request_async(n.to_be_bytes().to_vec()));
                for (n, reply) in join_all(replies).await.into_iter().enumerate() {
                    assert_eq!(reply.unwrap()[..], u32::try_from(n).unwrap().to_be_bytes());
                }
            }
        };
        let tasks: Vec<std::pin::Pin<Box<dyn Future<Output = ()> + Send>>> =
            vec![Box::pin(serving), Box::pin(asking)];
        Runtime::Tokio.run(tasks);
        assert_eq!(in_hand.load(Ordering::SeqCst), requests);
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// The sockets of the storm below, and what has come of it.
struct Storm {
    push: Push,
    pull: Pull,
    req: Req,
    rep: Rep,
    surveyor: Surveyor,
    respondent: Respondent,
    sent: Mutex<HashSet<u64>>,
    received: Mutex<HashSet<u64>>,
    replies: AtomicU32,
    answers: AtomicU32,
    over: AtomicBool,
}

impl Storm {
    fn new() -> Arc<Self> {
        let queues = Options::new().send_queue(4).recv_queue(4);
        Arc::new(Self {
            push: Push::with_options(queues.clone()).unwrap(),
            pull: Pull::with_options(queues).unwrap(),
            req: Req::new(),
            rep: Rep::new(),
            surveyor: Surveyor::with_options(Options::new().survey_deadline(None)).unwrap(),
            respondent: Respondent::new(),
            sent: Mutex::default(),
            received: Mutex::default(),
            replies: AtomicU32::new(0),
            answers: AtomicU32::new(0),
            over: AtomicBool::new(false),
        })
    }

    /// Begins futures of all kinds and drops each after a few polls, unless it is ready by then.
    async fn drop_futures(self: Arc<Self>, task: u64, futures: u32) {
        let mut dice = Dice(task);
        for n in 0..futures {
            let number = task << 32 | u64::from(n);
            let polls = dice.roll(6);
            match dice.roll(4) {
                0 => self.send(polls, number).await,
                1 => self.receive(polls).await,
                2 => self.ask(polls * 4, number).await,
                _ => self.survey(polls * 4, number).await,
            }
        }
    }

    async fn send(&self, polls: u64, number: u64) {
        let sending = self.push.send_async(number.to_be_bytes().to_vec());
        if let Some(sent) = within_polls(polls, sending).await {
            sent.unwrap();
            self.sent.lock().unwrap().insert(number);
        }
    }

    async fn receive(&self, polls: u64) {
        if let Some(message) = within_polls(polls, self.pull.recv_async()).await {
            self.note(&message.unwrap());
        }
    }

    fn note(&self, message: &sinew::Message) {
        let number = u64::from_be_bytes(message[..].try_into().unwrap());
        assert!(self.received.lock().unwrap().insert(number), "twice");
    }

    async fn ask(&self, polls: u64, number: u64) {
        let asking = self.req.request_async(number.to_be_bytes().to_vec());
        if let Some(reply) = within_polls(polls, asking).await {
            assert_eq!(reply.unwrap()[..], number.to_be_bytes());
            self.replies.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn survey(&self, polls: u64, number: u64) {
        let survey = self.surveyor.survey(number.to_be_bytes().to_vec()).unwrap();
        if let Some(answer) = within_polls(polls, survey.recv_async()).await {
            assert_eq!(answer.unwrap()[..], number.to_be_bytes());
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Answers, and drops a part of its futures as well.
    async fn serve(self: Arc<Self>) {
        let mut dice = Dice(99);
        while !self.over.load(Ordering::SeqCst) {
            let polls = dice.roll(4);
            if let Some(request) = within_polls(polls, self.rep.recv_async()).await {
                let request = request.unwrap();
                let answer = request.message().clone();
                within_polls(dice.roll(4), request.reply_async(answer)).await;
            }
            if let Some(question) = within_polls(polls, self.respondent.recv_async()).await {
                let question = question.unwrap();
                let answer = question.message().clone();
                within_polls(dice.roll(4), question.reply_async(answer)).await;
            }
            // Also where every future was dropped before it was polled.
            within_polls(1, std::future::pending::<()>()).await;
        }
    }
}

/// Of every kind, at every point, while others of the same socket go on.
#[test]
fn a_hundred_thousand_dropped_futures_lose_nothing() {
    const TASKS: u64 = 5;
    let futures = rounds(100_000) / (TASKS as u32) / 2;
    for (runtime, transport) in
        [(Runtime::Tokio, Transport::Tcp), (Runtime::Smol, Transport::Inproc)]
    {
        let storm = Storm::new();
        let _pipeline = join!(storm.push, storm.pull, transport);
        let _reqrep = join!(storm.rep, storm.req, transport);
        let _survey = join!(storm.surveyor, storm.respondent, transport);
        let serving = std::thread::spawn({
            let storm = Arc::clone(&storm);
            move || runtime.run_one(storm.serve())
        });
        let tasks = (1..=TASKS).map(|task| Arc::clone(&storm).drop_futures(task, futures));
        runtime.run(tasks.collect());
        storm.over.store(true, Ordering::SeqCst);
        serving.join().unwrap();

        let sent = storm.sent.lock().unwrap().clone();
        while storm.received.lock().unwrap().len() < sent.len() {
            storm.note(&storm.pull.recv_timeout(SOON).unwrap());
        }
        kit::timed_out(storm.pull.recv_timeout(Duration::ZERO));
        assert_eq!(*storm.received.lock().unwrap(), sent);
        let counts = [&storm.replies, &storm.answers].map(|count| count.load(Ordering::Relaxed));
        assert!(!sent.is_empty() && counts[0] > 0 && counts[1] > 0, "{counts:?}");
        for stats in [
            conserved(|| storm.push.stats()),
            conserved(|| storm.pull.stats()),
            conserved(|| storm.req.stats()),
            conserved(|| storm.rep.stats()),
            conserved(|| storm.surveyor.stats()),
            conserved(|| storm.respondent.stats()),
        ] {
            assert_eq!((stats.held_outbound, stats.held_inbound), (0, 0));
        }
        eventually("nothing is left to send", || storm.push.stats().send_queue == 0);
    }
}
