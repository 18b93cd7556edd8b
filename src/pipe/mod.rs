//! Pipes: what joins two sockets, seen from one of them.
//!
//! A pipe is two rings and two bells. The rings carry framed messages, one in each direction; a bell
//! says "look here" when the far end had gone to sleep. For a stream the far ends are held by its
//! connection, for inproc by the other socket. To the socket that makes two differences only: whose a message
//! is once it is in the ring, and whether it can be written.
//!
//! | file | |
//! |---|---|
//! | `far` | who is at the far ends |
//! | `closing` | what a closing socket still writes itself |
//! | `bell`, `visits` | how a socket learns what has happened to its pipes, and who enters it for that |
//! | `host` | the socket, for those who bring it pipes |
//! | `endpoint`, `recv_limit` | what made a pipe: shared by the program, the socket and who connects |
//! | `ids` | the numbering of pipes |

mod bell;
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
pub(crate) use closing::FinalWrite;
pub(crate) use far::{FarEnd, FarLink, FarSocket};
pub(crate) use host::{Host, Intake, NewPipe, Postponed};
pub(crate) use ids::PipeLease;

/// Empties a ring whose messages nobody will consume any more; says how many there were.
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
