//! Receiving values: the forms of `recv`, for all typed sockets that receive.
//!
//! Owns those calls, and the loop that passes over what is no value.

use std::time::{Duration, Instant};

use super::format::{Error, Misfit, Refuse, Undecoded};
use super::socket::{Formats, Typed};
use crate::api::Socket;
use crate::api::role::{CanRecv, Receives};
use crate::error::RecvError;
use crate::message::Message;
use crate::sync::Arc;
use crate::time;

/// A role whose sockets receive values, in the formats `F`: that of a [`Worker`](super::Worker), of a
/// [`Subscriber`](super::Subscriber), of [`Replies`](super::Replies) or of [`Answers`](super::Answers).
pub trait Reads<F: Formats>: Receives {
    /// What such a socket yields.
    type Value;

    /// Reads what the socket below has received.
    #[doc(hidden)]
    fn read(typed: &Typed<Socket<Self>, F>, received: Self::Item) -> Read<Self::Value>;
}

/// What becomes of a message. `None`: it is no value, and is passed over.
pub(super) type Read<V> = Option<Result<V, Undecoded>>;

/// The calls of a typed socket that receives.
///
/// They yield an `R::Value`: from a [`Worker<T>`](super::Worker) a value `T`, from a
/// [`Subscriber<T>`](super::Subscriber) a [`Published<T>`](super::Published), which has its topic too, and from
/// [`Replies`](super::Replies) and [`Answers`](super::Answers) a [`Query`](super::Query), which is a question with
/// the right to answer it.
impl<R: Reads<F>, F: Formats> Typed<Socket<R, R::Send, CanRecv<R::Item>>, F> {
    /// Receives the next value, waiting up to the receive timeout of the socket, which begins anew after a
    /// message that was no value.
    ///
    /// # Errors
    ///
    /// `TimedOut` or `Closed`; [`Error::Decode`] only if it is [`reporting`](Self::reporting).
    pub fn recv(&self) -> Result<R::Value, Error<RecvError>> {
        until_read(|| self.socket.recv(), |received| R::read(self, received))
    }

    /// Receives the next value if there is one now.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), with `WouldBlock` in place of `TimedOut`.
    pub fn try_recv(&self) -> Result<R::Value, Error<RecvError>> {
        until_read(|| self.socket.try_recv(), |received| R::read(self, received))
    }

    /// Receives the next value, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<R::Value, Error<RecvError>> {
        let end = End::after(timeout);
        until_read(|| self.socket.recv_timeout(end.left()), |received| R::read(self, received))
    }

    /// Receives the next value as a task. Has no timeout of its own.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received no value.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), without `TimedOut`.
    pub fn recv_async(
        &self,
    ) -> impl Future<Output = Result<R::Value, Error<RecvError>>> + Send + use<R, F> {
        let this = self.clone();
        async move {
            loop {
                if let Some(read) = R::read(&this, this.socket.recv_async().await?) {
                    return read.map_err(Error::Decode);
                }
            }
        }
    }

    /// Iterates over the values, waiting for each, until the socket is closed. Passes over what is no
    /// value, also if it is [`reporting`](Self::reporting).
    pub fn iter(&self) -> impl Iterator<Item = R::Value> + '_ {
        std::iter::from_fn(|| next(|| self.recv_timeout(Duration::MAX)))
    }

    /// Returns messages that are no values as [`Error::Decode`], with their bytes, in place of passing
    /// over them.
    #[must_use]
    pub fn reporting(self) -> Self {
        Self { refuse: Arc::new(Refuse::reporting()), ..self }
    }

    /// How many messages were no values.
    pub fn undecoded(&self) -> u64 {
        self.refuse.count()
    }
}

impl<R: Receives, F> Typed<Socket<R>, F> {
    /// Counts a message that is no value. Returns it if it is to be reported.
    #[cold]
    pub(super) fn refused(&self, message: Message, misfit: Misfit) -> Option<Undecoded> {
        self.refuse.note(self.socket.name(), Undecoded::new(message, misfit))
    }
}

/// Receives until there is a value, or something that is to be reported.
pub(super) fn until_read<T, V>(
    recv: impl Fn() -> Result<T, RecvError>,
    read: impl Fn(T) -> Read<V>,
) -> Result<V, Error<RecvError>> {
    loop {
        if let Some(read) = read(recv()?) {
            return read.map_err(Error::Decode);
        }
    }
}

/// The next value, whatever comes between. `None`: there will be none.
pub(super) fn next<V>(recv: impl Fn() -> Result<V, Error<RecvError>>) -> Option<V> {
    loop {
        match recv() {
            Ok(received) => return Some(received),
            Err(Error::Decode(_)) => {}
            Err(_) => return None,
        }
    }
}

/// When a wait ends, which may take several receives. `None`: never.
pub(super) struct End(Option<Instant>);

impl End {
    pub(super) fn after(timeout: Duration) -> Self {
        Self(time::now().checked_add(timeout))
    }

    /// How much time is left.
    pub(super) fn left(&self) -> Duration {
        self.0.map_or(Duration::MAX, |end| end.saturating_duration_since(time::now()))
    }
}
