//! The options that every call needs, readable without a lock.
//!
//! Owns copies of them in atomics; the options themselves are under a lock.

use std::time::Duration;

use crate::options::Options;
use crate::pipe::recv_limit::RecvLimit;
use crate::sync::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

/// How long calls wait and how long a message may be. Follows the socket's options.
#[derive(Debug)]
pub(super) struct Limits {
    pub(super) send_timeout: Timeout,
    pub(super) recv_timeout: Timeout,
    /// Whether a signal handler ends a call that sleeps.
    interruptible: AtomicBool,
    /// In bytes; `usize::MAX`: no limit.
    max_send_size: AtomicUsize,
    /// How many peers the socket may have before it lets in no more.
    max_peers: AtomicUsize,
    /// Shared with the endpoints that have no limit of their own.
    max_recv_size: RecvLimit,
}

/// How long calls may wait: an option that is read without a lock.
#[derive(Debug)]
pub(crate) struct Timeout {
    /// [`NO_TIMEOUT`]: forever.
    nanoseconds: AtomicU64,
}

/// No timeout. As a time it would be more than half a millennium.
const NO_TIMEOUT: u64 = u64::MAX;

impl Timeout {
    pub(crate) fn new(time: Option<Duration>) -> Self {
        let timeout = Self { nanoseconds: AtomicU64::new(NO_TIMEOUT) };
        timeout.set(time);
        timeout
    }

    pub(crate) fn set(&self, time: Option<Duration>) {
        let nanoseconds =
            time.map_or(NO_TIMEOUT, |time| u64::try_from(time.as_nanos()).unwrap_or(NO_TIMEOUT));
        self.nanoseconds.store(nanoseconds, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<Duration> {
        match self.nanoseconds.load(Ordering::Relaxed) {
            NO_TIMEOUT => None,
            time => Some(Duration::from_nanos(time)),
        }
    }
}

impl Limits {
    pub(super) fn new(options: &Options) -> Self {
        let limits = Self {
            send_timeout: Timeout::new(None),
            recv_timeout: Timeout::new(None),
            interruptible: AtomicBool::new(false),
            max_send_size: AtomicUsize::new(0),
            max_peers: AtomicUsize::new(0),
            max_recv_size: RecvLimit::new(None),
        };
        limits.follow(options);
        limits
    }

    /// Copies the options. Called under their lock.
    pub(super) fn follow(&self, options: &Options) {
        let settings = options.settings();
        self.send_timeout.set(settings.send_timeout);
        self.recv_timeout.set(settings.recv_timeout);
        self.interruptible.store(settings.interruptible, Ordering::Relaxed);
        let size = settings.max_send_size.unwrap_or(usize::MAX);
        self.max_send_size.store(size, Ordering::Relaxed);
        self.max_peers.store(settings.max_peers, Ordering::Relaxed);
        self.max_recv_size.set(settings.max_recv_size);
    }

    pub(super) fn is_interruptible(&self) -> bool {
        self.interruptible.load(Ordering::Relaxed)
    }

    pub(super) fn max_peers(&self) -> usize {
        self.max_peers.load(Ordering::Relaxed)
    }

    /// The limit of an endpoint, whose own limit is `own` if it has one.
    pub(super) fn max_recv_size(&self, own: Option<Option<usize>>) -> RecvLimit {
        own.map_or_else(|| self.max_recv_size.clone(), RecvLimit::new)
    }

    #[inline]
    pub(super) fn max_send_size(&self) -> usize {
        self.max_send_size.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_read_back_as_the_options_say() {
        for time in [None, Some(Duration::ZERO), Some(Duration::from_nanos(1_500_000_001))] {
            for size in [None, Some(0), Some(7)] {
                let options = Options::new().send_timeout(time).max_send_size(size);
                let limits = Limits::new(&options.recv_timeout(time.map(|time| time * 2)));
                assert_eq!(limits.send_timeout.get(), time);
                assert_eq!(limits.recv_timeout.get(), time.map(|time| time * 2));
                assert_eq!(limits.max_send_size(), size.unwrap_or(usize::MAX));
            }
        }
    }

    /// Peers are mostly set up alike.
    #[test]
    fn as_much_is_sent_as_peers_take_by_default_and_no_less_than_is_taken_here() {
        let sent =
            |size: Option<usize>| Options::new().max_recv_size(size).settings().max_send_size;
        assert_eq!(Options::new().settings().max_send_size, Some(1 << 20));
        assert_eq!(
            [sent(Some(7)), sent(Some(2 << 20)), sent(None)],
            [Some(1 << 20), Some(2 << 20), None]
        );
        let both = Options::new().max_send_size(7).max_recv_size(None);
        assert_eq!(both.settings().max_send_size, Some(7));
    }

    #[test]
    fn a_timeout_beyond_all_measure_is_none() {
        let limits = Limits::new(&Options::new().send_timeout(Duration::MAX));
        assert_eq!(limits.send_timeout.get(), None);
    }
}
