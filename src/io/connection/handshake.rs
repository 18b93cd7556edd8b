//! Handshakes: a stream from its first byte to the pipe that it becomes.
//!
//! Owns the phases before [`Open`]: sends our header and reads the peer's, asks the program, waits in line if
//! the socket has one peer at a time, and attaches the pipe. What TLS and WebSocket exchange before the header is part
//! of it. May touch the connection's timer, which until then is the deadline of the whole handshake.

use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use bytes::Bytes;
use mio::Token;

use super::open::{Claim, Open, is_large};
use super::{Connection, Ending, Fate, Maker, Moment, Phase, set_timer};
use crate::detach::DetachReason;
use crate::error::{AttemptError, HeaderError};
use crate::io::crowding::Place;
use crate::io::link::{Link, RemoteOf};
use crate::io::timers::after;
use crate::io::{Due, LoopContext};
use crate::peer::Peer;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{FarEnd, Host, NewPipe, PipeLease};
use crate::ring::{self, READ_BLOCK};
use crate::sync::{Arc, Ordering};
use crate::time;
use crate::transport::Stream;
use crate::wire::{Decoder, HeaderParser, header};

/// While no more connections of a listener than this are without the peer's header, it is sent ours at once.
const FEW: usize = 64;

/// A stream whose peer has shown the right header.
#[derive(Debug)]
pub(super) struct Newcomer {
    pub(super) stream: Box<dyn Stream>,
    lease: PipeLease,
    pub(super) peer: Peer,
    /// Whether there may be more to read that the poll will not report.
    more: bool,
    /// Whether our header was withheld from it.
    withheld: bool,
}

/// What a connection in a line means for those behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::io) enum Standing {
    /// It has not shown its header, or was not sent ours, so no message can be lost with it, and others need
    /// not wait.
    Silent,
    /// It gets in, unless the program turns it away, or once there is room for what its peer has left behind.
    Undecided,
    /// It gets in if the socket has room.
    Offered,
}

impl Connection {
    /// Sends our header over an established stream, and sets the deadline for the peer's, unless it was accepted: those
    /// have theirs in a crowd. `is_behind`: others may become the socket's only peer before this one.
    pub(crate) fn greet(&mut self, is_behind: bool, token: Token, cx: &mut LoopContext) -> Fate {
        let Some(host) = self.endpoint.host.upgrade() else {
            return Fate::End(Ending::Closed);
        };
        let Phase::Opening(stream) = std::mem::replace(&mut self.phase, Phase::Ended) else {
            return Fate::Keep;
        };
        let (ours, theirs) = host.identity();
        // A dialer never withholds its header: if both sides did, neither would ever go on.
        let mut withheld = false;
        if self.maker == Maker::Listener {
            self.is_greeting = true;
            let others = self.endpoint.greeting.fetch_add(1, Ordering::Relaxed);
            let is_crowded = others >= FEW.min(self.endpoint.settings.max_handshakes / 2);
            withheld = is_behind || is_crowded || host.refusal(&self.endpoint).is_some();
        } else {
            let deadline = after(time::now(), self.handshake_timeout());
            set_timer(&mut self.timer, deadline, Due::Handshake(token), cx);
        }
        self.phase = Phase::Greeting {
            stream,
            parser: HeaderParser::new(theirs),
            unsent: if withheld { Vec::new() } else { header::encode(ours).to_vec() },
            withheld,
            broken: None,
        };
        self.send_greeting()
    }

