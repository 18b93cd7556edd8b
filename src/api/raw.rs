//! Raw sockets: the protocols without their conversations, for devices and for protocols built on them.
//!
//! A raw socket talks to the same peers as the socket of the same name and routes in the same way, but keeps
//! no state of requests, surveys or subscriptions. The protocol header of a received message is its
//! [`header`](crate::Message::header), and a message to be sent needs one
//! ([`with_header`](crate::Message::with_header)).
//!
//! The rules in full: [semantics, 5.3](crate::spec::semantics#53-raw),
//! [semantics, 9.3](crate::spec::semantics#93-raw) and
//! [semantics, 10](crate::spec::semantics#10-raw-sockets).
//!
//! | socket | header received | header to send | who gets it |
//! |---|---|---|---|
//! | `Pair`, `Push`, `Pull`, `Pub`, `Sub` | none | none | as without `raw`; `Sub` receives everything |
//! | `Pair1` | hop count, 4 bytes | the same, below 255; the socket adds one | the peer |
//! | `Bus` | pipe, 4 bytes | none, or a pipe | all but that pipe |
//! | `Req` | backtrace | backtrace | one peer, balanced |
//! | `Surveyor` | backtrace | backtrace | all |
//! | `Rep`, `Respondent` | pipe and backtrace | the same | that pipe |
//!
//! A backtrace has one word of 4 bytes for each hop and one for the request; the last has its top bit set. A
//! send checks only that it consists of whole words, at least one. `Rep` and `Respondent` never wait: a message
//! that cannot be delivered is dropped and counted, so that one slow client does not hold up all others. They receive
//! nothing from a peer whose send queue has no room for an answer.
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
//! Raw sockets have no contexts, and a raw SUB has nothing to subscribe to:
//!
//! ```compile_fail,E0599
//! # // C192, C159.
//! sinew::raw::Req::new().context();
//! ```
//! ```compile_fail,E0599
//! sinew::raw::Sub::new().subscribe("topic");
//! ```

use super::prelude::*;
use super::role::Raw;
use crate::protocol::RawForm;

/// A raw PAIR v0. Behaves as [`Pair`](crate::Pair).
pub type Pair = Socket<Raw<role::Pair>, CanSend, CanRecv<Message>>;

/// A raw PAIR v1. The header is the count of hops.
pub type Pair1 = Socket<Raw<role::Pair1>, CanSend, CanRecv<Message>>;

/// A raw PUSH. Behaves as [`Push`](crate::Push).
pub type Push = Socket<Raw<role::Push>, CanSend, NoRecv>;

/// A raw PULL. Behaves as [`Pull`](crate::Pull).
pub type Pull = Socket<Raw<role::Pull>, NoSend, CanRecv<Message>>;

/// A raw PUB. Behaves as [`Pub`](crate::Pub).
pub type Pub = Socket<Raw<role::Pub>, CanSend, NoRecv>;

/// A raw SUB: receives everything, and has nothing to subscribe to.
pub type Sub = Socket<Raw<role::Sub>, NoSend, CanRecv<Message>>;

/// A raw BUS. The header says from which pipe a message came, and to which one not to send it.
pub type Bus = Socket<Raw<role::Bus>, CanSend, CanRecv<Message>>;

/// A raw REQ: sends each request as it is to one peer, and receives replies as they come.
pub type Req = Socket<Raw<role::Req>, CanSend, CanRecv<Message>>;

/// A raw REP: the header of a request is the header of its reply.
pub type Rep = Socket<Raw<role::Rep>, CanSend, CanRecv<Message>>;

/// A raw SURVEYOR: sends surveys as they are to all, and receives answers without a deadline.
pub type Surveyor = Socket<Raw<role::Surveyor>, CanSend, CanRecv<Message>>;

/// A raw RESPONDENT: the header of a survey is the header of its answer.
pub type Respondent = Socket<Raw<role::Respondent>, CanSend, CanRecv<Message>>;

/// The raw form of a protocol that has the same pipes and queues.
impl<P: RawForm + Configured> Configured for protocol::Raw<P> {
    fn with_options(options: &Options) -> Self {
        Self::new(P::with_options(options))
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.protocol().follow(options, port);
    }
}

impl Configured for protocol::RawReq {
    fn with_options(_: &Options) -> Self {
        Self::new()
    }
}

impl Configured for protocol::RawSurveyor {
    fn with_options(options: &Options) -> Self {
        Self::new(options.overflow_of(&Self::KIND))
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.set_overflow(options.overflow_of(&Self::KIND), port);
    }
}

impl<R: protocol::ProtocolPair> Configured for protocol::RawResponder<R> {
    fn with_options(options: &Options) -> Self {
        Self::new(options.settings().ttl)
    }

    fn follow(&mut self, options: &Options, _: &mut SocketPort<'_>) {
        self.set_ttl(options.settings().ttl);
    }
}
