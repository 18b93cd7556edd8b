//! Why nothing happens: what the tool says on standard error while nobody is connected, what it says of
//! messages that were too long, and what stands beside a time-out.
//!
//! Owns the thread that looks at the endpoints and the events of a socket. A script sees nothing of it:
//! who waits is told on a terminal, or when asked for.

use std::collections::HashMap;
use std::io::{self, IsTerminal};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use sinew::{DetachReason, Endpoint, EndpointId, EndpointState, Events, PipeEvent, PipeEventKind};

use crate::failure::{self, Failure};

/// How long nobody is connected before that is told.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often is looked.
const TICK: Duration = Duration::from_millis(50);

/// What is told on standard error.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tells {
    /// Why nobody is connected.
    pub(crate) waiting: bool,
    /// Who comes and goes.
    pub(crate) peers: bool,
    /// What was dropped because it was too long.
    pub(crate) dropped: bool,
    /// The option that raises the limit on what is received, where there is one.
    pub(crate) limit_option: Option<&'static str>,
}

impl Tells {
    /// On a terminal, why it waits; anywhere, what was dropped.
    pub(crate) fn by_default() -> Self {
        Self { waiting: io::stderr().is_terminal(), dropped: true, ..Self::NOTHING }
    }

    pub(crate) const NOTHING: Self =
        Self { waiting: false, peers: false, dropped: false, limit_option: None };
}

/// The watch over one socket, until it is dropped.
#[derive(Debug)]
pub(crate) struct Watch(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    look: Mutex<Look>,
    ended: Condvar,
}

#[derive(Debug)]
struct Look {
    tells: Tells,
    events: Events,
    endpoints: Vec<Endpoint>,
    /// Since when nobody was there.
    alone_since: Option<Instant>,
    /// Whether the last look saw anybody. One that is turned away is there for a moment only.
    seen: bool,
    /// What was told of each endpoint last; nothing while all is well.
    told: HashMap<EndpointId, String>,
    ended: bool,
}

impl Watch {
    /// Over a socket that has these events.
    pub(crate) fn over(events: Events, tells: Tells) -> Self {
        let look = Look {
            tells,
            events,
            endpoints: Vec::new(),
            alone_since: None,
            seen: false,
            told: HashMap::new(),
            ended: false,
        };
        let shared = Arc::new(Shared { look: Mutex::new(look), ended: Condvar::new() });
        let Tells { waiting, peers, dropped, .. } = tells;
        if waiting || peers || dropped {
            let watching = Arc::clone(&shared);
            thread::spawn(move || watching.watch());
        }
        Self(shared)
    }

    /// Looks at one endpoint more.
    pub(crate) fn add(&self, endpoint: Endpoint) {
        self.0.lock().endpoints.push(endpoint);
    }

    /// Says beside a time-out how the endpoints stand.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let why = || {
            let look = self.0.lock();
            look.endpoints.iter().map(standing).collect::<Vec<_>>().join("; ")
        };
        match failure {
            Failure::TimedOut(what) => Failure::TimedOut(format!("{what}; {}", why())),
            Failure::Late(what) => Failure::Late(format!("{what}; {}", why())),
            failure => failure,
        }
    }
}

/// Tells what has happened until now.
impl Drop for Watch {
    fn drop(&mut self) {
        let mut look = self.0.lock();
        look.ended = true;
        look.tell_events();
        self.0.ended.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn watch(&self) {
        let mut look = self.lock();
        while !look.ended {
            look.tell_events();
            look.tell_waiting();
            let waited = self.ended.wait_timeout(look, TICK);
            look = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
    }
}

impl Look {
    fn tell_events(&self) {
        while let Ok(event) = self.events.try_recv() {
            self.tell_event(&event);
        }
    }

    fn tell_event(&self, PipeEvent { kind, peer, .. }: &PipeEvent) {
        match kind {
            PipeEventKind::Detached(DetachReason::Oversize { announced, limit })
                if self.tells.dropped =>
            {
                let see = self.tells.limit_option;
                let see = see.map(|option| format!(" (see {option})")).unwrap_or_default();
                failure::tell(format_args!(
                    "dropped: a message of {announced} bytes from {peer}, the limit is {limit} bytes{see}"
                ));
            }
            PipeEventKind::Attached if self.tells.peers => {
                failure::tell(format_args!("connected: {peer}"));
            }
            PipeEventKind::Detached(reason) if self.tells.peers => {
                failure::tell(format_args!("gone: {peer}: {reason}"));
            }
            _ => (),
        }
    }

    fn tell_waiting(&mut self) {
        if !self.tells.waiting || !self.is_stuck() {
            return;
        }
        for endpoint in &self.endpoints {
            let now = standing(endpoint);
            if self.told.get(&endpoint.id()) != Some(&now) {
                failure::tell(&now);
                self.told.insert(endpoint.id(), now);
            }
        }
        if self.seen {
            self.told.clear();
        }
    }

    /// Whether nobody has been there for long enough, or was until now.
    fn is_stuck(&mut self) -> bool {
        let now = Instant::now();
        let somebody = self.endpoints.iter().any(|endpoint| endpoint.status().peers > 0);
        let stays = somebody && self.seen;
        self.seen = somebody;
        match self.alone_since {
            _ if self.endpoints.is_empty() => false,
            Some(_) if stays => {
                self.alone_since = None;
                !self.told.is_empty()
            }
            Some(since) => !somebody && now.duration_since(since) >= PATIENCE,
            None => {
                self.alone_since = (!somebody).then_some(now);
                false
            }
        }
    }
}

/// How an endpoint stands. How often it has tried is no news.
fn standing(endpoint: &Endpoint) -> String {
    let (url, status) = (endpoint.url(), endpoint.status());
    let why = status.last_error.map(|error| format!(": {error}")).unwrap_or_default();
    match (status.state, status.peers) {
        (EndpointState::Closed, _) => format!("{url} is closed"),
        (EndpointState::Listening, 0) => format!("nobody is connected at {url}{why}"),
        (EndpointState::Listening, 1) => format!("one peer is connected at {url}"),
        (EndpointState::Listening, peers) => format!("{peers} peers are connected at {url}"),
        (_, 0) if why.is_empty() => format!("still connecting to {url}"),
        (_, 0) => format!("not connected to {url}{why}"),
        (_, _) => format!("connected to {url}"),
    }
}
