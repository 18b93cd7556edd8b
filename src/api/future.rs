//! The future of an answer, which gives the right to answer back where it fails.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::answer::ReplyError;
use super::send::{POLLED_TOO_OFTEN, SendsAsync};
use crate::message::Message;
use crate::socket::wait::Spot;

/// An answer that is being sent: what `reply_async` yields.
///
/// Dropping it before it is ready gives the right to answer up. Keeps the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Replying<T: SendsAsync> {
    /// Until the answer is sent, or given back.
    asked: Option<T>,
    answer: Option<Message>,
    spot: Spot,
}

impl<T: SendsAsync> Replying<T> {
    pub(super) fn new(asked: T, answer: Message) -> Self {
        Self { asked: Some(asked), answer: Some(answer), spot: Spot::default() }
    }
}

impl<T: SendsAsync> Future for Replying<T> {
    type Output = Result<(), ReplyError<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { asked, answer, spot } = &mut *self;
        let polled = asked.as_ref().expect(POLLED_TOO_OFTEN).poll_send(answer, spot, cx);
        polled.map(|sent| {
            let asked = asked.take().expect("it was there a moment ago");
            sent.map_err(|error| ReplyError::new(asked, error))
        })
    }
}

impl<T: SendsAsync> Drop for Replying<T> {
    fn drop(&mut self) {
        if let Some(asked) = &self.asked {
            asked.leave(&mut self.spot);
        }
    }
}

impl<T: SendsAsync> fmt::Debug for Replying<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replying").field("answer", &self.answer).finish_non_exhaustive()
    }
}
