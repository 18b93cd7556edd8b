//! What can be wrong with a program's own part of TLS.

use std::fmt;
use std::io;

/// A [`TlsConfig`](crate::tls::TlsConfig) could not be made.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsConfigError {
    /// A file cannot be read.
    #[error("cannot read {path:?}: {message}")]
    Read {
        /// The file.
        path: std::path::PathBuf,
        /// The class of the error.
        kind: io::ErrorKind,
        /// The operating system's words.
        message: String,
    },
    /// A text is not PEM.
    #[error("what should be PEM is not: {0}")]
    Pem(String),
    /// There is no certificate in a text.
    #[error("there is no certificate in what should have one")]
    NoCertificate,
    /// There is no private key in a text.
    #[error("there is no private key in what should have one")]
    NoKey,
    /// A certificate, or a list of revoked ones, is of no use.
    #[error("a certificate cannot be used: {0}")]
    Certificate(String),
    /// A private key is of no use.
    #[error("a private key cannot be used: {0}")]
    Key(String),
    /// The private key is not that of the certificate.
    #[error("the private key is not that of the certificate")]
    KeyMismatch,
    /// There are no authorities: none was given, and the system has none, or they do not count.
    #[error("there are no authorities by which to verify anybody")]
    NoAuthorities,
    /// Nobody can have a certificate for such a name.
    #[error("nobody can have a certificate for {0:?}")]
    Name(String),
    /// The cryptography that the program has installed cannot do what is needed.
    #[error("the cryptography does not suffice: {0}")]
    Provider(String),
    /// A listener needs a certificate, and there is none.
    #[error("there is no certificate to show to those who connect")]
    NoOwnCertificate,
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for TlsConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
