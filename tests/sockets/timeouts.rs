//! Timeouts and the forms of a call: waiting, not waiting, waiting for a given time.

use std::time::{Duration, Instant};

use kit::sockets::{Listed, ListedConversant, ListedSender, at_once};
use kit::{SOON, Transport, every_conversant, every_receiver, every_sender, join};
use sinew::role::Receives;
use sinew::{Context, Options, Pair, RecvError, Req, RequestError, SendError, Socket, Surveyor};

const SHORT: Duration = Duration::from_millis(100);
/// Beyond which a timeout is not the one that was asked for.
const LATE: Duration = Duration::from_secs(5);

#[track_caller]
fn takes_as_long_as_asked<T>(call: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let outcome = call();
    let took = start.elapsed();
    assert!(took >= SHORT && took < LATE, "took {took:?}");
    outcome
}

/// C285, C110, C136: both as an option and as an argument, also by a task; contexts too.
#[test]
fn a_receive_with_nothing_there_times_out() {
    type Outcome = Result<(), RecvError>;
    fn times_out(
        name: &str,
        recv: impl Fn() -> Outcome,
        recv_timeout: impl Fn(Duration) -> Outcome,
        try_recv: impl Fn() -> Outcome,
    ) {
        let outcome = takes_as_long_as_asked(recv);
        assert!(matches!(outcome, Err(RecvError::TimedOut(_))), "{name}");
        let outcome = takes_as_long_as_asked(|| recv_timeout(SHORT));
        assert!(matches!(outcome, Err(RecvError::TimedOut(_))), "{name}");
        assert!(matches!(recv_timeout(Duration::ZERO), Err(RecvError::TimedOut(_))), "{name}");
        assert_eq!(try_recv(), Err(RecvError::WouldBlock), "{name}");
    }
    fn socket<R: Listed + Receives>() {
        let socket = Socket::<R>::with_options(Options::new().recv_timeout(SHORT)).unwrap();
        times_out(
            R::NAME,
            || socket.recv().map(drop),
            |timeout| socket.recv_timeout(timeout).map(drop),
            || socket.try_recv().map(drop),
        );
    }
    fn context<R: ListedConversant>() {
        let socket = Socket::<R>::with_options(Options::new().recv_timeout(SHORT)).unwrap();
        let context = Context::new(&socket);
        R::begin(&context);
        times_out(
            R::NAME,
            || context.recv().map(drop),
            |timeout| context.recv_timeout(timeout).map(drop),
            || context.try_recv().map(drop),
        );
    }
    at_once(every_receiver!(socket).into_iter().chain(every_conversant!(context)));
    let surveyor = Surveyor::new();
    let survey = surveyor.survey("anyone?").unwrap();
    kit::timed_out(takes_as_long_as_asked(|| survey.recv_timeout(SHORT)));
}

/// C037, C105, C106 and C286; C129, C153: those that do not wait do not time out either.
#[test]
fn a_send_with_nobody_there_times_out_and_gives_the_message_back() {
    fn check<R: ListedSender>() {
        let socket = Socket::<R>::with_options(Options::new().send_timeout(SHORT)).unwrap();
        let mine = || R::message("mine");
        if !R::WAITS {
            socket.send(mine()).unwrap();
            socket.send_timeout(mine(), Duration::ZERO).unwrap();
            socket.try_send(mine()).unwrap();
            return;
        }
        for outcome in [
            takes_as_long_as_asked(|| socket.send(mine())),
            takes_as_long_as_asked(|| socket.send_timeout(mine(), SHORT)),
            socket.send_timeout(mine(), Duration::ZERO),
        ] {
            let error = outcome.unwrap_err();
            assert!(matches!(error, SendError::TimedOut(..)), "{}: {error:?}", R::NAME);
            assert_eq!(error.into_message(), mine());
        }
        let error = socket.try_send(mine()).unwrap_err();
        assert!(matches!(error, SendError::WouldBlock(_)), "{}: {error:?}", R::NAME);
        assert_eq!(error.into_message(), mine());
        assert_eq!(socket.stats().messages_sent, 0);
        kit::conserved(|| socket.stats());
    }
    at_once(every_sender!(check));
    let req = Req::new();
    match takes_as_long_as_asked(|| req.request_timeout("mine", SHORT)) {
        Err(RequestError::TimedOut(message, _)) => assert_eq!(message, "mine"),
        other => panic!("{other:?}"),
    }
}

/// C287.
#[test]
fn a_timeout_of_zero_is_one_attempt() {
    for transport in Transport::ALL {
        let (pair, peer) = (Pair::new(), Pair::new());
        kit::timed_out(pair.recv_timeout(Duration::ZERO));
        assert!(matches!(pair.send_timeout("x", Duration::ZERO), Err(SendError::TimedOut(..))));
        let _address = join!(pair, peer, transport);
        pair.send_timeout("x", Duration::ZERO).unwrap();
        peer.wait_for_peers(1, Duration::ZERO).unwrap();
        // There in a moment; each look is one attempt.
        kit::eventually("it is there", || match peer.recv_timeout(Duration::ZERO) {
            Ok(message) => message == "x",
            Err(error) => !matches!(error, RecvError::TimedOut(_)),
        });
    }
}

/// A timeout beyond the end of time is no timeout; it must not overflow.
#[test]
fn an_endless_timeout_waits() {
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Inproc);
    pair.send_timeout("x", Duration::MAX).unwrap();
    assert_eq!(peer.recv_timeout(Duration::MAX).unwrap(), "x");
    pair.wait_for_peers(1, Duration::MAX).unwrap();
    assert_eq!(pair.drain(Duration::MAX), 0);
}

/// Semantics 2.6: a receive that times out loses nothing.
#[test]
fn a_message_that_comes_after_a_timeout_is_there_for_the_next_receive() {
    let (pair, peer) = (Pair::new(), Pair::new());
    let _address = join!(pair, peer, Transport::Tcp);
    for n in 0..50_u8 {
        let _ = peer.recv_timeout(Duration::from_micros(50));
        pair.send(vec![n]).unwrap();
        assert_eq!(peer.recv_timeout(SOON).unwrap(), vec![n]);
    }
}
