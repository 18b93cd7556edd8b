//! The budget of a socket: how much its connections may hold together of what peers have sent.
//!
//! A [`Ledger`] counts that, and [`Ring::headroom`](crate::ring::Ring::headroom) says how much more one may hold: as
//! much as is left of the limit. So those that hold most stop first, and there is always something left for others. What
//! is accepted is never dropped. `Open::allowance` in `io/connection/open.rs` asks before each read.
//!
//! Owns those who wait for more, and the right to exceed the limit. One connection at a time has that right, in the
//! middle of a message and with nothing else in its ring, until the message is whole. So messages that are not whole
//! do not keep each other from becoming so when they have used up everything, and one of any length arrives.

use std::collections::{BTreeMap, BTreeSet};

use super::Postponed;
use crate::message::PipeId;
use crate::ring::{Ledger, RingRef};
use crate::sync::{Arc, Mutex, Rank};

/// The low-water mark of what is left. While a connection may hold this many bytes more, beside the rest of the message
/// that has begun, read as if the socket had no budget: one read does not bring it to hold as much.
pub(crate) const LOW_WATER: u64 = 2 << 20;

/// Demands that differ by less than this many bytes are alike: who came first goes first. Otherwise peers would overtake
/// each other for a few bytes.
const ALIKE: u64 = 64 * 1024;

/// The budget of one socket.
#[derive(Debug)]
pub(crate) struct Budget {
    ledger: Arc<Ledger>,
    demands: Mutex<Demands>,
}

/// The demands of those who wait, and the promises to those who were told to ask again.
#[derive(Debug, Default)]
struct Demands {
    waiting: BTreeMap<PipeId, Waiting>,
    /// Those who were told and have not asked since. Nobody gets before them what they were told of.
    told: BTreeMap<PipeId, Promise>,
    /// What these will take, together.
    promised: u64,
    /// Each with its place: the least demand first, and of those that want about as much who came first.
    by_demand: BTreeSet<(u64, u64, PipeId)>,
    /// Those that may exceed the limit, in the order in which they came.
    midway: BTreeSet<(u64, PipeId)>,
    /// How many ever came.
    arrivals: u64,
    /// Who exceeds the limit, or has been told that it may.
    exceeds: Option<PipeId>,
    /// The ring of who has exceeded it last. Forgotten when somebody looks after it has become empty.
    exceeded: Option<RingRef>,
}

#[derive(Debug)]
struct Waiting {
    /// What must be left of the limit.
    must_be_left: u64,
    arrival: u64,
    postponed: Postponed,
}

impl Waiting {
    fn place(&self, pipe: PipeId) -> (u64, u64, PipeId) {
        (self.must_be_left / ALIKE, self.arrival, pipe)
    }
}

#[derive(Debug)]
struct Promise {
    arrival: u64,
    bytes: u64,
}

/// What a connection needs to be read on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Demand {
    /// At least this many bytes more.
    pub(crate) least: u64,
    /// If it must wait, it does so until there are this many.
    pub(crate) better: u64,
    /// Whether it is in the middle of a message, and its ring is empty.
    pub(crate) is_midway: bool,
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Hold as much more as the headroom of its ring.
    Within,
    /// Exceed the limit, until its message is whole.
    Exceed,
    /// Nothing. It is told to ask again.
    Wait,
}

impl Budget {
    pub(crate) fn new(limit: usize) -> Self {
        let ledger = Arc::new(Ledger::new(limit as u64));
        Self { ledger, demands: Mutex::new(Rank::Budget, Demands::default()) }
    }

    /// For the receive rings of the socket.
    pub(crate) fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Whether so much of the limit is left that one connection need not ask.
    pub(crate) fn is_above_low_water(&self) -> bool {
        self.ledger.left() >= LOW_WATER
    }

    /// Whether at most half of the limit is left.
    pub(crate) fn is_half_used(&self) -> bool {
        self.ledger.held() > self.ledger.limit() / 2
    }

    /// Sets the limit. What is held beyond a smaller one stays. The caller [`tell`](Self::tell)s.
    pub(crate) fn set_limit(&self, limit: usize) {
        self.ledger.set_limit(limit as u64);
    }

