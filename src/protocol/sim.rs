//! A simulated network: protocols on nodes, links between them, virtual time, and one seed for all of it.
//!
//! The same protocol code that runs under a socket's lock runs here against links that are slow,
//! fill, break and heal. A run is a sequence of events on one queue, so a seed that failed fails
//! again. `properties.rs` has the properties that the protocols are tested for.
//!
//! The network does what [`Port`] promises and no more: it reports an edge only if the protocol has
//! ordered it, and a program tries again only after a wake. A protocol that forgets an order or a wake
//! hangs, and the property that waits for its result fails.
//!
//! # The conservation law
//!
//! At every moment, for each node:
//!
//! ```text
//! offered + resent = pushed - evicted + held.outbound + dropped for a reason on the way out
//! popped + copied  = delivered + held.inbound + dropped for a reason on the way in
//! ```
//!
//! where a send that succeeded has offered one message, and a broadcast one copy for each peer but at
//! least one. For the network as a whole:
//!
//! ```text
//! pushed = popped + queued in links + evicted from them or lost with them
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::testing::OneByOne;
use super::{
    Broadcast, Held, Interest, Port, Priorities, Protocol, PushError, RawProtocol, RecvRefusal,
    Rejected, SendRefusal,
};
use crate::detach::DetachReason;
use crate::message::{Frame, Message, PipeId};
use crate::protocol_id::ProtocolId;
use crate::stats::DropReason;
use crate::verdict::{Picked, Verdict};

pub(super) mod properties;

/// The program at a node, which uses its protocol.
pub(super) trait Program<P: Protocol> {
    /// Do something of its own accord.
    fn act(&mut self, protocol: &mut P, io: &mut SimPort<'_>);

    /// Try again whatever waits for `interest`.
    fn woken(&mut self, interest: Interest, protocol: &mut P, io: &mut SimPort<'_>);

    /// Assert what must hold once everything has healed and nothing moves any more.
    fn check(&self);
}

/// The network and everything on it.
pub(super) struct World {
    net: Net,
    nodes: Vec<Box<dyn Node>>,
    links: Vec<Link>,
    /// Whether a link may break because of what one of its nodes has sent.
    faults: bool,
}

/// What happens by itself at a given time.
#[derive(Clone, Copy, Debug)]
enum Event {
    Act(usize),
    Connect(usize),
    Break(usize),
    /// One message leaves the send queue of this pipe and arrives.
    Carry(PipeId),
    /// The node hears that its pipe is gone.
    Tell(PipeId),
    /// Some nodes are cut off from the others: what was sent stays where it is, and nobody is told.
    Part,
    /// They are not any more.
    Reunite,
    /// All links of a node break.
    Kill(usize),
}

/// A connection between two nodes, made anew whenever it breaks.
#[derive(Clone, Copy, Debug)]
struct Link {
    nodes: [usize; 2],
    shape: Shape,
    pipes: Option<[PipeId; 2]>,
}

/// How much a link holds, and how slow it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    /// Messages in the send queue, and again in the receive queue.
    pub(super) capacity: usize,
    /// The longest time one message takes.
    pub(super) latency: Duration,
}

impl World {
    pub(super) fn new(chance: Random) -> Self {
        Self { net: Net::new(chance), nodes: Vec::new(), links: Vec::new(), faults: false }
    }

    pub(super) fn set_faults(&mut self, faults: bool) {
        self.faults = faults;
    }

    pub(super) fn node<P: Protocol>(
        &mut self,
        protocol: P,
        program: impl Program<P> + 'static,
    ) -> usize {
        self.nodes.push(Box::new(Actor { protocol, program }));
        self.net.tallies.push(Tally::default());
        self.nodes.len() - 1
    }

    /// Add a node that forwards between two raw sockets: `right` has the links in which the node stands
    /// first, `left` the others. At its first act it sends `injects` to the right.
    pub(super) fn device<L: RawProtocol, R: RawProtocol>(
        &mut self,
        left: L,
        right: R,
        injects: Option<Message>,
    ) -> usize {
        self.nodes.push(Box::new(Device { left, right, stuck: [None, None], injects }));
        self.net.tallies.push(Tally::default());
        self.nodes.len() - 1
    }

    pub(super) fn link(&mut self, nodes: [usize; 2], shape: Shape) {
        self.links.push(Link { nodes, shape, pipes: None });
    }

