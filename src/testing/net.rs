//! The network below the sockets: listeners, connections, and what is on the way.
//!
//! A connection is two queues of bytes that know when each byte arrives. Owns all of them under one lock, the
//! times at which something happens by itself, and what the poll would report to each host.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};

use crate::error::{AddressError, BindError};
use crate::io::{Reported, Reports};
use crate::options::EndpointSettings;
use crate::peer::StreamPeer;
use crate::sync::{Arc, Mutex, MutexGuard, Rank};
use crate::time::stage::Stage;
use crate::transport::{Address, Destination, Listener, Source, Stream, StreamTransport, Target};

/// The number of a host, counted from zero.
pub(super) type HostId = usize;
type ConnId = u64;
/// An end of a connection: that of who has connected, or that of who has accepted.
type Side = usize;
const DIALER: Side = 0;
const ACCEPTED: Side = 1;

/// How many bytes a connection holds in each direction.
const WINDOW: usize = 64 << 10;
/// How many connections wait to be accepted before others are refused.
const BACKLOG: usize = 1024;

/// The scheme of its addresses, and those that would leave it.
const SCHEMES: [&str; 5] = ["sim", "tcp", "tcp4", "tcp6", "ipc"];

/// What a link between two hosts is like. Every connection has it for itself, in both directions.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    latency: RangeInclusive<Duration>,
    rate: Option<u64>,
    cuts: Option<Duration>,
}

impl Link {
    /// A link that takes from 100 us to 1 ms and has no other limits.
    pub fn new() -> Self {
        let latency = Duration::from_micros(100)..=Duration::from_millis(1);
        Self { latency, rate: None, cuts: None }
    }

    /// How long what is written at once takes to the other end: each time another time of these. The order of
    /// bytes stays. Default 100 us to 1 ms.
    ///
    /// # Panics
    ///
    /// There is no time between the ends.
    pub fn latency(mut self, latency: RangeInclusive<Duration>) -> Self {
        assert!(!latency.is_empty(), "a latency from {:?} to {:?}", latency.start(), latency.end());
        self.latency = latency;
        self
    }

    /// How many bytes per second pass in each direction of a connection. Default `None`: any number.
    ///
    /// # Panics
    ///
    /// The rate is zero: that is a [partition](super::Network::partition).
    pub fn rate(mut self, bytes: impl Into<Option<u64>>) -> Self {
        self.rate = bytes.into();
        assert!(self.rate != Some(0), "nothing passes at a rate of zero: make a partition");
        self
    }

    /// How long a connection lasts on average before it breaks by itself. Default `None`: for ever. Concerns
    /// connections that are made from then on.
    pub fn cuts(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.cuts = after.into();
        self
    }
}

impl Default for Link {
    fn default() -> Self {
        Self::new()
    }
}

/// The network.
pub(super) struct Net {
    stage: Arc<Stage>,
    state: Mutex<State>,
}

struct State {
    hosts: Vec<HostState>,
    listeners: BTreeMap<String, ListenerState>,
    connections: BTreeMap<ConnId, Connection>,
    /// The number of the last connection.
    last: ConnId,
    events: BTreeMap<(Instant, u64), Event>,
    scheduled: u64,
    link: Link,
    links: BTreeMap<[String; 2], Link>,
    /// Each the hosts of one side.
    partitions: Vec<BTreeSet<String>>,
    fingerprint: u64,
}

struct HostState {
    name: String,
    is_dead: bool,
    reports: Vec<(Token, Reported)>,
}

struct ListenerState {
    host: HostId,
    token: Option<Token>,
    backlog: VecDeque<ConnId>,
}

/// What happens by itself.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// The wish for a connection arrives.
    Asks(ConnId),
    /// The answer to it arrives.
    Answered(ConnId, bool),
    /// Bytes arrive at this end.
    Arrives(ConnId, Side),
    /// This end hears that the connection is gone.
    Breaks(ConnId, Side),
    /// The connection breaks.
    Cut(ConnId),
}

struct Connection {
    /// The name that was connected to.
    name: String,
    ends: [End; 2],
    phase: Phase,
    /// What would have happened, but for a partition.
    held: Vec<Event>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Asked,
    Refused,
    Open,
}

