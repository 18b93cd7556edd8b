//! An event loop that a task turns, under tokio and under smol: no thread is woken, nothing is lost when the
//! task is dropped, and nothing happens while nothing is due.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, ready};
use std::thread;
use std::time::Duration;

use futures_util::future::{Either, join_all, select};
use sinew::{EventLoop, Options, Pull, Push, RecvError, Rep, Req, Runtime, RuntimeError, Surveyor};
use tokio::net::unix::pipe;

use kit::{QUIET, SOON, Transport, block_on, conserved, eventually, free_tcp_url, rounds};

/// Who runs the task that turns the loop, and all others.
#[derive(Clone, Copy, Debug)]
enum Executor {
    OneThread,
    TwoThreads,
    Smol,
}

impl Executor {
    const ALL: [Self; 3] = [Self::OneThread, Self::TwoThreads, Self::Smol];

    /// Runs `work`, and a task that turns the loop of `runtime` meanwhile.
    fn run<T: Send + 'static>(
        self,
        runtime: &Runtime,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.run_with(self.drive(runtime.event_loop().unwrap()), work)
    }

    /// Runs `work`, and `driving` meanwhile.
    fn run_with<T: Send + 'static>(
        self,
        driving: impl Future<Output = Result<(), RuntimeError>> + Send + 'static,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let work = async move {
            match select(pin!(work), pin!(self.sleep(SOON))).await {
                Either::Left((outcome, _)) => outcome,
                Either::Right(_) => panic!("{self:?}: it never ends"),
            }
        };
        match self {
            Self::OneThread | Self::TwoThreads => {
                let mut builder = match self {
                    Self::OneThread => tokio::runtime::Builder::new_current_thread(),
                    _ => tokio::runtime::Builder::new_multi_thread(),
                };
                let tokio = builder.worker_threads(2).enable_all().build().unwrap();
                tokio.block_on(async {
                    tokio::spawn(driving);
                    tokio::spawn(work).await.unwrap()
                })
            }
            Self::Smol => {
                let driving = smol::spawn(driving);
                let outcome = smol::block_on(smol::spawn(work));
                drop(driving);
                outcome
            }
        }
    }

    /// Runs `work` beside all others.
    fn spawn(self, work: impl Future<Output = ()> + Send + 'static) -> Joining {
        match self {
            Self::OneThread | Self::TwoThreads => {
                let task = tokio::spawn(work);
                Box::pin(async { task.await.unwrap() })
            }
            Self::Smol => Box::pin(smol::spawn(work)),
        }
    }

    /// Turns the loop, until the runtime ends.
    fn drive(self, event_loop: EventLoop) -> Pin<Box<dyn Driving>> {
        match self {
            Self::OneThread | Self::TwoThreads => Box::pin(drive_in_tokio(event_loop)),
            Self::Smol => Box::pin(drive_in_smol(event_loop)),
        }
    }

    async fn sleep(self, time: Duration) {
        match self {
            Self::OneThread | Self::TwoThreads => tokio::time::sleep(time).await,
            Self::Smol => _ = smol::Timer::after(time).await,
        }
    }
}

type Joining = Pin<Box<dyn Future<Output = ()> + Send>>;

trait Driving: Future<Output = Result<(), RuntimeError>> + Send {}
impl<F: Future<Output = Result<(), RuntimeError>> + Send> Driving for F {}

async fn drive_in_tokio(event_loop: EventLoop) -> Result<(), RuntimeError> {
    let descriptor = event_loop.as_fd().try_clone_to_owned().unwrap();
    let descriptor = pipe::Receiver::from_owned_fd_unchecked(descriptor).unwrap();
    event_loop
        .drive(|cx| {
            ready!(descriptor.poll_read_ready(cx))?;
            _ = descriptor.try_io(|| Err::<(), _>(ErrorKind::WouldBlock.into()));
            Poll::Ready(Ok(()))
        })
        .await
}

async fn drive_in_smol(event_loop: EventLoop) -> Result<(), RuntimeError> {
    let descriptor = smol::Async::new(event_loop).unwrap();
    descriptor.get_ref().drive(|cx| descriptor.poll_readable(cx)).await
}

fn manual() -> Runtime {
    Runtime::builder().manual(true).build().unwrap()
}

