//! The table of sockets: each has a number, the smallest that is free.
//!
//! A call holds the lock of its socket's place, shared with other calls, for as long as it lasts. A close first
//! closes the socket, which ends the calls that wait, and then takes the place for itself alone. So a number is not
//! given away again while a call still uses it, and calls on different sockets share no memory.

use std::collections::HashMap;
use std::io::{self, PipeReader, PipeWriter, Write};
use std::ops::Deref;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, TryLockError};

use sinew::{Endpoint, Readiness};

use crate::engine::{Engine, Kind};
use crate::errno::{EBADF, EFORKED, EMFILE, ENOPROTOOPT, Errno};

/// How many sockets there may be at once.
const PLACES: usize = 4096;

/// A socket as nanomsg's calls see it.
pub(crate) struct Entry {
    pub(crate) engine: Box<dyn Engine>,
    pub(crate) domain: i32,
    pub(crate) protocol: i32,
    /// The process that made it.
    process: u32,
    /// In milliseconds; negative is forever.
    pub(crate) send_timeout: AtomicI32,
    pub(crate) recv_timeout: AtomicI32,
    /// Whether a survey is under way.
    pub(crate) is_asking: AtomicBool,
    /// Whether somebody closes it, who then frees its place.
    is_closing: AtomicBool,
    settings: Mutex<Settings>,
    recv_readiness: OnceLock<Readiness>,
    send_readiness: OnceLock<Readiness>,
    /// A pipe that is readable once the socket is closed, made when it is first asked for.
    closing: OnceLock<(PipeReader, PipeWriter)>,
}

/// What is seldom needed.
pub(crate) struct Settings {
    pub(crate) linger: i32,
    pub(crate) send_buffer: i32,
    pub(crate) recv_buffer: i32,
    pub(crate) max_recv_size: i32,
    pub(crate) reconnect_interval: i32,
    pub(crate) reconnect_max: i32,
    pub(crate) send_priority: i32,
    pub(crate) recv_priority: i32,
    pub(crate) ipv4_only: i32,
    pub(crate) max_ttl: i32,
    pub(crate) name: Vec<u8>,
    pub(crate) resend_interval: i32,
    pub(crate) survey_deadline: i32,
    pub(crate) tcp_nodelay: i32,
    pub(crate) endpoints: HashMap<i32, Endpoint>,
    /// The number of the last endpoint.
    pub(crate) last_endpoint: i32,
}

impl Entry {
    pub(crate) fn new(
        engine: Box<dyn Engine>,
        domain: i32,
        protocol: i32,
        settings: Settings,
    ) -> Self {
        Self {
            engine,
            domain,
            protocol,
            process: std::process::id(),
            send_timeout: AtomicI32::new(-1),
            recv_timeout: AtomicI32::new(-1),
            is_asking: AtomicBool::new(false),
            is_closing: AtomicBool::new(false),
            settings: Mutex::new(settings),
            recv_readiness: OnceLock::new(),
            send_readiness: OnceLock::new(),
            closing: OnceLock::new(),
        }
    }

    /// Whether it was made before a `fork`, in an ancestor of this process.
    pub(crate) fn is_inherited(&self) -> bool {
        self.process != std::process::id()
    }

    pub(crate) fn is_surveyor(&self) -> bool {
        self.protocol == Kind::Surveyor as i32 && !self.engine.socket().is_raw()
    }

    pub(crate) fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The descriptor that shows whether there is something to receive, made when it is first asked for.
    pub(crate) fn recv_readiness(&self) -> Result<&Readiness, Errno> {
        readiness(&self.recv_readiness, || self.engine.recv_readiness())
    }

    /// The descriptor that shows whether there is room to send.
    pub(crate) fn send_readiness(&self) -> Result<&Readiness, Errno> {
        readiness(&self.send_readiness, || self.engine.send_readiness())
    }

    /// A descriptor that is readable once the socket is closed. Whoever has it and then finds the socket open is told.
    pub(crate) fn closing(&self) -> Result<RawFd, Errno> {
        let (reader, _) = made(&self.closing, io::pipe)?;
        Ok(reader.as_raw_fd())
    }

    /// Closes the socket.
    fn close(&self) {
        // It is closed already if its runtime is lost.
        let _ = self.engine.socket().close();
        // A child would wake its parent.
        if let Some((_, writer)) = self.closing.get().filter(|_| !self.is_inherited()) {
            // There is room for a byte.
            let _ = (&*writer).write(&[0]);
        }
    }
}

