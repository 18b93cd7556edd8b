//! NNG 2 by the crate anng, on tokio. The crate builds the library in C and links it.

use std::time::Duration;

use anng::protocols::{pipeline0, pubsub0, reqrep0, survey0};
use anng::{ContextfulSocket, Message};

use crate::driver::{Head, Kind, Library, Task, Tokio, keep_head};

pub(crate) struct Nng2;

/// A socket of any kind, and what is called to send and to receive. None is ever closed.
pub(crate) enum Socket {
    Push(anng::Socket<pipeline0::Push0>),
    Pull(anng::Socket<pipeline0::Pull0>),
    Pub(anng::Socket<pubsub0::Pub0>),
    Sub(ContextfulSocket<'static, pubsub0::Sub0>),
    Req(ContextfulSocket<'static, reqrep0::Req0>),
    Rep(ContextfulSocket<'static, reqrep0::Rep0>),
    Surveyor(ContextfulSocket<'static, survey0::Surveyor0>),
    Respondent(ContextfulSocket<'static, survey0::Respondent0>),
}

/// The same call on any socket.
macro_rules! on_each {
    ($socket:expr, $inner:ident => $call:expr) => {
        match $socket {
            Socket::Push($inner) => $call,
            Socket::Pull($inner) => $call,
            Socket::Pub($inner) => $call,
            Socket::Sub(context) => on_each!(@ context, $inner => $call),
            Socket::Req(context) => on_each!(@ context, $inner => $call),
            Socket::Rep(context) => on_each!(@ context, $inner => $call),
            Socket::Surveyor(context) => on_each!(@ context, $inner => $call),
            Socket::Respondent(context) => on_each!(@ context, $inner => $call),
        }
    };
    (@ $context:ident, $inner:ident => $call:expr) => {{
        let $inner = $context.socket();
        $call
    }};
}

const OPENS: &str = "the socket opens";
const WAITS: &str = "a call waits for ever";

/// A context that lives as long as the process, as does its socket.
macro_rules! context {
    ($socket:expr) => {
        Box::leak(Box::new($socket.expect(OPENS))).context()
    };
}

impl Library for Nng2 {
    const NAME: &'static str = "nng2";
    type Executor = Tokio;
    type Socket = Socket;

    /// What the crate's manifest pins.
    fn version() -> String {
        "2.0.0".to_owned()
    }

    /// Only PUSH has an option for its queue.
    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        Some(match kind {
            Kind::Push => {
                let mut push = pipeline0::Push0::socket().expect(OPENS);
                if let Some(messages) = task.hwm {
                    let messages = u16::try_from(messages).expect("it takes 8192 at most");
                    push.set_send_buffer(messages).expect("it takes 8192 at most");
                }
                Socket::Push(push)
            }
            Kind::Pull => Socket::Pull(pipeline0::Pull0::socket().expect(OPENS)),
            Kind::Pub => Socket::Pub(pubsub0::Pub0::socket().expect(OPENS)),
            Kind::Sub => Socket::Sub(context!(pubsub0::Sub0::socket())),
            Kind::Req => Socket::Req(context!(reqrep0::Req0::socket())),
            Kind::Rep => Socket::Rep(context!(reqrep0::Rep0::socket())),
            Kind::Surveyor => Socket::Surveyor(context!(survey0::Surveyor0::socket())),
            Kind::Respondent => Socket::Respondent(context!(survey0::Respondent0::socket())),
            Kind::Pair => return None,
        })
    }

    async fn subscribe(socket: &mut Socket, topic: &[u8]) {
        let Socket::Sub(socket) = socket else { unreachable!("only a SUB subscribes") };
        socket.subscribe_to(topic);
    }

    async fn bind(socket: &mut Socket, url: &str) {
        let url = super::c_string(url);
        on_each!(socket, socket => {
            socket.listen(&url).await.expect("the address is free");
        });
    }

    async fn connect(socket: &mut Socket, url: &str) {
        let url = super::c_string(url);
        on_each!(socket, socket => {
            socket.dial(&url).await.expect("somebody listens");
        });
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        let message = Message::from(body);
        match socket {
            Socket::Push(socket) => socket.push(message).await.expect(WAITS),
            Socket::Pub(socket) => socket.publish(message).await.expect(WAITS),
            _ => unreachable!("it does not send"),
        }
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let message = match socket {
            Socket::Pull(socket) => socket.pull().await,
            Socket::Sub(socket) => socket.next().await,
            _ => unreachable!("it does not receive"),
        };
        keep_head(message.expect(WAITS).as_slice(), head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        match socket {
            Socket::Rep(socket) => {
                let (message, responder) = socket.receive().await.expect(WAITS);
                let length = keep_head(message.as_slice(), head);
                responder.reply(message).await.expect(WAITS);
                length
            }
            Socket::Respondent(socket) => {
                let (message, responder) = socket.next_survey().await.expect(WAITS);
                let length = keep_head(message.as_slice(), head);
                responder.respond(message).await.expect(WAITS);
                length
            }
            _ => unreachable!("it does not answer"),
        }
    }

    async fn ask(socket: &mut Socket, body: &[u8], head: &mut Head) {
        let Socket::Req(socket) = socket else { unreachable!("it does not ask") };
        let reply = socket.request(Message::from(body)).await.expect(WAITS);
        keep_head(reply.await.expect(WAITS).as_slice(), head);
    }

    async fn survey(socket: &mut Socket, body: &[u8], most: usize) -> usize {
        let Socket::Surveyor(socket) = socket else { unreachable!("it does not survey") };
        let time = Duration::from_secs(5);
        let mut answers = socket.survey(Message::from(body), time).await.expect(WAITS);
        for count in 0..most {
            if answers.next().await.is_none_or(|answer| answer.is_err()) {
                return count;
            }
        }
        most
    }
}
