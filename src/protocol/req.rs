//! REQ: sends requests, and gets exactly one reply to each, however often a pipe breaks on the way.
//!
//! A request is kept until its reply arrives. It waits in line until a pipe that has nothing else to transmit
//! takes it, and goes back into the line when that pipe is lost, or when no reply has come for the resend
//! interval. The bytes and the id stay the same, so the first reply to any copy is the reply, and every later
//! one is stale. Ids can be guessed, so a reply counts only from a pipe that took a copy.
//!
//! Two things end a request early: the loss of a pipe that was closed because of what its peer had sent,
//! since the next peer would send the same; and the limit on how often a request is sent again. A request
//! that keeps losing its pipes is sent with pauses in between, since it may be what kills the servers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;
use smallvec::SmallVec;

use super::backtrace::{self, Ids, RequestId};
use super::conversation::{Awaited, Conversation, Conversations};
use super::route::Balance;
use super::timers::Timers;
use super::{Clock, Held, Port, Protocol, RecvRefusal, Rejected, Schedule, SendRefusal};
use crate::body::Body;
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::options::{Resends, RoleOption};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;

/// The shortest time between two copies of a request that has lost a pipe before. Four a second do not burden a
/// server, and hardly delay the program that asks.
const PAUSE: Duration = Duration::from_millis(250);

/// The state of a REQ socket: its conversations, and what their requests wait for.
#[derive(Debug)]
pub(crate) struct Req {
    conversations: Conversations<Asker>,
    lists: Lists,
    next_ticket: u64,
    /// Pipes that may have transmitted everything, which is checked when a request needs one. A busy pipe
    /// takes no new request: the request would only wait there, while another pipe might be idle.
    drained: Balance,
}

/// The lists that refer to requests.
#[derive(Debug)]
struct Lists {
    ids: Ids,
    /// Requests that wait for a pipe.
    line: BTreeMap<Ticket, Conversation>,
    /// When requests must be sent again, or may be after a pause.
    timers: Timers,
}

/// A request's position in line: the smaller one goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket(u64);

#[derive(Debug)]
struct Asker {
    /// The settings of the next request.
    resends: Resends,
    phase: Phase,
    /// Its timer. If its request waits for a later time, the timer is moved there when it fires.
    timer: Option<Instant>,
}

/// Where a conversation stands.
///
/// ```text
///            send                        reply
///   IDLE ------------> OUTSTANDING ------------------> REPLIED --recv--> IDLE
///                        |
///                        | pipe lost, not to be resent
///                        +---------------------------> FAILED --recv: why--> IDLE
///
///   send in any phase: drop what is there, then OUTSTANDING
/// ```
#[derive(Debug)]
enum Phase {
    Idle,
    Outstanding(PendingRequest),
    Replied(RequestId, Message),
    Failed(RequestId, RecvRefusal),
}

#[derive(Debug)]
struct PendingRequest {
    id: RequestId,
    body: Body,
    /// The settings when the request was sent: later changes are for later requests.
    resends: Resends,
    ticket: Ticket,
    progress: Progress,
    /// The pipes that took a copy and are still attached, the latest last.
    copies: SmallVec<[PipeId; 4]>,
    /// The number of copies that have gone out, including those to lost pipes.
    sent: u32,
    /// Once it has lost a pipe: how soon it may go out again when it loses another.
    earliest: Option<Instant>,
}

/// Where the latest copy of a request is.
///
/// ```text
///           a drained pipe takes it           pipe lost, or interval over
///   UNSENT -------------------------> CARRIED ---------------------------> RESENDING
///                                      ^   |                                 ^   |
///                                      |   +--pipe lost again--> PAUSING ----+   |
///                                      +--------- a drained pipe takes it -------+
/// ```
#[derive(Clone, Copy, Debug)]
enum Progress {
    /// In line; no pipe has taken it yet.
    Unsent,
    /// In line again.
    Resending,
    /// With the pipe of the latest copy, until `due`.
    Carried { due: Option<Instant> },
    /// With nobody, until `end`.
    Pausing { end: Instant },
}

impl Req {
    /// Makes a REQ whose request ids begin at `seed`, which should be random.
    pub(crate) fn new(seed: u32) -> Self {
        let lists = Lists { ids: Ids::new(seed), line: BTreeMap::new(), timers: Timers::default() };
        Self {
            conversations: Conversations::default(),
            lists,
            next_ticket: 0,
            drained: Balance::default(),
        }
    }

    /// Opens a conversation, whose requests are sent again as `resends` says.
    pub(crate) fn open(&mut self, resends: Resends) -> Conversation {
        self.conversations.open(Asker { resends, phase: Phase::Idle, timer: None })
    }

    /// Changes when and how often later requests are sent again.
    pub(crate) fn change_resends(
        &mut self,
        conversation: Conversation,
        change: impl FnOnce(&mut Resends),
    ) {
        if let Some(asker) = self.conversations.get_mut(conversation) {
            change(&mut asker.resends);
        }
    }

    /// Ends the conversation and forgets its request.
    pub(crate) fn close(&mut self, conversation: Conversation, io: &mut impl Port) {
        self.forget(conversation, io);
        self.conversations.close(conversation);
    }

    /// The request for which a receive that begins now waits.
    pub(crate) fn awaited(&self, conversation: Conversation) -> Result<Awaited, RecvRefusal> {
        let asker = self.conversations.get(conversation).ok_or(RecvRefusal::Closed)?;
        let id = asker.phase.id().ok_or(RecvRefusal::State)?;
        Ok(Awaited { conversation, id })
    }

    /// Drops the request or reply of the conversation, if it has one, and wakes the calls that wait for it.
    #[inline]
    fn forget(&mut self, conversation: Conversation, io: &mut impl Port) {
        let asker = self.conversations.get(conversation);
        if asker.is_some_and(|asker| !matches!(asker.phase, Phase::Idle)) {
            self.forget_outcome(conversation, io);
        }
    }

