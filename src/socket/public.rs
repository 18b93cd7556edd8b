//! The typed sockets: one type per protocol role.
//!
//! Thin: each call names what it waits for, how long, and which verb of its protocol it repeats. What
//! all sockets have in common stands once, in [`socket_calls!`].

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::context::{Conversing, RepContext, ReqContext, RespondentContext, SurveyorContext};
use super::establish::Dial;
use super::wait::{Failure, Patience, Waiting};
use super::{Closed, Core, Endpoint, Events, Handle, NoSuchPipe, PeerStatus, SocketPort};
use crate::error::{
    BindError, ConnectError, OptionError, RecvError, RequestError, SendError, WaitError,
};
use crate::message::{Message, PipeId};
use crate::options::{EndpointOptions, Options};
use crate::pipe::random_u32;
use crate::protocol::{self, Interest, Protocol, RecvRefusal, Role, Route, SendRefusal, Turn};
use crate::runtime::Runtime;
use crate::stats::Stats;

/// The calls that every socket has.
macro_rules! socket_calls {
    ($socket:ident, $protocol:ty, $new:expr) => {
        impl $socket {
            /// A socket with default options, on the global runtime.
            ///
            /// Nothing is started and no descriptor is taken before the first `bind` or `connect`.
            pub fn new() -> Self {
                Self::with_options(Options::new()).expect("the defaults are in range")
            }

            /// A socket with options of its own, on the global runtime.
            ///
            /// # Errors
            ///
            /// An option is out of range, or this kind of socket does not have it.
            pub fn with_options(options: Options) -> Result<Self, OptionError> {
                Self::make(options, None)
            }

            /// A socket on a runtime made by hand.
            ///
            /// # Errors
            ///
            /// An option is out of range, or this kind of socket does not have it.
            pub fn on(runtime: &Runtime, options: Options) -> Result<Self, OptionError> {
                Self::make(options, Some(runtime.clone()))
            }

            fn make(options: Options, runtime: Option<Runtime>) -> Result<Self, OptionError> {
                let new: fn(&Options) -> $protocol = $new;
                let protocol = new(&options);
                Ok(Self { core: Handle::new(protocol, options, runtime)? })
            }

            /// Accepts connections at an address, such as `tcp://127.0.0.1:5555`, `tcp://*:0`,
            /// `ipc:///tmp/name` or `inproc://name`. Does not wait for peers.
            ///
            /// # Errors
            ///
            /// The address cannot be used or is in use; see [`BindError`]. Nothing is left behind.
            #[doc(alias = "listen")]
            pub fn bind(&self, url: &str) -> Result<Endpoint, BindError> {
                self.bind_with(url, &EndpointOptions::new())
            }

            /// As [`bind`](Self::bind), with options for this endpoint.
            ///
            /// # Errors
            ///
            /// As [`bind`](Self::bind), or an option is out of range.
            pub fn bind_with(
                &self,
                url: &str,
                options: &EndpointOptions,
            ) -> Result<Endpoint, BindError> {
                self.core.bind(url, options)
            }

            /// Connects to an address in the background, for ever: returns at once, whether somebody
            /// listens there or not, and connects again when the connection is lost.
            ///
            /// What goes wrong is told by [`Endpoint::status`]. Names are resolved for every attempt.
            ///
            /// # Errors
            ///
            /// The address makes no sense, or the socket is closed; see [`ConnectError`].
            #[doc(alias = "dial")]
            pub fn connect(&self, url: &str) -> Result<Endpoint, ConnectError> {
                self.connect_with(url, &EndpointOptions::new())
            }

            /// As [`connect`](Self::connect), with options for this endpoint.
            ///
            /// # Errors
            ///
            /// As [`connect`](Self::connect), or an option is out of range.
            pub fn connect_with(
                &self,
                url: &str,
                options: &EndpointOptions,
            ) -> Result<Endpoint, ConnectError> {
                self.core.connect(url, options, Dial::Background)
            }

            /// Makes one attempt to connect and waits for its outcome. Once connected, it connects
            /// again like [`connect`](Self::connect) when the connection is lost.
            ///
            /// Waits as long as the operating system takes to connect, and for the header exchange
            /// up to `handshake_timeout`. Must not be called from the `admit` callback.
            ///
            /// # Errors
            ///
            /// [`ConnectError::Failed`] with the reason; no attempt goes on then.
            pub fn connect_now(&self, url: &str) -> Result<Endpoint, ConnectError> {
                self.connect_now_with(url, &EndpointOptions::new())
            }

            /// As [`connect_now`](Self::connect_now), with options for this endpoint.
            ///
            /// # Errors
            ///
            /// As [`connect_now`](Self::connect_now), or an option is out of range.
            pub fn connect_now_with(
                &self,
                url: &str,
                options: &EndpointOptions,
            ) -> Result<Endpoint, ConnectError> {
                self.core.connect(url, options, Dial::Now)
            }

            /// Waits until at least `peers` peers are connected. Zero: returns at once.
            ///
            /// # Errors
            ///
            /// [`WaitError::TimedOut`] with the number that is connected, or the socket is closed.
            pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
                self.core.wait_for_peers(peers, timeout)
            }

            /// The peers that are connected now, in no particular order.
            pub fn peers(&self) -> Vec<PeerStatus> {
                self.core.peers()
            }

            /// Subscribes to pipe events from now on. Ends when the value is dropped.
            pub fn events(&self) -> Events {
                self.core.subscribe()
            }

            /// What the socket has done so far. Also after close.
            pub fn stats(&self) -> Stats {
                self.core.stats()
            }

            /// Waits until every message accepted so far has left the socket: handed to the kernel,
            /// or for inproc taken by the peer. Returns how many have not; 0 is success.
            ///
            /// Others may go on sending, and are waited for as well.
            pub fn drain(&self, timeout: Duration) -> usize {
                self.core.drain(timeout)
            }

            /// The options in force.
            pub fn options(&self) -> Options {
                self.core.options()
            }

            /// Changes options. Each says what it has effect on; a call that waits already keeps its
            /// timeout.
            ///
            /// # Errors
            ///
            /// An option is out of range, or this kind of socket does not have it; nothing changes.
            pub fn set_options(&self, options: Options) -> Result<(), OptionError> {
                self.core.set_options(options)?;
                self.apply_options();
                Ok(())
            }

            /// Closes one pipe. The peer sees its connection end; if we had connected, we do so again.
            ///
            /// # Errors
            ///
            /// There is no such pipe, or no longer.
            pub fn disconnect(&self, pipe: PipeId) -> Result<(), NoSuchPipe> {
                self.core.disconnect(pipe)
            }

            /// Closes the socket for all its handles. Calls that wait end with `Closed`; addresses can
            /// be bound again when this returns. Never waits for the network: what is queued is
            /// written if the kernel takes it at once, or by the I/O thread during `linger`, and
            /// dropped and counted otherwise. Dropping the last handle does the same.
            ///
            /// # Errors
            ///
            /// [`Closed`] if it was closed before.
            pub fn close(&self) -> Result<(), Closed> {
                self.core.close()
            }

            /// Whether the socket has been closed.
            pub fn is_closed(&self) -> bool {
                self.core.is_closed()
            }
        }

        impl Default for $socket {
            fn default() -> Self {
                Self::new()
            }
        }

        impl fmt::Debug for $socket {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($socket), "({})"), self.core.name)
            }
        }
    };
}