    /// Run a storm, in which every node acts `acts` times and `breaks` links break, and then continue long
    /// enough with all links healed. Check the law on the way and everything at the end.
    pub(super) fn run(&mut self, acts: usize, breaks: usize) {
        const STORM: Duration = Duration::from_secs(1);
        const PEACE: Duration = Duration::from_secs(20);
        for link in 0..self.links.len() {
            self.net.schedule_within(STORM / 4, Event::Connect(link));
        }
        for node in 0..self.nodes.len() {
            for _ in 0..acts {
                self.net.schedule_within(STORM, Event::Act(node));
            }
        }
        let breaks = if self.links.is_empty() { 0 } else { breaks };
        for _ in 0..breaks {
            let link = self.net.random.below(self.links.len());
            self.net.schedule_within(STORM, Event::Break(link));
        }
        // Not before all links were made.
        for _ in 0..self.net.random.below(3) {
            self.net.now += STORM / 4;
            self.net.schedule_within(STORM * 3 / 4, Event::Part);
            self.net.now -= STORM / 4;
        }
        if breaks > 0 && self.net.random.one_in(2) {
            let node = self.net.random.below(self.nodes.len());
            self.net.schedule_within(STORM, Event::Kill(node));
        }
        self.run_until(self.net.now + STORM + PEACE);
        self.nodes.iter().for_each(|node| node.check());
    }

    /// Messages on their way.
    pub(super) fn queued(&self) -> u64 {
        self.net.queued()
    }

    /// Messages that were sent and are in no pipe yet.
    pub(super) fn held_outbound(&self) -> u64 {
        self.nodes.iter().map(|node| node.held().outbound).sum()
    }

    /// How many messages were sent, by programs and devices, with a copy for each peer.
    pub(super) fn offered(&self) -> u64 {
        self.net.tallies.iter().map(|tally| tally.offered).sum()
    }

    fn run_until(&mut self, end: Instant) {
        loop {
            self.report_all();
            self.check_law();
            let event = self.net.events.first_key_value().map(|(&(at, _), _)| at);
            let timer = (0..self.nodes.len())
                .filter_map(|node| Some((self.nodes[node].deadline()?, node)))
                .min();
            // A timer may be late: now and then something else comes first.
            let late = self.net.random.one_in(8);
            let next = |at| late || timer.is_none_or(|(due, _)| at < due);
            match (event, timer) {
                (Some(at), _) if at <= end && next(at) => self.happen(at),
                (_, Some((due, node))) if due <= end => self.expire(due, node),
                _ => return,
            }
        }
    }

    fn expire(&mut self, due: Instant, node: usize) {
        self.net.now = self.net.now.max(due);
        let (node, mut io) = self.enter(node);
        node.expire(&mut io);
    }

    fn happen(&mut self, at: Instant) {
        let Some((_, event)) = self.net.events.pop_first() else {
            return;
        };
        self.net.now = self.net.now.max(at);
        match event {
            Event::Act(node) => {
                let (node, mut io) = self.enter(node);
                node.act(&mut io);
            }
            Event::Connect(link) => self.connect(link),
            Event::Break(link) => self.break_link(link),
            Event::Carry(pipe) => self.net.carry(pipe),
            Event::Tell(pipe) => self.tell(pipe),
            Event::Part => self.part(),
            Event::Reunite => self.net.reunite(),
            Event::Kill(node) => {
                for link in 0..self.links.len() {
                    if self.links[link].nodes.contains(&node) {
                        self.break_link(link);
                    }
                }
            }
        }
    }

    fn part(&mut self) {
        if self.net.apart.is_empty() {
            let away = (0..self.nodes.len()).filter(|_| self.net.random.one_in(2));
            self.net.apart = away.collect();
            self.net.schedule_within(Duration::from_millis(300), Event::Reunite);
        }
    }

    /// Report edges and wakes until there are none, as a socket does on each entry.
    fn report_all(&mut self) {
        for _ in 0..100_000 {
            if let Some((pipe, edge)) = self.net.take_edge() {
                let end = &self.net.ends[&pipe];
                if !end.attached {
                    continue;
                }
                let (node, mut io) = self.enter(end.node);
                match edge {
                    Edge::Readable => node.readable(pipe, &mut io),
                    Edge::Writable => node.writable(pipe, &mut io),
                }
            } else if let Some(pipe) = self.net.disconnected.pop() {
                self.disconnect(pipe);
            } else if let Some((node, interest)) = self.net.woken.pop_first() {
                let (node, mut io) = self.enter(node);
                node.woken(interest, &mut io);
            } else {
                return;
            }
        }
        panic!("the nodes wake each other without end");
    }

