//! What a role prints: a table that grows by one row for each thing that happens.

use std::fmt::Display;
use std::io::{self, Write};
use std::time::Instant;

/// A table on standard output, its first column the time since it was begun.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    begun: Instant,
}

impl Rows {
    /// Prints the head of the table.
    pub(crate) fn begin(columns: impl Display) -> Self {
        print_line(format_args!("{:>8}  {columns}", "TIME"));
        Self { begun: Instant::now() }
    }

    /// Prints one row.
    pub(crate) fn row(&self, cells: impl Display) {
        let seconds = self.begun.elapsed().as_secs_f64();
        print_line(format_args!("{seconds:7.2}s  {cells}"));
    }
}

/// Prints a line. That nobody reads any more is no reason to stop working.
pub(crate) fn print_line(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
