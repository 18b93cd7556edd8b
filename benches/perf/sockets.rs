//! This crate's sockets as the driver wants them: with calls that block, and with futures.

use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use sinew::role::Answers;
use sinew::{
    AnySocket, EventLoop, Options, Overflow, Pair, Pub, Pull, Push, Rep, Req, Respondent, Runtime,
    Sub, Surveyor,
};
use tokio::net::unix::pipe;

use crate::driver::{Head, Kind, Library, Task, Threads, Tokio, keep_head};

/// Calls that block, and a thread for each socket.
pub(crate) struct Blocking;

/// Futures, and a task for each socket.
pub(crate) struct Tasks;

/// A socket of any kind.
pub(crate) enum Socket {
    Push(Push),
    Pull(Pull),
    Pub(Pub),
    Sub(Sub),
    Pair(Pair),
    Req(Req),
    Rep(Rep),
    Surveyor(Surveyor),
    Respondent(Respondent),
}

impl Socket {
    fn open(kind: Kind, task: &Task) -> Self {
        let (options, runtime) = (options(kind, task), runtime(task));
        let wrong = "the options are possible";
        match kind {
            Kind::Push => Self::Push(Push::on(runtime, options).expect(wrong)),
            Kind::Pull => Self::Pull(Pull::on(runtime, options).expect(wrong)),
            Kind::Pub => Self::Pub(Pub::on(runtime, options).expect(wrong)),
            Kind::Sub => Self::Sub(Sub::on(runtime, options).expect(wrong)),
            Kind::Pair => Self::Pair(Pair::on(runtime, options).expect(wrong)),
            Kind::Req => Self::Req(Req::on(runtime, options).expect(wrong)),
            Kind::Rep => Self::Rep(Rep::on(runtime, options).expect(wrong)),
            Kind::Surveyor => Self::Surveyor(Surveyor::on(runtime, options).expect(wrong)),
            Kind::Respondent => Self::Respondent(Respondent::on(runtime, options).expect(wrong)),
        }
    }

    fn subscribe(&self, topic: &[u8]) {
        let Self::Sub(socket) = self else { panic!("only a SUB subscribes") };
        socket.subscribe(topic).expect("it is open");
    }

    /// For the calls that all sockets have.
    fn any(&self) -> &dyn AnySocket {
        match self {
            Self::Push(socket) => socket,
            Self::Pull(socket) => socket,
            Self::Pub(socket) => socket,
            Self::Sub(socket) => socket,
            Self::Pair(socket) => socket,
            Self::Req(socket) => socket,
            Self::Rep(socket) => socket,
            Self::Surveyor(socket) => socket,
            Self::Respondent(socket) => socket,
        }
    }

    fn bind(&self, url: &str) {
        self.any().bind(url).expect("the address is free");
    }

    fn connect(&self, url: &str) {
        self.any().connect(url).expect("the address is good");
    }
}

/// Where the sockets of this process run.
fn runtime(task: &Task) -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = match task.io {
            Some(threads) => Runtime::builder().io_threads(threads).build(),
            None if task.drive => Runtime::builder().manual(true).build(),
            None => Runtime::global(),
        }
        .expect("threads can be started");
        if task.drive {
            tokio::spawn(drive(runtime.event_loop().expect("it has no thread")));
        }
        runtime
    })
}

/// Turns the event loop as a task.
async fn drive(event_loop: EventLoop) {
    let descriptor =
        event_loop.as_fd().try_clone_to_owned().expect("there are descriptors to spare");
    let descriptor =
        pipe::Receiver::from_owned_fd_unchecked(descriptor).expect("it can be watched");
    let readable = |cx: &mut Context<'_>| {
        ready!(descriptor.poll_read_ready(cx))?;
        _ = descriptor.try_io(|| Err::<(), _>(ErrorKind::WouldBlock.into()));
        Poll::Ready(Ok(()))
    };
    event_loop.drive(readable).await.expect("it is the only task that does");
}

/// The defaults, but for what is asked for, for messages of any size, and for surveys that end only
/// when all have answered.
fn options(kind: Kind, task: &Task) -> Options {
    let mut options = Options::new().max_recv_size(None);
    if let Some(messages) = task.hwm {
        options = options.send_queue(messages).recv_queue(messages);
    }
    if let Some(on) = task.nodelay {
        options = options.tcp_nodelay(on);
    }
    if let Some(micros) = task.spin {
        options = options.spin(Duration::from_micros(micros));
    }
    match kind {
        Kind::Pub if task.nodrop => options.overflow(Overflow::Wait),
        Kind::Sub if task.hwm.is_some() => options.sub_queue(task.hwm.unwrap_or_default()),
        Kind::Surveyor => {
            options.survey_deadline(Duration::from_secs(5)).survey_storage(task.k.max(128))
        }
        _ => options,
    }
}

/// This crate's version; in another package's program too.
fn version() -> String {
    let manifest = include_str!("../../Cargo.toml");
    let line = manifest.lines().find_map(|line| line.strip_prefix("version = "));
    line.expect("a manifest has a version").trim_matches('"').to_owned()
}

