//! Sockets.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;
use std::{ptr, slice};

use sinew::{Message, Options, Readiness, WaitError};

use super::failure::{Failure, call, run};
use super::message::{self, sinew_message};
use crate::engine::{self, Engine, Kind, Patience};
use crate::errno::{EBADF, EFORKED, EINVAL, ENOENT, ENOTRECOVERABLE, ETIMEDOUT, Errno};
use crate::process;

/// One to one.
pub const SINEW_PAIR: c_int = 16;
/// One to one, with a count of hops.
pub const SINEW_PAIR1: c_int = 17;
/// Sends to all.
pub const SINEW_PUB: c_int = 32;
/// Receives the messages that begin with one of its topics.
pub const SINEW_SUB: c_int = 33;
/// Sends requests, and gets a reply to each.
pub const SINEW_REQ: c_int = 48;
/// Receives requests, and answers each.
pub const SINEW_REP: c_int = 49;
/// Sends work.
pub const SINEW_PUSH: c_int = 80;
/// Receives work.
pub const SINEW_PULL: c_int = 81;
/// Asks all.
pub const SINEW_SURVEYOR: c_int = 98;
/// Answers surveys.
pub const SINEW_RESPONDENT: c_int = 99;
/// Sends to all and receives from all.
pub const SINEW_BUS: c_int = 112;

/// For a time in milliseconds: without end. Zero is one attempt, which fails with EAGAIN.
pub const SINEW_FOREVER: c_int = -1;

/// A socket. Any thread may use it; only its free must be the last call.
pub struct sinew_socket {
    pub(super) opened: Arc<Opened>,
}

/// What the process knows of a socket, to close it at its end.
pub(super) struct Opened {
    pub(super) engine: Box<dyn Engine>,
    recv_readiness: OnceLock<Readiness>,
    send_readiness: OnceLock<Readiness>,
}

static ALL: Mutex<Vec<Weak<Opened>>> = Mutex::new(Vec::new());

fn all() -> std::sync::MutexGuard<'static, Vec<Weak<Opened>>> {
    ALL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes the sockets that the program has left open.
pub(crate) fn close_all() {
    let open: Vec<_> = all().iter().filter_map(Weak::upgrade).collect();
    for opened in open {
        // It may be closed already.
        let _ = opened.engine.socket().close();
    }
}

/// Makes a socket of a kind, such as SINEW_REQ.
///
/// # Safety
///
/// `socket` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_socket_open(kind: c_int, socket: *mut *mut sinew_socket) -> c_int {
    call(|| {
        let kind =
            Kind::of(kind).ok_or_else(|| Failure::invalid("there is no such kind of socket"))?;
        let runtime = process::runtime()
            .map_err(|error| Failure::new(error, "the event loop could not be started"))?;
        let engine = engine::make(kind, &runtime, Options::new().interruptible(true))
            .map_err(|error| Failure::new(EINVAL, error.to_string()))?;
        let (recv_readiness, send_readiness) = (OnceLock::new(), OnceLock::new());
        let opened = Arc::new(Opened { engine, recv_readiness, send_readiness });
        let mut all = all();
        all.retain(|opened| opened.strong_count() > 0);
        all.push(Arc::downgrade(&opened));
        drop(all);
        // SAFETY: by the caller.
        unsafe { give(socket, sinew_socket { opened }) }
    })
}

/// Closes a socket: calls of other threads on it end with EBADF. What one write can still send is sent.
///
/// # Safety
///
/// The socket is open or closed, and not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_socket_close(socket: *const sinew_socket) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let socket = unsafe { with(socket) }?.socket();
        socket.close().map_err(|error| Failure::new(EBADF, error.to_string()))
    })
}

/// Closes a socket, if it is open, and frees it. What was made from it (contexts, requests, surveys) may live on.
///
/// # Safety
///
/// The socket is null, or not freed yet, and no other call on it is under way or will be.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_socket_free(socket: *mut sinew_socket) {
    run((), || {
        if !socket.is_null() {
            // SAFETY: by the caller, and it was made by `give`.
            let socket = unsafe { Box::from_raw(socket) };
            // It may be closed already.
            let _ = socket.opened.engine.socket().close();
        }
    });
}

/// Accepts connections at an address. The address that it has then, with the port for port 0, is written to `actual`,
/// which has `room` bytes, unless it is null.
///
/// # Safety
///
/// The socket is not freed, `url` is a string, and so much can be written at `actual`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_bind(
    socket: *const sinew_socket,
    url: *const c_char,
    actual: *mut c_char,
    room: usize,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, url) = unsafe { (with(socket)?, text(url)?) };
        let endpoint = engine.socket().bind(url)?;
        // SAFETY: by the caller.
        unsafe { write_text(&endpoint.url(), actual, room) };
        Ok(())
    })
}

