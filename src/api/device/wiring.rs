//! Which sockets fit, and the one loop that forwards.

use super::error::DeviceFault;
use super::shared::{BACK, FRONT};
use super::stats::Flow;
use crate::api::role::{Engine, Role};
use crate::api::{AnySocket, Socket};
use crate::message::Message;
use crate::protocol::{Interest, RawProtocol, SendRefusal};
use crate::socket::wait::{Failure, Patience};
use crate::socket::{Core, Handle};
use crate::stats::DropReason;
use crate::sync::Arc;
use crate::sys::Origin;

/// A role whose raw sockets a [`Device`](super::Device) can forward for. Implemented by this crate only.
#[expect(private_bounds, reason = "as that of `Role`")]
#[diagnostic::on_unimplemented(
    message = "a socket of the role `{Self}` cannot be in a device",
    note = "both sockets must be raw, and each must be of the kind that the other talks to"
)]
pub trait Forwards: Role + Engine<Protocol: RawProtocol> {
    /// The role of the socket with which it makes a device.
    type Partner: Forwards;
}

/// The sockets of a device, and what forwards between them.
pub(super) struct Wiring {
    pub(super) sides: [Arc<dyn AnySocket>; 2],
    pub(super) origins: [Origin; 2],
    pub(super) forwarders: Vec<Forwarder>,
    pub(super) flows: Vec<Flow>,
}

/// Forwards in one direction until one of its sockets is closed.
pub(super) type Forwarder = Box<dyn FnOnce() + Send>;

/// Whether a device may take the sockets: nobody else has a handle of them, and they are open. That stays so,
/// since only a handle could change it.
pub(super) fn check<A: Forwards, B: Forwards>(
    front: &Socket<A>,
    back: Option<&Socket<B>>,
) -> Result<(), DeviceFault> {
    let (front, back) = (&front.core, back.map(|back| &back.core));
    if back.is_some_and(|back| front.is_same(back)) {
        return Err(DeviceFault::SameSocket);
    }
    check_free(front, DeviceFault::FrontClosed, DeviceFault::FrontShared)?;
    back.map_or(Ok(()), |back| check_free(back, DeviceFault::BackClosed, DeviceFault::BackShared))
}

fn check_free<P: RawProtocol>(
    socket: &Handle<P>,
    closed: DeviceFault,
    shared: DeviceFault,
) -> Result<(), DeviceFault> {
    match socket.is_closed() {
        true => Err(closed),
        false if !socket.is_last() => Err(shared),
        false => Ok(()),
    }
}

pub(super) fn wire<A: Forwards, B: Forwards>(
    front: &Socket<A>,
    back: Option<&Socket<B>>,
) -> Wiring {
    let (first, origin) = (&front.core, front.core.origin);
    let front: Arc<dyn AnySocket> = Arc::new(front.clone());
    let Some(back) = back else {
        let around = forwarder(first, first).map(|forwarder| (forwarder, Flow::new(FRONT, FRONT)));
        return Wiring::new([Arc::clone(&front), front], [origin; 2], [around, None]);
    };
    let second = &back.core;
    let forth = forwarder(first, second).map(|forwarder| (forwarder, Flow::new(FRONT, BACK)));
    let home = forwarder(second, first).map(|forwarder| (forwarder, Flow::new(BACK, FRONT)));
    Wiring::new([front, Arc::new(back.clone())], [origin, second.origin], [forth, home])
}

impl Wiring {
    fn new(
        sides: [Arc<dyn AnySocket>; 2],
        origins: [Origin; 2],
        directions: [Option<(Forwarder, Flow)>; 2],
    ) -> Self {
        let (forwarders, flows) = directions.into_iter().flatten().unzip();
        Self { sides, origins, forwarders, flows }
    }
}

/// What forwards from one socket to the other, if there is one.
fn forwarder<A: RawProtocol, B: RawProtocol>(
    from: &Handle<A>,
    to: &Handle<B>,
) -> Option<Forwarder> {
    let (from, to) = (from.clone(), to.clone());
    (A::RECEIVES && B::SENDS).then(|| Box::new(move || forward(&from, &to)) as Forwarder)
}

/// Receives and sends until one of the two sockets is closed.
fn forward<A: RawProtocol, B: RawProtocol>(from: &Core<A>, to: &Core<B>) {
    while let Some(message) = take(from) {
        let Err(reason) = pass_on(to, message) else { continue };
        if to.counters.dropped(reason, 1) {
            let socket = &to.name;
            crate::contain::record!(
                Debug,
                { socket: socket, reason: reason },
                "{socket}: a device drops the first message: {reason}"
            );
        }
        if reason == DropReason::DeviceStopped {
            return;
        }
    }
}

/// Receives the next message; `None`: there will be none.
fn take<P: RawProtocol>(from: &Core<P>) -> Option<Message> {
    from.wait(Interest::RECV, Patience::For(None), |p, io, now| p.recv(&(), now, io)).ok()
}

/// Sends a message with the header it came with, however long that takes.
fn pass_on<P: RawProtocol>(to: &Core<P>, mut message: Message) -> Result<(), DropReason> {
    let header = &message.header().clone();
    let mut outgoing = to.outgoing(header, message.body_mut()).map_err(|_| DropReason::TooLarge)?;
    let sent = to
        .wait(Interest::SEND, Patience::For(None), |p, io, now| outgoing.send(header, p, io, now));
    sent.map_err(|failure| match failure {
        Failure::Refused(SendRefusal::Header) => DropReason::BadHeader,
        _ => DropReason::DeviceStopped,
    })
}
