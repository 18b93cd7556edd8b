//! How long `close` takes.

use std::time::{Duration, Instant};

use sinew::{Options, Pub, Pull, Push};

use super::parts::{Keys, Process, Times};

const ANY: &str = "tcp://127.0.0.1:0";
const LONG: Duration = Duration::from_secs(60);

pub(crate) fn run(keys: &Keys<'_>) {
    let (rounds, peers) = (keys.get("rounds", 20), keys.get("peers", 1000));
    println!("idle, one connection:           {}", idle(rounds * 100));
    println!("idle, {peers} connections:         {}", crowd(rounds, peers, &Crowd::Idle));
    println!("{peers} peers that read:           {}", crowd(rounds, peers, &Crowd::Reads));
    println!("{peers} peers that do not read:    {}", crowd(rounds, peers, &Crowd::Stalls));
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
