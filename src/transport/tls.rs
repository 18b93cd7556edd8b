//! tls+tcp: the protocol inside TLS.
//!
//! Owns [`TlsStream`], TLS over the stream of any other transport, and the transport that puts it over tcp. What an
//! address means is tcp's; what is verified is in `tls/`.
//!
//! # Two threads
//!
//! One thread may write while another reads, and both use the state of one session. It has a lock, `session`, which
//! is held while bytes are encrypted or decrypted, and never during a system call. Encrypted bytes must reach the
//! kernel in the order in which they were made, so whoever makes some holds `unwritten` until they are written or kept
//! there: that lock is held during a write to the kernel, which does not wait. Only the two threads of one stream meet
//! there, and the one that reads comes only if it has something to answer.
//!
//! # What is kept
//!
//! A stream keeps the part of a record that has come so far, plain bytes for which a reader had no room, and encrypted
//! bytes that the kernel did not take: at most [`INCOMPLETE`], a record and a read, and one batch. Of a batch that the
//! kernel has not taken whole, the last byte counts as not written, and comes again with the next write: so a message
//! counts as written only when the kernel has all of it, and whoever waits until everything is written waits for that.

use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::time::Duration;

use mio::event::Source;

use super::{
    Address, BoundFile, Destination, EndpointSettings, Listener, Stream, StreamPeer,
    StreamTransport, Target, Tcp, tcp,
};
use crate::error::{AddressError, BindError, TlsConfigError};
use crate::sync::{Mutex, OnceLock, Rank};
use crate::tls::{Processed, RECORD, RECORD_OVERHEAD, Session, TlsConfig, identity};
use crate::tls_error::TlsError;

/// Encrypt at most so many records before they are written: enough that a system call is a small part of the work.
const BATCH: usize = 4;
/// Read at most so many encrypted bytes at once.
const READ: usize = 64 * 1024;
/// Read at least so many, even if the reader wants fewer: it gets whole records only.
const LEAST_READ: usize = 4 * 1024;
/// A record that is not whole, or messages of a handshake that are not, have at most so many bytes. Records are
/// shorter; what a peer may send before it is known is bounded by the same.
const INCOMPLETE: usize = 32 * 1024;
/// Who connects takes a longer handshake: it has chosen its peer, whose chain of certificates may be long.
const INCOMPLETE_OF_SERVERS: usize = 96 * 1024;

/// The scheme of tcp behind that of TLS.
const OVER: &str = "tls+";

/// tls+tcp: `tls+tcp://`, `tls+tcp4://` and `tls+tcp6://`.
///
/// Every runtime has it, with the feature `tls`. Addresses are those of [`Tcp`]; [`tls`](crate::tls) says who is
/// verified, and how.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TlsTcp;

impl TlsTcp {
    /// The transport; it has no settings of its own.
    pub const fn new() -> Self {
        Self
    }
}

impl StreamTransport for TlsTcp {
    fn schemes(&self) -> &[&str] {
        &["tls+tcp", "tls+tcp4", "tls+tcp6"]
    }

    /// Binds as [`Tcp`] does, if there is a certificate to show.
    fn bind(
        &self,
        address: &Address,
        settings: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let config = config_to_bind(address, settings)?;
        let inner = Tcp.bind(address, settings)?;
        Ok(Box::new(TlsListener { inner, config }))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        let target = Tcp.target(address)?;
        // Here it may take its time; what goes wrong is the error of each attempt.
        let _ = TlsConfig::of_the_system();
        Ok(target)
    }

    fn connect(
        &self,
        address: &Address,
        destination: &Destination,
        settings: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let host = tcp::host(address).map_err(|error| io::Error::other(error.to_string()))?;
        let session = session_to(&host, settings)?;
        let inner = Tcp.connect(address, destination, settings)?;
        Ok(Box::new(TlsStream::new(inner, session)))
    }
}

/// The configuration of an endpoint that is bound.
///
/// # Errors
///
/// There is none, or it has no certificate.
pub(super) fn config_to_bind(
    address: &Address,
    settings: &EndpointSettings,
) -> Result<TlsConfig, BindError> {
    match settings.tls() {
        Some(config) if config.now().server.is_some() => Ok(config.clone()),
        _ => {
            let (url, source) = (address.url().to_owned(), TlsConfigError::NoOwnCertificate);
            Err(BindError::Tls { url, source })
        }
    }
}

