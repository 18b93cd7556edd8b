//! PAIR as a program sees it. Has only the calls that sockets share.

use super::prelude::*;

/// PAIR: exactly one peer at a time, messages both ways.
///
/// A send waits while there is no peer, or the peer is slow: nothing is dropped while the connection holds. A
/// second peer is turned away. Messages queued for a peer that is lost are lost with it, and counted.
///
/// The rules in full: [semantics, 4](crate::spec::semantics#4-pair).
///
/// ```
/// let (left, right) = (sinew::Pair::new(), sinew::Pair::new());
/// left.bind("inproc://pair-doc")?;
/// right.connect("inproc://pair-doc")?;
/// left.send("ping")?;
/// assert_eq!(right.recv()?, "ping");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It is one conversation and has no contexts:
///
/// ```compile_fail,E0599
/// # // C192.
/// sinew::Pair::new().context();
/// ```
#[doc(alias("NN_PAIR", "nng_pair0_open", "ZMQ_PAIR"))]
pub type Pair = Socket<role::Pair, CanSend, CanRecv<Message>>;

/// Either version.
impl<V: protocol::Version> Configured for protocol::Couple<V> {
    fn with_options(options: &Options) -> Self {
        Self::with_ttl(options.settings().ttl)
    }

    fn follow(&mut self, options: &Options, _: &mut SocketPort<'_>) {
        self.set_ttl(options.settings().ttl);
    }
}
