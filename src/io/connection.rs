//! Connections: one stream from its first byte to its last.
//!
//! A connection begins as a stream that may not stand yet, exchanges the eight header bytes with the
//! peer, becomes a pipe of its socket, and ends: by the peer, by us, or by an error. [`Connection`]
//! is what the driver owns of one and reads with; what it shares with the threads that send is its
//! [`Link`].
//!
//! ```text
//!   Opening --established--> Greeting --header right--> Asking --admitted--> Open --closed by us--> Closing
//!      |                        |                         |                  |                       |
//!      +------------------------+--- error, timeout, end of stream, no ------+-----------------------+--> ended
//! ```
//!
//! Where the socket has one peer at a time, `Offered` is between Asking and Open: see `line.rs`.

use std::io::{self, ErrorKind, IoSlice};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mio::{Interest, Token};

use super::idle::Activity;
use super::line::InLine;
use super::link::{Link, RemoteOf};
use super::loops::HOME;
use super::read_buffers::ReadBuffers;
use super::timers::{TimerKey, after};
use super::writing::Flushed;
use super::{Command, Context, Driver, Due};
use crate::detach::DetachReason;
use crate::error::{AttemptError, HeaderError};
use crate::message::PipeId;
use crate::peer::Peer;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::recv_limit::RecvLimit;
use crate::pipe::{Edge, Far, Host, Intake, NewPipe, PipeLease};
use crate::protocol_id::ProtocolId;
use crate::ring::{self, Bounds, Producer, READ_BLOCK, Wake};
use crate::stats::{DropReason, InProgress};
use crate::sync::{Arc, OnceLock, Ordering, Weak};
use crate::transport::Stream;
use crate::wire::frame::widen;
use crate::wire::{Decoder, FrameError, Framing, HeaderParser, Piece, header};

/// Read at most this much of one connection in a turn, then let the others have theirs. The last read may
/// bring as much again, so a turn reads less than twice this.
const READ: usize = READ_BLOCK;
/// Read at most this often from one connection in a turn: where the queue is small, a read may bring a few
/// bytes.
const READS: usize = 128;
/// Read by the block into a receive queue with these bounds, the default, or larger ones. A smaller queue
/// is small for a reason: read no more than it has room for, at the price of up to two reads for a message.
const LARGE_QUEUE: Bounds = Bounds { messages: 128, bytes: 8 << 20 };
/// Refer to a run of whole frames of at least this length where it was read; copy shorter ones into the
/// receive ring. At a quarter of a block, what waits in a ring keeps at most four times its own length
/// alive, and a slow receiver at most four times the bound of its queue and one read.
const SHARED_RUN: usize = READ_BLOCK / 4;
/// Read the remainder of a body into its place if at least this much is missing; less is not worth a read
/// of its own. Anything from 8 to 128 KiB was as good, as far as could be measured.
const IN_PLACE: usize = 64 * 1024;
/// Read a connection whose peer has left for at most this many turns at once: enough for what a kernel
/// buffers.
const LAST_TURNS: usize = 64;
/// Read at most this much beyond the bounds of a receive queue when the stream takes nothing more: a kernel
/// buffers less, unless it is told to buffer more.
const LAST_BYTES: u64 = 8 << 20;
/// How long a connection that we closed waits for the peer's end of stream, so that the kernel need
/// not answer unread bytes with a reset, which could take data from the peer that we had sent.
const HALF_CLOSED: Duration = Duration::from_secs(1);

/// A pipe that the peer ends so soon, in milliseconds, with nothing sent, was turned away: one way to the peer
/// and back, and as long as a callback there may take.
const AT_ONCE: u32 = 1000;

/// A moment in milliseconds of a clock of this process's own, which turns over after 49 days. An `Instant`
/// would be four times as large, and every connection has one.
#[derive(Clone, Copy, Debug)]
struct Moment(u32);

impl Moment {
    fn now() -> Self {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        let beginning = *BEGINNING.get_or_init(Instant::now);
        let millis = beginning.elapsed().as_millis() & u128::from(u32::MAX);
        Self(u32::try_from(millis).expect("it was cut to size"))
    }

    /// Whether it was [`AT_ONCE`] ago at most.
    fn is_recent(self) -> bool {
        Self::now().0.wrapping_sub(self.0) < AT_ONCE
    }
}

/// What the driver owns of a connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) endpoint: Arc<EndpointCore>,
    pub(crate) maker: Maker,
    /// Where it stands in the line of a socket that has one peer at a time. On the heap: others stand in none,
    /// and there may be many of them.
    pub(super) in_line: Option<Box<InLine>>,
    framing: Framing,
    phase: Phase,
    /// The handshake deadline while greeting, the deadlines of closing afterwards.
    timer: Option<Box<TimerKey>>,
    /// The poll has said that the peer's side is finished: a short read is not the last one.
    read_closed: bool,
    /// So it is, and the socket has no room now for what the peer may leave behind.
    is_put_off: bool,
    /// Stands among the members of its endpoint: until it is a pipe, or over.
    is_member: bool,
    /// Stands in the driver's ready queue.
    pub(super) is_queued: bool,
    /// When it became a pipe.
    since: Moment,
    _in_progress: Option<InProgress>,
}

/// Who made a connection, and is told what becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Maker {
    /// It was accepted.
    Listener,
    /// A race on its loop, until it is a pipe.
    Race(Token),
    /// A dialer on the home loop, from then on.
    Dialer(Token),
}