/// The session of a connection that is made to a host.
pub(super) fn session_to(host: &str, settings: &EndpointSettings) -> Result<Session, TlsError> {
    let of_the_system =
        || TlsConfig::of_the_system().map_err(|error| TlsError::Setup(error.to_string()));
    let config = settings.tls().map_or_else(of_the_system, Ok)?;
    Session::client(&config.now(), host)
}

/// TLS over an accepted stream.
pub(super) fn accepted(inner: Box<dyn Stream>, config: &TlsConfig) -> io::Result<Box<dyn Stream>> {
    let session = Session::server(&config.now())?;
    Ok(Box::new(TlsStream::new(inner, session)))
}

/// The URL of one end, over TLS.
fn over(url: String) -> String {
    if url.is_empty() || url.starts_with(OVER) { url } else { format!("{OVER}{url}") }
}

#[derive(Debug)]
struct TlsListener {
    inner: Box<dyn Listener>,
    config: TlsConfig,
}

impl Listener for TlsListener {
    fn source(&mut self) -> &mut dyn Source {
        self.inner.source()
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        accepted(self.inner.accept()?, &self.config)
    }

    fn url(&self) -> String {
        over(self.inner.url())
    }

    fn file(&self) -> Option<BoundFile> {
        self.inner.file()
    }
}

/// TLS over another stream.
pub(super) struct TlsStream {
    inner: Box<dyn Stream>,
    session: Mutex<State>,
    unwritten: Mutex<Unwritten>,
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.inner).finish()
    }
}

/// What both threads use.
struct State {
    session: Session,
    /// What has come and is not whole yet. The session refers to it, so it stays where it is.
    incomplete: Vec<u8>,
    /// How many bytes of the peer the handshake has taken.
    handshake: usize,
    /// Plain bytes for which the reader had no room.
    plain: Vec<u8>,
    /// How many of those were read.
    read: usize,
    /// What there is to say to the peer, encrypted: answers of the handshake, alerts.
    unsaid: Vec<u8>,
    /// Whether anything came that was not of the handshake.
    has_come: bool,
    /// Whether the stream below has ended.
    is_cut: bool,
    /// What ends the connection.
    fault: Option<TlsError>,
}

/// What the kernel has not taken, and what follows it.
#[derive(Default)]
struct Unwritten {
    /// Encrypted bytes.
    bytes: Vec<u8>,
    /// How many of those were written.
    written: usize,
    /// Whether the last plain byte of the last batch comes again.
    owes: bool,
    /// Whether our side is to be finished, or is.
    finish: Finish,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Finish {
    #[default]
    Open,
    /// It ends once everything is written.
    Due,
    Done,
}

impl TlsStream {
    pub(super) fn new(inner: Box<dyn Stream>, session: Session) -> Self {
        let state = State {
            session,
            incomplete: Vec::new(),
            handshake: 0,
            plain: Vec::new(),
            read: 0,
            unsaid: Vec::new(),
            has_come: false,
            is_cut: false,
            fault: None,
        };
        Self {
            inner,
            session: Mutex::new(Rank::TlsSession, state),
            unwritten: Mutex::new(Rank::TlsUnwritten, Unwritten::default()),
        }
    }

    /// Writes what is kept, and what the session has to say besides.
    fn send_rest(&self, unwritten: &mut Unwritten) -> io::Result<()> {
        unwritten.write(&*self.inner)?;
        unwritten.bytes = self.session.lock().answer();
        unwritten.write(&*self.inner)?;
        if unwritten.finish == Finish::Due {
            unwritten.finish = Finish::Done;
            self.inner.shutdown_write()?;
        }
        self.inner.flush()
    }

