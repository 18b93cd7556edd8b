//! SUB: receives the messages of its publishers that begin with a topic.
//!
//! Matches every message while it is still in its pipe, and takes out only those that a context wants: each
//! such context gets one more reference to the same bytes. All others are dropped before anything is copied,
//! or any call woken, for them.
//!
//! # Who waits for whom
//!
//! Messages move into the contexts' queues as they arrive, and when a receive finds its queue empty. A message
//! for that receive alone does not pass through the queue.
//!
//! A context that prefers new messages holds up nobody: its queue takes in everything, and drops the oldest. A
//! receive first empties the pipes, so that it returns one of the newest messages that have arrived. If it
//! conflates, the queue has the newest message of each key.
//!
//! With any other context, when its queue has enough, the program may be away, or about to read on. If it has
//! received lately, intake pauses: further messages stay in the pipes, and the publishers feel back-pressure.
//! If not, the queue drops by its rule and intake goes on. So a program that keeps reading loses nothing here
//! in a burst, and one that does not finds the newest messages, or the oldest.
//!
//! A queue has enough when it is full. The queue of a socket's only context has enough with one message: its
//! program takes the others straight out of the pipes, and no message is moved twice.
//!
//! A pause lasts until a receive takes the next message out of the pipes, or for [`PATIENCE`], which starts
//! again while the program receives. After that the rule of the full queue applies, also to the messages that
//! have waited in the pipes. Until then, and for messages still in the transport, a program that stops in the
//! middle of a burst finds older messages than the newest. There is no pause while a context with an empty
//! queue has asked for more: a full context never holds up one that could go on, and a context that prefers
//! new messages always can. So with several contexts a burst for one of them may overflow its queue, however
//! fast it is read.
//!
//! A message is matched against the topics of each context: with thousands of contexts on one socket, that is
//! the cost of a message.

use std::time::{Duration, Instant};

use super::conversation::{Conversation, Conversations};
use super::latest::Latest;
use super::pull::Receiver;
use super::rep::ProtocolPair;
use super::route::FairQueue;
use super::topics::Topics;
use super::{Clock, Held, Port, Protocol, RecvRefusal, Rejected, Schedule};
use crate::error::{Closed, UnsubscribeError};
use crate::message::{Message, PipeId};
use crate::options::{Keep, RoleOption};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;
use crate::verdict::Verdict;

/// A full queue waits this long for a program that has received before: long enough for a thread to be
/// scheduled on a busy machine. After a longer pause the next receive finds what the queue's rule has left.
const PATIENCE: Duration = Duration::from_millis(100);

/// Match at most this many messages before giving the socket's lock back, which takes some hundred
/// microseconds: publishers may send unwanted messages faster than a SUB can skip them.
const EFFORT: usize = 8192;

/// A raw SUB socket: receives everything, and has no subscriptions.
pub(crate) type RawSub = Receiver<FromPublishers>;

/// The role of a raw SUB.
#[derive(Debug)]
pub(crate) enum FromPublishers {}

impl ProtocolPair for FromPublishers {
    const ID: ProtocolId = ProtocolId::SUB;
    const PEER: ProtocolId = ProtocolId::PUB;
}

/// The state of a SUB socket: its contexts, and how far it has come with its pipes.
///
/// ```text
///  message in its pipe --matches--> queue of each context that wants it --recv--> program
///      |         |                      |          |
///      |         +-- stays, see above   |          +-- unsubscribed: NotSubscribed
///      +-- nobody: NotSubscribed        |          +-- newer one of its key: ConflatedUnread
///                                       +-- full: RecvQueueFull
/// ```
#[derive(Debug, Default)]
pub(crate) struct Sub {
    contexts: Conversations<Context>,
    /// The pipes that may hold something.
    pipes: FairQueue,
    intake: Intake,
    /// The contexts that want the message matched last. Has capacity for all contexts, so that matching does
    /// not allocate.
    takers: Vec<Conversation>,
}

/// Why messages are left in the pipes, if any are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Intake {
    /// None are, or only because the last receive needed no more.
    #[default]
    Open,
    /// A queue that has enough waits for its program.
    Paused { until: Instant },
    /// One entry has done enough; to be continued at once.
    Unfinished { since: Instant },
}

/// A set of topics, and the messages that match them. Contexts share nothing.
#[derive(Debug)]
struct Context {
    topics: Topics,
    queue: Latest<Message>,
    keep: Keep,
    /// How many messages may wait to be received.
    messages: usize,
    /// How many bytes; the last message may be over.
    bytes: usize,
    /// Whether nothing may wait behind a full queue.
    fresh: bool,
    /// Whether the program has ever asked for a message.
    asked: bool,
    program: Program,
}

/// What the program that receives from a context seems to be doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// It does not receive.
    Away,
    /// It has received, or was waiting and was woken, since the last check.
    Reading,
    /// The intake has paused for it.
    Awaited,
}