/// One end, with what is on the way to it.
struct End {
    host: HostId,
    token: Option<Token>,
    /// The stream exists.
    is_held: bool,
    on_the_way: VecDeque<(Instant, Part)>,
    /// How many bytes these are.
    bytes: usize,
    arrived: VecDeque<u8>,
    /// Nothing comes after what has arrived.
    is_at_end: bool,
    /// It has told the other that it will write no more.
    has_ended: bool,
    /// When the last part leaves the link.
    free_at: Instant,
    broken: Option<ErrorKind>,
    /// A write was refused, and is to be told of room.
    wants_room: bool,
}

enum Part {
    Bytes(Vec<u8>),
    End,
}

impl End {
    fn new(host: HostId, is_held: bool, now: Instant) -> Self {
        Self {
            host,
            token: None,
            is_held,
            on_the_way: VecDeque::new(),
            bytes: 0,
            arrived: VecDeque::new(),
            is_at_end: false,
            has_ended: false,
            free_at: now,
            broken: None,
            wants_room: false,
        }
    }
}

impl Net {
    pub(super) fn new(stage: &Arc<Stage>) -> Arc<Self> {
        let state = State {
            hosts: Vec::new(),
            listeners: BTreeMap::new(),
            connections: BTreeMap::new(),
            last: 0,
            events: BTreeMap::new(),
            scheduled: 0,
            link: Link::new(),
            links: BTreeMap::new(),
            partitions: Vec::new(),
            fingerprint: 0xcbf2_9ce4_8422_2325,
        };
        Arc::new(Self { stage: Arc::clone(stage), state: Mutex::new(Rank::Network, state) })
    }

    fn open(&self) -> Opened<'_> {
        Opened { stage: &self.stage, state: self.state.lock() }
    }

    pub(super) fn add_host(&self, name: &str) -> HostId {
        let mut net = self.open();
        let reports = Vec::new();
        net.state.hosts.push(HostState { name: name.to_owned(), is_dead: false, reports });
        net.state.hosts.len() - 1
    }

    /// What a host's event loop takes its reports from.
    pub(super) fn reports(self: &Arc<Self>, host: HostId) -> HostReports {
        HostReports { net: Arc::clone(self), host }
    }

    pub(super) fn has_reports(&self, host: HostId) -> bool {
        !self.state.lock().hosts[host].reports.is_empty()
    }

    pub(super) fn set_links(&self, link: Link) {
        self.state.lock().link = link;
    }

    pub(super) fn set_link(&self, one: &str, other: &str, link: Link) {
        self.state.lock().links.insert(pair(one, other), link);
    }

    pub(super) fn partition(&self, hosts: &[&str]) {
        let side = hosts.iter().map(|&name| name.to_owned()).collect();
        self.state.lock().partitions.push(side);
    }

    pub(super) fn heal(&self) {
        let mut net = self.open();
        net.state.partitions.clear();
        let held: Vec<_> = net
            .state
            .connections
            .iter_mut()
            .flat_map(|(&id, it)| it.held.drain(..).map(move |event| (id, event)))
            .collect();
        for (id, event) in held {
            net.after_latency(id, event);
        }
    }

    pub(super) fn cut(&self, one: &str, other: &str) {
        let mut net = self.open();
        let between: Vec<_> = net.state.connections.keys().copied().collect();
        for id in between {
            if net.names(id) == pair(one, other) {
                net.cut(id);
            }
        }
    }

    pub(super) fn kill(&self, host: HostId) {
        let mut net = self.open();
        net.state.hosts[host].is_dead = true;
        let gone: Vec<_> = net
            .state
            .listeners
            .iter()
            .filter(|(_, it)| it.host == host)
            .map(|(name, _)| name.clone())
            .collect();
        gone.iter().for_each(|name| net.unlisten(name));
        let all: Vec<_> = net.state.connections.keys().copied().collect();
        for id in all {
            for side in [DIALER, ACCEPTED] {
                let end = &mut net.connection(id).ends[side];
                if end.host == host {
                    end.broken = Some(ErrorKind::ConnectionReset);
                    end.on_the_way.clear();
                    net.after_latency(id, Event::Breaks(id, 1 - side));
                }
            }
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.state.lock().events.first_key_value().map(|(&(at, _), _)| at)
    }

    /// Has everything happen that is due.
    pub(super) fn happen(&self) {
        let now = self.stage.now();
        let mut net = self.open();
        while let Some(entry) = net.state.events.first_entry() {
            if entry.key().0 > now {
                return;
            }
            let event = entry.remove();
            net.happens(event);
        }
    }

    pub(super) fn fingerprint(&self) -> u64 {
        self.state.lock().fingerprint
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net").finish_non_exhaustive()
    }
}

