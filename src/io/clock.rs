//! The clock: has a task turn the loop when a timer is due.
//!
//! A thread that leads sleeps in the poll until the next timer is due. A task does not sleep there, and has
//! no clock but its executor's, of which we know nothing. Owns what wakes it instead: a timerfd among what
//! the poll watches, or, on systems that have none, a thread that sleeps.

use std::io;
use std::time::Instant;

use super::Mailbox;
use crate::sync::Arc;
use system::Timer;

/// Wakes the task that turns a loop.
#[derive(Debug)]
pub(super) struct Clock {
    /// When it strikes, if it has not yet.
    set: Option<Instant>,
    timer: Timer,
}

impl Clock {
    pub(super) fn new(mailbox: &Arc<Mailbox>) -> io::Result<Self> {
        Ok(Self { set: None, timer: Timer::new(mailbox)? })
    }

    /// Sees to it that the task is woken at `due`, and perhaps once before: a clock that strikes earlier is
    /// not put off. Timers are called off far more often than they fire.
    pub(super) fn set(&mut self, due: Option<Instant>) -> io::Result<()> {
        let Some(due) = due else { return Ok(()) };
        let now = Instant::now();
        if self.set.is_some_and(|set| now < set && set <= due) {
            return Ok(());
        }
        self.timer.set(due, now)?;
        self.set = Some(due);
        Ok(())
    }
}

#[cfg(all(any(target_os = "linux", target_os = "android"), not(sinew_socketpair)))]
mod system {
    use std::io;
    use std::os::fd::{AsFd, AsRawFd};
    use std::time::{Duration, Instant};

    use mio::Interest;
    use mio::unix::SourceFd;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};

    use crate::io::Mailbox;
    use crate::io::table::WAKE;
    use crate::sync::Arc;

    /// A timerfd. It makes the poll's descriptor readable, and so wakes who watches that.
    #[derive(Debug)]
    pub(super) struct Timer(TimerFd);

    impl Timer {
        pub(super) fn new(mailbox: &Arc<Mailbox>) -> io::Result<Self> {
            let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
            let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
            let descriptor = timer.as_fd().as_raw_fd();
            mailbox.registry.register(&mut SourceFd(&descriptor), WAKE, Interest::READABLE)?;
            Ok(Self(timer))
        }

        pub(super) fn set(&self, due: Instant, now: Instant) -> io::Result<()> {
            // Zero would stop it.
            let left = due.saturating_duration_since(now).max(Duration::from_nanos(1));
            let expiration = Expiration::OneShot(left.into());
            Ok(self.0.set(expiration, TimerSetTimeFlags::empty())?)
        }
    }
}

/// Where there is no timerfd, and with `--cfg sinew_socketpair`, by which it is tested on Linux.
#[cfg(any(not(any(target_os = "linux", target_os = "android")), sinew_socketpair))]
mod system {
    use std::io;
    use std::thread;
    use std::time::Instant;

    use crate::io::Mailbox;
    use crate::sync::{Arc, Condvar, Mutex, Rank, Weak};

    /// A thread that sleeps until it is time, and then wakes the task.
    #[derive(Debug)]
    pub(super) struct Timer(Arc<Shared>);

    #[derive(Debug)]
    struct Shared {
        order: Mutex<Order>,
        changed: Condvar,
    }

    #[derive(Debug)]
    enum Order {
        Wait,
        Strike(Instant),
        End,
    }

    impl Timer {
        pub(super) fn new(mailbox: &Arc<Mailbox>) -> io::Result<Self> {
            let order = Mutex::new(Rank::Task, Order::Wait);
            let shared = Arc::new(Shared { order, changed: Condvar::new() });
            let clock = Arc::clone(&shared);
            let mailbox = Arc::downgrade(mailbox);
            thread::Builder::new()
                .name("sinew-clock".to_owned())
                .spawn(move || clock.run(&mailbox))?;
            Ok(Self(shared))
        }

        pub(super) fn set(&self, due: Instant, _: Instant) -> io::Result<()> {
            self.0.order(Order::Strike(due));
            Ok(())
        }
    }

    impl Drop for Timer {
        fn drop(&mut self) {
            self.0.order(Order::End);
        }
    }

    impl Shared {
        fn order(&self, order: Order) {
            *self.order.lock() = order;
            self.changed.notify_one();
        }

        fn run(&self, mailbox: &Weak<Mailbox>) {
            let mut order = self.order.lock();
            loop {
                match *order {
                    Order::End => return,
                    Order::Wait => order = self.changed.wait(order),
                    Order::Strike(due) => {
                        let left = due.saturating_duration_since(Instant::now());
                        if !left.is_zero() {
                            (order, _) = self.changed.wait_timeout(order, left);
                            continue;
                        }
                        *order = Order::Wait;
                        drop(order);
                        if let Some(mailbox) = mailbox.upgrade() {
                            mailbox.rouse(|_| true);
                        }
                        order = self.order.lock();
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::io::Driver;

    #[test]
    fn a_clock_that_strikes_before_it_is_due_is_not_put_off() {
        let driver = Driver::new().unwrap();
        let mut clock = Clock::new(driver.mailbox()).unwrap();
        let at = |seconds| Some(Instant::now() + Duration::from_secs(seconds));
        let (early, late) = (at(100), at(200));
        for (due, set) in [(None, None), (late, late), (early, early), (late, early), (None, early)]
        {
            clock.set(due).unwrap();
            assert_eq!(clock.set, set);
        }
        // It has struck, or does so at once.
        let past = Some(Instant::now());
        clock.set(past).unwrap();
        assert_eq!(clock.set, past);
        clock.set(late).unwrap();
        assert_eq!(clock.set, late);
    }
}