fn readiness(
    place: &OnceLock<Readiness>,
    make: impl FnOnce() -> Option<io::Result<Readiness>>,
) -> Result<&Readiness, Errno> {
    if let Some(made) = place.get() {
        return Ok(made);
    }
    let readiness = make().ok_or(ENOPROTOOPT)?;
    made(place, || readiness)
}

/// What is in the place, made if there is nothing.
fn made<T>(place: &OnceLock<T>, make: impl FnOnce() -> io::Result<T>) -> Result<&T, Errno> {
    if let Some(made) = place.get() {
        return Ok(made);
    }
    let made = make().map_err(|error| Errno::from(&error))?;
    Ok(place.get_or_init(|| made))
}

/// A place in a cache line of its own.
#[repr(align(64))]
struct Place(RwLock<Option<Box<Entry>>>);

impl Place {
    /// Shares the place, unless somebody has it, or waits for it, for himself.
    #[inline]
    fn look(&self) -> Option<RwLockReadGuard<'_, Option<Box<Entry>>>> {
        match self.0.try_read() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Takes what is in the place, if nobody shares it.
    fn try_take(&self) -> Option<Box<Entry>> {
        self.0.try_write().ok()?.take()
    }

    /// Takes what is in the place, once nobody shares it.
    fn take(&self) -> Option<Box<Entry>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

static TABLE: [Place; PLACES] = [const { Place(RwLock::new(None)) }; PLACES];

/// One past the highest place that was ever taken.
static HIGHEST: AtomicI32 = AtomicI32::new(0);

/// Serializes those who look for a free place, so that each gets the smallest.
static CHOOSING: Mutex<()> = Mutex::new(());

/// A socket in use by a call.
pub(crate) struct InUse(RwLockReadGuard<'static, Option<Box<Entry>>>);

impl Deref for InUse {
    type Target = Entry;

    #[inline]
    fn deref(&self) -> &Entry {
        self.0.as_ref().expect("it was there when the guard was made, and stays")
    }
}

/// The socket with this number. Never waits, so that a call may ask twice for one socket: while another thread waits for
/// the place for itself, the socket is being closed.
#[inline]
pub(crate) fn get(number: i32) -> Result<InUse, Errno> {
    let place = usize::try_from(number).ok().and_then(|number| TABLE.get(number)).ok_or(EBADF)?;
    place.look().filter(|guard| guard.is_some()).map(InUse).ok_or(EBADF)
}

/// Gives a socket a number.
pub(crate) fn insert(entry: Entry) -> Result<i32, Errno> {
    let _choosing = CHOOSING.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, place) in (0..).zip(&TABLE) {
        // A look first: who has the place for himself, be it for a moment, makes calls on its socket fail.
        if place.look().is_none_or(|guard| guard.is_some()) {
            continue;
        }
        let Ok(mut guard) = place.0.try_write() else { continue };
        *guard = Some(Box::new(entry));
        HIGHEST.fetch_max(number + 1, Ordering::Relaxed);
        return Ok(number);
    }
    Err(EMFILE)
}

/// Closes a socket, and frees its number when the last call on it has returned.
pub(crate) fn close(number: i32) -> Result<(), Errno> {
    let entry = get(number)?;
    if entry.is_closing.swap(true, Ordering::Relaxed) {
        return Err(EBADF); // another thread was faster, and frees the place
    }
    entry.close();
    let is_inherited = entry.is_inherited();
    drop(entry);
    let place = &TABLE[usize::try_from(number).map_err(|_| EBADF)?];
    if is_inherited {
        // Calls that were in there at the fork never leave in this process.
        place.try_take();
        return Err(EFORKED);
    }
    drop(place.take());
    Ok(())
}

/// Closes all sockets. Waits for the calls of other threads on them, which end at once, if `waits`; else sockets in
/// which there still is one keep their place.
pub(crate) fn close_all(waits: bool) {
    let highest = usize::try_from(HIGHEST.load(Ordering::Relaxed)).unwrap_or(0);
    for place in &TABLE[..highest.min(PLACES)] {
        let Some(guard) = place.look() else { continue };
        let Some(entry) = &*guard else { continue };
        if entry.is_closing.swap(true, Ordering::Relaxed) {
            continue;
        }
        entry.close();
        // Calls that were in there at a fork never leave in the child.
        let waits = waits && !entry.is_inherited();
        drop(guard);
        drop(if waits { place.take() } else { place.try_take() });
    }
}
