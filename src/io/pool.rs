//! Pools: threads that run what may block.
//!
//! An event loop must wait neither for a name server nor for the program's `admit` callback. Owns the
//! queue of such jobs, and threads that exist only while there are jobs to run, and a moment longer.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::contain::contain;
use crate::sync::{Arc, Condvar, Mutex, Rank, thread};

/// A thread waits this long for its next job, so that jobs that come one after the other need no new thread
/// each.
const IDLE: Duration = Duration::from_millis(500);

/// A queue of jobs, and the threads that run them.
pub(super) struct Pool {
    /// The name of the threads.
    name: &'static str,
    /// The number of jobs that run at once. The others wait.
    most: usize,
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    /// The threads that wait for a job.
    idle: usize,
    /// Whether the pool is closed: there will be no more jobs.
    closed: bool,
}

/// A job. It runs on a thread of the pool, or in the caller with the error if no thread can be started.
type Job = Box<dyn FnOnce(Result<(), &io::Error>) + Send>;

impl Pool {
    pub(super) fn new(name: &'static str, most: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            most,
            state: Mutex::new(Rank::Pool, State::default()),
            news: Condvar::new(),
        })
    }

    /// Runs `job` on a thread of the pool, or tells it that no thread can be started.
    pub(super) fn run(self: &Arc<Self>, job: impl FnOnce(Result<(), &io::Error>) + Send + 'static) {
        let mut state = self.state.lock();
        state.jobs.push_back(Box::new(job));
        if state.idle >= state.jobs.len() || state.threads == self.most {
            drop(state);
            return self.news.notify_one();
        }
        state.threads += 1;
        drop(state);
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name(self.name.to_owned());
        if let Err(error) = thread.spawn(move || this.work()) {
            crate::contain::record!(
                Error,
                { reason: error },
                "cannot start a thread {}: {error}",
                self.name
            );
            self.go_without(&error);
        }
    }

    /// Closes the pool: drops the jobs that wait, and ends idle threads. Does not wait for running jobs.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let unstarted = std::mem::take(&mut state.jobs);
        drop(state);
        self.news.notify_all();
        drop(unstarted);
    }

    /// Goes on without a thread that could not be started: the others do its work. Without any, tells the jobs.
    fn go_without(&self, error: &io::Error) {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let jobs = std::mem::take(&mut state.jobs);
        drop(state);
        jobs.into_iter().for_each(|job| self.contain(job, Err(error)));
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            self.contain(job, Ok(()));
        }
    }

    fn contain(&self, job: Job, thread: Result<(), &io::Error>) {
        contain(self.name, || job(thread));
    }

    /// Waits for the next job; `None`: none has come for a while, and the thread must end.
    fn next(&self) -> Option<Job> {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
            let mut gives_up = state.closed;
            if !gives_up {
                state.idle += 1;
                (state, gives_up) = self.news.wait_timeout(state, IDLE);
                state.idle -= 1;
            }
            if state.jobs.is_empty() && gives_up {
                state.threads -= 1;
                return None;
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        write!(f, "{}: {} jobs, {} threads", self.name, state.jobs.len(), state.threads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    fn jobs(pool: &Pool) -> usize {
        pool.state.lock().jobs.len()
    }

    #[test]
    fn without_a_thread_a_job_is_told_and_does_not_wait() {
        let (sender, outcomes) = mpsc::channel();
        let pool = Pool::new("test", 1);
        let job: Job = Box::new(move |thread| sender.send(thread.is_err()).unwrap());
        *pool.state.lock() = State { jobs: VecDeque::from([job]), threads: 1, ..State::default() };
        pool.go_without(&io::Error::from(io::ErrorKind::OutOfMemory));
        assert_eq!(outcomes.recv(), Ok(true));
        assert_eq!(pool.state.lock().threads, 0);
    }

    #[test]
    fn no_more_jobs_run_at_once_than_may_and_one_that_panics_ends_no_thread() {
        let pool = Pool::new("test", 2);
        let (gates, (sender, started)) = ([(); 3].map(|()| mpsc::channel::<()>()), mpsc::channel());
        let open = gates.map(|(open, gate)| {
            let sender = sender.clone();
            pool.run(move |thread| {
                thread.unwrap();
                sender.send(thread::current().id()).unwrap();
                gate.recv().unwrap();
                panic!("as the test wants it");
            });
            open
        });
        let first = [started.recv().unwrap(), started.recv().unwrap()];
        assert_eq!(jobs(&pool), 1);
        open[0].send(()).unwrap();
        assert!(first.contains(&started.recv().unwrap()), "the thread goes on");
        open[1..].iter().for_each(|open| open.send(()).unwrap());
        pool.close();
    }

    #[test]
    fn a_pool_that_is_closed_drops_the_jobs_that_wait() {
        let pool = Pool::new("test", 1);
        let (open, gate) = mpsc::channel::<()>();
        let (begun, begins) = mpsc::channel::<()>();
        let (sender, outcomes) = mpsc::channel::<()>();
        pool.run(move |_| {
            begun.send(()).unwrap();
            gate.recv().unwrap();
        });
        begins.recv().unwrap();
        pool.run(move |_| sender.send(()).unwrap());
        pool.close();
        outcomes.recv().unwrap_err();
        open.send(()).unwrap();
    }
}
