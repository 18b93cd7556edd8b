//! The mailbox: how other threads reach the driver.
//!
//! Owns the commands that were posted and not taken yet, and the two ways to wake somebody for them: to end the
//! poll of the leader, or, while nobody leads, to unpark the I/O thread. The state in `leadership` decides who
//! is woken, if anybody. May be called from any thread. Outlives the driver: a command that is posted later is
//! dropped. The driver knows what a [`Command`] means.

use std::fmt;
use std::io;
#[cfg(unix)]
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use mio::{Registry, Token};

use super::connection::{Connection, Ending};
use super::leadership::state::{Call, LeaderState};
use super::leadership::task::TaskPlace;
use super::listening::ListenerSlot;
use super::race::{Race, Way};
use crate::error::AttemptError;
use crate::parker::{Parker, Stamp};
use crate::peer::EndpointId;
use crate::pipe::endpoint::EndpointCore;
use crate::pipe::{Host, Postponed};
use crate::sync::mpsc::SyncSender;
use crate::sync::{Arc, AtomicBool, AtomicUsize, OnceLock, Ordering, Weak};
use crate::transport::{Destination, Stream, Target};
use crate::wire::Framing;

/// A command to the driver.
#[derive(Debug)]
pub(crate) enum Command {
    /// Accept connections for an endpoint.
    Listen {
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        framing: Framing,
        listener: Arc<ListenerSlot>,
    },
    /// Keep an endpoint connected.
    Dial {
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        way: Arc<Way>,
        target: Target,
        once: Option<SyncSender<Result<(), AttemptError>>>,
    },
    /// Serve a connection that the program has given to an endpoint.
    Serve {
        host: Weak<dyn Host>,
        endpoint: Arc<EndpointCore>,
        framing: Framing,
        stream: Box<dyn Stream>,
    },
    /// The program has decided whether it lets a connection's peer in.
    Decided(Token, bool),
    /// Serve a connection from now on, which this loop has counted.
    Adopt(Box<Connection>),
    /// Connect to one of the destinations of an attempt, whose connection this loop has counted.
    Race(Box<Race>),
    /// A dialer's connection has become a pipe on another loop.
    Connected(Token),
    /// A dialer's connection is over on another loop.
    Ended(Token, Ending),
    /// A name was resolved for a dialer, or not.
    Resolved(Token, Result<Vec<Destination>, AttemptError>),
    /// Forget an endpoint and its connections that are not pipes yet.
    Forget(EndpointId),
    /// Write what is queued on a connection.
    Flush(Token),
    /// A sender met an error on a connection.
    Broken(Token, io::Error),
    /// A connection's receive ring has room again, or a socket takes in new pipes for which a listener, a
    /// dialer or a connection waits.
    Resume(Token),
    /// A connection carries something, for the first time or after it was idle.
    Active(Token),
    /// A connection has written something, for the first time or after all was acknowledged.
    Wrote(Token),
    /// The socket is done with a connection; write on for at most this long.
    Close(Token, Duration),
    /// Run a socket's timers at this time, or at an earlier one posted before; `None`: not at all.
    Expire(Weak<dyn Host>, Option<Instant>),
    /// Enter a socket that has work to do and no call to do it.
    Visit(Weak<dyn Host>),
    /// Let a dialer outside of the event loops try again at this time.
    Retry(Weak<dyn Retry>, Instant),
    /// End the thread.
    Stop,
}

/// A dialer outside of the event loops, which tries again at a set time.
pub(crate) trait Retry: fmt::Debug + Send + Sync {
    /// Whether an attempt calls the program's `admit` callback, which may take any time.
    fn asks(&self) -> bool;

    /// Tries again.
    fn retry(self: Arc<Self>);
}

