//! How soon clients are back at a listener that comes back, and how many of them dial at once.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Endpoint, EndpointState, Pull, Push};

use super::parts::{Keys, Process, Times};
use super::peers::header;

/// How often the clients are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The time in which not too many may dial.
const WINDOW: Duration = Duration::from_millis(50);
/// For how long the listener is away: from an update of it to a failure.
const AWAY: [u64; 5] = [100, 300, 1000, 3000, 10_000];
/// A connection that has lasted for a second was a success: the next begins with the shortest pause.
const STABLE: Duration = Duration::from_millis(1500);

/// Listens until it is killed.
pub(crate) fn listen(url: &str) {
    let pull = Pull::new();
    pull.bind(url).expect("the port is free");
    println!("listens");
    while pull.recv().is_ok() {}
}

pub(crate) fn run(keys: &Keys<'_>) {
    let (rounds, count) = (keys.get("rounds", 15), keys.get("clients", 200));
    times(rounds, count);
    dials(rounds, count);
}

/// The sockets that connect, each from the moment on at which it is made.
struct Clients(Vec<(Push, Endpoint)>);

impl Clients {
    fn of(url: &str, count: usize) -> Self {
        let client = |_| {
            let push = Push::new();
            let endpoint = push.connect(url).expect("a good address");
            (push, endpoint)
        };
        Self((0..count).map(client).collect())
    }

    /// Looks at them until all are connected; returns when each was.
    fn wait(&self, begin: Instant) -> Vec<Duration> {
        let Self(clients) = self;
        let is_there = |endpoint: &Endpoint| endpoint.status().state == EndpointState::Connected;
        let mut back = Vec::new();
        while back.len() < clients.len() {
            let connected = clients.iter().filter(|(_, endpoint)| is_there(endpoint)).count();
            back.resize(connected.max(back.len()), begin.elapsed());
            thread::sleep(LOOK);
        }
        back
    }
}

/// A listener that is killed, and another in its place.
fn times(rounds: usize, count: usize) {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let url = format!("tcp://{}", port.expect("there is a free port"));
    let listen = || {
        let mut listener = Process::start(&["listen", &url]);
        assert_eq!(listener.told(), "listens");
        listener
    };
    let mut listener = listen();
    let clients = Clients::of(&url, count);
    let mut all = Vec::new();
    for away in AWAY.iter().cycle().take(rounds) {
        clients.wait(Instant::now());
        thread::sleep(STABLE);
        drop(listener);
        thread::sleep(Duration::from_millis(*away));
        listener = listen();
        let back = clients.wait(Instant::now());
        println!("away for {away:5} ms, all are back after: {}", Times::of(back.clone()));
        all.extend(back);
    }
    println!("of all:                               {}", Times::of(all));
}

/// A listener that is there all the time, takes note of all who dial, and sends them away as long as it is said to be
/// away.
fn dials(rounds: usize, count: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let url = format!("tcp://{}", listener.local_addr().expect("it is bound"));
    let clients = Clients::of(&url, count);
    let mut inside: Vec<TcpStream> = Vec::new();
    let mut outage = |away: Duration| {
        // Each is reset, since its header was not read.
        inside.clear();
        let (begin, mut dials) = (Instant::now(), Vec::new());
        while inside.len() < count {
            let (mut dialer, _) = listener.accept().expect("it listens");
            dials.push(begin.elapsed());
            if begin.elapsed() >= away {
                dialer.write_all(&header(0x51)).expect("there is room");
                inside.push(dialer);
            }
        }
        clients.wait(Instant::now());
        thread::sleep(STABLE);
        dials
    };
    outage(Duration::ZERO);
    let mut peaks = Vec::new();
    for away in AWAY.iter().cycle().take(rounds) {
        let dials = outage(Duration::from_millis(*away));
        let peak = 100.0 * most_within(WINDOW, &dials) as f64 / count as f64;
        let all = dials.len();
        println!("away for {away:5} ms: {all:5} dials, of {peak:.1} % at most within 50 ms");
        peaks.push(peak);
    }
    peaks.sort_by(f64::total_cmp);
    let (mean, last) = (peaks.iter().sum::<f64>() / rounds as f64, rounds - 1);
    let (least, median, most) = (peaks[0], peaks[rounds / 2], peaks[last]);
    println!(
        "clients that dial within the same 50 ms, at most in an outage: mean {mean:.1} %, \
         least {least:.1}, median {median:.1}, most {most:.1}"
    );
}

/// The most of these times, which are in order, within one window.
fn most_within(window: Duration, times: &[Duration]) -> usize {
    let within =
        |(n, first): (usize, &Duration)| times[n..].partition_point(|at| *at < *first + window);
    times.iter().enumerate().map(within).max().unwrap_or(0)
}