/// The network under its lock.
struct Opened<'n> {
    stage: &'n Stage,
    state: MutexGuard<'n, State>,
}

impl Opened<'_> {
    fn connection(&mut self, id: ConnId) -> &mut Connection {
        self.state.connections.get_mut(&id).expect("it is kept while an end or an event has it")
    }

    /// The names of the hosts at both ends, in order.
    fn names(&self, id: ConnId) -> [String; 2] {
        let ends = &self.state.connections[&id].ends;
        let name = |side: Side| &*self.state.hosts[ends[side].host].name;
        pair(name(DIALER), name(ACCEPTED))
    }

    fn link(&self, id: ConnId) -> &Link {
        self.state.links.get(&self.names(id)).unwrap_or(&self.state.link)
    }

    fn is_separated(&self, id: ConnId) -> bool {
        let [one, other] = self.names(id);
        self.state.partitions.iter().any(|side| side.contains(&one) != side.contains(&other))
    }

    /// A time between these.
    fn between(&self, times: &RangeInclusive<Duration>) -> Duration {
        let (least, most) = (times.start(), times.end());
        let span = u64::try_from((*most - *least).as_nanos()).unwrap_or(u64::MAX - 1);
        *least + Duration::from_nanos(self.stage.number() % (span + 1))
    }

    fn schedule(&mut self, at: Instant, event: Event) {
        self.state.scheduled += 1;
        let number = self.state.scheduled;
        self.state.events.insert((at, number), event);
    }

    /// Has something happen after the latency of a connection's link.
    fn after_latency(&mut self, id: ConnId, event: Event) {
        let latency = self.between(&self.link(id).latency.clone());
        self.schedule(self.stage.now() + latency, event);
    }

    fn report(&mut self, host: HostId, token: Option<Token>) {
        let host = &mut self.state.hosts[host];
        if let Some(token) = token
            && !host.reports.iter().any(|(it, _)| *it == token)
        {
            let all =
                Reported { readable: true, writable: true, read_closed: false, failed: false };
            host.reports.push((token, all));
        }
    }

    fn report_end(&mut self, id: ConnId, side: Side) {
        let end = &self.connection(id).ends[side];
        let (host, token) = (end.host, end.token);
        self.report(host, token);
    }

    fn happens(&mut self, event: Event) {
        let (Event::Asks(id)
        | Event::Answered(id, _)
        | Event::Arrives(id, _)
        | Event::Breaks(id, _)
        | Event::Cut(id)) = event;
        if !self.state.connections.contains_key(&id) {
            return;
        }
        if self.is_separated(id) && !matches!(event, Event::Cut(_)) {
            return self.connection(id).held.push(event);
        }
        match event {
            Event::Asks(_) => self.on_asked(id),
            Event::Answered(_, accepted) => {
                let connection = self.connection(id);
                connection.phase = if accepted { Phase::Open } else { Phase::Refused };
                self.report_end(id, DIALER);
            }
            Event::Arrives(_, side) => self.arrives(id, side),
            Event::Breaks(_, side) => self.breaks(id, side, ErrorKind::ConnectionReset),
            Event::Cut(_) => self.cut(id),
        }
        self.forget_if_over(id);
    }

    /// The wish for a connection has arrived.
    fn on_asked(&mut self, id: ConnId) {
        if !self.connection(id).ends[DIALER].is_held {
            return;
        }
        let name = self.connection(id).name.clone();
        let accepted = match self.state.listeners.get_mut(&name) {
            Some(listener) if listener.backlog.len() < BACKLOG => {
                listener.backlog.push_back(id);
                Some((listener.host, listener.token))
            }
            _ => None,
        };
        if let Some((host, token)) = accepted {
            self.connection(id).ends[ACCEPTED].host = host;
            self.connection(id).ends[ACCEPTED].is_held = true;
            self.report(host, token);
            if let Some(cuts) = self.link(id).cuts {
                let lasts = self.between(&(Duration::ZERO..=cuts * 2));
                self.schedule(self.stage.now() + lasts, Event::Cut(id));
            }
        }
        self.after_latency(id, Event::Answered(id, accepted.is_some()));
    }

    /// What is on the way to an end, and due, has arrived.
    fn arrives(&mut self, id: ConnId, side: Side) {
        let now = self.stage.now();
        let end = &mut self.connection(id).ends[side];
        if end.broken.is_some() {
            return;
        }
        while end.on_the_way.front().is_some_and(|(at, _)| *at <= now) {
            match end.on_the_way.pop_front() {
                Some((_, Part::Bytes(bytes))) => {
                    end.bytes -= bytes.len();
                    end.arrived.extend(bytes);
                }
                _ => end.is_at_end = true,
            }
        }
        if end.is_held {
            self.report_end(id, side);
        } else if !end.arrived.is_empty() {
            // Nobody will read it, and the sender is told so.
            self.after_latency(id, Event::Breaks(id, 1 - side));
        }
    }

    fn breaks(&mut self, id: ConnId, side: Side, how: ErrorKind) {
        let end = &mut self.connection(id).ends[side];
        end.broken.get_or_insert(how);
        end.on_the_way.clear();
        end.bytes = 0;
        self.report_end(id, side);
    }

    fn cut(&mut self, id: ConnId) {
        for side in [DIALER, ACCEPTED] {
            self.after_latency(id, Event::Breaks(id, side));
        }
    }

    fn unlisten(&mut self, name: &str) {
        let Some(listener) = self.state.listeners.remove(name) else { return };
        for id in listener.backlog {
            if self.state.connections.contains_key(&id) {
                self.connection(id).ends[ACCEPTED].is_held = false;
                self.after_latency(id, Event::Breaks(id, DIALER));
            }
        }
    }

    fn forget_if_over(&mut self, id: ConnId) {
        if self.connection(id).ends.iter().all(|end| !end.is_held) {
            self.state.connections.remove(&id);
        }
    }

    fn write(&mut self, id: ConnId, side: Side, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let now = self.stage.now();
        if let Some(how) = self.connection(id).ends[side].broken {
            return Err(how.into());
        }
        if self.connection(id).ends[side].has_ended {
            return Err(ErrorKind::BrokenPipe.into());
        }
        let far = &self.connection(id).ends[1 - side];
        let room = WINDOW.saturating_sub(far.bytes + far.arrived.len());
        let mut bytes = Vec::new();
        for slice in slices {
            bytes.extend_from_slice(&slice[..slice.len().min(room - bytes.len())]);
        }
        if bytes.is_empty() && slices.iter().any(|slice| !slice.is_empty()) {
            self.connection(id).ends[side].wants_room = true;
            return Err(ErrorKind::WouldBlock.into());
        }
        self.note(id, side, &bytes);
        let written = bytes.len();
        self.put(id, side, now, Part::Bytes(bytes));
        Ok(written)
    }

    /// Puts something on the way to the other end.
    fn put(&mut self, id: ConnId, side: Side, now: Instant, part: Part) {
        let link = self.link(id).clone();
        let latency = self.between(&link.latency);
        let end = &mut self.connection(id).ends[1 - side];
        let mut leaves = end.free_at.max(now);
        if let Part::Bytes(bytes) = &part {
            end.bytes += bytes.len();
            if let Some(rate) = link.rate {
                leaves += Duration::from_secs_f64(bytes.len() as f64 / rate as f64);
            }
        }
        end.free_at = leaves;
        let before = end.on_the_way.back().map(|(at, _)| *at);
        let at = before.map_or(leaves + latency, |before| before.max(leaves + latency));
        end.on_the_way.push_back((at, part));
        self.schedule(at, Event::Arrives(id, 1 - side));
    }

    fn read(&mut self, id: ConnId, side: Side, buffer: &mut [u8]) -> io::Result<usize> {
        let end = &mut self.connection(id).ends[side];
        if end.arrived.is_empty() {
            return match end.broken {
                Some(how) => Err(how.into()),
                None if end.is_at_end => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let read = buffer.len().min(end.arrived.len());
        for (to, byte) in buffer.iter_mut().zip(end.arrived.drain(..read)) {
            *to = byte;
        }
        let far = &mut self.connection(id).ends[1 - side];
        if std::mem::take(&mut far.wants_room) {
            self.report_end(id, 1 - side);
        }
        Ok(read)
    }

    /// Says that an end will write no more.
    fn end(&mut self, id: ConnId, side: Side) {
        let now = self.stage.now();
        let connection = self.connection(id);
        let end = &mut connection.ends[side];
        if end.broken.is_none() && !std::mem::replace(&mut end.has_ended, true) {
            self.put(id, side, now, Part::End);
        }
    }

    /// The stream of an end is dropped.
    fn on_dropped(&mut self, id: ConnId, side: Side) {
        if !self.state.connections.contains_key(&id) {
            return;
        }
        let end = &mut self.connection(id).ends[side];
        end.is_held = false;
        end.token = None;
        if end.arrived.is_empty() {
            self.end(id, side);
        } else if end.broken.is_none() {
            // What was not read is lost, and the peer is told at once.
            self.after_latency(id, Event::Breaks(id, 1 - side));
        }
        self.forget_if_over(id);
    }

    /// Counts what is sent into the fingerprint (FNV-1a).
    fn note(&mut self, id: ConnId, side: Side, bytes: &[u8]) {
        let at = self.stage.elapsed().as_nanos().to_le_bytes();
        let mut hash = self.state.fingerprint;
        for byte in at.iter().chain(&id.to_le_bytes()).chain(&[side as u8]).chain(bytes) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.state.fingerprint = hash;
    }
}

fn pair(one: &str, other: &str) -> [String; 2] {
    let mut pair = [one.to_owned(), other.to_owned()];
    pair.sort();
    pair
}

/// What a host's event loop takes its reports from.
#[derive(Debug)]
pub(super) struct HostReports {
    net: Arc<Net>,
    host: HostId,
}

impl Reports for HostReports {
    fn take(&self) -> Vec<(Token, Reported)> {
        std::mem::take(&mut self.net.state.lock().hosts[self.host].reports)
    }
}

/// The transport of one host.
#[derive(Debug)]
pub(super) struct SimTransport {
    net: Arc<Net>,
    host: HostId,
}

impl SimTransport {
    pub(super) fn new(net: &Arc<Net>, host: HostId) -> Self {
        Self { net: Arc::clone(net), host }
    }

    fn url(&self, name: &str) -> String {
        format!("{}://{name}", SCHEMES[0])
    }

    /// The name of an address.
    fn name<'a>(&self, address: &'a Address) -> Result<&'a str, AddressError> {
        if address.scheme() != SCHEMES[0] {
            return Err(address.malformed("a simulated network has sim and inproc addresses only"));
        }
        match address.after_scheme() {
            "" => Err(address.malformed("it has no name")),
            name => Ok(name),
        }
    }
}

