//! Connections: one stream from its first byte to its last.
//!
//! A connection begins as a stream that may not be established yet, exchanges the eight header bytes with the
//! peer, becomes a pipe of its socket, and ends: by the peer, by us, or by an error. [`Connection`] is the
//! driver's part of one, with which it reads; [`Link`] is the part that it shares with threads that send.
//! This file owns the phases, the steps between them, and the end. `handshake` has the phases before the
//! pipe, `open` the pipe, and `driver` what the driver does with connections.
//!
//! ```text
//!   Opening --established--> Greeting --header right--> Asking --admitted--> Open --closed by us--> Closing
//!      |                        |                         |                  |                       |
//!      +------------------------+--- error, timeout, end of stream, no ------+-----------------------+--> ended
//! ```
//!
//! If the socket has one peer at a time, `Offered` is between Asking and Open: see `line.rs`.

mod driver;
mod handshake;
mod open;

use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::Token;

use super::idle::Activity;
use super::line::InLine;
use super::link::Link;
use super::quota::{self, LITTLE};
use super::silence::Silence;
use super::timers::{TimerKey, after};
use super::writing::Flushed;
use super::{Due, LoopContext};
use crate::detach::DetachReason;
use crate::error::AttemptError;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Host, Intake};
use crate::protocol_id::ProtocolId;
use crate::stats::{DropReason, InProgress};
use crate::sync::{Arc, OnceLock};
use crate::time;
use crate::transport::Stream;
use crate::wire::frame::widen;
use crate::wire::{Framing, HeaderParser};
use handshake::Newcomer;
pub(super) use handshake::Standing;
pub(super) use open::FrameProgress;
use open::{Open, Reading};

/// Read a connection whose peer has left for at most this many turns at once: enough for what a kernel
/// buffers.
const LAST_TURNS: usize = 64;
/// A connection that we closed waits this long for the peer's end of stream, so that the kernel does not
/// answer unread bytes with a reset, which could destroy data that we had sent.
///
/// No longer, because it keeps a descriptor meanwhile. A peer that is farther away loses nothing unless packets
/// are lost as well: what we sent is there before the reset.
const HALF_CLOSED: Duration = Duration::from_millis(80);

/// What a stream keeps back when its connection is closed may be written for this long. It is not much, and has left
/// the socket's queues; a peer that has read nothing for so long will not read it.
const KEPT_BACK: Duration = Duration::from_secs(10);

/// A pipe that the peer ends within this many milliseconds, without having sent anything, was turned away:
/// enough for a round trip, and for a callback at the peer.
const AT_ONCE: u32 = 1000;

/// A time in milliseconds of this process's own clock, which wraps around after 49 days. An `Instant` would
/// be four times as large, and every connection has one.
#[derive(Clone, Copy, Debug)]
struct Moment(u32);

impl Moment {
    fn now() -> Self {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        let beginning = *BEGINNING.get_or_init(time::now);
        let millis = time::since(beginning).as_millis() & u128::from(u32::MAX);
        Self(u32::try_from(millis).expect("it was cut to size"))
    }

    /// Whether it was at most [`AT_ONCE`] ago.
    fn is_recent(self) -> bool {
        Self::now().0.wrapping_sub(self.0) < AT_ONCE
    }
}

/// The driver's part of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) endpoint: Arc<EndpointCore>,
    pub(crate) maker: Maker,
    /// Its position in the line of a socket that has one peer at a time. On the heap, since other connections
    /// have none, and there may be many of them.
    pub(super) in_line: Option<Box<InLine>>,
    framing: Framing,
    phase: Phase,
    /// The handshake deadline while greeting, the deadlines of closing afterwards.
    timer: Option<Box<TimerKey>>,
    /// Whether the poll has reported that the peer's side is finished: a short read is then not the last one.
    read_closed: bool,
    /// Whether the poll has reported an error: a reset, or a peer that is silent for too long.
    has_failed: bool,
    /// Whether the peer's side is finished, and the socket has no room now for what the peer may leave behind.
    is_put_off: bool,
    /// Whether there may be something to read that the poll will not report.
    is_unread: bool,
    /// Whether it is among the members of its endpoint: until it is a pipe, or over.
    is_member: bool,
    /// Whether it is in the driver's ready queue.
    pub(super) is_queued: bool,
    /// Whether its endpoint counts it among those that wait for the peer's header.
    is_greeting: bool,
    /// Whether its last turn has brought little, so that it goes before those that have had much. Here, where a byte
    /// takes no memory.
    reads_little: bool,
    /// When it became a pipe.
    since: Moment,
    _in_progress: Option<InProgress>,
}

