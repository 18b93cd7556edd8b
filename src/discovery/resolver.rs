//! The resolver: asks all registries, and keeps sockets connected to the services that they name.
//!
//! Owns one REQ for each registry, and one thread, which works once there is a socket to be kept connected.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use super::environment::{self, Lookup};
use super::wire::{Answer, Identity, Inquiry, Service, WireError};
use super::{REQUESTS_HERE, StartError, socket};
use crate::api::role::{self, Role};
use crate::api::{AnySocket, Req, ReqContext, Socket, Sub};
use crate::error::RecvError;
use crate::options::{EndpointOptions, Options, RoleOption};
use crate::pipe::endpoint::Endpoint;
use crate::protocol::Protocol;
use crate::runtime::Runtime;
use crate::sync::{Arc, Condvar, Mutex, Rank, Weak};
use crate::threads::{self, Close, Running};
use crate::{contain, time};

/// A registry that has begun fewer surveys than these may not know all services yet: they are connecting.
const GROWN: u64 = 3;
/// The priorities of services on the same host, in the same zone, and elsewhere.
const PRIORITIES: [u8; 3] = [4, 8, 12];

/// Finds services by their names, and keeps sockets connected to them.
///
/// It asks all registries at once. A service is alive if one of them says so; a registry that does not answer
/// is not waited for until it answers again, while another does. Near services come before far ones, and of
/// those equally near the less loaded: near is on the same host (the metadata `host`, which an
/// [`Announcement`](super::Announcement) tells by itself), and then in the same zone (`zone`).
///
/// A handle: cloning it makes another of the same resolver.
///
/// ```
/// use std::time::Duration;
/// use sinew::discovery::{Announcement, Registry, Resolver, Service};
///
/// let registry = Registry::builder().surveys("tcp://127.0.0.1:0").requests("tcp://127.0.0.1:0");
/// let registry = registry.interval(Duration::from_millis(200)).start()?;
/// let rep = sinew::Rep::new();
/// let clock = Service::new("clock", rep.bind("tcp://127.0.0.1:0")?.url());
/// let _announcement = Announcement::new(clock, registry.survey_urls())?;
/// std::thread::spawn(move || rep.recv().unwrap().reply("noon"));
///
/// let resolver = Resolver::new(registry.request_urls())?;
/// assert_eq!(resolver.req("clock")?.request("what time is it?")?, "noon");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Resolver {
    /// Of the sockets that are kept connected, too.
    shared: Arc<Running<Shared>>,
}

/// How a program says where a service stands: 1 is served first, 16 last; `None`: not at all.
type Priority = Arc<dyn Fn(&Service) -> Option<u8> + Send + Sync>;

struct Shared {
    registries: Vec<RegistryClient>,
    interval: Duration,
    here: Here,
    priority: Option<Priority>,
    state: Mutex<State>,
    /// Notified when a socket is to be kept connected, and at the end.
    news: Condvar,
}

#[derive(Default)]
struct State {
    follows: Vec<Arc<Follow>>,
    /// Some of them have not been served yet.
    has_new: bool,
    has_thread: bool,
    closed: bool,
}

/// A registry, and the socket that asks it.
struct RegistryClient {
    url: String,
    req: Req,
    /// It has not answered in time: the request whose answer is late.
    late: Mutex<Option<ReqContext>>,
}

/// Where this process is.
struct Here {
    host: Option<String>,
    zone: Option<String>,
}

/// What a resolver is made of.
#[derive(Clone)]
#[must_use = "a resolver begins with `start`"]
pub struct ResolverBuilder {
    registries: Vec<String>,
    interval: Duration,
    zone: Option<String>,
    priority: Option<Priority>,
    runtime: Option<Runtime>,
}

impl ResolverBuilder {
    /// Adds a registry: the address where it answers requests. Default, if none is added:
    /// `tcp://127.0.0.1:7702`.
    pub fn registry(mut self, url: impl Into<String>) -> Self {
        self.registries.push(url.into());
        self
    }

