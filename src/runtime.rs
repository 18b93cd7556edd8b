//! Runtimes: event loops and the threads that turn them.
//!
//! Owns the I/O threads; [`Leadership`] decides when each turns its loop. Most programs never mention a
//! runtime: sockets use the global one, which starts with their first `bind` or `connect` and has one
//! I/O thread. A runtime that the program makes has threads of its own, for isolation or because one core
//! cannot read fast enough; or none: then the program turns it, and so does any thread that waits in one of
//! its sockets.

#[cfg(unix)]
mod event_loop;

use std::ops::Deref;
use std::time::Duration;

use crate::error::RuntimeError;
use crate::io::leadership::Leadership;
use crate::io::{Command, Driver, Loss, Mailbox};
use crate::pipe::Host;
use crate::stats::Spins;
use crate::sync::thread::{self, JoinHandle};
use crate::sync::{Arc, Mutex, Rank, Weak};
use crate::sys::{Origin, PerProcess};
use crate::time;
use crate::transport::{StreamTransport, Transports};
use crate::tuning;

#[cfg(unix)]
pub use event_loop::EventLoop;

/// How many I/O threads a runtime may have: more than any machine has cores for.
const MOST_IO_THREADS: usize = 1024;

/// Where sockets run: the event loop and, usually, its thread.
///
/// A handle; clones are the same runtime. It ends when the last handle and the last socket on it are
/// gone. Dropping the last one waits until each thread has finished what it is at, but neither for the
/// network nor for an `admit` callback. What closed sockets have not written by then is lost, `linger`
/// or not. The global runtime never ends.
///
/// A child process made by `fork` cannot use it, since its threads are in the parent: calls on its
/// sockets fail with `Forked`. [`global`](Self::global) is another one there.
///
/// # Several I/O threads
///
/// A runtime has one I/O thread unless [`io_threads`](RuntimeBuilder::io_threads) says otherwise. It
/// reads and decodes for all connections of the runtime, and shakes hands with new ones. When that is
/// more than a core can do, and there are cores to spare, several threads can share the connections, those
/// of one socket too: each connection is on one thread from its first byte to its last. The first thread
/// also accepts, connects, and runs the sockets' timers. A PAIR, which has one peer at a time, has all its
/// connections on one thread, which reads the old connection of a peer to its end before it decides about a
/// new one.
///
/// A socket that has to answer in time beside others that stream belongs in a runtime of its own: turns of a loop are
/// bounded, but a busy loop takes all the processor time it gets, and the kernel makes its thread wait for more. With
/// a runtime of its own such a socket waits about as long as a thread that serves one connection would ("Neighbours" in
/// `docs/reliability.md`).
///
/// Nothing else changes for a program. What comes over one pipe comes in order; between pipes there is
/// no order, with one thread or with many. The protocol still runs in the calling threads, under the
/// socket's lock, so several I/O threads do not make one socket do more than its receivers can take.
///
/// One is the default because each further thread costs three descriptors (on Linux); up to four blocks
/// of 256 KiB to read into while it is busy; and a hop to another thread for a new connection. And a thread
/// that waits alone no longer turns the loop itself, so each message that it waits for takes a switch of
/// threads.
///
/// ```
/// let runtime = sinew::Runtime::builder().io_threads(4).build()?;
/// let pull = sinew::Pull::on(&runtime, sinew::Options::new())?;
/// pull.bind("tcp://127.0.0.1:0")?;
/// assert_eq!(runtime.connections(), [0, 0, 0, 0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[doc(alias("context", "zmq_ctx_new"))]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// One for each event loop, the home loop's first.
    loops: Vec<Arc<Leadership>>,
    transports: Transports,
    /// One for each event loop; none: the program turns the only one.
    threads: Vec<JoinHandle<()>>,
    /// The process that made it.
    origin: Origin,
}

static GLOBAL: PerProcess<Mutex<Option<Runtime>>> =
    PerProcess::new(|| Mutex::new(Rank::Runtime, None));