/// Connects in the background, again and again until it is connected, and when it has lost the connection.
///
/// # Safety
///
/// The socket is not freed, and `url` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_connect(socket: *const sinew_socket, url: *const c_char) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, url) = unsafe { (with(socket)?, text(url)?) };
        engine.socket().connect(url)?;
        Ok(())
    })
}

/// Makes one attempt to connect, and waits for its outcome. Once connected, it connects again when it has lost the
/// connection.
///
/// # Safety
///
/// The socket is not freed, and `url` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_connect_now(
    socket: *const sinew_socket,
    url: *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, url) = unsafe { (with(socket)?, text(url)?) };
        engine.socket().connect_now(url)?;
        Ok(())
    })
}

/// Closes the endpoint with this address: that given to bind or connect, or the actual one.
///
/// # Safety
///
/// The socket is not freed, and `url` is a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_endpoint_close(
    socket: *const sinew_socket,
    url: *const c_char,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, url) = unsafe { (with(socket)?, text(url)?) };
        let endpoint = engine.socket().endpoints().into_iter().find(|it| it.url() == url);
        let endpoint = endpoint.ok_or_else(|| Failure::new(ENOENT, "there is no such endpoint"))?;
        endpoint.close().map_err(|error| Failure::new(EBADF, error.to_string()))
    })
}

/// Waits until so many peers are connected, for so many milliseconds at most.
///
/// # Safety
///
/// The socket is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_wait_for_peers(
    socket: *const sinew_socket,
    peers: usize,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        let time = match Patience::of(milliseconds) {
            Patience::For(time) => time,
            Patience::None => Duration::ZERO,
        };
        // SAFETY: by the caller.
        unsafe { with(socket) }?.socket().wait_for_peers(peers, time)?;
        Ok(())
    })
}

impl From<&WaitError> for Errno {
    fn from(error: &WaitError) -> Self {
        match error {
            WaitError::Closed => EBADF,
            WaitError::Forked => EFORKED,
            WaitError::TimedOut(_) => ETIMEDOUT,
            _ => ENOTRECOVERABLE,
        }
    }
}

/// Sends `length` bytes, waiting for room for so many milliseconds at most. Not for REQ, REP, SURVEYOR and RESPONDENT.
///
/// # Safety
///
/// The socket is not freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_send(
    socket: *const sinew_socket,
    data: *const c_void,
    length: usize,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, message) = unsafe { (with(socket)?, read(data, length)?) };
        if has_conversations(engine) {
            return Err(Failure::not_supported());
        }
        engine.send(message, patience(milliseconds)).ok_or_else(Failure::not_supported)??;
        Ok(())
    })
}

/// Receives a message, waiting for so many milliseconds at most. Not for REQ, REP, SURVEYOR and RESPONDENT.
///
/// # Safety
///
/// The socket is not freed, and `message` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_recv(
    socket: *const sinew_socket,
    message: *mut *mut sinew_message,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let engine = unsafe { with(socket) }?;
        if has_conversations(engine) {
            return Err(Failure::not_supported());
        }
        let received = engine.recv(patience(milliseconds)).ok_or_else(Failure::not_supported)??;
        // SAFETY: by the caller.
        unsafe { give(message, message::wrap(received)) }
    })
}

/// Subscribes a SUB to the messages that begin with these bytes. Each time counts.
///
/// # Safety
///
/// The socket is not freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_subscribe(
    socket: *const sinew_socket,
    topic: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, topic) = unsafe { (with(socket)?, bytes(topic, length)?) };
        let done = engine.subscribe(topic).ok_or_else(Failure::not_supported)?;
        done.map_err(|error| Failure::new(error, "the socket is closed"))
    })
}

/// Ends a subscription of a SUB.
///
/// # Safety
///
/// The socket is not freed, and so many bytes can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_unsubscribe(
    socket: *const sinew_socket,
    topic: *const c_void,
    length: usize,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, topic) = unsafe { (with(socket)?, bytes(topic, length)?) };
        let done = engine.unsubscribe(topic).ok_or_else(Failure::not_supported)?;
        done.map_err(|error| Failure::new(error, "the socket is not subscribed to that"))
    })
}

/// Waits until all that was sent has been handed to the kernel, or over inproc to the peer, for so many milliseconds
/// at most. Returns how many messages have not; 0 is success.
///
/// # Safety
///
/// The socket is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_drain(socket: *const sinew_socket, milliseconds: c_int) -> usize {
    run(0, || {
        let Patience::For(time) = Patience::of(milliseconds) else { return 0 };
        // SAFETY: by the caller.
        unsafe { with(socket) }.map_or(0, |engine| engine.socket().drain(time))
    })
}

/// A descriptor that is readable while a receive would not wait. Only to be polled; it lives as long as the socket.
///
/// # Safety
///
/// The socket is not freed, and `descriptor` points to an `int`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_recv_fd(
    socket: *const sinew_socket,
    descriptor: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let opened = unsafe { opened(socket) }?;
        // SAFETY: by the caller.
        unsafe { show(&opened.recv_readiness, || opened.engine.recv_readiness(), descriptor) }
    })
}

