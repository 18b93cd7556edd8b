//! The pipes of one socket, including departed pipes that have messages left to read.
//!
//! Owns what a socket knows of each pipe, the bound on what departed peers may leave behind, and the list of
//! those who wait until that allows another pipe.

use std::collections::BTreeMap;
use std::time::Instant;

use slab::Slab;

use super::deferred_log::Record;
use super::effects::Effects;
use crate::message::PipeId;
use crate::number_map::NumberMap;
use crate::options::Priorities;
use crate::peer::{Peer, PeerStatus, QueueStatus};
use crate::peer::{PeerCredentials, PeerIdentity};
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Edge, FarEnd, Intake, NewPipe, PipeLease, Postponed};
use crate::protocol::PushError;
use crate::protocol_id::ProtocolId;
use crate::ring::{Inbox, Producer, PushRefusal, Ring, Taken, Wake};
use crate::room::GiveBack;
use crate::stats::{Counters, DropReason, PipeDrops};
use crate::sync::Arc;
use crate::tuning;
use crate::wire::frame::widen;

/// All pipes of a socket.
///
/// A departed pipe stays until it has been read to its end. All departed pipes together may hold as many bytes
/// as one pipe: a peer that connects, sends and leaves, again and again, must not fill the memory of a program
/// that does not receive. Beyond that the socket takes in no new pipe, or drops the oldest, by the rule of its
/// pattern.
#[derive(Default)]
pub(super) struct Pipes {
    /// Boxed, because a slab has up to twice as many slots as elements.
    pipes: Slab<Box<Pipe>>,
    /// The slot of each.
    slots: NumberMap<PipeId, usize>,
    /// The pipe that was used last, which is nearly always used next, and its slot.
    last: Option<(PipeId, usize)>,
    /// The pipe whose receive ring the short way in has emptied and not armed, if there is one: it looks there by
    /// itself each time.
    pub(super) unarmed: Option<PipeId>,
    /// The departed pipes, the oldest first.
    departed: BTreeMap<u64, PipeId>,
    /// The bytes that they hold.
    left_behind: u64,
    departures: u64,
    /// To be told when the socket takes in new pipes again.
    waiting: Vec<Postponed>,
    /// The bound on `left_behind` with which those in `waiting` were refused.
    bound: u64,
}

/// The cost of a departed pipe beside its messages, in bytes: there may be many that hold very little.
const PIPE: u64 = 1024;

/// When a pipe departed, and what it held then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    number: u64,
    bytes: u64,
}

impl Pipes {
    #[inline]
    pub(super) fn get(&self, pipe: PipeId) -> Option<&Pipe> {
        self.pipes.get(*self.slots.get(&pipe)?).map(|pipe| &**pipe)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, pipe: PipeId) -> Option<&mut Pipe> {
        let slot = match self.last {
            Some((last, slot)) if last == pipe => slot,
            _ => self.look_up(pipe)?,
        };
        self.pipes.get_mut(slot).map(|pipe| &mut **pipe)
    }

    /// As `get_mut`, if it has not departed.
    #[inline]
    pub(super) fn usable_mut(&mut self, pipe: PipeId) -> Option<&mut Pipe> {
        self.get_mut(pipe).filter(|pipe| !pipe.is_gone())
    }

    #[inline(never)]
    fn look_up(&mut self, pipe: PipeId) -> Option<usize> {
        // A message to all pipes takes them in the order in which they came, which is mostly that of their slots.
        let next = self.last.map_or(0, |(_, slot)| slot + 1);
        let slot = match self.pipes.get(next) {
            Some(other) if other.id() == pipe => next,
            _ => *self.slots.get(&pipe)?,
        };
        self.last = Some((pipe, slot));
        Some(slot)
    }

    /// Takes out a pipe.
    fn take(&mut self, pipe: PipeId) -> Option<Box<Pipe>> {
        let slot = self.slots.remove(&pipe)?;
        self.last = None;
        self.slots.give_back();
        let pipe = self.pipes.try_remove(slot);
        self.pipes.give_back();
        pipe
    }

