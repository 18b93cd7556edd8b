//! SUB: of all that the publishers send, what begins with a topic.
//!
//! Every message is matched as it is taken out of its pipe. It goes to each context that has a topic
//! for it, as one more reference to the same bytes; what nobody has subscribed to is gone before
//! anyone hears of it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;

use super::conversation::Conversation;
use super::pull::Collector;
use super::rep::Role;
use super::topics::Topics;
use super::{Held, Interest, Port, Protocol, ProtocolId, RecvRefusal, Rejected, SendRefusal};
use crate::message::{Message, PipeId};
use crate::options::Own;
use crate::stats::DropReason;

/// A raw SUB socket: everything is delivered, there is nothing to subscribe to.
pub(crate) type RawSub = Collector<FromPublishers>;

/// The role of a raw SUB.
#[derive(Debug)]
pub(crate) enum FromPublishers {}

impl Role for FromPublishers {
    const ID: ProtocolId = ProtocolId::SUB;
    const PEER: ProtocolId = ProtocolId::PUB;
}

/// The state of a SUB socket: its contexts.
///
/// ```text
///  message in its pipe --matches--> queue of each context that wants it --recv--> program
///           |                         |          |
///           +-- nobody: NotSubscribed |          +-- unsubscribed: NotSubscribed
///                                     +-- full: RecvQueueFull
/// ```
#[derive(Debug, Default)]
pub(crate) struct Sub {
    contexts: Slab<Context>,
}

/// A set of topics, and what has come of them. Contexts share nothing.
#[derive(Debug)]
struct Context {
    topics: Topics,
    queue: VecDeque<Message>,
    /// How many messages may wait to be received.
    limit: usize,
    /// Whether a full queue drops its oldest message rather than the new one.
    prefer_new: bool,
}

/// There is no such topic in the context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotSubscribed;

impl Sub {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// A new context without topics, in which up to `limit` messages may wait to be received.
    pub(crate) fn open(&mut self, limit: usize, prefer_new: bool) -> Conversation {
        let context = Context { topics: Topics::new(), queue: VecDeque::new(), limit, prefer_new };
        Conversation::from_index(self.contexts.insert(context))
    }

    /// Ends the context, with its topics and its messages.
    pub(crate) fn close(&mut self, context: Conversation, io: &mut impl Port) {
        let Some(closed) = self.contexts.try_remove(context.index()) else {
            return;
        };
        for message in &closed.queue {
            io.dropped(message.pipe(), DropReason::Unread);
        }
        io.wake(context.interest());
    }

    /// From now on the context receives what begins with `topic`. Twice is as good as once.
    pub(crate) fn subscribe(&mut self, context: Conversation, topic: &[u8]) {
        if let Some(context) = self.contexts.get_mut(context.index()) {
            context.topics.insert(topic);
        }
    }

    /// From now on the context receives nothing that only `topic` has let in, and drops what has
    /// come of it and was not received.
    pub(crate) fn unsubscribe(
        &mut self,
        context: Conversation,
        topic: &[u8],
        io: &mut impl Port,
    ) -> Result<(), NotSubscribed> {
        let context = self.contexts.get_mut(context.index()).ok_or(NotSubscribed)?;
        if !context.topics.remove(topic) {
            return Err(NotSubscribed);
        }
        context.purge(io);
        Ok(())
    }

    /// Changes how many messages may wait in the context. Those for which there is no room any more
    /// are dropped by the rule for a full queue.
    pub(crate) fn set_limit(&mut self, context: Conversation, limit: usize, io: &mut impl Port) {
        if let Some(context) = self.contexts.get_mut(context.index()) {
            context.limit = limit;
            context.shorten(io);
        }
    }

    /// Changes which message a full queue drops.
    pub(crate) fn set_prefer_new(&mut self, context: Conversation, prefer_new: bool) {
        if let Some(context) = self.contexts.get_mut(context.index()) {
            context.prefer_new = prefer_new;
        }
    }

    /// Gives a message to each context that wants it.
    fn distribute(&mut self, message: &Message, io: &mut impl Port) {
        let mut takers = 0;
        for (index, context) in &mut self.contexts {
            if context.topics.matches(message) {
                takers += 1;
                context.accept(message.clone(), io);
                io.wake(Conversation::from_index(index).interest());
            }
        }
        match takers {
            0 => io.dropped(message.pipe(), DropReason::NotSubscribed),
            1 => {}
            _ => io.copied(takers - 1),
        }
    }
}

impl Context {
    fn accept(&mut self, message: Message, io: &mut impl Port) {
        self.queue.push_back(message);
        self.shorten(io);
    }

    /// Drops what the queue must not hold.
    fn shorten(&mut self, io: &mut impl Port) {
        while self.queue.len() > self.limit {
            let dropped =
                if self.prefer_new { self.queue.pop_front() } else { self.queue.pop_back() };
            io.dropped(dropped.and_then(|message| message.pipe()), DropReason::RecvQueueFull);
        }
    }

    /// Drops what no topic lets in any more.
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
    const OPTIONS: &'static [Own] = &[Own::SubQueue, Own::PreferNew, Own::RecvPriority];
    type To = Infallible;
    type From = Conversation;
    type Received = Message;

    fn attach(&mut self, _pipe: PipeId, _: Instant, _io: &mut impl Port) -> Result<(), Rejected> {
        Ok(())
    }

