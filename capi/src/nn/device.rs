//! `nn_device`: forwards between two raw sockets, which stay the program's.
//!
//! One thread, the caller's, forwards in both directions. It holds at most one message in each direction, while the
//! other side has no room for it. `sinew::Device` takes its sockets for itself and ends with them, so it is not used
//! here.

use std::ffi::c_int;
use std::time::{Duration, Instant};

use sinew::{Message, Readiness, RecvError, SendError};

use super::poll;
use super::socket::AF_SP_RAW;
use crate::border::border;
use crate::engine::Patience;
use crate::errno::{EBADF, EINVAL, ENOTSUP, Errno};
use crate::table::{self, InUse};

/// How many messages to forward in one direction before looking at the other.
const BURST: usize = 64;

/// The end of a time in milliseconds from now; `None`: never.
pub(super) fn until(milliseconds: c_int) -> Option<Instant> {
    let time = Duration::from_millis(u64::try_from(milliseconds).ok()?);
    Instant::now().checked_add(time)
}

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
    /// A message for which there was no room.
    held: Option<Message>,
}

impl<'a> Direction<'a> {
    fn new(from: &'a InUse, to: &'a InUse) -> Result<Self, Errno> {
        if !from.engine.receives() || !to.engine.sends() {
            return Err(EINVAL);
        }
        let (can_recv, can_send) = (from.recv_readiness()?, to.send_readiness()?);
        Ok(Self { from, to, can_recv, can_send, held: None })
    }

    /// Forwards what it can now. Returns what it waits for then.
    fn forward(&mut self) -> Result<&'a Readiness, Errno> {
        for _ in 0..BURST {
            let message = match self.held.take() {
                Some(held) => held,
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
                    return Ok(self.can_send);
                }
                Err(error) => return Err((&error).into()),
            }
        }
        // There may be more: the descriptor says so at once.
        Ok(self.can_recv)
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
        poll::sleep(awaited.into_iter(), None)?;
    }
}
