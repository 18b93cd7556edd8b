//! The consumer's half of a ring: by bytes for a connection, by frames for the inbox of a socket.
//!
//! Owns the consumer's position within a frame, what is kept of a frame when those behind it are taken out of
//! order, how many small messages an inbox takes at once, and the rule by which the consumer checks for orders of
//! the producer.
//!
//! That check needs a fence, which would cost more than everything else for a small message. So the consumer
//! does not check for each message, but when everything known to be published is used up, and whenever an
//! eighth of either bound has departed since the last check. An inbox checks at the end of each run, which is no
//! longer than that. They miss no order by that:
//!
//! * An order for silence is met by the departure of the last message, and then everything is used up, or a run
//!   ends.
//! * An order for room is placed by a producer which, after its own fence, finds the ring full by the
//!   departures that it sees. It sees at least those before the last check whose fence came before its own.
//!   From there to half full at least half a bound must depart, and there is a check for each quarter at
//!   least. So a later check falls into that time, or at its end, and sees the order. Once seen, an order is
//!   compared with what is queued at each departure, by a load without a fence.
//! * What the consumer orders of itself ([`BUDGET`]) it sees without a check.

use std::io::IoSlice;
use std::num::NonZeroUsize;

use bytes::{Buf, Bytes};

use super::inbox::Run;
use super::{
    BUDGET, Bounds, COPY_OUT, HeldHalf, LEAST_PART, Outlet, Queued, ROOM, RUN, Ring, SILENCE,
    TAKEN_OVER_WHOLE, Taken,
};
use crate::body::{self, Body};
use crate::message::Frame;
use crate::sync::Ordering;
use crate::verdict::{Picked, Verdict};
use crate::wire::frame::{Framing, widen};

/// Check for an order of the producer whenever one in this many parts of a bound has departed, and take at most
/// such a part out of the ring at once.
const LOOK: usize = 8;

/// What only the consumer touches.
#[derive(Default)]
pub(super) struct Half {
    pub(super) outlet: Outlet,
    /// The first frame, if some of its bytes are consumed.
    begun: Option<Begun>,
    /// The remainder of the first frame, if those behind it were taken out of order.
    kept: Vec<Body>,
    /// How much may depart until the next check for orders.
    unlooked: Unlooked,
}

/// A number of messages, and their length in bytes. Small, so that a ring fits into four cache lines.
#[derive(Clone, Copy, Debug, Default)]
struct Unlooked {
    messages: u32,
    bytes: u32,
}

/// A frame that is consumed in part.
#[derive(Clone, Copy, Debug)]
struct Begun {
    /// Bytes on the wire yet to be consumed.
    left: NonZeroUsize,
    /// Length of its SP message.
    payload: usize,
}

impl Half {
    /// Whether all before `position` is consumed.
    #[inline]
    pub(super) fn has_consumed(&self, position: u64) -> bool {
        self.outlet.position == position && self.kept.is_empty()
    }
}

/// The consumer's half, held.
///
/// A ring is read by bytes or by frames. Change from bytes to frames only between two frames: there is
/// nothing to pop while one is partly consumed.
pub(crate) struct Consumer<'r> {
    held: HeldHalf<'r>,
}

impl<'r> Consumer<'r> {
    pub(super) fn new(held: HeldHalf<'r>) -> Self {
        Self { held }
    }

    /// Lists the first published bytes exactly as they go on the wire, in at most as many slices as `out`
    /// has; returns the number of slices.
    pub(crate) fn slices<'a>(&'a mut self, out: &mut [IoSlice<'a>]) -> usize {
        let more = self.held.refresh();
        let kept = &self.held.peek().kept;
        let listed = kept.len().min(out.len());
        for (place, bytes) in out.iter_mut().zip(kept) {
            *place = IoSlice::new(bytes);
        }
        listed + if more { self.held.list(&mut out[listed..]) } else { 0 }
    }

