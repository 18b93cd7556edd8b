//! Lives of sockets, under a randomized scheduler. Run with `ci/shuttle`.
//!
//! Each test is a life of some sockets, from `bind` and `connect` to the drop of the last handle, with several threads
//! at each. Shuttle runs it in many schedules, switching threads at locks and atomics; the clock is that of
//! `sync/scheduled.rs`. Every schedule has a runtime of its own: with an I/O thread, with two, or without one, so that
//! the threads that wait turn the loop. It ends when all of its threads have ended; if one is left asleep, shuttle reports
//! a deadlock. So whatever must happen is waited for without a time-out. Loom proves the single hand-shakes, with the
//! orderings of processors; here all of them meet, on a machine that is sequentially consistent.
//!
//! Shuttle's `scope` wakes its thread when the last of the others has ended, wherever it waits then. So here that thread
//! only starts others.
//!
//! Only inproc: no schedule waits for the system, so the poll, connections and tasks that turn a loop are left out.

use std::future::poll_fn;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, FailurePersistence, Runner};

use crate::contain::contained_panics;
use crate::sync::{AtomicBool, Ordering, clock, thread};
use crate::{
    Bus, Options, Pair, PipeEventKind, Poller, Pub, Pull, Push, RecvError, Rep, Req, RequestError,
    Respondent, Runtime, Stats, Sub, Surveyor, sys,
};

/// How many schedules of each kind a life is run in, unless `SINEW_SCHEDULES` says otherwise.
const SCHEDULES: usize = 100;
/// The stack of a thread, which grows by itself no further.
const STACK: usize = 1 << 20;
/// At most this many times a schedule switches threads; the lives here take a tenth of it.
const MOST_STEPS: usize = 1_000_000;
/// A time-out that may end at any moment, as all may.
const MOMENT: Duration = Duration::from_millis(10);
const NAME: &str = "inproc://life";

/// Where the sockets of a schedule run.
#[derive(Clone, Copy, Debug)]
enum Loop {
    /// An I/O thread, or two.
    Threads(usize),
    /// Whoever waits turns it.
    Manual,
}

impl Loop {
    const ALL: [Self; 3] = [Self::Threads(1), Self::Threads(2), Self::Manual];

    fn start(self) -> Runtime {
        let builder = Runtime::builder();
        let builder = match self {
            Self::Threads(threads) => builder.io_threads(threads),
            Self::Manual => builder.manual(true),
        };
        builder.build().expect("the system has descriptors left")
    }
}

/// Runs `life` in many schedules.
fn explore(life: impl Fn(&Runtime) + Clone + Send + Sync + 'static) {
    let schedules = std::env::var("SINEW_SCHEDULES")
        .map_or(SCHEDULES, |number| number.parse().expect("SINEW_SCHEDULES is a number"));
    for on in Loop::ALL {
        run(on, "random", RandomScheduler::new(schedules), life.clone());
        // As many changes of priority as the hand-shakes of the library have steps.
        for depth in [2, 4] {
            let name = format!("PCT of depth {depth}");
            run(on, &name, PctScheduler::new(depth, schedules / 2), life.clone());
        }
    }
}

fn run(
    on: Loop,
    scheduler_name: &str,
    scheduler: impl Scheduler + 'static,
    life: impl Fn(&Runtime) + Send + Sync + 'static,
) {
    // Statics are those of one schedule.
    static ALONE: Mutex<()> = Mutex::new(());
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    eprintln!("{on:?}, {scheduler_name}");
    let mut config = Config::new();
    config.stack_size = STACK;
    config.max_steps = shuttle::MaxSteps::FailAfter(MOST_STEPS);
    // It warns of every ordering but SeqCst; those are for loom.
    config.silence_warnings = true;
    // A schedule has thousands of steps. The seed takes its place.
    config.failure_persistence = FailurePersistence::None;
    Runner::new(scheduler, config).run(move || {
        sys::begin_schedule();
        let contained = contained_panics();
        clock::run(|| {
            let runtime = on.start();
            life(&runtime);
            // Joins its threads, since the sockets are gone.
            drop(runtime);
        });
        assert_eq!(contained_panics(), contained, "something has panicked");
    });
}

