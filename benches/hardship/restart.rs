//! How soon clients are back at a listener that comes back.

use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Endpoint, EndpointState, Pull, Push};

use super::parts::{Keys, Process, Times};

/// How often the clients are looked at.
const LOOK: Duration = Duration::from_millis(2);
/// The time in which not too many may try.
const WINDOW: Duration = Duration::from_millis(50);
/// For how long the listener is away: from an update of it to a failure.
const AWAY: [u64; 5] = [100, 300, 1000, 3000, 10_000];

/// Listens until it is killed.
pub(crate) fn listen(url: &str) {
    let pull = Pull::new();
    pull.bind(url).expect("the port is free");
    println!("listens");
    while pull.recv().is_ok() {}
}

/// The clients, and when they try.
struct Clients {
    endpoints: Vec<Endpoint>,
    /// When the next attempt of each is due.
    next: Vec<Option<Instant>>,
    /// When attempts were due. Not when they were seen: looks may be late, and then see many at once.
    attempts: Vec<Instant>,
}

impl Clients {
    /// Looks at all of them; returns how many are connected.
    fn look(&mut self) -> usize {
        let mut connected = 0;
        for (endpoint, before) in self.endpoints.iter().zip(&mut self.next) {
            let status = endpoint.status();
            connected += usize::from(status.state == EndpointState::Connected);
            let next = status.next_attempt.filter(|next| *before != Some(*next));
            if let Some(next) = next {
                *before = Some(next);
                self.attempts.push(next);
            }
        }
        connected
    }

    /// Looks until all are connected, or the time is over; returns when each was.
    fn look_until(&mut self, end: Instant, begin: Instant) -> Vec<Duration> {
        let mut back = Vec::new();
        while back.len() < self.endpoints.len() && Instant::now() < end {
            let connected = self.look();
            back.resize(connected.max(back.len()), begin.elapsed());
            thread::sleep(LOOK);
        }
        back
    }

    /// The most attempts in one window from `begin` on, as a percentage of the clients.
    fn peak(&self, begin: Instant) -> f64 {
        let mut sorted: Vec<_> = self.attempts.iter().filter(|at| **at >= begin).collect();
        sorted.sort_unstable();
        let within = |first: usize| {
            let end = *sorted[first] + WINDOW;
            sorted[first..].partition_point(|at| **at < end)
        };
        let most = (0..sorted.len()).map(within).max().unwrap_or(0);
        100.0 * most as f64 / self.endpoints.len() as f64
    }
}

pub(crate) fn run(keys: &Keys<'_>) {
    let (rounds, count) = (keys.get("rounds", 15), keys.get("clients", 200));
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr());
    let url = format!("tcp://{}", port.expect("there is a free port"));
    let listen = || {
        let mut listener = Process::start(&["listen", &url]);
        assert_eq!(listener.told(), "listens");
        listener
    };
    let mut listener = Some(listen());
    let sockets: Vec<Push> = (0..count).map(|_| Push::new()).collect();
    let connect = |push: &Push| push.connect(&url).expect("a good address");
    let mut clients = Clients {
        endpoints: sockets.iter().map(connect).collect(),
        next: vec![None; count],
        attempts: Vec::new(),
    };
    let far = || Instant::now() + Duration::from_secs(60);
    let (mut all, mut peaks) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        assert_eq!(clients.look_until(far(), Instant::now()).len(), count, "all are back");
        // A connection that has lasted for a second was a success: the next begins with the shortest pause.
        thread::sleep(Duration::from_millis(1500));
        clients.look();
        clients.attempts.clear();
        let away = Duration::from_millis(AWAY[round % AWAY.len()]);
        listener = None;
        let begin = Instant::now();
        let came_back = thread::scope(|scope| {
            let server = scope.spawn(|| {
                thread::sleep(away);
                let listener = listen();
                (listener, Instant::now())
            });
            while !server.is_finished() {
                clients.look();
                thread::sleep(LOOK);
            }
            let (new, at) = server.join().expect("it listens");
            listener = Some(new);
            at
        });
        let back = clients.look_until(far(), came_back);
        assert_eq!(back.len(), count, "all are back");
        let (share, ever) = (clients.peak(came_back), clients.peak(begin));
        let times = Times::of(back.clone());
        println!(
            "away for {:5} ms: {times}  within 50 ms {share:.0} % try from then on, {ever:.0} % before",
            (came_back - begin).as_millis(),
        );
        all.extend(back);
        peaks.push((share, ever));
    }
    drop(listener);
    for (what, of) in [("at the return", 0), ("while it is away too", 1)] {
        let mut shares: Vec<f64> = peaks.iter().map(|peak| [peak.0, peak.1][of]).collect();
        shares.sort_by(f64::total_cmp);
        let (median, most) = (shares[shares.len() / 2], shares[shares.len() - 1]);
        println!("clients that try within 50 ms {what}: median {median:.0} %, most {most:.0} %");
    }
}
