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
//! req.connect(endpoint.url())?; // returns at once, retries for ever
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
//! Sending, receiving and asking come as a blocking call with the socket's timeout, as `…_timeout` and as
//! `…_async` (a plain future that needs no runtime), sending and receiving as `try_…` besides, all with the
//! same meaning. What receives can also be iterated over: `for message in &pull`, `pull.iter()`,
//! `pull.try_iter()` ([`iter`]).
//!
//! With the feature `futures` they are streams and sinks besides. A [`Poller`] waits for many sockets in
//! one thread, and a [`Readiness`] is a descriptor for an event loop that exists.
//!
//! The sockets in [`raw`] show the protocol's header and keep no conversations; a [`Device`] forwards
//! between two of them.
//!
//! # The six patterns
//!
//! Which of the two sides binds and which connects is free, in each of them; so is the number of
//! endpoints of a socket, and who starts first.
//!
//! ## PAIR: one to one
//!
//! Two programs talk, each says what it likes when it likes. A second peer is turned away; without one a
//! send waits.
//!
//! ```text
//!     +------+                       +------+
//!     | Pair | <-------------------> | Pair |
//!     +------+   messages both ways  +------+
//! ```
//!
//! ```
//! let (left, right) = (sinew::Pair::new(), sinew::Pair::new());
//! left.bind("inproc://front-pair")?;
//! right.connect("inproc://front-pair")?;
//! left.send("ping")?;
//! assert_eq!(right.recv()?, "ping");
//! right.send("pong")?;
//! assert_eq!(left.recv()?, "pong");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## REQ/REP: ask one of many
//!
//! Each request goes to one server, in turn, and gets one reply. If the connection is lost it is asked
//! again, elsewhere perhaps. Any number of threads may share one `Req`.
//!
//! ```text
//!                  "what is 6 * 7?"    +-----+
//!                +-------------------> | Rep |
//!     +-----+    | <------------------ +-----+
//!     | Req | ---+        "42"
//!     +-----+    |                     +-----+
//!                +-------------------> | Rep |   has the next request
//!                                      +-----+
//! ```
//!
//! ```
//! let (req, rep) = (sinew::Req::new(), sinew::Rep::new());
//! rep.bind("inproc://front-reqrep")?;
//! req.connect("inproc://front-reqrep")?;
//! std::thread::spawn(move || {
//!     for request in &rep {
//!         request.reply("42").expect("the socket is open"); // a request is answered at most once
//!     }
//! });
//! assert_eq!(req.request("what is 6 * 7?")?, "42");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## PUSH/PULL: hand out work
//!
//! Each message goes to one worker that has room for it. With nobody there, or all of them busy, the send
//! waits: work is not dropped for want of room, unless [`Options::overflow`] says so.
//!
//! ```text
//!                          job 1     +------+
//!                +-----------------> | Pull |
//!     +------+   |         job 2     +------+
//!     | Push | --+-----------------> | Pull |
//!     +------+   |         job 3     +------+
//!                +-----------------> | Pull |
//!                                    +------+
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! let push = sinew::Push::new();
//! push.bind("inproc://front-pipeline")?;
//! let workers = [sinew::Pull::new(), sinew::Pull::new(), sinew::Pull::new()];
//! for worker in &workers {
//!     worker.connect("inproc://front-pipeline")?;
//! }
//! push.wait_for_peers(3, Duration::from_secs(5))?; // or the first to come gets it all
//! for job in ["job 1", "job 2", "job 3"] {
//!     push.send(job)?;
//! }
//! let mut jobs = Vec::new();
//! for worker in &workers {
//!     jobs.push(worker.recv()?.to_string()); // one each, since they are equally free
//! }
//! jobs.sort();
//! assert_eq!(jobs, ["job 1", "job 2", "job 3"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## PUB/SUB: news for all
//!
//! Each message goes to all that are there, and each takes what begins with a topic of theirs. Who is slow
//! loses the oldest, who comes later has missed it: a send never waits.
//!
//! ```text
//!                                      +-----+
//!                +-------------------> | Sub |   subscribed to "weather."
//!     +-----+    |  "weather.sunny"    +-----+
//!     | Pub | ---+
//!     +-----+    |  "weather.sunny"    +-----+
//!                +-------------------> | Sub |   subscribed to "traffic.": does not see it
//!                                      +-----+
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! let (publisher, weather, traffic) = (sinew::Pub::new(), sinew::Sub::new(), sinew::Sub::new());
//! publisher.bind("inproc://front-pubsub")?;
//! weather.subscribe("weather.")?;
//! traffic.subscribe("traffic.")?;
//! for subscriber in [&weather, &traffic] {
//!     subscriber.connect("inproc://front-pubsub")?;
//! }
//! publisher.wait_for_peers(2, Duration::from_secs(5))?;
//! publisher.send("weather.sunny")?;
//! assert_eq!(weather.recv()?, "weather.sunny");
//! assert!(traffic.try_recv().is_err());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## SURVEY: ask all
//!
//! One question to all that are there; what they answer counts until a deadline. Nobody has to, so this is
//! how to find out who is there.
//!
//! ```text
//!                   "who is there?"    +------------+
//!                +-------------------> | Respondent |   "ann"
//!                | <------------------ +------------+
//!  +----------+  |
//!  | Surveyor |--+-------------------> +------------+
//!  +----------+  | <------------------ | Respondent |   "ben"
//!                |                     +------------+
//!                +-------------------> | Respondent |   does not answer
//!                                      +------------+
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! let options = sinew::Options::new().survey_deadline(Duration::from_millis(200));
//! let surveyor = sinew::Surveyor::with_options(options)?;
//! surveyor.bind("inproc://front-survey")?;
//! for name in ["ann", "ben"] {
//!     let respondent = sinew::Respondent::new();
//!     respondent.connect("inproc://front-survey")?;
//!     std::thread::spawn(move || {
//!         for question in &respondent {
//!             question.reply(name).expect("the socket is open");
//!         }
//!     });
//! }
//! surveyor.wait_for_peers(2, Duration::from_secs(5))?; // who comes later is not asked
//! let mut answers: Vec<String> =
//!     surveyor.survey("who is there?")?.map(|answer| answer.to_string()).collect();
//! answers.sort();
//! assert_eq!(answers, ["ann", "ben"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## BUS: everybody to everybody
//!
//! What one says goes to all it is directly connected to, not to itself and not further. Nobody passes
//! anything on. A slow peer misses it: a send never waits.
//!
//! ```text
//!     +-----+                 +-----+
//!     | Bus | <-------------> | Bus |
//!     +-----+                 +-----+
//!         ^                      ^
//!         |        +-----+       |
//!         +------> | Bus | <-----+
//!                  +-----+
//! ```
//!
//! ```
//! use std::time::Duration;
//!
//! let [a, b, c] = [sinew::Bus::new(), sinew::Bus::new(), sinew::Bus::new()];
//! a.bind("inproc://front-bus-a")?;
//! b.bind("inproc://front-bus-b")?;
//! b.connect("inproc://front-bus-a")?;
//! c.connect("inproc://front-bus-a")?;
//! c.connect("inproc://front-bus-b")?;
//! for bus in [&a, &b, &c] {
//!     bus.wait_for_peers(2, Duration::from_secs(5))?;
//! }
//! a.send("a is here")?;
//! assert_eq!(b.recv()?, "a is here");
//! assert_eq!(c.recv()?, "a is here");
//! assert!(a.try_recv().is_err()); // not to itself
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
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
//! At the end of a program, `drain(timeout)` waits until all that was sent is with the kernel, and says how
//! much is not. `close`, and the drop of a socket's last handle, give the kernel what it takes within a moment
//! (25 ms at most) and drop the rest, counted. A handle that is alive when the process ends (in another thread,
//! in a `static`, in a variable at `std::process::exit`) closes nothing: what is queued then is lost.
//!
//! # What a socket tells
//!
//! At any time, of any socket, and without holding up the messages: [`Endpoint::status`] says whether it is
//! connected and if not why, `peers()` who is there and what waits for them, `events()` who comes and goes,
//! `stats()` what was done and what was dropped for which reason. [`metrics`] writes all that as a page for
//! monitoring systems, and takes sockets of any type ([`metrics::Observe`]).
//!
//! The `log` crate gets records with the socket's name and the peer: at level debug who comes and goes, who is
//! refused, attempts that fail, and of each peer the first message that is dropped for a reason, later ones
//! only being counted; at warn and error what the program should know. None is written with the lock of a socket
//! held, so a logger may look at sockets and send on them, the one it writes about included. It must not
//! wait for one: some records are written by the I/O thread.
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
//! | `futures` | off | `stream` of what receives and `sink` of what sends: `futures_core::Stream` and `futures_sink::Sink` |
//! | `serde` | off | `serde::Serialize` for what sockets tell: [`Stats`], [`PeerStatus`], [`EndpointStatus`], [`PipeEvent`], [`metrics::Snapshot`], [`device::DeviceStats`] and what is in them |
//!
//! # Versions
//!
//! Types of two other crates are part of this interface: `Bytes` and `BytesMut` of [`bytes`] 1 (what a
//! [`Message`] is made of), and `mio::event::Source` of [`mio`] 1 (what a [`transport`] has polled). With the
//! feature `serde` there is `Serialize` of `serde` 1, with `futures` there are `Stream` of `futures-core` 0.3
//! and `Sink` of `futures-sink` 0.3. A new incompatible version of one of them is one of this crate. Enums and
//! structs that may grow are `#[non_exhaustive]`.

