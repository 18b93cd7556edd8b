//! What sockets take and give back: memory, descriptors, threads.
//!
//! All are counted for the whole process, so the tests here take turns.

#[path = "../kit/mod.rs"]
mod kit;

mod departed;
mod idle;
mod leftovers;
mod stress;

use std::alloc::System;
use std::sync::{Mutex, MutexGuard};

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static TURN: Mutex<()> = Mutex::new(());

/// Waits for the tests that are running to end, and keeps others from beginning.
fn in_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Bytes that are allocated now.
fn allocated() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// The names of the threads that the library has started. Those of the test harness come and go.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let names = tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok())
        .map(|name| name.trim_end().to_owned());
    names.filter(|name| name.starts_with("sinew-")).collect()
}
