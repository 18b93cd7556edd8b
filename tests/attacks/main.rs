//! Attacks on sockets: by peers, by the network, by the machine, and by the program's own mistakes.
//!
//! Each test is a row of the list in `README.md` beside this file, and has the row's name before its own:
//! `a07_…` is row a7. During and after an attack a good neighbour completes 100 exchanges with the socket that
//! is attacked, and what the attack has cost is given back: descriptors, threads and memory are where they
//! were. Both is done by [`harness::attack::Attack`].
//!
//! All of that is counted for the whole process, so the tests run one after the other. `ci/attacks` runs them
//! with more rounds (`SINEW_TEST_ROUNDS`), and with those that take minutes.

#![cfg(target_os = "linux")] // counts in /proc, and uses signals and limits

mod death;
mod exhaustion;
mod foreign;
mod handshakes;
mod harness;
mod host;
mod ipc;
mod lifecycle;
mod links;
mod meaning;
mod slow;
mod table;
mod wire;

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, StatsAlloc};

#[global_allocator]
static HEAP: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;
