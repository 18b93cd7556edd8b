//! What stands on a stream connection, byte by byte.
//!
//! Owns the two layers every stream transport shares: the [`header`] that both sides send once, and
//! the [`frame`]s that follow. Pure: bytes come in as slices and go out as values, so all of it can
//! be run, tested and fuzzed without a socket. Knows nothing of protocol headers: for this module
//! the bytes of an SP message are opaque.
//!
//! Everything read here was written by a peer, and may be hostile. Nothing it can say panics, makes
//! us take memory it has not paid for with bytes, or is forgiven: a violation is a value that ends
//! the connection.

#![deny(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)]
#![cfg_attr(not(any(test, fuzzing)), deny(clippy::expect_used, clippy::panic, clippy::unwrap_used))]
#![cfg_attr(
    any(test, fuzzing),
    allow(clippy::arithmetic_side_effects, clippy::as_conversions, clippy::indexing_slicing)
)]

pub(crate) mod frame;
pub(crate) mod header;

pub use frame::Framing;
pub(crate) use frame::{Decoder, FrameError, Piece};
pub(crate) use header::HeaderParser;
