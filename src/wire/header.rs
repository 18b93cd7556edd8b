//! The connection header: eight bytes that each side sends before anything else.
//!
//! ```text
//! 00 53 50 00  id id  00 00      magic, version, protocol id (big-endian), reserved
//! ```
//!
//! Owns the meaning of these bytes and the order in which they are checked (`docs/spec/wire.md`, section 3).
//! The connection sets the time limit for their arrival, and ends when they are wrong.

use crate::error::HeaderError;
use crate::protocol_id::ProtocolId;

/// Length of the header in bytes.
pub(crate) const LEN: usize = 8;

const MAGIC: [u8; 3] = [0x00, b'S', b'P'];
const VERSION: u8 = 0;
const RESERVED: [u8; 2] = [0; 2];

/// The header that a socket of protocol `id` sends first on every connection.
pub(crate) fn encode(id: ProtocolId) -> [u8; LEN] {
    let [zero, s, p] = MAGIC;
    let [high, low] = id.number().to_be_bytes();
    let [reserved, more] = RESERVED;
    [zero, s, p, VERSION, high, low, reserved, more]
}

/// Reads a peer's header, in however many pieces it arrives, and reports a fault as early as possible.
///
/// The verdict does not depend on the pieces: the parser checks magic, version, reserved bytes and id in
/// this order and reports the first fault. The bytes arrive in the same order, except that the id comes
/// before the reserved bytes, and is checked after them. A verdict is final: the parser repeats it when
/// asked again.
#[derive(Debug)]
pub(crate) struct HeaderParser {
    expected: ProtocolId,
    /// The header so far. Bytes that have not arrived have the values that they should have, so that the
    /// whole can be checked at any time.
    bytes: [u8; LEN],
    /// How many of `bytes` are the peer's.
    received: u8,
}

impl HeaderParser {
    /// A parser that accepts only a peer of protocol `expected`.
    pub(crate) fn new(expected: ProtocolId) -> Self {
        Self { expected, bytes: encode(expected), received: 0 }
    }

    /// Takes the bytes that belong to the header off the front of `input`, and returns the verdict, or
    /// `None` while the header may still turn out good. After `Ok`, `input` holds the peer's first frames.
    pub(crate) fn parse(&mut self, input: &mut &[u8]) -> Option<Result<(), HeaderError>> {
        let wanted = self.missing().min(input.len());
        let taken = input.split_off(..wanted)?;
        for (slot, byte) in self.bytes.iter_mut().skip(self.received.into()).zip(taken) {
            *slot = *byte;
            self.received = self.received.saturating_add(1);
        }
        match self.judge() {
            Ok(()) if self.missing() > 0 => None,
            verdict => Some(verdict),
        }
    }

    /// How many bytes of the header are still to come.
    pub(crate) fn missing(&self) -> usize {
        LEN.saturating_sub(self.received.into())
    }

    fn judge(&self) -> Result<(), HeaderError> {
        let [zero, s, p, version, high, low, reserved @ ..] = self.bytes;
        let announced = ProtocolId::from_wire(u16::from_be_bytes([high, low]));
        if [zero, s, p] != MAGIC {
            Err(HeaderError::Magic)
        } else if version != VERSION {
            Err(HeaderError::Version(version))
        } else if reserved != RESERVED {
            Err(HeaderError::Reserved)
        } else if announced != self.expected && self.missing() == 0 {
            Err(HeaderError::Peer { expected: self.expected, announced })
        } else {
            Ok(())
        }
    }
}

