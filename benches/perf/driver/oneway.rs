//! Messages in one direction: `thr`, `open`, `fan`, `fanin` and `subs`.
//!
//! A message carries its number, if there is room for it the time at which it was due, and for `subs`
//! a topic before both. Before the clock starts the sender says hello until everybody has heard it;
//! at the end it says so until everybody has heard that, since a PUB may lose any message.

use std::future;
use std::io::Write;
use std::time::Duration;

use super::board::Key;
use super::library::{HEAD, Library};
use super::measure::{cpu, now, peak, size, sleep_until};
use super::samples::Samples;
use super::task::{Kind, Metric, Task};
use super::{Executor, Run};

/// Numbers that no message has.
const HELLO: u64 = u64::MAX;
const END: u64 = u64::MAX - 1;

/// How long a topic is.
const TOPIC: usize = 16;

/// Sends all, from one socket or from `k`.
pub(super) async fn send_side<L: Library>(run: Run<L>) {
    let mut senders = open_senders(run).await;
    let mut body = Body::new(run.task);
    greet(run, &mut senders, &mut body).await;
    run.executor.pause(Duration::from_millis(if run.task.is_subs() { 300 } else { 50 })).await;

    run.board.note_cpu(Key::CpuStartA);
    stream(run, &mut senders, &mut body).await;
    run.board.note_cpu(Key::CpuEndA);

    say_end(run, &mut senders, &mut body).await;
    run.board.note_cpu(Key::CpuEndA);
    run.board.raise(Key::PeakA, peak());
    // Whoever closes a socket may cut off what is queued.
    future::pending().await
}

/// A socket and the number of its connections.
type Sender<S> = (S, usize);

async fn open_senders<L: Library>(run: Run<L>) -> Vec<Sender<L::Socket>> {
    let task = run.task;
    let wanted = if task.metric == Metric::FanIn { task.k } else { 1 };
    let each = wanted.div_ceil(L::most_sockets().unwrap_or(wanted));
    let mut senders = Vec::new();
    for _ in 0..wanted.div_ceil(each) {
        senders.push((run.open(task.kinds.0).await, each));
    }
    if task.a_binds() {
        L::bind(&mut senders[0].0, &task.url).await;
        run.board.raise(Key::Bound, 1);
        return senders;
    }
    run.wait(Key::Bound, 1).await;
    for (socket, connections) in &mut senders {
        for _ in 0..*connections {
            L::connect(socket, &task.url).await;
        }
    }
    senders
}

/// Says hello until all receivers are there.
async fn greet<L: Library>(run: Run<L>, senders: &mut [Sender<L::Socket>], body: &mut Body) {
    let task = run.task;
    body.number(HELLO, 0);
    if task.metric == Metric::FanIn {
        say_once::<L>(senders, body).await;
        return run.wait(Key::Ready, 1).await;
    }
    let pause = Duration::from_millis(if task.is_subs() { 20 } else { 2 });
    while run.board.value(Key::Ready) < task.receivers() {
        L::send(&mut senders[0].0, &body.bytes).await;
        run.executor.pause(pause).await;
    }
}

/// Sends the messages that count.
async fn stream<L: Library>(run: Run<L>, senders: &mut [Sender<L::Socket>], body: &mut Body) {
    let Task { count, rate, k, .. } = *run.task;
    let is_subs = run.task.is_subs();
    let mut random = 88_172_645_463_325_252;
    let start = now();
    run.board.raise(Key::Start, start);
    let mut next = 0;
    for number in 0..count {
        let mut due = 0;
        if rate > 0.0 {
            due = start + (number as f64 * 1e9 / rate) as u64;
            sleep_until(due);
        }
        if is_subs {
            body.topic(xorshift(&mut random) % k as u64);
        }
        body.number(number, due);
        L::send(&mut senders[next].0, &body.bytes).await;
        next = if next + 1 < senders.len() { next + 1 } else { 0 };
    }
    run.board.raise(Key::SendEnd, now());
}

