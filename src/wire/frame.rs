//! Frames: SP messages on a stream, one behind the other.
//!
//! ```text
//! tcp      [length: 8 bytes, big-endian][payload]
//! ipc  [01][length: 8 bytes, big-endian][payload]
//! ws   [more: 1 bit][length: 63 bits, big-endian][payload], as the transport presents it
//! ```
//!
//! Owns the prefix in front of a payload, and the [`Decoder`] that finds the frames in the bytes that a
//! peer sends (`docs/spec/wire.md`, section 4). A payload is opaque here.
//!
//! A read is large and most frames are small, so the decoder does not hand out frames one by one: it
//! checks the lengths and passes on all whole frames of a read as one run, untouched. It copies only a
//! frame that the end of a read cuts in two, into a buffer of its own. The remainder of that frame can then
//! be read straight into this buffer ([`Decoder::vacancy`]).

use std::ops::Deref;

use bytes::{Bytes, BytesMut};
use thiserror::Error;

/// The type of a frame whose payload follows inline; there is no other type.
const INLINE: u8 = 1;

/// The largest length that a frame can have; the four bits above it are reserved.
const MAX_LENGTH: u64 = 0x0FFF_FFFF_FFFF_FFFF;

/// The bit of a length that says that the message goes on in the next frame, where a framing has that.
const MORE: u64 = 1 << 63;

/// The longest prefix of any framing.
const MAX_PREFIX: usize = 9;

/// A body's buffer may take this many bytes as soon as a length announces them, and more only as bytes
/// arrive. So a peer pays with bytes that it sends for all memory but this.
const UNPAID: usize = 4096;

/// How many bytes of room a body may take for each byte that has arrived. A larger factor moves a growing
/// body less often; a smaller one gives less memory to a peer that announces more than it sends.
const ROOM: usize = 2;

/// A body may take as much room as the body before it has filled, up to this many bytes: the length of the
/// longest message that is received by default.
const CREDIT: usize = 1024 * 1024;

/// How many bytes of a body's new buffer are zeroed at once: few enough to be in the cache still when the
/// message's bytes are read into them. All values from 64 KiB to 1 MiB measured alike.
const STEP: usize = 256 * 1024;

/// Read whole frames of at least this length: a cut one is copied, and of shorter ones that is little.
const WHOLE: usize = 8 * 1024;

/// The framing of a transport: what precedes each message on its streams.
///
/// In both framings each side first sends the eight bytes of the connection header
/// (`00 53 50 00`, the protocol as 16 bits, `00 00`), and then messages. Lengths are big-endian.
/// A transport that talks to another implementation must use the framing of that implementation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Framing {
    /// The length in 8 bytes, then the message: as on tcp and on TLS. The usual choice.
    Length,
    /// A byte 1, the length in 8 bytes, then the message: as on ipc.
    TypeAndLength,
    /// As [`Length`](Self::Length), but a message may be read in parts: if the highest bit of a length is set, the
    /// message goes on in the next frame. It is written in one. For a transport whose peers send messages in parts
    /// and do not tell the length of the whole, as those of ws.
    Parts,
}

impl Framing {
    /// How many framings there are.
    pub(crate) const COUNT: usize = 3;

    /// The number of this framing, below [`COUNT`](Self::COUNT).
    pub(crate) const fn index(self) -> usize {
        match self {
            Self::Length => 0,
            Self::TypeAndLength => 1,
            Self::Parts => 2,
        }
    }

    /// The length of a prefix in bytes.
    pub(crate) const fn prefix_len(self) -> usize {
        match self {
            Self::Length | Self::Parts => 8,
            Self::TypeAndLength => 9,
        }
    }

    /// The prefix of a payload of `len` bytes.
    pub(crate) fn prefix(self, len: usize) -> Prefix {
        let [a, b, c, d, e, f, g, h] = widen(len).to_be_bytes();
        Prefix { bytes: [INLINE, a, b, c, d, e, f, g, h], framing: self }
    }

    /// The payload length of the frame at the front of `bytes`, which was encoded here or has passed a
    /// [`Decoder`]; `None` when `bytes` do not begin with such a frame.
    pub(crate) fn payload_len(self, bytes: &[u8]) -> Option<usize> {
        usize::try_from(self.announced(bytes).ok()??).ok()
    }

    /// Splits the frame at the front off `bytes`, which was encoded here or has passed a [`Decoder`]: its payload, and
    /// what is behind it. `None` when `bytes` do not begin with a whole frame.
    #[inline]
    pub(crate) fn split_first(self, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
        let (prefix, behind) = bytes.split_at_checked(self.prefix_len())?;
        let length = prefix.last_chunk()?;
        behind.split_at_checked(usize::try_from(u64::from_be_bytes(*length)).ok()?)
    }

    /// The payload length that the prefix at the front of `bytes` announces; `None` while the prefix is
    /// incomplete. A wrong type is an error as soon as its byte is there.
    fn announced(self, bytes: &[u8]) -> Result<Option<u64>, FrameError> {
        let length = match (self, bytes) {
            (Self::Length | Self::Parts, length) => length,
            (Self::TypeAndLength, []) => return Ok(None),
            (Self::TypeAndLength, [INLINE, length @ ..]) => length,
            (Self::TypeAndLength, [other, ..]) => return Err(FrameError::Type(*other)),
        };
        Ok(length.first_chunk().map(|length| u64::from_be_bytes(*length)))
    }
}

/// The prefix of one frame; reads as a slice.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Prefix {
    bytes: [u8; MAX_PREFIX],
    framing: Framing,
}

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        let [_, length @ ..] = &self.bytes;
        match self.framing {
            Framing::Length | Framing::Parts => length,
            Framing::TypeAndLength => &self.bytes,
        }
    }
}

/// Why no more can be read from a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The payload would be larger than the limit.
    #[error("the peer announced a message of {announced} bytes, {limit} are allowed")]
    TooLarge {
        /// The length in the prefix.
        announced: u64,
        /// The largest length that is allowed.
        limit: u64,
    },
    /// The length has a reserved bit set.
    #[error("the peer has set reserved bits of a length: {announced:#018x}")]
    Reserved {
        /// The length in the prefix, reserved bits included.
        announced: u64,
    },
    /// The type byte is not the one for an inline payload.
    #[error("the peer sent a frame of unknown type {0}")]
    Type(u8),
}

/// What the decoder has found in its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// One or more whole frames, as they are on the wire, prefixes included.
    Frames {
        /// The frames, one behind the other.
        bytes: &'a [u8],
        /// How many there are.
        count: usize,
        /// The sum of their payload lengths.
        payload: usize,
    },
    /// The payload of one frame, or of several that are one message, that did not arrive in one piece.
    Body(Bytes),
}