/// Feeds `data` to a parser, whole and in two pieces: the first byte says where to cut, the second which
/// protocol the peer must have.
///
/// # Panics
///
/// Panics when the verdicts differ, or when an accepted header is not the one that we would send.
#[cfg(any(test, fuzzing))]
pub(crate) fn fuzz(data: &[u8]) {
    let [cut, peer, stream @ ..] = data else {
        return;
    };
    let peer = ProtocolId::from_wire(u16::from(*peer));
    let (first, second) = stream.split_at(usize::from(*cut).min(stream.len()));

    let mut rest = stream;
    let verdict = HeaderParser::new(peer).parse(&mut rest);
    let mut parser = HeaderParser::new(peer);
    let (mut a, mut b) = (first, second);
    let cut_verdict = parser.parse(&mut a).or_else(|| parser.parse(&mut b));

    assert_eq!(verdict, cut_verdict);
    if verdict == Some(Ok(())) {
        assert!(stream.starts_with(&encode(peer)));
        assert_eq!(rest, stream.get(LEN..).unwrap_or_default());
        assert_eq!(rest.len(), a.len().saturating_add(b.len()));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Parses `bytes` cut in two at each position, and byte by byte. All verdicts must agree.
    fn verdict(expected: ProtocolId, bytes: &[u8]) -> Option<Result<(), HeaderError>> {
        let whole = HeaderParser::new(expected).parse(&mut &bytes[..]);
        for cut in 0..=bytes.len() {
            let mut parser = HeaderParser::new(expected);
            let first = parser.parse(&mut &bytes[..cut]);
            assert_eq!(first.or_else(|| parser.parse(&mut &bytes[cut..])), whole);
        }
        let mut parser = HeaderParser::new(expected);
        let mut single = bytes.chunks(1).map(|mut byte| parser.parse(&mut byte));
        assert_eq!(single.find_map(|verdict| verdict), whole);
        whole
    }

    fn mismatch(expected: ProtocolId, announced: u16) -> Option<Result<(), HeaderError>> {
        Some(Err(HeaderError::Peer { expected, announced: ProtocolId::from_wire(announced) }))
    }

    const ALL: [(ProtocolId, u8, ProtocolId); 11] = [
        (ProtocolId::PAIR, 0x10, ProtocolId::PAIR),
        (ProtocolId::PAIR1, 0x11, ProtocolId::PAIR1),
        (ProtocolId::PUB, 0x20, ProtocolId::SUB),
        (ProtocolId::SUB, 0x21, ProtocolId::PUB),
        (ProtocolId::REQ, 0x30, ProtocolId::REP),
        (ProtocolId::REP, 0x31, ProtocolId::REQ),
        (ProtocolId::PUSH, 0x50, ProtocolId::PULL),
        (ProtocolId::PULL, 0x51, ProtocolId::PUSH),
        (ProtocolId::SURVEYOR, 0x62, ProtocolId::RESPONDENT),
        (ProtocolId::RESPONDENT, 0x63, ProtocolId::SURVEYOR),
        (ProtocolId::BUS, 0x70, ProtocolId::BUS),
    ];

    #[test]
    fn e1_to_e11_every_protocol_announces_itself() {
        for (id, number, _) in ALL {
            assert_eq!(encode(id), [0, 0x53, 0x50, 0, 0, number, 0, 0], "{id}");
        }
    }

    #[test]
    fn the_matrix_of_who_may_talk_to_whom() {
        for (_, _, expected) in ALL {
            for (announced, _, _) in ALL {
                let accepted = verdict(expected, &encode(announced)) == Some(Ok(()));
                assert_eq!(accepted, announced == expected);
            }
        }
    }

    #[test]
    fn h1_h2_h21_h22_a_fitting_peer_is_accepted_however_its_header_is_cut() {
        let accepted = |peer, id| verdict(peer, &[0, 0x53, 0x50, 0, 0, id, 0, 0]) == Some(Ok(()));
        assert!(accepted(ProtocolId::REQ, 0x30));
        assert!(accepted(ProtocolId::BUS, 0x70));
        assert!(accepted(ProtocolId::RESPONDENT, 0x63));
    }

    #[test]
    fn h3_the_first_frame_is_left_in_the_input() {
        let mut input: &[u8] = b"\0SP\0\0\x50\0\0\0\0\0\0\0\0\0\x01A";
        let mut parser = HeaderParser::new(ProtocolId::PUSH);
        assert_eq!(parser.parse(&mut input), Some(Ok(())));
        assert_eq!(input, b"\0\0\0\0\0\0\0\x01A");
    }

    #[test]
    fn h4_to_h7_h13_h20_h23_h24_another_protocol_is_refused() {
        let cases: [(ProtocolId, u16); 8] = [
            (ProtocolId::REQ, 0x0031),
            (ProtocolId::PAIR, 0x0011),
            (ProtocolId::PAIR1, 0x0010),
            (ProtocolId::SURVEYOR, 0x0060),
            (ProtocolId::REQ, 0x3000),
            (ProtocolId::PUB, 0x0021),
            (ProtocolId::PULL, 0x0050),
            (ProtocolId::PAIR, 0x0F10),
        ];
        for (expected, announced) in cases {
            let header = encode(ProtocolId::from_wire(announced));
            assert_eq!(verdict(expected, &header), mismatch(expected, announced));
        }
    }

    #[test]
    fn h8_to_h12_h18_broken_headers_are_refused() {
        let cases: [(&[u8], HeaderError); 6] = [
            (b"\x01SP\0\0\x30\0\0", HeaderError::Magic),
            (b"\0sp\0\0\x30\0\0", HeaderError::Magic),
            (b"\0SP\x01\0\x30\0\0", HeaderError::Version(1)),
            (b"\0SP\0\0\x30\0\x01", HeaderError::Reserved),
            (b"\0SP\0\0\x30\x80\0", HeaderError::Reserved),
            (b"GET / HTTP", HeaderError::Magic),
        ];
        for (header, error) in cases {
            assert_eq!(verdict(ProtocolId::REQ, header), Some(Err(error)));
        }
    }

    #[test]
    fn h14_to_h17_an_unfinished_header_has_no_verdict() {
        let header = encode(ProtocolId::REQ);
        for received in 0..LEN {
            assert_eq!(verdict(ProtocolId::REQ, &header[..received]), None);
        }
    }

    #[test]
    fn h19_a_broken_header_does_not_rub_off_on_the_next_connection() {
        for broken in 0..13_u8 {
            let mut header = encode(ProtocolId::REQ);
            header[usize::from(broken % 8)] ^= 1 + broken / 8;
            assert!(matches!(verdict(ProtocolId::REQ, &header), Some(Err(_))));
        }
        assert_eq!(verdict(ProtocolId::REQ, &encode(ProtocolId::REQ)), Some(Ok(())));
    }

    #[test]
    fn of_several_faults_the_first_in_the_order_of_checks_is_reported() {
        let refused = |header: &[u8]| verdict(ProtocolId::REQ, header).unwrap().unwrap_err();
        assert_eq!(refused(b"\0SQ\x07\0\x99\x01\0"), HeaderError::Magic);
        assert_eq!(refused(b"\0SP\x07\0\x99\x01\0"), HeaderError::Version(7));
        assert_eq!(refused(b"\0SP\0\0\x99\x01\0"), HeaderError::Reserved);
    }

    #[test]
    fn a_wrong_byte_is_reported_as_soon_as_it_is_seen() {
        let verdict = |bytes: &[u8]| HeaderParser::new(ProtocolId::REQ).parse(&mut &bytes[..]);
        assert_eq!(verdict(b"G"), Some(Err(HeaderError::Magic)));
        assert_eq!(verdict(b"\0SP\x01"), Some(Err(HeaderError::Version(1))));
        assert_eq!(verdict(b"\0SP\0\0\x99"), None);
        assert_eq!(verdict(b"\0SP\0\0\x99\x01"), Some(Err(HeaderError::Reserved)));
    }

    #[test]
    fn a_verdict_is_final() {
        let mut parser = HeaderParser::new(ProtocolId::REQ);
        assert_eq!(parser.parse(&mut &b"\0SP\x01"[..]), Some(Err(HeaderError::Version(1))));
        assert_eq!(parser.parse(&mut &b"\0\x30\0\0"[..]), Some(Err(HeaderError::Version(1))));
        assert_eq!(parser.parse(&mut &b""[..]), Some(Err(HeaderError::Version(1))));
    }

    proptest! {
        #[test]
        fn a_verdict_does_not_depend_on_the_cuts(
            mut header in any::<[u8; LEN]>().prop_map(|noise| noise.map(|byte| byte & 1)),
            expected in any::<u8>(),
        ) {
            for (byte, ours) in header.iter_mut().zip(encode(ProtocolId::REQ)) {
                *byte ^= ours;
            }
            verdict(ProtocolId::REQ, &header);
            verdict(ProtocolId::from_wire(u16::from(expected)), &header);
        }

        #[test]
        fn arbitrary_bytes_are_judged_alike_whole_and_cut(data: Vec<u8>) {
            fuzz(&data);
        }
    }
}