    /// As [`forget`](Self::forget), for a conversation that is not idle.
    fn forget_outcome(&mut self, conversation: Conversation, io: &mut impl Port) {
        let Some(asker) = self.conversations.get_mut(conversation) else {
            return;
        };
        match &asker.phase {
            Phase::Idle => return,
            Phase::Failed(..) => {}
            Phase::Replied(_, reply) => io.dropped(reply.pipe(), DropReason::Unread),
            Phase::Outstanding(request) => {
                if matches!(request.progress, Progress::Unsent) {
                    io.dropped(None, DropReason::Superseded);
                }
                if let Some(phase) = self.conclude(conversation, io) {
                    *phase = Phase::Idle;
                }
                return;
            }
        }
        asker.phase = Phase::Idle;
        io.wake(conversation.interest());
    }

    /// Gives requests to drained pipes for as long as there are both.
    fn dispatch(&mut self, io: &mut impl Port) {
        while let Some((_, &conversation)) = self.lists.line.first_key_value()
            && self.transmit(conversation, io)
        {
            self.lists.line.pop_first();
        }
    }

    /// Sends a new request, or puts it in line if it must wait.
    fn line_up(&mut self, ticket: Ticket, conversation: Conversation, io: &mut impl Port) {
        let is_first = self.lists.line.is_empty();
        if !is_first || !self.transmit(conversation, io) {
            self.lists.line.insert(ticket, conversation);
        }
    }

    /// Puts a copy of a request into the next pipe; says whether one took it. If not, `writable`, `attach` or
    /// `detach` follows when to try again.
    fn transmit(&mut self, conversation: Conversation, io: &mut impl Port) -> bool {
        let Some(asker) = self.conversations.get_mut(conversation) else { return false };
        let Phase::Outstanding(request) = &mut asker.phase else { return false };
        let sent = self.drained.send_to_drained(&request.id.header(), &request.body, io);
        let Some(pipe) = sent else { return false };
        if matches!(request.progress, Progress::Resending) {
            io.resent();
        }
        if let Some(due) = request.go_out(pipe, || io.now()) {
            asker.check_at(due, conversation, &mut self.lists.timers);
        }
        true
    }

    /// Sees to it that a conversation is checked at `due`, or earlier.
    fn set_timer(&mut self, due: Instant, conversation: Conversation) {
        if let Some(asker) = self.conversations.get_mut(conversation) {
            asker.check_at(due, conversation, &mut self.lists.timers);
        }
    }

    /// Routes one reply to the conversation that waits for it.
    fn accept(&mut self, frame: Frame, pipe: PipeId, io: &mut impl Port) -> Result<(), DropReason> {
        let (id, body) = backtrace::answer(frame)?;
        let conversation = self.lists.ids.owner(id).ok_or(DropReason::Stale)?;
        let asker = self.conversations.get_mut(conversation).ok_or(DropReason::Stale)?;
        let Phase::Outstanding(request) = &asker.phase else { return Err(DropReason::Stale) };
        if !request.copies.contains(&pipe) {
            return Err(DropReason::NotAsked);
        }
        if let Some(phase) = self.conclude(conversation, io) {
            *phase = Phase::Replied(id, Message::received(body, pipe));
        }
        Ok(())
    }

    /// Ends the outstanding request of a conversation, if it has one, and tells whoever waits for it. Returns
    /// the phase, in which the caller must write how it ended: to pass that here would move it twice.
    #[must_use]
    fn conclude(&mut self, conversation: Conversation, io: &mut impl Port) -> Option<&mut Phase> {
        // Its timer is for the next one, or passed over when it fires: to look for it would take longer.
        if self.lists.timers.outnumber(self.conversations.len()) {
            self.forget_timers();
        }
        let asker = self.conversations.get_mut(conversation)?;
        let Phase::Outstanding(request) = &asker.phase else { return None };
        self.lists.ids.retire(request.id);
        if request.is_in_line() {
            self.lists.line.remove(&request.ticket);
        }
        io.wake(conversation.interest());
        Some(&mut asker.phase)
    }

    /// Forgets timers of conversations that are closed, or have an earlier one.
    fn forget_timers(&mut self) {
        let (timers, askers) = (&mut self.lists.timers, &self.conversations);
        timers.forget_unset(askers.len(), |at, conversation| is_set(askers, at, conversation));
    }

    /// The requests of which a pipe has a copy. Searches all conversations: losing a pipe is far rarer than
    /// giving it a request, so no list of what each pipe carries is kept.
    fn carried_by(&self, pipe: PipeId) -> Vec<Conversation> {
        let is_carried = |asker: &Asker| match &asker.phase {
            Phase::Outstanding(request) => request.copies.contains(&pipe),
            _ => false,
        };
        let carried = self.conversations.iter().filter(|(_, asker)| is_carried(asker));
        carried.map(|(conversation, _)| conversation).collect()
    }

    /// A pipe with a copy is gone: the request is over, or goes out again, or waits for another copy.
    fn on_pipe_lost(
        &mut self,
        (pipe, reason): (PipeId, &DetachReason),
        conversation: Conversation,
        io: &mut impl Port,
    ) {
        let Some(request) = outstanding(&mut self.conversations, conversation) else {
            return;
        };
        match request.lose(pipe, reason) {
            AfterLoss::Nothing => {}
            AfterLoss::Again => self.line_up_again(conversation, io.now()),
            AfterLoss::Fatal(refusal) => {
                let id = request.id;
                if let Some(phase) = self.conclude(conversation, io) {
                    *phase = Phase::Failed(id, refusal);
                }
            }
        }
    }

    /// Puts the request back at its old position in line, after a pause if it needs one.
    fn line_up_again(&mut self, conversation: Conversation, now: Instant) {
        let Some(request) = outstanding(&mut self.conversations, conversation) else {
            return;
        };
        match request.earliest.replace(now) {
            Some(end) if end > now => {
                request.progress = Progress::Pausing { end };
                self.set_timer(end, conversation);
            }
            _ => {
                request.progress = Progress::Resending;
                self.lists.line.insert(request.ticket, conversation);
            }
        }
    }

    /// The timer of a conversation has fired: its request has something to do, or later, or nothing.
    fn on_timer(&mut self, conversation: Conversation, now: Instant) {
        let Some(asker) = self.conversations.get_mut(conversation) else { return };
        asker.timer = None;
        match asker.due() {
            Some(due) if due > now => self.set_timer(due, conversation),
            Some(_) => self.on_due(conversation),
            None => {}
        }
    }

