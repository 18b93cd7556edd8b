//! What must hold on any network: the properties, and the programs that try to break them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::rep::{ProtocolPair, Responder, Route, ToRequests, ToSurveys};
use super::super::{
    Awaited, Bus, Conversation, Interest, Overflow, Pair, Pair1, Polyamorous, Port, Protocol, Pub,
    Pull, Push, Raw, RawReq, RawResponder, RawSub, RawSurveyor, RecvRefusal, Req, Sub, Surveyor,
};
use super::{Program, Random, SEND, Shape, SimPort, World, recv_checked, send_checked};
use crate::message::{Message, PipeId};
use crate::options::{Conflate, Conflating, Keep, Resends};

/// How often each program acts. Until then it leaves some of what it could receive for later.
const ACTS: usize = 40;
const RESEND: Duration = Duration::from_millis(100);
const SURVEY: Duration = Duration::from_millis(50);

/// PAIR never has two pipes, keeps the order, and loses nothing while a link holds.
pub(in crate::protocol) fn a_pair_is_a_pair(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let rivals = 1 + chance.below(2);
    let breaks = chance.below(8);
    let version_1 = chance.one_in(2);
    let mut world = World::new(chance);
    let node = |world: &mut World| {
        if version_1 {
            world.node(Pair1::with_ttl(1), Talker::new(rivals))
        } else {
            world.node(Pair::with_ttl(1), Talker::new(rivals))
        }
    };
    let center = node(&mut world);
    for _ in 0..rivals {
        let rival = node(&mut world);
        world.link([center, rival], shape);
    }
    world.run(ACTS, breaks);
    if rivals == 1 {
        assert_eq!(world.queued(), 0);
    }
}

/// A PUSH gives each message to one PULL, and the order holds within a pipe. Where links hold,
/// every message arrives.
pub(in crate::protocol) fn a_pipeline_neither_loses_nor_doubles(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let pushes = 1 + chance.below(3);
    let pulls = 1 + chance.below(3);
    let breaks = chance.below(12);
    let across_a_device = chance.one_in(2);
    let mut world = World::new(chance);
    let ledger = Rc::<RefCell<Ledger>>::default();
    let push = |world: &mut World| world.node(Push::new(Overflow::Wait), Feeder::new(&ledger));
    let pushes: Vec<_> = (0..pushes).map(|_| push(&mut world)).collect();
    let pulls: Vec<_> = (0..pulls)
        .map(|_| world.node(Pull::new(), Worker::new(&ledger, across_a_device)))
        .collect();
    if across_a_device {
        let right = Raw::new(Push::new(Overflow::Wait));
        let device = world.device(Raw::new(Pull::new()), right, None);
        pushes.iter().for_each(|&push| world.link([push, device], shape));
        pulls.iter().for_each(|&pull| world.link([device, pull], shape));
    } else {
        for &push in &pushes {
            pulls.iter().for_each(|&pull| world.link([push, pull], shape));
        }
    }
    world.run(ACTS, breaks);
    assert_eq!(world.queued(), 0);
    let Ledger { sent, received } = &*ledger.borrow();
    assert!(received.is_subset(sent));
    assert!(breaks > 0 || received == sent);
}

/// A context gets only messages that begin with one of its current topics. Those of one publisher that
/// come over one pipe come in order and once.
pub(in crate::protocol) fn a_subscriber_gets_what_it_wants(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let publishers = 1 + chance.below(3);
    let subscribers = 1 + chance.below(3);
    let breaks = chance.below(8);
    let overflow = any_overflow::<Pub>(&mut chance);
    let across_a_device = chance.one_in(2);
    let conflates = chance.one_in(2);
    let mut world = World::new(chance);
    let (overflow, keys) = conflating(conflates, overflow);
    let reader = || Reader::new(across_a_device, conflates);
    let sources: Vec<_> =
        (0..publishers).map(|_| world.node(Pub::new(overflow, keys), Herald::default())).collect();
    let readers: Vec<_> = (0..subscribers).map(|_| world.node(Sub::new(), reader())).collect();
    if across_a_device {
        let right = Raw::new(Pub::new(overflow, keys));
        let device = world.device(Raw::new(RawSub::new()), right, None);
        sources.iter().for_each(|&source| world.link([source, device], shape));
        readers.iter().for_each(|&reader| world.link([device, reader], shape));
    } else {
        for &source in &sources {
            readers.iter().for_each(|&reader| world.link([source, reader], shape));
        }
    }
    world.run(ACTS, breaks);
    assert_eq!((world.queued(), world.held_outbound()), (0, 0));
}

/// A socket that conflates, on either side, may miss old values, but not the last one.
fn the_last_word_on_each_key_reaches_every_subscriber(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let subscribers = 1 + chance.below(3);
    let sends = chance.one_in(2);
    let keeps = chance.one_in(2);
    let (mut world, last) = (World::new(chance), Rc::default());
    let keys = Conflating { by: BY_KEY, messages: 8, bytes: usize::MAX };
    let (keys, keep) = (sends.then_some(keys), keeps.then_some(BY_KEY));
    let overflow = if sends { Overflow::DropNewest } else { Overflow::Wait };
    let reporter = Reporter { last: Rc::clone(&last), ..Reporter::default() };
    let source = world.node(Pub::new(overflow, keys), reporter);
    for _ in 0..subscribers {
        let board = Board { keep, acts: 0, seen: BTreeMap::new(), last: Rc::clone(&last) };
        let reader = world.node(Sub::new(), board);
        world.link([source, reader], shape);
    }
    world.run(ACTS, 0);
    assert_eq!((world.queued(), world.held_outbound()), (0, 0));
}

/// A hub that waits for each peer by its id answers everything, however slow the others are.
pub(in crate::protocol) fn a_hub_that_waits_answers_every_peer(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let peers = 1 + chance.below(4);
    let mut world = World::new(chance);
    let hub = world.node(Polyamorous::new(1, Overflow::Wait), Echo::default());
    for _ in 0..peers {
        let peer = world.node(Pair1::with_ttl(1), Caller::default());
        world.link([hub, peer], shape);
    }
    world.run(ACTS, 0);
    assert_eq!(world.queued(), 0);
}