    pub(super) fn insert(&mut self, id: PipeId, pipe: Pipe) {
        self.slots.insert(id, self.pipes.insert(Box::new(pipe)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pipes.is_empty()
    }

    /// All pipes, including departed ones.
    pub(super) fn all(&self) -> impl Iterator<Item = &Pipe> {
        self.pipes.iter().map(|(_, pipe)| &**pipe)
    }

    /// The usable pipes.
    pub(super) fn usable(&self) -> impl Iterator<Item = &Pipe> {
        self.all().filter(|pipe| !pipe.is_gone())
    }

    /// Whether the socket, which may have `most` usable pipes, or the listener has no place for another one.
    pub(super) fn are_too_many(&self, endpoint: &EndpointCore, most: usize) -> bool {
        let usable = self.pipes.len() - self.departed.len();
        endpoint.listening && (usable >= most || endpoint.has_too_many_peers())
    }

    pub(super) fn remove(&mut self, id: PipeId) -> Option<Pipe> {
        let pipe = self.take(id)?;
        if let Some(departure) = pipe.rare.as_ref().and_then(|rare| rare.departure) {
            self.departed.remove(&departure.number);
            self.left_behind -= departure.bytes;
        }
        Some(*pipe)
    }

    /// Takes out all pipes. Those who wait for the intake go on waiting.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Pipe> {
        let waiting = self.take_waiting();
        let Self { pipes, .. } = std::mem::replace(self, Self { waiting, ..Self::default() });
        pipes.into_iter().map(|(_, pipe)| *pipe)
    }

    /// Marks a pipe as departed, or forgets it if it has nothing left to read. Says whether it has.
    pub(super) fn depart(&mut self, id: PipeId) -> bool {
        let Some(pipe) = self.get_mut(id) else { return false };
        // If it has something, the call that takes the last message is told so.
        let is_read = pipe.recv.ask_drained();
        let queued = pipe.recv.queued();
        if is_read {
            self.take(id);
            return false;
        }
        let departure = Departure { number: self.departures, bytes: queued.bytes + PIPE };
        if let Some(pipe) = self.get_mut(id) {
            pipe.rare().departure = Some(departure);
        }
        self.departures += 1;
        self.departed.insert(departure.number, id);
        self.left_behind += departure.bytes;
        true
    }

    /// Takes out the pipe that departed first, if the departed pipes hold more than `bound` bytes. Never takes
    /// the only one.
    pub(super) fn take_surplus(&mut self, bound: usize) -> Option<(PipeId, Pipe)> {
        if !self.left_more_than(widen(bound)) {
            return None;
        }
        let (_, &oldest) = self.departed.first_key_value()?;
        self.remove(oldest).map(|pipe| (oldest, pipe))
    }

    /// Whether a new pipe may come, if departed pipes may hold `bound` bytes. If not, remembers `newcomer`.
    pub(super) fn intake(&mut self, bound: usize, newcomer: Postponed) -> Intake {
        self.bound = widen(bound);
        if self.departed.is_empty() {
            return Intake::Free;
        }
        if !self.left_more_than(self.bound) {
            return Intake::Single;
        }
        self.waiting.push(newcomer);
        Intake::Shut
    }

    /// Takes out those who wait for the intake, once departed pipes hold half of the bound or less. Not sooner,
    /// so that not every pipe that is read to its end wakes somebody.
    pub(super) fn take_admitted(&mut self) -> Vec<Postponed> {
        if self.waiting.is_empty() || self.left_more_than(self.bound / 2) {
            Vec::new()
        } else {
            self.take_waiting()
        }
    }

    /// Takes out those who wait for the intake. Each asks again.
    pub(super) fn take_waiting(&mut self) -> Vec<Postponed> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether departed pipes hold more than `bound` bytes. A single one has kept to its own bound.
    fn left_more_than(&self, bound: u64) -> bool {
        self.left_behind > bound && self.departed.len() > 1
    }
}

/// What an idle tcp connection has not: there may be many of those.
#[derive(Default)]
struct Rare {
    credentials: Option<PeerCredentials>,
    identity: Option<PeerIdentity>,
    drops: PipeDrops,
    /// Set once it has departed and has something left to read.
    departure: Option<Departure>,
}

/// One pipe, from the socket's side.
pub(super) struct Pipe {
    peer: KnownPeer,
    protocol: ProtocolId,
    pub(super) send: Producer,
    pub(super) recv: Inbox,
    /// `None`: departed. `recv` can still be read. A departed pipe drops its far end, which has a descriptor.
    pub(super) far: Option<FarEnd>,
    pub(super) endpoint: Arc<EndpointCore>,
    pub(super) priorities: Priorities,
    // In an order that makes the compiler add to them one by one: two at once take three times as many instructions.
    pub(super) messages_sent: u64,
    pub(super) messages_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    /// How much was sent since the caller has checked whether it makes a batch.
    unchecked: u32,
    rare: Option<Box<Rare>>,
    lease: PipeLease,
}

impl Pipe {
    pub(super) fn new(new: NewPipe) -> Self {
        let (credentials, identity) = (new.peer.credentials, new.peer.identity.clone());
        let rare = (credentials.is_some() || identity.is_some())
            .then(|| Box::new(Rare { credentials, identity, ..Rare::default() }));
        Self {
            protocol: new.peer.protocol,
            peer: KnownPeer::of(new.peer),
            send: new.send,
            recv: Inbox::new(new.recv),
            far: Some(new.far),
            priorities: new.endpoint.settings.priorities(),
            endpoint: new.endpoint,
            messages_sent: 0,
            bytes_sent: 0,
            messages_received: 0,
            bytes_received: 0,
            unchecked: 0,
            rare,
            lease: new.lease,
        }
    }

