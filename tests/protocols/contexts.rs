//! Contexts: many conversations over one socket that do not disturb each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::task::{Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

use kit::sockets::{self, ListedConversant, one_by_one};
use kit::{Raw, SOON, Transport, arrived, conserved, every_conversant, join};
use sinew::role::{self, Converses};
use sinew::{
    Closed, Context, DropReason, Options, Pub, RecvError, Rep, Req, Respondent, SendError, Socket,
    Sub, Surveyor, UnsubscribeError,
};

const REQ: u8 = 0x30;
const REP: u8 = 0x31;

fn echo(rep: &Rep) -> thread::JoinHandle<()> {
    let rep = rep.clone();
    thread::spawn(move || {
        while let Ok(request) = rep.recv() {
            let answer = request.message().clone();
            let _ = request.reply(answer);
        }
    })
}

/// While nobody waits, a REQ looks for replies by itself. Whoever begins to wait or to watch then is told of the next.
#[test]
fn after_replies_for_which_nobody_waited_whoever_waits_or_watches_is_told() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let (asking, other, answering) = (req.context(), req.context(), rep.context());
        let answer = || {
            let asked = answering.recv().unwrap();
            answering.send(asked).unwrap();
        };
        let nobody_waits = || {
            for _ in 0..3 {
                asking.send("try").unwrap();
                answer();
                kit::eventually("the reply comes", || asking.try_recv() == Ok("try".into()));
            }
        };

        nobody_waits();
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut cx = std::task::Context::from_waker(&waker);
        asking.send("task").unwrap();
        let mut reply = Box::pin(asking.recv_async());
        assert!(reply.as_mut().poll(&mut cx).is_pending());
        answer();
        kit::eventually("the task is woken", || woken.0.load(Ordering::SeqCst));
        assert_eq!(reply.as_mut().poll(&mut cx), Poll::Ready(Ok("task".into())));

        nobody_waits();
        asking.send("watch").unwrap();
        let readiness = asking.recv_readiness().unwrap();
        assert!(!readiness.is_ready());
        answer();
        kit::eventually("the reply is shown", || readiness.is_ready());
        assert_eq!(asking.try_recv(), Ok("watch".into()));
        drop(readiness);

        for _ in 0..kit::rounds(200) {
            nobody_waits();
            other.send("thread").unwrap();
            thread::scope(|scope| {
                let waits = scope.spawn(|| other.recv_timeout(SOON));
                answer();
                assert_eq!(waits.join().unwrap(), Ok("thread".into()));
            });
        }
    }
}

/// C193.
#[test]
fn every_context_gets_its_own_answers() {
    const CONTEXTS: usize = 300;
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let server = echo(&rep);
        let contexts: Vec<_> = (0..CONTEXTS).map(|_| req.context()).collect();
        for round in 0..kit::rounds(20) {
            for (number, context) in contexts.iter().enumerate() {
                context.send(format!("{number}/{round}")).unwrap();
            }
            for (number, context) in contexts.iter().enumerate().rev() {
                assert_eq!(context.recv_timeout(SOON).unwrap(), format!("{number}/{round}"));
            }
        }
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// C194.
#[test]
fn replies_out_of_order_reach_the_right_contexts() {
    const CONTEXTS: usize = 30;
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let asking: Vec<_> = (0..CONTEXTS).map(|_| req.context()).collect();
        let answering: Vec<_> = (0..CONTEXTS).map(|_| rep.context()).collect();
        for (number, context) in asking.iter().enumerate() {
            context.send(format!("{number}")).unwrap();
        }
        let questions: Vec<_> =
            answering.iter().map(|context| context.recv_timeout(SOON).unwrap()).collect();
        for (context, question) in answering.iter().zip(questions).rev() {
            context.send(question).unwrap();
        }
        for (number, context) in asking.iter().enumerate() {
            assert_eq!(context.recv_timeout(SOON).unwrap(), format!("{number}"));
        }
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// C195.
#[test]
fn closing_a_context_ends_its_calls_and_no_others() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let (doomed, other) = (req.context(), req.context());
        doomed.send("doomed").unwrap();
        other.send("other").unwrap();
        thread::scope(|scope| {
            let waiting = scope.spawn(|| doomed.recv());
            let mut task = Box::pin(other.recv_async());
            assert!(kit::poll_once(&mut task).is_none());
            let requests = [(); 2].map(|()| rep.recv_timeout(SOON).unwrap());
            doomed.close().unwrap();
            assert_eq!(waiting.join().unwrap(), Err(RecvError::Closed));
            for request in requests {
                let answer = request.message().clone();
                request.reply(answer).unwrap();
            }
            assert_eq!(kit::block_on(task).unwrap(), "other");
        });
        assert!(matches!(doomed.send("again"), Err(SendError::Closed(_))));
        assert_eq!(doomed.recv(), Err(RecvError::Closed));
        assert_eq!(doomed.close(), Err(Closed));
        assert_eq!(req.stats().drops(DropReason::Stale), 1);
        conserved(|| req.stats());
    }
}

