//! sinew: brokerless messaging with the nanomsg scalability protocols.
//!
//! A program links the crate, opens a socket that speaks one of the protocols, and talks to peers in
//! other threads, processes and machines, in Rust or in any language that has nanomsg, NNG or mangos.
//! There is no broker to run and no context to create.
//!
//! ```
//! use std::time::Duration;
//!
//! let rep = sinew::Rep::new();
//! let endpoint = rep.bind("tcp://127.0.0.1:0")?;
//! std::thread::spawn(move || {
//!     while let Ok(request) = rep.recv() {
//!         request.reply("42").expect("the socket is open");
//!     }
//! });
//!
//! let req = sinew::Req::new();
//! req.connect(&endpoint.url())?; // returns at once, retries for ever
//! req.wait_for_peers(1, Duration::from_secs(5))?; // no sleeping for slow joiners
//! assert_eq!(req.request("what is the answer?")?, "42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Sockets
//!
//! | type | speaks to | does |
//! |---|---|---|
//! | [`Pair`] | one [`Pair`] | messages both ways |
//! | [`Pair1`] | one [`Pair1`] | the same, with a count of hops |
//! | [`PolyPair1`] | any number of [`Pair1`] | messages both ways, each to a peer by name |
//! | [`Req`] | any number of [`Rep`] | requests, balanced; each gets its reply |
//! | [`Rep`] | any number of [`Req`] | receives requests, answers each once |
//! | [`Push`] | any number of [`Pull`] | work, balanced; waits until somebody can take it |
//! | [`Pull`] | any number of [`Push`] | receives work |
//! | [`Pub`] | all its [`Sub`] | news to all; never waits |
//! | [`Sub`] | any number of [`Pub`] | receives what begins with a topic |
//! | [`Bus`] | all its [`Bus`] | a message to all, from all; never waits |
//! | [`Surveyor`] | all its [`Respondent`] | one question to all, answers until a deadline |
//! | [`Respondent`] | any number of [`Surveyor`] | receives surveys, answers or not |
//!
//! Sockets are handles: `Clone + Send + Sync`, every call takes `&self`, dropping the last one closes.
//! Every operation comes as a blocking call with the socket's timeout, as `try_…`, as `…_timeout` and
//! as `…_async` (a plain future that needs no runtime), with the same meaning.
//!
//! The sockets in [`raw`] show the protocol's header and keep no conversations; a [`Device`] forwards
//! between two of them.
//!
//! # Addresses
//!
//! | scheme | example | |
//! |---|---|---|
//! | `tcp` | `tcp://127.0.0.1:5555`, `tcp://*:0`, `tcp://[::1]:5555`, `tcp://host:5555` | between machines |
//! | `ipc` | `ipc:///run/name.sock` | between processes, unix domain sockets |
//! | `inproc` | `inproc://name` | inside the process, without the I/O thread |
//!
//! A program can add transports of its own: [`transport`].
//!
//! # What happens to a message
//!
//! A message that was accepted is delivered, or it is queued, or it is counted under the reason for
//! which it was dropped ([`DropReason`]); [`Stats::check_conservation`] checks it. Only REQ repeats
//! what is lost; everything else that is in a connection when it breaks is gone, unless a PUSH is told
//! to give what was still queued to another peer ([`Options::requeue`]). Nothing is delivered
//! in part, and what comes over one pipe comes in the order in which it was sent.
//!
//! # Threads
//!
//! A protocol runs in the thread that calls, under its socket's lock; that thread also writes to the
//! kernel when the connection is idle. One I/O thread, started by the first `bind` or `connect`, reads,
//! accepts, connects, and writes what a caller could not. A program that has to read more than one core
//! can may have several ([`Runtime`]).
//!
//! # Features
//!
//! | feature | by default | |
//! |---|---|---|
//! | `cli` | off | builds the command-line tool `sinewcat` (on Unix); changes nothing in the library |
//! | `serde` | off | `serde::Serialize` for what sockets tell: [`Stats`], [`PeerStatus`], [`EndpointStatus`], [`PipeEvent`], [`metrics::Snapshot`] and what is in them |

#![deny(unsafe_code)]

mod address;
mod error;
#[doc(hidden)]
#[cfg(all(feature = "__internals", not(loom)))]
pub mod internals;
mod leader;
mod message;
pub mod metrics;
mod numbered;
mod options;
mod pipe;
mod protocol;
mod reactor;
mod resolve;
mod ring;
mod runtime;
#[cfg(feature = "serde")]
mod serial;
mod signal;
mod socket;
mod stats;
mod sync;
pub mod transport;
mod tuning;
mod wire;

pub use error::{
    AddressError, AttemptError, BindError, ConnectError, HeaderError, OptionError, RecvError,
    RequestError, RuntimeError, SendError, UnsubscribeError, WaitError,
};
pub use message::{Message, PipeId};
pub use options::{EndpointOptions, Options, Overflow};
pub use protocol::ProtocolId;
pub use runtime::{Runtime, RuntimeBuilder};
pub use socket::device::{Device, DeviceError, DeviceHandle};
pub use socket::{
    Bus, Closed, DetachReason, Endpoint, EndpointId, EndpointState, EndpointStatus, Events,
    NoSuchPipe, Pair, Pair1, Peer, PeerStatus, PipeEvent, PipeEventKind, PolyPair1, Pub, Pull,
    Push, Question, QueueStatus, Rep, RepContext, ReplyError, Req, ReqContext, Request, Respondent,
    RespondentContext, Sub, SubContext, Survey, Surveyor, SurveyorContext, device, raw,
};
pub use stats::{DropReason, Stats};
pub use transport::PeerCredentials;

/// Iterators over what sockets receive: made by their `iter`, `try_iter` and `into_iter`.
pub mod iter {
    pub use crate::socket::iter::{IntoIter, Iter, TryIter};
}

/// The bodies of the fuzz targets; what they check stands beside the code they exercise.
#[doc(hidden)]
#[cfg(fuzzing)]
#[allow(missing_docs)]
pub mod fuzzing {
    use crate::wire::{
        frame::{self, Framing},
        header,
    };

    pub fn header(data: &[u8]) {
        header::fuzz(data);
    }

    pub fn frame_length(data: &[u8]) {
        frame::fuzz(Framing::Length, data);
    }

    pub fn frame_type_length(data: &[u8]) {
        frame::fuzz(Framing::TypeAndLength, data);
    }
}

/// The programs in the README are compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
