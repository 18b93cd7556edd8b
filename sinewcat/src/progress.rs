//! A bar that shows the progress of a benchmark, only on a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How often the bar is drawn.
const FRAME: Duration = Duration::from_millis(100);
const WIDTH: usize = 30;

/// Draws on standard error, in one line, which it clears when dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    label: &'static str,
    total: u64,
    /// `None`: there is no terminal.
    next: Option<Instant>,
}

impl Progress {
    pub(crate) fn new(label: &'static str, total: u64) -> Self {
        let next = io::stderr().is_terminal().then(Instant::now);
        Self { label, total, next }
    }

    /// Draws the bar for this many done.
    pub(crate) fn at(&mut self, done: u64) {
        let Some(next) = self.next else { return };
        // Does not read the clock for each message.
        if done % 64 != 1 && done < self.total {
            return;
        }
        let now = Instant::now();
        if now < next && done < self.total {
            return;
        }
        self.next = now.checked_add(FRAME);
        let done = done.min(self.total);
        let percent = done * 100 / self.total.max(1);
        let full = usize::try_from(percent).unwrap_or(100) * WIDTH / 100;
        let bar = format!("{}{}", "#".repeat(full), ".".repeat(WIDTH - full));
        // Nothing is lost if this cannot be written.
        let _ = write!(io::stderr(), "\r{} [{bar}] {percent:3}%", self.label);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.next.is_some() {
            let _ = write!(io::stderr(), "\r{:1$}\r", "", self.label.len() + WIDTH + 8);
        }
    }
}
