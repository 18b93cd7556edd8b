//! What any socket reports about itself, whatever its type.
//!
//! Owns [`Observe`], which all sockets implement, the [`Snapshot`] of all that a socket reports, and the trait
//! that seals public traits. Only reads what others count.

use std::fmt;

use crate::peer::{EndpointId, EndpointStatus, PeerStatus};
use crate::pipe::endpoint::{Endpoint, does};
use crate::protocol_id::ProtocolId;
use crate::stats::Stats;

/// Seals public traits, so that they can grow.
pub(crate) trait Sealed {}

/// What any socket reports: typed and raw sockets, and both sides of a device.
///
/// Sockets of different types go into one list as `&dyn Observe` or `Box<dyn Observe>`, to be inspected in one
/// place. No call waits for the network or for other calls. Implemented by this crate only.
///
/// ```
/// use sinew::metrics::Observe;
///
/// let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
/// let all: [&dyn Observe; 2] = [&push, &pull];
/// let sent: u64 = all.iter().map(|socket| socket.stats().messages_sent).sum();
/// assert_eq!(sent, 0);
/// ```
#[expect(private_bounds, reason = "made here only")]
pub trait Observe: Sealed + Send + Sync + fmt::Debug {
    /// The name in log records and metrics: [`Options::name`](crate::Options::name), or the socket type and a
    /// number. Names need not be unique.
    fn name(&self) -> &str;

    /// The protocol it speaks.
    fn protocol(&self) -> ProtocolId;

    /// What it has done so far. Also after close.
    fn stats(&self) -> Stats;

    /// The peers that are connected now, in no particular order. None after close.
    fn peers(&self) -> Vec<PeerStatus>;

    /// Its open endpoints, in the order in which they were made. None after close.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// Whether it has been closed.
    fn is_closed(&self) -> bool;

    /// All of the above at once, as data.
    fn snapshot(&self) -> Snapshot {
        Snapshot {
            name: self.name().to_owned(),
            protocol: self.protocol(),
            closed: self.is_closed(),
            endpoints: self.endpoints().iter().map(EndpointSnapshot::of).collect(),
            peers: self.peers(),
            stats: self.stats(),
        }
    }
}

/// All that a socket reports, at about one moment.
///
/// The parts are read one after the other while messages pass, so they may differ by what happened in between:
/// a peer in the list need not be in the count of connections.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Snapshot {
    /// The socket's name; see [`Options::name`](crate::Options::name).
    pub name: String,
    /// The protocol it speaks.
    pub protocol: ProtocolId,
    /// Whether it has been closed.
    pub closed: bool,
    /// What it has done so far.
    pub stats: Stats,
    /// Where it is bound and connected, in the order of the calls.
    pub endpoints: Vec<EndpointSnapshot>,
    /// The peers that are connected, in no particular order.
    pub peers: Vec<PeerStatus>,
}

/// One endpoint of a [`Snapshot`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct EndpointSnapshot {
    /// Its number, as found in [`Peer`](crate::Peer).
    pub id: EndpointId,
    /// Its address, with the real port where port 0 was asked for.
    pub url: String,
    /// Whether it accepts connections (`true`) or makes them (`false`).
    pub listening: bool,
    /// What it is doing, and its last error.
    pub status: EndpointStatus,
}

impl EndpointSnapshot {
    fn of(endpoint: &Endpoint) -> Self {
        Self {
            id: endpoint.id(),
            url: endpoint.url(),
            listening: endpoint.is_listening(),
            status: endpoint.status(),
        }
    }
}

/// Writes text for people: the name, the protocol, and whether the socket is open; then a line for each
/// endpoint, each peer, and each figure that is not zero. Each line ends with a line feed.
///
/// Do not parse it: any version may change it. Programs use the fields, or
/// [`Metrics`](crate::metrics::Metrics).
///
/// ```
/// use sinew::{Options, Push, metrics::Observe};
/// let push = Push::with_options(Options::new().name("jobs"))?;
/// assert_eq!(push.snapshot().to_string(), "jobs: push, open\n");
/// # Ok::<(), sinew::OptionError>(())
/// ```
impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.closed { "closed" } else { "open" };
        writeln!(f, "{}: {}, {state}", self.name, self.protocol)?;
        for endpoint in &self.endpoints {
            writeln!(f, "  {endpoint}")?;
        }
        for peer in &self.peers {
            writeln!(f, "  {peer}")?;
        }
        write_indented(f, &self.stats)
    }
}

/// Writes the direction, the address and the status: `bound to tcp://127.0.0.1:5555: listening, 2 peers`.
impl fmt::Display for EndpointSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", does(self.listening), self.url, self.status)
    }
}

/// Figures as the part of something larger.
pub(super) fn write_indented(f: &mut fmt::Formatter<'_>, stats: &Stats) -> fmt::Result {
    stats.to_string().lines().try_for_each(|line| writeln!(f, "  {line}"))
}
