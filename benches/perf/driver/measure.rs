//! Clocks and counters of the system, and the probe that tells how the machine is disposed.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use nix::sys::prctl;
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage, setrlimit};
use nix::sys::time::{TimeSpec, TimeValLike};
use nix::time::{ClockId, ClockNanosleepFlags, clock_gettime, clock_nanosleep};

/// Nanoseconds of the clock that all processes share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the system has this clock");
    time.num_nanoseconds().cast_unsigned()
}

/// Sleeps until [`now`] is `due`.
pub(crate) fn sleep_until(due: u64) {
    if now() < due {
        let time = TimeSpec::nanoseconds(due.cast_signed());
        let flags = ClockNanosleepFlags::TIMER_ABSTIME;
        // A signal ends it early, which no program here is sent.
        let _ = clock_nanosleep(ClockId::CLOCK_MONOTONIC, flags, &time);
    }
}

/// Microseconds of processor time that this process has used.
pub(crate) fn cpu() -> u64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("a process can ask for its usage");
    let micros = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    micros.cast_unsigned()
}

/// KiB of memory that this process occupies.
pub(crate) fn size() -> u64 {
    status("VmRSS:")
}

/// The most it has ever occupied. Not `ru_maxrss`, which keeps what the parent had.
pub(crate) fn peak() -> u64 {
    status("VmHWM:")
}

fn status(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("a process can read its status");
    let value = text.lines().find_map(|line| line.strip_prefix(name));
    let number = value.and_then(|value| value.trim().trim_end_matches(" kB").parse().ok());
    number.expect("the status has this line")
}

/// Lets timers be exact, and the process have as many descriptors as it is allowed to.
pub(crate) fn prepare_process() {
    // Threads started later have it from this one. Without it sleeps are 50 µs too long.
    let _ = prctl::set_timerslack(1);
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// How often the probe's cache line goes there and back.
const PROBE_BLOCK: u32 = 500;
const PROBE_BLOCKS: u32 = 100;
/// After which time the probe is content with fewer blocks. On a machine that has nothing else to do all
/// of them take 5 to 30 ms; where the two threads have to share a processor they would take seconds.
const PROBE_LIMIT: u64 = 50_000_000;

/// Whose turn it is: odd, the echo's; then even, the probe's.
static TURN: AtomicU32 = AtomicU32::new(0);
const OVER: u32 = u32::MAX;

/// Microseconds that a cache line takes to another processor and back, the median of 100 blocks.
///
/// A virtual machine may run its processors on cores that are near or far from each other, and all
/// that threads do together differs by a factor of two or more between the two.
pub(crate) fn probe() -> f64 {
    let echo = thread::spawn(|| {
        let turns = (1..OVER).step_by(2).take_while(|turn| is_turn(*turn));
        turns.for_each(|turn| TURN.store(turn + 1, Ordering::Release));
    });
    let begin = now();
    let mut times = Vec::new();
    for block in 0..PROBE_BLOCKS {
        times.push(probe_block(block * PROBE_BLOCK * 2));
        if now() - begin > PROBE_LIMIT {
            break;
        }
    }
    TURN.store(OVER, Ordering::Release);
    echo.join().expect("it only counts");
    times.sort_unstable();
    times[times.len() / 2] as f64 / f64::from(PROBE_BLOCK) / 1000.0
}

/// Nanoseconds for a block of round trips that begins with turn `first`.
fn probe_block(first: u32) -> u64 {
    let start = now();
    for turn in (first..first + PROBE_BLOCK * 2).step_by(2) {
        TURN.store(turn + 1, Ordering::Release);
        is_turn(turn + 2);
    }
    now() - start
}

/// Waits for a turn; false if there will be none any more.
///
/// Without a pause between two looks, which alone may take as long as the way of the line. Who has
/// looked for longer than any way takes may have the processor that the other one needs.
fn is_turn(turn: u32) -> bool {
    const LOOKS: u32 = 10_000;
    for look in 1_u32.. {
        match TURN.load(Ordering::Acquire) {
            OVER => return false,
            now if now == turn => break,
            _ if look % LOOKS == 0 => thread::yield_now(),
            _ => {}
        }
    }
    true
}
