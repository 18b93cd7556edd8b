//! Chunks: the messages of `nn_allocmsg`, which C writes, reads and frees.
//!
//! A header lies before the bytes that C sees. A large chunk is sent without copying: the message has it then, and
//! frees it when it is gone, or leaves it to C if the send fails.

use std::alloc::{self, Layout};
use std::ffi::c_void;
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use sinew::Message;

use crate::errno::{EFAULT, EINVAL, ENOMEM, Errno};

/// Copy a message up to this length: that takes less than what keeps a chunk alive until it is written.
const COPIED: usize = 4096;

/// What lies before the bytes of a chunk.
#[repr(C, align(16))]
struct Header {
    /// [`MARK`] while the chunk lives.
    mark: u64,
    length: usize,
    /// Whether the message that has the chunk leaves it to C when it is dropped.
    is_kept: AtomicBool,
}

const MARK: u64 = 0x7369_6e65_775f_6e6e;

/// A chunk that belongs to us.
#[derive(Debug)]
pub(crate) struct Chunk(NonNull<Header>);

// SAFETY: it is memory that belongs to one value, and what is shared is only read, but for an atomic.
unsafe impl Send for Chunk {}
// SAFETY: as above.
unsafe impl Sync for Chunk {}

impl Chunk {
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let layout = layout(length)?;
        // SAFETY: the header makes the layout larger than zero.
        let memory = NonNull::new(unsafe { alloc::alloc(layout) }).ok_or(ENOMEM)?;
        let header = memory.cast::<Header>();
        let is_kept = AtomicBool::new(false);
        // SAFETY: the memory is ours, large enough for a header, and aligned for it.
        unsafe { header.write(Header { mark: MARK, length, is_kept }) };
        Ok(Self(header))
    }

    /// A chunk with these bytes.
    pub(crate) fn of(bytes: &[u8]) -> Result<Self, Errno> {
        let chunk = Self::new(bytes.len())?;
        // SAFETY: the chunk is new and has room for that many bytes.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), chunk.start(), bytes.len()) };
        Ok(chunk)
    }

    /// Takes a chunk back from C.
    ///
    /// # Safety
    ///
    /// The pointer is null, or one that [`into_raw`](Self::into_raw) returned and that was not taken back since.
    pub(crate) unsafe fn from_raw(start: *mut c_void) -> Result<Self, Errno> {
        let start = NonNull::new(start).ok_or(EFAULT)?;
        // SAFETY: by the caller, a header lies before it.
        let header = unsafe { start.cast::<Header>().sub(1) };
        // SAFETY: as above. The check finds what was freed before, mostly.
        if unsafe { header.as_ref() }.mark != MARK {
            return Err(EFAULT);
        }
        Ok(Self(header))
    }

    /// Gives the chunk to C.
    pub(crate) fn into_raw(self) -> *mut c_void {
        let start = self.start().cast();
        std::mem::forget(self);
        start
    }

    /// The chunk with another length. Keeps the bytes that both have.
    pub(crate) fn resized(self, length: usize) -> Result<Self, (Self, Errno)> {
        let (old, new) = match (layout(self.as_ref().len()), layout(length)) {
            (Ok(old), Ok(new)) => (old, new),
            (_, Err(error)) | (Err(error), _) => return Err((self, error)),
        };
        // SAFETY: it was allocated here with the old layout, and the new size is not zero and no overflow.
        let memory = unsafe { alloc::realloc(self.0.as_ptr().cast(), old, new.size()) };
        let Some(mut header) = NonNull::new(memory.cast::<Header>()) else {
            return Err((self, ENOMEM)); // nothing has moved
        };
        std::mem::forget(self);
        // SAFETY: the header was moved with the rest, and nobody else has it.
        unsafe { header.as_mut() }.length = length;
        Ok(Self(header))
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the bytes begin right behind the header, in the same allocation.
        unsafe { self.0.add(1) }.as_ptr().cast()
    }

    fn header(&self) -> &Header {
        // SAFETY: it was written when the chunk was made, and lives as long as the chunk.
        unsafe { self.0.as_ref() }
    }
}

