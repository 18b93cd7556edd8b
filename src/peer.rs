//! Peers and endpoints, as a socket reports them: plain data.
//!
//! Owns the types in which a socket says where it is bound or connected, and to which peers. Knows nothing of
//! how endpoints and pipes are made.

use std::fmt;
use std::time::Instant;

use crate::error::AttemptError;
use crate::message::PipeId;
use crate::protocol_id::ProtocolId;
use crate::stats::{DropReason, PipeDrops};
use crate::sync::{Arc, Ordering, statics};

/// The number of one endpoint, unique in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct EndpointId(u64);

/// The number of the next endpoint.
static NEXT: statics::AtomicU64 = statics::AtomicU64::new(1);

impl EndpointId {
    /// A number that no other endpoint has.
    pub(crate) fn next() -> Self {
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Writes the bare number, as in metrics.
impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The status of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointStatus {
    /// What it is doing.
    pub state: EndpointState,
    /// How many attempts a connecting endpoint has begun; 0 for a bound one.
    pub attempts: u64,
    /// The last error of an attempt to connect, of accepting, or of an accepted connection whose peer sent a
    /// wrong header, such as that of a protocol that this socket cannot talk to. A later success does not
    /// clear it.
    ///
    /// For a bound ipc endpoint whose file was removed or replaced it is
    /// [`FileLost`](AttemptError::FileLost), until the file is back.
    pub last_error: Option<AttemptError>,
    /// When the next attempt is due; only in state `Waiting`.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "next_attempt_seconds", serialize_with = "until")
    )]
    pub next_attempt: Option<Instant>,
    /// How many pipes it has now.
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
    /// Attempting to connect, or waiting for an inproc name to be bound.
    Connecting,
    /// Connected.
    Connected,
    /// Waiting for the next attempt, which may come later than it is due: see
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

/// Writes the stable name, as [`EndpointState::name`] returns it.
impl fmt::Display for EndpointState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Writes the state, the number of peers and the last error: `waiting, 3 attempts, 0 peers, last error:
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

/// The peer at the other end of a pipe.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Peer {
    /// The pipe.
    pub pipe: PipeId,
    /// Our endpoint, through which the pipe was made.
    pub endpoint: EndpointId,
    /// The address of that endpoint.
    pub url: String,
    /// Whether we connected to the peer (`true`) or the peer to us.
    pub outgoing: bool,
    /// Our address, as a URL; empty where there is none.
    pub local: String,
    /// The peer's address, as a URL; empty where there is none.
    pub remote: String,
    /// The peer's protocol.
    pub protocol: ProtocolId,
    /// For ipc: the process at the other end, as it was when it connected.
    pub credentials: Option<PeerCredentials>,
    /// For tls+tcp, if the peer has shown a certificate and it was verified: whom it names.
    pub identity: Option<PeerIdentity>,
    /// When the connection was established.
    #[cfg_attr(feature = "serde", serde(rename = "connected_seconds", serialize_with = "age"))]
    pub since: Instant,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = if self.remote.is_empty() { &self.url } else { &self.remote };
        write!(f, "{} at {address}", self.protocol)
    }
}

/// A peer that is connected now, with its queues and counters.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerStatus {
    /// The peer.
    pub peer: Peer,
    /// The messages that wait to be sent to it.
    pub send_queue: QueueStatus,
    /// The messages from it that wait to be received by the program.
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
    /// Drops that concern no single connected peer are only in [`Stats::drops`](crate::Stats::drops): a
    /// message that no PULL peer took, an answer to a peer that is gone.
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.drops(reason)
    }

    /// Every reason with its count, including zeros.
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

/// Writes the peer, how many messages it was sent and has sent, and how many wait: `pull at
/// tcp://127.0.0.1:40312: 7 sent, 2 queued; 0 received, 0 queued`.
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
    /// How many messages are in it.
    pub messages: u64,
    /// How many bytes are in it, protocol headers included.
    pub bytes: u64,
}

impl fmt::Display for QueueStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages, {} bytes", self.messages, self.bytes)
    }
}

