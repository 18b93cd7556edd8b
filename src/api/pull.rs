//! PULL as a program sees it. Has only the calls that sockets share.

use super::prelude::*;

/// PULL: receives from its PUSH peers, in turn.
///
/// While the program does not receive, a full queue holds up its peer; nothing is dropped. Messages that had
/// arrived completely before a peer was lost can still be received.
///
/// The rules in full: [semantics, 3.2](crate::spec::semantics#32-fair-queue) and
/// [semantics, 6](crate::spec::semantics#6-pipeline).
///
/// ```
/// let (push, pull) = (sinew::Push::new(), sinew::Pull::new());
/// push.bind("inproc://pull-doc")?;
/// pull.connect("inproc://pull-doc")?;
/// push.send("work")?;
/// assert_eq!(pull.recv()?, "work");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// It cannot send, and has no contexts:
///
/// ```compile_fail,E0277
/// # // C109, C192.
/// sinew::Pull::new().send("work");
/// ```
/// ```compile_fail,E0599
/// sinew::Pull::new().context();
/// ```
#[doc(alias("NN_PULL", "nng_pull0_open", "ZMQ_PULL", "pipeline"))]
pub type Pull = Socket<role::Pull, NoSend, CanRecv<Message>>;

/// A PULL, and a raw SUB.
impl<R: protocol::ProtocolPair> Configured for protocol::Receiver<R> {
    fn with_options(_: &Options) -> Self {
        Self::new()
    }
}
