//! Threads of what stands on top of the sockets.
//!
//! Owns how they are started: in a simulation on the host of the thread that starts them.

use std::{io, thread};

/// Starts a thread. Nobody joins it: it ends when the sockets are closed on which it waits.
pub(crate) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    #[cfg(feature = "testing")]
    if crate::time::is_simulated() {
        drop(crate::testing::spawn(body));
        return Ok(());
    }
    thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}