impl Runtime {
    /// Returns the runtime that sockets use unless they are told otherwise. The first call starts it.
    ///
    /// # Errors
    ///
    /// The event loop or its thread could not be started; the next call tries again.
    pub fn global() -> Result<Self, RuntimeError> {
        #[cfg(feature = "testing")]
        if let Some(runtime) = time::stage::home() {
            return Ok(runtime);
        }
        let mut global = GLOBAL.get().lock();
        match &*global {
            Some(runtime) if !runtime.is_lost() => Ok(runtime.clone()),
            _ => Ok(global.insert(Self::new()?).clone()),
        }
    }

    /// Starts a runtime with one I/O thread of its own.
    ///
    /// # Errors
    ///
    /// The event loop or its thread could not be started.
    pub fn new() -> Result<Self, RuntimeError> {
        Self::builder().build()
    }

    /// Begins a runtime that differs from the default.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder {
            manual: false,
            io_threads: None,
            name: "sinew-io".to_owned(),
            transports: Vec::new(),
        }
    }

    /// Does everything that is due, after waiting for at most `timeout` (`None`: for as long as it
    /// takes; zero: not at all) until something is. For runtimes without a thread.
    ///
    /// A thread that waits in a call of one of the runtime's sockets turns it as well; this call
    /// then waits for that one to leave, but not longer than `timeout`. In a runtime with a thread
    /// the call returns at once. Must not be called from the `admit` callback, which a manual runtime runs
    /// in this call.
    ///
    /// # Errors
    ///
    /// [`Poll`](RuntimeError::Poll): the operating system refused to poll. [`Forked`](RuntimeError::Forked): it is the runtime of the
    /// process that this one was forked from. [`Lost`](RuntimeError::Lost): the loop has panicked.
    pub fn turn(&self, timeout: Option<Duration>) -> Result<(), RuntimeError> {
        if self.is_forked() {
            return Err(RuntimeError::Forked);
        }
        if self.has_thread() {
            return Ok(());
        }
        let until = timeout.and_then(|timeout| time::now().checked_add(timeout));
        #[cfg(feature = "testing")]
        if let Some(participant) = time::stage::Participant::own() {
            participant.wait_for_news(until); // its director turns the loop
            return Ok(());
        }
        let turned = self.inner.home().turn(until);
        if self.is_lost() {
            return Err(RuntimeError::Lost);
        }
        turned.map_err(|source| RuntimeError::Poll { source })
    }

    /// Returns how many connections each event loop has: a number for each I/O thread, or a single one for
    /// a runtime without a thread.
    ///
    /// Counts tcp, ipc and the program's own transports, from the moment in which a connection is
    /// accepted or begun to the moment in which its stream is given up, which may be after its pipe is
    /// gone. A snapshot, of each loop at a slightly different time. A new connection goes to the loop
    /// with the fewest.
    pub fn connections(&self) -> Vec<usize> {
        self.inner.loops.iter().map(|it| it.mailbox().connections()).collect()
    }

    /// Returns what came of spinning in the runtime's I/O threads.
    ///
    /// An I/O thread spins before it sleeps while tasks, pollers or several threads wait for its connections,
    /// as long as that pays, and only for sockets that may [`spin`](crate::Options::spin). What threads do
    /// that wait themselves is in the [`Stats`](crate::Stats) of their sockets.
    pub fn spins(&self) -> Spins {
        let all = self.inner.loops.iter().map(|it| it.spins());
        all.fold(Spins::default(), |sum, one| Spins {
            paid: sum.paid + one.paid,
            unpaid: sum.unpaid + one.unpaid,
            time: sum.time + one.time,
        })
    }

    /// Where commands that are not for a connection are posted.
    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        self.inner.home().mailbox()
    }

    /// Whether the runtime belongs to an ancestor of this process.
    pub(crate) fn is_forked(&self) -> bool {
        self.inner.origin.is_ancestral()
    }

    /// Whether an event loop has been lost.
    pub(crate) fn is_lost(&self) -> bool {
        self.inner.home().loss().is_lost()
    }

    /// Makes `socket` one that is told if an event loop is lost.
    pub(crate) fn join(self, socket: Weak<dyn Host>) -> Membership {
        let place = self.inner.home().loss().join(socket);
        Membership { runtime: self, place }
    }

    /// Whether the runtime has I/O threads.
    pub(crate) fn has_thread(&self) -> bool {
        !self.inner.threads.is_empty()
    }

    pub(crate) fn transports(&self) -> &Transports {
        &self.inner.transports
    }

    /// The leadership of the only loop, if there is only one: then a thread that waits may lead. Of several
    /// it could lead one, and what it waits for may come by any.
    pub(crate) fn leadership(&self) -> Option<&Arc<Leadership>> {
        match &self.inner.loops[..] {
            [only] if !self.is_forked() => Some(only),
            _ => None,
        }
    }
}