/// No socket receives its own messages, and what comes over one pipe comes in order and once.
pub(in crate::protocol) fn a_bus_is_heard_by_the_others(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let nodes = 2 + chance.below(3);
    let breaks = chance.below(8);
    let overflow = any_overflow::<Bus>(&mut chance);
    let mut world = World::new(chance);
    let nodes: Vec<_> =
        (0..nodes).map(|_| world.node(Bus::new(overflow), Chatter::default())).collect();
    for (n, &one) in nodes.iter().enumerate() {
        nodes[..n].iter().for_each(|&other| world.link([one, other], shape));
    }
    world.run(ACTS, breaks);
    assert_eq!(world.queued(), 0);
}

/// A message that runs round a ring of devices is ended by its TTL: the last device it reaches sends
/// it once more, in vain, unless its count cannot grow.
fn a_ring_of_devices_comes_to_rest(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let devices = 1 + chance.below(4);
    let breaks = chance.below(3);
    let ttl = chance.below(256) as u8;
    let ttl = ttl.max(1);
    let mut world = World::new(chance);
    let first = Message::from("round").with_header(Bytes::from_static(&[0; 4]));
    let mut injects = Some(first);
    let pair = || Raw::new(Pair1::with_ttl(ttl));
    let ring: Vec<_> = (0..devices).map(|_| world.device(pair(), pair(), injects.take())).collect();
    for (n, &device) in ring.iter().enumerate() {
        world.link([device, ring[(n + 1) % devices]], shape);
    }
    world.run(1, breaks);
    assert_eq!(world.queued(), 0);
    let hops = (u64::from(ttl) + 1).min(255);
    assert!(world.offered() == hops || (breaks > 0 && world.offered() < hops));
}

/// The same holds for a request, whose backtrace grows by a word in each device. Nobody answers it.
pub(in crate::protocol) fn a_request_in_a_ring_of_devices_comes_to_rest(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let devices = 1 + chance.below(4);
    let breaks = chance.below(3);
    let ttl = (1 + chance.below(19)) as u8;
    let mut world = World::new(chance);
    let id = Bytes::from_static(&[0x80, 0, 0, 1]);
    let mut injects = Some(Message::from("round").with_header(id));
    let front = || RawResponder::<ToRequests>::new(ttl);
    let ring: Vec<_> =
        (0..devices).map(|_| world.device(front(), RawReq::new(), injects.take())).collect();
    for (n, &device) in ring.iter().enumerate() {
        world.link([device, ring[(n + 1) % devices]], shape);
    }
    world.run(1, breaks);
    assert_eq!(world.queued(), 0);
    let hops = u64::from(ttl) + 1;
    assert!(world.offered() == hops || (breaks > 0 && world.offered() < hops));
}

/// A request gets at most one reply, that of the conversation's last request. It gets one once the
/// links have healed. No REP answers the wrong pipe.
///
/// If REPs forget requests, only the resend interval helps. If they do not, a request goes out again
/// only when its pipe is lost. A pipe that is closed for a fault ends what it carried.
pub(in crate::protocol) fn every_request_gets_its_reply(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let reqs = 1 + chance.below(3);
    let reps = 1 + chance.below(3);
    let breaks = chance.below(12);
    let forgetful = chance.one_in(2);
    let faults = chance.one_in(2);
    let mut world = World::new(chance);
    world.set_faults(faults);
    let resend = if forgetful { RESEND } else { Duration::MAX };
    let askers: Vec<_> = (0..reqs)
        .map(|n| {
            let program = Asker { faults, ..Asker::new(every(resend)) };
            world.node(Req::new(n as u32 * 7), program)
        })
        .collect();
    for _ in 0..reps {
        let rep = world.node(Responder::<ToRequests>::new(8), Helper::new(forgetful));
        askers.iter().for_each(|&req| world.link([req, rep], shape));
    }
    world.run(ACTS, breaks);
}

/// The same holds across devices, where requests and replies may be lost on the way.
fn every_request_gets_its_reply_across_devices(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let reqs = 1 + chance.below(3);
    let reps = 1 + chance.below(3);
    let devices = (1 + chance.below(2)) as u8;
    let breaks = chance.below(8);
    let mut world = World::new(chance);
    let mut last = None;
    for n in 1..=devices {
        let left = RawResponder::<ToRequests>::new(n);
        let device = world.device(left, RawReq::new(), None);
        if let Some(last) = last.replace(device) {
            world.link([last, device], shape);
        }
    }
    let (first, last) = (0, last.expect("there is one at least"));
    for n in 0..reqs {
        let program = Asker { across_devices: true, ..Asker::new(every(10 * RESEND)) };
        let req = world.node(Req::new(n as u32 * 7), program);
        world.link([req, first], shape);
    }
    for _ in 0..reps {
        let program = Helper { across_devices: true, ..Helper::new(false) };
        let rep = world.node(Responder::<ToRequests>::new(devices + 1), program);
        world.link([last, rep], shape);
    }
    world.run(ACTS, breaks);
}

/// A request that must not be repeated, or not so often, gets its reply or hears that its pipe is
/// lost.
pub(in crate::protocol) fn a_request_not_to_be_repeated_ends_either_way(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let reps = 1 + chance.below(3);
    let breaks = chance.below(12);
    let interval = chance.one_in(2).then_some(RESEND);
    let limit = chance.below(3) as u32;
    let mut world = World::new(chance);
    let resends = Resends { interval, limit };
    let req = world.node(Req::new(u32::MAX), Asker::new(resends));
    for _ in 0..reps {
        let rep = world.node(Responder::<ToRequests>::new(8), Helper::new(false));
        world.link([req, rep], shape);
    }
    world.run(ACTS, breaks);
}

