//! The clean end: SIGINT and SIGTERM close the sockets; on Windows Ctrl-C and Ctrl-Break do.

use std::io;

/// Calls `close` on a thread of its own when SIGINT or SIGTERM arrives.
///
/// Closing a socket is all it takes to stop a program: every call that waits on the socket, in
/// whatever thread, returns `Closed`, and the loops around those calls end.
#[cfg(unix)]
pub(crate) fn on_signal(close: impl FnOnce() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            close();
        }
    });
    Ok(())
}

#[cfg(windows)]
pub(crate) fn on_signal(close: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut close = Some(close);
    ctrlc::set_handler(move || {
        if let Some(close) = close.take() {
            close();
        }
    })
    .map_err(io::Error::other)
}