/// Finds the frames in a stream of bytes, in whatever pieces it arrives.
///
/// The decoder checks a length before it takes memory for it. An error is final: nobody knows where the
/// next frame begins, so the decoder repeats the error and takes no more input.
///
/// ```text
///            whole frames: a run                 payload not complete
///             +------+                                +------+
///             v      |     prefix, in part or whole   v      |
///  ------> between frames -----------------------> within a frame
///             ^      |                                |
///             |      +--- bad prefix ---> failed      | payload complete: a body
///             +---------------------------------------+
/// ```
///
/// A payload that comes in parts is complete with the last of them; between two parts it takes their prefixes.
#[derive(Debug)]
pub(crate) struct Decoder {
    framing: Framing,
    limit: u64,
    /// The length of the last body, if no whole frames have come since.
    paid: u32,
    /// The length of the last whole frame, prefix included.
    pace: u32,
    /// How many KiB the buffer of a body may take, as long as what arrives fits.
    most: u32,
    phase: Phase,
}

/// What is there of a body that has begun.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    /// The bytes that its buffer takes.
    pub(crate) taken: usize,
    /// The bytes of the buffer that are free for what arrives.
    pub(crate) vacant: usize,
    /// The bytes that have not arrived: of what is announced, or, between two parts, of the next prefix.
    pub(crate) missing: usize,
}

#[derive(Debug)]
enum Phase {
    /// At the start of a frame. The first `received` bytes of `prefix` have arrived: none between frames,
    /// never all of them.
    Prefix { prefix: [u8; MAX_PREFIX], received: u8 },
    /// Within a payload. On the heap, since most connections are idle, and between frames.
    Body(Box<PartialBody>),
    /// The input was wrong; no more is read.
    Failed(Box<FrameError>),
}

/// A payload that arrives in pieces.
#[derive(Debug)]
struct PartialBody {
    /// The length of the whole payload, or of the parts that are known.
    len: usize,
    /// How many of its bytes have arrived.
    arrived: usize,
    bytes: Buffer,
    /// If another part follows behind those that are known: what has arrived of its prefix.
    next: Option<Vec<u8>>,
    /// Whether it has come in parts.
    in_parts: bool,
}

/// What a prefix says.
#[derive(Clone, Copy, Debug)]
struct Announced {
    len: usize,
    /// Whether another part of the message follows.
    more: bool,
}

/// The memory of a body.
#[derive(Debug)]
enum Buffer {
    /// The bytes that have arrived, and perhaps zeros behind them, to be read into.
    New(Vec<u8>),
    /// The memory of an earlier message, which is at least as long as the body. Behind the bytes that have arrived may
    /// be anything.
    Used(BytesMut),
}

impl Phase {
    const BETWEEN: Self = Self::Prefix { prefix: [0; MAX_PREFIX], received: 0 };
}

impl Decoder {
    /// A decoder that accepts payloads of at most `limit` bytes; `None`: of as many as this machine can
    /// address.
    pub(crate) fn new(framing: Framing, limit: Option<u64>) -> Self {
        let mut decoder =
            Self { framing, limit: 0, paid: 0, pace: 0, most: u32::MAX, phase: Phase::BETWEEN };
        decoder.set_limit(limit);
        decoder
    }

    /// Changes the limit, for frames whose prefix is still incomplete.
    pub(crate) fn set_limit(&mut self, limit: Option<u64>) {
        let addressable = widen(isize::MAX.unsigned_abs());
        self.limit = limit.unwrap_or(MAX_LENGTH).min(addressable);
    }

