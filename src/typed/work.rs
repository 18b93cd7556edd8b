//! Work with values: PUSH and PULL.

use std::time::Duration;

use super::codec::{Codec, Postcard};
use super::format::{Error, Format};
use super::receive::{Read, Reads};
use super::socket::Typed;
use crate::api::{Pull, Push, role};
use crate::error::SendError;
use crate::message::Message;

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
///
/// It cannot receive:
///
/// ```compile_fail,E0599
/// fn receive(work: sinew::typed::Work<u32>) {
///     work.recv();
/// }
/// ```
pub type Work<T, C = Postcard> = Typed<Push, Format<T, C>>;

/// The calls of [`Work`].
impl<T, C: Codec<T>> Work<T, C> {
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
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use sinew::typed::{Work, Worker};
///
/// let (work, worker) = (Work::<u32>::new(), Worker::<u32>::new());
/// worker.bind("inproc://worker-doc").unwrap();
/// work.connect("inproc://worker-doc").unwrap();
/// std::thread::spawn(move || (1..=3).try_for_each(|number| work.send(&number)));
/// assert_eq!(worker.iter().take(3).sum::<u32>(), 6);
/// # }
/// ```
///
/// It cannot send:
///
/// ```compile_fail,E0599
/// fn send(worker: sinew::typed::Worker<u32>) {
///     worker.send(&7);
/// }
/// ```
pub type Worker<T, C = Postcard> = Typed<Pull, Format<T, C>>;

impl<T, C: Codec<T>> Reads<Format<T, C>> for role::Pull {
    type Value = T;

    fn read(worker: &Worker<T, C>, message: Message) -> Read<T> {
        match worker.format.read_value(&message) {
            Ok(value) => Some(Ok(value)),
            Err(misfit) => worker.refused(message, misfit).map(Err),
        }
    }
}
