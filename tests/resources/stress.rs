//! Many threads, many calls: nothing crosses over, nothing is lost, nothing is left behind.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

#[cfg(target_os = "linux")]
use crate::threads;
use crate::{alone, beside_others};
use kit::sockets::Listed;
use kit::{SOON, Transport, conserved, join};
use sinew::role::{self, Receives, Sends};
use sinew::{Message, Options, Pair, Pull, Push, RecvError, Rep, Req, Socket};

/// Answers every request with what it said, until the socket is closed.
fn serve(rep: &Rep) {
    while let Ok(request) = rep.recv() {
        let answer = request.message().clone();
        request.reply(answer).expect("the socket is open while there are requests");
    }
}

/// 64 threads on one REQ, 200,000 requests in all, one REP. In a debug build a tenth of them shows the same in a
/// time that can be waited for.
#[test]
fn replies_never_cross_over_between_threads_that_share_a_req() {
    const THREADS: u64 = 64;
    let _turn = beside_others();
    let requests = kit::rounds(if cfg!(debug_assertions) { 20_000 } else { 200_000 });
    let each = u64::from(requests) / THREADS;
    for transport in Transport::ALL {
        let (rep, req) = (Rep::new(), Req::new());
        let _address = join!(rep, req, transport);
        let server = thread::spawn({
            let rep = rep.clone();
            move || serve(&rep)
        });
        let answered = Arc::new(AtomicU64::new(0));
        let askers: Vec<_> = (0..THREADS)
            .map(|asker| {
                let (req, answered) = (req.clone(), Arc::clone(&answered));
                thread::spawn(move || {
                    for n in 0..each {
                        let question = format!("{asker}/{n}");
                        let answer = req.request_timeout(&question, 3 * SOON).expect("an answer");
                        assert_eq!(answer, question);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                })
            })
            .collect();
        for asker in askers {
            asker.join().expect("no asker fails");
        }
        assert_eq!(answered.load(Ordering::Relaxed), THREADS * each);
        assert_eq!(req.stats().messages_received, THREADS * each, "{transport:?}");
        // An answer can arrive before the thread that gave it has counted it.
        kit::eventually("all are counted", || rep.stats().messages_sent == THREADS * each);
        conserved(|| req.stats());
        conserved(|| rep.stats());
        rep.close().expect("closed once");
        server.join().expect("the server ends");
    }
}

/// C334 and C092.
#[cfg(target_os = "linux")] // counts descriptors
#[test]
fn two_hundred_clients_are_all_answered_and_leave_nothing_behind() {
    let _turn = alone();
    let rep = Rep::new();
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    let server = thread::spawn({
        let rep = rep.clone();
        move || serve(&rep)
    });
    let before = kit::descriptors();
    thread::scope(|scope| {
        for client in 0..200 {
            let url = endpoint.url();
            scope.spawn(move || {
                let req = Req::new();
                req.connect(&url).unwrap();
                for n in 0..100 {
                    let question = format!("{client}/{n}");
                    assert_eq!(req.request_timeout(&question, 3 * SOON).unwrap(), question);
                }
                conserved(|| req.stats());
            });
        }
    });
    kit::eventually("all are gone", || rep.stats().current_connections == 0);
    kit::eventually("their descriptors are free", || kit::descriptors() <= before);
    kit::eventually("all are counted", || rep.stats().messages_sent == 20_000);
    conserved(|| rep.stats());
    rep.close().unwrap();
    server.join().unwrap();
}

/// C338. BUS never waits, so there is room for all.
#[test]
fn many_senders_and_receivers_on_one_socket_pass_every_message_once() {
    const THREADS: u32 = 64;
    const EACH: u32 = 100;
    let _turn = beside_others();
    fn check<S: Listed + Sends, R: Receives<Item = Message>>(options: Options) {
        for transport in Transport::ALL {
            let (left, right) = (
                Socket::<S>::with_options(options.clone()).unwrap(),
                Socket::<R>::with_options(options.clone()).unwrap(),
            );
            let _address = join!(left, right, transport);
            let received = Mutex::new(HashSet::new());
            thread::scope(|scope| {
                for sender in 0..THREADS {
                    let left = &left;
                    scope.spawn(move || {
                        for n in 0..EACH {
                            let message = (sender * EACH + n).to_be_bytes().to_vec();
                            left.send(message).unwrap();
                        }
                    });
                    scope.spawn(|| {
                        for _ in 0..EACH {
                            let message = right.recv_timeout(3 * SOON).unwrap();
                            assert!(received.lock().unwrap().insert(message.into_bytes()));
                        }
                    });
                }
            });
            let received = received.into_inner().unwrap();
            assert_eq!(received.len() as u32, THREADS * EACH, "{} {transport:?}", S::NAME);
            conserved(|| left.stats());
            conserved(|| right.stats());
        }
    }
    check::<role::Pair, role::Pair>(Options::new());
    check::<role::Push, role::Pull>(Options::new());
    check::<role::Bus, role::Bus>(Options::new().send_queue(8192));
}

/// C337. In a debug build a tenth of them shows the same in a time that can be waited for.
#[test]
fn a_million_messages_arrive_in_order() {
    let _turn = beside_others();
    let messages = kit::rounds(if cfg!(debug_assertions) { 100_000 } else { 1_000_000 });
    for transport in [Transport::Inproc, Transport::Tcp] {
        let (push, pull) = (Push::new(), Pull::new());
        let _address = join!(push, pull, transport);
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..messages {
                    push.send_timeout(&n.to_be_bytes(), 3 * SOON).unwrap();
                }
            });
            for n in 0..messages {
                assert_eq!(pull.recv_timeout(3 * SOON).unwrap(), n.to_be_bytes(), "{transport:?}");
            }
        });
        assert_eq!(pull.try_recv(), Err(RecvError::WouldBlock));
        assert_eq!(push.stats().messages_sent, u64::from(messages));
        assert_eq!(pull.stats().messages_received, u64::from(messages));
        conserved(|| push.stats());
        conserved(|| pull.stats());
    }
}