/// PAIR: exactly one peer at a time, messages both ways.
///
/// With no peer a send waits; a slow peer is waited for, nothing is dropped while the connection
/// holds. A second peer is turned away. What was queued for a peer that is lost is lost with it, and
/// counted. Source: semantics specification, section 4.
///
/// ```
/// let (left, right) = (sinew::Pair::new(), sinew::Pair::new());
/// left.bind("inproc://pair-doc")?;
/// right.connect("inproc://pair-doc")?;
/// left.send("ping")?;
/// assert_eq!(right.recv()?, "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is one conversation and has no contexts (C192):
///
/// ```compile_fail,E0599
/// sinew::Pair::new().context();
/// ```
#[derive(Clone)]
pub struct Pair {
    core: Handle<protocol::Pair>,
}

socket_calls!(Pair, protocol::Pair, |_| protocol::Pair::new());

impl Pair {
    fn apply_options(&self) {}

    /// Sends a message, waiting for room up to the send timeout.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed` or `TooLarge`, with the message inside.
    pub fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        let patience = Patience::timeout(self.core.send_timeout());
        self.core.send(ONLY_SEND, patience, &(), message.into())
    }

    /// Sends a message if there is room now.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `Closed` or `TooLarge`, with the message inside.
    pub fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.core.send(ONLY_SEND, Patience::None, &(), message.into())
    }

    /// Sends a message, waiting for room up to `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed` or `TooLarge`, with the message inside.
    pub fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        self.core.send(ONLY_SEND, Patience::timeout(Some(timeout)), &(), message.into())
    }

    /// Sends a message, waiting for room as a task. Has no timeout of its own.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has not sent.
    ///
    /// # Errors
    ///
    /// `Closed` or `TooLarge`, with the message inside.
    pub fn send_async<M: Into<Message>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<M> {
        self.core.send_async(ONLY_SEND, (), message.into())
    }

    /// Receives a message, waiting up to the receive timeout.
    ///
    /// # Errors
    ///
    /// `TimedOut` or `Closed`.
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.take(Patience::timeout(self.core.recv_timeout()))
    }

    /// Receives a message if one is there.
    ///
    /// # Errors
    ///
    /// `WouldBlock` or `Closed`.
    pub fn try_recv(&self) -> Result<Message, RecvError> {
        self.take(Patience::None)
    }

    /// Receives a message, waiting up to `timeout`.
    ///
    /// # Errors
    ///
    /// `TimedOut` or `Closed`.
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.take(Patience::timeout(Some(timeout)))
    }

    /// Receives a message, waiting as a task. Has no timeout of its own.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received nothing.
    ///
    /// # Errors
    ///
    /// `Closed`.
    pub fn recv_async(&self) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
        let core = self.core.clone();
        async move {
            let attempt =
                |pair: &mut protocol::Pair, io: &mut SocketPort<'_>, now| pair.recv(&(), now, io);
            let message = Waiting::new(&core, ONLY_RECV, attempt).await.map_err(recv_error)?;
            core.count_received(&message);
            Ok(message)
        }
    }

    fn take(&self, patience: Patience) -> Result<Message, RecvError> {
        let attempt =
            |pair: &mut protocol::Pair, io: &mut SocketPort<'_>, now| pair.recv(&(), now, io);
        let message = self.core.wait(ONLY_RECV, patience, attempt).map_err(recv_error)?;
        self.core.count_received(&message);
        Ok(message)
    }
}

