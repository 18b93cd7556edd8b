//! Messages: what a program sends and receives, and what a pipe carries.
//!
//! Owns the two forms of a message. A [`Message`] is what the program sees: a body, and the pipe that it
//! came on. A [`Frame`] is what crosses a pipe: the bytes of one SP message as on the wire, the protocol
//! header followed by the body. Knows nothing of protocols or transports.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use std::borrow::Cow;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::ops::Deref;
use std::string::FromUtf8Error;

use bytes::{Buf, Bytes, BytesMut};

use crate::body::{self, Body};
use crate::sync::Arc;

/// The number of one pipe: unique among the live pipes of the process, 1 to 0x7FFF_FFFF.
///
/// Numbers start at a random point. No two live pipes of the process have the same number; when a pipe is
/// gone, its number may be used again ([wire, section 9](crate::spec::wire#9-id-allocation)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipeId(NonZeroU32);

impl PipeId {
    /// The largest number that a pipe can have: 31 bits, because the top bit marks the end of a backtrace.
    pub(crate) const MAX: u32 = 0x7FFF_FFFF;

    /// The id `n`; `None` if `n` is outside 1..=0x7FFF_FFFF.
    pub(crate) fn new(n: u32) -> Option<Self> {
        (n <= Self::MAX).then(|| NonZeroU32::new(n).map(Self)).flatten()
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for PipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl fmt::Debug for PipeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PipeId({})", self.0)
    }
}

/// A message: any number of bytes, including none.
///
/// Cloning is cheap and shares the bytes, which never change. A call such as `send("hello")` converts its
/// argument. The conversions cost:
///
/// | made from | the bytes are |
/// |---|---|
/// | `String`, `Vec<u8>`, `Box<str>`, `Box<[u8]>`, [`Bytes`], [`BytesMut`], another message, a `Cow` that owns | moved |
/// | `Arc<[u8]>` | shared, for one small allocation |
/// | anything borrowed, a `Cow` that borrows | copied, once |
///
/// In the other direction [`into_bytes`](Self::into_bytes) copies nothing. `Vec::from` and `String::try_from`
/// copy, unless the message is the sole owner of the vector that it was made from. `String::try_from` fails on
/// bytes that are not UTF-8, and there is no `String::from`:
///
/// ```compile_fail,E0277
/// let text = String::from(sinew::Message::new()); // the compiler names `to_text` and `try_from`
/// ```
///
/// ```
/// use sinew::Message;
/// let message = Message::from("hello");
/// assert_eq!(message, "hello");
/// assert_eq!(message.len(), 5);
/// assert_eq!(message.pipe(), None); // not received from anyone
/// ```
#[derive(Clone, Default)]
#[doc(alias("nn_msg", "nng_msg", "zmq_msg_t"))]
pub struct Message {
    body: Body,
    /// The header that a raw socket has received, or is to send. Boxed, because few messages have one and
    /// all messages are moved about.
    header: Option<Box<Bytes>>,
    pipe: Option<PipeId>,
}

impl Message {
    /// An empty message.
    pub fn new() -> Self {
        Self::default()
    }

    /// A message that arrived on `pipe`.
    #[inline]
    pub(crate) fn received(body: impl Into<Body>, pipe: PipeId) -> Self {
        Self { body: body.into(), header: None, pipe: Some(pipe) }
    }

    /// Replaces the protocol header, for a raw socket to send.
    ///
    /// An empty header is the same as none. All other sockets ignore it. [`raw`](crate::raw) describes the
    /// headers.
    #[must_use]
    pub fn with_header(self, header: impl Into<Bytes>) -> Self {
        Self { header: Some(Box::new(header.into())), ..self }
    }

    /// The protocol header that a raw socket has received with the message; empty if there is none.
    #[doc(alias("nng_msg_header"))]
    pub fn header(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        self.header.as_deref().unwrap_or(&NONE)
    }

    /// The bytes of the message.
    #[inline]
    #[doc(alias("nng_msg_body", "zmq_msg_data"))]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The bytes of the message, for a send to take.
    #[inline]
    pub(crate) fn body_mut(&mut self) -> &mut Bytes {
        &mut self.body
    }