/// What made a connection, and is told what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// It was accepted.
    Listener,
    /// The program had it, and its endpoint is there for it alone.
    Program,
    /// A race on its loop, until it is a pipe.
    Race(Token),
    /// A dialer on the home loop, from then on.
    Dialer(Token),
}

#[derive(Debug)]
enum Phase {
    /// The stream is not known to be established yet.
    Opening(Box<dyn Stream>),
    /// Header bytes are on their way.
    Greeting {
        stream: Box<dyn Stream>,
        parser: HeaderParser,
        unsent: Vec<u8>,
        /// Whether ours is withheld until the peer's is there: the socket has all the peers that it can have, or
        /// many say nothing. A peer that is turned away should never mistake the connection for a pipe.
        withheld: bool,
        /// Why ours cannot be written. What the peer sent before is still being read.
        broken: Option<io::Error>,
    },
    /// The program decides whether it lets the peer in. Nothing is read or written until then.
    Asking(Box<Newcomer>, Bytes),
    /// The peer is let in, if the socket turns out to have room for it. Nothing is read or written until then.
    Offered(Box<Newcomer>, Bytes),
    /// A pipe of the socket.
    Open(Open),
    /// The socket is done with it; what is left may still be written until the deadline.
    Closing { link: Arc<Link>, left: Left },
    /// Between two phases, and after the last.
    Ended,
}

/// What a connection that we have closed has left to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    /// What is queued.
    Queued,
    /// What the stream keeps back.
    KeptBack,
    /// Nothing. It waits for the peer's end of stream.
    Nothing,
}

/// What becomes of a connection after an event.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Keep,
    /// It is established, the first one of its race.
    Established,
    /// It goes on, and has more to read than this turn allowed.
    Again,
    /// It goes on, and has more to write than this turn allowed.
    WriteAgain,
    /// It goes on, and what is queued must be written a little later, unless callers do so. This many
    /// messages had left its send ring.
    HoldBack(u64),
    /// It has just become a pipe. More may be there to read.
    Opened,
    /// It is in its socket's line and has shown its header.
    Offered(InLine),
    /// It is over.
    End(Ending),
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Ending {
    /// It failed before it was a pipe.
    Failed(AttemptError),
    /// Our socket or the `admit` callback did not want it.
    Rejected,
    /// It is for another listener.
    Elsewhere,
    /// It was a pipe, and is lost.
    Lost(DetachReason),
    /// It was a pipe, which the peer, of this protocol, ended right away. For the dialer.
    TurnedAway(ProtocolId),
    /// It was a pipe that had brought a message, and is lost. For the dialer.
    Served,
    /// We closed it.
    Closed,
}

impl Connection {
    /// Makes a connection over `stream`, which is established if it was accepted.
    pub(crate) fn new(
        host: &Arc<dyn Host>,
        endpoint: Arc<EndpointCore>,
        framing: Framing,
        stream: Box<dyn Stream>,
        maker: Maker,
    ) -> Self {
        Self {
            endpoint,
            maker,
            in_line: None,
            framing,
            phase: Phase::Opening(stream),
            timer: None,
            read_closed: false,
            has_failed: false,
            is_put_off: false,
            is_unread: false,
            is_member: false,
            is_queued: false,
            is_greeting: false,
            reads_little: true,
            since: Moment::now(),
            _in_progress: Some(InProgress::new(host.counters())),
        }
    }

    /// For registering with the poll, before anything else.
    pub(crate) fn source(&mut self) -> Option<&mut dyn mio::event::Source> {
        match &mut self.phase {
            Phase::Opening(stream) | Phase::Greeting { stream, .. } => Some(stream.source()),
            _ => None,
        }
    }

