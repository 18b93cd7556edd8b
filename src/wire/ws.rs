//! WebSocket: the upgrade of HTTP, and the frames that follow, by RFC 6455 and `docs/spec/wire.md`, section 7.
//!
//! ```text
//! the crate's stream     header (8)           [more][length][part of a message] ...
//!                          |                      |
//! on the connection      upgrade, subprotocol   [FIN, opcode][length][mask][payload] ...
//! ```
//!
//! Owns the translation between the two, in both directions, without a buffer for a message: [`Incoming`] decodes in
//! the buffer that is read into, [`Framer`] frames the slices that are written. Pure, as all of `wire`.
//!
//! Why not a WebSocket library: one that keeps its socket or its messages would copy each body once more, and wants one
//! owner for both directions, where here a thread that sends writes while the event loop reads. The parser of HTTP is
//! `httparse`; what is left is a header of two to fourteen bytes.

mod framer;
mod incoming;
pub(crate) mod upgrade;

pub(crate) use framer::{Framer, Part};
pub(crate) use incoming::{CloseReason, Incoming};

/// The longest header of a frame.
const MAX_HEAD: usize = 14;

/// The longest payload of a control frame.
const MAX_CONTROL: usize = 125;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;
const SHORT: u8 = 125;
const TWO_BYTES: u8 = 126;
const EIGHT_BYTES: u8 = 127;

const CONTINUATION: u8 = 0;
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The key of a masked frame, from the byte that is next.
pub(crate) type Key = [u8; 4];

/// Masks bytes, or takes the mask off.
pub(crate) fn mask(bytes: &mut [u8], key: Key) {
    let [a, b, c, d] = key;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, key) in rest.iter_mut().zip(key.iter().cycle()) {
        *byte ^= key;
    }
}

/// The key for what comes `n` bytes later.
fn turned(mut key: Key, n: usize) -> Key {
    key.rotate_left(n % 4);
    key
}

/// A control frame: unmasked, or with this key.
fn control(opcode: u8, payload: &[u8], key: Option<Key>) -> Vec<u8> {
    let payload = payload.get(..MAX_CONTROL).unwrap_or(payload);
    let length = u8::try_from(payload.len()).unwrap_or(SHORT);
    let mut frame = vec![FIN | opcode, length | if key.is_some() { MASKED } else { 0 }];
    frame.extend(key.iter().flatten());
    let begin = frame.len();
    frame.extend_from_slice(payload);
    if let (Some(key), Some(payload)) = (key, frame.get_mut(begin..)) {
        mask(payload, key);
    }
    frame
}

/// The answer to a ping.
pub(crate) fn pong(payload: &[u8], key: Option<Key>) -> Vec<u8> {
    control(PONG, payload, key)
}

/// A close frame.
pub(crate) fn close(code: u16, key: Option<Key>) -> Vec<u8> {
    control(CLOSE, &code.to_be_bytes(), key)
}

/// Feeds `data` to two decoders of frames, in different pieces and buffers, and what comes out to an encoder and
/// another decoder. Checks that all agree.
///
/// # Panics
///
/// Panics when they do not.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let [how, piece, room, stream @ ..] = data else { return };
    let masked = how & 1 != 0;
    let (piece, room) = (usize::from(*piece) + 1, usize::from(*room) + 1);
    let whole = check::read(Incoming::new(masked), stream, usize::MAX, 4096);
    let cut = check::read(Incoming::new(masked), stream, piece, room);
    assert_eq!(whole, cut);
    // What came out goes in again.
    if let Some(messages) = check::whole_messages(&whole.bytes) {
        let wire = check::write(Framer::new(!masked), &messages, piece, room);
        let back = check::read(Incoming::new(!masked), &wire, piece, room);
        assert_eq!(back.bytes, messages);
        assert_eq!(back.end, None);
    }
}

/// Checks that tests and fuzz targets share.
#[cfg(any(test, fuzzing))]
mod check {
    use super::{CloseReason, Framer, Incoming, Part, mask};

    /// Everything that came out of a stream.
    #[derive(Debug, PartialEq, Eq)]
    pub(super) struct Read {
        pub(super) bytes: Vec<u8>,
        pub(super) pong: Option<Vec<u8>>,
        pub(super) end: Option<CloseReason>,
    }

