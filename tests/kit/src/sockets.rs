//! Every role of a socket in one list, and what a test wants to know of each.
//!
//! A test over several sockets is a function over roles, `fn check<R: Listed>()`, and works with a
//! `Socket<R>`. `every_socket!(check)` is an array of `check::<role::Pair>`, `check::<Raw<role::Pair>>` and so
//! on, to be given to [`one_by_one`] or [`at_once`]; likewise `every_sender!`, `every_receiver!` and
//! `every_conversant!`, those that have contexts.

use std::fmt::Debug;
use std::thread;

use sinew::role::{Converses, Receives, Role, Sends};
use sinew::{Context, Message, RecvError, SendError, Socket};

use crate::{SOON, block_on};

/// What a test wants to know of a socket, by its role.
pub trait Listed: Role + Debug {
    /// The name of its sockets; that of a raw one says so.
    const NAME: &'static str;
    /// What it announces, and what its peers must announce.
    const IDS: (u8, u8);
    /// The options that not every socket has and this one has.
    const OPTIONS: &'static [&'static str];
}

/// What a test wants to know of a socket that sends.
pub trait ListedSender: Listed + Sends {
    /// Whether a send with nobody there waits; otherwise it succeeds.
    const WAITS: bool;
    /// The header without which a raw socket refuses a message.
    const HEADER: &'static [u8];

    /// `body` as a message that can be sent.
    fn message(body: &'static str) -> Message {
        Message::from(body).with_header(Self::HEADER)
    }
}

/// What a test wants to know of a socket with contexts.
pub trait ListedConversant: Listed + Converses {
    /// Does what must be done before a receive on a context can wait.
    fn begin(context: &Context<Self>);
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

/// A call that waits, by name; `S` is a socket or a context.
pub type Form<S, T> = (&'static str, fn(&S) -> T);

/// The forms of a send that wait; the one with a timeout waits for `6 * SOON`.
pub fn waiting_sends<R: ListedSender>() -> [Form<Socket<R>, Result<(), SendError>>; 3] {
    [
        ("send", |socket| socket.send(R::message("mine"))),
        ("send_timeout", |socket| socket.send_timeout(R::message("mine"), 6 * SOON)),
        ("send_async", |socket| block_on(socket.send_async(R::message("mine")))),
    ]
}

/// The forms of a receive that wait; the one with a timeout waits for `6 * SOON`. What is received is dropped.
pub fn waiting_recvs<R: Receives>() -> [Form<Socket<R>, Result<(), RecvError>>; 3] {
    [
        ("recv", |socket| socket.recv().map(drop)),
        ("recv_timeout", |socket| socket.recv_timeout(6 * SOON).map(drop)),
        ("recv_async", |socket| block_on(socket.recv_async()).map(drop)),
    ]
}

/// The same of a context.
pub fn waiting_context_recvs<R: Converses>() -> [Form<Context<R>, Result<(), RecvError>>; 3] {
    [
        ("recv", |context| context.recv().map(drop)),
        ("recv_timeout", |context| context.recv_timeout(6 * SOON).map(drop)),
        ("recv_async", |context| block_on(context.recv_async()).map(drop)),
    ]
}

macro_rules! list {
    ($list:ident: $($role:ty,)*) => {
        /// An array of a generic function, once for each of these roles.
        #[macro_export]
        macro_rules! $list {
            ($test:ident) => {
                [$($test::<$role>,)*]
            };
        }
    };
}

macro_rules! sockets {
    (cooked { $($cooked:ident: $ids:expr, $options:expr;)* }
     raw { $($raw:ident: $raw_ids:expr, $raw_options:expr;)* }) => {
        $(impl Listed for sinew::role::$cooked {
            const NAME: &'static str = stringify!($cooked);
            const IDS: (u8, u8) = $ids;
            const OPTIONS: &'static [&'static str] = &$options;
        })*
        $(impl Listed for sinew::role::Raw<sinew::role::$raw> {
            const NAME: &'static str = concat!("raw ", stringify!($raw));
            const IDS: (u8, u8) = $raw_ids;
            const OPTIONS: &'static [&'static str] = &$raw_options;
        })*
        list! { every_socket:
            $(sinew::role::$cooked,)*
            $(sinew::role::Raw<sinew::role::$raw>,)*
        }
    };
}

