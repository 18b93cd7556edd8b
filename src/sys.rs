//! Calls of the system that std does not have.
//!
//! Owns the count of forks on the way to this process. A child that `fork` makes has a copy of all memory and
//! of all descriptors, but none of the threads: locks that they held stay locked forever, and what the
//! child does to a descriptor may happen to its parent. So code must recognize what was made before a fork,
//! without a system call: an [`Origin`] tells. A [`PerProcess`] is a value that each child makes anew.
//!
//! A child that was made by `clone` or `vfork` without the handlers of the C library goes unnoticed. Systems
//! other than Unix do not fork.
//!
//! The named pipes of Windows are in `pipes`.

#![allow(unsafe_code)]

#[cfg(windows)]
pub(crate) mod pipes;

use std::io;
#[cfg(target_os = "linux")]
use std::mem::MaybeUninit;
#[cfg(target_os = "linux")]
use std::os::fd::BorrowedFd;
#[cfg(unix)]
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::Duration;

use crate::sync::Ordering;
#[cfg(unix)]
use crate::sync::statics::AtomicBool;
use crate::sync::statics::{AtomicPtr, AtomicU32};

/// The number of forks on the way from the first process to this one, since sinew was first used.
static GENERATION: AtomicU32 = AtomicU32::new(0);

/// Runs in a child, in its only thread, before `fork` returns there.
#[cfg(unix)]
extern "C" fn in_child() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

/// Makes sure that forks are counted from now on.
#[cfg(unix)]
fn count_forks() {
    static COUNTED: AtomicBool = AtomicBool::new(false);
    // Two threads may both register the handler. A fork then counts twice, which does no harm. A lock would:
    // a child could inherit it locked.
    if !COUNTED.load(Ordering::Acquire) {
        // SAFETY: the handler is a function of this program, and only counts.
        let outcome = unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
        match outcome {
            0 => COUNTED.store(true, Ordering::Release),
            error => {
                let error = io::Error::from_raw_os_error(error);
                crate::contain::record!(
                    Warn,
                    { reason: error },
                    "forks will not be noticed: {error}"
                );
            }
        }
    }
}

/// Makes what comes now a process of its own, for which nothing is left of an earlier schedule.
#[cfg(any(shuttle, all(test, loom)))]
pub(crate) fn begin_schedule() {
    GENERATION.fetch_add(1, Ordering::Relaxed);
}

#[cfg(not(unix))]
fn count_forks() {}

/// The number of the first descriptor that a service manager leaves to a process.
#[cfg(unix)]
const FIRST_INHERITED: i32 = 3;

/// Takes the descriptors that a service manager has left to this process, `count` of them, so that children do not
/// inherit them. Only once: later calls return none. An error, and none is taken, if one is not open.
#[cfg(unix)]
pub(crate) fn take_inherited(count: u32) -> io::Result<Vec<OwnedFd>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let beyond = i32::try_from(count).ok().and_then(|count| count.checked_add(FIRST_INHERITED));
    let numbers = FIRST_INHERITED..beyond.ok_or(io::ErrorKind::InvalidData)?;
    for number in numbers.clone() {
        // SAFETY: it only asks; if there is no such descriptor, that is the answer.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
            return Err(io::Error::last_os_error());
        }
    }
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let take = |number| {
        // SAFETY: it is open, and was left to this process to be taken once, here; who else takes it is told not to
        // call this.
        let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
        // SAFETY: the descriptor is open, and its only flag is set.
        match unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } {
            -1 => Err(io::Error::last_os_error()),
            _ => Ok(descriptor),
        }
    };
    numbers.map(take).collect()
}

