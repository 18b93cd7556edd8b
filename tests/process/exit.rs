//! A process that ends right after it has closed a socket: what could be sent without waiting is sent.
//!
//! Each test runs this program again, as the sender.

use std::process::{Child, Command};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::name_of;
use kit::{RawListener, SOON, Transport, conserved, header};
use sinew::{Endpoint, Pull, Push};

const PUSH: u8 = 0x50;
const PULL: u8 = 0x51;

/// Set in the child: how it ends, where to, how many messages, of how many bytes.
const JOB: &str = "SINEW_TEST_EXIT";

/// How a sender ends.
const ENDS: [&str; 4] = ["close", "drop", "close the endpoint", "drop the last of many"];

/// What a pipe of Windows has been given is written by the event loop, which ends with the process.
const STREAMS: &[Transport] = if cfg!(windows) { &[Transport::Tcp] } else { &Transport::STREAMS };

/// How many senders are started; under Wine each takes a second.
const SENDERS: usize = if cfg!(windows) { 8 } else { 200 };

/// One test at a time: each has a close race with its peer.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has a process send, close, and exit without a moment in between.
fn sender(end: &str, url: &str, messages: usize, size: usize) -> Child {
    Command::new(std::env::current_exe().expect("a test is a file"))
        .args(["--ignored", "--exact", "--quiet", name_of(send_and_exit)])
        .env(JOB, format!("{end},{url},{messages},{size}"))
        .spawn()
        .expect("a test can be run")
}

#[test]
#[ignore = "a part of the tests here: the sender"]
fn send_and_exit() {
    let Ok(job) = std::env::var(JOB) else { return };
    let [end, url, messages, size] = job.split(',').collect::<Vec<_>>()[..] else {
        panic!("a strange job: {job}");
    };
    let push = Push::new();
    let endpoint = push.connect(url).unwrap();
    push.wait_for_peers(1, SOON).unwrap();
    let body = vec![7; size.parse().unwrap()];
    for _ in 0..messages.parse().unwrap() {
        push.send_timeout(&body, SOON).unwrap();
    }
    end_with(end, push, &endpoint);
    std::process::exit(0);
}

fn end_with(end: &str, push: Push, endpoint: &Endpoint) {
    match end {
        "close" => push.close().unwrap(),
        "drop" => drop(push),
        "close the endpoint" => endpoint.close().unwrap(),
        // As at the end of `main`, with a thread that has just let go of its handle.
        "drop the last of many" => {
            std::thread::scope(|scope| drop(scope.spawn(|| drop(push.clone()))));
            drop(push);
        }
        other => panic!("no such end: {other}"),
    }
}

/// C380.
#[test]
fn small_messages_of_a_process_that_closes_and_exits_arrive() {
    let is_slow = cfg!(sinew_fast_paths = "always") || kit::rounds(100) < 100;
    let _alone = alone();
    for &transport in STREAMS {
        // What the kernel holds if each is written by itself, as it may be on a busy machine: 278 over ipc.
        let messages = if transport == Transport::Ipc || is_slow { 250 } else { 1000 };
        let pull = Pull::new();
        let address = transport.address();
        let url = pull.bind(&address.url).unwrap().url();
        for end in ENDS.iter().cycle().take(SENDERS) {
            let mut child = sender(end, &url, messages, 10);
            for n in 0..messages {
                let received = pull.recv_timeout(SOON);
                assert!(received.is_ok(), "{transport:?}, {end}: {n} of {messages}");
            }
            assert!(child.wait().unwrap().success());
        }
        conserved(|| pull.stats());
    }
}

/// C381: far more than the kernel holds, to a peer that reads. A close does not wait for long, so a
/// machine that gives the peer no processor meanwhile is asked again.
#[test]
fn large_messages_of_a_process_that_closes_and_exits_arrive_where_the_peer_reads() {
    const MESSAGES: usize = 50;
    let _alone = alone();
    for &transport in STREAMS {
        let pull = Pull::new();
        let address = transport.address();
        let url = pull.bind(&address.url).unwrap().url();
        for end in ENDS {
            let all_arrive = || {
                let mut child = sender(end, &url, MESSAGES, 200_000);
                let arrived = receive_all(&pull, || child.try_wait().unwrap().is_some());
                assert!(child.wait().unwrap().success());
                arrived == MESSAGES
            };
            assert!((0..20).any(|_| all_arrive()), "{transport:?}, {end}");
        }
        conserved(|| pull.stats());
    }
}

/// How many messages come, until `is_over` says that the sender has gone and its pipe has, too.
fn receive_all(pull: &Pull, mut is_over: impl FnMut() -> bool) -> usize {
    let mut arrived = 0;
    loop {
        let over = is_over() && pull.stats().current_connections == 0;
        while pull.recv_timeout(Duration::from_millis(10)).is_ok() {
            arrived += 1;
        }
        if over {
            return arrived;
        }
    }
}

/// C382: the process is gone before its peer reads the first byte.
#[test]
fn what_the_kernel_holds_of_a_process_that_has_exited_arrives() {
    const MESSAGES: usize = 100;
    let _alone = alone();
    let listener = RawListener::new();
    for end in ENDS.iter().cycle().take(SENDERS.min(20)) {
        let mut child = sender(end, &listener.url(), MESSAGES, 100);
        let mut peer = listener.accept();
        peer.send(&header(PULL));
        assert!(child.wait().unwrap().success());
        assert_eq!(peer.read(8), header(PUSH));
        for _ in 0..MESSAGES {
            assert_eq!(peer.read_frame(), [7; 100]);
        }
    }
}
