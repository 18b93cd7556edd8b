//! Messages: sending and receiving, with and without headers.

use std::cell::RefCell;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use std::{ptr, slice};

use bytes::{Bytes, BytesMut};
use sinew::{Message, RecvError, SendError};

use crate::border::border;
use crate::chunk::{self, Chunk};
use crate::engine::Patience;
use crate::errno::{EFAULT, EINVAL, EMSGSIZE, ENOTSUP, Errno};
use crate::table::{self, Entry};

/// The length that says that the pointer is to a message of `nn_allocmsg`.
const NN_MSG: usize = usize::MAX;
const NN_DONTWAIT: c_int = 1;
/// The level and the type of the control header that has the protocol header of a message.
const PROTO_SP: c_int = 1;
const SP_HDR: c_int = 1;
/// Lengths of control headers are multiples of this.
const ALIGNMENT: usize = size_of::<usize>();

/// A part of a message.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nn_iovec {
    /// Where it is.
    pub iov_base: *mut c_void,
    /// How many bytes it has.
    pub iov_len: usize,
}

/// A message: its parts, and its control headers.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nn_msghdr {
    /// The parts of the body.
    pub msg_iov: *mut nn_iovec,
    /// How many there are.
    pub msg_iovlen: c_int,
    /// The control headers, one behind the other.
    pub msg_control: *mut c_void,
    /// How many bytes they have.
    pub msg_controllen: usize,
}

/// A control header; its data lie behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nn_cmsghdr {
    /// The bytes that it has, together with its data.
    pub cmsg_len: usize,
    /// Whose it is.
    pub cmsg_level: c_int,
    /// What it is.
    pub cmsg_type: c_int,
}

/// Allocates a message that can be sent without being copied.
#[unsafe(no_mangle)]
pub extern "C" fn nn_allocmsg(size: usize, r#type: c_int) -> *mut c_void {
    border(|| chunk::allocate(size, r#type))
}

/// Changes the length of a message.
///
/// # Safety
///
/// `msg` is null, or a message that was allocated here and neither sent nor freed since.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_reallocmsg(msg: *mut c_void, size: usize) -> *mut c_void {
    border(|| {
        if msg.is_null() {
            return chunk::allocate(size, 0);
        }
        // SAFETY: by the caller.
        let chunk = unsafe { Chunk::from_raw(msg) }?;
        match chunk.resized(size) {
            Ok(chunk) => Ok(chunk.into_raw()),
            Err((chunk, error)) => {
                chunk.into_raw();
                Err(error)
            }
        }
    })
}

/// Frees a message.
///
/// # Safety
///
/// `msg` is null, or a message that was allocated here and neither sent nor freed since.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_freemsg(msg: *mut c_void) -> c_int {
    border(|| {
        // SAFETY: by the caller.
        drop(unsafe { Chunk::from_raw(msg) }?);
        Ok(0)
    })
}

/// Sends the bytes at `buf`, or with a length of `NN_MSG` the message to which it points.
///
/// # Safety
///
/// `buf` points to `len` bytes that can be read, or to a message that was allocated here.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_send(s: c_int, buf: *const c_void, len: usize, flags: c_int) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        if len == NN_MSG {
            // SAFETY: by the caller.
            let start = unsafe { message_at(buf) }?;
            // SAFETY: by the caller.
            return unsafe { chunk::send(start, |message| give(&entry, message, flags)) };
        }
        // SAFETY: by the caller.
        let bytes = unsafe { bytes_at(buf, len) }?;
        give(&entry, copied(bytes), flags)
    })
}

/// Receives into the `len` bytes at `buf`, or with a length of `NN_MSG` a new message, to which `buf` points then.
/// Returns the length of the whole message.
///
/// # Safety
///
/// `buf` points to `len` bytes that can be written, or to a pointer.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_recv(s: c_int, buf: *mut c_void, len: usize, flags: c_int) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        if buf.is_null() && len > 0 {
            return Err(EFAULT);
        }
        let message = take(&entry, flags)?;
        if len == NN_MSG {
            let chunk = Chunk::of(&message)?;
            // SAFETY: by the caller, a pointer can be written there.
            unsafe { buf.cast::<*mut c_void>().write(chunk.into_raw()) };
        } else {
            // SAFETY: by the caller, `len` bytes can be written.
            unsafe {
                ptr::copy_nonoverlapping(message.as_ptr(), buf.cast(), message.len().min(len))
            };
        }
        Ok(length(message.len()))
    })
}

