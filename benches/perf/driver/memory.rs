//! `mem`: `k` connections that have carried one message each and stand idle.

use std::future;
use std::time::Duration;

use super::board::Key;
use super::library::{HEAD, Library};
use super::measure::{now, peak, size};
use super::task::Kind;
use super::{Executor, Run};

/// One PULL that everybody is connected to.
pub(super) async fn server<L: Library>(run: Run<L>) {
    let mut socket = run.open(Kind::Pull).await;
    L::bind(&mut socket, &run.task.url).await;
    run.board.raise(Key::SizeStartB, size());
    run.board.raise(Key::Bound, 1);
    for _ in 0..run.task.k {
        L::recv(&mut socket, &mut [0; HEAD]).await;
    }
    run.board.raise(Key::ReceiveEnd, now());
    run.board.add(Key::Received, run.task.k as u64);
    // Whatever a library does behind the scenes when a connection falls silent.
    run.executor.pause(Duration::from_millis(300)).await;
    run.board.raise(Key::SizeEndB, size());
    run.board.raise(Key::PeakB, peak());
    run.board.raise(Key::Done, 1);
    run.wait(Key::PeakA, 1).await;
}

/// `k` PUSHes; where a process cannot have so many sockets, several connections each.
pub(super) async fn clients<L: Library>(run: Run<L>) {
    run.wait(Key::Bound, 1).await;
    let task = run.task;
    let each = task.k.div_ceil(L::most_sockets().unwrap_or(task.k));
    let _first = run.open(Kind::Push).await;
    run.board.raise(Key::SizeStartA, size());
    run.board.raise(Key::Start, now());
    let mut sockets = Vec::new();
    for _ in 0..task.k.div_ceil(each) {
        let mut socket = run.open(Kind::Push).await;
        for _ in 0..each {
            L::connect(&mut socket, &task.url).await;
        }
        sockets.push(socket);
    }
    if each > 1 {
        // Otherwise the first connection of a socket takes all of its messages.
        run.executor.pause(Duration::from_secs(2)).await;
    }
    let body = vec![b'x'; task.size];
    let turns = (0..sockets.len()).cycle();
    for socket in turns.take(task.k) {
        L::send(&mut sockets[socket], &body).await;
    }
    run.wait(Key::Done, 1).await;
    run.board.raise(Key::SendEnd, now());
    run.board.raise(Key::SizeEndA, size());
    run.board.raise(Key::PeakA, peak());
    future::pending().await
}