/// A survey yields nothing after its deadline, each respondent's answer at most once, and its
/// end exactly once.
pub(in crate::protocol) fn a_survey_ends_at_its_deadline(mut chance: Random) {
    let shape = Shape::any(&mut chance);
    let surveyors = 1 + chance.below(2);
    let respondents = chance.below(5);
    let breaks = chance.below(8);
    let mut world = World::new(chance);
    let askers: Vec<_> = (0..surveyors)
        .map(|n| world.node(Surveyor::new(n as u32 * 7, Overflow::DropNewest), Pollster::default()))
        .collect();
    for _ in 0..respondents {
        let respondent = world.node(Responder::<ToSurveys>::new(8), Helper::new(true));
        askers.iter().for_each(|&asker| world.link([asker, respondent], shape));
    }
    world.run(ACTS, breaks);
}

/// Whatever a peer sends, nothing panics and every message is counted.
pub(in crate::protocol) fn junk_is_accounted_for(mut chance: Random) {
    let victim = chance.below(15);
    let shape = Shape::any(&mut chance);
    let breaks = chance.below(4);
    let mut world = World::new(chance);
    let vandal = world.node(Pair::with_ttl(1), Vandal);
    let victim = match victim {
        0 => world.node(
            Req::new(0),
            Witness::new(|req: &mut Req, io| {
                let asker = req.open(every(RESEND));
                io.offered(1);
                req.send(&asker, &mut Bytes::new(), io.now(), io).expect("a REQ always sends");
                req.awaited(asker).expect("it has just asked")
            }),
        ),
        1 => world.node(
            Surveyor::new(0, Overflow::DropNewest),
            Witness::new(|surveyor: &mut Surveyor, io| {
                let asker = surveyor.open(None, 2);
                io.offered(io.peers().max(1));
                surveyor.send(&asker, &mut Bytes::new(), io.now(), io).expect("it always sends");
                surveyor.awaited(asker).expect("it has just asked")
            }),
        ),
        2 => world.node(Responder::<ToRequests>::new(2), Witness::new(|_, _| ())),
        3 => world.node(Responder::<ToSurveys>::new(2), Witness::new(|_, _| ())),
        4 => world.node(Pull::new(), Witness::new(|_, _| ())),
        5 => world.node(Bus::new(Overflow::DropNewest), Witness::new(|_, _| ())),
        6 => world.node(Pair1::with_ttl(2), Witness::new(|_, _| ())),
        7 => world.node(Push::new(Overflow::DropNewest), Sender),
        8 => world.node(Pub::new(Overflow::Disconnect, None), Sender),
        9 => world.node(Polyamorous::new(2, Overflow::Wait), Witness::new(|_, _| ())),
        10 => world.node(Raw::new(Pair1::with_ttl(2)), Witness::new(|_, _| ())),
        11 => world.node(RawResponder::<ToRequests>::new(2), Witness::new(|_, _| ())),
        12 => world.node(RawReq::new(), Witness::new(|_, _| ())),
        13 => world.node(RawSurveyor::new(Overflow::DropOldest), Witness::new(|_, _| ())),
        _ => world.node(
            Sub::new(),
            Witness::new(|sub: &mut Sub, _| {
                let context = sub.open(Keep { queue: Some(2), ..Keep::default() });
                sub.subscribe(context, b"\0\0").expect("it is open");
                context
            }),
        ),
    };
    world.link([vandal, victim], shape);
    world.run(ACTS, breaks);
}

impl Shape {
    fn any(chance: &mut Random) -> Self {
        let capacity = 1 + chance.below(3);
        let latency = [0, 1, 10, 60][chance.below(4)];
        Self { capacity, latency: Duration::from_millis(latency) }
    }
}

/// Without a limit.
fn every(interval: Duration) -> Resends {
    Resends { interval: Some(interval), limit: Resends::NO_LIMIT }
}

/// A message that says who sent it: a node, one of its conversations, and a number.
fn label(node: u8, conversation: usize, number: u32) -> Bytes {
    let mut label = vec![node, conversation as u8];
    label.extend_from_slice(&number.to_be_bytes());
    label.into()
}

const LABEL: usize = 6;

/// A protocol whose sends and receives name no peer.
trait Exchange: Protocol<To = (), From = (), Received = Message> {}

impl<P: Protocol<To = (), From = (), Received = Message>> Exchange for P {}

/// What a broadcast may do with a copy that finds no room.
fn any_overflow<P: Protocol>(chance: &mut Random) -> Overflow {
    P::OVERFLOW[chance.below(P::OVERFLOW.len())]
}

/// The number in a label.
fn number(message: &[u8]) -> u32 {
    let number = message.last_chunk().expect("a label");
    u32::from_be_bytes(*number)
}

/// What was sent and what has come, on the whole network.
#[derive(Default)]
struct Ledger {
    sent: BTreeSet<Bytes>,
    received: BTreeSet<Bytes>,
}

/// The program at a PUSH.
struct Feeder {
    ledger: Rc<RefCell<Ledger>>,
    wanted: u32,
    sent: u32,
}

impl Feeder {
    fn new(ledger: &Rc<RefCell<Ledger>>) -> Self {
        Self { ledger: Rc::clone(ledger), wanted: 0, sent: 0 }
    }

    fn feed(&mut self, push: &mut Push, io: &mut SimPort<'_>) {
        while self.sent < self.wanted {
            let message = label(io.node(), 0, self.sent);
            if send_checked(push, SEND, &(), &message, io).is_err() {
                return;
            }
            io.offered(1);
            self.sent += 1;
            self.ledger.borrow_mut().sent.insert(message);
        }
    }
}

impl Program<Push> for Feeder {
    fn act(&mut self, push: &mut Push, io: &mut SimPort<'_>) {
        self.wanted += io.random().below(5) as u32;
        self.feed(push, io);
    }

    fn woken(&mut self, _: Interest, push: &mut Push, io: &mut SimPort<'_>) {
        self.feed(push, io);
    }

    fn check(&self) {
        assert_eq!(self.sent, self.wanted, "links that heal take it all");
    }
}

/// The program at a PULL.
struct Worker {
    ledger: Rc<RefCell<Ledger>>,
    order: Order,
    acts: usize,
}

impl Worker {
    fn new(ledger: &Rc<RefCell<Ledger>>, across_a_device: bool) -> Self {
        let order = Order::new(across_a_device);
        Self { ledger: Rc::clone(ledger), order, acts: 0 }
    }