    /// Notes that the peer has shown its header, or will not.
    pub(super) fn on_greeted(&mut self) {
        if std::mem::take(&mut self.is_greeting) {
            self.endpoint.greeting.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// How it stands among those that a listener has accepted. One that waits without our header may be ended: no
    /// message can be lost.
    pub(in crate::io) fn place(&self) -> Place {
        match self.phase {
            Phase::Greeting { withheld: true, .. } if self.is_greeting => Place::Silent,
            _ if self.is_greeting => Place::Greeted,
            _ => Place::Left,
        }
    }

    /// How long it may take to exchange headers.
    pub(in crate::io) fn handshake_timeout(&self) -> Duration {
        self.endpoint.settings.handshake_timeout
    }

    /// How many connections of its endpoint may wait for a header, and how many do.
    pub(in crate::io) fn crowd(&self) -> (usize, usize) {
        let endpoint = &self.endpoint;
        (endpoint.settings.max_handshakes, endpoint.greeting.load(Ordering::Relaxed))
    }

    /// Ends because newer ones came.
    pub(in crate::io) fn evict(&self) -> Fate {
        if let Some(host) = self.endpoint.host.upgrade() {
            let is_first = host.counters().handshakes_evicted.get() == 0;
            host.counters().handshakes_evicted.bump();
            let (name, url) = (host.name(), self.endpoint.url());
            crate::contain::record!(
                crate::contain::level_of(is_first),
                { socket: name, endpoint: url },
                "{name}: {url} has more connections without a header than it can have; the oldest is closed"
            );
        }
        let others = self.endpoint.greeting.load(Ordering::Relaxed).saturating_sub(1);
        Fate::End(Ending::Failed(AttemptError::TooManyHandshakes(others)))
    }

    /// Begins an established connection, to which the peer may already have answered. `is_behind`: see
    /// [`greet`](Self::greet).
    pub(crate) fn begin(&mut self, is_behind: bool, token: Token, cx: &mut LoopContext) -> Fate {
        match self.greet(is_behind, token, cx) {
            Fate::Keep => self.read(token, cx),
            fate => fate,
        }
    }

    /// What it means for those behind it in line.
    pub(in crate::io) fn standing(&self) -> Standing {
        match &self.phase {
            Phase::Offered(..) => Standing::Offered,
            Phase::Greeting { withheld: false, .. } if self.is_put_off => Standing::Undecided,
            Phase::Asking(newcomer, _) if !newcomer.withheld => Standing::Undecided,
            _ => Standing::Silent,
        }
    }

    /// The header did not come in time, or it was not known in time whether the socket has room.
    pub(crate) fn on_handshake_timeout(&self) -> Fate {
        match self.phase {
            // What it has sent, perhaps its header, is read when its socket has room for it.
            Phase::Greeting { .. } if self.is_put_off => Fate::Keep,
            Phase::Greeting { .. } => {
                if let Some(host) = self.endpoint.host.upgrade() {
                    host.counters().handshake_timeouts.bump();
                }
                let limit = self.handshake_timeout();
                Fate::End(Ending::Failed(AttemptError::HandshakeTimedOut(limit)))
            }
            Phase::Offered(..) => Fate::End(Ending::Rejected),
            _ => Fate::Keep,
        }
    }

    /// Sends what is left of our header, and what the stream keeps back.
    pub(super) fn send_greeting(&mut self) -> Fate {
        let Phase::Greeting { stream, unsent, broken, .. } = &mut self.phase else {
            return Fate::Keep;
        };
        while !unsent.is_empty() {
            match stream.write(&[IoSlice::new(unsent)]) {
                Ok(n) => drop(unsent.drain(..n.min(unsent.len()))),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Fate::Keep,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Reads what the peer had sent before it went, which may say why.
                Err(error) => {
                    unsent.clear();
                    *broken = Some(error);
                    return Fate::Again;
                }
            }
        }
        match stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock && broken.is_none() => {
                *broken = Some(error);
                Fate::Again
            }
            _ => Fate::Keep,
        }
    }

    /// The error if the stream has taken no more than a part of our header, though nothing was sent before: the peer
    /// may connect again.
    fn greeting_is_stuck(&self) -> Option<AttemptError> {
        match &self.phase {
            Phase::Greeting { unsent, .. } if !unsent.is_empty() => {
                Some(io::Error::from(ErrorKind::WriteZero).into())
            }
            _ => None,
        }
    }

    pub(super) fn read_greeting(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Greeting { stream, parser, broken, .. } = &mut self.phase else {
            return Fate::Keep;
        };
        // If the peer may not be let in, what it sent after its header stays in the kernel.
        let is_sure = self.in_line.is_none();
        let endpoint = &self.endpoint;
        let reads_on = |host: Arc<dyn Host>| {
            let is_large = is_large(host.bounds(endpoint).1);
            is_sure && is_large && !host.asks() && host.budget().is_above_low_water()
        };
        let room = if endpoint.host.upgrade().is_none_or(reads_on) {
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
                    // The stream may have waited for what it has just read.
                    None => self.send_greeting(),
                };
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Fate::Again,
            Err(_) if stream.is_elsewhere() => return Fate::End(Ending::Elsewhere),
            Err(error) => return Fate::End(Ending::Failed(error.into())),
        };
        let read = cx.read_buffers.at_hand().slice(..n);
        let more = n == room || !stream.short_read_is_last();
        let mut bytes = &read[..];
        let verdict = parser.parse(&mut bytes);
        let is_late = self.read_closed || broken.is_some();
        // Whatever the verdict, the peer hears what we are: the stream may have taken nothing until it had read.
        let sent = self.send_greeting();
        match verdict {
            None if more || is_late => Fate::Again,
            None => sent,
            Some(Err(error)) => Fate::End(Ending::Failed(AttemptError::Protocol(error))),
            Some(Ok(())) => {
                if let Some(error) = self.greeting_is_stuck() {
                    return Fate::End(Ending::Failed(error));
                }
                let rest = read.slice_ref(bytes);
                drop(read);
                self.open(rest, more, token, cx)
            }
        }
    }

