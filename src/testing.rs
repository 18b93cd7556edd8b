//! A simulated network for the tests of programs: hosts, links, faults and a clock, all drawn from one seed.
//!
//! A topology is hard to test over real connections: they break when they like, a test that waits for a
//! timer takes as long as the timer, and what has failed once may not fail again. Here the program's own threads
//! run with the real sockets on hosts that do not exist. The network between them is slow, full, cut or
//! partitioned as the test says; the clock moves only when all threads wait, so that an hour
//! takes a moment; and the order in which anything happens depends on the seed alone.
//!
//! ```
//! # // The same with and without the feature.
//! use std::time::Duration;
//!
//! use sinew::testing::{self, Network};
//!
//! let network = Network::new(7);
//! let server = network.host("server");
//! server.spawn(|| {
//!     let rep = sinew::Rep::new(); // on this host
//!     rep.bind("sim://answers").unwrap();
//!     for request in &rep {
//!         request.reply("42").unwrap();
//!     }
//! });
//! let net = network.clone();
//! network.run(move || {
//!     let req = sinew::Req::new();
//!     req.connect("sim://answers").unwrap();
//!     assert_eq!(req.request("what is the answer?").unwrap(), "42");
//!
//!     // No answer comes through a partition, and the time-out takes no time.
//!     net.partition(&["server"]);
//!     assert!(req.request_timeout("and now?", Duration::from_secs(600)).is_err());
//!     net.heal();
//!     assert_eq!(req.request("and now?").unwrap(), "42");
//!     assert!(testing::elapsed() >= Duration::from_secs(600));
//! });
//! ```
//!
//! # What is real
//!
//! The sockets, their protocols, queues, time-outs and counters, and the event loops are those of every program,
//! compiled as they always are. Simulated are the connections below them, the clock, chance, and who runs when.
//! One thread runs at a time, until it waits in a call of a socket, of an [`Events`](crate::Events), of a
//! [`Poller`](crate::Poller), or of this module. What two threads do between two such waits is therefore never
//! interleaved: races inside of a program's own critical sections are not found here.
//!
//! # What a program must do
//!
//! * Its threads are started with [`spawn`] or [`Host::spawn`], and sleep with [`sleep`]. A thread that waits
//!   for anything else, such as a channel or a lock that another thread of the simulation holds while it waits,
//!   keeps its turn, and the simulation hangs.
//! * Its sockets are made in these threads, without a runtime or with that of a [`Host`].
//! * Its addresses are `sim://` and any name, or `inproc://`. The names of inproc are those of the whole process
//!   still: hosts are not apart there. Addresses of tcp and ipc are refused.
//! * Time is taken with [`elapsed`]: `Instant::now()` is the system's.
//! * Futures run in [`block_on`]. The runtimes of tokio and others wait where nobody sees it.
//!
//! A run depends on its seed alone as far as the program does: a `HashMap` is iterated over in another order each
//! time. [`Network::fingerprint`] tells whether two runs were the same.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use crate::io::leadership::Leadership;
use crate::parker::Parker;
use crate::runtime::Runtime;
use crate::sync::{Arc, Condvar, Mutex, Rank};
use crate::time;
use crate::time::stage::{Participant, Stage};

mod net;

pub use net::Link;
use net::{HostId, Net, SimTransport};

/// How long a run may take on its own clock, unless [`Network::set_time_limit`] says otherwise.
const TIME_LIMIT: Duration = Duration::from_secs(60 * 60);
/// End the threads that are left at the end within this many turns; a destructor may wait.
const LAST_TURNS: usize = 100_000;
/// The name of the host on which the body of [`Network::run`] runs.
const MAIN: &str = "main";

/// A simulated network, with the hosts on it.
///
/// A handle; clones are the same network. It lives for one [`run`](Self::run).
#[derive(Clone)]
pub struct Network {
    inner: Arc<Inner>,
}

struct Inner {
    seed: u64,
    stage: Arc<Stage>,
    net: Arc<Net>,
    hosts: Mutex<Hosts>,
}

struct Hosts {
    all: Vec<Machine>,
    time_limit: Duration,
    has_run: bool,
}

/// A host, by its [`HostId`].
struct Machine {
    name: String,
    /// `None`: it was killed.
    runtime: Option<Runtime>,
}

