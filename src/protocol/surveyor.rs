//! SURVEYOR: asks all peers at once, and collects their answers until the deadline.
//!
//! A survey goes once to every pipe that has room, and is not kept. Answers are sorted by their id into the
//! conversations that wait for them; nothing is delivered after the deadline. Ids can be guessed, so an answer
//! counts only from a peer that was connected when the survey was sent.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::backtrace::{self, Ids, RequestId};
use super::conversation::{Awaited, Conversation, Conversations};
use super::route::FanOut;
use super::timers::Timers;
use super::{Clock, Held, Overflow, Port, Protocol, RecvRefusal, Rejected, Schedule, SendRefusal};
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::number_map::NumberMap;
use crate::options::RoleOption;
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The state of a SURVEYOR socket.
#[derive(Debug)]
pub(crate) struct Surveyor {
    ids: Ids,
    conversations: Conversations<Asker>,
    pipes: FanOut,
    /// For each pipe, how many pipes had come before it. The numbers wrap around; a pipe is taken for one that
    /// came later only after two billion others.
    arrivals: NumberMap<PipeId, u32>,
    /// The number of pipes that have come.
    arrived: u32,
    /// When surveys end.
    timers: Timers,
}

/// Where a conversation stands.
///
/// ```text
///            send                  deadline
///   IDLE ------------> ACTIVE ------------------> EXPIRED --recv: expired--> IDLE
///                      |    ^
///                      +----+ recv: an answer
///
///   send in any state: drop what is there, then ACTIVE
/// ```
///
/// One receive that begins after the deadline reports EXPIRED, and so does every one that was already
/// waiting: each of those names the expired survey, even if it runs late.
#[derive(Debug)]
struct Asker {
    /// How long the next survey lasts; `None`: forever.
    lasts: Option<Duration>,
    /// The number of answers that may wait to be received.
    storage: usize,
    survey: Option<Survey>,
    /// The last survey that has reached its deadline.
    expired: Option<Expired>,
}

#[derive(Debug)]
struct Survey {
    id: RequestId,
    deadline: Option<Instant>,
    /// How many pipes had come when it was sent: those were asked. A peer that had no room for its copy
    /// counts as asked, since it gains nothing by not reading.
    asked: u32,
    answers: VecDeque<Message>,
}

#[derive(Clone, Copy, Debug)]
struct Expired {
    id: RequestId,
    reported: bool,
}

impl Surveyor {
    /// Makes a SURVEYOR whose survey ids begin at `seed`, which should be random. `overflow` is one of
    /// [`Protocol::OVERFLOW`].
    pub(crate) fn new(seed: u32, overflow: Overflow) -> Self {
        Self {
            ids: Ids::new(seed),
            conversations: Conversations::default(),
            pipes: FanOut::new(overflow),
            arrivals: NumberMap::default(),
            arrived: 0,
            timers: Timers::default(),
        }
    }

    /// Sets what becomes of later surveys for which a respondent has no room.
    pub(crate) fn set_overflow(&mut self, overflow: Overflow, io: &mut impl Port) {
        self.pipes.set_overflow(overflow, io);
    }

    /// Opens a conversation whose surveys last for `deadline` and keep up to `storage` unread answers.
    pub(crate) fn open(&mut self, deadline: Option<Duration>, storage: usize) -> Conversation {
        self.conversations.open(Asker { lasts: deadline, storage, survey: None, expired: None })
    }

    /// Changes how long later surveys last.
    pub(crate) fn set_deadline(&mut self, conversation: Conversation, deadline: Option<Duration>) {
        if let Some(asker) = self.conversations.get_mut(conversation) {
            asker.lasts = deadline;
        }
    }

