//! ws: WebSocket (RFC 6455), for peers behind HTTP, and for web pages; wss: the same over TLS.
//!
//! Owns the meaning of `ws://` and `wss://` addresses and the streams behind them. `wire/ws.rs` translates between the crate's stream
//! and WebSocket, and `doors.rs` has the ports at which several sockets listen, each at a path of its own.
//!
//! A stream begins with the upgrade. The connection header that the crate writes tells which subprotocol to ask for or
//! to grant, and the header that the crate reads is made from the subprotocol that the peer has named. So the crate
//! compares protocols, counts and times out here as anywhere. The rules are in `docs/spec/wire.md`, section 7.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::fmt;
use std::io::{self, ErrorKind, IoSlice, Read};
use std::time::{Duration, Instant};

use mio::event::Source;
use smallvec::SmallVec;

use super::doors::{self, Cover, Desk, Desks, Terms};
use super::tcp::{self, Use};
#[cfg(feature = "tls")]
use super::tls::{self, TlsStream};
use super::{Destination, Listener, Stream, StreamPeer, StreamTransport, Target, Tcp};
use crate::address::Address;
use crate::error::{AddressError, BindError};
use crate::options::EndpointSettings;
use crate::protocol_id::ProtocolId;
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering, Rank};
use crate::time;
use crate::websocket::WebSocketError;
use crate::wire::frame::widen;
use crate::wire::ws::upgrade::{Ask, Head, UpgradeRequest, counterpart, refusal};
use crate::wire::ws::{self, CloseReason, Framer, Incoming, Part};
use crate::wire::{Framing, header};

/// The longest path, with a query, in bytes: the head of a request has room for it.
const PATH_MAX: usize = 2048;

/// Read this much of a head at once.
const HEAD_READ: usize = 1024;
/// Read at most this often from the connection while that brings nothing for the crate, as pings do.
const READS: usize = 8;
/// Write at most this many bytes from a copy in one go: masked ones, or short ones.
const COPIED: usize = 64 << 10;
/// Write payloads of at least this length from where they are, if they are not masked.
const IN_PLACE: usize = 4 << 10;
/// The most slices in one write.
const SLICES: usize = 64;

/// Answer as many pings as come at once, and so many each second.
const PINGS: u32 = 200;
const PINGS_A_SECOND: u32 = 20;

/// The code of an orderly close, and of one for a message over the limit.
const NORMAL: u16 = 1000;
const TOO_BIG: u16 = 1009;

/// ws: `ws://`, `ws4://` and `ws6://`, WebSocket over tcp; with the feature `tls` also `wss://`, `wss4://` and
/// `wss6://`, WebSocket over TLS, whose port is 443 if there is none.
///
/// Every runtime has it, with the feature `ws`. Addresses are `ws://host:port/path`, with a query for connecting only;
/// the port is 80 if there is none, and the path `/`. Several sockets of a process can be bound to one host and port
/// with different paths. Which web pages may connect, [`EndpointOptions::allow_origin`](crate::EndpointOptions) says.
///
/// A message is one binary WebSocket message, and the subprotocol names the type of the listening socket:
/// `rep.sp.nanomsg.org`.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct Ws;

impl Ws {
    /// The transport; it has no settings of its own.
    pub const fn new() -> Self {
        Self
    }
}

impl StreamTransport for Ws {
    fn schemes(&self) -> &[&str] {
        if cfg!(feature = "tls") {
            &["ws", "ws4", "ws6", "wss", "wss4", "wss6"]
        } else {
            &["ws", "ws4", "ws6"]
        }
    }

    fn framing(&self) -> Framing {
        Framing::Parts
    }