    fn enter(&mut self, node: usize) -> (&mut dyn Node, SimPort<'_>) {
        (&mut *self.nodes[node], SimPort { net: &mut self.net, node })
    }

    fn connect(&mut self, link: usize) {
        let Link { nodes, shape, pipes } = self.links[link];
        if pipes.is_some() {
            return;
        }
        if self.net.is_cut(nodes) {
            return self.net.schedule_within(Duration::from_millis(100), Event::Connect(link));
        }
        let pipes = self.net.add_ends(nodes, shape);
        self.links[link].pipes = Some(pipes);
        for (node, pipe) in nodes.into_iter().zip(pipes) {
            let (node, mut io) = self.enter(node);
            let accepted = node.attach(pipe, &mut io).is_ok();
            self.net.end(pipe).attached = accepted;
            if !accepted {
                // The far node may have time to send something in vain.
                self.net.schedule_within(Duration::from_millis(50), Event::Break(link));
            }
        }
    }

    /// Break a link. Both nodes hear of it a little later, and the link is made anew later still.
    fn break_link(&mut self, link: usize) {
        let Some(pipes) = self.links[link].pipes.take() else {
            return;
        };
        for pipe in pipes {
            self.net.close(pipe);
            self.net.schedule_within(Duration::from_millis(20), Event::Tell(pipe));
        }
        self.net.schedule_within(Duration::from_millis(100), Event::Connect(link));
    }

    /// Break the link of a pipe that its protocol closes. That node hears of it at once.
    fn disconnect(&mut self, pipe: PipeId) {
        let has = |link: &Link| link.pipes.is_some_and(|pipes| pipes.contains(&pipe));
        if let Some(link) = self.links.iter().position(has) {
            self.break_link(link);
            self.tell(pipe);
        }
    }

    fn tell(&mut self, pipe: PipeId) {
        let end = self.net.end(pipe);
        if std::mem::take(&mut end.attached) {
            let reason = if self.faults && self.net.random.one_in(4) {
                DetachReason::Malformed
            } else {
                DetachReason::PeerClosed
            };
            let (node, mut io) = self.enter(self.net.ends[&pipe].node);
            node.detach(pipe, &reason, &mut io);
        }
    }

    fn check_law(&self) {
        for (node, tally) in self.nodes.iter().zip(&self.net.tallies) {
            let Held { outbound, inbound } = node.held();
            let (out, inward) = tally.drops();
            let pushed = tally.pushed - tally.evicted;
            assert_eq!(tally.offered + tally.resent, pushed + outbound + out, "{tally:?}");
            let received = tally.popped + tally.copied;
            assert_eq!(received, tally.delivered + inbound + inward, "{tally:?}");
        }
        let pushed: u64 = self.net.tallies.iter().map(|tally| tally.pushed).sum();
        let popped: u64 = self.net.tallies.iter().map(|tally| tally.popped).sum();
        assert_eq!(pushed, popped + self.net.queued() + self.net.lost);
    }
}

/// What a node has done, for the law.
#[derive(Debug, Default)]
struct Tally {
    offered: u64,
    resent: u64,
    pushed: u64,
    evicted: u64,
    popped: u64,
    copied: u64,
    delivered: u64,
    dropped: BTreeMap<DropReason, u64>,
}

impl Tally {
    /// How many messages were dropped on the way out and on the way in.
    fn drops(&self) -> (u64, u64) {
        let outbound = [
            DropReason::NoPeer,
            DropReason::SendQueueFull,
            DropReason::ConflatedUnsent,
            DropReason::PeerGone,
            DropReason::Superseded,
            DropReason::BadHeader,
        ];
        let total: u64 = self.dropped.values().sum();
        let out = outbound.iter().filter_map(|reason| self.dropped.get(reason)).sum();
        (out, total - out)
    }
}

/// Pipes, time and chance: the part of the world below the protocols.
struct Net {
    now: Instant,
    random: Random,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    ends: BTreeMap<PipeId, End>,
    /// Edges that were ordered and are due.
    edges: Vec<(PipeId, Edge)>,
    woken: BTreeSet<(usize, Interest)>,
    disconnected: Vec<PipeId>,
    /// The nodes that are cut off from the others.
    apart: BTreeSet<usize>,
    tallies: Vec<Tally>,
    /// Messages lost with the links that carried them, or evicted from them.
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
enum Edge {
    Readable,
    Writable,
}

/// One end of a connection.
#[derive(Debug)]
struct End {
    node: usize,
    far: PipeId,
    shape: Shape,
    /// The connection stands.
    open: bool,
    /// The protocol has it.
    attached: bool,
    sending: VecDeque<Bytes>,
    received: VecDeque<Bytes>,
    carrying: bool,
    /// Places that are kept for messages to come.
    places: usize,
    priorities: Priorities,
    wants_room: bool,
    wants_drained: bool,
    wants_data: bool,
}

impl Net {
    fn new(random: Random) -> Self {
        Self {
            now: Instant::now(),
            random,
            events: BTreeMap::new(),
            scheduled: 0,
            ends: BTreeMap::new(),
            edges: Vec::new(),
            woken: BTreeSet::new(),
            disconnected: Vec::new(),
            apart: BTreeSet::new(),
            tallies: Vec::new(),
            lost: 0,
        }
    }

