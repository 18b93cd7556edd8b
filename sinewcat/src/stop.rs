//! The clean end: SIGINT and SIGTERM close the sockets; on Windows Ctrl-C and Ctrl-Break, which count as SIGINT.
//!
//! Owns the signals and what is to be done when one comes. A second one ends the process at once,
//! should it be stuck where no socket can tell it to go on, such as in writing to a full pipe.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Whether the tool was told to end. Cloning makes another handle.
#[derive(Clone, Default)]
pub(crate) struct Stop(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    signal: Option<i32>,
    /// Whether the sockets are being closed.
    closing: bool,
    closers: Vec<Box<dyn FnOnce() + Send>>,
}

impl Stop {
    /// Listens to the signals from now on.
    pub(crate) fn install() -> io::Result<Self> {
        let stop = Self::default();
        let told = stop.clone();
        on_each_signal(move |signal| match told.signal() {
            None => told.end(signal),
            Some(_) => std::process::exit(status(signal).into()),
        })?;
        Ok(stop)
    }

    /// Calls `close` when a signal comes, or now if one has come.
    pub(crate) fn on_signal(&self, close: impl FnOnce() + Send + 'static) {
        let mut state = self.lock();
        match state.signal {
            None => state.closers.push(Box::new(close)),
            Some(_) => {
                drop(state);
                close();
            }
        }
    }

    /// The signal that has come.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.lock().signal
    }

    /// The signal that has come, once everything is closed: a process that ended earlier would leave
    /// its socket files behind.
    pub(crate) fn finish(&self) -> Option<i32> {
        let mut state = self.lock();
        while state.closing {
            state = self.0.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
        state.signal
    }

    /// Rests for a while.
    ///
    /// A signal ends it with [`Failure::Closed`].
    pub(crate) fn rest(&self, time: Duration) -> Outcome {
        let end = Instant::now().checked_add(time);
        let mut state = self.lock();
        while state.signal.is_none() {
            let left =
                end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(());
            }
            let waited = self.0.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(|poisoned| poisoned.into_inner()).0;
        }
        Err(Failure::Closed)
    }

    fn end(&self, signal: i32) {
        let closers = {
            let mut state = self.lock();
            state.signal = Some(signal);
            state.closing = true;
            std::mem::take(&mut state.closers)
        };
        self.0.changed.notify_all();
        closers.into_iter().for_each(|close| close());
        self.lock().closing = false;
        self.0.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Calls `tell` with each signal, on a thread of its own.
#[cfg(unix)]
fn on_each_signal(tell: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM])?;
    std::thread::spawn(move || signals.forever().for_each(tell));
    Ok(())
}

#[cfg(windows)]
fn on_each_signal(tell: impl Fn(i32) + Send + 'static) -> io::Result<()> {
    const SIGINT: i32 = 2;
    ctrlc::set_handler(move || tell(SIGINT)).map_err(io::Error::other)
}

/// What a shell calls a process that a signal has ended: 128 and the signal's number.
pub(crate) fn status(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