    /// Asks for more, for a connection that receives into `ring`. If there is too little, remembers it, and
    /// `postponed` tells it when to ask again. It must then [`leave`](Self::leave) if it asks no more.
    pub(crate) fn ask(
        &self,
        pipe: PipeId,
        ring: &RingRef,
        demand: Demand,
        postponed: impl FnOnce() -> Postponed,
    ) -> Decision {
        let (decision, told) = {
            let mut demands = self.demands.lock();
            // Whoever gives something back from here on tells. What was given back before is looked for once more.
            self.ledger.wait();
            let decision = demands.ask(pipe, ring, demand, &self.ledger, postponed);
            // The next may be told by nobody else.
            (decision, demands.take_told(&self.ledger))
        };
        told.into_iter().for_each(Postponed::ask_again);
        decision
    }

    /// Forgets a connection: it does not wait any more, and does not exceed the limit.
    pub(crate) fn leave(&self, pipe: PipeId) {
        let told = {
            let mut demands = self.demands.lock();
            demands.forget(pipe);
            demands.take_told(&self.ledger)
        };
        told.into_iter().for_each(Postponed::ask_again);
    }

    /// Lets those ask again for whom there may be enough now. Never called under a socket's lock.
    #[inline]
    pub(crate) fn tell(&self) {
        if self.ledger.is_awaited() {
            self.tell_those_who_wait();
        }
    }

    #[cold]
    fn tell_those_who_wait(&self) {
        let told = self.demands.lock().take_told(&self.ledger);
        told.into_iter().for_each(Postponed::ask_again);
    }
}

impl Demands {
    fn ask(
        &mut self,
        pipe: PipeId,
        ring: &RingRef,
        demand: Demand,
        ledger: &Ledger,
        postponed: impl FnOnce() -> Postponed,
    ) -> Decision {
        let arrival = self.take_out(pipe).unwrap_or(self.arrivals);
        // By the rule of `Ring::headroom`.
        let must_be_left = ring.held() + 2 * demand.better.max(demand.least);
        let is_next = self
            .by_demand
            .first()
            .is_none_or(|first| (must_be_left / ALIKE, arrival, pipe) < *first);
        if ring.guaranteed() >= demand.least
            || is_next && ring.headroom_beside(self.promised) >= demand.least
        {
            self.forget(pipe);
            return Decision::Within;
        }
        let may_exceed = demand.is_midway
            && match self.exceeds {
                Some(other) => other == pipe,
                None => self.midway.is_empty() && self.allow_exceeding(ledger),
            };
        if may_exceed {
            self.exceeds = Some(pipe);
            self.exceeded = Some(ring.clone());
            return Decision::Exceed;
        }
        self.forget(pipe);
        self.arrivals += 1;
        let waiting = Waiting { must_be_left, arrival, postponed: postponed() };
        self.by_demand.insert(waiting.place(pipe));
        if demand.is_midway {
            self.midway.insert((arrival, pipe));
        }
        self.waiting.insert(pipe, waiting);
        Decision::Wait
    }

    /// Whether to let somebody exceed the limit: if it is not exceeded, or not because of a message for which that was
    /// allowed. It may have been lowered, or two loops have read at once.
    fn allow_exceeding(&mut self, ledger: &Ledger) -> bool {
        // Nobody will receive what is in a ring that only we still have: its pipe had ended when the message came.
        self.exceeded.take_if(|ring| ring.queued().messages == 0 || ring.is_last());
        self.exceeded.is_none() || ledger.held() <= ledger.limit()
    }

    /// Takes out those who are to ask again.
    fn take_told(&mut self, ledger: &Ledger) -> Vec<Postponed> {
        let mut told = Vec::new();
        let left = ledger.left();
        while let Some(&(.., pipe)) = self.by_demand.first()
            && let Some(waiting) = self.waiting.get(&pipe)
            && waiting.must_be_left <= left.saturating_sub(self.promised)
        {
            // It will take about half of what must be left.
            let promised = waiting.must_be_left / 2;
            told.extend(self.promise(pipe, promised));
        }
        if self.exceeds.is_none()
            && let Some(&(_, pipe)) = self.midway.first()
            && self.allow_exceeding(ledger)
        {
            self.exceeds = Some(pipe);
            told.extend(self.promise(pipe, 0));
        }
        // As long as somebody was told and has not asked, the others must ask as well.
        if self.waiting.is_empty() && self.told.is_empty() {
            ledger.wait_no_more();
        }
        told
    }

