//! What a WebSocket peer sends, as the crate's stream: decoded in the buffer that it is read into.

use super::{
    BINARY, CLOSE, CONTINUATION, EIGHT_BYTES, FIN, Key, MASKED, MAX_CONTROL, MAX_HEAD, PING, PONG,
    RESERVED, SHORT, TEXT, TWO_BYTES, mask, turned,
};
use crate::websocket::WebSocketError;

/// The length of a prefix of the crate's stream.
const PREFIX: usize = 8;

/// The bit of a prefix that says that the message goes on in the next frame ([`Framing::Parts`](crate::wire::Framing)).
const MORE: u64 = 1 << 63;

/// The shortest frame of a client: a header and a mask.
const SHORTEST_MASKED: usize = 6;
/// The shortest frame of a server.
const SHORTEST: usize = 2;

/// Why nothing more of a peer is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// It has sent a close frame; this is the code for the answer.
    Closed(u16),
    /// It has broken the rules.
    Failed(WebSocketError),
}

/// Turns frames into prefixes and payloads.
///
/// Bytes of the connection are read into the end of a buffer, and what they become is written to its front. A frame
/// becomes up to four times as long, if it is empty, so as many bytes may be read as [`appetite`](Self::appetite) says.
#[derive(Debug)]
pub(crate) struct Incoming {
    /// Whether the peer is a client.
    masked: bool,
    /// The header of a frame, as far as it has come.
    head: [u8; MAX_HEAD],
    have: usize,
    /// The bytes of a data frame that are still to come, and their mask.
    left: u64,
    key: Key,
    /// Whether a message has begun that is not complete.
    in_message: bool,
    /// The bytes of the message that are announced.
    total: u64,
    /// The control frame that has begun.
    control: Option<Box<Control>>,
    /// A prefix for which the buffer had no room.
    prefix: [u8; PREFIX],
    undelivered: usize,
    pings: u32,
    pong: Option<Vec<u8>>,
    end: Option<Box<CloseReason>>,
}

#[derive(Debug)]
struct Control {
    opcode: u8,
    len: usize,
    key: Key,
    payload: Vec<u8>,
}

/// What the header of a frame says.
#[derive(Clone, Copy, Debug)]
struct Frame {
    opcode: u8,
    fin: bool,
    len: u64,
    key: Key,
}

impl Incoming {
    /// `masked`: of a client.
    pub(crate) fn new(masked: bool) -> Self {
        Self {
            masked,
            head: [0; MAX_HEAD],
            have: 0,
            left: 0,
            key: [0; 4],
            in_message: false,
            total: 0,
            control: None,
            prefix: [0; PREFIX],
            undelivered: 0,
            pings: 0,
            pong: None,
            end: None,
        }
    }

    /// Why nothing more is read, once everything before is delivered.
    pub(crate) fn end(&self) -> Option<&CloseReason> {
        self.end.as_deref()
    }

    /// Ends the stream for the peer's fault.
    pub(crate) fn fail(&mut self, error: WebSocketError) {
        self.end.get_or_insert_with(|| Box::new(CloseReason::Failed(error)));
    }

    /// How many pings have come since the last call.
    pub(crate) fn take_pings(&mut self) -> u32 {
        std::mem::take(&mut self.pings)
    }

    /// The payload of the last ping, if it was not taken yet.
    pub(crate) fn take_pong(&mut self) -> Option<Vec<u8>> {
        self.pong.take()
    }

    /// How many bytes of the message under way, or the last one, the peer has announced.
    pub(crate) fn announced(&self) -> u64 {
        self.total
    }

    /// Writes what an earlier buffer had no room for to the front of this one. Returns how much.
    pub(crate) fn deliver(&mut self, buffer: &mut [u8]) -> usize {
        let from = PREFIX.saturating_sub(self.undelivered);
        let waiting = self.prefix.get(from..).unwrap_or_default();
        let mut written = 0_usize;
        for (slot, byte) in buffer.iter_mut().zip(waiting) {
            *slot = *byte;
            written = written.saturating_add(1);
        }
        self.undelivered = self.undelivered.saturating_sub(written);
        written
    }