    /// The bytes of the message, without copying them.
    #[inline]
    pub fn into_bytes(self) -> Bytes {
        self.body.into_bytes()
    }

    /// The pipe that the message was received on; `None` for a message that was not received.
    ///
    /// The pipe may be gone by now. The id can be compared with those in `peers()` and in pipe events.
    #[doc(alias("nng_msg_get_pipe"))]
    pub fn pipe(&self) -> Option<PipeId> {
        self.pipe
    }

    /// The message as text, with every invalid sequence replaced by U+FFFD. Copies only if there is one.
    #[doc(alias("String", "from_utf8", "to_string", "into_string"))]
    pub fn to_text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.body)
    }
}

impl Deref for Message {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.body
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

/// Writes the message as [`Message::to_text`] returns it; width and the like have the same effect as for
/// `str`.
impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.to_text())
    }
}

/// Writes the length, the first 64 bytes, and the pipe of a received message.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 64;
        let shown = self.body.slice(..self.body.len().min(SHOWN));
        let more = if self.body.len() > SHOWN { "…" } else { "" };
        write!(f, "Message({} bytes, {shown:?}{more}", self.body.len())?;
        if let Some(pipe) = self.pipe {
            write!(f, ", pipe {pipe}")?;
        }
        f.write_str(")")
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Self { body: bytes.into(), header: None, pipe: None }
    }
}

impl From<&Bytes> for Message {
    fn from(bytes: &Bytes) -> Self {
        bytes.clone().into()
    }
}

impl From<BytesMut> for Message {
    fn from(bytes: BytesMut) -> Self {
        bytes.freeze().into()
    }
}

impl From<&[u8]> for Message {
    fn from(bytes: &[u8]) -> Self {
        body::copied(bytes).into()
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<&Vec<u8>> for Message {
    fn from(bytes: &Vec<u8>) -> Self {
        bytes.as_slice().into()
    }
}

impl From<Box<[u8]>> for Message {
    fn from(bytes: Box<[u8]>) -> Self {
        Bytes::from(bytes).into()
    }
}

impl From<Arc<[u8]>> for Message {
    fn from(bytes: Arc<[u8]>) -> Self {
        Bytes::from_owner(bytes).into()
    }
}

impl From<Cow<'_, [u8]>> for Message {
    fn from(bytes: Cow<'_, [u8]>) -> Self {
        match bytes {
            Cow::Borrowed(bytes) => bytes.into(),
            Cow::Owned(bytes) => bytes.into(),
        }
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        text.as_bytes().into()
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&String> for Message {
    fn from(text: &String) -> Self {
        text.as_bytes().into()
    }
}

impl From<Box<str>> for Message {
    fn from(text: Box<str>) -> Self {
        text.into_boxed_bytes().into()
    }
}

impl From<Cow<'_, str>> for Message {
    fn from(text: Cow<'_, str>) -> Self {
        match text {
            Cow::Borrowed(text) => text.into(),
            Cow::Owned(text) => text.into(),
        }
    }
}

impl<const N: usize> From<&[u8; N]> for Message {
    fn from(bytes: &[u8; N]) -> Self {
        Self::from(bytes.as_slice())
    }
}

impl From<&Self> for Message {
    fn from(message: &Self) -> Self {
        message.clone()
    }
}

impl From<Message> for Bytes {
    fn from(message: Message) -> Self {
        message.into_bytes()
    }
}

impl From<Message> for Vec<u8> {
    fn from(message: Message) -> Self {
        message.into_bytes().into()
    }
}

/// Bytes that are known to be text. The bytes of a message are not, so no type implements this trait. It
/// makes the compiler say what to call instead.
#[doc(hidden)]
#[expect(unnameable_types, reason = "nobody is to implement it")]
#[diagnostic::on_unimplemented(
    message = "a message is bytes, which need not be text: `to_text` replaces what is not UTF-8, \
               `String::try_from` fails on it",
    label = "this would be from a `Message`"
)]
pub trait KnownText {}