/// The figures of a socket, once the I/O thread has left it.
#[track_caller]
fn conserved(stats: impl Fn() -> Stats) -> Stats {
    loop {
        let stats = stats();
        if stats.check_conservation().is_ok() {
            return stats;
        }
        // Only the clock lets everybody else come first.
        thread::sleep(MOMENT);
    }
}

/// How many messages a socket has dropped.
fn dropped(stats: &Stats) -> u64 {
    stats.dropped().map(|(_, count)| count).sum()
}

/// All that some sockets have accepted was delivered or dropped for a reason: they are closed, and nothing is queued.
#[track_caller]
fn accounted(senders: &[Stats], receivers: &[Stats]) {
    let all = || senders.iter().chain(receivers);
    let accepted: u64 = senders.iter().map(|it| it.messages_sent).sum();
    let delivered: u64 = receivers.iter().map(|it| it.messages_received).sum();
    let dropped: u64 = all().map(dropped).sum();
    let queued: u64 = all().map(|it| it.send_queue + it.recv_queue + it.held_inbound).sum();
    assert_eq!(
        (accepted, queued),
        (delivered + dropped, 0),
        "{delivered} delivered, {dropped} dropped: {senders:#?} {receivers:#?}"
    );
}

fn options() -> Options {
    Options::new()
}

/// Everything arrives, with room for one message in each queue, so that senders wait for room and receivers for
/// messages, without a time-out.
#[test]
fn each_message_of_two_senders_reaches_one_of_two_receivers() {
    explore(|runtime| {
        const EACH: usize = 3;
        let pull = Pull::on(runtime, options().recv_queue(1)).unwrap();
        pull.bind(NAME).unwrap();
        let pushes = [1, 2].map(|_| Push::on(runtime, options().send_queue(1)).unwrap());
        thread::scope(|scope| {
            for push in &pushes {
                scope.spawn(|| {
                    push.connect(NAME).unwrap();
                    for n in 0..EACH {
                        push.send([b'0' + n as u8].as_slice()).unwrap();
                    }
                    assert_eq!(push.drain(Duration::MAX), 0);
                });
            }
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..EACH {
                        pull.recv().unwrap();
                    }
                });
            }
        });
        let (sent, received) = (pushes.each_ref().map(|it| it.stats()), conserved(|| pull.stats()));
        assert_eq!(received.messages_received, 2 * EACH as u64);
        accounted(&sent, &[received]);
    });
}

/// Of two that wait for a time, one may give up; what it was woken for goes to the other.
#[test]
fn a_receiver_that_gives_up_takes_no_message_from_another() {
    explore(|runtime| {
        let pull = Pull::on(runtime, options()).unwrap();
        pull.bind(NAME).unwrap();
        let push = Push::on(runtime, options()).unwrap();
        push.connect(NAME).unwrap();
        thread::scope(|scope| {
            let hasty = scope.spawn(|| pull.recv_timeout(MOMENT).is_ok());
            // A task that is polled, and dropped before its message comes, or after.
            scope.spawn(|| {
                let mut recv = Box::pin(pull.recv_async());
                let poll = poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx).is_ready()));
                if block_on(poll) {
                    push.send("again").unwrap();
                }
            });
            scope.spawn(|| pull.recv().unwrap());
            scope.spawn(|| {
                push.send("one").unwrap();
                if hasty.join().unwrap() {
                    push.send("two").unwrap();
                }
            });
        });
        push.close().unwrap();
        pull.close().unwrap();
        accounted(&[conserved(|| push.stats())], &[conserved(|| pull.stats())]);
    });
}

/// The task has waited longest, so it is woken, and it is never polled again: the thread that waits too gets the message.
#[test]
fn a_task_that_is_not_polled_again_keeps_no_message_from_another() {
    explore(|runtime| {
        let pull = Pull::on(runtime, options()).unwrap();
        pull.bind(NAME).unwrap();
        let push = Push::on(runtime, options()).unwrap();
        push.connect(NAME).unwrap();
        let mut recv = Box::pin(pull.recv_async());
        assert!(!block_on(poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx).is_ready()))));
        thread::scope(|scope| {
            scope.spawn(|| pull.recv().unwrap());
            scope.spawn(|| push.send("one").unwrap());
        });
        drop(recv);
        push.close().unwrap();
        pull.close().unwrap();
        accounted(&[conserved(|| push.stats())], &[conserved(|| pull.stats())]);
    });
}