    /// Binds to the first address of the host that this system has, as [`Tcp`] does. If a socket of this process is
    /// bound there to another path, both share the port; over TLS if they have the same configuration, not an equal one.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let place = Place::parse(address, Use::Bind)?;
        let terms = Terms {
            scheme: address.scheme().to_owned(),
            path: place.path.to_owned(),
            origins: settings.allowed_origins.clone(),
            limit: limit(settings),
        };
        let cover = cover(address, settings)?;
        let listener = doors::open(&place.parts, tcp::family(address), terms, &cover, settings)
            .map_err(|error| BindError::from_io(address.url(), error))?;
        Ok(Box::new(listener))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        let place = Place::parse(address, Use::Connect)?;
        #[cfg(feature = "tls")]
        if is_secure(address) {
            // Here it may take its time; what goes wrong is the error of each attempt.
            let _ = crate::tls::TlsConfig::of_the_system();
        }
        Ok(place.parts.target(tcp::family(address)))
    }

    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let place = Place::parse(address, Use::Connect)
            .map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
        let inner = dial(address, &place, destination, settings)?;
        let client = Client {
            scheme: address.scheme().to_owned(),
            host: place.host_header(),
            tail: place.tail.to_owned(),
        };
        Ok(Box::new(WsStream::new(inner, Side::Client(client), limit(settings))))
    }
}

/// Whether an address is one over TLS.
fn is_secure(address: &Address) -> bool {
    address.scheme().starts_with("wss")
}

/// What is put over the connections of an endpoint that is bound.
#[cfg(feature = "tls")]
fn cover(address: &Address, settings: &EndpointSettings) -> Result<Cover, BindError> {
    if is_secure(address) {
        Ok(Cover::Tls(tls::config_to_bind(address, settings)?))
    } else {
        Ok(Cover::Nothing)
    }
}

#[cfg(not(feature = "tls"))]
fn cover(_: &Address, _: &EndpointSettings) -> Result<Cover, BindError> {
    Ok(Cover::Nothing)
}

/// Begins the connection below.
#[cfg(feature = "tls")]
fn dial(
    address: &Address,
    place: &Place<'_>,
    destination: &Destination,
    settings: &EndpointSettings,
) -> io::Result<Box<dyn Stream>> {
    if !is_secure(address) {
        return Tcp.connect(address, destination, settings);
    }
    let session = tls::session_to(&place.parts.name(), settings)?;
    let inner = Tcp.connect(address, destination, settings)?;
    Ok(Box::new(TlsStream::new(inner, session)))
}

#[cfg(not(feature = "tls"))]
fn dial(
    address: &Address,
    _: &Place<'_>,
    destination: &Destination,
    settings: &EndpointSettings,
) -> io::Result<Box<dyn Stream>> {
    Tcp.connect(address, destination, settings)
}

/// The longest message that may be received.
fn limit(settings: &EndpointSettings) -> u64 {
    settings.max_recv_size.map_or(u64::MAX, widen)
}

/// An address taken apart.
#[derive(Debug)]
struct Place<'a> {
    parts: tcp::Parts<'a>,
    /// The host, as it is in the address.
    host: &'a str,
    /// Path and query as they are in the address: perhaps nothing.
    tail: &'a str,
    path: &'a str,
    /// The port that is meant if there is none.
    usual_port: u16,
}

impl<'a> Place<'a> {
    fn parse(address: &'a Address, purpose: Use) -> tcp::Parsed<Self> {
        let text = address.after_scheme();
        let (server, tail) = text.split_at(text.find(['/', '?', '#']).unwrap_or(text.len()));
        if server.contains('@') {
            return Err(address.bad_host(server, "a WebSocket address has no user"));
        }
        if !server.is_ascii() {
            return Err(address.bad_host(server, "a host is ASCII in HTTP"));
        }
        if tail.contains('#') {
            return Err(address.bad_path(tail, "a WebSocket address has no fragment"));
        }
        if !tail.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(address.bad_path(tail, "a path has no spaces and is ASCII"));
        }
        if tail.len() > PATH_MAX {
            return Err(address.too_long(tail, PATH_MAX));
        }
        let path = tail.split_once('?').map_or(tail, |(path, _)| path);
        if purpose == Use::Bind && path != tail {
            return Err(address.bad_path(tail, "a path to bind to has no query"));
        }
        let (usual, usual_port) = if is_secure(address) { ("443", 443) } else { ("80", 80) };
        let parts = tcp::parse_server(address, server, purpose, Some(usual))?;
        let host = server.split_once(';').map_or(server, |(_, server)| server);
        Ok(Self { parts, host, tail, path, usual_port })
    }

    /// The host for a request: without the zone of an address, which means something only here, and without the port
    /// that is meant by the scheme.
    fn host_header(&self) -> String {
        let host = match self.host.split_once(']') {
            Some((inside, _)) => {
                format!("{}]", inside.split_once('%').map_or(inside, |(ip, _)| ip))
            }
            None => self.host.split(':').next().unwrap_or_default().to_owned(),
        };
        if self.parts.port == self.usual_port {
            host
        } else {
            format!("{host}:{}", self.parts.port)
        }
    }
}

