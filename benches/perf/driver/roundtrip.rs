//! Questions and answers: `lat`, one client, and `conc`, `k` of them at once.
//!
//! What the server gets is sent back as it is. A message of eight bytes that is one of two numbers
//! tells it that the clock starts, or that it is over.

use std::future;
use std::time::Duration;

use super::board::Key;
use super::library::{HEAD, Library};
use super::measure::{now, peak};
use super::samples::Samples;
use super::{Executor, Run};

/// The clock starts.
const START: [u8; 8] = u64::MAX.to_ne_bytes();
/// It is over.
const END: [u8; 8] = (u64::MAX - 1).to_ne_bytes();

/// Requests that each of many clients makes before the clock starts.
const WARM_UP: usize = 5;

/// Answers until it is told that this was all.
pub(super) async fn server<L: Library>(run: Run<L>) {
    let mut socket = run.open(run.task.kinds.1).await;
    L::bind(&mut socket, &run.task.url).await;
    run.board.raise(Key::Bound, 1);
    let mut head = [0; HEAD];
    loop {
        if L::echo(&mut socket, &mut head).await != START.len() {
            continue;
        }
        match head[..START.len()] {
            ref word if *word == START => run.board.note_cpu(Key::CpuStartB),
            ref word if *word == END => break,
            _ => {}
        }
    }
    // The last answer of a library that sends from another thread is still on its way.
    run.executor.pause(Duration::from_millis(20)).await;
    run.board.note_cpu(Key::CpuEndB);
    run.board.raise(Key::PeakB, peak());
    run.board.raise(Key::Done, 1);
    future::pending().await
}

/// One client, one request after the other.
pub(super) async fn client<L: Library>(run: Run<L>) {
    let task = run.task;
    let mut socket = connected(run).await;
    let body = vec![b'x'; task.size];
    let mut head = [0; HEAD];
    let mut samples = Samples::new(task.count);
    for _ in 0..task.warm {
        L::ask(&mut socket, &body, &mut head).await;
    }
    start(run, &mut socket).await;
    for _ in 0..task.count {
        let asked = now();
        L::ask(&mut socket, &body, &mut head).await;
        samples.note(now() - asked);
    }
    run.board.raise(Key::ReceiveEnd, now());
    run.board.add(Key::Received, task.count);
    samples.hand_in(run);
    finish(run, &mut socket).await;
}

/// `k` clients with a socket each, and one more that tells the server when.
pub(super) async fn clients<L: Library>(run: Run<L>) {
    let mut control = connected(run).await;
    let clients = run.task.k as u64;
    for _ in 0..clients {
        let socket = connected(run).await;
        run.executor.spawn(one_of_many(run, socket));
    }
    run.wait(Key::Ready, clients).await;
    start(run, &mut control).await;
    run.board.raise(Key::Go, 1);
    run.wait(Key::Go, 1 + clients).await;
    finish(run, &mut control).await;
}

async fn one_of_many<L: Library>(run: Run<L>, mut socket: L::Socket) {
    let count = run.task.count / run.task.k as u64;
    let body = vec![b'x'; run.task.size];
    let mut head = [0; HEAD];
    let mut samples = Samples::new(count);
    for _ in 0..WARM_UP {
        L::ask(&mut socket, &body, &mut head).await;
    }
    run.board.add(Key::Ready, 1);
    run.wait(Key::Go, 1).await;
    for _ in 0..count {
        let asked = now();
        L::ask(&mut socket, &body, &mut head).await;
        samples.note(now() - asked);
    }
    run.board.raise(Key::ReceiveEnd, now());
    run.board.add(Key::Received, count);
    samples.hand_in(run);
    run.board.add(Key::Go, 1);
    // A peer that leaves would disturb the others.
    future::pending().await
}

async fn connected<L: Library>(run: Run<L>) -> L::Socket {
    run.wait(Key::Bound, 1).await;
    let mut socket = run.open(run.task.kinds.0).await;
    L::connect(&mut socket, &run.task.url).await;
    socket
}

async fn start<L: Library>(run: Run<L>, socket: &mut L::Socket) {
    L::ask(socket, &START, &mut [0; HEAD]).await;
    run.board.note_cpu(Key::CpuStartA);
    run.board.raise(Key::Start, now());
}

async fn finish<L: Library>(run: Run<L>, socket: &mut L::Socket) {
    run.board.raise(Key::SendEnd, run.board.value(Key::ReceiveEnd));
    run.board.note_cpu(Key::CpuEndA);
    L::ask(socket, &END, &mut [0; HEAD]).await;
    run.board.raise(Key::PeakA, peak());
    run.wait(Key::Done, 1).await;
}
