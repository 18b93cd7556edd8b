//! The event loop of a runtime in the hands of an executor.
//!
//! Owns the handle by which a task turns the loop, and the state of that task between two turns.

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use super::Runtime;
use crate::error::RuntimeError;
use crate::io::Mailbox;
use crate::io::leadership::Leadership;
use crate::io::leadership::task::TaskTurn;
use crate::sync::{Arc, Weak};
use crate::sys::Origin;

/// The event loop of a runtime without an I/O thread, to be turned by a task of the program's own executor.
///
/// Made by [`Runtime::event_loop`]. A program that uses all its sockets in tasks takes less processor time this way: a
/// message goes from the connection to its task without a switch of threads, and the thread that runs a task
/// writes what the task sends. With an I/O thread, each message may cost a switch, and a system call to wake
/// the thread.
///
/// The executor watches the descriptor (an epoll or a kqueue), and [`drive`](Self::drive) makes the turns. With
/// smol, or anything else that has the `Async` of `async-io`:
///
/// ```
/// use async_io::Async;
/// # mod async_io {
/// #     use std::{io, task::{Context, Poll}};
/// #     /// Looks again and again: it needs no reactor.
/// #     pub struct Async<T>(T, std::cell::Cell<bool>);
/// #     impl<T> Async<T> {
/// #         pub fn new(it: T) -> io::Result<Self> { Ok(Self(it, Default::default())) }
/// #         pub fn get_ref(&self) -> &T { &self.0 }
/// #         pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
/// #             self.1.set(!self.1.get());
/// #             if self.1.get() { return Poll::Ready(Ok(())) }
/// #             cx.waker().wake_by_ref();
/// #             Poll::Pending
/// #         }
/// #     }
/// # }
///
/// async fn drive(event_loop: sinew::EventLoop) -> Result<(), Box<dyn std::error::Error>> {
///     let descriptor = Async::new(event_loop)?;
///     descriptor.get_ref().drive(|cx| descriptor.poll_readable(cx)).await?;
///     Ok(())
/// }
///
/// let runtime = sinew::Runtime::builder().manual(true).build()?;
/// let driving = drive(runtime.event_loop()?); // for the executor: `smol::spawn(driving).detach()`
/// let (rep, req) = (sinew::Rep::on(&runtime, Default::default())?, sinew::Req::on(&runtime, Default::default())?);
/// req.connect(rep.bind("tcp://127.0.0.1:0")?.url())?;
/// let asking = async {
///     let request = req.context();
///     request.send("what is the answer?")?;
///     rep.recv_async().await?.reply_async("42").await?;
///     assert_eq!(request.recv_async().await?, "42");
///     Ok::<(), Box<dyn std::error::Error>>(())
/// };
/// # // `select`, by hand.
/// # let (mut driving, mut asking) = (Box::pin(driving), Box::pin(asking));
/// # let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
/// # while asking.as_mut().poll(&mut cx).is_pending() {
/// #     assert!(driving.as_mut().poll(&mut cx).is_pending());
/// # }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct EventLoop {
    /// Not the runtime, which is to end with its last handle and its last socket.
    leadership: Weak<Leadership>,
    /// Has a descriptor of the poll, and outlives it.
    mailbox: Arc<Mailbox>,
    origin: Origin,
}

impl Runtime {
    /// Returns the event loop, for a task that turns it. For runtimes without an I/O thread.
    ///
    /// # Errors
    ///
    /// [`NotManual`](RuntimeError::NotManual): the runtime has I/O threads, which turn its loops.
    /// [`Forked`](RuntimeError::Forked): it is the runtime of the process that this one was forked from.
    pub fn event_loop(&self) -> Result<EventLoop, RuntimeError> {
        if self.is_forked() {
            return Err(RuntimeError::Forked);
        }
        if self.has_thread() {
            return Err(RuntimeError::NotManual);
        }
        let home = self.inner.home();
        Ok(EventLoop {
            leadership: Arc::downgrade(home),
            mailbox: Arc::clone(home.mailbox()),
            origin: self.inner.origin,
        })
    }
}

