//! bind and connect: how endpoints are made.
//!
//! Owns the way from an address to an endpoint: finds the transport, checks the options, and tells the driver
//! what to do from then on. What goes wrong here is the error of the call.

use std::time::Duration;

use super::{Core, Entry};
use crate::address::Address;
use crate::error::{AttemptError, BindError, ConnectError, OptionError, RuntimeError};
use crate::inproc;
use crate::io::{Command, ListenerSlot, StreamControl, Way, after};
use crate::options::{EndpointOptions, EndpointSettings};
use crate::pipe::endpoint::{Endpoint, EndpointCore};
use crate::pipe::recv_limit::RecvLimit;
use crate::protocol::Protocol;
use crate::runtime::Runtime;
use crate::sync::mpsc::{self, RecvTimeoutError};
use crate::sync::{Arc, Ordering};
use crate::time;
use crate::transport::{GivenListener, GivenStream, INPROC, Listener};
use crate::wire::Framing;

/// What errors call a listener or a connection that is there already, and turns out to be none.
const GIVEN: &str = "what was given";

/// Whether a connect goes on in the background, or waits for one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    Background,
    Now,
}

impl<P: Protocol> Core<P> {
    pub(crate) fn bind(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, BindError> {
        self.try_bind(url, options).inspect_err(|error| self.bind_failed(url, error))
    }

    /// Accepts connections from a listener that is there already.
    pub(crate) fn bind_listener(
        &self,
        listener: GivenListener,
        options: &EndpointOptions,
    ) -> Result<Endpoint, BindError> {
        self.try_bind_listener(listener, options)
            .inspect_err(|error| self.bind_failed(GIVEN, error))
    }

    #[cfg_attr(not(feature = "tracing"), expect(unused_variables, reason = "a field of events"))]
    fn bind_failed(&self, url: &str, error: &BindError) {
        self.counters.bind_errors.bump();
        crate::contain::record!(
            Debug,
            { socket: self.name, endpoint: url, reason: error },
            "{}: {error}",
            self.name
        );
    }

    /// Checks that the socket can get another endpoint.
    fn check_usable<E: From<RuntimeError>>(&self, closed: E, forked: E) -> Result<(), E> {
        if self.is_lost() {
            return Err(RuntimeError::Lost.into());
        }
        if self.is_closed() {
            return Err(closed);
        }
        if self.is_forked() { Err(forked) } else { Ok(()) }
    }

    /// What an endpoint with these options is made with.
    fn settings(
        &self,
        options: &EndpointOptions,
    ) -> Result<(EndpointSettings, RecvLimit), OptionError> {
        let settings = options.over(&P::KIND, &self.options.lock().endpoint)?;
        Ok((settings, self.limits.max_recv_size(options.max_recv_size)))
    }

    fn try_bind_listener(
        &self,
        listener: GivenListener,
        options: &EndpointOptions,
    ) -> Result<Endpoint, BindError> {
        self.check_usable(BindError::Closed, BindError::Forked)?;
        let (settings, limit) = self.settings(options)?;
        let (listener, framing) =
            listener.open(&settings).map_err(|error| BindError::from_io(GIVEN, error))?;
        let endpoint = self.listen(listener, framing, settings, limit)?;
        self.keep(endpoint).ok_or(BindError::Closed)
    }

    /// Serves a connection that is there already.
    pub(crate) fn adopt(
        &self,
        stream: GivenStream,
        options: &EndpointOptions,
    ) -> Result<Endpoint, ConnectError> {
        self.check_usable(ConnectError::Closed, ConnectError::Forked)?;
        let (settings, limit) = self.settings(options)?;
        let (stream, framing, url) = stream.open(&settings).map_err(|error| {
            ConnectError::Failed { url: GIVEN.to_owned(), source: error.into() }
        })?;
        let runtime = self.runtime()?;
        self.has_streams.store(true, Ordering::Relaxed);
        let mailbox = runtime.mailbox();
        let control = StreamControl::dialer(mailbox);
        let endpoint = EndpointCore::new(self.host(), url, false, settings, limit, control);
        let endpoint = self.keep(endpoint).ok_or(ConnectError::Closed)?;
        let (host, core) = (self.host(), Arc::clone(&endpoint.core));
        mailbox.post(Command::Serve { host, endpoint: core, framing, stream });
        Ok(endpoint)
    }

    fn try_bind(&self, url: &str, options: &EndpointOptions) -> Result<Endpoint, BindError> {
        self.check_usable(BindError::Closed, BindError::Forked)?;
        let address = Address::parse(url)?;
        let (settings, limit) = self.settings(options)?;
        let endpoint = match address.scheme() {
            INPROC => self.bind_inproc(&address, settings, limit)?,
            _ => self.bind_stream(&address, settings, limit)?,
        };
        self.keep(endpoint).ok_or(BindError::Closed)
    }

    fn bind_inproc(
        &self,
        address: &Address,
        settings: EndpointSettings,
        limit: RecvLimit,
    ) -> Result<Arc<EndpointCore>, BindError> {
        let name = inproc::name(address)?;
        let control = Box::new(inproc::Bound(name.clone()));
        let url = address.url().to_owned();
        let endpoint = EndpointCore::new(self.host(), url, true, settings, limit, control);
        inproc::bind(&name, self.host(), &endpoint)?;
        Ok(endpoint)
    }

    fn bind_stream(
        &self,
        address: &Address,
        settings: EndpointSettings,
        limit: RecvLimit,
    ) -> Result<Arc<EndpointCore>, BindError> {
        let runtime = self.runtime()?;
        self.has_streams.store(true, Ordering::Relaxed);
        let transport = runtime.transports().find(address)?;
        let listener = transport.bind(address, &settings)?;
        self.listen(listener, transport.framing(), settings, limit)
    }

    /// Makes the endpoint of a listener, and has the event loop accept from it.
    fn listen(
        &self,
        listener: Box<dyn Listener>,
        framing: Framing,
        settings: EndpointSettings,
        limit: RecvLimit,
    ) -> Result<Arc<EndpointCore>, BindError> {
        let runtime = self.runtime()?;
        self.has_streams.store(true, Ordering::Relaxed);
        let url = listener.url();
        let listener = Arc::new(ListenerSlot::new(listener));
        let mailbox = runtime.mailbox();
        let control = StreamControl::listener(mailbox, &listener);
        let endpoint = EndpointCore::new(self.host(), url, true, settings, limit, control);
        let (host, core) = (self.host(), Arc::clone(&endpoint));
        mailbox.post(Command::Listen { host, endpoint: core, framing, listener });
        Ok(endpoint)
    }

    pub(crate) fn connect(
        &self,
        url: &str,
        options: &EndpointOptions,
        dial: Dial,
    ) -> Result<Endpoint, ConnectError> {
        self.check_usable(ConnectError::Closed, ConnectError::Forked)?;
        let address = Address::parse(url)?;
        let (settings, limit) = self.settings(options)?;
        match address.scheme() {
            INPROC => self.connect_inproc(&address, settings, limit, dial),
            _ => self.connect_stream(&address, settings, limit, dial),
        }
    }

    fn connect_inproc(
        &self,
        address: &Address,
        settings: EndpointSettings,
        limit: RecvLimit,
        dial: Dial,
    ) -> Result<Endpoint, ConnectError> {
        let name = inproc::name(address)?;
        let mailbox = Arc::clone(self.runtime()?.mailbox());
        let dialer = inproc::Dialer::new(name, self.host(), mailbox, &settings);
        let control = Box::new(Arc::clone(&dialer));
        let url = address.url().to_owned();
        let endpoint = EndpointCore::new(self.host(), url, false, settings, limit, control);
        dialer.serve(&endpoint);
        let endpoint = self.keep(endpoint).ok_or(ConnectError::Closed)?;
        match dial {
            Dial::Background => inproc::Dialer::attempt(&dialer),
            Dial::Now => {
                let outcome = inproc::Dialer::attempt_once(&dialer);
                let most = endpoint.core.settings.handshake_timeout;
                wait_for_outcome(self.runtime()?, &outcome, most)
                    .inspect_err(|error| dialer.give_up(error))
                    .map_err(|source| self.give_up(&endpoint, source))?;
            }
        }
        Ok(endpoint)
    }

    fn connect_stream(
        &self,
        address: &Address,
        settings: EndpointSettings,
        limit: RecvLimit,
        dial: Dial,
    ) -> Result<Endpoint, ConnectError> {
        let runtime = self.runtime()?;
        self.has_streams.store(true, Ordering::Relaxed);
        let transport = Arc::clone(runtime.transports().find(address)?);
        let target = transport.target(address)?;
        let mailbox = runtime.mailbox();
        let control = StreamControl::dialer(mailbox);
        let url = address.url().to_owned();
        let endpoint = EndpointCore::new(self.host(), url, false, settings, limit, control);
        let endpoint = self.keep(endpoint).ok_or(ConnectError::Closed)?;
        let (once, outcome) = match dial {
            Dial::Background => (None, None),
            Dial::Now => {
                let (sender, receiver) = mpsc::sync_channel(1);
                (Some(sender), Some(receiver))
            }
        };
        let core = Arc::clone(&endpoint.core);
        let host = self.host();
        let way = Arc::new(Way { transport, address: address.clone() });
        mailbox.post(Command::Dial { host, endpoint: core, way, target, once });
        if let Some(outcome) = outcome {
            wait_for_outcome(runtime, &outcome, Duration::MAX)
                .map_err(|source| self.give_up(&endpoint, source))?;
        }
        Ok(endpoint)
    }

    /// Closes the endpoint after its one attempt has failed: nothing goes on in the background.
    fn give_up(&self, endpoint: &Endpoint, source: AttemptError) -> ConnectError {
        let closed = endpoint.close().is_err();
        // The loops end the attempts, and then the sockets hear of it one by one.
        if self.is_lost() || self.runtime.get().is_some_and(|runtime| runtime.is_lost()) {
            RuntimeError::Lost.into()
        } else if closed && self.is_closed() {
            ConnectError::Closed
        } else {
            ConnectError::Failed { url: endpoint.url(), source }
        }
    }

    /// Makes the endpoint one of the socket's, unless the socket has been closed in the meantime.
    fn keep(&self, core: Arc<EndpointCore>) -> Option<Endpoint> {
        let is_kept = self.enter(|entry| entry.keep(&core));
        if !is_kept {
            core.stop();
            return None;
        }
        let endpoint = Endpoint { core };
        crate::contain::record!(
            Debug,
            { socket: self.name, endpoint: endpoint.url() },
            "{}: {endpoint}",
            self.name
        );
        Some(endpoint)
    }
}

impl<P: Protocol> Entry<'_, P> {
    fn keep(&mut self, endpoint: &Arc<EndpointCore>) -> bool {
        if !self.is_closed() {
            self.state.endpoints.push(Arc::clone(endpoint));
        }
        !self.is_closed()
    }
}

/// How long one turn of the loop may take in a thread that waits for a first attempt.
const TURN: Duration = Duration::from_millis(10);

fn wait_for_outcome(
    runtime: &Runtime,
    outcome: &mpsc::Receiver<Result<(), AttemptError>>,
    limit: Duration,
) -> Result<(), AttemptError> {
    let end = after(time::now(), limit);
    loop {
        let left = end.saturating_duration_since(time::now());
        let wait = if runtime.has_thread() { left } else { Duration::ZERO };
        match outcome.recv_timeout(wait) {
            Ok(outcome) => return outcome,
            // The sender is dropped unused when the endpoint or its socket is closed.
            Err(RecvTimeoutError::Disconnected) => return Err(AttemptError::Closed),
            Err(RecvTimeoutError::Timeout) if time::now() >= end => {
                return Err(AttemptError::HandshakeTimedOut(limit));
            }
            Err(RecvTimeoutError::Timeout) => runtime.turn(Some(TURN)).map_err(|error| {
                AttemptError::Io { kind: std::io::ErrorKind::Other, message: error.to_string() }
            })?,
        }
    }
}
