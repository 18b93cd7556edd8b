//! Writing: who writes what is queued on a connection, and who need not look again.
//!
//! Owns the rule by which nothing stays lying: after each push somebody writes, or will be told to.
//! Threads that send and the I/O thread all write; nobody waits for another. Knows nothing of rings,
//! streams and commands, but what a [`Pen`] can do with them.
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
//! Somebody is who was rung: a thread that sends, or the I/O thread to which it has passed the duty by a
//! command. Who writes a single batch in between neither has the duty nor takes it, so it changes
//! nothing of all this; but the first refusal is often its own, and then it calls the I/O thread.

use std::io;

use crate::sync::{AtomicBool, Ordering};

/// What came of one write.
#[derive(Debug)]
pub(super) enum Wrote {
    /// There was nothing.
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
    /// All is written; the next push rings. After a single batch: whoever has the duty goes on.
    Idle,
    /// More has come while the driver wrote than is worth a write of its own: somebody streams.
    HeldBack,
    /// The kernel takes no more now.
    Blocked,
    /// Somebody else is writing, or it was enough for one go: the driver is to look again.
    Later,
    /// The stream is broken.
    Broken(io::Error),
}

/// What is held while writing, by one at a time.
pub(super) trait Pen {
    /// One write of what is queued. What the kernel takes nothing of is [`Blocked::refused`].
    fn write(&mut self) -> Wrote;

    /// Has the next push ring; `false`: there was one already.
    fn arm(&mut self) -> bool;

    /// After the `writes`th write that took something, of all there was or of a part: whether it is to
    /// go on some other time.
    fn has_enough(&self, writes: usize, all: bool) -> Option<Flushed>;
}

/// Whether the kernel is known to take no more; the driver goes on when the poll says so.
///
/// The poll reports only changes: who is refused says that we are blocked, then tries once more, and
/// only after a second refusal relies on a report to come.
#[derive(Debug)]
pub(super) struct Blocked(AtomicBool);

impl Blocked {
    pub(super) fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Whether a batch had better not be written.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The kernel has taken nothing.
    pub(super) fn refused(&self) -> Wrote {
        if self.0.swap(true, Ordering::AcqRel) { Wrote::RefusedAgain } else { Wrote::Refused }
    }

    /// The poll has reported that the kernel takes more: whether somebody relies on that.
    pub(super) fn take_report(&self) -> bool {
        self.0.swap(false, Ordering::AcqRel)
    }

    /// The kernel has taken something of one who writes until there is nothing left. Not of who writes
    /// a single batch: that leaves the rest to the report that the driver may rely upon, and the
    /// driver takes it only while this is set.
    fn clear(&self) {
        if self.is_set() {
            self.0.store(false, Ordering::Release);
        }
    }
}

/// Writes until there is nothing left, the kernel is full, or the pen has enough. For who has the duty.
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

/// Writes once. The duty stays with whoever has it.
pub(super) fn write_batch(pen: &mut impl Pen) -> Flushed {
    match pen.write() {
        Wrote::Failed(error) => Flushed::Broken(error),
        // The driver is to try again before the poll can be relied upon.
        Wrote::Refused => Flushed::Later,
        Wrote::RefusedAgain => Flushed::Blocked,
        Wrote::Nothing | Wrote::Part | Wrote::All => Flushed::Idle,
    }
}

