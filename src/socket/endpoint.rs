//! Endpoints and peers: where a socket is bound or connected, and to whom.
//!
//! Owns what is known of one endpoint, which the driver keeps up to date and the program reads, and what a
//! program is told of a peer. Establishes nothing: see `establish.rs` and the reactor.

use std::fmt;
use std::time::Instant;

use super::Closed;
use super::limits::RecvLimit;
use crate::error::AttemptError;
use crate::message::PipeId;
use crate::options::EndpointSettings;
use crate::pipe::Host;
use crate::protocol::ProtocolId;
use crate::reactor::{Command, ListenerSlot, Mailbox};
use crate::stats::{DropReason, PipeDrops};
use crate::sync::{Arc, AtomicBool, Mutex, Ordering, Weak};
use crate::sys::Origin;
use crate::transport::{PeerCredentials, StreamPeer, inproc};

/// The number of one endpoint, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EndpointId(u64);

/// One address a socket is bound to or connects to.
///
/// A handle: dropping it changes nothing, the endpoint lives as long as its socket or until
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) core: Arc<EndpointCore>,
}

impl Endpoint {
    /// The address, with the real port where port 0 was asked for: what others connect to.
    ///
    /// A relative ipc path stays as it was given. It means the working directory at the time of the
    /// call.
    pub fn url(&self) -> String {
        self.core.url()
    }

    /// The endpoint's number, as found in [`Peer`].
    pub fn id(&self) -> EndpointId {
        self.core.id
    }

    /// Whether it accepts connections (`true`, made by `bind`) or makes them (`false`, by `connect`).
    pub fn is_listening(&self) -> bool {
        self.core.listening
    }

    /// How it stands: connected or not, and if not, why. Also after close.
    ///
    /// A moment's view: by the time it is looked at, the next attempt may be under way. For a bound ipc
    /// endpoint it asks the system, each time, whether the socket file is still there.
    pub fn status(&self) -> EndpointStatus {
        if self.core.is_forked() {
            return EndpointStatus::initial(EndpointState::Closed);
        }
        self.core.status()
    }

    /// Closes the endpoint and the pipes it has made; the socket's other endpoints go on. When this
    /// returns the address can be bound again, an ipc file is gone, and no event of a new pipe comes any
    /// more: a header exchange that is completed at that moment is too late. What is queued for its pipes is written as when a socket is
    /// closed: for up to 25 ms by this call, and by the I/O thread during [`Options::linger`](crate::Options::linger).
    ///
    /// # Errors
    ///
    /// [`Closed`] if it was closed before.
    #[doc(alias(
        "nn_shutdown",
        "nng_listener_close",
        "nng_dialer_close",
        "zmq_unbind",
        "zmq_disconnect"
    ))]
    pub fn close(&self) -> Result<(), Closed> {
        if !self.core.stop() {
            return Err(Closed);
        }
        if let Some(host) = self.core.host.upgrade() {
            host.drop_endpoint(self.core.id);
        }
        Ok(())
    }
}

/// How an endpoint stands.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointStatus {
    /// What it is doing.
    pub state: EndpointState,
    /// For a connecting endpoint: attempts begun so far.
    pub attempts: u64,
    /// What went wrong last: with an attempt to connect, with accepting, or with a peer that was accepted and
    /// sent a wrong header, such as one of a kind that this socket cannot talk to; stays after a later success.
    ///
    /// For a bound ipc endpoint whose file was removed or replaced it is
    /// [`FileLost`](AttemptError::FileLost), for as long as that is so.
    pub last_error: Option<AttemptError>,
    /// When the next attempt is due, in state `Waiting`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "next_attempt_seconds", serialize_with = "crate::serial::until")
    )]
    pub next_attempt: Option<Instant>,
    /// Pipes it has now.
    pub peers: usize,
}

impl EndpointStatus {
    fn initial(state: EndpointState) -> Self {
        Self { state, attempts: 0, last_error: None, next_attempt: None, peers: 0 }
    }
}

/// What an endpoint is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndpointState {
    /// Bound, and accepting.
    Listening,
    /// An attempt to connect is under way; also waiting for an inproc name to be bound.
    Connecting,
    /// Connected.
    Connected,
    /// Waiting for the next attempt. It may come later than it is due: see
    /// [`Options::recv_queue_bytes`](crate::Options::recv_queue_bytes).
    Waiting,
    /// Closed.
    Closed,
}

impl EndpointState {
    /// Every state, in the order of declaration.
    pub const ALL: &'static [Self] =
        &[Self::Listening, Self::Connecting, Self::Connected, Self::Waiting, Self::Closed];

    /// A stable name in lower case, for logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Listening => "listening",
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::Waiting => "waiting",
            Self::Closed => "closed",
        }
    }
}

