//! Requests and surveys by handle: any number at once.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use sinew::{
    Message, Question, Readiness, Rep, Req, Request, RequestError, Respondent, Survey, Surveyor,
    role,
};

use super::failure::{Failure, call, run};
use super::message::{self, sinew_message};
use super::socket::{give, patience, read, show, sinew_socket, with};
use crate::engine::{Answerer, Asker, Engine, Patience};
use crate::errno::{
    EBADF, ECONNRESET, EFORKED, EINTR, EMSGSIZE, ENOTRECOVERABLE, EPROTO, ETIMEDOUT, Errno,
};

/// A request or survey that was received, and the right to answer it once.
pub struct sinew_request {
    asked: Asked,
}

enum Asked {
    Request(Request),
    Question(Question),
}

impl Asked {
    fn message(&self) -> &Message {
        match self {
            Self::Request(request) => request.message(),
            Self::Question(question) => question.message(),
        }
    }
}

/// A survey under way.
pub struct sinew_survey {
    survey: Survey,
    recv_readiness: OnceLock<Readiness>,
}

impl From<&RequestError> for Errno {
    fn from(error: &RequestError) -> Self {
        match error {
            RequestError::Closed(_) => EBADF,
            RequestError::Forked(_) => EFORKED,
            RequestError::TimedOut(..) => ETIMEDOUT,
            RequestError::Interrupted(_) => EINTR,
            RequestError::ConnectionReset(_) | RequestError::GivenUp { .. } => ECONNRESET,
            RequestError::BadReply { .. } => EPROTO,
            RequestError::TooLarge { .. } => EMSGSIZE,
            _ => ENOTRECOVERABLE,
        }
    }
}

/// Sends a request over a REQ, and waits for its reply for so many milliseconds at most. Any number of threads may do
/// so at once. A request without a reply in that time is given up.
///
/// # Safety
///
/// The socket is not freed, so many bytes can be read, and `reply` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_send(
    socket: *const sinew_socket,
    data: *const c_void,
    length: usize,
    reply: *mut *mut sinew_message,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, message) = unsafe { (with(socket)?, read(data, length)?) };
        let Patience::For(time) = Patience::of(milliseconds) else { return Ok(()) };
        let received =
            req(engine).ok_or_else(Failure::not_supported)?.request_timeout(message, time)?;
        // SAFETY: by the caller.
        unsafe { give(reply, message::wrap(received)) }
    })
}

/// Receives a request over a REP, or a survey over a RESPONDENT, waiting for so many milliseconds at most. Each must
/// be answered or freed; until then others can be received.
///
/// # Safety
///
/// The socket is not freed, and `request` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_recv(
    socket: *const sinew_socket,
    request: *mut *mut sinew_request,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let engine = unsafe { with(socket) }?;
        let asked = match (rep(engine), respondent(engine)) {
            (Some(rep), _) => Asked::Request(match patience(milliseconds) {
                Patience::None => rep.try_recv()?,
                Patience::For(time) => rep.recv_timeout(time)?,
            }),
            (_, Some(respondent)) => Asked::Question(match patience(milliseconds) {
                Patience::None => respondent.try_recv()?,
                Patience::For(time) => respondent.recv_timeout(time)?,
            }),
            _ => return Err(Failure::not_supported()),
        };
        // SAFETY: by the caller.
        unsafe { give(request, sinew_request { asked }) }
    })
}

/// The bytes of a request, which live as long as it.
///
/// # Safety
///
/// The request is neither answered nor freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_data(request: *const sinew_request) -> *const c_void {
    // SAFETY: by the caller.
    unsafe { request.as_ref() }.map_or(std::ptr::null(), |it| it.asked.message().as_ptr().cast())
}

/// How many bytes a request has.
///
/// # Safety
///
/// The request is neither answered nor freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_size(request: *const sinew_request) -> usize {
    // SAFETY: by the caller.
    unsafe { request.as_ref() }.map_or(0, |it| it.asked.message().len())
}

/// The number of the pipe on which a request came, as in `sinew_peers`.
///
/// # Safety
///
/// The request is neither answered nor freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_pipe(request: *const sinew_request) -> u32 {
    // SAFETY: by the caller.
    let pipe = unsafe { request.as_ref() }.and_then(|it| it.asked.message().pipe());
    pipe.map_or(0, |pipe| pipe.get())
}

