//! The crate omq-tokio: as tasks of tokio, and by its calls that block.
//!
//! With tasks and one worker the sockets run on the program's own runtime, as its authors have it in
//! their benches; otherwise on the I/O thread of a context, which is its default.

use std::sync::OnceLock;

use omq_tokio::{Context, Message, Options, Socket, SocketType, blocking};

use crate::driver::{Head, Kind, Library, Task, Threads, Tokio, keep_head};

/// Futures, and a task for each socket.
pub(crate) struct Omq;

/// Calls that block, and a thread for each socket.
pub(crate) struct OmqThreads;

const WAITS: &str = "a call waits for ever";

/// The one context of the process.
fn context(task: &Task) -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| match task.workers {
        Some(_) => Context::current(),
        None => Context::new(),
    })
}

fn socket_type(kind: Kind) -> Option<SocketType> {
    Some(match kind {
        Kind::Push => SocketType::Push,
        Kind::Pull => SocketType::Pull,
        Kind::Pub => SocketType::Pub,
        Kind::Sub => SocketType::Sub,
        Kind::Pair => SocketType::Pair,
        Kind::Req => SocketType::Req,
        Kind::Rep => SocketType::Rep,
        Kind::Surveyor | Kind::Respondent => return None,
    })
}

/// The defaults, but for what is asked for.
fn options(kind: Kind, task: &Task) -> Options {
    let mut options = Options::default();
    if let Some(messages) = task.hwm {
        let messages = u32::try_from(messages).expect("a queue is shorter than that");
        (options.send_hwm, options.recv_hwm) = (messages, messages);
    }
    options.xpub_nodrop = task.nodrop && kind == Kind::Pub;
    options
}

fn head_of(message: &Message, head: &mut Head) -> usize {
    keep_head(message.part_slice(0).unwrap_or_default(), head)
}

/// What the program asks for is in the manifest of this one.
fn version() -> String {
    "0.33".to_owned()
}

impl Library for Omq {
    const NAME: &'static str = "omq";
    type Executor = Tokio;
    type Socket = Socket;

    fn version() -> String {
        version()
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        Some(context(task).socket(socket_type(kind)?, options(kind, task)))
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        socket.subscribe(topic.to_vec()).await.expect("a SUB subscribes");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        socket.bind(url).await.expect("the address is free");
    }

    async fn connect(socket: &mut Socket, url: &str) {
        socket.connect(url).await.expect("the address is good");
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        socket.send(Message::from_slice(body)).await.expect(WAITS);
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        head_of(&socket.recv().await.expect(WAITS), head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let message = socket.recv().await.expect(WAITS);
        let length = head_of(&message, head);
        socket.send(message).await.expect(WAITS);
        length
    }

    async fn survey(_: &mut Socket, _: &[u8], _: usize) -> usize {
        unreachable!("it has no surveyor")
    }
}

impl Library for OmqThreads {
    const NAME: &'static str = "omq";
    type Executor = Threads;
    type Socket = blocking::Socket;

    fn version() -> String {
        version()
    }

    async fn open(kind: Kind, task: &Task) -> Option<Self::Socket> {
        Some(context(task).blocking_socket(socket_type(kind)?, options(kind, task)))
    }

    async fn subscribe(socket: &mut Self::Socket, topic: &[u8]) {
        socket.subscribe(topic.to_vec()).expect("a SUB subscribes");
    }

    async fn bind(socket: &mut Self::Socket, url: &str) {
        socket.bind(url).expect("the address is free");
    }

    async fn connect(socket: &mut Self::Socket, url: &str) {
        socket.connect(url).expect("the address is good");
    }

    async fn send(socket: &mut Self::Socket, body: &[u8]) {
        socket.send(Message::from_slice(body)).expect(WAITS);
    }

    async fn recv(socket: &mut Self::Socket, head: &mut Head) -> usize {
        head_of(&socket.recv().expect(WAITS), head)
    }

    async fn echo(socket: &mut Self::Socket, head: &mut Head) -> usize {
        let message = socket.recv().expect(WAITS);
        let length = head_of(&message, head);
        socket.send(message).expect(WAITS);
        length
    }

    async fn survey(_: &mut Self::Socket, _: &[u8], _: usize) -> usize {
        unreachable!("it has no surveyor")
    }
}
