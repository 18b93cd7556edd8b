//! PUSH as a program sees it. Has only the calls that sockets share.

use super::prelude::*;

/// PUSH: sends each message to one of its PULL peers, balanced over all.
///
/// A peer whose queue is full is passed over. If all queues are full, or there is no peer, a send waits, unless
/// [`Options::overflow`] says otherwise. Messages queued for a peer that is lost are lost with it, and counted
/// (unless [`Options::requeue`] is set). Peers of a better
/// [priority](crate::EndpointOptions::send_priority) get everything as long as one of them has room.
///
/// The rules in full: [semantics, 3.1](crate::spec::semantics#31-load-balancer) and
/// [semantics, 6](crate::spec::semantics#6-pipeline).
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
/// It cannot receive, and has no contexts:
///
/// ```compile_fail,E0277
/// # // C109, C192.
/// sinew::Push::new().recv();
/// ```
/// ```compile_fail,E0599
/// sinew::Push::new().context();
/// ```
#[doc(alias("NN_PUSH", "nng_push0_open", "ZMQ_PUSH", "pipeline"))]
pub type Push = Socket<role::Push, CanSend, NoRecv>;

impl Configured for protocol::Push {
    fn with_options(options: &Options) -> Self {
        Self::new(options.overflow_of(&Self::KIND))
    }

    fn follow(&mut self, options: &Options, _: &mut SocketPort<'_>) {
        self.set_overflow(options.overflow_of(&Self::KIND));
    }
}
