//! Options by number.

use std::ffi::c_int;
use std::time::Duration;

use sinew::{Conflate, OptionError, Options};

use super::failure::{Failure, call};
use super::socket::{sinew_socket, with};
use crate::errno::{EBADF, EFORKED, EINVAL, ENOPROTOOPT, Errno};

/// Messages that may wait to be sent to one peer, 1 to 8192.
pub const SINEW_SEND_QUEUE: c_int = 1;
/// Bytes that may wait to be sent to one peer, at least 1.
pub const SINEW_SEND_QUEUE_BYTES: c_int = 2;
/// Messages from one peer that may wait to be received, 1 to 8192.
pub const SINEW_RECV_QUEUE: c_int = 3;
/// Bytes from one peer that may wait to be received, at least 1.
pub const SINEW_RECV_QUEUE_BYTES: c_int = 4;
/// The longest message that may be sent; -1: no limit.
pub const SINEW_MAX_SEND_SIZE: c_int = 5;
/// The longest message that may be received; -1: no limit.
pub const SINEW_MAX_RECV_SIZE: c_int = 6;
/// For how many milliseconds a closed socket may go on sending; -1: until all is sent.
pub const SINEW_LINGER: c_int = 7;
/// How many milliseconds pass between attempts to connect, above 0.
pub const SINEW_RECONNECT_INTERVAL: c_int = 8;
/// What that may grow to; 0: it does not grow.
pub const SINEW_RECONNECT_MAX: c_int = 9;
/// How many milliseconds an attempt to connect may take; -1: as long as the system likes.
pub const SINEW_CONNECT_TIMEOUT: c_int = 10;
/// How many peers a socket may have.
pub const SINEW_MAX_PEERS: c_int = 11;
/// Whether small tcp segments are sent at once.
pub const SINEW_TCP_NODELAY: c_int = 12;
/// For how many milliseconds a tcp peer may be silent; -1: as long as the system likes.
pub const SINEW_TCP_KEEPALIVE: c_int = 13;
/// The most hops of a message, 1 to 255: REP, RESPONDENT and PAIR v1.
pub const SINEW_TTL: c_int = 14;
/// After how many milliseconds a request is sent again; -1: never. REQ.
pub const SINEW_RESEND_INTERVAL: c_int = 15;
/// How often a request is sent again; -1: as often as needed. REQ.
pub const SINEW_MAX_RESENDS: c_int = 16;
/// For how many milliseconds answers to a survey count; -1: without end. SURVEYOR.
pub const SINEW_SURVEY_DEADLINE: c_int = 17;
/// 1, served first, to 16: PUSH and REQ. For endpoints made later.
pub const SINEW_SEND_PRIORITY: c_int = 18;
/// 1, served first, to 16: sockets that receive from many. For endpoints made later.
pub const SINEW_RECV_PRIORITY: c_int = 19;
/// Whether a full queue of a SUB drops its oldest message at once.
pub const SINEW_PREFER_NEW: c_int = 20;
/// How many bytes at the beginning of a message are its key: of each key only the newest message waits. -1: off.
/// PUB and SUB.
pub const SINEW_CONFLATE_PREFIX: c_int = 21;

impl From<&OptionError> for Errno {
    fn from(error: &OptionError) -> Self {
        match error {
            OptionError::Closed => EBADF,
            OptionError::Forked => EFORKED,
            OptionError::NoSuchOption { .. } => ENOPROTOOPT,
            _ => EINVAL,
        }
    }
}

/// Sets an option.
///
/// # Safety
///
/// The socket is not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_set(
    socket: *const sinew_socket,
    option: c_int,
    value: i64,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let engine = unsafe { with(socket) }?;
        let options = changed(engine.socket().options(), option, value)?;
        Ok(engine.socket().set_options(options)?)
    })
}