    /// Reads encrypted bytes, and decrypts them into `buffer`. Returns how many plain bytes that gave, which may be
    /// none, and whether there may be more.
    fn read_some(&self, buffer: &mut [u8]) -> io::Result<(usize, bool)> {
        let room = self.session.lock().appetite(buffer.len());
        let mut scratch = Scratch::take();
        // What has come before it and is not whole goes in front of it.
        let at = Scratch::LEN - READ;
        let n = self.inner.read(&mut scratch.0[at..at + room])?;
        let mut state = self.session.lock();
        let filled = if n > 0 {
            state.take_in(&mut scratch.0[..at + n], at, buffer)
        } else {
            state.cut_off()
        };
        let has_answer = !state.unsaid.is_empty();
        let more = state.is_live() && (n == room || !self.inner.short_read_is_last());
        let outcome = state.outcome(filled).map(|filled| (filled, more));
        drop(state);
        if has_answer {
            // What cannot be said now is said when there is room; a stream that is broken says so when it is read.
            let _ = self.send_rest(&mut self.unwritten.lock());
        }
        outcome
    }
}

impl Stream for TlsStream {
    fn source(&mut self) -> &mut dyn Source {
        self.inner.source()
    }

    fn established(&self) -> io::Result<bool> {
        self.inner.established()
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = {
            let mut state = self.session.lock();
            let served = state.serve(buffer);
            match state.outcome(served)? {
                0 if !state.is_live() => return Ok(0),
                served => served,
            }
        };
        while filled < buffer.len() {
            match self.read_some(&mut buffer[filled..]) {
                // It may be the last for now; if it gave nothing, only another read can tell.
                Ok((n, more)) => {
                    filled += n;
                    if !more && (filled > 0 || !self.session.lock().is_live()) {
                        break;
                    }
                }
                // The next read meets it again.
                Err(_) if filled > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut unwritten = self.unwritten.lock();
        let mut scratch = Scratch::take();
        let (owed, (taken, len)) = loop {
            self.send_rest(&mut unwritten)?;
            let owed = usize::from(std::mem::take(&mut unwritten.owes));
            let mut state = self.session.lock();
            // What the other thread has made meanwhile goes first.
            if !state.unsaid.is_empty() {
                unwritten.owes = owed > 0;
                continue;
            }
            break (owed, state.encrypt(Pieces::behind(slices, owed), &mut scratch.0)?);
        };
        match write_all(&*self.inner, &scratch.0[..len]) {
            (_, Ok(())) => Ok(owed + taken),
            (written, Err(error)) if error.kind() == ErrorKind::WouldBlock => {
                unwritten.bytes.extend_from_slice(&scratch.0[written..len]);
                unwritten.owes = true;
                match owed + taken {
                    1 => Err(error),
                    taken => Ok(taken - 1),
                }
            }
            (_, Err(error)) => Err(error),
        }
    }

    fn flush(&self) -> io::Result<()> {
        self.send_rest(&mut self.unwritten.lock())
    }

    fn shutdown_write(&self) -> io::Result<()> {
        let mut unwritten = self.unwritten.lock();
        if unwritten.finish != Finish::Open {
            return Ok(());
        }
        unwritten.finish = Finish::Due;
        let end = self.session.lock().close();
        unwritten.bytes.extend_from_slice(&end);
        self.send_rest(&mut unwritten)
    }

    fn peer(&self) -> StreamPeer {
        let mut peer = self.inner.peer();
        peer.local = over(peer.local);
        peer.remote = over(peer.remote);
        peer.identity = self.session.lock().session.verified().map(identity);
        peer
    }

    fn silence(&self) -> io::Result<Option<Duration>> {
        self.inner.silence()
    }
}

/// The peer should hear that the connection ends, rather than think that it was cut off. Before the handshake is over it
/// hears nothing: the stream may be one of several on the way to it, of which another was chosen.
impl Drop for TlsStream {
    fn drop(&mut self) {
        let is_open = self.session.lock().session.is_open();
        if is_open {
            let _ = self.shutdown_write();
        }
    }
}

impl State {
    /// Whether more may come.
    fn is_live(&self) -> bool {
        self.fault.is_none() && !self.session.has_ended() && !self.is_cut
    }

    /// How much to read for a reader that wants so many bytes. A handshake is read in small pieces: so it is over, or
    /// too long, before there is more of it than may be.
    fn appetite(&self, wanted: usize) -> usize {
        let wanted = if self.session.is_open() { wanted } else { 0 };
        (wanted + wanted / 64).clamp(LEAST_READ, READ)
    }

    /// What a read returns that has brought so many bytes. A fault waits until all that came before it is read.
    fn outcome(&self, filled: usize) -> io::Result<usize> {
        match &self.fault {
            Some(fault) if filled == 0 => Err(fault.clone().into()),
            _ => Ok(filled),
        }
    }

    /// Gives the reader plain bytes that are there.
    fn serve(&mut self, buffer: &mut [u8]) -> usize {
        let kept = &self.plain[self.read..];
        let n = kept.len().min(buffer.len());
        buffer[..n].copy_from_slice(&kept[..n]);
        self.read += n;
        if self.read == self.plain.len() {
            (self.plain, self.read) = (Vec::new(), 0);
        }
        n
    }

    /// Takes in bytes of the peer, those in `scratch` from `at` on, and fills `buffer` with the plain bytes in them.
    /// Returns how many those are.
    fn take_in(&mut self, scratch: &mut [u8], at: usize, buffer: &mut [u8]) -> usize {
        if !self.session.is_open() {
            self.handshake += scratch.len() - at;
        }
        let mut filled = 0;
        let (kept, incomplete, unsaid) = (&mut self.plain, &mut self.incomplete, &mut self.unsaid);
        let mut plain = |bytes: &[u8]| {
            let n = bytes.len().min(buffer.len() - filled);
            buffer[filled..filled + n].copy_from_slice(&bytes[..n]);
            filled += n;
            kept.extend_from_slice(&bytes[n..]);
        };
        let outcome = if incomplete.len() <= at {
            let bytes = &mut scratch[at - incomplete.len()..];
            bytes[..incomplete.len()].copy_from_slice(incomplete);
            incomplete.clear();
            let Processed { used, outcome } = self.session.process(bytes, &mut plain, unsaid);
            incomplete.extend_from_slice(&bytes[used..]);
            outcome
        } else {
            // Of a handshake, or of a record that is longer than any should be.
            incomplete.extend_from_slice(&scratch[at..]);
            let Processed { used, outcome } = self.session.process(incomplete, &mut plain, unsaid);
            incomplete.drain(..used);
            outcome
        };
        if self.incomplete.is_empty() {
            self.incomplete = Vec::new();
        }
        self.has_come |= filled > 0;
        self.fault = outcome.err().or_else(|| self.excess());
        filled
    }

    /// The fault of a peer that has sent more than it may before it sends anything whole.
    fn excess(&self) -> Option<TlsError> {
        let (used, limit) = match (self.session.is_open(), self.session.is_server()) {
            (true, _) => (self.incomplete.len(), INCOMPLETE),
            (false, true) => (self.handshake, INCOMPLETE),
            (false, false) => (self.handshake, INCOMPLETE_OF_SERVERS),
        };
        (used > limit).then_some(TlsError::TooLong(limit))
    }

    /// Notes that the stream below has ended. That is an end only if the peer has said so, or has said nothing.
    fn cut_off(&mut self) -> usize {
        self.is_cut = true;
        if self.has_come && !self.session.has_ended() {
            self.fault.get_or_insert(TlsError::Truncated);
        }
        0
    }

    /// What there is to say to the peer now.
    fn answer(&mut self) -> Vec<u8> {
        // Who connects begins.
        if !self.session.is_open() && self.fault.is_none() {
            let mut plain = |bytes: &[u8]| self.plain.extend_from_slice(bytes);
            let processed =
                self.session.process(&mut self.incomplete, &mut plain, &mut self.unsaid);
            self.incomplete.drain(..processed.used);
            self.fault = processed.outcome.err();
        }
        std::mem::take(&mut self.unsaid)
    }

    /// Encrypts one batch. Returns how many plain bytes it took, and how many encrypted ones are in `scratch`.
    fn encrypt(
        &mut self,
        mut pieces: Pieces<'_>,
        scratch: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone().into());
        }
        if self.session.has_closed() {
            return Err(ErrorKind::BrokenPipe.into());
        }
        if !self.session.is_open() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let (out, gather) = scratch.split_at_mut(BATCH * (RECORD + RECORD_OVERHEAD));
        let (mut taken, mut len) = (0, 0);
        for _ in 0..BATCH {
            let record = pieces.record(gather);
            if record.is_empty() {
                break;
            }
            match self.session.encrypt(&mut self.incomplete, record, &mut out[len..]) {
                Ok(written) => (taken, len) = (taken + record.len(), len + written),
                Err(fault) => return Err(self.fault.insert(fault).clone().into()),
            }
        }
        Ok((taken, len))
    }

