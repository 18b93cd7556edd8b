//! The event loop: everything that waits for the operating system.
//!
//! One [`Driver`] owns one poll and everything registered with it: listening sockets, dialers, connections,
//! timers. A turn does what is due and returns. Usually an I/O thread runs turns in a loop; in a runtime
//! without I/O threads the program does, or a thread that waits. A runtime with several I/O threads has as
//! many drivers, which share the connections: see `loops.rs`.
//!
//! Other threads talk to the driver through its [`Mailbox`]: a leaf lock, and a wake-up only if the driver
//! sleeps. The driver talks to sockets through [`Host`]: it attaches and detaches pipes and runs timers.
//! Messages take neither way, but go through the rings.
//!
//! The leader has the driver to itself while it turns; only followers wait for it. Apart from that the loop
//! holds no lock during a system call, a callback, a log record, or a foreign destructor.
//!
//! | file | |
//! |---|---|
//! | `leadership` | which thread turns the driver |
//! | `mailbox` | commands to the driver, and the wake-up for them |
//! | `listening`, `dialing`, `race` | how connections are made |
//! | `control` | how the program stops an endpoint |
//! | `pool`, `resolve`, `asking` | threads for what may block: looking up names, and the program's callback |
//! | `crowding` | how many connections of a listener may be without a header, and for how long |
//! | `line` | which of several newcomers gets in, if a socket has one peer |
//! | `connection`, `link` | one connection: the driver's part, and the part that senders share |
//! | `writing`, `pace` | which thread writes, and when |
//! | `quota` | how much one turn does |
//! | `batching`, `idle`, `timers` | what is done later: for busy connections, for idle ones, at a set time |
//! | `silence` | peers that do not answer |
//! | `clock` | how a task that turns the loop learns of the time |
//! | `read_buffers` | the memory that reads go into |
//! | `table` | what a driver owns, by token |
//! | `loops` | the drivers of one runtime |