    fn schedule_within(&mut self, span: Duration, event: Event) {
        let at = self.now + span.mul_f64(self.random.fraction());
        self.scheduled += 1;
        self.events.insert((at, self.scheduled), event);
    }

    fn add_ends(&mut self, nodes: [usize; 2], shape: Shape) -> [PipeId; 2] {
        let first = self.ends.len() as u32 + 1;
        let pipes = [first, first + 1].map(|n| PipeId::new(n).expect("runs are short"));
        let priorities = [(); 2].map(|()| self.random.priorities());
        for (node, (pipe, far)) in nodes.into_iter().zip([(0, 1), (1, 0)]) {
            let priorities = priorities[pipe];
            let end = End {
                node,
                far: pipes[far],
                shape,
                open: true,
                attached: false,
                sending: VecDeque::new(),
                received: VecDeque::new(),
                carrying: false,
                places: 0,
                priorities,
                wants_room: false,
                wants_drained: false,
                wants_data: true,
            };
            self.ends.insert(pipes[pipe], end);
        }
        pipes
    }

    fn end(&mut self, pipe: PipeId) -> &mut End {
        self.ends.get_mut(&pipe).expect("ends are kept forever")
    }

    fn queued(&self) -> u64 {
        self.ends.values().map(|end| (end.sending.len() + end.received.len()) as u64).sum()
    }

    fn take_edge(&mut self) -> Option<(PipeId, Edge)> {
        let count = self.edges.len();
        (count > 0).then(|| self.edges.swap_remove(self.random.below(count)))
    }

    /// Whether nothing passes between two nodes.
    fn is_cut(&self, nodes: [usize; 2]) -> bool {
        self.apart.contains(&nodes[0]) != self.apart.contains(&nodes[1])
    }

    fn reunite(&mut self) {
        self.apart.clear();
        let all: Vec<_> = self.ends.keys().copied().collect();
        all.into_iter().for_each(|pipe| self.kick(pipe));
    }

    /// Send the next message of `pipe` on its way, if there is one and it can arrive.
    fn kick(&mut self, pipe: PipeId) {
        let far = self.end(pipe).far;
        let full = self.end(far).received.len() >= self.end(far).shape.capacity;
        let cut = self.is_cut([self.ends[&pipe].node, self.ends[&far].node]);
        let end = self.end(pipe);
        if end.open && !cut && !end.carrying && !end.sending.is_empty() && !full {
            end.carrying = true;
            let latency = end.shape.latency;
            self.schedule_within(latency, Event::Carry(pipe));
        }
    }

    fn carry(&mut self, pipe: PipeId) {
        let end = self.end(pipe);
        end.carrying = false;
        let far = end.far;
        if self.is_cut([self.ends[&pipe].node, self.ends[&far].node]) {
            return; // it goes on its way when they are reunited
        }
        let end = self.end(pipe);
        let Some(message) = end.sending.pop_front() else {
            return;
        };
        let drained = end.sending.is_empty() && std::mem::take(&mut end.wants_drained);
        if std::mem::take(&mut end.wants_room) || drained {
            self.edges.push((pipe, Edge::Writable));
        }
        self.end(far).received.push_back(message);
        if std::mem::take(&mut self.end(far).wants_data) {
            self.edges.push((far, Edge::Readable));
        }
        self.kick(pipe);
    }

