//! REQ as a program sees it.
//!
//! Owns [`Req`] and the future of its requests. A request opens a conversation, waits for the reply and closes
//! the conversation in one call; a context has the steps as separate calls.

use std::pin::Pin;
use std::task::ready;

use super::prelude::*;
use super::send::POLLED_TOO_OFTEN;
use crate::api::context::Conversing;
use crate::error::{Call, RequestError};
use crate::protocol::{Awaited, Conversation, RecvRefusal};
use crate::random;
use crate::socket::Entry;
use crate::socket::wait::Failure;

/// REQ: sends requests, and gets the reply to each.
///
/// Any number of threads and tasks may ask through one socket at once; each gets the reply to its own
/// request. A request goes to one of the connected REPs, balanced over all. The socket holds it while there is
/// none, and sends it again when the REP that had it is lost or has not answered within the resend interval,
/// so a REP may see a request more than once. At most one reply is delivered, from a REP that was asked.
///
/// The rules in full: [semantics, 5.1](crate::spec::semantics#51-req).
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
///
/// Sending and receiving are one call, since a reply belongs to its request:
///
/// ```compile_fail,E0277
/// sinew::Req::new().send("what is the answer?");
/// ```
/// ```compile_fail,E0277
/// sinew::Req::new().recv();
/// ```
#[doc(alias("NN_REQ", "nng_req0_open", "ZMQ_REQ", "ZMQ_DEALER", "client"))]
pub type Req = Socket<role::Req, NoSend, NoRecv>;

impl Configured for protocol::Req {
    fn with_options(_: &Options) -> Self {
        Self::new(random::number())
    }
}

impl Req {
    /// Sends a request and waits for its reply, up to the receive timeout.
    ///
    /// # Errors
    ///
    /// `TimedOut`, `Closed`, `ConnectionReset` (only with resending switched off), `BadReply`, `GivenUp`
    /// (only with [`max_resends`](Options::max_resends)) or `TooLarge`; each gives the request back. After an
    /// error the request is given up: its reply is dropped if it comes.
    #[doc(alias(
        "ask", "call", "nn_send", "nn_recv", "nng_send", "nng_recv", "zmq_send", "zmq_recv"
    ))]
    pub fn request(&self, message: impl Into<Message>) -> Result<Message, RequestError> {
        self.ask(message.into(), Patience::AsSet)
    }

    /// Sends a request and waits for its reply, up to `timeout`. Zero: sends it, checks for a reply once, and
    /// gives it up; `Duration::MAX`: forever.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request).
    pub fn request_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<Message, RequestError> {
        self.ask(message.into(), Patience::For(Some(timeout)))
    }

    /// Sends a request and waits for its reply as a task. Has no timeout of its own.
    ///
    /// Sends nothing before the first poll. Dropping the future gives the request up: its reply is dropped if
    /// it comes, and the peer may have acted on the request.
    ///
    /// # Errors
    ///
    /// As [`request`](Self::request), without `TimedOut`.
    pub fn request_async(&self, message: impl Into<Message>) -> Requesting {
        Requesting {
            core: self.core.clone(),
            message: Some(message.into()),
            asked: None,
            wait: TaskWait::default(),
        }
    }

    fn ask(&self, message: Message, patience: Patience) -> Result<Message, RequestError> {
        let (mut asked, awaited) = open_request(&self.core, &message, None)?;
        let attempt = asked.last_recv(awaited);
        let reply = self
            .core
            .wait_begun(awaited.interest(), patience, attempt)
            .map_err(|failure| request_error(&self.core, failure, message))?;
        asked.mark_over();
        Ok(reply)
    }
}

/// A request under way: the future of [`Req::request_async`].
///
/// The first poll sends the request. Dropping the future gives it up: its reply is dropped if it comes. Keeps
/// the socket open.
#[must_use = "futures do nothing unless they are polled"]
pub struct Requesting {
    core: Handle<protocol::Req>,
    /// Until there is a reply, or it is given back.
    message: Option<Message>,
    /// Once it is sent.
    asked: Option<(Conversing<protocol::Req>, Awaited)>,
    wait: TaskWait,
}