    /// Takes off the first `n` bytes of what [`slices`](Self::slices) has listed.
    ///
    /// # Panics
    ///
    /// When there are fewer.
    pub(crate) fn consume(&mut self, n: usize) -> Taken {
        let mut taken = Taken::default();
        let mut rest = n;
        while rest > 0 {
            // The fast path first: whole frames that lie in one piece.
            rest -= self.consume_whole(rest, &mut taken);
            if rest == 0 {
                break;
            }
            // The next frame was begun before, is cut between blocks, or ends beyond the bytes.
            let frame = self.first().expect("consumed bytes were listed before");
            let step = rest.min(frame.left.get());
            self.skip(step);
            rest -= step;
            // A message has left with its last byte; until then its frame counts as begun.
            let left = NonZeroUsize::new(frame.left.get() - step);
            self.held.half().begun = left.map(|left| Begun { left, payload: frame.payload });
            if left.is_none() {
                taken.add(frame.payload);
            }
        }
        self.account(taken)
    }

    /// Takes off the frames that lie whole in the first `n` bytes of the front; returns their length. Nearly
    /// all small messages of a stream go this way.
    fn consume_whole(&mut self, n: usize, taken: &mut Taken) -> usize {
        let half = self.held.peek();
        if half.begun.is_some() || !half.kept.is_empty() {
            return 0;
        }
        let (framing, front) = (self.framing(), self.held.front());
        let mut rest = &front[..n.min(front.len())];
        let all = rest.len();
        while let Some((payload, behind)) = framing.split_first(rest) {
            taken.add(payload.len());
            rest = behind;
        }
        let len = all - rest.len();
        self.held.advance(len);
        len
    }

    /// Takes the next message, without its prefix; `None` if there is none, or [`consume`](Self::consume) has
    /// begun it.
    ///
    /// If it is small and others wait behind it, they are taken out with it, and left in `run`, which must be
    /// empty before. They count as queued.
    #[inline]
    pub(super) fn pop(&mut self, run: &mut Run) -> Option<(Frame, Taken)> {
        let payload = self.next_payload()?;
        let frame = self.take_with_others(payload, run);
        let mut taken = Taken::default();
        taken.add(payload);
        Some((frame, self.account(taken)))
    }

    /// As [`pop`](Self::pop), but leaves all other messages where they are.
    #[cfg(test)]
    pub(super) fn pop_alone(&mut self) -> Option<(Frame, Taken)> {
        let payload = self.next_payload()?;
        let frame = self.take(payload);
        let mut taken = Taken::default();
        taken.add(payload);
        Some((frame, self.account(taken)))
    }

    /// Skips messages until `judge` wants one taken or left, or until there are no more.
    ///
    /// `judge` sees each message where it lies, in two parts of which the first is nearly always empty.
    /// Skipped messages are not copied, and are counted in `Taken` with the others. Leaves messages in `run` as
    /// [`pop`](Self::pop) does.
    pub(super) fn pop_if(
        &mut self,
        judge: &mut impl FnMut(&[u8], &[u8]) -> Verdict,
        run: &mut Run,
    ) -> (Picked, Taken) {
        let mut taken = Taken::default();
        let picked = loop {
            let Some(payload) = self.next_payload() else {
                break Picked::Nothing;
            };
            let (head, body) = self.message(payload);
            match judge(head, body) {
                Verdict::Leave => break Picked::Left,
                Verdict::Skip(_) => self.held.advance(self.framing().prefix_len() + payload),
                Verdict::Take => {
                    taken.add(payload);
                    break Picked::Taken(self.take_with_others(payload, run));
                }
            }
            taken.add(payload);
        };
        (picked, self.account(taken))
    }

    /// Goes to sleep if the ring is empty: the next push then returns [`Wake`](super::Wake). `false`: there
    /// is something, and the caller must go on.
    #[inline]
    pub(crate) fn arm(&mut self) -> bool {
        self.held.half().kept.is_empty() && self.held.sleep()
    }

    /// Whether everything that it knows to be published is consumed.
    #[inline]
    pub(super) fn has_used_up(&self) -> bool {
        let half = self.held.peek();
        half.has_consumed(half.outlet.known)
    }

    /// Takes out every whole message, except one that [`consume`](Self::consume) has begun. For a closed
    /// ring, whose messages go to another peer.
    pub(crate) fn reclaim(&mut self) -> Vec<Frame> {
        let (mut frames, mut taken) = (Vec::new(), Taken::default());
        self.behind_begun(|this| {
            while let Some(Begun { payload, .. }) = this.first() {
                frames.push(this.take(payload));
                taken.add(payload);
            }
        });
        let Taken { room: _told_by_the_caller, .. } = self.account(taken);
        frames
    }