/// C196.
#[test]
fn closing_the_socket_ends_the_calls_of_every_context() {
    fn check<R: ListedConversant>() {
        for _ in 0..20 {
            let socket = Socket::<R>::with_options(Options::new()).unwrap();
            let contexts = [(); 10].map(|()| Context::new(&socket));
            contexts.iter().for_each(R::begin);
            thread::scope(|scope| {
                let forms = sockets::waiting_context_recvs().into_iter().cycle();
                let waiting: Vec<_> = contexts
                    .iter()
                    .zip(forms)
                    .map(|(context, (name, recv))| (name, scope.spawn(move || recv(context))))
                    .collect();
                socket.close().unwrap();
                for (name, thread) in waiting {
                    let outcome = thread.join().unwrap();
                    assert_eq!(outcome, Err(RecvError::Closed), "{} {name}", R::NAME);
                }
            });
            conserved(|| socket.stats());
        }
    }
    one_by_one(every_conversant!(check));
}

/// C197.
#[test]
fn a_closed_context_stays_closed() {
    macro_rules! check {
        ($socket:expr) => {
            let socket = $socket;
            let (closed, open) = (socket.context(), socket.context());
            closed.close().unwrap();
            assert_eq!(closed.close(), Err(Closed));
            assert_eq!(closed.recv(), Err(RecvError::Closed));
            assert!(matches!(closed.send("x"), Err(SendError::Closed(_))));
            socket.close().unwrap();
            for context in [open, socket.context()] {
                assert_eq!(context.try_recv(), Err(RecvError::Closed));
                assert!(matches!(context.send("x"), Err(SendError::Closed(_))));
            }
        };
    }
    check!(Req::new());
    check!(Rep::new());
    check!(Surveyor::new());
    check!(Respondent::new());

    fn receives_nothing<R: ListedConversant>() {
        let socket = Socket::<R>::with_options(Options::new()).unwrap();
        let (closed, open) = (Context::new(&socket), Context::new(&socket));
        closed.close().unwrap();
        assert_eq!(closed.close(), Err(Closed), "{}", R::NAME);
        all_closed::<R>(&closed);
        socket.close().unwrap();
        for context in [open, Context::new(&socket)] {
            all_closed::<R>(&context);
        }
        conserved(|| socket.stats());
    }
    fn all_closed<R: ListedConversant>(context: &Context<R>) {
        assert_eq!(context.try_recv(), Err(RecvError::Closed), "{}", R::NAME);
        for (name, recv) in sockets::waiting_context_recvs() {
            assert_eq!(recv(context), Err(RecvError::Closed), "{} {name}", R::NAME);
        }
    }
    one_by_one(every_conversant!(receives_nothing));
}

/// C197: what a context of a SUB has besides.
#[test]
fn a_closed_context_takes_no_subscriptions() {
    let sub = Sub::new();
    let closed = sub.context();
    closed.subscribe("x").unwrap();
    closed.close().unwrap();
    assert_eq!(closed.subscribe("y"), Err(Closed));
    assert_eq!(closed.unsubscribe("x"), Err(UnsubscribeError::Closed));
    // Not even if another one has its number now.
    let open = sub.context();
    assert_eq!(closed.subscribe("y"), Err(Closed));
    closed.set_sub_queue(1).unwrap();
    assert_eq!(open.unsubscribe("y"), Err(UnsubscribeError::NotSubscribed));
    sub.close().unwrap();
    assert_eq!(open.subscribe("x"), Err(Closed));
    assert_eq!(sub.subscribe("x"), Err(Closed));
    assert_eq!(sub.unsubscribe("x"), Err(UnsubscribeError::Closed));
}

