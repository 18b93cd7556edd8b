//! Surveys with values.

use std::fmt;
use std::time::{Duration, Instant};

use super::codec::{Codec, Postcard};
use super::format::{Error, Format, Refuse, Undecoded};
use super::receive::{End, Read, next, until_read};
use super::socket::Typed;
use crate::api::{self, Surveyor};
use crate::error::{RecvError, SendError};
use crate::message::Message;
use crate::sync::Arc;

/// SURVEYOR with values: asks all peers, and collects answers until a deadline.
///
/// ```
/// # #[cfg(feature = "postcard")] {
/// use std::time::Duration;
/// use sinew::typed::{Answers, Format, Surveys};
///
/// let options = sinew::Options::new().survey_deadline(Duration::from_millis(200));
/// let surveyor = sinew::Surveyor::with_options(options).unwrap();
/// let surveys = Surveys::<u32, u32>::with(surveyor, Format::new(), Format::new());
/// let answers = Answers::<u32, u32>::new();
/// surveys.bind("inproc://surveys-doc").unwrap();
/// answers.connect("inproc://surveys-doc").unwrap();
/// std::thread::spawn(move || answers.recv().unwrap().reply(&42));
/// surveys.wait_for_peers(1, Duration::from_secs(5)).unwrap();
/// assert_eq!(surveys.survey(&7).unwrap().collect::<Vec<_>>(), [42]);
/// # }
/// ```
pub type Surveys<Q, A, C = Postcard> = Typed<Surveyor, (Format<Q, C>, Format<A, C>)>;

/// The calls of [`Surveys`].
impl<Q, A, C: Codec<Q> + Codec<A>> Surveys<Q, A, C> {
    /// Asks all connected peers: see [`Surveyor::survey`].
    ///
    /// # Errors
    ///
    /// As there, or [`Error::Encode`].
    pub fn survey(&self, question: &Q) -> Result<Survey<A, C>, Error<SendError>> {
        let (asked, answered) = &self.format;
        let message = asked.write_value(b"", question).map_err(Error::Encode)?;
        let survey = self.socket.survey(message)?;
        let (format, refuse) = (answered.clone(), Arc::clone(&self.refuse));
        Ok(Survey { survey, name: self.socket.name().into(), format, refuse })
    }

    /// Returns answers that are no values as [`Error::Decode`], with their bytes, in place of passing over
    /// them.
    #[must_use]
    pub fn reporting(self) -> Self {
        Self { refuse: Arc::new(Refuse::reporting()), ..self }
    }

    /// How many answers were no values.
    pub fn undecoded(&self) -> u64 {
        self.refuse.count()
    }
}

/// A survey under way: yields answers until its deadline. See [`Survey`](crate::Survey).
#[must_use = "the survey ends when this is dropped"]
pub struct Survey<A, C = Postcard> {
    survey: api::Survey,
    name: Box<str>,
    format: Format<A, C>,
    refuse: Arc<Refuse>,
}

impl<A, C: Codec<A>> Survey<A, C> {
    /// When the survey ends; `None`: it has no end.
    pub fn deadline(&self) -> Option<Instant> {
        self.survey.deadline()
    }

    /// As [`Survey::recv`](crate::Survey::recv).
    ///
    /// # Errors
    ///
    /// As there; [`Error::Decode`] only if the surveys are [`reporting`](Surveys::reporting).
    pub fn recv(&self) -> Result<A, Error<RecvError>> {
        until_read(|| self.survey.recv(), |answer| self.read(answer))
    }

    /// As [`Survey::try_recv`](crate::Survey::try_recv).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv), with `WouldBlock` in place of `TimedOut` before the deadline.
    pub fn try_recv(&self) -> Result<A, Error<RecvError>> {
        until_read(|| self.survey.try_recv(), |answer| self.read(answer))
    }

    /// As [`Survey::recv_timeout`](crate::Survey::recv_timeout).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<A, Error<RecvError>> {
        let end = End::after(timeout);
        until_read(|| self.survey.recv_timeout(end.left()), |answer| self.read(answer))
    }

    /// As [`Survey::recv_async`](crate::Survey::recv_async).
    ///
    /// # Errors
    ///
    /// As [`recv`](Self::recv).
    #[expect(clippy::manual_async_fn, reason = "it says that it may move between threads")]
    pub fn recv_async(&self) -> impl Future<Output = Result<A, Error<RecvError>>> + Send + '_ {
        async move {
            loop {
                if let Some(read) = self.read(self.survey.recv_async().await?) {
                    return read.map_err(Error::Decode);
                }
            }
        }
    }

    fn read(&self, answer: Message) -> Read<A> {
        match self.format.read_value(&answer) {
            Ok(answer) => Some(Ok(answer)),
            Err(misfit) => self.refuse.note(&self.name, Undecoded::new(answer, misfit)).map(Err),
        }
    }
}

/// Passes over what is no value.
impl<A, C: Codec<A>> Iterator for Survey<A, C> {
    type Item = A;

    fn next(&mut self) -> Option<A> {
        next(|| self.recv_timeout(Duration::MAX))
    }
}

impl<A, C> fmt::Debug for Survey<A, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Survey").field(&self.survey).finish()
    }
}
