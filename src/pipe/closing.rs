//! Closing: what a closing socket writes in the caller before it leaves its connections to the event loop.
//!
//! The process may end right after `close`, and its I/O threads with it, so the caller writes while the
//! kernel takes what is queued: for up to [`LONGEST`] for all connections together, and no longer than
//! [`PATIENCE`] for one whose peer does not read. Of many connections each is written to once. This file owns those
//! limits; the connection does the writing.

use std::time::{Duration, Instant};

use super::FarLink;
use crate::sync::Arc;
use crate::time;

/// The longest time that a close writes, for any number of connections and messages.
const LONGEST: Duration = Duration::from_millis(25);
/// Leave a connection to the event loop when the kernel has taken nothing for this long. A peer that reads
/// gets a processor within that time.
const PATIENCE: Duration = Duration::from_millis(5);
/// Sleep for this long between two attempts, so that peers, and threads that hold a write half, can run.
const PAUSE: Duration = Duration::from_micros(50);

/// How far the thread that closes a connection has come with what was queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FinalWrite {
    /// Nothing is left, or nothing can be written any more.
    Done,
    /// The kernel has taken some of it.
    Taken,
    /// The kernel has taken none of it.
    Refused,
    /// Another thread is writing.
    Interrupted,
}

/// Write once to each of more connections than this. Each of them may take a kernel's buffer at every attempt, and
/// to try again and again would take the whole time, and a processor.
const MANY: usize = 64;

/// A connection that has something left to write.
struct Unfinished {
    link: Arc<dyn FarLink>,
    /// The time by which the kernel must have taken something.
    patience: Instant,
}

/// Writes what the kernel takes of what is queued on `links`, and closes them. The event loop writes on
/// for up to `linger`.
pub(super) fn close_all(links: Vec<Arc<dyn FarLink>>, linger: Duration) {
    let end = time::now() + LONGEST;
    if links.len() > MANY {
        return links.into_iter().for_each(|link| {
            if time::now() < end {
                link.write_batch();
            }
            link.post_close(linger);
        });
    }
    let mut unfinished = Vec::new();
    // Once over all links: most are done by this.
    for link in links {
        let mut it = Unfinished { link, patience: time::now() + PATIENCE };
        if it.goes_on(end) { unfinished.push(it) } else { it.link.post_close(linger) }
    }
    // Again over those that have more and whose kernel keeps taking it, until the time is over.
    while !unfinished.is_empty() {
        time::sleep(PAUSE);
        unfinished.retain_mut(|it| {
            let goes_on = it.goes_on(end);
            if !goes_on {
                it.link.post_close(linger);
            }
            goes_on
        });
    }
}

impl Unfinished {
    /// Writes what the kernel takes now. Says whether another attempt is worth it.
    fn goes_on(&mut self, end: Instant) -> bool {
        let now = time::now();
        if now >= end {
            return false;
        }
        match self.link.write_before_close(end) {
            FinalWrite::Done => false,
            FinalWrite::Taken => {
                self.patience = now + PATIENCE;
                true
            }
            // The thread that writes does not wait, so it only needs a processor.
            FinalWrite::Interrupted => true,
            FinalWrite::Refused => now < self.patience,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Edge;
    use super::*;
    use crate::sync::{AtomicUsize, Ordering};

    /// A connection whose peer reads on: the kernel takes a part each time.
    #[derive(Debug, Default)]
    struct Greedy {
        once: AtomicUsize,
        more: AtomicUsize,
        closed: AtomicUsize,
    }

    impl FarLink for Greedy {
        fn ring(&self, _: Edge) {}

        fn write_batch(&self) {
            self.once.fetch_add(1, Ordering::Relaxed);
        }

        fn close(&self, _: Duration) {}

        fn write_before_close(&self, _: Instant) -> FinalWrite {
            match self.more.fetch_add(1, Ordering::Relaxed) {
                0..9 => FinalWrite::Taken,
                _ => FinalWrite::Done,
            }
        }

        fn post_close(&self, _: Duration) {
            self.closed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often each of so many was written to, at most: by the call for many, and by that for few.
    fn writes(count: usize) -> (usize, usize) {
        let links: Vec<Arc<Greedy>> = (0..count).map(|_| Arc::default()).collect();
        close_all(links.iter().map(|link| Arc::clone(link) as Arc<dyn FarLink>).collect(), LONGEST);
        let most = |of: fn(&Greedy) -> &AtomicUsize| {
            links.iter().map(|link| of(link).load(Ordering::Relaxed)).max().unwrap_or_default()
        };
        assert!(links.iter().all(|link| link.closed.load(Ordering::Relaxed) == 1));
        (most(|link| &link.once), most(|link| &link.more))
    }

    #[test]
    fn each_of_a_thousand_connections_is_written_to_once() {
        assert_eq!(writes(1000), (1, 0));
        assert_eq!(writes(MANY + 1), (1, 0));
    }

    #[test]
    fn a_connection_is_written_to_as_long_as_its_kernel_takes_something() {
        let (once, more) = writes(1);
        assert!(once == 0 && more > 1, "{more}");
    }
}
