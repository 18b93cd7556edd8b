//! A task that turns the loop, where there is no I/O thread.
//!
//! The task stands where the I/O thread would: it leads for one turn at a time, never waits in the poll, and
//! is called when somebody posts something while nobody leads. Its executor watches the poll's descriptor
//! for it. Owns the place where the task is woken, and its turn.
//!
//! Threads that wait in a call lead and follow as if there were no task. Each that goes away calls the task,
//! which finds the driver free, and sees to the timers from then on.
//!
//! The order in which no call is missed: the task leaves its waker, and then tries to take the driver.
//! If another thread has it, that thread gives it back, and then calls the task. If not, the task makes a turn,
//! says that nobody leads, and then looks for what was posted before. Whoever takes the waker out
//! wakes the task, which comes again and leaves a new one.

#[cfg(unix)]
use std::io;
use std::task::Waker;

#[cfg(unix)]
use super::Leadership;
use crate::signal::Sleeper;
use crate::sync::{Mutex, Rank};

/// Where the task that turns a loop can be woken. There is at most one.
#[derive(Debug)]
pub(crate) struct TaskPlace {
    task: Mutex<Task>,
}

#[derive(Debug, Default)]
struct Task {
    exists: bool,
    /// Taken by whoever wakes it.
    waker: Option<Waker>,
}

impl TaskPlace {
    pub(crate) fn new() -> Self {
        Self { task: Mutex::new(Rank::Task, Task::default()) }
    }

    /// Claims the place. `false`: another task has it.
    pub(crate) fn claim(&self) -> bool {
        !std::mem::replace(&mut self.task.lock().exists, true)
    }

    /// Gives up the place.
    pub(crate) fn leave(&self) {
        let task = std::mem::take(&mut *self.task.lock());
        // The waker is not ours, and may be the last of its task: no lock is held any more.
        drop(task);
    }

    /// Sets by what the task is woken.
    fn set(&self, waker: &Waker) {
        if self.task.lock().waker.as_ref().is_some_and(|it| it.will_wake(waker)) {
            return;
        }
        let waker = Some(waker.clone());
        let before = std::mem::replace(&mut self.task.lock().waker, waker);
        drop(before);
    }

    /// Wakes the task, if there is one and it has not been woken yet.
    pub(crate) fn wake(&self) {
        let waker = self.task.lock().waker.take();
        waker.into_iter().for_each(|waker| Sleeper::Task(waker).wake());
    }
}

/// What came of a task's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaskTurn {
    /// Everything that was due is done.
    Done,
    /// More is due.
    More,
    /// Another thread leads, and wakes the task when it leaves.
    Led,
    /// The runtime is gone, or lost.
    Over,
}

#[cfg(unix)]
impl Leadership {
    /// Makes a turn without waiting, for a task that is woken by `waker` when another is due. The operating
    /// system is asked only if `ask`, or if it may have more than it said last.
    pub(crate) fn turn_for_task(&self, waker: &Waker, ask: bool) -> io::Result<TaskTurn> {
        self.mailbox.task.set(waker);
        let Some(mut driver) = self.take() else { return Ok(TaskTurn::Led) };
        let turned = self
            .run(&mut driver, |driver| driver.turn_at_once(ask).and_then(|()| driver.set_clock()));
        let (over, more) = (driver.is_stopped(), driver.has_more_to_do());
        self.give_up(driver);
        self.wake_followers();
        turned.unwrap_or(Ok(()))?;
        if over {
            Ok(TaskTurn::Over)
        } else if more || !self.mailbox.state.is_empty() {
            Ok(TaskTurn::More)
        } else {
            Ok(TaskTurn::Done)
        }
    }
}

/// That no call is missed, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use std::future::poll_fn;
    use std::task::Poll;

    use loom::sync::Arc;
    use loom::thread;

    use super::super::state::{Call, LeaderState};
    use super::*;
    use crate::sync::{AtomicUsize, Ordering, bounded};

    const FREE: usize = 0;
    const TAKEN: usize = 1;

    /// An event loop: its driver counts the commands it has taken.
    struct Loop {
        state: LeaderState<(), ()>,
        place: TaskPlace,
        /// The driver's lock. Not loom's, in which no thread is interrupted between two releases.
        driver: AtomicUsize,
        taken: AtomicUsize,
    }

    impl Loop {
        fn new() -> Arc<Self> {
            let (driver, taken) = (AtomicUsize::new(FREE), AtomicUsize::new(0));
            Arc::new(Self { state: LeaderState::new(), place: TaskPlace::new(), driver, taken })
        }

        /// As `Mailbox::post`.
        fn post(&self) {
            self.state.push(());
            if self.state.call(|_| true) == Some(Call::IoThread) {
                self.place.wake();
            }
        }

        /// As `Driver::turn_at_once`.
        fn turn(&self) {
            self.state.at_work();
            let taken = self.taken() + self.state.take().len();
            self.taken.store(taken, Ordering::Relaxed);
        }

        fn taken(&self) -> usize {
            self.taken.load(Ordering::Relaxed)
        }

        /// As `Leadership::take`: whether the caller leads now.
        fn take(&self) -> bool {
            let (success, failure) = (Ordering::Acquire, Ordering::Relaxed);
            self.driver.compare_exchange(FREE, TAKEN, success, failure).is_ok()
        }

        /// As `Leadership::give_up`.
        fn give_up(&self) {
            self.state.away();
            self.driver.store(FREE, Ordering::Release);
        }

        /// As `Leadership::turn_for_task`, and `EventLoop::drive`.
        fn turn_for_task(&self, waker: &Waker) {
            self.place.set(waker);
            if self.take() {
                self.turn();
                self.give_up();
                if !self.state.is_empty() {
                    waker.wake_by_ref();
                }
            }
        }

        /// As `Leadership::lead_or_follow`, for a thread that waits no longer after one turn.
        fn lead_once(&self) {
            if self.take() {
                self.turn();
                self.give_up();
                self.place.wake();
            }
        }
    }

    /// One thread posts, one leads for a turn; the task sleeps until the command was taken.
    #[test]
    fn a_task_takes_what_is_posted_and_the_loop_that_others_leave() {
        bounded(3).check(|| {
            let it = Loop::new();
            let poster = thread::spawn({
                let it = Arc::clone(&it);
                move || it.post()
            });
            let leader = thread::spawn({
                let it = Arc::clone(&it);
                move || it.lead_once()
            });
            assert!(it.place.claim());
            loom::future::block_on(poll_fn(|cx| {
                it.turn_for_task(cx.waker());
                if it.taken() == 1 { Poll::Ready(()) } else { Poll::Pending }
            }));
            it.place.leave();
            poster.join().unwrap();
            leader.join().unwrap();
        });
    }
}