    fn work(&mut self, pull: &mut Pull, io: &mut SimPort<'_>) {
        while let Ok(message) = recv_checked(pull, &(), io) {
            io.delivered();
            self.order.check(&message);
            let new = self.ledger.borrow_mut().received.insert(message.into_bytes());
            assert!(new, "nothing comes twice");
        }
    }
}

impl Program<Pull> for Worker {
    fn act(&mut self, pull: &mut Pull, io: &mut SimPort<'_>) {
        self.acts += 1;
        self.work(pull, io);
    }

    fn woken(&mut self, _: Interest, pull: &mut Pull, io: &mut SimPort<'_>) {
        if self.acts >= ACTS || !io.random().one_in(2) {
            self.work(pull, io);
        }
    }

    fn check(&self) {}
}

/// Remembers the last number of each sender on each pipe.
#[derive(Default)]
struct Order {
    last: BTreeMap<(PipeId, u8, Option<u8>), u32>,
    /// Order is kept only among those that begin with the same byte.
    by_key: bool,
    /// There is a device on the way: after a pipe is lost, it mixes what it had received over that pipe with
    /// what comes over the next.
    across_a_device: bool,
}

impl Order {
    fn new(across_a_device: bool) -> Self {
        Self { across_a_device, ..Self::default() }
    }

    fn check(&mut self, message: &Message) {
        let pipe = message.pipe().expect("it was received");
        let sender = message[message.len() - LABEL];
        let number = number(message);
        let key = self.by_key.then_some(message[0]);
        if let Some(last) = self.last.insert((pipe, sender, key), number) {
            let good = number > last || self.across_a_device;
            assert!(good, "nothing comes twice or late over one pipe");
        }
    }
}

/// What topics are made of, and what messages begin with.
fn topic(io: &mut SimPort<'_>) -> Vec<u8> {
    (0..io.random().below(3)).map(|_| io.random().below(2) as u8).collect()
}

/// The program at a PUB.
#[derive(Default)]
struct Herald {
    sent: u32,
    wanted: u32,
}

impl Herald {
    fn publish(&mut self, publisher: &mut Pub, io: &mut SimPort<'_>) {
        while self.sent < self.wanted {
            let message = [&topic(io)[..], &label(io.node(), 0, self.sent)].concat();
            let copies = io.peers().max(1);
            if send_checked(publisher, SEND, &(), &message.into(), io).is_err() {
                return;
            }
            io.offered(copies);
            self.sent += 1;
        }
    }
}

impl Program<Pub> for Herald {
    fn act(&mut self, publisher: &mut Pub, io: &mut SimPort<'_>) {
        self.wanted += io.random().below(5) as u32;
        self.publish(publisher, io);
    }

    fn woken(&mut self, _: Interest, publisher: &mut Pub, io: &mut SimPort<'_>) {
        self.publish(publisher, io);
    }

    fn check(&self) {
        assert_eq!(self.sent, self.wanted, "no subscriber holds it up forever");
    }
}

/// The newest number of each key.
type Words = BTreeMap<u8, u32>;

/// The program at a PUB: publishes new values of a few keys.
#[derive(Default)]
struct Reporter {
    acts: usize,
    sent: u32,
    /// The keys that it has yet to publish.
    keys: BTreeSet<u8>,
    last: Rc<RefCell<Words>>,
}

impl Reporter {
    fn report(&mut self, publisher: &mut Pub, io: &mut SimPort<'_>) {
        while let Some(&key) = self.keys.first() {
            let message = [&[key][..], &self.sent.to_be_bytes()].concat();
            let copies = io.peers().max(1);
            if send_checked(publisher, SEND, &(), &message.into(), io).is_err() {
                return;
            }
            io.offered(copies);
            self.last.borrow_mut().insert(key, self.sent);
            self.sent += 1;
            self.keys.remove(&key);
        }
    }
}

impl Program<Pub> for Reporter {
    fn act(&mut self, publisher: &mut Pub, io: &mut SimPort<'_>) {
        self.acts += 1;
        // At the last act publish all keys: by then every subscriber is there.
        let told = (0..3).filter(|_| self.acts == ACTS || io.random().one_in(2));
        self.keys.extend(told);
        self.report(publisher, io);
    }

    fn woken(&mut self, _: Interest, publisher: &mut Pub, io: &mut SimPort<'_>) {
        self.report(publisher, io);
    }

    fn check(&self) {}
}

/// The program at a SUB: shows the newest value of each key.
struct Board {
    keep: Option<Conflate>,
    acts: usize,
    seen: Words,
    last: Rc<RefCell<Words>>,
}

impl Board {
    const CONTEXT: Conversation = Conversation::FIRST;

    fn read(&mut self, sub: &mut Sub, io: &mut SimPort<'_>) {
        while let Ok(message) = sub.recv(&Self::CONTEXT, io.now(), io) {
            io.delivered();
            let before = self.seen.insert(message[0], number(&message));
            assert!(before < Some(number(&message)), "each is newer than the one before");
        }
    }
}

impl Program<Sub> for Board {
    fn act(&mut self, sub: &mut Sub, io: &mut SimPort<'_>) {
        if self.acts == 0 {
            let queue = self.keep.map(|_| 8);
            let context = sub.open(Keep { queue, conflate: self.keep, ..Keep::default() });
            assert_eq!(context, Self::CONTEXT);
            sub.subscribe(context, b"").expect("it is open");
        }
        self.acts += 1;
        if self.acts == ACTS || io.random().one_in(8) {
            self.read(sub, io);
        }
    }

    fn woken(&mut self, _: Interest, sub: &mut Sub, io: &mut SimPort<'_>) {
        if self.acts >= ACTS {
            self.read(sub, io);
        }
    }

    fn check(&self) {
        assert_eq!(self.seen, *self.last.borrow(), "the last word was heard");
    }
}

/// The program at a SUB: a few contexts that change their minds.
struct Reader {
    contexts: Vec<Reading>,
    across_a_device: bool,
    /// Order is kept only of each key.
    by_key: bool,
}

struct Reading {
    context: Conversation,
    topics: BTreeSet<Vec<u8>>,
    order: Order,
    /// It has found nothing, and was not woken since.
    waits: bool,
}