#[cfg(feature = "testing")]
impl Runtime {
    /// Makes the runtime of a host in a simulated network.
    pub(crate) fn simulated(
        transport: impl StreamTransport + 'static,
        reports: Arc<dyn crate::io::Reports>,
    ) -> Result<Self, RuntimeError> {
        let runtime = Self::builder().manual(true).transport(transport).build()?;
        runtime.inner.home().simulate(reports);
        Ok(runtime)
    }
}

/// A socket's place among those of its runtime, until it is dropped.
#[derive(Debug)]
pub(crate) struct Membership {
    runtime: Runtime,
    place: usize,
}

impl Deref for Membership {
    type Target = Runtime;

    fn deref(&self) -> &Runtime {
        &self.runtime
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        if !self.runtime.is_forked() {
            self.loss().leave(self.place);
        }
    }
}

impl Membership {
    fn loss(&self) -> &Loss {
        self.runtime.inner.home().loss()
    }
}

impl Inner {
    /// Makes the event loops of a runtime, without their threads.
    fn new(count: usize, manual: bool, transports: Transports) -> Result<Self, RuntimeError> {
        let drivers = Driver::several(count)?;
        let loops =
            drivers.into_iter().map(|driver| Arc::new(Leadership::new(driver, manual))).collect();
        Ok(Self { loops, transports, threads: Vec::new(), origin: Origin::now() })
    }

    /// Starts a thread for each loop. After an error those that were started end with `self`.
    fn start(&mut self, name: &str) -> Result<(), RuntimeError> {
        for (leadership, number) in self.loops.iter().zip(1..) {
            let leadership = Arc::clone(leadership);
            let name = if number == 1 { name.to_owned() } else { format!("{name}-{number}") };
            self.threads.push(thread::Builder::new().name(name).spawn(move || leadership.serve())?);
        }
        Ok(())
    }

    /// The home loop, which has everything but most connections.
    fn home(&self) -> &Arc<Leadership> {
        &self.loops[0]
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.origin.is_ancestral() {
            // They are the parent's: neither its loops nor what they own may notice.
            std::mem::forget(std::mem::take(&mut self.loops));
            return std::mem::forget(std::mem::take(&mut self.threads));
        }
        for leadership in &self.loops {
            leadership.mailbox().post(Command::Stop);
        }
        let this = thread::current().id();
        for thread in self.threads.drain(..).filter(|thread| thread.thread().id() != this) {
            // The thread ends after its turn, which never waits for the network.
            let _ = thread.join();
        }
    }
}

/// Makes a [`Runtime`].
#[derive(Debug)]
#[must_use = "it is the call of `build` that makes a runtime"]
pub struct RuntimeBuilder {
    manual: bool,
    /// `None`: the default.
    io_threads: Option<usize>,
    name: String,
    transports: Vec<Arc<dyn StreamTransport>>,
}

