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
//! `socket()` is the socket below, for everything that needs no value: options, events, metrics. `with` makes a
//! typed one of a socket that the program has made, such as that of a
//! [`Resolver`](crate::discovery::Resolver).
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

/// The calls that all typed sockets have.
macro_rules! common {
    ($name:ident<$($parameter:ident $(: $bound:ident)?),*>, $socket:ty) => {
        /// The calls of all typed sockets.
        impl<$($parameter $(: $bound)?,)* C> $name<$($parameter,)* C> {
            /// The socket below.
            pub fn socket(&self) -> &$socket {
                &self.socket
            }

            /// As [`Socket::bind`](crate::Socket::bind).
            ///
            /// # Errors
            ///
            /// As there.
            pub fn bind(&self, url: impl AsRef<str>) -> Result<Endpoint, BindError> {
                self.socket.bind(url)
            }

            /// As [`Socket::connect`](crate::Socket::connect).
            ///
            /// # Errors
            ///
            /// As there.
            pub fn connect(&self, url: impl AsRef<str>) -> Result<Endpoint, ConnectError> {
                self.socket.connect(url)
            }

            /// As [`Socket::wait_for_peers`](crate::Socket::wait_for_peers).
            ///
            /// # Errors
            ///
            /// As there.
            pub fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
                self.socket.wait_for_peers(peers, timeout)
            }

            /// As [`Socket::close`](crate::Socket::close).
            ///
            /// # Errors
            ///
            /// As there.
            pub fn close(&self) -> Result<(), Closed> {
                self.socket.close()
            }
        }

        impl<$($parameter $(: $bound)?,)* C> fmt::Debug for $name<$($parameter,)* C> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_tuple(stringify!($name)).field(&self.socket).finish()
            }
        }
    };
}

/// The calls of typed sockets that receive, inside of an `impl`. `read` makes an item of what the socket has
/// received; what is wrong with it has been dealt with if that is `None`.
macro_rules! receives {
    ($item:ty, $($captured:ident),*) => {
        /// Receives the next value, waiting up to the receive timeout of the socket, which begins anew after a
        /// message that was no value.
        ///
        /// # Errors
        ///
        /// `TimedOut` or `Closed`; [`Error::Decode`] only if it is [`reporting`](Self::reporting).
        pub fn recv(&self) -> Result<$item, Error<RecvError>> {
            loop {
                if let Some(read) = self.read(self.socket.recv()?) {
                    return read.map_err(Error::Decode);
                }
            }
        }

        /// Receives the next value if there is one now.
        ///
        /// # Errors
        ///
        /// As [`recv`](Self::recv), with `WouldBlock` in place of `TimedOut`.
        pub fn try_recv(&self) -> Result<$item, Error<RecvError>> {
            loop {
                if let Some(read) = self.read(self.socket.try_recv()?) {
                    return read.map_err(Error::Decode);
                }
            }
        }

        /// Receives the next value, waiting up to `timeout`. Zero: one attempt; `Duration::MAX`: forever.
        ///
        /// # Errors
        ///
        /// As [`recv`](Self::recv).
        pub fn recv_timeout(&self, timeout: Duration) -> Result<$item, Error<RecvError>> {
            let until = time::now().checked_add(timeout);
            loop {
                if let Some(read) = self.read(self.socket.recv_timeout(left(until))?) {
                    return read.map_err(Error::Decode);
                }
            }
        }

        /// Receives the next value as a task. Has no timeout of its own.
        ///
        /// Cancel-safe: a future that is dropped before it is ready has received no value.
        ///
        /// # Errors
        ///
        /// As [`recv`](Self::recv), without `TimedOut`.
        pub fn recv_async(
            &self,
        ) -> impl Future<Output = Result<$item, Error<RecvError>>> + Send + use<$($captured),*> {
            let this = self.clone();
            async move {
                loop {
                    if let Some(read) = this.read(this.socket.recv_async().await?) {
                        return read.map_err(Error::Decode);
                    }
                }
            }
        }

        /// Iterates over the values, waiting for each, until the socket is closed. Passes over what is no
        /// value, also if it is [`reporting`](Self::reporting).
        pub fn iter(&self) -> impl Iterator<Item = $item> + '_ {
            std::iter::from_fn(|| {
                loop {
                    match self.recv_timeout(Duration::MAX) {
                        Ok(received) => return Some(received),
                        Err(Error::Decode(_)) => {}
                        Err(_) => return None,
                    }
                }
            })
        }

        /// Returns messages that are no values as [`Error::Decode`], with their bytes, in place of passing
        /// over them.
        #[must_use]
        pub fn reporting(mut self) -> Self {
            self.refuse = Arc::new(Refuse::reporting());
            self
        }

        /// How many messages were no values.
        pub fn undecoded(&self) -> u64 {
            self.refuse.count()
        }

        /// Counts a message that was no value, and returns it if it is to be reported.
        #[cold]
        fn refused(&self, undecoded: Undecoded) -> Option<Undecoded> {
            self.refuse.note(self.socket.name(), &undecoded);
            self.refuse.is_reported.then_some(undecoded)
        }
    };
}

mod codec;
mod format;
mod publish;
mod requests;
mod surveys;
#[cfg(feature = "tracing")]
#[cfg_attr(docsrs, doc(cfg(feature = "tracing")))]
pub mod trace;
#[cfg(not(feature = "tracing"))]
#[path = "typed/untraced.rs"]
mod trace;
mod work;

use std::time::{Duration, Instant};

use crate::time;

pub use codec::{Codec, CodecError, Json, Postcard};
pub use format::{Error, Format, Misfit, Undecoded};
pub use publish::{Published, Publisher, Subscriber};
pub use requests::{Answers, Owed, Query, Replies, Requests, Responder};
pub use surveys::{Survey, Surveys};
pub use work::{Work, Worker};

#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) use format::fuzz;

/// How much time is left until then; `None`: there is no end.
fn left(until: Option<Instant>) -> Duration {
    until.map_or(Duration::MAX, |until| until.saturating_duration_since(time::now()))
}
