//! Readiness: descriptors for the program's event loops, and pollers. A socket is ready exactly while the
//! call would not have to wait.

#![cfg(target_os = "linux")]

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use kit::{QUIET, Raw, SOON, Transport, arrived, conserved, eventually, join, rounds};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sinew::{
    Bus, DropReason, KeyInUse, NoSuchKey, Options, Pair, Pair1, Poller, PolyPair1, Pub, Pull, Push,
    Readiness, RecvError, Rep, Req, Respondent, Runtime, SendError, Sub, Surveyor, raw,
};

/// What poll(2) says of the descriptor, after `timeout` at most.
fn polled(readiness: &Readiness, timeout: Duration) -> bool {
    let timeout = PollTimeout::try_from(timeout).expect("it is short");
    let mut fds = [PollFd::new(readiness.as_fd(), PollFlags::POLLIN)];
    poll(&mut fds, timeout).expect("the descriptor is open");
    fds[0].any().expect("no flags but those that we know")
}

fn is_ready(readiness: &Readiness) -> bool {
    polled(readiness, Duration::ZERO)
}

/// Becomes ready, and stays so however often it is polled.
#[track_caller]
fn becomes_ready(readiness: &Readiness) {
    assert!(polled(readiness, SOON), "it never became ready");
    assert!(is_ready(readiness) && readiness.is_ready());
}

#[track_caller]
fn becomes_unready(readiness: &Readiness) {
    eventually("it is no longer ready", || !is_ready(readiness));
    assert!(!readiness.is_ready());
}

/// C329.
#[test]
fn a_pair_is_readable_while_a_message_waits() {
    for transport in Transport::ALL {
        let (left, right) = (Pair::new(), Pair::new());
        let (can_recv, can_send) = (left.recv_readiness().unwrap(), left.send_readiness().unwrap());
        assert!(!is_ready(&can_recv) && !is_ready(&can_send), "nobody is there");
        let _joined = join!(left, right, transport);
        becomes_ready(&can_send);
        assert!(!is_ready(&can_recv));
        right.send("one").unwrap();
        right.send("two").unwrap();
        becomes_ready(&can_recv);
        assert_eq!(left.recv().unwrap(), "one");
        becomes_ready(&can_recv);
        assert_eq!(left.recv().unwrap(), "two");
        assert!(!is_ready(&can_recv), "at once, over {transport:?}");
        assert_eq!(left.try_recv(), Err(RecvError::WouldBlock));
        right.close().unwrap();
        becomes_unready(&can_send);
        conserved(|| left.stats());
    }
}

/// C330.
#[test]
fn a_push_is_writable_while_somebody_has_room() {
    for transport in Transport::ALL {
        let options = Options::new().send_queue(2).recv_queue(1).recv_queue_bytes(64);
        let push = Push::with_options(options.clone().send_queue_bytes(64)).unwrap();
        let pull = Pull::with_options(options).unwrap();
        let can_send = push.send_readiness().unwrap();
        assert!(!is_ready(&can_send), "nobody is there");
        let _joined = join!(push, pull, transport);
        becomes_ready(&can_send);
        let big = sinew::Message::from(vec![0; 100_000]);
        // Until nothing moves any more, however much the kernel takes.
        let mut sent = 0;
        while push.send_timeout(&big, QUIET).is_ok() {
            sent += 1;
        }
        assert!(!is_ready(&can_send), "it is full, over {transport:?}");
        assert!(matches!(push.try_send(&big), Err(SendError::WouldBlock(_))));
        for _ in 0..sent {
            pull.recv_timeout(SOON).unwrap();
        }
        becomes_ready(&can_send);
        push.try_send("there is room").unwrap();
        conserved(|| push.stats());
    }
}

/// What fills the queue is not writable any more when its send returns.
#[test]
fn a_send_that_takes_the_last_room_says_so() {
    let push = Push::with_options(Options::new().send_queue(2)).unwrap();
    let pull = Pull::with_options(Options::new().recv_queue(1)).unwrap();
    let can_send = push.send_readiness().unwrap();
    let _joined = join!(push, pull, Transport::Inproc);
    let mut sent = 0;
    while is_ready(&can_send) {
        push.try_send("x").unwrap();
        sent += 1;
    }
    assert!(sent > 0 && matches!(push.try_send("x"), Err(SendError::WouldBlock(_))));
    // A full queue has room again when it is half empty, as for a send that waits.
    (0..sent).for_each(|_| _ = pull.recv().unwrap());
    becomes_ready(&can_send);
}