    /// How often it asks where the services are whose sockets it keeps connected, and how long it waits for an
    /// answer. Above zero; default 1 s.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// In which zone this process is. Default: in none.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }

    /// Which services come first, in place of the near ones: 1, served first, to 16; `None` leaves one out.
    ///
    /// It becomes the [`send_priority`](Options::send_priority) or the
    /// [`recv_priority`](Options::recv_priority) of the connection, if its socket has it, and stays so while the
    /// connection lasts. A
    /// number outside of the range counts as the nearest one in it. The function runs in a thread of the
    /// resolver; if it panics, the service is left out.
    pub fn priority(
        mut self,
        priority: impl Fn(&Service) -> Option<u8> + Send + Sync + 'static,
    ) -> Self {
        self.priority = Some(Arc::new(priority));
        self
    }

    /// On which runtime its sockets are. Default: the global one.
    pub fn on(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Takes over what the environment says: `SINEW_RESOLVE_URL`, one or more addresses of registries with
    /// commas between them, `SINEW_INTERVAL` in milliseconds, and `SINEW_ZONE`. What is not set stays as it
    /// is.
    ///
    /// # Errors
    ///
    /// [`StartError::Environment`]: a variable has a value that makes no sense.
    pub fn environment(self) -> Result<Self, StartError> {
        self.take_over(&environment::process)
    }

    fn take_over(mut self, lookup: Lookup<'_>) -> Result<Self, StartError> {
        if let Some(urls) = environment::list(lookup, environment::RESOLVE_URL)? {
            self.registries = urls;
        }
        if let Some(interval) = environment::milliseconds(lookup, environment::INTERVAL)? {
            self.interval = interval;
        }
        self.zone = lookup(environment::ZONE).or(self.zone);
        Ok(self)
    }

    /// Connects to the registries, in the background.
    ///
    /// # Errors
    ///
    /// An address makes no sense.
    pub fn start(mut self) -> Result<Resolver, StartError> {
        if self.registries.is_empty() {
            self.registries.push(REQUESTS_HERE.to_owned());
        }
        let registries = self.registries.into_iter().map(|url| {
            let req = socket(self.runtime.as_ref(), Options::new())?;
            match req.connect(&url) {
                Ok(_) => Ok(RegistryClient { url, req, late: Mutex::new(Rank::Registry, None) }),
                Err(error) => Err(StartError::Connect(url, error)),
            }
        });
        let shared = Shared {
            registries: registries.collect::<Result<_, StartError>>()?,
            interval: self.interval.max(Duration::from_millis(1)),
            here: Here { host: environment::host(), zone: self.zone },
            priority: self.priority,
            state: Mutex::new(Rank::Registry, State::default()),
            news: Condvar::new(),
        };
        Ok(Resolver { shared: Arc::new(Running(Arc::new(shared))) })
    }
}

impl fmt::Debug for ResolverBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResolverBuilder")
            .field("registries", &self.registries)
            .field("interval", &self.interval)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// What one registry knows: the answer to [`Resolver::lists`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listing {
    /// The address of the registry.
    pub registry: String,
    /// The number of the survey that is under way there, or was last.
    pub survey: u64,
    /// How many services are alive. More than in `services` if the answer would have been longer than 512 KiB.
    pub total: usize,
    /// The live services, by name.
    pub services: Vec<Service>,
}

/// No registry has told where a service is.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// No registry has answered in time. Of each the address, and why not.
    #[error("no registry has answered: {}", .0.join("; "))]
    NoAnswer(Vec<String>),
    /// No registry has given an answer that could be read. The last one was refused for this reason.
    #[error("{0}: {1}")]
    BadAnswer(String, WireError),
}

/// Writes its sentence, as `Display` does.
impl fmt::Debug for ResolveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Resolver {
    /// Makes a resolver that asks the registries at these addresses, with the defaults for the rest.
    ///
    /// # Errors
    ///
    /// An address makes no sense.
    pub fn new<U: Into<String>>(
        registries: impl IntoIterator<Item = U>,
    ) -> Result<Self, StartError> {
        registries.into_iter().fold(Self::builder(), ResolverBuilder::registry).start()
    }