fn layout(length: usize) -> Result<Layout, Errno> {
    let size = size_of::<Header>().checked_add(length).ok_or(ENOMEM)?;
    Layout::from_size_align(size, align_of::<Header>()).map_err(|_| ENOMEM)
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: that many bytes lie there. C has written them, or leaves them as they are, which is its affair;
        // it writes no more once it has sent them.
        unsafe { slice::from_raw_parts(self.start(), self.header().length) }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        if self.header().is_kept.swap(false, Ordering::Acquire) {
            return;
        }
        if let Ok(layout) = layout(self.header().length) {
            // SAFETY: it was allocated here with this layout, and this was its only owner.
            unsafe {
                self.0.as_mut().mark = 0;
                alloc::dealloc(self.0.as_ptr().cast(), layout);
            }
        }
    }
}

/// Makes the message that is in a chunk, gives it to `send`, and frees the chunk if that succeeds. Otherwise the
/// chunk is C's as before.
///
/// # Safety
///
/// As [`Chunk::from_raw`].
pub(crate) unsafe fn send<T>(
    start: *mut c_void,
    send: impl FnOnce(Message) -> Result<T, Errno>,
) -> Result<T, Errno> {
    // SAFETY: by the caller.
    let chunk = unsafe { Chunk::from_raw(start) }?;
    if chunk.as_ref().len() <= COPIED {
        let sent = send(Message::from(chunk.as_ref()));
        if sent.is_err() {
            chunk.into_raw();
        }
        return sent;
    }
    let header = chunk.0;
    // For the time of the send: a message that fails is dropped in there.
    // SAFETY: the chunk lives, since it is in our hands.
    unsafe { header.as_ref() }.is_kept.store(true, Ordering::Release);
    let mut kept = Some(Bytes::from_owner(chunk));
    let message = Message::from(kept.clone().unwrap_or_default());
    let sent = send(message);
    if sent.is_ok() {
        // SAFETY: `kept` refers to it.
        unsafe { header.as_ref() }.is_kept.store(false, Ordering::Release);
    }
    kept.take();
    sent
}

/// Allocates a message for C.
pub(crate) fn allocate(length: usize, kind: i32) -> Result<*mut c_void, Errno> {
    if kind != 0 {
        return Err(EINVAL);
    }
    Ok(Chunk::new(length)?.into_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_keeps_its_bytes_while_it_grows_and_shrinks() {
        let chunk = Chunk::of(b"hello").unwrap();
        let chunk = chunk.resized(1 << 20).map_err(|(_, error)| error).unwrap();
        assert_eq!(&chunk.as_ref()[..5], b"hello");
        let chunk = chunk.resized(2).map_err(|(_, error)| error).unwrap();
        assert_eq!(chunk.as_ref(), b"he");
        let (chunk, error) = chunk.resized(usize::MAX).unwrap_err();
        assert_eq!((chunk.as_ref(), error), (&b"he"[..], ENOMEM));
    }

    #[test]
    fn a_chunk_is_c_s_again_when_its_send_fails_and_gone_when_it_succeeds() {
        for length in [0, 3, COPIED, COPIED + 1, 1 << 20] {
            let chunk = Chunk::of(&vec![7; length]).unwrap().into_raw();
            // SAFETY: it was made above.
            let failed = unsafe { send(chunk, |_| Err::<(), _>(EINVAL)) };
            assert_eq!(failed, Err(EINVAL));
            // SAFETY: the send has failed.
            let sent = unsafe { send(chunk, Ok) }.unwrap();
            assert_eq!(sent, vec![7; length]);
        }
        // SAFETY: null is allowed.
        assert_eq!(unsafe { send(ptr::null_mut(), |_| Ok(())) }, Err(EFAULT));
    }

    #[test]
    fn what_cannot_be_is_not_allocated() {
        assert_eq!(allocate(8, 1), Err(EINVAL));
        assert_eq!(allocate(usize::MAX, 0), Err(ENOMEM));
        assert_eq!(allocate(usize::MAX / 2, 0), Err(ENOMEM));
    }
}
