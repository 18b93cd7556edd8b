//! Options of sockets, of protocols and of transports.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::{ptr, slice};

use sinew::{OptionError, Options};

use super::socket::AF_SP_RAW;
use crate::border::border;
use crate::engine::Kind;
use crate::errno::{EFAULT, EINVAL, ENOPROTOOPT, Errno};
use crate::table::{self, Entry, Settings};

const NN_SOL_SOCKET: c_int = 0;
const NN_LINGER: c_int = 1;
const NN_SNDBUF: c_int = 2;
const NN_RCVBUF: c_int = 3;
const NN_SNDTIMEO: c_int = 4;
const NN_RCVTIMEO: c_int = 5;
const NN_RECONNECT_IVL: c_int = 6;
const NN_RECONNECT_IVL_MAX: c_int = 7;
const NN_SNDPRIO: c_int = 8;
const NN_RCVPRIO: c_int = 9;
const NN_SNDFD: c_int = 10;
const NN_RCVFD: c_int = 11;
const NN_DOMAIN: c_int = 12;
const NN_PROTOCOL: c_int = 13;
const NN_IPV4ONLY: c_int = 14;
const NN_SOCKET_NAME: c_int = 15;
const NN_RCVMAXSIZE: c_int = 16;
const NN_MAXTTL: c_int = 17;

const NN_TCP: c_int = -3;
const NN_TCP_NODELAY: c_int = 1;

const NN_SUB: c_int = 33;
const NN_SUB_SUBSCRIBE: c_int = 1;
const NN_SUB_UNSUBSCRIBE: c_int = 2;
const NN_REQ: c_int = 48;
const NN_REQ_RESEND_IVL: c_int = 1;
const NN_SURVEYOR: c_int = 98;
const NN_SURVEYOR_DEADLINE: c_int = 1;

/// The most characters of a name.
const LONGEST_NAME: usize = 63;

/// The options of a new socket: those of nanomsg where they differ from sinew's, and signals end calls.
pub(super) fn first() -> Options {
    Options::new()
        .interruptible(true)
        .max_send_size(None)
        .reconnect_interval(Duration::from_millis(100))
}

/// What a new socket says of its options.
pub(super) fn defaults() -> Settings {
    let settings = first().settings();
    let bytes = |bytes: usize| c_int::try_from(bytes).unwrap_or(c_int::MAX);
    Settings {
        linger: 0,
        send_buffer: bytes(settings.send_queue_bytes),
        recv_buffer: bytes(settings.recv_queue_bytes),
        max_recv_size: settings.max_recv_size.map_or(-1, bytes),
        reconnect_interval: 100,
        reconnect_max: 0,
        send_priority: settings.send_priority.into(),
        recv_priority: settings.recv_priority.into(),
        ipv4_only: 1,
        max_ttl: settings.ttl.into(),
        name: Vec::new(),
        resend_interval: 60_000,
        survey_deadline: 1000,
        tcp_nodelay: settings.tcp_nodelay.into(),
        endpoints: HashMap::new(),
        last_endpoint: 0,
    }
}

/// Sets an option.
///
/// # Safety
///
/// `optvallen` bytes can be read at `optval`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_setsockopt(
    s: c_int,
    level: c_int,
    option: c_int,
    optval: *const c_void,
    optvallen: usize,
) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        if optval.is_null() && optvallen > 0 {
            return Err(EFAULT);
        }
        let value: &[u8] = match optvallen {
            0 => &[],
            length if length > isize::MAX as usize => return Err(EINVAL),
            // SAFETY: by the caller.
            length => unsafe { slice::from_raw_parts(optval.cast(), length) },
        };
        set(&entry, level, option, value).map(|()| 0)
    })
}

/// Reads an option.
///
/// # Safety
///
/// A length can be read and written at `optvallen`, and so many bytes be written at `optval`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_getsockopt(
    s: c_int,
    level: c_int,
    option: c_int,
    optval: *mut c_void,
    optvallen: *mut usize,
) -> c_int {
    border(|| {
        let entry = table::get(s)?;
        if optval.is_null() && !optvallen.is_null() {
            return Err(EFAULT);
        }
        // SAFETY: by the caller.
        let room = unsafe { optvallen.as_mut() }.ok_or(EFAULT)?;
        let value = get(&entry, s, level, option)?;
        let shown = value.len().min(*room);
        // SAFETY: by the caller, there is room for that.
        unsafe { ptr::copy_nonoverlapping(value.as_ptr(), optval.cast(), shown) };
        *room = value.len();
        Ok(0)
    })
}

