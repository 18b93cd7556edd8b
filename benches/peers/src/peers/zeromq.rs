//! The crate zeromq, on tokio.

use zeromq::{
    PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, Socket as _, SocketRecv, SocketSend,
    SubSocket, ZmqMessage,
};

use crate::driver::{Head, Kind, Library, Task, Tokio, keep_head};

pub(crate) struct Zeromq;

/// A socket of any kind.
pub(crate) enum Socket {
    Push(PushSocket),
    Pull(PullSocket),
    Pub(PubSocket),
    Sub(SubSocket),
    Req(ReqSocket),
    Rep(RepSocket),
}

/// Calls a method that all sockets have.
macro_rules! on_each {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Push($inner) => $call,
            Socket::Pull($inner) => $call,
            Socket::Pub($inner) => $call,
            Socket::Sub($inner) => $call,
            Socket::Req($inner) => $call,
            Socket::Rep($inner) => $call,
        }
    };
}

impl Socket {
    async fn send(&mut self, message: ZmqMessage) {
        match self {
            Self::Push(socket) => socket.send(message).await,
            Self::Pub(socket) => socket.send(message).await,
            Self::Req(socket) => socket.send(message).await,
            Self::Rep(socket) => socket.send(message).await,
            Self::Pull(_) | Self::Sub(_) => unreachable!("it does not send"),
        }
        .expect("a send waits for ever");
    }

    async fn recv(&mut self) -> ZmqMessage {
        match self {
            Self::Pull(socket) => socket.recv().await,
            Self::Sub(socket) => socket.recv().await,
            Self::Req(socket) => socket.recv().await,
            Self::Rep(socket) => socket.recv().await,
            Self::Push(_) | Self::Pub(_) => unreachable!("it does not receive"),
        }
        .expect("a receive waits for ever")
    }
}

fn head_of(message: &ZmqMessage, head: &mut Head) -> usize {
    keep_head(message.get(0).expect("a message has one part"), head)
}

impl Library for Zeromq {
    const NAME: &'static str = "zeromq";
    type Executor = Tokio;
    type Socket = Socket;

    fn version() -> String {
        "0.7".to_owned()
    }

    /// It has no options for queues, and none for a PUB that waits.
    async fn open(kind: Kind, _: &Task) -> Option<Socket> {
        Some(match kind {
            Kind::Push => Socket::Push(PushSocket::new()),
            Kind::Pull => Socket::Pull(PullSocket::new()),
            Kind::Pub => Socket::Pub(PubSocket::new()),
            Kind::Sub => Socket::Sub(SubSocket::new()),
            Kind::Req => Socket::Req(ReqSocket::new()),
            Kind::Rep => Socket::Rep(RepSocket::new()),
            Kind::Pair | Kind::Surveyor | Kind::Respondent => return None,
        })
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        let Socket::Sub(socket) = socket else { unreachable!("only a SUB subscribes") };
        let topic = std::str::from_utf8(topic).expect("topics are text");
        socket.subscribe(topic).await.expect("it is open");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        on_each!(socket, socket => {
            socket.bind(url).await.expect("the address is free");
        });
    }

    async fn connect(socket: &mut Socket, url: &str) {
        on_each!(socket, socket => socket.connect(url).await.expect("the address is good"));
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        socket.send(body.to_vec().into()).await;
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        head_of(&socket.recv().await, head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let message = socket.recv().await;
        let length = head_of(&message, head);
        socket.send(message).await;
        length
    }

    async fn survey(_: &mut Socket, _: &[u8], _: usize) -> usize {
        unreachable!("it has no surveyor")
    }
}