    /// The pause or the interval of a request is over.
    fn on_due(&mut self, conversation: Conversation) {
        match outstanding(&mut self.conversations, conversation) {
            Some(request) if matches!(request.progress, Progress::Pausing { .. }) => {
                request.progress = Progress::Resending;
                self.lists.line.insert(request.ticket, conversation);
            }
            _ => self.on_interval_over(conversation),
        }
    }

    /// No reply has come in time: puts the request at the end of the line, behind those not sent yet.
    ///
    /// At its old position it could keep them waiting forever, with slow pipes and a short interval.
    fn on_interval_over(&mut self, conversation: Conversation) {
        let ticket = take_ticket(&mut self.next_ticket);
        let Some(request) = outstanding(&mut self.conversations, conversation) else {
            return;
        };
        request.ticket = ticket;
        request.progress = Progress::Resending;
        self.lists.line.insert(ticket, conversation);
    }
}

impl Protocol for Req {
    const ID: ProtocolId = ProtocolId::REQ;
    const PEER: ProtocolId = ProtocolId::REP;
    const OPTIONS: &'static [RoleOption] =
        &[RoleOption::ResendInterval, RoleOption::MaxResends, RoleOption::SendPriority];
    const SCHEDULE: Schedule = Schedule { clock: Clock::WhenDue, filters: false, empties: true };
    const HEADER: usize = size_of::<u32>();
    type To = Conversation;
    type From = Awaited;
    type Received = Message;

    fn attach(&mut self, pipe: PipeId, _: Instant, io: &mut impl Port) -> Result<(), Rejected> {
        self.drained.add(pipe, io.priorities(pipe).send);
        self.dispatch(io);
        Ok(())
    }

    fn detach(&mut self, pipe: PipeId, reason: &DetachReason, _: Instant, io: &mut impl Port) {
        // A reply that has arrived makes a resend needless.
        self.readable(pipe, io);
        self.drained.remove(pipe);
        for conversation in self.carried_by(pipe) {
            self.on_pipe_lost((pipe, reason), conversation, io);
        }
        self.dispatch(io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut impl Port) {
        io.pop_all(pipe, |io, frame| {
            if let Err(reason) = self.accept(frame, pipe, io) {
                io.dropped(Some(pipe), reason);
            }
        });
    }

    fn writable(&mut self, pipe: PipeId, _: Instant, io: &mut impl Port) {
        self.drained.add(pipe, io.priorities(pipe).send);
        self.dispatch(io);
    }

    fn send(
        &mut self,
        &conversation: &Conversation,
        body: &mut Bytes,
        _now: Instant,
        io: &mut impl Port,
    ) -> Result<(), SendRefusal> {
        self.forget(conversation, io);
        let asker = self.conversations.get_mut(conversation).ok_or(SendRefusal::Closed)?;
        let (id, ticket) = (self.lists.ids.issue(conversation), take_ticket(&mut self.next_ticket));
        asker.phase = Phase::Outstanding(PendingRequest {
            id,
            body: std::mem::take(body).into(),
            resends: asker.resends,
            ticket,
            progress: Progress::Unsent,
            copies: SmallVec::new(),
            sent: 0,
            earliest: None,
        });
        self.line_up(ticket, conversation, io);
        Ok(())
    }

    #[inline]
    fn recv(
        &mut self,
        awaited: &Awaited,
        _now: Instant,
        _io: &mut impl Port,
    ) -> Result<Message, RecvRefusal> {
        let asker = self.conversations.get_mut(awaited.conversation).ok_or(RecvRefusal::Closed)?;
        match &asker.phase {
            Phase::Outstanding(request) if request.id == awaited.id => {
                return Err(RecvRefusal::WouldBlock);
            }
            Phase::Replied(id, _) | Phase::Failed(id, _) if *id == awaited.id => {}
            _ => return Err(RecvRefusal::Canceled),
        }
        match std::mem::replace(&mut asker.phase, Phase::Idle) {
            Phase::Replied(_, reply) => Ok(reply),
            Phase::Failed(_, refusal) => Err(refusal),
            Phase::Idle | Phase::Outstanding(_) => Err(RecvRefusal::State),
        }
    }

    fn can_send(&self, _pipe: Option<PipeId>) -> bool {
        true
    }

    fn can_recv(&self, conversation: Conversation) -> bool {
        let asker = self.conversations.get(conversation);
        !asker.is_some_and(|asker| matches!(asker.phase, Phase::Outstanding(_)))
    }

    /// A conversation is readable if its request is over or it is closed, but not if it has asked nothing.
    fn find_message(&mut self, conversation: Conversation, _io: &mut impl Port) -> bool {
        let asker = self.conversations.get(conversation);
        asker.is_none_or(|it| matches!(it.phase, Phase::Replied(..) | Phase::Failed(..)))
    }

    fn held(&self) -> Held {
        let count = |wanted: fn(&Phase) -> bool| {
            self.conversations.states().filter(|asker| wanted(&asker.phase)).count() as u64
        };
        Held {
            outbound: count(Phase::is_unsent),
            inbound: count(|phase| matches!(phase, Phase::Replied(..))),
        }
    }

    /// Requests in line go to the next free pipe, even if no call waits for their replies.
    fn is_busy(&self) -> bool {
        !self.lists.line.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        self.lists.timers.first()
    }

    fn expire(&mut self, now: Instant, io: &mut impl Port) {
        while let Some((at, conversation)) = self.lists.timers.take_due(now) {
            if is_set(&self.conversations, at, conversation) {
                self.on_timer(conversation, now);
            }
        }
        self.dispatch(io);
    }
}

/// What the loss of a pipe means for a request of which the pipe had a copy.
enum AfterLoss {
    /// Nothing: it has gone out on another pipe since, or another may still answer it.
    Nothing,
    /// It must go out again.
    Again,
    /// It is over.
    Fatal(RecvRefusal),
}

impl PendingRequest {
    /// Notes that a copy goes out `now`, and returns when the next one is due.
    fn go_out(&mut self, pipe: PipeId, now: impl Fn() -> Instant) -> Option<Instant> {
        self.sent = self.sent.saturating_add(1);
        let interval = self.resends.interval.filter(|_| self.may_go_out_again());
        let due = interval.and_then(|interval| now().checked_add(interval));
        self.progress = Progress::Carried { due };
        if let Some(earliest) = &mut self.earliest {
            // A program that sets a shorter interval wants no longer pauses.
            *earliest = now() + interval.map_or(PAUSE, |interval| interval.min(PAUSE));
        }
        self.copies.retain(|other| *other != pipe);
        self.copies.push(pipe);
        due
    }

