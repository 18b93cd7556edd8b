//! REP and RESPONDENT as a program sees them.
//!
//! Owns both roles, and what their sockets receive ([`Asked`]): a message that can be answered at most once,
//! because answering consumes it. Also [`KeptPlace`], the place that the socket keeps for an answer until it is given
//! or given up, and the error that gives the right to answer back.

use std::ops::Deref;
use std::pin::Pin;

use super::prelude::*;
use super::recv::Yields;
use super::role::AnsweringProtocol;
use super::send::POLLED_TOO_OFTEN;
use crate::api::context::Context;
use crate::error::Call;
use crate::protocol::{Interest, Route};
use crate::protocol_id::ProtocolId;

/// REP: answers requests.
///
/// Each request is received once, by one of the threads that receive. A [`Request`] is a value that can be
/// sent to another thread, kept while others are received, and answered at most once. The socket receives from
/// its peers in turn.
///
/// A request is received only when the send queue of its peer has a place for the reply, which is kept until the
/// request is answered or dropped. So a reply never waits: peers that do not read are held up by their own
/// requests, and hold up nobody else.
///
/// The rules in full: [semantics, 5.2](crate::spec::semantics#52-rep).
///
/// ```
/// let (rep, req) = (sinew::Rep::new(), sinew::Req::new());
/// rep.bind("inproc://rep-doc")?;
/// req.connect("inproc://rep-doc")?;
/// std::thread::spawn(move || {
///     while let Ok(request) = rep.recv() {
///         let answer = format!("{request}, hello");
///         request.reply(answer).expect("the socket is open");
///     }
/// });
/// assert_eq!(req.request("ann")?, "ann, hello");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Replying twice does not compile, nor does replying to nothing:
///
/// ```compile_fail,E0382
/// # // C061, C059.
/// let request = sinew::Rep::new().recv().unwrap();
/// request.reply("once").unwrap();
/// request.reply("twice").unwrap();
/// ```
///
/// ```compile_fail,E0277
/// sinew::Rep::new().send("to whom?").unwrap();
/// ```
#[doc(alias("NN_REP", "nng_rep0_open", "ZMQ_REP", "ZMQ_ROUTER", "server"))]
pub type Rep = Socket<role::Rep, NoSend, CanRecv<Request>>;

/// RESPONDENT: answers surveys.
///
/// Takes part in a survey by answering it before its deadline; it need not. Otherwise as [`Rep`].
///
/// The rules in full: [semantics, 9.2](crate::spec::semantics#92-respondent).
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
pub type Respondent = Socket<role::Respondent, NoSend, CanRecv<Question>>;

/// A request that a [`Rep`] has received, and the right to answer it once.
///
/// Dropping it without an answer tells the peer nothing; its REQ sends the request again after its resend
/// interval. Drop what you will not answer: of one peer a program gets at most
/// [`send_queue`](Options::send_queue) requests to have in hand at a time. Keeps the socket open.
pub type Request = Asked<role::Rep>;

/// A survey that a [`Respondent`] has received, and the right to answer it once.
///
/// Drop it to take no part. Keeps the socket open.
pub type Question = Asked<role::Respondent>;

impl<R: protocol::ProtocolPair> Configured for protocol::Responder<R> {
    fn with_options(options: &Options) -> Self {
        Self::new(options.settings().ttl)
    }

    fn follow(&mut self, options: &Options, _: &mut SocketPort<'_>) {
        self.set_ttl(options.settings().ttl);
    }
}

/// The calls of a socket that answers.
impl<R: Answers> Socket<R, NoSend, CanRecv<Asked<R>>> {
    /// Makes a context: a conversation of its own, with the classic calls `recv` and `send`. It copies the
    /// socket's timeouts. A context of a closed socket is closed.
    #[doc(alias("nng_ctx_open"))]
    pub fn context(&self) -> Context<R> {
        Context::new(self)
    }
}

/// A received request or survey, and the right to answer it once: a [`Request`] or a [`Question`].
///
/// It derefs to the message. Keeps the socket open.
#[must_use = "whoever asked waits for the answer"]
pub struct Asked<R: Answers> {
    place: KeptPlace<R::Protocol>,
    message: Message,
}

impl<R: Answers> Asked<R> {
    /// The request or survey.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Returns the message, and gives up the right to answer.
    pub fn into_message(self) -> Message {
        self.message
    }

    /// The pipe that it came on.
    pub fn pipe(&self) -> PipeId {
        self.place.route.pipe()
    }

    /// Answers. Does not wait: there is a place for the answer, whatever its length.
    ///
    /// Succeeds even if the peer that asked is gone; the answer is then dropped and counted as `peer_gone`.
    ///
    /// # Errors
    ///
    /// `Closed`, `TooLarge` or `Forked`; the error holds the answer and the right to give it.
    #[doc(alias("answer", "respond", "nn_send", "nng_send", "zmq_send"))]
    pub fn reply(self, answer: impl Into<Message>) -> Result<(), ReplyError<Self>> {
        self.answer(answer.into(), Patience::AsSet)
    }

