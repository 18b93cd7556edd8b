//! Measures what sockets do in hard times: beside peers that flood, while they close, when they come back.
//!
//! ```text
//! cargo run --release --example hardship -- fairness [KEY=VALUE ...]
//! cargo run --release --example hardship -- close [KEY=VALUE ...]
//! cargo run --release --example hardship -- restart [KEY=VALUE ...]
//! cargo run --release --example hardship -- handshakes [KEY=VALUE ...]
//! cargo run --release --example hardship -- descriptors [KEY=VALUE ...]
//! ```
//!
//! `fairness` (T17 of docs/reliability.md): how long a polite peer waits for replies of a REP, alone and beside
//! others of the same event loop, in each round. KEYs: `rounds`; `seconds` for each of its parts; `awake=1`,
//! the processors do not halt; `bare=0`, without the last of the three servers. The peers are processes of their own.
//! The first server has all sockets in one runtime; the second has the REP in a runtime of its own; the third has a thread
//! for each connection, and blocking calls, which shows what the machine alone makes of such a load.
//!
//! `close` (T15): how long `close` takes, of a socket with one idle connection and of one with `peers` that are
//! written to; and how soon calls of the socket return that wait in other threads. KEYs: `rounds`; `peers`.
//!
//! `restart` (T13): how soon `clients` sockets are connected again to a listener that is killed and comes back; and
//! what part of them dials within the same 50 ms, as one sees that takes note of them. KEYs: `rounds`; `clients`.
//!
//! `handshakes` (T5): how soon good peers are let in beside `peers` that say nothing, and how exactly these are
//! closed. `descriptors` (T6): what a listener takes without descriptors, and how soon it uses one that is free.
//!
//! Linux only.

#[cfg(target_os = "linux")]
mod bare;
#[cfg(target_os = "linux")]
mod close;
#[cfg(target_os = "linux")]
mod exhaustion;
#[cfg(target_os = "linux")]
mod fairness;
#[cfg(target_os = "linux")]
mod parts;
#[cfg(target_os = "linux")]
mod peers;
#[cfg(target_os = "linux")]
mod restart;

#[cfg(target_os = "linux")]
fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((what, rest)) = arguments.split_first() else {
        return eprintln!("one of: fairness, close, restart, handshakes, descriptors");
    };
    parts::allow_descriptors();
    let keys = parts::Keys::of(rest);
    match what.as_str() {
        "fairness" => fairness::run(&keys),
        "close" => close::run(&keys),
        "restart" => restart::run(&keys),
        "handshakes" => exhaustion::handshakes(&keys),
        "descriptors" => exhaustion::descriptors(&keys),
        part => peers::play(part, rest),
    }
}

#[cfg(not(target_os = "linux"))]
fn main() {
    eprintln!("its peers are measured by what only Linux has");
}