    /// Takes the next piece off the front of `input`; `None` when the decoder has taken over all of `input`
    /// and needs more.
    ///
    /// An error comes after all pieces that precede it.
    pub(crate) fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
    ) -> Option<Result<Piece<'a>, FrameError>> {
        let piece = self.step(input);
        if let Err(error) = piece {
            self.phase = Phase::Failed(Box::new(error));
        }
        piece.transpose()
    }

    /// Whether a frame has begun that is incomplete: if the stream ends here, the frame is truncated.
    pub(crate) fn is_mid_frame(&self) -> bool {
        match self.phase {
            Phase::Prefix { received, .. } => received > 0,
            Phase::Body(_) => true,
            Phase::Failed(_) => false,
        }
    }

    /// The body that has begun, if its length is known.
    #[inline]
    pub(crate) fn part(&self) -> Option<Part> {
        match &self.phase {
            Phase::Body(body) => Some(Part {
                taken: body.capacity(),
                vacant: body.capacity().saturating_sub(body.arrived),
                missing: match body.missing() {
                    0 => self.framing.prefix_len().saturating_sub(body.prefix_arrived()),
                    missing => missing,
                },
            }),
            Phase::Prefix { .. } | Phase::Failed(_) => None,
        }
    }

    /// Allows the buffer of a body to take `most` bytes from now on, rounded down to KiB; `None`: as many as
    /// its length and what has arrived allow. What arrives is taken in even so.
    #[inline]
    pub(crate) fn set_most(&mut self, most: Option<usize>) {
        self.most = most.map_or(u32::MAX, |most| short(most / 1024));
    }

    fn most(&self) -> usize {
        match self.most {
            u32::MAX => usize::MAX,
            kib => long(kib).saturating_mul(1024),
        }
    }

    /// Forgets the length of the last body: the next one is given memory as the first was.
    pub(crate) fn forget_credit(&mut self) {
        self.paid = 0;
    }

    /// How many bytes of the frame that has begun have arrived, the prefix aside if it is whole.
    pub(crate) fn arrived(&self) -> usize {
        match &self.phase {
            Phase::Prefix { received, .. } => (*received).into(),
            Phase::Body(body) => body.arrived.saturating_add(body.prefix_arrived()),
            Phase::Failed(_) => 0,
        }
    }

    /// The buffer to read the next bytes of the stream into, if they belong to a body that has room for at
    /// least `least` more bytes. Tell [`filled`](Self::filled) how many were read. `used` may return memory that
    /// nobody needs any more, of at least as many bytes as it is asked for.
    pub(crate) fn vacancy(
        &mut self,
        least: usize,
        used: impl FnOnce(usize) -> Option<BytesMut>,
    ) -> Option<&mut [u8]> {
        let (paid, bound) = (long(self.paid), self.most());
        match &mut self.phase {
            Phase::Body(body) => body.vacancy(least, paid, bound, used),
            _ => None,
        }
    }

    /// Records that the first `n` bytes of the [`vacancy`](Self::vacancy) were read. If these complete the
    /// body, [`next`](Self::next) returns it, whatever its input.
    pub(crate) fn filled(&mut self, n: usize) {
        if let Phase::Body(body) = &mut self.phase {
            body.arrived = body.len.min(body.arrived.saturating_add(n));
        }
    }

    /// How many bytes to read at once where there is no vacancy: at most `most`.
    ///
    /// Of a body of at least that length, or behind one, only what is missing and the next prefix: large bodies seldom
    /// come alone, and this way no byte of the next one has to be copied. For the same reason only as many frames as
    /// are whole in `most` bytes, if they are as long as the last one and that was long.
    pub(crate) fn appetite(&self, most: usize) -> usize {
        let prefix = self.framing.prefix_len();
        let missing = match &self.phase {
            Phase::Prefix { received, .. } if long(self.paid) >= most => {
                return prefix.saturating_sub((*received).into()).min(most);
            }
            Phase::Body(body) if body.len >= most => {
                return body.missing().saturating_add(prefix).min(most);
            }
            Phase::Prefix { received: 0, .. } => 0,
            Phase::Body(body) => body.missing(),
            _ => return most,
        };
        let rest = most.saturating_sub(missing);
        let pace = long(self.pace);
        match rest.checked_rem(pace) {
            Some(cut) if pace >= WHOLE && pace <= rest => most.saturating_sub(cut),
            _ => most,
        }
    }

    /// How many bytes may be read so that they bring at most `messages` whole messages, but at least one,
    /// with at most `bytes` of payload beside the one that has begun: the missing part of the body or
    /// prefix, and behind it as many bytes as the prefixes of the other messages have.
    pub(crate) fn reach(&self, messages: usize, bytes: usize) -> usize {
        let prefix = self.framing.prefix_len();
        let (missing, payload) = match &self.phase {
            Phase::Prefix { received, .. } => (prefix.saturating_sub((*received).into()), 0),
            Phase::Body(body) if body.missing() > 0 => (body.missing(), body.len),
            Phase::Body(body) => (prefix.saturating_sub(body.prefix_arrived()), body.len),
            Phase::Failed(_) => (prefix, 0),
        };
        let others = messages.saturating_sub(1).saturating_mul(prefix);
        missing.saturating_add(others.min(bytes.saturating_sub(payload)))
    }

    fn step<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Piece<'a>>, FrameError> {
        match &self.phase {
            Phase::Failed(error) => return Err(**error),
            Phase::Prefix { received: 0, .. } => {
                if let Some(run) = self.take_run(input) {
                    return Ok(Some(run));
                }
                self.take_prefix(input)?;
            }
            Phase::Prefix { .. } => self.take_prefix(input)?,
            Phase::Body(_) => {}
        }
        Ok(self.take_body(input)?.map(Piece::Body))
    }

    /// Takes all whole, good frames off the front of `input`; `None` when there are none.
    ///
    /// The next step finds what ended the run, an incomplete frame or a fault.
    fn take_run<'a>(&mut self, input: &mut &'a [u8]) -> Option<Piece<'a>> {
        let mut behind = *input;
        let (mut count, mut payload, mut last) = (0_usize, 0_usize, 0);
        while let Ok(Some(Announced { len, more: false })) = self.length(behind, 0) {
            let frame = len.saturating_add(self.framing.prefix_len());
            if behind.split_off(..frame).is_none() {
                break;
            }
            last = frame;
            count = count.saturating_add(1);
            payload = payload.saturating_add(len);
        }
        let taken = input.len().saturating_sub(behind.len());
        let bytes = input.split_off(..taken)?;
        if count == 0 {
            return None;
        }
        (self.paid, self.pace) = (0, short(last));
        Some(Piece::Frames { bytes, count, payload })
    }

    /// Takes the bytes of a prefix off the front of `input`. When the prefix is complete, checks it and
    /// begins the body.
    fn take_prefix(&mut self, input: &mut &[u8]) -> Result<(), FrameError> {
        let Phase::Prefix { prefix, received } = &mut self.phase else {
            return Ok(());
        };
        let missing = self.framing.prefix_len().saturating_sub((*received).into());
        let taken = take_up_to(input, missing);
        for (slot, byte) in prefix.iter_mut().skip((*received).into()).zip(taken) {
            *slot = *byte;
            *received = received.saturating_add(1);
        }
        let (prefix, received) = (*prefix, usize::from(*received));
        if let Some(announced) = self.length(prefix.get(..received).unwrap_or_default(), 0)? {
            self.phase = Phase::Body(Box::new(PartialBody::new(announced)));
        }
        Ok(())
    }

    /// Takes the bytes of the body that has begun off the front of `input`, and returns the body when it is
    /// complete.
    fn take_body(&mut self, input: &mut &[u8]) -> Result<Option<Bytes>, FrameError> {
        let (paid, bound) = (long(self.paid), self.most());
        loop {
            let Phase::Body(body) = &mut self.phase else {
                return Ok(None);
            };
            let taken = take_up_to(input, body.missing());
            if !taken.is_empty() {
                body.extend(taken, paid, bound);
            }
            if body.missing() > 0 {
                return Ok(None);
            }
            let Some(prefix) = &mut body.next else { break };
            let missing = self.framing.prefix_len().saturating_sub(prefix.len());
            prefix.extend_from_slice(take_up_to(input, missing));
            let (known, prefix) = (body.len, std::mem::take(prefix));
            let announced = self.length(&prefix, known)?;
            if let Phase::Body(body) = &mut self.phase {
                match announced {
                    Some(announced) => body.go_on(announced),
                    None => {
                        body.next = Some(prefix);
                        return Ok(None);
                    }
                }
            }
        }
        Ok(self.finish_body())
    }

    fn finish_body(&mut self) -> Option<Bytes> {
        let Phase::Body(mut body) = std::mem::replace(&mut self.phase, Phase::BETWEEN) else {
            return None;
        };
        let bytes = body.take();
        self.paid = short(bytes.len());
        self.pace = short(bytes.len().saturating_add(self.framing.prefix_len()));
        Some(bytes)
    }

    /// What the prefix at the front of `bytes` says, of a message of which `known` bytes are announced already; an
    /// error if it breaks the rules or the message is over the limit, `None` while the prefix is incomplete.
    fn length(&self, bytes: &[u8], known: usize) -> Result<Option<Announced>, FrameError> {
        let Some(raw) = self.framing.announced(bytes)? else {
            return Ok(None);
        };
        let more = self.framing == Framing::Parts && raw & MORE != 0;
        let part = if more { raw & !MORE } else { raw };
        if part > MAX_LENGTH {
            return Err(FrameError::Reserved { announced: raw });
        }
        let (announced, limit) = (widen(known).saturating_add(part), self.limit);
        match (usize::try_from(announced), usize::try_from(part)) {
            (Ok(_), Ok(len)) if announced <= limit => Ok(Some(Announced { len, more })),
            _ => Err(FrameError::TooLarge { announced, limit }),
        }
    }
}

impl PartialBody {
    fn new(Announced { len, more }: Announced) -> Self {
        let next = more.then(Vec::new);
        Self { len, arrived: 0, bytes: Buffer::New(Vec::new()), next, in_parts: more }
    }

    /// Adds a part.
    fn go_on(&mut self, Announced { len, more }: Announced) {
        self.len = self.len.saturating_add(len);
        self.next = more.then(Vec::new);
    }

