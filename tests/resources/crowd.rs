//! Crowds: how many peers a socket accepts while the program decides about each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::beside_others;
use kit::{Raw, SOON, conserved, eventually, header};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use sinew::{Options, Pull};

const PUSH: u8 = 0x50;

/// How many peers may be decided about.
const MOST: usize = 1024;

/// C491. Those that come then wait in the kernel, and all are asked about in the end.
#[test]
fn a_socket_accepts_no_more_peers_than_may_be_decided_about() {
    const MORE: usize = 100;
    let _turn = beside_others();
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
    let open = Arc::new(AtomicBool::new(false));
    let pull = {
        let open = Arc::clone(&open);
        let admit = move |_: &_| {
            eventually("the test goes on", || open.load(Ordering::SeqCst));
            true
        };
        Pull::with_options(Options::new().admit(admit)).unwrap()
    };
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let other = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let knock = |url: &str| {
        let mut peer = Raw::connect(url);
        peer.send(&header(PUSH));
        peer
    };
    let on_the_way = || usize::try_from(pull.stats().inprogress_connections).unwrap();
    let mut peers: Vec<_> = (0..MOST).map(|_| knock(&url)).collect();
    eventually("all are on the way", || on_the_way() == MOST);
    // What is on the way is not asked about before its header is read.
    eventually("no more are accepted", || {
        peers.push(knock(&url));
        pull.stats().intake_pauses > 0
    });
    let accepted = on_the_way();
    assert!(accepted < MOST + MORE, "{accepted}");
    peers.extend((0..MORE).map(|_| knock(&url)));
    peers.push(knock(&other));
    eventually("so it is for the other endpoint", || pull.stats().intake_pauses == 2);
    assert_eq!(on_the_way(), accepted);
    open.store(true, Ordering::SeqCst);
    pull.wait_for_peers(peers.len(), SOON).unwrap();
    for peer in &mut peers {
        peer.send_frame(b"let in");
        assert_eq!(pull.recv_timeout(SOON).unwrap(), "let in");
    }
    conserved(|| pull.stats());
}
