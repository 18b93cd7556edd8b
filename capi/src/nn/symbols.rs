//! `nn_symbol` and `nn_symbol_info`: the names and values of all constants, for bindings.

use std::ffi::{CStr, c_char, c_int};

use crate::border::border;
use crate::errno::EINVAL;

/// What is known of a constant.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct nn_symbol_properties {
    /// Its value.
    pub value: c_int,
    /// Its name, which the program must not change.
    pub name: *const c_char,
    /// The kind of constant.
    pub ns: c_int,
    /// Of an option: the type of its value.
    pub r#type: c_int,
    /// Of an option or statistic: the unit of its value.
    pub unit: c_int,
}

/// The name of a constant; `value` gets its value. Null and `EINVAL`: there are not so many.
///
/// # Safety
///
/// `value` is null, or an `int` can be written there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_symbol(i: c_int, value: *mut c_int) -> *const c_char {
    border(|| {
        let symbol = find(i).ok_or(EINVAL)?;
        // SAFETY: by the caller.
        if let Some(value) = unsafe { value.as_mut() } {
            *value = symbol.value;
        }
        Ok(symbol.name.as_ptr())
    })
}

/// What is known of a constant, as far as there are `buflen` bytes of room. Returns how many bytes were written; 0:
/// there are not so many constants.
///
/// # Safety
///
/// `buflen` bytes can be written at `buf`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn nn_symbol_info(
    i: c_int,
    buf: *mut nn_symbol_properties,
    buflen: c_int,
) -> c_int {
    border(|| {
        let Some(symbol) = find(i) else { return Ok(0) };
        let known = nn_symbol_properties {
            value: symbol.value,
            name: symbol.name.as_ptr(),
            ns: symbol.namespace,
            r#type: symbol.kind,
            unit: symbol.unit,
        };
        let length = usize::try_from(buflen).map_err(|_| EINVAL)?.min(size_of_val(&known));
        // SAFETY: by the caller, there is room for that.
        unsafe {
            std::ptr::copy_nonoverlapping((&raw const known).cast::<u8>(), buf.cast(), length)
        };
        Ok(length as c_int)
    })
}

fn find(i: c_int) -> Option<&'static Symbol> {
    SYMBOLS.get(usize::try_from(i).ok()?)
}

struct Symbol {
    name: &'static CStr,
    value: c_int,
    namespace: c_int,
    kind: c_int,
    unit: c_int,
}

const fn symbol(
    name: &'static CStr,
    value: c_int,
    namespace: c_int,
    kind: c_int,
    unit: c_int,
) -> Symbol {
    Symbol { name, value, namespace, kind, unit }
}