/// REQ: asks, and gets the answer that belongs to the question.
///
/// Any number of threads and tasks may ask through one socket at once; each gets the reply to its own
/// request. A request goes to one of the connected REPs, in turn; it is held while there is none, and
/// sent again when the REP that had it is lost or has not answered within the resend interval (so a
/// REP may see a request more than once). Exactly one reply is delivered. Source: semantics
/// specification, section 5.1.
///
/// ```
/// let (rep, req) = (sinew::Rep::new(), sinew::Req::new());
/// rep.bind("inproc://req-doc")?;
/// req.connect("inproc://req-doc")?;
/// std::thread::spawn(move || {
///     while let Ok(request) = rep.recv() {
///         request.reply("42").expect("the socket is open");
///     }
/// });
/// assert_eq!(req.request("what is the answer?")?, "42");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Req {
    core: Handle<protocol::Req>,
}

socket_calls!(Req, protocol::Req, |_| protocol::Req::new(random_u32()));

impl Req {
    fn apply_options(&self) {}

    /// Sends a request and waits for its reply, up to the receive timeout.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed`, `ConnectionReset` (only with resending switched off) or `TooLarge`, with
    /// the request inside. After an error the request is given up: its reply is dropped if it comes.
    pub fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        self.ask(message.into(), Patience::timeout(self.core.recv_timeout()))
    }

    /// Sends a request and waits for its reply, up to `timeout`.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn request_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.ask(message.into(), Patience::timeout(Some(timeout)))
    }

    /// Sends a request and waits for its reply as a task. Has no timeout of its own.
    ///
    /// Dropping the future gives the request up: its reply is dropped if it comes.
    ///
    /// # Errors
    ///
    /// `Closed`, `ConnectionReset` or `TooLarge`, with the request inside.
    pub fn request_async<M: Into<Message>>(
        &self,
        message: M,
    ) -> impl Future<Output = Result<Message, RequestError>> + Send + use<M> {
        let core = self.core.clone();
        let message = message.into();
        async move {
            let (asked, turn) = open_request(&core, &message)?;
            let attempt = asked.last_recv(turn);
            let reply = Waiting::new(&core, turn.interest(), attempt)
                .await
                .map_err(|failure| request_error(failure, message))?;
            asked.is_over();
            core.count_received(&reply);
            Ok(reply)
        }
    }

    /// A conversation of its own, with the classic calls `send` and `recv`.
    pub fn context(&self) -> ReqContext {
        ReqContext::new(&self.core)
    }

    fn ask(&self, message: Message, patience: Patience) -> Result<Message, RequestError> {
        let (asked, turn) = open_request(&self.core, &message)?;
        let attempt = asked.last_recv(turn);
        let reply = self
            .core
            .wait(turn.interest(), patience, attempt)
            .map_err(|failure| request_error(failure, message))?;
        asked.is_over();
        self.core.count_received(&reply);
        Ok(reply)
    }
}

