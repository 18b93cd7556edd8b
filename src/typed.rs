//! Sockets that send and receive values in place of bytes. Only with the feature `typed`.
//!
//! A [`Codec`] makes bytes of a value: [`Postcard`] (feature `postcard`) or [`Json`] (feature `json`), or one of
//! your own. The sockets below have the calls of those that they stand on, in all forms: waiting, `try_`,
//! `_timeout` and `_async`.
//!
//! | type | stands on | does |
//! |---|---|---|
//! | [`Requests<Q, A>`](Requests) | [`Req`](crate::Req) | asks questions `Q`, and gets an answer `A` to each |
//! | [`Replies<Q, A>`](Replies) | [`Rep`](crate::Rep) | receives questions, each with the right to answer it |
//! | [`Publisher<T>`](Publisher) | [`Pub`](crate::Pub) | sends values to all subscribers of a topic |
//! | [`Subscriber<T>`](Subscriber) | [`Sub`](crate::Sub) | receives the values of its topics |
//! | [`Work<T>`](Work) | [`Push`](crate::Push) | hands out values |
//! | [`Worker<T>`](Worker) | [`Pull`](crate::Pull) | receives them |
//! | [`Surveys<Q, A>`](Surveys) | [`Surveyor`](crate::Surveyor) | asks all, and collects answers until a deadline |
//! | [`Answers<Q, A>`](Answers) | [`Respondent`](crate::Respondent) | receives surveys, and may answer each |
//!
//! ```
//! # #[cfg(feature = "postcard")] {
//! use sinew::typed::{Replies, Requests};
//!
//! let replies = Replies::<(u64, u64), u64>::new();
//! let endpoint = replies.bind("tcp://127.0.0.1:0").unwrap();
//! std::thread::spawn(move || {
//!     while let Ok(query) = replies.recv() {
//!         let (a, b) = *query;
//!         query.reply(&(a * b)).expect("the socket is open");
//!     }
//! });
//! let requests = Requests::<(u64, u64), u64>::new();
//! requests.connect(endpoint.url()).unwrap();
//! assert_eq!(requests.request(&(6, 7)).unwrap(), 42);
//! # }
//! ```
//!
//! Each is short for [`Typed`] of the socket below and of the formats of its values. `socket()` is the socket
//! below, for everything that needs no value: options, events, metrics. `with` makes a typed one of a socket that
//! the program has made, such as that of a [`Resolver`](crate::discovery::Resolver).
//!
//! # What does not decode
//!
//! A peer may send anything. What is no value never ends a loop that receives: it is dropped, counted
//! (`undecoded()`), and the first is logged. `reporting` makes a receiver return it as [`Error::Decode`]
//! instead, which has the bytes. A question that is no value is answered with "not understood" at once, and the
//! `Requests` that asked gets [`Error::Decode`], as it does for every answer that is no value.
//!
//! # On the wire
//!
//! A message is a head of one byte, and then what the codec has written. The low seven bits of the head are the
//! version of the type, 0 to 126 ([`Format`]); 127, with nothing behind it, is the answer of who has not
//! understood. If the highest bit is set, a trace context of 25 bytes stands between the two: the trace id (16
//! bytes), the id of the span that asks (8) and the flags (1), as in the W3C's `traceparent`. Who does not
//! trace passes over it. What a [`Publisher`] sends begins with its topic and a zero byte, so that a plain `Sub`
//! can subscribe to it.

mod codec;
mod format;
mod publish;
mod receive;
mod requests;
mod socket;
mod surveys;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "typed/untraced.rs"]
mod trace;
mod work;

pub use codec::{Codec, CodecError, Json, Postcard};
pub use format::{Error, Format, Misfit, Undecoded};
pub use publish::{Published, Publisher, Subscriber};
pub use receive::Reads;
pub use requests::{Answers, Owed, Query, Replies, Requests};
pub use socket::{Formats, Typed};
pub use surveys::{Survey, Surveys};
pub use work::{Work, Worker};

#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) use format::fuzz;