    fn missing(&self) -> usize {
        self.len.saturating_sub(self.arrived)
    }

    /// How many bytes of the prefix of the next part have arrived.
    fn prefix_arrived(&self) -> usize {
        self.next.as_ref().map_or(0, Vec::len)
    }

    fn capacity(&self) -> usize {
        match &self.bytes {
            Buffer::New(new) => new.capacity(),
            Buffer::Used(used) => used.capacity(),
        }
    }

    /// How many bytes the buffer may have now, for a body of `len` bytes. `bound` is one that somebody has set, for
    /// what has not arrived.
    fn room(&self, len: usize, paid: usize, bound: usize) -> usize {
        let bound = bound.max(self.arrived).max(self.capacity());
        room_for(len, self.arrived, paid).min(bound)
    }

    /// Appends bytes that were read into another buffer.
    fn extend(&mut self, more: &[u8], paid: usize, bound: usize) {
        let begin = self.arrived;
        self.arrived = begin.saturating_add(more.len());
        let len = most(self.len, self.arrived, self.in_parts);
        let room = self.room(len, paid, bound);
        match &mut self.bytes {
            Buffer::Used(used) => {
                if let Some(room) = used.get_mut(begin..self.arrived) {
                    room.copy_from_slice(more);
                }
            }
            Buffer::New(new) => {
                new.truncate(begin);
                grow(new, self.arrived, room);
                new.extend_from_slice(more);
            }
        }
    }

    /// The next part of the buffer to read into, if it has room for at least `least` bytes.
    fn vacancy(
        &mut self,
        least: usize,
        paid: usize,
        bound: usize,
        used: impl FnOnce(usize) -> Option<BytesMut>,
    ) -> Option<&mut [u8]> {
        let allowed = self.room(self.len, paid, bound);
        let room = allowed.saturating_sub(self.arrived);
        if room < least {
            return None;
        }
        let end = self.arrived.saturating_add(room.min(STEP));
        if let Buffer::New(new) = &mut self.bytes
            && end > new.capacity()
            && allowed == self.len
            && !self.in_parts
            && let Some(mut used) = used(self.len).filter(|used| used.len() >= self.len)
        {
            if let (Some(to), Some(from)) = (used.get_mut(..self.arrived), new.get(..self.arrived))
            {
                to.copy_from_slice(from);
            }
            self.bytes = Buffer::Used(used);
        }
        match &mut self.bytes {
            Buffer::Used(used) => {
                used.get_mut(self.arrived..self.len.min(self.arrived.saturating_add(CREDIT)))
            }
            Buffer::New(new) => {
                if end > new.capacity() {
                    new.truncate(self.arrived);
                    grow(new, end, allowed);
                }
                if end > new.len() {
                    new.resize(end, 0);
                }
                new.get_mut(self.arrived..end)
            }
        }
    }

    /// Takes out the body, which is complete.
    fn take(&mut self) -> Bytes {
        match std::mem::replace(&mut self.bytes, Buffer::New(Vec::new())) {
            Buffer::New(mut bytes) => {
                if self.in_parts {
                    bytes.shrink_to_fit();
                }
                bytes.into()
            }
            Buffer::Used(mut bytes) => {
                bytes.truncate(self.len);
                bytes.freeze()
            }
        }
    }
}

/// The length of a body of which `len` bytes are announced; if it comes in parts at least twice what has come, so that
/// many small parts do not move what is there each time.
fn most(len: usize, arrived: usize, in_parts: bool) -> usize {
    let doubled = if in_parts { arrived.saturating_mul(2) } else { 0 };
    len.max(doubled)
}

/// A length as a decoder keeps it: every connection has one, and lengths beyond 4 GiB are all alike to it.
fn short(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// A length that [`short`] has made.
fn long(len: u32) -> usize {
    usize::try_from(len).unwrap_or(usize::MAX)
}

/// How many bytes the buffer of a body of `len` bytes may have when `arrived` of them have arrived. `paid` is the length
/// of the body before this one.
///
/// So a connection holds at most `ROOM` times the bytes that its peer has sent of this body, or once those
/// of the body before; and it touches no more than `STEP` of new memory before the bytes arrive.
fn room_for(len: usize, arrived: usize, paid: usize) -> usize {
    let unasked = paid.clamp(UNPAID, CREDIT);
    arrived.saturating_mul(ROOM).max(unasked).min(len)
}

/// Sees to it that `bytes` has room for `end`, by all the `room` that is allowed: several times as much as before, so
/// that the copying stays linear, and in the end exactly the length of the body.
fn grow(bytes: &mut Vec<u8>, end: usize, room: usize) {
    if end > bytes.capacity() {
        bytes.reserve_exact(room.saturating_sub(bytes.len()));
    }
}

fn take_up_to<'a>(input: &mut &'a [u8], n: usize) -> &'a [u8] {
    let n = n.min(input.len());
    input.split_off(..n).unwrap_or_default()
}

/// Converts `len` to the width that lengths have on the wire and in counters. No machine has a `usize`
/// wider than 64 bits.
pub(crate) fn widen(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Feeds `data` to three decoders: to one as a whole, to one in pieces, whose length the data says, and to
/// one whose bodies are read in place. Checks that they agree with each other and with the wire.
///
/// # Panics
///
/// Panics when they do not, or when a decoder holds more memory than its input has paid for.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(framing: Framing, data: &[u8]) {
    let [limit, cut, stream @ ..] = data else {
        return;
    };
    let limit = (*limit < u8::MAX).then_some(u64::from(*limit));
    let cut = usize::from(*cut).saturating_add(1);

    let whole = check::decode(Decoder::new(framing, limit), [stream]);
    let pieces = check::decode(Decoder::new(framing, limit), stream.chunks(cut));
    assert_eq!(whole, pieces);
    let in_place = check::decode_in_place(Decoder::new(framing, limit), stream.chunks(cut));
    assert_eq!(whole, in_place);
    for payload in &whole.payloads {
        assert!(limit.is_none_or(|limit| widen(payload.len()) <= limit));
    }
    let wire = check::encode(framing, &whole.payloads);
    assert!(stream.starts_with(&wire) || framing == Framing::Parts);
}

/// Checks that tests and fuzz targets share.
#[cfg(any(test, fuzzing))]
mod check {
    use bytes::BytesMut;

    use super::{Buffer, Decoder, FrameError, Framing, Phase, Piece, take_up_to};