impl Network {
    /// Makes a network whose chances all come from `seed`.
    ///
    /// Each byte takes from 100 us to 1 ms, at any rate of bytes, and connections hold, until
    /// [`set_links`](Self::set_links) says otherwise.
    pub fn new(seed: u64) -> Self {
        let stage = Stage::new(seed);
        let net = Net::new(&stage);
        let hosts = Hosts { all: Vec::new(), time_limit: TIME_LIMIT, has_run: false };
        let hosts = Mutex::new(Rank::Hosts, hosts);
        Self { inner: Arc::new(Inner { seed, stage, net, hosts }) }
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.inner.seed
    }

    /// Returns the host with this name. The first call makes it, and so does the first after it was killed.
    ///
    /// # Panics
    ///
    /// The system has no descriptors for another event loop.
    pub fn host(&self, name: &str) -> Host {
        let is_it = |it: &Machine| it.name == name && it.runtime.is_some();
        let known = self.inner.hosts.lock().all.iter().rposition(is_it);
        let id = known.unwrap_or_else(|| self.inner.add_host(name));
        Host { network: self.clone(), id, name: name.to_owned() }
    }

    /// What all links are like from now on, but those for which [`set_link`](Self::set_link) says otherwise.
    pub fn set_links(&self, link: Link) {
        self.inner.net.set_links(link);
    }

    /// What the link between two hosts is like from now on. The names need not have hosts yet.
    pub fn set_link(&self, one: &str, other: &str, link: Link) {
        self.inner.net.set_link(one, other, link);
    }

    /// Separates these hosts from all others, those that are made later too: what one side has sent and the other
    /// not received stays on the way, until [`heal`](Self::heal). Among themselves both sides are connected. Nobody
    /// is told, as by a cable that was pulled. Partitions add up.
    pub fn partition(&self, hosts: &[&str]) {
        self.inner.net.partition(hosts);
    }

    /// Ends all partitions.
    pub fn heal(&self) {
        self.inner.net.heal();
    }

    /// Breaks all connections between two hosts. Both ends are told, each after the latency of the link, and what
    /// was on the way is lost.
    pub fn cut(&self, one: &str, other: &str) {
        self.inner.net.cut(one, other);
    }

    /// How long a run may take on its own clock. Default one hour.
    ///
    /// Dialers try for ever, so a simulation in which nobody gets what they wait for has no end of its own.
    pub fn set_time_limit(&self, limit: Duration) {
        self.inner.hosts.lock().time_limit = limit;
    }

    /// How much time has passed on the network's own clock. Zero at first.
    pub fn elapsed(&self) -> Duration {
        self.inner.stage.elapsed()
    }

    /// A number that depends on all bytes that hosts have sent so far, in their order, and when.
    ///
    /// If two runs with one seed differ in it, the program is not deterministic.
    pub fn fingerprint(&self) -> u64 {
        self.inner.net.fingerprint()
    }

    /// Runs `body` in a thread on the host `main`, and everything that was spawned on the network beside it.
    /// Returns what `body` returns; all that is left then ends where it waits, as if its hosts were killed.
    ///
    /// # Panics
    ///
    /// A thread of the simulation has panicked: the panic goes on here. Nothing can happen any more, and `body` has
    /// not returned. The run has reached its [time limit](Self::set_time_limit). It is the network's second run. The
    /// panic is preceded by a line on standard error that has the seed.
    pub fn run<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> T {
        assert!(
            !std::mem::replace(&mut self.inner.hosts.lock().has_run, true),
            "a network has one run; make another network"
        );
        let returned = Arc::new(Mutex::new(Rank::Hosts, None));
        let slot = Arc::clone(&returned);
        let main = self.host(MAIN);
        let body = main.start(move || {
            let outcome = body();
            *slot.lock() = Some(outcome);
        });
        let inner = &self.inner;
        let end = inner.stage.direct(|| {
            let end = inner.go_on_until_over(body);
            inner.finish();
            end
        });
        let value = returned.lock().take();
        match (end, value) {
            (Ok(()), Some(value)) => value,
            (end, _) => {
                let seed = inner.seed;
                let at = inner.stage.elapsed();
                eprintln!("the simulation with seed {seed} has failed after {at:?} of its time");
                match end {
                    Err(RunFailure::Panicked(panic)) => resume_unwind(panic),
                    Err(RunFailure::Failed(why)) => panic!("seed {seed}: {why}"),
                    Ok(()) => panic!("seed {seed}: the host of the body was killed"),
                }
            }
        }
    }
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Network");
        debug.field("seed", &self.inner.seed).field("elapsed", &self.elapsed());
        debug.finish_non_exhaustive()
    }
}

