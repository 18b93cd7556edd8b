//! Looking at messages where they lie, without taking them.
//!
//! Owns the way in which a protocol finds out whether a receive would be served: a message that it would
//! drop is dropped now, one that it would deliver stays in its pipe.

use super::Port;
use crate::message::{Picked, PipeId, Verdict};
use crate::stats::DropReason;

/// A message in its pipe, cut in two at an arbitrary place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lying<'a> {
    head: &'a [u8],
    body: &'a [u8],
}

impl<'a> Lying<'a> {
    pub(super) fn new(head: &'a [u8], body: &'a [u8]) -> Self {
        Self { head, body }
    }

    /// The 32-bit word that begins at byte `at`; `None` when the message ends before it does.
    pub(super) fn word(&self, at: usize) -> Option<u32> {
        let mut bytes = self.head.iter().chain(self.body).skip(at);
        let mut word = [0; 4];
        for byte in &mut word {
            *byte = *bytes.next()?;
        }
        Some(u32::from_be_bytes(word))
    }
}

/// Whether the pipe has a message that `judge` finds nothing wrong with; drops, and counts, what stands
/// before it. When there is none, `readable` follows as soon as there may be.
pub(super) fn has_good(
    pipe: PipeId,
    mut judge: impl FnMut(Lying<'_>) -> Result<(), DropReason>,
    io: &mut impl Port,
) -> bool {
    loop {
        let mut verdict = Ok(());
        // Nothing is skipped, so that the reason given here is never used.
        let looked = io.pop_if(pipe, DropReason::Malformed, |head, body| {
            verdict = judge(Lying::new(head, body));
            Verdict::Leave
        });
        match (looked, verdict) {
            (Picked::Nothing, _) => return false,
            (_, Ok(())) => return true,
            (_, Err(reason)) => {
                io.pop(pipe);
                io.dropped(Some(pipe), reason);
            }
        }
    }
}

/// Every message is good.
pub(super) fn any(_: Lying<'_>) -> Result<(), DropReason> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::manual::{ManualPort, pipe};
    use super::*;

    #[test]
    fn a_word_may_be_cut_anywhere() {
        let bytes = [0, 0x80, 1, 2, 3, 4];
        for cut in 0..=bytes.len() {
            let (head, body) = bytes.split_at(cut);
            assert_eq!(Lying::new(head, body).word(1), Some(0x8001_0203));
            assert_eq!(Lying::new(head, body).word(3), None);
        }
    }

    #[test]
    fn what_cannot_be_received_is_dropped_and_the_rest_stays() {
        let mut io = ManualPort::default();
        for bytes in [b"bad", b"bad", b"one"] {
            io.arrives(pipe(1), bytes);
        }
        let judge = |message: Lying<'_>| match message.word(0) {
            Some(_) => Ok(()),
            None if message.body.starts_with(b"bad") => Err(DropReason::Malformed),
            None => Ok(()),
        };
        assert!(has_good(pipe(1), judge, &mut io));
        assert_eq!(io.take_drops(), [(Some(pipe(1)), DropReason::Malformed); 2]);
        assert!(has_good(pipe(1), judge, &mut io));
        assert_eq!(&io.pop(pipe(1)).unwrap().into_body()[..], b"one");
        assert!(!has_good(pipe(1), judge, &mut io));
    }
}