/// In the order in which nanomsg lists them: programs that read them in a loop see what they saw.
static SYMBOLS: [Symbol; 121] = [
    symbol(c"NN_NS_NAMESPACE", 0, 0, 0, 0),
    symbol(c"NN_NS_VERSION", 1, 0, 0, 0),
    symbol(c"NN_NS_DOMAIN", 2, 0, 0, 0),
    symbol(c"NN_NS_TRANSPORT", 3, 0, 0, 0),
    symbol(c"NN_NS_PROTOCOL", 4, 0, 0, 0),
    symbol(c"NN_NS_OPTION_LEVEL", 5, 0, 0, 0),
    symbol(c"NN_NS_SOCKET_OPTION", 6, 0, 0, 0),
    symbol(c"NN_NS_TRANSPORT_OPTION", 7, 0, 0, 0),
    symbol(c"NN_NS_OPTION_TYPE", 8, 0, 0, 0),
    symbol(c"NN_NS_OPTION_UNIT", 9, 0, 0, 0),
    symbol(c"NN_NS_FLAG", 10, 0, 0, 0),
    symbol(c"NN_NS_ERROR", 11, 0, 0, 0),
    symbol(c"NN_NS_LIMIT", 12, 0, 0, 0),
    symbol(c"NN_NS_EVENT", 13, 0, 0, 0),
    symbol(c"NN_NS_STATISTIC", 14, 0, 0, 0),
    symbol(c"NN_TYPE_NONE", 0, 8, 0, 0),
    symbol(c"NN_TYPE_INT", 1, 8, 0, 0),
    symbol(c"NN_TYPE_STR", 2, 8, 0, 0),
    symbol(c"NN_UNIT_NONE", 0, 9, 0, 0),
    symbol(c"NN_UNIT_BYTES", 1, 9, 0, 0),
    symbol(c"NN_UNIT_MILLISECONDS", 2, 9, 0, 0),
    symbol(c"NN_UNIT_PRIORITY", 3, 9, 0, 0),
    symbol(c"NN_UNIT_BOOLEAN", 4, 9, 0, 0),
    symbol(c"NN_UNIT_COUNTER", 6, 9, 0, 0),
    symbol(c"NN_UNIT_MESSAGES", 5, 9, 0, 0),
    symbol(c"NN_VERSION_CURRENT", 5, 1, 0, 0),
    symbol(c"NN_VERSION_REVISION", 1, 1, 0, 0),
    symbol(c"NN_VERSION_AGE", 0, 1, 0, 0),
    symbol(c"AF_SP", 1, 2, 0, 0),
    symbol(c"AF_SP_RAW", 2, 2, 0, 0),
    symbol(c"NN_INPROC", -1, 3, 0, 0),
    symbol(c"NN_IPC", -2, 3, 0, 0),
    symbol(c"NN_TCP", -3, 3, 0, 0),
    symbol(c"NN_WS", -4, 3, 0, 0),
    symbol(c"NN_PAIR", 16, 4, 0, 0),
    symbol(c"NN_PUB", 32, 4, 0, 0),
    symbol(c"NN_SUB", 33, 4, 0, 0),
    symbol(c"NN_REP", 49, 4, 0, 0),
    symbol(c"NN_REQ", 48, 4, 0, 0),
    symbol(c"NN_PUSH", 80, 4, 0, 0),
    symbol(c"NN_PULL", 81, 4, 0, 0),
    symbol(c"NN_SURVEYOR", 98, 4, 0, 0),
    symbol(c"NN_RESPONDENT", 99, 4, 0, 0),
    symbol(c"NN_BUS", 112, 4, 0, 0),
    symbol(c"NN_SOCKADDR_MAX", 128, 12, 0, 0),
    symbol(c"NN_SOL_SOCKET", 0, 5, 0, 0),
    symbol(c"NN_LINGER", 1, 6, 1, 2),
    symbol(c"NN_SNDBUF", 2, 6, 1, 1),
    symbol(c"NN_RCVBUF", 3, 6, 1, 1),
    symbol(c"NN_RCVMAXSIZE", 16, 6, 1, 1),
    symbol(c"NN_SNDTIMEO", 4, 6, 1, 2),
    symbol(c"NN_RCVTIMEO", 5, 6, 1, 2),
    symbol(c"NN_RECONNECT_IVL", 6, 6, 1, 2),
    symbol(c"NN_RECONNECT_IVL_MAX", 7, 6, 1, 2),
    symbol(c"NN_SNDPRIO", 8, 6, 1, 3),
    symbol(c"NN_RCVPRIO", 9, 6, 1, 3),
    symbol(c"NN_SNDFD", 10, 6, 1, 0),
    symbol(c"NN_RCVFD", 11, 6, 1, 0),
    symbol(c"NN_DOMAIN", 12, 6, 1, 0),
    symbol(c"NN_PROTOCOL", 13, 6, 1, 0),
    symbol(c"NN_IPV4ONLY", 14, 6, 1, 4),
    symbol(c"NN_SOCKET_NAME", 15, 6, 2, 0),
    symbol(c"NN_MAXTTL", 17, 6, 1, 0),
    symbol(c"NN_SUB_SUBSCRIBE", 1, 7, 2, 0),
    symbol(c"NN_SUB_UNSUBSCRIBE", 2, 7, 2, 0),
    symbol(c"NN_REQ_RESEND_IVL", 1, 7, 1, 2),
    symbol(c"NN_SURVEYOR_DEADLINE", 1, 7, 1, 2),
    symbol(c"NN_TCP_NODELAY", 1, 7, 1, 4),
    symbol(c"NN_WS_MSG_TYPE", 1, 7, 1, 0),
    symbol(c"NN_DONTWAIT", 1, 10, 0, 0),
    symbol(c"NN_WS_MSG_TYPE_TEXT", 1, 10, 0, 0),
    symbol(c"NN_WS_MSG_TYPE_BINARY", 2, 10, 0, 0),
    symbol(c"NN_POLLIN", 1, 13, 0, 0),
    symbol(c"NN_POLLOUT", 2, 13, 0, 0),
    symbol(c"EADDRINUSE", libc::EADDRINUSE, 11, 0, 0),
    symbol(c"EADDRNOTAVAIL", libc::EADDRNOTAVAIL, 11, 0, 0),
    symbol(c"EAFNOSUPPORT", libc::EAFNOSUPPORT, 11, 0, 0),
    symbol(c"EAGAIN", libc::EAGAIN, 11, 0, 0),
    symbol(c"EBADF", libc::EBADF, 11, 0, 0),
    symbol(c"ECONNREFUSED", libc::ECONNREFUSED, 11, 0, 0),
    symbol(c"EFAULT", libc::EFAULT, 11, 0, 0),
    symbol(c"EFSM", 156_384_766, 11, 0, 0),
    symbol(c"EINPROGRESS", libc::EINPROGRESS, 11, 0, 0),
    symbol(c"EINTR", libc::EINTR, 11, 0, 0),
    symbol(c"EINVAL", libc::EINVAL, 11, 0, 0),
    symbol(c"EMFILE", libc::EMFILE, 11, 0, 0),
    symbol(c"ENAMETOOLONG", libc::ENAMETOOLONG, 11, 0, 0),
    symbol(c"ENETDOWN", libc::ENETDOWN, 11, 0, 0),
    symbol(c"ENOBUFS", libc::ENOBUFS, 11, 0, 0),
    symbol(c"ENODEV", libc::ENODEV, 11, 0, 0),
    symbol(c"ENOMEM", libc::ENOMEM, 11, 0, 0),
    symbol(c"ENOPROTOOPT", libc::ENOPROTOOPT, 11, 0, 0),
    symbol(c"ENOTSOCK", libc::ENOTSOCK, 11, 0, 0),
    symbol(c"ENOTSUP", libc::ENOTSUP, 11, 0, 0),
    symbol(c"EPROTO", libc::EPROTO, 11, 0, 0),
    symbol(c"EPROTONOSUPPORT", libc::EPROTONOSUPPORT, 11, 0, 0),
    symbol(c"ETERM", 156_384_765, 11, 0, 0),
    symbol(c"ETIMEDOUT", libc::ETIMEDOUT, 11, 0, 0),
    symbol(c"EACCES", libc::EACCES, 11, 0, 0),
    symbol(c"ECONNABORTED", libc::ECONNABORTED, 11, 0, 0),
    symbol(c"ECONNRESET", libc::ECONNRESET, 11, 0, 0),
    symbol(c"EHOSTUNREACH", libc::EHOSTUNREACH, 11, 0, 0),
    symbol(c"EMSGSIZE", libc::EMSGSIZE, 11, 0, 0),
    symbol(c"ENETRESET", libc::ENETRESET, 11, 0, 0),
    symbol(c"ENETUNREACH", libc::ENETUNREACH, 11, 0, 0),
    symbol(c"ENOTCONN", libc::ENOTCONN, 11, 0, 0),
    symbol(c"NN_STAT_ESTABLISHED_CONNECTIONS", 101, 14, 1, 6),
    symbol(c"NN_STAT_ACCEPTED_CONNECTIONS", 102, 14, 1, 6),
    symbol(c"NN_STAT_DROPPED_CONNECTIONS", 103, 14, 1, 6),
    symbol(c"NN_STAT_BROKEN_CONNECTIONS", 104, 14, 1, 6),
    symbol(c"NN_STAT_CONNECT_ERRORS", 105, 14, 1, 6),
    symbol(c"NN_STAT_BIND_ERRORS", 106, 14, 1, 6),
    symbol(c"NN_STAT_ACCEPT_ERRORS", 107, 14, 1, 6),
    symbol(c"NN_STAT_MESSAGES_SENT", 301, 14, 1, 5),
    symbol(c"NN_STAT_MESSAGES_RECEIVED", 302, 14, 1, 5),
    symbol(c"NN_STAT_BYTES_SENT", 303, 14, 1, 1),
    symbol(c"NN_STAT_BYTES_RECEIVED", 304, 14, 1, 1),
    symbol(c"NN_STAT_CURRENT_CONNECTIONS", 201, 14, 1, 0),
    symbol(c"NN_STAT_INPROGRESS_CONNECTIONS", 202, 14, 1, 0),
    symbol(c"NN_STAT_CURRENT_SND_PRIORITY", 401, 14, 1, 3),
    symbol(c"NN_STAT_CURRENT_EP_ERRORS", 203, 14, 1, 0),
];
