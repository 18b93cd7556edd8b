//! Endpoints: what the program's handle, the socket and the event loop share about one.
//!
//! Owns the status of an endpoint, which the event loop updates and the program reads. Establishes nothing: see
//! `establish.rs` and `io`.

use std::fmt;
use std::time::Instant;

use super::Host;
use super::recv_limit::RecvLimit;
use crate::error::{AttemptError, Closed};
use crate::message::PipeId;
use crate::options::EndpointSettings;
use crate::peer::{EndpointId, EndpointState, EndpointStatus, Peer, StreamPeer};
use crate::protocol_id::ProtocolId;
use crate::sync::{Arc, AtomicBool, AtomicUsize, Mutex, Ordering, Rank, Weak};
use crate::sys::Origin;
use crate::time;

/// One address a socket is bound to or connects to, or a connection that it was [given](crate::Socket::adopt).
///
/// A handle: dropping it changes nothing, the endpoint lives as long as its socket or until
/// [`close`](Self::close).
#[derive(Clone)]
pub struct Endpoint {
    pub(crate) core: Arc<EndpointCore>,
}

impl Endpoint {
    /// The address that others connect to, with the real port if port 0 was bound.
    ///
    /// A relative ipc path stays as it was given, relative to the working directory at the time of the call.
    pub fn url(&self) -> String {
        self.core.url()
    }

    /// The endpoint's number, as found in [`Peer`].
    pub fn id(&self) -> EndpointId {
        self.core.id
    }

    /// Whether it accepts connections (`true`, made by `bind`) or not (`false`, made by `connect` or `adopt`).
    pub fn is_listening(&self) -> bool {
        self.core.listening
    }

    /// The status now: whether it is connected, and if not, why. Also after close.
    ///
    /// It may be out of date when it is read, since the next attempt may be under way. For a bound ipc endpoint
    /// each call asks the system whether the socket file is still there.
    pub fn status(&self) -> EndpointStatus {
        if self.core.is_forked() {
            return EndpointStatus::initial(EndpointState::Closed);
        }
        self.core.status()
    }

    /// Closes the endpoint and the pipes that it has made; the socket's other endpoints go on.
    ///
    /// When this returns, the address can be bound again, an ipc file is gone, and no event of a new pipe
    /// comes any more. Queued messages are written as when a socket is closed: for up to 25 ms by this call,
    /// and by the event loop during [`Options::linger`](crate::Options::linger).
    ///
    /// Waits for an `accept` that is under way in another thread. If a logger closes the endpoint from a record
    /// written during an `accept`, the address is free when that `accept` is over.
    ///
    /// # Errors
    ///
    /// [`Closed`] if it was closed before.
    #[doc(alias(
        "nn_shutdown",
        "nng_listener_close",
        "nng_dialer_close",
        "zmq_unbind",
        "zmq_disconnect"
    ))]
    pub fn close(&self) -> Result<(), Closed> {
        if self.core.close() { Ok(()) } else { Err(Closed) }
    }
}

/// Writes the number, the direction, the address and the status.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({}, {self}: {})", self.id(), self.status())
    }
}

/// Writes the direction and the address: `bound to tcp://127.0.0.1:5555`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", does(self.is_listening()), self.url())
    }
}

/// What an endpoint does with its address.
pub(crate) fn does(listening: bool) -> &'static str {
    if listening { "bound to" } else { "connects to" }
}

/// What an endpoint's handle, its socket and the event loop share.
#[derive(Debug)]
pub(crate) struct EndpointCore {
    pub(crate) id: EndpointId,
    pub(crate) listening: bool,
    pub(crate) settings: EndpointSettings,
    /// The limit on the length of a received message.
    pub(crate) recv_limit: RecvLimit,
    /// The socket.
    pub(crate) host: Weak<dyn Host>,
    url: String,
    status: Mutex<EndpointStatus>,
    closed: AtomicBool,
    /// Whether its failure has been logged, and it has not worked since.
    failing: AtomicBool,
    /// How many of its connections wait for the peer's header.
    pub(crate) greeting: AtomicUsize,
    /// Whether a peer of the wrong protocol has been logged.
    misfit: AtomicBool,
    control: Box<dyn Control>,
    /// The process that made it.
    origin: Origin,
}

/// What listens or dials for an endpoint, over streams or inside the process.
///
/// Called when the program opens or closes endpoints or asks about them, and when a pipe is gone.
pub(crate) trait Control: fmt::Debug + Send + Sync {
    /// Stops accepting or connecting. Called once, with no lock held.
    fn stop(&self, endpoint: EndpointId);

    /// Whether all peers are in this process.
    fn is_inproc(&self) -> bool;

    /// The error if the file through which others connect is lost. Asks the system.
    fn file_loss(&self) -> Option<AttemptError> {
        None
    }

    /// Reports that a pipe of the endpoint is gone, and the endpoint still open. For controls that do not see
    /// it themselves.
    fn pipe_lost(&self, _endpoint: &EndpointCore) {}
}