/// Opens a conversation and sends its one request.
fn open_request(
    core: &Handle<protocol::Req>,
    message: &Message,
) -> Result<(Conversing<protocol::Req>, Turn), RequestError> {
    let body = message.body();
    core.check_size(body)
        .map_err(|limit| RequestError::TooLarge { message: message.clone(), limit })?;
    let resend = core.options().get_resend_interval();
    let opened = core.enter(|entry| {
        if entry.is_closed() {
            return None;
        }
        let (req, mut io, now) = entry.parts();
        let conversation = req.open(resend);
        // A REQ takes every request: it holds what it cannot send.
        req.send(&conversation, body, now, &mut io).ok()?;
        Some((conversation, req.turn(conversation).ok()?))
    });
    let (conversation, turn) = opened.ok_or_else(|| RequestError::Closed(message.clone()))?;
    core.count_sent(body);
    Ok((Conversing::new(core, conversation), turn))
}

fn request_error(failure: Failure<RecvRefusal>, message: Message) -> RequestError {
    match failure {
        Failure::Closed => RequestError::Closed(message),
        Failure::Refused(RecvRefusal::ConnectionReset) => RequestError::ConnectionReset(message),
        Failure::WouldBlock | Failure::TimedOut | Failure::Refused(_) => {
            RequestError::TimedOut(message)
        }
    }
}

