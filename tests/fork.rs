//! Children made by `fork`: they cannot use the sockets that they inherit, and do not harm them; sockets that
//! they make work.
#![cfg(target_os = "linux")]

use std::future::Future;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};
use sinew::device::{Device, DeviceFailure};
use sinew::{
    BindError, ConnectError, EndpointState, OptionError, Options, Pair, Poller, Pub, Pull, Push,
    RecvError, Rep, Req, RequestError, Respondent, Runtime, RuntimeError, SendError, Sub, Surveyor,
    UnsubscribeError, WaitError, raw,
};

use kit::{SOON, TempDir, Transport, join, rounds};

/// Runs `act` in a child, which must end in time and without a panic.
#[track_caller]
fn in_child(act: impl FnOnce()) {
    let (mut said, says) = std::io::pipe().unwrap();
    // SAFETY: the child has the allocator, which the C library makes fit for use after a fork, and what
    // this test is about. It uses no lock of the test harness, and leaves by `_exit`.
    #[allow(unsafe_code, reason = "that is what is tested")]
    let forked = unsafe { fork() }.unwrap();
    let child = match forked {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            std::panic::set_hook(Box::new(move |panic| _ = write!(&says, "{panic}")));
            let failed = catch_unwind(AssertUnwindSafe(act)).is_err();
            // SAFETY: it ends the process, and runs nothing that could wait for threads it has not.
            #[allow(unsafe_code, reason = "a child must not run the parent's exit handlers")]
            unsafe {
                libc::_exit(failed.into())
            }
        }
    };
    drop(says);
    let end = Instant::now() + SOON;
    loop {
        match waitpid(child, Some(WaitPidFlag::WNOHANG)).unwrap() {
            WaitStatus::StillAlive if Instant::now() > end => {
                kill(child, Signal::SIGKILL).unwrap();
                waitpid(child, None).unwrap();
                panic!("the child hangs");
            }
            WaitStatus::StillAlive => thread::sleep(Duration::from_millis(1)),
            WaitStatus::Exited(_, 0) => return,
            other => {
                let mut words = String::new();
                said.read_to_string(&mut words).unwrap();
                panic!("{other:?}: {words}");
            }
        }
    }
}

/// Polls a future once: it must be ready.
#[track_caller]
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(outcome) => outcome,
        Poll::Pending => panic!("it would wait"),
    }
}

/// A send that fails gives the message back.
#[track_caller]
fn gives_back(sent: Result<(), SendError>) {
    match sent {
        Err(SendError::Forked(message)) => assert_eq!(message, "message"),
        other => panic!("{other:?}"),
    }
}

/// C450.
#[test]
fn every_kind_of_call_on_an_inherited_socket_says_so_at_once() {
    let (push, pull) = (Push::new(), Pull::new());
    let (_address, endpoint) = join!(pull, push, Transport::Tcp);
    let (events, readiness) = (pull.events(), pull.recv_readiness().unwrap());
    let poller = Poller::new();
    poller.add_recv(7, &pull).unwrap();
    push.send("before").unwrap();
    in_child(|| {
        gives_back(push.send("message"));
        gives_back(push.try_send("message"));
        gives_back(push.send_timeout("message", SOON));
        gives_back(now(push.send_async("message")));
        assert_eq!(pull.recv(), Err(RecvError::Forked));
        assert_eq!(pull.try_recv(), Err(RecvError::Forked));
        assert_eq!(pull.recv_timeout(SOON), Err(RecvError::Forked));
        assert_eq!(now(pull.recv_async()), Err(RecvError::Forked));
        assert_eq!(pull.wait_for_peers(9, SOON), Err(WaitError::Forked));
        let url = "tcp://127.0.0.1:0";
        assert!(matches!(pull.bind(url), Err(BindError::Forked)));
        assert!(matches!(pull.connect(endpoint.url()), Err(ConnectError::Forked)));
        assert!(matches!(pull.connect_now(endpoint.url()), Err(ConnectError::Forked)));
        assert!(matches!(pull.set_options(Options::new()), Err(OptionError::Forked)));
        assert_eq!(events.recv().unwrap_err(), RecvError::Forked);
        assert_eq!(pull.events().try_recv().unwrap_err(), RecvError::Forked);
        assert!(pull.peers().is_empty() && pull.endpoints().is_empty());
        assert!(readiness.is_ready() && poller.wait(SOON) == [7]);
        assert_eq!(push.drain(SOON), 0);
        assert!(pull.stats().to_string().contains("accepted") && !pull.is_closed());
        assert_eq!(endpoint.status().state, EndpointState::Closed);
        assert!(endpoint.close().is_err() && pull.close().is_err());
    });
    assert_eq!(pull.recv().unwrap(), "before");
    kit::conserved(|| pull.stats());
}

