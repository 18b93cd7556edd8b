//! Peers and endpoints, as a program is told of them: plain data.
//!
//! Owns the words in which a socket says where it is bound or connected and to whom. Knows nothing of how
//! either comes about.

use std::fmt;
use std::time::Instant;

use crate::error::AttemptError;
use crate::message::PipeId;
use crate::protocol_id::ProtocolId;
use crate::stats::{DropReason, PipeDrops};
use crate::sync::Ordering;

/// The number of one endpoint, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EndpointId(u64);

/// The next endpoint's number. Std's, since a static must be made without a model running.
static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(1);

impl EndpointId {
    /// A number that no other endpoint has.
    pub(crate) fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The bare number, as in metrics.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
        serde(rename = "next_attempt_seconds", serialize_with = "until")
    )]
    pub next_attempt: Option<Instant>,
    /// Pipes it has now.
    pub peers: usize,
}

impl EndpointStatus {
    pub(crate) fn initial(state: EndpointState) -> Self {
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
    #[cfg_attr(feature = "serde", serde(rename = "connected_seconds", serialize_with = "age"))]
    pub since: Instant,
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
    #[cfg_attr(feature = "serde", serde(serialize_with = "crate::stats::write_pipe_drops"))]
    pub(crate) drops: PipeDrops,
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

/// What is known of the two ends of a stream. It is found again in [`Peer`](crate::Peer).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPeer {
    /// Our end, as a URL; empty when the system does not tell.
    pub local: String,
    /// The peer's end, as a URL; empty when the system does not tell.
    pub remote: String,
    /// The process at the other end, where the system vouches for it.
    pub credentials: Option<PeerCredentials>,
}

impl StreamPeer {
    /// Two ends, without credentials.
    pub fn new(local: impl Into<String>, remote: impl Into<String>) -> Self {
        Self { local: local.into(), remote: remote.into(), credentials: None }
    }
}

/// The process at the other end of an ipc connection, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerCredentials {
    /// Process id; `None` where the system does not tell. Advisory: the process may be gone and the
    /// number in use again.
    pub pid: Option<u32>,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl PeerCredentials {
    /// Credentials as the operating system has told them to a transport.
    pub fn new(pid: Option<u32>, uid: u32, gid: u32) -> Self {
        Self { pid, uid, gid }
    }
}

/// `pid 4711, uid 1000, gid 1000`, without what is not known.
impl fmt::Display for PeerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "pid {pid}, ")?;
        }
        write!(f, "uid {}, gid {}", self.uid, self.gid)
    }
}

/// For how many seconds it has been so.
#[cfg(feature = "serde")]
fn age<S: serde::Serializer>(since: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(since.elapsed().as_secs_f64())
}

/// In how many seconds it will be so; zero if it should have been.
#[cfg(feature = "serde")]
fn until<S: serde::Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::Serialize;
    at.map(|at| at.saturating_duration_since(Instant::now()).as_secs_f64()).serialize(serializer)
}
