//! What the tool does with every socket, of whatever protocol, in the same way.

use std::sync::Arc;
use std::time::Duration;

use sinew::{
    Bus, Endpoint, Events, Options, Pair, Pair1, PeerStatus, Pub, Pull, Push, Rep, Req, Respondent,
    Stats, Sub, Surveyor, WaitError, raw,
};

use crate::address::Address;
use crate::failure::{Failure, Outcome};
use crate::protocol::Protocol;
use crate::stop::Stop;

/// A socket of any protocol.
pub(crate) trait Socket: Send + Sync {
    /// Binds or connects, as the address says.
    fn open(&self, address: &Address) -> Outcome<Endpoint>;
    fn peers(&self) -> Vec<PeerStatus>;
    fn events(&self) -> Events;
    fn stats(&self) -> Stats;
    fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError>;
    fn drain(&self, timeout: Duration) -> usize;
    /// Closes it, if it is open.
    fn close(&self);
}

macro_rules! sockets {
    ($($socket:ty),*) => {$(
        impl Socket for $socket {
            fn open(&self, address: &Address) -> Outcome<Endpoint> {
                Ok(match address {
                    Address::Bind(url) => self.bind(url)?,
                    Address::Connect(url) => self.connect(url)?,
                    Address::Dial(url) => self.connect_now(url)?,
                })
            }

            fn peers(&self) -> Vec<PeerStatus> {
                <$socket>::peers(self)
            }

            fn events(&self) -> Events {
                <$socket>::events(self)
            }

            fn stats(&self) -> Stats {
                <$socket>::stats(self)
            }

            fn wait_for_peers(&self, peers: usize, timeout: Duration) -> Result<(), WaitError> {
                <$socket>::wait_for_peers(self, peers, timeout)
            }

            fn drain(&self, timeout: Duration) -> usize {
                <$socket>::drain(self, timeout)
            }

            fn close(&self) {
                // Closed already: as good.
                let _ = <$socket>::close(self);
            }
        }
    )*};
}

sockets! {
    Push, Pull, Pub, Sub, Req, Rep, Surveyor, Respondent, Bus, Pair, Pair1,
    raw::Push, raw::Pull, raw::Pub, raw::Sub, raw::Req, raw::Rep, raw::Surveyor, raw::Respondent,
    raw::Bus, raw::Pair, raw::Pair1
}

/// A socket with the conversations of its protocol.
pub(crate) fn plain(protocol: Protocol, options: Options) -> Outcome<Arc<dyn Socket>> {
    Ok(match protocol {
        Protocol::Push => Arc::new(Push::with_options(options)?),
        Protocol::Pull => Arc::new(Pull::with_options(options)?),
        Protocol::Pub => Arc::new(Pub::with_options(options)?),
        Protocol::Sub => Arc::new(Sub::with_options(options)?),
        Protocol::Req => Arc::new(Req::with_options(options)?),
        Protocol::Rep => Arc::new(Rep::with_options(options)?),
        Protocol::Surveyor => Arc::new(Surveyor::with_options(options)?),
        Protocol::Respondent => Arc::new(Respondent::with_options(options)?),
        Protocol::Bus => Arc::new(Bus::with_options(options)?),
        Protocol::Pair => Arc::new(Pair::with_options(options)?),
        Protocol::Pair1 => Arc::new(Pair1::with_options(options)?),
    })
}

/// Has a signal close the socket.
pub(crate) fn close_on_signal(socket: &Arc<dyn Socket>, stop: &Stop) {
    let closing = Arc::clone(socket);
    stop.on_signal(move || closing.close());
}

/// Waits until `peers` are connected, for ever without a limit.
pub(crate) fn wait_for_peers(
    socket: &dyn Socket,
    peers: usize,
    limit: Option<Duration>,
) -> Outcome {
    match socket.wait_for_peers(peers, limit.unwrap_or(Duration::MAX)) {
        Ok(()) => Ok(()),
        Err(WaitError::TimedOut(_)) => Err(Failure::TimedOut("not all peers have come".to_owned())),
        Err(_) => Err(Failure::Closed),
    }
}
