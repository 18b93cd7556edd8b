//! Time: what the clock says, and waiting for it.
//!
//! Owns the one door to the clock. Outside of simulations it is the system's. A thread of a simulation
//! ([`stage`]) has the clock of that, and sleeps and waits where its director can see it. With `--cfg shuttle` it is the
//! clock of the schedule.

use std::time::{Duration, Instant};

#[cfg(shuttle)]
use crate::sync::clock;
use crate::sync::{Condvar, Mutex, MutexGuard, thread};

#[cfg(feature = "testing")]
pub(crate) mod stage;

/// The time now.
#[inline]
pub(crate) fn now() -> Instant {
    #[cfg(feature = "testing")]
    if let Some(now) = stage::now() {
        return now;
    }
    #[cfg(shuttle)]
    return clock::now();
    #[cfg(not(shuttle))]
    Instant::now()
}

/// How much time has passed since `then`.
pub(crate) fn since(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Whether the thread is part of a simulation.
#[inline]
pub(crate) fn is_simulated() -> bool {
    #[cfg(feature = "testing")]
    if stage::now().is_some() {
        return true;
    }
    false
}

/// When the simulation began that the thread is part of.
#[cfg(feature = "testing")]
pub(crate) fn scene() -> Option<Instant> {
    stage::begin()
}

/// Sleeps for this long.
pub(crate) fn sleep(time: Duration) {
    #[cfg(feature = "testing")]
    if stage::sleep(time) {
        return;
    }
    thread::sleep(time);
}

/// Waits until `change` is notified, or for no reason, at most until the time given. `guard` is of `mutex`.
pub(crate) fn wait<'m, T>(
    change: &Condvar,
    mutex: &'m Mutex<T>,
    guard: MutexGuard<'m, T>,
    until: Option<Instant>,
) -> MutexGuard<'m, T> {
    #[cfg(feature = "testing")]
    if let Some(participant) = stage::Participant::own() {
        // Nobody else runs between these lines.
        let watched = stage::Watched::new(change.notified());
        drop(guard);
        participant.wait(until, Some(watched));
        return mutex.lock();
    }
    let _ = mutex;
    match until {
        Some(until) => change.wait_timeout(guard, until.saturating_duration_since(now())).0,
        None => change.wait(guard),
    }
}