impl Reader {
    const CONTEXTS: usize = 3;

    fn new(across_a_device: bool, by_key: bool) -> Self {
        Self { contexts: Vec::new(), across_a_device, by_key }
    }

    fn read(&mut self, which: usize, sub: &mut Sub, io: &mut SimPort<'_>) {
        let Reading { context, topics, order, waits } = &mut self.contexts[which];
        while let Ok(message) = sub.recv(context, io.now(), io) {
            io.delivered();
            assert!(!*waits, "it should have been woken");
            assert!(topics.iter().any(|topic| message.starts_with(topic)), "it was wanted");
            order.check(&message);
            // A reader that stops before the end is not waiting.
            if io.random().one_in(4) {
                return;
            }
        }
        *waits = true;
    }

    fn change(&mut self, which: usize, sub: &mut Sub, io: &mut SimPort<'_>) {
        let Reading { context, topics, .. } = &mut self.contexts[which];
        let topic = topic(io);
        if io.random().one_in(2) {
            sub.subscribe(*context, &topic).expect("it is open");
            topics.insert(topic);
        } else {
            let unsubscribed = sub.unsubscribe(*context, &topic, io);
            assert_eq!(unsubscribed.is_ok(), topics.remove(&topic));
        }
    }
}

/// Few messages, by any rule.
fn keep(io: &mut SimPort<'_>) -> Keep {
    let prefer_new = [None, Some(false), Some(true)][io.random().below(3)];
    let bytes = io.random().one_in(2).then_some(5);
    Keep { queue: Some(3), bytes, prefer_new, conflate: io.random().one_in(2).then_some(BY_KEY) }
}

/// Keep the newest message for each first byte.
const BY_KEY: Conflate = Conflate::Prefix(1);

/// What a publisher does that conflates, if it does, with copies that find no room.
fn conflating(conflates: bool, overflow: Overflow) -> (Overflow, Option<Conflating>) {
    let keys = Conflating { by: BY_KEY, messages: 3, bytes: usize::MAX };
    match overflow {
        Overflow::Wait if conflates => (Overflow::DropOldest, Some(keys)),
        _ => (overflow, conflates.then_some(keys)),
    }
}

impl Program<Sub> for Reader {
    fn act(&mut self, sub: &mut Sub, io: &mut SimPort<'_>) {
        while self.contexts.len() < Self::CONTEXTS {
            let keep = keep(io);
            let context = sub.open(keep);
            let (topics, mut order) = (BTreeSet::new(), Order::new(self.across_a_device));
            order.by_key = self.by_key || keep.conflate.is_some();
            self.contexts.push(Reading { context, topics, order, waits: false });
        }
        let which = io.random().below(Self::CONTEXTS);
        match io.random().below(8) {
            0 => {
                let Reading { context, topics, waits, order } = &mut self.contexts[which];
                sub.close(*context, io);
                let keep = keep(io);
                *context = sub.open(keep);
                order.by_key |= keep.conflate.is_some();
                topics.clear();
                *waits = false;
            }
            1 | 2 => self.read(which, sub, io),
            _ => self.change(which, sub, io),
        }
    }

    fn woken(&mut self, interest: Interest, sub: &mut Sub, io: &mut SimPort<'_>) {
        let waits = |reading: &Reading| reading.context.interest() == interest;
        // Leave some in the queue, so that it overflows.
        if let Some(which) = self.contexts.iter().position(waits) {
            self.contexts[which].waits = false;
            if !io.random().one_in(2) {
                self.read(which, sub, io);
            }
        }
    }

    fn check(&self) {}
}

/// The program at a BUS.
#[derive(Default)]
struct Chatter {
    sent: u32,
    acts: usize,
    order: Order,
}

impl Chatter {
    fn listen(&mut self, bus: &mut Bus, io: &mut SimPort<'_>) {
        while let Ok(message) = recv_checked(bus, &(), io) {
            io.delivered();
            assert_ne!(message[0], io.node(), "nobody hears himself");
            assert_eq!(message[0], io.node_behind(message.pipe().expect("it was received")));
            self.order.check(&message);
        }
    }
}

impl Program<Bus> for Chatter {
    fn act(&mut self, bus: &mut Bus, io: &mut SimPort<'_>) {
        self.acts += 1;
        let mut message = label(io.node(), 0, self.sent);
        self.sent += 1;
        io.offered(io.peers().max(1));
        bus.send(&(), &mut message, io.now(), io).expect("a BUS always sends");
        if self.acts == ACTS {
            self.listen(bus, io);
        }
    }

    fn woken(&mut self, _: Interest, bus: &mut Bus, io: &mut SimPort<'_>) {
        if self.acts >= ACTS || !io.random().one_in(2) {
            self.listen(bus, io);
        }
    }

    fn check(&self) {}
}

/// The program at a hub: sends everything back to where it came from.
#[derive(Default)]
struct Echo {
    waiting: BTreeMap<PipeId, VecDeque<Bytes>>,
}

impl Echo {
    fn answer(&mut self, pipe: PipeId, hub: &mut Polyamorous, io: &mut SimPort<'_>) {
        let Some(answers) = self.waiting.get_mut(&pipe) else { return };
        while let Some(answer) = answers.front() {
            let interest = Polyamorous::interest(Some(pipe));
            if send_checked(hub, interest, &Some(pipe), answer, io).is_err() {
                return;
            }
            io.offered(1);
            answers.pop_front();
        }
    }
}