/// A close from another thread ends every call that waits, and every message is accounted for.
#[test]
fn a_close_under_traffic_ends_all_calls_and_counts_all_messages() {
    explore(|runtime| {
        let pull = Pull::on(runtime, options().recv_queue(2)).unwrap();
        pull.bind(NAME).unwrap();
        let push = Push::on(runtime, options().send_queue(1)).unwrap();
        push.connect(NAME).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..4).all(|_| push.send("message").is_ok()));
                scope.spawn(|| while pull.recv().is_ok() {});
            }
            scope.spawn(|| {
                while matches!(pull.recv_timeout(MOMENT), Ok(_) | Err(RecvError::TimedOut(_))) {}
            });
            scope.spawn(|| block_on(async { while pull.recv_async().await.is_ok() {} }));
            scope.spawn(|| {
                thread::sleep(MOMENT);
                pull.close().unwrap();
                push.close().unwrap();
            });
        });
        accounted(&[conserved(|| push.stats())], &[conserved(|| pull.stats())]);
    });
}

/// The last handle goes while others use the socket's address: dropping is closing.
#[test]
fn a_socket_that_is_dropped_leaves_its_name_to_the_next() {
    explore(|runtime| {
        let push = options().send_queue(1).reconnect_interval(MOMENT);
        let push = Push::on(runtime, push).unwrap();
        push.connect(NAME).unwrap();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let first = Pull::on(runtime, options().recv_queue(1)).unwrap();
                first.bind(NAME).unwrap();
                let _ = first.recv_timeout(MOMENT);
                drop(first);
                let second = Pull::on(runtime, options().recv_queue(1)).unwrap();
                second.bind(NAME).unwrap();
                second.recv().unwrap();
                is_over.store(true, Ordering::SeqCst);
                conserved(|| second.stats());
            });
            scope.spawn(|| {
                while !is_over.load(Ordering::SeqCst) {
                    let _ = push.send_timeout("message", MOMENT);
                }
            });
        });
        push.close().unwrap();
        conserved(|| push.stats());
    });
}

/// Requests of two contexts at a server with two, which answer each other's questions in any order; copies that are
/// sent again, and replies that come too late, are counted.
#[test]
fn every_request_gets_its_own_reply() {
    explore(|runtime| {
        let rep = Rep::on(runtime, options()).unwrap();
        rep.bind(NAME).unwrap();
        let req = Req::on(runtime, options().resend_interval(Duration::from_secs(1))).unwrap();
        req.connect(NAME).unwrap();
        thread::scope(|scope| {
            let ask = |question| {
                let context = req.context();
                move || {
                    for _ in 0..2 {
                        context.send(question).unwrap();
                        assert_eq!(context.recv().unwrap(), question);
                    }
                }
            };
            let asking = ["one", "two"].map(|question| scope.spawn(ask(question)));
            for _ in 0..2 {
                scope.spawn(|| {
                    while let Ok(request) = rep.recv() {
                        let question = request.message().clone();
                        // The asker may have been asked again, and be gone.
                        let _ = request.reply(question);
                    }
                });
            }
            // A request with a time-out, which may come at any moment.
            scope.spawn(|| {
                match req.request_timeout("three", MOMENT) {
                    Ok(reply) => assert_eq!(reply, "three"),
                    Err(error) => assert!(matches!(error, RequestError::TimedOut(..)), "{error}"),
                }
                asking.into_iter().for_each(|thread| thread.join().unwrap());
                rep.close().unwrap();
            });
        });
        req.close().unwrap();
        conserved(|| req.stats());
        conserved(|| rep.stats());
    });
}