/// Sends a message that has parts, and for a raw socket a protocol header.
///
/// # Safety
///
/// `msghdr` is null, or describes memory that can be read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_sendmsg(s: c_int, msghdr: *const nn_msghdr, flags: c_int) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        // SAFETY: by the caller.
        let header = *unsafe { msghdr.as_ref() }.ok_or(EINVAL)?;
        // SAFETY: by the caller.
        let parts = unsafe { parts_of(&header) }?;
        // SAFETY: by the caller.
        let protocol_header = unsafe { protocol_header_of(&header) }?;
        let with_header = |message: Message| match &protocol_header {
            Some(bytes) if !bytes.is_empty() => dress(&entry, message, bytes),
            _ => Ok(message),
        };
        if let [nn_iovec { iov_base, iov_len: NN_MSG }] = *parts {
            // SAFETY: by the caller.
            let start = unsafe { message_at(iov_base) }?;
            // SAFETY: by the caller.
            let sent = unsafe {
                chunk::send(start, |message| give(&entry, with_header(message)?, flags))
            }?;
            // SAFETY: by the caller.
            unsafe { free_control(&header) };
            return Ok(sent);
        }
        let mut body = BytesMut::with_capacity(total(parts)?);
        for part in parts {
            // SAFETY: by the caller.
            body.extend_from_slice(unsafe { bytes_at(part.iov_base, part.iov_len) }?);
        }
        let sent = give(&entry, with_header(body.into())?, flags)?;
        // SAFETY: by the caller.
        unsafe { free_control(&header) };
        Ok(sent)
    })
}

/// Receives a message into several parts, with its protocol header as a control header.
///
/// # Safety
///
/// `msghdr` is null, or describes memory that can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_recvmsg(s: c_int, msghdr: *mut nn_msghdr, flags: c_int) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        // SAFETY: by the caller.
        let header = unsafe { msghdr.as_mut() }.ok_or(EINVAL)?;
        // SAFETY: by the caller.
        let parts = unsafe { parts_of(header) }?;
        if parts.iter().any(|part| part.iov_base.is_null() && part.iov_len > 0) {
            return Err(EFAULT);
        }
        if parts.len() > 1 && parts.iter().any(|part| part.iov_len == NN_MSG) {
            return Err(EINVAL);
        }
        let message = take(&entry, flags)?;
        if let [nn_iovec { iov_base, iov_len: NN_MSG }] = *parts {
            let chunk = Chunk::of(&message)?;
            // SAFETY: by the caller, a pointer can be written there.
            unsafe { iov_base.cast::<*mut c_void>().write(chunk.into_raw()) };
        } else {
            let mut rest = &message[..];
            for part in parts {
                let (now, later) = rest.split_at(rest.len().min(part.iov_len));
                // SAFETY: by the caller, so many bytes can be written there.
                unsafe { ptr::copy_nonoverlapping(now.as_ptr(), part.iov_base.cast(), now.len()) };
                rest = later;
            }
        }
        // SAFETY: by the caller.
        unsafe { write_control(header, message.header()) }?;
        Ok(length(message.len()))
    })
}

/// The control header behind `cmsg`, or the first one. Null: there is none.
///
/// # Safety
///
/// `mhdr` is null or describes control headers that can be read, and `cmsg` is null or one of them.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_cmsg_nxthdr_(
    mhdr: *const nn_msghdr,
    cmsg: *const nn_cmsghdr,
) -> *mut nn_cmsghdr {
    border(|| {
        // SAFETY: by the caller.
        let Some(header) = (unsafe { mhdr.as_ref() }) else { return Ok(ptr::null_mut()) };
        // SAFETY: by the caller.
        let Some((control, length)) = (unsafe { control_of(header) }) else {
            return Ok(ptr::null_mut());
        };
        let at = if cmsg.is_null() {
            0
        } else {
            // SAFETY: by the caller. It may lie at any address.
            let taken = unsafe { cmsg.read_unaligned() }.cmsg_len;
            cmsg.addr().wrapping_sub(control.addr()).saturating_add(aligned(taken))
        };
        let room = length.saturating_sub(at);
        if room < size_of::<nn_cmsghdr>() {
            return Ok(ptr::null_mut());
        }
        // SAFETY: that many bytes further there is room for a header, as checked.
        let next = unsafe { control.add(at) }.cast::<nn_cmsghdr>();
        // SAFETY: as above.
        let needed = unsafe { next.read_unaligned() }.cmsg_len;
        Ok(if needed < size_of::<nn_cmsghdr>() || room < aligned(needed) {
            ptr::null_mut()
        } else {
            next
        })
    })
}