/// How often the poll of a loop was ended from outside: its eventfd counts.
#[cfg(target_os = "linux")]
fn writes_to_wake(runtime: &Runtime) -> u64 {
    let event_loop = runtime.event_loop().unwrap();
    let read = |fd: &str| std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap();
    let watched = read(&event_loop.as_raw_fd().to_string());
    let watched = watched.lines().filter_map(|line| line.strip_prefix("tfd:"));
    let watched = watched.filter_map(|line| line.split_whitespace().next());
    let eventfds: Vec<_> = watched
        .filter(|fd| {
            let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
            link.is_ok_and(|it| it.to_string_lossy().contains("[eventfd]"))
        })
        .collect();
    let [eventfd] = eventfds[..] else { panic!("one eventfd is watched, not {eventfds:?}") };
    let info = read(eventfd);
    let count = info.lines().find_map(|line| line.strip_prefix("eventfd-count:")).unwrap();
    u64::from_str_radix(count.trim(), 16).unwrap()
}

async fn answer_all(rep: Rep) {
    while let Ok(request) = rep.recv_async().await {
        let answer = request.message().clone();
        request.reply_async(answer).await.unwrap();
    }
}

/// Many clients in one program: this is what it is for.
#[test]
fn a_hundred_clients_are_answered_and_no_thread_is_woken() {
    const CLIENTS: u32 = 100;
    for executor in Executor::ALL {
        for transport in Transport::STREAMS {
            let runtime = manual();
            let rep = Rep::on(&runtime, Options::new()).unwrap();
            let address = transport.address();
            let url = rep.bind(&address.url).unwrap().url();
            let client = |n: u32| {
                let req = Req::on(&runtime, Options::new()).unwrap();
                req.connect(&url).unwrap();
                executor_task(async move {
                    for round in 0..rounds(20) {
                        let body = [n.to_be_bytes(), round.to_be_bytes()].concat();
                        assert_eq!(req.request_async(body.clone()).await.unwrap()[..], body);
                    }
                    conserved(|| req.stats());
                })
            };
            let clients: Vec<_> = (0..CLIENTS).map(client).collect();
            let (serving, closing) = (answer_all(rep.clone()), rep.clone());
            executor.run(&runtime, async move {
                let serving = executor.spawn(serving);
                join_all(clients.into_iter().map(|client| executor.spawn(client))).await;
                closing.close().unwrap();
                serving.await;
            });
            conserved(|| rep.stats());
            #[cfg(target_os = "linux")]
            assert_eq!(writes_to_wake(&runtime), 0, "{executor:?}, {transport:?}");
        }
    }
}

fn executor_task(work: impl Future<Output = ()> + Send + 'static) -> Joining {
    Box::pin(work)
}