impl RuntimeBuilder {
    /// Whether the runtime has no thread and the program turns it. Default false. Cannot be
    /// combined with [`io_threads`](Self::io_threads).
    pub fn manual(mut self, manual: bool) -> Self {
        self.manual = manual;
        self
    }

    /// How many I/O threads share the connections. Default 1, at least 1, at most 1024. For when one
    /// cannot read fast enough, and there are cores for more: see [`Runtime`].
    #[doc(alias("ZMQ_IO_THREADS"))]
    pub fn io_threads(mut self, threads: usize) -> Self {
        self.io_threads = Some(threads);
        self
    }

    /// The name of the I/O thread, without zero bytes. Default `sinew-io`. Of several, the second has `-2`
    /// added, and so on. Systems may show less of it: Linux shows 15 bytes.
    pub fn thread_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Adds a transport of the program's own, next to tcp, ipc and inproc.
    ///
    /// Sockets on this runtime then understand its schemes. If several transports have the same
    /// scheme, the last one added gets it: so tcp, ipc and transports added before can be replaced or
    /// wrapped. inproc cannot. See [`transport`](crate::transport) for how
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
    /// [`RuntimeError::IoThreads`]: the number of I/O threads is zero, or far too large.
    /// [`RuntimeError::ManualIoThreads`]: I/O threads were asked for in a manual runtime, even one.
    /// [`RuntimeError::ThreadName`]: the name has a zero byte, with a thread or without.
    pub fn build(self) -> Result<Runtime, RuntimeError> {
        let loops = self.loops()?;
        if self.name.contains('\0') {
            return Err(RuntimeError::ThreadName { name: self.name });
        }
        let mut transports = Transports::standard();
        for transport in self.transports {
            transports.add(transport)?;
        }
        let mut inner = Inner::new(loops, self.manual, transports)?;
        if !self.manual {
            inner.start(&self.name)?;
        }
        Ok(Runtime { inner: Arc::new(inner) })
    }