impl EventLoop {
    /// Turns the loop whenever something is due, until the runtime has ended.
    ///
    /// `readable` polls whether the descriptor has become readable since the last time it was. With any
    /// executor that takes a line: `poll_readable` of async-io, or `poll_read_ready` of tokio and then
    /// `clear_ready`. A wrong yes is harmless, and costs a system call. If the answer is no, it must arrange
    /// for the task to be woken, as any future must.
    ///
    /// A turn never waits. Another task that posts work for the loop wakes this task through its `Waker`,
    /// without writing to a descriptor. When nothing is due, the task sleeps. Timers, such as those of
    /// reconnecting and of surveys, have a descriptor beside those of the connections (a timerfd); on systems
    /// other than Linux and Android, a thread sleeps until the next timer is due.
    ///
    /// While nobody polls the future, nothing happens: no connection is made or read, no deadline passes, and
    /// what a closed socket has not written stays unwritten. Dropping the future loses nothing: make another
    /// one, on this or another executor. Only one future at a time turns the loop.
    ///
    /// A thread that waits in a blocking call of one of the runtime's sockets turns the loop as well, as does
    /// [`Runtime::turn`], and calls the task when it leaves. So a call that blocks in a task does not wait for
    /// ever, although it holds up the executor. While it waits, all other tasks have to write to a descriptor
    /// to wake it: a program that mixes both should use a runtime for each.
    ///
    /// The `admit` callback runs in this future, and must not take long.
    ///
    /// # Errors
    ///
    /// [`Driven`](RuntimeError::Driven): another future turns the loop.
    /// [`Poll`](RuntimeError::Poll): `readable` failed, or the operating system refused to poll.
    /// [`Forked`](RuntimeError::Forked): it is the loop of the process that this one was forked from.
    /// [`Lost`](RuntimeError::Lost): the loop has panicked.
    pub async fn drive(
        &self,
        mut readable: impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Result<(), RuntimeError> {
        let mut driving = Driving::begin(self)?;
        poll_fn(|cx| driving.poll(cx, &mut readable)).await
    }
}

impl AsFd for EventLoop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.mailbox.descriptor()
    }
}

impl AsRawFd for EventLoop {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl fmt::Debug for EventLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLoop").field("descriptor", &self.as_raw_fd()).finish_non_exhaustive()
    }
}

/// A task that turns the loop, until it is dropped.
struct Driving<'l> {
    event_loop: &'l EventLoop,
    /// Whether the descriptor has become readable, and no turn has looked why.
    ask: bool,
}

impl<'l> Driving<'l> {
    fn begin(event_loop: &'l EventLoop) -> Result<Self, RuntimeError> {
        if event_loop.origin.is_ancestral() {
            return Err(RuntimeError::Forked);
        }
        if !event_loop.mailbox.task.claim() {
            return Err(RuntimeError::Driven);
        }
        // It may have become readable while nobody watched.
        Ok(Self { event_loop, ask: true })
    }

    /// Makes at most one turn: the tasks that it wakes run before the next.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        readable: &mut impl FnMut(&mut Context<'_>) -> Poll<io::Result<()>>,
    ) -> Poll<Result<(), RuntimeError>> {
        if self.event_loop.origin.is_ancestral() {
            return Poll::Ready(Err(RuntimeError::Forked));
        }
        let Some(leadership) = self.event_loop.leadership.upgrade() else {
            return Poll::Ready(Ok(()));
        };
        self.ask |= became_readable(readable(cx))?;
        match leadership.turn_for_task(cx.waker(), self.ask).map_err(poll_error)? {
            TaskTurn::Over if leadership.loss().is_lost() => {
                return Poll::Ready(Err(RuntimeError::Lost));
            }
            TaskTurn::Over => return Poll::Ready(Ok(())),
            TaskTurn::Led => return Poll::Pending,
            TaskTurn::More => cx.waker().wake_by_ref(),
            TaskTurn::Done => {}
        }
        // The turn has handled what made it readable. After a yes, `readable` must be polled again, or it wakes
        // nobody.
        if std::mem::take(&mut self.ask) {
            self.ask = became_readable(readable(cx))?;
        }
        if self.ask {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        self.event_loop.mailbox.task.leave();
    }
}

fn became_readable(polled: Poll<io::Result<()>>) -> Result<bool, RuntimeError> {
    match polled {
        Poll::Ready(outcome) => outcome.map(|()| true).map_err(poll_error),
        Poll::Pending => Ok(false),
    }
}

fn poll_error(source: io::Error) -> RuntimeError {
    RuntimeError::Poll { source }
}
