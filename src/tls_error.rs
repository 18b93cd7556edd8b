//! What goes wrong with TLS.
//!
//! Owns the words. A transport returns one of these inside an [`io::Error`]; the crate takes it out again, so that a
//! program sees in the status of an endpoint, in a pipe event and in the error of `connect_now` what it was.

use std::io;

/// Why a peer and we have no connection over TLS, or no longer.
///
/// It is in [`AttemptError::Tls`](crate::AttemptError::Tls) and [`DetachReason::Tls`](crate::DetachReason::Tls). A
/// transport of a program's own may return one as the cause of an [`io::Error`]: `TlsError::Expired.into()`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The peer's first bytes are no TLS: it speaks the plain protocol, or another one.
    #[error("the peer does not speak TLS")]
    NotTls,
    /// The peer and we have no version of TLS, or no method, in common.
    #[error("the peer and we have no way of TLS in common: {0}")]
    Incompatible(String),
    /// The peer's certificate, or that of an authority above it, has expired.
    #[error("the peer's certificate has expired")]
    Expired,
    /// The peer's certificate, or that of an authority above it, begins to be valid later. Is our clock right?
    #[error("the peer's certificate is not valid yet")]
    NotYetValid,
    /// The certificate is one of another peer.
    #[error("the peer's certificate is not for {expected:?}")]
    WrongName {
        /// The host in the address, or the name that was set in its place.
        expected: String,
    },
    /// No authority that we trust has issued the peer's certificate.
    #[error("no authority that we trust has issued the peer's certificate")]
    UnknownAuthority,
    /// The authority has revoked the peer's certificate.
    #[error("the peer's certificate is revoked")]
    Revoked,
    /// The peer must show a certificate, and has not.
    #[error("the peer has shown no certificate")]
    NoCertificate,
    /// The peer's certificate cannot be verified for another reason.
    #[error("the peer's certificate cannot be verified: {0}")]
    BadCertificate(String),
    /// The peer has ended TLS with an alert, which says why in a word or two: what it thinks of our certificate, say.
    #[error("the peer has refused us: {0}")]
    Alert(String),
    /// The connection has ended, and the peer has not ended TLS before: somebody on the way may have cut it off.
    #[error("the connection was cut off before the peer had ended TLS")]
    Truncated,
    /// The peer asks again and again for another handshake, which is never made.
    #[error("the peer wants to negotiate again")]
    Renegotiation,
    /// The peer's handshake is longer than this many bytes.
    #[error("the peer's handshake has more than {0} bytes")]
    TooLong(usize),
    /// The peer has broken TLS in another way, or somebody has changed its bytes on the way.
    #[error("the peer has broken TLS: {0}")]
    Broken(String),
    /// We are not set up to connect.
    #[error("TLS is not set up: {0}")]
    Setup(String),
}

impl From<TlsError> for io::Error {
    fn from(error: TlsError) -> Self {
        let kind = match error {
            TlsError::Truncated => io::ErrorKind::UnexpectedEof,
            TlsError::Setup(_) => io::ErrorKind::InvalidInput,
            _ => io::ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}

impl TlsError {
    /// What went wrong with TLS, if an error of a stream is about that.
    pub(crate) fn of(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}
