//! Waiting: the one blocking loop, and its twin for tasks.
//!
//! An operation is an attempt that never blocks. This file repeats it until it succeeds, fails for good, or
//! the time is over; between attempts the caller sleeps where the signal can find it. Every blocking call of every
//! socket sleeps in [`Core::wait_on`], and a task begins to wait in [`Core::poll_on`] or [`Core::begin_wait`].

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use super::enter::Alone;
use super::{Core, Entry, Handle, SocketPort};
use crate::error::{Call, Facts, Situation, WaitError};
use crate::io;
use crate::io::leadership::{self, Leadership, WaitingTask};
use crate::message::Message;
use crate::parker::{Interruptible, Parker};
use crate::protocol::{Interest, Protocol, RecvRefusal, SendRefusal};
use crate::signal::{Signal, Sleeper, WaiterId};
use crate::spin::{self, Wait};
use crate::sync::{Arc, Ordering};
use crate::time;

/// How long an operation may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Patience {
    /// Not at all: one attempt.
    None,
    /// For this long, from the first failed attempt, before which the clock is not read; `None`: forever.
    For(Option<Duration>),
    /// As long as the options say, which are read after the first failed attempt.
    AsSet,
}

/// Why an operation did not succeed.
#[derive(Debug)]
pub(crate) enum Failure<E> {
    /// The socket is closed.
    Closed,
    /// It was inherited by a fork.
    Forked,
    /// An event loop of its runtime was lost.
    Lost,
    /// It would have had to wait, and must not.
    WouldBlock,
    /// It has waited for this long, its whole time.
    TimedOut(Duration),
    /// A signal handler has run while it slept.
    Interrupted,
    /// Waiting is no use.
    Refused(E),
}

/// A refusal that may end by itself.
pub(crate) trait Refusal {
    /// Whether to attempt again after a wake.
    fn is_for_now(&self) -> bool;
}

impl Refusal for SendRefusal {
    fn is_for_now(&self) -> bool {
        *self == Self::WouldBlock
    }
}

impl Refusal for RecvRefusal {
    fn is_for_now(&self) -> bool {
        *self == Self::WouldBlock
    }
}

/// The result of an operation, counted at the moment in which it happens, under the socket's lock.
pub(crate) trait Outcome {
    fn count(&self, _port: &mut SocketPort<'_>) {}
}

/// Sends are counted by [`Outgoing`](super::outgoing::Outgoing).
impl Outcome for () {}

impl Outcome for Message {
    fn count(&self, port: &mut SocketPort<'_>) {
        port.delivered(self);
    }
}

impl<T> Outcome for (T, Message) {
    fn count(&self, port: &mut SocketPort<'_>) {
        port.delivered(&self.1);
    }
}

/// What a call that has to wait registers with the signal.
struct Registration<'a> {
    /// The waiter, made when it is first needed.
    waiter: &'a mut Option<WaiterId<Interest>>,
    /// How to wake it. Made before the lock is taken, and dropped after it if it is not used, since a task's
    /// waker is foreign code.
    sleeper: &'a mut Option<Sleeper>,
}

/// A call that finds its time over for longer than this was stopped with its process, or had no processor for long, and
/// so perhaps had the event loop.
const LATE: Duration = Duration::from_millis(100);
/// Give the loop this long to read what has come until then. It takes far less, once it runs.
const MOMENT: Duration = Duration::from_millis(100);

/// When the time of a call is over.
struct Limit {
    /// `None`: never.
    until: Option<Instant>,
    is_extended: bool,
}

impl Limit {
    fn at(until: Option<Instant>) -> Self {
        Self { until, is_extended: false }
    }

    /// Whether it is over. If it is very late, once gives the loop a [`MOMENT`] more: what a process waited for may have
    /// come while it was stopped, and all its threads go on at the same time.
    fn check_over(&mut self) -> bool {
        self.until.is_some_and(|until| self.check_over_at(until, time::now()))
    }

    fn check_over_at(&mut self, until: Instant, now: Instant) -> bool {
        if now < until {
            return false;
        }
        if self.is_extended || now - until <= LATE {
            return true;
        }
        *self = Self { until: Some(now + MOMENT), is_extended: true };
        false
    }
}