fn changed(options: Options, option: c_int, value: i64) -> Result<Options, Failure> {
    let amount = || usize::try_from(value).map_err(|_| negative());
    let limit = usize::try_from(value).ok();
    let time = u64::try_from(value).ok().map(Duration::from_millis);
    let span = || time.ok_or_else(negative);
    Ok(match option {
        SINEW_SEND_QUEUE => options.send_queue(amount()?),
        SINEW_SEND_QUEUE_BYTES => options.send_queue_bytes(amount()?),
        SINEW_RECV_QUEUE => options.recv_queue(amount()?),
        SINEW_RECV_QUEUE_BYTES => options.recv_queue_bytes(amount()?),
        SINEW_MAX_SEND_SIZE => options.max_send_size(limit),
        SINEW_MAX_RECV_SIZE => options.max_recv_size(limit),
        SINEW_LINGER => options.linger(time.unwrap_or(Duration::MAX)),
        SINEW_RECONNECT_INTERVAL => options.reconnect_interval(span()?),
        SINEW_RECONNECT_MAX => options.reconnect_max(span()?),
        SINEW_CONNECT_TIMEOUT => options.connect_timeout(time),
        SINEW_MAX_PEERS => options.max_peers(amount()?),
        SINEW_TCP_NODELAY => options.tcp_nodelay(value != 0),
        SINEW_TCP_KEEPALIVE => options.tcp_keepalive(time),
        SINEW_TTL => {
            options.ttl(u16::try_from(value).map_err(|_| Failure::invalid("ttl is 1 to 255"))?)
        }
        SINEW_RESEND_INTERVAL => options.resend_interval(time),
        SINEW_MAX_RESENDS => options.max_resends(u32::try_from(value).ok()),
        SINEW_SURVEY_DEADLINE => options.survey_deadline(time),
        SINEW_SEND_PRIORITY => options.send_priority(priority(value)?),
        SINEW_RECV_PRIORITY => options.recv_priority(priority(value)?),
        SINEW_PREFER_NEW => options.prefer_new(value != 0),
        SINEW_CONFLATE_PREFIX => options.conflate(limit.map(Conflate::Prefix)),
        _ => return Err(unknown()),
    })
}

/// Reads an option.
///
/// # Safety
///
/// The socket is not freed, and a number can be written at `value`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sinew_get(
    socket: *const sinew_socket,
    option: c_int,
    value: *mut i64,
) -> c_int {
    call(|| {
        // SAFETY: by the caller.
        let (engine, value) = unsafe { (with(socket)?, value.as_mut()) };
        let value = value.ok_or_else(|| Failure::invalid("there is no place for the value"))?;
        *value = set_to(&engine.socket().options(), option)?;
        Ok(())
    })
}

fn set_to(options: &Options, option: c_int) -> Result<i64, Failure> {
    let settings = options.settings();
    let amount = |amount: usize| i64::try_from(amount).unwrap_or(i64::MAX);
    let limit = |limit: Option<usize>| limit.map_or(-1, amount);
    let span = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    let time = |time: Option<Duration>| time.map_or(-1, span);
    Ok(match option {
        SINEW_SEND_QUEUE => amount(settings.send_queue),
        SINEW_SEND_QUEUE_BYTES => amount(settings.send_queue_bytes),
        SINEW_RECV_QUEUE => amount(settings.recv_queue),
        SINEW_RECV_QUEUE_BYTES => amount(settings.recv_queue_bytes),
        SINEW_MAX_SEND_SIZE => limit(settings.max_send_size),
        SINEW_MAX_RECV_SIZE => limit(settings.max_recv_size),
        SINEW_LINGER if settings.linger == Duration::MAX => -1,
        SINEW_LINGER => span(settings.linger),
        SINEW_RECONNECT_INTERVAL => span(settings.reconnect_interval),
        SINEW_RECONNECT_MAX => settings.reconnect_max.map_or(0, span),
        SINEW_CONNECT_TIMEOUT => time(settings.connect_timeout),
        SINEW_MAX_PEERS => amount(settings.max_peers),
        SINEW_TCP_NODELAY => settings.tcp_nodelay.into(),
        SINEW_TCP_KEEPALIVE => time(settings.tcp_keepalive),
        SINEW_TTL => settings.ttl.into(),
        SINEW_RESEND_INTERVAL => time(settings.resend_interval),
        SINEW_MAX_RESENDS => settings.max_resends.map_or(-1, i64::from),
        SINEW_SURVEY_DEADLINE => time(settings.survey_deadline),
        SINEW_SEND_PRIORITY => settings.send_priority.into(),
        SINEW_RECV_PRIORITY => settings.recv_priority.into(),
        SINEW_PREFER_NEW => settings.prefer_new.into(),
        SINEW_CONFLATE_PREFIX => match settings.conflate {
            Some(Conflate::Prefix(length)) => amount(length),
            _ => -1,
        },
        _ => return Err(unknown()),
    })
}

fn priority(value: i64) -> Result<u8, Failure> {
    u8::try_from(value).map_err(|_| Failure::invalid("a priority is 1 to 16"))
}

fn negative() -> Failure {
    Failure::invalid("the value of this option is not negative")
}

fn unknown() -> Failure {
    Failure::new(ENOPROTOOPT, "there is no such option")
}
