//! Pipes: connections between two sockets, seen from one of them.
//!
//! A pipe is two rings and two bells. The rings carry framed messages, one in each direction; a bell wakes
//! the far end if it has gone to sleep. The far end is a connection for a stream, and the other socket for
//! inproc. To the socket that makes only two differences: who accounts for a message in the ring, and whether
//! the caller can write it.
//!
//! | file | |
//! |---|---|
//! | `far` | the far ends |
//! | `closing` | what a closing socket writes itself |
//! | `bell`, `visits` | how a socket learns what has happened to its pipes, and which thread enters it |
//! | `host` | the socket, for the layers that bring it pipes |
//! | `endpoint`, `recv_limit` | what made a pipe: shared by the program, the socket and the event loop |
//! | `ids` | the numbering of pipes |
//! | `budget` | how much the connections of a socket hold together |

mod bell;
mod budget;
mod closing;
pub(crate) mod endpoint;
mod far;
mod host;
mod ids;
pub(crate) mod recv_limit;
mod visits;

use std::io::IoSlice;

use crate::body;
use crate::ring::Ring;

pub(crate) use bell::{Edge, SocketBell};
pub(crate) use budget::{Budget, Decision, Demand, LOW_WATER};
pub(crate) use closing::FinalWrite;
pub(crate) use far::{FarEnd, FarLink, FarSocket};
pub(crate) use host::{Host, Intake, NewPipe, Postponed};
pub(crate) use ids::PipeLease;

/// Empties a ring whose messages nobody will consume any more, and returns how many there were.
pub(crate) fn discard(ring: &Ring) -> u64 {
    let _bodies = body::put_off();
    let mut consumer = ring.consumer();
    let mut messages = 0;
    loop {
        let bytes = {
            let mut slices = [IoSlice::new(&[]); 16];
            let n = consumer.slices(&mut slices);
            slices[..n].iter().map(|slice| slice.len()).sum()
        };
        if bytes == 0 {
            return messages;
        }
        messages += consumer.consume(bytes).messages;
    }
}