    /// How many event loops there are to be.
    fn loops(&self) -> Result<usize, RuntimeError> {
        match (self.manual, self.io_threads) {
            (true, None) => Ok(1),
            (true, Some(threads)) => Err(RuntimeError::ManualIoThreads { threads }),
            (false, None) => Ok(tuning::IO_THREADS),
            (false, Some(threads @ 1..=MOST_IO_THREADS)) => Ok(threads),
            (false, Some(threads)) => {
                Err(RuntimeError::IoThreads { threads, most: MOST_IO_THREADS })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::time::Instant;

    use super::*;
    use crate::io::Retry;
    use crate::{
        BindError, ConnectError, Endpoint, Options, Pair, Pull, Push, RecvError, Req, RequestError,
        SendError, Surveyor, WaitError,
    };

    const HOME: usize = 0;
    const OTHER: usize = 1;

    /// A timer keeps its socket's memory.
    #[test]
    fn a_socket_has_one_timer_and_none_once_it_is_closed() {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let timers = || {
            runtime.turn(Some(Duration::ZERO)).unwrap();
            runtime.inner.home().timers()
        };
        let surveyor = Surveyor::on(&runtime, Options::new()).unwrap();
        let lasts = |time| surveyor.set_options(Options::new().survey_deadline(time)).unwrap();
        lasts(Duration::from_secs(3600));
        let long = surveyor.survey("long").unwrap();
        for _ in 0..10 {
            lasts(Duration::from_millis(1));
            assert_eq!(surveyor.survey("short").unwrap().count(), 0);
            assert!(timers() <= 1);
            // If that turn was when the short one was due, the next sets it for the long one.
            assert!((0..10).any(|_| timers() == 1));
        }
        surveyor.close().unwrap();
        assert_eq!(timers(), 0);
        drop(long);
    }

    /// A thread that waits in a call may lead forever.
    #[test]
    fn turning_in_vain_leaves_nothing_behind() {
        const MOMENT: Option<Duration> = Some(Duration::from_millis(1));
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let pair = Pair::on(&runtime, Options::new()).unwrap();
        let leadership = runtime.inner.home();
        thread::scope(|scope| {
            scope.spawn(|| pair.recv());
            while !leadership.is_led() {
                runtime.turn(MOMENT).unwrap();
            }
            for _ in 0..10 {
                runtime.turn(MOMENT).unwrap();
            }
            let waiting = leadership.followers();
            pair.close().unwrap();
            assert_eq!(waiting, 0);
        });
    }

    /// Two loops that only the test turns, and a stream that waits to be adopted by the second.
    struct InFlight {
        runtime: Runtime,
        pull: Pull,
        endpoint: Endpoint,
        client: TcpStream,
    }

    impl InFlight {
        fn new() -> Self {
            let inner = Inner::new(2, true, Transports::standard()).unwrap();
            let runtime = Runtime { inner: Arc::new(inner) };
            let pull = Pull::on(&runtime, Options::new()).unwrap();
            let endpoint = pull.bind("tcp://127.0.0.1:0").unwrap();
            let url = endpoint.url();
            let client = TcpStream::connect(url.trim_start_matches("tcp://")).unwrap();
            client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            let this = Self { runtime, pull, endpoint, client };
            while this.pull.stats().inprogress_connections == 0 {
                this.turn(HOME);
            }
            assert_eq!(this.runtime.connections(), [0, 1]);
            this
        }

        fn turn(&self, number: usize) {
            self.runtime.inner.loops[number].turn(Some(Instant::now())).unwrap();
        }
    }

    fn is_closed(mut client: &TcpStream) -> bool {
        let mut header = Vec::new();
        client.read_to_end(&mut header).is_ok()
    }

    #[test]
    fn a_connection_between_two_loops_ends_with_its_endpoint() {
        let it = InFlight::new();
        it.endpoint.close().unwrap();
        it.turn(HOME);
        it.turn(OTHER);
        assert_eq!(it.runtime.connections(), [0, 0]);
        assert_eq!(it.pull.stats().inprogress_connections, 0);
        assert!(is_closed(&it.client));
    }

    /// The program's handle of the endpoint, and so the way to the loops, may live on.
    #[test]
    fn a_connection_between_two_loops_ends_with_the_runtime() {
        let InFlight { runtime, pull, endpoint, client } = InFlight::new();
        drop((runtime, pull));
        assert!(is_closed(&client));
        drop(endpoint);
    }

    /// A fault of ours, which a loop runs into.
    #[derive(Debug)]
    struct Fault;

    impl Retry for Fault {
        fn asks(&self) -> bool {
            false
        }

        fn retry(self: Arc<Self>) {
            panic!("a fault of ours");
        }
    }

    /// Has a loop panic, and waits until it is lost.
    fn lose(runtime: &Runtime, number: usize) {
        let fault: Arc<dyn Retry> = Arc::new(Fault);
        let mailbox = runtime.inner.loops[number].mailbox();
        mailbox.post(Command::Retry(Arc::downgrade(&fault), Instant::now()));
        while !runtime.is_lost() {
            // In a manual runtime this may be the thread that runs into it.
            if !runtime.has_thread() && runtime.turn(Some(Duration::from_millis(1))).is_err() {
                return;
            }
            thread::yield_now();
        }
    }

    /// C447. Every call that waits ends, and every later one fails.
    fn all_end_with(runtime: &Runtime, number: usize) {
        let on = |options: Options| Pair::on(runtime, options).unwrap();
        let (joined, alone) = (on(Options::new()), on(Options::new()));
        let (req, surveyor) = (
            Req::on(runtime, Options::new()).unwrap(),
            Surveyor::on(runtime, Options::new().survey_deadline(None)).unwrap(),
        );
        let url = joined.bind("tcp://127.0.0.1:0").unwrap().url();
        let other = Pair::new();
        other.connect_now(&url).unwrap();
        joined.wait_for_peers(1, Duration::MAX).unwrap();
        let survey = surveyor.survey("?").unwrap();
        // It accepts nobody, so an attempt waits for its header.
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let silent = format!("tcp://{}", silent.local_addr().unwrap());
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(joined.recv(), Err(RecvError::RuntimeLost)));
            scope.spawn(|| assert!(matches!(alone.send("x"), Err(SendError::RuntimeLost(_)))));
            scope.spawn(|| assert_eq!(alone.recv(), Err(RecvError::RuntimeLost)));
            scope.spawn(|| {
                let failed = req.request("x");
                assert!(matches!(failed, Err(RequestError::RuntimeLost(_))), "{failed:?}");
            });
            scope.spawn(|| assert_eq!(survey.recv(), Err(RecvError::RuntimeLost)));
            scope.spawn(|| {
                assert_eq!(joined.wait_for_peers(9, Duration::MAX), Err(WaitError::RuntimeLost));
            });
            scope.spawn(|| {
                let failed = alone.connect_now(&silent);
                assert!(
                    matches!(failed, Err(ConnectError::Runtime(RuntimeError::Lost))),
                    "{failed:?}"
                );
            });
            lose(runtime, number);
        });
        assert!(matches!(joined.try_send("x"), Err(SendError::RuntimeLost(_))));
        assert!(matches!(surveyor.survey("?"), Err(SendError::RuntimeLost(_))));
        let bound = alone.bind("tcp://127.0.0.1:0");
        assert!(matches!(bound, Err(BindError::Runtime(RuntimeError::Lost))), "{bound:?}");
        assert!(joined.is_closed() && joined.close().is_err());
        // Calls end first, and then what the loops have. The peer hears of it, and the address is free.
        while runtime.connections().iter().sum::<usize>() > 0
            || other.stats().broken_connections == 0
        {
            thread::yield_now();
        }
        let late = Pull::on(runtime, Options::new()).unwrap();
        assert_eq!(late.recv(), Err(RecvError::RuntimeLost));
        let next = Pull::new();
        next.bind(&url).unwrap();
        let push = Push::new();
        push.connect_now(&url).unwrap();
        push.send("on another runtime").unwrap();
        assert_eq!(next.recv().unwrap(), "on another runtime");
        let accounts =
            || [joined.stats(), alone.stats(), req.stats(), surveyor.stats(), other.stats()];
        while accounts().iter().any(|stats| stats.check_conservation().is_err()) {
            thread::yield_now();
        }
    }

