//! The socket with values, generic over the socket below, and the calls that every one has.
//!
//! Owns [`Typed`]. The forms of `recv` are in `receive.rs`, and calls that only some have in the files of these.

use std::fmt;
use std::time::Duration;

use super::format::{Format, Refuse};
use crate::api::Socket;
use crate::api::role::Role;
use crate::error::{BindError, Closed, ConnectError, WaitError};
use crate::pipe::endpoint::Endpoint;
use crate::sync::Arc;

/// A socket with values in place of bytes: on the socket `S`, in the formats `F`.
///
/// Programs name it by aliases, one for each kind of socket: [`Work`](super::Work), [`Replies`](super::Replies).
/// `F` is a [`Format`] where all values are of one type, and where they are questions and answers the pair of
/// their formats.
///
/// A handle, as the socket below is: cloning it makes another one.
///
/// A function over several kinds names this type:
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use sinew::typed::{Error, Formats, Reads, Typed, Work, Worker};
/// use sinew::{RecvError, Socket};
///
/// type Received<T> = Result<T, Error<RecvError>>;
///
/// fn first<R: Reads<F>, F: Formats>(socket: &Typed<Socket<R>, F>) -> Received<R::Value> {
///     socket.recv()
/// }
///
/// let (work, worker) = (Work::<u32>::new(), Worker::<u32>::new());
/// worker.bind("inproc://typed-doc").unwrap();
/// work.connect("inproc://typed-doc").unwrap();
/// work.send(&7).unwrap();
/// assert_eq!(first(&worker).unwrap(), 7);
/// # }
/// ```
#[derive(Clone)]
pub struct Typed<S, F> {
    pub(super) socket: S,
    pub(super) format: F,
    /// Messages that are no values, if it receives any.
    pub(super) refuse: Arc<Refuse>,
}

/// The formats of a typed socket: a [`Format`], or the pair of those of questions and of answers.
#[expect(private_bounds, reason = "made here only")]
pub trait Formats: Sealed + Clone + Send + Sync {}

impl<T, C> Formats for Format<T, C> {}

impl<Q, A, C> Formats for (Format<Q, C>, Format<A, C>) {}

trait Sealed {}

impl<T, C> Sealed for Format<T, C> {}

impl<Q, A, C> Sealed for (Format<Q, C>, Format<A, C>) {}

/// The calls of every typed socket.
impl<R: Role, F> Typed<Socket<R>, F> {
    /// Makes one with a socket of its own, with the defaults.
    pub fn new() -> Self
    where
        F: Default,
    {
        Self::made(Socket::new(), F::default())
    }

    fn made(socket: Socket<R>, format: F) -> Self {
        Self { socket, format, refuse: Arc::default() }
    }

    /// The socket below.
    pub fn socket(&self) -> &Socket<R> {
        &self.socket
    }

    /// As [`Socket::bind`](crate::Socket::bind).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn bind(&self, url: impl AsRef<str>) -> Result<Endpoint, BindError> {
        self.socket.bind(url)
    }

    /// As [`Socket::connect`](crate::Socket::connect).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn connect(&self, url: impl AsRef<str>) -> Result<Endpoint, ConnectError> {
        self.socket.connect(url)
    }

    /// As [`Socket::wait_for_peers`](crate::Socket::wait_for_peers).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
        self.socket.wait_for_peers(peers, timeout)
    }

    /// As [`Socket::close`](crate::Socket::close).
    ///
    /// # Errors
    ///
    /// As there.
    pub fn close(&self) -> Result<(), Closed> {
        self.socket.close()
    }
}

/// Where all values are of one type.
impl<R: Role, T, C> Typed<Socket<R>, Format<T, C>> {
    /// Makes one of a socket, with the format of its values.
    pub fn with(socket: Socket<R>, format: Format<T, C>) -> Self {
        Self::made(socket, format)
    }
}

/// Where values are questions and answers.
impl<R: Role, Q, A, C> Typed<Socket<R>, (Format<Q, C>, Format<A, C>)> {
    /// Makes one of a socket, with the formats of questions and answers.
    pub fn with(socket: Socket<R>, asked: Format<Q, C>, answered: Format<A, C>) -> Self {
        Self::made(socket, (asked, answered))
    }
}

impl<R: Role, F: Default> Default for Typed<Socket<R>, F> {
    fn default() -> Self {
        Self::new()
    }
}

/// Writes the socket below: `Typed(Push(push-1))`.
impl<S: fmt::Debug, F> fmt::Debug for Typed<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Typed").field(&self.socket).finish()
    }
}
