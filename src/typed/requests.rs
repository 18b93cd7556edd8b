//! Questions and answers: REQ and REP, and RESPONDENT, which answers the same way.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::codec::{Codec, CodecError, Postcard};
use super::format::{Error, Format, Misfit, Refuse, Undecoded, not_understood};
use super::{left, trace};
use crate::api::role::{self, Answers as AnswersRole};
use crate::api::{Asked, ReplyError, Req, Requesting, Socket};
use crate::error::{BindError, Closed, ConnectError, RecvError, RequestError, WaitError};
use crate::message::Message;
use crate::pipe::endpoint::Endpoint;
use crate::protocol::Protocol;
use crate::protocol_id::ProtocolId;
use crate::sync::Arc;
use crate::time;

/// REQ with values: asks questions `Q`, and gets an answer `A` to each.
///
/// A handle, as [`Req`] is: any number of threads and tasks may ask at once.
///
/// ```
/// # #[cfg(feature = "json")] {
/// use sinew::typed::{Error, Json, Replies, Requests};
///
/// let requests = Requests::<String, u32, Json>::new();
/// let rep = sinew::Rep::new(); // a peer that speaks JSON, or not
/// rep.bind("inproc://requests-doc").unwrap();
/// requests.connect("inproc://requests-doc").unwrap();
/// std::thread::spawn(move || {
///     rep.recv().unwrap().reply("\x0042").unwrap(); // the head, and the value
///     rep.recv().unwrap().reply("what?").unwrap();
/// });
/// assert_eq!(requests.request(&"how many?".to_owned()).unwrap(), 42);
/// let error = requests.request(&"and now?".to_owned()).unwrap_err();
/// assert!(matches!(error, Error::Decode(undecoded) if undecoded.message() == &"what?"));
/// # }
/// ```
pub struct Requests<Q, A, C = Postcard> {
    socket: Req,
    asked: Format<Q, C>,
    answered: Format<A, C>,
}

common!(Requests<Q, A>, Req);

impl<Q, A, C> Clone for Requests<Q, A, C> {
    fn clone(&self) -> Self {
        let Self { socket, asked, answered } = self;
        Self { socket: socket.clone(), asked: asked.clone(), answered: answered.clone() }
    }
}

impl<Q, A, C: Codec<Q> + Codec<A>> Default for Requests<Q, A, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<Q, A, C: Codec<Q> + Codec<A>> Requests<Q, A, C> {
    /// Makes one with a socket of its own, with the defaults.
    pub fn new() -> Self {
        Self::with(Req::new(), Format::new(), Format::new())
    }

    /// Makes one of a socket, with the formats of questions and answers.
    pub fn with(socket: Req, asked: Format<Q, C>, answered: Format<A, C>) -> Self {
        Self { socket, asked, answered }
    }

    /// As [`Req::request`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Encode`], [`Error::Decode`].
    pub fn request(&self, question: &Q) -> Result<A, Error<RequestError>> {
        let asking = trace::Asking::begin(&self.socket);
        let message = self.asked.write(b"", asking.wire(), question).map_err(Error::Encode)?;
        read(&self.answered, asking.during(|| self.socket.request(message)))
    }

    /// As [`Req::request_timeout`].
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn request_timeout(
        &self,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, Error<RequestError>> {
        let asking = trace::Asking::begin(&self.socket);
        let message = self.asked.write(b"", asking.wire(), question).map_err(Error::Encode)?;
        read(&self.answered, asking.during(|| self.socket.request_timeout(message, timeout)))
    }

    /// As [`Req::request_async`]. Writes the question now, and sends it at the first poll.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), without `TimedOut`.
    pub fn request_async(
        &self,
        question: &Q,
    ) -> impl Future<Output = Result<A, Error<RequestError>>> + Send + use<Q, A, C> {
        let asking = trace::Asking::begin(&self.socket);
        let message = self.asked.write(b"", asking.wire(), question);
        let requesting = message.map(|message| self.socket.request_async(message));
        asking.during_async(Awaiting { requesting, format: self.answered.clone() })
    }
}

/// A question under way: a block of its own would move the request once more.
struct Awaiting<A, C> {
    requesting: Result<Requesting, CodecError>,
    format: Format<A, C>,
}

impl<A, C: Codec<A>> Future for Awaiting<A, C> {
    type Output = Result<A, Error<RequestError>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { requesting, format } = self.get_mut();
        match requesting {
            Ok(requesting) => Pin::new(requesting).poll(cx).map(|reply| read(format, reply)),
            Err(error) => Poll::Ready(Err(Error::Encode(error.clone()))),
        }
    }
}

