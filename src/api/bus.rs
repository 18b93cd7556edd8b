//! BUS as a program sees it. Has only the calls that sockets share.

use super::prelude::*;

/// BUS: sends each message to all directly connected peers.
///
/// A send never waits, and succeeds without a peer. A peer whose queue is full misses the message, which is
/// counted ([`Options::overflow`] has other choices). A bus does not hear itself and forwards nothing: for
/// everyone to hear everyone, connect each with each. A program that does not receive fills its peers' queues
/// for it, but does not hold up the peers.
///
/// The rules in full: [semantics, 7](crate::spec::semantics#7-bus).
///
/// ```
/// use std::time::Duration;
///
/// let (here, there) = (sinew::Bus::new(), sinew::Bus::new());
/// here.bind("inproc://bus-doc")?;
/// there.connect("inproc://bus-doc")?;
/// here.wait_for_peers(1, Duration::from_secs(1))?;
/// here.send("to all")?;
/// assert_eq!(there.recv()?, "to all");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It has no contexts:
///
/// ```compile_fail,E0599
/// # // C192.
/// sinew::Bus::new().context();
/// ```
#[doc(alias("NN_BUS", "nng_bus0_open"))]
pub type Bus = Socket<role::Bus, CanSend, CanRecv<Message>>;

impl Configured for protocol::Bus {
    fn with_options(options: &Options) -> Self {
        Self::new(options.overflow_of(&Self::KIND))
    }

    fn follow(&mut self, options: &Options, port: &mut SocketPort<'_>) {
        self.set_overflow(options.overflow_of(&Self::KIND), port);
    }
}
