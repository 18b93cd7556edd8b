//! The header of REQ, REP, SURVEYOR and RESPONDENT: a backtrace that ends in an id.
//!
//! ```text
//! [pipe b][pipe a][id | top bit] body
//! ```
//!
//! Owns its bytes and the numbering of requests and surveys. Every word but the last names a pipe of a device
//! on the way, and has no meaning elsewhere; the last is the only one with its top bit set. Wire
//! specification, sections 8.2, 9, 10 and 11.

#![cfg_attr(
    not(any(test, fuzzing)),
    deny(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        clippy::expect_used,
        clippy::indexing_slicing
    )
)]

use bytes::Bytes;
use smallvec::SmallVec;

use super::conversation::Conversation;
use super::route::Peek;
use crate::body::Body;
use crate::message::Frame;
use crate::number_map::NumberMap;
use crate::stats::DropReason;

/// The bit that marks the last word of a backtrace.
const END: u32 = 0x8000_0000;
const WORD: usize = 4;

/// The words of a backtrace, id included. A short one takes no memory of its own.
pub(crate) type Backtrace = SmallVec<[u8; 4 * WORD]>;

/// Splits what a REP or RESPONDENT has received into the backtrace and the body.
///
/// A backtrace that does not end within `ttl` words is over the limit, whatever comes behind.
#[inline(always)]
pub(super) fn split(mut frame: Frame, ttl: u8) -> Result<(Backtrace, Body), DropReason> {
    let length = length(&frame, usize::from(ttl))?;
    let words = frame.take_off(length, copied).ok_or(DropReason::Malformed)?;
    Ok((words, frame.into_body()))
}

#[inline]
fn copied(words: &[u8]) -> Backtrace {
    // Nearly always it is the id alone, and a known length is copied in place.
    if words.len() == WORD {
        let mut place = [0; 4 * WORD];
        place[..WORD].copy_from_slice(words);
        return Backtrace::from_buf_and_len(place, WORD);
    }
    Backtrace::from_slice(words)
}

/// Splits what a raw REQ or SURVEYOR has received, whose header has no limit but its own length.
pub(super) fn split_all(mut frame: Frame) -> Result<(Bytes, Body), DropReason> {
    let length = length(&frame, usize::MAX / WORD)?;
    let words = frame.take(length).ok_or(DropReason::Malformed)?;
    Ok((words, frame.into_body()))
}

/// Checks a message that is still in its pipe, as `split` would.
pub(super) fn check(message: Peek<'_>, ttl: u8) -> Result<(), DropReason> {
    length_by(|at| message.word(at), usize::from(ttl)).map(|_| ())
}

/// Checks a message that is still in its pipe, as `split_all` would.
pub(super) fn check_all(message: Peek<'_>) -> Result<(), DropReason> {
    length_by(|at| message.word(at), usize::MAX / WORD).map(|_| ())
}

/// The length of the backtrace at the front, which may have `limit` words.
#[inline]
fn length(frame: &Frame, limit: usize) -> Result<usize, DropReason> {
    length_by(|at| frame.word(at), limit)
}

/// The same for a message whose words are given by `word`.
#[inline]
fn length_by(word: impl Fn(usize) -> Option<u32>, limit: usize) -> Result<usize, DropReason> {
    for at in (0..).step_by(WORD).take(limit) {
        let word = word(at).ok_or(DropReason::Malformed)?;
        if word & END != 0 {
            return Ok(at.saturating_add(WORD));
        }
    }
    Err(DropReason::TtlExceeded)
}

/// Splits what a REQ or SURVEYOR has received into the id it answers and the body.
#[inline(always)]
pub(super) fn answer(mut frame: Frame) -> Result<(RequestId, Body), DropReason> {
    let word = frame.word(0).ok_or(DropReason::Malformed)?;
    if word & END == 0 {
        return Err(DropReason::Stale);
    }
    frame.take_off(WORD, |_| ()).ok_or(DropReason::Malformed)?;
    Ok((RequestId(word & !END), frame.into_body()))
}

/// Whether a raw REQ or SURVEYOR may send with this header. The sender answers for the meaning of the words.
pub(super) fn is_whole_words(header: &[u8]) -> bool {
    !header.is_empty() && header.len().is_multiple_of(WORD)
}

/// The id of one request or survey: 31 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct RequestId(u32);

impl RequestId {
    /// The header of a request as it leaves its REQ or SURVEYOR.
    pub(super) fn header(self) -> [u8; WORD] {
        (self.0 | END).to_be_bytes()
    }
}

/// Gives out ids and knows which conversation waits for an answer to which.
///
/// Ids go up by one modulo 2^31 from a random start, so that a new socket on the same address is not mistaken
/// for its predecessor. An id that is still outstanding is skipped. A peer that has seen one can guess the
/// next, so an id does not prove that its sender was asked.
#[derive(Debug)]
pub(super) struct Ids {
    next: u32,
    /// The id that was made last and who owns it, while it is outstanding. Nearly always the only one.
    latest: Option<(RequestId, Conversation)>,
    /// The others that are outstanding.
    others: NumberMap<RequestId, Conversation>,
}

impl Ids {
    pub(super) fn new(seed: u32) -> Self {
        Self { next: seed & !END, latest: None, others: NumberMap::default() }
    }

