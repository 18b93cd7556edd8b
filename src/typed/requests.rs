//! Questions and answers: REQ and REP, and RESPONDENT, which answers the same way.

use std::fmt;
use std::ops::Deref;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use super::codec::{Codec, CodecError, Postcard};
use super::format::{Error, Format, Undecoded, not_understood};
use super::receive::{Read, Reads};
use super::socket::Typed;
use super::trace;
use crate::api::role::Answers as AnswersRole;
use crate::api::{Asked, Rep, ReplyError, Req, Requesting, Respondent, Socket};
use crate::error::RequestError;
use crate::message::Message;
use crate::protocol::Protocol;
use crate::protocol_id::ProtocolId;

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
pub type Requests<Q, A, C = Postcard> = Typed<Req, (Format<Q, C>, Format<A, C>)>;

/// The calls of [`Requests`].
impl<Q, A, C: Codec<Q> + Codec<A>> Requests<Q, A, C> {
    /// As [`Req::request`].
    ///
    /// # Errors
    ///
    /// As there; [`Error::Encode`], [`Error::Decode`].
    pub fn request(&self, question: &Q) -> Result<A, Error<RequestError>> {
        let (asked, answered) = &self.format;
        let asking = trace::Asking::begin(&self.socket);
        let message = asked.write(b"", asking.wire(), question).map_err(Error::Encode)?;
        read(answered, asking.during(|| self.socket.request(message)))
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
        let (asked, answered) = &self.format;
        let asking = trace::Asking::begin(&self.socket);
        let message = asked.write(b"", asking.wire(), question).map_err(Error::Encode)?;
        read(answered, asking.during(|| self.socket.request_timeout(message, timeout)))
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
        let (asked, answered) = &self.format;
        let asking = trace::Asking::begin(&self.socket);
        let message = asked.write(b"", asking.wire(), question);
        let requesting = message.map(|message| self.socket.request_async(message));
        asking.during_async(Awaiting { requesting, format: answered.clone() })
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

/// REP with values: receives requests, each with the right to answer it once.
///
/// A request that is no value is answered with "not understood".
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
pub type Replies<Q, A, C = Postcard> = Typed<Rep, (Format<Q, C>, Format<A, C>)>;

/// RESPONDENT with values: receives surveys, and may answer each. See [`Surveys`](super::Surveys).
///
/// A survey that is no value is not answered at all.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use std::time::Duration;
/// use sinew::typed::{Answers, Surveys};
///
/// let (surveys, answers) = (Surveys::<String, u32>::new(), Answers::<String, u32>::new());
/// surveys.bind("inproc://answers-doc").unwrap();
/// answers.connect("inproc://answers-doc").unwrap();
/// surveys.wait_for_peers(1, Duration::from_secs(5)).unwrap();
/// let mut survey = surveys.survey(&"how many?".to_owned()).unwrap();
/// let query = answers.recv().unwrap();
/// assert_eq!(*query, "how many?");
/// query.reply(&42).unwrap();
/// assert_eq!(survey.next(), Some(42));
/// # }
/// ```
pub type Answers<Q, A, C = Postcard> = Typed<Respondent, (Format<Q, C>, Format<A, C>)>;

impl<R: AnswersRole, Q, A, C: Codec<Q> + Codec<A>> Reads<(Format<Q, C>, Format<A, C>)> for R {
    type Value = Query<R, Q, A, C>;

    fn read(
        typed: &Typed<Socket<R>, (Format<Q, C>, Format<A, C>)>,
        asked: Asked<R>,
    ) -> Read<Query<R, Q, A, C>> {
        let (questions, answers) = &typed.format;
        match questions.read(asked.message()) {
            Ok((question, context)) => {
                let span = trace::Answering::begin(context, &typed.socket);
                let owed = Owed { asked, format: answers.clone(), span };
                Some(Ok(Query { question, owed }))
            }
            Err(misfit) => {
                // Counted first: who is told may look at the count.
                let refused = typed.refused(asked.message().clone(), misfit);
                if R::Protocol::ID == ProtocolId::REP {
                    // If it cannot be sent, whoever has asked is gone.
                    let _ = asked.reply(not_understood());
                }
                refused.map(Err)
            }
        }
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
            let _until_it_is_sent = span;
            Ok(asked.reply_async(message?).await?)
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
