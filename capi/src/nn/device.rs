//! `nn_device`: forwards between two raw sockets, which stay the program's.
//!
//! One thread, the caller's, forwards in both directions. It receives a message only when the other side has room for
//! it, so that one that a signal ends has lost nothing. `sinew::Device` takes its sockets for itself and ends with them,
//! so it is not used here.

use std::ffi::c_int;
use std::os::fd::{AsRawFd, RawFd};

use sinew::{Message, Readiness, RecvError, SendError};

use super::poll;
use super::socket::AF_SP_RAW;
use crate::border::border;
use crate::engine::Patience;
use crate::errno::{EBADF, EINVAL, ENOTSUP, Errno};
use crate::table::{self, InUse};

/// How many messages to forward in one direction before looking at the other.
const BURST: usize = 64;

/// Forwards between two raw sockets until one of them is closed. With one socket, the other number being negative,
/// it sends everything back through that socket.
#[unsafe(no_mangle)]
pub extern "C" fn nn_device(s1: c_int, s2: c_int) -> c_int {
    border(|| {
        if s1 < 0 && s2 < 0 {
            return Err(EBADF);
        }
        if s1 < 0 || s2 < 0 {
            let socket = table::get(s1.max(s2))?;
            check_raw(&socket)?;
            if !(socket.engine.receives() && socket.engine.sends()) {
                return Err(ENOTSUP);
            }
            return run(&mut [Direction::new(&socket, &socket)?]);
        }
        let (front, back) = (table::get(s1)?, table::get(s2)?);
        check_raw(&front)?;
        check_raw(&back)?;
        if front.protocol / 16 != back.protocol / 16 {
            return Err(EINVAL);
        }
        let mut directions = Vec::with_capacity(2);
        for (from, to) in [(&front, &back), (&back, &front)] {
            if from.engine.receives() && to.engine.sends() {
                directions.push(Direction::new(from, to)?);
            }
        }
        run(&mut directions)
    })
}

fn check_raw(socket: &InUse) -> Result<(), Errno> {
    if socket.domain == AF_SP_RAW { Ok(()) } else { Err(EINVAL) }
}

/// Messages that go one way.
struct Direction<'a> {
    from: &'a InUse,
    to: &'a InUse,
    can_recv: &'a Readiness,
    can_send: &'a Readiness,
    /// Readable once the socket is closed from which it receives: who waits for room hears nothing else of that.
    closing: RawFd,
    /// A message for which there was no room after all: the peer had just gone, or another thread was faster. It is lost
    /// if the device ends.
    held: Option<Message>,
}

impl<'a> Direction<'a> {
    fn new(from: &'a InUse, to: &'a InUse) -> Result<Self, Errno> {
        if !from.engine.receives() || !to.engine.sends() {
            return Err(EINVAL);
        }
        let (can_recv, can_send) = (from.recv_readiness()?, to.send_readiness()?);
        let closing = from.closing()?;
        Ok(Self { from, to, can_recv, can_send, closing, held: None })
    }

    /// Forwards what it can now. Returns what it waits for then.
    fn forward(&mut self) -> Result<&'a Readiness, Errno> {
        for _ in 0..BURST {
            let message = match self.held.take() {
                Some(held) => held,
                None if !self.can_send.is_ready() => return self.room(),
                None => match self.from.engine.recv(Patience::None).ok_or(EINVAL)? {
                    Ok(message) => message,
                    Err(RecvError::WouldBlock) => return Ok(self.can_recv),
                    Err(error) => return Err((&error).into()),
                },
            };
            match self.to.engine.send(message, Patience::None).ok_or(EINVAL)? {
                // A header that cannot be sent is the fault of a peer, and no reason to end.
                Ok(()) | Err(SendError::Header(_)) => {}
                Err(SendError::WouldBlock(message)) => {
                    self.held = Some(message);
                    return self.room();
                }
                Err(error) => return Err((&error).into()),
            }
        }
        // There may be more: the descriptor says so at once.
        Ok(self.can_recv)
    }

    /// What it waits for when there is no room.
    fn room(&self) -> Result<&'a Readiness, Errno> {
        if self.from.engine.socket().is_closed() { Err(EBADF) } else { Ok(self.can_send) }
    }
}

fn run(directions: &mut [Direction<'_>]) -> Result<c_int, Errno> {
    if directions.is_empty() {
        return Err(EINVAL);
    }
    loop {
        let mut awaited = Vec::with_capacity(directions.len());
        for direction in &mut *directions {
            awaited.push(direction.forward()?);
        }
        if awaited.iter().any(|readiness| readiness.is_ready()) {
            continue;
        }
        let closing = directions.iter().map(|direction| direction.closing);
        poll::sleep(awaited.iter().map(|readiness| readiness.as_raw_fd()).chain(closing), None)?;
    }
}