    fn promise(&mut self, pipe: PipeId, promised: u64) -> Option<Postponed> {
        let Waiting { arrival, postponed, .. } = self.remove(pipe)?;
        self.told.insert(pipe, Promise { arrival, bytes: promised });
        self.promised += promised;
        Some(postponed)
    }

    /// Takes out one that asks; says when it came, if it has waited.
    fn take_out(&mut self, pipe: PipeId) -> Option<u64> {
        if let Some(promise) = self.told.remove(&pipe) {
            self.promised -= promise.bytes;
            return Some(promise.arrival);
        }
        self.remove(pipe).map(|waiting| waiting.arrival)
    }

    fn forget(&mut self, pipe: PipeId) {
        self.take_out(pipe);
        self.exceeds.take_if(|exceeds| *exceeds == pipe);
    }

    fn remove(&mut self, pipe: PipeId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&pipe)?;
        self.by_demand.remove(&waiting.place(pipe));
        self.midway.remove(&(waiting.arrival, pipe));
        Some(waiting)
    }
}

#[cfg(all(test, loom))]
mod loom {
    use ::loom::{model, thread};
    use bytes::Bytes;

    use super::*;
    use crate::message::PipeId;
    use crate::ring::{Bounds, Inbox, counted};
    use crate::sync::{AtomicBool, Ordering};
    use crate::wire::Framing;