impl Sub {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Makes a context without topics.
    pub(crate) fn open(&mut self, keep: Keep) -> Conversation {
        let context = self.contexts.open(Context::new(keep));
        self.takers.clear();
        self.takers.reserve(self.contexts.len());
        context
    }

    /// Closes a context, and drops its messages.
    pub(crate) fn close(&mut self, context: Conversation, io: &mut impl Port) {
        let Some(closed) = self.contexts.close(context) else {
            return;
        };
        for message in closed.queue.iter() {
            io.dropped(message.pipe(), DropReason::Unread);
        }
        io.wake(context.interest());
        self.ingest(None, io);
    }

    /// Subscribes a context to messages that begin with `topic`. Twice is the same as once.
    pub(crate) fn subscribe(&mut self, context: Conversation, topic: &[u8]) -> Result<(), Closed> {
        self.contexts.get_mut(context).ok_or(Closed)?.topics.insert(topic);
        Ok(())
    }

    /// Unsubscribes a context, and drops its queued messages that match no other topic.
    pub(crate) fn unsubscribe(
        &mut self,
        context: Conversation,
        topic: &[u8],
        io: &mut impl Port,
    ) -> Result<(), UnsubscribeError> {
        let context = self.contexts.get_mut(context).ok_or(UnsubscribeError::Closed)?;
        if !context.topics.remove(topic) {
            return Err(UnsubscribeError::NotSubscribed);
        }
        context.purge(io);
        self.ingest(None, io);
        Ok(())
    }

    /// Changes which messages a context keeps. Messages that no longer fit are dropped by the rule for a full
    /// queue.
    pub(crate) fn change(
        &mut self,
        context: Conversation,
        change: impl FnOnce(&mut Keep),
        io: &mut impl Port,
    ) {
        if let Some(context) = self.contexts.get_mut(context) {
            change(&mut context.keep);
            context.follow(io);
        }
        self.ingest(None, io);
    }

    /// Takes the next message for a receive.
    #[inline(never)]
    fn take(&mut self, receiver: Conversation, io: &mut impl Port) -> Result<Message, RecvRefusal> {
        let context = &mut self.contexts[receiver];
        let message = if context.fresh {
            self.take_newest(receiver, io)
        } else {
            context.queue.pop_front().or_else(|| self.fetch(receiver, io))
        };
        message.ok_or(RecvRefusal::WouldBlock)
    }

    /// Takes the next message for a receive that prefers new messages: empties the pipes first.
    fn take_newest(&mut self, receiver: Conversation, io: &mut impl Port) -> Option<Message> {
        self.ingest(Some(receiver), io);
        self.contexts.get_mut(receiver)?.queue.pop_front()
    }

    /// Takes the next message for a receive that has found its queue empty.
    fn fetch(&mut self, receiver: Conversation, io: &mut impl Port) -> Option<Message> {
        match self.contexts.len() {
            1 => self.take_one(receiver, io),
            _ => self.ingest(Some(receiver), io),
        }
    }

    /// As `ingest`, for the only context: no other one can want a message, or hold one up.
    fn take_one(&mut self, receiver: Conversation, io: &mut impl Port) -> Option<Message> {
        let topics = &self.contexts[receiver].topics;
        let mut effort = EFFORT;
        let judge = |head: &[u8], body: &[u8]| {
            if effort == 0 {
                return Verdict::Leave;
            }
            effort -= 1;
            if is_wanted(topics, head, body) { Verdict::Take } else { UNWANTED }
        };
        match self.pipes.pop_if(judge, io) {
            Some((pipe, frame)) => return Some(Message::received(frame.into_body(), pipe)),
            None if self.pipes.is_empty() => self.intake = Intake::Open,
            None => self.go_on_later(io),
        }
        None
    }

    /// Leaves the remaining messages to the next entry: skipping takes time too, and must not hold up other
    /// pipes.
    fn go_on_later(&mut self, io: &impl Port) {
        self.pipes.pass_turn();
        self.intake = Intake::Unfinished { since: io.now() };
    }