    /// Close a pipe. What has not arrived is lost. What has can still be popped, unless the protocol never
    /// had the pipe.
    fn close(&mut self, pipe: PipeId) {
        let end = self.end(pipe);
        end.open = false;
        let mut lost = end.sending.len();
        end.sending.clear();
        if !end.attached {
            lost += end.received.len();
            end.received.clear();
        }
        self.lost += lost as u64;
    }
}

/// The pipes of one node.
pub(super) struct SimPort<'a> {
    net: &'a mut Net,
    node: usize,
}

impl SimPort<'_> {
    pub(super) fn random(&mut self) -> &mut Random {
        &mut self.net.random
    }

    /// The node's own number.
    pub(super) fn node(&self) -> u8 {
        self.node as u8
    }

    /// The node at the far end.
    pub(super) fn node_behind(&self, pipe: PipeId) -> u8 {
        let far = self.net.ends[&pipe].far;
        self.net.ends[&far].node as u8
    }

    /// Whether the node stands first where its link was made.
    pub(super) fn is_first_end(&self, pipe: PipeId) -> bool {
        pipe < self.net.ends[&pipe].far
    }

    /// How many pipes the protocol has.
    pub(super) fn attached(&self) -> usize {
        self.own_ends().count()
    }

    /// How many of them can take a copy of a broadcast, or have no room for it.
    pub(super) fn peers(&self) -> usize {
        self.own_ends().filter(|end| end.open).count()
    }

    /// The same, for one side of a device.
    fn peers_at(&self, first_end: bool) -> usize {
        let own = self.net.ends.iter().filter(|(_, end)| end.node == self.node);
        own.filter(|&(&pipe, end)| end.attached && end.open && self.is_first_end(pipe) == first_end)
            .count()
    }

    /// Whether the connection stands.
    pub(super) fn is_open(&self, pipe: PipeId) -> bool {
        self.net.ends[&pipe].open
    }

    /// How many messages the node has put into `pipe` that have not left it.
    pub(super) fn sending(&self, pipe: PipeId) -> usize {
        self.net.ends[&pipe].sending.len()
    }

    /// Count a send that has succeeded.
    pub(super) fn offered(&mut self, copies: usize) {
        self.tally().offered += copies as u64;
    }

    /// Count a message that the program has got.
    pub(super) fn delivered(&mut self) {
        self.tally().delivered += 1;
    }

    fn own_ends(&self) -> impl Iterator<Item = &End> {
        self.net.ends.values().filter(|end| end.attached && end.node == self.node)
    }

    fn tally(&mut self) -> &mut Tally {
        &mut self.net.tallies[self.node]
    }
}