use std::collections::{HashMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

mod asking;
mod batching;
#[cfg(unix)]
mod clock;
mod connection;
mod control;
mod crowding;
mod dialing;
mod idle;
pub(crate) mod leadership;
mod line;
mod link;
mod listening;
mod loops;
mod loss;
mod mailbox;
mod pace;
mod pool;
mod quota;
mod race;
mod read_buffers;
mod resolve;
mod silence;
mod table;
mod timers;
mod writing;

pub(crate) use connection::Reported;
pub(crate) use control::StreamControl;
pub(crate) use dialing::Backoff;
pub(crate) use listening::ListenerSlot;
pub(crate) use loss::Loss;
pub(crate) use mailbox::{Command, Mailbox, Retry};
pub(crate) use pace::note_wait;
pub(crate) use timers::after;

use batching::Batching;
#[cfg(unix)]
use clock::Clock;
use connection::{Connection, Ending, Fate};
use crowding::Crowds;
use dialing::Dialer;
use idle::Idle;
use line::Lines;
use link::Flusher;
use listening::Listening;
use loops::{HOME, Loops};
use pool::Pool;
use quota::Quota;
use race::Race;
pub(crate) use race::Way;
use read_buffers::ReadBuffers;
use resolve::Resolver;
use silence::Unanswered;
use table::{Kind, Members, Table, WAKE};
use timers::{TimerKey, Timers};

use crate::contain::contain;
use crate::peer::EndpointId;
use crate::pipe::Host;
use crate::room::GiveBack;
use crate::sync::{Arc, Ordering, Weak};
use crate::sys::{self, Origin};
use crate::time;

/// Poll for at most this long. A longer time makes mio count milliseconds beyond 31 bits, and the poll then
/// returns at once or not at all.
const LONGEST_POLL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a timer does.
#[derive(Debug)]
pub(crate) enum Due {
    /// The peer's header must have come, and before it what TLS and WebSocket exchange.
    Handshake(Token),
    /// The same for the first of those that a listener has accepted.
    Crowd(EndpointId),
    /// A closed connection's time for writing is over.
    Linger(Token),
    /// A closed connection's time for the peer's end of stream is over.
    HalfClosed(Token),
    /// Connections that are idle give back their memory.
    CheckIdle,
    /// Peers that owe an answer must not be silent for too long.
    Silence,
    /// A dialer tries again.
    Dial(Token),
    /// A peer that might have turned a dialer away has had its time.
    Confirm(Token),
    /// A name has been looked up for long enough.
    LookUp(Token),
    /// A race tries another destination, or is over.
    Race(Token),
    /// A listener accepts again.
    Accept(Token),
    /// A socket's timers.
    Expire(Weak<dyn Host>),
    /// A dialer outside of the event loops tries again.
    Retry(Weak<dyn Retry>),
}

/// What a simulated network has to say to a driver, beside the poll.
#[cfg(feature = "testing")]
pub(crate) trait Reports: std::fmt::Debug + Send + Sync {
    /// Takes what has happened since the last call.
    fn take(&self) -> Vec<(Token, Reported)>;
}

/// What all parts of the driver use.
#[derive(Debug)]
pub(crate) struct LoopContext {
    mailbox: Arc<Mailbox>,
    timers: Timers<Due>,
    /// The memory that reads go into.
    read_buffers: ReadBuffers,
    /// The kind of writer that the driver is.
    writer: Flusher,
    /// What this turn may still do.
    quota: Quota,
    /// The threads that run the program's callback; `None` if the program turns the loop itself.
    askers: Option<Arc<Pool>>,
}

impl LoopContext {
    /// Sets a timer in place of the one that `slot` holds.
    fn set_timer(&mut self, slot: &mut Option<TimerKey>, at: Instant, due: Due) {
        if let Some(old) = slot.replace(self.timers.set(at, due)) {
            self.timers.cancel(old);
        }
    }
}

/// Owns the poll and everything registered with it.
#[derive(Debug)]
pub(crate) struct Driver {
    poll: Poll,
    events: Events,
    loops: Loops,
    listeners: Table<Listening>,
    dialers: Table<Dialer>,
    races: Table<Box<Race>>,
    connections: Table<Box<Connection>>,
    members: Members,
    crowds: Crowds,
    /// Connections and listeners that have more to do, which the poll will not report again.
    ready: VecDeque<Token>,
    /// Those of them that have had little to do lately, which go first.
    ready_first: VecDeque<Token>,
    /// Pipes that their sockets have closed, and for how long they may write, beyond what a turn allows.
    closings: VecDeque<(Token, Duration)>,
    resolver: Resolver,
    /// Connections whose partial batch is held back while callers write full ones.
    batching: Batching,
    idle: Idle,
    unanswered: Unanswered,
    /// The connections of sockets that have one peer at a time.
    lines: Lines,
    /// The one timer of each socket that has one, by [`address`].
    expiries: HashMap<usize, TimerKey>,
    cx: LoopContext,
    /// For the task that turns the loop, once there has been one.
    #[cfg(unix)]
    clock: Option<Clock>,
    /// The last poll had as many events as fit in: there may be more.
    is_cut_short: bool,
    /// The last turn has found neither commands nor events.
    was_idle: bool,
    /// The pause before the next turn has shown that the poll has nothing to report.
    is_quiet: bool,
    stopped: bool,
    /// The process that made it.
    origin: Origin,
    loss: Arc<Loss>,
    /// The simulated network that it is part of.
    #[cfg(feature = "testing")]
    reports: Option<Arc<dyn Reports>>,
}

impl Driver {
    /// Makes the drivers of a runtime with `count` loops. The first is that of the home loop.
    pub(crate) fn several(count: usize) -> io::Result<Vec<Self>> {
        let mut drivers = (0..count).map(|_| Self::new()).collect::<io::Result<Vec<_>>>()?;
        let all = Arc::new(drivers.iter().map(|driver| Arc::clone(driver.mailbox())).collect());
        let loss = Arc::new(Loss::new());
        for (this, driver) in drivers.iter_mut().enumerate() {
            driver.loops = Loops::new(Arc::clone(&all), this);
            driver.loss = Arc::clone(&loss);
        }
        Ok(drivers)
    }

    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(mio::Waker::new(poll.registry(), WAKE)?);
        let mailbox = Arc::new(Mailbox::new(waker, poll.registry().try_clone()?));
        let cx = LoopContext {
            mailbox: Arc::clone(&mailbox),
            timers: Timers::new(),
            read_buffers: ReadBuffers::default(),
            writer: Flusher::Driver,
            quota: Quota::new(),
            askers: Some(asking::askers()),
        };
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            loops: Loops::new(Arc::new(vec![mailbox]), HOME),
            listeners: Table::new(Kind::Listener),
            dialers: Table::new(Kind::Dialer),
            races: Table::new(Kind::Race),
            connections: Table::new(Kind::Connection),
            members: Members::default(),
            crowds: Crowds::default(),
            ready: VecDeque::new(),
            ready_first: VecDeque::new(),
            closings: VecDeque::new(),
            resolver: Resolver::new(),
            batching: Batching::new(time::now()),
            idle: Idle::new(),
            unanswered: Unanswered::default(),
            lines: Lines::default(),
            expiries: HashMap::new(),
            cx,
            #[cfg(unix)]
            clock: None,
            is_cut_short: false,
            was_idle: false,
            is_quiet: false,
            stopped: false,
            origin: Origin::now(),
            loss: Arc::new(Loss::new()),
            #[cfg(feature = "testing")]
            reports: None,
        })
    }

    /// What this loop shares with the others of its runtime, and with its sockets.
    pub(crate) fn loss(&self) -> &Arc<Loss> {
        &self.loss
    }

    /// Ends all loops of the runtime after a panic in this one: a fault of ours, after which nothing may be as it
    /// should.
    #[cold]
    pub(crate) fn lose_all(&mut self) {
        crate::contain::record!(
            Error,
            {},
            "an event loop has panicked, and its sockets are closed"
        );
        self.stopped = true;
        // First, so that a call that ends with what the mailbox drops knows why.
        self.loss.begin();
        self.cx.mailbox.close();
        self.loss.spread();
        // Each ends when it sees that.
        self.loops.all().iter().for_each(|mailbox| mailbox.post(Command::Stop));
        self.abandon();
    }

    /// Gives up everything that the loop owns, after it was lost.
    pub(crate) fn abandon(&mut self) {
        self.stopped = true;
        self.close();
        let Self { connections, listeners, dialers, races, cx, .. } = self;
        let what = "what an event loop has left behind";
        contain(what, || drop(std::mem::replace(connections, Table::new(Kind::Connection))));
        contain(what, || drop(std::mem::replace(listeners, Table::new(Kind::Listener))));
        contain(what, || drop(std::mem::replace(dialers, Table::new(Kind::Dialer))));
        contain(what, || drop(std::mem::replace(races, Table::new(Kind::Race))));
        contain(what, || drop(std::mem::replace(&mut cx.timers, Timers::new())));
        cx.mailbox.connections.store(0, Ordering::Relaxed);
        self.expiries.clear();
        self.ready.clear();
        self.ready_first.clear();
        self.closings.clear();
    }

    /// Takes no more commands and starts no more jobs.
    fn close(&self) {
        self.cx.mailbox.close();
        if let Some(askers) = &self.cx.askers {
            askers.close();
        }
        self.resolver.close();
    }

    pub(crate) fn mailbox(&self) -> &Arc<Mailbox> {
        &self.cx.mailbox
    }

    /// Prepares for a runtime without I/O threads: holds nothing back, and starts no other thread.
    pub(crate) fn without_io_thread(&mut self) {
        self.cx.writer = Flusher::ManualDriver;
        self.cx.askers = None;
    }

    /// Makes it part of a simulated network.
    #[cfg(feature = "testing")]
    pub(crate) fn simulate(&mut self, reports: Arc<dyn Reports>) {
        self.reports = Some(reports);
    }

    /// When the next timer is due.
    #[cfg(feature = "testing")]
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.cx.timers.next_due()
    }

    #[cfg(test)]
    pub(crate) fn timers(&self) -> usize {
        self.cx.timers.len()
    }

    /// Pretends that a batch is held back.
    #[cfg(test)]
    pub(crate) fn hold_back_a_batch(&mut self) {
        self.batching.hold_back(WAKE, 0, time::now());
    }

    /// Pretends that a connection has more to do than its turn allowed.
    #[cfg(test)]
    pub(crate) fn leave_undone(&mut self) {
        self.ready.push_back(WAKE);
    }

    /// Whether the runtime is gone.
    pub(crate) fn is_stopped(&self) -> bool {
        // If a callback has forked, the child has a copy of this thread, which must not go on with the parent's
        // work.
        self.stopped || self.origin.is_ancestral()
    }

    /// Waits until something is due, for at most `timeout`, and does everything that is due. Does not wait if
    /// `idle` returns `false` once the driver can be woken.
    pub(crate) fn turn(
        &mut self,
        timeout: Option<Duration>,
        idle: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        // What was posted since the last turn, which may make the poll needless.
        self.cx.mailbox.note_at_work();
        self.was_idle = !self.has_left_over();
        self.cx.quota.renew();
        self.run_commands();
        // The poll, what it reports, and what was posted during it.
        self.poll_once(timeout, idle)?;
        self.run_events();
        self.work_off();
        Ok(())
    }

    /// Does everything that is due without waiting. Polls only if `ask`, or if the last poll may not have
    /// told all.
    #[cfg(unix)]
    pub(crate) fn turn_at_once(&mut self, ask: bool) -> io::Result<()> {
        if ask || self.is_cut_short {
            return self.turn(Some(Duration::ZERO), || true);
        }
        self.cx.mailbox.note_at_work();
        self.cx.quota.renew();
        self.work_off();
        Ok(())
    }

    /// Does what is due and needs no poll.
    fn work_off(&mut self) {
        self.run_commands();
        // What earlier events left over, timers, and last what depends on all of this turn's headers.
        self.run_ready();
        self.run_timers();
        self.decide_about_newcomers();
    }

    /// Has the task that turns the loop woken when the next timer is due.
    #[cfg(unix)]
    pub(crate) fn set_clock(&mut self) -> io::Result<()> {
        let clock = match &mut self.clock {
            Some(clock) => clock,
            none => none.insert(Clock::new(&self.cx.mailbox)?),
        };
        clock.set(self.cx.timers.next_due())
    }

    fn poll_once(
        &mut self,
        timeout: Option<Duration>,
        idle: impl FnOnce() -> bool,
    ) -> io::Result<()> {
        if std::mem::take(&mut self.is_quiet) && timeout == Some(Duration::ZERO) {
            self.events.clear();
            return Ok(());
        }
        let waits = !self.has_left_over()
            && self.batching.is_empty()
            && !self.stopped
            && timeout != Some(Duration::ZERO)
            && self.cx.mailbox.prepare_to_poll(idle);
        let timeout = if waits { self.until_due(timeout) } else { Some(Duration::ZERO) };
        let polled = self.poll(timeout);
        self.cx.mailbox.note_at_work();
        if waits {
            self.cx.mailbox.called.learn();
        }
        match polled {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                crate::parker::Parker::own().note_interrupt();
                self.poll_after_interrupt()
            }
            polled => polled,
        }
    }

    /// Asks for what there is, without waiting. A process that is stopped and goes on finds its poll interrupted, and
    /// perhaps many timers due: what has come until then is read before they run.
    fn poll_after_interrupt(&mut self) -> io::Result<()> {
        match self.poll(Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                self.events.clear();
                Ok(())
            }
            polled => polled,
        }
    }

    /// Asks the system for what it has to report, and waits for that, or to be woken.
    #[cfg(not(shuttle))]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.poll.poll(&mut self.events, timeout)
    }

    /// Waits to be woken. A schedule has no connections of which the system could report.
    #[cfg(shuttle)]
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.cx.mailbox.doze.sleep(timeout);
        Ok(())
    }

    /// Whether the last turn has found nothing to do, timers aside.
    pub(crate) fn was_idle(&self) -> bool {
        self.was_idle
    }

    /// Whether batches are held back, which must be written later.
    pub(crate) fn is_batching(&self) -> bool {
        !self.batching.is_empty()
    }

    /// Whether connections or listeners have more to do, which the poll will not report again, or the last
    /// poll may not have reported all.
    pub(crate) fn has_more_to_do(&self) -> bool {
        self.has_left_over() || self.is_cut_short
    }

    /// Whether an earlier turn has left something over.
    fn has_left_over(&self) -> bool {
        !(self.ready.is_empty() && self.ready_first.is_empty() && self.closings.is_empty())
    }

    /// The time until the next sweep; `None`: there is nothing to sweep.
    pub(crate) fn until_sweep(&self) -> Option<Duration> {
        let wait = self.batching.until_sweep(time::now())?;
        Some(if self.has_left_over() { Duration::ZERO } else { wait })
    }

    /// Writes the batches that their callers have not written since the last sweep, if it is time for one.
    pub(crate) fn sweep(&mut self) {
        if self.batching.is_empty() {
            return;
        }
        let begin = time::now();
        let Some(held) = self.batching.begin_sweep(begin) else { return };
        self.cx.quota.renew();
        let mut in_vain = true;
        for (token, departed) in held {
            let mut by_callers = false;
            self.drive(token, |connection, cx| {
                by_callers = connection.is_written_by_callers(departed);
                if by_callers { connection.hold_back() } else { connection.flush(token, cx) }
            });
            in_vain &= by_callers;
        }
        self.batching.end_sweep(begin, time::now(), in_vain);
    }

    /// Waits for `pause`, or until something happens. Finer than the poll, which counts milliseconds.
    pub(crate) fn await_sweep(&mut self, pause: Duration) {
        if !pause.is_zero() && self.cx.mailbox.prepare_to_poll(|| true) {
            self.is_quiet = !sys::await_report(&self.poll, pause);
            self.cx.mailbox.note_at_work();
            self.cx.mailbox.called.learn();
        }
    }

    fn until_due(&self, timeout: Option<Duration>) -> Option<Duration> {
        let due = self.cx.timers.next_due().map(|at| at.saturating_duration_since(time::now()));
        [timeout, due].into_iter().flatten().min().map(|wait| wait.min(LONGEST_POLL))
    }

    fn run_events(&mut self) {
        // Taken out and put back below, since handling them needs the whole driver.
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in events.iter().filter(|event| event.token() != WAKE) {
            self.on_report(event.token(), Reported::of(event));
        }
        #[cfg(feature = "testing")]
        if let Some(reports) = &self.reports {
            let all = reports.take();
            all.into_iter().for_each(|(token, readiness)| self.on_report(token, readiness));
        }
        self.is_cut_short = events.iter().count() == events.capacity();
        self.events = events;
    }

    fn on_report(&mut self, token: Token, readiness: Reported) {
        self.was_idle = false;
        match Kind::of(token) {
            Kind::Connection => {
                self.drive(token, |connection, cx| connection.on_event(readiness, token, cx));
            }
            Kind::Listener => self.accept(token),
            Kind::Dialer | Kind::Race => {}
        }
    }

    fn run_ready(&mut self) {
        // A part of its own, so that it goes on whatever the poll reports in each turn.
        self.cx.quota.renew();
        for _ in 0..self.ready_first.len() {
            if self.cx.quota.is_spent(true) {
                break;
            }
            let Some(token) = self.ready_first.pop_front() else { break };
            self.go_on(token);
        }
        for n in 0..self.ready.len() {
            // One of them in any case.
            if n > 0 && self.cx.quota.is_spent(false) {
                break;
            }
            let Some(token) = self.ready.pop_front() else { break };
            if n == 0 {
                self.cx.quota.renew();
            }
            self.go_on(token);
        }
        for n in 0..self.closings.len() {
            if n > 0 && self.cx.quota.is_spent(false) {
                break;
            }
            let Some((token, linger)) = self.closings.pop_front() else { break };
            if n == 0 {
                self.cx.quota.renew();
            }
            self.close_pipe(token, linger);
        }
    }

    /// Has a connection or a listener do what an earlier turn has left over.
    fn go_on(&mut self, token: Token) {
        if let Some(is_queued) = self.queued_flag(token) {
            *is_queued = false;
        }
        match Kind::of(token) {
            Kind::Connection => self.drive(token, |connection, cx| connection.go_on(token, cx)),
            Kind::Listener => self.accept(token),
            Kind::Dialer | Kind::Race => {}
        }
    }

    /// Queues a connection or a listener, to go on in the next turn: among the first if it has had `little` to
    /// do lately.
    fn queue(&mut self, token: Token, little: bool) {
        if let Some(is_queued) = self.queued_flag(token)
            && !std::mem::replace(is_queued, true)
        {
            let queue = if little { &mut self.ready_first } else { &mut self.ready };
            queue.push_back(token);
        }
    }

    fn queued_flag(&mut self, token: Token) -> Option<&mut bool> {
        match Kind::of(token) {
            Kind::Connection => self.connections.get(token).map(|it| &mut it.is_queued),
            Kind::Listener => self.listeners.get(token).map(|it| &mut it.is_queued),
            Kind::Dialer | Kind::Race => None,
        }
    }

    fn run_timers(&mut self) {
        // What timers are about is not put off by what others have to do.
        self.cx.quota.renew();
        let now = time::now();
        while let Some(due) = self.cx.timers.pop(now) {
            match due {
                Due::Handshake(token) => self.drive(token, |c, _| c.on_handshake_timeout()),
                Due::Crowd(endpoint) => self.check_crowd(endpoint),
                Due::Linger(token) => self.drive(token, |c, cx| c.half_close(token, cx)),
                Due::HalfClosed(token) => self.drive(token, |_, _| Fate::End(Ending::Closed)),
                Due::CheckIdle => self.check_idle(),
                Due::Silence => self.check_silence(),
                Due::Dial(token) => self.dial_again_if_wanted(token),
                Due::Confirm(token) => self.confirm(token),
                Due::LookUp(token) => self.on_look_up_over(token),
                Due::Race(token) => self.race(token),
                Due::Accept(token) => self.accept_again(token),
                Due::Expire(host) => {
                    self.expiries.remove(&address(&host));
                    self.expiries.give_back();
                    if let Some(host) = host.upgrade() {
                        host.expire();
                    }
                }
                Due::Retry(who) => {
                    if let Some(who) = who.upgrade() {
                        self.cx.retry(who);
                    }
                }
            }
        }
    }

    fn run_commands(&mut self) {
        for command in self.cx.mailbox.take() {
            self.was_idle = false;
            self.run_command(command);
        }
    }

    fn run_command(&mut self, command: Command) {
        match command {
            Command::Listen { host, endpoint, framing, listener } => {
                self.listen(Listening::new(host, endpoint, framing, listener));
            }
            Command::Dial { host, endpoint, way, target, once } => {
                self.keep_connected(Dialer::new(host, endpoint, way, target, once));
            }
            Command::Serve { host, endpoint, framing, stream } => {
                self.serve(&host, endpoint, framing, stream);
            }
            Command::Decided(token, admitted) => {
                self.drive(token, |c, cx| c.decided(admitted, token, cx));
            }
            Command::Adopt(connection) => self.adopt(connection),
            Command::Race(race) => self.enter(race),
            Command::Connected(token) => self.on_dialer_connected(token),
            Command::Ended(token, ending) => self.dial_again(token, ending),
            Command::Resolved(token, places) => self.resolved(token, places),
            Command::Forget(endpoint) => self.forget(endpoint),
            Command::Flush(token) => self.drive(token, |c, cx| c.flush(token, cx)),
            Command::Broken(token, error) => {
                self.drive(token, |c, _| c.broken(error));
            }
            Command::Resume(token) => self.resume(token),
            Command::Active(token) => self.on_active(token),
            Command::Wrote(token) => self.await_answer(token),
            // A socket may close thousands at once.
            Command::Close(token, linger) if self.cx.quota.is_spent(false) => {
                self.closings.push_back((token, linger));
            }
            Command::Close(token, linger) => self.close_pipe(token, linger),
            Command::Expire(host, at) => self.expire_at(host, at),
            Command::Visit(host) => {
                if let Some(host) = host.upgrade() {
                    host.visit();
                }
            }
            Command::Retry(who, at) => {
                self.cx.timers.set(at, Due::Retry(who));
            }
            Command::Stop => self.stop(),
        }
    }

    /// Makes this the last turn. What was closed before is written at once.
    fn stop(&mut self) {
        self.stopped = true;
        for (token, linger) in std::mem::take(&mut self.closings) {
            self.cx.quota.renew();
            self.close_pipe(token, linger);
        }
    }

    /// Resumes what waited for room. The poll will not report again what has come meanwhile.
    fn resume(&mut self, token: Token) {
        match Kind::of(token) {
            Kind::Connection => self.drive(token, |c, cx| c.resume(token, cx)),
            Kind::Listener => self.resume_accepting(token),
            Kind::Dialer => self.dial_again_if_wanted(token),
            Kind::Race => {}
        }
    }

    fn expire_at(&mut self, host: Weak<dyn Host>, at: Option<Instant>) {
        let address = address(&host);
        // A socket may be closed while its last command is on the way.
        let at = at.filter(|_| host.upgrade().is_some_and(|host| !host.is_closed()));
        let old = self.expiries.get(&address).copied();
        // Two threads may have posted in the wrong order, so the earlier time counts.
        if old.is_some_and(|old| at.is_some_and(|at| old.at() <= at)) {
            return;
        }
        if let Some(old) = old {
            self.cx.timers.cancel(old);
            self.expiries.remove(&address);
        }
        match at {
            Some(at) => {
                self.expiries.insert(address, self.cx.timers.set(at, Due::Expire(host)));
            }
            None => self.expiries.give_back(),
        }
    }

    /// Chooses the loop for one more connection of a socket, and counts it there. `last`: see
    /// [`Loops::choose`].
    fn choose(&self, last: usize, host: &Weak<dyn Host>) -> usize {
        if host.upgrade().is_some_and(|host| host.is_exclusive()) {
            self.loops.choose_for(address(host))
        } else {
            self.loops.choose(last)
        }
    }

    /// Forgets an endpoint: stops accepting or dialing, and ends the connections that are not pipes yet. The
    /// socket has told its pipes to close, which they do at their own pace.
    fn forget(&mut self, endpoint: EndpointId) {
        let members = self.members.of(endpoint);
        self.forget_crowd(endpoint);
        // First those that would begin again when a connection of theirs ends.
        for &token in &members {
            match Kind::of(token) {
                Kind::Listener => self.remove_listener(token),
                Kind::Dialer => self.remove_dialer(token),
                Kind::Race => self.remove_race(token),
                Kind::Connection => {}
            }
        }
        for token in members {
            if Kind::of(token) == Kind::Connection {
                self.end(token, Ending::Closed);
            }
        }
        for mailbox in self.loops.outposts() {
            mailbox.post(Command::Forget(endpoint));
        }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.close();
    }
}

/// The identity of a socket, as long as a reference to it is held, as by a timer.
fn address(host: &Weak<dyn Host>) -> usize {
    host.as_ptr().cast::<()>().addr()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// As long as nothing happens.
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_pause_ends_when_something_is_posted() {
        let mut driver = Driver::new().unwrap();
        let mailbox = Arc::clone(driver.mailbox());
        let start = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| mailbox.post(Command::Stop));
            while !driver.is_stopped() {
                driver.await_sweep(LONG);
                driver.turn(Some(Duration::ZERO), || true).unwrap();
            }
        });
        assert!(start.elapsed() < LONG);
    }

    #[test]
    #[cfg(unix)] // elsewhere a pause tells nothing
    fn a_pause_that_nothing_ends_has_the_next_turn_poll_for_nothing() {
        let mut driver = Driver::new().unwrap();
        driver.await_sweep(Duration::from_micros(50));
        assert!(driver.is_quiet);
        driver.turn(Some(Duration::ZERO), || true).unwrap();
        assert!(!driver.is_quiet, "once only");
    }
}