/// Sends. Returns how many bytes the body has.
#[inline]
fn give(entry: &Entry, message: Message, flags: c_int) -> Result<c_int, Errno> {
    let body = length(message.len());
    let patience = patience(flags, || entry.send_timeout.load(Ordering::Relaxed));
    match entry.engine.send(message, patience) {
        Some(Ok(())) => {
            if entry.is_surveyor() {
                entry.is_asking.store(true, Ordering::Relaxed);
            }
            Ok(body)
        }
        Some(Err(error)) => Err(send_errno(&error)),
        None => Err(ENOTSUP),
    }
}

#[cold]
fn send_errno(error: &SendError) -> Errno {
    error.into()
}

/// Receives.
#[inline]
fn take(entry: &Entry, flags: c_int) -> Result<Message, Errno> {
    let patience = patience(flags, || entry.recv_timeout.load(Ordering::Relaxed));
    match entry.engine.recv(patience) {
        Some(Ok(message)) => Ok(message),
        // Another thread has asked anew: this one waits for the answer to that, as nanomsg has it.
        Some(Err(RecvError::Canceled)) => take(entry, flags),
        Some(Err(error)) => {
            if entry.is_surveyor() && (is_over(&error, patience) || error == RecvError::State) {
                entry.is_asking.store(false, Ordering::Relaxed);
            }
            Err((&error).into())
        }
        None => Err(ENOTSUP),
    }
}

/// Whether the survey has ended, rather than the time of the call.
fn is_over(error: &RecvError, patience: Patience) -> bool {
    matches!(error, RecvError::TimedOut(situation)
        if situation.waited().is_none() || patience == Patience::None)
}

#[inline]
fn patience(flags: c_int, timeout: impl FnOnce() -> c_int) -> Patience {
    if flags & NN_DONTWAIT != 0 { Patience::None } else { Patience::of(timeout()) }
}

/// The length as C gets it.
fn length(bytes: usize) -> c_int {
    c_int::try_from(bytes).unwrap_or(c_int::MAX)
}

/// The message to which `place` points.
///
/// # Safety
///
/// `place` is null, or a pointer can be read there.
unsafe fn message_at(place: *const c_void) -> Result<*mut c_void, Errno> {
    if place.is_null() {
        return Err(EFAULT);
    }
    // SAFETY: by the caller.
    let message = unsafe { place.cast::<*mut c_void>().read() };
    if message.is_null() { Err(EFAULT) } else { Ok(message) }
}

/// # Safety
///
/// `start` is null, or `length` bytes can be read there for the time of the call.
unsafe fn bytes_at<'a>(start: *const c_void, length: usize) -> Result<&'a [u8], Errno> {
    match (start.is_null(), length) {
        (_, 0) => Ok(&[]),
        (true, _) => Err(EFAULT),
        (_, length) if length > isize::MAX as usize => Err(EINVAL),
        // SAFETY: by the caller.
        _ => Ok(unsafe { slice::from_raw_parts(start.cast(), length) }),
    }
}

/// A message with a copy of these bytes.
///
/// Small ones are cut off a block that the thread keeps, which takes less than allocating each.
#[inline]
fn copied(bytes: &[u8]) -> Message {
    /// How many bytes the block has, and up to which length messages are cut off it.
    const BLOCK: usize = 16 * 1024;
    const SMALL: usize = 512;
    thread_local! {
        static LEFT: RefCell<BytesMut> = RefCell::default();
    }
    if bytes.len() > SMALL {
        return bytes.into();
    }
    let cut = LEFT.try_with(|left| {
        let mut left = left.try_borrow_mut().ok()?;
        if left.capacity() < bytes.len() {
            left.reserve(BLOCK);
        }
        left.extend_from_slice(bytes);
        Some(left.split())
    });
    match cut {
        Ok(Some(cut)) => cut.into(),
        _ => bytes.into(),
    }
}

/// # Safety
///
/// The header describes memory that can be read.
unsafe fn parts_of(header: &nn_msghdr) -> Result<&[nn_iovec], Errno> {
    let count = usize::try_from(header.msg_iovlen).map_err(|_| EMSGSIZE)?;
    if count == 0 {
        return Ok(&[]);
    }
    if header.msg_iov.is_null() {
        return Err(EFAULT);
    }
    // SAFETY: by the caller.
    Ok(unsafe { slice::from_raw_parts(header.msg_iov, count) })
}

