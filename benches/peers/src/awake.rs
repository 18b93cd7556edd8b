//! Keeps the processors from halting, by threads that run only where nothing else wants to.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// The calling thread.
const SELF: Pid = Pid::from_raw(0);

/// As long as it lives, no processor halts that this process may use.
///
/// They are threads of the runner, so they end with it, however it ends.
#[derive(Debug)]
pub(crate) struct Awake {
    is_over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    /// Fails if the system does not let a thread have the class `SCHED_IDLE`, or only one processor.
    pub(crate) fn begin() -> io::Result<Self> {
        let allowed = sched_getaffinity(SELF)?;
        let mut awake = Self { is_over: Arc::default(), threads: Vec::new() };
        for processor in 0..CpuSet::count() {
            if allowed.is_set(processor)? {
                awake.add(processor)?;
            }
        }
        Ok(awake)
    }

    fn add(&mut self, processor: usize) -> io::Result<()> {
        let (started, has_started) = channel();
        let is_over = Arc::clone(&self.is_over);
        self.threads.push(thread::spawn(move || stay_awake(processor, &is_over, &started)));
        has_started.recv().expect("it says how it went before it ends")
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("it only spins");
        }
    }
}

fn stay_awake(processor: usize, is_over: &AtomicBool, started: &Sender<io::Result<()>>) {
    let can = become_idle(processor);
    let spins = can.is_ok();
    started.send(can).expect("it is waited for");
    // Without a pause instruction, at which a virtual machine may give the processor away.
    while spins && !is_over.load(Ordering::Relaxed) {}
}

/// Puts the calling thread on one processor, in the class that gives way to all others.
fn become_idle(processor: usize) -> io::Result<()> {
    let mut only = CpuSet::new();
    only.set(processor)?;
    sched_setaffinity(SELF, &only)?;
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: it reads the parameters.
    if unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it only asks.
    match unsafe { libc::sched_getscheduler(0) } {
        libc::SCHED_IDLE => Ok(()),
        class => Err(io::Error::other(format!("asked for SCHED_IDLE, got class {class}"))),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// The classes of all threads of this process: field 41 of their `stat`.
    fn classes() -> Vec<i32> {
        let threads = fs::read_dir("/proc/self/task").expect("Linux has it");
        let stats =
            threads.filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("stat")).ok());
        stats
            .filter_map(|stat| stat.rsplit(')').next()?.split_whitespace().nth(38)?.parse().ok())
            .collect()
    }

    #[test]
    fn each_processor_has_an_idle_thread_until_it_is_over() {
        let idle = || classes().into_iter().filter(|class| *class == libc::SCHED_IDLE).count();
        let awake = Awake::begin().expect("the system has the class");
        let processors = thread::available_parallelism().expect("it is known").get();
        assert_eq!(idle(), processors);
        drop(awake);
        assert_eq!(idle(), 0);
    }
}
