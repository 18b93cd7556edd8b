//! Events: who connects and disconnects, and why.

use std::ffi::{c_char, c_int};

use sinew::{Events, PipeEventKind};

use super::failure::{Failure, call, run};
use super::socket::{give, patience, sinew_socket, with, write_text};
use crate::engine::Patience;

/// A connection is complete; no message has passed.
pub const SINEW_ATTACHING: c_int = 1;
/// The socket uses the pipe.
pub const SINEW_ATTACHED: c_int = 2;
/// The pipe is gone, or was turned away.
pub const SINEW_DETACHED: c_int = 3;

/// The events of a socket, from when this was made.
pub struct sinew_events {
    events: Events,
}

/// Something happened to a pipe.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sinew_event {
    /// SINEW_ATTACHING, SINEW_ATTACHED or SINEW_DETACHED.
    pub kind: c_int,
    /// The number of the pipe.
    pub pipe: u32,
    /// The peer's address, with an end; cut off if it is longer.
    pub remote: [c_char; 128],
    /// Why a pipe is gone, in words; empty for the others.
    pub reason: [c_char; 128],
}

/// Subscribes to the events of a socket. The list keeps up to 1024 that were not read.
///
/// # Safety
///
/// The socket is not freed, and `events` points to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_events_open(
    socket: *const sinew_socket,
    events: *mut *mut sinew_events,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let subscribed = unsafe { with(socket) }?.socket().events();
        // SAFETY: by the caller.
        unsafe { give(events, sinew_events { events: subscribed }) }
    })
}

/// Reads the next event, waiting for so many milliseconds at most. EBADF: the socket is closed, and all were read.
///
/// # Safety
///
/// The events are not freed, and an event can be written at `event`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_events_next(
    events: *const sinew_events,
    event: *mut sinew_event,
    milliseconds: c_int,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (events, place) = unsafe { (events.as_ref(), event.as_mut()) };
        let events = &events.ok_or_else(|| Failure::invalid("there are no events"))?.events;
        let place = place.ok_or_else(|| Failure::invalid("there is no place for the event"))?;
        let next = match patience(milliseconds) {
            Patience::None => events.try_recv()?,
            Patience::For(time) => events.recv_timeout(time)?,
        };
        let kind = match &next.kind {
            PipeEventKind::Attaching => SINEW_ATTACHING,
            PipeEventKind::Attached => SINEW_ATTACHED,
            _ => SINEW_DETACHED,
        };
        let reason = match &next.kind {
            PipeEventKind::Detached(reason) => reason.to_string(),
            _ => String::new(),
        };
        let pipe = next.peer.pipe.get();
        *place = sinew_event { kind, pipe, remote: [0; 128], reason: [0; 128] };
        let (remote, room) = (&mut place.remote, place.reason.len());
        // SAFETY: both arrays have so much room.
        unsafe {
            write_text(&next.peer.remote, remote.as_mut_ptr(), room);
            write_text(&reason, place.reason.as_mut_ptr(), room);
        }
        Ok(())
    })
}

/// How many events were lost because 1024 were not read.
///
/// # Safety
///
/// The events are not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_events_missed(events: *const sinew_events) -> u64 {
    // SAFETY: by the caller.
    run(0, || unsafe { events.as_ref() }.map_or(0, |it| it.events.missed()))
}

/// Ends the subscription.
///
/// # Safety
///
/// The events are null, or not freed yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_events_free(events: *mut sinew_events) {
    run((), || {
        if !events.is_null() {
            // SAFETY: by the caller.
            drop(unsafe { Box::from_raw(events) });
        }
    });
}