/// Which end of a connection a stream is.
#[derive(Debug)]
pub(super) enum Side {
    Client(Client),
    Server(Server),
}

/// What a client asks for.
#[derive(Debug)]
pub(super) struct Client {
    scheme: String,
    host: String,
    /// Path and query, perhaps nothing.
    tail: String,
}

/// Where a server's stream was accepted, or where it was passed on to.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) terms: Arc<Terms>,
    pub(super) desks: Arc<Desks>,
}

/// A WebSocket connection.
///
/// The half that reads and the half that writes are each used by one thread at a time, which takes it out of its place
/// meanwhile: no lock is held during a system call. What the reading thread has to write, the answer to a ping, say, it
/// leaves at the place of the pen, and writes it itself if the pen is there. A thread that brings the pen back looks
/// what was left, under the same lock.
#[derive(Debug)]
pub(super) struct WsStream {
    inner: Box<dyn Stream>,
    side: Side,
    limit: u64,
    reading: Mutex<Option<Box<Reading>>>,
    stand: Mutex<Stand>,
    /// Whether the peer has announced a message over the limit, which the crate refuses.
    is_too_big: AtomicBool,
    /// The listener that the stream is for, if it was accepted by another.
    elsewhere: OnceLock<Arc<Desk>>,
}

/// The half that reads.
#[derive(Debug)]
struct Reading {
    phase: Phase,
    incoming: Incoming,
    /// What came behind the head.
    surplus: Vec<u8>,
    /// How many pings may come now, as of when.
    pings: u32,
    refilled: Instant,
}

#[derive(Debug)]
enum Phase {
    /// The head of the request or response is on its way.
    Head(Head),
    /// The request is here, and must be granted or refused.
    Asked(Box<UpgradeRequest>),
    Frames,
}

/// The place of the pen, and what is left there for whoever has it.
#[derive(Debug)]
struct Stand {
    pen: Option<Box<Pen>>,
    /// The payload of the last ping that is not answered.
    pong: Option<Vec<u8>>,
    /// The code of a close frame that is to be sent.
    close: Option<u16>,
    /// Whether the connection's direction is to be ended, once there is nothing more to write.
    shut: bool,
}

/// The half that writes.
#[derive(Debug)]
struct Pen {
    /// The crate's header, as far as it has come.
    header: Vec<u8>,
    /// Our protocol, from that.
    ours: Option<ProtocolId>,
    /// The request that waits for it.
    asked: Option<Box<UpgradeRequest>>,
    /// Our request, for which the answer is awaited.
    ask: Option<Ask>,
    /// Whether frames may be sent.
    is_upgraded: bool,
    /// Whether a close frame was sent, after which nothing may be.
    is_closed: bool,
    /// What is to be written before anything else: heads of HTTP and control frames.
    own: Vec<u8>,
    own_sent: usize,
    framer: Framer,
}

impl Pen {
    /// Whether a control frame may come next.
    fn may_interrupt(&self) -> bool {
        self.is_upgraded
            && !self.is_closed
            && self.own.is_empty()
            && self.framer.is_between_frames()
    }
}

impl WsStream {
    pub(super) fn new(inner: Box<dyn Stream>, side: Side, limit: u64) -> Self {
        let is_client = matches!(side, Side::Client(_));
        let reading = Reading {
            phase: Phase::Head(Head::new(!is_client)),
            incoming: Incoming::new(!is_client),
            surplus: Vec::new(),
            pings: PINGS,
            refilled: time::now(),
        };
        let pen = Pen {
            header: Vec::new(),
            ours: None,
            asked: None,
            ask: None,
            is_upgraded: false,
            is_closed: false,
            own: Vec::new(),
            own_sent: 0,
            framer: Framer::new(is_client),
        };
        let stand = Stand { pen: Some(Box::new(pen)), pong: None, close: None, shut: false };
        Self {
            inner,
            side,
            limit,
            reading: Mutex::new(Rank::WsReading, Some(Box::new(reading))),
            stand: Mutex::new(Rank::WsStand, stand),
            is_too_big: AtomicBool::new(false),
            elsewhere: OnceLock::new(),
        }
    }