/// C331.
#[test]
fn who_receives_is_readable_only_while_a_message_waits() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _pipeline = join!(push, pull, transport);
        let can_recv = pull.recv_readiness().unwrap();
        assert!(!is_ready(&can_recv));
        push.send("work").unwrap();
        becomes_ready(&can_recv);
        pull.recv().unwrap();
        assert!(!is_ready(&can_recv));

        let (left, right) = (Bus::new(), Bus::new());
        let _bus = join!(left, right, transport);
        let can_recv = left.recv_readiness().unwrap();
        left.send("not for the sender").unwrap();
        right.recv().unwrap();
        assert!(!is_ready(&can_recv));
        right.send("news").unwrap();
        becomes_ready(&can_recv);
        left.recv().unwrap();
        assert!(!is_ready(&can_recv));
        assert!(is_ready(&left.send_readiness().unwrap()), "a BUS never waits");
    }
}

/// C331: only what matches.
#[test]
fn a_sub_is_readable_only_while_a_message_waits_that_it_wants() {
    for transport in Transport::ALL {
        let (publisher, sub) = (Pub::new(), Sub::new());
        let context = sub.context();
        sub.subscribe("a").unwrap();
        context.subscribe("b").unwrap();
        let (own, other) = (sub.recv_readiness().unwrap(), context.recv_readiness().unwrap());
        let _joined = join!(publisher, sub, transport);
        assert!(is_ready(&publisher.send_readiness().unwrap()), "a PUB never waits");
        publisher.send("c").unwrap();
        publisher.send("b").unwrap();
        becomes_ready(&other);
        assert!(!is_ready(&own), "what went before was for nobody");
        publisher.send("a").unwrap();
        becomes_ready(&own);
        sub.recv().unwrap();
        assert!(!is_ready(&own) && is_ready(&other));
        context.unsubscribe("b").unwrap();
        assert!(!is_ready(&other), "it is not wanted any more");
        conserved(|| sub.stats());
    }
}

/// What one context is looked for may bring another its message: of a long burst that nobody wants, only
/// a part is looked through each time.
#[test]
fn a_message_that_is_found_for_another_context_is_shown() {
    for unwanted in (0..12_000).step_by(1_500) {
        let options = Options::new().recv_queue(8192);
        let publisher = Pub::with_options(options.clone().send_queue(8192)).unwrap();
        let bursting = publisher.clone();
        let burst = move |_: &sinew::Peer| {
            // The publisher knows the pipe already, and the SUB does not yet: it finds all at once.
            (0..unwanted).for_each(|_| bursting.send("unwanted").unwrap());
            bursting.send("a").unwrap();
            true
        };
        let sub = Sub::with_options(options.admit(burst)).unwrap();
        let contexts = ["a", "b"].map(|topic| {
            let context = sub.context();
            context.subscribe(topic).unwrap();
            context
        });
        let [one, other] = contexts.each_ref().map(|context| context.recv_readiness().unwrap());
        let address = Transport::Inproc.address();
        publisher.bind(&address.url).unwrap();
        sub.connect(&address.url).unwrap();
        becomes_ready(&one);
        assert!(!is_ready(&other));
        assert_eq!(contexts[0].try_recv().unwrap(), "a");
        assert!(!is_ready(&one));
        conserved(|| sub.stats());
    }
}

/// C099.
#[test]
fn a_req_is_always_writable_and_readable_when_a_reply_is_there() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let (context, other) = (req.context(), req.context());
        let (can_recv, can_send) =
            (context.recv_readiness().unwrap(), context.send_readiness().unwrap());
        let others = other.recv_readiness().unwrap();
        assert!(is_ready(&can_send) && !is_ready(&can_recv), "nothing asked");
        context.send("q").unwrap();
        assert!(is_ready(&can_send) && !is_ready(&can_recv), "nobody is there");
        let _joined = join!(rep, req, transport);
        rep.recv().unwrap().reply("a").unwrap();
        becomes_ready(&can_recv);
        assert!(is_ready(&can_send) && !is_ready(&others), "each has its own");
        assert_eq!(context.try_recv().unwrap(), "a");
        assert!(!is_ready(&can_recv));

        context.send("q").unwrap();
        rep.recv().unwrap().reply("a").unwrap();
        becomes_ready(&can_recv);
        context.send("takes its place").unwrap();
        assert!(!is_ready(&can_recv));
        context.close().unwrap();
        assert!(is_ready(&can_recv) && is_ready(&can_send), "its calls fail at once");
        assert!(!is_ready(&others));
    }
}

