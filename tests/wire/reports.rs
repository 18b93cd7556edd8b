//! What the poll reports of a connection over ipc: room only to those who wait for it.

use std::os::fd::AsFd;
use std::time::Duration;

use kit::{SOON, TempDir};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use sinew::{EventLoop, Options, Pull, Push, Runtime, SendError};

/// A PUSH whose loop only the test turns, and its PULL.
struct Pair {
    runtime: Runtime,
    event_loop: EventLoop,
    push: Push,
    pull: Pull,
    _dir: TempDir,
}

impl Pair {
    fn new() -> Self {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let (dir, pull) = (TempDir::new(), Pull::new());
        let push = Push::on(&runtime, Options::new()).unwrap();
        let url = format!("ipc://{}", dir.path("s").display());
        pull.bind(&url).unwrap();
        push.connect(&url).unwrap();
        while push.peers().is_empty() {
            runtime.turn(Some(SOON)).unwrap();
        }
        let event_loop = runtime.event_loop().unwrap();
        Self { runtime, event_loop, push, pull, _dir: dir }
    }

    /// Whether the poll reports anything within `timeout`.
    fn has_report(&self, timeout: Duration) -> bool {
        let mut fds = [PollFd::new(self.event_loop.as_fd(), PollFlags::POLLIN)];
        let timeout = PollTimeout::try_from(timeout).unwrap();
        poll(&mut fds, timeout).unwrap() > 0
    }

    /// Turns until the poll has nothing more to report.
    fn turn(&self) {
        while self.has_report(Duration::ZERO) {
            self.runtime.turn(Some(Duration::ZERO)).unwrap();
        }
    }
}

/// A Unix domain socket has more room whenever its peer has read. That is reported once in vain.
#[cfg(not(sinew_fast_paths = "never"))] // then nobody writes what is sent before the loop is turned
#[test]
fn a_peer_that_reads_does_not_wake_a_sender_that_has_room() {
    let pair = Pair::new();
    for is_first in [true, false, false, false] {
        pair.push.send("x").unwrap();
        pair.pull.recv().unwrap();
        assert!(is_first || !pair.has_report(Duration::ZERO));
        pair.turn();
    }
}

#[test]
fn a_sender_that_was_refused_is_told_of_room_each_time() {
    let pair = Pair::new();
    for _ in 0..3 {
        pair.turn();
        let mut sent = 0;
        let refused = loop {
            match pair.push.try_send(vec![7; 100_000]) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            pair.runtime.turn(Some(Duration::ZERO)).unwrap();
        };
        assert!(matches!(refused, SendError::WouldBlock(_)), "{refused:?}");
        let mut received = 0;
        while received < sent {
            while pair.pull.try_recv().is_ok() {
                received += 1;
            }
            if received < sent && pair.has_report(Duration::from_millis(1)) {
                pair.runtime.turn(Some(Duration::ZERO)).unwrap();
            }
        }
    }
}