    /// Begins anew at another listener, with the request that was read.
    pub(super) fn belong_to(&mut self, terms: &Arc<Terms>) {
        if let Side::Server(server) = &mut self.side {
            server.terms = Arc::clone(terms);
        }
        self.limit = terms.limit;
        self.elsewhere = OnceLock::new();
        if let Some(pen) = &mut self.stand.lock().pen {
            pen.header.clear();
            pen.ours = None;
        }
    }

    // Reading.

    fn read_with(&self, reading: &mut Reading, buffer: &mut [u8]) -> io::Result<usize> {
        if let Phase::Head(_) = reading.phase {
            self.read_head(reading)?;
        }
        if let Phase::Asked(_) = reading.phase {
            self.judge(reading)?;
        }
        for _ in 0..READS {
            let delivered = reading.incoming.deliver(buffer);
            if delivered > 0 {
                return Ok(delivered);
            }
            match reading.incoming.end() {
                None => {}
                Some(CloseReason::Closed(_)) => return Ok(0),
                Some(CloseReason::Failed(error)) => return Err(error.clone().into()),
            }
            let most = reading.incoming.appetite(buffer.len());
            let from = buffer.len().saturating_sub(most);
            let n = self.fill(reading, buffer.get_mut(from..).unwrap_or_default())?;
            if n == 0 {
                return Ok(0);
            }
            let written = reading.incoming.decode(buffer, from, n);
            self.react(reading);
            if written > 0 {
                return Ok(written);
            }
        }
        // The crate reads on in the next turn.
        Err(ErrorKind::Interrupted.into())
    }

    /// Reads bytes of the connection.
    fn fill(&self, reading: &mut Reading, buffer: &mut [u8]) -> io::Result<usize> {
        if reading.surplus.is_empty() {
            return self.inner.read(buffer);
        }
        let n = (&reading.surplus[..]).read(buffer)?;
        reading.surplus.drain(..n);
        if reading.surplus.is_empty() {
            reading.surplus = Vec::new();
        }
        Ok(n)
    }

    /// Does what the frames that were read ask for.
    fn react(&self, reading: &mut Reading) {
        if reading.incoming.announced() > self.limit {
            self.is_too_big.store(true, Ordering::Relaxed);
        }
        let pings = reading.incoming.take_pings();
        if pings > 0 {
            reading.refill();
            match reading.pings.checked_sub(pings) {
                Some(left) => reading.pings = left,
                None => reading.incoming.fail(WebSocketError::PingFlood),
            }
        }
        let pong = reading.incoming.take_pong();
        let close = reading.incoming.end().map(|end| match end {
            CloseReason::Closed(code) => *code,
            CloseReason::Failed(error) => error.close_code(),
        });
        if pong.is_some() || close.is_some() {
            self.leave(|stand| {
                stand.pong = pong.or(stand.pong.take());
                stand.close = stand.close.or(close);
            });
        }
    }

    /// Reads the head of the request or response. `WouldBlock` while it is not whole.
    fn read_head(&self, reading: &mut Reading) -> io::Result<()> {
        let mut buffer = [0; HEAD_READ];
        loop {
            let n = self.inner.read(&mut buffer)?;
            if n == 0 {
                reading.incoming.fail(WebSocketError::NotHttp);
                return Err(ErrorKind::UnexpectedEof.into());
            }
            let Phase::Head(head) = &mut reading.phase else { return Ok(()) };
            let mut read = buffer.get(..n).unwrap_or_default();
            let next = match head.take(&mut read) {
                Ok(None) => continue,
                Ok(Some(head)) => match &self.side {
                    Side::Server(_) => {
                        UpgradeRequest::parse(head).map(|request| Phase::Asked(Box::new(request)))
                    }
                    Side::Client(_) => {
                        let mut pen = self.take_pen().ok_or(ErrorKind::Interrupted)?;
                        let answer = take_answer(&mut pen, head);
                        self.put_back(pen);
                        answer.map(|server| {
                            reading.incoming.begin_with(header::encode(server));
                            Phase::Frames
                        })
                    }
                },
                Err(error) => Err(error),
            };
            reading.phase = match next {
                Ok(next) => next,
                Err(error) => return Err(self.refuse(reading, error)),
            };
            reading.surplus = read.to_vec();
            return Ok(());
        }
    }

