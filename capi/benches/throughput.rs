//! How fast messages of 64 bytes go over tcp with the calls of C, beside the sockets that they are made of.
//!
//! `cargo bench -p sinew-capi`: the two take turns in one process, with a thread that sends and one that receives.
//! Fails if the median of the calls of C is below 0.7 of that of the sockets; `ci/capi` runs it.

#![allow(unsafe_code)]

use std::ffi::{CString, c_int};
use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Pull, Push};

const MESSAGES: u32 = 1_000_000;
const ROUNDS: usize = 9;
const LENGTH: usize = 64;
const LEAST: f64 = 0.7;

const AF_SP: c_int = 1;
const NN_PUSH: c_int = 80;
const NN_PULL: c_int = 81;
const NN_STAT_CURRENT_CONNECTIONS: c_int = 201;

fn main() {
    let (mut sockets, mut calls) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        sockets.push(with_sockets());
        calls.push(with_calls());
    }
    let (sockets, calls) = (median(sockets), median(calls));
    let ratio = calls / sockets;
    println!("sockets: {:.2} million messages/s", sockets / 1e6);
    println!("calls of C: {:.2} million messages/s, {ratio:.2} of that", calls / 1e6);
    assert!(ratio >= LEAST, "at least {LEAST} is wanted");
}

/// Messages a second.
fn rate(time: Duration) -> f64 {
    f64::from(MESSAGES) / time.as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn with_sockets() -> f64 {
    let (push, pull) = (Push::new(), Pull::new());
    let url = pull.bind("tcp://127.0.0.1:0").unwrap().url();
    push.connect(url).unwrap();
    push.wait_for_peers(1, Duration::from_secs(5)).unwrap();
    let receiving = thread::spawn(move || {
        for _ in 0..MESSAGES {
            black_box(pull.recv().unwrap());
        }
    });
    let begin = Instant::now();
    let message = [7; LENGTH];
    for _ in 0..MESSAGES {
        push.send(black_box(&message[..])).unwrap();
    }
    receiving.join().unwrap();
    rate(begin.elapsed())
}

fn with_calls() -> f64 {
    let (push, pull) = (nanomsg::nn_socket(AF_SP, NN_PUSH), nanomsg::nn_socket(AF_SP, NN_PULL));
    let port = kit::free_port();
    let url = CString::new(format!("tcp://127.0.0.1:{port}")).unwrap();
    // SAFETY: it is a string.
    unsafe {
        assert!(nanomsg::nn_bind(pull, url.as_ptr()) > 0);
        assert!(nanomsg::nn_connect(push, url.as_ptr()) > 0);
    }
    while nanomsg::nn_get_statistic(push, NN_STAT_CURRENT_CONNECTIONS) == 0 {
        thread::sleep(Duration::from_millis(1));
    }
    let receiving = thread::spawn(move || {
        let mut buffer = [0_u8; LENGTH];
        for _ in 0..MESSAGES {
            // SAFETY: the buffer has that length.
            let received = unsafe { nanomsg::nn_recv(pull, buffer.as_mut_ptr().cast(), LENGTH, 0) };
            assert_eq!(received, LENGTH as c_int);
            black_box(&buffer);
        }
    });
    let begin = Instant::now();
    let message = [7_u8; LENGTH];
    for _ in 0..MESSAGES {
        // SAFETY: the message has that length.
        let sent =
            unsafe { nanomsg::nn_send(push, black_box(&message).as_ptr().cast(), LENGTH, 0) };
        assert_eq!(sent, LENGTH as c_int);
    }
    receiving.join().unwrap();
    let rate = rate(begin.elapsed());
    assert_eq!((nanomsg::nn_close(push), nanomsg::nn_close(pull)), (0, 0));
    rate
}