    /// Makes a fresh id, outstanding from now on.
    #[inline]
    pub(super) fn issue(&mut self, owner: Conversation) -> RequestId {
        if let Some((id, owner)) = self.latest.take() {
            self.others.insert(id, owner);
        }
        loop {
            let id = RequestId(self.next);
            self.next = self.next.wrapping_add(1) & !END;
            if !self.others.contains_key(&id) {
                self.latest = Some((id, owner));
                return id;
            }
        }
    }

    /// The conversation that waits for an answer to `id`.
    #[inline]
    pub(super) fn owner(&self, id: RequestId) -> Option<Conversation> {
        match self.latest {
            Some((latest, owner)) if latest == id => Some(owner),
            _ => self.others.get(&id).copied(),
        }
    }

    /// Retires an id: nobody waits for an answer to it any more.
    #[inline]
    pub(super) fn retire(&mut self, id: RequestId) {
        match self.latest {
            Some((latest, _)) if latest == id => self.latest = None,
            _ => _ = self.others.remove(&id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::conversation::Conversations;
    use super::*;

    const HEAD: &[u8] = &[0x80, 0, 0, 1];

    fn frame(bytes: &[u8]) -> Frame {
        Frame::new(Bytes::new(), Bytes::copy_from_slice(bytes))
    }

    /// `plain` words without the top bit, then the terminator, then "a".
    fn traced(plain: u8) -> Frame {
        let mut bytes: Vec<u8> = (1..=plain).flat_map(|k| [0, 0, 0, k]).collect();
        bytes.extend_from_slice(HEAD);
        bytes.push(b'a');
        frame(&bytes)
    }

    fn body(frame: Frame, ttl: u8) -> Result<Bytes, DropReason> {
        split(frame, ttl).map(|(_, body)| body.into_bytes())
    }

    // B1 to B4, B10, B17.
    #[test]
    fn a_backtrace_ends_at_the_first_word_with_its_top_bit() {
        for (bytes, words, body) in [
            (&b"\x80\0\0\x01abc"[..], &b"\x80\0\0\x01"[..], &b"abc"[..]),
            (b"\x80\0\0\x01", b"\x80\0\0\x01", b""),
            (b"\x80\0\0\0a", b"\x80\0\0\0", b"a"),
            (b"\xFF\xFF\xFF\xFFa", b"\xFF\xFF\xFF\xFF", b"a"),
            (b"\0\0\0\x07\x80\0\0\x01a", b"\0\0\0\x07\x80\0\0\x01", b"a"),
            (b"\x80\0\0\x05\x80\0\0\x06a", b"\x80\0\0\x05", b"\x80\0\0\x06a"),
        ] {
            let split = split(frame(bytes), 8).unwrap();
            assert_eq!((&split.0[..], &split.1[..]), (words, body));
        }
    }

    // B5 to B9.
    #[test]
    fn a_backtrace_without_an_end_is_malformed() {
        for bytes in [&b""[..], b"\x80\0\0", b"\0\0\0\x01", b"\0\0\0\x01\x80", b"\0\x01\x02\x03ab"]
        {
            assert_eq!(body(frame(bytes), 8), Err(DropReason::Malformed), "{bytes:?}");
        }
    }

    // B11 to B16.
    #[test]
    fn the_ttl_counts_the_words_up_to_and_including_the_end() {
        assert_eq!(body(traced(7), 8).unwrap(), "a");
        assert_eq!(body(traced(8), 8), Err(DropReason::TtlExceeded));
        assert_eq!(body(traced(0), 1).unwrap(), "a");
        assert_eq!(body(traced(1), 1), Err(DropReason::TtlExceeded));
        assert_eq!(body(traced(254), 255).unwrap(), "a");
        assert_eq!(body(traced(255), 255), Err(DropReason::TtlExceeded));
        assert_eq!(body(frame(&[0; 36]), 8), Err(DropReason::TtlExceeded));
    }

    // B20, B22 to B24, and row 15 of the table of bad input.
    #[test]
    fn the_first_word_of_an_answer_is_its_id() {
        let (id, body) = answer(frame(b"\x80\0\0\x09x")).unwrap();
        assert_eq!((id, &body[..]), (RequestId(9), &b"x"[..]));
        assert_eq!(answer(frame(b"\x80\0\0\x09")).unwrap().1, Body::default());
        assert_eq!(answer(frame(b"\0\0\0\x09x")), Err(DropReason::Stale));
        assert_eq!(answer(frame(b"\x80\0\0")), Err(DropReason::Malformed));
    }

    // E17, E18, C079.
    #[test]
    fn the_header_is_the_id_with_its_top_bit_set() {
        let mut ids = Ids::new(0x9234_5678);
        let asker = Conversation::FIRST;
        assert_eq!(ids.issue(asker).header(), [0x92, 0x34, 0x56, 0x78]);
        assert_eq!(ids.issue(asker).header(), [0x92, 0x34, 0x56, 0x79]);
        assert_eq!(Ids::new(0).issue(asker).header(), [0x80, 0, 0, 0]);
    }

    // Wire specification, section 9.
    #[test]
    fn ids_wrap_at_31_bits_and_skip_those_outstanding() {
        let mut conversations = Conversations::default();
        let [old, new] = [(); 2].map(|()| conversations.open(()));
        let mut ids = Ids::new(0);
        let zero = ids.issue(old);
        let one = ids.issue(old);
        ids.retire(one);
        ids.next = 0x7FFF_FFFF;
        assert_eq!(ids.issue(new), RequestId(0x7FFF_FFFF));
        assert_eq!(ids.issue(new), RequestId(1));
        assert_eq!(ids.owner(zero), Some(old));
        assert_eq!(ids.owner(one), Some(new));
    }
}
