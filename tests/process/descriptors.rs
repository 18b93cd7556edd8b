//! Descriptors run out: nothing is lost but the connections that cannot be had.
//!
//! The limit is one of the process, so the test runs itself again in a child with a low one.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kit::{self, Raw, SOON, eventually};
use sinew::{BindError, Endpoint, Rep, Req};
use socket2::{Domain, SockAddr, Type};

/// Set in the child.
const IN_CHILD: &str = "SINEW_TEST_FEW_DESCRIPTORS";
const LIMIT: usize = 64;

/// C298; reliability D1: the listener lives on, does not burn the core, and accepts again as soon as
/// a descriptor is free, without a new connection to remind it.
#[test]
fn a_listener_survives_the_end_of_descriptors() {
    if std::env::var_os(IN_CHILD).is_some() {
        return exhaust();
    }
    let this = std::env::current_exe().expect("a test is a file");
    let test = "descriptors::a_listener_survives_the_end_of_descriptors";
    let status = Command::new("sh")
        .arg("-c")
        .arg(format!("ulimit -n {LIMIT} && exec \"$0\" --exact {test} --nocapture"))
        .arg(this)
        .env(IN_CHILD, "1")
        .status()
        .expect("there is a shell");
    assert!(status.success(), "the child failed: see above");
}

fn exhaust() {
    let (rep, req) = (Rep::new(), Req::new());
    let endpoint = rep.bind("tcp://127.0.0.1:0").unwrap();
    req.connect(endpoint.url()).unwrap();
    rep.wait_for_peers(1, SOON).unwrap();
    let address = endpoint.url().trim_start_matches("tcp://").to_owned();

    // Each takes one descriptor here and, once accepted, another there. The last of all has its own
    // beforehand, so that there is one to accept even where the others took the last descriptor evenly.
    let late = socket2::Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let mut clients: Vec<TcpStream> =
        std::iter::from_fn(|| TcpStream::connect(&address).ok()).take(LIMIT).collect();
    late.connect(&SockAddr::from(address.parse::<SocketAddr>().unwrap())).unwrap();
    clients.push(late.into());
    eventually("accepting fails", || rep.stats().accept_errors > 0);
    every_failure_has_the_words_of_the_system(&endpoint, &address);

    // It pauses rather than spins: about ten failures a second.
    let (before, start) = (rep.stats().accept_errors, Instant::now());
    eventually("it tries again", || rep.stats().accept_errors >= before + 3);
    assert!(start.elapsed() >= Duration::from_millis(150), "it pauses between failures");

    // The connection that was there all the time is none the worse for it.
    let asked = req.context();
    asked.send("still there?").unwrap();
    rep.recv_timeout(SOON).unwrap().reply("yes").unwrap();
    assert_eq!(asked.recv_timeout(SOON).unwrap(), "yes");

    // One that waits in the backlog is accepted when descriptors are free again.
    let last = clients.pop().expect("some could connect");
    clients.clear();
    let mut last = Raw::accepted(last);
    last.send(&kit::header(0x30));
    assert_eq!(last.read(8), kit::header(0x31));
    drop(last);
    Rep::new().bind("tcp://127.0.0.1:0").expect("there are descriptors again");
}

/// C344. Not those of std for errors that it has no class for.
#[track_caller]
fn every_failure_has_the_words_of_the_system(listener: &Endpoint, address: &str) {
    const WORDS: &str = "Too many open files";
    let bound = Rep::new().bind("tcp://127.0.0.1:0").unwrap_err();
    assert!(matches!(bound, BindError::Io { .. }));
    assert!(bound.to_string().contains(WORDS), "{bound}");

    let accepted = listener.status();
    assert!(accepted.to_string().contains(WORDS), "{accepted}");

    let dialer = Req::new();
    for url in [&format!("tcp://{address}"), "ipc:///tmp/nobody"] {
        let now = dialer.connect_now(url).unwrap_err();
        assert!(now.to_string().contains(WORDS), "{now}");
        let later = dialer.connect(url).unwrap();
        eventually("an attempt has failed", || later.status().last_error.is_some());
        assert!(later.status().to_string().contains(WORDS), "{}", later.status());
    }
    let told = format!("{listener:?} {:?}", dialer.endpoints());
    assert!(!told.contains("uncategorized"), "{told}");
}