    /// Moves messages from the pipes to the contexts, and drops those that no context wants. With a `receiver`,
    /// which has found its queue empty and does not prefer new messages, stops at the first message for it, and
    /// returns that. Otherwise stops when a queue that has enough pauses the intake.
    fn ingest(&mut self, receiver: Option<Conversation>, io: &mut impl Port) -> Option<Message> {
        let first = receiver.filter(|&receiver| !self.contexts[receiver].fresh);
        let mut effort = EFFORT;
        loop {
            let Self { contexts, takers, pipes, .. } = &mut *self;
            let mut judge = Judge { contexts, takers, effort, holds_up: false };
            let inspect = |head: &[u8], body: &[u8]| judge.judge(head, body);
            let popped = pipes.pop_if(inspect, io);
            effort = judge.effort;
            let Some((pipe, frame)) = popped else {
                // A full queue pauses the intake, or the pipes are empty, or one entry has done enough.
                if judge.holds_up {
                    self.pause(io);
                } else if self.pipes.is_empty() {
                    self.intake = Intake::Open;
                } else {
                    self.go_on_later(io);
                }
                return None;
            };
            let message = Message::received(frame.into_body(), pipe);
            // No receiver: go on until the pipes are empty.
            let Some(first) = first else {
                self.distribute(message, receiver, io);
                continue;
            };
            // Only the receiver wants it: it need not pass through the queue.
            if self.takers == [first] {
                return Some(message);
            }
            // Others want it too, or the receiver does not: stop when the receiver has one.
            self.distribute(message, receiver, io);
            let taken = self.contexts[first].queue.pop_front();
            if taken.is_some() {
                return taken;
            }
        }
    }

    /// Gives a message to each context that wants it. Wakes a call of those that had none, except the
    /// `receiver`, which is awake.
    fn distribute(&mut self, message: Message, receiver: Option<Conversation>, io: &mut impl Port) {
        let Some((&last, others)) = self.takers.split_last() else { return };
        if !others.is_empty() {
            io.copied(others.len() as u64);
        }
        let contexts = &mut self.contexts;
        let mut give = |taker: Conversation, message| {
            let context = &mut contexts[taker];
            if context.queue.is_empty() && receiver != Some(taker) {
                io.wake(taker.interest());
            }
            context.accept(message, io);
        };
        others.iter().for_each(|&taker| give(taker, message.clone()));
        give(last, message);
    }

    /// Pauses the intake, because a context has enough. All contexts that have enough share one pause: one
    /// after the other, they could hold up the publishers for long.
    fn pause(&mut self, io: &impl Port) {
        if !matches!(self.intake, Intake::Paused { .. }) {
            let enough = enough(&self.contexts);
            let waited_for =
                self.contexts.states_mut().filter(|context| context.is_waited_for(enough));
            waited_for.for_each(|context| context.program = Program::Awaited);
            self.intake = Intake::Paused { until: io.now() + PATIENCE };
        }
    }

    /// When the pause is over, counts programs as away that have not received since it began.
    fn doubt(&mut self, now: Instant) {
        if let Intake::Paused { until } = self.intake
            && until <= now
        {
            self.intake = Intake::Open;
            for context in self.contexts.states_mut() {
                if context.program == Program::Awaited {
                    context.program = Program::Away;
                }
            }
        }
    }
}

/// How many messages in the queue of a program that reads pause the intake, or its limit if that is less.
fn enough(contexts: &Conversations<Context>) -> usize {
    if contexts.len() == 1 { 1 } else { usize::MAX }
}

const UNWANTED: Verdict = Verdict::Skip(DropReason::NotSubscribed);

/// Decides about messages that are still in their pipes.
struct Judge<'a> {
    contexts: &'a Conversations<Context>,
    takers: &'a mut Vec<Conversation>,
    effort: usize,
    /// Whether it has left a message in its pipe because a context is full.
    holds_up: bool,
}

impl Judge<'_> {
    fn judge(&mut self, head: &[u8], body: &[u8]) -> Verdict {
        if self.effort == 0 {
            return Verdict::Leave;
        }
        self.effort = self.effort.saturating_sub(self.contexts.len().max(1));
        let wanting = self.contexts.iter().filter(|(_, it)| is_wanted(&it.topics, head, body));
        self.takers.clear();
        self.takers.extend(wanting.map(|(context, _)| context));
        let enough = enough(self.contexts);
        self.holds_up = self.takers.iter().any(|&taker| self.contexts[taker].is_waited_for(enough))
            && !self.contexts.states().any(Context::could_go_on);
        if self.takers.is_empty() {
            UNWANTED
        } else if self.holds_up {
            Verdict::Leave
        } else {
            Verdict::Take
        }
    }
}

/// Whether a message in two parts begins with one of the topics.
#[inline]
fn is_wanted(topics: &Topics, head: &[u8], body: &[u8]) -> bool {
    match head {
        [] => topics.matches(body),
        // Slow, but rare: a PUB sends no header, so its messages come in one piece.
        _ => topics.matches(&[head, body].concat()),
    }
}

impl Context {
    fn new(keep: Keep) -> Self {
        Self {
            topics: Topics::new(),
            queue: Latest::new(keep.conflate),
            keep,
            messages: keep.messages(),
            bytes: keep.bytes(),
            fresh: keep.is_fresh(),
            asked: false,
            program: Program::Away,
        }
    }