    /// Whether its stream may have bytes of the peer already that the poll will not report.
    pub(super) fn may_keep_bytes_back(&self) -> bool {
        matches!(&self.phase, Phase::Opening(stream) if !stream.short_read_is_last())
    }

    /// Does what the poll has reported to be possible.
    pub(crate) fn on_event(&mut self, event: Reported, token: Token, cx: &mut LoopContext) -> Fate {
        // The poll reports this once, and the reads of later turns need it too.
        self.read_closed |= event.read_closed;
        self.has_failed |= event.failed;
        // Any event of a stream that is not established yet asks whether it is now.
        if let Phase::Opening(stream) = &self.phase {
            return match stream.established() {
                Ok(true) => Fate::Established,
                Ok(false) => Fate::Keep,
                Err(error) => Fate::End(Ending::Failed(error.into())),
            };
        }
        // It has more to do than its turns allow: others that the poll reports go first.
        if self.is_queued && self.note_report(event) {
            return Fate::Keep;
        }
        // Writing comes first: it makes room for waiting sends, and reading may take the whole turn.
        let wrote = if event.writable { self.on_writable(token, cx) } else { Fate::Keep };
        match wrote {
            Fate::End(_) => wrote,
            _ if !event.readable && !event.read_closed => wrote,
            // With more to write, it reads in the next turn together with that: see `go_on`.
            Fate::Again | Fate::WriteAgain => Fate::Again,
            _ => self.read_besides(wrote, token, cx),
        }
    }

    /// Notes what the poll has reported of a pipe that will go on in any case; `false`: it is no pipe.
    fn note_report(&mut self, event: Reported) -> bool {
        let Phase::Open(open) = &self.phase else { return false };
        // As it will write in any case, what the stream keeps back aside.
        if event.writable && !open.link.blocked.take_report() {
            // A stream that is broken says so when it is read.
            let _ = open.link.stream.flush();
        }
        self.is_unread |= event.readable || event.read_closed;
        true
    }

    /// Reads, and says what becomes of the connection after that and after writing.
    fn read_besides(&mut self, wrote: Fate, token: Token, cx: &mut LoopContext) -> Fate {
        match self.read(token, cx) {
            Fate::Keep => wrote,
            // What was held back is written in the next turn.
            read => read,
        }
    }

    /// Reads what there is, as far as one turn allows. If the peer has left, reads to the end of the stream,
    /// beyond the bounds of the queue: else nobody would notice, if the program does not receive. But only while
    /// the socket has room for what such peers leave behind. If there is little room, reads this connection to
    /// its end at once, so that the socket knows what this peer has left before it reads another.
    pub(crate) fn read(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        if !self.read_closed || !self.may_leave_something() {
            return self.read_on(token, cx);
        }
        match self.ask_for_room(token, cx) {
            Intake::Free => self.read_the_last(token, cx),
            Intake::Single => self.read_to_the_end(token, cx),
            Intake::Shut => self.end_without_room(cx),
        }
    }

    /// Reads on, beyond the bounds of the queue.
    fn read_the_last(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        if let Phase::Open(open) = &mut self.phase {
            open.reads_the_last();
        }
        self.read_on(token, cx)
    }

    /// Ends the connection of a peer that has left, if that takes no room: if there is hardly anything left to
    /// read.
    fn end_without_room(&mut self, cx: &mut LoopContext) -> Fate {
        match &mut self.phase {
            Phase::Open(open) => {
                open.leave_line(&self.endpoint.host);
                let limit = &self.endpoint.recv_limit;
                match open.read_a_little(self.has_failed, limit, &mut cx.read_buffers) {
                    Fate::End(Ending::Lost(reason)) => {
                        self.count_framing_fault(&reason);
                        Fate::End(Ending::Lost(reason))
                    }
                    fate => fate,
                }
            }
            Phase::Greeting { .. } if self.has_failed => {
                Fate::End(Ending::Failed(self.closed_early()))
            }
            _ => Fate::Keep,
        }
    }

    fn read_to_the_end(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        for _ in 0..LAST_TURNS {
            // At once, whatever others have to wait.
            cx.quota.renew();
            match self.read_the_last(token, cx) {
                Fate::Again => {}
                fate => return fate,
            }
        }
        Fate::Again
    }

