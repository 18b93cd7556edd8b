//! Roles: the part that a socket plays in its protocol, as a parameter of its type.
//!
//! Every socket is a [`Socket`](crate::Socket) of a role: `sinew::Push` is short for `Socket<role::Push>`.
//! The role decides which calls a socket has: those of all sockets, those of a role that [`Sends`], those of a
//! role that [`Receives`], and those of one role only. A program that names its sockets by their aliases needs
//! nothing of this module; a function over sockets of several types has the role as its parameter:
//!
//! ```
//! use sinew::role::{Receives, Role, Sends};
//! use sinew::{Message, Pull, Push, RecvError, SendError, Socket};
//!
//! fn send_all<R: Sends>(socket: &Socket<R>, lines: &[&'static str]) -> Result<(), SendError> {
//!     lines.iter().try_for_each(|line| socket.send(*line))
//! }
//!
//! fn first<R: Receives<Item = Message>>(socket: &Socket<R>) -> Result<Message, RecvError> {
//!     socket.recv()
//! }
//!
//! fn report<R: Role>(socket: &Socket<R>) -> String {
//!     format!("{}: {} peers", socket.name(), socket.peers().len())
//! }
//!
//! let (push, pull) = (Push::new(), Pull::new());
//! push.bind("inproc://role-doc")?;
//! pull.connect("inproc://role-doc")?;
//! send_all(&push, &["one", "two"])?;
//! assert_eq!(first(&pull)?, "one");
//! println!("{}", report(&push));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `Socket` has two further parameters, whether it sends ([`CanSend`] or [`NoSend`]) and what it receives
//! ([`CanRecv`] or [`NoRecv`]). They follow from the role and are never written. They hide the calls that a
//! role lacks, from the compiler and from the documentation.

use std::marker::PhantomData;
use std::time::Instant;

use super::answer::Asked;
use super::context::{self, AskingProtocol, Keeps, Opens, Shared, TakesIn};
use super::device::Forwards;
use super::recv::{self, PlainFrom, Takes, Yields};
use super::send::{self, Gives, PlainTo};
use crate::error::{RecvError, SendError};
use crate::message::Message;
use crate::options::Options;
use crate::protocol::{self, Protocol, RecvRefusal, Route};
use crate::socket::wait::{Outcome, Patience};
use crate::socket::{Core, Handle, SocketPort};

pub use super::context::{Answering, Asking, Filtering};

/// The role of a socket in its protocol. Implemented only by the types of this module.
#[expect(private_bounds, reason = "a role is made here only, and nobody else runs its protocol")]
pub trait Role: Engine {
    /// Whether a socket of this role has the forms of `send`: [`CanSend`] or [`NoSend`].
    type Send: 'static;
    /// Whether it has the forms of `recv`, and of what: [`CanRecv`] or [`NoRecv`].
    type Recv: 'static;
}

/// A role whose sockets have `send` and its other forms: those that only send, those that do both, and all
/// raw ones but PULL and SUB.
///
/// A `Req` and a `Surveyor` are not among them, since what they send belongs to a request or a survey.
#[expect(private_bounds, reason = "as that of `Role`")]
#[diagnostic::on_unimplemented(
    message = "a socket of the role `{Self}` has no `send`",
    label = "there is no such call",
    note = "a `Req` sends with `request`, which returns the reply, and a `Surveyor` with `survey`, which returns a `Survey` that yields the answers; the `context` of either has `send` and `recv` apart",
    note = "a `Rep` answers with `reply` on the `Request` that `recv` returns, a `Respondent` on the `Question`",
    note = "a `Pull` only receives what a `Push` sends, and a `Sub` what a `Pub` sends"
)]
pub trait Sends: Role<Send = CanSend> + Gives + Engine<Protocol: Protocol<To: PlainTo>> {}