impl Port for SimPort<'_> {
    type Broadcasting<'p>
        = OneByOne<'p, Self>
    where
        Self: 'p;

    fn push(&mut self, pipe: PipeId, header: &[u8], body: &Bytes) -> Result<(), PushError> {
        let end = self.net.end(pipe);
        assert_eq!(end.node, self.node, "a node uses its own pipes");
        if !end.open {
            return Err(PushError::Gone);
        }
        if end.sending.len() >= end.shape.capacity {
            end.wants_room = true;
            return Err(PushError::Full);
        }
        end.sending.push_back([header, body].concat().into());
        self.tally().pushed += 1;
        self.net.kick(pipe);
        Ok(())
    }

    /// Push as the ring does: keep the message that is on its way, and if it is alone, let the new one
    /// exceed the queue's capacity.
    fn push_evicting(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<u64, PushError> {
        let end = self.net.end(pipe);
        if !end.open {
            return Err(PushError::Gone);
        }
        let full = end.sending.len() >= end.shape.capacity;
        let oldest = usize::from(end.carrying);
        let evicted = (full && end.sending.remove(oldest).is_some()).into();
        end.sending.push_back([header, body].concat().into());
        self.net.lost += evicted;
        let tally = self.tally();
        tally.pushed += 1;
        tally.evicted += evicted;
        (0..evicted).for_each(|_| self.dropped(Some(pipe), DropReason::SendQueueFull));
        self.net.kick(pipe);
        Ok(evicted)
    }

    fn broadcast<'p>(
        &'p mut self,
        message: Broadcast<'p>,
        _pipes: usize,
    ) -> Self::Broadcasting<'p> {
        OneByOne::new(self, message)
    }

    fn ask_room(&mut self, pipe: PipeId) -> bool {
        let end = self.net.end(pipe);
        end.wants_room = end.open && end.sending.len() >= end.shape.capacity;
        !end.wants_room
    }

    fn ask_drained(&mut self, pipe: PipeId) -> bool {
        let end = self.net.end(pipe);
        end.wants_drained = end.open && !end.sending.is_empty();
        !end.wants_drained
    }

    fn pop(&mut self, pipe: PipeId) -> Option<Frame> {
        let end = self.net.end(pipe);
        assert_eq!(end.node, self.node, "a node uses its own pipes");
        let far = end.far;
        let Some(mut message) = end.received.pop_front() else {
            end.wants_data = true;
            return None;
        };
        self.net.kick(far);
        self.tally().popped += 1;
        let cut = self.net.random.below(message.len() + 1);
        Some(Frame::new(message.split_to(cut), message))
    }

    fn keep_place(&mut self, pipe: PipeId) {
        self.net.end(pipe).places += 1;
    }

    fn ask_place(&mut self, pipe: PipeId) -> bool {
        let end = self.net.end(pipe);
        end.wants_room = end.open && end.sending.len() + end.places >= end.shape.capacity;
        !end.wants_room
    }

    fn push_in_place(
        &mut self,
        pipe: PipeId,
        header: &[u8],
        body: &Bytes,
    ) -> Result<(), PushError> {
        let end = self.net.end(pipe);
        assert_eq!(end.node, self.node, "a node uses its own pipes");
        end.places = end.places.checked_sub(1).expect("a place was kept");
        if !end.open {
            return Err(PushError::Gone);
        }
        assert!(end.sending.len() < end.shape.capacity, "a place is one of those that there are");
        end.sending.push_back([header, body].concat().into());
        self.tally().pushed += 1;
        self.net.kick(pipe);
        Ok(())
    }

    fn give_place_back(&mut self, pipe: PipeId) -> bool {
        let end = self.net.end(pipe);
        end.places = end.places.checked_sub(1).expect("a place was kept");
        end.wants_room
    }

    fn pop_if(&mut self, pipe: PipeId, mut judge: impl FnMut(&[u8], &[u8]) -> Verdict) -> Picked {
        loop {
            let first = self.net.end(pipe).received.front().cloned().unwrap_or_default();
            let (head, body) = first.split_at(self.net.random.below(first.len() + 1));
            let verdict = if self.net.end(pipe).received.is_empty() {
                Verdict::Take
            } else {
                judge(head, body)
            };
            if verdict == Verdict::Leave {
                return Picked::Left;
            }
            let Some(frame) = self.pop(pipe) else { return Picked::Nothing };
            match verdict {
                Verdict::Skip(reason) => self.dropped(Some(pipe), reason),
                _ => return Picked::Taken(frame),
            }
        }
    }

    fn priorities(&self, pipe: PipeId) -> Priorities {
        self.net.ends[&pipe].priorities
    }

    fn disconnect(&mut self, pipe: PipeId) {
        self.net.disconnected.push(pipe);
    }

    fn wake(&mut self, interest: Interest) {
        self.net.woken.insert((self.node, interest));
    }

    fn dropped(&mut self, _pipe: Option<PipeId>, reason: DropReason) {
        *self.tally().dropped.entry(reason).or_default() += 1;
    }

    fn resent(&mut self) {
        self.tally().resent += 1;
    }

    fn copied(&mut self, copies: u64) {
        self.tally().copied += copies;
    }

    fn now(&self) -> Instant {
        self.net.now
    }
}

/// The interest of senders where there is only one thing to wait for.
pub(super) const SEND: Interest = Interest::SEND;
const RECV: Interest = Interest::RECV;

/// Receive, mostly after asking whether that will succeed, and check the answer. For sockets without
/// conversations.
pub(super) fn recv_checked<P: Protocol>(
    protocol: &mut P,
    from: &P::From,
    io: &mut SimPort<'_>,
) -> Result<P::Received, RecvRefusal> {
    if io.random().one_in(4) {
        return protocol.recv(from, io.now(), io);
    }
    let settled = protocol.poll_ready(RECV, io);
    let received = protocol.recv(from, io.now(), io);
    match &received {
        Ok(_) => assert!(settled, "something was there"),
        Err(RecvRefusal::WouldBlock) => assert!(!settled, "nothing was there"),
        Err(_) => {}
    }
    received
}

