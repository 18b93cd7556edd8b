//! Work with values: PUSH and PULL.

use std::fmt;
use std::time::Duration;

use super::codec::{Codec, Postcard};
use super::format::{Error, Format, Refuse, Undecoded};
use super::left;
use crate::api::{Pull, Push};
use crate::error::{BindError, Closed, ConnectError, RecvError, SendError, WaitError};
use crate::message::Message;
use crate::pipe::endpoint::Endpoint;
use crate::sync::Arc;
use crate::time;

/// PUSH with values: hands each out to one worker that has room for it.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use sinew::typed::{Work, Worker};
///
/// let (work, worker) = (Work::<(String, u32)>::new(), Worker::<(String, u32)>::new());
/// worker.bind("inproc://work-doc").unwrap();
/// work.connect("inproc://work-doc").unwrap();
/// work.send(&("resize".to_owned(), 7)).unwrap();
/// assert_eq!(worker.recv().unwrap(), ("resize".to_owned(), 7));
/// # }
/// ```
pub struct Work<T, C = Postcard> {
    socket: Push,
    format: Format<T, C>,
}

common!(Work<T>, Push);

impl<T, C> Clone for Work<T, C> {
    fn clone(&self) -> Self {
        Self { socket: self.socket.clone(), format: self.format.clone() }
    }
}

impl<T, C: Codec<T>> Default for Work<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, C: Codec<T>> Work<T, C> {
    /// Makes one with a socket of its own, with the defaults.
    pub fn new() -> Self {
        Self::with(Push::new(), Format::new())
    }

    /// Makes one of a socket, with the format of its values.
    pub fn with(socket: Push, format: Format<T, C>) -> Self {
        Self { socket, format }
    }

    /// As [`send` of a socket](crate::Socket::send).
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`].
    pub fn send(&self, value: &T) -> Result<(), Error<SendError>> {
        Ok(self.socket.send(self.write(value)?)?)
    }

    /// As [`try_send` of a socket](crate::Socket::try_send).
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`].
    pub fn try_send(&self, value: &T) -> Result<(), Error<SendError>> {
        Ok(self.socket.try_send(self.write(value)?)?)
    }

    /// As [`send_timeout` of a socket](crate::Socket::send_timeout).
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`].
    pub fn send_timeout(&self, value: &T, timeout: Duration) -> Result<(), Error<SendError>> {
        Ok(self.socket.send_timeout(self.write(value)?, timeout)?)
    }

    /// As [`send_async` of a socket](crate::Socket::send_async). Writes the value now, and sends it at the
    /// first poll.
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`].
    pub fn send_async(
        &self,
        value: &T,
    ) -> impl Future<Output = Result<(), Error<SendError>>> + Send + use<T, C> {
        let message = self.format.write(b"", None, value);
        let socket = self.socket.clone();
        async move { Ok(socket.send_async(message.map_err(Error::Encode)?).await?) }
    }

    fn write(&self, value: &T) -> Result<Message, Error<SendError>> {
        self.format.write_value(b"", value).map_err(Error::Encode)
    }
}

/// PULL with values: receives what is handed out by [`Work`].
pub struct Worker<T, C = Postcard> {
    socket: Pull,
    format: Format<T, C>,
    refuse: Arc<Refuse>,
}

common!(Worker<T>, Pull);

impl<T, C> Clone for Worker<T, C> {
    fn clone(&self) -> Self {
        let Self { socket, format, refuse } = self;
        Self { socket: socket.clone(), format: format.clone(), refuse: Arc::clone(refuse) }
    }
}

impl<T, C: Codec<T>> Default for Worker<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, C: Codec<T>> Worker<T, C> {
    /// Makes one with a socket of its own, with the defaults.
    pub fn new() -> Self {
        Self::with(Pull::new(), Format::new())
    }

    /// Makes one of a socket, with the format of its values.
    pub fn with(socket: Pull, format: Format<T, C>) -> Self {
        Self { socket, format, refuse: Arc::default() }
    }

    receives!(T, T, C);

    fn read(&self, message: Message) -> Option<Result<T, Undecoded>> {
        match self.format.read(&message) {
            Ok((value, _)) => Some(Ok(value)),
            Err(misfit) => self.refused(Undecoded::new(message, misfit)).map(Err),
        }
    }
}
