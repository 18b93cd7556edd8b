//! Bugs that were found by reading, each by the test that failed before it was mended.

mod kit;

use std::time::Duration;

use kit::SOON;
use sinew::{Options, Pair, Runtime};

/// A time beyond the end of time used to panic on the I/O thread, and every socket of its runtime
/// stood still.
#[test]
fn the_longest_time_is_as_good_as_for_ever() {
    let runtime = Runtime::new().unwrap();
    let options = Options::new()
        .handshake_timeout(Duration::MAX)
        .reconnect_interval(Duration::MAX)
        .reconnect_max(Duration::MAX)
        .linger(Duration::MAX);
    let left = Pair::on(&runtime, options.clone()).unwrap();
    let right = Pair::on(&runtime, options.clone()).unwrap();
    let waits = Pair::on(&runtime, options).unwrap();
    waits.connect("tcp://127.0.0.1:1").unwrap();
    let endpoint = left.bind("tcp://127.0.0.1:0").unwrap();
    right.connect(&endpoint.url()).unwrap();
    right.wait_for_peers(1, SOON).unwrap();
    right.send("written while it lingers").unwrap();
    right.close().unwrap();
    assert_eq!(left.recv_timeout(SOON).unwrap(), "written while it lingers");
    left.wait_for_peers(0, SOON).unwrap();

    let name = "inproc://the-longest-time";
    let admits = |_: &sinew::Peer| false;
    let shut = Pair::on(&runtime, Options::new().admit(admits)).unwrap();
    shut.bind(name).unwrap();
    waits.connect(name).unwrap();
}
