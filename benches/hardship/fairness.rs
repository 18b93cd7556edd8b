//! How long a polite peer waits beside others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Options, Pull, Push, Rep, Runtime};

use super::bare;
use super::parts::{Keys, Process, Times};
use super::peers::LARGE;

/// What goes on beside the polite peer: the part that another process plays.
const LOADS: [(&str, &str); 7] = [
    ("alone", ""),
    ("beside a flooder, 1,000 B", "flood"),
    ("beside a flooder, 64 B", "drizzle"),
    ("while 64 MiB come", "large"),
    ("while 64 MiB go", "take"),
    ("beside 1,000 flooders", "crowd"),
    ("beside peers that come and go", "storm"),
];

/// Where the peers connect to.
struct Server {
    name: &'static str,
    polite: String,
    flooded: String,
    giving: String,
    received: Arc<AtomicU64>,
    /// Whether an I/O thread serves all.
    has_loop: bool,
}

pub(crate) fn run(keys: &Keys<'_>) {
    let (rounds, seconds) = (keys.get("rounds", 5), keys.get("seconds", 2));
    let only = keys.get("only", usize::MAX);
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let is_awake = keys.get("awake", 0) > 0;
    let _awake: Vec<Process> =
        (0..if is_awake { processors } else { 0 }).map(Process::start_idle).collect();
    let servers = match keys.get("bare", 1) {
        0 => vec![sockets(false), sockets(true)],
        _ => vec![sockets(false), sockets(true), threads()],
    };
    let mut ratios = vec![Vec::new(); LOADS.len() * servers.len()];
    for round in 1..=rounds {
        println!("round {round}");
        for (at, server) in servers.iter().enumerate() {
            let mut alone = Duration::ZERO;
            for (load, (what, part)) in LOADS.iter().enumerate() {
                if load > 0 && only != usize::MAX && load != only {
                    continue;
                }
                let (times, flow) = measure(server, part, seconds);
                if load == 0 {
                    alone = times.at(990);
                }
                let p99 = times.at(990);
                ratios[at * LOADS.len() + load]
                    .push((p99.as_secs_f64() / alone.as_secs_f64(), p99.saturating_sub(alone)));
                println!("  {:7} {what:30} {times}{flow}", server.name);
            }
        }
    }
    println!("medians of the rounds: p99 over that of the same round alone, and the difference");
    for (at, mut ratios) in ratios.into_iter().enumerate() {
        ratios.sort_by(|one, other| one.0.total_cmp(&other.0));
        let Some((ratio, more)) = ratios.get(ratios.len() / 2) else { continue };
        let (server, what) = (servers[at / LOADS.len()].name, LOADS[at % LOADS.len()].0);
        println!(
            "  {server:7} {what:30} {ratio:6.2} times, {:8.3} ms more",
            1e3 * more.as_secs_f64()
        );
    }
}

/// Has a polite peer ask for some seconds while another plays `part`.
fn measure(server: &Server, part: &str, seconds: usize) -> (Times, String) {
    let url = if part == "take" { &server.giving } else { &server.flooded };
    let load = (!part.is_empty()).then(|| Process::start(&[part, url]));
    // Until the load is there; nothing tells when.
    thread::sleep(Duration::from_millis(if part == "crowd" { 1000 } else { 300 }));
    let (begin, before) = (Instant::now(), server.received.load(Ordering::Relaxed));
    let waited = waited_for_a_processor();
    let mut polite = Process::start(&["polite", &server.polite, &seconds.to_string()]);
    let told = polite.told();
    let bytes = server.received.load(Ordering::Relaxed) - before;
    let mut flow = match bytes {
        0 => String::new(),
        bytes => format!("  {:.0} MB/s", bytes as f64 / 1e6 / begin.elapsed().as_secs_f64()),
    };
    if server.has_loop {
        let waited = waited_for_a_processor().saturating_sub(waited);
        let part = 100.0 * waited.as_secs_f64() / begin.elapsed().as_secs_f64();
        flow += &format!("  its thread waits for a processor {part:.0} % of the time");
    }
    drop(load);
    // Until what the load has left behind is received; nothing tells when.
    thread::sleep(Duration::from_millis(500));
    let times = told.split(' ').map(|time| Duration::from_nanos(time.parse().expect("a time")));
    (Times::of(times.collect()), flow)
}

/// How long the I/O thread has been ready to run and had no processor.
fn waited_for_a_processor() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").expect("the threads of this process");
    let waited = threads.flatten().filter_map(|thread| {
        let name = std::fs::read_to_string(thread.path().join("comm")).ok()?;
        let times = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        let waited = times.split(' ').nth(1)?.parse().ok()?;
        name.starts_with("sinew").then_some(Duration::from_nanos(waited))
    });
    waited.sum()
}

/// Sockets of one runtime, which has one I/O thread, or that of the polite peer `apart` in a runtime of its own.
fn sockets(apart: bool) -> Server {
    let options = Options::new().max_recv_size(2 * LARGE);
    let polite = if apart {
        // For as long as the process lives.
        let runtime = Box::leak(Box::new(Runtime::new().expect("an I/O thread")));
        Rep::on(runtime, Options::new()).expect("good options")
    } else {
        Rep::new()
    };
    let flooded = Pull::with_options(options).expect("good options");
    let large = Options::new().max_send_size(2 * LARGE);
    let giving = Push::with_options(large).expect("good options");
    let any = "tcp://127.0.0.1:0";
    let received = Arc::new(AtomicU64::new(0));
    let server = Server {
        name: if apart { "apart" } else { "sinew" },
        polite: polite.bind(any).expect("a free port").url(),
        flooded: flooded.bind(any).expect("a free port").url(),
        giving: giving.bind(any).expect("a free port").url(),
        received: Arc::clone(&received),
        has_loop: true,
    };
    thread::spawn(move || {
        while let Ok(request) = polite.recv() {
            let reply = request.message().clone();
            let _ = request.reply(reply);
        }
    });
    thread::spawn({
        let received = Arc::clone(&received);
        move || {
            while let Ok(message) = flooded.recv() {
                received.fetch_add(message.len() as u64, Ordering::Relaxed);
            }
        }
    });
    thread::spawn(move || {
        while giving.send(vec![7; LARGE]).is_ok() {
            received.fetch_add(LARGE as u64, Ordering::Relaxed);
        }
    });
    server
}

/// A thread for each connection.
fn threads() -> Server {
    Server {
        name: "threads",
        polite: bare::serve(0x31, bare::echo),
        flooded: bare::serve(0x51, bare::sink),
        giving: bare::serve(0x50, bare::give),
        received: Arc::default(),
        has_loop: false,
    }
}