/// C450.
#[test]
fn inherited_conversations_contexts_and_devices_say_so_too() {
    let (rep, req) = (Rep::new(), Req::new());
    let (publisher, sub) = (Pub::new(), Sub::new());
    let (respondent, surveyor) = (Respondent::new(), Surveyor::new());
    let _joined = (
        join!(rep, req, Transport::Tcp),
        join!(publisher, sub, Transport::Inproc),
        join!(respondent, surveyor, Transport::Ipc),
    );
    let (asker, answerer, topics) = (req.context(), rep.context(), sub.context());
    topics.subscribe("").unwrap();
    asker.send("question").unwrap();
    let request = rep.recv().unwrap();
    let survey = surveyor.survey("?").unwrap();
    let mut waits = Box::pin(asker.recv_async());
    assert!(waits.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    let device = Device::reflector(raw::Bus::new()).unwrap();
    let spawned = Device::reflector(raw::Bus::new()).unwrap().spawn().unwrap();
    in_child(|| {
        let Err(RequestError::Forked(back)) = req.request("message") else { panic!("a reply") };
        assert_eq!(back, "message");
        assert!(matches!(now(req.request_async("message")), Err(RequestError::Forked(_))));
        assert!(
            matches!(request.reply("message"), Err(error) if matches!(error.reason(), SendError::Forked(_)))
        );
        assert_eq!(survey.recv(), Err(RecvError::Forked));
        assert!(matches!(surveyor.survey("?"), Err(SendError::Forked(_))));
        gives_back(asker.send("message"));
        assert_eq!(now(waits), Err(RecvError::Forked));
        assert_eq!(asker.recv(), Err(RecvError::Forked));
        gives_back(answerer.send("message"));
        assert_eq!(topics.recv(), Err(RecvError::Forked));
        assert!(topics.subscribe("a").is_err() && sub.subscribe("a").is_err());
        assert_eq!(topics.unsubscribe(""), Err(UnsubscribeError::Forked));
        gives_back(req.context().send("message"));
        assert!(matches!(device.run(), Err(DeviceFailure::Forked)));
        assert!(matches!(spawned.join(), Err(DeviceFailure::Forked)));
        drop((survey, asker, answerer, topics));
    });
}

/// To poll what it shares with its parent would take away the parent's events.
#[test]
fn an_inherited_event_loop_is_not_turned() {
    let runtime = Runtime::builder().manual(true).build().unwrap();
    let event_loop = runtime.event_loop().unwrap();
    let mut begun = pin!(event_loop.drive(|_| Poll::Pending));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(begun.as_mut().poll(&mut cx).is_pending());
    in_child(|| {
        let mut cx = Context::from_waker(Waker::noop());
        let polled = begun.as_mut().poll(&mut cx);
        assert!(matches!(polled, Poll::Ready(Err(RuntimeError::Forked))), "{polled:?}");
        let outcome = now(event_loop.drive(|_| Poll::Pending));
        assert!(matches!(outcome, Err(RuntimeError::Forked)), "{outcome:?}");
        assert!(matches!(runtime.event_loop(), Err(RuntimeError::Forked)));
    });
}

/// C451. Also under the names that its parent uses.
#[test]
fn what_a_child_makes_itself_works() {
    let (rep, req) = (Rep::new(), Req::new());
    let name = Transport::Inproc.address().url;
    rep.bind(&name).unwrap();
    let _joined = join!(rep, req, Transport::Tcp);
    in_child(|| {
        for transport in Transport::ALL {
            let (rep, req) = (Rep::new(), Req::new());
            if transport == Transport::Inproc {
                rep.bind(&name).unwrap();
                req.connect_now(&name).unwrap();
            }
            let (_address, endpoint) = join!(rep, req, transport);
            Req::new().connect_now(endpoint.url()).unwrap();
            thread::scope(|scope| {
                scope.spawn(|| rep.recv().unwrap().reply("pong").unwrap());
                assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong");
            });
            kit::conserved(|| req.stats());
        }
        // And once more, one generation on.
        let ours = Pair::new();
        ours.bind("tcp://127.0.0.1:0").unwrap();
        in_child(|| {
            assert!(matches!(ours.try_recv(), Err(RecvError::Forked)));
            let (one, other) = (Pair::new(), Pair::new());
            let _joined = join!(one, other, Transport::Tcp);
            one.send("grandchild").unwrap();
            assert_eq!(other.recv_timeout(SOON).unwrap(), "grandchild");
        });
        assert!(matches!(ours.try_recv(), Err(RecvError::WouldBlock)));
    });
    thread::scope(|scope| {
        scope.spawn(|| rep.recv().unwrap().reply("pong").unwrap());
        assert_eq!(req.request_timeout("ping", SOON).unwrap(), "pong");
    });
}

/// C452.
#[test]
fn what_a_child_drops_disturbs_its_parent_in_nothing() {
    for transport in Transport::ALL {
        let dir = TempDir::new();
        let runtime = Runtime::new().unwrap();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        let push = Push::with_options(Options::new()).unwrap();
        let (_address, endpoint) = join!(pull, push, transport);
        let file = dir.path("socket");
        pull.bind(format!("ipc://{}", file.display())).unwrap();
        let mut held = Some((pull.clone(), push.clone(), endpoint.clone(), runtime.clone()));
        let watched = (push.events(), pull.recv_readiness().unwrap());
        in_child(|| {
            let taken = held.take().unwrap();
            let (pull, push, endpoint, runtime) = &taken;
            assert!(matches!(runtime.turn(None), Err(RuntimeError::Forked)));
            let other = Pull::on(runtime, Options::new()).unwrap();
            let bound = other.bind("tcp://127.0.0.1:0");
            assert!(matches!(bound, Err(BindError::Runtime(RuntimeError::Forked))));
            let _ = (pull.close(), push.close(), endpoint.close());
            drop((other, taken, watched));
        });
        push.send("one").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "one");
        assert!(file.exists());
        let late = Push::new();
        late.connect_now(endpoint.url()).unwrap();
        late.send("late").unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "late");
        kit::conserved(|| pull.stats());
    }
}

