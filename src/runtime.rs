//! Runtimes: who turns the reactor.
//!
//! Owns the I/O thread; [`Leader`] says when it turns the loop. Most programs never mention a runtime: sockets use the global
//! one, which starts with their first `bind` or `connect` and has one I/O thread. A runtime made by
//! hand has a thread of its own, for isolation, or none at all: then the application turns it, and
//! so does any thread that waits in one of its sockets.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::RuntimeError;
use crate::leader::Leader;
use crate::reactor::{Command, Driver, Mailbox};
use crate::sync::Arc;
use crate::transport::{StreamTransport, Transports};

/// Where sockets run: the event loop and, usually, its thread.
///
/// A handle; clones are the same runtime. It ends when the last handle and the last socket on it are
/// gone: whoever drops the last one waits for the turn that the thread is in, an `admit` callback
/// included, but not for the network. What closed sockets have not written by then is lost, `linger`
/// or not. The global runtime never ends.
#[derive(Clone, Debug)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    leader: Arc<Leader>,
    transports: Transports,
    /// `None`: the application turns the loop.
    thread: Option<JoinHandle<()>>,
}

static GLOBAL: std::sync::Mutex<Option<Runtime>> = std::sync::Mutex::new(None);

impl Runtime {
    /// The runtime that sockets use when they are not told otherwise. The first call starts it.
    ///
    /// # Errors
    ///
    /// The event loop or its thread could not be started; the next call tries again.
    pub fn global() -> Result<Self, RuntimeError> {
        let mut global = GLOBAL.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match &*global {
            Some(runtime) => Ok(runtime.clone()),
            None => Ok(global.insert(Self::new()?).clone()),
        }
    }

    /// A runtime with an I/O thread of its own.
    ///
    /// # Errors
    ///
    /// The event loop or its thread could not be started.
    pub fn new() -> Result<Self, RuntimeError> {
        Self::builder().build()
    }

    /// For runtimes that differ from the default.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder { manual: false, name: "sinew-io".to_owned(), transports: Vec::new() }
    }

    /// Does everything that is due, after waiting for at most `timeout` (`None`: for as long as it
    /// takes) until something is. For runtimes without a thread.
    ///
    /// A thread that waits in a call of one of the runtime's sockets turns it as well; this call
    /// then waits for that one to leave, but not longer than `timeout`. In a runtime with a thread
    /// there is nothing to do: the call returns at once. Must not be called from the `admit` callback.
    ///
    /// # Errors
    ///
    /// The operating system refused to poll.
    pub fn turn(&self, timeout: Option<Duration>) -> Result<(), RuntimeError> {
        if self.inner.thread.is_some() {
            return Ok(());
        }
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(self.inner.leader.turn(until)?)
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        self.inner.leader.mailbox()
    }

    /// Whether a thread turns the loop.
    pub(crate) fn has_thread(&self) -> bool {
        self.inner.thread.is_some()
    }

    pub(crate) fn transports(&self) -> &Transports {
        &self.inner.transports
    }

    /// Who turns its loop.
    pub(crate) fn leader(&self) -> &Arc<Leader> {
        &self.inner.leader
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.leader.mailbox().post(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // The thread ends after the turn it is in; it never waits for the network.
            let _ = thread.join();
        }
    }
}

/// Makes a [`Runtime`].
#[derive(Debug)]
pub struct RuntimeBuilder {
    manual: bool,
    name: String,
    transports: Vec<Arc<dyn StreamTransport>>,
}

impl RuntimeBuilder {
    /// Whether the runtime has no thread and the application turns it. Default false.
    pub fn manual(mut self, manual: bool) -> Self {
        self.manual = manual;
        self
    }

    /// The name of the I/O thread. Default `sinew-io`.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a transport of the program's own, next to tcp, ipc and inproc.
    ///
    /// Sockets on this runtime then understand its schemes. Where several transports have the same
    /// scheme, the one added last has it: tcp and ipc can be replaced, or wrapped, and other
    /// transports added before as well. inproc cannot. See [`transport`](crate::transport) for how
    /// one is written.
    pub fn transport(mut self, transport: impl StreamTransport + 'static) -> Self {
        self.transports.push(Arc::new(transport));
        self
    }

    /// Starts the runtime.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Start`]: the event loop or its thread could not be started.
    /// [`RuntimeError::Transport`]: a transport that was added has no scheme, one that no address
    /// could have, or `inproc`.
    pub fn build(self) -> Result<Runtime, RuntimeError> {
        let mut transports = Transports::standard();
        for transport in self.transports {
            transports.add(transport)?;
        }
        let leader = Arc::new(Leader::new(Driver::new()?, self.manual));
        let thread = match self.manual {
            true => None,
            false => {
                let leader = Arc::clone(&leader);
                Some(thread::Builder::new().name(self.name).spawn(move || leader.serve())?)
            }
        };
        Ok(Runtime { inner: Arc::new(Inner { leader, transports, thread }) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Pair, Surveyor};

    /// A timer keeps its socket's memory.
    #[test]
    fn a_socket_has_one_timer_and_none_once_it_is_closed() {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let timers = || {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            runtime.inner.leader.timers()
        };
        let surveyor = Surveyor::on(&runtime, Options::new()).unwrap();
        let lasts = |time| surveyor.set_options(Options::new().survey_deadline(time)).unwrap();
        lasts(Duration::from_secs(3600));
        let long = surveyor.survey("long").unwrap();
        for _ in 0..10 {
            lasts(Duration::from_millis(1));
            assert_eq!(surveyor.survey("short").unwrap().count(), 0);
            assert_eq!(timers(), 1);
        }
        surveyor.close().unwrap();
        assert_eq!(timers(), 0);
        drop(long);
    }

    /// A thread that waits in a call may drive for ever.
    #[test]
    fn turning_in_vain_leaves_nothing_behind() {
        const MOMENT: Option<Duration> = Some(Duration::from_millis(1));
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let pair = Pair::on(&runtime, Options::new()).unwrap();
        let leader = &runtime.inner.leader;
        thread::scope(|scope| {
            scope.spawn(|| pair.recv());
            while !leader.is_led() {
                runtime.turn(MOMENT).unwrap();
            }
            for _ in 0..10 {
                runtime.turn(MOMENT).unwrap();
            }
            let waiting = leader.in_relief();
            pair.close().unwrap();
            assert_eq!(waiting, 0);
        });
    }
}