/// Answers a request, and frees it, whatever it returns. Never waits.
///
/// # Safety
///
/// The request is neither answered nor freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_reply(
    request: *mut sinew_request,
    data: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        if request.is_null() {
            return Err(Failure::invalid("there is no request"));
        }
        // SAFETY: by the caller.
        let request = unsafe { Box::from_raw(request) };
        // SAFETY: by the caller.
        let reply = unsafe { read(data, length) }?;
        let failed = match request.asked {
            Asked::Request(request) => request.reply(reply).map_err(|error| error.into_parts().1),
            Asked::Question(question) => {
                question.reply(reply).map_err(|error| error.into_parts().1)
            }
        };
        Ok(failed?)
    })
}

/// Frees a request without an answer.
///
/// # Safety
///
/// The request is null, or neither answered nor freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_request_free(request: *mut sinew_request) {
    run((), || {
        if !request.is_null() {
            // SAFETY: by the caller.
            drop(unsafe { Box::from_raw(request) });
        }
    });
}

/// Sends a survey over a SURVEYOR to all that are connected. Never waits. Its answers count until the deadline.
///
/// # Safety
///
/// The socket is not freed, so many bytes can be read, and `survey` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_survey_send(
    socket: *const sinew_socket,
    data: *const c_void,
    length: usize,
    survey: *mut *mut sinew_survey,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, message) = unsafe { (with(socket)?, read(data, length)?) };
        let begun = surveyor(engine).ok_or_else(Failure::not_supported)?.survey(message)?;
        // SAFETY: by the caller.
        unsafe { give(survey, sinew_survey { survey: begun, recv_readiness: OnceLock::new() }) }
    })
}

/// Receives the next answer to a survey, waiting for so many milliseconds, at most until the deadline, when it fails
/// with ETIMEDOUT.
///
/// # Safety
///
/// The survey is not freed, and `answer` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_survey_recv(
    survey: *const sinew_survey,
    answer: *mut *mut sinew_message,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let survey = unsafe { survey.as_ref() };
        let survey = &survey.ok_or_else(|| Failure::invalid("there is no survey"))?.survey;
        let received = match patience(milliseconds) {
            Patience::None => survey.try_recv()?,
            Patience::For(time) => survey.recv_timeout(time)?,
        };
        // SAFETY: by the caller.
        unsafe { give(answer, message::wrap(received)) }
    })
}

/// A descriptor that is readable while there is an answer, or the survey is over. Only to be polled; it lives as long as
/// the survey.
///
/// # Safety
///
/// The survey is not freed, and `descriptor` points to an `int`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_survey_recv_fd(
    survey: *const sinew_survey,
    descriptor: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let survey = unsafe { survey.as_ref() };
        let survey = survey.ok_or_else(|| Failure::invalid("there is no survey"))?;
        let make = || Some(survey.survey.recv_readiness());
        // SAFETY: by the caller.
        unsafe { show(&survey.recv_readiness, make, descriptor) }
    })
}

/// Ends a survey.
///
/// # Safety
///
/// The survey is null, or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_survey_free(survey: *mut sinew_survey) {
    run((), || {
        if !survey.is_null() {
            // SAFETY: by the caller.
            drop(unsafe { Box::from_raw(survey) });
        }
    });
}

pub(super) fn req(engine: &dyn Engine) -> Option<&Req> {
    engine.as_any().downcast_ref::<Asker<role::Req>>().map(|asker| &asker.socket)
}

pub(super) fn surveyor(engine: &dyn Engine) -> Option<&Surveyor> {
    engine.as_any().downcast_ref::<Asker<role::Surveyor>>().map(|asker| &asker.socket)
}

pub(super) fn rep(engine: &dyn Engine) -> Option<&Rep> {
    engine.as_any().downcast_ref::<Answerer<role::Rep>>().map(|answerer| &answerer.socket)
}

pub(super) fn respondent(engine: &dyn Engine) -> Option<&Respondent> {
    engine.as_any().downcast_ref::<Answerer<role::Respondent>>().map(|answerer| &answerer.socket)
}
