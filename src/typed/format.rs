//! The form of a typed message: a head of one byte, perhaps a trace context, and what the codec has written.
//!
//! Owns the head, and the versions of a type. Everything here is a function of bytes.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

use super::codec::{Codec, CodecError, Postcard};
use super::trace::Wire as TraceWire;
use crate::message::Message;
use crate::sync::{Arc, AtomicU64, Ordering};

/// The bit of the head that says that a trace context follows.
const TRACED: u8 = 0x80;
/// The version that says that the receiver did not understand.
const NOT_UNDERSTOOD: u8 = 0x7F;
/// The highest version of a type.
const MAX_VERSION: u8 = NOT_UNDERSTOOD - 1;
/// The length of a trace context.
const CONTEXT: usize = 25;
/// Keep a buffer of at most so many bytes for the next value.
const KEPT: usize = 64 << 10;

thread_local! {
    /// Where values are written, before they are copied into a message of the right length.
    static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Which version of a type a socket writes, and which ones it reads.
///
/// A message has the version of its type in its first byte. If a type changes, raise the version, and let
/// receivers read the older ones for as long as there are senders of them:
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use serde::{Deserialize, Serialize};
/// use sinew::typed::{Format, Work, Worker};
///
/// #[derive(Serialize, Deserialize)]
/// struct OldJob(u32);
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct Job { id: u32, urgent: bool }
///
/// let upgrade = |OldJob(id)| Job { id, urgent: false };
/// let work = Work::<OldJob>::new();
/// let worker = Worker::with(sinew::Pull::new(), Format::<Job>::new().version(1).reads(0, upgrade));
/// worker.bind("inproc://format-doc").unwrap();
/// work.connect("inproc://format-doc").unwrap();
/// work.send(&OldJob(7)).unwrap();
/// assert_eq!(worker.recv().unwrap(), Job { id: 7, urgent: false });
/// # }
/// ```
pub struct Format<T, C = Postcard> {
    version: u8,
    /// `None`: no other version. Formats are cloned with messages.
    older: Option<Arc<[Older<T>]>>,
    codec: PhantomData<fn() -> C>,
}

/// A version, and how it is read.
type Older<T> = (u8, Arc<dyn Fn(&[u8]) -> Result<T, CodecError> + Send + Sync>);

impl<T, C: Codec<T>> Format<T, C> {
    /// Writes and reads version 0.
    pub fn new() -> Self {
        Self { version: 0, older: None, codec: PhantomData }
    }

    /// Writes and reads this version, 0 to 126.
    ///
    /// # Panics
    ///
    /// The version is above 126.
    #[must_use]
    pub fn version(mut self, version: u8) -> Self {
        assert!(version <= MAX_VERSION, "version {version}: the highest is {MAX_VERSION}");
        self.version = version;
        self
    }

    /// Reads another version too, whose values are of the type `O`, and makes them values of `T`. Of two for
    /// one version the first counts.
    #[must_use]
    pub fn reads<O>(mut self, version: u8, upgrade: impl Fn(O) -> T + Send + Sync + 'static) -> Self
    where
        C: Codec<O>,
    {
        let read = move |bytes: &[u8]| <C as Codec<O>>::decode(bytes).map(&upgrade);
        let one: Older<T> = (version, Arc::new(read));
        self.older = Some(self.older().iter().cloned().chain([one]).collect());
        self
    }

    /// Writes a message: what stands before it, the head, the context and the value.
    pub(super) fn write(
        &self,
        before: &[u8],
        context: Option<TraceWire>,
        value: &T,
    ) -> Result<Message, CodecError> {
        BUFFER.with(|place| {
            // A value may write others.
            let mut buffer = place.take();
            buffer.clear();
            buffer.extend_from_slice(before);
            match context {
                None => buffer.push(self.version),
                Some(context) => {
                    buffer.push(self.version | TRACED);
                    buffer.extend_from_slice(&context.to_bytes());
                }
            }
            let written = C::encode(value, &mut buffer).map(|()| Message::from(buffer.as_slice()));
            if buffer.capacity() <= KEPT {
                place.set(buffer);
            }
            written
        })
    }

    /// Writes a message without a context.
    pub(crate) fn write_value(&self, before: &[u8], value: &T) -> Result<Message, CodecError> {
        self.write(before, None, value)
    }

    /// Reads a head and a value, whatever context stands between them.
    pub(crate) fn read_value(&self, bytes: &[u8]) -> Result<T, Misfit> {
        self.read(bytes).map(|(value, _)| value)
    }

    /// Reads a head and a value, and the context if there is one.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<(T, Option<TraceWire>), Misfit> {
        let [head, rest @ ..] = bytes else { return Err(Misfit::Empty) };
        let version = head & !TRACED;
        let (context, value) = if head & TRACED == 0 {
            (None, rest)
        } else {
            let (context, value) = rest.split_first_chunk::<CONTEXT>().ok_or(Misfit::Empty)?;
            (Some(TraceWire::of_bytes(context)), value)
        };
        let decoded = if version == self.version {
            C::decode(value)
        } else if version == NOT_UNDERSTOOD {
            return Err(Misfit::NotUnderstood);
        } else {
            match self.older().iter().find(|(older, _)| *older == version) {
                Some((_, read)) => read(value),
                None => return Err(Misfit::Version { found: version, expected: self.version }),
            }
        };
        decoded.map(|value| (value, context)).map_err(Misfit::Value)
    }
}

impl<T, C> Format<T, C> {
    fn older(&self) -> &[Older<T>] {
        self.older.as_deref().unwrap_or_default()
    }
}

/// The answer to a request that was not understood.
pub(super) fn not_understood() -> Message {
    Message::from(&[NOT_UNDERSTOOD])
}

impl<T, C> Clone for Format<T, C> {
    fn clone(&self) -> Self {
        Self { version: self.version, older: self.older.clone(), codec: PhantomData }
    }
}

impl<T, C: Codec<T>> Default for Format<T, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, C> fmt::Debug for Format<T, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let older: Vec<u8> = self.older().iter().map(|(version, _)| *version).collect();
        f.debug_struct("Format").field("version", &self.version).field("reads", &older).finish()
    }
}