/// C100.
#[test]
fn a_rep_is_readable_with_a_request_waiting_and_writable_with_one_in_hand() {
    for transport in Transport::ALL {
        let (req, rep) = (Req::new(), Rep::new());
        let (asking, context) = (req.context(), rep.context());
        let (can_recv, can_send) =
            (context.recv_readiness().unwrap(), context.send_readiness().unwrap());
        let socket = rep.recv_readiness().unwrap();
        let _joined = join!(rep, req, transport);
        assert!(!is_ready(&can_recv) && !is_ready(&can_send) && !is_ready(&socket));
        asking.send("q").unwrap();
        becomes_ready(&can_recv);
        becomes_ready(&socket);
        assert!(!is_ready(&can_send));
        assert_eq!(context.try_recv().unwrap(), "q");
        assert!(!is_ready(&can_recv) && !is_ready(&socket) && is_ready(&can_send));
        context.send("a").unwrap();
        assert!(!is_ready(&can_send));
        assert_eq!(asking.recv().unwrap(), "a");
    }
}

/// What a receive would drop does not make a socket readable.
#[test]
fn what_cannot_be_received_makes_nobody_readable() {
    let rep = Rep::new();
    let can_recv = rep.recv_readiness().unwrap();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let mut peer = Raw::greet(&endpoint.url(), 0x30, 0x31);
    peer.send_frame(b"abc");
    peer.send_frame(&[[0, 0, 0, 1]; 9].concat());
    eventually("both are dropped, though nobody receives", || {
        let stats = rep.stats();
        stats.drops(DropReason::Malformed) == 1 && stats.drops(DropReason::TtlExceeded) == 1
    });
    assert!(!is_ready(&can_recv));
    peer.send_frame(b"xyz");
    peer.send_frame(b"\x80\0\0\x01good");
    becomes_ready(&can_recv);
    assert_eq!(rep.try_recv().unwrap().message(), &"good");
    assert!(!is_ready(&can_recv));
    conserved(|| rep.stats());

    let (poly, one) = (PolyPair1::new(), Pair1::with_options(Options::new().ttl(1)).unwrap());
    for (id, url, can_recv, stats) in [
        {
            let endpoint = poly.bind("tcp://127.0.0.1:0").unwrap();
            let stats: Box<dyn Fn() -> sinew::Stats> = Box::new(|| poly.stats());
            (0x11, endpoint.url(), poly.recv_readiness().unwrap(), stats)
        },
        {
            let endpoint = one.bind("tcp://127.0.0.1:0").unwrap();
            let stats: Box<dyn Fn() -> sinew::Stats> = Box::new(|| one.stats());
            (0x11, endpoint.url(), one.recv_readiness().unwrap(), stats)
        },
    ] {
        let mut peer = Raw::greet(&url, id, id);
        peer.send_frame(b"abc");
        eventually("it is dropped", || stats().drops(DropReason::Malformed) == 1);
        assert!(!is_ready(&can_recv));
        peer.send_frame(b"\0\0\0\x01good");
        becomes_ready(&can_recv);
        conserved(stats);
    }
}

/// C332.
#[test]
fn who_polls_is_woken_by_another_thread() {
    let (sender, receiver) = (Pair::new(), Pair::new());
    let _joined = join!(sender, receiver, Transport::Inproc);
    let can_recv = receiver.recv_readiness().unwrap();
    let polling = thread::spawn(move || (polled(&can_recv, SOON), can_recv));
    sender.send("x").unwrap();
    let (woken, can_recv) = polling.join().unwrap();
    assert!(woken && is_ready(&can_recv));

    let polling = thread::spawn({
        let can_send = Pair::new();
        let waiting = can_send.send_readiness().unwrap();
        let closing = can_send.clone();
        thread::spawn(move || closing.close());
        move || polled(&waiting, SOON)
    });
    assert!(polling.join().unwrap(), "close wakes as well");
}

