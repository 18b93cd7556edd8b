//! Links: what a connection shares with the threads that send on it.
//!
//! Owns the stream and the ring that those threads fill. The thread that holds the ring's only consumer may
//! write, a sender or the driver, and does so with a [`LinkPen`]; `writing.rs` decides when to write and who
//! must check again. A sender posts to the driver what it cannot do itself. A link knows nothing of headers,
//! phases and timers: those belong to the connection.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use mio::{Interest, Token};

use super::pace::write_directly;
use super::quota;
use super::silence::Silence;
use super::writing::{self, Blocked, Flushed, Pen, Wrote};
use super::{Command, Mailbox};
use crate::body::{self, PutOff};
use crate::message::PipeId;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Edge, FarLink, FinalWrite, Host, SocketBell};
use crate::ring::{Consumer, RingRef};
use crate::stats::{Counters, DropReason};
use crate::sync::{Arc, AtomicBool, AtomicU32, Ordering, Weak};
use crate::time;
use crate::transport::Stream;
use crate::tuning::{self, FastPath};

/// The number of slices in one write: enough for a batch of large messages, small enough for the stack.
const SLICES: usize = 64;
/// Write at most this often in one go while others may add messages. Without a limit a sender could be kept
/// writing what others send, and the driver be kept from all other connections.
const WRITES: usize = 16;
/// A driver writes at most this much in one go, so that others have their turn: kernels take millions of bytes in one
/// call. A caller writes for itself.
const IN_ONE_GO: usize = quota::BYTES;
/// It does not go on after so much: a small write behind a large one is better part of the next. Unless the ring is
/// closed; then each further write has so much.
const ENOUGH: usize = IN_ONE_GO / 2;

/// What a connection shares with the threads that send on it.
#[derive(Debug)]
pub(crate) struct Link {
    pub(super) stream: Box<dyn Stream>,
    token: Token,
    mailbox: Arc<Mailbox>,
    pub(super) send: RingRef,
    /// The bell of the socket that sends, to announce room.
    pub(super) bell: Arc<SocketBell>,
    counters: Arc<Counters>,
    pipe: PipeId,
    pub(super) blocked: Blocked,
    /// Whether the driver knows that the rings may keep memory.
    pub(super) active: AtomicBool,
    /// Whether the driver is to be told of the next write: it then looks out for the peer's answer.
    unwatched: AtomicBool,
    /// How many messages had left when the ring was last found empty, modulo 2^32: it lies where there was padding.
    idle_at: AtomicU32,
}

/// The thread that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flusher {
    /// A thread that has sent something on an idle connection.
    Caller,
    /// The leader, in a runtime whose I/O thread writes later what is held back.
    Driver,
    /// The leader, in a runtime without an I/O thread: the thread that turns the loop may also be the one that
    /// sends, and may not turn it again soon.
    ManualDriver,
    /// A thread that closes the socket, and has until this time.
    Closer(Instant),
}

impl Flusher {
    fn is_driver(self) -> bool {
        matches!(self, Self::Driver | Self::ManualDriver)
    }
}

/// The write half of a connection, held while writing.
struct LinkPen<'l> {
    link: &'l Link,
    consumer: Consumer<'l>,
    /// Declared after the half, and so dropped when others can write again.
    bodies: PutOff,
    writer: Flusher,
    /// Whether the ring has room again, for which the socket waits.
    room: bool,
    /// How many bytes the kernel has taken.
    written: usize,
}

impl Link {
    /// Makes a link over `stream`, whose pipe sends the messages in `send`. `watched`: the peer may not be silent
    /// forever.
    pub(super) fn new(
        stream: Box<dyn Stream>,
        token: Token,
        mailbox: &Arc<Mailbox>,
        send: RingRef,
        host: &dyn Host,
        pipe: PipeId,
        watched: bool,
    ) -> Self {
        Self {
            stream,
            token,
            mailbox: Arc::clone(mailbox),
            send,
            bell: Arc::clone(host.bell()),
            counters: Arc::clone(host.counters()),
            pipe,
            blocked: Blocked::new(),
            active: AtomicBool::new(false),
            unwatched: AtomicBool::new(watched),
            idle_at: AtomicU32::new(0),
        }
    }