/// That after the last push some thread writes or the driver is told, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use bytes::Bytes;
    use loom::sync::Arc;
    use loom::thread;

    use super::*;
    use crate::ring::{self, Bounds, Consumer, Producer, Ring, Wake};
    use crate::sync::{Condvar, Mutex, Rank};
    use crate::wire::Framing;

    /// What one message is on the wire.
    const FRAME: usize = 9;

    /// A kernel with room for one message, and a poll that reports changes only.
    #[derive(Default)]
    struct Kernel {
        has: usize,
        taken: usize,
        /// Somebody was refused: that there is room is a change.
        full: bool,
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
            self.reported |= std::mem::take(&mut self.full);
            self.has -= 1;
        }
    }

    /// A connection, and the thread that stands for its driver.
    struct Line {
        ring: std::sync::Arc<Ring>,
        blocked: Blocked,
        kernel: Mutex<Kernel>,
        written: Condvar,
        /// The driver was told to flush.
        posted: Mutex<bool>,
        /// The driver is to look again. Not a parked thread: loom's `unpark` also wakes one that waits
        /// for a lock.
        stirred: Mutex<bool>,
        stirs: Condvar,
    }

    struct Hand<'l> {
        line: &'l Line,
        consumer: Consumer<'l>,
    }

    impl Pen for Hand<'_> {
        fn write(&mut self) -> Wrote {
            let mut slices = [io::IoSlice::new(&[]); 1];
            if self.consumer.slices(&mut slices) == 0 {
                return Wrote::Nothing;
            }
            if !self.line.kernel.lock().write() {
                return self.line.blocked.refused();
            }
            self.line.written.notify_one();
            // It may have nothing more to do. Of itself this has it write nothing.
            self.line.stir();
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

    impl Line {
        fn new() -> (Arc<Self>, Producer) {
            let bounds = Bounds { messages: 9, bytes: usize::MAX };
            let (producer, ring) = ring::new(Framing::Length, bounds);
            ring.consumer().arm();
            let line = Self {
                ring,
                blocked: Blocked::new(),
                kernel: Mutex::new(Rank::Socket, Default::default()),
                written: Condvar::new(),
                posted: Mutex::new(Rank::Socket, Default::default()),
                stirred: Mutex::new(Rank::Socket, Default::default()),
                stirs: Condvar::new(),
            };
            (Arc::new(line), producer)
        }

        fn pen(&self) -> Option<Hand<'_>> {
            Some(Hand { line: self, consumer: self.ring.try_consumer()? })
        }

        fn post(&self) {
            *self.posted.lock() = true;
            self.stir();
        }

        /// Has the driver look again.
        fn stir(&self) {
            *self.stirred.lock() = true;
            self.stirs.notify_one();
        }

        /// Sleeps, as the driver, until it is to look again.
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

        /// What a thread does that sends: writes itself, if its push rings and it is `idle`; has the
        /// driver write; or writes what is not its duty.
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

        /// As the peer: reads once there is something, and the poll wakes the driver.
        fn read(&self) {
            let mut kernel = self.kernel.lock();
            while kernel.has == 0 {
                kernel = self.written.wait(kernel);
            }
            kernel.read();
            drop(kernel);
            self.stir();
        }

        /// As the driver: turns until `count` messages are written, and sleeps while nobody tells it
        /// anything.
        fn drive(&self, count: usize) {
            let mut again = false;
            while self.kernel.lock().taken < count {
                let mut due = std::mem::take(&mut *self.posted.lock()) | again;
                if std::mem::take(&mut self.kernel.lock().reported) {
                    due |= self.blocked.take_report();
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

    fn check(count: usize, idle: &'static [bool]) {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(2);
        model.check(move || {
            let (line, mut producer) = Line::new();
            let sender = thread::spawn({
                let line = Arc::clone(&line);
                move || {
                    for idle in idle {
                        line.send(&mut producer, *idle);
                    }
                }
            });
            let peer = thread::spawn({
                let line = Arc::clone(&line);
                move || line.read()
            });
            line.drive(count);
            sender.join().unwrap();
            peer.join().unwrap();
        });
    }

    /// The peer reads once, so two messages can be written.
    #[test]
    fn after_the_last_push_somebody_writes_or_the_driver_is_told() {
        check(2, &[true, true]);
    }

    #[test]
    fn a_batch_beside_the_driver_leaves_nothing_lying() {
        check(2, &[false, false]);
    }
}
