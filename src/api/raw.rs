//! Raw sockets: the protocols without their conversations, for devices and for those who build their own.
//!
//! A raw socket talks to the same peers as the socket of the same name and routes in the same way, but
//! keeps no state of a request, a survey or a subscription: what came before the body is the message's
//! [`header`](crate::Message::header), and to send, a header is wanted
//! ([`with_header`](crate::Message::with_header)). Source: semantics specification, sections 5.3, 9.3,
//! 10.
//!
//! | socket | header received | header to send | who gets it |
//! |---|---|---|---|
//! | `Pair`, `Push`, `Pull`, `Pub`, `Sub` | none | none | as without `raw`; `Sub` receives everything |
//! | `Pair1` | hop count, 4 bytes | the same, below 255: it grows by one | the peer |
//! | `Bus` | pipe, 4 bytes | none, or a pipe | all but that pipe |
//! | `Req` | backtrace | backtrace | one peer, in turn |
//! | `Surveyor` | backtrace | backtrace | all |
//! | `Rep`, `Respondent` | pipe and backtrace | the same | that pipe |
//!
//! A backtrace is one word of 4 bytes for each hop and one for the request; the last has its top bit
//! set. It is not checked when sent, but for being whole words and at least one. `Rep` and
//! `Respondent` never wait: what cannot be delivered is dropped and counted, so that one slow client
//! does not hold up all others.
//!
//! ```
//! use sinew::{Req, raw};
//!
//! let (req, rep) = (Req::new(), raw::Rep::new());
//! rep.bind("inproc://raw-doc")?;
//! req.connect("inproc://raw-doc")?;
//! let answering = std::thread::spawn(move || {
//!     let request = rep.recv().unwrap();
//!     assert_eq!(request.header().len(), 8); // the pipe and the request's id
//!     rep.send(sinew::Message::from("42").with_header(request.header().clone())).unwrap();
//! });
//! assert_eq!(req.request("what is the answer?")?, "42");
//! # answering.join().unwrap();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Raw sockets have no contexts (C192), and a raw SUB has nothing to subscribe to (C159):
//!
//! ```compile_fail,E0599
//! sinew::raw::Req::new().context();
//! ```
//! ```compile_fail,E0599
//! sinew::raw::Sub::new().subscribe("topic");
//! ```

use super::prelude::*;
use super::{ONLY_RECV, ONLY_SEND};

/// One raw socket; `$calls` are the macros of what it can do.
macro_rules! raw_socket {
    ($(#[$doc:meta])* $socket:ident, $protocol:ty, $new:expr, $apply:expr; $($can:ident),*) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $socket {
            pub(in crate::api) core: Handle<$protocol>,
        }

        socket_calls!($socket, $protocol, $new, $apply);
        $(raw_socket!(@$can $socket);)*
    };
    (@sends $socket:ident) => {
        send_calls!($socket, |message: &Message| message.header().clone());
    };
    (@receives $socket:ident) => {
        recv_calls!($socket);
    };
}

type RawOf<P> = protocol::Raw<P>;

raw_socket! {
    /// A raw PAIR v0. Behaves as [`Pair`](crate::Pair).
    Pair, RawOf<protocol::Pair>, |_| RawOf::new(protocol::Pair::new()), |_, _, _| (); sends, receives
}

raw_socket! {
    /// A raw PAIR v1. The header is the count of hops.
    Pair1, RawOf<protocol::Pair1>,
    |options| RawOf::new(protocol::Pair1::new(options.get_ttl())),
    |pair, options, _| pair.protocol().set_ttl(options.get_ttl()); sends, receives
}

raw_socket! {
    /// A raw PUSH. Behaves as [`Push`](crate::Push).
    Push, RawOf<protocol::Push>,
    |options| RawOf::new(protocol::Push::new(options.overflow_of(&protocol::Push::KIND))),
    |push, options, _| push.protocol().set_overflow(options.overflow_of(&protocol::Push::KIND)); sends
}

raw_socket! {
    /// A raw PULL. Behaves as [`Pull`](crate::Pull).
    Pull, RawOf<protocol::Pull>, |_| RawOf::new(protocol::Pull::new()), |_, _, _| (); receives
}

raw_socket! {
    /// A raw PUB. Behaves as [`Pub`](crate::Pub).
    Pub, RawOf<protocol::Pub>,
    |options| {
        let overflow = options.overflow_of(&protocol::Pub::KIND);
        RawOf::new(protocol::Pub::new(overflow, options.conflating()))
    },
    |publisher, options, port| {
        publisher.protocol().set_conflating(options.conflating(), port);
        publisher.protocol().set_overflow(options.overflow_of(&protocol::Pub::KIND), port);
    }; sends
}

raw_socket! {
    /// A raw SUB: receives everything, and has nothing to subscribe to.
    Sub, RawOf<protocol::RawSub>, |_| RawOf::new(protocol::RawSub::new()), |_, _, _| (); receives
}

raw_socket! {
    /// A raw BUS. The header says where a message came from, and where it is not to go.
    Bus, RawOf<protocol::Bus>,
    |options| RawOf::new(protocol::Bus::new(options.overflow_of(&protocol::Bus::KIND))),
    |bus, options, port| {
        bus.protocol().set_overflow(options.overflow_of(&protocol::Bus::KIND), port);
    };
    sends, receives
}

raw_socket! {
    /// A raw REQ: requests go out as they are, each to one peer, and replies come in as they come.
    Req, protocol::RawReq, |_| protocol::RawReq::new(), |_, _, _| (); sends, receives
}

raw_socket! {
    /// A raw REP: the header of a request is the header of its reply.
    Rep, protocol::RawAnswerer<protocol::ToRequests>,
    |options| protocol::RawAnswerer::new(options.get_ttl()),
    |rep, options, _| rep.set_ttl(options.get_ttl()); sends, receives
}

raw_socket! {
    /// A raw SURVEYOR: surveys go out as they are, to all, and answers come in without an end.
    Surveyor, protocol::RawSurveyor,
    |options| protocol::RawSurveyor::new(options.overflow_of(&protocol::RawSurveyor::KIND)),
    |surveyor, options, port| {
        surveyor.set_overflow(options.overflow_of(&protocol::RawSurveyor::KIND), port);
    };
    sends, receives
}

raw_socket! {
    /// A raw RESPONDENT: the header of a survey is the header of its answer.
    Respondent, protocol::RawAnswerer<protocol::ToSurveys>,
    |options| protocol::RawAnswerer::new(options.get_ttl()),
    |respondent, options, _| respondent.set_ttl(options.get_ttl()); sends, receives
}