    /// How many bytes may be read into the end of a buffer of `room` bytes, so that what they become has room in front
    /// of those that are not decoded yet. At least one.
    ///
    /// A payload takes its own length. Of what is behind it, a header that has begun may become one prefix, and each
    /// further frame has at least the shortest header: so while `c` bytes of it are decoded, they become at most
    /// `8 + c * 8 / shortest`, and what is not decoded begins `c` bytes later.
    pub(crate) fn appetite(&self, room: usize) -> usize {
        let payload = usize::try_from(self.left).unwrap_or(usize::MAX).min(room);
        let shortest = if self.masked { SHORTEST_MASKED } else { SHORTEST };
        let behind = room.saturating_sub(payload).saturating_sub(PREFIX);
        let more = behind.saturating_mul(shortest) / PREFIX;
        payload.saturating_add(more).max(self.missing()).min(room)
    }

    /// How many bytes are certainly missing from the header or control frame that has begun or begins now. What is
    /// read of them is taken over before anything is written.
    fn missing(&self) -> usize {
        if self.left > 0 {
            return 1;
        }
        if let Some(control) = &self.control {
            return control.len.saturating_sub(control.payload.len()).max(1);
        }
        let [_, second, ..] = self.head;
        let extended: usize = match second & !MASKED {
            TWO_BYTES if self.have >= 2 => 2,
            EIGHT_BYTES if self.have >= 2 => 8,
            _ => 0,
        };
        let shortest = if self.masked { SHORTEST_MASKED } else { SHORTEST };
        shortest.saturating_add(extended).saturating_sub(self.have).max(1)
    }

    /// Puts a connection header in front of everything.
    pub(crate) fn begin_with(&mut self, header: [u8; PREFIX]) {
        (self.prefix, self.undelivered) = (header, PREFIX);
    }

    /// Decodes the `n` bytes of the connection that were read to `from` in the buffer. Returns how many bytes of the
    /// crate's stream are at its front then. What follows the end of the stream is ignored.
    pub(crate) fn decode(&mut self, buffer: &mut [u8], from: usize, n: usize) -> usize {
        let end = from.saturating_add(n).min(buffer.len());
        let (mut at, mut written) = (from, 0_usize);
        while at < end && self.end.is_none() {
            let raw = buffer.get(at..end).unwrap_or_default();
            if self.left > 0 {
                let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(raw.len());
                self.take_payload(buffer, at, n, written);
                (at, written) = (at.saturating_add(n), written.saturating_add(n));
            } else if self.control.is_some() {
                at = at.saturating_add(self.take_control(raw));
            } else {
                let (n, frame) = self.take_head(raw);
                at = at.saturating_add(n);
                if let Some(frame) = frame
                    && let Some(prefix) = self.begin(frame)
                {
                    let room = buffer.get_mut(written..at.max(written)).unwrap_or_default();
                    written = written.saturating_add(self.put(prefix, room));
                }
            }
        }
        written
    }

    /// Moves payload to where it is wanted, without its mask.
    fn take_payload(&mut self, buffer: &mut [u8], at: usize, n: usize, to: usize) {
        let end = at.saturating_add(n);
        if let Some(payload) = buffer.get_mut(at..end).filter(|_| self.masked) {
            mask(payload, self.key);
            self.key = turned(self.key, n);
        }
        if at != to && end <= buffer.len() && to <= at {
            buffer.copy_within(at..end, to);
        }
        self.left = self.left.saturating_sub(crate::wire::frame::widen(n));
    }

    /// Writes a prefix, as far as there is room.
    fn put(&mut self, prefix: [u8; PREFIX], room: &mut [u8]) -> usize {
        (self.prefix, self.undelivered) = (prefix, PREFIX);
        self.deliver(room)
    }

    /// Takes bytes of a header. Returns how many, and what it says once it is complete.
    fn take_head(&mut self, raw: &[u8]) -> (usize, Option<Frame>) {
        let mut taken = 0_usize;
        for byte in raw {
            if let Some(slot) = self.head.get_mut(self.have) {
                *slot = *byte;
            }
            self.have = self.have.saturating_add(1);
            taken = taken.saturating_add(1);
            match self.parse_head() {
                Ok(None) => {}
                Ok(frame) => {
                    self.have = 0;
                    return (taken, frame);
                }
                Err(error) => {
                    self.fail(error);
                    break;
                }
            }
        }
        (taken, None)
    }