    /// Decodes `stream`, of which at most `piece` bytes arrive at once, into buffers of `room` bytes.
    pub(super) fn read(
        mut incoming: Incoming,
        mut stream: &[u8],
        piece: usize,
        room: usize,
    ) -> Read {
        let (mut bytes, mut pong) = (Vec::new(), None);
        let mut buffer = vec![0; room];
        loop {
            let given = incoming.deliver(&mut buffer);
            bytes.extend_from_slice(&buffer[..given]);
            if given > 0 {
                continue;
            }
            if incoming.end().is_some() || stream.is_empty() {
                return Read { bytes, pong, end: incoming.end().cloned() };
            }
            let most = incoming.appetite(room);
            assert!((1..=room).contains(&most), "{most} of {room}");
            let n = most.min(piece).min(stream.len());
            let from = room - most;
            let (now, later) = stream.split_at(n);
            stream = later;
            buffer[from..from + n].copy_from_slice(now);
            let written = incoming.decode(&mut buffer, from, n);
            bytes.extend_from_slice(&buffer[..written]);
            pong = incoming.take_pong().or(pong);
        }
    }

    /// The messages that are whole, in one frame each.
    pub(super) fn whole_messages(mut bytes: &[u8]) -> Option<Vec<u8>> {
        let (mut all, mut message) = (Vec::new(), Vec::new());
        while let Some((prefix, rest)) = bytes.split_first_chunk::<8>() {
            let raw = u64::from_be_bytes(*prefix);
            let len = usize::try_from(raw & !(1 << 63)).ok()?;
            let Some((part, rest)) = rest.split_at_checked(len) else { break };
            bytes = rest;
            message.extend_from_slice(part);
            if raw >> 63 == 0 {
                all.extend_from_slice(&(message.len() as u64).to_be_bytes());
                all.append(&mut message);
            }
        }
        (!all.is_empty()).then_some(all)
    }