/// C333.
#[test]
fn a_surveyor_is_readable_when_its_survey_ends() {
    let surveyor = Surveyor::with_options(Options::new().survey_deadline(QUIET)).unwrap();
    let respondent = Respondent::new();
    let _joined = join!(surveyor, respondent, Transport::Tcp);
    let context = surveyor.context();
    let (can_recv, can_send) =
        (context.recv_readiness().unwrap(), context.send_readiness().unwrap());
    assert!(!is_ready(&can_recv) && is_ready(&can_send));
    context.send("q").unwrap();
    respondent.recv().unwrap().reply("a").unwrap();
    becomes_ready(&can_recv);
    assert_eq!(context.recv().unwrap(), "a");
    becomes_ready(&can_recv);
    kit::timed_out(context.try_recv());
    assert!(!is_ready(&can_recv), "it was told");

    let survey = surveyor.survey("q").unwrap();
    let can_recv = survey.recv_readiness().unwrap();
    respondent.recv().unwrap().reply("a").unwrap();
    becomes_ready(&can_recv);
    assert_eq!(survey.try_recv().unwrap(), "a");
    becomes_ready(&can_recv);
    kit::timed_out(survey.try_recv());
    assert!(is_ready(&can_recv), "it stays over");
}

#[test]
fn raw_sockets_are_ready_like_others() {
    let (req, rep) = (raw::Req::new(), raw::Rep::new());
    let can_ask = req.send_readiness().unwrap();
    assert!(!is_ready(&can_ask), "nobody is there");
    assert!(is_ready(&rep.send_readiness().unwrap()), "it never waits");
    let _joined = join!(rep, req, Transport::Tcp);
    let (asked, answered) = (rep.recv_readiness().unwrap(), req.recv_readiness().unwrap());
    becomes_ready(&can_ask);
    let header = sinew::Message::from("q").with_header(b"\x80\0\0\x01".to_vec());
    req.send(header).unwrap();
    becomes_ready(&asked);
    let request = rep.recv().unwrap();
    assert!(!is_ready(&asked));
    rep.send(sinew::Message::from("a").with_header(request.header().clone())).unwrap();
    becomes_ready(&answered);
    req.recv().unwrap();
    assert!(!is_ready(&answered));
}

#[test]
fn a_closed_socket_is_ready_for_everything() {
    let pair = Pair::new();
    let before = pair.recv_readiness().unwrap();
    pair.close().unwrap();
    assert!(is_ready(&before));
    assert!(is_ready(&pair.recv_readiness().unwrap()) && is_ready(&pair.send_readiness().unwrap()));
    assert_eq!(pair.try_recv(), Err(RecvError::Closed));
    // Nor is it kept open by who only watches.
    let pair = Pair::new();
    let readiness = pair.send_readiness().unwrap();
    drop(pair);
    assert!(is_ready(&readiness));
}

/// Threads receive whenever the descriptor says so. Each message is received, and no thread is left
/// polling while one waits.
#[test]
fn several_threads_that_poll_receive_everything() {
    let messages = rounds(20_000);
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(push, pull, transport);
        let can_recv = Arc::new(pull.recv_readiness().unwrap());
        let received = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while received.load(Ordering::SeqCst) < messages {
                        if polled(&can_recv, QUIET) && pull.try_recv().is_ok() {
                            received.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                });
            }
            for n in 0..messages {
                push.send_timeout(n.to_be_bytes().to_vec(), SOON).unwrap();
                if n % 64 == 0 {
                    // Let it run empty: that is where readiness could get lost.
                    eventually("all are received", || received.load(Ordering::SeqCst) == n + 1);
                }
            }
        });
        assert!(!is_ready(&can_recv));
        conserved(|| pull.stats());
    }
}

/// One message at a time: the descriptor says yes each time, and no as soon as it was received.
#[test]
fn readiness_is_exact_for_one_thread() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(push, pull, transport);
        let can_recv = pull.recv_readiness().unwrap();
        for _ in 0..rounds(3_000) {
            push.send("x").unwrap();
            becomes_ready(&can_recv);
            pull.try_recv().unwrap();
            assert!(!is_ready(&can_recv));
        }
        conserved(|| pull.stats());
    }
}

/// A blocking call and a descriptor on one socket do not get in each other's way.
#[test]
fn watching_does_not_disturb_who_waits() {
    for transport in Transport::ALL {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(push, pull, transport);
        let can_recv = pull.recv_readiness().unwrap();
        thread::scope(|scope| {
            let receiving = scope.spawn(|| {
                (0..rounds(2_000)).for_each(|_| _ = pull.recv_timeout(SOON).unwrap());
            });
            for _ in 0..rounds(2_000) {
                push.send("x").unwrap();
            }
            receiving.join().unwrap();
        });
        assert!(!is_ready(&can_recv));
        drop(can_recv);
        push.send("still works").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "still works");
    }
}