    pub(super) fn id(&self) -> PipeId {
        self.lease.id()
    }

    fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// The peer at the other end.
    pub(super) fn peer(&self) -> Peer {
        let endpoint = &*self.endpoint;
        let address = |address: &Option<Box<str>>| match address {
            Some(address) => address.to_string(),
            None => endpoint.url(),
        };
        Peer {
            pipe: self.id(),
            endpoint: endpoint.id,
            url: endpoint.url(),
            outgoing: !endpoint.listening,
            local: address(&self.peer.local),
            remote: address(&self.peer.remote),
            protocol: self.protocol,
            credentials: self.rare.as_ref().and_then(|rare| rare.credentials),
            identity: self.rare.as_ref().and_then(|rare| rare.identity.clone()),
            since: self.peer.since,
        }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.far.is_none()
    }

    /// Whether it has departed and been read to its end.
    pub(super) fn is_over(&self) -> bool {
        self.is_gone() && self.recv.queued().messages == 0
    }

    /// Closes both rings. Over inproc the receive ring is the send ring of the other socket, which does not
    /// know yet that we leave: nobody would receive or count what it still puts in.
    pub(super) fn shut(&self) {
        self.send.close();
        self.recv.close();
    }

    /// Drops what was received and nobody will take any more; returns how many messages there were.
    pub(super) fn discard_received(&mut self) -> u64 {
        self.recv.drop_run() + crate::pipe::discard(&self.recv)
    }

    /// Counts messages of this peer that were dropped, and logs the first for each reason.
    #[inline]
    pub(super) fn count_dropped(
        &mut self,
        reason: DropReason,
        messages: u64,
        effects: &mut Effects,
    ) {
        if self.rare().drops.count(reason, messages) {
            effects.record_drop(reason, || Record::Dropped(Some(self.peer()), reason));
        }
    }

    /// Whether so much is queued that the caller should write it: a full batch, or seven eighths of what the
    /// ring can hold.
    #[cold]
    fn check_batch(&mut self) -> bool {
        self.unchecked = 0;
        let (queued, bounds) = (self.send.queued(), self.send.bounds());
        let batch = if queued.bytes >= tuning::LONG * queued.messages {
            tuning::LONG_BATCH
        } else {
            tuning::BATCH
        };
        queued.bytes >= batch || bounds.nearly_reached_by(queued)
    }

