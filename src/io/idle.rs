//! Idle: what a connection gives back when it has carried nothing for a while.
//!
//! A ring keeps the block it has filled last, and up to two spare ones, so that a pipe in use takes no new
//! memory for each message. This file owns the list of connections that may have such memory, and the
//! times at which the driver checks it. A connection joins the list with the first bytes it carries, and
//! leaves it when it has been idle from one check to the next. Idle connections are on no list, so they
//! cost no time, however many there are.

use std::time::{Duration, Instant};

use mio::Token;

use super::connection::FrameProgress;
use super::timers::TimerKey;
use super::{Driver, Due};
use crate::room::GiveBack;
use crate::sync::Ordering;
use crate::time;

/// The time between two checks. A pipe that carries messages further apart allocates its blocks anew for
/// each.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest time between two checks while every connection on the list waits for a socket that takes
/// no messages.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A connection that has carried something lately.
#[derive(Debug)]
struct Active {
    token: Token,
    /// How many messages had left its rings at the last check: sent and received.
    seen: Option<(u64, u64)>,
    /// How far a message had come at the last check that was not whole.
    progress: Option<FrameProgress>,
}

/// What a check of a connection has shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Activity {
    /// It is in use.
    Busy,
    /// Messages lie in its rings, and nobody takes them.
    Stuck,
    /// It has released its memory, or is gone.
    Idle,
}

/// The connections that have carried something lately.
#[derive(Debug)]
pub(super) struct Idle {
    active: Vec<Active>,
    timer: Option<TimerKey>,
    pause: Duration,
}

impl Idle {
    pub(super) fn new() -> Self {
        Self { active: Vec::new(), timer: None, pause: PAUSE }
    }

    /// Whether the next check comes soon.
    fn is_near(&self) -> bool {
        self.timer.is_some() && self.pause == PAUSE
    }

    /// Adds a connection that has carried something. Returns when the next check is due, if that changes.
    fn add(&mut self, token: Token) -> Option<Instant> {
        self.active.push(Active { token, seen: None, progress: None });
        self.hurry()
    }

    /// Wants a check soon. Returns when it is due, if that changes.
    fn hurry(&mut self) -> Option<Instant> {
        if self.is_near() {
            return None;
        }
        self.pause = PAUSE;
        Some(time::now() + PAUSE)
    }

    /// Keeps what is `left` of the list after a check; `stuck`: none of it was in use. Returns when the next
    /// check is due, if there is one: after `longest` at the latest.
    fn go_on(
        &mut self,
        mut left: Vec<Active>,
        stuck: bool,
        longest: Option<Duration>,
    ) -> Option<Instant> {
        self.timer = None;
        self.pause = if stuck { (self.pause * 2).min(LONGEST_PAUSE) } else { PAUSE };
        left.shrink_to(left.len() * 2);
        self.active = left;
        let pause = longest.map_or(self.pause, |longest| longest.min(self.pause));
        (!self.active.is_empty()).then(|| time::now() + pause)
    }
}

impl Driver {
    /// Notes that a connection carries something, for the first time or after it was idle.
    pub(super) fn on_active(&mut self, token: Token) {
        let at = self.idle.add(token);
        self.check_idle_at(at);
    }

    /// Notes that a connection has gone: what the driver keeps for as many is perhaps not needed any more.
    pub(super) fn on_gone(&mut self) {
        let at = self.idle.hurry();
        self.check_idle_at(at);
    }

    /// Releases the memory of every connection that has been idle since the last check, and if there is no other, what
    /// the driver itself keeps.
    pub(super) fn check_idle(&mut self) {
        let (mut left, mut busy) = (std::mem::take(&mut self.idle.active), false);
        let (mut stalled, mut earliest) = (Vec::new(), None);
        left.retain_mut(|Active { token, seen, progress }| {
            let Some(connection) = self.connections.get(*token) else { return false };
            let activity = connection.release_memory(seen);
            busy |= activity == Activity::Busy;
            match connection.check_frame(progress) {
                Some(due) if due.is_zero() => stalled.push(*token),
                due => earliest = [earliest, due].into_iter().flatten().min(),
            }
            activity != Activity::Idle
        });
        for token in stalled {
            self.drive(token, |connection, cx| connection.on_frame_timeout(token, cx));
        }
        if left.is_empty() {
            self.cx.read_buffers.release_memory();
            self.ready.give_back();
            self.ready_first.give_back();
            self.closings.give_back();
        }
        let at = self.idle.go_on(left, !busy, earliest);
        self.check_idle_at(at);
    }

    /// Sets the time of the next check, if it changes.
    fn check_idle_at(&mut self, at: Option<Instant>) {
        if let Some(at) = at {
            self.cx.set_timer(&mut self.idle.timer, at, Due::CheckIdle);
        }
        self.cx.mailbox.checks_soon.store(self.idle.is_near(), Ordering::Relaxed);
    }
}
