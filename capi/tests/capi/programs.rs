//! Debian's nanocat, unmodified, with our library in its place.

use std::process::{Child, Command, Stdio};

use kit::free_port;
use sinew::{Pair, Pull, Push};

use crate::{has, library, missing, said, with_ours};

/// Whether nanocat is there, and loads the library that it is given.
fn nanocat_is_ours() -> bool {
    if !has("nanocat") {
        return false;
    }
    let loaded =
        Command::new("ldd").arg("/usr/bin/nanocat").env("LD_LIBRARY_PATH", library()).output();
    let Ok(loaded) = loaded else {
        missing("ldd");
        return false;
    };
    let loaded = String::from_utf8_lossy(&loaded.stdout);
    let ours = library().join("libnanomsg.so.5");
    assert!(loaded.contains(&*ours.to_string_lossy()), "{loaded}");
    true
}

/// A nanocat that runs until it is dropped.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut command = with_ours("nanocat");
        Self(command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nanocat_asks_and_answers() {
    if !nanocat_is_ours() {
        return;
    }
    let port = free_port().to_string();
    for (answers, asks) in [("--rep", "--req"), ("--respondent", "--surveyor")] {
        let _answering = Running::start(&[answers, "-L", &port, "-D", "pong"]);
        let mut asking = with_ours("nanocat");
        // A survey goes to those who are connected.
        asking.args([
            asks,
            "-l",
            &port,
            "-D",
            "ping",
            "-d",
            "0.5",
            "--recv-timeout",
            "2",
            "--ascii",
        ]);
        assert_eq!(said(&mut asking), "pong\n", "{asks}");
    }
}

#[test]
fn nanocat_sends_and_ends_at_once() {
    if !nanocat_is_ours() {
        return;
    }
    let pull = Pull::new();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    said(with_ours("nanocat").args(["--push", "--connect", &url, "-D", "work"]));
    assert_eq!(pull.recv_timeout(kit::SOON).unwrap(), "work");

    let push = Push::new();
    let url = push.bind("tcp://127.0.0.1:0").unwrap().url();
    push.try_send("nobody is there").unwrap_err();
    let sending = std::thread::spawn(move || push.send("for nanocat").map(|()| push));
    let mut receiving = with_ours("nanocat");
    receiving.args(["--pull", "--connect", &url, "--quoted", "--recv-timeout", "1"]);
    assert_eq!(said(&mut receiving), "\"for nanocat\"\n");
    sending.join().unwrap().unwrap();
}

#[test]
fn nanocat_publishes_and_subscribes() {
    if !nanocat_is_ours() {
        return;
    }
    let port = free_port().to_string();
    let _publishing = Running::start(&["--pub", "-L", &port, "-D", "news of today", "-i", "0.1"]);
    let mut subscribing = with_ours("nanocat");
    subscribing.args([
        "--sub",
        "-l",
        &port,
        "--subscribe",
        "other",
        "--recv-timeout",
        "1",
        "--ascii",
    ]);
    assert_eq!(said(&mut subscribing), "");
    let pair = Pair::new();
    let url = pair.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut sending = with_ours("nanocat");
    sending.args(["--pair", "--connect", &url, "-D", "hello", "--recv-timeout", "0.2"]);
    said(&mut sending);
    assert_eq!(pair.recv_timeout(kit::SOON).unwrap(), "hello");
}