    /// Grants or refuses the request, as far as it can be known, and puts the client's header in front of what it
    /// sends.
    fn judge(&self, reading: &mut Reading) -> io::Result<()> {
        let (Side::Server(server), Phase::Asked(request)) = (&self.side, &reading.phase) else {
            return Ok(());
        };
        let verdict = if request.path != server.terms.target() {
            match server.desks.find(&request.path) {
                Some(desk) => {
                    let _ = self.elsewhere.set(desk);
                    return Err(io::Error::other("for another listener"));
                }
                None => Err(WebSocketError::Path),
            }
        } else {
            request.check_origin(&server.terms.origins, server.terms.is_secure())
        };
        if let Err(error) = verdict {
            return Err(self.refuse(reading, error));
        }
        let Phase::Asked(request) = std::mem::replace(&mut reading.phase, Phase::Frames) else {
            return Ok(());
        };
        let mut pen = self.take_pen().ok_or(ErrorKind::Interrupted)?;
        let fitting = pen.ours.filter(|ours| request.servers.contains(ours));
        let announced = fitting.or_else(|| request.servers.first().copied());
        if let Some(client) = announced.and_then(counterpart) {
            reading.incoming.begin_with(header::encode(client));
        }
        pen.asked = Some(request);
        answer(&mut pen);
        self.put_back(pen);
        Ok(())
    }

    /// Ends a connection whose upgrade has failed. Tells a client why.
    fn refuse(&self, reading: &mut Reading, error: WebSocketError) -> io::Error {
        if let (Side::Server(_), Some(mut pen)) = (&self.side, self.take_pen()) {
            pen.own = refusal(Some(&error), None);
            self.put_back(pen);
        }
        (reading.phase, reading.surplus) = (Phase::Frames, Vec::new());
        reading.incoming.fail(error.clone());
        match error {
            WebSocketError::Status(404) => ErrorKind::ConnectionRefused.into(),
            WebSocketError::Status(401 | 403) => io::Error::new(ErrorKind::PermissionDenied, error),
            error => error.into(),
        }
    }

    // Writing.

    fn take_pen(&self) -> Option<Box<Pen>> {
        self.stand.lock().pen.take()
    }

    /// Leaves something at the stand, and writes it, unless another thread has the pen, which then will.
    fn leave(&self, change: impl FnOnce(&mut Stand)) {
        let pen = {
            let mut stand = self.stand.lock();
            change(&mut stand);
            stand.pen.take()
        };
        if let Some(pen) = pen {
            self.put_back(pen);
        }
    }

    /// Brings the pen back, once nothing is left at its stand that can be written.
    fn put_back(&self, mut pen: Box<Pen>) {
        let shut = loop {
            {
                let mut stand = self.stand.lock();
                if pen.may_interrupt() {
                    stand.give_next(&mut pen);
                }
                if pen.own.is_empty() {
                    stand.pen = Some(pen);
                    break std::mem::take(&mut stand.shut);
                }
            }
            if self.write_own(&mut pen).is_err() {
                // The poll will report room, or the next write the error.
                self.stand.lock().pen = Some(pen);
                break false;
            }
        };
        if shut && let Err(error) = self.inner.shutdown_write() {
            crate::contain::record!(Trace, { reason: error }, "shutdown: {error}");
        }
    }

    /// Writes what comes before anything else.
    fn write_own(&self, pen: &mut Pen) -> io::Result<()> {
        while let Some(rest @ [_, ..]) = pen.own.get(pen.own_sent..) {
            let written = self.inner.write(&[IoSlice::new(rest)])?;
            pen.own_sent = pen.own_sent.saturating_add(written);
        }
        (pen.own, pen.own_sent) = (Vec::new(), 0);
        Ok(())
    }

