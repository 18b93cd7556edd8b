//! sinew: brokerless messaging with the nanomsg scalability protocols.
//!
//! A program opens a socket that speaks one of the protocols, and talks to peers in other threads,
//! processes and machines, in Rust or in any language that has nanomsg, NNG or mangos. There is no
//! broker to run and no context to create.
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
//! req.connect(endpoint.url())?; // returns at once, and retries forever
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
//! | [`PolyPair1`] | any number of [`Pair1`] | messages both ways, each to the peer it names |
//! | [`Req`] | any number of [`Rep`] | sends requests, balanced, and gets a reply to each |
//! | [`Rep`] | any number of [`Req`] | receives requests, and answers each at most once |
//! | [`Push`] | any number of [`Pull`] | sends work, balanced; waits until a peer has room |
//! | [`Pull`] | any number of [`Push`] | receives work |
//! | [`Pub`] | any number of [`Sub`] | sends to all; never waits |
//! | [`Sub`] | any number of [`Pub`] | receives the messages that begin with one of its topics |
//! | [`Bus`] | any number of [`Bus`] | sends to all and receives from all; never waits |
//! | [`Surveyor`] | any number of [`Respondent`] | asks all, and collects answers until a deadline |
//! | [`Respondent`] | any number of [`Surveyor`] | receives surveys, and may answer each |
//!
//! Sockets are handles: they are `Clone + Send + Sync`, every call takes `&self`, and dropping the last one
//! closes the socket. Sending, receiving and asking each have a blocking call that obeys the socket's
//! timeout, a form with its own timeout (`…_timeout`), and a future that needs no runtime (`…_async`);
//! sending and receiving also have a form that does not wait (`try_…`). All forms mean the same. Sockets that
//! receive can be iterated over: `for message in &pull`, `pull.iter()`, `pull.try_iter()` ([`iter`]).
//!
//! With the feature `futures` sockets also make streams and sinks. A [`Poller`] waits for many sockets in
//! one thread, and a [`Readiness`] is a descriptor for an event loop that you already have. A program that
//! lives in tasks can have one of them do what the I/O thread does (`EventLoop`, which Windows does not have).
//!
//! The sockets in [`raw`] expose the protocol's header and keep no conversations; a [`Device`] forwards
//! between two of them.
//!
//! # The six patterns
//!
//! In every pattern either side may bind and the other connect, a socket may have any number of endpoints,
//! and either side may start first.
//!
//! ## PAIR: one to one
//!
//! Two programs send to each other whenever they like. A second peer is turned away; without a peer a send
//! waits.
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
//! Each request goes to one server, balanced over all, and gets one reply. If the connection is lost, the
//! request is sent again, perhaps to another server. Any number of threads may share one `Req`.
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
//! Each message goes to one worker that has room for it. If there is none, the send waits: work is not
//! dropped for want of room, unless [`Options::overflow`] says so.
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
//! push.wait_for_peers(3, Duration::from_secs(5))?; // else the first to connect gets all of it
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
//! ## PUB/SUB: tell all
//!
//! Each message goes to all connected subscribers, and each keeps those that begin with one of its topics.
//! A send never waits: a slow subscriber loses its oldest messages, and one that connects later misses what
//! was sent before.
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
//! A question goes to all connected peers, and their answers count until a deadline. No peer has to answer,
//! so a survey finds out who is there.
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
//! surveyor.wait_for_peers(2, Duration::from_secs(5))?; // a peer that connects later is not asked
//! let mut answers: Vec<String> =
//!     surveyor.survey("who is there?")?.map(|answer| answer.to_string()).collect();
//! answers.sort();
//! assert_eq!(answers, ["ann", "ben"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! ## BUS: everybody to everybody
//!
//! A message goes to all directly connected peers and no further: a bus forwards nothing, and does not hear
//! itself. A send never waits: a slow peer misses the message.
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
//! | `ipc` | `ipc:///run/name.sock` | between processes, Unix domain sockets |
//! | `inproc` | `inproc://name` | within the process, without an event loop |
//!
//! A program can add transports of its own: [`transport`].
//!
//! # What happens to a message
//!
//! Every message that a socket has accepted is delivered, queued, or counted under the reason for which it
//! was dropped ([`DropReason`]); [`Stats::check_conservation`] checks that. When a connection breaks, the
//! messages in it are lost, with two exceptions: REQ sends its request again, and a PUSH with
//! [`Options::requeue`] gives those that were still queued to another peer. No message is delivered in part,
//! and messages of one pipe arrive in order.
//!
//! At the end of a program, `drain(timeout)` waits until everything sent has been handed to the kernel, and
//! reports what has not. `close`, and dropping the last handle, hand the kernel what it takes at once (within
//! 25 ms), and drop and count the rest. A handle that is still alive when the process ends (in another thread,
//! in a `static`, in a variable at `std::process::exit`) closes nothing: what is queued is lost.
//!
//! # Monitoring
//!
//! Any socket answers at any time, without holding up its messages: [`Endpoint::status`] says whether an
//! endpoint is connected and if not, why; `peers()` lists the peers and what is queued for them; `events()`
//! reports who connects and disconnects; `stats()` counts messages, and drops by reason. [`metrics`] writes all
//! of this as a page for monitoring systems, for sockets of any type ([`metrics::Observe`]).
//!
//! The `log` crate receives records with the socket's name and the peer. At debug: connections that come, go or
//! are refused, attempts that fail, and the first message that is dropped of each peer for each reason (later
//! ones are only counted). At warn and error: what the program should know. No lock of a socket is held while a
//! record is written, so a logger may use any socket, even the one it logs about. It must not wait for one,
//! since the thread that turns an event loop writes some of the records.
//!
//! # Threads
//!
//! A protocol runs in the calling thread, under its socket's lock; that thread also writes to the kernel if
//! the connection is idle. An event loop reads, accepts, connects, and writes what a caller could not. One I/O
//! thread, started by the first `bind` or `connect`, turns it, or, in its place, the only thread that waits for a
//! message. A program that receives more than one core can read may have several I/O threads, each with an event
//! loop ([`Runtime`]).
//!
//! # Features
//!
//! | feature | by default | |
//! |---|---|---|
//! | `discovery` | off | the module `discovery`: services that come and go, found by their names |
//! | `futures` | off | `stream` on sockets that receive and `sink` on those that send: `futures_core::Stream` and `futures_sink::Sink` |
//! | `typed` | off | the modules `typed`, sockets that send and receive values, and `last_values`, a publisher that keeps the newest of each topic |
//! | `postcard`, `json` | off | codecs for `typed`, and `typed` itself |
//! | `prometheus-client` | off | `metrics::Collector`: what sockets have counted, for a registry of `prometheus-client` |
//! | `serde` | off | `serde::Serialize` for what sockets report: [`Stats`], [`PeerStatus`], [`EndpointStatus`], [`PipeEvent`], [`metrics::Snapshot`], [`device::DeviceStats`] and their parts |
//! | `testing` | off | the module `testing`: a simulated network with a clock of its own, for the tests of programs |
//! | `tracing` | off | log records are events of `tracing`, where somebody subscribes to those; and `typed::trace`: requests with values are spans, across processes |
//! | `ws` | off | `ws://` addresses: WebSocket, as web pages speak it ([`transport`]) |
//!
//! # Versions
//!
//! The public interface contains types of two other crates: `Bytes` and `BytesMut` of [`bytes`] 1 (a
//! [`Message`] consists of them), and `mio::event::Source` of [`mio`] 1 (a [`transport`] is polled through it).
//! The feature `serde` adds `Serialize` of `serde` 1, and `futures` adds `Stream` of `futures-core` 0.3 and
//! `Sink` of `futures-sink` 0.3. `postcard` and `json` need traits of `serde` 1, `tracing` shows the `Span` of `tracing`
//! 0.1, and `prometheus-client` implements a trait of `prometheus-client` 0.24. A breaking version of one of these crates is a breaking version of sinew.
//! Enums and structs that may grow are `#[non_exhaustive]`.

