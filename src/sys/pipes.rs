//! The named pipes of Windows: the serving side, for which neither std nor mio has a call.
//!
//! A client that opens a pipe by its name gets one of the instances that wait for clients, or is told that all
//! are busy. Owns these instances: a [`Server`] keeps several waiting, so that clients that come at once find
//! one each.
//!
//! While an instance waits, the system may write to the `OVERLAPPED` of the call. So it lies in a box of its
//! own, which is freed only when the system is done with it.

use std::cell::UnsafeCell;
use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, IntoRawHandle, OwnedHandle};
use std::ptr;
use std::time::Duration;

use mio::windows::NamedPipe;
use windows_sys::Win32::Foundation::{
    ERROR_IO_PENDING, ERROR_NO_DATA, ERROR_PIPE_CONNECTED, HANDLE, INVALID_HANDLE_VALUE,
    WAIT_FAILED, WAIT_OBJECT_0,
};
use windows_sys::Win32::Storage::FileSystem::{
    FILE_FLAG_FIRST_PIPE_INSTANCE, FILE_FLAG_OVERLAPPED, PIPE_ACCESS_DUPLEX,
};
use windows_sys::Win32::System::IO::{CancelIoEx, GetOverlappedResult, OVERLAPPED};
use windows_sys::Win32::System::Pipes::{
    ConnectNamedPipe, CreateNamedPipeW, PIPE_READMODE_BYTE, PIPE_REJECT_REMOTE_CLIENTS,
    PIPE_TYPE_BYTE, PIPE_UNLIMITED_INSTANCES, PIPE_WAIT,
};
use windows_sys::Win32::System::Threading::{
    CreateEventW, INFINITE, SetEvent, WaitForMultipleObjects, WaitForSingleObject,
};

use crate::sync::Arc;

/// How many instances wait for clients: at most 63, since the system waits for 64 things at once.
pub(crate) const WAITING: usize = 16;

/// How long to wait for the system to let go of an instance. It does so at once; if it ever did
/// not, a few bytes would be lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// The instances of one name that wait for clients.
#[derive(Debug)]
pub(crate) struct Server {
    name: Vec<u16>,
    sizes: Sizes,
    stop: Arc<Event>,
    /// The oldest first, which the system gives to a client first.
    waiting: Vec<Instance>,
}

/// How many bytes the system keeps of what is sent and of what is received.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) send: u32,
    pub(crate) recv: u32,
}

impl Server {
    /// Makes the instances, from which on clients can come. `PermissionDenied` means that the name is taken,
    /// by another server or by a connection that one has left behind.
    pub(crate) fn new(name: &str, sizes: Sizes) -> io::Result<Self> {
        let name: Vec<u16> = name.encode_utf16().chain([0]).collect();
        let first = Instance::new(create(&name, sizes, FILE_FLAG_FIRST_PIPE_INSTANCE)?)?;
        let mut this = Self { name, sizes, stop: Arc::new(Event::new()?), waiting: vec![first] };
        this.top_up()?;
        Ok(this)
    }

    /// What ends the wait for clients when it is set.
    pub(crate) fn stop(&self) -> &Arc<Event> {
        &self.stop
    }

    /// Waits for the next client; `None`: it was stopped. After an error it may be called again.
    pub(crate) fn accept(&mut self) -> io::Result<Option<OwnedHandle>> {
        loop {
            let topped_up = self.top_up();
            if let Some(at) = self.waiting.iter().position(|it| it.is_connected) {
                // An instance that is dropped may have to wait for the system, so its parts cannot be moved out.
                let client = self.waiting.remove(at);
                return client.pipe.try_clone().map(Some);
            }
            if self.waiting.is_empty() {
                topped_up?;
            }
            match self.wait()? {
                None => return Ok(None),
                Some(at) if self.waiting[at].on_call_over() => {}
                Some(at) => drop(self.waiting.remove(at)),
            }
        }
    }

    fn top_up(&mut self) -> io::Result<()> {
        while self.waiting.len() < WAITING {
            self.waiting.push(Instance::new(create(&self.name, self.sizes, 0)?)?);
        }
        Ok(())
    }

    /// Waits for something to come of an instance, and says of which; `None`: it was stopped.
    fn wait(&self) -> io::Result<Option<usize>> {
        let instances = self.waiting.iter().map(|it| it.event.0.as_raw_handle());
        let all: Vec<HANDLE> = [self.stop.0.as_raw_handle()].into_iter().chain(instances).collect();
        let count = u32::try_from(all.len()).expect("they are few");
        // SAFETY: the list has `count` handles, which are open while `self` is borrowed.
        let woken = unsafe { WaitForMultipleObjects(count, all.as_ptr(), 0, INFINITE) };
        if woken == WAIT_FAILED {
            return Err(io::Error::last_os_error());
        }
        let woken = usize::try_from(woken - WAIT_OBJECT_0).expect("32 bits fit");
        Ok(woken.checked_sub(1))
    }
}

