//! inproc: joins two sockets of one process.
//!
//! Owns the process-wide table of names. A message passes no stream and no event loop: the two sockets' pipes
//! share two rings, and each end consumes what the other produces. Names are compared byte for byte. A dialer
//! whose name is not bound yet waits here, and the thread that binds the name joins it. An event loop is
//! needed only to try again after a loss or a rejection.

use std::collections::HashMap;
use std::time::Instant;

use crate::address::Address;
use crate::detach::DetachReason;
use crate::error::{AddressError, AttemptError, BindError, HeaderError};
use crate::io::{Backoff, Command, Mailbox, Retry, after};
use crate::options::EndpointSettings;
use crate::peer::{EndpointId, StreamPeer};
use crate::pipe::endpoint::{Control, EndpointCore};
use crate::pipe::{self, FarEnd, FarSocket, Host, Intake, NewPipe, PipeLease, Postponed};
use crate::random;
use crate::ring::{self, Bounds, Producer, RingRef};
use crate::stats::DropReason;
use crate::sync::mpsc::{self, Receiver, SyncSender};
use crate::sync::{Arc, Mutex, OnceLock, Rank, Weak};
use crate::sys::PerProcess;
use crate::time;
use crate::wire::Framing;

/// The longest name. Longer ones are refused, never cut (`docs/spec/wire.md`, section 5).
const LONGEST: usize = 127;

static NAMES: PerProcess<Mutex<HashMap<String, Name>>> =
    PerProcess::new(|| Mutex::new(Rank::InprocNames, HashMap::new()));

/// What is known of one name.
#[derive(Debug, Default)]
struct Name {
    listener: Option<Listener>,
    /// Dialers that wait for the name to be bound.
    waiting: Vec<Weak<Dialer>>,
}

/// The socket that is bound to a name.
#[derive(Clone, Debug)]
struct Listener {
    host: Weak<dyn Host>,
    endpoint: Arc<EndpointCore>,
}

/// The name in an inproc address.
pub(crate) fn name(address: &Address) -> Result<String, AddressError> {
    match address.after_scheme() {
        "" => Err(address.bad_path("", "the inproc name is empty")),
        name if name.len() > LONGEST => Err(address.too_long(name, LONGEST)),
        name => Ok(name.to_owned()),
    }
}

/// Binds an endpoint to a name, and joins the dialers that wait for it.
pub(crate) fn bind(
    name: &str,
    host: Weak<dyn Host>,
    endpoint: &Arc<EndpointCore>,
) -> Result<(), BindError> {
    let waiting = {
        let mut names = NAMES.get().lock();
        let entry = names.entry(name.to_owned()).or_default();
        if entry.listener.is_some() {
            return Err(BindError::AddressInUse { url: endpoint.url() });
        }
        entry.listener = Some(Listener { host, endpoint: Arc::clone(endpoint) });
        std::mem::take(&mut entry.waiting)
    };
    for dialer in waiting.iter().filter_map(Weak::upgrade) {
        Dialer::attempt(&dialer);
    }
    Ok(())
}

/// The control of an endpoint that is bound to this name.
#[derive(Debug)]
pub(crate) struct Bound(pub(crate) String);

impl Control for Bound {
    /// Frees the name.
    fn stop(&self, endpoint: EndpointId) {
        let Self(name) = self;
        let mut names = NAMES.get().lock();
        let Some(entry) = names.get_mut(name) else { return };
        if entry.listener.as_ref().is_some_and(|listener| listener.endpoint.id == endpoint) {
            entry.listener = None;
        }
        forget_if_unused(&mut names, name);
    }

    fn is_inproc(&self) -> bool {
        true
    }
}

fn forget_if_unused(names: &mut HashMap<String, Name>, name: &str) {
    if let Some(entry) = names.get_mut(name) {
        entry.waiting.retain(|dialer| dialer.strong_count() > 0);
        if entry.listener.is_none() && entry.waiting.is_empty() {
            names.remove(name);
        }
    }
}

/// Keeps one endpoint connected to a name.
#[derive(Debug)]
pub(crate) struct Dialer {
    name: String,
    host: Weak<dyn Host>,
    mailbox: Arc<Mailbox>,
    endpoint: OnceLock<Weak<EndpointCore>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    phase: Phase,
    backoff: Backoff,
    /// The call that waits for the outcome of the only attempt.
    once: Option<SyncSender<Result<(), AttemptError>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Apart,
    Joined,
    Stopped,
}

