//! Open: a connection that is a pipe of its socket.
//!
//! Owns what carries messages: the decoder, the receive ring's producer, and the link to the threads that
//! send. Reads into the ring, by the block if the queue is large. Touches nothing of the connection around
//! it: a [`Fate`] says what becomes of that.

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Ending, Fate};
use crate::detach::DetachReason;
#[cfg(feature = "ws")]
use crate::error::WebSocketError;
use crate::io::idle::Activity;
use crate::io::link::Link;
use crate::io::quota::{LITTLE as LITTLE_OF_A_TURN, Quota};
use crate::io::read_buffers::{Bodies, ReadBuffers};
use crate::io::writing::Flushed;
use crate::message::PipeId;
use crate::pipe::recv_limit::RecvLimit;
use crate::pipe::{Decision, Demand, Edge, Host, LOW_WATER, Postponed};
use crate::ring::{Bounds, Producer, READ_BLOCK, Wake};
use crate::sync::{Arc, Ordering, Weak};
use crate::time;
use crate::tls_error::TlsError;
use crate::wire::frame::Part;
use crate::wire::frame::widen;
use crate::wire::{Decoder, FrameError, Piece};

/// Read at most this much of one connection in a turn, then let the others have theirs. The last read may
/// bring as much again, or a mebibyte of a body that goes into memory that was used before.
const READ: usize = READ_BLOCK;
/// Read at most this often from one connection in a turn: with a small queue, a read may bring only a few
/// bytes.
const READS: usize = 128;
/// Read by the block into a receive queue with these bounds or larger ones, as the default has. A smaller queue
/// is small for a reason: read no more than it has room for, at the price of up to two reads for a message.
const LARGE_QUEUE: Bounds = Bounds { messages: 128, bytes: 1 << 20 };
/// Refer to a run of whole frames of at least this length where it was read; copy shorter ones into the
/// receive ring. At a quarter of a block, what waits in a ring keeps at most four times its own length
/// alive, and a slow receiver at most four times the bound of its queue and one read.
const SHARED_RUN: usize = 64 * 1024;
/// Read the remainder of a body straight into its buffer if at least this much is missing; less is not worth
/// a read of its own. Values from 8 to 128 KiB measured alike.
const IN_PLACE: usize = 64 * 1024;
/// Read at most this much beyond the bounds of a receive queue once the peer is gone: a kernel buffers less,
/// unless it is told to buffer more.
const LAST_BYTES: u64 = 8 << 20;
/// Read this much of a peer that is gone even if there is no room for more: often it is all there is.
const LITTLE: usize = 4096;
/// Do not read less than this at once for want of budget, unless it is all that is missing.
const LEAST_READ: usize = 4096;
/// A connection that has whole messages waits until it may hold this much more.
const WORTHWHILE: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Open {
    pub(super) link: Arc<Link>,
    pub(super) decoder: Decoder,
    pub(super) recv: Producer,
    pub(super) pipe: PipeId,
    /// Whether the receive ring is full, or the budget of the socket used up; then it is resumed by the consumer, or
    /// by whoever gives something back.
    pub(super) paused: bool,
    pub(super) claim: Claim,
    /// Whether it has given something back for which others wait, who have not been told.
    pub(super) has_given_back: bool,
    /// Whether the peer is gone, and all that the kernel still has of it is read.
    pub(super) at_last: bool,
    /// Why nothing more can be written. What the peer sent before is still being read.
    pub(super) broken: Option<Box<DetachReason>>,
}

/// How far a message that is not whole yet had come, and when.
#[derive(Clone, Copy, Debug)]
pub(in crate::io) struct FrameProgress {
    arrived: (u64, usize),
    at: Instant,
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// The number of bytes; 0 at the end of the stream.
    n: usize,
    /// Whether the buffer had no room for more.
    filled: bool,
    /// Whether the bytes are already in their body's buffer.
    in_place: bool,
}

/// What a connection has to do with the budget of the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    None,
    /// The budget may have it in its line.
    Waits,
    /// It exceeds the budget.
    Exceeds,
}

/// What a connection reads by and with.
pub(super) struct Reading<'a> {
    /// Whether the last turn has brought little.
    pub(super) reads_little: &'a mut bool,
    pub(super) limit: &'a RecvLimit,
    pub(super) host: &'a Weak<dyn Host>,
    pub(super) postponed: &'a dyn Fn() -> Postponed,
    pub(super) buffers: &'a mut ReadBuffers,
    pub(super) quota: &'a mut Quota,
}

