//! What an idle connection over TLS and WebSocket takes, by counting what is allocated. A program of its own, since it counts
//! everything that is.

use std::alloc::System;
use std::thread;
use std::time::Duration;

use kit::SOON;
use sinew::{Options, Pull, Push};
use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

mod certificates;

use certificates::mutual;

#[global_allocator]
static ALLOCATED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// How many connections.
const COUNT: usize = 100;
/// The bound for what TLS adds to both ends of one that is idle, their certificates and keys included.
const BOUND: usize = 16 * 1024;
/// The same for WebSocket, which has the words of the upgrade to remember.
const WS_BOUND: usize = 4 * 1024;

fn in_use() -> usize {
    let stats = ALLOCATED.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// What both ends of an idle connection take that has carried a message of many records, their sockets included.
fn idle(url: &str) -> usize {
    let options = || Options::new().tls(mutual());
    let pull = Pull::with_options(options()).unwrap();
    let url = pull.bind(url).unwrap().url();
    let mut pushes = Vec::with_capacity(2 * COUNT);
    let mut connect = || {
        let push = Push::with_options(options()).unwrap();
        push.connect_now(&url).unwrap();
        push.send_timeout(vec![1; 100_000], SOON).unwrap();
        assert_eq!(pull.recv_timeout(SOON).unwrap().len(), 100_000);
        pushes.push(push);
    };
    // Queues give back what they do not use after two checks, 100 ms apart, which nothing announces.
    let settle = || thread::sleep(Duration::from_millis(600));
    for _ in 0..10 {
        connect();
    }
    settle();
    let before = in_use();
    for _ in 0..COUNT {
        connect();
    }
    settle();
    in_use().saturating_sub(before) / COUNT
}

#[test]
fn an_idle_connection_keeps_no_buffers() {
    let plain = idle("tcp://127.0.0.1:0");
    let table = [("tls+tcp", BOUND), ("ws", WS_BOUND), ("wss", BOUND + WS_BOUND)];
    println!("both ends of an idle connection: {plain} bytes over tcp");
    for (scheme, bound) in table {
        let taken = idle(&format!("{scheme}://127.0.0.1:0"));
        println!("{taken} bytes over {scheme}");
        assert!(taken < plain + bound, "{taken} bytes over {scheme}, {plain} over tcp");
    }
}
