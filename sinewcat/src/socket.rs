//! What the tool does with every socket, of whatever protocol, in the same way.

use std::sync::Arc;
use std::time::Duration;

use sinew::{
    AnySocket, Bus, Endpoint, Options, Pair, Pair1, Pub, Pull, Push, Rep, Req, Respondent, Sub,
    Surveyor, WaitError,
};

use crate::address::Address;
use crate::failure::{Failure, Outcome};
use crate::protocol::Protocol;
use crate::stop::Stop;

/// Binds or connects, as the address says.
pub(crate) fn open(socket: &dyn AnySocket, address: &Address) -> Outcome<Endpoint> {
    Ok(match address {
        Address::Bind(url) => socket.bind(url)?,
        Address::Connect(url) => socket.connect(url)?,
        Address::Dial(url) => socket.connect_now(url)?,
    })
}

/// A socket with the conversations of its protocol.
pub(crate) fn plain(protocol: Protocol, options: Options) -> Outcome<Arc<dyn AnySocket>> {
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
pub(crate) fn close_on_signal(socket: &Arc<dyn AnySocket>, stop: &Stop) {
    let closing = Arc::clone(socket);
    // Closed already: as good.
    stop.on_signal(move || _ = closing.close());
}

/// Waits until `peers` are connected, forever without a limit.
pub(crate) fn wait_for_peers(
    socket: &dyn AnySocket,
    peers: usize,
    limit: Option<Duration>,
) -> Outcome {
    match socket.wait_for_peers(peers, limit.unwrap_or(Duration::MAX)) {
        Ok(()) => Ok(()),
        Err(WaitError::TimedOut(_)) => Err(Failure::TimedOut("not all peers have come".to_owned())),
        Err(_) => Err(Failure::Closed),
    }
}