    /// Whether it is, or will be, a pipe from which there may be something to read.
    fn may_leave_something(&self) -> bool {
        match &self.phase {
            Phase::Greeting { .. } | Phase::Open(_) => true,
            Phase::Opening(_)
            | Phase::Asking(..)
            | Phase::Offered(..)
            | Phase::Closing { .. }
            | Phase::Ended => false,
        }
    }

    /// Asks the socket whether a peer that has left may leave more behind now. If not, what it sent stays in
    /// the kernel until the connection is resumed. That may include its header, whose deadline is lifted
    /// meanwhile.
    fn ask_for_room(&mut self, token: Token, cx: &mut LoopContext) -> Intake {
        let waiting = cx.mailbox.postponed(token);
        let intake = match self.endpoint.host.upgrade() {
            Some(host) if !self.is_put_off => host.intake(waiting),
            Some(_) => Intake::Shut,
            None => Intake::Free,
        };
        self.is_put_off = intake == Intake::Shut;
        if let Some(timer) = self.timer.take_if(|_| self.is_put_off) {
            cx.timers.cancel(*timer);
        }
        intake
    }

    fn read_on(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        match &mut self.phase {
            Phase::Greeting { .. } => self.read_greeting(token, cx),
            Phase::Open(_) => self.read_pipe(self.read_closed, token, cx),
            Phase::Closing { link, left } => {
                if cx.quota.is_spent(false) {
                    return Fate::Again;
                }
                let fate = cx.read_buffers.fill(|block| discard(&*link.stream, block));
                if let Fate::Again = fate {
                    cx.quota.count(quota::BYTES);
                }
                match (&fate, *left) {
                    // The peer has ended its side; our side may still have something to write.
                    (Fate::End(Ending::Closed), Left::Queued | Left::KeptBack) => Fate::Keep,
                    _ => fate,
                }
            }
            Phase::Opening(_) | Phase::Asking(..) | Phase::Offered(..) | Phase::Ended => Fate::Keep,
        }
    }

    /// Reads what has come over the pipe: `to_the_end` if a short read is not the last.
    fn read_pipe(&mut self, to_the_end: bool, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Open(open) = &mut self.phase else { return Fate::Keep };
        if cx.quota.is_spent(self.reads_little) {
            return Fate::Again;
        }
        let (endpoint, mailbox) = (&self.endpoint, &cx.mailbox);
        let reading = Reading {
            reads_little: &mut self.reads_little,
            limit: &endpoint.recv_limit,
            host: &endpoint.host,
            postponed: &|| mailbox.postponed(token),
            buffers: &mut cx.read_buffers,
            quota: &mut cx.quota,
        };
        match open.read(to_the_end, reading) {
            Fate::End(Ending::Lost(reason)) => {
                self.count_framing_fault(&reason);
                Fate::End(Ending::Lost(reason))
            }
            fate => fate,
        }
    }

    /// Reads what there is, as far as one turn allows, whatever the poll has reported. Says whether the
    /// kernel had nothing more: `false` if there is more than a turn allows, or no room for it.
    pub(super) fn read_out(&mut self, token: Token, cx: &mut LoopContext) -> (Fate, bool) {
        if self.read_closed && self.may_leave_something() {
            match self.ask_for_room(token, cx) {
                Intake::Shut => return (Fate::Keep, false),
                Intake::Free | Intake::Single => {
                    if let Phase::Open(open) = &mut self.phase {
                        open.reads_the_last();
                    }
                }
            }
        }
        match self.read_pipe(true, token, cx) {
            Fate::Again => (Fate::Again, false),
            Fate::Keep => (Fate::Keep, !self.is_paused()),
            fate => (fate, true),
        }
    }