    /// Everything that came out of a stream.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Decoded {
        pub(super) payloads: Vec<Vec<u8>>,
        pub(super) error: Option<FrameError>,
        pub(super) mid_frame: bool,
    }

    /// Runs the decoder over `reads`, and checks how much memory it holds.
    pub(super) fn decode<'a>(
        mut decoder: Decoder,
        reads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Decoded {
        let mut decoded = Decoded { payloads: Vec::new(), error: None, mid_frame: false };
        for read in reads {
            decoded.take(&mut decoder, read);
        }
        decoded.mid_frame = decoder.is_mid_frame();
        decoded
    }

    /// Memory that was used before, and is a little longer than `len`.
    pub(super) fn used(len: usize) -> Option<BytesMut> {
        Some(BytesMut::from(&*vec![0xEE; len.saturating_add(3)]))
    }

    /// Does as `decode`, but reads bodies in place, every other one into memory that was used before, and no more at
    /// once than the decoder asks for.
    pub(super) fn decode_in_place<'a>(
        mut decoder: Decoder,
        reads: impl IntoIterator<Item = &'a [u8]>,
    ) -> Decoded {
        let mut decoded = Decoded { payloads: Vec::new(), error: None, mid_frame: false };
        for mut read in reads {
            while !read.is_empty() && decoded.error.is_none() {
                let is_used = decoded.payloads.len() % 2 == 1;
                let elsewhere = match decoder.vacancy(1, |len| used(len).filter(|_| is_used)) {
                    Some(vacancy) => {
                        assert!(!vacancy.is_empty());
                        let taken = take_up_to(&mut read, vacancy.len());
                        vacancy[..taken.len()].copy_from_slice(taken);
                        decoder.filled(taken.len());
                        &[]
                    }
                    None => take_up_to(&mut read, decoder.appetite(64)),
                };
                decoded.take(&mut decoder, elsewhere);
            }
        }
        decoded.mid_frame = decoder.is_mid_frame();
        decoded
    }

    impl Decoded {
        fn take(&mut self, decoder: &mut Decoder, mut read: &[u8]) {
            assert_paid(decoder);
            while let Some(piece) = decoder.next(&mut read) {
                match piece {
                    Ok(Piece::Body(body)) => self.payloads.push(body.to_vec()),
                    Ok(Piece::Frames { bytes, count, payload }) => {
                        let run = split(decoder.framing, bytes);
                        assert_eq!(run.len(), count);
                        assert_eq!(run.iter().map(Vec::len).sum::<usize>(), payload);
                        self.payloads.extend(run);
                    }
                    Err(fault) => {
                        assert!(self.error.is_none_or(|error| error == fault), "it is final");
                        self.error = Some(fault);
                        break;
                    }
                }
                assert_paid(decoder);
            }
            assert!(self.error.is_some() || read.is_empty(), "all of a read is taken over");
            assert_paid(decoder);
        }
    }

    /// The wire form of `payloads`.
    pub(super) fn encode<P: AsRef<[u8]>>(framing: Framing, payloads: &[P]) -> Vec<u8> {
        let frame = |payload: &P| {
            let payload = payload.as_ref();
            [&framing.prefix(payload.len()), payload].concat()
        };
        payloads.iter().map(frame).collect::<Vec<_>>().concat()
    }

    fn assert_paid(decoder: &Decoder) {
        if let Phase::Body(body) = &decoder.phase {
            let (sent, before) =
                (body.arrived.saturating_mul(2), super::long(decoder.paid).min(1 << 20));
            let bound =
                sent.max(before).max(4096).min(super::most(body.len, body.arrived, body.in_parts));
            let held = match &body.bytes {
                Buffer::New(new) => new.capacity(),
                Buffer::Used(used) => used.capacity().saturating_sub(3),
            };
            assert!(held <= bound, "{held} > {bound}");
        }
    }

    /// Splits a run of whole frames into payloads, without the decoder.
    fn split(framing: Framing, mut run: &[u8]) -> Vec<Vec<u8>> {
        let mut payloads = Vec::new();
        while !run.is_empty() {
            let prefix = run.split_off(..framing.prefix_len()).expect("a whole prefix");
            let length = prefix.last_chunk().expect("eight bytes of length");
            let len = usize::try_from(u64::from_be_bytes(*length)).expect("an addressable length");
            payloads.push(run.split_off(..len).expect("a whole payload").to_vec());
        }
        payloads
    }
}

#[cfg(test)]
mod tests {
    use Framing::{Length, TypeAndLength};
    use proptest::prelude::*;

    use super::check::{Decoded, decode, decode_in_place, encode, used};
    use super::*;
    use crate::rounds::rounds;

    const UNLIMITED: Option<u64> = None;
    const DEFAULT: Option<u64> = Some(1_048_576);

    fn good(payloads: &[&[u8]]) -> Decoded {
        let payloads = payloads.iter().map(|payload| payload.to_vec()).collect();
        Decoded { payloads, error: None, mid_frame: false }
    }

    fn failed(error: FrameError) -> Decoded {
        Decoded { payloads: Vec::new(), error: Some(error), mid_frame: false }
    }

    fn truncated() -> Decoded {
        Decoded { payloads: Vec::new(), error: None, mid_frame: true }
    }

    /// Decodes `stream` whole, cut in two at each position, and byte by byte, each time with bodies copied and
    /// with bodies read in place. All results must agree.
    fn decoded(framing: Framing, limit: Option<u64>, stream: &[u8]) -> Decoded {
        let fresh = || Decoder::new(framing, limit);
        let whole = decode(fresh(), [stream]);
        for cut in 0..=stream.len() {
            let (first, second) = stream.split_at(cut);
            assert_eq!(decode(fresh(), [first, second]), whole, "cut at {cut}");
            assert_eq!(decode_in_place(fresh(), [first, second]), whole, "cut at {cut}, in place");
        }
        assert_eq!(decode(fresh(), stream.chunks(1)), whole);
        assert_eq!(decode_in_place(fresh(), stream.chunks(1)), whole);
        whole
    }

    #[test]
    fn e12_to_e14_e28_what_we_emit() {
        assert_eq!(encode(Length, &["abc"]), b"\0\0\0\0\0\0\0\x03abc");
        assert_eq!(encode(TypeAndLength, &["abc"]), b"\x01\0\0\0\0\0\0\0\x03abc");
        assert_eq!(encode(Length, &[""]), [0; 8]);
        assert_eq!(encode(TypeAndLength, &[""]), b"\x01\0\0\0\0\0\0\0\0");
        assert_eq!(*Length.prefix(300), [0, 0, 0, 0, 0, 0, 1, 0x2C]);
    }