impl EndpointCore {
    pub(crate) fn new(
        host: Weak<dyn Host>,
        url: String,
        listening: bool,
        settings: EndpointSettings,
        recv_limit: RecvLimit,
        control: Box<dyn Control>,
    ) -> Arc<Self> {
        let state = if listening { EndpointState::Listening } else { EndpointState::Connecting };
        let status = EndpointStatus::initial(state);
        Arc::new(Self {
            id: EndpointId::next(),
            listening,
            settings,
            recv_limit,
            host,
            url,
            status: Mutex::new(Rank::Endpoint, status),
            closed: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            greeting: AtomicUsize::new(0),
            misfit: AtomicBool::new(false),
            control,
            origin: Origin::now(),
        })
    }

    pub(crate) fn url(&self) -> String {
        self.url.clone()
    }

    /// The peer at the other end of a stream of this endpoint.
    pub(crate) fn peer(&self, pipe: PipeId, protocol: ProtocolId, ends: StreamPeer) -> Peer {
        Peer {
            pipe,
            endpoint: self.id,
            url: self.url(),
            outgoing: !self.listening,
            local: ends.local,
            remote: ends.remote,
            protocol,
            credentials: ends.credentials,
            identity: ends.identity,
            since: time::now(),
        }
    }

    fn status(&self) -> EndpointStatus {
        let mut status = self.status.lock().clone();
        if status.state == EndpointState::Listening {
            status.last_error = self.file_loss().or(status.last_error);
        }
        status
    }

    /// The error if the file through which others connect is lost. Asks the system, with no lock held.
    fn file_loss(&self) -> Option<AttemptError> {
        let loss = self.control.file_loss()?;
        // A closed endpoint has removed it itself.
        (!self.is_closed()).then_some(loss)
    }

    /// Whether all its peers are in this process.
    pub(crate) fn is_inproc(&self) -> bool {
        self.control.is_inproc()
    }

    /// Whether the endpoint belongs to an ancestor of this process.
    fn is_forked(&self) -> bool {
        self.origin.is_ancestral()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Stops accepting or connecting, but closes no pipe. `false`: it was stopped before.
    pub(crate) fn stop(&self) -> bool {
        if self.is_forked() || self.closed.swap(true, Ordering::AcqRel) {
            return false;
        }
        {
            let mut status = self.status.lock();
            status.state = EndpointState::Closed;
            status.next_attempt = None;
        }
        self.control.stop(self.id);
        true
    }

    /// Stops it, and closes its pipes. `false`: it was closed before.
    fn close(&self) -> bool {
        let stopped = self.stop();
        if stopped && let Some(host) = self.host.upgrade() {
            host.drop_endpoint(self.id);
        }
        stopped
    }

    /// Notes that its one connection is over, and so is the endpoint.
    pub(crate) fn on_connection_over(&self, failure: Option<AttemptError>) {
        if let Some(failure) = failure {
            self.failed(failure);
        }
        self.close();
    }

    /// Notes that an attempt begins.
    pub(crate) fn connecting(&self) {
        self.change(|status| {
            status.state = EndpointState::Connecting;
            status.attempts += 1;
            status.next_attempt = None;
        });
    }

    /// Notes that an attempt, or an accept, failed.
    pub(crate) fn failed(&self, error: AttemptError) {
        self.change(|status| status.last_error = Some(error));
    }

    /// Notes a failure. Says whether it is the first since the endpoint worked, to be logged at a higher level.
    pub(crate) fn begins_to_fail(&self) -> bool {
        !self.failing.swap(true, Ordering::Relaxed)
    }

    /// Notes that it has worked: the next failure is the first again.
    pub(crate) fn note_success(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    /// Whether it has as many pipes as it may have.
    pub(crate) fn has_too_many_peers(&self) -> bool {
        self.settings.max_peers.is_some_and(|most| self.status.lock().peers >= most)
    }

    /// Notes a peer of the wrong protocol. Says whether it is the first.
    pub(crate) fn meets_first_misfit(&self) -> bool {
        !self.misfit.swap(true, Ordering::Relaxed)
    }

    /// Notes when the next attempt is due.
    pub(crate) fn waits_until(&self, at: Instant) {
        self.change(|status| {
            status.state = EndpointState::Waiting;
            status.next_attempt = Some(at);
        });
    }

    /// Notes that the socket has accepted a pipe.
    pub(crate) fn on_pipe_there(&self) {
        self.change(|status| {
            status.peers += 1;
            if !self.listening {
                status.state = EndpointState::Connected;
                status.next_attempt = None;
            }
        });
    }

    /// Notes that a pipe is gone for the socket.
    pub(crate) fn on_pipe_gone(&self) {
        let mut status = self.status.lock();
        status.peers = status.peers.saturating_sub(1);
    }

    /// Tells the control that a pipe of this endpoint is gone. Called with no lock held.
    pub(crate) fn pipe_lost(&self) {
        if !self.is_closed() {
            self.control.pipe_lost(self);
        }
    }

    fn change(&self, change: impl FnOnce(&mut EndpointStatus)) {
        let mut status = self.status.lock();
        if status.state != EndpointState::Closed {
            change(&mut status);
        }
    }
}