/// Replies that come before and after their threads begin to wait: while nobody waits, a REQ leaves a ring unarmed, and
/// looks there by itself. A task is given up in between.
#[test]
fn replies_that_nobody_waits_for_yet_leave_nobody_asleep() {
    explore(|runtime| {
        let rep = Rep::on(runtime, options()).unwrap();
        rep.bind(NAME).unwrap();
        let req = Req::on(runtime, options().resend_interval(None)).unwrap();
        req.connect(NAME).unwrap();
        let server = &rep;
        thread::scope(|scope| {
            scope.spawn(|| {
                while let Ok(request) = server.recv() {
                    let question = request.message().clone();
                    let _ = request.reply(question);
                }
            });
            let asking = ["one", "two"].map(|question| {
                let contexts = [req.context(), req.context()];
                scope.spawn(move || {
                    for _ in 0..3 {
                        contexts.iter().for_each(|context| context.send(question).unwrap());
                        for context in &contexts {
                            let reply = context.try_recv().or_else(|_| context.recv());
                            assert_eq!(reply.unwrap(), question);
                        }
                    }
                })
            });
            let given_up = req.context();
            scope.spawn(move || {
                given_up.send("three").unwrap();
                let mut recv = Box::pin(given_up.recv_async());
                let poll = poll_fn(|cx| Poll::Ready(recv.as_mut().poll(cx).is_ready()));
                if !block_on(poll) {
                    drop(recv);
                    assert_eq!(given_up.recv().unwrap(), "three");
                }
                asking.into_iter().for_each(|thread| thread.join().unwrap());
                server.close().unwrap();
            });
        });
        req.close().unwrap();
        let stats = conserved(|| req.stats());
        assert_eq!((stats.messages_received, dropped(&stats)), (13, 0));
        conserved(|| rep.stats());
    });
}

/// What is published after a subscription has come is received, in order, by the socket and by its contexts; and the
/// events of the publisher come to their end.
#[test]
fn subscribers_get_what_is_published_after_they_are_there() {
    explore(|runtime| {
        let publisher = Pub::on(runtime, options()).unwrap();
        publisher.bind(NAME).unwrap();
        let (events, left) = (publisher.events(), publisher.events());
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let sub = Sub::on(runtime, options()).unwrap();
                    let context = sub.context();
                    sub.subscribe("t").unwrap();
                    context.subscribe("tt").unwrap();
                    sub.connect(NAME).unwrap();
                    let reader = thread::spawn(move || {
                        let got: Vec<_> = std::iter::from_fn(|| context.recv().ok()).collect();
                        assert!(got.windows(2).all(|pair| pair[0].body() < pair[1].body()));
                        assert!(got.iter().all(|it| it.starts_with(b"tt")));
                    });
                    let mut last = sub.recv().unwrap();
                    while last != "tz" {
                        let next = sub.recv().unwrap();
                        assert!(last.body() < next.body());
                        last = next;
                    }
                    sub.close().unwrap();
                    reader.join().unwrap();
                    conserved(|| sub.stats());
                });
            }
            scope.spawn(|| {
                let attached = events.filter(|event| event.kind == PipeEventKind::Attached);
                assert_eq!(attached.count(), 2);
            });
            scope.spawn(|| {
                publisher.wait_for_peers(2, Duration::MAX).unwrap();
                for message in ["a", "t1", "tt2", "tz"] {
                    publisher.send(message).unwrap();
                }
                let left = left.filter(|event| matches!(event.kind, PipeEventKind::Detached(_)));
                left.take(2).for_each(drop);
                publisher.close().unwrap();
            });
        });
        conserved(|| publisher.stats());
    });
}