/// How long the other end of a tcp connection has been silent, if bytes that were written to it are
/// unacknowledged and the system has asked for them again; zero if it has not. `None`: there are none.
#[cfg(target_os = "linux")]
pub(crate) fn tcp_silence(socket: BorrowedFd<'_>) -> io::Result<Option<Duration>> {
    let (file, mut waiting) = (socket.as_raw_fd(), 0 as libc::c_int);
    // SAFETY: the descriptor is open while it is borrowed, and the request writes one `int`.
    if unsafe { libc::ioctl(file, libc::TIOCOUTQ, &raw mut waiting) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if waiting == 0 {
        return Ok(None);
    }
    let mut info = MaybeUninit::<libc::tcp_info>::zeroed();
    let mut length = libc::socklen_t::try_from(size_of::<libc::tcp_info>()).expect("it is small");
    let (level, name) = (libc::IPPROTO_TCP, libc::TCP_INFO);
    // SAFETY: the system writes at most `length` bytes, which is the size of `info`.
    let outcome =
        unsafe { libc::getsockopt(file, level, name, info.as_mut_ptr().cast(), &raw mut length) };
    if outcome != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it has numbers only, and was filled with zeros before.
    let info = unsafe { info.assume_init() };
    let asked_again = info.tcpi_retransmits > 0 || info.tcpi_probes > 0;
    let silence = if asked_again { info.tcpi_last_ack_recv } else { 0 };
    Ok(Some(Duration::from_millis(silence.into())))
}

/// Takes the lock on a file, or says that somebody else has it. It is the file's own for as long as it is open, in
/// children that a fork makes too: give it back by [`unlock`].
///
/// # Errors
///
/// There are no locks for this file. Solaris has none at all.
#[cfg(unix)]
pub(crate) fn try_lock(file: &std::fs::File) -> io::Result<bool> {
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    {
        // SAFETY: the descriptor is open while the file is borrowed, and the call touches no memory.
        if unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0 {
            return Ok(true);
        }
        let error = io::Error::last_os_error();
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(false),
            _ => Err(error),
        }
    }
    #[cfg(any(target_os = "solaris", target_os = "illumos"))]
    {
        let _ = file;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Gives back what [`try_lock`] took.
#[cfg(unix)]
pub(crate) fn unlock(file: &std::fs::File) {
    #[cfg(not(any(target_os = "solaris", target_os = "illumos")))]
    // SAFETY: as above. It does not fail for who has the lock.
    let _ = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
    #[cfg(any(target_os = "solaris", target_os = "illumos"))]
    let _ = file;
}

/// Waits until `poll` has something to report, for at most `time`; says whether it may have.
///
/// `time` is exact to the microsecond on Linux, and elsewhere rounded up to milliseconds.
#[cfg(unix)]
pub(crate) fn await_report(poll: &mio::Poll, time: Duration) -> bool {
    let mut watched = libc::pollfd { fd: poll.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // A signal, or a system out of memory: whoever asks looks for itself.
    #[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
    let ready = {
        let limit = libc::timespec {
            // In 31 bits, which fit everywhere: that is 34 years.
            tv_sec: time.as_secs().min(1 << 30) as _,
            // It is below a milliard.
            tv_nsec: time.subsec_nanos() as libc::c_long,
        };
        // SAFETY: both are valid for the call, the list has one entry, and no mask is given.
        unsafe { libc::ppoll(&raw mut watched, 1, &raw const limit, ptr::null()) }
    };
    #[cfg(not(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair))))]
    let ready = {
        let limit = time.as_micros().div_ceil(1000).try_into().unwrap_or(libc::c_int::MAX);
        // SAFETY: the list is valid for the call and has one entry.
        unsafe { libc::poll(&raw mut watched, 1, limit) }
    };
    ready != 0
}

/// The same where the poll is no descriptor: sleeps for `time`, but for no longer than a millisecond, since
/// nothing wakes it.
#[cfg(not(unix))]
pub(crate) fn await_report(_: &mio::Poll, time: Duration) -> bool {
    std::thread::sleep(time.min(Duration::from_millis(1)));
    true
}

/// Has nobody else bind the address that `socket` will be bound to, whatever options they set.
#[cfg(windows)]
pub(crate) fn bind_alone(socket: &socket2::Socket) -> io::Result<()> {
    use std::os::windows::io::AsRawSocket;
    use windows_sys::Win32::Networking::WinSock::{SO_EXCLUSIVEADDRUSE, SOL_SOCKET, setsockopt};

    let handle = usize::try_from(socket.as_raw_socket()).expect("a handle is a pointer");
    let (on, length) = (1_i32, i32::try_from(size_of::<i32>()).expect("it is small"));
    // SAFETY: the socket is open while it is borrowed, and the value has `length` bytes.
    let outcome = unsafe {
        setsockopt(handle, SOL_SOCKET, SO_EXCLUSIVEADDRUSE, (&raw const on).cast(), length)
    };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One end of a [`stream_pair`].
#[cfg(not(unix))]
pub(crate) use std::net::TcpStream as Stream;

/// Two ends of a stream within this process, for systems that have no socket pairs.
#[cfg(not(unix))]
pub(crate) fn stream_pair() -> io::Result<(Stream, Stream)> {
    let listener = std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    let far = Stream::connect(listener.local_addr()?)?;
    far.set_nodelay(true)?;
    // Anybody on this machine can connect to the port meanwhile.
    loop {
        let (near, peer) = listener.accept()?;
        if peer == far.local_addr()? {
            return Ok((near, far));
        }
    }
}

/// Where one thread sleeps until it is called, the time is over, or a signal handler has run in it.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[derive(Debug)]
pub(crate) struct Bed(AtomicU32);

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Bed {
    const EMPTY: u32 = 0;
    const ASLEEP: u32 = 1;
    const CALLED: u32 = 2;
    /// The system restarts a sleep without an end after some handlers, and never one that has an end.
    const LONGEST: Duration = Duration::from_secs(1 << 20);

    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(Self::EMPTY))
    }

    /// Ends the sleep, or makes the next one end at once.
    pub(crate) fn call(&self) {
        if self.0.swap(Self::CALLED, Ordering::Release) == Self::ASLEEP {
            // SAFETY: the word is alive during the call, and the system does not write to it.
            unsafe {
                libc::syscall(libc::SYS_futex, self.0.as_ptr(), Self::op(libc::FUTEX_WAKE), 1)
            };
        }
    }

    /// Sleeps, for `most` at most. Returns whether a signal handler has ended the sleep. Only for the one thread
    /// that has the bed.
    pub(crate) fn sleep(&self, most: Option<Duration>) -> bool {
        let (empty, asleep) = (Self::EMPTY, Self::ASLEEP);
        let mut is_interrupted = false;
        if self.0.compare_exchange(empty, asleep, Ordering::Acquire, Ordering::Acquire).is_ok() {
            let most = most.map_or(Self::LONGEST, |most| most.min(Self::LONGEST));
            let part = |number: u64| libc::c_long::try_from(number).unwrap_or(libc::c_long::MAX);
            let time = [part(most.as_secs()), part(most.subsec_nanos().into())];
            let (word, op) = (self.0.as_ptr(), Self::op(libc::FUTEX_WAIT));
            // SAFETY: the word and the time, which is laid out as this call has it, are alive during the call,
            // and the system writes to neither.
            let outcome =
                unsafe { libc::syscall(libc::SYS_futex, word, op, asleep, time.as_ptr()) };
            is_interrupted =
                outcome != 0 && io::Error::last_os_error().kind() == io::ErrorKind::Interrupted;
        }
        self.0.swap(empty, Ordering::Acquire);
        is_interrupted
    }

    fn op(op: libc::c_int) -> libc::c_int {
        op | libc::FUTEX_PRIVATE_FLAG
    }
}

/// Elsewhere no sleep is ended by a signal, and nobody asks for it.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
#[derive(Debug)]
pub(crate) struct Bed;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
impl Bed {
    pub(crate) fn new() -> Self {
        Self
    }

    pub(crate) fn call(&self) {}

    pub(crate) fn sleep(&self, most: Option<Duration>) -> bool {
        std::thread::park_timeout(most.unwrap_or(Duration::MAX));
        false
    }
}

/// The process in which something was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin(u32);

impl Origin {
    pub(crate) fn now() -> Self {
        count_forks();
        Self(GENERATION.load(Ordering::Relaxed))
    }

    /// Whether it was made before a fork, and belongs to an ancestor of this process.
    #[inline]
    pub(crate) fn is_ancestral(self) -> bool {
        // Relaxed: a child begins with one thread, and that thread has counted.
        self.0 != GENERATION.load(Ordering::Relaxed)
    }
}

/// A value for a static, which each child makes anew. Reading it takes no lock, which a child could inherit
/// locked. The parent's value is leaked in the child: other threads may have been changing it.
pub(crate) struct PerProcess<T: 'static> {
    current: AtomicPtr<Born<T>>,
    make: fn() -> T,
}

struct Born<T> {
    origin: Origin,
    value: T,
}

impl<T: Sync> PerProcess<T> {
    pub(crate) const fn new(make: fn() -> T) -> Self {
        Self { current: AtomicPtr::new(ptr::null_mut()), make }
    }

    /// The value of this process.
    pub(crate) fn get(&self) -> &'static T {
        let seen = self.current.load(Ordering::Acquire);
        // SAFETY: a pointer that is not null was stored below, and its target is never freed.
        match unsafe { seen.as_ref() } {
            Some(born) if !born.origin.is_ancestral() => &born.value,
            _ => self.renew(seen),
        }
    }

    #[cold]
    fn renew(&self, seen: *mut Born<T>) -> &'static T {
        let new = Box::into_raw(Box::new(Born { origin: Origin::now(), value: (self.make)() }));
        let stored = self.current.compare_exchange(seen, new, Ordering::AcqRel, Ordering::Acquire);
        let current = match stored {
            Ok(_) => new,
            Err(others) => {
                // SAFETY: the pointer comes from a box above, and no other thread has seen it.
                drop(unsafe { Box::from_raw(new) });
                others
            }
        };
        // SAFETY: the value is stored, by us or by another thread of this process that was faster (a child
        // begins with one thread), and a stored value is never freed.
        unsafe { &(*current).value }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(any(target_os = "linux", target_os = "android"))]
    #[test]
    fn a_call_ends_a_sleep_and_one_that_came_before_ends_the_next() {
        let bed = Bed::new();
        bed.call();
        assert!(!bed.sleep(None));
        assert!(!bed.sleep(Some(Duration::from_millis(1))));
        std::thread::scope(|scope| {
            scope.spawn(|| assert!(!bed.sleep(None)));
            bed.call();
        });
        assert_eq!(bed.0.load(Ordering::Relaxed), Bed::EMPTY);
    }

    #[test]
    fn a_value_per_process_is_made_once_however_many_threads_ask() {
        static VALUE: PerProcess<std::sync::Mutex<u32>> = PerProcess::new(Default::default);
        let places = std::thread::scope(|scope| {
            let asked = [(); 4].map(|()| scope.spawn(|| ptr::from_ref(VALUE.get()).addr()));
            asked.map(|thread| thread.join().unwrap())
        });
        assert!(places.iter().all(|&place| place == places[0]));
    }
}