/// The stable name, as in [`EndpointState::name`].
impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The state, how many peers there are, and the last error: `waiting, 3 attempts, 0 peers, last error:
/// connection refused`.
impl fmt::Display for EndpointStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.state)?;
        if self.attempts > 0 {
            write!(f, ", {} attempts", self.attempts)?;
        }
        write!(f, ", {} peers", self.peers)?;
        match &self.last_error {
            Some(error) => write!(f, ", last error: {error}"),
            None => Ok(()),
        }
    }
}

/// The number, what it does where, and how it stands.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}, {self}: {})", self.id(), self.status())
    }
}

/// The address, and what the endpoint does there: `bound to tcp://127.0.0.1:5555`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", does(self.is_listening()), self.url())
    }
}

/// What an endpoint does with its address.
pub(super) fn does(listening: bool) -> &'static str {
    if listening { "bound to" } else { "connects to" }
}

/// The bare number, as in metrics.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is at the other end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Peer {
    /// The pipe.
    pub pipe: PipeId,
    /// The endpoint of ours that the pipe came from.
    pub endpoint: EndpointId,
    /// That endpoint's address.
    pub url: String,
    /// Whether we connected (`true`) or were connected to.
    pub outgoing: bool,
    /// Our address, as a URL; empty where there is none.
    pub local: String,
    /// The peer's address, as a URL; empty where there is none.
    pub remote: String,
    /// The peer's protocol.
    pub protocol: ProtocolId,
    /// For ipc: the process at the other end, as it was when it connected.
    pub credentials: Option<PeerCredentials>,
    /// When the connection was complete.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "connected_seconds", serialize_with = "crate::serial::age")
    )]
    pub since: Instant,
}

impl Peer {
    pub(crate) fn of_stream(
        pipe: PipeId,
        endpoint: &EndpointCore,
        protocol: ProtocolId,
        stream: StreamPeer,
    ) -> Self {
        Self {
            pipe,
            endpoint: endpoint.id,
            url: endpoint.url(),
            outgoing: !endpoint.listening,
            local: stream.local,
            remote: stream.remote,
            protocol,
            credentials: stream.credentials,
            since: Instant::now(),
        }
    }
}

impl Peer {
    pub(crate) fn of_inproc(
        pipe: PipeId,
        endpoint: &EndpointCore,
        protocol: ProtocolId,
        url: String,
    ) -> Self {
        let ends = StreamPeer { local: url.clone(), remote: url, credentials: None };
        Self::of_stream(pipe, endpoint, protocol, ends)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.remote.is_empty() { &self.url } else { &self.remote };
        write!(f, "{} at {place}", self.protocol)
    }
}

/// A peer that is connected now, and what has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerStatus {
    /// Who it is.
    pub peer: Peer,
    /// Messages waiting to be sent to it.
    pub send_queue: QueueStatus,
    /// Messages received from it that wait to be taken.
    pub recv_queue: QueueStatus,
    /// Messages put into its send queue so far.
    pub messages_sent: u64,
    /// Bytes of those, protocol headers included.
    pub bytes_sent: u64,
    /// Messages taken out of its receive queue so far.
    pub messages_received: u64,
    /// Bytes of those, protocol headers included.
    pub bytes_received: u64,
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::serial::pipe_drops"))]
    pub(super) drops: PipeDrops,
}

impl PeerStatus {
    /// How many messages to or from this peer were dropped for `reason` while it was connected.
    ///
    /// Drops for which no single peer stands are only in [`Stats::drops`](crate::Stats::drops): a
    /// message that no PUSH peer took, an answer to a peer that is gone.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.drops(reason)
    }

    /// Every reason with its count, the zeros included.
    pub fn dropped(&self) -> impl Iterator<Item = (DropReason, u64)> + '_ {
        DropReason::ALL.iter().map(|&reason| (reason, self.drops(reason)))
    }
}

impl std::ops::Deref for PeerStatus {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

/// Who it is, and what has passed and waits: `pull at tcp://127.0.0.1:40312: 7 sent, 2 queued; 0
/// received, 0 queued`.
impl fmt::Display for PeerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sent, received) = (self.messages_sent, self.messages_received);
        let (out, inward) = (self.send_queue.messages, self.recv_queue.messages);
        write!(f, "{}: {sent} sent, {out} queued; {received} received, {inward} queued", self.peer)
    }
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct QueueStatus {
    /// Messages in it.
    pub messages: u64,
    /// Bytes in it, protocol headers included.
    pub bytes: u64,
}

impl fmt::Display for QueueStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes", self.messages, self.bytes)
    }
}

/// What an endpoint's handle, its socket and the reactor share.
#[derive(Debug)]
pub(crate) struct EndpointCore {
    pub(crate) id: EndpointId,
    pub(crate) listening: bool,
    pub(crate) settings: EndpointSettings,
    /// How long a message of a peer may be.
    pub(crate) recv_limit: RecvLimit,
    /// The socket.
    pub(crate) host: Weak<dyn Host>,
    url: String,
    status: Mutex<EndpointStatus>,
    closed: AtomicBool,
    /// That it fails has been told, and it has not worked since.
    failing: AtomicBool,
    /// That a peer was of the wrong kind has been told.
    misfit: AtomicBool,
    control: Control,
    /// In which process it was made.
    origin: Origin,
}