/// The descriptor is made when it is asked for, and closed when it is dropped.
#[test]
fn a_dropped_readiness_gives_its_descriptor_back() {
    let pair = Pair::new();
    let number = std::os::fd::AsRawFd::as_raw_fd(&pair.recv_readiness().unwrap());
    let link = format!("/proc/self/fd/{number}");
    // Another test's thread may have the number by now, for something that is no eventfd.
    eventually("it is closed", || {
        std::fs::read_link(&link).map_or(true, |to| !to.to_string_lossy().contains("eventfd"))
    });
}

#[test]
fn a_poller_waits_for_many_sockets() {
    let poller = Poller::new();
    let pulls: Vec<Pull> = (0..100).map(|_| Pull::new()).collect();
    let addresses: Vec<_> = pulls.iter().map(|_| Transport::Inproc.address()).collect();
    let pushes: Vec<Push> = (0..100).map(|_| Push::new()).collect();
    for (n, pull) in pulls.iter().enumerate() {
        poller.add_recv(n, pull).unwrap();
        pull.bind(&addresses[n].url).unwrap();
        pushes[n].connect(&addresses[n].url).unwrap();
    }
    assert!(poller.wait(Duration::ZERO).is_empty());
    for n in [3, 50, 97] {
        pushes[n].send("x").unwrap();
        arrived(|| pulls[n].stats(), 1);
    }
    eventually("all three are there", || poller.wait(SOON) == [3, 50, 97]);
    pulls[50].try_recv().unwrap();
    assert_eq!(poller.wait(SOON), [3, 97]);
    poller.remove(&3).unwrap();
    assert_eq!(poller.wait(SOON), [97]);
    assert_eq!(poller.remove(&3), Err(NoSuchKey(3)));
    assert_eq!(poller.add_recv(97, &pulls[0]), Err(KeyInUse(97)));
    pulls[97].try_recv().unwrap();
    assert!(poller.wait(Duration::ZERO).is_empty());
    pulls[4].close().unwrap();
    assert_eq!(poller.wait(None), [4]);
}

/// C332 for a poller, and both directions of one socket.
#[test]
fn a_poller_is_woken_by_another_thread() {
    let poller = Poller::new();
    let (left, right) = (Pair::new(), Pair::new());
    poller.add_recv("recv", &left).unwrap();
    poller.add_send("send", &left).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| poller.wait(SOON));
        let address = Transport::Tcp.address();
        let endpoint = left.bind(&address.url).unwrap();
        right.connect(endpoint.url()).unwrap();
        assert_eq!(waiting.join().unwrap(), ["send"]);
    });
    poller.remove(&"send").unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| poller.wait(SOON));
        right.send("x").unwrap();
        assert_eq!(waiting.join().unwrap(), ["recv"]);
    });
}

/// Sockets come and go while threads wait and messages arrive.
#[test]
fn a_poller_loses_nothing_while_sockets_come_and_go() {
    let poller = Poller::new();
    let (push, pull) = (Push::new(), Pull::new());
    let _joined = join!(push, pull, Transport::Inproc);
    poller.add_recv(0, &pull).unwrap();
    let done = AtomicBool::new(false);
    let messages = rounds(10_000);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let other = Pull::new();
                poller.add_recv(1, &other).unwrap();
                other.close().unwrap();
                poller.remove(&1).unwrap();
                assert_eq!(poller.remove(&1), Err(NoSuchKey(1)));
            }
        });
        scope.spawn(|| (0..messages).for_each(|_| push.send_timeout("x", SOON).unwrap()));
        let _done = kit::SetOnDrop(&done);
        let mut received = 0;
        while received < messages {
            if poller.wait(SOON).contains(&0) {
                while pull.try_recv().is_ok() {
                    received += 1;
                }
            }
        }
    });
    assert!(poller.wait(Duration::ZERO).is_empty());
    conserved(|| pull.stats());
}

/// A descriptor and a poller that watch one thing.
struct Watched {
    readiness: Readiness,
    poller: Poller<()>,
}

impl Watched {
    fn to_recv(socket: &impl sinew::PollRecv, readiness: Readiness) -> Self {
        let poller = Poller::new();
        poller.add_recv((), socket).unwrap();
        Self { readiness, poller }
    }

    /// What both say, without waiting.
    #[track_caller]
    fn says(&self, ready: bool) {
        assert_eq!(is_ready(&self.readiness), ready, "the descriptor");
        assert_eq!(!self.poller.wait(Duration::ZERO).is_empty(), ready, "the poller");
    }
}

