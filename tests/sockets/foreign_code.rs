//! Code of the program that a socket runs: destructors of bodies, and wakers. None of it runs under a lock
//! that a call of the socket needs, and its faults harm nobody else.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Poll, RawWaker, RawWakerVTable, Wake, Waker};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use sinew::{
    Bus, Conflate, DropReason, Options, Overflow, Pair, PipeEventKind, Pub, Pull, Push, Rep, Req,
    Respondent, Runtime, Sub, Surveyor, raw,
};

use kit::{Raw, SOON, Transport, arrived, eventually, in_time, join};

/// A body of this length is queued as it is, not copied.
const LARGE: usize = 64 * 1024;

/// Bytes that do something when the last reference to them goes.
struct Owner<F: FnMut()> {
    bytes: Vec<u8>,
    at_end: Option<F>,
}

impl<F: FnMut()> AsRef<[u8]> for Owner<F> {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl<F: FnMut()> Drop for Owner<F> {
    fn drop(&mut self) {
        if let Some(mut at_end) = self.at_end.take() {
            at_end();
        }
    }
}

fn body(bytes: Vec<u8>, at_end: impl FnMut() + Send + 'static) -> Bytes {
    Bytes::from_owner(Owner { bytes, at_end: Some(at_end) })
}

/// Makes bodies whose destructors use sockets, and counts those that came to their end.
#[derive(Clone, Default)]
struct Maker(Arc<AtomicUsize>);

impl Maker {
    fn large(&self, uses: impl Fn() + Send + 'static) -> Bytes {
        self.of(vec![7; LARGE], uses)
    }

    fn of(&self, bytes: Vec<u8>, uses: impl Fn() + Send + 'static) -> Bytes {
        let ended = Arc::clone(&self.0);
        body(bytes, move || {
            uses();
            ended.fetch_add(1, Ordering::SeqCst);
        })
    }

    #[track_caller]
    fn all_ended(&self, expected: usize) {
        eventually("the last reference to each body has gone", || self.ended() == expected);
    }