impl StreamTransport for SimTransport {
    fn schemes(&self) -> &[&str] {
        &SCHEMES
    }

    fn bind(
        &self,
        address: &Address,
        _: &EndpointSettings,
    ) -> Result<Box<dyn Listener>, BindError> {
        let name = self.name(address)?;
        let mut net = self.net.open();
        if net.state.hosts[self.host].is_dead || net.state.listeners.contains_key(name) {
            drop(net);
            let in_use = io::Error::from(ErrorKind::AddrInUse);
            return Err(BindError::from_io(self.url(name), in_use));
        }
        let (host, token, backlog) = (self.host, None, VecDeque::new());
        net.state.listeners.insert(name.to_owned(), ListenerState { host, token, backlog });
        Ok(Box::new(SimListener { net: Arc::clone(&self.net), host, name: name.to_owned() }))
    }

    fn target(&self, address: &Address) -> Result<Target, AddressError> {
        Ok(Target::Known(Destination::Other(self.name(address)?.to_owned())))
    }

    fn connect(
        &self,
        _: &Address,
        destination: &Destination,
        _: &EndpointSettings,
    ) -> io::Result<Box<dyn Stream>> {
        let Destination::Other(name) = destination else {
            return Err(ErrorKind::InvalidInput.into());
        };
        let mut net = self.net.open();
        if net.state.hosts[self.host].is_dead {
            return Err(ErrorKind::NetworkDown.into());
        }
        let now = self.net.stage.now();
        net.state.last += 1;
        let id = net.state.last;
        // Where nobody listens, the answer comes from as far as ourselves.
        let far = net.state.listeners.get(name).map_or(self.host, |listener| listener.host);
        let ends = [End::new(self.host, true, now), End::new(far, false, now)];
        let (name, held) = (name.clone(), Vec::new());
        let connection = Connection { name, ends, phase: Phase::Asked, held };
        net.state.connections.insert(id, connection);
        net.after_latency(id, Event::Asks(id));
        Ok(Box::new(SimStream { net: Arc::clone(&self.net), id, side: DIALER }))
    }
}