/// C192. A call that a socket does not have is found in the trait instead.
#[test]
fn other_sockets_have_no_contexts() {
    struct NoContext;
    trait Without {
        fn context(&self) -> NoContext {
            NoContext
        }
    }
    impl<T> Without for T {}
    macro_rules! check {
        ($($socket:ident)*; $($raw:ident)*) => {
            $(let NoContext = sinew::$socket::new().context();)*
            $(let NoContext = sinew::raw::$raw::new().context();)*
        };
    }
    check! {
        Pair Pair1 PolyPair1 Push Pull Pub Bus;
        Pair Pair1 Push Pull Pub Sub Bus Req Rep Surveyor Respondent
    }
}

/// C198.
#[test]
fn a_request_of_one_context_is_none_of_another() {
    let req = Req::new();
    let (asking, idle) = (req.context(), req.context());
    asking.send("held").unwrap();
    assert_eq!(idle.recv(), Err(RecvError::State));
    assert_eq!(asking.try_recv(), Err(RecvError::WouldBlock));
}

/// C199, C200. Nobody receives: the socket sends what it holds all by itself.
#[test]
fn held_requests_are_sent_in_order_and_only_the_last_of_each_context() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let contexts = [(); 3].map(|()| req.context());
        contexts[0].send("never").unwrap();
        contexts[1].send("1").unwrap();
        contexts[0].send("2").unwrap();
        contexts[2].send("3").unwrap();
        let _joined = join!(rep, req, transport);
        for expected in ["1", "2", "3"] {
            let request = rep.recv_timeout(SOON).unwrap();
            assert_eq!(*request.message(), expected, "over {transport:?}");
            request.reply("").unwrap();
        }
        assert_eq!(rep.try_recv().err(), Some(RecvError::WouldBlock));
        assert_eq!(req.stats().drops(DropReason::Superseded), 1);
        let _ = contexts.map(|context| context.recv_timeout(SOON).unwrap());
        conserved(|| req.stats());
    }
}

/// C203.
#[test]
fn parallel_surveys_get_their_own_answers() {
    const CONTEXTS: usize = 30;
    for transport in Transport::ALL {
        let options = Options::new().survey_deadline(SOON);
        let (surveyor, respondent) = (Surveyor::with_options(options).unwrap(), Respondent::new());
        let _joined = join!(surveyor, respondent, transport);
        let contexts: Vec<_> = (0..CONTEXTS).map(|_| surveyor.context()).collect();
        for (number, context) in contexts.iter().enumerate() {
            context.send(format!("{number}")).unwrap();
        }
        let questions: Vec<_> =
            (0..CONTEXTS).map(|_| respondent.recv_timeout(SOON).unwrap()).collect();
        for question in questions.into_iter().rev() {
            let answer = question.message().clone();
            question.reply(answer).unwrap();
        }
        for (number, context) in contexts.iter().enumerate() {
            assert_eq!(context.recv().unwrap(), format!("{number}"));
            assert_eq!(context.try_recv(), Err(RecvError::WouldBlock));
        }
        conserved(|| surveyor.stats());
    }
}

/// C204.
#[test]
fn timeouts_are_taken_from_the_socket_and_independent_afterwards() {
    let millis = Duration::from_millis;
    let options = Options::new().recv_timeout(millis(10));
    let rep = Rep::with_options(options.clone()).unwrap();
    let (one, two) = (rep.context(), rep.context());
    rep.set_options(options.recv_timeout(millis(30))).unwrap();
    one.set_default_recv_timeout(millis(40));
    assert_eq!(one.default_recv_timeout(), Some(millis(40)));
    assert_eq!(two.default_recv_timeout(), Some(millis(10)));
    assert_eq!(rep.options().settings().recv_timeout, Some(millis(30)));
    kit::timed_out(two.recv());
    let req = Req::with_options(Options::new().recv_timeout(millis(10))).unwrap();
    let asking = req.context();
    asking.send("held").unwrap();
    kit::timed_out(asking.recv());
}