impl<P: Protocol> Core<P> {
    /// Repeats `attempt` until it is over.
    #[inline]
    pub(crate) fn wait<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        patience: Patience,
        attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        self.wait_or(interest, patience, attempt, |failure| failure)
    }

    /// As [`wait`](Self::wait), and has `fail` make the error. To do that later would move a message twice more.
    #[inline(always)]
    pub(crate) fn wait_or<T: Outcome, E: Refusal, F>(
        &self,
        interest: Interest,
        patience: Patience,
        mut attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
        fail: impl FnOnce(Failure<E>) -> F,
    ) -> Result<T, F> {
        match self.enter_alone(true, &mut attempt) {
            Ok(value) => Ok(value),
            Err(Alone::Refused(refusal)) => Err(fail(Failure::Refused(refusal))),
            Err(Alone::InVain) => self.wait_begun(interest, patience, attempt).map_err(fail),
            Err(Alone::Barred) => self.wait_among_others(interest, patience, attempt).map_err(fail),
        }
    }

    /// As [`wait`](Self::wait), right after the wait has begun: it can hardly be over yet.
    #[inline(never)]
    pub(crate) fn wait_begun<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        patience: Patience,
        attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        self.wait_on(interest, patience, &mut in_entry(attempt))
    }

    /// Goes on when the short way in is not open.
    #[inline(never)]
    fn wait_among_others<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        patience: Patience,
        attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        self.wait_in_entry(interest, patience, &mut in_entry(attempt))
    }

    /// As `wait`, for attempts that need more than the protocol.
    #[inline]
    fn wait_in_entry<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        patience: Patience,
        attempt: &mut impl FnMut(&mut Entry<'_, P>) -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        // With a closure of its own, which is inlined into each call.
        match self.enter_here(|entry| entry.attempt(interest, None, attempt)) {
            Attempt::Over(outcome) => outcome,
            Attempt::Waits(_) => self.wait_on(interest, patience, attempt),
        }
    }

    /// Goes on when the first attempt has found nothing. The one place where threads wait.
    #[cold]
    #[inline(never)]
    fn wait_on<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        patience: Patience,
        attempt: &mut impl FnMut(&mut Entry<'_, P>) -> Result<T, E>,
    ) -> Result<T, Failure<E>> {
        let timeout = match (patience, interest) {
            (Patience::None, _) => return Err(Failure::WouldBlock),
            (Patience::For(timeout), _) => timeout,
            (Patience::AsSet, Interest::Send(_)) => self.limits.send_timeout.get(),
            (Patience::AsSet, _) => self.limits.recv_timeout.get(),
        };
        let mut wait = self.spin.begin();
        // A timeout beyond the end of time is none.
        let mut limit = Limit::at(timeout.and_then(|timeout| wait.since().checked_add(timeout)));
        let sleeper = || match self.leadership().cloned() {
            Some(leadership) => Sleeper::Member(Parker::own(), leadership),
            None => Sleeper::Thread(Parker::own()),
        };
        if self.shows_news(interest) && wait.claim_spin() {
            self.spin_first(&wait, limit.until, || self.bell.is_pending());
        }
        let mut waiter = None;
        let (mut slept, mut has_overslept) = (false, false);
        let listening = self.is_interruptible(interest).then(Interruptible::begin);
        loop {
            let is_interrupted = listening.as_ref().is_some_and(Interruptible::is_interrupted);
            let last = is_interrupted || limit.check_over();
            let mut sleeper = (!last).then(&sleeper);
            let registration =
                (!last).then_some(Registration { waiter: &mut waiter, sleeper: &mut sleeper });
            let timers = match self.enter(|entry| entry.attempt(interest, registration, attempt)) {
                Attempt::Over(outcome) => {
                    if slept {
                        wait.note_sleep();
                    }
                    if !matches!(interest, Interest::Send(_)) {
                        io::note_wait();
                    }
                    waiter.into_iter().for_each(|waiter| self.bell.signal.note_attempt(waiter));
                    self.check_sleep(has_overslept && outcome.is_ok(), interest);
                    return outcome;
                }
                Attempt::Waits(_) if last => {
                    waiter.into_iter().for_each(|waiter| self.bell.signal.note_attempt(waiter));
                    return Err(match is_interrupted {
                        true => Failure::Interrupted,
                        false => Failure::TimedOut(timeout.unwrap_or_default()),
                    });
                }
                Attempt::Waits(timers) => timers,
            };
            let Some(waiter) = waiter else { continue };
            let end = limit.until;
            let until = earlier(end, timers);
            if wait.claim_spin() {
                let mut seen = None;
                self.spin_first(&wait, until, || {
                    self.bell.is_pending() || self.bell.signal.check_woken(waiter, &mut seen)
                });
            }
            let sleeps = self.sleep(waiter, until, listening.as_ref());
            slept |= sleeps;
            has_overslept = sleeps && self.check_forgotten(waiter, end);
            self.bell.signal.cancel(waiter);
        }
    }

    /// Whether a signal handler ends a call that waits for this.
    fn is_interruptible(&self, interest: Interest) -> bool {
        self.limits.is_interruptible() && !matches!(interest, Interest::Peers | Interest::Drained)
    }

    /// The leadership of the loop that has this socket's connections, if it ever had any and the loop is the
    /// only one. In a runtime without an I/O thread every socket depends on the loop.
    pub(crate) fn leadership(&self) -> Option<&Arc<Leadership>> {
        let leadership = self.runtime.get()?.leadership()?;
        (self.has_streams.load(Ordering::Relaxed) || leadership.is_manual()).then_some(leadership)
    }

    /// Whether a call that is not registered can see from the bell that its wait is over. Not if the socket
    /// filters, since the thread that rings then enters it; not if others wait, since one of them may be
    /// faster; and not for counts of peers and messages, which change without a bell.
    fn shows_news(&self, interest: Interest) -> bool {
        let announced = matches!(interest, Interest::Send(_) | Interest::Recv(_));
        announced && !P::SCHEDULE.filters && !self.bell.signal.is_awaited()
    }

    /// Spins before going to sleep, and turns the loop meanwhile if no other thread does.
    fn spin_first(&self, wait: &Wait<'_>, until: Option<Instant>, mut news: impl FnMut() -> bool) {
        let spun = match self.leadership() {
            Some(leadership) => leadership.spin(wait, until, &mut news),
            None => wait.spin(until, || spin::burst(&mut news)),
        };
        if let Some(spun) = spun {
            self.counters.count_spin(spun);
        }
    }

    /// Sleeps until woken, interrupted, or until the given time. Returns whether it has slept.
    fn sleep(
        &self,
        waiter: WaiterId<Interest>,
        until: Option<Instant>,
        listening: Option<&Interruptible>,
    ) -> bool {
        let signal = &self.bell.signal;
        let sleeps = !self.bell.is_pending() && signal.is_asleep(waiter);
        if sleeps {
            let leadership = self.leadership();
            // Where no waiter turns a loop there are several, and simulations have one.
            #[cfg(feature = "testing")]
            if leadership.is_none() && self.has_streams.load(Ordering::Relaxed) {
                leadership::check_world(false);
            }
            sleep(leadership, self.spin.is_on(), signal, waiter, until, listening);
        }
        sleeps
    }

    /// Waits until at least `wanted` peers are connected.
    pub(crate) fn wait_for_peers(&self, wanted: usize, timeout: Duration) -> Result<(), WaitError> {
        let mut attempt = |entry: &mut Entry<'_, P>| match entry.peer_count() {
            there if there >= wanted => Ok(()),
            _ => Err(RecvRefusal::WouldBlock),
        };
        let patience = Patience::For(Some(timeout));
        match self.wait_in_entry(Interest::Peers, patience, &mut attempt) {
            Ok(()) => Ok(()),
            Err(Failure::Closed) => Err(WaitError::Closed),
            Err(Failure::Forked) => Err(WaitError::Forked),
            Err(Failure::Lost) => Err(WaitError::RuntimeLost),
            Err(_) => {
                Err(WaitError::TimedOut(self.situation(Call::WaitForPeers(wanted), Some(timeout))))
            }
        }
    }

    /// Gathers the facts for the error of a call whose time is over; `waited`: see [`Facts`].
    #[cold]
    pub(crate) fn situation(&self, call: Call, waited: Option<Duration>) -> Situation {
        let facts = self.read(|state| (state.pipes.usable().count(), state.protocol.hint()));
        let (peers, hint) = facts.unwrap_or_default();
        let hint = hint.filter(|_| call == Call::Recv);
        let endpoints = match call {
            Call::WaitForPeers(_) => self.describe_endpoints(),
            _ if peers == 0 => self.describe_endpoints(),
            _ => Vec::new(),
        };
        let socket = self.name.clone();
        Situation::new(Facts { call, socket, waited, peers, endpoints, hint })
    }

    /// Waits until every accepted message has left the socket; returns how many have not.
    pub(crate) fn drain(&self, timeout: Duration) -> usize {
        let mut left = 0;
        let mut attempt = |entry: &mut Entry<'_, P>| {
            left = entry.unsent();
            if left == 0 { Ok(()) } else { Err(SendRefusal::WouldBlock) }
        };
        let patience = Patience::For(Some(timeout));
        match self.wait_in_entry(Interest::Drained, patience, &mut attempt) {
            Ok(()) => 0,
            Err(_) => usize::try_from(left).unwrap_or(usize::MAX),
        }
    }
}

