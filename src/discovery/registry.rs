//! The registry: a SURVEYOR that asks who is there, and a REP that tells who was.
//!
//! Owns the two threads, and the list that they share. How a list changes is in `table.rs`.

use std::fmt;
use std::time::{Duration, Instant};

use super::changes::{Change, ChangeKind, Changes, UnreadChanges};
use super::environment::{self, Lookup};
use super::table::{News, Table};
use super::wire::{Answer, Inquiry, MAX_TEXT, Service, WHO};
use super::{REQUESTS, SURVEYS, StartError, socket};
use crate::api::{Rep, Surveyor};
use crate::message::Message;
use crate::options::Options;
use crate::runtime::Runtime;
use crate::sync::{Arc, AtomicU64, Condvar, Mutex, Ordering, Rank, Weak};
use crate::threads::{self, Close, Running};
use crate::time;

/// Keep this many unread answers to a survey, so that many services may answer at once: as many as a queue may
/// hold.
const STORAGE: usize = 8192;

/// Keeps the list of live services by asking, again and again, who is there; and tells whoever asks.
///
/// A survey goes out every [`interval`](RegistryBuilder::interval) and waits for half of it. If a service on the
/// list has not answered by then, the next survey follows at once, and a service that has left both unanswered
/// is off the list: at most two intervals after it died, and not because of one answer that was late. A new
/// service is on the list with the first survey after it has connected.
///
/// Several registries may stand side by side. They need not know of each other: services announce themselves
/// to all, and a [`Resolver`](super::Resolver) asks all.
///
/// A handle: cloning it makes another of the same registry, and dropping the last one closes it. Two threads
/// work for it.
///
/// ```
/// use sinew::discovery::{Announcement, ChangeKind, Registry, Service};
///
/// let registry = Registry::builder().surveys("tcp://127.0.0.1:0").requests("tcp://127.0.0.1:0").start()?;
/// let clock = Service::new("clock", "tcp://10.0.0.7:7001");
/// let _announcement = Announcement::new(clock, registry.survey_urls())?;
/// let joined = registry.changes().recv()?;
/// assert!(matches!(joined.kind, ChangeKind::Joined(service) if service.name() == "clock"));
/// assert_eq!(registry.resolve("clock").len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Running<Shared>>,
}

struct Shared {
    surveyor: Surveyor,
    rep: Rep,
    interval: Duration,
    state: Mutex<State>,
    /// Notified when the registry is closed.
    closing: Condvar,
    /// How many answers were ignored.
    ignored: AtomicU64,
}

struct State {
    table: Table,
    listeners: Vec<Weak<UnreadChanges>>,
    closed: bool,
}

/// What a registry is made of: where it binds, and how often it asks.
#[derive(Clone, Debug)]
#[must_use = "a registry begins with `start`"]
pub struct RegistryBuilder {
    surveys: Vec<String>,
    requests: Vec<String>,
    interval: Duration,
    max_services: usize,
    runtime: Option<Runtime>,
}

impl RegistryBuilder {
    /// Adds an address where services connect. Default, if none is added: `tcp://0.0.0.0:7701`.
    pub fn surveys(mut self, url: impl Into<String>) -> Self {
        self.surveys.push(url.into());
        self
    }

    /// Adds an address where resolvers connect. Default, if none is added: `tcp://0.0.0.0:7702`.
    pub fn requests(mut self, url: impl Into<String>) -> Self {
        self.requests.push(url.into());
        self
    }

    /// How often it asks who is there. Above zero; default 1 s. A service that needs more than half of it to
    /// answer does not stay on the list.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// How many services may be on the list; others are ignored. Default 8192.
    pub fn max_services(mut self, most: usize) -> Self {
        self.max_services = most;
        self
    }

    /// On which runtime its sockets are. Default: the global one.
    pub fn on(mut self, runtime: &Runtime) -> Self {
        self.runtime = Some(runtime.clone());
        self
    }

    /// Takes over what the environment says: `SINEW_SURVEY_URL` and `SINEW_RESOLVE_URL`, each one or more
    /// addresses with commas between them, and `SINEW_INTERVAL` in milliseconds. What is not set stays as it
    /// is.
    ///
    /// # Errors
    ///
    /// [`StartError::Environment`]: a variable has a value that makes no sense.
    pub fn environment(self) -> Result<Self, StartError> {
        self.take_over(&environment::process)
    }

    pub(super) fn take_over(mut self, lookup: Lookup<'_>) -> Result<Self, StartError> {
        if let Some(urls) = environment::list(lookup, environment::SURVEY_URL)? {
            self.surveys = urls;
        }
        if let Some(urls) = environment::list(lookup, environment::RESOLVE_URL)? {
            self.requests = urls;
        }
        if let Some(interval) = environment::milliseconds(lookup, environment::INTERVAL)? {
            self.interval = interval;
        }
        Ok(self)
    }