/// A role whose sockets have `recv` and its other forms: those that only receive, those that do both, and all
/// raw ones but PUSH and PUB.
///
/// A `Req` and a `Surveyor` are not among them, since what they receive belongs to a request or a survey.
#[expect(private_bounds, reason = "as that of `Role`")]
#[diagnostic::on_unimplemented(
    message = "a socket of the role `{Self}` has no `recv`",
    label = "there is no such call",
    note = "a `Req` gets each reply from the `request` it belongs to, and a `Surveyor` its answers from the `Survey` that `survey` returns; the `context` of either has `send` and `recv` apart",
    note = "a `Push` only sends, to a `Pull`; a `Pub` only sends, to a `Sub`"
)]
pub trait Receives:
    Role<Recv = CanRecv<<Self as Receives>::Item>>
    + Takes<<Self as Receives>::Item>
    + Engine<Protocol: Protocol<From: PlainFrom, Received: Outcome + 'static>>
{
    /// What it receives: a [`Message`](crate::Message), or of a `Rep` a [`Request`](crate::Request) and of a
    /// `Respondent` a [`Question`](crate::Question).
    type Item: Yields<Self>;
}

/// A role whose sockets have contexts: `Req`, `Rep`, `Sub`, `Surveyor` and `Respondent`.
#[expect(private_bounds, reason = "as that of `Role`")]
#[diagnostic::on_unimplemented(
    message = "a socket of the role `{Self}` has no contexts",
    label = "this role has no contexts"
)]
pub trait Converses:
    Role + TakesIn<<Self as Converses>::Kind> + Engine<Protocol: Protocol<Received: Outcome + 'static>>
{
    /// What its contexts do: [`Asking`], [`Answering`] or [`Filtering`].
    type Kind: Keeps<Self::Protocol>;
}

/// A role whose sockets ask, and get what is answered: `Req` and `Surveyor`.
#[expect(private_bounds, reason = "as that of `Role`")]
pub trait Asks:
    Role<Send = NoSend, Recv = NoRecv> + Converses<Kind = Asking> + Engine<Protocol: AskingProtocol>
{
}

/// A role whose sockets receive and answer: `Rep` and `Respondent`.
#[expect(private_bounds, reason = "as that of `Role`")]
pub trait Answers:
    Role<Send = NoSend> + Receives<Item = Asked<Self>> + Converses<Kind = Answering> + AnswersAsked
{
}

/// What a role that answers has in addition.
pub(crate) trait AnswersAsked: Engine<Protocol: AnsweringProtocol> {
    /// Sends an answer; compiled in this crate for the same reason as [`Takes`].
    fn answer(
        core: &Core<Self::Protocol>,
        route: &Route,
        answer: Message,
        patience: Patience,
    ) -> Result<(), SendError>;
}

/// A protocol that receives requests or surveys, each with its way back.
pub(crate) trait AnsweringProtocol:
    Protocol<To = Route, From = (), Received = (Route, Message)>
{
    /// Gives up the answer to what was received. Send it, or give it up, once.
    fn give_up(&mut self, route: &Route, io: &mut SocketPort<'_>);

    /// Receives, and gives up the answer along `old` then.
    fn recv_instead(
        &mut self,
        old: &Route,
        now: Instant,
        io: &mut SocketPort<'_>,
    ) -> Result<Self::Received, RecvRefusal>;
}

impl<R: protocol::ProtocolPair> AnsweringProtocol for protocol::Responder<R> {
    fn give_up(&mut self, route: &Route, io: &mut SocketPort<'_>) {
        Self::give_up(self, route, io);
    }

    fn recv_instead(
        &mut self,
        old: &Route,
        now: Instant,
        io: &mut SocketPort<'_>,
    ) -> Result<Self::Received, RecvRefusal> {
        Self::recv_instead(self, old, now, io)
    }
}

/// What runs in a socket of a role.
pub(crate) trait Engine: Sized + 'static {
    /// The protocol that it runs.
    type Protocol: Configured;

    /// The name of its sockets in `Debug`.
    const NAME: &'static str;
}