    /// Ends the conversation and its survey.
    pub(crate) fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        self.end_survey(conversation, io);
        self.conversations.close(conversation);
    }

    /// The survey for which a receive that begins now waits.
    pub(crate) fn awaited(&self, conversation: Conversation) -> Result<Awaited, RecvRefusal> {
        let asker = self.conversations.get(conversation).ok_or(RecvRefusal::Closed)?;
        let id = asker.awaited().ok_or(RecvRefusal::State)?;
        Ok(Awaited { conversation, id })
    }

    /// Whether a receive that awaits this survey would not wait: an answer is there, or the survey is over.
    pub(crate) fn has_news(&self, awaited: &Awaited) -> bool {
        let asker = self.conversations.get(awaited.conversation);
        let survey = asker.and_then(|asker| asker.survey.as_ref());
        survey.is_none_or(|survey| survey.id != awaited.id || !survey.answers.is_empty())
    }

    /// Ends the survey of the conversation, if it has one, and wakes the calls that wait for its answers.
    fn end_survey(&mut self, conversation: Conversation, io: &mut impl Port) -> Option<RequestId> {
        let survey = self.conversations.get_mut(conversation)?.survey.take()?;
        self.ids.retire(survey.id);
        if survey.deadline.is_some() {
            self.forget_timers();
        }
        for answer in &survey.answers {
            io.dropped(answer.pipe(), DropReason::Unread);
        }
        io.wake(conversation.interest());
        Some(survey.id)
    }

    /// Forgets timers of surveys that are over.
    fn forget_timers(&mut self) {
        let askers = &self.conversations;
        self.timers.forget_unset(askers.len(), |at, conversation| {
            let survey = askers.get(conversation).and_then(|asker| asker.survey.as_ref());
            survey.is_some_and(|survey| survey.deadline == Some(at))
        });
    }

    /// Keeps one answer for the conversation that asked.
    fn accept(&mut self, frame: Frame, pipe: PipeId, io: &mut impl Port) -> Result<(), DropReason> {
        let (id, body) = backtrace::answer(frame)?;
        let conversation = self.ids.owner(id).ok_or(DropReason::Stale)?;
        let asker = self.conversations.get_mut(conversation).ok_or(DropReason::Stale)?;
        let survey = asker.survey.as_mut().ok_or(DropReason::Stale)?;
        if self
            .arrivals
            .get(&pipe)
            .is_none_or(|&arrival| survey.asked.wrapping_sub(arrival).cast_signed() <= 0)
        {
            return Err(DropReason::NotAsked);
        }
        if survey.answers.len() >= asker.storage {
            return Err(DropReason::RecvQueueFull);
        }
        survey.answers.push_back(Message::received(body, pipe));
        io.wake(conversation.interest());
        Ok(())
    }
}