    fn is_in_line(&self) -> bool {
        matches!(self.progress, Progress::Unsent | Progress::Resending)
    }

    /// When it has something to do, unless something else happens.
    fn due(&self) -> Option<Instant> {
        match self.progress {
            Progress::Unsent | Progress::Resending => None,
            Progress::Carried { due } => due,
            Progress::Pausing { end } => Some(end),
        }
    }

    fn may_go_out_again(&self) -> bool {
        let Resends { interval, limit } = self.resends;
        interval.is_some() && self.sent <= limit
    }

    /// Decides what the loss of a pipe with a copy means.
    fn lose(&mut self, pipe: PipeId, reason: &DetachReason) -> AfterLoss {
        let was_latest = self.copies.last() == Some(&pipe);
        self.copies.retain(|other| *other != pipe);
        if reason.is_fault() {
            return AfterLoss::Fatal(RecvRefusal::BadReply(reason.clone()));
        }
        if !was_latest || !matches!(self.progress, Progress::Carried { .. }) {
            return AfterLoss::Nothing;
        }
        match self.resends.interval {
            Some(_) if self.may_go_out_again() => AfterLoss::Again,
            _ if !self.copies.is_empty() => AfterLoss::Nothing,
            None => AfterLoss::Fatal(RecvRefusal::ConnectionReset),
            Some(_) => {
                let (sent, reason) = (self.sent, reason.clone());
                AfterLoss::Fatal(RecvRefusal::GivenUp { sent, reason })
            }
        }
    }
}

impl Asker {
    /// Sees to it that this, the asker of `conversation`, is checked at `due`, or earlier.
    #[inline]
    fn check_at(&mut self, due: Instant, conversation: Conversation, timers: &mut Timers) {
        if self.timer.is_none_or(|at| due < at) {
            self.timer = Some(due);
            timers.set(due, conversation);
        }
    }

    /// When its request has something to do.
    fn due(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Outstanding(request) => request.due(),
            _ => None,
        }
    }
}

impl Phase {
    /// The request for which a receive would wait, or whose outcome it would return.
    fn id(&self) -> Option<RequestId> {
        match self {
            Self::Idle => None,
            Self::Outstanding(request) => Some(request.id),
            Self::Replied(id, _) | Self::Failed(id, _) => Some(*id),
        }
    }

    fn is_unsent(&self) -> bool {
        matches!(self, Self::Outstanding(PendingRequest { progress: Progress::Unsent, .. }))
    }
}

/// Whether the timer at `at` is that of the conversation.
fn is_set(askers: &Conversations<Asker>, at: Instant, conversation: Conversation) -> bool {
    askers.get(conversation).is_some_and(|asker| asker.timer == Some(at))
}

fn take_ticket(next: &mut u64) -> Ticket {
    *next += 1;
    Ticket(*next)
}

