//! Asking: runs the program's `admit` callback where it holds up nobody but the peer it is about.
//!
//! Owns threads that exist only while there are callbacks to run, and a moment longer. The connection
//! that is decided about is parked meanwhile, and its loop goes on; what was decided comes back to the
//! loop as a command.

use std::collections::VecDeque;
use std::fmt;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;

use crate::contain::contain;
use crate::sync::{Arc, Condvar, Mutex};

/// How many callbacks of one loop run at the same time. They mostly wait for something, a look-up or a
/// data base, and then cost next to nothing; further peers wait for one of these.
const THREADS: usize = 64;
/// How long a thread waits for the next peer: those that come one after the other need not have a new
/// thread each.
const IDLE: Duration = Duration::from_millis(500);

/// Asks on threads of its own.
#[derive(Default)]
pub(super) struct Askers {
    state: Mutex<State>,
    news: Condvar,
}

#[derive(Default)]
struct State {
    questions: VecDeque<Question>,
    threads: usize,
    /// Of these, those that wait for a question.
    idle: usize,
    /// There will be no more questions.
    over: bool,
}

type Question = Box<dyn FnOnce() + Send>;

impl Askers {
    /// Runs `question` on another thread, or in the caller's if no thread can be had.
    pub(super) fn ask(self: &Arc<Self>, question: impl FnOnce() + Send + 'static) {
        let mut state = self.state.lock();
        state.questions.push_back(Box::new(question));
        if state.idle >= state.questions.len() || state.threads == THREADS {
            drop(state);
            return self.news.notify_one();
        }
        state.threads += 1;
        drop(state);
        let this = Arc::clone(self);
        let thread = thread::Builder::new().name("sinew-admit".to_owned());
        if let Err(error) = thread.spawn(move || this.work()) {
            crate::contain::log!(Error, "no thread for admit callbacks: {error}");
            self.go_without();
        }
    }

    /// No more questions: threads that wait for one end. Callbacks that run are not waited for.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        state.over = true;
        let unasked = std::mem::take(&mut state.questions);
        drop(state);
        self.news.notify_all();
        drop(unasked);
    }

    /// A thread could not be started. The others do its work; where there are none it is done here.
    fn go_without(&self) {
        let mut state = self.state.lock();
        state.threads -= 1;
        if state.threads > 0 {
            return;
        }
        let questions = std::mem::take(&mut state.questions);
        drop(state);
        questions.into_iter().for_each(run);
    }

    fn work(&self) {
        while let Some(question) = self.next() {
            run(question);
        }
    }

    /// The next question; `None` when none has come for a while, and the thread is to end.
    fn next(&self) -> Option<Question> {
        let mut state = self.state.lock();
        loop {
            if let Some(question) = state.questions.pop_front() {
                return Some(question);
            }
            let waited = match state.over {
                true => None,
                false => {
                    state.idle += 1;
                    let woken = self.news.wait_timeout(state, IDLE);
                    let (back, outcome) = woken.unwrap_or_else(PoisonError::into_inner);
                    state = back;
                    state.idle -= 1;
                    Some(outcome)
                }
            };
            if state.questions.is_empty() && waited.is_none_or(|it| it.timed_out()) {
                state.threads -= 1;
                return None;
            }
        }
    }
}

fn run(question: Question) {
    contain("what an admit callback holds", question);
}

impl fmt::Debug for Askers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock();
        write!(f, "Askers({} questions, {} threads)", state.questions.len(), state.threads)
    }
}
