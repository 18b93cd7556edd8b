//! Every kind of socket under one roof: lists of them, and what a test wants to know of each.
//!
//! What the calls of sockets have in common is in the library: a test over several is one over roles. The
//! traits here have the same calls for tests whose parameter is the type of a socket or a context.
//!
//! `every_socket!(check)` is an array of `check::<Pair>`, `check::<raw::Pair>` and so on, to be given
//! to [`one_by_one`] or [`at_once`]; likewise `every_sender!`, `every_receiver!` and
//! `every_conversant!`, those that have contexts.

use std::fmt::Debug;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use sinew::role::{self, Raw, Role};
use sinew::{
    AnySocket, Asked, Closed, Message, OptionError, Options, RecvError, RepContext, ReqContext,
    RespondentContext, SendError, SubContext, SurveyorContext,
};

type Task<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A socket by its type: how a test makes one, and what it wants to know of it. The calls that every socket
/// has are those of [`AnySocket`].
pub trait Socket: AnySocket + Clone + 'static {
    const NAME: &'static str;
    /// What it announces, and what its peers must announce.
    const IDS: (u8, u8);
    /// The options that not every socket has and this one has.
    const OPTIONS: &'static [&'static str];

    fn try_with(options: Options) -> Result<Self, OptionError>;

    fn with(options: Options) -> Self {
        Self::try_with(options).expect("good options")
    }

    fn new() -> Self {
        Self::with(Options::new())
    }
}

/// Four ways to send.
pub trait Sends: Socket {
    /// Whether a send with nobody there waits; otherwise it succeeds.
    const WAITS: bool;
    fn send(&self, message: impl Into<Message>) -> Result<(), SendError>;
    fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError>;
    fn send_timeout(&self, message: impl Into<Message>, timeout: Duration)
    -> Result<(), SendError>;
    fn send_async(&self, message: impl Into<Message>) -> Task<Result<(), SendError>>;
    /// `body` as a message that can be sent: raw sockets want a header.
    fn message(body: &'static str) -> Message;
}

/// Four ways to receive; what comes is the message, with the right to answer given up.
pub trait Receives: Send + Sync + 'static {
    fn recv(&self) -> Result<Message, RecvError>;
    fn try_recv(&self) -> Result<Message, RecvError>;
    fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError>;
    fn recv_async(&self) -> Task<Result<Message, RecvError>>;
}

/// A socket with contexts.
pub trait Converses: Socket {
    type Context: Context;
    fn context(&self) -> Self::Context;
}

/// What every context has.
pub trait Context: Receives {
    /// Does what must be done before a receive can wait.
    fn begin(&self);
    fn close(&self) -> Result<(), Closed>;
    fn set_default_recv_timeout(&self, timeout: Duration);
}

/// Runs tests one after the other.
pub fn one_by_one(tests: impl IntoIterator<Item = fn()>) {
    tests.into_iter().for_each(|test| test());
}

/// Runs tests at the same time, for those that mostly wait.
pub fn at_once(tests: impl IntoIterator<Item = fn()>) {
    thread::scope(|scope| {
        tests.into_iter().for_each(|test| {
            scope.spawn(test);
        });
    });
}

macro_rules! list {
    ($list:ident: $($socket:ty,)*) => {
        #[allow(unused_macros, reason = "each test binary uses its own part")]
        macro_rules! $list {
            ($test:ident) => {
                [$($test::<$socket>,)*]
            };
        }
        #[allow(unused_imports, reason = "each test binary uses its own part")]
        pub(crate) use $list;
    };
}

/// What a test wants to know of a socket, by its role.
pub trait Listed: Role + Debug {
    const NAME: &'static str;
    const IDS: (u8, u8);
    const OPTIONS: &'static [&'static str];
}

impl<R: Listed> Socket for sinew::Socket<R> {
    const NAME: &'static str = R::NAME;
    const IDS: (u8, u8) = R::IDS;
    const OPTIONS: &'static [&'static str] = R::OPTIONS;

    fn try_with(options: Options) -> Result<Self, OptionError> {
        Self::with_options(options)
    }
}

macro_rules! sockets {
    ($($socket:ty, $role:ty: $ids:expr, $options:expr;)*) => {
        $(impl Listed for $role {
            const NAME: &'static str = stringify!($socket);
            const IDS: (u8, u8) = $ids;
            const OPTIONS: &'static [&'static str] = &$options;
        })*
        list!(every_socket: $($socket,)*);
    };
}

