//! The crate rzmq, on tokio.

use std::sync::OnceLock;

use rzmq::socket::options;
use rzmq::{Context, Msg, Socket, SocketType};

use crate::driver::{Head, Kind, Library, Task, Tokio, keep_head};

pub(crate) struct Rzmq;

const HAS_OPTION: &str = "it has this option";

/// The one context of the process.
fn context() -> &'static Context {
    static CONTEXT: OnceLock<Context> = OnceLock::new();
    CONTEXT.get_or_init(|| Context::new().expect("it asks for nothing"))
}

fn socket_type(kind: Kind) -> Option<SocketType> {
    Some(match kind {
        Kind::Push => SocketType::Push,
        Kind::Pull => SocketType::Pull,
        Kind::Pub => SocketType::Pub,
        Kind::Sub => SocketType::Sub,
        Kind::Req => SocketType::Req,
        Kind::Rep => SocketType::Rep,
        Kind::Pair | Kind::Surveyor | Kind::Respondent => return None,
    })
}

impl Library for Rzmq {
    const NAME: &'static str = "rzmq";
    type Executor = Tokio;
    type Socket = Socket;

    fn version() -> String {
        "0.5.28".to_owned()
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        let socket = context().socket(socket_type(kind)?).expect("the context is open");
        if let Some(messages) = task.hwm {
            let messages = i32::try_from(messages).expect("a queue is shorter than that");
            for option in [options::SNDHWM, options::RCVHWM] {
                socket.set_option(option, messages).await.expect(HAS_OPTION);
            }
        }
        if task.nodrop && kind == Kind::Pub {
            socket.set_option(options::XPUB_NODROP, true).await.expect(HAS_OPTION);
        }
        Some(socket)
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        socket.set_option_raw(options::SUBSCRIBE, topic).await.expect("a SUB subscribes");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        socket.bind(url).await.expect("the address is free");
    }

    async fn connect(socket: &mut Socket, url: &str) {
        socket.connect(url).await.expect("the address is good");
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        socket.send(Msg::from_vec(body.to_vec())).await.expect("a send waits for ever");
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let message = socket.recv().await.expect("a receive waits for ever");
        keep_head(message.data().unwrap_or_default(), head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let message = socket.recv().await.expect("a receive waits for ever");
        let length = keep_head(message.data().unwrap_or_default(), head);
        socket.send(message).await.expect("a send waits for ever");
        length
    }

    async fn survey(_: &mut Socket, _: &[u8], _: usize) -> usize {
        unreachable!("it has no surveyor")
    }
}