/// Send, mostly after asking whether that will succeed, and check the answer.
pub(super) fn send_checked<P: Protocol>(
    protocol: &mut P,
    interest: Interest,
    to: &P::To,
    body: &Bytes,
    io: &mut SimPort<'_>,
) -> Result<(), SendRefusal> {
    if io.random().one_in(4) {
        return protocol.send(to, &mut body.clone(), io.now(), io);
    }
    let settled = protocol.poll_ready(interest, io);
    let sent = protocol.send(to, &mut body.clone(), io.now(), io);
    match &sent {
        Ok(()) => assert!(settled, "there was room"),
        // A pipe that is gone counts as one with room until the protocol hears of that.
        Err(SendRefusal::WouldBlock) if io.peers() < io.attached() => {}
        Err(SendRefusal::WouldBlock) => assert!(!settled, "there was no room"),
        Err(_) => {}
    }
    sent
}

/// Check readiness as a watch does, which must change nothing that matters.
fn watch<P: Protocol>(protocol: &mut P, io: &mut SimPort<'_>) {
    if io.random().one_in(2) {
        protocol.poll_ready(RECV, io);
        protocol.poll_ready(SEND, io);
    }
}

/// A protocol and its program.
struct Actor<P, A> {
    protocol: P,
    program: A,
}