sockets! {
    sinew::Pair, role::Pair: (0x10, 0x10), [];
    sinew::Pair1, role::Pair1: (0x11, 0x11), ["ttl"];
    sinew::PolyPair1, role::PolyPair1: (0x11, 0x11), ["ttl", "overflow", "recv_priority"];
    sinew::Pub, role::Pub: (0x20, 0x21), ["overflow", "conflate"];
    sinew::Sub, role::Sub: (0x21, 0x20), ["sub_queue", "sub_queue_bytes", "prefer_new", "conflate", "recv_priority"];
    sinew::Req, role::Req: (0x30, 0x31), ["resend_interval", "max_resends", "send_priority"];
    sinew::Rep, role::Rep: (0x31, 0x30), ["ttl", "recv_priority"];
    sinew::Push, role::Push: (0x50, 0x51), ["overflow", "send_priority"];
    sinew::Pull, role::Pull: (0x51, 0x50), ["recv_priority"];
    sinew::Surveyor, role::Surveyor: (0x62, 0x63), ["survey_deadline", "survey_storage", "overflow"];
    sinew::Respondent, role::Respondent: (0x63, 0x62), ["ttl", "recv_priority"];
    sinew::Bus, role::Bus: (0x70, 0x70), ["overflow", "recv_priority"];
    sinew::raw::Pair, Raw<role::Pair>: (0x10, 0x10), [];
    sinew::raw::Pair1, Raw<role::Pair1>: (0x11, 0x11), ["ttl"];
    sinew::raw::Pub, Raw<role::Pub>: (0x20, 0x21), ["overflow", "conflate"];
    sinew::raw::Sub, Raw<role::Sub>: (0x21, 0x20), ["recv_priority"];
    sinew::raw::Req, Raw<role::Req>: (0x30, 0x31), ["send_priority", "recv_priority"];
    sinew::raw::Rep, Raw<role::Rep>: (0x31, 0x30), ["ttl", "recv_priority"];
    sinew::raw::Push, Raw<role::Push>: (0x50, 0x51), ["overflow", "send_priority"];
    sinew::raw::Pull, Raw<role::Pull>: (0x51, 0x50), ["recv_priority"];
    sinew::raw::Surveyor, Raw<role::Surveyor>: (0x62, 0x63), ["overflow", "recv_priority"];
    sinew::raw::Respondent, Raw<role::Respondent>: (0x63, 0x62), ["ttl", "recv_priority"];
    sinew::raw::Bus, Raw<role::Bus>: (0x70, 0x70), ["overflow", "recv_priority"];
}

/// What a test wants to know of a socket that sends, by its role.
pub trait ListedSender: Listed + role::Sends {
    const WAITS: bool;
    const HEADER: &'static [u8];
}

impl<R: ListedSender> Sends for sinew::Socket<R> {
    const WAITS: bool = R::WAITS;

    fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        Self::send(self, message)
    }
    fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        Self::try_send(self, message)
    }
    fn send_timeout(
        &self,
        message: impl Into<Message>,
        timeout: Duration,
    ) -> Result<(), SendError> {
        Self::send_timeout(self, message, timeout)
    }
    fn send_async(&self, message: impl Into<Message>) -> Task<Result<(), SendError>> {
        Box::pin(Self::send_async(self, message.into()))
    }
    fn message(body: &'static str) -> Message {
        Message::from(body).with_header(R::HEADER)
    }
}

macro_rules! senders {
    ($($socket:ty, $role:ty: $waits:expr, $header:expr;)*) => {
        $(impl ListedSender for $role {
            const WAITS: bool = $waits;
            const HEADER: &'static [u8] = &$header;
        })*
        list!(every_sender: $($socket,)*);
    };
}

const WAITS: bool = true;
const SUCCEEDS: bool = false;

senders! {
    sinew::Pair, role::Pair: WAITS, [];
    sinew::Pair1, role::Pair1: WAITS, [];
    sinew::PolyPair1, role::PolyPair1: WAITS, [];
    sinew::Push, role::Push: WAITS, [];
    sinew::Pub, role::Pub: SUCCEEDS, [];
    sinew::Bus, role::Bus: SUCCEEDS, [];
    sinew::raw::Pair, Raw<role::Pair>: WAITS, [];
    sinew::raw::Pair1, Raw<role::Pair1>: WAITS, [0, 0, 0, 1];
    sinew::raw::Push, Raw<role::Push>: WAITS, [];
    sinew::raw::Pub, Raw<role::Pub>: SUCCEEDS, [];
    sinew::raw::Bus, Raw<role::Bus>: SUCCEEDS, [];
    sinew::raw::Req, Raw<role::Req>: WAITS, [0x80, 0, 0, 1];
    sinew::raw::Rep, Raw<role::Rep>: SUCCEEDS, [0, 0, 0, 1, 0x80, 0, 0, 1];
    sinew::raw::Surveyor, Raw<role::Surveyor>: SUCCEEDS, [0x80, 0, 0, 1];
    sinew::raw::Respondent, Raw<role::Respondent>: SUCCEEDS, [0, 0, 0, 1, 0x80, 0, 0, 1];
}