/// C204: what every kind of context has.
#[test]
fn the_receive_timeout_of_a_context_is_its_own() {
    fn check<R: ListedConversant>() {
        let (short, long) = (Duration::from_millis(20), 6 * SOON);
        let socket = Socket::<R>::with_options(Options::new().recv_timeout(short)).unwrap();
        let (taken, set) = (Context::new(&socket), Context::new(&socket));
        socket.set_options(socket.options().recv_timeout(long)).unwrap();
        let later = Context::new(&socket);
        later.set_default_recv_timeout(short);
        set.set_default_recv_timeout(short / 2);
        for context in [&taken, &later, &set] {
            R::begin(context);
            let start = Instant::now();
            assert!(matches!(context.recv(), Err(RecvError::TimedOut(_))), "{}", R::NAME);
            assert!(start.elapsed() >= short / 2);
        }
        conserved(|| socket.stats());
    }
    sockets::at_once(every_conversant!(check));
}

/// C205, C520, C521.
#[test]
fn the_place_of_a_request_in_hand_is_free_when_its_context_is_done_with_it() {
    for transport in Transport::STREAMS {
        let rep = Rep::with_options(Options::new().send_queue(1)).unwrap();
        let address = transport.address();
        let endpoint = rep.bind(&address.url).unwrap();
        let mut raw = Raw::greet(&endpoint.url(), REQ, REP);
        let (first, other) = (rep.context(), rep.context());
        for n in 0..8u8 {
            raw.send_frame(&[0x80, 0, 0, n, n]);
        }
        let received = |context: &sinew::RepContext| context.recv_timeout(SOON).unwrap()[0];
        assert_eq!(received(&first), 0);
        assert_eq!(other.try_recv(), Err(RecvError::WouldBlock), "the first has the only place");
        assert_eq!(received(&first), 1, "which the next one takes over");
        first.close().unwrap();
        assert_eq!(received(&other), 2);
        other.send("a").unwrap();
        assert_eq!(raw.read_frame(), b"\x80\0\0\x02a");
        assert_eq!(received(&other), 3);
        assert!(matches!(other.send(vec![0; 2 << 20]), Err(SendError::TooLarge { .. })));
        let third = rep.context();
        assert_eq!(received(&third), 4, "there is nothing left to answer");
        drop(third.send_async("never polled"));
        kit::poll_once(&mut third.send_async("polled")).expect("it never waits").unwrap();
        assert_eq!(raw.read_frame(), b"\x80\0\0\x04polled");
        assert_eq!(received(&third), 5);
        drop(third);
        assert_eq!(received(&other), 6);
        conserved(|| rep.stats());
    }
}

/// C206.
#[test]
fn try_recv_with_nothing_there_would_block() {
    fn check<R: ListedConversant>() {
        let context = Context::new(&Socket::<R>::new());
        R::begin(&context);
        assert_eq!(context.try_recv(), Err(RecvError::WouldBlock), "{}", R::NAME);
    }
    one_by_one(every_conversant!(check));
}

/// C207.
#[test]
fn waiting_contexts_are_served_in_the_order_of_arrival() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let answering = [(); 3].map(|()| rep.context());
        let mut waiting = answering.each_ref().map(|context| Box::pin(context.recv_async()));
        for task in &mut waiting {
            assert!(kit::poll_once(task).is_none());
        }
        let asking = [(); 3].map(|()| req.context());
        for (number, context) in asking.iter().enumerate() {
            context.send(format!("{number}")).unwrap();
        }
        for (number, (task, context)) in waiting.into_iter().zip(&answering).enumerate() {
            assert_eq!(kit::block_on(task).unwrap(), format!("{number}"));
            context.send(format!("{number}")).unwrap();
        }
        for (number, context) in asking.iter().enumerate() {
            assert_eq!(context.recv_timeout(SOON).unwrap(), format!("{number}"));
        }
        conserved(|| rep.stats());
    }
}