/// Never compiles where it is used; the compiler says why. The `for` keeps it from checking the bound here.
#[doc(hidden)]
impl From<Message> for String
where
    for<'a> &'a Message: KnownText,
{
    fn from(_: Message) -> Self {
        Self::new()
    }
}

/// The error has the bytes inside if they are not UTF-8.
impl TryFrom<Message> for String {
    type Error = FromUtf8Error;

    fn try_from(message: Message) -> Result<Self, FromUtf8Error> {
        Self::from_utf8(message.into())
    }
}

/// Hashes the body only, since two messages are equal when their bodies are.
impl Hash for Message {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.body.hash(state);
    }
}

/// A message equals bytes, text or another message with the same body; header and pipe do not count.
impl<T: AsRef<[u8]> + ?Sized> PartialEq<T> for Message {
    fn eq(&self, other: &T) -> bool {
        self.body[..] == *other.as_ref()
    }
}

impl Eq for Message {}

impl PartialEq<Message> for str {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for &str {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for String {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for [u8] {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for &[u8] {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for Vec<u8> {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

impl PartialEq<Message> for Bytes {
    fn eq(&self, message: &Message) -> bool {
        message == self
    }
}

/// One SP message as a pipe carries it: the bytes of `head` followed by those of `body`.
///
/// A stream transport delivers the whole message in `body`. A large message inside the process arrives in
/// the two parts that its sender made, so that the body need not be copied. Where the message is split has no
/// meaning.
#[derive(Clone, Debug, Default)]
pub(crate) struct Frame {
    /// Nearly always `None`, which costs next to nothing to move and to drop.
    head: Option<Box<Bytes>>,
    body: Body,
}

impl Frame {
    pub(crate) fn new(head: Bytes, body: impl Into<Body>) -> Self {
        Self { head: Some(Box::new(head)), body: body.into() }
    }

    /// A message in one piece.
    #[inline]
    pub(crate) fn whole(body: impl Into<Body>) -> Self {
        Self { head: None, body: body.into() }
    }

    /// The length of the whole SP message in bytes.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.head().len().saturating_add(self.body.len())
    }

    fn head(&self) -> &[u8] {
        self.head.as_ref().map_or(&[], |head| &head[..])
    }

    /// Takes the first `n` bytes off. Returns `None`, and takes nothing, when there are fewer.
    pub(crate) fn take(&mut self, n: usize) -> Option<Bytes> {
        let first = self.first(n);
        (n <= first.len()).then(|| first.split_to(n))
    }

    /// Shows the first `n` bytes to `read`, then takes them off without keeping a reference to them. Returns
    /// `None`, and takes nothing, when there are fewer.
    #[inline(always)]
    pub(crate) fn take_off<R>(&mut self, n: usize, read: impl FnOnce(&[u8]) -> R) -> Option<R> {
        let first = self.first(n);
        let seen = read(first.get(..n)?);
        first.advance(n);
        Some(seen)
    }

    /// The part that has the first `n` bytes, if there are so many.
    #[inline]
    fn first(&mut self, n: usize) -> &mut Bytes {
        match self.head {
            None => &mut self.body,
            Some(_) => self.first_of_two(n),
        }
    }

    #[cold]
    fn first_of_two(&mut self, n: usize) -> &mut Bytes {
        if n > self.head().len() && n <= self.len() {
            self.join();
        }
        match &mut self.head {
            Some(head) if !head.is_empty() => head,
            _ => &mut self.body,
        }
    }

    /// The 32-bit word that begins at byte `at`; `None` when the message ends before the word does.
    #[inline]
    pub(crate) fn word(&self, at: usize) -> Option<u32> {
        if self.head.is_none() {
            return self.body.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word));
        }
        let mut word = [0; 4];
        for (byte, at) in word.iter_mut().zip(at..) {
            *byte = self.byte(at)?;
        }
        Some(u32::from_be_bytes(word))
    }

    /// All bytes that are left, in one piece.
    #[inline(always)]
    pub(crate) fn into_body(self) -> Body {
        match self.head {
            None => self.body,
            Some(head) => joined(*head, self.body),
        }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        match at.checked_sub(self.head().len()) {
            None => self.head().get(at).copied(),
            Some(at) => self.body.get(at).copied(),
        }
    }