/// Reads the answer in a reply.
fn read<A, C: Codec<A>>(
    format: &Format<A, C>,
    reply: Result<Message, RequestError>,
) -> Result<A, Error<RequestError>> {
    let reply = reply?;
    match format.read_value(&reply) {
        Ok(answer) => Ok(answer),
        Err(misfit) => Err(Error::Decode(Undecoded::new(reply, misfit))),
    }
}

/// REP or RESPONDENT with values: receives questions `Q`, each with the right to give an answer `A` once. The
/// role says which of the two: programs name it [`Replies`] or [`Answers`].
///
/// A question that is no value is answered with "not understood" by [`Replies`], and not at all by [`Answers`].
pub struct Responder<R: role::Role, Q, A, C = Postcard> {
    socket: Socket<R>,
    asked: Format<Q, C>,
    answered: Format<A, C>,
    refuse: Arc<Refuse>,
}

common!(Responder<R: AnswersRole, Q, A>, Socket<R>);

/// REP with values: receives requests, each with the right to answer it once.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use sinew::typed::{Replies, Requests};
///
/// let (requests, replies) = (Requests::<String, usize>::new(), Replies::<String, usize>::new());
/// replies.bind("inproc://replies-doc").unwrap();
/// requests.connect("inproc://replies-doc").unwrap();
/// std::thread::spawn(move || {
///     for query in replies.iter() {
///         let length = query.len();
///         query.reply(&length).expect("the socket is open");
///     }
/// });
/// assert_eq!(requests.request(&"hello".to_owned()).unwrap(), 5);
/// # }
/// ```
pub type Replies<Q, A, C = Postcard> = Responder<role::Rep, Q, A, C>;

/// RESPONDENT with values: receives surveys, and may answer each. See [`Surveys`](super::Surveys).
pub type Answers<Q, A, C = Postcard> = Responder<role::Respondent, Q, A, C>;

impl<R: AnswersRole, Q, A, C> Clone for Responder<R, Q, A, C> {
    fn clone(&self) -> Self {
        Self {
            socket: self.socket.clone(),
            asked: self.asked.clone(),
            answered: self.answered.clone(),
            refuse: Arc::clone(&self.refuse),
        }
    }
}

impl<R: AnswersRole, Q, A, C: Codec<Q> + Codec<A>> Default for Responder<R, Q, A, C> {
    fn default() -> Self {
        Self::new()
    }
}

impl<R: AnswersRole, Q, A, C: Codec<Q> + Codec<A>> Responder<R, Q, A, C> {
    /// Makes one with a socket of its own, with the defaults.
    pub fn new() -> Self {
        Self::with(Socket::new(), Format::new(), Format::new())
    }

    /// Makes one of a socket, with the formats of questions and answers.
    pub fn with(socket: Socket<R>, asked: Format<Q, C>, answered: Format<A, C>) -> Self {
        Self { socket, asked, answered, refuse: Arc::default() }
    }

    receives!(Query<R, Q, A, C>, R, Q, A, C);

    fn read(&self, asked: Asked<R>) -> Option<Result<Query<R, Q, A, C>, Undecoded>> {
        match self.asked.read(asked.message()) {
            Ok((question, context)) => {
                let span = trace::Answering::begin(context, &self.socket);
                let owed = Owed { asked, format: self.answered.clone(), span };
                Some(Ok(Query { question, owed }))
            }
            Err(misfit) => self.refuse(asked, misfit).map(Err),
        }
    }

