//! What sockets take and give back: memory, descriptors, threads.
//!
//! All are counted for the whole process, so a test that counts runs alone. Tests that only load the machine
//! run beside each other, and are not in the other groups, which have tests that read the clock.

#[cfg(target_os = "linux")] // opens more than a thousand connections
mod budget;
#[cfg(target_os = "linux")] // sets the limit of descriptors
mod crowd;
#[cfg(target_os = "linux")] // counts descriptors in /proc
mod dead_peers;
#[cfg(unix)] // Windows tells of an end only to who has read all before it
mod departed;
#[cfg(target_os = "linux")] // sets the limit of descriptors
mod idle;
#[cfg(target_os = "linux")] // counts descriptors and threads in /proc
mod leftovers;
#[cfg(target_os = "linux")] // counts descriptors and threads in /proc
mod soak;
mod stress;

use std::alloc::System;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: RwLock<()> = RwLock::new(());

/// Waits for the tests that are running to end, and keeps others from beginning.
fn alone() -> RwLockWriteGuard<'static, ()> {
    TURN.write().unwrap_or_else(PoisonError::into_inner)
}

/// Waits for a test that wants to be alone to end, and keeps others of that kind from beginning.
fn beside_others() -> RwLockReadGuard<'static, ()> {
    TURN.read().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes that are allocated now.
#[cfg(unix)]
fn allocated() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The names of the threads that the library has started. Those of the test harness come and go.
#[cfg(target_os = "linux")]
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let names = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned());
    names.filter(|name| name.starts_with("sinew-")).collect()
}
