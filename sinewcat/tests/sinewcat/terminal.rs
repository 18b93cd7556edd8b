//! On a terminal, which `script` of util-linux makes.

use std::process::Command;

use sinew::{Pub, Rep};

use crate::program::{Program, is_installed, run};
use kit::{SOON, free_port};

/// Starts ours on a terminal of its own.
fn on_terminal(args: &str) -> Program {
    let command = format!("{} {args}", env!("CARGO_BIN_EXE_sinewcat"));
    Program::spawn(Command::new("script").args(["-qefc", &command, "/dev/null"]))
}

#[test]
fn a_benchmark_shows_its_progress_on_a_terminal_only() {
    let args = ["bench", "--self", "-C", "5000", "--round-trips", "100"];
    let ended = run(&args).with(0);
    assert_eq!(ended.err, b"");
    if !is_installed("script") {
        return;
    }
    let ended = on_terminal(&args.join(" ")).end().with(0);
    let seen = ended.text();
    assert!(seen.contains("\rreceiving [") && seen.contains("\rasking ["), "{seen:?}");
    assert!(seen.contains("100%"), "{seen:?}");
    assert!(seen.contains("received: 4999 messages in "), "{seen:?}");
}

/// Whether this has been printed.
fn has(text: &str) -> impl Fn(&[u8]) -> bool {
    move |seen| String::from_utf8_lossy(seen).contains(text)
}

#[test]
fn who_waits_is_told_why_and_again_when_that_changes() {
    if !is_installed("script") {
        return;
    }
    let port = free_port();
    let url = format!("tcp://127.0.0.1:{port}");
    let mut program = on_terminal(&format!("--sub -l{port}"));
    let refused = format!("sinewcat: not connected to {url}: connection refused");
    program.out.until("refusal", has(&refused));
    let rep = Rep::new();
    rep.bind(&url).unwrap();
    program.out.until("kind of the peer", has("the peer is a rep socket, ours needs pub"));
    rep.close().unwrap();
    let publisher = Pub::new();
    publisher.bind(&url).unwrap();
    program.out.until("success", has(&format!("sinewcat: connected to {url}")));
    program.type_in(b"\x03");
    program.end().with(130);
}

#[test]
fn what_comes_is_printed_on_a_terminal_without_a_format() {
    let rep = Rep::new();
    let url = rep.bind("tcp://127.0.0.1:0").unwrap().url();
    let answering = std::thread::spawn(move || {
        while let Ok(request) = rep.recv_timeout(SOON) {
            request.reply("pong").unwrap();
        }
    });
    let args = ["--req", "--connect", &url, "-D", "ping"];
    assert_eq!(run(&args).with(0).out, b"");
    if is_installed("script") {
        assert_eq!(on_terminal(&args.join(" ")).end().with(0).text(), "pong\r\n");
        let ended = on_terminal(&format!("{} --format no", args.join(" "))).end().with(0);
        assert_eq!(ended.text(), "");
        let counted = on_terminal(&format!("stats {}", args.join(" "))).end().with(0);
        assert!(!counted.text().contains("pong"), "{counted:?}");
    }
    drop(answering);
}

#[test]
fn ctrl_c_ends_it_with_a_status() {
    if !is_installed("script") {
        return;
    }
    let port = free_port();
    let mut program = on_terminal(&format!("--pull -v -L{port}"));
    program.out.until("address", |seen| seen.starts_with(b"Listening at: "));
    program.type_in(b"\x03");
    program.end().with(130);
}

#[test]
fn ctrl_c_prints_what_was_counted() {
    if !is_installed("script") {
        return;
    }
    let mut program = on_terminal(&format!("stats --pull -v -L{}", free_port()));
    program.out.until("address", |seen| seen.starts_with(b"Listening at: "));
    program.type_in(b"\x03");
    program.end().with(130);
}
