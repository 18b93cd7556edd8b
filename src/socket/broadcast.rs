//! Broadcasts: one message into many send queues.
//!
//! Owns how to do that cheaply: frame the message once and let the queues refer to it (see
//! `ring/encoder.rs`), look up each pipe once, and count for the whole socket once.
//!
//! The memory of framed messages belongs to the socket and to the queues that refer to it. The socket releases
//! its part when it is closed, and when it has too few peers left to need it.

use super::effects::Effects;
use super::pipes::{Pipe, Pipes};
use super::port::SocketPort;
use crate::message::PipeId;
use crate::options::Overflow;
use crate::protocol::{self, Broadcast, PushError};
use crate::ring::{Copies, Encoders};
use crate::stats::{Counters, DropReason};

/// Frame a message once if it goes to at least this many pipes. To fewer, framing it for each pipe is cheaper
/// than a reference. Instructions per delivery, inproc, 64 B, in the whole process, framed for each and once:
/// 3,320 and 5,000 to 2 pipes, 6,030 and 7,055 to 4, 5,377 and 4,783 to 8.
pub(super) const MANY: usize = 8;

/// One message on its way into many send queues.
pub(crate) struct Broadcasting<'p> {
    message: Broadcast<'p>,
    /// If there are many pipes, until the first push.
    encoders: Option<&'p mut Encoders>,
    /// The framed message, if there are many pipes. Made in its place, since it is large: a move would take longer
    /// than a push.
    copies: Option<Copies<'p>>,
    /// The number of pipes that may still come.
    left: usize,
    pipes: &'p mut Pipes,
    counters: &'p Counters,
    effects: &'p mut Effects,
    total: Total,
}

/// The counts of a broadcast so far.
#[derive(Default)]
struct Total {
    pushed: u64,
    handed_over: u64,
    evicted: u64,
    /// Those that did not belong to the peer yet.
    evicted_here: u64,
}

impl<'p> Broadcasting<'p> {
    #[inline]
    pub(super) fn new(port: &'p mut SocketPort<'_>, message: Broadcast<'p>, pipes: usize) -> Self {
        let SocketPort { pipes: table, counters, effects, encoders, .. } = port;
        let total = Total::default();
        let encoders = (pipes >= MANY).then_some(&mut **encoders);
        Self {
            message,
            encoders,
            copies: None,
            left: pipes,
            pipes: table,
            counters,
            effects,
            total,
        }
    }
}

impl protocol::Broadcasting for Broadcasting<'_> {
    #[inline]
    fn push(&mut self, id: PipeId) -> Result<bool, PushError> {
        let Self { message, encoders, copies, left, pipes, effects, total, .. } = self;
        let &mut Broadcast { header, body, overflow } = message;
        *left -= 1;
        let pipe = pipes.usable_mut(id).ok_or(PushError::Gone)?;
        let admitted = match overflow {
            Overflow::DropOldest => pipe.send.make_room(),
            _ => pipe.send.admit().map(|()| 0),
        };
        match admitted {
            Ok(0) => {}
            Ok(evicted) => total.add_evicted(pipe, evicted, effects),
            Err(refusal) => return Err(pipe.refuse(refusal, effects)),
        }
        if let Some(encoders) = encoders.take() {
            *copies = Some(encoders.copies(header, body));
        }
        let pushed = match copies {
            Some(copies) => {
                let framing = pipe.send.framing();
                pipe.send.add_encoded(copies.encoded(framing))
            }
            None => pipe.send.add(header, body),
        };
        let wake = match pushed {
            Ok(wake) => wake,
            Err(refusal) => return Err(pipe.refuse(refusal, effects)),
        };
        total.pushed += 1;
        total.handed_over += u64::from(pipe.is_direct());
        if wake.0 {
            // The consumers of all remaining pipes may sleep.
            effects.reserve_bells(*left);
        }
        pipe.count_sent(header.len() + body.len(), wake, effects);
        Ok(overflow != Overflow::Wait || pipe.ask_room(effects))
    }
}

impl Total {
    /// Counts messages that had to make room for a copy.
    #[cold]
    fn add_evicted(&mut self, pipe: &mut Pipe, evicted: u64, effects: &mut Effects) {
        pipe.count_dropped(DropReason::SendQueueFull, evicted, effects);
        self.evicted += evicted;
        self.evicted_here += if pipe.is_direct() { 0 } else { evicted };
    }
}

/// Adds the counts of the broadcast to those of the socket.
impl Drop for Broadcasting<'_> {
    #[inline]
    fn drop(&mut self) {
        let Self { counters, total, .. } = self;
        counters.copies_pushed.count(total.pushed);
        counters.copies_handed_over.count(total.handed_over);
        if total.evicted > 0 {
            counters.dropped(DropReason::SendQueueFull, total.evicted);
            counters.copies_evicted.add(total.evicted_here);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::super::Handle;
    use super::super::establish::Dial;
    use super::MANY;
    use crate::options::{EndpointOptions, Options};
    use crate::protocol::{Bus, Protocol, Pub, RawSub};

    fn socket<P: Protocol>(protocol: P) -> Handle<P> {
        Handle::new(protocol, Options::new(), None).expect("the options are good")
    }

    fn send(publisher: &Handle<Pub>) -> bool {
        publisher.enter(|entry| {
            let (protocol, mut port, now) = entry.parts();
            protocol.send(&(), &mut Bytes::from_static(b"x"), now, &mut port).unwrap();
            port.encoders.has_memory()
        })
    }

    #[test]
    fn memory_to_frame_in_is_taken_for_many_peers_and_given_back_with_them() {
        let (url, publisher) =
            ("inproc://broadcast-memory", socket(Pub::new(Pub::OVERFLOW[0], None)));
        publisher.bind(url, &EndpointOptions::new()).unwrap();
        let subscribers: Vec<_> = (1..MANY + 2)
            .map(|n| {
                let subscriber = socket(RawSub::new());
                subscriber.connect(url, &EndpointOptions::new(), Dial::Now).unwrap();
                publisher.wait_for_peers(n, Duration::from_secs(10)).unwrap();
                assert_eq!(send(&publisher), n >= MANY, "few do not need it");
                subscriber
            })
            .collect();
        subscribers.into_iter().skip(MANY - 1).for_each(|subscriber| subscriber.close().unwrap());
        assert!(!publisher.enter(|entry| entry.parts().1.encoders.has_memory()));
    }

    #[test]
    fn a_closed_socket_keeps_no_memory_to_frame_in() {
        let bus = || socket(Bus::new(Bus::OVERFLOW[0]));
        let (url, one, others) = ("inproc://broadcast-closed", bus(), [(); MANY].map(|()| bus()));
        one.bind(url, &EndpointOptions::new()).unwrap();
        for other in &others {
            other.connect(url, &EndpointOptions::new(), Dial::Now).unwrap();
        }
        one.wait_for_peers(MANY, Duration::from_secs(10)).unwrap();
        let has_memory = one.enter(|entry| {
            let (protocol, mut port, now) = entry.parts();
            protocol.send(&(), &mut Bytes::from_static(b"x"), now, &mut port).unwrap();
            port.encoders.has_memory()
        });
        assert!(has_memory);
        one.close().unwrap();
        assert!(!one.enter(|entry| entry.parts().1.encoders.has_memory()));
    }
}