#[derive(Debug)]
struct SimListener {
    net: Arc<Net>,
    host: HostId,
    name: String,
}

impl Listener for SimListener {
    fn source(&mut self) -> &mut dyn Source {
        self
    }

    fn accept(&self) -> io::Result<Box<dyn Stream>> {
        let mut net = self.net.open();
        let listener = net.state.listeners.get_mut(&self.name).ok_or(ErrorKind::WouldBlock)?;
        let id = listener.backlog.pop_front().ok_or(ErrorKind::WouldBlock)?;
        Ok(Box::new(SimStream { net: Arc::clone(&self.net), id, side: ACCEPTED }))
    }

    fn url(&self) -> String {
        format!("sim://{}", self.name)
    }
}

impl Source for SimListener {
    fn register(&mut self, _: &Registry, token: Token, _: Interest) -> io::Result<()> {
        let mut net = self.net.open();
        if let Some(listener) = net.state.listeners.get_mut(&self.name) {
            listener.token = Some(token);
        }
        net.report(self.host, Some(token));
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut net = self.net.open();
        // The name may be another's by now, if the host was killed.
        if !net.state.hosts[self.host].is_dead {
            net.unlisten(&self.name);
        }
    }
}

#[derive(Debug)]
struct SimStream {
    net: Arc<Net>,
    id: ConnId,
    side: Side,
}