/// What other threads send in a tight loop is written by the task.
#[test]
fn a_thread_that_sends_wakes_the_task() {
    for executor in Executor::ALL {
        let runtime = manual();
        let push = Push::on(&runtime, Options::new()).unwrap();
        let pull = Pull::new();
        push.connect(pull.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        let count = rounds(10_000);
        let received = executor.run(&runtime, async move {
            push.wait_for_peers_async(1).await.unwrap();
            let sending = thread::spawn({
                let push = push.clone();
                move || (0..count).for_each(|n| block_on(push.send_async(n.to_string())).unwrap())
            });
            for n in 0..count {
                assert_eq!(pull.recv_async().await.unwrap(), n.to_string());
            }
            sending.join().unwrap();
            conserved(|| push.stats());
            pull.stats().messages_received
        });
        assert_eq!(received, u64::from(count));
        #[cfg(target_os = "linux")]
        assert_eq!(writes_to_wake(&runtime), 0, "{executor:?}");
    }
}

/// Surveys, pauses between attempts to connect, a name that is waited for: the loop has no other event.
#[test]
fn timers_fire() {
    for executor in Executor::ALL {
        let runtime = manual();
        let url = free_tcp_url();
        let options = Options::new().survey_deadline(QUIET);
        let surveyor = Surveyor::on(&runtime, options).unwrap();
        let fast = Options::new().reconnect_interval(Duration::from_millis(10));
        let req = Req::on(&runtime, fast).unwrap();
        req.connect(&url).unwrap();
        executor.run(&runtime, async move {
            for _ in 0..3 {
                let survey = surveyor.survey("anyone?").unwrap();
                let outcome = survey.recv_async().await;
                assert!(matches!(outcome, Err(RecvError::TimedOut(_))), "{outcome:?}");
            }
            let asking = executor.spawn(async move {
                assert_eq!(req.request_async("q").await.unwrap(), "q");
            });
            executor.sleep(QUIET).await;
            let rep = Rep::new();
            rep.bind(&url).unwrap();
            let _serving = executor.spawn(answer_all(rep));
            asking.await;
        });
    }
}

/// Polls of the future are counted, each of which makes a turn.
#[test]
fn an_idle_loop_is_not_turned() {
    for executor in Executor::ALL {
        let runtime = manual();
        let (rep, req) = (Rep::on(&runtime, Options::new()), Req::on(&runtime, Options::new()));
        let (rep, req) = (rep.unwrap(), req.unwrap());
        req.connect(rep.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        let turns = Arc::new(AtomicUsize::new(0));
        let counting = {
            let turns = Arc::clone(&turns);
            let mut driving = executor.drive(runtime.event_loop().unwrap());
            poll_fn(move |cx| {
                turns.fetch_add(1, Ordering::Relaxed);
                driving.as_mut().poll(cx)
            })
        };
        executor.run_with(counting, async move {
            let _serving = executor.spawn(answer_all(rep));
            for _ in 0..10 {
                req.request_async("q").await.unwrap();
            }
            let before = turns.load(Ordering::Relaxed);
            assert!(before > 0);
            executor.sleep(QUIET).await;
            // Timers of connections that have just been made, at most.
            let after = turns.load(Ordering::Relaxed);
            assert!(after - before <= 10, "{executor:?}: {} turns for nothing", after - before);
        });
    }
}

/// The task is dropped and begun anew all the time, by the executor or after a few polls.
#[test]
fn a_task_that_is_dropped_loses_nothing() {
    for executor in Executor::ALL {
        let runtime = manual();
        let (rep, req) = (Rep::on(&runtime, Options::new()), Req::on(&runtime, Options::new()));
        let (rep, req) = (rep.unwrap(), req.unwrap());
        req.connect(rep.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        let turning = runtime.clone();
        let driving = async move {
            for polls in (1..).map(|n| n % 4) {
                let driving = executor.drive(turning.event_loop().unwrap());
                within_polls(polls, driving).await.transpose()?;
            }
            unreachable!("it has no end")
        };
        executor.run_with(driving, async move {
            let _serving = executor.spawn(answer_all(rep));
            for n in 0..rounds(500) {
                assert_eq!(req.request_async(n.to_string()).await.unwrap(), n.to_string());
            }
            conserved(|| req.stats());
        });
    }
}

/// What becomes of the future in so many polls, after which it is dropped.
async fn within_polls<F: Future>(polls: u64, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    let left = Cell::new(polls);
    poll_fn(move |cx| match left.get() {
        0 => {
            // The executor looks for events before the next future begins.
            cx.waker().wake_by_ref();
            left.set(u64::MAX);
            Poll::Pending
        }
        u64::MAX => Poll::Ready(None),
        some => {
            left.set(some - 1);
            let polled = future.as_mut().poll(cx).map(Some);
            cx.waker().wake_by_ref();
            polled
        }
    })
    .await
}

/// A runtime whose task is gone is one that the program turns.
#[test]
fn without_its_task_a_loop_is_turned_by_who_waits() {
    let executor = Executor::OneThread;
    let runtime = manual();
    let pull = Pull::on(&runtime, Options::new()).unwrap();
    let push = Push::new();
    push.connect(pull.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
    let (receiving, sending) = (pull.clone(), push.clone());
    executor.run(&runtime, async move {
        sending.send_async("first").await.unwrap();
        assert_eq!(receiving.recv_async().await.unwrap(), "first");
    });
    push.send("second").unwrap();
    let mut received = Err(RecvError::WouldBlock);
    eventually("a message", || {
        runtime.turn(Some(Duration::from_millis(1))).unwrap();
        received = pull.try_recv();
        received != Err(RecvError::WouldBlock)
    });
    assert_eq!(received.unwrap(), "second");
    push.send("third").unwrap();
    assert_eq!(pull.recv_timeout(SOON).unwrap(), "third");
    push.send("fourth").unwrap();
    let receiving = pull.clone();
    executor.run(&runtime, async move {
        assert_eq!(receiving.recv_async().await.unwrap(), "fourth");
    });
    conserved(|| pull.stats());
}

/// On the executor's only thread: the task cannot be polled meanwhile. Afterwards it sees to timers again.
#[test]
fn a_call_that_blocks_the_executor_turns_the_loop() {
    for executor in Executor::ALL {
        let runtime = manual();
        let rep = Rep::new();
        let req = Req::on(&runtime, Options::new()).unwrap();
        req.connect(rep.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        let options = Options::new().survey_deadline(QUIET);
        let surveyor = Surveyor::on(&runtime, options).unwrap();
        let serving = thread::spawn(move || block_on(answer_all(rep)));
        executor.run(&runtime, async move {
            for n in 0..rounds(100) {
                let survey = surveyor.survey("anyone?").unwrap();
                assert_eq!(req.request(n.to_string()).unwrap(), n.to_string());
                if n % 10 == 0 {
                    survey.recv_async().await.unwrap_err();
                }
                assert_eq!(req.request_async(n.to_string()).await.unwrap(), n.to_string());
            }
        });
        drop(serving); // it ends with the process
    }
}

/// It leads in the task's place, wakes tasks, and the task goes on when it leaves.
#[test]
fn a_thread_that_waits_turns_the_loop_for_tasks() {
    for executor in Executor::ALL {
        let runtime = manual();
        let (rep, req) = (Rep::on(&runtime, Options::new()), Req::on(&runtime, Options::new()));
        let (rep, req) = (rep.unwrap(), req.unwrap());
        req.connect(rep.bind("tcp://127.0.0.1:0").unwrap().url()).unwrap();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        let waiting = thread::spawn({
            let pull = pull.clone();
            move || pull.recv()
        });
        executor.run(&runtime, async move {
            let _serving = executor.spawn(answer_all(rep));
            for n in 0..rounds(200) {
                if n == rounds(100) {
                    pull.close().unwrap();
                }
                assert_eq!(req.request_async(n.to_string()).await.unwrap(), n.to_string());
            }
        });
        assert_eq!(waiting.join().unwrap(), Err(RecvError::Closed));
    }
}

#[test]
fn the_task_ends_with_the_runtime() {
    for executor in Executor::ALL {
        let runtime = manual();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        pull.bind("tcp://127.0.0.1:0").unwrap();
        let driving = executor.drive(runtime.event_loop().unwrap());
        let outcome = executor.run_with(async { Ok(()) }, async move {
            let driving = executor.spawn(async move { driving.await.unwrap() });
            executor.sleep(QUIET).await;
            drop((runtime, pull));
            let late = executor.sleep(SOON);
            matches!(select(driving, pin!(late)).await, Either::Left(_))
        });
        assert!(outcome, "{executor:?}: it went on");
    }
}

#[test]
fn one_task_at_a_time_turns_a_loop() {
    let runtime = manual();
    let (first, second) = (runtime.event_loop().unwrap(), runtime.event_loop().unwrap());
    let mut driving = Box::pin(first.drive(|_| Poll::Pending));
    assert!(poll(&mut driving).is_pending());
    let mut other = Box::pin(second.drive(|_| Poll::Pending));
    assert!(matches!(poll(&mut other), Poll::Ready(Err(RuntimeError::Driven))));
    drop(driving);
    let mut driving = Box::pin(second.drive(|_| Poll::Pending));
    assert!(poll(&mut driving).is_pending());
}

#[test]
fn an_executor_that_cannot_watch_ends_the_task() {
    let runtime = manual();
    let event_loop = runtime.event_loop().unwrap();
    let mut driving = Box::pin(event_loop.drive(|_| Poll::Ready(Err(ErrorKind::Other.into()))));
    assert!(matches!(poll(&mut driving), Poll::Ready(Err(RuntimeError::Poll { .. }))));
}

#[test]
fn a_runtime_with_threads_leaves_its_loops_to_no_task() {
    let error = Runtime::new().unwrap().event_loop().unwrap_err();
    assert!(matches!(error, RuntimeError::NotManual), "{error}");
}

fn poll<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    Pin::new(future).poll(&mut cx)
}