/// A protocol that is made from options, and changed by them.
pub(crate) trait Configured: Protocol {
    /// Makes the protocol, with these options.
    fn with_options(options: &Options) -> Self;

    /// Applies options that are set later.
    fn follow(&mut self, _options: &Options, _port: &mut SocketPort<'_>) {}
}

/// A socket of this role has `send` and its other forms.
#[derive(Debug)]
pub enum CanSend {}

/// A socket of this role has no `send`: it only receives, or what it sends belongs to a request or a survey.
#[derive(Debug)]
pub enum NoSend {}

/// A socket of this role has `recv` and its other forms, which yield `T`.
#[derive(Debug)]
pub struct CanRecv<T>(PhantomData<T>);

/// A socket of this role has no `recv`: it only sends, or what it receives belongs to a request or a survey.
#[derive(Debug)]
pub enum NoRecv {}

/// The role of a [`Pair`](crate::Pair).
#[derive(Debug)]
pub enum Pair {}

/// The role of a [`Pair1`](crate::Pair1).
#[derive(Debug)]
pub enum Pair1 {}

/// The role of a [`PolyPair1`](crate::PolyPair1).
#[derive(Debug)]
pub enum PolyPair1 {}

/// The role of a [`Req`](crate::Req).
#[derive(Debug)]
pub enum Req {}

/// The role of a [`Rep`](crate::Rep).
#[derive(Debug)]
pub enum Rep {}

/// The role of a [`Push`](crate::Push).
#[derive(Debug)]
pub enum Push {}

/// The role of a [`Pull`](crate::Pull).
#[derive(Debug)]
pub enum Pull {}

/// The role of a [`Pub`](crate::Pub).
#[derive(Debug)]
pub enum Pub {}

/// The role of a [`Sub`](crate::Sub).
#[derive(Debug)]
pub enum Sub {}

/// The role of a [`Surveyor`](crate::Surveyor).
#[derive(Debug)]
pub enum Surveyor {}

/// The role of a [`Respondent`](crate::Respondent).
#[derive(Debug)]
pub enum Respondent {}

/// The role of a [`Bus`](crate::Bus).
#[derive(Debug)]
pub enum Bus {}

/// The role of a [`raw`](crate::raw) socket: `raw::Req` is short for `Socket<Raw<role::Req>>`.
#[derive(Debug)]
pub struct Raw<R>(PhantomData<R>);

/// Says of each role which name and which protocol its sockets have ([`Engine`]), and what they can do:
/// [`Role`], [`Sends`] and [`Receives`] where they have the calls, [`Converses`] where they have contexts,
/// [`Asks`] and [`Answers`] by what these contexts do, and [`Forwards`] where a device takes them, with its
/// other socket.
///
/// A macro, since [`Gives`], [`Takes`], [`TakesIn`] and [`AnswersAsked`] must be implemented for each role by
/// itself.
macro_rules! roles {
    (@NoSend $role:ty) => {};
    (@CanSend $role:ty) => {
        impl Sends for $role {}

        impl Gives for $role {
            fn give(
                core: &Core<Self::Protocol>,
                patience: Patience,
                message: Message,
            ) -> Result<(), SendError> {
                send::give::<Self>(core, patience, message)
            }
        }
    };
    (@NoRecv $role:ty) => {};
    (@CanRecv $role:ty, $item:ty) => {
        impl Receives for $role {
            type Item = $item;
        }

        impl Takes<$item> for $role {
            fn take(core: &Handle<Self::Protocol>, patience: Patience) -> Result<$item, RecvError> {
                recv::take::<Self>(core, patience)
            }
        }
    };
    (@Asking $role:ty) => {
        impl Asks for $role {}
    };
    (@Answering $role:ty) => {
        impl Answers for $role {}

        impl AnswersAsked for $role {
            fn answer(
                core: &Core<Self::Protocol>,
                route: &Route,
                answer: Message,
                patience: Patience,
            ) -> Result<(), SendError> {
                core.send(protocol::Interest::SEND, patience, route, answer)
            }
        }
    };
    (@Filtering $role:ty) => {};
    ($(
        $name:literal $role:ty = $protocol:ty:
        $send:ident, $recv:ident $(<$item:ty>)? $(, $kind:ident)? $(=> $partner:ty)?;
    )*) => {$(
        impl Engine for $role {
            type Protocol = $protocol;

            const NAME: &'static str = $name;
        }

        impl Role for $role {
            type Send = $send;
            type Recv = $recv $(<$item>)?;
        }

        roles!(@$send $role);
        roles!(@$recv $role $(, $item)?);

        $(
            impl Converses for $role {
                type Kind = $kind;
            }

            impl TakesIn<$kind> for $role {
                fn take(
                    core: &Core<Self::Protocol>,
                    shared: &Shared<$kind>,
                    patience: Patience,
                ) -> Result<Message, RecvError> {
                    context::take(core, shared, <Self as Opens<$kind>>::RECEIVERS, patience)
                }
            }

            roles!(@$kind $role);
        )?

        $(
            impl Forwards for $role {
                type Partner = $partner;
            }
        )?
    )*};
}

roles! {
    "Pair" Pair = protocol::Pair: CanSend, CanRecv<Message>;
    "Pair1" Pair1 = protocol::Pair1: CanSend, CanRecv<Message>;
    "PolyPair1" PolyPair1 = protocol::Polyamorous: CanSend, CanRecv<Message>;
    "Req" Req = protocol::Req: NoSend, NoRecv, Asking;
    "Rep" Rep = protocol::Responder<protocol::ToRequests>: NoSend, CanRecv<Asked<Rep>>, Answering;
    "Push" Push = protocol::Push: CanSend, NoRecv;
    "Pull" Pull = protocol::Pull: NoSend, CanRecv<Message>;
    "Pub" Pub = protocol::Pub: CanSend, NoRecv;
    "Sub" Sub = protocol::Sub: NoSend, CanRecv<Message>, Filtering;
    "Surveyor" Surveyor = protocol::Surveyor: NoSend, NoRecv, Asking;
    "Respondent" Respondent = protocol::Responder<protocol::ToSurveys>:
        NoSend, CanRecv<Asked<Respondent>>, Answering;
    "Bus" Bus = protocol::Bus: CanSend, CanRecv<Message>;

    "Pair" Raw<Pair> = protocol::Raw<protocol::Pair>: CanSend, CanRecv<Message> => Self;
    "Pair1" Raw<Pair1> = protocol::Raw<protocol::Pair1>: CanSend, CanRecv<Message> => Self;
    "Req" Raw<Req> = protocol::RawReq: CanSend, CanRecv<Message> => Raw<Rep>;
    "Rep" Raw<Rep> = protocol::RawResponder<protocol::ToRequests>:
        CanSend, CanRecv<Message> => Raw<Req>;
    "Push" Raw<Push> = protocol::Raw<protocol::Push>: CanSend, NoRecv => Raw<Pull>;
    "Pull" Raw<Pull> = protocol::Raw<protocol::Pull>: NoSend, CanRecv<Message> => Raw<Push>;
    "Pub" Raw<Pub> = protocol::Raw<protocol::Pub>: CanSend, NoRecv => Raw<Sub>;
    "Sub" Raw<Sub> = protocol::Raw<protocol::RawSub>: NoSend, CanRecv<Message> => Raw<Pub>;
    "Surveyor" Raw<Surveyor> = protocol::RawSurveyor: CanSend, CanRecv<Message> => Raw<Respondent>;
    "Respondent" Raw<Respondent> = protocol::RawResponder<protocol::ToSurveys>:
        CanSend, CanRecv<Message> => Raw<Surveyor>;
    "Bus" Raw<Bus> = protocol::Raw<protocol::Bus>: CanSend, CanRecv<Message> => Self;
}