macro_rules! senders {
    (cooked { $($cooked:ident: $waits:expr;)* }
     raw { $($raw:ident: $raw_waits:expr, $header:expr;)* }) => {
        $(impl ListedSender for sinew::role::$cooked {
            const WAITS: bool = $waits;
            const HEADER: &'static [u8] = &[];
        })*
        $(impl ListedSender for sinew::role::Raw<sinew::role::$raw> {
            const WAITS: bool = $raw_waits;
            const HEADER: &'static [u8] = &$header;
        })*
        list! { every_sender:
            $(sinew::role::$cooked,)*
            $(sinew::role::Raw<sinew::role::$raw>,)*
        }
    };
}

macro_rules! receivers {
    (cooked { $($cooked:ident,)* } raw { $($raw:ident,)* }) => {
        list! { every_receiver:
            $(sinew::role::$cooked,)*
            $(sinew::role::Raw<sinew::role::$raw>,)*
        }
    };
}

macro_rules! conversants {
    ($($role:ident: $begin:expr;)*) => {
        $(impl ListedConversant for sinew::role::$role {
            fn begin(context: &Context<Self>) {
                let begin: fn(&Context<Self>) = $begin;
                begin(context);
            }
        })*
        list!(every_conversant: $(sinew::role::$role,)*);
    };
}

sockets! {
    cooked {
        Pair: (0x10, 0x10), [];
        Pair1: (0x11, 0x11), ["ttl"];
        PolyPair1: (0x11, 0x11), ["ttl", "overflow", "recv_priority"];
        Pub: (0x20, 0x21), ["overflow", "conflate"];
        Sub: (0x21, 0x20), ["sub_queue", "sub_queue_bytes", "prefer_new", "conflate", "recv_priority"];
        Req: (0x30, 0x31), ["resend_interval", "max_resends", "send_priority"];
        Rep: (0x31, 0x30), ["ttl", "recv_priority"];
        Push: (0x50, 0x51), ["overflow", "send_priority"];
        Pull: (0x51, 0x50), ["recv_priority"];
        Surveyor: (0x62, 0x63), ["survey_deadline", "survey_storage", "overflow"];
        Respondent: (0x63, 0x62), ["ttl", "recv_priority"];
        Bus: (0x70, 0x70), ["overflow", "recv_priority"];
    }
    raw {
        Pair: (0x10, 0x10), [];
        Pair1: (0x11, 0x11), ["ttl"];
        Pub: (0x20, 0x21), ["overflow", "conflate"];
        Sub: (0x21, 0x20), ["recv_priority"];
        Req: (0x30, 0x31), ["send_priority", "recv_priority"];
        Rep: (0x31, 0x30), ["ttl", "recv_priority"];
        Push: (0x50, 0x51), ["overflow", "send_priority"];
        Pull: (0x51, 0x50), ["recv_priority"];
        Surveyor: (0x62, 0x63), ["overflow", "recv_priority"];
        Respondent: (0x63, 0x62), ["ttl", "recv_priority"];
        Bus: (0x70, 0x70), ["overflow", "recv_priority"];
    }
}

const WAITS: bool = true;
const SUCCEEDS: bool = false;

senders! {
    cooked {
        Pair: WAITS;
        Pair1: WAITS;
        PolyPair1: WAITS;
        Push: WAITS;
        Pub: SUCCEEDS;
        Bus: SUCCEEDS;
    }
    raw {
        Pair: WAITS, [];
        Pair1: WAITS, [0, 0, 0, 1];
        Push: WAITS, [];
        Pub: SUCCEEDS, [];
        Bus: SUCCEEDS, [];
        Req: WAITS, [0x80, 0, 0, 1];
        Rep: SUCCEEDS, [0, 0, 0, 1, 0x80, 0, 0, 1];
        Surveyor: SUCCEEDS, [0x80, 0, 0, 1];
        Respondent: SUCCEEDS, [0, 0, 0, 1, 0x80, 0, 0, 1];
    }
}

receivers! {
    cooked { Pair, Pair1, PolyPair1, Pull, Sub, Bus, Rep, Respondent, }
    raw { Pair, Pair1, Pull, Sub, Bus, Req, Rep, Surveyor, Respondent, }
}

conversants! {
    Req: |context| context.send("held").expect("it is open");
    Rep: |_| ();
    Sub: |context| context.subscribe("").expect("it is open");
    Surveyor: |context| {
        context.set_survey_deadline(None).expect("in range");
        context.send("anyone?").expect("it is open");
    };
    Respondent: |_| ();
}
