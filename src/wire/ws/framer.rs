//! What is sent to a WebSocket peer: the crate's stream in frames.

use std::hash::{BuildHasher, RandomState};
use std::ops::Deref;

use super::{BINARY, EIGHT_BYTES, FIN, Key, MASKED, MAX_HEAD, SHORT, TWO_BYTES, turned};

/// The length of a prefix of the crate's stream.
const PREFIX: usize = 8;

/// The part of a prefix that is taken before its last byte.
const ALMOST: usize = PREFIX - 1;

/// Bytes for the connection.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Part<'h, 's> {
    /// The header of a frame.
    Head(&'h [u8]),
    /// Bytes of a message, to be masked with this key, if there is one.
    Payload(&'s [u8], Option<Key>),
}

impl<'h, 's: 'h> Part<'h, 's> {
    /// The bytes, not masked yet.
    pub(crate) fn bytes(self) -> &'h [u8] {
        let (Self::Head(bytes) | Self::Payload(bytes, _)) = self;
        bytes
    }

    pub(crate) fn len(self) -> usize {
        self.bytes().len()
    }
}

/// Turns prefixes and payloads into frames, one for each message.
///
/// The state is where the connection is: [`advance`](Self::advance) is called once, on a clone, to see what is to be
/// written, and then to note how much of that was. Both see the same bytes, keys included. The last byte of a prefix
/// is not taken before its frame's header is written whole, so that whoever writes again has something to write.
#[derive(Clone, Debug)]
pub(crate) struct Framer {
    /// The prefix, less its last byte, as far as it has come.
    prefix: [u8; ALMOST],
    have: usize,
    /// The header of the frame that has begun, and how much of it is written.
    head: [u8; MAX_HEAD],
    head_len: usize,
    head_sent: usize,
    /// The bytes of its payload that are still to be written.
    left: u64,
    key: Key,
    keys: Option<Keys>,
}

/// The keys of a client's frames: nobody who does not see them can tell the next one.
#[derive(Clone, Debug)]
struct Keys {
    secret: RandomState,
    count: u64,
}

impl Keys {
    fn next(&mut self) -> Key {
        self.count = self.count.wrapping_add(1);
        let [a, b, c, d, ..] = self.secret.hash_one(self.count).to_ne_bytes();
        [a, b, c, d]
    }
}

impl Framer {
    /// `masked`: as a client.
    pub(crate) fn new(masked: bool) -> Self {
        Self {
            prefix: [0; ALMOST],
            have: 0,
            head: [0; MAX_HEAD],
            head_len: 0,
            head_sent: 0,
            left: 0,
            key: [0; 4],
            keys: masked.then(|| Keys { secret: RandomState::new(), count: 0 }),
        }
    }

    /// Whether no frame is written in part: another may come first.
    pub(crate) fn is_between_frames(&self) -> bool {
        self.left == 0 && self.head_sent == 0
    }

    /// A key for a control frame; `None` as a server.
    pub(crate) fn control_key(&mut self) -> Option<Key> {
        self.keys.as_mut().map(Keys::next)
    }

    /// Gives what `slices` become to `sink`, part by part, which says how many bytes of the part it takes; one that is
    /// not taken whole is the last. Returns how many bytes of `slices` are taken with that.
    pub(crate) fn advance<'s>(
        &mut self,
        slices: &'s [impl Deref<Target = [u8]>],
        mut sink: impl FnMut(Part<'_, 's>) -> usize,
    ) -> usize {
        let mut taken = 0_usize;
        for slice in slices {
            let mut bytes: &'s [u8] = slice;
            while let Some(&next) = bytes.first() {
                if self.left > 0 {
                    let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                    let payload = bytes.get(..n).unwrap_or_default();
                    let key = self.keys.as_ref().map(|_| self.key);
                    let n_taken = sink(Part::Payload(payload, key)).min(n);
                    self.key = turned(self.key, n_taken);
                    self.left = self.left.saturating_sub(crate::wire::frame::widen(n_taken));
                    taken = taken.saturating_add(n_taken);
                    bytes = bytes.get(n_taken..).unwrap_or_default();
                    if n_taken < n {
                        return taken;
                    }
                    continue;
                }
                if let Some(slot) = self.prefix.get_mut(self.have) {
                    *slot = next;
                    self.have = self.have.saturating_add(1);
                } else {
                    if self.head_len == 0 {
                        self.make_head(next);
                    }
                    let head = self.head.get(self.head_sent..self.head_len).unwrap_or_default();
                    let n = head.len();
                    let n_taken = sink(Part::Head(head)).min(n);
                    if n_taken < n {
                        self.head_sent = self.head_sent.saturating_add(n_taken);
                        return taken;
                    }
                    self.begin(next);
                }
                taken = taken.saturating_add(1);
                bytes = bytes.get(1..).unwrap_or_default();
            }
        }
        taken
    }

    /// The length of the message whose prefix ends with this byte.
    fn length(&self, last: u8) -> u64 {
        let bytes = self.prefix.iter().copied().chain([last]);
        bytes.fold(0, |len, byte| len << 8 | u64::from(byte))
    }

    fn make_head(&mut self, last: u8) {
        let len = self.length(last);
        let (short, extended) = match (u8::try_from(len), u16::try_from(len)) {
            (Ok(short), _) if short <= SHORT => (short, &[][..]),
            (_, Ok(len)) => (TWO_BYTES, &len.to_be_bytes()[..]),
            _ => (EIGHT_BYTES, &len.to_be_bytes()[..]),
        };
        self.key = self.keys.as_mut().map_or([0; 4], Keys::next);
        let (mask_bit, key): (u8, &[u8]) =
            if self.keys.is_some() { (MASKED, &self.key) } else { (0, &[]) };
        let start = [FIN | BINARY, short | mask_bit];
        let bytes = start.iter().chain(extended).chain(key);
        self.head_len = 0;
        for (slot, byte) in self.head.iter_mut().zip(bytes) {
            *slot = *byte;
            self.head_len = self.head_len.saturating_add(1);
        }
    }

    /// The header is written: the payload comes.
    fn begin(&mut self, last: u8) {
        self.left = self.length(last);
        (self.have, self.head_len, self.head_sent) = (0, 0, 0);
    }
}
