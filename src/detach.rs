//! Why a pipe is gone: plain data, for protocols, sockets and programs.

use crate::tls_error::TlsError;
#[cfg(feature = "ws")]
use crate::websocket::WebSocketError;

/// Why a pipe is gone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum DetachReason {
    /// The peer closed the connection, or the connection was lost.
    #[error("the peer closed the connection")]
    PeerClosed,
    /// The peer, or the network on the way to it, did not answer for as long as
    /// [`tcp_keepalive`](crate::Options::tcp_keepalive) allows.
    #[error("the peer has been silent for too long")]
    Silent,
    /// Our protocol has no use for another peer.
    #[error("the protocol has no use for another peer")]
    Rejected,
    /// The socket or the listener has as many peers as [`max_peers`](crate::Options::max_peers) allows.
    #[error("there are as many peers as may be")]
    TooManyPeers,
    /// The `admit` callback said no, or panicked.
    #[error("the peer was not admitted")]
    Denied,
    /// The program called `disconnect`.
    #[error("closed by disconnect")]
    ClosedHere,
    /// The peer was too slow for [`Overflow::Disconnect`](crate::Overflow::Disconnect).
    #[error("the peer was too slow")]
    TooSlow,
    /// The endpoint of the pipe was closed.
    #[error("the endpoint was closed")]
    EndpointClosed,
    /// The socket was closed.
    #[error("the socket was closed")]
    SocketClosed,
    /// The peer announced a message over the limit.
    #[error("the peer announced a message of {announced} bytes, the limit is {limit}")]
    Oversize {
        /// The length that the peer announced, in bytes, protocol header included.
        announced: u64,
        /// The length that is allowed, in bytes.
        limit: u64,
    },
    /// The peer broke the framing.
    #[error("the peer broke the framing")]
    Malformed,
    /// No more of a message that had begun came within [`frame_timeout`](crate::Options::frame_timeout).
    #[error("the rest of a message did not come")]
    FrameTimedOut,
    /// TLS with the peer has come to an end that is none, or the peer has refused us.
    #[error("{0}")]
    Tls(TlsError),
    /// The peer broke the rules of WebSocket.
    #[cfg(feature = "ws")]
    #[error("{0}")]
    WebSocket(WebSocketError),
    /// An error of the operating system.
    #[error("{0}")]
    Io(String),
}

impl DetachReason {
    /// Whether we closed the pipe, rather than the peer or the network.
    pub(crate) fn is_ours(&self) -> bool {
        !matches!(self, Self::PeerClosed | Self::Silent | Self::Tls(_) | Self::Io(_))
    }

    /// Whether we closed the pipe because of what the peer had sent.
    pub(crate) fn is_fault(&self) -> bool {
        match self {
            Self::Oversize { .. } | Self::Malformed => true,
            #[cfg(feature = "ws")]
            Self::WebSocket(_) => true,
            _ => false,
        }
    }

    /// Whether the far end must still be told, because a call on our side closed the pipe.
    pub(crate) fn is_closed_by_us(&self) -> bool {
        matches!(self, Self::ClosedHere | Self::TooSlow | Self::EndpointClosed | Self::SocketClosed)
    }
}