/// For the check of [`duty`](crate::duty).
#[cfg(all(any(test, sinew_overslept), not(loom)))]
impl<P: Protocol> Core<P> {
    /// Whether a call whose time is over sleeps though what it waits for is there, and nobody is about to wake it.
    fn check_forgotten(&self, waiter: WaiterId<Interest>, end: Option<Instant>) -> bool {
        if end.is_none_or(|end| time::now() < end) {
            return false;
        }
        self.enter(|entry| {
            let (protocol, mut port, _) = entry.parts();
            // In this order: who has made it ready had a duty before, and has called somebody when it was done.
            protocol.poll_ready(waiter.interest(), &mut port)
                && self.bell.duties.are_done()
                && self.bell.signal.is_forgotten(waiter)
        })
    }

    /// # Panics
    ///
    /// The call `has_overslept`.
    fn check_sleep(&self, has_overslept: bool, interest: Interest) {
        assert!(
            !has_overslept,
            "{} has overslept: a call that waited for {interest:?} until its time was over found that, and nobody was \
             about to wake it",
            self.name
        );
    }
}

#[cfg(not(all(any(test, sinew_overslept), not(loom))))]
impl<P: Protocol> Core<P> {
    #[inline(always)]
    fn check_forgotten(&self, _: WaiterId<Interest>, _: Option<Instant>) -> bool {
        false
    }