    /// What there is to say to the peer, and that nothing follows.
    fn close(&mut self) -> Vec<u8> {
        let mut last = std::mem::take(&mut self.unsaid);
        self.session.close(&mut self.incomplete, &mut last);
        last
    }
}

impl Unwritten {
    /// Writes what is kept.
    fn write(&mut self, inner: &dyn Stream) -> io::Result<()> {
        let (written, outcome) = write_all(inner, &self.bytes[self.written..]);
        self.written += written;
        if self.written == self.bytes.len() {
            (self.bytes, self.written) = (Vec::new(), 0);
        }
        outcome
    }
}

/// Writes until nothing is left, or nothing more is taken. Returns how much was written, too.
fn write_all(inner: &dyn Stream, mut bytes: &[u8]) -> (usize, io::Result<()>) {
    let all = bytes.len();
    while !bytes.is_empty() {
        match inner.write(&[IoSlice::new(bytes)]) {
            Ok(n) => bytes = bytes.get(n..).unwrap_or_default(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (all - bytes.len(), Err(error)),
        }
    }
    (all, Ok(()))
}

/// What is to be encrypted, in pieces.
struct Pieces<'s> {
    rest: &'s [IoSlice<'s>],
    /// How many bytes of the first piece are taken.
    taken: usize,
}