/// The sockets that answer: REP and RESPONDENT differ in names only.
macro_rules! answering_socket {
    (
        $(#[$socket_doc:meta])* $socket:ident, $protocol:ty, $context:ident;
        $(#[$asked_doc:meta])* $asked:ident
    ) => {
        $(#[$socket_doc])*
        #[derive(Clone)]
        pub struct $socket {
            core: Handle<$protocol>,
        }

        socket_calls!($socket, $protocol, |options| <$protocol>::new(options.get_ttl()));

        impl $socket {
            fn apply_options(&self) {
                let ttl = self.core.options().get_ttl();
                self.core.enter(|entry| entry.parts().0.set_ttl(ttl));
            }

            /// Receives the next one from any peer, each peer in turn, waiting up to the receive
            /// timeout. Any number of threads may do so at once.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            pub fn recv(&self) -> Result<$asked, RecvError> {
                self.take(Patience::timeout(self.core.recv_timeout()))
            }

            /// Receives the next one if it is there.
            ///
            /// # Errors
            ///
            /// `WouldBlock` or `Closed`.
            pub fn try_recv(&self) -> Result<$asked, RecvError> {
                self.take(Patience::None)
            }

            /// Receives the next one, waiting up to `timeout`.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            pub fn recv_timeout(&self, timeout: Duration) -> Result<$asked, RecvError> {
                self.take(Patience::timeout(Some(timeout)))
            }

            /// Receives the next one, waiting as a task. Has no timeout of its own.
            ///
            /// Cancel-safe: a future that is dropped before it is ready has received nothing.
            ///
            /// # Errors
            ///
            /// `Closed`.
            pub fn recv_async(
                &self,
            ) -> impl Future<Output = Result<$asked, RecvError>> + Send + use<> {
                let core = self.core.clone();
                async move {
                    let attempt = |p: &mut $protocol, io: &mut SocketPort<'_>, now| p.recv(&(), now, io);
                    let received = Waiting::new(&core, ONLY_RECV, attempt).await;
                    let (route, message) = received.map_err(recv_error)?;
                    core.count_received(&message);
                    Ok($asked(Asked { core, route, message }))
                }
            }

            /// A conversation of its own, with the classic calls `recv` and `send`.
            pub fn context(&self) -> $context {
                $context::new(&self.core)
            }

            fn take(&self, patience: Patience) -> Result<$asked, RecvError> {
                let (route, message) = self.core.recv_asked(patience)?;
                Ok($asked(Asked { core: self.core.clone(), route, message }))
            }
        }

        $(#[$asked_doc])*
        #[must_use = "whoever asked waits for the answer"]
        pub struct $asked(Asked<$protocol>);

        impl $asked {
            /// What was asked.
            pub fn message(&self) -> &Message {
                &self.0.message
            }

            /// What was asked; the right to answer is given up.
            pub fn into_message(self) -> Message {
                self.0.message
            }

            /// The pipe it came on.
            pub fn pipe(&self) -> PipeId {
                self.0.route.pipe()
            }

            /// Answers, waiting for room up to the send timeout.
            ///
            /// Succeeds too when whoever asked has gone; the answer is then dropped and counted as
            /// `peer_gone`.
            ///
            /// # Errors
            ///
            /// `TimedOut`, `Closed` or `TooLarge`; the error holds the answer and the right to give it.
            pub fn reply(self, answer: impl Into<Message>) -> Result<(), ReplyError<Self>> {
                let patience = Patience::timeout(self.0.core.send_timeout());
                self.answer(answer.into(), patience)
            }

            /// Answers if there is room now.
            ///
            /// # Errors
            ///
            /// `WouldBlock`, `Closed` or `TooLarge`; the error holds the answer and the right to give
            /// it.
            pub fn try_reply(self, answer: impl Into<Message>) -> Result<(), ReplyError<Self>> {
                self.answer(answer.into(), Patience::None)
            }

            /// Answers, waiting for room up to `timeout`.
            ///
            /// # Errors
            ///
            /// As [`reply`](Self::reply).
            pub fn reply_timeout(
                self,
                answer: impl Into<Message>,
                timeout: Duration,
            ) -> Result<(), ReplyError<Self>> {
                self.answer(answer.into(), Patience::timeout(Some(timeout)))
            }

            /// Answers, waiting for room as a task. Has no timeout of its own.
            ///
            /// Dropping the future before it is ready gives the right to answer up.
            ///
            /// # Errors
            ///
            /// `Closed` or `TooLarge`; the error holds the answer and the right to give it.
            pub fn reply_async<M: Into<Message>>(
                self,
                answer: M,
            ) -> impl Future<Output = Result<(), ReplyError<Self>>> + Send + use<M> {
                let answer = answer.into();
                async move {
                    let route = self.0.route.clone();
                    let sending = self.0.core.send_async(route.interest(), route, answer);
                    sending.await.map_err(|error| ReplyError::new(self, error))
                }
            }

            fn answer(self, answer: Message, patience: Patience) -> Result<(), ReplyError<Self>> {
                let Asked { core, route, .. } = &self.0;
                core.send(route.interest(), patience, route, answer)
                    .map_err(|error| ReplyError::new(self, error))
            }
        }

        impl std::ops::Deref for $asked {
            type Target = Message;

            fn deref(&self) -> &Message {
                &self.0.message
            }
        }

        /// The message as text.
        impl fmt::Display for $asked {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.message.fmt(f)
            }
        }

        impl fmt::Debug for $asked {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($asked)).field(&self.0.message).finish()
            }
        }
    };
}

