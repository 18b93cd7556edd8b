//! The bytes on a stream connection.
//!
//! Owns the two layers that all stream transports share: the [`header`] that both sides send once, and
//! the [`frame`]s that follow. The code is pure: bytes come in as slices and go out as values, so it can
//! be run, tested and fuzzed without a socket. It knows nothing of protocol headers: here the bytes of
//! an SP message are opaque.
//!
//! Everything read here was written by a peer, which may be hostile. No input makes this code panic or
//! take memory that the peer has not paid for with bytes, and no violation is forgiven: it becomes an
//! error, which ends the connection.

#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]
#![cfg_attr(not(any(test, fuzzing)), deny(clippy::expect_used, clippy::panic, clippy::unwrap_used))]
#![cfg_attr(
    any(test, fuzzing),
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub(crate) mod frame;
pub(crate) mod header;
#[cfg(feature = "ws")]
pub(crate) mod ws;

pub use frame::Framing;
pub(crate) use frame::{Decoder, FrameError, Piece};
pub(crate) use header::HeaderParser;