    /// Begins a resolver.
    pub fn builder() -> ResolverBuilder {
        ResolverBuilder {
            registries: Vec::new(),
            interval: Duration::from_secs(1),
            zone: None,
            priority: None,
            runtime: None,
        }
    }

    /// Asks for the live services of this name, near ones first. None is no error. Waits up to the interval.
    ///
    /// # Errors
    ///
    /// [`ResolveError`].
    pub fn resolve(&self, name: &str) -> Result<Vec<Service>, ResolveError> {
        self.resolve_timeout(name, self.shared.interval)
    }

    /// As [`resolve`](Self::resolve), waiting up to `timeout`. Zero: only what has come already, which is
    /// nothing.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn resolve_timeout(
        &self,
        name: &str,
        timeout: Duration,
    ) -> Result<Vec<Service>, ResolveError> {
        let shared = &self.shared;
        let inquiry = Inquiry::Resolve(name.to_owned());
        let heard = shared.ask(&inquiry, timeout)?;
        let mut found = union(heard.into_iter().map(|(_, answer)| answer));
        found.retain(|service| service.name() == name);
        found.sort_by_cached_key(|service| (shared.here.distance(service), service.load()));
        Ok(found)
    }

    /// Asks each registry for its whole list. In the result are those that have answered, waiting up to the
    /// interval.
    ///
    /// # Errors
    ///
    /// As [`resolve`](Self::resolve).
    pub fn lists(&self) -> Result<Vec<Listing>, ResolveError> {
        let heard = self.shared.ask(&Inquiry::List, self.shared.interval)?;
        let listing = |(registry, answer): (&str, Answer)| Listing {
            registry: registry.to_owned(),
            survey: answer.survey,
            total: answer.total,
            services: answer.services,
        };
        Ok(heard.into_iter().map(listing).collect())
    }

    /// Makes a [`Req`] that is connected to all live services of this name, and kept so as they come and go.
    ///
    /// Near services are asked before far ones, which are asked while the near ones are busy
    /// ([`Options::send_priority`]). Does not wait: the socket holds requests until there is a service.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn req(&self, name: &str) -> Result<Found<role::Req>, StartError> {
        self.found(Req::new(), name)
    }

    /// Makes a [`Sub`] that is connected to all live services of this name, and kept so as they come and go. It
    /// has no subscriptions yet.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn sub(&self, name: &str) -> Result<Found<role::Sub>, StartError> {
        self.found(Sub::new(), name)
    }

    /// Keeps a socket of the program's own connected to all live services of this name, until the value is
    /// dropped. For sockets with options, and of other roles: a [`Push`](crate::Push) to workers that announce
    /// themselves, say.
    ///
    /// # Errors
    ///
    /// The system has no thread left.
    pub fn found<R: Role>(&self, socket: Socket<R>, name: &str) -> Result<Found<R>, StartError> {
        let follow = Arc::new(Follow {
            name: name.to_owned(),
            socket: Box::new(socket.clone()),
            sends_by_priority: R::Protocol::OPTIONS.contains(&RoleOption::SendPriority),
            receives_by_priority: R::Protocol::OPTIONS.contains(&RoleOption::RecvPriority),
            connected: Mutex::new(Rank::Resolved, Connected::default()),
        });
        let starts = {
            let mut state = self.shared.state.lock();
            state.follows.push(Arc::clone(&follow));
            state.has_new = true;
            !std::mem::replace(&mut state.has_thread, true)
        };
        if starts {
            let shared = Arc::clone(&self.shared.0);
            let spawned = threads::spawn("sinew-resolver", move || shared.keep_connected());
            if let Err(error) = spawned {
                let mut state = self.shared.state.lock();
                state.has_thread = false;
                state.follows.pop();
                return Err(StartError::Thread(error));
            }
        }
        self.shared.news.notify_all();
        let resolver = Arc::clone(&self.shared);
        Ok(Found { socket, kept: Arc::new(Kept { follow, resolver }) })
    }
}