answering_socket! {
    /// REP: answers requests.
    ///
    /// Each request is received once, by whichever thread asks first, and answered by value: a
    /// [`Request`] can be sent to another thread, kept while others are received, and answered at most
    /// once. Requests of all peers are taken in turn. Source: semantics specification, section 5.2.
    ///
    /// Replying twice does not compile (C061), nor does replying to nothing (C059):
    ///
    /// ```compile_fail,E0382
    /// let request = sinew::Rep::new().recv().unwrap();
    /// request.reply("once").unwrap();
    /// request.reply("twice").unwrap();
    /// ```
    ///
    /// ```compile_fail,E0599
    /// sinew::Rep::new().send("to whom?").unwrap();
    /// ```
    Rep, protocol::Rep, RepContext;
    /// A request that was received, and the right to answer it once.
    ///
    /// Dropping it does not tell the asker anything; its REQ sends the request again after its resend
    /// interval. Keeps the socket open.
    Request
}

answering_socket! {
    /// RESPONDENT: answers surveys.
    ///
    /// Takes part in a survey by answering it before its deadline, or does not. Otherwise as [`Rep`].
    /// Source: semantics specification, section 9.2.
    ///
    /// ```
    /// let (surveyor, respondent) = (sinew::Surveyor::new(), sinew::Respondent::new());
    /// surveyor.bind("inproc://respondent-doc")?;
    /// respondent.connect("inproc://respondent-doc")?;
    /// std::thread::spawn(move || {
    ///     while let Ok(question) = respondent.recv() {
    ///         question.reply("here").expect("the socket is open");
    ///     }
    /// });
    /// assert_eq!(surveyor.survey("who is there?")?.next().unwrap(), "here");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    Respondent, protocol::Respondent, RespondentContext;
    /// A survey that was received, and the right to answer it once.
    ///
    /// Dropping it is how not to take part. Keeps the socket open.
    Question
}

/// What a received request or survey consists of.
struct Asked<P: Protocol> {
    core: Handle<P>,
    route: Route,
    message: Message,
}

/// An answer could not be sent; the answer and the right to give it are inside.
pub struct ReplyError<T>(Box<(T, SendError)>);

impl<T> ReplyError<T> {
    fn new(asked: T, error: SendError) -> Self {
        Self(Box::new((asked, error)))
    }

    /// Why the answer was not sent.
    pub fn reason(&self) -> &SendError {
        &self.0.1
    }

    /// The request or survey, to be answered again, and the error with the answer.
    pub fn into_parts(self) -> (T, SendError) {
        *self.0
    }
}

impl<T> fmt::Display for ReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

impl<T> fmt::Debug for ReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReplyError").field(&self.0.1).finish()
    }
}

impl<T> std::error::Error for ReplyError<T> {}

/// SURVEYOR: asks everyone, and collects answers until a deadline.
///
/// A survey goes to every respondent that is connected when it is sent; sending never waits. Any
/// number of surveys may run at once, from any threads; each gets its own answers. Source: semantics
/// specification, section 9.1.
///
/// ```
/// use std::time::Duration;
///
/// let options = sinew::Options::new().survey_deadline(Duration::from_millis(50));
/// let surveyor = sinew::Surveyor::with_options(options)?;
/// surveyor.bind("inproc://surveyor-doc")?;
/// let answers: Vec<_> = surveyor.survey("who is there?")?.collect();
/// assert!(answers.is_empty()); // nobody is
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Surveyor {
    core: Handle<protocol::Surveyor>,
}

socket_calls!(Surveyor, protocol::Surveyor, |_| protocol::Surveyor::new(random_u32()));

impl Surveyor {
    fn apply_options(&self) {}