#![deny(unsafe_code)]
// Labels what needs a feature, where the documentation is built with `--cfg docsrs`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod api;
mod body;
mod contain;
#[cfg(any(doc, doctest))]
pub mod cookbook;
mod detach;
mod error;
mod inproc;
mod interest;
#[doc(hidden)]
#[cfg(all(sinew_internals, not(loom)))]
pub mod internals;
mod io;
mod message;
mod number_map;
mod options;
mod peer;
mod pipe;
mod protocol;
mod protocol_id;
mod random;
mod ring;
#[cfg(test)]
#[path = "../tests/kit/rounds.rs"]
mod rounds;
mod runtime;
#[cfg(feature = "serde")]
mod serial;
mod signal;
mod socket;
#[cfg(doc)]
pub mod spec;
mod stats;
mod sync;
mod sys;
pub mod transport;
mod tuning;
mod verdict;
mod wire;

pub use api::device::{Device, DeviceError, DeviceHandle};
pub use api::poller::{KeyInUse, NoSuchKey, PollRecv, PollSend, Poller};
pub use api::{
    AnySocket, Asked, Bus, Context, Pair, Pair1, PolyPair1, Pub, Pull, Push, Question, Rep,
    RepContext, ReplyError, Replying, Req, ReqContext, Request, Requesting, Respondent,
    RespondentContext, Sending, SendingAnswer, SendingTo, SendsAsync, Socket, Sub, SubContext,
    Survey, Surveyor, SurveyorContext, device, metrics, raw, role,
};
#[cfg(feature = "futures")]
pub use api::{RecvStream, SendSink};
pub use detach::DetachReason;
pub use error::{
    AddressError, AttemptError, BindError, Closed, ConnectError, HeaderError, NoSuchPipe,
    OptionError, RecvError, RequestError, RuntimeError, SendError, Situation, UnsubscribeError,
    WaitError,
};
pub use message::{Message, PipeId};
pub use options::{Conflate, EndpointOptions, Options, Overflow};
pub use peer::{
    EndpointId, EndpointState, EndpointStatus, Peer, PeerCredentials, PeerStatus, QueueStatus,
};
pub use pipe::endpoint::Endpoint;
pub use protocol_id::ProtocolId;
pub use runtime::{Runtime, RuntimeBuilder};
pub use socket::{Events, PipeEvent, PipeEventKind, Readiness};
pub use stats::{DropReason, Stats};

/// Iterators over what sockets receive: made by their `iter`, `try_iter` and `into_iter`.
pub mod iter {
    pub use crate::api::iter::{IntoIter, Iter, Iterated, TryIter};
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