/// The outcome of an attempt that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Joining {
    /// It is joined, by this attempt or another, or has been stopped.
    Joined,
    /// Nobody is bound to the name.
    Waiting,
    /// The socket that is bound to it takes in no new pipe now, and will tell when it does.
    PutOff,
}

impl Dialer {
    pub(crate) fn new(
        name: String,
        host: Weak<dyn Host>,
        mailbox: Arc<Mailbox>,
        settings: &EndpointSettings,
    ) -> Arc<Self> {
        let state = State { phase: Phase::Apart, backoff: Backoff::new(settings), once: None };
        let state = Mutex::new(Rank::InprocDialer, state);
        Arc::new(Self { name, host, mailbox, endpoint: OnceLock::new(), state })
    }

    /// Sets the endpoint that it works for. Call it once, before the first attempt.
    pub(crate) fn serve(&self, endpoint: &Arc<EndpointCore>) {
        let _ = self.endpoint.set(Arc::downgrade(endpoint));
    }

    /// Tries to join, and arranges another attempt if that fails.
    pub(crate) fn attempt(this: &Arc<Self>) {
        let is_only = this.state.lock().once.is_some();
        match (this.join(!is_only), is_only) {
            (Ok(Joining::PutOff), _) | (Ok(Joining::Waiting), false) => {}
            (Ok(Joining::Joined), _) => this.tell(Ok(())),
            (Ok(Joining::Waiting), true) => this.fail(AttemptError::Refused),
            (Err(error), true) => this.fail(error),
            (Err(error), false) => {
                this.note(error);
                this.schedule();
            }
        }
    }

    /// Tries to join, once. The outcome comes when the other socket takes in new pipes, usually at once; none
    /// comes if the dialer is stopped.
    pub(crate) fn attempt_once(this: &Arc<Self>) -> Receiver<Result<(), AttemptError>> {
        let (sender, outcome) = mpsc::sync_channel(1);
        this.state.lock().once = Some(sender);
        Self::attempt(this);
        outcome
    }

    /// Makes the event loop try again when a socket takes in new pipes.
    fn postponed(self: &Arc<Self>) -> Postponed {
        let this = Arc::downgrade(self);
        Postponed::new(move || {
            if let Some(this) = this.upgrade() {
                this.try_again_at(time::now());
            }
        })
    }

    /// Makes the event loop try again at this time.
    fn try_again_at(self: &Arc<Self>, at: Instant) {
        let this = Arc::downgrade(self);
        self.mailbox.post(Command::Retry(this, at));
    }

    /// Ends the wait for the only attempt.
    pub(crate) fn give_up(&self, error: &AttemptError) {
        // Any other error was noted when it came.
        if let AttemptError::HandshakeTimedOut(_) = error {
            self.note(error.clone());
        }
    }

    /// Reports that the only attempt has failed.
    fn fail(&self, error: AttemptError) {
        self.note(error.clone());
        self.tell(Err(error));
    }

    /// Reports the outcome of the only attempt.
    fn tell(&self, outcome: Result<(), AttemptError>) {
        let once = self.state.lock().once.take();
        if let Some(once) = once {
            // The caller may have given up.
            let _ = once.try_send(outcome);
        }
    }

    /// Joins the socket that is bound to the name. If there is none, queues for it if `wait` says so.
    fn join(self: &Arc<Self>, wait: bool) -> Result<Joining, AttemptError> {
        let endpoint = self.endpoint.get().and_then(Weak::upgrade).ok_or(AttemptError::Closed)?;
        if !self.ask_to_join() {
            return Ok(Joining::PutOff);
        }
        if !self.change(Phase::Apart, Phase::Joined) {
            return Ok(Joining::Joined);
        }
        endpoint.connecting();
        let Some(listener) = self.find(wait) else {
            return Ok(Joining::Waiting);
        };
        match join(self, &endpoint, &listener) {
            Ok(()) => {
                self.state.lock().backoff.reset();
                Ok(Joining::Joined)
            }
            Err(error) => {
                self.change(Phase::Joined, Phase::Apart);
                Err(error)
            }
        }
    }

