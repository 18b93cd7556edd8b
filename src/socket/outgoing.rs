//! Outgoing messages: the one way in which the calls of a socket send.
//!
//! Owns the check of a message's size and the count of accepted messages. A call that sends needs an
//! [`Outgoing`]. Only a message of allowed size becomes one, and sending it counts, so no call can forget
//! either.

use std::time::Instant;

use bytes::Bytes;

use super::{Core, SocketPort};
use crate::error::Excess;
use crate::options::Options;
use crate::protocol::{Protocol, SendRefusal};

/// A body of allowed size.
pub(crate) struct Outgoing<'m>(&'m mut Bytes);

impl Outgoing<'_> {
    /// Gives the message to the protocol, and counts it if the protocol accepts it.
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
    /// Checks the size of a body together with the header that goes with it.
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

    /// Allows a message over the default limit if all peers are in this process, since those have no limit. A
    /// limit that the program has set applies to them too.
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
        // `None`: the attempt will find that the socket is closed, or was inherited.
        if is_allowed.unwrap_or(true) { Ok(()) } else { Err(excess) }
    }
}