    /// What the header says, if it is complete. A fault is told as early as possible.
    fn parse_head(&self) -> Result<Option<Frame>, WebSocketError> {
        let [first, second, ..] = self.head;
        let (opcode, fin, short) = (first & 0x0F, first & FIN != 0, second & !MASKED);
        self.check_first(first)?;
        if self.have < 2 {
            return Ok(None);
        }
        match (self.masked, second & MASKED != 0) {
            (true, false) => return Err(WebSocketError::Unmasked),
            (false, true) => return Err(WebSocketError::Masked),
            _ => {}
        }
        if opcode >= CLOSE && (short > SHORT || !fin) {
            return Err(WebSocketError::Control);
        }
        let extended = match short {
            TWO_BYTES => 2_usize,
            EIGHT_BYTES => 8,
            _ => 0,
        };
        let length_end = extended.saturating_add(2);
        if self.have < length_end {
            return Ok(None);
        }
        let len = match self.head.get(2..length_end).unwrap_or_default() {
            [] => u64::from(short),
            bytes => bytes.iter().fold(0_u64, |len, byte| len << 8 | u64::from(*byte)),
        };
        let is_shortest = match extended {
            2 => len > u64::from(SHORT),
            8 => len > u64::from(u16::MAX) && len & MORE == 0,
            _ => true,
        };
        if !is_shortest {
            return Err(WebSocketError::Length);
        }
        let mut key = [0; 4];
        if self.masked {
            let key_end = length_end.saturating_add(key.len());
            if self.have < key_end {
                return Ok(None);
            }
            for (slot, byte) in key.iter_mut().zip(self.head.get(length_end..).unwrap_or_default())
            {
                *slot = *byte;
            }
        }
        Ok(Some(Frame { opcode, fin, len, key }))
    }

    /// Checks the first byte of a frame.
    fn check_first(&self, first: u8) -> Result<(), WebSocketError> {
        if first & RESERVED != 0 {
            return Err(WebSocketError::ReservedBits);
        }
        match first & 0x0F {
            TEXT => Err(WebSocketError::Text),
            CONTINUATION if !self.in_message => Err(WebSocketError::Continuation),
            BINARY if self.in_message => Err(WebSocketError::Interleaved),
            CONTINUATION | BINARY | CLOSE | PING | PONG => Ok(()),
            other => Err(WebSocketError::Opcode(other)),
        }
    }

    /// Begins a frame. A data frame has a prefix.
    fn begin(&mut self, frame: Frame) -> Option<[u8; PREFIX]> {
        let Frame { opcode, fin, len, key } = frame;
        if opcode >= CLOSE {
            let len = usize::try_from(len).unwrap_or(MAX_CONTROL);
            let payload = Vec::with_capacity(len.min(MAX_CONTROL));
            self.control = Some(Box::new(Control { opcode, len, key, payload }));
            if len == 0 {
                self.take_control(&[]);
            }
            return None;
        }
        let before = if opcode == BINARY { 0 } else { self.total };
        self.total = before.saturating_add(len);
        (self.left, self.key, self.in_message) = (len, key, !fin);
        Some((len | if fin { 0 } else { MORE }).to_be_bytes())
    }

    /// Takes bytes of a control frame, and does what it says once it is complete. Returns how many.
    fn take_control(&mut self, raw: &[u8]) -> usize {
        let Some(control) = &mut self.control else { return 0 };
        let missing = control.len.saturating_sub(control.payload.len());
        let taken = raw.get(..missing).unwrap_or(raw);
        control.payload.extend_from_slice(taken);
        if control.payload.len() == control.len
            && let Some(mut control) = self.control.take()
        {
            if self.masked {
                mask(&mut control.payload, control.key);
            }
            match control.opcode {
                PING => {
                    self.pings = self.pings.saturating_add(1);
                    self.pong = Some(control.payload);
                }
                CLOSE => self.end = Some(Box::new(closed(&control.payload))),
                _ => {}
            }
        }
        taken.len()
    }
}

/// What a close frame means.
fn closed(payload: &[u8]) -> CloseReason {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return match payload {
            [] => CloseReason::Closed(1000),
            _ => CloseReason::Failed(WebSocketError::Close),
        };
    };
    let code = u16::from_be_bytes(*code);
    let may_be_sent = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if may_be_sent && std::str::from_utf8(reason).is_ok() {
        CloseReason::Closed(code)
    } else {
        CloseReason::Failed(WebSocketError::Close)
    }
}