impl Protocol for Surveyor {
    const ID: ProtocolId = ProtocolId::SURVEYOR;
    const PEER: ProtocolId = ProtocolId::RESPONDENT;
    const OPTIONS: &'static [RoleOption] =
        &[RoleOption::SurveyDeadline, RoleOption::SurveyStorage, RoleOption::Overflow];
    const OVERFLOW: &'static [Overflow] =
        &[Overflow::DropNewest, Overflow::DropOldest, Overflow::Disconnect];
    const SCHEDULE: Schedule = Schedule { clock: Clock::Always, filters: false, empties: false };
    const HEADER: usize = size_of::<u32>();
    type To = Conversation;
    type From = Awaited;
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _now: Instant, _: &mut impl Port) -> Result<(), Rejected> {
        self.pipes.add(pipe);
        self.arrivals.insert(pipe, self.arrived);
        self.arrived = self.arrived.wrapping_add(1);
        Ok(())
    }

    /// Answers that have arrived still count.
    fn detach(&mut self, pipe: PipeId, _reason: &DetachReason, _now: Instant, io: &mut impl Port) {
        self.readable(pipe, io);
        self.pipes.remove(pipe, io);
        self.arrivals.remove(&pipe);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        io.pop_all(pipe, |io, frame| {
            if let Err(reason) = self.accept(frame, pipe, io) {
                io.dropped(Some(pipe), reason);
            }
        });
    }

    fn send(
        &mut self,
        &conversation: &Conversation,
        body: &mut Bytes,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.end_survey(conversation, io);
        let asker = self.conversations.get_mut(conversation).ok_or(SendRefusal::Closed)?;
        let id = self.ids.issue(conversation);
        let deadline = asker.lasts.and_then(|lasts| now.checked_add(lasts));
        asker.survey = Some(Survey { id, deadline, asked: self.arrived, answers: VecDeque::new() });
        if let Some(deadline) = deadline {
            self.timers.set(deadline, conversation);
        }
        self.pipes.send(&id.header(), body, io)
    }

    fn recv(
        &mut self,
        awaited: &Awaited,
        now: Instant,
        io: &mut impl Port,
    ) -> Result<Message, RecvRefusal> {
        // The deadline may have passed since the caller read the clock.
        self.expire(now, io);
        let asker = self.conversations.get_mut(awaited.conversation).ok_or(RecvRefusal::Closed)?;
        asker.recv(awaited.id)
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        true
    }

    fn can_recv(&self, conversation: Conversation) -> bool {
        let asker = self.conversations.get(conversation);
        let survey = asker.and_then(|asker| asker.survey.as_ref());
        survey.is_none_or(|survey| !survey.answers.is_empty())
    }

    /// A conversation is also readable if the end of its survey was not reported yet, or it is closed, but
    /// not if it has asked nothing.
    fn find_message(&mut self, conversation: Conversation, _io: &mut impl Port) -> bool {
        let asker = self.conversations.get(conversation);
        asker.is_none_or(|asker| match &asker.survey {
            Some(survey) => !survey.answers.is_empty(),
            None => asker.expired.is_some_and(|expired| !expired.reported),
        })
    }

    fn shut(&mut self, io: &mut impl Port) {
        let surveys = self.conversations.states_mut().filter_map(|asker| asker.survey.as_mut());
        for answer in surveys.flat_map(|survey| survey.answers.drain(..)) {
            io.dropped(answer.pipe(), DropReason::ClosedUnread);
        }
    }

    fn held(&self) -> Held {
        let surveys = self.conversations.states().filter_map(|asker| asker.survey.as_ref());
        Held { outbound: 0, inbound: surveys.map(|survey| survey.answers.len() as u64).sum() }
    }

    fn deadline(&self) -> Option<Instant> {
        self.timers.first()
    }

    fn expire(&mut self, now: Instant, io: &mut impl Port) {
        while let Some((_, conversation)) = self.timers.take_due(now) {
            let ended = self.end_survey(conversation, io);
            if let Some(asker) = self.conversations.get_mut(conversation) {
                asker.expired = ended.map(|id| Expired { id, reported: false });
            }
        }
    }
}

impl Asker {
    fn awaited(&self) -> Option<RequestId> {
        match (&self.survey, self.expired) {
            (Some(survey), _) => Some(survey.id),
            (None, Some(Expired { id, reported: false })) => Some(id),
            _ => None,
        }
    }

