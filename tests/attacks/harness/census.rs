//! A census: what the process holds at a moment.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use kit::{SOON, descriptors};

use crate::HEAP;

/// How many bytes more than before pass for the same: what the standard library and the test harness keep,
/// and the room that tables keep once they have grown for a few peers; and what each further I/O thread keeps to
/// read into.
const SLACK: usize = (64 << 10) + (kit::IO_THREADS - 1) * (256 << 10);

/// Descriptors, threads of the library, and bytes on the heap.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Census {
    descriptors: usize,
    threads: usize,
    pub(crate) bytes: usize,
}

impl Census {
    pub(crate) fn now() -> Self {
        Self { descriptors: descriptors(), threads: threads(), bytes: allocated() }
    }

    /// The census once memory stands still: what has just ended may be giving back.
    pub(crate) fn settled() -> Self {
        let end = Instant::now() + SOON;
        loop {
            let before = Self::now();
            // No event tells that the last of what was held is given back.
            thread::sleep(Duration::from_millis(20));
            if Self::now() == before || Instant::now() > end {
                return before;
            }
        }
    }

    /// The library has no more threads than at the time of this census.
    #[track_caller]
    pub(crate) fn has_no_more_threads(&self) {
        let now = threads();
        assert!(now <= self.threads, "{now} threads, {} before", self.threads);
    }

    /// Waits until the process holds no more than at the time of this census, but for `bytes` more than what
    /// passes for the same.
    #[track_caller]
    pub(crate) fn is_back(&self, bytes: usize) {
        let end = Instant::now() + SOON;
        let most = self.bytes + SLACK + bytes;
        loop {
            let now = Self::now();
            let is_less = now.descriptors <= self.descriptors && now.threads <= self.threads;
            if is_less && now.bytes <= most {
                return;
            }
            assert!(Instant::now() < end, "held before: {self}; held now: {now}");
            thread::sleep(Duration::from_millis(2));
        }
    }
}

impl fmt::Display for Census {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { descriptors, threads, bytes } = self;
        write!(f, "{descriptors} descriptors, {threads} threads, {bytes} bytes")
    }
}

/// Bytes that are allocated now.
pub(crate) fn allocated() -> usize {
    let stats = HEAP.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// How many threads the library has started. Those of the test harness come and go.
fn threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let names =
        tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    names.filter(|name| name.starts_with("sinew-")).count()
}

/// How often the I/O threads have gone to sleep.
pub(crate) fn sleeps() -> u64 {
    let tasks = std::fs::read_dir("/proc/self/task").expect("this is Linux");
    let status = |task: std::io::Result<std::fs::DirEntry>| {
        std::fs::read_to_string(task.ok()?.path().join("status")).ok()
    };
    let statuses =
        tasks.filter_map(status).filter(|status| status.starts_with("Name:\tsinew-io\n"));
    let sleeps = statuses.filter_map(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        line.trim().parse::<u64>().ok()
    });
    sleeps.sum()
}
