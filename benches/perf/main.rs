//! Measures how fast this crate moves messages: throughput, latency, fan-out, memory.
//!
//! ```text
//! cargo run --release --example perf -- METRIC PATTERN URL SIZE COUNT [KEY=VALUE ...]
//! cargo run --release --example perf -- thr pushpull tcp://127.0.0.1:5555 64 1000000
//! cargo run --release --example perf -- lat reqrep ipc:///tmp/perf.sock 64 20000
//! cargo run --release --example perf -- conc reqrep tcp://127.0.0.1:5555 64 60000 k=100 async=1
//! ```
//!
//! | METRIC | what is done |
//! |---|---|
//! | `thr` | one sends COUNT messages of SIZE bytes, one receives them |
//! | `open` | the same at `rate` messages a second; how late each of them is |
//! | `fan` | one PUB, `k` SUBs |
//! | `fanin` | `k` PUSHes, one PULL |
//! | `subs` | a SUB with `k` subscriptions, and messages that each begin with one of them |
//! | `lat` | COUNT round trips, one after the other |
//! | `conc` | COUNT round trips of `k` REQs together |
//! | `survey` | COUNT surveys with `k` respondents |
//! | `mem` | what `k` connections that stand idle keep in memory |
//!
//! PATTERN is `pushpull`, `pubsub`, `pair`, `reqrep` or `survey`. KEYs: `k`; `rate`; `warm`, the round
//! trips before the clock starts; `hwm`, messages in each queue; `nodrop=1`, a PUB that waits for slow
//! subscribers; `nodelay=0`, Nagle's algorithm; `io`, I/O threads in each process; `async=1`,
//! tasks of an executor with `workers` threads instead of threads; `drive=1`, a task that turns the event
//! loop in place of the I/O thread; `spin`, the microseconds that a call spins before it sleeps.
//!
//! Over tcp and ipc each end is a process of its own, over inproc a thread. The result is one line of
//! JSON: `snd` and `rcv` are messages a second as the sender and the receiver see it, `p50` to `max` are
//! microseconds, `cpu_a` and `cpu_b` seconds of processor time of the sending (asking) and of the
//! receiving (answering) process, `rss_a` and `rss_b` their largest size in KiB, `kb_srv` and `kb_cli`
//! KiB for each connection. `probe_us` is how long a cache line took to another core and back just
//! before: results are comparable only where it is about the same. Linux only.

#[cfg(target_os = "linux")]
mod driver;
#[cfg(target_os = "linux")]
mod sockets;

#[cfg(target_os = "linux")]
fn main() {
    let task = driver::Task::from_command_line();
    if task.tasks {
        driver::run::<sockets::Tasks>(task)
    } else {
        driver::run::<sockets::Blocking>(task)
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("perf reads clocks and counters that only Linux has");
}