    /// Moves the bytes of `head` into `body`.
    fn join(&mut self) {
        if let Some(head) = self.head.take() {
            self.body = joined(*head, std::mem::take(&mut self.body));
        }
    }
}

/// The bytes of both. Copies only when neither is empty.
#[cold]
fn joined(head: Bytes, body: Body) -> Body {
    if body.is_empty() {
        return head.into();
    }
    if head.is_empty() {
        return body;
    }
    let mut whole = BytesMut::with_capacity(head.len().saturating_add(body.len()));
    whole.extend_from_slice(&head);
    whole.extend_from_slice(&body);
    whole.freeze().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(head: &'static [u8], body: &'static [u8]) -> Frame {
        Frame::new(Bytes::from_static(head), Bytes::from_static(body))
    }

    #[test]
    fn a_frame_reads_the_same_wherever_it_was_cut() {
        let whole = b"\x80\x00\x00\x01abc";
        for cut in 0..=whole.len() {
            let mut frame = frame(&whole[..cut], &whole[cut..]);
            assert_eq!(frame.len(), 7);
            assert_eq!(frame.word(0), Some(0x8000_0001));
            assert_eq!(frame.word(4), None);
            assert_eq!(frame.take(8), None);
            assert_eq!(frame.take(4).unwrap(), &whole[..4]);
            assert_eq!(frame.into_body()[..], b"abc"[..]);
        }
    }

    #[test]
    fn pipe_ids_have_31_bits_and_are_never_zero() {
        assert_eq!(PipeId::new(0), None);
        assert_eq!(PipeId::new(0x8000_0000), None);
        assert_eq!(PipeId::new(0x7FFF_FFFF).unwrap().get(), 0x7FFF_FFFF);
    }

    #[test]
    fn what_is_given_away_is_not_copied() {
        let vec = vec![7; 1000];
        let at = vec.as_ptr();
        assert_eq!(Message::from(vec.clone()), vec);
        let message = Message::from(Cow::<[u8]>::Owned(vec));
        assert_eq!(message.as_ptr(), at);
        let vec = Vec::from(message);
        assert_eq!(vec.as_ptr(), at);
        assert_eq!(Message::from(vec.into_boxed_slice()).as_ptr(), at);

        let shared: Arc<[u8]> = vec![7; 1000].into();
        assert_eq!(Message::from(shared.clone()).as_ptr(), shared.as_ptr());
        assert_eq!(Arc::strong_count(&shared), 1, "the message is gone");
        let text = "text".repeat(100).into_boxed_str();
        let at = text.as_ptr();
        assert_eq!(Message::from(text).as_ptr(), at);
    }

    #[test]
    fn messages_are_made_from_whatever_holds_bytes() {
        let all = [
            Message::from(Cow::Borrowed("ab")),
            Message::from(Cow::<str>::Owned("ab".to_owned())),
            Message::from(Cow::Borrowed(&b"ab"[..])),
            Message::from(BytesMut::from("ab")),
            Message::from("ab".to_owned().into_boxed_str()),
        ];
        assert!(all.iter().all(|message| message == "ab"));
        assert_eq!(all.into_iter().collect::<std::collections::HashSet<_>>().len(), 1);
    }

    #[test]
    fn text_is_had_back_only_if_it_is_text() {
        assert_eq!(String::try_from(Message::from("ab")).unwrap(), "ab");
        let error = String::try_from(Message::from(b"\xff")).unwrap_err();
        assert_eq!(error.into_bytes(), b"\xff");
    }

    #[test]
    fn messages_compare_with_everything_they_are_made_from() {
        let message = Message::from("ab");
        assert_eq!(message, "ab");
        assert_eq!(message, b"ab");
        assert_eq!(message, vec![b'a', b'b']);
        assert_eq!("ab", Message::from(String::from("ab")));
        assert_eq!(Message::received(Bytes::from_static(b"ab"), PipeId::new(7).unwrap()), message);
        assert_eq!(format!("{message:?}"), "Message(2 bytes, b\"ab\")");
    }
}
