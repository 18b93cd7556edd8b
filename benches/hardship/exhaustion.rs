//! What is left for good peers when others take all there is.

use std::fs::File;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::TimeValLike;
use sinew::{EndpointOptions, Pull};

use super::parts::{Keys, Process, Times};
use super::peers;

const ANY: &str = "tcp://127.0.0.1:0";
/// How long a header may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How many connections the process may have that runs out of descriptors.
const FEW: u64 = 40;
/// For how long it is watched.
const WATCHED: Duration = Duration::from_secs(3);

/// Good peers beside `peers` that say nothing.
pub(crate) fn handshakes(keys: &Keys<'_>) {
    let count = keys.get("peers", 5000).to_string();
    let pull = Pull::new();
    let patient = EndpointOptions::new().handshake_timeout(DEADLINE);
    let url = pull.bind_with(ANY, &patient).expect("a free port").url();
    let alone = greetings(&url);
    let mut silent = Process::start(&["silent", &url, &count]);
    assert_eq!(silent.told(), "there");
    println!("a good peer connects alone:             {alone}");
    println!("beside {count} that say nothing:         {}", greetings(&url));
    println!("these are closed after (milliseconds):  {}", silent.told());
    println!("for {DEADLINE:?}; handshake_timeouts: {}", pull.stats().handshake_timeouts);
}

/// How long connecting and the exchange of headers take.
fn greetings(url: &str) -> Times {
    let times = (0..300).map(|_| {
        let begin = Instant::now();
        peers::greet(url, 0x50).expect("it is let in");
        begin.elapsed()
    });
    Times::of(times.collect())
}

/// A listener that runs out of descriptors.
pub(crate) fn descriptors(keys: &Keys<'_>) {
    let pull = Pull::new();
    let url = pull.bind(ANY).expect("a free port").url();
    let mut kept: Vec<File> = (0..keys.get("rounds", 20)).map(|_| null()).collect();
    let used = std::fs::read_dir("/proc/self/fd").expect("Linux has it").count() as u64;
    let mut knocks = Process::start(&["knock", &url, "200"]);
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, used + FEW, most).expect("it is allowed");
    assert_eq!(knocks.told(), "there");
    while pull.stats().accept_errors == 0 {
        thread::sleep(Duration::from_millis(10));
    }
    let before = cpu();
    thread::sleep(WATCHED);
    let share = 100.0 * (cpu() - before).as_secs_f64() / WATCHED.as_secs_f64();
    println!("without descriptors it takes {share:.2} % of a processor");
    let times = std::iter::from_fn(|| {
        let peers = pull.peers().len();
        let begin = Instant::now();
        kept.pop()?;
        while pull.peers().len() == peers {
            thread::sleep(Duration::from_micros(500));
        }
        Some(begin.elapsed())
    });
    println!("from a free descriptor to the next peer: {}", Times::of(times.collect()));
}

fn null() -> File {
    File::open("/dev/null").expect("there is a descriptor")
}

/// The processor time of this process so far.
fn cpu() -> Duration {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process may ask");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    Duration::from_micros(micros.unsigned_abs())
}