/// Says that this was all until all receivers know it.
async fn say_end<L: Library>(run: Run<L>, senders: &mut [Sender<L::Socket>], body: &mut Body) {
    if run.task.is_subs() {
        body.topic(0);
    }
    body.number(END, 0);
    if run.task.metric == Metric::FanIn {
        say_once::<L>(senders, body).await;
        return run.wait(Key::Done, 1).await;
    }
    let receivers = run.task.receivers();
    while run.board.value(Key::Done) < receivers {
        L::send(&mut senders[0].0, &body.bytes).await;
        for _ in 0..20 {
            if run.board.value(Key::Done) < receivers {
                run.executor.pause(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Sends one message over each connection.
async fn say_once<L: Library>(senders: &mut [Sender<L::Socket>], body: &Body) {
    for (socket, connections) in senders {
        for _ in 0..*connections {
            L::send(socket, &body.bytes).await;
        }
    }
}

/// Receives all, with one socket or with `k`.
pub(super) async fn receive_side<L: Library>(run: Run<L>) {
    let task = run.task;
    match task.metric {
        Metric::Fan => {
            run.wait(Key::Bound, 1).await;
            for _ in 0..task.k {
                let mut socket = run.open(Kind::Sub).await;
                L::subscribe(&mut socket, b"").await;
                L::connect(&mut socket, &task.url).await;
                run.executor.spawn(async move {
                    receive(run, &mut socket, 1).await;
                    // A peer that leaves would disturb those who still receive.
                    future::pending().await
                });
            }
        }
        _ => {
            let mut socket = open_receiver(run).await;
            let ends = if task.metric == Metric::FanIn { task.k } else { 1 };
            receive(run, &mut socket, all_connections::<L>(ends)).await;
            // The sender says the end until it knows that it was heard, and a PUSH without a peer would wait for ever.
            run.wait(Key::PeakA, 1).await;
        }
    }
    run.wait(Key::Done, task.receivers()).await;
    run.wait(Key::PeakA, 1).await;
}

/// How many connections `k` senders have together.
fn all_connections<L: Library>(k: usize) -> usize {
    let each = k.div_ceil(L::most_sockets().unwrap_or(k));
    k.div_ceil(each) * each
}

async fn open_receiver<L: Library>(run: Run<L>) -> L::Socket {
    let task = run.task;
    let mut socket = run.open(task.kinds.1).await;
    if task.is_subs() {
        subscribe_all(run, &mut socket).await;
    } else if task.kinds.1 == Kind::Sub {
        L::subscribe(&mut socket, b"").await;
    }
    if task.a_binds() {
        run.wait(Key::Bound, 1).await;
        L::connect(&mut socket, &task.url).await;
    } else {
        L::bind(&mut socket, &task.url).await;
        run.board.raise(Key::Bound, 1);
    }
    socket
}

async fn subscribe_all<L: Library>(run: Run<L>, socket: &mut L::Socket) {
    let mut body = Body::new(run.task);
    let start = cpu();
    for topic in 0..run.task.k {
        body.topic(topic as u64);
        L::subscribe(socket, &body.bytes[..TOPIC]).await;
    }
    run.board.raise(Key::SubscribeCpu, cpu() - start);
    run.board.raise(Key::SizeEndB, size());
}

/// Receives until `ends` senders have said that this was all.
async fn receive<L: Library>(run: Run<L>, socket: &mut L::Socket, mut ends: usize) {
    let Task { metric, count, .. } = *run.task;
    let at = run.task.number_at();
    let hellos_wanted = ends;
    let mut head = [0; HEAD];
    let mut samples = Samples::new(if metric == Metric::Open { count } else { 0 });
    let (mut hellos, mut received, mut last) = (0, 0, 0);
    loop {
        L::recv(socket, &mut head).await;
        let number = number_in(&head, at);
        if number == HELLO {
            hellos += 1;
            if hellos == hellos_wanted {
                run.board.note_cpu(Key::CpuStartB);
                run.board.add(Key::Ready, 1);
            }
            continue;
        }
        if number == END {
            ends -= 1;
            if ends == 0 {
                break;
            }
            continue;
        }
        received += 1;
        if metric == Metric::Open {
            last = now();
            samples.note(last - number_in(&head, at + 8));
        } else if received % 64 == 0 || number + 1 == count {
            last = now();
        }
    }
    run.board.add(Key::Received, received);
    run.board.raise(Key::ReceiveEnd, if last == 0 { now() } else { last });
    run.board.note_cpu(Key::CpuEndB);
    run.board.raise(Key::PeakB, peak());
    samples.hand_in(run);
    run.board.add(Key::Done, 1);
}

impl Task {
    fn is_subs(&self) -> bool {
        self.metric == Metric::Subscriptions
    }

    /// How many sockets receive.
    fn receivers(&self) -> u64 {
        if self.metric == Metric::Fan { self.k as u64 } else { 1 }
    }

    /// Where in a message its number is.
    fn number_at(&self) -> usize {
        if self.is_subs() { TOPIC } else { 0 }
    }
}

/// The message that is sent, filled in anew each time.
struct Body {
    bytes: Vec<u8>,
    at: usize,
}

impl Body {
    fn new(task: &Task) -> Self {
        let mut body = Self { bytes: vec![b'x'; task.size], at: task.number_at() };
        if task.is_subs() {
            body.topic(0);
        }
        body
    }

    fn topic(&mut self, topic: u64) {
        write!(&mut self.bytes[..TOPIC], "topic/{topic:09}|").expect("it is as long as a topic");
    }

    fn number(&mut self, number: u64, due: u64) {
        let rest = &mut self.bytes[self.at..];
        rest[..8].copy_from_slice(&number.to_ne_bytes());
        if let Some(time) = rest.get_mut(8..16) {
            time.copy_from_slice(&due.to_ne_bytes());
        }
    }
}

fn number_in(head: &[u8; HEAD], at: usize) -> u64 {
    u64::from_ne_bytes(head[at..at + 8].try_into().expect("it is eight bytes"))
}

/// Marsaglia's generator: cheap, and the same numbers in each run.
fn xorshift(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