/// All services in the answers, each once.
fn union(answers: impl Iterator<Item = Answer>) -> Vec<Service> {
    let mut all = BTreeMap::new();
    for service in answers.flat_map(|answer| answer.services) {
        all.insert(service.identity(), service);
    }
    all.into_values().collect()
}

impl Close for Shared {
    fn close(&self) {
        self.state.lock().closed = true;
        self.news.notify_all();
        for registry in &self.registries {
            // Nobody else can have closed it.
            let _ = registry.req.close();
        }
    }
}

impl Shared {
    /// Asks all registries, and returns what they have answered by then, with their addresses.
    fn ask(
        &self,
        inquiry: &Inquiry,
        timeout: Duration,
    ) -> Result<Vec<(&str, Answer)>, ResolveError> {
        let until = time::now().checked_add(timeout);
        let text = inquiry.to_text();
        let mut asked: Vec<Option<ReqContext>> = self
            .registries
            .iter()
            .map(|registry| {
                let context = registry.req.context();
                context.send(&text).ok().map(|()| context)
            })
            .collect();
        let (mut heard, mut why) = (Vec::new(), Vec::new());
        // First those from which an answer is to be expected, and the others only if none comes.
        let (expected, doubtful): (Vec<usize>, Vec<usize>) =
            (0..asked.len()).partition(|&at| self.registries[at].is_expected_to_answer());
        let mut bad = None;
        for (at, is_expected) in expected
            .into_iter()
            .map(|at| (at, true))
            .chain(doubtful.into_iter().map(|at| (at, false)))
        {
            let registry = &self.registries[at];
            let Some(context) = asked[at].take() else { continue };
            let received = if is_expected || heard.is_empty() {
                context.recv_timeout(left(until))
            } else {
                context.try_recv()
            };
            match received.map(|answer| Answer::of(&answer)) {
                Ok(Ok(answer)) => {
                    *registry.late.lock() = None;
                    heard.push((&*registry.url, answer));
                }
                Ok(Err(error)) => bad = Some(ResolveError::BadAnswer(registry.url.clone(), error)),
                Err(error) => {
                    why.push(format!("{}: {error}", registry.url));
                    registry.on_silence(context, &error);
                }
            }
        }
        match bad {
            Some(bad) if heard.is_empty() => Err(bad),
            _ if heard.is_empty() => Err(ResolveError::NoAnswer(why)),
            _ => Ok(heard),
        }
    }

    /// Keeps all sockets connected, until the resolver is closed.
    fn keep_connected(&self) {
        while let Some(follows) = self.next_round() {
            let names: BTreeSet<&str> = follows.iter().map(|(name, _)| &**name).collect();
            let mut is_anyone_alone = false;
            for name in names {
                let inquiry = Inquiry::Resolve(name.to_owned());
                let heard = self.ask(&inquiry, self.interval).unwrap_or_default();
                // Only whoever has asked a few times knows that somebody is not there.
                let is_grown = heard.iter().any(|(_, answer)| answer.survey >= GROWN);
                let live = union(heard.into_iter().map(|(_, answer)| answer));
                let named = follows.iter().filter(|(it, _)| it == name);
                for follow in named.filter_map(|(_, follow)| follow.upgrade()) {
                    is_anyone_alone |= self.connect(&follow, &live, is_grown) == 0;
                }
            }
            // Whoever has nobody should not wait long for the first.
            self.pause(if is_anyone_alone { self.interval / 4 } else { self.interval });
        }
    }