/// A descriptor that is readable while a send would not wait. Only to be polled; it lives as long as the socket.
///
/// # Safety
///
/// The socket is not freed, and `descriptor` points to an `int`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_send_fd(
    socket: *const sinew_socket,
    descriptor: *mut c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let opened = unsafe { opened(socket) }?;
        // SAFETY: by the caller.
        unsafe { show(&opened.send_readiness, || opened.engine.send_readiness(), descriptor) }
    })
}

/// # Safety
///
/// An `int` can be written at `descriptor`.
pub(super) unsafe fn show(
    place: &OnceLock<Readiness>,
    make: impl FnOnce() -> Option<std::io::Result<Readiness>>,
    descriptor: *mut c_int,
) -> Result<(), Failure> {
    let readiness = match place.get() {
        Some(readiness) => readiness,
        None => {
            let made = make().ok_or_else(Failure::not_supported)?;
            let made =
                made.map_err(|error| Failure::new(Errno::from(&error), error.to_string()))?;
            place.get_or_init(|| made)
        }
    };
    readiness.is_ready();
    // SAFETY: by the caller.
    let descriptor = unsafe { descriptor.as_mut() };
    *descriptor.ok_or_else(|| Failure::invalid("there is no place for the descriptor"))? =
        readiness.as_raw_fd();
    Ok(())
}

/// Whether a socket sends and receives by requests and surveys.
fn has_conversations(engine: &dyn Engine) -> bool {
    use sinew::ProtocolId;
    let protocol = engine.socket().protocol();
    [ProtocolId::REQ, ProtocolId::REP, ProtocolId::SURVEYOR, ProtocolId::RESPONDENT]
        .contains(&protocol)
}

/// Zero is one attempt.
pub(super) fn patience(milliseconds: c_int) -> Patience {
    if milliseconds == 0 { Patience::None } else { Patience::of(milliseconds) }
}

/// # Safety
///
/// The pointer is null, or to a socket that is not freed and outlives the result.
pub(super) unsafe fn opened<'a>(socket: *const sinew_socket) -> Result<&'a Opened, Failure> {
    // SAFETY: by the caller.
    let socket = unsafe { socket.as_ref() };
    Ok(&socket.ok_or_else(|| Failure::invalid("there is no socket"))?.opened)
}

/// # Safety
///
/// As [`opened`].
pub(super) unsafe fn with<'a>(socket: *const sinew_socket) -> Result<&'a dyn Engine, Failure> {
    // SAFETY: by the caller.
    Ok(&*unsafe { opened(socket) }?.engine)
}

/// Gives a value to C, as a pointer.
///
/// # Safety
///
/// `place` is null, or a pointer can be written there.
pub(super) unsafe fn give<T>(place: *mut *mut T, value: T) -> Result<(), Failure> {
    // SAFETY: by the caller.
    let place = unsafe { place.as_mut() };
    *place.ok_or_else(|| Failure::invalid("there is no place for the result"))? =
        Box::into_raw(Box::new(value));
    Ok(())
}

/// # Safety
///
/// `data` is null, or so many bytes can be read there while the result lives.
pub(super) unsafe fn bytes<'a>(data: *const c_void, length: usize) -> Result<&'a [u8], Failure> {
    match (data.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(Failure::invalid("there are no bytes")),
        (_, length) if length > isize::MAX as usize => {
            Err(Failure::invalid("the length is too large"))
        }
        // SAFETY: by the caller.
        _ => Ok(unsafe { slice::from_raw_parts(data.cast(), length) }),
    }
}

/// # Safety
///
/// As [`bytes`], for the time of the call.
pub(super) unsafe fn read(data: *const c_void, length: usize) -> Result<Message, Failure> {
    // SAFETY: by the caller.
    Ok(unsafe { bytes(data, length) }?.into())
}

/// # Safety
///
/// The pointer is null, or to a string that lives as long as the result.
pub(super) unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::invalid("there is no text"));
    }
    // SAFETY: by the caller.
    unsafe { CStr::from_ptr(text) }.to_str().map_err(|_| Failure::invalid("the text is not UTF-8"))
}

/// Writes a text with its end, as far as there is room.
///
/// # Safety
///
/// `place` is null, or so many bytes can be written there.
pub(super) unsafe fn write_text(text: &str, place: *mut c_char, room: usize) {
    let Some(most) = room.checked_sub(1).filter(|_| !place.is_null()) else { return };
    let length = text.len().min(most);
    // SAFETY: by the caller, there is room for that and the end.
    unsafe {
        ptr::copy_nonoverlapping(text.as_ptr().cast(), place, length);
        place.add(length).write(0);
    }
}
