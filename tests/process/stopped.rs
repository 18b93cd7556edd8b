//! Processes that are stopped and go on: their kernel answers for them, so they are not silent.

use std::process::{Child, Command};
use std::thread;
use std::time::Duration;

use crate::name_of;
use kit::{SOON, conserved, eventually};
use sinew::{EndpointOptions, Pull, Push};

/// Set in the child: where to connect to.
const JOB: &str = "SINEW_TEST_STOPPED";
/// For how long a peer may be silent.
const SILENCE: Duration = Duration::from_secs(1);

fn options() -> EndpointOptions {
    EndpointOptions::new().tcp_keepalive(SILENCE)
}

/// Receives until it is told how many messages it should have.
#[test]
#[ignore = "a part of the test below: the receiver"]
fn receive() {
    let Ok(url) = std::env::var(JOB) else { return };
    let pull = Pull::new();
    pull.connect_with(&url, &options()).unwrap();
    for received in 0.. {
        let message = pull.recv_timeout(3 * SOON).unwrap();
        if let Some(count) = message.strip_prefix(b"the end: ") {
            let count: u64 = std::str::from_utf8(count).unwrap().parse().unwrap();
            assert_eq!(received, count);
            return;
        }
    }
}

fn signal(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status();
    assert!(status.expect("there is a kill").success());
}

/// C605: with all buffers full, and with `TCP_USER_TIMEOUT` at the same time, the kernel would cut it off.
#[test]
fn a_stopped_process_is_slow_but_not_silent() {
    let push = Push::new();
    let url = push.bind_with("tcp://127.0.0.1:0", &options()).unwrap().url();
    let mut child = Command::new(std::env::current_exe().expect("a test is a file"))
        .args(["--ignored", "--exact", "--quiet", name_of(receive)])
        .env(JOB, url)
        .spawn()
        .expect("a test can be run");
    push.wait_for_peers(1, SOON).unwrap();
    push.send("before").unwrap();
    signal(&child, "-STOP");
    let mut sent = 1;
    let body = vec![7; 10_000];
    while push.send_timeout(&body, Duration::from_millis(200)).is_ok() {
        sent += 1;
    }
    // No event tells that it is not taken for dead.
    thread::sleep(4 * SILENCE);
    assert_eq!(push.stats().broken_connections, 0);
    assert_eq!(push.peers().len(), 1);

    signal(&child, "-CONT");
    push.send_timeout(format!("the end: {sent}"), SOON).unwrap();
    assert!(child.wait().expect("it was not waited for yet").success());
    eventually("its end is noticed", || push.peers().is_empty());
    conserved(|| push.stats());
}