    /// Who gets nothing is told when something is given back, whoever comes first.
    #[test]
    fn who_waits_for_the_budget_is_told() {
        static BODY: [u8; 8192] = [0; 8192];
        model(|| {
            let budget = Arc::new(Budget::new(8192));
            let bounds = Bounds { messages: 16, bytes: usize::MAX };
            let (mut full, ring) = counted(Framing::Length, bounds, budget.ledger());
            let _ = full.append_body(Bytes::from_static(&BODY));
            let mut inbox = Inbox::new(ring);
            let (_empty, other) = counted(Framing::Length, bounds, budget.ledger());
            let asks = {
                let budget = Arc::clone(&budget);
                thread::spawn(move || {
                    let told = Arc::new(AtomicBool::new(false));
                    let tells = Arc::clone(&told);
                    let postponed = Postponed::new(move || tells.store(true, Ordering::Relaxed));
                    let demand = Demand { least: 4000, better: 4000, is_midway: false };
                    (budget.ask(PipeId::new(1).unwrap(), &other, demand, || postponed), told)
                })
            };
            let (_, taken) = inbox.pop().unwrap();
            if taken.room {
                budget.tell();
            }
            let (decision, told) = asks.join().unwrap();
            assert!(decision == Decision::Within || told.load(Ordering::Relaxed));
        });
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::cell::Cell;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;
    use crate::ring::{Bounds, Inbox, Producer, counted};
    use crate::wire::Framing;

    const KIB: usize = 1024;
    const GUARANTEE: u64 = 32 * 1024;

    /// A connection, with its end of the ring and the socket's.
    struct Connection {
        pipe: PipeId,
        producer: Producer,
        inbox: Inbox,
    }

    struct Socket {
        connections: Cell<u32>,
        budget: Budget,
        told: Receiver<PipeId>,
        tells: Sender<PipeId>,
    }

    impl Socket {
        fn new(limit: usize) -> Self {
            let (tells, told) = channel();
            Self { connections: Cell::new(0), budget: Budget::new(limit), told, tells }
        }

        /// A connection with a message of `kib` KiB in its ring.
        fn connection(&self, kib: usize) -> Connection {
            let bounds = Bounds { messages: 1000, bytes: 1 << 20 };
            let (mut producer, ring) = counted(Framing::Length, bounds, self.budget.ledger());
            if kib > 0 {
                let _ = producer.append_body(vec![0; kib * KIB].into());
            }
            self.connections.set(self.connections.get() + 1);
            let pipe = PipeId::new(self.connections.get()).unwrap();
            Connection { pipe, producer, inbox: Inbox::new(ring) }
        }

        fn ask(&self, of: &Connection, kib: usize, is_midway: bool) -> Decision {
            let (pipe, tells) = (of.pipe, self.tells.clone());
            let least = (kib * KIB) as u64;
            let postponed = move || Postponed::new(move || tells.send(pipe).unwrap());
            let demand = Demand { least, better: least, is_midway };
            self.budget.ask(pipe, of.producer.ring(), demand, postponed)
        }

        fn told(&self) -> Vec<PipeId> {
            self.told.try_iter().collect()
        }
    }

    #[test]
    fn who_holds_most_is_read_no_further_and_who_holds_less_is_told_first() {
        let socket = Socket::new(1024 * KIB);
        let (mut most, half) = (socket.connection(500), socket.connection(250));
        let few = socket.connection(0);
        // 686 KiB are held beyond what is guaranteed, so 338 are left.
        assert_eq!(socket.ask(&most, 1, false), Decision::Wait);
        assert_eq!(socket.ask(&half, 40, false), Decision::Within);
        assert_eq!(socket.ask(&half, 50, false), Decision::Wait);
        assert_eq!(socket.ask(&few, 150, false), Decision::Within);
        socket.budget.tell();
        assert_eq!(socket.told(), []);
        let (_, taken) = most.inbox.pop().unwrap();
        assert!(taken.room, "somebody waits");
        socket.budget.tell();
        assert_eq!(socket.told(), [half.pipe, most.pipe]);
        assert_eq!(socket.ask(&most, 300, false), Decision::Within);
    }

    #[test]
    fn who_came_first_goes_first_and_nobody_takes_what_others_were_told_of() {
        let socket = Socket::new(200 * KIB);
        let mut full = socket.connection(182);
        let [first, second, third, fourth] = [(); 4].map(|()| socket.connection(32));
        // 49 KiB are left; each needs 32 and twice what it asks for.
        assert_eq!(socket.ask(&first, 10, false), Decision::Wait);
        assert_eq!(socket.ask(&second, 10, false), Decision::Wait);
        assert_eq!(socket.ask(&third, 7, false), Decision::Wait, "others came before it");
        assert!(full.inbox.pop().unwrap().1.room);
        socket.budget.tell();
        assert_eq!(socket.told(), [first.pipe, second.pipe, third.pipe]);
        assert_eq!(fourth.producer.unclaimed(), 0, "it is for these three");
        assert_eq!(socket.ask(&fourth, 60, false), Decision::Wait);
        assert_eq!(socket.told(), []);
        for told in [&third, &second, &first] {
            assert_eq!(socket.ask(told, 7, false), Decision::Within);
        }
        assert_eq!(socket.told(), [fourth.pipe]);
    }

    #[test]
    fn up_to_the_guarantee_nobody_waits() {
        let socket = Socket::new(0);
        let full = socket.connection(40);
        assert_eq!(socket.ask(&full, 1, false), Decision::Wait);
        let few = socket.connection(20);
        assert_eq!(socket.ask(&few, 11, false), Decision::Within);
        assert_eq!(socket.ask(&few, 12, false), Decision::Wait);
    }

    #[test]
    fn one_at_a_time_exceeds_the_limit_in_the_order_in_which_they_came() {
        let socket = Socket::new(0);
        let [first, second, third] = [(); 3].map(|()| socket.connection(0));
        assert_eq!(socket.ask(&first, 100, true), Decision::Exceed);
        assert_eq!(socket.ask(&second, 100, true), Decision::Wait);
        assert_eq!(socket.ask(&third, 90, true), Decision::Wait);
        assert_eq!(socket.ask(&first, 90, true), Decision::Exceed);
        socket.budget.leave(first.pipe);
        assert_eq!(socket.told(), [second.pipe]);
        assert_eq!(socket.ask(&first, 100, true), Decision::Wait, "it comes last");
        assert_eq!(socket.ask(&second, 100, true), Decision::Exceed);
        socket.budget.leave(second.pipe);
        assert_eq!(socket.told(), [third.pipe]);
        // A connection that ends gives it back, whether it has taken it or not.
        socket.budget.leave(third.pipe);
        assert_eq!(socket.told(), [first.pipe]);
    }

    #[test]
    fn what_exceeded_the_limit_is_received_before_the_next_may_exceed_it() {
        let socket = Socket::new(100 * KIB);
        let (mut first, second) = (socket.connection(0), socket.connection(0));
        assert_eq!(socket.ask(&first, 200, true), Decision::Exceed);
        let _ = first.producer.append_body(vec![0; 200 * KIB].into());
        socket.budget.leave(first.pipe);
        assert_eq!(socket.ask(&second, 200, true), Decision::Wait);
        assert!(first.inbox.pop().unwrap().1.room);
        socket.budget.tell();
        assert_eq!(socket.told(), [second.pipe]);
        assert_eq!(socket.ask(&second, 200, true), Decision::Exceed);
    }

    /// The socket may have left a pipe before its last bytes came.
    #[test]
    fn what_exceeded_the_limit_and_will_not_be_received_is_in_nobody_s_way() {
        let socket = Socket::new(0);
        let (mut first, second) = (socket.connection(0), socket.connection(0));
        assert_eq!(socket.ask(&first, 200, true), Decision::Exceed);
        let _ = first.producer.append_body(vec![0; 200 * KIB].into());
        socket.budget.leave(first.pipe);
        assert_eq!(socket.ask(&second, 200, true), Decision::Wait);
        drop(first);
        socket.budget.tell();
        assert_eq!(socket.told(), [second.pipe]);
        assert_eq!(socket.budget.ledger().held(), 0);
    }

    #[test]
    fn a_limit_that_is_lowered_leaves_messages_that_are_not_whole_a_way_on() {
        let socket = Socket::new(1024 * KIB);
        let (first, second) = (socket.connection(0), socket.connection(0));
        first.producer.charge(200 * KIB);
        second.producer.charge(200 * KIB);
        socket.budget.set_limit(10);
        assert_eq!(socket.ask(&first, 10, true), Decision::Exceed);
        assert_eq!(socket.ask(&second, 10, true), Decision::Wait);
        let _ = first.producer.give_back(200 * KIB);
        socket.budget.leave(first.pipe);
        assert_eq!(socket.told(), [second.pipe]);
    }

    #[test]
    fn what_a_ring_holds_is_given_back_when_it_is_consumed_or_dropped() {
        let socket = Socket::new(1024 * KIB);
        let ledger = Arc::clone(socket.budget.ledger());
        let mut it = socket.connection(100);
        // A block for the prefix.
        assert_eq!(it.producer.held(), 100 * 1024 + 256);
        assert_eq!(ledger.held(), 100 * 1024 + 256 - GUARANTEE);
        let _ = it.inbox.pop().unwrap();
        assert_eq!((it.producer.held(), ledger.held()), (256, 0));
        for _ in 0..1000 {
            let _ = it.producer.append(&[&[0, 0, 0, 0, 0, 0, 0, 100][..], &[1; 100]].concat(), 1);
        }
        // The blocks that the 108,000 bytes are in.
        assert_eq!(it.producer.held(), 256 + 2048 + 16 * 1024 + 2 * 64 * 1024);
        for _ in 0..700 {
            let _ = it.inbox.pop().unwrap();
        }
        assert_eq!(it.producer.held(), 2 * 64 * 1024);
        for _ in 700..1000 {
            let _ = it.inbox.pop().unwrap();
        }
        assert_eq!(it.producer.held(), 64 * 1024, "the one that it is in");
        drop(it);
        assert_eq!(ledger.held(), 0);
    }

    #[test]
    fn a_ring_takes_no_larger_block_than_it_may_hold() {
        let socket = Socket::new(0);
        let mut it = socket.connection(0);
        for n in 1..=30 {
            let _ = it.producer.append(&[&[0, 0, 0, 0, 0, 0, 3, 0xF8][..], &[1; 1016]].concat(), 1);
            assert!(it.producer.held() <= 32 * 1024, "{n}: {}", it.producer.held());
        }
    }
}
