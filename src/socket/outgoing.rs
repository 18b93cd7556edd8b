//! What goes out: the one way by which the calls of a socket send.
//!
//! Owns the check of a message's size and the count of those accepted. A call that sends needs an
//! [`Outgoing`], which only a message of allowed size becomes, and sending it counts: a call can forget
//! neither.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, SocketPort};
use crate::error::Excess;
use crate::options::Options;
use crate::protocol::{Protocol, SendRefusal};

/// A body of allowed size.
pub(crate) struct Outgoing<'m>(&'m mut Bytes);

impl Outgoing<'_> {
    /// Gives the message to the protocol, and counts it if the protocol takes it.
    #[inline(always)]
    pub(crate) fn send<P: Protocol>(
        &mut self,
        to: &P::To,
        protocol: &mut P,
        io: &mut SocketPort<'_>,
        now: Instant,
    ) -> Result<(), SendRefusal> {
        let length = self.0.len();
        protocol.send(to, self.0, now, io)?;
        io.accepted(length);
        Ok(())
    }
}

impl<P: Protocol> Core<P> {
    /// A message, if its body may be sent with the header that goes with it.
    #[inline]
    pub(crate) fn outgoing<'m>(
        &self,
        to: &P::To,
        body: &'m mut Bytes,
    ) -> Result<Outgoing<'m>, Excess> {
        let (header, limit) = (P::header_len(to), self.limits.max_send_size());
        if body.len().saturating_add(header) > limit {
            self.check_large(Excess { header, limit })?;
        }
        Ok(Outgoing(body))
    }

    /// Allows what exceeds the default limit where no peer has a limit: as long as nobody has set one, it is
    /// there for peers, and those of this process have none.
    #[cold]
    fn check_large(&self, excess: Excess) -> Result<(), Excess> {
        if !self.with_options(Options::is_max_send_size_default) {
            return Err(excess);
        }
        let is_allowed = self.read(|state| {
            let mut endpoints = state.endpoints.iter();
            let is_inproc = endpoints.len() > 0 && endpoints.all(|endpoint| endpoint.is_inproc());
            is_inproc || state.closed
        });
        // The attempt says that the socket is closed, or was inherited.
        if is_allowed.unwrap_or(true) { Ok(()) } else { Err(excess) }
    }
}