    /// Counts a message that was pushed. Notes a bell for the far end if it sleeps, or a write if the messages
    /// make a batch, for which it does not check each time.
    #[inline]
    pub(super) fn count_sent(&mut self, length: usize, wake: Wake, effects: &mut Effects) {
        self.messages_sent += 1;
        self.bytes_sent += length as u64;
        if wake.0 {
            self.note(Edge::Readable, effects);
        }
        // Small, since more than a check for each message is of no use.
        self.unchecked += (length.min(tuning::CHECK) + tuning::CHECK_MESSAGE) as u32;
        if self.unchecked as usize >= tuning::CHECK && self.check_batch() {
            self.write_soon(effects);
        }
    }

    /// Notes a bell for the far end. If that is gone, others may wait for the memory that the pipe gives back: they
    /// are told on the way out.
    #[cold]
    fn note(&self, edge: Edge, effects: &mut Effects) {
        match &self.far {
            Some(far) => effects.ring(far.clone(), edge),
            None => _ = effects.rare(),
        }
    }

    /// Whether it would take a message; `true` if it has departed. If not, notes a write of what is held back,
    /// since nobody must wait for that.
    pub(super) fn ask_room(&mut self, effects: &mut Effects) -> bool {
        let has_room = self.is_gone() || self.send.is_closed() || self.send.ask_room();
        if !has_room {
            self.write_soon(effects);
        }
        has_room
    }

    /// The error of a push that the ring has refused. If it is full, notes a write: nobody must wait for messages
    /// that are held back for a batch.
    #[cold]
    pub(super) fn refuse(&self, refusal: PushRefusal, effects: &mut Effects) -> PushError {
        match refusal {
            PushRefusal::Closed => PushError::Gone,
            PushRefusal::Full => {
                self.write_soon(effects);
                PushError::Full
            }
        }
    }

    /// Notes a write of what is queued, for the way out of the socket.
    pub(super) fn write_soon(&self, effects: &mut Effects) {
        if let Some(link) = self.far.as_ref().and_then(FarEnd::link) {
            effects.write(Arc::clone(link));
        }
    }

    /// The messages in the send ring that this socket accounts for; none if the pipe has departed.
    pub(super) fn own_send_queue(&self) -> u64 {
        if self.is_direct() { 0 } else { self.send.queued().messages }
    }

    /// Whether a sent message belongs to the receiver at once, so that this socket no longer accounts for it.
    #[inline]
    pub(super) fn is_direct(&self) -> bool {
        self.far.as_ref().is_some_and(FarEnd::is_direct)
    }

    /// Counts what was taken out of the receive ring. Notes a bell for the far end if it waits for room.
    #[inline(always)]
    pub(super) fn count_taken(&mut self, taken: Taken, counters: &Counters, effects: &mut Effects) {
        counters.copies_taken.count(taken.messages);
        self.messages_received += taken.messages;
        self.bytes_received += taken.bytes;
        if taken.room {
            self.note(Edge::Writable, effects);
        }
    }

    /// Whether there may be something to receive.
    #[inline]
    pub(super) fn may_have_received(&self) -> bool {
        self.recv.queued().messages > 0
    }

    pub(super) fn status(&self) -> PeerStatus {
        let queue = |ring: &Ring| {
            let queued = ring.queued();
            QueueStatus { messages: queued.messages, bytes: queued.bytes }
        };
        PeerStatus {
            peer: self.peer(),
            send_queue: queue(&self.send),
            recv_queue: queue(&self.recv),
            messages_sent: self.messages_sent,
            bytes_sent: self.bytes_sent,
            messages_received: self.messages_received,
            bytes_received: self.bytes_received,
            drops: self.rare.as_ref().map(|rare| rare.drops.clone()).unwrap_or_default(),
        }
    }
}

/// What is known of a peer, in as little memory as possible: there may be many, and few are asked about.
struct KnownPeer {
    /// `None`: the endpoint's address.
    local: Option<Box<str>>,
    /// `None`: the endpoint's address.
    remote: Option<Box<str>>,
    since: Instant,
}

impl KnownPeer {
    fn of(peer: Peer) -> Self {
        let unless_known = |address: String| (address != peer.url).then(|| address.into());
        Self {
            local: unless_known(peer.local),
            remote: unless_known(peer.remote),
            since: peer.since,
        }
    }
}