    fn write_with(&self, pen: &mut Pen, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.write_own(pen)?;
        if pen.ours.is_none() {
            return self.take_header(pen, slices);
        }
        if pen.is_closed {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if !pen.is_upgraded {
            return Err(ErrorKind::WouldBlock.into());
        }
        loop {
            match self.write_frames(pen, slices)? {
                // A part of a header: the connection is full, which it must say itself.
                0 if slices.iter().any(|slice| !slice.is_empty()) => {}
                n => return Ok(n),
            }
        }
    }

    /// Takes the crate's header, and asks for what it tells, or grants it.
    fn take_header(&self, pen: &mut Pen, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let missing = header::LEN.saturating_sub(pen.header.len());
        let bytes = slices.iter().flat_map(|slice| slice.iter().copied()).take(missing);
        let before = pen.header.len();
        pen.header.extend(bytes);
        if let [_, _, _, _, high, low, _, _] = pen.header[..] {
            let ours = ProtocolId::from_wire(u16::from_be_bytes([high, low]));
            pen.ours = Some(ours);
            if let (Side::Client(client), Some(server)) = (&self.side, counterpart(ours)) {
                let ask = Ask::new(server, random_key()?);
                pen.own = ask.request(&client.target(), &client.host);
                pen.ask = Some(ask);
            }
            answer(pen);
        }
        // What the kernel has no room for is written when the poll reports that it has.
        match self.write_own(pen) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(pen.header.len().saturating_sub(before)),
        }
    }

    /// Writes once, in frames.
    fn write_frames(&self, pen: &mut Pen, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut plan = pen.framer.clone();
        let mut batch = Batch::new(slices.iter().map(|slice| slice.len()).sum());
        let taken = plan.advance(slices, |part| batch.add(part));
        if batch.len == 0 {
            pen.framer = plan;
            return Ok(taken);
        }
        let written = self.inner.write(&batch.slices())?;
        if written == batch.len {
            pen.framer = plan;
            return Ok(taken);
        }
        let mut left = written;
        Ok(pen.framer.advance(slices, |part| {
            let n = part.len().min(left);
            left = left.saturating_sub(n);
            n
        }))
    }
}

impl Reading {
    /// Lets so many more pings come as the time since the last ones allows.
    fn refill(&mut self) {
        let now = time::now();
        let passed = now.saturating_duration_since(self.refilled).as_millis();
        let more = passed.saturating_mul(u128::from(PINGS_A_SECOND)) / 1000;
        if let Ok(more) = u32::try_from(more)
            && more == 0
        {
            return;
        }
        self.refilled = now;
        self.pings = PINGS.min(self.pings.saturating_add(u32::try_from(more).unwrap_or(PINGS)));
    }
}

impl Stand {
    /// Gives the pen a control frame to write.
    fn give_next(&mut self, pen: &mut Pen) {
        if let Some(payload) = self.pong.take() {
            pen.own = ws::pong(&payload, pen.framer.control_key());
        } else if let Some(code) = self.close.take() {
            pen.own = ws::close(code, pen.framer.control_key());
            pen.is_closed = true;
        }
    }
}

impl Client {
    /// What the request asks for.
    fn target(&self) -> String {
        if self.tail.starts_with('/') { self.tail.clone() } else { format!("/{}", self.tail) }
    }
}

/// Answers the request, if both it and our protocol are known.
fn answer(pen: &mut Pen) {
    let Some(ours) = pen.ours else { return };
    let Some(request) = pen.asked.take() else { return };
    pen.is_upgraded = request.servers.contains(&ours);
    pen.own = if pen.is_upgraded { request.grant(ours) } else { refusal(None, Some(ours)) };
}

/// Reads the answer to our request. Returns the protocol of the server's socket.
fn take_answer(pen: &mut Pen, head: &[u8]) -> Result<ProtocolId, WebSocketError> {
    // A server that answers before it was asked.
    let ask = pen.ask.take().ok_or(WebSocketError::NotHttp)?;
    let server = ask.answer(head)?;
    pen.is_upgraded = Some(server) == pen.ours.and_then(counterpart);
    Ok(server)
}

fn random_key() -> io::Result<[u8; 16]> {
    let mut key = [0; 16];
    getrandom::fill(&mut key).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(key)
}

/// What is written at once.
struct Batch<'s> {
    copied: Vec<u8>,
    pieces: SmallVec<[Piece<'s>; 8]>,
    len: usize,
}

enum Piece<'s> {
    /// So many of the bytes that were copied.
    Copied(usize),
    InPlace(&'s [u8]),
}