    #[inline(always)]
    fn check_sleep(&self, _: bool, _: Interest) {}
}

/// Makes an attempt that acts through the port one of an entry.
#[inline(always)]
fn in_entry<P: Protocol, R>(
    mut attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> R,
) -> impl FnMut(&mut Entry<'_, P>) -> R {
    move |entry| {
        let (protocol, mut port, now) = entry.parts();
        attempt(protocol, &mut port, now)
    }
}

/// How one attempt ended.
pub(super) enum Attempt<T, E> {
    Over(Result<T, Failure<E>>),
    /// It would have to wait. The protocol must be entered at this time in any case.
    Waits(Option<Instant>),
}

impl<P: Protocol> Entry<'_, P> {
    /// Attempts once. Registers a call that has to wait under the lock under which it found nothing, so that
    /// a later change finds it registered.
    ///
    /// Inlined into each call: the first attempt, nearly always the only one, registers nothing.
    #[inline(always)]
    fn attempt<T: Outcome, E: Refusal>(
        &mut self,
        interest: Interest,
        registration: Option<Registration<'_>>,
        attempt: &mut impl FnMut(&mut Self) -> Result<T, E>,
    ) -> Attempt<T, E> {
        if self.is_closed() {
            return Attempt::Over(Err(self.closed_failure()));
        }
        match attempt(self) {
            Ok(value) => {
                value.count(&mut self.parts().1);
                self.pass_on(interest);
                Attempt::Over(Ok(value))
            }
            Err(refusal) if refusal.is_for_now() => {
                if let Some(registration) = registration {
                    self.register(interest, registration);
                }
                Attempt::Waits(self.state.own_deadline())
            }
            Err(refusal) => {
                // It may have been woken for something that it cannot use and the next waiter can; and what
                // ends its wait ends that of others.
                self.pass_on(interest);
                Attempt::Over(Err(Failure::Refused(refusal)))
            }
        }
    }

    fn register(&self, interest: Interest, Registration { waiter, sleeper }: Registration<'_>) {
        if let Some(sleeper) = sleeper.take() {
            self.core.bell.signal.register(waiter, interest, sleeper);
        }
    }

    /// Why a call on the socket, which is closed, fails.
    #[cold]
    fn closed_failure<E>(&self) -> Failure<E> {
        if self.state.is_lost { Failure::Lost } else { Failure::Closed }
    }

    /// Wakes the next waiter if there is more for it.
    fn pass_on(&mut self, interest: Interest) {
        if self.core.bell.signal.is_awaited() && self.state.protocol.ready(interest) {
            self.state.effects.wake_waiter(interest);
        }
    }
}

