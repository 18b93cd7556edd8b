//! Topics with values: PUB and SUB.
//!
//! A message begins with its topic and a zero byte.

use std::time::Duration;

use super::codec::{Codec, CodecError, Postcard};
use super::format::{Error, Format, Misfit};
use super::receive::{Read, Reads};
use super::socket::Typed;
use crate::api::{Pub, Sub, role};
use crate::error::{Closed, SendError, UnsubscribeError};
use crate::message::Message;

/// PUB with values: sends each to all subscribers of its topic.
///
/// A topic is a text without a zero byte. With [`Conflate::Until(0)`](crate::Conflate) in the options of its
/// socket a slow subscriber gets the newest value of each topic.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use std::time::Duration;
/// use sinew::typed::{Publisher, Subscriber};
///
/// let (publisher, subscriber) = (Publisher::<f64>::new(), Subscriber::<f64>::new());
/// publisher.bind("inproc://publisher-doc").unwrap();
/// subscriber.subscribe("price.").unwrap();
/// subscriber.connect("inproc://publisher-doc").unwrap();
/// publisher.wait_for_peers(1, Duration::from_secs(5)).unwrap();
/// publisher.send("volume.tin", &7.0).unwrap();
/// publisher.send("price.tin", &25.5).unwrap();
/// let published = subscriber.recv().unwrap();
/// assert_eq!((&*published.topic, published.value), ("price.tin", 25.5));
/// # }
/// ```
pub type Publisher<T, C = Postcard> = Typed<Pub, Format<T, C>>;

/// The calls of a [`Publisher`].
impl<T, C: Codec<T>> Publisher<T, C> {
    /// As [`send` of a socket](crate::Socket::send).
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`], also if the topic has a zero byte.
    pub fn send(&self, topic: &str, value: &T) -> Result<(), Error<SendError>> {
        Ok(self.socket.send(self.write(topic, value).map_err(Error::Encode)?)?)
    }

    /// As [`try_send` of a socket](crate::Socket::try_send).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn try_send(&self, topic: &str, value: &T) -> Result<(), Error<SendError>> {
        Ok(self.socket.try_send(self.write(topic, value).map_err(Error::Encode)?)?)
    }

    /// As [`send_timeout` of a socket](crate::Socket::send_timeout).
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_timeout(
        &self,
        topic: &str,
        value: &T,
        timeout: Duration,
    ) -> Result<(), Error<SendError>> {
        Ok(self.socket.send_timeout(self.write(topic, value).map_err(Error::Encode)?, timeout)?)
    }

    /// As [`send_async` of a socket](crate::Socket::send_async). Writes the value now, and sends it at the
    /// first poll.
    ///
    /// # Errors
    ///
    /// As [`send`](Self::send).
    pub fn send_async(
        &self,
        topic: &str,
        value: &T,
    ) -> impl Future<Output = Result<(), Error<SendError>>> + Send + use<T, C> {
        let message = self.write(topic, value);
        let socket = self.socket.clone();
        async move { Ok(socket.send_async(message.map_err(Error::Encode)?).await?) }
    }

    fn write(&self, topic: &str, value: &T) -> Result<Message, CodecError> {
        self.format.write(&ended(topic)?, None, value)
    }
}

/// A topic as it stands in a message.
pub(crate) fn ended(topic: &str) -> Result<Vec<u8>, CodecError> {
    if topic.contains('\0') {
        return Err(CodecError::new("a topic cannot have a zero byte"));
    }
    let mut ended = Vec::with_capacity(topic.len() + 1);
    ended.extend_from_slice(topic.as_bytes());
    ended.push(0);
    Ok(ended)
}

/// The topic of a message, and what follows.
pub(crate) fn topic(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some((&bytes[..end], &bytes[end + 1..]))
}

/// A value that was published.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Published<T> {
    /// Its topic. What is not UTF-8 in it is replaced by U+FFFD.
    pub topic: String,
    /// The value.
    pub value: T,
}

/// SUB with values: receives the values of the topics to which it has subscribed.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use std::time::Duration;
/// use sinew::typed::{Publisher, Subscriber};
///
/// let (publisher, subscriber) = (Publisher::<u32>::new(), Subscriber::<u32>::new());
/// publisher.bind("inproc://subscriber-doc").unwrap();
/// subscriber.subscribe_to("stock.tin").unwrap();
/// subscriber.connect("inproc://subscriber-doc").unwrap();
/// publisher.wait_for_peers(1, Duration::from_secs(5)).unwrap();
/// publisher.send("stock.tin.old", &6).unwrap();
/// publisher.send("stock.tin", &7).unwrap();
/// let published = subscriber.recv().unwrap();
/// println!("{}: {}", published.topic, published.value);
/// # assert_eq!(published.value, 7);
/// # }
/// ```
pub type Subscriber<T, C = Postcard> = Typed<Sub, Format<T, C>>;

/// The calls of a [`Subscriber`] that say what it receives.
impl<T, C> Subscriber<T, C> {
    /// Subscribes to all topics that begin like this: see [`Sub::subscribe`].
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn subscribe(&self, prefix: &str) -> Result<(), Closed> {
        self.socket.subscribe(prefix)
    }

    /// Subscribes to one topic, and none that is longer.
    ///
    /// # Errors
    ///
    /// [`Closed`].
    pub fn subscribe_to(&self, topic: &str) -> Result<(), Closed> {
        self.socket.subscribe(format!("{topic}\0"))
    }

    /// Ends a subscription of [`subscribe`](Self::subscribe).
    ///
    /// # Errors
    ///
    /// As [`Sub::unsubscribe`].
    pub fn unsubscribe(&self, prefix: &str) -> Result<(), UnsubscribeError> {
        self.socket.unsubscribe(prefix)
    }

    /// Ends a subscription of [`subscribe_to`](Self::subscribe_to).
    ///
    /// # Errors
    ///
    /// As [`Sub::unsubscribe`].
    pub fn unsubscribe_from(&self, topic: &str) -> Result<(), UnsubscribeError> {
        self.socket.unsubscribe(format!("{topic}\0"))
    }
}

impl<T, C: Codec<T>> Reads<Format<T, C>> for role::Sub {
    type Value = Published<T>;

    fn read(subscriber: &Subscriber<T, C>, message: Message) -> Read<Published<T>> {
        let read = match topic(&message) {
            Some((topic, rest)) => subscriber.format.read_value(rest).map(|value| Published {
                topic: String::from_utf8_lossy(topic).into_owned(),
                value,
            }),
            None => Err(Misfit::NoTopic),
        };
        match read {
            Ok(published) => Some(Ok(published)),
            Err(misfit) => subscriber.refused(message, misfit).map(Err),
        }
    }
}