    /// Encodes `messages`, which are written in slices of `piece` bytes, to a kernel that takes `room` at once.
    pub(super) fn write(
        mut framer: Framer,
        mut messages: &[u8],
        piece: usize,
        room: usize,
    ) -> Vec<u8> {
        let mut wire = Vec::new();
        while !messages.is_empty() {
            let slices: Vec<_> = messages.chunks(piece).take(64).collect();
            let (mut left, mut planned) = (room, Vec::new());
            let mut plan = framer.clone();
            let all = plan.advance(&slices, |part| {
                let n = part.len().min(left);
                left -= n;
                let begin = planned.len();
                planned.extend_from_slice(&part.bytes()[..n]);
                if let Part::Payload(_, Some(key)) = part {
                    mask(&mut planned[begin..], key);
                }
                n
            });
            // The kernel takes less than was planned.
            let mut left = planned.len().div_ceil(2);
            wire.extend_from_slice(&planned[..left]);
            let taken = framer.advance(&slices, |part| {
                let n = part.len().min(left);
                left -= n;
                n
            });
            assert!(taken <= all);
            assert_eq!(left, 0, "what was planned comes again");
            messages = &messages[taken..];
        }
        wire
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::check::{Read, read, write};
    use super::*;
    use crate::rounds::rounds;
    use crate::websocket::WebSocketError;

    /// Reads in all pieces and rooms, which must agree.
    fn got(masked: bool, stream: &[u8]) -> Read {
        let whole = read(Incoming::new(masked), stream, usize::MAX, 4096);
        for piece in [1, 2, 3, 7, 4096] {
            for room in [1, 2, 7, 8, 9, 16, 40, 4096] {
                let cut = read(Incoming::new(masked), stream, piece, room);
                assert_eq!(cut, whole, "{piece} bytes into {room}");
            }
        }
        whole
    }

    fn message(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64).to_be_bytes()[..], text].concat()
    }

    fn part(text: &[u8]) -> Vec<u8> {
        [&(text.len() as u64 | 1 << 63).to_be_bytes()[..], text].concat()
    }

    fn good(bytes: Vec<u8>) -> Read {
        Read { bytes, pong: None, end: None }
    }

    fn failed(error: WebSocketError) -> Read {
        Read { bytes: Vec::new(), pong: None, end: Some(CloseReason::Failed(error)) }
    }

    /// C315: W7, W9, W12 to W14, W17, W18, W20.
    #[test]
    fn good_frames_of_a_client() {
        let hello = b"\x82\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58";
        assert_eq!(got(true, hello), good(message(b"Hello")));
        let request = b"\x82\x87\0\0\0\0\x80\0\0\x01abc";
        assert_eq!(got(true, request), good(message(b"\x80\0\0\x01abc")));
        assert_eq!(got(true, b"\x82\x80\0\0\0\0"), good(message(b"")));

        let ping = b"\x89\x81\0\0\0\0x";
        let pong = Some(b"x".to_vec());
        assert_eq!(got(true, ping), Read { pong: pong.clone(), ..good(Vec::new()) });
        assert_eq!(super::pong(b"x", None), b"\x8A\x01x");

        let (first, second) = (b"\x02\x81\0\0\0\0a", b"\x80\x81\0\0\0\0b");
        let both = [part(b"a"), message(b"b")].concat();
        assert_eq!(got(true, &[&first[..], second].concat()), good(both.clone()));
        let between = [&first[..], ping, second].concat();
        assert_eq!(got(true, &between), Read { pong, ..good(both) });

        for len in [125_usize, 126, 65_535, 65_536] {
            let payload: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let head = match u16::try_from(len) {
                Ok(len) if len <= 125 => vec![0x82, 0x80 | len as u8],
                Ok(len) => [&[0x82, 0xFE][..], &len.to_be_bytes()].concat(),
                Err(_) => [&[0x82, 0xFF][..], &(len as u64).to_be_bytes()].concat(),
            };
            let stream = [&head[..], &[0; 4], &payload].concat();
            for (piece, room) in [(usize::MAX, 1 << 17), (1000, 300), (70_000, 64)] {
                let read = read(Incoming::new(true), &stream, piece, room);
                assert!(read == good(message(&payload)), "{len} bytes");
            }
        }
    }

    /// C315: W8, W11, W15, W19, W22; J10.
    #[test]
    fn each_fault_of_a_frame_has_its_error() {
        let table: [(bool, &[u8], WebSocketError); 19] = [
            (true, b"\x82\x05\x48\x65", WebSocketError::Unmasked),
            (false, b"\x82\x81\0\0\0\0a", WebSocketError::Masked),
            (true, b"\x81\x85\x37\xFA\x21\x3D\x7F\x9F\x4D\x51\x58", WebSocketError::Text),
            (false, b"\x01\x01a", WebSocketError::Text),
            (true, b"\x80\x81\0\0\0\0b", WebSocketError::Continuation),
            (true, b"\x82\xFE\0\x05\0\0\0\0Hello", WebSocketError::Length),
            (true, b"\x82\xFF\0\0\0\0\0\0\xFF\xFF\0\0\0\0", WebSocketError::Length),
            (true, b"\x82\xFF\x80\0\0\0\0\0\0\0\0\0\0\0", WebSocketError::Length),
            (true, b"\xC2\x81\0\0\0\0b", WebSocketError::ReservedBits),
            (true, b"\x92\x81\0\0\0\0b", WebSocketError::ReservedBits),
            (true, b"GET / HTTP/1.1", WebSocketError::ReservedBits),
            (true, b"\x83\x81\0\0\0\0b", WebSocketError::Opcode(3)),
            (true, b"\x8B\x81\0\0\0\0b", WebSocketError::Opcode(11)),
            (true, b"\x89\xFE\0\x7E\0\0\0\0", WebSocketError::Control),
            (true, b"\x09\x80\0\0\0\0", WebSocketError::Control),
            (true, b"\x88\x81\0\0\0\0b", WebSocketError::Close),
            (true, b"\x88\x82\0\0\0\0\x03\xEC", WebSocketError::Close),
            (true, b"\x88\x82\0\0\0\0\x03\xE7", WebSocketError::Close),
            (true, b"\x88\x83\0\0\0\0\x03\xE8\xFF", WebSocketError::Close),
        ];
        for (masked, bytes, error) in table {
            assert_eq!(got(masked, bytes), failed(error), "{bytes:02x?}");
        }
        let begin = b"\x02\x81\0\0\0\0a";
        let within = got(true, &begin.repeat(2));
        assert_eq!(within.end, Some(CloseReason::Failed(WebSocketError::Interleaved)));
        assert_eq!(within.bytes, part(b"a"), "what came before it is there");
    }

    /// C315: W21.
    #[test]
    fn a_close_ends_the_stream_and_is_answered_with_its_code() {
        let closed = |code| Read { end: Some(CloseReason::Closed(code)), ..good(Vec::new()) };
        assert_eq!(got(true, b"\x88\x82\0\0\0\0\x03\xE8"), closed(1000));
        assert_eq!(got(true, b"\x88\x82\0\0\0\0\x0B\xB8what follows is ignored"), closed(3000));
        assert_eq!(got(false, b"\x88\0"), closed(1000));
        assert_eq!(close(1000, None), b"\x88\x02\x03\xE8");
        assert_eq!(close(1002, Some([0; 4])), b"\x88\x82\0\0\0\0\x03\xEA");
    }

    #[test]
    fn the_last_of_many_pings_is_to_be_answered() {
        let stream: Vec<u8> = (0..50).flat_map(|n| [0x89, 0x81, 0, 0, 0, 0, n]).collect();
        let mut incoming = Incoming::new(true);
        let mut buffer = vec![0; 4096];
        let from = buffer.len() - stream.len();
        buffer[from..].copy_from_slice(&stream);
        assert_eq!(incoming.decode(&mut buffer, from, stream.len()), 0);
        assert_eq!(incoming.take_pings(), 50);
        assert_eq!(incoming.take_pong(), Some(vec![49]));
        assert_eq!((incoming.take_pong(), incoming.take_pings()), (None, 0));
    }

    /// C315: W10.
    #[test]
    fn what_a_server_sends() {
        let reply = message(b"\x80\0\0\x01ok");
        let frame = b"\x82\x06\x80\0\0\x01ok";
        for room in [1, 3, 100] {
            assert_eq!(write(Framer::new(false), &reply, 5, room), frame);
        }
        assert_eq!(write(Framer::new(false), &message(b""), 8, 1), b"\x82\0");
        let long = message(&[7; 126]);
        assert_eq!(write(Framer::new(false), &long, 50, 50)[..5], *b"\x82\x7E\0\x7E\x07");
        let longer = message(&[7; 65_536]);
        let head = b"\x82\x7F\0\0\0\0\0\x01\0\0\x07";
        assert_eq!(write(Framer::new(false), &longer, 70_000, 9000)[..11], *head);
    }

    #[test]
    fn each_frame_of_a_client_has_a_key_of_its_own() {
        let both = [message(b""), message(b"")].concat();
        let wire = write(Framer::new(true), &both, 100, 100);
        assert_eq!((wire.len(), &wire[..2], &wire[6..8]), (12, &b"\x82\x80"[..], &b"\x82\x80"[..]));
        assert_ne!(wire[2..6], wire[8..12]);
    }

    #[test]
    fn masking_twice_changes_nothing() {
        let bytes: Vec<u8> = (0..100).collect();
        for begin in 0..9 {
            for end in [begin, begin + 1, begin + 7, 100] {
                let mut masked = bytes.clone();
                mask(&mut masked[begin..end], [1, 2, 3, 4]);
                let by_one: Vec<u8> = (bytes[begin..end].iter().enumerate())
                    .map(|(i, byte)| byte ^ [1, 2, 3, 4][i % 4])
                    .collect();
                assert_eq!(masked[begin..end], by_one);
                mask(&mut masked[begin..end], [1, 2, 3, 4]);
                assert_eq!(masked, bytes);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(256)))]

        #[test]
        fn messages_survive_any_reads_and_writes(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..400), 1..9),
            masked: bool,
            piece in 1..300_usize,
            room in 1..300_usize,
        ) {
            let messages: Vec<u8> = bodies.iter().flat_map(|body| message(body)).collect();
            let wire = write(Framer::new(masked), &messages, piece, room);
            let back = read(Incoming::new(masked), &wire, room, piece);
            prop_assert_eq!(back, good(messages));
        }

        #[test]
        fn arbitrary_bytes_never_panic(data: Vec<u8>) {
            fuzz(&data);
        }

        #[test]
        fn nearly_good_frames_never_panic(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
            faults in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            how: [u8; 3],
        ) {
            let messages: Vec<u8> = bodies.iter().flat_map(|body| message(body)).collect();
            let wire = write(Framer::new(how[0] & 1 != 0), &messages, 64, 64);
            let mut data = [&how[..], &wire].concat();
            for (at, byte) in faults {
                let at = at.index(data.len());
                data[at] = byte;
            }
            fuzz(&data);
        }
    }
}
