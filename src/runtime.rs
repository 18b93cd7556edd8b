//! Runtimes: who turns the reactor.
//!
//! Owns the driver and its thread. Most programs never mention a runtime: sockets use the global
//! one, which starts with their first `bind` or `connect` and has one I/O thread. A runtime made by
//! hand has a thread of its own, for isolation, or none at all: then the application turns it, and
//! so does any thread that waits in one of its sockets.

use std::io;
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

use crate::error::RuntimeError;
use crate::reactor::{Command, Driver, Mailbox};
use crate::signal::{Signal, Sleeper, Ticket};
use crate::sync::{Arc, Mutex};
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
    shared: Arc<Shared>,
    transports: Transports,
    /// `None`: the application turns the loop.
    thread: Option<JoinHandle<()>>,
}

/// What the I/O thread and the handles share.
#[derive(Debug)]
struct Shared {
    driver: Mutex<Driver>,
    mailbox: Arc<Mailbox>,
    /// Threads that wait for their turn to drive, in a runtime without a thread.
    relief: Mutex<Vec<Thread>>,
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
        Ok(self.inner.shared.turn(until)?)
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.inner.shared.mailbox
    }

    /// Whether a thread turns the loop.
    pub(crate) fn has_thread(&self) -> bool {
        self.inner.thread.is_some()
    }

    pub(crate) fn transports(&self) -> &Transports {
        &self.inner.transports
    }

    /// How the calling thread is to be woken when it waits in [`park`](Self::park).
    pub(crate) fn sleeper(&self) -> Sleeper {
        let thread = thread::current();
        match self.inner.thread {
            Some(_) => Sleeper::Thread(thread),
            None => Sleeper::Driving(thread, Arc::clone(self.mailbox().waker())),
        }
    }

    /// Waits until `ticket` is woken, or until the time given. Drives meanwhile where there is no
    /// thread that does.
    pub(crate) fn park(&self, signal: &Signal, ticket: Ticket, until: Option<Instant>) {
        match self.inner.thread {
            Some(_) => park(signal, ticket, until),
            None => self.inner.shared.drive(signal, ticket, until),
        }
    }
}

/// Waits until `ticket` is woken, or until the time given.
pub(crate) fn park(signal: &Signal, ticket: Ticket, until: Option<Instant>) {
    while signal.is_asleep(ticket) {
        match time_left(until) {
            None => thread::park(),
            Some(Duration::ZERO) => return,
            Some(left) => thread::park_timeout(left),
        }
    }
}

fn time_left(until: Option<Instant>) -> Option<Duration> {
    until.map(|until| until.saturating_duration_since(Instant::now()))
}

impl Shared {
    /// The I/O thread.
    fn run(&self) {
        let mut driver = self.driver.lock();
        while !driver.is_stopped() {
            if let Err(error) = driver.turn(None) {
                cannot_poll(&error);
            }
        }
    }

    /// One turn, once nobody else drives.
    fn turn(&self, until: Option<Instant>) -> io::Result<()> {
        loop {
            if let Some(mut driver) = self.driver.try_lock() {
                let turned = driver.turn(time_left(until));
                drop(driver);
                self.relieve();
                return turned;
            }
            if time_left(until) == Some(Duration::ZERO) {
                return Ok(());
            }
            self.wait_for_the_driver(until, || true);
        }
    }

    fn drive(&self, signal: &Signal, ticket: Ticket, until: Option<Instant>) {
        while signal.is_asleep(ticket) && time_left(until) != Some(Duration::ZERO) {
            match self.driver.try_lock() {
                Some(mut driver) => {
                    // Once more: the wake-up of the poll that belongs to ours may have been taken
                    // by whoever drove until now. From here on nobody else takes it.
                    if signal.is_asleep(ticket)
                        && let Err(error) = driver.turn(time_left(until))
                    {
                        cannot_poll(&error);
                    }
                }
                None => self.wait_for_the_driver(until, || signal.is_asleep(ticket)),
            }
        }
        self.relieve();
    }

    /// Another thread drives: waits until it leaves, or until we are woken. Not if there is no need
    /// to, as seen once we can be woken.
    fn wait_for_the_driver(&self, until: Option<Instant>, need: impl FnOnce() -> bool) {
        self.relief.lock().push(thread::current());
        // It may have left before it could see us.
        if self.driver.try_lock().is_none() && need() {
            match time_left(until) {
                None => thread::park(),
                Some(left) => thread::park_timeout(left),
            }
        }
        // Whoever drives may do so for days, and we may come again each millisecond.
        let this = thread::current().id();
        self.relief.lock().retain(|thread| thread.id() != this);
    }

    /// Wakes those who waited for the driver.
    fn relieve(&self) {
        let waiting = std::mem::take(&mut *self.relief.lock());
        waiting.iter().for_each(Thread::unpark);
    }
}

/// Only a bug or a machine out of memory gets here; a core is not to be burnt over it.
fn cannot_poll(error: &io::Error) {
    log::error!("the event loop cannot poll: {error}");
    thread::sleep(Duration::from_millis(10));
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.mailbox.post(Command::Stop);
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
        let driver = Driver::new()?;
        let mailbox = Arc::clone(driver.mailbox());
        let shared =
            Arc::new(Shared { driver: Mutex::new(driver), mailbox, relief: Mutex::default() });
        let thread = match self.manual {
            true => None,
            false => {
                let shared = Arc::clone(&shared);
                Some(thread::Builder::new().name(self.name).spawn(move || shared.run())?)
            }
        };
        Ok(Runtime { inner: Arc::new(Inner { shared, transports, thread }) })
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
            runtime.inner.shared.driver.lock().timers()
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
        let shared = &runtime.inner.shared;
        thread::scope(|scope| {
            scope.spawn(|| pair.recv());
            while shared.driver.try_lock().is_some() {
                runtime.turn(MOMENT).unwrap();
            }
            for _ in 0..10 {
                runtime.turn(MOMENT).unwrap();
            }
            let waiting = shared.relief.lock().len();
            pair.close().unwrap();
            assert_eq!(waiting, 0);
        });
    }
}
