//! One type for sockets of all roles: [`Engine`].
//!
//! C has one kind of handle and learns at run time what a socket cannot do. So the calls that a role lacks return
//! `None` here.

use std::any::Any;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sinew::role::{self, Answers, Asks, Raw, Receives, Sends};
use sinew::{
    AnySocket, Context, Message, OptionError, Options, Readiness, RecvError, Runtime, SendError,
    Socket, Sub, raw,
};

use crate::errno::{EBADF, EINVAL, Errno};

/// How long a call may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    None,
    For(Duration),
}

impl Patience {
    /// Milliseconds as C has them: negative is forever.
    pub(crate) fn of(milliseconds: i32) -> Self {
        match u64::try_from(milliseconds) {
            Ok(time) => Self::For(Duration::from_millis(time)),
            Err(_) => Self::FOREVER,
        }
    }

    pub(crate) const FOREVER: Self = Self::For(Duration::MAX);
}

/// A socket of any role. `None`: it has no such call.
pub(crate) trait Engine: Any + Send + Sync {
    fn socket(&self) -> &dyn AnySocket;

    fn as_any(&self) -> &dyn Any;

    fn send(&self, _message: Message, _patience: Patience) -> Option<Result<(), SendError>> {
        None
    }

    fn recv(&self, _patience: Patience) -> Option<Result<Message, RecvError>> {
        None
    }

    /// Whether it has `recv`.
    fn receives(&self) -> bool {
        false
    }

    /// Whether it has `send`.
    fn sends(&self) -> bool {
        false
    }

    fn recv_readiness(&self) -> Option<std::io::Result<Readiness>> {
        None
    }

    fn send_readiness(&self) -> Option<std::io::Result<Readiness>> {
        None
    }

    /// Sets the time for which an answer is awaited: the resend interval of a REQ, the deadline of a SURVEYOR.
    fn set_time(&self, _time: Option<Duration>) -> Option<Result<(), OptionError>> {
        None
    }

    fn subscribe(&self, _topic: &[u8]) -> Option<Result<(), Errno>> {
        None
    }

    fn unsubscribe(&self, _topic: &[u8]) -> Option<Result<(), Errno>> {
        None
    }
}

/// What every engine says of itself.
macro_rules! identify {
    () => {
        fn socket(&self) -> &dyn AnySocket {
            &self.socket
        }

        fn as_any(&self) -> &dyn Any {
            self
        }
    };
}

macro_rules! sending {
    () => {
        #[inline]
        fn send(&self, message: Message, patience: Patience) -> Option<Result<(), SendError>> {
            Some(match patience {
                Patience::None => self.socket.try_send(message),
                Patience::For(time) => self.socket.send_timeout(message, time),
            })
        }

        fn sends(&self) -> bool {
            true
        }

        fn send_readiness(&self) -> Option<std::io::Result<Readiness>> {
            Some(self.socket.send_readiness())
        }
    };
}

macro_rules! receiving {
    ($from:ident) => {
        #[inline]
        fn recv(&self, patience: Patience) -> Option<Result<Message, RecvError>> {
            Some(match patience {
                Patience::None => self.$from.try_recv(),
                Patience::For(time) => self.$from.recv_timeout(time),
            })
        }

        fn receives(&self) -> bool {
            true
        }

        fn recv_readiness(&self) -> Option<std::io::Result<Readiness>> {
            Some(self.$from.recv_readiness())
        }
    };
}

/// What is asked and answered in the one conversation: a send never waits.
macro_rules! conversing {
    () => {
        receiving!(context);

        fn send(&self, message: Message, _: Patience) -> Option<Result<(), SendError>> {
            Some(self.context.send(message))
        }

        fn sends(&self) -> bool {
            true
        }

        fn send_readiness(&self) -> Option<std::io::Result<Readiness>> {
            Some(self.context.send_readiness())
        }
    };
}

/// PUSH, PUB, and their raw forms.
pub(crate) struct Sender<R: role::Role> {
    pub(crate) socket: Socket<R>,
}

impl<R: Sends> Engine for Sender<R> {
    identify!();
    sending!();
}

/// PULL, and its raw form.
pub(crate) struct Receiver<R: role::Role> {
    pub(crate) socket: Socket<R>,
}

impl<R: Receives<Item = Message>> Engine for Receiver<R> {
    identify!();
    receiving!(socket);
}