/// The part of a library that is the same with threads and with tasks.
macro_rules! calls_that_do_not_wait {
    () => {
        fn version() -> String {
            version()
        }

        async fn open(kind: Kind, task: &Task) -> Option<Socket> {
            Some(Socket::open(kind, task))
        }

        async fn subscribe(socket: &mut Socket, topic: &[u8]) {
            socket.subscribe(topic);
        }

        async fn bind(socket: &mut Socket, url: &str) {
            socket.bind(url);
        }

        async fn connect(socket: &mut Socket, url: &str) {
            socket.connect(url);
        }
    };
}

/// Answers one with itself.
fn answer<R: Answers>(socket: &sinew::Socket<R>, head: &mut Head) -> usize {
    let asked = socket.recv().expect(OPEN);
    let (body, length) = (asked.body().clone(), keep_head(&asked, head));
    asked.reply(body).expect(OPEN);
    length
}

/// The same as a task.
async fn answer_async<R: Answers>(socket: &sinew::Socket<R>, head: &mut Head) -> usize {
    let asked = socket.recv_async().await.expect(OPEN);
    let (body, length) = (asked.body().clone(), keep_head(&asked, head));
    asked.reply_async(body).await.expect(OPEN);
    length
}

const OPEN: &str = "the socket is open and waits for ever";

impl Library for Blocking {
    const NAME: &'static str = "sinew";
    type Executor = Threads;
    type Socket = Socket;

    calls_that_do_not_wait!();

    async fn send(socket: &mut Socket, body: &[u8]) {
        match socket {
            Socket::Push(socket) => socket.send(body.to_vec()),
            Socket::Pub(socket) => socket.send(body.to_vec()),
            Socket::Pair(socket) => socket.send(body.to_vec()),
            _ => panic!("it does not send"),
        }
        .expect(OPEN);
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let message = match socket {
            Socket::Pull(socket) => socket.recv(),
            Socket::Sub(socket) => socket.recv(),
            Socket::Pair(socket) => socket.recv(),
            _ => panic!("it does not receive"),
        };
        keep_head(&message.expect(OPEN), head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        match socket {
            Socket::Rep(socket) => answer(socket, head),
            Socket::Respondent(socket) => answer(socket, head),
            Socket::Pair(socket) => {
                let message = socket.recv().expect(OPEN);
                socket.send(message.body()).expect(OPEN);
                keep_head(&message, head)
            }
            _ => panic!("it does not answer"),
        }
    }

    async fn ask(socket: &mut Socket, body: &[u8], head: &mut Head) {
        let Socket::Req(req) = socket else {
            Self::send(socket, body).await;
            Self::recv(socket, head).await;
            return;
        };
        keep_head(&req.request(body.to_vec()).expect(OPEN), head);
    }

    async fn survey(socket: &mut Socket, body: &[u8], most: usize) -> usize {
        let Socket::Surveyor(socket) = socket else { panic!("it does not survey") };
        socket.survey(body.to_vec()).expect(OPEN).take(most).count()
    }
}

impl Library for Tasks {
    const NAME: &'static str = "sinew";
    type Executor = Tokio;
    type Socket = Socket;

    calls_that_do_not_wait!();

    async fn send(socket: &mut Socket, body: &[u8]) {
        match socket {
            Socket::Push(socket) => socket.send_async(body.to_vec()).await,
            Socket::Pub(socket) => socket.send_async(body.to_vec()).await,
            Socket::Pair(socket) => socket.send_async(body.to_vec()).await,
            _ => panic!("it does not send"),
        }
        .expect(OPEN);
    }

    async fn recv(socket: &mut Socket, head: &mut Head) -> usize {
        let message = match socket {
            Socket::Pull(socket) => socket.recv_async().await,
            Socket::Sub(socket) => socket.recv_async().await,
            Socket::Pair(socket) => socket.recv_async().await,
            _ => panic!("it does not receive"),
        };
        keep_head(&message.expect(OPEN), head)
    }

    async fn echo(socket: &mut Socket, head: &mut Head) -> usize {
        match socket {
            Socket::Rep(socket) => answer_async(socket, head).await,
            Socket::Respondent(socket) => answer_async(socket, head).await,
            Socket::Pair(socket) => {
                let message = socket.recv_async().await.expect(OPEN);
                socket.send_async(message.body()).await.expect(OPEN);
                keep_head(&message, head)
            }
            _ => panic!("it does not answer"),
        }
    }

    async fn ask(socket: &mut Socket, body: &[u8], head: &mut Head) {
        let Socket::Req(req) = socket else {
            Self::send(socket, body).await;
            Self::recv(socket, head).await;
            return;
        };
        keep_head(&req.request_async(body.to_vec()).await.expect(OPEN), head);
    }

    async fn survey(socket: &mut Socket, body: &[u8], most: usize) -> usize {
        let Socket::Surveyor(socket) = socket else { panic!("it does not survey") };
        let survey = socket.survey(body.to_vec()).expect(OPEN);
        for answers in 0..most {
            if survey.recv_async().await.is_err() {
                return answers;
            }
        }
        most
    }
}