    /// Whether the socket that is bound to the name may take in a new pipe now. If not, it tells when it does,
    /// perhaps at once, so this runs before the attempt begins.
    fn ask_to_join(self: &Arc<Self>) -> bool {
        let listener = NAMES.get().lock().get(&self.name).and_then(|entry| entry.listener.clone());
        let host = listener.and_then(|listener| listener.host.upgrade());
        let postponed = self.postponed();
        self.state.lock().phase != Phase::Apart
            || host.is_none_or(|host| host.intake(postponed) != Intake::Shut)
    }

    /// Returns the socket that is bound to the name. `None`: this attempt is over; if `wait` says so, the
    /// thread that binds the name makes the next one.
    fn find(self: &Arc<Self>, wait: bool) -> Option<Listener> {
        let mut names = NAMES.get().lock();
        let listener = names.get(&self.name).and_then(|entry| entry.listener.clone());
        // A dialer that has been stopped must not queue again.
        if listener.is_none() && self.change(Phase::Joined, Phase::Apart) && wait {
            names.entry(self.name.clone()).or_default().waiting.push(Arc::downgrade(self));
        }
        listener
    }

    /// Changes the phase, if it is `from`; says whether it was.
    fn change(&self, from: Phase, to: Phase) -> bool {
        let mut state = self.state.lock();
        let is_there = state.phase == from;
        if is_there {
            state.phase = to;
        }
        is_there
    }

    fn note(&self, error: AttemptError) {
        if let Some(host) = self.host.upgrade() {
            host.counters().connect_errors.bump();
            let endpoint = self.endpoint.get().and_then(Weak::upgrade);
            let is_waited_for = self.state.lock().once.is_some();
            let is_news =
                !is_waited_for && endpoint.is_some_and(|endpoint| endpoint.begins_to_fail());
            let (socket, name) = (host.name(), &self.name);
            crate::contain::record!(
                crate::contain::level_of(is_news),
                { socket: socket, endpoint: format_args!("inproc://{name}"), reason: error },
                "{socket}: connect to inproc://{name}: {error}"
            );
        }
        if let Some(endpoint) = self.endpoint.get().and_then(Weak::upgrade) {
            endpoint.failed(error);
        }
    }

    fn schedule(self: &Arc<Self>) {
        // A system call, and so made before the lock is taken.
        let random = random::number();
        let wait = self.state.lock().backoff.next_with(random);
        let at = after(time::now(), wait);
        if let Some(endpoint) = self.endpoint.get().and_then(Weak::upgrade) {
            endpoint.waits_until(at);
        }
        self.try_again_at(at);
    }
}

impl Retry for Dialer {
    /// Whether an attempt would call an `admit` callback, here or at the other end.
    fn asks(&self) -> bool {
        let listener = NAMES.get().lock().get(&self.name).and_then(|entry| entry.listener.clone());
        let ends = [Some(&self.host), listener.as_ref().map(|listener| &listener.host)];
        ends.into_iter().flatten().filter_map(Weak::upgrade).any(|host| host.asks())
    }

    /// Tries again, as soon as its own socket takes in new pipes.
    fn retry(self: Arc<Self>) {
        let postponed = self.postponed();
        let host = self.host.upgrade();
        if host.is_some_and(|host| host.intake(postponed) != Intake::Shut) {
            Self::attempt(&self);
        }
    }
}

impl Control for Arc<Dialer> {
    /// Ends all attempts.
    fn stop(&self, _endpoint: EndpointId) {
        {
            let mut state = self.state.lock();
            (state.phase, state.once) = (Phase::Stopped, None);
        }
        let mut names = NAMES.get().lock();
        if let Some(entry) = names.get_mut(&self.name) {
            entry.waiting.retain(|dialer| !std::ptr::eq(dialer.as_ptr(), Self::as_ptr(self)));
        }
        forget_if_unused(&mut names, &self.name);
    }

    fn is_inproc(&self) -> bool {
        true
    }

    fn pipe_lost(&self, endpoint: &EndpointCore) {
        endpoint.note_success();
        if self.change(Phase::Joined, Phase::Apart) {
            self.schedule();
        }
    }
}

