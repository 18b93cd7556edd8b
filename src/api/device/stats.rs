//! The account of a device: what it has received is sent, dropped for a reason, or in its hand.

use std::fmt;

use crate::api::observe::write_indented;
use crate::stats::{DropReason, Stats};

/// What the sockets of a device have done so far, and the device between them, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct DeviceStats {
    /// The socket given first, or the only one.
    pub front: Stats,
    /// The socket given second, or the only one.
    pub back: Stats,
    /// For each direction, what was received and is neither sent nor dropped.
    #[cfg_attr(feature = "serde", serde(serialize_with = "write_held"))]
    pub(super) held: Vec<i64>,
    pub(super) running: bool,
}

impl DeviceStats {
    /// Gauge: messages that the device has received and waits to send; at most one for each direction.
    pub fn held(&self) -> u64 {
        in_hand(&self.held)
    }

    /// Checks the conservation law: that of each socket, and that everything the device has received was
    /// sent, was dropped for a counted reason, or is held by it (nothing is after the end).
    ///
    /// The law holds when the device has ended, or forwards nothing at the moment. Figures read while
    /// messages pass through may be off by what happened in between.
    ///
    /// # Errors
    ///
    /// A sentence with the figures that do not add up.
    pub fn check_conservation(&self) -> Result<(), String> {
        self.front.check_conservation().map_err(|broken| format!("front: {broken}"))?;
        self.back.check_conservation().map_err(|broken| format!("back: {broken}"))?;
        let most = i64::from(self.running);
        match self.held.iter().find(|held| !(0..=most).contains(*held)) {
            Some(held) => Err(format!("{held} received more than sent or dropped, of {most}")),
            None => Ok(()),
        }
    }
}

/// Writes text for people: whether it runs and how many messages it holds; then, for the front and for the
/// back, a line for each figure that is not zero. Each line ends with a line feed.
///
/// Do not parse it: any version may change it.
///
/// ```
/// let device = sinew::Device::new(sinew::raw::Pull::new(), sinew::raw::Push::new())?;
/// assert_eq!(device.handle().stats().to_string(), "not running, 0 in hand\nfront\nback\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
impl fmt::Display for DeviceStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = if self.running { "running" } else { "not running" };
        writeln!(f, "{state}, {} in hand", self.held())?;
        for (side, stats) in [("front", &self.front), ("back", &self.back)] {
            writeln!(f, "{side}")?;
            write_indented(f, stats)?;
        }
        Ok(())
    }
}

/// The messages held in all directions. Figures read while messages pass through may be off, even below zero.
pub(super) fn in_hand(held: &[i64]) -> u64 {
    held.iter().map(|&held| u64::try_from(held).unwrap_or(0)).sum()
}

/// The account of one direction.
pub(super) struct Flow {
    from: usize,
    to: usize,
    /// How far the sockets' counts were apart when the device got them.
    begin: i64,
}

impl Flow {
    pub(super) fn new(from: usize, to: usize) -> Self {
        Self { from, to, begin: 0 }
    }

    pub(super) fn begin(&mut self, stats: &[Stats; 2]) {
        self.begin = self.held(stats);
    }

    /// What was received and is neither sent nor dropped.
    pub(super) fn held(&self, stats: &[Stats; 2]) -> i64 {
        let to = &stats[self.to];
        let dropped = [DropReason::DeviceStopped, DropReason::TooLarge, DropReason::BadHeader];
        let dropped: u64 = dropped.iter().map(|&reason| to.drops(reason)).sum();
        let gone = to.messages_sent.wrapping_add(dropped);
        stats[self.from].messages_received.wrapping_sub(gone).cast_signed() - self.begin
    }
}

/// Writes the number of messages that a device holds, both directions together.
#[cfg(feature = "serde")]
fn write_held<S: serde::Serializer>(held: &[i64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(in_hand(held))
}
