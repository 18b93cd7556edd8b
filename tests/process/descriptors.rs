//! Descriptors run out: nothing is lost but the connections that cannot be had.
//!
//! The limit is one of the process, so the tests run themselves again in a child with a low one.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::name_of;
use kit::{Raw, SOON, eventually};
use sinew::{BindError, Endpoint, Pull, Rep, Req};
use socket2::{Domain, SockAddr, Type};

/// Set in the child.
const IN_CHILD: &str = "SINEW_TEST_FEW_DESCRIPTORS";
const LIMIT: usize = 64;

/// C298: the listener lives on, does not burn the core, and accepts again as soon as
/// a descriptor is free, without a new connection to remind it.
#[test]
fn a_listener_survives_the_end_of_descriptors() {
    if std::env::var_os(IN_CHILD).is_some() {
        return exhaust();
    }
    let this = std::env::current_exe().expect("a test is a file");
    let test = name_of(a_listener_survives_the_end_of_descriptors);
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

    // It pauses rather than spins: at most twenty failures a second.
    let (before, start) = (rep.stats().accept_errors, Instant::now());
    eventually("it tries again", || rep.stats().accept_errors >= before + 3);
    assert!(start.elapsed() >= Duration::from_millis(80), "it pauses between failures");

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

/// With every descriptor taken, each connection that was refused used to begin a series of attempts
/// of its own, that ended only when there were descriptors again.
#[test]
fn without_descriptors_a_listener_tries_again_twenty_times_a_second_and_no_more() {
    let this = std::env::current_exe().unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -n 40; exec \"$0\" --ignored --exact --nocapture \"$1\""])
        .arg(this)
        .arg(name_of(listener_in_want))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut told = |what: &str| {
        let said = lines
            .by_ref()
            .map(Result::unwrap)
            .find_map(|line| line.split_once(what).map(|(_, said)| said.to_owned()));
        said.expect("the child says so")
    };
    let url = told("url: ");
    let mut peers: Vec<Raw> = (0..150).map(|_| Raw::connect(&url)).collect();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let errors: u64 = told("errors: ").parse().unwrap();
    assert!((1..=25).contains(&errors), "{errors} in a second");
    // Descriptors come free, and nobody new connects.
    peers.drain(..100);
    assert_eq!(peers[0].read(8), kit::header(0x51));
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
#[ignore = "a part of the test above, with few descriptors"]
fn listener_in_want() {
    let pair = Pull::new();
    println!("url: {}", pair.bind("tcp://127.0.0.1:0").unwrap().url());
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let before = pair.stats().accept_errors;
    thread::sleep(Duration::from_secs(1));
    println!("errors: {}", pair.stats().accept_errors - before);
    thread::sleep(6 * SOON); // until killed
}