/// Why a run has ended before its body.
enum RunFailure {
    Panicked(Box<dyn Any + Send>),
    Failed(String),
}

impl Inner {
    fn add_host(&self, name: &str) -> HostId {
        let id = self.net.add_host(name);
        let transport = SimTransport::new(&self.net, id);
        let runtime = self
            .stage
            .direct(|| Runtime::simulated(transport, Arc::new(self.net.reports(id))))
            .expect("there are descriptors for an event loop");
        self.hosts.lock().all.push(Machine { name: name.to_owned(), runtime: Some(runtime) });
        id
    }
}

/// The director.
impl Inner {
    /// Lets threads and event loops run in an order drawn from the seed, and moves the clock when none has
    /// anything to do, until the thread `body` is over.
    fn go_on_until_over(&self, body: usize) -> Result<(), RunFailure> {
        let mut loops = Loops::default();
        loop {
            if let Some(first) = self.stage.take_panic() {
                eprintln!("{} has panicked", first.thread);
                return Err(RunFailure::Panicked(first.panic));
            }
            if self.stage.is_thread_over(body) {
                return Ok(());
            }
            if self.step(&mut loops).map_err(RunFailure::Failed)? {
                continue;
            }
            self.move_clock(&loops).map_err(RunFailure::Failed)?;
        }
    }

    /// Does one of the things that can be done now. `false`: there is none.
    fn step(&self, loops: &mut Loops) -> Result<bool, String> {
        let threads = self.stage.runnable();
        let living = self.living();
        let waiting = loops.with_work(&living, &self.net, self.stage.now());
        let choices = threads.len() + waiting.len();
        if choices == 0 {
            return Ok(false);
        }
        let choice = usize::try_from(self.stage.number() % choices as u64).unwrap_or(0);
        match threads.get(choice) {
            Some(&thread) => {
                self.stage.run(thread);
                loops.have_work();
            }
            None => {
                let (host, leadership) = &waiting[choice - threads.len()];
                let (was_busy, next) = leadership
                    .turn_simulated()
                    .map_err(|error| format!("an event loop cannot turn: {error}"))?;
                loops.turned(*host, was_busy, next);
                if was_busy {
                    self.stage.tell();
                }
            }
        }
        Ok(true)
    }

    fn move_clock(&self, loops: &Loops) -> Result<(), String> {
        let times = [self.stage.next_due(), self.net.next_due(), loops.next_due()];
        let Some(next) = times.into_iter().flatten().min() else {
            let waiting = self.stage.living().join(", ");
            return Err(format!("nothing can happen any more, and these wait: {waiting}"));
        };
        let limit = self.hosts.lock().time_limit;
        if next.saturating_duration_since(self.stage.now()) + self.stage.elapsed() > limit {
            let waiting = self.stage.living().join(", ");
            return Err(format!("not over after {limit:?}; these wait: {waiting}"));
        }
        self.stage.advance(next);
        self.net.happen();
        Ok(())
    }

    /// The event loops of the hosts that live.
    fn living(&self) -> Vec<(HostId, Arc<Leadership>)> {
        let hosts = self.hosts.lock();
        let living =
            hosts.all.iter().enumerate().filter_map(|(id, host)| {
                Some((id, Arc::clone(host.runtime.as_ref()?.leadership()?)))
            });
        living.collect()
    }

    /// Ends all threads that are left.
    fn finish(&self) {
        let hosts = self.hosts.lock().all.len();
        (0..hosts).for_each(|host| self.net.kill(host));
        self.stage.dismiss(None);
        for _ in 0..LAST_TURNS {
            match self.stage.runnable().first() {
                Some(&thread) => self.stage.run(thread),
                None => match self.stage.next_due() {
                    Some(next) => self.stage.advance(next),
                    None => break,
                },
            }
        }
        let runtimes: Vec<_> =
            self.hosts.lock().all.iter_mut().map(|host| host.runtime.take()).collect();
        drop(runtimes);
    }
}

/// What the director knows of the event loops.
#[derive(Default)]
struct Loops {
    /// By [`HostId`]: whether there may be something to do, and when there is next.
    all: Vec<(bool, Option<Instant>)>,
}

impl Loops {
    fn have_work(&mut self) {
        self.all.iter_mut().for_each(|it| it.0 = true);
    }