    #[test]
    fn when_a_loop_is_lost_all_calls_end() {
        all_end_with(&Runtime::new().unwrap(), HOME);
    }

    #[test]
    fn when_one_loop_of_several_is_lost_all_calls_end() {
        let several = || Runtime::builder().io_threads(3).build().unwrap();
        all_end_with(&several(), HOME);
        all_end_with(&several(), OTHER);
    }

    #[test]
    fn when_a_loop_that_threads_turn_is_lost_all_calls_end() {
        let runtime = Runtime::builder().manual(true).build().unwrap();
        let pull = Pull::on(&runtime, Options::new()).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(pull.recv(), Err(RecvError::RuntimeLost)));
            scope.spawn(|| assert_eq!(pull.recv(), Err(RecvError::RuntimeLost)));
            lose(&runtime, HOME);
        });
        assert!(matches!(runtime.turn(None), Err(RuntimeError::Lost)));
        #[cfg(unix)]
        {
            let event_loop = runtime.event_loop().unwrap();
            let mut driven = std::pin::pin!(event_loop.drive(|_| std::task::Poll::Pending));
            let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
            let polled = Future::poll(driven.as_mut(), &mut cx);
            assert!(
                matches!(polled, std::task::Poll::Ready(Err(RuntimeError::Lost))),
                "{polled:?}"
            );
        }
    }
}