/// PAIR, BUS, and all raw sockets that do both.
pub(crate) struct Both<R: role::Role> {
    pub(crate) socket: Socket<R>,
}

impl<R: Sends + Receives<Item = Message>> Engine for Both<R> {
    identify!();
    sending!();
    receiving!(socket);
}

/// REQ and SURVEYOR: the socket, and the one conversation that nanomsg's calls have.
pub(crate) struct Asker<R: AskTime> {
    pub(crate) socket: Socket<R>,
    pub(crate) context: Context<R>,
}

/// A role that asks, and waits for the answer for some time.
pub(crate) trait AskTime: Asks + Sized {
    fn set_time(context: &Context<Self>, time: Option<Duration>) -> Result<(), OptionError>;
}

impl AskTime for role::Req {
    fn set_time(context: &Context<Self>, time: Option<Duration>) -> Result<(), OptionError> {
        context.set_resend_interval(time)
    }
}

impl AskTime for role::Surveyor {
    fn set_time(context: &Context<Self>, time: Option<Duration>) -> Result<(), OptionError> {
        context.set_survey_deadline(time)
    }
}

impl<R: AskTime> Engine for Asker<R> {
    identify!();
    conversing!();

    fn set_time(&self, time: Option<Duration>) -> Option<Result<(), OptionError>> {
        Some(R::set_time(&self.context, time))
    }
}

/// REP and RESPONDENT.
pub(crate) struct Answerer<R: Answers> {
    pub(crate) socket: Socket<R>,
    pub(crate) context: Context<R>,
}

impl<R: Answers> Engine for Answerer<R> {
    identify!();
    conversing!();
}

/// How often each topic was subscribed to: nanomsg counts.
#[derive(Default)]
struct Topics(Mutex<HashMap<Vec<u8>, usize>>);

impl Topics {
    /// Counts a subscription, and runs `first` if it is the only one.
    fn add(&self, topic: &[u8], first: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = topics.get_mut(topic) {
            *times += 1;
            return Ok(());
        }
        first()?;
        topics.insert(topic.to_vec(), 1);
        Ok(())
    }

    /// Ends a subscription, and runs `last` if it was the only one.
    fn remove(&self, topic: &[u8], last: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let mut topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match topics.get_mut(topic) {
            None => Err(EINVAL),
            Some(1) => {
                last()?;
                topics.remove(topic);
                Ok(())
            }
            Some(times) => {
                *times -= 1;
                Ok(())
            }
        }
    }

    fn fit(&self, message: &[u8]) -> bool {
        let topics = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        topics.keys().any(|topic| message.starts_with(topic))
    }
}

/// SUB.
pub(crate) struct Subscriber {
    pub(crate) socket: Sub,
    topics: Topics,
}

impl Engine for Subscriber {
    identify!();
    receiving!(socket);

    fn subscribe(&self, topic: &[u8]) -> Option<Result<(), Errno>> {
        let first = || self.socket.subscribe(topic).map_err(|_| EBADF);
        Some(self.topics.add(topic, first))
    }

    fn unsubscribe(&self, topic: &[u8]) -> Option<Result<(), Errno>> {
        let last = || self.socket.unsubscribe(topic).map_err(|_| EBADF);
        Some(self.topics.remove(topic, last))
    }
}

/// A raw SUB: it filters, as that of nanomsg does.
struct RawSubscriber {
    socket: raw::Sub,
    topics: Topics,
}

impl Engine for RawSubscriber {
    identify!();

    fn recv(&self, patience: Patience) -> Option<Result<Message, RecvError>> {
        let begin = std::time::Instant::now();
        Some(loop {
            let received = match patience {
                Patience::None => self.socket.try_recv(),
                Patience::For(time) => {
                    self.socket.recv_timeout(time.saturating_sub(begin.elapsed()))
                }
            };
            match received {
                Ok(message) if !self.topics.fit(&message) => {}
                other => break other,
            }
        })
    }

    fn receives(&self) -> bool {
        true
    }

    fn recv_readiness(&self) -> Option<std::io::Result<Readiness>> {
        Some(self.socket.recv_readiness())
    }

    fn subscribe(&self, topic: &[u8]) -> Option<Result<(), Errno>> {
        Some(self.topics.add(topic, || Ok(())))
    }

    fn unsubscribe(&self, topic: &[u8]) -> Option<Result<(), Errno>> {
        Some(self.topics.remove(topic, || Ok(())))
    }
}