/// Why the bytes of a message are no value.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// There is no head, or the trace context that it announces is not whole.
    #[error("it is too short")]
    Empty,
    /// The topic does not end.
    #[error("its topic has no end")]
    NoTopic,
    /// It is of a version that the receiver does not read.
    #[error("it is of version {found}, where {expected} is expected")]
    Version {
        /// The version of the message.
        found: u8,
        /// The version that the receiver writes itself.
        expected: u8,
    },
    /// The codec could not read the value.
    #[error("its value cannot be read: {0}")]
    Value(CodecError),
    /// The peer says that it has not understood the request.
    #[error("the peer has not understood the request")]
    NotUnderstood,
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A message that is no value of the type expected, and why not. `Display` shows its first bytes.
#[derive(Clone)]
pub struct Undecoded(Box<(Message, Misfit)>);

impl Undecoded {
    pub(super) fn new(message: Message, misfit: Misfit) -> Self {
        Self(Box::new((message, misfit)))
    }

    /// Why it does not decode.
    pub fn misfit(&self) -> &Misfit {
        &self.0.1
    }

    /// The message, with all its bytes.
    pub fn message(&self) -> &Message {
        &self.0.0
    }

    /// The message, with all its bytes.
    pub fn into_message(self) -> Message {
        self.0.0
    }
}

impl fmt::Display for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 32;
        let (message, misfit) = &*self.0;
        let shown = message.get(..message.len().min(SHOWN)).unwrap_or_default();
        let more = if message.len() > SHOWN { " …" } else { "" };
        write!(
            f,
            "a message of {} bytes does not decode: {misfit}: {shown:02x?}{more}",
            message.len()
        )
    }
}

impl std::error::Error for Undecoded {}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for Undecoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A call with values has failed.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error<E> {
    /// The call of the socket has failed.
    #[error(transparent)]
    Socket(#[from] E),
    /// The value cannot be written; nothing was sent.
    #[error("the value cannot be written: {0}")]
    Encode(CodecError),
    /// What was received is no value. It is inside.
    #[error("{0}")]
    Decode(Undecoded),
}

/// Writes its sentence, as `Display` does.
impl<E: fmt::Display> fmt::Debug for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a receiver does with messages that are no values.
#[derive(Debug, Default)]
pub(super) struct Refuse {
    is_reported: bool,
    count: AtomicU64,
}

impl Refuse {
    pub(super) fn reporting() -> Self {
        Self { is_reported: true, ..Self::default() }
    }

    /// How many messages were no values.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Counts a message that is no value, and logs the first. Returns it if it is to be reported.
    pub(super) fn note(&self, name: &str, undecoded: Undecoded) -> Option<Undecoded> {
        if self.count.fetch_add(1, Ordering::Relaxed) == 0 {
            crate::contain::record!(
                Warn,
                { socket: name, reason: undecoded },
                "{name}: the first one: {undecoded}"
            );
        }
        self.is_reported.then_some(undecoded)
    }
}

/// The form of a message is read or refused, and what was read is written the same way.
#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) fn fuzz(data: &[u8]) {
    /// The bytes themselves, not more than 8.
    enum Short {}

    impl Codec<Vec<u8>> for Short {
        fn encode(value: &Vec<u8>, out: &mut Vec<u8>) -> Result<(), CodecError> {
            out.extend_from_slice(value);
            Ok(())
        }

        fn decode(bytes: &[u8]) -> Result<Vec<u8>, CodecError> {
            let is_short = bytes.len() <= 8;
            if is_short { Ok(bytes.to_vec()) } else { Err(CodecError::new("too long")) }
        }
    }

    let format = Format::<Vec<u8>, Short>::new().version(3).reads(2, |value: Vec<u8>| value);
    match format.read(data) {
        Ok((value, context)) => {
            let again = format.write(b"", context, &value).expect("the codec never fails");
            assert_eq!(again.get(1..), data.get(1..));
        }
        Err(misfit) => {
            let text = Undecoded::new(data.into(), misfit).to_string();
            assert!(text.len() < 1024 && !text.contains(char::is_control), "{text:?}");
        }
    }
    if let Some((topic, rest)) = super::publish::topic(data) {
        assert_eq!(topic.len() + 1 + rest.len(), data.len());
    }
}