    /// Asks the program, if it wants to be asked, whether to let in a peer that has shown the right header.
    /// `rest` came with the header. There may be `more` that the poll will not report.
    fn open(&mut self, rest: Bytes, more: bool, token: Token, cx: &mut LoopContext) -> Fate {
        let (Some(host), Phase::Greeting { stream, withheld, .. }) =
            (self.endpoint.host.upgrade(), std::mem::replace(&mut self.phase, Phase::Ended))
        else {
            return Fate::End(Ending::Closed);
        };
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        self.on_greeted();
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
        // Mostly nothing, see above. A copy, since others read into the block.
        self.phase = Phase::Asking(Box::new(newcomer), Bytes::copy_from_slice(&rest));
        match cx.ask(&host, question, token) {
            Some(admitted) => self.decided(admitted, token, cx),
            None => Fate::Keep,
        }
    }

    /// The program has decided about the peer.
    pub(crate) fn decided(&mut self, admitted: bool, token: Token, cx: &mut LoopContext) -> Fate {
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
        // The poll will not repeat what it has reported meanwhile.
        Some((self.endpoint.host.upgrade()?, Newcomer { more: true, ..*newcomer }, rest))
    }

    /// Offers the pipe to the socket; at the end of the turn, if the order of newcomers matters. A newcomer
    /// that we dialed, or to which our header was not sent, waits no longer than for a header. Any other may
    /// have sent messages, and waits until the decision is known.
    fn offer(
        &mut self,
        host: &Arc<dyn Host>,
        newcomer: Newcomer,
        rest: Bytes,
        token: Token,
        cx: &mut LoopContext,
    ) -> Fate {
        let Some(&in_line) = self.in_line.as_deref() else {
            return self.join(host, newcomer, rest, token, cx);
        };
        if newcomer.withheld || self.maker != Maker::Listener {
            let limit = after(time::now(), self.handshake_timeout());
            set_timer(&mut self.timer, limit, Due::Handshake(token), cx);
        }
        self.phase = Phase::Offered(Box::new(newcomer), Bytes::copy_from_slice(&rest));
        Fate::Offered(in_line)
    }

    /// Reads the header, if the peer may have sent messages after it: it has ours.
    pub(in crate::io) fn read_ahead(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        match &self.phase {
            Phase::Greeting { withheld: false, .. } => self.read(token, cx),
            _ => Fate::Keep,
        }
    }

    /// Becomes the socket's only peer, if it has none.
    pub(in crate::io) fn take_place(&mut self, token: Token, cx: &mut LoopContext) -> Fate {
        let Phase::Offered(..) = self.phase else { return Fate::Keep };
        let Some((host, newcomer, rest)) = self.unpark() else {
            return Fate::End(Ending::Closed);
        };
        if let Some(timer) = self.timer.take() {
            cx.timers.cancel(*timer);
        }
        self.join(&host, newcomer, rest, token, cx)
    }

