//! Shows what goes on in a topology: prints a table of its sockets and their peers every second.
//!
//! ```text
//! cargo run --example top                 (until Ctrl-C)
//! cargo run --example top -- --once       (one table, as soon as every socket has had a message)
//! ```
//!
//! The topology is in the process: a pipeline over tcp, and PUB/SUB over inproc with one subscriber that
//! reads and one that does not. Your program would give its own sockets to `table`.

use std::time::{Duration, Instant};
use std::{env, error::Error, thread};

use sinew::metrics::{Observe, Snapshot};
use sinew::{Options, Pub, Pull, Push, Stats, Sub};

const INTERVAL: Duration = Duration::from_secs(1);

fn main() -> Result<(), Box<dyn Error>> {
    let once = match env::args().nth(1).as_deref() {
        None => false,
        Some("--once") => true,
        Some(_) => return Err("usage: top [--once]".into()),
    };
    let sockets = topology()?;
    if once {
        while !sockets.iter().all(|socket| is_busy(&socket.snapshot())) {
            thread::yield_now();
        }
        print!("{}", table(&snapshots(&sockets), &[], INTERVAL));
        return Ok(());
    }
    let (mut before, mut at) = (snapshots(&sockets), Instant::now());
    loop {
        thread::sleep(INTERVAL);
        let now = snapshots(&sockets);
        println!("{}", table(&now, &before, at.elapsed()));
        (before, at) = (now, Instant::now());
    }
}

/// A few sockets, with threads that keep them busy.
fn topology() -> Result<Vec<Box<dyn Observe>>, Box<dyn Error>> {
    let named = |name: &str| Options::new().name(name);
    let (jobs, worker) = (Push::with_options(named("jobs"))?, Pull::with_options(named("worker"))?);
    let work = worker.bind("tcp://127.0.0.1:0")?;
    jobs.connect(work.url())?;
    let news = Pub::with_options(named("news"))?;
    news.bind("inproc://news")?;
    let (reader, sleeper) =
        (Sub::with_options(named("reader"))?, Sub::with_options(named("sleeper"))?);
    for subscriber in [&reader, &sleeper] {
        subscriber.subscribe("")?;
        subscriber.connect("inproc://news")?;
    }
    let sockets: Vec<Box<dyn Observe>> = vec![
        Box::new(jobs.clone()),
        Box::new(worker.clone()),
        Box::new(news.clone()),
        Box::new(reader.clone()),
        Box::new(sleeper),
    ];
    thread::spawn(move || every_millisecond(|| jobs.send("job").is_ok()));
    thread::spawn(move || every_millisecond(|| news.send("news").is_ok()));
    thread::spawn(move || while worker.recv().is_ok() {});
    thread::spawn(move || while reader.recv().is_ok() {});
    Ok(sockets)
}

fn every_millisecond(act: impl Fn() -> bool) {
    while act() {
        thread::sleep(Duration::from_millis(1));
    }
}

fn snapshots(sockets: &[Box<dyn Observe>]) -> Vec<Snapshot> {
    sockets.iter().map(|socket| socket.snapshot()).collect()
}

/// Whether it has a peer, and something has passed or waits.
fn is_busy(socket: &Snapshot) -> bool {
    !socket.peers.is_empty() && passed(&socket.stats) + waiting(&socket.stats) > 0
}

/// What the program has sent and received.
fn passed(stats: &Stats) -> u64 {
    stats.messages_sent + stats.messages_received
}

/// What waits in queues, and for conversations and contexts.
fn waiting(stats: &Stats) -> u64 {
    stats.send_queue + stats.recv_queue + stats.held_outbound + stats.held_inbound
}

/// One line for each socket, and one for each of its peers. Rates are against `before`, if it is there.
fn table(now: &[Snapshot], before: &[Snapshot], elapsed: Duration) -> String {
    let mut table =
        line(["SOCKET", "KIND", "PEERS", "SENT", "RECEIVED", "QUEUED", "DROPPED", "MSG/S"]);
    for (n, socket) in now.iter().enumerate() {
        let stats = &socket.stats;
        let rate = before.get(n).map_or("-".to_owned(), |before| {
            let messages = passed(stats) - passed(&before.stats);
            format!("{:.0}", messages as f64 / elapsed.as_secs_f64())
        });
        let dropped: u64 = stats.dropped().map(|(_, count)| count).sum();
        table += &line([
            &socket.name,
            &socket.protocol.to_string(),
            &stats.current_connections.to_string(),
            &stats.messages_sent.to_string(),
            &stats.messages_received.to_string(),
            &waiting(stats).to_string(),
            &dropped.to_string(),
            &rate,
        ]);
        for peer in &socket.peers {
            table += &format!("  {peer}\n");
        }
    }
    table
}

fn line(cells: [&str; 8]) -> String {
    let [name, kind, numbers @ ..] = cells;
    let numbers: String = numbers.iter().map(|number| format!("{number:>10}")).collect();
    format!("{name:<10}{kind:<8}{numbers}\n")
}