    fn turned(&mut self, host: HostId, was_busy: bool, next: Option<Instant>) {
        if was_busy {
            self.have_work();
        }
        self.all[host] = (was_busy, next);
    }

    /// The loops, out of `living`, that may have something to do.
    fn with_work<'l>(
        &mut self,
        living: &'l [(HostId, Arc<Leadership>)],
        net: &Net,
        now: Instant,
    ) -> Vec<&'l (HostId, Arc<Leadership>)> {
        for (host, state) in self.all.iter_mut().enumerate() {
            if !living.iter().any(|(id, _)| *id == host) {
                *state = (false, None);
            }
        }
        let mut found = Vec::new();
        for it in living {
            if self.all.len() <= it.0 {
                self.all.resize(it.0 + 1, (true, None));
            }
            let (has_work, next) = self.all[it.0];
            if has_work || next.is_some_and(|next| next <= now) || net.has_reports(it.0) {
                found.push(it);
            }
        }
        found
    }

    fn next_due(&self) -> Option<Instant> {
        self.all.iter().filter_map(|it| it.1).min()
    }
}

/// A host of a [`Network`].
///
/// A handle; clones are the same host.
#[derive(Clone)]
pub struct Host {
    network: Network,
    id: HostId,
    name: String,
}

impl Host {
    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the runtime of the host, which sockets use that are made in its threads.
    ///
    /// # Panics
    ///
    /// The host was killed.
    pub fn runtime(&self) -> Runtime {
        let hosts = self.network.inner.hosts.lock();
        hosts.all[self.id].runtime.clone().expect("the host was killed")
    }

    /// Starts a thread on the host. It runs once the network does.
    ///
    /// # Panics
    ///
    /// The host was killed.
    pub fn spawn<T: Send + 'static>(&self, body: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
        let shared = Arc::new(Outcome {
            state: Mutex::new(Rank::Hosts, (None, false)),
            over: Condvar::new(),
        });
        /// Tells who joins, also when the thread unwinds.
        struct Tell<T>(Arc<Outcome<T>>);
        impl<T> Drop for Tell<T> {
            fn drop(&mut self) {
                self.0.state.lock().1 = true;
                self.0.over.notify_all();
            }
        }
        let tell = Tell(Arc::clone(&shared));
        self.start(move || {
            let tell = tell;
            let value = body();
            tell.0.state.lock().0 = Some(value);
        });
        Thread { shared }
    }

    fn start(&self, body: impl FnOnce() + Send + 'static) -> usize {
        let home: Arc<dyn Any + Send + Sync> = Arc::new(self.runtime());
        let network = self.network.clone();
        let host = self.clone();
        self.network.inner.stage.spawn(&self.name, self.id, Some(home), move || {
            HERE.set(Some(host));
            // The host, and with it the network, must not be held by what a thread leaves behind.
            let outcome = catch_unwind(AssertUnwindSafe(body));
            HERE.set(None);
            drop(network);
            outcome.unwrap_or_else(|panic| resume_unwind(panic));
        })
    }

    /// Kills the host: its threads unwind where they wait, its connections break, and its names are free. What it
    /// had sent and others had not received is lost. The others are told after the latency of the link, as by the
    /// system of a machine whose process was killed.
    ///
    /// [`Network::host`] makes a new one with its name.
    pub fn kill(&self) {
        let runtime = self.network.inner.hosts.lock().all[self.id].runtime.take();
        if runtime.is_some() {
            self.network.inner.net.kill(self.id);
            self.network.inner.stage.dismiss(Some(self.id));
        }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("name", &self.name).finish_non_exhaustive()
    }
}

thread_local! {
    /// The host that the thread is on.
    static HERE: std::cell::RefCell<Option<Host>> = const { std::cell::RefCell::new(None) };
}

/// A thread of a simulation.
#[derive(Debug)]
pub struct Thread<T> {
    shared: Arc<Outcome<T>>,
}

#[derive(Debug)]
struct Outcome<T> {
    /// What the thread has returned, and whether it has ended.
    state: Mutex<(Option<T>, bool)>,
    over: Condvar,
}

impl<T> Thread<T> {
    /// Waits until the thread has ended, and returns what it has returned; `None` if its host was killed.
    pub fn join(self) -> Option<T> {
        let mut state = self.shared.state.lock();
        while !state.1 {
            state = time::wait(&self.shared.over, &self.shared.state, state, None);
        }
        state.0.take()
    }
}