impl Program<Polyamorous> for Echo {
    fn act(&mut self, _: &mut Polyamorous, _: &mut SimPort<'_>) {}

    /// Answer a peer when it has asked, and try again only after a wake.
    fn woken(&mut self, interest: Interest, hub: &mut Polyamorous, io: &mut SimPort<'_>) {
        if let Interest::Send(Some(pipe)) = interest {
            return self.answer(pipe, hub, io);
        }
        while let Ok(message) = recv_checked(hub, &(), io) {
            io.delivered();
            let pipe = message.pipe().expect("it was received");
            let answers = self.waiting.entry(pipe).or_default();
            answers.push_back(message.into_bytes());
            if answers.len() == 1 {
                self.answer(pipe, hub, io);
            }
        }
    }

    fn check(&self) {
        assert!(self.waiting.values().all(VecDeque::is_empty), "all have room in the end");
    }
}

/// The program at a peer of a hub: calls, and leaves the echoes for later.
#[derive(Default)]
struct Caller {
    acts: usize,
    sent: u32,
    heard: u32,
}

impl Caller {
    fn listen(&mut self, pair: &mut Pair1, io: &mut SimPort<'_>) {
        while let Ok(message) = recv_checked(pair, &(), io) {
            io.delivered();
            assert_eq!(number(&message), self.heard, "each in its turn");
            self.heard += 1;
        }
    }
}

impl Program<Pair1> for Caller {
    fn act(&mut self, pair: &mut Pair1, io: &mut SimPort<'_>) {
        self.acts += 1;
        let call = label(io.node(), 0, self.sent);
        if send_checked(pair, SEND, &(), &call, io).is_ok() {
            io.offered(1);
            self.sent += 1;
        }
        if self.acts == ACTS {
            self.listen(pair, io);
        }
    }

    fn woken(&mut self, interest: Interest, pair: &mut Pair1, io: &mut SimPort<'_>) {
        let listens = self.acts >= ACTS || io.random().one_in(4);
        if matches!(interest, Interest::Recv(_)) && listens {
            self.listen(pair, io);
        }
    }

    fn check(&self) {
        assert_eq!(self.heard, self.sent, "every call was answered");
    }
}

/// A program that sends where it cannot receive.
struct Sender;

impl<P: Protocol<To = ()>> Program<P> for Sender {
    fn act(&mut self, protocol: &mut P, io: &mut SimPort<'_>) {
        if protocol.send(&(), &mut Bytes::new(), io.now(), io).is_ok() {
            io.offered(1);
        }
    }

    fn woken(&mut self, _: Interest, _: &mut P, _: &mut SimPort<'_>) {}

    fn check(&self) {}
}

/// The program at a PAIR: sends numbers, and expects them.
#[derive(Default)]
struct Talker {
    /// How many sockets want to be paired with the one in the middle.
    rivals: usize,
    acts: usize,
    /// How many messages it would like to send.
    wanted: u32,
    sent: u32,
    /// The last number that came through each pipe.
    last: BTreeMap<PipeId, u32>,
    highest: BTreeMap<u8, u32>,
}

impl Talker {
    fn new(rivals: usize) -> Self {
        Self { rivals, ..Self::default() }
    }

    fn talk(&mut self, pair: &mut impl Exchange, io: &mut SimPort<'_>) {
        while self.sent < self.wanted {
            let message = label(io.node(), 0, self.sent);
            if send_checked(pair, SEND, &(), &message, io).is_err() {
                return;
            }
            io.offered(1);
            self.sent += 1;
        }
    }

    fn listen(&mut self, pair: &mut impl Exchange, io: &mut SimPort<'_>) {
        while let Ok(message) = recv_checked(pair, &(), io) {
            io.delivered();
            let pipe = message.pipe().expect("it was received");
            let number = u32::from_be_bytes(message[2..].try_into().expect("a label"));
            if let Some(last) = self.last.insert(pipe, number) {
                assert_eq!(number, last + 1, "nothing is lost or overtaken within a pipe");
            }
            if let Some(highest) = self.highest.insert(message[0], number) {
                assert!(number > highest, "nothing comes twice or late");
            }
        }
    }
}

impl<P: Exchange> Program<P> for Talker {
    fn act(&mut self, pair: &mut P, io: &mut SimPort<'_>) {
        assert!(io.attached() <= 1, "a pair is a pair");
        self.acts += 1;
        self.wanted += io.random().below(5) as u32;
        self.talk(pair, io);
        self.listen(pair, io);
    }

    fn woken(&mut self, interest: Interest, pair: &mut P, io: &mut SimPort<'_>) {
        match interest {
            Interest::Send(_) => self.talk(pair, io),
            _ if self.acts < ACTS && io.random().one_in(2) => {}
            _ => self.listen(pair, io),
        }
    }

    fn check(&self) {
        assert!(self.rivals > 1 || self.sent == self.wanted, "a link that heals takes it all");
    }
}

/// The program at a REQ: asks in a few conversations, and asks anew before it is answered.
struct Asker {
    resends: Resends,
    /// Pipes may be closed for what a peer has sent.
    faults: bool,
    acts: usize,
    asking: Vec<Asking>,
    across_devices: bool,
}

struct Asking {
    conversation: Conversation,
    number: u32,
    /// The request that has not ended yet.
    awaited: Option<Awaited>,
}

impl Asker {
    const CONVERSATIONS: usize = 3;

    fn new(resends: Resends) -> Self {
        Self { resends, faults: false, acts: 0, asking: Vec::new(), across_devices: false }
    }

    fn ask(&mut self, which: usize, req: &mut Req, io: &mut SimPort<'_>) {
        let asking = &mut self.asking[which];
        asking.number += 1;
        let mut message = label(io.node(), which, asking.number);
        io.offered(1);
        req.send(&asking.conversation, &mut message, io.now(), io).expect("a REQ always sends");
        let awaited = req.awaited(asking.conversation).expect("it has just asked");
        if let Some(old) = asking.awaited.replace(awaited) {
            assert_eq!(req.recv(&old, io.now(), io), Err(RecvRefusal::Canceled));
        }
    }