    /// Skips whole frames, oldest first, until the ring is no longer full by what was `pushed`; returns how
    /// many. They have not left: the producer, which is the caller, counts them as never pushed. Its orders
    /// stay, since a push follows.
    pub(super) fn evict(&mut self, bounds: Bounds, pushed: Queued) -> u64 {
        let ring = self.held.ring;
        let mut queued = pushed.since(ring.departed());
        let mut evicted = Taken::default();
        self.behind_begun(|this| {
            while bounds.reached_by(queued)
                && let Some(frame) = this.first()
            {
                this.skip(frame.left.get());
                evicted.add(frame.payload);
                queued.messages -= 1;
                queued.bytes -= widen(frame.payload);
            }
        });
        // While the half is held: whoever takes it next and finds nothing sees that nothing is queued.
        ring.tail.forget(evicted);
        evicted.messages
    }

    #[inline]
    fn framing(&self) -> Framing {
        self.held.ring.head.framing
    }

    /// Length of the next message, if there is one and it was not begun.
    #[inline]
    fn next_payload(&mut self) -> Option<usize> {
        if self.held.half().begun.is_some() || !self.held.refill() {
            return None;
        }
        self.framing().payload_len(self.held.front())
    }

    /// The first frame: the one begun, or the one of the prefix at the front.
    fn first(&mut self) -> Option<Begun> {
        if let Some(begun) = self.held.half().begun {
            return Some(begun);
        }
        let payload = self.next_payload()?;
        let left = NonZeroUsize::new(self.framing().prefix_len() + payload)?;
        Some(Begun { left, payload })
    }

    /// Drops the first `n` bytes, which all belong to one frame.
    fn skip(&mut self, n: usize) {
        let kept = &mut self.held.half().kept;
        if kept.is_empty() {
            return self.held.advance(n);
        }
        let mut rest = n;
        while rest > 0 {
            let front = kept.first_mut().expect(TAKEN_OVER_WHOLE);
            let step = rest.min(front.len());
            front.advance(step);
            if front.is_empty() {
                kept.remove(0);
            }
            rest -= step;
        }
    }

    /// The first message, which is `payload` bytes long, where it lies.
    fn message(&self, payload: usize) -> (&[u8], &[u8]) {
        let front = &self.held.front()[self.framing().prefix_len()..];
        match front.get(..payload) {
            Some(whole) => (&[], whole),
            None => (front, &self.held.second()[..payload - front.len()]),
        }
    }

    /// Takes off the first message, which is `payload` bytes long, and those behind it if they fit into a run.
    ///
    /// Always inlined, as are [`take`](Self::take) and [`account`](Self::account): left to itself, the compiler makes
    /// calls of them whenever it divides the crate otherwise.
    #[inline(always)]
    fn take_with_others(&mut self, payload: usize, run: &mut Run) -> Frame {
        let frame = self.framing().prefix_len() + payload;
        if frame < self.held.front().len() && frame <= RUN / 2 {
            let len = self.len_of_run();
            if len > frame {
                *run = Run::new(self.framing(), self.held.copy_out(0, len, body::copied));
                return Frame::whole(run.cut(payload));
            }
        }
        self.take(payload)
    }

    /// Takes off the first message, which is `payload` bytes long.
    #[inline(always)]
    fn take(&mut self, payload: usize) -> Frame {
        let prefix = self.framing().prefix_len();
        let (frame, front) = (prefix + payload, self.held.front().len());
        if payload < COPY_OUT && frame <= front {
            return Frame::whole(self.held.copy_out(prefix, payload, body::copied_beside_others));
        }
        self.held.advance(prefix);
        if payload == 0 {
            return Frame::default();
        }
        assert!(self.held.refill(), "{TAKEN_OVER_WHOLE}");
        let here = self.held.front().len();
        if payload <= here {
            return Frame::whole(self.cut(payload));
        }
        let header = Bytes::copy_from_slice(self.held.front());
        self.held.advance(here);
        assert!(self.held.refill(), "{TAKEN_OVER_WHOLE}");
        Frame::new(header, self.cut(payload - here))
    }

