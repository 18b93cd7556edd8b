//! `nn_poll`: waits until any of several sockets is ready.

use std::ffi::{c_int, c_short};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use std::{ptr, slice};

use sinew::Readiness;

use crate::border::border;
use crate::errno::{EFAULT, EINVAL, Errno};
use crate::table::{self, InUse};

const NN_POLLIN: c_short = 1;
const NN_POLLOUT: c_short = 2;

/// A socket to wait for.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nn_pollfd {
    /// Its number.
    pub fd: c_int,
    /// What to wait for.
    pub events: c_short,
    /// What it is ready for.
    pub revents: c_short,
}

/// Waits until a socket is ready for what it is asked for, for `timeout` milliseconds at most (negative: forever).
/// Returns how many are.
///
/// # Safety
///
/// `fds` points to `nfds` sockets.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_poll(fds: *mut nn_pollfd, nfds: c_int, timeout: c_int) -> c_int {
    border(|| {
        let count = usize::try_from(nfds).map_err(|_| EINVAL)?;
        let asked: &mut [nn_pollfd] = match (fds.is_null(), count) {
            (_, 0) => &mut [],
            (true, _) => return Err(EFAULT),
            // SAFETY: by the caller.
            (false, count) => unsafe { slice::from_raw_parts_mut(fds, count) },
        };
        let entries =
            asked.iter().map(|asked| table::get(asked.fd)).collect::<Result<Vec<_>, _>>()?;
        let watched = watches(asked, &entries)?;
        let until = until(timeout);
        loop {
            let ready = look(asked, &watched);
            if ready > 0 || timeout == 0 {
                return Ok(ready);
            }
            if !sleep(watched.iter().map(|watch| watch.readiness.as_raw_fd()), until)? {
                return Ok(look(asked, &watched));
            }
        }
    })
}

/// One readiness that is asked for.
struct Watch<'a> {
    /// Of which of the sockets asked for.
    index: usize,
    event: c_short,
    readiness: &'a Readiness,
    entry: &'a InUse,
}

impl Watch<'_> {
    fn is_ready(&self) -> bool {
        // A surveyor that has asked nothing is readable, since a receive fails at once.
        let idle = || {
            self.event == NN_POLLIN
                && self.entry.is_surveyor()
                && !self.entry.is_asking.load(Ordering::Relaxed)
        };
        self.readiness.is_ready() || idle()
    }
}

fn watches<'a>(asked: &[nn_pollfd], entries: &'a [InUse]) -> Result<Vec<Watch<'a>>, Errno> {
    let mut watches = Vec::with_capacity(entries.len());
    for (index, (asked, entry)) in asked.iter().zip(entries).enumerate() {
        if asked.events & NN_POLLIN != 0 {
            let readiness = entry.recv_readiness()?;
            watches.push(Watch { index, event: NN_POLLIN, readiness, entry });
        }
        if asked.events & NN_POLLOUT != 0 {
            let readiness = entry.send_readiness()?;
            watches.push(Watch { index, event: NN_POLLOUT, readiness, entry });
        }
    }
    Ok(watches)
}

/// Notes what each socket is ready for. Returns how many are.
fn look(asked: &mut [nn_pollfd], watches: &[Watch<'_>]) -> c_int {
    asked.iter_mut().for_each(|asked| asked.revents = 0);
    for watch in watches.iter().filter(|watch| watch.is_ready()) {
        asked[watch.index].revents |= watch.event;
    }
    asked.iter().filter(|asked| asked.revents != 0).count().try_into().unwrap_or(c_int::MAX)
}

/// The end of a time in milliseconds from now; `None`: never.
fn until(milliseconds: c_int) -> Option<Instant> {
    let time = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    Instant::now().checked_add(time)
}

/// Sleeps until a descriptor is readable. Returns whether one is, rather than that the time is over.
pub(super) fn sleep(
    watched: impl Iterator<Item = RawFd>,
    until: Option<Instant>,
) -> Result<bool, Errno> {
    let poll = |fd| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    let mut files: Vec<libc::pollfd> = watched.map(poll).collect();
    let left = until.map(|until| until.saturating_duration_since(Instant::now()));
    let limit = left.map(|left| libc::timespec {
        tv_sec: left.as_secs().try_into().unwrap_or(libc::time_t::MAX),
        tv_nsec: left.subsec_nanos() as _,
    });
    let limit = limit.as_ref().map_or(ptr::null(), ptr::from_ref);
    // SAFETY: the list and the time are valid for the call, and no mask is given.
    match unsafe {
        libc::ppoll(files.as_mut_ptr(), files.len() as libc::nfds_t, limit, ptr::null())
    } {
        -1 => Err(Errno::last()),
        0 => Ok(false),
        _ => Ok(true),
    }
}