#[derive(Debug)]
enum Phase {
    /// We dialed; the stream does not stand yet.
    Opening(Box<dyn Stream>),
    /// Header bytes are on their way.
    Greeting {
        stream: Box<dyn Stream>,
        parser: HeaderParser,
        unsent: Vec<u8>,
        /// Ours is withheld: the socket has all the peers it can have, and one that is turned away had
        /// better never take the connection for a pipe.
        withheld: bool,
        /// Why ours cannot be written. What the peer sent before is still being read.
        broken: Option<io::Error>,
    },
    /// The program is asked whether it lets the peer in. Nothing is read or written until it has said so.
    Asking(Box<Newcomer>, Bytes),
    /// The peer is let in, if the place that the socket has turns out to be free. Nothing is read or
    /// written until then.
    Offered(Box<Newcomer>, Bytes),
    /// A pipe of the socket.
    Open(Open),
    /// The socket is done with it; what is queued may still be written until the deadline.
    Closing { link: Arc<Link>, drained: bool },
    /// Between two phases, and after the last.
    Ended,
}

#[derive(Debug)]
struct Open {
    link: Arc<Link>,
    decoder: Decoder,
    recv: Producer,
    pipe: PipeId,
    /// The receive ring is full; its consumer resumes us.
    paused: bool,
    /// Why nothing more can be written. What the peer sent before is still being read.
    broken: Option<Box<DetachReason>>,
}

/// A stream whose peer has shown the right header.
#[derive(Debug)]
struct Newcomer {
    stream: Box<dyn Stream>,
    lease: PipeLease,
    peer: Peer,
    /// There may be more to read that the poll will not announce.
    more: bool,
    /// It has not been sent our header.
    withheld: bool,
}

/// Sends the header that was withheld, if there is room for a peer after all. If the stream does not take
/// it whole, though nothing was sent before, the peer may as well come again.
fn catch_up(host: &dyn Host, stream: &dyn Stream) -> bool {
    let ours = header::encode(host.identity().0);
    !host.is_full() && stream.write(&[IoSlice::new(&ours)]).is_ok_and(|n| n == ours.len())
}

/// What a read has brought.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// How many bytes; none at the end of the stream.
    n: usize,
    /// There was no room for more.
    filled: bool,
    /// They are where they are to stay already.
    in_place: bool,
}

/// What becomes of a connection after an event.
#[derive(Debug)]
pub(crate) enum Fate {
    /// It goes on.
    Keep,
    /// It stands, of all that were on the way.
    Stands,
    /// It goes on, and has more to do than this turn allowed.
    Again,
    /// It goes on, and what is queued is to be written a little later, unless callers do so; so many
    /// messages had left its send ring.
    HoldBack(u64),
    /// It has just become a pipe. More may be there to read.
    Opened,
    /// It stands in its socket's line with its header shown.
    Offered(InLine),
    /// It is over.
    End(Ending),
}

/// What a connection in a line is for those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not shown its header, or was not sent ours, so that no message can be lost with it: others
    /// need not wait.
    Silent,
    /// It takes the place, unless the program does not let it in, or once there is room for what its peer
    /// has left.
    Undecided,
    /// It takes the place if that is free.
    Offered,
}

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum Ending {
    /// Before it was a pipe.
    Failed(AttemptError),
    /// Our socket or the `admit` callback did not want it.
    Rejected,
    /// As a pipe.
    Lost(DetachReason),
    /// As a pipe, which the peer, of this kind, ended right away. For the dialer.
    TurnedAway(ProtocolId),
    /// We closed it.
    Closed,
}

impl Connection {
    /// A connection over `stream`, which stands already if it was accepted.
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
            is_put_off: false,
            is_member: false,
            is_queued: false,
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

