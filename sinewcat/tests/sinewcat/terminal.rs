//! On a terminal, which `script` of util-linux makes.

use std::process::Command;

use crate::program::{Program, free_port, is_installed, run};

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