/// A survey whose answers nobody wants. It is not among the senders: it has no forms of a send.
impl Sends for sinew::Surveyor {
    const WAITS: bool = SUCCEEDS;

    fn send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        self.survey(message).map(drop)
    }
    fn try_send(&self, message: impl Into<Message>) -> Result<(), SendError> {
        Sends::send(self, message)
    }
    fn send_timeout(&self, message: impl Into<Message>, _: Duration) -> Result<(), SendError> {
        Sends::send(self, message)
    }
    fn send_async(&self, message: impl Into<Message>) -> Task<Result<(), SendError>> {
        Box::pin(std::future::ready(Sends::send(self, message)))
    }
    fn message(body: &'static str) -> Message {
        body.into()
    }
}

/// What is received, with the right to answer given up.
pub trait Opened {
    fn open(self) -> Message;
}

impl Opened for Message {
    fn open(self) -> Message {
        self
    }
}

impl<R: role::Answers> Opened for Asked<R> {
    fn open(self) -> Message {
        self.into_message()
    }
}

impl<R: role::Receives<Item: Opened>> Receives for sinew::Socket<R> {
    fn recv(&self) -> Result<Message, RecvError> {
        Self::recv(self).map(Opened::open)
    }
    fn try_recv(&self) -> Result<Message, RecvError> {
        Self::try_recv(self).map(Opened::open)
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        Self::recv_timeout(self, timeout).map(Opened::open)
    }
    fn recv_async(&self) -> Task<Result<Message, RecvError>> {
        let receiving = Self::recv_async(self);
        Box::pin(async move { receiving.await.map(Opened::open) })
    }
}

impl<R: role::Converses> Receives for sinew::Context<R> {
    fn recv(&self) -> Result<Message, RecvError> {
        Self::recv(self)
    }
    fn try_recv(&self) -> Result<Message, RecvError> {
        Self::try_recv(self)
    }
    fn recv_timeout(&self, timeout: Duration) -> Result<Message, RecvError> {
        Self::recv_timeout(self, timeout)
    }
    fn recv_async(&self) -> Task<Result<Message, RecvError>> {
        Box::pin(Self::recv_async(self))
    }
}

list! { every_receiver:
    sinew::Pair, sinew::Pair1, sinew::PolyPair1, sinew::Pull, sinew::Sub, sinew::Bus, sinew::Rep,
    sinew::Respondent, sinew::raw::Pair, sinew::raw::Pair1, sinew::raw::Pull, sinew::raw::Sub,
    sinew::raw::Bus, sinew::raw::Req, sinew::raw::Rep, sinew::raw::Surveyor, sinew::raw::Respondent,
}

macro_rules! contexts {
    ($($socket:ty: $context:ty, $begin:expr;)*) => {
        $(impl Converses for $socket {
            type Context = $context;

            fn context(&self) -> $context {
                Self::context(self)
            }
        }

        impl Context for $context {
            fn begin(&self) {
                let begin: fn(&Self) = $begin;
                begin(self);
            }
            fn close(&self) -> Result<(), Closed> {
                Self::close(self)
            }
            fn set_default_recv_timeout(&self, timeout: Duration) {
                Self::set_default_recv_timeout(self, timeout);
            }
        })*
        list!(every_conversant: $($socket,)*);
    };
}

contexts! {
    sinew::Req: ReqContext, |context| context.send("held").expect("it is open");
    sinew::Rep: RepContext, |_| ();
    sinew::Sub: SubContext, |context| context.subscribe("").expect("it is open");
    sinew::Surveyor: SurveyorContext, |context| {
        context.set_survey_deadline(None).expect("in range");
        context.send("anyone?").expect("it is open");
    };
    sinew::Respondent: RespondentContext, |_| ();
}

/// A call that waits, by name.
pub type Form<S, T> = (&'static str, fn(&S) -> T);

/// The forms of a send that wait; the one with a timeout waits for `6 * SOON`.
pub fn waiting_sends<S: Sends>() -> [Form<S, Result<(), SendError>>; 3] {
    [
        ("send", |socket| socket.send(S::message("mine"))),
        ("send_timeout", |socket| socket.send_timeout(S::message("mine"), 6 * super::SOON)),
        ("send_async", |socket| super::block_on(socket.send_async(S::message("mine")))),
    ]
}

/// The forms of a receive that wait; the one with a timeout waits for `6 * SOON`.
pub fn waiting_recvs<S: Receives>() -> [Form<S, Result<Message, RecvError>>; 3] {
    [
        ("recv", |socket| socket.recv()),
        ("recv_timeout", |socket| socket.recv_timeout(6 * super::SOON)),
        ("recv_async", |socket| super::block_on(socket.recv_async())),
    ]
}