/// The two ends of a stream, as a transport reports them for [`Peer`](crate::Peer).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamPeer {
    /// Our address, as a URL; empty when the system does not tell.
    pub local: String,
    /// The peer's address, as a URL; empty when the system does not tell.
    pub remote: String,
    /// The process at the other end, where the system vouches for it.
    pub credentials: Option<PeerCredentials>,
    /// Who the peer has proved to be, where the transport has verified that.
    pub identity: Option<PeerIdentity>,
}

impl StreamPeer {
    /// The addresses of both ends, without credentials and identity.
    pub fn new(local: impl Into<String>, remote: impl Into<String>) -> Self {
        Self { local: local.into(), remote: remote.into(), ..Self::default() }
    }
}

/// The process at the other end of an ipc connection, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct PeerCredentials {
    /// The process id; `None` where the system does not tell. Do not rely on it: the process may be gone
    /// and another one have the number.
    pub pid: Option<u32>,
    /// The user id.
    pub uid: u32,
    /// The group id.
    pub gid: u32,
}

impl PeerCredentials {
    /// Credentials that the operating system has told a transport.
    pub fn new(pid: Option<u32>, uid: u32, gid: u32) -> Self {
        Self { pid, uid, gid }
    }
}

/// Writes `pid 4711, uid 1000, gid 1000`, without a pid that is not known.
impl fmt::Display for PeerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(pid) = self.pid {
            write!(f, "pid {pid}, ")?;
        }
        write!(f, "uid {}, gid {}", self.uid, self.gid)
    }
}

/// Who a peer has proved to be: what its verified certificate says. Clones share the data.
///
/// A peer whose certificate was not verified has none, whatever it has shown: names in such a certificate mean
/// nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerIdentity(Arc<Verified>);

#[derive(Debug, PartialEq, Eq)]
struct Verified {
    certificates: Vec<Vec<u8>>,
    names: Vec<String>,
    common_name: Option<String>,
}

impl PeerIdentity {
    /// The identity of a peer whose certificate a transport has verified. `certificates`: in DER, that of the peer
    /// first. `names`: its alternative names, with nothing that says of which kind they are. `common_name`: of its
    /// subject.
    pub fn new(
        certificates: Vec<Vec<u8>>,
        names: Vec<String>,
        common_name: Option<String>,
    ) -> Self {
        Self(Arc::new(Verified { certificates, names, common_name }))
    }

    /// The certificates that the peer has shown, in DER: its own, which was verified, and those of the authorities
    /// between it and one that we trust.
    pub fn certificates(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.0.certificates.iter().map(Vec::as_slice)
    }

    /// The alternative names of the subject, in the certificate's order: names of hosts, IP addresses, mail
    /// addresses and URIs. Other kinds are left out.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.names.iter().map(String::as_str)
    }

    /// The common name of the subject, if it has one. Free text, which no authority need have checked as a name of a
    /// host.
    pub fn common_name(&self) -> Option<&str> {
        self.0.common_name.as_deref()
    }
}

/// Writes the names, without the bytes of the certificates.
impl fmt::Debug for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verified { certificates, names, common_name } = &*self.0;
        f.debug_struct("PeerIdentity")
            .field("common_name", common_name)
            .field("names", names)
            .field("certificates", &certificates.len())
            .finish()
    }
}

/// Writes the common name, or the first of the other names.
impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.common_name().or_else(|| self.names().next());
        f.pad(name.unwrap_or("a peer without a name"))
    }
}

/// Writes how many seconds have passed since then.
#[cfg(feature = "serde")]
fn age<S: serde::Serializer>(since: &Instant, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(crate::time::since(*since).as_secs_f64())
}

/// Writes how many seconds will pass until then; zero if the time is over.
#[cfg(feature = "serde")]
fn until<S: serde::Serializer>(at: &Option<Instant>, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::Serialize;
    at.map(|at| at.saturating_duration_since(crate::time::now()).as_secs_f64())
        .serialize(serializer)
}
