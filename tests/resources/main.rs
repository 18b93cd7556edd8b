//! What sockets take and give back: memory, descriptors, threads.
//!
//! All are counted for the whole process, so the tests here take turns.

#[path = "../kit/mod.rs"]
mod kit;

mod departed;
mod idle;
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