    fn listen(&mut self, which: usize, req: &mut Req, io: &mut SimPort<'_>) {
        let asking = &mut self.asking[which];
        let Some(awaited) = asking.awaited else {
            assert_eq!(req.awaited(asking.conversation), Err(RecvRefusal::State));
            return;
        };
        match req.recv(&awaited, io.now(), io) {
            Ok(reply) => {
                io.delivered();
                assert_eq!(&reply[..LABEL], &label(io.node(), which, asking.number)[..]);
                let near = io.node_behind(reply.pipe().expect("it was received"));
                assert!(self.across_devices || near == reply[LABEL]);
            }
            Err(RecvRefusal::ConnectionReset) => assert_eq!(self.resends.interval, None),
            Err(RecvRefusal::BadReply(_)) => assert!(self.faults),
            Err(RecvRefusal::GivenUp { sent, .. }) => {
                assert_eq!(sent, self.resends.limit + 1);
            }
            Err(refusal) => return assert_eq!(refusal, RecvRefusal::WouldBlock),
        }
        asking.awaited = None;
    }
}

impl Program<Req> for Asker {
    fn act(&mut self, req: &mut Req, io: &mut SimPort<'_>) {
        while self.asking.len() < Self::CONVERSATIONS {
            let conversation = req.open(self.resends);
            self.asking.push(Asking { conversation, number: 0, awaited: None });
        }
        let which = io.random().below(self.asking.len());
        if io.random().one_in(8) {
            let asking = &mut self.asking[which];
            req.close(asking.conversation, io);
            asking.conversation = req.open(self.resends);
            asking.awaited = None;
        } else {
            self.ask(which, req, io);
        }
        self.acts += 1;
        if self.acts == ACTS {
            (0..self.asking.len()).for_each(|which| self.listen(which, req, io));
        }
    }

    fn woken(&mut self, interest: Interest, req: &mut Req, io: &mut SimPort<'_>) {
        let waits = |asking: &Asking| asking.conversation.interest() == interest;
        let idle = self.acts < ACTS && io.random().one_in(3);
        if let Some(which) = self.asking.iter().position(waits)
            && !idle
        {
            self.listen(which, req, io);
        }
    }

    fn check(&self) {
        assert!(
            self.asking.iter().all(|asking| asking.awaited.is_none()),
            "all requests have ended"
        );
    }
}

/// The program at a REP or RESPONDENT: answers with the question and its own number.
struct Helper {
    /// Answers some questions late, and some not at all.
    forgetful: bool,
    /// Questions to answer at the next act.
    pondered: Vec<(Route, Message)>,
    acts: usize,
    across_devices: bool,
}

impl Helper {
    fn new(forgetful: bool) -> Self {
        Self { forgetful, pondered: Vec::new(), acts: 0, across_devices: false }
    }

    fn listen<R: ProtocolPair>(&mut self, rep: &mut Responder<R>, io: &mut SimPort<'_>) {
        while let Some((route, message)) = self.next(rep, io) {
            io.delivered();
            assert!(self.across_devices || io.node_behind(route.pipe()) == message[0]);
            match io.random().below(4) {
                0 if self.forgetful => rep.give_up(&route, io),
                1 if self.forgetful && self.acts < ACTS => self.pondered.push((route, message)),
                _ => self.answer(route, message, rep, io),
            }
        }
    }

    /// The next question, perhaps in the place of one that is pondered.
    fn next<R: ProtocolPair>(
        &mut self,
        rep: &mut Responder<R>,
        io: &mut SimPort<'_>,
    ) -> Option<(Route, Message)> {
        let next = recv_checked(rep, &(), io).ok();
        if next.is_some() || io.random().one_in(2) {
            return next;
        }
        let (old, _) = self.pondered.last()?;
        let next = rep.recv_instead(old, io.now(), io).ok()?;
        self.pondered.pop();
        Some(next)
    }

    fn answer<R: ProtocolPair>(
        &mut self,
        route: Route,
        message: Message,
        rep: &mut Responder<R>,
        io: &mut SimPort<'_>,
    ) {
        let before = io.sending(route.pipe());
        let answer = Bytes::from([&message[..], &[io.node()]].concat());
        send_checked(rep, SEND, &route, &answer, io).expect("an answer has its place");
        io.offered(1);
        let sent = io.sending(route.pipe()) - before;
        assert_eq!(sent, usize::from(io.is_open(route.pipe())), "to the asker or to nobody");
    }
}

impl<R: ProtocolPair> Program<Responder<R>> for Helper {
    fn act(&mut self, rep: &mut Responder<R>, io: &mut SimPort<'_>) {
        self.acts += 1;
        while let Some((route, message)) = self.pondered.pop() {
            self.answer(route, message, rep, io);
        }
    }

    fn woken(&mut self, _: Interest, rep: &mut Responder<R>, io: &mut SimPort<'_>) {
        self.listen(rep, io);
    }

    fn check(&self) {
        assert!(self.pondered.is_empty(), "everything was answered in the last act");
    }
}

/// The program at a SURVEYOR.
#[derive(Default)]
struct Pollster {
    polls: Vec<Poll>,
}

struct Poll {
    conversation: Conversation,
    number: u32,
    awaited: Option<Awaited>,
    deadline: Option<Instant>,
    /// Who has answered.
    answered: BTreeSet<u8>,
}

impl Pollster {
    const CONVERSATIONS: usize = 3;

    fn ask(&mut self, which: usize, surveyor: &mut Surveyor, io: &mut SimPort<'_>) {
        let poll = &mut self.polls[which];
        poll.number += 1;
        poll.answered.clear();
        poll.deadline = Some(io.now() + SURVEY);
        let mut message = label(io.node(), which, poll.number);
        io.offered(io.peers().max(1));
        surveyor.send(&poll.conversation, &mut message, io.now(), io).expect("it always sends");
        let awaited = surveyor.awaited(poll.conversation).expect("it has just asked");
        if let Some(old) = poll.awaited.replace(awaited) {
            let ended = surveyor.recv(&old, io.now(), io).unwrap_err();
            assert!(matches!(ended, RecvRefusal::Canceled | RecvRefusal::Expired));
        }
    }

