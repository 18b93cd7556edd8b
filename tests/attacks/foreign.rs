//! Group G: the program's own code, which sockets run, and which panics.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use kit::{Raw, SOON, Transport, conserved, eventually, join};
use sinew::{Options, Pair, Pull, Push, contained_panics, role};

use crate::harness::attack::Attack;

/// A body, or a task, that panics.
struct Bomb(Vec<u8>);

impl AsRef<[u8]> for Bomb {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            panic!("the body's own fault");
        }
    }
}

impl Wake for Bomb {
    fn wake(self: Arc<Self>) {
        panic!("the waker's own fault");
    }
}

/// Until it is dropped panics are not printed: their backtraces would take, and keep, 32 MiB.
struct Quiet;

impl Quiet {
    fn new() -> Self {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>();
            if !text.is_some_and(|text| text.ends_with("own fault")) {
                usual(info);
            }
        }));
        Self
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            drop(std::panic::take_hook());
        }
    }
}

/// C446. Every panic is counted, and none costs more than what it is about.
#[test]
fn g12_panics_of_foreign_code() {
    let attack = Attack::<role::Rep>::on(Options::new());
    let _quiet = Quiet::new();
    let before = contained_panics();

    // Bodies that nobody receives.
    let (pull, push) = (Pull::new(), Push::new());
    let _joined = join!(pull, push, Transport::Inproc);
    for _ in 0..3 {
        push.send(Bytes::from_owner(Bomb(vec![7; 64 << 10]))).unwrap();
    }
    pull.close().unwrap();
    conserved(|| pull.stats());
    assert_eq!(contained_panics() - before, 3);
    attack.neighbour();

    // A task that is woken.
    let (pair, peer) = (Pair::new(), Pair::new());
    let joined = join!(pair, peer, Transport::Tcp);
    let waker = Waker::from(Arc::new(Bomb(Vec::new())));
    let mut receiving = Box::pin(pair.recv_async());
    let polled = Pin::new(&mut receiving).poll(&mut Context::from_waker(&waker));
    assert!(matches!(polled, Poll::Pending));
    peer.send("wakes it").unwrap();
    eventually("it is counted", || contained_panics() - before == 4);
    drop(receiving);
    assert_eq!(pair.recv_timeout(SOON).unwrap(), "wakes it");
    attack.neighbour();

    // A callback that decides.
    let deciding = Options::new().admit(|_| panic!("the callback's own fault"));
    let closed = Pull::with_options(deciding).unwrap();
    let url = closed.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::connect(&url);
    raw.send(&kit::header(0x50));
    raw.read_to_end();
    eventually("it is counted", || contained_panics() - before == 5);
    eventually("it is turned away", || closed.stats().rejected_pipes == 1);

    drop((pull, push, pair, peer, joined, closed, raw));
    attack.over();
    assert_eq!(contained_panics() - before, 5);
}
