//! Who is connected, what was counted, and what was dropped why.

use std::ffi::{CString, c_char, c_int};
use std::ptr;
use std::sync::OnceLock;

use sinew::{DropReason, PeerStatus};

use super::failure::{Failure, call, run};
use super::socket::{sinew_socket, text, with, write_text};
use crate::errno::ENOENT;

/// A peer that is connected.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sinew_peer {
    /// The number of the pipe.
    pub pipe: u32,
    /// Whether we connected to it, rather than it to us.
    pub outgoing: c_int,
    /// Over ipc the process, else 0.
    pub pid: u32,
    /// Messages sent to it so far.
    pub messages_sent: u64,
    /// Messages received from it so far.
    pub messages_received: u64,
    /// Messages that wait to be sent to it.
    pub send_queue: u64,
    /// Messages from it that wait to be received.
    pub recv_queue: u64,
    /// Messages to or from it that were dropped, for all reasons together.
    pub dropped: u64,
    /// Its address, with an end; cut off if it is longer.
    pub remote: [c_char; 128],
}

fn shown(peer: &PeerStatus) -> sinew_peer {
    let mut remote = [0; 128];
    // SAFETY: the array has so much room.
    unsafe { write_text(&peer.remote, remote.as_mut_ptr(), remote.len()) };
    sinew_peer {
        pipe: peer.pipe.get(),
        outgoing: peer.outgoing.into(),
        pid: peer.credentials.as_ref().and_then(|it| it.pid).unwrap_or(0),
        messages_sent: peer.messages_sent,
        messages_received: peer.messages_received,
        send_queue: peer.send_queue.messages,
        recv_queue: peer.recv_queue.messages,
        dropped: peer.dropped().map(|(_, count)| count).sum(),
        remote,
    }
}

/// Lists the peers, as far as there is room. Returns how many there are.
///
/// # Safety
///
/// The socket is not freed, and so many peers can be written at `peers`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_peers(
    socket: *const sinew_socket,
    peers: *mut sinew_peer,
    room: usize,
) -> usize {
    run(0, || {
        // SAFETY: by the caller.
        let Ok(engine) = (unsafe { with(socket) }) else { return 0 };
        let all = engine.socket().peers();
        if !peers.is_null() {
            for (index, peer) in all.iter().take(room).enumerate() {
                // SAFETY: by the caller.
                unsafe { peers.add(index).write(shown(peer)) };
            }
        }
        all.len()
    })
}

/// Ends one connection. If we had connected, we connect again.
///
/// # Safety
///
/// The socket is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_disconnect(socket: *const sinew_socket, pipe: u32) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let socket = unsafe { with(socket) }?.socket();
        let gone = || Failure::new(ENOENT, "there is no such pipe");
        let found = socket.peers().into_iter().find(|peer| peer.pipe.get() == pipe);
        socket.disconnect(found.ok_or_else(gone)?.pipe).map_err(|_| gone())
    })
}

/// Reads a figure by its name, such as "messages_sent": those of `Stats` in sinew's documentation.
///
/// # Safety
///
/// The socket is not freed, `name` is a string, and a number can be written at `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_stat(
    socket: *const sinew_socket,
    name: *const c_char,
    value: *mut u64,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, name, value) = unsafe { (with(socket)?, text(name)?, value.as_mut()) };
        let figure = engine.socket().stats().figures().find(|(known, _)| *known == name);
        let figure = figure.ok_or_else(|| Failure::new(ENOENT, "there is no such figure"))?;
        *value.ok_or_else(|| Failure::invalid("there is no place for the value"))? = figure.1;
        Ok(())
    })
}

/// How many messages were dropped for a reason, which is a number from 0 on.
///
/// # Safety
///
/// The socket is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_drops(socket: *const sinew_socket, reason: c_int) -> u64 {
    run(0, || {
        // SAFETY: by the caller.
        let engine = unsafe { with(socket) };
        let reason = usize::try_from(reason).ok().and_then(|reason| DropReason::ALL.get(reason));
        match (engine, reason) {
            (Ok(engine), Some(&reason)) => engine.socket().stats().drops(reason),
            _ => 0,
        }
    })
}

/// The name of a reason to drop a message, such as "send_queue_full". Null: there are not so many.
#[unsafe(no_mangle)]
pub extern "C" fn sinew_drop_reason(reason: c_int) -> *const c_char {
    static NAMES: OnceLock<Vec<CString>> = OnceLock::new();
    run(ptr::null(), || {
        let all = || {
            let name = |reason: &DropReason| CString::new(reason.name()).unwrap_or_default();
            DropReason::ALL.iter().map(name).collect()
        };
        let name = usize::try_from(reason).ok().and_then(|it| NAMES.get_or_init(all).get(it));
        name.map_or(ptr::null(), |name| name.as_ptr())
    })
}

/// Writes all figures of a socket as an OpenMetrics page, as far as there is room, with an end. Returns how many bytes
/// the whole page has, without the end.
///
/// # Safety
///
/// The socket is not freed, and so many bytes can be written at `page`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_metrics(
    socket: *const sinew_socket,
    page: *mut c_char,
    room: usize,
) -> usize {
    run(0, || {
        // SAFETY: by the caller.
        let Ok(engine) = (unsafe { with(socket) }) else { return 0 };
        let all = sinew::metrics::Metrics::new().socket(engine.socket()).to_string();
        // SAFETY: by the caller.
        unsafe { write_text(&all, page, room) };
        all.len()
    })
}