/// The kind of a socket, by the number that nanomsg gives it (for PAIR v1, as on the wire).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Pair = 16,
    Pair1 = 17,
    Pub = 32,
    Sub = 33,
    Req = 48,
    Rep = 49,
    Push = 80,
    Pull = 81,
    Surveyor = 98,
    Respondent = 99,
    Bus = 112,
}

impl Kind {
    pub(crate) const ALL: [Self; 11] = [
        Self::Pair,
        Self::Pair1,
        Self::Pub,
        Self::Sub,
        Self::Req,
        Self::Rep,
        Self::Push,
        Self::Pull,
        Self::Surveyor,
        Self::Respondent,
        Self::Bus,
    ];

    pub(crate) fn of(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|&kind| kind as i32 == number)
    }
}

type Made = Result<Box<dyn Engine>, OptionError>;

/// Makes a socket.
pub(crate) fn make(kind: Kind, runtime: &Runtime, options: Options) -> Made {
    fn both<R: Sends + Receives<Item = Message>>(runtime: &Runtime, options: Options) -> Made {
        Ok(Box::new(Both { socket: Socket::<R>::on(runtime, options)? }))
    }
    fn sender<R: Sends>(runtime: &Runtime, options: Options) -> Made {
        Ok(Box::new(Sender { socket: Socket::<R>::on(runtime, options)? }))
    }
    fn asker<R: AskTime>(runtime: &Runtime, options: Options) -> Made {
        let socket = Socket::<R>::on(runtime, options)?;
        Ok(Box::new(Asker { context: Context::new(&socket), socket }))
    }
    fn answerer<R: Answers>(runtime: &Runtime, options: Options) -> Made {
        let socket = Socket::<R>::on(runtime, options)?;
        Ok(Box::new(Answerer { context: Context::new(&socket), socket }))
    }
    match kind {
        Kind::Pair => both::<role::Pair>(runtime, options),
        Kind::Pair1 => both::<role::Pair1>(runtime, options),
        Kind::Bus => both::<role::Bus>(runtime, options),
        Kind::Pub => sender::<role::Pub>(runtime, options),
        Kind::Push => sender::<role::Push>(runtime, options),
        Kind::Pull => Ok(Box::new(Receiver { socket: sinew::Pull::on(runtime, options)? })),
        Kind::Sub => {
            let (socket, topics) = (Sub::on(runtime, options)?, Topics::default());
            Ok(Box::new(Subscriber { socket, topics }))
        }
        Kind::Req => asker::<role::Req>(runtime, options),
        Kind::Surveyor => asker::<role::Surveyor>(runtime, options),
        Kind::Rep => answerer::<role::Rep>(runtime, options),
        Kind::Respondent => answerer::<role::Respondent>(runtime, options),
    }
}

/// Makes a raw socket.
pub(crate) fn make_raw(kind: Kind, runtime: &Runtime, options: Options) -> Made {
    fn both<R: Sends + Receives<Item = Message>>(runtime: &Runtime, options: Options) -> Made {
        Ok(Box::new(Both { socket: Socket::<R>::on(runtime, options)? }))
    }
    fn sender<R: Sends>(runtime: &Runtime, options: Options) -> Made {
        Ok(Box::new(Sender { socket: Socket::<R>::on(runtime, options)? }))
    }
    match kind {
        Kind::Pair => both::<Raw<role::Pair>>(runtime, options),
        Kind::Pair1 => both::<Raw<role::Pair1>>(runtime, options),
        Kind::Bus => both::<Raw<role::Bus>>(runtime, options),
        Kind::Req => both::<Raw<role::Req>>(runtime, options),
        Kind::Rep => both::<Raw<role::Rep>>(runtime, options),
        Kind::Surveyor => both::<Raw<role::Surveyor>>(runtime, options),
        Kind::Respondent => both::<Raw<role::Respondent>>(runtime, options),
        Kind::Pub => sender::<Raw<role::Pub>>(runtime, options),
        Kind::Push => sender::<Raw<role::Push>>(runtime, options),
        Kind::Pull => Ok(Box::new(Receiver { socket: raw::Pull::on(runtime, options)? })),
        Kind::Sub => {
            let (socket, topics) = (raw::Sub::on(runtime, options)?, Topics::default());
            Ok(Box::new(RawSubscriber { socket, topics }))
        }
    }
}