impl<'s> Batch<'s> {
    /// For `len` bytes of the crate's stream.
    fn new(len: usize) -> Self {
        Self { copied: Vec::with_capacity(len.min(COPIED)), pieces: SmallVec::new(), len: 0 }
    }

    /// Adds as much of a part as there is room for, and returns how much that is.
    fn add(&mut self, part: Part<'_, 's>) -> usize {
        let n = match part {
            Part::Payload(payload, None) if payload.len() >= IN_PLACE => self.refer(payload),
            part => self.copy(part),
        };
        self.len = self.len.saturating_add(n);
        n
    }

    fn refer(&mut self, payload: &'s [u8]) -> usize {
        if self.pieces.len() == SLICES {
            return 0;
        }
        self.pieces.push(Piece::InPlace(payload));
        payload.len()
    }

    fn copy(&mut self, part: Part<'_, 's>) -> usize {
        let begin = self.copied.len();
        let bytes = part.bytes();
        let bytes = bytes.get(..COPIED.saturating_sub(begin)).unwrap_or(bytes);
        let is_full = self.pieces.len() == SLICES;
        match self.pieces.last_mut() {
            Some(Piece::Copied(before)) => *before = before.saturating_add(bytes.len()),
            _ if is_full || bytes.is_empty() => return 0,
            _ => self.pieces.push(Piece::Copied(bytes.len())),
        }
        self.copied.extend_from_slice(bytes);
        if let (Part::Payload(_, Some(key)), Some(copy)) = (part, self.copied.get_mut(begin..)) {
            ws::mask(copy, key);
        }
        bytes.len()
    }

    fn slices(&self) -> SmallVec<[IoSlice<'_>; 8]> {
        let mut copied = &self.copied[..];
        let slice = |piece: &'_ Piece<'s>| match piece {
            Piece::InPlace(payload) => *payload,
            Piece::Copied(n) => copied.split_off(..*n).unwrap_or_default(),
        };
        self.pieces.iter().map(slice).map(IoSlice::new).collect()
    }
}

impl Stream for WsStream {
    fn source(&mut self) -> &mut dyn Source {
        self.inner.source()
    }