impl Future for Requesting {
    type Output = Result<Message, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Self::Output> {
        let Self { core, message, asked, wait } = &mut *self;
        let request = message.as_ref().expect(POLLED_TOO_OFTEN);
        let polled = match asked {
            Some((conversing, awaited)) => {
                let attempt = conversing.last_recv(*awaited);
                core.poll_wait(awaited.interest(), wait, cx, attempt)
            }
            None => match open_request(core, request, Some((&mut *wait, &*cx))) {
                Ok(opened) => {
                    let (conversing, awaited) = asked.insert(opened);
                    let attempt = conversing.last_recv(*awaited);
                    core.poll_begun(awaited.interest(), wait, cx, attempt)
                }
                Err(error) => {
                    *message = None;
                    return Poll::Ready(Err(error));
                }
            },
        };
        let outcome = ready!(polled);
        if let (Ok(_), Some((conversing, _))) = (&outcome, &mut *asked) {
            conversing.mark_over();
        }
        // Ends the conversation of a request that has failed.
        *asked = None;
        let request = message.take().expect("it was there a moment ago");
        Poll::Ready(outcome.map_err(|failure| request_error(core, failure, request)))
    }
}

impl Drop for Requesting {
    fn drop(&mut self) {
        self.core.cancel_wait(&mut self.wait);
    }
}

impl fmt::Debug for Requesting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requesting").field("message", &self.message).finish_non_exhaustive()
    }
}

/// Opens a conversation and sends its one request. A `task` begins to wait for the reply in the same entry.
fn open_request(
    core: &Handle<protocol::Req>,
    message: &Message,
    task: Option<(&mut TaskWait, &task::Context<'_>)>,
) -> Result<(Conversing<protocol::Req>, Awaited), RequestError> {
    let mut body = message.body().clone();
    let mut outgoing = core
        .outgoing(&Conversation::FIRST, &mut body)
        .map_err(|excess| RequestError::too_large(message.clone(), excess))?;
    let resends = core.with_options(Options::resends);
    let open = |entry: &mut Entry<'_, protocol::Req>| {
        if entry.is_closed() {
            return None;
        }
        let (req, mut io, now) = entry.parts();
        let conversation = req.open(resends);
        // A REQ accepts every request: it holds those that it cannot send.
        outgoing.send(&conversation, req, &mut io, now).ok()?;
        Some((conversation, req.awaited(conversation).ok()?))
    };
    let opened = match task {
        None => core.enter(open),
        Some((wait, cx)) => core.begin_wait(wait, cx, open, |(_, awaited)| awaited.interest()),
    };
    let (conversation, awaited) = opened.ok_or_else(|| {
        if core.is_forked() {
            RequestError::Forked(message.clone())
        } else if core.is_lost() {
            RequestError::RuntimeLost(message.clone())
        } else {
            RequestError::Closed(message.clone())
        }
    })?;
    Ok((Conversing::new(core, conversation), awaited))
}

fn request_error(
    core: &Core<protocol::Req>,
    failure: Failure<RecvRefusal>,
    message: Message,
) -> RequestError {
    let waited = match failure {
        Failure::Closed => return RequestError::Closed(message),
        Failure::Forked => return RequestError::Forked(message),
        Failure::Lost => return RequestError::RuntimeLost(message),
        Failure::Interrupted => return RequestError::Interrupted(message),
        Failure::Refused(RecvRefusal::ConnectionReset) => {
            return RequestError::ConnectionReset(message);
        }
        Failure::Refused(RecvRefusal::BadReply(reason)) => {
            return RequestError::BadReply { message, reason };
        }
        Failure::Refused(RecvRefusal::GivenUp { sent, reason }) => {
            return RequestError::GivenUp { message, sent, reason };
        }
        Failure::TimedOut(waited) => Some(waited),
        Failure::WouldBlock | Failure::Refused(_) => None,
    };
    RequestError::TimedOut(message, core.situation(Call::Request, waited))
}