    /// Sends a survey to everyone connected. Never waits, and succeeds with nobody there.
    ///
    /// # Errors
    ///
    /// `Closed` or `TooLarge`, with the message inside.
    pub fn survey(&self, message: impl Into<Message>) -> Result<Survey, SendError> {
        let message = message.into();
        let body = message.body();
        if let Err(limit) = self.core.check_size(body) {
            return Err(SendError::TooLarge { message, limit });
        }
        let options = self.core.options();
        let (deadline, storage) = (options.get_survey_deadline(), options.get_survey_storage());
        let opened = self.core.enter(|entry| {
            if entry.is_closed() {
                return None;
            }
            let (surveyor, mut io, now) = entry.parts();
            let conversation = surveyor.open(deadline, storage);
            // A SURVEYOR takes every survey: whom it cannot reach does not get it.
            surveyor.send(&conversation, body, now, &mut io).ok()?;
            let ends = deadline.and_then(|deadline| now.checked_add(deadline));
            Some((conversation, surveyor.turn(conversation).ok()?, ends))
        });
        let Some((conversation, turn, deadline)) = opened else {
            return Err(SendError::Closed(message));
        };
        self.core.count_sent(body);
        let conversing = Conversing::new(&self.core, conversation);
        Ok(Survey { conversing, turn, deadline })
    }

    /// A conversation of its own, with the classic calls `send` and `recv`.
    pub fn context(&self) -> SurveyorContext {
        SurveyorContext::new(&self.core)
    }
}

/// A survey under way: yields answers until its deadline.
///
/// As an iterator it ends at the deadline, or when the socket is closed. Dropping it ends the survey;
/// answers that come later are dropped and counted. Keeps the socket open.
pub struct Survey {
    conversing: Conversing<protocol::Surveyor>,
    turn: Turn,
    deadline: Option<Instant>,
}

impl Survey {
    /// When the survey ends; `None`: it does not.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Receives the next answer, waiting up to the receive timeout, at most until the deadline.
    ///
    /// # Errors
    ///
    /// `TimedOut` when one of the two is over; `Closed`. A receive timeout does not end the survey.
    pub fn recv(&self) -> Result<Message, RecvError> {
        self.receive(Patience::timeout(self.conversing.core().recv_timeout()))
    }

    /// Receives the next answer if it is there.
    ///
    /// # Errors
    ///
    /// `WouldBlock`, `TimedOut` after the deadline, or `Closed`.
    pub fn try_recv(&self) -> Result<Message, RecvError> {
        self.receive(Patience::None)
    }

    /// Receives the next answer, waiting up to `timeout`, at most until the deadline.
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        self.receive(Patience::timeout(Some(timeout)))
    }

    /// Receives the next answer as a task, waiting until the deadline.
    ///
    /// Cancel-safe: a future that is dropped before it is ready has received nothing.
    ///
    /// # Errors
    ///
    /// `TimedOut` at the deadline, or `Closed`.
    pub fn recv_async(&self) -> impl Future<Output = Result<Message, RecvError>> + Send + use<> {
        let (core, turn) = (self.conversing.core().clone(), self.turn);
        async move {
            let attempt = move |p: &mut protocol::Surveyor, io: &mut SocketPort<'_>, now| {
                p.recv(&turn, now, io)
            };
            let received = Waiting::new(&core, turn.interest(), attempt).await;
            let message = received.map_err(survey_error)?;
            core.count_received(&message);
            Ok(message)
        }
    }

    fn receive(&self, patience: Patience) -> Result<Message, RecvError> {
        let (core, turn) = (self.conversing.core(), self.turn);
        let attempt =
            |p: &mut protocol::Surveyor, io: &mut SocketPort<'_>, now| p.recv(&turn, now, io);
        let message = core.wait(turn.interest(), patience, attempt).map_err(survey_error)?;
        core.count_received(&message);
        Ok(message)
    }
}

impl Iterator for Survey {
    type Item = Message;

    fn next(&mut self) -> Option<Message> {
        self.receive(Patience::Until(None)).ok()
    }
}

