//! nanomsg, by its message calls: `nn_allocmsg`, `nn_send`, `nn_recv`, `nn_freemsg`.

use std::ffi::{c_char, c_int, c_void};
use std::{ptr, slice};

use super::{c_functions, c_string};
use crate::driver::{Head, Kind, Library, Task, Threads, keep_head};

c_functions! {
    "libnanomsg.so.5";
    nn_socket(c_int, c_int) -> c_int;
    nn_setsockopt(c_int, c_int, c_int, *const c_void, usize) -> c_int;
    nn_bind(c_int, *const c_char) -> c_int;
    nn_connect(c_int, *const c_char) -> c_int;
    nn_allocmsg(usize, c_int) -> *mut c_void;
    nn_freemsg(*mut c_void) -> c_int;
    nn_send(c_int, *const c_void, usize, c_int) -> c_int;
    nn_recv(c_int, *mut c_void, usize, c_int) -> c_int;
}

/// Constants of its headers.
const AF_SP: c_int = 1;
const NN_MSG: usize = usize::MAX;
const NN_SOL_SOCKET: c_int = 0;
const NN_SNDBUF: c_int = 2;
const NN_RCVBUF: c_int = 3;
const NN_RCVMAXSIZE: c_int = 16;
const NN_TCP: c_int = -3;
const NN_TCP_NODELAY: c_int = 1;
const NN_SUB: c_int = 33;
const NN_SUB_SUBSCRIBE: c_int = 1;
const NN_SURVEYOR: c_int = 98;
const NN_SURVEYOR_DEADLINE: c_int = 1;

fn protocol(kind: Kind) -> c_int {
    match kind {
        Kind::Pair => 16,
        Kind::Pub => 32,
        Kind::Sub => NN_SUB,
        Kind::Req => 48,
        Kind::Rep => 49,
        Kind::Push => 80,
        Kind::Pull => 81,
        Kind::Surveyor => NN_SURVEYOR,
        Kind::Respondent => 99,
    }
}

pub(crate) struct Nanomsg;

pub(crate) struct Socket {
    nn: &'static Functions,
    id: c_int,
}

/// A message of the library.
type Raw = *mut c_void;

impl Socket {
    fn set(&self, level: c_int, option: c_int, value: c_int) {
        let value = ptr::from_ref(&value).cast();
        // SAFETY: an integer and its size.
        let result =
            unsafe { (self.nn.nn_setsockopt)(self.id, level, option, value, size_of::<c_int>()) };
        assert!(result >= 0, "nanomsg has this option");
    }

    fn send_raw(&self, message: Raw) -> bool {
        // SAFETY: with NN_MSG the argument points to a message of the library, which it takes over.
        unsafe { (self.nn.nn_send)(self.id, ptr::from_ref(&message).cast(), NN_MSG, 0) >= 0 }
    }

    /// The next message and its length; `None` when a survey is over.
    fn recv_raw(&self, head: &mut Head) -> Option<(Raw, usize)> {
        let mut message: Raw = ptr::null_mut();
        // SAFETY: with NN_MSG the library stores a message of its own there.
        let length =
            unsafe { (self.nn.nn_recv)(self.id, ptr::from_mut(&mut message).cast(), NN_MSG, 0) };
        let length = usize::try_from(length).ok()?;
        // SAFETY: the message is as long as was said and ours now.
        let body = unsafe { slice::from_raw_parts(message.cast::<u8>(), length) };
        Some((message, keep_head(body, head)))
    }

    fn recv(&self, head: &mut Head) -> Option<usize> {
        let (message, length) = self.recv_raw(head)?;
        // SAFETY: it was received, and nobody has it any more.
        unsafe { (self.nn.nn_freemsg)(message) };
        Some(length)
    }
}

impl Library for Nanomsg {
    const NAME: &'static str = "nanomsg";
    type Executor = Threads;
    type Socket = Socket;

    /// It does not tell at run time.
    fn version() -> String {
        "so.5".to_owned()
    }

    /// `NN_MAX_SOCKETS` is 512, built in.
    fn most_sockets() -> Option<usize> {
        Some(500)
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        let nn = Functions::get();
        // SAFETY: two integers.
        let id = unsafe { (nn.nn_socket)(AF_SP, protocol(kind)) };
        assert!(id >= 0, "nn_socket fails");
        let socket = Socket { nn, id };
        socket.set(NN_SOL_SOCKET, NN_RCVMAXSIZE, -1);
        if let Some(kib) = task.hwm {
            let bytes = c_int::try_from(kib * 1024).expect("a buffer is smaller than that");
            socket.set(NN_SOL_SOCKET, NN_SNDBUF, bytes);
            socket.set(NN_SOL_SOCKET, NN_RCVBUF, bytes);
        }
        if let Some(on) = task.nodelay {
            socket.set(NN_TCP, NN_TCP_NODELAY, on.into());
        }
        if kind == Kind::Surveyor {
            socket.set(NN_SURVEYOR, NN_SURVEYOR_DEADLINE, 5000);
        }
        Some(socket)
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        let (start, length) = (topic.as_ptr().cast(), topic.len());
        // SAFETY: it copies the topic.
        let result = unsafe {
            (socket.nn.nn_setsockopt)(socket.id, NN_SUB, NN_SUB_SUBSCRIBE, start, length)
        };
        assert!(result >= 0, "a SUB subscribes");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        // SAFETY: it copies the URL.
        let result = unsafe { (socket.nn.nn_bind)(socket.id, c_string(url).as_ptr()) };
        assert!(result >= 0, "nn_bind fails");
    }

    async fn connect(socket: &mut Socket, url: &str) {
        // SAFETY: it copies the URL.
        let result = unsafe { (socket.nn.nn_connect)(socket.id, c_string(url).as_ptr()) };
        assert!(result >= 0, "nn_connect fails");
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        // SAFETY: a new message has room for what is copied into it.
        let message = unsafe {
            let message = (socket.nn.nn_allocmsg)(body.len(), 0);
            ptr::copy_nonoverlapping(body.as_ptr(), message.cast(), body.len());
            message
        };
        assert!(socket.send_raw(message), "nn_send fails");
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        socket.recv(head).expect("nn_recv waits for ever")
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let (message, length) = socket.recv_raw(head).expect("nn_recv waits for ever");
        assert!(socket.send_raw(message), "nn_send fails");
        length
    }

    async fn survey(socket: &mut Socket, body: &[u8], most: usize) -> usize {
        Self::send(socket, body).await;
        (0..most).map_while(|_| socket.recv(&mut Head::default())).count()
    }
}