    fn is_paused(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.paused)
    }

    /// Does what an earlier turn left over: writing must not prevent reading.
    pub(crate) fn go_on(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let is_unread = std::mem::take(&mut self.is_unread);
        match self.flush(token, cx) {
            fate @ Fate::End(_) => fate,
            fate if is_unread => self.read_besides(fate, token, cx),
            fate => fate,
        }
    }

    /// Reads again, after the receive ring was full, or the socket had no room for what a departed peer
    /// leaves behind.
    pub(crate) fn resume(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let was_put_off = std::mem::take(&mut self.is_put_off);
        match &mut self.phase {
            Phase::Open(open) if open.paused || was_put_off => {
                open.paused = false;
                self.read(token, cx)
            }
            Phase::Greeting { .. } if was_put_off => self.read(token, cx),
            _ => Fate::Keep,
        }
    }

    /// Writes what is queued, for a thread that could not.
    pub(crate) fn flush(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        match &mut self.phase {
            Phase::Open(open) if open.broken.is_some() => Fate::Keep,
            Phase::Open(open) => {
                let flushed = flush(&open.link, cx);
                open.flushed(flushed)
            }
            Phase::Closing { link, left: Left::Queued } => match flush(link, cx) {
                Flushed::Later | Flushed::HeldBack => Fate::WriteAgain,
                Flushed::Broken(_) => Fate::End(Ending::Closed),
                Flushed::Blocked => Fate::Keep,
                Flushed::Idle => self.half_close(token, cx),
            },
            _ => Fate::Keep,
        }
    }

    /// Whether callers have written since `departed` messages had left, and none of them waits for room: what
    /// is queued may be held back once more.
    pub(super) fn is_written_by_callers(&self, departed: u64) -> bool {
        matches!(&self.phase, Phase::Open(Open { link, .. })
            if link.send.departed().messages != departed && !link.send.is_awaited())
    }

    /// Holds back once more what is queued.
    pub(super) fn hold_back(&mut self) -> Fate {
        match &mut self.phase {
            Phase::Open(open) => open.flushed(Flushed::HeldBack),
            _ => Fate::Keep,
        }
    }

    /// Releases the memory of the rings, if no message has left either since the last check and both are empty.
    pub(super) fn release_memory(&mut self, seen: &mut Option<(u64, u64)>) -> Activity {
        match &mut self.phase {
            Phase::Open(open) => open.release_memory(&self.endpoint.host, seen),
            _ => Activity::Idle,
        }
    }

    /// For how long the peer may be silent.
    pub(super) fn silence_limit(&self) -> Option<Duration> {
        self.endpoint.settings.tcp_keepalive
    }

    /// Whether the peer has been silent for too long, and owes an answer.
    pub(super) fn silence(&self) -> Silence {
        match (&self.phase, self.silence_limit()) {
            (Phase::Open(Open { link, .. }) | Phase::Closing { link, .. }, Some(limit)) => {
                link.silence(limit)
            }
            _ => Silence::Nothing,
        }
    }

    /// Ends the connection of a peer that has been silent for too long, once what it had sent is read.
    pub(super) fn on_silence(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        (self.read_closed, self.has_failed) = (true, true);
        match &mut self.phase {
            Phase::Open(open) => {
                open.broken.get_or_insert_with(|| Box::new(DetachReason::Silent));
                self.read(token, cx)
            }
            _ => Fate::End(Ending::Closed),
        }
    }

    /// When the rest of a message must have come of which nothing has come since the last check; `None`: nothing is
    /// waited for.
    pub(super) fn check_frame(&self, progress: &mut Option<FrameProgress>) -> Option<Duration> {
        match &self.phase {
            Phase::Open(open) => open.check_frame(self.endpoint.settings.frame_timeout, progress),
            _ => None,
        }
    }

    /// Ends the connection, since the rest of a message has not come. Looks first whether it lies in the kernel: the
    /// loop may not have been turned for as long.
    pub(super) fn on_frame_timeout(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Open(open) = &self.phase else { return Fate::Keep };
        let before = open.arrived();
        let fate = self.read(token, cx);
        let stalls = matches!(&self.phase, Phase::Open(open)
            if !open.paused && (open.arrived() == before || open.exceeds()));
        if !stalls || matches!(fate, Fate::End(_) | Fate::Again) {
            return fate;
        }
        if let Some(host) = self.endpoint.host.upgrade() {
            host.counters().frame_timeouts.bump();
            let (name, url) = (host.name(), self.endpoint.url());
            let reason = DetachReason::FrameTimedOut;
            crate::contain::record!(
                Debug,
                { socket: name, endpoint: url, reason: reason },
                "{name}: connection of {url} closed: {reason}"
            );
        }
        Fate::End(Ending::Lost(DetachReason::FrameTimedOut))
    }

    /// Closes the connection for the socket: writes what is queued for up to `linger`, tells the peer that
    /// nothing follows, and waits a moment for the peer's end of stream.
    pub(crate) fn close(&mut self, linger: Duration, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Open(mut open) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Fate::Keep;
        };
        open.drop_partial(&self.endpoint.host);
        let link = Arc::clone(&open.link);
        drop(open);
        self.tell_budget();
        set_timer(&mut self.timer, after(time::now(), linger), Due::Linger(token), cx);
        self.phase = Phase::Closing { link, left: Left::Queued };
        self.flush(token, cx)
    }

    /// Ends writing, because everything is written or the time is over: drops what is left, tells the peer,
    /// and waits for its end of stream.
    pub(crate) fn half_close(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Closing { link, left: left @ Left::Queued } = &mut self.phase else {
            return Fate::Keep;
        };
        link.finish(DropReason::ClosedUnsent, &self.endpoint);
        *left = kept_back(&*link.stream);
        let wait = if *left == Left::KeptBack { KEPT_BACK } else { HALF_CLOSED };
        set_timer(&mut self.timer, time::now() + wait, Due::HalfClosed(token), cx);
        self.read(token, cx)
    }

    /// Writes what the stream has kept back beyond the end, and then waits for the peer's end of stream.
    fn write_kept_back(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Closing { link, left: left @ Left::KeptBack } = &mut self.phase else {
            return Fate::Keep;
        };
        *left = kept_back(&*link.stream);
        if *left == Left::Nothing {
            set_timer(&mut self.timer, time::now() + HALF_CLOSED, Due::HalfClosed(token), cx);
            return self.read(token, cx);
        }
        Fate::Keep
    }

    /// Tells those who wait for the budget of the socket. The last reference to the receive ring may have been here.
    fn tell_budget(&self) {
        if let Some(host) = self.endpoint.host.upgrade() {
            host.budget().tell();
        }
    }

    /// Notes that a sender has met an error while writing.
    pub(crate) fn broken(&mut self, error: io::Error) -> Fate {
        match &mut self.phase {
            Phase::Open(open) => open.write_failed(error),
            Phase::Closing { .. } => Fate::End(Ending::Closed),
            _ => Fate::Keep,
        }
    }

    /// Whether it is a pipe of its socket.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.phase, Phase::Open(_))
    }

    /// Ends the connection: tells the socket, and counts what was queued. Dropping the last reference closes
    /// the stream.
    pub(crate) fn end(&mut self, ending: &Ending, cx: &mut LoopContext) {
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        self.on_greeted();
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(mut open) => {
                let reason = match ending {
                    Ending::Lost(reason) => reason.clone(),
                    _ => DetachReason::ClosedHere,
                };
                if let Some(host) = self.endpoint.host.upgrade() {
                    if open.decoder.is_mid_frame() {
                        host.counters().truncated.bump();
                    }
                    host.detach(open.pipe, reason);
                }
                open.link.finish(DropReason::PipeLost, &self.endpoint);
                open.drop_partial(&self.endpoint.host);
                drop(open);
                self.tell_budget();
            }
            Phase::Closing { link, .. } => link.finish(DropReason::ClosedUnsent, &self.endpoint),
            Phase::Greeting { stream, .. } if matches!(ending, Ending::Elsewhere) => {
                pass_on(stream, cx);
            }
            Phase::Greeting { stream, .. } => self.count_failed_greeting(&*stream, ending),
            // The socket or the endpoint was closed. What the program decides no longer matters.
            Phase::Asking(newcomer, _) | Phase::Offered(newcomer, _) => {
                if let Some(host) = self.endpoint.host.upgrade() {
                    let reason = match ending {
                        Ending::Rejected => DetachReason::Rejected,
                        _ if host.is_closed() => DetachReason::SocketClosed,
                        _ => DetachReason::EndpointClosed,
                    };
                    host.turn_away(&newcomer.peer, reason);
                }
            }
            Phase::Opening(_) | Phase::Ended => {}
        }
    }

    fn on_writable(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        match &mut self.phase {
            Phase::Greeting { .. } => self.send_greeting(),
            Phase::Closing { left: Left::KeptBack, .. } => self.write_kept_back(token, cx),
            Phase::Open(Open { link, .. }) | Phase::Closing { link, .. } => {
                if link.blocked.take_report() {
                    return self.flush(token, cx);
                }
                let done = match link.stream.flush() {
                    // It relies on the next report.
                    Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                    Err(error) => Err(error),
                    Ok(()) => link.stop_reports(),
                };
                match done {
                    Ok(()) => Fate::Keep,
                    Err(error) => self.broken(error),
                }
            }
            Phase::Asking(newcomer, _) | Phase::Offered(newcomer, _) => {
                // A stream that is broken says so when it is read.
                let _ = newcomer.stream.flush();
                Fate::Keep
            }
            Phase::Opening(_) | Phase::Ended => Fate::Keep,
        }
    }

    /// What this ending of a pipe means for the dialer that made it, if not just that it is lost.
    pub(super) fn meaning_of(&self, ending: &Ending) -> Option<Ending> {
        let (Phase::Open(open), Ending::Lost(reason)) = (&self.phase, ending) else { return None };
        if open.has_brought_messages() {
            return Some(Ending::Served);
        }
        if *reason == DetachReason::PeerClosed
            && self.since.is_recent()
            && !open.decoder.is_mid_frame()
        {
            let peer = self.endpoint.host.upgrade().map(|host| host.identity().1);
            return peer.map(Ending::TurnedAway);
        }
        None
    }

    fn count_framing_fault(&self, reason: &DetachReason) {
        let Some(host) = self.endpoint.host.upgrade() else { return };
        match reason {
            DetachReason::Oversize { .. } => host.counters().oversize.bump(),
            _ if reason.is_fault() => host.counters().framing_errors.bump(),
            _ => return,
        }
        let (name, url) = (host.name(), self.endpoint.url());
        crate::contain::record!(
            Debug,
            { socket: name, endpoint: url, reason: reason },
            "{name}: connection of {url} closed: {reason}"
        );
    }
}