    /// Writes what is queued in this thread, or posts that to the driver.
    fn flush_or_post(&self) {
        self.tell(self.flush(Flusher::Caller, &mut 0));
    }

    /// Posts to the driver what is left to do after a write.
    fn tell(&self, flushed: Flushed) {
        match flushed {
            Flushed::Idle | Flushed::Blocked => {}
            Flushed::Later | Flushed::HeldBack => self.post_flush(),
            Flushed::Broken(error) => self.mailbox.post(Command::Broken(self.token, error)),
        }
    }

    /// Notes that the link has carried something: the rings may keep memory from now on.
    pub(super) fn mark_active(&self) {
        if !self.active.load(Ordering::Relaxed) && !self.active.swap(true, Ordering::Relaxed) {
            self.mailbox.post_for_soon(Command::Active(self.token));
        }
    }

    /// Notes that something was written.
    fn mark_written(&self) {
        if self.unwatched.load(Ordering::Relaxed) && self.unwatched.swap(false, Ordering::Relaxed) {
            self.mailbox.post_for_soon(Command::Wrote(self.token));
        }
        self.mark_active();
    }

    /// For how long the peer has been silent, which may be `limit`.
    pub(super) fn silence(&self, limit: Duration) -> Silence {
        // First, so that whatever is written from now on is announced, whether the system counts it already or
        // not.
        self.unwatched.store(true, Ordering::Relaxed);
        let silence = self.stream.silence();
        if let Ok(None) = silence {
            return Silence::Nothing;
        }
        let is_announced = !self.unwatched.swap(false, Ordering::Relaxed);
        match silence {
            // The driver is about to be told anew.
            _ if is_announced => Silence::Nothing,
            Ok(Some(silence)) if silence >= limit => Silence::TooLong(limit),
            Ok(_) => Silence::Allowed(limit),
            Err(_) => Silence::Nothing,
        }
    }

    /// Has the poll report no more room, after a report on which nobody relied, until a write is refused.
    pub(super) fn stop_reports(&self) -> io::Result<()> {
        self.blocked.stop_reports(|room| self.report_room(room))
    }

    /// Tells the poll whether to report room; `false`: it cannot be told.
    fn report_room(&self, room: bool) -> io::Result<bool> {
        let both = Interest::READABLE | Interest::WRITABLE;
        let interests = if room { both } else { Interest::READABLE };
        self.stream.reregister(&self.mailbox.registry, self.token, interests)
    }

    /// Makes the driver write what is queued.
    fn post_flush(&self) {
        self.mailbox.post(Command::Flush(self.token));
    }

    /// Writes until the ring is empty, the kernel is full, or it was enough for one go. No thread waits for
    /// the write half: one that finds it taken leaves, and makes the driver check again. Adds the bytes to
    /// `written`.
    pub(super) fn flush(&self, writer: Flusher, written: &mut usize) -> Flushed {
        let Some(mut pen) = self.pen(writer) else { return self.left_to_another(writer) };
        let outcome = writing::write_out(&self.blocked, &mut pen);
        *written += pen.written;
        pen.put_down();
        outcome
    }

