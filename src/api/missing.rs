//! Calls that a socket lacks and people look for, so that the compiler can say what to call instead.
//!
//! None of these methods can be called: each has a bound that the role does not meet. A program that tries does
//! not compile, and its author reads the notes of [`Sends`] or [`Receives`].

use super::role::{NoRecv, NoSend, Receives, Role, Sends};
use super::socket::Socket;

#[doc(hidden)]
impl<R: Role, V> Socket<R, NoSend, V> {
    pub fn send(&self, _: impl Sized)
    where
        R: Sends,
    {
    }

    pub fn try_send(&self, _: impl Sized)
    where
        R: Sends,
    {
    }

    pub fn send_async(&self, _: impl Sized)
    where
        R: Sends,
    {
    }
}

#[doc(hidden)]
impl<R: Role, S> Socket<R, S, NoRecv> {
    pub fn recv(&self)
    where
        R: Receives,
    {
    }

    pub fn try_recv(&self)
    where
        R: Receives,
    {
    }

    pub fn recv_async(&self)
    where
        R: Receives,
    {
    }
}