impl<'s> Pieces<'s> {
    /// All but the first `taken` bytes, which are in the first piece.
    fn behind(slices: &'s [IoSlice<'s>], taken: usize) -> Self {
        Self { rest: slices, taken }
    }

    /// The first piece that is not empty.
    fn first(&mut self) -> &'s [u8] {
        while let Some((first, others)) = self.rest.split_first() {
            match first.get(self.taken..) {
                Some(left) if !left.is_empty() => return left,
                _ => (self.rest, self.taken) = (others, self.taken.saturating_sub(first.len())),
            }
        }
        &[]
    }

    /// Takes the bytes of the next record: of one piece, or of several, which are then copied to `gather`.
    fn record<'r>(&mut self, gather: &'r mut [u8]) -> &'r [u8]
    where
        's: 'r,
    {
        let first = self.first();
        if first.len() >= RECORD || self.rest.len() <= 1 {
            let n = first.len().min(RECORD);
            self.taken += n;
            return &first[..n];
        }
        let mut len = 0;
        while len < RECORD {
            let piece = self.first();
            if piece.is_empty() {
                break;
            }
            let n = piece.len().min(RECORD - len);
            gather[len..len + n].copy_from_slice(&piece[..n]);
            (len, self.taken) = (len + n, self.taken + n);
        }
        &gather[..len]
    }
}

/// Memory for one read or one batch. Those that are not in use wait for the next, whatever its stream: a stream that
/// is idle has none.
struct Scratch(Box<[u8]>);

impl Scratch {
    /// Room for a batch that is encrypted, and for a record that is gathered before.
    const LEN: usize = BATCH * (RECORD + RECORD_OVERHEAD) + RECORD;
    /// Keep at most this many that are not in use: few threads are at it at one time.
    const SPARE: usize = 4;

    fn spare() -> &'static Mutex<Vec<Box<[u8]>>> {
        static SPARE: OnceLock<Mutex<Vec<Box<[u8]>>>> = OnceLock::new();
        SPARE.get_or_init(|| Mutex::new(Rank::TlsScratch, Vec::new()))
    }

    fn take() -> Self {
        let spare = Self::spare().lock().pop();
        Self(spare.unwrap_or_else(|| vec![0; Self::LEN].into()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let scratch = std::mem::take(&mut self.0);
        let mut spare = Self::spare().lock();
        if spare.len() < Self::SPARE {
            spare.push(scratch);
        }
    }
}
