//! What an idle connection over TLS and WebSocket takes, by counting what is allocated. A program of its own, since it counts
//! everything that is.

use std::alloc::System;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use kit::{Raw, SOON, eventually};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};
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

/// Each test counts everything that is allocated.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first message of a client.
fn hello() -> Vec<u8> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = ClientConfig::builder().with_root_certificates(RootCertStore::empty());
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let config = Arc::new(config.with_no_client_auth());
    let mut hello = Vec::new();
    ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// J2: of a first message the last byte does not come, or of many messages the rest.
#[test]
fn stalled_hellos_are_small() {
    let _turn = alone();
    let small = hello();
    let small = &small[..small.len() - 1];
    // The beginning of a hello of 64,000 bytes, just within what a handshake may be.
    let mut large = vec![0x16, 0x03, 0x01, 0x3f, 0xff, 0x01, 0x00, 0xfa, 0x00];
    large.resize(16_000, 0);
    for (name, bytes) in [("small", small), ("large", &large)] {
        let pull = Pull::with_options(Options::new().tls(mutual())).unwrap();
        let url = pull.bind("tls+tcp://127.0.0.1:0").unwrap().url().replace("tls+", "");
        let stall = || {
            let mut raw = Raw::connect(&url);
            raw.send(bytes);
            raw
        };
        // Nothing tells that a part of a message was read.
        let settle = || thread::sleep(Duration::from_millis(300));
        let first: Vec<Raw> = (0..10).map(|_| stall()).collect();
        settle();
        let before = in_use();
        let stalled: Vec<Raw> = (0..COUNT).map(|_| stall()).collect();
        eventually("all are there", || {
            pull.stats().inprogress_connections == (first.len() + COUNT) as u64
        });
        settle();
        let taken = in_use().saturating_sub(before) / COUNT;
        println!("{taken} bytes for a {name} hello that stalls after {}", bytes.len());
        assert!(taken >= bytes.len(), "it was not read");
        assert!(taken <= 32 * 1024, "{taken} bytes for a {name} hello");
        drop((first, stalled));
    }
}

#[test]
fn an_idle_connection_keeps_no_buffers() {
    let _turn = alone();
    let plain = idle("tcp://127.0.0.1:0");
    let table = [("tls+tcp", BOUND), ("ws", WS_BOUND), ("wss", BOUND + WS_BOUND)];
    println!("both ends of an idle connection: {plain} bytes over tcp");
    for (scheme, bound) in table {
        let taken = idle(&format!("{scheme}://127.0.0.1:0"));
        println!("{taken} bytes over {scheme}");
        assert!(taken < plain + bound, "{taken} bytes over {scheme}, {plain} over tcp");
    }
}