    fn pen(&self, writer: Flusher) -> Option<LinkPen<'_>> {
        let (consumer, bodies) = (self.send.try_consumer()?, body::put_off());
        Some(LinkPen { link: self, consumer, bodies, writer, room: false, written: 0 })
    }

    /// What becomes of the remainder while another thread writes, which may be in a system call for long: the
    /// driver looks again in its next sweep, or at once if anybody waits for room.
    fn left_to_another(&self, writer: Flusher) -> Flushed {
        let can_wait = writer == Flusher::Driver
            && !self.send.is_awaited()
            && !self.send.is_closed()
            && tuning::CALLER_WRITES != FastPath::Never;
        if can_wait { Flushed::HeldBack } else { Flushed::Later }
    }

    /// How many messages have left, modulo 2^32.
    fn departed(&self) -> u32 {
        self.send.departed().messages as u32
    }

    /// Whether so many messages have come during the last write, or since the ring was empty, that the next one
    /// should wait for more. Not if anybody waits for it.
    fn is_streamed_to(&self) -> bool {
        let queued = self.send.queued();
        let in_all = self.departed().wrapping_sub(self.idle_at.load(Ordering::Relaxed));
        (queued.messages >= tuning::STREAM_MESSAGES
            || queued.bytes >= tuning::STREAM_BYTES
            || in_all >= tuning::STREAM_IN_ALL)
            && !self.send.is_awaited()
            && !self.send.is_closed()
            && tuning::CALLER_WRITES != FastPath::Never
    }

    /// Ends writing: gives queued messages back to the socket, or drops and counts them, and tells the peer
    /// that nothing more comes.
    pub(super) fn finish(&self, reason: DropReason, endpoint: &EndpointCore) {
        self.give_back(&endpoint.host);
        self.drop_queued(reason, endpoint);
        self.shut_down();
    }

    /// Offers the queued messages to the socket, which may send them to another peer.
    fn give_back(&self, host: &Weak<dyn Host>) {
        if let Some(host) = host.upgrade().filter(|host| host.wants_unsent())
            && self.send.queued().messages > 0
        {
            host.take_back(self.pipe, &self.send);
        }
    }

    /// Drops and counts the queued messages.
    fn drop_queued(&self, reason: DropReason, endpoint: &EndpointCore) {
        let dropped = crate::pipe::discard(&self.send);
        self.counters.dropped(reason, dropped);
        if dropped > 0 {
            if let Some(host) = endpoint.host.upgrade() {
                let (name, remote) = (host.name(), RemoteOf(&*self.stream, endpoint));
                let pipe = self.pipe;
                crate::contain::record!(
                    Debug,
                    {
                        socket: name,
                        endpoint: endpoint.url(),
                        peer: remote,
                        pipe: pipe,
                        reason: reason,
                        messages: dropped,
                    },
                    "{name}: {remote}, pipe {pipe}: {dropped} messages dropped: {reason}"
                );
            }
            // A `drain` may wait for them.
            self.bell.ring(self.pipe, Edge::Writable);
        }
    }

    pub(super) fn shut_down(&self) {
        if let Err(error) = self.stream.shutdown_write() {
            crate::contain::record!(Trace, { reason: error }, "shutdown: {error}");
        }
    }
}

impl FarLink for Link {
    fn ring(&self, edge: Edge) {
        match edge {
            Edge::Readable => {
                if !write_directly(|| self.flush_or_post()) {
                    self.post_flush();
                }
            }
            // The receive ring has room again.
            Edge::Writable => self.mailbox.post(Command::Resume(self.token)),
        }
    }

    fn write_batch(&self) {
        if self.blocked.is_set() {
            return;
        }
        let Some(mut pen) = self.pen(Flusher::Caller) else { return };
        let flushed = writing::write_batch(&mut pen);
        pen.put_down();
        self.tell(flushed);
    }

    fn close(&self, linger: Duration) {
        self.flush_or_post();
        self.post_close(linger);
    }

    fn write_before_close(&self, until: Instant) -> FinalWrite {
        let Some(mut pen) = self.pen(Flusher::Closer(until)) else {
            return FinalWrite::Interrupted;
        };
        let outcome = writing::write_out(&self.blocked, &mut pen);
        let wrote = pen.written > 0;
        pen.put_down();
        match outcome {
            Flushed::Idle => {
                // Before the program can connect again: the peer may accept one connection at a time.
                self.shut_down();
                FinalWrite::Done
            }
            Flushed::Broken(error) => {
                self.mailbox.post(Command::Broken(self.token, error));
                FinalWrite::Done
            }
            Flushed::Blocked | Flushed::Later | Flushed::HeldBack if wrote => FinalWrite::Taken,
            Flushed::Blocked | Flushed::Later | Flushed::HeldBack => FinalWrite::Refused,
        }
    }

