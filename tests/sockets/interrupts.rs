//! Signals that arrive while a thread sleeps in a call: the option `interruptible`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use kit::{SOON, conserved, in_time};
use nix::sys::pthread::{Pthread, pthread_kill, pthread_self};
use nix::sys::signal::Signal;
use sinew::{
    Message, Options, Pair, Pull, Push, RecvError, Rep, Req, RequestError, SendError, Surveyor,
};

/// Runs `call` in a thread, and sends signals there until it returns. The handler is restarting (`SA_RESTART`).
fn interrupt<T: Send + 'static>(call: impl FnOnce() -> T + Send + 'static) -> T {
    let handled = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(Signal::SIGUSR1 as i32, Arc::clone(&handled)).unwrap();
    // A number, since it is a pointer in musl, which no other thread gets.
    let (tell, told) = mpsc::channel::<usize>();
    let (done, outcome) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            tell.send(pthread_self() as usize).unwrap();
            let returned = call();
            done.send(returned).unwrap();
            // The thread must be there while signals are sent to it: until `told` is gone.
            while tell.send(pthread_self() as usize).is_ok() {
                thread::yield_now();
            }
        });
        let thread = told.recv().unwrap();
        for _ in 0..100_000 {
            pthread_kill(thread as Pthread, Signal::SIGUSR1).unwrap();
            // It may have run a moment before the thread slept.
            if let Ok(outcome) = outcome.recv_timeout(Duration::from_millis(1)) {
                drop(told);
                assert!(handled.load(Ordering::Relaxed));
                return outcome;
            }
        }
        panic!("no signal has ended the call");
    })
}

fn interruptible() -> Options {
    Options::new().interruptible(true)
}

fn connected(scheme: &str, options: Options) -> (Push, Pull) {
    let push = Push::with_options(options.clone()).unwrap();
    let pull = Pull::with_options(options).unwrap();
    let url = match scheme {
        "tcp" => "tcp://127.0.0.1:0".to_owned(),
        _ => format!("inproc://interrupts-{}", push.name()),
    };
    let endpoint = pull.bind(url).unwrap();
    push.connect(endpoint.url()).unwrap();
    push.wait_for_peers(1, SOON).unwrap();
    pull.wait_for_peers(1, SOON).unwrap();
    (push, pull)
}

/// C610: a thread that turns the event loop, and one that waits for another thread.
#[test]
fn a_signal_ends_a_receive_and_loses_nothing() {
    for scheme in ["tcp", "inproc"] {
        let (push, pull) = connected(scheme, interruptible());
        let receiver = pull.clone();
        assert_eq!(interrupt(move || receiver.recv()), Err(RecvError::Interrupted));
        let receiver = pull.clone();
        let timed = move || receiver.recv_timeout(10 * SOON);
        assert_eq!(interrupt(timed), Err(RecvError::Interrupted));
        push.send("later").unwrap();
        assert_eq!(pull.recv().unwrap(), "later");
    }
}

/// C610: of two threads that wait for one connection neither turns the event loop.
#[test]
fn a_signal_ends_the_call_of_the_thread_that_it_is_for_and_no_other() {
    let (push, pull) = connected("tcp", interruptible());
    let (receiver, other) = (pull.clone(), pull);
    let waiting = thread::spawn(move || other.recv());
    assert_eq!(interrupt(move || receiver.recv()), Err(RecvError::Interrupted));
    push.send("for the other").unwrap();
    assert_eq!(waiting.join().unwrap().unwrap(), "for the other");
}

/// C610.
#[test]
fn a_signal_ends_a_send_and_a_request_and_gives_the_message_back() {
    let push = Push::with_options(interruptible()).unwrap();
    match interrupt(move || push.send("to nobody")) {
        Err(SendError::Interrupted(message)) => assert_eq!(message, "to nobody"),
        other => panic!("{other:?}"),
    }
    let req = Req::with_options(interruptible()).unwrap();
    match interrupt(move || req.request("to nobody")) {
        Err(RequestError::Interrupted(message)) => assert_eq!(message, "to nobody"),
        other => panic!("{other:?}"),
    }
}

/// C610: with the calls of nanomsg, the request goes on.
#[test]
fn a_request_of_a_context_goes_on_after_a_signal() {
    let (req, rep) = (Req::with_options(interruptible()).unwrap(), Rep::new());
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    req.connect(endpoint.url()).unwrap();
    let context = Arc::new(req.context());
    context.send("question").unwrap();
    let waiting = Arc::clone(&context);
    assert_eq!(interrupt(move || waiting.recv()), Err(RecvError::Interrupted));
    rep.recv().unwrap().reply("answer").unwrap();
    assert_eq!(context.recv().unwrap(), "answer");

    let options = interruptible().survey_deadline(10 * SOON);
    let survey = Surveyor::with_options(options).unwrap().survey("anybody?").unwrap();
    assert_eq!(interrupt(move || survey.recv()), Err(RecvError::Interrupted));
}

/// C610: by default, and where the option was taken back.
#[test]
fn a_signal_ends_no_call_that_is_not_interruptible() {
    let pair = Pair::with_options(interruptible().recv_timeout(Duration::from_millis(50))).unwrap();
    let options = pair.options().interruptible(false);
    pair.set_options(options).unwrap();
    assert!(!pair.options().settings().interruptible);
    kit::timed_out(interrupt(move || pair.recv()));
}

/// C610: signals come all the time, and every message arrives once and in order.
#[test]
fn a_stream_of_signals_loses_no_message() {
    const MESSAGES: u32 = 20_000;
    in_time(|| {
        let (push, pull) = connected("tcp", interruptible().recv_queue(4).send_queue(4));
        let (sender, receiver) = (push.clone(), pull.clone());
        let sending = move || {
            for number in 0..MESSAGES {
                let mut message = Message::from(&number.to_be_bytes());
                while let Err(error) = sender.send(message) {
                    assert!(matches!(error, SendError::Interrupted(_)), "{error}");
                    message = error.into_message();
                }
            }
        };
        let receiving = move || {
            for number in 0..MESSAGES {
                let message = loop {
                    match receiver.recv() {
                        Err(RecvError::Interrupted) => {}
                        received => break received.unwrap(),
                    }
                };
                assert_eq!(message, number.to_be_bytes());
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| interrupt(sending));
            scope.spawn(|| interrupt(receiving));
        });
        conserved(|| push.stats());
        conserved(|| pull.stats());
    });
}