fn set(entry: &Entry, level: c_int, option: c_int, value: &[u8]) -> Result<(), Errno> {
    match (level, option) {
        (NN_SUB, NN_SUB_SUBSCRIBE) => entry.engine.subscribe(value).unwrap_or(Err(ENOPROTOOPT)),
        (NN_SUB, NN_SUB_UNSUBSCRIBE) => entry.engine.unsubscribe(value).unwrap_or(Err(ENOPROTOOPT)),
        (NN_REQ, NN_REQ_RESEND_IVL) if is_cooked(entry, Kind::Req) => {
            let interval = number(value)?;
            set_time(entry, interval, Options::resend_interval)?;
            entry.settings().resend_interval = interval;
            Ok(())
        }
        (NN_SURVEYOR, NN_SURVEYOR_DEADLINE) if is_cooked(entry, Kind::Surveyor) => {
            let deadline = number(value)?;
            set_time(entry, deadline, Options::survey_deadline)?;
            entry.settings().survey_deadline = deadline;
            Ok(())
        }
        (NN_TCP, NN_TCP_NODELAY) => {
            let on = within(number(value)?, 0..=1)?;
            change(entry, |options| options.tcp_nodelay(on == 1))?;
            entry.settings().tcp_nodelay = on;
            Ok(())
        }
        (NN_SOL_SOCKET, NN_SOCKET_NAME) => {
            if value.len() > LONGEST_NAME {
                return Err(EINVAL);
            }
            entry.settings().name = value.to_vec();
            Ok(())
        }
        (NN_SOL_SOCKET, _) => set_of_socket(entry, option, value),
        _ => Err(ENOPROTOOPT),
    }
}

fn set_of_socket(entry: &Entry, option: c_int, value: &[u8]) -> Result<(), Errno> {
    let value = number(value)?;
    if !matches!(option, NN_LINGER..=NN_RCVPRIO | NN_IPV4ONLY | NN_RCVMAXSIZE | NN_MAXTTL) {
        return Err(ENOPROTOOPT);
    }
    match option {
        NN_LINGER => {
            change(entry, |options| options.linger(time(value).unwrap_or(Duration::MAX)))?;
            entry.settings().linger = value;
        }
        NN_SNDBUF => {
            let bytes = at_least(value, 1)?;
            change(entry, |options| options.send_queue_bytes(bytes))?;
            entry.settings().send_buffer = value;
        }
        NN_RCVBUF => {
            let bytes = at_least(value, 1)?;
            change(entry, |options| options.recv_queue_bytes(bytes))?;
            entry.settings().recv_buffer = value;
        }
        NN_SNDTIMEO => entry.send_timeout.store(value, Ordering::Relaxed),
        NN_RCVTIMEO => entry.recv_timeout.store(value, Ordering::Relaxed),
        NN_RECONNECT_IVL => {
            // sinew has no pause of zero.
            let pause = Duration::from_millis(at_least(value, 0)?.max(1) as u64);
            change(entry, |options| options.reconnect_interval(pause))?;
            entry.settings().reconnect_interval = value;
        }
        NN_RECONNECT_IVL_MAX => {
            let most = Duration::from_millis(at_least(value, 0)? as u64);
            change(entry, |options| options.reconnect_max(most))?;
            entry.settings().reconnect_max = value;
        }
        NN_SNDPRIO => {
            let priority = within(value, 1..=16)? as u8;
            change_if_it_has(entry, |options| options.send_priority(priority))?;
            entry.settings().send_priority = value;
        }
        NN_RCVPRIO => {
            let priority = within(value, 1..=16)? as u8;
            change_if_it_has(entry, |options| options.recv_priority(priority))?;
            entry.settings().recv_priority = value;
        }
        NN_IPV4ONLY => entry.settings().ipv4_only = within(value, 0..=1)?,
        NN_RCVMAXSIZE => {
            let limit = within(value, -1..=c_int::MAX).map(|value| usize::try_from(value).ok())?;
            change(entry, |options| options.max_recv_size(limit))?;
            entry.settings().max_recv_size = value;
        }
        _ => {
            let hops = within(value, 1..=255)? as u16;
            change_if_it_has(entry, |options| options.ttl(hops))?;
            entry.settings().max_ttl = value;
        }
    }
    Ok(())
}

/// Sets the time for which a REQ or SURVEYOR waits for answers, in the conversation and the socket.
fn set_time(
    entry: &Entry,
    milliseconds: c_int,
    option: fn(Options, Option<Duration>) -> Options,
) -> Result<(), Errno> {
    // sinew has neither an interval nor a deadline of zero.
    let time = time(milliseconds).map(|time| time.max(Duration::from_millis(1)));
    change(entry, |options| option(options, time))?;
    match entry.engine.set_time(time) {
        Some(Ok(())) => Ok(()),
        Some(Err(error)) => Err(Errno::from(&error)),
        None => Err(ENOPROTOOPT),
    }
}

