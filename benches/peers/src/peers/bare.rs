//! No library at all: sockets of the system behind a poll, as any event loop has them.
//!
//! The least that questions and answers can cost: one write, one poll and one read for each message,
//! no headers, no queues, no other threads. Only REQ and REP over tcp; what is beyond that has no least.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::driver::{Head, Kind, Library, Task, Threads, keep_head};

pub(crate) struct Bare;

pub(crate) struct Socket {
    poll: Poll,
    events: Events,
    /// Connections that were reported readable and not read yet.
    ready: Vec<Token>,
    listener: Option<TcpListener>,
    streams: HashMap<Token, TcpStream>,
}

const LISTENER: Token = Token(0);
const CLIENT: Token = Token(1);

/// The longest message: it must come in one read.
const LONGEST: usize = 4096;

impl Socket {
    fn add(&mut self, token: Token, mut stream: TcpStream) {
        stream.set_nodelay(true).expect("a new stream takes options");
        let registry = self.poll.registry();
        registry.register(&mut stream, token, Interest::READABLE).expect("it can be polled");
        self.streams.insert(token, stream);
    }

    fn accept(&mut self) {
        let listener = self.listener.take().expect("only a listener is reported as one");
        while let Ok((stream, _)) = listener.accept() {
            self.add(Token(CLIENT.0 + self.streams.len()), stream);
        }
        self.listener = Some(listener);
    }

    fn poll(&mut self) {
        match self.poll.poll(&mut self.events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return,
            polled => polled.expect("the poll works"),
        }
        self.ready.extend(self.events.iter().map(|event| event.token()));
    }

    /// Reads one message, and says where from.
    fn read(&mut self, body: &mut [u8; LONGEST]) -> (Token, usize) {
        loop {
            match self.ready.pop() {
                None => self.poll(),
                Some(LISTENER) => self.accept(),
                // A short read has taken everything: there is no second one to make sure.
                Some(token) => match self.stream(token).read(body) {
                    Ok(length) if length > 0 => return (token, length),
                    _ => {}
                },
            }
        }
    }

    fn stream(&mut self, token: Token) -> &mut TcpStream {
        self.streams.get_mut(&token).expect("what is reported was registered")
    }
}

impl Library for Bare {
    const NAME: &'static str = "bare";
    type Executor = Threads;
    type Socket = Socket;

    fn version() -> String {
        "sockets".to_owned()
    }

    async fn open(kind: Kind, task: &Task) -> Option<Socket> {
        let fits = matches!(kind, Kind::Req | Kind::Rep) && task.size <= LONGEST;
        fits.then(|| Socket {
            poll: Poll::new().expect("there is a poll"),
            events: Events::with_capacity(256),
            ready: Vec::new(),
            listener: None,
            streams: HashMap::new(),
        })
    }

    async fn subscribe(_: &mut Socket, _: &[u8]) {
        unreachable!("there is no SUB");
    }

    async fn bind(socket: &mut Socket, url: &str) {
        let mut listener = TcpListener::bind(address(url)).expect("the port is free");
        let registry = socket.poll.registry();
        registry.register(&mut listener, LISTENER, Interest::READABLE).expect("it can be polled");
        socket.listener = Some(listener);
    }

    async fn connect(socket: &mut Socket, url: &str) {
        let stream = std::net::TcpStream::connect(address(url)).expect("somebody listens");
        stream.set_nonblocking(true).expect("a new stream takes options");
        socket.add(CLIENT, TcpStream::from_std(stream));
    }

    async fn send(socket: &mut Socket, body: &[u8]) {
        socket.stream(CLIENT).write_all(body).expect("there is room for one message");
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let mut body = [0; LONGEST];
        let (_, length) = socket.read(&mut body);
        keep_head(&body[..length], head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        let mut body = [0; LONGEST];
        let (from, length) = socket.read(&mut body);
        socket.stream(from).write_all(&body[..length]).expect("there is room for one message");
        keep_head(&body[..length], head)
    }

    async fn survey(_: &mut Socket, _: &[u8], _: usize) -> usize {
        unreachable!("there is no SURVEYOR");
    }
}

fn address(url: &str) -> std::net::SocketAddr {
    url.strip_prefix("tcp://").and_then(|it| it.parse().ok()).expect("it is tcp")
}