/// What a thread has sent inside the process it finds shown when its send returns: no other thread
/// has to do anything before. It used to lag in four of a hundred sends.
///
/// C425.
#[test]
fn inproc_readiness_is_never_behind_what_the_same_thread_has_sent() {
    let (push, pull) = (Push::new(), Pull::new());
    let (publisher, sub) = (Pub::new(), Sub::new());
    let (req, rep) = (Req::new(), Rep::new());
    sub.subscribe("yes").unwrap();
    let _pipeline = join!(push, pull, Transport::Inproc);
    let _news = join!(publisher, sub, Transport::Inproc);
    let _requests = join!(rep, req, Transport::Inproc);
    let asking = req.context();
    let jobs = Watched::to_recv(&pull, pull.recv_readiness().unwrap());
    let news = Watched::to_recv(&sub, sub.recv_readiness().unwrap());
    let requests = Watched::to_recv(&rep, rep.recv_readiness().unwrap());
    let replies = Watched::to_recv(&asking, asking.recv_readiness().unwrap());
    for _ in 0..rounds(10_000) {
        push.send("job").unwrap();
        jobs.says(true);
        assert_eq!(pull.try_recv().unwrap(), "job");
        jobs.says(false);

        publisher.send("no").unwrap();
        news.says(false);
        publisher.send("yes").unwrap();
        news.says(true);
        assert_eq!(sub.try_recv().unwrap(), "yes");
        news.says(false);

        asking.send("?").unwrap();
        requests.says(true);
        let request = rep.try_recv().unwrap();
        requests.says(false);
        replies.says(false);
        request.reply("!").unwrap();
        replies.says(true);
        assert_eq!(asking.try_recv().unwrap(), "!");
        replies.says(false);
    }
    conserved(|| pull.stats());
    conserved(|| sub.stats());
}

/// The same for room: what the thread has received makes it.
///
/// C425.
#[test]
fn inproc_room_is_shown_when_the_receive_returns_that_makes_it() {
    let push = Push::with_options(Options::new().send_queue(1)).unwrap();
    let pull = Pull::with_options(Options::new().recv_queue(1)).unwrap();
    let _joined = join!(push, pull, Transport::Inproc);
    let can_send = push.send_readiness().unwrap();
    for _ in 0..rounds(1_000) {
        let mut sent = 0;
        while is_ready(&can_send) {
            push.try_send("x").unwrap();
            sent += 1;
        }
        assert!(sent > 0 && push.try_send("x").is_err());
        (0..sent).for_each(|_| _ = pull.try_recv().unwrap());
        assert!(is_ready(&can_send) && can_send.is_ready());
    }
    conserved(|| pull.stats());
}

/// What is read while the same thread turns the loop is shown when it has turned.
///
/// C426.
#[test]
fn without_an_io_thread_readiness_is_never_behind_the_turn_that_brought_a_message() {
    for transport in Transport::STREAMS {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        let address = transport.address();
        let url = pull.bind(&address.url).unwrap().url();
        let sender = Push::new();
        sender.connect(&url).unwrap();
        eventually("it is connected", || {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            pull.peers().len() + sender.peers().len() == 2
        });
        let jobs = Watched::to_recv(&pull, pull.recv_readiness().unwrap());
        let end = Instant::now() + SOON;
        for _ in 0..rounds(300) {
            sender.send_timeout("job", SOON).unwrap();
            let message = loop {
                runtime.turn(Some(Duration::from_millis(1))).unwrap();
                let ready = is_ready(&jobs.readiness);
                match pull.try_recv() {
                    Ok(message) => {
                        assert!(ready, "over {transport:?}");
                        break message;
                    }
                    Err(error) => assert!(!ready && error == RecvError::WouldBlock),
                }
                assert!(Instant::now() < end, "it never came");
            };
            assert_eq!(message, "job");
            jobs.says(false);
        }
        conserved(|| pull.stats());
    }
}

/// Nobody turns the loop, and so nobody looks at the clock.
///
/// C333.
#[test]
fn who_asks_whether_a_survey_is_over_is_told_the_truth() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let surveyor = Surveyor::on(&runtime, Options::new().survey_deadline(QUIET)).unwrap();
    let context = surveyor.context();
    let can_recv = context.recv_readiness().unwrap();
    context.send("anybody?").unwrap();
    eventually("it is over", || can_recv.is_ready());
    assert!(is_ready(&can_recv), "and the descriptor says so as well");
    kit::timed_out(context.try_recv());
    assert!(!is_ready(&can_recv));
}
