//! Listening: accepts connections for one endpoint.
//!
//! The listening socket is shared with the endpoint's handle, which drops it when the endpoint is
//! closed: the address is free at once, without waiting for the I/O thread.

use std::io::{self, ErrorKind};
use std::time::Duration;

use mio::Token;

use super::Mailbox;
use super::timers::TimerKey;
use crate::pipe::{Host, Intake, Waiting};
use crate::socket::EndpointCore;
use crate::sync::{Arc, Mutex, Weak};
use crate::transport::{Listener, Stream};
use crate::wire::Framing;

/// How many connections are accepted before others get a turn. So many peers may send and leave before it
/// is seen that they leave more behind than there is room for.
const BATCH: usize = 16;
/// How long to pause when accepting fails for want of something: trying again at once would only
/// burn a core. Source: semantics specification, section 14.1.
pub(crate) const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket, until its endpoint is closed.
pub(crate) type ListenerSlot = Arc<Mutex<Option<Box<dyn Listener>>>>;

/// What the driver owns of a listening endpoint.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) host: Weak<dyn Host>,
    pub(crate) endpoint: Arc<EndpointCore>,
    pub(crate) framing: Framing,
    pub(crate) listener: ListenerSlot,
    /// The end of a pause. Until then nothing is accepted, whoever knocks.
    pub(crate) pause: Option<TimerKey>,
    /// The socket takes in no new pipe, and says when it does.
    pub(crate) is_put_off: bool,
    /// The loop that was given the last connection.
    pub(crate) last: usize,
}

/// How accepting went.
#[derive(Debug)]
pub(crate) enum Accepting {
    /// Nobody is waiting any more.
    Done,
    /// There may be more; others first.
    More,
    /// It failed for want of something: pause.
    Pause,
    /// The endpoint is closed.
    Closed,
}

impl Listening {
    /// Accepts what is there into `accepted`, as far as the socket takes in new pipes. If it does not,
    /// `token` is told of it.
    pub(crate) fn accept(
        &mut self,
        token: Token,
        mailbox: &Arc<Mailbox>,
        accepted: &mut Vec<Box<dyn Stream>>,
    ) -> Accepting {
        let Some(host) = self.host.upgrade() else { return Accepting::Closed };
        let most = match host.intake(Waiting::Loop(Arc::clone(mailbox), token)) {
            Intake::Free => BATCH,
            Intake::Single => 1,
            Intake::Shut => {
                self.is_put_off = true;
                return Accepting::Done;
            }
        };
        self.accept_some(most, accepted)
    }

    fn accept_some(&self, most: usize, accepted: &mut Vec<Box<dyn Stream>>) -> Accepting {
        let slot = self.listener.lock();
        let Some(listener) = slot.as_ref() else {
            return Accepting::Closed;
        };
        for _ in 0..most {
            match listener.accept() {
                Ok(stream) => accepted.push(stream),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Accepting::Done,
                Err(error) => {
                    self.count(&error);
                    if is_shortage(&error) {
                        return Accepting::Pause;
                    }
                }
            }
        }
        Accepting::More
    }

    fn count(&self, error: &io::Error) {
        if let Some(host) = self.host.upgrade() {
            host.counters().accept_errors.bump();
            crate::contain::log!(
                Debug,
                "{}: accept on {}: {error}",
                host.name(),
                self.endpoint.url()
            );
        }
        self.endpoint.failed(error.into());
    }
}

/// Whether the error will last until something is given back: descriptors, memory, buffers. All
/// others concern the one connection that was to be accepted.
fn is_shortage(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset
    )
}