    fn listen(&mut self, which: usize, surveyor: &mut Surveyor, io: &mut SimPort<'_>) {
        let poll = &mut self.polls[which];
        while let Some(awaited) = poll.awaited {
            let over = poll.deadline.is_some_and(|deadline| io.now() >= deadline);
            match surveyor.recv(&awaited, io.now(), io) {
                Ok(answer) => {
                    io.delivered();
                    assert!(!over, "nothing comes after the deadline");
                    assert_eq!(&answer[..LABEL], &label(io.node(), which, poll.number)[..]);
                    assert!(poll.answered.insert(answer[LABEL]), "everybody answers once");
                }
                Err(RecvRefusal::WouldBlock) => return assert!(!over),
                Err(refusal) => {
                    assert_eq!((refusal, over), (RecvRefusal::Expired, true));
                    poll.awaited = None;
                    let again = surveyor.awaited(poll.conversation);
                    assert_eq!(again, Err(RecvRefusal::State), "the end is told once");
                }
            }
        }
    }
}

impl Program<Surveyor> for Pollster {
    fn act(&mut self, surveyor: &mut Surveyor, io: &mut SimPort<'_>) {
        while self.polls.len() < Self::CONVERSATIONS {
            // Two answers fit: with more respondents some are dropped.
            let conversation = surveyor.open(Some(SURVEY), 2);
            let answered = BTreeSet::new();
            self.polls.push(Poll {
                conversation,
                number: 0,
                awaited: None,
                deadline: None,
                answered,
            });
        }
        let which = io.random().below(self.polls.len());
        match io.random().below(8) {
            0 => {
                let poll = &mut self.polls[which];
                surveyor.close(poll.conversation, io);
                poll.conversation = surveyor.open(Some(SURVEY), 2);
                poll.awaited = None;
            }
            1 | 2 => self.listen(which, surveyor, io),
            _ => self.ask(which, surveyor, io),
        }
    }

    fn woken(&mut self, interest: Interest, surveyor: &mut Surveyor, io: &mut SimPort<'_>) {
        let which = self.polls.iter().position(|poll| poll.conversation.interest() == interest);
        let Some(which) = which else { return };
        let over = self.polls[which].deadline.is_some_and(|deadline| io.now() >= deadline);
        // Some answers are left unread until the deadline or the next survey.
        if over || !io.random().one_in(2) {
            self.listen(which, surveyor, io);
        }
    }

    fn check(&self) {
        assert!(self.polls.iter().all(|poll| poll.awaited.is_none()), "all surveys have ended");
    }
}

/// The program of a bad peer: it sends what no peer should, and repeats some of what it received.
struct Vandal;

impl Program<Pair> for Vandal {
    fn act(&mut self, pair: &mut Pair, io: &mut SimPort<'_>) {
        const WORDS: [[u8; 4]; 4] = [[0; 4], [0, 0, 0, 7], [0x80, 0, 0, 1], [0xFF; 4]];
        let words = io.random().below(4);
        let mut junk: Vec<u8> = (0..words).flat_map(|_| WORDS[io.random().below(4)]).collect();
        junk.truncate(junk.len().saturating_sub(io.random().below(3)));
        self.throw(junk.into(), pair, io);
    }

    fn woken(&mut self, interest: Interest, pair: &mut Pair, io: &mut SimPort<'_>) {
        if let Interest::Send(_) = interest {
            return;
        }
        while let Ok(message) = recv_checked(pair, &(), io) {
            io.delivered();
            for _ in 0..io.random().below(3) {
                self.throw(message.body().clone(), pair, io);
            }
        }
    }

    fn check(&self) {}
}

impl Vandal {
    fn throw(&self, mut junk: Bytes, pair: &mut Pair, io: &mut SimPort<'_>) {
        if pair.send(&(), &mut junk, io.now(), io).is_ok() {
            io.offered(1);
        }
    }
}

/// A program that asks and takes whatever there is to receive.
struct Witness<P: Protocol> {
    /// Ask something, if the protocol can, and say what to receive.
    ask: fn(&mut P, &mut SimPort<'_>) -> P::From,
    asked: Vec<P::From>,
}

impl<P: Protocol> Witness<P> {
    fn new(ask: fn(&mut P, &mut SimPort<'_>) -> P::From) -> Self {
        Self { ask, asked: Vec::new() }
    }
}

impl<P: Protocol> Program<P> for Witness<P> {
    fn act(&mut self, protocol: &mut P, io: &mut SimPort<'_>) {
        self.asked.push((self.ask)(protocol, io));
    }

    fn woken(&mut self, _: Interest, protocol: &mut P, io: &mut SimPort<'_>) {
        for from in &self.asked {
            while protocol.recv(from, io.now(), io).is_ok() {
                io.delivered();
            }
        }
    }

    fn check(&self) {}
}

/// Each property is tried with many seeds, by a test of its name.
#[cfg(test)]
mod seeds {
    use super::super::try_seeds;

    #[test]
    fn a_pair_is_a_pair() {
        try_seeds(super::a_pair_is_a_pair);
    }

    #[test]
    fn a_pipeline_neither_loses_nor_doubles() {
        try_seeds(super::a_pipeline_neither_loses_nor_doubles);
    }

    #[test]
    fn a_subscriber_gets_what_it_wants() {
        try_seeds(super::a_subscriber_gets_what_it_wants);
    }

    #[test]
    fn the_last_word_on_each_key_reaches_every_subscriber() {
        try_seeds(super::the_last_word_on_each_key_reaches_every_subscriber);
    }

    #[test]
    fn a_hub_that_waits_answers_every_peer() {
        try_seeds(super::a_hub_that_waits_answers_every_peer);
    }

    #[test]
    fn a_bus_is_heard_by_the_others() {
        try_seeds(super::a_bus_is_heard_by_the_others);
    }

    #[test]
    fn a_ring_of_devices_comes_to_rest() {
        try_seeds(super::a_ring_of_devices_comes_to_rest);
    }

    #[test]
    fn a_request_in_a_ring_of_devices_comes_to_rest() {
        try_seeds(super::a_request_in_a_ring_of_devices_comes_to_rest);
    }

    #[test]
    fn every_request_gets_its_reply() {
        try_seeds(super::every_request_gets_its_reply);
    }

    #[test]
    fn every_request_gets_its_reply_across_devices() {
        try_seeds(super::every_request_gets_its_reply_across_devices);
    }

    #[test]
    fn a_request_not_to_be_repeated_ends_either_way() {
        try_seeds(super::a_request_not_to_be_repeated_ends_either_way);
    }

    #[test]
    fn a_survey_ends_at_its_deadline() {
        try_seeds(super::a_survey_ends_at_its_deadline);
    }

    #[test]
    fn junk_is_accounted_for() {
        try_seeds(super::junk_is_accounted_for);
    }
}