    /// Binds, and begins to ask.
    ///
    /// # Errors
    ///
    /// An address cannot be bound, the interval is zero, or the system has no thread left. Nothing is left
    /// behind.
    pub fn start(self) -> Result<Registry, StartError> {
        let deadline = self.interval / 2;
        let options = Options::new().survey_deadline(deadline).survey_storage(STORAGE);
        let runtime = self.runtime.as_ref();
        let surveyor = socket(runtime, options.max_recv_size(MAX_TEXT))?;
        let rep = socket(runtime, Options::new().max_recv_size(MAX_TEXT))?;
        let or = |urls: Vec<String>, default: &str| match urls.is_empty() {
            true => vec![default.to_owned()],
            false => urls,
        };
        for url in or(self.surveys, SURVEYS) {
            surveyor.bind(&url).map_err(|error| StartError::Bind(url, error))?;
        }
        for url in or(self.requests, REQUESTS) {
            rep.bind(&url).map_err(|error| StartError::Bind(url, error))?;
        }
        let table = Table::new(self.max_services);
        let state = State { table, listeners: Vec::new(), closed: false };
        let shared = Arc::new(Shared {
            surveyor,
            rep,
            interval: self.interval,
            state: Mutex::new(Rank::Registry, state),
            closing: Condvar::new(),
            ignored: AtomicU64::new(0),
        });
        let registry = Registry { shared: Arc::new(Running(Arc::clone(&shared))) };
        let asking = Arc::clone(&shared);
        threads::spawn("sinew-surveys", move || asking.keep_asking())
            .map_err(StartError::Thread)?;
        threads::spawn("sinew-registry", move || shared.keep_answering())
            .map_err(StartError::Thread)?;
        Ok(registry)
    }
}

impl Registry {
    /// Begins a registry that asks once a second.
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder {
            surveys: Vec::new(),
            requests: Vec::new(),
            interval: Duration::from_secs(1),
            max_services: STORAGE,
            runtime: None,
        }
    }

    /// The addresses where services connect, with the ports that were found.
    pub fn survey_urls(&self) -> Vec<String> {
        self.shared.surveyor.endpoints().iter().map(|endpoint| endpoint.url()).collect()
    }

    /// The addresses where resolvers connect, with the ports that were found.
    pub fn request_urls(&self) -> Vec<String> {
        self.shared.rep.endpoints().iter().map(|endpoint| endpoint.url()).collect()
    }

    /// The live services of this name. None is no error.
    pub fn resolve(&self, name: &str) -> Vec<Service> {
        self.shared.state.lock().table.resolve(name).into_iter().cloned().collect()
    }

    /// All live services, by name.
    pub fn services(&self) -> Vec<Service> {
        self.shared.state.lock().table.services().cloned().collect()
    }

    /// How many services are alive.
    pub fn count(&self) -> usize {
        self.shared.state.lock().table.services().len()
    }

    /// The number of the survey that is under way, or was last. The first is 1.
    pub fn survey(&self) -> u64 {
        self.shared.state.lock().table.survey()
    }

    /// How many answers were ignored: they could not be read, or the list was full.
    pub fn ignored(&self) -> u64 {
        self.shared.ignored.load(Ordering::Relaxed)
    }

    /// Tells of everything that changes on the list. It begins with a `Joined` for each service that is on it.
    pub fn changes(&self) -> Changes {
        let mut state = self.shared.state.lock();
        let survey = state.table.survey();
        let there = state.table.services().cloned();
        let joined = there.map(|service| Change { survey, kind: ChangeKind::Joined(service) });
        let (changes, unread) = Changes::new(joined.collect(), state.closed);
        state.listeners.push(unread);
        changes
    }

    /// The socket that asks, to be inspected: who is connected, what is counted.
    pub fn surveyor(&self) -> &Surveyor {
        &self.shared.surveyor
    }

    /// The socket that tells, to be inspected.
    pub fn rep(&self) -> &Rep {
        &self.shared.rep
    }

    /// Closes the registry for all its handles. Its [`Changes`] end. Dropping the last handle does the same.
    /// Does nothing if it is closed.
    pub fn close(&self) {
        self.shared.close();
    }
}

impl Close for Shared {
    fn close(&self) {
        let listeners = {
            let mut state = self.state.lock();
            state.closed = true;
            std::mem::take(&mut state.listeners)
        };
        self.closing.notify_all();
        // Whoever has closed one before has had a reason to.
        let _ = self.surveyor.close();
        let _ = self.rep.close();
        for unread in listeners.iter().filter_map(Weak::upgrade) {
            unread.close();
            unread.wake();
        }
    }
}