    fn post_close(&self, linger: Duration) {
        self.mailbox.post(Command::Close(self.token, linger));
    }
}

/// The other end of a stream, for the log: its address, or that of our endpoint if the system no longer knows
/// it.
pub(super) struct RemoteOf<'a>(pub(super) &'a dyn Stream, pub(super) &'a EndpointCore);

impl fmt::Display for RemoteOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remote = self.0.peer().remote;
        if remote.is_empty() { f.write_str(&self.1.url()) } else { f.write_str(&remote) }
    }
}

impl LinkPen<'_> {
    /// Gives the write half back, and announces room to the socket.
    fn put_down(self) {
        let Self { link, consumer, bodies, room, .. } = self;
        drop(consumer);
        if room {
            link.bell.ring(link.pipe, Edge::Writable);
        }
        // Last, since foreign destructors may be slow.
        drop(bodies);
    }
}

impl Pen for LinkPen<'_> {
    fn write(&mut self) -> Wrote {
        let link = self.link;
        let most = match self.writer.is_driver() {
            true => IN_ONE_GO.saturating_sub(self.written).max(ENOUGH),
            false => usize::MAX,
        };
        // Often there is one slice or none, and making a long list would take longer than everything else.
        let mut few = [IoSlice::new(&[]); 2];
        let listed = self.consumer.slices(&mut few);
        let (queued, written) = match listed {
            0 => return Wrote::Nothing,
            1 => (few[0].len(), write_some(&*link.stream, &few[..1], most, few[0].len())),
            _ => {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let listed = self.consumer.slices(&mut slices);
                let all_listed = listed < SLICES;
                let queued: usize = slices[..listed].iter().map(|slice| slice.len()).sum();
                let written = write_some(&*link.stream, &slices[..listed], most, queued);
                (if all_listed { queued } else { usize::MAX }, written)
            }
        };
        match written {
            Ok(n) => {
                let taken = self.consumer.consume(n);
                link.mark_written();
                link.counters.copies_written.add(taken.messages);
                self.room |= taken.room;
                self.written += n;
                if n == queued { Wrote::All } else { Wrote::Part }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Wrote::Part,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                link.blocked.refused(|| link.report_room(true))
            }
            Err(error) => Wrote::Failed(error),
        }
    }

    fn arm(&mut self) -> bool {
        let is_empty = self.consumer.arm();
        if is_empty {
            self.link.idle_at.store(self.link.departed(), Ordering::Relaxed);
        }
        is_empty
    }

    fn has_enough(&self, writes: usize, all: bool) -> Option<Flushed> {
        if all && self.writer == Flusher::Driver && self.link.is_streamed_to() {
            return Some(Flushed::HeldBack);
        }
        if let Flusher::Closer(until) = self.writer {
            return (time::now() >= until).then_some(Flushed::Later);
        }
        // Goes on with a closed ring: nobody adds to it, and there may be no later. But a driver does not follow a
        // peer that reads on.
        let much = match (self.writer.is_driver(), self.link.send.is_closed()) {
            (true, false) => writes >= WRITES || self.written >= ENOUGH,
            (false, true) => false,
            (true, true) | (false, false) => writes >= WRITES,
        };
        much.then_some(Flushed::Later)
    }
}

/// Gives the kernel the first `most` bytes of `slices`, which have `length` together.
fn write_some(
    stream: &dyn Stream,
    slices: &[IoSlice<'_>],
    most: usize,
    length: usize,
) -> io::Result<usize> {
    if length <= most {
        return stream.write(slices);
    }
    let mut cut = [IoSlice::new(&[]); SLICES];
    let (mut left, mut count) = (most, 0);
    for (place, slice) in cut.iter_mut().zip(slices) {
        if left == 0 {
            break;
        }
        let length = slice.len().min(left);
        *place = IoSlice::new(&slice[..length]);
        (left, count) = (left - length, count + 1);
    }
    stream.write(&cut[..count])
}
