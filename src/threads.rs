//! Threads of what stands on top of the sockets.
//!
//! Owns how they are started, in a simulation on the host of the thread that starts them, and how they end.

use std::io;
use std::ops::Deref;

use crate::sync::{Arc, thread};

/// What threads work on until it is closed.
pub(crate) trait Close {
    fn close(&self);
}

/// What the handles of such a thing share: with the last of them it is closed. The threads share only what is inside.
pub(crate) struct Running<S: Close>(pub(crate) Arc<S>);

impl<S: Close> Drop for Running<S> {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl<S: Close> Deref for Running<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.0
    }
}

/// Starts a thread. Nobody joins it: it ends when the sockets are closed on which it waits.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(feature = "testing")]
    if crate::time::is_simulated() {
        drop(crate::testing::spawn(body));
        return Ok(());
    }
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