    /// Applies changed settings, also to queued messages.
    fn follow(&mut self, io: &mut impl Port) {
        (self.messages, self.bytes) = (self.keep.messages(), self.keep.bytes());
        self.fresh = self.keep.is_fresh();
        self.queue.set_key(self.keep.conflate, |replaced| {
            io.dropped(replaced.pipe(), DropReason::ConflatedUnread);
        });
        self.shorten(io);
    }

    /// Whether its program may be waiting: one that has asked once will ask again.
    fn is_hungry(&self) -> bool {
        self.asked && self.queue.is_empty()
    }

    /// Whether it could use a message that waits in the pipes behind that of another context.
    fn could_go_on(&self) -> bool {
        self.is_hungry() || self.fresh && !self.topics.is_empty()
    }

    /// Whether it has `enough`, or is full, but its program will soon receive.
    fn is_waited_for(&self, enough: usize) -> bool {
        (self.queue.len() >= self.messages.min(enough) || self.queue.bytes() >= self.bytes)
            && self.program != Program::Away
            && !self.fresh
    }

    /// Whether it holds more than it may: it was full before its last message came.
    fn is_over(&self) -> bool {
        let last = self.queue.back().map_or(0, |message| message.body().len());
        self.queue.len() > self.messages || self.queue.bytes() - last >= self.bytes
    }

    fn accept(&mut self, message: Message, io: &mut impl Port) {
        if self.is_hungry() {
            self.program = Program::Reading;
        }
        if let Some(replaced) = self.queue.push(message) {
            io.dropped(replaced.pipe(), DropReason::ConflatedUnread);
        }
        self.shorten(io);
    }

    /// Drops the messages over the limit.
    fn shorten(&mut self, io: &mut impl Port) {
        while self.is_over() {
            let dropped = if self.keep.drops_oldest() {
                self.queue.pop_front()
            } else {
                self.queue.pop_back()
            };
            io.dropped(dropped.and_then(|message| message.pipe()), DropReason::RecvQueueFull);
        }
    }

    /// Drops the messages that no longer match a topic.
    fn purge(&mut self, io: &mut impl Port) {
        let topics = &self.topics;
        self.queue.retain(|message| {
            let wanted = topics.matches(message);
            if !wanted {
                io.dropped(message.pipe(), DropReason::NotSubscribed);
            }
            wanted
        });
    }
}

