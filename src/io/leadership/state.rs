//! Attention: what the leader of the event loop does, as those see it who have something for it.
//!
//! Owns one word, and the rule by which a call is neither lost nor made twice. Who changes something
//! asks afterwards whom to call; the leader says what it is about to do, and looks once more. Knows
//! nothing of commands, polls and threads.
//!
//! ```text
//!              at_work                 about_to_poll
//!   NONE ------------------> AWAKE <-----------------> POLLING
//!     ^                     |     ^                       |
//!     +------- absent ------+     +---- called, once -----+  (and so from NONE)
//! ```

use crate::sync::{AtomicUsize, Ordering, fence};

/// What the leader does: one of the three below.
#[derive(Debug)]
pub(crate) struct Attention(AtomicUsize);

/// It is at work, or has been called, and looks once more before it sleeps.
const AWAKE: usize = 0;
/// It is in the poll, or about to be.
const POLLING: usize = 1;
/// There is none.
const NONE: usize = 2;

/// Who is to be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// The leader, out of the poll.
    Poll,
    /// The I/O thread: there is no leader.
    IoThread,
}

impl Attention {
    /// There is no leader yet.
    pub(crate) fn new() -> Self {
        Self(AtomicUsize::new(NONE))
    }

    /// Whom to call, so that what was changed before is looked at. Nobody, if somebody will look in
    /// any case. Each call is asked of one caller only.
    pub(crate) fn call(&self, concerned: impl FnOnce(Call) -> bool) -> Option<Call> {
        // Pairs with the fences where the leader says that it sleeps or leaves, and then looks once
        // more: either it sees what was changed, or we see what it does.
        fence(Ordering::SeqCst);
        let seen = self.0.load(Ordering::Relaxed);
        let call = match seen {
            AWAKE => return None,
            POLLING => Call::Poll,
            _ => Call::IoThread,
        };
        if !concerned(call) {
            return None;
        }
        let exchanged = self.0.compare_exchange(seen, AWAKE, Ordering::AcqRel, Ordering::Relaxed);
        exchanged.is_ok().then_some(call)
    }

    /// The leader is about to poll, and looks once more afterwards.
    pub(crate) fn about_to_poll(&self) {
        self.0.store(POLLING, Ordering::Relaxed);
        fence(Ordering::SeqCst); // pairs with the one in `call`
    }

    /// There is a leader, and it is at work.
    pub(crate) fn at_work(&self) {
        self.0.store(AWAKE, Ordering::Relaxed);
    }

    /// There is no leader for now. The caller makes a fence and then looks once more.
    pub(crate) fn absent(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }
}

/// That nothing posted stays lying, in every interleaving. Run with
/// `RUSTFLAGS="--cfg loom" cargo test --release --lib loom`.
#[cfg(all(test, loom))]
mod loom_models {
    use loom::sync::Arc;
    use loom::thread::{self, Thread};

    use super::*;
    use crate::sync::Mutex;

    /// Commands as in the mailbox, with a thread in place of the poll.
    #[derive(Clone)]
    struct Post {
        commands: Arc<Mutex<u32>>,
        attention: Arc<Attention>,
    }

    impl Post {
        fn new() -> Self {
            Self { commands: Arc::new(Mutex::new(0)), attention: Arc::new(Attention::new()) }
        }

        /// Posts a command. To call the poll and to call the I/O thread are both to unpark it here.
        fn post(&self, leader: &Thread) {
            *self.commands.lock() += 1;
            if self.attention.call(|_| true).is_some() {
                leader.unpark();
            }
        }

        fn is_empty(&self) -> bool {
            *self.commands.lock() == 0
        }

        fn take(&self) -> u32 {
            std::mem::take(&mut *self.commands.lock())
        }

        /// As the driver: takes what there is, and polls for more.
        fn turn(&self) -> u32 {
            self.attention.at_work();
            let before = self.take();
            self.attention.about_to_poll();
            if self.is_empty() && before == 0 {
                thread::park();
            }
            self.attention.at_work();
            before + self.take()
        }

        /// As the I/O thread that holds back a stream: gone, and there for who calls it by name.
        fn hold_back(&self) {
            self.attention.absent();
            fence(Ordering::SeqCst);
            if self.is_empty() {
                thread::park();
            }
        }
    }

    fn posters(post: &Post, count: usize) -> Vec<thread::JoinHandle<()>> {
        let leader = thread::current();
        (0..count)
            .map(|_| {
                let (post, leader) = (post.clone(), leader.clone());
                thread::spawn(move || post.post(&leader))
            })
            .collect()
    }

    /// Two posters, a leader that polls, holds back, and polls again.
    #[test]
    fn what_is_posted_is_taken_by_who_polls_and_by_who_holds_back() {
        let mut model = loom::model::Builder::new();
        model.preemption_bound = Some(3);
        model.check(|| {
            let post = Post::new();
            let posters = posters(&post, 2);
            let mut taken = 0;
            while taken < 2 {
                taken += post.turn();
                if taken < 2 {
                    post.hold_back();
                }
            }
            posters.into_iter().for_each(|poster| poster.join().unwrap());
            assert!(post.is_empty());
        });
    }

    /// A thread that leads while it waits, and is woken by another: it leaves the poll.
    #[test]
    fn who_leads_while_it_waits_is_woken_from_the_poll() {
        loom::model(|| {
            let (post, asleep) = (Post::new(), Arc::new(Mutex::new(true)));
            let waker = thread::spawn({
                let (post, asleep, waiter) = (post.clone(), Arc::clone(&asleep), thread::current());
                move || {
                    *asleep.lock() = false;
                    if post.attention.call(|call| call == Call::Poll).is_some() {
                        waiter.unpark();
                    }
                }
            });
            while *asleep.lock() {
                post.attention.at_work();
                post.attention.about_to_poll();
                if post.is_empty() && *asleep.lock() {
                    thread::park();
                }
                post.attention.at_work();
            }
            waker.join().unwrap();
        });
    }
}
