//! NNG 1, by its message calls: `nng_msg_alloc`, `nng_sendmsg`, `nng_recvmsg`, `nng_msg_free`.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::{ptr, slice};

use super::{c_functions, c_string};
use crate::driver::{Head, Kind, Library, Task, Threads, keep_head};

/// `nng_socket`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Id {
    id: u32,
}

/// `nng_msg`.
enum Raw {}

c_functions! {
    "libnng.so.1";
    nng_version() -> *const c_char;
    nng_push0_open(*mut Id) -> c_int;
    nng_pull0_open(*mut Id) -> c_int;
    nng_pub0_open(*mut Id) -> c_int;
    nng_sub0_open(*mut Id) -> c_int;
    nng_pair0_open(*mut Id) -> c_int;
    nng_req0_open(*mut Id) -> c_int;
    nng_rep0_open(*mut Id) -> c_int;
    nng_surveyor0_open(*mut Id) -> c_int;
    nng_respondent0_open(*mut Id) -> c_int;
    nng_socket_set(Id, *const c_char, *const c_void, usize) -> c_int;
    nng_socket_set_int(Id, *const c_char, c_int) -> c_int;
    nng_socket_set_size(Id, *const c_char, usize) -> c_int;
    nng_socket_set_ms(Id, *const c_char, i32) -> c_int;
    nng_listen(Id, *const c_char, *mut c_void, c_int) -> c_int;
    nng_dial(Id, *const c_char, *mut c_void, c_int) -> c_int;
    nng_msg_alloc(*mut *mut Raw, usize) -> c_int;
    nng_msg_body(*mut Raw) -> *mut c_void;
    nng_msg_len(*const Raw) -> usize;
    nng_msg_free(*mut Raw);
    nng_sendmsg(Id, *mut Raw, c_int) -> c_int;
    nng_recvmsg(Id, *mut *mut Raw, c_int) -> c_int;
}

pub(crate) struct Nng;

pub(crate) struct Socket {
    nng: &'static Functions,
    id: Id,
}

impl Socket {
    fn open(kind: Kind) -> Self {
        let nng = Functions::get();
        let open = match kind {
            Kind::Push => nng.nng_push0_open,
            Kind::Pull => nng.nng_pull0_open,
            Kind::Pub => nng.nng_pub0_open,
            Kind::Sub => nng.nng_sub0_open,
            Kind::Pair => nng.nng_pair0_open,
            Kind::Req => nng.nng_req0_open,
            Kind::Rep => nng.nng_rep0_open,
            Kind::Surveyor => nng.nng_surveyor0_open,
            Kind::Respondent => nng.nng_respondent0_open,
        };
        let mut id = Id { id: 0 };
        // SAFETY: it stores a socket there.
        assert_eq!(unsafe { open(&mut id) }, 0, "the socket opens");
        Self { nng, id }
    }

    /// Its greatest is 8192 messages. Not every protocol has both buffers.
    fn set_buffers(&self, messages: usize) {
        let messages = c_int::try_from(messages).expect("a buffer is smaller than that");
        for name in [c"send-buffer", c"recv-buffer"] {
            // SAFETY: a name and an integer. A refusal changes nothing.
            unsafe { (self.nng.nng_socket_set_int)(self.id, name.as_ptr(), messages) };
        }
    }

    fn recv_raw(&self, head: &mut Head) -> Option<(*mut Raw, usize)> {
        let mut message = ptr::null_mut();
        // SAFETY: it stores a message there, if it says so, which is ours then.
        unsafe {
            if (self.nng.nng_recvmsg)(self.id, &mut message, 0) != 0 {
                return None;
            }
            let length = (self.nng.nng_msg_len)(message);
            let start = (self.nng.nng_msg_body)(message).cast::<u8>();
            Some((message, keep_head(slice::from_raw_parts(start, length), head)))
        }
    }

    fn recv(&self, head: &mut Head) -> Option<usize> {
        let (message, length) = self.recv_raw(head)?;
        // SAFETY: it was received, and nobody has it any more.
        unsafe { (self.nng.nng_msg_free)(message) };
        Some(length)
    }
}

impl Library for Nng {
    const NAME: &'static str = "nng";
    type Executor = Threads;
    type Socket = Socket;

    fn version() -> String {
        // SAFETY: it is a constant string.
        unsafe { CStr::from_ptr((Functions::get().nng_version)()) }.to_string_lossy().into_owned()
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        let socket = Socket::open(kind);
        if let Some(messages) = task.hwm {
            socket.set_buffers(messages);
        }
        // SAFETY: names and numbers.
        unsafe {
            (socket.nng.nng_socket_set_size)(socket.id, c"recv-size-max".as_ptr(), 0);
            if kind == Kind::Surveyor {
                (socket.nng.nng_socket_set_ms)(socket.id, c"surveyor:survey-time".as_ptr(), 5000);
            }
        }
        Some(socket)
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        let (start, length) = (topic.as_ptr().cast(), topic.len());
        let name = c"sub:subscribe".as_ptr();
        // SAFETY: it copies the topic.
        let result = unsafe { (socket.nng.nng_socket_set)(socket.id, name, start, length) };
        assert_eq!(result, 0, "a SUB subscribes");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        let url = c_string(url);
        // SAFETY: it copies the URL, and nobody wants the listener.
        let result =
            unsafe { (socket.nng.nng_listen)(socket.id, url.as_ptr(), ptr::null_mut(), 0) };
        assert_eq!(result, 0, "nng_listen fails");
    }

    async fn connect(socket: &mut Socket, url: &str) {
        let url = c_string(url);
        // SAFETY: it copies the URL, and nobody wants the dialer.
        let result = unsafe { (socket.nng.nng_dial)(socket.id, url.as_ptr(), ptr::null_mut(), 0) };
        assert_eq!(result, 0, "nng_dial fails");
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        let mut message = ptr::null_mut();
        // SAFETY: a new message has room for what is copied into it, and is given away by sending.
        let result = unsafe {
            assert_eq!((socket.nng.nng_msg_alloc)(&mut message, body.len()), 0, "memory is enough");
            let start = (socket.nng.nng_msg_body)(message).cast();
            ptr::copy_nonoverlapping(body.as_ptr(), start, body.len());
            (socket.nng.nng_sendmsg)(socket.id, message, 0)
        };
        assert_eq!(result, 0, "nng_sendmsg fails");
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        socket.recv(head).expect("nng_recvmsg waits for ever")
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let (message, length) = socket.recv_raw(head).expect("nng_recvmsg waits for ever");
        // SAFETY: it was received and is given away.
        let result = unsafe { (socket.nng.nng_sendmsg)(socket.id, message, 0) };
        assert_eq!(result, 0, "nng_sendmsg fails");
        length
    }

    async fn survey(socket: &mut Socket, body: &[u8], most: usize) -> usize {
        Self::send(socket, body).await;
        (0..most).map_while(|_| socket.recv(&mut Head::default())).count()
    }
}
