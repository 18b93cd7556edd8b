//! Last values: a publisher that keeps the newest value of each topic, and subscribers that have them all. Only with
//! the feature `typed`.
//!
//! What PUB sends before a subscriber has connected is gone for it, and so is what it misses. A [`Source`] keeps the
//! newest value of each topic and gives it away on request: a REP beside its PUB. A [`Cache`] asks when it begins,
//! when it has missed something, and when its source has begun anew; in between it follows what is published. So it
//! has the newest value of each of its topics, however late it starts and however long it sleeps.
//!
//! ```
//! # #[cfg(feature = "postcard")] {
//! use sinew::last_values::{Cache, Source};
//!
//! let source = Source::<f64>::new().unwrap();
//! let (updates, requests) = source.bind("tcp://127.0.0.1:0", "tcp://127.0.0.1:0").unwrap();
//! source.set("price.tin", &25.5).unwrap(); // long before anybody listens
//!
//! let mut cache = Cache::<f64>::new();
//! cache.subscribe("price.").unwrap();
//! cache.connect(updates.url(), requests.url()).unwrap();
//! assert_eq!(cache.recv().unwrap().topic, "price.tin");
//! assert_eq!(cache.value("price.tin"), Some(&25.5));
//! # }
//! ```
//!
//! The cookbook has [a chapter](crate::cookbook::last_value_cache) on it.
//!
//! # How nothing is missed
//!
//! A source numbers its changes in sequence, over all topics. Each update tells its number, and the number of the
//! update of the same topic before it: a cache that has not seen that one has missed something. Once a second the
//! source publishes a beacon, which tells its last number: a cache that has not heard of all numbers up to there has
//! missed something, or subscribes only to some topics. In both cases it asks for what has changed since the number up
//! to which it knows everything. So a value that was lost is late by a second or so, and no more.
//!
//! A source that is started anew has a new epoch, a random number, and a cache begins anew with it. Topics that the new
//! source has not set keep their old values.
//!
//! # On the wire
//!
//! Integers are big-endian. A value is a head and what the codec has written, as everywhere in [`typed`](crate::typed).
//!
//! | from → to | message |
//! |---|---|
//! | PUB → SUB, an update | topic, `00`, epoch (8 bytes), number (8), number of the update before of the same topic or 0 (8), value |
//! | PUB → SUB, a beacon | `01 00`, epoch (8), last number (8) |
//! | REQ → REP | version `01`, epoch (8), number up to which all is known (8), and for each prefix: its length (2), it |
//! | REP → REQ | version `01`, epoch (8), number up to which all is told (8), `01` if there is more and otherwise `00`, and for each update: its length (4), it as it was published |
//!
//! An epoch other than the source's, such as 0, asks for everything. An answer has at most 512 KiB of updates, or one
//! that is longer. A request has at most 64 prefixes and 64 KiB; what is no request is answered with one byte, `00`. A
//! cache keeps at most 65,536 topics, and counts what it does not keep ([`Cache::ignored`]).

mod cache;
mod source;
mod wire;

pub use cache::{Cache, Update};
pub use source::Source;

#[cfg(all(any(test, fuzzing), not(loom)))]
pub(crate) use wire::fuzz;