/// What a task keeps between polls: its waiter, and its claim on the event loop.
#[derive(Debug, Default)]
pub(crate) struct TaskWait {
    waiter: Option<WaiterId<Interest>>,
    /// While it waits.
    claim: Option<WaitingTask>,
}

impl<P: Protocol> Core<P> {
    /// Attempts once, and wakes the task when another attempt is worth it. A task that gives up
    /// in between calls [`cancel_wait`](Self::cancel_wait).
    pub(crate) fn poll_wait<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        wait: &mut TaskWait,
        cx: &mut Context<'_>,
        mut attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Poll<Result<T, Failure<E>>> {
        let (signal, TaskWait { waiter, claim }) = (&self.bell.signal, &mut *wait);
        // Drops an earlier waker here, with no lock held: it may be the last reference to its task, whose
        // destructor may do anything.
        if let Some(place) = *waiter {
            match self.is_forked() {
                true => *waiter = None,
                false => _ = signal.cancel(place),
            }
        }
        // Without a registration, which takes a clone of the waker, since most attempts succeed.
        // Nor is anything left unarmed, since the next request of a task will wait for the bell.
        let outcome = match self.enter_alone(false, &mut attempt) {
            Ok(value) => Ok(value),
            Err(Alone::Refused(refusal)) => Err(Failure::Refused(refusal)),
            Err(Alone::InVain) => return self.poll_on(interest, wait, cx, &mut in_entry(attempt)),
            Err(Alone::Barred) => {
                let mut attempt = in_entry(attempt);
                match self.enter_here(|entry| entry.attempt(interest, None, &mut attempt)) {
                    Attempt::Over(outcome) => outcome,
                    Attempt::Waits(_) => return self.poll_on(interest, wait, cx, &mut attempt),
                }
            }
        };
        waiter.take().into_iter().for_each(|place| signal.note_attempt(place));
        *claim = None;
        Poll::Ready(outcome)
    }

    /// Begins what a task will wait for, and registers the task in the same entry. Then comes
    /// [`poll_begun`](Self::poll_begun).
    pub(crate) fn begin_wait<B>(
        &self,
        wait: &mut TaskWait,
        cx: &Context<'_>,
        begin: impl FnOnce(&mut Entry<'_, P>) -> Option<B>,
        interest: impl FnOnce(&B) -> Interest,
    ) -> Option<B> {
        let mut sleeper = Some(Sleeper::Task(cx.waker().clone()));
        self.enter(|entry| {
            let begun = begin(entry)?;
            let registration = Registration { waiter: &mut wait.waiter, sleeper: &mut sleeper };
            entry.register(interest(&begun), registration);
            Some(begun)
        })
    }

    /// As [`poll_wait`](Self::poll_wait), right after the wait has begun: it can hardly be over yet.
    pub(crate) fn poll_begun<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        wait: &mut TaskWait,
        cx: &mut Context<'_>,
        attempt: impl FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E>,
    ) -> Poll<Result<T, Failure<E>>> {
        if self.bell.is_pending() {
            return self.poll_wait(interest, wait, cx, attempt);
        }
        self.count_task(&mut wait.claim);
        Poll::Pending
    }

    /// Lets the event loop know that a task waits.
    fn count_task(&self, claim: &mut Option<WaitingTask>) {
        if claim.is_none() {
            *claim = self.leadership().and_then(|it| it.count_task(self.spin.is_on()));
        }
    }