impl Protocol for Sub {
    const ID: ProtocolId = ProtocolId::SUB;
    const PEER: ProtocolId = ProtocolId::PUB;
    const OPTIONS: &'static [RoleOption] = &[
        RoleOption::SubQueue,
        RoleOption::SubQueueBytes,
        RoleOption::PreferNew,
        RoleOption::Conflate,
        RoleOption::RecvPriority,
    ];
    const SENDS: bool = false;
    const DROPS: bool = true;
    const SCHEDULE: Schedule = Schedule { clock: Clock::WhenDue, filters: true, empties: false };
    type To = ();
    type From = Conversation;
    type Received = Message;

    fn attach(&mut self, _pipe: PipeId, _: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        Ok(())
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        self.pipes.add(pipe, io.priorities(pipe).recv);
        self.ingest(None, io);
    }

    fn forget(&mut self, pipe: PipeId) {
        self.pipes.remove(pipe);
    }

    #[inline(always)]
    fn recv(
        &mut self,
        from: &Conversation,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<Message, RecvRefusal> {
        let is_only = self.contexts.len() == 1;
        let context = self.contexts.get_mut(*from).ok_or(RecvRefusal::Closed)?;
        context.asked = true;
        context.program = Program::Reading;
        // The short way: for the only context, and nothing comes before what is in the pipes.
        if is_only && !context.fresh && context.queue.is_empty() {
            let is_wanted = |body: &[u8]| context.topics.matches(body);
            if let Some((pipe, body)) = self.pipes.pop_at_hand(is_wanted, io) {
                return Ok(Message::received(body, pipe));
            }
        }
        self.take(*from, io)
    }

    /// The messages in the pipes may be for any context.
    fn can_recv(&self, context: Conversation) -> bool {
        let context = self.contexts.get(context);
        context.is_none_or(|context| !context.queue.is_empty()) || !self.pipes.is_empty()
    }

    /// A context that is watched counts as one that asks: the queues of others do not hold up its messages.
    fn find_message(&mut self, receiver: Conversation, io: &mut impl Port) -> bool {
        let Some(context) = self.contexts.get_mut(receiver) else { return true };
        context.asked = true;
        if context.fresh {
            self.ingest(Some(receiver), io);
        } else if context.queue.is_empty()
            && let Some(first) = self.fetch(receiver, io)
        {
            self.contexts[receiver].queue.push_front(first);
        }
        !self.contexts[receiver].queue.is_empty()
    }

    fn hint(&self) -> Option<&'static str> {
        let has_topics = |context: &Context| !context.topics.is_empty();
        (!self.contexts.states().any(has_topics)).then_some("nothing is subscribed to")
    }

    fn shut(&mut self, io: &mut impl Port) {
        for context in self.contexts.states_mut() {
            for message in context.queue.drain() {
                io.dropped(message.pipe(), DropReason::ClosedUnread);
            }
        }
    }

    fn held(&self) -> Held {
        let queues = self.contexts.states().map(|context| context.queue.len() as u64);
        Held { outbound: 0, inbound: queues.sum() }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.intake {
            Intake::Open => None,
            Intake::Paused { until } => Some(until),
            Intake::Unfinished { since } => Some(since),
        }
    }

    fn expire(&mut self, now: Instant, io: &mut impl Port) {
        self.doubt(now);
        if !matches!(self.intake, Intake::Paused { .. }) {
            self.ingest(None, io);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::raw::Raw;
    use super::super::testing::{ManualPort, pipe, start};
    use super::*;
    use crate::detach::DetachReason;

    /// A SUB with a port.
    struct Bench {
        sub: Sub,
        io: ManualPort,
    }

    impl Bench {
        /// One with a context for these topics.
        fn new(topics: &[&str]) -> (Self, Conversation) {
            let mut bench = Self { sub: Sub::new(), io: ManualPort::default() };
            bench.io.now = Some(start());
            let context = bench.open(topics);
            (bench, context)
        }

        fn open(&mut self, topics: &[&str]) -> Conversation {
            let context = self.sub.open(Keep::default());
            topics.iter().for_each(|topic| self.sub.subscribe(context, topic.as_bytes()).unwrap());
            context
        }

        /// Limits the queue to `limit` messages, without preferring new ones by that.
        fn bound(&mut self, context: Conversation, limit: usize) {
            let context = &mut self.sub.contexts[context];
            (context.messages, context.fresh) = (limit, false);
            context.shorten(&mut self.io);
        }

        fn prefer_new(&mut self, context: Conversation, yes: bool) {
            self.sub.change(context, |keep| keep.prefer_new = Some(yes), &mut self.io);
        }

        fn arrives(&mut self, n: u32, texts: &[&str]) {
            texts.iter().for_each(|text| self.io.arrives(pipe(n), text.as_bytes()));
            self.sub.readable(pipe(n), &mut self.io);
        }

        fn receive_all(&mut self, context: Conversation) -> Vec<Message> {
            let io = &mut self.io;
            std::iter::from_fn(|| self.sub.recv(&context, start(), io).ok()).collect()
        }

        fn receive(&mut self, context: Conversation) -> Result<Message, RecvRefusal> {
            self.sub.recv(&context, start(), &mut self.io)
        }

        /// When the intake that has paused goes on by itself.
        fn pause_ends(&mut self) -> Instant {
            self.sub.deadline().expect("it waits for a program")
        }

        /// A program that waits finds nothing, for now.
        fn waits(&mut self, context: Conversation) {
            assert_eq!(self.receive(context), Err(RecvRefusal::WouldBlock));
        }

        fn unsubscribe(
            &mut self,
            context: Conversation,
            topic: &str,
        ) -> Result<(), UnsubscribeError> {
            self.sub.unsubscribe(context, topic.as_bytes(), &mut self.io)
        }

        fn take_reasons(&mut self) -> Vec<DropReason> {
            self.io.take_drops().into_iter().map(|(_, reason)| reason).collect()
        }
    }

    /// C139, C156.
    #[test]
    fn what_begins_with_a_topic_is_received_in_order() {
        let (mut bench, context) = Bench::new(&["topic1", "both"]);
        bench.arrives(1, &["topic1 a", "topic2 b", "both c"]);
        bench.arrives(2, &["topic1"]);
        assert!(bench.io.take_woken(context.interest()));
        let got = bench.receive_all(context);
        assert_eq!(got, ["topic1 a", "both c", "topic1"]);
        assert_eq!(got[2].pipe(), Some(pipe(2)));
        assert_eq!(bench.io.take_drops(), [(Some(pipe(1)), DropReason::NotSubscribed)]);
    }

    /// C140, C202.
    #[test]
    fn what_nobody_wants_wakes_nobody() {
        let (mut bench, context) = Bench::new(&[]);
        let other = bench.open(&["x"]);
        bench.arrives(1, &["a", ""]);
        assert!(!bench.sub.ready(context.interest()) && !bench.sub.ready(other.interest()));
        assert!(!bench.io.take_woken(context.interest()));
        assert_eq!(bench.take_reasons(), [DropReason::NotSubscribed; 2]);
        assert_eq!(bench.io.popped, 0, "it was dropped where it lay");
        assert_eq!(bench.receive_all(context), [""; 0]);
    }

    #[test]
    fn only_who_gets_something_is_woken() {
        let (mut bench, context) = Bench::new(&["a"]);
        let other = bench.open(&["b"]);
        bench.waits(context);
        bench.waits(other);
        bench.arrives(1, &["b", "c"]);
        assert!(!bench.io.take_woken(context.interest()));
        bench.arrives(1, &["a"]);
        assert!(bench.io.take_woken(context.interest()));
    }

    const SIX: [&str; 6] = ["1", "2", "3", "4", "5", "6"];

    /// One with a context that holds two messages, whose program was waiting when six arrived.
    fn burst() -> (Bench, Conversation) {
        let (mut bench, context) = Bench::new(&[""]);
        bench.bound(context, 2);
        bench.waits(context);
        bench.arrives(1, &SIX);
        (bench, context)
    }

    #[test]
    fn a_burst_waits_in_its_pipe_for_a_program_that_reads() {
        let (mut bench, context) = burst();
        assert!(bench.io.take_woken(context.interest()));
        assert_eq!(bench.io.popped, 1, "the rest pushes back");
        assert_eq!(bench.receive_all(context), SIX);
        assert_eq!(bench.take_reasons(), []);
        assert_eq!(bench.sub.deadline(), None);
    }

    #[test]
    fn a_program_that_has_stopped_reading_is_given_up() {
        let (mut bench, context) = burst();
        let last = bench.pause_ends();
        assert_eq!(bench.io.now, Some(last - PATIENCE));
        bench.arrives(2, &["7"]);
        bench.sub.expire(last - Duration::from_millis(1), &mut bench.io);
        assert_eq!(bench.take_reasons(), [], "not before its time");
        bench.sub.expire(last, &mut bench.io);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 5]);
        assert_eq!(bench.receive_all(context).len(), 2);
    }

    #[test]
    fn a_program_that_reads_on_is_waited_for_again() {
        let (mut bench, context) = burst();
        let last = bench.pause_ends();
        assert_eq!(bench.receive(context).unwrap(), "1");
        bench.io.now = Some(last);
        bench.sub.expire(last, &mut bench.io);
        assert_eq!(bench.io.popped, 2, "into the room it has made");
        assert_eq!(bench.pause_ends(), last + PATIENCE);
        bench.sub.expire(last + PATIENCE, &mut bench.io);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 3]);
        assert_eq!(bench.receive_all(context), ["5", "6"]);
    }

    #[test]
    fn all_that_are_full_are_waited_for_together() {
        let (mut bench, _) = Bench::new(&[]);
        let contexts = [(); 3].map(|()| bench.open(&[""]));
        for context in contexts {
            bench.bound(context, 1);
            bench.waits(context);
        }
        bench.arrives(1, &["1", "2"]);
        let last = bench.pause_ends();
        bench.sub.expire(last, &mut bench.io);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 3]);
        assert_eq!(bench.sub.deadline(), None);
    }

    /// One with a context that keeps the two newest messages.
    fn fresh() -> (Bench, Conversation) {
        let (mut bench, context) = Bench::new(&[""]);
        bench.sub.change(context, |keep| keep.queue = Some(2), &mut bench.io);
        (bench, context)
    }

    /// C349.
    #[test]
    fn who_wants_the_newest_gets_them_however_slowly_he_reads() {
        let (mut bench, context) = fresh();
        bench.waits(context);
        bench.arrives(1, &SIX);
        assert_eq!(bench.sub.deadline(), None, "nobody is waited for");
        assert_eq!(bench.io.popped, 6);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 4]);
        assert_eq!(bench.receive(context).unwrap(), "5");
        bench.arrives(2, &["7", "8"]);
        assert_eq!(bench.receive_all(context), ["7", "8"]);
    }

    /// C349: the bell may not have been heard yet.
    #[test]
    fn who_wants_the_newest_looks_into_the_pipes_first() {
        let (mut bench, context) = fresh();
        bench.arrives(1, &["1", "2"]);
        SIX.iter().for_each(|text| bench.io.arrives(pipe(1), text.as_bytes()));
        bench.sub.pipes.add(pipe(1), 8);
        assert!(bench.sub.poll_ready(context.interest(), &mut bench.io));
        assert_eq!(bench.io.popped, 8, "a check takes everything in as well");
        bench.arrives(1, &[]);
        bench.io.arrives(pipe(1), b"7");
        bench.sub.pipes.add(pipe(1), 8);
        assert_eq!(bench.receive_all(context), ["6", "7"]);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 7]);
    }

    /// C349: what is chosen, and by what.
    #[test]
    fn a_queue_shorter_than_the_default_asks_for_the_newest_unless_told_otherwise() {
        let keep = |queue, prefer_new| Keep { queue, prefer_new, ..Keep::default() };
        for fresh in [keep(Some(127), None), keep(None, Some(true)), keep(Some(128), Some(true))] {
            assert!(fresh.is_fresh(), "{fresh:?}");
        }
        for waits in [keep(None, None), keep(Some(128), None), keep(Some(1), Some(false))] {
            assert!(!waits.is_fresh(), "{waits:?}");
        }
    }

    /// C349, among contexts: nor may one that waits hold up the one that wants the newest.
    #[test]
    fn a_context_that_wants_the_newest_is_held_up_by_no_other() {
        let (mut bench, context) = burst();
        assert!(bench.sub.deadline().is_some());
        let fresh = bench.open(&[]);
        bench.prefer_new(fresh, true);
        assert!(bench.sub.deadline().is_some(), "without a topic it wants nothing");
        bench.sub.subscribe(fresh, b"6").unwrap();
        bench.arrives(1, &[]);
        assert_eq!(bench.sub.deadline(), None);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 4]);
        assert_eq!(bench.receive_all(fresh), ["6"]);
        assert_eq!(bench.receive_all(context), ["5", "6"]);
    }

    #[test]
    fn to_choose_the_newest_ends_a_pause() {
        let (mut bench, context) = burst();
        bench.prefer_new(context, true);
        assert_eq!((bench.io.popped, bench.sub.deadline()), (6, None));
        assert_eq!(bench.receive_all(context), SIX, "there is room for a hundred");
    }

    /// C155, within one socket.
    #[test]
    fn a_full_context_does_not_hold_up_one_that_waits() {
        let (mut bench, quick) = Bench::new(&["q"]);
        let slow = bench.open(&["s"]);
        bench.bound(slow, 1);
        bench.waits(slow);
        bench.waits(quick);
        bench.arrives(1, &["s1", "s2", "s3", "q"]);
        assert!(bench.io.take_woken(quick.interest()));
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 2]);
        assert_eq!(bench.receive_all(quick), ["q"]);
        assert_eq!(bench.receive_all(slow), ["s3"]);
    }

    #[test]
    fn a_receive_goes_past_what_is_held_for_another_context() {
        let (mut bench, context) = burst();
        let other = bench.open(&["5"]);
        assert!(bench.sub.ready(other.interest()), "for all one knows");
        assert_eq!(bench.receive(other).unwrap(), "5");
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 3]);
        assert_eq!(bench.receive_all(context), ["4", "5", "6"]);
    }

    #[test]
    fn who_is_closed_or_wants_less_holds_up_nothing() {
        let (mut bench, context) = burst();
        let other = bench.open(&["6"]);
        bench.sub.close(context, &mut bench.io);
        assert!(bench.io.take_woken(other.interest()));
        assert_eq!(bench.receive_all(other), ["6"]);

        let (mut bench, context) = burst();
        bench.sub.subscribe(context, b"6").unwrap();
        bench.unsubscribe(context, "").unwrap();
        assert_eq!(bench.take_reasons(), [DropReason::NotSubscribed; 5]);
        assert_eq!(bench.receive_all(context), ["6"]);

        let (mut bench, context) = burst();
        bench.open(&[]);
        bench.sub.change(context, |keep| keep.queue = Some(128), &mut bench.io);
        assert_eq!(bench.io.popped, 6, "not alone, it has enough only when it is full");
    }

    #[test]
    fn pipes_take_turns_however_much_one_has() {
        let (mut bench, context) = burst();
        bench.arrives(2, &["x", "y"]);
        let got = bench.receive_all(context);
        assert_eq!(got, ["1", "2", "x", "3", "y", "4", "5", "6"]);
    }

    #[test]
    fn a_flood_that_nobody_wants_is_skipped_in_steps() {
        let (mut bench, context) = Bench::new(&["wanted"]);
        bench.waits(context);
        (0..EFFORT).for_each(|_| bench.io.arrives(pipe(1), b"unwanted"));
        bench.arrives(1, &["wanted"]);
        assert!(!bench.io.take_woken(context.interest()) && bench.sub.ready(context.interest()));
        let at_once = bench.sub.deadline().expect("it goes on");
        assert!(at_once <= start());
        bench.sub.expire(at_once, &mut bench.io);
        assert!(bench.io.take_woken(context.interest()));
        assert_eq!(bench.sub.deadline(), None);
        assert_eq!(bench.receive_all(context), ["wanted"]);
    }

    #[test]
    fn a_flood_that_nobody_wants_costs_no_other_pipe_its_turn() {
        let (mut bench, context) = Bench::new(&["wanted"]);
        (0..4 * EFFORT).for_each(|_| bench.io.arrives(pipe(1), b"unwanted"));
        bench.arrives(1, &[]);
        bench.arrives(2, &["wanted"]);
        bench.sub.expire(start(), &mut bench.io);
        assert!(bench.io.take_woken(context.interest()));
    }

    /// C141.
    #[test]
    fn the_empty_topic_lets_in_everything() {
        let (mut bench, context) = Bench::new(&[""]);
        bench.arrives(1, &["", "a"]);
        assert_eq!(bench.receive_all(context), ["", "a"]);
    }

    /// C143, C144.
    #[test]
    fn a_topic_is_there_or_not() {
        let (mut bench, context) = Bench::new(&["x", "x", "y"]);
        let missing = Err(UnsubscribeError::NotSubscribed);
        assert_eq!(bench.unsubscribe(context, "z"), missing);
        assert_eq!(bench.unsubscribe(context, "x"), Ok(()));
        assert_eq!(bench.unsubscribe(context, "x"), missing);
        bench.arrives(1, &["x", "y"]);
        assert_eq!(bench.receive_all(context), ["y"]);
    }

    /// C145, C148.
    #[test]
    fn nothing_of_a_topic_comes_after_it_was_unsubscribed() {
        let (mut bench, context) = Bench::new(&["1", "2", "12"]);
        bench.arrives(1, &["1a", "2a", "12a", "1b", "2b"]);
        bench.unsubscribe(context, "1").unwrap();
        assert_eq!(bench.take_reasons(), [DropReason::NotSubscribed; 2]);
        assert_eq!(bench.receive_all(context), ["2a", "12a", "2b"]);
    }

    /// C149.
    #[test]
    fn a_full_queue_drops_the_oldest() {
        let (mut bench, _) = Bench::new(&[]);
        let context = bench.open(&[""]);
        bench.bound(context, 2);
        bench.arrives(1, &["one", "two", "three"]);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull]);
        assert_eq!(bench.receive_all(context), ["two", "three"]);
    }

    /// C150.
    #[test]
    fn a_full_queue_that_does_not_prefer_the_new_drops_it() {
        let (mut bench, context) = Bench::new(&[""]);
        bench.prefer_new(context, false);
        bench.bound(context, 2);
        bench.arrives(1, &["one", "two", "three"]);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull]);
        assert_eq!(bench.receive_all(context), ["one", "two"]);
    }

    /// Semantics 8.1, last row.
    #[test]
    fn a_queue_made_shorter_keeps_what_fits() {
        for (prefer_new, kept) in [(true, ["c", "d"]), (false, ["a", "b"])] {
            let (mut bench, context) = Bench::new(&[""]);
            bench.prefer_new(context, prefer_new);
            bench.arrives(1, &["a", "b", "c", "d"]);
            bench.sub.change(context, |keep| keep.queue = Some(2), &mut bench.io);
            assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 2]);
            assert_eq!(bench.receive_all(context), kept);
        }
    }

    /// C201.
    #[test]
    fn each_context_gets_its_own_copy_of_what_it_wants() {
        let (mut bench, a) = Bench::new(&["a", "both"]);
        let b = bench.open(&["b", "both"]);
        bench.arrives(1, &["a1", "b1 and not both", "both"]);
        assert_eq!(bench.io.copied, 1, "only the last went to both");
        assert_eq!(bench.receive_all(a), ["a1", "both"]);
        assert_eq!(bench.receive_all(b), ["b1 and not both", "both"]);
    }

    #[test]
    fn a_context_that_is_closed_drops_what_it_has() {
        let (mut bench, context) = Bench::new(&[""]);
        bench.arrives(1, &["a"]);
        assert_eq!(bench.sub.held(), Held { outbound: 0, inbound: 1 });
        bench.io.take_woken(context.interest());
        bench.sub.close(context, &mut bench.io);
        assert!(bench.io.take_woken(context.interest()) && bench.sub.ready(context.interest()));
        assert_eq!(bench.take_reasons(), [DropReason::Unread]);
        assert_eq!(bench.sub.held(), Held::default());
        let new = bench.open(&["b"]);
        assert_eq!(bench.receive(context), Err(RecvRefusal::Closed));
        assert_eq!(bench.sub.subscribe(context, b"c"), Err(Closed));
        assert_eq!(bench.unsubscribe(context, "b"), Err(UnsubscribeError::Closed));
        bench.sub.close(context, &mut bench.io);
        bench.arrives(1, &["b", "c"]);
        assert_eq!(bench.receive_all(new), ["b"], "what has the place of the first is another");
    }

    /// D35.
    #[test]
    fn what_has_arrived_outlives_its_pipe() {
        let (mut bench, context) = Bench::new(&["last"]);
        bench.io.arrives(pipe(1), b"last words");
        bench.sub.detach(pipe(1), &DetachReason::PeerClosed, start(), &mut bench.io);
        assert_eq!(bench.receive_all(context), ["last words"]);
    }

    /// C159, D16.
    #[test]
    fn a_raw_sub_receives_everything() {
        let (mut raw, mut io) = (Raw::new(RawSub::new()), ManualPort::default());
        io.arrives(pipe(1), b"anything");
        raw.readable(pipe(1), &mut io);
        let message = raw.recv(&(), start(), &mut io).unwrap();
        assert_eq!((message.header(), &message[..]), (&bytes::Bytes::new(), &b"anything"[..]));
    }
}
