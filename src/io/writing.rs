//! Writing: which thread writes what is queued on a connection, and which one must check again.
//!
//! Owns the rule by which no message stays behind: after each push some thread writes, or will be told to.
//! Threads that send and the leader all write; none waits for another. This file knows nothing of rings,
//! streams and commands, except through a [`Pen`].
//!
//! ```text
//!               push: its bell is rung                  ring is empty, pen is armed
//!   nobody's ---------------------------> somebody's ---------------------------------> nobody's
//!                                          |      ^
//!              refused twice, still full   |      |  the poll reports room
//!                                          v      |
//!                                        the poll's
//! ```
//!
//! The duty to write is with the thread whose push rang, or with the driver, to which that has passed it
//! by a command. A thread that writes a single batch in between neither has the duty nor takes it. But often
//! it is the first that the kernel refuses, and then it calls the driver.

use std::io;

use crate::sync::{AtomicU8, Ordering};

/// The outcome of one write.
#[derive(Debug)]
pub(super) enum Wrote {
    /// There was nothing to write.
    Nothing,
    /// The kernel took some of what was queued.
    Part,
    /// The kernel took everything that was queued when the write began.
    All,
    /// The kernel took nothing, and had not been known to be full.
    Refused,
    /// The kernel is still full; the poll will say when it is not.
    RefusedAgain,
    /// The stream is broken.
    Failed(io::Error),
}

/// How an attempt to write ended.
#[derive(Debug)]
pub(super) enum Flushed {
    /// Everything is written, and the next push rings. After a single batch: the duty stays where it is.
    Idle,
    /// A sender streams: so much has come while the driver wrote, or a caller is writing a batch itself. The
    /// driver checks again in its next sweep.
    HeldBack,
    /// The kernel takes no more now.
    Blocked,
    /// Another thread is writing, or it was enough for one go: the driver must check again.
    Later,
    /// The stream is broken.
    Broken(io::Error),
}

/// The write half of a connection, held by one thread at a time.
pub(super) trait Pen {
    /// Writes once. If the kernel takes nothing, returns [`Blocked::refused`].
    fn write(&mut self) -> Wrote;

    /// Makes the next push ring; `false`: there was one already.
    fn arm(&mut self) -> bool;

    /// Whether to stop after the `writes`th write, which took `all` or a part. `None`: go on.
    fn has_enough(&self, writes: usize, all: bool) -> Option<Flushed>;
}

/// Whether the kernel is known to take no more; the driver goes on when the poll reports room.
///
/// The poll reports only changes. So a thread that is refused sets this first, then tries once more, and
/// relies on a report only after a second refusal.
///
/// Some streams report room whenever their peer has read something, which would wake the driver for each message.
/// For these the driver stops the reports when one was in vain, and a thread that is refused starts them again,
/// which reports the room that there is by then.
#[derive(Debug)]
pub(super) struct Blocked(AtomicU8);

/// The kernel is known to take no more.
const BLOCKED: u8 = 1;
/// The poll reports room, or is about to be told to.
const REPORTED: u8 = 2;
/// The poll cannot be told otherwise.
const ALWAYS: u8 = 4;

impl Blocked {
    /// For a stream whose room the poll reports from now on.
    pub(super) fn new() -> Self {
        Self(AtomicU8::new(REPORTED))
    }

    /// Whether the kernel is known to take no more: do not write a batch.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed) & BLOCKED != 0
    }

    /// Notes that the kernel has taken nothing. `start` starts the reports, if they were stopped.
    pub(super) fn refused(&self, start: impl FnOnce() -> io::Result<bool>) -> Wrote {
        let before = self.0.fetch_or(BLOCKED | REPORTED, Ordering::AcqRel);
        if before & REPORTED == 0
            && let Err(error) = start()
        {
            return Wrote::Failed(error);
        }
        if before & BLOCKED != 0 { Wrote::RefusedAgain } else { Wrote::Refused }
    }

    /// Notes that the poll has reported room. Says whether anybody relies on that.
    pub(super) fn take_report(&self) -> bool {
        self.is_set() && self.0.fetch_and(!BLOCKED, Ordering::AcqRel) & BLOCKED != 0
    }

    /// Stops the reports, after one on which nobody relied. `tell` tells the poll whether to report room; `false`:
    /// it cannot be told.
    pub(super) fn stop_reports(
        &self,
        mut tell: impl FnMut(bool) -> io::Result<bool>,
    ) -> io::Result<()> {
        if self.0.load(Ordering::Relaxed) != REPORTED
            || self.0.compare_exchange(REPORTED, 0, Ordering::AcqRel, Ordering::Relaxed).is_err()
        {
            return Ok(());
        }
        if !tell(false)? {
            self.0.fetch_or(REPORTED | ALWAYS, Ordering::Relaxed);
        } else if self.0.load(Ordering::Acquire) & REPORTED != 0 {
            // The thread that was refused meanwhile may have told the poll before that.
            tell(true)?;
        }
        Ok(())
    }

    /// Notes that the kernel has taken something, for a thread that writes until nothing is left. A thread
    /// that writes a single batch must not call this: the driver may rely on a report for the remainder, and
    /// accepts that report only while this is set.
    fn clear(&self) {
        if self.is_set() {
            self.0.fetch_and(!BLOCKED, Ordering::Release);
        }
    }
}