fn outstanding(
    askers: &mut Conversations<Asker>,
    conversation: Conversation,
) -> Option<&mut PendingRequest> {
    match &mut askers.get_mut(conversation)?.phase {
        Phase::Outstanding(request) => Some(request),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Interest;
    use super::super::testing::{ManualPort, body, pipe, start};
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A REQ with a port and a clock of its own; its first request has the id 9.
    struct Bench {
        req: Req,
        io: ManualPort,
        now: Instant,
    }

    impl Bench {
        fn new() -> Self {
            let now = start();
            let mut io = ManualPort::default();
            io.now = Some(now);
            Self { req: Req::new(9), io, now }
        }

        /// One that is connected through pipe 1, and a conversation with a minute for a resend.
        fn connected() -> (Self, Conversation) {
            let mut bench = Self::new();
            bench.attach(1);
            let conversation = bench.open(Some(60 * SECOND));
            (bench, conversation)
        }

        fn open(&mut self, interval: Option<Duration>) -> Conversation {
            self.req.open(Resends { interval, limit: Resends::NO_LIMIT })
        }

        fn attach(&mut self, n: u32) {
            self.req.attach(pipe(n), self.now, &mut self.io).unwrap();
        }

        fn detach(&mut self, n: u32) {
            self.detach_for(&DetachReason::PeerClosed, n);
        }

        fn detach_for(&mut self, reason: &DetachReason, n: u32) {
            self.io.break_off(pipe(n));
            self.req.detach(pipe(n), reason, self.now, &mut self.io);
        }

        /// Attaches a pipe that keeps what it takes.
        fn attach_stalled(&mut self, n: u32) {
            self.io.stall(pipe(n));
            self.attach(n);
        }

        /// Empties a stalled pipe.
        fn drain(&mut self, n: u32) {
            self.io.drain(pipe(n));
            self.req.writable(pipe(n), self.now, &mut self.io);
        }

        fn send(&mut self, conversation: Conversation, text: &'static str) {
            self.req.send(&conversation, &mut body(text), self.now, &mut self.io).unwrap();
        }

        fn recv(&mut self, conversation: Conversation) -> Result<Message, RecvRefusal> {
            let awaited = self.req.awaited(conversation)?;
            self.recv_awaited(awaited)
        }

        fn recv_awaited(&mut self, awaited: Awaited) -> Result<Message, RecvRefusal> {
            self.req.recv(&awaited, self.now, &mut self.io)
        }

        fn arrives(&mut self, n: u32, frames: &[&[u8]]) {
            for frame in frames {
                self.io.arrives(pipe(n), frame);
            }
            self.req.readable(pipe(n), &mut self.io);
        }

        /// When something is due. The socket is entered then, or earlier.
        fn deadline(&self) -> Option<Instant> {
            let due = self.req.conversations.states().filter_map(Asker::due).min();
            assert!(due.is_none_or(|due| self.req.deadline().is_some_and(|at| at <= due)));
            due
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            self.io.now = Some(self.now);
            self.req.expire(self.now, &mut self.io);
        }

        /// The pipe and the body of everything sent since this was last asked.
        fn take_sent(&mut self) -> Vec<(u32, String)> {
            let sent = self.io.take_sent().into_iter();
            sent.map(|(pipe, bytes)| (pipe.get(), String::from_utf8_lossy(&bytes[4..]).into()))
                .collect()
        }

        fn take_reasons(&mut self) -> Vec<DropReason> {
            self.io.take_drops().into_iter().map(|(_, reason)| reason).collect()
        }
    }

    fn sent<const N: usize>(list: [(u32, &str); N]) -> Vec<(u32, String)> {
        list.map(|(n, text)| (n, text.to_owned())).into()
    }

    // C058, C079, B20, E17.
    #[test]
    fn a_request_gets_its_reply() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "abc");
        assert_eq!(bench.io.take_sent(), [(pipe(1), b"\x80\0\0\x09abc".to_vec())]);
        bench.io.take_woken(asker.interest());
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert!(bench.io.take_woken(asker.interest()));
        let reply = bench.recv(asker).unwrap();
        assert_eq!((reply.pipe(), &reply[..]), (Some(pipe(1)), &b"x"[..]));

        bench.send(asker, "abc");
        assert_eq!(bench.io.take_sent(), [(pipe(1), b"\x80\0\0\x0Aabc".to_vec())]);
    }

    // C060, C198, B26; after a reply was received the state is IDLE again.
    #[test]
    fn a_receive_without_a_request_is_refused() {
        let (mut bench, asker) = Bench::connected();
        let other = bench.open(None);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.take_reasons(), [DropReason::Stale]);
        bench.send(asker, "a");
        assert_eq!(bench.recv(other), Err(RecvRefusal::State));
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        bench.recv(asker).unwrap();
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
    }

    // C063.
    #[test]
    fn requests_go_to_the_pipes_in_turn() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        for text in ["a", "b", "c"] {
            bench.send(asker, text);
        }
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "b"), (1, "c")]));
    }

    // C064, E19.
    #[test]
    fn a_request_without_a_reply_is_sent_again_with_the_same_bytes() {
        let mut bench = Bench::new();
        bench.attach(1);
        let asker = bench.open(Some(SECOND));
        bench.send(asker, "a");
        let first = bench.io.take_sent();
        assert_eq!(bench.deadline(), Some(bench.now + SECOND));
        bench.pass(SECOND - Duration::from_nanos(1));
        assert_eq!(bench.io.take_sent(), []);
        for copies in 1..=3 {
            bench.pass(SECOND);
            assert_eq!(bench.io.take_sent(), first);
            assert_eq!(bench.io.resent, copies);
        }
    }

    #[test]
    fn a_timer_is_moved_when_it_fires() {
        let mut bench = Bench::new();
        bench.attach(1);
        let asker = bench.open(Some(10 * SECOND));
        let start = bench.now;
        bench.send(asker, "a");
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        bench.recv(asker).unwrap();
        bench.pass(4 * SECOND);
        bench.send(asker, "b");
        assert_eq!(bench.req.deadline(), Some(start + 10 * SECOND), "that of the first request");
        bench.take_sent();
        bench.pass(6 * SECOND);
        assert_eq!(bench.take_sent(), sent([]));
        assert_eq!(bench.req.deadline(), Some(start + 14 * SECOND));
        bench.pass(4 * SECOND);
        assert_eq!(bench.take_sent(), sent([(1, "b")]));
        bench.arrives(1, &[b"\x80\0\0\x0Ax"]);
        bench.pass(10 * SECOND);
        assert_eq!((bench.take_sent(), bench.req.deadline()), (sent([]), None));
    }

    #[test]
    fn a_shorter_interval_has_an_earlier_timer() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        bench.req.change_resends(asker, |resends| resends.interval = Some(SECOND));
        bench.send(asker, "b");
        bench.take_sent();
        assert_eq!(bench.req.deadline(), Some(bench.now + SECOND));
        bench.pass(SECOND);
        assert_eq!(bench.take_sent(), sent([(1, "b")]));
    }

    /// As of a program that asks with `request`, which opens a conversation each time.
    #[test]
    fn the_timers_of_conversations_that_are_over_do_not_gather() {
        let mut bench = Bench::new();
        bench.attach(1);
        for _ in 0..1000 {
            let asker = bench.open(Some(SECOND));
            bench.send(asker, "a");
            bench.req.close(asker, &mut bench.io);
            assert!(!bench.req.lists.timers.outnumber(1));
        }
        bench.pass(SECOND);
        assert_eq!(bench.req.deadline(), None);
    }

    // C065, C077, B25.
    #[test]
    fn only_the_first_reply_counts() {
        let mut bench = Bench::new();
        bench.attach(1);
        let asker = bench.open(Some(SECOND));
        bench.send(asker, "a");
        bench.pass(SECOND);
        bench.arrives(1, &[b"\x80\0\0\x091", b"\x80\0\0\x092"]);
        assert_eq!(bench.recv(asker).unwrap(), "1");
        assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
        assert_eq!(bench.take_reasons(), [DropReason::Stale]);
        assert_eq!(bench.deadline(), None);
    }

    // C066, C091, D7.
    #[test]
    fn a_request_without_a_peer_is_held_and_goes_out_once() {
        let mut bench = Bench::new();
        let asker = bench.open(Some(SECOND));
        bench.send(asker, "a");
        assert_eq!(bench.req.held(), Held { outbound: 1, inbound: 0 });
        assert_eq!(bench.deadline(), None);
        for _ in 0..20 {
            bench.pass(SECOND);
        }
        bench.attach(1);
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
        assert_eq!(bench.req.held(), Held::default());
        assert_eq!(bench.io.resent, 0);
        assert_eq!(bench.deadline(), Some(bench.now + SECOND));
    }

    // C067.
    #[test]
    fn a_request_whose_pipe_is_lost_goes_to_another_at_once() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        bench.send(asker, "a");
        bench.detach(1);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
        assert_eq!(bench.io.resent, 1);
    }

    // C068.
    #[test]
    fn a_request_whose_only_pipe_is_lost_waits_for_the_next() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        bench.detach(1);
        assert_eq!(bench.deadline(), None);
        assert_eq!(bench.req.held(), Held::default());
        bench.attach(2);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
        bench.arrives(2, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
    }

    #[test]
    fn the_loss_of_another_pipe_changes_nothing() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        bench.send(asker, "a");
        bench.detach(2);
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
    }

    #[test]
    fn a_reply_that_came_before_its_pipe_was_lost_is_delivered() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        bench.send(asker, "a");
        bench.io.arrives(pipe(1), b"\x80\0\0\x09x");
        bench.detach(1);
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
        assert_eq!(bench.recv(asker).unwrap(), "x");
    }

    // C069, D32: while a receive waits, and before it.
    #[test]
    fn a_request_not_to_be_repeated_is_reset_once_with_its_pipe() {
        let mut bench = Bench::new();
        let asker = bench.open(None);
        for n in [1, 2] {
            bench.attach(n);
            bench.send(asker, "a");
            let awaited = bench.req.awaited(asker).unwrap();
            assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::WouldBlock));
            bench.io.take_woken(asker.interest());
            bench.detach(n);
            assert!(bench.io.take_woken(asker.interest()));
            assert_eq!(bench.recv(asker), Err(RecvRefusal::ConnectionReset));
            assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
        }
        bench.attach(3);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
    }

    fn oversize() -> DetachReason {
        DetachReason::Oversize { announced: 101, limit: 100 }
    }

    // C420, C421.
    #[test]
    fn a_request_whose_peer_sends_what_cannot_be_read_fails_and_says_why() {
        for reason in [oversize(), DetachReason::Malformed] {
            for interval in [None, Some(SECOND)] {
                let mut bench = Bench::new();
                bench.attach(1);
                let asker = bench.open(interval);
                bench.send(asker, "a");
                bench.io.take_woken(asker.interest());
                bench.attach(2);
                bench.detach_for(&reason, 1);
                assert!(bench.io.take_woken(asker.interest()));
                assert_eq!(bench.deadline(), None);
                assert_eq!(bench.recv(asker), Err(RecvRefusal::BadReply(reason.clone())));
                assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
                assert_eq!(bench.take_sent(), sent([(1, "a")]));
            }
        }
    }

    // C421.
    #[test]
    fn a_fault_ends_every_request_of_which_the_peer_had_a_copy_and_no_other() {
        let mut bench = Bench::new();
        bench.attach(1);
        bench.attach_stalled(2);
        let [waits, other, unsent] = [(); 3].map(|()| bench.open(Some(SECOND)));
        bench.send(waits, "waits");
        bench.send(other, "other");
        bench.io.fill(pipe(1));
        bench.pass(SECOND);
        bench.send(unsent, "unsent");
        assert_eq!(
            bench.take_sent(),
            sent([(1, "waits"), (2, "other")]),
            "all three stand in line"
        );
        bench.detach_for(&oversize(), 1);
        assert_eq!(bench.recv(waits), Err(RecvRefusal::BadReply(oversize())));
        bench.drain(2);
        bench.drain(2);
        assert_eq!(bench.take_sent(), sent([(2, "other"), (2, "unsent")]));
        bench.arrives(2, &[b"\x80\0\0\x0Ax", b"\x80\0\0\x0By"]);
        assert_eq!([bench.recv(other), bench.recv(unsent)].map(Result::unwrap), ["x", "y"]);
    }

    // C424: no server is asked by one request more than four times a second, whoever is ready.
    #[test]
    fn a_request_that_kills_every_peer_goes_out_at_once_and_then_with_pauses() {
        let mut bench = Bench::new();
        for n in 1..=9 {
            bench.attach(n);
        }
        let asker = bench.open(Some(60 * SECOND));
        bench.send(asker, "poison");
        bench.detach(1);
        assert_eq!(bench.take_sent(), sent([(1, "poison"), (2, "poison")]), "the first time");
        for n in 2..9 {
            bench.detach(n);
            assert_eq!(bench.deadline(), Some(bench.now + PAUSE));
            bench.pass(PAUSE - Duration::from_nanos(1));
            assert_eq!(bench.take_sent(), sent([]));
            bench.pass(Duration::from_nanos(1));
            assert_eq!(bench.take_sent(), sent([(n + 1, "poison")]));
        }
        bench.pass(PAUSE);
        bench.detach(9);
        bench.attach(10);
        assert_eq!(bench.take_sent(), sent([(10, "poison")]), "the pause is over by now");
        bench.arrives(10, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
        assert_eq!(bench.deadline(), None);
    }

    #[test]
    fn a_pause_is_never_longer_than_the_interval() {
        let mut bench = Bench::new();
        for n in [1, 2, 3] {
            bench.attach(n);
        }
        let asker = bench.open(Some(PAUSE / 10));
        bench.send(asker, "a");
        bench.detach(1);
        bench.detach(2);
        bench.pass(PAUSE / 10);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a"), (3, "a")]));
    }

    #[test]
    fn a_request_given_up_during_its_pause_leaves_nothing_behind() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        bench.send(asker, "a");
        bench.detach(1);
        bench.detach(2);
        assert_eq!(bench.deadline(), Some(bench.now + PAUSE));
        bench.req.close(asker, &mut bench.io);
        assert_eq!(bench.deadline(), None);
        bench.attach(3);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
    }

    fn limited(limit: u32) -> (Bench, Conversation) {
        let mut bench = Bench::new();
        for n in [1, 2, 3] {
            bench.attach(n);
        }
        let asker = bench.req.open(Resends { interval: Some(SECOND), limit });
        bench.send(asker, "a");
        (bench, asker)
    }

    // C422.
    #[test]
    fn a_request_that_was_sent_as_often_as_it_may_be_fails_with_its_last_pipe() {
        for limit in [0, 1] {
            let (mut bench, asker) = limited(limit);
            (1..=limit).for_each(|n| bench.detach(n));
            assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
            bench.detach_for(&DetachReason::ClosedHere, limit + 1);
            let (sent, reason) = (limit + 1, DetachReason::ClosedHere);
            assert_eq!(bench.take_sent().len() as u32, sent);
            assert_eq!(bench.recv(asker), Err(RecvRefusal::GivenUp { sent, reason }));
            assert_eq!(bench.recv(asker), Err(RecvRefusal::State));
            assert_eq!(bench.deadline(), None);
        }
    }

    // C423.
    #[test]
    fn a_request_sent_for_the_last_time_waits_for_any_of_its_copies() {
        let (mut bench, asker) = limited(1);
        bench.pass(SECOND);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
        assert_eq!(bench.deadline(), None, "nothing more is due");
        bench.pass(60 * SECOND);
        bench.detach(2);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock), "the first may still answer");
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
        bench.send(asker, "b");
        assert_eq!(bench.take_sent(), sent([(3, "b")]));
        bench.pass(SECOND);
        assert_eq!(bench.take_sent(), sent([(1, "b")]), "the next may be sent again as often");
    }

    // C070 to C072, D9.
    #[test]
    fn a_new_request_takes_the_place_of_the_old() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        let old = bench.req.awaited(asker).unwrap();
        bench.io.take_woken(asker.interest());
        bench.send(asker, "b");
        assert!(bench.io.take_woken(asker.interest()));
        assert_eq!(bench.recv_awaited(old), Err(RecvRefusal::Canceled));
        bench.arrives(1, &[b"\x80\0\0\x09to a", b"\x80\0\0\x0Ato b"]);
        assert_eq!(bench.take_reasons(), [DropReason::Stale]);

        bench.send(asker, "c");
        assert_eq!(bench.take_reasons(), [DropReason::Unread]);
        bench.arrives(1, &[b"\x80\0\0\x0Bto c"]);
        assert_eq!(bench.recv(asker).unwrap(), "to c");
    }

    // C073, C074, D8.
    #[test]
    fn a_receive_that_finds_nothing_leaves_the_request_alone() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        for _ in 0..3 {
            assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        }
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
    }

    // C076, C078, B21 to B24.
    #[test]
    fn junk_is_counted_and_the_right_reply_still_delivered() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        bench.arrives(1, &[b"", b"\x80\0\0", b"\0\0\0\x09x", b"\x80\0\0\x0Ax"]);
        assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        let malformed = [DropReason::Malformed; 2];
        let stale = [DropReason::Stale; 2];
        assert_eq!(bench.take_reasons(), [malformed, stale].concat());
        bench.arrives(1, &[b"\x80\0\0\x09"]);
        assert_eq!(bench.recv(asker).unwrap(), "");
    }

    #[test]
    fn a_reply_to_a_request_nobody_was_sent_is_a_guess() {
        let mut bench = Bench::new();
        bench.attach_stalled(1);
        let [first, second] = [(); 2].map(|()| bench.open(None));
        bench.send(first, "a");
        bench.send(second, "b");
        bench.arrives(1, &[b"\x80\0\0\x0Ax"]);
        assert_eq!(bench.take_reasons(), [DropReason::NotAsked]);
        bench.drain(1);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (1, "b")]));
    }

    // C345.
    #[test]
    fn a_reply_counts_only_from_a_pipe_that_was_asked() {
        let (mut bench, asker) = Bench::connected();
        bench.attach(2);
        bench.send(asker, "a");
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
        bench.io.take_woken(asker.interest());
        bench.arrives(2, &[b"\x80\0\0\x09forged"]);
        assert!(!bench.io.take_woken(asker.interest()));
        assert_eq!(bench.io.take_drops(), [(Some(pipe(2)), DropReason::NotAsked)]);
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
        bench.arrives(2, &[b"\x80\0\0\x09late"]);
        assert_eq!(bench.take_reasons(), [DropReason::Stale]);
    }

    /// A bench with a request whose copies went out on pipes 1, 2 and 1 again; pipe 3 has none.
    fn asked_twice() -> (Bench, Conversation) {
        let mut bench = Bench::new();
        for n in [1, 2] {
            bench.attach(n);
        }
        let asker = bench.open(Some(SECOND));
        bench.send(asker, "a");
        bench.pass(SECOND);
        bench.pass(SECOND);
        bench.attach(3);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a"), (1, "a")]));
        (bench, asker)
    }

    // C346; semantics 5.1.
    #[test]
    fn after_a_resend_a_reply_counts_from_every_pipe_that_was_asked() {
        for n in [1, 2] {
            let (mut bench, asker) = asked_twice();
            bench.arrives(3, &[b"\x80\0\0\x09forged"]);
            bench.arrives(n, &[b"\x80\0\0\x09x"]);
            assert_eq!(bench.recv(asker).unwrap(), "x");
            assert_eq!(bench.take_reasons(), [DropReason::NotAsked]);
        }
    }

    // C346.
    #[test]
    fn the_loss_of_a_pipe_with_an_earlier_copy_changes_nothing() {
        let (mut bench, asker) = asked_twice();
        bench.detach(2);
        assert_eq!(bench.take_sent(), sent([]));
        assert_eq!(bench.deadline(), Some(bench.now + SECOND));
        bench.attach(2); // another pipe, under the same number
        bench.arrives(2, &[b"\x80\0\0\x09forged"]);
        assert_eq!(bench.take_reasons(), [DropReason::NotAsked]);
        bench.detach(1);
        assert_eq!(bench.take_sent(), sent([(3, "a")]), "that was the latest");
        bench.arrives(3, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.recv(asker).unwrap(), "x");
    }

    // C090.
    #[test]
    fn a_changed_interval_is_that_of_the_next_request() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        bench.req.change_resends(asker, |resends| resends.interval = None);
        assert_eq!(bench.deadline(), Some(bench.now + 60 * SECOND));
        bench.send(asker, "b");
        assert_eq!(bench.deadline(), None);
    }

    // C199, and semantics 5.1: one pipe takes a new request only when it is drained.
    #[test]
    fn requests_are_held_in_the_order_of_their_sends() {
        let mut bench = Bench::new();
        let askers = [(); 4].map(|()| bench.open(None));
        for (asker, text) in askers.into_iter().rev().zip(["a", "b", "c", "d"]) {
            bench.send(asker, text);
        }
        bench.attach_stalled(1);
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
        bench.req.writable(pipe(1), bench.now, &mut bench.io);
        assert_eq!(bench.take_sent(), sent([]));
        bench.drain(1);
        assert_eq!(bench.take_sent(), sent([(1, "b")]));
        bench.attach(2);
        assert_eq!(bench.take_sent(), sent([(2, "c"), (2, "d")]));
    }

    #[test]
    fn a_lost_request_keeps_its_place_and_a_late_one_goes_to_the_end() {
        let mut bench = Bench::new();
        let askers = [(); 3].map(|()| bench.open(Some(SECOND)));
        bench.attach_stalled(1);
        for (asker, text) in askers.into_iter().zip(["a", "b", "c"]) {
            bench.send(asker, text);
        }
        bench.detach(1);
        bench.attach_stalled(2);
        assert_eq!(bench.take_sent(), sent([(1, "a"), (2, "a")]));
        bench.pass(SECOND);
        bench.attach(3);
        assert_eq!(bench.take_sent(), sent([(3, "b"), (3, "c"), (3, "a")]));
    }

    // C200.
    #[test]
    fn of_two_requests_that_are_held_only_the_second_goes_out() {
        let mut bench = Bench::new();
        let asker = bench.open(None);
        bench.send(asker, "a");
        bench.send(asker, "b");
        assert_eq!(bench.take_reasons(), [DropReason::Superseded]);
        bench.attach(1);
        assert_eq!(bench.take_sent(), sent([(1, "b")]));
    }

    // C195, C197.
    #[test]
    fn closing_a_conversation_forgets_its_request_and_no_other() {
        let (mut bench, one) = Bench::connected();
        let other = bench.open(None);
        bench.send(one, "a");
        bench.send(other, "b");
        let awaited = bench.req.awaited(one).unwrap();
        bench.io.take_woken(one.interest());
        bench.req.close(one, &mut bench.io);
        assert!(bench.io.take_woken(one.interest()));
        let new = bench.open(None);
        assert_eq!(bench.recv_awaited(awaited), Err(RecvRefusal::Closed));
        assert_eq!(bench.req.awaited(one), Err(RecvRefusal::Closed));
        let refused = bench.req.send(&one, &mut body("c"), bench.now, &mut bench.io);
        assert_eq!(refused, Err(SendRefusal::Closed));
        assert!(bench.req.poll_ready(one.interest(), &mut bench.io));
        bench.req.close(one, &mut bench.io);
        assert_eq!(
            bench.req.awaited(new),
            Err(RecvRefusal::State),
            "it is in the place of the first"
        );
        assert_eq!(bench.deadline(), None);
        bench.arrives(1, &[b"\x80\0\0\x09x", b"\x80\0\0\x0Ay"]);
        assert_eq!(bench.recv(other).unwrap(), "y");
    }

    #[test]
    fn closing_a_conversation_counts_what_it_still_had() {
        let mut bench = Bench::new();
        let [unsent, unread] = [(); 2].map(|()| bench.open(None));
        bench.attach_stalled(1);
        bench.send(unread, "a");
        bench.send(unsent, "b");
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert_eq!(bench.req.held(), Held { outbound: 1, inbound: 1 });
        bench.req.close(unsent, &mut bench.io);
        bench.req.close(unread, &mut bench.io);
        assert_eq!(bench.take_reasons(), [DropReason::Superseded, DropReason::Unread]);
        assert_eq!(bench.req.held(), Held::default());
        bench.drain(1);
        assert_eq!(bench.take_sent(), sent([(1, "a")]));
    }

    // C193, C206.
    #[test]
    fn three_hundred_conversations_get_each_its_own_reply() {
        let mut bench = Bench::new();
        bench.attach(1);
        let askers: Vec<_> = (0..300).map(|_| bench.open(Some(SECOND))).collect();
        for &asker in &askers {
            bench.send(asker, "a");
            assert_eq!(bench.recv(asker), Err(RecvRefusal::WouldBlock));
        }
        for (_, request) in bench.io.take_sent().into_iter().rev() {
            bench.arrives(1, &[&[&request[..4], &request[2..4]].concat()]);
        }
        for (n, &asker) in askers.iter().enumerate() {
            assert_eq!(bench.recv(asker).unwrap(), (9 + n as u16).to_be_bytes());
        }
        assert_eq!(bench.deadline(), None);
    }

    #[test]
    fn a_request_is_ready_to_receive_when_it_is_no_longer_outstanding() {
        let (mut bench, asker) = Bench::connected();
        bench.send(asker, "a");
        assert!(!bench.req.ready(asker.interest()));
        assert!(bench.req.ready(Interest::SEND));
        bench.arrives(1, &[b"\x80\0\0\x09x"]);
        assert!(bench.req.ready(asker.interest()));
    }

    // Wire specification, section 9.
    #[test]
    fn request_ids_wrap_and_skip_those_outstanding() {
        let mut bench = Bench::new();
        bench.req = Req::new(0x7FFF_FFFE);
        bench.attach(1);
        let askers = [(); 3].map(|()| bench.open(None));
        for asker in askers {
            bench.send(asker, "");
        }
        let heads: Vec<_> = bench.io.take_sent().into_iter().map(|(_, bytes)| bytes).collect();
        assert_eq!(heads, [[0xFF, 0xFF, 0xFF, 0xFE], [0xFF; 4], [0x80, 0, 0, 0]]);
    }

    // C125.
    #[test]
    fn all_requests_go_to_the_best_priority_that_is_ready() {
        let mut bench = Bench::new();
        for (n, priority) in [(1, 2), (2, 1)] {
            bench.io.rank(pipe(n), priority, 8);
            bench.attach(n);
        }
        let conversation = bench.open(Some(60 * SECOND));
        let went = |bench: &mut Bench| {
            bench.send(conversation, "q");
            bench.io.take_sent().into_iter().map(|(pipe, _)| pipe.get()).collect::<Vec<_>>()
        };
        assert_eq!([went(&mut bench), went(&mut bench)], [[2], [2]]);
        bench.detach(2);
        let moved = bench.io.take_sent();
        assert_eq!(moved[0].0, pipe(1), "at once");
        bench.io.rank(pipe(3), 1, 8);
        bench.attach(3);
        assert_eq!(went(&mut bench), [3], "and back");
    }
}