fn change(entry: &Entry, with: impl FnOnce(Options) -> Options) -> Result<(), Errno> {
    let socket = entry.engine.socket();
    socket.set_options(with(socket.options())).map_err(|error| Errno::from(&error))
}

/// Changes an option that nanomsg has for all sockets, and sinew for those that it has an effect on.
fn change_if_it_has(entry: &Entry, with: impl FnOnce(Options) -> Options) -> Result<(), Errno> {
    let socket = entry.engine.socket();
    match socket.set_options(with(socket.options())) {
        Ok(()) | Err(OptionError::NoSuchOption { .. }) => Ok(()),
        Err(error) => Err(Errno::from(&error)),
    }
}

fn get(entry: &Entry, number: c_int, level: c_int, option: c_int) -> Result<Vec<u8>, Errno> {
    let settings = entry.settings();
    let value = match (level, option) {
        (NN_REQ, NN_REQ_RESEND_IVL) if is_cooked(entry, Kind::Req) => settings.resend_interval,
        (NN_SURVEYOR, NN_SURVEYOR_DEADLINE) if is_cooked(entry, Kind::Surveyor) => {
            settings.survey_deadline
        }
        (NN_TCP, NN_TCP_NODELAY) => settings.tcp_nodelay,
        (NN_SOL_SOCKET, NN_LINGER) => settings.linger,
        (NN_SOL_SOCKET, NN_SNDBUF) => settings.send_buffer,
        (NN_SOL_SOCKET, NN_RCVBUF) => settings.recv_buffer,
        (NN_SOL_SOCKET, NN_SNDTIMEO) => entry.send_timeout.load(Ordering::Relaxed),
        (NN_SOL_SOCKET, NN_RCVTIMEO) => entry.recv_timeout.load(Ordering::Relaxed),
        (NN_SOL_SOCKET, NN_RECONNECT_IVL) => settings.reconnect_interval,
        (NN_SOL_SOCKET, NN_RECONNECT_IVL_MAX) => settings.reconnect_max,
        (NN_SOL_SOCKET, NN_SNDPRIO) => settings.send_priority,
        (NN_SOL_SOCKET, NN_RCVPRIO) => settings.recv_priority,
        (NN_SOL_SOCKET, NN_DOMAIN) => entry.domain,
        (NN_SOL_SOCKET, NN_PROTOCOL) => entry.protocol,
        (NN_SOL_SOCKET, NN_IPV4ONLY) => settings.ipv4_only,
        (NN_SOL_SOCKET, NN_RCVMAXSIZE) => settings.max_recv_size,
        (NN_SOL_SOCKET, NN_MAXTTL) => settings.max_ttl,
        (NN_SOL_SOCKET, NN_SNDFD) => {
            drop(settings);
            descriptor(entry.send_readiness()?)
        }
        (NN_SOL_SOCKET, NN_RCVFD) => {
            drop(settings);
            descriptor(entry.recv_readiness()?)
        }
        (NN_SOL_SOCKET, NN_SOCKET_NAME) if settings.name.is_empty() => {
            return Ok(number.to_string().into_bytes());
        }
        (NN_SOL_SOCKET, NN_SOCKET_NAME) => return Ok(settings.name.clone()),
        _ => return Err(ENOPROTOOPT),
    };
    Ok(value.to_ne_bytes().to_vec())
}

fn descriptor(readiness: &sinew::Readiness) -> c_int {
    use std::os::fd::AsRawFd;
    // Brings the descriptor up to date.
    readiness.is_ready();
    readiness.as_raw_fd()
}

fn is_cooked(entry: &Entry, kind: Kind) -> bool {
    entry.protocol == kind as c_int && entry.domain != AF_SP_RAW
}

fn number(value: &[u8]) -> Result<c_int, Errno> {
    value.try_into().map(c_int::from_ne_bytes).map_err(|_| EINVAL)
}

fn within(value: c_int, range: std::ops::RangeInclusive<c_int>) -> Result<c_int, Errno> {
    if range.contains(&value) { Ok(value) } else { Err(EINVAL) }
}

fn at_least(value: c_int, least: usize) -> Result<usize, Errno> {
    usize::try_from(value).ok().filter(|&value| value >= least).ok_or(EINVAL)
}

/// A time in milliseconds; negative is forever.
fn time(milliseconds: c_int) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}