    fn established(&self) -> io::Result<bool> {
        self.inner.established()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(mut reading) = self.reading.lock().take() else {
            return Err(ErrorKind::Interrupted.into());
        };
        let read = match self.read_with(&mut reading, buffer) {
            // A peer that goes before it has shown its header, for which the crate has words of its own. One whose TLS
            // is cut off has an error inside.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof && error.get_ref().is_none() => {
                Ok(0)
            }
            read => read,
        };
        *self.reading.lock() = Some(reading);
        read
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        // The event loop has the pen for a moment.
        let mut pen = self.take_pen().ok_or(ErrorKind::Interrupted)?;
        let written = self.write_with(&mut pen, slices);
        self.put_back(pen);
        written
    }

    fn flush(&self) -> io::Result<()> {
        self.leave(|_| {});
        let stand = self.stand.lock();
        // Another thread that has the pen sees to it.
        let has_more = stand.pen.as_ref().is_some_and(|pen| !pen.own.is_empty());
        drop(stand);
        self.inner.flush()?;
        if has_more { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        // A dialer of nanomsg never comes back after a close frame.
        let code = match (self.is_too_big.load(Ordering::Relaxed), &self.side) {
            (true, _) => Some(TOO_BIG),
            (false, Side::Client(_)) => Some(NORMAL),
            (false, Side::Server(_)) => None,
        };
        self.leave(|stand| {
            stand.close = stand.close.or(code);
            stand.shut = true;
        });
        Ok(())
    }

    fn is_elsewhere(&self) -> bool {
        self.elsewhere.get().is_some()
    }

    fn pass_on(self: Box<Self>) {
        if let Some(desk) = self.elsewhere.get().map(Arc::clone) {
            desk.put(*self);
        }
    }

    fn peer(&self) -> StreamPeer {
        let peer = self.inner.peer();
        let url = |scheme: &str, url: &str, tail: &str| match url.split_once("://") {
            Some((_, place)) => format!("{}://{place}{tail}", scheme.trim_end_matches(['4', '6'])),
            None => String::new(),
        };
        let (local, remote) = match &self.side {
            Side::Client(Client { scheme, tail, .. }) => {
                (url(scheme, &peer.local, ""), url(scheme, &peer.remote, tail))
            }
            Side::Server(Server { terms, .. }) => {
                let scheme = &terms.scheme;
                (url(scheme, &peer.local, &terms.path), url(scheme, &peer.remote, ""))
            }
        };
        StreamPeer { local, remote, ..peer }
    }

    fn silence(&self) -> io::Result<Option<Duration>> {
        self.inner.silence()
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes in {} pieces)", self.len, self.pieces.len())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::transport::tcp::kit::address;

    fn target(url: &str) -> Result<Target, AddressError> {
        Ws.target(&address(url))
    }

    fn refused(url: &str) -> AddressError {
        match Ws.bind(&address(url), &EndpointSettings::default()) {
            Err(BindError::Address(error)) => error,
            other => panic!("{url}: {other:?}"),
        }
    }

    /// C322.
    #[test]
    fn addresses_are_understood() {
        let inet = |remote: &str| {
            Ok(Target::Known(Destination::Inet { remote: remote.parse().unwrap(), local: None }))
        };
        assert_eq!(target("ws://127.0.0.1"), inet("127.0.0.1:80"));
        assert_eq!(target("ws://127.0.0.1:81/a?b=c"), inet("127.0.0.1:81"));
        assert_eq!(target("ws4://127.0.0.1/a:b@c"), inet("127.0.0.1:80"));
        assert_eq!(target("ws6://[::1]?b"), inet("[::1]:80"));
        let Ok(Target::Name { host, port, .. }) = target("ws://host/") else { panic!("a name") };
        assert_eq!((&*host, port), ("host", 80));
    }

    #[test]
    fn a_request_names_the_host_and_the_path() {
        for (url, host, asked) in [
            ("ws://h", "h", "/"),
            ("ws://h:80/", "h", "/"),
            ("ws://h:5555/a?b=c", "h:5555", "/a?b=c"),
            ("ws://h:5555?b=c", "h:5555", "/?b=c"),
            ("ws://[::1]:81/x", "[::1]:81", "/x"),
            ("ws://[fe80::1%2]:81/x", "[fe80::1]:81", "/x"),
            ("ws://127.0.0.2;h:81/x", "h:81", "/x"),
        ] {
            let address = address(url);
            let place = Place::parse(&address, Use::Connect).unwrap();
            let tail = place.tail.to_owned();
            let client = Client { scheme: String::new(), host: place.host_header(), tail };
            assert_eq!((&*client.host, &*client.target()), (host, asked), "{url}");
        }
    }

    /// C322.
    #[test]
    fn addresses_that_make_no_sense_are_refused() {
        let table = [
            ("ws://h:", r#""ws://h:": there is no port"#),
            ("ws://h:x", r#""ws://h:x": the port is not a number: "x""#),
            ("ws://u@h/", r#""ws://u@h/": a WebSocket address has no user: "u@h""#),
            ("ws://h/a b", r#""ws://h/a b": a path has no spaces and is ASCII: "/a b""#),
            (
                "ws://h/a\r\nX: y",
                r#""ws://h/a\r\nX: y": a path has no spaces and is ASCII: "/a\r\nX: y""#,
            ),
            ("ws://h/#a", r##""ws://h/#a": a WebSocket address has no fragment: "/#a""##),
            (
                "ws://b\u{fc}cher/",
                "\"ws://b\u{fc}cher/\": a host is ASCII in HTTP: \"b\u{fc}cher\"",
            ),
            (
                "ws4://[::1]/",
                r#""ws4://[::1]/": the scheme does not allow addresses of this family: "[::1]""#,
            ),
        ];
        for (url, told) in table {
            assert_eq!(target(url).unwrap_err().to_string(), told);
            assert_eq!(refused(url).to_string(), told);
        }
        assert!(matches!(target("ws:///a"), Err(AddressError::Host { .. })));
        let long = format!("ws://h/{}", "a".repeat(PATH_MAX));
        assert!(matches!(target(&long), Err(AddressError::TooLong { limit: PATH_MAX, .. })));
        assert!(matches!(refused("ws://127.0.0.1:0/a?b"), AddressError::Path { .. }));
    }
}