/// What the poll has reported about a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reported {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
    pub(crate) failed: bool,
}

impl Reported {
    pub(crate) fn of(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error() || event.is_write_closed(),
            read_closed: event.is_read_closed() || event.is_error(),
            failed: event.is_error(),
        }
    }
}

/// Writes what is queued on `link`, if the turn allows it.
fn flush(link: &Link, cx: &mut LoopContext) -> Flushed {
    let little = || link.send.queued().bytes <= widen(LITTLE);
    if cx.quota.is_spent(false) && cx.quota.is_spent(little()) {
        return Flushed::Later;
    }
    let mut written = 0;
    let flushed = link.flush(cx.writer, &mut written);
    cx.quota.count(written);
    flushed
}

/// Sets a timer in place of the one that `slot` holds. On the heap, since a pipe has none.
fn set_timer(slot: &mut Option<Box<TimerKey>>, at: Instant, due: Due, cx: &mut LoopContext) {
    if let Some(old) = slot.replace(Box::new(cx.timers.set(at, due))) {
        cx.timers.cancel(*old);
    }
}

/// What a stream has left after its end: nothing, if it is broken.
fn kept_back(stream: &dyn Stream) -> Left {
    match stream.flush() {
        Err(error) if error.kind() == ErrorKind::WouldBlock => Left::KeptBack,
        _ => Left::Nothing,
    }
}

/// Gives a stream to the listener that it is for, which watches it anew.
fn pass_on(mut stream: Box<dyn Stream>, cx: &LoopContext) {
    if let Err(error) = cx.mailbox.registry.deregister(stream.source()) {
        crate::contain::record!(Trace, { reason: error }, "not watched: {error}");
    }
    stream.pass_on();
}

/// Reads and drops what a peer still sends on a connection that we have closed.
fn discard(stream: &dyn Stream, buffer: &mut [u8]) -> Fate {
    match stream.read(buffer) {
        Ok(0) => Fate::End(Ending::Closed),
        Ok(_) => Fate::Again,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Fate::Keep,
        Err(error) if error.kind() == ErrorKind::Interrupted => Fate::Again,
        Err(_) => Fate::End(Ending::Closed),
    }
}