    /// The length of the frames at the front that are taken out together: as many as their bodies may pin
    /// when each of them shares the copy, and no more than may depart without a check for orders.
    fn len_of_run(&self) -> usize {
        let (framing, front) = (self.framing(), self.held.front());
        let bounds = self.held.ring.tail.bounds;
        let (mut rest, mut most) = (front, RUN.min(bounds.bytes / LOOK));
        for _ in 0..bounds.messages / LOOK {
            let Some((payload, behind)) = framing.split_first(rest) else { break };
            // The copy is as long as the shortest of them may pin.
            most = most.min(payload.len().saturating_mul(LEAST_PART));
            if front.len() - behind.len() > most {
                break;
            }
            rest = behind;
        }
        front.len() - rest.len()
    }

    /// Takes the first `len` bytes of the front off as a body.
    fn cut(&mut self, len: usize) -> Body {
        let body = self.held.body(len);
        self.held.advance(len);
        body
    }

    /// Runs `skip` as if the frame that is begun were not there.
    fn behind_begun(&mut self, skip: impl FnOnce(&mut Self)) {
        let Some(begun) = self.held.half().begun.take() else {
            return skip(self);
        };
        // Set the remainder of the begun frame aside, skip behind it, and put it back.
        let mut kept = std::mem::take(&mut self.held.half().kept);
        if kept.is_empty() {
            kept = self.set_aside(begun.left.get());
        }
        skip(self);
        let half = self.held.half();
        half.kept = kept;
        half.begun = Some(begun);
    }

    /// Takes out the first `n` bytes, to be consumed later.
    fn set_aside(&mut self, n: usize) -> Vec<Body> {
        let mut pieces = Vec::new();
        let mut rest = n;
        while rest > 0 {
            assert!(self.held.refill(), "{TAKEN_OVER_WHOLE}");
            let len = rest.min(self.held.front().len());
            pieces.push(self.cut(len));
            rest -= len;
        }
        pieces
    }

    /// Counts what was consumed, and checks for orders when it is time.
    #[inline(always)]
    fn account(&mut self, mut taken: Taken) -> Taken {
        if taken.messages > 0 {
            let ring = self.held.ring;
            ring.head.depart(taken.messages, taken.bytes);
            let is_empty = self.has_used_up();
            if is_empty {
                self.held.let_go();
            }
            let ordered = if self.count_down(taken, is_empty) {
                ring.head.has_orders()
            } else {
                ring.head.orders.load(Ordering::Relaxed) != 0
            };
            taken.room = ordered && ring.meet_orders();
        }
        taken
    }

    /// Counts down what may leave before the next check for orders; says whether it is time for that, by the rule at
    /// the head of this file.
    #[inline]
    fn count_down(&mut self, taken: Taken, is_empty: bool) -> bool {
        let left = &mut self.held.half().unlooked;
        let less = |left: u32, taken| u64::from(left).checked_sub(taken).filter(|&less| less > 0);
        if let Some(messages) = less(left.messages, taken.messages)
            && let Some(bytes) = less(left.bytes, taken.bytes)
        {
            *left = Unlooked { messages: narrow(messages), bytes: narrow(bytes) };
            return is_empty;
        }
        let bounds = self.held.ring.tail.bounds;
        let part = |bound: usize| narrow(widen(bound / LOOK));
        self.held.half().unlooked =
            Unlooked { messages: part(bounds.messages), bytes: part(bounds.bytes) };
        true
    }
}

impl Ring {
    /// Whether an order of the producer is met by what is queued. Says so once.
    #[cold]
    pub(super) fn meet_orders(&self) -> bool {
        let queued = self.queued();
        let room = if self.tail.bounds.at_most_half(queued) { ROOM } else { 0 };
        let silence = if queued.messages == 0 { SILENCE } else { 0 };
        let met = room | silence | BUDGET;
        // The load is cheap and mostly finds nothing; the swap makes sure that an order is answered once.
        self.head.orders.load(Ordering::Relaxed) & met != 0
            && self.head.orders.fetch_and(!met, Ordering::AcqRel) & met != 0
    }
}

impl Taken {
    #[inline]
    pub(super) fn add(&mut self, payload: usize) {
        self.messages += 1;
        self.bytes += widen(payload);
    }
}

/// The most that fits, if `number` does not.
#[inline]
fn narrow(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
