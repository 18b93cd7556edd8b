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

/// How an attempt to write everything ended.
#[derive(Debug)]
pub(super) enum Flushed {
    /// All is written; the next push rings.
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
        match self.0.swap(true, Ordering::AcqRel) {
            true => Wrote::RefusedAgain,
            false => Wrote::Refused,
        }
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

/// What who wrote a single batch, without the duty, has to tell the driver.
#[derive(Debug)]
pub(super) enum Told {
    Nothing,
    /// Somebody has to try again before the poll can be relied upon.
    Flush,
    /// The stream is broken.
    Broken(io::Error),
}

/// Writes once. The duty stays with whoever has it.
pub(super) fn write_batch(pen: &mut impl Pen) -> Told {
    match pen.write() {
        Wrote::Failed(error) => Told::Broken(error),
        Wrote::Refused => Told::Flush,
        Wrote::Nothing | Wrote::Part | Wrote::All | Wrote::RefusedAgain => Told::Nothing,
    }
}