/// How an endpoint is stopped.
#[derive(Debug)]
pub(crate) enum Control {
    /// The reactor has it; a listening socket can be dropped from here.
    Stream(Arc<Mailbox>, Option<Arc<ListenerSlot>>),
    /// It is bound to an inproc name.
    InprocListener(String),
    /// It connects to an inproc name.
    InprocDialer(Arc<inproc::Dialer>),
}

/// The next endpoint's number. Std's, since a static must be made without a model running.
static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl EndpointCore {
    pub(crate) fn new(
        host: Weak<dyn Host>,
        url: String,
        listening: bool,
        settings: EndpointSettings,
        recv_limit: RecvLimit,
        control: Control,
    ) -> Arc<Self> {
        let state = match listening {
            true => EndpointState::Listening,
            false => EndpointState::Connecting,
        };
        let status = EndpointStatus::initial(state);
        Arc::new(Self {
            id: EndpointId(NEXT.fetch_add(1, Ordering::Relaxed)),
            listening,
            settings,
            recv_limit,
            host,
            url,
            status: Mutex::new(status),
            closed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            misfit: AtomicBool::new(false),
            control,
            origin: Origin::now(),
        })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    fn status(&self) -> EndpointStatus {
        let mut status = self.status.lock().clone();
        if status.state == EndpointState::Listening {
            status.last_error = self.file_loss().or(status.last_error);
        }
        status
    }

    /// What has become of the file through which others connect, if it is lost. Asks the system, with no
    /// lock held.
    fn file_loss(&self) -> Option<AttemptError> {
        let Control::Stream(_, Some(listener)) = &self.control else { return None };
        let loss = listener.file()?.loss()?;
        // Else it was removed by who closes the endpoint.
        (!self.is_closed()).then_some(loss)
    }

    /// Whether all its peers are in this process.
    pub(super) fn is_inproc(&self) -> bool {
        !matches!(self.control, Control::Stream(..))
    }

    /// Whether it is the endpoint of an ancestor of this process.
    fn is_forked(&self) -> bool {
        self.origin.is_ancestral()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Stops accepting or connecting. `false` if it was stopped before. Its pipes are another matter.
    pub(crate) fn stop(&self) -> bool {
        if self.is_forked() || self.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        {
            let mut status = self.status.lock();
            status.state = EndpointState::Closed;
            status.next_attempt = None;
        }
        match &self.control {
            Control::Stream(mailbox, listener) => {
                if let Some(listener) = listener {
                    mailbox.close_listener(listener);
                }
                mailbox.post(Command::Forget(self.id));
            }
            Control::InprocListener(name) => inproc::unbind(name, self.id),
            Control::InprocDialer(dialer) => dialer.stop(),
        }
        true
    }

    /// An attempt begins.
    pub(crate) fn connecting(&self) {
        self.change(|status| {
            status.state = EndpointState::Connecting;
            status.attempts += 1;
            status.next_attempt = None;
        });
    }

    /// An attempt, or an accept, failed.
    pub(crate) fn failed(&self, error: AttemptError) {
        self.change(|status| status.last_error = Some(error));
    }

    /// It has failed: whether that is news, to be told louder than the failures that follow.
    pub(crate) fn begins_to_fail(&self) -> bool {
        !self.failing.swap(true, Ordering::Relaxed)
    }

    /// It has been connected: the next failure is news again.
    pub(crate) fn has_worked(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    /// A peer was of the wrong kind: whether it is the first.
    pub(crate) fn meets_first_misfit(&self) -> bool {
        !self.misfit.swap(true, Ordering::Relaxed)
    }

    /// The next attempt is due at some time.
    pub(crate) fn waits_until(&self, at: Instant) {
        self.change(|status| {
            status.state = EndpointState::Waiting;
            status.next_attempt = Some(at);
        });
    }

    /// The socket has accepted a pipe.
    pub(crate) fn pipe_is_there(&self) {
        self.change(|status| {
            status.peers += 1;
            if !self.listening {
                status.state = EndpointState::Connected;
                status.next_attempt = None;
            }
        });
    }

    /// A pipe is gone for the socket.
    pub(crate) fn pipe_is_gone(&self) {
        let mut status = self.status.lock();
        status.peers = status.peers.saturating_sub(1);
    }

    /// A pipe of this endpoint is gone. The reactor knows of its own; inproc has no reactor.
    pub(crate) fn pipe_lost(&self) {
        if let Control::InprocDialer(dialer) = &self.control
            && !self.is_closed()
        {
            self.has_worked();
            inproc::Dialer::lost(dialer);
        }
    }

    fn change(&self, change: impl FnOnce(&mut EndpointStatus)) {
        let mut status = self.status.lock();
        if status.state != EndpointState::Closed {
            change(&mut status);
        }
    }
}
