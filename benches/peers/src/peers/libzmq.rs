//! libzmq, by its message calls: `zmq_msg_init_size`, `zmq_msg_send`, `zmq_msg_recv`, `zmq_msg_close`.

use std::ffi::{c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::{ptr, slice};

use super::{c_functions, c_string};
use crate::driver::{Head, Kind, Library, Task, Threads, keep_head};

/// `zmq_msg_t`.
#[repr(C, align(8))]
struct Raw([u8; 64]);

c_functions! {
    "libzmq.so.5";
    zmq_version(*mut c_int, *mut c_int, *mut c_int);
    zmq_ctx_new() -> *mut c_void;
    zmq_ctx_set(*mut c_void, c_int, c_int) -> c_int;
    zmq_socket(*mut c_void, c_int) -> *mut c_void;
    zmq_setsockopt(*mut c_void, c_int, *const c_void, usize) -> c_int;
    zmq_bind(*mut c_void, *const c_char) -> c_int;
    zmq_connect(*mut c_void, *const c_char) -> c_int;
    zmq_msg_init(*mut Raw) -> c_int;
    zmq_msg_init_size(*mut Raw, usize) -> c_int;
    zmq_msg_data(*mut Raw) -> *mut c_void;
    zmq_msg_close(*mut Raw) -> c_int;
    zmq_msg_send(*mut Raw, *mut c_void, c_int) -> c_int;
    zmq_msg_recv(*mut Raw, *mut c_void, c_int) -> c_int;
}

/// Constants of its header.
const ZMQ_MAX_SOCKETS: c_int = 2;
const ZMQ_SUBSCRIBE: c_int = 6;
const ZMQ_SNDHWM: c_int = 23;
const ZMQ_RCVHWM: c_int = 24;
const ZMQ_XPUB_NODROP: c_int = 69;

fn socket_type(kind: Kind) -> Option<c_int> {
    Some(match kind {
        Kind::Pair => 0,
        Kind::Pub => 1,
        Kind::Sub => 2,
        Kind::Req => 3,
        Kind::Rep => 4,
        Kind::Pull => 7,
        Kind::Push => 8,
        Kind::Surveyor | Kind::Respondent => return None,
    })
}

pub(crate) struct Libzmq;

pub(crate) struct Socket {
    zmq: &'static Functions,
    raw: *mut c_void,
}

// SAFETY: a socket may move to another thread as long as only one uses it, which `&mut` sees to.
unsafe impl Send for Socket {}

impl Socket {
    fn set(&self, option: c_int, value: c_int) {
        let value = ptr::from_ref(&value).cast();
        // SAFETY: an integer and its size.
        let result =
            unsafe { (self.zmq.zmq_setsockopt)(self.raw, option, value, size_of::<c_int>()) };
        assert_eq!(result, 0, "libzmq has this option");
    }

    fn recv_raw(&mut self, head: &mut Head) -> (Raw, usize) {
        let mut message = MaybeUninit::uninit();
        // SAFETY: it is initialised first. A message of the library may be moved between its calls.
        unsafe {
            (self.zmq.zmq_msg_init)(message.as_mut_ptr());
            let length = (self.zmq.zmq_msg_recv)(message.as_mut_ptr(), self.raw, 0);
            let length = usize::try_from(length).expect("zmq_msg_recv waits for ever");
            let start = (self.zmq.zmq_msg_data)(message.as_mut_ptr()).cast::<u8>();
            let length = keep_head(slice::from_raw_parts(start, length), head);
            (message.assume_init(), length)
        }
    }

    fn send_raw(&mut self, message: &mut Raw) {
        // SAFETY: the message is initialised; when it is sent the library has taken it over.
        let result = unsafe { (self.zmq.zmq_msg_send)(message, self.raw, 0) };
        assert!(result >= 0, "zmq_msg_send fails");
    }
}

/// The one context of the process.
fn context(task: &Task) -> *mut c_void {
    static CONTEXT: OnceLock<usize> = OnceLock::new();
    let zmq = Functions::get();
    let start = || {
        // SAFETY: a new context, set before it has sockets. Its default is 1023 sockets.
        unsafe {
            let context = (zmq.zmq_ctx_new)();
            let sockets = c_int::try_from(task.k).expect("so many are not possible");
            // SUBs have many subscriptions, not sockets.
            if (900..60_000).contains(&sockets) {
                (zmq.zmq_ctx_set)(context, ZMQ_MAX_SOCKETS, sockets + 100);
            }
            context.expose_provenance()
        }
    };
    ptr::with_exposed_provenance_mut(*CONTEXT.get_or_init(start))
}

impl Library for Libzmq {
    const NAME: &'static str = "libzmq";
    type Executor = Threads;
    type Socket = Socket;

    fn version() -> String {
        let [mut major, mut minor, mut patch] = [0; 3];
        // SAFETY: three integers.
        unsafe { (Functions::get().zmq_version)(&mut major, &mut minor, &mut patch) };
        format!("{major}.{minor}.{patch}")
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        let zmq = Functions::get();
        let wanted = socket_type(kind)?;
        // SAFETY: the context lives as long as the process.
        let raw = unsafe { (zmq.zmq_socket)(context(task), wanted) };
        assert!(!raw.is_null(), "zmq_socket fails");
        let socket = Socket { zmq, raw };
        if let Some(messages) = task.hwm {
            let messages = c_int::try_from(messages).expect("a queue is shorter than that");
            socket.set(ZMQ_SNDHWM, messages);
            socket.set(ZMQ_RCVHWM, messages);
        }
        if task.nodrop && kind == Kind::Pub {
            socket.set(ZMQ_XPUB_NODROP, 1);
        }
        Some(socket)
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        let (start, length) = (topic.as_ptr().cast(), topic.len());
        // SAFETY: it copies the topic.
        let result =
            unsafe { (socket.zmq.zmq_setsockopt)(socket.raw, ZMQ_SUBSCRIBE, start, length) };
        assert_eq!(result, 0, "a SUB subscribes");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        // SAFETY: it copies the URL.
        let result = unsafe { (socket.zmq.zmq_bind)(socket.raw, c_string(url).as_ptr()) };
        assert_eq!(result, 0, "zmq_bind fails");
    }

    async fn connect(socket: &mut Socket, url: &str) {
        // SAFETY: it copies the URL.
        let result = unsafe { (socket.zmq.zmq_connect)(socket.raw, c_string(url).as_ptr()) };
        assert_eq!(result, 0, "zmq_connect fails");
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        let mut message = MaybeUninit::uninit();
        // SAFETY: a new message has room for what is copied into it.
        let mut message = unsafe {
            (socket.zmq.zmq_msg_init_size)(message.as_mut_ptr(), body.len());
            let start = (socket.zmq.zmq_msg_data)(message.as_mut_ptr()).cast();
            ptr::copy_nonoverlapping(body.as_ptr(), start, body.len());
            message.assume_init()
        };
        socket.send_raw(&mut message);
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let (mut message, length) = socket.recv_raw(head);
        // SAFETY: it was received, and nobody has it any more.
        unsafe { (socket.zmq.zmq_msg_close)(&mut message) };
        length
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let (mut message, length) = socket.recv_raw(head);
        socket.send_raw(&mut message);
        length
    }

    async fn survey(_: &mut Socket, _: &[u8], _: usize) -> usize {
        unreachable!("it has no surveyor")
    }
}