    fn ended(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

/// For what is called only to see whether it hangs.
fn look<T>(_: T) {}

/// A pair of sockets that are joined inside the process: the receiver drops what the sender has made.
macro_rules! joined {
    ($listener:expr, $dialer:expr) => {{
        let (listener, dialer) = ($listener, $dialer);
        let _address = join!(listener, dialer, Transport::Inproc);
        (listener, dialer)
    }};
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_close_drops_it() {
    in_time(|| {
        let maker = Maker::default();
        let (pull, push) = joined!(Pull::new(), Push::new());
        for _ in 0..3 {
            let (pull, push) = (pull.clone(), push.clone());
            push.clone().send(maker.large(move || look((pull.stats(), push.stats())))).unwrap();
        }
        pull.close().unwrap();
        maker.all_ended(3);
        assert_eq!(pull.stats().drops(DropReason::ClosedUnread), 3);
        kit::conserved(|| pull.stats());
    });
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_the_last_handle_drops_it() {
    in_time(|| {
        let maker = Maker::default();
        let (pull, push) = joined!(Pull::new(), Push::new());
        let uses = push.clone();
        push.send(maker.large(move || look(uses.stats()))).unwrap();
        drop(pull);
        maker.all_ended(1);
    });
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_a_newer_message_drops_it() {
    let drops = Options::new().overflow(Overflow::DropOldest).send_queue(2).recv_queue(2);
    let replaces = Options::new().conflate(Conflate::Prefix(1));
    for options in [drops, replaces] {
        in_time(move || a_newer_message_drops_a_body_of_a_publisher_with(options));
    }
}

fn a_newer_message_drops_a_body_of_a_publisher_with(options: Options) {
    let maker = Maker::default();
    let publisher = Pub::with_options(options).unwrap();
    let slow = raw::Sub::with_options(Options::new().recv_queue(2)).unwrap();
    let (publisher, slow) = joined!(publisher, slow);
    for _ in 0..20 {
        let (one, other) = (publisher.clone(), slow.clone());
        publisher.send(maker.large(move || look((one.stats(), other.stats())))).unwrap();
    }
    eventually("the oldest are dropped", || maker.ended() >= 15);
    slow.close().unwrap();
    maker.all_ended(20);
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_a_full_sub_queue_or_an_unsubscribe_drops_it() {
    let drops = Options::new().sub_queue(2).prefer_new(true);
    let replaces = Options::new().conflate(Conflate::Prefix(1));
    for options in [drops, replaces] {
        in_time(move || a_sub_drops_bodies_with(options));
    }
}

fn a_sub_drops_bodies_with(options: Options) {
    let maker = Maker::default();
    let sub = Sub::with_options(options).unwrap();
    let (publisher, sub) = joined!(Pub::new(), sub);
    let (one, other) = (sub.context(), sub.context());
    one.subscribe("").unwrap();
    other.subscribe("").unwrap();
    for _ in 0..10 {
        let (one, other) = (publisher.clone(), sub.clone());
        publisher.send(maker.large(move || look((one.stats(), other.stats())))).unwrap();
    }
    eventually("queues overflow", || maker.ended() >= 5);
    one.unsubscribe("").unwrap();
    other.close().unwrap();
    publisher.close().unwrap();
    maker.all_ended(10);
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_the_next_one_is_received() {
    in_time(|| {
        let maker = Maker::default();
        let (pull, push) = joined!(Pull::new(), Push::new());
        for _ in 0..5 {
            let (pull, push) = (pull.clone(), push.clone());
            push.clone().send(maker.large(move || look((pull.stats(), push.stats())))).unwrap();
        }
        (0..5).for_each(|_| drop(pull.recv().unwrap()));
        assert!(maker.ended() >= 4);
    });
}

/// C443.
#[test]
fn a_body_may_use_its_socket_when_a_newer_request_or_a_reply_drops_it() {
    in_time(|| {
        let maker = Maker::default();
        let (rep, req) = (Rep::new(), Req::new());
        let asker = req.context();
        let make = |length| {
            let req = req.clone();
            maker.of(vec![7; length], move || look(req.stats()))
        };
        // A request is kept until its reply, however short it is.
        asker.send(make(1)).unwrap();
        asker.send(make(LARGE)).unwrap();
        assert_eq!(maker.ended(), 1);
        let _address = join!(rep, req, Transport::Inproc);
        rep.recv().unwrap().reply(make(LARGE)).unwrap();
        arrived(|| req.stats(), 1);
        // Nobody has received the reply.
        asker.send(make(1)).unwrap();
        rep.recv().unwrap().reply("answer").unwrap();
        assert_eq!(asker.recv().unwrap(), "answer");
        asker.close().unwrap();
        rep.close().unwrap();
        maker.all_ended(4);
    });
}

/// C443.
#[test]
fn a_body_may_use_its_socket_when_a_survey_or_its_end_drops_it() {
    in_time(|| {
        let maker = Maker::default();
        let (respondent, surveyor) = joined!(Respondent::new(), Surveyor::new());
        for end in 0..3 {
            let survey = surveyor.survey("?").unwrap();
            let (uses, asked) = (surveyor.clone(), respondent.recv().unwrap());
            asked.reply(maker.large(move || look(uses.stats()))).unwrap();
            arrived(|| surveyor.stats(), end + 1);
            match end {
                0 => drop(survey),
                1 => {
                    // Entered once more before it ends, so that it has its answer.
                    surveyor.wait_for_peers(1, SOON).unwrap();
                    drop(survey);
                }
                _ => surveyor.close().unwrap(),
            }
        }
        respondent.close().unwrap();
        maker.all_ended(3);
    });
}

/// C443.
#[test]
fn a_body_may_use_its_sockets_when_its_pipe_is_closed() {
    in_time(|| {
        let maker = Maker::default();
        for by_endpoint in [false, true] {
            let (one, other) = (Pair::new(), Pair::new());
            let (_address, endpoint) = join!(one, other, Transport::Inproc);
            for pair in [&one, &other] {
                let (one, other) = (one.clone(), other.clone());
                pair.send(maker.large(move || look((one.stats(), other.stats())))).unwrap();
            }
            if by_endpoint {
                endpoint.close().unwrap()
            } else {
                one.disconnect(one.peers()[0].pipe).unwrap()
            }
            one.close().unwrap();
            other.close().unwrap();
        }
        maker.all_ended(4);
    });
}

/// C443. Over tcp, where the I/O thread drops what a peer has not read.
#[test]
fn a_body_may_use_its_socket_when_the_io_thread_drops_it() {
    in_time(|| {
        let maker = Maker::default();
        for requeue in [false, true] {
            let options = Options::new().linger(Duration::ZERO).requeue(requeue).send_queue(64);
            let push = Push::with_options(options.send_queue_bytes(1 << 30)).unwrap();
            let url = push.bind("tcp://127.0.0.1:0").unwrap().url();
            let stalled = Raw::greet(&url, 0x51, 0x50);
            push.wait_for_peers(1, SOON).unwrap();
            let before = maker.ended();
            // As much as the kernel takes, and more.
            for _ in 0..64 {
                let uses = push.clone();
                push.send(maker.of(vec![7; 1 << 20], move || look(uses.stats()))).unwrap();
            }
            if requeue {
                stalled.reset();
                eventually("they have come back", || push.stats().held_outbound > 0);
                push.close().unwrap();
            } else {
                push.close().unwrap();
                drop(stalled);
            }
            maker.all_ended(before + 64);
        }
    });
}

/// C443. Two locks, taken in both orders: the program's own, and ours if bodies were dropped under it.
#[test]
fn a_body_may_go_back_to_a_pool_that_its_sender_locks() {
    in_time(|| {
        let rounds = 200;
        let pool = Arc::new(Mutex::new(Vec::new()));
        let options = Options::new().overflow(Overflow::DropOldest).send_queue(1);
        let (bus, other) = joined!(
            Bus::with_options(options.clone().recv_queue(1)).unwrap(),
            Bus::with_options(options.recv_queue(1)).unwrap()
        );
        let send = move |bus: &Bus, pool: &Arc<Mutex<Vec<usize>>>, hold: bool| {
            let back = Arc::clone(pool);
            let body = body(vec![7; LARGE], move || back.lock().unwrap().push(1));
            let held = hold.then(|| pool.lock().unwrap());
            if held.is_some() {
                look(bus.stats());
            }
            drop(held);
            bus.send(body).unwrap();
        };
        thread::scope(|scope| {
            for hold in [false, true] {
                let (bus, pool) = (&bus, &pool);
                scope.spawn(move || (0..rounds).for_each(|_| send(bus, pool, hold)));
            }
        });
        other.close().unwrap();
        bus.close().unwrap();
        eventually("all are in the pool", || pool.lock().unwrap().len() == 2 * rounds);
    });
}

/// C443.
#[test]
fn a_close_that_drops_bodies_that_panic_tells_the_peers() {
    in_time(|| {
        let (pull, push) = joined!(Pull::new(), Push::new());
        let events = push.events();
        for _ in 0..3 {
            push.send(body(vec![7; LARGE], || panic!("a body that panics"))).unwrap();
        }
        pull.close().unwrap();
        let told = events.recv_timeout(SOON).unwrap();
        assert!(matches!(told.kind, PipeEventKind::Detached(_)), "{told}");
        assert_eq!(pull.stats().drops(DropReason::ClosedUnread), 3);
        kit::conserved(|| pull.stats());
        kit::conserved(|| push.stats());
    });
}

/// C443.
#[test]
fn a_body_that_panics_when_it_is_dropped_for_a_newer_one_changes_nothing() {
    in_time(|| {
        let options = Options::new().overflow(Overflow::DropOldest).send_queue(4);
        let publisher = Pub::with_options(options).unwrap();
        let slow = raw::Sub::with_options(Options::new().recv_queue(4)).unwrap();
        let (publisher, slow) = joined!(publisher, slow);
        for number in 0..30u8 {
            let message = body(vec![number; LARGE], || panic!("a body that panics"));
            publisher.send(message).unwrap();
        }
        // The receiver drops the messages itself, and so has their panics.
        let received = std::iter::from_fn(|| {
            let message = slow.try_recv().ok()?;
            let number = message[0];
            let _ = catch_unwind(AssertUnwindSafe(|| drop(message)));
            Some(number)
        });
        let received: Vec<_> = received.collect();
        assert_eq!(received, (30 - received.len() as u8..30).collect::<Vec<_>>());
        assert_eq!(received.len(), 8);
        kit::conserved(|| publisher.stats());
        kit::conserved(|| slow.stats());
    });
}

/// C443.
#[test]
fn a_body_that_panics_on_the_io_thread_leaves_it_to_the_other_sockets() {
    in_time(|| {
        let push = Push::new();
        let pull = Pull::new();
        let _address = join!(push, pull, Transport::Tcp);
        for _ in 0..5 {
            let message = body(vec![7; 1 << 20], || panic!("a body that panics"));
            // Written and done with before the call returns, the call has the last reference: then the
            // panic is the caller's own.
            let _ = catch_unwind(AssertUnwindSafe(|| push.send(message).unwrap()));
            assert_eq!(pull.recv().unwrap().len(), 1 << 20);
        }
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, Transport::Tcp);
        thread::scope(|scope| {
            scope.spawn(|| rep.recv().unwrap().reply("pong").unwrap());
            assert_eq!(req.request("ping").unwrap(), "pong");
        });
    });
}

/// A waker whose clone, wake and drop use a socket.
struct Uses {
    pull: Pull,
    woken: AtomicUsize,
}

impl Uses {
    const TABLE: RawWakerVTable =
        RawWakerVTable::new(Self::on_clone, Self::on_wake, Self::on_wake_by_ref, Self::on_drop);
}

#[allow(unsafe_code, reason = "std makes wakers of safe parts only where a clone runs no code")]
impl Uses {
    fn waker(self: &Arc<Self>) -> Waker {
        let data = Arc::into_raw(Arc::clone(self)).cast();
        // SAFETY: the functions of the table treat `data` as what it is, a counted reference.
        unsafe { Waker::from_raw(RawWaker::new(data, &Self::TABLE)) }
    }

    unsafe fn on_clone(data: *const ()) -> RawWaker {
        // SAFETY: by the contract of wakers, `data` is that of `waker`, and counted.
        unsafe { Arc::increment_strong_count(data.cast::<Self>()) };
        // SAFETY: as above.
        look(unsafe { &*data.cast::<Self>() }.pull.stats());
        RawWaker::new(data, &Self::TABLE)
    }

    unsafe fn on_wake(data: *const ()) {
        // SAFETY: as in `on_clone`; the reference is given up.
        unsafe {
            Self::on_wake_by_ref(data);
            Self::on_drop(data);
        }
    }

    unsafe fn on_wake_by_ref(data: *const ()) {
        // SAFETY: as in `on_clone`.
        let this = unsafe { &*data.cast::<Self>() };
        look(this.pull.stats());
        this.woken.fetch_add(1, Ordering::SeqCst);
    }

    unsafe fn on_drop(data: *const ()) {
        // SAFETY: as in `on_clone`; the reference is given up.
        let this = unsafe { Arc::from_raw(data.cast::<Self>()) };
        look(this.pull.stats());
    }
}

/// C444.
#[test]
fn a_waker_may_use_the_socket_that_it_waits_for() {
    in_time(|| {
        let (pull, push) = joined!(Pull::new(), Push::new());
        let uses = Arc::new(Uses { pull: pull.clone(), woken: AtomicUsize::new(0) });
        let waker = uses.waker();
        let mut cx = Context::from_waker(&waker);
        let mut receiving = pin!(pull.recv_async());
        for _ in 0..3 {
            assert!(receiving.as_mut().poll(&mut cx).is_pending());
        }
        push.send("one").unwrap();
        eventually("the task is woken", || uses.woken.load(Ordering::SeqCst) == 1);
        let Poll::Ready(received) = receiving.as_mut().poll(&mut cx) else { panic!("not ready") };
        assert_eq!(received.unwrap(), "one");
        // And one that is dropped while it waits.
        let mut abandoned = Box::pin(pull.recv_async());
        assert!(abandoned.as_mut().poll(&mut cx).is_pending());
        drop(abandoned);
        pull.close().unwrap();
    });
}

/// Calls the socket when it is dropped, as the last reference to a task may.
struct Nosy(Mutex<Option<Pair>>);

impl Wake for Nosy {
    fn wake(self: Arc<Self>) {}
}

impl Drop for Nosy {
    fn drop(&mut self) {
        if let Some(pair) = self.0.get_mut().unwrap().take() {
            assert!(pair.try_recv().is_err());
        }
    }
}

/// A waker that a newer one replaced used to be dropped under the socket's lock.
#[test]
fn a_waker_that_is_replaced_is_dropped_with_no_lock_held() {
    let (sender, polled) = mpsc::channel();
    thread::spawn(move || {
        let pair = Pair::new();
        let mut receiving = Box::pin(pair.recv_async());
        let nosy = Waker::from(Arc::new(Nosy(Mutex::new(Some(pair.clone())))));
        assert!(poll(receiving.as_mut(), &nosy).is_pending());
        drop(nosy);
        assert!(poll(receiving.as_mut(), Waker::noop()).is_pending());
        sender.send(()).unwrap();
    });
    polled.recv_timeout(SOON).expect("the socket is not locked");
}

fn poll<F: Future>(future: Pin<&mut F>, waker: &Waker) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(waker))
}

/// Foreign code that panics on the I/O thread ends with itself.
#[test]
fn a_waker_that_panics_does_not_end_the_io_thread() {
    struct Bomb;
    impl Wake for Bomb {
        fn wake(self: Arc<Self>) {
            panic!("the waker's own fault");
        }
    }
    let runtime = Runtime::new().unwrap();
    let pair = Pair::on(&runtime, Options::new()).unwrap();
    let peer = Pair::new();
    let _address = join!(pair, peer, Transport::Tcp);
    let waker = Waker::from(Arc::new(Bomb));
    let mut waiting = Box::pin(pair.recv_async());
    let mut cx = Context::from_waker(&waker);
    assert!(waiting.as_mut().poll(&mut cx).is_pending());
    peer.send("wakes it").unwrap();
    eventually("it has arrived", || pair.stats().recv_queue == 1);
    drop(waiting);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "wakes it");
    peer.send("another").unwrap();
    assert_eq!(pair.recv_timeout(SOON).expect("the I/O thread lives"), "another");
}