impl Stream for SimStream {
    fn source(&mut self) -> &mut dyn Source {
        self
    }

    fn established(&self) -> io::Result<bool> {
        let mut net = self.net.open();
        let connection = net.connection(self.id);
        match (connection.ends[self.side].broken, connection.phase) {
            (Some(how), _) => Err(how.into()),
            (None, Phase::Asked) => Ok(false),
            (None, Phase::Refused) => Err(ErrorKind::ConnectionRefused.into()),
            (None, Phase::Open) => Ok(true),
        }
    }

    fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.net.open().read(self.id, self.side, buffer)
    }

    fn short_read_is_last(&self) -> bool {
        true
    }

    fn write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.net.open().write(self.id, self.side, slices)
    }

    fn shutdown_write(&self) -> io::Result<()> {
        self.net.open().end(self.id, self.side);
        Ok(())
    }

    fn peer(&self) -> StreamPeer {
        let mut net = self.net.open();
        let connection = net.connection(self.id);
        let name = connection.name.clone();
        let dialer = connection.ends[DIALER].host;
        let listener = format!("sim://{name}");
        let dialer = format!("sim://{}#{}", net.state.hosts[dialer].name, self.id);
        match self.side {
            DIALER => StreamPeer::new(dialer, listener),
            _ => StreamPeer::new(listener, dialer),
        }
    }
}

impl Source for SimStream {
    fn register(&mut self, _: &Registry, token: Token, _: Interest) -> io::Result<()> {
        let mut net = self.net.open();
        net.connection(self.id).ends[self.side].token = Some(token);
        net.report_end(self.id, self.side);
        Ok(())
    }

    fn reregister(&mut self, _: &Registry, _: Token, _: Interest) -> io::Result<()> {
        Ok(())
    }

    fn deregister(&mut self, _: &Registry) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for SimStream {
    fn drop(&mut self) {
        self.net.open().on_dropped(self.id, self.side);
    }
}
