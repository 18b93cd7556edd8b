//! What is wrong with a WebSocket peer: plain data.

/// Why a WebSocket connection was refused or closed: what the peer did that RFC 6455 or the mapping of the scalability
/// protocols forbids ([wire, section 7](crate::spec::wire#7-ws-and-wss)).
///
/// As [`AttemptError::WebSocket`](crate::AttemptError::WebSocket) it is in the status of an endpoint, for what goes wrong
/// before there is a pipe; as [`DetachReason::WebSocket`](crate::DetachReason::WebSocket) it ends a pipe.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WebSocketError {
    /// What came is no HTTP/1.1, or not well-formed.
    #[error("the peer does not speak HTTP")]
    NotHttp,
    /// The request or response has a head of more than 8 KiB.
    #[error("the peer's HTTP head is longer than {0} bytes")]
    HeadTooLong(usize),
    /// The request or response has more than 64 headers.
    #[error("the peer's HTTP head has more than {0} headers")]
    TooManyHeaders(usize),
    /// The method of the request is not GET.
    #[error("the peer's request is no GET")]
    Method,
    /// The request has a body.
    #[error("the peer's request has a body")]
    Body,
    /// The request does not say exactly once which host it is for.
    #[error("the peer's request has no Host, or several")]
    Host,
    /// The request or response has no `Upgrade: websocket`, or no `Connection: Upgrade`.
    #[error("the peer does not ask for WebSocket, or does not agree to it")]
    NoUpgrade,
    /// The version of WebSocket in the request is not 13.
    #[error("the peer speaks another version of WebSocket than 13")]
    Version,
    /// The key in the request is not 16 bytes in base64.
    #[error("the peer's Sec-WebSocket-Key is none")]
    Key,
    /// Nobody listens at the path of the request.
    #[error("the peer asks for a path where nobody listens")]
    Path,
    /// The request was made by a web page that may not connect.
    #[error("pages of the origin {0:?} may not connect")]
    Origin(String),
    /// The request names no subprotocol, as clients of other kinds do not.
    #[error("the peer names no subprotocol")]
    NoSubprotocol,
    /// No subprotocol in the request is that of a scalability protocol; or the response has another than was asked
    /// for.
    #[error("the peer names a subprotocol that is no scalability protocol, or was not asked for")]
    Subprotocol,
    /// The server has refused the request, with this status.
    #[error("the server refuses: HTTP status {0}")]
    Status(u16),
    /// The response does not have the answer to our key.
    #[error("the peer's Sec-WebSocket-Accept is not the answer to our key")]
    Accept,
    /// The response has an extension, such as compression, that was not offered.
    #[error("the peer uses an extension that was not offered")]
    Extension,
    /// A frame of a client is not masked.
    #[error("the peer sent a frame that is not masked")]
    Unmasked,
    /// A frame of a server is masked.
    #[error("the peer sent a masked frame, which servers must not")]
    Masked,
    /// A frame has reserved bits set, such as that of compression, which was not agreed on.
    #[error("the peer sent a frame with reserved bits")]
    ReservedBits,
    /// A frame is of an unknown kind.
    #[error("the peer sent a frame of unknown opcode {0}")]
    Opcode(u8),
    /// A message is text. Messages of scalability protocols are binary.
    #[error("the peer sent text, messages are binary")]
    Text,
    /// The length of a frame is not in its shortest form, or has its highest bit set.
    #[error("the peer sent a frame with a malformed length")]
    Length,
    /// A control frame has more than 125 bytes, or is a fragment.
    #[error("the peer sent a control frame that is too long or a fragment")]
    Control,
    /// A fragment goes on with a message that has not begun.
    #[error("the peer goes on with a message that has not begun")]
    Continuation,
    /// A message begins before the one before it is complete.
    #[error("the peer begins a message within another")]
    Interleaved,
    /// A close frame has no code, one that may not be sent, or a reason that is no text.
    #[error("the peer sent a malformed close frame")]
    Close,
    /// Pings come faster than 20 a second, after a first 200.
    #[error("the peer sends too many pings")]
    PingFlood,
}

impl WebSocketError {
    /// What went wrong with WebSocket, if an error of a stream is about that.
    pub(crate) fn of(error: &std::io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// The code with which a connection is closed for it.
    pub(crate) fn close_code(&self) -> u16 {
        match self {
            Self::Text => 1003,
            Self::PingFlood => 1008,
            _ => 1002,
        }
    }
}

/// The error as that of a read, which the connection takes apart again.
impl From<WebSocketError> for std::io::Error {
    fn from(error: WebSocketError) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}