/// A future that outlives its context must not receive for the one that has its number now.
#[test]
fn the_future_of_a_dropped_context_is_closed() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let first = req.context();
        first.send("first").unwrap();
        let mut polled = Box::pin(first.recv_async());
        assert!(kit::poll_once(&mut polled).is_none());
        drop(first);
        let second = req.context();
        let unpolled = second.recv_async();
        second.send("second").unwrap();
        drop(second);
        let third = req.context();
        third.send("third").unwrap();
        let server = echo(&rep);
        assert_eq!(kit::block_on(polled), Err(RecvError::Closed));
        assert_eq!(kit::block_on(unpolled), Err(RecvError::Closed));
        assert_eq!(third.recv_timeout(SOON).unwrap(), "third");
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
    }
}

/// As above, for those who answer: a request must not go to a context that is gone.
#[test]
fn the_future_of_a_dropped_answering_context_takes_no_request() {
    let (req, rep) = (Req::new(), Rep::new());
    let _joined = join!(rep, req, Transport::Inproc);
    let (gone, stays) = (rep.context(), rep.context());
    let mut of_gone = Box::pin(gone.recv_async());
    assert!(kit::poll_once(&mut of_gone).is_none());
    drop(gone);
    let asking = req.context();
    asking.send("q").unwrap();
    assert_eq!(kit::block_on(of_gone), Err(RecvError::Closed));
    assert_eq!(stays.recv_timeout(SOON).unwrap(), "q");
}

/// A context that was closed has no say in what has its number now.
#[test]
fn a_closed_context_changes_no_intervals() {
    let req = Req::with_options(Options::new().resend_interval(None)).unwrap();
    let address = Transport::Tcp.address();
    let endpoint = req.bind(&address.url).unwrap();
    let mut raw = Raw::greet(&endpoint.url(), REP, REQ);
    let closed = req.context();
    closed.close().unwrap();
    let open = req.context();
    closed.set_resend_interval(Duration::from_millis(5)).unwrap();
    open.send("once").unwrap();
    raw.read_frame();
    kit::timed_out(open.recv_timeout(kit::QUIET));
    assert_eq!(req.stats().resends, 0);
}

/// Close comes between the look and the sleep of a receive, now and then.
#[test]
fn a_context_that_is_closed_while_it_begins_to_wait_hears_of_it() {
    const ROUNDS: usize = 10_000;
    let rep = Rep::new();
    let contexts: Vec<_> = (0..ROUNDS).map(|_| rep.context()).collect();
    let (barrier, slept_on) = (Barrier::new(2), AtomicBool::new(false));
    // Both stop at the first failure; a thread that panicked would leave the other at the barrier.
    let begins = || {
        barrier.wait();
        !slept_on.load(Ordering::SeqCst)
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            for context in contexts.iter().take_while(|_| begins()) {
                let begin = Instant::now();
                // Says so at its timeout too, if it was not woken before.
                assert_eq!(context.recv_timeout(SOON), Err(RecvError::Closed));
                slept_on.store(begin.elapsed() >= SOON, Ordering::SeqCst);
            }
        });
        for (round, context) in contexts.iter().enumerate().take_while(|_| begins()) {
            (0..round % 50).for_each(|_| std::hint::spin_loop());
            context.close().unwrap();
        }
    });
    assert!(!slept_on.into_inner());
}

/// A task that says when it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Ten calls wait on a context, then something happens that ends them all. Each is looked at only
/// when it was woken.
fn ends_all_calls<R: Converses>(
    context: Context<R>,
    happens: impl FnOnce(Context<R>),
    ends: RecvError,
) {
    let mut tasks: Vec<_> = (0..10)
        .map(|_| {
            let woken = Arc::new(Woken::default());
            (Box::pin(context.recv_async()), Arc::clone(&woken), Waker::from(woken))
        })
        .collect();
    for (task, _, waker) in &mut tasks {
        let polled = task.as_mut().poll(&mut std::task::Context::from_waker(waker));
        assert!(polled.is_pending());
    }
    happens(context);
    while !tasks.is_empty() {
        let before = tasks.len();
        tasks.retain_mut(|(task, woken, waker)| {
            if !woken.0.swap(false, Ordering::SeqCst) {
                return true;
            }
            let polled = task.as_mut().poll(&mut std::task::Context::from_waker(waker));
            assert_eq!(polled, Poll::Ready(Err(ends.clone())));
            false
        });
        assert_ne!(tasks.len(), before, "nobody wakes the others");
    }
}

