//! PAIR v1 as a program sees it, with one peer and with many.
//!
//! Owns [`Pair1`], and [`PolyPair1`] with the calls that name a peer.

use super::prelude::*;
use super::{ONLY_RECV, ONLY_SEND};

/// PAIR v1: as [`Pair`](crate::Pair), with a count of hops that ends loops of devices.
///
/// It does not talk to [`Pair`](crate::Pair), which is PAIR v0: nanomsg has only that one. What has
/// come over more than [`Options::ttl`] hops is dropped and counted. Source: semantics specification,
/// section 4.
///
/// ```
/// let (left, right) = (sinew::Pair1::new(), sinew::Pair1::new());
/// left.bind("inproc://pair1-doc")?;
/// right.connect("inproc://pair1-doc")?;
/// left.send("ping")?;
/// assert_eq!(right.recv()?, "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It has no contexts (C192):
///
/// ```compile_fail,E0599
/// sinew::Pair1::new().context();
/// ```
#[derive(Clone)]
#[doc(alias("nng_pair1_open"))]
pub struct Pair1 {
    core: Handle<protocol::Pair1>,
}

socket_calls!(
    Pair1,
    protocol::Pair1,
    |options| protocol::Pair1::new(options.get_ttl()),
    |pair, options, _| pair.set_ttl(options.get_ttl())
);
send_calls!(Pair1);
recv_calls!(Pair1);

impl Pair1 {
    /// A socket in polyamorous mode, with default options: one that talks to many PAIR v1 peers. The same
    /// as [`PolyPair1::new`].
    pub fn polyamorous() -> PolyPair1 {
        PolyPair1::new()
    }
}

/// PAIR v1 in polyamorous mode: any number of peers, each addressed by its pipe.
///
/// The peers are ordinary [`Pair1`] sockets. A received message says which pipe it came on;
/// [`send_to`](Self::send_to) answers there. A plain `send` goes to the peer that has been connected
/// longest. A send waits only until the first peer has come; later a message whose peer is gone, or has a
/// full queue, is dropped and counted and the send succeeds.
/// Source: semantics specification, section 4.3.
///
/// ```
/// let (hub, spoke) = (sinew::PolyPair1::new(), sinew::Pair1::new());
/// hub.bind("inproc://poly-doc")?;
/// spoke.connect("inproc://poly-doc")?;
/// spoke.send("hello")?;
/// let hello = hub.recv()?;
/// hub.send_to(hello.pipe().unwrap(), "hello yourself")?;
/// assert_eq!(spoke.recv()?, "hello yourself");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
#[doc(alias("nng_pair1_open_poly"))]
pub struct PolyPair1 {
    core: Handle<protocol::Polyamorous>,
}

socket_calls!(
    PolyPair1,
    protocol::Polyamorous,
    |options| protocol::Polyamorous::new(options.get_ttl()),
    |pair, options, _| pair.set_ttl(options.get_ttl())
);
// To whoever has been connected longest.
send_calls!(PolyPair1, |_: &Message| None);
recv_calls!(PolyPair1);

impl PolyPair1 {
    /// Sends to the peer on `pipe`. Never waits once there has been a peer.
    ///
    /// Succeeds too when the peer is gone or its queue is full: the message is dropped then, and
    /// counted.
    ///
    /// # Errors
    ///
    /// `WouldBlock` when there has never been a peer, `Closed` or `TooLarge`, with the message inside.
    pub fn send_to(&self, pipe: PipeId, message: impl Into<Message>) -> Result<(), SendError> {
        self.core.send(ONLY_SEND, Patience::None, &Some(pipe), message.into())
    }
}