/// C453. Before there was an error for it, a peer received messages of the bytes of both.
#[test]
fn parent_and_child_do_not_both_send_on_one_socket() {
    let messages = rounds(2_000);
    for transport in Transport::STREAMS {
        let (push, pull) = (Push::new(), Pull::new());
        let _joined = join!(pull, push, transport);
        // The child is at it while the parent is.
        let (mut begins, mut begun) = (std::io::pipe().unwrap(), [0]);
        thread::scope(|scope| {
            scope.spawn(|| {
                begins.0.read_exact(&mut begun).unwrap();
                for n in 0..messages {
                    push.send(format!("{n:_<20000}")).unwrap();
                }
            });
            scope.spawn(|| {
                for n in 0..messages {
                    assert_eq!(pull.recv_timeout(SOON).unwrap(), format!("{n:_<20000}"));
                }
            });
            in_child(|| {
                begins.1.write_all(&[1]).unwrap();
                for _ in 0..messages {
                    let sent = push.try_send("x".repeat(30_000));
                    assert!(matches!(sent, Err(SendError::Forked(_))));
                }
            });
        });
        assert!(matches!(pull.try_recv(), Err(RecvError::WouldBlock)));
        kit::conserved(|| push.stats());
    }
}

/// C454. Locks that other threads hold at that moment are never taken by the child.
#[test]
fn a_child_that_is_made_while_threads_are_at_work_waits_for_none_of_their_locks() {
    let over = AtomicBool::new(false);
    let goes_on = || !over.load(Ordering::Relaxed);
    let (push, pull) = (Push::new(), Pull::new());
    let (one, other) = (Pair::new(), Pair::new());
    let (_address, endpoint) = join!(pull, push, Transport::Tcp);
    let _joined = join!(one, other, Transport::Inproc);
    thread::scope(|scope| {
        let _over = kit::SetOnDrop(&over);
        scope.spawn(|| {
            while goes_on() {
                _ = push.send_timeout("x", Duration::from_millis(1))
            }
        });
        scope.spawn(|| {
            while goes_on() {
                _ = pull.recv_timeout(Duration::from_millis(1))
            }
        });
        scope.spawn(|| {
            while goes_on() {
                _ = one.try_send("x")
            }
        });
        scope.spawn(|| {
            while goes_on() {
                _ = (other.try_recv(), other.stats(), pull.peers())
            }
        });
        scope.spawn(|| {
            while goes_on() {
                let pair = Pair::new();
                let name = Transport::Inproc.address().url;
                _ = (pair.bind(&name), endpoint.status(), pair.events(), Runtime::global());
            }
        });
        for _ in 0..rounds(100) {
            in_child(|| {
                gives_back(push.send("message"));
                assert_eq!(pull.recv(), Err(RecvError::Forked));
                gives_back(one.send("message"));
                _ = (other.stats(), pull.peers(), endpoint.status(), pull.close(), other.events());
                let (ours, theirs) = (Pair::new(), Pair::new());
                let name = Transport::Inproc.address().url;
                ours.bind(&name).unwrap();
                theirs.connect_now(&name).unwrap();
                ours.send("child").unwrap();
                assert_eq!(theirs.recv_timeout(SOON).unwrap(), "child");
            });
        }
    });
}