/// A wake that is passed on from call to call must not end at a context that has the number now.
#[test]
fn closing_a_context_ends_all_its_calls_though_its_number_is_taken_at_once() {
    fn check<R: ListedConversant>(socket: &Socket<R>) {
        let context = Context::new(socket);
        R::begin(&context);
        let mut successor = None;
        let happens = |context: Context<R>| {
            context.close().unwrap();
            R::begin(successor.insert(Context::new(socket)));
        };
        ends_all_calls(context, happens, RecvError::Closed);
    }
    // The others have one call at a time.
    check(&Sub::new());
    check(&Surveyor::new());
}

/// C171, with many.
#[test]
fn a_new_survey_cancels_all_calls_that_wait_for_the_old_one() {
    let surveyor = Surveyor::new();
    let context = surveyor.context();
    role::Surveyor::begin(&context);
    let mut kept = None;
    let happens = |context: sinew::SurveyorContext| {
        context.send("and now?").unwrap();
        kept = Some(context);
    };
    ends_all_calls(context, happens, RecvError::Canceled);
}

/// C201, C202.
#[test]
fn each_context_gets_what_it_has_subscribed_to() {
    for transport in Transport::ALL {
        let (publisher, subscriber) = (Pub::new(), Sub::new());
        subscriber.subscribe("of the socket").unwrap();
        let contexts = [["even", "both"], ["odd", "both"]].map(|topics| {
            let context = subscriber.context();
            topics.iter().for_each(|topic| context.subscribe(topic).unwrap());
            context
        });
        let idle = subscriber.context();
        let _joined = join!(publisher, subscriber, transport);
        let topics = ["even", "odd"];
        (0..100).for_each(|n| publisher.send(format!("{}/{n}", topics[n % 2])).unwrap());
        publisher.send("both").unwrap();
        publisher.send("of the socket").unwrap();
        for (parity, context) in contexts.iter().enumerate() {
            for n in (parity..100).step_by(2) {
                let expected = format!("{}/{n}", topics[parity]);
                assert_eq!(context.recv_timeout(SOON).unwrap(), expected, "{transport:?}");
            }
            assert_eq!(context.recv_timeout(SOON).unwrap(), "both");
        }
        assert_eq!(subscriber.recv_timeout(SOON).unwrap(), "of the socket");
        for context in contexts.iter().chain([&idle]) {
            assert_eq!(context.try_recv(), Err(RecvError::WouldBlock));
        }
        assert_eq!(subscriber.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(subscriber.stats().messages_received, 103);
        conserved(|| subscriber.stats());
    }
}

const MANY: usize = 10_000;

/// Semantics 12: thousands of contexts per socket. Here for those that ask one peer.
#[test]
fn ten_thousand_requests_are_outstanding_and_answered() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let _joined = join!(rep, req, transport);
        let contexts: Vec<_> = (0..kit::rounds(10_000)).map(|_| req.context()).collect();
        for (n, context) in contexts.iter().enumerate() {
            context.send(n.to_string()).unwrap();
        }
        // Only now, so that all are outstanding at once.
        let server = echo(&rep);
        for (n, context) in contexts.iter().enumerate().rev() {
            assert_eq!(context.recv_timeout(SOON).unwrap(), n.to_string());
        }
        rep.close().unwrap();
        server.join().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    }
}

