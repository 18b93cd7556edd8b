//! Drives the workloads over any messaging library: who plays which end, and in which process.
//!
//! Nothing here knows a library: that is a [`Library`]. `task` is what to do, `board` is what the two
//! ends tell each other, `oneway`, `roundtrip`, `survey` and `memory` are the workloads, `samples` and
//! `report` what comes of them. The side called near is the process that was started, and prints; the far side is its
//! child, or over inproc a thread. A workload's *a* side sends or asks, its *b* side receives or
//! answers.

mod board;
mod executor;
mod library;
mod measure;
mod memory;
mod oneway;
mod report;
mod roundtrip;
mod samples;
mod survey;
mod task;

use std::io::{BufReader, stdin, stdout};
use std::panic;
use std::process::{Child, Command, Stdio, exit};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{env, fs, thread};

pub(crate) use executor::{Executor, Threads, Tokio};
pub(crate) use library::{Head, Library, keep_head};
pub(crate) use task::{Kind, Task};

use board::{Board, Key};
use task::Metric;

/// What an end that has to give up returns; the reason is on standard error.
const FAILED: i32 = 4;
/// What it returns when the library has no such pattern.
const UNSUPPORTED: i32 = 5;

/// How often an end looks for what the other one tells it. Before and after the clock runs only.
const LOOK: Duration = Duration::from_micros(500);

/// All that a side of a workload needs.
struct Run<L: Library> {
    task: &'static Task,
    board: &'static Board,
    executor: L::Executor,
    /// Nanoseconds, of the side that waits for messages.
    samples: &'static Mutex<Vec<u32>>,
}

impl<L: Library> Clone for Run<L> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<L: Library> Copy for Run<L> {}

impl<L: Library> Run<L> {
    fn new(task: &'static Task, board: &'static Board) -> Self {
        let samples = Box::leak(Box::default());
        Self { task, board, executor: L::Executor::start(task), samples }
    }

    /// Opens a socket, or ends the process if the library has none of this kind.
    async fn open(self, kind: Kind) -> L::Socket {
        if let Some(socket) = L::open(kind, self.task).await {
            return socket;
        }
        println!("{}", report::unsupported::<L>(self.task));
        exit(UNSUPPORTED);
    }

    /// Waits until a value on the board has come to `least`.
    async fn wait(self, key: Key, least: u64) {
        while self.board.value(key) < least {
            self.executor.pause(LOOK).await;
        }
    }
}

/// Does what the command line asks for, in the process that it was given to or in its child.
pub(crate) fn run<L: Library>(task: Task) -> ! {
    panic::set_hook(Box::new(|why| {
        eprintln!("FAIL {why}");
        exit(FAILED);
    }));
    measure::prepare_process();
    let task: &'static Task = Box::leak(Box::new(task));
    if task.far { far_process::<L>(task) } else { near_process::<L>(task) }
}

fn far_process<L: Library>(task: &'static Task) -> ! {
    let board = Board::linked(stdout());
    start_far(Run::<L>::new(task, board));
    board.listen(stdin().lock());
    exit(0);
}

fn near_process<L: Library>(task: &'static Task) -> ! {
    static OVER: AtomicBool = AtomicBool::new(false);
    let probe = measure::probe();
    if let Some(path) = task.url.strip_prefix("ipc://") {
        let _ = fs::remove_file(path);
    }
    let (board, child) = if task.is_inproc() { (Board::alone(), None) } else { start_child(&OVER) };
    let run = Run::<L>::new(task, board);
    if task.is_inproc() {
        start_far(run);
    }
    near_side(run);
    OVER.store(true, Ordering::SeqCst);
    if let Some(mut child) = child {
        let _ = child.kill();
        let _ = child.wait();
    }
    println!("{}", report::result(run, probe));
    exit(0);
}

/// Starts this program once more, as the far end.
fn start_child(over: &'static AtomicBool) -> (&'static Board, Option<Child>) {
    let mut command = Command::new(env::current_exe().expect("a program knows its path"));
    command.args(env::args_os().skip(1)).arg("end=far");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("what has been started can be started again");
    let board = Board::linked(child.stdin.take().expect("it is piped"));
    let told = BufReader::new(child.stdout.take().expect("it is piped"));
    thread::spawn(move || {
        board.listen(told);
        if !over.load(Ordering::SeqCst) {
            eprintln!("FAIL the far end has gone");
            exit(FAILED);
        }
    });
    (board, Some(child))
}

/// Sets the far side going.
fn start_far<L: Library>(run: Run<L>) {
    let executor = run.executor;
    match run.task.metric {
        // Waits for its next message by blocking its thread, which must not be a worker's.
        metric if metric.is_oneway() && run.task.rate > 0.0 => {
            executor.spawn_aside(oneway::send_side(run));
        }
        metric if metric.is_oneway() => executor.spawn(oneway::send_side(run)),
        Metric::Survey => executor.spawn(survey::respondents(run)),
        Metric::Memory => executor.spawn(memory::clients(run)),
        _ => executor.spawn(roundtrip::server(run)),
    }
}

/// Plays the near side to its end.
fn near_side<L: Library>(run: Run<L>) {
    let executor = run.executor;
    match run.task.metric {
        metric if metric.is_oneway() => executor.run(oneway::receive_side(run)),
        Metric::Survey => executor.run(survey::surveyor(run)),
        Metric::Memory => executor.run(memory::server(run)),
        Metric::Concurrent => executor.run(roundtrip::clients(run)),
        _ => executor.run(roundtrip::client(run)),
    }
}
