//! How long `close` takes, and how soon calls that wait return.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{Options, Pub, Pull, Push, Req, Surveyor};

use super::parts::{Keys, Process, Times};
use super::peers::greet;

const ANY: &str = "tcp://127.0.0.1:0";
const LONG: Duration = Duration::from_secs(60);
/// How many threads wait in calls of a socket that is closed.
const WAITING: usize = 4;
/// Calls wait if nothing was sent for this long.
const SETTLED: Duration = Duration::from_millis(50);

pub(crate) fn run(keys: &Keys<'_>) {
    let (rounds, peers) = (keys.get("rounds", 20), keys.get("peers", 1000));
    println!("idle, one connection:           {}", idle(rounds * 100));
    println!("idle, {peers} connections:         {}", crowd(rounds, peers, &Crowd::Idle));
    println!("{peers} peers that read:           {}", crowd(rounds, peers, &Crowd::Reads));
    println!("{peers} peers that do not read:    {}", crowd(rounds, peers, &Crowd::Stalls));
    println!("when calls of {WAITING} threads return after a close:");
    let all =
        |round: fn() -> Vec<Duration>| Times::of((0..rounds * 5).flat_map(|_| round()).collect());
    println!("recv:                           {}", all(receivers));
    println!("send to a peer that is stalled: {}", all(senders));
    println!("request:                        {}", all(askers));
    println!("recv of a survey:               {}", all(listeners));
}

/// What the peers of a socket do that is closed.
#[derive(PartialEq)]
enum Crowd {
    Idle,
    Reads,
    Stalls,
}

fn timed(close: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    close();
    begin.elapsed()
}

/// A PUSH and a PULL that have exchanged a message.
fn idle(rounds: usize) -> Times {
    let times = (0..rounds).map(|_| {
        let (push, pull) = (Push::new(), Pull::new());
        push.connect(pull.bind(ANY).expect("a free port").url()).expect("it listens");
        push.send("a").expect("it is open");
        pull.recv().expect("it is open");
        timed(|| pull.close().expect("once"))
    });
    Times::of(times.collect())
}

/// A PUB whose subscribers all have something queued, unless they are idle.
fn crowd(rounds: usize, peers: usize, crowd: &Crowd) -> Times {
    let times = (0..rounds).map(|_| {
        let options = Options::new().max_peers(2 * peers);
        let publisher = Pub::with_options(options).expect("good options");
        let url = publisher.bind(ANY).expect("a free port").url();
        let (count, id) = (peers.to_string(), 0x21.to_string());
        let mut arguments = vec!["many", &url, &count, &id];
        if *crowd == Crowd::Reads {
            arguments.push("reads");
        }
        let mut many = Process::start(&arguments);
        assert_eq!(many.told(), "there");
        publisher.wait_for_peers(peers, LONG).expect("all are there");
        if *crowd != Crowd::Idle {
            // More than the kernel takes of each, if nobody reads.
            let body = vec![7; 64 << 10];
            for _ in 0..if *crowd == Crowd::Stalls { 100 } else { 10 } {
                publisher.send(&body).expect("a PUB never waits");
            }
        }
        timed(|| publisher.close().expect("once"))
    });
    Times::of(times.collect())
}

/// A PULL whose peer sends nothing.
fn receivers() -> Vec<Duration> {
    let pull = Pull::new();
    let url = pull.bind(ANY).expect("a free port").url();
    let _peer = greet(&url, 0x50).expect("it is let in");
    released(&|| drop(pull.recv()), &|| 0, &|| pull.close().expect("once"))
}

/// A PUSH whose peer reads nothing, with all queues full.
fn senders() -> Vec<Duration> {
    let push = Push::new();
    let url = push.bind(ANY).expect("a free port").url();
    let _peer = greet(&url, 0x51).expect("it is let in");
    let send = || while push.send(vec![7; 64 << 10]).is_ok() {};
    released(&send, &|| push.stats().messages_sent, &|| push.close().expect("once"))
}

/// A REQ whose peer does not reply.
fn askers() -> Vec<Duration> {
    let req = Req::new();
    let url = req.bind(ANY).expect("a free port").url();
    let _peer = greet(&url, 0x31).expect("it is let in");
    let ask = || drop(req.request("?"));
    released(&ask, &|| req.stats().messages_sent, &|| req.close().expect("once"))
}

/// A SURVEYOR whose surveys have no end and get no answer.
fn listeners() -> Vec<Duration> {
    let endless = Options::new().survey_deadline(None);
    let surveyor = Surveyor::with_options(endless).expect("good options");
    let url = surveyor.bind(ANY).expect("a free port").url();
    let _peer = greet(&url, 0x63).expect("it is let in");
    let listen = || drop(surveyor.survey("?").map(|survey| survey.recv()));
    released(&listen, &|| surveyor.stats().messages_sent, &|| surveyor.close().expect("once"))
}

/// How long after `close` each of several calls returns that wait. `sent` stands still when they do.
fn released(call: &(dyn Fn() + Sync), sent: &dyn Fn() -> u64, close: &dyn Fn()) -> Vec<Duration> {
    let begun = AtomicUsize::new(0);
    thread::scope(|scope| {
        let calls = [(); WAITING].map(|()| {
            scope.spawn(|| {
                begun.fetch_add(1, Ordering::Relaxed);
                call();
                Instant::now()
            })
        });
        loop {
            let before = (begun.load(Ordering::Relaxed), sent());
            thread::sleep(SETTLED);
            if before == (WAITING, sent()) {
                break;
            }
        }
        assert!(calls.iter().all(|call| !call.is_finished()), "they wait");
        let begin = Instant::now();
        close();
        let returned = calls.map(|call| call.join().expect("it returns"));
        returned.map(|at| at.saturating_duration_since(begin)).to_vec()
    })
}