#![deny(unsafe_code)]
#![cfg_attr(
    not(any(test, fuzzing)),
    deny(clippy::todo, clippy::unimplemented, clippy::unwrap_used)
)]
// Labels what needs a feature, where the documentation is built with `--cfg docsrs`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod address;
mod api;
mod body;
mod contain;
#[cfg(any(doc, doctest))]
pub mod cookbook;
mod detach;
#[cfg(feature = "discovery")]
#[cfg_attr(docsrs, doc(cfg(feature = "discovery")))]
pub mod discovery;
mod duty;
mod error;
#[cfg(all(any(test, fuzzing), not(loom)))]
#[doc(hidden)]
pub mod fuzzing;
mod inproc;
mod interest;
#[doc(hidden)]
#[cfg(all(sinew_internals, not(loom)))]
pub mod internals;
mod io;
#[cfg(feature = "typed")]
#[cfg_attr(docsrs, doc(cfg(feature = "typed")))]
pub mod last_values;
#[cfg(all(test, shuttle))]
mod lives;
mod message;
mod number_map;
mod options;
mod parker;
mod peer;
mod pipe;
mod protocol;
mod protocol_id;
mod random;
mod ring;
mod room;
#[cfg(test)]
mod rounds;
mod runtime;
#[cfg(feature = "serde")]
mod serial;
mod signal;
mod socket;
#[cfg(doc)]
pub mod spec;
mod spin;
mod stats;
mod sync;
mod sys;
#[cfg(feature = "testing")]
#[cfg_attr(docsrs, doc(cfg(feature = "testing")))]
pub mod testing;
#[cfg(any(feature = "discovery", feature = "typed"))]
mod threads;
mod time;
#[cfg(feature = "tls")]
#[cfg_attr(docsrs, doc(cfg(feature = "tls")))]
pub mod tls;
mod tls_error;
pub mod transport;
mod tuning;
#[cfg(feature = "typed")]
#[cfg_attr(docsrs, doc(cfg(feature = "typed")))]
pub mod typed;
mod verdict;
#[cfg(feature = "ws")]
mod websocket;
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
pub use contain::contained_panics;
pub use detach::DetachReason;
#[cfg(feature = "ws")]
#[cfg_attr(docsrs, doc(cfg(feature = "ws")))]
pub use error::WebSocketError;
pub use error::{
    AddressError, AttemptError, BindError, Closed, ConnectError, HeaderError, NoSuchPipe,
    OptionError, RecvError, RequestError, RuntimeError, SendError, Situation, UnsubscribeError,
    WaitError,
};
pub use message::{Message, PipeId};
pub use options::{Conflate, EndpointOptions, Options, Overflow, Settings};
pub use peer::{
    EndpointId, EndpointState, EndpointStatus, Peer, PeerCredentials, PeerIdentity, PeerStatus,
    QueueStatus,
};
pub use pipe::endpoint::Endpoint;
pub use protocol_id::ProtocolId;
#[cfg(unix)]
pub use runtime::EventLoop;
pub use runtime::{Runtime, RuntimeBuilder};
pub use socket::{Events, PipeEvent, PipeEventKind, Readiness};
pub use stats::{DropReason, Spins, Stats};
pub use tls_error::TlsError;

/// Iterators over what sockets receive: made by their `iter`, `try_iter` and `into_iter`.
pub mod iter {
    pub use crate::api::iter::{IntoIter, Iter, Iterated, TryIter};
}

/// The programs in the README are compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
