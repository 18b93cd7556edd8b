//! Contexts: conversations of their own on one socket, with a send and a receive.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use sinew::{
    Message, Readiness, RecvError, RepContext, ReqContext, RespondentContext, SendError,
    SubContext, SurveyorContext,
};

use super::failure::{Failure, call, run};
use super::message::{self, sinew_message};
use super::request::{rep, req, respondent, surveyor};
use super::socket::{bytes, give, patience, read, show, sinew_socket, with};
use crate::engine::{Engine, Patience, Subscriber};
use crate::errno::EBADF;

/// A context of a REQ, REP, SUB, SURVEYOR or RESPONDENT.
pub struct sinew_context {
    context: Kept,
    recv_readiness: OnceLock<Readiness>,
}

enum Kept {
    Req(ReqContext),
    Rep(RepContext),
    Sub(SubContext),
    Surveyor(SurveyorContext),
    Respondent(RespondentContext),
}

impl Kept {
    fn of(engine: &dyn Engine) -> Option<Self> {
        if let Some(subscriber) = engine.as_any().downcast_ref::<Subscriber>() {
            return Some(Self::Sub(subscriber.socket.context()));
        }
        let asking = req(engine).map(|socket| Self::Req(socket.context()));
        asking
            .or_else(|| surveyor(engine).map(|socket| Self::Surveyor(socket.context())))
            .or_else(|| rep(engine).map(|socket| Self::Rep(socket.context())))
            .or_else(|| respondent(engine).map(|socket| Self::Respondent(socket.context())))
    }

    fn send(&self, message: Message) -> Option<Result<(), SendError>> {
        Some(match self {
            Self::Req(context) => context.send(message),
            Self::Rep(context) => context.send(message),
            Self::Surveyor(context) => context.send(message),
            Self::Respondent(context) => context.send(message),
            Self::Sub(_) => return None,
        })
    }

    fn recv_readiness(&self) -> std::io::Result<Readiness> {
        match self {
            Self::Req(context) => context.recv_readiness(),
            Self::Rep(context) => context.recv_readiness(),
            Self::Sub(context) => context.recv_readiness(),
            Self::Surveyor(context) => context.recv_readiness(),
            Self::Respondent(context) => context.recv_readiness(),
        }
    }

    fn recv(&self, patience: Patience) -> Result<Message, RecvError> {
        macro_rules! recv {
            ($context:ident) => {
                match patience {
                    Patience::None => $context.try_recv(),
                    Patience::For(time) => $context.recv_timeout(time),
                }
            };
        }
        match self {
            Self::Req(context) => recv!(context),
            Self::Rep(context) => recv!(context),
            Self::Sub(context) => recv!(context),
            Self::Surveyor(context) => recv!(context),
            Self::Respondent(context) => recv!(context),
        }
    }
}

/// Makes a context. It copies the socket's options, and has no subscriptions.
///
/// # Safety
///
/// The socket is not freed, and `context` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_open(
    socket: *const sinew_socket,
    context: *mut *mut sinew_context,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let kept = Kept::of(unsafe { with(socket) }?).ok_or_else(Failure::not_supported)?;
        // SAFETY: by the caller.
        unsafe { give(context, sinew_context { context: kept, recv_readiness: OnceLock::new() }) }
    })
}

/// Sends a request, a survey or an answer. Never waits. EFSM: there is nothing to answer.
///
/// # Safety
///
/// The context is not freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_send(
    context: *const sinew_context,
    data: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (context, message) = unsafe { (kept(context)?, read(data, length)?) };
        context.send(message).ok_or_else(Failure::not_supported)??;
        Ok(())
    })
}

/// Receives, waiting for so many milliseconds at most. EFSM: nothing was asked.
///
/// # Safety
///
/// The context is not freed, and `message` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_recv(
    context: *const sinew_context,
    message: *mut *mut sinew_message,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let received = unsafe { kept(context) }?.recv(patience(milliseconds))?;
        // SAFETY: by the caller.
        unsafe { give(message, message::wrap(received)) }
    })
}

/// A descriptor that is readable while a receive would not wait. Only to be polled; it lives as long as the context.
///
/// # Safety
///
/// The context is not freed, and `descriptor` points to an `int`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_recv_fd(
    context: *const sinew_context,
    descriptor: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let whole = unsafe { context.as_ref() };
        let whole = whole.ok_or_else(|| Failure::invalid("there is no context"))?;
        let made = || Some(whole.context.recv_readiness());
        // SAFETY: by the caller.
        unsafe { show(&whole.recv_readiness, made, descriptor) }
    })
}

/// Subscribes a context of a SUB. A second time changes nothing.
///
/// # Safety
///
/// The context is not freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_subscribe(
    context: *const sinew_context,
    topic: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (context, topic) = unsafe { (kept(context)?, bytes(topic, length)?) };
        let Kept::Sub(context) = context else { return Err(Failure::not_supported()) };
        context.subscribe(topic).map_err(|error| Failure::new(EBADF, error.to_string()))
    })
}

/// Closes and frees a context.
///
/// # Safety
///
/// The context is null, or not freed yet, and no call on it is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_context_free(context: *mut sinew_context) {
    run((), || {
        if !context.is_null() {
            // SAFETY: by the caller.
            drop(unsafe { Box::from_raw(context) });
        }
    });
}

/// # Safety
///
/// The context is null, or not freed and outlives the result.
unsafe fn kept<'a>(context: *const sinew_context) -> Result<&'a Kept, Failure> {
    // SAFETY: by the caller.
    let context = unsafe { context.as_ref() };
    Ok(&context.ok_or_else(|| Failure::invalid("there is no context"))?.context)
}