    fn recv(&mut self, id: RequestId) -> Result<Message, RecvRefusal> {
        if let Some(survey) = self.survey.as_mut().filter(|survey| survey.id == id) {
            return survey.answers.pop_front().ok_or(RecvRefusal::WouldBlock);
        }
        match &mut self.expired {
            Some(expired) if expired.id == id => {
                expired.reported = true;
                Err(RecvRefusal::Expired)
            }
            _ => Err(RecvRefusal::Canceled),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A SURVEYOR with a port and a clock of its own; its first survey has the id 9.
    struct Bench {
        surveyor: Surveyor,
        io: ManualPort,
        now: Instant,
    }

    impl Bench {
        /// One with three peers, and a conversation whose surveys last a second.
        fn new() -> (Self, Conversation) {
            let surveyor = Surveyor::new(9, Overflow::DropNewest);
            let mut bench = Self { surveyor, io: ManualPort::default(), now: start() };
            for n in [1, 2, 3] {
                bench.surveyor.attach(pipe(n), bench.now, &mut bench.io).unwrap();
            }
            let asker = bench.surveyor.open(Some(SECOND), 128);
            (bench, asker)
        }

        fn send(&mut self, asker: Conversation) -> Awaited {
            self.surveyor.send(&asker, &mut body("q"), self.now, &mut self.io).unwrap();
            self.surveyor.awaited(asker).unwrap()
        }

        fn recv(&mut self, asker: Conversation) -> Result<Message, RecvRefusal> {
            let awaited = self.surveyor.awaited(asker)?;
            self.recv_awaited(awaited)
        }

        fn recv_awaited(&mut self, awaited: Awaited) -> Result<Message, RecvRefusal> {
            self.surveyor.recv(&awaited, self.now, &mut self.io)
        }

        fn arrives(&mut self, frames: &[&[u8]]) {
            for frame in frames {
                self.io.arrives(pipe(1), frame);
            }
            self.surveyor.readable(pipe(1), &mut self.io);
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.surveyor.expire(self.now, &mut self.io);
        }

        fn take_reasons(&mut self) -> Vec<DropReason> {
            self.io.take_drops().into_iter().map(|(_, reason)| reason).collect()
        }
    }

    // C163, E24.
    #[test]
    fn a_survey_goes_to_everybody_and_ends_at_its_deadline() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        let copy = b"\x80\0\0\x09q".to_vec();
        assert_eq!(bench.io.take_sent(), [1, 2, 3].map(|n| (pipe(n), copy.clone())));
        bench.arrives(&[b"\x80\0\0\x091", b"\x80\0\0\x092"]);
        assert!(bench.io.take_woken(asker.interest()));
        assert_eq!(bench.recv(asker).unwrap(), "1");
        assert_eq!(bench.recv(asker).unwrap(), "2");
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        assert_eq!(bench.surveyor.deadline(), Some(bench.now + SECOND));
        bench.pass(SECOND);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::Expired));
    }

    // C164.
    #[test]
    fn a_receive_without_a_survey_is_refused() {
        let (mut bench, asker) = Bench::new();
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
    }

    // C166, C168, C174.
    #[test]
    fn every_receive_that_waits_at_the_deadline_hears_of_it_and_no_later_one() {
        let (mut bench, asker) = Bench::new();
        let awaited = bench.send(asker);
        assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::WouldBlock));
        bench.pass(SECOND);
        assert!(bench.io.take_woken(asker.interest()));
        for _waiter in 0..3 {
            assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::Expired));
        }
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
    }

    // C166, with a new survey sent before the waiting threads could try again.
    #[test]
    fn a_receive_that_waited_at_the_deadline_hears_of_it_even_after_the_next_survey() {
        let (mut bench, asker) = Bench::new();
        let awaited = bench.send(asker);
        bench.pass(SECOND);
        bench.send(asker);
        assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::Expired));
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
    }

    // C167, C175, D12.
    #[test]
    fn an_expiry_nobody_waited_for_is_reported_once() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.pass(SECOND);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::Expired));
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
    }

    // C169.
    #[test]
    fn an_answer_after_the_deadline_is_stale_also_for_the_next_survey() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.pass(SECOND);
        bench.arrives(&[b"\x80\0\0\x09late"]);
        bench.send(asker);
        bench.arrives(&[b"\x80\0\0\x09later"]);
        assert_eq!(bench.take_reasons(), [DropReason::Stale; 2]);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
    }

    #[test]
    fn an_answer_unread_at_the_deadline_is_never_delivered() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.arrives(&[b"\x80\0\0\x091"]);
        assert_eq!(bench.surveyor.held(), Held { outbound: 0, inbound: 1 });
        bench.now += SECOND; // and nobody has called `expire`
        assert_eq!(bench.recv(asker), Err(RecvRefusal::Expired));
        assert_eq!(bench.take_reasons(), [DropReason::Unread]);
        assert_eq!(bench.surveyor.held(), Held::default());
        assert_eq!(bench.surveyor.deadline(), None);
    }

    // C170 to C172.
    #[test]
    fn a_new_survey_takes_the_place_of_the_old() {
        let (mut bench, asker) = Bench::new();
        let old = bench.send(asker);
        bench.arrives(&[b"\x80\0\0\x091"]);
        bench.send(asker);
        assert!(bench.io.take_woken(asker.interest()));
        assert_eq!(bench.recv_awaited(old), Err(RecvRefusal::Canceled));
        bench.arrives(&[b"\x80\0\0\x092", b"\x80\0\0\x0A3"]);
        assert_eq!(bench.recv(asker).unwrap(), "3");
        assert_eq!(bench.take_reasons(), [DropReason::Unread, DropReason::Stale]);
    }

    // C173, D13.
    #[test]
    fn a_receive_that_finds_nothing_leaves_the_survey_alone() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        bench.pass(SECOND / 2);
        bench.arrives(&[b"\x80\0\0\x091"]);
        assert_eq!(bench.recv(asker).unwrap(), "1");
    }

    // C175.
    #[test]
    fn a_survey_without_peers_succeeds_and_is_counted_once() {
        let (mut bench, asker) = Bench::new();
        for n in [1, 2, 3] {
            bench.surveyor.detach(pipe(n), &DetachReason::PeerClosed, bench.now, &mut bench.io);
        }
        bench.send(asker);
        assert_eq!(bench.io.take_sent(), []);
        assert_eq!(bench.take_reasons(), [DropReason::NoPeer]);
    }

    // C176.
    #[test]
    fn a_changed_deadline_is_that_of_the_next_survey() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.surveyor.set_deadline(asker, None);
        assert_eq!(bench.surveyor.deadline(), Some(bench.now + SECOND));
        bench.send(asker);
        assert_eq!(bench.surveyor.deadline(), None);
        bench.pass(1_000_000 * SECOND);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
    }

    // C177, B27 and B21 to B23 for a SURVEYOR.
    #[test]
    fn junk_is_counted_and_answers_still_delivered() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.arrives(&[b"", b"\x80\0\0", b"\0\0\0\x09x"]);
        bench.arrives(&[b"\x80\0\0\x091", b"\x80\0\0\x082", b"\x80\0\0\x093"]);
        assert_eq!(bench.recv(asker).unwrap(), "1");
        assert_eq!(bench.recv(asker).unwrap(), "3");
        let malformed = [DropReason::Malformed; 2];
        let stale = [DropReason::Stale; 2];
        assert_eq!(bench.take_reasons(), [malformed, stale].concat());
    }

    // C186.
    #[test]
    fn answers_that_find_the_storage_full_are_dropped() {
        let (mut bench, _) = Bench::new();
        let asker = bench.surveyor.open(None, 2);
        bench.send(asker);
        bench.arrives(&[b"\x80\0\0\x09x"; 100].map(|frame| &frame[..]));
        assert_eq!(bench.take_reasons(), [DropReason::RecvQueueFull; 98]);
        assert!(bench.recv(asker).is_ok() && bench.recv(asker).is_ok());
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
    }

    // C187.
    #[test]
    fn a_survey_never_waits_for_a_slow_peer() {
        let (mut bench, asker) = Bench::new();
        bench.io.fill(pipe(2));
        bench.send(asker);
        let reached: Vec<_> = bench.io.take_sent().into_iter().map(|(pipe, _)| pipe).collect();
        assert_eq!(reached, [pipe(1), pipe(3)]);
        assert_eq!(bench.io.take_drops(), [(Some(pipe(2)), DropReason::SendQueueFull)]);
    }

    // Semantics 9.1: pipe lost.
    #[test]
    fn answers_outlive_their_pipe() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        bench.io.arrives(pipe(1), b"\x80\0\0\x091");
        bench.surveyor.detach(pipe(1), &DetachReason::PeerClosed, bench.now, &mut bench.io);
        assert_eq!(bench.recv(asker).unwrap(), "1");
    }

    // C348.
    #[test]
    fn an_answer_counts_only_from_a_peer_that_was_there_to_be_asked() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        for n in [3, 4] {
            bench.surveyor.detach(pipe(3), &DetachReason::PeerClosed, bench.now, &mut bench.io);
            bench.surveyor.attach(pipe(n), bench.now, &mut bench.io).unwrap();
            bench.io.arrives(pipe(n), b"\x80\0\0\x09forged");
            bench.surveyor.readable(pipe(n), &mut bench.io);
            assert_eq!(bench.io.take_drops(), [(Some(pipe(n)), DropReason::NotAsked)]);
        }
        bench.arrives(&[b"\x80\0\0\x091"]);
        assert_eq!(bench.recv(asker).unwrap(), "1");
        bench.send(asker);
        bench.io.arrives(pipe(4), b"\x80\0\0\x0A4");
        bench.surveyor.readable(pipe(4), &mut bench.io);
        assert_eq!(bench.recv(asker).unwrap(), "4", "it was asked this time");
    }

    // C203, C206.
    #[test]
    fn surveys_of_thirty_conversations_do_not_mix() {
        let (mut bench, _) = Bench::new();
        let askers: Vec<_> = (0..30).map(|_| bench.surveyor.open(None, 8)).collect();
        for &asker in &askers {
            bench.send(asker);
        }
        for (_, survey) in bench.io.take_sent().into_iter().rev() {
            bench.arrives(&[&[&survey[..4], &survey[3..4]].concat()]);
        }
        for (n, &asker) in askers.iter().enumerate() {
            for _respondent in 0..3 {
                assert_eq!(bench.recv(asker).unwrap(), [9 + n as u8]);
            }
            assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        }
    }

    // C191, C197.
    #[test]
    fn closing_a_conversation_ends_its_survey_and_no_other() {
        let (mut bench, one) = Bench::new();
        let other = bench.surveyor.open(None, 8);
        let awaited = bench.send(one);
        bench.send(other);
        bench.arrives(&[b"\x80\0\0\x091", b"\x80\0\0\x0A2"]);
        bench.surveyor.close(one, &mut bench.io);
        assert!(bench.io.take_woken(one.interest()));
        assert_eq!(bench.take_reasons(), [DropReason::Unread]);
        let new = bench.surveyor.open(None, 8);
        assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::Closed));
        assert_eq!(bench.surveyor.awaited(one), Err(RecvRefusal::Closed));
        let refused = bench.surveyor.send(&one, &mut body("q"), bench.now, &mut bench.io);
        assert_eq!(refused, Err(SendRefusal::Closed));
        assert!(bench.surveyor.poll_ready(one.interest(), &mut bench.io));
        bench.surveyor.close(one, &mut bench.io);
        assert_eq!(
            bench.surveyor.awaited(new),
            Err(RecvRefusal::State),
            "it has the place of the first"
        );
        assert_eq!(bench.recv(other).unwrap(), "2");
    }

    #[test]
    fn a_survey_is_ready_to_receive_with_an_answer_or_when_it_is_over() {
        let (mut bench, asker) = Bench::new();
        bench.send(asker);
        assert!(!bench.surveyor.ready(asker.interest()));
        bench.arrives(&[b"\x80\0\0\x091"]);
        assert!(bench.surveyor.ready(asker.interest()));
        bench.recv(asker).unwrap();
        assert!(!bench.surveyor.ready(asker.interest()));
        bench.pass(SECOND);
        assert!(bench.surveyor.ready(asker.interest()));
    }

    #[test]
    fn a_survey_may_cost_a_slow_peer_its_pipe() {
        let (mut bench, asker) = Bench::new();
        bench.surveyor.set_overflow(Overflow::Disconnect, &mut bench.io);
        bench.io.fill(pipe(2));
        bench.send(asker);
        assert_eq!(bench.take_reasons(), [DropReason::SendQueueFull]);
        assert_eq!(bench.io.take_disconnected(), [pipe(2)]);
    }

    /// Case D11 of the list of attacks: all are asked, and of their answers as many are kept as may be.
    #[test]
    fn a_hundred_thousand_respondents_answer_one_survey() {
        const MORE: u32 = 100_000;
        let (mut bench, asker) = Bench::new();
        for n in 4..=MORE {
            bench.surveyor.attach(pipe(n), bench.now, &mut bench.io).unwrap();
        }
        bench.send(asker);
        let questions = bench.io.take_sent();
        assert_eq!(questions.len(), MORE as usize);
        for (pipe, question) in &questions {
            bench.io.arrives(*pipe, &[&question[..4], b"I"].concat());
            bench.surveyor.readable(*pipe, &mut bench.io);
        }
        let drops = bench.take_reasons();
        assert_eq!(drops, vec![DropReason::RecvQueueFull; MORE as usize - 128]);
        (0..128).for_each(|_| assert_eq!(bench.recv(asker).unwrap(), "I"));
        assert_eq!(bench.recv(asker).unwrap_err(), RecvRefusal::WouldBlock);
    }
}
