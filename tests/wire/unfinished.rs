//! Messages of which no more comes.

use std::time::Duration;

use kit::{Raw, SOON, Transport, conserved, eventually, frame};
use sinew::{DetachReason, Options, Pull, Rep};

const PULL: u8 = 0x51;
const PUSH: u8 = 0x50;
const REQ: u8 = 0x30;
const REP: u8 = 0x31;

/// C533.
#[test]
fn a_message_whose_rest_does_not_come_ends_its_connection() {
    for transport in Transport::STREAMS {
        let options = Options::new().frame_timeout(Duration::from_millis(200));
        let rep = Rep::with_options(options).unwrap();
        let address = transport.address();
        let url = rep.bind(&address.url).unwrap().url();
        let mut idle = Raw::greet(&url, REQ, REP);
        rep.wait_for_peers(1, SOON).unwrap();
        let events = rep.events();
        let stalled: Vec<Raw> = [1, 4, 20, 100_000, 150_000]
            .into_iter()
            .map(|n| {
                let mut raw = Raw::greet(&url, REQ, REP);
                let whole = match &raw {
                    Raw::Tcp(_) => frame(&vec![0x80; 200_000]),
                    Raw::Ipc(_) => kit::ipc_frame(&vec![0x80; 200_000]),
                };
                raw.send(&whole[..n]);
                raw
            })
            .collect();
        let mut ended = 0;
        while ended < stalled.len() {
            if let sinew::PipeEventKind::Detached(reason) = kit::next_event(&events) {
                assert_eq!(reason, DetachReason::FrameTimedOut);
                ended += 1;
            }
        }
        assert_eq!(rep.stats().frame_timeouts, 5);
        idle.send_frame(b"\x80\0\0\x01still here");
        assert_eq!(rep.recv_timeout(SOON).unwrap().message(), "still here");
        conserved(|| rep.stats());
    }
}

/// C534: it is not for want of bytes that a queue is full.
#[test]
fn a_queue_that_is_full_lets_no_time_pass() {
    const LENGTH: usize = 10_000;
    let limit = Duration::from_millis(50);
    let pull = Pull::with_options(Options::new().frame_timeout(limit)).unwrap();
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    let mut raw = Raw::greet(&url, PUSH, PULL);
    let flood = std::thread::spawn(move || {
        raw.send(&frame(&[7; LENGTH]).repeat(500));
        raw
    });
    // Reads end in the middle of a message, the last one too.
    eventually("the queue is full", || pull.stats().recv_queue * LENGTH as u64 >= 1 << 20);
    // Nothing tells that nothing happens.
    std::thread::sleep(6 * limit);
    assert_eq!(pull.stats().frame_timeouts, 0);
    (0..500).for_each(|_| assert_eq!(pull.recv_timeout(SOON).unwrap().len(), LENGTH));
    drop(flood.join().unwrap());
}