    /// As [`reply`](Self::reply), which does not wait either.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn try_reply(self, answer: impl Into<Message>) -> Result<(), ReplyError<Self>> {
        self.answer(answer.into(), Patience::None)
    }

    /// As [`reply`](Self::reply), when the future is first polled, which it need not be again.
    ///
    /// Dropping the future before sends nothing and gives up the right to answer.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn reply_async(self, answer: impl Into<Message>) -> Replying<Self> {
        Replying { asked: Some(self), answer: Some(answer.into()), wait: TaskWait::default() }
    }

    fn answer(self, answer: Message, patience: Patience) -> Result<(), ReplyError<Self>> {
        let KeptPlace { core, route, .. } = &self.place;
        match R::answer(core, route, answer, patience) {
            Ok(()) => {
                self.place.fill();
                Ok(())
            }
            Err(error) => Err(ReplyError::new(self, error.of(Call::Reply))),
        }
    }
}

/// The place that a socket keeps for an answer. Dropping it gives it up.
struct KeptPlace<P: AnsweringProtocol> {
    core: Handle<P>,
    route: Route,
    is_filled: bool,
}

impl<P: AnsweringProtocol> KeptPlace<P> {
    /// Notes that the answer is there.
    fn fill(mut self) {
        self.is_filled = true;
    }
}

impl<P: AnsweringProtocol> Drop for KeptPlace<P> {
    fn drop(&mut self) {
        if !self.is_filled {
            give_up(&self.core, &self.route);
        }
    }
}

/// Gives up the answer to what was received, so that its place is free for another.
pub(super) fn give_up<P: AnsweringProtocol>(core: &Core<P>, route: &Route) {
    core.enter(|entry| {
        let (responder, mut io, _) = entry.parts();
        responder.give_up(route, &mut io);
    });
}

impl<R: Answers> Yields<R> for Asked<R> {
    fn of(core: &Handle<R::Protocol>, (route, message): (Route, Message)) -> Self {
        Self { place: KeptPlace { core: core.clone(), route, is_filled: false }, message }
    }
}

impl<R: Answers> SendsAsync for Asked<R> {}

impl<R: Answers> PollSending for Asked<R> {
    fn poll_send(
        &self,
        answer: &mut Option<Message>,
        wait: &mut TaskWait,
        cx: &mut task::Context<'_>,
    ) -> Poll<Result<(), SendError>> {
        let KeptPlace { core, route, .. } = &self.place;
        core.poll_send(Interest::SEND, |_| route.clone(), answer, wait, cx)
    }

    fn leave(&self, wait: &mut TaskWait) {
        self.place.core.cancel_wait(wait);
    }

    fn on_sent(self) {
        self.place.fill();
    }
}

impl<R: Answers> Deref for Asked<R> {
    type Target = Message;

    fn deref(&self) -> &Message {
        &self.message
    }
}

/// Writes the message as text.
impl<R: Answers> fmt::Display for Asked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message.fmt(f)
    }
}

impl<R: Answers> fmt::Debug for Asked<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_request = R::Protocol::ID == ProtocolId::REP;
        let name = if is_request { "Request" } else { "Question" };
        f.debug_tuple(name).field(&self.message).finish()
    }
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

    /// Returns the request or survey, to try again, and the error with the answer.
    pub fn into_parts(self) -> (T, SendError) {
        *self.0
    }
}

impl<T> fmt::Display for ReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.1.fmt(f)
    }
}

/// Writes the reason, as `Display` does.
impl<T> fmt::Debug for ReplyError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<T> std::error::Error for ReplyError<T> {}

/// An answer that is being sent: the future of `reply_async`.
///
/// It is ready at its first poll. Dropping it before gives up the right to answer. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Replying<T: SendsAsync> {
    /// Until the answer is sent, or given back.
    asked: Option<T>,
    answer: Option<Message>,
    wait: TaskWait,
}

impl<T: SendsAsync> Future for Replying<T> {
    type Output = Result<(), ReplyError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Self { asked, answer, wait } = &mut *self;
        let polled = asked.as_ref().expect(POLLED_TOO_OFTEN).poll_send(answer, wait, cx);
        polled.map(|sent| {
            let asked = asked.take().expect("it was there a moment ago");
            match sent {
                Ok(()) => {
                    asked.on_sent();
                    Ok(())
                }
                Err(error) => Err(ReplyError::new(asked, error)),
            }
        })
    }
}

impl<T: SendsAsync> Drop for Replying<T> {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.leave(&mut self.wait);
        }
    }
}

impl<T: SendsAsync> fmt::Debug for Replying<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replying").field("answer", &self.answer).finish_non_exhaustive()
    }
}
