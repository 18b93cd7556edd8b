//! The conformance list of transports, over TLS with certificates on both sides.

#[macro_use]
#[path = "../wire/transports/cases.rs"]
mod cases;

use cases::Fixture;
use sinew::Runtime;

use crate::certificates::mutual;

/// C323, C327.
fn tls() -> Fixture {
    let malformed = ["", "127.0.0.1", "127.0.0.1:65536", "127.0.0.1:x", "a b:1", "[::1:1"];
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options.tls(mutual()),
        free: Box::new(|| format!("tls+tcp://127.0.0.1:{}", kit::free_port())),
        malformed: malformed.map(|rest| format!("tls+tcp://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

/// C328.
fn wss() -> Fixture {
    let malformed =
        ["h:", "127.0.0.1:65536", "127.0.0.1:x", "a b:1", "[::1:1", "h:1/a b", "h:1/#a"];
    Fixture {
        runtime: Runtime::new().unwrap(),
        with: |options| options.tls(mutual()),
        free: Box::new(|| format!("wss://127.0.0.1:{}/some/path", kit::free_port())),
        malformed: malformed.map(|rest| format!("wss://{rest}")).into(),
        is_inproc: false,
        is_pipes: false,
    }
}

conformance!(tls wss);
