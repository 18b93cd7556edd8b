//! How the tool can fail, and the status it then exits with.
//!
//! Owns the one error of the tool. Only this file and `dialect.rs` decide what a failure is called and which
//! status a script sees.

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use sinew::tls::TlsConfigError;
use sinew::{BindError, ConnectError, OptionError, RecvError, ReplyError, RequestError, SendError};

/// Why the tool has not done what was asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The command line makes no sense.
    #[error("{0}")]
    Usage(String),
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File { path: PathBuf, source: io::Error },
    /// Standard output takes nothing more.
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    /// The reader of standard output is gone, which is no fault.
    #[error("nobody reads standard output any more")]
    OutputClosed,
    /// A call of the library has failed.
    #[error("{0}")]
    Library(String),
    /// A time limit was over before anything came.
    #[error("timed out: {0}")]
    TimedOut(String),
    /// A time limit was over before everything had gone out.
    #[error("timed out: {0}")]
    Late(String),
    /// The socket was closed, which only a signal does.
    #[error("the socket is closed")]
    Closed,
}

impl Failure {
    /// The status of the process. 0: ok, 1: usage, 2: file, 3: library or transport, 4: timed out.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::OutputClosed => 0,
            Self::Usage(_) => 1,
            Self::File { .. } | Self::Output(_) => 2,
            Self::Library(_) | Self::Late(_) | Self::Closed => 3,
            Self::TimedOut(_) => 4,
        }
    }

    /// The failure of a library call for which there is no better variant.
    pub(crate) fn library(error: impl std::error::Error) -> Self {
        Self::Library(error.to_string())
    }
}

/// Prints on standard error, whether or not anybody reads it.
pub(crate) fn tell(what: impl Display) {
    let _ = writeln!(io::stderr(), "sinewcat: {what}");
}

/// A result of the tool.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl From<io::Error> for Failure {
    /// An error of standard output: the tool writes nowhere else.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Output(error),
        }
    }
}

impl From<serde_json::Error> for Failure {
    fn from(error: serde_json::Error) -> Self {
        Self::from(io::Error::from(error))
    }
}

impl From<SendError> for Failure {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Closed(_) => Self::Closed,
            SendError::TooLarge { .. } => Self::Library(format!("{error} (see --recv-maxsz)")),
            SendError::TimedOut(..) => Self::Late("nobody took the message".to_owned()),
            error => Self::library(error),
        }
    }
}

impl<T> From<ReplyError<T>> for Failure {
    fn from(error: ReplyError<T>) -> Self {
        Self::from(error.into_parts().1)
    }
}

impl From<RecvError> for Failure {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Closed => Self::Closed,
            RecvError::TimedOut(_) => Self::TimedOut("nothing came".to_owned()),
            error => Self::library(error),
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Closed(_) => Self::Closed,
            RequestError::TooLarge { .. } => Self::Library(format!("{error} (see --recv-maxsz)")),
            RequestError::TimedOut(..) => Self::TimedOut("no reply came".to_owned()),
            error => Self::library(error),
        }
    }
}

impl From<BindError> for Failure {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Closed => Self::Closed,
            error => Self::library(error),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Closed => Self::Closed,
            error => Self::library(error),
        }
    }
}

impl From<TlsConfigError> for Failure {
    fn from(error: TlsConfigError) -> Self {
        match error {
            TlsConfigError::Read { path, kind, message } => {
                Self::File { path, source: io::Error::new(kind, message) }
            }
            error => Self::library(error),
        }
    }
}

impl From<OptionError> for Failure {
    fn from(error: OptionError) -> Self {
        Self::library(error)
    }
}
