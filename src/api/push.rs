//! PUSH as a program sees it: all of its calls are those that sockets have in common.

use super::ONLY_SEND;
use super::prelude::*;

/// PUSH: each message to one of the PULL peers, in turn.
///
/// A peer whose queue is full is passed over; when all are full, or there is none, a send waits
/// (unless [`Options::overflow`] says otherwise). What is queued for a peer that is lost is lost with
/// it, and counted. Peers in a better [place](EndpointOptions::send_priority) get everything as long
/// as one of them can take it. Source: semantics specification, sections 3.1 and 6.
///
/// ```
/// let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
/// pull.bind("inproc://push-doc")?;
/// push.connect("inproc://push-doc")?;
/// push.send("work")?;
/// assert_eq!(pull.recv()?, "work");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot receive, and has no contexts (C109, C192):
///
/// ```compile_fail,E0277
/// sinew::Push::new().recv();
/// ```
/// ```compile_fail,E0599
/// sinew::Push::new().context();
/// ```
#[derive(Clone)]
#[doc(alias("NN_PUSH", "nng_push0_open", "ZMQ_PUSH", "pipeline"))]
pub struct Push {
    core: Handle<protocol::Push>,
}

socket_calls!(
    Push,
    protocol::Push,
    |options| protocol::Push::new(options.overflow_of(&protocol::Push::KIND)),
    |push, options, _| push.set_overflow(options.overflow_of(&protocol::Push::KIND))
);
send_calls!(Push);