    /// Sends our header over a stream that stands, and starts the clock for the peer's. `is_behind`: others
    /// may take the socket's only place before this one.
    pub(crate) fn greet(&mut self, is_behind: bool, token: Token, cx: &mut Context) -> Fate {
        let Some(host) = self.endpoint.host.upgrade() else {
            return Fate::End(Ending::Closed);
        };
        let Phase::Opening(stream) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Fate::Keep;
        };
        let (ours, theirs) = host.identity();
        let deadline = after(Instant::now(), self.endpoint.settings.handshake_timeout);
        set_timer(&mut self.timer, deadline, Due::Handshake(token), cx);
        // Who dials is never waited for: if both sides withheld theirs, nothing would ever happen.
        let withheld = self.maker == Maker::Listener && (is_behind || host.is_full());
        self.phase = Phase::Greeting {
            stream,
            parser: HeaderParser::new(theirs),
            unsent: if withheld { Vec::new() } else { header::encode(ours).to_vec() },
            withheld,
            broken: None,
        };
        self.send_greeting()
    }

    /// Begins a connection that stands, and that may have been answered by now.
    pub(crate) fn begin(&mut self, token: Token, cx: &mut Context) -> Fate {
        match self.greet(false, token, cx) {
            Fate::Keep => self.read(token, cx),
            fate => fate,
        }
    }

    /// Does what the poll said can be done.
    pub(crate) fn on_event(&mut self, event: Readiness, token: Token, cx: &mut Context) -> Fate {
        // The poll says this once, and the reads of later turns have to know it too.
        self.read_closed |= event.read_closed;
        // Any event of a stream that does not stand yet is about whether it does.
        if let Phase::Opening(stream) = &self.phase {
            return match stream.established() {
                Ok(true) => Fate::Stands,
                Ok(false) => Fate::Keep,
                Err(error) => Fate::End(Ending::Failed(error.into())),
            };
        }
        // Writing comes first: it makes room for those who wait, and reading may take the whole turn.
        let wrote = if event.writable { self.on_writable(token, cx) } else { Fate::Keep };
        match wrote {
            // With more to write, reading has its turn together with that: see `go_on`.
            Fate::End(_) | Fate::Again => wrote,
            _ if event.readable || event.read_closed => self.read_besides(wrote, token, cx),
            _ => wrote,
        }
    }

    /// Reads, and says what is to become of the connection after that and after writing.
    fn read_besides(&mut self, wrote: Fate, token: Token, cx: &mut Context) -> Fate {
        match self.read(token, cx) {
            Fate::Keep => wrote,
            // What was held back is written in the next turn.
            read => read,
        }
    }

    /// Reads what there is, as far as one turn allows. If the peer has left, reads as far as the socket has
    /// room for what such peers leave behind. If there is little room, reads this connection to its end, so
    /// that the socket knows what this peer has left before it reads another.
    pub(crate) fn read(&mut self, token: Token, cx: &mut Context) -> Fate {
        if !self.read_closed || !self.may_leave_something() {
            return self.read_on(token, cx);
        }
        match self.ask_for_room(token, cx) {
            Intake::Free => self.read_on(token, cx),
            Intake::Single => self.read_to_the_end(token, cx),
            Intake::Shut => Fate::Keep,
        }
    }

    fn read_to_the_end(&mut self, token: Token, cx: &mut Context) -> Fate {
        for _ in 0..LAST_TURNS {
            match self.read_on(token, cx) {
                Fate::Again => {}
                fate => return fate,
            }
        }
        Fate::Again
    }

    /// Whether it is, or will be, a pipe from which there may be something to read.
    fn may_leave_something(&self) -> bool {
        match &self.phase {
            Phase::Greeting { .. } => true,
            Phase::Open(open) => !open.paused,
            Phase::Opening(_)
            | Phase::Asking(..)
            | Phase::Offered(..)
            | Phase::Closing { .. }
            | Phase::Ended => false,
        }
    }

    /// Asks the socket whether the peer, which has left, may leave more behind now. If not, what it sent
    /// stays in the kernel until the connection is resumed. That may include its header, whose deadline is
    /// lifted meanwhile.
    fn ask_for_room(&mut self, token: Token, cx: &mut Context) -> Intake {
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

    fn read_on(&mut self, token: Token, cx: &mut Context) -> Fate {
        match &mut self.phase {
            Phase::Greeting { .. } => self.read_greeting(token, cx),
            Phase::Open(_) => self.read_pipe(self.read_closed, cx),
            Phase::Closing { link, drained } => {
                let fate = cx.read_buffers.fill(|block| discard(&*link.stream, block));
                match (&fate, *drained) {
                    // The peer has ended its side; ours may still have something to write.
                    (Fate::End(Ending::Closed), false) => Fate::Keep,
                    _ => fate,
                }
            }
            Phase::Opening(_) | Phase::Asking(..) | Phase::Offered(..) | Phase::Ended => Fate::Keep,
        }
    }

    /// Reads what has come over the pipe: `to_the_end` if a short read is not the last.
    fn read_pipe(&mut self, to_the_end: bool, cx: &mut Context) -> Fate {
        let Phase::Open(open) = &mut self.phase else { return Fate::Keep };
        match open.read(to_the_end, &self.endpoint.recv_limit, &mut cx.read_buffers) {
            Fate::End(Ending::Lost(reason)) => {
                self.count_framing_fault(&reason);
                Fate::End(Ending::Lost(reason))
            }
            fate => fate,
        }
    }

    /// Reads what there is, as far as one turn allows, without regard to what the poll has said. Says whether
    /// the kernel had nothing more: `false` if there is more than a turn allows, or no room for it.
    pub(super) fn read_out(&mut self, token: Token, cx: &mut Context) -> (Fate, bool) {
        if self.read_closed
            && self.may_leave_something()
            && self.ask_for_room(token, cx) == Intake::Shut
        {
            return (Fate::Keep, false);
        }
        match self.read_pipe(true, cx) {
            Fate::Again => (Fate::Again, false),
            Fate::Keep => (Fate::Keep, !self.is_paused()),
            fate => (fate, true),
        }
    }

    fn is_paused(&self) -> bool {
        matches!(&self.phase, Phase::Open(open) if open.paused)
    }

    /// Does what was left undone in an earlier turn: writing must not keep from reading.
    pub(crate) fn go_on(&mut self, token: Token, cx: &mut Context) -> Fate {
        match self.flush(token, cx) {
            fate @ (Fate::Keep | Fate::Again | Fate::HoldBack(_)) => {
                self.read_besides(fate, token, cx)
            }
            fate => fate,
        }
    }

    /// Reads again, after the receive ring was full, or the socket had no room for what the peer, which has
    /// left, leaves behind.
    pub(crate) fn resume(&mut self, token: Token, cx: &mut Context) -> Fate {
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
    pub(crate) fn flush(&mut self, token: Token, cx: &mut Context) -> Fate {
        match &mut self.phase {
            Phase::Open(open) if open.broken.is_some() => Fate::Keep,
            Phase::Open(open) => {
                let flushed = open.link.flush(cx.writer);
                open.flushed(flushed)
            }
            Phase::Closing { link, drained: false } => match link.flush(cx.writer) {
                Flushed::Later | Flushed::HeldBack => Fate::Again,
                Flushed::Broken(_) => Fate::End(Ending::Closed),
                Flushed::Blocked => Fate::Keep,
                Flushed::Idle => self.half_close(token, cx),
            },
            _ => Fate::Keep,
        }
    }

    /// Writes what is queued if no caller has written since `departed` messages had left.
    pub(crate) fn sweep(&mut self, departed: u64, token: Token, cx: &mut Context) -> Fate {
        match &mut self.phase {
            Phase::Open(open) if open.link.send.departed().messages != departed => {
                open.flushed(Flushed::HeldBack)
            }
            _ => self.flush(token, cx),
        }
    }

    /// Gives back what the rings keep if no message has left either since the last check, and none is
    /// there.
    pub(super) fn release_memory(&mut self, seen: &mut Option<(u64, u64)>) -> Activity {
        match &mut self.phase {
            Phase::Open(open) => open.release_memory(&self.endpoint.host, seen),
            _ => Activity::Idle,
        }
    }

    /// The socket is done with the pipe: writes what is queued for up to `linger`, says so to the
    /// peer, and waits a moment for its end of stream.
    pub(crate) fn close(&mut self, linger: Duration, token: Token, cx: &mut Context) -> Fate {
        let Phase::Open(open) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Fate::Keep;
        };
        set_timer(&mut self.timer, after(Instant::now(), linger), Due::Linger(token), cx);
        self.phase = Phase::Closing { link: open.link, drained: false };
        self.flush(token, cx)
    }

    /// Writing is over, because all is written or the time is: drops what is left, tells the peer,
    /// and waits for its end of stream.
    pub(crate) fn half_close(&mut self, token: Token, cx: &mut Context) -> Fate {
        let Phase::Closing { link, drained: drained @ false } = &mut self.phase else {
            return Fate::Keep;
        };
        *drained = true;
        link.finish(DropReason::ClosedUnsent, &self.endpoint);
        set_timer(&mut self.timer, Instant::now() + HALF_CLOSED, Due::HalfClosed(token), cx);
        self.read(token, cx)
    }

    /// A sender met an error while writing.
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

    /// What it is for those behind it.
    pub(super) fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Offered(..) => Standing::Offered,
            Phase::Greeting { withheld: false, .. } if self.is_put_off => Standing::Undecided,
            Phase::Asking(newcomer, _) if !newcomer.withheld => Standing::Undecided,
            _ => Standing::Silent,
        }
    }

    /// The header did not come in time, or it cannot be known in time whether the place is free.
    pub(crate) fn handshake_is_over(&self) -> Fate {
        match self.phase {
            Phase::Greeting { .. } => {
                if let Some(host) = self.endpoint.host.upgrade() {
                    host.counters().handshake_timeouts.bump();
                }
                let limit = self.endpoint.settings.handshake_timeout;
                Fate::End(Ending::Failed(AttemptError::HandshakeTimedOut(limit)))
            }
            Phase::Offered(..) => Fate::End(Ending::Rejected),
            _ => Fate::Keep,
        }
    }

    /// Ends the connection: the socket is told, what was queued is counted, the stream is closed
    /// with the last reference to it.
    pub(crate) fn end(&mut self, ending: &Ending, cx: &mut Context) {
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Open(open) => {
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
            }
            Phase::Closing { link, .. } => link.finish(DropReason::ClosedUnsent, &self.endpoint),
            Phase::Greeting { stream, .. } => self.count_failed_greeting(&*stream, ending),
            // The socket or the endpoint was closed. What the program says then is of no interest.
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

    fn on_writable(&mut self, token: Token, cx: &mut Context) -> Fate {
        match &mut self.phase {
            Phase::Greeting { .. } => self.send_greeting(),
            Phase::Open(Open { link, .. }) | Phase::Closing { link, .. } => {
                if link.blocked.take_report() { self.flush(token, cx) } else { Fate::Keep }
            }
            Phase::Opening(_) | Phase::Asking(..) | Phase::Offered(..) | Phase::Ended => Fate::Keep,
        }
    }

    fn send_greeting(&mut self) -> Fate {
        let Phase::Greeting { stream, unsent, broken, .. } = &mut self.phase else {
            return Fate::Keep;
        };
        while !unsent.is_empty() {
            match stream.write(&[IoSlice::new(unsent)]) {
                Ok(n) => drop(unsent.drain(..n.min(unsent.len()))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Keep,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // What the peer had sent before it went is worth reading: it may say why.
                Err(error) => {
                    unsent.clear();
                    *broken = Some(error);
                    return Fate::Again;
                }
            }
        }
        Fate::Keep
    }

    fn read_greeting(&mut self, token: Token, cx: &mut Context) -> Fate {
        let Phase::Greeting { stream, parser, broken, .. } = &mut self.phase else {
            return Fate::Keep;
        };
        // What comes with the header of a peer that may not be let in stays in the kernel.
        let is_sure = self.in_line.is_none();
        let reads_on = |host: Arc<dyn Host>| is_sure && is_large(host.bounds().1) && !host.asks();
        let room = if self.endpoint.host.upgrade().is_none_or(reads_on) {
            READ_BLOCK
        } else {
            parser.missing()
        };
        let n = match cx.read_buffers.fill(|block| stream.read(&mut block[..room])) {
            Ok(0) => return Fate::End(Ending::Failed(self.closed_early())),
            Ok(n) => n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                return match broken.take() {
                    Some(error) => Fate::End(Ending::Failed(error.into())),
                    None => Fate::Keep,
                };
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Fate::Again,
            Err(error) => return Fate::End(Ending::Failed(error.into())),
        };
        let read = cx.read_buffers.at_hand().slice(..n);
        let more = n == room || !stream.short_read_is_last();
        let mut bytes = &read[..];
        match parser.parse(&mut bytes) {
            None if more || self.read_closed || broken.is_some() => Fate::Again,
            None => Fate::Keep,
            Some(Err(error)) => Fate::End(Ending::Failed(AttemptError::Protocol(error))),
            Some(Ok(())) => {
                let rest = read.slice_ref(bytes);
                drop(read);
                self.open(rest, more, token, cx)
            }
        }
    }

    /// Asks the program whether to let in the peer, which has shown the right header, if the program wants
    /// to be asked. `rest` came with the header. There may be `more` that the poll will not announce.
    fn open(&mut self, rest: Bytes, more: bool, token: Token, cx: &mut Context) -> Fate {
        let (Some(host), Phase::Greeting { stream, withheld, .. }) =
            (self.endpoint.host.upgrade(), std::mem::replace(&mut self.phase, Phase::Ended))
        else {
            return Fate::End(Ending::Closed);
        };
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        let lease = PipeLease::new();
        let peer = self.endpoint.peer(lease.id(), host.identity().1, stream.peer());
        if host.announce(&peer, &self.endpoint).is_err() {
            return Fate::End(Ending::Closed);
        }
        let newcomer = Newcomer { stream, lease, peer, more, withheld };
        if !host.asks() {
            return self.offer(&host, newcomer, rest, token, cx);
        }
        let question = newcomer.peer.clone();
        // Mostly nothing, see above. A copy: the block is for others to read into.
        self.phase = Phase::Asking(Box::new(newcomer), Bytes::copy_from_slice(&rest));
        match cx.ask(&host, question, token) {
            Some(admitted) => self.decided(admitted, token, cx),
            None => Fate::Keep,
        }
    }

    /// The program has decided about the peer.
    pub(crate) fn decided(&mut self, admitted: bool, token: Token, cx: &mut Context) -> Fate {
        let Phase::Asking(..) = self.phase else { return Fate::Keep };
        let Some((host, newcomer, rest)) = self.unpark() else {
            return Fate::End(Ending::Closed);
        };
        if !admitted {
            host.turn_away(&newcomer.peer, DetachReason::Denied);
            return Fate::End(Ending::Rejected);
        }
        self.offer(&host, newcomer, rest, token, cx)
    }

    /// Takes out a newcomer that has waited, with what came behind its header. `None` if the socket is gone.
    fn unpark(&mut self) -> Option<(Arc<dyn Host>, Newcomer, Bytes)> {
        let phase = std::mem::replace(&mut self.phase, Phase::Ended);
        let (Phase::Asking(newcomer, rest) | Phase::Offered(newcomer, rest)) = phase else {
            return None;
        };
        // What the poll has said meanwhile it will not say again.
        Some((self.endpoint.host.upgrade()?, Newcomer { more: true, ..*newcomer }, rest))
    }

    /// Offers the pipe to the socket; at the end of the turn, if it matters who was first. One that we
    /// dialed, or that was not sent our header, waits no longer than for a header. Another may have brought
    /// messages, and waits until it is known.
    fn offer(
        &mut self,
        host: &Arc<dyn Host>,
        newcomer: Newcomer,
        rest: Bytes,
        token: Token,
        cx: &mut Context,
    ) -> Fate {
        let Some(&in_line) = self.in_line.as_deref() else {
            return self.join(host, newcomer, rest, token, cx);
        };
        if newcomer.withheld || self.maker != Maker::Listener {
            let limit = after(Instant::now(), self.endpoint.settings.handshake_timeout);
            set_timer(&mut self.timer, limit, Due::Handshake(token), cx);
        }
        self.phase = Phase::Offered(Box::new(newcomer), Bytes::copy_from_slice(&rest));
        Fate::Offered(in_line)
    }

    /// Reads the header, if the peer may have sent messages after it: it has ours.
    pub(super) fn read_ahead(&mut self, token: Token, cx: &mut Context) -> Fate {
        match &self.phase {
            Phase::Greeting { withheld: false, .. } => self.read(token, cx),
            _ => Fate::Keep,
        }
    }

    /// Takes the socket's place, if that is free.
    pub(super) fn take_place(&mut self, token: Token, cx: &mut Context) -> Fate {
        let Phase::Offered(..) = self.phase else { return Fate::Keep };
        let Some((host, newcomer, rest)) = self.unpark() else {
            return Fate::End(Ending::Closed);
        };
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        self.join(&host, newcomer, rest, token, cx)
    }

    /// Makes the connection a pipe of the socket, if that has one, and takes in what came with the header.
    fn join(
        &mut self,
        host: &Arc<dyn Host>,
        newcomer: Newcomer,
        rest: Bytes,
        token: Token,
        cx: &mut Context,
    ) -> Fate {
        let Newcomer { stream, lease, peer, more, withheld } = newcomer;
        if withheld && !catch_up(&**host, &*stream) {
            host.turn_away(&peer, DetachReason::Rejected);
            return Fate::End(Ending::Rejected);
        }
        let pipe = lease.id();
        let (send_bounds, recv_bounds) = host.bounds();
        let (send, sent) =
            if host.is_mute() { ring::mute() } else { ring::new(self.framing, send_bounds) };
        let (received, recv) = ring::new(self.framing, recv_bounds);
        // The first push is to ring.
        sent.consumer().arm();
        let link = Arc::new(Link::new(stream, token, &cx.mailbox, sent, &**host, pipe));
        let mut open = Open {
            link: Arc::clone(&link),
            decoder: Decoder::new(self.framing, self.endpoint.recv_limit.get()),
            recv: received,
            pipe,
            paused: false,
            broken: None,
        };
        self.since = Moment::now();
        let far = Far::Link(link);
        let offer = NewPipe { lease, peer, send, recv, far, endpoint: Arc::clone(&self.endpoint) };
        if host.attach(offer).is_err() {
            return Fate::End(Ending::Rejected);
        }
        self._in_progress = None;
        let taken = open.take_in(&rest, &rest);
        drop(rest);
        self.phase = Phase::Open(open);
        match taken {
            Ok(()) if more || self.read_closed => Fate::Again,
            Ok(()) => Fate::Opened,
            Err(error) => {
                let reason = DetachReason::from(error);
                self.count_framing_fault(&reason);
                Fate::End(Ending::Lost(reason))
            }
        }
    }

    /// The error of a connection that the peer ends before its header has come.
    fn closed_early(&self) -> AttemptError {
        let peer = self.endpoint.host.upgrade().map(|host| host.identity().1);
        match peer {
            // They withhold it, if they have a peer already.
            Some(peer @ (ProtocolId::PAIR | ProtocolId::PAIR1))
                if self.maker != Maker::Listener =>
            {
                AttemptError::TurnedAway { peer, greeted: false }
            }
            _ => AttemptError::Closed,
        }
    }

    /// The kind of peer that has turned us away, if an end like this means that.
    pub(super) fn turned_away_by(&self, ending: &Ending) -> Option<ProtocolId> {
        match (&self.phase, ending) {
            (Phase::Open(open), Ending::Lost(DetachReason::PeerClosed))
                if self.since.is_recent() && open.was_in_vain() =>
            {
                self.endpoint.host.upgrade().map(|host| host.identity().1)
            }
            _ => None,
        }
    }

    fn count_framing_fault(&self, reason: &DetachReason) {
        let Some(host) = self.endpoint.host.upgrade() else { return };
        match reason {
            DetachReason::Oversize { .. } => host.counters().oversize.bump(),
            DetachReason::Malformed => host.counters().framing_errors.bump(),
            _ => return,
        }
        crate::contain::log!(
            Debug,
            "{}: connection of {} closed: {reason}",
            host.name(),
            self.endpoint.url()
        );
    }

    fn count_failed_greeting(&self, stream: &dyn Stream, ending: &Ending) {
        let (Some(host), Ending::Failed(error)) = (self.endpoint.host.upgrade(), ending) else {
            return;
        };
        if let AttemptError::Protocol(_) = error {
            host.counters().handshake_errors.bump();
            if self.maker == Maker::Listener {
                self.endpoint.failed(error.clone());
            }
        }
        let (name, remote) = (host.name(), RemoteOf(stream, &self.endpoint));
        // Of a connection that we made, the dialer tells.
        let is_news = self.maker == Maker::Listener
            && matches!(error, AttemptError::Protocol(HeaderError::Peer { .. }))
            && self.endpoint.meets_first_misfit();
        crate::contain::log!(
            crate::contain::level_of(is_news),
            "{name}: no pipe with {remote}: {error}"
        );
    }
}

/// The driver and its connections.
impl Driver {
    /// Gives a connection that was accepted to the loop that is to have it. `last` and the result: see
    /// [`Loops::choose`](super::loops::Loops::choose).
    pub(super) fn give(&mut self, last: usize, connection: Connection) -> usize {
        let chosen = self.choose(last, &connection.endpoint.host);
        match self.loops.other(chosen) {
            None => self.adopt(Box::new(connection)),
            Some(mailbox) => mailbox.post(Command::Adopt(Box::new(connection))),
        }
        chosen
    }

    /// Begins a connection that was accepted: it stands already.
    pub(super) fn adopt(&mut self, connection: Box<Connection>) {
        let token = self.take_on(connection);
        let is_behind = self.line_up(token);
        self.watch(token);
        self.drive(token, |connection, cx| connection.greet(is_behind, token, cx));
    }

    /// Owns a connection from now on.
    pub(super) fn take_on(&mut self, mut connection: Box<Connection>) -> Token {
        connection.is_member = true;
        let endpoint = connection.endpoint.id;
        let token = self.connections.insert(connection);
        self.members.add(endpoint, token);
        token
    }

    /// Has the poll tell of a connection.
    pub(super) fn watch(&mut self, token: Token) {
        let both = Interest::READABLE | Interest::WRITABLE;
        self.drive(token, |connection, cx| match connection.source() {
            Some(source) => match cx.mailbox.registry.register(source, token, both) {
                Ok(()) => Fate::Keep,
                Err(error) => Fate::End(Ending::Failed(error.into())),
            },
            None => Fate::Keep,
        });
    }

    /// Lets a connection do something, and draws the consequences.
    pub(super) fn drive(
        &mut self,
        token: Token,
        act: impl FnOnce(&mut Connection, &mut Context) -> Fate,
    ) {
        let Some(connection) = self.connections.get(token) else { return };
        match act(connection, &mut self.cx) {
            Fate::Keep => {}
            Fate::Stands => self.stands(token),
            Fate::Again => {
                // It may also just have become a pipe.
                self.opened(token);
                self.queue(token);
            }
            Fate::Opened => self.opened(token),
            Fate::Offered(in_line) => self.lines.is_due(in_line.socket),
            Fate::HoldBack(departed) => {
                self.batching.hold_back(token, departed, Instant::now());
            }
            Fate::End(ending) => self.end(token, ending),
        }
    }

    /// If the connection has become a pipe just now, it is the socket's from now on; its dialer is told.
    fn opened(&mut self, token: Token) {
        let Some(connection) = self.connections.get(token) else { return };
        if !connection.is_open() || !std::mem::take(&mut connection.is_member) {
            return;
        }
        let (maker, in_line) = (connection.maker, connection.in_line.as_deref().copied());
        self.members.remove(connection.endpoint.id, token);
        if let Some(in_line) = in_line {
            self.lines.attached(in_line);
        }
        let Maker::Race(race) = maker else { return };
        let Some(dialer) = self.call_off(race) else { return };
        if let Some(connection) = self.connections.get(token) {
            connection.maker = Maker::Dialer(dialer);
        }
        match self.loops.other(HOME) {
            None => self.dialer_is_connected(dialer),
            Some(home) => home.post(Command::Connected(dialer)),
        }
    }

    /// The socket closes a pipe. If a dialer made it, the dialer does not wait for the last byte.
    pub(super) fn close_pipe(&mut self, token: Token, linger: Duration) {
        let Some(connection) = self.connections.get(token).filter(|it| it.is_open()) else {
            return;
        };
        let maker = std::mem::replace(&mut connection.maker, Maker::Listener);
        self.drive(token, |connection, cx| connection.close(linger, token, cx));
        if let Maker::Dialer(dialer) = maker {
            self.tell_of_the_end(dialer, Ending::Closed);
        }
    }

    /// Ends a connection, and tells who made it.
    pub(super) fn end(&mut self, token: Token, ending: Ending) {
        let Some(mut connection) = self.let_go(token) else { return };
        let maker = connection.maker;
        let turned_away_by = connection.turned_away_by(&ending);
        connection.end(&ending, &mut self.cx);
        drop(connection);
        self.loops.connection_is_over();
        let ending = turned_away_by.map_or(ending, Ending::TurnedAway);
        match maker {
            Maker::Listener => {}
            Maker::Race(race) => self.fell_out(race, token, ending),
            Maker::Dialer(dialer) => self.tell_of_the_end(dialer, ending),
        }
    }

    /// Takes a connection out of all lists but the count of those on this loop, if it is still there.
    pub(super) fn let_go(&mut self, token: Token) -> Option<Box<Connection>> {
        let connection = self.connections.remove(token)?;
        if connection.is_member {
            self.members.remove(connection.endpoint.id, token);
        }
        if let Some(&in_line) = connection.in_line.as_deref() {
            self.lines.leave(in_line, token);
        }
        Some(connection)
    }
}

impl Open {
    /// Whether nothing has come.
    fn was_in_vain(&self) -> bool {
        let received = self.recv.departed().messages + self.recv.queued().messages;
        received == 0 && !self.decoder.is_mid_frame()
    }

    /// Reads until all is read that there was, or it is enough for a turn.
    fn read(&mut self, read_closed: bool, limit: &RecvLimit, buffers: &mut ReadBuffers) -> Fate {
        let (mut total, mut reads) = (0, 0);
        loop {
            // A full queue stops reading, and so the peer, until its consumer resumes us.
            if self.paused || !self.has_room() {
                self.paused = true;
                return Fate::Keep;
            }
            let read = match self.read_once(buffers) {
                Ok(Read { n: 0, .. }) => return Fate::End(Ending::Lost(DetachReason::PeerClosed)),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return self.is_dry(),
                Err(error) if error.kind() == ErrorKind::Interrupted => return Fate::Again,
                Err(error) => return Fate::End(Ending::Lost(reset_or(error))),
            };
            // What was read into the place of a body is not in the block.
            let block = buffers.at_hand();
            let elsewhere = if read.in_place { 0 } else { read.n };
            // Asked behind the read: what is sent once the limit is set is judged by it.
            self.decoder.set_limit(limit.get());
            if let Err(error) = self.take_in(&block[..elsewhere], block) {
                return Fate::End(Ending::Lost(error.into()));
            }
            total += read.n;
            reads += 1;
            // A short read has emptied the kernel's buffer, unless the end of the stream waits
            // behind it: that was announced already and will not be announced again.
            let end_is_near = read_closed || self.broken.is_some();
            if !read.filled && !end_is_near && self.link.stream.short_read_is_last() {
                return Fate::Keep;
            }
            // There may be more; in the next turn, if this connection has had its share of this one.
            if total >= READ || reads >= READS {
                return Fate::Again;
            }
        }
    }

    fn release_memory(&mut self, host: &Weak<dyn Host>, seen: &mut Option<(u64, u64)>) -> Activity {
        let link = &self.link;
        let now = (link.send.departed().messages, self.recv.departed().messages);
        if seen.replace(now) != Some(now) {
            return Activity::Busy;
        }
        if link.send.queued().messages > 0 || self.recv.queued().messages > 0 {
            return Activity::Stuck;
        }
        // First: what is carried from now on is announced, whether it finds the blocks or not.
        link.active.store(false, Ordering::Relaxed);
        let released = self.recv.rest() && host.upgrade().is_none_or(|host| host.rest(self.pipe));
        // It is idle, or has been announced again just now.
        let is_idle = released || link.active.swap(true, Ordering::Relaxed);
        if is_idle { Activity::Idle } else { Activity::Busy }
    }

    fn flushed(&mut self, flushed: Flushed) -> Fate {
        match flushed {
            Flushed::Later => Fate::Again,
            Flushed::HeldBack => Fate::HoldBack(self.link.send.departed().messages),
            Flushed::Broken(error) => self.write_failed(error),
            Flushed::Idle | Flushed::Blocked => Fate::Keep,
        }
    }

    /// One read: into the body that is on its way, if there is much to come of it, or into a block.
    fn read_once(&mut self, buffers: &mut ReadBuffers) -> io::Result<Read> {
        let stream = &self.link.stream;
        if let Some(vacancy) = self.decoder.vacancy(IN_PLACE) {
            let n = stream.read(vacancy)?;
            let filled = n == vacancy.len();
            self.decoder.filled(n);
            return Ok(Read { n, filled, in_place: true });
        }
        let room = self.decoder.appetite(READ_BLOCK).min(self.reach());
        buffers.fill(|block| {
            let n = stream.read(&mut block[..room])?;
            Ok(Read { n, filled: n == room, in_place: false })
        })
    }

    /// Whether the receive ring takes what is read. Once nothing can be written, this takes no part in
    /// how many messages there are: the peer has gone, and what the kernel still has of it is the end.
    fn has_room(&mut self) -> bool {
        self.recv.has_room()
            || self.broken.is_some()
                && self.recv.queued().bytes
                    < widen(self.recv.bounds().bytes).saturating_add(LAST_BYTES)
    }

    /// How much may be read at once by what the receive queue has room for, if that is not large.
    #[inline]
    fn reach(&self) -> usize {
        let bounds = self.recv.bounds();
        if is_large(bounds) {
            return usize::MAX;
        }
        let queued = self.recv.queued();
        let left = |bound: usize, used| widen(bound).saturating_sub(used);
        let (messages, bytes) =
            (left(bounds.messages, queued.messages), left(bounds.bytes, queued.bytes));
        self.decoder.reach(narrow(messages), narrow(bytes))
    }

    /// There is nothing to read.
    fn is_dry(&mut self) -> Fate {
        match self.broken.take() {
            Some(reason) => Fate::End(Ending::Lost(*reason)),
            None => Fate::Keep,
        }
    }

    /// The stream takes no more. What the peer sent before it went is read first.
    fn write_failed(&mut self, error: io::Error) -> Fate {
        self.broken.get_or_insert_with(|| Box::new(reset_or(error)));
        self.paused = false;
        Fate::Again
    }

    /// Moves the frames in `bytes`, which lie in `block`, into the receive ring, and tells the socket if
    /// it slept.
    fn take_in(&mut self, mut bytes: &[u8], block: &Bytes) -> Result<(), FrameError> {
        self.link.mark_active();
        let mut wake = false;
        let outcome = loop {
            match self.decoder.next(&mut bytes) {
                None => break Ok(()),
                Some(Ok(Piece::Frames { bytes, count, .. })) => {
                    let Wake(woken) = if bytes.len() < SHARED_RUN {
                        self.recv.append(bytes, count)
                    } else {
                        self.recv.append_shared(block.slice_ref(bytes), count)
                    };
                    wake |= woken;
                }
                Some(Ok(Piece::Body(payload))) => wake |= self.recv.append_body(payload).0,
                Some(Err(error)) => break Err(error),
            }
        };
        if wake {
            self.link.bell.ring(self.pipe, Edge::Readable);
        }
        outcome
    }
}

/// Whether a queue with these bounds is read into by the block.
fn is_large(bounds: Bounds) -> bool {
    bounds.messages >= LARGE_QUEUE.messages && bounds.bytes >= LARGE_QUEUE.bytes
}

/// What was a `usize` before.
fn narrow(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// What the poll said of a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) read_closed: bool,
}

impl Readiness {
    pub(crate) fn of(event: &mio::event::Event) -> Self {
        Self {
            readable: event.is_readable() || event.is_error(),
            writable: event.is_writable() || event.is_error() || event.is_write_closed(),
            read_closed: event.is_read_closed() || event.is_error(),
        }
    }
}

/// Sets a timer in place of the one that `slot` holds. On the heap, since a pipe has none.
fn set_timer(slot: &mut Option<Box<TimerKey>>, at: Instant, due: Due, cx: &mut Context) {
    if let Some(old) = slot.replace(Box::new(cx.timers.set(at, due))) {
        cx.timers.cancel(*old);
    }
}

impl From<FrameError> for DetachReason {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::TooLarge { announced, limit } => Self::Oversize { announced, limit },
            _ => Self::Malformed,
        }
    }
}

impl From<HeaderError> for AttemptError {
    fn from(error: HeaderError) -> Self {
        Self::Protocol(error)
    }
}

/// A reset is the peer's way of closing; anything else is worth its own words.
fn reset_or(error: io::Error) -> DetachReason {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::ConnectionAborted => {
            DetachReason::PeerClosed
        }
        _ => DetachReason::Io(error.to_string()),
    }
}

/// Reads and forgets what a peer still sends on a connection that we have closed.
fn discard(stream: &dyn Stream, buffer: &mut [u8]) -> Fate {
    match stream.read(buffer) {
        Ok(0) => Fate::End(Ending::Closed),
        Ok(_) => Fate::Again,
        Err(error) if error.kind() == ErrorKind::WouldBlock => Fate::Keep,
        Err(error) if error.kind() == ErrorKind::Interrupted => Fate::Again,
        Err(_) => Fate::End(Ending::Closed),
    }
}