    /// The sockets to be kept connected and the names for it, once there are any; `None`: no longer. They are
    /// the program's to keep open.
    fn next_round(&self) -> Option<Vec<(String, Weak<Follow>)>> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return None;
            }
            if !state.follows.is_empty() {
                state.has_new = false;
                let named = |follow: &Arc<Follow>| (follow.name.clone(), Arc::downgrade(follow));
                return Some(state.follows.iter().map(named).collect());
            }
            state = time::wait(&self.news, &self.state, state, None);
        }
    }

    fn pause(&self, pause: Duration) {
        let until = time::now().checked_add(pause);
        let mut state = self.state.lock();
        while !state.closed && !state.has_new && until.is_none_or(|until| time::now() < until) {
            state = time::wait(&self.news, &self.state, state, until);
        }
    }

    /// Connects a socket to these services, and from others if `is_all`. Returns to how many it is connected.
    fn connect(&self, follow: &Follow, live: &[Service], is_all: bool) -> usize {
        let mut connected = std::mem::take(&mut *follow.connected.lock());
        if is_all {
            let live: BTreeSet<Identity> = live.iter().map(Service::identity).collect();
            connected.retain(|identity, (_, endpoint)| {
                let stays = live.contains(identity);
                if !stays {
                    // It has been closed with its socket, if it fails.
                    let _ = endpoint.close();
                }
                stays
            });
        }
        for service in live.iter().filter(|service| service.name() == follow.name) {
            let identity = service.identity();
            if let Some((known, _)) = connected.get_mut(&identity) {
                known.clone_from(service);
                continue;
            }
            let (Some(address), Some(priority)) =
                (self.here.address(service), self.priority(service))
            else {
                continue;
            };
            match follow.socket.connect_with(address, &follow.options(priority)) {
                Ok(endpoint) => {
                    connected.insert(identity, (service.clone(), endpoint));
                }
                Err(error) => {
                    let socket = follow.socket.name();
                    contain::record!(
                        Warn,
                        { socket: socket, endpoint: address, reason: error },
                        "{socket}: cannot connect to {service}: {error}"
                    );
                }
            }
        }
        let count = connected.len();
        *follow.connected.lock() = connected;
        count
    }

    fn priority(&self, service: &Service) -> Option<u8> {
        let Some(priority) = &self.priority else {
            return PRIORITIES.get(usize::from(self.here.distance(service))).copied();
        };
        let mut chosen = None;
        contain::contain("the priority of a service", || chosen = priority(service));
        chosen.map(|priority| priority.clamp(1, 16))
    }
}

impl RegistryClient {
    /// Whether it is worth while to wait for it: it is connected, and has answered, if late, what it was asked
    /// last.
    fn is_expected_to_answer(&self) -> bool {
        let mut late = self.late.lock();
        if late.as_ref().is_some_and(|context| context.try_recv().is_err()) {
            return false;
        }
        *late = None;
        self.req.stats().current_connections > 0
    }

    /// Notes that it has not answered. Of several requests it keeps the first.
    fn on_silence(&self, context: ReqContext, error: &RecvError) {
        if matches!(error, RecvError::TimedOut(_)) {
            self.late.lock().get_or_insert(context);
        }
    }
}

fn left(until: Option<Instant>) -> Duration {
    until.map_or(Duration::MAX, |until| until.saturating_duration_since(time::now()))
}

impl Here {
    /// 0: on this host; 1: in this zone; 2: elsewhere, or nobody knows.
    fn distance(&self, service: &Service) -> u8 {
        let is_same = |key, own: &Option<String>| {
            own.as_deref().is_some_and(|own| service.metadata(key) == Some(own))
        };
        if is_same("host", &self.host) {
            0
        } else if is_same("zone", &self.zone) {
            1
        } else {
            2
        }
    }

    /// The address to connect to: on this host a file that is there, elsewhere the first that leads there.
    fn address<'s>(&self, service: &'s Service) -> Option<&'s str> {
        let mut addresses = service.addresses().iter().map(String::as_str);
        let file = |address: &str| {
            address.strip_prefix("ipc://").is_some_and(|path| Path::new(path).exists())
        };
        let near = addresses.clone().find(|address| self.distance(service) == 0 && file(address));
        near.or_else(|| addresses.find(|address| !address.starts_with("ipc://")))
    }
}

/// A socket that a resolver keeps connected.
struct Follow {
    name: String,
    socket: Box<dyn AnySocket>,
    /// Whether its role has these options.
    sends_by_priority: bool,
    receives_by_priority: bool,
    connected: Mutex<Connected>,
}