/// A survey has the answers that come before its deadline, which may come at any moment; late ones are counted.
#[test]
fn a_survey_ends_at_its_deadline_whatever_has_been_answered() {
    explore(|runtime| {
        let surveyor = Surveyor::on(runtime, options().survey_deadline(MOMENT)).unwrap();
        surveyor.bind(NAME).unwrap();
        let respondents = [1, 2].map(|_| Respondent::on(runtime, options()).unwrap());
        thread::scope(|scope| {
            for respondent in &respondents {
                scope.spawn(|| {
                    respondent.connect(NAME).unwrap();
                    while let Ok(question) = respondent.recv() {
                        let answer = question.message().clone();
                        let _ = question.reply(answer);
                    }
                });
            }
            scope.spawn(|| {
                surveyor.wait_for_peers(2, Duration::MAX).unwrap();
                for question in ["one", "two"] {
                    let survey = surveyor.survey(question).unwrap();
                    let answers: Vec<_> = std::iter::from_fn(|| survey.recv().ok()).collect();
                    assert!(answers.len() <= 2 && answers.iter().all(|answer| answer == question));
                }
                respondents.iter().for_each(|respondent| respondent.close().unwrap());
            });
        });
        surveyor.close().unwrap();
        conserved(|| surveyor.stats());
        respondents.iter().for_each(|respondent| _ = conserved(|| respondent.stats()));
    });
}

/// Both ends of a pair send and receive at once, with room for one message; when one end goes, another takes its place.
#[test]
fn a_pair_has_one_peer_after_the_other() {
    explore(|runtime| {
        let tight = || options().send_queue(1).recv_queue(1).reconnect_interval(MOMENT);
        let host = Pair::on(runtime, tight()).unwrap();
        host.bind(NAME).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| (0..4).for_each(|_| _ = host.send_timeout("down", MOMENT)));
            scope.spawn(|| (0..2).for_each(|_| assert_eq!(host.recv().unwrap(), "up")));
            for _ in 0..2 {
                scope.spawn(|| {
                    let guest = Pair::on(runtime, tight()).unwrap();
                    guest.connect(NAME).unwrap();
                    guest.send("up").unwrap();
                    assert_eq!(guest.drain(Duration::MAX), 0);
                    guest.close().unwrap();
                    conserved(|| guest.stats());
                });
            }
        });
        host.close().unwrap();
        conserved(|| host.stats());
    });
}

/// A poller that waits without a time-out is told of every message.
#[test]
fn a_poller_sleeps_through_no_message() {
    explore(|runtime| {
        let pulls = ["inproc://one", "inproc://two"].map(|name| {
            let pull = Pull::on(runtime, options()).unwrap();
            pull.bind(name).unwrap();
            pull
        });
        let push = Push::on(runtime, options().send_queue(1)).unwrap();
        push.connect("inproc://one").unwrap();
        push.connect("inproc://two").unwrap();
        let poller = Poller::new();
        pulls.iter().enumerate().for_each(|(key, pull)| poller.add_recv(key, pull).unwrap());
        thread::scope(|scope| {
            scope.spawn(|| (0..4).for_each(|_| push.send("message").unwrap()));
            scope.spawn(|| {
                let mut left = 4;
                while left > 0 {
                    for key in poller.wait(None) {
                        left -= pulls[key].try_iter().count();
                    }
                }
            });
        });
        drop(poller);
        push.close().unwrap();
        let received = pulls.each_ref().map(|pull| {
            pull.close().unwrap();
            conserved(|| pull.stats())
        });
        accounted(&[conserved(|| push.stats())], &received);
    });
}

/// What each sends on a bus reaches all that are there.
#[test]
fn a_bus_carries_what_each_of_three_sends() {
    explore(|runtime| {
        let hub = Bus::on(runtime, options()).unwrap();
        hub.bind(NAME).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let guest = Bus::on(runtime, options()).unwrap();
                    let events = guest.events();
                    guest.connect(NAME).unwrap();
                    assert_eq!(guest.recv().unwrap(), "welcome");
                    guest.send("thanks").unwrap();
                    // The hub closes when it has the thanks of both.
                    let mut kinds = events.map(|event| event.kind);
                    assert!(kinds.any(|kind| matches!(kind, PipeEventKind::Detached(_))));
                    conserved(|| guest.stats());
                });
            }
            scope.spawn(|| {
                hub.wait_for_peers(2, Duration::MAX).unwrap();
                hub.send("welcome").unwrap();
                (0..2).for_each(|_| assert_eq!(hub.recv().unwrap(), "thanks"));
                hub.close().unwrap();
            });
        });
        conserved(|| hub.stats());
    });
}
