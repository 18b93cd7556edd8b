//! The conformance list of transports, for tcp, ipc, abstract names and inproc, and for a transport outside the crate, that of
//! `examples/custom_transport`. `tests/tls` runs it for tls+tcp.
//!
//! A new transport adds a function that makes its [`Fixture`], and its name in the last line.

#[path = "../../examples/custom_transport/switchboard.rs"]
mod switchboard;

#[macro_use]
mod cases;

use std::sync::atomic::{AtomicUsize, Ordering};

use cases::Fixture;
use kit::TempDir;
use sinew::Runtime;
use switchboard::Switchboard;

fn tcp() -> Fixture {
    let malformed = ["", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "a b:1", "[::1:1"];
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options,
        free: Box::new(|| "tcp://127.0.0.1:0".to_owned()),
        malformed: malformed.map(|rest| format!("tcp://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

fn ipc() -> Fixture {
    let (dir, count) = (TempDir::new(), AtomicUsize::new(0));
    let path = move || dir.path(&count.fetch_add(1, Ordering::Relaxed).to_string());
    // A named pipe is in no directory.
    let free = move || match cfg!(windows) {
        true => kit::Transport::Ipc.address().url,
        false => format!("ipc://{}", path().display()),
    };
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options,
        free: Box::new(free),
        malformed: vec!["ipc://".to_owned(), format!("ipc:///{}", "x".repeat(300))],
        is_inproc: false,
        is_pipes: cfg!(windows),
    }
}

/// C612, C613, C614.
#[cfg(target_os = "linux")]
fn abstracts() -> Fixture {
    let malformed = ["%".to_owned(), "a%zz".to_owned(), "x".repeat(108)];
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options,
        free: Box::new(|| "abstract://".to_owned()),
        malformed: malformed.map(|rest| format!("abstract://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

fn inproc() -> Fixture {
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options,
        free: Box::new(|| kit::Transport::Inproc.address().url),
        malformed: vec!["inproc://".to_owned(), format!("inproc://{}", "x".repeat(128))],
        is_inproc: true,
        is_pipes: false,
    }
}

fn custom() -> Fixture {
    let malformed = ["", "x", "+1", "65536", "123456", "1/"];
    Fixture {
        runtime: Runtime::builder().transport(Switchboard::default()).build().unwrap(),
        with: |options| options,
        free: Box::new(|| "board://0".to_owned()),
        malformed: malformed.map(|rest| format!("board://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

/// C316, C319, C322.
#[cfg(feature = "ws")]
fn ws() -> Fixture {
    let malformed =
        ["h:", "127.0.0.1:65536", "127.0.0.1:x", "a b:1", "[::1:1", "h:1/a b", "h:1/#a"];
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options,
        free: Box::new(|| "ws://127.0.0.1:0/some/path".to_owned()),
        malformed: malformed.map(|rest| format!("ws://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

conformance!(tcp ipc inproc custom);
#[cfg(target_os = "linux")]
conformance!(abstracts);
#[cfg(feature = "ws")]
conformance!(ws);