impl Follow {
    fn options(&self, priority: u8) -> EndpointOptions {
        let mut options = EndpointOptions::new();
        if self.sends_by_priority {
            options = options.send_priority(priority);
        }
        if self.receives_by_priority {
            options = options.recv_priority(priority);
        }
        options
    }
}

/// The services that a socket is connected to.
type Connected = BTreeMap<Identity, (Service, Endpoint)>;

/// A socket that is kept connected to all live services of a name: made by [`Resolver::req`],
/// [`Resolver::sub`] and [`Resolver::found`].
///
/// It derefs to the socket. A service that dies is left, and requests that it had go to another. While no
/// registry answers, connections stay as they are. A registry that has just been started does not end any:
/// it may not know all services yet.
///
/// Cloning it makes another handle. When the last one is dropped, connections of the socket, if the program has
/// another handle of that, stay as they are from then on. Keeps the resolver going.
pub struct Found<R: Role> {
    socket: Socket<R>,
    kept: Arc<Kept>,
}

struct Kept {
    follow: Arc<Follow>,
    resolver: Arc<Running<Shared>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        let mut state = self.resolver.state.lock();
        let removed = state.follows.iter().position(|it| Arc::ptr_eq(it, &self.follow));
        let removed = removed.map(|at| state.follows.swap_remove(at));
        drop(state);
        drop(removed); // perhaps the last handle of the socket, with no lock held
    }
}

impl<R: Role> Found<R> {
    /// The services that the socket is connected to, or is connecting to.
    pub fn services(&self) -> Vec<Service> {
        let connected = self.kept.follow.connected.lock();
        connected.values().map(|(service, _)| service.clone()).collect()
    }

    /// The socket.
    pub fn socket(&self) -> &Socket<R> {
        &self.socket
    }
}

impl<R: Role> Clone for Found<R> {
    fn clone(&self) -> Self {
        Self { socket: self.socket.clone(), kept: Arc::clone(&self.kept) }
    }
}

impl<R: Role> Deref for Found<R> {
    type Target = Socket<R>;

    fn deref(&self) -> &Socket<R> {
        &self.socket
    }
}

impl<R: Role> fmt::Debug for Found<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Found")
            .field("name", &self.kept.follow.name)
            .field("services", &self.services())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let registries: Vec<&str> = self.shared.registries.iter().map(|it| &*it.url).collect();
        f.debug_struct("Resolver").field("registries", &registries).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_services_come_first_and_a_file_is_for_those_on_this_host() {
        let here = Here { host: Some("a".to_owned()), zone: Some("eu".to_owned()) };
        let service = || Service::new("x", "ipc:///no/such/file").with_address("tcp://b:1");
        assert_eq!(here.distance(&service()), 2);
        assert_eq!(here.distance(&service().with("zone", "eu").with("host", "b")), 1);
        assert_eq!(here.distance(&service().with("zone", "us").with("host", "a")), 0);
        let file =
            Service::new("x", "ipc:///proc/self").with_address("tcp://b:1").with("host", "a");
        assert_eq!(here.address(&service().with("host", "a")), Some("tcp://b:1"));
        if Path::new("/proc/self").exists() {
            assert_eq!(here.address(&file), Some("ipc:///proc/self"));
        }
        assert_eq!(here.address(&file.with("host", "b")), Some("tcp://b:1"));
        assert_eq!(here.address(&Service::new("x", "ipc:///no/such/file")), None);
    }

    #[test]
    fn the_environment_names_the_registries() {
        let lookup = |name: &str| match name {
            "SINEW_RESOLVE_URL" => Some("tcp://a:1,tcp://b:2".to_owned()),
            "SINEW_ZONE" => Some("eu".to_owned()),
            _ => None,
        };
        let builder = Resolver::builder().zone("us").take_over(&lookup).unwrap();
        assert_eq!(builder.registries, ["tcp://a:1", "tcp://b:2"]);
        assert_eq!(builder.zone.as_deref(), Some("eu"));
        assert_eq!(builder.interval, Duration::from_secs(1));
    }
}