/// An instance of a pipe that waits for a client, or has got one.
#[derive(Debug)]
struct Instance {
    pipe: OwnedHandle,
    event: Event,
    /// What the system writes to while it waits. `None`: never again.
    call: Option<Box<UnsafeCell<OVERLAPPED>>>,
    is_connected: bool,
}

// SAFETY: what is not `Send` by itself is the handle in the `OVERLAPPED`, which is that of `event` and may be used
// by any thread. The call belongs to no thread either: it was begun with an event, not with a callback.
unsafe impl Send for Instance {}

impl Instance {
    /// Begins to wait for a client.
    fn new(pipe: OwnedHandle) -> io::Result<Self> {
        let event = Event::new()?;
        let call = OVERLAPPED { hEvent: event.0.as_raw_handle(), ..Default::default() };
        let call = Box::new(UnsafeCell::new(call));
        // SAFETY: the handle is open, and the box stays where it is until the system is done with it: see `drop`.
        let done = unsafe { ConnectNamedPipe(pipe.as_raw_handle(), call.get()) } != 0;
        let error = io::Error::last_os_error();
        let mut this = Self { pipe, event, call: Some(call), is_connected: false };
        match error.raw_os_error().map(i32::cast_unsigned) {
            // The client may also have gone already, which the first read tells.
            _ if done => this.connected(),
            Some(ERROR_PIPE_CONNECTED | ERROR_NO_DATA) => this.connected(),
            Some(ERROR_IO_PENDING) => {}
            _ => {
                this.connected(); // there is no call to wait for
                return Err(error);
            }
        }
        Ok(this)
    }

    /// Notes that the system is done with the call.
    fn connected(&mut self) {
        self.is_connected = true;
    }

    /// Notes that the call is over; says whether it has brought a client.
    fn on_call_over(&mut self) -> bool {
        let Some(call) = &self.call else { return false };
        let mut none = 0;
        // SAFETY: the handle is open and the call one of it.
        let came =
            unsafe { GetOverlappedResult(self.pipe.as_raw_handle(), call.get(), &raw mut none, 0) };
        // The event was set, so the call is over either way.
        self.connected();
        came != 0
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.is_connected {
            return;
        }
        let Some(call) = self.call.take() else { return };
        // SAFETY: the handles are open and the call one of the pipe.
        unsafe { CancelIoEx(self.pipe.as_raw_handle(), call.get()) };
        if !self.event.is_set_within(PATIENCE) {
            // The system may still write to it.
            Box::leak(call);
        }
    }
}

/// Something that can be waited for, and stays set once it was set.
#[derive(Debug)]
pub(crate) struct Event(OwnedHandle);

impl Event {
    fn new() -> io::Result<Self> {
        // SAFETY: an event has no name and the default rights; what is returned is ours.
        let handle = unsafe { CreateEventW(ptr::null(), 1, 0, ptr::null()) };
        if handle.is_null() {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: it was just made, and nobody else has it.
        Ok(Self(unsafe { OwnedHandle::from_raw_handle(handle) }))
    }

    pub(crate) fn set(&self) {
        // SAFETY: the handle is open. An event can always be set.
        unsafe { SetEvent(self.0.as_raw_handle()) };
    }

    /// Waits until it is set, for at most `time`; says whether it is.
    pub(crate) fn is_set_within(&self, time: Duration) -> bool {
        let limit = u32::try_from(time.as_millis()).unwrap_or(INFINITE);
        // SAFETY: the handle is open.
        unsafe { WaitForSingleObject(self.0.as_raw_handle(), limit) == WAIT_OBJECT_0 }
    }
}

/// Makes an instance of the pipe `name`, which ends with a zero, for clients of this machine. The default rights
/// let in the programs of the same user and of administrators.
fn create(name: &[u16], sizes: Sizes, more: u32) -> io::Result<OwnedHandle> {
    debug_assert_eq!(name.last(), Some(&0));
    let access = PIPE_ACCESS_DUPLEX | FILE_FLAG_OVERLAPPED | more;
    let mode = PIPE_TYPE_BYTE | PIPE_READMODE_BYTE | PIPE_WAIT | PIPE_REJECT_REMOTE_CLIENTS;
    let (most, Sizes { send, recv }) = (PIPE_UNLIMITED_INSTANCES, sizes);
    // SAFETY: the name ends with a zero and outlives the call.
    let handle =
        unsafe { CreateNamedPipeW(name.as_ptr(), access, mode, most, send, recv, 0, ptr::null()) };
    if handle == INVALID_HANDLE_VALUE {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it was just made, and nobody else has it.
    Ok(unsafe { OwnedHandle::from_raw_handle(handle) })
}

/// The end of a named pipe as the poll watches it. It must have been opened or made with `FILE_FLAG_OVERLAPPED`.
pub(crate) fn watchable(pipe: OwnedHandle) -> NamedPipe {
    // SAFETY: it is open and given away.
    unsafe { NamedPipe::from_raw_handle(pipe.into_raw_handle()) }
}