    /// Counts a question that is no value, and tells whoever has asked. Returns it if it is to be reported.
    #[cold]
    fn refuse(&self, asked: Asked<R>, misfit: Misfit) -> Option<Undecoded> {
        // Counted first: who is told may look at the count.
        let refused = self.refused(Undecoded::new(asked.message().clone(), misfit));
        if R::Protocol::ID == ProtocolId::REP {
            // If it cannot be sent, whoever has asked is gone.
            let _ = asked.reply(not_understood());
        }
        refused
    }
}

/// A question that was received, and the right to answer it once. It derefs to the question.
///
/// Dropping it gives up the answer, as dropping a [`Request`](crate::Request) does.
#[must_use = "whoever asked waits for the answer"]
pub struct Query<R: AnswersRole, Q, A, C = Postcard> {
    question: Q,
    owed: Owed<R, A, C>,
}

impl<R: AnswersRole, Q, A, C: Codec<A>> Query<R, Q, A, C> {
    /// The question.
    pub fn question(&self) -> &Q {
        &self.question
    }

    /// Answers. Does not wait: see [`Asked::reply`].
    ///
    /// # Errors
    ///
    /// As there; or [`Error::Encode`], which gives the answer up.
    pub fn reply(self, answer: &A) -> Result<(), Error<ReplyError<Asked<R>>>> {
        self.owed.reply(answer)
    }

    /// As [`reply`](Self::reply), which does not wait either.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn try_reply(self, answer: &A) -> Result<(), Error<ReplyError<Asked<R>>>> {
        self.owed.try_reply(answer)
    }

    /// As [`reply`](Self::reply), when the future is first polled, which it need not be again.
    ///
    /// # Errors
    ///
    /// As [`reply`](Self::reply).
    pub fn reply_async(
        self,
        answer: &A,
    ) -> impl Future<Output = Result<(), Error<ReplyError<Asked<R>>>>> + Send + use<R, Q, A, C>
    {
        self.owed.reply_async(answer)
    }

    /// The question, and the right to answer it.
    pub fn into_parts(self) -> (Q, Owed<R, A, C>) {
        (self.question, self.owed)
    }

    /// The span of answering, which follows from the one in which the question was asked. It ends with the
    /// query. Only with the feature `tracing`.
    #[cfg(feature = "tracing")]
    pub fn span(&self) -> &trace::Answering {
        &self.owed.span
    }
}

/// The right to answer a question once, apart from the question: made by [`Query::into_parts`].
#[must_use = "whoever asked waits for the answer"]
pub struct Owed<R: AnswersRole, A, C = Postcard> {
    asked: Asked<R>,
    format: Format<A, C>,
    span: trace::Answering,
}

impl<R: AnswersRole, A, C: Codec<A>> Owed<R, A, C> {
    /// As [`Query::reply`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reply(self, answer: &A) -> Result<(), Error<ReplyError<Asked<R>>>> {
        let message = self.format.write_value(b"", answer).map_err(Error::Encode)?;
        Ok(self.asked.reply(message)?)
    }

    /// As [`Query::try_reply`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_reply(self, answer: &A) -> Result<(), Error<ReplyError<Asked<R>>>> {
        let message = self.format.write_value(b"", answer).map_err(Error::Encode)?;
        Ok(self.asked.try_reply(message)?)
    }

    /// As [`Query::reply_async`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn reply_async(
        self,
        answer: &A,
    ) -> impl Future<Output = Result<(), Error<ReplyError<Asked<R>>>>> + Send + use<R, A, C> {
        let message = self.format.write_value(b"", answer).map_err(Error::Encode);
        let (asked, span) = (self.asked, self.span);
        async move {
            let sent = asked.reply_async(message?).await;
            drop(span);
            Ok(sent?)
        }
    }

    /// The right to answer in bytes.
    pub fn into_asked(self) -> Asked<R> {
        self.asked
    }
}

impl<R: AnswersRole, A, C> fmt::Debug for Owed<R, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Owed").finish_non_exhaustive()
    }
}

impl<R: AnswersRole, Q, A, C> Deref for Query<R, Q, A, C> {
    type Target = Q;

    fn deref(&self) -> &Q {
        &self.question
    }
}

impl<R: AnswersRole, Q: fmt::Debug, A, C> fmt::Debug for Query<R, Q, A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Query").field(&self.question).finish()
    }
}
