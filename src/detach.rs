//! Why a pipe is gone: plain data, for the protocols below sockets and for the programs above them.

/// Why a pipe is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DetachReason {
    /// The peer closed the connection, or it was lost.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// Our protocol has no use for another peer.
    #[error("the protocol has no use for another peer")]
    Rejected,
    /// The `admit` callback said no, or panicked.
    #[error("the peer was not admitted")]
    Denied,
    /// `disconnect` was called for it.
    #[error("closed by disconnect")]
    ClosedHere,
    /// It was too slow for [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    #[error("the peer was too slow")]
    TooSlow,
    /// Its endpoint was closed.
    #[error("the endpoint was closed")]
    EndpointClosed,
    /// The socket was closed.
    #[error("the socket was closed")]
    SocketClosed,
    /// The peer announced a message over the limit.
    #[error("the peer announced a message of {announced} bytes, the limit is {limit}")]
    Oversize {
        /// What the peer announced, in bytes, protocol header included.
        announced: u64,
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// The peer broke the framing.
    #[error("the peer broke the framing")]
    Malformed,
    /// An error of the operating system.
    #[error("{0}")]
    Io(String),
}

impl DetachReason {
    /// Whether we closed the pipe, rather than the peer or the network.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Io(_))
    }

    /// Whether we closed the pipe for what the peer had sent.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(self, Self::Oversize { .. } | Self::Malformed)
    }

    /// Whether the far end has yet to be told.
    pub(crate) fn is_closed_by_us(&self) -> bool {
        matches!(self, Self::ClosedHere | Self::TooSlow | Self::EndpointClosed | Self::SocketClosed)
    }
}
