//! Iterators over what a socket receives, like those of the channels of the standard library.
//!
//! Owns the three iterators. Each is a socket, or a reference to one, and receives when its `next` is
//! called.

use std::iter::FusedIterator;

use super::observe::Sealed;
use crate::socket::{Events, PipeEvent};

/// Yields what a socket receives, waiting for each, until the socket is closed.
///
/// Made by `iter()`, or by a `for` loop over a reference to the socket. The receive timeout has no effect.
/// Several may be in use at once, on any threads; each message goes to one of them. Dropping it loses nothing:
/// it receives only when `next` is called.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct Iter<'a, S>(&'a S);

/// Yields what a socket has already received, without waiting: ends when nothing is queued, or when the socket
/// is closed. May yield again later.
///
/// Made by `try_iter()`.
#[derive(Clone, Copy, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct TryIter<'a, S>(&'a S);

/// Yields what a socket receives, waiting for each, until the socket is closed. Holds a handle, and so keeps
/// the socket open.
///
/// Made by `into_iter()`, or by a `for` loop over the socket itself. Otherwise as [`Iter`].
#[derive(Clone, Debug)]
#[must_use = "nothing is received before it is asked for the next"]
pub struct IntoIter<S>(S);

/// What these iterators receive from: sockets that receive, contexts of a SUB, surveys, and the events of a
/// socket. Made here only.
#[expect(private_bounds, reason = "made here only")]
pub trait Iterated: Sealed {
    /// What is received.
    type Item;

    /// Receives the next one, however long that takes; `None`: there will be none.
    #[doc(hidden)]
    fn next(&self) -> Option<Self::Item>;

    /// Receives the next one if there is one now.
    #[doc(hidden)]
    fn try_next(&self) -> Option<Self::Item>;
}

impl<S: Iterated> Iterator for Iter<'_, S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        self.0.next()
    }
}

// What is closed stays closed.
impl<S: Iterated> FusedIterator for Iter<'_, S> {}

impl<S: Iterated> Iterator for TryIter<'_, S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        self.0.try_next()
    }
}

impl<S: Iterated> Iterator for IntoIter<S> {
    type Item = S::Item;

    fn next(&mut self) -> Option<S::Item> {
        self.0.next()
    }
}

impl<S: Iterated> FusedIterator for IntoIter<S> {}

impl<'a, S> Iter<'a, S> {
    pub(in crate::api) fn of(socket: &'a S) -> Self {
        Self(socket)
    }
}

impl<'a, S> TryIter<'a, S> {
    pub(in crate::api) fn of(socket: &'a S) -> Self {
        Self(socket)
    }
}

impl<S> IntoIter<S> {
    pub(in crate::api) fn of(socket: S) -> Self {
        Self(socket)
    }
}

impl Events {
    /// Iterates over the events that are there now, without waiting: ends where `try_recv` fails.
    pub fn try_iter(&self) -> TryIter<'_, Self> {
        TryIter::of(self)
    }
}

impl Sealed for Events {}

impl Iterated for Events {
    type Item = PipeEvent;

    fn next(&self) -> Option<PipeEvent> {
        self.recv().ok()
    }

    fn try_next(&self) -> Option<PipeEvent> {
        self.try_recv().ok()
    }
}