impl fmt::Debug for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Survey").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A survey that is over, in whatever way, has timed out.
fn survey_error(failure: Failure<RecvRefusal>) -> RecvError {
    match failure {
        Failure::Refused(_) => RecvError::TimedOut,
        failure => recv_error(failure),
    }
}

/// What is waited for where there is only one thing to wait for.
const ONLY_SEND: Interest = Interest::Send(0);
pub(super) const ONLY_RECV: Interest = Interest::Recv(0);

impl<P: Protocol> Core<P> {
    /// Sends a message, or gives it back.
    pub(super) fn send(
        &self,
        interest: Interest,
        patience: Patience,
        to: &P::To,
        message: Message,
    ) -> Result<(), SendError> {
        self.send_while(|| true, interest, patience, to, message)
    }

    /// Sends a message, or gives it back; also when `open` says no, which is asked under the lock.
    pub(super) fn send_while(
        &self,
        open: impl Fn() -> bool,
        interest: Interest,
        patience: Patience,
        to: &P::To,
        message: Message,
    ) -> Result<(), SendError> {
        if let Err(limit) = self.check_size(message.body()) {
            return Err(SendError::TooLarge { message, limit });
        }
        let attempt = |p: &mut P, io: &mut SocketPort<'_>, now| match open() {
            true => p.send(to, message.body(), now, io),
            false => Err(SendRefusal::State),
        };
        match self.wait(interest, patience, attempt) {
            Ok(()) => {
                self.count_sent(message.body());
                Ok(())
            }
            Err(_) if !open() => Err(SendError::Closed(message)),
            Err(failure) => Err(send_error(&failure, message)),
        }
    }
}

impl<P: Protocol> Handle<P> {
    /// Sends a message as a task, or gives it back.
    pub(super) fn send_async(
        &self,
        interest: Interest,
        to: P::To,
        message: Message,
    ) -> impl Future<Output = Result<(), SendError>> + Send + use<P>
    where
        P::To: Send + Unpin,
    {
        let core = self.clone();
        async move {
            if let Err(limit) = core.check_size(message.body()) {
                return Err(SendError::TooLarge { message, limit });
            }
            let body: Bytes = message.body().clone();
            let attempt =
                move |p: &mut P, io: &mut SocketPort<'_>, now| p.send(&to, &body, now, io);
            match Waiting::new(&core, interest, attempt).await {
                Ok(()) => {
                    core.count_sent(message.body());
                    Ok(())
                }
                Err(failure) => Err(send_error(&failure, message)),
            }
        }
    }
}

impl<R: Role> Core<protocol::Answerer<R>> {
    /// Receives what somebody asks, with the way back.
    pub(super) fn recv_asked(&self, patience: Patience) -> Result<(Route, Message), RecvError> {
        let attempt =
            |p: &mut protocol::Answerer<R>, io: &mut SocketPort<'_>, now| p.recv(&(), now, io);
        let (route, message) = self.wait(ONLY_RECV, patience, attempt).map_err(recv_error)?;
        self.count_received(&message);
        Ok((route, message))
    }
}

fn send_error(failure: &Failure<SendRefusal>, message: Message) -> SendError {
    match failure {
        Failure::Closed => SendError::Closed(message),
        Failure::TimedOut => SendError::TimedOut(message),
        Failure::WouldBlock | Failure::Refused(SendRefusal::WouldBlock) => {
            SendError::WouldBlock(message)
        }
        Failure::Refused(SendRefusal::State) => SendError::State(message),
    }
}

pub(super) fn recv_error(failure: Failure<RecvRefusal>) -> RecvError {
    match failure {
        Failure::Closed => RecvError::Closed,
        Failure::TimedOut | Failure::Refused(RecvRefusal::Expired) => RecvError::TimedOut,
        Failure::WouldBlock | Failure::Refused(RecvRefusal::WouldBlock) => RecvError::WouldBlock,
        Failure::Refused(RecvRefusal::State) => RecvError::State,
        Failure::Refused(RecvRefusal::Canceled) => RecvError::Canceled,
        Failure::Refused(RecvRefusal::ConnectionReset) => RecvError::ConnectionReset,
    }
}