    /// Goes on when the first attempt has found nothing.
    fn poll_on<T: Outcome, E: Refusal>(
        &self,
        interest: Interest,
        TaskWait { waiter, claim }: &mut TaskWait,
        cx: &mut Context<'_>,
        attempt: &mut impl FnMut(&mut Entry<'_, P>) -> Result<T, E>,
    ) -> Poll<Result<T, Failure<E>>> {
        let mut sleeper = None;
        loop {
            sleeper.get_or_insert_with(|| Sleeper::Task(cx.waker().clone()));
            let registration = Some(Registration { waiter, sleeper: &mut sleeper });
            match self.enter(|entry| entry.attempt(interest, registration, attempt)) {
                Attempt::Over(outcome) => {
                    // It may be registered: an attempt in vain registers, and is made again at once.
                    if let Some(place) = waiter.take() {
                        self.bell.signal.cancel(place);
                        self.bell.signal.note_attempt(place);
                    }
                    *claim = None;
                    return Poll::Ready(outcome);
                }
                Attempt::Waits(_) if self.bell.is_pending() => {
                    sleeper = waiter.and_then(|place| self.bell.signal.withdraw(place));
                }
                Attempt::Waits(_) => {
                    self.count_task(claim);
                    return Poll::Pending;
                }
            }
        }
    }

    /// Ends the wait of a task, and wakes another waiter if the task was woken and has not used that.
    pub(crate) fn cancel_wait(&self, wait: &mut TaskWait) {
        if let Some(waiter) = wait.waiter.take()
            && !self.is_forked()
            && !self.bell.signal.cancel(waiter)
        {
            // Woken, and not polled since: another waiter can use what this one was woken for.
            self.enter(|entry| entry.pass_on(waiter.interest()));
            self.bell.signal.note_attempt(waiter);
        }
        wait.claim = None;
    }
}

/// An operation as a future, which can be started again when it was ready.
///
/// Needs no runtime: the socket's own threads wake it. Dropping it loses nothing: the operation has either
/// happened and was returned, or has not happened; and it passes on an unused wake-up.
pub(crate) struct Operation<P: Protocol, F> {
    core: Handle<P>,
    interest: Interest,
    attempt: F,
    wait: TaskWait,
}

impl<P, F, T, E> Operation<P, F>
where
    P: Protocol,
    E: Refusal,
    F: FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E> + Unpin,
{
    pub(crate) fn new(core: &Handle<P>, interest: Interest, attempt: F) -> Self {
        Self { core: core.clone(), interest, attempt, wait: TaskWait::default() }
    }
}

impl<P, F, T, E> Future for Operation<P, F>
where
    P: Protocol,
    T: Outcome,
    E: Refusal,
    F: FnMut(&mut P, &mut SocketPort<'_>, Instant) -> Result<T, E> + Unpin,
{
    type Output = Result<T, Failure<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { core, interest, attempt, wait } = &mut *self;
        core.poll_wait(*interest, wait, cx, attempt)
    }
}

impl<P: Protocol, F> Drop for Operation<P, F> {
    fn drop(&mut self) {
        self.core.cancel_wait(&mut self.wait);
    }
}

/// Sleeps until woken, interrupted, or until the given time. Not generic over the protocol, so that the program
/// has it once.
fn sleep(
    leadership: Option<&Arc<Leadership>>,
    eager: bool,
    signal: &Signal<Interest>,
    waiter: WaiterId<Interest>,
    until: Option<Instant>,
    listening: Option<&Interruptible>,
) {
    let asleep =
        || signal.is_asleep(waiter) && !listening.is_some_and(Interruptible::is_interrupted);
    match leadership {
        Some(leadership) => leadership.wait(until, eager, &asleep),
        None => leadership::park(until, &asleep),
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(all(test, not(loom), not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_very_late_gets_a_moment_more_once() {
        assert!(!Limit::at(None).check_over());
        let until = time::now();
        let mut limit = Limit::at(Some(until));
        assert!(!limit.check_over_at(until, until - LATE), "it has time left");
        assert!(limit.check_over_at(until, until + LATE), "it is hardly late");
        let late = until + 2 * LATE;
        assert!(!limit.check_over_at(until, late), "the loop may be as late");
        assert_eq!(limit.until, Some(late + MOMENT));
        assert!(!limit.check_over_at(late + MOMENT, late), "it has the moment");
        assert!(limit.check_over_at(late + MOMENT, late + 10 * LATE), "not twice");
    }
}