/// Writes until nothing is left, the kernel is full, or the pen has enough. For the thread with the duty.
pub(super) fn write_out(blocked: &Blocked, pen: &mut impl Pen) -> Flushed {
    let mut writes = 0;
    loop {
        let all = match pen.write() {
            Wrote::Nothing if pen.arm() => return Flushed::Idle,
            Wrote::Nothing | Wrote::Refused => continue,
            Wrote::RefusedAgain => return Flushed::Blocked,
            Wrote::Failed(error) => return Flushed::Broken(error),
            Wrote::Part => false,
            Wrote::All => true,
        };
        blocked.clear();
        writes += 1;
        if let Some(enough) = pen.has_enough(writes, all) {
            return enough;
        }
    }
}

/// Writes once. The duty stays where it is.
pub(super) fn write_batch(pen: &mut impl Pen) -> Flushed {
    match pen.write() {
        Wrote::Failed(error) => Flushed::Broken(error),
        // The driver must try again before anybody can rely on the poll.
        Wrote::Refused => Flushed::Later,
        Wrote::RefusedAgain => Flushed::Blocked,
        Wrote::Nothing | Wrote::Part | Wrote::All => Flushed::Idle,
    }
}

/// Shows that after the last push some thread writes or the driver is told, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use bytes::Bytes;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::ring::{self, Bounds, Consumer, Producer, RingRef, Wake};
    use crate::sync::{Condvar, Mutex, Rank, bounded};
    use crate::wire::Framing;

    /// The bytes of one message on the wire.
    const FRAME: usize = 9;

    /// A kernel with room for one message, and a poll that reports changes only.
    #[derive(Default)]
    struct Kernel {
        has: usize,
        taken: usize,
        /// Whether a write was refused: room is then a change, which the poll reports.
        full: bool,
        /// Whether the poll reports each read of the peer, as long as it is told to report room.
        chatty: bool,
        told: bool,
        reported: bool,
    }

    impl Kernel {
        fn write(&mut self) -> bool {
            self.full = self.has > 0;
            if !self.full {
                self.has += 1;
                self.taken += 1;
            }
            !self.full
        }

        fn read(&mut self) {
            self.reported |= self.told && (std::mem::take(&mut self.full) || self.chatty);
            self.has -= 1;
        }

        /// Tells the poll whether to report room, which it does at once if there is some.
        fn tell(&mut self, room: bool) {
            self.told = room;
            self.reported |= room && self.has == 0;
        }
    }

    /// A connection, and the thread that stands for its driver.
    struct ModelLink {
        ring: RingRef,
        blocked: Blocked,
        kernel: Mutex<Kernel>,
        written: Condvar,
        /// Whether the driver was told to flush.
        posted: Mutex<bool>,
        /// Whether the driver must check again. Not a parked thread: loom's `unpark` also wakes one that
        /// waits for a lock.
        stirred: Mutex<bool>,
        stirs: Condvar,
    }

    struct Hand<'a> {
        link: &'a ModelLink,
        consumer: Consumer<'a>,
    }

    impl Pen for Hand<'_> {
        fn write(&mut self) -> Wrote {
            let mut slices = [io::IoSlice::new(&[]); 1];
            if self.consumer.slices(&mut slices) == 0 {
                return Wrote::Nothing;
            }
            if !self.link.kernel.lock().write() {
                return self.link.blocked.refused(|| self.link.tell(true));
            }
            self.link.written.notify_one();
            // It may have nothing more to do. This alone makes it write nothing.
            self.link.stir();
            let _nobody_waits_for_room = self.consumer.consume(FRAME);
            Wrote::Part
        }

        fn arm(&mut self) -> bool {
            self.consumer.arm()
        }

        fn has_enough(&self, _: usize, _: bool) -> Option<Flushed> {
            None
        }
    }

    impl ModelLink {
        fn new(chatty: bool) -> (Arc<Self>, Producer) {
            let bounds = Bounds { messages: 9, bytes: usize::MAX };
            let (producer, ring) = ring::new(Framing::Length, bounds);
            ring.consumer().arm();
            let link = Self {
                ring,
                blocked: Blocked::new(),
                // What a chatty poll reports first was there when the stream was registered.
                kernel: Mutex::new(
                    Rank::Socket,
                    Kernel { chatty, told: true, reported: chatty, ..Kernel::default() },
                ),
                written: Condvar::new(),
                posted: Mutex::new(Rank::Socket, Default::default()),
                stirred: Mutex::new(Rank::Socket, Default::default()),
                stirs: Condvar::new(),
            };
            (Arc::new(link), producer)
        }

        fn pen(&self) -> Option<Hand<'_>> {
            Some(Hand { link: self, consumer: self.ring.try_consumer()? })
        }

        fn post(&self) {
            *self.posted.lock() = true;
            self.stir();
        }

        /// Makes the driver check again.
        fn stir(&self) {
            *self.stirred.lock() = true;
            self.stirs.notify_one();
        }

        /// Tells the poll whether to report room.
        fn tell(&self, room: bool) -> io::Result<bool> {
            let mut kernel = self.kernel.lock();
            let is_told = kernel.chatty;
            if is_told {
                kernel.tell(room);
            }
            drop(kernel);
            self.stir();
            Ok(is_told)
        }

        /// Sleeps, as the driver, until it must check again.
        fn sleep(&self) {
            let mut stirred = self.stirred.lock();
            while !std::mem::take(&mut *stirred) {
                stirred = self.stirs.wait(stirred);
            }
        }

        fn flush(&self) -> Flushed {
            match self.pen() {
                Some(mut pen) => write_out(&self.blocked, &mut pen),
                None => Flushed::Later,
            }
        }

        /// Sends, as a caller: writes itself, if its push rings and it is `idle`; or makes the driver write; or
        /// writes a batch without the duty.
        fn send(&self, producer: &mut Producer, idle: bool) {
            let Ok(Wake(rings)) = producer.push(&[], &Bytes::from_static(b"m")) else {
                panic!("there is room");
            };
            match (rings, idle) {
                (true, true) if matches!(self.flush(), Flushed::Idle | Flushed::Blocked) => {}
                (true, _) => self.post(),
                (false, _) if self.blocked.is_set() => {}
                (false, _) => {
                    if let Some(mut pen) = self.pen()
                        && matches!(write_batch(&mut pen), Flushed::Later)
                    {
                        self.post();
                    }
                }
            }
        }

        /// Reads, as the peer, once there is something, and the poll wakes the driver.
        fn read(&self) {
            let mut kernel = self.kernel.lock();
            while kernel.has == 0 {
                kernel = self.written.wait(kernel);
            }
            kernel.read();
            drop(kernel);
            self.stir();
        }

        /// Turns, as the driver, until `count` messages are written, and sleeps while it has nothing to do.
        fn drive(&self, count: usize) {
            let mut again = false;
            while self.kernel.lock().taken < count {
                let mut due = std::mem::take(&mut *self.posted.lock()) | again;
                if std::mem::take(&mut self.kernel.lock().reported) {
                    match self.blocked.take_report() {
                        true => due = true,
                        false => self.blocked.stop_reports(|room| self.tell(room)).unwrap(),
                    }
                }
                again = due && matches!(self.flush(), Flushed::Later);
                match due {
                    true if again => thread::yield_now(),
                    true => {}
                    false => self.sleep(),
                }
            }
        }
    }

    fn check(count: usize, idle: &'static [bool], chatty: bool) {
        bounded(2).check(move || {
            let (link, mut producer) = ModelLink::new(chatty);
            let sender = thread::spawn({
                let link = Arc::clone(&link);
                move || {
                    for idle in idle {
                        link.send(&mut producer, *idle);
                    }
                }
            });
            let peer = thread::spawn({
                let link = Arc::clone(&link);
                move || link.read()
            });
            link.drive(count);
            sender.join().unwrap();
            peer.join().unwrap();
        });
    }

    /// The peer reads once, so two messages can be written.
    #[test]
    fn after_the_last_push_somebody_writes_or_the_driver_is_told() {
        check(2, &[true, true], false);
    }

    #[test]
    fn a_batch_beside_the_driver_leaves_nothing_lying() {
        check(2, &[false, false], false);
    }

    #[test]
    fn who_is_refused_is_told_of_room_though_reports_are_stopped() {
        check(2, &[true, true], true);
    }

    #[test]
    fn a_batch_that_is_refused_is_written_though_reports_are_stopped() {
        check(2, &[false, false], true);
    }
}