/// An actor of any kind.
trait Node {
    fn attach(&mut self, pipe: PipeId, io: &mut SimPort<'_>) -> Result<(), Rejected>;
    fn detach(&mut self, pipe: PipeId, reason: &DetachReason, io: &mut SimPort<'_>);
    fn readable(&mut self, pipe: PipeId, io: &mut SimPort<'_>);
    fn writable(&mut self, pipe: PipeId, io: &mut SimPort<'_>);
    fn expire(&mut self, io: &mut SimPort<'_>);
    fn act(&mut self, io: &mut SimPort<'_>);
    fn woken(&mut self, interest: Interest, io: &mut SimPort<'_>);
    fn deadline(&self) -> Option<Instant>;
    fn held(&self) -> Held;
    fn check(&self);
}

impl<P: Protocol, A: Program<P>> Node for Actor<P, A> {
    fn attach(&mut self, pipe: PipeId, io: &mut SimPort<'_>) -> Result<(), Rejected> {
        self.protocol.attach(pipe, io.now(), io)
    }

    fn detach(&mut self, pipe: PipeId, reason: &DetachReason, io: &mut SimPort<'_>) {
        self.protocol.detach(pipe, reason, io.now(), io);
    }

    fn readable(&mut self, pipe: PipeId, io: &mut SimPort<'_>) {
        self.protocol.readable(pipe, io);
        watch(&mut self.protocol, io);
    }

    fn writable(&mut self, pipe: PipeId, io: &mut SimPort<'_>) {
        self.protocol.writable(pipe, io.now(), io);
        watch(&mut self.protocol, io);
    }

    fn expire(&mut self, io: &mut SimPort<'_>) {
        self.protocol.expire(io.now(), io);
    }

    fn act(&mut self, io: &mut SimPort<'_>) {
        self.program.act(&mut self.protocol, io);
        watch(&mut self.protocol, io);
    }

    fn woken(&mut self, interest: Interest, io: &mut SimPort<'_>) {
        self.program.woken(interest, &mut self.protocol, io);
    }

    fn deadline(&self) -> Option<Instant> {
        self.protocol.deadline()
    }

    fn held(&self) -> Held {
        self.protocol.held()
    }

    fn check(&self) {
        self.program.check();
    }
}

/// Two raw sockets: what comes out of one goes into the other.
struct Device<L, R> {
    left: L,
    right: R,
    /// What waits for room, to the left and to the right.
    stuck: [Option<Message>; 2],
    /// What it sends to the right at its next act.
    injects: Option<Message>,
}

impl<L: RawProtocol, R: RawProtocol> Device<L, R> {
    fn forward(&mut self, io: &mut SimPort<'_>) {
        let [to_left, to_right] = &mut self.stuck;
        pass_on(&mut self.left, &mut self.right, true, to_right, io);
        pass_on(&mut self.right, &mut self.left, false, to_left, io);
    }
}

/// Forward until there is nothing more or no room. A message that must not be forwarded is dropped here.
fn pass_on<T: RawProtocol>(
    from: &mut impl RawProtocol,
    to: &mut T,
    to_right: bool,
    stuck: &mut Option<Message>,
    io: &mut SimPort<'_>,
) {
    loop {
        if stuck.is_none() {
            let Ok(message) = recv_checked(from, &(), io) else {
                return;
            };
            io.delivered();
            *stuck = Some(message);
        }
        let Some(message) = stuck.take() else {
            return;
        };
        let copies = match T::ID {
            ProtocolId::PUB | ProtocolId::BUS | ProtocolId::SURVEYOR => {
                io.peers_at(to_right).max(1)
            }
            _ => 1,
        };
        match send_checked(to, SEND, message.header(), message.body(), io) {
            Ok(()) => io.offered(copies),
            Err(SendRefusal::WouldBlock) => return *stuck = Some(message),
            Err(_) => {}
        }
    }
}

impl<L: RawProtocol, R: RawProtocol> Node for Device<L, R> {
    fn attach(&mut self, pipe: PipeId, io: &mut SimPort<'_>) -> Result<(), Rejected> {
        if io.is_first_end(pipe) {
            self.right.attach(pipe, io.now(), io)
        } else {
            self.left.attach(pipe, io.now(), io)
        }
    }

    fn detach(&mut self, pipe: PipeId, reason: &DetachReason, io: &mut SimPort<'_>) {
        if io.is_first_end(pipe) {
            self.right.detach(pipe, reason, io.now(), io)
        } else {
            self.left.detach(pipe, reason, io.now(), io)
        }
    }

    fn readable(&mut self, pipe: PipeId, io: &mut SimPort<'_>) {
        if io.is_first_end(pipe) {
            self.right.readable(pipe, io)
        } else {
            self.left.readable(pipe, io)
        }
    }

    fn writable(&mut self, pipe: PipeId, io: &mut SimPort<'_>) {
        if io.is_first_end(pipe) {
            self.right.writable(pipe, io.now(), io)
        } else {
            self.left.writable(pipe, io.now(), io)
        }
    }

    fn expire(&mut self, _io: &mut SimPort<'_>) {}

    fn act(&mut self, io: &mut SimPort<'_>) {
        if let Some(message) = self.injects.take() {
            self.stuck[1] = Some(message);
            self.forward(io);
        }
    }

    fn woken(&mut self, _interest: Interest, io: &mut SimPort<'_>) {
        self.forward(io);
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn held(&self) -> Held {
        let (left, right) = (self.left.held(), self.right.held());
        let [outbound, inbound] = [left.outbound + right.outbound, left.inbound + right.inbound];
        Held { outbound, inbound }
    }

    fn check(&self) {
        assert!(self.stuck.iter().all(Option::is_none), "links that hold take it all");
    }
}

/// Chance: from a seed (splitmix64; Steele, Lea and Flood, 2014), and before that from a script, as long as
/// it lasts.
#[derive(Debug)]
pub(super) struct Random {
    seed: u64,
    script: VecDeque<u8>,
}

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, script: VecDeque::new() }
    }

    /// What a fuzzer wants to happen.
    pub(super) fn scripted(script: &[u8]) -> Self {
        Self { seed: 0, script: script.iter().copied().collect() }
    }

    fn next(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        match self.script.pop_front() {
            Some(byte) => usize::from(byte) % limit,
            None => (self.next() % limit as u64) as usize,
        }
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Choose among few priorities, so that pipes have both equals and betters.
    fn priorities(&mut self) -> Priorities {
        let mut one = || 7 + self.below(3) as u8;
        Priorities { send: one(), recv: one() }
    }

    fn fraction(&mut self) -> f64 {
        match self.script.pop_front() {
            Some(byte) => f64::from(byte) / 256.0,
            None => (self.next() >> 11) as f64 / (1u64 << 53) as f64,
        }
    }
}

/// Try a property with many seeds, and say how to see again what has failed.
///
/// `SINEW_SIM_SEEDS=1000000` tries that many, and `SINEW_SIM_SEED=17` that one.
#[cfg(test)]
fn try_seeds(property: impl Fn(Random) + std::panic::RefUnwindSafe) {
    use std::panic::{catch_unwind, resume_unwind};

    let set = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().expect("the number of a seed, or how many"))
    };
    let seeds = match set("SINEW_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..set("SINEW_SIM_SEEDS").unwrap_or(crate::rounds::rounds(256).into()),
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(|| property(Random::new(seed))) {
            // The path of the property; the test that tries it has the same name.
            let path = std::any::type_name_of_val(&property);
            let name = path.rsplit("::").next().expect("there is a last part");
            eprintln!("to see it again: SINEW_SIM_SEED={seed} cargo test --lib seeds::{name}");
            resume_unwind(panic);
        }
    }
}