/// C340: no thread per socket.
#[test]
fn a_thousand_sockets_need_no_more_threads_than_one() {
    let _turn = alone();
    let (first, peer) = (Pair::new(), Pair::new());
    let _address = join!(first, peer, Transport::Inproc);
    let pairs: Vec<(Pair, Pair)> = (0..500)
        .map(|n| {
            let (left, right) = (Pair::new(), Pair::new());
            left.bind(format!("inproc://thousand-{n}")).unwrap();
            right.connect(format!("inproc://thousand-{n}")).unwrap();
            (left, right)
        })
        .collect();
    for (n, (left, right)) in pairs.iter().enumerate() {
        left.send_timeout(n.to_string(), SOON).unwrap();
        assert_eq!(right.recv_timeout(SOON).unwrap(), n.to_string());
    }
    // Runtimes of tests before may be at their end.
    #[cfg(target_os = "linux")]
    kit::eventually("there is one I/O thread", || {
        threads().iter().filter(|name| *name == "sinew-io").count() == 1
    });
}

/// C339, C284: progress through loss. The listener is gone every few milliseconds.
#[test]
fn requests_are_answered_while_the_listener_comes_and_goes() {
    const RESTARTS: u32 = 100;
    let _turn = alone();
    for transport in Transport::STREAMS {
        let options = Options::new().reconnect_interval(Duration::from_millis(2));
        let req = Req::with_options(options).unwrap();
        let address = transport.address();
        let rep = Rep::new();
        let url = rep.bind(&address.url).unwrap().url();
        rep.close().unwrap();
        req.connect(&url).unwrap();
        let over = Arc::new(AtomicBool::new(false));
        let host = thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let mut restarts = 0;
                while restarts < RESTARTS || !over.load(Ordering::Relaxed) {
                    let rep = Rep::new();
                    if cfg!(windows) {
                        // Under Wine the one before gives it back a moment later.
                        kit::eventually("the address is free", || rep.bind(&url).is_ok());
                    } else {
                        rep.bind(&url).expect("the one before has given it back");
                    }
                    let end = Instant::now() + Duration::from_millis(20);
                    while let Ok(request) = rep.recv_timeout(end - Instant::now().min(end)) {
                        let answer = request.message().clone();
                        // The asker may be gone; it asks the next one.
                        let _ = request.reply(answer);
                    }
                    restarts += 1;
                }
            }
        });
        let mut answered = 0_u32;
        let end = Instant::now() + Duration::from_secs(2);
        while Instant::now() < end {
            let question = answered.to_string();
            assert_eq!(req.request_timeout(&question, 3 * SOON).unwrap(), question);
            answered += 1;
        }
        over.store(true, Ordering::Relaxed);
        host.join().unwrap();
        // Under Wine a listener is gone again before most clients have come.
        let few = if cfg!(windows) { 0 } else { 100 };
        assert!(answered > few, "only {answered} requests were answered");
        conserved(|| req.stats());
    }
}

/// C336: order holds for each client, through its own disconnections.
#[test]
fn each_client_is_answered_in_order_through_disconnections() {
    let _turn = beside_others();
    let rep = Rep::new();
    let address = Transport::Ipc.address();
    rep.bind(&address.url).unwrap();
    let server = thread::spawn({
        let rep = rep.clone();
        move || serve(&rep)
    });
    thread::scope(|scope| {
        for client in 0..10_u32 {
            let url = &address.url;
            scope.spawn(move || {
                let options = Options::new().reconnect_interval(Duration::from_millis(1));
                let req = Req::with_options(options).unwrap();
                req.connect(url).unwrap();
                for n in 0..1000_u32 {
                    if n % 100 == 99
                        && let Some(peer) = req.peers().first()
                    {
                        let _ = req.disconnect(peer.pipe);
                    }
                    let question = format!("{client}/{n}");
                    assert_eq!(req.request_timeout(&question, 3 * SOON).unwrap(), question);
                }
            });
        }
    });
    conserved(|| rep.stats());
    rep.close().unwrap();
    server.join().unwrap();
}