fn total(parts: &[nn_iovec]) -> Result<usize, Errno> {
    let mut total = 0_usize;
    for part in parts {
        if part.iov_len == NN_MSG {
            return Err(EINVAL);
        }
        if part.iov_base.is_null() && part.iov_len > 0 {
            return Err(EFAULT);
        }
        total = total
            .checked_add(part.iov_len)
            .filter(|&sum| sum <= isize::MAX as usize)
            .ok_or(EINVAL)?;
    }
    Ok(total)
}

fn aligned(length: usize) -> usize {
    length.saturating_add(ALIGNMENT - 1) & !(ALIGNMENT - 1)
}

/// Where the control headers are, and how many bytes they have.
///
/// # Safety
///
/// The header describes memory that can be read.
unsafe fn control_of(header: &nn_msghdr) -> Option<(*mut u8, usize)> {
    if header.msg_control.is_null() {
        return None;
    }
    if header.msg_controllen != NN_MSG {
        return Some((header.msg_control.cast(), header.msg_controllen));
    }
    // SAFETY: by the caller, it points to a message.
    let start = unsafe { header.msg_control.cast::<*mut c_void>().read() };
    // SAFETY: as above.
    let chunk = unsafe { Chunk::from_raw(start) }.ok()?;
    let length = chunk.as_ref().len();
    Some((chunk.into_raw().cast(), length))
}

/// The protocol header among the control headers.
///
/// # Safety
///
/// The header describes memory that can be read.
unsafe fn protocol_header_of(header: &nn_msghdr) -> Result<Option<Bytes>, Errno> {
    let mut found = None;
    let mut control = ptr::null_mut();
    loop {
        // SAFETY: by the caller, and `control` is one of its control headers.
        control = unsafe { nn_cmsg_nxthdr_(header, control) };
        if control.is_null() {
            return Ok(found);
        }
        // SAFETY: it was just found there.
        let head = unsafe { control.read_unaligned() };
        if (head.cmsg_level, head.cmsg_type) != (PROTO_SP, SP_HDR) {
            continue;
        }
        // SAFETY: the header says that so many bytes belong to it, and that was checked.
        let data = unsafe {
            slice::from_raw_parts(
                control.add(1).cast::<u8>(),
                head.cmsg_len - size_of::<nn_cmsghdr>(),
            )
        };
        if let Some((length, bytes)) = data.split_first_chunk() {
            let length = usize::from_ne_bytes(*length);
            found = Some(Bytes::copy_from_slice(bytes.get(..length).ok_or(EINVAL)?));
        }
    }
}

/// Gives a message its protocol header.
fn dress(entry: &Entry, message: Message, header: &Bytes) -> Result<Message, Errno> {
    if entry.engine.socket().is_raw() {
        Ok(message.with_header(header.clone()))
    } else {
        Err(EINVAL)
    }
}

/// Frees control headers that are a message, since they were sent.
///
/// # Safety
///
/// The header describes control headers that were allocated here, if their length is `NN_MSG`.
unsafe fn free_control(header: &nn_msghdr) {
    if header.msg_controllen == NN_MSG && !header.msg_control.is_null() {
        // SAFETY: by the caller.
        let start = unsafe { header.msg_control.cast::<*mut c_void>().read() };
        // SAFETY: by the caller.
        drop(unsafe { Chunk::from_raw(start) });
    }
}

/// Writes the protocol header of a received message as a control header, if there is a place for it.
///
/// # Safety
///
/// The header describes memory that can be written.
unsafe fn write_control(header: &mut nn_msghdr, protocol_header: &[u8]) -> Result<(), Errno> {
    if header.msg_control.is_null() {
        return Ok(());
    }
    let data = size_of::<usize>() + protocol_header.len();
    let whole = size_of::<nn_cmsghdr>() + aligned(data);
    let mut control = Vec::with_capacity(whole);
    control.extend_from_slice(&whole.to_ne_bytes());
    control.extend_from_slice(&PROTO_SP.to_ne_bytes());
    control.extend_from_slice(&SP_HDR.to_ne_bytes());
    control.extend_from_slice(&protocol_header.len().to_ne_bytes());
    control.extend_from_slice(protocol_header);
    control.resize(whole, 0);
    if header.msg_controllen == NN_MSG {
        let chunk = Chunk::of(&control)?;
        // SAFETY: by the caller, a pointer can be written there.
        unsafe { header.msg_control.cast::<*mut c_void>().write(chunk.into_raw()) };
    } else if header.msg_controllen >= whole {
        // SAFETY: by the caller, there is room for so much.
        unsafe { ptr::copy_nonoverlapping(control.as_ptr(), header.msg_control.cast(), whole) };
    }
    Ok(())
}

const _: () = assert!(size_of::<nn_cmsghdr>() == size_of::<usize>() + 8);
