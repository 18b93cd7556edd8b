//! The clean end: SIGINT and SIGTERM close the sockets.

use std::io;
use std::thread;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `close` on a thread of its own when SIGINT or SIGTERM arrives.
///
/// Closing a socket is all it takes to stop a program: every call that waits on the socket, in
/// whatever thread, returns `Closed`, and the loops around those calls end.
pub(crate) fn on_signal(close: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if signals.forever().next().is_some() {
            close();
        }
    });
    Ok(())
}
