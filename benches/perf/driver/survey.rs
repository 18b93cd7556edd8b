//! `survey`: one asks, `k` respondents answer, and the time counts until the last answer is there.

use std::time::Duration;

use super::board::Key;
use super::library::{HEAD, Library};
use super::measure::{now, peak};
use super::samples::Samples;
use super::task::Kind;
use super::{Executor, Run};

/// Surveys before the clock starts, once everybody has answered one.
const WARM_UP: usize = 20;

/// The respondents, each with a socket of its own.
pub(super) async fn respondents<L: Library>(run: Run<L>) {
    run.wait(Key::Bound, 1).await;
    for _ in 0..run.task.k {
        let mut socket = run.open(Kind::Respondent).await;
        L::connect(&mut socket, &run.task.url).await;
        run.executor.spawn(async move {
            loop {
                L::echo(&mut socket, &mut [0; HEAD]).await;
            }
        });
    }
    run.wait(Key::Go, 1).await;
    run.board.note_cpu(Key::CpuStartB);
    run.board.raise(Key::Ready, 1);
    run.wait(Key::Go, 2).await;
    run.board.note_cpu(Key::CpuEndB);
    run.board.raise(Key::PeakB, peak());
    run.board.raise(Key::Done, 1);
}

/// The one who asks.
pub(super) async fn surveyor<L: Library>(run: Run<L>) {
    let task = run.task;
    let mut socket = run.open(Kind::Surveyor).await;
    L::bind(&mut socket, &task.url).await;
    run.board.raise(Key::Bound, 1);
    let body = vec![b'x'; task.size];
    // Who has not connected yet is not asked. All libraries get the same time for it.
    run.executor.pause(Duration::from_millis(1500)).await;
    for _ in 0..WARM_UP {
        L::survey(&mut socket, &body, task.k).await;
    }
    run.board.raise(Key::Go, 1);
    run.wait(Key::Ready, 1).await;

    let mut samples = Samples::new(task.count);
    let mut received = 0;
    run.board.note_cpu(Key::CpuStartA);
    run.board.raise(Key::Start, now());
    for _ in 0..task.count {
        let asked = now();
        let answers = L::survey(&mut socket, &body, task.k).await;
        samples.note(now() - asked);
        received += answers as u64;
    }
    let end = now();
    run.board.raise(Key::SendEnd, end);
    run.board.raise(Key::ReceiveEnd, end);
    run.board.add(Key::Received, received);
    run.board.add(Key::Lost, task.count * task.k as u64 - received);
    run.board.note_cpu(Key::CpuEndA);
    run.board.raise(Key::PeakA, peak());
    samples.hand_in(run);
    run.board.raise(Key::Go, 2);
    run.wait(Key::Done, 1).await;
}
