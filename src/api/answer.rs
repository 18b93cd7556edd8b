//! REP and RESPONDENT as a program sees them.
//!
//! Owns both sockets, what they receive ([`Request`], [`Question`]), which is answered at most once because
//! answering consumes it, and the error that gives it back.

use super::ONLY_RECV;
use super::prelude::*;
use crate::api::context::{RepContext, RespondentContext};
use crate::error::Call;
use crate::protocol::Route;
use crate::socket::wait::Waiting;
use crate::socket::{Core, SocketPort};

/// The sockets that answer: REP and RESPONDENT differ in names only.
macro_rules! answering_socket {
    (
        $(#[$socket_doc:meta])* $socket:ident, $protocol:ty, $context:ident;
        $(#[$asked_doc:meta])* $asked:ident
    ) => {
        $(#[$socket_doc])*
        pub type $socket = Socket<role::$socket, NoSend, CanRecv<$asked>>;

        impl Role for role::$socket {
            type Send = NoSend;
            type Recv = CanRecv<$asked>;
        }

        impl Engine for role::$socket {
            type Protocol = $protocol;

            const NAME: &'static str = stringify!($socket);

            fn protocol(options: &Options) -> Self::Protocol {
                <$protocol>::new(options.get_ttl())
            }

            fn follow(
                answerer: &mut Self::Protocol,
                options: &Options,
                _: &mut SocketPort<'_>,
            ) {
                answerer.set_ttl(options.get_ttl());
            }
        }

        impl $socket {
            /// Receives the next one from any peer, each peer in turn, waiting up to the receive
            /// timeout. Any number of threads may do so at once.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            #[doc(alias("receive", "nn_recv", "nng_recv", "zmq_recv"))]
            pub fn recv(&self) -> Result<$asked, RecvError> {
                self.take(Patience::For(self.core.recv_timeout()))
            }

            /// Receives the next one if it is there.
            ///
            /// # Errors
            ///
            /// `WouldBlock` or `Closed`.
            pub fn try_recv(&self) -> Result<$asked, RecvError> {
                self.take(Patience::None)
            }

            /// Receives the next one, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: for ever.
            ///
            /// # Errors
            ///
            /// `TimedOut` or `Closed`.
            pub fn recv_timeout(&self, timeout: Duration) -> Result<$asked, RecvError> {
                self.take(Patience::For(Some(timeout)))
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
                    let (route, message) = received.map_err(|failure| core.recv_error(failure))?;
                    Ok($asked(Asked { core, route, message }))
                }
            }

            /// Whether there is something to receive, as a descriptor for event loops.
            ///
            /// # Errors
            ///
            /// The process has no descriptor left.
            #[doc(alias = "RCVFD")]
            pub fn recv_readiness(&self) -> std::io::Result<Readiness> {
                Readiness::new(|beacon| self.watch_recv(beacon))
            }

            /// What is asked, as a stream that ends when the socket is closed. Only with the feature
            /// `futures`.
            #[cfg(feature = "futures")]
            pub fn stream(&self) -> RecvStream<$asked> {
                let attempt = |p: &mut $protocol, io: &mut SocketPort<'_>, now| p.recv(&(), now, io);
                let core = self.core.clone();
                let wrap = move |(route, message)| {
                    $asked(Asked { core: core.clone(), route, message })
                };
                RecvStream::new(&self.core, ONLY_RECV, attempt, wrap)
            }

            /// A conversation of its own, with the classic calls `recv` and `send`. Has the socket's timeouts
            /// as they are now. Of a closed socket it is closed.
            #[doc(alias("nng_ctx_open"))]
            pub fn context(&self) -> $context {
                $context::new(&self.core)
            }

            fn take(&self, patience: Patience) -> Result<$asked, RecvError> {
                let (route, message) = self.core.recv_asked(patience)?;
                Ok($asked(Asked { core: self.core.clone(), route, message }))
            }
        }

        iter_calls!($socket, $asked, |socket| socket.take(Patience::For(None)).ok());
        impl WatchRecv for $socket {
            fn watch_recv(&self, beacon: Beacon) -> Watching {
                self.core.watch_interest(ONLY_RECV, beacon)
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
            #[doc(alias("answer", "respond", "nn_send", "nng_send", "zmq_send"))]
            pub fn reply(self, answer: impl Into<Message>) -> Result<(), ReplyError<Self>> {
                let patience = Patience::For(self.0.core.send_timeout());
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

            /// Answers, waiting for room up to `timeout`. Zero: one attempt; `Duration::MAX`: for ever.
            ///
            /// # Errors
            ///
            /// As [`reply`](Self::reply).
            pub fn reply_timeout(
                self,
                answer: impl Into<Message>,
                timeout: Duration,
            ) -> Result<(), ReplyError<Self>> {
                self.answer(answer.into(), Patience::For(Some(timeout)))
            }

            /// Answers, waiting for room as a task. Has no timeout of its own.
            ///
            /// Not cancel-safe: dropping the future before it is ready sends nothing and gives the right to
            /// answer up. To keep the right, use `try_reply`, or `send_async` of a context.
            ///
            /// # Errors
            ///
            /// `Closed` or `TooLarge`; the error holds the answer and the right to give it.
            pub fn reply_async(self, answer: impl Into<Message>) -> Replying<Self> {
                Replying::new(self, answer.into())
            }

            fn answer(self, answer: Message, patience: Patience) -> Result<(), ReplyError<Self>> {
                let Asked { core, route, .. } = &self.0;
                core.send(route.interest(), patience, route, answer)
                    .map_err(|error| ReplyError::new(self, error.of(Call::Reply)))
            }
        }

        impl SendsAsync for $asked {}

        impl PollSending for $asked {
            fn poll_send(
                &self,
                answer: &mut Option<Message>,
                spot: &mut Spot,
                cx: &mut Context<'_>,
            ) -> Poll<Result<(), SendError>> {
                let Asked { core, route, .. } = &self.0;
                core.poll_send(route.interest(), |_| route.clone(), answer, spot, cx)
            }

            fn leave(&self, spot: &mut Spot) {
                self.0.core.leave_spot(spot);
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
    /// ```compile_fail,E0277
    /// sinew::Rep::new().send("to whom?").unwrap();
    /// ```
    #[doc(alias("NN_REP", "nng_rep0_open", "ZMQ_REP", "ZMQ_ROUTER", "server"))]
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
    #[doc(alias("NN_RESPONDENT", "nng_respondent0_open"))]
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
    pub(super) fn new(asked: T, error: SendError) -> Self {
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

/// As `Display`: the sentence of the reason.
impl<T> fmt::Debug for ReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> std::error::Error for ReplyError<T> {}

impl<R: protocol::Role> Core<protocol::Answerer<R>> {
    /// Receives what somebody asks, with the way back.
    pub(super) fn recv_asked(&self, patience: Patience) -> Result<(Route, Message), RecvError> {
        let attempt =
            |p: &mut protocol::Answerer<R>, io: &mut SocketPort<'_>, now| p.recv(&(), now, io);
        self.wait(ONLY_RECV, patience, attempt).map_err(|failure| self.recv_error(failure))
    }
}