impl Shared {
    /// One survey after the other, until it is closed.
    fn keep_asking(&self) {
        loop {
            let begun = time::now();
            self.state.lock().table.begin_survey();
            let Ok(survey) = self.surveyor.survey(WHO) else { return };
            for answer in survey {
                self.hear(&answer);
            }
            if self.surveyor.is_closed() {
                return; // it was cut short: silence means nothing
            }
            let is_missing = self.end_survey();
            if !is_missing && !self.pause_until(begun.checked_add(self.interval)) {
                return;
            }
        }
    }

    fn hear(&self, answer: &Message) {
        let read = Service::of_answer(answer);
        let told = self.change(|table| match read {
            Ok(service) => match table.answered(service.clone()) {
                News::Joined => vec![ChangeKind::Joined(service)],
                News::Changed => vec![ChangeKind::Changed(service)],
                News::NoRoom => vec![ChangeKind::NoRoom(service)],
                News::Nothing => Vec::new(),
            },
            Err(error) => vec![ChangeKind::Ignored(error)],
        });
        if told {
            self.ignored.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Ends the survey, and says whether a service that is still on the list has left it unanswered.
    fn end_survey(&self) -> bool {
        let mut is_missing = false;
        self.change(|table| {
            let (left, missing) = table.end_survey();
            is_missing = missing;
            left.into_iter().map(ChangeKind::Left).collect()
        });
        is_missing
    }

    /// Changes the table, and tells of what has changed. Says whether an answer was ignored.
    fn change(&self, act: impl FnOnce(&mut Table) -> Vec<ChangeKind>) -> bool {
        let mut told = Vec::new();
        let mut ignored = false;
        {
            let state = &mut *self.state.lock();
            let kinds = act(&mut state.table);
            let survey = state.table.survey();
            for kind in kinds {
                ignored |= matches!(kind, ChangeKind::Ignored(_) | ChangeKind::NoRoom(_));
                let change = Change { survey, kind };
                state.listeners.retain(|unread| {
                    let Some(unread) = unread.upgrade() else { return false };
                    unread.tell(&change);
                    told.push(unread);
                    true
                });
            }
        }
        told.iter().for_each(|unread| unread.wake());
        ignored
    }

    /// False: it is closed.
    fn pause_until(&self, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.closed && until.is_none_or(|until| time::now() < until) {
            state = time::wait(&self.closing, &self.state, state, until);
        }
        !state.closed
    }

    fn keep_answering(&self) {
        while let Ok(request) = self.rep.recv() {
            let answer = self.answer(&request);
            // It fails when the socket is closed, which ends the loop.
            let _ = request.reply(answer);
        }
    }

    fn answer(&self, request: &Message) -> String {
        match Inquiry::of(request) {
            Ok(Inquiry::List) => {
                let state = self.state.lock();
                Answer::to_text(state.table.survey(), state.table.services())
            }
            Ok(Inquiry::Resolve(name)) => {
                let state = self.state.lock();
                let live = state.table.resolve(&name);
                Answer::to_text(state.table.survey(), live.into_iter())
            }
            Err(error) => Answer::refusal(&error),
        }
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.shared.state.lock();
        f.debug_struct("Registry")
            .field("survey", &state.table.survey())
            .field("services", &state.table.services().len())
            .field("closed", &state.closed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_goes_before_what_the_program_has_set() {
        let lookup = |name: &str| match name {
            "SINEW_SURVEY_URL" => Some("tcp://a:1, tcp://b:2".to_owned()),
            "SINEW_INTERVAL" => Some("250".to_owned()),
            _ => None,
        };
        let builder = Registry::builder().surveys("tcp://c:3").requests("tcp://d:4");
        let builder = builder.take_over(&lookup).unwrap();
        assert_eq!(builder.surveys, ["tcp://a:1", "tcp://b:2"]);
        assert_eq!(builder.requests, ["tcp://d:4"]);
        assert_eq!(builder.interval, Duration::from_millis(250));
    }

    #[test]
    fn an_interval_of_zero_is_refused() {
        let zero = Registry::builder().interval(Duration::ZERO).start();
        assert!(matches!(zero, Err(StartError::Options(_))));
        let zero = |name: &str| (name == "SINEW_INTERVAL").then(|| "0".to_owned());
        assert!(matches!(
            Registry::builder().take_over(&zero),
            Err(StartError::Environment { .. })
        ));
    }

    #[test]
    fn a_request_that_makes_no_sense_is_refused_with_the_reason() {
        let registry = Registry::builder().surveys("inproc://refuse-surveys");
        let registry = registry.requests("inproc://refuse-requests").start().unwrap();
        let answer = registry.shared.answer(&Message::from("discovery/1 dance"));
        let refused = Answer::of(answer.as_bytes()).unwrap_err().to_string();
        assert!(refused.contains("\"dance\" is no request"), "{refused}");
        let answer = registry.shared.answer(&Message::from("discovery/9 list"));
        assert!(Answer::of(answer.as_bytes()).unwrap_err().to_string().contains("version 9"));
    }
}