/// How much may be read by the budget of the socket.
#[derive(Clone, Copy, Debug)]
enum Allowance {
    /// At most this many bytes at once.
    Bytes(usize),
    /// Nothing, until it is resumed.
    None,
    /// Nothing in this turn.
    Later,
}

impl Open {
    /// Whether it exceeds the budget of the socket.
    pub(super) fn exceeds(&self) -> bool {
        self.claim == Claim::Exceeds
    }

    /// Whether a message has come.
    pub(super) fn has_brought_messages(&self) -> bool {
        self.recv.departed().messages + self.recv.queued().messages > 0
    }

    /// Notes that the peer is gone, and that the socket has room for what it has left.
    pub(super) fn reads_the_last(&mut self) {
        (self.at_last, self.paused) = (true, false);
    }

    /// Reads the end of the stream of a peer that is gone, and the little that may be before it. Goes on
    /// only if there is more. `has_failed`: there is no end of the stream to be read.
    pub(super) fn read_a_little(
        &mut self,
        has_failed: bool,
        limit: &RecvLimit,
        buffers: &mut ReadBuffers,
    ) -> Fate {
        // Twice: the end of the stream takes a read of its own.
        for _ in 0..2 {
            let stream = &self.link.stream;
            let n = match buffers.fill(|block| stream.read(&mut block[..LITTLE])) {
                Ok(0) => return Fate::End(Ending::Lost(DetachReason::PeerClosed)),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::WouldBlock && has_failed => {
                    return Fate::End(Ending::Lost(self.failure()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Keep,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Fate::End(Ending::Lost(reset_or(error))),
            };
            let (block, bodies) = buffers.parts();
            self.decoder.set_limit(limit.get());
            if let Err(error) = self.take_in(&block[..n], block, bodies) {
                return Fate::End(Ending::Lost(error.into()));
            }
        }
        Fate::Keep
    }

    /// Why the stream has failed, as far as the system still says.
    pub(super) fn failure(&mut self) -> DetachReason {
        if let Some(reason) = self.broken.take() {
            return *reason;
        }
        self.link.stream.established().map_or_else(reset_or, |_| DetachReason::PeerClosed)
    }

    /// Reads until nothing is left, or it is enough for a turn.
    pub(super) fn read(&mut self, read_closed: bool, mut reading: Reading) -> Fate {
        let mut total = 0;
        let fate = self.read_some(read_closed, &mut reading, &mut total);
        *reading.reads_little = total < LITTLE_OF_A_TURN;
        fate
    }

    fn read_some(&mut self, read_closed: bool, reading: &mut Reading, total: &mut usize) -> Fate {
        let (limit, host, postponed) = (reading.limit, reading.host, reading.postponed);
        let (buffers, quota) = (&mut *reading.buffers, &mut *reading.quota);
        let mut reads = 0;
        loop {
            // A full queue stops reading, and so the peer, until its consumer resumes this connection.
            if self.paused {
                return Fate::Keep;
            }
            if !self.ask_room() {
                self.paused = true;
                self.leave_line(host);
                return Fate::Keep;
            }
            let most = match self.allowance(host, postponed) {
                Allowance::Bytes(most) => most,
                Allowance::None => {
                    self.paused = true;
                    return Fate::Keep;
                }
                Allowance::Later => return Fate::Again,
            };
            // Of one that has had little so far, which may have much now, no more than that.
            let most = if quota.is_spent(false) { most.min(LITTLE_OF_A_TURN) } else { most };
            let read = match self.read_once(most, buffers) {
                Ok(Read { n: 0, .. }) => return Fate::End(Ending::Lost(DetachReason::PeerClosed)),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.on_dry(),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Fate::Again,
                Err(error) => return Fate::End(Ending::Lost(reset_or(error))),
            };
            // Bytes that were read into a body's buffer are not in the block.
            let (block, bodies) = buffers.parts();
            let elsewhere = if read.in_place { 0 } else { read.n };
            // Read after the bytes, so that a limit set before they were sent applies to them.
            self.decoder.set_limit(limit.get());
            if let Err(error) = self.take_in(&block[..elsewhere], block, bodies) {
                return Fate::End(Ending::Lost(error.into()));
            }
            if self.exceeds() && self.decoder.part().is_none() {
                self.leave_line(host);
            }
            if std::mem::take(&mut self.has_given_back) {
                tell(host);
            }
            *total += read.n;
            reads += 1;
            quota.count(read.n);
            // A short read has emptied the kernel's buffer, unless the end of the stream waits behind it,
            // which the poll has already reported and will not report again.
            let end_is_near = read_closed || self.broken.is_some();
            if !read.filled && !end_is_near && self.link.stream.short_read_is_last() {
                return Fate::Keep;
            }
            // There may be more. If this connection has had its share of the turn, it reads that in the next
            // one.
            if *total >= READ || reads >= READS || quota.is_spent(*total < LITTLE_OF_A_TURN) {
                return Fate::Again;
            }
        }
    }

    pub(super) fn release_memory(
        &mut self,
        host: &Weak<dyn Host>,
        seen: &mut Option<(u64, u64)>,
    ) -> Activity {
        let link = &self.link;
        let now = (link.send.departed().messages, self.recv.departed().messages);
        if seen.replace(now) != Some(now) {
            return Activity::Busy;
        }
        if link.send.queued().messages > 0 || self.recv.queued().messages > 0 {
            self.recv.release_spares();
            return Activity::Stuck;
        }
        self.decoder.forget_credit();
        if self.decoder.is_mid_frame() {
            // It stays on the list, until the rest has come or is waited for no longer; so nothing need announce
            // itself, and what is carried meanwhile is released at the next check.
            self.release_recv_memory(host);
            if let Some(host) = host.upgrade() {
                host.release_memory(self.pipe);
            }
            return Activity::Stuck;
        }
        // First, so that anything carried from now on announces itself, whether it finds the blocks or not.
        link.active.store(false, Ordering::Relaxed);
        let released = self.release_recv_memory(host)
            && host.upgrade().is_none_or(|host| host.release_memory(self.pipe));
        // It is idle, or has announced itself again just now.
        let is_idle = released || self.link.active.swap(true, Ordering::Relaxed);
        if is_idle { Activity::Idle } else { Activity::Busy }
    }

    pub(super) fn flushed(&mut self, flushed: Flushed) -> Fate {
        match flushed {
            Flushed::Later => Fate::WriteAgain,
            Flushed::HeldBack => Fate::HoldBack(self.link.send.departed().messages),
            Flushed::Broken(error) => self.write_failed(error),
            Flushed::Idle | Flushed::Blocked => Fate::Keep,
        }
    }

    /// Reads once: into the buffer of an incomplete body, if much of it is missing, or into a block.
    /// At most `most` bytes.
    fn read_once(&mut self, most: usize, buffers: &mut ReadBuffers) -> io::Result<Read> {
        let stream = &self.link.stream;
        let before = self.partial();
        if let Some(vacancy) = self.decoder.vacancy(IN_PLACE, |len| buffers.bodies.take(len)) {
            let (read, len) = (stream.read(vacancy), vacancy.len());
            self.count_partial(before);
            let n = read?;
            self.decoder.filled(n);
            return Ok(Read { n, filled: n == len, in_place: true });
        }
        let room = self.decoder.appetite(READ_BLOCK).min(self.reach()).min(most);
        buffers.fill(|block| {
            let n = stream.read(&mut block[..room])?;
            Ok(Read { n, filled: n == room, in_place: false })
        })
    }

    /// Whether the peer is gone: what the kernel still has is all that will come.
    fn is_at_last(&self) -> bool {
        self.at_last || self.broken.is_some()
    }

    /// How many bytes may be read by the budget of the socket. If too few, has it tell when there are more.
    #[inline]
    fn allowance(&mut self, host: &Weak<dyn Host>, postponed: &dyn Fn() -> Postponed) -> Allowance {
        let part = self.decoder.part();
        let rest = part.map_or(0, |part| part.missing.saturating_sub(part.vacant));
        // What a peer that is gone leaves has bounds of its own, and its end must not wait for the budget.
        let is_unrationed = self.recv.unclaimed() >= LOW_WATER.saturating_add(widen(rest));
        if is_unrationed && self.claim == Claim::None || self.is_at_last() {
            self.decoder.set_most(None);
            return Allowance::Bytes(usize::MAX);
        }
        self.allowance_when_short(part, host, postponed)
    }

    #[cold]
    fn allowance_when_short(
        &mut self,
        part: Option<Part>,
        host: &Weak<dyn Host>,
        postponed: &dyn Fn() -> Postponed,
    ) -> Allowance {
        let mut headroom = self.recv.unclaimed();
        if !self.exceeds() && self.needed(part) > headroom {
            match self.ask_for_more(part, host, postponed) {
                Ok(()) => headroom = self.recv.headroom(),
                Err(allowance) => return allowance,
            }
        } else {
            self.leave_line_unless_it_exceeds(host);
        }
        let headroom = narrow(headroom);
        match part {
            // No more than the rest of the message: what follows it is for the next read.
            Some(part) if self.exceeds() => {
                self.decoder.set_most(None);
                Allowance::Bytes(part.missing)
            }
            Some(part) => {
                self.decoder.set_most(Some(part.taken.saturating_add(headroom)));
                let room = part.vacant.saturating_add(headroom);
                // Others may have taken it meanwhile. A read of nothing would be the end of the stream.
                Allowance::Bytes(part.missing.min(room.max(1)))
            }
            // Half for whole messages, and half for the one behind them.
            None => {
                self.decoder.set_most(Some(headroom / 2));
                Allowance::Bytes((headroom / 2).max(1))
            }
        }
    }

    /// How many bytes more it must be allowed to hold to go on: less is not worth a read.
    fn needed(&self, part: Option<Part>) -> u64 {
        widen(match part {
            Some(part) => {
                let read = LEAST_READ.max(part.taken / 4).min(part.missing);
                read.saturating_sub(part.vacant)
            }
            None => 2 * LEAST_READ,
        })
    }

    /// Gives back what the ring keeps for later, and asks the budget. `Err`: what to do in place of going on.
    fn ask_for_more(
        &mut self,
        part: Option<Part>,
        host: &Weak<dyn Host>,
        postponed: &dyn Fn() -> Postponed,
    ) -> Result<(), Allowance> {
        let Some(host) = host.upgrade() else { return Err(Allowance::Bytes(usize::MAX)) };
        self.recv.release_spares();
        // If it is not empty, the call that takes the last message resumes this connection.
        let is_empty = self.recv.ask_drained();
        if is_empty && !self.recv.release_memory_beside(self.partial()) {
            // Somebody is about to find out that it is empty.
            return Err(Allowance::Later);
        }
        let least = self.needed(part);
        let better = if is_empty { least } else { widen(WORTHWHILE) };
        let demand = Demand { least, better, is_midway: is_empty && part.is_some() };
        self.claim = Claim::None;
        match host.budget().ask(self.pipe, self.recv.ring(), demand, postponed) {
            Decision::Within => Ok(()),
            Decision::Exceed => {
                self.claim = Claim::Exceeds;
                Ok(())
            }
            Decision::Wait => {
                self.claim = Claim::Waits;
                host.counters().budget_pauses.bump();
                Err(Allowance::None)
            }
        }
    }

    /// Leaves the budget's line: it can go on, or cannot for another reason. Ends the right to exceed the budget.
    pub(super) fn leave_line(&mut self, host: &Weak<dyn Host>) {
        if self.claim != Claim::None
            && let Some(host) = host.upgrade()
        {
            host.budget().leave(self.pipe);
        }
        self.claim = Claim::None;
    }

    fn leave_line_unless_it_exceeds(&mut self, host: &Weak<dyn Host>) {
        if !self.exceeds() {
            self.leave_line(host);
        }
    }

    /// Counts the buffer of a message that is not whole as given back, for a connection that ends.
    pub(super) fn drop_partial(&mut self, host: &Weak<dyn Host>) {
        let _ = self.recv.give_back(self.partial());
        self.leave_line(host);
    }

    /// The bytes that the buffer of a message takes that is not whole.
    fn partial(&self) -> usize {
        self.decoder.part().map_or(0, |part| part.taken)
    }

    /// Counts what that buffer takes now, if it took `before`.
    fn count_partial(&mut self, before: usize) {
        let now = self.partial();
        match now.checked_sub(before) {
            // As a rule: no atomic addition for that.
            Some(0) => {}
            Some(more) => self.recv.charge(more),
            None => {
                self.has_given_back |= self.recv.give_back(before - now);
            }
        }
    }

    /// Releases the memory of the receive ring, if it is empty, and tells those who wait for it.
    fn release_recv_memory(&mut self, host: &Weak<dyn Host>) -> bool {
        let released = self.recv.release_memory_beside(self.partial());
        tell(host);
        released
    }

    /// When the rest of a message must have come, if nothing more of it comes; while it exceeds the budget, even if
    /// more comes. `None`: there is no such message, or the ring has no room for it.
    pub(super) fn check_frame(
        &self,
        timeout: Duration,
        progress: &mut Option<FrameProgress>,
    ) -> Option<Duration> {
        if !self.decoder.is_mid_frame() || self.paused {
            *progress = None;
            return None;
        }
        let (arrived, now) = (self.arrived(), time::now());
        // While it exceeds the budget, others wait for it: then the whole rest must come in time.
        let is_same = |before: (u64, usize)| match self.exceeds() {
            true => before.0 == arrived.0,
            false => before == arrived,
        };
        let since = match progress {
            Some(progress) if is_same(progress.arrived) => progress.at,
            _ => progress.insert(FrameProgress { arrived, at: now }).at,
        };
        Some(timeout.saturating_sub(now.saturating_duration_since(since)))
    }

    /// Everything that has ever come.
    pub(super) fn arrived(&self) -> (u64, usize) {
        (self.recv.pushed_bytes(), self.decoder.arrived())
    }

    /// Whether the receive ring has room; if not, orders to be told. It may exceed its bounds by [`LAST_BYTES`] once the peer is gone.
    fn ask_room(&mut self) -> bool {
        self.recv.ask_room()
            || self.is_at_last()
                && self.recv.queued().bytes
                    < widen(self.recv.bounds().bytes).saturating_add(LAST_BYTES)
    }

    /// The most that may be read at once into a small receive queue, by its room.
    #[inline]
    fn reach(&self) -> usize {
        let bounds = self.recv.bounds();
        if is_large(bounds) || self.is_at_last() {
            return usize::MAX;
        }
        let queued = self.recv.queued();
        let left = |bound: usize, used| widen(bound).saturating_sub(used);
        let (messages, bytes) =
            (left(bounds.messages, queued.messages), left(bounds.bytes, queued.bytes));
        self.decoder.reach(narrow(messages), narrow(bytes))
    }

    /// There is nothing left to read now.
    fn on_dry(&mut self) -> Fate {
        match self.broken.take() {
            Some(reason) => Fate::End(Ending::Lost(*reason)),
            None => Fate::Keep,
        }
    }

    /// Writing has failed. Reads first what the peer sent before it went.
    pub(super) fn write_failed(&mut self, error: io::Error) -> Fate {
        self.broken.get_or_insert_with(|| Box::new(reset_or(error)));
        self.paused = false;
        Fate::Again
    }

    /// Moves the frames in `bytes`, which lie in `block`, into the receive ring, and rings the socket's bell
    /// if it slept. Notes large `bodies`.
    pub(super) fn take_in(
        &mut self,
        mut bytes: &[u8],
        block: &Bytes,
        bodies: &mut Bodies,
    ) -> Result<(), FrameError> {
        self.link.mark_active();
        let before = self.partial();
        let mut wake = false;
        let outcome = loop {
            match self.decoder.next(&mut bytes) {
                None => break Ok(()),
                Some(Ok(Piece::Frames { bytes, count, .. })) => {
                    let is_small =
                        bytes.len() < SHARED_RUN || self.recv.headroom() < widen(READ_BLOCK);
                    let Wake(woken) = if is_small {
                        self.recv.append(bytes, count)
                    } else {
                        self.recv.append_shared(block.slice_ref(bytes), count)
                    };
                    wake |= woken;
                }
                Some(Ok(Piece::Body(payload))) => {
                    bodies.note(&payload);
                    wake |= self.recv.append_body(payload).0;
                }
                Some(Err(error)) => break Err(error),
            }
        };
        self.count_partial(before);
        if wake {
            self.link.bell.ring(self.pipe, Edge::Readable);
        }
        outcome
    }
}

/// Tells those who wait for the budget of the socket.
fn tell(host: &Weak<dyn Host>) {
    if let Some(host) = host.upgrade() {
        host.budget().tell();
    }
}

/// Whether to read by the block into a queue with these bounds.
pub(super) fn is_large(bounds: Bounds) -> bool {
    bounds.messages >= LARGE_QUEUE.messages && bounds.bytes >= LARGE_QUEUE.bytes
}

/// Converts back a number that was a `usize`.
fn narrow(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl From<FrameError> for DetachReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { announced, limit } => Self::Oversize { announced, limit },
            _ => Self::Malformed,
        }
    }
}

/// The reason for an error: a reset is the peer's way of closing, and any other error is reported in its own
/// words.
fn reset_or(error: io::Error) -> DetachReason {
    if let Some(error) = TlsError::of(&error) {
        return DetachReason::Tls(error.clone());
    }
    #[cfg(feature = "ws")]
    if let Some(error) = WebSocketError::of(&error) {
        return DetachReason::WebSocket(error.clone());
    }
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            DetachReason::PeerClosed
        }
        // The kernel has probed an idle connection for as long as the peer may be silent.
        ErrorKind::TimedOut => DetachReason::Silent,
        _ => DetachReason::Io(error.to_string()),
    }
}