/// Where commands for a driver are posted.
#[derive(Debug)]
pub(crate) struct Mailbox {
    /// What the leader does, and what is pending, such as commands.
    pub(super) state: LeaderState<Command, Arc<Parker>>,
    /// The number of connections that the driver has, or is about to be given.
    pub(super) connections: AtomicUsize,
    #[cfg_attr(shuttle, expect(dead_code, reason = "a leader sleeps elsewhere"))]
    waker: Arc<mio::Waker>,
    /// Where the leader sleeps in place of the poll.
    #[cfg(shuttle)]
    pub(super) doze: crate::sync::Doze,
    /// For registering sources with the driver's poll.
    pub(super) registry: Registry,
    /// Whether the driver will soon check which connections are idle.
    pub(super) checks_soon: AtomicBool,
    /// The one handle of the I/O thread, if there is one.
    io_thread: OnceLock<Arc<Parker>>,
    /// When the leader was last called out of its poll.
    pub(super) called: Stamp,
    /// The task that turns the loop, where there is no I/O thread.
    pub(crate) task: TaskPlace,
}

impl Mailbox {
    /// Makes the mailbox of a driver; `waker` ends its poll.
    pub(super) fn new(waker: Arc<mio::Waker>, registry: Registry) -> Self {
        Self {
            state: LeaderState::new(),
            connections: AtomicUsize::new(0),
            waker,
            #[cfg(shuttle)]
            doze: crate::sync::Doze::default(),
            registry,
            checks_soon: AtomicBool::new(false),
            io_thread: OnceLock::new(),
            called: Stamp::default(),
            task: TaskPlace::new(),
        }
    }

    pub(crate) fn post(&self, command: Command) {
        self.state.push(command);
        self.rouse(|_| true);
    }

    /// Makes a notice that resumes `token` when a socket takes in new pipes.
    pub(super) fn postponed(self: &Arc<Self>, token: Token) -> Postponed {
        let this = Arc::clone(self);
        Postponed::new(move || this.post(Command::Resume(token)))
    }

    /// Closes a listening socket: its address is free when this returns.
    pub(crate) fn close_listener(&self, slot: &ListenerSlot) {
        slot.close(&self.registry);
    }

    pub(super) fn take(&self) -> Vec<Command> {
        self.state.take()
    }

    /// Drops all commands, now and from now on: the driver is gone.
    pub(super) fn close(&self) {
        drop(self.state.close());
    }

    /// The number of connections that the driver has, or is about to be given.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Posts what is not urgent. Wakes nobody if the next check of idle connections comes soon anyway.
    pub(super) fn post_for_soon(&self, command: Command) {
        self.state.push(command);
        // Either the driver sees the command before it sleeps, or we see that no check is due.
        self.rouse(|_| !self.checks_soon.load(Ordering::Relaxed));
    }

    /// The descriptor of the poll: readable while the poll has events.
    #[cfg(unix)]
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.registry.as_fd()
    }

    /// Ends the poll of the leader, if there is one: its own message may be there.
    pub(crate) fn interrupt(&self) {
        self.rouse(|call| call == Call::Poll);
    }

    /// Wakes the thread or task that is to look at an earlier change, unless `concerned` says that it need not
    /// look.
    pub(super) fn rouse(&self, concerned: impl FnOnce(Call) -> bool) {
        match self.state.call(concerned) {
            None => {}
            Some(Call::Poll) => {
                self.called.note();
                #[cfg(shuttle)]
                self.doze.call();
                #[cfg(not(shuttle))]
                if let Err(error) = self.waker.wake() {
                    crate::contain::record!(
                        Error,
                        { reason: error },
                        "cannot wake the event loop: {error}"
                    );
                }
            }
            // Without an I/O thread and a task the next leader looks.
            Some(Call::IoThread) => self.call_io_thread(),
        }
    }

    /// Wakes the I/O thread or the task in its place, if there is one.
    pub(super) fn call_io_thread(&self) {
        match self.io_thread.get() {
            Some(thread) => thread.unpark(),
            None => self.task.wake(),
        }
    }

    /// Announces that the leader is about to poll. Returns `false` if it must not wait: there is a command, or
    /// it is not `idle`.
    pub(super) fn prepare_to_poll(&self, idle: impl FnOnce() -> bool) -> bool {
        self.called.forget();
        self.state.about_to_poll();
        let nothing = self.state.is_empty() && idle();
        if !nothing {
            self.note_at_work();
        }
        nothing
    }

    /// Notes that the leader is at work.
    pub(super) fn note_at_work(&self) {
        self.state.at_work();
    }

    /// Sets the handle of the I/O thread, once.
    pub(super) fn set_io_thread(&self, thread: Arc<Parker>) {
        let _ = self.io_thread.set(thread);
    }
}
