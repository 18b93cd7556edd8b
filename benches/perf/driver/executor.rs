//! What carries the sides of a workload: threads for calls that block, or tasks.
//!
//! The workloads are written once, as futures. The futures of a library that blocks are ready at the
//! first look, so on [`Threads`] they are plain calls.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use super::Task;

/// Runs futures; there is one in a process.
pub(crate) trait Executor: Copy + Send + Sync + 'static {
    fn start(task: &Task) -> Self;

    /// Runs to the end, where the library's users would have it run.
    fn run(self, work: impl Future<Output = ()> + Send + 'static);

    /// Runs beside everything else.
    fn spawn(self, work: impl Future<Output = ()> + Send + 'static);

    /// As `spawn`, for what blocks its thread now and then: on a thread of its own.
    fn spawn_aside(self, work: impl Future<Output = ()> + Send + 'static);

    fn pause(self, time: Duration) -> impl Future<Output = ()> + Send;
}

/// A thread for each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Threads;

impl Executor for Threads {
    fn start(_: &Task) -> Self {
        Self
    }

    fn run(self, work: impl Future<Output = ()> + Send + 'static) {
        block_on(work);
    }

    fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        thread::spawn(move || block_on(work));
    }

    fn spawn_aside(self, work: impl Future<Output = ()> + Send + 'static) {
        self.spawn(work);
    }

    async fn pause(self, time: Duration) {
        thread::sleep(time);
    }
}

/// Tasks on the workers of a tokio runtime, one worker for each processor if nothing else is said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tokio(&'static Runtime);

impl Executor for Tokio {
    fn start(task: &Task) -> Self {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all();
        if let Some(workers) = task.workers {
            builder.worker_threads(workers);
        }
        let runtime = builder.build().expect("the system has threads to spare");
        Self(Box::leak(Box::new(runtime)))
    }

    fn run(self, work: impl Future<Output = ()> + Send + 'static) {
        // On a worker, where its messages come from.
        self.0.block_on(self.0.spawn(work)).expect("a panic ends the process");
    }

    fn spawn(self, work: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(work);
    }

    fn spawn_aside(self, work: impl Future<Output = ()> + Send + 'static) {
        thread::spawn(move || self.0.block_on(work));
    }

    async fn pause(self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// Wakes a thread that is parked.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on(work: impl Future<Output = ()>) {
    let mut work = pin!(work);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    while work.as_mut().poll(&mut context) == Poll::Pending {
        thread::park();
    }
}