/// One of the two sockets being joined.
struct End<'a> {
    host: Arc<dyn Host>,
    endpoint: &'a Arc<EndpointCore>,
    lease: PipeLease,
}

impl<'a> End<'a> {
    fn new(host: &Weak<dyn Host>, endpoint: &'a Arc<EndpointCore>) -> Option<Self> {
        Some(Self { host: host.upgrade()?, endpoint, lease: PipeLease::new() })
    }

    fn far_end(&self) -> FarEnd {
        FarEnd::Socket(Arc::new(FarSocket {
            host: Arc::downgrade(&self.host),
            bell: Arc::clone(self.host.bell()),
            pipe: self.lease.id(),
        }))
    }

    fn offer(self, far: FarEnd, send: Producer, recv: &RingRef) -> Result<(), DetachReason> {
        let protocol = self.host.identity().1;
        let url = self.endpoint.url();
        let peer = self.endpoint.peer(self.lease.id(), protocol, StreamPeer::new(url.clone(), url));
        self.host.announce(&peer, self.endpoint)?;
        if !self.host.admits(&peer) {
            self.host.turn_away(&peer, DetachReason::Denied);
            return Err(DetachReason::Denied);
        }
        self.host.attach(NewPipe {
            lease: self.lease,
            peer,
            send,
            recv: recv.clone(),
            far,
            endpoint: Arc::clone(self.endpoint),
        })
    }
}

/// Makes the pipe between two sockets.
fn join(
    dialer: &Dialer,
    endpoint: &Arc<EndpointCore>,
    listener: &Listener,
) -> Result<(), AttemptError> {
    let near = End::new(&dialer.host, endpoint).ok_or(AttemptError::Closed)?;
    let far = End::new(&listener.host, &listener.endpoint).ok_or(AttemptError::Refused)?;
    let ((near_id, expected), (announced, wanted)) = (near.host.identity(), far.host.identity());
    if expected != announced || wanted != near_id {
        let error = HeaderError::Peer { expected: wanted, announced: near_id };
        let error = AttemptError::Protocol(error);
        // Before it is counted: who sees the count may ask for the error.
        listener.endpoint.failed(error.clone());
        far.host.counters().handshake_errors.bump();
        let (name, place) = (far.host.name(), listener.endpoint.url());
        let is_news = listener.endpoint.meets_first_misfit();
        crate::contain::record!(
            crate::contain::level_of(is_news),
            { socket: name, endpoint: place, peer: place, reason: error },
            "{name}: no pipe with {place}: {error}"
        );
        return Err(AttemptError::Protocol(HeaderError::Peer { expected, announced }));
    }
    let (send_forth, forth) = between(&near, &far);
    let (send_back, back) = between(&far, &near);
    let (near_far, far_far) = (near.far_end(), far.far_end());
    let (near_host, near_pipe) = (Arc::clone(&near.host), near.lease.id());
    let (far_host, far_pipe) = (Arc::clone(&far.host), far.lease.id());
    let turned_away = AttemptError::TurnedAway { peer: announced, greeted: true };
    far.offer(near_far, send_back, &forth).map_err(|_| turned_away)?;
    near.offer(far_far, send_forth, &back).map_err(|_| {
        far_host.detach(far_pipe, DetachReason::PeerClosed);
        // Messages that the far end has sent meanwhile are ours to drop.
        back.close();
        let unread = pipe::discard(&back);
        near_host.counters().copies_turned_away.add(unread);
        near_host.counters().dropped(DropReason::ClosedUnread, unread);
        AttemptError::Rejected
    })?;
    // If the far end left before the near end was there to be told, it has at least closed its ring.
    if back.is_closed() {
        near_host.detach(near_pipe, DetachReason::PeerClosed);
    }
    Ok(())
}

/// Makes the ring from `from` to `to`: the send queue of one and the receive queue of the other, as large as
/// both together.
fn between(from: &End<'_>, to: &End<'_>) -> (Producer, RingRef) {
    let (send, recv) = (from.host.bounds(from.endpoint).0, to.host.bounds(to.endpoint).1);
    let bounds = Bounds {
        messages: send.messages.saturating_add(recv.messages),
        bytes: send.bytes.saturating_add(recv.bytes),
    };
    ring::new(Framing::Length, bounds)
}