    /// Makes the connection a pipe of the socket, if that accepts it, and takes in what came with the header.
    fn join(
        &mut self,
        host: &Arc<dyn Host>,
        newcomer: Newcomer,
        rest: Bytes,
        token: Token,
        cx: &mut LoopContext,
    ) -> Fate {
        let Newcomer { stream, lease, peer, more, withheld } = newcomer;
        if withheld && let Err(reason) = catch_up(&**host, &self.endpoint, &*stream) {
            host.turn_away(&peer, reason);
            return Fate::End(Ending::Rejected);
        }
        let pipe = lease.id();
        let (send_bounds, recv_bounds) = host.bounds(&self.endpoint);
        let (send, sent) =
            if host.never_sends() { ring::unused() } else { ring::new(self.framing, send_bounds) };
        let ledger = host.budget().ledger();
        let (received, recv) = ring::counted(self.framing, recv_bounds, ledger);
        // So that the first push rings.
        sent.consumer().arm();
        let watched = self.silence_limit().is_some();
        let link = Link::new(stream, token, &cx.mailbox, sent, &**host, pipe, watched);
        let link = Arc::new(link);
        let mut open = Open {
            link: Arc::clone(&link),
            decoder: Decoder::new(self.framing, self.endpoint.recv_limit.get()),
            recv: received,
            pipe,
            paused: false,
            claim: Claim::None,
            has_given_back: false,
            at_last: false,
            broken: None,
        };
        self.since = Moment::now();
        let far = FarEnd::Link(link);
        let offer = NewPipe { lease, peer, send, recv, far, endpoint: Arc::clone(&self.endpoint) };
        if host.attach(offer).is_err() {
            return Fate::End(Ending::Rejected);
        }
        self._in_progress = None;
        let taken = open.take_in(&rest, &rest, &mut cx.read_buffers.bodies);
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
    pub(super) fn closed_early(&self) -> AttemptError {
        let peer = self.endpoint.host.upgrade().map(|host| host.identity().1);
        match peer {
            // A PAIR that already has a peer withholds its header.
            Some(peer) if peer.is_exclusive() && self.maker != Maker::Listener => {
                AttemptError::TurnedAway { peer, greeted: false }
            }
            _ => AttemptError::Closed,
        }
    }

    pub(super) fn count_failed_greeting(&self, stream: &dyn Stream, ending: &Ending) {
        let (Some(host), Ending::Failed(error)) = (self.endpoint.host.upgrade(), ending) else {
            return;
        };
        if let AttemptError::TooManyHandshakes(_) = error {
            self.endpoint.failed(error.clone());
        }
        if is_of_peer(error) {
            // Before it is counted: who sees the count may ask for the error.
            if self.maker == Maker::Listener {
                self.endpoint.failed(error.clone());
            }
            host.counters().handshake_errors.bump();
        }
        let (name, remote) = (host.name(), RemoteOf(stream, &self.endpoint));
        // For a connection that we made, the dialer reports it.
        let is_news =
            self.maker == Maker::Listener && is_misfit(error) && self.endpoint.meets_first_misfit();
        crate::contain::record!(
            crate::contain::level_of(is_news),
            { socket: name, endpoint: self.endpoint.url(), peer: remote, reason: error },
            "{name}: no pipe with {remote}: {error}"
        );
    }
}

/// Sends the header that was withheld, if there is room for a peer after all. If the stream does not take it
/// whole, though nothing was sent before, the peer may connect again.
fn catch_up(
    host: &dyn Host,
    endpoint: &EndpointCore,
    stream: &dyn Stream,
) -> Result<(), DetachReason> {
    if let Some(reason) = host.refusal(endpoint) {
        return Err(reason);
    }
    let ours = header::encode(host.identity().0);
    match stream.write(&[IoSlice::new(&ours)]) {
        Ok(n) if n == ours.len() => Ok(()),
        _ => Err(DetachReason::Rejected),
    }
}

/// Whether the peer's header, or the TLS or WebSocket handshake before it, was wrong.
fn is_of_peer(error: &AttemptError) -> bool {
    matches!(error, AttemptError::Protocol(_)) || is_misfit(error)
}

/// Whether the peer speaks something like what we do, so that somebody may wonder why there is no pipe.
fn is_misfit(error: &AttemptError) -> bool {
    match error {
        AttemptError::Protocol(HeaderError::Peer { .. }) | AttemptError::Tls(_) => true,
        #[cfg(feature = "ws")]
        AttemptError::WebSocket(_) => true,
        _ => false,
    }
}

impl From<HeaderError> for AttemptError {
    fn from(error: HeaderError) -> Self {
        Self::Protocol(error)
    }
}