    #[test]
    fn f1_to_f5_f14_good_frames_over_tcp() {
        type Case<'a> = (&'a [u8], Option<u64>, &'a [&'a [u8]]);
        let cases: [Case<'_>; 5] = [
            (b"\0\0\0\0\0\0\0\0", DEFAULT, &[b""]),
            (b"\0\0\0\0\0\0\0\x03abc", DEFAULT, &[b"abc"]),
            (b"\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\x01b", DEFAULT, &[b"a", b"b"]),
            (b"\0\0\0\0\0\0\0\x04abcd", Some(4), &[b"abcd"]),
            (b"\0\0\0\0\0\0\0\x07\x80\0\0\x01abc", Some(7), &[b"\x80\0\0\x01abc"]),
        ];
        for (stream, limit, payloads) in cases {
            assert_eq!(decoded(Length, limit, stream), good(payloads));
        }
    }

    #[test]
    fn f6_f8_f15_f20_a_length_above_the_limit_is_refused_before_its_payload() {
        let too_large = |announced, limit| failed(FrameError::TooLarge { announced, limit });
        assert_eq!(decoded(Length, Some(4), b"\0\0\0\0\0\0\0\x05"), too_large(5, 4));
        assert_eq!(
            decoded(Length, DEFAULT, b"\0\0\0\0\0\x10\0\x01"),
            too_large(1_048_577, 1_048_576)
        );
        assert_eq!(decoded(Length, Some(6), b"\0\0\0\0\0\0\0\x07\x80\0\0\x01abc"), too_large(7, 6));
        assert_eq!(decoded(TypeAndLength, Some(4), b"\x01\0\0\0\0\0\0\0\x05"), too_large(5, 4));
    }

    #[test]
    #[cfg_attr(miri, ignore = "moves six megabytes, which takes Miri minutes")]
    fn f7_a_payload_of_exactly_the_default_limit_is_received() {
        let payload: Vec<u8> = (0..1_048_576_u32).map(|i| (i % 251) as u8).collect();
        let stream = encode(Length, &[&payload]);
        for read in [1000, 65_536, stream.len()] {
            let decoded = decode(Decoder::new(Length, DEFAULT), stream.chunks(read));
            assert!(decoded == good(&[&payload]), "in reads of {read} bytes");
            let decoded = decode_in_place(Decoder::new(Length, DEFAULT), stream.chunks(read));
            assert!(decoded == good(&[&payload]), "in reads of {read} bytes, in place");
        }
    }

    /// A part: what is no last one has the highest bit of its length set.
    fn parts(pieces: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (number, piece) in pieces.iter().enumerate() {
            let more = u64::from(number + 1 < pieces.len()) << 63;
            stream.extend((piece.len() as u64 | more).to_be_bytes());
            stream.extend(*piece);
        }
        stream
    }

    #[test]
    fn a_message_in_parts_is_one_message() {
        let stream = [
            parts(&[b"a", b"bc"]),
            encode(Length, &["d"]),
            parts(&[b"", b"", b"e", b""]),
            parts(&[b"", b""]),
        ]
        .concat();
        assert_eq!(decoded(Framing::Parts, Some(3), &stream), good(&[b"abc", b"d", b"e", b""]));
        let limit = Some(2);
        let too_large = FrameError::TooLarge { announced: 3, limit: 2 };
        assert_eq!(decoded(Framing::Parts, limit, &parts(&[b"a", b"bc"])), failed(too_large));
        let begun = &parts(&[b"ab", b"c"])[..12];
        assert_eq!(decoded(Framing::Parts, limit, begun), truncated());
        let reserved = (3_u64 << 62).to_be_bytes();
        let refused = FrameError::Reserved { announced: 3 << 62 };
        assert_eq!(decoded(Framing::Parts, UNLIMITED, &reserved), failed(refused));
    }

    #[test]
    #[cfg_attr(miri, ignore = "takes Miri minutes")]
    fn many_small_parts_take_no_more_memory_than_their_bytes_allow() {
        let pieces = vec![&b"x"[..]; 100_000];
        for read in [1000, 65_536] {
            let decoded =
                decode(Decoder::new(Framing::Parts, DEFAULT), parts(&pieces).chunks(read));
            assert!(decoded == good(&[&[b'x'; 100_000]]), "in reads of {read} bytes");
        }
    }

    #[test]
    fn f9_f10_reserved_bits_are_refused_whatever_the_limit() {
        for limit in [UNLIMITED, Some(u64::MAX), Some(0)] {
            for announced in [1 << 60, 1 << 63, u64::MAX] {
                let refused = failed(FrameError::Reserved { announced });
                assert_eq!(decoded(Length, limit, &announced.to_be_bytes()), refused);
            }
        }
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn f11_an_announced_terabyte_takes_no_memory_before_it_arrives() {
        let mut decoder = Decoder::new(Length, UNLIMITED);
        let stream = b"\0\0\0\xFF\0\0\0\0ten bytes.";
        assert_eq!(decoder.next(&mut &stream[..]), None);
        assert!(held(&decoder) <= UNPAID);
        assert_eq!(decoded(Length, UNLIMITED, stream), truncated());
        let longest = MAX_LENGTH.to_be_bytes();
        assert_eq!(decoded(Length, UNLIMITED, &longest), truncated());
    }

    #[test]
    fn f12_f13_f21_a_frame_that_is_cut_off_yields_nothing() {
        assert_eq!(decoded(Length, DEFAULT, b"\0\0\0\0\0\0\0\x0A\x01\x02"), truncated());
        assert_eq!(decoded(Length, DEFAULT, b"\0\0\0\x01"), truncated());
        assert_eq!(decoded(TypeAndLength, DEFAULT, b"\x01\0\0\0\0"), truncated());
    }

    #[test]
    fn f16_f19_good_frames_over_ipc() {
        let one = b"\x01\0\0\0\0\0\0\0\x03abc";
        assert_eq!(decoded(TypeAndLength, DEFAULT, one), good(&[b"abc"]));
        let empty = b"\x01\0\0\0\0\0\0\0\0";
        assert_eq!(decoded(TypeAndLength, DEFAULT, empty), good(&[b""]));
    }

    #[test]
    fn f17_f18_any_other_type_is_refused() {
        for other in [0, 2, 0xFF] {
            let stream = [&[other], &b"\0\0\0\0\0\0\0\x03abc"[..]].concat();
            let refused = failed(FrameError::Type(other));
            assert_eq!(decoded(TypeAndLength, DEFAULT, &stream), refused);
            assert_eq!(decoded(TypeAndLength, DEFAULT, &[other]), refused);
        }
    }

    #[test]
    fn f22_a_limit_of_zero_takes_only_empty_messages() {
        let stream = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01";
        let expected = Decoded {
            error: Some(FrameError::TooLarge { announced: 1, limit: 0 }),
            ..good(&[b""])
        };
        assert_eq!(decoded(Length, Some(0), stream), expected);
    }

    #[test]
    fn a_run_ends_where_a_frame_is_cut() {
        let stream = encode(Length, &["a", "bc", "def"]);
        let mut decoder = Decoder::new(Length, DEFAULT);
        let mut read = &stream[..stream.len() - 1];
        let run = Piece::Frames { bytes: &stream[..19], count: 2, payload: 3 };
        assert_eq!(decoder.next(&mut read), Some(Ok(run)));
        assert_eq!(decoder.next(&mut read), None);
        assert!(decoder.is_mid_frame() && read.is_empty());

        let mut read = &stream[stream.len() - 1..];
        let body = Piece::Body(Bytes::from_static(b"def"));
        assert_eq!(decoder.next(&mut read), Some(Ok(body)));
        assert_eq!(decoder.next(&mut read), None);
        assert!(!decoder.is_mid_frame());
    }

    #[test]
    fn a_body_ends_with_no_room_to_spare() {
        // Miri takes minutes for the last two.
        let lens = [1, 4095, 4096, 4097, 10_000, 100_000];
        for len in lens.into_iter().filter(|&len| !cfg!(miri) || len < 10_000) {
            let mut decoder = Decoder::new(Length, DEFAULT);
            let stream = encode(Length, &[vec![7; len]]);
            for mut byte in stream[..stream.len() - 1].chunks(1) {
                assert_eq!(decoder.next(&mut byte), None);
            }
            assert!(decoder.is_mid_frame() && held(&decoder) <= len);
        }
    }

    /// No memory that was used before.
    fn none(_: usize) -> Option<BytesMut> {
        None
    }

    /// Reads `body` in place, at most `step` bytes at once.
    fn read_in_place(decoder: &mut Decoder, mut body: &[u8], step: usize) {
        while !body.is_empty() {
            let vacancy = decoder.vacancy(1, none).expect("within a body");
            let read = take_up_to(&mut body, vacancy.len().min(step));
            vacancy[..read.len()].copy_from_slice(read);
            decoder.filled(read.len());
        }
    }

    fn held(decoder: &Decoder) -> usize {
        match &decoder.phase {
            Phase::Body(body) => match &body.bytes {
                Buffer::New(new) => new.capacity(),
                Buffer::Used(used) => used.capacity(),
            },
            _ => 0,
        }
    }

    #[test]
    fn an_announced_gibibyte_holds_little_more_than_what_has_come_of_it() {
        let announced = (1_u64 << 30).to_be_bytes();
        let part = vec![7; if cfg!(miri) { 5 * UNPAID } else { 100_000 }];
        let mut copied = Decoder::new(Length, UNLIMITED);
        let mut in_place = Decoder::new(Length, UNLIMITED);
        for decoder in [&mut copied, &mut in_place] {
            assert_eq!(decoder.next(&mut &announced[..]), None);
            assert!(held(decoder) <= UNPAID);
        }
        assert_eq!(copied.next(&mut &part[..]), None);
        read_in_place(&mut in_place, &part, 10_000);
        for decoder in [&copied, &in_place] {
            assert!((part.len()..=2 * part.len()).contains(&held(decoder)), "{}", held(decoder));
        }
    }

    #[test]
    fn a_large_body_behind_another_has_its_room_at_once() {
        let mut decoder = Decoder::new(Length, UNLIMITED);
        let large = vec![7; 300_000];
        let prefix = Length.prefix(large.len());
        for room in [UNPAID, STEP] {
            assert_eq!(decoder.next(&mut &*prefix), None);
            assert_eq!(decoder.vacancy(1, none).map(|vacancy| vacancy.len()), Some(room));
            read_in_place(&mut decoder, &large, usize::MAX);
            let body = Piece::Body(large.clone().into());
            assert_eq!(decoder.next(&mut &[][..]), Some(Ok(body)));
        }
        assert_eq!(decoder.appetite(300_000), 8, "the next prefix");
        assert_eq!(decoder.next(&mut &prefix[..5]), None);
        assert_eq!(decoder.appetite(300_000), 3, "the rest of it");
        assert_eq!(decoder.appetite(300_001), 300_001, "it was not so large");
        assert_eq!(decoder.next(&mut &prefix[5..]), None);
        read_in_place(&mut decoder, &large, usize::MAX);
        assert!(matches!(decoder.next(&mut &[][..]), Some(Ok(Piece::Body(_)))));

        let small = encode(Length, &["a"]);
        assert!(matches!(decoder.next(&mut &small[..]), Some(Ok(Piece::Frames { .. }))));
        assert_eq!(decoder.appetite(300_000), 300_000, "behind a small one, all there is");
        assert_eq!(decoder.next(&mut &*prefix), None);
        assert_eq!(decoder.vacancy(1, none).map(|vacancy| vacancy.len()), Some(UNPAID));
    }

    #[test]
    fn a_large_body_behind_another_goes_into_used_memory_if_all_of_it_may() {
        let (mut decoder, large) = (Decoder::new(Length, UNLIMITED), vec![7; 300_000]);
        let prefix = Length.prefix(large.len());
        for (room, is_used) in [(UNPAID, false), (large.len(), true)] {
            assert_eq!(decoder.next(&mut &*prefix), None);
            assert_eq!(decoder.appetite(300_000), 300_000);
            assert_eq!(decoder.vacancy(1, used).map(|vacancy| vacancy.len()), Some(room));
            let Phase::Body(body) = &decoder.phase else { panic!("within a body") };
            assert_eq!(matches!(body.bytes, Buffer::Used(_)), is_used);
            let (start, rest) = large.split_at(200_000);
            read_in_place(&mut decoder, start, 50_000);
            assert_eq!(decoder.appetite(300_000), 100_008, "the rest, and the next prefix");
            assert_eq!(decoder.next(&mut &*rest), Some(Ok(Piece::Body(large.clone().into()))));
        }
    }

    /// A frame that a read cuts is copied.
    #[test]
    fn of_long_frames_only_as_many_are_read_as_a_block_has_room_for() {
        let block = 4 * WHOLE;
        for (len, read) in [(WHOLE, 3 * (WHOLE + 8)), (WHOLE - 9, block), (block, block)] {
            let mut decoder = Decoder::new(Length, UNLIMITED);
            assert_eq!(decoder.appetite(block), block);
            let stream = encode(Length, &[vec![7; len]]);
            assert!(decoder.next(&mut &stream[..]).is_some());
            assert_eq!(decoder.appetite(block), read, "{len}");
            if len == WHOLE {
                let (first, rest) = stream.split_at(stream.len() - 5);
                assert_eq!(decoder.next(&mut &first[..]), None);
                assert_eq!(decoder.appetite(block), 5 + read, "and the rest of one that was cut");
                assert!(decoder.next(&mut &rest[..]).is_some());
                assert_eq!(decoder.appetite(block), read);
            }
        }
    }

    #[test]
    fn what_was_sent_before_is_good_for_a_mebibyte_at_most() {
        let mut decoder = Decoder::new(Length, UNLIMITED);
        let huge = vec![7; 3 * CREDIT];
        let stream = encode(Length, &[&huge]);
        assert_eq!(decoder.next(&mut &stream[..9]), None);
        assert!(matches!(decoder.next(&mut &stream[9..]), Some(Ok(Piece::Body(_)))));
        assert_eq!(decoder.next(&mut &stream[..8]), None);
        assert!(decoder.vacancy(1, none).is_some());
        assert_eq!(held(&decoder), CREDIT);
    }

    #[test]
    fn a_bound_on_the_buffer_holds_for_what_has_not_arrived() {
        let mut decoder = Decoder::new(Length, UNLIMITED);
        let large = vec![7; 300_000];
        let prefix = Length.prefix(large.len());
        decoder.set_most(Some(20_000));
        assert_eq!(decoder.next(&mut &*prefix), None);
        assert_eq!(decoder.next(&mut &large[..15_000]), None);
        assert_eq!(held(&decoder), 19 * 1024);
        let part = decoder.part().unwrap();
        assert_eq!((part.taken, part.vacant), (19 * 1024, 19 * 1024 - 15_000));
        assert_eq!(part.missing, 285_000);
        assert_eq!(
            decoder.vacancy(1, |_| None).map(|vacancy| vacancy.len()),
            Some(19 * 1024 - 15_000)
        );
        assert_eq!(decoder.next(&mut &large[15_000..30_000]), None);
        assert_eq!(held(&decoder), 30_000, "what has arrived is kept");
        decoder.set_most(None);
        assert_eq!(decoder.vacancy(1, |_| None).map(|vacancy| vacancy.len()), Some(30_000));
        let body = Piece::Body(large.clone().into());
        assert_eq!(decoder.next(&mut &large[30_000..]), Some(Ok(body)));
        assert!(decoder.part().is_none());
    }

    #[test]
    fn between_two_parts_the_next_prefix_is_missing() {
        let stream = parts(&[&[7; 5000], b"", &[7; 5000]]);
        let missing = |taken: usize| {
            let mut decoder = Decoder::new(Framing::Parts, UNLIMITED);
            decoder.set_most(Some(0));
            assert_eq!(decoder.next(&mut &stream[..taken]), None);
            decoder.part().unwrap().missing
        };
        assert_eq!([8, 5007].map(missing), [5000, 1]);
        assert_eq!([5008, 5015, 5016, 5023].map(missing), [8, 1, 8, 1]);
        assert_eq!([5024, 10_023].map(missing), [5000, 1]);
    }

    #[test]
    fn there_is_no_vacancy_but_within_a_body_with_so_much_room() {
        let mut decoder = Decoder::new(Length, DEFAULT);
        assert_eq!(decoder.vacancy(0, none), None);
        assert_eq!(decoder.next(&mut &b"\0\0\0\0"[..]), None);
        assert_eq!(decoder.vacancy(0, none), None);
        assert_eq!(decoder.next(&mut &b"\0\0\0\x0Abody"[..]), None);
        assert_eq!(decoder.vacancy(7, none), None);
        assert_eq!(decoder.vacancy(6, none), Some(&mut [0; 6][..]));
        decoder.filled(5);
        assert_eq!(decoder.next(&mut &[][..]), None);
        assert_eq!(decoder.vacancy(2, none), None);
        decoder.filled(1);
        assert_eq!(
            decoder.next(&mut &[][..]),
            Some(Ok(Piece::Body((*b"body\0\0\0\0\0\0").as_slice().to_vec().into())))
        );
        assert_eq!(decoder.vacancy(0, none), None);
    }

    #[test]
    fn after_an_error_nothing_more_is_taken() {
        let mut decoder = Decoder::new(Length, Some(4));
        let error = FrameError::TooLarge { announced: 5, limit: 4 };
        assert_eq!(decoder.next(&mut &b"\0\0\0\0\0\0\0\x05"[..]), Some(Err(error)));
        let mut more: &[u8] = b"\0\0\0\0\0\0\0\x01a";
        assert_eq!(decoder.next(&mut more), Some(Err(error)));
        assert_eq!(more.len(), 9);
        assert_eq!(decoder.next(&mut &b""[..]), Some(Err(error)));
    }

    fn framings() -> impl Strategy<Value = Framing> {
        prop_oneof![Just(Length), Just(TypeAndLength), Just(Framing::Parts)]
    }

    /// Under Miri shorter ones, and fewer.
    fn payloads(longest: usize, most: usize) -> impl Strategy<Value = Vec<Vec<u8>>> {
        let (longest, most) =
            if cfg!(miri) { (longest.min(20), most.min(4)) } else { (longest, most) };
        prop::collection::vec(prop::collection::vec(any::<u8>(), 0..=longest), 0..=most)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(256)))]

        #[test]
        fn frames_survive_every_cut(framing in framings(), payloads in payloads(40, 6)) {
            let stream = encode(framing, &payloads);
            prop_assert_eq!(decoded(framing, UNLIMITED, &stream).payloads, payloads);
        }

        #[test]
        fn frames_survive_any_reads(
            framing in framings(),
            payloads in payloads(9000, 8),
            sizes in prop::collection::vec(1..6000_usize, 1..40),
        ) {
            let stream = encode(framing, &payloads);
            let mut rest = &stream[..];
            let reads = sizes.iter().cycle().map_while(|size| {
                let read = take_up_to(&mut rest, *size);
                (!read.is_empty()).then_some(read)
            });
            let reads: Vec<_> = reads.collect();
            let whole = Decoded { payloads, error: None, mid_frame: false };
            let in_place = decode_in_place(Decoder::new(framing, UNLIMITED), reads.iter().copied());
            prop_assert_eq!(&in_place, &whole);
            prop_assert_eq!(decode(Decoder::new(framing, UNLIMITED), reads), whole);
        }

        #[test]
        fn what_is_in_reach_brings_no_more_than_there_is_room_for(
            framing in framings(),
            payloads in payloads(60, 30),
            messages in 1..9_usize,
            bytes in 1..200_usize,
        ) {
            let stream = encode(framing, &payloads);
            let (mut rest, mut decoder) = (&stream[..], Decoder::new(framing, UNLIMITED));
            let mut all = 0;
            while !rest.is_empty() {
                let mut read = take_up_to(&mut rest, decoder.reach(messages, bytes));
                prop_assert!(!read.is_empty());
                let (mut whole, mut length) = (0, 0);
                while let Some(piece) = decoder.next(&mut read) {
                    let (count, payload) = match piece.unwrap() {
                        Piece::Frames { count, payload, .. } => (count, payload),
                        Piece::Body(body) => (1, body.len()),
                    };
                    (whole, length) = (whole + count, length + payload);
                }
                prop_assert!(whole <= messages && (length <= bytes || whole == 1));
                all += whole;
            }
            prop_assert_eq!(all, payloads.len());
        }

        #[test]
        fn arbitrary_bytes_never_panic_nor_take_unpaid_memory(
            framing in framings(),
            data: Vec<u8>,
        ) {
            fuzz(framing, &data);
        }

        #[test]
        fn nearly_good_streams_never_panic_nor_take_unpaid_memory(
            framing in framings(),
            payloads in payloads(300, 8),
            faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            limit: u8,
            cut: u8,
        ) {
            let mut data = [vec![limit, cut], encode(framing, &payloads)].concat();
            for (at, byte) in faults {
                let at = at.index(data.len());
                data[at] = byte;
            }
            fuzz(framing, &data);
        }
    }
}