    /// What had arrived by then is as good as any.
    fn detach(&mut self, pipe: PipeId, _now: Instant, io: &mut impl Port) {
        self.readable(pipe, io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        while let Some(frame) = io.pop(pipe) {
            self.distribute(&Message::received(frame.into_bytes(), pipe), io);
        }
    }

    fn writable(&mut self, _pipe: PipeId, _now: Instant, _io: &mut impl Port) {}

    fn send(
        &mut self,
        to: &Infallible,
        _body: &Bytes,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        match *to {}
    }

    fn recv(
        &mut self,
        context: &Conversation,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<Message, RecvRefusal> {
        let context = self.contexts.get_mut(context.index()).ok_or(RecvRefusal::Canceled)?;
        context.queue.pop_front().ok_or(RecvRefusal::WouldBlock)
    }

    fn ready(&self, interest: Interest) -> bool {
        match interest {
            Interest::Recv(n) => {
                let context = self.contexts.get(n as usize);
                context.is_none_or(|context| !context.queue.is_empty())
            }
            Interest::Send(_) | Interest::Peers | Interest::Drained => false,
        }
    }

    fn held(&self) -> Held {
        let queues = self.contexts.iter().map(|(_, context)| context.queue.len() as u64);
        Held { outbound: 0, inbound: queues.sum() }
    }
}

#[cfg(test)]
mod tests {
    use super::super::manual::{ManualPort, pipe, start};
    use super::super::raw::Raw;
    use super::*;

    /// A SUB with a port.
    struct Bench {
        sub: Sub,
        io: ManualPort,
    }

    impl Bench {
        /// One with a context for these topics.
        fn new(topics: &[&str]) -> (Self, Conversation) {
            let mut bench = Self { sub: Sub::new(), io: ManualPort::default() };
            let context = bench.open(topics);
            (bench, context)
        }

        fn open(&mut self, topics: &[&str]) -> Conversation {
            let context = self.sub.open(128, true);
            topics.iter().for_each(|topic| self.sub.subscribe(context, topic.as_bytes()));
            context
        }

        fn arrives(&mut self, n: u32, texts: &[&str]) {
            texts.iter().for_each(|text| self.io.arrives(pipe(n), text.as_bytes()));
            self.sub.readable(pipe(n), &mut self.io);
        }

        fn receive_all(&mut self, context: Conversation) -> Vec<Message> {
            let io = &mut self.io;
            std::iter::from_fn(|| self.sub.recv(&context, start(), io).ok()).collect()
        }

        fn unsubscribe(&mut self, context: Conversation, topic: &str) -> Result<(), NotSubscribed> {
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

    /// C140, C202; issue 3, item 2.
    #[test]
    fn what_nobody_wants_wakes_nobody() {
        let (mut bench, context) = Bench::new(&[]);
        let other = bench.open(&["x"]);
        bench.arrives(1, &["a", ""]);
        assert!(!bench.sub.ready(context.interest()) && !bench.sub.ready(other.interest()));
        assert!(!bench.io.take_woken(context.interest()));
        assert_eq!(bench.take_reasons(), [DropReason::NotSubscribed; 2]);
        assert_eq!(bench.receive_all(context), [""; 0]);
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
        assert_eq!(bench.unsubscribe(context, "z"), Err(NotSubscribed));
        assert_eq!(bench.unsubscribe(context, "x"), Ok(()));
        assert_eq!(bench.unsubscribe(context, "x"), Err(NotSubscribed));
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
        let context = bench.sub.open(2, true);
        bench.sub.subscribe(context, b"");
        bench.arrives(1, &["one", "two", "three"]);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull]);
        assert_eq!(bench.receive_all(context), ["two", "three"]);
    }

    /// C150.
    #[test]
    fn a_full_queue_that_does_not_prefer_the_new_drops_it() {
        let (mut bench, context) = Bench::new(&[""]);
        bench.sub.set_prefer_new(context, false);
        bench.sub.set_limit(context, 2, &mut bench.io);
        bench.arrives(1, &["one", "two", "three"]);
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull]);
        assert_eq!(bench.receive_all(context), ["one", "two"]);
    }

    /// Semantics 8.1, last row.
    #[test]
    fn a_queue_made_shorter_keeps_what_fits() {
        for (prefer_new, kept) in [(true, ["c", "d"]), (false, ["a", "b"])] {
            let (mut bench, context) = Bench::new(&[""]);
            bench.sub.set_prefer_new(context, prefer_new);
            bench.arrives(1, &["a", "b", "c", "d"]);
            bench.sub.set_limit(context, 2, &mut bench.io);
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
        let received = bench.sub.recv(&context, start(), &mut bench.io);
        assert_eq!(received, Err(RecvRefusal::Canceled));
        assert_eq!(bench.sub.held(), Held::default());
    }

    /// D35.
    #[test]
    fn what_has_arrived_outlives_its_pipe() {
        let (mut bench, context) = Bench::new(&["last"]);
        bench.io.arrives(pipe(1), b"last words");
        bench.sub.detach(pipe(1), start(), &mut bench.io);
        assert_eq!(bench.receive_all(context), ["last words"]);
    }

    /// C159, D16.
    #[test]
    fn a_raw_sub_receives_everything() {
        let (mut raw, mut io) = (Raw::new(RawSub::new()), ManualPort::default());
        io.arrives(pipe(1), b"anything");
        raw.readable(pipe(1), &mut io);
        let message = raw.recv(&(), start(), &mut io).unwrap();
        assert_eq!((message.header(), &message[..]), (&Bytes::new(), &b"anything"[..]));
    }
}