/// Semantics 12: for those that answer, who are served in the order of arrival.
#[test]
fn of_ten_thousand_answering_contexts_each_question_goes_to_one() {
    fn check<R: ListedConversant>(
        socket: &Socket<R>,
        answer: fn(&Context<R>, &str),
        mut ask: impl FnMut(&str) -> Box<dyn Fn() -> sinew::Message>,
    ) {
        let contexts: Vec<_> = (0..MANY).map(|_| Context::new(socket)).collect();
        let mut waiting: Vec<_> =
            contexts.iter().map(|context| Box::pin(context.recv_async())).collect();
        for task in &mut waiting {
            assert!(kit::poll_once(task).is_none());
        }
        // The last to come is served as well as the first.
        let (some, others) = (100, waiting.split_off(100));
        for (n, (context, task)) in contexts.iter().zip(waiting).enumerate() {
            let answered = ask(&n.to_string());
            assert_eq!(kit::block_on(task).unwrap(), n.to_string(), "{}", R::NAME);
            answer(context, &n.to_string());
            assert_eq!(answered(), n.to_string());
        }
        let mut others = others;
        let last = others.pop().unwrap();
        drop(others);
        let answered = ask("last");
        assert_eq!(kit::block_on(last).unwrap(), "last");
        answer(contexts.last().unwrap(), "answer");
        assert_eq!(answered(), "answer");
        assert_eq!(socket.stats().messages_received, some + 1);
        conserved(|| socket.stats());
    }
    let (req, rep) = (Req::new(), Rep::new());
    let _joined = join!(rep, req, Transport::Inproc);
    check(
        &rep,
        |context, text| context.send(text.to_owned()).unwrap(),
        |text| {
            let context = req.context();
            context.send(text.to_owned()).unwrap();
            Box::new(move || context.recv_timeout(SOON).unwrap())
        },
    );
    let options = Options::new().survey_deadline(6 * SOON);
    let (surveyor, respondent) = (Surveyor::with_options(options).unwrap(), Respondent::new());
    let _joined = join!(surveyor, respondent, Transport::Inproc);
    check(
        &respondent,
        |context, text| context.send(text.to_owned()).unwrap(),
        |text| {
            let survey = surveyor.survey(text.to_owned()).unwrap();
            Box::new(move || survey.recv_timeout(SOON).unwrap())
        },
    );
}

/// Semantics 12: for those that are told.
#[test]
fn ten_thousand_subscribing_contexts_have_a_topic_each() {
    let (publisher, subscriber) = (Pub::new(), Sub::new());
    let contexts: Vec<_> = (0..MANY).map(|_| subscriber.context()).collect();
    for (n, context) in contexts.iter().enumerate() {
        context.subscribe(format!("{n}/")).unwrap();
        context.subscribe("all").unwrap();
    }
    let _joined = join!(publisher, subscriber, Transport::Inproc);
    let own: Vec<usize> = (0..MANY).step_by(MANY / 100).collect();
    own.iter().for_each(|n| publisher.send(format!("{n}/")).unwrap());
    publisher.send("all").unwrap();
    arrived(|| subscriber.stats(), own.len() as u64 + 1);
    for n in &own {
        assert_eq!(contexts[*n].recv_timeout(SOON).unwrap(), format!("{n}/"));
    }
    for context in &contexts {
        assert_eq!(context.recv_timeout(SOON).unwrap(), "all");
        assert_eq!(context.try_recv(), Err(RecvError::WouldBlock));
    }
    conserved(|| subscriber.stats());
}

/// Semantics 12: for those that ask everyone. All are open before the first is answered.
#[test]
fn ten_thousand_surveys_run_at_once() {
    let options = Options::new().survey_deadline(6 * SOON).recv_queue(8192);
    let surveyor = Surveyor::with_options(options).unwrap();
    // Each survey in hand keeps a place for its answer: in the process in one of the two queues.
    let respondent = Respondent::with_options(Options::new().send_queue(8192)).unwrap();
    let _joined = join!(surveyor, respondent, Transport::Inproc);
    let surveys: Vec<_> = (0..MANY)
        .map(|n| {
            // One after the other: a survey for which there is no room is dropped.
            let survey = surveyor.survey(n.to_string()).unwrap();
            (survey, respondent.recv_timeout(SOON).unwrap())
        })
        .collect();
    for (n, (survey, question)) in surveys.into_iter().enumerate().rev() {
        let answer = question.message().clone();
        question.reply(answer).unwrap();
        assert_eq!(survey.recv_timeout(SOON).unwrap(), n.to_string());
    }
    conserved(|| surveyor.stats());
    conserved(|| respondent.stats());
}