/// Starts a thread on the host of the calling thread. See [`Host::spawn`].
///
/// # Panics
///
/// The calling thread is none of a simulation.
pub fn spawn<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> Thread<T> {
    here().spawn(body)
}

/// Returns the host of the calling thread.
///
/// # Panics
///
/// The calling thread is none of a simulation.
pub fn here() -> Host {
    HERE.with_borrow(Clone::clone).expect("a thread of a simulation: see Host::spawn")
}

/// Sleeps for this long on the simulation's clock; in any other thread, on the system's.
pub fn sleep(time: Duration) {
    time::sleep(time);
}

/// How much time has passed on the simulation's clock.
///
/// # Panics
///
/// The calling thread is none of a simulation.
pub fn elapsed() -> Duration {
    Participant::own().expect("a thread of a simulation: see Host::spawn").stage().elapsed()
}

/// Runs a future in the calling thread, which waits for it, on the simulation's clock.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Arc<Parker>);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let parker = Parker::own();
    let waker = Waker::from(Arc::new(Unpark(Arc::clone(&parker))));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => parker.park(None),
        }
    }
}

/// Runs `test` with each of these seeds, and says with which it has failed.
///
/// Before the panic goes on, one line on standard error says how to run that seed alone:
/// `SINEW_TEST_SEED=17 cargo test -- NAME`, with the name of the thread, which is that of the test. If that variable
/// is set, only its seed is run. `SINEW_TEST_SEEDS=1000000` runs this many from the first on, in place of those.
///
/// ```
/// use sinew::testing::{Network, seeds};
///
/// seeds(0..=20, |seed| {
///     let network = Network::new(seed);
///     assert_eq!(network.run(move || 6 * 7), 42);
/// });
/// ```
///
/// # Panics
///
/// `test` has panicked, or a variable is no number.
pub fn seeds(seeds: RangeInclusive<u64>, test: impl Fn(u64)) {
    let set = |name| {
        let text = std::env::var(name).ok()?;
        Some(text.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
    };
    let (first, last) = (*seeds.start(), *seeds.end());
    let seeds = match (set("SINEW_TEST_SEED"), set("SINEW_TEST_SEEDS")) {
        (Some(seed), _) => seed..=seed,
        (None, Some(count)) => first..=first.saturating_add(count.saturating_sub(1)),
        (None, None) => first..=last,
    };
    for seed in seeds {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(seed))) {
            let name = std::thread::current().name().unwrap_or_default().to_owned();
            eprintln!("to see it again: SINEW_TEST_SEED={seed} cargo test -- {name}");
            resume_unwind(panic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Options, Pull, Push, Rep, Req};

    /// With the order of locks checked, which only unit tests do.
    #[test]
    fn a_simulation_takes_its_locks_in_order() {
        let network = Network::new(1);
        network.set_links(Link::new().rate(1_000_000).cuts(Duration::from_millis(500)));
        network.host("far").spawn(|| {
            let rep = Rep::new();
            rep.bind("sim://far").unwrap();
            for request in &rep {
                let _ = request.reply("yes");
            }
        });
        let net = network.clone();
        network.run(move || {
            let req = Req::with_options(Options::new().resend_interval(Duration::from_millis(10)));
            let req = req.unwrap();
            req.connect("sim://far").unwrap();
            for _ in 0..50 {
                assert_eq!(req.request("well?").unwrap(), "yes");
            }
            net.partition(&["far"]);
            assert!(req.request_timeout("well?", Duration::from_secs(1)).is_err());
            net.heal();
            net.host("far").kill();
        });
    }

    /// The connection fills, and the writer is told of room.
    #[test]
    fn a_full_connection_holds_its_writer_up() {
        let network = Network::new(2);
        let far = network.host("far").spawn(|| {
            let pull = Pull::with_options(Options::new().recv_queue(1)).unwrap();
            pull.bind("sim://far").unwrap();
            sleep(Duration::from_secs(1));
            (0..20).map(|_| pull.recv().unwrap().len()).sum::<usize>()
        });
        network.run(move || {
            let push = Push::with_options(Options::new().send_queue(1)).unwrap();
            push.connect("sim://far").unwrap();
            (0..20).for_each(|_| push.send(vec![0; 100_000]).unwrap());
            assert!(elapsed() >= Duration::from_secs(1), "nobody has read before");
            assert_eq!(far.join(), Some(2_000_000));
        });
    }
}
